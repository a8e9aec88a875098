//! DEBUG: what test suites use. Off unless `enable-debug-command` says otherwise.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use lux_engine::failpoint::CrashPoint;
use lux_engine::ids::DbIndex;
use lux_engine::keyspace::usage::UsedAt;
use lux_engine::{DATABASE_COUNT, Engine, Error};

use crate::dispatch::args::{Args, Argv, parse_float};
use crate::dispatch::context::{Context, evict_everything};
use crate::dispatch::reply::{CommandResult, ReplySink};
use crate::dispatch::reply_errors as errors;
use crate::dispatch::spec::{Arity, CommandSpec, Flags, Group, Keys};

pub const COMMANDS: &[CommandSpec] = &[CommandSpec {
    name: "DEBUG",
    group: Group::Server,
    summary: "A container for debugging commands.",
    complexity: "Depends on subcommand",
    arity: Arity::AtLeast(2),
    keys: Keys::Custom(keys),
    key_access: &["RO"],
    flags: Flags::ADMIN.with(Flags::READONLY).with(Flags::NOSCRIPT).with(Flags::LOADING).with(Flags::STALE),
    arguments: "subcommand [argument [argument ...]]",
    handler: debug,
    ..CommandSpec::BASE
}];

/// Each subcommand: its name, its arguments, what it does, how many arguments it takes.
const SUBCOMMANDS: &[(&str, &str, &str, usize, crate::dispatch::spec::Handler)] = &[
    ("CHANGE-REPL-ID", "", "Does nothing: there is no replication.", 0, ok),
    (
        "CRASH-AT",
        "<point>",
        "Ends the process when it reaches a point, as if it were killed there.",
        1,
        crash_at,
    ),
    ("EVICT-ALL", "", "Moves all keys of all databases to disk.", 0, evict_all),
    ("EVICT-ALWAYS", "<yes|no>", "Moves all keys to disk after every command.", 1, evict_always),
    ("LOADAOF", "", "Writes everything back and forgets what is in memory.", 0, reload),
    ("LOG", "<message>", "Writes a message to the log.", 1, log),
    ("OBJECT", "<key>", "Shows low level info about a key and its value.", 1, object),
    ("PROTOCOL", "<type>", "Replies with a test value of the specified type.", 1, protocol),
    ("QUICKLIST-PACKED-THRESHOLD", "<size>", "Accepted: lists have no such threshold.", 1, ok),
    ("RECOUNT", "", "Counts all keys and compares with the counters.", 0, recount),
    ("RELOAD", "", "Writes everything back and forgets what is in memory.", 0, reload),
    ("SET-ACTIVE-EXPIRE", "<0|1>", "Stops or starts the expiry of keys nobody reads.", 1, set_active_expire),
    ("SLEEP", "<seconds>", "Waits before it answers. Decimals allowed.", 1, sleep),
];

/// `DEBUG OBJECT key` names a key, the others none.
fn keys(argv: Argv<'_>, out: &mut Vec<usize>) {
    if argv.len() == 3 && argv.get(1).is_some_and(|word| word.eq_ignore_ascii_case(b"OBJECT")) {
        out.push(2);
    }
}

/// `DEBUG subcommand [argument ...]`
fn debug(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let handle = &ctx.session.handle;
    let is_allowed = match ctx.config().enable_debug_command.as_str() {
        "yes" => true,
        "local" => handle.is_loopback,
        _ => false,
    };
    if !is_allowed {
        return Err(errors::DEBUG_DISABLED);
    }
    let word = args.bytes()?;
    if word.eq_ignore_ascii_case(b"HELP") && args.is_empty() {
        help(reply);
        return Ok(());
    }
    let found = SUBCOMMANDS.iter().find(|(name, _, _, count, _)| {
        word.eq_ignore_ascii_case(name.as_bytes()) && args.remaining() == *count
    });
    match found {
        Some((.., handler)) => handler(ctx, args, reply),
        // RELOAD takes options that make no difference here.
        None if word.eq_ignore_ascii_case(b"RELOAD") => reload(ctx, args, reply),
        None => Err(errors::debug_unknown(word)),
    }
}

fn help(reply: &mut dyn ReplySink) {
    reply.array(3 + 2 * SUBCOMMANDS.len());
    reply.simple("DEBUG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:");
    for (name, arguments, summary, ..) in SUBCOMMANDS {
        reply.simple(format!("{name} {arguments}").trim_end());
        reply.simple(&format!("    {summary}"));
    }
    reply.simple("HELP");
    reply.simple("    Prints this help.");
}

fn ok(_: &mut Context<'_>, _: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    reply.ok();
    Ok(())
}

/// `DEBUG SLEEP seconds`: only this connection waits.
fn sleep(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let seconds = parse_float(args.bytes()?).unwrap_or(0.0);
    ctx.sleep(Duration::try_from_secs_f64(seconds).unwrap_or_default())?;
    reply.ok();
    Ok(())
}

/// `DEBUG SET-ACTIVE-EXPIRE 0|1`
fn set_active_expire(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let is_active = args.int()? != 0;
    ctx.engine().reaper().is_active.store(is_active, Relaxed);
    reply.ok();
    Ok(())
}

/// `DEBUG LOG message`
fn log(_: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    tracing::warn!("DEBUG LOG: {}", String::from_utf8_lossy(args.bytes()?));
    reply.ok();
    Ok(())
}

