//! Entries: an id and its fields, as an element of the tree; and the field names that many share.
//!
//! ```text
//! element   id (short form), varint shape, body
//! body      shape 0: varint pairs, pairs x (name, value)      length-prefixed
//!           shape n: one value per name of the stream's n-th shape, length-prefixed
//! shape     varint names, names x name                        length-prefixed
//! ```
//!
//! Producers repeat their field names in every entry, so the first few lists of names that a stream
//! sees become its *shapes* and are stored once. Shapes are only added, in the order of the edits that
//! brought them, so elements that name one stay right.
//!
//! Elements are checked when they come in (an edit, a row, a node); reading one later cannot fail.

use std::cmp::Ordering;

use super::id::StreamId;
use crate::codec::{DecodeError, Reader, put_bytes, put_varint};
use crate::value::tree::Layout;

/// Shapes that a stream keeps at most.
pub(super) const SHAPES_MAX: usize = 16;
/// Bytes of one shape at most.
pub(super) const SHAPE_BYTES_MAX: usize = 1024;

/// The order of entries: their ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ById;

impl Layout for ById {
    fn prefix(element: &[u8]) -> u64 {
        id_of(element).ms
    }

    fn compare(a: &[u8], b: &[u8]) -> Ordering {
        id_of(a).cmp(&id_of(b))
    }
}

/// The id of an element.
pub(super) fn id_of(element: &[u8]) -> StreamId {
    StreamId::read(&mut Reader::new(element)).unwrap_or_default()
}

/// The names of the fields of many entries, encoded.
pub(super) type Shape = Box<[u8]>;

/// Appends the shape of some fields.
pub(super) fn put_shape<'a>(out: &mut Vec<u8>, names: impl Iterator<Item = &'a [u8]> + Clone) {
    put_varint(out, names.clone().count() as u64);
    for name in names {
        put_bytes(out, name);
    }
}

/// Whether a shape has just these names.
pub(super) fn is_shape_of<'a>(shape: &[u8], mut names: impl Iterator<Item = &'a [u8]>) -> bool {
    let mut reader = Reader::new(shape);
    let count = reader.varint().unwrap_or_default();
    (0..count).all(|_| names.next().is_some_and(|name| reader.bytes() == Ok(name))) && names.next().is_none()
}

/// Appends an element of fields with a shape, or without one for number 0.
pub(super) fn put_element<'a>(
    out: &mut Vec<u8>,
    id: StreamId,
    shape: u64,
    fields: impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone,
) {
    id.put(out);
    put_varint(out, shape);
    if shape == 0 {
        put_varint(out, fields.clone().count() as u64);
    }
    for (name, value) in fields {
        if shape == 0 {
            put_bytes(out, name);
        }
        put_bytes(out, value);
    }
}

/// Checks a shape.
pub(super) fn check_shape(shape: &[u8]) -> Result<(), DecodeError> {
    let mut reader = Reader::new(shape);
    if shape.len() > SHAPE_BYTES_MAX {
        return Err(reader.error("stream shape too long"));
    }
    for _ in 0..reader.varint()? {
        reader.bytes()?;
    }
    if reader.is_empty() { Ok(()) } else { Err(reader.error("bytes behind the stream shape")) }
}

/// Checks an element whole and returns its id.
pub(super) fn check_element(shapes: &[Shape], element: &[u8]) -> Result<StreamId, DecodeError> {
    let mut reader = Reader::new(element);
    let id = StreamId::read(&mut reader)?;
    let strings = match reader.varint()? {
        0 => reader.varint()?.checked_mul(2).ok_or(reader.error("too many fields"))?,
        number => {
            let shape = usize::try_from(number - 1).ok().and_then(|at| shapes.get(at));
            Reader::new(shape.ok_or(reader.error("unknown stream shape"))?).varint()?
        }
    };
    for _ in 0..strings {
        reader.bytes()?;
    }
    if reader.is_empty() { Ok(id) } else { Err(reader.error("bytes behind the stream entry")) }
}

/// An entry, borrowed from its stream.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    /// Its id.
    pub id: StreamId,
    fields: Fields<'a>,
}

impl<'a> Entry<'a> {
    /// Looks at an element.
    pub(super) fn new(shapes: &'a [Shape], element: &'a [u8]) -> Option<Entry<'a>> {
        let mut values = Reader::new(element);
        let id = StreamId::read(&mut values).ok()?;
        let fields = match values.varint().ok()? {
            0 => {
                let left = values.varint().ok()?;
                Fields { names: None, values, left }
            }
            number => {
                let mut names = Reader::new(shapes.get(usize::try_from(number).ok()? - 1)?);
                let left = names.varint().ok()?;
                Fields { names: Some(names), values, left }
            }
        };
        Some(Entry { id, fields })
    }

    /// Its fields, in the order they were given: (name, value).
    #[must_use]
    pub fn fields(&self) -> Fields<'a> {
        self.fields
    }
}

/// The fields of an entry in order.
#[derive(Debug, Clone, Copy)]
pub struct Fields<'a> {
    names: Option<Reader<'a>>,
    values: Reader<'a>,
    left: u64,
}

impl<'a> Iterator for Fields<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let name = match &mut self.names {
            Some(names) => names.bytes(),
            None => self.values.bytes(),
        };
        Some((name.ok()?, self.values.bytes().ok()?))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = usize::try_from(self.left).unwrap_or(usize::MAX);
        (left, Some(left))
    }
}

impl ExactSizeIterator for Fields<'_> {}
