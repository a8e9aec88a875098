//! Sets: distinct members.
//!
//! A set has one of three forms. *Ints*: small integers in ascending order (`ints`), the form of a new
//! set whose members all are canonical integers. *Packed*: one allocation, members in the order in which
//! they were added (`packed`). *Large*: a tree in the order of the members' hashes (`large`). Redis's
//! limits and rules say which (`shape`); a set goes from ints to packed or large and from packed to large,
//! never back. OBJECT ENCODING says `intset`, `listpack` or `hashtable`.
//!
//! Commands read (here, and `algebra` for several sets) or plan (`plan`); plans write an edit (`edit`),
//! which is logged and applied. Stored forms are in `codec`, making a set from scratch in `build`.
//!
//! | operation | ints | packed, n bytes | large, n members |
//! |---|---|---|---|
//! | is it a member | O(log n) | O(n) | O(log n) |
//! | add, remove | O(n), a move of bytes | O(n) | O(log n) |
//! | number of members | O(1) | O(1) | O(1) |
//! | random member | O(1) | O(n) | O(log n) |
//! | all members | O(n) | O(n) | O(n) |
//! | scan | all at once | all at once | O(log n + count) |

mod algebra;
mod build;
mod codec;
mod edit;
mod ints;
mod large;
mod packed;
mod plan;
mod shape;
#[cfg(test)]
mod tests;

pub use algebra::{difference, intersection, union};
pub use build::SetBuilder;
pub use edit::{FormTag, SetEdit};
pub use plan::SetChanges;

use crate::value::sample::{self, Random};
use crate::value::string::number::{IntText, parse_int};
use ints::Ints;
use large::Large;
use packed::Block;

/// A set gets large when its packed form would be longer, whatever the configuration says.
const PACKED_BYTES_MAX: usize = 128 << 10;

/// How large a set that is no tree may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetLimits {
    /// `set-max-intset-entries`: most members as integers.
    pub ints_max: u64,
    /// `set-max-listpack-entries`: most members of a packed set.
    pub entries_max: u64,
    /// `set-max-listpack-value`: longest member of a packed set in bytes.
    pub value_max: u64,
}

impl Default for SetLimits {
    fn default() -> Self {
        SetLimits { ints_max: 512, entries_max: 128, value_max: 64 }
    }
}

/// One member of a set. An integer of a set of integers has no bytes in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Member<'a> {
    Int(i64),
    Bytes(&'a [u8]),
}

impl<'a> Member<'a> {
    /// The member's bytes; `digits` is room for those of an integer.
    #[must_use]
    pub fn text<'t>(&'t self, digits: &'t mut IntText) -> &'t [u8] {
        match self {
            Member::Int(value) => digits.of(*value),
            Member::Bytes(bytes) => bytes,
        }
    }

    /// The same member, as an integer if it is the text of one: equal members are equal then.
    #[must_use]
    pub fn canonical(self) -> Member<'a> {
        match self {
            Member::Bytes(bytes) => parse_int(bytes).map_or(self, Member::Int),
            Member::Int(_) => self,
        }
    }
}

/// A set.
#[derive(Clone, Debug, PartialEq)]
pub struct SetValue(Form);

#[derive(Clone, Debug, PartialEq)]
enum Form {
    Ints(Ints),
    Packed(Block),
    Large(Box<Large>),
}

/// An empty set of integers.
impl Default for SetValue {
    fn default() -> Self {
        SetValue(Form::Ints(Ints::default()))
    }
}

