//! The tiers under control: TIER, CHECKPOINT, COMPACT, WAL.

use std::collections::HashSet;

use lux_engine::glob::{Case, is_match};
use lux_engine::ids::DbIndex;
use lux_engine::keyspace::store::Store;
use lux_engine::tier::{Family, Lookup, ReadTier, schema};
use lux_engine::{Engine, Error};

use crate::admin::{help, info};
use crate::dispatch::args::Args;
use crate::dispatch::context::{Context, evict_everything};
use crate::dispatch::reply::{CommandError, CommandResult, ReplySink};
use crate::dispatch::reply_errors as errors;
use crate::dispatch::spec::{Arity, CommandSpec, Flags, Group};

const FLAGS: Flags = Flags::ADMIN.with(Flags::NOSCRIPT).with(Flags::NO_MULTI);
const BASE: CommandSpec =
    CommandSpec { since: "0.1.0", group: Group::Server, flags: FLAGS, acl: &["tier"], ..CommandSpec::BASE };

pub const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "CHECKPOINT",
        summary: "Runs a checkpoint round; returns the redo LSN, rows, bytes and milliseconds.",
        complexity: "O(N) where N is the number of keys changed since the last checkpoint",
        arity: Arity::AtLeast(1),
        arguments: "[ASYNC]",
        handler: checkpoint,
        ..BASE
    },
    CommandSpec {
        name: "COMPACT",
        summary: "Compacts the cold tier, shows how it is, or stops, holds and slows down compactions.",
        complexity: "O(N) where N is the number of bytes in the range",
        arity: Arity::AtLeast(1),
        arguments: "[STATUS | CANCEL | PAUSE | RESUME | LIMIT bytes-per-second] [ASYNC] [FAMILY family] [DB index] [KEY key | BUCKETS first last] [BOTTOM]",
        handler: compact,
        ..BASE
    },
    CommandSpec {
        name: "TIER",
        summary: "A container for commands that show and move residency.",
        arity: Arity::AtLeast(2),
        flags: Flags::NONE,
        subcommands: TIER_SUBCOMMANDS,
        ..BASE
    },
    CommandSpec {
        name: "WAL",
        summary: "A container for commands about the log.",
        arity: Arity::AtLeast(2),
        flags: Flags::NONE,
        subcommands: WAL_SUBCOMMANDS,
        ..BASE
    },
];

const TIER_SUBCOMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "EVICT",
        summary: "Moves keys out of memory, after write-back; returns how many.",
        complexity: "O(N) where N is the number of keys in memory",
        arity: Arity::AtLeast(3),
        arguments: "ALL | MATCH pattern | KEY key [key ...]",
        handler: tier_evict,
        ..BASE
    },
    help::spec(Group::Server),
    CommandSpec {
        name: "OF",
        summary: "Shows where keys are: hot, cold or none.",
        complexity: "O(N) where N is the number of keys",
        arity: Arity::AtLeast(3),
        arguments: "key [key ...]",
        handler: tier_of,
        ..BASE
    },
    CommandSpec {
        name: "PROMOTE",
        summary: "Brings keys into memory; returns how many of them exist.",
        complexity: "O(N) where N is the number of keys",
        arity: Arity::AtLeast(3),
        arguments: "key [key ...]",
        handler: tier_promote,
        ..BASE
    },
    CommandSpec {
        name: "STATS",
        summary: "Returns the numbers of both tiers.",
        arity: Arity::Exactly(2),
        handler: tier_stats,
        ..BASE
    },
];

const WAL_SUBCOMMANDS: &[CommandSpec] = &[
    help::spec(Group::Server),
    CommandSpec {
        name: "STATUS",
        summary: "Returns the history id, positions and size of the log.",
        arity: Arity::Exactly(2),
        handler: wal_status,
        ..BASE
    },
];

