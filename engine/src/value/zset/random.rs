//! Random members. The numbers come from the caller: uniform ones of 64 bits.

use std::collections::BTreeSet;

use super::{Element, Form, ZSetValue};

impl ZSetValue {
    /// One element, all alike.
    #[must_use]
    pub fn random_element(&self, random: &mut dyn FnMut() -> u64) -> Option<Element<'_>> {
        let rank = below(self.len(), random)?;
        self.range(rank..rank + 1).next()
    }

    /// Puts up to `count` different elements; each subset of that size is as likely as any other.
    /// They come in the order of their ranks. O(count log n), at most O(n).
    pub fn random_subset(
        &self,
        count: u64,
        random: &mut dyn FnMut() -> u64,
        put: &mut dyn FnMut(Element<'_>),
    ) {
        let len = self.len();
        if count >= len {
            return self.iter().for_each(put);
        }
        if count > len / 4 || matches!(self.form, Form::Small(_)) {
            // Selection sampling (Knuth, The Art of Computer Programming 3.4.2, algorithm S).
            let mut wanted = count;
            for (rank, element) in self.iter().enumerate() {
                if below(len - rank as u64, random).is_some_and(|chance| chance < wanted) {
                    put(element);
                    wanted -= 1;
                }
            }
            return;
        }
        // Floyd's sampling (Bentley, Communications of the ACM 30(9), 1987).
        let mut chosen = BTreeSet::new();
        for last in len - count..len {
            let rank = below(last + 1, random).unwrap_or(last);
            if !chosen.insert(rank) {
                chosen.insert(last);
            }
        }
        for rank in chosen {
            self.range(rank..rank + 1).for_each(&mut *put);
        }
    }

    /// Puts `count` elements, each chosen among all.
    pub fn random_elements(
        &self,
        count: u64,
        random: &mut dyn FnMut() -> u64,
        put: &mut dyn FnMut(Element<'_>),
    ) {
        let len = self.len();
        // A packed value is walked once; its elements are few.
        let elements: Option<Vec<Element<'_>>> =
            (matches!(self.form, Form::Small(_)) && count > 1).then(|| self.iter().collect());
        for _ in 0..count {
            let Some(rank) = below(len, random) else { return };
            match &elements {
                Some(elements) => elements.get(rank as usize).copied().into_iter().for_each(&mut *put),
                None => self.range(rank..rank + 1).for_each(&mut *put),
            }
        }
    }
}

/// A number below `end`, all alike (Lemire, Fast Random Integer Generation in an Interval, 2019); none
/// if `end` is 0.
fn below(end: u64, random: &mut dyn FnMut() -> u64) -> Option<u64> {
    let uneven = end.wrapping_neg().checked_rem(end)?;
    loop {
        let product = u128::from(random()) * u128::from(end);
        if product as u64 >= uneven {
            return Some((product >> 64) as u64);
        }
    }
}
