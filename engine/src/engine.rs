//! The engine: opens a store, wires its parts, owns its threads.

#[cfg(feature = "rocks")]
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;

use crate::checkpoint::RoundReport;
use crate::checkpoint::keeper::{Keeper, Pressure, Reply, Request};
use crate::config::{Cold, EngineConfig};
use crate::env::{Clock, lower_priority};
use crate::error::{Error, Result};
use crate::eviction::{DiskGuard, defrag};
use crate::expiry::Reaper;
use crate::hook::Hook;
use crate::identity::Identity;
use crate::ids::{DbId, DbIndex, Lsn};
use crate::keyspace::hash::SHARDS;
use crate::keyspace::scan::ScanStep;
use crate::keyspace::side::Detail;
use crate::keyspace::store::{DATABASES, Store};
use crate::keyspace::usage::UsedAt;
use crate::recovery::{ColdState, Replay, load_marker, read_cold_state};
use crate::snapshot::Snapshot;
use crate::tier::promote::{Depth, FetchTicket, Promoter};
use crate::tier::{ColdStore, Family, filters, memory_division, warm};
use crate::txn::build::{BuildOrder, Built};
use crate::txn::{Core, Mode, Scratch, Txn};
use crate::wal::{FsyncPolicy, OpenFrom, Wal, WalConfig, WalReport, effect};

/// Time between two looks at the disk.
const DISK_LOOK: Duration = Duration::from_millis(250);

/// With more log segments than this at an opening, a checkpoint is made at once.
const SEGMENTS_MAX: usize = 4;

/// An open store. Cheap to clone; the store closes with [`Engine::close`].
#[derive(Clone)]
pub struct Engine {
    shared: Arc<Shared>,
}

struct Shared {
    core: Arc<Core>,
    keeper: Arc<Keeper>,
    reaper: Arc<Reaper>,
    disk: Arc<DiskGuard>,
    clock: Arc<dyn Clock>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    keeper_thread: Mutex<Option<JoinHandle<()>>>,
    report: OpenReport,
    is_stopping: Arc<AtomicBool>,
    /// Held for as long as the store is open.
    _lock: Option<std::fs::File>,
}

/// How the last opening went.
#[derive(Debug, Clone)]
pub struct OpenReport {
    pub identity: Identity,
    pub wal: WalReport,
    pub redo_lsn: Lsn,
    pub millis: u64,
}

impl Engine {
    /// Opens a store or creates one. When this returns, every commit that was acknowledged
    /// before is there, and the log is durable.
    ///
    /// # Errors
    /// [`Error::InUse`], [`Error::NotWritable`], and [`Error::Format`] or [`Error::Corruption`] of the file
    /// `STORE`: nothing was changed. With any other error the opening was counted, the cold tier may have been opened (which
    /// replaces files of its own, but no rows), and the log may have been synced and cut as an opening
    /// does; a later opening finds all acknowledged commits that this one would have found.
    pub fn open(config: EngineConfig) -> Result<Engine> {
        let started = config.clock.monotonic_ns();
        let (files, dir) = (&config.files, &config.dir);
        files.create_dir_all(dir).map_err(|e| Error::io("create the data folder", dir, e))?;
        let lock = match config.cold {
            Cold::Memory(_) => None,
            #[cfg(feature = "rocks")]
            Cold::Rocks => Some(lock_folder(dir)?),
        };
        let identity = Identity::open(&**files, dir, config.entropy)?;
        let cold = open_cold(&config)?;
        let state = read_cold_state(&*cold)?;
        let store = new_store(&config, &identity, cold);
        let redo_lsn = state.marker.as_ref().map_or(Lsn(0), |marker| marker.redo_lsn);
        let replay_started = config.clock.monotonic_ns();
        let (wal, wal_report, highest, generation) = recover(&config, &identity, &store, &state)?;
        let replay_ms = (config.clock.monotonic_ns() - replay_started) / 1_000_000;
        let replayed = (wal_report.bytes, replay_ms);
        let core = Arc::new(Core {
            promoter: Promoter::new(Arc::clone(&store), Arc::clone(&config.clock)),
            store,
            wal,
            hook: Hook::default(),
            commit_max: AtomicUsize::new(commit_max(config.maxmemory)),
        });
        let keeper = Keeper::new(
            Arc::clone(&core),
            &config,
            identity.store_id,
            highest,
            redo_lsn,
            generation,
            replayed,
        );
        keeper.configure(&config);
        let reaper = Reaper::new(Arc::clone(&core), Arc::clone(&config.clock));
        let disk = DiskGuard::new(
            Arc::clone(&core),
            Arc::clone(&config.clock),
            Arc::clone(files),
            config.dir.clone(),
        );
        disk.configure(&config.cache);
        let millis = (config.clock.monotonic_ns() - started) / 1_000_000;
        let report = OpenReport { identity, wal: wal_report, redo_lsn, millis };
        let engine = Engine {
            shared: Arc::new(Shared {
                core,
                keeper,
                reaper,
                disk,
                clock: Arc::clone(&config.clock),
                threads: Mutex::default(),
                keeper_thread: Mutex::default(),
                report,
                is_stopping: Arc::default(),
                _lock: lock,
            }),
        };
        engine.start_threads(&config)?;
        if config.is_background && engine.shared.report.wal.segments > SEGMENTS_MAX {
            // Every opening reads and syncs them all; a server that dies again and again adds one
            // each time.
            drop(engine.request_checkpoint());
        }
        Ok(engine)
    }

