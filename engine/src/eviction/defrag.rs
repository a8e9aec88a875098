//! Defragmentation of the hot tier: entries on nearly empty pages move together.
//!
//! When the hot tier has shrunk, or sizes have changed, the entries that stayed keep whole pages from
//! the system, and the memory bound would have to count them. A thread looks a few times a second; when
//! much memory is resident and not in use it walks all entries and has the allocator say which of them
//! lie on sparse pages. One page of the table at a time is walked under its shard's lock, which takes
//! some tens of microseconds.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::config::{MemoryProbe, MemorySample};
use crate::env::Defragmenter;
use crate::ids::DbId;
use crate::keyspace::store::Store;

/// Time between two looks.
const LOOK: Duration = Duration::from_millis(200);
/// Time after a walk that gained little.
const REST: Duration = Duration::from_secs(5);
/// Pages of a table walked between two pauses, and the pause: about a quarter of one core.
const SLICE: usize = 8;
const PAUSE: Duration = Duration::from_millis(2);

/// Whether so much memory lies idle that a walk is worth it.
fn is_fragmented(sample: MemorySample, maxmemory: u64) -> bool {
    let idle = sample.anonymous.saturating_sub(sample.allocated);
    sample.anonymous > maxmemory / 4 * 3 && idle > maxmemory / 12
}

/// Defragments when that is worth it, until the store stops; the body of a thread.
pub fn run(
    store: &Store,
    defragmenter: &dyn Defragmenter,
    probe: &MemoryProbe,
    maxmemory: impl Fn() -> u64,
    is_stopping: &AtomicBool,
) {
    while !is_stopping.load(Ordering::Relaxed) {
        let before = probe();
        if !is_fragmented(before, maxmemory()) {
            std::thread::park_timeout(LOOK);
            continue;
        }
        let moved = walk(store, defragmenter, is_stopping);
        store.stats.relocated.fetch_add(moved, Ordering::Relaxed);
        // Freed pages go back to the system with a delay.
        std::thread::park_timeout(LOOK * 2);
        let gained = before.anonymous.saturating_sub(probe().anonymous);
        if gained < before.anonymous / 64 {
            std::thread::park_timeout(REST);
        }
    }
}

/// Moves all entries that lie on sparse pages; returns their number.
pub fn walk(store: &Store, defragmenter: &dyn Defragmenter, is_stopping: &AtomicBool) -> u64 {
    let (mut moved, mut pages) = (0, 0);
    for id in Store::shard_ids() {
        let dbs: Vec<DbId> = store.lock(id).dbs().iter().map(|part| part.id).collect();
        for db in dbs {
            let mut from = Some(0);
            while let Some(bucket) = from {
                let mut shard = store.lock(id);
                let Some(part) = shard.db_mut(db) else { break };
                let page = part.table.page_at(bucket);
                part.table.for_page_mut(page, |entry| moved += u64::from(entry.relocate(defragmenter)));
                from = part.table.next_start(page);
                drop(shard);
                pages += 1;
                if pages % SLICE == 0 {
                    if is_stopping.load(Ordering::Relaxed) {
                        return moved;
                    }
                    std::thread::sleep(PAUSE);
                }
            }
        }
    }
    moved
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_walks_only_when_much_memory_is_idle() {
        let sample = |anonymous, allocated| MemorySample { anonymous, allocated };
        assert!(is_fragmented(sample(120, 100), 128));
        assert!(!is_fragmented(sample(120, 115), 128), "little to gain");
        assert!(!is_fragmented(sample(60, 20), 128), "there is room");
    }
}
