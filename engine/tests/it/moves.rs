//! RENAME of large values: nothing of them is logged or read, and wherever the power goes, one of the two keys has
//! the value, whole.

use std::sync::Arc;

use lux_engine::Result;
use lux_engine::env::sim::SimRng;
use lux_engine::ids::DbIndex;
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
        6 => trace.push(&key, &vec![b'e'; [40, 2_000, 700_000][rng.below(3) as usize]]),
        7..=8 => trace.append(&key, &vec![b'+'; 1 + rng.below(3_000) as usize]),
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

const MANY: [&[u8]; 3] = [b"x", b"a", b"b"];

/// Makes a value: of the kind asked for, and as hot or cold.
fn make(trace: &mut Trace, key: &[u8], kind: usize, is_cold: bool) -> Result<()> {
    let deadline = trace.rig.now_ms() + 400_000_000;
    match kind {
        0 => trace.set(key, &[b's'; 3_000], None)?,
        1 => trace.set(key, &vec![b'l'; MIB + 5], Some(deadline))?,
        2 => (0..3).try_for_each(|_| trace.push(key, &vec![b'e'; 500_000]))?,
        _ => {}
    }
    if is_cold {
        trace.checkpoint()?;
        trace.evict()?;
    }
    Ok(())
}

/// What may follow a chain of renames.
fn follow(trace: &mut Trace, which: usize, end: &[u8]) {
    let outcome = match which {
        0 => trace.append(end, b"more").and_then(|()| trace.push(end, b"more")),
        1 => trace.set_range(end, 1_000, b"in the middle"),
        2 => trace.del(end).map(drop),
        // The source again: small, or by another move.
        3 => trace.set(b"x", b"small", None),
        4 => trace.set(b"y", &[b'y'; 2_000], None).and_then(|()| trace.rename(b"y", b"x")),
        5 => trace.set(end, b"small", None),
        6 => trace.expire_at(end, Some(trace.rig.now_ms() + 300_000_000)),
        7 => trace.flush_db(),
        _ => Ok(()),
    };
    outcome.expect("nothing fails here");
}

/// Every kind of source and target, every chain, and what follows it: all cuts of the write-back.
#[test]
fn chains_of_renames_survive_every_cut() {
    let chains: [&[usize]; 5] = [&[0, 1], &[0, 1, 2], &[0, 1, 0], &[0, 1, 2, 0], &[0, 1, 2, 1]];
    let mut seed = 0;
    for (kind, is_cold) in [(0, false), (0, true), (1, true), (2, false), (2, true)] {
        for (target, chain) in [3, 0, 1].into_iter().flat_map(|target| chains.map(|chain| (target, chain))) {
            for then in 0..9 {
                seed += 1;
                // All of them take minutes; of the longest values some do.
                if seed % [2, 8, 8][kind] != 1 {
                    continue;
                }
                let mut trace = Trace::new(Rig::with(Options { maxmemory: 64 << 20, ..Options::default() }));
                make(&mut trace, b"a", target, seed % 4 == 1).unwrap();
                make(&mut trace, b"x", kind, is_cold).unwrap();
                for pair in chain.windows(2) {
                    trace.rename(MANY[pair[0]], MANY[pair[1]]).unwrap();
                }
                if seed % 3 == 1 {
                    // The log is durable up to the renames, and perhaps no further.
                    trace.sync().unwrap();
                }
                follow(&mut trace, then, MANY[chain[chain.len() - 1]]);
                if seed % 5 == 1 { trace.checkpoint() } else { trace.evict() }.unwrap();
                let checked = trace.check_crashes(seed);
                checked.unwrap_or_else(|error| panic!("{kind} {is_cold} {target} {chain:?} {then}: {error}"));
            }
        }
    }
}

/// The story: the target was deleted and never had a row, so that the batch which deleted the source's row did not
/// wait for the log of that deletion. The power went: the log ended with the value in a key that no row was of.
#[test]
fn a_batch_that_moves_waits_for_the_log_of_what_followed() {
    let rig = Rig::new();
    rig.set(b"x", &[b'v'; 5_000]);
    rig.checkpoint();
    assert!(rig.rename(b"x", b"a"));
    rig.sync();
    assert!(rig.del(b"a"));
    rig.evict_all();
    let keep = rig.cold.pending_batches();
    let rig = rig.power_cut_keeping(&mut SimRng::new(1), keep).expect("opens");
    assert_eq!(
        (rig.get(b"x"), rig.get(b"a")),
        (None, None),
        "the row of `x` is gone: so the deletion is durable"
    );
    rig.checkpoint();
    rig.check_counters();
}

/// A value of which logged changes wait for their row since the replay: whoever resolves them walks shard by shard.
#[test]
fn what_waits_since_the_replay_can_be_renamed() {
    let large = vec![b'l'; 3 * MIB];
    for value in [&large[..], &[b's'; 5_000]] {
        let rig = Rig::with(Options { maxmemory: 16 << 20, ..Options::default() });
        rig.set(b"x", value);
        rig.checkpoint();
        rig.append(b"x", b"tail");
        let rig = rig.kill();
        assert!(rig.rename(b"x", b"a") && rig.rename(b"a", b"b"));
        rig.checkpoint();
        let rig = rig.kill();
        assert_eq!(rig.get(b"b"), Some([value, b"tail"].concat()));
        assert_eq!((rig.get(b"x"), rig.get(b"a")), (None, None));
        rig.check_counters();
    }
}

#[test]
fn what_moved_stays_in_its_database() {
    const OTHER: DbIndex = DbIndex(1);
    for (is_cold, is_killed) in [(false, false), (false, true), (true, false), (true, true)] {
        let rig = Rig::new();
        rig.set(b"x", &[b'v'; 5_000]);
        if is_cold {
            rig.evict_all();
        }
        assert!(rig.rename(b"x", b"a"));
        rig.swap_db(DB, OTHER);
        rig.set(b"x", b"another");
        rig.evict_all();
        let rig = if is_killed { rig.kill() } else { rig.restart() };
        assert_eq!((rig.get(b"a"), rig.get(b"x").as_deref()), (None, Some(&b"another"[..])));
        rig.flush_db(DB);
        rig.swap_db(DB, OTHER);
        assert_eq!((rig.get(b"a"), rig.get(b"x")), (Some(vec![b'v'; 5_000]), None));
        assert!(rig.rename(b"a", b"x"));
        rig.flush_db(DB);
        (0..3).for_each(|_| rig.checkpoint());
        assert_eq!((rig.get(b"a"), rig.get(b"x")), (None, None));
        assert_eq!(rig.cold.row_count(Family::Keys), 0);
        rig.check_counters();
    }
}

/// Values that are built under one name and renamed all hang together by that name.
#[test]
fn many_renames_from_one_name_are_written_a_few_at_a_time() {
    let rig = Rig::new();
    for n in 0..1_000 {
        rig.set(b"temporary", &[b'v'; 2_000]);
        assert!(rig.rename(b"temporary", format!("final {n}").as_bytes()));
        if n == 500 {
            rig.checkpoint();
        }
    }
    // The keeper looks at it by itself.
    while rig.engine.store().tie_count() > 200 {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    let rig = rig.kill();
    assert_eq!(rig.engine.key_counts(DB).0, 1_000);
    assert_eq!(rig.get(b"final 999"), Some(vec![b'v'; 2_000]));
    rig.check_counters();
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