    fn start_threads(&self, config: &EngineConfig) -> Result<()> {
        let shared = &self.shared;
        for i in 0..config.read_threads.max(1) {
            let core = Arc::clone(&shared.core);
            // After a panic, too, what is stored can be read.
            let body = move || while guarded(&core.wal, || core.promoter.run()).is_none() {};
            // A test that steps the workers waits for them: they must not come last.
            self.spawn(&format!("lux-read-{i}"), config.is_background, body)?;
        }
        let keeper = Arc::clone(&shared.keeper);
        let wal = Arc::clone(&shared.core.wal);
        let body = move || {
            if guarded(&wal, || keeper.run()).is_none() {
                keeper.give_up();
            }
        };
        *shared.keeper_thread.lock() = Some(spawn("lux-keeper", config.is_background, body)?);
        if config.is_background {
            self.start_watchers()?;
            self.start_tenders(config)?;
        }
        Ok(())
    }

    /// Threads that look at something again and again: memory, deadlines, the disk.
    fn start_watchers(&self) -> Result<()> {
        let shared = &self.shared;
        let (keeper, is_stopping) = (Arc::clone(&shared.keeper), Arc::clone(&shared.is_stopping));
        let wal = Arc::clone(&shared.core.wal);
        // Whoever holds writers back must not wait for them, nor leave them held.
        self.spawn("lux-governor", false, move || {
            while !is_stopping.load(Ordering::Relaxed) {
                let pause = guarded(&wal, || keeper.govern());
                if pause.is_none() {
                    keeper.let_writers_go();
                }
                std::thread::park_timeout(pause.unwrap_or(DISK_LOOK));
            }
        })?;
        let reaper = Arc::clone(&shared.reaper);
        self.spawn("lux-reaper", true, move || reaper.run())?;
        let (disk, is_stopping) = (Arc::clone(&shared.disk), Arc::clone(&shared.is_stopping));
        self.spawn("lux-disk", true, move || {
            while !is_stopping.load(Ordering::Relaxed) {
                if let Err(error) = disk.look() {
                    tracing::warn!(%error, "could not enforce the disk bound");
                }
                std::thread::park_timeout(DISK_LOOK);
            }
        })
    }

    /// Threads that improve what is right already: a warm start, filters, fuller pages.
    fn start_tenders(&self, config: &EngineConfig) -> Result<()> {
        let shared = &self.shared;
        let core = Arc::clone(&shared.core);
        let (files, dir) = (Arc::clone(&config.files), config.dir.clone());
        let is_stopping = Arc::clone(&shared.is_stopping);
        self.spawn("lux-warm", true, move || {
            match warm::run(&core.store, &core.promoter, &*files, &dir, &is_stopping) {
                Ok(0) => {}
                Ok(count) => tracing::info!(count, "promoted what was hot before the restart"),
                Err(error) => tracing::warn!(%error, "could not warm up"),
            }
        })?;
        if let (Some(defragmenter), Some(probe)) = (&config.defragmenter, &config.memory_probe) {
            let (defragmenter, probe) = (Arc::clone(defragmenter), Arc::clone(probe));
            let (store, keeper) = (Arc::clone(&shared.core.store), Arc::clone(&shared.keeper));
            let is_stopping = Arc::clone(&shared.is_stopping);
            self.spawn("lux-defrag", true, move || {
                let maxmemory = || keeper.maxmemory.load(Ordering::Relaxed);
                defrag::run(&store, &*defragmenter, &probe, maxmemory, &is_stopping);
            })?;
        }
        let (store, is_stopping) = (Arc::clone(&shared.core.store), Arc::clone(&shared.is_stopping));
        self.spawn("lux-filters", true, move || {
            if let Err(error) = filters::run(&store, &is_stopping) {
                tracing::warn!(%error, "could not build the filters of cold keys; misses read the disk");
            }
        })
    }

