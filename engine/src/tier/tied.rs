//! Write-back of keys between which values moved: what hangs together goes in one batch, copied with the locks of
//! all its shards. See [`crate::keyspace::moves`].

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use super::spill::{MOVED_LSN, SpillBatch, Which, building_key};
use crate::ids::{DbId, ShardId};
use crate::keyspace::entry::{Entry, flag};
use crate::keyspace::held::ShardGuard;
use crate::keyspace::moves::Tie;
use crate::keyspace::shard::replaced;
use crate::keyspace::store::Store;
use crate::tier::Family;

/// Locked shards, ascending.
type Locked<'s> = Vec<(ShardId, ShardGuard<'s>)>;
type Keys = BTreeSet<(DbId, Box<[u8]>)>;

impl Store {
    /// Copies all keys that hang together with a tie into a batch, which must go as it is then. Nothing is copied
    /// if changes of one of them still wait for its row, or if the tie is gone.
    pub fn collect_tied(&self, tie: &Tie, batch: &mut SpillBatch) {
        let (mut locked, keys) = self.lock_component(tie);
        if keys.is_empty() || !keys.iter().all(|(db, key)| self.is_ready(&locked, *db, key)) {
            return;
        }
        for (_, shard) in &mut locked {
            // Deaths before the rows that no longer name what died.
            self.collect_side_rows(shard, batch);
            shard.ties.retain(|tie| !keys.contains(&(tie.db, tie.to.clone())));
        }
        for (db, key) in &keys {
            self.copy_tied(&mut locked, *db, key, batch);
        }
        // ORDERING: the keeper, or replay, is alone in writing it.
        let moved = self.moved_lsn.load(Ordering::Relaxed).max(batch.max_lsn().0);
        self.moved_lsn.store(moved, Ordering::Relaxed);
        batch.rows.put(Family::Meta, MOVED_LSN, &moved.to_be_bytes());
    }

    /// Locks the shards of all keys that hang together with a tie. A tie is listed in the shards of both its keys,
    /// so that what is listed where a key is locked is all there is.
    fn lock_component(&self, tie: &Tie) -> (Locked<'_>, Keys) {
        let mut wanted: BTreeSet<ShardId> = self.shards_of(tie).into();
        loop {
            let locked: Locked<'_> = wanted.iter().map(|id| (*id, self.lock(*id))).collect();
            let mut keys = Keys::new();
            if locked.iter().any(|(_, shard)| shard.ties.contains(tie)) {
                keys.extend([(tie.db, tie.from.clone()), (tie.db, tie.to.clone())]);
            }
            let mut before = 0;
            while before != keys.len() {
                before = keys.len();
                for tie in locked.iter().flat_map(|(_, shard)| &shard.ties) {
                    let ends = [(tie.db, tie.from.clone()), (tie.db, tie.to.clone())];
                    if ends.iter().any(|end| keys.contains(end)) {
                        keys.extend(ends);
                    }
                }
            }
            let count = wanted.len();
            wanted.extend(keys.iter().map(|(_, key)| self.hasher.hash(key).shard));
            if wanted.len() == count {
                return (locked, keys);
            }
        }
    }

    fn is_ready(&self, locked: &Locked<'_>, db: DbId, key: &[u8]) -> bool {
        let hash = self.hasher.hash(key);
        let shard = locked.iter().find(|(id, _)| *id == hash.shard).map(|(_, shard)| shard);
        let entry = shard.and_then(|shard| shard.db(db)).and_then(|part| part.table.find(hash, key));
        debug_assert!(
            entry.is_none_or(|entry| !entry.has(flag::IN_FLIGHT)),
            "whoever comes here sent its batches"
        );
        shard.is_none_or(|shard| !shard.is_waiting(db, hash, key))
    }

    fn copy_tied(&self, locked: &mut Locked<'_>, db: DbId, key: &[u8], batch: &mut SpillBatch) {
        let hash = self.hasher.hash(key);
        let Some((id, shard)) = locked.iter_mut().find(|(id, _)| *id == hash.shard) else { return };
        let filter_limit = self.filter_limit.load(Ordering::Relaxed);
        let (mut grown, mut begun) = (0, None);
        let Some(part) = shard.db_mut(db) else { return };
        let copied = part.table.update(hash, key, |entry| {
            entry.untie();
            let before = entry.heap_bytes() as isize;
            let copied = self.copy_image(*id, db, entry, Which::All, batch);
            grown = entry.heap_bytes() as isize - before;
            begun = pages_of(entry).map(|incarnation| (incarnation, entry.lsn()));
            copied
        });
        if let Some(hash) = copied.flatten() {
            part.note_row(hash, filter_limit);
            if let Some((incarnation, lsn)) = begun {
                // DURABILITY: recovery finds them by the key that has them now.
                batch.rows.put(Family::Meta, &building_key(db, incarnation), key);
                shard.parts.settle(db, incarnation, lsn);
            }
        }
        for (db, incarnation, lsn) in batch.begun.drain(..) {
            shard.parts.settle(db, incarnation, lsn);
        }
        shard.note_grown(grown);
    }
}

fn pages_of(entry: &Entry) -> Option<crate::ids::Incarnation> {
    replaced(entry, None).pages
}
