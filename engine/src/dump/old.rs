//! Packed encodings that Redis once wrote and still reads: ziplists and zipmaps. And intsets, which
//! it still writes.
//!
//! ```text
//! ziplist: total bytes, u32 LE | offset of the last entry, u32 LE | entries, u16 LE | entry ... | 0xff
//!   entry: length of the one before (u8, or 0xfe and u32 LE) | encoding | data
//! zipmap: pairs, u8 (254 and more: not counted) | pair ... | 0xff
//!   pair: length (u8, or 0xfe and u32 LE) | field | length | unused bytes, u8 | value | unused bytes
//! intset: bytes of an integer, u32 LE | integers, u32 LE | integer ..., LE, rising
//! ```
//!
//! | first byte of an encoding | ziplist entry |
//! |---|---|
//! | `00llllll` | a string of `l` bytes |
//! | `01llllll` | a string of `l << 8 \| next byte` bytes |
//! | `0x80` | a string whose length follows as u32 BE |
//! | `0xc0`, `0xd0`, `0xe0`, `0xf0`, `0xfe` | a signed integer of 16, 32, 64, 24 or 8 bits, LE |
//! | `1111nnnn` with n in 1..=13 | the integer `n - 1` |

use super::DumpError;
use super::listpack::{Entries, Entry, int_le};

const END: u8 = 0xff;
/// A length byte that says: four more follow.
const LONG: u8 = 0xfe;
const ZIPLIST_HEADER_BYTES: usize = 10;
/// The count of a ziplist that must be walked to know it.
const UNCOUNTED: u16 = 0xffff;
const INTSET_HEADER_BYTES: usize = 8;

/// A cursor over the entries of a ziplist.
pub(super) struct Ziplist<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Where the latest entry starts.
    latest: usize,
    tail: usize,
    left: Option<u16>,
}

impl<'a> Ziplist<'a> {
    /// Checks the header.
    pub(super) fn open(bytes: &'a [u8]) -> Result<Self, DumpError> {
        let (total, after) = bytes.split_first_chunk::<4>().ok_or(DumpError::BadData)?;
        let (tail, after) = after.split_first_chunk::<4>().ok_or(DumpError::BadData)?;
        let count = after.first_chunk::<2>().ok_or(DumpError::BadData)?;
        if usize::try_from(u32::from_le_bytes(*total)) != Ok(bytes.len()) {
            return Err(DumpError::BadData);
        }
        let count = u16::from_le_bytes(*count);
        let start = ZIPLIST_HEADER_BYTES;
        let tail = u32::from_le_bytes(*tail) as usize;
        let left = (count != UNCOUNTED).then_some(count);
        Ok(Ziplist { bytes, at: start, latest: start, tail, left })
    }
}

impl<'a> Entries<'a> for Ziplist<'a> {
    fn next_entry(&mut self) -> Result<Option<Entry<'a>>, DumpError> {
        let rest = self.bytes.get(self.at..).ok_or(DumpError::BadData)?;
        if rest == [END] {
            let is_right = self.tail == self.latest && self.left.unwrap_or(0) == 0;
            return if is_right { Ok(None) } else { Err(DumpError::BadData) };
        }
        let (before, after) = split_length(rest).ok_or(DumpError::BadData)?;
        let (entry, len) = split_ziplist_entry(after).ok_or(DumpError::BadData)?;
        if before != self.at - self.latest {
            return Err(DumpError::BadData);
        }
        if let Some(left) = &mut self.left {
            *left = left.checked_sub(1).ok_or(DumpError::BadData)?;
        }
        self.latest = self.at;
        self.at += rest.len() - after.len() + len;
        Ok(Some(entry))
    }
}

/// A length of one byte, or of four behind a mark, and what follows it.
fn split_length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    match bytes.split_first()? {
        (&LONG, after) => {
            let (len, after) = after.split_first_chunk::<4>()?;
            Some((u32::from_le_bytes(*len) as usize, after))
        }
        (&END, _) => None,
        (&len, after) => Some((usize::from(len), after)),
    }
}

/// The entry whose encoding starts `bytes`, and the length of both.
fn split_ziplist_entry(bytes: &[u8]) -> Option<(Entry<'_>, usize)> {
    let (&first, after) = bytes.split_first()?;
    let string =
        |skip: usize, len: usize| Some((Entry::Bytes(after.get(skip..)?.get(..len)?), 1 + skip + len));
    let int = |len: usize| Some((Entry::Int(int_le(after.get(..len)?)), 1 + len));
    match first {
        0..0x40 => string(0, usize::from(first)),
        0x40..0x80 => string(1, usize::from(first & 0x3f) << 8 | usize::from(*after.first()?)),
        0x80 => string(4, u32::from_be_bytes(*after.first_chunk()?) as usize),
        0xc0 => int(2),
        0xd0 => int(4),
        0xe0 => int(8),
        0xf0 => int(3),
        0xfe => int(1),
        0xf1..=0xfd => Some((Entry::Int(i64::from(first & 0xf) - 1), 1)),
        _ => None,
    }
}

/// Reads the pairs of a zipmap.
pub(super) fn read_zipmap(bytes: &[u8], push: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), DumpError> {
    let (&promised, mut rest) = bytes.split_first().ok_or(DumpError::BadData)?;
    let mut count = 0;
    while rest != [END] {
        let (field, value, behind) = split_zipmap_pair(rest).ok_or(DumpError::BadData)?;
        push(field, value);
        rest = behind;
        count += 1;
    }
    if promised < LONG && usize::from(promised) != count { Err(DumpError::BadData) } else { Ok(()) }
}

fn split_zipmap_pair(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (len, after) = split_length(bytes)?;
    let (field, after) = after.split_at_checked(len)?;
    let (len, after) = split_length(after)?;
    let (&unused, after) = after.split_first()?;
    let (value, after) = after.split_at_checked(len)?;
    Some((field, value, after.get(usize::from(unused)..)?))
}

/// Reads the members of an intset, which rise.
pub(super) fn read_intset(bytes: &[u8], push: &mut dyn FnMut(i64)) -> Result<(), DumpError> {
    let (width, after) = bytes.split_first_chunk::<4>().ok_or(DumpError::BadData)?;
    let (count, body) = after.split_first_chunk::<4>().ok_or(DumpError::BadData)?;
    let (width, count) = (u32::from_le_bytes(*width) as usize, u32::from_le_bytes(*count) as usize);
    if ![2, 4, 8].contains(&width) || count.checked_mul(width) != Some(body.len()) {
        return Err(DumpError::BadData);
    }
    let mut latest = None;
    for bytes in body.chunks_exact(width) {
        let value = int_le(bytes);
        if latest.is_some_and(|latest| latest >= value) {
            return Err(DumpError::BadData);
        }
        latest = Some(value);
        push(value);
    }
    Ok(())
}

/// The intset of `members`, which rise.
pub(super) fn intset(members: &[i64]) -> Vec<u8> {
    let fits = |low: i64, high: i64| members.iter().all(|member| (low..=high).contains(member));
    let width = if fits(i64::from(i16::MIN), i64::from(i16::MAX)) {
        2
    } else if fits(i64::from(i32::MIN), i64::from(i32::MAX)) {
        4
    } else {
        8
    };
    let mut out = Vec::with_capacity(INTSET_HEADER_BYTES + width * members.len());
    out.extend_from_slice(&(width as u32).to_le_bytes());
    out.extend_from_slice(&(members.len() as u32).to_le_bytes());
    for member in members {
        out.extend_from_slice(&member.to_le_bytes()[..width]);
    }
    out
}
