//! `xtask`: the repository's own chores. It depends on nothing, so it is built in a second.
//!
//! - `xtask tidy` checks the house rules.
//! - `xtask docs` writes `docs/commands.md`, `docs/compatibility.md` and `docs/configuration.md` from the server's
//!   tables; `--check` only compares.

mod layers;
mod source;
mod tidy;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

const USAGE: &str = "usage: xtask tidy | xtask docs [--check]";
/// The generated pages, and the flags with which the server prints them.
const PAGES: &[(&str, &str)] = &[
    ("docs/commands.md", "--print-commands"),
    ("docs/compatibility.md", "--print-compatibility"),
    ("docs/configuration.md", "--print-config-reference"),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match words[..] {
        ["tidy"] => run_tidy(&root()),
        ["docs"] => write_docs(&root()),
        ["docs", "--check"] => check_docs(&root()),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            eprintln!("xtask: {text}");
            ExitCode::FAILURE
        }
    }
}

/// The repository: this crate's folder lies directly below it.
fn root() -> PathBuf {
    let tools = Path::new(env!("CARGO_MANIFEST_DIR"));
    tools.parent().unwrap_or(tools).to_owned()
}

fn run_tidy(root: &Path) -> Result<(), String> {
    let violations = tidy::run(root)?;
    for violation in &violations {
        eprintln!("{violation}");
    }
    match violations.len() {
        0 => Ok(()),
        count => Err(format!("{count} rule(s) broken")),
    }
}

fn write_docs(root: &Path) -> Result<(), String> {
    PAGES.iter().try_for_each(|(path, flag)| {
        fs::write(root.join(path), printed(root, flag)?).map_err(|error| format!("{path}: {error}"))
    })
}

fn check_docs(root: &Path) -> Result<(), String> {
    PAGES.iter().try_for_each(|(path, flag)| {
        let page = printed(root, flag)?;
        let on_disk = fs::read_to_string(root.join(path)).unwrap_or_default();
        if page == on_disk { Ok(()) } else { Err(format!("{path} is out of date; run `make docs`")) }
    })
}

/// What the server prints with a flag. It lies beside this program.
fn printed(root: &Path, flag: &str) -> Result<String, String> {
    let beside = std::env::current_exe().ok().and_then(|path| Some(path.parent()?.join("lux")));
    let binary = beside
        .filter(|path| path.is_file())
        .unwrap_or_else(|| root.join("target").join("release").join("lux"));
    let output = Command::new(&binary)
        .arg(flag)
        .output()
        .map_err(|error| format!("{}: {error}; build the server first", binary.display()))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{} {flag} failed: {text}", binary.display()));
    }
    let page = String::from_utf8(output.stdout).map_err(|_| "the page is not UTF-8".to_owned())?;
    if page.trim().is_empty() {
        return Err(format!("{} {flag} printed nothing", binary.display()));
    }
    Ok(page)
}
