//! Reads of a stream: entries by id and by range, groups, consumers, what is pending, and the lag.
//! Nothing is copied.

use super::entry::{self, Entry, Shape};
use super::group::{Consumer, Group, Groups, Pending};
use super::{Stream, StreamId, StreamValue};
use crate::value::tree::{self, Place};

/// Entries in a range of ids, a known number of them.
pub struct Entries<'a> {
    shapes: &'a [Shape],
    elements: Elements<'a>,
    left: u64,
}

enum Elements<'a> {
    Forwards(tree::Iter<'a>),
    Backwards(std::iter::Rev<tree::Iter<'a>>),
    None,
}

impl Entries<'_> {
    /// How many are left.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.left
    }

    /// Whether none is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.left == 0
    }

    /// At most `count` of them.
    #[must_use]
    pub fn limit(mut self, count: u64) -> Self {
        self.left = self.left.min(count);
        self
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Entry<'a>;

    fn next(&mut self) -> Option<Entry<'a>> {
        self.left = self.left.checked_sub(1)?;
        let element = match &mut self.elements {
            Elements::Forwards(iter) => iter.next(),
            Elements::Backwards(iter) => iter.next(),
            Elements::None => None,
        };
        Entry::new(self.shapes, element?)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = usize::try_from(self.left).unwrap_or(usize::MAX);
        (left, Some(left))
    }
}

impl Stream {
    /// The place of an entry, or where it would be.
    pub(super) fn place(&self, id: StreamId) -> Result<Place, Place> {
        self.entries.find(id.ms, |element| entry::id_of(element).cmp(&id))
    }

    /// How many entries are below an id.
    pub(super) fn rank(&self, id: StreamId) -> u64 {
        let (Ok(place) | Err(place)) = self.place(id);
        self.entries.rank(place)
    }

    /// The ranks of the entries between inclusive ids.
    fn ranks(&self, start: StreamId, end: StreamId) -> std::ops::Range<u64> {
        let from = self.rank(start);
        let to = end.next().map_or(self.entries.len(), |next| self.rank(next));
        from..to.max(from)
    }

    pub(super) fn id_at(&self, rank: u64) -> Option<StreamId> {
        self.entries.get(self.entries.place_at(rank)?).map(entry::id_of)
    }

    /// The first entry's id, 0-0 without one.
    pub(super) fn first_id(&self) -> StreamId {
        self.id_at(0).unwrap_or_default()
    }

    /// Whether an entry behind `id` may have been deleted from between others.
    pub(super) fn has_tombstones_behind(&self, id: StreamId) -> bool {
        !self.entries.is_empty() && self.max_deleted != StreamId::MIN && id <= self.max_deleted
    }

    /// How many entries a reader that read up to `id` has read since the first ever, if that can be known
    /// from the counters alone.
    pub(super) fn reads_up_to(&self, id: StreamId) -> Option<u64> {
        let (len, added) = (self.entries.len(), self.entries_added);
        if added == 0 {
            return Some(0);
        }
        if len == 0 && id <= self.last_id {
            return Some(added);
        }
        if id != StreamId::MIN && id < self.max_deleted {
            return None;
        }
        if id >= self.last_id {
            return (id == self.last_id).then_some(added);
        }
        let first = self.first_id();
        if self.max_deleted != StreamId::MIN && self.max_deleted >= first {
            return None;
        }
        match id.cmp(&first) {
            std::cmp::Ordering::Less => Some(added.saturating_sub(len)),
            std::cmp::Ordering::Equal => Some(added.saturating_sub(len).saturating_add(1)),
            std::cmp::Ordering::Greater => None,
        }
    }

    pub(super) fn group(&self, name: &[u8]) -> Option<GroupView<'_>> {
        let groups = self.groups.as_deref()?;
        let (number, group) = groups.groups.find(name)?;
        Some(GroupView { stream: self, groups, number, group })
    }
}

impl StreamValue {
    /// The id of the newest entry that ever was.
    #[must_use]
    pub fn last_id(&self) -> StreamId {
        self.stream.last_id
    }

    /// The first entry's id; 0-0 without entries.
    #[must_use]
    pub fn first_id(&self) -> StreamId {
        self.stream.first_id()
    }

    /// The last entry's id; `None` without entries.
    #[must_use]
    pub fn top_id(&self) -> Option<StreamId> {
        self.stream.id_at(self.len().checked_sub(1)?)
    }

    /// The largest id that was deleted.
    #[must_use]
    pub fn max_deleted_id(&self) -> StreamId {
        self.stream.max_deleted
    }

    /// Entries that were ever added.
    #[must_use]
    pub fn entries_added(&self) -> u64 {
        self.stream.entries_added
    }

