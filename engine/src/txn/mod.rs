//! Transactions: how a command reads and changes keys, atomically and isolated.
//!
//! A transaction locks the shards of its keys, reads entries under the locks and collects
//! effects in a private buffer, already in the log's format. [`Txn::commit`] appends them as one
//! record and applies the very same bytes to the entries before the locks go.
//!
//! It is restartable. A read of a record that is not in memory, or whose shard is not locked,
//! returns [`Interrupt`]: nothing has happened, the caller drops everything, waits for what
//! [`Txn::abandon`] returns and runs the command again. After [`SYNC_AFTER`] rounds that missed what an
//! earlier one had asked for, all shards are locked and reads go to the cold tier under the locks, so every
//! command ends. A round that got what it asked for and misses something else does not count: a command over
//! many large values has many.
//!
//! Several commands can share one transaction ([`Core::begin_multi`], the `multi` module): each reads what
//! those before it changed, and all of them are one record.
//!
//! Promises: nothing is visible before the record is in the log; nothing can fail between the
//! first change of memory and the unlock, and a panic in that window aborts the process; a
//! single command that reads a key it has itself changed before is a programming error and panics
//! while nothing has changed yet.

pub mod build;
mod gather;
mod multi;
mod plan;
mod walk;
mod watch;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::lock_api::{RawMutex as _, RawMutexTimed as _};

use build::{BuildOrder, Builds};
use multi::Multi;
pub use plan::{Found, Header, ValueRef};
pub use watch::Sight;

use crate::codec::Reader;
use crate::error::{Error, Result};
use crate::failpoint::{Break, CrashPoint};
use crate::hook::Hook;
use crate::ids::{DbId, DbIndex, Incarnation, Lsn, ShardId};
use crate::keyspace::hash::{KeyHash, SHARDS};
use crate::keyspace::held::Held;
use crate::keyspace::shard::{Origin, Shard};
use crate::keyspace::store::Store;
use crate::keyspace::usage::Usage;
use crate::tier::ColdBatch;
use crate::tier::promote::{Depth, FetchTicket, Promoter};
use crate::wal::effect::{Change, Operation, Total, put_head, read_effect};
use crate::wal::{AppendError, Wal};

/// Rounds without progress after which a command locks all shards and reads the cold tier under the locks;
/// rounds that only found more shards to lock after which it locks all of them.
pub const SYNC_AFTER: u32 = 4;

/// How long a worker waits for a shard before it asks who holds it.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// Room kept in front of the effects for the record's head, so that they need not move.
const HEAD_ROOM: usize = 64;

/// What transactions need of the engine.
pub struct Core {
    pub store: Arc<Store>,
    pub wal: Arc<Wal>,
    pub promoter: Arc<Promoter>,
    pub hook: Hook,
    /// Largest commit in bytes.
    pub commit_max: std::sync::atomic::AtomicUsize,
}

/// The command cannot go on now: drop the transaction, wait, run it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interrupt;

/// Which shards a transaction locks at its start, and what it may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The shards of its keys.
    Keys,
    /// Like `Keys`; its record may use the space kept for deletions when the disk is full.
    Reserve,
    /// All shards.
    All,
}

/// Buffers that a worker reuses from command to command, and what a command learnt in the
/// rounds before.
#[derive(Default)]
pub struct Scratch {
    effects: Vec<u8>,
    hashes: Vec<KeyHash>,
    touched: Vec<Touched>,
    /// Positions in `touched` by hash, filled once there are more than a few.
    touched_index: hashbrown::HashTable<u32>,
    totals: Vec<TotalChange>,
    record: Vec<u8>,
    more_shards: u64,
    missing: Vec<(DbId, Box<[u8]>)>,
    /// All that was missing so far - database, table hash, and whether only the content was - with the round
    /// that asked for it first.
    asked: HashMap<(DbId, u64, bool), u32>,
    /// Rounds that missed something.
    rounds: u32,
    /// This round misses what one before asked for.
    is_stuck: bool,
    /// Rounds of that kind.
    stuck_rounds: u32,
    /// Rounds in which only locks were missing.
    lock_rounds: u32,
    has_turn: bool,
    /// The next round locks all shards; see [`Txn::look_around`].
    wants_all: bool,
    /// It may run for long: others do not wait on their threads; see [`Scratch::take_long`].
    is_long: bool,
    /// Only commands that store large values have it.
    builds: Option<Box<Builds>>,
    /// Only transactions of several commands have it.
    multi: Option<Box<Multi>>,
}

