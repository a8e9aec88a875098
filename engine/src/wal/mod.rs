//! The write-ahead log: one totally ordered sequence of records, one per commit, that alone makes
//! a write durable.
//!
//! # How
//! Records become checksummed frames (`frame`) in preallocated segment files (`segment`). An append
//! (`writer`) is serial under one mutex: give the record the next LSN, complete its checksum, copy
//! it into a memory-mapped window. Two helper threads (`prepare`) keep windows and the next segment
//! ready ahead of it; another (`sync`) makes the log durable for whole groups of commits at once.
//! Opening (`recover`) finds what survived, makes it durable, cuts the rest and replays. `reader`
//! serves durable records to consumers of the log.
//!
//! # Promises
//! - An appended record survives the death of the process. A record at or below
//!   [`Wal::durable_lsn`] survives the death of the machine.
//! - What survives is a prefix of the order of appends, without gaps.
//! - Damage below what was proven durable is reported with file and offset, never skipped. Proof is
//!   the durable LSN that every frame and segment header carries.
//! - Before the first new append after an open, everything replayed is durable.
//! - A failed write or sync latches: nothing becomes durable from then on, nothing is retried.
//!   A full disk does not latch: appends fail until space returns, and [`Wal::append_reserved`]
//!   still has a reserve.
//!
//! # Not
//! It does not know what is in a record, does not decide when to cut (the checkpoint does), and
//! does not lock the data folder.
//!
//! The bytes on disk are in `docs/formats/wal.md`.

pub mod effect;
pub mod frame;
mod prepare;
mod reader;
mod recover;
pub mod segment;
mod sync;
#[cfg(test)]
mod tests;
mod writer;

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;

use crate::env::{Clock, FileSystem};
use crate::error::{Error, Result};
use crate::ids::Lsn;
pub use reader::LogReader;
use writer::{Class, Log};

/// The LSN of a store's first record.
const FIRST_LSN: Lsn = Lsn(1);

/// When appended records are synced to the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum FsyncPolicy {
    /// As soon as somebody waits: one sync for all that was appended meanwhile.
    Always = 0,
    /// At most a second after the first append that is not durable.
    #[default]
    EverySec = 1,
    /// Only when asked for.
    No = 2,
}

impl FsyncPolicy {
    fn from_u8(value: u8) -> FsyncPolicy {
        match value {
            0 => FsyncPolicy::Always,
            1 => FsyncPolicy::EverySec,
            _ => FsyncPolicy::No,
        }
    }
}

/// Failpoints that violate one promise each; tests show that the violation is noticed.
#[cfg(feature = "failpoints")]
pub mod failpoint {
    /// Syncs the current segment but not the sealed ones before it.
    pub const BREAK_SYNC_ORDER: u32 = 1;
    /// Opens without syncing what was found.
    pub const BREAK_OPEN_SYNC: u32 = 2;
    /// Cuts at a gap without looking for a proof that it had been durable.
    pub const BREAK_PREFIX: u32 = 4;
    /// Tries a failed sync again instead of latching.
    pub const BREAK_LATCH: u32 = 8;
}

/// How the log is kept. [`WalConfig::new`] has the defaults.
#[derive(Clone, Debug)]
pub struct WalConfig {
    /// The log's folder; made if missing.
    pub dir: PathBuf,
    /// Size of a segment file. Larger records get a larger segment of their own.
    pub segment_bytes: u64,
    /// When to sync; [`Wal::set_fsync`] changes it.
    pub fsync: FsyncPolicy,
    /// The store the log belongs to. Logs of other stores are refused.
    pub store_id: u64,
    /// Preallocated bytes that only [`Wal::append_reserved`] uses, when the disk is full. 0: none.
    pub reserve_bytes: u64,
    /// First byte of every record: another one refuses the log before anything is changed.
    pub record_version: Option<u8>,
    /// Bits of [`failpoint`].
    #[cfg(feature = "failpoints")]
    pub failpoints: u32,
}

