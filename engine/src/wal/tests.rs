//! The log on a simulated disk: what was acknowledged as durable is there, in order, or an error
//! says where it is not.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::env::real::{SystemClock, SystemFiles};
use crate::env::sim::{SimClock, SimFiles, SimOp, SimRng};
use crate::env::{File, OpenMode};

const DIR: &str = "/data/wal";
const STORE: u64 = 0x5eed;

fn config() -> WalConfig {
    WalConfig {
        segment_bytes: 8192,
        fsync: FsyncPolicy::No,
        reserve_bytes: 4096,
        ..WalConfig::new(DIR, STORE)
    }
}

/// A body that tells its LSN, of a length that depends on it; some compress, some do not.
fn body(lsn: u64) -> Vec<u8> {
    let len =
        8 + (lsn.wrapping_mul(2_654_435_761) % 300) as usize + if lsn.is_multiple_of(13) { 900 } else { 0 };
    let mut rng = SimRng::new(lsn);
    let noise = lsn.is_multiple_of(2);
    let mut bytes: Vec<u8> = (0..len).map(|_| if noise { rng.next_u64() as u8 } else { 7 }).collect();
    bytes[..8].copy_from_slice(&lsn.to_le_bytes());
    bytes
}

struct Opened {
    wal: Arc<Wal>,
    report: WalReport,
    replayed: Vec<u64>,
}

fn try_open(files: &SimFiles, config: WalConfig, from: OpenFrom) -> Result<Opened> {
    let mut replayed = Vec::new();
    let (wal, report) = Wal::open(
        Arc::new(files.clone()),
        Arc::new(SimClock::new(1)),
        config,
        from,
        &mut |record: RecordView<'_>| {
            assert_eq!(record.body, body(record.lsn.0), "record {}", record.lsn);
            replayed.push(record.lsn.0);
            Ok(())
        },
    )?;
    Ok(Opened { wal, report, replayed })
}

fn open(files: &SimFiles) -> Opened {
    try_open(files, config(), OpenFrom::default()).expect("the log opens")
}

fn append(wal: &Wal) -> Result<Lsn> {
    let body = body(wal.last_lsn().0 + 1);
    loop {
        match wal.append(&body) {
            Ok(lsn) => return Ok(lsn),
            Err(AppendError::NoRoom) => wal.wait_room_blocking(body.len(), Duration::from_secs(20))?,
            Err(AppendError::Failed(e)) => return Err(e),
        }
    }
}

fn append_many(wal: &Wal, n: u64) {
    for _ in 0..n {
        append(wal).expect("append");
    }
}

fn sync(wal: &Wal) {
    wal.wait_durable_blocking(wal.last_lsn()).expect("sync");
}

fn segments(files: &SimFiles) -> Vec<PathBuf> {
    let all = files.files().into_iter().map(|(path, _)| path);
    all.filter(|p| p.extension().is_some_and(|e| e == "seg")).collect()
}

fn upto(n: u64) -> Vec<u64> {
    (1..=n).collect()
}

#[test]
fn records_come_back_in_order_after_close() {
    let files = SimFiles::new();
    let opened = open(&files);
    assert_eq!((opened.report.last_lsn, opened.report.timeline), (Lsn(0), 1));
    append_many(&opened.wal, 200);
    opened.wal.close().unwrap();
    assert!(matches!(append(&opened.wal), Err(Error::Closed)));
    assert_eq!(opened.wal.durable_lsn(), Lsn(200));
    let mut rng = SimRng::new(1);
    let again = open(&files.crash(&mut rng));
    assert_eq!(again.replayed, upto(200));
    assert_eq!((again.report.cut.clone(), again.report.timeline), (None, 1));
    assert!(again.report.segments > 3, "{:?}", again.report);
    append_many(&again.wal, 1);
    assert_eq!(again.wal.last_lsn(), Lsn(201));
}

#[test]
fn replay_starts_above_the_redo_lsn_and_its_error_aborts() {
    let files = SimFiles::new();
    append_many(&open(&files).wal, 50);
    let from = OpenFrom { redo_lsn: Lsn(20), highest_written: Lsn(30), timeline: 7 };
    let opened = try_open(&files.kill(), config(), from).unwrap();
    assert_eq!(opened.replayed, (21..=50).collect::<Vec<_>>());
    assert_eq!(opened.report.timeline, 7);
    let clock = Arc::new(SimClock::new(1));
    let failed = Wal::open(Arc::new(files.kill()), clock, config(), from, &mut |_| Err(Error::Closed));
    assert!(matches!(failed, Err(Error::Closed)));
}

