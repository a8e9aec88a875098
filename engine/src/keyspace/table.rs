//! The hot table of one database in one shard: a hash table that can be walked in bucket order.
//!
//! Entries are spread over pages; a page holds all entries of a contiguous range of buckets in
//! a small hash table. A page that fills up is split at the median of its buckets, so that
//! skew (all keys in one cluster slot) costs nothing. The page of a bucket is found through an
//! array of hints indexed by the bucket's top bits, then a search among the few pages that
//! start there. Walking a range of buckets touches only the pages of that range.
//!
//! Each page counts its dirty entries: write-back skips clean pages.

use hashbrown::HashTable;

use super::entry::{Entry, flag};
use super::hash::{KeyHash, KeyHasher};

/// A page with more entries than this is split (7/8 of 256 slots).
const SPLIT_LEN: usize = 224;
/// Two neighbours that together have at most this many entries become one page.
const MERGE_LEN: usize = 80;

/// Entries by key, ordered in pages by bucket.
pub struct PageTable {
    hasher: KeyHasher,
    /// First bucket of each page; `starts[0] == 0`, strictly increasing.
    starts: Vec<u32>,
    pages: Vec<Page>,
    /// `hints[i]`: the page that holds bucket `i << shift`.
    hints: Vec<u32>,
    shift: u32,
    len: usize,
}

#[derive(Default)]
struct Page {
    entries: HashTable<Entry>,
    /// Entries with the DIRTY flag.
    dirty: u32,
    /// Do not try to split below this length: all entries share one bucket.
    split_at: u32,
}

/// How far a sweep came.
#[derive(Debug)]
pub struct Swept {
    /// The entry that was taken; the sweep ends with it.
    pub taken: Option<Entry>,
    /// Entries looked at.
    pub visited: usize,
    /// Slot to go on from; `None` at the page's end.
    pub next: Option<usize>,
}

/// Where an entry is, valid until the table changes its set of entries.
#[derive(Clone, Copy, Debug)]
pub struct PageIndex(u32);

impl PageTable {
    /// An empty table.
    #[must_use]
    pub fn new(hasher: KeyHasher) -> Self {
        PageTable {
            hasher,
            starts: vec![0],
            pages: vec![Page { split_at: SPLIT_LEN as u32, ..Page::default() }],
            hints: vec![0],
            shift: 32,
            len: 0,
        }
    }

    /// Number of entries of any kind.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no entries.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Number of pages.
    #[must_use]
    pub fn pages(&self) -> usize {
        self.pages.len()
    }

    #[inline]
    fn page_of(&self, bucket: u32) -> usize {
        let slot = if self.shift == 32 { 0 } else { (bucket >> self.shift) as usize };
        let mut at = self.hints[slot] as usize;
        let end = self.hints.get(slot + 1).map_or(self.pages.len() - 1, |next| *next as usize);
        if end - at > 8 {
            return at + self.starts[at + 1..=end].partition_point(|start| *start <= bucket);
        }
        while at < end && self.starts[at + 1] <= bucket {
            at += 1;
        }
        at
    }

    /// Finds an entry of any kind.
    #[inline]
    #[must_use]
    pub fn find(&self, hash: KeyHash, key: &[u8]) -> Option<&Entry> {
        let page = &self.pages[self.page_of(hash.bucket)];
        page.entries.find(hash.table, |entry| entry.key() == key)
    }

    /// Finds an entry of any kind to change it. A change of its DIRTY flag goes through
    /// [`PageTable::update`].
    #[inline]
    pub fn find_mut(&mut self, hash: KeyHash, key: &[u8]) -> Option<&mut Entry> {
        let page = self.page_of(hash.bucket);
        self.pages[page].entries.find_mut(hash.table, |entry| entry.key() == key)
    }

    /// Changes an entry and keeps the page's count of dirty entries right.
    #[inline]
    pub fn update<R>(
        &mut self,
        hash: KeyHash,
        key: &[u8],
        change: impl FnOnce(&mut Entry) -> R,
    ) -> Option<R> {
        let page = self.page_of(hash.bucket);
        let page = &mut self.pages[page];
        let entry = page.entries.find_mut(hash.table, |entry| entry.key() == key)?;
        let before = entry.has(flag::DIRTY);
        let result = change(entry);
        page.dirty = page.dirty + u32::from(entry.has(flag::DIRTY)) - u32::from(before);
        Some(result)
    }

