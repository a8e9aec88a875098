//! The payload of DUMP and RESTORE: one value in the encoding of Redis's RDB files.
//!
//! ```text
//! type byte | value, as the type lays it out | RDB version, u16 LE | CRC-64 of all before it, u64 LE
//! ```
//!
//! Payloads go both ways between Lux and Redis or Valkey. They know nothing of Lux's own values:
//! [`open`] reads a payload and gives its elements to an [`ObjectSink`], and the `dump_` functions and
//! [`StreamWriter`] take iterators. [`RdbWriter`] and [`RdbReader`] hold the parts that all types
//! share - lengths, strings, the footer. One module, `collection`, joins them with the values.
//!
//! Payloads come from clients: reading one never panics, its work is linear in what it unpacks to, and
//! it never allocates more than a small multiple of its length before the bytes to fill it are known to
//! be there. A payload is read twice, first to check all of it, duplicates included, then for the sink.
//!
//! | version of RDB | written by | what it brought |
//! |---|---|---|
//! | 10 | Redis 7.0 | listpacks, which replaced ziplists |
//! | 11 | Redis 7.2, Valkey 8 | [`RdbType::SetListpack`], [`RdbType::Stream3`] |
//! | 12 | Redis 7.4 and 8 | the hashes with deadlines from [`RdbType::HashMetadataPreGa`] on |
//! | 80 | Valkey 9 | [`RdbType::Hash2`] |
//!
//! Servers refuse versions newer than their own, and Valkey also those between 12 and 79. So each payload
//! is written with the lowest version that knows its type.

mod collection;
mod crc64;
mod decode;
mod decode_stream;
mod encode;
mod encode_stream;
mod libraries;
mod listpack;
mod lzf;
mod old;
mod reader;
mod sink;
mod survey;
mod writer;

use std::borrow::Cow;

use crate::value::string::number::parse_int;

pub use collection::{Limits, dump_collection, load_collection};
pub use crc64::crc64;
pub use encode::{dump_hash, dump_list, dump_set, dump_zset};
pub use encode_stream::{GroupWriter, StreamWriter};
pub use libraries::{LibrariesError, dump_libraries, load_libraries};
pub use reader::RdbReader;
pub use sink::{
    ConsumerState, EntryFields, EntryId, GroupState, ObjectKind, ObjectSink, PendingEntry, StreamState, Text,
};
pub use survey::Totals;
pub use writer::RdbWriter;

/// The RDB version that payloads are written with (Redis 7.0), unless they need a newer one.
pub const RDB_VERSION: u16 = 10;
/// The version that knows when consumers were active (Redis 7.2).
const RDB_VERSION_ACTIVE_TIMES: u16 = 11;
/// The newest RDB version of Redis that is read.
pub const RDB_VERSION_MAX: u16 = 12;
/// The version of Valkey 9, which went its own way after version 11.
pub const RDB_VERSION_VALKEY: u16 = 80;

/// Bytes of version and checksum behind the value.
const FOOTER_BYTES: usize = 10;

// How RDB spells lengths and strings. The numbers are Redis's; they never change.
/// The two top bits of a length's first byte: what the other six are.
const LEN_6_BITS: u8 = 0;
const LEN_14_BITS: u8 = 1;
const LEN_ENCODED: u8 = 3;
/// First bytes of lengths that follow as big-endian integers.
const LEN_32_BITS: u8 = 0x80;
const LEN_64_BITS: u8 = 0x81;
/// String encodings that stand in place of a length.
const ENCODED_INT8: u8 = 0;
const ENCODED_INT16: u8 = 1;
const ENCODED_INT32: u8 = 2;
const ENCODED_LZF: u8 = 3;

/// The value types of RDB, by the numbers that Redis gave them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RdbType {
    /// A string.
    String,
    /// A list as a row of strings.
    List,
    /// A set as a row of strings.
    Set,
    /// A sorted set with scores as text.
    ZSet,
    /// A hash as a row of strings.
    Hash,
    /// A sorted set with binary scores.
    ZSet2,
    /// A hash as a zipmap.
    HashZipmap,
    /// A list as a ziplist.
    ListZiplist,
    /// A set of integers.
    SetIntset,
    /// A sorted set as a ziplist.
    ZSetZiplist,
    /// A hash as a ziplist.
    HashZiplist,
    /// A list as a row of ziplists.
    ListQuicklist,
    /// A stream of Redis 5.
    Stream,
    /// A hash as a listpack.
    HashListpack,
    /// A sorted set as a listpack.
    ZSetListpack,
    /// A list as a row of listpacks and long elements.
    ListQuicklist2,
    /// A stream of Redis 7.0.
    Stream2,
    /// A set as a listpack.
    SetListpack,
    /// A stream of Redis 7.2.
    Stream3,
    /// A hash with deadlines, from before Redis 7.4 was released.
    HashMetadataPreGa,
    /// The same as a listpack.
    HashListpackExPreGa,
    /// A hash with deadlines of Redis 7.4.
    HashMetadata,
    /// The same as a listpack.
    HashListpackEx,
    /// A hash with deadlines of Valkey 9. It has the number that Redis had given to
    /// [`RdbType::HashMetadataPreGa`]; the payload's version tells them apart.
    Hash2,
}

