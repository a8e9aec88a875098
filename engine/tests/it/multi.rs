//! Transactions of several commands: each sees the ones before it, nobody else sees a part, a crash leaves
//! whole ones.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use lux_engine::env::sim::SimRng;
use lux_engine::ids::{DbIndex, ExpireAt};
use lux_engine::txn::{Interrupt, Mode, Txn, ValueRef};
use lux_engine::value::TypeTag;
use lux_engine::value::collection::Collection;
use lux_engine::value::set::{Member, SetLimits, SetValue};
use lux_engine::value::string::number::IntText;
use lux_engine::wal::effect::Operation;

use crate::rig::{DB, Options, Rig, body, run_multi, text};

const OPTIONS: Options = Options {
    maxmemory: 8 << 20,
    failpoints: 0,
    fsync: lux_engine::wal::FsyncPolicy::No,
    segment_bytes: 2 << 20,
};

#[derive(Clone, Debug, PartialEq)]
enum Held {
    Text(Vec<u8>),
    Set(BTreeSet<Vec<u8>>),
}

type Map = BTreeMap<Vec<u8>, (Held, Option<u64>)>;

/// One command, chosen beforehand: it runs again when its transaction does.
#[derive(Clone, Debug)]
enum Step {
    Get(Vec<u8>),
    Set(Vec<u8>, Vec<u8>, Option<u64>),
    Append(Vec<u8>, Vec<u8>),
    SetRange(Vec<u8>, usize, Vec<u8>),
    Expire(Vec<u8>, Option<u64>),
    Del(Vec<u8>),
    Rename(Vec<u8>, Vec<u8>),
    Add(Vec<u8>, Vec<Vec<u8>>),
    Remove(Vec<u8>, Vec<Vec<u8>>),
    /// Changes two keys and fails then.
    Fail(Vec<u8>, Vec<u8>),
    /// Walks over all keys.
    Walk,
    Flush,
}

fn key(rng: &mut SimRng) -> Vec<u8> {
    format!("key:{}", rng.below(12)).into_bytes()
}

fn value(rng: &mut SimRng) -> Vec<u8> {
    match rng.below(40) {
        0..10 => rng.below(1 << 40).to_string().into_bytes(),
        10..14 => vec![b'x'; 1500 + rng.below(3000) as usize],
        14 => vec![b'l'; 300_000 + rng.below(300_000) as usize],
        _ => format!("value {}", rng.next_u64()).into_bytes(),
    }
}

fn names(rng: &mut SimRng) -> Vec<Vec<u8>> {
    let count = if rng.below(20) == 0 { 3000 } else { 1 + rng.below(4) };
    (0..count).map(|_| format!("member {}", rng.below(count * 8)).into_bytes()).collect()
}

fn step(rng: &mut SimRng, now: u64) -> Step {
    let key_1 = key(rng);
    let deadline = (rng.below(3) == 0).then(|| now + 1 + rng.below(5000));
    match rng.below(100) {
        0..20 => Step::Get(key_1),
        20..35 => Step::Set(key_1, value(rng), deadline),
        35..45 => Step::Append(key_1, value(rng)),
        45..50 => Step::SetRange(key_1, rng.below(2000) as usize, value(rng)),
        50..58 => Step::Expire(key_1, deadline),
        58..64 => Step::Del(key_1),
        64..70 => Step::Rename(key_1, key(rng)),
        70..86 => Step::Add(key_1, names(rng)),
        86..92 => Step::Remove(key_1, names(rng)),
        92..97 => Step::Fail(key_1, key(rng)),
        97..99 => Step::Walk,
        _ => Step::Flush,
    }
}

fn members(set: &SetValue) -> BTreeSet<Vec<u8>> {
    let text = |member: Member<'_>| member.text(&mut IntText::default()).to_vec();
    set.members().map(text).collect()
}

fn held(value: ValueRef<'_>) -> Held {
    match value {
        ValueRef::Collection(Collection::Set(set)) => Held::Set(members(set)),
        value => Held::Text(text(value)),
    }
}

fn read(txn: &mut Txn<'_>, key: &[u8]) -> Result<Option<(Held, Option<u64>)>, Interrupt> {
    Ok(txn.lookup(key)?.map(|found| (held(found.value), found.deadline.map(|at| at.0))))
}

