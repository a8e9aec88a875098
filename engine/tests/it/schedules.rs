//! The schedules that break naive versions of this design, each pinned by name.
//!
//! Most run a short history, take an image of files and rows at every step that a crash could
//! come between, and check that each image opens to a state that was.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;

use lux_engine::Engine;
use lux_engine::env::sim::SimRng;
use lux_engine::ids::{DbIndex, ExpireAt};
use lux_engine::tier::Family;
use lux_engine::tier::memory::{Gate, MemoryHooks};
use lux_engine::txn::{Mode, Scratch, Wait};
use lux_engine::wal::effect::Operation;

use crate::rig::{DB, Options, Rig, body, rename_in, run, text};
use crate::trace::{Images, Trace};

fn new_trace() -> Trace {
    Trace::new(Rig::new())
}

fn set(engine: &Engine, db: DbIndex, key: &[u8], value: &[u8]) {
    let outcome = run(engine, db, &[key], Mode::Keys, |txn| txn.put_string(key, body(value), None, false));
    outcome.expect("commits");
}

fn del(engine: &Engine, key: &[u8]) {
    run(engine, DB, &[key], Mode::Keys, |txn| txn.delete(key)).expect("commits");
}

fn rename(engine: &Engine, from: &[u8], to: &[u8]) {
    let outcome = run(engine, DB, &[from, to], Mode::Keys, |txn| rename_in(txn, from, to));
    outcome.expect("commits");
}

fn flush(engine: &Engine, db: DbIndex) {
    let outcome = run(engine, db, &[], Mode::All, |txn| {
        txn.set_operation(Operation::FlushDb);
        txn.flush(&[db]);
        Ok(())
    });
    outcome.expect("commits");
}

fn swap(engine: &Engine, a: u8, b: u8) {
    let outcome = run(engine, DB, &[], Mode::All, |txn| {
        txn.set_operation(Operation::SwapDb);
        txn.swap(DbIndex(a), DbIndex(b));
        Ok(())
    });
    outcome.expect("commits");
}

fn get(engine: &Engine, db: u8, key: &[u8]) -> Option<Vec<u8>> {
    let outcome = run(engine, DbIndex(db), &[key], Mode::Keys, |txn| {
        Ok(txn.lookup(key)?.map(|found| text(found.value)))
    });
    outcome.expect("reads").0
}

/// A value of which two do not fit one batch of the cold tier.
fn large(byte: u8) -> Vec<u8> {
    vec![byte; 700_000]
}

/// APPEND and EXPIRE of a cold key in one commit. Replay queues both on the key, with the same
/// base; the second meets the first's LSN when the base arrives. A guard that asks each effect
/// on its own drops the second.
#[test]
fn two_effects_on_one_record_in_one_commit() {
    let mut trace = new_trace();
    let at = trace.rig.now_ms() + 500_000;
    trace.set(b"key", b"cold", None).unwrap();
    trace.checkpoint().unwrap();
    trace.evict().unwrap();
    let change = |txn: &mut lux_engine::txn::Txn<'_>| {
        txn.lookup(b"key")?;
        txn.append(b"key", b"+hot")?;
        txn.set_deadline(b"key", Some(ExpireAt(at)))
    };
    trace
        .command(&[b"key"], Mode::Keys, change, |map| {
            map.insert(b"key".to_vec(), (b"cold+hot".to_vec(), Some(at)));
        })
        .unwrap();
    trace.check_crashes(1).unwrap();
    // The row has the commit's LSN now, the log still has the commit.
    trace.evict().unwrap();
    trace.check_crashes(2).unwrap();
    let trace = trace.kill_and_check().unwrap().kill_and_check().unwrap();
    trace.checkpoint().unwrap();
    trace.kill_and_check().unwrap();
}

