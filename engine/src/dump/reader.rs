//! Reads the parts that RDB values are made of.

use std::borrow::Cow;

use super::{
    DumpError, ENCODED_INT8, ENCODED_INT16, ENCODED_INT32, ENCODED_LZF, FOOTER_BYTES, LEN_6_BITS,
    LEN_14_BITS, LEN_32_BITS, LEN_64_BITS, LEN_ENCODED, RDB_VERSION_MAX, RDB_VERSION_VALKEY, RdbString,
    RdbType, crc64, lzf,
};
use crate::value::string::STRING_MAX;
use crate::value::string::number::{IntText, parse_double};

/// A cursor over a payload whose footer was found right.
#[derive(Clone, Copy, Debug)]
pub struct RdbReader<'a> {
    rest: &'a [u8],
    version: u16,
}

/// A length, or the string encoding that stands in its place.
enum Length {
    Plain(u64),
    Encoded(u8),
}

impl<'a> RdbReader<'a> {
    /// Checks version and checksum.
    ///
    /// # Errors
    /// [`DumpError::VersionOrChecksum`].
    pub fn open(payload: &'a [u8]) -> Result<Self, DumpError> {
        let value_len = payload.len().checked_sub(FOOTER_BYTES).ok_or(DumpError::VersionOrChecksum)?;
        let (rest, footer) = payload.split_at(value_len);
        let (version, checksum) = footer.split_first_chunk::<2>().ok_or(DumpError::VersionOrChecksum)?;
        let stored = checksum.first_chunk::<8>().ok_or(DumpError::VersionOrChecksum)?;
        let computed = crc64(0, &payload[..value_len + version.len()]);
        let version = u16::from_le_bytes(*version);
        let is_known = version <= RDB_VERSION_MAX || version == RDB_VERSION_VALKEY;
        if !is_known || u64::from_le_bytes(*stored) != computed {
            return Err(DumpError::VersionOrChecksum);
        }
        Ok(RdbReader { rest, version })
    }

    /// Bytes that are left.
    pub(super) fn len(&self) -> usize {
        self.rest.len()
    }

    /// Reads which type the value is of.
    ///
    /// # Errors
    /// [`DumpError::BadData`] for a type that is not known.
    pub fn value_type(&mut self) -> Result<RdbType, DumpError> {
        RdbType::from_byte(self.byte()?, self.version).ok_or(DumpError::BadData)
    }

    /// Reads a length or count.
    ///
    /// It may promise more than there is: nothing may be allocated on its word alone.
    ///
    /// # Errors
    /// [`DumpError::BadData`].
    pub fn read_len(&mut self) -> Result<u64, DumpError> {
        match self.length()? {
            Length::Plain(len) => Ok(len),
            Length::Encoded(_) => Err(DumpError::BadData),
        }
    }

    /// Reads a string in any of its encodings.
    ///
    /// # Errors
    /// [`DumpError::BadData`], also for a string longer than [`STRING_MAX`].
    pub fn string(&mut self) -> Result<RdbString<'a>, DumpError> {
        let value = match self.length()? {
            Length::Plain(len) => return Ok(RdbString::Bytes(Cow::Borrowed(self.bytes(len)?))),
            Length::Encoded(ENCODED_INT8) => i64::from(i8::from_le_bytes(self.array()?)),
            Length::Encoded(ENCODED_INT16) => i64::from(i16::from_le_bytes(self.array()?)),
            Length::Encoded(ENCODED_INT32) => i64::from(i32::from_le_bytes(self.array()?)),
            Length::Encoded(ENCODED_LZF) => return self.compressed_string(),
            Length::Encoded(_) => return Err(DumpError::BadData),
        };
        Ok(RdbString::Int(value))
    }

    /// Reads a string and gives its text to `push`.
    pub(super) fn text<T>(&mut self, push: impl FnOnce(&[u8]) -> T) -> Result<T, DumpError> {
        Ok(match self.string()? {
            RdbString::Bytes(bytes) => push(&bytes),
            RdbString::Int(value) => push(IntText::default().of(value)),
        })
    }

    /// Reads a string that is a packed encoding and so never a number.
    pub(super) fn blob(&mut self) -> Result<Cow<'a, [u8]>, DumpError> {
        match self.string()? {
            RdbString::Bytes(bytes) => Ok(bytes),
            RdbString::Int(_) => Err(DumpError::BadData),
        }
    }

    /// Reads a time in milliseconds, which Redis writes as a signed number.
    pub(super) fn time_ms(&mut self) -> Result<i64, DumpError> {
        self.array().map(i64::from_le_bytes)
    }

    /// Reads an id as a stream's pending entries have it.
    pub(super) fn raw_id<const N: usize>(&mut self) -> Result<[u8; N], DumpError> {
        self.array()
    }

    /// Reads a double of eight bytes.
    pub(super) fn double(&mut self) -> Result<f64, DumpError> {
        self.array().map(f64::from_le_bytes)
    }

    /// Reads a double in the form of RDB before version 8: text behind its length, or a mark.
    pub(super) fn double_text(&mut self) -> Result<f64, DumpError> {
        match self.byte()? {
            255 => Ok(f64::NEG_INFINITY),
            254 => Ok(f64::INFINITY),
            253 => Ok(f64::NAN),
            len => parse_double(self.bytes(u64::from(len))?).ok_or(DumpError::BadData),
        }
    }

    /// Ends reading.
    ///
    /// # Errors
    /// [`DumpError::BadData`] when bytes are left.
    pub fn finish(self) -> Result<(), DumpError> {
        if self.rest.is_empty() { Ok(()) } else { Err(DumpError::BadData) }
    }

    fn compressed_string(&mut self) -> Result<RdbString<'a>, DumpError> {
        let packed_len = self.read_len()?;
        let len = usize::try_from(self.read_len()?).map_err(|_| DumpError::BadData)?;
        let packed = self.bytes(packed_len)?;
        if len > STRING_MAX {
            return Err(DumpError::BadData);
        }
        let bytes = lzf::decompress(packed, len).ok_or(DumpError::BadData)?;
        Ok(RdbString::Bytes(Cow::Owned(bytes)))
    }

    fn length(&mut self) -> Result<Length, DumpError> {
        let first = self.byte()?;
        let low = first & 0x3f;
        Ok(match (first >> 6, first) {
            (LEN_6_BITS, _) => Length::Plain(u64::from(low)),
            (LEN_14_BITS, _) => Length::Plain(u64::from(u16::from_be_bytes([low, self.byte()?]))),
            (LEN_ENCODED, _) => Length::Encoded(low),
            (_, LEN_32_BITS) => Length::Plain(u64::from(u32::from_be_bytes(self.array()?))),
            (_, LEN_64_BITS) => Length::Plain(u64::from_be_bytes(self.array()?)),
            _ => return Err(DumpError::BadData),
        })
    }

    fn bytes(&mut self, len: u64) -> Result<&'a [u8], DumpError> {
        let len = usize::try_from(len).ok().filter(|len| *len <= STRING_MAX).ok_or(DumpError::BadData)?;
        let (bytes, rest) = self.rest.split_at_checked(len).ok_or(DumpError::BadData)?;
        self.rest = rest;
        Ok(bytes)
    }

    pub(super) fn byte(&mut self) -> Result<u8, DumpError> {
        self.array().map(|[byte]| byte)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DumpError> {
        let (array, rest) = self.rest.split_first_chunk().ok_or(DumpError::BadData)?;
        self.rest = rest;
        Ok(*array)
    }
}
