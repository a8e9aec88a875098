//! Stream commands. The handlers are in rooms by what they do; here are the specs.
//!
//! Every handler reads the stream, plans an edit and writes its reply, then hands the edit over. A stream
//! without entries stays.

mod change;
mod group;
mod info;
mod read;
mod words;

use crate::admin::help;
use crate::dispatch::spec::{Arity, CommandSpec, Flags, Group, Keys};

const READ_FAST: Flags = Flags::READONLY.with(Flags::FAST);
const WRITE: Flags = Flags::WRITE.with(Flags::DENY_OOM);
const WRITE_FAST: Flags = WRITE.with(Flags::FAST);
const SHRINK: Flags = Flags::WRITE.with(Flags::RESERVE);
const SHRINK_FAST: Flags = SHRINK.with(Flags::FAST);

/// The key of a subcommand.
const KEY: Keys = Keys::Range { first: 2, last: 2, step: 1 };

const BASE: CommandSpec = CommandSpec { group: Group::Stream, keys: Keys::First, ..CommandSpec::BASE };

pub(crate) const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "XADD",
        since: "5.0.0",
        summary: "Adds an entry to a stream, creating it when absent, and trims the stream if wanted.",
        complexity: "O(1), and the entries that are trimmed.",
        arity: Arity::AtLeast(5),
        key_access: &["RW", "update"],
        flags: WRITE_FAST,
        arguments: "key [NOMKSTREAM] [KEEPREF | DELREF | ACKED] [MAXLEN | MINID [= | ~] threshold [LIMIT count]] * | id field value [field value ...]",
        handler: change::xadd,
        ..BASE
    },
    CommandSpec {
        name: "XTRIM",
        since: "5.0.0",
        summary: "Removes the oldest entries of a stream.",
        complexity: "O(log N) and the memory that is freed.",
        arity: Arity::AtLeast(4),
        key_access: &["RW", "delete"],
        flags: SHRINK,
        arguments: "key MAXLEN | MINID [= | ~] threshold [LIMIT count] [KEEPREF | DELREF | ACKED]",
        handler: change::xtrim,
        ..BASE
    },
    CommandSpec {
        name: "XDEL",
        since: "5.0.0",
        summary: "Removes entries of a stream by their ids and returns how many.",
        complexity: "O(log N) for each entry.",
        arity: Arity::AtLeast(3),
        key_access: &["RW", "delete"],
        flags: SHRINK_FAST,
        arguments: "key id [id ...]",
        handler: change::xdel,
        ..BASE
    },
    CommandSpec {
        name: "XDELEX",
        since: "8.2.0",
        summary: "Removes entries of a stream as references of consumer groups allow.",
        complexity: "O(log N) for each entry and group.",
        arity: Arity::AtLeast(5),
        key_access: &["RW", "delete"],
        flags: SHRINK_FAST,
        arguments: "key [KEEPREF | DELREF | ACKED] IDS numids id [id ...]",
        handler: change::xdelex,
        ..BASE
    },
    CommandSpec {
        name: "XACKDEL",
        since: "8.2.0",
        summary: "Acknowledges entries in a consumer group and removes them as other references allow.",
        complexity: "O(log N) for each entry and group.",
        arity: Arity::AtLeast(6),
        key_access: &["RW", "delete"],
        flags: SHRINK_FAST,
        arguments: "key group [KEEPREF | DELREF | ACKED] IDS numids id [id ...]",
        handler: change::xackdel,
        ..BASE
    },
    CommandSpec {
        name: "XSETID",
        since: "5.0.0",
        summary: "Sets the last id of a stream and its counters.",
        arity: Arity::AtLeast(3),
        key_access: &["RW", "update"],
        flags: WRITE_FAST,
        arguments: "key last-id [ENTRIESADDED entries-added] [MAXDELETEDID max-deleted-id]",
        handler: change::xsetid,
        ..BASE
    },
    CommandSpec {
        name: "XLEN",
        since: "5.0.0",
        summary: "Returns the number of entries of a stream.",
        arity: Arity::Exactly(2),
        key_access: &["RO"],
        flags: READ_FAST,
        arguments: "key",
        handler: read::xlen,
        ..BASE
    },
    CommandSpec {
        name: "XRANGE",
        since: "5.0.0",
        summary: "Returns the entries of a stream between two ids.",
        complexity: "O(log N + M) where M is the number of entries returned.",
        arity: Arity::AtLeast(4),
        flags: Flags::READONLY,
        arguments: "key start end [COUNT count]",
        handler: read::xrange,
        ..BASE
    },
    CommandSpec {
        name: "XREVRANGE",
        since: "5.0.0",
        summary: "Returns the entries of a stream between two ids, the newest first.",
        complexity: "O(log N + M) where M is the number of entries returned.",
        arity: Arity::AtLeast(4),
        flags: Flags::READONLY,
        arguments: "key end start [COUNT count]",
        handler: read::xrevrange,
        ..BASE
    },
    CommandSpec {
        name: "XREAD",
        since: "5.0.0",
        summary: "Returns the entries of streams behind given ids.",
        complexity: "O(log N + M) for each stream where M is the number of entries returned.",
        arity: Arity::AtLeast(4),
        keys: Keys::Custom(read::stream_keys),
        flags: Flags::READONLY.with(Flags::BLOCKING),
        arguments: "[COUNT count] [BLOCK milliseconds] STREAMS key [key ...] id [id ...]",
        handler: read::xread,
        ..BASE
    },
    CommandSpec {
        name: "XREADGROUP",
        since: "5.0.0",
        summary: "Returns entries of streams as a consumer of a group, who then has to acknowledge them.",
        complexity: "O(log N + M) for each stream where M is the number of entries returned.",
        arity: Arity::AtLeast(7),
        keys: Keys::Custom(read::stream_keys),
        key_access: &["RO", "access"],
        flags: WRITE.with(Flags::BLOCKING),
        arguments: "GROUP group consumer [COUNT count] [BLOCK milliseconds] [NOACK] STREAMS key [key ...] id [id ...]",
        handler: read::xreadgroup,
        ..BASE
    },
    CommandSpec {
        name: "XACK",
        since: "5.0.0",
        summary: "Acknowledges entries in a consumer group and returns how many were pending.",
        complexity: "O(log N) for each entry.",
        arity: Arity::AtLeast(4),
        key_access: &["RW", "update"],
        flags: SHRINK_FAST,
        arguments: "key group id [id ...]",
        handler: group::xack,
        ..BASE
    },
    CommandSpec {
        name: "XPENDING",
        since: "5.0.0",
        summary: "Returns what is pending in a consumer group.",
        complexity: "O(log N + M) where M is the number of entries looked at.",
        arity: Arity::AtLeast(3),
        flags: Flags::READONLY,
        arguments: "key group [[IDLE min-idle-time] start end count [consumer]]",
        handler: group::xpending,
        ..BASE
    },
    CommandSpec {
        name: "XCLAIM",
        since: "5.0.0",
        summary: "Makes a consumer the owner of pending entries.",
        complexity: "O(log N) for each entry.",
        arity: Arity::AtLeast(6),
        key_access: &["RW", "update"],
        flags: WRITE_FAST,
        arguments: "key group consumer min-idle-time id [id ...] [IDLE ms] [TIME unix-time-milliseconds] [RETRYCOUNT count] [FORCE] [JUSTID] [LASTID lastid]",
        handler: group::xclaim,
        ..BASE
    },
    CommandSpec {
        name: "XAUTOCLAIM",
        since: "6.2.0",
        summary: "Makes a consumer the owner of entries that are pending for long.",
        complexity: "O(log N + M) where M is the number of entries looked at.",
        arity: Arity::AtLeast(6),
        key_access: &["RW", "access", "delete"],
        flags: WRITE_FAST,
        arguments: "key group consumer min-idle-time start [COUNT count] [JUSTID]",
        handler: group::xautoclaim,
        ..BASE
    },
    CommandSpec {
        name: "XGROUP",
        since: "5.0.0",
        summary: "A container for commands on consumer groups.",
        arity: Arity::AtLeast(2),
        keys: Keys::None,
        flags: Flags::NONE,
        subcommands: XGROUP,
        ..BASE
    },
    CommandSpec {
        name: "XINFO",
        since: "5.0.0",
        summary: "A container for commands that look into streams.",
        arity: Arity::AtLeast(2),
        keys: Keys::None,
        flags: Flags::NONE,
        subcommands: XINFO,
        ..BASE
    },
];

