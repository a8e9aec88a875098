//! One shard: the entries it guards, and the one place where effects change them.
//!
//! [`Shard::apply`] is used by live commits and by replay alike. It keeps, for each entry, the
//! marks that the tiers live by:
//!
//! - DIRTY: newer than its row. Set by every change, cleared when the write-back of exactly
//!   this state returned.
//! - COLD: the cold tier may hold a row. Set before an image leaves for the cold tier, for what
//!   was fetched from there, and for everything replayed.
//! - a deletion leaves a tombstone if COLD or TIED, else nothing (but [`Shard::gone_lsn`] moves).
//!
//! `keys` and `expires` count both tiers and come from the commit's totals; `hot` counts the
//! values in memory. Equal counts mean that a miss in memory is a miss.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;

use super::entry::{Body, BodyRef, Entry, Kind, flag};
use super::evict::Hand;
use super::fetched::Fetched;
use super::filter::ColdFilter;
use super::hash::{KeyHash, KeyHasher};
use super::moves::Ties;
use super::parts::{Pages, Parts};
use super::side::SideTables;
use super::stale::StaleHints;
use super::table::PageTable;
use super::ticket::{TicketState, Waiter};
use super::usage::{Usage, UsedAt};
use super::waiting::queue;
use super::watch::AbsentWatches;
use crate::error::{Error, Result};
use crate::ids::{DbId, ExpireAt, Incarnation, Lsn};
use crate::value::collection::{Collection, Held};
use crate::value::stored::{StoredAt, StoredCollection};
use crate::value::string::{BigString, INLINE_MAX, StoredString};
use crate::value::{TypeTag, Unresolved, Value};
use crate::wal::effect::{Change, Effect, Replaced, StringBody};

/// Access counter of an entry that a write just made.
const FREQ_NEW: u8 = 1;
/// Ceiling of the access counter.
pub const FREQ_MAX: u8 = 15;

/// The entries under one lock.
pub struct Shard {
    pub(super) hasher: KeyHasher,
    /// One table per live database that this shard has seen.
    pub(super) dbs: Vec<DbShard>,
    /// What open snapshots need of entries that are no longer there.
    pub sides: SideTables,
    /// Heap bytes of all entries, tombstones included, of the images in `sides` and of queued `parts`.
    pub bytes: usize,
    /// Of these, bytes of dirty entries and of queued parts.
    pub dirty_bytes: usize,
    /// Values that are being built.
    pub parts: Parts,
    /// Keys that only the command with this number may change, until what it builds is published.
    pub holds: Vec<(u64, DbId, Box<[u8]>)>,
    /// LSN of the last deletion that left no tombstone: whoever sees an absence may see this.
    pub gone_lsn: Lsn,
    /// Pairs of keys whose rows go in one batch; one of them is of this shard.
    pub ties: Ties,
    /// A value between two effects of a commit that moves it.
    pub moving: Option<Value>,
    /// Keys being read from the cold tier.
    pub fetches: HashMap<(DbId, Box<[u8]>), FetchSlot>,
    /// Keys that are watched and do not exist.
    pub absent_watches: AbsentWatches,
    /// Where the evictor goes on.
    pub(super) hand: Hand,
    /// Incarnations that replay gave to a key: they leave the dead queue before others join it.
    pub revived_pages: Vec<(DbId, Incarnation)>,
    /// Incarnations whose pages died, with the LSN of the death.
    pub dead_pages: Vec<(DbId, Incarnation, Lsn)>,
    /// Removed with the next write-back of this shard, before its rows.
    pub stale_hints: StaleHints,
    /// Hints for elements that are written with it, after those: database, time, key.
    pub new_hints: Vec<(DbId, ExpireAt, Box<[u8]>)>,
    /// Deadlines the reaper watches: time, database, bucket; soonest first.
    pub(super) near: BinaryHeap<Reverse<(u64, DbId, u32)>>,
    /// More are looked through: see [`Shard::thin_out_near`].
    pub(super) near_limit: usize,
    /// Reads that found the key in memory, and that did not.
    pub hits: u64,
    pub misses: u64,
    /// When the commit that is being applied began: entries it makes were used then.
    pub now: UsedAt,
    /// The last commit found deadlines up to here so near that they have to be watched.
    pub near_until: ExpireAt,
    /// No key that is only in the cold tier was used later than this.
    pub cold_used_at: UsedAt,
}

