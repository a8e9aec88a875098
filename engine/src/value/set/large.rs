//! A large set: a tree of members in the order of their hashes.
//!
//! ```text
//! element   hash of the member (4 bytes, big endian) | member
//! ```
//!
//! The hash is the upper half of `xxh3_64` with [`HASH_SEED`]; elements are ordered by their bytes.
//! Order by hash gives SSCAN a cursor that stays right whatever is added and removed, and lets two sets
//! be walked side by side. Nothing depends on hashes being different, equal ones are just neighbours.
//! Hashes and order are stored: they never change.

use std::cmp::Ordering;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::codec::DecodeError;
use crate::value::tree::{self, Layout, Place, Tree};

/// Seed of the hash that orders members. Stored elements depend on it: it never changes.
const HASH_SEED: u64 = 0x4c75_7853_6574_7331;

/// Elements up to this length are put together on the stack.
const STACK_BYTES: usize = 256;

/// The order of a set's elements.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct MemberOrder;

impl Layout for MemberOrder {
    fn prefix(element: &[u8]) -> u64 {
        let mut prefix = [0; 8];
        let len = element.len().min(8);
        prefix[..len].copy_from_slice(&element[..len]);
        u64::from_be_bytes(prefix)
    }

    fn compare(a: &[u8], b: &[u8]) -> Ordering {
        a.cmp(b)
    }
}

/// The hash of a member.
fn hash_of(member: &[u8]) -> u32 {
    (xxh3_64_with_seed(member, HASH_SEED) >> 32) as u32
}

/// The hash in an element.
fn hash_in(element: &[u8]) -> u32 {
    element.first_chunk().map_or(0, |hash| u32::from_be_bytes(*hash))
}

/// The member in an element.
#[inline]
fn member_in(element: &[u8]) -> &[u8] {
    element.get(4..).unwrap_or_default()
}

/// Builds the element of a member and hands it on.
fn with_element<T>(member: &[u8], run: impl FnOnce(&[u8]) -> T) -> T {
    let hash = hash_of(member).to_be_bytes();
    if member.len() + 4 > STACK_BYTES {
        return run(&[&hash, member].concat());
    }
    let mut stack = [0; STACK_BYTES];
    stack[..4].copy_from_slice(&hash);
    stack[4..4 + member.len()].copy_from_slice(member);
    run(&stack[..4 + member.len()])
}

/// A large set.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Large {
    pub(super) tree: Tree<MemberOrder>,
    /// While it is being loaded: how many members there will be.
    awaited: u64,
}

impl Large {
    /// One of these members, which differ.
    pub(super) fn of(members: impl Iterator<Item = impl AsRef<[u8]>>) -> Self {
        let mut elements: Vec<Vec<u8>> =
            members.map(|member| with_element(member.as_ref(), <[u8]>::to_vec)).collect();
        elements.sort_unstable();
        Large { tree: Tree::from_sorted(elements.iter()), awaited: 0 }
    }

    /// Removes all members.
    pub(super) fn clear(&mut self) {
        self.tree.remove_range(0, self.tree.len());
    }

    /// One that is going to be loaded.
    pub(super) fn awaiting(awaited: u64) -> Self {
        Large { tree: Tree::new(), awaited }
    }

    /// Ends the loading; every element is checked.
    pub(super) fn complete(&mut self) -> Result<(), DecodeError> {
        if self.tree.len() != std::mem::take(&mut self.awaited) {
            return Err(DecodeError { what: "a set has a wrong number of members", at: 0 });
        }
        let is_right = |element: &[u8]| element.len() >= 4 && hash_in(element) == hash_of(member_in(element));
        if self.tree.iter().all(is_right) {
            Ok(())
        } else {
            Err(DecodeError { what: "a member of a set is in a wrong place", at: 0 })
        }
    }

    /// Whether the second member belongs behind the first one.
    pub(super) fn is_in_order(member: &[u8], next: &[u8]) -> bool {
        (hash_of(member), member) < (hash_of(next), next)
    }

    /// Bytes on the heap.
    pub(super) fn heap_bytes(&self) -> usize {
        size_of::<Self>() + self.tree.heap_bytes()
    }

    fn find(&self, element: &[u8]) -> Result<Place, Place> {
        self.tree.find(MemberOrder::prefix(element), |other| other.cmp(element))
    }

    /// The first place of a hash or of what follows it.
    fn first_of(&self, hash: u32) -> Place {
        // Four bytes lie before every element that begins with them.
        match self.find(&hash.to_be_bytes()) {
            Ok(place) | Err(place) => place,
        }
    }

    /// Whether it is a member.
    pub(super) fn contains(&self, member: &[u8]) -> bool {
        with_element(member, |element| self.find(element).is_ok())
    }

    /// A member by its rank in the tree's order.
    pub(super) fn at_rank(&self, rank: u64) -> Option<&[u8]> {
        self.tree.get(self.tree.place_at(rank)?).map(member_in)
    }

    /// All members in the tree's order.
    pub(super) fn members(&self) -> Members<'_> {
        Members(self.tree.iter())
    }

    /// Adds a member; whether it was not there.
    pub(super) fn insert(&mut self, member: &[u8]) -> bool {
        with_element(member, |element| match self.find(element) {
            Ok(_) => false,
            Err(place) => {
                self.tree.insert(place, element);
                true
            }
        })
    }

    /// Removes a member; whether it was there.
    pub(super) fn remove(&mut self, member: &[u8]) -> bool {
        with_element(member, |element| match self.find(element) {
            Ok(place) => {
                self.tree.remove(place);
                true
            }
            Err(_) => false,
        })
    }

    /// Hands out the members from hash `cursor` on, at least `count` if there are as many, and all of
    /// those of the last hash; returns the hash to go on with, 0 at the end.
    pub(super) fn scan<'a>(&'a self, cursor: u64, count: u64, mut visit: impl FnMut(&'a [u8])) -> u64 {
        let Ok(from) = u32::try_from(cursor) else { return 0 };
        let mut last = None;
        for (seen, element) in (0..).zip(self.tree.iter_from(self.first_of(from))) {
            let hash = hash_in(element);
            if seen >= count && last.is_some_and(|last| last != hash) {
                return u64::from(hash);
            }
            visit(member_in(element));
            last = Some(hash);
        }
        0
    }
}

/// Walks the members of a large set.
#[derive(Clone)]
pub(super) struct Members<'a>(tree::Iter<'a>);

impl<'a> Iterator for Members<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        self.0.next().map(member_in)
    }
}

/// The members that two large sets have in common, in the tree's order. Both are walked once.
pub(super) fn common<'a>(a: &'a Large, b: &'a Large) -> impl Iterator<Item = &'a [u8]> {
    let mut theirs = b.tree.iter().peekable();
    a.tree.iter().filter_map(move |element| {
        while theirs.next_if(|other| *other < element).is_some() {}
        theirs.next_if(|other| *other == element).map(|_| member_in(element))
    })
}
