//! The large form: two trees over the same elements.
//!
//! | tree | element | order |
//! |---|---|---|
//! | by score | order key of the score (8 bytes BE), member | all its bytes |
//! | by member | hash of the member (4 bytes BE), member, order key of the score (8 bytes BE) | all but the last 8 bytes |
//!
//! The first gives order and ranks. The second finds a member, and is what ZSCAN walks: positions in it
//! do not depend on scores, so a scan misses no member whose score changes meanwhile. Members stand in
//! both, so neither needs the other for an answer.
//!
//! The hash is the upper half of XXH3 with [`HASH_SEED`]. It orders rows and must never change. Members
//! made to collide only make a longer run that is ordered by member.
//!
//! Every operation on one element is O(log n).

use std::cmp::Ordering;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::range::{LexBound, LexRange, ScoreRange};
use super::score::{self, from_order_key, order_key};
use crate::codec::DecodeError;
use crate::value::packed::Packed;
use crate::value::tree::{Layout, Place, Tree};

/// Seed of the members' hashes. Part of the format.
const HASH_SEED: u64 = 0x7a73_6574;
/// Bytes of an order key.
const KEY_BYTES: usize = 8;
/// Bytes of a hash.
const HASH_BYTES: usize = 4;

/// The order of the first tree.
pub(super) enum ByScore {}

/// The order of the second tree.
pub(super) enum ByMember {}

impl Layout for ByScore {
    #[inline]
    fn prefix(element: &[u8]) -> u64 {
        leading(element)
    }

    #[inline]
    fn compare(a: &[u8], b: &[u8]) -> Ordering {
        a.cmp(b)
    }
}

impl Layout for ByMember {
    #[inline]
    fn prefix(element: &[u8]) -> u64 {
        leading(ordered_part(element))
    }

    #[inline]
    fn compare(a: &[u8], b: &[u8]) -> Ordering {
        ordered_part(a).cmp(ordered_part(b))
    }
}

/// The first eight bytes as a number; missing ones are zeros.
#[inline]
fn leading(bytes: &[u8]) -> u64 {
    if let Some(first) = bytes.first_chunk() {
        return u64::from_be_bytes(*first);
    }
    let mut first = [0; 8];
    first.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    u64::from_be_bytes(first)
}

/// What the second tree orders by: all but the score.
#[inline]
fn ordered_part(element: &[u8]) -> &[u8] {
    element.get(..element.len().wrapping_sub(KEY_BYTES)).unwrap_or_default()
}

/// Order key and member of an element of the first tree.
#[inline]
pub(super) fn split_by_score(element: &[u8]) -> (u64, &[u8]) {
    (leading(element), element.get(KEY_BYTES..).unwrap_or_default())
}

/// Hash, member and order key of an element of the second tree.
#[inline]
pub(super) fn split_by_member(element: &[u8]) -> (u32, &[u8], u64) {
    let member = ordered_part(element).get(HASH_BYTES..).unwrap_or_default();
    let key = element.get(HASH_BYTES + member.len()..).unwrap_or_default();
    ((leading(element) >> 32) as u32, member, leading(key))
}

pub(super) fn hash(member: &[u8]) -> u32 {
    (xxh3_64_with_seed(member, HASH_SEED) >> 32) as u32
}

/// Bytes put together, on the stack if they are few.
struct Joined {
    short: [u8; Joined::SHORT],
    long: Vec<u8>,
    len: usize,
}

impl Joined {
    const SHORT: usize = 128;

    #[inline]
    fn new<const N: usize>(parts: [&[u8]; N]) -> Joined {
        let len = parts.iter().map(|part| part.len()).sum();
        let mut joined = Joined { short: [0; Joined::SHORT], long: Vec::new(), len };
        if len > Joined::SHORT {
            joined.long = parts.concat();
            return joined;
        }
        let mut at = 0;
        for part in parts {
            joined.short[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        }
        joined
    }

    #[inline]
    fn bytes(&self) -> &[u8] {
        if self.len > Joined::SHORT { &self.long } else { &self.short[..self.len] }
    }
}

fn by_score_element(key: u64, member: &[u8]) -> Joined {
    Joined::new([&key.to_be_bytes(), member])
}

fn by_member_element(hash: u32, member: &[u8], key: u64) -> Joined {
    Joined::new([&hash.to_be_bytes(), member, &key.to_be_bytes()])
}

/// Elements in two trees.
#[derive(Clone, Debug, Default)]
pub(super) struct Large {
    pub by_score: Tree<ByScore>,
    pub by_member: Tree<ByMember>,
    /// While nodes are loaded: how many elements there will be.
    pub declared: u64,
}

/// The second tree follows from the first.
impl PartialEq for Large {
    fn eq(&self, other: &Self) -> bool {
        self.by_score == other.by_score
    }
}

impl Large {
    /// The elements of a packed value.
    pub fn from_packed(packed: &Packed) -> Large {
        let elements = packed.iter().map(|element| {
            let (score, member) = score::split(element);
            (order_key(score), member)
        });
        Large::from_sorted(elements).expect("a packed value has no member twice")
    }

