//! The payload of DUMP and RESTORE: one value in the encoding of Redis's RDB files.
//!
//! ```text
//! type byte | value, as the type lays it out | RDB version, u16 LE | CRC-64 of all before it, u64 LE
//! ```
//!
//! Payloads go both ways between Lux and Redis or Valkey. [`RdbWriter`] and [`RdbReader`] hold the
//! parts that all types share - lengths, strings, the footer - and each type adds its own layout on
//! top. Payloads come from clients: reading one never panics, and never allocates more than a small
//! multiple of its length before the bytes to fill it are known to be there.
//!
//! Written payloads carry version [`RDB_VERSION`]; versions up to [`RDB_VERSION_MAX`] are read.

mod crc64;
mod lzf;
mod reader;
mod writer;

use std::borrow::Cow;

use crate::value::string::number::parse_int;

pub use crc64::crc64;
pub use reader::RdbReader;
pub use writer::RdbWriter;

/// The RDB version that payloads are written with (Redis 7.2).
pub const RDB_VERSION: u16 = 11;
/// The newest RDB version that is read.
pub const RDB_VERSION_MAX: u16 = 12;

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

/// The value types of RDB that are read and written. The numbers are Redis's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum RdbType {
    /// A string.
    String = 0,
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DumpedValue<'a> {
    /// A string.
    String(RdbString<'a>),
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

/// Reads a payload. A string that is the canonical form of an integer comes as that integer.
///
/// # Errors
/// [`DumpError`]; nothing but the reply depends on which.
pub fn restore(payload: &[u8]) -> Result<DumpedValue<'_>, DumpError> {
    let mut reader = RdbReader::open(payload)?;
    let value = match reader.value_type()? {
        RdbType::String => DumpedValue::String(match reader.string()? {
            RdbString::Bytes(bytes) => match parse_int(&bytes) {
                Some(value) => RdbString::Int(value),
                None => RdbString::Bytes(bytes),
            },
            int => int,
        }),
    };
    reader.finish()?;
    Ok(value)
}

#[cfg(test)]
mod tests;