#[test]
fn everything_appended_survives_kill() {
    let files = SimFiles::new();
    let opened = open(&files);
    append_many(&opened.wal, 300);
    let again = open(&files.kill());
    assert_eq!(again.replayed, upto(300));
    assert_eq!(again.report.cut, None);
}

// Power cuts.

/// Appends and syncs by a seeded plan until the power goes; returns the highest LSN that was
/// acknowledged as durable.
fn run_until_power_is_gone(wal: &Wal, rng: &mut SimRng, steps: u64) -> u64 {
    let mut durable = wal.durable_lsn().0;
    for _ in 0..steps {
        if rng.chance(15) {
            if wal.wait_durable_blocking(wal.last_lsn()).is_err() {
                return durable;
            }
            durable = wal.durable_lsn().0;
        } else if append(wal).is_err() {
            return durable.max(wal.durable_lsn().0);
        }
    }
    durable
}

/// The central promise. The power goes right before or after sync number n, for each n; any subset of the
/// unsynced sectors and names survives; then the same happens to the recovery itself.
fn cut_at_every_sync(unreserving: bool) {
    let mut cuts = 0;
    for seed in 0..6 {
        for n in 0.. {
            let files = SimFiles::new();
            files.set_unreserving(unreserving);
            let mut rng = SimRng::new(seed * 1000 + n);
            // Right after a sync nothing is at stake; right before one, all since the last.
            if seed % 2 == 0 {
                files.power_off_before_sync(n);
            } else {
                files.power_off_after_sync(n);
            }
            let mut durable = 0;
            let mut last = 0;
            if let Ok(opened) = try_open(&files, config(), OpenFrom::default()) {
                durable = run_until_power_is_gone(&opened.wal, &mut rng, 150);
                last = opened.wal.last_lsn().0;
            }
            let finished = !files.is_off();
            for _ in 0..4 {
                let disk = files.crash(&mut rng);
                cuts += u64::from(reopen_twice(&disk, &mut rng, durable, last));
            }
            if finished {
                break;
            }
        }
    }
    assert!(cuts > 20, "only {cuts} runs had something to cut");
}

/// Opens with another power cut amid the recovery, then for good; true if something was cut.
fn reopen_twice(disk: &SimFiles, rng: &mut SimRng, durable: u64, last: u64) -> bool {
    let from = OpenFrom { highest_written: Lsn(durable), ..OpenFrom::default() };
    let amid = disk.kill();
    amid.power_off_after_sync(rng.below(10));
    let mut kept = durable;
    let mut timeline = 0;
    let mut cut = false;
    if let Ok(opened) = try_open(&amid, config(), from) {
        // It opened, so what it replayed was promised to be durable.
        kept = opened.report.last_lsn.0;
        timeline = opened.report.timeline;
        cut = opened.report.cut.is_some();
        let _ = (append(&opened.wal), append(&opened.wal));
    }
    let disk = amid.crash(rng);
    let opened = try_open(&disk, config(), from).expect("nothing durable is missing");
    let end = opened.report.last_lsn.0;
    assert_eq!(opened.replayed, upto(end));
    assert!(end >= kept, "{kept} was durable, the log ends at {end}");
    assert!(end <= last + 2);
    assert!(opened.report.timeline >= timeline + u32::from(opened.report.cut.is_some()));
    append_many(&opened.wal, 30);
    sync(&opened.wal);
    let again = open(&disk.crash(rng));
    assert_eq!(again.replayed, upto(end + 30));
    assert_eq!(again.report.cut, None);
    cut || opened.report.cut.is_some()
}

#[test]
fn what_was_durable_survives_a_power_cut_after_any_sync() {
    cut_at_every_sync(false);
}

#[test]
fn what_was_durable_survives_without_reserved_blocks() {
    cut_at_every_sync(true);
}

/// Found by thinking, not by luck: records replayed from the page cache after `kill -9` are
/// acknowledged by the open, so a power cut right after it must not take them.
#[test]
fn records_from_the_page_cache_are_durable_once_open() {
    for seed in 0..20 {
        let mut rng = SimRng::new(seed);
        let files = SimFiles::new();
        append_many(&open(&files).wal, 120);
        let killed = files.kill();
        let opened = open(&killed);
        assert_eq!((opened.replayed.len(), opened.wal.durable_lsn()), (120, Lsn(120)));
        let after = open(&killed.crash(&mut rng));
        assert_eq!(after.replayed, upto(120));
    }
}