/// One database's part of a shard.
pub struct DbShard {
    pub id: DbId,
    pub table: PageTable,
    /// Keys in both tiers.
    pub keys: u64,
    /// Of these, keys with a deadline.
    pub expires: u64,
    /// Values in memory.
    pub hot: u64,
    /// Keys that may have a row.
    pub filter: ColdFilter,
    /// The filter's successor while it is built from all rows.
    pub next_filter: Option<Box<ColdFilter>>,
}

impl DbShard {
    /// Whether a key that is not in memory may have a row.
    #[inline]
    #[must_use]
    pub fn may_be_cold(&self, hash: KeyHash) -> bool {
        self.keys != self.hot && !self.filter.excludes(hash)
    }

    /// Notes that a key is about to get a row. `bytes_max` bounds the filter.
    pub fn note_row(&mut self, hash: KeyHash, bytes_max: usize) {
        self.filter.insert(hash, bytes_max);
        if let Some(next) = &mut self.next_filter {
            next.insert(hash, bytes_max);
        }
    }
}

/// A read of the cold tier under way for one key.
#[derive(Default)]
pub struct FetchSlot {
    /// A commit touched the key meanwhile: what the read found must not be installed.
    pub is_stale: bool,
    /// How many tickets wait for it.
    pub waiters: Vec<Waiter>,
}

/// What replay decided for a record, or that this is a live commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A commit being made; its bases were checked while it was planned.
    Live,
    /// Replay. Rows may exist for any key.
    Replay,
}

/// What the caller of [`Shard::apply`] has to do besides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Replay only: this hint row is no longer right and must be removed.
    pub stale_hint: Option<ExpireAt>,
    /// The key's new deadline.
    pub deadline: Option<ExpireAt>,
    /// The deadline of the entry before.
    pub deadline_before: Option<ExpireAt>,
    /// Elements of the key expire from then on: it is sooner than before.
    pub element_deadline: Option<ExpireAt>,
    /// The hint of its elements is no longer right.
    pub stale_element_hint: Option<ExpireAt>,
}

impl Shard {
    /// An empty shard.
    #[must_use]
    pub fn new(hasher: KeyHasher) -> Self {
        Shard {
            hasher,
            dbs: Vec::new(),
            sides: SideTables::default(),
            bytes: 0,
            dirty_bytes: 0,
            parts: Parts::default(),
            holds: Vec::new(),
            gone_lsn: Lsn(0),
            ties: Ties::default(),
            moving: None,
            fetches: HashMap::new(),
            absent_watches: AbsentWatches::default(),
            hand: Hand::default(),
            dead_pages: Vec::new(),
            revived_pages: Vec::new(),
            stale_hints: StaleHints::default(),
            new_hints: Vec::new(),
            near: BinaryHeap::new(),
            near_limit: 0,
            hits: 0,
            misses: 0,
            now: UsedAt::default(),
            near_until: ExpireAt(0),
            cold_used_at: UsedAt::default(),
        }
    }

    /// The part of a database, if this shard has one.
    #[inline]
    #[must_use]
    pub fn db(&self, id: DbId) -> Option<&DbShard> {
        self.dbs.iter().find(|db| db.id == id)
    }

    /// The part of a database, if this shard has one.
    #[inline]
    pub fn db_mut(&mut self, id: DbId) -> Option<&mut DbShard> {
        self.dbs.iter_mut().find(|db| db.id == id)
    }

    /// The part of a database, made if need be. A new part has no keys, so no rows either: that of
    /// a database with rows is made by recovery, before anything else.
    pub fn db_or_new(&mut self, id: DbId) -> &mut DbShard {
        let at = match self.dbs.iter().position(|db| db.id == id) {
            Some(at) => at,
            None => {
                let table = PageTable::new(self.hasher);
                let filter = ColdFilter::complete();
                let part = DbShard { id, table, keys: 0, expires: 0, hot: 0, filter, next_filter: None };
                self.dbs.push(part);
                self.dbs.len() - 1
            }
        };
        &mut self.dbs[at]
    }

    /// All databases of this shard.
    #[must_use]
    pub fn dbs(&self) -> &[DbShard] {
        &self.dbs
    }

    /// All databases of this shard.
    pub fn dbs_mut(&mut self) -> &mut [DbShard] {
        &mut self.dbs
    }

    /// Takes a database out. Its entries count until [`clear_graveyard`](super::store::Store) frees them.
    pub fn remove_db(&mut self, id: DbId) -> Option<DbShard> {
        if !self.sides.is_empty() {
            self.keep_db(id);
        }
        self.forget_parts(id);
        let at = self.dbs.iter().position(|db| db.id == id)?;
        self.hand = Hand::default();
        Some(self.dbs.swap_remove(at))
    }

