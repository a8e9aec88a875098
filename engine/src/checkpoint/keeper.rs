//! The keeper: the one thread that moves dirty entries to the cold tier.
//!
//! It runs checkpoint rounds (on request, on a timer, or when the log to replay grows too long),
//! writes back under memory pressure, and publishes how hard writers must be slowed down. Nobody
//! else writes to the cold tier while the store is open, so write-backs never overlap.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::budget::Budget;
use super::round::RoundReport;
use crate::config::{EngineConfig, MemoryProbe};
use crate::env::{Clock, FileSystem};
use crate::error::{Error, Result};
use crate::failpoint::Break;
use crate::ids::{DbId, DbIndex, Lsn};
use crate::keyspace::entry::flag;
use crate::keyspace::hash::SHARDS;
use crate::keyspace::store::Store;
use crate::tier::spill::{SpillBatch, Which};
use crate::txn::Core;

/// How long the keeper sleeps when nothing presses.
const IDLE: Duration = Duration::from_millis(50);
/// How long it waits before it writes again when there was no disk space.
const NO_SPACE: Duration = Duration::from_millis(200);
/// Time between two looks at memory when it is half full, and when it is nearly full.
const GOVERN: Duration = Duration::from_millis(10);
const GOVERN_FULL: Duration = Duration::from_millis(3);
/// Time between two measurements of memory.
const BUDGET_NS: u64 = 250_000_000;
/// Entries of a shard that the keeper looks at while it holds the lock: some 50 microseconds.
const VISITS: usize = 512;
/// Time between two write-backs of the few dirty entries in a full hot tier.
const CLEAN_NS: u64 = 2_000_000_000;
/// So many values may have moved since their keys were written; most count twice.
const TIES_MAX: usize = 128;
/// How long write-back may stand still before writers are refused.
const STUCK_NS: u64 = 5_000_000_000;

/// How hard writers must be slowed down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pressure {
    None,
    /// Wait this long, then write.
    Delay(Duration),
    /// Wait until this changes.
    Hold,
    /// Write-back makes no progress: refuse with `-OOM`.
    Refuse,
    /// The disk or `maxdisk` is full: refuse what needs space, accept deletions.
    DiskFull,
}

/// What somebody asks the keeper to do.
pub enum Request {
    /// A checkpoint round.
    Round,
    /// Write the parts of values that are being built.
    Parts,
    /// Give all keys that wait for their row since the replay their base.
    Resolve,
    /// Move entries out of memory: those of a database whose key the filter picks.
    Evict(DbIndex, Box<dyn Fn(&[u8]) -> bool + Send>),
}

/// The outcome of a request, to wait for.
#[derive(Default)]
pub struct Reply {
    outcome: Mutex<Option<Result<RoundReport>>>,
    done: Condvar,
}

impl Reply {
    /// Waits for the outcome.
    pub fn wait(&self) -> Result<RoundReport> {
        let mut outcome = self.outcome.lock();
        loop {
            if let Some(outcome) = &*outcome {
                return outcome.clone();
            }
            self.done.wait(&mut outcome);
        }
    }

    fn is_set(&self) -> bool {
        self.outcome.lock().is_some()
    }

    fn set(&self, outcome: Result<RoundReport>) {
        *self.outcome.lock() = Some(outcome);
        self.done.notify_all();
    }
}

/// The thread's shared state.
pub struct Keeper {
    pub(super) core: Arc<Core>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) files: Arc<dyn FileSystem>,
    pub(super) dir: PathBuf,
    pub(super) store_id: u64,
    pub(super) state: Mutex<State>,
    wake: Condvar,
    /// Microseconds of delay for writers; `HOLD`, `REFUSE`.
    pressure: AtomicU32,
    /// The longest redo tail, in uncompressed bytes of the log; writers are slowed down before it.
    pub redo_max: AtomicU64,
    /// Bytes that the opening replayed, and the milliseconds that it took.
    replayed: (u64, u64),
    pub interval_ms: AtomicU64,
    /// When the last round ended, Unix ms.
    pub last_round_ms: AtomicU64,
    pub is_round_running: AtomicBool,
    /// Rounds that were asked for and are not done.
    pub rounds_asked: AtomicU32,
    /// Bytes of dirty entries and of all, as of the keeper's last look.
    pub dirty_bytes: AtomicUsize,
    pub hot_bytes: AtomicUsize,
    /// Bound on the memory of the process, bytes.
    pub maxmemory: AtomicU64,
    probe: Mutex<Option<MemoryProbe>>,
    budget: Mutex<Budget>,
    last_budget: AtomicU64,
    /// When few dirty entries were last written back, monotonic ns.
    last_clean: AtomicU64,
    /// When the hot set was last saved, monotonic ns plus one; 0: never.
    pub(super) hot_set_saved: AtomicU64,
    /// Entries written back and evicted, and when that number last changed, monotonic ns.
    last_progress: (AtomicU64, AtomicU64),
}

