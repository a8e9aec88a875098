//! One test for each invariant of `docs/architecture.md`, named after it, and beside it the proof
//! that the test is honest: with the failpoint that breaks the invariant, the same check fails.
//!
//! A check runs a store and returns what is wrong with it. Every check must pass for each seed;
//! with its failpoint it must fail for one of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use lux_engine::env::sim::{SimOp, SimRng};
use lux_engine::env::{FileSystem, OpenMode};
#[cfg(feature = "failpoints")]
use lux_engine::failpoint::Break;
use lux_engine::ids::{DbIndex, ShardId};
use lux_engine::tier::memory::{Gate, MemoryHooks};
use lux_engine::txn::{Mode, Scratch, Wait};
use lux_engine::wal::effect::Operation;
use parking_lot::Mutex;

use crate::parts;
use crate::rig::{DB, Options, Rig, body, is_corruption, text};
use crate::snapshots::View;
use crate::trace::{Images, Trace};

type Checked = Result<(), String>;

/// Seeds that a check must pass.
const SEEDS: u64 = 6;
/// Seeds within which a broken invariant must be noticed.
#[cfg(feature = "failpoints")]
const SEEDS_BROKEN: u64 = 40;

/// The check passes for all seeds.
fn holds(check: fn(u64, Options) -> Checked) {
    for seed in 0..SEEDS {
        if let Err(error) = check(seed, Options::default()) {
            panic!("seed {seed}: {error}");
        }
    }
}

/// With the invariant broken the check fails or panics for some seed.
#[cfg(feature = "failpoints")]
fn is_noticed(which: Break, check: fn(u64, Options) -> Checked) {
    let options = Options::default().broken(which);
    let notices = |seed| match std::panic::catch_unwind(|| check(seed, options)) {
        Ok(Ok(())) => false,
        Ok(Err(error)) => {
            println!("{which:?}, seed {seed}: {error}");
            true
        }
        Err(_) => true,
    };
    assert!((0..SEEDS_BROKEN).any(notices), "{which:?} is broken and nothing notices");
}

macro_rules! invariants {
    ($($holds:ident, $noticed:ident, $which:ident, $check:ident;)*) => {$(
        #[test]
        fn $holds() {
            holds($check);
        }

        #[cfg(feature = "failpoints")]
        #[test]
        fn $noticed() {
            is_noticed(Break::$which, $check);
        }
    )*};
}

invariants! {
    invariant_01_log_before_data, invariant_01_is_noticed, LogBeforeData, log_before_data;
    invariant_02_one_commit_one_record, invariant_02_is_noticed, OneCommitOneRecord, one_commit_one_record;
    invariant_02_parts_are_published_as_one, invariant_02_parts_is_noticed, OneCommitOneRecord,
        parts_are_published_as_one;
    invariant_03_effects_are_resolved, invariant_03_is_noticed, ResolvedEffects, effects_are_resolved;
    invariant_04_lsn_guard, invariant_04_is_noticed, LsnGuard, lsn_guard;
    invariant_05_acknowledged_means_logged, invariant_05_is_noticed, AcknowledgedMeansLogged,
        acknowledged_means_logged;
    invariant_06_prefix, invariant_06_is_noticed, Prefix, prefix;
    invariant_07_marker_last, invariant_07_is_noticed, MarkerLast, marker_last;
    invariant_08_fetch_never_overwrites, invariant_08_is_noticed, FetchNeverOverwrites, fetch_never_overwrites;
    invariant_09_deletions_are_entries, invariant_09_is_noticed, DeletionsAreEntries, deletions_are_entries;
    invariant_10_expiry_is_logged, invariant_10_is_noticed, ExpiryIsLogged, expiry_is_logged;
    invariant_11_counters_are_exact, invariant_11_is_noticed, ExactCounters, counters_are_exact;
    invariant_12_scan_promise, invariant_12_is_noticed, ScanPromise, scan_promise;
    invariant_13_long_reads_are_snapshots, invariant_13_is_noticed, Snapshots, long_reads_are_snapshots;
    invariant_14_commands_are_atomic, invariant_14_is_noticed, AtomicCommands, commands_are_atomic;
    invariant_15_no_lock_across_a_wait, invariant_15_is_noticed, NoLockAcrossWait, no_lock_across_a_wait;
    invariant_16_one_budget, invariant_16_is_noticed, OneBudget, one_budget;
    invariant_17_no_wait_in_the_cold_store, invariant_17_is_noticed, NoWaitInColdStore,
        no_wait_in_the_cold_store;
    invariant_18_failures_latch, invariant_18_is_noticed, LatchOnFailure, failures_latch;
}

