//! Collections through the tiers: a model in memory beside sets that grow from one row to many nodes,
//! are evicted, edited, replaced, renamed, deleted, written back and replayed.

use std::collections::{BTreeMap, BTreeSet};

use lux_engine::env::sim::SimRng;
use lux_engine::ids::ExpireAt;
use lux_engine::keyspace::entry::BodyRef;
use lux_engine::tier::{ColdStore, Family};
use lux_engine::txn::{Interrupt, Mode, Txn, ValueRef};
use lux_engine::value::collection::Collection;
use lux_engine::value::list::edit::ListEdit;
use lux_engine::value::set::{Member, SetLimits, SetValue};
use lux_engine::value::string::number::IntText;
use lux_engine::value::{TypeTag, Value};
use lux_engine::wal::effect::Operation;

use crate::rig::{DB, Options, Rig};

type Model = BTreeMap<Vec<u8>, BTreeSet<Vec<u8>>>;

const OPTIONS: Options = Options {
    maxmemory: 8 << 20,
    failpoints: 0,
    fsync: lux_engine::wal::FsyncPolicy::No,
    segment_bytes: 2 << 20,
};

fn set_of<'t>(txn: &'t mut Txn<'_>, key: &[u8]) -> Result<Option<&'t SetValue>, Interrupt> {
    Ok(txn.lookup(key)?.map(|found| match found.value {
        ValueRef::Collection(Collection::Set(set)) => set,
        other => panic!("not a set: {other:?}"),
    }))
}

fn members(set: &SetValue) -> BTreeSet<Vec<u8>> {
    let text = |member: Member<'_>| member.text(&mut IntText::default()).to_vec();
    set.members().map(text).collect()
}

fn read(rig: &Rig, key: &[u8]) -> Option<BTreeSet<Vec<u8>>> {
    let read = rig.run(DB, &[key], Mode::Keys, |txn| Ok(set_of(txn, key)?.map(members)));
    read.expect("reads").0
}

/// SADD.
fn add(rig: &Rig, key: &[u8], names: &[Vec<u8>]) -> u64 {
    let outcome = rig.run(DB, &[key], Mode::Keys, |txn| {
        txn.set_operation(Operation::Set);
        let (mut edit, empty) = (Vec::new(), SetValue::default());
        let set = set_of(txn, key)?.unwrap_or(&empty);
        let added = set.plan_add(names.iter().map(|name| &name[..]), &SetLimits::default(), &mut edit);
        if added > 0 {
            txn.edit_collection(key, TypeTag::Set, &edit)?;
        }
        Ok(added)
    });
    outcome.expect("commits").0
}

/// Enough members for nodes.
fn add_many(rig: &Rig, key: &[u8]) {
    let names: Vec<Vec<u8>> = (0..60_000).map(name).collect();
    names.chunks(10_000).for_each(|names| assert!(add(rig, key, names) > 0));
}

/// SREM.
fn remove(rig: &Rig, key: &[u8], names: &[Vec<u8>]) -> u64 {
    let outcome = rig.run(DB, &[key], Mode::Keys, |txn| {
        let mut edit = Vec::new();
        let Some(set) = set_of(txn, key)? else { return Ok(0) };
        let changes = set.plan_remove(names.iter().map(|name| &name[..]), &mut edit);
        match changes.removed {
            0 => {}
            _ if changes.is_over => drop(txn.delete(key)?),
            _ => txn.edit_collection(key, TypeTag::Set, &edit)?,
        }
        Ok(changes.removed)
    });
    outcome.expect("commits").0
}

/// A copy under another name, which goes by parts if it is large.
fn copy(rig: &Rig, from: &[u8], to: &[u8]) -> bool {
    let outcome = rig.run(DB, &[from, to], Mode::Keys, |txn| {
        let mut encoded = Vec::new();
        let Some(found) = txn.lookup(from)? else { return Ok(false) };
        let ValueRef::Collection(collection) = found.value else { panic!("not a set") };
        collection.encode(&mut encoded);
        txn.put_collection_in(DB, to, TypeTag::Set, &encoded, None)?;
        Ok(true)
    });
    outcome.expect("commits").0
}

fn name(n: u64) -> Vec<u8> {
    match n % 3 {
        0 => n.to_string().into_bytes(),
        _ => format!("member {n:->width$}", width = (n % 40) as usize).into_bytes(),
    }
}

fn key(n: u64) -> Vec<u8> {
    format!("set:{n}").into_bytes()
}

fn check(rig: &Rig, model: &Model) {
    for n in 0..4 {
        assert_eq!(read(rig, &key(n)), model.get(&key(n)).cloned(), "set:{n}");
    }
    rig.check_counters();
    rig.check_bytes();
}

