//! Expiry: keys leave at their deadline, hot or cold, without anybody reading them.
//!
//! Near deadlines are watched in memory (a heap per shard, one item per key however often its
//! deadline is pushed ahead). Later ones are rows of the `expires` family, put there with the
//! key's row; the reaper loads them, in deadline order, shortly before they are due. A hint is
//! only a hint: the key's header decides, and a wrong hint is removed.
//!
//! The reaper deletes by ordinary commits (operation `expired`) of at most [`SLICE`] keys, so
//! events, counters, log and replay agree. It stands still while the wall clock is suspect.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::env::Clock;
use crate::error::{Error, Result};
use crate::failpoint::Break;
use crate::ids::{DbId, ExpireAt, ShardId};
use crate::keyspace::entry::{BodyRef, Entry, flag};
use crate::keyspace::store::{DATABASES, NEAR_MS, Store};
use crate::tier::promote::Depth;
use crate::tier::{Family, schema};
use crate::txn::{CommitError, Core, Mode, Scratch, Wait};
use crate::value::Value;

/// Most keys that one commit expires.
const SLICE: usize = 64;
/// How far ahead hints are loaded.
const AHEAD_MS: u64 = 2_000;
/// Most hints loaded at once; the rest follows when these are gone.
const LOAD_MAX: usize = 20_000;
/// Deadlines that are taken together.
const SPAN_MS: u64 = 100;
/// How often the reaper looks.
pub const TICK: Duration = Duration::from_millis(10);

/// The reaper's state.
pub struct Reaper {
    core: Arc<Core>,
    clock: Arc<dyn Clock>,
    is_stopping: AtomicBool,
    /// Turned off by DEBUG SET-ACTIVE-EXPIRE 0.
    pub is_active: AtomicBool,
    /// Wall and monotonic clock at the last tick, to notice jumps.
    last: parking_lot::Mutex<(u64, u64)>,
    /// Where the last load of hints stopped early: database, deadline and row.
    stopped_at: parking_lot::Mutex<Vec<(DbId, ExpireAt, Vec<u8>)>>,
    pub clock_jumps: AtomicU64,
}

/// Keys found due in one shard.
struct Due {
    db: DbId,
    keys: Vec<Box<[u8]>>,
}

impl Reaper {
    /// A reaper; run it with [`Reaper::run`] or step by step with [`Reaper::tick`].
    pub fn new(core: Arc<Core>, clock: Arc<dyn Clock>) -> Arc<Reaper> {
        let last = (clock.unix_ms(), clock.monotonic_ns() / 1_000_000);
        Arc::new(Reaper {
            core,
            clock,
            is_stopping: AtomicBool::new(false),
            is_active: AtomicBool::new(true),
            last: parking_lot::Mutex::new(last),
            stopped_at: parking_lot::Mutex::default(),
            clock_jumps: AtomicU64::new(0),
        })
    }

    /// Has the thread end.
    pub fn stop(&self) {
        self.is_stopping.store(true, Ordering::Relaxed);
    }

    /// The body of the reaper's thread.
    pub fn run(&self) {
        while !self.is_stopping.load(Ordering::Relaxed) {
            std::thread::sleep(TICK);
            if !self.is_active.load(Ordering::Relaxed) || self.core.wal.latched().is_some() {
                continue;
            }
            match self.tick() {
                Ok(_) | Err(Error::Closed | Error::NoSpace { .. }) => {}
                Err(error) => tracing::warn!(%error, "the reaper could not expire keys"),
            }
        }
    }

    /// Expires what is due now; returns the number of keys.
    pub fn tick(&self) -> Result<u64> {
        let now_ms = self.clock.unix_ms();
        if self.clock_jumped(now_ms) {
            return Ok(0);
        }
        let loaded = self.load(now_ms)?;
        let mut count = 0;
        // A mass expiry leaves in the order of its deadlines, a short span of them at a time.
        while let Some(first) = self.next_due().filter(|first| *first <= now_ms.min(loaded)) {
            let upto = (first + SPAN_MS).min(now_ms).min(loaded);
            for id in Store::shard_ids() {
                loop {
                    let due = self.collect(id, upto, now_ms)?;
                    if due.is_empty() {
                        break;
                    }
                    let mut rest = due.into_iter();
                    while let Some(due) = rest.next() {
                        if let Err(error) = self.delete(&due, now_ms) {
                            std::iter::once(due).chain(rest).for_each(|due| self.watch_again(&due));
                            return Err(error);
                        }
                        count += due.keys.len() as u64;
                    }
                }
            }
        }
        Ok(count)
    }

    /// Puts keys back that could not be deleted.
    fn watch_again(&self, due: &Due) {
        for key in &due.keys {
            let hash = self.core.store.hasher.hash(key);
            let mut shard = self.core.store.lock(hash.shard);
            let entry = shard.db(due.db).and_then(|part| part.table.find(hash, key));
            if let Some(at) = entry.and_then(Entry::deadline) {
                shard.watch(at, due.db, hash.bucket);
            }
        }
    }

