//! The HELP subcommand of every container, derived from the command table.

use crate::dispatch::args::Args;
use crate::dispatch::context::Context;
use crate::dispatch::reply::{CommandResult, ReplySink};
use crate::dispatch::spec::{Arity, CommandSpec, Flags, Group};

/// The spec of a container's HELP.
#[must_use]
pub const fn spec(group: Group) -> CommandSpec {
    CommandSpec {
        name: "HELP",
        since: "5.0.0",
        group,
        summary: "Prints this help.",
        arity: Arity::Exactly(2),
        flags: Flags::LOADING.with(Flags::STALE),
        handler: help,
        ..CommandSpec::BASE
    }
}

/// `<container> HELP`
fn help(ctx: &mut Context<'_>, _: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let table = ctx.commands();
    let Some(container) = ctx.command.container.and_then(|id| table.all().get(id)) else { return Ok(()) };
    let title = format!("{} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:", container.spec.name);
    reply.array(1 + 2 * container.subcommands.len());
    reply.simple(&title);
    for subcommand in table.subcommands_of(container) {
        let call = format!("{} {}", subcommand.spec.name, subcommand.spec.arguments);
        reply.simple(call.trim_end());
        reply.simple(&format!("    {}", subcommand.spec.summary));
    }
    Ok(())
}