    /// Elements that come in order; `None` if a member comes twice.
    pub fn from_sorted<'a>(elements: impl Iterator<Item = (u64, &'a [u8])> + Clone) -> Option<Large> {
        struct Bytes(Joined);
        impl AsRef<[u8]> for Bytes {
            fn as_ref(&self) -> &[u8] {
                self.0.bytes()
            }
        }
        let mut hashed: Vec<(u32, &[u8], u64)> =
            elements.clone().map(|(key, member)| (hash(member), member, key)).collect();
        hashed.sort_unstable();
        if hashed.windows(2).any(|pair| (pair[0].0, pair[0].1) == (pair[1].0, pair[1].1)) {
            return None;
        }
        Some(Large {
            by_score: Tree::from_sorted(elements.map(|(key, member)| Bytes(by_score_element(key, member)))),
            by_member: Tree::from_sorted(
                hashed.into_iter().map(|(hash, member, key)| Bytes(by_member_element(hash, member, key))),
            ),
            declared: 0,
        })
    }

    pub fn len(&self) -> u64 {
        self.by_score.len()
    }

    pub fn heap_bytes(&self) -> usize {
        size_of::<Large>() + self.by_score.heap_bytes() + self.by_member.heap_bytes()
    }

    /// Where a member is in the second tree, or would be.
    #[inline]
    fn find(&self, hash: u32, member: &[u8]) -> Result<Place, Place> {
        let prefix = u64::from(hash) << 32 | leading(member) >> 32;
        self.by_member.find(prefix, |element| {
            let (own_hash, own_member, _) = split_by_member(element);
            own_hash.cmp(&hash).then_with(|| own_member.cmp(member))
        })
    }

    /// Where an element is in the first tree, or would be.
    #[inline]
    fn position(&self, key: u64, member: &[u8]) -> Result<Place, Place> {
        self.by_score.find(key, |element| {
            let (own_key, own_member) = split_by_score(element);
            own_key.cmp(&key).then_with(|| own_member.cmp(member))
        })
    }

    /// The order key of a member.
    pub fn key_of(&self, member: &[u8]) -> Option<u64> {
        let place = self.find(hash(member), member).ok()?;
        self.by_member.get(place).map(|element| split_by_member(element).2)
    }

    /// Elements before that of a member.
    pub fn rank(&self, key: u64, member: &[u8]) -> Option<u64> {
        self.position(key, member).ok().map(|place| self.by_score.rank(place))
    }

    /// Adds a member; false if it is there.
    pub fn add(&mut self, member: &[u8], key: u64) -> bool {
        let hash = hash(member);
        let (Err(place), Err(position)) = (self.find(hash, member), self.position(key, member)) else {
            return false;
        };
        self.by_member.insert(place, by_member_element(hash, member, key).bytes());
        self.by_score.insert(position, by_score_element(key, member).bytes());
        true
    }

    /// Gives a member another score; false if the element is not there, or would be twice.
    pub fn change(&mut self, member: &[u8], from: u64, to: u64) -> bool {
        let hash = hash(member);
        let (Ok(place), Ok(position)) = (self.find(hash, member), self.position(from, member)) else {
            return false;
        };
        self.by_score.remove(position);
        let Err(position) = self.position(to, member) else { return false };
        self.by_score.insert(position, by_score_element(to, member).bytes());
        self.by_member.replace(place, by_member_element(hash, member, to).bytes());
        true
    }

    /// Removes a member; false if the element is not there.
    pub fn remove(&mut self, member: &[u8], key: u64) -> bool {
        let (Ok(place), Ok(position)) = (self.find(hash(member), member), self.position(key, member)) else {
            return false;
        };
        self.by_member.remove(place);
        self.by_score.remove(position);
        true
    }

    /// Removes the elements of ranks `from..to`.
    pub fn remove_ranks(&mut self, from: u64, to: u64) {
        if from == 0 && to >= self.len() {
            self.by_member.remove_range(0, self.by_member.len());
        } else {
            for element in self.by_score.range(from, to) {
                let (_, member) = split_by_score(element);
                if let Ok(place) = self.find(hash(member), member) {
                    self.by_member.remove(place);
                }
            }
        }
        self.by_score.remove_range(from, to);
    }

    /// Elements with a lower key; with those of this key if `is_included`.
    fn rank_of_key(&self, key: u64, is_included: bool) -> u64 {
        let found = self.by_score.find(key, |element| {
            let own = split_by_score(element).0;
            if own < key || is_included && own == key { Ordering::Less } else { Ordering::Greater }
        });
        self.by_score.rank(found.unwrap_or_else(|place| place))
    }

    /// Where a range of scores begins and ends.
    pub fn score_ranks(&self, range: &ScoreRange) -> (u64, u64) {
        let from = self.rank_of_key(order_key(range.min), range.is_min_excluded);
        let to = self.rank_of_key(order_key(range.max), !range.is_max_excluded);
        (from, to)
    }

    /// Elements before a bound, among those of the lowest score; with the bound itself if `is_included`.
    fn rank_of_member(&self, bound: &[u8], is_included: bool) -> u64 {
        let Some((key, _)) = self.by_score.first().map(split_by_score) else { return 0 };
        let found = self.by_score.find(key, |element| {
            let (own_key, member) = split_by_score(element);
            let is_before = own_key == key && (member < bound || is_included && member == bound);
            if is_before { Ordering::Less } else { Ordering::Greater }
        });
        self.by_score.rank(found.unwrap_or_else(|place| place))
    }

    /// Where a range of members begins and ends.
    pub fn lex_ranks(&self, range: &LexRange<'_>) -> (u64, u64) {
        let rank = |bound: LexBound<'_>, is_end: bool| match bound {
            LexBound::Lowest => 0,
            LexBound::Highest => self.len(),
            LexBound::Included(member) => self.rank_of_member(member, is_end),
            LexBound::Excluded(member) => self.rank_of_member(member, !is_end),
        };
        (rank(range.min, false), rank(range.max, true))
    }

    /// The elements from a hash on, in the order of the second tree.
    pub fn iter_from_hash(&self, from: u32) -> impl Iterator<Item = (u32, &[u8], f64)> {
        let found = self.by_member.find(u64::from(from) << 32, |element| {
            if split_by_member(element).0 < from { Ordering::Less } else { Ordering::Greater }
        });
        let elements = self.by_member.iter_from(found.unwrap_or_else(|place| place));
        elements.map(|element| {
            let (hash, member, key) = split_by_member(element);
            (hash, member, from_order_key(key))
        })
    }

    /// Checks what the trees themselves could not when they were loaded: that both hold the same.
    pub fn check(&self) -> Result<(), DecodeError> {
        let error = |what| Err(DecodeError { what, at: 0 });
        if self.by_score.len() != self.declared || self.by_member.len() != self.declared {
            return error("wrong number of elements");
        }
        // The same pairs have the same sum.
        let mut sum = 0u64;
        for element in self.by_score.iter() {
            let (key, member) = split_by_score(element);
            if element.len() < KEY_BYTES || !score::is_order_key(key) {
                return error("not an element by score");
            }
            sum = sum.wrapping_add(pair_hash(hash(member), key));
        }
        for element in self.by_member.iter() {
            let (own_hash, member, key) = split_by_member(element);
            if element.len() < HASH_BYTES + KEY_BYTES || hash(member) != own_hash {
                return error("not an element by member");
            }
            sum = sum.wrapping_sub(pair_hash(own_hash, key));
        }
        if sum == 0 { Ok(()) } else { error("the two orders hold different elements") }
    }
}

fn pair_hash(hash: u32, key: u64) -> u64 {
    let mut pair = [0; HASH_BYTES + KEY_BYTES];
    pair[..HASH_BYTES].copy_from_slice(&hash.to_be_bytes());
    pair[HASH_BYTES..].copy_from_slice(&key.to_be_bytes());
    xxh3_64_with_seed(&pair, HASH_SEED)
}
