//! The first line of a script or library: `#!lua name=... flags=...`.

use crate::resp::words;

/// What a script declares about itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScriptFlags(u8);

impl ScriptFlags {
    pub const NO_WRITES: Self = ScriptFlags(1);
    pub const ALLOW_OOM: Self = ScriptFlags(2);
    pub const ALLOW_STALE: Self = ScriptFlags(4);
    pub const NO_CLUSTER: Self = ScriptFlags(8);
    pub const ALLOW_CROSS_SLOT_KEYS: Self = ScriptFlags(16);
    /// No shebang: the rules of old scripts, where each command is judged by itself.
    pub const COMPATIBLE: Self = ScriptFlags(32);

    /// The flags by the names that scripts use.
    const NAMED: [(&'static str, Self); 5] = [
        ("no-writes", Self::NO_WRITES),
        ("allow-oom", Self::ALLOW_OOM),
        ("allow-stale", Self::ALLOW_STALE),
        ("no-cluster", Self::NO_CLUSTER),
        ("allow-cross-slot-keys", Self::ALLOW_CROSS_SLOT_KEYS),
    ];

    #[must_use]
    pub fn has(self, flag: Self) -> bool {
        self.0 & flag.0 != 0
    }

    #[must_use]
    pub fn with(self, flag: Self) -> Self {
        ScriptFlags(self.0 | flag.0)
    }

    /// The flag of a name, in the given case.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::NAMED.iter().find(|(known, _)| *known == name).map(|(_, flag)| *flag)
    }

    /// The names of the flags set.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMED.iter().filter(move |(_, flag)| self.has(*flag)).map(|(name, _)| *name)
    }
}

/// Splits a body that starts with `#!` into the shebang's words and the rest, which keeps its line
/// feed so that line numbers stay.
fn split(body: &[u8]) -> Option<(Option<Vec<String>>, &[u8])> {
    let end = memchr::memchr(b'\n', body)?;
    let words = words::split(&body[..end]).filter(|words| !words.is_empty());
    let words =
        words.map(|words| words.iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect());
    Some((words, &body[end..]))
}

/// The flags of an EVAL script and its code without the shebang.
///
/// # Errors
/// The text of the reply, without the code `ERR`.
pub fn parse_script(body: &[u8]) -> Result<(ScriptFlags, &[u8]), String> {
    if !body.starts_with(b"#!") {
        return Ok((ScriptFlags::COMPATIBLE, body));
    }
    let (words, code) = split(body).ok_or("Invalid script shebang")?;
    let words = words.ok_or("Invalid engine in script shebang")?;
    let (engine, options) = words.split_first().ok_or("Invalid engine in script shebang")?;
    if engine != "#!lua" {
        return Err(format!("Unexpected engine in script shebang: {engine}"));
    }
    let mut flags = ScriptFlags::default();
    for option in options {
        let Some(list) = option.strip_prefix("flags=") else {
            return Err(format!("Unknown lua shebang option: {option}"));
        };
        for name in list.split(',').filter(|_| !list.is_empty()) {
            let flag = ScriptFlags::named(name);
            flags = flags.with(flag.ok_or_else(|| format!("Unexpected flag in script shebang: {name}"))?);
        }
    }
    Ok((flags, code))
}

/// The name of a function library and its code without the shebang.
///
/// # Errors
/// The text of the reply, without the code `ERR`.
pub fn parse_library(body: &[u8]) -> Result<(String, &[u8]), String> {
    if !body.starts_with(b"#!") {
        return Err("Missing library metadata".to_owned());
    }
    let (words, code) = split(body).ok_or("Invalid library metadata")?;
    let words = words.ok_or("Invalid library metadata")?;
    let (engine, options) = words.split_first().ok_or("Invalid library metadata")?;
    let mut name = None;
    for option in options {
        let is_name = option.get(..5).is_some_and(|start| start.eq_ignore_ascii_case("name="));
        match option.get(5..).filter(|_| is_name) {
            Some(_) if name.is_some() => {
                return Err("Invalid metadata value, name argument was given multiple times".to_owned());
            }
            Some(value) => name = Some(value.to_owned()),
            None => return Err(format!("Invalid metadata value given: {option}")),
        }
    }
    let name = name.ok_or("Library name was not given")?;
    if !is_valid_name(&name) {
        return Err(
            "Library names can only contain letters, numbers, or underscores(_) and must be at least one \
                    character long"
                .to_owned(),
        );
    }
    match engine.strip_prefix("#!") {
        Some(engine) if engine.eq_ignore_ascii_case("lua") => Ok((name, code)),
        engine => Err(format!("Engine '{}' not found", engine.unwrap_or_default())),
    }
}

/// Whether a library or a function may be called `name`.
#[must_use]
pub fn is_valid_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}
