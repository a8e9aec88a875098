//! Commands for operators: INFO, saving, shutdown, SLOWLOG, LATENCY, and what clients ask about.

use std::sync::atomic::Ordering::Relaxed;

use crate::admin::{command_docs, help, info};
use crate::clock;
use crate::dispatch::args::{Args, parse_int};
use crate::dispatch::context::Context;
use crate::dispatch::reply::{CommandError, CommandResult, ReplySink};
use crate::dispatch::reply_errors as errors;
use crate::dispatch::spec::{Arity, CommandSpec, Flags, Group};
use crate::stats::{CommandTotals, Histogram};

const ANYTIME: Flags = Flags::LOADING.with(Flags::STALE);
const ADMIN: Flags = ANYTIME.with(Flags::ADMIN);
const BASE: CommandSpec = CommandSpec { group: Group::Server, ..CommandSpec::BASE };

pub const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "ACL",
        since: "6.0.0",
        summary: "A container for Access List Control commands.",
        arity: Arity::AtLeast(2),
        subcommands: ACL_SUBCOMMANDS,
        ..BASE
    },
    CommandSpec {
        name: "BGREWRITEAOF",
        summary: "Cuts the log in the background, by a checkpoint.",
        arity: Arity::Exactly(1),
        flags: Flags::ADMIN.with(Flags::NOSCRIPT),
        handler: bgrewriteaof,
        ..BASE
    },
    CommandSpec {
        name: "BGSAVE",
        summary: "Starts a checkpoint in the background.",
        arity: Arity::AtLeast(1),
        flags: Flags::ADMIN.with(Flags::NOSCRIPT),
        arguments: "[SCHEDULE]",
        handler: bgsave,
        ..BASE
    },
    CommandSpec {
        name: "INFO",
        summary: "Returns information and statistics about the server.",
        arity: Arity::AtLeast(1),
        flags: ANYTIME,
        acl: &["dangerous"],
        arguments: "[section [section ...]]",
        handler: info,
        ..BASE
    },
    CommandSpec {
        name: "LASTSAVE",
        summary: "Returns the Unix timestamp of the last checkpoint.",
        arity: Arity::Exactly(1),
        flags: ANYTIME.with(Flags::FAST),
        acl: &["admin", "dangerous"],
        handler: lastsave,
        ..BASE
    },
    CommandSpec {
        name: "LATENCY",
        since: "2.8.13",
        summary: "A container for latency diagnostics commands.",
        arity: Arity::AtLeast(2),
        subcommands: LATENCY_SUBCOMMANDS,
        ..BASE
    },
    CommandSpec {
        name: "LOLWUT",
        since: "5.0.0",
        summary: "Displays computer art and the server version.",
        arity: Arity::AtLeast(1),
        flags: Flags::READONLY.with(Flags::FAST),
        arguments: "[VERSION version]",
        handler: lolwut,
        ..BASE
    },
    CommandSpec {
        name: "MODULE",
        since: "4.0.0",
        summary: "A container for module commands.",
        arity: Arity::AtLeast(2),
        subcommands: MODULE_SUBCOMMANDS,
        ..BASE
    },
    CommandSpec {
        name: "ROLE",
        since: "2.8.12",
        summary: "Returns the replication role.",
        arity: Arity::Exactly(1),
        flags: ANYTIME.with(Flags::NOSCRIPT).with(Flags::FAST),
        acl: &["admin", "dangerous"],
        handler: role,
        ..BASE
    },
    CommandSpec {
        name: "SAVE",
        summary: "Runs a checkpoint and waits for it.",
        complexity: "O(N) where N is the number of keys changed since the last checkpoint",
        arity: Arity::Exactly(1),
        flags: Flags::ADMIN.with(Flags::NOSCRIPT).with(Flags::NO_MULTI),
        handler: save,
        ..BASE
    },
    CommandSpec {
        name: "SHUTDOWN",
        summary: "Makes everything durable and stops the server.",
        arity: Arity::AtLeast(1),
        flags: ADMIN.with(Flags::NOSCRIPT).with(Flags::NO_MULTI).with(Flags::ALLOW_BUSY),
        arguments: "[NOSAVE | SAVE] [NOW] [FORCE] [ABORT]",
        handler: shutdown,
        ..BASE
    },
    CommandSpec {
        name: "SLOWLOG",
        since: "2.2.12",
        summary: "A container for slow log commands.",
        arity: Arity::AtLeast(2),
        subcommands: SLOWLOG_SUBCOMMANDS,
        ..BASE
    },
    CommandSpec {
        name: "TIME",
        since: "2.6.0",
        summary: "Returns the server time.",
        arity: Arity::Exactly(1),
        flags: ANYTIME.with(Flags::FAST),
        handler: time,
        ..BASE
    },
];

