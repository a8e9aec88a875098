//! Reading frames: a cursor over one segment, and the reader of durable records.
//!
//! [`Cursor`] walks the frames of a file through a buffer and stops at the first bytes that are not
//! a frame of this place; what that means is the caller's to decide. Recovery uses it over whole
//! files, [`LogReader`] over the live log.
//!
//! [`LogReader`] serves later consumers of the log (replicas, change feeds, backups). It hands out
//! **durable records only**: what a power cut could still take must not leave the process. Reading
//! does not block appends, and holds no lock while it reads.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::frame::{self, Frame, FrameKind, HEADER_BYTES};
use super::segment::SEGMENT_HEADER_BYTES;
use super::writer::Log;
use super::{FIRST_LSN, RecordView};
use crate::env::{File, OpenMode};
use crate::error::{Error, Result};
use crate::ids::Lsn;

/// Bytes read at a time.
const CHUNK: usize = 256 << 10;

/// A frame that was read and checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub kind: FrameKind,
    pub lsn: Lsn,
    pub durable: Lsn,
    pub offset: u64,
    pub bytes: usize,
}

/// A walk over the frames of one segment.
pub(super) struct Cursor {
    file: Arc<dyn File>,
    path: PathBuf,
    store_id: u64,
    segment: u64,
    position: u64,
    buf: Vec<u8>,
    buf_at: u64,
    last: Option<Seen>,
}

impl Cursor {
    pub fn new(file: Arc<dyn File>, path: &Path, store_id: u64, segment: u64) -> Cursor {
        Cursor {
            file,
            path: path.to_path_buf(),
            store_id,
            segment,
            position: SEGMENT_HEADER_BYTES as u64,
            buf: Vec::new(),
            buf_at: 0,
            last: None,
        }
    }

    pub fn segment(&self) -> u64 {
        self.segment
    }

    /// Where the next frame would start.
    pub fn position(&self) -> u64 {
        self.position
    }

    pub fn seek(&mut self, position: u64) {
        self.position = position;
    }

    /// Forgets what was read ahead: the file may have grown since.
    pub fn refresh(&mut self) {
        self.buf.clear();
    }

    /// Reads the frame at the position and moves past it; `None` and no move if there is none.
    pub fn step(&mut self) -> Result<Option<Seen>> {
        let Some(head) = self.bytes(HEADER_BYTES)? else { return Ok(None) };
        let Ok(claim) = frame::measure(head) else { return self.refuse_newer() };
        let seed = frame::seed(self.store_id, self.segment, self.position);
        let offset = self.position;
        let Some(bytes) = self.bytes(claim.bytes)? else { return Ok(None) };
        let Ok(Frame { kind, lsn, durable, bytes, .. }) = frame::decode(bytes, seed) else { return Ok(None) };
        let seen = Seen { kind, lsn, durable, offset, bytes };
        self.position += bytes as u64;
        self.last = Some(seen);
        Ok(Some(seen))
    }

    /// There is no frame that this version knows. One that is whole all the same is from a newer
    /// version, and must not be taken for the torn end of the log.
    fn refuse_newer(&mut self) -> Result<Option<Seen>> {
        let (offset, seed) = (self.position, frame::seed(self.store_id, self.segment, self.position));
        let Some(len) = self.bytes(HEADER_BYTES)?.and_then(|head| head.first_chunk::<4>()) else {
            return Ok(None);
        };
        let need = HEADER_BYTES + u32::from_le_bytes(*len) as usize;
        let unknown = self.bytes(need)?.and_then(|bytes| frame::unknown_part(bytes, seed));
        let Some(what) = unknown else { return Ok(None) };
        let detail = format!("{what} at offset {offset} is not known to this version");
        Err(Error::Format { path: self.path.clone(), detail })
    }

    /// What the header at the position claims, unchecked.
    pub fn peek(&mut self) -> Result<Option<(FrameKind, Lsn)>> {
        let head = self.bytes(HEADER_BYTES)?;
        Ok(head.and_then(|b| frame::measure(b).ok()).map(|f| (f.kind, f.lsn)))
    }

    /// The body of the frame that [`Cursor::step`] returned last.
    pub fn body<'a>(&'a self, scratch: &'a mut Vec<u8>) -> Result<&'a [u8]> {
        let seen = self.last.expect("step returned a frame before its body is asked for");
        let start = (seen.offset - self.buf_at) as usize;
        frame::body_again(&self.buf[start..start + seen.bytes], scratch)
            .map_err(|e| self.corruption(seen.offset, format!("record {}: {e:?}", seen.lsn)))
    }