/// `CHECKPOINT [ASYNC]`
fn checkpoint(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let is_async = args.keyword("ASYNC");
    args.finish()?;
    if is_async {
        drop(ctx.engine().request_checkpoint());
        reply.ok();
        return Ok(());
    }
    let engine = ctx.engine().clone();
    let report = ctx.offload(move || engine.checkpoint())??;
    let fields = [
        ("redo_lsn", report.redo_lsn.0),
        ("rows", report.rows),
        ("bytes", report.bytes),
        ("ms", report.millis),
    ];
    write_numbers(&fields, reply);
    Ok(())
}

fn write_numbers(numbers: &[(&str, u64)], reply: &mut dyn ReplySink) {
    reply.map(numbers.len());
    for (name, value) in numbers {
        reply.bulk(name.as_bytes());
        reply.integer(value.cast_signed());
    }
}

/// `TIER STATS`
fn tier_stats(ctx: &mut Context<'_>, _: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    write_numbers(&info::tier_numbers(ctx.state), reply);
    Ok(())
}

/// `WAL STATUS`
fn wal_status(ctx: &mut Context<'_>, _: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let numbers = info::wal_numbers(ctx.state);
    reply.map(numbers.len() + 2);
    reply.bulk(b"history_id");
    reply.bulk(info::history_id(ctx.state).as_bytes());
    for (name, value) in numbers {
        reply.bulk(name.as_bytes());
        reply.integer(value.cast_signed());
    }
    // Nothing but recovery reads the log so far.
    reply.bulk(b"oldest_pin_holder");
    reply.bulk(b"checkpoint");
    Ok(())
}

/// `TIER EVICT ALL | MATCH pattern | KEY key [key ...]`
fn tier_evict(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let (engine, db) = (ctx.engine().clone(), ctx.db());
    let evicted = match args.one_of(&["ALL", "MATCH", "KEY"]) {
        Some(0) => {
            args.finish()?;
            ctx.offload(move || evict_everything(&engine))?
        }
        Some(1) => {
            let pattern = args.bytes()?.to_vec();
            args.finish()?;
            let picks = move |key: &[u8]| pattern == b"*" || is_match(&pattern, key, Case::Sensitive);
            ctx.offload(move || engine.evict(db, Box::new(picks)))?
        }
        Some(_) if !args.is_empty() => {
            let keys: HashSet<Vec<u8>> = args.map(<[u8]>::to_vec).collect();
            ctx.offload(move || engine.evict(db, Box::new(move |key| keys.contains(key))))?
        }
        _ => return Err(errors::SYNTAX),
    };
    reply.integer(evicted?.cast_signed());
    Ok(())
}

/// `TIER PROMOTE key [key ...]`
fn tier_promote(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    ctx.promote(args)?;
    let (engine, db) = (ctx.engine(), ctx.db());
    let exists = |key: &&[u8]| matches!(residency(engine, db, key), Ok(Residency::Hot | Residency::Cold));
    reply.integer(args.filter(exists).count() as i64);
    Ok(())
}

/// `TIER OF key [key ...]`
fn tier_of(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let (engine, db) = (ctx.engine().clone(), ctx.db());
    let keys: Vec<Vec<u8>> = args.map(<[u8]>::to_vec).collect();
    let look = move || keys.iter().map(|key| residency(&engine, db, key)).collect::<Result<Vec<_>, _>>();
    let found = ctx.offload(look)??;
    reply.array(found.len());
    found.iter().for_each(|residency| reply.bulk(residency.name().as_bytes()));
    Ok(())
}

/// Where a key is.
#[derive(Clone, Copy)]
enum Residency {
    Hot,
    Cold,
    None,
}

impl Residency {
    fn name(self) -> &'static str {
        match self {
            Residency::Hot => "hot",
            Residency::Cold => "cold",
            Residency::None => "none",
        }
    }
}