/// A key is checkpointed, edited and deleted, and the deletion reaches the cold tier. Replay
/// meets the edit first and finds no base: legal, because the deletion follows. Then the key is
/// made anew and edited: these edits must find their base.
#[test]
fn a_delta_whose_record_was_deleted_and_written_back() {
    let mut trace = new_trace();
    trace.set(b"key", b"old", None).unwrap();
    trace.checkpoint().unwrap();
    trace.append(b"key", b"er").unwrap();
    trace.expire_at(b"key", Some(trace.rig.now_ms() + 900_000)).unwrap();
    trace.del(b"key").unwrap();
    trace.evict().unwrap();
    assert_eq!(trace.rig.cold.row_count(Family::Keys), 0, "the row must be gone");
    trace.check_crashes(1).unwrap();
    trace.set(b"key", b"new", None).unwrap();
    trace.append(b"key", b"er").unwrap();
    trace.evict().unwrap();
    trace.append(b"key", b"!").unwrap();
    trace.check_crashes(2).unwrap();
    // Without a kill in between the same holds for a base that a flush took away.
    trace.flush_db().unwrap();
    trace.evict().unwrap();
    trace.check_crashes(3).unwrap();
}

/// RENAME of a large value: the deletion of the source reaches the cold tier in one batch and
/// the target in another, in either order, and the power goes between them.
#[test]
fn rename_with_source_flushed_and_target_not() {
    let mut trace = new_trace();
    for n in 0..4u8 {
        trace.set(format!("source {n}").as_bytes(), &large(b'a' + n), None).unwrap();
    }
    trace.checkpoint().unwrap();
    trace.evict().unwrap();
    for n in 0..4u8 {
        trace.rename(format!("source {n}").as_bytes(), format!("target {n}").as_bytes()).unwrap();
    }
    let images = Images::watch(&trace.rig, 4);
    trace.evict().unwrap();
    assert!(images.check(&trace).unwrap() >= 4, "several batches");
    trace.check_crashes(5).unwrap();
}

/// Delete, recreate, marker and eviction in every order: neither an old row nor an old record
/// may win over what came later.
#[test]
fn delete_recreate_and_marker_in_every_order() {
    for schedule in 0..4u32.pow(4) {
        let mut trace = new_trace();
        trace.set(b"key", b"first", None).unwrap();
        trace.set(b"neighbour", b"stays", None).unwrap();
        let images = Images::watch(&trace.rig, u64::from(schedule));
        let mut rest = schedule;
        for step in 0..4 {
            match rest % 4 {
                0 => drop(trace.del(b"key").unwrap()),
                1 => trace.set(b"key", format!("value {step}").as_bytes(), None).unwrap(),
                2 => trace.checkpoint().unwrap(),
                _ => trace.evict().unwrap(),
            }
            rest /= 4;
        }
        let outcome = images.check(&trace).and_then(|_| trace.kill_and_check());
        outcome.unwrap_or_else(|error| panic!("schedule {schedule}: {error}"));
    }
}

/// FLUSHALL right after a record that is not on the disk. The database's rows and its file must
/// stay until the flush itself is durable and marked; then everything goes.
#[test]
fn flushall_with_an_undurable_record() {
    let mut trace = new_trace();
    for n in 0..20 {
        trace.set(format!("cold {n}").as_bytes(), b"row", None).unwrap();
    }
    trace.checkpoint().unwrap();
    trace.evict().unwrap();
    trace.set(b"undurable", b"record", None).unwrap();
    trace.flush_db().unwrap();
    trace.check_crashes(1).unwrap();
    let images = Images::watch(&trace.rig, 2);
    trace.set(b"after", b"the flush", None).unwrap();
    trace.evict().unwrap();
    trace.checkpoint().unwrap();
    trace.checkpoint().unwrap();
    images.check(&trace).unwrap();
    assert_eq!(trace.rig.cold.row_count(Family::Keys), 1, "dead rows are dropped");
    trace.check_crashes(3).unwrap();
}

