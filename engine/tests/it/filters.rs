//! The filters of cold keys: misses of keys that were never there read nothing, also after a restart;
//! and no key that has a row is ever taken for absent, whatever becomes of the file.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use lux_engine::env::{FileSystem, OpenMode};
use lux_engine::tier::filters;
use lux_engine::tier::memory::{Gate, MemoryHooks};

use crate::rig::{DB, Rig};

const KEYS: usize = 3000;

fn key(n: usize) -> Vec<u8> {
    format!("key:{n}").into_bytes()
}

/// A store whose keys are all cold, after a checkpoint.
fn cold_store() -> Rig {
    let rig = Rig::new();
    (0..KEYS).for_each(|n| rig.set(&key(n), b"value"));
    rig.evict_all();
    rig.checkpoint();
    rig
}

fn fetches(rig: &Rig) -> u64 {
    rig.engine.store().stats.fetches.load(Ordering::Relaxed)
}

/// How many of as many absent keys as there are present ones were looked for in the cold tier.
fn fetches_of_absent(rig: &Rig) -> u64 {
    let before = fetches(rig);
    for n in KEYS..2 * KEYS {
        assert_eq!(rig.get(&key(n)), None);
    }
    fetches(rig) - before
}

fn assert_all_found(rig: &Rig) {
    for n in 0..KEYS {
        assert_eq!(rig.get(&key(n)).as_deref(), Some(&b"value"[..]), "key {n}");
    }
}

fn build(rig: &Rig) {
    let store = rig.engine.store();
    filters::build(store, store.db_id(DB), &AtomicBool::new(false)).expect("walks the rows");
}

const FEW: u64 = KEYS as u64 / 10;

#[test]
fn absent_keys_are_not_looked_for() {
    let rig = cold_store();
    assert!(fetches_of_absent(&rig) < FEW);
    assert_all_found(&rig);
}

#[test]
fn filters_survive_a_kill_and_later_rows_are_in_them() {
    let rig = cold_store();
    // Written back after the file of filters and before the kill: only replay knows of them.
    (KEYS * 3..KEYS * 4).for_each(|n| rig.set(&key(n), b"late"));
    rig.evict_all();
    let rig = rig.kill();
    assert!(fetches_of_absent(&rig) < FEW);
    rig.evict_all();
    assert_all_found(&rig);
    (KEYS * 3..KEYS * 4).for_each(|n| assert!(rig.get(&key(n)).is_some()));
}

/// Spoils the file while the store is down.
fn reopened_after(spoil: impl FnOnce(&dyn FileSystem, &Path)) -> Rig {
    let rig = cold_store();
    rig.engine.stop();
    spoil(&rig.files, Path::new("/data/filters"));
    rig.kill()
}

fn assert_unusable_then_built(rig: &Rig) {
    assert!(fetches_of_absent(rig) > FEW, "the file must not be believed");
    assert_all_found(rig);
    rig.evict_all();
    build(rig);
    assert!(fetches_of_absent(rig) < FEW);
    assert_all_found(rig);
}

#[test]
fn a_missing_file_is_made_up_for_by_a_walk() {
    let rig = reopened_after(|files, path| files.remove(path).expect("it was there"));
    assert_unusable_then_built(&rig);
}

#[test]
fn a_damaged_file_is_noticed() {
    let rig = reopened_after(|files, path| {
        let file = files.open(path, OpenMode::ReadWrite).expect("it was there");
        let middle = file.len().expect("has a length") / 2;
        let mut byte = [0];
        file.read_at(&mut byte, middle).expect("reads");
        file.write_at(&[byte[0] ^ 1], middle).expect("writes");
    });
    assert_unusable_then_built(&rig);
}

/// The file of an earlier round lacks the keys that were written back since.
#[test]
fn an_outdated_file_is_noticed() {
    let rig = Rig::new();
    rig.set(b"first", b"value");
    rig.checkpoint();
    let path = Path::new("/data/filters");
    let old = read(&rig.files, path);
    (0..KEYS).for_each(|n| rig.set(&key(n), b"value"));
    rig.evict_all();
    rig.checkpoint();
    rig.engine.stop();
    rig.files.remove(path).expect("it was there");
    rig.files.open(path, OpenMode::CreateNew).and_then(|file| file.write_at(&old, 0)).expect("writes");
    let rig = rig.kill();
    assert_unusable_then_built(&rig);
}

fn read(files: &dyn FileSystem, path: &Path) -> Vec<u8> {
    let file = files.open(path, OpenMode::Read).expect("it was there");
    let mut bytes = vec![0; file.len().expect("has a length") as usize];
    file.read_at(&mut bytes, 0).expect("reads");
    bytes
}

/// Deleted keys stay in a filter, so a queue would fill it; then it is built anew.
#[test]
fn a_filter_of_deleted_keys_is_built_anew() {
    let rig = Rig::new();
    const MANY: usize = 64 * 9000;
    (0..MANY).for_each(|n| rig.set(&key(n), b""));
    rig.evict_all();
    (100..MANY).for_each(|n| assert!(rig.del(&key(n))));
    rig.evict_all();
    let size = |rig: &Rig| -> u64 {
        let store = rig.engine.store();
        let ids = (0..64).map(lux_engine::ids::ShardId);
        ids.map(|id| store.shard(id).lock().db(store.db_id(DB)).map_or(0, |part| part.filter.len())).sum()
    };
    assert!(size(&rig) > MANY as u64 / 2);
    build(&rig);
    assert!(size(&rig) < 1000);
    (0..100).for_each(|n| assert!(rig.get(&key(n)).is_some()));
}

/// Keys that get their first row while the rows are walked are in the new filter, and a database
/// that is emptied meanwhile starts with an empty one.
#[test]
fn a_walk_beside_writers_misses_nothing() {
    let rig = reopened_after(|files, path| files.remove(path).expect("it was there"));
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut n = 10 * KEYS;
            while !is_done.load(Ordering::Relaxed) {
                (0..100).for_each(|i| rig.set(&key(n + i), b"value"));
                rig.evict_all();
                n += 100;
            }
            n
        });
        build(&rig);
        is_done.store(true, Ordering::Relaxed);
        let end = writer.join().expect("writes");
        assert_all_found(&rig);
        (10 * KEYS..end).for_each(|n| assert!(rig.get(&key(n)).is_some(), "key {n}"));
    });
    rig.flush_db(DB);
    assert_eq!(fetches_of_absent(&rig), 0);
}

/// A row's image was copied and waits for its write while the filters are built: the walk's snapshot does
/// not have it, and the filter that noted the key is the one that is replaced.
#[test]
fn a_walk_beside_a_write_that_is_held_up_misses_nothing() {
    let rig = reopened_after(|files, path| files.remove(path).expect("it was there"));
    let late = || (KEYS * 5..KEYS * 5 + 200).map(key);
    late().for_each(|key| rig.set(&key, b"late"));
    let gate = Gate::closed();
    rig.cold.set_hooks(MemoryHooks { before_write: Some(gate.hook()), ..MemoryHooks::default() });
    thread::scope(|scope| {
        scope.spawn(|| rig.checkpoint());
        gate.wait_for_arrivals(1);
        build(&rig);
        gate.open();
    });
    rig.evict_all();
    late().for_each(|key| assert_eq!(rig.get(&key).as_deref(), Some(&b"late"[..]), "{key:?}"));
    rig.check_counters();
}
