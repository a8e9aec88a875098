//! Reads streams in the three layouts that Redis has written.
//!
//! ```text
//! nodes: count, then each: id of the node (16 bytes BE, as a string) | listpack, as a string
//! length | last id | from 2 on: first id | highest deleted id | entries added
//! groups: count, then each: name | last id | from 2 on: entries read
//!   pending: count, then each: id, 16 bytes BE | time, i64 LE | deliveries
//!   consumers: count, then each: name | seen, i64 LE | from 3 on: active, i64 LE
//!     pending: count, then each: id, 16 bytes BE
//! ```
//!
//! The listpack of a node starts with its master entry: entries, deleted entries, names, each name, 0.
//! Each entry follows as flags, id less the node's id (two integers), then either the values of the
//! master's names or names, each name with its value, and last how many listpack entries that was.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::decode::repeat;
use super::listpack::{Entries, Listpack, Pairs};
use super::sink::{ConsumerState, EntryFields, EntryId, GroupState, ObjectSink, PendingEntry, StreamState};
use super::{DumpError, RdbReader, RdbString, RdbType};

/// Flags of an entry.
pub(super) const DELETED: i64 = 1;
pub(super) const SAME_FIELDS: i64 = 2;
/// Entries read by a group for which that is not known; as a time: never.
pub(super) const UNKNOWN: u64 = u64::MAX;

/// What was found in the nodes.
#[derive(Default)]
struct Found {
    count: u64,
    first: EntryId,
    last: EntryId,
    /// The id of the latest node.
    node: Option<EntryId>,
}

/// Reads a stream.
pub(super) fn read(
    value_type: RdbType,
    reader: &mut RdbReader<'_>,
    sink: &mut dyn ObjectSink,
) -> Result<(), DumpError> {
    let mut found = Found::default();
    repeat(reader, |reader| node(reader, &mut found, sink))?;
    let state = state(value_type, reader, &found)?;
    sink.stream(state);
    let mut names = BTreeSet::new();
    repeat(reader, |reader| {
        let name = name(reader, &mut names)?;
        group(value_type, reader, &name, &state, found.count, sink)
    })
}

/// Reads a name that must be a new one.
fn name<'a>(
    reader: &mut RdbReader<'a>,
    names: &mut BTreeSet<Cow<'a, [u8]>>,
) -> Result<Cow<'a, [u8]>, DumpError> {
    let name = match reader.string()? {
        RdbString::Bytes(bytes) => bytes,
        RdbString::Int(value) => Cow::Owned(value.to_string().into_bytes()),
    };
    if names.insert(name.clone()) { Ok(name) } else { Err(DumpError::BadData) }
}

fn id(reader: &mut RdbReader<'_>) -> Result<EntryId, DumpError> {
    Ok(EntryId { ms: reader.read_len()?, seq: reader.read_len()? })
}

fn time(reader: &mut RdbReader<'_>) -> Result<u64, DumpError> {
    // Clocks before 1970 are not known here.
    Ok(u64::try_from(reader.time_ms()?).unwrap_or(0))
}

fn state(value_type: RdbType, reader: &mut RdbReader<'_>, found: &Found) -> Result<StreamState, DumpError> {
    let len = reader.read_len()?;
    let mut state = StreamState { last_id: id(reader)?, ..StreamState::default() };
    if value_type == RdbType::Stream {
        (state.first_id, state.entries_added) = (found.first, found.count);
    } else {
        (state.first_id, state.max_deleted_id) = (id(reader)?, id(reader)?);
        state.entries_added = reader.read_len()?;
    }
    if len != found.count || state.last_id < found.last {
        return Err(DumpError::BadData);
    }
    // What it says of its first entry may be wrong, but that entry is known.
    state.first_id = found.first;
    Ok(state)
}

fn node(reader: &mut RdbReader<'_>, found: &mut Found, sink: &mut dyn ObjectSink) -> Result<(), DumpError> {
    let key = reader.blob()?;
    let base = EntryId::from_bytes(key.as_ref().try_into().map_err(|_| DumpError::BadData)?);
    if found.node.is_some_and(|before| before >= base) {
        return Err(DumpError::BadData);
    }
    found.node = Some(base);
    let blob = reader.blob()?;
    let mut entries = Listpack::open(&blob)?;
    let (valid, deleted, name_count) = (entries.count()?, entries.count()?, entries.count()?);
    let names = entries.skip(name_count)?;
    if entries.int()? != 0 {
        return Err(DumpError::BadData);
    }
    let total = valid.checked_add(deleted).ok_or(DumpError::BadData)?;
    let mut count = 0;
    for _ in 0..total {
        let (id, is_deleted, fields) = entry(&mut entries, base, name_count, names)?;
        if !is_deleted {
            if found.count > 0 && found.last >= id {
                return Err(DumpError::BadData);
            }
            if found.count == 0 {
                found.first = id;
            }
            found.last = id;
            found.count += 1;
            count += 1;
            sink.entry(id, fields);
        }
    }
    if entries.next_entry()?.is_some() || count != valid { Err(DumpError::BadData) } else { Ok(()) }
}

