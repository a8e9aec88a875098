//! Runs the corpus against one kind of server in one mode.
//!
//! Files are spread over a few worker threads, each with a server of its own. A mismatch is recorded and the
//! section goes on (up to a bound), so one run shows everything that is wrong.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::env;
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::expect::{self, Pattern, Variables};
use super::file::{Action, Argument, Script, Section, Step};
use crate::client::{Client, Reply, is_disconnect};
use crate::server::{Program, Server};

/// Files run side by side; more than the cores of a small machine gains nothing.
const WORKERS: usize = 2;

/// After this many mismatches the rest of a section says nothing new.
const SECTION_FAILURES_MAX: usize = 5;

/// How long an eviction that was asked for may lag behind the reply.
const COLD_WITHIN: Duration = Duration::from_secs(2);

/// How long raw bytes may take to arrive.
const RAW_PATIENCE: Duration = Duration::from_secs(3);

/// How long a server may take to park a connection whose command blocks.
const BLOCKED_WITHIN: Duration = Duration::from_secs(10);

/// How the server is treated between commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Not at all.
    Hot,
    /// Everything is evicted after every command.
    Cold,
    /// It is killed and reopened before a command whenever an earlier one may have changed something.
    Restarted,
}

impl Mode {
    fn name(self) -> &'static str {
        match self {
            Mode::Hot => "hot",
            Mode::Cold => "cold",
            Mode::Restarted => "restarted",
        }
    }
}

/// One column of the test matrix.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    pub program: Program,
    pub mode: Mode,
}

impl Target {
    /// What the server needs to survive this mode.
    fn flags(self) -> &'static [&'static str] {
        match (self.program, self.mode) {
            // With any other policy writes wait behind an fsync in progress, and a kill loses what was acknowledged.
            (Program::Redis | Program::Valkey, Mode::Restarted) => {
                &["--appendonly", "yes", "--appendfsync", "no"]
            }
            _ => &[],
        }
    }

    fn runs(&self, step: &Step, commands: &CommandTable) -> bool {
        let conditions = &step.conditions;
        (conditions.servers.is_empty() || conditions.servers.iter().any(|name| name == self.program.name()))
            && !conditions.not.iter().any(|(mode, server)| {
                mode == self.mode.name()
                    && server.as_deref().is_none_or(|server| server == self.program.name())
            })
            && conditions.needs.iter().all(|name| commands.has(name))
    }

    /// Whether this run may rewrite the step's expectation: Redis what it can answer, Valkey what only it can.
    fn may_update(&self, step: &Step) -> bool {
        let servers = &step.conditions.servers;
        let names = |name: &str| servers.iter().any(|server| server == name);
        match self.program {
            Program::Redis => servers.is_empty() || names("redis"),
            Program::Valkey => names("valkey") && !names("redis"),
            Program::Lux => false,
        }
    }
}

/// What the runner needs to know about the server's commands.
struct CommandTable {
    names: HashSet<String>,
    writes: HashSet<String>,
}

impl CommandTable {
    fn read(client: &mut Client) -> io::Result<CommandTable> {
        let mut table = CommandTable { names: HashSet::new(), writes: HashSet::new() };
        let reply = client.call(&["COMMAND"])?;
        for entry in reply.elements().unwrap_or_default() {
            let Some([name, _arity, flags, ..]) = entry.elements() else { continue };
            let name = String::from_utf8_lossy(name.bytes().unwrap_or_default()).to_ascii_lowercase();
            if flags.elements().unwrap_or_default().iter().any(|flag| flag.bytes() == Some(b"write")) {
                table.writes.insert(name.clone());
            }
            table.names.insert(name);
            for subcommand in entry.elements().and_then(|entry| entry.get(9)?.elements()).unwrap_or_default()
            {
                let name = subcommand.elements().and_then(|subcommand| subcommand.first()?.bytes());
                table.names.insert(String::from_utf8_lossy(name.unwrap_or_default()).to_ascii_lowercase());
            }
        }
        Ok(table)
    }

    fn has(&self, name: &str) -> bool {
        self.names.contains(&name.to_ascii_lowercase())
    }

    /// Whether the data may differ after this command. Unknown names count as changes.
    fn may_write(&self, name: &[u8]) -> bool {
        let name = String::from_utf8_lossy(name).to_ascii_lowercase();
        self.writes.contains(&name) || name == "debug" || !self.names.contains(&name)
    }
}

