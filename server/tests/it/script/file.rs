//! Reading script files into steps, and writing corrected expectations back.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::expect::Variables;

/// The names of the modes a step can be left out in.
const MODES: [&str; 3] = ["hot", "cold", "restarted"];

/// A script file.
pub struct Script {
    /// Path below the corpus folder, for messages and filters.
    pub name: String,
    path: PathBuf,
    lines: Vec<String>,
    /// Flags of a server of its own.
    pub server_flags: Option<Vec<String>>,
    pub sections: Vec<Section>,
}

/// A run of steps that starts from empty databases.
pub struct Section {
    pub title: String,
    pub steps: Vec<Step>,
}

/// Where a step runs.
#[derive(Clone, Default)]
pub struct Conditions {
    /// Servers by name; empty means all.
    pub servers: Vec<String>,
    /// Modes it is left out in, on all servers or on one.
    pub not: Vec<(String, Option<String>)>,
    /// Commands the server must have.
    pub needs: Vec<String>,
}

/// One line that does something.
pub struct Step {
    /// Line number from 1.
    pub line: usize,
    pub connection: String,
    pub action: Action,
    pub conditions: Conditions,
    /// Indexes of the expectation's lines.
    pub expected_lines: Range<usize>,
    pub expected: String,
}

pub enum Action {
    Command(Vec<Argument>),
    Let(String, Vec<Argument>),
    Raw(Vec<u8>),
    Sleep(u64),
    Protocol(u8),
    Read,
    Blocked,
    Closed,
}

/// A word of a command line.
pub enum Argument {
    Bytes(Vec<u8>),
    Variable(String),
}

impl Argument {
    pub fn resolve(&self, variables: &Variables) -> Result<Vec<u8>, String> {
        match self {
            Argument::Bytes(bytes) => Ok(bytes.clone()),
            Argument::Variable(name) => {
                variables.get(name).cloned().ok_or_else(|| format!("${name} was never captured"))
            }
        }
    }
}

impl Script {
    /// Reads every script below `folder`, in path order.
    pub fn load_all(folder: &Path) -> Result<Vec<Script>, String> {
        let mut scripts = Vec::new();
        let mut pending = vec![folder.to_path_buf()];
        while let Some(directory) = pending.pop() {
            let entries =
                fs::read_dir(&directory).map_err(|error| format!("{}: {error}", directory.display()))?;
            for entry in entries {
                let path = entry.map_err(|error| error.to_string())?.path();
                if path.is_dir() {
                    pending.push(path);
                } else if path.extension().is_some_and(|extension| extension == "txt") {
                    scripts.push(Script::load(folder, &path)?);
                }
            }
        }
        scripts.sort_by(|left, right| left.name.cmp(&right.name));
        Ok(scripts)
    }

    fn load(folder: &Path, path: &Path) -> Result<Script, String> {
        let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let name = path.strip_prefix(folder).unwrap_or(path).display().to_string();
        Script::parse(name, path.to_path_buf(), &text)
    }

    fn parse(name: String, path: PathBuf, text: &str) -> Result<Script, String> {
        let lines: Vec<String> = text.lines().map(str::to_string).collect();
        let mut script = Script { name, path, lines, server_flags: None, sections: Vec::new() };
        let mut in_file = Conditions::default();
        let mut in_section = in_file.clone();
        let mut in_step = Conditions::default();
        let mut at = 0;
        while at < script.lines.len() {
            let line = script.lines[at].clone();
            let number = at + 1;
            let fail = |message: String| format!("{}:{number}: {message}", script.name);
            at += 1;
            if line.trim().is_empty() {
                continue;
            }
            if let Some(title) = line.strip_prefix("==") {
                in_section = in_file.clone();
                script.sections.push(Section { title: title.trim().to_string(), steps: Vec::new() });
            } else if let Some(comment) = line.strip_prefix('#') {
                let comment = comment.trim();
                if let Some(rest) = comment.strip_prefix("file server ") {
                    script.server_flags = Some(rest.split_whitespace().map(str::to_string).collect());
                } else if let Some(rest) = comment.strip_prefix("file ") {
                    in_file.read(rest);
                    in_section = in_file.clone();
                } else if let Some(rest) = comment.strip_prefix("section ") {
                    in_section.read(rest);
                } else {
                    in_step.read(comment);
                }
            } else if line.starts_with(' ') {
                return Err(fail("an expectation without a command".to_string()));
            } else {
                let start = at;
                while script.lines.get(at).is_some_and(|next| next.starts_with(' ')) {
                    at += 1;
                }
                let expected = script.lines[start..at].join("\n");
                let (connection, action) = parse_action(&line).map_err(&fail)?;
                let conditions = in_section.and(&std::mem::take(&mut in_step));
                let step = Step {
                    line: number,
                    connection,
                    action,
                    conditions,
                    expected_lines: start..at,
                    expected,
                };
                if script.sections.is_empty() {
                    script.sections.push(Section { title: String::new(), steps: Vec::new() });
                }
                script.sections.last_mut().expect("just made sure there is one").steps.push(step);
            }
        }
        Ok(script)
    }