/// The private state of a key that this transaction has changed.
struct Touched {
    db: DbId,
    /// The key's table hash, compared first.
    table: u64,
    /// Where the key's bytes lie in the effects buffer.
    key: (usize, usize),
    exists: bool,
    has_deadline: bool,
    /// The incarnation whose pages its value then has.
    pages: Option<Incarnation>,
    /// With several commands: the number of its last effect's link, 0 without one.
    last_link: u32,
    /// With several commands: the overlay has its state.
    is_copied: bool,
}

#[derive(Clone, Copy)]
struct TotalChange {
    db: DbId,
    shard: ShardId,
    keys: i64,
    expires: i64,
}

/// What to wait for before an interrupted command runs again. Keep it until the command is
/// done: it pins what was fetched.
#[must_use]
pub enum Wait {
    /// Nothing: only more shards must be locked.
    Retry,
    /// Records on their way into memory. When they came and [`FetchTicket::is_short`], release all that was
    /// fetched and wait for the turn to pin more ([`Scratch::take_turn`]).
    Fetch(FetchTicket),
    /// Room in the log for so many bytes.
    Room(usize),
    /// A large value to be built; give the outcome to the scratch buffers. Release what was fetched.
    Build(BuildOrder),
    /// Another command that holds a key; ask again in a moment.
    Held,
}

/// What a commit did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Committed {
    /// LSN of the commit; `None` if it changed nothing.
    pub lsn: Option<Lsn>,
    /// Highest LSN whose effect the command saw. With `appendfsync always` a reply waits until
    /// both are durable.
    pub observed: Lsn,
    /// Whether the listener of the commit hook was told; it has heard all of it then.
    pub is_told: bool,
}

/// Why a commit did not happen. Nothing has changed.
#[must_use]
pub enum CommitError {
    /// Wait, then run the command again.
    Interrupted(Wait),
    /// The command fails.
    Failed(Error),
}

/// A command's view of the keyspace, with its shards locked.
pub struct Txn<'e> {
    core: &'e Core,
    scratch: &'e mut Scratch,
    keys: &'e [&'e [u8]],
    first_hash: KeyHash,
    /// One bit per locked shard.
    locked: u64,
    db: DbIndex,
    now_ms: u64,
    observed: Lsn,
    operation: Operation,
    uses_reserve: bool,
    /// How many of the effects delete keys past their deadlines.
    expiries: usize,
    reads_synchronously: bool,
    /// Database map changes, to be applied with all shards locked.
    remaps: Vec<(DbIndex, DbId, Operation)>,
    failure: Option<Error>,
    /// What [`Txn::set_usage`] said about keys.
    usages: Vec<(DbId, Box<[u8]>, Usage)>,
    /// Several commands share it; see `multi`.
    is_multi: bool,
    /// They may look at all shards by other ways than this one.
    held: Option<Held>,
}