/// What the mutex guards.
pub(super) struct State {
    requests: VecDeque<(Request, Arc<Reply>)>,
    pub(super) is_stopping: bool,
    /// Highest LSN of any row written.
    highest: Lsn,
    /// Redo LSN of the flushed marker and the log's byte count at that point.
    pub(super) redo: (Lsn, u64),
    pub(super) dropped_incarnations: Vec<Vec<u8>>,
    /// Generation of the file of filters; 0: there is none that fits.
    pub(super) filters: u64,
    /// A batch that found no disk space. Its images count as in flight, so it goes before any other.
    stalled: Option<SpillBatch>,
}

/// The longest redo tail, whatever the memory.
const TAIL_MAX: u64 = 256 << 20;
/// Longest time that replaying the tail may take, by what the last opening measured.
const REPLAY_MS_MAX: u64 = 10_000;
/// A replay of fewer bytes measures nothing.
const REPLAY_MEASURED: u64 = 4 << 20;
/// Eighths of the longest tail at which a round is due: the rest is for what comes while it runs.
const ROUND_EIGHTHS: u64 = 5;
/// Share of the longest tail from which on writers are slowed down.
const TAIL_BRAKE: f64 = 0.75;
/// Entries of dead databases that one look of the governor frees: some milliseconds.
const GOVERNOR_FREES: usize = 20_000;

const HOLD: u32 = u32::MAX - 1;
const REFUSE: u32 = u32::MAX;

impl Keeper {
    /// A keeper; run it with [`Keeper::run`].
    pub fn new(
        core: Arc<Core>,
        config: &EngineConfig,
        store_id: u64,
        highest: Lsn,
        redo: Lsn,
        filters: u64,
        replayed: (u64, u64),
    ) -> Arc<Keeper> {
        let clock = Arc::clone(&config.clock);
        let (now_ms, started) = (clock.unix_ms(), clock.monotonic_ns());
        Arc::new(Keeper {
            core,
            clock,
            files: Arc::clone(&config.files),
            dir: config.dir.clone(),
            store_id,
            state: Mutex::new(State {
                requests: VecDeque::new(),
                is_stopping: false,
                highest,
                redo: (redo, 0),
                dropped_incarnations: Vec::new(),
                filters,
                stalled: None,
            }),
            wake: Condvar::new(),
            pressure: AtomicU32::new(0),
            redo_max: AtomicU64::new(64 << 20),
            replayed,
            interval_ms: AtomicU64::new(60_000),
            last_round_ms: AtomicU64::new(now_ms),
            is_round_running: AtomicBool::new(false),
            rounds_asked: AtomicU32::new(0),
            dirty_bytes: AtomicUsize::new(0),
            hot_bytes: AtomicUsize::new(0),
            maxmemory: AtomicU64::new(u64::MAX),
            probe: Mutex::new(None),
            budget: Mutex::default(),
            last_budget: AtomicU64::new(0),
            last_clean: AtomicU64::new(started),
            hot_set_saved: AtomicU64::new(0),
            last_progress: (AtomicU64::new(0), AtomicU64::new(started)),
        })
    }

    /// Takes the settings that concern write-back and the budget.
    pub fn configure(&self, config: &EngineConfig) {
        self.set_maxmemory(config.maxmemory);
        self.interval_ms.store(config.checkpoint_interval_ms, Ordering::Relaxed);
        *self.probe.lock() = config.memory_probe.clone();
    }

    /// Sets the memory bound, and with it how much log may have to be replayed.
    pub fn set_maxmemory(&self, bytes: u64) {
        self.redo_max.store(tail_bound(bytes, self.replayed), Ordering::Relaxed);
        self.maxmemory.store(bytes, Ordering::Relaxed);
    }