/// After a failed fsync the kernel shows the lost pages as clean. A new process reads them well,
/// and its own fsync succeeds without writing them: only rewriting brings them to the disk.
#[test]
fn records_lost_by_a_failed_sync_are_written_again_on_open() {
    for seed in 0..20 {
        let files = SimFiles::new();
        let opened = open(&files);
        append_many(&opened.wal, 5);
        sync(&opened.wal);
        append_many(&opened.wal, 5);
        files.fail_next(SimOp::Sync, ErrorKind::Other, ".seg");
        let failed = opened.wal.wait_durable_blocking(Lsn(10));
        assert!(matches!(failed, Err(Error::Latched { .. })), "{failed:?}");
        let killed = files.kill();
        assert_eq!(open(&killed).replayed, upto(10));
        assert_eq!(open(&killed.crash(&mut SimRng::new(seed))).replayed, upto(10));
    }
}

/// The current segment's sectors may survive while a sealed one's do not: nothing after the hole
/// may be replayed, and nothing of it was acknowledged as durable.
#[test]
fn a_hole_before_a_segment_switch_cuts_the_segments_behind_it() {
    let (mut holes, mut segments_cut) = (0, 0);
    for seed in 0..60 {
        let files = SimFiles::new();
        let opened = open(&files);
        append_many(&opened.wal, 20);
        sync(&opened.wal);
        append_many(&opened.wal, 100);
        let disk = files.crash(&mut SimRng::new(seed));
        let before = segments(&disk).len();
        let after = open(&disk);
        assert!(after.replayed.len() >= 20);
        assert_eq!(after.replayed, upto(after.replayed.len() as u64));
        if let Some(cut) = &after.report.cut {
            holes += 1;
            segments_cut += usize::from(segments(&disk).len() < before);
            assert!(cut.bytes > 0 && cut.file.ends_with(".seg"));
            assert_eq!(after.report.timeline, 2);
            // The report is about this open; the next finds a clean log.
            drop(after);
            assert_eq!(open(&disk.kill()).report.cut, None);
        }
    }
    assert!(holes > 5 && segments_cut > 0, "{holes} holes, {segments_cut} with segments to cut");
}

/// A cut that removes all older segments just after a switch must not leave a log whose only
/// segment has its header in the page cache alone.
#[test]
fn a_cut_never_leaves_a_log_without_a_beginning() {
    for seed in 0..40 {
        let files = SimFiles::new();
        let opened = open(&files);
        append_many(&opened.wal, 10);
        while segments_in_use(&opened.wal) < 2 {
            append_many(&opened.wal, 1);
        }
        let before_switch = Lsn(opened.wal.last_lsn().0 - 1);
        sync_up_to_but_not_the_current_segment(&opened.wal, before_switch);
        let removed = opened.wal.cut_before(before_switch).unwrap();
        assert_eq!(removed, 1);
        let disk = files.crash(&mut SimRng::new(seed));
        let from = OpenFrom { redo_lsn: before_switch, highest_written: before_switch, timeline: 1 };
        let again = try_open(&disk, config(), from).expect("the log has a beginning");
        assert!(again.report.last_lsn >= before_switch);
    }
}

fn segments_in_use(wal: &Wal) -> u64 {
    wal.status().segments
}

/// What a sync that ran right before the switch leaves: all before it durable, the header not.
fn sync_up_to_but_not_the_current_segment(wal: &Wal, upto: Lsn) {
    let sealed = std::mem::take(&mut wal.log.tail.lock().sealed);
    for segment in &sealed {
        segment.file.sync_data().unwrap();
    }
    wal.log.durable.advance(upto.0);
}

// Damage.

/// Offset of record `lsn` and of the frame's end, by reading the log.
fn find_record(files: &SimFiles, lsn: u64) -> (PathBuf, u64, u64) {
    for path in segments(files) {
        let id = segment::segment_id(path.file_name().unwrap().to_str().unwrap()).unwrap();
        let file: Arc<dyn File> = files.open(&path, OpenMode::Read).unwrap();
        let mut cursor = reader::Cursor::new(file, &path, STORE, id);
        while let Some(seen) = cursor.step().unwrap() {
            if seen.kind == frame::FrameKind::Commit && seen.lsn.0 == lsn {
                return (path, seen.offset, cursor.position());
            }
        }
    }
    panic!("no record {lsn}");
}

