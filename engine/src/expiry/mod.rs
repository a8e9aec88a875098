//! Expiry: keys leave at their deadline, hot or cold, without anybody reading them.
//!
//! Near deadlines are watched in memory (a heap per shard, one item per key however often its
//! deadline is pushed ahead). Later ones are rows of the `expires` family, put there with the
//! key's row; the reaper loads them, in deadline order, shortly before they are due. A hint is
//! only a hint: the key's header decides, and a wrong hint is removed.
//!
//! Elements with deadlines of their own (fields of a hash) have the same: the soonest one of a key is
//! watched or has a hint row, which says that the key's elements are to be looked at. The hint of a hash
//! that was copied as a whole comes before all others, since nobody knows its deadlines yet.
//!
//! The reaper deletes by ordinary commits (operation `expired`) of at most [`SLICE`] keys, so
//! events, counters, log and replay agree. It stands still while the wall clock is suspect.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::env::Clock;
use crate::error::{Error, Result};
use crate::failpoint::Break;
use crate::ids::{DbId, DbIndex, ExpireAt, ShardId};
use crate::keyspace::entry::{BodyRef, Entry, flag};
use crate::keyspace::store::{DATABASES, NEAR_MS, Store};
use crate::tier::promote::Depth;
use crate::tier::spill::drop_hint;
use crate::tier::{Family, schema};
use crate::txn::{CommitError, Core, Found, Interrupt, Mode, Scratch, Txn, ValueRef, Wait};
use crate::value::collection::Collection;
use crate::value::{TypeTag, Value};
use crate::wal::effect::Operation;

/// Most keys that one commit expires.
const SLICE: usize = 64;
/// Most elements of one key that one commit expires.
const ELEMENTS_SLICE: u64 = 512;
/// How far ahead hints are loaded.
const AHEAD_MS: u64 = 2_000;
/// Most hints loaded at once; the rest follows when these are gone.
const LOAD_MAX: usize = 20_000;
/// Deadlines that are taken together.
const SPAN_MS: u64 = 100;
/// Ticks after which a row that could not be read is tried again.
const RECALL_TICKS: u64 = 100;
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
    /// How far the hints of each database were moved into the heaps.
    reached: parking_lot::Mutex<HashMap<DbId, Reached>>,
    /// Items whose rows could not be read or kept, until they are tried again.
    put_aside: parking_lot::Mutex<Vec<(ShardId, Item)>>,
    ticks: AtomicU64,
    pub clock_jumps: AtomicU64,
}

/// What a shard's heap holds: a time to look at a bucket of a database.
type Item = (ExpireAt, DbId, u32);

/// How far the hints of a database were read.
#[derive(Default)]
struct Reached {
    upto: u64,
    /// The row to go on from, where reading stopped early.
    row: Option<Vec<u8>>,
}

/// Keys found due in one shard.
struct Due {
    db: DbId,
    keys: Vec<Box<[u8]>>,
    /// Keys of which elements are due.
    holders: Vec<Box<[u8]>>,
}

/// The due keys of a database.
fn due_of(due: &mut Vec<Due>, db: DbId) -> &mut Due {
    let index = due.iter().position(|due| due.db == db).unwrap_or_else(|| {
        due.push(Due { db, keys: Vec::new(), holders: Vec::new() });
        due.len() - 1
    });
    &mut due[index]
}

/// A key that a hint row or a wait for a row brings up.
struct Hinted {
    at: ExpireAt,
    db: DbId,
    key: Box<[u8]>,
    origin: HintOrigin,
}

/// Why a key comes up.
#[derive(Clone, Copy, PartialEq, Eq)]
enum HintOrigin {
    /// A row says that it expires then.
    Key,
    /// A row says that elements of it do.
    Elements,
    /// It waits for its row since the replay, and some key in its bucket is due.
    Waiting,
}

