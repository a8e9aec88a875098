//! SET, INCR and GET from 50 clients on 100,000 keys with 64-byte values, at pipelines 1, 16 and 64.
//!
//! Measured with our own generator and, where it is installed, with `redis-benchmark`. After the
//! INCRs the counters are summed: the sum is the number of acknowledged INCRs, or the run fails.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use super::{Context, Tables, load_strings, progress};
use crate::client::Value;
use crate::load::{self, Shape};
use crate::process::MemoryWatch;
use crate::report::{self, Table};
use crate::server::{Durability, Server, Settings, Spec, in_path};
use crate::values;
use crate::workload::{COUNTER, Order, Payload, Strings, Verb};
use crate::{Failure, Result};

const KEYS: u64 = 100_000;
const VALUE_BYTES: usize = 64;
const CLIENTS: usize = 50;
const PIPELINES: [usize; 3] = [1, 16, 64];

/// What one round measured of one workload on one server.
#[derive(Clone, Copy, Debug)]
struct Sample {
    rate: f64,
    p50: Duration,
    p99: Duration,
    cpu: Duration,
}

/// (workload, pipeline) and server's place in the list.
type Cells = BTreeMap<(usize, usize, usize), Vec<Sample>>;

const VERBS: [(Verb, &str); 3] = [(Verb::Set, "SET"), (Verb::Incr, "INCR"), (Verb::Get, "GET")];

/// Runs the group.
pub fn run(context: &Context) -> Tables {
    let mut cells = Cells::new();
    let mut external = Cells::new();
    let mut peaks: Vec<u64> = vec![0; context.specs.len()];
    for round in 0..context.rounds {
        for (place, spec) in context.specs.iter().enumerate() {
            progress(&format!("throughput: {} (round {} of {})", spec.name, round + 1, context.rounds));
            let peak = measure(context, spec, place, &mut cells, &mut external)?;
            peaks[place] = peaks[place].max(peak);
        }
    }
    let mut tables = vec![table(context, "Throughput, own generator", &cells, true)];
    if let Some(table) = tables.first_mut() {
        for (spec, peak) in context.specs.iter().zip(&peaks) {
            table.note(format!("Peak RSS of {}: {}.", spec.name, report::bytes(*peak)));
        }
    }
    if !external.is_empty() {
        tables.push(table(context, "Throughput, redis-benchmark", &external, false));
    }
    Ok(tables)
}

/// One server, one round: all cells. Returns the peak RSS.
fn measure(
    context: &Context,
    spec: &Spec,
    place: usize,
    cells: &mut Cells,
    external: &mut Cells,
) -> Result<u64> {
    let (server, _folder) = context.start(spec, Settings::durable(Durability::Everysec))?;
    let watch = MemoryWatch::start(server.pid());
    load_strings(&server, KEYS, Payload::Text(VALUE_BYTES))?;
    let mut increments = 0;
    for pipeline in PIPELINES {
        for (row, (verb, _)) in VERBS.iter().enumerate() {
            let shape = Shape {
                connections: CLIENTS,
                pipeline,
                warmup: context.seconds(0.5),
                time: context.seconds(3.0),
                operations: None,
            };
            let workloads = (0..context.threads)
                .map(|thread| {
                    let seed = 100 + thread as u64;
                    Strings::new(*verb, Order::Random, KEYS, Payload::Text(VALUE_BYTES), seed)
                })
                .collect();
            let outcome = load::run(server.port(), shape, workloads, || server.cpu_time())?.verified()?;
            if *verb == Verb::Incr {
                increments += outcome.answered;
            }
            cells.entry((row, pipeline, place)).or_default().push(Sample {
                rate: outcome.rate(),
                p50: report::quantile(&outcome.latency, 0.5),
                p99: report::quantile(&outcome.latency, 0.99),
                cpu: outcome.cpu_per_operation(),
            });
        }
    }
    check_counters(&server, increments)?;
    if in_path("redis-benchmark").is_some() {
        for pipeline in PIPELINES {
            redis_benchmark(context, &server, pipeline, place, external)?;
        }
    }
    Ok(watch.peak().resident)
}

