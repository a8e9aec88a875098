//! Writes streams, in the layout that `decode_stream` describes.
//!
//! The second layout, which Redis 7.0 reads as well, says all there is unless a consumer was heard of
//! after it was last given an entry; the third says that too, and goes with the version of Redis 7.2.

use super::decode_stream::{SAME_FIELDS, UNKNOWN};
use super::listpack::ListpackWriter;
use super::sink::{ConsumerState, EntryId, GroupState, PendingEntry, StreamState};
use super::{RDB_VERSION, RDB_VERSION_ACTIVE_TIMES, RdbType, RdbWriter};

/// Bytes and entries of a node, at most; what Redis writes.
const NODE_BYTES: usize = 4096;
const NODE_ENTRIES: i64 = 100;
/// Bytes of a time.
const TIME_BYTES: usize = 8;
/// A time that says: never.
const NEVER: i64 = -1;

/// The payload of a stream in the making: its entries come first.
pub struct StreamWriter {
    writer: RdbWriter,
    node: Option<Node>,
    nodes: u64,
    entries: u64,
    first_id: EntryId,
}

/// The payload of a stream whose entries are written: each group is followed by its consumers.
pub struct GroupWriter {
    writer: RdbWriter,
    /// Where times stand that the second layout has not.
    active_times: Vec<usize>,
    needs_active_times: bool,
}

/// The node that takes entries.
struct Node {
    base: EntryId,
    count: i64,
    /// The names of the first entry, behind one another, and where each ends.
    names: Vec<u8>,
    ends: Vec<usize>,
    body: ListpackWriter,
}

impl Default for StreamWriter {
    fn default() -> Self {
        Self::new()
    }
}

impl StreamWriter {
    /// The payload of an empty stream.
    #[must_use]
    pub fn new() -> Self {
        let writer = RdbWriter::new(RdbType::Stream2);
        StreamWriter { writer, node: None, nodes: 0, entries: 0, first_id: EntryId::default() }
    }

    /// Appends an entry; ids rise.
    pub fn entry<'a>(&mut self, id: EntryId, fields: impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone) {
        if self.entries == 0 {
            self.first_id = id;
        }
        self.entries += 1;
        if self.node.as_ref().is_some_and(Node::is_full) {
            self.end_node();
        }
        self.node.get_or_insert_with(|| Node::new(id, fields.clone())).push(id, fields);
    }

    fn end_node(&mut self) {
        if let Some(node) = self.node.take() {
            self.nodes += 1;
            self.writer.string(&node.base.to_bytes());
            self.writer.string(&node.finish());
        }
    }

    /// Ends the entries. `group_count` groups follow; the first id is that of the first entry.
    #[must_use]
    pub fn state(mut self, state: StreamState, group_count: u64) -> GroupWriter {
        self.end_node();
        let mut writer = self.writer;
        // Behind the type byte.
        writer.insert_len(1, self.nodes);
        writer.put_len(self.entries);
        for id in [state.last_id, self.first_id, state.max_deleted_id] {
            put_id(&mut writer, id);
        }
        writer.put_len(state.entries_added);
        writer.put_len(group_count);
        GroupWriter { writer, active_times: Vec::new(), needs_active_times: false }
    }
}

impl GroupWriter {
    /// Writes a group with all that is pending in it; its `consumer_count` consumers follow.
    pub fn group(
        &mut self,
        group: GroupState<'_>,
        pending: impl ExactSizeIterator<Item = PendingEntry>,
        consumer_count: u64,
    ) {
        let writer = &mut self.writer;
        writer.string(group.name);
        put_id(writer, group.last_id);
        writer.put_len(group.entries_read.unwrap_or(UNKNOWN));
        writer.put_len(pending.len() as u64);
        for entry in pending {
            writer.raw(&entry.id.to_bytes());
            writer.raw(&entry.delivered_ms.to_le_bytes());
            writer.put_len(entry.deliveries);
        }
        writer.put_len(consumer_count);
    }

    /// Writes a consumer of the latest group, and the ids that are pending for it.
    pub fn consumer(&mut self, consumer: ConsumerState<'_>, pending: impl ExactSizeIterator<Item = EntryId>) {
        let writer = &mut self.writer;
        writer.string(consumer.name);
        writer.raw(&consumer.seen_ms.to_le_bytes());
        self.active_times.push(writer.position());
        self.needs_active_times |= consumer.active_ms != Some(consumer.seen_ms);
        let active = consumer.active_ms.map_or(NEVER, u64::cast_signed);
        writer.raw(&active.to_le_bytes());
        writer.put_len(pending.len() as u64);
        pending.for_each(|id| writer.raw(&id.to_bytes()));
    }

    /// Ends the payload.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        if self.needs_active_times {
            self.writer.set_type(RdbType::Stream3);
            return self.writer.finish(RDB_VERSION_ACTIVE_TIMES);
        }
        self.writer.remove(&self.active_times, TIME_BYTES);
        self.writer.finish(RDB_VERSION)
    }
}

fn put_id(writer: &mut RdbWriter, id: EntryId) {
    writer.put_len(id.ms);
    writer.put_len(id.seq);
}

impl Node {
    fn new<'a>(base: EntryId, fields: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Self {
        let (mut names, mut ends) = (Vec::new(), Vec::new());
        for (name, _) in fields {
            names.extend_from_slice(name);
            ends.push(names.len());
        }
        Node { base, count: 0, names, ends, body: ListpackWriter::new() }
    }

    fn is_full(&self) -> bool {
        self.count >= NODE_ENTRIES || self.names.len() + self.body.bytes() >= NODE_BYTES
    }

    /// The names of the node.
    fn names(&self) -> impl Iterator<Item = &[u8]> {
        let starts = [0].into_iter().chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| &self.names[start..*end])
    }

    fn push<'a>(&mut self, id: EntryId, fields: impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone) {
        let shares_names = self.names().eq(fields.clone().map(|(name, _)| name));
        self.body.push_int(if shares_names { SAME_FIELDS } else { 0 });
        self.body.push_int(id.ms.wrapping_sub(self.base.ms).cast_signed());
        self.body.push_int(id.seq.wrapping_sub(self.base.seq).cast_signed());
        if shares_names {
            fields.for_each(|(_, value)| self.body.push(value));
            self.body.push_int(self.ends.len() as i64 + 3);
        } else {
            let count = fields.clone().count() as i64;
            self.body.push_int(count);
            for (name, value) in fields {
                self.body.push(name);
                self.body.push(value);
            }
            self.body.push_int(2 * count + 4);
        }
        self.count += 1;
    }

    fn finish(self) -> Vec<u8> {
        let mut whole = ListpackWriter::new();
        for number in [self.count, 0, self.ends.len() as i64] {
            whole.push_int(number);
        }
        self.names().for_each(|name| whole.push(name));
        whole.push_int(0);
        whole.append(&self.body);
        whole.finish()
    }
}
