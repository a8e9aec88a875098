//! What of Valkey and Redis this server has, what not, and why: the page `docs/compatibility.md`.
//!
//! `commands.txt` lists every command of theirs by hand; tests hold it against the command table, so that
//! neither a new command nor a forgotten one leaves the page untrue. `differences.md` is the prose behind it.

const COMMANDS: &str = include_str!("commands.txt");
const DIFFERENCES: &str = include_str!("differences.md");

/// One list of `commands.txt`.
struct Section {
    /// `has`, `own`, `later` or `never`.
    state: &'static str,
    /// Why not, for the latter two.
    reason: &'static str,
    /// As errors spell them: "get", "config|get".
    names: Vec<&'static str>,
}

fn sections() -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    for line in COMMANDS.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let heading = line.strip_prefix('[').and_then(|line| line.strip_suffix(']'));
        if let Some(heading) = heading {
            let (state, reason) = heading.split_once(": ").unwrap_or((heading, ""));
            sections.push(Section { state, reason, names: Vec::new() });
        } else if let Some(section) = sections.last_mut() {
            section.names.push(line);
        }
    }
    sections
}

/// The page, as Markdown.
#[must_use]
pub fn page() -> String {
    let sections = sections();
    let mut page = String::from(
        "# Compatibility\n\nGenerated from the command table and `server/src/dispatch/compatibility/` \
         (`lux --print-compatibility`); do not edit.\n\n\
         The names are those of Valkey 9, and of Redis 8 without its modules. [commands.md](commands.md) says what \
         each command does.\n\n## Commands\n",
    );
    for (state, title) in
        [("has", "Implemented"), ("later", "Not yet"), ("never", "Never"), ("own", "Of Lux alone")]
    {
        let of_state = || sections.iter().filter(|section| section.state == state);
        let count: usize = of_state().map(|section| section.names.len()).sum();
        page += &format!("\n### {title} ({count})\n");
        for Section { reason, names, .. } in of_state() {
            let names: Vec<String> = names.iter().map(|name| spelled(name)).collect();
            let names = names.join(", ");
            page +=
                &if reason.is_empty() { format!("\n{names}\n") } else { format!("\n- {names}: {reason}\n") };
        }
    }
    page.push('\n');
    page + DIFFERENCES
}

/// A name as one types it.
fn spelled(name: &str) -> String {
    format!("`{}`", name.to_uppercase().replace('|', " "))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::dispatch::command_table::table;

    #[test]
    fn the_list_and_the_command_table_agree() {
        let mut listed = BTreeSet::new();
        for Section { state, names, .. } in sections() {
            for name in names {
                assert!(listed.insert(name), "{name} is listed twice");
                let is_there = table().by_full_name(name.as_bytes()).is_some();
                assert_eq!(is_there, matches!(state, "has" | "own"), "{name} is listed as {state}");
            }
        }
        for command in table().all() {
            assert!(listed.contains(command.full_name.as_str()), "{} is not listed", command.full_name);
        }
    }

    #[test]
    fn what_is_missing_has_a_reason() {
        for Section { state, reason, names } in sections() {
            assert!(matches!(state, "has" | "own" | "later" | "never"), "{state}");
            assert_eq!(reason.is_empty(), matches!(state, "has" | "own"), "{state}: {reason}");
            assert!(!names.is_empty(), "{state}: {reason}");
        }
    }
}
