//! Plans for the values of fields: HSET, HSETNX, HINCRBY, HINCRBYFLOAT, HDEL.
//!
//! A plan changes nothing. It appends an edit to `out` (nothing if nothing is to change) and returns what
//! the reply needs. Edits are resolved: that a hash gets large, what a sum is, which deadline is kept.

use super::edit::HashEdit;
use super::{Field, Form, HashLimits, HashValue, PACKED_BYTES_MAX};
use crate::value::overlay::Overlay;
use crate::value::string::number::{IntText, LongDouble, parse_int};

/// Why a field is not incremented. The texts are Redis's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HashError {
    /// The value is no 64-bit integer.
    #[error("hash value is not an integer")]
    NotAnInteger,
    /// The value is no number.
    #[error("hash value is not a float")]
    NotAFloat,
    /// The sum does not fit 64 bits.
    #[error("increment or decrement would overflow")]
    Overflow,
    /// The sum is an infinity.
    #[error("increment would produce NaN or Infinity")]
    NotFinite,
}

/// What a plan leads to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Fields that get another value or deadline.
    pub changed: u64,
    /// Visible fields that go (for a reaper: invisible ones).
    pub removed: u64,
    /// No visible field is left: the key is to be deleted instead of edited.
    pub is_over: bool,
}

impl Changes {
    /// Whether there is anything to log.
    #[must_use]
    pub fn is_any(&self) -> bool {
        self.changed + self.removed > 0
    }
}

/// Notices when a packed hash gets too large.
pub(super) struct Growth {
    is_packed: bool,
    entries_max: u64,
    value_max: u64,
    entries: u64,
    bytes: usize,
    is_planned: bool,
}

impl Growth {
    pub(super) fn new(hash: &HashValue, limits: &HashLimits) -> Self {
        let (is_packed, bytes) = match &hash.0 {
            Form::Packed(block) => (true, block.bytes().len()),
            Form::Large(_) => (false, 0),
        };
        let HashLimits { entries_max, value_max } = *limits;
        Growth { is_packed, entries_max, value_max, entries: hash.len(), bytes, is_planned: false }
    }

    /// Plans to grow at once if one of the parts is too long or there are too many of them, as Redis does
    /// whether these fields are new or not.
    pub(super) fn before<'a>(
        &mut self,
        pairs: impl Iterator<Item = (&'a [u8], &'a [u8])>,
        out: &mut Vec<u8>,
    ) {
        if !self.is_packed {
            return;
        }
        let (mut count, mut longest) = (0, 0);
        for (name, value) in pairs {
            count += 1;
            longest = longest.max(name.len()).max(value.len());
            self.bytes = self.bytes.saturating_add(name.len() + value.len() + 16);
        }
        if count > self.entries_max || longest as u64 > self.value_max || self.bytes > PACKED_BYTES_MAX {
            self.grow(out);
        }
    }

    /// Plans to grow if one more field is too many.
    pub(super) fn added(&mut self, out: &mut Vec<u8>) {
        self.entries += 1;
        if self.entries > self.entries_max {
            self.grow(out);
        }
    }

    fn grow(&mut self, out: &mut Vec<u8>) {
        if self.is_packed && !self.is_planned {
            self.is_planned = true;
            HashEdit::Grow.put(out);
        }
    }
}