fn fail(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn expect(is_so: bool, what: &str) -> Checked {
    if is_so { Ok(()) } else { Err(what.to_string()) }
}

fn key(n: u64) -> Vec<u8> {
    format!("key:{n}").into_bytes()
}

/// A short random history.
fn trace(seed: u64, options: Options, steps: u64) -> Result<(Trace, SimRng), String> {
    let (mut trace, mut rng) = (Trace::new(Rig::with(options)), SimRng::new(seed));
    for _ in 0..steps {
        trace.step(&mut rng).map_err(fail)?;
    }
    Ok((trace, rng))
}

/// 1: a row must not reach the cold tier before its record is on the disk, or a power cut leaves
/// rows of commits that never were.
fn log_before_data(seed: u64, options: Options) -> Checked {
    let (mut trace, mut rng) = trace(seed, options, 30)?;
    for n in 0..20 {
        trace.set(&key(n), b"newer than the log on the disk", None).map_err(fail)?;
    }
    trace.evict().map_err(fail)?;
    trace.append(&key(3), b", and newer still").map_err(fail)?;
    trace.power_cut_and_check(&mut rng).map(|_| ())
}

/// 2: several keys in one commit survive a power cut together or not at all.
fn one_commit_one_record(seed: u64, options: Options) -> Checked {
    let (mut trace, mut rng) = (Trace::new(Rig::with(options)), SimRng::new(seed));
    for n in 0..40u8 {
        // Longer than a sector, so that a power cut can come between two records.
        let value = vec![b'a' + n % 26; 700];
        trace.mset(&[(b"left", &value), (b"right", &value)]).map_err(fail)?;
    }
    trace.power_cut_and_check(&mut rng).map(|_| ())
}

/// 2: a value that is too large for one record is there whole or not at all, and is what its command
/// would store at the moment of its commit. What is not published leaves nothing behind.
fn parts_are_published_as_one(seed: u64, options: Options) -> Checked {
    let options = Options { failpoints: options.failpoints, ..parts::SMALL };
    let (rig, mut rng) = (Rig::with(options), SimRng::new(seed));
    rig.set(b"source", &parts::large(seed, (2 << 20) + seed as usize));
    let changes = 1 + rng.below(2) as u32;
    parts::copy(&rig, b"source", b"copy", |build| {
        if build <= changes {
            rig.append(b"source", b"changed");
        }
    });
    let rig = rig.try_kill().map_err(fail)?;
    let (source, copy) = (rig.get(b"source").ok_or("the source is gone")?, rig.get(b"copy"));
    expect(copy.as_ref() == Some(&source), "a copy is not what its source was when it was made")?;
    parts::check_no_leak(&rig, &[source.len(), source.len()])?;
    let rig = rig.power_cut(&mut rng).map_err(fail)?;
    expect(rig.get(b"copy") == Some(source), "a copy is lost")
}

/// 3: a deadline is the same after a replay at a later time.
fn effects_are_resolved(_seed: u64, options: Options) -> Checked {
    let mut trace = Trace::new(Rig::with(options));
    let now = trace.rig.now_ms();
    trace.set(b"cache", b"page", Some(now + 100_000)).map_err(fail)?;
    trace.set(b"session", b"token", None).map_err(fail)?;
    trace.expire_at(b"session", Some(now + 70_000)).map_err(fail)?;
    trace.rig.advance(60_000);
    let trace = trace.kill_and_check()?;
    trace.rig.advance(10_000);
    expect(trace.rig.get(b"session").is_none(), "a key lives on after its deadline")
}

/// 4: replay decides once per record and commit; a second effect is not taken for an old one.
fn lsn_guard(seed: u64, options: Options) -> Checked {
    let (mut trace, _) = trace(seed, options, 20)?;
    trace.set(b"list", b"old", None).map_err(fail)?;
    trace
        .command(
            &[b"list"],
            Mode::Keys,
            |txn| {
                txn.delete(b"list")?;
                txn.put_string(b"list", body(b"new"), None, false)
            },
            |map| drop(map.insert(b"list".to_vec(), (b"new".to_vec(), None))),
        )
        .map_err(fail)?;
    trace.kill_and_check().map(|_| ())
}

/// 5: what was acknowledged survives `kill -9`, and with `appendfsync always` a power cut.
fn acknowledged_means_logged(seed: u64, options: Options) -> Checked {
    let (trace, _) = trace(seed, options, 30)?;
    trace.kill_and_check()?;
    let mut trace = Trace::new(Rig::with(options.always()));
    let mut rng = SimRng::new(seed);
    for n in 0..20 {
        trace.set(&key(n), b"acknowledged", None).map_err(fail)?;
    }
    let (rig, past) = trace.split();
    let rig = rig.power_cut(&mut rng).map_err(fail)?;
    expect(rig.scan_all().len() == 20, "an acknowledged key is lost")?;
    past.check(rig).map(|_| ())
}

/// 6: what survives is a prefix. Damage in what was durable is named, not cut.
fn prefix(seed: u64, options: Options) -> Checked {
    let (mut trace, mut rng) = trace(seed, options, 30)?;
    trace.sync().map_err(fail)?;
    trace.mset(&[(b"later", b"1")]).map_err(fail)?;
    let trace = trace.power_cut_and_check(&mut rng)?;
    // Now a damaged byte in the middle.
    for n in 0..30 {
        trace.rig.set(format!("durable {n}").as_bytes(), b"proven");
    }
    trace.rig.sync();
    trace.rig.set(b"proof", b"its frame says that the others were durable");
    trace.rig.sync();
    let (rig, _) = trace.split();
    rig.engine.stop();
    let files = rig.files.kill();
    let (path, offset) = find(&files, b"durable 15").ok_or("the record is not in the log")?;
    files.flip(&path, offset, 0x10);
    match Rig::open(files, Arc::clone(&rig.clock), rig.cold.crash(0), rig.options) {
        Ok(_) => Err("a damaged durable record was cut".to_string()),
        Err(error) if is_corruption(&error) && error.to_string().contains(".seg") => Ok(()),
        Err(error) => Err(format!("an error that does not name the file: {error}")),
    }
}

/// Where a text is in the log.
fn find(files: &lux_engine::env::sim::SimFiles, text: &[u8]) -> Option<(std::path::PathBuf, u64)> {
    files.files().into_iter().find_map(|(path, len)| {
        let mut bytes = vec![0; len as usize];
        files.open(&path, OpenMode::Read).ok()?.read_at(&mut bytes, 0).ok()?;
        let at = bytes.windows(text.len()).position(|window| window == text)?;
        Some((path, at as u64))
    })
}

/// 7: wherever a round is cut off, marker, rows and log fit together.
fn marker_last(seed: u64, options: Options) -> Checked {
    let (mut trace, _) = trace(seed, options, 40)?;
    let images = Images::watch(&trace.rig, seed);
    trace.checkpoint().map_err(fail)?;
    trace.set(b"between", b"two rounds", None).map_err(fail)?;
    trace.del(&key(1)).map_err(fail)?;
    trace.checkpoint().map_err(fail)?;
    expect(images.check(&trace)? >= 8, "a round writes rows, writes the marker and flushes")
}

/// 8: a row read before a deletion does not bring the key back after it.
fn fetch_never_overwrites(_seed: u64, options: Options) -> Checked {
    let rig = Rig::with(options);
    rig.set(b"key", b"old");
    rig.set(b"other", b"stays cold, so that a miss in memory proves nothing");
    rig.evict_all();
    let gate = Gate::closed();
    rig.cold.set_hooks(MemoryHooks { after_get: Some(gate.hook()), ..MemoryHooks::default() });
    let ticket = rig.engine.prefetch(DB, std::iter::once(&b"key"[..])).ok_or("the key must be cold")?;
    gate.wait_for_arrivals(1);
    // The old row is on its way. A command that was restarted often enough reads for itself.
    delete_synchronously(&rig, b"key")?;
    rig.checkpoint();
    gate.open();
    ticket.wait().map_err(fail)?;
    expect(rig.get(b"key").is_none(), "a deleted key came back with an old fetch")?;
    rig.try_counters()
}

fn delete_synchronously(rig: &Rig, key: &[u8]) -> Checked {
    let (mut scratch, keys) = (Scratch::default(), [key]);
    let mut waits: Vec<Wait> = Vec::new();
    loop {
        let mut txn = rig.engine.begin(&mut scratch, DB, &keys, Mode::Keys, rig.now_ms());
        match txn.delete(key) {
            Ok(_) => return txn.commit().map(|_| ()).map_err(|_| "does not commit".to_string()),
            // Not waiting uses the rounds up.
            Err(_) => waits.push(txn.abandon()),
        }
        if waits.len() > 50 {
            return Err("a command must end".to_string());
        }
    }
}

/// 9: a deleted key stays away though its row is still in the cold tier.
fn deletions_are_entries(seed: u64, options: Options) -> Checked {
    let (mut trace, mut rng) = (Trace::new(Rig::with(options)), SimRng::new(seed));
    for n in 0..6 {
        trace.set(&key(n), b"cold", None).map_err(fail)?;
    }
    trace.evict().map_err(fail)?;
    trace.checkpoint().map_err(fail)?;
    for n in 0..3 {
        trace.del(&key(n)).map_err(fail)?;
    }
    expect(trace.rig.get(&key(1)).is_none(), "a deleted key is read from its row")?;
    let trace = trace.kill_and_check()?;
    trace.checkpoint().map_err(fail)?;
    trace.power_cut_and_check(&mut rng).map(|_| ())
}

/// 10: an expired key leaves by a logged delete: one event, right counters, the same after replay.
fn expiry_is_logged(_seed: u64, options: Options) -> Checked {
    let mut trace = Trace::new(Rig::with(options));
    let events = listen(&trace.rig);
    let now = trace.rig.now_ms();
    trace.set(b"hot", b"1", Some(now + 500)).map_err(fail)?;
    trace.set(b"cold", b"2", Some(now + 600)).map_err(fail)?;
    trace.set(b"stays", b"3", None).map_err(fail)?;
    trace.checkpoint().map_err(fail)?;
    trace.rig.engine.evict(DB, Box::new(|key| key == b"cold")).map_err(fail)?;
    let before = trace.rig.engine.wal().last_lsn();
    trace.rig.advance(1_000);
    trace.rig.engine.reaper().tick().map_err(fail)?;
    let expired: Vec<_> = events
        .lock()
        .iter()
        .filter(|(op, _)| *op == Operation::Expired)
        .map(|(_, key)| key.clone())
        .collect();
    expect(expired.len() == 2, "each expired key has one event")?;
    expect(trace.rig.engine.wal().last_lsn() > before, "an expiry is in the log")?;
    expect(trace.rig.engine.key_counts(DB) == (1, 0), "an expired key no longer counts")?;
    trace.rig.try_counters()?;
    let (rig, _) = trace.split();
    // Were the clock to step back, replay must agree with what the events said.
    rig.clock.set_unix_ms(now);
    let rig = rig.try_kill().map_err(fail)?;
    expect(rig.get(b"hot").is_none() && rig.get(b"cold").is_none(), "an expired key came back")
}

type Events = Arc<Mutex<Vec<(Operation, Vec<u8>)>>>;

/// Records the events of a store.
pub fn listen(rig: &Rig) -> Events {
    let events = Events::default();
    let sink = Arc::clone(&events);
    rig.engine.hook().listen(Some(Box::new(move |event| {
        sink.lock().push((event.operation, event.key.to_vec()));
    })));
    events
}

/// 11: DBSIZE and the number of deadlines equal a recount after any crash.
fn counters_are_exact(seed: u64, options: Options) -> Checked {
    let (trace, mut rng) = trace(seed, options, 40)?;
    trace.rig.try_counters()?;
    let mut trace = trace.kill_and_check()?;
    for _ in 0..20 {
        trace.step(&mut rng).map_err(fail)?;
    }
    trace.power_cut_and_check(&mut rng).map(|_| ())
}

/// 12: SCAN finds what is hot and what is cold, each once.
fn scan_promise(seed: u64, options: Options) -> Checked {
    let rig = Rig::with(options);
    let mut rng = SimRng::new(seed);
    let mut keys: Vec<Vec<u8>> = (0..500).map(key).collect();
    for key in &keys {
        rig.set(key, b"value");
    }
    rig.evict_all();
    for key in &keys {
        match rng.below(3) {
            0 => drop(rig.get(key)),
            1 => rig.set(key, b"changed"),
            _ => {}
        }
    }
    for gone in keys.drain(..20) {
        rig.del(&gone);
    }
    keys.sort();
    expect(rig.scan_all() == keys, "SCAN misses a key or returns one twice")
}

/// 13: a long read shows one moment, whatever is changed, written back and evicted while it runs.
fn long_reads_are_snapshots(seed: u64, options: Options) -> Checked {
    let (mut trace, mut rng) = trace(seed, options, 40)?;
    let mut views = Vec::new();
    for _ in 0..6 {
        views.push(View::open(&trace.rig, &trace.map));
        for _ in 0..15 {
            trace.step(&mut rng).map_err(fail)?;
        }
        trace.evict().map_err(fail)?;
        for view in &views {
            expect(view.check()?, "a snapshot was given up")?;
        }
    }
    Ok(())
}

/// 14: what two keys are given together is seen together.
fn commands_are_atomic(_seed: u64, options: Options) -> Checked {
    let rig = Rig::with(options);
    let keys: Vec<Vec<u8>> = (0..8).map(key).collect();
    let write = |n: u64| {
        let value = n.to_string().into_bytes();
        let pairs: Vec<(&[u8], &[u8])> = keys.iter().map(|key| (&key[..], &value[..])).collect();
        rig.mset(&pairs);
    };
    let read = || {
        let names: Vec<&[u8]> = keys.iter().map(|key| &key[..]).collect();
        let values = rig.run(DB, &names, Mode::Keys, |txn| {
            let read = |key: &&[u8]| Ok(txn.lookup(key)?.map(|found| text(found.value)));
            names.iter().map(read).collect::<Result<Vec<_>, _>>()
        });
        values.expect("reads").0
    };
    write(0);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            (0..2_000).for_each(write);
            done.store(true, Ordering::SeqCst);
        });
        let mut is_whole = true;
        while !done.load(Ordering::SeqCst) {
            let values = read();
            is_whole &= values.iter().all(|value| *value == values[0]);
        }
        expect(is_whole, "a reader saw half of a command")
    })
}

