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
