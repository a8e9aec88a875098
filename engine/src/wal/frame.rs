//! The frame: one checksummed unit of the log, and its codec.
//!
//! Little endian, always at an offset divisible by 8. DO NOT REORDER.
//!
//! ```text
//! offset  size  field
//!      0     4  len      bytes of the body as stored, without padding
//!      4     4  crc      CRC-32 (IEEE) of: body as stored | bytes 0..4 | bytes 8..26 | seed (8 bytes)
//!      8     8  lsn      Commit: this record's LSN. Statement: last LSN before it
//!     16     8  durable  the durable LSN when the frame was appended; never above lsn
//!     24     1  kind     1 = Commit, 2 = Statement (has no body)
//!     25     1  flags    bit 0: the body is compressed; all other bits are 0
//!     26   len  body     flag clear: the record. Flag set: its length (u32), then an LZ4 block
//!      …   0-7  padding  zeros up to a multiple of 8
//! ```
//!
//! The *seed* is not stored: it is made of store id, segment id and the frame's offset ([`seed`]), so a
//! valid frame is valid at one place only. Bytes of an older file, of another store, or of a log
//! that a client stored as a value never pass for a frame. The body comes first in the checksum
//! because it is hashed before the append lock is taken, while LSN and place are known only inside.
//!
//! [`decode`] takes any bytes: it never panics, and what it (or [`Frame::body`]) allocates is
//! bounded by the bytes at hand. A zeroed area is not a frame, since kind 0 is none.

use std::cell::RefCell;

use crc32fast::Hasher;
use lz4_flex::block::{CompressTable, compress_into_with_table, decompress_into, get_maximum_output_size};

use crate::ids::Lsn;

/// Bytes before the body.
pub const HEADER_BYTES: usize = 26;
/// Frames start and end at multiples of this.
pub const ALIGN: usize = 8;
/// The largest record, before compression.
pub const BODY_BYTES_MAX: usize = 1 << 30;
/// Bodies up to this many bytes are stored as they are.
const COMPRESS_ABOVE: usize = 512;
/// LZ4 cannot say more than this many bytes with one.
const LZ4_RATIO_MAX: usize = 255;
/// Length of the field before an LZ4 block.
const RAW_LEN_BYTES: usize = 4;
const FLAG_COMPRESSED: u8 = 1;
/// A thread's scratch space for compression shrinks back to this after a larger record.
const SCRATCH_KEEP: usize = 256 << 10;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum FrameKind {
    /// One commit: has an LSN of its own and a body.
    Commit = 1,
    /// States the durable LSN while nothing is appended. No LSN of its own, no body.
    Statement = 2,
}

/// Why bytes are not a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// The bytes end before the frame does; it claims to be this long.
    Incomplete {
        /// Bytes from the frame's start to its end.
        need: usize,
    },
    /// Not a frame, for this reason.
    Invalid(&'static str),
}

/// A decoded frame that borrows its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Commit or statement.
    pub kind: FrameKind,
    /// The record's LSN, or for a statement the last one before it.
    pub lsn: Lsn,
    /// The LSN that was durable when the frame was appended.
    pub durable: Lsn,
    /// Bytes the frame takes in the file.
    pub bytes: usize,
    stored: &'a [u8],
    compressed: bool,
}

/// The checksum seed of the frame at `offset` of a segment.
#[must_use]
pub fn seed(store_id: u64, segment: u64, offset: u64) -> u64 {
    store_id.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31) ^ segment.rotate_left(40) ^ offset
}

/// Bytes that a frame with a stored body of `len` bytes takes in the file.
#[inline]
#[must_use]
pub const fn bytes_for(len: usize) -> usize {
    (HEADER_BYTES + len).next_multiple_of(ALIGN)
}

/// A body made ready outside the append lock: compressed where that pays, and hashed.
#[derive(Clone)]
pub(super) struct Body<'a> {
    pub stored: &'a [u8],
    pub raw_bytes: usize,
    compressed: bool,
    hasher: Hasher,
}

struct Scratch {
    table: CompressTable,
    out: Vec<u8>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> =
        RefCell::new(Scratch { table: CompressTable::small(), out: Vec::new() });
}

