//! Snapshots: what a long read sees while everything changes under it, what that may cost, and
//! who pays when it costs too much.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use lux_engine::Error;
use lux_engine::env::sim::SimRng;
use lux_engine::ids::{DbIndex, Lsn};
use lux_engine::keyspace::entry::{BodyRef, Entry};
use lux_engine::keyspace::store::Store;
use lux_engine::snapshot::{Detail, Snapshot};
use lux_engine::tier::Family;
use lux_engine::txn::Mode;
use lux_engine::value::Value;
use parking_lot::Mutex;

use crate::rig::{DB, Options, Rig, body, text};
use crate::trace::Map;

/// A snapshot beside what it must show.
pub struct View {
    snapshot: Snapshot,
    expected: Map,
}

impl View {
    /// Opens a snapshot of a store that holds `map`.
    pub fn open(rig: &Rig, map: &Map) -> View {
        let now = rig.now_ms();
        let live = map.iter().filter(|(_, (_, at))| at.is_none_or(|at| at > now));
        let expected = live.map(|(key, value)| (key.clone(), value.clone())).collect();
        View { snapshot: rig.engine.snapshot(Detail::Values).expect("opens"), expected }
    }

    /// What is wrong with it. `false`: it was given up.
    pub fn check(&self) -> Result<bool, String> {
        let found = match contents(&self.snapshot, DB) {
            Err(Error::SnapshotLost { .. }) => return Ok(false),
            other => other.map_err(|error| error.to_string())?,
        };
        let names = |map: &Map| map.keys().map(|key| key.escape_ascii().to_string()).collect::<Vec<_>>();
        match found == self.expected {
            true => Ok(true),
            false if names(&found) == names(&self.expected) => Err("a value is of another time".to_string()),
            false => Err(format!("keys {:?} instead of {:?}", names(&found), names(&self.expected))),
        }
    }
}

/// All keys of a database, by a walk.
fn walk(snapshot: &Snapshot, db: DbIndex) -> lux_engine::Result<BTreeSet<Vec<u8>>> {
    let (mut keys, mut from) = (BTreeSet::new(), Some(0));
    while let Some(bucket) = from {
        let step = snapshot.keys(db, bucket, 10)?;
        for (key, _) in step.keys {
            assert!(keys.insert(key), "a snapshot never changes, so no key comes twice");
        }
        from = step.next;
    }
    Ok(keys)
}

/// All that a database holds.
fn contents(snapshot: &Snapshot, db: DbIndex) -> lux_engine::Result<Map> {
    let mut map = Map::new();
    for key in walk(snapshot, db)? {
        let entry = snapshot.get(db, &key)?.expect("the walk found it");
        map.insert(key, (bytes(&entry), entry.deadline().map(|at| at.0)));
    }
    Ok(map)
}

fn bytes(entry: &Entry) -> Vec<u8> {
    match entry.body() {
        BodyRef::Int(value) => value.to_string().into_bytes(),
        BodyRef::Bytes(bytes) => bytes.to_vec(),
        BodyRef::Boxed(Value::String(string)) => string.as_bytes().to_vec(),
        other => panic!("{other:?} is no value"),
    }
}

fn value_of(snapshot: &Snapshot, key: &[u8]) -> Option<Vec<u8>> {
    snapshot.get(DB, key).expect("reads").map(|entry| bytes(&entry))
}

fn key(n: usize) -> Vec<u8> {
    format!("key:{n}").into_bytes()
}

/// Nothing is left of closed snapshots.
fn check_closed(rig: &Rig) {
    let snapshots = &rig.engine.store().snapshots;
    assert_eq!((snapshots.count(), snapshots.bytes()), (0, 0));
    for id in Store::shard_ids() {
        let shard = rig.engine.store().shard(id).lock();
        assert!(shard.sides.is_empty() && shard.sides.bytes() == 0);
    }
    rig.check_counters();
}

fn is_hot(rig: &Rig, key: &[u8]) -> bool {
    let store = rig.engine.store();
    let hash = store.hasher.hash(key);
    let shard = store.shard(hash.shard).lock();
    shard.db(store.db_id(DB)).is_some_and(|part| part.table.find(hash, key).is_some())
}