    /// Starts a thread that [`Engine::stop`] ends. If it panics the store latches.
    fn spawn(&self, name: &str, is_low: bool, body: impl FnOnce() + Send + 'static) -> Result<()> {
        let wal = Arc::clone(&self.shared.core.wal);
        let body = move || {
            let _ = guarded(&wal, body);
        };
        let thread = spawn(name, is_low, body)?;
        self.shared.threads.lock().push(thread);
        Ok(())
    }

    /// Checkpoints, syncs the log and stops the threads. Later calls do nothing.
    pub fn close(&self) -> Result<()> {
        let round = match self.shared.core.wal.latched() {
            None => self.checkpoint().map(|_| ()),
            Some(error) => Err(error),
        };
        self.stop();
        match self.shared.core.wal.close() {
            Err(error) if round.is_ok() => Err(error),
            _ => round,
        }
    }

    /// Stops the threads without a checkpoint; what was committed is in the log.
    pub fn stop(&self) {
        let shared = &self.shared;
        shared.is_stopping.store(true, Ordering::Relaxed);
        shared.reaper.stop();
        shared.keeper.stop();
        if let Some(thread) = shared.keeper_thread.lock().take() {
            let _ = thread.join();
        }
        shared.core.promoter.close();
        for thread in std::mem::take(&mut *shared.threads.lock()) {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }

    /// How the opening went.
    #[must_use]
    pub fn open_report(&self) -> &OpenReport {
        &self.shared.report
    }

    /// Starts a transaction; see [`Core::begin`].
    #[inline]
    pub fn begin<'e>(
        &'e self,
        scratch: &'e mut Scratch,
        db: DbIndex,
        keys: &'e [&'e [u8]],
        mode: Mode,
        now_ms: u64,
    ) -> Txn<'e> {
        self.shared.core.begin(scratch, db, keys, mode, now_ms)
    }

    /// Starts a transaction of several commands; see [`Core::begin_multi`].
    pub fn begin_multi<'e>(
        &'e self,
        scratch: &'e mut Scratch,
        db: DbIndex,
        keys: &'e [&'e [u8]],
        mode: Mode,
        now_ms: u64,
    ) -> Txn<'e> {
        self.shared.core.begin_multi(scratch, db, keys, mode, now_ms)
    }

    /// See [`Core::try_begin`].
    #[inline]
    pub fn try_begin<'e>(
        &'e self,
        scratch: &'e mut Scratch,
        db: DbIndex,
        keys: &'e [&'e [u8]],
        mode: Mode,
        now_ms: u64,
    ) -> Option<Txn<'e>> {
        self.shared.core.try_begin(scratch, db, keys, mode, now_ms)
    }

    /// See [`Core::try_begin_multi`].
    pub fn try_begin_multi<'e>(
        &'e self,
        scratch: &'e mut Scratch,
        db: DbIndex,
        keys: &'e [&'e [u8]],
        mode: Mode,
        now_ms: u64,
    ) -> Option<Txn<'e>> {
        self.shared.core.try_begin_multi(scratch, db, keys, mode, now_ms)
    }

    /// Wall-clock time, Unix milliseconds.
    #[inline]
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.shared.clock.unix_ms()
    }

    /// Whether every key is in memory, so that no prefetch is worth asking for.
    #[inline]
    #[must_use]
    pub fn is_all_resident(&self) -> bool {
        !self.shared.core.store.has_cold.load(Ordering::Relaxed)
    }

    /// Begins to bring keys into memory, in one batched read. `None`: nothing to wait for.
    pub fn prefetch<'k>(&self, db: DbIndex, keys: impl Iterator<Item = &'k [u8]>) -> Option<FetchTicket> {
        let db = self.shared.core.store.db_id(db);
        self.shared.core.promoter.fetch(keys.map(|key| (db, key, Depth::Row)), false)
    }

    /// How hard writers must be slowed down now.
    #[inline]
    #[must_use]
    pub fn pressure(&self) -> Pressure {
        if self.shared.disk.is_full() {
            return Pressure::DiskFull;
        }
        self.shared.keeper.pressure()
    }

    /// Disk bounds and cache mode.
    #[must_use]
    pub fn disk(&self) -> &DiskGuard {
        &self.shared.disk
    }

    /// Changes the bound on the memory of the process: the hot tier follows within a second, the largest
    /// commit, the longest tail, filters, cache and memtables at once. The size of log segments stays.
    pub fn set_maxmemory(&self, bytes: u64) {
        let shared = &self.shared;
        shared.core.commit_max.store(commit_max(bytes), Ordering::Relaxed);
        shared.core.store.pins.set_limit(commit_max(bytes));
        shared.core.store.filter_limit.store(filter_limit(bytes), Ordering::Relaxed);
        shared.keeper.set_maxmemory(bytes);
        shared.core.store.snapshots.set_maxmemory(bytes);
        let (cache_bytes, memtable_bytes) = memory_division(bytes);
        shared.core.store.cold.set_memory(cache_bytes, memtable_bytes);
    }

    /// The log: durable LSN, waits for it, status.
    #[must_use]
    pub fn wal(&self) -> &Arc<Wal> {
        &self.shared.core.wal
    }

    /// When commits are synced.
    pub fn set_fsync(&self, policy: FsyncPolicy) {
        self.shared.core.wal.set_fsync(policy);
    }

    /// The keyspace: counters and statistics.
    #[must_use]
    pub fn store(&self) -> &Arc<Store> {
        &self.shared.core.store
    }

    /// The commit hook.
    #[must_use]
    pub fn hook(&self) -> &Hook {
        &self.shared.core.hook
    }

    /// Has the hook's listener hear of this key, in all databases, until [`Engine::unwatch`]. Watches add up.
    /// A transaction that reads the key after this misses no later commit.
    pub fn watch(&self, key: &[u8]) {
        let core = &self.shared.core;
        core.hook.watch(core.store.hasher.hash(key).bucket);
    }

    /// Takes back one [`Engine::watch`].
    pub fn unwatch(&self, key: &[u8]) {
        let core = &self.shared.core;
        core.hook.unwatch(core.store.hasher.hash(key).bucket);
    }

    /// The reaper, to step or pause it.
    #[must_use]
    pub fn reaper(&self) -> &Reaper {
        &self.shared.reaper
    }

    /// The keeper: checkpoint state and settings.
    #[must_use]
    pub fn keeper(&self) -> &Keeper {
        &self.shared.keeper
    }

    /// Runs a checkpoint round and waits for it.
    pub fn checkpoint(&self) -> Result<RoundReport> {
        self.request_checkpoint().wait()
    }

    /// Asks for a checkpoint round.
    pub fn request_checkpoint(&self) -> Arc<Reply> {
        self.shared.keeper.request(Request::Round)
    }

    /// Moves entries of a database whose key the filter picks out of memory, after write-back.
    /// Returns how many left.
    pub fn evict(&self, db: DbIndex, filter: Box<dyn Fn(&[u8]) -> bool + Send>) -> Result<u64> {
        self.shared.keeper.request(Request::Evict(db, filter)).wait().map(|report| report.rows)
    }

    /// Builds a large value that a command wants to store, on the calling thread; it waits for the
    /// disk. `None`: there is nothing to publish, run the command again.
    pub fn build(&self, order: BuildOrder) -> Result<Option<Built>> {
        self.shared.keeper.build(order)
    }

    /// Number of keys of a database in both tiers, and of keys with a deadline.
    #[must_use]
    pub fn key_counts(&self, db: DbIndex) -> (u64, u64) {
        self.shared.core.store.totals(self.shared.core.store.db_id(db))
    }

    /// Opens a view of the whole store at this moment, for a read that takes long. Not while the
    /// calling thread has a transaction: all shards are locked for a moment.
    ///
    /// # Errors
    /// After a restart, rows that logged changes apply to have to be read first.
    pub fn snapshot(&self, detail: Detail) -> Result<Snapshot> {
        self.shared.keeper.resolve()?;
        Ok(Snapshot::open(&self.shared.core, detail, self.now_ms()))
    }

    /// One step of a walk over the keys of a database; see [`Store::scan`].
    pub fn scan(&self, db: DbIndex, from: u32, count: u64) -> Result<ScanStep> {
        let store = &self.shared.core.store;
        store.scan(store.db_id(db), from, count, self.now_ms())
    }

    /// A key of a database by chance; see [`Store::random_key`].
    pub fn random_key(&self, db: DbIndex, random: impl FnMut(u64) -> u64) -> Result<Option<Vec<u8>>> {
        let store = &self.shared.core.store;
        store.random_key(store.db_id(db), self.now_ms(), random)
    }
}

