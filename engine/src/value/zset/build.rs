//! Values made from scratch: results of STORE commands, of unions, and of decoded dumps.
//!
//! Members go into one arena; a hash table over it finds those that are there. O(n log n) in all, for
//! the sort at the end. The table's hashes are keyed: whoever knows no key cannot make members collide.

use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;

use super::large::Large;
use super::score::order_key;
use super::{Form, Limits, PACKED_BYTES_MAX, ZSetValue, small};
use crate::value::packed::Packed;

/// Collects elements in any order.
#[derive(Default)]
pub struct Builder {
    members: Vec<u8>,
    entries: Vec<Entry>,
    index: HashTable<Slot>,
    keys: RandomState,
    longest: usize,
}

/// The hash of a member, and its place in `entries`.
#[derive(Clone, Copy)]
struct Slot {
    hash: u64,
    at: usize,
}

/// A member's place in the arena, and its score.
#[derive(Clone, Copy)]
struct Entry {
    start: usize,
    len: usize,
    score: f64,
}

impl Entry {
    fn member(self, members: &[u8]) -> &[u8] {
        members.get(self.start..self.start + self.len).unwrap_or_default()
    }
}

impl Builder {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Builder::default()
    }

    /// How many elements there are.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.entries.len() as u64
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Adds a member that is not there. Callers who cannot know use [`Builder::merge`].
    pub fn push(&mut self, member: &[u8], score: f64) {
        self.longest = self.longest.max(member.len());
        self.entries.push(Entry { start: self.members.len(), len: member.len(), score });
        self.members.extend_from_slice(member);
    }

    /// Adds a member, or changes its score to what `combine` makes of the old one and this. All
    /// elements of the builder must have come this way.
    pub fn merge(&mut self, member: &[u8], score: f64, combine: impl FnOnce(f64, f64) -> f64) {
        let hash = self.keys.hash_one(member);
        let Builder { members, entries, index, .. } = self;
        let found = index
            .find(hash, |slot| slot.hash == hash && entries[slot.at].member(members) == member)
            .and_then(|slot| entries.get_mut(slot.at));
        if let Some(entry) = found {
            entry.score = combine(entry.score, score);
            return;
        }
        self.push(member, score);
        let at = self.entries.len() - 1;
        self.index.insert_unique(hash, Slot { hash, at }, |slot| slot.hash);
    }

    /// The value: packed if it is within the limits.
    #[must_use]
    pub fn finish(mut self, limits: &Limits) -> ZSetValue {
        let members = &self.members[..];
        self.entries.sort_unstable_by(|a, b| {
            let scores = order_key(a.score).cmp(&order_key(b.score));
            scores.then_with(|| a.member(members).cmp(b.member(members)))
        });
        let is_small = self.len() <= limits.entries
            && self.longest <= limits.member_bytes
            && members.len() <= PACKED_BYTES_MAX;
        let form = if is_small {
            let elements =
                self.entries.iter().map(|entry| small::element(entry.score, entry.member(members)));
            Form::Small(elements.collect::<Packed>())
        } else {
            let elements = self.entries.iter().map(|entry| (order_key(entry.score), entry.member(members)));
            Form::Large(Box::new(Large::from_sorted(elements).expect("no member was pushed twice")))
        };
        ZSetValue { form }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// XXH3 multiplies words of its input with a secret that is public: where a word equals that of the secret
    /// the next one does not matter. 200,000 such members kept a union busy for a minute.
    #[test]
    fn members_made_to_collide_do_not() {
        const SECRET_WORD: [u8; 8] = [0xb8, 0xfe, 0x6c, 0x39, 0x23, 0xa4, 0x4b, 0xbe];
        let members: Vec<[u8; 32]> = (0..1000u64)
            .map(|n| {
                let mut member = [0; 32];
                member[..8].copy_from_slice(&SECRET_WORD);
                member[8..16].copy_from_slice(&n.to_le_bytes());
                member
            })
            .collect();
        let plain: HashSet<u64> = members.iter().map(|member| xxhash_rust::xxh3::xxh3_64(member)).collect();
        assert_eq!(plain.len(), 1, "they were made to collide");
        let mut builder = Builder::new();
        members.iter().for_each(|member| builder.merge(member, 1.0, |a, b| a + b));
        members.iter().for_each(|member| builder.merge(member, 2.0, |a, b| a + b));
        let hashes: HashSet<u64> = builder.index.iter().map(|slot| slot.hash).collect();
        assert_eq!((builder.len(), hashes.len()), (1000, 1000));
        assert!(builder.entries.iter().all(|entry| entry.score == 3.0));
    }
}
