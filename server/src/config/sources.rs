//! Where values come from at the start: defaults of the machine, file, environment, flags.
//!
//! Later sources win. `lux [file] --name value ...` works as with redis-server: every parameter
//! is a flag, a flag takes the words up to the next one, and `-` reads the file from standard
//! input. An environment variable is `LUX_` and the name in capitals with underscores.

use std::io::Read;
use std::path::{Path, PathBuf};

use super::file::{self, ConfigError, Directive, Origin};
use super::{Config, PARAMETERS, find};
use crate::machine;

/// The configuration at the start.
#[derive(Debug)]
pub struct Loaded {
    pub config: Config,
    pub defaults: Config,
    pub file: Option<PathBuf>,
}

/// Builds the configuration from the arguments behind the program's name and the environment.
pub fn load(
    args: &[String],
    environment: impl Iterator<Item = (String, String)>,
) -> Result<Loaded, ConfigError> {
    let (file, flags) = split_arguments(args)?;
    let mut directives = Vec::new();
    if let Some(path) = &file {
        directives.extend(read_file(path)?);
    }
    directives.extend(from_environment(environment));
    directives.extend(flags);

    let defaults = machine_defaults();
    let mut config = defaults.clone();
    for directive in &directives {
        apply(&mut config, directive)?;
    }
    if config.maxmemory == 0 {
        config.maxmemory = defaults.maxmemory;
    }
    if config.io_threads == 0 {
        config.io_threads = defaults.io_threads;
    }
    let file = file.filter(|path| path.as_os_str() != "-").map(|path| path.canonicalize().unwrap_or(path));
    Ok(Loaded { config, defaults, file })
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

/// Sets one parameter; the error blames the directive.
fn apply(config: &mut Config, directive: &Directive) -> Result<(), ConfigError> {
    let fail = |reason: String| ConfigError {
        origin: directive.origin.clone(),
        text: directive.text.clone(),
        reason,
    };
    const UNKNOWN: &str = "Bad directive or wrong number of arguments";
    let parameter = find(&directive.name).ok_or_else(|| fail(UNKNOWN.into()))?;
    let takes_many = parameter.kind.takes_many_words();
    let value = match &*directive.words {
        [one] => one.clone(),
        [] if !takes_many => return Err(fail(UNKNOWN.into())),
        words if takes_many => words.join(" "),
        _ => return Err(fail("wrong number of arguments".into())),
    };
    parameter.assign(config, &value).map_err(&fail)?;
    match config.check() {
        Err((name, reason)) if name == parameter.name => Err(fail(reason)),
        _ => Ok(()),
    }
}

/// The file (first argument, unless it is a flag) and the flags.
fn split_arguments(args: &[String]) -> Result<(Option<PathBuf>, Vec<Directive>), ConfigError> {
    let is_flag = |arg: &String| arg.starts_with("--");
    let (file, mut rest) = match args.split_first() {
        Some((first, rest)) if !is_flag(first) => (Some(PathBuf::from(first)), rest),
        _ => (None, args),
    };
    let mut directives = Vec::new();
    while let Some((flag, behind)) = rest.split_first() {
        let Some(name) = flag.strip_prefix("--") else {
            return Err(ConfigError {
                origin: Origin::CommandLine,
                text: flag.clone(),
                reason: "A flag begins with --".into(),
            });
        };
        // `--name=value` is one argument, as in most programs.
        let (name, inline) = match name.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (name, None),
        };
        let count = if inline.is_some() { 0 } else { behind.iter().take_while(|arg| !is_flag(arg)).count() };
        let (values, behind) = behind.split_at(count);
        let words: Vec<String> = inline.into_iter().chain(values.iter().cloned()).collect();
        let text = format!("{name} {}", words.join(" "));
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

/// `LUX_MAXMEMORY=64mb` and the like; other variables are none of ours.
fn from_environment(variables: impl Iterator<Item = (String, String)>) -> Vec<Directive> {
    let mut found: Vec<Directive> = variables
        .filter_map(|(variable, value)| {
            let name = variable.strip_prefix("LUX_")?.to_ascii_lowercase().replace('_', "-");
            let parameter = PARAMETERS.iter().find(|p| p.name == name)?;
            let text = format!("{} {value}", parameter.name);
            let origin = Origin::Environment(variable);
            Some(Directive { name, words: vec![value], origin, text })
        })
        .collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load_words(line: &str, environment: &[(&str, &str)]) -> Result<Loaded, ConfigError> {
        let args = file::split(line).expect("balanced");
        load(&args, environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())))
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
        assert_eq!(config.requirepass, "a=b");
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        for (line, reason) in [
            ("--nosuch 1", "Bad directive or wrong number of arguments"),
            ("--port", "Bad directive or wrong number of arguments"),
            ("--port 1 2", "wrong number of arguments"),
            ("--port x", "argument couldn't be parsed into an integer"),
            ("--appendonly no", "argument must be 'yes'"),
            ("--daemonize yes", "argument must be 'no'"),
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
}
