//! The grammar of configuration files: redis.conf's.
//!
//! One directive per line: a name and words, separated by blanks. `#` at the start of a line is
//! a comment. Words may be quoted: `"..."` with `\n \r \t \b \a \xHH \" \\`, or `'...'` with
//! `\'`. A closing quote ends the word's line or is followed by a blank. `include path` reads
//! another file (or the files a pattern with `*` in its last part names) in its place.

use std::fmt;
use std::path::{Path, PathBuf};

use lux_engine::glob::{Case, is_match};

/// How deep files may include each other.
const INCLUDE_DEPTH_MAX: usize = 16;

/// One line of configuration, from wherever it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directive {
    pub name: String,
    pub words: Vec<Vec<u8>>,
    pub origin: Origin,
    /// The line as it was written.
    pub text: String,
}

/// Where a directive stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Lines count from 1; 0 is the file as a whole.
    File {
        path: PathBuf,
        line: usize,
    },
    CommandLine,
    Environment(String),
}

/// A configuration that cannot be used. Its text is what the server prints before it exits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    pub origin: Origin,
    pub text: String,
    pub reason: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "*** FATAL CONFIG FILE ERROR (Lux {}) ***", crate::VERSION)?;
        match &self.origin {
            Origin::File { line: 0, .. } => writeln!(f, "Reading the configuration file")?,
            Origin::File { path, line } => {
                writeln!(f, "Reading the configuration file {}, at line {line}", path.display())?;
            }
            Origin::CommandLine => writeln!(f, "Reading the command line")?,
            Origin::Environment(name) => writeln!(f, "Reading the environment variable {name}")?,
        }
        writeln!(f, ">>> '{}'", self.text)?;
        write!(f, "{}", self.reason)
    }
}

impl std::error::Error for ConfigError {}

/// Reads a file and everything it includes.
pub fn read(path: &Path) -> Result<Vec<Directive>, ConfigError> {
    let mut directives = Vec::new();
    match read_into(path, 0, &mut directives) {
        Ok(()) => Ok(directives),
        Err(Failure::At(error)) => Err(*error),
        Err(Failure::File(reason)) => Err(ConfigError {
            origin: Origin::File { path: path.to_path_buf(), line: 0 },
            text: path.display().to_string(),
            reason,
        }),
    }
}

/// Parses text that was read elsewhere; `path` is what errors name.
pub fn parse_text(text: &str, path: &Path) -> Result<Vec<Directive>, ConfigError> {
    let mut directives = Vec::new();
    parse(text, path, 0, &mut directives)?;
    Ok(directives)
}

/// A failure with or without a line to blame.
enum Failure {
    At(Box<ConfigError>),
    File(String),
}

fn read_into(path: &Path, depth: usize, out: &mut Vec<Directive>) -> Result<(), Failure> {
    let bytes = std::fs::read(path)
        .map_err(|e| Failure::File(format!("Can't open config file '{}': {e}", path.display())))?;
    let text = String::from_utf8(bytes).map_err(|error| Failure::At(Box::new(not_utf8(path, &error))))?;
    parse(&text, path, depth, out).map_err(|e| Failure::At(Box::new(e)))
}

/// Names the first line with bytes that are no text.
fn not_utf8(path: &Path, error: &std::string::FromUtf8Error) -> ConfigError {
    let (before, rest) = error.as_bytes().split_at(error.utf8_error().valid_up_to());
    let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
    let start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let end = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
    let text = String::from_utf8_lossy(&error.as_bytes()[start..before.len() + end]).into_owned();
    let origin = Origin::File { path: path.to_path_buf(), line };
    ConfigError { origin, text, reason: "The line is not valid UTF-8".into() }
}