impl WalConfig {
    /// A log in `dir` with segments of 64 MiB, a reserve of 1 MiB and a sync each second.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>, store_id: u64) -> WalConfig {
        WalConfig {
            dir: dir.into(),
            segment_bytes: 64 << 20,
            fsync: FsyncPolicy::default(),
            store_id,
            reserve_bytes: 1 << 20,
            record_version: None,
            #[cfg(feature = "failpoints")]
            failpoints: 0,
        }
    }

    #[cfg(feature = "failpoints")]
    fn breaks(&self, failpoint: u32) -> bool {
        self.failpoints & failpoint != 0
    }
}

/// One record, as replay and readers see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordView<'a> {
    /// The commit's LSN.
    pub lsn: Lsn,
    /// The bytes that were appended.
    pub body: &'a [u8],
    /// Segment and offset of the frame, for error reports.
    pub segment: u64,
    /// Offset of the frame in its segment's file.
    pub offset: u64,
}

/// What the cold tier knows about the log when it is opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenFrom {
    /// Replay starts at the first record above this LSN.
    pub redo_lsn: Lsn,
    /// The highest LSN whose change is known to be in the cold tier. It was durable by invariant.
    pub highest_written: Lsn,
    /// The store's timeline as last recorded.
    pub timeline: u32,
}

/// What an open cut off the end of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CutReport {
    /// File in which the longest gapless run ends.
    pub file: String,
    /// Offset in it of the first byte that was cut.
    pub offset: u64,
    /// Bytes cut there and in later segments, without trailing zeros.
    pub bytes: u64,
}

/// What an open found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalReport {
    /// LSN of the first record that is kept (one above `last_lsn` if there is none).
    pub first_lsn: Lsn,
    /// LSN of the last record; the next append gets the one after it.
    pub last_lsn: Lsn,
    /// Records replayed.
    pub records: u64,
    /// Bytes of their bodies, uncompressed.
    pub bytes: u64,
    /// What had to be cut, if anything.
    pub cut: Option<CutReport>,
    /// The timeline from now on.
    pub timeline: u32,
    /// Segment files, the new one included.
    pub segments: usize,
}

/// Why nothing was appended.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AppendError {
    /// The next segment is not ready yet. Release all locks, await [`Wal::room`], try again.
    #[error("no log space is prepared yet")]
    NoRoom,
    /// The log is latched, closed, or the disk is full.
    #[error(transparent)]
    Failed(#[from] Error),
}

/// Numbers for INFO.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WalStatus {
    /// The timeline of this run.
    pub timeline: u32,
    /// LSN of the first record in the log.
    pub first_lsn: Lsn,
    /// See [`Wal::durable_lsn`].
    pub durable_lsn: Lsn,
    /// See [`Wal::last_lsn`].
    pub last_lsn: Lsn,
    /// Segment files in use (not the prepared one).
    pub segments: u64,
    /// Their size, with the prepared segment and the reserve.
    pub bytes_on_disk: u64,
    /// See [`Wal::bytes_total`].
    pub appended_bytes_total: u64,
    /// Group commits since the open.
    pub fsyncs: u64,
    /// How long the last one took, microseconds.
    pub fsync_us_last: u64,
    /// The longest so far, microseconds.
    pub fsync_us_max: u64,
    /// Records made durable by the last group commit.
    pub group_last: u64,
    /// The largest group so far.
    pub group_max: u64,
    /// Whether appends fail for lack of disk space now.
    pub disk_full: bool,
}

