//! FCALL and FUNCTION. Libraries are kept by [`crate::scripting::Scripts`].

use std::sync::Arc;

use lux_engine::glob::{Case, is_match};

use super::run;
use super::{flush_mode, parse_call};
use crate::admin::help;
use crate::dispatch::args::Args;
use crate::dispatch::context::Context;
use crate::dispatch::reply::{CommandError, CommandResult, ReplySink};
use crate::dispatch::reply_errors as errors;
use crate::dispatch::spec::{Arity, CommandSpec, Flags, Group, Keys};
use crate::scripting::{Kind, Library, RestorePolicy, ScriptError, Scripts};
use crate::state::ServerState;

/// A change of the libraries waits for the disk, and is not one with data.
const CHANGES: Flags = Flags::NOSCRIPT.with(Flags::NO_MULTI).with(Flags::MAY_REPLICATE);
const BASE: CommandSpec =
    CommandSpec { since: "7.0.0", group: Group::Scripting, flags: Flags::NOSCRIPT, ..CommandSpec::BASE };
const FCALL: CommandSpec = CommandSpec {
    name: "FCALL",
    summary: "Invokes a function.",
    complexity: "Depends on the function that is executed.",
    arity: Arity::AtLeast(3),
    keys: Keys::Counted { count_at: 2 },
    key_access: &["RW", "access", "update"],
    flags: Flags::NOSCRIPT.with(Flags::STALE).with(Flags::CALLS).with(Flags::MAY_REPLICATE),
    arguments: "function numkeys [key [key ...]] [arg [arg ...]]",
    handler: fcall,
    ..BASE
};

pub const COMMANDS: &[CommandSpec] = &[
    FCALL,
    CommandSpec {
        name: "FCALL_RO",
        summary: "Invokes a read-only function.",
        key_access: &["RO", "access"],
        flags: Flags::NOSCRIPT.with(Flags::STALE).with(Flags::CALLS).with(Flags::READONLY),
        ..FCALL
    },
    CommandSpec {
        name: "FUNCTION",
        summary: "A container for function commands.",
        arity: Arity::AtLeast(2),
        flags: Flags::NONE,
        subcommands: SUBCOMMANDS,
        ..BASE
    },
];

const SUBCOMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "DELETE",
        summary: "Deletes a library and its functions.",
        arity: Arity::Exactly(3),
        flags: CHANGES,
        arguments: "library-name",
        handler: function_delete,
        ..BASE
    },
    CommandSpec {
        name: "DUMP",
        summary: "Dumps all libraries into a serialized binary payload.",
        complexity: "O(N) where N is the number of functions",
        arity: Arity::Exactly(2),
        handler: function_dump,
        ..BASE
    },
    CommandSpec {
        name: "FLUSH",
        summary: "Deletes all libraries and functions.",
        complexity: "O(N) where N is the number of functions deleted",
        arity: Arity::AtLeast(2),
        flags: CHANGES,
        arguments: "[ASYNC | SYNC]",
        handler: function_flush,
        ..BASE
    },
    help::spec(Group::Scripting),
    CommandSpec {
        name: "KILL",
        summary: "Terminates a function during execution.",
        arity: Arity::Exactly(2),
        flags: Flags::NOSCRIPT.with(Flags::ALLOW_BUSY),
        handler: function_kill,
        ..BASE
    },
    CommandSpec {
        name: "LIST",
        summary: "Returns information about all libraries.",
        complexity: "O(N) where N is the number of functions",
        arity: Arity::AtLeast(2),
        arguments: "[LIBRARYNAME library-name-pattern] [WITHCODE]",
        handler: function_list,
        ..BASE
    },
    CommandSpec {
        name: "LOAD",
        summary: "Creates a library.",
        complexity: "O(1) (considering compilation time is redundant)",
        arity: Arity::AtLeast(3),
        flags: CHANGES,
        arguments: "[REPLACE] function-code",
        handler: function_load,
        ..BASE
    },
    CommandSpec {
        name: "RESTORE",
        summary: "Restores all libraries from a payload.",
        complexity: "O(N) where N is the number of functions on the payload",
        arity: Arity::AtLeast(3),
        flags: CHANGES,
        arguments: "serialized-value [FLUSH | APPEND | REPLACE]",
        handler: function_restore,
        ..BASE
    },
    CommandSpec {
        name: "STATS",
        summary: "Returns information about a function during execution.",
        arity: Arity::Exactly(2),
        flags: Flags::NOSCRIPT.with(Flags::ALLOW_BUSY),
        handler: function_stats,
        ..BASE
    },
];

/// `FCALL function numkeys [key [key ...]] [arg [arg ...]]`
fn fcall(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let libraries = ctx.state.scripts.libraries();
    let name = std::str::from_utf8(args.argv().get(1).unwrap_or_default()).unwrap_or_default();
    let (library, function) = libraries.function(name).ok_or(errors::NO_SUCH_FUNCTION)?;
    let is_read_only = ctx.command.spec.flags.has(Flags::READONLY);
    let call = parse_call(args.argv(), errors::BAD_NUMBER_OF_KEYS, is_read_only)?;
    run::call(ctx, (library, &function.name, function.flags), &call, reply)
}

/// Changes the libraries on a blocking thread: code is run and files are written.
fn change<T: Send + 'static>(
    ctx: &mut Context<'_>,
    body: impl FnOnce(&Scripts) -> Result<T, ScriptError> + Send + 'static,
) -> Result<T, CommandError> {
    let state: Arc<ServerState> = Arc::clone(ctx.state);
    ctx.offload(move || body(&state.scripts))?.map_err(run::reply_of)
}

