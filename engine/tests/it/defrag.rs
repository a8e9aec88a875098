//! Defragmentation moves entries and nothing else changes, also beside commands that use them.

use std::alloc::{Layout, alloc, dealloc};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use lux_engine::env::Defragmenter;
use lux_engine::eviction::defrag;

use crate::rig::Rig;

/// Takes every page for a sparse one.
struct Everything;

impl Defragmenter for Everything {
    fn is_sparse(&self, _: NonNull<u8>) -> bool {
        true
    }

    fn allocate(&self, layout: Layout) -> *mut u8 {
        // SAFETY: entries are never empty.
        unsafe { alloc(layout) }
    }

    // SAFETY: the caller promises what `dealloc` asks for.
    unsafe fn free(&self, allocation: NonNull<u8>, layout: Layout) {
        // SAFETY: as above.
        unsafe { dealloc(allocation.as_ptr(), layout) }
    }
}

const KEYS: usize = 2000;

fn key(n: usize) -> Vec<u8> {
    format!("key:{n}").into_bytes()
}

/// Short strings, long ones and deadlines.
fn value(n: usize) -> Vec<u8> {
    vec![b'v'; if n.is_multiple_of(50) { 5000 } else { n % 300 }]
}

fn filled() -> Rig {
    let rig = Rig::new();
    for n in 0..KEYS {
        let deadline = (n % 3 == 0).then(|| rig.now_ms() + 1_000_000);
        rig.set_until(&key(n), &value(n), deadline);
    }
    rig
}

#[test]
fn every_entry_moves_and_stays_what_it_was() {
    let rig = filled();
    let running = AtomicBool::new(false);
    assert_eq!(defrag::walk(rig.engine.store(), &Everything, &running), KEYS as u64);
    for n in 0..KEYS {
        assert_eq!(rig.get(&key(n)), Some(value(n)), "key {n}");
        assert_eq!(rig.deadline(&key(n)).is_some(), n % 3 == 0);
    }
    rig.check_counters();
    // Dirty marks moved along: nothing is lost when all leave memory.
    rig.evict_all();
    (0..KEYS).for_each(|n| assert_eq!(rig.get(&key(n)), Some(value(n)), "key {n}"));
}

#[test]
fn walks_beside_commands_lose_nothing() {
    let rig = filled();
    let (running, is_done) = (AtomicBool::new(false), AtomicBool::new(false));
    thread::scope(|scope| {
        let walker = scope.spawn(|| {
            let mut moved = 0;
            while !is_done.load(Ordering::Relaxed) {
                moved += defrag::walk(rig.engine.store(), &Everything, &running);
            }
            moved
        });
        for round in 0..5 {
            for n in 0..KEYS {
                rig.append(&key(n), b"+");
                assert_eq!(rig.get(&key(n)).map(|v| v.len()), Some(value(n).len() + round + 1));
            }
            rig.evict_all();
        }
        is_done.store(true, Ordering::Relaxed);
        assert!(walker.join().expect("walks") > 0);
    });
    rig.check_counters();
}
