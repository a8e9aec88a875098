//! Replay of values that move to another key.
//!
//! The effects have no body: the value is what the source holds when replay comes to them. The cold tier may be ahead
//! of that, but of both keys or of neither, since their rows go in one batch. The target's row says which. If it
//! is of the move or later, it is what the target holds, and the source is gone. If not, the source's
//! row, if it has one, is from before the move, and what is in memory of it applies to it. If the source has no such
//! row, target and value are gone too: a later effect deletes or replaces the target.
//!
//! So replay must not bring a row back behind what moved into it: where memory is full, a row that is newer than the
//! entry stays, and the entry goes.

use super::Replay;
use crate::error::Result;
use crate::ids::{DbId, Incarnation, Lsn, ShardId};
use crate::keyspace::entry::{BodyRef, flag};
use crate::keyspace::fetched::Fetched;
use crate::keyspace::hash::KeyHash;
use crate::keyspace::shard::{Shard, replaced};
use crate::keyspace::store::Store;
use crate::tier::promote::decode;
use crate::tier::spill::building_key;
use crate::tier::{Family, Lookup, ReadTier, schema};
use crate::value::Value;
use crate::wal::effect::{Change, Effect};

impl Replay<'_> {
    /// Brings what `effect`, with which a value leaves its key, needs into memory, and decides whether the target
    /// is still to get it.
    pub(super) fn prepare_move(&mut self, effect: &Effect<'_>, to: &[u8], lsn: Lsn) -> Result<()> {
        let (store, db) = (self.store, effect.db);
        let target = store.hasher.hash(to);
        let name = (db, Box::from(to));
        let applies = match self.decided.get(&name) {
            Some(applies) => *applies,
            None => self.applies(&store.lock(target.shard), db, target, to, lsn),
        };
        let applies = applies && !store.take_later_row(db, to, lsn)?;
        self.decided.insert(name, applies);
        if applies && !store.find_source(db, effect.key, lsn)? {
            // The target waits in vain, unless the log leads elsewhere.
            self.has_deltas = true;
        }
        Ok(())
    }

    /// Notes where the value's rows are now, once it has arrived.
    pub(super) fn end_move(&mut self, shard: &Shard, hash: KeyHash, effect: &Effect<'_>, applies: bool) {
        if !matches!(effect.change, Change::Arrive { .. }) {
            return;
        }
        self.moving = None;
        let part = shard.db(effect.db).filter(|_| applies);
        let entry = part.and_then(|part| part.table.find(hash, effect.key));
        if let Some(incarnation) = entry.and_then(|entry| replaced(entry, None).pages) {
            self.moved.insert((effect.db, incarnation), Box::from(effect.key));
        }
    }

    /// Writes all keys between which values moved, but for those that wait for a row.
    pub(super) fn write_tied(&mut self) -> Result<()> {
        self.store.write_batch(&mut self.batch, &mut self.highest)?;
        for tie in self.store.ties() {
            self.store.collect_tied(&tie, &mut self.batch);
            self.store.write_batch(&mut self.batch, &mut self.highest)?;
        }
        Ok(())
    }

    /// Before a shard is written back: forgets entries whose rows are newer. The log leads to what these say.
    pub(super) fn forget_outdated(&self, id: ShardId, db: DbId) -> Result<()> {
        let (store, mut from) = (self.store, Some(0).filter(|_| self.moved_upto > Lsn(0)));
        while let Some(bucket) = from {
            let mut found = Vec::new();
            {
                let shard = store.lock(id);
                let Some(part) = shard.db(db) else { return Ok(()) };
                let page = part.table.page_at(bucket);
                from = part.table.next_start(page);
                part.table.for_page(page, |entry| {
                    if entry.has(flag::DIRTY) && entry.lsn() < self.moved_upto {
                        let key: Box<[u8]> = entry.key().into();
                        found.push((key, entry.lsn(), replaced(entry, None).pages));
                    }
                });
            }
            for (key, lsn, pages) in found {
                if self.is_outdated(db, &key, lsn, pages)? {
                    store.lock(id).forget_entry(db, store.hasher.hash(&key), &key);
                }
            }
        }
        Ok(())
    }

    /// Whether a key's row is newer than its entry, or its pages are already those of a newer row of another key.
    fn is_outdated(&self, db: DbId, key: &[u8], lsn: Lsn, pages: Option<Incarnation>) -> Result<bool> {
        let store = self.store;
        if store.row_state(db, key)?.is_some_and(|(row, _)| row > lsn) {
            return Ok(true);
        }
        match pages {
            Some(incarnation) => self.is_owned_later(db, incarnation, lsn),
            None => Ok(false),
        }
    }

    /// Whether pages of a replayed part have been changed since by a key that replay will take from its row: they
    /// stay as they are then. Any other key makes its edits again.
    pub(super) fn is_changed_part(&self, db: DbId, incarnation: Incarnation, lsn: Lsn) -> Result<bool> {
        Ok(lsn < self.moved_upto && self.is_owned_later(db, incarnation, lsn)?)
    }

    /// Whether the key that an incarnation was begun for, or moved to, has it in a row that is newer.
    fn is_owned_later(&self, db: DbId, incarnation: Incarnation, lsn: Lsn) -> Result<bool> {
        let (store, mut row) = (self.store, Vec::new());
        let name = building_key(db, incarnation);
        let Lookup::Found(owner) = store.cold.get(Family::Meta, &name, ReadTier::Disk, &mut row)? else {
            return Ok(false);
        };
        let owned = store.row_state(db, owner)?;
        Ok(owned.is_some_and(|(row, pages)| row > lsn && pages == Some(incarnation)))
    }
}

