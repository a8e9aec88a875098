//! Who may import whom.
//!
//! Imports run one way. Each crate's modules have a level; a module may name modules of its own level
//! and below. Two modules of one level must not name each other. A new module has to be given a level
//! here, which is the moment to think about where it belongs. A name like `tier::spill` gives one file
//! of a folder a level of its own.

use std::collections::BTreeSet;

use crate::source::{Source, identifier};
use crate::tidy::Violation;

/// The engine's modules, lowest first. Promotion and spilling move entries of the keyspace, so they lie
/// above it although they live in `tier`; the reaper commits deletes and a round walks the shards and
/// waits like a transaction, so both lie above `txn`.
const ENGINE: &[&[&str]] = &[
    &["env", "error", "ids", "wait", "stats", "failpoint", "glob"],
    &["codec", "identity"],
    &["value"],
    &["wal", "tier", "dump"],
    &["hook", "eviction::policy", "config"],
    &["keyspace"],
    &["tier::filters", "tier::promote", "tier::spill", "tier::tied", "tier::warm"],
    &["txn"],
    &["expiry", "eviction", "checkpoint", "snapshot"],
    &["recovery", "table"],
    &["engine"],
    &["lib"],
];

/// The server's modules, lowest first.
const SERVER: &[&[&str]] = &[
    &[
        "resp",
        "config",
        "error",
        "glob",
        "machine",
        "allocator",
        "clock",
        "logging",
        "latency",
        "park",
        "slowlog",
    ],
    &["descriptors"],
    &["storage"],
    &["stats", "session", "blocking", "clients", "scripting", "state"],
    &["commands", "pubsub", "acl", "admin"],
    &["dispatch"],
    &["connection"],
    &["listener", "server"],
    &["lib", "main"],
];

/// What the modules below it may use of `dispatch`: the vocabulary and the table that describes the
/// commands, not the machinery that runs them.
const DISPATCH_VOCABULARY: &[&str] =
    &["spec", "args", "context", "queue", "reply", "reply_errors", "string_ref", "command_table"];

/// `from` names `to` at `line` of `path`.
struct Edge<'s> {
    path: &'s str,
    line: usize,
    from: String,
    to: String,
    /// What is named inside `to`, if anything.
    inner: String,
}

/// Checks every import of the given files.
pub fn check(sources: &[Source], out: &mut Vec<Violation>) {
    check_crate(sources, "engine/src/", ENGINE, out);
    check_crate(sources, "server/src/", SERVER, out);
    for source in sources {
        check_foreign(source, out);
        check_commands(source, out);
    }
}

type Levels = &'static [&'static [&'static str]];

/// The name under which `outer::inner` has its level: itself if it is listed, else its folder.
fn listed(levels: Levels, outer: &str, inner: &str) -> String {
    let whole = format!("{outer}::{inner}");
    if levels.iter().any(|names| names.contains(&whole.as_str())) { whole } else { outer.to_owned() }
}

/// Module of a file: the first part of its path below `src`, or the first two where those are listed.
fn module_of(path: &str, root: &str, levels: Levels) -> Option<String> {
    let rest = path.strip_prefix(root)?.trim_end_matches(".rs");
    let mut parts = rest.split('/');
    Some(listed(levels, parts.next()?, parts.next().unwrap_or_default()))
}

fn check_crate(sources: &[Source], root: &str, levels: Levels, out: &mut Vec<Violation>) {
    let modules: BTreeSet<String> = sources.iter().filter_map(|s| module_of(&s.path, root, levels)).collect();
    let level = |name: &str| levels.iter().position(|names| names.contains(&name));
    for name in modules.iter().filter(|name| level(name).is_none()) {
        let text = format!("module '{name}' has no level in tools/src/xtask/layers.rs");
        out.push(Violation::new(format!("{root}{name}"), 1, text));
    }
    let edges: Vec<Edge<'_>> = sources.iter().flat_map(|s| edges_of(s, root, levels, &modules)).collect();
    for edge in &edges {
        let (Some(from), Some(to)) = (level(&edge.from), level(&edge.to)) else { continue };
        let is_vocabulary =
            edge.to == "dispatch" && DISPATCH_VOCABULARY.contains(&edge.inner.as_str()) && to > from;
        if to > from && !is_vocabulary {
            let text = format!("'{}' imports '{}', which lies above it", edge.from, edge.to);
            out.push(Violation::new(edge.path, edge.line, text));
        }
        let is_mutual = || edges.iter().any(|other| other.from == edge.to && other.to == edge.from);
        if to == from && edge.from < edge.to && is_mutual() {
            let text = format!("'{}' and '{}' import each other", edge.from, edge.to);
            out.push(Violation::new(edge.path, edge.line, text));
        }
    }
}

/// Paths `crate::a` and `crate::{a, b::c}` outside tests.
fn edges_of<'s>(source: &'s Source, root: &str, levels: Levels, modules: &BTreeSet<String>) -> Vec<Edge<'s>> {
    let Some(from) = module_of(&source.path, root, levels) else { return Vec::new() };
    let mut edges = Vec::new();
    for at in source.find_word("crate").filter(|at| !source.is_test(*at)) {
        let Some(rest) = source.code[at..].strip_prefix("crate::") else { continue };
        for (outer, inner) in first_names(rest) {
            let to = listed(levels, &outer, &inner);
            if to != from && modules.contains(&to) {
                let line = source.line_of(at);
                edges.push(Edge { path: &source.path, line, from: from.clone(), to, inner });
            }
        }
    }
    edges
}

