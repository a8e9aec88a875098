//! What a command declares about itself.
//!
//! One [`CommandSpec`] block per command is the only place where its name, arity, keys, flags and
//! words are stated. Lookup, arity errors, key extraction, the checks before execution, COMMAND
//! and its subcommands, commandstats and the reference page are derived from it.

use super::args::{Args, Argv};
use super::context::Context;
use super::reply::{CommandResult, ReplySink};

/// A command's function. It plans against the transaction of `ctx` and writes one reply.
pub type Handler = fn(&mut Context<'_>, Args<'_>, &mut dyn ReplySink) -> CommandResult;

/// Everything the server knows about one command or subcommand.
///
/// A block names what differs from [`CommandSpec::BASE`] and ends with `..CommandSpec::BASE`.
pub struct CommandSpec {
    /// Upper case, without the container's name ("GET" for `CONFIG GET`).
    pub name: &'static str,
    /// The Redis version that introduced it (Lux's own commands: the version of Lux).
    pub since: &'static str,
    pub group: Group,
    /// One sentence in the third person.
    pub summary: &'static str,
    /// Time complexity in Redis's words ("O(1)").
    pub complexity: &'static str,
    /// Counts the command's own words too, as in Redis.
    pub arity: Arity,
    pub keys: Keys,
    /// Redis's key-spec flags ("RW", "access", "update"). Empty: derived from `flags`.
    pub key_access: &'static [&'static str],
    /// The same for the n-th key of one call, where that depends on the key or the options.
    pub key_access_of: Option<fn(Argv<'_>, usize) -> &'static [&'static str]>,
    pub flags: Flags,
    /// ACL categories beyond those that `group` and `flags` imply.
    pub acl: &'static [&'static str],
    /// The arguments after the command's words, in Redis's notation:
    /// `key value [NX | XX] [GET] [EX seconds | PX milliseconds]`.
    pub arguments: &'static str,
    /// A container has subcommands; its own handler runs only if it may be called without one.
    pub subcommands: &'static [CommandSpec],
    pub handler: Handler,
}

impl CommandSpec {
    /// The defaults a block builds on. Never registered itself.
    pub const BASE: CommandSpec = CommandSpec {
        name: "",
        since: "1.0.0",
        group: Group::Generic,
        summary: "",
        complexity: "O(1)",
        arity: Arity::AtLeast(1),
        keys: Keys::None,
        key_access: &[],
        key_access_of: None,
        flags: Flags::NONE,
        acl: &[],
        arguments: "",
        subcommands: &[],
        handler: container_only,
    };

    /// The key-spec flags COMMAND shows: as declared, else what the command's flags imply.
    #[must_use]
    pub fn key_access(&self) -> &'static [&'static str] {
        match (self.key_access.is_empty(), self.flags.has(Flags::WRITE)) {
            (false, _) => self.key_access,
            (true, true) => &["RW", "update"],
            (true, false) => &["RO", "access"],
        }
    }
}

/// The handler of a container that means nothing without a subcommand. The table's arity check
/// answers such a call before it gets here.
fn container_only(ctx: &mut Context<'_>, _: Args<'_>, _: &mut dyn ReplySink) -> CommandResult {
    Err(super::reply_errors::wrong_arity(&ctx.command.full_name))
}

/// How many arguments a command takes, its own words included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arity {
    Exactly(usize),
    AtLeast(usize),
    /// Both bounds inclusive. COMMAND shows the lower one, as Redis does.
    Between(usize, usize),
}

impl Arity {
    #[must_use]
    pub fn accepts(self, argc: usize) -> bool {
        match self {
            Arity::Exactly(n) => argc == n,
            Arity::AtLeast(n) => argc >= n,
            Arity::Between(low, high) => (low..=high).contains(&argc),
        }
    }

    /// Redis's encoding: negative for "at least".
    #[must_use]
    pub fn as_redis(self) -> i64 {
        match self {
            Arity::Exactly(n) => n as i64,
            Arity::AtLeast(n) | Arity::Between(n, _) => -(n as i64),
        }
    }
}

