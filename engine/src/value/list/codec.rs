//! The rows of a list.
//!
//! One row holds the whole list:
//!
//! ```text
//! row     1, packed bytes                       a packed list
//!         2, varint count, count elements       a tree; an element is length-prefixed
//! ```
//!
//! A list above 1 MiB is a header and one row per leaf; a leaf's key is its label, 8 bytes big-endian.
//!
//! ```text
//! header  1 (a tree) or 2 (counts as packed), varint count of elements
//! node    the leaf's bytes, see the tree
//! ```
//!
//! The first byte is a version or kind: append only. Writing costs O(n), nodes what is dirty of them.

use super::{Body, Large, ListValue, edit};
use crate::codec::{DecodeError, Reader, put_bytes, put_varint};
use crate::value::packed::Packed;
use crate::value::tree::Tree;

const ROW_PACKED: u8 = 1;
const ROW_TREE: u8 = 2;
const HEADER_TREE: u8 = 1;
const HEADER_SMALL: u8 = 2;

impl ListValue {
    /// Appends the list as one row.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match &self.body {
            Body::Packed(packed) => {
                out.push(ROW_PACKED);
                out.extend_from_slice(packed.as_bytes());
            }
            Body::Tree(large) if large.is_small => {
                out.push(ROW_PACKED);
                out.extend_from_slice(large.tree.iter().collect::<Packed>().as_bytes());
            }
            Body::Tree(large) => {
                out.push(ROW_TREE);
                put_varint(out, large.tree.len());
                for element in large.tree.iter() {
                    put_bytes(out, element);
                }
            }
        }
    }

    /// Reads a row.
    ///
    /// # Errors
    /// The bytes are not what [`ListValue::encode`] writes.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        match reader.u8()? {
            ROW_PACKED => {
                let packed = Packed::from_bytes(reader.rest())?;
                Ok(ListValue { body: Body::Packed(packed) })
            }
            ROW_TREE => {
                let count = reader.varint()?;
                let mut large = Large::default();
                for _ in 0..count {
                    large.tree.push_back(edit::element(&mut reader)?);
                }
                if !reader.is_empty() {
                    return Err(reader.error("bytes behind the list"));
                }
                Ok(ListValue { body: Body::Tree(Box::new(large)) })
            }
            _ => Err(reader.error("unknown list row")),
        }
    }

    /// About how many bytes [`ListValue::encode`] writes; O(1).
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        11 + self.packed_bytes()
    }

    /// Appends what is not in nodes.
    pub fn encode_header(&self, out: &mut Vec<u8>) {
        out.push(if self.is_large() { HEADER_TREE } else { HEADER_SMALL });
        put_varint(out, self.len());
    }

    /// Hands over the nodes that changed (`None`: the row goes) and counts them as clean. A packed list
    /// has no nodes.
    pub fn take_dirty_nodes(&mut self, put: &mut dyn FnMut(&[u8], Option<&[u8]>)) {
        if let Body::Tree(large) = &mut self.body {
            large.has_rows = true;
            large.tree.take_dirty(&mut |label, body| put(&label.to_be_bytes(), body));
        }
    }

    /// Hands over all nodes and counts them as clean. A packed list becomes a tree for that, and counts as
    /// packed all the same.
    pub fn all_nodes(&mut self, put: &mut dyn FnMut(&[u8], &[u8])) {
        if let Body::Packed(packed) = &self.body {
            let tree = Tree::from_sorted(packed.iter());
            let large = Large { tree, is_small: true, ..Large::default() };
            self.body = Body::Tree(Box::new(large));
        }
        if let Body::Tree(large) = &mut self.body {
            large.has_rows = true;
            large.tree.forget_rows();
            large.tree.take_dirty(&mut |label, body| {
                if let Some(body) = body {
                    put(&label.to_be_bytes(), body);
                }
            });
        }
    }

    /// Starts to load a list from its header; its nodes follow.
    ///
    /// # Errors
    /// The bytes are no header.
    pub fn begin_load(header: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(header);
        let is_small = match reader.u8()? {
            HEADER_TREE => false,
            HEADER_SMALL => true,
            _ => return Err(reader.error("unknown list header")),
        };
        let expected = reader.varint()?;
        if !reader.is_empty() {
            return Err(reader.error("bytes behind the list header"));
        }
        let large = Large { is_small, expected, has_rows: true, ..Large::default() };
        Ok(ListValue { body: Body::Tree(Box::new(large)) })
    }

    /// Takes the next node, in key order.
    ///
    /// # Errors
    /// The key or the body is not a list's.
    pub fn push_node(&mut self, key: &[u8], body: &[u8]) -> Result<(), DecodeError> {
        let wrong = DecodeError { what: "list node key", at: 0 };
        let label = u64::from_be_bytes(key.try_into().map_err(|_| wrong)?);
        match &mut self.body {
            Body::Tree(large) => large.tree.push_leaf(label, body),
            Body::Packed(_) => Err(wrong),
        }
    }

    /// Ends the loading; nothing is dirty.
    ///
    /// # Errors
    /// Nodes are missing.
    pub fn end_load(&mut self) -> Result<(), DecodeError> {
        match &self.body {
            Body::Tree(large) if large.tree.len() == large.expected => Ok(()),
            _ => Err(DecodeError { what: "list nodes and count differ", at: 0 }),
        }
    }
}