const ACL_SUBCOMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "CAT",
        since: "6.0.0",
        summary: "Lists the ACL categories, or the commands inside a category.",
        arity: Arity::AtLeast(2),
        flags: ANYTIME.with(Flags::NOSCRIPT),
        arguments: "[category]",
        handler: acl_cat,
        ..BASE
    },
    help::spec(Group::Server),
    CommandSpec {
        name: "WHOAMI",
        since: "6.0.0",
        summary: "Returns the authenticated username of the current connection.",
        arity: Arity::Exactly(2),
        flags: ANYTIME.with(Flags::NOSCRIPT),
        handler: acl_whoami,
        ..BASE
    },
];

const MODULE_SUBCOMMANDS: &[CommandSpec] = &[
    help::spec(Group::Server),
    CommandSpec {
        name: "LIST",
        since: "4.0.0",
        summary: "Returns all loaded modules: there are none.",
        arity: Arity::Exactly(2),
        flags: Flags::ADMIN.with(Flags::NOSCRIPT),
        handler: module_list,
        ..BASE
    },
];

const SLOWLOG_SUBCOMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "GET",
        since: "2.2.12",
        summary: "Returns the slow log's entries.",
        complexity: "O(N) where N is the number of entries returned",
        arity: Arity::AtLeast(2),
        flags: ADMIN,
        arguments: "[count]",
        handler: slowlog_get,
        ..BASE
    },
    help::spec(Group::Server),
    CommandSpec {
        name: "LEN",
        since: "2.2.12",
        summary: "Returns the number of entries in the slow log.",
        arity: Arity::Exactly(2),
        flags: ADMIN,
        handler: slowlog_len,
        ..BASE
    },
    CommandSpec {
        name: "RESET",
        since: "2.2.12",
        summary: "Clears all entries from the slow log.",
        complexity: "O(N) where N is the number of entries in the slow log",
        arity: Arity::Exactly(2),
        flags: ADMIN,
        handler: slowlog_reset,
        ..BASE
    },
];

const LATENCY_SUBCOMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "DOCTOR",
        since: "2.8.13",
        summary: "Returns a human-readable latency analysis report.",
        arity: Arity::Exactly(2),
        flags: ADMIN.with(Flags::NOSCRIPT),
        handler: latency_doctor,
        ..BASE
    },
    CommandSpec {
        name: "GRAPH",
        since: "2.8.13",
        summary: "Returns a latency graph for an event.",
        arity: Arity::Exactly(3),
        flags: ADMIN.with(Flags::NOSCRIPT),
        arguments: "event",
        handler: latency_graph,
        ..BASE
    },
    help::spec(Group::Server),
    CommandSpec {
        name: "HISTOGRAM",
        since: "7.0.0",
        summary: "Returns the cumulative distribution of latencies of a subset or all commands.",
        complexity: "O(N) where N is the number of commands with latency information being retrieved",
        arity: Arity::AtLeast(2),
        flags: ADMIN.with(Flags::NOSCRIPT),
        arguments: "[command [command ...]]",
        handler: latency_histogram,
        ..BASE
    },
    CommandSpec {
        name: "HISTORY",
        since: "2.8.13",
        summary: "Returns timestamp-latency samples for an event.",
        arity: Arity::Exactly(3),
        flags: ADMIN.with(Flags::NOSCRIPT),
        arguments: "event",
        handler: latency_history,
        ..BASE
    },
    CommandSpec {
        name: "LATEST",
        since: "2.8.13",
        summary: "Returns the latest latency samples for all events.",
        arity: Arity::Exactly(2),
        flags: ADMIN.with(Flags::NOSCRIPT),
        handler: latency_latest,
        ..BASE
    },
    CommandSpec {
        name: "RESET",
        since: "2.8.13",
        summary: "Resets the latency data for one or more events.",
        arity: Arity::AtLeast(2),
        flags: ADMIN.with(Flags::NOSCRIPT),
        arguments: "[event [event ...]]",
        handler: latency_reset,
        ..BASE
    },
];

