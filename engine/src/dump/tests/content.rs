//! A value taken out of a payload, as plain collections: what tests and the fuzzer compare.
//!
//! Its text form is a line without newlines; the file of golden payloads has the same lines, made from
//! what the servers that wrote the payloads replied.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display, Formatter, Write};

use crate::dump::{
    self, ConsumerState, DumpedCollection, EntryFields, EntryId, GroupState, ObjectKind, ObjectSink,
    PendingEntry, StreamState, StreamWriter,
};

pub type Bytes = Vec<u8>;

/// A collection.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    List(Vec<Bytes>),
    Set(BTreeSet<Bytes>),
    ZSet(BTreeMap<Bytes, f64>),
    Hash(BTreeMap<Bytes, (Bytes, Option<u64>)>),
    Stream(Stream),
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct Stream {
    pub entries: Vec<(EntryId, Vec<(Bytes, Bytes)>)>,
    pub state: StreamState,
    pub groups: Vec<Group>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    pub name: Bytes,
    pub last_id: EntryId,
    pub entries_read: Option<u64>,
    pub consumers: Vec<Consumer>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Consumer {
    pub name: Bytes,
    pub seen_ms: u64,
    pub active_ms: Option<u64>,
    pub pending: Vec<PendingEntry>,
}

impl Content {
    /// What a payload holds. Sorted where order means nothing.
    pub fn of(collection: &DumpedCollection<'_>) -> Content {
        let mut content = match collection.kind() {
            ObjectKind::List => Content::List(Vec::new()),
            ObjectKind::Set => Content::Set(BTreeSet::new()),
            ObjectKind::ZSet => Content::ZSet(BTreeMap::new()),
            ObjectKind::Hash => Content::Hash(BTreeMap::new()),
            ObjectKind::Stream => Content::Stream(Stream::default()),
            ObjectKind::String => panic!("a collection is not a string"),
        };
        collection.read_into(&mut content).expect("it was checked");
        if let Content::Stream(stream) = &mut content {
            stream.groups.sort_by(|a, b| a.name.cmp(&b.name));
            for group in &mut stream.groups {
                group.consumers.sort_by(|a, b| a.name.cmp(&b.name));
                group
                    .consumers
                    .iter_mut()
                    .for_each(|consumer| consumer.pending.sort_by_key(|entry| entry.id));
            }
        }
        content
    }

    /// How many elements there are.
    pub fn len(&self) -> usize {
        match self {
            Content::List(elements) => elements.len(),
            Content::Set(members) => members.len(),
            Content::ZSet(members) => members.len(),
            Content::Hash(fields) => fields.len(),
            Content::Stream(stream) => stream.entries.len(),
        }
    }

    /// The payload that Lux writes.
    pub fn dump(&self) -> Vec<u8> {
        match self {
            Content::List(elements) => dump::dump_list(elements.iter().map(Vec::as_slice)),
            Content::Set(members) => dump::dump_set(members.iter().map(Vec::as_slice)),
            Content::ZSet(members) => {
                let mut rows: Vec<(&[u8], f64)> = members.iter().map(|(m, s)| (m.as_slice(), *s)).collect();
                rows.sort_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(b.0)));
                dump::dump_zset(rows.iter().copied())
            }
            Content::Hash(fields) => {
                dump::dump_hash(fields.iter().map(|(field, (value, at))| (&field[..], &value[..], *at)))
            }
            Content::Stream(stream) => stream.dump(),
        }
    }
}

impl Stream {
    fn dump(&self) -> Vec<u8> {
        let mut entries = StreamWriter::new();
        for (id, fields) in &self.entries {
            entries.entry(*id, fields.iter().map(|(name, value)| (&name[..], &value[..])));
        }
        let mut groups = entries.state(self.state, self.groups.len() as u64);
        for group in &self.groups {
            let mut pending: Vec<PendingEntry> =
                group.consumers.iter().flat_map(|consumer| consumer.pending.iter().copied()).collect();
            pending.sort_by_key(|entry| entry.id);
            let Group { name, last_id, entries_read, consumers } = group;
            let state = GroupState { name, last_id: *last_id, entries_read: *entries_read };
            groups.group(state, pending.into_iter(), consumers.len() as u64);
            for Consumer { name, seen_ms, active_ms, pending } in consumers {
                let state = ConsumerState { name, seen_ms: *seen_ms, active_ms: *active_ms };
                groups.consumer(state, pending.iter().map(|entry| entry.id));
            }
        }
        groups.finish()
    }
}

impl ObjectSink for Content {
    fn element(&mut self, element: &[u8]) {
        let Content::List(elements) = self else { panic!("not a list") };
        elements.push(element.to_vec());
    }