#[test]
fn damage_to_a_durable_record_is_reported_with_file_and_offset() {
    let files = SimFiles::new();
    let opened = open(&files);
    append_many(&opened.wal, 60);
    sync(&opened.wal);
    append_many(&opened.wal, 3);
    drop(opened);
    for lsn in [1, 2, 30, 59, 60] {
        let (path, start, end) = find_record(&files, lsn);
        for at in [start, start + 5, start + 9, start + 24, end - 9] {
            let disk = files.kill();
            disk.flip(&path, at, 0x10);
            let before = disk.files();
            match try_open(&disk, config(), OpenFrom::default()).map(|o| o.report) {
                Err(Error::Corruption { file, offset, detail }) => {
                    assert_eq!((Path::new(&file), offset), (path.as_path(), start), "{detail}");
                }
                other => panic!("record {lsn}, byte {at}: {other:?}"),
            }
            assert_eq!(disk.files(), before, "a refused open changes nothing");
        }
    }
}

#[test]
fn damage_above_the_proven_lsn_is_cut_and_reported() {
    let files = SimFiles::new();
    let opened = open(&files);
    append_many(&opened.wal, 60);
    sync(&opened.wal);
    append_many(&opened.wal, 30);
    drop(opened);
    for lsn in [61, 62, 75, 90] {
        let disk = files.kill();
        let (path, start, _) = find_record(&disk, lsn);
        disk.flip(&path, start + 30, 1);
        let opened = open(&disk);
        assert_eq!(opened.replayed, upto(lsn - 1));
        let cut = opened.report.cut.clone().expect("something was cut");
        assert_eq!((Path::new(&cut.file), cut.offset), (path.as_path(), start));
        assert_eq!(opened.report.timeline, 2);
        append_many(&opened.wal, 5);
        drop(opened);
        assert_eq!(open(&disk.kill()).replayed, upto(lsn + 4));
    }
}

#[test]
fn the_last_record_is_proven_by_a_statement_or_by_the_cold_tier() {
    let files = SimFiles::new();
    let opened = open(&files);
    append_many(&opened.wal, 10);
    let unproven = files.kill();
    opened.wal.close().unwrap();
    let (path, start, _) = find_record(&files, 10);
    files.flip(&path, start + 27, 1);
    let refused = try_open(&files, config(), OpenFrom::default()).map(|o| o.report);
    assert!(matches!(refused, Err(Error::Corruption { offset, .. }) if offset == start), "{refused:?}");

    unproven.flip(&path, start + 27, 1);
    let from = OpenFrom { highest_written: Lsn(10), ..OpenFrom::default() };
    let refused = try_open(&unproven.kill(), config(), from).map(|o| o.report);
    assert!(matches!(refused, Err(Error::Corruption { offset, .. }) if offset == start), "{refused:?}");
    assert_eq!(open(&unproven).replayed, upto(9));
}

