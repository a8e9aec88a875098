//! Hash commands about the lifetimes of fields.
//!
//! Their arguments end with `FIELDS numfields field ...`. Errors come in Valkey's order: options, the
//! number of fields, the time, the key; HGETEX and HSETEX look at the key before the time.

use lux_engine::ids::ExpireAt;
use lux_engine::value::hash::{Changes, Condition, Field, FieldExpiry, Lifetime, Presence};
use lux_engine::wal::effect::Operation;

use super::{limits, pairs, plan, settle};
use crate::dispatch::args::{Args, Argv, parse_int};
use crate::dispatch::context::Context;
use crate::dispatch::reply::{CommandError, CommandResult, ReplySink};
use crate::dispatch::reply_errors as errors;

/// What a time counts, and from when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Clock {
    is_seconds: bool,
    is_unix: bool,
}

const SECONDS: Clock = Clock { is_seconds: true, is_unix: false };
const MILLISECONDS: Clock = Clock { is_seconds: false, is_unix: false };
const UNIX_SECONDS: Clock = Clock { is_seconds: true, is_unix: true };
const UNIX_MILLISECONDS: Clock = Clock { is_seconds: false, is_unix: true };

/// The options that name a time.
const CLOCKS: [(&str, Clock); 4] =
    [("EX", SECONDS), ("PX", MILLISECONDS), ("EXAT", UNIX_SECONDS), ("PXAT", UNIX_MILLISECONDS)];

impl Clock {
    /// The deadline that `text` means for this command; zero is a time, less is not.
    fn deadline(self, text: &[u8], ctx: &Context<'_>) -> Result<ExpireAt, CommandError> {
        let amount = parse_int(text).ok_or(errors::NOT_AN_INTEGER)?;
        let scale = if self.is_seconds { 1000 } else { 1 };
        let base = if self.is_unix { 0 } else { ctx.now_ms().cast_signed() };
        let deadline = Some(amount).filter(|n| *n >= 0).and_then(|n| n.checked_mul(scale)?.checked_add(base));
        deadline
            .map(|ms| ExpireAt(ms.unsigned_abs()))
            .ok_or_else(|| errors::invalid_expire(&ctx.command.full_name))
    }
}

/// The options before `FIELDS`, and what comes after it. `None`: the word is not there.
fn split_at_fields<'a>(args: &Args<'a>) -> Option<(Args<'a>, Args<'a>)> {
    let rest = args.rest();
    // The last argument cannot be it.
    let before_last = rest.len().saturating_sub(1);
    let at = rest.iter().take(before_last).position(|arg| arg.eq_ignore_ascii_case(b"FIELDS"))?;
    Some((Args::new(rest.slice(0, at), 0), Args::new(rest, at + 1)))
}

/// Takes `numfields` and that many groups of `width` arguments, which must be all that is left.
fn take_fields<'a>(
    args: &mut Args<'a>,
    width: usize,
    mismatch: CommandError,
) -> Result<Argv<'a>, CommandError> {
    let count = args.int()?;
    let is_right = usize::try_from(count)
        .is_ok_and(|count| count > 0 && count.checked_mul(width) == Some(args.remaining()));
    if is_right { Ok(args.rest()) } else { Err(mismatch) }
}

/// Takes `FIELDS numfields field ...` where nothing may stand before it.
fn take_fields_only<'a>(args: &mut Args<'a>, mismatch: CommandError) -> Result<Argv<'a>, CommandError> {
    if !args.keyword("FIELDS") {
        return Err(errors::SYNTAX);
    }
    take_fields(args, 1, mismatch)
}

/// `HEXPIRE key seconds [condition] FIELDS numfields field [field ...]`
pub(super) fn hexpire(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    expire_fields(ctx, args, reply, SECONDS)
}

/// `HPEXPIRE key milliseconds [condition] FIELDS numfields field [field ...]`
pub(super) fn hpexpire(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    expire_fields(ctx, args, reply, MILLISECONDS)
}

/// `HEXPIREAT key unix-time-seconds [condition] FIELDS numfields field [field ...]`
pub(super) fn hexpireat(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    expire_fields(ctx, args, reply, UNIX_SECONDS)
}

/// `HPEXPIREAT key unix-time-milliseconds [condition] FIELDS numfields field [field ...]`
pub(super) fn hpexpireat(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    expire_fields(ctx, args, reply, UNIX_MILLISECONDS)
}

/// When HEXPIRE may change a lifetime, as given: XX goes with GT or LT.
#[derive(Default)]
struct Conditions {
    nx: bool,
    xx: bool,
    gt: bool,
    lt: bool,
}

impl Conditions {
    fn parse(mut options: Args<'_>) -> Result<Self, CommandError> {
        let mut given = Conditions::default();
        while !options.is_empty() {
            match options.one_of(&["NX", "XX", "GT", "LT"]) {
                Some(0) => given.nx = true,
                Some(1) => given.xx = true,
                Some(2) => given.gt = true,
                Some(_) => given.lt = true,
                None => {
                    let word = String::from_utf8_lossy(options.bytes()?).into_owned();
                    return Err(CommandError::composed(format!("ERR Unsupported option {word}")));
                }
            }
        }
        if given.nx && (given.xx || given.gt || given.lt) {
            return Err(errors::EXPIRE_NX_AND_OTHERS);
        }
        if given.gt && given.lt {
            return Err(errors::EXPIRE_GT_AND_LT);
        }
        Ok(given)
    }

