//! Reads of several keys at once: what is missing of all of them is asked for in one round.

use std::collections::HashSet;
use std::sync::atomic::Ordering;

use super::plan::{Found, ValueRef, value_ref};
use super::{Interrupt, Txn};

impl Txn<'_> {
    /// Like [`Txn::lookup`] of one of several keys whose values the command reads: if it is not in memory,
    /// all that are not are asked for at once. Counts as an access if `is_access`.
    #[inline]
    pub fn lookup_among<'k>(
        &mut self,
        key: &[u8],
        keys: impl Iterator<Item = &'k [u8]> + Clone,
        is_access: bool,
    ) -> Result<Option<Found<'_>>, Interrupt> {
        match self.find(self.db, key) {
            Ok(Some((hash, db))) => Ok(Some(self.found(hash, db, key, is_access))),
            Ok(None) => Ok(None),
            Err(interrupt) => Err(self.gather_rest(interrupt, keys)),
        }
    }

    /// Reads several keys of the command's database at one moment; each counts as an access if
    /// `is_access`. The value of one that does not exist is `None`.
    pub fn lookup_all<'k>(
        &mut self,
        keys: impl Iterator<Item = &'k [u8]> + Clone,
        is_access: bool,
    ) -> Result<Vec<Option<ValueRef<'_>>>, Interrupt> {
        let mut are_there = Vec::with_capacity(keys.size_hint().0);
        for key in keys.clone() {
            match self.lookup_in(self.db, key, is_access) {
                Ok(found) => are_there.push(found.is_some()),
                Err(interrupt) => return Err(self.gather_rest(interrupt, keys)),
            }
        }
        // Nothing moves from here on: the first walk only planned what it changes.
        let this = &*self;
        let values = keys.zip(are_there).map(|(key, is_there)| is_there.then(|| this.value_of(key)));
        Ok(values.collect())
    }

    /// Sees to it that keys which the command did not name can be looked up: what they lack, locks and
    /// records, is asked for at once and not one key a round. The command looks up all of them next.
    pub fn gather<'k>(&mut self, keys: impl Iterator<Item = &'k [u8]> + Clone) -> Result<(), Interrupt> {
        if self.reads_synchronously {
            return Ok(());
        }
        let store = &self.core.store;
        for key in keys.clone() {
            self.scratch.more_shards |= 1 << store.hasher.hash(key).shard.0;
        }
        let unlocked = self.scratch.more_shards & !self.locked;
        // ORDERING: only saves work; what is missing all the same is asked for in the next round.
        let may_be_cold = store.has_cold.load(Ordering::Relaxed);
        if may_be_cold {
            let db = self.mapped(self.db);
            let mut seen = HashSet::new();
            for key in keys {
                let hash = store.hasher.hash(key);
                // Of a key whose shard is not locked the fetch finds out.
                let (is_missing, has_row) = if unlocked & 1 << hash.shard.0 != 0 {
                    (true, false)
                } else {
                    let shard = self.shard(hash.shard);
                    let has_row = shard.is_stored(db, hash, key);
                    (has_row || shard.needs_fetch(db, hash, key), has_row)
                };
                if is_missing && seen.insert(key) {
                    self.scratch.ask(db, hash, key, has_row);
                }
            }
        }
        if unlocked == 0 && self.scratch.missing.is_empty() { Ok(()) } else { Err(Interrupt) }
    }

    /// Reading one of these keys was interrupted: asks for the others, too, of which the command reads the
    /// values as well, so that all come in one batch. Returns the interrupt.
    #[cold]
    fn gather_rest<'k>(
        &mut self,
        interrupt: Interrupt,
        keys: impl Iterator<Item = &'k [u8]> + Clone,
    ) -> Interrupt {
        if self.failure.is_none() {
            let _ = self.gather(keys);
        }
        interrupt
    }

    /// The value of a key that was looked up and is there.
    fn value_of(&self, key: &[u8]) -> ValueRef<'_> {
        let hash = self.hash(key);
        let db = self.mapped(self.db);
        let entry = match self.touched(hash, db, key) {
            Some(_) => self.copied(hash, db, key),
            None => self.shard_to_read(hash.shard).db(db).and_then(|part| part.table.find(hash, key)),
        };
        value_ref(entry.expect("it was looked up"))
    }
}
