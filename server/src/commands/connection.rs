//! Commands about the connection itself.

use crate::dispatch::spec::CommandSpec;

pub const COMMANDS: &[CommandSpec] = &[];
