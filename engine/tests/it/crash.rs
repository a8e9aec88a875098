//! Power cuts at every sync point of our own files.
//!
//! A random history runs until the power goes: right after the n-th sync, or right before it,
//! for every n. The cold tier stops at the same moment. Any subset of unsynced sectors stays,
//! and any prefix of the cold tier's unflushed writes. The store is opened, in some runs with
//! another power cut on the way, and must hold exactly the state of its log's last LSN, which
//! must not lie before what was acknowledged.

use std::sync::Arc;

use lux_engine::Error;
use lux_engine::env::sim::{SimClock, SimFiles, SimRng};
use lux_engine::tier::memory::{Hook, MemoryHooks, MemoryStore, Operation};

use crate::rig::{Options, Rig};
use crate::trace::Trace;

const STEPS: u64 = 40;

/// Lets the cold tier fail once the files have no power.
fn tie(cold: &MemoryStore, files: &SimFiles) {
    let hook = |operation: Operation| -> Option<Hook> {
        let (cold, files) = (cold.clone(), files.clone());
        Some(Arc::new(move || {
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
fn run(seed: u64, sync: u64, is_before: bool, options: Options) -> Result<Option<()>, String> {
    let (mut rng, clock) = (SimRng::new(seed ^ sync << 32), Arc::new(SimClock::new(1_700_000_000_000)));
    let (mut files, mut cold) = (SimFiles::new(), MemoryStore::new());
    if is_before {
        files.power_off_before_sync(sync);
    } else {
        files.power_off_after_sync(sync);
    }
    tie(&cold, &files);
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
        tie(&cold, &files);
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

fn run_every_sync_point(seeds: std::ops::Range<u64>, options: Options) {
    for seed in seeds {
        for is_before in [false, true] {
            let mut points = 0;
            for sync in 1.. {
                match run(seed, sync, is_before, options) {
                    Ok(Some(())) => points += 1,
                    Ok(None) => break,
                    Err(error) => panic!("seed {seed}, sync {sync}, before it {is_before}: {error}"),
                }
            }
            assert!(points > 10, "a history has many sync points, not {points}");
        }
    }
}

#[test]
fn every_sync_point_with_appendfsync_always() {
    run_every_sync_point(0..2, Options::default().always());
}

#[test]
fn every_sync_point_with_appendfsync_no() {
    run_every_sync_point(0..6, Options::default());
}

#[test]
fn every_sync_point_with_small_segments() {
    let options = Options { segment_bytes: 8 << 10, maxmemory: 1 << 20, ..Options::default() };
    run_every_sync_point(0..2, options);
}
