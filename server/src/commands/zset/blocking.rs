//! Sorted set commands that wait for a member: BZPOPMIN, BZPOPMAX, BZMPOP.
//!
//! When no key has members, the client waits; what others wait for longer is left to them.

use std::sync::Arc;
use std::time::Duration;

use lux_engine::value::TypeTag;

use super::change::{ManyPop, pop_elements, pop_many, pop_operation};
use crate::blocking::{Block, Lane};
use crate::dispatch::args::{Args, Argv};
use crate::dispatch::context::Context;
use crate::dispatch::reply::{CommandError, CommandResult, ReplySink};

/// The first key that has members for this command.
fn first_to_serve<'a>(ctx: &mut Context<'_>, keys: Argv<'a>) -> Result<Option<&'a [u8]>, CommandError> {
    if ctx.is_called_in_vain(TypeTag::ZSet)? {
        return Ok(None);
    }
    for key in keys.iter() {
        if ctx.zset(key)?.is_some() && !ctx.is_behind(key, &Lane::SortedSet) {
            return Ok(Some(key));
        }
    }
    Ok(None)
}

/// Waits for a member of one of the keys.
fn wait(ctx: &mut Context<'_>, keys: Argv<'_>, timeout: Option<Duration>, reply: &mut dyn ReplySink) {
    reply.null_array();
    let keys = keys.iter().map(Arc::from).collect();
    ctx.block(Block { lane: Lane::SortedSet, keys, timeout, memo: None });
}

/// `BZPOPMIN key [key ...] timeout`
pub(super) fn bzpopmin(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    pop(ctx, args, false, reply)
}

/// `BZPOPMAX key [key ...] timeout`
pub(super) fn bzpopmax(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    pop(ctx, args, true, reply)
}

fn pop(ctx: &mut Context<'_>, mut args: Args<'_>, is_max: bool, reply: &mut dyn ReplySink) -> CommandResult {
    let keys = args.rest().slice(0, args.remaining() - 1);
    args.nth(keys.len() - 1);
    let timeout = args.timeout(ctx.now_ms())?;
    let Some(key) = first_to_serve(ctx, keys)? else {
        wait(ctx, keys, timeout, reply);
        return Ok(());
    };
    ctx.set_operation(pop_operation(is_max));
    reply.array(3);
    reply.bulk(key);
    pop_elements(ctx, key, is_max, 1, false, reply)
}

/// `BZMPOP timeout numkeys key [key ...] MIN | MAX [COUNT count]`
pub(super) fn bzmpop(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    // What is wrong with the other arguments is said first.
    let mut timeout = args;
    args.bytes()?;
    let wanted = ManyPop::take(&mut args)?;
    let timeout = timeout.timeout(ctx.now_ms())?;
    match first_to_serve(ctx, wanted.keys)? {
        Some(key) => pop_many(ctx, key, &wanted, reply).map(drop),
        None => {
            wait(ctx, wanted.keys, timeout, reply);
            Ok(())
        }
    }
}
