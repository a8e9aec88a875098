//! RENAME of large values: nothing of them is logged or read, and wherever the power goes, one of the two keys has
//! the value, whole.

use std::sync::Arc;

use lux_engine::env::sim::SimRng;
use lux_engine::tier::Family;
use lux_engine::txn::Mode;
use lux_engine::value::TypeTag;
use lux_engine::value::list::{End, ListValue};

use crate::rig::{DB, Options, Rig};
use crate::trace::Trace;

const MIB: usize = 1 << 20;

/// Bytes that the log grows by.
fn logged(rig: &Rig, action: impl FnOnce()) -> u64 {
    let before = rig.engine.wal().bytes_total();
    action();
    rig.engine.wal().bytes_total() - before
}

/// A list of 12 MB.
fn push_many(rig: &Rig, key: &[u8]) {
    for n in 0..12u8 {
        let elements: Vec<Vec<u8>> = (0..10_000u32).map(|at| format!("{n} {at:0>95}").into_bytes()).collect();
        let outcome = rig.run(DB, &[key], Mode::Keys, |txn| {
            let list = match txn.lookup(key)? {
                Some(found) => list_of(found.value).clone(),
                None => ListValue::default(),
            };
            let (mut edit, limits) = (Vec::new(), lux_engine::value::list::ListLimits::default());
            list.plan_push(End::Back, elements.iter().map(|element| &element[..]), limits, &mut edit);
            txn.edit_collection(key, TypeTag::List, &edit)
        });
        outcome.expect("commits");
    }
}

fn list_of(value: lux_engine::txn::ValueRef<'_>) -> &ListValue {
    match value {
        lux_engine::txn::ValueRef::Collection(lux_engine::value::collection::Collection::List(list)) => list,
        other => panic!("not a list: {other:?}"),
    }
}

fn len(rig: &Rig, key: &[u8]) -> Option<u64> {
    let read =
        |txn: &mut lux_engine::txn::Txn<'_>| Ok(txn.lookup(key)?.map(|found| list_of(found.value).len()));
    rig.run(DB, &[key], Mode::Keys, read).expect("reads").0
}

#[test]
fn a_rename_logs_no_body_and_reads_none() {
    let rig = Rig::with(Options { maxmemory: 256 << 20, segment_bytes: 16 << 20, ..Options::default() });
    let text: Vec<u8> = (0..12 * MIB).map(|at| (at / 1000) as u8).collect();
    rig.set_until(b"text", &text, Some(rig.now_ms() + 1_000_000_000));
    push_many(&rig, b"list");
    assert_eq!(len(&rig, b"list"), Some(120_000));
    let mut names: [Vec<u8>; 2] = [b"text".to_vec(), b"list".to_vec()];
    for lap in 0..6 {
        for name in &mut names {
            let next = [&name[..], b"'"].concat();
            let fetched = rig.engine.store().stats.promoted.load(std::sync::atomic::Ordering::Relaxed);
            let before = rig.engine.store().hot_bytes().0;
            let grown = logged(&rig, || assert!(rig.rename(name, &next)));
            assert!(grown < 1024, "lap {lap}: {grown} bytes were logged");
            let after = rig.engine.store().stats.promoted.load(std::sync::atomic::Ordering::Relaxed);
            assert!(after <= fetched + 1, "its row at most");
            assert!(rig.engine.store().hot_bytes().0 < before + (64 << 10), "its elements were not loaded");
            *name = next;
        }
        match lap {
            0 => rig.checkpoint(),
            1 | 2 => rig.evict_all(),
            3 => push_many(&rig, &names[1]),
            _ => {}
        }
    }
    let rig = rig.kill();
    assert_eq!(rig.get(&names[0]), Some(text));
    assert!(rig.deadline(&names[0]).is_some());
    assert_eq!(len(&rig, &names[1]), Some(240_000));
    rig.check_counters();
    names.iter().for_each(|name| assert!(rig.del(name)));
    (0..3).for_each(|_| rig.checkpoint());
    assert_eq!(rig.cold.row_count(Family::Elements), 0, "nothing is left over");
}

/// One random operation on values of which many are large.
fn step(trace: &mut Trace, rng: &mut SimRng) {
    let name = |n: u64| format!("key:{n}").into_bytes();
    let (key, other) = (name(rng.below(4)), name(rng.below(4)));
    let now = trace.rig.now_ms();
    let outcome = match rng.below(32) {
        0..=3 => {
            let len = [20, 3_000, 3_000, MIB + 5][rng.below(4) as usize];
            let deadline = (rng.below(3) == 0).then(|| now + 1 + rng.below(400_000_000));
            trace.set(&key, &vec![b'a' + rng.below(20) as u8; len], deadline)
        }
        4..=5 => trace.del(&key).map(|_| ()),
        6..=8 => trace.append(&key, &vec![b'+'; 1 + rng.below(3_000) as usize]),
        9..=11 => trace.set_range(&key, rng.below(1_000) as usize, b"in the middle"),
        12..=13 => trace.expire_at(&key, (rng.below(3) > 0).then(|| now + 1 + rng.below(400_000_000))),
        14..=23 => trace.rename(&key, &other),
        24..=25 => trace.checkpoint(),
        26..=29 => trace.evict(),
        30 => trace.flush_db(),
        _ => trace.sync(),
    };
    outcome.expect("nothing fails here");
}

#[test]
fn values_that_move_survive_every_cut() {
    for seed in 0..12 {
        let mut rng = SimRng::new(seed);
        let mut trace = Trace::new(Rig::with(Options { maxmemory: 32 << 20, ..Options::default() }));
        for _ in 0..4 {
            (0..9).for_each(|_| step(&mut trace, &mut rng));
            trace.check_crashes(seed).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        }
    }
}

/// With so little memory that replay itself writes back and evicts, and is cut off there, again and again.
#[test]
fn values_that_move_survive_crashes_during_recovery() {
    let options = Options { maxmemory: 1 << 20, ..Options::default() };
    for seed in 0..10 {
        let mut rng = SimRng::new(seed);
        let mut trace = Trace::new(Rig::with(options));
        trace.keep_last_state_only();
        for n in 0..600 {
            trace.set(format!("fill {n}").as_bytes(), &[b'f'; 400], None).unwrap();
            if n % 10 == 0 {
                step(&mut trace, &mut rng);
            }
        }
        trace.sync().unwrap();
        let (rig, past) = trace.split();
        let past = past.acknowledge_all();
        rig.engine.stop();
        let mut files = rig.files.crash(&mut rng);
        let mut cold = rig.cold.crash(rng.below(rig.cold.pending_batches() as u64 + 1) as usize);
        for sync in 1..8 {
            files.power_off_after_sync(sync);
            if let Ok(opened) = Rig::open(files.clone(), Arc::clone(&rig.clock), cold.clone(), options) {
                opened.engine.stop();
            }
            files = files.crash(&mut rng);
            cold = cold.crash(rng.below(cold.pending_batches() as u64 + 1) as usize);
        }
        let opened = Rig::open(files, Arc::clone(&rig.clock), cold, options);
        let opened = opened.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        past.check(opened).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    }
}