impl Core {
    /// Starts a transaction of the database `db` at time `now_ms` and locks the shards of `keys`.
    /// For the first round of a command, call [`Scratch::reset`] before.
    pub fn begin<'e>(
        &'e self,
        scratch: &'e mut Scratch,
        db: DbIndex,
        keys: &'e [&'e [u8]],
        mode: Mode,
        now_ms: u64,
    ) -> Txn<'e> {
        self.start(scratch, db, keys, mode, now_ms, true).expect("it waits for as long as it takes")
    }

    /// Like [`Core::begin`]; `None` while a transaction that may run for long ([`Store::begin_long`]) holds
    /// one of the shards. Nothing is locked then.
    pub fn try_begin<'e>(
        &'e self,
        scratch: &'e mut Scratch,
        db: DbIndex,
        keys: &'e [&'e [u8]],
        mode: Mode,
        now_ms: u64,
    ) -> Option<Txn<'e>> {
        let waits = scratch.is_long;
        self.start(scratch, db, keys, mode, now_ms, waits)
    }

    #[inline]
    fn start<'e>(
        &'e self,
        scratch: &'e mut Scratch,
        db: DbIndex,
        keys: &'e [&'e [u8]],
        mode: Mode,
        now_ms: u64,
        waits: bool,
    ) -> Option<Txn<'e>> {
        let store = &self.store;
        let first_hash = store.hasher.hash(keys.first().copied().unwrap_or_default());
        let reads_synchronously = scratch.stuck_rounds >= SYNC_AFTER;
        let mut wanted = scratch.more_shards;
        let wants_all = scratch.wants_all || scratch.lock_rounds >= SYNC_AFTER;
        if mode == Mode::All || reads_synchronously || wants_all {
            wanted = u64::MAX;
        } else if let Some((_, rest)) = keys.split_first() {
            wanted |= 1 << first_hash.shard.0;
            for key in rest {
                wanted |= 1 << store.hasher.hash(key).shard.0;
            }
        }
        if !lock_shards(store, wanted, waits) {
            return None;
        }
        scratch.clear_plan();
        Some(Txn {
            core: self,
            scratch,
            keys,
            first_hash,
            locked: wanted,
            db,
            now_ms,
            observed: Lsn(0),
            operation: Operation::Set,
            uses_reserve: mode == Mode::Reserve,
            expiries: 0,
            reads_synchronously,
            remaps: Vec::new(),
            failure: None,
            usages: Vec::new(),
            is_multi: false,
            held: None,
        })
    }
}

impl Scratch {
    /// It is the command's turn to pin what it needs, whether there is room or not. Of all commands at
    /// most one may have it; it ends with [`Scratch::reset`].
    pub fn take_turn(&mut self) {
        self.has_turn = true;
    }

    /// What runs with these buffers may hold its locks for long: it waits for others' locks on its own thread,
    /// and whoever runs it has called [`Store::begin_long`].
    pub fn take_long(&mut self) {
        self.is_long = true;
    }

    /// Forgets the rounds of the command before.
    #[inline]
    pub fn reset(&mut self) {
        self.more_shards = 0;
        (self.rounds, self.stuck_rounds, self.lock_rounds) = (0, 0, 0);
        self.has_turn = false;
        self.wants_all = false;
        self.is_stuck = false;
        self.missing.clear();
        if !self.asked.is_empty() {
            self.asked = HashMap::new();
        }
        if self.builds.is_some() {
            self.builds = None;
        }
    }

    /// Notes a key that is to be fetched. `has_row`: its entry is there, only the content is not.
    fn ask(&mut self, db: DbId, hash: KeyHash, key: &[u8], has_row: bool) {
        // Keys that share a hash may make a round count that need not.
        let round = *self.asked.entry((db, hash.table, has_row)).or_insert(self.rounds);
        self.is_stuck |= round != self.rounds;
        self.missing.push((db, Box::from(key)));
    }

    #[inline]
    fn clear_plan(&mut self) {
        self.effects.clear();
        self.effects.resize(HEAD_ROOM, 0);
        self.hashes.clear();
        self.touched.clear();
        self.touched_index.clear();
        self.totals.clear();
        if let Some(builds) = &mut self.builds {
            builds.planned.clear();
        }
        self.multi = None;
        // One huge command must not hold its memory for ever.
        if self.effects.capacity() > 1 << 20 {
            self.effects.shrink_to(1 << 16);
        }
    }
}

