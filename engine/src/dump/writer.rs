//! Writes the parts that RDB values are made of.

use super::{
    ENCODED_INT8, ENCODED_INT16, ENCODED_INT32, ENCODED_LZF, FOOTER_BYTES, LEN_14_BITS, LEN_32_BITS,
    LEN_64_BITS, LEN_ENCODED, RdbType, crc64, lzf,
};
use crate::value::string::number::parse_int;

/// Strings up to this length are never compressed.
const UNCOMPRESSED_MAX: usize = 20;
/// No longer string can be the digits of an integer that has an encoding of its own.
const INT_TEXT_MAX: usize = 11;

/// A payload in the making.
pub struct RdbWriter {
    out: Vec<u8>,
}

impl RdbWriter {
    /// Starts the payload of a value.
    #[must_use]
    pub fn new(value_type: RdbType) -> Self {
        RdbWriter { out: vec![value_type.byte()] }
    }

    /// Starts a payload that opens with something else than a value's type.
    pub(super) fn empty() -> Self {
        RdbWriter { out: Vec::new() }
    }

    /// Writes a length or count.
    pub fn put_len(&mut self, len: u64) {
        match len {
            0..0x40 => self.out.push(len as u8),
            0x40..0x4000 => {
                self.out.extend_from_slice(&(u16::from(LEN_14_BITS) << 14 | len as u16).to_be_bytes())
            }
            0x4000..=0xffff_ffff => {
                self.out.push(LEN_32_BITS);
                self.out.extend_from_slice(&(len as u32).to_be_bytes());
            }
            _ => {
                self.out.push(LEN_64_BITS);
                self.out.extend_from_slice(&len.to_be_bytes());
            }
        }
    }

    /// Writes a string in its shortest encoding: as a small integer, compressed, or plain.
    pub fn string(&mut self, bytes: &[u8]) {
        if bytes.len() <= INT_TEXT_MAX
            && let Some(value) = parse_int(bytes)
            && self.small_int(value)
        {
            return;
        }
        if bytes.len() > UNCOMPRESSED_MAX
            && let Some(packed) = lzf::compress(bytes)
        {
            self.out.push(LEN_ENCODED << 6 | ENCODED_LZF);
            self.put_len(packed.len() as u64);
            self.put_len(bytes.len() as u64);
            self.out.extend_from_slice(&packed);
            return;
        }
        self.plain(bytes);
    }

    /// Writes the string that is the decimal form of `value`.
    pub fn int(&mut self, value: i64) {
        if !self.small_int(value) {
            self.plain(itoa::Buffer::new().format(value).as_bytes());
        }
    }

    /// Writes bytes as they are.
    pub(super) fn raw(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// Where the next byte goes.
    pub(super) fn position(&self) -> usize {
        self.out.len()
    }

    /// Puts a length before what was written from `at` on, for which it was not known then.
    pub(super) fn insert_len(&mut self, at: usize, len: u64) {
        let behind = self.out.len();
        self.put_len(len);
        let width = self.out.len() - behind;
        self.out[at..].rotate_right(width);
    }

    /// Takes away the ranges of `len` bytes that start at `starts`, which rise.
    pub(super) fn remove(&mut self, starts: &[usize], len: usize) {
        let Some(first) = starts.first() else { return };
        let (mut to, ends) = (*first, starts.iter().skip(1).copied().chain([self.out.len()]));
        for (start, end) in starts.iter().zip(ends) {
            self.out.copy_within(start + len..end, to);
            to += end - start - len;
        }
        self.out.truncate(to);
    }

    /// Changes the type that the payload was started with.
    pub(super) fn set_type(&mut self, value_type: RdbType) {
        self.out[0] = value_type.byte();
    }

    /// Ends the payload with the version and the checksum.
    #[must_use]
    pub fn finish(mut self, version: u16) -> Vec<u8> {
        self.out.reserve_exact(FOOTER_BYTES);
        self.out.extend_from_slice(&version.to_le_bytes());
        let checksum = crc64(0, &self.out);
        self.out.extend_from_slice(&checksum.to_le_bytes());
        self.out
    }

    fn plain(&mut self, bytes: &[u8]) {
        self.put_len(bytes.len() as u64);
        self.out.extend_from_slice(bytes);
    }

    /// Writes an integer of at most 32 bits; tells whether it was one.
    fn small_int(&mut self, value: i64) -> bool {
        if let Ok(value) = i8::try_from(value) {
            self.out.push(LEN_ENCODED << 6 | ENCODED_INT8);
            self.out.extend_from_slice(&value.to_le_bytes());
        } else if let Ok(value) = i16::try_from(value) {
            self.out.push(LEN_ENCODED << 6 | ENCODED_INT16);
            self.out.extend_from_slice(&value.to_le_bytes());
        } else if let Ok(value) = i32::try_from(value) {
            self.out.push(LEN_ENCODED << 6 | ENCODED_INT32);
            self.out.extend_from_slice(&value.to_le_bytes());
        } else {
            return false;
        }
        true
    }
}
