//! Giving the keys that wait since the replay their rows, in bounded memory.
//!
//! A tail of deltas may name far more rows than memory holds, and what was resolved is dirty. So rows
//! come a few at a time; what came is written back and, where memory is full, evicted before the next.

use std::sync::atomic::Ordering;

use super::keeper::{Keeper, Request};
use crate::error::Result;
use crate::ids::{DbId, ShardId};
use crate::keyspace::store::Store;
use crate::tier::promote::Depth;
use crate::tier::spill::{SpillBatch, Which};

/// Rows that are read together, at most.
const ROWS_MAX: usize = 64;

/// How far memory may grow before it is written back, and what it grew by.
struct Growth {
    bytes: usize,
    bytes_max: usize,
    /// Rows to read together next: fewer where they are large.
    rows: usize,
}

impl Keeper {
    /// Has the keeper resolve all keys that wait since the replay, and waits for it.
    ///
    /// # Errors
    /// A row cannot be read or written back, or is not one that the log applies to.
    pub fn resolve(&self) -> Result<()> {
        if !self.core.store.has_unresolved.load(Ordering::Acquire) {
            return Ok(());
        }
        self.request(Request::Resolve).wait().map(drop)
    }

    /// Resolves all keys that wait. When this returns there are none, and none will come.
    pub(super) fn resolve_waiting(&self) -> Result<()> {
        let store = &self.core.store;
        if !store.has_unresolved.load(Ordering::Acquire) {
            return Ok(());
        }
        self.resend()?;
        let bytes_max = store.hot_limit.load(Ordering::Relaxed) / 16;
        let mut growth = Growth { bytes: 0, bytes_max, rows: 8 };
        for id in Store::shard_ids() {
            let dbs: Vec<DbId> = store.lock(id).dbs().iter().map(|part| part.id).collect();
            for db in dbs {
                let mut from = Some(0);
                while let Some(bucket) = from {
                    let (keys, next) = store.lock(id).waiting(db, bucket, true);
                    self.resolve_keys(id, db, &keys, &mut growth)?;
                    from = next;
                }
            }
            self.make_room(id, &mut growth)?;
        }
        // ORDERING: last, so that whoever reads it finds all of them resolved.
        store.has_unresolved.store(false, Ordering::Release);
        Ok(())
    }

    fn resolve_keys(&self, id: ShardId, db: DbId, mut keys: &[Box<[u8]>], growth: &mut Growth) -> Result<()> {
        while !keys.is_empty() {
            let (some, rest) = keys.split_at(growth.rows.min(keys.len()));
            keys = rest;
            let came = self.read_waiting(id, db, some, Depth::Row, growth)?;
            let is_much = came > growth.bytes_max / 2;
            growth.rows = if is_much { growth.rows / 2 } else { growth.rows * 2 }.clamp(1, ROWS_MAX);
            // The pages of long strings, one after the other.
            for key in some {
                let hash = self.core.store.hasher.hash(key);
                while self.core.store.lock(id).is_waiting(db, hash, key) {
                    self.read_waiting(id, db, std::slice::from_ref(key), Depth::Whole, growth)?;
                }
            }
        }
        Ok(())
    }

    /// Reads rows, or pages, into entries that wait for them; returns by how much they grew.
    fn read_waiting(
        &self,
        id: ShardId,
        db: DbId,
        keys: &[Box<[u8]>],
        depth: Depth,
        growth: &mut Growth,
    ) -> Result<usize> {
        let store = &self.core.store;
        let before = store.lock(id).bytes;
        let names = keys.iter().map(|key| (db, &key[..], depth));
        if let Some(ticket) = self.core.promoter.fetch(names, false) {
            ticket.wait()?;
        }
        let came = store.lock(id).bytes.saturating_sub(before);
        growth.bytes += came;
        if growth.bytes > growth.bytes_max {
            self.make_room(id, growth)?;
        }
        Ok(came)
    }

    /// Writes a shard back, and evicts as much as it grew by if memory is full.
    fn make_room(&self, id: ShardId, growth: &mut Growth) -> Result<()> {
        let store = &self.core.store;
        let grown = std::mem::take(&mut growth.bytes);
        if grown == 0 {
            return Ok(());
        }
        let mut batch = SpillBatch::default();
        let dbs: Vec<DbId> = store.lock(id).dbs().iter().map(|part| part.id).collect();
        for db in dbs {
            let mut from = Some(0);
            while let Some(bucket) = from {
                from = store.collect(id, db, bucket, Which::All, &mut batch);
                if batch.is_full() {
                    self.send(&mut batch)?;
                }
            }
        }
        self.send(&mut batch)?;
        self.write_tied()?;
        if store.hot_bytes().0 > store.hot_limit.load(Ordering::Relaxed) / 8 * 7 {
            let mut shard = store.lock(id);
            let entries = shard.dbs().iter().map(|part| part.table.len() + part.table.pages()).sum();
            let (_, evicted) = shard.evict_clean(grown, entries);
            store.stats.evicted.fetch_add(evicted, Ordering::Relaxed);
        }
        Ok(())
    }
}