/// The sum of all counters is the number of INCRs that were acknowledged.
fn check_counters(server: &Server, increments: u64) -> Result<()> {
    let mut client = server.client()?;
    let mut sum = 0_u64;
    let ids: Vec<u64> = (0..KEYS).collect();
    for part in ids.chunks(1_000) {
        let keys: Vec<[u8; values::KEY_BYTES]> = part.iter().map(|id| values::key(COUNTER, *id)).collect();
        let mut args: Vec<&[u8]> = vec![b"MGET"];
        args.extend(keys.iter().map(<[u8; values::KEY_BYTES]>::as_slice));
        let Value::Array(counters) = client.call(&args)? else {
            return Err(Failure::new("MGET did not answer with an array"));
        };
        for counter in counters {
            if let Value::Bulk(digits) = counter {
                let number = String::from_utf8_lossy(&digits).parse::<u64>();
                sum += number.map_err(|_| Failure::new("a counter is not a number"))?;
            }
        }
    }
    if sum == increments {
        Ok(())
    } else {
        Err(Failure::new(format!("{increments} INCRs were acknowledged, the counters sum up to {sum}")))
    }
}

fn redis_benchmark(
    context: &Context,
    server: &Server,
    pipeline: usize,
    place: usize,
    cells: &mut Cells,
) -> Result<()> {
    let requests = match (pipeline, context.quick) {
        (1, quick) => {
            if quick {
                50_000
            } else {
                300_000
            }
        }
        (_, quick) => {
            if quick {
                300_000
            } else {
                2_000_000
            }
        }
    };
    for (row, (_, name)) in VERBS.iter().enumerate() {
        let cpu_before = server.cpu_time();
        let output = Command::new("redis-benchmark")
            .args(["-h", "127.0.0.1", "-p", &server.port().to_string(), "-c", &CLIENTS.to_string()])
            .args(["-d", &VALUE_BYTES.to_string(), "-r", &KEYS.to_string(), "-P", &pipeline.to_string()])
            .args(["-n", &requests.to_string(), "-t", &name.to_lowercase(), "--csv"])
            .output()?;
        let cpu = server.cpu_time().saturating_sub(cpu_before);
        let text = String::from_utf8_lossy(&output.stdout);
        let line = text.lines().find(|line| line.starts_with(&format!("\"{name}\"")));
        let figures: Vec<f64> = line
            .unwrap_or_default()
            .split(',')
            .skip(1)
            .filter_map(|field| field.trim_matches('"').parse().ok())
            .collect();
        // rate, then milliseconds: average, minimum, p50, p95, p99, maximum
        let [rate, _, _, p50, _, p99, ..] = figures[..] else {
            return Err(Failure::new(format!("redis-benchmark said: {text}")));
        };
        cells.entry((row, pipeline, place)).or_default().push(Sample {
            rate,
            p50: Duration::from_secs_f64(p50 / 1e3),
            p99: Duration::from_secs_f64(p99 / 1e3),
            cpu: cpu / requests,
        });
    }
    Ok(())
}

fn table(context: &Context, title: &str, cells: &Cells, is_own: bool) -> Table {
    let title = format!("{title}: {CLIENTS} clients, {VALUE_BYTES}-byte values, {KEYS} keys, everysec");
    let header = ["command", "pipeline", "server", "rate", "ratio", "p50", "p99", "CPU/op"];
    let mut table = Table::new(title, &header);
    for (row, (_, name)) in VERBS.iter().enumerate() {
        for pipeline in PIPELINES {
            let medians: Vec<(String, f64)> = context
                .specs
                .iter()
                .enumerate()
                .map(|(place, spec)| (spec.name.clone(), middle(cells, (row, pipeline, place), |s| s.rate)))
                .collect();
            for (place, spec) in context.specs.iter().enumerate() {
                let cell = (row, pipeline, place);
                let time = |pick: fn(&Sample) -> f64| {
                    report::duration(
                        Duration::try_from_secs_f64(middle(cells, cell, pick)).unwrap_or_default(),
                    )
                };
                let rate = medians[place].1;
                table.row(vec![
                    (*name).to_owned(),
                    format!("P{pipeline}"),
                    spec.name.clone(),
                    report::rate(rate),
                    report::ratio(rate, context.baseline_of(&medians)),
                    time(|s| s.p50.as_secs_f64()),
                    time(|s| s.p99.as_secs_f64()),
                    time(|s| s.cpu.as_secs_f64()),
                ]);
            }
        }
    }
    if is_own {
        table.note(format!("Median of {} round(s); every reply was checked.", context.rounds));
    }
    table
}

fn middle(cells: &Cells, cell: (usize, usize, usize), pick: impl Fn(&Sample) -> f64) -> f64 {
    report::median(cells.get(&cell).map_or_else(Vec::new, |samples| samples.iter().map(pick).collect()))
}