/// Brings a store to its last logged commit: marker, log, databases that died. Returns the log and
/// the highest LSN of any row, and the generation of the filters that were loaded.
fn recover(
    config: &EngineConfig,
    identity: &Identity,
    store: &Store,
    state: &ColdState,
) -> Result<(Arc<Wal>, WalReport, Lsn, u64)> {
    let mut generation = 0;
    let mut from = OpenFrom { redo_lsn: Lsn(0), highest_written: state.highest, timeline: 0 };
    if let Some(marker) = &state.marker {
        if marker.store_id != identity.store_id {
            let detail = "the cold tier belongs to another store".to_string();
            return Err(Error::Format { path: config.dir.clone(), detail });
        }
        load_marker(store, marker);
        generation = filters::load(store, &*config.files, &config.dir, identity.store_id, marker.filters);
        (from.redo_lsn, from.timeline) = (marker.redo_lsn, marker.timeline);
    }
    let has_rows = state.marker.is_some() || state.highest > Lsn(0);
    store.has_cold.store(has_rows, Ordering::Relaxed);
    let mut replay = Replay::new(store, config.clock.unix_ms(), state);
    let (wal, report) = Wal::open(
        Arc::clone(&config.files),
        Arc::clone(&config.clock),
        wal_config(config, identity.store_id),
        from,
        &mut |record| replay.record(&record),
    )?;
    let highest = replay.finish(wal.last_lsn())?;
    find_dead_databases(store, wal.last_lsn())?;
    Ok((wal, report, highest, generation))
}