/// `DEBUG OBJECT key`
fn object(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let now = UsedAt::new(ctx.now_ms());
    let rules = ctx.engine().store().usage.lfu();
    let found = ctx.peek(args.key()?)?.ok_or(errors::NO_SUCH_KEY)?;
    let line = format!(
        "Value at:0x0 refcount:1 encoding:{} serializedlength:{} lru:{} lru_seconds_idle:{} lsn:{} freq:{}",
        found.encoding,
        found.heap_bytes,
        found.usage.at,
        found.usage.at.idle_seconds(now),
        found.lsn,
        found.usage.frequency(now, rules),
    );
    reply.simple(&line);
    Ok(())
}

/// `DEBUG RELOAD` and `DEBUG LOADAOF`: every value goes through its stored form.
fn reload(ctx: &mut Context<'_>, _: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    ctx.deny_in_multi()?;
    let engine = ctx.engine().clone();
    ctx.offload(move || engine.checkpoint().and_then(|_| evict_everything(&engine)))??;
    reply.ok();
    Ok(())
}

/// `DEBUG EVICT-ALL`
fn evict_all(ctx: &mut Context<'_>, _: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    ctx.deny_in_multi()?;
    let engine = ctx.engine().clone();
    ctx.offload(move || evict_everything(&engine))??;
    reply.ok();
    Ok(())
}

/// `DEBUG EVICT-ALWAYS yes|no`
fn evict_always(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let index = args.one_of(&["YES", "NO"]).ok_or(errors::YES_OR_NO)?;
    ctx.state.evict_always.store(index == 0, Relaxed);
    reply.ok();
    Ok(())
}

/// `DEBUG CRASH-AT point`
fn crash_at(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let asked = args.bytes()?;
    let is_asked = |(_, name): &&(CrashPoint, &str)| asked.eq_ignore_ascii_case(name.as_bytes());
    let Some((point, _)) = CrashPoint::ALL.iter().find(is_asked) else {
        let names: Vec<&str> = CrashPoint::ALL.iter().map(|(_, name)| *name).collect();
        return Err(errors::unknown_crash_point(&names));
    };
    ctx.engine().store().crash.arm(*point);
    reply.ok();
    Ok(())
}

/// `DEBUG RECOUNT`: per database its number; keys found and counted; deadlines found and counted.
fn recount(ctx: &mut Context<'_>, _: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    ctx.deny_in_multi()?;
    let engine = ctx.engine().clone();
    let counts = ctx.offload(move || count_all(&engine))??;
    reply.array(counts.len());
    for (index, numbers) in counts {
        reply.array(1 + numbers.len());
        reply.integer(i64::from(index));
        numbers.iter().for_each(|number| reply.integer(number.cast_signed()));
    }
    Ok(())
}

fn count_all(engine: &Engine) -> Result<Vec<(u8, [u64; 4])>, Error> {
    let store = engine.store();
    let mut counts = Vec::new();
    for index in 0..DATABASE_COUNT as u8 {
        let (keys_found, deadlines_found) = store.recount(store.db_id(DbIndex(index)))?;
        let (keys, deadlines) = engine.key_counts(DbIndex(index));
        let numbers = [keys_found, keys, deadlines_found, deadlines];
        if numbers.iter().any(|number| *number > 0) {
            counts.push((index, numbers));
        }
    }
    Ok(counts)
}

/// `DEBUG PROTOCOL type`
fn protocol(_: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    const TYPES: &[&str] = &[
        "STRING", "INTEGER", "DOUBLE", "BIGNUM", "NULL", "ARRAY", "SET", "MAP", "ATTRIB", "PUSH", "VERBATIM",
        "TRUE", "FALSE",
    ];
    let Some(index) = args.one_of(TYPES) else { return Err(errors::DEBUG_PROTOCOL) };
    match TYPES[index] {
        "STRING" => reply.bulk(b"Hello World"),
        "INTEGER" => reply.integer(12345),
        #[expect(clippy::approx_constant, reason = "what Redis answers")]
        "DOUBLE" => reply.double(3.141),
        "BIGNUM" => reply.big_number("1234567999999999999999999999999999999"),
        "NULL" => reply.null(),
        "ARRAY" => {
            reply.array(3);
            (0..3).for_each(|i| reply.integer(i));
        }
        "SET" => {
            reply.set(3);
            (0..3).for_each(|i| reply.integer(i));
        }
        "MAP" => {
            reply.map(3);
            for i in 0..3 {
                reply.integer(i);
                reply.boolean(i == 1);
            }
        }
        "ATTRIB" => {
            if reply.is_resp3() {
                reply.attribute(1);
                reply.bulk(b"key-popularity");
                reply.array(2);
                reply.bulk(b"key:123");
                reply.integer(90);
            }
            reply.bulk(b"Some real reply following the attribute");
        }
        "PUSH" => {
            if !reply.is_resp3() {
                return Err(errors::PUSH_NEEDS_RESP3);
            }
            reply.push(2);
            reply.bulk(b"server-cpu-usage");
            reply.integer(42);
            // A push answers nothing: whoever waits for the reply gets one as well.
            reply.bulk(b"Some real reply following the push reply");
        }
        "VERBATIM" => reply.verbatim("txt", b"This is a verbatim\nstring"),
        word => reply.boolean(word == "TRUE"),
    }
    Ok(())
}