/// SWAPDB of three databases in a circle while a round runs. The marker names a map that is
/// newer than its redo LSN, and replay goes through the older ones once more: on the way a
/// database seems to have no number, and must not be taken for dead.
#[test]
fn swapdb_around_the_marker() {
    // Before the rows and before the marker are written.
    for at in 0..2 {
        let rig = Rig::new();
        for (db, value) in [(0, b"zero"), (1, b"one."), (2, b"two.")] {
            set(&rig.engine, DbIndex(db), b"key", value);
            set(&rig.engine, DbIndex(db), b"cold", value);
        }
        rig.checkpoint();
        set(&rig.engine, DB, b"key", b"zero");
        let images = Images::watch_and(&rig, 1, move |write, engine| {
            if write == at {
                swap(engine, 0, 1);
                swap(engine, 1, 2);
            }
        });
        rig.checkpoint();
        drop(images);
        rig.cold.set_hooks(MemoryHooks::default());
        let check = |rig: &Rig| {
            for (db, value) in [(0u8, b"one."), (1, b"two."), (2, b"zero")] {
                for key in [&b"key"[..], b"cold"] {
                    assert_eq!(get(&rig.engine, db, key).as_deref(), Some(&value[..]), "database {db}");
                }
            }
            rig.check_counters();
        };
        check(&rig);
        let rig = rig.kill();
        check(&rig);
        rig.checkpoint();
        rig.checkpoint();
        let rig = rig.kill();
        check(&rig);
    }
}

/// A database is swapped away and what takes its place flushed, in mid-round. In replay the
/// database made by the flush comes and goes; its rows must outlive the next rounds.
#[test]
fn flush_after_swap_around_the_marker() {
    let rig = Rig::new();
    set(&rig.engine, DB, b"old", b"0");
    set(&rig.engine, DbIndex(1), b"flushed", b"1");
    let images = Images::watch_and(&rig, 1, |write, engine| {
        if write == 0 {
            swap(engine, 0, 1);
            flush(engine, DB);
            set(engine, DB, b"new", b"born in mid-round");
        }
    });
    rig.checkpoint();
    drop(images);
    rig.cold.set_hooks(MemoryHooks::default());
    let mut rig = rig.kill();
    for _ in 0..3 {
        assert_eq!(rig.scan_all(), [b"new".to_vec()]);
        assert_eq!(get(&rig.engine, 1, b"old").as_deref(), Some(&b"0"[..]));
        rig.check_counters();
        rig.checkpoint();
        rig.evict_all();
        rig = rig.kill();
    }
}