    /// Divides the memory bound anew: what the process uses besides entries is measured, the
    /// hot tier gets the rest.
    fn rebudget(&self, hot_bytes: usize) {
        let Some(probe) = self.probe.lock().clone() else { return };
        let now = self.clock.monotonic_ns();
        if now.saturating_sub(self.last_budget.load(Ordering::Relaxed)) < BUDGET_NS {
            return;
        }
        self.last_budget.store(now, Ordering::Relaxed);
        let maxmemory = self.maxmemory.load(Ordering::Relaxed);
        let store = &self.core.store;
        let before = store.hot_limit.load(Ordering::Relaxed) as u64;
        let (sample, cold) = (probe(), store.cold.memory());
        let next = self.budget.lock().divide(maxmemory, sample, cold, hot_bytes as u64, before);
        store.hot_limit.store(usize::try_from(next).unwrap_or(usize::MAX), Ordering::Relaxed);
    }

    /// Asks for something; wait on the reply or drop it.
    pub fn request(&self, request: Request) -> Arc<Reply> {
        let reply = Arc::new(Reply::default());
        let mut state = self.state.lock();
        if state.is_stopping {
            reply.set(Err(self.core.wal.latched().unwrap_or(Error::Closed)));
        } else {
            if matches!(request, Request::Round) {
                self.rounds_asked.fetch_add(1, Ordering::Relaxed);
            }
            state.requests.push_back((request, Arc::clone(&reply)));
        }
        drop(state);
        self.wake.notify_all();
        reply
    }

    /// How hard writers must be slowed down now.
    #[inline]
    #[must_use]
    pub fn pressure(&self) -> Pressure {
        match self.pressure.load(Ordering::Relaxed) {
            0 => Pressure::None,
            HOLD => Pressure::Hold,
            REFUSE => Pressure::Refuse,
            micros => Pressure::Delay(Duration::from_micros(u64::from(micros))),
        }
    }

    /// Redo LSN of the flushed marker, and bytes of the log behind it.
    #[must_use]
    pub fn redo(&self) -> (Lsn, u64) {
        let (lsn, bytes) = self.state.lock().redo;
        (lsn, self.core.wal.bytes_total() - bytes)
    }

    /// Asks the thread to end after the request it works on.
    pub fn stop(&self) {
        self.state.lock().is_stopping = true;
        self.wake.notify_all();
    }

    /// The keeper's thread panicked: takes no more requests and fails those that wait.
    pub fn give_up(&self) {
        let requests = {
            let mut state = self.state.lock();
            state.is_stopping = true;
            std::mem::take(&mut state.requests)
        };
        let error = self.core.wal.latched().unwrap_or(Error::Closed);
        for (request, reply) in requests {
            self.answer(matches!(request, Request::Round), &reply, Err(error.clone()));
        }
    }

    /// The body of the keeper's thread. A panic on the way is a failure like any other: it latches,
    /// and whoever asked for what went wrong is told.
    pub fn run(&self) {
        let mut has_space = true;
        loop {
            let request = {
                let mut state = self.state.lock();
                let is_pressed = has_space && self.core.store.wants_relief();
                if state.requests.is_empty() && !state.is_stopping && !is_pressed {
                    self.wake.wait_for(&mut state, if has_space { IDLE } else { NO_SPACE });
                }
                match state.requests.pop_front() {
                    Some(request) => Some(request),
                    None if state.is_stopping => break,
                    None => None,
                }
            };
            if self.core.wal.latched().is_some() {
                if let Some((request, reply)) = request {
                    let error = self.core.wal.latched().unwrap_or(Error::Closed);
                    self.answer(matches!(request, Request::Round), &reply, Err(error));
                } else {
                    std::thread::sleep(IDLE);
                }
                continue;
            }
            let asked = request
                .as_ref()
                .map(|(request, reply)| (matches!(request, Request::Round), Arc::clone(reply)));
            let outcome = catch_unwind(AssertUnwindSafe(|| self.step(request))).unwrap_or_else(|_| {
                self.is_round_running.store(false, Ordering::Relaxed);
                let error = Error::Latched { cause: "the thread lux-keeper panicked".into() };
                self.core.wal.latch(error.clone());
                if let Some((is_round, reply)) = asked.filter(|(_, reply)| !reply.is_set()) {
                    self.answer(is_round, &reply, Err(error.clone()));
                }
                Err(error)
            });
            has_space = !matches!(outcome, Err(Error::NoSpace { .. }));
            if let (Err(error), true) = (outcome, has_space) {
                tracing::error!(%error, "write-back failed; no further writes until a restart");
                self.core.wal.latch(error);
            }
        }
        self.save_hot_set();
    }

