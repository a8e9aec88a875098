//! Between payloads and the collections that keys hold.
//!
//! Dumping walks a collection and costs O(n). Loading makes one element at a time part of a new
//! collection, as commands would: what limits say of its encoding is decided here and nowhere else.
//! Fields of a hash that have run out are dumped, since they are still stored, and not loaded.
//!
//! A loaded collection takes memory for what the payload unpacks to: compressed parts may be 88 times as
//! long as their bytes. Streams could be more, since entries of a node share the names of their fields and
//! a few bytes each would repeat long ones: one that takes more than [`STREAM_BYTES_FREE`] and
//! [`STREAM_GROWTH_MAX`] times its payload is refused. Nodes as servers write them stay far below.

use super::sink::{ConsumerState, EntryFields, EntryId, GroupState, ObjectSink, PendingEntry, StreamState};
use super::{
    DumpError, DumpedCollection, GroupWriter, ObjectKind, StreamWriter, Text, dump_hash, dump_list, dump_set,
    dump_zset,
};
use crate::ids::ExpireAt;
use crate::value::collection::Collection;
use crate::value::hash::{Field, HashBuilder, HashLimits};
use crate::value::list::{End, ListLimits, ListValue};
use crate::value::set::{Member, SetBuilder, SetLimits};
use crate::value::stream::edit::StreamEdit;
use crate::value::stream::{NewId, StreamId, StreamLimits, StreamValue};
use crate::value::zset;

/// What a loaded stream may take however short its payload is, in bytes.
const STREAM_BYTES_FREE: usize = 16 << 20;
/// How many times its payload's length a loaded stream may take beyond that.
const STREAM_GROWTH_MAX: usize = 256;

/// Which encodings loaded collections get.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    /// Of hashes.
    pub hash: HashLimits,
    /// Of lists.
    pub list: ListLimits,
    /// Of sets.
    pub set: SetLimits,
    /// Of sorted sets.
    pub zset: zset::Limits,
}

/// The payload of a collection.
#[must_use]
pub fn dump_collection(collection: &Collection) -> Vec<u8> {
    match collection {
        Collection::List(list) => dump_list(list.iter()),
        Collection::Set(set) => dump_set(set.members().map(|member| match member {
            Member::Int(value) => Text::int(value),
            Member::Bytes(bytes) => Text::bytes(bytes),
        })),
        Collection::ZSet(zset) => dump_zset(zset.iter().map(|element| (element.member, element.score))),
        Collection::Hash(hash) => {
            // No deadline is at or before the time 0: all fields are visible then.
            let fields = hash.fields(0);
            dump_hash(fields.map(|field| (field.name, field.value, field.deadline.map(|at| at.0))))
        }
        Collection::Stream(stream) => dump_stream(stream),
    }
}

fn dump_stream(stream: &StreamValue) -> Vec<u8> {
    let mut entries = StreamWriter::new();
    for entry in stream.range(StreamId::MIN, StreamId::MAX) {
        entries.entry(id_out(entry.id), entry.fields());
    }
    let state = StreamState {
        last_id: id_out(stream.last_id()),
        first_id: id_out(stream.first_id()),
        max_deleted_id: id_out(stream.max_deleted_id()),
        entries_added: stream.entries_added(),
    };
    let mut groups = entries.state(state, stream.groups_len());
    dump_groups(stream, &mut groups);
    groups.finish()
}

fn dump_groups(stream: &StreamValue, out: &mut GroupWriter) {
    for group in stream.groups() {
        let state = GroupState {
            name: group.name(),
            last_id: id_out(group.last_id()),
            entries_read: group.entries_read(),
        };
        let pending: Vec<PendingEntry> = group
            .pending(StreamId::MIN, StreamId::MAX)
            .map(|pending| PendingEntry {
                id: id_out(pending.id),
                delivered_ms: pending.time_ms,
                deliveries: pending.deliveries,
            })
            .collect();
        out.group(state, pending.into_iter(), group.consumers_len());
        for consumer in group.consumers() {
            let state = ConsumerState {
                name: consumer.name(),
                seen_ms: consumer.seen_ms(),
                active_ms: consumer.active_ms(),
            };
            let pending = consumer.pending(StreamId::MIN, StreamId::MAX);
            let ids: Vec<EntryId> = pending.map(|pending| id_out(pending.id)).collect();
            out.consumer(state, ids.into_iter());
        }
    }
}

