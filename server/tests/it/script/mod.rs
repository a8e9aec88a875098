//! The script corpus: text files of commands and the replies they must get.
//!
//! One file per command under `tests/scripts/<group>/<command>.txt`. Every expectation was produced by a real
//! Redis (or, where Redis 7.0 is too old, Valkey) server and is checked against it again on every run, so the
//! corpus cannot drift into describing Lux instead of Redis.
//!
//! # The format
//!
//! ```text
//! == a section: starts with empty databases and new connections
//! SET key "two words" EX 100     <- a command: words, split and quoted as redis-cli does ("\xff\r\n", 'raw')
//!   +OK                          <- indented: the reply it must get
//! TTL key
//!   ~ <99..100>                  <- `~`: the reply is a pattern
//! @conn2 GET key                 <- another connection
//!   "two words"
//! ```
//!
//! | reply | is written | | reply | is written |
//! |---|---|---|---|---|
//! | simple string | `+OK` | | array | `[1, "a", (nil)]` |
//! | error | `-ERR text` | | map | `{"k": 1}` |
//! | integer | `42` | | set | `#{"a", "b"}` |
//! | bulk string | `"text\x00"` | | push | `>["invalidate", (null)]` |
//! | null bulk | `(nil)` | | double | `,1.5` |
//! | null array | `(nil array)` | | boolean | `#t` `#f` |
//! | RESP3 null | `(null)` | | big number, verbatim | `(123`, `=txt:"text"` |
//!
//! Inside arrays simple strings and errors are quoted: `-"ERR text"`. Patterns after `~`: `<any>`, `<int>`,
//! `<2..9>`, `<bulk>`, `<string>` (simple, bulk or verbatim), `<prefix "p">`, `<contains "c">`, `<length 9>`,
//! `<error CODE>`, `<array>`, `<map>`, `<unordered>[...]`, `<includes>[...]` (a sequence or the keys of a map),
//! `<float 1.5>` (a text or double of about this value), `$name` (a captured value), `<or>[pattern, pattern]`.
//! `<unordered>{"k": 1}` takes the pairs of a map, or of a RESP2 array that stands for one, in any order.
//!
//! Other lines:
//!
//! | line | does |
//! |---|---|
//! | `let name = COMMAND ...` | keeps the reply (bulk or integer); the argument `$name` then stands for it |
//! | `%{1000*ab}` as an argument or in `~` | the text `ab` a thousand times (escapes work) |
//! | `%{1..600*f#,v#}` as an argument or inside `~ [...]` | the texts `f1 v1 f2 v2` ... `f600 v600` |
//! | `resp3`, `resp2` | sends `HELLO 3` or `HELLO 2` on the connection |
//! | `sleep 120` | waits milliseconds |
//! | `raw "PING\r\n"` | sends bytes; the expectation is `"bytes"`, with `<closed>` behind if the server closes |
//! | `read` | reads one more reply without sending (a push) |
//! | `(blocks)` as expectation | the server has parked the connection, and `read` will read the reply |
//! | `blocked` | nothing has come for a command that blocks |
//! | `closed` | the server has closed this connection |
//! | `(no reply)` as expectation | nothing is read (`CLIENT REPLY OFF`) |
//! | `(closed)` as expectation | the server closes instead of answering |
//!
//! Directives are comments directly above a command, or with the word `file` or `section` in front for all of it:
//!
//! - `# requires lux valkey: reason` runs only on these servers (`lux`, `redis`, `valkey`).
//! - `# not cold: reason`, `# not restarted: reason` leaves it out in this mode; `# not restarted redis: reason` on
//!   this server only.
//! - `# needs LPUSH` leaves it out on a server without that command.
//! - `# file server --requirepass secret` gives the file a server of its own with these flags.
//!
//! # Running
//!
//! `cargo test --release -p lux-server --test it script`. `LUX_SCRIPTS=string/set` runs only paths containing that
//! text. `LUX_UPDATE_SCRIPTS=1 cargo test ... script::on_redis` rewrites the expectations from Redis, the same with
//! `script::on_valkey` those of commands that Redis 7.0 cannot answer. Patterns are checked, never rewritten, except
//! that `~ <unordered>` with nothing behind it is filled in. No expectation is ever taken from Lux.
//!
//! A file whose command Lux has must run on Lux: `# file needs X` is for commands still to come, and a file it keeps
//! away although Lux has the command it is named after is a failure.

pub mod expect;
pub mod file;
mod run;

use std::path::PathBuf;

use crate::server::Program;
use run::{Mode, Target};

/// The folder that holds the corpus.
pub fn corpus_folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/scripts")
}

#[test]
fn on_redis() {
    run::run_corpus(Target { program: Program::Redis, mode: Mode::Hot });
}

#[test]
fn on_valkey() {
    run::run_corpus(Target { program: Program::Valkey, mode: Mode::Hot });
}

#[test]
fn on_lux_hot() {
    run::run_corpus(Target { program: Program::Lux, mode: Mode::Hot });
}

/// Shows that what the scripts keep in restarted mode is what a durable Redis keeps, and that their marks are right.
#[test]
#[ignore = "checks the corpus rather than Lux; takes a minute"]
fn on_redis_restarted() {
    run::run_corpus(Target { program: Program::Redis, mode: Mode::Restarted });
}

/// Everything is evicted after every command, and was: residency is asked after each.
#[test]
fn on_lux_cold() {
    run::run_corpus(Target { program: Program::Lux, mode: Mode::Cold });
}

/// The server is killed with `kill -9` and reopened between commands.
#[test]
#[cfg_attr(not(feature = "rocks"), ignore = "the in-memory cold tier dies with its process")]
fn on_lux_restarted() {
    run::run_corpus(Target { program: Program::Lux, mode: Mode::Restarted });
}

/// A typing mistake in an expectation would otherwise show only on the server that runs the line.
#[test]
fn every_expectation_can_be_read() {
    let scripts = file::Script::load_all(&corpus_folder()).unwrap_or_else(|error| panic!("{error}"));
    let mut problems = Vec::new();
    for script in &scripts {
        for step in script.sections.iter().flat_map(|section| &section.steps) {
            let checked = match &step.action {
                file::Action::Command(_) | file::Action::Read => {
                    expect::Pattern::parse(&step.expected).map(drop)
                }
                file::Action::Let(..) if step.expected.is_empty() => Ok(()),
                file::Action::Let(..) => expect::Pattern::parse(&step.expected).map(drop),
                file::Action::Raw(_) => run::parse_raw_expectation(&step.expected).map(drop),
                _ if step.expected.is_empty() => Ok(()),
                _ => Err("this line gets no reply".to_string()),
            };
            if let Err(problem) = checked {
                problems.push(format!("scripts/{}:{}: {problem}", script.name, step.line));
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}