/// An empty store over the cold tier, with its bounds.
fn new_store(config: &EngineConfig, identity: &Identity, cold: Arc<dyn ColdStore>) -> Arc<Store> {
    let hot_limit = usize::try_from(config.maxmemory / 100 * 60).unwrap_or(usize::MAX);
    let store = Arc::new(Store::new(identity.hash_seed, identity.openings, cold, hot_limit));
    store.note_opening(UsedAt::new(config.clock.unix_ms()));
    store.filter_limit.store(filter_limit(config.maxmemory), Ordering::Relaxed);
    #[cfg(feature = "failpoints")]
    store.failpoints.set(config.failpoints);
    store.snapshots.set_maxmemory(config.maxmemory);
    store.pins.set_limit(commit_max(config.maxmemory));
    store
}

/// Bytes that one filter of cold keys may use: a sixteenth of the memory bound for all shards of one
/// large database.
fn filter_limit(maxmemory: u64) -> usize {
    usize::try_from(maxmemory / 16 / SHARDS as u64).unwrap_or(usize::MAX)
}

/// Largest commit for a memory bound.
fn commit_max(maxmemory: u64) -> usize {
    usize::try_from(maxmemory / 8).unwrap_or(usize::MAX).clamp(1 << 20, 1 << 30)
}

