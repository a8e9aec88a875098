//! A large hash: a tree of fields in the order of their names' hashes, and an index of the deadlines.
//!
//! ```text
//! element   hash of the name (4 bytes, big endian) | name | deadline (varint, 0: none) | value bytes
//! ```
//!
//! The name is length-prefixed, the value ends with the element. The hash is the upper half of
//! `xxh3_64` with [`HASH_SEED`]; elements are ordered by the bytes of hash and name. Order by hash gives
//! HSCAN a cursor that stays right whatever is added and removed; nothing depends on hashes being
//! different, equal ones are just neighbours. Hashes and order are stored: they never change.
//!
//! The index counts, per (deadline, hash), the fields that expire then: 20 bytes per field with a
//! deadline, and O(log n) to find what is due. It is not stored but made again when a hash is loaded.
//! Counting what is due looks at what is due or at what is not, whichever is less; whether more than n
//! fields are visible is known after looking at n.

use std::cmp::Ordering;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashSet};
use std::ops::Bound;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::Field;
use super::packed::{varint_len, write_varint};
use crate::codec::{DecodeError, Reader, put_varint};
use crate::ids::ExpireAt;
use crate::value::tree::{self, Layout, Place, Tree};

/// Seed of the hash that orders fields. Stored elements depend on it: it never changes.
pub(super) const HASH_SEED: u64 = 0x4c75_7848_6173_6831;

/// Elements up to this length are put together on the stack.
const STACK_BYTES: usize = 256;

/// Rough size of one deadline in the index, with its share of the map's nodes.
const DEADLINE_BYTES: usize = 32;

/// The order of a hash's elements.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct FieldOrder;

impl Layout for FieldOrder {
    fn prefix(element: &[u8]) -> u64 {
        u64::from(hash_in(element)) << 32
    }

    fn compare(a: &[u8], b: &[u8]) -> Ordering {
        // A name begins with its length: no key is the beginning of another one.
        key_of(a).cmp(key_of(b))
    }
}

/// The hash of a name.
pub(super) fn hash_of(name: &[u8]) -> u32 {
    (xxh3_64_with_seed(name, HASH_SEED) >> 32) as u32
}

/// The hash in an element.
fn hash_in(element: &[u8]) -> u32 {
    element.first_chunk().map_or(0, |hash| u32::from_be_bytes(*hash))
}

/// The part of an element that orders it.
fn key_of(element: &[u8]) -> &[u8] {
    let mut reader = Reader::new(element);
    let key = reader.take(4).and_then(|_| reader.bytes());
    if key.is_ok() { &element[..reader.position()] } else { element }
}

/// The field in an element, if it is one.
pub(super) fn read_element(element: &[u8]) -> Result<Field<'_>, DecodeError> {
    let mut reader = Reader::new(element);
    reader.take(4)?;
    let name = reader.bytes()?;
    let deadline = reader.varint()?;
    let deadline = (deadline != 0).then_some(ExpireAt(deadline));
    Ok(Field { name, value: reader.rest(), deadline })
}

/// Builds the element of a field and hands it on.
fn with_element<T>(hash: u32, field: &Field<'_>, run: impl FnOnce(&[u8]) -> T) -> T {
    let deadline = field.deadline.map_or(0, |at| at.0);
    let len =
        4 + varint_len(field.name.len() as u64) + field.name.len() + varint_len(deadline) + field.value.len();
    if len > STACK_BYTES {
        let mut element = Vec::with_capacity(len);
        put_element(&mut element, hash, field);
        return run(&element);
    }
    let mut stack = [0; STACK_BYTES];
    stack[..4].copy_from_slice(&hash.to_be_bytes());
    let mut at = 4 + write_varint(&mut stack[4..], field.name.len() as u64);
    stack[at..at + field.name.len()].copy_from_slice(field.name);
    at += field.name.len();
    at += write_varint(&mut stack[at..], deadline);
    stack[at..len].copy_from_slice(field.value);
    run(&stack[..len])
}

/// Appends the element of a field.
fn put_element(out: &mut Vec<u8>, hash: u32, field: &Field<'_>) {
    out.extend_from_slice(&hash.to_be_bytes());
    put_varint(out, field.name.len() as u64);
    out.extend_from_slice(field.name);
    put_varint(out, field.deadline.map_or(0, |at| at.0));
    out.extend_from_slice(field.value);
}

