//! The rows of a stream.
//!
//! ```text
//! state     1, last id, largest deleted id, varint entries added,
//!           varint shapes, shapes x shape,
//!           varint entries, varint groups, varint pending
//! group     varint number, name, last id, varint entries read + 1,
//!           varint consumers, consumers x consumer
//! consumer  varint number, name, varint time seen, varint time active + 1
//! ```
//!
//! One row is the state, then every entry's element, every group, every pending entry's element, in
//! order, each length-prefixed. A stream above 1 MiB has the state as its header and nodes:
//!
//! ```text
//! key   1, label (8 bytes big-endian)      a leaf of entries
//!       2, number (4 bytes big-endian)     a group without its pending entries, no consumers,
//!                                          varint consumers that have nodes
//!       3, label (8 bytes big-endian)      a leaf of pending entries
//!       4, numbers (4 bytes big-endian     a consumer
//!          each) of group and consumer
//! ```
//!
//! A consumer changes with each entry that it reads, and a group may have very many: so each has a node of
//! its own. A group's node that ends with its consumers is one that was written before that was so.
//!
//! Ids are in their short form, strings and shapes length-prefixed; 0 stands for "unknown" or "never"
//! where "+ 1" is written. The first byte is a version, node tags are append only. What is derived (counts,
//! the order by owner) is not stored. Writing costs O(n), nodes what is dirty of them.

use super::edit::{put_optional, read_optional};
use super::entry::{self, ById, SHAPES_MAX};
use super::group::{ByGroup, Consumer, Group, Groups, Pending, Registry};
use super::{Stream, StreamId, StreamValue};
use crate::codec::{DecodeError, Reader, put_bytes, put_varint};
use crate::value::tree::Tree;

const VERSION: u8 = 1;
const NODE_ENTRIES: u8 = 1;
const NODE_GROUP: u8 = 2;
const NODE_PENDING: u8 = 3;
const NODE_CONSUMER: u8 = 4;

/// What the state says is to follow.
#[derive(Debug, Clone, Copy)]
pub(super) struct Counts {
    entries: u64,
    groups: u64,
    pending: u64,
}

impl Stream {
    fn put_state(&self, out: &mut Vec<u8>) {
        out.push(VERSION);
        self.last_id.put(out);
        self.max_deleted.put(out);
        put_varint(out, self.entries_added);
        put_varint(out, self.shapes.len() as u64);
        for shape in &self.shapes {
            put_bytes(out, shape);
        }
        let groups = self.groups.as_deref();
        put_varint(out, self.entries.len());
        put_varint(out, groups.map_or(0, |groups| groups.groups.len() as u64));
        put_varint(out, groups.map_or(0, |groups| groups.pending.len()));
    }

    fn read_state(reader: &mut Reader<'_>) -> Result<(Stream, Counts), DecodeError> {
        if reader.u8()? != VERSION {
            return Err(reader.error("unknown stream version"));
        }
        let mut stream = Stream {
            last_id: StreamId::read(reader)?,
            max_deleted: StreamId::read(reader)?,
            entries_added: reader.varint()?,
            ..Stream::default()
        };
        let shapes = reader.varint()?;
        if shapes > SHAPES_MAX as u64 {
            return Err(reader.error("too many shapes"));
        }
        for _ in 0..shapes {
            let shape = reader.bytes()?;
            entry::check_shape(shape)?;
            stream.shapes.push(shape.into());
        }
        let counts =
            Counts { entries: reader.varint()?, groups: reader.varint()?, pending: reader.varint()? };
        Ok((stream, counts))
    }

    /// Checks what was read as a whole and derives what is not stored.
    fn finish(&mut self, counts: Counts) -> Result<(), DecodeError> {
        let wrong = |what| DecodeError { what, at: 0 };
        let groups = self.groups.as_deref();
        let found = (
            self.entries.len(),
            groups.map_or(0, |groups| groups.groups.len() as u64),
            groups.map_or(0, |groups| groups.pending.len()),
        );
        if found != (counts.entries, counts.groups, counts.pending) {
            return Err(wrong("stream parts and counts differ"));
        }
        if self.entries.last().is_some_and(|top| entry::id_of(top) > self.last_id) {
            return Err(wrong("stream entry above the last id"));
        }
        if let Some(groups) = &mut self.groups {
            for (_, group) in groups.groups.iter_mut() {
                let awaited = std::mem::take(&mut group.awaited);
                if awaited > 0 && awaited != group.consumers.len() as u64 {
                    return Err(wrong("a group has a wrong number of consumers"));
                }
            }
            groups.derive()?;
        }
        Ok(())
    }
}

/// Appends a group without its consumers.
fn put_group(number: u32, group: &Group, out: &mut Vec<u8>) {
    put_varint(out, u64::from(number));
    put_bytes(out, &group.name);
    group.last_id.put(out);
    put_optional(out, group.entries_read);
}

