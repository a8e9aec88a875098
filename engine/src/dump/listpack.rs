//! Listpacks, in which Redis holds small collections, and lists and streams in nodes.
//!
//! ```text
//! total bytes, u32 LE | entries, u16 LE (0xffff: not counted) | entry ... | 0xff
//! entry: encoding and data | their length, in 7-bit groups that are read from the back
//! ```
//!
//! | first byte | entry |
//! |---|---|
//! | `0nnnnnnn` | an integer from 0 to 127 |
//! | `10llllll` | a string of `l` bytes |
//! | `110nnnnn` | a signed integer of 13 bits, high bits first |
//! | `1110llll` | a string of `l << 8 \| next byte` bytes |
//! | `0xf0` | a string whose length follows as u32 LE |
//! | `0xf1` to `0xf4` | a signed integer of 16, 24, 32 or 64 bits, LE |
//!
//! Reading checks every byte: lengths, the back lengths, the count and the total. It allocates nothing.

use super::DumpError;
use super::sink::Text;
use crate::value::string::number::parse_int;

const HEADER_BYTES: usize = 6;
const END: u8 = 0xff;
/// The count of a listpack that must be walked to know it.
const UNCOUNTED: u16 = 0xffff;
/// Longer strings are never integers.
const INT_TEXT_MAX: usize = 20;

/// A string or an integer, as a packed encoding holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry<'a> {
    /// The decimal form of a number.
    Int(i64),
    /// Any bytes.
    Bytes(&'a [u8]),
}

impl<'a> Entry<'a> {
    /// The entry as a string.
    pub(super) fn text(self) -> Text<'a> {
        match self {
            Entry::Int(value) => Text::int(value),
            Entry::Bytes(bytes) => Text::bytes(bytes),
        }
    }
}

/// What all packed encodings offer: their entries from first to last.
pub(super) trait Entries<'a> {
    /// The next entry; `None` once, at an end that was found right.
    fn next_entry(&mut self) -> Result<Option<Entry<'a>>, DumpError>;

    /// The next entry of a tuple that was begun.
    fn more(&mut self) -> Result<Entry<'a>, DumpError> {
        self.next_entry()?.ok_or(DumpError::BadData)
    }
}

/// A cursor over the entries of a listpack.
#[derive(Clone, Copy, Debug)]
pub(super) struct Listpack<'a> {
    rest: &'a [u8],
    /// Entries that the header promises and that were not read; `None` if it promises nothing.
    left: Option<u16>,
}

impl<'a> Listpack<'a> {
    /// Checks the header.
    pub(super) fn open(bytes: &'a [u8]) -> Result<Self, DumpError> {
        let (total, after) = bytes.split_first_chunk::<4>().ok_or(DumpError::BadData)?;
        let (count, rest) = after.split_first_chunk::<2>().ok_or(DumpError::BadData)?;
        if usize::try_from(u32::from_le_bytes(*total)) != Ok(bytes.len()) {
            return Err(DumpError::BadData);
        }
        let count = u16::from_le_bytes(*count);
        Ok(Listpack { rest, left: (count != UNCOUNTED).then_some(count) })
    }

    /// Reads an entry that must be an integer.
    pub(super) fn int(&mut self) -> Result<i64, DumpError> {
        match self.more()? {
            Entry::Int(value) => Ok(value),
            Entry::Bytes(_) => Err(DumpError::BadData),
        }
    }

    /// Reads an integer that must be a count.
    pub(super) fn count(&mut self) -> Result<u64, DumpError> {
        u64::try_from(self.int()?).map_err(|_| DumpError::BadData)
    }

    /// Reads and checks `count` entries, and returns a cursor that stands before them.
    pub(super) fn skip(&mut self, count: u64) -> Result<Listpack<'a>, DumpError> {
        let start = *self;
        for _ in 0..count {
            self.more()?;
        }
        Ok(start)
    }
}

impl<'a> Entries<'a> for Listpack<'a> {
    #[inline]
    fn next_entry(&mut self) -> Result<Option<Entry<'a>>, DumpError> {
        if self.rest == [END] {
            return if self.left.unwrap_or(0) == 0 { Ok(None) } else { Err(DumpError::BadData) };
        }
        let (entry, len) = split_entry(self.rest).ok_or(DumpError::BadData)?;
        let (own, behind) = self.rest.split_at_checked(len).ok_or(DumpError::BadData)?;
        let (back, back_len) = back_length(own.len());
        self.rest = behind.strip_prefix(&back[..back_len]).ok_or(DumpError::BadData)?;
        if let Some(left) = &mut self.left {
            *left = left.checked_sub(1).ok_or(DumpError::BadData)?;
        }
        Ok(Some(entry))
    }
}