impl<'e> Txn<'e> {
    /// A locked shard.
    ///
    /// Not public: at most one reference to the same shard lives at a time, which every caller
    /// here keeps by using it for one expression or passing the borrow of `self` on.
    #[inline]
    #[expect(clippy::mut_from_ref, reason = "the shard's lock is held; see above")]
    fn shard(&self, id: ShardId) -> &mut Shard {
        assert!(self.locked & (1 << id.0) != 0, "a transaction touches only shards that it locked");
        // SAFETY: this transaction holds the shard's lock (the bit is set by `begin` and cleared
        // by `unlock` alone), so no other thread has a reference; within this thread callers
        // keep to one reference at a time.
        unsafe { &mut *self.core.store.shard(id).data_ptr() }
    }

    /// The same for reading: several references may live at a time, as long as `shard` is not called.
    fn shard_to_read(&self, id: ShardId) -> &Shard {
        assert!(self.locked & (1 << id.0) != 0, "a transaction touches only shards that it locked");
        // SAFETY: this transaction holds the shard's lock (see `shard`), and it is borrowed for as long as
        // the reference lives: what would change a shard needs it exclusively.
        unsafe { &*self.core.store.shard(id).data_ptr() }
    }

    #[inline]
    fn hash(&self, key: &[u8]) -> KeyHash {
        // The slice is borrowed for the whole transaction, so the same address is the same key.
        match self.keys.first() {
            Some(first) if std::ptr::eq(first.as_ptr(), key.as_ptr()) && first.len() == key.len() => {
                self.first_hash
            }
            _ => self.core.store.hasher.hash(key),
        }
    }

