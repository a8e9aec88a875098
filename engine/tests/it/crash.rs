//! Power cuts at every sync point of our own files.
//!
//! A random history runs until the power goes: right after the n-th sync, right before it, or at
//! the n-th write or flush of the cold tier, for every n. The cold tier stops at the same moment. Any subset of unsynced sectors stays,
//! and any prefix of the cold tier's unflushed writes. The store is opened, in some runs with
//! another power cut on the way, and must hold exactly the state of its log's last LSN, which
//! must not lie before what was acknowledged.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lux_engine::Error;
use lux_engine::env::sim::{SimClock, SimFiles, SimRng};
use lux_engine::tier::memory::{Hook, MemoryHooks, MemoryStore, Operation};

use crate::rig::{Options, Rig};
use crate::trace::Trace;

const STEPS: u64 = 40;

/// When the power goes.
#[derive(Clone, Copy, Debug)]
enum Cut {
    AfterSync(u64),
    BeforeSync(u64),
    /// When the cold tier is asked for a write or a flush.
    AtColdStep(u64),
}

/// Lets the cold tier fail once the files have no power; takes it away at one of its own steps.
fn tie(cold: &MemoryStore, files: &SimFiles, cut_at: u64) {
    let steps = Arc::new(AtomicU64::new(0));
    let hook = |operation: Operation| -> Option<Hook> {
        let (cold, files, steps) = (cold.clone(), files.clone(), Arc::clone(&steps));
        Some(Arc::new(move || {
            if steps.fetch_add(1, Ordering::SeqCst) + 1 == cut_at {
                files.power_off_after_sync(0);
            }
            if files.is_off() {
                cold.fail_next(operation, Error::Latched { cause: "the power is off".into() });
            }
        }))
    };
    cold.set_hooks(MemoryHooks {
        before_write: hook(Operation::Write),
        before_flush: hook(Operation::Flush),
        ..MemoryHooks::default()
    });
}

/// What is left after a power cut now.
fn cut(files: &SimFiles, cold: &MemoryStore, rng: &mut SimRng) -> (SimFiles, MemoryStore) {
    let keep = rng.below(cold.pending_batches() as u64 + 1) as usize;
    (files.crash(rng), cold.crash(keep))
}

/// One history that ends at one sync point. `None`: it was over before.
fn run(seed: u64, when: Cut, options: Options) -> Result<Option<()>, String> {
    let (Cut::AfterSync(n) | Cut::BeforeSync(n) | Cut::AtColdStep(n)) = when;
    let (mut rng, clock) = (SimRng::new(seed ^ n << 32), Arc::new(SimClock::new(1_700_000_000_000)));
    let (mut files, mut cold) = (SimFiles::new(), MemoryStore::new());
    let mut cold_step = 0;
    match when {
        Cut::AfterSync(n) => files.power_off_after_sync(n),
        Cut::BeforeSync(n) => files.power_off_before_sync(n),
        Cut::AtColdStep(n) => cold_step = n,
    }
    tie(&cold, &files, cold_step);
    let mut past = None;
    if let Ok(rig) = Rig::open(files.clone(), Arc::clone(&clock), cold.clone(), options) {
        let (mut trace, mut steps) = (Trace::new(rig), SimRng::new(seed));
        let died = (0..STEPS).any(|_| trace.step(&mut steps).is_err());
        if !died && !files.is_off() {
            return Ok(None);
        }
        let (rig, rest) = trace.split();
        rig.engine.stop();
        past = Some(rest);
    }
    (files, cold) = cut(&files, &cold, &mut rng);
    if rng.chance(40) {
        // Again, while the store is being opened.
        files.power_off_after_sync(rng.below(12));
        tie(&cold, &files, 0);
        if let Ok(rig) = Rig::open(files.clone(), Arc::clone(&clock), cold.clone(), options) {
            rig.engine.stop();
        }
        (files, cold) = cut(&files, &cold, &mut rng);
    }
    let rig = Rig::open(files, clock, cold, options).map_err(|error| format!("does not open: {error}"))?;
    match past {
        Some(past) => past.check(rig).map(|_| Some(())),
        None if rig.scan_all().is_empty() => Ok(Some(())),
        None => Err("a store that never was open has keys".to_string()),
    }
}

/// All points of one kind of one history; returns how many there are.
fn run_history(seed: u64, kind: fn(u64) -> Cut, options: Options) -> Result<u64, String> {
    let mut points = 0;
    for cut in (1..).map(kind) {
        match run(seed, cut, options) {
            Ok(Some(())) => points += 1,
            Ok(None) => break,
            Err(error) => return Err(format!("seed {seed}, {cut:?}: {error}")),
        }
    }
    Ok(points)
}

const KINDS: [fn(u64) -> Cut; 3] = [Cut::AfterSync, Cut::BeforeSync, Cut::AtColdStep];

/// `LUX_CRASH_SEEDS` runs more histories.
fn run_every_point(seeds: u64, options: Options) {
    let more = std::env::var("LUX_CRASH_SEEDS").ok().and_then(|n| n.parse().ok());
    for seed in 0..more.unwrap_or(seeds) {
        let points =
            KINDS.map(|kind| run_history(seed, kind, options).unwrap_or_else(|error| panic!("{error}")));
        assert!(points.iter().sum::<u64>() > 30, "a history has many points, not {points:?}");
    }
}

#[test]
fn every_sync_point_with_appendfsync_always() {
    run_every_point(2, Options::default().always());
}

#[test]
fn every_sync_point_with_appendfsync_no() {
    run_every_point(6, Options::default());
}

#[test]
fn every_sync_point_with_small_segments() {
    let options = Options { segment_bytes: 8 << 10, maxmemory: 1 << 20, ..Options::default() };
    run_every_point(2, options);
}

/// These histories are worth something: they find a store that writes rows before the log, one
/// that marks before it writes, and one that keeps no tombstones.
#[cfg(feature = "failpoints")]
#[test]
fn broken_invariants_are_noticed() {
    use lux_engine::failpoint::Break;
    for which in [Break::LogBeforeData, Break::MarkerLast, Break::DeletionsAreEntries] {
        let options = Options::default().broken(which);
        let is_noticed = (0..60).any(|seed| run_history(seed, KINDS[seed as usize % 3], options).is_err());
        assert!(is_noticed, "{which:?} is broken and no crash shows it");
    }
}
