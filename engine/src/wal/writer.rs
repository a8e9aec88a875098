//! The tail of the log: appending, switching segments, latching.
//!
//! Everything that moves the tail happens under one mutex ([`Log::tail`]) and, as a rule, in memory:
//!
//! ```text
//!            position
//!               v
//!  segment  |###|######window######|######ahead######|      next: |header still zeros|window|
//!            ^ older windows: retired, unmapped by the mapper
//! ```
//!
//! A frame that lies in `window` and `ahead` is copied there. Otherwise (mapper late, large record,
//! file system that reserves nothing) it is written with a system call, which in reserved space
//! cannot run out of space. When the segment is full the tail moves to the prepared `next`; if
//! there is none the append fails with `NoRoom` and has changed nothing.
//!
//! # Locks
//! `sync_one` before `tail`. `tail` before the locks inside [`Waiters`] and the helpers' control
//! locks, under which no other is taken.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::{Condvar, Mutex};

use super::frame::{self, Body, FrameKind, HEADER_BYTES};
use super::prepare::{Helper, Reserve};
use super::segment::{SEGMENT_HEADER_BYTES, Segment, SegmentHeader, is_no_space};
use super::sync::SyncStats;
use super::{AppendError, FsyncPolicy, WalConfig, WalStatus};
use crate::env::{Clock, FileSystem, Window};
use crate::error::{Error, Result};
use crate::ids::Lsn;
use crate::wait::Waiters;

/// [`Log::no_space_from`] while space can be had.
const SPACE_FOR_ALL: u64 = u64::MAX;
/// Frames up to this many bytes are put together before a system call writes them.
const JOIN_BYTES: usize = 64 << 10;
/// Windows retired before the mapper unmapped the earlier ones, without growing the list.
const RETIRED_CAPACITY: usize = 16;

const RUNNING: u8 = 0;
const LATCHED: u8 = 1;
const CLOSED: u8 = 2;

/// Who appends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    Ordinary,
    /// May use the reserve when the disk is full.
    Reserved,
}

/// State shared by appenders and the helper threads.
pub(super) struct Log {
    pub files: Arc<dyn FileSystem>,
    pub clock: Arc<dyn Clock>,
    pub config: WalConfig,
    pub dir: PathBuf,
    pub store_id: u64,
    pub timeline: u32,
    pub tail: Mutex<Tail>,
    /// The tail's last LSN, for readers without the lock.
    pub last: AtomicU64,
    /// Uncompressed bytes of all records so far.
    pub appended: AtomicU64,
    /// Of these, bytes of the records that are durable.
    pub synced: AtomicU64,
    pub durable: Arc<Waiters>,
    /// A generation, raised whenever waiting for room may have become pointless.
    pub room: Arc<Waiters>,
    room_current: AtomicU64,
    room_next: AtomicU64,
    /// Frames of at least this many bytes cannot be given room now, for lack of disk space.
    no_space_from: AtomicU64,
    stopped: AtomicU8,
    cause: OnceLock<Arc<str>>,
    policy: AtomicU8,
    /// Held while syncing: syncs publish in order.
    pub sync_one: Mutex<()>,
    /// The highest LSN somebody asked to be made durable.
    pub sync_requested: AtomicU64,
    pub sync_stop: Mutex<bool>,
    pub sync_wake: Condvar,
    pub sync_stats: SyncStats,
    pub mapper: Helper,
    pub provider: Helper,
    pub reserve: Mutex<Option<Reserve>>,
    /// One cut at a time.
    cutting: Mutex<()>,
}

/// Where the next frame goes.
pub(super) struct Tail {
    pub segment: Arc<Segment>,
    pub position: u64,
    pub last: Lsn,
    pub window: Option<Box<dyn Window>>,
    pub ahead: Option<Box<dyn Window>>,
    pub next: Option<Prepared>,
    pub retired: Vec<Box<dyn Window>>,
    /// Segments left behind since the last sync; they are synced before the current one.
    pub sealed: Vec<Arc<Segment>>,
    /// All segments in use, oldest first; the last is the current one.
    pub catalog: VecDeque<Cataloged>,
    pub next_segment_id: u64,
    /// A write into unreserved space ran out of it; ordinary appends wait until there is more.
    pub write_full: bool,
    join: Vec<u8>,
}

