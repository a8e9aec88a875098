//! Reading: scores, ranks, ranges and scans. Nothing is copied.

use std::iter::FusedIterator;
use std::ops::Range;

use super::large::{self, Large};
use super::range::{LexRange, ScoreRange};
use super::score::{self, from_order_key};
use super::{Form, ZSetValue, ranks, small};
use crate::value::{packed, tree};

/// A member and its score.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Element<'a> {
    /// The member.
    pub member: &'a [u8],
    /// Its score.
    pub score: f64,
}

/// Elements in order, from both ends.
#[derive(Clone)]
pub struct Elements<'a>(Source<'a>);

#[derive(Clone)]
enum Source<'a> {
    Small(packed::Iter<'a>),
    Large(tree::Iter<'a>),
}

impl<'a> Iterator for Elements<'a> {
    type Item = Element<'a>;

    #[inline]
    fn next(&mut self) -> Option<Element<'a>> {
        match &mut self.0 {
            Source::Small(elements) => elements.next().map(small_element),
            Source::Large(elements) => elements.next().map(large_element),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        match &self.0 {
            Source::Small(elements) => elements.size_hint(),
            Source::Large(elements) => elements.size_hint(),
        }
    }
}

impl<'a> DoubleEndedIterator for Elements<'a> {
    #[inline]
    fn next_back(&mut self) -> Option<Element<'a>> {
        match &mut self.0 {
            Source::Small(elements) => elements.next_back().map(small_element),
            Source::Large(elements) => elements.next_back().map(large_element),
        }
    }
}

impl ExactSizeIterator for Elements<'_> {}
impl FusedIterator for Elements<'_> {}

#[inline]
fn small_element(element: &[u8]) -> Element<'_> {
    let (score, member) = score::split(element);
    Element { member, score }
}

#[inline]
fn large_element(element: &[u8]) -> Element<'_> {
    let (key, member) = large::split_by_score(element);
    Element { member, score: from_order_key(key) }
}

impl ZSetValue {
    /// The score of a member.
    #[must_use]
    pub fn score(&self, member: &[u8]) -> Option<f64> {
        match &self.form {
            Form::Small(packed) => small::find(packed, member).map(|(_, score)| score),
            Form::Large(large) => large.key_of(member).map(from_order_key),
        }
    }

    /// How many elements are before a member's, and its score.
    #[must_use]
    pub fn rank(&self, member: &[u8]) -> Option<(u64, f64)> {
        match &self.form {
            Form::Small(packed) => small::find(packed, member).map(|(index, score)| (index as u64, score)),
            Form::Large(large) => {
                let key = large.key_of(member)?;
                Some((large.rank(key, member)?, from_order_key(key)))
            }
        }
    }

    /// All elements, in order.
    #[must_use]
    pub fn iter(&self) -> Elements<'_> {
        self.range(0..self.len())
    }

    /// The elements of a run of ranks, in order.
    #[must_use]
    pub fn range(&self, range: Range<u64>) -> Elements<'_> {
        let to = range.end.min(self.len());
        let from = range.start.min(to);
        match &self.form {
            Form::Small(packed) => {
                let mut elements = packed.iter();
                if let Some(skipped) = (from as usize).checked_sub(1) {
                    elements.nth(skipped);
                }
                if let Some(skipped) = (packed.len() - to as usize).checked_sub(1) {
                    elements.nth_back(skipped);
                }
                Elements(Source::Small(elements))
            }
            Form::Large(large) => Elements(Source::Large(large.by_score.range(from, to))),
        }
    }

    /// The ranks of the elements whose scores are in the range.
    #[must_use]
    pub fn score_ranks(&self, range: &ScoreRange) -> Range<u64> {
        match &self.form {
            Form::Small(_) => self.walk_ranks(
                |element| range.begins_before(element.score),
                |element| range.ends_after(element.score),
            ),
            Form::Large(large) => {
                let (from, to) = large.score_ranks(range);
                ranks(from, to)
            }
        }
    }

    /// The ranks of the elements whose members are in the range. Where scores differ this is as little
    /// defined as in Redis.
    #[must_use]
    pub fn lex_ranks(&self, range: &LexRange<'_>) -> Range<u64> {
        match &self.form {
            Form::Small(_) => self.walk_ranks(
                |element| range.begins_before(element.member),
                |element| range.ends_after(element.member),
            ),
            Form::Large(large) => {
                let (from, to) = large.lex_ranks(range);
                ranks(from, to)
            }
        }
    }

    /// The ranks from the first element that a range begins before to the last that it ends after.
    fn walk_ranks(
        &self,
        begins_before: impl Fn(&Element<'_>) -> bool,
        ends_after: impl Fn(&Element<'_>) -> bool,
    ) -> Range<u64> {
        let from = self.iter().take_while(|element| !begins_before(element)).count() as u64;
        let count = self.range(from..self.len()).take_while(|element| ends_after(element)).count() as u64;
        ranks(from, from + count)
    }

    /// One step of ZSCAN: about `count` elements from `cursor` on (0 at first) go to `put`. Returns the
    /// cursor of the next step, 0 at the end.
    ///
    /// Elements that are there from the first to the last step are put at least once, whatever happens
    /// to others or to scores meanwhile. A packed value is put as a whole.
    pub fn scan(&self, cursor: u64, count: u64, put: &mut dyn FnMut(Element<'_>)) -> u64 {
        match &self.form {
            Form::Small(_) => {
                self.iter().for_each(put);
                0
            }
            Form::Large(large) => scan_large(large, cursor, count, put),
        }
    }
}

/// Cursors are hashes of members. A step ends between two hashes.
fn scan_large(large: &Large, cursor: u64, count: u64, put: &mut dyn FnMut(Element<'_>)) -> u64 {
    let Ok(from) = u32::try_from(cursor) else { return 0 };
    let (mut done, mut last) = (0, from);
    for (hash, member, score) in large.iter_from_hash(from) {
        if done >= count && hash != last {
            return u64::from(hash);
        }
        put(Element { member, score });
        (done, last) = (done + 1, hash);
    }
    0
}
