//! When and how often keys were used, and what cache mode makes of it.

use lux_engine::eviction::{CacheConfig, Lfu, Policy};
use lux_engine::keyspace::usage::{Usage, UsedAt};
use lux_engine::txn::Mode;

use crate::rig::{DB, Rig, body};

fn usage(rig: &Rig, key: &[u8]) -> Usage {
    let outcome = rig.run(DB, &[key], Mode::Keys, |txn| Ok(txn.peek(key)?.map(|found| found.usage)));
    outcome.expect("reads").0.expect("the key is there")
}

fn idle(rig: &Rig, key: &[u8]) -> u32 {
    usage(rig, key).at.idle_seconds(UsedAt::new(rig.now_ms()))
}

#[test]
fn idle_time_counts_from_the_last_use() {
    let rig = Rig::new();
    rig.set(b"read", b"1");
    rig.set(b"written", b"1");
    rig.set(b"edited", b"abc");
    rig.set(b"alone", b"1");
    rig.advance(5_000);
    assert_eq!(idle(&rig, b"read"), 5, "asking is no use");
    rig.get(b"read");
    rig.set(b"written", b"2");
    rig.append(b"edited", b"d");
    rig.advance(3_000);
    assert_eq!(["read", "written", "edited", "alone"].map(|key| idle(&rig, key.as_bytes())), [3, 3, 3, 8]);
    rig.advance(86_400_000);
    assert_eq!(idle(&rig, b"alone"), 86_408);
}

/// Of a cold key only this is known: it was used no later than the last key that left its shard.
#[test]
fn the_idle_time_of_a_cold_key_is_a_lower_bound() {
    let rig = Rig::new();
    rig.set(b"old", b"1");
    rig.advance(100_000);
    rig.set(b"new", b"1");
    rig.advance(50_000);
    rig.evict_all();
    rig.advance(7_000);
    for (key, longest) in [(&b"old"[..], 157), (b"new", 57)] {
        let seconds = idle(&rig, key);
        assert!((57..=longest).contains(&seconds), "{} s", seconds);
    }
    assert_eq!(idle(&rig, b"new"), 57, "fetched by the question before, and not used");
    let rig = rig.kill();
    rig.advance(2_000);
    assert_eq!(idle(&rig, b"new"), 2, "since the opening");
}

/// What RESTORE says about a key, and which half of it counts.
#[test]
fn usage_can_be_given() {
    let rig = Rig::new();
    let store = |idle, uses| {
        let outcome = rig.run(DB, &[b"key"], Mode::Keys, |txn| {
            txn.put_string(b"key", body(b"value"), None, false)?;
            txn.set_usage(DB, b"key", idle, uses);
            Ok(())
        });
        outcome.expect("commits");
        usage(&rig, b"key")
    };
    let now = UsedAt::new(rig.now_ms());
    assert_eq!(store(Some(1_000), None), Usage::new(now.before(1_000)));
    assert_eq!(store(None, Some(200)).uses, 5, "uses are not counted");
    rig.engine.store().usage.set(true, Lfu::default());
    assert_eq!(store(Some(1_000), None).at, now, "time does not count");
    assert_eq!(store(None, Some(200)), Usage { at: now, uses: 200 });
}

/// Drops 64 of 256 keys, the least one can, with half of the keys marked by `use_key` as better ones.
/// Returns how many of the better and of the other ones are left.
fn drop_some(policy: Policy, samples: usize, use_key: impl Fn(&Rig, &[u8])) -> (usize, usize) {
    let rig = Rig::new();
    let key = |n: usize| format!("key {n}").into_bytes();
    let deadline = policy.name().starts_with("volatile").then(|| rig.now_ms() + 1_000_000_000);
    let mut cache = CacheConfig { policy, samples, ..CacheConfig::default() };
    rig.engine.disk().configure(&cache);
    (0..256).for_each(|n| rig.set_until(&key(n), &[b'v'; 100], deadline));
    rig.advance(1_000_000);
    (0..256).step_by(2).for_each(|n| use_key(&rig, &key(n)));
    rig.checkpoint();
    rig.engine.disk().look().expect("looks");
    let used = rig.engine.disk().used_bytes.load(std::sync::atomic::Ordering::Relaxed);
    cache.maxdisk = used - 1;
    rig.engine.disk().configure(&cache);
    assert_eq!(rig.engine.disk().look().expect("drops"), 64);
    let left = |first| (first..256).step_by(2).filter(|n| rig.get(&key(*n)).is_some()).count();
    (left(0), left(1))
}

#[test]
fn lru_drops_what_was_idle_longest() {
    for policy in [Policy::AllKeysLru, Policy::VolatileLru] {
        let (used, idle) = drop_some(policy, 16, |rig, key| drop(rig.get(key)));
        assert!(used >= 126, "{}: {used} used keys and {idle} idle keys are left", policy.name());
        assert_eq!(used + idle, 192);
    }
}

/// All keys are used last in the same second; half of them are used often.
#[test]
fn lfu_drops_what_was_used_least() {
    for policy in [Policy::AllKeysLfu, Policy::VolatileLfu] {
        let (often, rarely) = drop_some(policy, 16, |rig, key| {
            (0..100).for_each(|_| drop(rig.get(key)));
            // The other half: its neighbour by name.
            let n: usize = std::str::from_utf8(&key[4..]).expect("text").parse().expect("a number");
            rig.get(format!("key {}", n + 1).as_bytes());
        });
        assert!(often >= 126, "{}: {often} often and {rarely} rarely used keys are left", policy.name());
    }
}

/// With one sample a policy chooses as badly as chance.
#[test]
fn more_samples_choose_better() {
    let left = |samples| drop_some(Policy::AllKeysLru, samples, |rig, key| drop(rig.get(key))).0;
    let (one, many) = (left(1), left(32));
    assert!(one < 115, "{one} of 128 used keys are left with one sample");
    assert!(many > 120, "{many} of 128 used keys are left with 32 samples");
}
