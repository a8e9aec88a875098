//! Consumer groups: who has read how far, and which entries wait to be acknowledged by whom.
//!
//! Pending entries of all groups are one tree in the order (group, id), so a large group costs leaves
//! and not a large header. A second tree in the order (group, consumer, id) answers what one consumer
//! holds; it is derived, never stored.
//!
//! ```text
//! pending   varint group, id (short form), varint consumer, varint time, varint deliveries
//! owned     varint group, varint consumer, id (short form)
//! ```
//!
//! Groups have numbers within their stream and consumers within their group; a number is free again when
//! its holder is gone. Edits name numbers, so replay gives everybody the same one.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use super::id::StreamId;
use crate::codec::{DecodeError, Reader, put_varint};
use crate::value::tree::{Layout, Place, Tree};

/// Something with a name that is unique in its registry.
pub(super) trait Named {
    fn name(&self) -> &[u8];
}

/// Holders of names, by number and by name. Numbers are small: the lowest free one is next.
#[derive(Debug, Clone)]
pub(super) struct Registry<T> {
    by_number: BTreeMap<u32, T>,
    /// Numbers in the order of their names.
    by_name: Vec<u32>,
}

impl<T> Default for Registry<T> {
    fn default() -> Self {
        Registry { by_number: BTreeMap::new(), by_name: Vec::new() }
    }
}

impl<T: Named> Registry<T> {
    pub(super) fn len(&self) -> usize {
        self.by_name.len()
    }

    pub(super) fn get(&self, number: u32) -> Option<&T> {
        self.by_number.get(&number)
    }

    pub(super) fn get_mut(&mut self, number: u32) -> Option<&mut T> {
        self.by_number.get_mut(&number)
    }

    /// All, in the order of their names.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        self.by_name.iter().filter_map(|number| Some((*number, self.get(*number)?)))
    }

    /// All, in the order of their numbers.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (u32, &mut T)> {
        self.by_number.iter_mut().map(|(number, value)| (*number, value))
    }

    fn place(&self, name: &[u8]) -> Result<usize, usize> {
        self.by_name.binary_search_by(|number| self.get(*number).map_or(&[][..], T::name).cmp(name))
    }

    pub(super) fn find(&self, name: &[u8]) -> Option<(u32, &T)> {
        let number = self.by_name[self.place(name).ok()?];
        Some((number, self.get(number)?))
    }

    /// The lowest number that nobody has.
    pub(super) fn free_number(&self) -> u32 {
        let dense = self.by_number.len() as u32;
        match self.by_number.last_key_value() {
            Some((last, _)) if *last >= dense => {
                let taken = self.by_number.keys().zip(0..).find(|(number, at)| *number != at);
                taken.map_or(dense, |(_, at)| at)
            }
            _ => dense,
        }
    }

    /// Adds a holder; `false` if the number or the name is taken.
    #[must_use]
    pub(super) fn put(&mut self, number: u32, value: T) -> bool {
        let Err(place) = self.place(value.name()) else { return false };
        if self.by_number.contains_key(&number) {
            return false;
        }
        self.by_number.insert(number, value);
        self.by_name.insert(place, number);
        true
    }

    pub(super) fn remove(&mut self, number: u32) -> Option<T> {
        let place = self.place(self.get(number)?.name()).ok()?;
        self.by_name.remove(place);
        self.by_number.remove(&number)
    }
}

/// A consumer of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Consumer {
    pub(super) name: Box<[u8]>,
    /// When it last asked for anything, Unix milliseconds.
    pub(super) seen_ms: u64,
    /// When it last got or claimed an entry.
    pub(super) active_ms: Option<u64>,
    /// Pending entries that it holds.
    pub(super) pending: u64,
    /// Newer than its node.
    pub(super) is_dirty: bool,
}

impl Named for Consumer {
    fn name(&self) -> &[u8] {
        &self.name
    }
}

