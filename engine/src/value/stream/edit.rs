//! What the log records of a stream's change, and how it is made.
//!
//! An edit is a run of operations, each a tag byte and its arguments. Numbers are varints, ids are in
//! their short form, strings are length-prefixed; times are absolute. Groups and consumers go by number.
//!
//! | tag | operation | arguments |
//! |---|---|---|
//! | 1 | shape | names (see [`super::entry`]); it is the next shape |
//! | 2 | add | element, length-prefixed; its id is above the last |
//! | 3 | trim | count of entries that go from the front |
//! | 4 | delete | id; counts as deleted |
//! | 5 | drop | id; goes like a trimmed entry |
//! | 6 | set state | last id, entries added, largest deleted id |
//! | 7 | create group | group, name, last id, entries read |
//! | 8 | move group | group, last id, entries read |
//! | 9 | destroy group | group |
//! | 10 | create consumer | group, consumer, name, time seen |
//! | 11 | delete consumer | group, consumer |
//! | 12 | see consumer | group, consumer, time seen, time active |
//! | 13 | deliver | group, consumer, time, count: the entries behind the group's last id become pending |
//! | 14 | own | group, id, consumer, time, deliveries: the entry is pending so |
//! | 15 | acknowledge | group, id |
//!
//! "Entries read" and "time active" are one more than their value, 0 for none. Tags are on disk: append
//! only. An operation costs O(log n); trim, destroy and delete also what goes, deliver what it delivers.

use super::entry::{self, SHAPES_MAX};
use super::group::{Consumer, Group, Groups, Pending, Registry};
use super::{Stream, StreamId, StreamValue};
use crate::codec::{DecodeError, Reader, put_bytes, put_varint};