/// What replay finds of a key in memory.
enum Resident {
    /// A value, or something else that needs no row.
    Whole,
    /// Changes that wait for their row.
    Waiting,
    Nothing,
}

impl Store {
    /// LSN of a key's row in the cold tier, and the incarnation that it refers to.
    fn row_state(&self, db: DbId, key: &[u8]) -> Result<Option<(Lsn, Option<Incarnation>)>> {
        self.with_row(db, key, |row| Ok(row.map(|row| (row.row.lsn, row.row.body.incarnation()))))
    }

    fn with_row<R>(
        &self,
        db: DbId,
        key: &[u8],
        then: impl FnOnce(Option<Fetched<'_>>) -> Result<R>,
    ) -> Result<R> {
        let (mut row_key, mut row) = (Vec::new(), Vec::new());
        schema::put_row_key(&mut row_key, db, self.hasher.hash(key).bucket, key);
        match self.cold.get(Family::Keys, &row_key, ReadTier::Disk, &mut row)? {
            Lookup::Found(row) => then(Some(decode(key, row)?)),
            Lookup::Absent | Lookup::NotCached => then(None),
        }
    }

    /// Replay of a move: if the cold tier has the target's state from the commit `lsn` or a later one, it
    /// comes into memory in place of what is there. Returns whether it has.
    fn take_later_row(&self, db: DbId, key: &[u8], lsn: Lsn) -> Result<bool> {
        let hash = self.hasher.hash(key);
        self.with_row(db, key, |row| {
            let Some(row) = row.filter(|row| row.row.lsn >= lsn) else { return Ok(false) };
            let mut shard = self.lock(hash.shard);
            let _ = shard.db_or_new(db);
            let deadline = row.row.deadline;
            shard.forget_entry(db, hash, key);
            shard.install(hash, db, key, &mut Some(row), false)?;
            // Replay took its hint for outdated: it is written again.
            shard.make_dirty(db, hash, key);
            if let Some(at) = deadline.filter(|at| *at <= shard.near_until) {
                shard.watch(at, db, hash.bucket);
            }
            Ok(true)
        })
    }

    /// Replay of a move whose target has no later row: the source's state comes into memory. Returns
    /// whether it did; the value is lost otherwise, and the log must lead elsewhere.
    fn find_source(&self, db: DbId, key: &[u8], lsn: Lsn) -> Result<bool> {
        let hash = self.hasher.hash(key);
        let resident = {
            let mut shard = self.lock(hash.shard);
            match shard.db_or_new(db).table.find(hash, key) {
                Some(entry) if matches!(entry.body(), BodyRef::Boxed(Value::Unresolved(_))) => {
                    Resident::Waiting
                }
                Some(entry) if entry.is_value() => Resident::Whole,
                Some(_) => return Ok(false),
                None => Resident::Nothing,
            }
        };
        if matches!(resident, Resident::Whole) {
            return Ok(true);
        }
        self.with_row(db, key, |row| {
            let Some(row) = row.filter(|row| row.row.lsn < lsn) else { return Ok(false) };
            let mut shard = self.lock(hash.shard);
            match resident {
                Resident::Waiting => shard.resolve(hash, db, key, &mut Some(row)),
                _ => shard.install(hash, db, key, &mut Some(row), false).map(|_| true),
            }
        })
    }
}