/// How many of the sets are nodes in the cold tier.
fn in_nodes(rig: &Rig) -> usize {
    let store = rig.engine.store();
    let is_nodes = |n: &u64| {
        let hash = store.hasher.hash(&key(*n));
        let shard = store.shard(hash.shard).lock();
        let entry = shard.db(store.db_id(DB)).and_then(|part| part.table.find(hash, &key(*n)));
        entry.is_some_and(|entry| match entry.body() {
            BodyRef::Boxed(Value::Collection(held)) => held.incarnation().is_some(),
            BodyRef::Boxed(Value::StoredCollection(_)) => true,
            _ => false,
        })
    };
    (0..4).filter(is_nodes).count()
}

/// One random step on the store and on the model.
fn step(rig: &Rig, model: &mut Model, rng: &mut SimRng) {
    let (which, other) = (key(rng.below(4)), key(rng.below(4)));
    match rng.below(21) {
        0..=8 => {
            // From a few to so many that the set is larger than a row.
            // The largest is more than a record may hold.
            let count = [1, 10, 200, 20_000, 60_000][rng.below(5) as usize];
            let from = rng.below(60_000);
            let names: Vec<Vec<u8>> = (from..from + count).map(name).collect();
            let set = model.entry(which.clone()).or_default();
            let fresh = names.iter().filter(|name| set.insert((*name).clone())).count();
            assert_eq!(add(rig, &which, &names), fresh as u64);
        }
        9..=13 => {
            let count = [1, 500, 30_000][rng.below(3) as usize];
            let from = rng.below(60_000);
            let names: Vec<Vec<u8>> = (from..from + count).map(name).collect();
            let Some(set) = model.get_mut(&which) else {
                assert_eq!(remove(rig, &which, &names), 0);
                return;
            };
            let gone = names.iter().filter(|name| set.remove(*name)).count();
            assert_eq!(remove(rig, &which, &names), gone as u64);
            if set.is_empty() {
                model.remove(&which);
            }
        }
        14 => assert_eq!(rig.del(&which), model.remove(&which).is_some()),
        15 | 16 if which != other => {
            assert_eq!(copy(rig, &which, &other), model.contains_key(&which));
            if let Some(set) = model.get(&which).cloned() {
                model.insert(other, set);
            }
        }
        17 => {
            assert_eq!(rig.rename(&which, &other), model.contains_key(&which));
            if let Some(set) = model.remove(&which) {
                model.insert(other, set);
            }
        }
        18 => {
            let is_there = rig.expire_at(&which, Some(rig.now_ms() + 1_000_000_000));
            assert_eq!(is_there, model.contains_key(&which));
        }
        19 => rig.checkpoint(),
        _ => rig.evict_all(),
    }
}

#[test]
fn sets_of_all_sizes_survive_everything() {
    let mut most = 0;
    for seed in 0..3 {
        let mut rng = SimRng::new(seed);
        let (mut rig, mut model) = (Rig::with(OPTIONS), Model::new());
        for _ in 0..6 {
            for _ in 0..12 {
                step(&rig, &mut model, &mut rng);
                rig.check_bytes();
            }
            check(&rig, &model);
            most = most.max(in_nodes(&rig));
            rig = match rng.below(4) {
                0 => rig.restart(),
                1 => rig.kill(),
                2 => {
                    rig.sync();
                    rig.power_cut(&mut rng).expect("opens")
                }
                _ => rig,
            };
            rig.check_bytes();
            check(&rig, &model);
        }
        for n in 0..4 {
            rig.del(&key(n));
        }
        (0..4).for_each(|_| rig.checkpoint());
        assert_eq!(rig.cold.row_count(Family::Elements), 0, "seed {seed}: nodes of dead sets go");
    }
    assert!(most > 1, "some sets must have been nodes");
}

/// A changed member rewrites its node and not the collection.
#[test]
fn a_change_writes_one_node() {
    let rig = Rig::with(OPTIONS);
    add_many(&rig, b"set:0");
    rig.checkpoint();
    assert!(in_nodes(&rig) == 1 && rig.cold.row_count(Family::Elements) > 200);
    let before = rows(&rig);
    add(&rig, b"set:0", &[b"one more".to_vec()]);
    rig.checkpoint();
    let after = rows(&rig);
    let changed = after.iter().filter(|(key, row)| before.get(*key) != Some(row)).count();
    assert!((1..=2).contains(&changed), "{changed} nodes for one member");
}