#[test]
fn a_damaged_segment_header_is_a_gap_like_any_other() {
    let files = SimFiles::new();
    let opened = open(&files);
    append_many(&opened.wal, 100);
    opened.wal.close().unwrap();
    let second = segments(&files)[1].clone();
    files.flip(&second, 33, 1);
    match try_open(&files, config(), OpenFrom::default()).map(|o| o.report) {
        Err(Error::Corruption { file, offset, .. }) => assert_eq!((PathBuf::from(file), offset), (second, 0)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn missing_and_foreign_logs_are_refused() {
    let files = SimFiles::new();
    let opened = open(&files);
    append_many(&opened.wal, 100);
    opened.wal.close().unwrap();
    let other_store = WalConfig { store_id: STORE + 1, ..config() };
    assert!(matches!(try_open(&files.kill(), other_store, OpenFrom::default()), Err(Error::Format { .. })));
    let disk = files.kill();
    disk.remove(&segments(&disk)[0]).unwrap();
    let headless = try_open(&disk, config(), OpenFrom::default());
    assert!(matches!(headless, Err(Error::Corruption { offset: 0, .. })));
    let ahead = OpenFrom { highest_written: Lsn(101), ..OpenFrom::default() };
    assert!(matches!(try_open(&files.kill(), config(), ahead), Err(Error::Corruption { .. })));
    let from = OpenFrom { redo_lsn: Lsn(5), ..OpenFrom::default() };
    assert!(matches!(try_open(&SimFiles::new(), config(), from), Err(Error::Corruption { .. })));
}

/// A client may store bytes of our own log; none of them may pass for a frame behind a gap.
#[test]
fn frames_inside_values_prove_nothing() {
    let files = SimFiles::new();
    let opened = open(&files);
    append_many(&opened.wal, 1);
    let hostile = frame::encode(frame::FrameKind::Statement, Lsn(2), Lsn(2), &[], frame::seed(STORE, 1, 64));
    opened.wal.append(&hostile).unwrap();
    drop(opened);
    let (path, start, _) = find_record(&files, 2);
    files.flip(&path, start + 8, 1);
    let report = open(&files).report;
    assert_eq!(report.last_lsn, Lsn(1));
}

/// Whatever bytes change, wherever: the open refuses, or what it replays is a true prefix.
#[test]
fn random_damage_never_panics_nor_changes_a_record() {
    let files = SimFiles::new();
    let opened = open(&files);
    append_many(&opened.wal, 40);
    sync(&opened.wal);
    append_many(&opened.wal, 60);
    drop(opened);
    let (mut refused, mut cut) = (0, 0);
    for seed in 0..300 {
        let mut rng = SimRng::new(seed);
        let disk = files.kill();
        let all = segments(&disk);
        for _ in 0..=rng.below(4) {
            let path = &all[rng.below(all.len() as u64) as usize];
            let file = disk.open(path, OpenMode::ReadWrite).unwrap();
            let at = rng.below(file.len().unwrap());
            match rng.below(8) {
                0 => file.truncate(at).unwrap(),
                1 => file.write_at(&rng.next_u64().to_le_bytes(), at).unwrap(),
                2 => file.write_at(&u32::MAX.to_le_bytes(), at / 8 * 8).unwrap(),
                _ if at < file.len().unwrap() => disk.flip(path, at, 1 << rng.below(8)),
                _ => {}
            }
        }
        match try_open(&disk, config(), OpenFrom::default()) {
            Ok(opened) => {
                assert_eq!(opened.replayed, upto(opened.report.last_lsn.0));
                cut += u64::from(opened.report.cut.is_some());
            }
            Err(Error::Corruption { .. }) => refused += 1,
            Err(e) => panic!("{e}"),
        }
    }
    assert!(refused > 20 && cut > 20, "{refused} refused, {cut} cut");
}

// Failure.

#[test]
fn a_failed_sync_latches_and_wakes_all_waiters() {
    let files = SimFiles::new();
    let opened = open(&files);
    let wal = &opened.wal;
    append_many(wal, 3);
    files.fail_next(SimOp::Sync, ErrorKind::Other, ".seg");
    let mut waiting = Box::pin(wal.durable(Lsn(3)));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(waiting.as_mut().poll(&mut context).is_pending());
    assert!(matches!(wal.wait_durable_blocking(Lsn(3)), Err(Error::Latched { .. })));
    assert!(matches!(
        waiting.as_mut().poll(&mut context),
        std::task::Poll::Ready(Err(Error::Latched { .. }))
    ));
    assert!(matches!(wal.append(b"x"), Err(AppendError::Failed(Error::Latched { .. }))));
    assert_eq!(wal.durable_lsn(), Lsn(0));
    let cause = wal.latched().expect("latched").to_string();
    assert!(cause.contains(".seg") && cause.contains("sync"), "{cause}");
    assert!(wal.close().is_err());
}

#[test]
fn a_failed_append_latches() {
    let files = SimFiles::new();
    files.set_unreserving(true);
    let opened = open(&files);
    append_many(&opened.wal, 3);
    files.fail_next(SimOp::Write, ErrorKind::Other, ".seg");
    assert!(matches!(append(&opened.wal), Err(Error::Latched { .. })));
    assert!(matches!(append(&opened.wal), Err(Error::Latched { .. })));
    assert_eq!(opened.wal.last_lsn(), Lsn(3));
    assert_eq!(open(&files.kill()).replayed, upto(3));
}

#[test]
fn a_full_disk_refuses_keeps_a_reserve_for_deletes_and_resumes() {
    for unreserving in [false, true] {
        let files = SimFiles::new();
        files.set_unreserving(unreserving);
        let opened = open(&files);
        let wal = &opened.wal;
        append_many(wal, 40);
        // Some room is prepared already; it is used up first.
        files.set_free_bytes(if unreserving { 3000 } else { 0 });
        let error = (0..1000).find_map(|_| append(wal).err()).expect("the disk is full");
        assert!(matches!(error, Error::NoSpace { .. }), "{error}");
        assert!(wal.latched().is_none() && wal.status().disk_full);
        let full_at = wal.last_lsn().0;
        let delete = || {
            let body = body(wal.last_lsn().0 + 1);
            (0..2000).find_map(|_| {
                std::thread::sleep(Duration::from_millis(5));
                wal.append_reserved(&body).ok()
            })
        };
        assert_eq!(delete(), Some(Lsn(full_at + 1)), "unreserving: {unreserving}");
        assert!(matches!(append(wal), Err(Error::NoSpace { .. })));
        sync(wal);
        files.set_free_bytes(1 << 20);
        // What is prepared may have room already; that the disk has is found out at the next try.
        let resumed = (0..2000).any(|_| {
            std::thread::sleep(Duration::from_millis(10));
            append(wal).is_ok() && !wal.status().disk_full
        });
        assert!(resumed && wal.latched().is_none());
        append_many(wal, 100);
        assert!(!wal.status().disk_full);
        assert_eq!(open(&files.kill()).replayed, upto(wal.last_lsn().0));
    }
}

// Sizes, cuts, readers.

#[test]
fn a_record_larger_than_a_segment_gets_its_own() {
    let files = SimFiles::new();
    let opened = open(&files);
    let wal = &opened.wal;
    let mut rng = SimRng::new(3);
    let large: Vec<u8> = (0..100_000).map(|_| rng.next_u64() as u8).collect();
    wal.append(b"first").unwrap();
    assert!(!wal.has_room(large.len()));
    assert!(matches!(wal.append(&large), Err(AppendError::NoRoom)));
    wal.wait_room_blocking(large.len(), Duration::from_secs(20)).unwrap();
    assert_eq!(wal.append(&large).unwrap(), Lsn(2));
    sync(wal);
    let mut reader = wal.read_from(Lsn(1));
    assert_eq!(reader.next_record().unwrap().unwrap().body, large);
    assert!(matches!(
        wal.append(&vec![0; frame::BODY_BYTES_MAX + 1]),
        Err(AppendError::Failed(Error::TooLarge { .. }))
    ));
    let mut found = Vec::new();
    let clock = Arc::new(SimClock::new(1));
    let disk = files.crash(&mut rng);
    Wal::open(Arc::new(disk), clock, config(), OpenFrom::default(), &mut |r| {
        found.push(r.body.to_vec());
        Ok(())
    })
    .unwrap();
    assert_eq!(found, [b"first".to_vec(), large]);
}

#[test]
fn cutting_removes_whole_segments_below_the_redo_lsn_only() {
    let files = SimFiles::new();
    let opened = open(&files);
    let wal = &opened.wal;
    append_many(wal, 300);
    assert_eq!(wal.cut_before(Lsn(300)).unwrap(), 0, "nothing is durable yet");
    sync(wal);
    let before = wal.status();
    assert!(before.segments > 4);
    let removed = wal.cut_before(Lsn(150)).unwrap();
    let status = wal.status();
    assert!(removed > 0 && status.segments == before.segments - removed);
    assert!(status.first_lsn > Lsn(1) && status.first_lsn <= Lsn(151));
    assert!(wal.read_from(Lsn(3)).next_record().is_err(), "record 4 is gone");
    let from = OpenFrom { redo_lsn: Lsn(150), highest_written: Lsn(150), timeline: 1 };
    let again = try_open(&files.crash(&mut SimRng::new(1)), config(), from).unwrap();
    assert_eq!(again.replayed, (151..=300).collect::<Vec<_>>());
    assert!(try_open(&files.kill(), config(), OpenFrom::default()).is_err(), "the log starts too late");
}

#[test]
fn many_opens_do_not_pile_up_segments() {
    let mut files = SimFiles::new();
    append_many(&open(&files).wal, 5);
    for _ in 0..10 {
        files = files.kill();
        let opened = open(&files);
        assert_eq!((opened.replayed.len(), opened.report.segments), (5, 2));
        opened.wal.close().unwrap();
    }
}

#[test]
fn readers_see_durable_records_only_and_follow_the_log() {
    let files = SimFiles::new();
    let opened = open(&files);
    let wal = &opened.wal;
    let mut reader = wal.read_from(Lsn(0));
    let mut expected = 1;
    for round in 0..20 {
        append_many(wal, 1 + round);
        assert!(reader.next_record().unwrap().is_none(), "not durable yet");
        sync(wal);
        while let Some(record) = reader.next_record().unwrap() {
            assert_eq!((record.lsn.0, record.body), (expected, &body(expected)[..]));
            expected += 1;
        }
        assert_eq!(expected, wal.last_lsn().0 + 1);
    }
    assert_eq!(wal.read_from(Lsn(30)).next_record().unwrap().unwrap().lsn, Lsn(31));
    drop(opened);
    let again = open(&files.kill());
    let mut reader = again.wal.read_from(Lsn(200));
    assert_eq!(reader.next_record().unwrap().unwrap().lsn, Lsn(201));
}

// Threads and policies, on real files.

fn open_real(dir: &Path, fsync: FsyncPolicy) -> (Arc<Wal>, u64) {
    let mut records = 0;
    let config = WalConfig { segment_bytes: 256 << 10, fsync, ..WalConfig::new(dir.join("wal"), STORE) };
    let replay = &mut |_: RecordView<'_>| {
        records += 1;
        Ok(())
    };
    let clock = Arc::new(SystemClock::new());
    let (wal, _) = Wal::open(Arc::new(SystemFiles), clock, config, OpenFrom::default(), replay).unwrap();
    (wal, records)
}

#[test]
fn group_commits_from_many_threads_on_real_files() {
    let dir = tempfile::tempdir().unwrap();
    let (wal, _) = open_real(dir.path(), FsyncPolicy::Always);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..300 {
                    let lsn = loop {
                        match wal.append(&[5; 700]) {
                            Ok(lsn) => break lsn,
                            Err(AppendError::NoRoom) => {
                                wal.wait_room_blocking(700, Duration::from_secs(20)).unwrap();
                            }
                            Err(AppendError::Failed(e)) => panic!("{e}"),
                        }
                    };
                    wal.wait_durable_blocking(lsn).unwrap();
                    assert!(wal.durable_lsn() >= lsn);
                }
            });
        }
    });
    let status = wal.status();
    assert_eq!((status.last_lsn, status.durable_lsn), (Lsn(1200), Lsn(1200)));
    assert!(status.fsyncs <= 1200 && status.group_max >= 1);
    wal.close().unwrap();
    assert_eq!(open_real(dir.path(), FsyncPolicy::No).1, 1200);
}

