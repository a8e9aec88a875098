//! A store on simulated files, with commands as plain functions.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use lux_engine::env::Clock;
use lux_engine::env::sim::{SimClock, SimFiles, SimRng};
use lux_engine::ids::{DbIndex, ExpireAt, Lsn};
use lux_engine::tier::memory::MemoryStore;
use lux_engine::tier::promote::FetchTicket;
use lux_engine::txn::{CommitError, Committed, Interrupt, Mode, Scratch, Txn, ValueRef, Wait};
use lux_engine::value::collection::Collection;
use lux_engine::wal::FsyncPolicy;
use lux_engine::wal::effect::{Operation, StringBody};
use lux_engine::{Cold, Engine, EngineConfig, Error, Result};
use parking_lot::Mutex;

pub const DB: DbIndex = DbIndex(0);
const START_MS: u64 = 1_700_000_000_000;

/// A store and what it stands on.
pub struct Rig {
    pub files: SimFiles,
    pub clock: Arc<SimClock>,
    pub cold: MemoryStore,
    pub engine: Engine,
    pub options: Options,
}

/// What a test may choose.
#[derive(Clone, Copy)]
pub struct Options {
    pub maxmemory: u64,
    pub failpoints: u32,
    pub fsync: FsyncPolicy,
    pub segment_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        Options { maxmemory: 64 << 20, failpoints: 0, fsync: FsyncPolicy::No, segment_bytes: 256 << 10 }
    }
}

impl Options {
    /// With one invariant broken.
    #[cfg(feature = "failpoints")]
    pub fn broken(self, which: lux_engine::failpoint::Break) -> Options {
        Options { failpoints: self.failpoints | 1 << which as u8, ..self }
    }

    /// Where a commit is acknowledged when it is synced.
    pub fn always(self) -> Options {
        Options { fsync: FsyncPolicy::Always, ..self }
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.engine.stop();
    }
}

fn config(files: &SimFiles, clock: &Arc<SimClock>, cold: &MemoryStore, options: Options) -> EngineConfig {
    let mut config = EngineConfig::new(
        PathBuf::from("/data"),
        Arc::new(files.clone()),
        Arc::clone(clock) as Arc<dyn Clock>,
        Cold::Memory(cold.clone()),
        options.maxmemory,
    );
    config.is_background = false;
    config.fsync = options.fsync;
    config.segment_bytes = options.segment_bytes;
    config.failpoints = options.failpoints;
    // Rounds happen when a test asks for one.
    config.checkpoint_interval_ms = u64::MAX;
    config
}

impl Rig {
    /// An empty store.
    pub fn new() -> Rig {
        Rig::with(Options::default())
    }

    /// An empty store with these options.
    pub fn with(options: Options) -> Rig {
        let clock = Arc::new(SimClock::new(START_MS));
        Rig::open(SimFiles::new(), clock, MemoryStore::new(), options).expect("an empty folder opens")
    }

    /// Opens what is there.
    pub fn open(files: SimFiles, clock: Arc<SimClock>, cold: MemoryStore, options: Options) -> Result<Rig> {
        let engine = Engine::open(config(&files, &clock, &cold, options))?;
        Ok(Rig { files, clock, cold, engine, options })
    }

    /// The process dies: memory is gone, files and rows stay as they are.
    pub fn kill(self) -> Rig {
        self.try_kill().expect("a killed store opens")
    }

    /// Like [`Rig::kill`], with the outcome of opening.
    pub fn try_kill(self) -> Result<Rig> {
        self.engine.stop();
        let files = self.files.kill();
        let cold = self.cold.crash(self.cold.pending_batches());
        Rig::open(files, Arc::clone(&self.clock), cold, self.options)
    }

    /// The power goes: any subset of unsynced sectors and any prefix of unflushed batches stay.
    pub fn power_cut(self, rng: &mut SimRng) -> Result<Rig> {
        let keep = rng.below(self.cold.pending_batches() as u64 + 1) as usize;
        self.power_cut_keeping(rng, keep)
    }

    /// Like [`Rig::power_cut`]; of the unflushed batches, the first `keep` stay.
    pub fn power_cut_keeping(self, rng: &mut SimRng, keep: usize) -> Result<Rig> {
        self.engine.stop();
        let files = self.files.crash(rng);
        let cold = self.cold.crash(keep);
        Rig::open(files, Arc::clone(&self.clock), cold, self.options)
    }

