//! The command families: one file each, a slice of specs on top, the handlers below.

pub mod admin;
pub mod bitmap;
pub mod connection;
pub mod generic;
pub mod string;
