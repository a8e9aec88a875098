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
use crate::keyspace::entry::flag;
use crate::keyspace::hash::KeyHash;
use crate::keyspace::shard::{Shard, replaced};
use crate::tier::spill::building_key;
use crate::tier::{Family, Lookup, ReadTier};
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