/// A consumer group.
#[derive(Debug, Clone)]
pub(super) struct Group {
    pub(super) name: Box<[u8]>,
    /// The last entry it was given.
    pub(super) last_id: StreamId,
    /// How many entries it has read, counted from the first ever; `None`: unknown.
    pub(super) entries_read: Option<u64>,
    pub(super) consumers: Registry<Consumer>,
    /// Its pending entries.
    pub(super) pending: u64,
    /// Newer than its node, which does not have the consumers.
    pub(super) is_dirty: bool,
    /// While it is being loaded: how many consumers have nodes.
    pub(super) awaited: u64,
}

impl Named for Group {
    fn name(&self) -> &[u8] {
        &self.name
    }
}

/// What is known of an entry that was delivered and not acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pending {
    pub(super) id: StreamId,
    /// The number of the consumer that holds it.
    pub(super) consumer: u32,
    /// When it was last delivered, Unix milliseconds.
    pub(super) time_ms: u64,
    /// How often it was delivered.
    pub(super) deliveries: u64,
}

impl Pending {
    pub(super) fn put(&self, group: u32, out: &mut Vec<u8>) {
        put_varint(out, u64::from(group));
        self.id.put(out);
        put_varint(out, u64::from(self.consumer));
        put_varint(out, self.time_ms);
        put_varint(out, self.deliveries);
    }

    /// Reads an element with the number of its group.
    pub(super) fn read(element: &[u8]) -> Result<(u32, Pending), DecodeError> {
        let mut reader = Reader::new(element);
        let group = reader.varint_u32()?;
        let id = StreamId::read(&mut reader)?;
        let consumer = reader.varint_u32()?;
        let pending = Pending { id, consumer, time_ms: reader.varint()?, deliveries: reader.varint()? };
        if reader.is_empty() {
            Ok((group, pending))
        } else {
            Err(reader.error("bytes behind a pending entry"))
        }
    }
}

/// The first bytes of the order (number, id): monotone, as exact as 64 bits can be.
fn prefix(number: u64, id: StreamId) -> u64 {
    if number >= 0xffff { 0xffff << 48 } else { number << 48 | id.ms.min((1 << 48) - 1) }
}

/// Pending entries in the order (group, id).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByGroup;

fn group_key(element: &[u8]) -> (u64, StreamId) {
    let mut reader = Reader::new(element);
    (reader.varint().unwrap_or_default(), StreamId::read(&mut reader).unwrap_or_default())
}

impl Layout for ByGroup {
    fn prefix(element: &[u8]) -> u64 {
        let (group, id) = group_key(element);
        prefix(group, id)
    }

    fn compare(a: &[u8], b: &[u8]) -> Ordering {
        group_key(a).cmp(&group_key(b))
    }
}

/// Pending entries in the order (group, consumer, id).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByOwner;

fn owner_key(element: &[u8]) -> (u64, u64, StreamId) {
    let mut reader = Reader::new(element);
    let (group, consumer) = (reader.varint().unwrap_or_default(), reader.varint().unwrap_or_default());
    (group, consumer, StreamId::read(&mut reader).unwrap_or_default())
}

/// As [`prefix`], with 8 bits each for group and consumer; larger numbers leave more to the comparison.
fn owner_prefix(group: u64, consumer: u64, id: StreamId) -> u64 {
    match (group, consumer) {
        (0..=0xfe, 0..=0xfe) => prefix(group << 8 | consumer, id),
        (0..=0xfe, _) => prefix(group << 8 | 0xff, StreamId::MIN),
        _ => prefix(0xffff, StreamId::MIN),
    }
}

impl Layout for ByOwner {
    fn prefix(element: &[u8]) -> u64 {
        let (group, consumer, id) = owner_key(element);
        owner_prefix(group, consumer, id)
    }

    fn compare(a: &[u8], b: &[u8]) -> Ordering {
        owner_key(a).cmp(&owner_key(b))
    }
}

fn owned_element(group: u32, consumer: u32, id: StreamId) -> Vec<u8> {
    let mut element = Vec::with_capacity(20);
    put_varint(&mut element, u64::from(group));
    put_varint(&mut element, u64::from(consumer));
    id.put(&mut element);
    element
}

