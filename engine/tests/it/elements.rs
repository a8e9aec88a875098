//! Fields leave their hash at their deadline, in memory or not, whether or not anybody looks; their hints
//! follow them.

use std::collections::BTreeMap;

use lux_engine::env::sim::SimRng;
use lux_engine::ids::{ExpireAt, ShardId};
use lux_engine::tier::{ColdStore, Family, schema};
use lux_engine::txn::{Interrupt, Mode, Txn, ValueRef};
use lux_engine::value::TypeTag;
use lux_engine::value::collection::Collection;
use lux_engine::value::hash::{HashLimits, HashValue, Lifetime, Presence};
use lux_engine::wal::effect::Operation;

use crate::invariants::listen;
use crate::rig::{DB, Options, Rig};

const OPTIONS: Options = Options {
    maxmemory: 8 << 20,
    failpoints: 0,
    fsync: lux_engine::wal::FsyncPolicy::No,
    segment_bytes: 2 << 20,
};

/// Deadlines of fields by key and name; 0: none.
type Model = BTreeMap<Vec<u8>, BTreeMap<Vec<u8>, u64>>;

fn hash_of<'t>(txn: &'t mut Txn<'_>, key: &[u8]) -> Result<Option<&'t HashValue>, Interrupt> {
    Ok(txn.lookup(key)?.map(|found| match found.value {
        ValueRef::Collection(Collection::Hash(hash)) => hash,
        other => panic!("not a hash: {other:?}"),
    }))
}

/// HSETEX: fields that all live until `at`, or for ever with 0.
fn set(rig: &Rig, key: &[u8], names: &[Vec<u8>], at: u64) {
    let outcome = rig.run(DB, &[key], Mode::Keys, |txn| {
        txn.set_operation(Operation::HSet);
        let (mut edit, now_ms, empty) = (Vec::new(), txn.now_ms(), HashValue::default());
        let hash = hash_of(txn, key)?.unwrap_or(&empty);
        let lifetime = if at == 0 { Lifetime::Clear } else { Lifetime::Until(ExpireAt(at)) };
        let pairs = names.iter().map(|name| (&name[..], &b"a value"[..]));
        let changes =
            hash.plan_set_expire(pairs, Presence::Any, lifetime, &HashLimits::default(), now_ms, &mut edit);
        assert!(changes.is_some());
        txn.edit_collection(key, TypeTag::Hash, &edit)
    });
    outcome.expect("commits");
}

/// HDEL.
fn remove(rig: &Rig, key: &[u8], name: &[u8]) {
    let outcome = rig.run(DB, &[key], Mode::Keys, |txn| {
        let (mut edit, now_ms) = (Vec::new(), txn.now_ms());
        let Some(hash) = hash_of(txn, key)? else { return Ok(()) };
        let changes = hash.plan_remove(std::iter::once(name), now_ms, &mut edit);
        match changes.removed {
            0 => Ok(()),
            _ if changes.is_over => txn.delete(key).map(drop),
            _ => txn.edit_collection(key, TypeTag::Hash, &edit),
        }
    });
    outcome.expect("commits");
}

fn copy(rig: &Rig, from: &[u8], to: &[u8]) {
    let outcome = rig.run(DB, &[from, to], Mode::Keys, |txn| {
        let mut encoded = Vec::new();
        let Some(hash) = hash_of(txn, from)? else { return Ok(()) };
        hash.encode(&mut encoded);
        txn.put_collection_in(DB, to, TypeTag::Hash, &encoded, None)
    });
    outcome.expect("commits");
}

/// Number of fields that the hash holds, visible or not: the reaper has to take them away.
fn stored_len(rig: &Rig, key: &[u8]) -> u64 {
    let read = rig.run(DB, &[key], Mode::Keys, |txn| Ok(hash_of(txn, key)?.map_or(0, HashValue::len)));
    read.expect("reads").0
}

fn names(range: std::ops::Range<u64>) -> Vec<Vec<u8>> {
    range.map(|n| format!("field {n}").into_bytes()).collect()
}

