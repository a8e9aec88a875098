//! What a command can do inside a transaction: read entries and plan changes.

use std::sync::atomic::Ordering;

use super::build::{BuildOrder, Hold, TRIES};
use super::{Interrupt, Scratch, TotalChange, Touched, Txn};
use crate::error::Error;
use crate::eviction::policy::Lfu;
use crate::failpoint::Break;
use crate::ids::{DbId, DbIndex, ExpireAt, Incarnation, Lsn};
use crate::keyspace::entry::{BodyRef, Entry, flag};
use crate::keyspace::hash::KeyHash;
use crate::keyspace::shard::{FREQ_MAX, replaced};
use crate::keyspace::usage::{Usage, UsedAt};
use crate::tier::promote::{decode, read_stored};
use crate::tier::schema;
use crate::tier::{Family, Lookup, ReadTier};
use crate::value::collection::Collection;
use crate::value::string::PAGED_MIN;
use crate::value::{TypeTag, Value};
use crate::wal::effect::{Change, Effect, Operation, Replaced, StringBody, put_effect};

/// A value as a command sees it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ValueRef<'a> {
    /// A string that is a canonical integer.
    Int(i64),
    /// A string's bytes.
    Bytes(&'a [u8]),
    /// A collection.
    Collection(&'a Collection),
}

impl ValueRef<'_> {
    /// The type of the value.
    #[must_use]
    pub fn type_tag(&self) -> TypeTag {
        match self {
            ValueRef::Int(_) | ValueRef::Bytes(_) => TypeTag::String,
            ValueRef::Collection(collection) => collection.type_tag(),
        }
    }
}

/// A key that is there.
#[derive(Clone, Copy, Debug)]
pub struct Found<'a> {
    pub value: ValueRef<'a>,
    pub deadline: Option<ExpireAt>,
    /// The string was made by editing (OBJECT ENCODING says `raw`).
    pub is_raw: bool,
    /// When and how often it was used; this access is counted if it counts.
    pub usage: Usage,
    /// Memory of the entry in bytes, without its share of the table.
    pub heap_bytes: usize,
    /// LSN of the last change.
    pub lsn: Lsn,
}

/// What is known of a key without its value: a long string's pages stay on disk.
#[derive(Clone, Copy, Debug)]
pub struct Header {
    pub type_tag: TypeTag,
    /// How the value is stored, as OBJECT ENCODING names it.
    pub encoding: &'static str,
    pub deadline: Option<ExpireAt>,
    /// When and how often it was used; this access is counted if it counts.
    pub usage: Usage,
    /// Memory of the entry in bytes, without its share of the table.
    pub heap_bytes: usize,
    /// LSN of the last change.
    pub lsn: Lsn,
}

/// Strings up to this length that were not made by editing are `embstr` to OBJECT ENCODING, as in Redis.
const EMBSTR_MAX: usize = 44;

/// Values longer than this are built from parts whatever a record may hold.
const BUILT_MIN: usize = 16 << 20;

/// Up to this many changed keys are searched one by one.
pub(super) const LINEAR_MAX: usize = 8;

/// State of a key before a change.
struct Before {
    exists: bool,
    has_deadline: bool,
    lsn: Lsn,
    old: Replaced,
}

/// State of a key after a change.
#[derive(Default)]
struct After {
    exists: bool,
    has_deadline: bool,
    /// The incarnation whose pages the value then has.
    pages: Option<Incarnation>,
}

/// Longer values are moved when they are renamed, shorter ones stored under the new name.
const MOVED_MIN: usize = 1 << 10;

/// Whether a value is too large to be stored once more because its key is renamed.
fn is_worth_moving(entry: &Entry) -> bool {
    match entry.body() {
        BodyRef::Boxed(Value::String(string)) => string.len() > MOVED_MIN || string.paged().is_some(),
        BodyRef::Boxed(Value::Collection(held)) => {
            held.incarnation().is_some() || held.value.encoded_len() > MOVED_MIN
        }
        BodyRef::Boxed(Value::Stored(_) | Value::StoredCollection(_)) => true,
        _ => false,
    }
}

