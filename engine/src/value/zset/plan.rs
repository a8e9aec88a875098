//! Plans: what a command will change, as an edit, and what it replies. The value stays as it is.
//!
//! A command may name a member several times; what an earlier place plans counts at the later ones.

use std::collections::HashMap;
use std::ops::Range;

use super::edit::Operation;
use super::{Form, Limits, PACKED_BYTES_MAX, ZSetValue};

/// Named members up to this many are compared one by one, more go through a hash table.
const FEW: usize = 8;

/// Under what conditions ZADD changes something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AddOptions {
    /// Members that are there stay as they are (NX).
    pub only_new: bool,
    /// Members that are not there are not added (XX).
    pub only_existing: bool,
    /// Members that are there only get greater scores (GT).
    pub only_greater: bool,
    /// Members that are there only get lower scores (LT).
    pub only_less: bool,
    /// The number is added to the score that is there (INCR, ZINCRBY).
    pub is_increment: bool,
}

/// What ZADD does.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Added {
    /// New members.
    pub added: u64,
    /// Members with another score than before.
    pub changed: u64,
    /// The score of the last member; none if a condition held it back.
    pub score: Option<f64>,
}

/// The sum of two scores is not a number: opposite infinities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotANumber;

/// What a command already planned for the members it names.
enum Planned<'m> {
    /// It names one.
    Nothing,
    Few(Vec<(&'m [u8], Option<f64>)>),
    Many(HashMap<&'m [u8], Option<f64>>),
}

impl<'m> Planned<'m> {
    fn new(count: usize) -> Planned<'m> {
        match count {
            0 | 1 => Planned::Nothing,
            2..=FEW => Planned::Few(Vec::with_capacity(count)),
            _ => Planned::Many(HashMap::with_capacity(count)),
        }
    }

    /// The planned score (none: it goes) of a member, if anything is planned for it.
    fn get(&self, member: &[u8]) -> Option<Option<f64>> {
        match self {
            Planned::Nothing => None,
            // The latest first.
            Planned::Few(planned) => {
                planned.iter().rev().find(|(own, _)| *own == member).map(|(_, score)| *score)
            }
            Planned::Many(planned) => planned.get(member).copied(),
        }
    }

    fn set(&mut self, member: &'m [u8], score: Option<f64>) {
        match self {
            Planned::Nothing => {}
            Planned::Few(planned) => planned.push((member, score)),
            Planned::Many(planned) => _ = planned.insert(member, score),
        }
    }
}

impl ZSetValue {
    /// Plans ZADD, and ZINCRBY as one with an increment.
    ///
    /// # Errors
    /// An increment makes a score that is no number; nothing is planned.
    pub fn plan_add<'m>(
        &self,
        pairs: impl ExactSizeIterator<Item = (f64, &'m [u8])> + Clone,
        options: AddOptions,
        limits: &Limits,
        edit: &mut Vec<u8>,
    ) -> Result<Added, NotANumber> {
        let start = edit.len();
        let mut growth = Growth::new(self, limits, pairs.clone());
        let mut planned = Planned::new(pairs.len());
        let mut result = Added::default();
        for (number, member) in pairs {
            let old = planned.get(member).unwrap_or_else(|| self.score(member));
            result.score = None;
            let Some(new) = options.score(old, number) else { continue };
            if new.is_nan() {
                edit.truncate(start);
                return Err(NotANumber);
            }
            result.score = Some(new);
            match old {
                Some(old) if old == new => continue,
                Some(old) => {
                    Operation::Change { member, from: old, to: new }.put(edit);
                    result.changed += 1;
                }
                None => {
                    growth.add(member, edit);
                    Operation::Add { member, score: new }.put(edit);
                    result.added += 1;
                }
            }
            // As it will be stored: without a negative zero.
            planned.set(member, Some(new + 0.0));
        }
        Ok(result)
    }

    /// Plans ZREM. Returns how many members go.
    pub fn plan_remove<'m>(
        &self,
        members: impl ExactSizeIterator<Item = &'m [u8]>,
        edit: &mut Vec<u8>,
    ) -> u64 {
        let mut planned = Planned::new(members.len());
        let mut removed = 0;
        for member in members {
            let score = planned.get(member).unwrap_or_else(|| self.score(member));
            if let Some(score) = score {
                Operation::Remove { member, score }.put(edit);
                planned.set(member, None);
                removed += 1;
            }
        }
        removed
    }

    /// Plans the removal of a run of ranks: ZREMRANGEBY*, ZPOPMIN, ZPOPMAX. Returns how many elements go.
    pub fn plan_remove_ranks(&self, ranks: Range<u64>, edit: &mut Vec<u8>) -> u64 {
        let to = ranks.end.min(self.len());
        let count = to.saturating_sub(ranks.start);
        if count > 0 {
            Operation::RemoveRanks { from: ranks.start, count }.put(edit);
        }
        count
    }

    /// The ranks of the `count` elements of the lowest or highest scores.
    #[must_use]
    pub fn end_ranks(&self, is_highest: bool, count: u64) -> Range<u64> {
        let count = count.min(self.len());
        if is_highest { self.len() - count..self.len() } else { 0..count }
    }
}

impl AddOptions {
    /// The score after the command; none if a condition holds the member back.
    fn score(self, old: Option<f64>, number: f64) -> Option<f64> {
        let Some(old) = old else { return (!self.only_existing).then_some(number) };
        if self.only_new {
            return None;
        }
        let new = if self.is_increment { old + number } else { number };
        let is_held = self.only_less && new >= old || self.only_greater && new <= old;
        (!is_held).then_some(new)
    }
}

/// When a packed value becomes large.
struct Growth<'l> {
    limits: &'l Limits,
    is_due: bool,
    is_large: bool,
    len: u64,
    bytes: usize,
}

impl<'l> Growth<'l> {
    /// As in Redis a command that names very many members, or a long one, makes room at once.
    fn new<'m>(
        value: &ZSetValue,
        limits: &'l Limits,
        mut pairs: impl ExactSizeIterator<Item = (f64, &'m [u8])>,
    ) -> Growth<'l> {
        let is_large = matches!(value.form, Form::Large(_));
        let is_due = !is_large
            && (pairs.len() as u64 > limits.entries
                || pairs.any(|(_, member)| member.len() > limits.member_bytes));
        Growth { limits, is_due, is_large, len: value.len(), bytes: value.heap_bytes() }
    }

    /// Plans the growth, if the member that is added next makes it due.
    fn add(&mut self, member: &[u8], edit: &mut Vec<u8>) {
        self.len += 1;
        self.bytes = self.bytes.saturating_add(member.len());
        self.is_due |= self.len > self.limits.entries || self.bytes > PACKED_BYTES_MAX;
        if self.is_due && !self.is_large {
            Operation::Grow.put(edit);
            self.is_large = true;
        }
    }
}
