//! A small hash in one allocation, its fields in the order in which they were added.
//!
//! ```text
//! block     head (varint) | earliest deadline (8 bytes, little endian)? | fields
//! head      number of fields * 2, plus 1 if any of them has a deadline
//! field     name | value                               if none has a deadline
//!           name | deadline (varint, 0: none) | value  otherwise
//! ```
//!
//! Names and values are length-prefixed, lengths are varints: a field of short parts costs two bytes
//! beyond them. The block is exactly as long as it has to be, and the same bytes are stored. An empty
//! hash has no block.
//!
//! Everything walks the block from its start: O(n) for n bytes. A new value of the length of the old
//! one overwrites it, otherwise what follows moves, and with deadlines the block is written anew.

use std::ops::Range;

use super::Field;
use crate::codec::{DecodeError, Reader, put_bytes, put_varint};
use crate::ids::ExpireAt;
use crate::value::overlay::Overlay;

/// A small hash.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Block(Box<[u8]>);

/// How many bytes [`put_varint`] appends.
pub(super) fn varint_len(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

/// Appends a field as blocks hold it.
pub(super) fn put_field(out: &mut Vec<u8>, field: &Field<'_>, with_deadline: bool) {
    put_bytes(out, field.name);
    if with_deadline {
        put_varint(out, field.deadline.map_or(0, |at| at.0));
    }
    put_bytes(out, field.value);
}

impl Block {
    /// Number of fields, whether any has a deadline, and where they begin.
    #[inline]
    fn head(&self) -> (usize, bool, usize) {
        let mut reader = Reader::new(&self.0);
        let head = reader.varint().unwrap_or(0);
        let has_deadlines = head & 1 == 1;
        ((head >> 1) as usize, has_deadlines, reader.position() + 8 * usize::from(has_deadlines))
    }

    /// Number of fields.
    pub(super) fn len(&self) -> usize {
        self.head().0
    }

    /// Bytes of the block.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The earliest deadline of any field.
    pub(super) fn next_deadline(&self) -> Option<ExpireAt> {
        let (_, has_deadlines, start) = self.head();
        let bytes = self.0.get(start.checked_sub(8).filter(|_| has_deadlines)?..start)?;
        Some(ExpireAt(u64::from_le_bytes(bytes.try_into().ok()?)))
    }

    /// All fields in their order.
    #[inline]
    pub(super) fn fields(&self) -> Fields<'_> {
        let (_, with_deadline, start) = self.head();
        Fields { reader: Reader::new(self.0.get(start..).unwrap_or_default()), with_deadline }
    }

    /// A field and its bytes' place in the block.
    #[inline]
    fn find(&self, name: &[u8]) -> Option<(Field<'_>, Range<usize>)> {
        let start = self.head().2;
        let mut fields = self.fields();
        loop {
            let from = fields.reader.position();
            let field = fields.next()?;
            if field.name == name {
                return Some((field, start + from..start + fields.reader.position()));
            }
        }
    }

    /// A field by its name.
    pub(super) fn get(&self, name: &[u8]) -> Option<Field<'_>> {
        self.find(name).map(|(field, _)| field)
    }

    /// Adds a field at the end, or replaces the one of its name where it is.
    pub(super) fn set(&mut self, field: Field<'_>) {
        let (len, has_deadlines, _) = self.head();
        if has_deadlines || field.deadline.is_some() {
            let is_known = self.get(field.name).is_some();
            let added = (!is_known).then_some(field);
            let replaced = |old: Field<'_>| old.name == field.name;
            *self = Self::of(self.fields().map(|old| if replaced(old) { field } else { old }).chain(added));
            return;
        }
        match self.find(field.name) {
            Some((_, place)) => self.splice(place, Some(field), len),
            None => self.splice(self.0.len()..self.0.len(), Some(field), len + 1),
        }
    }

    /// Removes a field; whether it was there.
    pub(super) fn remove(&mut self, name: &[u8]) -> bool {
        let (len, has_deadlines, _) = self.head();
        let Some((_, place)) = self.find(name) else { return false };
        if has_deadlines {
            *self = Self::of(self.fields().filter(|field| field.name != name));
        } else {
            self.splice(place, None, len - 1);
        }
        true
    }

    /// Gives a field another deadline or none; whether the field is there.
    pub(super) fn set_deadline(&mut self, name: &[u8], deadline: Option<ExpireAt>) -> bool {
        let Some((field, _)) = self.find(name) else { return false };
        if field.deadline != deadline {
            let changed = |old: Field<'_>| old.name == name;
            *self =
                Self::of(self.fields().map(|old| if changed(old) { Field { deadline, ..old } } else { old }));
        }
        true
    }

    /// A block of these fields, whose names differ.
    pub(super) fn of<'a>(fields: impl Iterator<Item = Field<'a>> + Clone) -> Self {
        let (mut len, mut earliest, mut bytes) = (0, None, 0);
        for field in fields.clone() {
            len += 1;
            bytes += field.name.len() + field.value.len();
            bytes += varint_len(field.name.len() as u64) + varint_len(field.value.len() as u64);
            bytes += varint_len(field.deadline.map_or(0, |at| at.0));
            earliest = [earliest, field.deadline].into_iter().flatten().min();
        }
        if len == 0 {
            return Block::default();
        }
        let head = (len << 1) | u64::from(earliest.is_some());
        let mut out = Vec::with_capacity(bytes + varint_len(head) + 8);
        put_varint(&mut out, head);
        if let Some(ExpireAt(at)) = earliest {
            out.extend_from_slice(&at.to_le_bytes());
        }
        for field in fields {
            put_field(&mut out, &field, earliest.is_some());
        }
        Block(out.into_boxed_slice())
    }

    /// Puts a field (or nothing) where `place` was, in a block without deadlines that has `len` fields
    /// then.
    fn splice(&mut self, place: Range<usize>, field: Option<Field<'_>>, len: usize) {
        if len == 0 {
            *self = Block::default();
            return;
        }
        let (old_len, _, start) = self.head();
        let head = (len as u64) << 1;
        let new_len = field.map_or(0, |field| {
            let parts = [field.name.len(), field.value.len()];
            parts.iter().map(|part| part + varint_len(*part as u64)).sum()
        });
        if self.0.is_empty() || varint_len(head) != varint_len((old_len as u64) << 1) {
            let mut out = Vec::with_capacity(self.0.len() - place.len() + new_len + varint_len(head));
            put_varint(&mut out, head);
            out.extend_from_slice(self.0.get(start..place.start).unwrap_or_default());
            field.iter().for_each(|field| put_field(&mut out, field, false));
            out.extend_from_slice(self.0.get(place.end..).unwrap_or_default());
            self.0 = out.into_boxed_slice();
            return;
        }
        let mut bytes = Vec::from(std::mem::take(&mut self.0));
        write_varint(&mut bytes, head);
        let old_end = bytes.len();
        let new_end = place.start + new_len;
        if new_len > place.len() {
            bytes.reserve_exact(new_len - place.len());
            bytes.resize(old_end + new_len - place.len(), 0);
        }
        bytes.copy_within(place.end..old_end, new_end);
        bytes.truncate(new_end + old_end - place.end);
        if let Some(field) = field {
            let mut at = place.start;
            for part in [field.name, field.value] {
                at += write_varint(&mut bytes[at..], part.len() as u64);
                bytes[at..at + part.len()].copy_from_slice(part);
                at += part.len();
            }
        }
        self.0 = bytes.into_boxed_slice();
    }

    /// Reads a block that was stored; every part of it is checked.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, DecodeError> {
        if bytes.is_empty() {
            return Ok(Block::default());
        }
        let mut reader = Reader::new(bytes);
        let head = reader.varint()?;
        if reader.position() != varint_len(head) {
            return Err(reader.error("the head of a hash is wrong"));
        }
        let has_deadlines = head & 1 == 1;
        let earliest = if has_deadlines { Some(reader.take(8)?) } else { None };
        let mut known = Overlay::new(usize::try_from(head >> 1).unwrap_or(usize::MAX));
        let mut fields = Fields { reader, with_deadline: has_deadlines };
        let (mut len, mut found) = (0u64, None);
        while !fields.reader.is_empty() {
            let field = fields.read()?;
            if known.contains(field.name) {
                return Err(fields.reader.error("a field of a hash is there twice"));
            }
            known.put(field.name, ());
            found = [found, field.deadline].into_iter().flatten().min();
            len += 1;
        }
        let is_right = len > 0
            && len == head >> 1
            && found.map(|at| at.0.to_le_bytes()) == earliest.and_then(|bytes| bytes.try_into().ok());
        if is_right { Ok(Block(bytes.into())) } else { Err(reader.error("the head of a hash is wrong")) }
    }
}