/// The groups of a stream and what is pending in them.
#[derive(Clone)]
pub(super) struct Groups {
    pub(super) groups: Registry<Box<Group>>,
    pub(super) pending: Tree<ByGroup>,
    owned: Tree<ByOwner>,
    /// Numbers of destroyed groups whose node may be a row.
    gone: Vec<u32>,
    /// Numbers of groups and their consumers that are dirty, and stale ones.
    dirty_consumers: BTreeSet<(u32, u32)>,
    /// Of consumers that are gone and whose node may be a row.
    gone_consumers: BTreeSet<(u32, u32)>,
    /// Heap bytes of groups and consumers.
    state_bytes: usize,
}

impl Named for Box<Group> {
    fn name(&self) -> &[u8] {
        &self.name
    }
}

impl Default for Groups {
    fn default() -> Self {
        Groups {
            groups: Registry::default(),
            pending: Tree::new(),
            owned: Tree::new(),
            gone: Vec::new(),
            dirty_consumers: BTreeSet::new(),
            gone_consumers: BTreeSet::new(),
            state_bytes: 0,
        }
    }
}

impl std::fmt::Debug for Groups {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Groups")
            .field("groups", &self.groups)
            .field("pending", &self.pending.len())
            .finish_non_exhaustive()
    }
}

/// Heap bytes of a group without its consumers, of a consumer, each with its share of the registry.
fn group_bytes(name: &[u8]) -> usize {
    size_of::<Group>() + name.len() + 24
}

fn consumer_bytes(name: &[u8]) -> usize {
    size_of::<Consumer>() + name.len() + 16
}

impl Groups {
    pub(super) fn heap_bytes(&self) -> usize {
        size_of::<Groups>() + self.pending.heap_bytes() + self.owned.heap_bytes() + self.state_bytes
    }

    pub(super) fn state_bytes(&self) -> usize {
        self.state_bytes
    }

    /// Adds a group; `false` if it cannot be.
    #[must_use]
    pub(super) fn put_group(&mut self, number: u32, group: Group) -> bool {
        let bytes = group_bytes(&group.name)
            + group.consumers.iter().map(|(_, c)| consumer_bytes(&c.name)).sum::<usize>();
        let is_new = self.groups.put(number, Box::new(group));
        self.state_bytes += if is_new { bytes } else { 0 };
        is_new
    }

    /// Removes a group with all that is pending in it; `false` without one.
    #[must_use]
    pub(super) fn remove_group(&mut self, number: u32) -> bool {
        let Some(group) = self.groups.remove(number) else { return false };
        let consumers: usize = group.consumers.iter().map(|(_, c)| consumer_bytes(&c.name)).sum();
        self.state_bytes -= group_bytes(&group.name) + consumers;
        self.gone_consumers.extend(group.consumers.iter().map(|(consumer, _)| (number, consumer)));
        let ranks = (self.rank(number, StreamId::MIN), self.rank(number, StreamId::MIN) + group.pending);
        self.pending.remove_range(ranks.0, ranks.1);
        let owned = self.owned_place(number, 0, StreamId::MIN);
        let first = self.owned.rank(owned);
        self.owned.remove_range(first, first + group.pending);
        if !self.gone.contains(&number) {
            self.gone.push(number);
        }
        true
    }

    /// Adds a consumer; `false` if it cannot be.
    #[must_use]
    pub(super) fn put_consumer(&mut self, group: u32, number: u32, consumer: Consumer) -> bool {
        let Some(state) = self.groups.get_mut(group) else { return false };
        let (bytes, is_dirty) = (consumer_bytes(&consumer.name), consumer.is_dirty);
        if !state.consumers.put(number, consumer) {
            return false;
        }
        self.state_bytes += bytes;
        if is_dirty {
            state.is_dirty = true;
            self.dirty_consumers.insert((group, number));
        }
        true
    }

