//! Many threads at once: no update is lost, no key is missed, no read is made twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use lux_engine::env::sim::SimRng;
use lux_engine::ids::ShardId;
use lux_engine::tier::memory::{Gate, MemoryHooks};
use lux_engine::txn::{Mode, ValueRef};
use lux_engine::wal::effect::StringBody;

use crate::rig::{DB, Options, Rig};

const ACCOUNTS: u64 = 40;
const EACH: i64 = 1_000;

fn account(n: u64) -> Vec<u8> {
    format!("account {n}").into_bytes()
}

fn transfer(rig: &Rig, rng: &mut SimRng) {
    let (from, to) = (account(rng.below(ACCOUNTS)), account(rng.below(ACCOUNTS)));
    if from == to {
        return;
    }
    let amount = rng.below(20) as i64;
    let outcome = rig.run(DB, &[&from, &to], Mode::Keys, |txn| {
        let mut balance = |key: &[u8]| {
            Ok(match txn.lookup(key)?.map(|found| found.value) {
                Some(ValueRef::Int(balance)) => balance,
                other => panic!("an account is {other:?}"),
            })
        };
        let (a, b) = (balance(&from)?, balance(&to)?);
        txn.put_string(&from, StringBody::Int(a - amount), None, false)?;
        txn.put_string(&to, StringBody::Int(b + amount), None, false)
    });
    outcome.expect("commits");
}

fn total(rig: &Rig) -> i64 {
    let accounts: Vec<Vec<u8>> = (0..ACCOUNTS).map(account).collect();
    let keys: Vec<&[u8]> = accounts.iter().map(|key| &key[..]).collect();
    let outcome = rig.run(DB, &keys, Mode::Keys, |txn| {
        keys.iter().try_fold(0, |sum, key| match txn.lookup(key)?.map(|found| found.value) {
            Some(ValueRef::Int(balance)) => Ok(sum + balance),
            other => panic!("an account is {other:?}"),
        })
    });
    outcome.expect("reads").0
}

/// Money moves between accounts while everything is evicted again and again and rounds run: the
/// sum never changes, for a reader of all accounts or after a crash.
#[test]
fn transfers_keep_their_sum() {
    let rig = Rig::with(Options { maxmemory: 1 << 20, ..Options::default() });
    for n in 0..ACCOUNTS {
        rig.set(&account(n), EACH.to_string().as_bytes());
    }
    let expected = EACH * ACCOUNTS as i64;
    let done = AtomicBool::new(false);
    let promoted = || rig.engine.store().stats.promoted.load(Ordering::Relaxed);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..3)
            .map(|seed| {
                let (rig, promoted) = (&rig, &promoted);
                scope.spawn(move || {
                    let mut rng = SimRng::new(seed);
                    while promoted() < 500 {
                        transfer(rig, &mut rng);
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                rig.engine.evict(DB, Box::new(|_| true)).expect("evicts");
            }
        });
        scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                rig.engine.checkpoint().expect("a round");
            }
        });
        while !workers.iter().all(thread::ScopedJoinHandle::is_finished) {
            assert_eq!(total(&rig), expected);
        }
        done.store(true, Ordering::SeqCst);
    });
    rig.check_counters();
    rig.evict_all();
    let mut rng = SimRng::new(9);
    let rig = rig.kill();
    assert_eq!(total(&rig), expected);
    let rig = rig.power_cut(&mut rng).expect("opens");
    assert_eq!(total(&rig), expected);
}

/// Twenty readers of one cold key cause one read; when they are done nothing stays pinned.
#[test]
fn many_readers_of_one_cold_key_cause_one_read() {
    let rig = Rig::new();
    rig.set(b"key", b"value");
    rig.set(b"other", b"cold too");
    rig.evict_all();
    let reads = Arc::new(AtomicU64::new(0));
    let gate = Gate::closed();
    let (counter, pass) = (Arc::clone(&reads), gate.hook());
    rig.cold.set_hooks(MemoryHooks {
        before_get: Some(Arc::new(move || {
            counter.fetch_add(1, Ordering::SeqCst);
            pass();
        })),
        ..MemoryHooks::default()
    });
    thread::scope(|scope| {
        let readers: Vec<_> = (0..20).map(|_| scope.spawn(|| rig.get(b"key"))).collect();
        gate.wait_for_arrivals(1);
        // All have asked: each restart of a command is counted when it gives up its round.
        while rig.engine.store().stats.restarts.load(Ordering::Relaxed) < 20 {
            thread::yield_now();
        }
        let hash = rig.engine.store().hasher.hash(b"key");
        while rig
            .engine
            .store()
            .shard(hash.shard)
            .lock()
            .fetches
            .values()
            .map(|slot| slot.waiters.len())
            .sum::<usize>()
            < 20
        {
            thread::yield_now();
        }
        gate.open();
        for reader in readers {
            assert_eq!(reader.join().expect("reads").as_deref(), Some(&b"value"[..]));
        }
    });
    assert_eq!(reads.load(Ordering::SeqCst), 1);
    rig.evict_all();
    assert_eq!(pins(&rig), 0);
}

