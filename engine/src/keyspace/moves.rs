//! Values that move to another key of their database without being copied: RENAME of a large value.
//!
//! The record has two effects, one after the other: the value *leaves* its key and *arrives* at the other. Neither
//! has a body. In memory the boxed value changes its entry, and with it the incarnation of its rows.
//!
//! What the target holds comes from its source, so the rows of both reach the cold tier in one batch: the pair is
//! *tied*. Both entries are TIED, which keeps them out of ordinary batches, and the pair stands in [`Ties`] of both
//! shards. The keeper takes what hangs together at a time, copies it with all these shards locked and
//! writes it as one batch. So the cold tier has either the states of both keys from before the move, or later ones of
//! both; replay sees which from the row of the target (`recovery::moves`).
//!
//! A source leaves a tombstone even if it never had a row, and so does a TIED entry that is deleted: whatever the key
//! holds next inherits TIED, and a batch without log of its own for a deletion cannot pass for one with it.

use std::collections::HashSet;

use super::entry::{Body, Entry, flag};
use super::hash::KeyHash;
use super::shard::{Applied, Origin, Shard};
use super::store::Store;
use crate::ids::{DbId, Lsn, ShardId};
use crate::value::{Unresolved, Value};
use crate::wal::effect::{Change, Effect};

/// A source and its target, whose rows must reach the cold tier in one batch.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Tie {
    pub db: DbId,
    pub from: Box<[u8]>,
    pub to: Box<[u8]>,
}

/// The pairs of which one key is in a shard.
pub type Ties = HashSet<Tie>;

impl Shard {
    /// Takes the value of the effect's key out. It is in [`Shard::moving`] then, if there was one.
    pub(super) fn leave(&mut self, hash: KeyHash, effect: &Effect<'_>, to: &[u8], lsn: Lsn, origin: Origin) {
        let (mut value, mut stale, mut freed, mut was_dirty) = (None, None, 0, false);
        let part = self.db_or_new(effect.db);
        part.table.update(hash, effect.key, |entry| {
            let before = entry.heap_bytes();
            stale = entry.element_hint().filter(|_| entry.has(flag::COLD));
            value = entry.take_boxed();
            entry.tie();
            (freed, was_dirty) = (before - entry.heap_bytes(), entry.has(flag::DIRTY));
        });
        if value.is_some() {
            // The entry says that it is none any more.
            part.hot -= 1;
        }
        self.bytes -= freed;
        self.dirty_bytes -= if was_dirty { freed } else { 0 };
        self.delete(hash, effect, lsn, origin);
        if let Some(at) = stale {
            self.stale_hints.note_elements(effect.db, hash, effect.key, at, lsn);
        }
        // Replay may have had no entry of it.
        let part = self.db_or_new(effect.db);
        let _ = part.table.find_mut(hash, effect.key).map(Entry::tie);
        self.ties.insert(Tie { db: effect.db, from: effect.key.into(), to: to.into() });
        // Changes whose base is gone are of no use: a later effect of the log deletes or replaces the target.
        self.moving = value.filter(|value| !matches!(value, Value::Unresolved(_)));
    }

    /// Gives the effect's key the value in [`Shard::moving`].
    pub(super) fn arrive(&mut self, hash: KeyHash, effect: &Effect<'_>, lsn: Lsn, origin: Origin) -> Applied {
        let Change::Arrive { from, deadline, old, is_raw } = effect.change else { return Applied::default() };
        let lost = || Value::Unresolved(Box::new(Unresolved::baseless()));
        let value = self.moving.take().unwrap_or_else(lost);
        self.note_dead(effect.db, &old, lsn);
        let deadline_before = self.put(hash, effect, Body::Boxed(value), deadline, is_raw, lsn, origin);
        let part = self.db_or_new(effect.db);
        let _ = part.table.find_mut(hash, effect.key).map(Entry::tie);
        self.ties.insert(Tie { db: effect.db, from: from.into(), to: effect.key.into() });
        let stale_hint = old.hint.filter(|_| origin == Origin::Replay);
        let element_deadline = self.element_deadline(hash, effect);
        Applied { stale_hint, deadline, deadline_before, element_deadline, ..Applied::default() }
    }

    /// Takes an entry out of memory as if it had never been there. Only replay may do so.
    pub fn forget_entry(&mut self, db: DbId, hash: KeyHash, key: &[u8]) {
        let Some(part) = self.db_mut(db) else { return };
        let Some(old) = part.table.remove(hash, key) else { return };
        part.hot -= u64::from(old.is_value());
        self.forget_bytes(&old);
    }

    /// Marks an entry dirty.
    pub fn make_dirty(&mut self, db: DbId, hash: KeyHash, key: &[u8]) {
        let Some(part) = self.db_mut(db) else { return };
        let grown = part.table.update(hash, key, |entry| {
            let size = if entry.has(flag::DIRTY) { 0 } else { entry.heap_bytes() };
            entry.set(flag::DIRTY);
            size
        });
        self.dirty_bytes += grown.unwrap_or_default();
    }
}

impl Store {
    /// How many ties the shards have; most are in two of them.
    #[must_use]
    pub fn tie_count(&self) -> usize {
        Store::shard_ids().map(|id| self.lock(id).ties.len()).sum()
    }

    /// All ties there are.
    #[must_use]
    pub fn ties(&self) -> Ties {
        let mut all = Ties::new();
        for id in Store::shard_ids() {
            all.extend(self.lock(id).ties.iter().cloned());
        }
        all
    }

    /// The shards of a tie.
    #[must_use]
    pub fn shards_of(&self, tie: &Tie) -> [ShardId; 2] {
        [self.hasher.hash(&tie.from).shard, self.hasher.hash(&tie.to).shard]
    }
}
