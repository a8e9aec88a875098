//! Commands for operators.

use crate::dispatch::spec::CommandSpec;

pub const COMMANDS: &[CommandSpec] = &[];