/// A segment ready to be switched to.
pub(super) struct Prepared {
    pub segment: Arc<Segment>,
    pub window: Option<Box<dyn Window>>,
}

/// What is known of a segment in use.
#[derive(Clone, Debug)]
pub(super) struct Cataloged {
    pub id: u64,
    pub path: PathBuf,
    pub first_lsn: Lsn,
    pub bytes: u64,
}

/// What recovery hands to the running log.
pub(super) struct Start {
    pub timeline: u32,
    pub last: Lsn,
    pub segment: Segment,
    pub catalog: VecDeque<Cataloged>,
    pub appended: u64,
}

/// End of a window in its file.
pub(super) fn end_of(window: &dyn Window) -> u64 {
    window.offset() + window.len() as u64
}

impl Tail {
    fn left(&self) -> u64 {
        self.segment.bytes - self.position
    }

    /// Copies a frame into the windows; `false` if it does not lie within them.
    #[inline]
    fn write_mapped(&mut self, header: &[u8; HEADER_BYTES], stored: &[u8], bytes: usize) -> bool {
        let Some(window) = &mut self.window else { return false };
        debug_assert!(window.offset() <= self.position, "the tail is behind its window");
        let at = (self.position - window.offset()) as usize;
        let padding = &[0; frame::ALIGN][..bytes - HEADER_BYTES - stored.len()];
        if at + bytes <= window.len() {
            window.write(at, header);
            window.write(at + HEADER_BYTES, stored);
            if !padding.is_empty() {
                window.write(at + HEADER_BYTES + stored.len(), padding);
            }
            return true;
        }
        let Some(ahead) = &mut self.ahead else { return false };
        let split = window.len();
        if at + bytes > split + ahead.len() {
            return false;
        }
        let mut at = at;
        for part in [header, stored, padding] {
            let here = part.len().min(split.saturating_sub(at));
            if here > 0 {
                window.write(at, &part[..here]);
            }
            if here < part.len() {
                ahead.write(at + here - split, &part[here..]);
            }
            at += part.len();
        }
        true
    }

    /// Writes a frame with system calls.
    #[cold]
    fn write_through(
        &mut self,
        header: &[u8; HEADER_BYTES],
        stored: &[u8],
        bytes: usize,
    ) -> std::io::Result<()> {
        let file = &self.segment.file;
        let padding = &[0; frame::ALIGN][..bytes - HEADER_BYTES - stored.len()];
        if bytes <= JOIN_BYTES {
            self.join.clear();
            self.join.extend_from_slice(header);
            self.join.extend_from_slice(stored);
            self.join.extend_from_slice(padding);
            return file.write_at(&self.join, self.position);
        }
        let body_at = self.position + HEADER_BYTES as u64;
        file.write_at(stored, body_at)?;
        file.write_at(padding, body_at + stored.len() as u64)?;
        file.write_at(header, self.position)
    }

    /// Retires the windows that lie behind the position; `true` if the mapper has work now.
    #[inline]
    fn leave_windows(&mut self) -> bool {
        let mut moved = false;
        while let Some(window) = &self.window
            && end_of(window.as_ref()) <= self.position
        {
            self.retired.extend(self.window.take());
            self.window = self.ahead.take();
            moved = true;
        }
        moved || (self.window.is_none() && self.segment.reserved && self.left() > 0)
    }
}

impl Log {
    pub fn new(files: Arc<dyn FileSystem>, clock: Arc<dyn Clock>, config: WalConfig, start: Start) -> Log {
        let room = start.segment.bytes - SEGMENT_HEADER_BYTES as u64;
        let tail = Tail {
            next_segment_id: start.segment.id + 1,
            segment: Arc::new(start.segment),
            position: SEGMENT_HEADER_BYTES as u64,
            last: start.last,
            window: None,
            ahead: None,
            next: None,
            retired: Vec::with_capacity(RETIRED_CAPACITY),
            sealed: Vec::new(),
            catalog: start.catalog,
            write_full: false,
            join: Vec::new(),
        };
        Log {
            files,
            clock,
            dir: config.dir.clone(),
            store_id: config.store_id,
            policy: AtomicU8::new(config.fsync as u8),
            config,
            timeline: start.timeline,
            tail: Mutex::new(tail),
            last: AtomicU64::new(start.last.0),
            appended: AtomicU64::new(start.appended),
            synced: AtomicU64::new(start.appended),
            durable: Arc::new(Waiters::new(start.last.0)),
            room: Arc::new(Waiters::new(0)),
            room_current: AtomicU64::new(room),
            room_next: AtomicU64::new(0),
            no_space_from: AtomicU64::new(SPACE_FOR_ALL),
            stopped: AtomicU8::new(RUNNING),
            cause: OnceLock::new(),
            sync_one: Mutex::new(()),
            sync_requested: AtomicU64::new(0),
            sync_stop: Mutex::new(false),
            sync_wake: Condvar::new(),
            sync_stats: SyncStats::default(),
            mapper: Helper::default(),
            provider: Helper::default(),
            reserve: Mutex::new(None),
            cutting: Mutex::new(()),
        }
    }

