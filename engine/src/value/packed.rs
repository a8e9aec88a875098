//! A short sequence of byte strings in one allocation: the encoding of small collections.
//!
//! ```text
//! count (4 bytes LE) | length | bytes | length | length | bytes | length | ...
//!                      varint           varint, mirrored
//! ```
//! Each element has its length before and after it (the one after is the varint's bytes in reverse order), so a walk can begin at
//! either end: two bytes per element up to 127 bytes. An empty sequence has no bytes at all. The bytes are also the stored form.
//!
//! Reaching an index walks from the nearer end, an edit moves the bytes behind it: O(bytes), meant for a few kilobytes. The
//! allocation is always as large as its bytes.

use crate::codec::{DecodeError, Reader};
use std::fmt;
use std::iter::FusedIterator;

/// Bytes of the count.
const HEADER_BYTES: usize = 4;

/// A short sequence of byte strings.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Packed {
    bytes: Box<[u8]>,
}

impl fmt::Debug for Packed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self).finish()
    }
}

/// Bytes of the varint of a length.
fn length_bytes(len: usize) -> usize {
    (usize::BITS - (len | 1).leading_zeros()).div_ceil(7) as usize
}

/// Bytes that an element takes.
fn entry_bytes(len: usize) -> usize {
    len + 2 * length_bytes(len)
}

/// Writes an element at the front of `out`; returns its end.
fn write_entry(out: &mut [u8], element: &[u8]) -> usize {
    let (len, width) = (element.len(), length_bytes(element.len()));
    let end = entry_bytes(len);
    let mut rest = len;
    for at in 0..width {
        let more = if at + 1 < width { 0x80 } else { 0 };
        let byte = (rest & 0x7f) as u8 | more;
        out[at] = byte;
        out[end - 1 - at] = byte;
        rest >>= 7;
    }
    out[width..width + len].copy_from_slice(element);
    end
}

/// The element at the front of valid bytes, and the bytes it takes.
#[inline]
fn first_entry(bytes: &[u8]) -> (&[u8], usize) {
    let (mut len, mut width) = (0, 0);
    loop {
        let byte = bytes[width];
        len |= usize::from(byte & 0x7f) << (7 * width);
        width += 1;
        if byte & 0x80 == 0 {
            break;
        }
    }
    (&bytes[width..width + len], len + 2 * width)
}

/// The element at the end of valid bytes, and the bytes it takes.
#[inline]
fn last_entry(bytes: &[u8]) -> (&[u8], usize) {
    let (mut len, mut width, end) = (0, 0, bytes.len());
    loop {
        let byte = bytes[end - 1 - width];
        len |= usize::from(byte & 0x7f) << (7 * width);
        width += 1;
        if byte & 0x80 == 0 {
            break;
        }
    }
    (&bytes[end - width - len..end - width], len + 2 * width)
}

impl Packed {
    /// An empty sequence; it takes no memory.
    #[must_use]
    pub fn new() -> Self {
        Packed::default()
    }