/// Reads an entry of a node: its id, whether it was deleted, its fields.
fn entry<'a>(
    entries: &mut Listpack<'a>,
    base: EntryId,
    name_count: u64,
    names: Listpack<'a>,
) -> Result<(EntryId, bool, EntryFields<'a>), DumpError> {
    let flags = entries.int()?;
    // Differences wrap around, as they do where they are written.
    let ms = base.ms.wrapping_add(entries.int()?.cast_unsigned());
    let seq = base.seq.wrapping_add(entries.int()?.cast_unsigned());
    let (count, pairs, packed) = if flags & SAME_FIELDS != 0 {
        (name_count, Pairs::Apart(names, entries.skip(name_count)?), name_count.checked_add(3))
    } else {
        let count = entries.count()?;
        let both = count.checked_mul(2).ok_or(DumpError::BadData)?;
        (count, Pairs::Mixed(entries.skip(both)?), both.checked_add(4))
    };
    if packed != Some(entries.count()?) {
        return Err(DumpError::BadData);
    }
    let count = usize::try_from(count).map_err(|_| DumpError::BadData)?;
    Ok((EntryId { ms, seq }, flags & DELETED != 0, EntryFields { count, pairs }))
}

fn group<'a>(
    value_type: RdbType,
    reader: &mut RdbReader<'a>,
    name: &[u8],
    state: &StreamState,
    len: u64,
    sink: &mut dyn ObjectSink,
) -> Result<(), DumpError> {
    let last_id = id(reader)?;
    let entries_read = match value_type {
        RdbType::Stream => guess_entries_read(last_id, state, len),
        _ => Some(reader.read_len()?).filter(|count| *count != UNKNOWN),
    };
    sink.group(GroupState { name, last_id, entries_read });
    let mut pending = Vec::new();
    repeat(reader, |reader| {
        let id = EntryId::from_bytes(reader.raw_id()?);
        let delivered_ms = time(reader)?;
        pending.push(Some(PendingEntry { id, delivered_ms, deliveries: reader.read_len()? }));
        Ok(())
    })?;
    let order = |entry: &Option<PendingEntry>| entry.map(|entry| entry.id);
    pending.sort_by_key(order);
    if pending.windows(2).any(|two| order(&two[0]) == order(&two[1])) {
        return Err(DumpError::BadData);
    }
    let ids: Vec<EntryId> = pending.iter().filter_map(order).collect();
    let mut names = BTreeSet::new();
    repeat(reader, |reader| consumer(value_type, reader, &mut names, &ids, &mut pending, sink))?;
    // Every pending entry is somebody's.
    if pending.iter().any(Option::is_some) { Err(DumpError::BadData) } else { Ok(()) }
}

/// Reads a consumer and takes what is pending for it.
fn consumer<'a>(
    value_type: RdbType,
    reader: &mut RdbReader<'a>,
    names: &mut BTreeSet<Cow<'a, [u8]>>,
    ids: &[EntryId],
    pending: &mut [Option<PendingEntry>],
    sink: &mut dyn ObjectSink,
) -> Result<(), DumpError> {
    let name = name(reader, names)?;
    let seen_ms = time(reader)?;
    let active_ms = match value_type {
        RdbType::Stream3 => u64::try_from(reader.time_ms()?).ok(),
        _ => Some(seen_ms),
    };
    sink.consumer(ConsumerState { name: &name, seen_ms, active_ms });
    repeat(reader, |reader| {
        let id = EntryId::from_bytes(reader.raw_id()?);
        let place = ids.binary_search(&id).map_err(|_| DumpError::BadData)?;
        sink.pending(pending[place].take().ok_or(DumpError::BadData)?);
        Ok(())
    })
}

/// How many entries a group has read that tells only the last: known at the ends of the stream.
fn guess_entries_read(last_id: EntryId, state: &StreamState, len: u64) -> Option<u64> {
    if state.entries_added == 0 {
        Some(0)
    } else if last_id == state.last_id {
        Some(state.entries_added)
    } else if last_id > state.last_id {
        None
    } else if last_id < state.first_id {
        Some(state.entries_added - len)
    } else {
        (last_id == state.first_id).then_some(state.entries_added - len + 1)
    }
}