/// `INFO [section [section ...]]`
fn info(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let asked: Vec<&[u8]> = args.collect();
    reply.verbatim("txt", info::text(ctx.state, ctx.commands(), &asked).as_bytes());
    Ok(())
}

/// `TIME`
fn time(_: &mut Context<'_>, _: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let now_us = clock::unix_us();
    reply.array(2);
    reply.bulk((now_us / 1_000_000).to_string().as_bytes());
    reply.bulk((now_us % 1_000_000).to_string().as_bytes());
    Ok(())
}

/// `LASTSAVE`
fn lastsave(ctx: &mut Context<'_>, _: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let last_ms = ctx.engine().keeper().last_round_ms.load(Relaxed);
    reply.integer((last_ms / 1000).cast_signed());
    Ok(())
}

/// `SAVE`
fn save(ctx: &mut Context<'_>, _: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let engine = ctx.engine().clone();
    ctx.offload(move || engine.checkpoint())??;
    reply.ok();
    Ok(())
}

/// `BGSAVE [SCHEDULE]`
fn bgsave(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let _ = args.keyword("SCHEDULE");
    args.finish()?;
    drop(ctx.engine().request_checkpoint());
    reply.simple("Background saving started");
    Ok(())
}

/// `BGREWRITEAOF`
fn bgrewriteaof(ctx: &mut Context<'_>, _: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    drop(ctx.engine().request_checkpoint());
    reply.simple("Background append only file rewriting started");
    Ok(())
}

/// `SHUTDOWN [NOSAVE | SAVE] [NOW] [FORCE] [ABORT]`
///
/// Nothing is ever lost, so the words only have to make sense together. NOW waits for nobody.
fn shutdown(ctx: &mut Context<'_>, mut args: Args<'_>, _: &mut dyn ReplySink) -> CommandResult {
    let mut seen = [false; 5];
    while !args.is_empty() {
        match args.one_of(&["NOSAVE", "SAVE", "NOW", "FORCE", "ABORT"]) {
            Some(index) => seen[index] = true,
            None => return Err(errors::SYNTAX),
        }
    }
    let [nosave, save, now, force, abort] = seen;
    if (nosave && save) || (abort && (nosave || save || now || force)) {
        return Err(errors::SYNTAX);
    }
    if abort {
        // A shutdown here does not wait for replicas, so there is never one left to abort.
        return Err(errors::NO_SHUTDOWN);
    }
    tracing::info!("User requested shutdown...");
    if now {
        ctx.state.shutdown.request_now();
    } else {
        ctx.state.shutdown.request();
    }
    Err(CommandError::Hangup)
}

/// `ROLE`
fn role(_: &mut Context<'_>, _: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    reply.array(3);
    reply.bulk(b"master");
    reply.integer(0);
    reply.array(0);
    Ok(())
}

/// `MODULE LIST`
fn module_list(_: &mut Context<'_>, _: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    reply.array(0);
    Ok(())
}

/// `ACL WHOAMI`
fn acl_whoami(_: &mut Context<'_>, _: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    reply.bulk(b"default");
    Ok(())
}

