//! Where values come from at the start: defaults of the machine, file, environment, flags.
//!
//! Later sources win. `lux [file] --name value ...` works as with redis-server: every parameter
//! is a flag, a flag takes the words up to the next one, and `-` reads the file from standard
//! input. An environment variable is `LUX_` and the name in capitals with underscores.

use std::ffi::OsString;
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use super::file::{self, ConfigError, Directive, Origin};
use super::foreign::{self, Foreign};
use super::value::Kind;
use super::{Config, PARAMETERS, find};
use crate::machine;

/// The configuration at the start.
#[derive(Debug)]
pub struct Loaded {
    pub config: Config,
    pub defaults: Config,
    pub file: Option<PathBuf>,
    /// Settings of Redis that were accepted and do nothing.
    pub without_effect: Vec<String>,
    /// Environment variables that look like parameters and are none.
    pub unknown_variables: Vec<String>,
}

/// Builds the configuration from the arguments behind the program's name and the environment.
pub fn load(
    args: &[OsString],
    environment: impl Iterator<Item = (OsString, OsString)>,
) -> Result<Loaded, ConfigError> {
    let (file, flags) = split_arguments(args)?;
    let mut directives = Vec::new();
    if let Some(path) = &file {
        directives.extend(read_file(path)?);
    }
    let (variables, unknown_variables) = from_environment(environment);
    directives.extend(variables);
    directives.extend(flags);

    let defaults = machine_defaults();
    let mut config = defaults.clone();
    let mut without_effect: Vec<String> = Vec::new();
    for directive in &directives {
        if let Some(name) = apply(&mut config, directive)?.filter(|name| !without_effect.contains(name)) {
            without_effect.push(name);
        }
    }
    if config.maxmemory == 0 {
        config.maxmemory = defaults.maxmemory;
    }
    if config.io_threads == 0 {
        config.io_threads = defaults.io_threads;
    }
    let file = file.filter(|path| path.as_os_str() != "-").map(|path| path.canonicalize().unwrap_or(path));
    Ok(Loaded { config, defaults, file, without_effect, unknown_variables })
}

/// The table's defaults with what depends on the machine filled in.
fn machine_defaults() -> Config {
    Config {
        maxmemory: i64::try_from(machine::memory_bytes() / 2).unwrap_or(i64::MAX),
        io_threads: i64::try_from(machine::cores().min(4)).unwrap_or(1),
        ..Config::default()
    }
}

fn read_file(path: &Path) -> Result<Vec<Directive>, ConfigError> {
    if path.as_os_str() != "-" {
        return file::read(path);
    }
    let mut text = String::new();
    let failed = |reason: String| ConfigError {
        origin: Origin::File { path: path.to_path_buf(), line: 0 },
        text: "-".into(),
        reason,
    };
    std::io::stdin().read_to_string(&mut text).map_err(|e| failed(format!("Can't read it: {e}")))?;
    file::parse_text(&text, path)
}

/// Sets one parameter; the error blames the directive. Returns what the operator should know is without
/// effect.
fn apply(config: &mut Config, directive: &Directive) -> Result<Option<String>, ConfigError> {
    let fail = |reason: String| ConfigError {
        origin: directive.origin.clone(),
        text: directive.text.clone(),
        reason,
    };
    const UNKNOWN: &str = "Bad directive or wrong number of arguments";
    let Some(parameter) = find(&directive.name) else {
        return match foreign::find(&directive.name, &directive.words.join(&b' ')) {
            Some(Foreign::WithoutEffect) => Ok(Some(directive.name.clone())),
            Some(Foreign::Refused(why)) => Err(fail(format!("Not supported: {why}"))),
            None => Err(fail(UNKNOWN.into())),
        };
    };
    let takes_many = parameter.kind.takes_many_words();
    let mut value = match &*directive.words {
        [one] => one.clone(),
        [] if !takes_many => return Err(fail(UNKNOWN.into())),
        words if takes_many => words.join(&b' '),
        _ => return Err(fail("wrong number of arguments".into())),
    };
    // Lines with save points add up, as in Redis; an empty one forgets those before it.
    let adds_up = matches!(parameter.kind, Kind::SavePoints)
        && !matches!(directive.origin, Origin::Environment(_))
        && !value.trim_ascii().is_empty();
    if adds_up {
        value = [&parameter.print(config), &b" "[..], &value].concat();
    }
    parameter.assign(config, &value).map_err(&fail)?;
    if let Err((name, reason)) = config.check()
        && name == parameter.name
    {
        return Err(fail(reason));
    }
    Ok(overruled(config, directive))
}

