//! The generator against a responder that does nothing: how much of a figure is the generator's own.
//!
//! The responder counts whole SETs by their (constant) length and answers `+OK` for each. What it
//! reaches is the most that any server can show through this generator on this machine.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use super::{Context, Tables};
use crate::load::{self, Shape, Workload};
use crate::report::{self, Table};
use crate::workload::{Order, Payload, Strings, Verb};

/// Runs the group.
pub fn run(context: &Context) -> Tables {
    let header = ["clients", "pipeline", "rate", "generator CPU/op"];
    let mut table = Table::new("Ceiling of the generator: SET, 64-byte values, null responder", &header);
    for (clients, pipeline) in [(1, 1), (4, 64), (8, 64)] {
        let mut workload = Strings::new(Verb::Set, Order::Random, 100_000, Payload::Text(64), 1);
        let mut first = Vec::new();
        workload.encode(0, &mut first);
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let port = listener.local_addr()?.port();
        let shape = Shape {
            connections: clients,
            pipeline,
            warmup: Duration::from_millis(200),
            time: context.seconds(3.0),
            operations: None,
        };
        let outcome = std::thread::scope(|scope| {
            scope.spawn(|| serve(&listener, clients, first.len()));
            load::run(port, shape, vec![workload], generator_cpu_time)
        })?
        .verified()?;
        table.row(vec![
            clients.to_string(),
            format!("P{pipeline}"),
            report::rate(outcome.rate()),
            report::duration(outcome.cpu_per_operation()),
        ]);
    }
    Ok(vec![table])
}

/// CPU time of the calling thread, which is the generator's.
fn generator_cpu_time() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(
        u64::try_from(now.tv_sec).unwrap_or_default(),
        u32::try_from(now.tv_nsec).unwrap_or_default(),
    )
}

/// Accepts `clients` connections and answers each on a thread of its own until they close.
fn serve(listener: &TcpListener, clients: usize, command_bytes: usize) {
    std::thread::scope(|scope| {
        for _ in 0..clients {
            let Ok((stream, _)) = listener.accept() else { return };
            scope.spawn(move || answer(stream, command_bytes));
        }
    });
}

fn answer(mut stream: TcpStream, command_bytes: usize) {
    let _ = stream.set_nodelay(true);
    let mut input = vec![0; 65_536];
    let replies = b"+OK\r\n".repeat(65_536 / command_bytes + 2);
    let mut pending = 0;
    while let Ok(count @ 1..) = stream.read(&mut input) {
        pending += count;
        let commands = pending / command_bytes;
        pending %= command_bytes;
        if stream.write_all(&replies[..commands * 5]).is_err() {
            return;
        }
    }
}