/// Every way in which the state of a dirty entry can leave memory.
#[test]
fn what_was_dirty_stays_readable() {
    let rig = Rig::new();
    let long = vec![b'l'; 5_000];
    for n in 0..12 {
        rig.set(&key(n), if n % 2 == 0 { b"old" } else { &long });
    }
    // These leave tombstones that the snapshot must see as such, over rows that are still there.
    rig.set(b"deleted", b"before");
    rig.set(b"deleted and back", b"before");
    rig.checkpoint();
    rig.del(b"deleted");
    rig.del(b"deleted and back");
    (0..12).for_each(|n| rig.append(&key(n), b"+"));
    let expected: Vec<Vec<u8>> = (0..12).map(|n| rig.get(&key(n)).expect("set")).collect();
    let snapshot = rig.engine.snapshot(Detail::Values).expect("opens");
    rig.set(&key(0), b"new");
    rig.set(&key(1), b"new");
    rig.append(&key(2), b"more");
    rig.append(&key(3), b"more");
    rig.set_range(&key(5), 3, b"in the middle");
    rig.expire_at(&key(4), Some(rig.now_ms() + 60_000));
    rig.del(&key(6));
    rig.del(&key(7));
    rig.rename(&key(8), b"renamed");
    rig.set(b"made later", b"x");
    rig.set(b"deleted and back", b"again");
    rig.evict_all();
    assert!(!is_hot(&rig, &key(9)) && !is_hot(&rig, b"deleted"), "gone from memory with its write-back");
    rig.set(&key(10), b"changed after its eviction");
    rig.flush_db(DB);
    rig.checkpoint();
    rig.set(&key(11), b"in a new database");
    let keys: BTreeSet<Vec<u8>> = (0..12).map(key).collect();
    assert_eq!(walk(&snapshot, DB).expect("reads"), keys);
    for (n, value) in expected.into_iter().enumerate() {
        assert_eq!(value_of(&snapshot, &key(n)), Some(value), "key {n}");
        assert!(snapshot.get(DB, &key(n)).expect("reads").expect("there").deadline().is_none());
    }
    for absent in ["deleted", "deleted and back", "renamed", "made later"] {
        assert_eq!(value_of(&snapshot, absent.as_bytes()), None, "{absent}");
    }
    assert_eq!(snapshot.key_count(DB), 12);
    drop(snapshot);
    check_closed(&rig);
}

/// A clean entry needs no image: its row is in the view, and stays there.
#[test]
fn what_was_clean_costs_nothing() {
    let rig = Rig::new();
    (0..100).for_each(|n| rig.set(&key(n), b"old"));
    rig.checkpoint();
    let snapshot = rig.engine.snapshot(Detail::Values).expect("opens");
    (0..50).for_each(|n| rig.set(&key(n), b"new"));
    rig.evict_all();
    assert_eq!(rig.engine.store().snapshots.bytes(), 0);
    assert!((0..100).all(|n| value_of(&snapshot, &key(n)).as_deref() == Some(b"old")));
}

/// A key was cold at the snapshot and deleted since. That it is absent is known for as long as a
/// waiting command pins it; this entry says nothing about the snapshot.
#[test]
fn a_known_absence_says_nothing() {
    let rig = Rig::new();
    rig.set(b"key", b"old");
    // They stay cold, in every shard, so that a miss in memory proves nothing.
    (0..1_000).for_each(|n| rig.set(&key(n), b"other"));
    rig.checkpoint();
    rig.evict_all();
    let snapshot = rig.engine.snapshot(Detail::Values).expect("opens");
    rig.del(b"key");
    rig.checkpoint();
    assert!(!is_hot(&rig, b"key"), "the tombstone is gone");
    let ticket = rig.engine.prefetch(DB, std::iter::once(&b"key"[..])).expect("it must be asked for");
    ticket.wait().expect("reads");
    assert!(is_hot(&rig, b"key"), "its absence is pinned");
    assert_eq!(value_of(&snapshot, b"key").as_deref(), Some(&b"old"[..]));
    assert_eq!(walk(&snapshot, DB).expect("reads").len(), 1_001);
    drop(ticket);
}