/// `ACL CAT [category]`
fn acl_cat(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let Some(asked) = args.next() else {
        reply.array(command_docs::CATEGORIES.len());
        command_docs::CATEGORIES.iter().for_each(|category| reply.bulk(category.as_bytes()));
        return Ok(());
    };
    if !args.is_empty() {
        return Err(errors::wrong_arity("acl|cat"));
    }
    let is_asked = |category: &&&str| category.as_bytes().eq_ignore_ascii_case(asked);
    let Some(category) = command_docs::CATEGORIES.iter().find(is_asked) else {
        return Err(errors::unknown_category(asked));
    };
    let commands: Vec<_> = ctx
        .commands()
        .all()
        .iter()
        .filter(|command| command_docs::is_in_category(command.spec, category))
        .collect();
    reply.array(commands.len());
    commands.iter().for_each(|command| reply.bulk(command.full_name.as_bytes()));
    Ok(())
}

/// `SLOWLOG GET [count]`
fn slowlog_get(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let count = match args.next() {
        None => 10,
        Some(text) => parse_int(text).filter(|count| *count >= -1).ok_or(errors::SLOWLOG_COUNT)?,
    };
    if !args.is_empty() {
        return Err(errors::wrong_arity("slowlog|get"));
    }
    let log = ctx.state.slowlog.lock();
    let count = usize::try_from(count).unwrap_or(usize::MAX).min(log.entries().len());
    reply.array(count);
    for entry in log.entries().take(count) {
        reply.array(6);
        reply.integer(entry.id.cast_signed());
        reply.integer(entry.unix_seconds.cast_signed());
        reply.integer(entry.micros.cast_signed());
        reply.array(entry.args.len());
        entry.args.iter().for_each(|arg| reply.bulk(arg));
        reply.bulk(entry.peer.as_bytes());
        reply.bulk(&entry.client_name);
    }
    Ok(())
}

/// `SLOWLOG LEN`
fn slowlog_len(ctx: &mut Context<'_>, _: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    reply.integer(ctx.state.slowlog.lock().entries().len() as i64);
    Ok(())
}

/// `SLOWLOG RESET`
fn slowlog_reset(ctx: &mut Context<'_>, _: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    ctx.state.slowlog.lock().clear();
    reply.ok();
    Ok(())
}

/// `LATENCY LATEST`
fn latency_latest(ctx: &mut Context<'_>, _: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let monitor = ctx.state.latency.lock();
    reply.array(monitor.events().count());
    for (name, event) in monitor.events() {
        let (unix_seconds, millis) = event.samples().last().unwrap_or_default();
        reply.array(4);
        reply.bulk(name.as_bytes());
        reply.integer(unix_seconds.cast_signed());
        reply.integer(millis.cast_signed());
        reply.integer(event.worst_ms().cast_signed());
    }
    Ok(())
}

/// `LATENCY DOCTOR`
fn latency_doctor(ctx: &mut Context<'_>, _: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let threshold_ms = ctx.config().latency_monitor_threshold.unsigned_abs();
    let report = ctx.state.latency.lock().report(threshold_ms);
    reply.verbatim("txt", report.as_bytes());
    Ok(())
}

/// `LATENCY GRAPH event`
fn latency_graph(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let asked = args.bytes()?;
    let monitor = ctx.state.latency.lock();
    let Some((name, event)) = monitor.events().find(|(name, _)| name.as_bytes() == asked) else {
        return Err(errors::no_latency_samples(asked));
    };
    reply.verbatim("txt", event.graph(name, clock::unix_ms() / 1000).as_bytes());
    Ok(())
}

/// `LATENCY HISTORY event`
fn latency_history(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let name = args.bytes()?;
    let monitor = ctx.state.latency.lock();
    let event = monitor.events().find(|(event, _)| event.as_bytes() == name).map(|(_, event)| event);
    reply.array(event.map_or(0, |event| event.samples().len()));
    for (unix_seconds, millis) in event.into_iter().flat_map(|event| event.samples()) {
        reply.array(2);
        reply.integer(unix_seconds.cast_signed());
        reply.integer(millis.cast_signed());
    }
    Ok(())
}