/// Prepares `body` and hands it to `use_it`; the stored bytes live in this thread's scratch space.
#[inline]
pub(super) fn with_body<T>(body: &[u8], use_it: impl FnOnce(&Body<'_>) -> T) -> T {
    if body.len() <= COMPRESS_ABOVE {
        return use_it(&Body::new(body, body.len(), false));
    }
    SCRATCH.with_borrow_mut(|scratch| {
        let done = match scratch.compress(body) {
            Some(len) => use_it(&Body::new(&scratch.out[..len], body.len(), true)),
            None => use_it(&Body::new(body, body.len(), false)),
        };
        if scratch.out.len() > SCRATCH_KEEP {
            scratch.out = Vec::new();
            scratch.table = CompressTable::small();
        }
        done
    })
}

impl Scratch {
    /// Fills `out` and returns the stored length when compression saves at least an eighth.
    fn compress(&mut self, body: &[u8]) -> Option<usize> {
        let room = RAW_LEN_BYTES + get_maximum_output_size(body.len());
        if self.out.len() < room {
            self.out.resize(room, 0);
        }
        let raw_len = u32::try_from(body.len()).ok()?;
        self.out[..RAW_LEN_BYTES].copy_from_slice(&raw_len.to_le_bytes());
        let packed = compress_into_with_table(body, &mut self.out[RAW_LEN_BYTES..], &mut self.table).ok()?;
        let stored = RAW_LEN_BYTES + packed;
        (stored <= body.len() - body.len() / 8).then_some(stored)
    }
}

impl<'a> Body<'a> {
    #[inline]
    fn new(stored: &'a [u8], raw_bytes: usize, compressed: bool) -> Self {
        let mut hasher = Hasher::new();
        hasher.update(stored);
        Body { stored, raw_bytes, compressed, hasher }
    }

    /// The header that completes the frame at the place `seed` stands for.
    #[inline]
    pub fn header(&self, kind: FrameKind, lsn: Lsn, durable: Lsn, seed: u64) -> [u8; HEADER_BYTES] {
        debug_assert!(durable <= lsn, "durable {durable} is ahead of the log's end {lsn}");
        let mut header = [0; HEADER_BYTES];
        header[0..4].copy_from_slice(&(self.stored.len() as u32).to_le_bytes());
        header[8..16].copy_from_slice(&lsn.0.to_le_bytes());
        header[16..24].copy_from_slice(&durable.0.to_le_bytes());
        header[24] = kind as u8;
        header[25] = if self.compressed { FLAG_COMPRESSED } else { 0 };
        let crc = checksum(self.hasher.clone(), &header, seed);
        header[4..8].copy_from_slice(&crc.to_le_bytes());
        header
    }
}

/// Completes the checksum of a hashed body with the header's fields and the seed.
#[inline]
fn checksum(mut body: Hasher, header: &[u8; HEADER_BYTES], seed: u64) -> u32 {
    let mut rest = [0; 30];
    rest[0..4].copy_from_slice(&header[0..4]);
    rest[4..22].copy_from_slice(&header[8..26]);
    rest[22..30].copy_from_slice(&seed.to_le_bytes());
    body.update(&rest);
    body.finalize()
}

/// Encodes a whole frame: for tests and tools; the writer copies header and body in place.
#[must_use]
pub fn encode(kind: FrameKind, lsn: Lsn, durable: Lsn, body: &[u8], seed: u64) -> Vec<u8> {
    with_body(body, |body| {
        let mut bytes = Vec::with_capacity(bytes_for(body.stored.len()));
        bytes.extend_from_slice(&body.header(kind, lsn, durable, seed));
        bytes.extend_from_slice(body.stored);
        bytes.resize(bytes_for(body.stored.len()), 0);
        bytes
    })
}

/// Decodes the frame at the start of `bytes`.
///
/// # Errors
/// [`FrameError::Incomplete`] when the claimed length exceeds `bytes` (the claim may be garbage:
/// bound it by the file before reading more), [`FrameError::Invalid`] when this is no frame.
pub fn decode(bytes: &[u8], seed: u64) -> Result<Frame<'_>, FrameError> {
    let Some(header) = bytes.first_chunk::<HEADER_BYTES>() else {
        return Err(FrameError::Incomplete { need: bytes_for(0) });
    };
    let frame = check_header(header)?;
    let rest = &bytes[HEADER_BYTES..];
    let len = read_u32(header, 0) as usize;
    let (Some(stored), Some(padding)) = (rest.get(..len), rest.get(len..frame.bytes - HEADER_BYTES)) else {
        return Err(FrameError::Incomplete { need: frame.bytes });
    };
    let mut hasher = Hasher::new();
    hasher.update(stored);
    if checksum(hasher, header, seed) != read_u32(header, 4) {
        return Err(FrameError::Invalid("checksum does not match"));
    }
    if padding.iter().any(|b| *b != 0) {
        return Err(FrameError::Invalid("padding is not zero"));
    }
    Ok(Frame { stored, ..frame })
}

