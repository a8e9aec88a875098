//! What a command needs comes into memory in one batch, and what commands keep there is bounded.

use std::sync::Barrier;
use std::sync::atomic::Ordering;
use std::thread;

use lux_engine::ids::ShardId;
use lux_engine::txn::{Mode, SYNC_AFTER, Scratch, Wait};
use lux_engine::{Error, Result};

use crate::rig::{DB, Options, Rig, text};

fn keys(count: usize) -> Vec<Vec<u8>> {
    (0..count).map(|n| format!("key:{n}").into_bytes()).collect()
}

/// A store with all these keys cold.
fn cold(keys: &[Vec<u8>], value: &[u8], maxmemory: u64) -> Rig {
    let rig = Rig::with(Options { maxmemory, ..Options::default() });
    keys.iter().for_each(|key| rig.set(key, value));
    rig.evict_all();
    rig
}

/// MGET: the sum of the values' lengths.
fn read_all(rig: &Rig, keys: &[Vec<u8>]) -> Result<usize> {
    let names: Vec<&[u8]> = keys.iter().map(|key| &key[..]).collect();
    let read = rig.run(DB, &names, Mode::Keys, |txn| {
        let mut sum = 0;
        for key in &names {
            sum += txn.lookup(key)?.map_or(0, |found| text(found.value).len());
        }
        Ok(sum)
    });
    read.map(|(sum, _)| sum)
}

#[test]
fn all_cold_keys_of_a_command_come_in_one_batch() {
    let keys = keys(200);
    let rig = cold(&keys, b"value", 64 << 20);
    let restarts = || rig.engine.store().stats.restarts.load(Ordering::Relaxed);
    let before = restarts();
    assert_eq!(read_all(&rig, &keys).expect("reads"), 200 * 5);
    assert_eq!(restarts() - before, 1, "one round misses, the next finds all");
}

/// Eight commands that want half of the room each, all at once: they come to their end, and together they
/// never keep much more than the room.
#[test]
fn commands_share_the_room_for_pins() {
    const MAXMEMORY: u64 = 8 << 20;
    let keys = keys(8 * 50);
    let rig = cold(&keys, &[7; 10_000], MAXMEMORY);
    let barrier = Barrier::new(8);
    let most = thread::scope(|scope| {
        let readers = keys.chunks(50).map(|keys| {
            let (rig, barrier) = (&rig, &barrier);
            scope.spawn(move || {
                barrier.wait();
                let mut most = 0;
                for _ in 0..5 {
                    assert_eq!(read_all(rig, keys).expect("reads"), 50 * 10_000);
                    most = most.max(rig.engine.store().pins.bytes());
                    rig.engine.evict(DB, Box::new(|_| true)).expect("evicts");
                }
                most
            })
        });
        let readers: Vec<_> = readers.collect();
        readers.into_iter().map(|reader| reader.join().expect("reads")).max()
    });
    let pins = &rig.engine.store().pins;
    assert_eq!(pins.limit(), (MAXMEMORY / 8) as usize);
    assert!(most.expect("there are readers") <= 2 * pins.limit(), "{most:?}");
    assert_eq!(pins.bytes(), 0, "all is given back");
}

#[test]
fn a_command_that_needs_half_of_the_budget_is_refused_and_one_value_never() {
    let keys = keys(1000);
    let rig = cold(&keys, &[7; 10_000], 8 << 20);
    match read_all(&rig, &keys) {
        Err(Error::TooLarge { limit, .. }) => assert_eq!(limit, 4 << 20),
        other => panic!("{other:?}"),
    }
    assert_eq!(rig.engine.store().pins.bytes(), 0);
    rig.set(b"one", &vec![1; 6 << 20]);
    rig.evict_all();
    assert_eq!(rig.get(b"one").map(|value| value.len()), Some(6 << 20));
}

/// A command over several large cold values used to end with all shards locked, reading them one after the
/// other while the server stood still: each took a round of its own, and four rounds were the bound.
#[test]
fn large_values_are_not_read_with_all_shards_locked() {
    let keys = keys(9);
    let rig = cold(&keys, &vec![9; 2 << 20], 256 << 20);
    let names: Vec<&[u8]> = keys.iter().map(|key| &key[..]).collect();
    let restarts = || rig.engine.store().stats.restarts.load(Ordering::Relaxed);
    // One by one, all at one moment, and one by one with the others in view.
    for (way, expected) in [(0, 1 + 9), (1, 2), (2, 2)] {
        let before = restarts();
        let read = rig.run(DB, &names, Mode::Keys, |txn| {
            assert!(locked_shards(&rig) <= keys.len(), "only the shards of its keys");
            let mut sum = 0;
            match way {
                0 => {
                    for name in &names {
                        sum += txn.lookup(name)?.map_or(0, |found| text(found.value).len());
                    }
                }
                1 => {
                    let values = txn.lookup_all(names.iter().copied(), true)?;
                    sum += values.into_iter().flatten().map(|value| text(value).len()).sum::<usize>();
                }
                _ => {
                    for name in &names {
                        let found = txn.lookup_among(name, names.iter().copied(), true)?;
                        sum += found.map_or(0, |found| text(found.value).len());
                    }
                }
            }
            Ok(sum)
        });
        assert_eq!(read.expect("reads").0, 9 * (2 << 20));
        assert_eq!(restarts() - before, expected, "rounds of way {way}");
        rig.evict_all();
    }
}

fn locked_shards(rig: &Rig) -> usize {
    (0..64u8).filter(|id| rig.engine.store().shard(ShardId(*id)).is_locked()).count()
}

/// What was fetched is lost again and again, as when others keep changing it: the fifth round locks all shards
/// and reads them itself, rows and pages.
#[test]
fn a_command_that_gets_nowhere_reads_with_all_shards_locked() {
    let keys = keys(6);
    let rig = cold(&keys, &vec![9; 2 << 20], 64 << 20);
    let names: Vec<&[u8]> = keys.iter().map(|key| &key[..]).collect();
    let mut scratch = Scratch::default();
    for round in 0..=SYNC_AFTER {
        let mut txn = rig.engine.begin(&mut scratch, DB, &names, Mode::Keys, rig.now_ms());
        assert!(txn.lookup(&keys[0]).is_err(), "round {round}");
        assert!(locked_shards(&rig) <= keys.len());
        let Wait::Fetch(ticket) = txn.abandon() else { panic!("the key is cold") };
        ticket.wait().expect("reads");
        drop(ticket);
        rig.evict_all();
    }
    let mut txn = rig.engine.begin(&mut scratch, DB, &names, Mode::Keys, rig.now_ms());
    for key in &keys {
        assert_eq!(
            txn.lookup(key).expect("the last round").map(|found| text(found.value).len()),
            Some(2 << 20)
        );
    }
    assert_eq!(locked_shards(&rig), 64);
}
