//! Plans for the deadlines of fields: HEXPIRE and its kin, HPERSIST, HGETEX, HSETEX, and reaping.
//!
//! Deadlines are absolute when they come here. One that is past already removes its field at once, so
//! that no edit ever stores a deadline that was over when it was planned.

use super::edit::HashEdit;
use super::plan::{Changes, Growth};
use super::{Field, Form, HashLimits, HashValue};
use crate::ids::ExpireAt;
use crate::value::overlay::Overlay;

/// When HEXPIRE sets a deadline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Condition {
    #[default]
    Always,
    /// NX: the field has none.
    IfNone,
    /// XX: the field has one.
    IfAny,
    /// GT: the new one is later; none is the latest.
    IfLater,
    /// LT: the new one is earlier; none is the latest.
    IfEarlier,
    /// XX and LT: the field has one, and the new one is earlier.
    IfAnyAndEarlier,
}

impl Condition {
    fn allows(self, old: Option<ExpireAt>, new: ExpireAt) -> bool {
        match self {
            Condition::Always => true,
            Condition::IfNone => old.is_none(),
            Condition::IfAny => old.is_some(),
            Condition::IfLater => old.is_some_and(|old| new > old),
            Condition::IfEarlier => old.is_none_or(|old| new < old),
            Condition::IfAnyAndEarlier => old.is_some_and(|old| new < old),
        }
    }
}

/// What HEXPIRE or HPERSIST did to one field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldExpiry {
    /// There is no such field (-2).
    Missing,
    /// HPERSIST: it had no deadline (-1).
    Persistent,
    /// The condition did not hold (0).
    Refused,
    /// It has the deadline, or lost its own (1).
    Changed,
    /// The deadline is past: it is gone (2).
    Removed,
}

impl FieldExpiry {
    /// The number that Redis replies.
    #[must_use]
    pub fn code(self) -> i64 {
        match self {
            FieldExpiry::Missing => -2,
            FieldExpiry::Persistent => -1,
            FieldExpiry::Refused => 0,
            FieldExpiry::Changed => 1,
            FieldExpiry::Removed => 2,
        }
    }
}

/// What HGETEX and HSETEX do to deadlines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// Leave it (HGETEX without an option, HSETEX with KEEPTTL).
    Keep,
    /// Remove it (HGETEX with PERSIST, HSETEX without an option).
    Clear,
    /// Replace it.
    Until(ExpireAt),
}

/// When HSETEX sets its fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Presence {
    #[default]
    Any,
    /// FNX: none of them is there.
    None,
    /// FXX: all of them are there.
    All,
}

/// What is planned for a field: `None` when it goes, else its deadline.
type Planned = Option<Option<ExpireAt>>;

/// One plan that changes deadlines.
struct DeadlinePlan<'v, 'a, 'o> {
    hash: &'v HashValue,
    now_ms: u64,
    planned: Overlay<'a, Planned>,
    changes: Changes,
    out: &'o mut Vec<u8>,
}

impl<'v, 'a, 'o> DeadlinePlan<'v, 'a, 'o> {
    fn new<I: Iterator>(hash: &'v HashValue, names: &I, now_ms: u64, out: &'o mut Vec<u8>) -> Self {
        let planned = Overlay::for_names(names);
        DeadlinePlan { hash, now_ms, planned, changes: Changes::default(), out }
    }

    /// The field as it is after what was planned so far.
    fn get(&self, name: &[u8]) -> Option<Field<'v>> {
        let field = self.hash.get(name, self.now_ms)?;
        let deadline = self.planned.get(name).unwrap_or(Some(field.deadline))?;
        Some(Field { deadline, ..field })
    }

    /// Gives a field that is there another deadline or none.
    fn set(&mut self, name: &'a [u8], deadline: Option<ExpireAt>) -> FieldExpiry {
        if deadline.is_some_and(|at| at.is_past(self.now_ms)) {
            self.planned.put(name, None);
            self.changes.removed += 1;
            HashEdit::Remove { name }.put(self.out);
            return FieldExpiry::Removed;
        }
        self.planned.put(name, Some(deadline));
        self.changes.changed += 1;
        HashEdit::Deadline { name, deadline }.put(self.out);
        FieldExpiry::Changed
    }

    fn finish(self) -> Changes {
        self.hash.concluded(self.changes, self.now_ms)
    }
}