/// The frame at the start of `bytes` by its header alone: kind, LSNs and length are plausible, the
/// checksum is not looked at.
///
/// # Errors
/// As [`decode`], except that a body beyond `bytes` is no error.
pub(super) fn measure(bytes: &[u8]) -> Result<Frame<'static>, FrameError> {
    match bytes.first_chunk::<HEADER_BYTES>() {
        Some(header) => check_header(header),
        None => Err(FrameError::Incomplete { need: bytes_for(0) }),
    }
}

/// What is unknown about the frame at the start of `bytes` if it is whole, and so was written by a newer
/// version: garbage has no valid checksum.
#[must_use]
pub(super) fn unknown_part(bytes: &[u8], seed: u64) -> Option<String> {
    let header = bytes.first_chunk::<HEADER_BYTES>()?;
    let (kind, flags) = (header[24], header[25]);
    let what = match kind {
        1 | 2 if flags & !FLAG_COMPRESSED == 0 => return None,
        1 | 2 => format!("frame flags {flags:#04x}"),
        _ => format!("frame kind {kind}"),
    };
    let stored = bytes[HEADER_BYTES..].get(..read_u32(header, 0) as usize)?;
    let mut hasher = Hasher::new();
    hasher.update(stored);
    (checksum(hasher, header, seed) == read_u32(header, 4)).then_some(what)
}

/// The body of a frame that [`decode`] accepted before.
pub(super) fn body_again<'b>(bytes: &'b [u8], scratch: &'b mut Vec<u8>) -> Result<&'b [u8], FrameError> {
    let frame = measure(bytes)?;
    let end = HEADER_BYTES + bytes.first_chunk::<4>().map_or(0, |len| u32::from_le_bytes(*len) as usize);
    let stored = bytes.get(HEADER_BYTES..end).ok_or(FrameError::Incomplete { need: frame.bytes })?;
    Frame { stored, ..frame }.body(scratch)
}

/// The checks that need no body: cheap enough to try at every offset.
fn check_header(header: &[u8; HEADER_BYTES]) -> Result<Frame<'static>, FrameError> {
    let len = read_u32(header, 0) as usize;
    let (lsn, durable) = (Lsn(read_u64(header, 8)), Lsn(read_u64(header, 16)));
    let kind = match header[24] {
        1 => FrameKind::Commit,
        2 => FrameKind::Statement,
        _ => return Err(FrameError::Invalid("unknown kind")),
    };
    if header[25] & !FLAG_COMPRESSED != 0 {
        return Err(FrameError::Invalid("unknown flags"));
    }
    if lsn > Lsn::MAX || durable > lsn || (lsn == Lsn(0) && kind == FrameKind::Commit) {
        return Err(FrameError::Invalid("LSN out of range"));
    }
    if len > BODY_BYTES_MAX || (kind == FrameKind::Statement && len != 0) {
        return Err(FrameError::Invalid("length out of range"));
    }
    let compressed = header[25] & FLAG_COMPRESSED != 0;
    Ok(Frame { kind, lsn, durable, bytes: bytes_for(len), stored: &[], compressed })
}

impl<'a> Frame<'a> {
    /// The record, decompressed into `scratch` where needed.
    ///
    /// # Errors
    /// [`FrameError::Invalid`] when the compressed body does not yield what it states. The stated
    /// length is checked against what LZ4 can pack into the bytes at hand before it is allocated.
    pub fn body<'b>(&self, scratch: &'b mut Vec<u8>) -> Result<&'b [u8], FrameError>
    where
        'a: 'b,
    {
        if !self.compressed {
            return Ok(self.stored);
        }
        let Some((raw_len, block)) = self.stored.split_first_chunk::<RAW_LEN_BYTES>() else {
            return Err(FrameError::Invalid("compressed body without its length"));
        };
        let raw_len = u32::from_le_bytes(*raw_len) as usize;
        if raw_len > BODY_BYTES_MAX || raw_len > block.len().saturating_mul(LZ4_RATIO_MAX) {
            return Err(FrameError::Invalid("uncompressed length out of range"));
        }
        scratch.clear();
        scratch.resize(raw_len, 0);
        match decompress_into(block, scratch) {
            Ok(n) if n == raw_len => Ok(scratch),
            _ => Err(FrameError::Invalid("compressed body does not decode")),
        }
    }
}

fn read_u32(header: &[u8; HEADER_BYTES], at: usize) -> u32 {
    let mut field = [0; 4];
    field.copy_from_slice(&header[at..at + 4]);
    u32::from_le_bytes(field)
}

