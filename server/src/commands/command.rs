//! COMMAND: the server describes its own commands, all from the table.

use lux_engine::glob::{Case, is_match};

use crate::admin::{command_docs, help};
use crate::dispatch::args::{Args, Argv};
use crate::dispatch::context::{Command, CommandTable, Context};
use crate::dispatch::reply::{CommandError, CommandResult, ReplySink};
use crate::dispatch::reply_errors as errors;
use crate::dispatch::spec::{Arity, CommandSpec, Flags, Group};

const FLAGS: Flags = Flags::LOADING.with(Flags::STALE);
const BASE: CommandSpec =
    CommandSpec { since: "2.8.13", group: Group::Server, flags: FLAGS, ..CommandSpec::BASE };

pub const COMMANDS: &[CommandSpec] = &[CommandSpec {
    name: "COMMAND",
    summary: "Returns detailed information about all commands.",
    complexity: "O(N) where N is the total number of commands",
    arity: Arity::AtLeast(1),
    acl: &["connection"],
    subcommands: SUBCOMMANDS,
    handler: command,
    ..BASE
}];

const SUBCOMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "COUNT",
        summary: "Returns a count of commands.",
        arity: Arity::Exactly(2),
        acl: &["connection"],
        handler: command_count,
        ..BASE
    },
    CommandSpec {
        name: "DOCS",
        since: "7.0.0",
        summary: "Returns documentary information about one, multiple or all commands.",
        complexity: "O(N) where N is the number of commands to look up",
        arity: Arity::AtLeast(2),
        acl: &["connection"],
        arguments: "[command-name [command-name ...]]",
        handler: command_docs,
        ..BASE
    },
    CommandSpec {
        name: "GETKEYS",
        summary: "Extracts the key names from an arbitrary command.",
        complexity: "O(N) where N is the number of arguments to the command",
        arity: Arity::AtLeast(3),
        acl: &["connection"],
        arguments: "command [arg [arg ...]]",
        handler: command_getkeys,
        ..BASE
    },
    CommandSpec {
        name: "GETKEYSANDFLAGS",
        since: "7.0.0",
        summary: "Extracts the key names and access flags for an arbitrary command.",
        complexity: "O(N) where N is the number of arguments to the command",
        arity: Arity::AtLeast(3),
        acl: &["connection"],
        arguments: "command [arg [arg ...]]",
        handler: command_getkeysandflags,
        ..BASE
    },
    help::spec(Group::Server),
    CommandSpec {
        name: "INFO",
        summary: "Returns information about one, multiple or all commands.",
        complexity: "O(N) where N is the number of commands to look up",
        arity: Arity::AtLeast(2),
        acl: &["connection"],
        arguments: "[command-name [command-name ...]]",
        handler: command_info,
        ..BASE
    },
    CommandSpec {
        name: "LIST",
        since: "7.0.0",
        summary: "Returns a list of command names.",
        complexity: "O(N) where N is the total number of commands",
        arity: Arity::AtLeast(2),
        acl: &["connection"],
        arguments: "[FILTERBY MODULE module-name | ACLCAT category | PATTERN pattern]",
        handler: command_list,
        ..BASE
    },
];

/// `COMMAND`
fn command(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    args.finish()?;
    write_all(ctx.commands(), reply);
    Ok(())
}

fn write_all(table: &CommandTable, reply: &mut dyn ReplySink) {
    reply.array(table.top_level().count());
    table.top_level().for_each(|command| command_docs::write_info(table, command, reply));
}

/// `COMMAND COUNT`
fn command_count(ctx: &mut Context<'_>, _: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    reply.integer(ctx.commands().top_level().count() as i64);
    Ok(())
}

/// `COMMAND INFO [command-name [command-name ...]]`
fn command_info(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    if args.is_empty() {
        write_all(ctx.commands(), reply);
        return Ok(());
    }
    reply.array(args.remaining());
    for name in args {
        match ctx.commands().by_full_name(name) {
            Some(command) => command_docs::write_info(ctx.commands(), command, reply),
            None => reply.null(),
        }
    }
    Ok(())
}