/// The hints of the cold tier: time and key.
fn hints(rig: &Rig) -> Vec<(u64, Vec<u8>)> {
    let (lower, upper) = ([0; 4], [0xff; 4]);
    let mut cursor = rig.cold.cursor(Family::Expires, &lower, &upper, None).expect("reads");
    cursor.seek(&lower).expect("seeks");
    let mut found = Vec::new();
    while let Some((row, value)) = cursor.row() {
        let hint = schema::read_hint(row, value).expect("a hint");
        found.push((hint.at.0, hint.key.to_vec()));
        cursor.advance().expect("reads");
    }
    found
}

/// Lets time pass with the reaper at work, and a checkpoint each minute at most: what is not near has its
/// hint by then.
fn pass(rig: &Rig, millis: u64) {
    for step in 0..millis / 5_000 {
        if step % 10 == 0 {
            rig.checkpoint();
        }
        rig.advance(5_000);
        rig.engine.reaper().tick().expect("reaps");
    }
    rig.checkpoint();
    rig.advance(millis % 5_000);
    rig.engine.reaper().tick().expect("reaps");
}

#[test]
fn fields_in_memory_leave_and_the_last_takes_the_key_along() {
    let rig = Rig::with(OPTIONS);
    let events = listen(&rig);
    let now = rig.now_ms();
    set(&rig, b"h", &names(0..3), now + 1_000);
    set(&rig, b"h", &names(3..5), now + 2_000);
    set(&rig, b"mixed", &names(0..600), now + 1_000);
    set(&rig, b"mixed", &names(600..601), 0);
    events.lock().clear();
    pass(&rig, 999);
    assert_eq!((stored_len(&rig, b"h"), stored_len(&rig, b"mixed")), (5, 601));
    pass(&rig, 2);
    assert_eq!((stored_len(&rig, b"h"), stored_len(&rig, b"mixed")), (2, 1));
    pass(&rig, 1_000);
    assert_eq!(rig.engine.key_counts(DB).0, 1, "the key goes with its last field");
    // More than one commit may take at once left `mixed`.
    let told: Vec<_> = events.lock().iter().map(|(operation, _)| *operation).collect();
    assert_eq!(told, [Operation::HExpired; 4]);
    rig.check_counters();
    let rig = rig.kill();
    assert_eq!((rig.engine.key_counts(DB).0, stored_len(&rig, b"mixed")), (1, 1), "it is logged");
}

#[test]
fn cold_fields_leave_without_being_read() {
    for restarts in [false, true] {
        let mut rig = Rig::with(OPTIONS);
        let now = rig.now_ms();
        for n in 0..100u64 {
            let key = format!("hash {n}").into_bytes();
            set(&rig, &key, &names(0..4), now + 400_000 + n);
            set(&rig, &key, &names(4..6), now + 800_000);
            if n % 2 == 0 {
                set(&rig, &key, &names(6..7), 0);
            }
        }
        rig.checkpoint();
        rig.evict_all();
        assert_eq!(rig.cold.row_count(Family::Expires), 100, "one hint each");
        if restarts {
            rig = rig.kill();
        }
        pass(&rig, 401_000);
        let keys: Vec<Vec<u8>> = (0..100).map(|n| format!("hash {n}").into_bytes()).collect();
        let lens: Vec<u64> = keys.iter().map(|key| stored_len(&rig, key)).collect();
        assert_eq!(lens, [3, 2].repeat(50));
        rig.checkpoint();
        rig.evict_all();
        assert_eq!(rig.cold.row_count(Family::Expires), 100, "of the fields that are next");
        pass(&rig, 400_000);
        assert_eq!(rig.engine.key_counts(DB).0, 50);
        rig.checkpoint();
        assert_eq!(rig.cold.row_count(Family::Keys), 50);
        assert_eq!(rig.cold.row_count(Family::Expires), 0);
        rig.check_counters();
    }
}