/// One operation of an edit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamEdit<'a> {
    /// The stream's next shape.
    Shape(&'a [u8]),
    /// A new entry.
    Add(&'a [u8]),
    /// So many entries go from the front.
    Trim(u64),
    /// An entry is deleted.
    Delete(StreamId),
    /// An entry goes as if trimmed.
    Drop(StreamId),
    /// The counters are so.
    SetState {
        /// Id of the newest entry that ever was.
        last_id: StreamId,
        /// Entries that were ever added.
        entries_added: u64,
        /// The largest id that was deleted.
        max_deleted: StreamId,
    },
    /// A new group.
    CreateGroup {
        /// Its number.
        group: u32,
        /// Its name.
        name: &'a [u8],
        /// What it read last.
        last_id: StreamId,
        /// How many it read.
        entries_read: Option<u64>,
    },
    /// A group stands elsewhere.
    MoveGroup {
        /// Its number.
        group: u32,
        /// What it read last.
        last_id: StreamId,
        /// How many it read.
        entries_read: Option<u64>,
    },
    /// A group goes, with its consumers and what is pending.
    DestroyGroup(u32),
    /// A new consumer.
    CreateConsumer {
        /// Its group.
        group: u32,
        /// Its number.
        consumer: u32,
        /// Its name.
        name: &'a [u8],
        /// When it was seen.
        seen_ms: u64,
    },
    /// A consumer goes, with what is pending for it.
    DeleteConsumer {
        /// Its group.
        group: u32,
        /// Its number.
        consumer: u32,
    },
    /// A consumer was seen, and perhaps active.
    See {
        /// Its group.
        group: u32,
        /// Its number.
        consumer: u32,
        /// When it was seen.
        seen_ms: u64,
        /// When it was active; none: as before.
        active_ms: Option<u64>,
    },
    /// The next entries of the group are pending for a consumer, delivered once.
    Deliver {
        /// The group.
        group: u32,
        /// The consumer.
        consumer: u32,
        /// When.
        time_ms: u64,
        /// How many.
        count: u64,
    },
    /// An entry is pending so, whoever held it.
    Own {
        /// The group.
        group: u32,
        /// The entry.
        id: StreamId,
        /// Who holds it.
        consumer: u32,
        /// When it was delivered.
        time_ms: u64,
        /// How often.
        deliveries: u64,
    },
    /// An entry is not pending any more.
    Acknowledge {
        /// The group.
        group: u32,
        /// The entry.
        id: StreamId,
    },
}

/// Appends "one more than the value, 0 for none"; the largest value is written as none.
pub(super) fn put_optional(out: &mut Vec<u8>, value: Option<u64>) {
    put_varint(out, value.map_or(0, |value| value.wrapping_add(1)));
}

pub(super) fn read_optional(reader: &mut Reader<'_>) -> Result<Option<u64>, DecodeError> {
    Ok(reader.varint()?.checked_sub(1))
}

impl<'a> StreamEdit<'a> {
    /// The tag of [`StreamEdit::Add`], for who writes the element in place.
    pub(super) const ADD: u8 = 2;

    fn tag(&self) -> u8 {
        match self {
            StreamEdit::Shape(_) => 1,
            StreamEdit::Add(_) => Self::ADD,
            StreamEdit::Trim(_) => 3,
            StreamEdit::Delete(_) => 4,
            StreamEdit::Drop(_) => 5,
            StreamEdit::SetState { .. } => 6,
            StreamEdit::CreateGroup { .. } => 7,
            StreamEdit::MoveGroup { .. } => 8,
            StreamEdit::DestroyGroup(_) => 9,
            StreamEdit::CreateConsumer { .. } => 10,
            StreamEdit::DeleteConsumer { .. } => 11,
            StreamEdit::See { .. } => 12,
            StreamEdit::Deliver { .. } => 13,
            StreamEdit::Own { .. } => 14,
            StreamEdit::Acknowledge { .. } => 15,
        }
    }

    /// Appends the operation.
    pub fn put(&self, out: &mut Vec<u8>) {
        out.push(self.tag());
        match *self {
            StreamEdit::Shape(bytes) | StreamEdit::Add(bytes) => put_bytes(out, bytes),
            StreamEdit::Trim(count) => put_varint(out, count),
            StreamEdit::Delete(id) | StreamEdit::Drop(id) => id.put(out),
            StreamEdit::SetState { last_id, entries_added, max_deleted } => {
                last_id.put(out);
                put_varint(out, entries_added);
                max_deleted.put(out);
            }
            _ => self.put_group(out),
        }
    }

    /// Appends the arguments of an operation on a group.
    fn put_group(&self, out: &mut Vec<u8>) {
        let mut numbers = |numbers: &[u64]| numbers.iter().for_each(|number| put_varint(out, *number));
        match *self {
            StreamEdit::CreateGroup { group, name, last_id, entries_read } => {
                numbers(&[u64::from(group)]);
                put_bytes(out, name);
                last_id.put(out);
                put_optional(out, entries_read);
            }
            StreamEdit::MoveGroup { group, last_id, entries_read } => {
                numbers(&[u64::from(group)]);
                last_id.put(out);
                put_optional(out, entries_read);
            }
            StreamEdit::DestroyGroup(group) => numbers(&[u64::from(group)]),
            StreamEdit::CreateConsumer { group, consumer, name, seen_ms } => {
                numbers(&[u64::from(group), u64::from(consumer)]);
                put_bytes(out, name);
                put_varint(out, seen_ms);
            }
            StreamEdit::DeleteConsumer { group, consumer } => {
                numbers(&[u64::from(group), u64::from(consumer)]);
            }
            StreamEdit::See { group, consumer, seen_ms, active_ms } => {
                numbers(&[u64::from(group), u64::from(consumer), seen_ms]);
                put_optional(out, active_ms);
            }
            StreamEdit::Deliver { group, consumer, time_ms, count } => {
                numbers(&[u64::from(group), u64::from(consumer), time_ms, count]);
            }
            StreamEdit::Own { group, id, consumer, time_ms, deliveries } => {
                numbers(&[u64::from(group)]);
                id.put(out);
                for number in [u64::from(consumer), time_ms, deliveries] {
                    put_varint(out, number);
                }
            }
            StreamEdit::Acknowledge { group, id } => {
                numbers(&[u64::from(group)]);
                id.put(out);
            }
            _ => {}
        }
    }

    /// Reads one operation.
    pub fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(match reader.u8()? {
            1 => StreamEdit::Shape(reader.bytes()?),
            2 => StreamEdit::Add(reader.bytes()?),
            3 => StreamEdit::Trim(reader.varint()?),
            4 => StreamEdit::Delete(StreamId::read(reader)?),
            5 => StreamEdit::Drop(StreamId::read(reader)?),
            6 => StreamEdit::SetState {
                last_id: StreamId::read(reader)?,
                entries_added: reader.varint()?,
                max_deleted: StreamId::read(reader)?,
            },
            tag @ 7..=15 => {
                let group = reader.varint_u32()?;
                Self::read_group(tag, group, reader)?
            }
            _ => return Err(reader.error("unknown stream edit")),
        })
    }

    /// Reads the rest of an operation on a group.
    fn read_group(tag: u8, group: u32, reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(match tag {
            7 => StreamEdit::CreateGroup {
                group,
                name: reader.bytes()?,
                last_id: StreamId::read(reader)?,
                entries_read: read_optional(reader)?,
            },
            8 => StreamEdit::MoveGroup {
                group,
                last_id: StreamId::read(reader)?,
                entries_read: read_optional(reader)?,
            },
            9 => StreamEdit::DestroyGroup(group),
            10 => StreamEdit::CreateConsumer {
                group,
                consumer: reader.varint_u32()?,
                name: reader.bytes()?,
                seen_ms: reader.varint()?,
            },
            11 => StreamEdit::DeleteConsumer { group, consumer: reader.varint_u32()? },
            12 => StreamEdit::See {
                group,
                consumer: reader.varint_u32()?,
                seen_ms: reader.varint()?,
                active_ms: read_optional(reader)?,
            },
            13 => StreamEdit::Deliver {
                group,
                consumer: reader.varint_u32()?,
                time_ms: reader.varint()?,
                count: reader.varint()?,
            },
            14 => StreamEdit::Own {
                group,
                id: StreamId::read(reader)?,
                consumer: reader.varint_u32()?,
                time_ms: reader.varint()?,
                deliveries: reader.varint()?,
            },
            _ => StreamEdit::Acknowledge { group, id: StreamId::read(reader)? },
        })
    }
}

