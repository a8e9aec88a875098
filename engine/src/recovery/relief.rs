//! Memory during replay: writing back and evicting as it fills.
//!
//! Changes whose base is not in memory wait for it and can be neither written back nor evicted. When
//! they fill memory, their rows are read after all, one after the other, and written back with the
//! changes made. A row may be missing, or older than the change says: then the log deletes or
//! replaces the key further on, or the first round will say what is lost. And it may be newer than the
//! place the replay has come to: the log's changes up to its LSN are in it and will be passed over.

use std::sync::atomic::Ordering;

use super::Replay;
use crate::error::Result;
use crate::ids::{DbId, ShardId};
use crate::keyspace::hash::SHARDS;
use crate::keyspace::store::Store;
use crate::tier::promote::{decode, read_stored};
use crate::tier::spill::Which;
use crate::tier::{Family, Lookup, ReadTier, schema};

/// Records between two looks at memory.
const LOOK_RECORDS: u64 = 4096;

impl Replay<'_> {
    /// Looks at memory after some thousand records, or a sixteenth of what it may hold.
    pub(super) fn look_at_memory(&mut self, record_bytes: usize) -> Result<()> {
        let (records, bytes) = &mut self.since_look;
        *records += 1;
        *bytes += record_bytes;
        let bytes_max = self.store.hot_limit.load(Ordering::Relaxed) / 16;
        if *records < LOOK_RECORDS && *bytes < bytes_max {
            return Ok(());
        }
        self.since_look = (0, 0);
        self.relieve()
    }

    /// Writes back and evicts when the hot tier is over its limit. The log was synced before
    /// replay began, so the images may go at once.
    pub(super) fn relieve(&mut self) -> Result<()> {
        let limit = self.store.hot_limit.load(Ordering::Relaxed);
        if self.store.hot_bytes().0 <= limit {
            return Ok(());
        }
        Store::shard_ids().try_for_each(|id| self.collect_shard(id))?;
        self.write_tied()?;
        Store::shard_ids().for_each(|id| self.evict(id, limit));
        // What is left waits for its rows. Half a limit, so that this is rare.
        if self.store.hot_bytes().0 > limit / 2 {
            self.resolve(limit)?;
        }
        Ok(())
    }

    fn collect_shard(&mut self, id: ShardId) -> Result<()> {
        for db in self.databases(id) {
            self.forget_outdated(id, db)?;
            let mut from = Some(0);
            while let Some(bucket) = from {
                from = self.store.collect(id, db, bucket, Which::All, &mut self.batch);
                if self.batch.is_full() {
                    self.store.write_batch(&mut self.batch, &mut self.highest)?;
                }
            }
        }
        Ok(())
    }

    fn evict(&self, id: ShardId, limit: usize) {
        let mut shard = self.store.lock(id);
        let share = limit / SHARDS / 2;
        // Replayed entries have a low counter: a few laps of the clock free what is needed.
        for _ in 0..4 {
            if shard.bytes > share {
                let entries = shard.dbs().iter().map(|part| part.table.len() + part.table.pages()).sum();
                let want = shard.bytes - share;
                shard.evict_clean(want, entries);
            }
        }
    }

    fn databases(&self, id: ShardId) -> Vec<DbId> {
        self.store.lock(id).dbs().iter().map(|part| part.id).collect()
    }

    /// Gives what waits its rows, and writes it back before it has grown by much.
    fn resolve(&mut self, limit: usize) -> Result<()> {
        for id in Store::shard_ids() {
            let mut before = self.store.lock(id).bytes;
            for db in self.databases(id) {
                let mut from = Some(0);
                while let Some(bucket) = from {
                    let (keys, next) = self.store.lock(id).waiting(db, bucket, false);
                    for key in keys {
                        self.resolve_key(id, db, &key)?;
                        if self.store.lock(id).bytes > before + limit / 16 {
                            self.clean(id, limit)?;
                            before = self.store.lock(id).bytes;
                        }
                    }
                    from = next;
                }
            }
            self.clean(id, limit)?;
        }
        Ok(())
    }

    fn clean(&mut self, id: ShardId, limit: usize) -> Result<()> {
        self.collect_shard(id)?;
        self.write_tied()?;
        self.evict(id, limit);
        Ok(())
    }

    /// Reads the row, and the pages if they are needed, that one key waits for.
    fn resolve_key(&self, id: ShardId, db: DbId, key: &[u8]) -> Result<()> {
        let (store, hash) = (self.store, self.store.hasher.hash(key));
        if store.lock(id).needs_fetch(db, hash, key) {
            let (mut row_key, mut row) = (Vec::new(), Vec::new());
            schema::put_row_key(&mut row_key, db, hash.bucket, key);
            let mut row = match store.cold.get(Family::Keys, &row_key, ReadTier::Disk, &mut row)? {
                Lookup::Found(row) => Some(decode(key, row)?),
                _ => None,
            };
            store.lock(id).resolve(hash, db, key, &mut row)?;
        }
        let stored = {
            let shard = store.lock(id);
            shard.stored_at(db, hash, key).filter(|_| shard.is_waiting(db, hash, key))
        };
        let Some(at) = stored else { return Ok(()) };
        // Whether missing pages are damage is for the first round to say.
        match read_stored(store, None, db, &at, key) {
            Ok(content) => store.lock(id).load(hash, db, key, at.incarnation(), content),
            Err(_) => Ok(()),
        }
    }
}
