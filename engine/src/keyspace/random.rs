//! A key of a database by chance: RANDOMKEY.
//!
//! Of the keys in memory each is about as likely as the others, whatever their names: a shard is picked by
//! the number of its keys, a page of it, and an entry of the page. Keys on disk are found through the
//! bucket order. A bucket by chance leads to a slot; since a hash tag puts all of its keys into one slot, and
//! almost every bucket would lead to the first of them, a bucket of that slot is then taken by chance,
//! and one of the keys that follow.

use super::hash::BUCKET_HASH_BITS;
use super::scan::live_tag;
use super::store::Store;
use crate::error::Result;
use crate::ids::{DbId, ShardId};

/// Keys of which one is taken: neighbours in bucket order have unequal gaps before them.
const AMONG: u64 = 64;
/// How often a place in memory is looked at before a walk finds a key: places are empty, entries dead.
const TRIES: usize = 100;

impl Store {
    /// A key that is alive at `now_ms`; `None` if there is none. `random` returns a number below its
    /// argument, each as likely as the others.
    pub fn random_key(
        &self,
        db: DbId,
        now_ms: u64,
        mut random: impl FnMut(u64) -> u64,
    ) -> Result<Option<Vec<u8>>> {
        let counts: Vec<(u64, u64)> = Store::shard_ids()
            .map(|id| self.lock(id).db(db).map_or((0, 0), |part| (part.keys, part.hot)))
            .collect();
        let (keys, hot) = counts.iter().fold((0, 0), |sum, count| (sum.0 + count.0, sum.1 + count.1));
        for _ in 0..TRIES {
            if keys == 0 {
                return Ok(None);
            }
            let mut nth = random(keys);
            if nth >= hot {
                break;
            }
            let shard = Store::shard_ids().zip(&counts).find(|(_, (_, hot))| match nth.checked_sub(*hot) {
                None => true,
                Some(rest) => {
                    nth = rest;
                    false
                }
            });
            let found = shard.and_then(|(id, _)| self.random_hot(db, id, now_ms, &mut random));
            if found.is_some() {
                return Ok(found);
            }
        }
        self.random_by_bucket(db, now_ms, &mut random)
    }

    fn random_hot(
        &self,
        db: DbId,
        id: ShardId,
        now_ms: u64,
        random: &mut impl FnMut(u64) -> u64,
    ) -> Option<Vec<u8>> {
        let shard = self.lock(id);
        let entry = shard.db(db)?.table.pick(random)?;
        live_tag(entry, now_ms).map(|_| entry.key().to_vec())
    }

    fn random_by_bucket(
        &self,
        db: DbId,
        now_ms: u64,
        random: &mut impl FnMut(u64) -> u64,
    ) -> Result<Option<Vec<u8>>> {
        let from = |from: u32, count: u64| -> Result<Vec<Vec<u8>>> {
            let mut keys = self.scan(db, from, count, now_ms)?.keys;
            if keys.is_empty() {
                keys = self.scan(db, 0, count, now_ms)?.keys;
            }
            Ok(keys.into_iter().map(|(key, _)| key).collect())
        };
        let near = from(random(1 << 32) as u32, 1)?;
        let Some(first) = near.iter().map(|key| self.hasher.hash(key).bucket).min() else { return Ok(None) };
        let slot = first >> BUCKET_HASH_BITS << BUCKET_HASH_BITS;
        let mut keys = from(slot | random(1 << BUCKET_HASH_BITS) as u32, AMONG)?;
        if keys.is_empty() {
            return Ok(None);
        }
        let nth = random(keys.len() as u64) as usize;
        Ok(Some(keys.swap_remove(nth)))
    }
}
