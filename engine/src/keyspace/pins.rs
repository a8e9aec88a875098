//! How much memory pins may keep from the evictor.
//!
//! What a command fetches stays pinned until it is done. All pins together may take an eighth of the
//! budget. A fetch that finds no room is installed and not pinned: its ticket is *short*. Whoever gets a
//! short ticket gives up all pins, waits for its turn and fetches again; the one command whose turn it
//! is always gets its pins, so it comes to its end, and all others after it, first come first served.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes pinned by all transactions, and their bound.
#[derive(Default)]
pub struct PinPool {
    bytes: AtomicUsize,
    limit: AtomicUsize,
}

impl PinPool {
    /// Changes the bound.
    pub fn set_limit(&self, bytes: usize) {
        self.limit.store(bytes, Ordering::Relaxed);
    }

    /// The bound.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
    }

    /// Bytes pinned now.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Takes room for a pin if there is some; a first pin always fits.
    pub fn take(&self, bytes: usize) -> bool {
        let limit = self.limit();
        // ORDERING: a count that guards no other memory.
        self.bytes
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |held| {
                (held == 0 || held.saturating_add(bytes) <= limit).then_some(held.saturating_add(bytes))
            })
            .is_ok()
    }

    /// Takes room whether there is some or not.
    pub fn take_anyway(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Gives room back.
    pub fn give(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_fits_and_the_rest_up_to_the_limit() {
        let pool = PinPool::default();
        pool.set_limit(100);
        assert!(pool.take(500));
        assert!(!pool.take(1));
        pool.give(500);
        assert!(pool.take(60) && !pool.take(41) && pool.take(40));
        pool.take_anyway(7);
        assert_eq!(pool.bytes(), 107);
        pool.give(107);
        assert_eq!(pool.bytes(), 0);
    }
}
