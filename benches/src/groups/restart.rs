//! Restart after kill -9: time until the first correct read, and how warm the server is soon after.
//!
//! A store several times larger than memory is loaded and read (80 % of the requests on 5 % of the
//! keys) until its speed is steady; then the process is killed. Counted from the exec of the new
//! process: the first right answer to a GET, the rate of the same reads at once, and thirty seconds
//! later.

use std::time::Duration;

use super::{Context, Tables, progress};
use crate::Result;
use crate::client::Value;
use crate::load::{self, Shape};
use crate::report::{self, Table};
use crate::server::{Durability, Server, Settings};
use crate::values::{self, Popularity};
use crate::workload::{Action, TEXT, Versioned};

const VALUE_BYTES: usize = 64;
const CONNECTIONS: usize = 4;

/// Sizes of the run.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    pub keys: u64,
    pub maxmemory: u64,
}

/// Runs the group.
pub fn run(context: &Context, options: Options) -> Tables {
    let title = format!(
        "Restart after kill -9: {} keys with {VALUE_BYTES}-byte values, maxmemory {} (Lux only), everysec",
        options.keys,
        report::bytes(options.maxmemory)
    );
    let header =
        ["server", "first correct read", "GET before", "GET at once", "GET 30 s later", "later / before"];
    let mut table = Table::new(title, &header);
    for spec in &context.specs {
        progress(&format!("restart: loading {}", spec.name));
        let folder = context.folder()?;
        let settings = Settings { durability: Durability::Everysec, maxmemory: Some(options.maxmemory) };
        let server = Server::start(spec, settings, folder.path())?;
        let mut reader = Reader { data: Versioned::new(options.keys, VALUE_BYTES, CONNECTIONS, 11) };
        reader.load(&server)?;
        progress(&format!("restart: reading {} until it is warm", spec.name));
        reader.read(&server, context.seconds(30.0))?;
        let before = reader.read(&server, context.seconds(8.0))?;
        server.kill_9()?;
        progress(&format!("restart: {} was killed, starting it again", spec.name));
        let server = Server::spawn(spec, settings, folder.path())?;
        let id = options.keys / 2;
        let key = values::key(TEXT, id);
        let wanted = Value::Bulk(reader.data.value(id));
        let first = server.wait_for(Duration::from_secs(300), &[b"GET", &key], &wanted)?;
        let at_once = reader.read(&server, Duration::from_secs(2))?;
        let rest = Duration::from_secs(30).saturating_sub(server.started().elapsed().saturating_sub(first));
        reader.read(&server, rest.max(Duration::from_millis(100)))?;
        let later = reader.read(&server, context.seconds(8.0))?;
        table.row(vec![
            spec.name.clone(),
            report::duration(first),
            report::rate(before),
            report::rate(at_once),
            report::rate(later),
            report::ratio(later, Some(before)),
        ]);
    }
    table.note(
        "Reads: 4 connections, pipeline 64, 80 % on 5 % of the keys, without a pause; every reply checked.",
    );
    Ok(vec![table])
}

struct Reader {
    data: Versioned,
}

impl Reader {
    fn load(&mut self, server: &Server) -> Result<()> {
        self.data.set_action(Action::Load);
        let keys = self.data.keys();
        self.drive(server, Duration::from_secs(1_200), Some(keys))?;
        // An everysec log owes the last second to nobody who pulls the plug; kill -9 comes later.
        std::thread::sleep(Duration::from_secs(2));
        Ok(())
    }

    /// Skewed reads for `time`; returns their rate.
    fn read(&mut self, server: &Server, time: Duration) -> Result<f64> {
        self.data.set_action(Action::Read(Popularity::Skewed));
        self.drive(server, time, None)
    }

    fn drive(&mut self, server: &Server, time: Duration, operations: Option<u64>) -> Result<f64> {
        let shape =
            Shape { connections: CONNECTIONS, pipeline: 64, warmup: Duration::ZERO, time, operations };
        Ok(load::run(server.port(), shape, vec![&mut self.data], || server.cpu_time())?.verified()?.rate())
    }
}
