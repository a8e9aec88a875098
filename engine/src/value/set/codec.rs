//! How sets are stored: whole in one row, or as nodes.
//!
//! ```text
//! row     form (1 byte) | body
//!   1     ints: as they are in memory (see `ints`)
//!   2     packed: the block as it is in memory (see `packed`)
//!   3     large: number of members (varint) | members, length-prefixed, in the tree's order
//!
//! header  version (1 byte, 1) | number of members (varint)
//! node    a leaf of the tree, its key the leaf's label (8 bytes, big endian); elements as in `large`
//! ```
//!
//! Only a large set has nodes. What is read is checked: lengths, that members are there once and in
//! their order, that hashes are those of the members.

use super::edit::FormTag;
use super::ints::Ints;
use super::large::Large;
use super::packed::Block;
use super::{Form, SetValue};
use crate::codec::{DecodeError, Reader, put_bytes, put_varint};

const HEADER_VERSION: u8 = 1;

impl SetValue {
    /// Appends the whole set as the body of one row.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.form() as u8);
        match &self.0 {
            Form::Ints(ints) => out.extend_from_slice(ints.bytes()),
            Form::Packed(block) => out.extend_from_slice(block.bytes()),
            Form::Large(large) => {
                put_varint(out, large.tree.len());
                large.members().for_each(|member| put_bytes(out, member));
            }
        }
    }

    /// Reads the body of a row.
    ///
    /// # Errors
    /// The bytes are not a set.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        Ok(SetValue(match FormTag::read(&mut reader)? {
            FormTag::Ints => Form::Ints(Ints::read(reader.rest())?),
            FormTag::Packed => Form::Packed(Block::read(reader.rest())?),
            FormTag::Large => Form::Large(Box::new(read_large(reader)?)),
        }))
    }

    /// About how many bytes [`SetValue::encode`] appends.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        1 + match &self.0 {
            Form::Ints(ints) => ints.bytes().len(),
            Form::Packed(block) => block.bytes().len(),
            Form::Large(large) => large.tree.data_bytes(),
        }
    }

    /// Appends what is stored beside the nodes.
    pub fn encode_header(&self, out: &mut Vec<u8>) {
        out.push(HEADER_VERSION);
        put_varint(out, self.len());
    }

    /// Hands out the nodes that changed since the last time: key, and body or `None` when it is gone.
    pub fn take_dirty_nodes(&mut self, put: &mut dyn FnMut(&[u8], Option<&[u8]>)) {
        if let Form::Large(large) = &mut self.0 {
            large.tree.take_dirty(&mut |label, body| put(&label.to_be_bytes(), body));
        }
    }

    /// Hands out all nodes, as of a set that has no rows yet; all are clean then. A small set becomes large for
    /// that.
    pub fn all_nodes(&mut self, put: &mut dyn FnMut(&[u8], &[u8])) {
        self.turn(FormTag::Large);
        if let Form::Large(large) = &mut self.0 {
            large.tree.forget_rows();
            large.tree.take_dirty(&mut |label, body| {
                if let Some(body) = body {
                    put(&label.to_be_bytes(), body);
                }
            });
        }
    }

    /// Begins to load a set that is stored as nodes. It is incomplete until [`SetValue::end_load`].
    ///
    /// # Errors
    /// The bytes are no header.
    pub fn begin_load(header: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(header);
        if reader.u8()? != HEADER_VERSION {
            return Err(reader.error("unknown version of a set"));
        }
        let len = reader.varint()?;
        if reader.is_empty() {
            Ok(SetValue(Form::Large(Box::new(Large::awaiting(len)))))
        } else {
            Err(reader.error("bytes behind the header of a set"))
        }
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
            _ => Err(reader.error("a node of a set in a wrong place")),
        }
    }

    /// Ends the loading; nothing of the set is dirty.
    ///
    /// # Errors
    /// There are more or fewer members than the header says, or one is in a wrong place.
    pub fn end_load(&mut self) -> Result<(), DecodeError> {
        match &mut self.0 {
            Form::Large(large) => large.complete(),
            _ => Err(DecodeError { what: "a set that is not being loaded", at: 0 }),
        }
    }
}

/// Reads the members of a large set.
fn read_large(mut reader: Reader<'_>) -> Result<Large, DecodeError> {
    let len = reader.varint()?;
    let start = reader;
    let mut count = 0;
    let mut last: Option<&[u8]> = None;
    while !reader.is_empty() {
        let member = reader.bytes()?;
        if last.is_some_and(|last| !Large::is_in_order(last, member)) {
            return Err(reader.error("the members of a set are not in order"));
        }
        last = Some(member);
        count += 1;
    }
    if count != len {
        return Err(reader.error("a set has a wrong number of members"));
    }
    let mut reader = start;
    Ok(Large::of(std::iter::from_fn(|| reader.bytes().ok())))
}
