//! `xtask tidy`: the house rules that a machine can check.
//!
//! A rule either holds or the run fails; there are no warnings. Two rules about size have a list of
//! exceptions, `tools/tidy-exceptions.txt`, that may only shrink: an entry that is no longer needed is
//! a violation too.
//!
//! ```text
//! function <path> <name> <lines at most>
//! file <path> <lines at most>
//! ```

use std::fmt;
use std::fs;
use std::path::Path;

use crate::layers;
use crate::source::Source;

/// Functions of this many lines are too long.
const FUNCTION_LINES_TOO_MANY: usize = 70;
/// Files of more lines than this are too long.
const FILE_LINES_MAX: usize = 900;
/// Where the exceptions are listed.
const EXCEPTIONS: &str = "tools/tidy-exceptions.txt";
/// Engine files that may read the real clock: the environment itself, and `wait`, whose time-outs only
/// bound how long a thread sleeps.
const CLOCK_FILES: [&str; 2] = ["engine/src/env/real.rs", "engine/src/wait.rs"];
/// Folders with Rust of ours.
const ROOTS: [&str; 5] = ["engine", "server", "tools", "benches", "fuzz"];

/// One broken rule.
#[derive(Debug, PartialEq, Eq)]
pub struct Violation {
    path: String,
    line: usize,
    text: String,
}

impl Violation {
    /// A rule broken at a line.
    pub fn new(path: impl Into<String>, line: usize, text: impl Into<String>) -> Self {
        Self { path: path.into(), line, text: text.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.text)
    }
}

/// Checks the repository at `root`.
///
/// # Errors
/// A file cannot be read.
pub fn run(root: &Path) -> Result<Vec<Violation>, String> {
    let mut sources = Vec::new();
    for folder in ROOTS {
        collect(root, &root.join(folder), &mut sources)?;
    }
    let exceptions = fs::read_to_string(root.join(EXCEPTIONS)).unwrap_or_default();
    Ok(check(&sources, &exceptions))
}

fn collect(root: &Path, folder: &Path, sources: &mut Vec<Source>) -> Result<(), String> {
    let Ok(entries) = fs::read_dir(folder) else { return Ok(()) };
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if path.is_dir() {
            if !["target", "corpus", "artifacts"].contains(&name.as_str()) {
                collect(root, &path, sources)?;
            }
        } else if name.ends_with(".rs") {
            let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
            let relative = path.strip_prefix(root).unwrap_or(&path);
            sources.push(Source::new(relative.to_string_lossy().replace('\\', "/"), text));
        }
    }
    Ok(())
}

/// Checks the given files against every rule.
pub fn check(sources: &[Source], exceptions: &str) -> Vec<Violation> {
    let mut out = Vec::new();
    layers::check(sources, &mut out);
    for source in sources {
        check_words(source, &mut out);
        check_lines(source, &mut out);
        check_module_doc(source, &mut out);
        check_unsafe(source, &mut out);
    }
    check_sizes(sources, exceptions, &mut out);
    out
}

/// Words that must not stand in code.
fn check_words(source: &Source, out: &mut Vec<Violation>) {
    let mut ban = |word: &str, even_in_tests: bool, why: &str| {
        for at in source.find_word(word).filter(|at| even_in_tests || !source.is_test(*at)) {
            out.push(Violation::new(&source.path, source.line_of(at), format!("'{word}': {why}")));
        }
    };
    ban(".unwrap()", false, "say why it holds with expect, or handle the error");
    for word in ["todo!", "unimplemented!", "dbg!"] {
        ban(word, true, "unfinished code");
    }
    if source.path.starts_with("engine/src/") && !CLOCK_FILES.contains(&source.path.as_str()) {
        for word in ["SystemTime::now", "Instant::now", "thread_rng"] {
            ban(word, false, "time and chance come from env");
        }
    }
}