impl SetValue {
    /// The name that OBJECT ENCODING replies.
    #[must_use]
    pub fn encoding(&self) -> &'static str {
        match &self.0 {
            Form::Ints(_) => "intset",
            Form::Packed(_) => "listpack",
            Form::Large(_) => "hashtable",
        }
    }

    /// Whether there are no members.
    #[must_use]
    pub fn is_vacant(&self) -> bool {
        self.is_empty()
    }

    /// Number of members: SCARD.
    #[must_use]
    pub fn len(&self) -> u64 {
        match &self.0 {
            Form::Ints(ints) => ints.len() as u64,
            Form::Packed(block) => block.len() as u64,
            Form::Large(large) => large.tree.len(),
        }
    }

    /// The same as [`SetValue::is_vacant`].
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Heap bytes held, without `self`.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        match &self.0 {
            Form::Ints(ints) => ints.bytes().len(),
            Form::Packed(block) => block.bytes().len(),
            Form::Large(large) => large.heap_bytes(),
        }
    }

    /// Whether these bytes are a member: SISMEMBER, SMISMEMBER.
    #[must_use]
    pub fn contains(&self, member: &[u8]) -> bool {
        match &self.0 {
            Form::Ints(ints) => parse_int(member).is_some_and(|value| ints.contains(value)),
            Form::Packed(block) => block.contains(member),
            Form::Large(large) => large.contains(member),
        }
    }

    /// Whether this, of another set, is a member of this one.
    #[must_use]
    pub fn contains_member(&self, member: Member<'_>) -> bool {
        match (&self.0, member) {
            (Form::Ints(ints), Member::Int(value)) => ints.contains(value),
            _ => self.contains(member.text(&mut IntText::default())),
        }
    }

    /// All members: SMEMBERS. Integers ascend, packed members are in the order in which they came.
    #[must_use]
    pub fn members(&self) -> Members<'_> {
        Members(match &self.0 {
            Form::Ints(ints) => MembersForm::Ints(ints.iter()),
            Form::Packed(block) => MembersForm::Packed(block.members()),
            Form::Large(large) => MembersForm::Large(large.members()),
        })
    }

    /// One step of SSCAN from `cursor` (0 at first): hands out about `count` members, returns the next
    /// cursor (0 at the end).
    ///
    /// A member that is there from the first step to the last is handed out at least once. A set that is
    /// not large is handed out whole.
    pub fn scan<'a>(&'a self, cursor: u64, count: u64, visit: &mut dyn FnMut(Member<'a>)) -> u64 {
        match &self.0 {
            Form::Ints(_) | Form::Packed(_) => {
                self.members().for_each(visit);
                0
            }
            Form::Large(large) => large.scan(cursor, count.max(1), |member| visit(Member::Bytes(member))),
        }
    }

    /// A member by its place among [`SetValue::members`].
    fn at(&self, rank: u64) -> Option<Member<'_>> {
        match &self.0 {
            Form::Ints(ints) => ints.get(rank as usize).map(Member::Int),
            Form::Packed(block) => block.members().nth(rank as usize).map(Member::Bytes),
            Form::Large(large) => large.at_rank(rank).map(Member::Bytes),
        }
    }

    /// The members of these ascending ranks, each without looking at the others where that is possible.
    fn at_ranks<'a>(&'a self, ranks: &[u64], mut visit: impl FnMut(Member<'a>)) {
        if !matches!(self.0, Form::Packed(_)) {
            ranks.iter().filter_map(|rank| self.at(*rank)).for_each(visit);
            return;
        }
        let mut ranks = ranks.iter().peekable();
        for (at, member) in (0..).zip(self.members()) {
            if ranks.next_if(|rank| **rank == at).is_some() {
                visit(member);
            }
        }
    }

    /// A member, each as likely as the others: SRANDMEMBER.
    #[must_use]
    pub fn random_member(&self, random: Random<'_>) -> Option<Member<'_>> {
        if self.is_vacant() { None } else { self.at(random(self.len())) }
    }

    /// `count` different members, or all if there are fewer: SRANDMEMBER with a positive count. Returns
    /// how many, which is the lesser of `count` and [`SetValue::len`].
    pub fn random_members<'a>(
        &'a self,
        count: u64,
        random: Random<'_>,
        visit: &mut dyn FnMut(Member<'a>),
    ) -> u64 {
        if count >= self.len() {
            self.members().for_each(visit);
            return self.len();
        }
        self.at_ranks(&sample::distinct(count, self.len(), random), visit);
        count
    }

    /// `count` members, each picked from all: SRANDMEMBER with a negative count. None if the set is vacant.
    pub fn random_members_repeated<'a>(
        &'a self,
        count: u64,
        random: Random<'_>,
        visit: &mut dyn FnMut(Member<'a>),
    ) {
        if self.is_vacant() {
            return;
        }
        let mut pick = || random(self.len());
        if let Form::Packed(block) = &self.0 {
            let members: Vec<&[u8]> = block.members().collect();
            let picked = (0..count).filter_map(|_| members.get(pick() as usize));
            picked.map(|member| Member::Bytes(member)).for_each(visit);
        } else {
            (0..count).filter_map(|_| self.at(pick())).for_each(visit);
        }
    }
}

/// Walks the members of a set.
#[derive(Clone)]
pub struct Members<'a>(MembersForm<'a>);

#[derive(Clone)]
enum MembersForm<'a> {
    Ints(ints::Iter<'a>),
    Packed(packed::Members<'a>),
    Large(large::Members<'a>),
}

impl<'a> Iterator for Members<'a> {
    type Item = Member<'a>;

    #[inline]
    fn next(&mut self) -> Option<Member<'a>> {
        match &mut self.0 {
            MembersForm::Ints(ints) => ints.next().map(Member::Int),
            MembersForm::Packed(members) => members.next().map(Member::Bytes),
            MembersForm::Large(members) => members.next().map(Member::Bytes),
        }
    }
}
