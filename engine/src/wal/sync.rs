//! Making the log durable: the sync thread and the one place that moves the durable LSN.
//!
//! One [`Log::sync_once`] is one group commit: it takes the last LSN, syncs the segments that were
//! left behind since the last time, oldest first, then the current one, and only then publishes.
//! Records appended meanwhile are the next group. The thread decides when:
//!
//! - `Always`: as long as somebody asked for more than is durable.
//! - `EverySec`: also each second, if anything was appended.
//! - `No`: only when asked.
//!
//! After a sync with nothing appended for a moment the thread states the durable LSN in the log,
//! so that the last records, too, are proven durable should they be damaged later.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::writer::Log;
use super::{FsyncPolicy, WalStatus};
use crate::error::{Error, Result};
use crate::ids::Lsn;

/// How long a record may wait for its sync under `EverySec`.
const INTERVAL: Duration = Duration::from_secs(1);
/// How long nothing is appended before the durable LSN is stated. A busy log needs no statements:
/// its records carry the proof.
const IDLE: Duration = Duration::from_millis(10);

/// Numbers about group commits.
#[derive(Debug, Default)]
pub(super) struct SyncStats {
    count: AtomicU64,
    us_last: AtomicU64,
    us_max: AtomicU64,
    group_last: AtomicU64,
    group_max: AtomicU64,
}

impl SyncStats {
    fn note(&self, us: u64, group: u64) {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.us_last.store(us, Ordering::Relaxed);
        self.us_max.fetch_max(us, Ordering::Relaxed);
        self.group_last.store(group, Ordering::Relaxed);
        self.group_max.fetch_max(group, Ordering::Relaxed);
    }

    pub fn fill(&self, status: &mut WalStatus) {
        status.fsyncs = self.count.load(Ordering::Relaxed);
        status.fsync_us_last = self.us_last.load(Ordering::Relaxed);
        status.fsync_us_max = self.us_max.load(Ordering::Relaxed);
        status.group_last = self.group_last.load(Ordering::Relaxed);
        status.group_max = self.group_max.load(Ordering::Relaxed);
    }
}

/// What the thread does next.
enum Next {
    Sync,
    State,
    Stop,
}

/// The sync thread.
pub(super) fn run(log: &Log) {
    let mut tick = log.clock.monotonic_ns();
    let mut stated = true;
    loop {
        match wait(log, &mut tick, stated) {
            Next::Stop => return,
            Next::Sync => {
                // Whoever is ready to append joins this group instead of waiting for the next one.
                std::thread::yield_now();
                // A failure has latched the log; from then on there is nothing to do but stop.
                stated = log.sync_once().is_err();
            }
            Next::State => {
                log.state_durable();
                stated = true;
            }
        }
    }
}

fn wait(log: &Log, tick: &mut u64, stated: bool) -> Next {
    let mut stop = log.sync_stop.lock();
    loop {
        if *stop {
            return Next::Stop;
        }
        let (last, durable) = (log.last.load(Ordering::Acquire), log.durable.value());
        let unsynced = last > durable && log.latched().is_none();
        if unsynced && log.sync_requested.load(Ordering::SeqCst) > durable {
            return Next::Sync;
        }
        let every_second = log.policy() == FsyncPolicy::EverySec;
        let now = log.clock.monotonic_ns();
        let due = *tick + INTERVAL.as_nanos() as u64;
        if every_second && now >= due {
            *tick = now;
            if unsynced {
                return Next::Sync;
            }
            continue;
        }
        if !stated && last == durable {
            if log.sync_wake.wait_for(&mut stop, IDLE).timed_out()
                && !*stop
                && log.last.load(Ordering::Acquire) == durable
            {
                return Next::State;
            }
        } else if every_second {
            log.sync_wake.wait_for(&mut stop, Duration::from_nanos(due - now));
        } else {
            log.sync_wake.wait(&mut stop);
        }
    }
}

impl Log {
    pub fn request_sync(&self, upto: Lsn) {
        if upto.0 <= self.durable.value() {
            return;
        }
        // ORDERING: the thread reads the request under `sync_stop`; taking that lock after the store
        // means that it either sees the request or is waiting already and gets the notification.
        if self.sync_requested.fetch_max(upto.0, Ordering::SeqCst) < upto.0 {
            drop(self.sync_stop.lock());
            self.sync_wake.notify_one();
        }
    }

    /// Makes everything appended so far durable and returns the LSN that is durable now.
    ///
    /// # Errors
    /// A failure latches; it is never retried, since the kernel may have dropped the pages.
    pub fn sync_once(&self) -> Result<Lsn> {
        let _one = self.sync_one.lock();
        let (upto, appended, sealed, current) = {
            let mut tail = self.tail.lock();
            if let Some(cause) = self.latched() {
                return Err(cause);
            }
            let appended = self.appended.load(Ordering::Relaxed);
            (tail.last, appended, std::mem::take(&mut tail.sealed), tail.segment.clone())
        };
        let started = self.clock.monotonic_ns();
        #[cfg(feature = "failpoints")]
        let sealed = if self.breaks(super::failpoint::BREAK_SYNC_ORDER) { Vec::new() } else { sealed };
        for segment in sealed.iter().chain([&current]) {
            // DURABILITY: oldest first. A crash between two of them leaves the durable LSN where it
            // was; the later segment's records count only if the earlier one's are all there.
            let synced = segment.file.sync_data();
            #[cfg(feature = "failpoints")]
            let synced = match synced {
                Err(_) if self.breaks(super::failpoint::BREAK_LATCH) => segment.file.sync_data(),
                synced => synced,
            };
            synced.map_err(|e| self.latch(&Error::io("sync", &segment.path, e)))?;
            segment.set_header_durable();
        }
        if let Some(cause) = self.latched() {
            return Err(cause);
        }
        let us = (self.clock.monotonic_ns() - started) / 1000;
        self.sync_stats.note(us, upto.0.saturating_sub(self.durable.value()));
        self.durable.advance(upto.0);
        self.synced.store(appended, Ordering::Relaxed);
        Ok(upto)
    }

    /// The end of a clean shutdown: sync, state it, sync the statement.
    pub fn final_sync(&self) -> Result<()> {
        self.sync_once()?;
        self.state_durable();
        self.sync_once()?;
        Ok(())
    }
}
