//! The helper threads: keep windows and the next segment ready so that appends need no system call.
//!
//! - The *mapper* unmaps the windows left behind, maps and prefaults the current one and the one
//!   ahead (which may be the first of the next segment).
//! - The *provider* prepares the next segment and keeps the reserve in being. It waits for the disk,
//!   which is why it is not the mapper.
//!
//! Both work without the append lock and install what they made under it.
//!
//! A full disk is not a failure: the provider notes it, offers the reserve as a segment that only
//! deletes may start, and tries again every [`RETRY`]. Other errors latch.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::FsyncPolicy;
use super::frame;
use super::segment::{PAGE, RESERVE_NAME, SEGMENT_HEADER_BYTES, Segment, is_no_space, segment_name};
use super::writer::{Log, Prepared, end_of};
use crate::env::{File, FileSystem, OpenMode, Window};
use crate::error::{Error, Result};

/// Bytes of the file mapped at a time; mapped pages count as resident memory.
const WINDOW_BYTES: u64 = 2 << 20;
/// How often a full disk is tried again.
const RETRY: Duration = Duration::from_millis(200);

/// How a helper thread is told that there is work.
#[derive(Debug, Default)]
pub(super) struct Helper {
    control: Mutex<Control>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Control {
    stop: bool,
    work: bool,
    /// The largest frame that waits for room.
    need: u64,
}

impl Helper {
    /// There is work: at least room for a frame of `need` bytes.
    #[cold]
    pub fn wake(&self, need: u64) {
        let mut control = self.control.lock();
        control.work = true;
        control.need = control.need.max(need);
        drop(control);
        self.changed.notify_one();
    }

    pub fn stop(&self) {
        self.control.lock().stop = true;
        self.changed.notify_all();
    }

    /// The size asked for, once there is work or `retry` has passed; `None` to stop.
    fn wait(&self, retry: impl Fn() -> Option<Duration>) -> Option<u64> {
        let mut control = self.control.lock();
        while !control.work && !control.stop {
            match retry() {
                None => self.changed.wait(&mut control),
                Some(after) => {
                    if self.changed.wait_for(&mut control, after).timed_out() {
                        break;
                    }
                }
            }
        }
        control.work = false;
        let need = std::mem::take(&mut control.need);
        (!control.stop).then_some(need)
    }
}

/// The preallocated file that is given up when the disk is full.
pub(super) struct Reserve {
    file: Arc<dyn File>,
    pub bytes: u64,
    reserved: bool,
}

/// A window that is missing.
enum Missing {
    Current { segment: Arc<Segment>, offset: u64 },
    Ahead { segment: Arc<Segment>, offset: u64 },
    Next { segment: Arc<Segment> },
}

/// The mapper's thread.
pub(super) fn run_mapper(log: &Log) {
    while log.mapper.wait(|| None).is_some() {
        log.map_round();
    }
}

/// The provider's thread.
pub(super) fn run_provider(log: &Log) {
    while let Some(need) = log.provider.wait(|| log.is_disk_full().then_some(RETRY)) {
        if let Err(e) = log.provide_round(need) {
            log.latch(&e);
        }
    }
}

impl Log {
    /// Makes ready whatever is missing: at the end of an open, before the threads start.
    pub fn prepare_all(&self) -> Result<()> {
        self.provide_round(0)?;
        self.map_round();
        Ok(())
    }

    fn map_round(&self) {
        let retired: Vec<_> = self.tail.lock().retired.drain(..).collect();
        drop(retired);
        if self.check().is_ok() {
            self.map_windows();
        }
    }

    fn provide_round(&self, need: u64) -> Result<()> {
        if self.check().is_err() {
            return Ok(());
        }
        self.recheck_full_writes()?;
        self.prepare_segment(need)?;
        self.keep_reserve()
    }

    // Windows.

    fn map_windows(&self) {
        while let Some(missing) = self.missing_window() {
            let (segment, offset) = match &missing {
                Missing::Current { segment, offset } | Missing::Ahead { segment, offset } => {
                    (Arc::clone(segment), *offset)
                }
                Missing::Next { segment } => (Arc::clone(segment), 0),
            };
            let len = WINDOW_BYTES.min(segment.bytes - offset) as usize;
            match segment.file.window(offset, len) {
                Ok(mut window) => {
                    window.prefault();
                    if let Err(e) = self.settle_window(&segment) {
                        self.latch(&e);
                        return;
                    }
                    self.install(missing, window);
                }
                Err(e) => {
                    // Appends go by system calls meanwhile: slower, as safe.
                    tracing::warn!(path = %segment.path.display(), error = %e, "cannot map the log");
                    return;
                }
            }
        }
    }