/// First names of a path or of a braced list of paths, each with the name that follows it.
fn first_names(rest: &str) -> Vec<(String, String)> {
    let paths: Vec<&str> = match rest.strip_prefix('{') {
        None => vec![rest],
        Some(list) => split_list(list),
    };
    paths
        .into_iter()
        .map(|path| {
            let path = path.trim_start();
            let name = identifier(path);
            let inner = path[name.len()..].strip_prefix("::").map_or("", identifier);
            (name.to_owned(), inner.to_owned())
        })
        .filter(|(name, _)| !name.is_empty())
        .collect()
}

/// Splits `a, b::{c, d}, e}` at its outer commas and stops at the closing brace.
fn split_list(list: &str) -> Vec<&str> {
    let (mut depth, mut begin, mut parts) = (0_usize, 0, Vec::new());
    for (at, byte) in list.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' if depth == 0 => {
                parts.push(&list[begin..at]);
                return parts;
            }
            b'}' => depth -= 1,
            b',' if depth == 0 => {
                parts.push(&list[begin..at]);
                begin = at + 1;
            }
            _ => {}
        }
    }
    parts
}

/// Crates that a crate must not name.
fn check_foreign(source: &Source, out: &mut Vec<Violation>) {
    let forbidden: &[&str] = match source.path.split('/').next() {
        Some("engine") => &["lux_server", "lux_tools", "lux_benches", "tokio", "mlua"],
        Some("server") => &["lux_tools", "lux_benches", "rocksdb"],
        Some("tools" | "benches" | "fuzz") => &["rocksdb"],
        _ => &[],
    };
    for name in forbidden {
        for at in source.find_word(name) {
            let text = format!("'{name}' must not be named in this crate");
            out.push(Violation::new(&source.path, source.line_of(at), text));
        }
    }
    if source.path.starts_with("engine/") && source.path != "engine/src/tier/rocks.rs" {
        for at in source.find_word("rocksdb") {
            let text = "RocksDB may be named only in engine/src/tier/rocks.rs";
            out.push(Violation::new(&source.path, source.line_of(at), text));
        }
    }
}

