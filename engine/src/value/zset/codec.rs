//! Values as bytes: one row, or nodes.
//!
//! A row is a form byte and a body:
//!
//! | form | body |
//! |---|---|
//! | 1 | the packed form as it is in memory |
//! | 2 | large: varint count, then each element in order: varint length, score, member |
//!
//! A value of nodes has a header (form byte 3, varint count) and nodes: the leaves of the two trees, as
//! the trees write them, keyed by 1 (by score) or 2 (by member) and the leaf's label in eight bytes, big
//! endian. Bytes that do not decode, are out of order, or disagree are refused; there is no other trust in them.

use super::large::{self, Large};
use super::score::{self, from_order_key, order_key};
use super::{Form, ZSetValue, small};
use crate::codec::{DecodeError, Reader, put_varint};

const PACKED: u8 = 1;
const LARGE: u8 = 2;
const NODES: u8 = 3;

const BY_SCORE: u8 = 1;
const BY_MEMBER: u8 = 2;

/// Bytes around a member in a row.
const ROW_ELEMENT_BYTES: usize = 3;

impl ZSetValue {
    /// Appends the whole value as the body of one row.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match &self.form {
            Form::Small(packed) => {
                out.push(PACKED);
                out.extend_from_slice(packed.as_bytes());
            }
            Form::Large(large) => {
                out.push(LARGE);
                put_varint(out, large.len());
                let mut element = Vec::new();
                for (key, member) in large.by_score.iter().map(large::split_by_score) {
                    element.clear();
                    score::put(&mut element, from_order_key(key));
                    put_varint(out, (element.len() + member.len()) as u64);
                    out.extend_from_slice(&element);
                    out.extend_from_slice(member);
                }
            }
        }
    }

    /// Reads what [`ZSetValue::encode`] wrote.
    ///
    /// # Errors
    /// The bytes are something else.
    pub fn decode(bytes: &[u8]) -> Result<ZSetValue, DecodeError> {
        let mut reader = Reader::new(bytes);
        let form = match reader.u8()? {
            PACKED => Form::Small(small::decode(reader.rest())?),
            LARGE => Form::Large(Box::new(decode_large(&mut reader)?)),
            _ => return Err(reader.error("unknown form of a sorted set")),
        };
        Ok(ZSetValue { form })
    }

    /// About how many bytes [`ZSetValue::encode`] appends. O(1).
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        match &self.form {
            Form::Small(packed) => 1 + packed.as_bytes().len(),
            Form::Large(large) => {
                let lengths = usize::try_from(large.len()).unwrap_or(usize::MAX);
                large.by_score.data_bytes().saturating_add(lengths.saturating_mul(ROW_ELEMENT_BYTES))
            }
        }
    }

    /// Appends what the nodes do not say.
    pub fn encode_header(&self, out: &mut Vec<u8>) {
        out.push(NODES);
        put_varint(out, self.len());
    }

    /// Hands over the nodes that changed since the last time, and the keys of those that are gone.
    pub fn take_dirty_nodes(&mut self, put: &mut dyn FnMut(&[u8], Option<&[u8]>)) {
        let large = self.large_mut();
        large.by_score.take_dirty(&mut |label, body| put(&node_key(BY_SCORE, label), body));
        large.by_member.take_dirty(&mut |label, body| put(&node_key(BY_MEMBER, label), body));
    }

    /// Hands over all nodes; all are clean then.
    pub fn all_nodes(&mut self, put: &mut dyn FnMut(&[u8], &[u8])) {
        let large = self.large_mut();
        large.by_score.forget_rows();
        large.by_member.forget_rows();
        self.take_dirty_nodes(&mut |key, body| body.into_iter().for_each(|body| put(key, body)));
    }

    /// Begins to load a value from its header. It is incomplete until [`ZSetValue::end_load`].
    ///
    /// # Errors
    /// The bytes are no header.
    pub fn begin_load(header: &[u8]) -> Result<ZSetValue, DecodeError> {
        let mut reader = Reader::new(header);
        if reader.u8()? != NODES {
            return Err(reader.error("not the header of a sorted set"));
        }
        let large = Large { declared: reader.varint()?, ..Large::default() };
        if !reader.is_empty() {
            return Err(reader.error("bytes after the header"));
        }
        Ok(ZSetValue { form: Form::Large(Box::new(large)) })
    }

    /// Loads a node; they come in the order of their keys.
    ///
    /// # Errors
    /// The bytes are no node, or not the next one.
    pub fn push_node(&mut self, key: &[u8], body: &[u8]) -> Result<(), DecodeError> {
        let mut reader = Reader::new(key);
        let (tree, label) = (reader.u8()?, reader.u64_be()?);
        let large = self.large_mut();
        match tree {
            _ if !reader.is_empty() => Err(reader.error("the key of a node is too long")),
            BY_SCORE if large.by_member.is_empty() => large.by_score.push_leaf(label, body),
            BY_MEMBER => large.by_member.push_leaf(label, body),
            _ => Err(reader.error("an unknown node, or one out of order")),
        }
    }

    /// Ends loading.
    ///
    /// # Errors
    /// Nodes are missing, or do not belong together.
    pub fn end_load(&mut self) -> Result<(), DecodeError> {
        self.large_mut().check()
    }

    /// The large form; only that has nodes.
    fn large_mut(&mut self) -> &mut Large {
        if let Form::Small(packed) = &self.form {
            self.form = Form::Large(Box::new(Large::from_packed(packed)));
        }
        match &mut self.form {
            Form::Large(large) => large,
            Form::Small(_) => unreachable!("made large above"),
        }
    }
}

fn node_key(tree: u8, label: u64) -> [u8; 9] {
    let mut key = [tree; 9];
    key[1..].copy_from_slice(&label.to_be_bytes());
    key
}

fn decode_large(reader: &mut Reader<'_>) -> Result<Large, DecodeError> {
    let count = reader.varint()?;
    let mut elements: Vec<(u64, &[u8])> = Vec::new();
    while !reader.is_empty() {
        let mut element = Reader::new(reader.bytes()?);
        let next = (order_key(score::read(&mut element)?), element.rest());
        if elements.last().is_some_and(|last| *last >= next) {
            return Err(reader.error("elements out of order"));
        }
        elements.push(next);
    }
    if elements.len() as u64 != count {
        return Err(reader.error("wrong number of elements"));
    }
    Large::from_sorted(elements.into_iter()).ok_or(reader.error("a member twice"))
}
