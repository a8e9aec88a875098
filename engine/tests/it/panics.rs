//! Threads of the engine that panic: the store latches, nobody waits for ever, reads go on.

use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use lux_engine::Error;
use lux_engine::tier::memory::{Hook, MemoryHooks};
use lux_engine::txn::Mode;

use crate::rig::{DB, Rig};

/// A hook that panics.
fn bomb() -> Option<Hook> {
    Some(Arc::new(|| panic!("a test made this thread panic")))
}

/// What the work returns, unless it never ends.
fn in_time<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> R {
    let (send, receive) = mpsc::channel();
    thread::spawn(move || send.send(work()));
    receive.recv_timeout(Duration::from_secs(20)).expect("somebody waits for ever")
}

fn is_latched(outcome: Result<impl Sized, Error>) -> bool {
    matches!(outcome, Err(Error::Latched { cause }) if cause.contains("panicked"))
}

/// Nobody writes back any more: whoever asked for it, then or later, is told so, and closing ends.
#[test]
fn a_panic_of_the_keeper_latches_and_is_told() {
    let rig = Rig::new();
    rig.set(b"key", b"value");
    rig.cold.set_hooks(MemoryHooks { before_write: bomb(), ..MemoryHooks::default() });
    let engine = rig.engine.clone();
    assert!(in_time(move || is_latched(engine.checkpoint())), "the round that panicked");
    rig.cold.set_hooks(MemoryHooks::default());
    let engine = rig.engine.clone();
    assert!(in_time(move || is_latched(engine.checkpoint())), "a later one");
    let engine = rig.engine.clone();
    assert!(in_time(move || is_latched(engine.evict(DB, Box::new(|_| true)))));
    let refused = rig.run(DB, &[b"key"], Mode::Keys, |txn| txn.delete(b"key"));
    assert!(is_latched(refused));
    assert_eq!(rig.get(b"key").as_deref(), Some(&b"value"[..]));
    let engine = rig.engine.clone();
    assert!(in_time(move || is_latched(engine.close())));
    let rig = rig.kill();
    assert_eq!(rig.get(b"key").as_deref(), Some(&b"value"[..]));
    rig.set(b"key", b"works again");
}

/// A thread that reads the disk panics with keys in its hands: their clients get an error, and other
/// reads are served, also of the same keys.
#[test]
fn a_panic_of_a_read_thread_fails_its_waiters() {
    let rig = Rig::new();
    let names: Vec<String> = (0..40).map(|n| format!("key {n}")).collect();
    names.iter().for_each(|name| rig.set(name.as_bytes(), b"value"));
    rig.evict_all();
    for hook in ["before", "after"] {
        let hooks = match hook {
            "before" => MemoryHooks { before_get: bomb(), ..MemoryHooks::default() },
            _ => MemoryHooks { after_get: bomb(), ..MemoryHooks::default() },
        };
        rig.cold.set_hooks(hooks);
        let ticket = rig.engine.prefetch(DB, names.iter().map(|name| name.as_bytes())).expect("all are cold");
        assert!(in_time(move || is_latched(ticket.wait())), "{hook}");
        rig.cold.set_hooks(MemoryHooks::default());
        for name in &names {
            assert_eq!(rig.get(name.as_bytes()).as_deref(), Some(&b"value"[..]));
        }
        let refused = rig.run(DB, &[b"key 1"], Mode::Keys, |txn| txn.delete(b"key 1"));
        assert!(is_latched(refused));
        rig.engine.store().shard(lux_engine::ids::ShardId(0)).lock().evict_clean(usize::MAX, 1_000);
        (1..64).map(lux_engine::ids::ShardId).for_each(|id| {
            rig.engine.store().shard(id).lock().evict_clean(usize::MAX, 1_000);
        });
    }
    let engine = rig.engine.clone();
    assert!(in_time(move || is_latched(engine.close())));
}
