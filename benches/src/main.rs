//! `compare`: arguments to groups to markdown on standard output.
//!
//! Exit codes: 0 figures were printed; 1 a server failed or a reply was wrong (no figures); 2 bad
//! arguments; 3 the run exceeded its time limit.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use lux_benches::groups::{self, Context};
use lux_benches::report;
use lux_benches::server::Spec;
use lux_benches::{Failure, Result};

/// Compares RESP servers: same workloads, fresh start, loopback, one run.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Servers: lux, valkey, redis or NAME=/path/to/binary (Lux's options if NAME begins with lux).
    #[arg(long, value_delimiter = ',', default_value = "lux,valkey,redis", global = true)]
    servers: Vec<String>,
    /// Extra options of one server: NAME="--option value".
    #[arg(long, value_name = "NAME=OPTIONS", global = true)]
    server_options: Vec<String>,
    /// The server that ratios are taken against.
    #[arg(long, default_value = "valkey", global = true)]
    baseline: String,
    /// Folder for the servers' data; it should lie on the disk that matters.
    #[arg(long, global = true)]
    dir: Option<PathBuf>,
    /// A quarter of the time and smaller data: to see that everything works.
    #[arg(long, global = true)]
    quick: bool,
    /// Generator threads of the throughput group (the others have one).
    #[arg(long, default_value_t = 1, global = true)]
    threads: usize,
    /// Rounds of the throughput, types and ranges groups; figures are medians.
    #[arg(long, default_value_t = 3, global = true)]
    rounds: usize,
    /// The run is given up after this many minutes.
    #[arg(long, default_value_t = 90, global = true)]
    minutes_max: u64,
    #[command(subcommand)]
    group: Group,
}

#[derive(Clone, Debug, Subcommand)]
enum Group {
    /// SET, INCR, GET at pipelines 1, 16, 64.
    Throughput,
    /// Resident bytes per key.
    Memory,
    /// More data than the memory bound: load, read, overwrite.
    LargerThanMemory(Sizes),
    /// kill -9 to the first correct read, and speed thirty seconds later.
    Restart {
        /// Keys to load.
        #[arg(long)]
        keys: Option<u64>,
        /// Memory bound of Lux in MiB; an eighth of the data if not given.
        #[arg(long)]
        maxmemory_mb: Option<u64>,
    },
    /// Start time, memory when empty, binary size.
    Idle,
    /// appendfsync always with 50 clients.
    Always,
    /// Tail latency at half of peak while maintenance runs.
    Stalls(Sizes),
    /// Pushes and pops of the data types, on one key and on 10,000.
    Types,
    /// LRANGE, HGETALL, SMEMBERS of whole collections.
    Ranges,
    /// Resident bytes per collection and per element.
    TypeMemory,
    /// One zset of ten million elements.
    LargeZset,
    /// The generator's own limit.
    Ceiling,
    /// The disk's random-read rate.
    Device,
    /// Every group.
    All,
}

#[derive(Clone, Copy, Debug, clap::Args)]
struct Sizes {
    /// Bytes of values in MiB.
    #[arg(long)]
    data_mb: Option<u64>,
    /// Memory bound of Lux in MiB; an eighth of the data if not given.
    #[arg(long)]
    maxmemory_mb: Option<u64>,
}

impl Sizes {
    const DEFAULT: Self = Self { data_mb: None, maxmemory_mb: None };