/// Command families know neither the wire nor each other; only the command table lists them.
fn check_commands(source: &Source, out: &mut Vec<Violation>) {
    let Some(file) = source.path.strip_prefix("server/src/") else { return };
    let own = file.strip_prefix("commands/").map(|rest| identifier(rest).to_owned());
    for at in source.find_word("crate").filter(|at| !source.is_test(*at)) {
        let Some(rest) = source.code[at..].strip_prefix("crate::") else { continue };
        for (to, inner) in first_names(rest) {
            let line = source.line_of(at);
            if own.is_some() && ["resp", "connection", "listener", "server"].contains(&to.as_str()) {
                let text = format!("a command family must not import '{to}'");
                out.push(Violation::new(&source.path, line, text));
            }
            let is_family = to == "commands" && !inner.is_empty() && Some(&inner) != own.as_ref();
            if is_family && file != "dispatch/command_table.rs" {
                let text = format!("only dispatch/command_table.rs names command families ('{inner}')");
                out.push(Violation::new(&source.path, line, text));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn violations(files: &[(&str, &str)]) -> Vec<String> {
        let sources: Vec<Source> = files.iter().map(|(path, text)| Source::new(*path, *text)).collect();
        let mut out = Vec::new();
        check(&sources, &mut out);
        out.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn an_import_upwards_is_reported_and_one_downwards_is_not() {
        let files = [
            (
                "engine/src/wal/mod.rs",
                "//! Log.\nuse crate::keyspace::Shard;\nuse crate::env::{Clock, Rng};\n",
            ),
            ("engine/src/keyspace/mod.rs", "use crate::wal::Wal;\n"),
            ("engine/src/env/mod.rs", ""),
        ];
        assert_eq!(
            violations(&files),
            ["engine/src/wal/mod.rs:2: 'wal' imports 'keyspace', which lies above it"]
        );
    }

    #[test]
    fn a_braced_import_is_taken_apart() {
        let files = [
            ("engine/src/value/mod.rs", "use crate::{error::Error, txn::{Txn, Watch}};\n"),
            ("engine/src/txn/mod.rs", ""),
            ("engine/src/error.rs", ""),
        ];
        assert_eq!(
            violations(&files),
            ["engine/src/value/mod.rs:1: 'value' imports 'txn', which lies above it"]
        );
    }

    #[test]
    fn neighbours_must_not_import_each_other() {
        let files = [
            ("engine/src/tier/mod.rs", "use crate::wal::Wal;\n"),
            ("engine/src/wal/mod.rs", "use crate::tier::Cold;\n"),
        ];
        assert_eq!(violations(&files), ["engine/src/tier/mod.rs:1: 'tier' and 'wal' import each other"]);
    }

    #[test]
    fn a_module_without_a_level_is_reported() {
        assert_eq!(violations(&[("engine/src/helpers.rs", "")]).len(), 1);
    }

    #[test]
    fn a_file_may_have_a_level_of_its_own() {
        let files = [
            ("engine/src/tier/spill.rs", "use crate::keyspace::Shard;\nuse crate::tier::Family;\n"),
            ("engine/src/tier/mod.rs", "use crate::keyspace::Shard;\n"),
            ("engine/src/keyspace/mod.rs", "use crate::tier::spill::Spiller;\n"),
        ];
        assert_eq!(
            violations(&files),
            [
                "engine/src/tier/mod.rs:1: 'tier' imports 'keyspace', which lies above it",
                "engine/src/keyspace/mod.rs:1: 'keyspace' imports 'tier::spill', which lies above it"
            ]
        );
    }

    #[test]
    fn rocksdb_and_tokio_stay_in_their_rooms() {
        let found = violations(&[
            ("engine/src/tier/rocks.rs", "use rocksdb::DB;\n"),
            ("engine/src/tier/mod.rs", "// rocksdb in a comment\nuse rocksdb::DB;\n"),
            ("engine/src/env/mod.rs", "use tokio::fs;\n"),
        ]);
        assert_eq!(found.len(), 2, "{found:?}");
    }

    #[test]
    fn families_know_the_vocabulary_and_nothing_else() {
        let found = violations(&[
            ("server/src/commands/string.rs", "use crate::dispatch::spec::CommandSpec;\n"),
            ("server/src/commands/bitmap.rs", "use crate::commands::string::get;\n"),
            ("server/src/commands/generic.rs", "use crate::resp::Encoder;\n"),
            ("server/src/commands/admin.rs", "use crate::dispatch::execute::run;\n"),
            ("server/src/dispatch/mod.rs", ""),
            ("server/src/dispatch/command_table.rs", "use crate::commands::{bitmap, string};\n"),
            ("server/src/resp/mod.rs", ""),
        ]);
        assert_eq!(found.len(), 3, "{found:?}");
    }

    #[test]
    fn tests_may_import_what_they_like() {
        let text = "#[cfg(test)]\nmod tests { use crate::txn::Txn; }\n";
        assert!(violations(&[("engine/src/wal/mod.rs", text), ("engine/src/txn/mod.rs", "")]).is_empty());
    }
}
