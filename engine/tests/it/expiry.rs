//! Keys leave at their deadline, in memory or not, whether or not anybody looks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use lux_engine::checkpoint::keeper::Request;
use lux_engine::env::sim::SimRng;
use lux_engine::ids::{DbIndex, ShardId};
use lux_engine::tier::memory::{MemoryHooks, Operation as ColdOperation};
use lux_engine::tier::{Family, schema};
use lux_engine::txn::Mode;
use lux_engine::wal::effect::Operation;

use crate::invariants::listen;
use crate::rig::{DB, Options, Rig, body, run};

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

/// Lets the reaper run for some time.
fn reap_for(rig: &Rig, millis: u64) {
    for _ in 0..millis / 5_000 {
        rig.advance(5_000);
        let _ = rig.engine.reaper().tick();
    }
    rig.advance(millis % 5_000);
    let _ = rig.engine.reaper().tick();
}

/// One read of the disk fails while keys are due, hot ones and cold ones. None is forgotten.
#[test]
fn keys_due_while_a_read_fails() {
    for hot in [0, 5, 40] {
        let rig = Rig::new();
        let now = rig.now_ms();
        for n in 0..200u64 {
            rig.set_until(format!("{n}").as_bytes(), b"value", Some(now + 500 + n));
        }
        rig.evict_all();
        // The hints are in memory: it is a row that cannot be read.
        rig.engine.reaper().tick().expect("nothing is due");
        (0..hot).for_each(|n| drop(rig.get(format!("{n}").as_bytes())));
        rig.advance(800);
        let error = lux_engine::Error::io("read", "/data/cold", std::io::Error::other("a bad sector"));
        rig.cold.fail_next(ColdOperation::Read, error);
        for _ in 0..250 {
            let _ = rig.engine.reaper().tick();
        }
        assert_eq!(rig.engine.key_counts(DB), (0, 0), "{hot} in memory");
        rig.check_counters();
    }
}

/// Two keys of the same shard.
fn neighbours(rig: &Rig) -> (Vec<u8>, Vec<u8>) {
    let first = b"first".to_vec();
    let shard = rig.engine.store().hasher.hash(&first).shard;
    let second = (0..).map(|n| format!("second {n}").into_bytes());
    let second = second.into_iter().find(|key| rig.engine.store().hasher.hash(key).shard == shard);
    (first, second.expect("some key lies there"))
}

/// A due key comes into memory when the reaper is about to fetch it, and has left again when the
/// reaper looks. Its hint is right and must stay.
#[test]
fn a_due_key_that_comes_and_goes_while_the_reaper_reads() {
    let rig = Rig::new();
    let at = rig.now_ms() + 1_000;
    let (first, second) = neighbours(&rig);
    rig.set_until(&first, b"value", Some(at));
    rig.set_until(&second, b"value", Some(at));
    rig.evict_all();
    // Hints are in the heaps before the hooks are set: the first cursor is that of a look-up.
    rig.advance(500);
    rig.engine.reaper().tick().expect("nothing is due");
    rig.advance(600);
    let step = Arc::new(AtomicU8::new(0));
    let (engine, key, at_step) = (rig.engine.clone(), first.clone(), Arc::clone(&step));
    let comes = move || {
        if at_step.load(Ordering::SeqCst) == 1 {
            at_step.store(2, Ordering::SeqCst);
            let ticket = engine.prefetch(DB, std::iter::once(&key[..])).expect("is cold");
            ticket.wait().expect("reads");
            at_step.store(3, Ordering::SeqCst);
        }
    };
    let (engine, key, at_step) = (rig.engine.clone(), first.clone(), Arc::clone(&step));
    let goes = move || {
        if at_step.load(Ordering::SeqCst) != 3 {
            return;
        }
        at_step.store(4, Ordering::SeqCst);
        let store = engine.store();
        let mut shard = store.shard(store.hasher.hash(&key).shard).lock();
        let left = shard.evict_where(store.db_id(DB), |entry| entry.key() == key);
        assert_eq!(left, 1, "it was in memory");
    };
    rig.cold.set_hooks(MemoryHooks {
        before_cursor: Some(Arc::new(comes)),
        before_get: Some(Arc::new(goes)),
        ..MemoryHooks::default()
    });
    step.store(1, Ordering::SeqCst);
    rig.engine.reaper().tick().expect("reaps");
    rig.cold.set_hooks(MemoryHooks::default());
    assert_eq!(step.load(Ordering::SeqCst), 4, "it came and went");
    (0..101).for_each(|_| reap_for(&rig, 10));
    assert_eq!(rig.engine.key_counts(DB), (0, 0));
    rig.checkpoint();
    assert_eq!(rig.cold.row_count(Family::Expires), 0);
}

/// A near deadline is watched, then pushed ahead a little, past what the reaper has read of the hints,
/// and the key leaves memory before the first of them.
#[test]
fn a_near_deadline_pushed_ahead_and_evicted() {
    let rig = Rig::new();
    rig.set(b"neighbour", b"cold");
    rig.evict_all();
    let now = rig.now_ms();
    rig.engine.reaper().tick().expect("reads the hints of the next seconds");
    rig.set_until(b"key", b"value", Some(now + 1_500));
    rig.expire_at(b"key", Some(now + 1_900));
    rig.evict_all();
    reap_for(&rig, 1_600);
    assert_eq!(rig.engine.key_counts(DB), (2, 1));
    reap_for(&rig, 4_000);
    assert_eq!(rig.engine.key_counts(DB), (1, 0), "the key left unread");
}

