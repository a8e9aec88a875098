//! The command families: one file each, a slice of specs on top, the handlers below.

pub mod admin;
pub mod connection;