    #[inline]
    pub fn append(&self, body: &[u8], class: Class) -> Result<Lsn, AppendError> {
        if body.len() > frame::BODY_BYTES_MAX {
            return Err(too_large(body.len()).into());
        }
        frame::with_body(body, |body| {
            let mut wake = false;
            let outcome = self.append_locked(&mut self.tail.lock(), body, class, &mut wake);
            if wake {
                self.mapper.wake(0);
            }
            outcome
        })
    }

    #[inline]
    fn append_locked(
        &self,
        tail: &mut Tail,
        body: &Body<'_>,
        class: Class,
        wake: &mut bool,
    ) -> Result<Lsn, AppendError> {
        self.check()?;
        let bytes = frame::bytes_for(body.stored.len());
        let kept_back = class == Class::Ordinary && (tail.segment.from_reserve || tail.write_full);
        let is_refused = kept_back && self.is_out_of_space(bytes as u64);
        if is_refused && tail.write_full {
            // A prepared segment without reserved blocks is no space: what the reserve gave back
            // is for deletes.
            return Err(Error::NoSpace { what: "the log" }.into());
        }
        if tail.left() < bytes as u64 || is_refused {
            self.switch_segment(tail, bytes as u64, class)?;
            *wake = true;
        }
        let lsn = tail.last.next();
        self.put(tail, FrameKind::Commit, lsn, body, bytes, wake)?;
        tail.last = lsn;
        self.appended.store(self.appended.load(Ordering::Relaxed) + body.raw_bytes as u64, Ordering::Relaxed);
        // ORDERING: who sees this LSN (the sync thread takes it under the lock; others for waiting)
        // also sees the record's bytes.
        self.last.store(lsn.0, Ordering::Release);
        Ok(lsn)
    }

    /// Writes one frame at the tail, which has room for it.
    #[inline]
    fn put(
        &self,
        tail: &mut Tail,
        kind: FrameKind,
        lsn: Lsn,
        body: &Body<'_>,
        bytes: usize,
        wake: &mut bool,
    ) -> Result<(), AppendError> {
        let seed = frame::seed(self.store_id, tail.segment.id, tail.position);
        let header = body.header(kind, lsn, Lsn(self.durable.value()), seed);
        if !tail.write_mapped(&header, body.stored, bytes) {
            // What a failed write leaves is no frame: the next one overwrites it, or recovery
            // meets it after the last record and cuts it.
            tail.write_through(&header, body.stored, bytes).map_err(|e| self.write_failed(tail, &e))?;
        }
        tail.position += bytes as u64;
        *wake |= tail.leave_windows();
        self.room_current.store(tail.left(), Ordering::Relaxed);
        Ok(())
    }

    #[cold]
    fn write_failed(&self, tail: &mut Tail, error: &std::io::Error) -> AppendError {
        if is_no_space(error) {
            tail.write_full = true;
            self.no_space_from.store(0, Ordering::Relaxed);
            self.provider.wake(0);
            return Error::NoSpace { what: "the log" }.into();
        }
        let copy = std::io::Error::new(error.kind(), error.to_string());
        self.latch(&Error::io("append to", &tail.segment.path, copy)).into()
    }