    /// Number of elements. O(1).
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.first_chunk().map_or(0, |count| u32::from_le_bytes(*count) as usize)
    }

    /// Whether there is no element.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Heap bytes held. O(1).
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The stored form.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Reads the stored form.
    ///
    /// # Errors
    /// The bytes are not what [`Packed::as_bytes`] gives.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        if bytes.is_empty() {
            return Ok(Packed::new());
        }
        let count = u32::from_le_bytes(
            reader.take(HEADER_BYTES)?.try_into().map_err(|_| reader.error("unexpected end"))?,
        );
        let mut found = 0;
        while !reader.is_empty() {
            let begin = reader.position();
            let element = reader.bytes()?;
            let width = length_bytes(element.len());
            if reader.position() - begin != width + element.len() {
                return Err(reader.error("length not in its shortest form"));
            }
            let mirrored = reader.take(width)?.iter().rev();
            if !bytes[begin..begin + width].iter().eq(mirrored) {
                return Err(reader.error("lengths before and after differ"));
            }
            found += 1;
        }
        if found != u64::from(count) || count == 0 {
            return Err(reader.error("wrong count"));
        }
        Ok(Packed { bytes: bytes.into() })
    }

    /// The elements, in order, from both ends.
    #[must_use]
    pub fn iter(&self) -> Iter<'_> {
        Iter { bytes: self.bytes.get(HEADER_BYTES..).unwrap_or_default(), left: self.len() }
    }

    /// Element `index`. Walks from the nearer end.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<&[u8]> {
        if index >= self.len() {
            return None;
        }
        Some(first_entry(&self.bytes[self.offset(index)..]).0)
    }

    /// The first element.
    #[must_use]
    pub fn first(&self) -> Option<&[u8]> {
        self.iter().next()
    }

    /// The last element.
    #[must_use]
    pub fn last(&self) -> Option<&[u8]> {
        self.iter().next_back()
    }

    /// Appends an element.
    pub fn push_back(&mut self, element: &[u8]) {
        self.splice(self.len(), self.len(), &[element]);
    }

    /// Prepends an element.
    pub fn push_front(&mut self, element: &[u8]) {
        self.splice(0, 0, &[element]);
    }

    /// Puts an element before element `index` (at most [`Packed::len`]).
    pub fn insert(&mut self, index: usize, element: &[u8]) {
        self.splice(index, index, &[element]);
    }

    /// Replaces element `index`.
    pub fn replace(&mut self, index: usize, element: &[u8]) {
        self.splice(index, index + 1, &[element]);
    }

    /// Removes element `index`.
    pub fn remove(&mut self, index: usize) {
        self.splice(index, index + 1, &[]);
    }

    /// Replaces elements `from..to` by others, with one move of the bytes behind. Panics if there are not so many elements.
    pub fn splice(&mut self, from: usize, to: usize, elements: &[&[u8]]) {
        let count = self.len() - (to - from) + elements.len();
        if count == 0 {
            self.bytes = Box::default();
            return;
        }
        let (begin, end) = self.span(from, to);
        let added: usize = elements.iter().map(|element| entry_bytes(element.len())).sum();
        let new_end = begin + added;
        let mut bytes = std::mem::take(&mut self.bytes).into_vec();
        if bytes.is_empty() {
            bytes.reserve_exact(HEADER_BYTES + added);
            bytes.resize(HEADER_BYTES, 0);
        }
        let len = bytes.len();
        if new_end > end {
            bytes.reserve_exact(new_end - end);
            bytes.resize(len + new_end - end, 0);
        }
        bytes.copy_within(end..len, new_end);
        bytes.truncate(len - end + new_end);
        let mut at = begin;
        for element in elements {
            at += write_entry(&mut bytes[at..], element);
        }
        let count = u32::try_from(count).expect("a short sequence");
        bytes[..HEADER_BYTES].copy_from_slice(&count.to_le_bytes());
        self.bytes = bytes.into_boxed_slice();
    }

    /// Offsets where elements `from..to` begin and end.
    fn span(&self, from: usize, to: usize) -> (usize, usize) {
        assert!(from <= to && to <= self.len(), "no such elements");
        let begin = self.offset(from);
        let mut end = begin;
        if to == self.len() {
            end = self.bytes.len().max(HEADER_BYTES);
        } else {
            for _ in from..to {
                end += first_entry(&self.bytes[end..]).1;
            }
        }
        (begin, end)
    }

    /// Where element `index` begins; the end for the index after the last.
    fn offset(&self, index: usize) -> usize {
        let count = self.len();
        if index <= count / 2 {
            let mut at = HEADER_BYTES;
            for _ in 0..index {
                at += first_entry(&self.bytes[at..]).1;
            }
            return at;
        }
        let mut at = self.bytes.len();
        for _ in index..count {
            at -= last_entry(&self.bytes[..at]).1;
        }
        at
    }
}