    /// The same as one condition. GT implies XX, since no deadline is the latest one.
    fn condition(&self) -> Condition {
        match self {
            Conditions { nx: true, .. } => Condition::IfNone,
            Conditions { gt: true, .. } => Condition::IfLater,
            Conditions { lt: true, xx: true, .. } => Condition::IfAnyAndEarlier,
            Conditions { lt: true, .. } => Condition::IfEarlier,
            Conditions { xx: true, .. } => Condition::IfAny,
            _ => Condition::Always,
        }
    }
}

fn expire_fields(
    ctx: &mut Context<'_>,
    mut args: Args<'_>,
    reply: &mut dyn ReplySink,
    clock: Clock,
) -> CommandResult {
    let (key, time) = (args.key()?, args.bytes()?);
    let (options, mut rest) = split_at_fields(&args).ok_or(errors::NUMFIELDS)?;
    let condition = Conditions::parse(options)?.condition();
    let names = take_fields(&mut rest, 1, errors::NUMFIELDS)?;
    let (deadline, now_ms) = (clock.deadline(time, ctx)?, ctx.now_ms());
    reply.array(names.len());
    let (changes, edit) = plan(ctx, key, |hash, edit| {
        let mut write = |outcome: FieldExpiry| reply.integer(outcome.code());
        hash.plan_expire(names.iter(), deadline, condition, now_ms, edit, &mut write)
    })?;
    settle_as(ctx, key, changes, &edit, Operation::HExpire)
}

/// Emits a plan under the name of what it does: `operation`, or the end of fields.
fn settle_as(
    ctx: &mut Context<'_>,
    key: &[u8],
    changes: Changes,
    edit: &[u8],
    operation: Operation,
) -> CommandResult {
    let is_end = changes.removed > 0 && changes.changed == 0;
    ctx.set_operation(if is_end { Operation::HExpired } else { operation });
    settle(ctx, key, changes, edit)
}

/// `HPERSIST key FIELDS numfields field [field ...]`
pub(super) fn hpersist(
    ctx: &mut Context<'_>,
    mut args: Args<'_>,
    reply: &mut dyn ReplySink,
) -> CommandResult {
    let (key, now_ms) = (args.key()?, ctx.now_ms());
    let names = take_fields_only(&mut args, errors::NUMFIELDS)?;
    reply.array(names.len());
    let (changes, edit) = plan(ctx, key, |hash, edit| {
        let mut write = |outcome: FieldExpiry| reply.integer(outcome.code());
        hash.plan_persist(names.iter(), now_ms, edit, &mut write)
    })?;
    settle(ctx, key, changes, &edit)
}

/// `HTTL key FIELDS numfields field [field ...]`
pub(super) fn httl(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let now_ms = ctx.now_ms();
    write_deadlines(ctx, args, reply, |at| at.0.saturating_sub(now_ms).saturating_add(500) / 1000)
}

/// `HPTTL key FIELDS numfields field [field ...]`
pub(super) fn hpttl(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let now_ms = ctx.now_ms();
    write_deadlines(ctx, args, reply, |at| at.0.saturating_sub(now_ms))
}

/// `HEXPIRETIME key FIELDS numfields field [field ...]`
pub(super) fn hexpiretime(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    write_deadlines(ctx, args, reply, |at| at.0.saturating_add(500) / 1000)
}

/// `HPEXPIRETIME key FIELDS numfields field [field ...]`
pub(super) fn hpexpiretime(
    ctx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut dyn ReplySink,
) -> CommandResult {
    write_deadlines(ctx, args, reply, |at| at.0)
}

/// Writes deadlines as `show` turns them; -2 without the field, -1 without a deadline.
fn write_deadlines(
    ctx: &mut Context<'_>,
    mut args: Args<'_>,
    reply: &mut dyn ReplySink,
    show: impl Fn(ExpireAt) -> u64,
) -> CommandResult {
    let (key, now_ms) = (args.key()?, ctx.now_ms());
    let names = take_fields_only(&mut args, errors::SYNTAX)?;
    let hash = ctx.hash(key)?;
    reply.array(names.len());
    for name in names.iter() {
        reply.integer(match hash.and_then(|hash| hash.get(name, now_ms)) {
            None => -2,
            Some(Field { deadline: None, .. }) => -1,
            Some(Field { deadline: Some(at), .. }) => show(at).cast_signed(),
        });
    }
    Ok(())
}

/// What HGETEX and HSETEX do to lifetimes, as given: a time is read later.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Given<'a> {
    Unsaid,
    /// PERSIST or KEEPTTL.
    Word,
    Until(Clock, &'a [u8]),
}

