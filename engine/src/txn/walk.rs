//! Walks over all keys, as a transaction of several commands sees them: what it changed is in them.

use std::collections::HashMap;

use super::{Interrupt, Txn};
use crate::error::Result;
use crate::ids::DbIndex;
use crate::keyspace::scan::ScanStep;
use crate::value::TypeTag;

impl Txn<'_> {
    /// Sees to it that the command may look at all shards, also by other ways than this transaction; asks
    /// for their locks if it may not yet. What it calls must not wait for another thread, for that may wait
    /// for the locks.
    pub fn look_around(&mut self) -> Result<(), Interrupt> {
        if self.held.is_some() {
            return Ok(());
        }
        self.scratch.wants_all = true;
        Err(Interrupt)
    }

    /// One step of a walk over the keys of a database; see [`crate::keyspace::store::Store::scan`]. Reads
    /// from disk what is there.
    ///
    /// # Panics
    /// Without [`Txn::look_around`].
    pub fn scan(&mut self, db: DbIndex, from: u32, count: u64) -> Result<ScanStep> {
        assert!(self.held.is_some(), "a walk needs all shards");
        let id = self.mapped(db);
        let mut step = self.core.store.scan(id, from, count, self.now_ms)?;
        let last = step.next.map_or(u32::MAX, |next| next - 1);
        // What this transaction changed in the range of buckets that the step covers.
        let mut own: HashMap<Box<[u8]>, Option<TypeTag>> = HashMap::new();
        for at in 0..self.scratch.touched.len() {
            let touched = &self.scratch.touched[at];
            let (start, len) = touched.key;
            let key = &self.scratch.effects[start..start + len];
            let hash = self.core.store.hasher.hash(key);
            if touched.db != id || !(from..=last).contains(&hash.bucket) {
                continue;
            }
            let (key, exists): (Box<[u8]>, bool) = (Box::from(key), touched.exists);
            let tag = if exists { self.changed_tag(hash, id, &key) } else { None };
            own.insert(key, tag);
        }
        if !own.is_empty() {
            step.keys.retain(|(key, _)| !own.contains_key(&key[..]));
            let added = own.into_iter().filter_map(|(key, tag)| Some((key.into_vec(), tag?)));
            step.keys.extend(added);
        }
        Ok(step)
    }
}