/// Parses the lines of one file.
fn parse(text: &str, path: &Path, depth: usize, out: &mut Vec<Directive>) -> Result<(), ConfigError> {
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let origin = Origin::File { path: path.to_path_buf(), line: number + 1 };
        let fail = |reason: String| ConfigError { origin: origin.clone(), text: line.into(), reason };
        let words = split(line).ok_or_else(|| fail("Unbalanced quotes in configuration line".into()))?;
        let Some((name, words)) = words.split_first() else { continue };
        if !name.eq_ignore_ascii_case(b"include") {
            let (name, words) = (String::from_utf8_lossy(name).to_ascii_lowercase(), words.to_vec());
            out.push(Directive { name, words, origin, text: line.into() });
            continue;
        }
        let [pattern] = words else {
            return Err(fail("Bad directive or wrong number of arguments".into()));
        };
        if depth == INCLUDE_DEPTH_MAX {
            return Err(fail("Files include each other too deeply".into()));
        }
        let pattern = str::from_utf8(pattern).map_err(|_| fail("The path is not valid UTF-8".into()))?;
        for included in expand(pattern).map_err(&fail)? {
            match read_into(&included, depth + 1, out) {
                Ok(()) => {}
                Err(Failure::At(error)) => return Err(*error),
                Err(Failure::File(reason)) => return Err(fail(reason)),
            }
        }
    }
    Ok(())
}

/// The files an include names, sorted; a pattern may name none.
fn expand(pattern: &str) -> Result<Vec<PathBuf>, String> {
    let path = Path::new(pattern);
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if !name.contains(['*', '?', '[']) {
        return Ok(vec![path.to_path_buf()]);
    }
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let entries = std::fs::read_dir(folder).map_err(|e| format!("Can't read {}: {e}", folder.display()))?;
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|file| {
            let file = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            is_match(name.as_bytes(), file.as_bytes(), Case::Sensitive)
        })
        .collect();
    files.sort();
    Ok(files)
}

/// Splits a line into words; `None` when a quote is not closed or runs into the next word.
///
/// The same grammar splits inline commands, there on bytes (`resp::decoder`).
#[must_use]
pub fn split(line: &str) -> Option<Vec<Vec<u8>>> {
    crate::resp::words::split(line.as_bytes())
}

/// Writes a word so that [`split`] reads it back; the line stays text, whatever the word is.
#[must_use]
pub fn quote(word: &[u8]) -> String {
    let is_plain = !word.is_empty()
        && word.iter().all(|b| b.is_ascii_graphic() && !matches!(b, b'"' | b'\'' | b'\\' | b'#'));
    if is_plain {
        return String::from_utf8_lossy(word).into_owned();
    }
    let mut quoted = String::from("\"");
    for chunk in word.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '"' | '\\' => quoted.extend(['\\', c]),
                '\n' => quoted += "\\n",
                '\r' => quoted += "\\r",
                '\t' => quoted += "\\t",
                c if c.is_ascii_control() => quoted += &format!("\\x{:02x}", u32::from(c)),
                c => quoted.push(c),
            }
        }
        chunk.invalid().iter().for_each(|byte| quoted += &format!("\\x{byte:02x}"));
    }
    quoted + "\""
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_words_come_back() {
        for word in ["plain", "", "two words", "quote\"d", "back\\slash", "tab\there", "it's", "#x", "ü"] {
            let line = format!("name {}", quote(word.as_bytes()));
            assert_eq!(split(&line), Some(vec![b"name".to_vec(), word.into()]));
        }
        let bytes: Vec<u8> = (0..=255).collect();
        let line = format!("name {}", quote(&bytes));
        assert_eq!(split(&line), Some(vec![b"name".to_vec(), bytes]));
        assert_eq!(split("a \"b"), None);
        assert_eq!(split("a \"b\"c"), None);
    }

    #[test]
    fn errors_name_the_file_and_the_line_also_through_includes() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let inner = dir.path().join("inner.conf");
        let outer = dir.path().join("outer.conf");
        std::fs::write(&inner, "# fine\n\nrequirepass \"a b\nport 1\n").expect("written");
        std::fs::write(&outer, format!("port 1\ninclude {}\n", inner.display())).expect("written");
        let text = read(&outer).expect_err("unbalanced").to_string();
        assert!(text.contains("inner.conf, at line 3"), "{text}");
        assert!(text.contains("Unbalanced quotes"), "{text}");
    }

    #[test]
    fn includes_take_patterns() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(dir.path().join("1.conf"), "port 1\n").expect("written");
        std::fs::write(dir.path().join("2.conf"), "Port 2\n").expect("written");
        let outer = dir.path().join("outer");
        std::fs::write(&outer, format!("include {}/*.conf\nport 3", dir.path().display())).expect("written");
        let ports: Vec<_> = read(&outer).expect("valid").into_iter().map(|d| (d.name, d.words)).collect();
        let expected = ["1", "2", "3"].map(|n| ("port".to_owned(), vec![n.into()]));
        assert_eq!(ports, expected);
    }
}