/// How many files run at once. A restart mostly waits for the disk.
fn workers(mode: Mode) -> usize {
    if mode == Mode::Restarted { 4 * WORKERS } else { WORKERS }
}

/// Of how many due restarts one is made: `LUX_RESTART_EVERY`, 1 for all of them (some ten minutes).
fn restart_every() -> usize {
    env::var("LUX_RESTART_EVERY")
        .ok()
        .and_then(|every| every.parse().ok())
        .filter(|every| *every > 0)
        .unwrap_or(6)
}

/// Runs every script and panics with all mismatches.
pub fn run_corpus(target: Target) {
    let Some(_) = target.program.path() else {
        let missing = format!("no {} server on this machine", target.program.name());
        let may_skip = target.program == Program::Valkey || env::var_os("LUX_WITHOUT_REDIS").is_some();
        assert!(may_skip, "{missing}: install it (apt-get install redis-server) or set LUX_WITHOUT_REDIS=1");
        eprintln!("skipped: {missing}");
        return;
    };
    let updating = env::var_os("LUX_UPDATE_SCRIPTS").is_some() && target.program != Program::Lux;
    // Two servers must not rewrite the same files at once.
    static UPDATE: Mutex<()> = Mutex::new(());
    let _one_at_a_time = updating.then(|| UPDATE.lock().unwrap_or_else(PoisonError::into_inner));

    let filter = env::var("LUX_SCRIPTS").unwrap_or_default();
    let mut scripts = Script::load_all(&super::corpus_folder()).unwrap_or_else(|error| panic!("{error}"));
    scripts.retain(|script| script.name.contains(&filter));
    assert!(!scripts.is_empty(), "no script matches {filter:?}");

    let totals = Totals::default();
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..workers(target.mode).min(scripts.len()) {
            scope.spawn(|| {
                let mut server = None;
                // ORDERING: a counter handing out distinct indexes.
                while let Some(script) = scripts.get(next.fetch_add(1, Ordering::Relaxed)) {
                    run_script(target, script, &mut server, updating, &totals);
                }
            });
        }
    });

    let failures = totals.failures.into_inner().unwrap_or_else(PoisonError::into_inner);
    let steps = totals.steps.into_inner();
    let cold = totals.cold_keys.into_inner();
    eprintln!("{target:?}: {} files, {steps} steps, {cold} keys seen cold", scripts.len());
    assert!(failures.is_empty(), "{} mismatches\n\n{}", failures.len(), failures.join("\n\n"));
    if target.mode == Mode::Cold && filter.is_empty() {
        assert!(cold > 500, "only {cold} keys were ever seen cold: the cold run tests nothing");
    }
}

#[derive(Default)]
struct Totals {
    failures: Mutex<Vec<String>>,
    steps: AtomicU64,
    cold_keys: AtomicU64,
}

impl Totals {
    fn fail(&self, message: String) {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).push(message);
    }
}

/// Expectations to replace, by the index of their first line.
type Changes = BTreeMap<usize, (Range<usize>, Vec<String>)>;

fn run_script(target: Target, script: &Script, shared: &mut Option<Server>, updating: bool, totals: &Totals) {
    let mut own = None;
    let slot = if script.server_flags.is_some() { &mut own } else { shared };
    let mut flags = target.flags().to_vec();
    flags.extend(script.server_flags.iter().flatten().map(String::as_str));
    let server = slot.get_or_insert_with(|| Server::start(target.program, &flags));
    let mut changes = Changes::new();
    let outcome = Runner::new(target, script, server, updating, totals).and_then(|mut runner| {
        for section in &script.sections {
            runner.run_section(section)?;
        }
        runner.check_not_skipped();
        changes = std::mem::take(&mut runner.changes);
        Ok(())
    });
    if let Err(error) = outcome {
        totals.fail(format!(
            "{} [{}]: the connection broke: {error}\n{}",
            script.name,
            target.mode.name(),
            server.log_tail()
        ));
        *slot = None;
    }
    if updating && let Err(error) = script.rewrite(&changes) {
        totals.fail(format!("{}: {error}", script.name));
    }
    drop(own);
}

/// A connection of the script with the state a restart must restore.
struct Session {
    client: Client,
    database: Vec<u8>,
    protocol: u8,
    /// A command blocks and its reply has not been read: a restart would take it away.
    waits: bool,
    /// Between MULTI and EXEC: a restart would take the queue away.
    queues: bool,
}

