//! Wall-clock time for the server's own bookkeeping. Commands take theirs from the transaction.

use std::time::{SystemTime, UNIX_EPOCH};

/// Unix time in microseconds.
#[must_use]
pub fn unix_us() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_micros() as u64)
}

/// Unix time in milliseconds.
#[must_use]
pub fn unix_ms() -> u64 {
    unix_us() / 1000
}
