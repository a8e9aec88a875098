//! CONFIG: the parameter table, read and changed while the server runs.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;

use lux_engine::glob::{Case, is_match};

use crate::admin::help;
use crate::config::{Change, PARAMETERS, Parameter, find, rewrite};
use crate::dispatch::args::Args;
use crate::dispatch::context::Context;
use crate::dispatch::reply::{CommandError, CommandResult, ReplySink};
use crate::dispatch::reply_errors as errors;
use crate::dispatch::spec::{Arity, CommandSpec, Flags, Group};
use crate::state::Baseline;

const FLAGS: Flags = Flags::ADMIN.with(Flags::NOSCRIPT).with(Flags::LOADING).with(Flags::STALE);
const BASE: CommandSpec = CommandSpec {
    since: "2.0.0",
    group: Group::Server,
    complexity: "O(N) where N is the number of configuration parameters provided",
    flags: FLAGS,
    ..CommandSpec::BASE
};

pub const COMMANDS: &[CommandSpec] = &[CommandSpec {
    name: "CONFIG",
    summary: "A container for server configuration commands.",
    arity: Arity::AtLeast(2),
    flags: Flags::NONE,
    subcommands: SUBCOMMANDS,
    ..BASE
}];

const SUBCOMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "GET",
        summary: "Returns the effective values of configuration parameters.",
        arity: Arity::AtLeast(3),
        arguments: "parameter [parameter ...]",
        handler: config_get,
        ..BASE
    },
    help::spec(Group::Server),
    CommandSpec {
        name: "RESETSTAT",
        summary: "Resets the server's statistics.",
        complexity: "O(1)",
        arity: Arity::Exactly(2),
        handler: config_resetstat,
        ..BASE
    },
    CommandSpec {
        name: "REWRITE",
        since: "2.8.0",
        summary: "Persists the effective configuration to the configuration file.",
        complexity: "O(1)",
        arity: Arity::Exactly(2),
        handler: config_rewrite,
        ..BASE
    },
    CommandSpec {
        name: "SET",
        summary: "Sets configuration parameters in-flight.",
        arity: Arity::AtLeast(4),
        flags: FLAGS.with(Flags::SKIP_SLOWLOG),
        arguments: "parameter value [parameter value ...]",
        handler: config_set,
        ..BASE
    },
];

/// `CONFIG GET parameter [parameter ...]`
///
/// A name without wildcards comes back spelled as it was asked for, as in Redis.
fn config_get(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let mut found: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for pattern in args {
        let has_wildcards = pattern.iter().any(|byte| b"*?[".contains(byte));
        let asked = String::from_utf8_lossy(pattern);
        if !has_wildcards {
            if let Some(parameter) = find(&asked) {
                found.insert(asked.into_owned(), parameter.print(ctx.config()));
            }
            continue;
        }
        for parameter in PARAMETERS {
            for name in [parameter.name, parameter.alias] {
                if !name.is_empty() && is_match(pattern, name.as_bytes(), Case::Insensitive) {
                    found.insert(name.into(), parameter.print(ctx.config()));
                }
            }
        }
    }
    reply.map(found.len());
    for (name, value) in &found {
        reply.bulk(name.as_bytes());
        reply.bulk(value);
    }
    Ok(())
}

/// `CONFIG SET parameter value [parameter value ...]`: all of them or none.
fn config_set(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let pairs = parse_pairs(args)?;
    ctx.state.config.update(|config| {
        for (parameter, value) in &pairs {
            parameter.assign(config, value).map_err(|reason| errors::config_set(parameter.name, &reason))?;
        }
        if config.maxmemory == 0 {
            config.maxmemory = ctx.state.config.defaults().maxmemory;
        }
        config.check().map_err(|(name, reason)| errors::config_set(name, &reason))?;
        if !pairs.iter().any(|(parameter, _)| parameter.name == "maxclients") {
            return Ok(());
        }
        let room = ctx.state.descriptors.make_room(config.maxclients);
        room.map_err(|clients| errors::config_set("maxclients", &errors::too_many_clients(clients)))
    })?;
    ctx.state.apply_config();
    reply.ok();
    Ok(())
}

/// The parameters and their new values; an unknown, fixed or repeated one refuses the call.
fn parse_pairs<'a>(args: Args<'a>) -> Result<Vec<(&'static Parameter, &'a [u8])>, CommandError> {
    if !args.remaining().is_multiple_of(2) {
        return Err(errors::wrong_arity("config|set"));
    }
    let words: Vec<&'a [u8]> = args.collect();
    let mut pairs: Vec<(&'static Parameter, &'a [u8])> = Vec::new();
    let mut refusal = None;
    for pair in words.chunks_exact(2) {
        let parameter =
            find(&String::from_utf8_lossy(pair[0])).ok_or_else(|| errors::config_unknown(pair[0]))?;
        let refuse = |reason| Some(errors::config_set(parameter.name, reason));
        if refusal.is_none() && parameter.change == Change::AtStart {
            refusal = refuse("can't set immutable config");
        }
        if refusal.is_none() && pairs.iter().any(|(other, _)| other.name == parameter.name) {
            refusal = refuse("duplicate parameter");
        }
        pairs.push((parameter, pair[1]));
    }
    // An unknown name is reported before any other fault.
    refusal.map_or(Ok(pairs), Err)
}

/// `CONFIG RESETSTAT`
fn config_resetstat(ctx: &mut Context<'_>, _: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let state = ctx.state;
    state.workers.iter().for_each(|worker| worker.reset());
    state.rejected_connections.store(0, Relaxed);
    let store = ctx.engine().store();
    let (hits, misses) = store.hits_and_misses();
    let (expired, dropped) = (store.stats.expired.load(Relaxed), store.stats.dropped.load(Relaxed));
    *state.baseline.lock() = Baseline { hits, misses, expired, dropped };
    reply.ok();
    Ok(())
}

/// `CONFIG REWRITE`
fn config_rewrite(ctx: &mut Context<'_>, _: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let store = &ctx.state.config;
    let Some(path) = store.file() else { return Err(errors::CONFIG_NO_FILE) };
    if let Err(error) = rewrite::rewrite(path, ctx.config(), store.defaults()) {
        tracing::warn!(%error, "CONFIG REWRITE failed");
        return Err(errors::config_rewrite(&error));
    }
    reply.ok();
    Ok(())
}