/// Overwrites the start of `bytes` with a varint; how many bytes it takes.
pub(super) fn write_varint(bytes: &mut [u8], mut value: u64) -> usize {
    let mut at = 0;
    while value >= 0x80 {
        bytes[at] = value as u8 | 0x80;
        value >>= 7;
        at += 1;
    }
    bytes[at] = value as u8;
    at + 1
}

/// Walks the fields of a block.
#[derive(Clone, Debug)]
pub(super) struct Fields<'a> {
    reader: Reader<'a>,
    with_deadline: bool,
}

impl<'a> Fields<'a> {
    /// Walks fields with deadlines, to the end of the bytes.
    pub(super) fn with_deadlines(reader: Reader<'a>) -> Self {
        Fields { reader, with_deadline: true }
    }

    /// Whether all bytes were read.
    pub(super) fn is_at_end(&self) -> bool {
        self.reader.is_empty()
    }

    /// The error for this position.
    pub(super) fn error(&self, what: &'static str) -> DecodeError {
        self.reader.error(what)
    }

    /// Reads the next field.
    #[inline]
    pub(super) fn read(&mut self) -> Result<Field<'a>, DecodeError> {
        let name = self.reader.bytes()?;
        let deadline = if self.with_deadline { self.reader.varint()? } else { 0 };
        let value = self.reader.bytes()?;
        Ok(Field { name, value, deadline: (deadline != 0).then_some(ExpireAt(deadline)) })
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Field<'a>;

    #[inline]
    fn next(&mut self) -> Option<Field<'a>> {
        if self.reader.is_empty() {
            return None;
        }
        self.read().ok()
    }
}
