//! Strings: short ones live inline in their entry, long ones as a [`BigString`]. What commands
//! compute over their bytes is in modules of its own, without keys or clock.

mod big;
pub mod bits;
mod decimal;
pub mod hyperloglog;
pub mod lcs;
mod long_double;
pub mod number;
pub mod range;
mod stored;

pub use big::{BigString, PAGE_BYTES, PAGED_MIN, Paged};
pub use stored::StoredString;

/// Strings up to this length live inline in the entry.
pub const INLINE_MAX: usize = 1024;

/// Longest string (Redis's limit).
pub const STRING_MAX: usize = 512 << 20;