/// 15: while a row is read from the disk, every shard can be locked.
fn no_lock_across_a_wait(_seed: u64, options: Options) -> Checked {
    let rig = Rig::with(options);
    rig.set(b"cold", b"value");
    rig.evict_all();
    let gate = Gate::closed();
    rig.cold.set_hooks(MemoryHooks { before_get: Some(gate.hook()), ..MemoryHooks::default() });
    thread::scope(|scope| {
        let reader = scope.spawn(|| rig.get(b"cold"));
        gate.wait_for_arrivals(1);
        // The reader stays at the gate for as long as this takes, so a held lock is never free.
        let is_free = |id: u8| rig.engine.store().shard(ShardId(id)).try_lock_for(Duration::from_millis(200));
        let all_free = (0..64).all(|id| is_free(id).is_some());
        gate.open();
        let value = reader.join().map_err(|_| "the reader panicked")?;
        expect(value.is_some(), "the cold key is read")?;
        expect(all_free, "a shard is locked while the disk is read")
    })
}

/// 16: the hot tier stays within its share of `maxmemory`, whatever is loaded.
fn one_budget(_seed: u64, options: Options) -> Checked {
    let rig = Rig::with(Options { maxmemory: 1 << 20, ..options });
    for n in 0..4_000 {
        rig.set(&key(n), &[b'v'; 600]);
    }
    // The keeper looks at memory after each request.
    for _ in 0..12 {
        rig.checkpoint();
    }
    let (bytes, _) = rig.engine.store().hot_bytes();
    let limit = rig.engine.store().hot_limit.load(Ordering::Relaxed);
    expect(bytes <= limit, "the hot tier is larger than its limit")?;
    expect(rig.engine.store().stats.evicted.load(Ordering::Relaxed) > 0, "something must be cold")?;
    expect((0..4_000).all(|n| rig.get(&key(n)).is_some()), "an evicted key is lost")
}