fn read_u64(header: &[u8; HEADER_BYTES], at: usize) -> u64 {
    let mut field = [0; 8];
    field.copy_from_slice(&header[at..at + 8]);
    u64::from_le_bytes(field)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bodies_round_trip_compressed_or_not() {
        let mut rng = crate::env::sim::SimRng::new(1);
        let noise: Vec<u8> = (0..5000).map(|_| rng.next_u64() as u8).collect();
        for body in [&b""[..], b"x", &[7; 512], &[7; 513], &[7; 1 << 20], &noise] {
            let bytes = encode(FrameKind::Commit, Lsn(9), Lsn(4), body, 77);
            let frame = decode(&bytes, 77).unwrap();
            assert_eq!((frame.kind, frame.lsn, frame.durable), (FrameKind::Commit, Lsn(9), Lsn(4)));
            assert_eq!(frame.bytes, bytes.len());
            assert_eq!(frame.body(&mut Vec::new()).unwrap(), body);
            assert_eq!(frame.compressed, body.len() > 512 && body != noise);
            assert!(decode(&bytes, 78).is_err());
        }
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        for body in [&[3; 21][..], &[3; 700]] {
            let good = encode(FrameKind::Commit, Lsn(1 << 40), Lsn(12), body, 5);
            for bit in 0..good.len() * 8 {
                let mut bytes = good.clone();
                bytes[bit / 8] ^= 1 << (bit % 8);
                assert!(decode(&bytes, 5).is_err(), "bit {bit}");
            }
        }
    }

    /// The layout is a promise: these bytes were written by hand from the table above.
    #[test]
    fn the_layout_is_pinned() {
        let bytes = encode(FrameKind::Commit, Lsn(0x0102), Lsn(0x0101), b"ab", 0);
        let mut expected = vec![2, 0, 0, 0, 0, 0, 0, 0];
        expected.extend([2, 1, 0, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 1, 0, b'a', b'b', 0, 0, 0, 0]);
        let crc = crc32fast::hash(&[b"ab", &expected[..4], &expected[8..26], &[0; 8]].concat());
        expected[4..8].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(bytes, expected);
    }

    #[test]
    fn a_newer_frame_is_told_from_garbage() {
        let mut bytes = encode(FrameKind::Commit, Lsn(9), Lsn(4), b"body", 77);
        assert_eq!(unknown_part(&bytes, 77), None);
        for (at, value, what) in [(24, 3, "frame kind 3"), (25, 2, "frame flags 0x02")] {
            let before = std::mem::replace(&mut bytes[at], value);
            assert_eq!(unknown_part(&bytes, 77), None, "the checksum does not match");
            let header: [u8; HEADER_BYTES] = *bytes.first_chunk().unwrap();
            let mut hasher = Hasher::new();
            hasher.update(b"body");
            let crc = checksum(hasher, &header, 77);
            bytes[4..8].copy_from_slice(&crc.to_le_bytes());
            assert_eq!(unknown_part(&bytes, 77).as_deref(), Some(what));
            assert_eq!(unknown_part(&bytes, 78), None, "it belongs elsewhere");
            bytes[at] = before;
        }
    }

    #[test]
    fn a_hostile_length_does_not_allocate() {
        let mut body = vec![0xff, 0xff, 0xff, 0x3f];
        body.extend([0; 12]);
        let mut header = Body::new(&body, 0, true).header(FrameKind::Commit, Lsn(1), Lsn(0), 0).to_vec();
        header.extend(&body);
        header.resize(bytes_for(body.len()), 0);
        let mut scratch = Vec::new();
        assert!(decode(&header, 0).unwrap().body(&mut scratch).is_err());
        assert_eq!(scratch.capacity(), 0);
    }

    proptest! {
        #[test]
        fn any_bytes_decode_to_an_error_or_a_frame(
            mut bytes in proptest::collection::vec(any::<u8>(), 0..2000),
            len in 0_u32..2100,
            compressed in any::<bool>(),
        ) {
            let _ = decode(&bytes, 3);
            // The same with a header that holds, so that the body's decoder is reached.
            let len = len.min(bytes.len() as u32) as usize;
            let header = Body::new(&bytes[..len], 0, compressed).header(FrameKind::Commit, Lsn(5), Lsn(1), 3);
            bytes.truncate(len);
            let mut frame = header.to_vec();
            frame.extend(&bytes);
            frame.resize(bytes_for(len), 0);
            let frame = decode(&frame, 3).unwrap();
            let mut scratch = Vec::new();
            let _ = frame.body(&mut scratch);
            prop_assert!(scratch.capacity() <= len * LZ4_RATIO_MAX);
        }
    }
}