/// The entry at the start of `bytes` and its length without the back length.
fn split_entry(bytes: &[u8]) -> Option<(Entry<'_>, usize)> {
    let (&first, after) = bytes.split_first()?;
    let string =
        |skip: usize, len: usize| Some((Entry::Bytes(after.get(skip..)?.get(..len)?), 1 + skip + len));
    Some(match first {
        0..0x80 => (Entry::Int(i64::from(first)), 1),
        0x80..0xc0 => string(0, usize::from(first & 0x3f))?,
        0xc0..0xe0 => {
            let bits = i16::from_be_bytes([first & 0x1f, *after.first()?]);
            (Entry::Int(i64::from(bits << 3 >> 3)), 2)
        }
        0xe0..0xf0 => string(1, usize::from(first & 0xf) << 8 | usize::from(*after.first()?))?,
        0xf0 => string(4, u32::from_le_bytes(*after.first_chunk()?) as usize)?,
        0xf1 => (Entry::Int(int_le(after.get(..2)?)), 3),
        0xf2 => (Entry::Int(int_le(after.get(..3)?)), 4),
        0xf3 => (Entry::Int(int_le(after.get(..4)?)), 5),
        0xf4 => (Entry::Int(int_le(after.get(..8)?)), 9),
        _ => return None,
    })
}

/// A signed little-endian integer of one to eight bytes.
pub(super) fn int_le(bytes: &[u8]) -> i64 {
    let mut wide = [0; 8];
    let skip = 8 - bytes.len();
    wide[skip..].copy_from_slice(bytes);
    i64::from_le_bytes(wide) >> (8 * skip)
}

/// The length of an entry as it stands behind it, and how many bytes that takes.
fn back_length(len: usize) -> ([u8; 5], usize) {
    let bits = |shift: u32| (len >> shift) as u8 & 0x7f;
    match len {
        0..=0x7f => ([len as u8, 0, 0, 0, 0], 1),
        0x80..0x3fff => ([bits(7), bits(0) | 0x80, 0, 0, 0], 2),
        0x3fff..0x1f_ffff => ([bits(14), bits(7) | 0x80, bits(0) | 0x80, 0, 0], 3),
        0x1f_ffff..0xfff_ffff => ([bits(21), bits(14) | 0x80, bits(7) | 0x80, bits(0) | 0x80, 0], 4),
        _ => ([bits(28), bits(21) | 0x80, bits(14) | 0x80, bits(7) | 0x80, bits(0) | 0x80], 5),
    }
}

/// Names and values of a stream's entry, whose listpack entries were checked.
#[derive(Clone, Copy, Debug)]
pub(super) enum Pairs<'a> {
    /// Each name stands before its value.
    Mixed(Listpack<'a>),
    /// The names are those of the node.
    Apart(Listpack<'a>, Listpack<'a>),
}

impl<'a> Pairs<'a> {
    /// The next name and value.
    pub(super) fn next_pair(&mut self) -> (Text<'a>, Text<'a>) {
        let text = |listpack: &mut Listpack<'a>| listpack.more().unwrap_or(Entry::Bytes(b"")).text();
        match self {
            Pairs::Mixed(both) => {
                let name = text(both);
                (name, text(both))
            }
            Pairs::Apart(names, values) => (text(names), text(values)),
        }
    }
}

/// A listpack in the making.
pub(super) struct ListpackWriter {
    out: Vec<u8>,
    count: usize,
}

impl ListpackWriter {
    pub(super) fn new() -> Self {
        ListpackWriter { out: vec![0; HEADER_BYTES], count: 0 }
    }

    /// Whether nothing was pushed.
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes that it has when it ends here.
    pub(super) fn bytes(&self) -> usize {
        self.out.len() + 1
    }

