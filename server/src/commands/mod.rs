//! The command families: one file each, a slice of specs on top, the handlers below.

pub mod admin;
pub mod bitmap;
pub mod command;
pub mod config;
pub mod connection;
pub mod debug;
pub mod dump;
pub mod expire;
pub mod generic;
pub mod geo;
pub mod hash;
pub mod hyperloglog;
pub mod list;
pub mod memory;
pub mod scripting;
pub mod set;
pub mod sort;
pub mod stream;
pub mod string;
pub mod tier;
pub mod transactions;
pub mod zset;