    /// Bytes of data and of the bound.
    fn bytes(self, quick: bool, full_mb: u64) -> (u64, u64) {
        let data = self.data_mb.unwrap_or(if quick { full_mb / 8 } else { full_mb });
        (data << 20, self.maxmemory_mb.unwrap_or((data / 8).max(24)) << 20)
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let limit = Duration::from_secs(arguments.minutes_max * 60);
    std::thread::spawn(move || {
        std::thread::sleep(limit);
        eprintln!("compare: gave up after {} minutes", limit.as_secs() / 60);
        // The servers die with this process: each was started with a parent-death signal.
        std::process::exit(3);
    });
    match run(&arguments) {
        Ok(report) => {
            println!("{report}");
            ExitCode::SUCCESS
        }
        Err(failure) => {
            eprintln!("compare: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<String> {
    let context = context(arguments)?;
    let mut out = report::head(&context.specs, &context.base);
    for group in expand(&arguments.group) {
        for table in run_group(&context, &group)? {
            out += "\n";
            out += &table.markdown();
        }
    }
    Ok(out)
}

fn context(arguments: &Arguments) -> Result<Context> {
    let mut specs: Vec<Spec> =
        arguments.servers.iter().map(|name| Spec::find(name)).collect::<Result<_>>()?;
    for option in &arguments.server_options {
        let (name, words) = option
            .split_once('=')
            .ok_or_else(|| Failure::new("--server-options wants NAME=\"--option value\""))?;
        let spec = specs
            .iter_mut()
            .find(|spec| spec.name == name)
            .ok_or_else(|| Failure::new(format!("--server-options: no server is called '{name}'")))?;
        spec.extra.extend(words.split_whitespace().map(str::to_owned));
    }
    if !specs.iter().any(|spec| spec.name == arguments.baseline) {
        eprintln!("# baseline '{}' is not among the servers: no ratios", arguments.baseline);
    }
    Ok(Context {
        specs,
        baseline: arguments.baseline.clone(),
        base: arguments.dir.clone().unwrap_or_else(std::env::temp_dir),
        quick: arguments.quick,
        threads: arguments.threads.max(1),
        rounds: if arguments.quick { 1 } else { arguments.rounds.max(1) },
    })
}

/// `all` stands for every group with its default sizes.
fn expand(group: &Group) -> Vec<Group> {
    match group {
        Group::All => vec![
            Group::Ceiling,
            Group::Throughput,
            Group::Memory,
            Group::LargerThanMemory(Sizes::DEFAULT),
            Group::Restart { keys: None, maxmemory_mb: None },
            Group::Idle,
            Group::Always,
            Group::Stalls(Sizes::DEFAULT),
            Group::Types,
            Group::Ranges,
            Group::TypeMemory,
            Group::LargeZset,
            Group::Device,
        ],
        one => vec![one.clone()],
    }
}

fn run_group(context: &Context, group: &Group) -> groups::Tables {
    match group {
        Group::Throughput => groups::throughput::run(context),
        Group::Memory => groups::key_memory::run(context),
        Group::LargerThanMemory(sizes) => {
            let (data_bytes, maxmemory) = sizes.bytes(context.quick, 1024);
            let phase = context.seconds(60.0);
            let options = groups::larger_than_memory::Options { data_bytes, maxmemory, phase };
            groups::larger_than_memory::run(context, options)
        }
        Group::Restart { keys, maxmemory_mb } => {
            let keys = keys.unwrap_or(if context.quick { 1_000_000 } else { 10_000_000 });
            let maxmemory = maxmemory_mb.map_or((keys * 80 / 8).max(24 << 20), |mb| mb << 20);
            groups::restart::run(context, groups::restart::Options { keys, maxmemory })
        }
        Group::Idle => groups::idle::run(context),
        Group::Always => groups::always::run(context),
        Group::Stalls(sizes) => {
            let (data_bytes, maxmemory) = sizes.bytes(context.quick, 512);
            groups::stalls::run(context, groups::stalls::Options { data_bytes, maxmemory })
        }
        Group::Types => groups::types::run(context),
        Group::Ranges => groups::types::run_ranges(context),
        Group::TypeMemory => groups::type_memory::run(context),
        Group::LargeZset => groups::large_zset::run(context),
        Group::Ceiling => groups::ceiling::run(context),
        Group::Device => groups::device::run(context, if context.quick { 256 << 20 } else { 2 << 30 }),
        Group::All => unreachable!("`expand` replaces it"),
    }
}
