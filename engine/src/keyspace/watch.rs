//! Keys that somebody watches although they do not exist.
//!
//! That a key which exists was changed shows by its LSN. One that came and went again leaves nothing
//! behind, so whoever watches a missing key leaves a [`Touch`] with its shard, and the commit that makes the
//! key touches it. That happens under the shard's lock, like the commit: whoever looks under that lock knows.
//!
//! A watcher that loses interest drops its touch. What it left here goes when there is as much again.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::ids::DbIndex;

/// Whether any of a watcher's keys was touched.
#[derive(Debug, Default)]
pub struct Touch(AtomicBool);

impl Touch {
    /// Whether it was touched; for one who holds the locks of all keys it was left for.
    #[must_use]
    pub fn is_touched(&self) -> bool {
        // ORDERING: the locks order it.
        self.0.load(Ordering::Relaxed)
    }

    fn touch(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// With fewer keys than this nobody looks for dropped touches.
const SWEEP_MIN: usize = 32;

/// The missing keys of one shard that are watched, by the numbers clients know databases by.
#[derive(Default)]
pub struct AbsentWatches {
    keys: HashMap<Box<[u8]>, Vec<(DbIndex, Arc<Touch>)>>,
    /// With so many keys, those without a watcher are looked for.
    sweep_at: usize,
}

impl AbsentWatches {
    /// Whether nobody watches.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Leaves a touch for a key that does not exist.
    pub fn add(&mut self, db: DbIndex, key: &[u8], touch: &Arc<Touch>) {
        if self.keys.len() >= self.sweep_at.max(SWEEP_MIN) {
            self.sweep();
            self.sweep_at = self.keys.len() * 2;
        }
        let of_key = self.keys.entry(Box::from(key)).or_default();
        // One key watched again and again must not pile up either.
        of_key.retain(|(_, touch)| Arc::strong_count(touch) > 1);
        if !of_key.iter().any(|(other, left)| *other == db && Arc::ptr_eq(left, touch)) {
            of_key.push((db, Arc::clone(touch)));
        }
    }

    fn sweep(&mut self) {
        self.keys.retain(|_, of_key| {
            of_key.retain(|(_, touch)| Arc::strong_count(touch) > 1);
            !of_key.is_empty()
        });
    }

    /// The key was made in a database; `None`: in one or another.
    #[cold]
    pub fn touch(&mut self, db: Option<DbIndex>, key: &[u8]) {
        let Some(of_key) = self.keys.get_mut(key) else { return };
        of_key.retain(|(watched, touch)| {
            let is_it = db.is_none_or(|db| db == *watched);
            if is_it {
                touch.touch();
            }
            !is_it
        });
        if of_key.is_empty() {
            self.keys.remove(key);
        }
    }

    /// The watched keys of a database.
    pub fn of(&self, db: DbIndex) -> impl Iterator<Item = &[u8]> {
        let is_of = move |(_, of_key): &(&Box<[u8]>, &Vec<(DbIndex, Arc<Touch>)>)| {
            of_key.iter().any(|(watched, touch)| *watched == db && Arc::strong_count(touch) > 1)
        };
        self.keys.iter().filter(is_of).map(|(key, _)| &**key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: DbIndex = DbIndex(0);
    const B: DbIndex = DbIndex(1);

    #[test]
    fn a_touch_reaches_those_who_watch_the_key_in_that_database() {
        let touches: [Arc<Touch>; 4] = Default::default();
        let [first, second, in_other_db, other_key] = &touches;
        let mut watches = AbsentWatches::default();
        watches.add(A, b"k", first);
        watches.add(A, b"k", second);
        watches.add(B, b"k", in_other_db);
        watches.add(A, b"l", other_key);
        watches.touch(Some(A), b"k");
        assert!(first.is_touched() && second.is_touched());
        assert!(!in_other_db.is_touched() && !other_key.is_touched());
        assert_eq!(watches.of(A).collect::<Vec<_>>(), [b"l"]);
        watches.touch(None, b"k");
        assert!(in_other_db.is_touched());
    }

    #[test]
    fn what_dropped_watchers_left_goes() {
        let mut watches = AbsentWatches::default();
        let stays = Arc::default();
        watches.add(A, b"stays", &stays);
        for number in 0..10_000_u32 {
            watches.add(A, &number.to_le_bytes(), &Arc::default());
            watches.add(A, b"again", &Arc::default());
        }
        assert!(watches.keys.len() <= SWEEP_MIN + 1, "{}", watches.keys.len());
        assert!(watches.keys.values().all(|of_key| of_key.len() <= 2));
        watches.touch(Some(A), b"stays");
        assert!(stays.is_touched());
    }
}