    /// Serves a request, or runs a round if one is due; then looks at memory.
    fn step(&self, request: Option<(Request, Arc<Reply>)>) -> Result<()> {
        let served = self.serve(request);
        match &served {
            // What is clean can go all the same.
            Ok(()) | Err(Error::NoSpace { .. }) => served.clone().and(self.relieve(served.is_ok())),
            Err(_) => served,
        }
    }

    fn answer(&self, is_round: bool, reply: &Reply, outcome: Result<RoundReport>) {
        if is_round {
            self.rounds_asked.fetch_sub(1, Ordering::Relaxed);
        }
        reply.set(outcome);
    }

    fn serve(&self, request: Option<(Request, Arc<Reply>)>) -> Result<()> {
        let Some((request, reply)) = request else { return self.round_if_due() };
        let (is_round, is_parts) = (matches!(request, Request::Round), matches!(request, Request::Parts));
        let outcome = match request {
            Request::Round => self.timed_round(),
            Request::Parts => self.write_parts().map(|()| RoundReport::default()),
            Request::Resolve => self.resolve_waiting().map(|()| RoundReport::default()),
            Request::Evict(db, filter) => {
                let rows = self.evict_matching(db, &*filter);
                rows.map(|rows| RoundReport { rows, ..RoundReport::default() })
            }
        };
        self.answer(is_round, &reply, outcome.clone());
        outcome?;
        // Parts may come one after the other for long, and the log grows.
        if is_parts { self.round_if_due() } else { Ok(()) }
    }

    fn round_if_due(&self) -> Result<()> {
        let (_, tail) = self.redo();
        let age = self.clock.unix_ms().saturating_sub(self.last_round_ms.load(Ordering::Relaxed));
        let is_due = age >= self.interval_ms.load(Ordering::Relaxed) && tail > 0;
        if tail > self.redo_max.load(Ordering::Relaxed) / 8 * ROUND_EIGHTHS || is_due {
            self.timed_round()?;
        }
        Ok(())
    }

    fn timed_round(&self) -> Result<RoundReport> {
        self.is_round_running.store(true, Ordering::Relaxed);
        let outcome = self.round();
        self.is_round_running.store(false, Ordering::Relaxed);
        outcome
    }