impl StreamValue {
    /// Makes an edit.
    ///
    /// # Errors
    /// The bytes are no edit of this stream; it may have been changed by the operations before.
    pub fn apply(&mut self, edit: &[u8]) -> Result<(), DecodeError> {
        let mut reader = Reader::new(edit);
        while !reader.is_empty() {
            let edit = StreamEdit::read(&mut reader)?;
            self.stream.make(edit).map_err(|what| reader.error(what))?;
        }
        Ok(())
    }
}

fn must(is_done: bool, what: &'static str) -> Result<(), &'static str> {
    if is_done { Ok(()) } else { Err(what) }
}

impl Stream {
    fn make(&mut self, edit: StreamEdit<'_>) -> Result<(), &'static str> {
        match edit {
            StreamEdit::Shape(shape) => {
                entry::check_shape(shape).map_err(|error| error.what)?;
                must(self.shapes.len() < SHAPES_MAX, "too many shapes")?;
                self.shapes.push(shape.into());
            }
            StreamEdit::Add(element) => {
                let id = entry::check_element(&self.shapes, element).map_err(|error| error.what)?;
                must(id > self.last_id, "stream id not above the last")?;
                self.entries.push_back(element);
                self.last_id = id;
                self.entries_added = self.entries_added.saturating_add(1);
            }
            StreamEdit::Trim(count) => {
                must(count <= self.entries.len(), "more trimmed than there is")?;
                self.entries.remove_range(0, count);
            }
            StreamEdit::Delete(id) => {
                self.remove(id)?;
                self.max_deleted = self.max_deleted.max(id);
            }
            StreamEdit::Drop(id) => self.remove(id)?,
            StreamEdit::SetState { last_id, entries_added, max_deleted } => {
                let top = self.entries.len().checked_sub(1).and_then(|rank| self.entries.place_at(rank));
                let top = top.and_then(|place| self.entries.get(place)).map(entry::id_of);
                must(top.is_none_or(|top| top <= last_id), "last id below an entry")?;
                (self.last_id, self.entries_added) = (last_id, entries_added);
                self.max_deleted = max_deleted;
            }
            StreamEdit::Deliver { group, consumer, time_ms, count } => {
                self.deliver(group, consumer, time_ms, count)?;
            }
            _ => self.groups.get_or_insert_default().make(edit)?,
        }
        Ok(())
    }

    fn remove(&mut self, id: StreamId) -> Result<(), &'static str> {
        let place = self.place(id).map_err(|_| "no such stream entry")?;
        self.entries.remove(place);
        Ok(())
    }

    fn deliver(&mut self, group: u32, consumer: u32, time_ms: u64, count: u64) -> Result<(), &'static str> {
        let groups = self.groups.as_deref_mut().ok_or("no such group")?;
        let last_id = groups.groups.get(group).ok_or("no such group")?.last_id;
        let Some(start) = last_id.next() else { return must(count == 0, "nothing to deliver") };
        let (Ok(place) | Err(place)) =
            self.entries.find(start.ms, |element| entry::id_of(element).cmp(&start));
        let mut delivered = 0;
        for element in self.entries.iter_from(place).take(usize::try_from(count).unwrap_or(usize::MAX)) {
            let pending = Pending { id: entry::id_of(element), consumer, time_ms, deliveries: 1 };
            must(groups.put_pending(group, pending), "no such consumer")?;
            delivered += 1;
        }
        must(delivered == count, "fewer entries than delivered")
    }
}