/// All rows of `elements`.
fn rows(rig: &Rig) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let cold = &rig.engine.store().cold;
    let mut cursor = cold.cursor(Family::Elements, &[0], &[0xff], None).expect("reads");
    let mut rows = BTreeMap::new();
    cursor.seek(&[0]).expect("reads");
    while let Some((key, row)) = cursor.row() {
        rows.insert(key.to_vec(), row.to_vec());
        cursor.advance().expect("reads");
    }
    rows
}

#[test]
fn pages_that_replay_names_again_stay() {
    let rig = Rig::with(OPTIONS);
    add_many(&rig, b"set:0");
    let expected = read(&rig, b"set:0");
    rig.checkpoint();
    assert!(copy(&rig, b"set:0", b"set:1"));
    // Read, it is written back as nodes, and its pages join the dead queue without a record. The cold tier
    // flushes by itself then; no round ends before the crash.
    assert_eq!(read(&rig, b"set:1"), expected);
    rig.evict_all();
    rig.cold.flush().expect("flushes");
    let rig = rig.kill();
    for _ in 0..3 {
        rig.checkpoint();
        rig.evict_all();
    }
    assert_eq!(read(&rig, b"set:1"), expected);
    rig.del(b"set:0");
    rig.del(b"set:1");
    (0..3).for_each(|_| rig.checkpoint());
    assert_eq!(rig.cold.row_count(Family::Elements), 0, "nothing is left over");
}

/// The story: a published set was read and written back as nodes, which named its pages dead in a batch
/// only. Then it was deleted, which named the nodes; and the power went before that batch was flushed. Nobody knew
/// of the pages any more.
#[test]
fn pages_left_behind_by_nodes_that_were_never_flushed_go() {
    for keep in 0..3 {
        let rig = Rig::with(OPTIONS);
        add_many(&rig, b"set:0");
        assert!(copy(&rig, b"set:0", b"set:1"));
        (0..2).for_each(|_| rig.checkpoint());
        let left = [2, 20_000][usize::from(keep == 1)];
        let names: Vec<Vec<u8>> = (left..60_000).map(name).collect();
        names.chunks(10_000).for_each(|names| assert!(remove(&rig, b"set:1", names) > 0));
        rig.evict_all();
        assert!(rig.del(b"set:1"));
        rig.sync();
        let keep = keep.min(rig.cold.pending_batches());
        let rig = rig.power_cut_keeping(&mut SimRng::new(1), keep).expect("opens");
        assert_eq!(read(&rig, b"set:1"), None);
        rig.del(b"set:0");
        (0..3).for_each(|_| rig.checkpoint());
        assert_eq!(rig.cold.row_count(Family::Elements), 0, "keeping {keep}: nothing is left over");
    }
}

#[test]
fn what_needs_no_elements_reads_none() {
    let rig = Rig::with(OPTIONS);
    add_many(&rig, b"set:0");
    rig.evict_all();
    let header = rig.run(DB, &[b"set:0"], Mode::Keys, |txn| txn.header(b"set:0", true)).expect("reads").0;
    let header = header.expect("is there");
    assert_eq!((header.type_tag, header.encoding), (TypeTag::Set, "hashtable"));
    assert!(rig.expire_at(b"set:0", Some(ExpireAt(rig.now_ms() + 50).0)));
    assert_eq!(in_nodes(&rig), 1);
    rig.evict_all();
    rig.advance(100);
    assert_eq!(read(&rig, b"set:0"), None);
}
/// A few large elements: a packed list by its limits, and too long for one row.
#[test]
fn a_packed_list_in_nodes_says_so_while_it_is_cold() {
    let rig = Rig::new();
    let encoding = || {
        let read = rig.run(DB, &[b"list"], Mode::Keys, |txn| {
            Ok(txn.header(b"list", false)?.map(|header| header.encoding))
        });
        read.expect("reads").0
    };
    let push = |edit: ListEdit<'_>| {
        let mut bytes = Vec::new();
        edit.put(&mut bytes);
        let outcome = rig.run(DB, &[b"list"], Mode::Keys, |txn| {
            txn.lookup(b"list")?;
            txn.edit_collection(b"list", TypeTag::List, &bytes)
        });
        outcome.expect("commits");
    };
    (0..3).for_each(|n| push(ListEdit::PushBack(&vec![n; 500_000])));
    assert_eq!(encoding(), Some("listpack"));
    rig.evict_all();
    assert!(rig.cold.row_count(Family::Elements) >= 3, "nodes");
    assert_eq!(encoding(), Some("listpack"));
    push(ListEdit::Grow);
    rig.evict_all();
    assert_eq!(encoding(), Some("quicklist"));
}
