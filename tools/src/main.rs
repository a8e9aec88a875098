//! `luxctl`: offline tools for a store's data folder.
//!
//! It never writes. One file per subcommand; the binary maps errors to exit codes here.

mod stat;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "luxctl", version, about = "Offline tools for a data folder of Lux")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Shows what a data folder holds: identity, log segments, sizes.
    #[command(after_help = "Example: luxctl stat ./data")]
    Stat {
        /// The data folder.
        dir: PathBuf,
    },
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Stat { dir } => stat::run(&dir),
    };
    match outcome {
        Ok(text) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("luxctl: {error}");
            ExitCode::FAILURE
        }
    }
}
