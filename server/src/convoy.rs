//! Batches of several workers on one key, one after the other.
//!
//! When clients on two workers pipeline commands on the same key, every other command finds the shard
//! locked and the value's memory in the other core's cache. So a batch that begins and ends with the same
//! key takes that key's pass first, and a batch that finds the pass taken lets others go ahead for a while.
//!
//! A pass is no lock: commands lock their shards as ever, and a batch that waited long enough runs without
//! one. Nothing but speed depends on it, so keys that share a pass by their hash do no harm. It is held
//! while commands run and never across a wait.

use std::hash::{DefaultHasher, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Passes; keys share them by their hash.
const PASSES: usize = 64;
/// Requests from which on a batch asks for a pass.
const REQUESTS_MIN: usize = 4;
/// How long a batch gives way before it runs without a pass.
pub const WAIT_MAX: Duration = Duration::from_millis(1);

/// Whether a pass is taken; a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Taken(AtomicBool);

/// All passes.
#[derive(Debug)]
pub struct Convoys(Box<[Taken]>);

impl Default for Convoys {
    fn default() -> Self {
        Convoys((0..PASSES).map(|_| Taken::default()).collect())
    }
}

/// The right to go first, until it is dropped.
#[derive(Debug)]
pub struct Pass {
    convoys: Arc<Convoys>,
    index: usize,
}

impl Drop for Pass {
    fn drop(&mut self) {
        // ORDERING: no data hangs on it; the locks of shards order what commands do.
        self.convoys.0[self.index].0.store(false, Ordering::Relaxed);
    }
}

impl Convoys {
    /// The pass of that number, if nobody has it.
    #[must_use]
    pub fn try_take(this: &Arc<Convoys>, index: usize) -> Option<Pass> {
        let taken = &this.0.get(index)?.0;
        // ORDERING: as in `drop`. Looking first leaves the cache line with who has the pass.
        let is_free = !taken.load(Ordering::Relaxed) && !taken.swap(true, Ordering::Relaxed);
        is_free.then(|| Pass { convoys: Arc::clone(this), index })
    }
}

/// Which pass a batch of `count` requests asks for, if any: the first and the last name the same key.
#[must_use]
pub fn pass_of(count: usize, first: Option<&[u8]>, last: Option<&[u8]>) -> Option<usize> {
    let key = first.filter(|_| count >= REQUESTS_MIN && first == last)?;
    let mut hasher = DefaultHasher::new();
    hasher.write(key);
    Some(hasher.finish() as usize % PASSES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_has_one_holder_until_it_is_dropped() {
        let convoys = Arc::new(Convoys::default());
        let pass = Convoys::try_take(&convoys, 3);
        assert!(pass.is_some());
        assert!(Convoys::try_take(&convoys, 3).is_none());
        assert!(Convoys::try_take(&convoys, 4).is_some());
        drop(pass);
        assert!(Convoys::try_take(&convoys, 3).is_some());
    }

    #[test]
    fn only_long_batches_on_one_key_ask_for_a_pass() {
        assert!(pass_of(16, Some(b"a"), Some(b"a")).is_some());
        assert!(pass_of(16, Some(b"a"), Some(b"b")).is_none());
        assert!(pass_of(1, Some(b"a"), Some(b"a")).is_none());
        assert!(pass_of(16, None, None).is_none());
    }
}