/// Stores what was read, under another key.
fn put(txn: &mut Txn<'_>, key: &[u8], value: &Held, at: Option<u64>) -> Result<(), Interrupt> {
    let deadline = at.map(ExpireAt);
    match value {
        Held::Text(bytes) => txn.put_string(key, body(bytes), deadline, false),
        Held::Set(names) => {
            let (mut set, mut edit, mut encoded) = (SetValue::default(), Vec::new(), Vec::new());
            set.plan_add(names.iter().map(|name| &name[..]), &SetLimits::default(), &mut edit);
            set.apply(&edit).expect("planned for it");
            Collection::Set(set).encode(&mut encoded);
            txn.put_collection_in(DB, key, TypeTag::Set, &encoded, deadline)
        }
    }
}

fn edit_set(txn: &mut Txn<'_>, key: &[u8], names: &[Vec<u8>], adds: bool) -> Result<(), Interrupt> {
    let (mut edit, empty) = (Vec::new(), SetValue::default());
    let set = match txn.lookup(key)?.map(|found| found.value) {
        Some(ValueRef::Collection(Collection::Set(set))) => set,
        Some(_) => return Ok(()),
        None => &empty,
    };
    let names = names.iter().map(|name| &name[..]);
    if adds {
        if set.plan_add(names, &SetLimits::default(), &mut edit) > 0 {
            txn.edit_collection(key, TypeTag::Set, &edit)?;
        }
        return Ok(());
    }
    let changes = set.plan_remove(names, &mut edit);
    match changes.removed {
        0 => {}
        _ if changes.is_over => drop(txn.delete(key)?),
        _ => txn.edit_collection(key, TypeTag::Set, &edit)?,
    }
    Ok(())
}

/// Runs a step in the transaction and in the map; what both say about the key is the same.
fn run_step(txn: &mut Txn<'_>, step: &Step, map: &mut Map) -> Result<(), Interrupt> {
    match step {
        Step::Get(key) => assert_eq!(read(txn, key)?, map.get(key).cloned(), "{}", key.escape_ascii()),
        Step::Set(key, value, at) => {
            put(txn, key, &Held::Text(value.clone()), *at)?;
            map.insert(key.clone(), (Held::Text(value.clone()), *at));
        }
        Step::Append(key, bytes) => match read(txn, key)? {
            Some((Held::Set(_), _)) => {}
            None => {
                txn.put_string(key, body(bytes), None, false)?;
                map.insert(key.clone(), (Held::Text(bytes.clone()), None));
            }
            Some(_) => {
                txn.append(key, bytes)?;
                let Some((Held::Text(text), _)) = map.get_mut(key) else { panic!("no text: {step:?}") };
                text.extend_from_slice(bytes);
            }
        },
        Step::SetRange(key, offset, bytes) => {
            if let Some((Held::Text(_), _)) = read(txn, key)? {
                txn.set_range(key, *offset, bytes)?;
                let Some((Held::Text(text), _)) = map.get_mut(key) else { panic!("no text: {step:?}") };
                text.resize(text.len().max(offset + bytes.len()), 0);
                text[*offset..offset + bytes.len()].copy_from_slice(bytes);
            }
        }
        Step::Expire(key, at) => {
            let is_there = txn.header(key, false)?.is_some();
            assert_eq!(is_there, map.contains_key(key), "{step:?}");
            if let Some((_, deadline)) = map.get_mut(key) {
                txn.set_deadline(key, at.map(ExpireAt))?;
                *deadline = *at;
            }
        }
        Step::Del(key) => assert_eq!(txn.delete(key)?, map.remove(key).is_some(), "{step:?}"),
        Step::Rename(from, to) => {
            if let Some((value, at)) = read(txn, from)?.filter(|_| from != to) {
                put(txn, to, &value, at)?;
                txn.delete(from)?;
                let moved = map.remove(from).expect("it was read");
                map.insert(to.clone(), moved);
            }
        }
        Step::Add(key, names) | Step::Remove(key, names) => {
            let adds = matches!(step, Step::Add(..));
            edit_set(txn, key, names, adds)?;
            let vacant = || (Held::Set(BTreeSet::new()), None);
            if let (Held::Set(set), _) = map.entry(key.clone()).or_insert_with(vacant) {
                for name in names {
                    let _ = if adds { set.insert(name.clone()) } else { set.remove(name) };
                }
                if set.is_empty() {
                    map.remove(key);
                }
            }
        }
        Step::Fail(a, b) => {
            put(txn, a, &Held::Text(b"must not stay".to_vec()), Some(u64::MAX / 2))?;
            let _ = read(txn, a)?;
            txn.delete(b)?;
        }
        Step::Walk => {
            txn.look_around()?;
            let (mut found, mut next) = (BTreeSet::new(), Some(0));
            while let Some(from) = next {
                let step = txn.scan(DB, from, 3).expect("the cold tier reads");
                found.extend(step.keys.into_iter().map(|(key, _)| key));
                next = step.next;
            }
            assert_eq!(found, map.keys().cloned().collect());
        }
        Step::Flush => {
            txn.flush(&[DB]);
            map.clear();
        }
    }
    Ok(())
}

