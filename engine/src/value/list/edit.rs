//! What the log records of a list's change, and how it is made.
//!
//! An edit is a run of operations, each a tag byte and its arguments; numbers are varints, elements
//! are length-prefixed. Places count from the front of the list as the operations before have left it.
//!
//! | tag | operation | arguments |
//! |---|---|---|
//! | 1 | push front | element |
//! | 2 | push back | element |
//! | 3 | pop front | count |
//! | 4 | pop back | count |
//! | 5 | set | place, element |
//! | 6 | insert before | place, element |
//! | 7 | remove | place, count |
//! | 8 | grow into a tree | |
//! | 9 | shrink into a packed list | |
//!
//! Tags are on disk: append only. Applying costs what the table of [`super`] says per operation.

use super::{Body, Large, ListValue};
use crate::codec::{DecodeError, Reader, put_bytes, put_varint};
use crate::value::packed::Packed;
use crate::value::string::STRING_MAX;
use crate::value::tree::Tree;

/// A packed list is never longer than this, whatever an edit says.
const PACKED_BYTES_MAX: usize = 1 << 30;

/// One operation of an edit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListEdit<'a> {
    /// An element becomes the first.
    PushFront(&'a [u8]),
    /// An element becomes the last.
    PushBack(&'a [u8]),
    /// The first elements go.
    PopFront(u64),
    /// The last elements go.
    PopBack(u64),
    /// The element at a place is another one.
    Set {
        /// Where.
        place: u64,
        /// The new element.
        element: &'a [u8],
    },
    /// An element is put before the one at a place, or at the end.
    Insert {
        /// Where.
        place: u64,
        /// The new element.
        element: &'a [u8],
    },
    /// A run of elements goes.
    Remove {
        /// The first that goes.
        place: u64,
        /// How many.
        count: u64,
    },
    /// The list becomes a tree.
    Grow,
    /// The list becomes packed.
    Shrink,
}

impl<'a> ListEdit<'a> {
    /// Appends the operation.
    pub fn put(&self, out: &mut Vec<u8>) {
        let tag = match self {
            ListEdit::PushFront(_) => 1,
            ListEdit::PushBack(_) => 2,
            ListEdit::PopFront(_) => 3,
            ListEdit::PopBack(_) => 4,
            ListEdit::Set { .. } => 5,
            ListEdit::Insert { .. } => 6,
            ListEdit::Remove { .. } => 7,
            ListEdit::Grow => 8,
            ListEdit::Shrink => 9,
        };
        out.push(tag);
        match *self {
            ListEdit::PushFront(element) | ListEdit::PushBack(element) => put_bytes(out, element),
            ListEdit::PopFront(count) | ListEdit::PopBack(count) => put_varint(out, count),
            ListEdit::Set { place, element } | ListEdit::Insert { place, element } => {
                put_varint(out, place);
                put_bytes(out, element);
            }
            ListEdit::Remove { place, count } => {
                put_varint(out, place);
                put_varint(out, count);
            }
            ListEdit::Grow | ListEdit::Shrink => {}
        }
    }

    /// Reads one operation.
    pub fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(match reader.u8()? {
            1 => ListEdit::PushFront(element(reader)?),
            2 => ListEdit::PushBack(element(reader)?),
            3 => ListEdit::PopFront(reader.varint()?),
            4 => ListEdit::PopBack(reader.varint()?),
            5 => ListEdit::Set { place: reader.varint()?, element: element(reader)? },
            6 => ListEdit::Insert { place: reader.varint()?, element: element(reader)? },
            7 => ListEdit::Remove { place: reader.varint()?, count: reader.varint()? },
            8 => ListEdit::Grow,
            9 => ListEdit::Shrink,
            _ => return Err(reader.error("unknown list edit")),
        })
    }
}

/// Reads an element.
pub(super) fn element<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], DecodeError> {
    let element = reader.bytes()?;
    if element.len() > STRING_MAX {
        return Err(reader.error("list element too long"));
    }
    Ok(element)
}

