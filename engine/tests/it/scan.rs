//! A step of SCAN returns about as many keys as were asked for, wherever they are.

use std::collections::{HashMap, HashSet};

use lux_engine::env::sim::SimRng;

use crate::rig::{DB, Rig};

/// Walks a database with this COUNT; the number of keys of each step.
fn walk(rig: &Rig, count: u64, keys: &HashSet<Vec<u8>>) -> Vec<usize> {
    let (mut sizes, mut found, mut from) = (Vec::new(), HashSet::new(), Some(0));
    while let Some(cursor) = from {
        let step = rig.engine.scan(DB, cursor, count).expect("scans");
        sizes.push(step.keys.len());
        for (key, _) in step.keys {
            assert!(found.insert(key), "a key came twice from an unchanging store");
        }
        from = step.next;
    }
    assert_eq!(&found, keys);
    sizes
}

fn check_sizes(rig: &Rig, keys: &HashSet<Vec<u8>>, what: &str) {
    for count in [1, 2, 7, 10, 64, 300] {
        let sizes = walk(rig, count, keys);
        let worst = sizes.iter().copied().max().unwrap_or_default() as u64;
        // Two keys rarely share a bucket.
        assert!(worst <= count + 1, "{what}: COUNT {count} returned {worst} keys");
        let mean = keys.len() as f64 / sizes.len() as f64;
        assert!(mean >= 0.75 * count as f64, "{what}: COUNT {count} returned {mean} keys on average");
    }
    assert_eq!(walk(rig, keys.len() as u64, keys).len(), 1, "{what}: all at once");
}

#[test]
fn a_step_returns_about_count_keys() {
    let rig = Rig::new();
    let mut keys = HashSet::new();
    for n in 0..3_000u32 {
        let key = format!("key {n}").into_bytes();
        rig.set(&key, b"value");
        keys.insert(key);
    }
    check_sizes(&rig, &keys, "hot");
    rig.evict_all();
    check_sizes(&rig, &keys, "cold");
    for n in (0..3_000u32).step_by(2) {
        let key = format!("key {n}").into_bytes();
        if n % 4 == 0 {
            assert!(rig.get(&key).is_some());
        } else {
            rig.del(&key);
            keys.remove(&key);
        }
    }
    check_sizes(&rig, &keys, "hot, cold and deleted");
}

/// All keys lie in one of 16384 parts of the bucket range: most of a walk finds nothing, and then
/// far too much at once.
#[test]
fn a_step_is_no_larger_within_one_hash_tag() {
    let rig = Rig::new();
    let keys: HashSet<Vec<u8>> = (0..3_000u32).map(|n| format!("{{tag}}{n}").into_bytes()).collect();
    keys.iter().for_each(|key| rig.set(key, b"value"));
    for what in ["hot", "cold"] {
        for count in [1, 10, 300] {
            let sizes = walk(&rig, count, &keys);
            // There are 2^18 buckets for these keys: some share one.
            let worst = sizes.iter().copied().max().unwrap_or_default() as u64;
            assert!(worst <= count + 3, "{what}: COUNT {count} returned {worst} keys");
        }
        rig.evict_all();
    }
}

/// All keys of three hash tags: RANDOMKEY named the first 64 of each, since almost every place in the bucket
/// order lies before one of them.
#[test]
fn a_key_by_chance_may_be_any_key() {
    let rig = Rig::new();
    let mut rng = SimRng::new(9);
    let mut random = |below| rng.below(below);
    assert_eq!(rig.engine.random_key(DB, &mut random).expect("reads"), None);
    let key = |n: u32| format!("{{tag {}}}{n}", n % 3).into_bytes();
    (0..1_200).for_each(|n| rig.set(&key(n), b"value"));
    let check = |what: &str, keys: u32, random: &mut dyn FnMut(u64) -> u64| {
        let draws = keys * 30;
        let mut counts: HashMap<Vec<u8>, u32> = HashMap::new();
        for _ in 0..draws {
            let key = rig.engine.random_key(DB, &mut *random).expect("reads").expect("there are keys");
            *counts.entry(key).or_default() += 1;
        }
        let named = counts.len() as u32;
        assert!(named * 100 >= keys * 95, "{what}: {named} of {keys} keys");
        counts
    };
    let counts = check("hot", 1_200, &mut random);
    assert!(counts.values().all(|count| (8..70).contains(count)), "each as likely as the others");
    // With tombstones in memory.
    rig.checkpoint();
    (600..1_200).for_each(|n| assert!(rig.del(&key(n))));
    check("hot and deleted", 600, &mut random);
    rig.evict_all();
    check("cold", 600, &mut random);
    (0..300).for_each(|n| drop(rig.get(&key(n))));
    check("hot and cold", 600, &mut random);
    (0..599).for_each(|n| assert!(rig.del(&key(n))));
    for _ in 0..20 {
        assert_eq!(rig.engine.random_key(DB, &mut random).expect("reads"), Some(key(599)));
    }
    rig.del(&key(599));
    assert_eq!(rig.engine.random_key(DB, &mut random).expect("reads"), None);
}

/// A recount after a kill meets keys whose changed deadlines still wait for their rows: it must count
/// the deadline that they will have.
#[test]
fn a_recount_knows_what_replayed_keys_will_become() {
    let rig = Rig::new();
    let soon = rig.now_ms() + 100_000;
    for n in 0..40u32 {
        rig.set_until(format!("key {n}").as_bytes(), b"value", (n < 20).then_some(soon));
    }
    rig.checkpoint();
    rig.evict_all();
    for n in 10..30u32 {
        rig.expire_at(format!("key {n}").as_bytes(), (n >= 20).then_some(soon));
    }
    for n in [0u32, 39] {
        rig.append(format!("key {n}").as_bytes(), b"+");
    }
    let rig = rig.kill();
    assert_eq!(rig.engine.key_counts(DB), (40, 20));
    rig.try_counters().expect("a recount agrees while keys wait for their rows");
    rig.checkpoint();
    rig.check_counters();
}
