//! Makes a hash from scratch: for RESTORE and for tests.

use super::{Field, HashLimits, HashValue, PACKED_BYTES_MAX};

/// Collects fields into a hash that is not anybody's yet.
#[derive(Debug)]
pub struct HashBuilder {
    limits: HashLimits,
    value: HashValue,
}

impl HashBuilder {
    /// Starts with no fields; `limits` decide when the hash gets large.
    #[must_use]
    pub fn new(limits: HashLimits) -> Self {
        HashBuilder { limits, value: HashValue::default() }
    }

    /// Adds a field; false, and nothing happened, if there is one of that name.
    pub fn add(&mut self, field: Field<'_>) -> bool {
        if self.value.stored(field.name).is_some() {
            return false;
        }
        let is_too_large = self.value.len() >= self.limits.entries_max
            || field.name.len().max(field.value.len()) as u64 > self.limits.value_max
            || self.value.heap_bytes() + field.name.len() + field.value.len() > PACKED_BYTES_MAX;
        if is_too_large {
            self.value.grow();
        }
        self.value.set(field);
        true
    }

    /// The hash.
    #[must_use]
    pub fn finish(self) -> HashValue {
        self.value
    }
}
