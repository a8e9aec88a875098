//! What the commit hook tells: each key and operation of a commit once.

use lux_engine::txn::Mode;
use lux_engine::wal::effect::Operation;

use crate::invariants::listen;
use crate::rig::{DB, Rig, body};

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
