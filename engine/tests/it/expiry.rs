//! Keys leave at their deadline, in memory or not, whether or not anybody looks.

use lux_engine::env::sim::SimRng;
use lux_engine::tier::Family;
use lux_engine::wal::effect::Operation;

use crate::invariants::listen;
use crate::rig::{DB, Rig};

/// Cold keys expire unread: events are told, counters are right, and after a round the rows and
/// their hints are gone.
#[test]
fn cold_keys_expire_without_being_read() {
    let rig = Rig::new();
    let events = listen(&rig);
    let now = rig.now_ms();
    for n in 0..300u64 {
        rig.set_until(format!("soon {n}").as_bytes(), b"value", Some(now + 1_000 + n));
        rig.set_until(format!("late {n}").as_bytes(), b"value", Some(now + 700_000 + n));
        rig.set(format!("never {n}").as_bytes(), b"value");
    }
    rig.checkpoint();
    rig.evict_all();
    assert_eq!(rig.cold.row_count(Family::Expires), 600);
    events.lock().clear();
    for (step, left) in [(999, 900), (400, 600), (600_000, 600), (99_700, 300)] {
        // The reaper runs all the time; the clock does not jump for it.
        for _ in 0..step / 5_000 {
            rig.advance(5_000);
            rig.engine.reaper().tick().expect("reaps");
        }
        rig.advance(step % 5_000);
        rig.engine.reaper().tick().expect("reaps");
        assert_eq!(rig.engine.key_counts(DB).0, left, "after {step} ms more");
        rig.check_counters();
    }
    let expired = events.lock().iter().filter(|(operation, _)| *operation == Operation::Expired).count();
    assert_eq!(expired, 600);
    rig.checkpoint();
    assert_eq!(rig.cold.row_count(Family::Keys), 300);
    assert_eq!(rig.cold.row_count(Family::Expires), 0);
    let rig = rig.kill();
    assert_eq!(rig.engine.key_counts(DB), (300, 0));
}

/// A deadline that moves takes its hint along; a key made persistent has none.
#[test]
fn hints_follow_their_deadlines() {
    let rig = Rig::new();
    let now = rig.now_ms();
    for n in 0..50u64 {
        rig.set_until(format!("{n}").as_bytes(), b"value", Some(now + 400_000 + n));
    }
    rig.evict_all();
    for n in 0..50u64 {
        rig.expire_at(format!("{n}").as_bytes(), (n % 2 == 0).then_some(now + 900_000 + n));
    }
    rig.evict_all();
    assert_eq!(rig.cold.row_count(Family::Expires), 25);
    let rig = rig.kill();
    rig.checkpoint();
    assert_eq!(rig.cold.row_count(Family::Expires), 25);
    assert_eq!(rig.engine.key_counts(DB), (50, 25));
}

/// Thousands of hot and cold keys are overdue at once, after a restart: they leave in the order
/// of their deadlines.
#[test]
fn a_mass_expiry_drains_in_deadline_order() {
    let rig = Rig::new();
    let mut rng = SimRng::new(1);
    let now = rig.now_ms();
    let mut deadlines = std::collections::HashMap::new();
    for n in 0..6_000u64 {
        let at = now + 1_000 + rng.below(500_000);
        let key = format!("key {n}").into_bytes();
        rig.set_until(&key, b"value", Some(at));
        deadlines.insert(key, at);
        if n == 4_000 {
            rig.evict_all();
        }
    }
    let rig = rig.kill();
    let events = listen(&rig);
    // A round comes at least each minute and puts later deadlines where the reaper finds them.
    rig.checkpoint();
    rig.advance(600_000);
    for _ in 0..10 {
        rig.engine.reaper().tick().expect("reaps");
    }
    assert_eq!(rig.engine.key_counts(DB), (0, 0));
    let order: Vec<u64> = events.lock().iter().map(|(_, key)| deadlines[key]).collect();
    assert_eq!(order.len(), 6_000);
    // Slices of a few hundred milliseconds may go together, for the sake of batches.
    let mut latest = 0;
    for at in order {
        assert!(at + 1_000 >= latest, "{at} left after {latest}");
        latest = latest.max(at);
    }
}

/// Deadlines whose rows are written late, after the reaper has read past their time: the machine
/// slept, or there was no space for a round.
#[test]
fn deadlines_whose_hints_come_late() {
    let rig = Rig::new();
    let now = rig.now_ms();
    rig.set(b"cold", b"value");
    rig.evict_all();
    for n in 0..100u64 {
        rig.set_until(format!("{n}").as_bytes(), b"value", Some(now + 200_000 + n));
    }
    for _ in 0..4 {
        rig.advance(100_000);
        rig.engine.reaper().tick().expect("reaps");
    }
    rig.checkpoint();
    rig.engine.reaper().tick().expect("reaps");
    assert_eq!(rig.engine.key_counts(DB), (1, 0));
    rig.check_counters();
}

/// More cold keys share one deadline than are loaded at a time.
#[test]
fn many_cold_keys_with_one_deadline() {
    let rig = Rig::new();
    let at = rig.now_ms() + 300_000;
    for n in 0..45_000u64 {
        rig.set_until(format!("{n}").as_bytes(), b"", Some(at));
    }
    rig.evict_all();
    let rig = rig.kill();
    rig.evict_all();
    rig.advance(300_001);
    for _ in 0..8 {
        rig.engine.reaper().tick().expect("reaps");
    }
    assert_eq!(rig.engine.key_counts(DB), (0, 0));
}
