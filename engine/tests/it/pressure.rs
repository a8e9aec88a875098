//! Write-back under pressure: a full disk, large entries, a long tail, what is not durable yet.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use lux_engine::Error;
use lux_engine::checkpoint::keeper::Pressure;
use lux_engine::ids::{Lsn, ShardId};
use lux_engine::tier::memory::{Gate, MemoryHooks, Operation};
use lux_engine::tier::spill::{SpillBatch, Which};

use crate::rig::{DB, Options, Rig};

/// Waits for something that another thread does.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < Duration::from_secs(20), "never {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// Large entries that lie together go in several batches: one batch is copied under one lock.
#[test]
fn a_batch_ends_with_the_entry_that_fills_it() {
    let rig = Rig::new();
    let store = rig.engine.store();
    let mut keys = (0..).map(|n| format!("key {n}").into_bytes());
    for key in keys.by_ref().filter(|key| store.hasher.hash(key).shard == ShardId(7)).take(12) {
        rig.set(&key, &vec![b'v'; 900_000]);
    }
    rig.sync();
    let (mut from, mut batches, mut highest) = (Some(0), 0, Lsn(0));
    while let Some(bucket) = from {
        let mut batch = SpillBatch::default();
        from = store.collect(ShardId(7), store.db_id(DB), bucket, Which::All, &mut batch);
        assert!(batch.bytes() < 2_000_000, "a batch of {} bytes", batch.bytes());
        batches += u32::from(!batch.is_empty());
        store.write_batch(&mut batch, &mut highest).expect("writes");
    }
    assert_eq!(batches, 6);
    assert_eq!(store.shard(ShardId(7)).lock().dirty_bytes, 0, "all were written");
    rig.check_bytes();
}

/// The cold tier has no space. What is clean leaves memory all the same, and the keeper does not try
/// again and again.
#[test]
fn a_full_cold_tier_does_not_keep_clean_entries_nor_spin() {
    let rig = Rig::with(Options { maxmemory: 1 << 20, ..Options::default() });
    let limit = rig.engine.store().hot_limit.load(Ordering::Relaxed);
    for n in 0..800 {
        rig.set(format!("clean {n}").as_bytes(), &[b'c'; 500]);
    }
    rig.checkpoint();
    let tries = Arc::new(AtomicUsize::new(0));
    let (cold, seen) = (rig.cold.clone(), Arc::clone(&tries));
    let fail = move || {
        seen.fetch_add(1, Ordering::SeqCst);
        cold.fail_next(Operation::Write, Error::NoSpace { what: "the cold tier" });
    };
    rig.cold.set_hooks(MemoryHooks { before_write: Some(Arc::new(fail)), ..MemoryHooks::default() });
    let store = rig.engine.store();
    for n in 0..300 {
        rig.set(format!("dirty {n}").as_bytes(), &[b'd'; 500]);
    }
    // Other uses of memory grow, and nobody writes: only the keeper can make room.
    let limit = limit / 2;
    store.hot_limit.store(limit, Ordering::Relaxed);
    store.relieve(&mut store.shard(ShardId(7)).lock());
    let before = tries.load(Ordering::SeqCst);
    until("within the limit", || store.hot_bytes().0 <= limit);
    thread::sleep(Duration::from_millis(1_000));
    let tries = tries.load(Ordering::SeqCst) - before;
    assert!(tries < 30, "{tries} attempts within a second or so");
    assert!(rig.engine.wal().latched().is_none());
}

/// Flushing a database walks none of its entries. Their memory counts until it is free, and the governor
/// frees it, a part at a time, also while the keeper is busy with a round.
#[test]
fn a_flushed_database_leaves_memory_during_a_round() {
    let rig = Rig::new();
    for n in 0..50_000 {
        rig.set(format!("key {n}").as_bytes(), &[b'v'; 100]);
    }
    let (before, _) = rig.engine.store().hot_bytes();
    let gate = Gate::closed();
    rig.cold.set_hooks(MemoryHooks { before_write: Some(gate.hook()), ..MemoryHooks::default() });
    let round = rig.engine.request_checkpoint();
    gate.wait_for_arrivals(1);
    rig.flush_db(DB);
    let (flushed, _) = rig.engine.store().hot_bytes();
    let left = [(); 4].map(|()| {
        rig.engine.keeper().govern();
        rig.engine.store().hot_bytes().0
    });
    gate.open();
    assert!(flushed >= before, "{flushed} of {before} bytes: it is not free yet");
    assert!(left[0] > 0 && left.is_sorted_by(|a, b| a >= b) && left[3] == 0, "{left:?}");
    round.wait().expect("a round");
    rig.set(b"new", b"value");
    rig.check_counters();
    rig.kill().check_counters();
}

/// In no mode may much of the hot tier be dirty and not durable: it could not be evicted.
#[test]
fn much_that_is_not_durable_is_synced_in_every_mode() {
    let rig = Rig::with(Options { maxmemory: 16 << 20, segment_bytes: 4 << 20, ..Options::default() });
    let limit = rig.engine.store().hot_limit.load(Ordering::Relaxed);
    let mut written = 0;
    while written < limit / 32 {
        rig.set(format!("key {written}").as_bytes(), &[b'v'; 1_000]);
        written += 1_000;
    }
    rig.engine.keeper().govern();
    thread::sleep(Duration::from_millis(50));
    assert_eq!(rig.engine.wal().durable_lsn(), Lsn(0), "not for so little");
    // The same key again and again is little, however long the log becomes.
    for _ in 0..1_000 {
        rig.set(b"hot", &[b'v'; 1_000]);
    }
    rig.engine.keeper().govern();
    thread::sleep(Duration::from_millis(50));
    assert_eq!(rig.engine.wal().durable_lsn(), Lsn(0), "not for one key");
    while written < limit / 8 {
        rig.set(format!("key {written}").as_bytes(), &[b'v'; 1_000]);
        written += 1_000;
    }
    let last = rig.engine.wal().last_lsn();
    rig.engine.keeper().govern();
    until("durable", || rig.engine.wal().durable_lsn() >= last);
}

/// The cold tier stands still and the log grows: writers are slowed down, then held, before the log is
/// longer than it may be; a round sets them free.
#[test]
fn a_tail_that_no_round_shortens_holds_writers() {
    let rig = Rig::with(Options { maxmemory: 32 << 20, segment_bytes: 4 << 20, ..Options::default() });
    let max = rig.engine.keeper().redo_max.load(Ordering::Relaxed);
    assert_eq!(max, 16 << 20);
    let gate = Gate::closed();
    rig.cold.set_hooks(MemoryHooks { before_write: Some(gate.hook()), ..MemoryHooks::default() });
    let (mut delays, mut written) = (0, 0u64);
    loop {
        rig.engine.keeper().govern();
        match rig.engine.pressure() {
            Pressure::None => assert_eq!(delays, 0, "the brake is not let go at {written}"),
            Pressure::Delay(_) => delays += 1,
            other => break assert_eq!(other, Pressure::Hold),
        }
        // The same keys: memory has room, only the log grows.
        (0..10).for_each(|n| rig.set(format!("key {n}").as_bytes(), &[b'v'; 10_000]));
        written += 100_000;
        assert!(written < max + (1 << 20), "nobody is held");
    }
    assert!(delays > 10, "slowed down before being held");
    gate.open();
    rig.checkpoint();
    rig.checkpoint();
    rig.engine.keeper().govern();
    assert_eq!(rig.engine.pressure(), Pressure::None);
}