struct Runner<'a> {
    target: Target,
    script: &'a Script,
    server: &'a mut Server,
    commands: CommandTable,
    control: Client,
    control_database: Vec<u8>,
    sessions: HashMap<String, Session>,
    variables: Variables,
    /// Something may have changed since the server was last restarted.
    changed: bool,
    /// How often a restart was due. It starts at another number in each script, so that sampling
    /// does not always meet the same places.
    changes_seen: usize,
    updating: bool,
    changes: Changes,
    totals: &'a Totals,
    /// The command that the file is named after was called.
    called_own_command: bool,
}

impl<'a> Runner<'a> {
    fn new(
        target: Target,
        script: &'a Script,
        server: &'a mut Server,
        updating: bool,
        totals: &'a Totals,
    ) -> io::Result<Runner<'a>> {
        let mut control = server.connect()?;
        let commands = CommandTable::read(&mut control)?;
        Ok(Runner {
            target,
            script,
            server,
            commands,
            control,
            control_database: b"0".to_vec(),
            sessions: HashMap::new(),
            variables: Variables::new(),
            changed: false,
            changes_seen: script.name.len(),
            updating,
            changes: Changes::new(),
            totals,
            called_own_command: false,
        })
    }

    /// The command that the file is named after, if this server has one of that name.
    fn own_command(&self) -> Option<&'a str> {
        let name = self.script.name.rsplit('/').next()?.strip_suffix(".txt")?;
        self.commands.has(name).then_some(name)
    }

    /// A command that Lux has must not go untested because of a mark from when it had not.
    fn check_not_skipped(&self) {
        if self.target.program != Program::Lux || self.target.mode != Mode::Hot || self.called_own_command {
            return;
        }
        let Some(command) = self.own_command() else { return };
        let steps = self.script.sections.iter().flat_map(|section| &section.steps);
        let needed: BTreeSet<&str> =
            steps.flat_map(|step| &step.conditions.needs).map(String::as_str).collect();
        let missing: Vec<&str> = needed.into_iter().filter(|name| !self.commands.has(name)).collect();
        self.totals.fail(format!(
            "scripts/{}: Lux has {command}, but no line calling it ran; the file is left out for lack of {missing:?} \
             or by a `requires`",
            self.script.name
        ));
    }

    fn run_section(&mut self, section: &Section) -> io::Result<()> {
        self.sessions.clear();
        self.variables.clear();
        self.control(&[b"FLUSHALL"])?;
        if self.target.mode == Mode::Cold {
            let reply = self.control(&[b"DEBUG", b"EVICT-ALWAYS", b"yes"])?;
            if !reply.is_ok() {
                return Err(io::Error::other(format!("DEBUG EVICT-ALWAYS yes: {}", expect::inline(&reply))));
            }
        }
        self.changed = self.target.mode == Mode::Restarted;
        let mut failures = 0;
        for step in &section.steps {
            if !self.target.runs(step, &self.commands) {
                continue;
            }
            // ORDERING: statistics.
            self.totals.steps.fetch_add(1, Ordering::Relaxed);
            if let Err(problem) = self.run_step(step)? {
                failures += 1;
                self.totals.fail(format!(
                    "scripts/{}:{} [{} {}] {}\n{problem}",
                    self.script.name,
                    step.line,
                    self.target.program.name(),
                    self.target.mode.name(),
                    section.title
                ));
                if failures == SECTION_FAILURES_MAX {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Runs one step. The inner error is a mismatch, the outer one a broken connection.
    fn run_step(&mut self, step: &Step) -> io::Result<Result<(), String>> {
        match &step.action {
            Action::Sleep(milliseconds) => {
                thread::sleep(Duration::from_millis(*milliseconds));
                Ok(Ok(()))
            }
            Action::Protocol(version) => {
                let session = self.session(&step.connection)?;
                let reply = session.client.call(&["HELLO", &version.to_string()])?;
                session.protocol = *version;
                Ok(if reply.is_error() { Err(expect::inline(&reply)) } else { Ok(()) })
            }
            Action::Closed => {
                let closed = self.session(&step.connection)?.client.is_closed_by_peer()?;
                self.sessions.remove(&step.connection);
                Ok(if closed { Ok(()) } else { Err("the server kept the connection open".to_string()) })
            }
            Action::Read => {
                let session = self.session(&step.connection)?;
                session.waits = false;
                let reply = session.client.read_reply();
                self.judge(step, "read", reply)
            }
            Action::Blocked => {
                let client = &mut self.session(&step.connection)?.client;
                let (got, closed) = client.read_raw(0, RAW_PATIENCE)?;
                Ok(match (got.is_empty(), closed) {
                    (true, false) => Ok(()),
                    (true, true) => Err("the server closed the connection".to_string()),
                    (false, _) => Err(format!("no longer blocked: {}", expect::quote(&got))),
                })
            }
            Action::Raw(bytes) => self.run_raw(step, bytes),
            Action::Command(args) | Action::Let(_, args) => self.run_command(step, args),
        }
    }

    fn run_command(&mut self, step: &Step, args: &[Argument]) -> io::Result<Result<(), String>> {
        let args: Result<Vec<_>, _> = args.iter().map(|arg| arg.resolve(&self.variables)).collect();
        let args = match args {
            Ok(args) => args,
            Err(problem) => return Ok(Err(problem)),
        };
        let shown = show_command(&args);
        self.called_own_command |= self.own_command() == Some(lower(&args[0]).as_str());
        self.restart_if_changed()?;
        match Pattern::parse(&step.expected) {
            Ok(Pattern::NoReply) => {
                self.session(&step.connection)?.client.send(&args)?;
                return Ok(Ok(()));
            }
            Ok(Pattern::Blocks) => return self.run_blocking(step, &args, &shown),
            _ => {}
        }
        let session = self.session(&step.connection)?;
        let reply = session.client.send(&args).and_then(|()| session.client.read_reply());
        if let Ok(reply) = &reply {
            session.follow(&args, reply);
        }
        let database = session.database.clone();
        self.changed |= self.commands.may_write(&args[0]);
        if let (Action::Let(name, _), Ok(reply)) = (&step.action, &reply) {
            let value = match reply {
                Reply::Int(number) => number.to_string().into_bytes(),
                other => match other.bytes() {
                    Some(bytes) => bytes.to_vec(),
                    None => return Ok(Err(format!("  {shown}\ncannot capture {}", expect::inline(other)))),
                },
            };
            self.variables.insert(name.clone(), value);
            if step.expected.is_empty() {
                return Ok(Ok(()));
            }
        }
        let verdict = self.judge(step, &shown, reply)?;
        if self.target.mode == Mode::Cold && verdict.is_ok() && self.commands.has(&lower(&args[0])) {
            return self.check_cold(&args, &database, &shown);
        }
        Ok(verdict)
    }

    /// Sends a command and waits until the server says that its connection is blocked.
    fn run_blocking(&mut self, step: &Step, args: &[Vec<u8>], shown: &str) -> io::Result<Result<(), String>> {
        let session = self.session(&step.connection)?;
        let Reply::Int(id) = session.client.call(&["CLIENT", "ID"])? else {
            return Ok(Err("CLIENT ID answers no number".to_string()));
        };
        session.client.send(args)?;
        session.waits = true;
        self.changed = true;
        let id = id.to_string();
        let deadline = Instant::now() + BLOCKED_WITHIN;
        loop {
            let reply = self.control(&[b"CLIENT", b"LIST", b"ID", id.as_bytes()])?;
            if is_blocked_client(reply.bytes().unwrap_or_default()) {
                return Ok(Ok(()));
            }
            let (got, closed) =
                self.session(&step.connection)?.client.read_raw(1, Duration::from_millis(2))?;
            if !got.is_empty() || closed || Instant::now() > deadline {
                self.sessions.remove(&step.connection);
                let got = if got.is_empty() { "silence".to_string() } else { expect::quote(&got) };
                return Ok(Err(format!("  {shown}\nexpected it to block, got {got}")));
            }
        }
    }

    /// Compares a reply with the step's expectation, or keeps it as the new one.
    fn judge(
        &mut self,
        step: &Step,
        shown: &str,
        reply: io::Result<Reply>,
    ) -> io::Result<Result<(), String>> {
        let exact_and_ours =
            self.updating && !Pattern::is_loose(&step.expected) && self.target.may_update(step);
        let reply = match reply {
            Ok(reply) => reply,
            Err(error) if is_disconnect(&error) => {
                self.sessions.remove(&step.connection);
                if matches!(Pattern::parse(&step.expected), Ok(Pattern::Closed)) {
                    return Ok(Ok(()));
                }
                // A server that died cannot be told from a closed connection by the socket alone.
                self.control(&[b"PING"])?;
                return Ok(Err(format!("  {shown}\nthe server closed the connection")));
            }
            Err(error) => {
                return Err(io::Error::new(error.kind(), format!("line {}: {shown}: {error}", step.line)));
            }
        };
        if exact_and_ours {
            let lines = expect::render(&reply);
            self.change(step, lines);
            return Ok(Ok(()));
        }
        if self.updating && Pattern::is_blank_unordered(&step.expected) && self.target.may_update(step) {
            let lines = expect::render_unordered(&reply);
            self.change(step, lines);
            return Ok(Ok(()));
        }
        let pattern = match Pattern::parse(&step.expected) {
            Ok(pattern) => pattern,
            Err(problem) => return Ok(Err(format!("  {shown}\n{problem}"))),
        };
        if pattern.matches(&reply, &self.variables) {
            return Ok(Ok(()));
        }
        let got: Vec<_> = expect::render(&reply).iter().map(|line| format!("    {}", cut(line))).collect();
        Ok(Err(format!("  {shown}\n  expected\n{}\n  got\n{}", cut(&step.expected), got.join("\n"))))
    }

    fn run_raw(&mut self, step: &Step, bytes: &[u8]) -> io::Result<Result<(), String>> {
        let (wanted, close) = match parse_raw_expectation(&step.expected) {
            Ok(expectation) => expectation,
            Err(problem) => return Ok(Err(problem)),
        };
        self.restart_if_changed()?;
        let update = self.updating && self.target.may_update(step);
        let client = &mut self.session(&step.connection)?.client;
        let sent = client.send_raw(bytes);
        let (got, closed) = match sent {
            // What the server said before it closed is still to be read.
            Err(error) if !is_disconnect(&error) => return Err(error),
            _ if update => client.read_raw(usize::MAX, Duration::from_millis(200))?,
            _ => client.read_raw(if close { usize::MAX } else { wanted.len() }, RAW_PATIENCE)?,
        };
        self.changed = true;
        if closed {
            self.sessions.remove(&step.connection);
        }
        if update {
            let mut lines: Vec<String> =
                got.split_inclusive(|&byte| byte == b'\n').map(expect::quote).collect();
            if closed {
                lines.push("<closed>".to_string());
            }
            self.change(step, lines);
            return Ok(Ok(()));
        }
        if got == wanted && closed == close {
            return Ok(Ok(()));
        }
        let suffix = if closed { " <closed>" } else { "" };
        let shown = cut(&expect::quote(bytes));
        Ok(Err(format!(
            "  raw {shown}\n  expected\n{}\n  got\n    {}{suffix}",
            step.expected,
            expect::quote(&got)
        )))
    }

    fn change(&mut self, step: &Step, lines: Vec<String>) {
        let old: Vec<_> = step.expected.lines().map(str::to_string).collect();
        let new: Vec<_> = lines.iter().map(|line| format!("  {line}")).collect();
        if old != new {
            self.changes.insert(step.expected_lines.start, (step.expected_lines.clone(), lines));
        }
    }

    /// Asserts that no key of the command stayed in memory.
    fn check_cold(
        &mut self,
        args: &[Vec<u8>],
        database: &[u8],
        shown: &str,
    ) -> io::Result<Result<(), String>> {
        let mut question: Vec<&[u8]> = vec![b"COMMAND", b"GETKEYS"];
        question.extend(args.iter().map(Vec::as_slice));
        let Reply::Array(keys) = self.control(&question)? else { return Ok(Ok(())) };
        if keys.is_empty() {
            return Ok(Ok(()));
        }
        if self.control_database != database {
            self.control(&[b"SELECT", database])?;
            self.control_database = database.to_vec();
        }
        let mut question: Vec<&[u8]> = vec![b"TIER", b"OF"];
        question.extend(keys.iter().filter_map(Reply::bytes));
        let deadline = Instant::now() + COLD_WITHIN;
        loop {
            let reply = self.control(&question)?;
            let states: Vec<&[u8]> = match &reply {
                Reply::Array(items) => items.iter().filter_map(Reply::bytes).collect(),
                other => other.bytes().into_iter().collect(),
            };
            if states.is_empty() {
                return Ok(Err(format!("  {shown}\nTIER OF answers {}", expect::inline(&reply))));
            }
            if states.iter().all(|state| *state == b"cold" || *state == b"none") {
                let cold = states.iter().filter(|state| **state == b"cold").count();
                // ORDERING: statistics.
                self.totals
                    .cold_keys
                    .fetch_add(u64::try_from(cold).expect("a small count"), Ordering::Relaxed);
                return Ok(Ok(()));
            }
            if Instant::now() > deadline {
                return Ok(Err(format!("  {shown}\nits keys are still {}", expect::inline(&reply))));
            }
            thread::sleep(Duration::from_millis(2));
        }
    }

    fn restart_if_changed(&mut self) -> io::Result<()> {
        let would_lose = self.sessions.values().any(|session| session.waits || session.queues);
        if self.target.mode != Mode::Restarted || !self.changed || would_lose {
            return Ok(());
        }
        self.changes_seen += 1;
        if !self.changes_seen.is_multiple_of(restart_every()) {
            return Ok(());
        }
        self.changed = false;
        self.server.restart();
        self.control = self.server.connect()?;
        self.control_database = b"0".to_vec();
        for session in self.sessions.values_mut() {
            session.client = self.server.connect_without_password()?;
            if session.protocol == 3 {
                session.client.call(&["HELLO", "3"])?;
            }
            if session.database != b"0" {
                session.client.call(&[b"SELECT".as_slice(), &session.database])?;
            }
        }
        Ok(())
    }

    /// A call on the runner's own connection, which scripts may have killed with CLIENT KILL.
    fn control(&mut self, args: &[&[u8]]) -> io::Result<Reply> {
        match self.control.call(args) {
            Err(error) if is_disconnect(&error) => {
                self.control = self.server.connect()?;
                self.control_database = b"0".to_vec();
                self.control.call(args)
            }
            result => result,
        }
    }

    fn session(&mut self, name: &str) -> io::Result<&mut Session> {
        if !self.sessions.contains_key(name) {
            let client = self.server.connect_without_password()?;
            let session =
                Session { client, database: b"0".to_vec(), protocol: 2, waits: false, queues: false };
            self.sessions.insert(name.to_string(), session);
        }
        Ok(self.sessions.get_mut(name).expect("inserted above"))
    }
}

impl Session {
    /// Keeps track of what a reconnect has to restore.
    fn follow(&mut self, args: &[Vec<u8>], reply: &Reply) {
        match lower(&args[0]).as_str() {
            "multi" if reply.is_ok() => self.queues = true,
            "exec" | "discard" => self.queues = false,
            "select" if reply.is_ok() => self.database = args[1].clone(),
            "reset" if !reply.is_error() => {
                self.database = b"0".to_vec();
                self.protocol = 2;
                self.queues = false;
            }
            "hello" if !reply.is_error() => {
                self.protocol =
                    args.get(1).map_or(self.protocol, |version| if version == b"3" { 3 } else { 2 });
            }
            _ => {}
        }
    }
}

/// Whether a line of CLIENT LIST has the flag of a blocked client.
fn is_blocked_client(line: &[u8]) -> bool {
    let line = String::from_utf8_lossy(line);
    let flags = line.split_whitespace().find_map(|word| word.strip_prefix("flags="));
    flags.is_some_and(|flags| flags.contains('b'))
}

/// The bytes and the close that a `raw` line expects.
pub fn parse_raw_expectation(text: &str) -> Result<(Vec<u8>, bool), String> {
    let mut bytes = Vec::new();
    let mut rest = text.trim();
    while rest.starts_with('"') {
        let (part, used) = super::file::read_quoted(rest.as_bytes())?;
        bytes.extend(part);
        rest = rest[used..].trim_start();
    }
    match rest {
        "" => Ok((bytes, false)),
        "<closed>" => Ok((bytes, true)),
        other => Err(format!("cannot read {other:?} as raw bytes")),
    }
}

fn lower(word: &[u8]) -> String {
    String::from_utf8_lossy(word).to_ascii_lowercase()
}

fn show_command(args: &[Vec<u8>]) -> String {
    let plain =
        |arg: &Vec<u8>| !arg.is_empty() && arg.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'"');
    let words: Vec<_> = args
        .iter()
        .map(|arg| if plain(arg) { String::from_utf8_lossy(arg).into_owned() } else { expect::quote(arg) })
        .collect();
    cut(&words.join(" "))
}

/// Shortens text for a message.
fn cut(text: &str) -> String {
    const LENGTH_MAX: usize = 1000;
    if text.len() <= LENGTH_MAX {
        return text.to_string();
    }
    let end = (0..=LENGTH_MAX).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
    format!("{}... ({} bytes)", &text[..end], text.len())
}
