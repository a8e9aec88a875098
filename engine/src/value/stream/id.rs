//! Ids of stream entries: a time in milliseconds and a number within it, 128 bits in order.
//!
//! The text form is Redis's `ms-seq`. In elements and rows an id is short: one byte says how many bytes
//! each half needs (low four bits: the time, high four: the number), then both halves, big-endian,
//! without leading zeros. An id of today is 7 bytes. The form is canonical: a half with a leading zero
//! byte is refused. Source of the text rules: Redis 7's `streamGenericParseIDOrReply`.

use std::fmt;

use crate::codec::{DecodeError, Reader};

/// The id of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct StreamId {
    /// Unix time in milliseconds, by convention.
    pub ms: u64,
    /// Counts the entries of one millisecond.
    pub seq: u64,
}

/// The id that XADD asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NewId {
    /// `*`: the time now, or the next id when the last one is not older.
    Auto,
    /// `ms-*`: the next number within that millisecond.
    AutoSeq(u64),
    /// `ms-seq`.
    Explicit(StreamId),
}

impl StreamId {
    /// `0-0`, below every entry.
    pub const MIN: StreamId = StreamId { ms: 0, seq: 0 };
    /// The largest id.
    pub const MAX: StreamId = StreamId { ms: u64::MAX, seq: u64::MAX };

    /// An id from its halves.
    #[must_use]
    pub const fn new(ms: u64, seq: u64) -> Self {
        StreamId { ms, seq }
    }

    /// The id behind this one.
    #[must_use]
    pub fn next(self) -> Option<StreamId> {
        match self.seq.checked_add(1) {
            Some(seq) => Some(StreamId { ms: self.ms, seq }),
            None => Some(StreamId { ms: self.ms.checked_add(1)?, seq: 0 }),
        }
    }

    /// The id before this one.
    #[must_use]
    pub fn previous(self) -> Option<StreamId> {
        match self.seq.checked_sub(1) {
            Some(seq) => Some(StreamId { ms: self.ms, seq }),
            None => Some(StreamId { ms: self.ms.checked_sub(1)?, seq: u64::MAX }),
        }
    }

    /// Reads `ms-seq` or `ms`, which then has the number `missing_seq`.
    #[must_use]
    pub fn parse(text: &[u8], missing_seq: u64) -> Option<StreamId> {
        match text.iter().position(|byte| *byte == b'-') {
            Some(at) => Some(StreamId { ms: number(&text[..at])?, seq: number(&text[at + 1..])? }),
            None => Some(StreamId { ms: number(text)?, seq: missing_seq }),
        }
    }

    /// Appends the short form.
    pub fn put(self, out: &mut Vec<u8>) {
        let (ms_zeros, seq_zeros) =
            (self.ms.leading_zeros() as usize / 8, self.seq.leading_zeros() as usize / 8);
        out.push(((8 - seq_zeros) << 4 | (8 - ms_zeros)) as u8);
        out.extend_from_slice(&self.ms.to_be_bytes()[ms_zeros..]);
        out.extend_from_slice(&self.seq.to_be_bytes()[seq_zeros..]);
    }

    /// Reads the short form.
    pub fn read(reader: &mut Reader<'_>) -> Result<StreamId, DecodeError> {
        let lengths = reader.u8()?;
        Ok(StreamId { ms: half(reader, lengths & 15)?, seq: half(reader, lengths >> 4)? })
    }
}

/// Reads one half of an id.
#[inline]
fn half(reader: &mut Reader<'_>, len: u8) -> Result<u64, DecodeError> {
    if len > 8 {
        return Err(reader.error("stream id too long"));
    }
    let bytes = reader.take(usize::from(len))?;
    if bytes.first() == Some(&0) {
        return Err(reader.error("stream id with a leading zero"));
    }
    Ok(bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)))
}

