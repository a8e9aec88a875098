//! What a log's tail may do to the next start: changes that wait for their rows, in bounded memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use lux_engine::tier::memory::MemoryHooks;

use crate::rig::{DB, Options, Rig};
use crate::trace::{Past, Trace};

const SMALL: Options = Options {
    maxmemory: 1 << 20,
    failpoints: 0,
    fsync: lux_engine::wal::FsyncPolicy::No,
    segment_bytes: 1 << 20,
};

/// A store with much memory, whose next start has little.
fn roomy() -> Trace {
    let mut trace = Trace::new(Rig::with(Options { maxmemory: 64 << 20, ..SMALL }));
    trace.keep_last_state_only();
    trace
}

fn restart_small(mut trace: Trace) -> (Rig, Past) {
    trace.rig.options = SMALL;
    let (rig, past) = trace.split();
    (rig.kill(), past.acknowledge_all())
}

/// The most that memory held whenever the cold tier was written to.
fn watch_peak(rig: &Rig) -> Arc<AtomicUsize> {
    let peak = Arc::new(AtomicUsize::new(0));
    let (store, seen) = (Arc::clone(rig.engine.store()), Arc::clone(&peak));
    let look = move || {
        seen.fetch_max(store.hot_bytes().0, Ordering::Relaxed);
    };
    rig.cold.set_hooks(MemoryHooks { before_write: Some(Arc::new(look)), ..MemoryHooks::default() });
    peak
}

fn limit(rig: &Rig) -> usize {
    rig.engine.store().hot_limit.load(Ordering::Relaxed)
}

/// The tail changes thousands of cold keys. Neither what waits for rows nor the rows themselves may
/// fill memory, while the log is replayed or in the first round.
#[test]
fn a_tail_of_changes_to_cold_rows_stays_within_memory() {
    let mut trace = roomy();
    let keys: Vec<Vec<u8>> = (0..6_000).map(|n| format!("key {n}").into_bytes()).collect();
    for key in &keys {
        trace.set(key, &[b'v'; 300], None).unwrap();
    }
    trace.checkpoint().unwrap();
    trace.evict().unwrap();
    let at = trace.rig.now_ms() + 500_000;
    for (n, key) in keys.iter().enumerate() {
        match n % 3 {
            0 => trace.append(key, b"+edit").unwrap(),
            1 => trace.expire_at(key, Some(at + n as u64)).unwrap(),
            _ => trace.set_range(key, 5, b"edit").unwrap(),
        }
        if n % 7 == 0 {
            trace.append(key, b"+more").unwrap();
        }
        if n % 50 == 0 {
            trace.del(key).unwrap();
        }
    }
    // Some rows are newer than the tail's first changes.
    trace.rig.engine.evict(DB, Box::new(|key| key.ends_with(b"3"))).unwrap();
    for key in keys.iter().filter(|key| key.ends_with(b"3")) {
        trace.append(key, b"+last").unwrap();
    }
    let (rig, past) = restart_small(trace);
    let bytes = rig.engine.store().hot_bytes().0;
    assert!(bytes <= limit(&rig), "{bytes} bytes after the replay");
    rig.check_bytes();
    let peak = watch_peak(&rig);
    rig.checkpoint();
    let peak = peak.load(Ordering::Relaxed);
    assert!(peak <= limit(&rig) / 8 * 9, "{peak} bytes in the first round");
    rig.check_counters();
    past.check(rig).unwrap();
}

/// The tail is short but its rows are not: long strings with an edit each come one at a time, for a
/// round, for a snapshot and for whatever else needs them all.
#[test]
fn long_strings_with_an_edit_each_come_one_at_a_time() {
    for what in ["round", "snapshot", "evict"] {
        let mut trace = roomy();
        for n in 0..8u8 {
            trace.set(format!("bitmap {n}").as_bytes(), &vec![n; 1_300_000], None).unwrap();
        }
        trace.checkpoint().unwrap();
        trace.evict().unwrap();
        for n in 0..8u8 {
            trace.set_range(format!("bitmap {n}").as_bytes(), 70_000 * usize::from(n), b"edit").unwrap();
        }
        let (rig, past) = restart_small(trace);
        let peak = watch_peak(&rig);
        match what {
            "round" => rig.checkpoint(),
            "evict" => rig.evict_all(),
            _ => drop(rig.engine.snapshot(lux_engine::snapshot::Detail::Values).unwrap()),
        }
        let peak = peak.load(Ordering::Relaxed);
        assert!(peak < 2_600_000, "{peak} bytes ({what})");
        rig.check_counters();
        past.check(rig).unwrap();
    }
}

/// A deadline that is pushed ahead with each use takes no memory for each, and applies to whichever
/// of its states the row has.
#[test]
fn changes_of_one_deadline_are_merged() {
    for (written, edits) in [(0, false), (1, false), (7, false), (7, true), (499, true)] {
        let mut trace = roomy();
        trace.set(b"key", b"value", None).unwrap();
        trace.set(b"neighbour", b"cold", None).unwrap();
        trace.checkpoint().unwrap();
        trace.evict().unwrap();
        let at = trace.rig.now_ms() + 1_000_000;
        for n in 0..500 {
            if n == written {
                trace.evict().unwrap();
            }
            trace.expire_at(b"key", (n != 480).then_some(at + n)).unwrap();
            if edits && n % 100 == 7 {
                trace.append(b"key", b"+").unwrap();
            }
        }
        let (rig, past) = restart_small(trace);
        let bytes = rig.engine.store().hot_bytes().0;
        assert!(bytes < 3_000, "{bytes} bytes for one key");
        let trace = past.check(rig).unwrap();
        trace.checkpoint().unwrap();
        trace.kill_and_check().unwrap();
    }
}

/// More is edited than the string is long: memory's sums stay right when the edits are made.
#[test]
fn edits_that_weigh_more_than_their_string() {
    let mut trace = roomy();
    trace.set(b"bitmap", &vec![b'.'; 1_100_000], None).unwrap();
    trace.checkpoint().unwrap();
    trace.evict().unwrap();
    for n in 0..40_000 {
        trace.set_range(b"bitmap", n * 27, b"!").unwrap();
    }
    trace.rig.options = Options { maxmemory: 64 << 20, ..SMALL };
    let (rig, past) = trace.split();
    let (rig, past) = (rig.kill(), past.acknowledge_all());
    rig.check_bytes();
    assert!(rig.engine.store().hot_bytes().0 > 1_100_000, "the edits wait");
    assert!(rig.get(b"bitmap").is_some());
    rig.check_bytes();
    past.check(rig).unwrap();
}
