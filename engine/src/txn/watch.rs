//! Watching keys: has anything happened to them since?
//!
//! A [`Sight`] is what was seen of a key: the LSN of its last change, or that it was not there. Looking
//! again tells whether the key was changed, at no cost for who changes it; an eviction and what was read
//! back change nothing. What an LSN does not tell is kept beside it: how often the database got another
//! content as a whole (FLUSHDB, SWAPDB), and for a key that was not there a [`Touch`], which the commit that
//! makes the key touches (see [`crate::keyspace::watch`]).

use std::sync::Arc;

use super::{Interrupt, Txn};
use crate::ids::{DbIndex, Lsn};
use crate::keyspace::watch::Touch;

/// What was seen of a watched key.
#[derive(Clone, Copy, Debug)]
pub struct Sight {
    /// The LSN of its last change and the version of its database; `None`: it was not there.
    found: Option<(Lsn, u64)>,
}

impl Txn<'_> {
    /// Watches keys of the command's database. `touch` belongs to the watcher; whoever makes a key that is
    /// missing now touches it.
    pub fn watch<'k>(
        &mut self,
        keys: impl Iterator<Item = &'k [u8]>,
        touch: &Arc<Touch>,
    ) -> Result<Vec<(&'k [u8], Sight)>, Interrupt> {
        let mut sights = Vec::new();
        for key in keys {
            let lsn = self.header(key, false)?.map(|header| header.lsn);
            let version = self.core.store.map_version(self.db);
            sights.push((key, Sight { found: lsn.map(|lsn| (lsn, version)) }));
        }
        // Only now: a transaction that is interrupted leaves nothing behind.
        for (key, _) in sights.iter().filter(|(_, sight)| sight.found.is_none()) {
            let hash = self.hash(key);
            self.shard(hash.shard).absent_watches.add(self.db, key, touch);
        }
        Ok(sights)
    }

    /// Whether a watched key of a database is as it was seen, apart from the watcher's [`Touch`]. The key is
    /// one of the transaction's.
    pub fn is_unchanged(&mut self, db: DbIndex, key: &[u8], sight: Sight) -> Result<bool, Interrupt> {
        // A missing key that was made touched its watcher.
        let Some((lsn, version)) = sight.found else { return Ok(true) };
        if version != self.core.store.map_version(db) {
            return Ok(false);
        }
        let own_db = std::mem::replace(&mut self.db, db);
        let now = self.header(key, false);
        self.db = own_db;
        Ok(now?.is_some_and(|header| header.lsn == lsn))
    }

    /// Touches those who watch a missing key of either database that the other one has. Call it before
    /// [`Txn::swap`].
    pub fn touch_swapped(&mut self, a: DbIndex, b: DbIndex) -> Result<(), Interrupt> {
        for id in crate::keyspace::store::Store::shard_ids() {
            if self.shard(id).absent_watches.is_empty() {
                continue;
            }
            let keys_of = |db| self.shard_to_read(id).absent_watches.of(db).map(Box::from);
            let keys: Vec<(DbIndex, Box<[u8]>)> =
                [a, b].into_iter().flat_map(|db| keys_of(db).map(move |key| (db, key))).collect();
            for (db, key) in keys {
                if self.exists_in(a, &key)? || self.exists_in(b, &key)? {
                    self.shard(id).absent_watches.touch(Some(db), &key);
                }
            }
        }
        Ok(())
    }
}
