//! The `lux` binary: arguments, configuration, run.

use std::ffi::{OsString, c_char};
use std::process::ExitCode;

use clap::{Arg, Command};
use lux_server::config::sources;
use lux_server::{config, dispatch, logging, server};

/// One allocator for Rust and for the C and C++ libraries, so that its numbers are the process's.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// A string that C reads.
#[repr(transparent)]
struct Options(*const c_char);

// SAFETY: it points to a constant that nobody writes.
unsafe impl Sync for Options {}

/// jemalloc's settings: unused pages go back to the system within a quarter of a second, by its own threads, so
/// that the measured memory follows the budget. One arena: what one thread frees another fills again, where
/// with several each kept the holes that evictions leave (half of the hot tier, measured).
// SAFETY: jemalloc looks for exactly this name and type; nothing else is called so.
#[unsafe(no_mangle)]
#[used]
static malloc_conf: Options =
    Options(c"background_thread:true,dirty_decay_ms:250,muzzy_decay_ms:0,narenas:1".as_ptr());

fn command_line() -> Command {
    Command::new("lux")
        .version(lux_server::VERSION)
        .about("A durable Redis replacement that holds more data than fits into memory")
        .override_usage("lux [CONFIG FILE | -] [--PARAMETER VALUE]...")
        .after_help(
            "Every parameter of the configuration file is also a flag and an environment variable:\n\
             --maxmemory 64mb, LUX_MAXMEMORY=64mb. List them with --print-config-reference.",
        )
        .arg(Arg::new("config").help("A configuration file in the format of redis.conf"))
        .arg(Arg::new("print-commands").long("print-commands").num_args(0).help("Prints docs/commands.md"))
        .arg(
            Arg::new("print-compatibility")
                .long("print-compatibility")
                .num_args(0)
                .help("Prints docs/compatibility.md"),
        )
        .arg(
            Arg::new("print-config-reference")
                .long("print-config-reference")
                .num_args(0)
                .help("Prints docs/configuration.md"),
        )
}

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    match args.first().and_then(|arg| arg.to_str()) {
        Some(first @ ("-h" | "--help" | "-V" | "--version" | "-v")) => {
            let first = if first == "-v" { "--version" } else { first };
            // clap prints what was asked for and exits.
            command_line().get_matches_from(["lux", first]);
        }
        Some("--print-commands") => print!("{}", dispatch::command_table::reference_page()),
        Some("--print-compatibility") => print!("{}", dispatch::compatibility::page()),
        Some("--print-config-reference") => print!("{}", config::reference_page()),
        _ => return start(&args),
    }
    ExitCode::SUCCESS
}

fn start(args: &[OsString]) -> ExitCode {
    let result = sources::load(args, std::env::vars_os()).map_err(Into::into).and_then(|loaded| {
        let level = logging::start(&loaded.config)?;
        server::run(loaded, level)
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
