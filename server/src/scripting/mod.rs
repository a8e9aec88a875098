//! The Lua 5.1 runtime of scripts and functions.
//!
//! An [`Interpreter`] runs EVAL scripts and library functions; the commands they call go to a
//! [`Caller`], which runs them in the script's transaction. The module knows nothing of keys, locks
//! or durability, and no command is registered here.
//!
//! **One interpreter per worker thread**, made at the first script that runs there. Scripts whose
//! keys lie in different shards then run side by side, and no lock stands between a script and its
//! interpreter. It costs about 300 KB per worker that ever ran a script, and the price that what a library keeps
//! in local variables is per worker (see [`functions`]). Texts are shared: [`ScriptCache`] and
//! [`Libraries`] belong to the server, and each interpreter compiles what it meets.
//!
//! **Sandbox.** Scripts see what Redis shows them and no more: no `io`, `require`, `debug`, `print`,
//! `getfenv` or `newproxy`; of `os` only `clock`. Globals and libraries are read-only. Stock Lua 5.1
//! has no read-only tables, so the prelude (`prelude.lua`) hands out proxies. Bytecode is not loaded.
//!
//! **Limits.** An instruction hook looks every 100,000 instructions whether the script was killed.
//! `pcall`, `xpcall` and `coroutine.resume` rethrow that, so no script can catch its end. The C
//! functions that could run long without an instruction (`string.find` and its kin, `string.rep`)
//! are replaced by ones that look as well. mlua's allocator refuses memory beyond the limit, which
//! Lua turns into the error `not enough memory`. Nesting is bounded everywhere.
//!
//! What mlua's safe interface cannot do: raise an arbitrary Lua value from Rust (the prelude raises
//! instead, see [`native`]), and read-only tables (proxies).

mod api;
mod cache;
pub mod functions;
mod host;
mod interpreter;
mod library;
mod native;
mod reply;
mod run;
mod shared;
pub mod shebang;
#[cfg(test)]
mod tests;

use std::time::Duration;

use crate::dispatch::reply::ReplySink;

pub use api::sha1_hex;
pub use cache::{EVAL_SCRIPTS_MAX, Script, ScriptCache};
pub use functions::{Libraries, Library, LibraryFunction, RestorePolicy};
pub use interpreter::{Interpreter, Invocation};
pub use run::{KillError, Kind, Running, Runs, WriteGate};
pub use shared::{Scripts, Slot};

/// Runs the commands of one script, in its transaction.
pub trait Caller {
    /// Runs one command and writes its reply; an error reply begins with its code. A command that
    /// changes anything must first pass `gate`.
    fn call(&mut self, args: &[&[u8]], gate: &WriteGate<'_>, reply: &mut dyn ReplySink) -> Called;

    /// Whether the script's user may run a command (`redis.acl_check_cmd`); `None` when there is no
    /// such command.
    fn may_run(&mut self, args: &[&[u8]]) -> Option<bool>;

    /// The command that started the script, for FUNCTION STATS.
    fn command(&self) -> Vec<Vec<u8>>;

    /// The script has run longer than [`Limits::busy_after`]; called about every millisecond from
    /// then on, the first time with `is_new`.
    fn slow(&mut self, is_new: bool);
}

/// What came of a script's command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Called {
    /// The reply is written.
    Replied,
    /// It cannot run now. The script ends at once and its transaction is to be run again.
    Interrupted,
}

/// What a script may use.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes per interpreter.
    pub memory_max: usize,
    /// After how long a script counts as busy; `None` for never.
    pub busy_after: Option<Duration>,
    /// After how long a script is to go on elsewhere ([`Cause::TooLong`]); `None` for never.
    pub here_max: Option<Duration>,
}

/// Why a script ended without a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// By an error of its own.
    Script,
    /// It was ended from outside and wrote nothing.
    Killed,
    /// One of its commands cannot run now.
    Interrupted,
    /// It ran for longer than scripts may on this thread.
    TooLong,
}

/// An error reply that ends a script.
#[derive(Debug, PartialEq, Eq)]
pub struct ScriptError {
    text: String,
    cause: Cause,
}

impl ScriptError {
    fn new(text: String) -> Self {
        ScriptError { text, cause: Cause::Script }
    }

    /// The reply, its code first.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The reply itself.
    #[must_use]
    pub fn into_text(self) -> String {
        self.text
    }

    /// Unless it is [`Cause::Script`], the script's transaction must be dropped.
    #[must_use]
    pub fn cause(&self) -> Cause {
        self.cause
    }
}
