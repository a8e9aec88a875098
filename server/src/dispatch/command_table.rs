//! The one registry of commands: joins the families' slices and answers lookups.
//!
//! Built once, on first use. Every command and subcommand gets a dense number, which indexes the
//! per-worker counters. A lookup hashes the upper-cased name and allocates nothing.

use std::sync::LazyLock;

use lux_engine::wal::effect::Operation;

use super::args::Argv;
use super::reply::CommandError;
use super::reply_errors;
use super::spec::CommandSpec;
use crate::commands;

/// The families, in the order of the reference page. The only list of them.
const FAMILIES: &[&[CommandSpec]] = &[
    commands::string::COMMANDS,
    commands::bitmap::COMMANDS,
    commands::hyperloglog::COMMANDS,
    commands::hash::COMMANDS,
    commands::set::COMMANDS,
    commands::list::COMMANDS,
    commands::stream::COMMANDS,
    commands::zset::COMMANDS,
    commands::geo::COMMANDS,
    commands::generic::COMMANDS,
    commands::sort::COMMANDS,
    commands::dump::COMMANDS,
    commands::expire::COMMANDS,
    commands::transactions::COMMANDS,
    commands::scripting::COMMANDS,
    commands::scripting::function::COMMANDS,
    commands::connection::COMMANDS,
    commands::admin::COMMANDS,
    commands::command::COMMANDS,
    commands::config::COMMANDS,
    commands::memory::COMMANDS,
    commands::tier::COMMANDS,
    commands::debug::COMMANDS,
];

/// Slots of the hash table: a power of two, far above the number of commands.
const SLOTS: usize = 2048;

/// No command in this slot.
const VACANT: u16 = u16::MAX;

static TABLE: LazyLock<CommandTable> = LazyLock::new(CommandTable::build);

/// The command table of this server.
#[must_use]
pub fn table() -> &'static CommandTable {
    &TABLE
}

/// A command or a subcommand in the table.
pub struct Command {
    pub spec: &'static CommandSpec,
    /// Dense number of the command, the index of its counters.
    pub id: usize,
    /// As errors, COMMAND and commandstats spell it: "get", "config|get".
    pub full_name: String,
    /// The container's number, for a subcommand.
    pub container: Option<usize>,
    /// What events of its changes are called, if it makes any.
    pub operation: Option<Operation>,
    /// Numbers of the subcommands, in declared order.
    pub subcommands: Vec<usize>,
}

impl Command {
    /// How many words of a request name the command.
    #[must_use]
    pub fn words(&self) -> usize {
        1 + usize::from(self.container.is_some())
    }
}

/// All commands, by number and by name.
pub struct CommandTable {
    commands: Vec<Command>,
    slots: Box<[u16; SLOTS]>,
}

impl CommandTable {
    fn build() -> Self {
        let mut table = CommandTable { commands: Vec::new(), slots: Box::new([VACANT; SLOTS]) };
        for spec in FAMILIES.iter().copied().flatten() {
            let container = table.push(spec, None);
            for subcommand in spec.subcommands {
                let id = table.push(subcommand, Some(container));
                table.commands[container].subcommands.push(id);
            }
            table.index(container);
        }
        table
    }

    fn push(&mut self, spec: &'static CommandSpec, container: Option<usize>) -> usize {
        let id = self.commands.len();
        let name = spec.name.to_ascii_lowercase();
        let full_name = match container {
            Some(container) => format!("{}|{name}", self.commands[container].full_name),
            None => name,
        };
        let operation = Operation::of(&full_name);
        self.commands.push(Command { spec, id, full_name, container, operation, subcommands: Vec::new() });
        id
    }

    fn index(&mut self, id: usize) {
        let mut slot = slot_of(self.commands[id].spec.name.as_bytes());
        while self.slots[slot] != VACANT {
            slot = (slot + 1) % SLOTS;
        }
        self.slots[slot] = u16::try_from(id).expect("there are fewer than 65,535 commands");
    }

    /// A command (not a subcommand) by its name in any case.
    #[must_use]
    pub fn by_name(&self, name: &[u8]) -> Option<&Command> {
        let mut slot = slot_of(name);
        loop {
            let command = self.commands.get(usize::from(self.slots[slot]))?;
            if command.spec.name.as_bytes().eq_ignore_ascii_case(name) {
                return Some(command);
            }
            slot = (slot + 1) % SLOTS;
        }
    }

    /// The command or subcommand a request names, or the error Redis answers with.
    pub fn resolve(&self, argv: Argv<'_>) -> Result<&Command, CommandError> {
        let name = argv.get(0).unwrap_or_default();
        let command =
            self.by_name(name).ok_or_else(|| reply_errors::unknown_command(name, argv.iter().skip(1)))?;
        match argv.get(1) {
            Some(word) if !command.subcommands.is_empty() => self
                .subcommand(command, word)
                .ok_or_else(|| reply_errors::unknown_subcommand(command.spec.name, word)),
            _ => Ok(command),
        }
    }