/// The open log.
pub struct Wal {
    log: Arc<Log>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Wal {
    /// Recovers the log and starts it.
    ///
    /// Keeps the longest gapless run of records, makes it durable, cuts what follows, starts a new
    /// segment, then calls `replay` once per record above `from.redo_lsn`, in order. All that is
    /// replayed is durable already.
    ///
    /// # Errors
    /// [`Error::Corruption`] (file and offset) when a record that had been durable is missing or
    /// damaged, or the log starts above the redo LSN; [`Error::Format`] when the log belongs to
    /// another store or a newer version; [`Error::NoSpace`] when not even a small segment fits;
    /// the error of `replay`. Nothing was removed from the log in the first two cases.
    pub fn open(
        files: Arc<dyn FileSystem>,
        clock: Arc<dyn Clock>,
        config: WalConfig,
        from: OpenFrom,
        replay: &mut dyn FnMut(RecordView<'_>) -> Result<()>,
    ) -> Result<(Arc<Wal>, WalReport)> {
        let (log, report) = recover::open(files, clock, config, from, replay)?;
        // The first append finds its window, the first delete on a full disk its reserve.
        log.prepare_all()?;
        let wal = Wal { log: Arc::new(log), threads: Mutex::new(Vec::new()) };
        wal.spawn("lux-wal-sync", sync::run)?;
        wal.spawn("lux-wal-map", prepare::run_mapper)?;
        wal.spawn("lux-wal-space", prepare::run_provider)?;
        Ok((Arc::new(wal), report))
    }

    fn spawn(&self, name: &str, run: fn(&Log)) -> Result<()> {
        let log = Arc::clone(&self.log);
        let guarded = move || {
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(&log)));
            if outcome.is_err() {
                log.latch(&Error::Latched { cause: "a thread of the log panicked".into() });
            }
        };
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(guarded);
        self.threads.lock().push(thread.map_err(|e| Error::io("start a thread for", &self.log.dir, e))?);
        Ok(())
    }

    /// Appends one record and returns its LSN. Visible to recovery after `kill -9` when this
    /// returns; durable once [`Wal::durable_lsn`] reaches the LSN. Never blocks on the disk unless
    /// the prepared windows are used up or the file system reserves nothing.
    ///
    /// # Errors
    /// See [`AppendError`]; nothing was appended.
    #[inline]
    pub fn append(&self, body: &[u8]) -> Result<Lsn, AppendError> {
        self.log.append(body, Class::Ordinary)
    }

    /// As [`Wal::append`], but may use the reserve when the disk is full: for deletes.
    ///
    /// # Errors
    /// See [`AppendError`]; nothing was appended.
    pub fn append_reserved(&self, body: &[u8]) -> Result<Lsn, AppendError> {
        self.log.append(body, Class::Reserved)
    }

    /// Whether a record of `body_len` bytes could be appended now. A hint: others may be faster.
    #[inline]
    #[must_use]
    pub fn has_room(&self, body_len: usize) -> bool {
        self.log.has_room(frame::bytes_for(body_len) as u64)
    }