/// What these two ask for cannot be had, and the stock redis.conf asks for it. Nothing is lost: the log is
/// on, and the server stays in the foreground.
fn overruled(config: &mut Config, directive: &Directive) -> Option<String> {
    if !config.appendonly || config.daemonize {
        config.appendonly = true;
        config.daemonize = false;
        return Some(directive.text.clone());
    }
    None
}

/// The file (first argument, unless it is a flag) and the flags.
fn split_arguments(args: &[OsString]) -> Result<(Option<PathBuf>, Vec<Directive>), ConfigError> {
    let is_flag = |arg: &OsString| arg.as_bytes().starts_with(b"--");
    let (file, mut rest) = match args.split_first() {
        Some((first, rest)) if !is_flag(first) => (Some(PathBuf::from(first)), rest),
        _ => (None, args),
    };
    let mut directives = Vec::new();
    while let Some((flag, behind)) = rest.split_first() {
        let Some(name) = flag.as_bytes().strip_prefix(b"--") else {
            return Err(ConfigError {
                origin: Origin::CommandLine,
                text: flag.to_string_lossy().into_owned(),
                reason: "A flag begins with --".into(),
            });
        };
        // `--name=value` is one argument, as in most programs.
        let (name, inline) = match name.iter().position(|byte| *byte == b'=') {
            Some(at) => (&name[..at], Some(name[at + 1..].to_vec())),
            None => (name, None),
        };
        let count = if inline.is_some() { 0 } else { behind.iter().take_while(|arg| !is_flag(arg)).count() };
        let (values, behind) = behind.split_at(count);
        let name = String::from_utf8_lossy(name);
        let words: Vec<Vec<u8>> =
            inline.into_iter().chain(values.iter().map(|value| value.as_bytes().to_vec())).collect();
        let text = format!("{name} {}", String::from_utf8_lossy(&words.join(&b' ')));
        directives.push(Directive {
            name: name.to_ascii_lowercase(),
            words,
            origin: Origin::CommandLine,
            text: text.trim_end().into(),
        });
        rest = behind;
    }
    Ok((file, directives))
}