    /// The command lines as written, for inventories.
    pub fn command_lines(&self) -> impl Iterator<Item = String> {
        self.sections.iter().flat_map(|section| &section.steps).filter_map(|step| match &step.action {
            Action::Command(args) | Action::Let(_, args) => Some(
                args.iter()
                    .map(|arg| match arg {
                        Argument::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
                        Argument::Variable(name) => format!("${name}"),
                    })
                    .collect::<Vec<_>>()
                    .join(" "),
            ),
            _ => None,
        })
    }

    /// Replaces expectations, keyed by the lines they stood on, and writes the file.
    pub fn rewrite(&self, changes: &BTreeMap<usize, (Range<usize>, Vec<String>)>) -> Result<(), String> {
        if changes.is_empty() {
            return Ok(());
        }
        let mut out: Vec<String> = Vec::with_capacity(self.lines.len());
        let mut at = 0;
        for (range, lines) in changes.values() {
            out.extend_from_slice(&self.lines[at..range.start]);
            out.extend(lines.iter().map(|line| format!("  {line}")));
            at = range.end;
        }
        out.extend_from_slice(&self.lines[at..]);
        fs::write(&self.path, out.join("\n") + "\n").map_err(|error| error.to_string())
    }
}

impl Conditions {
    /// Reads one comment; a comment that is no directive changes nothing.
    fn read(&mut self, comment: &str) {
        let (directive, _reason) = comment.split_once(':').unwrap_or((comment, ""));
        let mut words = directive.split_whitespace().map(str::to_string);
        match words.next().as_deref() {
            Some("requires") => self.servers = words.collect(),
            // A sentence may begin with "not" as well; only the name of a mode makes it a directive.
            Some("not") => match (words.next(), words.next(), words.next()) {
                (Some(mode), server, None) if MODES.contains(&mode.as_str()) => self.not.push((mode, server)),
                _ => {}
            },
            Some("needs") => self.needs.extend(words),
            _ => {}
        }
    }

    fn and(&self, inner: &Conditions) -> Conditions {
        Conditions {
            servers: if inner.servers.is_empty() { self.servers.clone() } else { inner.servers.clone() },
            not: self.not.iter().chain(&inner.not).cloned().collect(),
            needs: self.needs.iter().chain(&inner.needs).cloned().collect(),
        }
    }
}

fn parse_action(line: &str) -> Result<(String, Action), String> {
    let mut connection = "main".to_string();
    let mut line = line;
    if let Some(rest) = line.strip_prefix('@') {
        let (name, rest) = rest.split_once(' ').ok_or("a connection without a command")?;
        connection = name.to_string();
        line = rest;
    }
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    let action = match word {
        "resp2" => Action::Protocol(2),
        "resp3" => Action::Protocol(3),
        "read" => Action::Read,
        "blocked" => Action::Blocked,
        "closed" => Action::Closed,
        "sleep" => Action::Sleep(rest.trim().parse().map_err(|_| "sleep takes milliseconds")?),
        "raw" => {
            let mut bytes = Vec::new();
            for argument in split_words(rest)? {
                bytes.extend(argument.resolve(&Variables::new())?);
            }
            Action::Raw(bytes)
        }
        "let" => {
            let (name, command) = rest.split_once('=').ok_or("let name = COMMAND")?;
            Action::Let(name.trim().to_string(), split_words(command)?)
        }
        _ => Action::Command(split_words(line)?),
    };
    Ok((connection, action))
}

