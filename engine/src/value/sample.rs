//! Fair picks from a sequence.
//!
//! Chance is an argument: a function that returns a number below its own argument, each as likely as
//! the others. What is picked are ranks; the values find the elements. Distinct ranks are chosen by
//! Floyd's algorithm (Bentley and Floyd, "A sample of brilliance", CACM 30(9), 1987): one random
//! number and one look into a hash set per pick, whatever the length of the sequence.

use std::collections::HashSet;

/// Returns a number below its argument (which is at least 1), each as likely as the others.
pub type Random<'r> = &'r mut dyn FnMut(u64) -> u64;

/// `count` distinct numbers below `len`, or all of them if these are fewer, in ascending order. Every
/// subset of that size is as likely as any other. O(count log count).
pub fn distinct(count: u64, len: u64, random: Random<'_>) -> Vec<u64> {
    if count >= len {
        return (0..len).collect();
    }
    if count > len / 2 {
        let mut left_out = distinct(len - count, len, random).into_iter().peekable();
        return (0..len).filter(|n| left_out.next_if_eq(n).is_none()).collect();
    }
    let mut picked = HashSet::with_capacity(count as usize);
    for last in len - count..len {
        if !picked.insert(random(last + 1)) {
            picked.insert(last);
        }
    }
    let mut ranks: Vec<u64> = picked.into_iter().collect();
    ranks.sort_unstable();
    ranks
}

/// The rank, in a sequence, of its `index`-th element among those whose ranks are not `left_out`
/// (ascending). O(log left_out).
pub(super) fn rank_without(index: u64, left_out: &[u64]) -> u64 {
    let (mut low, mut high) = (0, left_out.len());
    while low < high {
        let middle = low + (high - low) / 2;
        // So many elements that are kept lie before that one.
        if left_out[middle] - middle as u64 <= index {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    index + low as u64
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A small generator (SplitMix64) for tests.
    pub(crate) fn random_from(mut state: u64) -> impl FnMut(u64) -> u64 {
        move |below| {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            ((u128::from(z ^ (z >> 31)) * u128::from(below)) >> 64) as u64
        }
    }

    #[test]
    fn samples_are_distinct_ascending_and_of_the_asked_size() {
        let mut random = random_from(1);
        for len in 0..12 {
            for count in 0..15 {
                let ranks = distinct(count, len, &mut random);
                assert_eq!(ranks.len() as u64, count.min(len));
                assert!(ranks.windows(2).all(|pair| pair[0] < pair[1]));
                assert!(ranks.iter().all(|rank| *rank < len));
            }
        }
    }

    #[test]
    fn every_subset_is_as_likely() {
        let mut random = random_from(7);
        for count in [2u64, 3] {
            let mut seen = std::collections::BTreeMap::new();
            for _ in 0..20_000 {
                *seen.entry(distinct(count, 5, &mut random)).or_insert(0u32) += 1;
            }
            assert_eq!(seen.len(), 10);
            assert!(seen.values().all(|n| (1800..2200).contains(n)), "{seen:?}");
        }
    }

    #[test]
    fn ranks_skip_what_is_left_out() {
        let left_out = [0, 3, 4, 9];
        let kept: Vec<u64> = (0..12).filter(|n| !left_out.contains(n)).collect();
        for (index, rank) in kept.iter().enumerate() {
            assert_eq!(rank_without(index as u64, &left_out), *rank);
        }
    }
}
