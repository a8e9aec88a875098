//! Makes a set from scratch: for the commands that store a result, for RESTORE and for tests.

use super::shape::Shape;
use super::{Member, SetLimits, SetValue};
use crate::value::string::number::IntText;

/// Collects members into a set that is not anybody's yet.
pub struct SetBuilder {
    shape: Shape,
    value: SetValue,
}

impl SetBuilder {
    /// Starts with no members; `limits` decide which form the set takes.
    #[must_use]
    pub fn new(limits: &SetLimits) -> Self {
        let value = SetValue::default();
        SetBuilder { shape: Shape::of(&value, limits), value }
    }

    /// Adds a member; false, and nothing happened, if it is there.
    pub fn add(&mut self, member: Member<'_>) -> bool {
        if self.value.contains_member(member) {
            return false;
        }
        if let Some(form) = self.shape.add(member.canonical()) {
            self.value.turn(form);
        }
        self.value.add(member.text(&mut IntText::default()))
    }

    /// The set.
    #[must_use]
    pub fn finish(self) -> SetValue {
        self.value
    }
}