/// 17: while the cold tier's write path stands still, commands go on.
fn no_wait_in_the_cold_store(_seed: u64, options: Options) -> Checked {
    let rig = Rig::with(options);
    rig.set(b"cold", b"value");
    rig.set(b"dirty", b"value");
    // How many threads met the stalled write path, and who is let go.
    let (arrived, is_open) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let stall = {
        let (arrived, is_open) = (Arc::clone(&arrived), Arc::clone(&is_open));
        move || {
            arrived.fetch_add(1, Ordering::SeqCst);
            while !is_open.load(Ordering::SeqCst) {
                thread::sleep(Duration::from_millis(1));
            }
        }
    };
    rig.cold.set_hooks(MemoryHooks { before_write: Some(Arc::new(stall)), ..MemoryHooks::default() });
    let round = rig.engine.request_checkpoint();
    while arrived.load(Ordering::SeqCst) == 0 {
        thread::yield_now();
    }
    thread::scope(|scope| {
        let client = scope.spawn(|| {
            for n in 0..200 {
                rig.set(&key(n), b"written during the stall");
                rig.append(b"dirty", b"+");
                rig.get(b"cold");
            }
        });
        while !client.is_finished() && arrived.load(Ordering::SeqCst) == 1 {
            thread::yield_now();
        }
        let went_on = arrived.load(Ordering::SeqCst) == 1;
        is_open.store(true, Ordering::SeqCst);
        client.join().map_err(|_| "the client panicked")?;
        round.wait().map_err(fail)?;
        expect(went_on, "a client waits in the cold tier's write path")
    })
}