/// A database that is emptied under a snapshot, and one that changes its number.
#[test]
fn databases_are_those_of_the_snapshot() {
    let rig = Rig::new();
    rig.set(b"cold", b"zero");
    rig.evict_all();
    rig.set(b"hot", b"zero");
    let snapshot = rig.engine.snapshot(Detail::Values).expect("opens");
    rig.swap_db(DB, DbIndex(1));
    rig.set(b"other", b"new zero");
    rig.flush_db(DbIndex(1));
    rig.checkpoint();
    rig.checkpoint();
    let names = BTreeSet::from([b"cold".to_vec(), b"hot".to_vec()]);
    assert_eq!(walk(&snapshot, DB).expect("reads"), names);
    assert!(walk(&snapshot, DbIndex(1)).expect("reads").is_empty());
    assert_eq!(value_of(&snapshot, b"cold").as_deref(), Some(&b"zero"[..]));
    assert_eq!(value_of(&snapshot, b"hot").as_deref(), Some(&b"zero"[..]));
}

/// Expiry is judged by the time of the opening, whatever the reaper did since.
#[test]
fn deadlines_are_judged_by_the_opening() {
    let rig = Rig::new();
    let now = rig.now_ms();
    for (name, ms) in [("cold", 500), ("hot", 500), ("dead", 50)] {
        rig.set_until(name.as_bytes(), b"v", Some(now + ms));
        if name == "cold" {
            rig.evict_all();
        }
    }
    rig.advance(100);
    let before = rig.engine.snapshot(Detail::Values).expect("opens");
    let names = rig.engine.snapshot(Detail::Names).expect("opens");
    rig.advance(1_000);
    let after = rig.engine.snapshot(Detail::Values).expect("opens");
    rig.engine.reaper().tick().expect("reaps");
    rig.checkpoint();
    let alive = BTreeSet::from([b"cold".to_vec(), b"hot".to_vec()]);
    assert_eq!(walk(&before, DB).expect("reads"), alive);
    assert_eq!(walk(&names, DB).expect("reads"), alive);
    assert_eq!(value_of(&before, b"hot").as_deref(), Some(&b"v"[..]));
    assert_eq!(value_of(&before, b"dead"), None);
    assert!(walk(&after, DB).expect("reads").is_empty());
    assert_eq!(value_of(&after, b"cold"), None);
    assert_eq!(after.key_count(DB), 3, "counts are those of DBSIZE");
}

/// Changes that wait for their base row since a replay are applied before a snapshot is opened.
#[test]
fn replayed_changes_are_resolved_first() {
    let rig = Rig::new();
    (0..300).for_each(|n| rig.set(&key(n), b"base"));
    rig.checkpoint();
    rig.evict_all();
    (0..300).for_each(|n| rig.append(&key(n), b" and more"));
    let rig = rig.kill();
    let snapshot = rig.engine.snapshot(Detail::Values).expect("opens");
    (0..150).for_each(|n| rig.append(&key(n), b" and later"));
    rig.evict_all();
    assert_eq!(walk(&snapshot, DB).expect("reads").len(), 300);
    assert!((0..300).all(|n| value_of(&snapshot, &key(n)).as_deref() == Some(b"base and more")));
}

/// A string of many pages, of which some change: all at the time of the snapshot.
#[test]
fn pages_are_those_of_the_snapshot() {
    let rig = Rig::with(Options { maxmemory: 256 << 20, ..Options::default() });
    let old = vec![b'o'; 3 << 20];
    for name in [&b"clean"[..], b"changed", b"replaced", b"evicted"] {
        rig.set(name, &old);
    }
    rig.checkpoint();
    let mut expected = old.clone();
    expected[70_000..70_003].copy_from_slice(b"new");
    for name in [&b"changed"[..], b"replaced", b"evicted"] {
        assert!(rig.set_range(name, 70_000, b"new"));
    }
    let snapshot = rig.engine.snapshot(Detail::Values).expect("opens");
    let names = rig.engine.snapshot(Detail::Names).expect("opens");
    rig.set_range(b"changed", 80_000, b"newer");
    rig.checkpoint();
    rig.append(b"changed", b"newest");
    rig.del(b"clean");
    rig.set(b"replaced", b"short");
    rig.evict_all();
    rig.checkpoint();
    rig.checkpoint();
    assert!(value_of(&snapshot, b"clean") == Some(old), "rows in the view");
    for name in [&b"changed"[..], b"replaced", b"evicted"] {
        assert!(value_of(&snapshot, name).as_ref() == Some(&expected), "{}", name.escape_ascii());
    }
    assert_eq!(walk(&names, DB).expect("reads").len(), 4);
    drop(snapshot);
    assert!(rig.engine.store().snapshots.bytes() < 1_000, "a snapshot of names keeps no values");
    drop(names);
    check_closed(&rig);
}