/// A cold hash is renamed unread, whatever its size: its fields leave all the same.
#[test]
fn fields_of_a_renamed_hash_leave() {
    for (many, is_cold, is_killed) in
        [(500, false, false), (500, true, true), (90_000, true, false), (90_000, true, true)]
    {
        let rig = Rig::with(OPTIONS);
        let now = rig.now_ms();
        names(0..many).chunks(5_000).for_each(|names| set(&rig, b"h", names, 0));
        set(&rig, b"h", &names(0..3), now + 400_000);
        rig.checkpoint();
        if is_cold {
            rig.evict_all();
        }
        assert!(rig.rename(b"h", b"renamed"));
        rig.evict_all();
        assert_eq!(hints(&rig), [(now + 400_000, b"renamed".to_vec())]);
        let rig = if is_killed { rig.kill() } else { rig };
        pass(&rig, 401_000);
        assert_eq!(stored_len(&rig, b"renamed"), many - 3);
        rig.checkpoint();
        assert_eq!(hints(&rig), []);
        rig.check_counters();
    }
}

#[test]
fn hints_of_deleted_hashes_go() {
    let rig = Rig::with(OPTIONS);
    let now = rig.now_ms();
    for n in 0..20u64 {
        set(&rig, &n.to_be_bytes(), &names(0..4), now + 400_000);
    }
    rig.evict_all();
    assert_eq!(rig.cold.row_count(Family::Expires), 20);
    for n in 0..20u64 {
        match n % 2 {
            0 => drop(rig.del(&n.to_be_bytes())),
            _ => rig.set(&n.to_be_bytes(), b"a string"),
        }
    }
    rig.checkpoint();
    assert_eq!(rig.cold.row_count(Family::Expires), 0);
    // A hint that is merely wrong goes when its time comes.
    set(&rig, b"moved", &names(0..1), now + 400_000);
    rig.evict_all();
    set(&rig, b"moved", &names(0..1), now + 900_000);
    rig.evict_all();
    pass(&rig, 500_000);
    assert_eq!(stored_len(&rig, b"moved"), 1);
    rig.checkpoint();
    assert_eq!(rig.cold.row_count(Family::Expires), 1);
}

/// Only the deadline that an image took along has a row. Each change of the soonest deadline of a cold hash
/// noted a row to remove: millions of notes between two rounds, of the few rows that there are.
#[test]
fn changes_between_images_note_one_hint() {
    let rig = Rig::with(OPTIONS);
    let now = rig.now_ms();
    set(&rig, b"session", &names(0..2), now + 400_000);
    rig.evict_all();
    let noted =
        || (0..64).map(|id| rig.engine.store().shard(ShardId(id)).lock().stale_hints.len()).sum::<usize>();
    for round in 0..3u64 {
        for n in 0..200 {
            let at = now + 500_000 + round * 1_000 + n;
            set(&rig, b"session", &names(0..2), at);
            if n % 20 == 0 {
                rig.del(b"session");
                set(&rig, b"session", &names(0..2), at);
            }
            assert!(noted() <= 1, "{} notes", noted());
        }
        rig.checkpoint();
        assert_eq!(hints(&rig), [(now + 500_000 + round * 1_000 + 199, b"session".to_vec())]);
    }
    pass(&rig, 510_000);
    assert_eq!(rig.engine.key_counts(DB).0, 0);
    rig.checkpoint();
    assert_eq!(hints(&rig), []);
}

/// A key and its field may expire in the same millisecond: they shared one hint row, and whoever gave the
/// key's deadline up took the field's hint along. A large hash that is not in memory cannot write it again.
#[test]
fn a_key_and_its_elements_have_hints_of_their_own() {
    for is_large in [false, true] {
        let rig = Rig::with(OPTIONS);
        let (now, at) = (rig.now_ms(), rig.now_ms() + 400_000);
        set(&rig, b"hash", &names(0..1), at);
        if is_large {
            (0..10).for_each(|n| set(&rig, b"hash", &names(1 + n * 8_000..8_001 + n * 8_000), 0));
        } else {
            set(&rig, b"hash", &names(1..2), 0);
        }
        let len = stored_len(&rig, b"hash");
        rig.evict_all();
        assert_eq!(rig.cold.row_count(Family::Elements) > 100, is_large, "nodes");
        assert!(rig.expire_at(b"hash", Some(at)));
        rig.evict_all();
        assert_eq!(hints(&rig).len(), 2);
        assert!(rig.expire_at(b"hash", None));
        rig.evict_all();
        assert_eq!(hints(&rig), [(at, b"hash".to_vec())]);
        pass(&rig, at - now + 1_000);
        assert_eq!(stored_len(&rig, b"hash"), len - 1, "nobody had to read it");
        rig.checkpoint();
        assert_eq!(hints(&rig), []);
    }
}