/// `LUX_MAXMEMORY=64mb` and the like, and the names of those that begin with `LUX_` and mean nothing.
/// Others may use such names as well (Kubernetes does, for a service called lux), so those are no errors.
fn from_environment(variables: impl Iterator<Item = (OsString, OsString)>) -> (Vec<Directive>, Vec<String>) {
    let (mut found, mut unknown) = (Vec::new(), Vec::new());
    for (variable, value) in variables {
        let variable = variable.to_string_lossy().into_owned();
        let Some(name) = variable.strip_prefix("LUX_") else { continue };
        let name = name.to_ascii_lowercase().replace('_', "-");
        if !PARAMETERS.iter().any(|p| p.name == name) {
            unknown.push(variable);
            continue;
        }
        let text = format!("{name} {}", value.to_string_lossy());
        let words = vec![value.into_vec()];
        found.push(Directive { name, words, origin: Origin::Environment(variable), text });
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    unknown.sort();
    (found, unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load_words(line: &str, environment: &[(&str, &str)]) -> Result<Loaded, ConfigError> {
        let args: Vec<OsString> =
            file::split(line).expect("balanced").into_iter().map(OsString::from_vec).collect();
        load(&args, environment.iter().map(|(k, v)| (OsString::from(k), OsString::from(v))))
    }

    #[test]
    fn flags_win_over_the_environment_and_the_environment_over_the_file() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("lux.conf");
        std::fs::write(&path, "port 1\ntimeout 1\nhz 1\n").expect("written");
        let line = format!("{} --port 3 --bind 127.0.0.1 ::1 --requirepass=a=b", path.display());
        let loaded = load_words(&line, &[("LUX_PORT", "2"), ("LUX_TIMEOUT", "2"), ("HOME", "/")]);
        let config = loaded.expect("valid").config;
        assert_eq!((config.port, config.timeout, config.hz), (3, 2, 1));
        assert_eq!(config.bind, ["127.0.0.1", "::1"]);
        assert_eq!(config.requirepass, b"a=b");
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        for (line, reason) in [
            ("--nosuch 1", "Bad directive or wrong number of arguments"),
            ("--port", "Bad directive or wrong number of arguments"),
            ("--port 1 2", "wrong number of arguments"),
            ("--port x", "argument couldn't be parsed into an integer"),
            ("--cluster-enabled yes", "argument must be 'no': there is no cluster mode"),
            ("--replicaof 10.0.0.1 6379", "Not supported: there is no replication"),
            ("--dir \"\\xff\"", "argument must be valid UTF-8"),
            ("--maxmemory 1parsec", "argument must be a memory value"),
        ] {
            let error = load_words(line, &[]).expect_err(line);
            assert_eq!((error.origin, error.reason.as_str()), (Origin::CommandLine, reason), "{line}");
        }
        let error = load_words("", &[("LUX_PORT", "x")]).expect_err("no number");
        assert_eq!(error.origin, Origin::Environment("LUX_PORT".into()));
    }

    #[test]
    fn an_unset_budget_is_that_of_the_machine() {
        let config = load_words("--maxmemory 0", &[]).expect("valid").config;
        assert!(config.maxmemory > 0);
        assert_eq!(load_words("--maxmemory 64mb", &[]).expect("valid").config.maxmemory, 64 << 20);
    }

    /// A password that was not UTF-8 was dropped from the environment, so the server let everybody in.
    #[test]
    fn what_is_not_text_is_kept_or_refused() {
        let bytes = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
        let password = b"sec\xff";
        let variable = [("LUX_REQUIREPASS".into(), bytes(password))];
        let loaded = load(&[], variable.into_iter()).expect("any bytes are a password");
        assert_eq!(loaded.config.requirepass, password);
        let loaded = load(&["--requirepass".into(), bytes(password)], std::iter::empty()).expect("the same");
        assert_eq!(loaded.config.requirepass, password);
        let error = load(&[], [("LUX_DIR".into(), bytes(password))].into_iter()).expect_err("no text");
        assert_eq!(error.origin, Origin::Environment("LUX_DIR".into()));
        assert_eq!(error.reason, "argument must be valid UTF-8");
        let loaded = load_words("", &[("LUX_MAX_MEMORY", "64mb"), ("LUXURY", "1")]).expect("valid");
        assert_eq!(loaded.unknown_variables, ["LUX_MAX_MEMORY"]);
    }

    #[test]
    fn what_only_redis_has_is_named_once() {
        let line = "--dbfilename dump.rdb --appendonly no --rdbchecksum yes --rdbchecksum no --daemonize yes";
        let loaded = load_words(line, &[]).expect("valid");
        assert_eq!(loaded.without_effect, ["dbfilename", "appendonly no", "rdbchecksum", "daemonize yes"]);
        assert!(loaded.config.appendonly && !loaded.config.daemonize);
    }

    #[test]
    fn lines_with_save_points_add_up() {
        let save = |line: &str| load_words(line, &[]).expect("valid").config.save;
        assert_eq!(save("--save 3600 1 --save 300 100"), "3600 1 300 100");
        assert_eq!(save("--save 3600 1 --save \"\" --save 60 10000"), "60 10000");
        assert_eq!(save("--save 3600 1 --save \"\""), "");
    }
}