impl<'a> Given<'a> {
    /// Takes a lifetime option. A second one may only repeat the first, with another time.
    fn take(&mut self, options: &mut Args<'a>, word: &str) -> Result<bool, CommandError> {
        let before = *self;
        let repeats = if options.keyword(word) {
            *self = Given::Word;
            before == Given::Word
        } else if let Some((_, clock)) = CLOCKS.iter().find(|(word, _)| options.keyword(word)) {
            *self = Given::Until(*clock, options.bytes()?);
            matches!(before, Given::Until(other, _) if other == *clock)
        } else {
            return Ok(false);
        };
        if before == Given::Unsaid || repeats { Ok(true) } else { Err(errors::SYNTAX) }
    }

    /// The lifetime, where `unsaid` and `word` are those of no option and of the option without a time.
    fn lifetime(self, ctx: &Context<'_>, unsaid: Lifetime, word: Lifetime) -> Result<Lifetime, CommandError> {
        Ok(match self {
            Given::Unsaid => unsaid,
            Given::Word => word,
            Given::Until(clock, text) => Lifetime::Until(clock.deadline(text, ctx)?),
        })
    }
}

/// `HGETEX key [lifetime] FIELDS numfields field [field ...]`
pub(super) fn hgetex(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let (key, now_ms) = (args.key()?, ctx.now_ms());
    let (mut options, mut rest) = split_at_fields(&args).ok_or(errors::NUMFIELDS)?;
    let mut given = Given::Unsaid;
    while !options.is_empty() {
        if !given.take(&mut options, "PERSIST")? {
            return Err(errors::SYNTAX);
        }
    }
    let names = take_fields(&mut rest, 1, errors::NUMFIELDS)?;
    ctx.hash(key)?;
    let lifetime = given.lifetime(ctx, Lifetime::Keep, Lifetime::Clear)?;
    reply.array(names.len());
    let (changes, edit) = plan(ctx, key, |hash, edit| {
        hash.plan_get_expire(names.iter(), lifetime, now_ms, edit, &mut |value| reply.bulk_or_null(value))
    })?;
    let operation = if lifetime == Lifetime::Clear { Operation::HPersist } else { Operation::HExpire };
    settle_as(ctx, key, changes, &edit, operation)
}

/// The options of HSETEX.
struct SetOptions<'a> {
    /// NX and XX: whether the key has to be there.
    key_is_there: Option<bool>,
    presence: Presence,
    given: Given<'a>,
}

impl<'a> SetOptions<'a> {
    fn parse(mut options: Args<'a>) -> Result<Self, CommandError> {
        let mut parsed = SetOptions { key_is_there: None, presence: Presence::Any, given: Given::Unsaid };
        while !options.is_empty() {
            if let Some(at) = options.one_of(&["NX", "XX"]) {
                let wanted = at == 1;
                if parsed.key_is_there.is_some_and(|before| before != wanted) {
                    return Err(errors::SYNTAX);
                }
                parsed.key_is_there = Some(wanted);
            } else if let Some(at) = options.one_of(&["FNX", "FXX"]) {
                let wanted = if at == 0 { Presence::None } else { Presence::All };
                if parsed.presence != Presence::Any && parsed.presence != wanted {
                    return Err(errors::SYNTAX);
                }
                parsed.presence = wanted;
            } else if !parsed.given.take(&mut options, "KEEPTTL")? {
                return Err(errors::SYNTAX);
            }
        }
        Ok(parsed)
    }
}

/// `HSETEX key [conditions] [lifetime] FIELDS numfields field value [field value ...]`
pub(super) fn hsetex(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let (key, now_ms) = (args.key()?, ctx.now_ms());
    let (options, mut rest) = split_at_fields(&args).ok_or(errors::NUMFIELDS)?;
    let options = SetOptions::parse(options)?;
    let fields = take_fields(&mut rest, 2, errors::NUMFIELDS)?;
    let is_there = ctx.hash(key)?.is_some_and(|hash| hash.live_len(now_ms) > 0);
    if options.key_is_there.is_some_and(|wanted| wanted != is_there) {
        reply.integer(0);
        return Ok(());
    }
    let lifetime = options.given.lifetime(ctx, Lifetime::Clear, Lifetime::Keep)?;
    let limits = limits(ctx);
    let (changes, edit) = plan(ctx, key, |hash, edit| {
        hash.plan_set_expire(pairs(fields), options.presence, lifetime, &limits, now_ms, edit)
    })?;
    if let Some(changes) = changes {
        settle_as(ctx, key, changes, &edit, Operation::HSet)?;
    }
    reply.integer(i64::from(changes.is_some()));
    Ok(())
}

/// `HGETDEL key FIELDS numfields field [field ...]`
pub(super) fn hgetdel(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let (key, now_ms) = (args.key()?, ctx.now_ms());
    let names = take_fields_only(&mut args, errors::NUMFIELDS)?;
    reply.array(names.len());
    let (changes, edit) = plan(ctx, key, |hash, edit| {
        hash.plan_get_remove(names.iter(), now_ms, edit, &mut |value| reply.bulk_or_null(value))
    })?;
    ctx.set_operation(Operation::HDel);
    settle(ctx, key, changes, &edit)
}
