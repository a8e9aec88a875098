//! Batches of several workers on one key, one after the other.
//!
//! When clients on two workers pipeline commands on the same key, every other command finds the shard
//! locked and the value's memory in the other core's cache. So a batch that begins and ends with the same
//! key takes the lead of that key's convoy first, and a batch that finds it taken lets others go ahead for a while.
//!
//! A lead is no lock: commands lock their shards as ever, and a batch that waited long enough runs without
//! one. Nothing but speed depends on it, so keys that share a convoy by their hash do no harm. It is held
//! while commands run and never across a wait.

use std::hash::{DefaultHasher, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Convoys; keys share them by their hash.
const CONVOYS: usize = 64;
/// Requests from which on a batch asks for a lead.
const REQUESTS_MIN: usize = 4;
/// How long a batch gives way before it runs without a lead.
pub const WAIT_MAX: Duration = Duration::from_millis(1);

/// Whether a lead is taken; a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Taken(AtomicBool);

/// All convoys.
#[derive(Debug)]
pub struct Convoys(Box<[Taken]>);

impl Default for Convoys {
    fn default() -> Self {
        Convoys((0..CONVOYS).map(|_| Taken::default()).collect())
    }
}

/// The right to go first, until it is dropped.
#[derive(Debug)]
pub struct Lead {
    convoys: Arc<Convoys>,
    index: usize,
}

impl Drop for Lead {
    fn drop(&mut self) {
        // ORDERING: no data hangs on it; the locks of shards order what commands do.
        self.convoys.0[self.index].0.store(false, Ordering::Relaxed);
    }
}

impl Convoys {
    /// The lead of that convoy, if nobody has it.
    #[must_use]
    pub fn try_take(this: &Arc<Convoys>, index: usize) -> Option<Lead> {
        let taken = &this.0.get(index)?.0;
        // ORDERING: as in `drop`. Looking first leaves the cache line with who leads.
        let is_free = !taken.load(Ordering::Relaxed) && !taken.swap(true, Ordering::Relaxed);
        is_free.then(|| Lead { convoys: Arc::clone(this), index })
    }
}

/// Which convoy a batch of `count` requests joins, if any: the first and the last name the same key.
#[must_use]
pub fn convoy_of(count: usize, first: Option<&[u8]>, last: Option<&[u8]>) -> Option<usize> {
    let key = first.filter(|_| count >= REQUESTS_MIN && first == last)?;
    let mut hasher = DefaultHasher::new();
    hasher.write(key);
    Some(hasher.finish() as usize % CONVOYS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_convoy_has_one_lead_until_it_is_dropped() {
        let convoys = Arc::new(Convoys::default());
        let lead = Convoys::try_take(&convoys, 3);
        assert!(lead.is_some());
        assert!(Convoys::try_take(&convoys, 3).is_none());
        assert!(Convoys::try_take(&convoys, 4).is_some());
        drop(lead);
        assert!(Convoys::try_take(&convoys, 3).is_some());
    }

    #[test]
    fn only_long_batches_on_one_key_join_a_convoy() {
        assert!(convoy_of(16, Some(b"a"), Some(b"a")).is_some());
        assert!(convoy_of(16, Some(b"a"), Some(b"b")).is_none());
        assert!(convoy_of(1, Some(b"a"), Some(b"a")).is_none());
        assert!(convoy_of(16, None, None).is_none());
    }
}