impl HintOrigin {
    /// What has to be in memory to judge the key.
    fn depth(self) -> Depth {
        if self == HintOrigin::Elements { Depth::Whole } else { Depth::Row }
    }
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
            reached: parking_lot::Mutex::default(),
            put_aside: parking_lot::Mutex::default(),
            ticks: AtomicU64::new(0),
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
    ///
    /// # Errors
    /// What could not be looked up or deleted is tried again later, the rest was done or will be with
    /// the next call.
    pub fn tick(&self) -> Result<u64> {
        let now_ms = self.clock.unix_ms();
        if self.clock_jumped(now_ms) {
            return Ok(0);
        }
        self.recall();
        let loaded = self.load(now_ms)?;
        let (mut count, mut failure) = (0, None);
        // A mass expiry leaves in the order of its deadlines, a short span of them at a time.
        while let Some(first) = self.next_due().filter(|first| *first <= now_ms.min(loaded)) {
            let upto = (first + SPAN_MS).min(now_ms).min(loaded);
            for id in Store::shard_ids() {
                loop {
                    let items = self.pop(id, upto);
                    if items.is_empty() {
                        break;
                    }
                    count += self.expire(id, &items, now_ms, &mut failure)?;
                }
            }
        }
        failure.map_or(Ok(count), Err)
    }

    /// Takes due items of one shard from its heap.
    fn pop(&self, id: ShardId, upto: u64) -> Vec<Item> {
        let mut shard = self.core.store.lock(id);
        std::iter::from_fn(|| shard.pop_due(upto)).take(SLICE).collect()
    }

    /// Expires the keys that items mean. What fails is watched again; an item whose row cannot be read
    /// is put aside, so that it does not stand in the way of the others.
    fn expire(&self, id: ShardId, items: &[Item], now_ms: u64, failure: &mut Option<Error>) -> Result<u64> {
        let error = match self.try_expire(id, items, now_ms) {
            Ok(count) => return Ok(count),
            Err(error) => error,
        };
        let is_of_a_row = matches!(error, Error::Io { .. } | Error::Corruption { .. });
        if !is_of_a_row {
            let mut shard = self.core.store.lock(id);
            items.iter().for_each(|(at, db, bucket)| shard.watch(*at, *db, *bucket));
            return Err(error);
        }
        if let [item] = items {
            self.put_aside.lock().push((id, *item));
            *failure = Some(error);
            return Ok(0);
        }
        let mut count = 0;
        for (done, item) in items.iter().enumerate() {
            let outcome = self.expire(id, std::slice::from_ref(item), now_ms, failure);
            count += outcome.inspect_err(|_| {
                let mut shard = self.core.store.lock(id);
                items[done + 1..].iter().for_each(|(at, db, bucket)| shard.watch(*at, *db, *bucket));
            })?;
        }
        Ok(count)
    }

    fn try_expire(&self, id: ShardId, items: &[Item], now_ms: u64) -> Result<u64> {
        let mut count = 0;
        for due in self.collect(id, items, now_ms)? {
            for keys in due.keys.chunks(SLICE) {
                self.delete(due.db, keys, now_ms)?;
                count += keys.len() as u64;
            }
            for key in &due.holders {
                self.delete_elements(due.db, key, now_ms)?;
            }
        }
        Ok(count)
    }