const XGROUP: &[CommandSpec] = &[
    CommandSpec {
        name: "CREATE",
        since: "5.0.0",
        summary: "Creates a consumer group.",
        arity: Arity::AtLeast(5),
        keys: KEY,
        key_access: &["RW", "insert"],
        flags: WRITE,
        arguments: "key group id | $ [MKSTREAM] [ENTRIESREAD entries-read]",
        handler: group::create,
        ..BASE
    },
    CommandSpec {
        name: "CREATECONSUMER",
        since: "6.2.0",
        summary: "Creates a consumer of a group.",
        arity: Arity::Exactly(5),
        keys: KEY,
        key_access: &["RW", "insert"],
        flags: WRITE,
        arguments: "key group consumer",
        handler: group::create_consumer,
        ..BASE
    },
    CommandSpec {
        name: "DELCONSUMER",
        since: "5.0.0",
        summary: "Deletes a consumer of a group and returns how many entries were pending for it.",
        complexity: "O(M log N) where M is the number of its pending entries.",
        arity: Arity::Exactly(5),
        keys: KEY,
        key_access: &["RW", "delete"],
        flags: SHRINK,
        arguments: "key group consumer",
        handler: group::delete_consumer,
        ..BASE
    },
    CommandSpec {
        name: "DESTROY",
        since: "5.0.0",
        summary: "Destroys a consumer group.",
        complexity: "O(log N) and the memory that is freed.",
        arity: Arity::Exactly(4),
        keys: KEY,
        key_access: &["RW", "delete"],
        flags: SHRINK,
        arguments: "key group",
        handler: group::destroy,
        ..BASE
    },
    help::spec(Group::Stream),
    CommandSpec {
        name: "SETID",
        since: "5.0.0",
        summary: "Sets what a consumer group has read.",
        arity: Arity::AtLeast(5),
        keys: KEY,
        key_access: &["RW", "update"],
        flags: WRITE,
        arguments: "key group id | $ [ENTRIESREAD entries-read]",
        handler: group::set_id,
        ..BASE
    },
];

const XINFO: &[CommandSpec] = &[
    CommandSpec {
        name: "CONSUMERS",
        since: "5.0.0",
        summary: "Returns the consumers of a group.",
        arity: Arity::Exactly(4),
        keys: KEY,
        flags: Flags::READONLY,
        arguments: "key group",
        handler: info::consumers,
        ..BASE
    },
    CommandSpec {
        name: "GROUPS",
        since: "5.0.0",
        summary: "Returns the consumer groups of a stream.",
        arity: Arity::Exactly(3),
        keys: KEY,
        flags: Flags::READONLY,
        arguments: "key",
        handler: info::groups,
        ..BASE
    },
    help::spec(Group::Stream),
    CommandSpec {
        name: "STREAM",
        since: "5.0.0",
        summary: "Returns what is known of a stream, FULL with its entries and groups.",
        arity: Arity::AtLeast(3),
        keys: KEY,
        flags: Flags::READONLY,
        arguments: "key [FULL [COUNT count]]",
        handler: info::stream,
        ..BASE
    },
];
