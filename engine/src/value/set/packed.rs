//! A small set in one allocation, its members in the order in which they were added.
//!
//! ```text
//! block    number of members (varint) | members, length-prefixed (varint)
//! ```
//!
//! The block is exactly as long as it has to be, and the same bytes are stored. An empty set has none.
//! Everything walks the block from its start: O(n) for n bytes.

use std::ops::Range;

use crate::codec::{DecodeError, Reader, put_bytes, put_varint};
use crate::value::overlay::Overlay;

/// A small set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Block(Box<[u8]>);

impl Block {
    /// Number of members, and where they begin.
    #[inline]
    fn head(&self) -> (usize, usize) {
        let mut reader = Reader::new(&self.0);
        let len = reader.varint().unwrap_or(0);
        (len as usize, reader.position())
    }

    /// Number of members.
    pub(super) fn len(&self) -> usize {
        self.head().0
    }

    /// The bytes that are stored.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// All members in their order.
    #[inline]
    pub(super) fn members(&self) -> Members<'_> {
        Members(Reader::new(self.0.get(self.head().1..).unwrap_or_default()))
    }

    /// Where a member is, its length included.
    fn find(&self, member: &[u8]) -> Option<Range<usize>> {
        let start = self.head().1;
        let mut members = self.members();
        loop {
            let from = members.0.position();
            if members.next()? == member {
                return Some(start + from..start + members.0.position());
            }
        }
    }

    /// Whether it is a member.
    pub(super) fn contains(&self, member: &[u8]) -> bool {
        self.members().any(|known| known == member)
    }

    /// Adds a member, which is not there, at the end.
    pub(super) fn push(&mut self, member: &[u8]) {
        let (len, start) = self.head();
        let mut head = Vec::with_capacity(10);
        put_varint(&mut head, len as u64 + 1);
        let mut length = Vec::with_capacity(10);
        put_varint(&mut length, member.len() as u64);
        if head.len() == start {
            let mut bytes = Vec::from(std::mem::take(&mut self.0));
            bytes.reserve_exact(length.len() + member.len());
            bytes[..start].copy_from_slice(&head);
            bytes.extend_from_slice(&length);
            bytes.extend_from_slice(member);
            self.0 = bytes.into_boxed_slice();
        } else {
            let old = self.0.get(start..).unwrap_or_default();
            self.0 = [&head[..], old, &length, member].concat().into_boxed_slice();
        }
    }

    /// Removes a member; whether it was there.
    pub(super) fn remove(&mut self, member: &[u8]) -> bool {
        let Some(place) = self.find(member) else { return false };
        let (len, start) = self.head();
        if len == 1 {
            *self = Block::default();
            return true;
        }
        let mut head = Vec::with_capacity(10);
        put_varint(&mut head, len as u64 - 1);
        let mut bytes = Vec::from(std::mem::take(&mut self.0));
        bytes.drain(place);
        bytes.splice(..start, head);
        self.0 = bytes.into_boxed_slice();
        true
    }

    /// A block of these members, which differ.
    pub(super) fn of(members: impl Iterator<Item = impl AsRef<[u8]>>) -> Self {
        let mut body = Vec::new();
        let mut len = 0;
        for member in members {
            put_bytes(&mut body, member.as_ref());
            len += 1;
        }
        if len == 0 {
            return Block::default();
        }
        let mut head = Vec::with_capacity(10);
        put_varint(&mut head, len);
        Block([head, body].concat().into_boxed_slice())
    }

    /// Reads a block that was stored; every part of it is checked.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, DecodeError> {
        if bytes.is_empty() {
            return Ok(Block::default());
        }
        let mut reader = Reader::new(bytes);
        let len = reader.varint()?;
        let mut canonical = Vec::new();
        put_varint(&mut canonical, len);
        let is_canonical = canonical.len() == reader.position();
        let mut known = Overlay::new(usize::try_from(len).unwrap_or(usize::MAX));
        let mut count = 0;
        while !reader.is_empty() {
            let member = reader.bytes()?;
            if known.contains(member) {
                return Err(reader.error("a member of a set is there twice"));
            }
            known.put(member, ());
            count += 1;
        }
        let is_right = is_canonical && count == len && len > 0;
        if is_right { Ok(Block(bytes.into())) } else { Err(reader.error("the head of a set is wrong")) }
    }
}

/// Walks the members of a block.
#[derive(Clone, Debug)]
pub(super) struct Members<'a>(Reader<'a>);

impl<'a> Iterator for Members<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        if self.0.is_empty() {
            return None;
        }
        self.0.bytes().ok()
    }
}
