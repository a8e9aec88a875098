//! EVAL, EVALSHA and SCRIPT; `function` has FCALL and FUNCTION. How a script runs is `run`, Lua itself
//! [`crate::scripting`].

pub mod function;
mod run;

use std::sync::Arc;

use crate::admin::help;
use crate::dispatch::args::{Args, Argv, parse_int};
use crate::dispatch::context::Context;
use crate::dispatch::reply::{CommandError, CommandResult, ReplySink};
use crate::dispatch::reply_errors as errors;
use crate::dispatch::spec::{Arity, CommandSpec, Flags, Group, Keys};
use crate::scripting::{Kind, Script};
use run::Call;

const RUNS: Flags = Flags::NOSCRIPT.with(Flags::STALE).with(Flags::CALLS);
const RUNS_ANY: Flags = RUNS.with(Flags::MAY_REPLICATE);
const RUNS_READ_ONLY: Flags = RUNS.with(Flags::READONLY);
const BASE: CommandSpec =
    CommandSpec { since: "2.6.0", group: Group::Scripting, flags: Flags::NOSCRIPT, ..CommandSpec::BASE };
const EVAL: CommandSpec = CommandSpec {
    complexity: "Depends on the script that is executed.",
    arity: Arity::AtLeast(3),
    keys: Keys::Counted { count_at: 2 },
    key_access: &["RW", "access", "update"],
    flags: RUNS_ANY,
    arguments: "script numkeys [key [key ...]] [arg [arg ...]]",
    handler: eval,
    ..BASE
};
const EVALSHA: CommandSpec =
    CommandSpec { arguments: "sha1 numkeys [key [key ...]] [arg [arg ...]]", handler: evalsha, ..EVAL };
const READ_ONLY: CommandSpec =
    CommandSpec { since: "7.0.0", key_access: &["RO", "access"], flags: RUNS_READ_ONLY, ..EVAL };

pub const COMMANDS: &[CommandSpec] = &[
    CommandSpec { name: "EVAL", summary: "Executes a server-side Lua script.", ..EVAL },
    CommandSpec { name: "EVALSHA", summary: "Executes a server-side Lua script by SHA1 digest.", ..EVALSHA },
    CommandSpec {
        name: "EVALSHA_RO",
        summary: "Executes a read-only server-side Lua script by SHA1 digest.",
        arguments: EVALSHA.arguments,
        handler: evalsha,
        ..READ_ONLY
    },
    CommandSpec { name: "EVAL_RO", summary: "Executes a read-only server-side Lua script.", ..READ_ONLY },
    CommandSpec {
        name: "SCRIPT",
        summary: "A container for Lua scripts management commands.",
        arity: Arity::AtLeast(2),
        flags: Flags::NONE,
        subcommands: SUBCOMMANDS,
        ..BASE
    },
];

const SUBCOMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "EXISTS",
        summary: "Determines whether server-side Lua scripts exist in the script cache.",
        complexity: "O(N) with N being the number of scripts to check",
        arity: Arity::AtLeast(3),
        arguments: "sha1 [sha1 ...]",
        handler: script_exists,
        ..BASE
    },
    CommandSpec {
        name: "FLUSH",
        summary: "Removes all server-side Lua scripts from the script cache.",
        complexity: "O(N) with N being the number of scripts in cache",
        arity: Arity::AtLeast(2),
        arguments: "[ASYNC | SYNC]",
        handler: script_flush,
        ..BASE
    },
    help::spec(Group::Scripting),
    CommandSpec {
        name: "KILL",
        summary: "Terminates a server-side Lua script during execution.",
        arity: Arity::Exactly(2),
        flags: Flags::NOSCRIPT.with(Flags::ALLOW_BUSY),
        handler: script_kill,
        ..BASE
    },
    CommandSpec {
        name: "LOAD",
        summary: "Loads a server-side Lua script to the script cache.",
        complexity: "O(N) with N being the length in bytes of the script body",
        arity: Arity::Exactly(3),
        flags: Flags::NOSCRIPT.with(Flags::STALE),
        arguments: "script",
        handler: script_load,
        ..BASE
    },
    CommandSpec {
        name: "SHOW",
        since: "8.0.0",
        summary: "Shows the text of a script in the script cache.",
        arity: Arity::Exactly(3),
        arguments: "sha1",
        handler: script_show,
        ..BASE
    },
];