fn put_consumer(number: u32, consumer: &Consumer, out: &mut Vec<u8>) {
    put_varint(out, u64::from(number));
    put_bytes(out, &consumer.name);
    put_varint(out, consumer.seen_ms);
    put_optional(out, consumer.active_ms);
}

fn read_consumer(reader: &mut Reader<'_>, is_dirty: bool) -> Result<(u32, Consumer), DecodeError> {
    let (number, name) = (reader.varint_u32()?, reader.bytes()?.into());
    let (seen_ms, active_ms) = (reader.varint()?, read_optional(reader)?);
    Ok((number, Consumer { name, seen_ms, active_ms, pending: 0, is_dirty }))
}

/// Reads a group, all that it is made of, and adds it; `is_node`: its consumers may have nodes.
fn read_group(bytes: &[u8], groups: &mut Groups, is_node: bool) -> Result<u32, DecodeError> {
    let mut reader = Reader::new(bytes);
    let number = reader.varint_u32()?;
    let mut group = Group {
        name: reader.bytes()?.into(),
        last_id: StreamId::read(&mut reader)?,
        entries_read: read_optional(&mut reader)?,
        consumers: Registry::default(),
        pending: 0,
        is_dirty: false,
        awaited: 0,
    };
    let mut consumers = Vec::new();
    for _ in 0..reader.varint()? {
        // In a row they are clean, as all of it; in a node they have no nodes yet.
        consumers.push(read_consumer(&mut reader, is_node)?);
    }
    if is_node && consumers.is_empty() && !reader.is_empty() {
        group.awaited = reader.varint()?;
    }
    if !reader.is_empty() {
        return Err(reader.error("bytes behind the group"));
    }
    if !groups.put_group(number, group) {
        return Err(reader.error("two groups with one number or name"));
    }
    for (consumer, state) in consumers {
        if !groups.put_consumer(number, consumer, state) {
            return Err(reader.error("two consumers with one number or name"));
        }
    }
    Ok(number)
}

/// Reads a consumer of a group and adds it; it is clean.
fn push_consumer(key: &[u8], body: &[u8], groups: &mut Groups) -> Result<(), DecodeError> {
    let (mut key, mut reader) = (Reader::new(key), Reader::new(body));
    let (group, number) = (key.u32_be()?, key.u32_be()?);
    let (found, consumer) = read_consumer(&mut reader, false)?;
    if !key.is_empty() || found != number || !reader.is_empty() {
        return Err(reader.error("a consumer and its key differ"));
    }
    match groups.put_consumer(group, number, consumer) {
        true => Ok(()),
        false => Err(reader.error("a consumer without a group, or a second one")),
    }
}

/// Appends an element of `entries`, checked.
fn push_entry(entries: &mut Tree<ById>, shapes: &[entry::Shape], element: &[u8]) -> Result<(), DecodeError> {
    let id = entry::check_element(shapes, element)?;
    if entries.last().is_some_and(|last| entry::id_of(last) >= id) {
        return Err(DecodeError { what: "stream entries out of order", at: 0 });
    }
    entries.push_back(element);
    Ok(())
}

/// Appends an element of `pending`, checked.
fn push_pending(pending: &mut Tree<ByGroup>, element: &[u8]) -> Result<(), DecodeError> {
    let (group, entry) = Pending::read(element)?;
    let last = pending.last().and_then(|last| Pending::read(last).ok());
    if last.is_some_and(|(last_group, last)| (last_group, last.id) >= (group, entry.id)) {
        return Err(DecodeError { what: "pending entries out of order", at: 0 });
    }
    pending.push_back(element);
    Ok(())
}