/// `FUNCTION DELETE library-name`
fn function_delete(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let name = String::from_utf8_lossy(args.bytes()?).into_owned();
    change(ctx, move |scripts| scripts.delete(&name))?;
    reply.ok();
    Ok(())
}

/// `FUNCTION DUMP`
fn function_dump(ctx: &mut Context<'_>, _: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    reply.bulk(&ctx.state.scripts.libraries().dump());
    Ok(())
}

/// `FUNCTION FLUSH [ASYNC | SYNC]`
fn function_flush(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    if args.remaining() > 1 {
        return Err(errors::subcommand_syntax("FUNCTION", args.argv().get(1).unwrap_or_default()));
    }
    flush_mode(args, errors::FUNCTION_FLUSH_MODE)?;
    change(ctx, Scripts::flush_libraries)?;
    reply.ok();
    Ok(())
}

/// `FUNCTION KILL`
fn function_kill(ctx: &mut Context<'_>, _: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    run::kill(ctx, Kind::Function)?;
    reply.ok();
    Ok(())
}

/// `FUNCTION LIST [LIBRARYNAME library-name-pattern] [WITHCODE]`
fn function_list(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let (mut pattern, mut with_code) = (None, false);
    while let Some(word) = args.next() {
        if !with_code && word.eq_ignore_ascii_case(b"WITHCODE") {
            with_code = true;
        } else if pattern.is_none() && word.eq_ignore_ascii_case(b"LIBRARYNAME") {
            pattern = Some(args.next().ok_or(errors::LIBRARY_NAME_MISSING)?);
        } else {
            return Err(errors::unknown_argument(word));
        }
    }
    let libraries = ctx.state.scripts.libraries();
    let is_wanted = |library: &&Arc<Library>| {
        pattern.is_none_or(|pattern| is_match(pattern, library.name.as_bytes(), Case::Insensitive))
    };
    let wanted: Vec<_> = libraries.iter().filter(is_wanted).collect();
    reply.array(wanted.len());
    for library in wanted {
        list_one(library, with_code, reply);
    }
    Ok(())
}

fn list_one(library: &Library, with_code: bool, reply: &mut dyn ReplySink) {
    reply.map(if with_code { 4 } else { 3 });
    reply.bulk(b"library_name");
    reply.bulk(library.name.as_bytes());
    reply.bulk(b"engine");
    reply.bulk(b"LUA");
    reply.bulk(b"functions");
    reply.array(library.functions.len());
    for function in &library.functions {
        reply.map(3);
        reply.bulk(b"name");
        reply.bulk(function.name.as_bytes());
        reply.bulk(b"description");
        reply.bulk_or_null(function.description.as_ref().map(String::as_bytes));
        reply.bulk(b"flags");
        reply.set(function.flags.names().count());
        function.flags.names().for_each(|name| reply.simple(name));
    }
    if with_code {
        reply.bulk(b"library_code");
        reply.bulk(&library.code);
    }
}

/// `FUNCTION LOAD [REPLACE] function-code`
fn function_load(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let mut replace = false;
    while args.remaining() > 1 {
        let word = args.bytes()?;
        if !word.eq_ignore_ascii_case(b"REPLACE") {
            return Err(errors::unknown_option(word));
        }
        replace = true;
    }
    let code = args.bytes()?.to_vec();
    let name = change(ctx, move |scripts| scripts.load(&code, replace))?;
    reply.bulk(name.as_bytes());
    Ok(())
}

/// `FUNCTION RESTORE serialized-value [FLUSH | APPEND | REPLACE]`
fn function_restore(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let payload = args.bytes()?.to_vec();
    if args.remaining() > 1 {
        return Err(errors::subcommand_syntax("FUNCTION", args.argv().get(1).unwrap_or_default()));
    }
    let policy = match args.next().map(<[u8]>::to_ascii_lowercase).as_deref() {
        None | Some(b"append") => RestorePolicy::Append,
        Some(b"replace") => RestorePolicy::Replace,
        Some(b"flush") => RestorePolicy::Flush,
        Some(_) => return Err(errors::RESTORE_POLICY),
    };
    change(ctx, move |scripts| scripts.restore(&payload, policy))?;
    reply.ok();
    Ok(())
}

/// `FUNCTION STATS`
fn function_stats(ctx: &mut Context<'_>, _: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let scripts = &ctx.state.scripts;
    reply.map(2);
    reply.bulk(b"running_script");
    match scripts.runs.running() {
        None => reply.null(),
        Some(running) => {
            reply.map(3);
            reply.bulk(b"name");
            reply.bulk(running.name.as_bytes());
            reply.bulk(b"command");
            reply.array(running.command.len());
            running.command.iter().for_each(|word| reply.bulk(word));
            reply.bulk(b"duration_ms");
            reply.integer(i64::try_from(running.duration.as_millis()).unwrap_or(i64::MAX));
        }
    }
    let libraries = scripts.libraries();
    reply.bulk(b"engines");
    reply.map(1);
    reply.bulk(b"LUA");
    reply.map(2);
    reply.bulk(b"libraries_count");
    reply.integer(libraries.len() as i64);
    reply.bulk(b"functions_count");
    reply.integer(libraries.functions_len() as i64);
    Ok(())
}