    /// Moves the tail to the prepared segment.
    #[cold]
    fn switch_segment(&self, tail: &mut Tail, bytes: u64, class: Class) -> Result<(), AppendError> {
        let fits = |p: &Prepared| p.segment.bytes - SEGMENT_HEADER_BYTES as u64 >= bytes;
        let Some(next) = tail.next.take_if(|p| fits(p)) else {
            let full = self.is_out_of_space(bytes);
            return Err(if full { Error::NoSpace { what: "the log" }.into() } else { AppendError::NoRoom });
        };
        if next.segment.from_reserve && class == Class::Ordinary {
            tail.next = Some(next);
            return Err(Error::NoSpace { what: "the log" }.into());
        }
        let Prepared { segment, mut window } = next;
        let header = SegmentHeader {
            timeline: self.timeline,
            segment: segment.id,
            store_id: self.store_id,
            first_lsn: tail.last.next(),
            size: segment.bytes,
            durable: Lsn(self.durable.value()),
        }
        .encode();
        let written = match &mut window {
            Some(window) => {
                window.write(0, &header);
                Ok(())
            }
            None => segment.file.write_at(&header, 0),
        };
        if let Err(e) = written {
            tail.next = Some(Prepared { segment, window });
            return Err(self.write_failed(tail, &e));
        }
        tail.catalog.push_back(Cataloged {
            id: segment.id,
            path: segment.path.clone(),
            first_lsn: tail.last.next(),
            bytes: segment.bytes,
        });
        let old = std::mem::replace(&mut tail.segment, segment);
        tail.sealed.push(old);
        tail.retired.extend(tail.window.take());
        tail.retired.extend(tail.ahead.take());
        tail.window = window;
        tail.position = SEGMENT_HEADER_BYTES as u64;
        tail.write_full = false;
        self.room_next.store(0, Ordering::Relaxed);
        self.provider.wake(0);
        Ok(())
    }

    /// Appends a statement of the durable LSN if nothing was appended since it was reached. It has
    /// no LSN and nobody waits for it: losing it loses a proof, not a record.
    pub fn state_durable(&self) {
        let mut wake = false;
        {
            let mut tail = self.tail.lock();
            let bytes = frame::bytes_for(0);
            let idle = tail.last.0 == self.durable.value();
            let latched = self.stopped.load(Ordering::Relaxed) == LATCHED;
            if latched || !idle || tail.left() < bytes as u64 {
                return;
            }
            let last = tail.last;
            // A full disk or a latch was noted inside; the statement itself is optional.
            let _ = frame::with_body(&[], |body| {
                self.put(&mut tail, FrameKind::Statement, last, body, bytes, &mut wake)
            });
        }
        if wake {
            self.mapper.wake(0);
        }
    }

    // Room.

    #[inline]
    pub fn has_room(&self, bytes: u64) -> bool {
        bytes <= self.room_current.load(Ordering::Relaxed) || bytes <= self.room_next.load(Ordering::Relaxed)
    }

    /// `None`: not yet; the provider was asked.
    pub fn check_room(&self, body_len: usize) -> Option<Result<()>> {
        if let Err(e) = self.check() {
            return Some(Err(e));
        }
        if body_len > frame::BODY_BYTES_MAX {
            return Some(Err(too_large(body_len)));
        }
        let bytes = frame::bytes_for(body_len) as u64;
        if self.has_room(bytes) {
            return Some(Ok(()));
        }
        if self.is_out_of_space(bytes) {
            return Some(Err(Error::NoSpace { what: "the log" }));
        }
        self.provider.wake(bytes);
        None
    }

    /// Offers a prepared segment; returns the one it replaces.
    pub fn offer(&self, segment: Segment) -> Option<Prepared> {
        let room = if segment.from_reserve { 0 } else { segment.bytes - SEGMENT_HEADER_BYTES as u64 };
        let mut tail = self.tail.lock();
        // Under the lock: a switch that uses the segment up must not be overwritten.
        self.room_next.store(room, Ordering::Relaxed);
        let replaced = tail.next.replace(Prepared { segment: Arc::new(segment), window: None });
        drop(tail);
        self.mapper.wake(0);
        replaced
    }

    /// Notes that frames of at least `bytes` find no disk space, or that they do (`None`).
    pub fn set_no_space(&self, from: Option<u64>) {
        self.no_space_from.store(from.unwrap_or(SPACE_FOR_ALL), Ordering::Relaxed);
        self.room.bump();
    }

    fn is_out_of_space(&self, bytes: u64) -> bool {
        bytes >= self.no_space_from.load(Ordering::Relaxed)
    }

    pub fn is_disk_full(&self) -> bool {
        self.no_space_from.load(Ordering::Relaxed) != SPACE_FOR_ALL
    }

    // Stopping.

