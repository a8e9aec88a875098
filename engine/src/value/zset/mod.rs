//! Sorted sets: members with scores, in the order of scores and, among equals, of the members' bytes.
//!
//! | form | encoding's name | while | elements |
//! |---|---|---|---|
//! | packed (`small.rs`) | `listpack` | few and short ([`Limits`]) | in order, in one allocation |
//! | trees (`large.rs`) | `skiplist` | ever after | one tree by score, one by member |
//!
//! | operation | packed | trees |
//! |---|---|---|
//! | score, rank, add, remove | O(bytes) | O(log n) |
//! | where a range of scores or members begins and ends | O(bytes) | O(log n) |
//! | walking over k elements | O(bytes) | O(log n + k) |
//!
//! A command reads (`read.rs`), plans its changes as an edit (`plan.rs`, `edit.rs`) and has the edit
//! applied; replay applies the same bytes. Unions and the like (`algebra.rs`) make a value from scratch
//! (`build.rs`). Ranges are runs of ranks (`range.rs`), so reading, counting and removing them is one
//! mechanism. As bytes a value is one row, or nodes when it is large (`codec.rs`).
//!
//! Scores are doubles that are not NaN. A negative zero is stored as zero.

use std::ops::Range;

mod algebra;
mod build;
mod codec;
mod edit;
mod large;
mod plan;
mod random;
mod range;
mod read;
mod score;
mod small;
#[cfg(test)]
mod tests;

pub use algebra::{Aggregate, Input, WeightedInput, difference, intersection, intersection_len, union};
pub use build::Builder;
pub use plan::{AddOptions, Added, NotANumber};
pub use range::{LexBound, LexRange, ScoreRange, limited, rank_range};
pub use read::{Element, Elements};

use crate::codec::{DecodeError, Reader};
use crate::value::packed::Packed;
use edit::Operation;
use large::Large;
use score::order_key;

/// A packed value of more bytes becomes large whatever the limits say.
const PACKED_BYTES_MAX: usize = 256 << 10;

/// Up to where a value stays packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most elements (`zset-max-listpack-entries`).
    pub entries: u64,
    /// Most bytes of a member (`zset-max-listpack-value`).
    pub member_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { entries: 128, member_bytes: 64 }
    }
}

/// Members by score.
#[derive(Clone, Debug, PartialEq)]
pub struct ZSetValue {
    form: Form,
}

#[derive(Clone, Debug, PartialEq)]
enum Form {
    Small(Packed),
    Large(Box<Large>),
}

impl Default for ZSetValue {
    fn default() -> Self {
        ZSetValue { form: Form::Small(Packed::default()) }
    }
}

impl ZSetValue {
    /// Number of elements. O(1).
    #[must_use]
    pub fn len(&self) -> u64 {
        match &self.form {
            Form::Small(packed) => packed.len() as u64,
            Form::Large(large) => large.len(),
        }
    }

    /// Whether there are no elements.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the key goes.
    #[must_use]
    pub fn is_vacant(&self) -> bool {
        self.is_empty()
    }

    /// The encoding as OBJECT ENCODING names it.
    #[must_use]
    pub fn encoding(&self) -> &'static str {
        match &self.form {
            Form::Small(_) => "listpack",
            Form::Large(_) => "skiplist",
        }
    }

    /// Heap bytes held. O(1).
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        match &self.form {
            Form::Small(packed) => packed.heap_bytes(),
            Form::Large(large) => large.heap_bytes(),
        }
    }

    /// Applies an edit that was planned for this value.
    ///
    /// # Errors
    /// The bytes are no edit, or one for another value. What came before the bad operation was applied.
    pub fn apply(&mut self, edit: &[u8]) -> Result<(), DecodeError> {
        let mut reader = Reader::new(edit);
        while !reader.is_empty() {
            let operation = Operation::read(&mut reader)?;
            if !self.apply_operation(operation) {
                return Err(reader.error("an edit that does not fit the sorted set"));
            }
        }
        Ok(())
    }

    fn apply_operation(&mut self, operation: Operation<'_>) -> bool {
        if let Operation::RemoveRanks { from, count } = operation {
            return self.remove_ranks(from, count);
        }
        match (&mut self.form, operation) {
            (Form::Small(packed), Operation::Grow) => {
                self.form = Form::Large(Box::new(Large::from_packed(packed)));
                true
            }
            (Form::Small(packed), Operation::Add { member, score }) => {
                small::find(packed, member).is_none() && small::add(packed, member, score)
            }
            (Form::Small(packed), Operation::Change { member, from, to }) => {
                small::change(packed, member, from, to)
            }
            (Form::Small(packed), Operation::Remove { member, score }) => {
                small::remove(packed, member, score)
            }
            (Form::Large(large), Operation::Add { member, score }) => large.add(member, order_key(score)),
            (Form::Large(large), Operation::Change { member, from, to }) => {
                large.change(member, order_key(from), order_key(to))
            }
            (Form::Large(large), Operation::Remove { member, score }) => {
                large.remove(member, order_key(score))
            }
            (Form::Large(_), Operation::Grow) | (_, Operation::RemoveRanks { .. }) => false,
        }
    }

    fn remove_ranks(&mut self, from: u64, count: u64) -> bool {
        let Some(to) = from.checked_add(count).filter(|to| *to <= self.len()) else { return false };
        match &mut self.form {
            Form::Small(packed) => packed.splice(from as usize, to as usize, &[]),
            Form::Large(large) => large.remove_ranks(from, to),
        }
        true
    }
}

/// A run of ranks; empty if it ends before it begins.
fn ranks(from: u64, to: u64) -> Range<u64> {
    if from < to { from..to } else { 0..0 }
}
