//! Reads of a list: by index, by range, from either end, by search. Nothing is copied.
//!
//! Indexes are Redis's: negative ones count from the back.

use super::{Body, End, ListValue};
use crate::value::packed;
use crate::value::tree;

/// Elements of a list in order, a known number of them.
pub struct Elements<'a> {
    inner: Inner<'a>,
    left: u64,
}

enum Inner<'a> {
    Packed(packed::Iter<'a>),
    Tree(tree::Iter<'a>),
    None,
}

impl<'a> Elements<'a> {
    /// How many are left.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.left
    }

    /// Whether none is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.left == 0
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        self.left = self.left.checked_sub(1)?;
        match &mut self.inner {
            Inner::Packed(iter) => iter.next(),
            Inner::Tree(iter) => iter.next(),
            Inner::None => None,
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = usize::try_from(self.left).unwrap_or(usize::MAX);
        (left, Some(left))
    }
}

/// The places of one element: its index counted from the front, and those before it were passed.
pub struct Positions<'a> {
    elements: Walk<'a>,
    element: &'a [u8],
    /// Index of the next element in the direction of the walk.
    index: u64,
    /// Where the walk ends.
    end: u64,
    /// Matches to pass by.
    skip: u64,
    len: u64,
    from: End,
}

impl Iterator for Positions<'_> {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        while self.index < self.end {
            let is_match = self.elements.next()? == self.element;
            let index = self.index;
            self.index += 1;
            if is_match && self.skip > 0 {
                self.skip -= 1;
            } else if is_match {
                return Some(if self.from == End::Front { index } else { self.len - 1 - index });
            }
        }
        None
    }
}

/// All elements from one end to the other.
pub enum Walk<'a> {
    /// From the front.
    Forwards(Elements<'a>),
    /// From the back.
    Backwards(std::iter::Rev<Both<'a>>),
}

impl<'a> Iterator for Walk<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        match self {
            Walk::Forwards(iter) => iter.next(),
            Walk::Backwards(iter) => iter.next(),
        }
    }
}

/// All elements of a list, from both ends.
pub struct Both<'a> {
    inner: Inner<'a>,
}

impl<'a> Iterator for Both<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        match &mut self.inner {
            Inner::Packed(iter) => iter.next(),
            Inner::Tree(iter) => iter.next(),
            Inner::None => None,
        }
    }
}

impl DoubleEndedIterator for Both<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        match &mut self.inner {
            Inner::Packed(iter) => iter.next_back(),
            Inner::Tree(iter) => iter.next_back(),
            Inner::None => None,
        }
    }
}

/// The number of an index that counts from the back when negative; `None` outside of `len` elements.
pub(super) fn place_of(index: i64, len: u64) -> Option<u64> {
    let place = if index < 0 { len.checked_sub(index.unsigned_abs())? } else { index.unsigned_abs() };
    (place < len).then_some(place)
}

/// The places that inclusive bounds mean (LRANGE, LTRIM): clamped, empty as `0..0`.
#[must_use]
pub(super) fn range_of(start: i64, stop: i64, len: u64) -> std::ops::Range<u64> {
    let from = |index: i64| {
        if index < 0 { len.checked_sub(index.unsigned_abs()) } else { Some(index.unsigned_abs()) }
    };
    let first = from(start).unwrap_or(0);
    match from(stop) {
        Some(last) if first <= last && first < len => first..last.min(len - 1) + 1,
        _ => 0..0,
    }
}

impl ListValue {
    /// All elements, front to back.
    #[must_use]
    pub fn iter(&self) -> Both<'_> {
        let inner = match &self.body {
            Body::Packed(packed) => Inner::Packed(packed.iter()),
            Body::Tree(large) => Inner::Tree(large.tree.iter()),
        };
        Both { inner }
    }

    /// All elements, starting at an end: what pops would return, in order.
    #[must_use]
    pub fn from_end(&self, end: End) -> Walk<'_> {
        match end {
            End::Front => Walk::Forwards(self.between(0..self.len())),
            End::Back => Walk::Backwards(self.iter().rev()),
        }
    }

    /// The element at an index (LINDEX).
    #[must_use]
    pub fn get(&self, index: i64) -> Option<&[u8]> {
        let place = place_of(index, self.len())?;
        match &self.body {
            Body::Packed(packed) => packed.get(place as usize),
            Body::Tree(large) => large.tree.get(large.tree.place_at(place)?),
        }
    }

    /// The elements between inclusive bounds (LRANGE).
    #[must_use]
    pub fn range(&self, start: i64, stop: i64) -> Elements<'_> {
        self.between(range_of(start, stop, self.len()))
    }

    /// The elements at places that exist.
    pub(super) fn between(&self, places: std::ops::Range<u64>) -> Elements<'_> {
        let left = places.end - places.start;
        let inner = match &self.body {
            _ if left == 0 => Inner::None,
            Body::Packed(packed) => {
                let mut iter = packed.iter();
                if let Some(before) = (places.start as usize).checked_sub(1) {
                    iter.nth(before);
                }
                Inner::Packed(iter)
            }
            Body::Tree(large) => Inner::Tree(large.tree.range(places.start, places.end)),
        };
        Elements { inner, left }
    }

    /// The places of an element (LPOS), counted from the front whatever the direction.
    ///
    /// The walk starts at `from`, passes by the first `skip` matches and compares at most `max_len`
    /// elements (0: all).
    #[must_use]
    pub fn positions<'a>(&'a self, element: &'a [u8], from: End, skip: u64, max_len: u64) -> Positions<'a> {
        let len = self.len();
        let end = if max_len == 0 { len } else { max_len.min(len) };
        Positions { elements: self.from_end(from), element, index: 0, end, skip, len, from }
    }
}