    /// Appends a string, as an integer if it is one.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        if bytes.len() <= INT_TEXT_MAX
            && let Some(value) = parse_int(bytes)
        {
            return self.push_int(value);
        }
        let start = self.out.len();
        match bytes.len() {
            len @ 0..0x40 => self.out.push(0x80 | len as u8),
            len @ 0x40..0x1000 => self.out.extend_from_slice(&(0xe000 | len as u16).to_be_bytes()),
            len => {
                self.out.push(0xf0);
                self.out.extend_from_slice(&(len as u32).to_le_bytes());
            }
        }
        self.out.extend_from_slice(bytes);
        self.close(start);
    }

    /// Appends an integer.
    pub(super) fn push_int(&mut self, value: i64) {
        let start = self.out.len();
        let bytes = value.to_le_bytes();
        match value {
            0..0x80 => self.out.push(value as u8),
            -0x1000..0x1000 => {
                self.out.extend_from_slice(&(0xc000 | value as u16 & 0x1fff).to_be_bytes());
            }
            -0x8000..0x8000 => self.int_bytes(0xf1, &bytes[..2]),
            -0x80_0000..0x80_0000 => self.int_bytes(0xf2, &bytes[..3]),
            -0x8000_0000..0x8000_0000 => self.int_bytes(0xf3, &bytes[..4]),
            _ => self.int_bytes(0xf4, &bytes),
        }
        self.close(start);
    }

    fn int_bytes(&mut self, encoding: u8, bytes: &[u8]) {
        self.out.push(encoding);
        self.out.extend_from_slice(bytes);
    }

    fn close(&mut self, start: usize) {
        let (back, len) = back_length(self.out.len() - start);
        self.out.extend_from_slice(&back[..len]);
        self.count += 1;
    }

    /// Appends the entries of another.
    pub(super) fn append(&mut self, other: &ListpackWriter) {
        self.out.extend_from_slice(&other.out[HEADER_BYTES..]);
        self.count += other.count;
    }

    /// Ends the listpack.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.out.push(END);
        let total = self.out.len() as u32;
        let count = u16::try_from(self.count).unwrap_or(UNCOUNTED);
        self.out[..4].copy_from_slice(&total.to_le_bytes());
        self.out[4..HEADER_BYTES].copy_from_slice(&count.to_le_bytes());
        self.out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entries(bytes: &[u8]) -> Result<Vec<Vec<u8>>, DumpError> {
        let mut listpack = Listpack::open(bytes)?;
        let mut out = Vec::new();
        while let Some(entry) = listpack.next_entry()? {
            out.push(entry.text().as_ref().to_vec());
        }
        Ok(out)
    }

    fn packed(strings: &[Vec<u8>]) -> Vec<u8> {
        let mut writer = ListpackWriter::new();
        strings.iter().for_each(|string| writer.push(string));
        assert_eq!(writer.bytes(), writer.out.len() + 1);
        writer.finish()
    }

    #[test]
    fn every_width_of_entries_round_trips() {
        let mut strings: Vec<Vec<u8>> = Vec::new();
        for shift in 0..63 {
            for near in [-1, 0, 1] {
                strings.push(((1i64 << shift) + near).to_string().into_bytes());
                strings.push((-(1i64 << shift) + near).to_string().into_bytes());
            }
        }
        strings.extend([i64::MIN, i64::MAX].map(|value| value.to_string().into_bytes()));
        for len in [0, 1, 63, 64, 120, 126, 127, 128, 4095, 4096, 16_375, 16_380, 16_384, 70_000, 2_097_150] {
            strings.push(vec![b'x'; len]);
        }
        assert_eq!(entries(&packed(&strings)), Ok(strings));
    }

    #[test]
    fn long_listpacks_are_not_counted() {
        let strings = vec![b"7".to_vec(); 70_000];
        let bytes = packed(&strings);
        assert_eq!(bytes[4..6], [0xff, 0xff]);
        assert_eq!(entries(&bytes), Ok(strings));
    }

    #[test]
    fn every_damaged_byte_is_found_or_harmless() {
        let bytes = packed(&[b"abc".to_vec(), b"17".to_vec(), b"-4000".to_vec(), vec![b'y'; 200]]);
        for at in 0..bytes.len() {
            for flip in 1..=255u8 {
                let mut bad = bytes.clone();
                bad[at] ^= flip;
                let _ = entries(&bad);
            }
            assert!(entries(&bytes[..at]).is_err());
        }
        for (at, value) in [(0, 0), (4, 3), (4, 5), (6, 0x84), (10, 5), (bytes.len() - 1, 0)] {
            let mut bad = bytes.clone();
            bad[at] = value;
            assert!(entries(&bad).is_err(), "{at}");
        }
    }

    proptest! {
        #[test]
        fn strings_round_trip(strings: Vec<Vec<u8>>) {
            prop_assert_eq!(entries(&packed(&strings)), Ok(strings));
        }

        #[test]
        fn hostile_bytes_are_read_or_refused(body: Vec<u8>, count: u16) {
            let mut bytes = (body.len() as u32 + 6).to_le_bytes().to_vec();
            bytes.extend_from_slice(&count.to_le_bytes());
            bytes.extend_from_slice(&body);
            let _ = entries(&bytes);
        }
    }
}
