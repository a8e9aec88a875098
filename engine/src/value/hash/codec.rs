//! How hashes are stored: whole in one row, or as nodes.
//!
//! ```text
//! row     form (1 byte) | body
//!   1     packed: the block as it is in memory (see `packed`)
//!   2     large: number of fields (varint) | fields
//! field   name | deadline (varint, 0: none) | value, in the tree's order
//!
//! header  version (1 byte, 2) | number of fields (varint) | soonest deadline of a field (varint, 0: none)
//! node    a leaf of the tree, its key the leaf's label (8 bytes, big endian); elements as in `large`
//! ```
//!
//! Only a large hash has nodes. What is read is checked: lengths, that names are there once and in
//! their order, that hashes are those of the names. The index of deadlines is made again.

use super::large::{Large, hash_of};
use super::packed::{self, Block, Fields};
use super::{Field, Form, HashValue};
use crate::codec::{DecodeError, Reader, put_varint};
use crate::ids::ExpireAt;

const FORM_PACKED: u8 = 1;
const FORM_LARGE: u8 = 2;
const HEADER_VERSION: u8 = 2;

/// Lengths and deadline of a stored field, roughly.
const FIELD_OVERHEAD: u64 = 4;

impl HashValue {
    /// Appends the whole hash as the body of one row.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match &self.0 {
            Form::Packed(block) => {
                out.push(FORM_PACKED);
                out.extend_from_slice(block.bytes());
            }
            Form::Large(large) => {
                out.push(FORM_LARGE);
                put_varint(out, large.tree.len());
                large.fields().for_each(|field| packed::put_field(out, &field, true));
            }
        }
    }

    /// Reads the body of a row.
    ///
    /// # Errors
    /// The bytes are not a hash.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        match reader.u8()? {
            FORM_PACKED => Ok(HashValue(Form::Packed(Block::read(reader.rest())?))),
            FORM_LARGE => Ok(HashValue(Form::Large(Box::new(read_large(reader)?)))),
            _ => Err(reader.error("no such form of a hash")),
        }
    }

    /// About how many bytes [`HashValue::encode`] appends.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        match &self.0 {
            Form::Packed(block) => 1 + block.bytes().len(),
            Form::Large(large) => large.tree.data_bytes() + (large.tree.len() * FIELD_OVERHEAD) as usize,
        }
    }

    /// Appends what is stored beside the nodes.
    pub fn encode_header(&self, out: &mut Vec<u8>) {
        out.push(HEADER_VERSION);
        put_varint(out, self.len());
        put_varint(out, self.next_deadline().map_or(0, |at| at.0));
    }

    /// When the first field of a hash expires that is stored as nodes, by its header.
    #[must_use]
    pub fn deadline_in_header(header: &[u8]) -> Option<ExpireAt> {
        read_header(header).ok()?.1
    }

    /// Hands out the nodes that changed since the last time: key, and body or `None` when it is gone.
    pub fn take_dirty_nodes(&mut self, put: &mut dyn FnMut(&[u8], Option<&[u8]>)) {
        if let Form::Large(large) = &mut self.0 {
            large.tree.take_dirty(&mut |label, body| put(&label.to_be_bytes(), body));
        }
    }

    /// Hands out all nodes, as of a hash that has no rows yet; all are clean then. A packed hash becomes large for
    /// that.
    pub fn all_nodes(&mut self, put: &mut dyn FnMut(&[u8], &[u8])) {
        self.grow();
        if let Form::Large(large) = &mut self.0 {
            large.tree.forget_rows();
            large.tree.take_dirty(&mut |label, body| {
                if let Some(body) = body {
                    put(&label.to_be_bytes(), body);
                }
            });
        }
    }

    /// Begins to load a hash that is stored as nodes. It is incomplete until [`HashValue::end_load`].
    ///
    /// # Errors
    /// The bytes are no header.
    pub fn begin_load(header: &[u8]) -> Result<Self, DecodeError> {
        let (len, _) = read_header(header)?;
        Ok(HashValue(Form::Large(Box::new(Large::awaiting(len)))))
    }

    /// Takes the next node, in the order of keys.
    ///
    /// # Errors
    /// It is no node, or does not belong behind the last one.
    pub fn push_node(&mut self, key: &[u8], body: &[u8]) -> Result<(), DecodeError> {
        let mut reader = Reader::new(key);
        let label = reader.u64_be()?;
        match &mut self.0 {
            Form::Large(large) if reader.is_empty() => large.tree.push_leaf(label, body),
            _ => Err(reader.error("a node of a hash in a wrong place")),
        }
    }

    /// Ends the loading; nothing of the hash is dirty.
    ///
    /// # Errors
    /// There are more or fewer fields than the header says, or one is in a wrong place.
    pub fn end_load(&mut self) -> Result<(), DecodeError> {
        match &mut self.0 {
            Form::Large(large) => large.complete(),
            _ => Err(DecodeError { what: "a hash that is not being loaded", at: 0 }),
        }
    }
}

/// Reads a header: number of fields, soonest deadline.
fn read_header(header: &[u8]) -> Result<(u64, Option<ExpireAt>), DecodeError> {
    let mut reader = Reader::new(header);
    if reader.u8()? != HEADER_VERSION {
        return Err(reader.error("unknown version of a hash"));
    }
    let (len, deadline) = (reader.varint()?, reader.varint()?);
    if reader.is_empty() {
        Ok((len, Some(ExpireAt(deadline)).filter(|at| at.0 != 0)))
    } else {
        Err(reader.error("bytes behind the header of a hash"))
    }
}

/// Reads the fields of a large hash.
fn read_large(mut reader: Reader<'_>) -> Result<Large, DecodeError> {
    let len = reader.varint()?;
    let fields = Fields::with_deadlines(reader);
    let mut check = fields.clone();
    let mut count = 0;
    let mut last: Option<(u32, Field<'_>)> = None;
    while !check.is_at_end() {
        let field = check.read()?;
        let hash = hash_of(field.name);
        if last.is_some_and(|(before, old)| !Large::is_in_order(before, old.name, hash, field.name)) {
            return Err(check.error("the fields of a hash are not in order"));
        }
        last = Some((hash, field));
        count += 1;
    }
    if count == len { Ok(Large::of(fields)) } else { Err(check.error("a hash has a wrong number of fields")) }
}