/// `COMMAND DOCS [command-name [command-name ...]]`
fn command_docs(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let commands: Vec<&Command> = match args.is_empty() {
        true => ctx.commands().top_level().collect(),
        false => args.filter_map(|name| ctx.commands().by_full_name(name)).collect(),
    };
    reply.map(commands.len());
    for command in commands {
        reply.bulk(command.full_name.as_bytes());
        command_docs::write_docs(ctx.commands(), command, reply);
    }
    Ok(())
}

/// `COMMAND LIST [FILTERBY MODULE module-name | ACLCAT category | PATTERN pattern]`
fn command_list(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let picks: Box<dyn Fn(&Command) -> bool + '_> = if args.is_empty() {
        Box::new(|command| command.container.is_none())
    } else if args.remaining() == 3 && args.keyword("FILTERBY") {
        match args.one_of(&["MODULE", "ACLCAT", "PATTERN"]) {
            Some(0) => Box::new(|_| false),
            Some(1) => {
                let category = String::from_utf8_lossy(args.bytes()?).to_ascii_lowercase();
                Box::new(move |command| command_docs::is_in_category(command.spec, &category))
            }
            Some(_) => {
                let pattern = args.bytes()?;
                Box::new(move |command| is_match(pattern, command.full_name.as_bytes(), Case::Insensitive))
            }
            None => return Err(errors::SYNTAX),
        }
    } else {
        return Err(errors::SYNTAX);
    };
    let names: Vec<&Command> = ctx.commands().all().iter().filter(|command| picks(command)).collect();
    reply.array(names.len());
    names.iter().for_each(|command| reply.bulk(command.full_name.as_bytes()));
    Ok(())
}

/// A call given as arguments, and where its keys are.
struct Call<'a> {
    command: &'static Command,
    argv: Argv<'a>,
    keys: Vec<usize>,
}

impl<'a> Call<'a> {
    fn parse(table: &'static CommandTable, args: &Args<'a>) -> Result<Self, CommandError> {
        let argv = args.rest();
        let command = table.resolve(argv).map_err(|_| errors::KEYS_INVALID_COMMAND)?;
        if command.spec.keys.is_none() {
            return Err(errors::KEYS_NONE);
        }
        if !command.spec.arity.accepts(argv.len()) {
            return Err(errors::KEYS_INVALID_ARITY);
        }
        let mut keys = Vec::new();
        command.spec.keys.find(argv, &mut keys);
        // Scripts may do without keys.
        let wants_none = command.spec.flags.has(Flags::CALLS) && argv.get(2) == Some(b"0");
        if keys.is_empty() && !wants_none {
            return Err(errors::KEYS_INVALID_ARGS);
        }
        Ok(Call { command, argv, keys })
    }

    fn keys(&self) -> impl Iterator<Item = &'a [u8]> {
        self.keys.iter().filter_map(|index| self.argv.get(*index))
    }
}

/// `COMMAND GETKEYS command [arg [arg ...]]`
fn command_getkeys(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let call = Call::parse(ctx.commands(), &args)?;
    reply.array(call.keys.len());
    call.keys().for_each(|key| reply.bulk(key));
    Ok(())
}

/// `COMMAND GETKEYSANDFLAGS command [arg [arg ...]]`
fn command_getkeysandflags(
    ctx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut dyn ReplySink,
) -> CommandResult {
    let call = Call::parse(ctx.commands(), &args)?;
    reply.array(call.keys.len());
    for (nth, key) in call.keys().enumerate() {
        let access = command_docs::access_of(call.command.spec, call.argv, nth);
        reply.array(2);
        reply.bulk(key);
        reply.set(access.len());
        access.iter().for_each(|flag| reply.simple(flag));
    }
    Ok(())
}