struct Model {
    rig: Rig,
    map: Map,
    rng: SimRng,
}

impl Model {
    fn new(seed: u64) -> Model {
        Model { rig: Rig::with(OPTIONS), map: Map::new(), rng: SimRng::new(seed) }
    }

    /// Runs one transaction.
    fn transact(&mut self) {
        let now = self.rig.now_ms();
        self.map.retain(|_, (_, at)| at.is_none_or(|at| at > now));
        let steps: Vec<Step> = (0..1 + self.rng.below(14)).map(|_| step(&mut self.rng, now)).collect();
        let has_flush = steps.iter().any(|step| matches!(step, Step::Flush));
        // Some keys are not named: their shards are locked when they are met.
        let all: Vec<Vec<u8>> = (0..12).map(|n| format!("key:{n}").into_bytes()).collect();
        let keys: Vec<&[u8]> = all.iter().map(|key| &key[..]).skip(self.rng.below(12) as usize).collect();
        let mode = if has_flush { Mode::All } else { Mode::Keys };
        let before = &self.map;
        let outcome = run_multi(&self.rig.engine, &keys, mode, |txn| {
            let mut map = before.clone();
            for step in &steps {
                txn.begin_command(DB, Operation::Set);
                let saved = map.clone();
                run_step(txn, step, &mut map)?;
                if let Step::Fail(..) = step {
                    txn.undo_command();
                } else if txn.end_command().is_err() {
                    // More than one commit may hold: the command did nothing.
                    map = saved;
                }
                if has_flush {
                    // Keys past their deadlines count until somebody deletes them.
                    assert!(txn.key_count(DB) >= map.len() as u64, "{step:?} of {steps:?}");
                }
            }
            Ok(map)
        });
        self.map = outcome.expect("commits").0;
    }

    fn check(&self) {
        assert_eq!(state(&self.rig), self.map);
        self.rig.check_counters();
    }
}

/// All twelve keys.
fn state(rig: &Rig) -> Map {
    let keys = (0..12).map(|n| format!("key:{n}").into_bytes());
    let read = |key: Vec<u8>| {
        let found = rig.run(DB, &[&key], Mode::Keys, |txn| read(txn, &key)).expect("reads").0;
        found.map(|found| (key, found))
    };
    keys.filter_map(read).collect()
}

#[test]
fn commands_see_what_those_before_them_did() {
    for seed in 0..12 {
        let mut model = Model::new(seed);
        for round in 0..160 {
            model.transact();
            match model.rng.below(16) {
                0..4 => drop(model.rig.engine.evict(DB, Box::new(|_| true)).expect("evicts")),
                4 => drop(model.rig.engine.checkpoint().expect("a round")),
                5 => model.rig = model.rig.kill(),
                6 => model.rig = model.rig.restart(),
                7 => model.rig.clock.advance(std::time::Duration::from_millis(model.rng.below(3000))),
                _ => {}
            }
            if round % 8 == 0 {
                let now = model.rig.now_ms();
                model.map.retain(|_, (_, at)| at.is_none_or(|at| at > now));
                model.check();
            }
        }
    }
}

