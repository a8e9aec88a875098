//! How the memory bound of the process is divided: what entries may use is what the rest leaves.
//!
//! The rest is measured, not guessed: everything allocated besides entries, and what the process
//! occupies beyond its allocations (fragmentation, stacks, pages on their way back to the system).
//! Two parts count for more, or less, than the moment's measure. The cold tier's cache counts with its
//! whole capacity: it fills later, and a hot tier that had taken its place would have to shrink, which
//! leaves half-empty pages behind. And of what lies beyond the allocations only the least of the last
//! seconds counts, up to a fifth of the bound: evicting does not bring it back at once, and a limit
//! that followed it down would evict everything.

use std::collections::VecDeque;

use crate::config::MemorySample;
use crate::tier::ColdMemory;

/// Samples whose least overhead counts.
const WINDOW: usize = 8;

/// The division of a bound, from sample to sample.
#[derive(Debug, Default)]
pub struct Budget {
    overheads: VecDeque<u64>,
}

impl Budget {
    /// Bytes that entries may use from now on. `hot` is what they use now, `before` the limit so far.
    pub fn divide(
        &mut self,
        maxmemory: u64,
        sample: MemorySample,
        cold: ColdMemory,
        hot: u64,
        before: u64,
    ) -> u64 {
        let percent = maxmemory / 100;
        let allocated_otherwise = sample.allocated.saturating_sub(hot);
        let to_come = cold.capacity_bytes.saturating_sub(cold.used_bytes);
        if self.overheads.len() == WINDOW {
            self.overheads.pop_front();
        }
        self.overheads.push_back(sample.anonymous.saturating_sub(sample.allocated));
        let overhead = self.overheads.iter().copied().min().unwrap_or(0);
        let rest = allocated_otherwise + to_come + overhead.clamp(percent * 3, percent * 20);
        let target = (percent * 97).saturating_sub(rest).clamp(maxmemory / 16, percent * 90);
        // Down at once, up slowly: a peak of other uses must not be met twice.
        if target < before { target } else { before + (target - before) / 8 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const MAX: u64 = 128 * MIB;

    fn sample(allocated: u64, anonymous: u64) -> MemorySample {
        MemorySample { anonymous: anonymous * MIB, allocated: allocated * MIB }
    }

    fn cold(used: u64, capacity: u64) -> ColdMemory {
        ColdMemory { used_bytes: used * MIB, capacity_bytes: capacity * MIB }
    }

    #[test]
    fn a_cache_that_is_still_empty_counts_in_full() {
        let mut budget = Budget::default();
        let empty = budget.divide(MAX, sample(20, 25), cold(0, 22), 10 * MIB, u64::MAX);
        let mut budget = Budget::default();
        let full = budget.divide(MAX, sample(42, 47), cold(22, 22), 10 * MIB, u64::MAX);
        assert_eq!(empty, full);
        assert!((80 * MIB..95 * MIB).contains(&full), "{}", full / MIB);
    }

    #[test]
    fn fragmentation_does_not_drive_the_limit_to_nothing() {
        let mut budget = Budget::default();
        let (mut limit, mut hot) = (80 * MIB, 80 * MIB);
        for _ in 0..100 {
            // Entries leave, the pages they lay in stay.
            limit = budget.divide(MAX, sample(hot / MIB + 30, 130), cold(22, 22), hot, limit);
            hot = hot.min(limit);
        }
        assert!(limit > 50 * MIB, "{}", limit / MIB);
    }

    #[test]
    fn a_short_peak_of_free_pages_is_waited_out_and_a_lasting_rest_is_not() {
        let mut budget = Budget::default();
        let calm = budget.divide(MAX, sample(100, 104), cold(22, 22), 70 * MIB, u64::MAX);
        let peak = budget.divide(MAX, sample(100, 120), cold(22, 22), 70 * MIB, calm);
        assert_eq!(peak, calm);
        let more_clients = budget.divide(MAX, sample(120, 124), cold(22, 22), 70 * MIB, calm);
        assert_eq!(more_clients, calm - 20 * MIB);
        let gone = budget.divide(MAX, sample(100, 104), cold(22, 22), 70 * MIB, more_clients);
        assert!(more_clients < gone && gone < calm);
    }
}
