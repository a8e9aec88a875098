//! The segment: one file of the log, its name, header and creation.
//!
//! `<16 hex digits of the segment id>.seg`. Ids grow by activation and are never used twice.
//! The file starts with a 64-byte header, little endian; frames follow. DO NOT REORDER.
//!
//! ```text
//! offset  size  field
//!      0     8  magic      "LUXWAL\r\n"
//!      8     4  version    1
//!     12     4  timeline   raised whenever an open cut something off the log
//!     16     8  segment    the id, as in the file's name
//!     24     8  store      id of the store the log belongs to
//!     32     8  first LSN  of the first record here; all before it are in earlier segments
//!     40     8  size       capacity in bytes, header included
//!     48     8  durable    the durable LSN when the segment was started
//!     56     4  reserved   0
//!     60     4  crc        CRC-32 of bytes 0..60
//! ```
//!
//! A segment is prepared ahead (created, reserved, file and name synced) with zeros in place of the
//! header; the header is written when the first record needs the segment. So a file with a
//! zeroed header and nothing else was never used, and recovery removes it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::env::{File, FileSystem, OpenMode};
use crate::error::{Error, Result};
use crate::ids::Lsn;

/// Bytes before the first frame.
pub const SEGMENT_HEADER_BYTES: usize = 64;
/// The format this version writes and reads.
pub const FORMAT_VERSION: u32 = 1;
const MAGIC: [u8; 8] = *b"LUXWAL\r\n";
/// Segments are whole pages, so that every window is.
pub(super) const PAGE: u64 = 4096;
/// The preallocated space that deletes may use when the disk is full.
pub(super) const RESERVE_NAME: &str = "reserve";

/// The decoded header of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// Timeline the segment's records belong to.
    pub timeline: u32,
    /// The segment's id.
    pub segment: u64,
    /// The store the log belongs to.
    pub store_id: u64,
    /// LSN of the first record.
    pub first_lsn: Lsn,
    /// Capacity in bytes.
    pub size: u64,
    /// The durable LSN when the segment was started.
    pub durable: Lsn,
}

/// Why 64 bytes are not a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderError {
    /// Damaged or never written.
    Invalid,
    /// A whole header of a format this version does not read.
    Version(u32),
}

impl SegmentHeader {
    /// The header's bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; SEGMENT_HEADER_BYTES] {
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        bytes[0..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.timeline.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.segment.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.store_id.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.first_lsn.0.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.size.to_le_bytes());
        bytes[48..56].copy_from_slice(&self.durable.0.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..60]);
        bytes[60..64].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Decodes a header.
    ///
    /// # Errors
    /// See [`HeaderError`].
    pub fn decode(bytes: &[u8; SEGMENT_HEADER_BYTES]) -> Result<Self, HeaderError> {
        let u32_at = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let u64_at = |at: usize| u64::from(u32_at(at)) | u64::from(u32_at(at + 4)) << 32;
        if bytes[..8] != MAGIC || crc32fast::hash(&bytes[..60]) != u32_at(60) {
            return Err(HeaderError::Invalid);
        }
        if u32_at(8) != FORMAT_VERSION {
            return Err(HeaderError::Version(u32_at(8)));
        }
        let header = SegmentHeader {
            timeline: u32_at(12),
            segment: u64_at(16),
            store_id: u64_at(24),
            first_lsn: Lsn(u64_at(32)),
            size: u64_at(40),
            durable: Lsn(u64_at(48)),
        };
        let plausible = header.first_lsn > Lsn(0) && header.durable < header.first_lsn;
        if plausible && header.first_lsn <= Lsn::MAX { Ok(header) } else { Err(HeaderError::Invalid) }
    }
}

/// File name of a segment.
#[must_use]
pub fn segment_name(id: u64) -> String {
    format!("{id:016x}.seg")
}

/// The id in a segment's file name; `None` for other files.
#[must_use]
pub fn segment_id(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".seg")?;
    let canonical = digits.len() == 16 && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if canonical { u64::from_str_radix(digits, 16).ok() } else { None }
}

