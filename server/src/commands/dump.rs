//! DUMP and RESTORE: values as payloads that Redis and Valkey read as well.
//!
//! The payload's format and the way from it to a value are the engine's; here are the options, and which
//! encodings a restored collection gets.

use lux_engine::dump::{self, Dumped, DumpedCollection, Limits, RdbString};
use lux_engine::ids::ExpireAt;
use lux_engine::txn::ValueRef;
use lux_engine::value::string::number::parse_int;
use lux_engine::wal::effect::{Operation, StringBody};

use super::{hash, list, set, zset};
use crate::dispatch::args::Args;
use crate::dispatch::context::Context;
use crate::dispatch::reply::{CommandError, CommandResult, ReplySink};
use crate::dispatch::reply_errors as errors;
use crate::dispatch::spec::{Arity, CommandSpec, Flags, Keys};

pub(crate) const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "DUMP",
        since: "2.6.0",
        summary: "Returns the value of a key in a form that RESTORE reads.",
        complexity: "O(N) where N is the size of the value.",
        arity: Arity::Exactly(2),
        keys: Keys::First,
        key_access: &["RO", "access"],
        flags: Flags::READONLY,
        acl: &["keyspace"],
        arguments: "key",
        handler: dump_command,
        ..CommandSpec::BASE
    },
    CommandSpec { name: "RESTORE", since: "2.6.0", ..RESTORE },
    CommandSpec { name: "RESTORE-ASKING", since: "3.0.0", ..RESTORE },
];

const RESTORE: CommandSpec = CommandSpec {
    summary: "Creates a key from what DUMP returned.",
    complexity: "O(N) where N is the size of the value; for sorted sets O(N*log(N)).",
    arity: Arity::AtLeast(4),
    keys: Keys::First,
    key_access: &["OW", "update"],
    flags: Flags::WRITE.with(Flags::DENY_OOM),
    acl: &["keyspace", "dangerous"],
    arguments: "key ttl serialized-value [REPLACE] [ABSTTL] [IDLETIME seconds] [FREQ frequency]",
    handler: restore,
    ..CommandSpec::BASE
};

/// `DUMP key`
fn dump_command(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let payload = ctx.lookup(args.key()?)?.map(|found| match found.value {
        ValueRef::Int(value) => dump::dump_int(value),
        ValueRef::Bytes(bytes) => dump::dump_string(bytes),
        ValueRef::Collection(collection) => dump::dump_collection(collection),
    });
    reply.bulk_or_null(payload.as_deref());
    Ok(())
}

#[derive(Default)]
struct RestoreOptions {
    replaces: bool,
    is_absolute: bool,
    idle_seconds: Option<u64>,
    uses: Option<u8>,
}

impl RestoreOptions {
    fn parse(mut args: Args<'_>) -> Result<Self, CommandError> {
        let mut options = RestoreOptions::default();
        while !args.is_empty() {
            match args.one_of(&["REPLACE", "ABSTTL", "IDLETIME", "FREQ"]) {
                Some(0) => options.replaces = true,
                Some(1) => options.is_absolute = true,
                Some(2) if !args.is_empty() && options.uses.is_none() => {
                    let seconds = u64::try_from(args.int()?).map_err(|_| errors::INVALID_IDLETIME)?;
                    options.idle_seconds = Some(seconds);
                }
                Some(3) if !args.is_empty() && options.idle_seconds.is_none() => {
                    options.uses = Some(u8::try_from(args.int()?).map_err(|_| errors::INVALID_FREQ)?);
                }
                _ => return Err(errors::SYNTAX),
            }
        }
        Ok(options)
    }
}

fn refused(error: dump::DumpError) -> CommandError {
    CommandError::composed(format!("ERR {error}"))
}

/// `RESTORE key ttl serialized-value [options]`
fn restore(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let (key, lifetime, payload) = (args.key()?, args.bytes()?, args.bytes()?);
    let options = RestoreOptions::parse(args)?;
    if !options.replaces && ctx.exists(key)? {
        return Err(errors::BUSYKEY);
    }
    let lifetime = parse_int(lifetime).ok_or(errors::NOT_AN_INTEGER)?;
    let lifetime = u64::try_from(lifetime).map_err(|_| errors::INVALID_TTL)?;
    let dumped = dump::open(payload).map_err(refused)?;
    let deadline = match (lifetime, options.is_absolute) {
        (0, _) => None,
        (at, true) => Some(ExpireAt(at)),
        (after, false) => Some(ExpireAt(ctx.now_ms().saturating_add(after))),
    };
    let is_over = deadline.is_some_and(|at| at.is_past(ctx.now_ms()));
    if !is_over && put(ctx, key, &dumped, deadline)? {
        ctx.set_usage(ctx.db(), key, options.idle_seconds, options.uses);
    } else {
        ctx.set_operation(Operation::Del);
        ctx.delete(key)?;
    }
    reply.ok();
    Ok(())
}

/// Stores a value; false, and nothing is stored, if nothing of it is left.
fn put(
    ctx: &mut Context<'_>,
    key: &[u8],
    dumped: &Dumped<'_>,
    deadline: Option<ExpireAt>,
) -> Result<bool, CommandError> {
    match dumped {
        Dumped::String(string) => {
            let body = match string {
                RdbString::Int(value) => StringBody::Int(*value),
                RdbString::Bytes(bytes) => StringBody::Bytes(bytes),
            };
            ctx.put_string(key, body, deadline, false)?;
            Ok(true)
        }
        Dumped::Collection(collection) => put_collection(ctx, key, collection, deadline),
    }
}

fn put_collection(
    ctx: &mut Context<'_>,
    key: &[u8],
    dumped: &DumpedCollection<'_>,
    deadline: Option<ExpireAt>,
) -> Result<bool, CommandError> {
    let limits = Limits {
        hash: hash::limits(ctx),
        list: list::limits(ctx),
        set: set::limits(ctx),
        zset: zset::limits(ctx),
    };
    let loaded = dump::load_collection(dumped, &limits, ctx.now_ms()).map_err(refused)?;
    if loaded.is_vacant() {
        return Ok(false);
    }
    let mut encoded = Vec::with_capacity(loaded.encoded_len());
    loaded.encode(&mut encoded);
    ctx.put_collection(key, loaded.type_tag(), &encoded, deadline)?;
    Ok(true)
}
