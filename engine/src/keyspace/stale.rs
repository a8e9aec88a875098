//! Rows of `expires` that are no longer right, until the next write-back of their shard removes them.
//!
//! Only a deadline that an image took along has a row. For a key's own deadline the entry notes which one
//! ([`super::entry::flag::HINT`]); for those of elements it is noted here: the first one that is given up
//! after an image, and no other until the next one. Before an image is copied all rows that are noted here
//! are removed, so what is noted is about the image before it.

use hashbrown::HashTable;

use super::hash::KeyHash;
use crate::ids::{DbId, ExpireAt, Lsn};

/// A hint row that is no longer right.
pub struct StaleHint {
    pub db: DbId,
    pub at: ExpireAt,
    pub key: Box<[u8]>,
    /// Whether it is the hint of elements.
    pub is_of_elements: bool,
    /// The commit that made it wrong: the row may not go before that is durable.
    pub lsn: Lsn,
}

/// The hint rows of one shard to remove.
#[derive(Default)]
pub struct StaleHints {
    list: Vec<StaleHint>,
    /// Table hash and place of those that were noted for elements.
    elements: HashTable<(u64, usize)>,
}

impl StaleHints {
    /// Notes a row.
    pub fn push(&mut self, hint: StaleHint) {
        self.list.push(hint);
    }

    /// Notes that the soonest deadline of a key's elements is no longer `at`, if that may have a row.
    pub fn note_elements(&mut self, db: DbId, hash: KeyHash, key: &[u8], at: ExpireAt, lsn: Lsn) {
        let StaleHints { list, elements, .. } = self;
        let is_it = |(table, place): &(u64, usize)| {
            *table == hash.table && list.get(*place).is_some_and(|hint| hint.db == db && *hint.key == *key)
        };
        if elements.find(hash.table, is_it).is_some() {
            return;
        }
        let place = list.len();
        elements.insert_unique(hash.table, (hash.table, place), |(table, _)| *table);
        self.push(StaleHint { db, at, key: Box::from(key), is_of_elements: true, lsn });
    }

    /// Takes all.
    pub fn take(&mut self) -> Vec<StaleHint> {
        self.elements.clear();
        std::mem::take(&mut self.list)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}