/// Splits a command line as redis-cli does, and knows `$name`, `%{count*text}` and `%{from..to*text}` besides.
fn split_words(line: &str) -> Result<Vec<Argument>, String> {
    let bytes = line.as_bytes();
    let mut words = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at].is_ascii_whitespace() {
            at += 1;
            continue;
        }
        if bytes[at] == b'"' || bytes[at] == b'\'' {
            let (word, used) = read_quoted(&bytes[at..])?;
            at += used;
            if bytes.get(at).is_some_and(|byte| !byte.is_ascii_whitespace()) {
                return Err("text directly behind a closing quote".to_string());
            }
            words.push(Argument::Bytes(word));
            continue;
        }
        let start = at;
        while bytes.get(at).is_some_and(|byte| !byte.is_ascii_whitespace()) {
            at += 1;
        }
        let word = &line[start..at];
        if let Some(texts) = expand_range(word)? {
            words.extend(texts.into_iter().map(Argument::Bytes));
            continue;
        }
        words.push(match (expand_repeat(word)?, word.strip_prefix('$')) {
            (Some(text), _) => Argument::Bytes(text),
            (None, Some(name)) if !name.is_empty() => Argument::Variable(name.to_string()),
            _ => Argument::Bytes(word.as_bytes().to_vec()),
        });
    }
    Ok(words)
}

/// Reads a quoted string at the start of `text`; returns its bytes and how much it took.
pub fn read_quoted(text: &[u8]) -> Result<(Vec<u8>, usize), String> {
    let quote = *text.first().ok_or("a missing string")?;
    if quote != b'"' && quote != b'\'' {
        return Err(format!("expected a quoted string at {:?}", String::from_utf8_lossy(text)));
    }
    let mut out = Vec::new();
    let mut at = 1;
    loop {
        let byte = *text.get(at).ok_or("a string without its closing quote")?;
        at += 1;
        match byte {
            _ if byte == quote => return Ok((out, at)),
            b'\\' if quote == b'"' => {
                let (byte, used) = read_escape(&text[at..])?;
                out.push(byte);
                at += used;
            }
            b'\\' if text.get(at) == Some(&b'\'') => {
                out.push(b'\'');
                at += 1;
            }
            _ => out.push(byte),
        }
    }
}

fn read_escape(text: &[u8]) -> Result<(u8, usize), String> {
    let byte = *text.first().ok_or("an unfinished escape")?;
    Ok(match byte {
        b'x' => {
            let digits = text.get(1..3).and_then(|digits| std::str::from_utf8(digits).ok());
            let value = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
            (value.ok_or("\\x needs two hex digits")?, 3)
        }
        b'n' => (b'\n', 1),
        b'r' => (b'\r', 1),
        b't' => (b'\t', 1),
        b'b' => (0x08, 1),
        b'a' => (0x07, 1),
        other => (other, 1),
    })
}

/// Expands `%{count*text}`; `None` when the word is something else.
pub fn expand_repeat(word: &str) -> Result<Option<Vec<u8>>, String> {
    let Some(body) = word.strip_prefix("%{").and_then(|body| body.strip_suffix('}')) else {
        return Ok(None);
    };
    let (count, text) = body.split_once('*').ok_or("%{count*text}")?;
    let count: usize = count.parse().map_err(|_| format!("a bad count in {word}"))?;
    Ok(Some(unescape(text)?.repeat(count)))
}

/// Expands `%{from..to*text,text}` to its texts once for every number, which `#` stands for; `None` when the word
/// is something else.
pub fn expand_range(word: &str) -> Result<Option<Vec<Vec<u8>>>, String> {
    let body = word.strip_prefix("%{").and_then(|body| body.strip_suffix('}'));
    let Some((range, texts)) = body.and_then(|body| body.split_once('*')) else { return Ok(None) };
    let Some((from, to)) = range.split_once("..") else { return Ok(None) };
    let bound = |text: &str| text.parse::<i64>().map_err(|_| format!("a bad range in {word}"));
    let mut out = Vec::new();
    for number in bound(from)?..=bound(to)? {
        for text in texts.split(',') {
            out.push(unescape(&text.replace('#', &number.to_string()))?);
        }
    }
    Ok(Some(out))
}

fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let text = text.as_bytes();
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        if text[at] == b'\\' {
            let (byte, used) = read_escape(&text[at + 1..])?;
            out.push(byte);
            at += 1 + used;
        } else {
            out.push(text[at]);
            at += 1;
        }
    }
    Ok(out)
}