/// A segment that is written to, or ready to be.
pub(super) struct Segment {
    pub id: u64,
    pub path: PathBuf,
    pub file: Arc<dyn File>,
    pub bytes: u64,
    /// Blocks are reserved: windows can be used and writes do not run out of space.
    pub reserved: bool,
    /// Made from the reserve: ordinary records may not start it while the disk is full.
    pub from_reserve: bool,
    /// Whether the header is known to be on the disk.
    pub header_durable: AtomicBool,
}

impl Segment {
    /// Creates and reserves the file and makes it and its name durable.
    ///
    /// `bytes` is rounded up to whole pages. Leaves no file behind when it fails.
    pub fn create(files: &dyn FileSystem, dir: &Path, id: u64, bytes: u64) -> Result<Segment> {
        let path = dir.join(segment_name(id));
        let bytes = bytes.next_multiple_of(PAGE);
        let file = files.open(&path, OpenMode::CreateNew).map_err(|e| Error::io("create", &path, e))?;
        let reserved = match Self::fill(files, dir, file.as_ref(), bytes) {
            Ok(reserved) => reserved,
            Err(e) => {
                // Best effort: an unused file that stays is removed by the next open.
                let _ = files.remove(&path);
                return Err(Error::io("reserve", &path, e));
            }
        };
        Ok(Segment {
            id,
            path,
            file,
            bytes,
            reserved,
            from_reserve: false,
            header_durable: AtomicBool::new(false),
        })
    }

    fn fill(files: &dyn FileSystem, dir: &Path, file: &dyn File, bytes: u64) -> io::Result<bool> {
        let reserved = file.allocate(bytes)?;
        if !reserved && files.free_bytes(dir)? < bytes {
            return Err(io::ErrorKind::StorageFull.into());
        }
        // DURABILITY: length, reservation and name are on the disk before a record depends on them;
        // later data syncs then need no more than the data. A crash here leaves an unused file.
        file.sync_all()?;
        files.sync_dir(dir)?;
        Ok(reserved)
    }

    pub fn is_header_durable(&self) -> bool {
        // ORDERING: pairs with the release in `set_header_durable`, made after the sync returned.
        self.header_durable.load(Ordering::Acquire)
    }

    pub fn set_header_durable(&self) {
        self.header_durable.store(true, Ordering::Release);
    }
}

/// Whether an error says that there is no room for a file now: the disk or the quota is full, or nobody gets
/// a descriptor. Nothing was written, so it is tried again.
pub(super) fn is_no_space(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let full = matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
    full || matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A log that met it once latched, although everything was back a moment later.
    #[test]
    fn a_lack_of_descriptors_is_no_failure() {
        use rustix::io::Errno;
        for (error, is_lack) in
            [(Errno::MFILE, true), (Errno::NFILE, true), (Errno::NOSPC, true), (Errno::IO, false)]
        {
            assert_eq!(is_no_space(&error.into()), is_lack, "{error}");
        }
    }

    #[test]
    fn headers_round_trip_and_notice_every_flip() {
        let header = SegmentHeader {
            timeline: 3,
            segment: 0xabc,
            store_id: u64::MAX,
            first_lsn: Lsn(77),
            size: 1 << 26,
            durable: Lsn(70),
        };
        let bytes = header.encode();
        assert_eq!(SegmentHeader::decode(&bytes), Ok(header));
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes;
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(SegmentHeader::decode(&bytes), Err(HeaderError::Invalid));
        }
        let mut newer = bytes;
        newer[8] = 2;
        let crc = crc32fast::hash(&newer[..60]);
        newer[60..].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(SegmentHeader::decode(&newer), Err(HeaderError::Version(2)));
    }

    #[test]
    fn names_sort_like_ids_and_reject_strangers() {
        assert_eq!(segment_name(0x1f), "000000000000001f.seg");
        assert_eq!(segment_id("000000000000001f.seg"), Some(0x1f));
        for stranger in ["reserve", "1f.seg", "000000000000001F.seg", "+00000000000001f.seg", "x.seg"] {
            assert_eq!(segment_id(stranger), None);
        }
    }
}