/// Rules about the raw text.
fn check_lines(source: &Source, out: &mut Vec<Violation>) {
    // Put together from halves, so that this file passes its own check.
    let marks = [concat!("FIX", "ME"), concat!("X", "XX"), concat!("HA", "CK")];
    for (number, line) in source.text.lines().enumerate() {
        if line.trim_end() != line {
            out.push(Violation::new(&source.path, number + 1, "blanks at the end of the line"));
        }
        if let Some(mark) = marks.iter().find(|mark| line.contains(**mark)) {
            out.push(Violation::new(&source.path, number + 1, format!("'{mark}': finish it or file it")));
        }
    }
    if !source.text.is_empty() && !source.text.ends_with('\n') {
        out.push(Violation::new(&source.path, source.text.lines().count(), "no newline at the end"));
    }
}

/// A file with logic opens with its module documentation.
fn check_module_doc(source: &Source, out: &mut Vec<Violation>) {
    let has_logic = !source.functions().is_empty();
    if has_logic && !source.path.ends_with("/tests.rs") && !source.text.starts_with("//!") {
        out.push(Violation::new(&source.path, 1, "the file does not open with its module doc (//!)"));
    }
}

/// A `SAFETY:` comment (or a `# Safety` section) stands above every `unsafe`.
fn check_unsafe(source: &Source, out: &mut Vec<Violation>) {
    let lines: Vec<&str> = source.text.lines().collect();
    for at in source.find_word("unsafe") {
        let line = source.line_of(at);
        // `unsafe fn` in a trait or a type (`unsafe fn(...)`) declares a duty; its doc states it.
        let above = lines[..line].iter().rev().skip(1);
        let reasons = above.take_while(|text| {
            let text = text.trim_start();
            text.starts_with("//") || text.starts_with("#[") || !text.ends_with([';', '}', '{'])
        });
        let is_named = |text: &str| text.contains("SAFETY:") || text.contains("# Safety");
        if !reasons.take(20).any(|text| is_named(text)) && !is_named(lines[line - 1]) {
            out.push(Violation::new(&source.path, line, "no SAFETY comment above this unsafe"));
        }
    }
}

/// Long functions and files, measured against the list of exceptions.
fn check_sizes(sources: &[Source], exceptions: &str, out: &mut Vec<Violation>) {
    let mut unused: Vec<(usize, Exception)> = Vec::new();
    for (number, line) in exceptions.lines().enumerate() {
        match Exception::parse(line) {
            Ok(Some(exception)) => unused.push((number + 1, exception)),
            Ok(None) => {}
            Err(text) => out.push(Violation::new(EXCEPTIONS, number + 1, text)),
        }
    }
    let mut allowed = |path: &str, function: &str, lines: usize| {
        let place = unused.iter().position(|(_, e)| e.path == path && e.function == function)?;
        let (_, exception) = unused.swap_remove(place);
        Some(lines <= exception.lines)
    };
    for source in sources {
        let lines = source.text.lines().count();
        if lines > FILE_LINES_MAX && allowed(&source.path, "", lines) != Some(true) {
            let text = format!("{lines} lines, at most {FILE_LINES_MAX}: should it be rooms?");
            out.push(Violation::new(&source.path, 1, text));
        }
        for function in source.functions().iter().filter(|f| !source.is_test(f.at)) {
            let (name, lines) = (&function.name, function.lines);
            if lines >= FUNCTION_LINES_TOO_MANY && allowed(&source.path, name, lines) != Some(true) {
                let text = format!(
                    "function '{name}' has {lines} lines, fewer than {FUNCTION_LINES_TOO_MANY} are allowed"
                );
                out.push(Violation::new(&source.path, function.line, text));
            }
        }
    }
    for (number, exception) in unused {
        let text = format!("the exception for {} is no longer needed", exception.path);
        out.push(Violation::new(EXCEPTIONS, number, text));
    }
}

struct Exception {
    path: String,
    /// Empty for a file.
    function: String,
    lines: usize,
}

