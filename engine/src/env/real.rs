//! The operating system behind the seam: clocks, files and memory-mapped windows of Linux.
//!
//! Reservation is `fallocate` in its POSIX sense (blocks are reserved, the length grows, the bytes
//! read as zero). Copy-on-write, layered and network file systems accept the call but do not keep
//! its promise for overwrites, so [`File::allocate`] answers `Ok(false)` there by magic number and
//! callers stay with plain writes. Nothing here retries a sync: a failed one is the caller's to latch.

use std::fs;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use memmap2::{Advice, MmapMut, MmapOptions};
use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use super::{Clock, File, FileSystem, OpenMode, Window};

/// File systems whose reservations do not cover later writes: btrfs, ZFS, overlay, NFS, CIFS,
/// SMB2, FUSE, 9P, bcachefs, F2FS, AUFS.
const UNRESERVING: [u64; 11] = [
    0x9123_683e,
    0x2fc1_2fc1,
    0x794c_7630,
    0x6969,
    0xff53_4d42,
    0xfe53_4d42,
    0x6573_5546,
    0x0102_1997,
    0xca45_1a4e,
    0xf2f5_2010,
    0x6175_6673,
];

/// The host's clocks.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// A clock whose monotonic time starts now.
    #[must_use]
    pub fn new() -> Self {
        SystemClock { start: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn unix_ms(&self) -> u64 {
        self.unix_us() / 1000
    }

    fn unix_us(&self) -> u64 {
        // A clock set before 1970 reads as 0 rather than taking the server down.
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_micros() as u64)
    }

    fn monotonic_ns(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }
}

/// The host's files.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemFiles;

impl FileSystem for SystemFiles {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let mut options = fs::OpenOptions::new();
        options.read(true);
        match mode {
            OpenMode::Read => {}
            OpenMode::ReadWrite => {
                options.write(true);
            }
            OpenMode::CreateNew => {
                options.write(true).create_new(true);
            }
        }
        Ok(Arc::new(SystemFile { file: options.open(path)? }))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(dir)? {
            // Names that are not UTF-8 are not ours.
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir_all(dir)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        // DURABILITY: names created, removed or renamed in `dir` survive a power cut from here on.
        fs::File::open(dir)?.sync_all()
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(dir)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

struct SystemFile {
    file: fs::File,
}

impl SystemFile {
    fn reserves_blocks(&self) -> io::Result<bool> {
        let magic = rustix::fs::fstatfs(&self.file)?.f_type as u64 & 0xffff_ffff;
        Ok(!UNRESERVING.contains(&magic))
    }
}

impl File for SystemFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.size())
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut done = 0;
        while done < buf.len() {
            match self.file.read_at(&mut buf[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(done)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn allocate(&self, len: u64) -> io::Result<bool> {
        if !self.reserves_blocks()? {
            return Ok(false);
        }
        loop {
            match rustix::fs::fallocate(&self.file, FallocateFlags::empty(), 0, len) {
                Ok(()) => return Ok(true),
                Err(Errno::INTR) => {}
                Err(Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(false),
                Err(e) => return Err(e.into()),
            }
        }
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        // DURABILITY: bytes and the length needed to read them, not the name.
        self.file.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        // DURABILITY: bytes and all of the inode, not the name.
        self.file.sync_all()
    }

    fn window(&self, offset: u64, len: usize) -> io::Result<Box<dyn Window>> {
        // A store beyond the end of the file would be a SIGBUS instead of an error.
        if offset + len as u64 > self.len()? {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "window beyond the end of the file"));
        }
        // SAFETY: a shared mapping is only unsound through Rust references to memory that others
        // change, and through stores beyond the end of the file. `SystemWindow` never hands out a
        // reference to the mapped bytes: its one access is a copy into the range, made through
        // `&mut self`. The range was just checked against the file's length, and a file is not
        // shortened while a window of it lives (the log truncates only files it has no window of;
        // the data folder is locked against other processes).
        let map = unsafe { MmapOptions::new().offset(offset).len(len).map_mut(&self.file)? };
        Ok(Box::new(SystemWindow { map, offset }))
    }
}

struct SystemWindow {
    map: MmapMut,
    offset: u64,
}

impl Window for SystemWindow {
    fn offset(&self) -> u64 {
        self.offset
    }

    fn len(&self) -> usize {
        self.map.len()
    }

    #[inline]
    fn write(&mut self, at: usize, bytes: &[u8]) {
        self.map[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn prefault(&mut self) {
        // Kernels before 5.14 know no such advice: pages fault when they are first written. Touching them here
        // instead would write back bytes that another thread may have changed in between.
        let _ = self.map.advise(Advice::PopulateWrite);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_round_trip_through_writes_and_windows() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let file = SystemFiles.open(&path, OpenMode::CreateNew).unwrap();
        let reserved = file.allocate(8192).unwrap();
        if !reserved {
            file.truncate(8192).unwrap();
        }
        assert_eq!(file.len().unwrap(), 8192);
        file.write_at(b"plain", 10).unwrap();
        let mut window = file.window(4096, 4096).unwrap();
        window.prefault();
        window.write(4, b"mapped");
        let mut buf = [0; 10];
        assert_eq!(file.read_at(&mut buf, 4096).unwrap(), 10);
        assert_eq!(&buf, b"\0\0\0\0mapped");
        assert_eq!(file.read_at(&mut buf, 8190).unwrap(), 2);
        file.sync_data().unwrap();
        SystemFiles.sync_dir(dir.path()).unwrap();
        assert_eq!(SystemFiles.list(dir.path()).unwrap(), ["file"]);
        assert!(file.window(4096, 8192).is_err());
        assert!(SystemFiles.open(&path, OpenMode::CreateNew).is_err());
    }

    #[test]
    fn clocks_move_forward() {
        let clock = SystemClock::new();
        let before = clock.monotonic_ns();
        assert!(clock.monotonic_ns() >= before);
        assert!(clock.unix_ms() > 1_600_000_000_000);
    }
}