    /// Waits for the log, then writes a batch.
    pub(super) fn send(&self, batch: &mut SpillBatch) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        let wal = &self.core.wal;
        if !self.core.store.skips_log_before_data() {
            wal.request_sync(batch.max_lsn());
            // DURABILITY: log before data. RocksDB may flush the batch at any moment.
            wal.wait_durable_blocking(batch.max_lsn())?;
        }
        let mut highest = self.state.lock().highest;
        let outcome = self.core.store.write_batch(batch, &mut highest);
        let mut state = self.state.lock();
        state.highest = highest;
        if outcome.is_err() {
            state.stalled = Some(std::mem::take(batch));
        }
        outcome
    }

    /// Writes all keys between which values moved.
    pub(super) fn write_tied(&self) -> Result<()> {
        let store = &self.core.store;
        for tie in store.ties() {
            let mut batch = SpillBatch::default();
            store.collect_tied(&tie, &mut batch);
            self.send(&mut batch)?;
        }
        Ok(())
    }

    /// Writes the keys between which values moved before the next round, if they are many: those of them that hang
    /// together go in one batch, copied with the locks of all their shards.
    fn write_many_tied(&self) -> Result<()> {
        if self.core.store.tie_count() <= TIES_MAX {
            return Ok(());
        }
        self.resend()?;
        self.write_tied()
    }

    /// Sends again what found no disk space.
    pub(super) fn resend(&self) -> Result<()> {
        let stalled = self.state.lock().stalled.take();
        stalled.map_or(Ok(()), |mut batch| self.send(&mut batch))
    }

    /// Measures memory, divides it anew and says how hard writers must be slowed down. Called by a
    /// thread of its own, for the keeper may be busy in a round for seconds. Returns after which time to
    /// look again: the fuller memory is, the sooner.
    pub fn govern(&self) -> Duration {
        let store = &self.core.store;
        store.clear_graveyard(GOVERNOR_FREES);
        let (bytes, dirty) = store.hot_bytes();
        self.rebudget(bytes);
        let limit = store.hot_limit.load(Ordering::Relaxed);
        self.keep_durable(dirty, limit);
        self.hot_bytes.store(bytes, Ordering::Relaxed);
        self.dirty_bytes.store(dirty, Ordering::Relaxed);
        let now = self.clock.monotonic_ns();
        let written = store.stats.written_back.load(Ordering::Relaxed);
        let progress = store.stats.evicted.load(Ordering::Relaxed).wrapping_add(written);
        let excess = excess_of(bytes, limit).max(self.tail_excess());
        if self.last_progress.0.swap(progress, Ordering::Relaxed) != progress || excess <= 0.0 {
            self.last_progress.1.store(now, Ordering::Relaxed);
        }
        let stuck_ns = now.saturating_sub(self.last_progress.1.load(Ordering::Relaxed));
        let pressure = pressure_of(excess, stuck_ns);
        // A latched log refuses writers itself and says why; nobody would ever let them go.
        let pressure = if self.core.wal.latched().is_some() { 0 } else { pressure };
        self.pressure.store(pressure, Ordering::Relaxed);
        match bytes {
            _ if bytes > limit / 8 * 7 || pressure > 0 => GOVERN_FULL,
            _ if bytes > limit / 2 => GOVERN,
            _ => IDLE,
        }
    }

    /// Asks for a sync, in every mode, when a sixteenth of the hot tier is dirty and not durable: it
    /// could not be written back, so not evicted either.
    fn keep_durable(&self, dirty: usize, limit: usize) {
        let wal = &self.core.wal;
        // The log has no more of them than was appended, memory no more than is dirty.
        let undurable = wal.undurable_bytes().min(dirty as u64);
        if undurable > limit as u64 / 16 {
            wal.request_sync(wal.last_lsn());
        }
    }

    /// How far the log to be replayed is beyond where writers are slowed down, as a share of memory would
    /// be: an eighth when it is as long as it may be.
    fn tail_excess(&self) -> f64 {
        let max = self.redo_max.load(Ordering::Relaxed) as f64;
        let (_, tail) = self.redo();
        (tail as f64 / max.max(1.0) - TAIL_BRAKE) / (1.0 - TAIL_BRAKE) / 8.0
    }

    /// Takes the brake off writers: whoever would do so later has failed.
    pub fn let_writers_go(&self) {
        self.pressure.store(0, Ordering::Relaxed);
    }

    /// Brings memory below its limit: cleans cool dirty entries if it may write, evicts clean ones
    /// in any case.
    fn relieve(&self, may_write: bool) -> Result<()> {
        let store = &self.core.store;
        store.clear_relief();
        store.free_failed_snapshots();
        store.clear_graveyard(usize::MAX);
        if store.failpoints.breaks(Break::OneBudget) {
            return Ok(());
        }
        let tied = if may_write { self.write_many_tied() } else { Ok(()) };
        let (bytes, dirty) = store.hot_bytes();
        let limit = store.hot_limit.load(Ordering::Relaxed);
        let is_full = bytes > limit / 8 * 7;
        let cleaned = if is_full && dirty > limit / 4 && may_write {
            self.clean(dirty - limit / 8)
        } else if is_full && dirty > limit / 32 && may_write && self.is_clean_due() {
            self.clean(dirty - limit / 32)
        } else {
            Ok(())
        };
        if store.hot_bytes().0 > limit {
            for id in Store::shard_ids() {
                let mut shard = store.lock(id);
                let excess = shard.bytes.saturating_sub(limit / SHARDS);
                if excess > 0 {
                    let (_, evicted) = shard.evict_clean(excess, VISITS);
                    store.stats.evicted.fetch_add(evicted, Ordering::Relaxed);
                }
            }
        }
        self.govern();
        tied.and(cleaned)
    }

    /// Whether it is time to write back what was changed once and not used since: while it is dirty it
    /// keeps a place that entries in use have to leave.
    fn is_clean_due(&self) -> bool {
        let now = self.clock.monotonic_ns();
        let last = self.last_clean.load(Ordering::Relaxed);
        if now.saturating_sub(last) < CLEAN_NS {
            return false;
        }
        self.last_clean.store(now, Ordering::Relaxed);
        true
    }

    /// Writes back cool dirty entries of about `want` bytes.
    fn clean(&self, want: usize) -> Result<()> {
        let (store, wal) = (&self.core.store, &self.core.wal);
        self.resend()?;
        self.write_tied()?;
        let mut batch = SpillBatch::default();
        let mut done = 0;
        for lap in 0..4 {
            wal.request_sync(wal.last_lsn());
            if lap > 0 {
                wal.wait_durable_blocking(wal.last_lsn())?;
            }
            let which = Which::Cool { durable: wal.durable_lsn() };
            for id in Store::shard_ids() {
                let dbs: Vec<DbId> = store.lock(id).dbs().iter().map(|part| part.id).collect();
                for db in dbs {
                    let mut from = Some(0);
                    while let Some(bucket) = from {
                        from = store.collect(id, db, bucket, which, &mut batch);
                        if batch.is_full() {
                            done += batch.bytes();
                            self.send(&mut batch)?;
                            if done >= want {
                                return Ok(());
                            }
                        }
                    }
                }
            }
            done += batch.bytes();
            self.send(&mut batch)?;
            if done >= want {
                break;
            }
        }
        Ok(())
    }

    /// Writes back and evicts what the filter picks. Returns the number of entries that left.
    fn evict_matching(&self, db: DbIndex, filter: &dyn Fn(&[u8]) -> bool) -> Result<u64> {
        let store = &self.core.store;
        self.resend()?;
        self.resolve_waiting()?;
        let db = store.db_id(db);
        let mut batch = SpillBatch::default();
        let mut left = 0;
        for id in Store::shard_ids() {
            let mut from = Some(0);
            while let Some(bucket) = from {
                from = store.collect(id, db, bucket, Which::All, &mut batch);
                if batch.is_full() {
                    self.send(&mut batch)?;
                }
            }
        }
        self.send(&mut batch)?;
        self.write_tied()?;
        for id in Store::shard_ids() {
            left += store.lock(id).evict_where(db, |entry| {
                entry.is_value()
                    && entry.pins() == 0
                    && entry.flags() & (flag::DIRTY | flag::IN_FLIGHT) == 0
                    && filter(entry.key())
            });
        }
        store.stats.evicted.fetch_add(left, Ordering::Relaxed);
        Ok(left)
    }
}