    /// A subcommand of a container by its name in any case.
    #[must_use]
    pub fn subcommand<'t>(&'t self, container: &'t Command, name: &[u8]) -> Option<&'t Command> {
        self.subcommands_of(container).find(|sub| sub.spec.name.as_bytes().eq_ignore_ascii_case(name))
    }

    /// A command by the name errors show: "get", "config|get".
    #[must_use]
    pub fn by_full_name(&self, full_name: &[u8]) -> Option<&Command> {
        match full_name.iter().position(|byte| *byte == b'|') {
            Some(bar) => self.subcommand(self.by_name(&full_name[..bar])?, &full_name[bar + 1..]),
            None => self.by_name(full_name),
        }
    }

    pub fn subcommands_of<'t>(&'t self, container: &'t Command) -> impl Iterator<Item = &'t Command> {
        container.subcommands.iter().map(|id| &self.commands[*id])
    }

    /// Commands without their subcommands, in declared order.
    pub fn top_level(&self) -> impl Iterator<Item = &Command> {
        self.commands.iter().filter(|command| command.container.is_none())
    }

    /// Commands and subcommands, by number.
    #[must_use]
    pub fn all(&self) -> &[Command] {
        &self.commands
    }
}

/// The reference page of all commands, as Markdown.
#[must_use]
pub fn reference_page() -> String {
    let mut page = String::from(
        "# Commands\n\nGenerated from the command table (`lux --print-commands`); do not edit.\n",
    );
    let mut groups: Vec<&str> = Vec::new();
    for command in table().top_level() {
        let group = command.spec.group.name();
        if !groups.contains(&group) {
            groups.push(group);
        }
    }
    for group in groups {
        page += &format!("\n## {group}\n\n| command | does | cost | since |\n|---|---|---|---|\n");
        let in_group = |command: &&Command| command.spec.group.name() == group;
        for command in table().all().iter().filter(in_group) {
            let is_bare_container = !command.subcommands.is_empty() && !command.spec.arity.accepts(1);
            if is_bare_container {
                continue;
            }
            let spec = command.spec;
            let name = command.full_name.to_uppercase().replace('|', " ");
            let call = format!("{name} {}", spec.arguments).trim_end().replace('|', "\\|");
            page += &format!("| `{call}` | {} | {} | {} |\n", spec.summary, spec.complexity, spec.since);
        }
    }
    page
}

/// FNV-1a over the upper-cased name.
fn slot_of(name: &[u8]) -> usize {
    let hash = name.iter().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
        (hash ^ u64::from(byte.to_ascii_uppercase())).wrapping_mul(0x0100_0000_01b3)
    });
    (hash ^ (hash >> 32)) as usize % SLOTS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::spec::{Arity, Flags, Group};

    #[test]
    fn names_are_unique_upper_case_and_found_in_any_case() {
        for command in table().top_level() {
            let name = command.spec.name;
            assert_eq!(name, name.to_ascii_uppercase());
            assert_eq!(table().by_name(name.to_ascii_lowercase().as_bytes()).map(|c| c.id), Some(command.id));
        }
        for command in table().all() {
            let found = table().by_full_name(command.full_name.as_bytes()).map(|c| c.id);
            assert_eq!(found, Some(command.id), "{} is there twice", command.full_name);
        }
        assert!(table().by_name(b"NOSUCH").is_none());
        assert!(table().by_name(b"").is_none());
    }

    #[test]
    fn every_spec_says_what_it_does_and_is_coherent() {
        for Command { spec, full_name, .. } in table().all() {
            assert!(!spec.summary.is_empty(), "{full_name} has no summary");
            assert!(spec.summary.ends_with('.'), "{full_name}: the summary is a sentence");
            let both = Flags::WRITE.with(Flags::READONLY);
            assert!(!spec.flags.has(both), "{full_name} writes and does not");
            let needs_write = spec.flags.has(Flags::DENY_OOM) || spec.flags.has(Flags::RESERVE);
            assert!(!needs_write || spec.flags.has(Flags::WRITE), "{full_name} lacks WRITE");
            assert!(!spec.flags.has(Flags::DENY_OOM.with(Flags::RESERVE)), "{full_name} adds and removes");
            if spec.keys.is_none() && spec.flags.has(Flags::WRITE) {
                assert!(spec.flags.has(Flags::ALL_SHARDS), "{full_name} writes without keys");
            }
            if !spec.keys.is_none() {
                // WATCH notes which state its keys have; what a script does with its keys is its affair.
                let either = spec.flags.has(Flags::WRITE)
                    || spec.flags.has(Flags::READONLY)
                    || matches!(spec.group, Group::Transactions | Group::Scripting);
                assert!(either, "{full_name} has keys but neither reads nor writes");
                assert!(!spec.arity.accepts(1), "{full_name} has keys but takes none");
            }
            assert_ne!(spec.arity, Arity::AtLeast(0), "{full_name}: the name counts");
        }
    }
}