impl HashValue {
    /// HSET and HMSET: gives fields values; they have no deadline then. Returns how many are new.
    pub fn plan_set<'a>(
        &self,
        pairs: impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone,
        limits: &HashLimits,
        now_ms: u64,
        out: &mut Vec<u8>,
    ) -> u64 {
        let mut growth = Growth::new(self, limits);
        growth.before(pairs.clone(), out);
        let mut planned = Overlay::for_names(&pairs);
        let mut added = 0;
        for (name, value) in pairs {
            let old = self.stored(name);
            if !planned.contains(name) {
                planned.put(name, ());
                added += u64::from(!old.is_some_and(|old| old.is_live(now_ms)));
                if old.is_none() {
                    growth.added(out);
                }
            }
            HashEdit::Set(Field { name, value, deadline: None }).put(out);
        }
        added
    }

    /// HSETNX: gives a field a value if it is not there; whether it was not.
    pub fn plan_set_new(
        &self,
        name: &[u8],
        value: &[u8],
        limits: &HashLimits,
        now_ms: u64,
        out: &mut Vec<u8>,
    ) -> bool {
        let is_new = self.get(name, now_ms).is_none();
        if is_new {
            self.plan_set(std::iter::once((name, value)), limits, now_ms, out);
        }
        is_new
    }

    /// Gives one field a value; its deadline stays.
    fn plan_replace(
        &self,
        name: &[u8],
        value: &[u8],
        old: Option<Field<'_>>,
        limits: &HashLimits,
        out: &mut Vec<u8>,
    ) {
        let mut growth = Growth::new(self, limits);
        growth.before(std::iter::once((name, value)), out);
        if old.is_none() && self.stored(name).is_none() {
            growth.added(out);
        }
        HashEdit::Set(Field { name, value, deadline: old.and_then(|old| old.deadline) }).put(out);
    }

    /// HINCRBY: adds to an integer, which is 0 when the field is not there. Returns the sum.
    ///
    /// # Errors
    /// The value is no integer, or the sum does not fit.
    pub fn plan_increment(
        &self,
        name: &[u8],
        increment: i64,
        limits: &HashLimits,
        now_ms: u64,
        out: &mut Vec<u8>,
    ) -> Result<i64, HashError> {
        let old = self.get(name, now_ms);
        let value = old.map_or(Some(0), |old| parse_int(old.value)).ok_or(HashError::NotAnInteger)?;
        let sum = value.checked_add(increment).ok_or(HashError::Overflow)?;
        self.plan_replace(name, IntText::default().of(sum), old, limits, out);
        Ok(sum)
    }

    /// HINCRBYFLOAT: adds to a decimal number, which is 0 when the field is not there. Returns the text
    /// of the sum.
    ///
    /// # Errors
    /// The value is no number, or the sum is not finite.
    pub fn plan_increment_float(
        &self,
        name: &[u8],
        increment: LongDouble,
        limits: &HashLimits,
        now_ms: u64,
        out: &mut Vec<u8>,
    ) -> Result<Vec<u8>, HashError> {
        let old = self.get(name, now_ms);
        let value = old.map_or(Some(LongDouble::from(0)), |old| LongDouble::parse(old.value));
        let sum = value.ok_or(HashError::NotAFloat)?.plus(increment);
        if !sum.is_finite() {
            return Err(HashError::NotFinite);
        }
        let mut text = Vec::with_capacity(32);
        sum.push_to(&mut text);
        self.plan_replace(name, &text, old, limits, out);
        Ok(text)
    }

    /// HDEL: removes fields.
    pub fn plan_remove<'a>(
        &self,
        names: impl Iterator<Item = &'a [u8]>,
        now_ms: u64,
        out: &mut Vec<u8>,
    ) -> Changes {
        self.plan_get_remove(names, now_ms, out, &mut |_| {})
    }

    /// HGETDEL: hands out the value of each field, and removes it.
    pub fn plan_get_remove<'v, 'a>(
        &'v self,
        names: impl Iterator<Item = &'a [u8]>,
        now_ms: u64,
        out: &mut Vec<u8>,
        visit: &mut dyn FnMut(Option<&'v [u8]>),
    ) -> Changes {
        let mut planned = Overlay::for_names(&names);
        let mut changes = Changes::default();
        for name in names {
            let found = self.get(name, now_ms).filter(|_| !planned.contains(name));
            if found.is_some() {
                planned.put(name, ());
                changes.removed += 1;
                HashEdit::Remove { name }.put(out);
            }
            visit(found.map(|field| field.value));
        }
        self.concluded(changes, now_ms)
    }

    /// The changes, with the answer whether they leave anything visible.
    pub(super) fn concluded(&self, changes: Changes, now_ms: u64) -> Changes {
        let is_over = changes.removed > 0 && !self.has_more_live_than(changes.removed, now_ms);
        Changes { is_over, ..changes }
    }
}