/// Memory pressure evicts what a snapshot still needs: it moves to the side table, and what it
/// takes there counts.
#[test]
fn pressure_evicts_into_the_side_table() {
    let rig = Rig::with(Options { maxmemory: 16 << 20, ..Options::default() });
    let map: Map = (0..1_000).map(|n| (key(n), (vec![b'v'; 900], None))).collect();
    map.iter().for_each(|(key, (value, _))| rig.set(key, value));
    let view = View::open(&rig, &map);
    rig.checkpoint();
    for n in 0..30_000usize {
        rig.set(format!("filler {n}").as_bytes(), &[b'f'; 900]);
        if n % 3_000 == 0 {
            rig.checkpoint();
        }
    }
    for _ in 0..30 {
        rig.checkpoint();
    }
    let cold = map.keys().filter(|key| !is_hot(&rig, key)).count();
    assert!(cold > 800, "only {cold} of 1000 keys left memory");
    let kept = rig.engine.store().snapshots.bytes();
    assert!(kept > cold * 900, "{kept} bytes for {cold} images");
    rig.check_bytes();
    let (bytes, _) = rig.engine.store().hot_bytes();
    assert!(bytes <= rig.engine.store().hot_limit.load(Ordering::Relaxed), "images count in the hot tier");
    assert_eq!(view.check(), Ok(true));
    drop(view);
    check_closed(&rig);
}

fn is_lost<T>(outcome: lux_engine::Result<T>) -> bool {
    matches!(outcome, Err(Error::SnapshotLost { limit: 131_072 }))
}

/// What is kept has a bound. Beyond it the oldest reader fails, says why, and no writer notices.
#[test]
fn the_oldest_reader_fails_beyond_the_bound() {
    let rig = Rig::with(Options { maxmemory: 1 << 20, ..Options::default() });
    let write = |value: u8| (0..40).for_each(|n| rig.set(&key(n), &[value; 2_000]));
    write(b'1');
    let first = rig.engine.snapshot(Detail::Values).expect("opens");
    write(b'2');
    let second = rig.engine.snapshot(Detail::Values).expect("opens");
    let third = rig.engine.snapshot(Detail::Names).expect("opens");
    assert_eq!(value_of(&first, &key(7)).as_deref(), Some(&[b'1'; 2_000][..]));
    // Every write succeeds, or `set` panics.
    write(b'3');
    assert!(is_lost(first.keys(DB, 0, 10)) && is_lost(first.get(DB, &key(7))));
    let error = first.get(DB, &key(7)).expect_err("it is lost").to_string();
    assert!(error.contains("131072 bytes") && error.contains("run it again"), "{error}");
    assert_eq!(value_of(&second, &key(7)).as_deref(), Some(&[b'2'; 2_000][..]));
    assert_eq!(rig.engine.store().snapshots.failed.load(Ordering::Relaxed), 1);
    assert!(rig.engine.store().snapshots.bytes() <= 128 << 10);
    // Its images go though its reader does not let go of it.
    rig.checkpoint();
    rig.check_bytes();
    // A value that would not fit even alone takes all readers of values with it, but none of names.
    rig.set(b"big", &[b'b'; 100_000]);
    let fourth = rig.engine.snapshot(Detail::Values).expect("opens");
    rig.append(b"big", &[b'b'; 50_000]);
    assert!(is_lost(second.get(DB, &key(7))));
    assert_eq!(value_of(&fourth, b"big").map(|value| value.len()), Some(100_000));
    let fifth = rig.engine.snapshot(Detail::Values).expect("opens");
    rig.del(b"big");
    assert!(is_lost(fourth.keys(DB, 0, 10)) && is_lost(fifth.keys(DB, 0, 10)));
    assert_eq!(rig.get(&key(7)).as_deref(), Some(&[b'3'; 2_000][..]));
    drop((first, second, third, fourth, fifth));
    check_closed(&rig);
}