    /// Has the reaper look at a key at its new deadline, unless it comes by earlier anyway: a key
    /// whose deadline is pushed ahead again and again is watched once and re-armed when the
    /// reaper finds it alive.
    pub fn arm(&mut self, hash: KeyHash, db: DbId, key: &[u8], at: ExpireAt, before: Option<ExpireAt>) {
        let part = self.db_mut(db);
        if let Some(entry) = part.and_then(|part| part.table.find_mut(hash, key)) {
            if entry.has(flag::ARMED) && before.is_some_and(|before| before <= at) {
                return;
            }
            entry.set(flag::ARMED);
        }
        self.watch(at, db, hash.bucket);
    }

    /// Has the reaper look at a bucket at a time.
    pub fn watch(&mut self, at: ExpireAt, db: DbId, bucket: u32) {
        self.near.push(Reverse((at.0, db, bucket)));
    }

    /// The next bucket to look at, if its time has come.
    pub fn pop_due(&mut self, now_ms: u64) -> Option<(ExpireAt, DbId, u32)> {
        let Reverse((at, ..)) = *self.near.peek()?;
        if at > now_ms {
            return None;
        }
        let Reverse((at, db, bucket)) = self.near.pop()?;
        Some((ExpireAt(at), db, bucket))
    }

    /// The soonest deadline that is watched.
    #[must_use]
    pub fn next_due(&self) -> Option<u64> {
        self.near.peek().map(|Reverse((at, ..))| *at)
    }

    /// Number of deadlines being watched.
    #[must_use]
    pub fn watched(&self) -> usize {
        self.near.len()
    }

    /// Applies one effect of the commit `lsn` to its key. `hash` is the key's.
    ///
    /// # Errors
    /// Only in replay: a delta whose base is not there (corruption).
    pub fn apply(&mut self, hash: KeyHash, effect: &Effect<'_>, lsn: Lsn, origin: Origin) -> Result<Applied> {
        if let Change::Part { incarnation, page, bytes } = effect.change {
            let (db, key) = (effect.db, Box::from(effect.key));
            self.add_part(Pages { db, incarnation, page, bytes: Box::from(bytes), lsn, key });
            return Ok(Applied::default());
        }
        if !self.fetches.is_empty()
            && let Some(slot) = self.fetches.get_mut(&(effect.db, Box::from(effect.key)))
        {
            slot.is_stale = true;
        }
        if !self.sides.is_empty() {
            let replaces = effect.change.base().is_none() && !matches!(effect.change, Change::Leave { .. });
            self.keep_before(effect.db, hash, effect.key, replaces);
        }
        match effect.change {
            Change::Put { body, deadline, old, is_raw } => {
                let tag = if let StringBody::Collection { tag, .. } = body { Some(tag) } else { None };
                if let (StringBody::Paged { incarnation, .. }, Origin::Replay) = (body, origin) {
                    // An edit may have left them to the dead queue; it will again.
                    self.revived_pages.push((effect.db, incarnation));
                }
                let body = self.body_of(effect, body, lsn)?;
                self.note_dead(effect.db, &old, lsn);
                let before = self.put(hash, effect, body, deadline, is_raw, lsn, origin);
                let stale = old.hint.filter(|_| origin == Origin::Replay);
                let element_deadline =
                    if tag == Some(TypeTag::Hash) { self.element_deadline(hash, effect) } else { None };
                let deadline_before = before;
                let stale_hint = stale;
                Ok(Applied { stale_hint, deadline, deadline_before, element_deadline, ..Applied::default() })
            }
            Change::Delete { old } => {
                self.note_dead(effect.db, &old, lsn);
                self.delete(hash, effect, lsn, origin);
                let stale = old.hint.filter(|_| origin == Origin::Replay);
                Ok(Applied { stale_hint: stale, ..Applied::default() })
            }
            Change::Leave { to, old_hint } => {
                self.leave(hash, effect, to, lsn, origin);
                let stale_hint = old_hint.filter(|_| origin == Origin::Replay);
                Ok(Applied { stale_hint, ..Applied::default() })
            }
            Change::Arrive { .. } => Ok(self.arrive(hash, effect, lsn, origin)),
            Change::SetDeadline { old_hint, deadline, .. } => {
                let part = self.db(effect.db);
                let entry = part.and_then(|part| part.table.find(hash, effect.key));
                let deadline_before = entry.and_then(Entry::deadline);
                self.delta(hash, effect, lsn, origin)?;
                let stale = old_hint.filter(|_| origin == Origin::Replay);
                Ok(Applied { stale_hint: stale, deadline, deadline_before, ..Applied::default() })
            }
            Change::Edit { base: Lsn(0), tag, bytes, .. } if !self.is_of_commit(hash, effect, lsn) => {
                self.create_collection(hash, effect, tag, bytes, lsn, origin)
            }
            Change::Edit { .. } => self.apply_edit(hash, effect, lsn, origin),
            Change::Append { .. } | Change::SetRange { .. } => {
                self.delta(hash, effect, lsn, origin)?;
                Ok(Applied::default())
            }
            Change::MapDb { .. } | Change::Part { .. } => Ok(Applied::default()),
        }
    }

