//! Opening the log: find what survived, prove that nothing durable is missing, make it durable.
//!
//! Unsynced bytes reach the disk in any order, so after a power cut the end of the log may have
//! holes, with good frames behind them. The log is the longest run of records without a gap. What
//! follows is cut, unless something proves that the gap had once been durable; then the disk has
//! lost or changed durable data and the open refuses. Proof is the durable LSN in a frame or
//! segment header behind the gap, the redo LSN, or the highest LSN in the cold tier.
//!
//! # Steps, and what a crash after each leaves
//! 1. Read and check everything. Nothing is changed; an error leaves the log as it was.
//! 2. Remove unused files (the reserve, prepared segments). They hold nothing.
//! 3. Write again, in place, what is not proven durable. After a sync that failed in an earlier
//!    life the page cache may show bytes as clean that the disk does not have; rewriting makes them
//!    dirty, so that the next step means something.
//! 4. Sync the kept segments and the folder. The log survives a power cut from here on.
//! 5. Create the new segment, with a higher timeline if something is cut, and sync it. A crash here
//!    leaves one more segment without records; the next open cuts again and raises again.
//! 6. Cut: truncate the segment in which the run ends, remove later ones, and those without
//!    records or entirely below the redo LSN; sync. A crash amid this leaves a smaller thing to cut,
//!    and no record was appended yet that could be confused with one that was cut.
//! 7. Replay, from the now durable segments.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;

use super::frame::{self, FrameKind};
use super::reader::{Cursor, Seen};
use super::segment::{
    HeaderError, PAGE, RESERVE_NAME, SEGMENT_HEADER_BYTES, Segment, SegmentHeader, is_no_space, segment_id,
    segment_name,
};
use super::writer::{Cataloged, Log, Start};
use super::{CutReport, FIRST_LSN, OpenFrom, RecordView, WalConfig, WalReport};
use crate::env::{Clock, File, FileSystem, OpenMode};
use crate::error::{Error, Result};
use crate::ids::Lsn;

/// Bytes read or rewritten at a time.
const CHUNK: usize = 1 << 20;
/// Distance of the notes from which the unproven part is rewritten; rewriting more is harmless.
const NOTE_EVERY_BYTES: u64 = 64 << 10;
/// No segment is smaller than this, even on a nearly full disk.
const SEGMENT_BYTES_MIN: u64 = 64 << 10;

/// A segment file as found.
struct Found {
    id: u64,
    path: PathBuf,
    file: Arc<dyn File>,
    bytes: u64,
    header: Option<SegmentHeader>,
    /// One past the last byte that is not zero.
    used: u64,
}

/// The longest gapless run.
struct Run {
    /// Indexes of its segments among the found ones.
    segments: Vec<usize>,
    first: Lsn,
    last: Lsn,
    /// Where it ends: index of the segment and offset in it.
    end: (usize, u64),
    /// What durable fields within it prove.
    proven: Lsn,
    /// Places to rewrite from: (last LSN before it, segment, offset).
    notes: VecDeque<(Lsn, usize, u64)>,
    records_in: Vec<u64>,
}

/// One open in progress.
struct Recovery<'a> {
    files: &'a dyn FileSystem,
    config: &'a WalConfig,
    from: OpenFrom,
    found: Vec<Found>,
}