impl RdbType {
    const ALL: [(u8, RdbType, ObjectKind); 23] = [
        (0, RdbType::String, ObjectKind::String),
        (1, RdbType::List, ObjectKind::List),
        (2, RdbType::Set, ObjectKind::Set),
        (3, RdbType::ZSet, ObjectKind::ZSet),
        (4, RdbType::Hash, ObjectKind::Hash),
        (5, RdbType::ZSet2, ObjectKind::ZSet),
        (9, RdbType::HashZipmap, ObjectKind::Hash),
        (10, RdbType::ListZiplist, ObjectKind::List),
        (11, RdbType::SetIntset, ObjectKind::Set),
        (12, RdbType::ZSetZiplist, ObjectKind::ZSet),
        (13, RdbType::HashZiplist, ObjectKind::Hash),
        (14, RdbType::ListQuicklist, ObjectKind::List),
        (15, RdbType::Stream, ObjectKind::Stream),
        (16, RdbType::HashListpack, ObjectKind::Hash),
        (17, RdbType::ZSetListpack, ObjectKind::ZSet),
        (18, RdbType::ListQuicklist2, ObjectKind::List),
        (19, RdbType::Stream2, ObjectKind::Stream),
        (20, RdbType::SetListpack, ObjectKind::Set),
        (21, RdbType::Stream3, ObjectKind::Stream),
        (22, RdbType::HashMetadataPreGa, ObjectKind::Hash),
        (23, RdbType::HashListpackExPreGa, ObjectKind::Hash),
        (24, RdbType::HashMetadata, ObjectKind::Hash),
        (25, RdbType::HashListpackEx, ObjectKind::Hash),
    ];
    /// The number of [`RdbType::Hash2`] in payloads of Valkey's versions.
    const HASH_2: u8 = 22;

    /// The type with this number in a payload of this version.
    fn from_byte(byte: u8, version: u16) -> Option<Self> {
        if byte == Self::HASH_2 && version >= RDB_VERSION_VALKEY {
            return Some(RdbType::Hash2);
        }
        Self::ALL.iter().find(|(number, _, _)| *number == byte).map(|(_, value_type, _)| *value_type)
    }

    /// The number of the type.
    fn byte(self) -> u8 {
        Self::ALL.iter().find(|(_, other, _)| *other == self).map_or(Self::HASH_2, |(number, _, _)| *number)
    }

    /// Whether the value comes packed, which a server that reads it leaves it, however long its parts
    /// are, as long as it has not too many.
    fn is_packed(self) -> bool {
        matches!(
            self,
            RdbType::HashZiplist
                | RdbType::HashListpack
                | RdbType::HashListpackEx
                | RdbType::HashListpackExPreGa
                | RdbType::SetListpack
                | RdbType::ZSetZiplist
                | RdbType::ZSetListpack
        )
    }

    /// What values of the type are.
    #[must_use]
    pub fn kind(self) -> ObjectKind {
        Self::ALL.iter().find(|(_, other, _)| *other == self).map_or(ObjectKind::Hash, |(_, _, kind)| *kind)
    }
}

/// Why a payload was refused; the texts are Redis's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DumpError {
    /// Too short, from a newer version, or changed on the way.
    #[error("DUMP payload version or checksum are wrong")]
    VersionOrChecksum,
    /// Intact, but not a value that can be read.
    #[error("Bad data format")]
    BadData,
}

/// A value read from a payload.
#[derive(Clone, Debug)]
pub enum Dumped<'a> {
    /// A string.
    String(RdbString<'a>),
    /// Anything else.
    Collection(DumpedCollection<'a>),
}

/// A collection in a payload that was found right.
#[derive(Clone, Debug)]
pub struct DumpedCollection<'a> {
    value_type: RdbType,
    reader: RdbReader<'a>,
    totals: Totals,
}

impl DumpedCollection<'_> {
    /// What it is.
    #[must_use]
    pub fn kind(&self) -> ObjectKind {
        self.value_type.kind()
    }

    /// Bytes of the payload that hold it.
    pub(super) fn payload_len(&self) -> usize {
        self.reader.len()
    }

    /// How much a sink will get.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// Gives all elements to `sink`.
    ///
    /// # Errors
    /// None: the payload was checked, and reading it again says the same.
    pub fn read_into(&self, sink: &mut dyn ObjectSink) -> Result<(), DumpError> {
        decode::read(self.value_type, &mut self.reader.clone(), sink)
    }
}

/// A string as RDB holds it: numbers are kept as numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RdbString<'a> {
    /// The decimal digits of an integer.
    Int(i64),
    /// Any other bytes; borrowed from the payload unless they were compressed there.
    Bytes(Cow<'a, [u8]>),
}

/// The payload of a string.
#[must_use]
pub fn dump_string(bytes: &[u8]) -> Vec<u8> {
    let mut writer = RdbWriter::new(RdbType::String);
    writer.string(bytes);
    writer.finish(RDB_VERSION)
}

/// The payload of a string that is the decimal form of `value`.
#[must_use]
pub fn dump_int(value: i64) -> Vec<u8> {
    let mut writer = RdbWriter::new(RdbType::String);
    writer.int(value);
    writer.finish(RDB_VERSION)
}

/// Reads and checks a payload. A string that is the canonical form of an integer comes as that integer.
///
/// # Errors
/// [`DumpError`]; nothing but the reply depends on which.
pub fn open(payload: &[u8]) -> Result<Dumped<'_>, DumpError> {
    let mut reader = RdbReader::open(payload)?;
    let value_type = reader.value_type()?;
    if value_type != RdbType::String {
        let totals = survey::check(value_type, reader)?;
        return Ok(Dumped::Collection(DumpedCollection { value_type, reader, totals }));
    }
    let string = match reader.string()? {
        RdbString::Bytes(bytes) => match parse_int(&bytes) {
            Some(value) => RdbString::Int(value),
            None => RdbString::Bytes(bytes),
        },
        int => int,
    };
    reader.finish()?;
    Ok(Dumped::String(string))
}

#[cfg(test)]
mod tests;