/// Looks a key up in memory, then on disk, without moving it.
fn residency(engine: &Engine, db: DbIndex, key: &[u8]) -> Result<Residency, Error> {
    let store: &Store = engine.store();
    let now_ms = engine.now_ms();
    let hash = store.hasher.hash(key);
    let db = store.db_id(db);
    {
        let shard = store.shard(hash.shard).lock();
        let Some(part) = shard.db(db) else { return Ok(Residency::None) };
        if let Some(entry) = part.table.find(hash, key) {
            let is_dead = entry.deadline().is_some_and(|at| at.is_past(now_ms));
            return Ok(if entry.is_value() && !is_dead { Residency::Hot } else { Residency::None });
        }
    }
    let (mut row_key, mut bytes) = (Vec::new(), Vec::new());
    schema::put_row_key(&mut row_key, db, hash.bucket, key);
    match store.cold.get(Family::Keys, &row_key, ReadTier::Disk, &mut bytes)? {
        Lookup::Found(row) => {
            let row = schema::read_row(row).map_err(|e| schema::row_error(Family::Keys, key, e))?;
            let is_dead = row.deadline.is_some_and(|at| at.is_past(now_ms));
            Ok(if is_dead { Residency::None } else { Residency::Cold })
        }
        Lookup::Absent | Lookup::NotCached => Ok(Residency::None),
    }
}

/// What COMPACT is to compact.
#[derive(Default)]
struct Range {
    family: Option<Family>,
    db: Option<DbIndex>,
    key: Option<Vec<u8>>,
    buckets: Option<(u32, u32)>,
    is_async: bool,
    is_bottom: bool,
}

impl Range {
    fn parse(args: &mut Args<'_>, databases: i64) -> Result<Self, CommandError> {
        let mut range = Range::default();
        while !args.is_empty() {
            match args.one_of(&["ASYNC", "FAMILY", "DB", "KEY", "BUCKETS", "BOTTOM"]) {
                Some(0) => range.is_async = true,
                Some(1) => {
                    let name = args.bytes()?;
                    let is_named = |family: &Family| name.eq_ignore_ascii_case(family.name().as_bytes());
                    let family = Family::ALL.into_iter().find(is_named);
                    range.family = Some(family.ok_or_else(|| errors::about_word("unknown family", name))?);
                }
                Some(2) => {
                    let index = args.int()?;
                    if !(0..databases).contains(&index) {
                        return Err(errors::DB_INDEX);
                    }
                    range.db = u8::try_from(index).ok().map(DbIndex);
                }
                Some(3) => range.key = Some(args.bytes()?.to_vec()),
                Some(4) => range.buckets = Some((bounded(args, u32::MAX)?, bounded(args, u32::MAX)?)),
                Some(_) => range.is_bottom = true,
                None => return Err(errors::about_word("unknown option", args.bytes()?)),
            }
        }
        range.check()
    }

    /// Refuses what makes no sense together.
    fn check(self) -> Result<Self, CommandError> {
        let has_place = self.db.is_some() || self.key.is_some() || self.buckets.is_some();
        match self.buckets {
            Some((first, last)) if first > last => Err(errors::BUCKETS_REVERSED),
            Some(_) if self.key.is_some() => Err(errors::KEY_AND_BUCKETS),
            _ if has_place && self.family == Some(Family::Meta) => Err(errors::META_HAS_NO_KEYS),
            _ => Ok(self),
        }
    }

    /// The bounds in row keys of the families that begin with a database id.
    fn bounds(&self, engine: &Engine, selected: DbIndex) -> Option<(Vec<u8>, Vec<u8>)> {
        let store = engine.store();
        let db = store.db_id(self.db.unwrap_or(selected));
        let buckets = match (&self.key, self.buckets) {
            (Some(key), _) => {
                let bucket = store.hasher.hash(key).bucket;
                Some((bucket, bucket))
            }
            (None, buckets) => buckets,
        };
        let Some((first, last)) = buckets else {
            let (lower, upper) = schema::db_range(db);
            return self.db.map(|_| (lower.to_vec(), upper.to_vec()));
        };
        let (mut lower, mut upper) = (Vec::new(), Vec::new());
        schema::put_row_key(&mut lower, db, first, b"");
        match last.checked_add(1) {
            Some(end) => schema::put_row_key(&mut upper, db, end, b""),
            None => upper.extend_from_slice(&schema::db_range(db).1),
        }
        Some((lower, upper))
    }

