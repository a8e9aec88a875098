//! Random members. The numbers come from the caller: uniform ones below what it is told.

use std::collections::BTreeSet;

use super::{Element, Form, ZSetValue};
use crate::value::sample::Random;

impl ZSetValue {
    /// One element, all alike.
    #[must_use]
    pub fn random_element(&self, random: Random<'_>) -> Option<Element<'_>> {
        if self.is_vacant() {
            return None;
        }
        let rank = random(self.len());
        self.range(rank..rank + 1).next()
    }

    /// Puts up to `count` different elements; each subset of that size is as likely as any other.
    /// They come in the order of their ranks. O(count log n), at most O(n).
    pub fn random_subset(&self, count: u64, random: Random<'_>, put: &mut dyn FnMut(Element<'_>)) {
        let len = self.len();
        if count >= len {
            return self.iter().for_each(put);
        }
        if count > len / 4 || matches!(self.form, Form::Small(_)) {
            // Selection sampling (Knuth, The Art of Computer Programming 3.4.2, algorithm S).
            let mut wanted = count;
            for (rank, element) in self.iter().enumerate() {
                if random(len - rank as u64) < wanted {
                    put(element);
                    wanted -= 1;
                }
            }
            return;
        }
        // Floyd's sampling (Bentley, Communications of the ACM 30(9), 1987).
        let mut chosen = BTreeSet::new();
        for last in len - count..len {
            let rank = random(last + 1);
            if !chosen.insert(rank) {
                chosen.insert(last);
            }
        }
        for rank in chosen {
            self.range(rank..rank + 1).for_each(&mut *put);
        }
    }

    /// Puts `count` elements, each chosen among all.
    pub fn random_elements(&self, count: u64, random: Random<'_>, put: &mut dyn FnMut(Element<'_>)) {
        let len = self.len();
        if len == 0 {
            return;
        }
        // A packed value is walked once; its elements are few.
        let elements: Option<Vec<Element<'_>>> =
            (matches!(self.form, Form::Small(_)) && count > 1).then(|| self.iter().collect());
        for _ in 0..count {
            let rank = random(len);
            match &elements {
                Some(elements) => elements.get(rank as usize).copied().into_iter().for_each(&mut *put),
                None => self.range(rank..rank + 1).for_each(&mut *put),
            }
        }
    }
}