/// One database has far more due keys than are loaded at once. The hints of another are read once,
/// not with each part of the first.
#[test]
fn one_databases_flood_does_not_reload_the_hints_of_others() {
    let rig = Rig::new();
    let at = rig.now_ms() + 300_000;
    let set = |db: u8, key: String, at: u64| {
        let outcome = run(&rig.engine, DbIndex(db), &[key.as_bytes()], Mode::Keys, |txn| {
            txn.put_string(key.as_bytes(), body(b""), Some(lux_engine::ids::ExpireAt(at)), false)
        });
        outcome.expect("commits");
    };
    (0..90_000).for_each(|n| set(0, n.to_string(), at + n % 100));
    (0..1_000).for_each(|n| set(1, n.to_string(), at + 1_000));
    rig.evict_all();
    rig.engine.evict(DbIndex(1), Box::new(|_| true)).expect("evicts");
    let rig = rig.kill();
    rig.checkpoint();
    rig.advance(300_500);
    let watched =
        || -> usize { (0..64).map(|id| rig.engine.store().shard(ShardId(id)).lock().watched()).sum() };
    for _ in 0..4 {
        rig.engine.reaper().tick().expect("reaps");
    }
    assert!(rig.engine.key_counts(DB).0 > 0, "the flood must not be over");
    assert!(watched() <= 2_000, "{} deadlines in memory", watched());
    for _ in 0..6 {
        rig.engine.reaper().tick().expect("reaps");
    }
    reap_for(&rig, 1_000);
    assert_eq!((rig.engine.key_counts(DB), rig.engine.key_counts(DbIndex(1))), ((0, 0), (0, 0)));
}

/// Keys that are stored with a deadline and deleted before it: each left its deadline in memory until then, up
/// to three minutes of them, in no account.
#[test]
fn deadlines_of_deleted_keys_do_not_pile_up() {
    let rig = Rig::with(Options { segment_bytes: 8 << 20, ..Options::default() });
    let at = rig.now_ms() + 100_000;
    (0..500u32).for_each(|n| rig.set_until(&n.to_be_bytes(), b"stays", Some(at + u64::from(n))));
    for n in 1_000..200_000u32 {
        rig.set_until(&n.to_be_bytes(), b"goes", Some(at - 1 - u64::from(n % 1_000)));
        assert!(rig.del(&n.to_be_bytes()));
        if n % 20_000 == 0 {
            rig.checkpoint();
        }
    }
    let watched: usize = (0..64).map(|id| rig.engine.store().shard(ShardId(id)).lock().watched()).sum();
    assert!(watched <= 70_000, "{watched} deadlines in memory");
    rig.advance(99_999);
    reap_for(&rig, 200);
    assert!((300..500).contains(&rig.engine.key_counts(DB).0), "{:?}", rig.engine.key_counts(DB));
    reap_for(&rig, 400);
    assert_eq!(rig.engine.key_counts(DB), (0, 0));
}

/// A key is made persistent, and the reaper meets its old hint. The hint goes only when the commit is
/// durable: if the power takes that, the row has its deadline again and needs the hint.
#[test]
fn an_old_hint_goes_after_the_commit_that_made_it_old() {
    for seed in 0..20 {
        let rig = Rig::with(Options { fsync: lux_engine::wal::FsyncPolicy::No, ..Options::default() });
        rig.set_until(b"key", b"value", Some(rig.now_ms() + 400_000));
        rig.checkpoint();
        rig.evict_all();
        rig.sync();
        rig.expire_at(b"key", None);
        reap_for(&rig, 401_000);
        rig.engine.keeper().request(Request::Parts).wait().expect("writes what waits besides entries");
        let keep = rig.cold.pending_batches();
        let rig = rig.power_cut_keeping(&mut SimRng::new(seed), keep).expect("opens");
        rig.checkpoint();
        rig.evict_all();
        reap_for(&rig, 10_000);
        let keys = rig.engine.key_counts(DB);
        assert!(keys == (1, 0) || keys == (0, 0), "seed {seed}: {keys:?}, a deadline without a hint");
        rig.check_counters();
    }
}

/// A crash between the drops of a dead database's families: no hint stays for ever.
#[test]
fn hints_of_a_dead_database_go_after_a_crash() {
    let rig = Rig::new();
    (0..50).for_each(|n| rig.set_until(format!("{n}").as_bytes(), b"v", Some(rig.now_ms() + 900_000)));
    rig.checkpoint();
    let dead = rig.engine.store().db_id(DB);
    rig.flush_db(DB);
    // The round ends with its first drop; that of the keys succeeds, the others are never made.
    let cold = rig.cold.clone();
    let fail = move || {
        let error = lux_engine::Error::io("drop", "/data/cold", std::io::Error::other("power is gone"));
        cold.fail_next(ColdOperation::Write, error);
    };
    rig.cold.set_hooks(MemoryHooks { before_flush: Some(Arc::new(fail)), ..MemoryHooks::default() });
    assert!(rig.engine.checkpoint().is_err());
    rig.cold.set_hooks(MemoryHooks::default());
    let (from, to) = schema::db_range(dead);
    lux_engine::tier::ColdStore::drop_range(&rig.cold, Family::Keys, &from, &to).expect("drops");
    let rig = rig.kill();
    assert_eq!(rig.cold.row_count(Family::Expires), 50);
    rig.checkpoint();
    assert_eq!(rig.cold.row_count(Family::Expires), 0);
}