/// Hashes stored as nodes, and as the pages that a copy of a large value comes in.
#[test]
fn fields_of_large_cold_hashes_leave() {
    let rig = Rig::with(OPTIONS);
    let now = rig.now_ms();
    for chunk in 0..10 {
        set(&rig, b"large", &names(chunk * 8_000..chunk * 8_000 + 8_000), now + 300_000 + chunk * 100_000);
    }
    set(&rig, b"large", &names(90_000..90_001), 0);
    rig.evict_all();
    assert!(rig.cold.row_count(Family::Elements) > 100, "nodes");
    copy(&rig, b"large", b"copy");
    rig.evict_all();
    let rig = rig.kill();
    rig.evict_all();
    pass(&rig, 450_000);
    assert_eq!(stored_len(&rig, b"large"), 64_001);
    assert_eq!(stored_len(&rig, b"copy"), 64_001);
    rig.evict_all();
    pass(&rig, 1_000_000);
    assert_eq!((stored_len(&rig, b"large"), stored_len(&rig, b"copy")), (1, 1));
    rig.evict_all();
    rig.checkpoint();
    assert_eq!(rig.cold.row_count(Family::Expires), 0);
}

/// Random changes, evictions, crashes and time: what the hashes hold after each look of the reaper is what
/// has not expired, although nobody reads it.
#[test]
fn a_model_of_fields_with_deadlines() {
    for seed in 0..6 {
        let mut rng = SimRng::new(seed);
        let mut rig = Rig::with(OPTIONS);
        let mut model = Model::new();
        for _ in 0..300 {
            rig = step(rig, &mut model, &mut rng);
            let now = rig.now_ms();
            let is_live = |at: &u64| *at == 0 || *at > now;
            for n in 0..6u64 {
                let fields = model.entry(vec![n as u8]).or_default();
                fields.retain(|_, at| is_live(at));
            }
        }
        pass(&rig, 2_000_000);
        for (key, fields) in &model {
            let stays = fields.values().filter(|at| **at == 0).count() as u64;
            assert_eq!(stored_len(&rig, key), stays, "seed {seed}");
        }
        rig.check_counters();
        rig.check_bytes();
        rig.evict_all();
        rig.checkpoint();
        assert_eq!(hints(&rig), [], "seed {seed}, now {}", rig.now_ms());
    }
}

fn step(rig: Rig, model: &mut Model, rng: &mut SimRng) -> Rig {
    let now = rig.now_ms();
    let (key, other) = (vec![rng.below(6) as u8], vec![rng.below(6) as u8]);
    match rng.below(16) {
        0..=5 => {
            let from = rng.below(600);
            let fields = names(from..from + [1, 3, 40][rng.below(3) as usize]);
            let at = [0, now + 1 + rng.below(20_000), now + rng.below(1_000_000) + 1][rng.below(3) as usize];
            set(&rig, &key, &fields, at);
            let held = model.entry(key).or_default();
            held.extend(fields.into_iter().map(|name| (name, at)));
        }
        6 => {
            let name = names(rng.below(600)..600).swap_remove(0);
            remove(&rig, &key, &name);
            model.entry(key).or_default().remove(&name);
        }
        7 => {
            rig.del(&key);
            model.remove(&key);
        }
        8 if key != other => {
            copy(&rig, &key, &other);
            let copied = model.get(&key).cloned().unwrap_or_default();
            if !copied.is_empty() {
                model.insert(other, copied);
            }
        }
        9 => rig.evict_all(),
        10 => rig.checkpoint(),
        11 => return rig.kill(),
        _ => {
            pass(&rig, rng.below(30_000));
            let now = rig.now_ms();
            for (key, fields) in model {
                let live = fields.values().filter(|at| **at == 0 || **at > now).count() as u64;
                assert_eq!(stored_len(&rig, key), live, "{key:?}");
            }
        }
    }
    rig
}
