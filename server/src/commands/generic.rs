//! Commands on keys whatever their type: existence, names, lifetimes, iteration, and whole
//! databases.
//!
//! COPY and MOVE plan the value itself: their effect does not depend on what the source holds when the log is
//! replayed. RENAME does so with a small value; a large one moves, whole and unread.

use lux_engine::DATABASE_COUNT;
use lux_engine::glob::{self, Case};
use lux_engine::ids::{DbIndex, ExpireAt};
use lux_engine::keyspace::scan::ScanStep;
use lux_engine::keyspace::usage::UsedAt;
use lux_engine::txn::{Found, ValueRef};
use lux_engine::value::TypeTag;
use lux_engine::value::string::number::IntText;
use lux_engine::wal::effect::StringBody;

use crate::dispatch::args::{Args, Argv};
use crate::dispatch::context::Context;
use crate::dispatch::reply::{CommandError, CommandResult, ReplySink};
use crate::dispatch::reply_errors as errors;
use crate::dispatch::spec::{Arity, CommandSpec, Flags, Group, Keys};

const READ: Flags = Flags::READONLY;
const READ_FAST: Flags = READ.with(Flags::FAST);
const WRITE: Flags = Flags::WRITE;
const REMOVE: Flags = WRITE.with(Flags::RESERVE);
const WHOLE_DB: Flags = REMOVE.with(Flags::ALL_SHARDS);

