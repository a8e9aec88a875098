//! Tail latency on hot keys at half of peak, open loop, quiet and while maintenance runs.
//!
//! Half GET, half SET on 10,000 hot keys of a store that is larger. Quiet first; then the same rate
//! while a control connection runs CHECKPOINT and COMPACT in turn (Lux) or BGREWRITEAOF (Redis and
//! Valkey). Latency counts from the moment a command was due, so stalls are charged in full.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::{Context, Tables, progress};
use crate::Result;
use crate::client::Client;
use crate::load::{self, Shape};
use crate::open_loop;
use crate::report::{self, Table};
use crate::server::{Durability, Kind, Server, Settings, Spec};
use crate::workload::{Action, Order, Payload, Strings, Verb, Versioned};

const CLIENTS: usize = 50;
const HOT_KEYS: u64 = 10_000;
const VALUE_BYTES: usize = 400;

/// Sizes of the run.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    pub data_bytes: u64,
    pub maxmemory: u64,
}

/// Runs the group.
pub fn run(context: &Context, options: Options) -> Tables {
    let title = format!(
        "Tail latency at half of peak: {CLIENTS} clients, GET and SET on {HOT_KEYS} hot keys of {}, maxmemory {} \
         (Lux only), everysec",
        report::bytes(options.data_bytes),
        report::bytes(options.maxmemory)
    );
    let header = ["server", "state", "rate", "p50", "p99", "p99.9", "max", "p99 vs quiet", "p99.9 vs quiet"];
    let mut table = Table::new(title, &header);
    for spec in &context.specs {
        measure(context, spec, options, &mut table)?;
    }
    table.note("From due to answered; the generator's own lateness is part of it.");
    Ok(vec![table])
}

fn measure(context: &Context, spec: &Spec, options: Options, table: &mut Table) -> Result<()> {
    let settings = Settings { durability: Durability::Everysec, maxmemory: Some(options.maxmemory) };
    let (server, _folder) = context.start(spec, settings)?;
    progress(&format!("stalls: loading {}", spec.name));
    load_cold_data(&server, options)?;
    let mut hot = Strings::new(Verb::SetAndGet, Order::Random, HOT_KEYS, Payload::Text(64), 3);
    super::load_strings(&server, HOT_KEYS, Payload::Text(64))?;
    progress(&format!("stalls: finding the peak of {}", spec.name));
    let peak = Shape {
        connections: CLIENTS,
        pipeline: 1,
        warmup: Duration::from_millis(500),
        time: context.seconds(4.0),
        operations: None,
    };
    let peak = load::run(server.port(), peak, vec![&mut hot], || server.cpu_time())?.verified()?.rate();
    let shape = open_loop::Shape { connections: CLIENTS, rate: peak / 2.0, time: context.seconds(30.0) };
    progress(&format!("stalls: {} at {}, quiet", spec.name, report::rate(shape.rate)));
    let quiet = open_loop::run(server.port(), shape, &mut hot)?.verified()?;
    progress(&format!("stalls: {} with maintenance", spec.name));
    let (busy, rounds) =
        with_maintenance(&server, spec.kind, || open_loop::run(server.port(), shape, &mut hot))?;
    let busy = busy.verified()?;
    let state = format!("maintenance x{rounds}");
    for (name, outcome) in [("quiet", &quiet), (state.as_str(), &busy)] {
        let at = |q: f64| report::quantile(&outcome.latency, q);
        let against = |q: f64| {
            let base = report::quantile(&quiet.latency, q).as_secs_f64();
            report::ratio(at(q).as_secs_f64(), Some(base))
        };
        table.row(vec![
            spec.name.clone(),
            name.to_owned(),
            report::rate(outcome.operations as f64 / outcome.elapsed.as_secs_f64()),
            report::duration(at(0.5)),
            report::duration(at(0.99)),
            report::duration(at(0.999)),
            report::duration(Duration::from_nanos(outcome.latency.max())),
            against(0.99),
            against(0.999),
        ]);
    }
    table.note(format!(
        "{}: generator lateness p99 {} quiet, {} with maintenance.",
        spec.name,
        report::duration(report::quantile(&quiet.lateness, 0.99)),
        report::duration(report::quantile(&busy.lateness, 0.99))
    ));
    Ok(())
}

/// Fills the store; nobody reads anything of it but the hot keys, which are its first ones.
fn load_cold_data(server: &Server, options: Options) -> Result<()> {
    let keys = options.data_bytes / VALUE_BYTES as u64;
    let mut data = Versioned::new(keys, VALUE_BYTES, 4, 13);
    data.set_action(Action::Load);
    let shape = Shape {
        connections: 4,
        pipeline: 64,
        warmup: Duration::ZERO,
        time: Duration::from_secs(600),
        operations: Some(keys),
    };
    load::run(server.port(), shape, vec![&mut data], || server.cpu_time())?.verified()?;
    Ok(())
}

/// Runs `work` while maintenance goes on; returns how many rounds of it finished as well.
fn with_maintenance<T>(server: &Server, kind: Kind, work: impl FnOnce() -> Result<T>) -> Result<(T, u64)> {
    let stop = AtomicBool::new(false);
    let mut client = server.client()?;
    std::thread::scope(|scope| {
        let maintenance = scope.spawn(|| {
            let mut rounds = 0;
            // ORDERING: the flag only ends the loop; the scope's join orders everything else.
            while !stop.load(Ordering::Relaxed) {
                maintain(&mut client, kind)?;
                rounds += 1;
            }
            Ok(rounds)
        });
        let result = work();
        stop.store(true, Ordering::Relaxed);
        let rounds = maintenance
            .join()
            .unwrap_or_else(|_| Err(crate::Failure::new("the maintenance thread panicked")))?;
        Ok((result?, rounds))
    })
}

fn maintain(client: &mut Client, kind: Kind) -> Result<()> {
    match kind {
        Kind::Lux => {
            client.run("CHECKPOINT")?;
            client.run("COMPACT")?;
        }
        Kind::Redis => {
            client.run("BGREWRITEAOF")?;
            let in_progress = |client: &mut Client| -> Result<bool> {
                let info = client.info()?;
                let is_on = |name: &str| info.get(name).is_some_and(|value| value != "0");
                Ok(is_on("aof_rewrite_in_progress") || is_on("aof_rewrite_scheduled"))
            };
            while in_progress(client)? {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
    Ok(())
}
