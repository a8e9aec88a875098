//! COMMAND's replies, derived from the command table.

use crate::dispatch::args::Argv;
use crate::dispatch::context::{Command, CommandTable};
use crate::dispatch::reply::ReplySink;
use crate::dispatch::spec::{CommandSpec, Flags, Keys};

/// All ACL categories, in Redis's order, then Lux's own.
pub const CATEGORIES: &[&str] = &[
    "keyspace",
    "read",
    "write",
    "set",
    "sortedset",
    "list",
    "hash",
    "string",
    "bitmap",
    "hyperloglog",
    "geo",
    "stream",
    "pubsub",
    "admin",
    "fast",
    "slow",
    "blocking",
    "dangerous",
    "connection",
    "transaction",
    "scripting",
    "table",
    "timeseries",
    "vector",
    "realtime",
    "tier",
];

/// The ACL categories of a command: what its spec says, what its group and flags imply.
pub fn categories(spec: &CommandSpec) -> impl Iterator<Item = &'static str> {
    CATEGORIES.iter().copied().filter(|category| is_in_category(spec, category))
}

/// Whether a command belongs to an ACL category.
#[must_use]
pub fn is_in_category(spec: &CommandSpec, category: &str) -> bool {
    let flags = spec.flags;
    let implied = match category {
        "read" => flags.has(Flags::READONLY),
        "write" => flags.has(Flags::WRITE),
        "admin" | "dangerous" => flags.has(Flags::ADMIN),
        "fast" => flags.has(Flags::FAST),
        "slow" => !flags.has(Flags::FAST),
        "blocking" => flags.has(Flags::BLOCKING),
        "pubsub" => flags.has(Flags::PUBSUB),
        _ => false,
    };
    implied || spec.group.acl_category() == Some(category) || spec.acl.contains(&category)
}

/// One entry of COMMAND and COMMAND INFO.
pub fn write_info(table: &CommandTable, command: &Command, reply: &mut dyn ReplySink) {
    let spec = command.spec;
    reply.array(10);
    reply.bulk(command.full_name.as_bytes());
    reply.integer(spec.arity.as_redis());
    let movable = Some("movablekeys").filter(|_| spec.keys.is_movable());
    let flags: Vec<&str> = spec.flags.redis_names().chain(movable).collect();
    reply.set(flags.len());
    flags.iter().for_each(|flag| reply.simple(flag));
    let (first, last, step) = spec.keys.as_redis();
    [first, last, step].into_iter().for_each(|number| reply.integer(number));
    let categories: Vec<&str> = categories(spec).collect();
    reply.set(categories.len());
    categories.iter().for_each(|category| reply.simple(&format!("@{category}")));
    // Tips are hints for cluster proxies; there is no cluster.
    reply.set(0);
    write_key_specs(spec, reply);
    reply.array(command.subcommands.len());
    table.subcommands_of(command).for_each(|subcommand| write_info(table, subcommand, reply));
}

fn write_key_specs(spec: &CommandSpec, reply: &mut dyn ReplySink) {
    let begin = match spec.keys {
        Keys::None => return reply.set(0),
        Keys::First => Some(1),
        Keys::Range { first, .. } => Some(first),
        Keys::Counted { count_at } => Some(count_at),
        Keys::Custom(_) => None,
    };
    reply.set(1);
    reply.map(3);
    reply.bulk(b"flags");
    let access = spec.key_access();
    reply.set(access.len());
    access.iter().for_each(|flag| reply.simple(flag));
    reply.bulk(b"begin_search");
    reply.map(2);
    match begin {
        Some(index) => write_search(reply, "index", &[("index", index as i64)]),
        None => write_search(reply, "unknown", &[]),
    }
    reply.bulk(b"find_keys");
    reply.map(2);
    match spec.keys {
        Keys::Counted { .. } => {
            write_search(reply, "keynum", &[("keynumidx", 0), ("firstkey", 1), ("keystep", 1)]);
        }
        Keys::Custom(_) => write_search(reply, "unknown", &[]),
        keys => {
            let (first, last, step) = keys.as_redis();
            let last = if last < 0 { last } else { last - first };
            write_search(reply, "range", &[("lastkey", last), ("keystep", step), ("limit", 0)]);
        }
    }
}

fn write_search(reply: &mut dyn ReplySink, kind: &str, fields: &[(&str, i64)]) {
    reply.bulk(b"type");
    reply.bulk(kind.as_bytes());
    reply.bulk(b"spec");
    reply.map(fields.len());
    for (name, value) in fields {
        reply.bulk(name.as_bytes());
        reply.integer(*value);
    }
}

