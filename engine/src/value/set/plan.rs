//! Plans for one set: SADD, SREM, SPOP (SMOVE removes from one and adds to another).
//!
//! A plan changes nothing. It appends an edit to `out` (nothing if nothing is to change) and returns what
//! the reply needs. Edits are resolved: which members are new, which were picked, which form the set takes.

use super::edit::SetEdit;
use super::shape::Shape;
use super::{Member, SetLimits, SetValue};
use crate::value::overlay::Overlay;
use crate::value::sample::{self, Random};
use crate::value::string::number::IntText;

/// What the removal of members leads to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SetChanges {
    /// Members that go.
    pub removed: u64,
    /// None is left: the key is to be deleted instead of edited.
    pub is_over: bool,
}

impl SetValue {
    /// SADD: adds members; how many are new.
    pub fn plan_add<'a>(
        &self,
        members: impl Iterator<Item = &'a [u8]> + Clone,
        limits: &SetLimits,
        out: &mut Vec<u8>,
    ) -> u64 {
        let mut shape = Shape::of(self, limits);
        let mut planned = Overlay::for_names(&members);
        let mut added = 0;
        if let Some(first) = members.clone().next() {
            let form = shape.expects(members.clone().count() as u64, Member::Bytes(first).canonical());
            form.into_iter().for_each(|form| SetEdit::Become { form }.put(out));
        }
        for member in members {
            if planned.contains(member) || self.contains(member) {
                continue;
            }
            planned.put(member, ());
            let form = shape.add(Member::Bytes(member).canonical());
            form.into_iter().for_each(|form| SetEdit::Become { form }.put(out));
            SetEdit::Add { member }.put(out);
            added += 1;
        }
        added
    }

    /// SREM: removes members.
    pub fn plan_remove<'a>(&self, members: impl Iterator<Item = &'a [u8]>, out: &mut Vec<u8>) -> SetChanges {
        let mut planned = Overlay::for_names(&members);
        let mut removed = 0;
        for member in members {
            if self.contains(member) && !planned.contains(member) {
                planned.put(member, ());
                SetEdit::Remove { member }.put(out);
                removed += 1;
            }
        }
        SetChanges { removed, is_over: removed > 0 && removed == self.len() }
    }

    /// SPOP: removes `count` members, or all if there are fewer, and hands them out. Every choice is as
    /// likely as any other.
    pub fn plan_pop<'a>(
        &'a self,
        count: u64,
        random: Random<'_>,
        out: &mut Vec<u8>,
        visit: &mut dyn FnMut(Member<'a>),
    ) -> SetChanges {
        if count >= self.len() {
            self.members().for_each(visit);
            return SetChanges { removed: self.len(), is_over: !self.is_vacant() };
        }
        let ranks = sample::distinct(count, self.len(), random);
        if count > self.len() / 2 {
            // It is less to say who stays.
            SetEdit::Clear.put(out);
            let mut ranks = ranks.iter().peekable();
            for (at, member) in (0..).zip(self.members()) {
                if ranks.next_if(|rank| **rank == at).is_some() {
                    visit(member);
                } else {
                    SetEdit::Add { member: member.text(&mut IntText::default()) }.put(out);
                }
            }
        } else {
            self.at_ranks(&ranks, |member| {
                SetEdit::Remove { member: member.text(&mut IntText::default()) }.put(out);
                visit(member);
            });
        }
        SetChanges { removed: count, is_over: false }
    }
}