    /// The soonest deadline that is watched.
    fn next_due(&self) -> Option<u64> {
        let store = &self.core.store;
        Store::shard_ids().filter_map(|id| store.lock(id).next_due()).min()
    }

    /// Whether the wall clock moved by more than the time that passed (by over ten seconds):
    /// the reaper then waits one tick, so that a step back ends it.
    fn clock_jumped(&self, now_ms: u64) -> bool {
        let monotonic = self.clock.monotonic_ns() / 1_000_000;
        let mut last = self.last.lock();
        let passed = monotonic - last.1;
        let jumped = now_ms.abs_diff(last.0 + passed) > 10_000;
        *last = (now_ms, monotonic);
        if jumped {
            self.clock_jumps.fetch_add(1, Ordering::Relaxed);
            tracing::warn!("the wall clock jumped; active expiry pauses for a tick");
        }
        jumped
    }

    /// Loads hints that are due soon from the `expires` family into the shards' heaps. Returns the
    /// time up to which all are loaded.
    fn load(&self, now_ms: u64) -> Result<u64> {
        let store = &self.core.store;
        let loaded = store.expires_loaded.load(Ordering::Relaxed);
        if !store.has_cold.load(Ordering::Relaxed) || loaded >= now_ms + AHEAD_MS / 2 {
            return Ok(loaded.max(now_ms));
        }
        let upto = now_ms + AHEAD_MS;
        // New hints at or before `upto` go straight to the heaps from here on: none is missed.
        store.expires_loaded.store(upto, Ordering::SeqCst);
        let outcome = self.read_hints(loaded, upto);
        let reached = *outcome.as_ref().unwrap_or(&loaded);
        store.expires_loaded.store(reached, Ordering::SeqCst);
        outcome
    }

    /// Moves the hints from `loaded` to `upto` into the heaps; returns how far it came.
    fn read_hints(&self, loaded: u64, upto: u64) -> Result<u64> {
        let store = &self.core.store;
        let mut reached = upto;
        let (map, _) = store.map_image();
        let mut hints: Vec<(ExpireAt, DbId, u32, ShardId)> = Vec::new();
        let mut stopped_at = self.stopped_at.lock();
        let before = std::mem::take(&mut *stopped_at);
        for db in map.iter().take(DATABASES) {
            let (mut from, mut to) = (Vec::new(), Vec::new());
            schema::put_expires_key(&mut from, *db, ExpireAt(loaded), 0, b"");
            schema::put_expires_key(&mut to, *db, ExpireAt(upto + 1), 0, b"");
            if let Some((.., row)) = before.iter().find(|(id, at, _)| id == db && at.0 == loaded) {
                from.clone_from(row);
            }
            let mut cursor = store.cold.cursor(Family::Expires, &from, &to, None)?;
            cursor.seek(&from)?;
            let start = hints.len();
            while let Some((key, _)) = cursor.row() {
                let (db, at, user_key) = schema::split_expires_key(key)
                    .map_err(|error| schema::row_error(Family::Expires, key, error))?;
                if hints.len() - start >= LOAD_MAX {
                    // The rest of this database later, from this very row on, since many may share
                    // one deadline; the other databases must not run ahead of it.
                    reached = reached.min(at.0);
                    stopped_at.push((db, at, key.to_vec()));
                    break;
                }
                let hash = store.hasher.hash(user_key);
                hints.push((at, db, hash.bucket, hash.shard));
                cursor.advance()?;
            }
        }
        for (at, db, bucket, shard) in hints {
            store.lock(shard).watch(at, db, bucket);
        }
        Ok(reached)
    }

    /// Takes due items of one shard from its heap and finds the keys they mean.
    fn collect(&self, id: ShardId, upto: u64, now_ms: u64) -> Result<Vec<Due>> {
        let store = &self.core.store;
        let mut due: Vec<Due> = Vec::new();
        let mut cold: Vec<(ExpireAt, DbId, u32)> = Vec::new();
        // Keys that wait for their base row since the replay: their deadlines are not known.
        let mut waiting: Vec<(ExpireAt, DbId, Box<[u8]>)> = Vec::new();
        let mut found = 0;
        {
            let mut shard = store.lock(id);
            while found < SLICE && cold.len() < SLICE {
                let Some((at, db, bucket)) = shard.pop_due(upto) else { break };
                let Some(part) = shard.db_mut(db) else { continue };
                let (mut keys, mut later, mut is_hot) = (Vec::new(), None::<ExpireAt>, false);
                let hasher = store.hasher;
                let page = part.table.page_at(bucket);
                part.table.for_page_mut(page, |entry| {
                    if matches!(entry.body(), BodyRef::Boxed(Value::Unresolved(_)))
                        && hasher.hash(entry.key()).bucket == bucket
                    {
                        waiting.push((at, db, Box::from(entry.key())));
                    }
                    let Some(deadline) = entry.deadline() else { return };
                    if !entry.is_value() || hasher.hash(entry.key()).bucket != bucket {
                        return;
                    }
                    is_hot |= deadline == at;
                    if deadline.is_past(now_ms) {
                        keys.push(Box::from(entry.key()));
                    } else if deadline.0 <= now_ms + NEAR_MS {
                        later = Some(later.map_or(deadline, |l| l.min(deadline)));
                        entry.set(flag::ARMED);
                    } else {
                        entry.clear(flag::ARMED);
                    }
                });
                if let Some(at) = later {
                    shard.watch(at, db, bucket);
                }
                if !is_hot {
                    cold.push((at, db, bucket));
                }
                found += keys.len();
                match due.iter_mut().find(|due| due.db == db) {
                    Some(due) => due.keys.extend(keys),
                    None => due.push(Due { db, keys }),
                }
            }
        }
        if store.has_cold.load(Ordering::Relaxed) {
            self.collect_cold(&cold, waiting, now_ms, &mut due)?;
        }
        due.retain(|due| !due.keys.is_empty());
        Ok(due)
    }