#[test]
fn every_second_syncs_by_itself_and_the_policy_can_change() {
    let dir = tempfile::tempdir().unwrap();
    let (wal, _) = open_real(dir.path(), FsyncPolicy::No);
    let lsn = wal.append(b"x").unwrap();
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(wal.durable_lsn(), Lsn(0));
    wal.set_fsync(FsyncPolicy::EverySec);
    assert_eq!(
        wal.log.durable.wait_blocking(lsn.0, Some(Duration::from_millis(2500))),
        crate::wait::Waited::Reached
    );
}

#[test]
fn large_records_and_windows_on_real_files() {
    let dir = tempfile::tempdir().unwrap();
    let open = || {
        let mut sizes = Vec::new();
        let config = WalConfig { segment_bytes: 8 << 20, ..WalConfig::new(dir.path().join("wal"), STORE) };
        let clock = Arc::new(SystemClock::new());
        let replay = &mut |r: RecordView<'_>| {
            let mut rng = SimRng::new(r.lsn.0);
            assert!(r.body.chunks_exact(8).all(|c| c == rng.next_u64().to_le_bytes()), "{}", r.lsn);
            sizes.push(r.body.len());
            Ok(())
        };
        let (wal, _) = Wal::open(Arc::new(SystemFiles), clock, config, OpenFrom::default(), replay).unwrap();
        (wal, sizes)
    };
    let (wal, _) = open();
    let mut expected = Vec::new();
    for round in 0..60_u64 {
        // From within a window, across two, across all that are mapped, to beyond a segment.
        let len = [800, 300_000, 1 << 20, 2_500_000, 9_000_000][(round % 5) as usize];
        let mut rng = SimRng::new(round + 1);
        let body: Vec<u8> =
            std::iter::repeat_with(|| rng.next_u64().to_le_bytes()).flatten().take(len).collect();
        while let Err(e) = wal.append(&body) {
            assert!(matches!(e, AppendError::NoRoom), "{e}");
            wal.wait_room_blocking(len, Duration::from_secs(20)).unwrap();
        }
        expected.push(len);
    }
    drop(wal);
    assert_eq!(open().1, expected);
}