    /// The time of this transaction, Unix milliseconds.
    #[inline]
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.now_ms
    }

    /// The database that the command runs in.
    #[must_use]
    pub fn db(&self) -> DbIndex {
        self.db
    }

    /// Names the operation that events of the following changes carry.
    #[inline]
    pub fn set_operation(&mut self, operation: Operation) {
        self.operation = operation;
    }

    /// Highest LSN whose effect was seen so far: a reply waits for it even if the command fails.
    #[must_use]
    pub fn observed(&self) -> Lsn {
        self.observed
    }

    /// The error that made a read end with [`Interrupt`], if it was one: the command fails then.
    pub fn take_failure(&mut self) -> Option<Error> {
        self.failure.take()
    }

    /// Gives up this round: unlocks, starts the fetches that are needed and says what to wait
    /// for before the command runs again.
    pub fn abandon(mut self) -> Wait {
        self.unlock();
        self.core.store.stats.restarts.fetch_add(1, Ordering::Relaxed);
        if let Some(builds) = &mut self.scratch.builds {
            // Neither is a reason to lock all shards.
            if std::mem::take(&mut builds.is_held) {
                return Wait::Held;
            }
            if let Some(order) = builds.ordered.take() {
                return Wait::Build(order);
            }
        }
        if self.scratch.missing.is_empty() {
            self.scratch.lock_rounds += 1;
            return Wait::Retry;
        }
        self.scratch.rounds += 1;
        self.scratch.stuck_rounds += u32::from(std::mem::take(&mut self.scratch.is_stuck));
        let missing = std::mem::take(&mut self.scratch.missing);
        // With what the command will read next, in one batch.
        let db = self.mapped(self.db);
        let others = self.keys.iter().map(|key| (db, *key, Depth::Row));
        let missing = missing.iter().map(|(db, key)| (*db, &key[..], Depth::Whole));
        // The first mention counts: what is missing is wanted as a whole.
        let mut seen = HashSet::new();
        let wanted = missing.chain(others).filter(|(db, key, _)| seen.insert((*db, *key)));
        match self.core.promoter.fetch(wanted, self.scratch.has_turn) {
            Some(ticket) => Wait::Fetch(ticket),
            None => Wait::Retry,
        }
    }

    /// Appends the effects as one record and applies them; without effects, only unlocks.
    ///
    /// The changes are visible when this returns and survive `kill -9`; they are durable once
    /// the log's durable LSN reaches [`Committed::lsn`].
    ///
    /// # Errors
    /// Nothing has changed then.
    pub fn commit(mut self) -> Result<Committed, CommitError> {
        if self.scratch.hashes.is_empty() && self.remaps.is_empty() {
            return Ok(Committed { lsn: None, observed: self.observed, is_told: false });
        }
        let body_range = self.encode_record();
        let record = match &body_range {
            Some(from) => &self.scratch.effects[*from..],
            None => &self.scratch.record[..],
        };
        let limit = self.core.commit_max.load(Ordering::Relaxed);
        if record.len() > limit {
            let error = Error::TooLarge { what: "commit", bytes: record.len() as u64, limit: limit as u64 };
            return Err(CommitError::Failed(error));
        }
        self.break_one_record();
        let is_expiry = self.expiries == self.scratch.hashes.len() && self.remaps.is_empty();
        let is_read = is_expiry && !self.uses_reserve;
        let appended = match self.uses_reserve || is_read {
            _ if self.core.store.failpoints.breaks(Break::AcknowledgedMeansLogged) => {
                Ok(self.core.wal.last_lsn())
            }
            true => self.core.wal.append_reserved(record),
            false => self.core.wal.append(record),
        };
        let lsn = match appended {
            Ok(lsn) => lsn,
            // A read met a dead key and the log takes no deletion now: it is missing all the same.
            Err(_) if is_read => return Ok(Committed { lsn: None, observed: self.observed, is_told: false }),
            Err(AppendError::NoRoom) => {
                let len = record.len();
                self.unlock();
                return Err(CommitError::Interrupted(Wait::Room(len)));
            }
            Err(AppendError::Failed(error)) => return Err(CommitError::Failed(error)),
        };
        self.core.store.crash.reach(CrashPoint::Append);
        // Copies of what is changed now, and the right to look around, are of no more use.
        self.drop_overlay();
        let guard = AbortOnPanic;
        let is_told = self.apply(lsn);
        std::mem::forget(guard);
        let observed = self.observed.max(lsn);
        self.unlock();
        if is_told {
            self.core.hook.drain();
        }
        Ok(Committed { lsn: Some(lsn), observed, is_told })
    }

    /// What the failpoint of invariant 2 does: the first effect goes into a record of its own.
    #[inline]
    fn break_one_record(&self) {
        if !self.core.store.failpoints.breaks(Break::OneCommitOneRecord) || self.scratch.hashes.len() < 2 {
            return;
        }
        let effects = &self.scratch.effects[HEAD_ROOM..];
        let mut reader = Reader::new(effects);
        let _ = read_effect(&mut reader);
        let mut record = Vec::new();
        put_head(&mut record, self.now_ms, &[]);
        record.extend_from_slice(&effects[..reader.position()]);
        let _ = self.core.wal.append(&record);
    }

    /// What the failpoint of invariant 14 does: others run between two effects of a commit.
    #[inline]
    fn break_isolation(&self) {
        if self.core.store.failpoints.breaks(Break::AtomicCommands) {
            unlock_shards(&self.core.store, self.locked);
            std::thread::yield_now();
            let _ = lock_shards(&self.core.store, self.locked, true);
        }
    }

    /// Writes the record's head in front of the effects; returns where the record starts in the
    /// effects buffer, or `None` when it had to be assembled in `scratch.record`.
    fn encode_record(&mut self) -> Option<usize> {
        let mut totals: Vec<Total> = Vec::new();
        for change in &self.scratch.totals {
            if change.keys == 0 && change.expires == 0 {
                continue;
            }
            let shard = self.shard(change.shard);
            let part = shard.db(change.db);
            let (keys, expires) = part.map_or((0, 0), |part| (part.keys, part.expires));
            totals.push(Total {
                db: change.db,
                shard: change.shard,
                keys: keys.checked_add_signed(change.keys).expect("no more keys go than there are"),
                expires: expires.checked_add_signed(change.expires).expect("as above"),
            });
        }
        let scratch = &mut *self.scratch;
        scratch.record.clear();
        put_head(&mut scratch.record, self.now_ms, &totals);
        let head = scratch.record.len();
        if head <= HEAD_ROOM {
            scratch.effects[HEAD_ROOM - head..HEAD_ROOM].copy_from_slice(&scratch.record);
            return Some(HEAD_ROOM - head);
        }
        scratch.record.extend_from_slice(&scratch.effects[HEAD_ROOM..]);
        None
    }

    /// Applies the effects to memory. Must not fail. Returns whether the hook has events of them.
    fn apply(&mut self, lsn: Lsn) -> bool {
        let store = &self.core.store;
        // First, as in replay: what happened in a database that dies in the same commit is gone either way.
        let mut is_told = !self.remaps.is_empty() && self.apply_remaps(lsn);
        self.apply_totals();
        is_told |= self.apply_effects(lsn);
        if store.failpoints.breaks(Break::NoWaitInColdStore) {
            let _ = store.cold.write(&ColdBatch::default());
        }
        for (db, key, usage) in std::mem::take(&mut self.usages) {
            let hash = store.hasher.hash(&key);
            let part = self.shard(hash.shard).db_mut(db);
            if let Some(entry) = part.and_then(|part| part.table.find_mut(hash, &key)) {
                entry.set_usage(usage);
            }
        }
        let mut rest = self.locked;
        while rest != 0 && rest.count_ones() as usize != SHARDS {
            let id = ShardId(rest.trailing_zeros() as u8);
            store.relieve(self.shard(id));
            rest &= rest - 1;
        }
        is_told
    }

    /// Whether a database died, or was born and died, in this very commit.
    #[inline]
    fn is_dead(&self, db: DbId) -> bool {
        !self.remaps.is_empty() && !self.core.store.is_live(db)
    }

    fn apply_totals(&self) {
        for change in &self.scratch.totals {
            if self.is_dead(change.db) {
                continue;
            }
            let part = self.shard(change.shard).db_or_new(change.db);
            part.keys = part.keys.checked_add_signed(change.keys).expect("checked when encoded");
            part.expires = part.expires.checked_add_signed(change.expires).expect("checked when encoded");
        }
    }

    fn apply_effects(&self, lsn: Lsn) -> bool {
        let store = &self.core.store;
        let is_watched = self.core.hook.is_active();
        let mut is_told = false;
        // Only a commit with several effects on one key could tell of something twice.
        let repeats = self.scratch.hashes.len() > self.scratch.touched.len();
        let mut told: HashSet<(usize, DbId, &[u8], Operation)> = HashSet::new();
        // Each command of several tells for itself.
        let ends = self.scratch.multi.as_ref().map_or(&[][..], |multi| multi.ends());
        let (mut command, mut applied) = (0, 0);
        let mut reader = Reader::new(&self.scratch.effects[HEAD_ROOM..]);
        let mut hashes = self.scratch.hashes.iter();
        let mut moving = None;
        while !reader.is_empty() {
            let effect = read_effect(&mut reader).expect("encoded by this transaction");
            if matches!(effect.change, Change::MapDb { .. }) {
                continue;
            }
            let hash = *hashes.next().expect("one hash per keyed effect");
            while ends.get(command).is_some_and(|end| *end <= applied) {
                command += 1;
            }
            applied += 1;
            let shard = self.shard(hash.shard);
            if !shard.absent_watches.is_empty() && !matches!(effect.change, Change::Delete { .. }) {
                // By which number clients knew the database before it was swapped or died is not kept.
                let db = store.db_index(effect.db).filter(|_| self.remaps.is_empty());
                shard.absent_watches.touch(db, effect.key);
            }
            if self.is_dead(effect.db) {
                continue;
            }
            shard.moving = moving;
            store
                .apply(shard, hash, &effect, lsn, Origin::Live, self.now_ms)
                .expect("the base of a planned delta is there: its shard stayed locked");
            moving = self.shard(hash.shard).moving.take();
            match effect.operation {
                Operation::Expired => {
                    store.stats.expired.fetch_add(1, Ordering::Relaxed);
                }
                Operation::Evicted => {
                    store.stats.dropped.fetch_add(1, Ordering::Relaxed);
                }
                _ => {}
            }
            if is_watched
                && self.core.hook.wants(hash.bucket)
                && (!repeats || told.insert((command, effect.db, effect.key, effect.operation)))
                && let Some(index) = store.db_index(effect.db)
            {
                self.core.hook.push(lsn, index, effect.key, effect.operation);
                is_told = true;
            }
            self.break_isolation();
        }
        is_told
    }

    /// Applies the changes of the database map. Returns whether the hook has events of them.
    fn apply_remaps(&mut self, lsn: Lsn) -> bool {
        assert_eq!(self.locked, u64::MAX, "the database map changes with all shards locked");
        let mut shards: Vec<&mut Shard> = Store::shard_ids().map(|id| self.shard(id)).collect();
        let changes: Vec<_> = self.remaps.iter().map(|(index, id, _)| (*index, *id)).collect();
        self.core.store.remap(&changes, lsn, &mut shards);
        let is_watched = self.core.hook.is_active();
        if is_watched {
            for (index, _, operation) in &self.remaps {
                self.core.hook.push(lsn, *index, b"", *operation);
            }
        }
        is_watched
    }

    fn unlock(&mut self) {
        self.held = None;
        // The bits are taken first, so that each shard is unlocked once.
        unlock_shards(&self.core.store, std::mem::take(&mut self.locked));
    }
}

