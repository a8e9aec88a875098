//! Values too large for one record: built from parts, published by one commit.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use lux_engine::env::sim::{SimClock, SimFiles, SimRng};
use lux_engine::ids::Lsn;
use lux_engine::keyspace::store::Store;
use lux_engine::snapshot::Detail;
use lux_engine::tier::memory::{MemoryHooks, MemoryStore};
use lux_engine::tier::{ColdStore, Family, Lookup, ReadTier};
use lux_engine::txn::build::{BuildOrder, Built};
use lux_engine::txn::{Mode, Scratch, Wait};
use lux_engine::value::Value;
use lux_engine::value::string::PAGE_BYTES;
use parking_lot::Mutex;

use crate::rig::{DB, Options, Rig, body};
use crate::trace::{Images, Trace};

/// A megabyte per commit, so that anything above is built.
pub const SMALL: Options = Options {
    maxmemory: 8 << 20,
    failpoints: 0,
    fsync: lux_engine::wal::FsyncPolicy::No,
    segment_bytes: 2 << 20,
};

/// Bytes that differ from page to page and from `salt` to `salt`.
pub fn large(salt: u64, len: usize) -> Vec<u8> {
    let mut rng = SimRng::new(salt);
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        bytes.extend_from_slice(&rng.next_u64().to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

fn pages(len: usize) -> usize {
    len.div_ceil(PAGE_BYTES)
}

/// After a few rounds the pages in the cold tier are those that live strings need.
pub fn check_no_leak(rig: &Rig, lens: &[usize]) -> Result<(), String> {
    for _ in 0..3 {
        rig.engine.checkpoint().map_err(|error| error.to_string())?;
    }
    let expected: usize = lens.iter().copied().filter(|len| *len > 1 << 20).map(pages).sum();
    match rig.cold.row_count(Family::Elements) {
        found if found == expected => {}
        found => return Err(format!("{found} pages are stored, {expected} are needed")),
    }
    let building =
        Store::shard_ids().map(|id| rig.engine.store().shard(id).lock().parts.building()).sum::<usize>();
    if building != 0 || rig.engine.store().part_bytes() != 0 {
        return Err(format!("{building} values are still being built"));
    }
    rig.check_counters();
    let meta = rig.cold.row_count(Family::Meta);
    let mut row = Vec::new();
    let moved = rig.cold.get(Family::Meta, b"moved-lsn", ReadTier::Disk, &mut row).expect("reads");
    if meta > 2 + usize::from(matches!(moved, Lookup::Found(_))) {
        return Err(format!("{meta} rows of meta, more than marker, highest LSN and that of moves"));
    }
    Ok(())
}

/// Whether a key is there without its bytes.
fn is_stored(rig: &Rig, key: &[u8]) -> bool {
    let store = rig.engine.store();
    let hash = store.hasher.hash(key);
    let shard = store.shard(hash.shard).lock();
    shard.stored_at(store.db_id(DB), hash, key).is_some()
}

/// Plans a SET and returns what it orders.
fn order(rig: &Rig, scratch: &mut Scratch, key: &[u8], value: &[u8]) -> BuildOrder {
    let keys = [key];
    let mut txn = rig.engine.begin(scratch, DB, &keys, Mode::Keys, rig.now_ms());
    assert!(txn.put_string(key, body(value), None, false).is_err(), "too large for one record");
    match txn.abandon() {
        Wait::Build(order) => order,
        _ => panic!("a large value is ordered"),
    }
}

fn build(rig: &Rig, order: BuildOrder) -> Built {
    rig.engine.build(order).expect("builds").expect("the database is there")
}

fn publish(rig: &Rig, scratch: &mut Scratch, key: &[u8], value: &[u8]) -> Lsn {
    let keys = [key];
    let mut txn = rig.engine.begin(scratch, DB, &keys, Mode::Keys, rig.now_ms());
    assert!(txn.put_string(key, body(value), None, false).is_ok(), "what was built is published");
    match txn.commit() {
        Ok(committed) => committed.lsn.expect("it changed something"),
        Err(_) => panic!("commits"),
    }
}

#[test]
fn a_large_value_goes_through_all_commands() {
    let rig = Rig::with(SMALL);
    let (a, b) = (large(1, 5 << 20), large(2, 3 << 20));
    rig.set(b"a", &a);
    assert!(is_stored(&rig, b"a"), "a published value is not in memory until it is read");
    assert_eq!(rig.get(b"a").as_ref(), Some(&a));
    assert!(rig.rename(b"a", b"renamed"));
    assert_eq!((rig.get(b"a"), rig.get(b"renamed").as_ref()), (None, Some(&a)));
    rig.append(b"renamed", &b);
    let whole = [&a[..], &b].concat();
    assert_eq!(rig.get(b"renamed").as_ref(), Some(&whole));
    assert!(rig.set_range(b"renamed", 1 << 20, &b));
    let mut whole = whole;
    whole[1 << 20..(1 << 20) + b.len()].copy_from_slice(&b);
    rig.append(b"renamed", b"small");
    whole.extend_from_slice(b"small");
    assert_eq!(rig.get(b"renamed").as_ref(), Some(&whole));
    rig.evict_all();
    assert_eq!(rig.get(b"renamed").as_ref(), Some(&whole));
    rig.set(b"renamed", b"short");
    rig.mset(&[(b"x", &a), (b"y", &b), (b"x", &b)]);
    assert_eq!((rig.get(b"x"), rig.get(b"y")), (Some(b.clone()), Some(b.clone())));
    check_no_leak(&rig, &[b.len(), b.len()]).expect("nothing leaks");
    let rig = rig.kill();
    assert_eq!((rig.get(b"x").as_ref(), rig.get(b"renamed").as_deref()), (Some(&b), Some(&b"short"[..])));
    rig.del(b"x");
    rig.del(b"y");
    check_no_leak(&rig, &[]).expect("nothing leaks");
}

/// Parts wait for the cold tier in a bounded queue, and a value does not enter memory whole.
#[test]
fn building_takes_little_memory() {
    let rig = Rig::with(SMALL);
    let value = large(7, 20 << 20);
    rig.set(b"key", &value);
    let (bytes, _) = rig.engine.store().hot_bytes();
    assert!(bytes < 1 << 20, "{bytes} bytes in memory");
    let rig = rig.kill();
    let (bytes, _) = rig.engine.store().hot_bytes();
    assert!(bytes < 3 << 20, "{bytes} bytes in memory after a replay");
    assert_eq!(rig.get(b"key").as_ref(), Some(&value));
    rig.check_counters();
}

#[test]
fn what_is_built_and_not_published_dies() {
    let rig = Rig::with(SMALL);
    let value = large(3, 3 << 20);
    let mut scratch = Scratch::default();
    let ordered = order(&rig, &mut scratch, b"key", &value);
    let built = build(&rig, ordered);
    assert_eq!(rig.cold.row_count(Family::Elements), pages(value.len()));
    rig.checkpoint();
    rig.checkpoint();
    assert_eq!(rig.cold.row_count(Family::Elements), pages(value.len()), "it may still be published");
    drop(built);
    check_no_leak(&rig, &[]).expect("nothing leaks");
    // The same with a crash instead, before and after a round that cuts the parts off the log.
    for rounds in 0..3 {
        let rig = Rig::with(SMALL);
        let ordered = order(&rig, &mut Scratch::default(), b"key", &value);
        let built = build(&rig, ordered);
        for _ in 0..rounds {
            rig.checkpoint();
        }
        std::mem::forget(built);
        let rig = rig.kill();
        assert_eq!(rig.get(b"key"), None);
        check_no_leak(&rig, &[]).unwrap_or_else(|error| panic!("{rounds} rounds: {error}"));
    }
}

/// The marker lies between the parts and the publication, or after both.
#[test]
fn a_round_may_come_between_parts_and_publication() {
    for (between, after) in [(0, 0), (1, 0), (2, 0), (1, 1), (0, 2)] {
        let (rig, value, mut scratch) = (Rig::with(SMALL), large(4, 3 << 20), Scratch::default());
        let ordered = order(&rig, &mut scratch, b"key", &value);
        scratch.give(build(&rig, ordered));
        (0..between).for_each(|_| rig.checkpoint());
        publish(&rig, &mut scratch, b"key", &value);
        (0..after).for_each(|_| rig.checkpoint());
        rig.append(b"key", b"tail");
        let rig = rig.kill();
        let expected = [&value[..], b"tail"].concat();
        assert_eq!(rig.get(b"key"), Some(expected.clone()), "{between} rounds between, {after} after");
        let rig = rig.kill();
        rig.evict_all();
        assert_eq!(rig.get(b"key"), Some(expected), "{between} rounds between, {after} after");
        check_no_leak(&rig, &[value.len() + 4]).expect("nothing leaks");
    }
}

/// Edits that were written back into the pages before a crash are made again by the replay, from the
/// published state on, also when the parts are not replayed with them.
#[test]
fn edits_of_a_published_value_are_replayed() {
    for between in 0..2 {
        let (rig, mut value, mut scratch) = (Rig::with(SMALL), large(5, 3 << 20), Scratch::default());
        let ordered = order(&rig, &mut scratch, b"key", &value);
        scratch.give(build(&rig, ordered));
        (0..between).for_each(|_| rig.checkpoint());
        publish(&rig, &mut scratch, b"key", &value);
        rig.set_range(b"key", 100, b"first edit");
        rig.append(b"key", b"longer");
        rig.evict_all();
        rig.set_range(b"key", 105, b"second edit");
        rig.append(b"key", b" and longer");
        rig.expire_at(b"key", Some(rig.now_ms() + 1_000_000));
        value[100..110].copy_from_slice(b"first edit");
        value[105..116].copy_from_slice(b"second edit");
        value.extend_from_slice(b"longer and longer");
        rig.evict_all();
        rig.append(b"key", b"!");
        value.push(b'!');
        let rig = rig.kill();
        assert_eq!(rig.engine.snapshot(Detail::Values).map(|s| s.key_count(DB)).ok(), Some(1));
        assert!(rig.get(b"key") == Some(value.clone()), "{between} rounds between");
        let rig = rig.kill().restart();
        assert!(rig.get(b"key") == Some(value.clone()));
        assert!(rig.deadline(b"key").is_some());
        check_no_leak(&rig, &[value.len()]).expect("nothing leaks");
    }
}

/// A paged string that was written back after the redo LSN got a new incarnation when its logged value
/// was replayed, and the pages of the old one stayed for ever.
#[test]
fn a_replay_leaks_no_pages_of_what_was_written_back() {
    let rig = Rig::new();
    let value = large(6, 1_500_000);
    rig.set(b"key", &value);
    rig.evict_all();
    let mut rig = rig.kill();
    for _ in 0..3 {
        rig.append(b"key", b"x");
        rig.engine.evict(DB, Box::new(|_| true)).expect("evicts");
        rig = rig.kill();
    }
    check_no_leak(&rig, &[value.len() + 3]).expect("nothing leaks");
    rig.set(b"other", &value);
    rig.evict_all();
    rig.del(b"other");
    let rig = rig.kill();
    check_no_leak(&rig, &[value.len() + 3]).expect("nothing leaks");
}

/// Copies a key; runs `at_build` with 1, 2, ... after each build, before the command runs again.
pub fn copy(rig: &Rig, from: &[u8], to: &[u8], mut at_build: impl FnMut(u32)) {
    let (mut scratch, keys) = (Scratch::default(), [from, to]);
    let (mut builds, mut pins) = (0, Vec::new());
    loop {
        let mut txn = rig.engine.begin(&mut scratch, DB, &keys, Mode::Keys, rig.now_ms());
        let source = txn.lookup(from).map(|found| found.map(|found| crate::rig::text(found.value)));
        let planned = source.and_then(|value| txn.put_string(to, body(&value.expect("there")), None, false));
        let wait = match planned {
            Ok(()) => match txn.commit() {
                Ok(_) => return,
                Err(_) => panic!("commits"),
            },
            Err(_) => txn.abandon(),
        };
        match wait {
            Wait::Build(order) => {
                builds += 1;
                pins.clear();
                scratch.give(build(rig, order));
                at_build(builds);
            }
            Wait::Fetch(ticket) => {
                ticket.wait().expect("reads");
                pins.push(ticket);
            }
            _ => {}
        }
    }
}

/// Who stores what it read stores what is there when it commits; who tries often enough is waited for.
#[test]
fn a_source_that_changes_while_the_copy_is_built_is_copied_as_it_is_then() {
    let rig = Rig::with(SMALL);
    rig.set(b"source", &large(1, 2 << 20));
    let (mut builds, mut was_held) = (0, false);
    let is_late = AtomicBool::new(false);
    thread::scope(|scope| {
        copy(&rig, b"source", b"target", |build| {
            builds = build;
            if build <= 3 {
                rig.append(b"source", b"changed");
                return;
            }
            let (rig, is_late) = (&rig, &is_late);
            scope.spawn(move || {
                rig.append(b"source", b"late");
                is_late.store(true, Ordering::SeqCst);
            });
            thread::sleep(std::time::Duration::from_millis(50));
            was_held = !is_late.load(Ordering::SeqCst);
        });
    });
    let mut expected = large(1, 2 << 20);
    (0..3).for_each(|_| expected.extend_from_slice(b"changed"));
    assert!(rig.get(b"target").as_ref() == Some(&expected));
    assert_eq!((builds, was_held), (4, true), "the fourth build is held");
    let len = expected.len();
    expected.extend_from_slice(b"late");
    assert!(rig.get(b"source") == Some(expected));
    check_no_leak(&rig, &[len, len + 4]).expect("nothing leaks");
}

#[test]
fn a_flush_takes_what_is_being_built_along() {
    let (rig, value, mut scratch) = (Rig::with(SMALL), large(8, 3 << 20), Scratch::default());
    let ordered = order(&rig, &mut scratch, b"key", &value);
    let built = build(&rig, ordered);
    rig.flush_db(DB);
    scratch.give(built);
    let again = order(&rig, &mut scratch, b"key", &value);
    scratch.give(build(&rig, again));
    publish(&rig, &mut scratch, b"key", &value);
    drop(scratch);
    assert!(rig.get(b"key").as_ref() == Some(&value));
    check_no_leak(&rig, &[value.len()]).expect("nothing leaks");
    let late = order(&rig, &mut Scratch::default(), b"key", &value);
    rig.flush_db(DB);
    assert!(rig.engine.build(late).expect("no error").is_none(), "the database is gone");
    check_no_leak(&rig, &[]).expect("nothing leaks");
    let ordered = order(&rig, &mut Scratch::default(), b"key", &value);
    std::mem::forget(build(&rig, ordered));
    rig.flush_db(DB);
    let rig = rig.kill();
    check_no_leak(&rig, &[]).expect("nothing leaks");
}

/// The building row of a value that is given up while a round runs must not go before the death is known.
#[test]
fn giving_up_during_a_round_leaks_nothing() {
    let (rig, value) = (Rig::with(SMALL), large(9, 2 << 20));
    let ordered = order(&rig, &mut Scratch::default(), b"key", &value);
    let built = Mutex::new(Some(build(&rig, ordered)));
    let hook = move || drop(built.lock().take());
    rig.cold.set_hooks(MemoryHooks { before_flush: Some(Arc::new(hook)), ..MemoryHooks::default() });
    rig.checkpoint();
    rig.cold.set_hooks(MemoryHooks::default());
    let rig = rig.kill();
    check_no_leak(&rig, &[]).expect("nothing leaks");
}

/// What does not need the bytes of a cold long string does not read them.
#[test]
fn a_long_string_is_replaced_and_deleted_without_being_read() {
    let rig = Rig::with(SMALL);
    let value = large(10, 3 << 20);
    rig.set(b"key", &value);
    rig.evict_all();
    rig.expire_at(b"key", None);
    rig.evict_all();
    let hot = rig.engine.store().hot_bytes().0;
    assert!(rig.del(b"key"));
    assert!(rig.engine.store().hot_bytes().0 < hot + (1 << 20), "the bytes came into memory");
    rig.set(b"key", &value);
    rig.evict_all();
    rig.set(b"key", b"short");
    assert_eq!(rig.get(b"key").as_deref(), Some(&b"short"[..]));
    check_no_leak(&rig, &[]).expect("nothing leaks");
}

#[test]
fn snapshots_see_what_was_published_before_them() {
    let rig = Rig::new();
    let (old, new) = (large(1, 3 << 20), large(2, 4 << 20));
    rig.set(b"key", &old);
    rig.set(b"gone", &old);
    let value_of = |snapshot: &lux_engine::snapshot::Snapshot, key: &[u8]| {
        snapshot.get(DB, key).expect("reads").map(|entry| match entry.body() {
            lux_engine::keyspace::entry::BodyRef::Boxed(Value::String(string)) => string.as_bytes().to_vec(),
            other => panic!("{other:?} is no long string"),
        })
    };
    let before = rig.engine.snapshot(Detail::Values).expect("opens");
    assert!(value_of(&before, b"key").as_ref() == Some(&old));
    let mut scratch = Scratch::default();
    let ordered = order(&rig, &mut scratch, b"key", &new);
    scratch.give(build(&rig, ordered));
    let between = rig.engine.snapshot(Detail::Values).expect("opens");
    publish(&rig, &mut scratch, b"key", &new);
    let after = rig.engine.snapshot(Detail::Values).expect("opens");
    rig.del(b"gone");
    rig.set_range(b"key", 0, b"edited");
    for _ in 0..3 {
        rig.checkpoint();
    }
    rig.evict_all();
    for snapshot in [&before, &between] {
        assert!(value_of(snapshot, b"key").as_ref() == Some(&old));
        assert!(value_of(snapshot, b"gone").as_ref() == Some(&old));
    }
    assert!(value_of(&after, b"key").as_ref() == Some(&new));
    drop((before, between, after));
    check_no_leak(&rig, &[new.len()]).expect("nothing leaks");
}

/// Kills and power cuts before every write and flush of the cold tier while large values are built,
/// published, edited and deleted.
#[test]
fn every_step_of_a_build_survives_a_crash() {
    let mut trace = Trace::new(Rig::with(SMALL));
    trace.set(b"old", &large(1, 2 << 20), None).expect("sets");
    trace.checkpoint().expect("a round");
    let images = Images::watch(&trace.rig, 11);
    let value = large(2, (2 << 20) + 77);
    // Parts are commits that change no key: the state stays that of the commit before.
    trace.set(b"new", &value, None).expect("sets");
    trace.rename(b"new", b"old").expect("renames");
    trace.set_range(b"old", 70_000, b"edited").expect("edits");
    trace.checkpoint().expect("a round");
    trace.set(b"old", b"short", None).expect("sets");
    trace.checkpoint().expect("a round");
    trace.checkpoint().expect("a round");
    let count = images.check(&trace).unwrap_or_else(|error| panic!("{error}"));
    assert!(count > 20, "{count} images");
    check_no_leak(&trace.rig, &[]).expect("nothing leaks");
}

/// The power goes after the n-th sync while values are built, for every n; nothing leaks after it.
#[test]
fn no_page_leaks_wherever_the_power_goes() {
    let mut points = 0;
    for n in 0.. {
        let (files, cold) = (SimFiles::new(), MemoryStore::new());
        let clock = Arc::new(SimClock::new(1_700_000_000_000));
        files.power_off_after_sync(n);
        let Ok(rig) = Rig::open(files.clone(), Arc::clone(&clock), cold.clone(), SMALL) else { continue };
        let (a, b) = (large(1, 2 << 20), large(2, (3 << 20) + 5));
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            rig.set(b"a", &a);
            rig.checkpoint();
            rig.set(b"a", &b);
            rig.rename(b"a", b"b");
            rig.checkpoint();
            rig.append(b"b", b"!");
            rig.checkpoint();
        }));
        rig.engine.stop();
        let mut rng = SimRng::new(n);
        let keep = rng.below(cold.pending_batches() as u64 + 1) as usize;
        let rig = Rig::open(files.crash(&mut rng), clock, cold.crash(keep), SMALL).expect("opens");
        let lens: Vec<usize> = [b"a", b"b"].iter().filter_map(|key| rig.get(*key)).map(|v| v.len()).collect();
        for key in [b"a", b"b"] {
            let value = rig.get(key).unwrap_or_default();
            let edited = [&b[..], b"!"].concat();
            let is_known = [&[][..], &a[..], &b[..], &edited[..]].contains(&&value[..]);
            assert!(is_known, "sync {n}: {} bytes of {}", value.len(), key.escape_ascii());
        }
        check_no_leak(&rig, &lens).unwrap_or_else(|error| panic!("sync {n}: {error}"));
        points += 1;
        if outcome.is_ok() {
            break;
        }
    }
    assert!(points > 10, "{points} points");
}

