//! Disks that fail and disks that are full.

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use lux_engine::Error;
use lux_engine::env::sim::{SimClock, SimFiles, SimOp, SimRng};
use lux_engine::ids::{DbIndex, ExpireAt};
use lux_engine::tier::Family;
use lux_engine::tier::memory::{MemoryHooks, MemoryStore, Operation};
use lux_engine::txn::Mode;

use crate::rig::{DB, Options, Rig, body};
use crate::trace::Trace;

fn io_error(op: &'static str) -> Error {
    Error::io(op, "/data/cold", std::io::Error::other("the disk is gone"))
}

/// After the failure: nothing is acknowledged, everybody is told why, reads go on, dead keys are
/// missing, and a restart has all that was acknowledged.
fn latches(options: Options, unreserving: bool, break_it: impl Fn(&mut Trace)) {
    let (files, clock) = (SimFiles::new(), Arc::new(SimClock::new(1_700_000_000_000)));
    files.set_unreserving(unreserving);
    let rig = Rig::open(files, clock, MemoryStore::new(), options).expect("opens");
    let mut trace = Trace::new(rig);
    let now = trace.rig.now_ms();
    trace.set(b"cold", b"1", None).expect("works until it breaks");
    trace.set(b"dying", b"2", Some(now + 1_000)).expect("works until it breaks");
    trace.checkpoint().expect("works until it breaks");
    trace.evict().expect("works until it breaks");
    trace.set(b"hot", b"3", None).expect("works until it breaks");
    trace.set(b"dying too", b"4", Some(now + 1_000)).expect("works until it breaks");
    trace.sync().expect("works until it breaks");
    break_it(&mut trace);
    let reason = trace.rig.engine.wal().latched().expect("must latch").to_string();
    assert!(!reason.is_empty());
    for _ in 0..3 {
        let error = trace.set(b"refused", b"x", None).expect_err("no write after a latch");
        assert!(matches!(&error, Error::Latched { .. }) && error.to_string() == reason, "{error}");
        assert!(trace.del(b"hot").is_err());
    }
    assert!(trace.checkpoint().is_err() && trace.evict().is_err());
    trace.rig.advance(5_000);
    assert_eq!(trace.rig.get(b"cold").as_deref(), Some(&b"1"[..]));
    assert_eq!(trace.rig.get(b"hot").as_deref(), Some(&b"3"[..]));
    assert_eq!(trace.rig.get(b"dying"), None);
    assert_eq!(trace.rig.get(b"dying too"), None);
    assert!(trace.rig.engine.close().is_err(), "a latched store does not close as if all were well");
    let mut rng = SimRng::new(7);
    let trace = trace.power_cut_and_check(&mut rng).expect("opens with all that was acknowledged");
    assert!(trace.rig.engine.wal().latched().is_none());
}

#[test]
fn a_failed_append_latches() {
    for options in [Options::default(), Options::default().always()] {
        latches(options, true, |trace| {
            trace.rig.files.fail_next(SimOp::Write, ErrorKind::Other, ".seg");
            assert!(trace.set(b"key", b"fails", None).is_err());
        });
    }
}

#[test]
fn a_failed_sync_latches() {
    latches(Options::default().always(), false, |trace| {
        trace.rig.files.fail_next(SimOp::Sync, ErrorKind::Other, ".seg");
        assert!(trace.set(b"key", b"not durable", None).is_err());
    });
    latches(Options::default(), false, |trace| {
        trace.set(b"key", b"not durable", None).unwrap();
        trace.rig.files.fail_next(SimOp::Sync, ErrorKind::Other, ".seg");
        assert!(trace.sync().is_err());
    });
}

/// Waits until the keeper has told the log.
fn await_latch(trace: &Trace) {
    while trace.rig.engine.wal().latched().is_none() {
        thread::yield_now();
    }
}

#[test]
fn a_failed_write_of_the_cold_tier_latches() {
    latches(Options::default(), false, |trace| {
        trace.rig.cold.fail_next(Operation::Write, io_error("write"));
        assert!(trace.evict().is_err());
        await_latch(trace);
    });
}

#[test]
fn a_failed_flush_latches() {
    latches(Options::default(), false, |trace| {
        trace.rig.cold.fail_next(Operation::Flush, io_error("flush"));
        assert!(trace.checkpoint().is_err());
        await_latch(trace);
    });
}

