//! Checkpoints: what makes the log short.
//!
//! `marker` is the row that says from where the log must be replayed; `round` writes back what
//! was dirty, flushes, sets the marker and cuts the log; `keeper` is the thread that does it,
//! together with write-back under memory pressure; `resolve` gives what replay left its rows; `parts`
//! builds large values; `budget` divides the memory bound.

mod budget;
pub mod keeper;
pub mod marker;
mod parts;
mod resolve;
mod round;

pub use round::RoundReport;