    /// Inserts an entry or replaces the one with the same key, which is returned.
    pub fn insert(&mut self, hash: KeyHash, entry: Entry) -> Option<Entry> {
        let at = self.page_of(hash.bucket);
        let hasher = self.hasher;
        let page = &mut self.pages[at];
        page.dirty += u32::from(entry.has(flag::DIRTY));
        if let Some(old) = page.entries.find_mut(hash.table, |old| old.key() == entry.key()) {
            page.dirty -= u32::from(old.has(flag::DIRTY));
            return Some(std::mem::replace(old, entry));
        }
        page.entries.insert_unique(hash.table, entry, |e| hasher.hash(e.key()).table);
        self.len += 1;
        if page.entries.len() > page.split_at as usize {
            self.split(at);
        }
        None
    }

    /// Removes an entry.
    pub fn remove(&mut self, hash: KeyHash, key: &[u8]) -> Option<Entry> {
        let at = self.page_of(hash.bucket);
        let page = &mut self.pages[at];
        let Ok(slot) = page.entries.find_entry(hash.table, |entry| entry.key() == key) else { return None };
        let (entry, _) = slot.remove();
        page.dirty -= u32::from(entry.has(flag::DIRTY));
        self.len -= 1;
        self.merge(at);
        Some(entry)
    }

    fn split(&mut self, at: usize) {
        let hasher = self.hasher;
        let page = &mut self.pages[at];
        let mut buckets: Vec<u32> = page.entries.iter().map(|e| hasher.hash(e.key()).bucket).collect();
        buckets.sort_unstable();
        let middle = buckets[buckets.len() / 2];
        // The boundary must leave entries on both sides.
        let boundary = if buckets[0] < middle {
            middle
        } else {
            match buckets.iter().find(|b| **b > middle) {
                Some(next) => *next,
                None => {
                    page.split_at = page.split_at.saturating_mul(2);
                    return;
                }
            }
        };
        let mut right = Page { split_at: SPLIT_LEN as u32, ..Page::default() };
        let moved = buckets.len() - buckets.partition_point(|b| *b < boundary);
        right.entries.reserve(moved, |e: &Entry| hasher.hash(e.key()).table);
        for entry in page.entries.extract_if(|e| hasher.hash(e.key()).bucket >= boundary) {
            right.dirty += u32::from(entry.has(flag::DIRTY));
            let table = hasher.hash(entry.key()).table;
            right.entries.insert_unique(table, entry, |e| hasher.hash(e.key()).table);
        }
        page.dirty -= right.dirty;
        page.split_at = SPLIT_LEN as u32;
        page.entries.shrink_to(0, |e| hasher.hash(e.key()).table);
        self.starts.insert(at + 1, boundary);
        self.pages.insert(at + 1, right);
        self.rebuild_hints();
    }

    fn merge(&mut self, at: usize) {
        let len = self.pages[at].entries.len();
        if self.pages.len() == 1 || len > MERGE_LEN / 4 {
            return;
        }
        // Into the left neighbour if there is one: the left page keeps its start.
        let left = at.saturating_sub(1);
        if self.pages[left].entries.len() + self.pages[left + 1].entries.len() > MERGE_LEN {
            return;
        }
        let hasher = self.hasher;
        let mut right = self.pages.remove(left + 1);
        self.starts.remove(left + 1);
        let page = &mut self.pages[left];
        page.dirty += right.dirty;
        for entry in right.entries.drain() {
            let table = hasher.hash(entry.key()).table;
            page.entries.insert_unique(table, entry, |e| hasher.hash(e.key()).table);
        }
        page.entries.shrink_to(0, |e| hasher.hash(e.key()).table);
        self.rebuild_hints();
    }

    /// Recomputes the hints: about one per page.
    fn rebuild_hints(&mut self) {
        let bits = usize::BITS - (self.pages.len() - 1).leading_zeros();
        self.shift = 32 - bits;
        self.hints.clear();
        let mut page = 0;
        for i in 0..1u64 << bits {
            let bucket = if self.shift == 32 { 0 } else { (i << self.shift) as u32 };
            while page + 1 < self.starts.len() && self.starts[page + 1] <= bucket {
                page += 1;
            }
            self.hints.push(page as u32);
        }
    }

