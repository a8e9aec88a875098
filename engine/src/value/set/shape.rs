//! Which form a set has to have: Redis's rules.
//!
//! A new set is one of integers if the first member is one and the command brings no more than integers
//! may be there, else packed if it brings no more than may be packed, else large. A set of integers that
//! gets too many becomes large; one that gets another member becomes packed, if its integers and that
//! member fit there, else large. A packed set that gets too many or too long a member becomes large.

use super::edit::FormTag;
use super::{Form, Member, PACKED_BYTES_MAX, SetLimits, SetValue};
use crate::value::string::number::int_len;

/// The shape of a set while members are added to it.
pub(super) struct Shape {
    limits: SetLimits,
    form: FormTag,
    len: u64,
    /// Bytes of the packed members.
    bytes: usize,
    /// Length of the longest integer.
    digits: usize,
}

impl Shape {
    pub(super) fn of(set: &SetValue, limits: &SetLimits) -> Self {
        let (bytes, digits) = match &set.0 {
            Form::Ints(ints) => {
                let ends = [ints.get(0), ints.len().checked_sub(1).and_then(|last| ints.get(last))];
                (0, ends.into_iter().flatten().map(int_len).max().unwrap_or(0))
            }
            Form::Packed(block) => (block.bytes().len(), 0),
            Form::Large(_) => (0, 0),
        };
        Shape { limits: *limits, form: set.form(), len: set.len(), bytes, digits }
    }

    /// A command is going to add so many members, the first of which is this one: the form that the set
    /// has to take first, if it is not its own.
    pub(super) fn expects(&mut self, count: u64, first: Member<'_>) -> Option<FormTag> {
        let is_new = self.len == 0 && self.form == FormTag::Ints;
        let form = match self.form {
            FormTag::Ints if is_new => {
                if matches!(first, Member::Int(_)) && count <= self.limits.ints_max {
                    FormTag::Ints
                } else if count <= self.limits.entries_max {
                    FormTag::Packed
                } else {
                    FormTag::Large
                }
            }
            FormTag::Ints if count > self.limits.ints_max => FormTag::Large,
            FormTag::Packed if count > self.limits.entries_max => FormTag::Large,
            form => form,
        };
        self.turn(form)
    }

    /// A member that is not there, in canonical form, is added: the form that the set has to take first,
    /// if it is not its own.
    pub(super) fn add(&mut self, member: Member<'_>) -> Option<FormTag> {
        let len = match member {
            Member::Int(value) => int_len(value),
            Member::Bytes(bytes) => bytes.len(),
        };
        let fits_packed = |longest: usize, bytes: usize| {
            self.len < self.limits.entries_max
                && longest as u64 <= self.limits.value_max
                && bytes + len <= PACKED_BYTES_MAX
        };
        let form = match (self.form, member) {
            (FormTag::Ints, Member::Int(_)) => {
                let max = self.limits.ints_max.min(PACKED_BYTES_MAX as u64 / 8);
                if self.len < max { FormTag::Ints } else { FormTag::Large }
            }
            (FormTag::Ints, Member::Bytes(_)) => {
                self.bytes = (self.digits + 1) * self.len as usize;
                let fits = fits_packed(len.max(self.digits), self.bytes);
                if fits { FormTag::Packed } else { FormTag::Large }
            }
            (FormTag::Packed, _) => {
                let fits = fits_packed(len, self.bytes);
                if fits { FormTag::Packed } else { FormTag::Large }
            }
            (FormTag::Large, _) => FormTag::Large,
        };
        self.len += 1;
        self.bytes += len + 1;
        self.digits = self.digits.max(len);
        self.turn(form)
    }

    fn turn(&mut self, form: FormTag) -> Option<FormTag> {
        let is_other = form != self.form;
        self.form = form;
        is_other.then_some(form)
    }
}