/// RENAME takes its source away and overwrites its target.
fn rename_access(_: Argv<'_>, nth: usize) -> &'static [&'static str] {
    if nth == 0 { &["RW", "access", "delete"] } else { &["OW", "update"] }
}

fn renamenx_access(_: Argv<'_>, nth: usize) -> &'static [&'static str] {
    if nth == 0 { &["RW", "access", "delete"] } else { &["OW", "insert"] }
}

fn copy_access(_: Argv<'_>, nth: usize) -> &'static [&'static str] {
    if nth == 0 { &["RO", "access"] } else { &["OW", "update"] }
}

/// Source and target of RENAME and COPY.
const BOTH: Keys = Keys::Range { first: 1, last: 2, step: 1 };

pub(crate) const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "DEL",
        since: "1.0.0",
        summary: "Deletes keys.",
        complexity: "O(N) where N is the number of keys.",
        arity: Arity::AtLeast(2),
        keys: Keys::ALL,
        key_access: &["RM", "delete"],
        flags: REMOVE,
        acl: &["keyspace"],
        arguments: "key [key ...]",
        handler: del,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "UNLINK",
        since: "4.0.0",
        summary: "Deletes keys; the memory of big values is freed later.",
        complexity: "O(N) where N is the number of keys.",
        arity: Arity::AtLeast(2),
        keys: Keys::ALL,
        key_access: &["RM", "delete"],
        flags: REMOVE.with(Flags::FAST),
        acl: &["keyspace"],
        arguments: "key [key ...]",
        handler: del,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "EXISTS",
        since: "1.0.0",
        summary: "Counts how many of the keys exist; a key named twice counts twice.",
        complexity: "O(N) where N is the number of keys.",
        arity: Arity::AtLeast(2),
        keys: Keys::ALL,
        key_access: &["RO"],
        flags: READ_FAST.with(Flags::NO_TOUCH),
        acl: &["keyspace"],
        arguments: "key [key ...]",
        handler: exists,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "TYPE",
        since: "1.0.0",
        summary: "Returns the type of the value of a key.",
        arity: Arity::Exactly(2),
        keys: Keys::First,
        key_access: &["RO"],
        flags: READ_FAST.with(Flags::NO_TOUCH),
        acl: &["keyspace"],
        arguments: "key",
        handler: type_of,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "RENAME",
        since: "1.0.0",
        summary: "Renames a key, replacing what the new name held.",
        complexity: "O(1), whatever the size of the value.",
        arity: Arity::Exactly(3),
        keys: BOTH,
        key_access: &["RW", "access", "delete"],
        key_access_of: Some(rename_access),
        flags: WRITE,
        acl: &["keyspace"],
        arguments: "key newkey",
        handler: rename,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "RENAMENX",
        since: "1.0.0",
        summary: "Renames a key only if the new name is free.",
        complexity: "O(1), whatever the size of the value.",
        arity: Arity::Exactly(3),
        keys: BOTH,
        key_access: &["RW", "access", "delete"],
        key_access_of: Some(renamenx_access),
        flags: WRITE.with(Flags::FAST),
        acl: &["keyspace"],
        arguments: "key newkey",
        handler: renamenx,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "COPY",
        since: "6.2.0",
        summary: "Copies a value to another key.",
        complexity: "O(N) where N is the size of the value.",
        arity: Arity::AtLeast(3),
        keys: BOTH,
        key_access: &["RO", "access"],
        key_access_of: Some(copy_access),
        flags: WRITE.with(Flags::DENY_OOM),
        acl: &["keyspace"],
        arguments: "source destination [DB destination-db] [REPLACE]",
        handler: copy,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "TOUCH",
        since: "3.2.1",
        summary: "Counts how many of the keys exist and marks them as used.",
        complexity: "O(N) where N is the number of keys.",
        arity: Arity::AtLeast(2),
        keys: Keys::ALL,
        key_access: &["RO"],
        flags: READ_FAST,
        acl: &["keyspace"],
        arguments: "key [key ...]",
        handler: touch,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "RANDOMKEY",
        since: "1.0.0",
        summary: "Returns a key of the database at random.",
        arity: Arity::Exactly(1),
        flags: READ.with(Flags::NO_TOUCH),
        acl: &["keyspace"],
        handler: randomkey,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "KEYS",
        since: "1.0.0",
        summary: "Returns all names of keys that match a pattern.",
        complexity: "O(N) where N is the number of keys in the database.",
        arity: Arity::Exactly(2),
        flags: READ.with(Flags::NO_TOUCH),
        acl: &["keyspace", "dangerous"],
        arguments: "pattern",
        handler: keys,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "SCAN",
        since: "2.8.0",
        summary: "Goes through the names of the keys of the database, a few at a time.",
        complexity: "O(1) for a call, O(N) for a complete iteration over N keys.",
        arity: Arity::AtLeast(2),
        flags: READ.with(Flags::NO_TOUCH),
        acl: &["keyspace"],
        arguments: "cursor [MATCH pattern] [COUNT count] [TYPE type]",
        handler: scan,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "MOVE",
        since: "1.0.0",
        summary: "Moves a key to another database if its name is free there.",
        complexity: "O(N) where N is the size of the value.",
        arity: Arity::Exactly(3),
        keys: Keys::First,
        key_access: &["RW", "access", "update"],
        flags: WRITE.with(Flags::FAST),
        acl: &["keyspace"],
        arguments: "key db",
        handler: move_key,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "FLUSHDB",
        group: Group::Server,
        since: "1.0.0",
        summary: "Deletes all keys of the database.",
        complexity: "O(1); memory and disk space are freed later.",
        arity: Arity::AtLeast(1),
        flags: WHOLE_DB,
        acl: &["keyspace", "dangerous"],
        arguments: "[ASYNC | SYNC]",
        handler: flushdb,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "FLUSHALL",
        group: Group::Server,
        since: "1.0.0",
        summary: "Deletes all keys of all databases.",
        complexity: "O(1); memory and disk space are freed later.",
        arity: Arity::AtLeast(1),
        flags: WHOLE_DB,
        acl: &["keyspace", "dangerous"],
        arguments: "[ASYNC | SYNC]",
        handler: flushall,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "SWAPDB",
        group: Group::Server,
        since: "4.0.0",
        summary: "Exchanges the contents of two databases.",
        arity: Arity::Exactly(3),
        flags: WHOLE_DB.with(Flags::FAST),
        acl: &["keyspace", "dangerous"],
        arguments: "index1 index2",
        handler: swapdb,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "DBSIZE",
        group: Group::Server,
        since: "1.0.0",
        summary: "Returns how many keys the database holds.",
        arity: Arity::Exactly(1),
        flags: READ_FAST,
        acl: &["keyspace"],
        handler: dbsize,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "OBJECT",
        since: "2.2.3",
        summary: "Shows how the value of a key is stored.",
        arity: Arity::AtLeast(2),
        subcommands: OBJECT,
        ..CommandSpec::BASE
    },
];

/// The key of an OBJECT subcommand.
const SECOND: Keys = Keys::Range { first: 2, last: 2, step: 1 };
const OBJECT_FLAGS: Flags = READ.with(Flags::NO_TOUCH);

const OBJECT: &[CommandSpec] = &[
    CommandSpec {
        name: "ENCODING",
        since: "2.2.3",
        summary: "Returns the encoding of the value of a key.",
        arity: Arity::Exactly(3),
        keys: SECOND,
        key_access: &["RO"],
        flags: OBJECT_FLAGS,
        acl: &["keyspace"],
        arguments: "key",
        handler: object_encoding,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "FREQ",
        since: "4.0.0",
        summary: "Returns the access counter of a key, under an LFU policy.",
        arity: Arity::Exactly(3),
        keys: SECOND,
        key_access: &["RO"],
        flags: OBJECT_FLAGS,
        acl: &["keyspace"],
        arguments: "key",
        handler: object_freq,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "IDLETIME",
        since: "2.2.3",
        summary: "Returns for how many seconds a key was not used; at least, if it was on disk.",
        arity: Arity::Exactly(3),
        keys: SECOND,
        key_access: &["RO"],
        flags: OBJECT_FLAGS,
        acl: &["keyspace"],
        arguments: "key",
        handler: object_idletime,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "REFCOUNT",
        since: "2.2.3",
        summary: "Returns how often the value of a key is referenced, which is once.",
        arity: Arity::Exactly(3),
        keys: SECOND,
        key_access: &["RO"],
        flags: OBJECT_FLAGS,
        acl: &["keyspace"],
        arguments: "key",
        handler: object_refcount,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "HELP",
        since: "6.2.0",
        summary: "Returns a text about the subcommands.",
        arity: Arity::Exactly(2),
        flags: Flags::LOADING.with(Flags::STALE),
        acl: &["keyspace"],
        handler: object_help,
        ..CommandSpec::BASE
    },
];

/// `DEL key [key ...]`, `UNLINK key [key ...]`
fn del(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let mut deleted = 0;
    for key in args {
        deleted += i64::from(ctx.delete(key)?);
    }
    reply.integer(deleted);
    Ok(())
}

/// `EXISTS key [key ...]`
fn exists(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let mut count = 0;
    for key in args {
        count += i64::from(ctx.exists(key)?);
    }
    reply.integer(count);
    Ok(())
}

/// `TOUCH key [key ...]`
fn touch(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let mut count = 0;
    for key in args {
        count += i64::from(ctx.touch(key)?.is_some());
    }
    reply.integer(count);
    Ok(())
}

/// `TYPE key`
fn type_of(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let found = ctx.peek(args.key()?)?;
    reply.simple(found.map_or("none", |found| found.type_tag.name()));
    Ok(())
}

/// A value that no longer borrows from its key.
struct Copied {
    body: CopiedBody,
    deadline: Option<ExpireAt>,
    is_raw: bool,
    uses: u8,
}

enum CopiedBody {
    Int(i64),
    Bytes(Vec<u8>),
    Collection(TypeTag, Vec<u8>),
}

impl Copied {
    fn of(found: &Found<'_>) -> Self {
        let body = match found.value {
            ValueRef::Int(value) => CopiedBody::Int(value),
            ValueRef::Bytes(bytes) => CopiedBody::Bytes(bytes.to_vec()),
            ValueRef::Collection(collection) => {
                let mut encoded = Vec::new();
                collection.encode(&mut encoded);
                CopiedBody::Collection(collection.type_tag(), encoded)
            }
        };
        Copied { body, deadline: found.deadline, is_raw: found.is_raw, uses: found.usage.uses }
    }

    fn put(&self, ctx: &mut Context<'_>, db: DbIndex, key: &[u8]) -> CommandResult {
        let body = match &self.body {
            CopiedBody::Int(value) => StringBody::Int(*value),
            CopiedBody::Bytes(bytes) => StringBody::Bytes(bytes),
            CopiedBody::Collection(tag, bytes) => StringBody::Collection { tag: *tag, bytes },
        };
        ctx.put_string_in(db, key, body, self.deadline, self.is_raw)
    }

    /// Puts the value under its new name, with how often it was used.
    fn put_moved(&self, ctx: &mut Context<'_>, db: DbIndex, key: &[u8]) -> CommandResult {
        self.put(ctx, db, key)?;
        ctx.set_usage(db, key, None, Some(self.uses));
        Ok(())
    }
}

/// `RENAME key newkey`
fn rename(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    rename_key(ctx, args, true)?;
    reply.ok();
    Ok(())
}

/// `RENAMENX key newkey`
fn renamenx(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let is_renamed = rename_key(ctx, args, false)?;
    reply.integer(i64::from(is_renamed));
    Ok(())
}

fn rename_key(ctx: &mut Context<'_>, mut args: Args<'_>, replaces: bool) -> Result<bool, CommandError> {
    let (from, to) = (args.key()?, args.key()?);
    let db = ctx.db();
    if from == to {
        return if ctx.exists(from)? { Ok(false) } else { Err(errors::NO_SUCH_KEY) };
    }
    let uses = ctx.header(from)?.map(|header| header.usage.uses).ok_or(errors::NO_SUCH_KEY)?;
    if !replaces && ctx.exists(to)? {
        return Ok(false);
    }
    if !ctx.move_value(from, to)? {
        let value = ctx.lookup(from)?.map(|found| Copied::of(&found)).ok_or(errors::NO_SUCH_KEY)?;
        ctx.delete(from)?;
        value.put(ctx, db, to)?;
    }
    ctx.set_usage(db, to, None, Some(uses));
    Ok(true)
}

/// Takes a database number.
fn database(ctx: &Context<'_>, args: &mut Args<'_>) -> Result<DbIndex, CommandError> {
    let number = args.small_int()?;
    database_numbered(ctx, number).ok_or(errors::DB_INDEX)
}

/// A database of the configuration; `databases` is at most [`DATABASE_COUNT`].
fn database_numbered(ctx: &Context<'_>, number: i64) -> Option<DbIndex> {
    let index = u8::try_from(number).ok()?;
    (i64::from(index) < ctx.config().databases).then_some(DbIndex(index))
}

/// `COPY source destination [DB destination-db] [REPLACE]`
fn copy(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let (from, to) = (args.key()?, args.key()?);
    let (mut db, mut replaces) = (ctx.db(), false);
    while !args.is_empty() {
        match args.one_of(&["REPLACE", "DB"]) {
            Some(0) => replaces = true,
            Some(_) if !args.is_empty() => db = database(ctx, &mut args)?,
            _ => return Err(errors::SYNTAX),
        }
    }
    if db == ctx.db() && from == to {
        return Err(errors::SAME_OBJECT);
    }
    let Some(value) = ctx.lookup(from)?.map(|found| Copied::of(&found)) else {
        reply.integer(0);
        return Ok(());
    };
    let is_copied = replaces || !ctx.exists_in(db, to)?;
    if is_copied {
        value.put(ctx, db, to)?;
    }
    reply.integer(i64::from(is_copied));
    Ok(())
}

/// `MOVE key db`
fn move_key(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let (key, db) = (args.key()?, database(ctx, &mut args)?);
    if db == ctx.db() {
        return Err(errors::SAME_OBJECT);
    }
    let Some(value) = ctx.lookup(key)?.map(|found| Copied::of(&found)) else {
        reply.integer(0);
        return Ok(());
    };
    let is_moved = !ctx.exists_in(db, key)?;
    if is_moved {
        ctx.delete(key)?;
        value.put_moved(ctx, db, key)?;
    }
    reply.integer(i64::from(is_moved));
    Ok(())
}

/// `RANDOMKEY`
fn randomkey(ctx: &mut Context<'_>, _: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let key = ctx.random_key()?;
    reply.bulk_or_null(key.as_deref());
    Ok(())
}

/// A pattern of KEYS and SCAN. The lone `*` is everything, also the empty name.
fn matches(pattern: &[u8], key: &[u8]) -> bool {
    pattern == b"*" || glob::is_match(pattern, key, Case::Sensitive)
}

/// `KEYS pattern`
fn keys(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let pattern = args.bytes()?;
    let owned = pattern.to_vec();
    let names = ctx.keys(move |key| matches(&owned, key))?;
    reply.array(names.len());
    for name in &names {
        reply.bulk(name);
    }
    Ok(())
}

/// How many keys a SCAN looks at unless it says otherwise.
const SCAN_COUNT: i64 = 10;

/// `SCAN cursor [MATCH pattern] [COUNT count] [TYPE type]`
fn scan(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let cursor = args.cursor()?;
    let (mut pattern, mut count, mut type_name) = (None, SCAN_COUNT, None);
    while !args.is_empty() {
        match args.one_of(&["COUNT", "MATCH", "TYPE"]) {
            Some(0) => count = args.int().and_then(|n| if n < 1 { Err(errors::SYNTAX) } else { Ok(n) })?,
            Some(1) => pattern = Some(args.bytes()?),
            Some(_) => type_name = Some(args.bytes()?),
            None => return Err(errors::SYNTAX),
        }
    }
    let step = match u32::try_from(cursor) {
        Ok(from) => ctx.scan(from, count.unsigned_abs())?,
        // Behind the last position: nothing is left.
        Err(_) => ScanStep::default(),
    };
    let is_shown = |(key, tag): &&(Vec<u8>, TypeTag)| {
        pattern.is_none_or(|pattern| matches(pattern, key))
            && type_name.is_none_or(|name: &[u8]| name.eq_ignore_ascii_case(tag.name().as_bytes()))
    };
    reply.array(2);
    reply.bulk(IntText::default().of(i64::from(step.next.unwrap_or(0))));
    reply.array(step.keys.iter().filter(is_shown).count());
    for (key, _) in step.keys.iter().filter(is_shown) {
        reply.bulk(key);
    }
    Ok(())
}

/// Takes ASYNC or SYNC, which mean the same here: the space is freed in the background.
fn flush_mode(mut args: Args<'_>) -> CommandResult {
    if !args.is_empty() && args.one_of(&["ASYNC", "SYNC"]).is_none() {
        return Err(errors::SYNTAX);
    }
    args.finish()
}

/// `FLUSHDB [ASYNC | SYNC]`
fn flushdb(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    flush_mode(args)?;
    let db = ctx.db();
    ctx.flush(&[db]);
    reply.ok();
    Ok(())
}

/// `FLUSHALL [ASYNC | SYNC]`
fn flushall(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    flush_mode(args)?;
    let all: [DbIndex; DATABASE_COUNT] = std::array::from_fn(|index| DbIndex(index as u8));
    ctx.flush(&all);
    reply.ok();
    Ok(())
}

/// `SWAPDB index1 index2`
fn swapdb(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let first = args.int_within(i64::from(i32::MIN), i64::from(i32::MAX));
    let first = first.map_err(|_| errors::INVALID_FIRST_DB_INDEX)?;
    let second = args.int_within(i64::from(i32::MIN), i64::from(i32::MAX));
    let second = second.map_err(|_| errors::INVALID_SECOND_DB_INDEX)?;
    let (Some(first), Some(second)) = (database_numbered(ctx, first), database_numbered(ctx, second)) else {
        return Err(errors::DB_INDEX);
    };
    if first != second {
        ctx.swap(first, second)?;
    }
    reply.ok();
    Ok(())
}

/// `DBSIZE`
fn dbsize(ctx: &mut Context<'_>, _: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let count = ctx.key_count()?;
    reply.integer(count.cast_signed());
    Ok(())
}

/// `OBJECT ENCODING key`
fn object_encoding(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let encoding = ctx.peek(args.key()?)?.map(|found| found.encoding);
    reply.bulk_or_null(encoding.map(str::as_bytes));
    Ok(())
}

/// `OBJECT REFCOUNT key`
fn object_refcount(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    match ctx.peek(args.key()?)? {
        Some(_) => reply.integer(1),
        None => reply.null(),
    }
    Ok(())
}

fn is_lfu(ctx: &Context<'_>) -> bool {
    ctx.config().maxmemory_policy.ends_with("-lfu")
}

/// `OBJECT FREQ key`
///
/// A key that had to be fetched from disk has the counter of a new one.
fn object_freq(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let counts_uses = is_lfu(ctx);
    let (now, rules) = (UsedAt::new(ctx.now_ms()), ctx.engine().store().usage.lfu());
    match ctx.peek(args.key()?)?.map(|found| found.usage) {
        Some(_) if !counts_uses => return Err(errors::LFU_NOT_SELECTED),
        Some(usage) => reply.integer(i64::from(usage.frequency(now, rules))),
        None => reply.null(),
    }
    Ok(())
}

/// `OBJECT IDLETIME key`
///
/// Seconds, exact, up to 182 days; then it starts anew. Of a key that had to be fetched from disk only
/// a lower bound is known: the time since the opening, or since a key last left its part of memory.
fn object_idletime(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let (counts_uses, now) = (is_lfu(ctx), UsedAt::new(ctx.now_ms()));
    match ctx.peek(args.key()?)?.map(|found| found.usage) {
        Some(_) if counts_uses => return Err(errors::LFU_SELECTED),
        Some(usage) => reply.integer(i64::from(usage.at.idle_seconds(now))),
        None => reply.null(),
    }
    Ok(())
}

/// `OBJECT HELP`
fn object_help(_: &mut Context<'_>, _: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    const LINES: &[&str] = &[
        "OBJECT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "ENCODING <key>",
        "    Show how the value of <key> is stored: int, embstr or raw for strings.",
        "FREQ <key>",
        "    Show the access counter of <key>. Needs an LFU maxmemory policy.",
        "IDLETIME <key>",
        "    Show for how many seconds <key> was not used. Needs a policy other than LFU.",
        "REFCOUNT <key>",
        "    Show how often the value of <key> is referenced.",
        "HELP",
        "    Show this text.",
    ];
    reply.array(LINES.len());
    for line in LINES {
        reply.simple(line);
    }
    Ok(())
}