/// The collection that a payload holds, as of now. It is vacant if it is a hash whose fields have all run out.
///
/// # Errors
/// [`DumpError::BadData`] for a stream that no command could have made.
pub fn load_collection(
    dumped: &DumpedCollection<'_>,
    limits: &Limits,
    now_ms: u64,
) -> Result<Collection, DumpError> {
    let mut limits = *limits;
    if dumped.value_type.is_packed() {
        (limits.hash.value_max, limits.set.value_max) = (u64::MAX, u64::MAX);
        limits.zset.member_bytes = usize::MAX;
    }
    match dumped.kind() {
        ObjectKind::Hash => {
            let mut sink = HashSink { builder: HashBuilder::new(limits.hash), now_ms };
            dumped.read_into(&mut sink)?;
            Ok(Collection::Hash(sink.builder.finish()))
        }
        ObjectKind::Set => {
            let mut sink = SetSink(SetBuilder::new(&limits.set));
            dumped.read_into(&mut sink)?;
            Ok(Collection::Set(sink.0.finish()))
        }
        ObjectKind::ZSet => {
            let mut sink = ZSetSink(zset::Builder::new());
            dumped.read_into(&mut sink)?;
            Ok(Collection::ZSet(sink.0.finish(&limits.zset)))
        }
        ObjectKind::List => {
            let mut sink = ListSink { value: ListValue::default(), limits: limits.list, edit: Vec::new() };
            dumped.read_into(&mut sink)?;
            Ok(Collection::List(sink.value))
        }
        ObjectKind::Stream => {
            let bytes_max = dumped.payload_len().saturating_mul(STREAM_GROWTH_MAX);
            let bytes_max = bytes_max.saturating_add(STREAM_BYTES_FREE);
            let mut sink = StreamSink { bytes_max, ..StreamSink::default() };
            dumped.read_into(&mut sink)?;
            if sink.is_wrong { Err(DumpError::BadData) } else { Ok(Collection::Stream(sink.value)) }
        }
        ObjectKind::String => Err(DumpError::BadData),
    }
}

struct HashSink {
    builder: HashBuilder,
    now_ms: u64,
}

impl ObjectSink for HashSink {
    fn field(&mut self, name: &[u8], value: &[u8], deadline_ms: Option<u64>) {
        let field = Field { name, value, deadline: deadline_ms.map(ExpireAt) };
        if field.is_live(self.now_ms) {
            self.builder.add(field);
        }
    }
}

struct SetSink(SetBuilder);

impl ObjectSink for SetSink {
    fn member(&mut self, member: &[u8]) {
        self.0.add(Member::Bytes(member));
    }
}

struct ZSetSink(zset::Builder);

impl ObjectSink for ZSetSink {
    fn scored(&mut self, member: &[u8], score: f64) {
        self.0.push(member, score);
    }
}

struct ListSink {
    value: ListValue,
    limits: ListLimits,
    edit: Vec<u8>,
}

impl ObjectSink for ListSink {
    fn element(&mut self, element: &[u8]) {
        self.edit.clear();
        self.value.plan_push(End::Back, std::iter::once(element), self.limits, &mut self.edit);
        self.value.apply(&self.edit).expect("planned for this very list");
    }
}

/// Builds a stream by edits. Groups and consumers are numbered as they come. Once something was wrong it
/// does nothing more.
#[derive(Default)]
struct StreamSink {
    value: StreamValue,
    bytes_max: usize,
    edit: Vec<u8>,
    /// Groups so far; the latest has the number below.
    groups: u32,
    /// Consumers of the latest group so far.
    consumers: u32,
    /// Something did not fit: commands could not have made it.
    is_wrong: bool,
}

impl StreamSink {
    fn make(&mut self, edit: StreamEdit<'_>) {
        if self.is_wrong {
            return;
        }
        self.edit.clear();
        edit.put(&mut self.edit);
        self.is_wrong |= self.value.apply(&self.edit).is_err();
    }

    fn latest_group(&self) -> u32 {
        self.groups.saturating_sub(1)
    }

    fn latest_consumer(&self) -> u32 {
        self.consumers.saturating_sub(1)
    }
}

impl ObjectSink for StreamSink {
    fn entry(&mut self, id: EntryId, fields: EntryFields<'_>) {
        if self.is_wrong {
            return;
        }
        let texts: Vec<_> = fields.iter().collect();
        let pairs = texts.iter().map(|(name, value)| (name.as_ref(), value.as_ref()));
        self.edit.clear();
        let id = NewId::Explicit(id_in(id));
        let planned = self.value.plan_add(id, pairs, None, 0, StreamLimits::default(), &mut self.edit);
        self.is_wrong |= planned.is_err()
            || self.value.apply(&self.edit).is_err()
            || self.value.encoded_len() > self.bytes_max;
    }

    fn stream(&mut self, state: StreamState) {
        self.make(StreamEdit::SetState {
            last_id: id_in(state.last_id),
            entries_added: state.entries_added,
            max_deleted: id_in(state.max_deleted_id),
        });
    }

    fn group(&mut self, group: GroupState<'_>) {
        (self.groups, self.consumers) = (self.groups + 1, 0);
        self.make(StreamEdit::CreateGroup {
            group: self.latest_group(),
            name: group.name,
            last_id: id_in(group.last_id),
            entries_read: group.entries_read,
        });
    }

    fn consumer(&mut self, state: ConsumerState<'_>) {
        self.consumers += 1;
        let (group, consumer) = (self.latest_group(), self.latest_consumer());
        let ConsumerState { name, seen_ms, active_ms } = state;
        self.make(StreamEdit::CreateConsumer { group, consumer, name, seen_ms });
        self.make(StreamEdit::See { group, consumer, seen_ms, active_ms });
    }

    fn pending(&mut self, pending: PendingEntry) {
        self.make(StreamEdit::Own {
            group: self.latest_group(),
            id: id_in(pending.id),
            consumer: self.latest_consumer(),
            time_ms: pending.delivered_ms,
            deliveries: pending.deliveries,
        });
    }
}

fn id_in(id: EntryId) -> StreamId {
    StreamId::new(id.ms, id.seq)
}

fn id_out(id: StreamId) -> EntryId {
    EntryId { ms: id.ms, seq: id.seq }
}