impl HashValue {
    /// HEXPIRE, HPEXPIRE, HEXPIREAT, HPEXPIREAT: gives fields a deadline, and says of each what became
    /// of it.
    pub fn plan_expire<'a>(
        &self,
        names: impl Iterator<Item = &'a [u8]>,
        deadline: ExpireAt,
        condition: Condition,
        now_ms: u64,
        out: &mut Vec<u8>,
        visit: &mut dyn FnMut(FieldExpiry),
    ) -> Changes {
        let mut plan = DeadlinePlan::new(self, &names, now_ms, out);
        for name in names {
            visit(match plan.get(name) {
                None => FieldExpiry::Missing,
                Some(old) if !condition.allows(old.deadline, deadline) => FieldExpiry::Refused,
                Some(_) => plan.set(name, Some(deadline)),
            });
        }
        plan.finish()
    }

    /// HPERSIST: removes deadlines, and says of each field what became of it.
    pub fn plan_persist<'a>(
        &self,
        names: impl Iterator<Item = &'a [u8]>,
        now_ms: u64,
        out: &mut Vec<u8>,
        visit: &mut dyn FnMut(FieldExpiry),
    ) -> Changes {
        let mut plan = DeadlinePlan::new(self, &names, now_ms, out);
        for name in names {
            visit(match plan.get(name) {
                None => FieldExpiry::Missing,
                Some(Field { deadline: None, .. }) => FieldExpiry::Persistent,
                Some(_) => plan.set(name, None),
            });
        }
        plan.finish()
    }

    /// HGETEX: hands out the value of each field, and gives it another deadline or none.
    pub fn plan_get_expire<'v, 'a>(
        &'v self,
        names: impl Iterator<Item = &'a [u8]>,
        lifetime: Lifetime,
        now_ms: u64,
        out: &mut Vec<u8>,
        visit: &mut dyn FnMut(Option<&'v [u8]>),
    ) -> Changes {
        let mut plan = DeadlinePlan::new(self, &names, now_ms, out);
        for name in names {
            let found = plan.get(name);
            visit(found.map(|field| field.value));
            match (found, lifetime) {
                (Some(Field { deadline: Some(_), .. }), Lifetime::Clear) => {
                    plan.set(name, None);
                }
                (Some(_), Lifetime::Until(at)) => {
                    plan.set(name, Some(at));
                }
                _ => {}
            }
        }
        plan.finish()
    }

    /// HSETEX: gives fields values and a deadline, or, if that is past, removes them. `None`: the
    /// condition does not hold, nothing is planned.
    pub fn plan_set_expire<'a>(
        &self,
        pairs: impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone,
        presence: Presence,
        lifetime: Lifetime,
        limits: &HashLimits,
        now_ms: u64,
        out: &mut Vec<u8>,
    ) -> Option<Changes> {
        let is_there = |(name, _): (&[u8], &[u8])| self.get(name, now_ms).is_some();
        let holds = match presence {
            Presence::Any => true,
            Presence::None => !pairs.clone().any(is_there),
            Presence::All => pairs.clone().all(is_there),
        };
        if !holds {
            return None;
        }
        if matches!(lifetime, Lifetime::Until(at) if at.is_past(now_ms)) {
            return Some(self.plan_remove(pairs.map(|(name, _)| name), now_ms, out));
        }
        let mut growth = Growth::new(self, limits);
        growth.before(pairs.clone(), out);
        let mut planned = Overlay::for_names(&pairs);
        let mut changes = Changes::default();
        for (name, value) in pairs {
            let old = self.stored(name);
            if old.is_none() && !planned.contains(name) {
                growth.added(out);
            }
            planned.put(name, ());
            let deadline = match lifetime {
                Lifetime::Keep => old.filter(|old| old.is_live(now_ms)).and_then(|old| old.deadline),
                Lifetime::Clear => None,
                Lifetime::Until(at) => Some(at),
            };
            changes.changed += 1;
            HashEdit::Set(Field { name, value, deadline }).put(out);
        }
        Some(changes)
    }

    /// Removes up to `max` fields that are past their deadline. When no visible field is left the key may be
    /// deleted instead.
    pub fn plan_reap(&self, now_ms: u64, max: u64, out: &mut Vec<u8>) -> Changes {
        let mut changes = Changes::default();
        let mut reap = |field: Field<'_>| {
            if changes.removed < max {
                changes.removed += 1;
                HashEdit::Remove { name: field.name }.put(out);
            }
            changes.removed < max
        };
        match &self.0 {
            Form::Packed(block) => {
                let _ = block.fields().filter(|field| !field.is_live(now_ms)).all(reap);
            }
            Form::Large(large) => large.each_due(now_ms, |_, field| reap(field)),
        }
        Changes { is_over: changes.removed > 0 && !self.has_more_live_than(0, now_ms), ..changes }
    }
}
