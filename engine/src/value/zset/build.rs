//! Values made from scratch: results of STORE commands, of unions, and of decoded dumps.
//!
//! Members go into one arena; a hash table over it finds those that are there. O(n log n) in all, for
//! the sort at the end.

use hashbrown::HashTable;
use xxhash_rust::xxh3::xxh3_64;

use super::large::Large;
use super::score::order_key;
use super::{Form, Limits, PACKED_BYTES_MAX, ZSetValue, small};
use crate::value::packed::Packed;

/// Collects elements in any order.
#[derive(Default)]
pub struct Builder {
    members: Vec<u8>,
    entries: Vec<Entry>,
    index: HashTable<usize>,
    longest: usize,
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
        let Builder { members, entries, index, .. } = self;
        let found = index.find(xxh3_64(member), |at| entries[*at].member(members) == member);
        if let Some(at) = found {
            let entry = &mut entries[*at];
            entry.score = combine(entry.score, score);
            return;
        }
        self.push(member, score);
        let Builder { members, entries, index, .. } = self;
        let at = entries.len() - 1;
        index.insert_unique(xxh3_64(member), at, |at| xxh3_64(entries[*at].member(members)));
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