/// Reads decimal digits as `strtoull` does: leading zeros and one `+` are allowed.
fn number(text: &[u8]) -> Option<u64> {
    let digits = text.strip_prefix(b"+").unwrap_or(text);
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |value, byte| {
        let digit = byte.checked_sub(b'0').filter(|digit| *digit <= 9)?;
        value.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

impl NewId {
    /// Reads `*`, `ms-*`, `ms-seq` or `ms`, which then has the number 0.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<NewId> {
        if text == b"*" {
            return Some(NewId::Auto);
        }
        match text.strip_suffix(b"-*") {
            Some(ms) => Some(NewId::AutoSeq(number(ms)?)),
            None => Some(NewId::Explicit(StreamId::parse(text, 0)?)),
        }
    }
}

/// `ms-seq`.
impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(IdText::new(*self).as_str())
    }
}

/// The text of an id, without an allocation.
#[derive(Debug, Clone, Copy)]
pub struct IdText {
    bytes: [u8; 41],
    len: u8,
}

impl IdText {
    /// Writes an id's text.
    #[must_use]
    pub fn new(id: StreamId) -> Self {
        let mut text = IdText { bytes: [0; 41], len: 0 };
        let mut buffer = itoa::Buffer::new();
        text.push(buffer.format(id.ms));
        text.push("-");
        text.push(buffer.format(id.seq));
        text
    }

    fn push(&mut self, part: &str) {
        let start = usize::from(self.len);
        self.bytes[start..start + part.len()].copy_from_slice(part.as_bytes());
        self.len += part.len() as u8;
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }

    /// The text's bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn texts_follow_redis() {
        let id = |text: &str| StreamId::parse(text.as_bytes(), 7).map(|id| (id.ms, id.seq));
        for (text, expected) in [
            ("1-2", Some((1, 2))),
            ("1", Some((1, 7))),
            ("0-0", Some((0, 0))),
            ("01-02", Some((1, 2))),
            ("+1", Some((1, 7))),
            ("18446744073709551615-18446744073709551615", Some((u64::MAX, u64::MAX))),
            ("18446744073709551616-0", None),
            ("", None),
            ("-", None),
            ("+", None),
            ("1-", None),
            ("-1", None),
            ("1--1", None),
            ("1-2-3", None),
            (" 1-2", None),
            ("1-*", None),
            ("abc", None),
        ] {
            assert_eq!(id(text), expected, "{text}");
        }
        assert_eq!(NewId::parse(b"*"), Some(NewId::Auto));
        assert_eq!(NewId::parse(b"5-*"), Some(NewId::AutoSeq(5)));
        assert_eq!(NewId::parse(b"5"), Some(NewId::Explicit(StreamId::new(5, 0))));
        assert_eq!(NewId::parse(b"-*"), None);
        assert_eq!(NewId::parse(b"**"), None);
    }

    #[test]
    fn neighbours_carry() {
        let id = StreamId::new;
        assert_eq!(id(1, u64::MAX).next(), Some(id(2, 0)));
        assert_eq!(id(2, 0).previous(), Some(id(1, u64::MAX)));
        assert_eq!(StreamId::MAX.next(), None);
        assert_eq!(StreamId::MIN.previous(), None);
    }

    proptest! {
        #[test]
        fn ids_round_trip_in_both_forms(ms: u64, seq: u64, shift in 0u32..64, other in 0u32..64) {
            let id = StreamId::new(ms >> shift, seq >> other);
            let mut out = Vec::new();
            id.put(&mut out);
            let mut reader = Reader::new(&out);
            prop_assert_eq!(StreamId::read(&mut reader), Ok(id));
            prop_assert!(reader.is_empty());
            let text = id.to_string();
            prop_assert_eq!(StreamId::parse(text.as_bytes(), 0), Some(id));
        }

        #[test]
        fn what_is_read_is_what_would_be_written(bytes in prop::collection::vec(any::<u8>(), 0..18)) {
            let mut reader = Reader::new(&bytes);
            if let Ok(id) = StreamId::read(&mut reader) {
                let mut out = Vec::new();
                id.put(&mut out);
                prop_assert_eq!(&out[..], &bytes[..reader.position()]);
            }
        }
    }
}