    /// A consumer that changes, for which its node is no longer right; `None` without one.
    pub(super) fn consumer_mut(&mut self, group: u32, number: u32) -> Option<&mut Consumer> {
        let consumer = self.groups.get_mut(group)?.consumers.get_mut(number)?;
        if !std::mem::replace(&mut consumer.is_dirty, true) {
            self.dirty_consumers.insert((group, number));
        }
        Some(consumer)
    }

    /// All nodes of groups and consumers are missing.
    pub(super) fn forget_nodes(&mut self) {
        self.dirty_consumers.clear();
        for (number, group) in self.groups.iter_mut() {
            group.is_dirty = true;
            for (consumer, state) in group.consumers.iter_mut() {
                state.is_dirty = true;
                self.dirty_consumers.insert((number, consumer));
            }
        }
    }

    /// Removes a consumer with what it holds; `false` without one.
    #[must_use]
    pub(super) fn remove_consumer(&mut self, group: u32, number: u32) -> bool {
        let held: Vec<StreamId> = self.owned_from(group, number, StreamId::MIN).collect();
        let Some(state) = self.groups.get_mut(group) else { return false };
        let Some(consumer) = state.consumers.remove(number) else { return false };
        state.is_dirty = true;
        self.gone_consumers.insert((group, number));
        state.pending -= consumer.pending;
        self.state_bytes -= consumer_bytes(&consumer.name);
        for id in &held {
            if let Ok(place) = self.find(group, *id) {
                self.pending.remove(place);
            }
        }
        let place = self.owned_place(group, number, StreamId::MIN);
        let first = self.owned.rank(place);
        self.owned.remove_range(first, first + held.len() as u64);
        true
    }

    fn find(&self, group: u32, id: StreamId) -> Result<Place, Place> {
        let key = (u64::from(group), id);
        self.pending.find(prefix(key.0, id), |element| group_key(element).cmp(&key))
    }

    fn rank(&self, group: u32, id: StreamId) -> u64 {
        let (Ok(place) | Err(place)) = self.find(group, id);
        self.pending.rank(place)
    }

    fn owned_place(&self, group: u32, consumer: u32, id: StreamId) -> Place {
        let key = (u64::from(group), u64::from(consumer), id);
        let found = self.owned.find(owner_prefix(key.0, key.1, id), |element| owner_key(element).cmp(&key));
        let (Ok(place) | Err(place)) = found;
        place
    }

    /// A pending entry.
    pub(super) fn pending(&self, group: u32, id: StreamId) -> Option<Pending> {
        let element = self.pending.get(self.find(group, id).ok()?)?;
        Some(Pending::read(element).ok()?.1)
    }

    /// The pending entries of a group from an id on.
    pub(super) fn pending_from(&self, group: u32, id: StreamId) -> impl Iterator<Item = Pending> {
        let (Ok(place) | Err(place)) = self.find(group, id);
        self.pending
            .iter_from(place)
            .map_while(|element| Pending::read(element).ok())
            .take_while(move |(number, _)| *number == group)
            .map(|(_, pending)| pending)
    }

    /// The last pending entry of a group.
    pub(super) fn last_pending(&self, group: u32) -> Option<Pending> {
        let count = self.groups.get(group)?.pending;
        let last = (self.rank(group, StreamId::MIN) + count).checked_sub(1)?;
        let (number, pending) = Pending::read(self.pending.get(self.pending.place_at(last)?)?).ok()?;
        (number == group).then_some(pending)
    }

    /// The ids that a consumer holds, from an id on.
    pub(super) fn owned_from(
        &self,
        group: u32,
        consumer: u32,
        id: StreamId,
    ) -> impl Iterator<Item = StreamId> {
        let key = (u64::from(group), u64::from(consumer));
        self.owned
            .iter_from(self.owned_place(group, consumer, id))
            .map(owner_key)
            .take_while(move |owned| (owned.0, owned.1) == key)
            .map(|owned| owned.2)
    }