/// How many fields expire when, by (deadline, hash of the name).
#[derive(Clone, Debug, Default, PartialEq)]
struct Deadlines {
    counts: BTreeMap<(u64, u32), u32>,
    /// The sum of all counts.
    total: u64,
}

impl Deadlines {
    fn add(&mut self, deadline: Option<ExpireAt>, hash: u32) {
        if let Some(at) = deadline {
            *self.counts.entry((at.0, hash)).or_insert(0) += 1;
            self.total += 1;
        }
    }

    fn remove(&mut self, deadline: Option<ExpireAt>, hash: u32) {
        let Some(at) = deadline else { return };
        if let Entry::Occupied(mut entry) = self.counts.entry((at.0, hash)) {
            self.total -= 1;
            *entry.get_mut() -= 1;
            if *entry.get() == 0 {
                entry.remove();
            }
        }
    }

    /// (hash, how many fields) of what is due, the earliest first.
    fn due(&self, now_ms: u64) -> impl Iterator<Item = (u32, u64)> {
        let due = self.counts.range(..=(now_ms, u32::MAX));
        due.inspect(|_| note_look()).map(|((_, hash), count)| (*hash, u64::from(*count)))
    }

    /// How many fields expire at each of the times that are not yet due.
    fn later(&self, now_ms: u64) -> impl Iterator<Item = u64> {
        let later = self.counts.range((Bound::Excluded((now_ms, u32::MAX)), Bound::Unbounded));
        later.inspect(|_| note_look()).map(|(_, count)| u64::from(*count))
    }

    fn due_count(&self, now_ms: u64) -> u64 {
        let (mut due, mut later) = (self.due(now_ms), self.later(now_ms));
        let (mut due_sum, mut later_sum) = (0, 0);
        loop {
            match due.next() {
                Some((_, count)) => due_sum += count,
                None => return due_sum,
            }
            match later.next() {
                Some(count) => later_sum += count,
                None => return self.total - later_sum,
            }
        }
    }

    /// The hashes of what is due, each once: names can be made to share one.
    fn due_hashes(&self, now_ms: u64) -> impl Iterator<Item = u32> {
        let mut seen = HashSet::new();
        self.due(now_ms).map(|(hash, _)| hash).filter(move |hash| seen.insert(*hash))
    }
}

/// For tests: an entry of the index of deadlines is looked at.
fn note_look() {
    #[cfg(test)]
    tests::LOOKS.with(|looks| looks.set(looks.get() + 1));
}

/// A large hash.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Large {
    pub(super) tree: Tree<FieldOrder>,
    deadlines: Deadlines,
    /// While it is being loaded: how many fields there will be.
    awaited: u64,
}