/// What died under a snapshot is dropped in bulk only when the snapshot is closed: a bulk drop
/// takes rows from views too.
#[test]
fn bulk_drops_wait_for_snapshots() {
    let rig = Rig::new();
    let map: Map = (0..100).map(|n| (key(n), (b"row".to_vec(), None))).collect();
    map.iter().for_each(|(key, (value, _))| rig.set(key, value));
    rig.swap_db(DB, DbIndex(1));
    rig.set(b"big", &vec![b'p'; 2 << 20]);
    rig.evict_all();
    rig.checkpoint();
    rig.swap_db(DB, DbIndex(1));
    rig.evict_all();
    let rows = |family| rig.cold.row_count(family);
    assert_eq!((rows(Family::Keys), rows(Family::Elements)), (101, 32));
    let view = View::open(&rig, &map);
    rig.swap_db(DB, DbIndex(1));
    rig.del(b"big");
    rig.flush_db(DbIndex(1));
    let later = rig.engine.snapshot(Detail::Values).expect("opens");
    for _ in 0..3 {
        rig.checkpoint();
    }
    assert_eq!((rows(Family::Keys), rows(Family::Elements)), (100, 32));
    assert_eq!(view.check(), Ok(true));
    let big = view.snapshot.get(DbIndex(1), b"big").expect("reads").expect("there");
    assert!(bytes(&big).iter().all(|byte| *byte == b'p') && bytes(&big).len() == 2 << 20);
    drop(view);
    // A snapshot that began after the deaths does not hold them up.
    rig.checkpoint();
    rig.checkpoint();
    assert_eq!((rows(Family::Keys), rows(Family::Elements)), (0, 0));
    assert!(walk(&later, DB).expect("reads").is_empty());
    drop(later);
    check_closed(&rig);
}

/// One change of the log of changes that a snapshot is compared with.
enum Change {
    Put(usize, Vec<u8>, Vec<u8>),
    Delete(usize, Vec<u8>),
    Flush(usize),
    Swap,
}

type Databases = [BTreeMap<Vec<u8>, Vec<u8>>; 2];

impl Change {
    fn apply(self, databases: &mut Databases) {
        match self {
            Change::Put(db, key, value) => drop(databases[db].insert(key, value)),
            Change::Delete(db, key) => drop(databases[db].remove(&key)),
            Change::Flush(db) => databases[db].clear(),
            Change::Swap => databases.reverse(),
        }
    }
}

const NAMES: u64 = 60;

fn random_value(rng: &mut SimRng) -> Vec<u8> {
    match rng.below(40) {
        0 => vec![b'a' + rng.below(26) as u8; 1_500],
        1..20 => rng.below(1_000_000).to_string().into_bytes(),
        _ => format!("value {}", rng.below(1 << 40)).into_bytes(),
    }
}

/// Makes one commit by chance; returns its LSN and what it changed, if it changed anything.
fn random_commit(rig: &Rig, rng: &mut SimRng) -> Option<(Lsn, Vec<Change>)> {
    let at = rng.below(2) as usize;
    let db = DbIndex(at as u8);
    let (a, b) = (key(rng.below(NAMES) as usize), key(rng.below(NAMES) as usize));
    let (value, choice) = (random_value(rng), rng.below(1_000));
    let keys: [&[u8]; 2] = [&a, &b];
    let mode = if choice < 6 { Mode::All } else { Mode::Keys };
    let outcome = rig.run(db, if choice < 6 { &[] } else { &keys }, mode, |txn| {
        Ok(match choice {
            0..4 => {
                txn.flush(&[db]);
                vec![Change::Flush(at)]
            }
            4..6 => {
                txn.swap(DbIndex(0), DbIndex(1));
                vec![Change::Swap]
            }
            6..300 => {
                txn.put_string(&a, body(&value), None, false)?;
                vec![Change::Put(at, a.clone(), value.clone())]
            }
            300..500 => {
                txn.delete(&a)?;
                vec![Change::Delete(at, a.clone())]
            }
            500..700 => match txn.lookup(&a)?.map(|found| text(found.value)) {
                Some(old) => {
                    txn.append(&a, b"+")?;
                    vec![Change::Put(at, a.clone(), [&old[..], b"+"].concat())]
                }
                None => Vec::new(),
            },
            // Two keys in one commit: a snapshot has both changes or none.
            700..850 => match txn.lookup(&a)?.map(|found| text(found.value)) {
                Some(old) if a != b => {
                    if !txn.move_value(&a, &b)? {
                        txn.put_string(&b, body(&old), None, false)?;
                        txn.delete(&a)?;
                    }
                    vec![Change::Put(at, b.clone(), old), Change::Delete(at, a.clone())]
                }
                _ => Vec::new(),
            },
            _ => {
                txn.put_string(&a, body(&value), None, false)?;
                txn.put_string(&b, body(&value), None, false)?;
                vec![Change::Put(at, a.clone(), value.clone()), Change::Put(at, b.clone(), value.clone())]
            }
        })
    });
    let (changes, committed) = outcome.expect("no writer fails for a snapshot");
    committed.lsn.map(|lsn| (lsn, changes))
}

