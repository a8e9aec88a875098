//! MEMORY: what the process and single keys use.

use crate::admin::memory::{self, MemoryNumbers};
use crate::admin::{help, info};
use crate::allocator;
use crate::dispatch::args::Args;
use crate::dispatch::context::Context;
use crate::dispatch::reply::{CommandResult, ReplySink};
use crate::dispatch::reply_errors as errors;
use crate::dispatch::spec::{Arity, CommandSpec, Flags, Group, Keys};

const BASE: CommandSpec = CommandSpec { since: "4.0.0", group: Group::Server, ..CommandSpec::BASE };

pub const COMMANDS: &[CommandSpec] = &[CommandSpec {
    name: "MEMORY",
    summary: "A container for memory diagnostics commands.",
    arity: Arity::AtLeast(2),
    subcommands: SUBCOMMANDS,
    ..BASE
}];

const SUBCOMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "DOCTOR",
        summary: "Outputs a memory problems report.",
        arity: Arity::Exactly(2),
        handler: memory_doctor,
        ..BASE
    },
    help::spec(Group::Server),
    CommandSpec {
        name: "MALLOC-STATS",
        summary: "Returns the allocator statistics.",
        arity: Arity::Exactly(2),
        handler: memory_malloc_stats,
        ..BASE
    },
    CommandSpec {
        name: "PURGE",
        summary: "Asks the allocator to release memory.",
        arity: Arity::Exactly(2),
        handler: memory_purge,
        ..BASE
    },
    CommandSpec {
        name: "STATS",
        summary: "Returns details about memory usage.",
        arity: Arity::Exactly(2),
        handler: memory_stats,
        ..BASE
    },
    CommandSpec {
        name: "USAGE",
        summary: "Estimates the memory usage of a key.",
        complexity: "O(1)",
        arity: Arity::AtLeast(3),
        keys: Keys::Range { first: 2, last: 2, step: 1 },
        key_access: &["RO"],
        flags: Flags::READONLY,
        arguments: "key [SAMPLES count]",
        handler: memory_usage,
        ..BASE
    },
];

/// A key's share of its table page, bytes.
const SLOT_BYTES: usize = 16;

/// `MEMORY USAGE key [SAMPLES count]`
fn memory_usage(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let key = args.key()?;
    while !args.is_empty() {
        if !args.keyword("SAMPLES") || args.is_empty() {
            return Err(errors::SYNTAX);
        }
        if args.int()? < 0 {
            return Err(errors::SYNTAX);
        }
    }
    match ctx.peek(key)? {
        Some(found) => reply.integer((found.heap_bytes + SLOT_BYTES) as i64),
        None => reply.null(),
    }
    Ok(())
}

/// `MEMORY PURGE`
fn memory_purge(_: &mut Context<'_>, _: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    allocator::purge();
    reply.ok();
    Ok(())
}

/// `MEMORY MALLOC-STATS`
fn memory_malloc_stats(_: &mut Context<'_>, _: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    reply.verbatim("txt", allocator::report().as_bytes());
    Ok(())
}

/// `MEMORY DOCTOR`
fn memory_doctor(ctx: &mut Context<'_>, _: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let numbers = MemoryNumbers::measure(ctx.state);
    let maxmemory = ctx.config().maxmemory.unsigned_abs();
    let mut report = String::new();
    if numbers.anonymous > maxmemory {
        report += &format!(
            " * The process uses {} of anonymous memory, above maxmemory ({}). Write-back is behind, or \
             clients hold large buffers (see CLIENT LIST).\n",
            info::human(numbers.anonymous),
            info::human(maxmemory)
        );
    }
    if numbers.clients > maxmemory / 8 {
        report += &format!(
            " * Buffers of clients take {}. Set client-output-buffer-limit, or read replies faster.\n",
            info::human(numbers.clients)
        );
    }
    if numbers.allocated > 64 << 20 && memory::ratio(numbers.resident, numbers.allocated) > 1.4 {
        report += " * The allocator holds 40 % more than is in use. MEMORY PURGE gives it back.\n";
    }
    let text = match report.is_empty() {
        true => "I can't find any memory issue in this instance.\n".to_owned(),
        false => format!("I found memory issues in this instance:\n{report}"),
    };
    reply.verbatim("txt", text.as_bytes());
    Ok(())
}

/// One line of MEMORY STATS.
enum Figure {
    Count(u64),
    Ratio(f64),
}

/// `MEMORY STATS`
fn memory_stats(ctx: &mut Context<'_>, _: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    use Figure::{Count, Ratio};
    let n = MemoryNumbers::measure(ctx.state);
    let keys = info::all_keys(ctx.state);
    let hot_keys = ctx.engine().store().hot_keys();
    let figures = [
        ("peak.allocated", Count(n.peak)),
        ("total.allocated", Count(n.used)),
        ("startup.allocated", Count(n.startup)),
        ("replication.backlog", Count(0)),
        ("clients.slaves", Count(0)),
        ("clients.normal", Count(n.clients)),
        ("cluster.links", Count(0)),
        ("aof.buffer", Count(0)),
        ("lua.caches", Count(0)),
        ("functions.caches", Count(0)),
        ("overhead.total", Count(n.overhead())),
        ("keys.count", Count(keys)),
        ("keys.hot", Count(hot_keys)),
        ("keys.bytes-per-key", Count(n.hot.checked_div(hot_keys).unwrap_or(0))),
        ("dataset.bytes", Count(n.hot)),
        ("dataset.percentage", Ratio(memory::percent(n.hot, n.used))),
        ("peak.percentage", Ratio(memory::percent(n.used, n.peak))),
        ("allocator.allocated", Count(n.allocated)),
        ("allocator.active", Count(n.active)),
        ("allocator.resident", Count(n.resident)),
        ("allocator-fragmentation.ratio", Ratio(memory::ratio(n.active, n.allocated))),
        ("allocator-fragmentation.bytes", Count(n.active.saturating_sub(n.allocated))),
        ("allocator-rss.ratio", Ratio(memory::ratio(n.resident, n.active))),
        ("allocator-rss.bytes", Count(n.resident.saturating_sub(n.active))),
        ("rss-overhead.ratio", Ratio(memory::ratio(n.rss, n.resident))),
        ("rss-overhead.bytes", Count(n.rss.saturating_sub(n.resident))),
        ("fragmentation", Ratio(memory::ratio(n.rss, n.used))),
        ("fragmentation.bytes", Count(n.rss.saturating_sub(n.used))),
    ];
    reply.map(figures.len());
    for (name, figure) in figures {
        reply.bulk(name.as_bytes());
        match figure {
            Count(count) => reply.integer(count.cast_signed()),
            Ratio(ratio) => reply.double(ratio),
        }
    }
    Ok(())
}