impl<'a> IntoIterator for &'a Packed {
    type Item = &'a [u8];
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

impl<T: AsRef<[u8]>> FromIterator<T> for Packed {
    fn from_iter<I: IntoIterator<Item = T>>(elements: I) -> Self {
        let mut bytes = vec![0; HEADER_BYTES];
        let mut count = 0u32;
        for element in elements {
            let (element, at) = (element.as_ref(), bytes.len());
            bytes.resize(at + entry_bytes(element.len()), 0);
            write_entry(&mut bytes[at..], element);
            count += 1;
        }
        if count == 0 {
            return Packed::new();
        }
        bytes[..HEADER_BYTES].copy_from_slice(&count.to_le_bytes());
        Packed { bytes: bytes.into_boxed_slice() }
    }
}

/// Elements of a [`Packed`], in order.
#[derive(Clone)]
pub struct Iter<'a> {
    bytes: &'a [u8],
    left: usize,
}

impl<'a> Iterator for Iter<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        self.left = self.left.checked_sub(1)?;
        let (element, taken) = first_entry(self.bytes);
        self.bytes = &self.bytes[taken..];
        Some(element)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<'a> DoubleEndedIterator for Iter<'a> {
    #[inline]
    fn next_back(&mut self) -> Option<&'a [u8]> {
        self.left = self.left.checked_sub(1)?;
        let (element, taken) = last_entry(self.bytes);
        self.bytes = &self.bytes[..self.bytes.len() - taken];
        Some(element)
    }
}

impl ExactSizeIterator for Iter<'_> {}
impl FusedIterator for Iter<'_> {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn element(len: usize, fill: u8) -> Vec<u8> {
        vec![fill; len]
    }

    proptest! {
        /// Any edits leave what a vector would hold, and the stored form reads back.
        #[test]
        fn edits_match_a_vector(edits: Vec<(u8, usize, usize, usize, u8)>) {
            let mut model: Vec<Vec<u8>> = Vec::new();
            let mut packed = Packed::new();
            for (kind, a, b, len, fill) in edits {
                let new = element([len % 10, 120 + len % 10, 16_380 + len % 10][usize::from(fill % 16) / 7], fill);
                let len = model.len();
                let (from, to) = ((a % (len + 1)).min(b % (len + 1)), (a % (len + 1)).max(b % (len + 1)));
                match kind % 6 {
                    0 => { packed.push_back(&new); model.push(new); }
                    1 => { packed.push_front(&new); model.insert(0, new); }
                    2 => { packed.insert(from, &new); model.insert(from, new); }
                    3 if from < len => { packed.replace(from, &new); model[from] = new; }
                    4 if from < len => { packed.remove(from); model.remove(from); }
                    5 => { packed.splice(from, to, &[&new, b"x"]); model.splice(from..to, [new, b"x".to_vec()]); }
                    _ => {}
                }
                prop_assert!(packed.iter().eq(model.iter().map(Vec::as_slice)));
            }
            prop_assert_eq!(packed.len(), model.len());
            prop_assert!(packed.iter().rev().eq(model.iter().rev().map(Vec::as_slice)));
            for (index, element) in model.iter().enumerate() {
                prop_assert_eq!(packed.get(index), Some(&element[..]));
            }
            prop_assert_eq!(packed.get(model.len()), None);
            prop_assert_eq!(&Packed::from_bytes(packed.as_bytes()).unwrap(), &packed);
            prop_assert_eq!(model.iter().collect::<Packed>(), packed);
        }

        #[test]
        fn hostile_bytes_never_panic(bytes: Vec<u8>, flip: usize) {
            let _ = Packed::from_bytes(&bytes);
            let mut good = [&b"field"[..], b"", b"value"].iter().collect::<Packed>().as_bytes().to_vec();
            let at = flip % good.len();
            good[at] ^= 1 << (flip / 64 % 8);
            if let Ok(packed) = Packed::from_bytes(&good) {
                prop_assert_eq!(packed.iter().rev().count(), packed.len());
            }
        }
    }

    #[test]
    fn an_empty_sequence_has_no_bytes() {
        let mut packed = Packed::new();
        packed.push_back(b"a");
        assert_eq!(packed.heap_bytes(), 4 + 3);
        packed.remove(0);
        assert_eq!(packed.heap_bytes(), 0);
        assert!(Packed::from_bytes(&[0, 0, 0, 0]).is_err());
    }
}