/// Leaves a command unanswered so often that it reads under the locks, then runs it.
fn synchronously(rig: &Rig, key: &[u8], mut command: impl FnMut(&mut lux_engine::txn::Txn<'_>) -> bool) {
    let (mut scratch, keys) = (Scratch::default(), [key]);
    let mut waits: Vec<Wait> = Vec::new();
    loop {
        let mut txn = rig.engine.begin(&mut scratch, DB, &keys, Mode::Keys, rig.now_ms());
        if command(&mut txn) {
            assert!(txn.commit().is_ok());
            return;
        }
        waits.push(txn.abandon());
        assert!(waits.len() < 50, "a command must end");
    }
}

/// A fetch reads the old row and is held up. The key is deleted, the deletion written back, the
/// tombstone forgotten. Then the fetch arrives. The same for a fetch that found nothing while
/// the key was made, written back and evicted.
#[test]
fn a_fetch_racing_a_delete_that_was_written_back() {
    for was_there in [true, false] {
        let rig = Rig::new();
        for n in 0..500 {
            // Every shard has cold keys: a miss in memory proves nothing.
            rig.set(format!("neighbour {n}").as_bytes(), b"cold");
        }
        // Without a row now, but the filter of cold keys remembers it.
        rig.set(b"key", b"old");
        rig.evict_all();
        if !was_there {
            rig.del(b"key");
            rig.evict_all();
        }
        let gate = Gate::closed();
        rig.cold.set_hooks(MemoryHooks { after_get: Some(gate.hook()), ..MemoryHooks::default() });
        let ticket =
            rig.engine.prefetch(DB, std::iter::once(&b"key"[..])).expect("nothing is known in memory");
        gate.wait_for_arrivals(1);
        synchronously(&rig, b"key", |txn| match was_there {
            true => txn.delete(b"key").is_ok(),
            false => txn.put_string(b"key", body(b"new"), None, false).is_ok(),
        });
        rig.evict_all();
        gate.open();
        ticket.wait().expect("reads");
        drop(ticket);
        assert_eq!(rig.get(b"key").is_some(), !was_there);
        rig.check_counters();
        rig.evict_all();
    }
}

/// A fetch has the header of a paged string and is about to read its pages. Meanwhile the
/// string is replaced and its pages are dropped. The reader must see the new value, not an error.
#[test]
fn a_fetch_whose_pages_are_dropped_meanwhile() {
    let rig = Rig::new();
    rig.set(b"key", &vec![b'p'; 2 << 20]);
    rig.set(b"neighbour", b"cold");
    rig.evict_all();
    let gate = Gate::closed();
    rig.cold.set_hooks(MemoryHooks { after_get: Some(gate.hook()), ..MemoryHooks::default() });
    let ticket = rig.engine.prefetch(DB, std::iter::once(&b"key"[..])).expect("is cold");
    gate.wait_for_arrivals(1);
    synchronously(&rig, b"key", |txn| txn.put_string(b"key", body(b"small"), None, false).is_ok());
    rig.checkpoint();
    rig.checkpoint();
    assert_eq!(rig.cold.row_count(Family::Elements), 0, "the pages must be gone");
    gate.open();
    ticket.wait().expect("a replaced row is no damage");
    drop(ticket);
    assert_eq!(rig.get(b"key").as_deref(), Some(&b"small"[..]));
}

/// A round's batch is held up on its way while commands overwrite, edit, delete and fill memory
/// far beyond its limit. Nothing of the batch may be evicted or counted as clean too early.
#[test]
fn a_round_racing_the_evictor() {
    let options = Options { maxmemory: 1 << 20, ..Options::default() };
    let mut trace = Trace::new(Rig::with(options));
    for n in 0..200 {
        trace.set(format!("key {n}").as_bytes(), &[b'a'; 500], None).unwrap();
    }
    let gate = Gate::closed();
    trace.rig.cold.set_hooks(MemoryHooks { before_write: Some(gate.hook()), ..MemoryHooks::default() });
    let round = trace.rig.engine.request_checkpoint();
    gate.wait_for_arrivals(1);
    for n in 0..200 {
        let key = format!("key {n}").into_bytes();
        match n % 4 {
            0 => trace.set(&key, b"overwritten in flight", None).unwrap(),
            1 => trace.append(&key, b"edited in flight").unwrap(),
            2 => drop(trace.del(&key).unwrap()),
            _ => {}
        }
        trace.set(format!("more {n}").as_bytes(), &[b'm'; 3000], None).unwrap();
    }
    let contents = crate::trace::contents(&trace.rig).unwrap();
    assert!(contents == trace.map, "while the batch is in flight");
    gate.open();
    round.wait().expect("a round");
    trace.checkpoint().unwrap();
    assert!(trace.rig.engine.store().stats.evicted.load(Ordering::Relaxed) > 0, "something must be cold");
    let contents = crate::trace::contents(&trace.rig).unwrap();
    assert!(contents == trace.map, "after the round");
    trace.check_crashes(1).unwrap();
}

/// After `kill -9` the log is read from the page cache. The store opens, shows everything to a
/// client, and then the power goes: what was shown must be there.
#[test]
fn recovery_from_the_page_cache_followed_by_a_power_cut() {
    for seed in 0..20 {
        let mut trace = new_trace();
        let mut rng = SimRng::new(seed);
        for _ in 0..30 {
            trace.step(&mut rng).unwrap();
        }
        let trace = trace.kill_and_check().unwrap();
        trace.power_cut_and_check(&mut rng).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    }
}

/// Nothing is synced, and the log spans several segments. A power cut takes any sectors: the
/// end of one segment may be lost while the next one is whole.
#[test]
fn a_hole_in_the_log_after_a_segment_switch() {
    let mut holes = 0;
    for seed in 0..40 {
        let mut trace = Trace::new(Rig::with(Options { segment_bytes: 16 << 10, ..Options::default() }));
        let mut rng = SimRng::new(seed);
        for n in 0..40 {
            let value: Vec<u8> = (0..1500).map(|_| rng.next_u64() as u8).collect();
            trace.set(format!("key {}", n % 7).as_bytes(), &value, None).unwrap();
        }
        assert!(trace.rig.engine.wal().status().segments > 2);
        let trace =
            trace.power_cut_and_check(&mut rng).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        holes += u32::from(trace.rig.engine.open_report().wal.cut.is_some());
        trace.power_cut_and_check(&mut rng).unwrap();
    }
    assert!(holes > 5, "some cuts leave a hole, {holes} did");
}

/// An entry that was never cold leaves no tombstone when it goes. It is renamed, deleted or
/// flushed away in mid-round, before the round comes to it. The round's marker stands for a
/// state in which it is gone, so the log must be durable that far before the marker is.
#[test]
fn rename_flush_or_delete_in_mid_round_of_an_entry_that_was_never_cold() {
    for (kind, key) in (0..3).flat_map(|kind| [0, 2, 5].map(|n| (kind, format!("key {n}").into_bytes()))) {
        let mut trace = new_trace();
        for n in 0..6u8 {
            // Each fills a batch: when one is written, the later ones were not visited yet.
            trace.set(format!("key {n}").as_bytes(), &vec![b'a' + n; 1_000_000], None).unwrap();
        }
        let name = key.clone();
        let images = Images::watch_and(&trace.rig, kind, move |write, engine| {
            if write == 1 {
                match kind {
                    0 => del(engine, &name),
                    1 => rename(engine, &name, b"renamed"),
                    _ => flush(engine, DB),
                }
            }
        });
        trace.checkpoint().unwrap();
        trace.note(|map| match kind {
            0 => drop(map.remove(&key)),
            1 => {
                let value = map.remove(&key).unwrap();
                map.insert(b"renamed".to_vec(), value);
            }
            _ => map.clear(),
        });
        images.check(&trace).unwrap_or_else(|error| panic!("{kind} {}: {error}", key.escape_ascii()));
        trace.check_crashes(kind).unwrap();
    }
}

/// The first image of an entry is on its way when the entry is deleted. The entry looked as if
/// no row could exist, but one is about to: the deletion must leave a tombstone.
#[test]
fn a_delete_while_the_first_image_is_in_flight() {
    for recreates in [false, true] {
        let mut trace = new_trace();
        trace.set(b"key", b"first", None).unwrap();
        trace.set(b"neighbour", b"stays", None).unwrap();
        let images = Images::watch_and(&trace.rig, 1, move |write, engine| {
            if write == 0 {
                del(engine, b"key");
                if recreates {
                    set(engine, DB, b"key", b"second");
                }
            }
        });
        trace.checkpoint().unwrap();
        if recreates {
            // The deletion is one LSN earlier: a crash may leave either.
            trace.note(|map| drop(map.insert(b"key".to_vec(), (b"second".to_vec(), None))));
            trace.rig.cold.set_hooks(MemoryHooks::default());
            assert_eq!(trace.rig.get(b"key").as_deref(), Some(&b"second"[..]));
        } else {
            trace.note(|map| drop(map.remove(&b"key"[..])));
            assert_eq!(trace.rig.get(b"key"), None);
            images.check(&trace).unwrap();
        }
        trace.check_crashes(2).unwrap();
        trace.evict().unwrap();
        trace.check_crashes(3).unwrap();
    }
}

/// A paged string is replaced; a round queues its incarnation as dead, the next drops its pages,
/// and the power goes before that is flushed. Pages that come back are dropped again, and the
/// queue does not forget one before.
#[test]
fn a_dead_incarnation_dropped_but_not_flushed() {
    for deletes_files in [true, false] {
        let mut trace = new_trace();
        trace.rig.cold.set_drop_deletes_files(deletes_files);
        let images = Images::watch(&trace.rig, 1);
        trace.set(b"key", &vec![b'p'; 1_300_000], None).unwrap();
        trace.checkpoint().unwrap();
        assert!(trace.rig.cold.row_count(Family::Elements) > 10, "the string must be paged");
        trace.set(b"key", b"small", None).unwrap();
        trace.checkpoint().unwrap();
        trace.checkpoint().unwrap();
        images.check(&trace).unwrap();
        assert_eq!(trace.rig.cold.row_count(Family::Elements), 0);
        trace.check_crashes(2).unwrap();
        let mut rng = SimRng::new(3);
        let (rig, past) = trace.split();
        let rig = rig.power_cut_keeping(&mut rng, 0).expect("opens");
        let trace = past.check(rig).unwrap();
        for _ in 0..3 {
            trace.checkpoint().unwrap();
        }
        assert_eq!(trace.rig.cold.row_count(Family::Elements), 0, "no page is left for good");
    }
}

/// Each sync of an opening is followed by another crash, with so little memory that replay
/// itself writes back. The last opening finds what the first would have.
#[test]
fn a_crash_again_during_recovery() {
    let options = Options { maxmemory: 1 << 20, ..Options::default() };
    for seed in 0..6 {
        let mut rng = SimRng::new(seed);
        let mut trace = Trace::new(Rig::with(options));
        for n in 0..1500 {
            trace.set(format!("fill {n}").as_bytes(), &[b'f'; 400], None).unwrap();
            if n % 10 == 0 {
                trace.step(&mut rng).unwrap();
            }
        }
        trace.sync().unwrap();
        let (rig, past) = trace.split();
        let past = past.acknowledge_all();
        rig.engine.stop();
        let mut files = rig.files.crash(&mut rng);
        let mut cold = rig.cold.crash(rng.below(rig.cold.pending_batches() as u64 + 1) as usize);
        for sync in 1..14 {
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

/// A string of many pages is edited here and there; rounds, evictions and crashes come between.
/// Only the touched pages are written, and a page never mixes with a header of another time.
#[test]
fn a_paged_string_edited_page_by_page_across_crashes() {
    for seed in 0..6 {
        let mut rng = SimRng::new(seed);
        let mut trace = new_trace();
        trace.set(b"big", &vec![b'.'; 1_200_000], None).unwrap();
        for step in 0..25 {
            let outcome = match rng.below(10) {
                0..=3 => {
                    let at = rng.below(1_300_000) as usize;
                    trace.set_range(b"big", at, format!("edit {step}").as_bytes())
                }
                4 => trace.append(b"big", &vec![b'+'; rng.below(90_000) as usize]),
                5 => trace.checkpoint(),
                6 => trace.evict(),
                7 => trace.expire_at(b"big", Some(trace.rig.now_ms() + 1_000_000)),
                8 => {
                    trace = trace.kill_and_check().unwrap_or_else(|error| panic!("seed {seed}: {error}"));
                    Ok(())
                }
                _ => {
                    let cut = trace.power_cut_and_check(&mut rng);
                    trace = cut.unwrap_or_else(|error| panic!("seed {seed}, step {step}: {error}"));
                    match trace.map.is_empty() {
                        true => trace.set(b"big", &vec![b'.'; 1_200_000], None),
                        false => Ok(()),
                    }
                }
            };
            outcome.unwrap_or_else(|error| panic!("seed {seed}, step {step}: {error}"));
        }
        trace.check_crashes(seed).unwrap();
    }
}

/// A key gets a deadline while its value is cold, and the process dies. Replay knows the
/// deadline but not yet the value; the reaper must not pass it over when the time comes.
#[test]
fn a_deadline_of_a_cold_key_replayed() {
    for rounds in 0..2 {
        let mut trace = new_trace();
        trace.set(b"key", b"cold", None).unwrap();
        trace.set(b"other", b"cold", None).unwrap();
        trace.checkpoint().unwrap();
        trace.evict().unwrap();
        trace.expire_at(b"key", Some(trace.rig.now_ms() + 5_000)).unwrap();
        let (rig, _) = trace.split();
        let rig = rig.kill();
        rig.advance(4_990);
        rig.engine.reaper().tick().expect("nothing is due");
        if rounds > 0 {
            rig.checkpoint();
        }
        rig.advance(20);
        rig.engine.reaper().tick().expect("reaps");
        assert_eq!(rig.engine.key_counts(DB), (1, 0), "the key left unread ({rounds})");
        rig.check_counters();
    }
}

/// A deadline is moved away and back; the row and its hint are written after that. Replay meets
/// the two moves again and takes both hints for outdated, though one is right by now.
#[test]
fn a_deadline_moved_back_and_forth_keeps_its_hint() {
    let mut trace = new_trace();
    let (near, far) = (trace.rig.now_ms() + 400_000, trace.rig.now_ms() + 900_000);
    trace.set(b"key", b"value", Some(near)).unwrap();
    trace.checkpoint().unwrap();
    trace.evict().unwrap();
    trace.expire_at(b"key", Some(far)).unwrap();
    trace.expire_at(b"key", Some(near)).unwrap();
    trace.evict().unwrap();
    let (rig, _) = trace.split();
    let rig = rig.kill();
    rig.checkpoint();
    rig.evict_all();
    assert_eq!(rig.cold.row_count(Family::Expires), 1, "the right hint must stay");
    let rig = rig.kill();
    for _ in 0..50 {
        rig.advance(9_000);
        rig.engine.reaper().tick().expect("reaps");
    }
    assert_eq!(rig.engine.key_counts(DB), (0, 0), "the key left unread");
}

/// A cold key is edited, the process dies, and the key's deadline passes. Its entry waits for the
/// row, which alone knows the deadline: SCAN must not return a dead key for that.
#[test]
fn a_dead_key_that_waits_for_its_row_is_not_scanned() {
    let rig = Rig::new();
    let now = rig.now_ms();
    for (key, deadline) in [(b"dead", now + 1_000), (b"live", now + 9_000), (b"long", now + 1_000)] {
        rig.set_until(key, b"value", Some(deadline));
    }
    rig.evict_all();
    rig.append(b"dead", b"+");
    rig.append(b"live", b"+");
    rig.expire_at(b"long", None);
    let rig = rig.kill();
    rig.advance(2_000);
    assert_eq!(rig.scan_all(), [b"live".to_vec(), b"long".to_vec()]);
    assert_eq!((rig.get(b"dead"), rig.get(b"live")), (None, Some(b"value+".to_vec())));
}

/// Two threads swap databases while others write: a command works in one database from start
/// to end, so the sum of keys over both is what was written.
#[test]
fn swaps_under_writers_lose_nothing() {
    let rig = Rig::new();
    thread::scope(|scope| {
        for part in 0..2 {
            let engine = &rig.engine;
            scope.spawn(move || {
                for n in 0..300 {
                    set(engine, DbIndex(part), format!("{part}:{n}").as_bytes(), b"value");
                }
            });
        }
        let engine = &rig.engine;
        scope.spawn(move || (0..200).for_each(|_| swap(engine, 0, 1)));
        scope.spawn(|| (0..10).for_each(|_| rig.checkpoint()));
    });
    rig.check_counters();
    let rig = rig.kill();
    rig.check_counters();
    let keys = rig.engine.key_counts(DB).0 + rig.engine.key_counts(DbIndex(1)).0;
    assert_eq!(keys, 600);
}