    /// Watches again, each second or so, what was put aside.
    fn recall(&self) {
        if !self.ticks.fetch_add(1, Ordering::Relaxed).is_multiple_of(RECALL_TICKS) {
            return;
        }
        for (id, (at, db, bucket)) in self.put_aside.lock().drain(..) {
            self.core.store.lock(id).watch(at, db, bucket);
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
        if !store.has_cold.load(Ordering::Relaxed) {
            return Ok(now_ms);
        }
        let (map, _) = store.map_image();
        let upto = now_ms + AHEAD_MS;
        let mut all = self.reached.lock();
        all.retain(|db, _| map.contains(db));
        let mut least = u64::MAX;
        for db in map.iter().take(DATABASES) {
            let reached = all.entry(*db).or_default();
            if reached.upto < now_ms + AHEAD_MS / 2 {
                // Hints at or before `upto` that are written from here on go straight to the heaps:
                // none is missed.
                store.expires_loaded.fetch_max(upto, Ordering::SeqCst);
                self.read_hints(*db, upto, reached)?;
            }
            // A database with very many must not let the others run ahead of it.
            least = least.min(reached.upto);
        }
        Ok(least)
    }

    /// Moves a database's hints up to `upto` into the heaps, or as many as are loaded at once.
    fn read_hints(&self, db: DbId, upto: u64, reached: &mut Reached) -> Result<()> {
        let store = &self.core.store;
        let (mut from, mut to) = (Vec::new(), Vec::new());
        schema::put_expires_key(&mut from, db, ExpireAt(reached.upto), 0, b"");
        schema::put_expires_key(&mut to, db, ExpireAt(upto + 1), 0, b"");
        if let Some(row) = &reached.row {
            from.clone_from(row);
        }
        let mut cursor = store.cold.cursor(Family::Expires, &from, &to, None)?;
        cursor.seek(&from)?;
        let mut next = Reached { upto, row: None };
        let mut hints: Vec<(ExpireAt, u32, ShardId)> = Vec::new();
        while let Some((key, value)) = cursor.row() {
            let hint = schema::read_hint(key, value)
                .map_err(|error| schema::row_error(Family::Expires, key, error))?;
            if hints.len() >= LOAD_MAX {
                // The rest later, from this very row on, since many may share one deadline.
                next = Reached { upto: hint.at.0, row: Some(key.to_vec()) };
                break;
            }
            let hash = store.hasher.hash(hint.key);
            hints.push((hint.at, hash.bucket, hash.shard));
            cursor.advance()?;
        }
        for (at, bucket, shard) in hints {
            store.lock(shard).watch(at, db, bucket);
        }
        *reached = next;
        Ok(())
    }

    /// Finds the keys that items of one shard mean and that are past their deadline.
    fn collect(&self, id: ShardId, items: &[Item], now_ms: u64) -> Result<Vec<Due>> {
        let store = &self.core.store;
        let mut due: Vec<Due> = Vec::new();
        let mut cold: Vec<Item> = Vec::new();
        // Keys that wait for their base row since the replay: their deadlines are not known.
        let mut waiting: Vec<Hinted> = Vec::new();
        {
            let mut shard = store.lock(id);
            for (at, db, bucket) in items.iter().copied() {
                let Some(part) = shard.db_mut(db) else {
                    // No key of the database is in this shard; a hint may be left.
                    cold.push((at, db, bucket));
                    continue;
                };
                let (mut keys, mut later, mut is_hot) = (Vec::new(), None::<ExpireAt>, false);
                let mut holders = Vec::new();
                let hasher = store.hasher;
                let page = part.table.page_at(bucket);
                part.table.for_page_mut(page, |entry| {
                    if matches!(entry.body(), BodyRef::Boxed(Value::Unresolved(_)))
                        && hasher.hash(entry.key()).bucket == bucket
                    {
                        let key = Box::from(entry.key());
                        waiting.push(Hinted { at, db, key, origin: HintOrigin::Waiting });
                    }
                    let elements = entry.element_deadline();
                    if entry.deadline().is_none() && elements.is_none()
                        || !entry.is_value()
                        || hasher.hash(entry.key()).bucket != bucket
                    {
                        return;
                    }
                    if let Some(next) = elements {
                        is_hot |= next == at;
                        if next.is_past(now_ms) {
                            holders.push(Box::from(entry.key()));
                        } else if next.0 <= now_ms + NEAR_MS {
                            later = Some(later.map_or(next, |l| l.min(next)));
                        }
                    }
                    let Some(deadline) = entry.deadline() else { return };
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
                let due = due_of(&mut due, db);
                due.keys.extend(keys);
                due.holders.extend(holders);
            }
        }
        if store.has_cold.load(Ordering::Relaxed) {
            self.collect_cold(&cold, waiting, now_ms, &mut due)?;
        }
        // A key that goes takes its elements along.
        due.iter_mut().for_each(|due| due.holders.retain(|key| !due.keys.contains(key)));
        Ok(due)
    }

    /// Finds the keys behind hints whose entries are not in memory.
    fn collect_cold(
        &self,
        hints: &[Item],
        mut found: Vec<Hinted>,
        now_ms: u64,
        due: &mut Vec<Due>,
    ) -> Result<()> {
        for item in hints {
            self.read_bucket_hints(*item, &mut found)?;
        }
        // Its row first, then what the row says is elsewhere. All stays pinned until it is judged.
        let mut tickets = Vec::new();
        for _ in 0..2 {
            let keys = found.iter().map(|hinted| (hinted.db, &hinted.key[..], hinted.origin.depth()));
            if let Some(ticket) = self.core.promoter.fetch(keys, false) {
                ticket.wait()?;
                tickets.push(ticket);
            }
        }
        for hinted in found {
            self.judge(hinted, now_ms, due);
        }
        Ok(())
    }

    /// The keys that have a hint at a time in a bucket.
    fn read_bucket_hints(&self, (at, db, bucket): Item, found: &mut Vec<Hinted>) -> Result<()> {
        let (mut from, mut to) = (Vec::new(), Vec::new());
        schema::put_expires_key(&mut from, db, at, bucket, b"");
        match bucket.checked_add(1) {
            Some(next) => schema::put_expires_key(&mut to, db, at, next, b""),
            None => schema::put_expires_key(&mut to, db, ExpireAt(at.0 + 1), 0, b""),
        }
        let mut cursor = self.core.store.cold.cursor(Family::Expires, &from, &to, None)?;
        cursor.seek(&from)?;
        while let Some((row_key, value)) = cursor.row() {
            let hint = schema::read_hint(row_key, value)
                .map_err(|error| schema::row_error(Family::Expires, row_key, error))?;
            let origin = if hint.is_of_elements { HintOrigin::Elements } else { HintOrigin::Key };
            found.push(Hinted { at, db, key: Box::from(hint.key), origin });
            cursor.advance()?;
        }
        Ok(())
    }

    /// What to do about a key with a hint, now that it is in memory: it is due, or the hint is right, or
    /// wrong and goes.
    fn judge(&self, hinted: Hinted, now_ms: u64, due: &mut Vec<Due>) {
        let (store, Hinted { at, db, key, origin }) = (&self.core.store, hinted);
        let hash = store.hasher.hash(&key);
        let mut shard = store.lock(hash.shard);
        let part = shard.db(db);
        let entry = part.and_then(|part| part.table.find(hash, &key));
        let is_missing = match entry {
            None => part.is_some_and(|part| part.may_be_cold(hash)),
            Some(entry) => origin == HintOrigin::Elements && entry.stored_at().is_some(),
        };
        if is_missing {
            // It was in memory when the others were fetched, or came without a pin, and is not any
            // more. Later: whatever takes it away may do so again at once.
            self.put_aside.lock().push((hash.shard, (at, db, hash.bucket)));
            return;
        }
        let entry = entry.filter(|entry| entry.is_value());
        let (deadline, elements) = entry.map_or((None, None), |e| (e.deadline(), e.element_deadline()));
        if deadline.is_some_and(|deadline| deadline.is_past(now_ms)) {
            let keys = &mut due_of(due, db).keys;
            if !keys.contains(&key) {
                keys.push(key);
            }
            return;
        }
        if let Some(next) = elements {
            // However its row came by it: from here on the hint of its elements is right.
            if next.is_past(now_ms) {
                let holders = &mut due_of(due, db).holders;
                if !holders.contains(&key) {
                    holders.push(key.clone());
                }
            } else if next != at {
                shard.new_hints.push((db, next, key.clone()));
                if store.is_near(next, now_ms) {
                    shard.watch(next, db, hash.bucket);
                }
            }
        }
        // Where the header says otherwise, the hint is left over.
        if deadline != Some(at) && origin != HintOrigin::Elements {
            drop_hint(&mut shard, db, hash, at, &key, false);
        }
        if elements != Some(at) && origin != HintOrigin::Key {
            drop_hint(&mut shard, db, hash, at, &key, true);
        }
    }

    /// Expires elements of a key, commit by commit, and watches the next one.
    fn delete_elements(&self, db: DbId, key: &[u8], now_ms: u64) -> Result<()> {
        let (store, mut scratch) = (&self.core.store, Scratch::default());
        let Some(index) = store.db_index(db) else { return Ok(()) };
        let hash = store.hasher.hash(key);
        loop {
            let mut removed = 0;
            self.commit(&mut scratch, index, &[key], now_ms, &mut |txn| {
                removed = remove_elements(txn, key, now_ms)?;
                Ok(())
            })?;
            let mut shard = store.lock(hash.shard);
            let entry = shard.db(db).and_then(|part| part.table.find(hash, key));
            match entry.and_then(Entry::element_deadline) {
                Some(next) if next.is_past(now_ms) && removed > 0 => {}
                Some(next) if store.is_near(next, now_ms) => {
                    shard.watch(next, db, hash.bucket);
                    return Ok(());
                }
                _ => return Ok(()),
            }
        }
    }

    /// Deletes keys by one commit; keys that changed meanwhile stay.
    fn delete(&self, db: DbId, keys: &[Box<[u8]>], now_ms: u64) -> Result<()> {
        let Some(index) = self.core.store.db_index(db) else { return Ok(()) };
        if self.core.store.failpoints.breaks(Break::ExpiryIsLogged) {
            return self.core.store.drop_unlogged(db, keys);
        }
        let keys: Vec<&[u8]> = keys.iter().map(|key| &key[..]).collect();
        self.commit(&mut Scratch::default(), index, &keys, now_ms, &mut |txn| {
            // A read that meets a dead key plans its deletion.
            keys.iter().try_for_each(|key| txn.header(key, false).map(|_| ()))
        })
    }

    /// Commits what `plan` does to keys, on this thread.
    fn commit(
        &self,
        scratch: &mut Scratch,
        db: DbIndex,
        keys: &[&[u8]],
        now_ms: u64,
        plan: &mut dyn FnMut(&mut Txn<'_>) -> Result<(), Interrupt>,
    ) -> Result<()> {
        let mut pins = Vec::new();
        loop {
            let mut txn = self.core.begin(scratch, db, keys, Mode::Reserve, now_ms);
            let wait = match plan(&mut txn) {
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
                Wait::Build(_) => unreachable!("what expires stores no value"),
            }
            pins.push(wait);
        }
    }
}

/// Plans the removal of a key's elements that are due, at most [`ELEMENTS_SLICE`]; returns their number.
/// The key goes with the last one.
fn remove_elements(txn: &mut Txn<'_>, key: &[u8], now_ms: u64) -> Result<u64, Interrupt> {
    let Some(Found { value: ValueRef::Collection(Collection::Hash(hash)), .. }) = txn.peek(key)? else {
        return Ok(0);
    };
    let mut edit = Vec::new();
    let changes = hash.plan_reap(now_ms, ELEMENTS_SLICE, &mut edit);
    txn.set_operation(Operation::HExpired);
    match changes.removed {
        0 => {}
        _ if changes.is_over => drop(txn.delete(key)?),
        _ => txn.edit_collection(key, TypeTag::Hash, &edit)?,
    }
    Ok(changes.removed)
}