    /// Under `Always`, brings the prefaulted zeros to the disk before somebody waits for a sync, so
    /// that no group commit has to write a whole window of them. Six interleaved runs on a busy
    /// ext4 host showed no difference either way; measure on a quiet one before relying on it.
    fn settle_window(&self, segment: &Segment) -> Result<()> {
        if self.policy() != FsyncPolicy::Always {
            return Ok(());
        }
        // DURABILITY: none is gained for records; a failure is one all the same, since the kernel
        // reports a lost page to one sync only.
        segment.file.sync_data().map_err(|e| Error::io("sync", &segment.path, e))
    }

    fn missing_window(&self) -> Option<Missing> {
        let tail = self.tail.lock();
        let segment = &tail.segment;
        let last_mapped = match &tail.window {
            None if segment.reserved && tail.position < segment.bytes => {
                let offset = tail.position / WINDOW_BYTES * WINDOW_BYTES;
                return Some(Missing::Current { segment: Arc::clone(segment), offset });
            }
            None => segment.bytes,
            Some(window) => end_of(window.as_ref()),
        };
        if last_mapped < segment.bytes {
            let ahead = Missing::Ahead { segment: Arc::clone(segment), offset: last_mapped };
            return tail.ahead.is_none().then_some(ahead);
        }
        let next = tail.next.as_ref().filter(|p| p.window.is_none() && p.segment.reserved)?;
        Some(Missing::Next { segment: Arc::clone(&next.segment) })
    }

    /// Installs a window if the tail has not moved past it meanwhile.
    fn install(&self, missing: Missing, window: Box<dyn Window>) {
        let mut tail = self.tail.lock();
        let tail = &mut *tail;
        let unused = match missing {
            Missing::Current { segment, .. } => {
                let covers = window.offset() <= tail.position && tail.position < end_of(window.as_ref());
                if segment.id == tail.segment.id && tail.window.is_none() && covers {
                    tail.window = Some(window);
                    return;
                }
                window
            }
            Missing::Ahead { segment, offset } => {
                let follows = tail.window.as_ref().is_some_and(|w| end_of(w.as_ref()) == offset);
                if segment.id == tail.segment.id && follows && tail.ahead.is_none() {
                    tail.ahead = Some(window);
                    return;
                }
                window
            }
            Missing::Next { segment } => match &mut tail.next {
                Some(next) if next.segment.id == segment.id => {
                    next.window = Some(window);
                    return;
                }
                _ => window,
            },
        };
        tail.retired.push(unused);
    }

    // Segments.

    fn prepare_segment(&self, need: u64) -> Result<()> {
        let standard = self.config.segment_bytes.max(PAGE);
        let wanted = standard.max(need + SEGMENT_HEADER_BYTES as u64);
        if self.has_next(need) {
            if self.is_disk_full() && !self.tail.lock().write_full {
                self.set_no_space(None);
            }
            return Ok(());
        }
        match self.create_segment(wanted) {
            Ok(segment) => {
                let replaced = self.offer(segment);
                self.set_no_space(None);
                self.discard(replaced)
            }
            Err(Error::Io { source, .. }) if is_no_space(&source) => {
                if wanted > standard && self.has_next(0) {
                    self.set_no_space(Some(need));
                    return Ok(());
                }
                if wanted > standard {
                    // Perhaps there is space for ordinary records at least.
                    self.prepare_segment(0)?;
                    if !self.is_disk_full() {
                        self.set_no_space(Some(need));
                    }
                    return Ok(());
                }
                self.offer_reserve()?;
                self.set_no_space(Some(0));
                Ok(())
            }
            Err(e) => Err(e),
        }
    }

    fn has_next(&self, need: u64) -> bool {
        let tail = self.tail.lock();
        let room = |p: &Prepared| p.segment.bytes - SEGMENT_HEADER_BYTES as u64;
        tail.next.as_ref().is_some_and(|p| !p.segment.from_reserve && room(p) >= need)
    }

    fn create_segment(&self, bytes: u64) -> Result<Segment> {
        let id = self.take_segment_id();
        Segment::create(self.files.as_ref(), &self.dir, id, bytes)
    }

    fn take_segment_id(&self) -> u64 {
        let mut tail = self.tail.lock();
        tail.next_segment_id += 1;
        tail.next_segment_id - 1
    }

