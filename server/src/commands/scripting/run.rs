//! Scripts and functions as commands: what EVAL and FCALL do besides Lua.
//!
//! A script is one transaction of several commands, like EXEC: its commands see each other's changes, nobody
//! else sees any before the script has ended, and one record has them all. The shards of its declared keys are
//! locked together. A key that was not declared, a record that is not in memory or a command that looks at all
//! keys ends the script at that point; nothing has happened, and it runs again with what it lacked (after a few
//! rounds with all shards locked). So scripts run several times where they do such things, and what a script
//! does outside of the data (`redis.log`) is done again.
//!
//! A script that ends by an error keeps what its commands did before, as in Redis.
//!
//! A script gets [`HERE_MAX`] on the thread that serves its client. One that takes longer begins anew on a
//! thread of its own, so that others can be served, told `BUSY`, and kill it.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use lux_engine::checkpoint::keeper::Pressure;

use crate::dispatch::args::Argv;
use crate::dispatch::command_table::{Command, table};
use crate::dispatch::context::Context;
use crate::dispatch::reply::{CommandError, CommandResult, ReplySink};
use crate::dispatch::reply_errors as errors;
use crate::dispatch::spec::{Flags, Keys};
use crate::scripting::shebang::ScriptFlags;
use crate::scripting::{
    Called, Caller, Cause, Interpreter, Invocation, KillError, Kind, Library, Limits, Script, ScriptError,
    Slot, WriteGate,
};

/// How long a script may run on a thread that serves clients.
pub const HERE_MAX: Duration = Duration::from_millis(5);

/// What a client called.
pub struct Call<'a> {
    pub request: Argv<'a>,
    pub keys: Vec<&'a [u8]>,
    pub args: Vec<&'a [u8]>,
    /// EVAL_RO and its kin.
    pub is_read_only: bool,
}

/// Runs a script.
pub fn eval(
    ctx: &mut Context<'_>,
    script: &Script,
    call: &Call<'_>,
    reply: &mut dyn ReplySink,
) -> CommandResult {
    run(ctx, script.flags, call, reply, |interpreter, invocation, caller, reply| {
        interpreter.eval(script, invocation, caller, reply)
    })
}

/// Runs a function.
pub fn call(
    ctx: &mut Context<'_>,
    (library, name, flags): (&Arc<Library>, &str, ScriptFlags),
    call: &Call<'_>,
    reply: &mut dyn ReplySink,
) -> CommandResult {
    run(ctx, flags, call, reply, |interpreter, invocation, caller, reply| {
        interpreter.call(library, name, invocation, caller, reply)
    })
}

/// Whether a script compiles.
pub fn compile(ctx: &Context<'_>, script: &Script) -> CommandResult {
    let limits = limits(ctx);
    let slot = Slot::lend(&ctx.worker.interpreter, &ctx.state.scripts, limits);
    let compiled = slot.and_then(|mut slot| slot.interpreter.compile(script));
    compiled.map_err(reply_of)
}

/// The error reply of a script's error.
pub fn reply_of(error: ScriptError) -> CommandError {
    CommandError::composed(error.into_text())
}

fn limits(ctx: &Context<'_>) -> Limits {
    let config = ctx.config();
    let busy_ms = config.busy_reply_threshold.unsigned_abs();
    Limits {
        memory_max: usize::try_from(config.lua_memory_max).unwrap_or(usize::MAX),
        busy_after: (busy_ms > 0).then(|| Duration::from_millis(busy_ms)),
        here_max: ctx.worker.serves_clients.then_some(HERE_MAX),
    }
}

fn run(
    ctx: &mut Context<'_>,
    flags: ScriptFlags,
    call: &Call<'_>,
    reply: &mut dyn ReplySink,
    body: impl FnOnce(
        &mut Interpreter,
        Invocation<'_>,
        &mut dyn Caller,
        &mut dyn ReplySink,
    ) -> Result<(), ScriptError>,
) -> CommandResult {
    check(ctx, flags, call.is_read_only)?;
    let is_strict = !flags.has(ScriptFlags::COMPATIBLE);
    let limits = limits(ctx);
    let slot = Slot::lend(&ctx.worker.interpreter, &ctx.state.scripts, limits);
    let mut slot = slot.map_err(reply_of)?;
    let db = ctx.session.db;
    let mut caller = ScriptCaller {
        call,
        is_read_only: call.is_read_only || is_strict && flags.has(ScriptFlags::NO_WRITES),
        allows_oom: is_strict && flags.has(ScriptFlags::ALLOW_OOM),
        has_written: false,
        bytes: Vec::new(),
        ranges: Vec::new(),
        context: &mut *ctx,
    };
    let invocation = Invocation { keys: &call.keys, args: &call.args };
    let result = body(&mut slot.interpreter, invocation, &mut caller, reply);
    let has_written = caller.has_written;
    // SELECT in a script is for the script.
    ctx.session.db = db;
    let Err(error) = result else { return Ok(()) };
    match error.cause() {
        Cause::Interrupted => Err(CommandError::Interrupted),
        Cause::TooLong => Err(ctx.move_on()),
        // The server stops. Half of the script is not to be committed: it runs again, and ends at its start.
        Cause::Killed if has_written => Err(CommandError::Interrupted),
        Cause::Script | Cause::Killed => Err(reply_of(error)),
    }
}

