//! What a command needs comes into memory in one batch, and what commands keep there is bounded.

use std::sync::Barrier;
use std::sync::atomic::Ordering;
use std::thread;

use lux_engine::txn::Mode;
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

/// Strings whose pages are in the cold tier, met by a command that reads with all shards locked.
#[test]
fn long_strings_are_read_in_the_last_round_too() {
    let keys = keys(6);
    let rig = cold(&keys, &vec![9; 2 << 20], 64 << 20);
    assert_eq!(read_all(&rig, &keys).expect("reads"), 6 * (2 << 20));
}