/// Each put of a large value in one commit has an incarnation of its own, or the second would kill the
/// pages of the first and name them.
#[test]
fn two_collections_created_in_one_commit() {
    let rig = Rig::with(SMALL);
    let (a, b) = (large(1, 3 << 20), large(2, 3 << 20));
    let commands: [&[(&[u8], &[u8])]; 4] = [
        &[(b"k", &a), (b"k", &a)],
        &[(b"k", &a), (b"k", &b), (b"k", &a)],
        &[(b"k", &a), (b"k", b"small"), (b"k", &b)],
        &[(b"k", &b), (b"l", &b), (b"k", &a)],
    ];
    for pairs in commands {
        rig.mset(pairs);
        let rig_of = |rig: &Rig| {
            for (key, value) in pairs.iter().rev() {
                let last = pairs.iter().rfind(|pair| pair.0 == *key).expect("it is one of them");
                assert_eq!(rig.get(key).as_deref(), Some(last.1), "{value:.3?}");
            }
        };
        rig_of(&rig);
        rig.evict_all();
        (0..3).for_each(|_| rig.checkpoint());
        rig.evict_all();
        rig_of(&rig);
        rig.check_counters();
    }
    check_no_leak(&rig, &[3 << 20, 3 << 20]).unwrap();
    let rig = rig.kill();
    assert_eq!(rig.get(b"k"), Some(a));
    assert_eq!(rig.get(b"l"), Some(b));
}

#[test]
fn what_needs_no_bytes_reads_none() {
    let rig = Rig::with(SMALL);
    rig.set(b"k", &large(1, 3 << 20));
    rig.evict_all();
    let header = rig.run(DB, &[b"k"], Mode::Keys, |txn| txn.header(b"k", true)).expect("reads").0;
    assert_eq!(header.map(|header| header.encoding), Some("raw"));
    assert!(is_stored(&rig, b"k"));
    assert!(rig.expire_at(b"k", Some(rig.now_ms() + 1000)));
    assert!(is_stored(&rig, b"k"));
    assert!(rig.deadline(b"k").is_some());
    assert!(rig.del(b"k"));
}