/// Locks the shards; `false`, and none is locked, if one is held by a transaction that may run for long and the
/// caller does not wait for that.
#[inline]
fn lock_shards(store: &Store, wanted: u64, waits: bool) -> bool {
    let mut rest = wanted;
    while rest != 0 {
        // Always in ascending order, so that two transactions cannot wait for each other.
        let id = rest.trailing_zeros() as u8;
        // SAFETY: calling `raw` is unsafe because unlocking through it is; this locks.
        let raw = unsafe { store.shard(ShardId(id)).raw() };
        if !raw.try_lock() && !lock_contended(store, raw, waits) {
            unlock_shards(store, wanted & ((1 << id) - 1));
            return false;
        }
        rest &= rest - 1;
    }
    true
}

/// Waits for a lock that somebody holds.
#[cold]
fn lock_contended(store: &Store, raw: &parking_lot::RawMutex, waits: bool) -> bool {
    if waits {
        raw.lock();
        return true;
    }
    while !raw.try_lock_for(LOOK_AGAIN) {
        if store.has_long() {
            return false;
        }
    }
    true
}

/// Unlocks what `lock_shards` locked on this thread.
#[inline]
fn unlock_shards(store: &Store, mut locked: u64) {
    while locked != 0 {
        let id = locked.trailing_zeros() as u8;
        // SAFETY: the transaction locked exactly the shards whose bits are set, on this thread.
        unsafe { store.shard(ShardId(id)).raw().unlock() };
        locked &= locked - 1;
    }
}

impl Drop for Txn<'_> {
    fn drop(&mut self) {
        self.unlock();
    }
}

/// Aborts the process when a panic unwinds through it: memory would differ from the log.
struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        tracing::error!("panic while a logged commit was applied; aborting so that recovery replays it");
        std::process::abort();
    }
}
