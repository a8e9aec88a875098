//! What memory says about a range of buckets, as far as one step of a walk can use it.
//!
//! Where keys are is not known before they are looked at: a hash tag puts millions into one of 16384 parts
//! of the bucket order. So a range begins as a guess and gets smaller while its keys are copied: when
//! there are too many, the range is cut behind the first ones, and of the shards that follow only so
//! much is copied. A step costs what it returns, however wrong the guess was.

use std::collections::HashMap;

/// Keys copied from memory, by name, of the buckets up to [`RangeCopy::end`].
pub struct RangeCopy<T> {
    keys: HashMap<Vec<u8>, (u32, T)>,
    end: u32,
    /// How many keys the range is cut to.
    aim: usize,
    /// How many there may be before.
    limit: usize,
}

impl<T> RangeCopy<T> {
    /// Nothing yet, of the buckets up to `end`; about `aim` keys are wanted.
    #[must_use]
    pub fn new(end: u32, aim: u64) -> Self {
        let aim = usize::try_from(aim.max(1)).unwrap_or(usize::MAX);
        // Some more than a good guess brings along.
        let limit = aim.saturating_mul(4).saturating_add(32);
        RangeCopy { keys: HashMap::new(), end, aim, limit }
    }

    /// The last bucket of the range.
    #[must_use]
    pub fn end(&self) -> u32 {
        self.end
    }

    /// What is known of a key.
    #[must_use]
    pub fn get(&self, key: &[u8]) -> Option<&T> {
        self.keys.get(key).map(|(_, known)| known)
    }

    /// Notes a key of a bucket of the range unless it is known already; returns the range's last bucket.
    pub fn add(&mut self, bucket: u32, key: &[u8], known: T) -> u32 {
        if bucket <= self.end {
            self.keys.entry(key.to_vec()).or_insert((bucket, known));
            if self.keys.len() > self.limit {
                self.cut();
            }
        }
        self.end
    }

    /// Ends the range with the bucket of the last key that is wanted.
    fn cut(&mut self) {
        let mut buckets: Vec<u32> = self.keys.values().map(|(bucket, _)| *bucket).collect();
        let (_, last, _) = buckets.select_nth_unstable(self.aim - 1);
        self.end = self.end.min(*last);
        self.keys.retain(|_, (bucket, _)| *bucket <= self.end);
        // A bucket stays whole, however many keys it has.
        self.limit = self.limit.max(self.keys.len().saturating_mul(2));
    }

    /// Hands out bucket, key and what is known of it, in no particular order.
    pub fn into_keys(self) -> impl Iterator<Item = (u32, Vec<u8>, T)> {
        self.keys.into_iter().map(|(key, (bucket, known))| (bucket, key, known))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyspace::entry::{Body, Entry};
    use crate::keyspace::hash::{BUCKET_HASH_BITS, KeyHasher, SHARDS};
    use crate::keyspace::table::PageTable;

    /// Keys of one hash tag in memory: a step copied all of them to find out that these are too many, tried an
    /// eighth of the range, and so on, and then returned a few.
    #[test]
    fn a_step_copies_about_what_it_returns() {
        let hasher = KeyHasher::new(5);
        let mut tables: Vec<PageTable> = (0..SHARDS).map(|_| PageTable::new(hasher)).collect();
        let mut all = Vec::new();
        for n in 0..60_000u32 {
            let key = format!("{{tag}}{n}").into_bytes();
            let hash = hasher.hash(&key);
            tables[usize::from(hash.shard.0)].insert(hash, Entry::new(&key, None, None, Body::Int(1)));
            all.push((hash.bucket, key));
        }
        all.sort();
        let slot = all[0].0 >> BUCKET_HASH_BITS << BUCKET_HASH_BITS;
        for (aim, looks_max) in [(1, 400), (10, 1000), (1024, 12_000)] {
            for from in [0, slot, slot + (1 << 17)] {
                let mut copy = RangeCopy::new(u32::MAX, aim);
                let mut looks = 0;
                for table in &tables {
                    table.for_range(from, copy.end(), |bucket, entry| {
                        looks += 1;
                        copy.add(bucket, entry.key(), ())
                    });
                }
                let end = copy.end();
                let mut found: Vec<_> = copy.into_keys().map(|(bucket, key, ())| (bucket, key)).collect();
                found.sort();
                let expected: Vec<_> =
                    all.iter().filter(|(bucket, _)| (from..=end).contains(bucket)).cloned().collect();
                assert!(found == expected, "whole buckets from {from} to {end}");
                assert!(found.len() >= aim as usize, "{} of {aim}", found.len());
                assert!(looks <= looks_max, "{looks} looks for {aim} keys");
            }
        }
    }

    #[test]
    fn a_bucket_stays_whole() {
        let mut copy = RangeCopy::new(u32::MAX, 1);
        for n in 0..1000u32 {
            copy.add(7, &n.to_be_bytes(), n);
            copy.add(8, &(1000 + n).to_be_bytes(), n);
        }
        assert_eq!((copy.end(), copy.get(&5u32.to_be_bytes())), (7, Some(&5)));
        assert_eq!(copy.add(7, &5u32.to_be_bytes(), 99), 7);
        assert_eq!(copy.get(&5u32.to_be_bytes()), Some(&5), "the first one counts");
        assert_eq!(copy.into_keys().count(), 1000);
    }
}