fn pins(rig: &Rig) -> u64 {
    let mut pins = 0;
    for id in 0..64 {
        for part in rig.engine.store().shard(ShardId(id)).lock().dbs() {
            part.table.for_each(|entry| pins += u64::from(entry.pins()));
        }
    }
    pins
}

/// Commands that are interrupted, dropped and run again, on keys that are there and keys that
/// are not, leave no pin and no entry for an absence behind.
#[test]
fn no_pin_outlives_its_command() {
    let rig = Rig::new();
    for n in 0..200 {
        rig.set(format!("{n}").as_bytes(), b"value");
    }
    rig.evict_all();
    for round in 0..20u64 {
        let mut rng = SimRng::new(round);
        for _ in 0..30 {
            let keys: Vec<Vec<u8>> = (0..4).map(|_| rng.below(300).to_string().into_bytes()).collect();
            match rng.below(4) {
                // Asked for and never waited for.
                0 => drop(rig.engine.prefetch(DB, keys.iter().map(|key| &key[..]))),
                1 => drop(rig.del(&keys[0])),
                2 => rig.set(&keys[0], b"again"),
                _ => drop(keys.iter().map(|key| rig.get(key)).collect::<Vec<_>>()),
            }
        }
        // Reads that nobody waited for may still be under way: ask for something behind them.
        let all: Vec<Vec<u8>> = (0..300).map(|n| n.to_string().into_bytes()).collect();
        if let Some(ticket) = rig.engine.prefetch(DB, all.iter().map(|key| &key[..])) {
            ticket.wait().expect("reads");
        }
        // A read thread gives back the pin of a ticket that nobody holds just after it has unlocked.
        let patience = Instant::now() + Duration::from_secs(30);
        while pins(&rig) != 0 && Instant::now() < patience {
            thread::yield_now();
        }
        assert_eq!(pins(&rig), 0, "round {round}");
        rig.evict_all();
        rig.check_counters();
    }
}

/// Keys are promoted, evicted, overwritten, made and deleted while SCAN walks: every key that was
/// there from start to end is returned, and no key that never was.
#[test]
fn scan_keeps_its_promise_under_fire() {
    let rig = Rig::with(Options { maxmemory: 1 << 20, ..Options::default() });
    let stable: Vec<Vec<u8>> = (0..1_500).map(|n| format!("stable {n}").into_bytes()).collect();
    for key in &stable {
        rig.set(key, &[b's'; 100]);
    }
    rig.evict_all();
    let done = AtomicBool::new(false);
    let until_done = |mut work: Box<dyn FnMut() + Send + '_>| {
        while !done.load(Ordering::SeqCst) {
            work();
        }
    };
    thread::scope(|scope| {
        for seed in 0..2 {
            let (rig, stable, until_done) = (&rig, &stable, &until_done);
            scope.spawn(move || {
                let mut rng = SimRng::new(seed);
                until_done(Box::new(|| {
                    let key = &stable[rng.below(1_500) as usize];
                    match rng.below(3) {
                        0 => rig.set(key, b"overwritten"),
                        1 => rig.append(key, b"+"),
                        _ => assert!(rig.get(key).is_some()),
                    }
                    let fleeting = format!("fleeting {seed} {}", rng.below(300)).into_bytes();
                    match rng.below(2) {
                        0 => rig.set(&fleeting, b"soon gone"),
                        _ => drop(rig.del(&fleeting)),
                    }
                }));
            });
        }
        let (rig, until_done) = (&rig, &until_done);
        scope.spawn(move || {
            until_done(Box::new(|| {
                rig.engine.evict(DB, Box::new(|_| true)).expect("evicts");
            }));
        });
        for walk in 0..25 {
            let (mut found, mut from) = (std::collections::HashSet::new(), Some(0));
            while let Some(cursor) = from {
                let step = rig.engine.scan(DB, cursor, 10).expect("scans");
                found.extend(step.keys.into_iter().map(|(key, _)| key));
                from = step.next;
            }
            let missed = stable.iter().filter(|key| !found.contains(*key)).count();
            let strange =
                found.iter().filter(|key| !key.starts_with(b"stable") && !key.starts_with(b"fleeting"));
            if missed > 0 || strange.count() > 0 {
                done.store(true, Ordering::SeqCst);
                panic!("walk {walk} missed {missed} keys");
            }
        }
        done.store(true, Ordering::SeqCst);
    });
    assert!(rig.engine.store().stats.evicted.load(Ordering::Relaxed) > 1_000, "keys must have been cold");
    rig.check_counters();
}