/// 18: after a failed sync nothing is acknowledged, and nothing acknowledged is lost.
fn failures_latch(seed: u64, options: Options) -> Checked {
    let mut rng = SimRng::new(seed);
    let mut trace = Trace::new(Rig::with(options.always()));
    trace.set(b"before", b"acknowledged", None).map_err(fail)?;
    trace.rig.files.fail_next(SimOp::Sync, std::io::ErrorKind::Other, ".seg");
    for n in 0..10 {
        // Whoever is told that this went well may rely on it; see the power cut below.
        let _ = trace.set(&key(n), b"not acknowledged", None);
    }
    let is_latched = trace.rig.engine.wal().latched().is_some();
    expect(trace.rig.get(b"before").is_some(), "reads go on")?;
    trace.power_cut_and_check(&mut rng)?;
    expect(is_latched, "a failed sync latches")
}

/// Shows that the number of a database is enough to use it, before and after a swap.
#[test]
fn databases_are_separate() {
    let rig = Rig::new();
    rig.set(b"key", b"zero");
    rig.swap_db(DB, DbIndex(1));
    assert_eq!(rig.get(b"key"), None);
    rig.swap_db(DB, DbIndex(1));
    assert_eq!(rig.get(b"key").as_deref(), Some(&b"zero"[..]));
}