#[test]
fn a_power_cut_leaves_whole_transactions() {
    for seed in 100..140 {
        let mut model = Model::new(seed);
        let mut history = vec![Map::new()];
        for _ in 0..12 {
            model.transact();
            history.push(model.map.clone());
            if model.rng.below(4) == 0 {
                model.rig.engine.evict(DB, Box::new(|_| true)).expect("evicts");
            }
        }
        let Model { rig, mut rng, .. } = model;
        let rig = rig.power_cut(&mut rng).expect("opens");
        let left = state(&rig);
        assert!(history.contains(&left), "seed {seed}: no transaction ended with {left:?}");
        rig.check_counters();
    }
}

#[test]
fn nobody_sees_half_a_transaction() {
    let rig = Rig::with(Options { maxmemory: 4 << 20, ..OPTIONS });
    let keys: Vec<Vec<u8>> = (0..16).map(|n| format!("account {n}").into_bytes()).collect();
    keys.iter().for_each(|key| rig.set(key, b"100"));
    let is_over = AtomicBool::new(false);
    let number = |txn: &mut Txn<'_>, key: &[u8]| match txn.lookup(key)?.map(|found| found.value) {
        Some(ValueRef::Int(value)) => Ok(value),
        other => panic!("an account is {other:?}"),
    };
    thread::scope(|scope| {
        let (rig, keys, is_over) = (&rig, &keys, &is_over);
        let writers: Vec<_> = (0..3)
            .map(|seed| {
                scope.spawn(move || {
                    let mut rng = SimRng::new(seed);
                    for _ in 0..3000 {
                        let (a, b) = (&keys[rng.below(16) as usize], &keys[rng.below(16) as usize]);
                        let outcome = run_multi(&rig.engine, &[a, b], Mode::Keys, |txn| {
                            for (key, step) in [(a, -1), (b, 1), (a, -2), (b, 2)] {
                                txn.begin_command(DB, Operation::IncrBy);
                                let value = number(txn, key)?;
                                txn.put_string(
                                    key,
                                    body((value + step).to_string().as_bytes()),
                                    None,
                                    false,
                                )?;
                                txn.end_command().expect("fits");
                            }
                            Ok(())
                        });
                        outcome.expect("commits");
                    }
                })
            })
            .collect();
        scope.spawn(move || {
            while !is_over.load(Ordering::Relaxed) {
                rig.engine.evict(DB, Box::new(|_| true)).expect("evicts");
            }
        });
        scope.spawn(move || {
            let keys: Vec<&[u8]> = keys.iter().map(|key| &key[..]).collect();
            while !is_over.load(Ordering::Relaxed) {
                let sum = run_multi(&rig.engine, &keys, Mode::Keys, |txn| {
                    let mut sum = 0;
                    for key in &keys {
                        txn.begin_command(DB, Operation::Set);
                        sum += number(txn, key)?;
                        txn.end_command().expect("fits");
                    }
                    Ok(sum)
                });
                assert_eq!(sum.expect("reads").0, 1600);
            }
        });
        writers.into_iter().for_each(|writer| writer.join().expect("writes"));
        is_over.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_transaction_that_would_be_too_large_loses_the_command_that_is_too_much() {
    let rig = Rig::with(OPTIONS);
    let value = vec![b'v'; 100_000];
    let keys: Vec<Vec<u8>> = (0..20).map(|n| format!("key:{n}").into_bytes()).collect();
    let refs: Vec<&[u8]> = keys.iter().map(|key| &key[..]).collect();
    let (refused, _) = run_multi(&rig.engine, &refs, Mode::Keys, |txn| {
        let mut refused = 0;
        for key in &refs {
            for at in 0..100 {
                txn.begin_command(DB, Operation::Append);
                match txn.exists(key)? {
                    true => txn.append(key, &value[..1000 + at])?,
                    false => txn.put_string(key, body(&value[..1000 + at]), None, false)?,
                }
                refused += usize::from(txn.end_command().is_err());
            }
        }
        Ok(refused)
    })
    .expect("commits");
    assert!((1..2000).contains(&refused), "{refused} were refused");
    rig.check_counters();
}

#[test]
fn other_databases_and_swaps_are_seen_at_once() {
    let rig = Rig::with(OPTIONS);
    rig.set(b"a", b"zero");
    let one = DbIndex(1);
    run_multi(&rig.engine, &[b"a", b"b"], Mode::All, |txn| {
        txn.begin_command(one, Operation::Set);
        txn.put_string(b"b", body(b"one"), None, false)?;
        txn.end_command().expect("fits");
        txn.begin_command(DB, Operation::SwapDb);
        txn.swap(DB, one);
        txn.end_command().expect("fits");
        txn.begin_command(DB, Operation::Set);
        assert_eq!(read(txn, b"a")?, None);
        assert_eq!(read(txn, b"b")?, Some((Held::Text(b"one".to_vec()), None)));
        txn.put_string(b"a", body(b"new"), None, false)?;
        assert_eq!(read(txn, b"a")?, Some((Held::Text(b"new".to_vec()), None)));
        txn.end_command().expect("fits");
        // What looks around by other ways sees what others see.
        assert_eq!(rig.engine.key_counts(DB).0, 1);
        Ok(())
    })
    .expect("commits");
    let expect = |rig: &Rig| {
        assert_eq!(rig.get(b"a"), Some(b"new".to_vec()));
        assert_eq!(rig.get(b"b"), Some(b"one".to_vec()));
        assert_eq!((rig.engine.key_counts(DB).0, rig.engine.key_counts(one).0), (2, 1));
        rig.check_counters();
    };
    expect(&rig);
    expect(&rig.kill());
}

#[test]
fn what_happens_to_watched_keys_shows() {
    let one = DbIndex(1);
    let keys: [&[u8]; 2] = [b"there", b"missing"];
    let happens: [(&str, bool, &dyn Fn(&Rig)); 11] = [
        ("nothing", false, &|_| {}),
        ("eviction", false, &|rig| rig.evict_all()),
        ("a checkpoint", false, &|rig| _ = rig.engine.checkpoint().expect("a round")),
        ("a read", false, &|rig| assert_eq!(rig.get(b"there"), Some(b"value".to_vec()))),
        ("another key", false, &|rig| rig.set(b"other", b"value")),
        ("the same value again", true, &|rig| rig.set(b"there", b"value")),
        ("a missing key that came and went", true, &|rig| {
            rig.set(b"missing", b"value");
            rig.del(b"missing");
        }),
        ("the same in one commit", true, &|rig| {
            let commands = |txn: &mut Txn<'_>| {
                txn.begin_command(DB, Operation::Set);
                txn.put_string(b"missing", body(b"value"), None, false)?;
                txn.delete(b"missing")
            };
            run_multi(&rig.engine, &[b"missing"], Mode::Keys, commands).expect("commits");
        }),
        ("a swap there and back", true, &|rig| (0..2).for_each(|_| swap(rig, one))),
        ("a swap of other databases", false, &|rig| {
            let swap = |txn: &mut Txn<'_>| {
                txn.swap(DbIndex(2), DbIndex(3));
                Ok(())
            };
            rig.run(DB, &[], Mode::All, swap).expect("commits");
        }),
        ("a flush", true, &|rig| {
            let flush = |txn: &mut Txn<'_>| {
                txn.flush(&[DB]);
                Ok(())
            };
            rig.run(DB, &[], Mode::All, flush).expect("commits");
        }),
    ];
    for (what, shows, happen) in happens {
        let rig = Rig::with(OPTIONS);
        rig.set(b"there", b"value");
        let touch = Arc::default();
        let watch = |txn: &mut Txn<'_>| txn.watch(keys.iter().copied(), &touch);
        let (sights, _) = rig.run(DB, &keys, Mode::Keys, watch).expect("reads");
        happen(&rig);
        let look = |txn: &mut Txn<'_>| {
            let mut is_unchanged = !touch.is_touched();
            for (key, sight) in &sights {
                is_unchanged &= txn.is_unchanged(DB, key, *sight)?;
            }
            Ok(is_unchanged)
        };
        let (is_unchanged, _) = run_multi(&rig.engine, &keys, Mode::Keys, look).expect("reads");
        assert_eq!(is_unchanged, !shows, "{what}");
    }
}

fn swap(rig: &Rig, other: DbIndex) {
    let swap = |txn: &mut Txn<'_>| {
        txn.touch_swapped(DB, other)?;
        txn.swap(DB, other);
        Ok(())
    };
    rig.run(DB, &[], Mode::All, swap).expect("commits");
}