impl Groups {
    fn make(&mut self, edit: StreamEdit<'_>) -> Result<(), &'static str> {
        match edit {
            StreamEdit::CreateGroup { group, name, last_id, entries_read } => {
                let state = Group {
                    name: name.into(),
                    last_id,
                    entries_read,
                    consumers: Registry::default(),
                    pending: 0,
                    is_dirty: true,
                    awaited: 0,
                };
                must(self.put_group(group, state), "group exists")
            }
            StreamEdit::MoveGroup { group, last_id, entries_read } => {
                let group = self.groups.get_mut(group).ok_or("no such group")?;
                (group.last_id, group.entries_read) = (last_id, entries_read);
                group.is_dirty = true;
                Ok(())
            }
            StreamEdit::DestroyGroup(group) => must(self.remove_group(group), "no such group"),
            StreamEdit::CreateConsumer { group, consumer, name, seen_ms } => {
                let state =
                    Consumer { name: name.into(), seen_ms, active_ms: None, pending: 0, is_dirty: true };
                must(self.put_consumer(group, consumer, state), "consumer exists")
            }
            StreamEdit::DeleteConsumer { group, consumer } => {
                must(self.remove_consumer(group, consumer), "no such consumer")
            }
            StreamEdit::See { group, consumer, seen_ms, active_ms } => {
                let consumer = self.consumer_mut(group, consumer).ok_or("no such consumer")?;
                consumer.seen_ms = seen_ms;
                consumer.active_ms = active_ms.or(consumer.active_ms);
                Ok(())
            }
            StreamEdit::Own { group, id, consumer, time_ms, deliveries } => {
                let pending = Pending { id, consumer, time_ms, deliveries };
                must(self.put_pending(group, pending), "no such consumer")
            }
            StreamEdit::Acknowledge { group, id } => {
                must(self.remove_pending(group, id), "entry not pending")
            }
            _ => Err("no edit of a group"),
        }
    }
}