impl Large {
    /// One of these fields, whose names differ.
    pub(super) fn of<'a>(fields: impl Iterator<Item = Field<'a>>) -> Self {
        let mut sorted: Vec<(u32, Field<'a>)> = fields.map(|field| (hash_of(field.name), field)).collect();
        sorted.sort_unstable_by(|a, b| a.0.cmp(&b.0).then_with(|| compare_names(a.1.name, b.1.name)));
        let mut deadlines = Deadlines::default();
        for (hash, field) in &sorted {
            deadlines.add(field.deadline, *hash);
        }
        let elements = sorted.iter().map(|(hash, field)| {
            let mut element = Vec::new();
            put_element(&mut element, *hash, field);
            element
        });
        Large { tree: Tree::from_sorted(elements), deadlines, awaited: 0 }
    }

    /// Whether the second name belongs behind the first one.
    pub(super) fn is_in_order(hash: u32, name: &[u8], next_hash: u32, next_name: &[u8]) -> bool {
        hash < next_hash || hash == next_hash && compare_names(name, next_name) == Ordering::Less
    }

    /// One that is going to be loaded.
    pub(super) fn awaiting(awaited: u64) -> Self {
        Large { tree: Tree::new(), deadlines: Deadlines::default(), awaited }
    }

    /// Ends the loading: every element is checked, and the index of deadlines is made.
    pub(super) fn complete(&mut self) -> Result<(), DecodeError> {
        if self.tree.len() != std::mem::take(&mut self.awaited) {
            return Err(DecodeError { what: "a hash has a wrong number of fields", at: 0 });
        }
        for element in self.tree.iter() {
            let field = read_element(element)?;
            let hash = hash_of(field.name);
            let key_len = 4 + varint_len(field.name.len() as u64) + field.name.len();
            // Each field has one form: numbers are as short as can be.
            let deadline_len = varint_len(field.deadline.map_or(0, |at| at.0));
            let len = key_len + deadline_len + field.value.len();
            if hash_in(element) != hash || key_of(element).len() != key_len || element.len() != len {
                return Err(DecodeError { what: "a field of a hash is in a wrong place", at: 0 });
            }
            self.deadlines.add(field.deadline, hash);
        }
        Ok(())
    }

    /// Bytes on the heap.
    pub(super) fn heap_bytes(&self) -> usize {
        size_of::<Self>() + self.tree.heap_bytes() + self.deadlines.counts.len() * DEADLINE_BYTES
    }

    /// The earliest deadline of any field.
    pub(super) fn next_deadline(&self) -> Option<ExpireAt> {
        self.deadlines.counts.first_key_value().map(|((at, _), _)| ExpireAt(*at))
    }

    /// How many fields are past their deadline.
    pub(super) fn due_count(&self, now_ms: u64) -> u64 {
        self.deadlines.due_count(now_ms)
    }

    /// Whether more than `max` fields are visible; looks at no more of them than that.
    pub(super) fn has_more_live_than(&self, max: u64, now_ms: u64) -> bool {
        let forever = self.tree.len() - self.deadlines.total;
        let mut left = max.checked_sub(forever);
        for count in self.deadlines.later(now_ms) {
            let Some(max) = left else { break };
            left = max.checked_sub(count);
        }
        left.is_none()
    }

    fn find(&self, hash: u32, name: &[u8]) -> Result<Place, Place> {
        let mut head = [0; 14];
        head[..4].copy_from_slice(&hash.to_be_bytes());
        let end = 4 + write_varint(&mut head[4..], name.len() as u64);
        let head = &head[..end];
        self.tree.find(u64::from(hash) << 32, |element| {
            let (theirs, rest) = element.split_at_checked(head.len()).unwrap_or((element, &[]));
            theirs.cmp(head).then_with(|| rest.get(..name.len()).unwrap_or(rest).cmp(name))
        })
    }

    /// The first place of a hash or of what follows it.
    fn first_of(&self, hash: u32) -> Place {
        let wanted = hash.to_be_bytes();
        let order =
            |element: &[u8]| element.get(..4).unwrap_or(element).cmp(&wanted[..]).then(Ordering::Greater);
        match self.tree.find(u64::from(hash) << 32, order) {
            Ok(place) | Err(place) => place,
        }
    }

    fn field_at(&self, place: Place) -> Option<Field<'_>> {
        read_element(self.tree.get(place)?).ok()
    }

    /// A field by its name.
    pub(super) fn get(&self, name: &[u8]) -> Option<Field<'_>> {
        self.field_at(self.find(hash_of(name), name).ok()?)
    }

    /// A field by its rank in the tree's order.
    pub(super) fn at_rank(&self, rank: u64) -> Option<Field<'_>> {
        self.field_at(self.tree.place_at(rank)?)
    }

    /// All fields in the tree's order.
    pub(super) fn fields(&self) -> Fields<'_> {
        Fields(self.tree.iter())
    }

    /// Adds a field or replaces the one of its name.
    pub(super) fn set(&mut self, field: Field<'_>) {
        let hash = hash_of(field.name);
        match self.find(hash, field.name) {
            Ok(place) => {
                let old = self.field_at(place).and_then(|old| old.deadline);
                if old != field.deadline {
                    self.deadlines.remove(old, hash);
                    self.deadlines.add(field.deadline, hash);
                }
                with_element(hash, &field, |element| self.tree.replace(place, element));
            }
            Err(place) => {
                self.deadlines.add(field.deadline, hash);
                with_element(hash, &field, |element| self.tree.insert(place, element));
            }
        }
    }

    /// Removes a field; whether it was there.
    pub(super) fn remove(&mut self, name: &[u8]) -> bool {
        let hash = hash_of(name);
        let Ok(place) = self.find(hash, name) else { return false };
        let deadline = self.field_at(place).and_then(|field| field.deadline);
        self.deadlines.remove(deadline, hash);
        self.tree.remove(place);
        true
    }

    /// Gives a field another deadline or none; whether the field is there.
    pub(super) fn set_deadline(&mut self, name: &[u8], deadline: Option<ExpireAt>) -> bool {
        let Some(field) = self.get(name) else { return false };
        if field.deadline != deadline {
            let value = field.value.to_vec();
            self.set(Field { name, value: &value, deadline });
        }
        true
    }

    /// Hands out fields past their deadline until `visit` returns false. The hash of the one that is due
    /// first comes first, but names that share a hash come together: each of them is looked at once.
    pub(super) fn each_due<'a>(&'a self, now_ms: u64, mut visit: impl FnMut(u64, Field<'a>) -> bool) {
        for hash in self.deadlines.due_hashes(now_ms) {
            let first = self.first_of(hash);
            let run = self.tree.iter_from(first).take_while(|element| hash_in(element) == hash);
            for (rank, element) in (self.tree.rank(first)..).zip(run) {
                let field = read_element(element).ok();
                let field = field.filter(|field| !field.is_live(now_ms));
                if field.is_some_and(|field| !visit(rank, field)) {
                    return;
                }
            }
        }
    }

    /// The ranks of the fields past their deadline, in ascending order.
    pub(super) fn due_ranks(&self, now_ms: u64) -> Vec<u64> {
        let mut ranks = Vec::new();
        self.each_due(now_ms, |rank, _| {
            ranks.push(rank);
            true
        });
        ranks.sort_unstable();
        ranks
    }

    /// Hands out the fields from hash `cursor` on, at least `count` if there are as many, and all of
    /// those of the last hash; returns the hash to go on with, 0 at the end.
    pub(super) fn scan<'a>(&'a self, cursor: u64, count: u64, mut visit: impl FnMut(Field<'a>)) -> u64 {
        let Ok(from) = u32::try_from(cursor) else { return 0 };
        let mut last = None;
        for (seen, element) in (0..).zip(self.tree.iter_from(self.first_of(from))) {
            let hash = hash_in(element);
            if seen >= count && last.is_some_and(|last| last != hash) {
                return u64::from(hash);
            }
            if let Ok(field) = read_element(element) {
                visit(field);
            }
            last = Some(hash);
        }
        0
    }
}