    /// Calls `visit` for each entry whose bucket lies in `[from, to]`, page by page in order. It returns
    /// the last bucket that it still wants to see.
    pub fn for_range(&self, from: u32, mut to: u32, mut visit: impl FnMut(u32, &Entry) -> u32) {
        for at in self.page_of(from)..self.pages.len() {
            if self.starts[at] > to {
                break;
            }
            for entry in &self.pages[at].entries {
                let bucket = self.hasher.hash(entry.key()).bucket;
                if (from..=to).contains(&bucket) {
                    to = to.min(visit(bucket, entry));
                }
            }
        }
    }

    /// The page that holds a bucket.
    #[must_use]
    pub fn page_at(&self, bucket: u32) -> PageIndex {
        PageIndex(self.page_of(bucket) as u32)
    }

    /// First bucket of the page behind the given one; `None` after the last.
    #[must_use]
    pub fn next_start(&self, page: PageIndex) -> Option<u32> {
        self.starts.get(page.0 as usize + 1).copied()
    }

    /// Whether a page has dirty entries.
    #[must_use]
    pub fn has_dirty(&self, page: PageIndex) -> bool {
        self.pages[page.0 as usize].dirty > 0
    }

    /// Visits the entries of one page.
    pub fn for_page(&self, page: PageIndex, visit: impl FnMut(&Entry)) {
        self.pages[page.0 as usize].entries.iter().for_each(visit);
    }

    /// Visits the entries of one page to change them; the page's count of dirty entries is
    /// kept right. The visitor must not change keys or lengths.
    pub fn for_page_mut(&mut self, page: PageIndex, mut visit: impl FnMut(&mut Entry)) {
        let page = &mut self.pages[page.0 as usize];
        for entry in &mut page.entries {
            let before = entry.has(flag::DIRTY);
            visit(entry);
            page.dirty = page.dirty + u32::from(entry.has(flag::DIRTY)) - u32::from(before);
        }
    }

    /// Removes the entries of one page that `take` picks and hands them to `each`.
    pub fn extract(
        &mut self,
        page: PageIndex,
        mut take: impl FnMut(&mut Entry) -> bool,
        mut each: impl FnMut(Entry),
    ) {
        let at = page.0 as usize;
        let page = &mut self.pages[at];
        let mut removed = 0;
        for entry in page.entries.extract_if(|e| take(e)) {
            page.dirty -= u32::from(entry.has(flag::DIRTY));
            removed += 1;
            each(entry);
        }
        self.len -= removed;
        if removed > 0 {
            self.merge(at);
        }
    }

    /// Walks the slots of a page from `slot` on, until `take` picks an entry or `limit` were looked
    /// at. A page with nothing but dirty entries is passed over.
    pub fn sweep(
        &mut self,
        page: PageIndex,
        slot: usize,
        limit: usize,
        mut take: impl FnMut(&mut Entry) -> bool,
    ) -> Swept {
        let at = page.0 as usize;
        let page = &mut self.pages[at];
        let mut visited = 0;
        if page.dirty as usize == page.entries.len() {
            return Swept { taken: None, visited: 1, next: None };
        }
        for slot in slot..page.entries.num_buckets() {
            if visited == limit {
                return Swept { taken: None, visited, next: Some(slot) };
            }
            let Ok(mut occupied) = page.entries.get_bucket_entry(slot) else { continue };
            visited += 1;
            if take(occupied.get_mut()) {
                let (entry, _) = occupied.remove();
                page.dirty -= u32::from(entry.has(flag::DIRTY));
                self.len -= 1;
                self.merge(at);
                return Swept { taken: Some(entry), visited, next: Some(slot + 1) };
            }
        }
        Swept { taken: None, visited: visited.max(1), next: None }
    }

    /// A random entry by page and position, for sampling; `random` are uniform bits.
    /// Pages are picked uniformly, so keys of fuller pages are a little less likely.
    #[must_use]
    pub fn sample(&self, random: u64) -> Option<&Entry> {
        if self.len == 0 {
            return None;
        }
        let mut at = (random >> 32) as usize % self.pages.len();
        for _ in 0..self.pages.len() {
            let page = &self.pages[at];
            if !page.entries.is_empty() {
                let skip = (random as u32) as usize % page.entries.len();
                return page.entries.iter().nth(skip);
            }
            at = (at + 1) % self.pages.len();
        }
        None
    }