/// Whether a script may begin.
fn check(ctx: &Context<'_>, flags: ScriptFlags, is_read_only: bool) -> CommandResult {
    if flags.has(ScriptFlags::COMPATIBLE) || flags.has(ScriptFlags::NO_WRITES) {
        return Ok(());
    }
    if is_read_only {
        return Err(errors::WRITE_FLAG_READ_ONLY);
    }
    match ctx.engine().pressure() {
        Pressure::DiskFull => Err(errors::DISK_FULL),
        Pressure::Refuse if !flags.has(ScriptFlags::ALLOW_OOM) => Err(errors::SCRIPT_OOM),
        _ => Ok(()),
    }
}

/// Runs the commands of one script.
struct ScriptCaller<'a, 'c> {
    context: &'a mut Context<'c>,
    call: &'a Call<'a>,
    is_read_only: bool,
    allows_oom: bool,
    /// A command that writes was run.
    has_written: bool,
    /// The arguments of the command that is called.
    bytes: Vec<u8>,
    ranges: Vec<(u32, u32)>,
}

impl ScriptCaller<'_, '_> {
    /// The command, if the script may call it now.
    fn admit(&self, argv: Argv<'_>) -> Result<&'static Command, CommandError> {
        let Ok(command) = table().resolve(argv) else { return Err(errors::SCRIPT_UNKNOWN) };
        let flags = command.spec.flags;
        if !command.spec.arity.accepts(argv.len()) {
            return Err(errors::SCRIPT_ARITY);
        }
        if flags.has(Flags::NOSCRIPT) {
            return Err(errors::NOT_IN_SCRIPT);
        }
        let is_write = flags.has(Flags::WRITE);
        if self.is_read_only && (is_write || flags.has(Flags::MAY_REPLICATE)) {
            return Err(errors::READ_ONLY_SCRIPT);
        }
        // Once it has written, only its end makes its changes whole.
        if self.has_written || !is_write {
            return Ok(command);
        }
        match self.context.engine().pressure() {
            Pressure::DiskFull if !flags.has(Flags::RESERVE) => Err(errors::DISK_FULL),
            Pressure::Refuse if flags.has(Flags::DENY_OOM) && !self.allows_oom => Err(errors::OOM),
            _ => Ok(command),
        }
    }

    /// Counts a call that touches other keys than the script declared.
    fn note_undeclared(&self, command: &Command, argv: Argv<'_>) {
        let is_declared = |key: &[u8]| self.call.keys.contains(&key);
        let is_undeclared = match command.spec.keys {
            Keys::None => false,
            Keys::First => argv.get(1).is_some_and(|key| !is_declared(key)),
            keys => {
                let mut indexes = Vec::new();
                keys.find(argv, &mut indexes);
                indexes.iter().filter_map(|index| argv.get(*index)).any(|key| !is_declared(key))
            }
        };
        if is_undeclared {
            self.context.state.scripts.undeclared.fetch_add(1, Relaxed);
        }
    }
}

impl Caller for ScriptCaller<'_, '_> {
    fn call(&mut self, args: &[&[u8]], gate: &WriteGate<'_>, reply: &mut dyn ReplySink) -> Called {
        self.bytes.clear();
        self.ranges.clear();
        for arg in args {
            self.ranges.push((self.bytes.len() as u32, arg.len() as u32));
            self.bytes.extend_from_slice(arg);
        }
        let argv = Argv::new(&self.bytes, &self.ranges);
        let command = match self.admit(argv) {
            Ok(command) => command,
            Err(error) => {
                let text = error.to_string();
                self.context.worker.stats.count_error(&text);
                if let Ok(command) = table().resolve(argv) {
                    self.context.worker.stats.commands.reject(command.id);
                }
                reply.error(&text);
                return Called::Replied;
            }
        };
        if command.spec.flags.has(Flags::WRITE) {
            if !gate.open() {
                return Called::Replied;
            }
            self.has_written = true;
        }
        self.note_undeclared(command, argv);
        let Ok(ran) = self.context.call(command, argv, reply) else { return Called::Interrupted };
        self.context.count(command, &ran);
        Called::Replied
    }

    fn may_run(&mut self, args: &[&[u8]]) -> Option<bool> {
        // There is one user, and it may run everything.
        let (mut bytes, mut ranges) = (Vec::new(), Vec::new());
        for arg in args {
            ranges.push((bytes.len() as u32, arg.len() as u32));
            bytes.extend_from_slice(arg);
        }
        table().resolve(Argv::new(&bytes, &ranges)).ok().map(|_| true)
    }

    fn command(&self) -> Vec<Vec<u8>> {
        self.call.request.iter().map(<[u8]>::to_vec).collect()
    }

    fn slow(&mut self, is_new: bool) {
        if is_new {
            let command = self.context.command.full_name.as_str();
            tracing::warn!(
                client = ?self.context.session.handle,
                command,
                "slow script: still running after busy-reply-threshold; SCRIPT KILL or FUNCTION KILL ends it"
            );
        }
    }
}

/// SCRIPT KILL and FUNCTION KILL.
pub fn kill(ctx: &Context<'_>, kind: Kind) -> CommandResult {
    match (ctx.state.scripts.runs.kill(kind), kind) {
        (Ok(()), _) => Ok(()),
        (Err(KillError::NotBusy), _) => Err(errors::NOT_BUSY),
        (Err(KillError::HasWritten), _) => Err(errors::UNKILLABLE),
        (Err(KillError::OtherKind), Kind::Eval) => Err(errors::BUSY_FUNCTION),
        (Err(KillError::OtherKind), Kind::Function) => Err(errors::BUSY_SCRIPT),
    }
}