/// The order of two names with the same hash: that of their bytes with the length before them. Few are
/// ever compared.
fn compare_names(a: &[u8], b: &[u8]) -> Ordering {
    let key = |name: &[u8]| {
        let mut out = Vec::with_capacity(name.len() + 4);
        put_varint(&mut out, name.len() as u64);
        out.extend_from_slice(name);
        out
    };
    key(a).cmp(&key(b))
}

/// Walks the fields of a large hash.
#[derive(Clone)]
pub(super) struct Fields<'a>(tree::Iter<'a>);

impl<'a> Iterator for Fields<'a> {
    type Item = Field<'a>;

    #[inline]
    fn next(&mut self) -> Option<Field<'a>> {
        read_element(self.0.next()?).ok()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::value::hash::{Form, HashValue};

    thread_local! {
        /// Entries of indexes that were looked at.
        pub(super) static LOOKS: Cell<u64> = const { Cell::new(0) };
    }

    fn looks(of: impl FnOnce()) -> u64 {
        let before = LOOKS.get();
        of();
        LOOKS.get() - before
    }

    /// Each step of reaping a million fields, and each HDEL meanwhile, counted all that were due: hundreds of
    /// millions of steps under the shard's lock.
    #[test]
    fn taking_some_of_many_due_fields_looks_at_few() {
        let names: Vec<String> = (0..20_000).map(|n| n.to_string()).collect();
        let field = |at, name| Field { name, value: b"", deadline: Some(ExpireAt(at)) };
        // Half is due, half is not.
        let fields = (0..).zip(&names).map(|(n, name)| field(100 * (n % 2) + 1, name.as_bytes()));
        let hash = HashValue(Form::Large(Box::new(Large::of(fields))));
        let mut edit = Vec::new();
        let reaped = looks(|| {
            let changes = hash.plan_reap(50, 500, &mut edit);
            assert_eq!((changes.removed, changes.is_over), (500, false));
        });
        assert!(reaped < 1000, "{reaped}");
        let removed = looks(|| {
            let changes = hash.plan_remove(std::iter::once(names[1].as_bytes()), 50, &mut edit);
            assert_eq!((changes.removed, changes.is_over), (1, false));
        });
        assert!(removed < 10, "{removed}");
        assert!(looks(|| assert_eq!(hash.live_len(101), 0)) < 10);
        assert!(looks(|| assert_eq!(hash.live_len(50), 10_000)) <= 20_000);
        assert!(looks(|| assert!(hash.plan_reap(101, 500, &mut edit).is_over)) < 1000);
    }