/// The value COMMAND DOCS has for one command.
pub fn write_docs(table: &CommandTable, command: &Command, reply: &mut dyn ReplySink) {
    let spec = command.spec;
    let arguments = syntax::parse(spec.arguments);
    let has_subcommands = !command.subcommands.is_empty();
    reply.map(4 + usize::from(!arguments.is_empty()) + usize::from(has_subcommands));
    for (name, value) in [
        ("summary", spec.summary),
        ("since", spec.since),
        ("group", spec.group.name()),
        ("complexity", spec.complexity),
    ] {
        reply.bulk(name.as_bytes());
        reply.bulk(value.as_bytes());
    }
    if !arguments.is_empty() {
        reply.bulk(b"arguments");
        reply.array(arguments.len());
        arguments.iter().for_each(|argument| argument.write(reply));
    }
    if has_subcommands {
        reply.bulk(b"subcommands");
        reply.map(command.subcommands.len());
        for subcommand in table.subcommands_of(command) {
            reply.bulk(subcommand.full_name.as_bytes());
            write_docs(table, subcommand, reply);
        }
    }
}

/// The access flags of the `nth` key of a call.
#[must_use]
pub fn access_of(spec: &CommandSpec, argv: Argv<'_>, nth: usize) -> &'static [&'static str] {
    match spec.key_access_of {
        Some(access) => access(argv, nth),
        None => spec.key_access(),
    }
}

/// Reads the notation of [`CommandSpec::arguments`] into the tree COMMAND DOCS shows.
mod syntax {
    use crate::dispatch::reply::ReplySink;

    /// One argument, or a group of arguments.
    #[derive(Debug, PartialEq, Eq)]
    pub struct Argument {
        name: String,
        /// The keyword in front of the value, or the keyword itself.
        token: Option<String>,
        kind: Kind,
        is_optional: bool,
        is_multiple: bool,
    }

    #[derive(Debug, PartialEq, Eq)]
    enum Kind {
        Value(&'static str),
        Token,
        OneOf(Vec<Argument>),
        Block(Vec<Argument>),
    }

    impl Argument {
        pub fn write(&self, reply: &mut dyn ReplySink) {
            let (kind, children) = match &self.kind {
                Kind::Value(kind) => (*kind, None),
                Kind::Token => ("pure-token", None),
                Kind::OneOf(children) => ("oneof", Some(children)),
                Kind::Block(children) => ("block", Some(children)),
            };
            let flags: Vec<&str> = [(self.is_optional, "optional"), (self.is_multiple, "multiple")]
                .into_iter()
                .filter_map(|(is_set, flag)| is_set.then_some(flag))
                .collect();
            let has_token = usize::from(self.token.is_some());
            reply.map(2 + has_token + usize::from(!flags.is_empty()) + usize::from(children.is_some()));
            reply.bulk(b"name");
            reply.bulk(self.name.as_bytes());
            reply.bulk(b"type");
            reply.bulk(kind.as_bytes());
            if let Some(token) = &self.token {
                reply.bulk(b"token");
                reply.bulk(token.as_bytes());
            }
            if !flags.is_empty() {
                reply.bulk(b"flags");
                reply.array(flags.len());
                flags.iter().for_each(|flag| reply.simple(flag));
            }
            if let Some(children) = children {
                reply.bulk(b"arguments");
                reply.array(children.len());
                children.iter().for_each(|child| child.write(reply));
            }
        }
    }

    pub fn parse(text: &str) -> Vec<Argument> {
        let spaced = text.replace('[', " [ ").replace(']', " ] ").replace('|', " | ");
        let words: Vec<&str> = spaced.split_ascii_whitespace().collect();
        sequence(&mut &words[..])
    }

    /// Alternatives up to a `]` or the end; the bracket is left to the caller.
    fn sequence(words: &mut &[&str]) -> Vec<Argument> {
        let (mut alternatives, mut current) = (Vec::new(), Vec::new());
        while let Some((word, rest)) = words.split_first() {
            match *word {
                "]" => break,
                "|" => {
                    *words = rest;
                    alternatives.push(block(std::mem::take(&mut current)));
                }
                "[" => {
                    *words = rest;
                    optional(words, &mut current);
                }
                word => {
                    *words = rest;
                    push_word(word, &mut current);
                }
            }
        }
        if alternatives.is_empty() {
            return current;
        }
        alternatives.push(block(current));
        let name = alternatives.first().map_or_else(String::new, |first| first.name.clone());
        vec![Argument {
            name,
            token: None,
            kind: Kind::OneOf(alternatives),
            is_optional: false,
            is_multiple: false,
        }]
    }

    /// What stands in brackets. `[x ...]` only says that the `x` before it repeats.
    fn optional(words: &mut &[&str], current: &mut Vec<Argument>) {
        let inner = sequence(words);
        if let Some((&"]", rest)) = words.split_first() {
            *words = rest;
        }
        let repeats = inner.last().is_some_and(|last| last.is_multiple);
        let count = inner.len();
        let is_repetition = repeats
            && current.len() >= count
            && current[current.len() - count..].iter().zip(&inner).all(|(a, b)| a.name == b.name);
        if is_repetition {
            let group: Vec<Argument> = current.drain(current.len() - count..).collect();
            let mut repeated = block(group);
            repeated.is_multiple = true;
            current.push(repeated);
            return;
        }
        let mut argument = block(inner);
        argument.is_optional = true;
        current.push(argument);
    }

    fn push_word(word: &str, current: &mut Vec<Argument>) {
        if word == "..." {
            if let Some(last) = current.last_mut() {
                last.is_multiple = true;
            }
            return;
        }
        let is_token =
            word.chars().any(|c| c.is_ascii_uppercase()) && !word.chars().any(|c| c.is_ascii_lowercase());
        if is_token {
            let token = Some(word.to_owned());
            let name = word.to_ascii_lowercase();
            current.push(Argument { name, token, kind: Kind::Token, is_optional: false, is_multiple: false });
            return;
        }
        let kind = Kind::Value(match word {
            "key" | "newkey" | "source" | "destination" | "destkey" | "key1" | "key2" => "key",
            "pattern" => "pattern",
            "unix-time-seconds" | "unix-time-milliseconds" => "unix-time",
            "seconds" | "milliseconds" | "count" | "index" | "offset" | "numkeys" | "increment"
            | "cursor" | "decrement" | "start" | "end" | "timeout" | "client-id" | "min-match-len" => {
                "integer"
            }
            _ => "string",
        });
        // A value behind a keyword belongs to it.
        match current.last_mut() {
            Some(last) if last.kind == Kind::Token && !last.is_multiple => {
                last.kind = kind;
                word.clone_into(&mut last.name);
            }
            _ => current.push(Argument {
                name: word.to_owned(),
                token: None,
                kind,
                is_optional: false,
                is_multiple: false,
            }),
        }
    }

    /// Several arguments as one; one stays what it is.
    fn block(mut arguments: Vec<Argument>) -> Argument {
        if arguments.len() == 1
            && let Some(only) = arguments.pop()
        {
            return only;
        }
        let name = arguments.first().map_or_else(String::new, |first| first.name.clone());
        Argument { name, token: None, kind: Kind::Block(arguments), is_optional: false, is_multiple: false }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        fn shape(text: &str) -> String {
            fn one(argument: &Argument) -> String {
                let body = match &argument.kind {
                    Kind::Value(kind) => format!("{}:{kind}", argument.name),
                    Kind::Token => String::new(),
                    Kind::OneOf(list) => format!("({})", list.iter().map(one).collect::<Vec<_>>().join("|")),
                    Kind::Block(list) => format!("<{}>", list.iter().map(one).collect::<Vec<_>>().join(" ")),
                };
                let token = argument.token.clone().unwrap_or_default();
                let space = if token.is_empty() || body.is_empty() { "" } else { " " };
                let optional = if argument.is_optional { "?" } else { "" };
                let multiple = if argument.is_multiple { "*" } else { "" };
                format!("{token}{space}{body}{optional}{multiple}")
            }
            parse(text).iter().map(one).collect::<Vec<_>>().join(", ")
        }

        #[test]
        fn the_notation_becomes_a_tree() {
            assert_eq!(shape("key"), "key:key");
            assert_eq!(shape("key [key ...]"), "key:key*");
            assert_eq!(shape("key value [key value ...]"), "<key:key value:string>*");
            assert_eq!(
                shape("key value [NX | XX] [GET] [EX seconds | KEEPTTL]"),
                "key:key, value:string, (NX|XX)?, GET?, (EX seconds:integer|KEEPTTL)?"
            );
            assert_eq!(
                shape("[TYPE normal | master] [ID client-id [client-id ...]]"),
                "(TYPE normal:string|master:string)?, ID client-id:integer?*"
            );
            assert_eq!(shape(""), "");
        }
    }
}