    /// Removes a prepared segment that was replaced before it was used.
    fn discard(&self, prepared: Option<Prepared>) -> Result<()> {
        let Some(Prepared { segment, window }) = prepared else { return Ok(()) };
        drop(window);
        // A crash may bring the name back: a file with a zeroed header, which the open removes.
        self.files.remove(&segment.path).map_err(|e| Error::io("remove", &segment.path, e))
    }

    // The reserve.

    /// Turns the reserve into a segment that deletes may start.
    fn offer_reserve(&self) -> Result<()> {
        if self.tail.lock().next.is_some() {
            return Ok(());
        }
        let Some(reserve) = self.reserve.lock().take() else { return Ok(()) };
        let from = self.dir.join(RESERVE_NAME);
        let id = self.take_segment_id();
        if !reserve.reserved {
            // Ordinary records must not take the space that the removal below gives back.
            self.tail.lock().write_full = true;
            // The bytes cannot be reused in place here; removing the file makes space for new ones.
            self.files.remove(&from).map_err(|e| Error::io("remove", &from, e))?;
            self.sync_dir()?;
            return match Segment::create(self.files.as_ref(), &self.dir, id, reserve.bytes / 2) {
                Ok(segment) => {
                    self.offer(Segment { from_reserve: true, ..segment });
                    Ok(())
                }
                Err(Error::Io { source, .. }) if is_no_space(&source) => Ok(()),
                Err(e) => Err(e),
            };
        }
        let path = self.dir.join(segment_name(id));
        self.files.rename(&from, &path).map_err(|e| Error::io("rename", &from, e))?;
        // DURABILITY: a crash before this may leave the reserve under its old name, unused.
        self.sync_dir()?;
        self.offer(Segment {
            id,
            path,
            file: reserve.file,
            bytes: reserve.bytes,
            reserved: true,
            from_reserve: true,
            header_durable: AtomicBool::new(false),
        });
        Ok(())
    }

    fn keep_reserve(&self) -> Result<()> {
        let bytes = self.config.reserve_bytes.next_multiple_of(PAGE);
        if bytes == 0 || self.is_disk_full() || self.reserve.lock().is_some() {
            return Ok(());
        }
        let path = self.dir.join(RESERVE_NAME);
        match make_reserve(self.files.as_ref(), &self.dir, &path, bytes) {
            Ok(reserve) => {
                *self.reserve.lock() = Some(reserve);
                Ok(())
            }
            Err(e) => {
                // Best effort: what stays is removed by the next open.
                let _ = self.files.remove(&path);
                if is_no_space(&e) { Ok(()) } else { Err(Error::io("reserve", &path, e)) }
            }
        }
    }

    /// On file systems that reserve nothing: whether writes that ran out of space may go on.
    fn recheck_full_writes(&self) -> Result<()> {
        if !self.tail.lock().write_full {
            return Ok(());
        }
        let free = self.files.free_bytes(&self.dir).map_err(|e| Error::io("stat", &self.dir, e))?;
        if free >= self.config.reserve_bytes.max(PAGE) * 2 {
            self.tail.lock().write_full = false;
            self.set_no_space(None);
        } else if let Some(reserve) = self.reserve.lock().take() {
            let path = self.dir.join(RESERVE_NAME);
            drop(reserve);
            self.files.remove(&path).map_err(|e| Error::io("remove", &path, e))?;
        }
        Ok(())
    }

    fn sync_dir(&self) -> Result<()> {
        self.files.sync_dir(&self.dir).map_err(|e| Error::io("sync", &self.dir, e))
    }
}

fn make_reserve(files: &dyn FileSystem, dir: &Path, path: &Path, bytes: u64) -> io::Result<Reserve> {
    let file = files.open(path, OpenMode::CreateNew)?;
    let reserved = file.allocate(bytes)?;
    if !reserved {
        // Incompressible bytes: a file system that compresses would keep zeros in no space at all.
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut block = Vec::with_capacity(PAGE as usize);
        for at in (0..bytes).step_by(PAGE as usize) {
            block.clear();
            while block.len() < PAGE as usize {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                block.extend_from_slice(&state.to_le_bytes());
            }
            file.write_at(&block, at)?;
        }
    }
    // DURABILITY: space counts as reserved only once the disk knows. A crash here leaves a file that
    // the next open removes.
    file.sync_all()?;
    files.sync_dir(dir)?;
    Ok(Reserve { file, bytes, reserved })
}

const _: () = assert!(WINDOW_BYTES.is_multiple_of(PAGE) && PAGE.is_multiple_of(frame::ALIGN as u64));