    fn member(&mut self, member: &[u8]) {
        let Content::Set(members) = self else { panic!("not a set") };
        assert!(members.insert(member.to_vec()), "members are distinct");
    }

    fn scored(&mut self, member: &[u8], score: f64) {
        let Content::ZSet(members) = self else { panic!("not a sorted set") };
        assert!(!score.is_nan() && members.insert(member.to_vec(), score).is_none());
    }

    fn field(&mut self, field: &[u8], value: &[u8], deadline_ms: Option<u64>) {
        let Content::Hash(fields) = self else { panic!("not a hash") };
        assert!(
            fields.insert(field.to_vec(), (value.to_vec(), deadline_ms)).is_none(),
            "fields are distinct"
        );
    }

    fn entry(&mut self, id: EntryId, fields: EntryFields<'_>) {
        let Content::Stream(stream) = self else { panic!("not a stream") };
        assert!(stream.entries.last().is_none_or(|(before, _)| *before < id), "ids rise");
        let fields = fields.iter().map(|(name, value)| (name.as_ref().to_vec(), value.as_ref().to_vec()));
        stream.entries.push((id, fields.collect()));
    }

    fn stream(&mut self, state: StreamState) {
        let Content::Stream(stream) = self else { panic!("not a stream") };
        stream.state = state;
    }

    fn group(&mut self, group: GroupState<'_>) {
        let Content::Stream(stream) = self else { panic!("not a stream") };
        let GroupState { name, last_id, entries_read } = group;
        stream.groups.push(Group { name: name.to_vec(), last_id, entries_read, consumers: Vec::new() });
    }

    fn consumer(&mut self, consumer: ConsumerState<'_>) {
        let Content::Stream(stream) = self else { panic!("not a stream") };
        let ConsumerState { name, seen_ms, active_ms } = consumer;
        let consumers = &mut stream.groups.last_mut().expect("a group came before").consumers;
        consumers.push(Consumer { name: name.to_vec(), seen_ms, active_ms, pending: Vec::new() });
    }

    fn pending(&mut self, pending: PendingEntry) {
        let Content::Stream(stream) = self else { panic!("not a stream") };
        let group = stream.groups.last_mut().expect("a group came before");
        group.consumers.last_mut().expect("a consumer came before").pending.push(pending);
    }
}

impl Display for Content {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Content::List(elements) => {
                f.write_str("list")?;
                elements.iter().try_for_each(|element| write!(f, " {}", Quoted(element)))
            }
            Content::Set(members) => {
                f.write_str("set")?;
                members.iter().try_for_each(|member| write!(f, " {}", Quoted(member)))
            }
            Content::ZSet(members) => {
                f.write_str("zset")?;
                let mut rows = members.iter();
                rows.try_for_each(|(member, score)| write!(f, " {}={:016x}", Quoted(member), score.to_bits()))
            }
            Content::Hash(fields) => {
                f.write_str("hash")?;
                for (field, (value, deadline)) in fields {
                    write!(f, " {}={}", Quoted(field), Quoted(value))?;
                    deadline.map_or(Ok(()), |at| write!(f, "@{at}"))?;
                }
                Ok(())
            }
            Content::Stream(stream) => stream.fmt(f),
        }
    }
}

impl Display for Stream {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("stream")?;
        for (id, fields) in &self.entries {
            write!(f, " {}", Id(*id))?;
            for (name, value) in fields {
                write!(f, " {}={}", Quoted(name), Quoted(value))?;
            }
        }
        let state = &self.state;
        let (last, first, deleted) = (Id(state.last_id), Id(state.first_id), Id(state.max_deleted_id));
        write!(f, " state {last} {first} {deleted} {}", state.entries_added)?;
        for group in &self.groups {
            let read = group.entries_read.map_or("-".to_owned(), |count| count.to_string());
            write!(f, " group {} {} {read}", Quoted(&group.name), Id(group.last_id))?;
            for consumer in &group.consumers {
                let active = consumer.active_ms.map_or("-".to_owned(), |at| at.to_string());
                write!(f, " consumer {} {} {active}", Quoted(&consumer.name), consumer.seen_ms)?;
                for PendingEntry { id, delivered_ms, deliveries } in &consumer.pending {
                    write!(f, " {}@{delivered_ms}*{deliveries}", Id(*id))?;
                }
            }
        }
        Ok(())
    }
}

struct Id(EntryId);

impl Display for Id {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.0.ms, self.0.seq)
    }
}

struct Quoted<'a>(&'a [u8]);

impl Display for Quoted<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for byte in self.0 {
            match byte {
                b'"' | b'\\' | 0..=0x1f | 0x7f.. => write!(f, "\\x{byte:02x}")?,
                _ => f.write_char(char::from(*byte))?,
            }
        }
        f.write_char('"')
    }
}