// Broken on purpose: each promise is tested by a test that can fail.

#[cfg(feature = "failpoints")]
mod broken {
    use super::*;

    fn broken_config(failpoints: u32) -> WalConfig {
        WalConfig { failpoints, ..config() }
    }

    /// Whether a reopened log is not what was promised: refused, or short of `durable`.
    fn is_wrong(disk: &SimFiles, durable: u64) -> bool {
        match try_open(disk, config(), OpenFrom::default()) {
            Ok(opened) => opened.report.last_lsn.0 < durable,
            Err(Error::Corruption { .. }) => true,
            Err(e) => panic!("{e}"),
        }
    }

    #[test]
    fn syncing_only_the_current_segment_is_noticed() {
        let noticed = |failpoints| {
            (0..20).any(|seed| {
                let files = SimFiles::new();
                let opened = try_open(&files, broken_config(failpoints), OpenFrom::default()).unwrap();
                append_many(&opened.wal, 120);
                sync(&opened.wal);
                is_wrong(&files.crash(&mut SimRng::new(seed)), 120)
            })
        };
        assert!(noticed(failpoint::BREAK_SYNC_ORDER));
        assert!(!noticed(0));
    }

    #[test]
    fn opening_without_a_sync_is_noticed() {
        let noticed = |failpoints| {
            (0..20).any(|seed| {
                let files = SimFiles::new();
                append_many(&open(&files).wal, 120);
                let killed = files.kill();
                let opened = try_open(&killed, broken_config(failpoints), OpenFrom::default()).unwrap();
                assert_eq!(opened.wal.durable_lsn(), Lsn(120));
                is_wrong(&killed.crash(&mut SimRng::new(seed)), 120)
            })
        };
        assert!(noticed(failpoint::BREAK_OPEN_SYNC));
        assert!(!noticed(0));
    }