pub(super) fn open(
    files: Arc<dyn FileSystem>,
    clock: Arc<dyn Clock>,
    config: WalConfig,
    from: OpenFrom,
    replay: &mut dyn FnMut(RecordView<'_>) -> Result<()>,
) -> Result<(Log, WalReport)> {
    let recovery = Recovery { files: files.as_ref(), config: &config, from, found: Vec::new() };
    let (start, report) = recovery.run(replay)?;
    let log = Log::new(files, clock, config, start);
    // The proof that everything replayed is durable, before anything depends on it.
    log.state_durable();
    log.sync_once()?;
    Ok((log, report))
}

impl Recovery<'_> {
    fn run(mut self, replay: &mut dyn FnMut(RecordView<'_>) -> Result<()>) -> Result<(Start, WalReport)> {
        self.make_dir()?;
        self.find_segments()?;
        let run = self.find_run()?;
        self.prove(&run)?;
        let cut = self.cut_report(&run);
        self.remove_unused()?;
        self.settle(&run)?;
        let timeline = self.timeline(cut.is_some());
        let segment = self.start_segment(run.last, timeline)?;
        let kept = self.cut(&run, segment.id)?;
        let (records, bytes, mut catalog) = self.replay(&run, &kept, replay)?;
        catalog.push_back(Cataloged {
            id: segment.id,
            path: segment.path.clone(),
            first_lsn: run.last.next(),
            bytes: segment.bytes,
        });
        let report = WalReport {
            first_lsn: run.first,
            last_lsn: run.last,
            records,
            bytes,
            cut,
            timeline,
            segments: catalog.len(),
        };
        Ok((Start { timeline, last: run.last, segment, catalog, appended: bytes }, report))
    }

    fn make_dir(&self) -> Result<()> {
        let dir = &self.config.dir;
        self.files.create_dir_all(dir).map_err(|e| Error::io("create", dir, e))?;
        if let Some(parent) = dir.parent().filter(|p| !p.as_os_str().is_empty()) {
            // DURABILITY: the folder's own name; without it a crash could take the whole new log.
            self.files.sync_dir(parent).map_err(|e| Error::io("sync", parent, e))?;
        }
        Ok(())
    }

    // Step 1: read and check.

    fn find_segments(&mut self) -> Result<()> {
        let dir = &self.config.dir;
        let names = self.files.list(dir).map_err(|e| Error::io("list", dir, e))?;
        for id in names.iter().filter_map(|name| segment_id(name)) {
            let path = dir.join(segment_name(id));
            let io = |e| Error::io("read", &path, e);
            let file = self.files.open(&path, OpenMode::ReadWrite).map_err(io)?;
            let bytes = file.len().map_err(io)?;
            let header = self.read_header(id, &path, file.as_ref())?;
            let used = used_bytes(file.as_ref(), bytes).map_err(io)?;
            self.found.push(Found { id, path, file, bytes, header, used });
        }
        self.found.sort_by_key(|f| f.id);
        Ok(())
    }

    fn read_header(&self, id: u64, path: &std::path::Path, file: &dyn File) -> Result<Option<SegmentHeader>> {
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        let got = file.read_at(&mut bytes, 0).map_err(|e| Error::io("read", path, e))?;
        let format = |detail| Err(Error::Format { path: path.to_path_buf(), detail });
        match SegmentHeader::decode(&bytes) {
            _ if got < bytes.len() => Ok(None),
            Err(HeaderError::Version(v)) => format(format!("log format {v} is not known to this version")),
            Ok(header) if header.store_id != self.config.store_id => {
                format(format!("the log belongs to store {:016x}", header.store_id))
            }
            // A file under another's name is as good as a damaged one.
            Ok(header) if header.segment == id => Ok(Some(header)),
            Ok(_) | Err(HeaderError::Invalid) => Ok(None),
        }
    }

    /// Walks from the last segment that holds the first record needed.
    fn find_run(&self) -> Result<Run> {
        let needed = self.from.redo_lsn.next();
        let starts_by = |f: &Found| f.header.is_some_and(|h| h.first_lsn <= needed);
        let Some(start) = self.found.iter().rposition(starts_by) else { return self.find_no_start(needed) };
        let first = self.found[start].header.map_or(needed, |h| h.first_lsn);
        let mut run = Run {
            segments: Vec::new(),
            first,
            last: Lsn(first.0 - 1),
            end: (start, SEGMENT_HEADER_BYTES as u64),
            proven: Lsn(0),
            notes: VecDeque::new(),
            records_in: Vec::new(),
        };
        for (index, found) in self.found.iter().enumerate().skip(start) {
            if found.used == 0 {
                continue;
            }
            match found.header {
                Some(header) if header.first_lsn == run.last.next() => {
                    run.proven = run.proven.max(header.durable);
                    self.walk(index, &mut run)?;
                }
                _ => break,
            }
        }
        Ok(run)
    }

    /// No segment begins at or below the first record needed: a new store, or a loss.
    fn find_no_start(&self, needed: Lsn) -> Result<Run> {
        let dir = self.config.dir.display().to_string();
        if let Some(found) = self.found.iter().find(|f| f.header.is_some()) {
            let first = found.header.map_or(Lsn(0), |h| h.first_lsn);
            let detail = format!("the log starts at record {first}, but record {needed} is needed");
            return Err(Error::corruption(found.path.display().to_string(), 0, detail));
        }
        let known = self.from.redo_lsn.max(self.from.highest_written);
        if known > Lsn(0) {
            let file = self.found.iter().find(|f| f.used > 0).map_or(dir, |f| f.path.display().to_string());
            return Err(Error::corruption(
                file,
                0,
                format!("no log up to record {known}, which was durable"),
            ));
        }
        Ok(Run {
            segments: Vec::new(),
            first: FIRST_LSN,
            last: Lsn(FIRST_LSN.0 - 1),
            end: (0, 0),
            proven: Lsn(0),
            notes: VecDeque::new(),
            records_in: Vec::new(),
        })
    }

    /// Extends the run by the frames of one segment.
    fn walk(&self, index: usize, run: &mut Run) -> Result<()> {
        let mut cursor = self.cursor(index);
        let mut records = 0;
        let mut noted = 0;
        run.notes.push_back((run.last, index, 0));
        loop {
            run.end = (index, cursor.position());
            let Some(seen) = cursor.step()? else { break };
            if !continues(&seen, run.last) {
                break;
            }
            if records == 0 && seen.kind == FrameKind::Commit {
                self.check_record_version(index, &cursor)?;
            }
            records += u64::from(seen.kind == FrameKind::Commit);
            run.last = seen.lsn;
            run.proven = run.proven.max(seen.durable);
            while run.notes.get(1).is_some_and(|note| note.0 <= run.proven) {
                run.notes.pop_front();
            }
            if cursor.position() - noted >= NOTE_EVERY_BYTES {
                noted = cursor.position();
                run.notes.push_back((run.last, index, noted));
            }
        }
        run.segments.push(index);
        run.records_in.push(records);
        Ok(())
    }

    /// The records of a segment are of one version: every opening starts a new segment.
    fn check_record_version(&self, index: usize, cursor: &Cursor) -> Result<()> {
        let Some(known) = self.config.record_version else { return Ok(()) };
        let mut scratch = Vec::new();
        match cursor.body(&mut scratch)?.first() {
            Some(found) if *found != known => {
                let path = &self.found[index].path;
                Err(Error::newer(path, "record version", found, u32::from(known)))
            }
            _ => Ok(()),
        }
    }

    fn cursor(&self, index: usize) -> Cursor {
        let found = &self.found[index];
        Cursor::new(Arc::clone(&found.file), &found.path, self.config.store_id, found.id)
    }

    /// Refuses if anything proves that more than the run was durable.
    fn prove(&self, run: &Run) -> Result<()> {
        #[cfg(feature = "failpoints")]
        if self.config.breaks(super::failpoint::BREAK_PREFIX) {
            return Ok(());
        }
        let (durable, witness) = self.proof_behind(run)?;
        if durable <= run.last {
            return Ok(());
        }
        let missing = run.last.next();
        let detail = format!("record {missing} is missing or damaged, but {durable} was durable ({witness})");
        let at = self.found.get(run.end.0).map_or(self.config.dir.clone(), |f| f.path.clone());
        let (file, offset) = self.damaged_header(run).unwrap_or((at.display().to_string(), run.end.1));
        Err(Error::corruption(file, offset, detail))
    }

    /// If the run ends for a segment's header rather than for a frame: where that is.
    fn damaged_header(&self, run: &Run) -> Option<(String, u64)> {
        let end = self.found.get(run.end.0)?;
        let next = self.found.iter().skip(run.end.0 + 1).find(|f| f.used > 0)?;
        let ended_cleanly = end.used <= run.end.1;
        (ended_cleanly && next.header.is_none()).then(|| (next.path.display().to_string(), 0))
    }

    /// The highest LSN that something outside the run says was durable.
    fn proof_behind(&self, run: &Run) -> Result<(Lsn, String)> {
        let mut best = (self.from.redo_lsn, "the marker".to_owned());
        let mut raise = |lsn: Lsn, witness: &dyn Fn() -> String| {
            if lsn > best.0 {
                best = (lsn, witness());
            }
        };
        raise(self.from.highest_written, &|| "the cold tier".to_owned());
        // No LSN behind the gap can exceed this: each record takes a frame.
        let bytes: u64 = self.found.iter().map(|f| f.bytes).sum();
        let limit = run.last.0 + bytes / frame::bytes_for(0) as u64 + 1;
        for (index, found) in self.found.iter().enumerate().skip(run.end.0) {
            if let Some(header) = found.header.filter(|_| index > run.end.0) {
                raise(header.durable, &|| format!("header of {}", found.path.display()));
            }
            let mut cursor = self.cursor(index);
            let begin = if index == run.end.0 { run.end.1 } else { 0 };
            cursor.seek(begin.max(SEGMENT_HEADER_BYTES as u64));
            while cursor.position() < found.used {
                let at = cursor.position();
                let plausible = cursor.peek()?.is_some_and(|(_, lsn)| lsn >= run.last && lsn.0 <= limit);
                match if plausible { cursor.step()? } else { None } {
                    Some(seen) => {
                        raise(seen.durable, &|| format!("frame at {at} of {}", found.path.display()));
                    }
                    None => cursor.seek(at + frame::ALIGN as u64),
                }
            }
        }
        Ok(best)
    }

    fn cut_report(&self, run: &Run) -> Option<CutReport> {
        let behind = self.found.iter().skip(run.end.0 + usize::from(!run.segments.is_empty()));
        let here = match run.segments.last() {
            Some(index) => self.found[*index].used.saturating_sub(run.end.1),
            None => 0,
        };
        let bytes = here + behind.map(|f| f.used).sum::<u64>();
        let end = self.found.get(run.end.0)?;
        let report = CutReport { file: end.path.display().to_string(), offset: run.end.1, bytes };
        (bytes > 0).then_some(report)
    }

    fn timeline(&self, raise: bool) -> u32 {
        let headers = self.found.iter().filter_map(|f| f.header).map(|h| h.timeline);
        headers.chain([self.from.timeline, 1]).max().unwrap_or(1) + u32::from(raise)
    }

    // Steps 2 to 6: change.

    fn remove_unused(&mut self) -> Result<()> {
        let dir = &self.config.dir;
        let names = self.files.list(dir).map_err(|e| Error::io("list", dir, e))?;
        if names.iter().any(|name| name == RESERVE_NAME) {
            self.remove(&dir.join(RESERVE_NAME))?;
        }
        for found in self.found.iter().filter(|f| f.used == 0) {
            self.remove(&found.path)?;
        }
        Ok(())
    }

    fn remove(&self, path: &std::path::Path) -> Result<()> {
        self.files.remove(path).map_err(|e| Error::io("remove", path, e))
    }

    /// Makes the run durable.
    fn settle(&self, run: &Run) -> Result<()> {
        #[cfg(feature = "failpoints")]
        if self.config.breaks(super::failpoint::BREAK_OPEN_SYNC) {
            return Ok(());
        }
        let unproven = run.notes.front().map_or((0, 0), |note| (note.1, note.2));
        for &index in &run.segments {
            let found = &self.found[index];
            let end = if index == run.end.0 { run.end.1 } else { found.used };
            if index >= unproven.0 {
                let begin = if index == unproven.0 { unproven.1 } else { 0 };
                rewrite(found.file.as_ref(), begin, end).map_err(|e| Error::io("rewrite", &found.path, e))?;
            }
            // DURABILITY: after this and the folder's sync the run survives a power cut, wherever its
            // bytes came from.
            found.file.sync_all().map_err(|e| Error::io("sync", &found.path, e))?;
        }
        self.sync_dir()
    }

    fn sync_dir(&self) -> Result<()> {
        let dir = &self.config.dir;
        self.files.sync_dir(dir).map_err(|e| Error::io("sync", dir, e))
    }

    /// Creates this run's first segment and makes its header durable.
    fn start_segment(&self, last: Lsn, timeline: u32) -> Result<Segment> {
        let id = self.found.last().map_or(1, |f| f.id + 1);
        let dir = &self.config.dir;
        let mut bytes = self.config.segment_bytes.max(PAGE);
        let segment = loop {
            match Segment::create(self.files, dir, id, bytes) {
                Err(Error::Io { source, .. }) if is_no_space(&source) => {
                    // Deletes must be possible on a full disk: any small segment will do.
                    if bytes <= SEGMENT_BYTES_MIN {
                        return Err(Error::NoSpace { what: "the log" });
                    }
                    bytes = (bytes / 2).max(SEGMENT_BYTES_MIN);
                }
                other => break other?,
            }
        };
        let header = SegmentHeader {
            timeline,
            segment: id,
            store_id: self.config.store_id,
            first_lsn: last.next(),
            size: segment.bytes,
            durable: last,
        };
        let io = |e| Error::io("write", &segment.path, e);
        segment.file.write_at(&header.encode(), 0).map_err(io)?;
        // DURABILITY: the log has a segment with a header from here on, and a raised timeline is on
        // the disk before anything is cut.
        segment.file.sync_all().map_err(io)?;
        segment.set_header_durable();
        Ok(segment)
    }

    /// Cuts what is not part of the run; returns the indexes of the segments that stay.
    fn cut(&self, run: &Run, new_segment: u64) -> Result<Vec<usize>> {
        if let Some(index) = run.segments.last() {
            let found = &self.found[*index];
            let io = |e| Error::io("truncate", &found.path, e);
            if found.bytes > run.end.1 {
                found.file.truncate(run.end.1).map_err(io)?;
                // DURABILITY: what was cut must not come back behind records of this run.
                found.file.sync_all().map_err(io)?;
            }
        }
        let with_records = run.segments.iter().zip(&run.records_in).filter(|(_, records)| **records > 0);
        let kept: Vec<usize> = with_records.map(|(index, _)| *index).collect();
        for (index, found) in self.found.iter().enumerate() {
            debug_assert!(found.id < new_segment, "segment ids only grow");
            if !kept.contains(&index) && found.used > 0 {
                self.remove(&found.path)?;
            }
        }
        self.sync_dir()?;
        Ok(kept)
    }

    // Step 7.

    fn replay(
        &self,
        run: &Run,
        kept: &[usize],
        replay: &mut dyn FnMut(RecordView<'_>) -> Result<()>,
    ) -> Result<(u64, u64, VecDeque<Cataloged>)> {
        let (mut records, mut bytes) = (0, 0);
        let mut catalog = VecDeque::new();
        let mut scratch = Vec::new();
        let mut last = self.from.redo_lsn.max(Lsn(run.first.0 - 1));
        for &index in kept {
            let found = &self.found[index];
            catalog.push_back(Cataloged {
                id: found.id,
                path: found.path.clone(),
                first_lsn: found.header.map_or(run.first, |h| h.first_lsn),
                bytes: if index == run.end.0 { run.end.1 } else { found.bytes },
            });
            let mut cursor = self.cursor(index);
            while let Some(seen) = cursor.step()? {
                if seen.kind != FrameKind::Commit || seen.lsn <= self.from.redo_lsn {
                    continue;
                }
                if seen.lsn > run.last {
                    break;
                }
                if seen.lsn != last.next() {
                    break;
                }
                last = seen.lsn;
                let body = cursor.body(&mut scratch)?;
                records += 1;
                bytes += body.len() as u64;
                replay(RecordView { lsn: seen.lsn, body, segment: found.id, offset: seen.offset })?;
            }
        }
        if last != run.last {
            // It was all there a moment ago: the disk does not read the same twice.
            let dir = self.config.dir.display().to_string();
            return Err(Error::corruption(dir, 0, format!("record {} cannot be read again", last.next())));
        }
        Ok((records, bytes, catalog))
    }
}

/// Whether a frame is the next one after record `last`.
fn continues(seen: &Seen, last: Lsn) -> bool {
    match seen.kind {
        FrameKind::Commit => seen.lsn == last.next(),
        FrameKind::Statement => seen.lsn == last,
    }
}

/// One past the last byte of the file that is not zero.
fn used_bytes(file: &dyn File, len: u64) -> std::io::Result<u64> {
    let mut buf = vec![0; CHUNK.min(len as usize)];
    let mut end = len;
    while end > 0 {
        let begin = end.saturating_sub(CHUNK as u64);
        let part = &mut buf[..(end - begin) as usize];
        let got = file.read_at(part, begin)?;
        if let Some(at) = part[..got].iter().rposition(|b| *b != 0) {
            return Ok(begin + at as u64 + 1);
        }
        end = begin;
    }
    Ok(0)
}

/// Writes the bytes from `begin` to `end` again, as they are.
fn rewrite(file: &dyn File, begin: u64, end: u64) -> std::io::Result<()> {
    let mut buf = vec![0; CHUNK];
    let mut at = begin;
    while at < end {
        let part = (end - at).min(CHUNK as u64) as usize;
        let got = file.read_at(&mut buf[..part], at)?;
        if got == 0 {
            break;
        }
        file.write_at(&buf[..got], at)?;
        at += got as u64;
    }
    Ok(())
}