/// The value of an entry that is alive.
#[inline]
pub(super) fn value_ref(entry: &Entry) -> ValueRef<'_> {
    match entry.body() {
        BodyRef::Int(value) => ValueRef::Int(value),
        BodyRef::Bytes(bytes) => ValueRef::Bytes(bytes),
        BodyRef::Boxed(Value::String(string)) => ValueRef::Bytes(string.as_bytes()),
        BodyRef::Boxed(Value::Collection(held)) => ValueRef::Collection(&held.value),
        _ => unreachable!("`is_alive` lets only values pass"),
    }
}

/// What a command sees of an entry that is alive.
fn found(entry: &Entry) -> Found<'_> {
    Found {
        value: value_ref(entry),
        deadline: entry.deadline(),
        is_raw: entry.has(flag::RAW),
        usage: entry.usage(),
        heap_bytes: entry.heap_bytes(),
        lsn: entry.lsn(),
    }
}

/// The same without the value.
fn header(entry: &Entry) -> Header {
    let encoding = match entry.body() {
        BodyRef::Int(_) => "int",
        BodyRef::Bytes(bytes) if bytes.len() <= EMBSTR_MAX && !entry.has(flag::RAW) => "embstr",
        BodyRef::Boxed(Value::Collection(held)) => held.value.encoding(),
        BodyRef::Boxed(Value::StoredCollection(stored)) => stored.encoding(),
        _ => "raw",
    };
    Header {
        type_tag: entry.type_tag().expect("it is alive"),
        encoding,
        deadline: entry.deadline(),
        usage: entry.usage(),
        heap_bytes: entry.heap_bytes(),
        lsn: entry.lsn(),
    }
}