/// By what share of its limit memory is too full; below 0 if it is not.
fn excess_of(bytes: usize, limit: usize) -> f64 {
    (bytes as f64 - limit as f64) / limit.max(1) as f64
}

/// How long the log to be replayed may be: half of memory, [`TAIL_MAX`], and what the last replay of a
/// tail worth measuring (bytes and ms) says would take [`REPLAY_MS_MAX`].
fn tail_bound(maxmemory: u64, replayed: (u64, u64)) -> u64 {
    let (bytes, millis) = replayed;
    let by_time = match bytes >= REPLAY_MEASURED {
        true => (bytes * REPLAY_MS_MAX / millis.max(1)).max(REPLAY_MEASURED),
        false => u64::MAX,
    };
    (maxmemory / 2).min(TAIL_MAX).min(by_time)
}

/// Delay for writers in microseconds: nothing without an excess, then growing with its square, a hold
/// at an eighth.
fn pressure_of(excess: f64, stuck_ns: u64) -> u32 {
    if excess <= 0.0 {
        return 0;
    }
    if excess < 0.125 {
        return 1 + (excess * excess * 256_000.0) as u32;
    }
    if stuck_ns > STUCK_NS { REFUSE } else { HOLD }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_tail_is_bounded_by_memory_bytes_and_time() {
        const MIB: u64 = 1 << 20;
        assert_eq!(tail_bound(128 * MIB, (0, 0)), 64 * MIB);
        assert_eq!(tail_bound(8 << 30, (0, 0)), 256 * MIB);
        assert_eq!(tail_bound(8 << 30, (64 * MIB, 400)), 256 * MIB, "a fast disk");
        assert_eq!(tail_bound(8 << 30, (64 * MIB, 16_000)), 40 * MIB, "a slow disk");
        assert_eq!(tail_bound(8 << 30, (MIB, 5_000)), 256 * MIB, "too few bytes to say");
        assert_eq!(tail_bound(8 << 30, (64 * MIB, 1_000_000)), 4 * MIB);
    }

    #[test]
    fn writers_are_slowed_smoothly_then_held_then_refused() {
        assert_eq!((pressure_of(-0.5, 0), pressure_of(0.0, u64::MAX)), (0, 0));
        let steps: Vec<u32> = (1..=12).map(|percent| pressure_of(f64::from(percent) / 100.0, 0)).collect();
        assert!(steps.is_sorted() && steps[0] < 30 && steps[11] < 4_000, "{steps:?}");
        assert_eq!((pressure_of(0.125, 0), pressure_of(0.125, STUCK_NS + 1)), (HOLD, REFUSE));
        assert!(excess_of(100, 100) <= 0.0 && excess_of(113, 100) > 0.125);
    }
}