/// `LATENCY RESET [event [event ...]]`
fn latency_reset(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let names: Vec<&[u8]> = args.collect();
    let picks = |event: &str| names.is_empty() || names.contains(&event.as_bytes());
    let removed = ctx.state.latency.lock().remove(picks);
    reply.integer(removed as i64);
    Ok(())
}

/// `LATENCY HISTOGRAM [command [command ...]]`
fn latency_histogram(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let names: Vec<&[u8]> = args.collect();
    let is_asked = |full_name: &str| {
        let container = full_name.split('|').next().unwrap_or(full_name);
        let spelled = |name: &&[u8]| {
            [full_name, container].into_iter().any(|n| name.eq_ignore_ascii_case(n.as_bytes()))
        };
        names.is_empty() || names.iter().any(spelled)
    };
    let asked = ctx.commands().all().iter().filter(|command| is_asked(&command.full_name));
    let measured: Vec<(&str, CommandTotals)> = asked
        .map(|command| {
            let mut totals = CommandTotals::default();
            ctx.state.workers.iter().for_each(|worker| worker.commands.collect(command.id, &mut totals));
            (command.full_name.as_str(), totals)
        })
        .filter(|(_, totals)| totals.latency.iter().any(|count| *count > 0))
        .collect();
    reply.map(measured.len());
    for (name, totals) in &measured {
        write_histogram(name, totals, reply);
    }
    Ok(())
}

/// Cumulative counts up to each power of two of microseconds.
fn write_histogram(name: &str, totals: &CommandTotals, reply: &mut dyn ReplySink) {
    let all: u64 = totals.latency.iter().sum();
    let below = |micros: u64| -> u64 {
        let is_below = |bucket: usize| Histogram::upper_bound_ns(bucket) <= micros * 1000;
        totals
            .latency
            .iter()
            .enumerate()
            .filter(|(bucket, _)| is_below(*bucket))
            .map(|(_, count)| count)
            .sum()
    };
    let mut lines: Vec<(u64, u64)> = Vec::new();
    for micros in (0..34).map(|power| 1u64 << power) {
        let count = below(micros);
        if count > lines.last().map_or(0, |line| line.1) {
            lines.push((micros, count));
        }
        if count == all {
            break;
        }
    }
    reply.bulk(name.as_bytes());
    reply.map(2);
    reply.bulk(b"calls");
    reply.integer(all.cast_signed());
    reply.bulk(b"histogram_usec");
    reply.map(lines.len());
    for (micros, count) in lines {
        reply.integer(micros.cast_signed());
        reply.integer(count.cast_signed());
    }
}

/// `LOLWUT [VERSION version [argument ...]]`
fn lolwut(_: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    if args.keyword("VERSION") {
        args.int()?;
    }
    let mut picture = sunrise();
    picture += &format!("\nLight over still water. Lux ver. {}\n", crate::VERSION);
    reply.verbatim("txt", picture.as_bytes());
    Ok(())
}

/// A sun that rises over the sea and its reflection, 40 by 14 characters.
fn sunrise() -> String {
    const WIDTH: i32 = 40;
    const HORIZON: i32 = 8;
    const HEIGHT: i32 = 14;
    let mut picture = String::new();
    for y in 0..HEIGHT {
        for x in 0..WIDTH {
            let (dx, dy) = ((x - WIDTH / 2) / 2, y - HORIZON);
            let distance = dx * dx + dy * dy;
            picture.push(match y < HORIZON {
                true if distance <= 9 => '#',
                true if distance <= 49 && (dx == 0 || dy.abs() == dx.abs()) => '.',
                true => ' ',
                false if dx.abs() <= 4 - (dy / 2) && (x + y) % 3 != 0 => '=',
                false if (x * 7 + y * 5) % 11 < 4 => '~',
                false => ' ',
            });
        }
        picture.push('\n');
    }
    picture
}