impl StreamValue {
    /// Appends the stream as one row.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let stream = &*self.stream;
        stream.put_state(out);
        for element in stream.entries.iter() {
            put_bytes(out, element);
        }
        let Some(groups) = &stream.groups else { return };
        let mut body = Vec::new();
        for (number, group) in groups.groups.iter() {
            body.clear();
            put_group(number, group, &mut body);
            put_varint(&mut body, group.consumers.len() as u64);
            group.consumers.iter().for_each(|(number, consumer)| put_consumer(number, consumer, &mut body));
            put_bytes(out, &body);
        }
        for element in groups.pending.iter() {
            put_bytes(out, element);
        }
    }

    /// Reads a row.
    ///
    /// # Errors
    /// The bytes are not what [`StreamValue::encode`] writes.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let (mut stream, counts) = Stream::read_state(&mut reader)?;
        for _ in 0..counts.entries {
            push_entry(&mut stream.entries, &stream.shapes, reader.bytes()?)?;
        }
        for _ in 0..counts.groups {
            read_group(reader.bytes()?, stream.groups.get_or_insert_default(), false)?;
        }
        for _ in 0..counts.pending {
            push_pending(&mut stream.groups.get_or_insert_default().pending, reader.bytes()?)?;
        }
        if !reader.is_empty() {
            return Err(reader.error("bytes behind the stream"));
        }
        stream.finish(counts)?;
        Ok(StreamValue { stream: Box::new(stream) })
    }

    /// About how many bytes [`StreamValue::encode`] writes; O(1).
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        let stream = &*self.stream;
        let tree = |len: u64, bytes: usize| bytes + len as usize;
        let groups = stream.groups.as_ref().map_or(0, |groups| {
            tree(groups.pending.len(), groups.pending.data_bytes()) + groups.state_bytes()
        });
        let shapes: usize = stream.shapes.iter().map(|shape| shape.len() + 2).sum();
        64 + shapes + tree(stream.entries.len(), stream.entries.data_bytes()) + groups
    }

    /// Appends what is not in nodes.
    pub fn encode_header(&self, out: &mut Vec<u8>) {
        self.stream.put_state(out);
    }

    /// Hands over the nodes that changed (`None`: the row goes) and counts them as clean.
    pub fn take_dirty_nodes(&mut self, put: &mut dyn FnMut(&[u8], Option<&[u8]>)) {
        let stream = &mut *self.stream;
        stream.entries.take_dirty(&mut |label, body| put(&leaf_key(NODE_ENTRIES, label), body));
        let Some(groups) = stream.groups.as_deref_mut() else { return };
        for number in groups.take_gone() {
            put(&group_key(number), None);
        }
        for (group, number) in groups.take_gone_consumers() {
            put(&consumer_key(group, number), None);
        }
        let mut body = Vec::new();
        for (number, group) in groups.groups.iter_mut().filter(|(_, group)| group.is_dirty) {
            body.clear();
            put_group(number, group, &mut body);
            put_varint(&mut body, 0);
            put_varint(&mut body, group.consumers.len() as u64);
            put(&group_key(number), Some(&body));
            group.is_dirty = false;
        }
        groups.take_dirty_consumers(|group, number, consumer| {
            body.clear();
            put_consumer(number, consumer, &mut body);
            put(&consumer_key(group, number), Some(&body));
        });
        groups.pending.take_dirty(&mut |label, body| put(&leaf_key(NODE_PENDING, label), body));
    }

    /// Hands over all nodes and counts them as clean.
    pub fn all_nodes(&mut self, put: &mut dyn FnMut(&[u8], &[u8])) {
        self.stream.entries.forget_rows();
        if let Some(groups) = self.stream.groups.as_deref_mut() {
            groups.pending.forget_rows();
            groups.forget_nodes();
        }
        self.take_dirty_nodes(&mut |key, body| {
            if let Some(body) = body {
                put(key, body);
            }
        });
    }

    /// Starts to load a stream from its header; its nodes follow.
    ///
    /// # Errors
    /// The bytes are no header.
    pub fn begin_load(header: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(header);
        let (mut stream, counts) = Stream::read_state(&mut reader)?;
        if !reader.is_empty() {
            return Err(reader.error("bytes behind the stream header"));
        }
        stream.expected = Some(Box::new(counts));
        Ok(StreamValue { stream: Box::new(stream) })
    }

    /// Takes the next node, in key order.
    ///
    /// # Errors
    /// The key or the body is not a stream's.
    pub fn push_node(&mut self, key: &[u8], body: &[u8]) -> Result<(), DecodeError> {
        let wrong = DecodeError { what: "stream node key", at: 0 };
        let (tag, rest) = key.split_first().ok_or(wrong)?;
        let label = || Ok(u64::from_be_bytes(rest.try_into().map_err(|_| wrong)?));
        let stream = &mut *self.stream;
        match *tag {
            NODE_ENTRIES => stream.entries.push_leaf(label()?, body),
            NODE_GROUP => {
                let number = read_group(body, stream.groups.get_or_insert_default(), true)?;
                if rest == number.to_be_bytes() { Ok(()) } else { Err(wrong) }
            }
            NODE_PENDING => stream.groups.get_or_insert_default().pending.push_leaf(label()?, body),
            NODE_CONSUMER => push_consumer(rest, body, stream.groups.get_or_insert_default()),
            _ => Err(wrong),
        }
    }

    /// Ends the loading; nothing is dirty.
    ///
    /// # Errors
    /// Nodes are missing, or do not fit each other.
    pub fn end_load(&mut self) -> Result<(), DecodeError> {
        let stream = &mut *self.stream;
        let counts = stream.expected.take().ok_or(DecodeError { what: "stream is not loading", at: 0 })?;
        for element in stream.entries.iter() {
            entry::check_element(&stream.shapes, element)?;
        }
        stream.finish(*counts)
    }
}

fn leaf_key(tag: u8, label: u64) -> [u8; 9] {
    let mut key = [tag; 9];
    key[1..].copy_from_slice(&label.to_be_bytes());
    key
}

fn group_key(number: u32) -> [u8; 5] {
    let mut key = [NODE_GROUP; 5];
    key[1..].copy_from_slice(&number.to_be_bytes());
    key
}

fn consumer_key(group: u32, number: u32) -> [u8; 9] {
    let mut key = [NODE_CONSUMER; 9];
    key[1..5].copy_from_slice(&group.to_be_bytes());
    key[5..].copy_from_slice(&number.to_be_bytes());
    key
}