    /// An entry by chance, each as likely as the others; often none. `random` returns a number below its
    /// argument.
    #[must_use]
    pub fn pick(&self, random: &mut impl FnMut(u64) -> u64) -> Option<&Entry> {
        let page = self.pages.get(random(self.pages.len() as u64) as usize)?;
        // As if all pages were full, or the fuller ones would be looked at too rarely.
        let full = if self.pages.len() == 1 { 1 } else { SPLIT_LEN };
        page.entries.iter().nth(random(page.entries.len().max(full) as u64) as usize)
    }

    /// Visits every entry.
    pub fn for_each(&self, mut visit: impl FnMut(&Entry)) {
        for page in &self.pages {
            page.entries.iter().for_each(&mut visit);
        }
    }

    /// Checks the structure; for tests.
    #[cfg(test)]
    fn check(&self) {
        assert_eq!(self.starts.len(), self.pages.len());
        assert!(self.starts.is_sorted_by(|a, b| a < b) && self.starts[0] == 0);
        let mut len = 0;
        for (at, page) in self.pages.iter().enumerate() {
            let end = self.starts.get(at + 1).map_or(u64::from(u32::MAX) + 1, |s| u64::from(*s));
            let dirty = page.entries.iter().filter(|e| e.has(flag::DIRTY)).count();
            assert_eq!(dirty, page.dirty as usize);
            for entry in &page.entries {
                let bucket = self.hasher.hash(entry.key()).bucket;
                assert!(self.starts[at] <= bucket && u64::from(bucket) < end);
                assert_eq!(self.page_of(bucket), at);
            }
            len += page.entries.len();
        }
        assert_eq!(len, self.len);
    }
}

#[cfg(test)]
mod tests {
    use super::super::entry::Body;
    use super::*;
    use std::collections::BTreeMap;

    fn entry(key: &[u8], value: i64) -> Entry {
        let mut e = Entry::new(key, None, None, Body::Int(value));
        if value % 3 == 0 {
            e.set(flag::DIRTY);
        }
        e
    }

    fn model_run(name_of: impl Fn(u64) -> String, keys: u64, steps: u64) {
        let hasher = KeyHasher::new(3);
        let mut table = PageTable::new(hasher);
        let mut model = BTreeMap::new();
        let mut random = 1u64;
        for step in 0..steps {
            random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let key = name_of((random >> 33) % keys).into_bytes();
            let hash = hasher.hash(&key);
            // Grow first, shrink later.
            if (random >> 20) % 8 < if step < steps / 2 { 6 } else { 2 } {
                let was = model.insert(key.clone(), step as i64);
                assert_eq!(table.insert(hash, entry(&key, step as i64)).is_some(), was.is_some());
            } else {
                assert_eq!(table.remove(hash, &key).is_some(), model.remove(&key).is_some());
            }
            if step % (steps / 8) == 0 {
                table.check();
            }
        }
        table.check();
        for (key, value) in &model {
            let found = table.find(hasher.hash(key), key).expect("in the model");
            assert!(matches!(found.body(), super::super::entry::BodyRef::Int(v) if v == *value));
        }
        let mut walked = Vec::new();
        for part in 0..16u32 {
            let from = part << 28;
            table.for_range(from, from + ((1 << 28) - 1), |bucket, e| {
                walked.push((bucket >> 28, e.key().to_vec()));
                u32::MAX
            });
        }
        assert!(walked.is_sorted_by_key(|(part, _)| *part));
        assert_eq!(walked.len(), model.len());
    }

    #[test]
    fn behaves_like_a_map_with_spread_keys() {
        let (keys, steps) = if cfg!(miri) { (300, 1500) } else { (20_000, 200_000) };
        model_run(|i| format!("key:{i}"), keys, steps);
    }

    #[test]
    fn one_cluster_slot_does_not_degrade() {
        let (keys, steps) = if cfg!(miri) { (300, 1500) } else { (20_000, 200_000) };
        model_run(|i| format!("{{tag}}{i}"), keys, steps);
    }
}
