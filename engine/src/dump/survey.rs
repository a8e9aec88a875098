//! The first reading of a payload: whether all of it is right, and how much it holds.
//!
//! Members and fields must be distinct. Eight bytes of memory are spent on each: its hash. The hashes
//! are sorted each time their number doubled, and repeated ones dropped, so that a few bytes that unpack
//! to the same member over and over take no memory. Equal hashes are rare in honest payloads and cheap in others: the
//! payload is then read once more, and only members with these hashes are compared.

use std::collections::BTreeSet;

use xxhash_rust::xxh3::xxh3_64;

use super::sink::{ConsumerState, EntryFields, EntryId, GroupState, ObjectKind, ObjectSink, PendingEntry};
use super::{DumpError, RdbReader, RdbType, decode};

/// Hashes that are gathered before they are first sorted.
const HASHES_MIN: usize = 1024;

/// How much a collection holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Elements, members, fields or entries.
    pub count: u64,
    /// Bytes of their parts, and of the names and pending entries of a stream's groups.
    pub bytes: u64,
    /// The longest of their parts.
    pub longest: usize,
}

impl Totals {
    fn add(&mut self, part: &[u8]) {
        self.bytes += part.len() as u64;
        self.longest = self.longest.max(part.len());
    }
}

/// Checks a value to its last byte.
pub(super) fn check(value_type: RdbType, reader: RdbReader<'_>) -> Result<Totals, DumpError> {
    let mut survey = Survey { limit: HASHES_MIN, ..Survey::default() };
    let mut first = reader;
    decode::read(value_type, &mut first, &mut survey)?;
    first.finish()?;
    survey.settle();
    let Survey { totals, twice, .. } = survey;
    if totals.count == 0 && value_type.kind() != ObjectKind::Stream {
        return Err(DumpError::BadData);
    }
    if !twice.is_empty() {
        let mut suspects = Suspects { twice, seen: BTreeSet::new(), is_repeated: false };
        decode::read(value_type, &mut reader.clone(), &mut suspects)?;
        if suspects.is_repeated {
            return Err(DumpError::BadData);
        }
    }
    Ok(totals)
}

/// Adds up what comes, and gathers the hashes of what must be distinct.
#[derive(Default)]
struct Survey {
    totals: Totals,
    hashes: Vec<u64>,
    /// How many hashes are sorted next.
    limit: usize,
    /// Hashes that came more than once, sorted.
    twice: Vec<u64>,
}

impl Survey {
    fn name(&mut self, name: &[u8]) {
        self.totals.count += 1;
        self.totals.add(name);
        self.hashes.push(xxh3_64(name));
        if self.hashes.len() >= self.limit {
            self.settle();
            self.limit = HASHES_MIN.max(self.hashes.len() * 2);
        }
    }

    /// Sorts the hashes and sets those that came twice aside.
    fn settle(&mut self) {
        self.hashes.sort_unstable();
        self.twice.extend(self.hashes.windows(2).filter(|two| two[0] == two[1]).map(|two| two[0]));
        self.twice.sort_unstable();
        self.twice.dedup();
        self.hashes.dedup();
    }
}

impl ObjectSink for Survey {
    fn element(&mut self, element: &[u8]) {
        self.totals.count += 1;
        self.totals.add(element);
    }

    fn member(&mut self, member: &[u8]) {
        self.name(member);
    }

    fn scored(&mut self, member: &[u8], _: f64) {
        self.name(member);
    }

    fn field(&mut self, field: &[u8], value: &[u8], _: Option<u64>) {
        self.name(field);
        self.totals.add(value);
    }

    fn entry(&mut self, _: EntryId, fields: EntryFields<'_>) {
        self.totals.count += 1;
        for (name, value) in fields.iter() {
            self.totals.add(name.as_ref());
            self.totals.add(value.as_ref());
        }
    }

    fn group(&mut self, group: GroupState<'_>) {
        self.totals.add(group.name);
    }

    fn consumer(&mut self, consumer: ConsumerState<'_>) {
        self.totals.add(consumer.name);
    }

    fn pending(&mut self, _: PendingEntry) {
        self.totals.bytes += size_of::<PendingEntry>() as u64;
    }
}

/// Compares what has the hashes that came twice.
struct Suspects {
    twice: Vec<u64>,
    seen: BTreeSet<Box<[u8]>>,
    is_repeated: bool,
}

impl Suspects {
    fn name(&mut self, name: &[u8]) {
        if !self.is_repeated && self.twice.binary_search(&xxh3_64(name)).is_ok() {
            self.is_repeated = !self.seen.insert(Box::from(name));
        }
    }
}

impl ObjectSink for Suspects {
    fn member(&mut self, member: &[u8]) {
        self.name(member);
    }

    fn scored(&mut self, member: &[u8], _: f64) {
        self.name(member);
    }

    fn field(&mut self, field: &[u8], _: &[u8], _: Option<u64>) {
        self.name(field);
    }
}