impl<'e> Txn<'e> {
    /// Reads a key of the command's database; `None` if it does not exist. Counts as an access.
    #[inline]
    pub fn lookup(&mut self, key: &[u8]) -> Result<Option<Found<'_>>, Interrupt> {
        self.lookup_in(self.db, key, true)
    }

    /// Like [`Txn::lookup`] without counting as an access.
    pub fn peek(&mut self, key: &[u8]) -> Result<Option<Found<'_>>, Interrupt> {
        self.lookup_in(self.db, key, false)
    }

    /// Reads a key of any database.
    pub fn lookup_in(
        &mut self,
        db: DbIndex,
        key: &[u8],
        is_access: bool,
    ) -> Result<Option<Found<'_>>, Interrupt> {
        match self.find(db, key)? {
            Some((hash, db)) => Ok(Some(self.found(hash, db, key, is_access))),
            None => Ok(None),
        }
    }

    /// Where a key is whose value is there and in memory; `None` if it does not exist.
    #[inline]
    pub(super) fn find(&mut self, db: DbIndex, key: &[u8]) -> Result<Option<(KeyHash, DbId)>, Interrupt> {
        let hash = self.hash(key);
        let db = self.db_id(db, hash)?;
        if let Some(touched) = self.touched(hash, db, key) {
            if !touched.exists {
                return Ok(None);
            }
            return self.changed(hash, db, key, true).map(|_| Some((hash, db)));
        }
        Ok(self.is_alive(hash, db, key, true)?.then_some((hash, db)))
    }

    /// A key that was found.
    #[inline]
    pub(super) fn found(&mut self, hash: KeyHash, db: DbId, key: &[u8], is_access: bool) -> Found<'_> {
        if self.is_multi && self.touched(hash, db, key).is_some() {
            return found(self.copied(hash, db, key).expect("it was copied when it was found"));
        }
        found(self.used(hash, db, key, is_access))
    }

    /// What is known of a key of the command's database without reading its value.
    pub fn header(&mut self, key: &[u8], is_access: bool) -> Result<Option<Header>, Interrupt> {
        let hash = self.hash(key);
        let db = self.db_id(self.db, hash)?;
        if let Some(touched) = self.touched(hash, db, key) {
            if !touched.exists {
                return Ok(None);
            }
            return self.changed(hash, db, key, false).map(|entry| Some(header(entry)));
        }
        if !self.is_alive(hash, db, key, false)? {
            return Ok(None);
        }
        Ok(Some(header(self.used(hash, db, key, is_access))))
    }

    /// The entry of a key that is there; the use is noted if it is one.
    #[inline]
    fn used(&mut self, hash: KeyHash, db: DbId, key: &[u8], is_access: bool) -> &mut Entry {
        let rules = &self.core.store.usage;
        let counting = if is_access { rules.counting() } else { None };
        let random = counting.map_or(0, |_| rules.random());
        let now = UsedAt::new(self.now_ms);
        let part = self.shard(hash.shard).db_mut(db).expect("the key is there");
        let entry = part.table.find_mut(hash, key).expect("the key is there");
        if is_access {
            note_use(entry, now, counting, random);
        }
        entry
    }

    /// Whether a key exists, with the private changes of this transaction.
    pub fn exists(&mut self, key: &[u8]) -> Result<bool, Interrupt> {
        self.exists_in(self.db, key)
    }

    /// Whether a key of any database exists, with the private changes of this transaction.
    pub fn exists_in(&mut self, db: DbIndex, key: &[u8]) -> Result<bool, Interrupt> {
        let hash = self.hash(key);
        let db = self.db_id(db, hash)?;
        match self.touched(hash, db, key) {
            Some(touched) => Ok(touched.exists),
            None => self.is_alive(hash, db, key, false),
        }
    }

    /// Stores a string whatever the key held, with this deadline and no other.
    /// `is_raw`: the string was made by editing.
    pub fn put_string(
        &mut self,
        key: &[u8],
        body: StringBody<'_>,
        deadline: Option<ExpireAt>,
        is_raw: bool,
    ) -> Result<(), Interrupt> {
        self.put_string_in(self.db, key, body, deadline, is_raw)
    }

    /// Like [`Txn::put_string`] in any database.
    pub fn put_string_in(
        &mut self,
        db: DbIndex,
        key: &[u8],
        body: StringBody<'_>,
        deadline: Option<ExpireAt>,
        is_raw: bool,
    ) -> Result<(), Interrupt> {
        let hash = self.hash(key);
        let db = self.db_id(db, hash)?;
        let before = self.before(hash, db, key, deadline)?;
        let body = match body {
            StringBody::Bytes(bytes) if self.is_large(bytes.len()) => {
                self.built(db, key, TypeTag::String, bytes)?
            }
            StringBody::Collection { tag, bytes } if self.is_large(bytes.len()) => {
                self.built(db, key, tag, bytes)?
            }
            body => body,
        };
        let at = self.push(hash, db, key, Change::Put { body, deadline, old: before.old, is_raw });
        let pages = match body {
            StringBody::Paged { incarnation, .. } => Some(incarnation),
            _ => None,
        };
        assert!(pages.is_none() || pages != before.old.pages, "no change kills what it publishes");
        let after = After { exists: true, has_deadline: deadline.is_some(), pages };
        self.note(hash, db, key, at, &before, after);
        Ok(())
    }

    /// Whether a value must be built from parts, so that the record stays within its bound.
    #[inline]
    fn is_large(&self, len: usize) -> bool {
        if len <= PAGED_MIN {
            return false;
        }
        let limit = self.core.commit_max.load(Ordering::Relaxed);
        len > (limit / 4).min(BUILT_MIN) || self.scratch.effects.len() + len > limit / 2
    }

    /// What was built of these bytes for the key; orders it if nothing was.
    #[cold]
    fn built<'b>(
        &mut self,
        db: DbId,
        key: &[u8],
        tag: TypeTag,
        bytes: &[u8],
    ) -> Result<StringBody<'b>, Interrupt> {
        let is_blind = self.core.store.failpoints.breaks(Break::OneCommitOneRecord);
        let builds = self.scratch.builds.get_or_insert_default();
        match builds.find(db, key, bytes, is_blind) {
            Ok(built) => {
                let (incarnation, len) = built.pages();
                builds.planned.push(incarnation);
                if let Some(multi) = &mut self.scratch.multi {
                    multi.keep_large(incarnation, bytes);
                }
                return Ok(StringBody::Paged { tag, incarnation, len });
            }
            Err(has_changed) => builds.failures += u32::from(has_changed),
        }
        if builds.failures >= TRIES && builds.hold.is_none() {
            self.hold();
        }
        let builds = self.scratch.builds.get_or_insert_default();
        builds.ordered = Some(BuildOrder::new(db, key, bytes));
        Err(Interrupt)
    }

    /// Keeps others from changing the command's keys from now on.
    fn hold(&mut self) {
        let db = self.mapped(self.db);
        let shards = self.keys.iter().map(|key| self.hash(key).shard).collect();
        let hold = Hold::new(&self.core.store, shards);
        for key in self.keys {
            let shard = self.hash(key).shard;
            self.shard(shard).holds.push((hold.number(), db, Box::from(*key)));
        }
        self.scratch.builds.get_or_insert_default().hold = Some(hold);
    }

    /// Whether another command keeps this one from changing a key.
    fn is_held(&mut self, hash: KeyHash, db: DbId, key: &[u8]) -> bool {
        let shard = self.shard(hash.shard);
        if !shard.holds.iter().any(|(_, held_db, held)| *held_db == db && **held == *key) {
            return false;
        }
        let builds = self.scratch.builds.get_or_insert_default();
        builds.is_held = builds.hold.is_none();
        builds.is_held
    }

    /// Stores a collection whatever the key held, with this deadline and no other. `bytes` is what its
    /// type encodes.
    ///
    /// A vacant collection must not be stored: delete the key instead.
    pub fn put_collection_in(
        &mut self,
        db: DbIndex,
        key: &[u8],
        tag: TypeTag,
        bytes: &[u8],
        deadline: Option<ExpireAt>,
    ) -> Result<(), Interrupt> {
        self.put_string_in(db, key, StringBody::Collection { tag, bytes }, deadline, false)
    }

    /// Changes a collection by an edit of its type; a key that does not exist is an empty collection
    /// first. Only the edit is logged. The command saw to it that the key holds this type or nothing; it
    /// deletes the key as well if the edit takes the last element.
    pub fn edit_collection(&mut self, key: &[u8], tag: TypeTag, bytes: &[u8]) -> Result<(), Interrupt> {
        if self.is_large(bytes.len()) {
            return self.rewrite_collection(key, tag, bytes);
        }
        let hash = self.hash(key);
        let db = self.db_id(self.db, hash)?;
        let before = self.before(hash, db, key, None)?;
        let base = if before.exists { before.lsn } else { Lsn(0) };
        let pages = self.published_pages(hash, db, key).filter(|pages| before.old.pages == Some(*pages));
        let at = self.push(hash, db, key, Change::Edit { base, tag, bytes, pages });
        let left = before.old.pages.filter(|_| pages.is_none());
        let after = After { exists: true, has_deadline: before.has_deadline, pages: left };
        self.note(hash, db, key, at, &before, after);
        Ok(())
    }

    /// Edits a collection by storing it anew: the edit is more than a record may hold.
    #[cold]
    fn rewrite_collection(&mut self, key: &[u8], tag: TypeTag, edit: &[u8]) -> Result<(), Interrupt> {
        let (mut collection, deadline) = match self.peek(key)? {
            Some(Found { value: ValueRef::Collection(collection), deadline, .. }) => {
                (collection.clone(), deadline)
            }
            _ => (Collection::new(tag).expect("the type of a collection"), None),
        };
        collection.apply(edit).expect("planned for this very state");
        let mut encoded = Vec::new();
        collection.encode(&mut encoded);
        self.put_collection_in(self.db, key, tag, &encoded, deadline)
    }

    /// Deletes a key; whether it was there.
    pub fn delete(&mut self, key: &[u8]) -> Result<bool, Interrupt> {
        self.delete_in(self.db, key)
    }

    /// Deletes a key of any database; whether it was there.
    pub fn delete_in(&mut self, db: DbIndex, key: &[u8]) -> Result<bool, Interrupt> {
        let hash = self.hash(key);
        let db = self.db_id(db, hash)?;
        let before = self.before(hash, db, key, None)?;
        if !before.exists {
            return Ok(false);
        }
        let at = self.push(hash, db, key, Change::Delete { old: before.old });
        self.note(hash, db, key, at, &before, After::default());
        Ok(true)
    }

    /// Moves a large value to another key of the command's database, with its deadline and whatever that key
    /// held. Its body is neither read nor logged. `false`: it is small, or what comes later in the transaction may
    /// read it; store it and delete the source.
    pub fn move_value(&mut self, from: &[u8], to: &[u8]) -> Result<bool, Interrupt> {
        if self.is_multi {
            return Ok(false);
        }
        let (source, target) = (self.hash(from), self.hash(to));
        let db = self.db_id(self.db, source)?;
        self.db_id(self.db, target)?;
        let before = self.before(source, db, from, None)?;
        if self.shard(source.shard).is_waiting(db, source, from) {
            // Whoever gives what waits since the replay its base must find all of it where it was.
            self.is_alive(source, db, from, true)?;
        }
        let is_planned = self.touched(source, db, from).is_some();
        let part = self.shard(source.shard).db(db);
        let entry = part.and_then(|part| part.table.find(source, from));
        let Some(entry) = entry.filter(|entry| before.exists && !is_planned && is_worth_moving(entry)) else {
            return Ok(false);
        };
        let (deadline, is_raw) = (entry.deadline(), entry.has(flag::RAW));
        let pages = before.old.pages;
        let replaced = self.before(target, db, to, deadline)?;
        let at = self.push(source, db, from, Change::Leave { to, old_hint: before.old.hint });
        self.note(source, db, from, at, &before, After::default());
        let at = self.push(target, db, to, Change::Arrive { from, deadline, old: replaced.old, is_raw });
        let after = After { exists: true, has_deadline: deadline.is_some(), pages };
        self.note(target, db, to, at, &replaced, after);
        Ok(true)
    }

    /// Sets or removes the deadline of a key that exists.
    pub fn set_deadline(&mut self, key: &[u8], deadline: Option<ExpireAt>) -> Result<(), Interrupt> {
        let hash = self.hash(key);
        let db = self.db_id(self.db, hash)?;
        let before = self.before(hash, db, key, deadline)?;
        assert!(before.exists, "the command looked the key up");
        let change = Change::SetDeadline { base: before.lsn, deadline, old_hint: before.old.hint };
        let at = self.push(hash, db, key, change);
        let after = After { exists: true, has_deadline: deadline.is_some(), pages: before.old.pages };
        self.note(hash, db, key, at, &before, after);
        Ok(())
    }

    /// Appends to a string that exists. Logs only the new bytes.
    pub fn append(&mut self, key: &[u8], bytes: &[u8]) -> Result<(), Interrupt> {
        if self.is_large(bytes.len()) {
            return self.rewrite(key, None, bytes);
        }
        self.edit(key, |base| Change::Append { base, bytes })
    }

    /// Overwrites bytes of a string that exists, filling a gap with zeros. Logs only these bytes.
    pub fn set_range(&mut self, key: &[u8], offset: usize, bytes: &[u8]) -> Result<(), Interrupt> {
        if self.is_large(bytes.len()) {
            return self.rewrite(key, Some(offset), bytes);
        }
        self.edit(key, |base| Change::SetRange { base, offset: offset as u64, bytes })
    }

    /// Says when and how often a key that this transaction stores was used: not for so many seconds,
    /// or, while uses are counted, so often; without the one that counts it is new. Of one key only. It
    /// is not logged: a restart forgets it, and so does an eviction.
    pub fn set_usage(&mut self, db: DbIndex, key: &[u8], idle_seconds: Option<u64>, uses: Option<u8>) {
        let now = UsedAt::new(self.now_ms);
        let usage = match (self.core.store.usage.counting(), idle_seconds, uses) {
            (Some(_), _, Some(uses)) => Usage { at: now, uses },
            (Some(_), _, None) => Usage::new(now),
            (None, Some(seconds), _) => Usage::new(now.before(seconds)),
            (None, None, _) => return,
        };
        self.usages.push((self.mapped(db), Box::from(key), usage));
    }

    /// Edits a string by storing it anew: more bytes change than a record may hold.
    #[cold]
    fn rewrite(&mut self, key: &[u8], offset: Option<usize>, bytes: &[u8]) -> Result<(), Interrupt> {
        let found = self.peek(key)?.expect("the command looked the key up");
        let deadline = found.deadline;
        let mut digits = itoa::Buffer::new();
        let current = match found.value {
            ValueRef::Int(value) => digits.format(value).as_bytes(),
            ValueRef::Bytes(bytes) => bytes,
            ValueRef::Collection(_) => unreachable!("the command saw that it is a string"),
        };
        let at = offset.unwrap_or(current.len());
        let len = current.len().max(at + bytes.len());
        let mut edited = Vec::with_capacity(len);
        edited.extend_from_slice(current);
        edited.resize(len, 0);
        edited[at..at + bytes.len()].copy_from_slice(bytes);
        self.put_string_in(self.db, key, StringBody::Bytes(&edited), deadline, true)
    }

    fn edit<'b>(&mut self, key: &[u8], change: impl FnOnce(Lsn) -> Change<'b>) -> Result<(), Interrupt> {
        let hash = self.hash(key);
        let db = self.db_id(self.db, hash)?;
        let deadline = self.deadline_of(hash, db, key);
        let before = self.before(hash, db, key, deadline)?;
        assert!(before.exists, "the command looked the key up");
        let at = self.push(hash, db, key, change(before.lsn));
        let after = After { exists: true, has_deadline: before.has_deadline, pages: before.old.pages };
        self.note(hash, db, key, at, &before, after);
        Ok(())
    }

    /// Deletes whatever keys the given databases hold, by giving them new ids. Needs
    /// [`super::Mode::All`].
    pub fn flush(&mut self, databases: &[DbIndex]) {
        let changes: Vec<_> = databases.iter().map(|index| (*index, self.core.store.allot_db())).collect();
        self.remap(&changes);
    }

    /// Exchanges two databases. Needs [`super::Mode::All`].
    pub fn swap(&mut self, a: DbIndex, b: DbIndex) {
        let (id_a, id_b) = (self.mapped(a), self.mapped(b));
        self.remap(&[(a, id_b), (b, id_a)]);
    }

    fn remap(&mut self, changes: &[(DbIndex, DbId)]) {
        assert_eq!(self.locked, u64::MAX, "changes of whole databases lock all shards");
        for (index, id) in changes {
            let change = Change::MapDb { index: *index };
            let effect = Effect { operation: self.operation, db: *id, key: b"", change };
            put_effect(&mut self.scratch.effects, &effect);
            self.remaps.push((*index, *id, self.operation));
        }
    }

    /// Keys of a database, both tiers, as far as its shards are locked, with the private changes of this
    /// transaction.
    #[must_use]
    pub fn key_count(&self, db: DbIndex) -> u64 {
        let db = self.mapped(db);
        let counted: u64 = (0..64u8)
            .filter(|id| self.locked & (1 << id) != 0)
            .map(|id| self.shard(crate::ids::ShardId(id)).db(db).map_or(0, |part| part.keys))
            .sum();
        let own: i64 = self.scratch.totals.iter().filter(|own| own.db == db).map(|own| own.keys).sum();
        counted.checked_add_signed(own).expect("no more keys go than there are")
    }

    /// Whether the key's shard is locked (then its database's id is stable), else asks for it.
    #[inline]
    fn db_id(&mut self, index: DbIndex, hash: KeyHash) -> Result<DbId, Interrupt> {
        if self.locked & (1 << hash.shard.0) == 0 {
            self.scratch.more_shards |= 1 << hash.shard.0;
            return Err(Interrupt);
        }
        Ok(self.mapped(index))
    }

    #[inline]
    pub(super) fn touched(&self, hash: KeyHash, db: DbId, key: &[u8]) -> Option<&Touched> {
        let at = self.touched_at(hash, db, key)?;
        self.scratch.touched.get(at)
    }

    pub(super) fn touched_at(&self, hash: KeyHash, db: DbId, key: &[u8]) -> Option<usize> {
        let scratch = &*self.scratch;
        let is_it = |t: &Touched| {
            t.table == hash.table && t.db == db && scratch.effects[t.key.0..t.key.0 + t.key.1] == *key
        };
        if scratch.touched.len() <= LINEAR_MAX {
            return scratch.touched.iter().position(is_it);
        }
        let at = scratch.touched_index.find(hash.table, |at| is_it(&scratch.touched[*at as usize]));
        at.map(|at| *at as usize)
    }

    /// The pages that the first edit of a published collection makes useless.
    fn published_pages(&self, hash: KeyHash, db: DbId, key: &[u8]) -> Option<Incarnation> {
        let part = self.shard_to_read(hash.shard).db(db)?;
        match part.table.find(hash, key)?.body() {
            BodyRef::Boxed(Value::Collection(held)) => held.published_pages(),
            _ => None,
        }
    }

    fn deadline_of(&self, hash: KeyHash, db: DbId, key: &[u8]) -> Option<ExpireAt> {
        let part = self.shard(hash.shard).db(db)?;
        part.table.find(hash, key)?.deadline()
    }

    /// Whether a live value is in memory now. A key past its deadline is deleted by this
    /// transaction and counts as gone. `needs_bytes`: a long string must be there as a whole.
    #[inline]
    fn is_alive(
        &mut self,
        hash: KeyHash,
        db: DbId,
        key: &[u8],
        needs_bytes: bool,
    ) -> Result<bool, Interrupt> {
        let shard = self.shard(hash.shard);
        let gone_lsn = shard.gone_lsn;
        let Some(part) = shard.db(db) else {
            self.observe(gone_lsn);
            return Ok(false);
        };
        let Some(entry) = part.table.find(hash, key) else {
            if part.may_be_cold(hash) {
                return self.miss(hash, db, key, needs_bytes);
            }
            shard.misses += 1;
            self.observe(gone_lsn);
            return Ok(false);
        };
        let lsn = entry.lsn();
        if !entry.is_value() {
            shard.misses += 1;
            self.observe(lsn.max(gone_lsn));
            return Ok(false);
        }
        let is_dead = entry.deadline().is_some_and(|at| at.is_past(self.now_ms));
        if let BodyRef::Boxed(value) = entry.body()
            && match value {
                Value::Unresolved(_) => true,
                Value::Stored(_) | Value::StoredCollection(_) => needs_bytes && !is_dead,
                Value::String(_) | Value::Collection(_) => false,
            }
        {
            return self.miss(hash, db, key, needs_bytes);
        }
        if is_dead {
            shard.misses += 1;
            self.expire(hash, db, key);
        } else {
            shard.hits += 1;
        }
        self.observe(lsn);
        Ok(!is_dead)
    }

    #[inline]
    fn observe(&mut self, lsn: Lsn) {
        self.observed = self.observed.max(lsn);
    }

    /// The record is not in memory: asks for it, or reads it here in the last round.
    #[cold]
    fn miss(&mut self, hash: KeyHash, db: DbId, key: &[u8], needs_bytes: bool) -> Result<bool, Interrupt> {
        let holds_lock = self.core.store.failpoints.breaks(Break::NoLockAcrossWait);
        if !self.reads_synchronously && !holds_lock {
            let has_row = self.shard(hash.shard).is_stored(db, hash, key);
            self.scratch.ask(db, hash, key, has_row);
            return Err(Interrupt);
        }
        if let Err(error) = self.read_now(hash, db, key) {
            self.failure = Some(error);
            return Err(Interrupt);
        }
        let part = self.shard(hash.shard).db(db);
        match part.and_then(|part| part.table.find(hash, key)) {
            Some(_) => self.is_alive(hash, db, key, needs_bytes),
            None => Ok(false),
        }
    }

    fn read_now(&mut self, hash: KeyHash, db: DbId, key: &[u8]) -> Result<(), Error> {
        let store = &self.core.store;
        if let Some(at) = self.shard(hash.shard).stored_at(db, hash, key) {
            let content = read_stored(store, None, db, &at, key)?;
            return self.shard(hash.shard).load(hash, db, key, at.incarnation(), content);
        }
        let (mut row_key, mut row) = (Vec::new(), Vec::new());
        schema::put_row_key(&mut row_key, db, hash.bucket, key);
        let mut found = match store.cold.get(Family::Keys, &row_key, ReadTier::Disk, &mut row)? {
            Lookup::Found(row) => Some(decode(key, row)?),
            Lookup::Absent | Lookup::NotCached => None,
        };
        // Not pinned, but nobody can evict it before this transaction unlocks.
        self.shard(hash.shard).install(hash, db, key, &mut found, false)?;
        Ok(())
    }

    /// Plans the deletion of a key past its deadline.
    fn expire(&mut self, hash: KeyHash, db: DbId, key: &[u8]) {
        if self.core.wal.latched().is_some() {
            return;
        }
        let part = self.shard(hash.shard).db(db).expect("the key is there");
        let entry = part.table.find(hash, key).expect("the key is there");
        let before = before_of(entry, None);
        let effect =
            Effect { operation: Operation::Expired, db, key, change: Change::Delete { old: before.old } };
        self.link_next();
        let key_at = put_effect(&mut self.scratch.effects, &effect);
        self.scratch.hashes.push(hash);
        self.expiries += 1;
        self.note(hash, db, key, key_at, &before, After::default());
    }

    /// The state that a change with the new deadline meets.
    fn before(
        &mut self,
        hash: KeyHash,
        db: DbId,
        key: &[u8],
        deadline: Option<ExpireAt>,
    ) -> Result<Before, Interrupt> {
        if !self.shard(hash.shard).holds.is_empty() && self.is_held(hash, db, key) {
            return Err(Interrupt);
        }
        let touched = self.touched(hash, db, key).map(|t| (t.exists, t.has_deadline, t.pages));
        if touched.is_none() && !self.is_alive(hash, db, key, false)? {
            // It may just have expired: then the plan holds its deletion, and says so.
            return Ok(Before { exists: false, has_deadline: false, lsn: Lsn(0), old: Replaced::default() });
        }
        let part = self.shard(hash.shard).db(db);
        let entry = part.and_then(|part| part.table.find(hash, key));
        let mut before = match entry {
            Some(entry) => before_of(entry, deadline),
            None => Before { exists: false, has_deadline: false, lsn: Lsn(0), old: Replaced::default() },
        };
        if let Some((exists, has_deadline, pages)) = touched {
            (before.exists, before.has_deadline) = (exists, has_deadline);
            before.old.pages = pages;
        }
        Ok(before)
    }

    /// Adds an effect; returns where its key lies in the effects buffer.
    fn push(&mut self, hash: KeyHash, db: DbId, key: &[u8], change: Change<'_>) -> usize {
        let effect = Effect { operation: self.operation, db, key, change };
        self.scratch.hashes.push(hash);
        self.link_next();
        put_effect(&mut self.scratch.effects, &effect)
    }

    /// Notes the private state of a key and what it does to the totals.
    #[inline]
    fn note(&mut self, hash: KeyHash, db: DbId, key: &[u8], key_at: usize, before: &Before, after: After) {
        let After { exists, has_deadline, pages } = after;
        let keys = i64::from(exists) - i64::from(before.exists);
        let expires = i64::from(exists && has_deadline) - i64::from(before.exists && before.has_deadline);
        if keys != 0 || expires != 0 {
            let totals = &mut self.scratch.totals;
            match totals.iter_mut().find(|t| t.db == db && t.shard == hash.shard) {
                Some(total) => {
                    total.keys += keys;
                    total.expires += expires;
                }
                None => totals.push(TotalChange { db, shard: hash.shard, keys, expires }),
            }
        }
        if let Some(at) = self.touched_at(hash, db, key) {
            self.keep_touched(at);
            let touched = &mut self.scratch.touched[at];
            (touched.exists, touched.has_deadline, touched.pages) = (exists, has_deadline, pages);
            self.link(hash, at);
            return;
        }
        let (table, key) = (hash.table, (key_at, key.len()));
        let (last_link, is_copied) = (0, false);
        let touched = Touched { db, table, key, exists, has_deadline, pages, last_link, is_copied };
        self.scratch.touched.push(touched);
        let len = self.scratch.touched.len();
        if len > LINEAR_MAX {
            self.scratch.index_touched(if len == LINEAR_MAX + 1 { 0 } else { len - 1 });
        }
        self.link(hash, len - 1);
    }
}

impl Scratch {
    /// Enters the changed keys from a number on into their index.
    pub(super) fn index_touched(&mut self, from: usize) {
        let touched = &self.touched;
        for (at, entry) in touched.iter().enumerate().skip(from) {
            self.touched_index.insert_unique(entry.table, at as u32, |at| touched[*at as usize].table);
        }
    }
}

/// Notes a use of an entry. Writes to it only if that changes something. The use that had it fetched, told
/// by the pin, does not raise the evictor's counter: what is read once goes first.
#[inline]
fn note_use(entry: &mut Entry, now: UsedAt, counting: Option<Lfu>, random: u32) {
    if entry.freq() < FREQ_MAX && entry.pins() == 0 {
        entry.set_freq(entry.freq() + 1);
    }
    let before = entry.usage();
    let after = match counting {
        None => Usage { at: now, ..before },
        Some(rules) => before.counted(now, rules, random),
    };
    if after != before {
        entry.set_usage(after);
    }
}

fn before_of(entry: &Entry, deadline: Option<ExpireAt>) -> Before {
    Before {
        exists: entry.is_value(),
        has_deadline: entry.is_value() && entry.deadline().is_some(),
        lsn: entry.lsn(),
        old: replaced(entry, deadline),
    }
}