    /// A clean stop and a start.
    pub fn restart(self) -> Rig {
        self.engine.close().expect("closes");
        let files = self.files.kill();
        let cold = self.cold.crash(self.cold.pending_batches());
        Rig::open(files, Arc::clone(&self.clock), cold, self.options).expect("opens after a clean stop")
    }

    /// Runs a command: again and again until it is not interrupted.
    pub fn run<R>(
        &self,
        db: DbIndex,
        keys: &[&[u8]],
        mode: Mode,
        command: impl FnMut(&mut Txn<'_>) -> Result<R, lux_engine::txn::Interrupt>,
    ) -> Result<(R, Committed)> {
        run(&self.engine, db, keys, mode, command)
    }

    fn one<R>(
        &self,
        key: &[u8],
        operation: Operation,
        mut command: impl FnMut(&mut Txn<'_>) -> Result<R, lux_engine::txn::Interrupt>,
    ) -> R {
        let outcome = self.run(DB, &[key], Mode::Keys, |txn| {
            txn.set_operation(operation);
            command(txn)
        });
        outcome.expect("commits").0
    }

    pub fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.one(key, Operation::Set, |txn| Ok(txn.lookup(key)?.map(|found| text(found.value))))
    }

    pub fn deadline(&self, key: &[u8]) -> Option<u64> {
        self.one(key, Operation::Set, |txn| {
            Ok(txn.header(key, false)?.and_then(|found| found.deadline).map(|at| at.0))
        })
    }

    pub fn set(&self, key: &[u8], value: &[u8]) {
        self.set_until(key, value, None);
    }

    pub fn set_until(&self, key: &[u8], value: &[u8], deadline: Option<u64>) {
        self.one(key, Operation::Set, |txn| txn.put_string(key, body(value), deadline.map(ExpireAt), false));
    }

    pub fn del(&self, key: &[u8]) -> bool {
        self.one(key, Operation::Del, |txn| txn.delete(key))
    }

    /// APPEND of a key; creates it when absent.
    pub fn append(&self, key: &[u8], bytes: &[u8]) {
        self.one(key, Operation::Append, |txn| match txn.lookup(key)? {
            Some(_) => txn.append(key, bytes),
            None => txn.put_string(key, StringBody::Bytes(bytes), None, false),
        });
    }

    /// SETRANGE of a key that exists.
    pub fn set_range(&self, key: &[u8], offset: usize, bytes: &[u8]) -> bool {
        self.one(key, Operation::SetRange, |txn| {
            if txn.lookup(key)?.is_none() {
                return Ok(false);
            }
            txn.set_range(key, offset, bytes).map(|()| true)
        })
    }

    pub fn expire_at(&self, key: &[u8], deadline: Option<u64>) -> bool {
        self.one(key, Operation::PExpireAt, |txn| {
            if txn.header(key, true)?.is_none() {
                return Ok(false);
            }
            txn.set_deadline(key, deadline.map(ExpireAt)).map(|()| true)
        })
    }

    pub fn rename(&self, from: &[u8], to: &[u8]) -> bool {
        let outcome = self.run(DB, &[from, to], Mode::Keys, |txn| {
            txn.set_operation(Operation::Rename);
            rename_in(txn, from, to)
        });
        outcome.expect("commits").0
    }

    /// MSET: all or nothing.
    pub fn mset(&self, pairs: &[(&[u8], &[u8])]) -> Committed {
        let keys: Vec<&[u8]> = pairs.iter().map(|(key, _)| *key).collect();
        let outcome = self.run(DB, &keys, Mode::Keys, |txn| {
            txn.set_operation(Operation::MSet);
            pairs.iter().try_for_each(|(key, value)| txn.put_string(key, body(value), None, false))
        });
        outcome.expect("commits").1
    }

    pub fn flush_db(&self, db: DbIndex) {
        let outcome = self.run(db, &[], Mode::All, |txn| {
            txn.set_operation(Operation::FlushDb);
            txn.flush(&[db]);
            Ok(())
        });
        outcome.expect("commits");
    }

    pub fn swap_db(&self, a: DbIndex, b: DbIndex) {
        let outcome = self.run(a, &[], Mode::All, |txn| {
            txn.set_operation(Operation::SwapDb);
            txn.swap(a, b);
            Ok(())
        });
        outcome.expect("commits");
    }

    /// Moves everything out of memory and shows that it is cold.
    pub fn evict_all(&self) {
        self.engine.evict(DB, Box::new(|_| true)).expect("evicts");
        let id = self.engine.store().db_id(DB);
        let hot: u64 = (0..64u8)
            .map(|shard| self.engine.store().shard(lux_engine::ids::ShardId(shard)).lock())
            .map(|shard| shard.db(id).map_or(0, |part| part.hot))
            .sum();
        assert_eq!(hot, 0, "everything must be cold now");
    }

    pub fn checkpoint(&self) {
        self.engine.checkpoint().expect("a round succeeds");
    }

    /// Makes the log durable.
    pub fn sync(&self) -> Lsn {
        let last = self.engine.wal().last_lsn();
        self.engine.wal().request_sync(last);
        self.engine.wal().wait_durable_blocking(last).expect("syncs");
        last
    }

    pub fn advance(&self, millis: u64) {
        self.clock.advance(Duration::from_millis(millis));
    }

    pub fn now_ms(&self) -> u64 {
        self.engine.now_ms()
    }

    /// All keys by SCAN, sorted; asserts that none comes twice from an unchanging store.
    pub fn scan_all(&self) -> Vec<Vec<u8>> {
        let (mut keys, mut from) = (Vec::new(), Some(0));
        while let Some(cursor) = from {
            let step = self.engine.scan(DB, cursor, 10).expect("scans");
            keys.extend(step.keys.into_iter().map(|(key, _)| key));
            from = step.next;
        }
        keys.sort();
        keys
    }

    /// The memory that each shard says it holds is what its entries and images hold, and so with values.
    pub fn check_bytes(&self) {
        self.engine.store().clear_graveyard(usize::MAX);
        for id in (0..64u8).map(lux_engine::ids::ShardId) {
            let shard = self.engine.store().shard(id).lock();
            let (mut bytes, mut dirty) = (shard.sides.bytes() + shard.parts.bytes(), shard.parts.bytes());
            for part in shard.dbs() {
                let mut hot = 0;
                part.table.for_each(|entry| {
                    hot += u64::from(entry.is_value());
                    bytes += entry.heap_bytes();
                    if entry.has(lux_engine::keyspace::entry::flag::DIRTY) {
                        dirty += entry.heap_bytes();
                    }
                });
                assert_eq!(part.hot, hot, "values in memory of shard {id}");
                let mut from = Some(0);
                while let Some(bucket) = from {
                    let (page, mut has_dirty) = (part.table.page_at(bucket), false);
                    part.table.for_page(page, |entry| {
                        has_dirty |= entry.has(lux_engine::keyspace::entry::flag::DIRTY);
                    });
                    assert_eq!(part.table.has_dirty(page), has_dirty, "a page of shard {id}");
                    from = part.table.next_start(page);
                }
            }
            assert_eq!((shard.bytes, shard.dirty_bytes), (bytes, dirty), "bytes of shard {id}");
        }
    }

    /// DBSIZE and the number of deadlines equal a recount of entries and rows.
    pub fn check_counters(&self) {
        self.check_bytes();
        self.try_counters().unwrap_or_else(|error| panic!("{error}"));
    }

    /// Like [`Rig::check_counters`], saying what is wrong.
    pub fn try_counters(&self) -> Result<(), String> {
        for index in (0..16).map(DbIndex) {
            let store = self.engine.store();
            let recount = store.recount(store.db_id(index)).map_err(|error| error.to_string())?;
            let counts = self.engine.key_counts(index);
            if counts != recount {
                return Err(format!("database {index} counts {counts:?}, a recount says {recount:?}"));
            }
        }
        Ok(())
    }
}

/// RENAME, as the server does it: a large value moves, a small one is stored once more.
pub fn rename_in(txn: &mut Txn<'_>, from: &[u8], to: &[u8]) -> Result<bool, Interrupt> {
    if txn.header(from, true)?.is_none() {
        return Ok(false);
    }
    if from == to || txn.move_value(from, to)? {
        return Ok(true);
    }
    let found = txn.peek(from)?.expect("it is there");
    let (mut encoded, deadline) = (Vec::new(), found.deadline);
    if let ValueRef::Collection(collection) = found.value {
        let tag = collection.type_tag();
        collection.encode(&mut encoded);
        txn.delete(from)?;
        txn.put_collection_in(DB, to, tag, &encoded, deadline)?;
        return Ok(true);
    }
    let value = text(found.value);
    txn.delete(from)?;
    txn.put_string(to, body(&value), deadline, false)?;
    Ok(true)
}

/// Runs a command until it is not interrupted.
pub fn run<R>(
    engine: &Engine,
    db: DbIndex,
    keys: &[&[u8]],
    mode: Mode,
    command: impl FnMut(&mut Txn<'_>) -> Result<R, lux_engine::txn::Interrupt>,
) -> Result<(R, Committed)> {
    run_as(engine, db, keys, mode, false, command)
}

/// Runs a transaction of several commands until it is not interrupted.
pub fn run_multi<R>(
    engine: &Engine,
    keys: &[&[u8]],
    mode: Mode,
    commands: impl FnMut(&mut Txn<'_>) -> Result<R, lux_engine::txn::Interrupt>,
) -> Result<(R, Committed)> {
    run_as(engine, DB, keys, mode, true, commands)
}

fn run_as<R>(
    engine: &Engine,
    db: DbIndex,
    keys: &[&[u8]],
    mode: Mode,
    is_multi: bool,
    mut command: impl FnMut(&mut Txn<'_>) -> Result<R, lux_engine::txn::Interrupt>,
) -> Result<(R, Committed)> {
    let mut scratch = Scratch::default();
    static TURN: Mutex<()> = Mutex::new(());
    let (mut waits, mut rounds, mut turn) = (Vec::new(), 0, None);
    loop {
        let now_ms = engine.now_ms();
        let mut txn = match is_multi {
            true => engine.begin_multi(&mut scratch, db, keys, mode, now_ms),
            false => engine.begin(&mut scratch, db, keys, mode, now_ms),
        };
        let wait = match command(&mut txn) {
            Ok(result) => match txn.commit() {
                Ok(committed) => return Ok((result, committed)),
                Err(CommitError::Failed(error)) => return Err(error),
                Err(CommitError::Interrupted(wait)) => wait,
            },
            Err(_) => match txn.take_failure() {
                Some(error) => return Err(error),
                None => txn.abandon(),
            },
        };
        match wait {
            Wait::Retry => {}
            Wait::Room(len) => engine.wal().wait_room_blocking(len, Duration::from_secs(5))?,
            Wait::Held => std::thread::sleep(Duration::from_millis(1)),
            Wait::Build(order) => {
                waits.clear();
                if let Some(built) = engine.build(order)? {
                    scratch.give(built);
                }
            }
            Wait::Fetch(ticket) => {
                ticket.wait()?;
                waits.push(ticket);
                if waits.last().is_some_and(FetchTicket::is_short) {
                    waits.clear();
                    turn = Some(turn.unwrap_or_else(|| TURN.lock()));
                    scratch.take_turn();
                }
            }
        }
        rounds += 1;
        assert!(rounds < 5000, "a command must end");
    }
}

/// What the text of a list begins with; that of a string must not.
pub const LIST: u8 = 1;

/// The bytes of a string as a client reads them; of a list [`LIST`] and its elements.
pub fn text(value: ValueRef<'_>) -> Vec<u8> {
    match value {
        ValueRef::Int(value) => value.to_string().into_bytes(),
        ValueRef::Bytes(bytes) => bytes.to_vec(),
        ValueRef::Collection(Collection::List(list)) => {
            let mut text = vec![LIST];
            list.iter().for_each(|element| text.extend_from_slice(element));
            text
        }
        ValueRef::Collection(_) => panic!("this collection has no text"),
    }
}

/// The body that SET stores.
pub fn body(value: &[u8]) -> StringBody<'_> {
    match lux_engine::value::string::number::parse_int(value) {
        Some(number) => StringBody::Int(number),
        None => StringBody::Bytes(value),
    }
}

/// Whether an error says that data is damaged.
pub fn is_corruption(error: &Error) -> bool {
    matches!(error, Error::Corruption { .. })
}