/// The keys and arguments of EVAL or FCALL; `not_a_number` is the error of a count that is none.
fn parse_call<'a>(
    request: Argv<'a>,
    not_a_number: CommandError,
    is_read_only: bool,
) -> Result<Call<'a>, CommandError> {
    let count = request.get(2).and_then(parse_int).ok_or(not_a_number)?;
    let rest = request.slice(3, request.len());
    let count = usize::try_from(count).map_err(|_| errors::KEYS_NEGATIVE)?;
    if count > rest.len() {
        return Err(errors::NUMKEYS_TOO_LARGE);
    }
    let mut words = rest.iter();
    let keys = words.by_ref().take(count).collect();
    Ok(Call { request, keys, args: words.collect(), is_read_only })
}

fn is_read_only(ctx: &Context<'_>) -> bool {
    ctx.command.spec.flags.has(Flags::READONLY)
}

/// `EVAL script numkeys [key [key ...]] [arg [arg ...]]`
fn eval(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let call = parse_call(args.argv(), errors::NOT_AN_INTEGER, is_read_only(ctx))?;
    let body = args.argv().get(1).unwrap_or_default();
    let sha = crate::scripting::sha1_hex(body);
    let known = ctx.state.scripts.cache.lock().get(sha.as_bytes());
    let script = match known {
        Some(script) => script,
        None => keep(ctx, body, false)?,
    };
    run::eval(ctx, &script, &call, reply)
}

/// `EVALSHA sha1 numkeys [key [key ...]] [arg [arg ...]]`
fn evalsha(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let sha = args.argv().get(1).unwrap_or_default();
    if sha.len() != 40 {
        return Err(errors::NOSCRIPT);
    }
    let call = parse_call(args.argv(), errors::NOT_AN_INTEGER, is_read_only(ctx))?;
    let script = ctx.state.scripts.cache.lock().get(sha).ok_or(errors::NOSCRIPT)?;
    run::eval(ctx, &script, &call, reply)
}

/// Compiles a script and keeps it for EVALSHA.
fn keep(ctx: &Context<'_>, body: &[u8], is_loaded: bool) -> Result<Arc<Script>, CommandError> {
    let script = Arc::new(Script::parse(body).map_err(run::reply_of)?);
    run::compile(ctx, &script)?;
    ctx.state.scripts.cache.lock().insert(&script, is_loaded);
    Ok(script)
}

/// `SCRIPT EXISTS sha1 [sha1 ...]`
fn script_exists(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    reply.array(args.remaining());
    let cache = ctx.state.scripts.cache.lock();
    for sha in args {
        reply.integer(i64::from(cache.get(sha).is_some()));
    }
    Ok(())
}

/// `SCRIPT FLUSH [ASYNC | SYNC]`
fn script_flush(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    flush_mode(args, errors::SCRIPT_FLUSH_MODE)?;
    ctx.state.scripts.flush_scripts();
    reply.ok();
    Ok(())
}

/// Checks `[ASYNC | SYNC]`, which make no difference here.
fn flush_mode(mut args: Args<'_>, error: CommandError) -> CommandResult {
    match (args.next(), args.remaining()) {
        (None, _) => Ok(()),
        (Some(word), 0) if word.eq_ignore_ascii_case(b"SYNC") || word.eq_ignore_ascii_case(b"ASYNC") => {
            Ok(())
        }
        _ => Err(error),
    }
}

/// `SCRIPT KILL`
fn script_kill(ctx: &mut Context<'_>, _: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    run::kill(ctx, Kind::Eval)?;
    reply.ok();
    Ok(())
}

/// `SCRIPT LOAD script`
fn script_load(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let script = keep(ctx, args.bytes()?, true)?;
    reply.bulk(script.sha.as_bytes());
    Ok(())
}

/// `SCRIPT SHOW sha1`
fn script_show(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let script = ctx.state.scripts.cache.lock().get(args.bytes()?).ok_or(errors::NOSCRIPT)?;
    reply.bulk(&script.body);
    Ok(())
}