    /// Found by fuzzing: the deadline was read from more bytes than it needs, and written in fewer.
    #[test]
    fn a_field_in_a_longer_form_is_refused() {
        let load = |deadline: &[u8]| {
            let element = [&hash_of(b"f").to_be_bytes()[..], b"\x01f", deadline, b"value"].concat();
            let mut large = Large { tree: Tree::from_sorted(std::iter::once(element)), ..Large::awaiting(1) };
            large.complete().map(|()| large.next_deadline())
        };
        assert_eq!(load(b"\x07"), Ok(Some(ExpireAt(7))));
        assert!(load(b"\x87\x00").is_err());
        assert_eq!(load(b"\x00"), Ok(None));
        assert!(load(b"\x80\x00").is_err());
    }

    #[test]
    fn visible_fields_are_counted_as_far_as_need_be() {
        let name = |n: u64| n.to_string().into_bytes();
        let names: Vec<Vec<u8>> = (0..60).map(name).collect();
        let deadline = |n: u64| (!n.is_multiple_of(3)).then_some(ExpireAt(1 + n / 4));
        let fields = (0..).zip(&names).map(|(n, name)| Field { name, value: b"", deadline: deadline(n) });
        let large = Large::of(fields);
        for now_ms in 0..20 {
            let live = (0..60).filter(|n| !deadline(*n).is_some_and(|at| at.is_past(now_ms))).count() as u64;
            assert_eq!(large.tree.len() - large.due_count(now_ms), live, "at {now_ms}");
            for max in 0..62 {
                assert_eq!(large.has_more_live_than(max, now_ms), live > max, "{max} at {now_ms}");
            }
        }
    }

    /// Names of one hash, each with another deadline, were walked through once for each of them: what reads or
    /// reaps the hash took quadratic time, under a lock.
    #[test]
    fn names_that_share_a_hash_are_walked_through_once() {
        /// The first word of XXH3's public secret, with the seed: the word that follows it does not matter.
        const SECRET_WORD: u64 = 0xbe4b_a423_396c_feb8_u64.wrapping_add(HASH_SEED);
        let names: Vec<[u8; 32]> = (0..1000u64)
            .map(|n| {
                let mut name = [0; 32];
                name[..8].copy_from_slice(&SECRET_WORD.to_le_bytes());
                name[8..16].copy_from_slice(&n.to_le_bytes());
                name
            })
            .collect();
        let fields =
            (1..).zip(&names).map(|(at, name)| Field { name, value: b"", deadline: Some(ExpireAt(at)) });
        let large = Large::of(fields);
        assert_eq!(large.deadlines.counts.len(), 1000);
        assert_eq!(large.deadlines.due_hashes(500).count(), 1, "they were made to collide");
        let mut due: Vec<u64> = Vec::new();
        large.each_due(500, |_, field| {
            due.extend(field.deadline.map(|at| at.0));
            true
        });
        due.sort_unstable();
        assert_eq!(due, (1..=500).collect::<Vec<_>>());
        assert_eq!(large.due_ranks(500).len(), 500);
        assert_eq!((large.due_count(500), large.due_count(2000)), (500, 1000));
    }
}