/// Reads both databases of a snapshot slowly, by a walk and by name.
fn read_slowly(rig: &Rig) -> (Lsn, Databases) {
    let snapshot = rig.engine.snapshot(Detail::Values).expect("opens");
    let read = |at: u8| {
        let keys = walk(&snapshot, DbIndex(at)).expect("reads");
        let mut found = BTreeMap::new();
        for (n, name) in (0..NAMES as usize).map(key).enumerate() {
            if n % 8 == 0 {
                thread::yield_now();
            }
            let value = snapshot.get(DbIndex(at), &name).expect("reads");
            found.extend(value.map(|entry| (name, bytes(&entry))));
        }
        assert!(keys.iter().eq(found.keys()), "a walk and reads by name disagree");
        found
    };
    (snapshot.lsn(), [read(0), read(1)])
}

/// Whoever ends, by a panic too, ends all.
struct EndsAll<'a>(&'a AtomicBool);

impl Drop for EndsAll<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Writers change, delete, rename, flush and swap, everything is written back and evicted again and
/// again, and each of many overlapping snapshots shows exactly the state at its LSN.
#[test]
fn snapshots_show_the_state_at_their_lsn() {
    let rig = Rig::with(Options { segment_bytes: 1 << 20, ..Options::default() });
    let log = Mutex::new(Vec::new());
    let seen = Mutex::new(Vec::new());
    let (done, kept_most) = (AtomicBool::new(false), AtomicUsize::new(0));
    let stats = &rig.engine.store().stats;
    let is_enough = || {
        let moved = stats.evicted.load(Ordering::Relaxed).min(stats.promoted.load(Ordering::Relaxed));
        moved > 500 && seen.lock().len() >= 20
    };
    thread::scope(|scope| {
        for seed in 0..3 {
            let (rig, log, done, is_enough) = (&rig, &log, &done, &is_enough);
            scope.spawn(move || {
                let mut rng = SimRng::new(seed);
                let _ends = EndsAll(done);
                while !is_enough() && !done.load(Ordering::SeqCst) {
                    for _ in 0..50 {
                        let commit = random_commit(rig, &mut rng);
                        log.lock().extend(commit);
                    }
                    // So that there are not far more commits than snapshots.
                    thread::sleep(Duration::from_micros(200));
                }
            });
        }
        for _ in 0..2 {
            scope.spawn(|| {
                let _ends = EndsAll(&done);
                while !done.load(Ordering::SeqCst) {
                    let read = read_slowly(&rig);
                    seen.lock().push(read);
                    kept_most.fetch_max(rig.engine.store().snapshots.bytes(), Ordering::SeqCst);
                }
            });
        }
        scope.spawn(|| {
            let mut db = 0;
            while !done.load(Ordering::SeqCst) {
                rig.engine.evict(DbIndex(db), Box::new(|_| true)).expect("evicts");
                rig.engine.checkpoint().expect("a round");
                db = 1 - db;
            }
        });
    });
    let (mut log, mut seen) = (log.into_inner(), seen.into_inner());
    log.sort_by_key(|(lsn, _)| *lsn);
    seen.sort_by_key(|(lsn, _)| *lsn);
    assert!(kept_most.load(Ordering::SeqCst) > 0, "nothing was ever kept");
    let mut commits = log.into_iter().peekable();
    let mut databases = Databases::default();
    for (lsn, found) in seen {
        while let Some((_, changes)) = commits.next_if(|(commit, _)| *commit <= lsn) {
            changes.into_iter().for_each(|change| change.apply(&mut databases));
        }
        assert!(found == databases, "the snapshot at LSN {lsn} shows another state");
    }
    check_closed(&rig);
}
