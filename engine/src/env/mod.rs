//! The seam under the engine: files, clock and randomness are passed in.
//!
//! `real` talks to the operating system. `sim` keeps written and synced bytes apart, so that a
//! test can cut the power at any point and keep any subset of the unsynced sectors.
//! RocksDB's own files are not behind this seam; its stand-in is the in-memory cold store.

pub mod real;
pub mod sim;

use std::io;
use std::path::Path;
use std::sync::Arc;

/// Tells the time. Deadlines use Unix milliseconds, intervals the monotonic clock.
pub trait Clock: Send + Sync {
    /// Wall-clock time, Unix milliseconds.
    fn unix_ms(&self) -> u64;
    /// Wall-clock time, Unix microseconds.
    fn unix_us(&self) -> u64;
    /// A clock that never steps, nanoseconds from an arbitrary start.
    fn monotonic_ns(&self) -> u64;
}

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// Existing file, reads only.
    Read,
    /// Existing file, reads and writes.
    ReadWrite,
    /// New file; an error if the name exists.
    CreateNew,
}

/// The file operations the log, the marker copies and the hot-set file need.
pub trait FileSystem: Send + Sync {
    /// Opens or creates a file.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>>;
    /// File names (no paths) in a folder, sorted.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;
    /// Creates a folder and its parents.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;
    /// Removes a file. Durable after [`FileSystem::sync_dir`].
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Replaces `to` by `from`. Durable after [`FileSystem::sync_dir`].
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Makes creations, removals and renames in a folder durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Bytes an unprivileged process can still write on the folder's file system.
    fn free_bytes(&self, dir: &Path) -> io::Result<u64>;
}

/// One open file. All offsets are absolute; there is no cursor.
pub trait File: Send + Sync {
    /// Current length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Whether the file has no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// Reads up to `buf.len()` bytes; fewer only at the end of the file.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes all bytes. Visible to readers at once, durable after a sync.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Extends the file to `len` zero bytes with its blocks reserved, so that later writes cannot
    /// fail for lack of space. `Ok(false)`: the file system cannot promise that.
    fn allocate(&self, len: u64) -> io::Result<bool>;
    /// Cuts the file to `len` bytes.
    fn truncate(&self, len: u64) -> io::Result<()>;
    /// Makes written bytes (and the length needed to read them) durable.
    fn sync_data(&self) -> io::Result<()>;
    /// Makes bytes and all metadata durable.
    fn sync_all(&self) -> io::Result<()>;
    /// A writable view of reserved bytes `[offset, offset + len)`; `offset` is page aligned.
    /// Its writes are as visible and as durable as those of [`File::write_at`].
    fn window(&self, offset: u64, len: usize) -> io::Result<Box<dyn Window>>;
}

/// An allocator that can say which of its pages are nearly empty, so that entries can move together
/// and pages become free.
pub trait Defragmenter: Send + Sync {
    /// Whether the allocation shares its run of pages with more free room than is usual for its size.
    fn is_sparse(&self, allocation: std::ptr::NonNull<u8>) -> bool;
    /// Memory outside of the thread's cache of freed allocations, which would hand the same places
    /// out again; null if there is none. [`std::alloc::dealloc`] frees it like any other.
    fn allocate(&self, layout: std::alloc::Layout) -> *mut u8;
    /// Frees an allocation past the thread's cache.
    ///
    /// # Safety
    /// As for [`std::alloc::dealloc`].
    unsafe fn free(&self, allocation: std::ptr::NonNull<u8>, layout: std::alloc::Layout);
}

/// A view of a part of a file that takes writes without a system call.
pub trait Window: Send {
    /// Offset in the file of the view's first byte.
    fn offset(&self) -> u64;
    /// Length of the view in bytes.
    fn len(&self) -> usize;
    /// Whether the view has no bytes.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Copies bytes to position `at` of the view. `at + bytes.len()` must not exceed its length.
    fn write(&mut self, at: usize, bytes: &[u8]);
    /// Touches the pages so that later writes do not fault.
    fn prefault(&mut self);
}

/// Lowers the calling thread's priority, and that of threads it starts from now on: background work
/// must not take the processor from commands.
pub fn lower_priority() {
    // Linux gives each thread its own nice value; elsewhere this lowers nothing important.
    // SAFETY: a plain system call on the calling thread.
    let _ = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, 5) };
}