    fn compact(&self, engine: &Engine, selected: DbIndex) -> Result<(), Error> {
        let bounds = self.bounds(engine, selected);
        let (lower, upper) = bounds.as_ref().map_or((None, None), |(a, b)| (Some(&a[..]), Some(&b[..])));
        let by_bucket = self.key.is_some() || self.buckets.is_some();
        let families = Family::ALL.into_iter().filter(|family| match self.family {
            Some(only) => *family == only,
            None if by_bucket => *family == Family::Keys,
            None => lower.is_none() || *family != Family::Meta,
        });
        for family in families {
            // Who stops a compaction means all of it.
            if !engine.store().cold.compact(family, lower, upper, self.is_bottom)? {
                break;
            }
        }
        Ok(())
    }
}

/// Takes a number from 0 to `max`.
fn bounded(args: &mut Args<'_>, max: u32) -> Result<u32, CommandError> {
    let number = args.int_within(0, i64::from(max))?;
    Ok(u32::try_from(number).expect("inside the bounds"))
}

/// `COMPACT [STATUS | CANCEL | PAUSE | RESUME | LIMIT bytes-per-second] [options]`
fn compact(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    if let Some(index) = args.one_of(CONTROLS) {
        return control(ctx, CONTROLS[index], args, reply);
    }
    let range = Range::parse(&mut args, ctx.config().databases)?;
    let (engine, db) = (ctx.engine().clone(), ctx.db());
    if range.is_async {
        let job = move || {
            if let Err(error) = range.compact(&engine, db) {
                tracing::warn!(%error, "COMPACT ASYNC failed");
            }
        };
        drop(tokio::task::spawn_blocking(job));
    } else {
        ctx.offload(move || range.compact(&engine, db))??;
    }
    reply.ok();
    Ok(())
}

/// What COMPACT does besides compacting.
const CONTROLS: &[&str] = &["STATUS", "CANCEL", "PAUSE", "RESUME", "LIMIT"];

fn control(
    ctx: &mut Context<'_>,
    word: &str,
    mut args: Args<'_>,
    reply: &mut dyn ReplySink,
) -> CommandResult {
    let limit = if word == "LIMIT" { args.int_within(0, i64::MAX)? } else { 0 };
    args.finish()?;
    if word == "STATUS" {
        compact_status(ctx, reply);
        return Ok(());
    }
    let cold = &ctx.engine().store().cold;
    match word {
        "CANCEL" => cold.cancel_compactions(),
        "LIMIT" => cold.limit_compactions(limit.unsigned_abs()),
        _ => {
            // RocksDB writes a file for each family.
            let (engine, is_paused) = (ctx.engine().clone(), word == "PAUSE");
            ctx.offload(move || engine.store().cold.pause_compactions(is_paused))??;
        }
    }
    reply.ok();
    Ok(())
}

fn compact_status(ctx: &Context<'_>, reply: &mut dyn ReplySink) {
    let stats = ctx.engine().store().cold.stats();
    let numbers = [
        ("running_compactions", stats.running_compactions),
        ("running_flushes", stats.running_flushes),
        ("pending_compaction_bytes", stats.pending_compaction_bytes),
        ("level0_files", stats.level0_files),
        ("disk_bytes", stats.disk_bytes),
        ("live_data_bytes", stats.live_data_bytes),
        ("paused", u64::from(stats.is_compaction_paused)),
        ("limit_bytes_per_second", stats.compaction_bytes_per_second),
    ];
    write_numbers(&numbers, reply);
}