/// A failed read is an error of that command alone.
#[test]
fn a_failed_read_does_not_latch() {
    let rig = Rig::new();
    rig.set(b"key", b"value");
    rig.evict_all();
    rig.cold.fail_next(Operation::Read, io_error("read"));
    let outcome =
        rig.run(DB, &[b"key"], lux_engine::txn::Mode::Keys, |txn| Ok(txn.lookup(b"key")?.is_some()));
    assert!(matches!(outcome, Err(Error::Io { .. })));
    assert_eq!(rig.get(b"key").as_deref(), Some(&b"value"[..]));
    rig.evict_all();
}

/// Bytes that the log cannot compress.
fn noise(len: usize) -> Vec<u8> {
    let mut rng = SimRng::new(len as u64);
    (0..len).map(|_| rng.next_u64() as u8).collect()
}

/// Tries until it works, for a long time.
fn patiently<R>(mut attempt: impl FnMut() -> lux_engine::Result<R>) -> R {
    for _ in 0..2_000 {
        match attempt() {
            Ok(result) => return result,
            Err(error) => assert!(matches!(error, Error::NoSpace { .. }), "{error}"),
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("service does not resume");
}

/// The disk is full: writes are refused before they change anything, reads and deletions go on,
/// a dead key reads as missing. When space returns, service resumes; nothing latched.
#[test]
fn a_full_disk_refuses_writes_and_recovers() {
    for unreserving in [false, true] {
        let (files, clock) = (SimFiles::new(), Arc::new(SimClock::new(1_700_000_000_000)));
        files.set_unreserving(unreserving);
        let options = Options { segment_bytes: 32 << 10, ..Options::default() };
        let mut trace = Trace::new(Rig::open(files, clock, MemoryStore::new(), options).expect("opens"));
        let now = trace.rig.now_ms();
        for n in 0..20 {
            trace.set(format!("key {n}").as_bytes(), b"value", None).unwrap();
        }
        trace.set(b"dying", b"x", Some(now + 1_000)).unwrap();
        trace.rig.files.set_free_bytes(0);
        let mut written = 0;
        let error = loop {
            match trace.set(b"filler", &noise(900), None) {
                Ok(()) => written += 1,
                Err(error) => break error,
            }
            assert!(written < 10_000, "a full disk must be noticed");
        };
        assert!(matches!(error, Error::NoSpace { .. }), "{error}");
        trace.rig.advance(2_000);
        assert_eq!(trace.rig.get(b"dying"), None, "a dead key is missing");
        assert_eq!(trace.rig.get(b"key 7").as_deref(), Some(&b"value"[..]));
        for n in 0..10 {
            let key = format!("key {n}").into_bytes();
            // The reserve is given up by a thread of its own.
            assert!(patiently(|| trace.del(&key)), "it was there");
        }
        assert!(trace.set(b"filler", &noise(900), None).is_err(), "still full");
        assert!(trace.rig.engine.wal().latched().is_none(), "a full disk is no failure");
        trace.rig.check_counters();
        trace.rig.files.set_free_bytes(1 << 30);
        patiently(|| trace.set(b"key", b"written again", None));
        trace.kill_and_check().unwrap();
    }
}

/// Even the reserve is used up when keys are due. The reaper fails, and when space returns it
/// must still know them.
#[test]
fn keys_due_on_a_full_disk_expire_when_space_returns() {
    let options = Options { segment_bytes: 16 << 10, ..Options::default() };
    let mut trace = Trace::new(Rig::with(options));
    trace.keep_last_state_only();
    let now = trace.rig.now_ms();
    for n in 0..3_000 {
        trace.set(format!("{n}").as_bytes(), b"v", (n % 10 == 0).then_some(now + 1_000)).unwrap();
    }
    trace.rig.files.set_free_bytes(0);
    let is_used_up = (0..3_000).filter(|n| n % 10 != 0).any(|n| {
        let key = format!("{n}").into_bytes();
        // The reserve is given up by a thread of its own: one refusal says nothing.
        (0..100).all(|_| {
            let is_refused = trace.del(&key).is_err();
            if is_refused {
                thread::sleep(Duration::from_millis(5));
            }
            is_refused
        })
    });
    assert!(is_used_up, "the reserve must be used up");
    trace.rig.advance(2_000);
    assert!(trace.rig.engine.reaper().tick().is_err());
    assert_eq!(trace.rig.get(b"10"), None);
    trace.rig.files.set_free_bytes(1 << 30);
    while trace.rig.engine.key_counts(DB).1 > 0 {
        patiently(|| trace.rig.engine.reaper().tick());
    }
    trace.rig.check_counters();
}

/// The cold tier has no space for a batch. Its entries must not count as on their way for ever:
/// the next round would skip them, and let go of the log that alone holds them.
#[test]
fn a_batch_that_found_no_space_is_sent_again() {
    let mut trace = Trace::new(Rig::new());
    trace.set(b"small", b"value", None).unwrap();
    trace.set(b"paged", &vec![b'p'; 1_200_000], None).unwrap();
    trace.rig.cold.fail_next(Operation::Write, Error::NoSpace { what: "the cold tier" });
    assert!(matches!(trace.checkpoint(), Err(Error::NoSpace { .. })));
    assert!(trace.rig.engine.wal().latched().is_none());
    trace.append(b"small", b", edited").unwrap();
    trace.checkpoint().expect("there is space again");
    trace.checkpoint().unwrap();
    trace.check_crashes(1).unwrap();
    trace.evict().unwrap();
    let contents = crate::trace::contents(&trace.rig).unwrap();
    assert!(contents == trace.map);
    trace.kill_and_check().unwrap();
}

/// A disk that is too full even for the drops of what FLUSHALL left: no database may be forgotten, or its
/// rows would take the space until a restart.
#[test]
fn a_drop_that_found_no_space_is_tried_again() {
    let rig = Rig::new();
    for db in [DB, DbIndex(1)] {
        for n in 0..50u32 {
            let key = n.to_be_bytes();
            let outcome = rig.run(db, &[&key], Mode::Keys, |txn| {
                txn.put_string(&key, body(b"value"), Some(ExpireAt(rig.now_ms() + 1_000_000)), false)
            });
            outcome.expect("commits");
        }
    }
    rig.checkpoint();
    rig.flush_db(DB);
    rig.flush_db(DbIndex(1));
    let rows = || (rig.cold.row_count(Family::Keys), rig.cold.row_count(Family::Expires));
    assert_eq!(rows(), (100, 100));
    // After the flush of a round come the drops: each round does one of four and then finds no space.
    let cold = rig.cold.clone();
    let skips = Arc::new(AtomicUsize::new(0));
    let fill = {
        let cold = cold.clone();
        move || cold.fail_next(Operation::Write, Error::NoSpace { what: "the cold tier" })
    };
    cold.set_hooks(MemoryHooks { before_flush: Some(Arc::new(fill)), ..MemoryHooks::default() });
    for _ in 0..2 {
        assert!(matches!(rig.engine.checkpoint(), Err(Error::NoSpace { .. })));
        assert_eq!(rows(), (100, 100));
    }
    let fill_later = {
        let (cold, skips) = (cold.clone(), Arc::clone(&skips));
        move || {
            if cold.row_count(Family::Keys) == 50 && skips.fetch_add(1, Ordering::SeqCst) == 0 {
                cold.fail_next(Operation::Write, Error::NoSpace { what: "the cold tier" });
            }
        }
    };
    cold.set_hooks(MemoryHooks { before_cursor: Some(Arc::new(fill_later)), ..MemoryHooks::default() });
    assert!(matches!(rig.engine.checkpoint(), Err(Error::NoSpace { .. })));
    assert_eq!(rows(), (50, 100), "the drops of one database were half done");
    cold.set_hooks(MemoryHooks::default());
    rig.checkpoint();
    assert_eq!(rows(), (0, 0));
}

/// A long tail is replayed with a megabyte of memory: replay writes back and evicts as it goes,
/// and edits of keys that it has just evicted find their base.
#[test]
fn replay_under_a_tiny_budget() {
    let options = Options { maxmemory: 1 << 20, segment_bytes: 1 << 20, ..Options::default() };
    let mut rng = SimRng::new(3);
    let mut trace = Trace::new(Rig::with(Options { maxmemory: 64 << 20, ..options }));
    trace.keep_last_state_only();
    for n in 0..12_000u64 {
        let key = format!("key {}", rng.below(6_000)).into_bytes();
        let outcome = match n % 8 {
            0 => trace.del(&key).map(|_| ()),
            1 => trace.append(&key, b"+edit"),
            2 => trace.expire_at(&key, Some(trace.rig.now_ms() + 500_000 + n)),
            _ => trace.set(&key, &[b'v'; 300], None),
        };
        outcome.unwrap();
    }
    trace.rig.options = options;
    let (rig, past) = trace.split();
    let past = past.acknowledge_all();
    let rig = rig.kill();
    let (bytes, _) = rig.engine.store().hot_bytes();
    assert!(bytes < 1 << 20, "{bytes} bytes after the replay");
    // Not the count of unflushed batches: the keeper may have run a round by now.
    let written = rig.engine.store().stats.written_back.load(std::sync::atomic::Ordering::Relaxed);
    assert!(written > 0, "replay wrote back");
    past.check(rig).unwrap();
}
