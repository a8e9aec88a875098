//! How many deadlines a shard watches.
//!
//! An item of the heap stays there until its time, also if its key does not: keys that are stored with a
//! deadline and deleted again leave items behind, up to three minutes of them. When a shard watches far more
//! than its entries can need, those that mean nothing go.

use std::cmp::Reverse;
use std::collections::HashSet;

use super::entry::{BodyRef, Entry};
use super::shard::Shard;
use crate::ids::ExpireAt;
use crate::value::Value;

/// So many items are never too many.
const ITEMS_MIN: usize = 1024;

/// Whether the reaper has to look at an entry some time.
fn is_watched(entry: &Entry) -> bool {
    let is_waiting = matches!(entry.body(), BodyRef::Boxed(Value::Unresolved(_)));
    is_waiting || entry.is_value() && (entry.deadline().is_some() || entry.element_deadline().is_some())
}

impl Shard {
    /// Forgets items that mean nothing, if there are very many. Items up to `loaded` may mean keys in the cold
    /// tier and stay; of later ones, each bucket needs the first, and only if it has an entry that
    /// expires: a key that is not in memory has a hint row, which is still to be read.
    pub fn thin_out_near(&mut self, loaded: ExpireAt) {
        if self.near.len() <= self.near_limit {
            return;
        }
        let items = std::mem::take(&mut self.near).into_vec();
        let (mut kept, mut later): (Vec<_>, Vec<_>) =
            items.into_iter().partition(|Reverse((at, ..))| *at <= loaded.0);
        later.sort_unstable_by_key(|Reverse((at, db, bucket))| (*db, *bucket, *at));
        later.dedup_by_key(|Reverse((_, db, bucket))| (*db, *bucket));
        let (mut page, mut watched) = (None, HashSet::new());
        for Reverse((at, db, bucket)) in later {
            let Some(part) = self.db(db) else { continue };
            if page.is_none_or(|(of, end)| of != db || end <= u64::from(bucket)) {
                let index = part.table.page_at(bucket);
                let end = part.table.next_start(index).map_or(1 << 32, u64::from);
                page = Some((db, end));
                watched.clear();
                part.table.for_page(index, |entry| {
                    if is_watched(entry) {
                        watched.insert(self.hasher.hash(entry.key()).bucket);
                    }
                });
            }
            if watched.contains(&bucket) {
                kept.push(Reverse((at, db, bucket)));
            }
        }
        let entries: usize = self.dbs.iter().map(|part| part.table.len()).sum();
        // What this costs is paid by the items that come until the next time.
        self.near_limit = ITEMS_MIN.max(entries / 4).max(kept.len() * 2);
        self.near = kept.into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{DbId, ExpireAt};
    use crate::keyspace::entry::Body;
    use crate::keyspace::hash::KeyHasher;

    #[test]
    fn items_without_a_key_go_and_the_first_of_a_bucket_stays() {
        let hasher = KeyHasher::new(3);
        let mut shard = Shard::new(hasher);
        let (db, loaded) = (DbId(0), ExpireAt(1_000));
        for n in 0..500u32 {
            let key = n.to_be_bytes();
            let deadline = (n % 2 == 0).then_some(ExpireAt(5_000));
            let entry = Entry::new(&key, deadline, None, Body::Int(1));
            shard.db_or_new(db).table.insert(hasher.hash(&key), entry);
        }
        let bucket = |n: u32| hasher.hash(&n.to_be_bytes()).bucket;
        for round in 0..20 {
            (0..500).for_each(|n| shard.watch(ExpireAt(4_000 + round), db, bucket(n)));
            (500..1_000).for_each(|n| shard.watch(ExpireAt(3_000 + round), db, bucket(n)));
        }
        (0..10).for_each(|n| shard.watch(ExpireAt(900), db, bucket(2_000 + n)));
        shard.watch(ExpireAt(7_000), DbId(9), 1);
        assert_eq!(shard.watched(), 20_011);
        shard.thin_out_near(loaded);
        let mut items: Vec<(u64, u32)> = std::iter::from_fn(|| shard.pop_due(u64::MAX))
            .map(|(at, of, bucket)| {
                assert_eq!(of, db);
                (at.0, bucket)
            })
            .collect();
        let early: Vec<(u64, u32)> = items.drain(..10).collect();
        assert!(early.iter().all(|(at, _)| *at == 900), "these may be of the cold tier");
        let mut expected: Vec<(u64, u32)> = (0..250).map(|n| (4_000, bucket(n * 2))).collect();
        expected.sort_unstable();
        items.sort_unstable();
        assert_eq!(items, expected);
    }
}