    #[test]
    fn cutting_without_the_proof_is_noticed() {
        let files = SimFiles::new();
        let opened = open(&files);
        append_many(&opened.wal, 60);
        sync(&opened.wal);
        opened.wal.close().unwrap();
        let (path, start, _) = find_record(&files, 30);
        files.flip(&path, start + 4, 1);
        assert!(try_open(&files.kill(), config(), OpenFrom::default()).is_err());
        let blind = try_open(&files, broken_config(failpoint::BREAK_PREFIX), OpenFrom::default()).unwrap();
        assert_eq!(blind.report.last_lsn, Lsn(29), "durable records are gone without an error");
    }
}

/// Not a test of speed on a shared machine, but the number to look at: `--ignored --nocapture`.
#[test]
#[ignore = "prints a measurement"]
fn measure_append() {
    for (policy, segment_mib) in [(FsyncPolicy::No, 64), (FsyncPolicy::EverySec, 64)] {
        let dir = tempfile::tempdir_in(std::env::var("WAL_BENCH_DIR").unwrap_or("/tmp".into())).unwrap();
        let config = WalConfig {
            segment_bytes: segment_mib << 20,
            fsync: policy,
            ..WalConfig::new(dir.path().join("wal"), STORE)
        };
        let clock = Arc::new(SystemClock::new());
        let (wal, _) =
            Wal::open(Arc::new(SystemFiles), clock.clone(), config, OpenFrom::default(), &mut |_| Ok(()))
                .unwrap();
        let body = [9; 100];
        let (records, mut stalls, mut blocks) = (3_000_000, 0, Vec::new());
        let start = clock.monotonic_ns();
        let mut busy = 0;
        for _ in 0..records / 1000 {
            let begin = clock.monotonic_ns();
            for _ in 0..1000 {
                while wal.append(&body).is_err() {
                    stalls += 1;
                    wal.wait_room_blocking(100, Duration::from_secs(9)).unwrap();
                }
            }
            let took = clock.monotonic_ns() - begin;
            busy += took;
            blocks.push(took / 1000);
            std::thread::sleep(Duration::from_micros(if policy == FsyncPolicy::No { 0 } else { 300 }));
        }
        blocks.sort_unstable();
        let (median, worst) = (blocks[blocks.len() / 2], blocks[blocks.len() - 1]);
        let wall = clock.monotonic_ns() - start;
        println!(
            "{policy:?}: {} ns per append, median block {median}, worst {worst}, {stalls} stalls, wall {} ms, {:?}",
            busy / records,
            wall / 1_000_000,
            wal.status()
        );
    }
}

/// The same for group commits of one client.
#[test]
#[ignore = "prints a measurement"]
fn measure_always() {
    let dir = tempfile::tempdir_in(std::env::var("WAL_BENCH_DIR").unwrap_or("/tmp".into())).unwrap();
    let config = WalConfig { fsync: FsyncPolicy::Always, ..WalConfig::new(dir.path().join("wal"), STORE) };
    let clock = Arc::new(SystemClock::new());
    let (wal, _) =
        Wal::open(Arc::new(SystemFiles), clock.clone(), config, OpenFrom::default(), &mut |_| Ok(()))
            .unwrap();
    let mut rng = SimRng::new(1);
    let body: Vec<u8> = (0..4000).map(|_| rng.next_u64() as u8).collect();
    let mut took: Vec<u64> = (0..4000)
        .map(|_| {
            let begin = clock.monotonic_ns();
            let lsn = wal.append(&body).expect("room is prepared ahead");
            wal.wait_durable_blocking(lsn).unwrap();
            (clock.monotonic_ns() - begin) / 1000
        })
        .collect();
    took.sort_unstable();
    println!("Always: us p50 {} p99 {} p99.9 {} max {}", took[2000], took[3960], took[3996], took[3999]);
}