    pub fn corruption(&self, offset: u64, detail: impl Into<String>) -> Error {
        Error::corruption(self.path.display().to_string(), offset, detail)
    }

    /// `n` bytes at the position; `None` if the file ends before. Never holds more than one chunk
    /// or one frame, and never more than the file has.
    fn bytes(&mut self, n: usize) -> Result<Option<&[u8]>> {
        let start = self.position.checked_sub(self.buf_at).map(|s| s as usize);
        if let Some(start) = start
            && start + n <= self.buf.len()
        {
            return Ok(Some(&self.buf[start..start + n]));
        }
        self.fill(n).map_err(|e| Error::io("read", &self.path, e))?;
        Ok(self.buf.get(..n))
    }

    fn fill(&mut self, n: usize) -> io::Result<()> {
        let left = self.file.len()?.saturating_sub(self.position);
        self.buf.clear();
        self.buf_at = self.position;
        if (n as u64) <= left {
            self.buf.resize(left.min(n.max(CHUNK) as u64) as usize, 0);
            let got = self.file.read_at(&mut self.buf, self.position)?;
            self.buf.truncate(got);
        }
        Ok(())
    }
}

/// Reads the log's durable records in order, following the log as it grows.
pub struct LogReader {
    log: Arc<Log>,
    next: Lsn,
    cursor: Option<Cursor>,
    scratch: Vec<u8>,
}

impl LogReader {
    pub(super) fn new(log: Arc<Log>, after: Lsn) -> LogReader {
        LogReader { log, next: after.next().max(FIRST_LSN), cursor: None, scratch: Vec::new() }
    }

    /// The LSN of the record that [`LogReader::next_record`] returns next.
    #[must_use]
    pub fn position(&self) -> Lsn {
        self.next
    }

    /// The next record; `None` when all durable ones were read. Call again once more are durable.
    ///
    /// # Errors
    /// [`Error::Io`] with kind `NotFound` when the log was cut past this reader,
    /// [`Error::Corruption`] when a durable record does not decode.
    pub fn next_record(&mut self) -> Result<Option<RecordView<'_>>> {
        if self.next.0 > self.log.durable.value() {
            return Ok(None);
        }
        let seen = self.find()?;
        let lsn = self.next;
        self.next = lsn.next();
        let cursor = self.cursor.as_ref().expect("the record was found through a cursor");
        let body = cursor.body(&mut self.scratch)?;
        Ok(Some(RecordView { lsn, body, segment: cursor.segment(), offset: seen.offset }))
    }

    /// Moves the cursor past the frame of record `next`, which is durable and so fully written.
    fn find(&mut self) -> Result<Seen> {
        let mut refreshed = false;
        loop {
            let cursor = match &mut self.cursor {
                Some(cursor) => cursor,
                None => {
                    let opened = self.open_segment()?;
                    self.cursor.insert(opened)
                }
            };
            match cursor.step()? {
                Some(seen) if seen.kind == FrameKind::Commit && seen.lsn == self.next => return Ok(seen),
                Some(seen) if seen.lsn <= self.next => {}
                Some(seen) => return Err(cursor.corruption(seen.offset, format!("{} is missing", self.next))),
                None if !refreshed => {
                    // The buffer may hold what was there before the record was written.
                    cursor.refresh();
                    refreshed = true;
                }
                None => {
                    let (segment, at) = (cursor.segment(), cursor.position());
                    let damaged = cursor.corruption(at, format!("record {} does not decode", self.next));
                    if self.segment_of_next()?.0 == segment {
                        return Err(damaged);
                    }
                    self.cursor = None;
                    refreshed = false;
                }
            }
        }
    }

    fn segment_of_next(&self) -> Result<(u64, PathBuf)> {
        let tail = self.log.tail.lock();
        let holder = tail.catalog.iter().rev().find(|s| s.first_lsn <= self.next);
        holder.map(|s| (s.id, s.path.clone())).ok_or_else(|| {
            let gone =
                io::Error::new(io::ErrorKind::NotFound, format!("the log no longer has {}", self.next));
            Error::io("read", &self.log.dir, gone)
        })
    }

    fn open_segment(&self) -> Result<Cursor> {
        let (id, path) = self.segment_of_next()?;
        let file = self.log.files.open(&path, OpenMode::Read).map_err(|e| Error::io("open", &path, e))?;
        Ok(Cursor::new(file, &path, self.log.store_id, id))
    }
}
