//! Strings: short ones live inline in their entry, long ones as a [`BigString`].

mod big;

pub use big::{BigString, PAGE_BYTES, Paged};

/// Strings up to this length live inline in the entry.
pub const INLINE_MAX: usize = 1024;

/// Longest string (Redis's limit).
pub const STRING_MAX: usize = 512 << 20;
