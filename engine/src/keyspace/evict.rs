//! What leaves a shard's memory when it is full: a clock over clean entries.
//!
//! The hand goes from entry to entry, through the slots of a page, the pages of a database and the
//! databases of the shard. Its place is kept as a bucket and a slot, so that tables may change under it.

use super::entry::{Entry, Kind, flag};
use super::shard::Shard;
use crate::ids::DbId;

/// The hand of the evictor's clock: a place that may have moved since.
#[derive(Clone, Copy, Debug, Default)]
pub struct Hand {
    /// Position of the database in the shard.
    db: usize,
    bucket: u32,
    /// Slot of the page that holds the bucket.
    slot: usize,
}

impl Shard {
    /// Evicts the entries of a database that `take` picks; it must pick clean, unpinned values.
    pub fn evict_where(&mut self, db: DbId, mut take: impl FnMut(&Entry) -> bool) -> u64 {
        let mut used_at = self.cold_used_at;
        let Some(part) = self.db_mut(db) else { return 0 };
        let (mut bytes, mut count, mut bucket, mut held) = (0, 0, Some(0), Vec::new());
        while let Some(from) = bucket {
            let page = part.table.page_at(from);
            bucket = part.table.next_start(page);
            part.table.extract(
                page,
                |entry| take(entry),
                |entry| {
                    bytes += entry.heap_bytes();
                    count += 1;
                    used_at = used_at.later(entry.usage().at);
                    held.extend(entry.has(flag::HELD).then_some((db, entry)));
                },
            );
        }
        part.hot -= count;
        self.cold_used_at = used_at;
        self.bytes -= bytes;
        self.keep_evicted(held);
        count
    }

    /// Frees clean entries that were not used lately, from where the last call stopped, until `want`
    /// bytes are free or `visits` entries were looked at. A visit takes one from an entry's access
    /// counter; an entry without any goes. Returns the freed bytes and the number of values.
    pub fn evict_clean(&mut self, want: usize, visits: usize) -> (usize, u64) {
        let (mut freed, mut evicted, mut left, mut held) = (0, 0, visits, Vec::new());
        let mut used_at = self.cold_used_at;
        while freed < want && left > 0 && !self.dbs().is_empty() {
            let mut hand = self.hand;
            if hand.db >= self.dbs().len() {
                hand = Hand::default();
            }
            let part = &mut self.dbs_mut()[hand.db];
            let page = part.table.page_at(hand.bucket);
            let next_page = part.table.next_start(page);
            let swept = part.table.sweep(page, hand.slot, left, cools_out);
            if let Some(entry) = swept.taken {
                freed += entry.heap_bytes();
                part.hot -= u64::from(entry.is_value());
                evicted += u64::from(entry.is_value());
                used_at = used_at.later(entry.usage().at);
                held.extend(entry.has(flag::HELD).then_some((part.id, entry)));
            }
            left = left.saturating_sub(swept.visited);
            self.hand = match (swept.next, next_page) {
                (Some(slot), _) => Hand { slot, ..hand },
                (None, Some(bucket)) => Hand { bucket, slot: 0, ..hand },
                (None, None) => Hand { db: hand.db + 1, bucket: 0, slot: 0 },
            };
        }
        self.bytes -= freed;
        self.cold_used_at = used_at;
        let kept = self.keep_evicted(held);
        (freed.saturating_sub(kept), evicted)
    }
}

/// One visit of the evictor: whether the entry goes now.
fn cools_out(entry: &mut Entry) -> bool {
    if entry.pins() > 0 || entry.flags() & (flag::DIRTY | flag::IN_FLIGHT) != 0 {
        return false;
    }
    if entry.kind() == Kind::Absent {
        return true;
    }
    let freq = entry.freq();
    if freq > 0 {
        entry.set_freq(freq - 1);
    }
    freq == 0
}