    /// Finds the keys behind hints whose entries are not in memory.
    fn collect_cold(
        &self,
        hints: &[(ExpireAt, DbId, u32)],
        mut found: Vec<(ExpireAt, DbId, Box<[u8]>)>,
        now_ms: u64,
        due: &mut Vec<Due>,
    ) -> Result<()> {
        let store = &self.core.store;
        for (at, db, bucket) in hints {
            let (mut from, mut to) = (Vec::new(), Vec::new());
            schema::put_expires_key(&mut from, *db, *at, *bucket, b"");
            match bucket.checked_add(1) {
                Some(next) => schema::put_expires_key(&mut to, *db, *at, next, b""),
                None => schema::put_expires_key(&mut to, *db, ExpireAt(at.0 + 1), 0, b""),
            }
            let mut cursor = store.cold.cursor(Family::Expires, &from, &to, None)?;
            cursor.seek(&from)?;
            while let Some((row_key, _)) = cursor.row() {
                let (_, _, key) = schema::split_expires_key(row_key)
                    .map_err(|error| schema::row_error(Family::Expires, row_key, error))?;
                found.push((*at, *db, Box::from(key)));
                cursor.advance()?;
            }
        }
        let ticket =
            self.core.promoter.fetch(found.iter().map(|(_, db, key)| (*db, &key[..], Depth::Row)), false);
        if let Some(ticket) = &ticket {
            ticket.wait()?;
        }
        for (at, db, key) in found {
            let hash = store.hasher.hash(&key);
            let mut shard = store.lock(hash.shard);
            let Some(part) = shard.db(db) else { continue };
            let deadline = part.table.find(hash, &key).filter(|e| e.is_value()).and_then(|e| e.deadline());
            match deadline {
                Some(deadline) if deadline.is_past(now_ms) => {
                    let list = due.iter_mut().find(|due| due.db == db);
                    match list {
                        Some(list) if list.keys.contains(&key) => {}
                        Some(list) => list.keys.push(key),
                        None => due.push(Due { db, keys: vec![key] }),
                    }
                }
                Some(deadline) if deadline == at => {}
                // The header says otherwise: the hint is left over.
                _ => crate::tier::spill::drop_hint(&mut shard, db, at, &key),
            }
        }
        Ok(())
    }

    /// Deletes keys by one commit; keys that changed meanwhile stay.
    fn delete(&self, due: &Due, now_ms: u64) -> Result<()> {
        let Some(index) = self.core.store.db_index(due.db) else { return Ok(()) };
        if self.core.store.failpoints.breaks(Break::ExpiryIsLogged) {
            return self.core.store.drop_unlogged(due.db, &due.keys);
        }
        let keys: Vec<&[u8]> = due.keys.iter().map(|key| &key[..]).collect();
        let mut scratch = Scratch::default();
        let mut pins = Vec::new();
        loop {
            let mut txn = self.core.begin(&mut scratch, index, &keys, Mode::Reserve, now_ms);
            // A read that meets a dead key plans its deletion.
            let outcome = keys.iter().try_for_each(|key| txn.header(key, false).map(|_| ()));
            let wait = match outcome {
                Err(_) => match txn.take_failure() {
                    Some(error) => return Err(error),
                    None => txn.abandon(),
                },
                Ok(()) => match txn.commit() {
                    Ok(_) => return Ok(()),
                    Err(CommitError::Failed(error)) => return Err(error),
                    Err(CommitError::Interrupted(wait)) => wait,
                },
            };
            match &wait {
                Wait::Retry => {}
                Wait::Fetch(ticket) => ticket.wait()?,
                Wait::Room(len) => self.core.wal.wait_room_blocking(*len, Duration::from_secs(1))?,
                Wait::Held => std::thread::sleep(Duration::from_millis(1)),
                Wait::Build(_) => unreachable!("a deletion stores no value"),
            }
            pins.push(wait);
        }
    }
}