    /// Makes an entry pending as stated, whoever held it; `false` without the group or the consumer.
    #[must_use]
    pub(super) fn put_pending(&mut self, group: u32, pending: Pending) -> bool {
        let place = self.find(group, pending.id);
        let Some(state) = self.groups.get_mut(group) else { return false };
        let Some(consumer) = state.consumers.get_mut(pending.consumer) else { return false };
        let mut element = Vec::with_capacity(24);
        pending.put(group, &mut element);
        let old = match place {
            Ok(place) => {
                let old = self.pending.get(place).and_then(|element| Pending::read(element).ok());
                self.pending.replace(place, &element);
                old.map(|(_, old)| old.consumer)
            }
            Err(place) => {
                self.pending.insert(place, &element);
                state.pending += 1;
                None
            }
        };
        if old == Some(pending.consumer) {
            return true;
        }
        consumer.pending += 1;
        if let Some(old) = old {
            if let Some(consumer) = state.consumers.get_mut(old) {
                consumer.pending -= 1;
            }
            self.owned.remove(self.owned_place(group, old, pending.id));
        }
        let place = self.owned_place(group, pending.consumer, pending.id);
        self.owned.insert(place, &owned_element(group, pending.consumer, pending.id));
        true
    }

    /// An entry is no longer pending; `false` if it was not.
    #[must_use]
    pub(super) fn remove_pending(&mut self, group: u32, id: StreamId) -> bool {
        let Ok(place) = self.find(group, id) else { return false };
        let element = self.pending.get(place).and_then(|element| Pending::read(element).ok());
        let Some((_, pending)) = element else { return false };
        self.pending.remove(place);
        self.owned.remove(self.owned_place(group, pending.consumer, id));
        if let Some(state) = self.groups.get_mut(group) {
            state.pending -= 1;
            if let Some(consumer) = state.consumers.get_mut(pending.consumer) {
                consumer.pending -= 1;
            }
        }
        true
    }

    /// Takes the numbers of groups that are gone and whose node may be a row.
    pub(super) fn take_gone(&mut self) -> Vec<u32> {
        let mut gone = std::mem::take(&mut self.gone);
        gone.retain(|number| self.groups.get(*number).is_none());
        gone
    }

    /// Takes the numbers of consumers that are gone, with their groups, and whose node may be a row.
    pub(super) fn take_gone_consumers(&mut self) -> BTreeSet<(u32, u32)> {
        let mut gone = std::mem::take(&mut self.gone_consumers);
        gone.retain(|(group, number)| {
            self.groups.get(*group).is_none_or(|group| group.consumers.get(*number).is_none())
        });
        gone
    }

    /// Hands out the consumers that are dirty, each once. They are clean then.
    pub(super) fn take_dirty_consumers(&mut self, mut put: impl FnMut(u32, u32, &Consumer)) {
        for (group, number) in std::mem::take(&mut self.dirty_consumers) {
            let consumer = self.groups.get_mut(group).and_then(|group| group.consumers.get_mut(number));
            if let Some(consumer) = consumer.filter(|consumer| consumer.is_dirty) {
                consumer.is_dirty = false;
                put(group, number, consumer);
            }
        }
    }

    /// Counts what is pending and builds the second order, after `pending` was loaded.
    ///
    /// # Errors
    /// A pending entry's group or consumer does not exist.
    pub(super) fn derive(&mut self) -> Result<(), DecodeError> {
        let mut owned = Vec::new();
        for element in self.pending.iter() {
            let (number, pending) = Pending::read(element)?;
            let missing = DecodeError { what: "pending entry of nobody", at: 0 };
            let group = self.groups.get_mut(number).ok_or(missing)?;
            group.consumers.get_mut(pending.consumer).ok_or(missing)?.pending += 1;
            group.pending += 1;
            owned.push((number, pending.consumer, pending.id));
        }
        if !owned.is_sorted() {
            owned.sort_unstable();
        }
        self.owned = Tree::from_sorted(owned.iter().map(|(g, c, id)| owned_element(*g, *c, *id)));
        Ok(())
    }
}