    /// Resolves once a record of `body_len` bytes has room; prepares a larger segment if need be.
    /// Hold no locks. Fails with [`Error::NoSpace`] while the disk is full, and when latched.
    pub fn room(&self, body_len: usize) -> impl Future<Output = Result<()>> + Send + 'static + use<> {
        let log = Arc::clone(&self.log);
        async move {
            loop {
                let generation = log.room.value();
                if let Some(outcome) = log.check_room(body_len) {
                    return outcome;
                }
                // Closed: the next check says why.
                let _ = log.room.at_least(generation + 1).await;
            }
        }
    }

    /// [`Wal::room`] for threads.
    ///
    /// # Errors
    /// As [`Wal::room`]; [`Error::NoSpace`] also when `timeout` passes first.
    pub fn wait_room_blocking(&self, body_len: usize, timeout: Duration) -> Result<()> {
        loop {
            let generation = self.log.room.value();
            if let Some(outcome) = self.log.check_room(body_len) {
                return outcome;
            }
            if self.log.room.wait_blocking(generation + 1, Some(timeout)) == crate::wait::Waited::TimedOut {
                return self.log.check_room(body_len).unwrap_or(Err(Error::NoSpace { what: "the log" }));
            }
        }
    }

    /// LSN of the last record appended.
    #[inline]
    #[must_use]
    pub fn last_lsn(&self) -> Lsn {
        // ORDERING: pairs with the release in `append`, for readers outside the shard locks.
        Lsn(self.log.last.load(Ordering::Acquire))
    }

    /// All records up to this LSN survive a power cut.
    #[inline]
    #[must_use]
    pub fn durable_lsn(&self) -> Lsn {
        Lsn(self.log.durable.value())
    }

    /// Asks for a sync of everything up to `upto`, in every mode. Does not wait.
    pub fn request_sync(&self, upto: Lsn) {
        self.log.request_sync(upto);
    }

    /// Requests a sync and blocks until `upto` is durable. `upto` must have been appended.
    ///
    /// # Errors
    /// [`Error::Latched`] or [`Error::Closed`] when it cannot become durable any more.
    pub fn wait_durable_blocking(&self, upto: Lsn) -> Result<()> {
        self.log.request_sync(upto);
        match self.log.durable.wait_blocking(upto.0, None) {
            crate::wait::Waited::Reached => Ok(()),
            _ => Err(self.log.stop_reason()),
        }
    }

    /// Resolves once `upto` is durable. Requests the sync itself under [`FsyncPolicy::Always`], right
    /// in this call; otherwise it comes with the next one. Dropping the future withdraws the wait.
    pub fn durable(&self, upto: Lsn) -> impl Future<Output = Result<()>> + Send + 'static + use<> {
        if self.fsync() == FsyncPolicy::Always {
            self.log.request_sync(upto);
        }
        let log = Arc::clone(&self.log);
        async move { log.durable.at_least(upto.0).await.map_err(|_| log.stop_reason()) }
    }

    /// Changes when records are synced, from now on.
    pub fn set_fsync(&self, policy: FsyncPolicy) {
        self.log.set_policy(policy);
    }

    /// When records are synced.
    #[inline]
    #[must_use]
    pub fn fsync(&self) -> FsyncPolicy {
        self.log.policy()
    }

    /// Stops all appends and acknowledgements until a restart; the first cause stays.
    pub fn latch(&self, cause: Error) {
        self.log.latch(&cause);
    }

    /// Why the log is latched, if it is.
    #[must_use]
    pub fn latched(&self) -> Option<Error> {
        self.log.latched()
    }

    /// Deletes the segments all of whose records are at or below `redo_lsn` and returns how many.
    /// The deletion is durable on return. Never deletes the current segment, nor anything above
    /// the durable LSN.
    ///
    /// # Errors
    /// [`Error::Io`]; what is left is removed by the next cut or open. Latches if a sync fails.
    pub fn cut_before(&self, redo_lsn: Lsn) -> Result<u64> {
        self.log.cut_before(redo_lsn)
    }

    /// Numbers for INFO.
    #[must_use]
    pub fn status(&self) -> WalStatus {
        self.log.status()
    }

    /// Uncompressed bytes of the records that are not durable yet.
    #[must_use]
    pub fn undurable_bytes(&self) -> u64 {
        self.log.appended.load(Ordering::Relaxed).saturating_sub(self.log.synced.load(Ordering::Relaxed))
    }

    /// Bytes of record bodies appended since the open, uncompressed, replayed ones included.
    #[inline]
    #[must_use]
    pub fn bytes_total(&self) -> u64 {
        self.log.appended.load(Ordering::Relaxed)
    }

    /// The timeline of this run.
    #[must_use]
    pub fn timeline(&self) -> u32 {
        self.log.timeline
    }

    /// A reader of the durable records above `after`.
    #[must_use]
    pub fn read_from(&self, after: Lsn) -> LogReader {
        LogReader::new(Arc::clone(&self.log), after)
    }

    /// Makes everything durable, states so in the log and stops the threads. Appends fail with
    /// [`Error::Closed`] from the start of this call. Calling it again does nothing.
    ///
    /// # Errors
    /// The latch's cause, or the sync's failure.
    pub fn close(&self) -> Result<()> {
        let open = self.log.refuse_appends();
        self.stop_threads();
        let outcome = if open { self.log.final_sync() } else { self.latched().map_or(Ok(()), Err) };
        self.log.wake_everybody();
        outcome
    }

    fn stop_threads(&self) {
        self.log.stop_threads();
        for thread in self.threads.lock().drain(..) {
            // A panic of a helper has latched the log already.
            let _ = thread.join();
        }
    }
}

impl Drop for Wal {
    /// Stops the threads. Does not sync: what was appended is as safe as after `kill -9`.
    fn drop(&mut self) {
        self.log.refuse_appends();
        self.stop_threads();
        self.log.wake_everybody();
    }
}