    pub(super) fn note_dead(&mut self, db: DbId, old: &Replaced, lsn: Lsn) {
        if let Some(pages) = old.pages {
            self.dead_pages.push((db, pages, lsn));
        }
    }

    /// Whether an earlier effect of the same commit made the value that the key has.
    fn is_of_commit(&self, hash: KeyHash, effect: &Effect<'_>, lsn: Lsn) -> bool {
        let entry = self.db(effect.db).and_then(|part| part.table.find(hash, effect.key));
        entry.is_some_and(|entry| entry.is_value() && entry.lsn() == lsn)
    }

    /// The body of an entry for a value to store.
    fn body_of<'b>(&mut self, effect: &Effect<'_>, body: StringBody<'b>, lsn: Lsn) -> Result<Body<'b>> {
        Ok(match body {
            StringBody::Int(value) => Body::Int(value),
            StringBody::Bytes(bytes) if bytes.len() <= INLINE_MAX => Body::Bytes(bytes),
            StringBody::Bytes(bytes) => Body::Boxed(Value::String(Box::new(BigString::from_bytes(bytes)))),
            StringBody::Paged { tag, incarnation, len } => {
                self.publish(effect.db, incarnation, lsn);
                Body::Boxed(match tag {
                    TypeTag::String => Value::Stored(Box::new(StoredString::new(incarnation, len))),
                    tag => {
                        let at = StoredAt::Pages { tag, incarnation, len };
                        Value::StoredCollection(Box::new(StoredCollection::new(at)))
                    }
                })
            }
            StringBody::Collection { tag, bytes } => {
                let decoded = Collection::decode(tag, bytes).map_err(|e| bad_edit(effect, e.what))?;
                Body::Boxed(Value::Collection(Held::new(decoded)))
            }
        })
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of one effect")]
    pub(super) fn put(
        &mut self,
        hash: KeyHash,
        effect: &Effect<'_>,
        body: Body<'_>,
        deadline: Option<ExpireAt>,
        is_raw: bool,
        lsn: Lsn,
        origin: Origin,
    ) -> Option<ExpireAt> {
        let (before, done) = self.put_in_place(hash, effect, &body, deadline, is_raw, lsn);
        if done {
            return before;
        }
        let mut usage = Usage::new(self.now);
        let part = self.db_or_new(effect.db);
        let old = part.table.find(hash, effect.key);
        let hint = old.and_then(|old| hint_after(old, deadline));
        let mut entry = Entry::new(effect.key, deadline, hint, body);
        entry.set_freq(FREQ_NEW);
        if let Some(old) = old {
            entry.inherit(old, flag::COLD | flag::IN_FLIGHT | flag::ARMED);
            entry.set_freq(old.freq().max(FREQ_NEW));
            usage.uses = if old.is_value() { old.usage().uses } else { usage.uses };
        }
        entry.set_usage(usage);
        entry.set(if origin == Origin::Replay { flag::DIRTY | flag::COLD } else { flag::DIRTY });
        if is_raw {
            entry.set(flag::RAW);
        }
        entry.set_lsn(lsn);
        let size = entry.heap_bytes();
        let old = part.table.insert(hash, entry);
        if !old.as_ref().is_some_and(Entry::is_value) {
            part.hot += 1;
        }
        self.bytes += size;
        self.dirty_bytes += size;
        if let Some(old) = old {
            self.retire(effect.db, hash, old, lsn);
        }
        before
    }

    /// Overwrites an entry whose new state fits its allocation. Returns its deadline before and
    /// whether it was done.
    fn put_in_place(
        &mut self,
        hash: KeyHash,
        effect: &Effect<'_>,
        body: &Body<'_>,
        deadline: Option<ExpireAt>,
        is_raw: bool,
        lsn: Lsn,
    ) -> (Option<ExpireAt>, bool) {
        let (mut before, mut cleaned) = (None, 0);
        let now = self.now;
        let part = self.db_or_new(effect.db);
        let done = part.table.update(hash, effect.key, |entry| {
            before = entry.deadline();
            let hint = hint_after(entry, deadline);
            if hint.is_some() != entry.has(flag::HINT) || deadline.is_some() != entry.has(flag::DEADLINE) {
                return false;
            }
            let size = entry.heap_bytes();
            // The allocation keeps its size, so the sums change only with the DIRTY mark.
            if !entry.overwrite(body) {
                return false;
            }
            let _ = entry.overwrite_deadline(deadline);
            cleaned = if entry.has(flag::DIRTY) { 0 } else { size };
            entry.set(flag::DIRTY);
            entry.clear(flag::RAW);
            if is_raw {
                entry.set(flag::RAW);
            }
            entry.set_usage(Usage { at: now, ..entry.usage() });
            entry.set_lsn(lsn);
            true
        });
        self.dirty_bytes += cleaned;
        (before, done == Some(true))
    }

    pub(super) fn delete(&mut self, hash: KeyHash, effect: &Effect<'_>, lsn: Lsn, origin: Origin) {
        let db = self.db_or_new(effect.db);
        let old = db.table.find(hash, effect.key);
        let may_be_cold = origin == Origin::Replay
            || old.is_some_and(|old| old.is_tied() || old.flags() & (flag::COLD | flag::IN_FLIGHT) != 0);
        let pins = old.map_or(0, Entry::pins);
        let replacement = if may_be_cold {
            let hint = old.and_then(|old| hint_after(old, None));
            let mut tombstone = Entry::new(effect.key, None, hint, Body::Tombstone);
            if let Some(old) = old {
                tombstone.inherit(old, flag::COLD | flag::IN_FLIGHT);
            }
            tombstone.set(flag::DIRTY | flag::COLD);
            tombstone.set_lsn(lsn);
            Some(tombstone)
        } else if pins > 0 {
            let mut absent = Entry::new(effect.key, None, None, Body::Absent);
            absent.inherit(old.expect("it has pins"), 0);
            absent.set_lsn(lsn);
            Some(absent)
        } else {
            None
        };
        let new_bytes = replacement.as_ref().map_or(0, Entry::heap_bytes);
        let new_dirty = replacement.as_ref().is_some_and(|e| e.has(flag::DIRTY));
        let old = match replacement {
            Some(entry) => db.table.insert(hash, entry),
            None => db.table.remove(hash, effect.key),
        };
        if old.as_ref().is_some_and(Entry::is_value) {
            db.hot -= 1;
        }
        self.bytes += new_bytes;
        self.dirty_bytes += if new_dirty { new_bytes } else { 0 };
        if let Some(old) = old {
            self.retire(effect.db, hash, old, lsn);
        }
        if !may_be_cold {
            self.gone_lsn = self.gone_lsn.max(lsn);
        }
    }

    /// Takes a removed entry out of the sums, and keeps it if a snapshot needs it.
    fn retire(&mut self, db: DbId, hash: KeyHash, old: Entry, lsn: Lsn) {
        self.forget_bytes(&old);
        if let Some(at) = old.element_hint().filter(|_| old.has(flag::COLD)) {
            self.stale_hints.note_elements(db, hash, old.key(), at, lsn);
        }
        if !self.sides.is_empty() {
            self.keep_gone(db, hash.bucket, old);
        }
    }

    /// Takes a removed entry out of the sums.
    pub(super) fn forget_bytes(&mut self, old: &Entry) {
        let size = old.heap_bytes();
        self.bytes -= size;
        if old.has(flag::DIRTY) {
            self.dirty_bytes -= size;
        }
    }

    /// Applies a delta, or queues it on an entry that waits for its base row.
    pub(super) fn delta(
        &mut self,
        hash: KeyHash,
        effect: &Effect<'_>,
        lsn: Lsn,
        origin: Origin,
    ) -> Result<()> {
        let base = effect.change.base().expect("only deltas come here");
        let now = self.now;
        let db = self.db_or_new(effect.db);
        let Some(entry) = db.table.find(hash, effect.key) else {
            if origin == Origin::Live {
                return Err(missing_base(effect, base, None));
            }
            let mut waiting = Unresolved::default();
            queue(&mut waiting, effect, lsn, base);
            let body = Body::Boxed(Value::Unresolved(Box::new(waiting)));
            let mut entry = Entry::new(effect.key, None, None, body);
            entry.set(flag::DIRTY | flag::COLD);
            entry.set_lsn(lsn);
            entry.set_freq(FREQ_NEW);
            entry.set_usage(Usage::new(now));
            db.hot += 1;
            let size = entry.heap_bytes();
            db.table.insert(hash, entry);
            self.bytes += size;
            self.dirty_bytes += size;
            return Ok(());
        };
        // Two effects of one commit on one record share a base: the second meets the first's LSN.
        let in_order = entry.lsn() == base || entry.lsn() == lsn;
        if !entry.is_value() || !in_order {
            return Err(missing_base(effect, base, Some(entry.lsn())));
        }
        if let BodyRef::Boxed(Value::Unresolved(_)) = entry.body() {
            return self.change_entry(hash, effect, lsn, |entry| {
                if let Some(Value::Unresolved(waiting)) = entry.boxed_mut() {
                    queue(waiting, effect, lsn, base);
                }
            });
        }
        match effect.change {
            Change::SetDeadline { deadline, .. } => self.set_deadline(hash, effect, deadline, lsn),
            Change::Append { bytes, .. } => self.edit(hash, effect, lsn, usize::MAX, bytes),
            Change::SetRange { offset, bytes, .. } => {
                let offset = usize::try_from(offset).expect("offsets are below 512 MiB");
                self.edit(hash, effect, lsn, offset, bytes)
            }
            Change::Edit { bytes, .. } => self.edit_collection(hash, effect, lsn, bytes),
            _ => Ok(()),
        }
    }

    /// Runs a change that leaves the entry in place, with marks and sums kept.
    fn change_entry(
        &mut self,
        hash: KeyHash,
        effect: &Effect<'_>,
        lsn: Lsn,
        change: impl FnOnce(&mut Entry),
    ) -> Result<()> {
        let (mut bytes, mut dirty_bytes) = (self.bytes, self.dirty_bytes);
        let db = self.db_or_new(effect.db);
        db.table.update(hash, effect.key, |entry| {
            let before = entry.heap_bytes();
            let was_dirty = entry.has(flag::DIRTY);
            change(entry);
            entry.set(flag::DIRTY);
            entry.set_lsn(lsn);
            let after = entry.heap_bytes();
            bytes = bytes + after - before;
            dirty_bytes = dirty_bytes + after - if was_dirty { before } else { 0 };
        });
        (self.bytes, self.dirty_bytes) = (bytes, dirty_bytes);
        Ok(())
    }

    /// Replaces an entry by one built from it, with marks and sums kept.
    fn rebuild_entry(
        &mut self,
        hash: KeyHash,
        effect: &Effect<'_>,
        lsn: Lsn,
        build: impl FnOnce(&mut Entry) -> Entry,
    ) -> Result<()> {
        let db = self.db_or_new(effect.db);
        let old = db.table.find(hash, effect.key).expect("the caller found it");
        let old_bytes = old.heap_bytes();
        let was_dirty = old.has(flag::DIRTY);
        let old = db.table.find_mut(hash, effect.key).expect("the caller found it");
        let mut entry = build(old);
        entry.inherit(old, flag::COLD | flag::IN_FLIGHT | flag::RAW | flag::ARMED);
        entry.set(flag::DIRTY);
        entry.set_lsn(lsn);
        let size = entry.heap_bytes();
        db.table.insert(hash, entry);
        self.bytes = self.bytes + size - old_bytes;
        self.dirty_bytes = self.dirty_bytes + size - if was_dirty { old_bytes } else { 0 };
        Ok(())
    }

    fn set_deadline(
        &mut self,
        hash: KeyHash,
        effect: &Effect<'_>,
        deadline: Option<ExpireAt>,
        lsn: Lsn,
    ) -> Result<()> {
        let db = self.db_or_new(effect.db);
        let entry = db.table.find(hash, effect.key).expect("the caller found it");
        let hint = hint_after(entry, deadline);
        if hint.is_some() == entry.has(flag::HINT) && deadline.is_some() == entry.has(flag::DEADLINE) {
            return self.change_entry(hash, effect, lsn, |entry| {
                let _ = entry.overwrite_deadline(deadline);
            });
        }
        self.rebuild_entry(hash, effect, lsn, |old| rebuilt(old, deadline, hint))
    }

    /// Applies an edit to a collection that is there.
    pub(super) fn edit_collection(
        &mut self,
        hash: KeyHash,
        effect: &Effect<'_>,
        lsn: Lsn,
        bytes: &[u8],
    ) -> Result<()> {
        let mut outcome = Err("the key holds no collection");
        self.change_entry(hash, effect, lsn, |entry| match entry.boxed_mut() {
            Some(Value::Collection(held)) => {
                outcome = held.apply(bytes).map_err(|error| error.what);
            }
            Some(Value::StoredCollection(stored)) => {
                stored.edit(bytes);
                outcome = Ok(());
            }
            _ => {}
        })?;
        outcome.map_err(|what| bad_edit(effect, what))
    }

    /// Overwrites bytes from `offset` (`usize::MAX`: the end); the string grows as needed.
    fn edit(
        &mut self,
        hash: KeyHash,
        effect: &Effect<'_>,
        lsn: Lsn,
        offset: usize,
        bytes: &[u8],
    ) -> Result<()> {
        let db = self.db_or_new(effect.db);
        let entry = db.table.find(hash, effect.key).expect("the caller found it");
        if entry.kind() == Kind::Boxed {
            return self.change_entry(hash, effect, lsn, |entry| {
                entry.set(flag::RAW);
                if let Some(Value::String(string)) = entry.boxed_mut() {
                    if offset == usize::MAX {
                        string.append(bytes);
                    } else {
                        string.set_range(offset, bytes);
                    }
                } else if let Some(Value::Stored(stored)) = entry.boxed_mut() {
                    stored.edit(offset, bytes);
                }
            });
        }
        self.rebuild_entry(hash, effect, lsn, |old| {
            let mut digits = itoa::Buffer::new();
            let current = match old.body() {
                BodyRef::Int(value) => digits.format(value).as_bytes(),
                BodyRef::Bytes(bytes) => bytes,
                _ => &[],
            };
            let at = if offset == usize::MAX { current.len() } else { offset };
            let len = current.len().max(at + bytes.len());
            let mut edited = Vec::with_capacity(len);
            edited.extend_from_slice(current);
            edited.resize(len, 0);
            edited[at..at + bytes.len()].copy_from_slice(bytes);
            let body = if len <= INLINE_MAX {
                Body::Bytes(&edited)
            } else {
                Body::Boxed(Value::String(Box::new(BigString::from_bytes(&edited))))
            };
            let entry = Entry::new(old.key(), old.deadline(), old.hint(), body);
            old.set(flag::RAW);
            entry
        })
    }

    /// Takes in a copy of an entry of another shard, as if it had been put here.
    pub fn adopt(&mut self, db: DbId, hash: KeyHash, entry: Entry) {
        let size = entry.heap_bytes();
        let part = self.db_or_new(db);
        part.hot += u64::from(entry.is_value());
        let old = part.table.insert(hash, entry);
        assert!(old.is_none(), "a key is taken in once");
        self.bytes += size;
    }

    /// Whether nothing can be said about a key without the cold tier.
    #[must_use]
    pub fn needs_fetch(&self, db: DbId, hash: KeyHash, key: &[u8]) -> bool {
        let Some(part) = self.db(db) else { return false };
        match part.table.find(hash, key) {
            Some(entry) => matches!(entry.body(), BodyRef::Boxed(Value::Unresolved(_))),
            None => part.may_be_cold(hash),
        }
    }

    /// Adds a waiter to the fetch of a key; `true` if the fetch is new and the caller runs it.
    pub fn begin_fetch(&mut self, db: DbId, key: &[u8], waiter: &Arc<TicketState>) -> bool {
        let slot = self.fetches.entry((db, Box::from(key))).or_default();
        slot.waiters.push(Waiter::new(waiter));
        slot.waiters.len() == 1
    }

    /// Takes the slot of a fetch that has its answer.
    pub fn end_fetch(&mut self, db: DbId, key: &[u8]) -> Option<FetchSlot> {
        self.fetches.remove(&(db, Box::from(key)))
    }

    /// Takes a pin away, and forgets an absence that nobody pins any more.
    pub fn unpin(&mut self, db: DbId, hash: KeyHash, key: &[u8]) {
        let Some(part) = self.db_mut(db) else { return };
        let Some(entry) = part.table.find_mut(hash, key) else { return };
        if entry.pins() == 0 {
            return;
        }
        entry.unpin();
        if entry.pins() == 0 && entry.kind() == Kind::Absent {
            let removed = part.table.remove(hash, key);
            if let Some(old) = removed {
                self.forget_bytes(&old);
            }
        }
    }

    /// Dirty entries grew (or shrank) while their images were copied.
    pub fn note_grown(&mut self, bytes: isize) {
        self.bytes = self.bytes.checked_add_signed(bytes).expect("an entry loses only what it has");
        self.dirty_bytes = self.dirty_bytes.checked_add_signed(bytes).expect("as above");
    }

    /// Removes a tombstone whose deletion reached the cold tier; a pinned one becomes a known
    /// absence.
    pub fn drop_tombstone(&mut self, db: DbId, hash: KeyHash, key: &[u8]) {
        let Some(part) = self.db_mut(db) else { return };
        let Some(old) = part.table.remove(hash, key) else { return };
        let lsn = old.lsn();
        let absent = (old.pins() > 0).then(|| {
            let mut absent = Entry::new(key, None, None, Body::Absent);
            absent.inherit(&old, 0);
            absent
        });
        let added = absent.as_ref().map_or(0, Entry::heap_bytes);
        if let Some(absent) = absent {
            part.table.insert(hash, absent);
        }
        self.bytes += added;
        self.retire(db, hash, old, lsn);
        self.gone_lsn = self.gone_lsn.max(lsn);
    }

    /// Installs what the cold tier holds for a key (`None`: nothing), unless memory knows better.
    /// Returns whether the entry is there now and got the pin.
    ///
    /// # Errors
    /// Replayed deltas do not fit the row: corruption.
    pub fn install(
        &mut self,
        hash: KeyHash,
        db: DbId,
        key: &[u8],
        row: &mut Option<Fetched<'_>>,
        pin: bool,
    ) -> Result<bool> {
        if self.db(db).is_none() {
            return Ok(false);
        }
        let existing = self.db(db).and_then(|d| d.table.find(hash, key));
        if let Some(entry) = existing {
            if matches!(entry.body(), BodyRef::Boxed(Value::Unresolved(_)))
                && !self.resolve(hash, db, key, row)?
            {
                let row = format!("family keys row {}", key.escape_ascii());
                let what = "the state that logged changes apply to is missing";
                return Err(Error::corruption(row, 0, what));
            }
            let db = self.db_mut(db).expect("checked above");
            let entry = db.table.find_mut(hash, key).expect("found above");
            return Ok(pin && entry.pin());
        }
        let mut entry = match row.take() {
            Some(row) => {
                let mut entry = row.into_entry(key);
                entry.set(flag::COLD);
                entry
            }
            // Knowledge of an absence is worth an entry only while somebody pins it.
            None if !pin => return Ok(false),
            None => Entry::new(key, None, None, Body::Absent),
        };
        let pinned = pin && entry.pin();
        entry.set_usage(Usage::new(self.cold_used_at));
        self.bytes += entry.heap_bytes();
        let db = self.db_mut(db).expect("checked above");
        db.hot += u64::from(entry.is_value());
        db.table.insert(hash, entry);
        Ok(pinned)
    }
}

/// The deadline whose hint row must go when an entry's deadline becomes `deadline`: the one
/// noted before, else the current one if the cold tier may know it and it changes.
fn hint_after(entry: &Entry, deadline: Option<ExpireAt>) -> Option<ExpireAt> {
    match entry.hint() {
        Some(hint) => Some(hint),
        None if entry.has(flag::COLD) => entry.deadline().filter(|_| entry.deadline() != deadline),
        None => None,
    }
}

/// What an absolute effect replaces: the derived rows that die with the entry's state.
#[must_use]
pub fn replaced(entry: &Entry, deadline: Option<ExpireAt>) -> Replaced {
    let pages = match entry.body() {
        BodyRef::Boxed(Value::String(string)) => string.paged().map(|paged| paged.incarnation),
        BodyRef::Boxed(Value::Stored(stored)) => Some(stored.incarnation),
        BodyRef::Boxed(Value::Collection(held)) => held.incarnation(),
        BodyRef::Boxed(Value::StoredCollection(stored)) => Some(stored.at.incarnation()),
        _ => None,
    };
    Replaced { hint: hint_after(entry, deadline), pages }
}

/// An entry with the same key and body and other optional fields. Takes a boxed body over.
fn rebuilt(old: &mut Entry, deadline: Option<ExpireAt>, hint: Option<ExpireAt>) -> Entry {
    if let Some(value) = old.take_boxed() {
        return Entry::new(old.key(), deadline, hint, Body::Boxed(value));
    }
    let body = match old.body() {
        BodyRef::Int(value) => Body::Int(value),
        BodyRef::Bytes(bytes) => Body::Bytes(bytes),
        _ => Body::Tombstone,
    };
    Entry::new(old.key(), deadline, hint, body)
}

pub(super) fn bad_edit(effect: &Effect<'_>, what: &str) -> Error {
    let detail = format!("a change of key {}: {what}", effect.key.escape_ascii());
    Error::corruption("the log", 0, detail)
}

fn missing_base(effect: &Effect<'_>, base: Lsn, found: Option<Lsn>) -> Error {
    let found = found.map_or("nothing".to_string(), |lsn| format!("LSN {lsn}"));
    Error::corruption(
        format!("log, key {}", effect.key.escape_ascii()),
        0,
        format!("a change applies to LSN {base}, but there is {found}"),
    )
}