fn wal_config(config: &EngineConfig, store_id: u64) -> WalConfig {
    let mut wal = WalConfig::new(config.dir.join("wal"), store_id);
    wal.segment_bytes = (config.maxmemory / 16).clamp(4 << 20, 64 << 20).next_multiple_of(1 << 20);
    wal.fsync = config.fsync;
    wal.record_version = Some(effect::VERSION);
    if config.segment_bytes > 0 {
        wal.segment_bytes = config.segment_bytes;
        wal.reserve_bytes = wal.reserve_bytes.min(config.segment_bytes / 2);
    }
    #[cfg(feature = "failpoints")]
    {
        use crate::failpoint::Break;
        use crate::wal::failpoint::{BREAK_LATCH, BREAK_PREFIX};
        let is_on = |which: Break| config.failpoints & (1 << which as u8) != 0;
        wal.failpoints |= if is_on(Break::Prefix) { BREAK_PREFIX } else { 0 };
        wal.failpoints |= if is_on(Break::LatchOnFailure) { BREAK_LATCH } else { 0 };
    }
    wal
}

fn open_cold(config: &EngineConfig) -> Result<Arc<dyn ColdStore>> {
    match &config.cold {
        Cold::Memory(store) => Ok(Arc::new(store.clone())),
        #[cfg(feature = "rocks")]
        Cold::Rocks => {
            use crate::tier::rocks::{RocksConfig, RocksStore};
            let mut rocks = RocksConfig::for_budget(config.dir.join("cold"), config.maxmemory);
            rocks.direct = config.direct;
            let files_max = usize::try_from(config.cold_files_max).unwrap_or(usize::MAX);
            rocks.max_open_files = rocks.max_open_files.min(files_max);
            Ok(Arc::new(RocksStore::open(rocks)?))
        }
    }
}

/// Databases that have rows but no number any more died before the last stop; their rows were
/// not yet dropped.
fn find_dead_databases(store: &Store, last: Lsn) -> Result<()> {
    find_dead_rows(store, Family::Keys, last)?;
    // A value that was being built has no row of its own.
    find_dead_rows(store, Family::Elements, last)?;
    // And a crash may have come between the drops of the families.
    find_dead_rows(store, Family::Expires, last)
}

fn find_dead_rows(store: &Store, family: Family, last: Lsn) -> Result<()> {
    let mut next = 0u32;
    loop {
        let from = next.to_be_bytes();
        let mut cursor = store.cold.cursor(family, &from, &[0xff; 5], None)?;
        cursor.seek(&from)?;
        let Some((key, _)) = cursor.row() else { return Ok(()) };
        let Some(id) = key.first_chunk::<4>().map(|id| u32::from_be_bytes(*id)) else { return Ok(()) };
        if !store.is_live(DbId(id)) {
            let mut dead = store.dead_dbs.lock();
            if !dead.iter().any(|(known, _)| known.0 == id) {
                dead.push((DbId(id), last));
            }
        }
        match id.checked_add(1) {
            Some(id) => next = id,
            None => return Ok(()),
        }
    }
}

/// How often, and with which pause, a locked folder is tried: a process that was killed holds it until the
/// kernel has taken its memory apart, and its successor may start before that.
#[cfg(feature = "rocks")]
const LOCK_TRIES: u32 = 100;
#[cfg(feature = "rocks")]
const LOCK_PAUSE: std::time::Duration = std::time::Duration::from_millis(20);

#[cfg(feature = "rocks")]
fn lock_folder(dir: &Path) -> Result<std::fs::File> {
    let path = dir.join("LOCK");
    let open = std::fs::OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    let file = open.map_err(|e| Error::first_write("open", dir, &path, e))?;
    for _ in 0..LOCK_TRIES {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(std::fs::TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
            Err(std::fs::TryLockError::Error(error)) => return Err(Error::io("lock", &path, error)),
        }
    }
    Err(Error::InUse { path: dir.to_path_buf() })
}

/// Runs a thread's work. A panic latches the store, as a failed write does: what the thread was about
/// to do will not be done. `None` after a panic.
fn guarded<R>(wal: &Wal, work: impl FnOnce() -> R) -> Option<R> {
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
    outcome.inspect_err(|_| wal.latch(Error::Latched { cause: panicked().into() })).ok()
}

fn panicked() -> String {
    let thread = std::thread::current();
    format!("the thread {} panicked", thread.name().unwrap_or("of the engine"))
}

fn spawn(name: &str, is_low: bool, body: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    let run = move || {
        if is_low {
            lower_priority();
        }
        body();
    };
    std::thread::Builder::new().name(name.to_owned()).spawn(run).map_err(|e| Error::io("spawn", "thread", e))
}

/// Number of databases a client can select.
pub const DATABASE_COUNT: usize = DATABASES;
