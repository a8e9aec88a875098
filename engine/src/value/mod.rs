//! The data types.

pub mod string;
