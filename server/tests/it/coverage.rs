//! The corpus has to grow with the command table.

use std::collections::{BTreeMap, BTreeSet};

use crate::client::{Client, Reply};
use crate::script::corpus_folder;
use crate::script::file::Script;
use crate::server::{Program, Server};

/// Which folders may hold the script of a command of a documentation group.
fn folders_of(group: &str) -> Vec<&str> {
    match group {
        "generic" => vec!["generic", "expire", "scan", "dump", "sort"],
        "server" | "tier" => vec!["admin"],
        "sorted-set" | "sorted_set" => vec!["zset"],
        other => vec![other],
    }
}

fn text(reply: &Reply) -> String {
    String::from_utf8_lossy(reply.bytes().unwrap_or_default()).to_ascii_lowercase()
}

/// The documentation group of every command, by name.
fn groups(client: &mut Client) -> BTreeMap<String, String> {
    let docs = client.call(&["COMMAND", "DOCS"]).expect("COMMAND DOCS answers");
    let flat = docs.elements().expect("COMMAND DOCS is an array in RESP2");
    flat.chunks(2)
        .filter_map(|pair| {
            let [name, details] = pair else { return None };
            let details = details.elements()?;
            let group =
                details.chunks(2).find(|pair| text(&pair[0]) == "group").map(|pair| text(&pair[1]))?;
            Some((text(name), group))
        })
        .collect()
}

/// The subcommands of every container command, as `container|subcommand`.
fn subcommands(client: &mut Client) -> BTreeSet<String> {
    let all = client.call(&["COMMAND"]).expect("COMMAND answers");
    all.elements()
        .expect("COMMAND is an array")
        .iter()
        .filter_map(|entry| entry.elements()?.get(9)?.elements())
        .flatten()
        .filter_map(|subcommand| subcommand.elements()?.first().map(text))
        .collect()
}

#[test]
fn every_command_has_a_script() {
    let server = Server::start(Program::Lux, &[]);
    let mut client = server.connect().expect("a connection");
    let list = client.call(&["COMMAND", "LIST"]).expect("COMMAND LIST answers");
    let listed: BTreeSet<String> =
        list.elements().expect("COMMAND LIST is an array").iter().map(text).collect();
    assert!(!listed.is_empty(), "COMMAND LIST is empty");
    let groups = groups(&mut client);

    let scripts = Script::load_all(&corpus_folder()).unwrap_or_else(|error| panic!("{error}"));
    let mut used = BTreeSet::new();
    for script in &scripts {
        for line in script.command_lines() {
            let line = line.to_ascii_lowercase();
            let mut words = line.split_whitespace();
            if let (Some(name), Some(subcommand)) = (words.next(), words.next()) {
                used.insert(format!("{name}|{subcommand}"));
            }
        }
    }

    let mut problems = Vec::new();
    for name in listed.iter().filter(|name| !name.contains('|')) {
        let Some(group) = groups.get(name) else {
            problems.push(format!("{name}: COMMAND DOCS names no group"));
            continue;
        };
        let wanted: Vec<_> = folders_of(group).iter().map(|folder| format!("{folder}/{name}.txt")).collect();
        if !scripts.iter().any(|script| wanted.contains(&script.name)) {
            problems.push(format!("{name}: no script {}", wanted.join(" or ")));
        }
    }
    for name in subcommands(&mut client).difference(&used) {
        problems.push(format!("{name}: no script uses this subcommand"));
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}
