//! A small set of integers in one allocation, in ascending order.
//!
//! ```text
//! ints   width (1 byte: 2, 4 or 8) | integers, little endian, of that many bytes each
//! ```
//!
//! The width is that of the widest integer there ever was. The same bytes are stored. An empty set has
//! none. A look-up is a binary search; adding and removing move what lies behind.

use crate::codec::{DecodeError, Reader};

/// A set of integers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ints(Box<[u8]>);

/// Bytes that an integer needs.
fn width_of(value: i64) -> usize {
    if i16::try_from(value).is_ok() {
        2
    } else if i32::try_from(value).is_ok() {
        4
    } else {
        8
    }
}

/// Reads an integer of 2, 4 or 8 bytes.
#[inline]
fn read_int(bytes: &[u8]) -> i64 {
    match *bytes {
        [a, b] => i64::from(i16::from_le_bytes([a, b])),
        [a, b, c, d] => i64::from(i32::from_le_bytes([a, b, c, d])),
        _ => bytes.try_into().map_or(0, i64::from_le_bytes),
    }
}

impl Ints {
    /// The bytes that are stored.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    #[inline]
    fn parts(&self) -> (usize, &[u8]) {
        self.0.split_first().map_or((2, &[]), |(width, ints)| (usize::from(*width), ints))
    }

    /// Number of integers.
    pub(super) fn len(&self) -> usize {
        let (width, ints) = self.parts();
        ints.len() / width
    }

    /// The integer of that rank.
    #[inline]
    pub(super) fn get(&self, rank: usize) -> Option<i64> {
        let (width, ints) = self.parts();
        ints.get(rank * width..(rank + 1) * width).map(read_int)
    }

    /// All integers in ascending order.
    pub(super) fn iter(&self) -> Iter<'_> {
        let (width, ints) = self.parts();
        Iter(ints.chunks_exact(width))
    }

    /// The rank of an integer, or the one it would have.
    fn find(&self, value: i64) -> Result<usize, usize> {
        let (width, ints) = self.parts();
        let (mut low, mut high) = (0, ints.len() / width);
        while low < high {
            let middle = low + (high - low) / 2;
            match read_int(&ints[middle * width..(middle + 1) * width]).cmp(&value) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Equal => return Ok(middle),
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        Err(low)
    }

    /// Whether the integer is there.
    pub(super) fn contains(&self, value: i64) -> bool {
        self.find(value).is_ok()
    }

    /// Adds an integer; whether it was not there.
    pub(super) fn insert(&mut self, value: i64) -> bool {
        let Err(rank) = self.find(value) else { return false };
        let (width, wanted) = (self.parts().0, width_of(value));
        if self.0.is_empty() || wanted > width {
            let width = wanted.max(if self.0.is_empty() { 2 } else { width });
            let mut out = Vec::with_capacity(1 + (self.len() + 1) * width);
            out.push(width as u8);
            for old in self.iter() {
                out.extend_from_slice(&old.to_le_bytes()[..width]);
            }
            out.extend_from_slice(&[0; 8][..width]);
            self.0 = out.into_boxed_slice();
        } else {
            let mut bytes = Vec::from(std::mem::take(&mut self.0));
            bytes.reserve_exact(width);
            bytes.extend_from_slice(&[0; 8][..width]);
            self.0 = bytes.into_boxed_slice();
        }
        let width = self.parts().0;
        let at = 1 + rank * width;
        let end = self.0.len() - width;
        self.0.copy_within(at..end, at + width);
        self.0[at..at + width].copy_from_slice(&value.to_le_bytes()[..width]);
        true
    }

    /// Removes an integer; whether it was there.
    pub(super) fn remove(&mut self, value: i64) -> bool {
        let Ok(rank) = self.find(value) else { return false };
        let width = self.parts().0;
        let at = 1 + rank * width;
        let mut bytes = Vec::from(std::mem::take(&mut self.0));
        bytes.drain(at..at + width);
        if bytes.len() > 1 {
            self.0 = bytes.into_boxed_slice();
        }
        true
    }

    /// Reads integers that were stored.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, DecodeError> {
        let ints = Ints(bytes.into());
        let (width, body) = ints.parts();
        let is_right = bytes.is_empty()
            || [2, 4, 8].contains(&width)
                && !body.is_empty()
                && body.len().is_multiple_of(width)
                && ints.iter().zip(ints.iter().skip(1)).all(|(a, b)| a < b);
        if is_right { Ok(ints) } else { Err(Reader::new(bytes).error("a set of integers is damaged")) }
    }
}

/// Walks integers in ascending order.
#[derive(Clone, Debug)]
pub(super) struct Iter<'a>(std::slice::ChunksExact<'a, u8>);

impl Iterator for Iter<'_> {
    type Item = i64;

    #[inline]
    fn next(&mut self) -> Option<i64> {
        self.0.next().map(read_int)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn integers_are_those_of_a_btree(
            edits in prop::collection::vec((any::<bool>(), prop_oneof![-9i64..9, -99_999i64..99_999, any::<i64>()]), 0..200)
        ) {
            let (mut ints, mut model) = (Ints::default(), BTreeSet::new());
            for (adds, value) in edits {
                if adds {
                    prop_assert_eq!(ints.insert(value), model.insert(value));
                } else {
                    prop_assert_eq!(ints.remove(value), model.remove(&value));
                }
                prop_assert!(ints.iter().eq(model.iter().copied()));
                prop_assert_eq!(ints.len(), model.len());
                prop_assert_eq!(&Ints::read(ints.bytes()).unwrap(), &ints);
                prop_assert!(!model.is_empty() || ints.bytes().is_empty());
            }
        }
    }
}
