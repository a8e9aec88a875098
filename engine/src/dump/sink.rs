//! What a payload says, without the shape of any value: the trait that receives a decoded value
//! element by element, and the small parts that streams are told in.
//!
//! A data type implements the methods of its own kind and leaves the others alone. Elements come in
//! the payload's order, which for everything but lists and streams means nothing: a sorted set may
//! come in any order.

use crate::value::string::number::IntText;

/// What kind of value a payload holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectKind {
    /// Bytes.
    String,
    /// Elements in an order of their own.
    List,
    /// Distinct members.
    Set,
    /// Distinct members, each with a score.
    ZSet,
    /// Distinct fields, each with a value and perhaps a deadline.
    Hash,
    /// Entries by id, and groups of consumers that read them.
    Stream,
}

/// Receives a collection, element by element.
///
/// Before the first call the whole payload was read and found right, so nothing has to be checked
/// again: members and fields are distinct, scores are not NaN, stream ids rise, names of groups and
/// of a group's consumers are distinct, and an id is pending for one consumer of a group.
#[expect(unused_variables, reason = "every sink is for one kind of value")]
pub trait ObjectSink {
    /// The next element of a list.
    fn element(&mut self, element: &[u8]) {}

    /// A member of a set.
    fn member(&mut self, member: &[u8]) {}

    /// A member of a sorted set.
    fn scored(&mut self, member: &[u8], score: f64) {}

    /// A field of a hash; the deadline is in milliseconds since 1970, and may have passed.
    fn field(&mut self, field: &[u8], value: &[u8], deadline_ms: Option<u64>) {}

    /// The next entry of a stream; all come before [`ObjectSink::stream`].
    fn entry(&mut self, id: EntryId, fields: EntryFields<'_>) {}

    /// What a stream knows beside its entries.
    fn stream(&mut self, state: StreamState) {}

    /// A group of a stream.
    fn group(&mut self, group: GroupState<'_>) {}

    /// A consumer of the latest group.
    fn consumer(&mut self, consumer: ConsumerState<'_>) {}

    /// An entry that the latest consumer was given and has not acknowledged. It may be gone from the
    /// stream. Ids come in no order.
    fn pending(&mut self, pending: PendingEntry) {}
}

/// The id of a stream's entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryId {
    /// Milliseconds.
    pub ms: u64,
    /// Counts the entries of one millisecond.
    pub seq: u64,
}

impl EntryId {
    /// Bytes of an id, big-endian.
    pub(super) const BYTES: usize = 16;

    pub(super) fn to_bytes(self) -> [u8; Self::BYTES] {
        (u128::from(self.ms) << 64 | u128::from(self.seq)).to_be_bytes()
    }

    pub(super) fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        let both = u128::from_be_bytes(bytes);
        EntryId { ms: (both >> 64) as u64, seq: both as u64 }
    }
}

/// What a stream knows beside its entries and groups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamState {
    /// The highest id ever given.
    pub last_id: EntryId,
    /// The id of the first entry; 0-0 in an empty stream.
    pub first_id: EntryId,
    /// The highest id of an entry that was deleted.
    pub max_deleted_id: EntryId,
    /// Entries ever added.
    pub entries_added: u64,
}

/// A group of consumers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupState<'a> {
    /// Its name.
    pub name: &'a [u8],
    /// The last id that was delivered.
    pub last_id: EntryId,
    /// How many entries the group has read, if that is known.
    pub entries_read: Option<u64>,
}

/// A consumer of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConsumerState<'a> {
    /// Its name.
    pub name: &'a [u8],
    /// When it was last heard of, in milliseconds since 1970.
    pub seen_ms: u64,
    /// When it was last given an entry; never if there is none.
    pub active_ms: Option<u64>,
}

/// An entry that was delivered and not acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PendingEntry {
    /// Which.
    pub id: EntryId,
    /// When it was last delivered, in milliseconds since 1970.
    pub delivered_ms: u64,
    /// How often it was delivered.
    pub deliveries: u64,
}

/// The longest text of a 64-bit integer.
const DIGITS_MAX: usize = 20;

/// A text that was either bytes or a number in the payload.
#[derive(Clone, Copy, Debug)]
pub struct Text<'a>(Form<'a>);

#[derive(Clone, Copy, Debug)]
enum Form<'a> {
    Bytes(&'a [u8]),
    Digits { digits: [u8; DIGITS_MAX], len: u8 },
}

impl<'a> Text<'a> {
    pub(super) fn bytes(bytes: &'a [u8]) -> Self {
        Text(Form::Bytes(bytes))
    }

    pub(super) fn int(value: i64) -> Self {
        let mut digits = [0; DIGITS_MAX];
        let mut text = IntText::default();
        let text = text.of(value);
        digits[..text.len()].copy_from_slice(text);
        Text(Form::Digits { digits, len: text.len() as u8 })
    }
}

impl AsRef<[u8]> for Text<'_> {
    fn as_ref(&self) -> &[u8] {
        match &self.0 {
            Form::Bytes(bytes) => bytes,
            Form::Digits { digits, len } => &digits[..usize::from(*len)],
        }
    }
}

/// The fields of a stream's entry: a row of names with their values, read from the payload each time.
#[derive(Clone, Copy, Debug)]
pub struct EntryFields<'a> {
    pub(super) count: usize,
    pub(super) pairs: super::listpack::Pairs<'a>,
}

impl<'a> EntryFields<'a> {
    /// How many fields there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none; no entry that a server wrote is so.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Names and values.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (Text<'a>, Text<'a>)> + use<'a> {
        let mut pairs = self.pairs;
        (0..self.count).map(move |_| pairs.next_pair())
    }
}