/// Where the keys are among the arguments. Index 0 is the command's name, or the container's.
#[derive(Clone, Copy)]
pub enum Keys {
    None,
    /// Argument 1.
    First,
    /// Arguments `first`, `first + step`, ... up to `last`; a negative `last` counts from the end
    /// (-1 is the last argument).
    Range {
        first: usize,
        last: isize,
        step: usize,
    },
    /// Argument `count_at` says how many keys follow it directly (EVAL, LMPOP, ZINTERCARD).
    Counted {
        count_at: usize,
    },
    /// Appends the argument indexes of the keys. Called only with an accepted arity; a malformed
    /// call names no keys and is left to the handler to refuse.
    Custom(fn(Argv<'_>, &mut Vec<usize>)),
}

impl Keys {
    /// Every argument after the name (DEL, EXISTS, MGET).
    pub const ALL: Keys = Keys::Range { first: 1, last: -1, step: 1 };

    /// Whether the command names keys at all.
    #[must_use]
    pub fn is_none(self) -> bool {
        matches!(self, Keys::None)
    }

    /// Appends the argument indexes of the keys of one call.
    pub fn find(self, argv: Argv<'_>, out: &mut Vec<usize>) {
        let argc = argv.len();
        match self {
            Keys::None => {}
            Keys::First => out.push(1),
            Keys::Range { first, last, step } => {
                let end =
                    if last < 0 { argc.saturating_sub(last.unsigned_abs() - 1) } else { last as usize + 1 };
                out.extend((first..end.min(argc)).step_by(step));
            }
            Keys::Counted { count_at } => {
                let count = argv.get(count_at).and_then(super::args::parse_int);
                let room = argc.saturating_sub(count_at + 1);
                if let Some(count) = count.and_then(|n| usize::try_from(n).ok()).filter(|n| *n <= room) {
                    out.extend(count_at + 1..count_at + 1 + count);
                }
            }
            Keys::Custom(find) => find(argv, out),
        }
    }

    /// Redis's (first, last, step) triple for COMMAND.
    #[must_use]
    pub fn as_redis(self) -> (i64, i64, i64) {
        match self {
            Keys::None | Keys::Counted { .. } | Keys::Custom(_) => (0, 0, 0),
            Keys::First => (1, 1, 1),
            Keys::Range { first, last, step } => (first as i64, last as i64, step as i64),
        }
    }

    /// Whether COMMAND shows the flag `movablekeys`: the triple does not say where the keys are.
    #[must_use]
    pub fn is_movable(self) -> bool {
        matches!(self, Keys::Counted { .. } | Keys::Custom(_))
    }
}

/// A set of [`Flags`] constants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flags(u32);

impl Flags {
    pub const NONE: Flags = Flags(0);
    /// Changes data. Its transaction may emit effects.
    pub const WRITE: Flags = Flags(1);
    /// Reads data only.
    pub const READONLY: Flags = Flags(1 << 1);
    /// May use more memory: waits or is refused under memory or disk pressure.
    pub const DENY_OOM: Flags = Flags(1 << 2);
    /// O(1) or O(log n).
    pub const FAST: Flags = Flags(1 << 3);
    pub const ADMIN: Flags = Flags(1 << 4);
    pub const NOSCRIPT: Flags = Flags(1 << 5);
    /// Allowed while the data set is being opened.
    pub const LOADING: Flags = Flags(1 << 6);
    /// Allowed on a replica without a link.
    pub const STALE: Flags = Flags(1 << 7);
    /// Allowed before authentication.
    pub const NO_AUTH: Flags = Flags(1 << 8);
    pub const PUBSUB: Flags = Flags(1 << 9);
    /// May wait for a key or an event.
    pub const BLOCKING: Flags = Flags(1 << 10);
    /// Not allowed inside MULTI.
    pub const NO_MULTI: Flags = Flags(1 << 11);
    /// May change something although it does not say WRITE: CLIENT PAUSE WRITE holds it. COMMAND does not
    /// show it.
    pub const MAY_REPLICATE: Flags = Flags(1 << 12);
    /// Only removes data: allowed when the disk is full (its log space comes from the reserve).
    pub const RESERVE: Flags = Flags(1 << 13);
    /// Runs with every shard locked and in a transaction, although it names no keys.
    pub const ALL_SHARDS: Flags = Flags(1 << 14);
    /// Left out of SLOWLOG (it carries secrets or is the tool that reads the log).
    pub const SKIP_SLOWLOG: Flags = Flags(1 << 15);
    /// Does not look busy to LRU/LFU (TOUCH-less reads such as OBJECT and TYPE).
    pub const NO_TOUCH: Flags = Flags(1 << 16);

    /// Runs at once inside MULTI instead of being queued.
    pub const UNQUEUED: Flags = Flags(1 << 17);
    /// Allowed while a script keeps everybody waiting.
    pub const ALLOW_BUSY: Flags = Flags(1 << 19);

    /// Runs other commands in its transaction ([`super::context::Context::call`]). It may begin without keys.
    pub const CALLS: Flags = Flags(1 << 18);

    /// Both sets together.
    #[must_use]
    pub const fn with(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }

    /// Whether all of `other` is in this set.
    #[must_use]
    pub const fn has(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }

    /// The names COMMAND shows, in Redis's order and spelling.
    pub fn redis_names(self) -> impl Iterator<Item = &'static str> {
        const NAMES: &[(Flags, &str)] = &[
            (Flags::WRITE, "write"),
            (Flags::READONLY, "readonly"),
            (Flags::DENY_OOM, "denyoom"),
            (Flags::ADMIN, "admin"),
            (Flags::PUBSUB, "pubsub"),
            (Flags::NOSCRIPT, "noscript"),
            (Flags::BLOCKING, "blocking"),
            (Flags::LOADING, "loading"),
            (Flags::STALE, "stale"),
            (Flags::SKIP_SLOWLOG, "skip_slowlog"),
            (Flags::FAST, "fast"),
            (Flags::NO_AUTH, "no_auth"),
            (Flags::NO_MULTI, "no_multi"),
            (Flags::ALLOW_BUSY, "allow_busy"),
        ];
        NAMES.iter().filter(move |(flag, _)| self.has(*flag)).map(|(_, name)| *name)
    }
}

/// The family a command belongs to: its section in the reference and its ACL category.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    Generic,
    String,
    Bitmap,
    Hash,
    List,
    Set,
    SortedSet,
    Stream,
    Geo,
    HyperLogLog,
    PubSub,
    Scripting,
    Transactions,
    Connection,
    Server,
    TimeSeries,
    Vector,
    Table,
    Realtime,
    Tier,
}

impl Group {
    /// The name COMMAND DOCS shows.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Group::Generic => "generic",
            Group::String => "string",
            Group::Bitmap => "bitmap",
            Group::Hash => "hash",
            Group::List => "list",
            Group::Set => "set",
            Group::SortedSet => "sorted-set",
            Group::Stream => "stream",
            Group::Geo => "geo",
            Group::HyperLogLog => "hyperloglog",
            Group::PubSub => "pubsub",
            Group::Scripting => "scripting",
            Group::Transactions => "transactions",
            Group::Connection => "connection",
            Group::Server => "server",
            Group::TimeSeries => "timeseries",
            Group::Vector => "vector",
            Group::Table => "table",
            Group::Realtime => "realtime",
            Group::Tier => "tier",
        }
    }

    /// The ACL category of the group, without the `@`. Generic and server commands have none of
    /// their own: their specs name them (`keyspace`, `admin`, `dangerous`).
    #[must_use]
    pub fn acl_category(self) -> Option<&'static str> {
        match self {
            Group::Generic | Group::Server => None,
            Group::SortedSet => Some("sortedset"),
            Group::Transactions => Some("transaction"),
            Group::Scripting => Some("scripting"),
            other => Some(other.name()),
        }
    }
}