impl ListValue {
    /// Makes an edit.
    ///
    /// # Errors
    /// The bytes are no edit of this list; the list may have been changed by the operations before.
    pub fn apply(&mut self, edit: &[u8]) -> Result<(), DecodeError> {
        let mut reader = Reader::new(edit);
        while !reader.is_empty() {
            let edit = ListEdit::read(&mut reader)?;
            self.make(edit).map_err(|what| reader.error(what))?;
        }
        Ok(())
    }

    fn make(&mut self, edit: ListEdit<'_>) -> Result<(), &'static str> {
        let len = self.len();
        match edit {
            ListEdit::PushFront(element) => self.insert_at(0, element)?,
            ListEdit::PushBack(element) => self.insert_at(len, element)?,
            ListEdit::PopFront(count) => self.remove_range(0, count)?,
            ListEdit::PopBack(count) => {
                let place = len.checked_sub(count).ok_or("more popped than there is")?;
                self.remove_range(place, count)?;
            }
            ListEdit::Set { place, element } if place < len => self.replace_at(place, element)?,
            ListEdit::Set { .. } => return Err("no element at this place"),
            ListEdit::Insert { place, element } => self.insert_at(place, element)?,
            ListEdit::Remove { place, count } => self.remove_range(place, count)?,
            ListEdit::Grow => self.grow(),
            ListEdit::Shrink => self.shrink()?,
        }
        Ok(())
    }

    fn insert_at(&mut self, place: u64, element: &[u8]) -> Result<(), &'static str> {
        let len = self.len();
        match &mut self.body {
            _ if place > len => return Err("no such place"),
            Body::Packed(packed) => {
                is_room(packed, element)?;
                packed.insert(place as usize, element);
            }
            Body::Tree(large) if place == 0 => large.tree.push_front(element),
            Body::Tree(large) => match large.tree.place_at(place) {
                Some(place) => large.tree.insert(place, element),
                None => large.tree.push_back(element),
            },
        }
        Ok(())
    }

    fn replace_at(&mut self, place: u64, element: &[u8]) -> Result<(), &'static str> {
        match &mut self.body {
            Body::Packed(packed) => {
                is_room(packed, element)?;
                packed.replace(place as usize, element);
            }
            Body::Tree(large) => {
                if let Some(place) = large.tree.place_at(place) {
                    large.tree.replace(place, element);
                }
            }
        }
        Ok(())
    }

    fn remove_range(&mut self, place: u64, count: u64) -> Result<(), &'static str> {
        let end = place.checked_add(count).filter(|end| *end <= self.len());
        let end = end.ok_or("more removed than there is")?;
        match &mut self.body {
            Body::Packed(packed) => packed.splice(place as usize, end as usize, &[]),
            Body::Tree(large) if count == 1 => {
                if let Some(place) = large.tree.place_at(place) {
                    large.tree.remove(place);
                }
            }
            Body::Tree(large) => large.tree.remove_range(place, end),
        }
        Ok(())
    }

    fn grow(&mut self) {
        match &mut self.body {
            Body::Packed(packed) => {
                let tree = Tree::from_sorted(packed.iter());
                self.body = Body::Tree(Box::new(Large { tree, ..Large::default() }));
            }
            Body::Tree(large) => large.is_small = false,
        }
    }

    fn shrink(&mut self) -> Result<(), &'static str> {
        let Body::Tree(large) = &mut self.body else { return Ok(()) };
        if large.tree.data_bytes() > PACKED_BYTES_MAX || large.tree.len() > u64::from(u32::MAX) {
            return Err("packed list too long");
        }
        if large.has_rows {
            large.is_small = true;
        } else {
            self.body = Body::Packed(large.tree.iter().collect());
        }
        Ok(())
    }
}

/// Whether a packed list may take an element: edits of commands never come near the bound.
fn is_room(packed: &Packed, element: &[u8]) -> Result<(), &'static str> {
    let bytes = packed.as_bytes().len().saturating_add(element.len());
    if bytes < PACKED_BYTES_MAX { Ok(()) } else { Err("packed list too long") }
}
