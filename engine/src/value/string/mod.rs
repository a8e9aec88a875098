//! Strings: the pure algorithms over their bytes.

pub mod bits;
mod decimal;
pub mod lcs;
mod long_double;
pub mod number;
pub mod range;

/// Longest string (Redis's limit).
pub const STRING_MAX: usize = 512 << 20;
