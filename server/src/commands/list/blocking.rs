//! List commands that wait for an element: BLPOP, BRPOP, BLMPOP, BLMOVE, BRPOPLPUSH.
//!
//! Each does what its namesake without the B does. When that finds nothing, the client waits; when it finds
//! something that others wait for longer, it leaves it to them.

use std::sync::Arc;
use std::time::Duration;

use lux_engine::value::TypeTag;
use lux_engine::value::list::End;

use super::{ManyPop, change, limits, move_element, pop_many, pop_operation, take_end};
use crate::blocking::{Block, Lane};
use crate::dispatch::args::Args;
use crate::dispatch::context::Context;
use crate::dispatch::reply::{CommandError, CommandResult, ReplySink};
use crate::dispatch::reply_errors as errors;

/// The first key that has elements for this command.
fn first_to_serve<'k>(
    ctx: &mut Context<'_>,
    keys: impl Iterator<Item = &'k [u8]>,
) -> Result<Option<&'k [u8]>, CommandError> {
    if ctx.is_called_in_vain(TypeTag::List)? {
        return Ok(None);
    }
    for key in keys {
        if ctx.list(key)?.is_some() && !ctx.is_behind(key, &Lane::List) {
            return Ok(Some(key));
        }
    }
    Ok(None)
}

/// Waits for an element of one of the keys.
fn wait<'k>(ctx: &mut Context<'_>, keys: impl Iterator<Item = &'k [u8]>, timeout: Option<Duration>) {
    ctx.block(Block { lane: Lane::List, keys: keys.map(Arc::from).collect(), timeout, memo: None });
}

/// `BLPOP key [key ...] timeout`
pub(super) fn blpop(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    pop(ctx, args, End::Front, reply)
}

/// `BRPOP key [key ...] timeout`
pub(super) fn brpop(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    pop(ctx, args, End::Back, reply)
}

fn pop(ctx: &mut Context<'_>, mut args: Args<'_>, end: End, reply: &mut dyn ReplySink) -> CommandResult {
    let keys = args.rest().slice(0, args.remaining() - 1);
    args.nth(keys.len() - 1);
    let timeout = args.timeout(ctx.now_ms())?;
    let limits = limits(ctx);
    let Some(key) = first_to_serve(ctx, keys.iter())? else {
        reply.null_array();
        wait(ctx, keys.iter(), timeout);
        return Ok(());
    };
    let list = ctx.list(key)?.ok_or(errors::NO_SUCH_KEY)?;
    let mut edit = Vec::new();
    let popped = list.plan_pop(end, 1, limits, &mut edit);
    reply.array(2);
    reply.bulk(key);
    reply.bulk_or_null(list.from_end(end).next());
    let is_left = list.len() > popped;
    ctx.set_operation(pop_operation(end));
    change(ctx, key, &edit, is_left)
}

/// `BLMPOP timeout numkeys key [key ...] LEFT | RIGHT [COUNT count]`
pub(super) fn blmpop(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    // What is wrong with the other arguments is said first.
    let mut timeout = args;
    args.bytes()?;
    let wanted = ManyPop::take(&mut args)?;
    let timeout = timeout.timeout(ctx.now_ms())?;
    match first_to_serve(ctx, wanted.keys.iter())? {
        Some(key) => pop_many(ctx, key, &wanted, reply).map(drop),
        None => {
            reply.null_array();
            wait(ctx, wanted.keys.iter(), timeout);
            Ok(())
        }
    }
}

/// `BLMOVE source destination LEFT | RIGHT LEFT | RIGHT timeout`
pub(super) fn blmove(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let (source, destination) = (args.key()?, args.key()?);
    let (from, to) = (take_end(&mut args)?, take_end(&mut args)?);
    let timeout = args.timeout(ctx.now_ms())?;
    move_or_wait(ctx, (source, from), (destination, to), timeout, reply)
}

/// `BRPOPLPUSH source destination timeout`
pub(super) fn brpoplpush(
    ctx: &mut Context<'_>,
    mut args: Args<'_>,
    reply: &mut dyn ReplySink,
) -> CommandResult {
    let (source, destination) = (args.key()?, args.key()?);
    let timeout = args.timeout(ctx.now_ms())?;
    move_or_wait(ctx, (source, End::Back), (destination, End::Front), timeout, reply)
}

fn move_or_wait(
    ctx: &mut Context<'_>,
    (source, from): (&[u8], End),
    (destination, to): (&[u8], End),
    timeout: Option<Duration>,
    reply: &mut dyn ReplySink,
) -> CommandResult {
    if first_to_serve(ctx, std::iter::once(source))?.is_none() {
        reply.null();
        wait(ctx, std::iter::once(source), timeout);
        return Ok(());
    }
    move_element(ctx, (source, from), (destination, to), reply)
}