impl Exception {
    fn parse(line: &str) -> Result<Option<Self>, String> {
        let line = line.split('#').next().unwrap_or_default();
        let words: Vec<&str> = line.split_whitespace().collect();
        let (path, function, lines) = match words[..] {
            [] => return Ok(None),
            ["function", path, name, lines] => (path, name, lines),
            ["file", path, lines] => (path, "", lines),
            _ => return Err("neither 'function PATH NAME LINES' nor 'file PATH LINES'".to_owned()),
        };
        let lines = lines.parse().map_err(|_| format!("'{lines}' is not a number of lines"))?;
        Ok(Some(Self { path: path.to_owned(), function: function.to_owned(), lines }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn violations(path: &str, text: &str) -> Vec<String> {
        check(&[Source::new(path, text)], "").iter().map(ToString::to_string).collect()
    }

    fn long_function(lines: usize) -> String {
        format!("//! Doc.\nfn long() {{\n{}}}\n", "    work();\n".repeat(lines - 2))
    }

    #[test]
    fn a_clean_file_passes() {
        assert!(violations("engine/src/wal/mod.rs", "//! The log.\n\nfn append() {}\n").is_empty());
    }

    #[test]
    fn each_broken_rule_is_reported() {
        let cases = [
            ("engine/src/wal/mod.rs", "//! A.\nfn a() { b().unwrap(); }\n", "'.unwrap()'"),
            ("engine/src/wal/mod.rs", "//! A.\nfn a() { Instant::now(); }\n", "'Instant::now'"),
            ("engine/src/wal/mod.rs", "//! A.\nfn a() { SystemTime::now(); }\n", "'SystemTime::now'"),
            ("engine/src/wal/mod.rs", "//! A.\nfn a() { rand::thread_rng(); }\n", "'thread_rng'"),
            ("engine/src/wal/mod.rs", "//! A.\nfn a() { todo!() }\n", "'todo!'"),
            ("engine/src/wal/mod.rs", "//! A.\nfn a() { dbg!(1); }\n", "'dbg!'"),
            ("engine/src/wal/mod.rs", "fn a() {}\n", "module doc"),
            ("engine/src/wal/mod.rs", "//! A. \n", "blanks"),
            ("engine/src/wal/mod.rs", "//! A.", "newline"),
            ("engine/src/wal/mod.rs", concat!("// FIX", "ME later\n"), concat!("FIX", "ME")),
            ("engine/src/wal/mod.rs", "//! A.\nfn a() { unsafe { b() } }\n", "SAFETY"),
        ];
        for (path, text, wanted) in cases {
            let found = violations(path, text);
            assert_eq!(found.len(), 1, "{text}: {found:?}");
            assert!(found[0].contains(wanted), "{text}: {found:?}");
        }
    }

    #[test]
    fn what_is_allowed_somewhere_is_allowed_there() {
        assert!(violations("engine/src/env/real.rs", "//! A.\nfn a() { Instant::now(); }\n").is_empty());
        assert!(violations("server/src/server.rs", "//! A.\nfn a() { Instant::now(); }\n").is_empty());
        assert!(violations("server/tests/it/main.rs", "//! A.\nfn a() { b().unwrap(); }\n").is_empty());
        assert!(
            violations("engine/src/wal/mod.rs", "//! A.\n// SAFETY: b is fine.\nunsafe impl Send for A {}\n")
                .is_empty()
        );
        let in_test = "//! A.\n#[cfg(test)]\nmod tests {\n    fn a() { b().unwrap(); }\n}\n";
        assert!(violations("engine/src/wal/mod.rs", in_test).is_empty());
    }

    #[test]
    fn long_functions_fail_unless_listed_and_the_list_only_shrinks() {
        let path = "engine/src/wal/mod.rs";
        assert!(violations(path, &long_function(69)).is_empty());
        assert_eq!(violations(path, &long_function(70)).len(), 1);
        let with = |lines: usize, list: &str| check(&[Source::new(path, long_function(lines))], list).len();
        assert_eq!(with(80, "function engine/src/wal/mod.rs long 80 # a table\n"), 0);
        assert_eq!(with(81, "function engine/src/wal/mod.rs long 80\n"), 1);
        assert_eq!(with(10, "function engine/src/wal/mod.rs long 80\n"), 1);
        assert_eq!(with(10, "long functions are fine\n"), 1);
    }

    #[test]
    fn long_files_fail_unless_listed() {
        let (path, text) = ("engine/src/wal/mod.rs", "//! A.\n".repeat(901));
        assert_eq!(violations(path, &text).len(), 1);
        assert_eq!(check(&[Source::new(path, text.as_str())], "file engine/src/wal/mod.rs 901\n").len(), 0);
    }
}
