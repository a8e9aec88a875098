//! What the commit hook tells: each key and operation of a commit once.

use std::sync::Arc;

use lux_engine::txn::Mode;
use lux_engine::wal::effect::Operation;

use crate::invariants::listen;
use crate::rig::{DB, Rig, body};
use parking_lot::Mutex;

/// A command that makes a string and edits it, as SETBIT of an absent key does, is one change.
#[test]
fn two_effects_of_one_operation_are_one_event() {
    let rig = Rig::new();
    let events = listen(&rig);
    let keys: Vec<Vec<u8>> = (0..20).map(|n| format!("key {n}").into_bytes()).collect();
    let names: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
    let outcome = rig.run(DB, &names, Mode::Keys, |txn| {
        txn.set_operation(Operation::SetRange);
        for key in &names {
            txn.put_string(key, body(b"abc"), None, false)?;
            txn.set_range(key, 5, b"def")?;
        }
        Ok(())
    });
    outcome.expect("commits");
    let told = events.lock().clone();
    assert_eq!(told, keys.iter().map(|key| (Operation::SetRange, key.clone())).collect::<Vec<_>>());
    assert_eq!(rig.get(b"key 3").as_deref(), Some(&b"abc\0\0def"[..]));
}

/// A write that meets a dead key tells of both: the key that expired and the one that was set.
#[test]
fn different_operations_on_one_key_are_told_apart() {
    let rig = Rig::new();
    rig.set_until(b"key", b"old", Some(rig.now_ms() + 10));
    rig.advance(20);
    let events = listen(&rig);
    rig.set(b"key", b"new");
    let key = || b"key".to_vec();
    assert_eq!(*events.lock(), [(Operation::Expired, key()), (Operation::Set, key())]);
}

/// Who watches keys hears of these, of hardly any other, and of nothing afterwards; and is told before the commit
/// returns.
#[test]
fn watched_keys_are_told_of() {
    let rig = Rig::new();
    let events: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
    let sink = Arc::clone(&events);
    rig.engine.hook().listen_to_watched(Box::new(move |event| sink.lock().push(event.key.to_vec())));
    assert!(!rig.engine.hook().is_active());
    rig.set(b"a", b"1");
    for _ in 0..2 {
        rig.engine.watch(b"a");
    }
    rig.engine.watch(b"b");
    rig.engine.unwatch(b"a");
    for key in [&b"a"[..], b"b", b"a"] {
        let outcome = rig.run(DB, &[key], Mode::Keys, |txn| txn.put_string(key, body(b"2"), None, false));
        assert!(outcome.expect("commits").1.is_told);
    }
    assert_eq!(*events.lock(), [b"a".to_vec(), b"b".to_vec(), b"a".to_vec()]);
    for n in 0..500 {
        rig.set(format!("other {n}").as_bytes(), b"3");
    }
    assert!(events.lock().len() < 20, "{} events", events.lock().len());
    rig.engine.unwatch(b"a");
    rig.engine.unwatch(b"b");
    assert!(!rig.engine.hook().is_active());
    let before = events.lock().len();
    rig.set(b"a", b"4");
    assert_eq!(events.lock().len(), before);
}