    /// The entry with an id.
    #[must_use]
    pub fn get(&self, id: StreamId) -> Option<Entry<'_>> {
        let element = self.stream.entries.get(self.stream.place(id).ok()?)?;
        Entry::new(&self.stream.shapes, element)
    }

    /// The entries between inclusive ids, oldest first.
    #[must_use]
    pub fn range(&self, start: StreamId, end: StreamId) -> Entries<'_> {
        let ranks = self.stream.ranks(start, end);
        let left = ranks.end - ranks.start;
        let tree = &self.stream.entries;
        let elements = Elements::Forwards(tree.range(ranks.start, ranks.end));
        Entries { shapes: &self.stream.shapes, elements, left }
    }

    /// The entries behind an id, oldest first (XREAD).
    #[must_use]
    pub fn behind(&self, id: StreamId) -> Entries<'_> {
        match id.next() {
            Some(start) => self.range(start, StreamId::MAX),
            None => Entries { shapes: &self.stream.shapes, elements: Elements::None, left: 0 },
        }
    }

    /// The entries between inclusive ids, newest first.
    #[must_use]
    pub fn range_back(&self, start: StreamId, end: StreamId) -> Entries<'_> {
        let ranks = self.stream.ranks(start, end);
        let left = ranks.end - ranks.start;
        let tree = &self.stream.entries;
        let elements = Elements::Backwards(tree.range(ranks.start, ranks.end).rev());
        Entries { shapes: &self.stream.shapes, elements, left }
    }

    /// The group with a name.
    #[must_use]
    pub fn group(&self, name: &[u8]) -> Option<GroupView<'_>> {
        self.stream.group(name)
    }

    /// How many groups there are.
    #[must_use]
    pub fn groups_len(&self) -> u64 {
        self.stream.groups.as_ref().map_or(0, |groups| groups.groups.len() as u64)
    }

    /// The groups in the order of their names.
    pub fn groups(&self) -> impl Iterator<Item = GroupView<'_>> {
        let groups = self.stream.groups.as_deref().into_iter();
        groups.flat_map(|groups| {
            let all = groups.groups.iter();
            all.map(|(number, group)| GroupView { stream: &self.stream, groups, number, group })
        })
    }
}

/// A consumer group, borrowed from its stream.
#[derive(Clone, Copy)]
pub struct GroupView<'a> {
    pub(super) stream: &'a Stream,
    pub(super) groups: &'a Groups,
    pub(super) number: u32,
    pub(super) group: &'a Group,
}

impl<'a> GroupView<'a> {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &'a [u8] {
        &self.group.name
    }

    /// The last entry that it was given.
    #[must_use]
    pub fn last_id(&self) -> StreamId {
        self.group.last_id
    }

    /// How many entries it has read, counted from the first ever, if that is known.
    #[must_use]
    pub fn entries_read(&self) -> Option<u64> {
        self.group.entries_read
    }

    /// How many entries it has yet to read, if that is known: by Valkey 9's rules. Negative when a client
    /// set the counters so.
    #[must_use]
    pub fn lag(&self) -> Option<i64> {
        let (stream, last_id) = (self.stream, self.group.last_id);
        if stream.entries_added == 0 {
            return Some(0);
        }
        let known = self.group.entries_read.filter(|_| !stream.has_tombstones_behind(last_id));
        let read = known.or_else(|| stream.reads_up_to(last_id))?;
        Some((stream.entries_added as i64).wrapping_sub(read as i64))
    }

    /// How many entries are pending in it.
    #[must_use]
    pub fn pending_len(&self) -> u64 {
        self.group.pending
    }

    /// The first and the last pending id.
    #[must_use]
    pub fn pending_bounds(&self) -> Option<(StreamId, StreamId)> {
        let first = self.groups.pending_from(self.number, StreamId::MIN).next()?;
        Some((first.id, self.groups.last_pending(self.number)?.id))
    }

    /// The pending entries between inclusive ids.
    pub fn pending(&self, start: StreamId, end: StreamId) -> impl Iterator<Item = PendingView<'a>> + use<'a> {
        let view = *self;
        let entries = self.groups.pending_from(self.number, start);
        entries.take_while(move |pending| pending.id <= end).map(move |pending| view.pending_view(pending))
    }

    fn pending_view(&self, pending: Pending) -> PendingView<'a> {
        let consumer = self.group.consumers.get(pending.consumer);
        PendingView {
            id: pending.id,
            consumer: consumer.map_or(&[][..], |consumer| &consumer.name),
            time_ms: pending.time_ms,
            deliveries: pending.deliveries,
        }
    }

    /// How many consumers it has.
    #[must_use]
    pub fn consumers_len(&self) -> u64 {
        self.group.consumers.len() as u64
    }

    /// Its consumers in the order of their names.
    pub fn consumers(&self) -> impl Iterator<Item = ConsumerView<'a>> + use<'a> {
        let group = *self;
        let all = self.group.consumers.iter();
        all.map(move |(number, consumer)| ConsumerView { group, number, consumer })
    }

    /// The consumer with a name.
    #[must_use]
    pub fn consumer(&self, name: &[u8]) -> Option<ConsumerView<'a>> {
        let (number, consumer) = self.group.consumers.find(name)?;
        Some(ConsumerView { group: *self, number, consumer })
    }
}

/// A consumer, borrowed from its stream.
#[derive(Clone, Copy)]
pub struct ConsumerView<'a> {
    group: GroupView<'a>,
    pub(super) number: u32,
    consumer: &'a Consumer,
}

impl<'a> ConsumerView<'a> {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &'a [u8] {
        &self.consumer.name
    }

    /// When it last asked for anything, Unix milliseconds.
    #[must_use]
    pub fn seen_ms(&self) -> u64 {
        self.consumer.seen_ms
    }

    /// When it last got or claimed an entry.
    #[must_use]
    pub fn active_ms(&self) -> Option<u64> {
        self.consumer.active_ms
    }

    /// How many entries it holds.
    #[must_use]
    pub fn pending_len(&self) -> u64 {
        self.consumer.pending
    }

    /// The entries that it holds, between inclusive ids.
    pub fn pending(&self, start: StreamId, end: StreamId) -> impl Iterator<Item = PendingView<'a>> + use<'a> {
        let group = self.group;
        let ids = group.groups.owned_from(group.number, self.number, start);
        ids.take_while(move |id| *id <= end)
            .filter_map(move |id| Some(group.pending_view(group.groups.pending(group.number, id)?)))
    }
}

/// What is known of an entry that was delivered and not acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PendingView<'a> {
    /// The entry.
    pub id: StreamId,
    /// The name of the consumer that holds it.
    pub consumer: &'a [u8],
    /// When it was last delivered, Unix milliseconds.
    pub time_ms: u64,
    /// How often it was delivered.
    pub deliveries: u64,
}
