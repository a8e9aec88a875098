//! Unions, intersections and differences of sorted sets and sets.
//!
//! Inputs come through a small trait, so sets take part: their members have the score 1. Like Redis,
//! unions and intersections go through the inputs from the smallest to the largest; the sums of scores
//! depend on it in their last digits.
//!
//! | operation | cost |
//! |---|---|
//! | union | O(total), and O(n log n) for the result's order |
//! | intersection | O(smallest * inputs) look-ups |
//! | difference | O(first * inputs) look-ups |

use std::ops::ControlFlow;

use super::{Builder, ZSetValue};
use crate::value::set::SetValue;
use crate::value::string::number::IntText;

/// A collection that takes part in an operation.
pub trait Input {
    /// Number of members.
    fn len(&self) -> u64;

    /// Whether there are no members.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The score of a member; 1 in sets.
    fn score(&self, member: &[u8]) -> Option<f64>;

    /// Shows all members and scores, until told to stop.
    fn each(&self, see: &mut dyn FnMut(&[u8], f64) -> ControlFlow<()>);
}

impl Input for ZSetValue {
    fn len(&self) -> u64 {
        ZSetValue::len(self)
    }

    fn score(&self, member: &[u8]) -> Option<f64> {
        ZSetValue::score(self, member)
    }

    fn each(&self, see: &mut dyn FnMut(&[u8], f64) -> ControlFlow<()>) {
        let _ = self.iter().try_for_each(|element| see(element.member, element.score));
    }
}

impl Input for SetValue {
    fn len(&self) -> u64 {
        SetValue::len(self)
    }

    fn score(&self, member: &[u8]) -> Option<f64> {
        self.contains(member).then_some(1.0)
    }

    fn each(&self, see: &mut dyn FnMut(&[u8], f64) -> ControlFlow<()>) {
        let mut digits = IntText::default();
        let _ = self.members().try_for_each(|member| see(member.text(&mut digits), 1.0));
    }
}

/// An input and the factor of its scores. A missing key is no input.
#[derive(Clone, Copy)]
pub struct WeightedInput<'a> {
    /// The collection.
    pub input: Option<&'a dyn Input>,
    /// Its weight.
    pub weight: f64,
}

impl WeightedInput<'_> {
    fn len(&self) -> u64 {
        self.input.map_or(0, Input::len)
    }
}

/// How the scores of one member in several inputs become one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Aggregate {
    /// Their sum; opposite infinities are 0.
    #[default]
    Sum,
    /// The smallest.
    Min,
    /// The largest.
    Max,
}

impl Aggregate {
    fn of(self, a: f64, b: f64) -> f64 {
        match self {
            Aggregate::Sum => number_or_zero(a + b),
            Aggregate::Min if b < a => b,
            Aggregate::Max if b > a => b,
            Aggregate::Min | Aggregate::Max => a,
        }
    }
}

/// Infinity times zero is zero here.
fn number_or_zero(score: f64) -> f64 {
    if score.is_nan() { 0.0 } else { score }
}

fn by_len<'a>(inputs: &[WeightedInput<'a>]) -> Vec<WeightedInput<'a>> {
    let mut inputs = inputs.to_vec();
    inputs.sort_by_key(WeightedInput::len);
    inputs
}

/// The members of any of the inputs.
#[must_use]
pub fn union(inputs: &[WeightedInput<'_>], aggregate: Aggregate) -> Builder {
    let mut result = Builder::new();
    for WeightedInput { input, weight } in by_len(inputs) {
        let Some(input) = input else { continue };
        input.each(&mut |member, score| {
            result.merge(member, number_or_zero(score * weight), |old, new| aggregate.of(old, new));
            ControlFlow::Continue(())
        });
    }
    result
}

/// The members of all of the inputs.
#[must_use]
pub fn intersection(inputs: &[WeightedInput<'_>], aggregate: Aggregate) -> Builder {
    let mut result = Builder::new();
    each_common(inputs, aggregate, &mut |member, score| {
        result.push(member, score);
        ControlFlow::Continue(())
    });
    result
}

/// How many members are in all of the inputs, counted up to `limit` (0 for no limit).
#[must_use]
pub fn intersection_len(inputs: &[WeightedInput<'_>], limit: u64) -> u64 {
    let mut count = 0;
    each_common(inputs, Aggregate::Sum, &mut |_, _| {
        count += 1;
        if count == limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    count
}

fn each_common(
    inputs: &[WeightedInput<'_>],
    aggregate: Aggregate,
    see: &mut dyn FnMut(&[u8], f64) -> ControlFlow<()>,
) {
    let inputs = by_len(inputs);
    let Some((WeightedInput { input: Some(first), weight }, others)) = inputs.split_first() else { return };
    first.each(&mut |member, score| {
        let mut total = number_or_zero(score * weight);
        for WeightedInput { input, weight } in others {
            let Some(score) = input.and_then(|input| input.score(member)) else {
                return ControlFlow::Continue(());
            };
            total = aggregate.of(total, score * weight);
        }
        see(member, total)
    });
}

/// The members of the first input that are in none of the others.
#[must_use]
pub fn difference(inputs: &[Option<&dyn Input>]) -> Builder {
    let mut result = Builder::new();
    let Some((Some(first), others)) = inputs.split_first() else { return result };
    // The largest is the likeliest to have a member.
    let mut others: Vec<&dyn Input> = others.iter().copied().flatten().collect();
    others.sort_by_key(|input| std::cmp::Reverse(input.len()));
    first.each(&mut |member, score| {
        if others.iter().all(|other| other.score(member).is_none()) {
            result.push(member, score);
        }
        ControlFlow::Continue(())
    });
    result
}