    #[inline]
    pub fn check(&self) -> Result<()> {
        if self.stopped.load(Ordering::Relaxed) == RUNNING { Ok(()) } else { Err(self.stop_reason()) }
    }

    #[cold]
    pub fn stop_reason(&self) -> Error {
        self.latched().unwrap_or(Error::Closed)
    }

    pub fn latched(&self) -> Option<Error> {
        self.cause.get().map(|cause| Error::Latched { cause: Arc::clone(cause) })
    }

    /// Latches and returns what callers are told.
    pub fn latch(&self, error: &Error) -> Error {
        let cause = self.cause.get_or_init(|| error.to_string().into());
        self.stopped.store(LATCHED, Ordering::SeqCst);
        self.wake_everybody();
        Error::Latched { cause: Arc::clone(cause) }
    }

    /// Refuses appends from now on; `false` if they were refused before.
    pub fn refuse_appends(&self) -> bool {
        // Under the tail's lock: an append is before this call or sees it.
        let _tail = self.tail.lock();
        self.stopped.compare_exchange(RUNNING, CLOSED, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    pub fn wake_everybody(&self) {
        self.durable.close();
        self.room.close();
    }

    pub fn stop_threads(&self) {
        *self.sync_stop.lock() = true;
        self.sync_wake.notify_all();
        self.mapper.stop();
        self.provider.stop();
    }

    // Policy, cutting, numbers.

    pub fn policy(&self) -> FsyncPolicy {
        FsyncPolicy::from_u8(self.policy.load(Ordering::Relaxed))
    }

    pub fn set_policy(&self, policy: FsyncPolicy) {
        self.policy.store(policy as u8, Ordering::Relaxed);
        let _ctl = self.sync_stop.lock();
        self.sync_wake.notify_all();
    }

    pub fn cut_before(&self, redo: Lsn) -> Result<u64> {
        let _one = self.cutting.lock();
        let redo = redo.min(Lsn(self.durable.value()));
        let (victims, keeps_current, current) = {
            let tail = self.tail.lock();
            let count = tail.catalog.iter().skip(1).take_while(|s| s.first_lsn <= redo.next()).count();
            let victims: Vec<Cataloged> = tail.catalog.iter().take(count).cloned().collect();
            (victims, count + 1 == tail.catalog.len(), Arc::clone(&tail.segment))
        };
        if victims.is_empty() {
            return Ok(0);
        }
        // DURABILITY: the segment that becomes the oldest must have its header on the disk, or a
        // crash after the removals leaves a log without a beginning.
        if keeps_current && !current.is_header_durable() {
            self.sync_once()?;
        }
        let mut removed = 0;
        for victim in &victims {
            self.files.remove(&victim.path).map_err(|e| Error::io("remove", &victim.path, e))?;
            self.tail.lock().catalog.pop_front();
            removed += 1;
        }
        // DURABILITY: a crash before this leaves some of the removed files; all are below the redo
        // LSN of a marker that is on the disk, so the next open removes them.
        self.files.sync_dir(&self.dir).map_err(|e| self.latch(&Error::io("sync", &self.dir, e)))?;
        self.provider.wake(0);
        Ok(removed)
    }

    pub fn status(&self) -> WalStatus {
        let reserve = self.reserve.lock().as_ref().map_or(0, |r| r.bytes);
        let tail = self.tail.lock();
        let prepared = tail.next.as_ref().map_or(0, |p| p.segment.bytes);
        let mut status = WalStatus {
            timeline: self.timeline,
            first_lsn: tail.catalog.front().map_or(tail.last.next(), |s| s.first_lsn),
            durable_lsn: Lsn(self.durable.value()),
            last_lsn: tail.last,
            segments: tail.catalog.len() as u64,
            bytes_on_disk: tail.catalog.iter().map(|s| s.bytes).sum::<u64>() + prepared + reserve,
            appended_bytes_total: self.appended.load(Ordering::Relaxed),
            disk_full: self.is_disk_full(),
            ..WalStatus::default()
        };
        self.sync_stats.fill(&mut status);
        status
    }

    #[cfg(feature = "failpoints")]
    pub fn breaks(&self, failpoint: u32) -> bool {
        self.config.breaks(failpoint)
    }
}

fn too_large(bytes: usize) -> Error {
    Error::TooLarge { what: "a log record", bytes: bytes as u64, limit: frame::BODY_BYTES_MAX as u64 }
}
