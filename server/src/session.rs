//! What the server remembers about one client between its commands.
//!
//! [`Session`] belongs to the connection's task alone. [`ClientHandle`] is the part that other
//! workers may look at (CLIENT LIST) or act on (CLIENT KILL); the connection publishes into it
//! once per batch of commands, never per command.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use lux_engine::ids::{DbIndex, Lsn};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::blocking::{Block, Claim, Waiter};
use crate::config::Config;
use crate::dispatch::context::Resume;
use crate::dispatch::queue::{Multi, WatchList};

/// The version of RESP a client speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    #[default]
    Resp2 = 2,
    Resp3 = 3,
}

/// What CLIENT REPLY asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReplyMode {
    #[default]
    On,
    Off,
    /// The command after this one gets no reply.
    SkipNext,
    /// This command gets no reply.
    Skip,
}

/// The state of one client.
pub struct Session {
    pub handle: Arc<ClientHandle>,
    /// The configuration as of the last command; refreshed when it changes.
    pub config: Arc<Config>,
    pub config_version: u64,
    pub db: DbIndex,
    pub protocol: Protocol,
    pub is_authenticated: bool,
    pub reply_mode: ReplyMode,
    /// CLIENT NO-TOUCH: reads leave the access clock alone.
    pub no_touch: bool,
    /// Close once the replies so far are out (QUIT, a killed self, a protocol error).
    pub close_after_reply: bool,
    /// Close at once, without the replies so far (somebody speaks HTTP).
    pub is_aborted: bool,
    /// The LSN the reply of this command must wait for, if it must wait.
    pub gate: Option<Lsn>,
    /// Delay this writer owes while write-back is behind.
    pub delay_debt: Duration,
    /// What the interrupted command keeps until it is done.
    pub resume: Option<Box<Resume>>,
    /// Commands that would wait for keys answer at once, as if their time had passed: those around
    /// them are to be one.
    pub denies_blocking: bool,
    /// What this run of the command found nothing in, and would wait for.
    pub block: Option<Block>,
    /// The place of the command that waits for keys.
    pub waiter: Option<Box<Waiter>>,
    /// Turns of waiters that the command caused.
    pub claim: Option<Claim>,
    /// The queue, from MULTI to EXEC or DISCARD.
    pub multi: Option<Box<Multi>>,
    /// What WATCH watches.
    pub watched: WatchList,
    /// The command ran elsewhere and is done.
    pub moved: Option<Box<MovedReply>>,
}

impl Session {
    #[must_use]
    pub fn new(handle: Arc<ClientHandle>, config: Arc<Config>) -> Self {
        Session {
            handle,
            is_authenticated: config.requirepass.is_empty(),
            config,
            config_version: 0,
            db: DbIndex(0),
            protocol: Protocol::Resp2,
            reply_mode: ReplyMode::On,
            no_touch: false,
            close_after_reply: false,
            is_aborted: false,
            gate: None,
            delay_debt: Duration::ZERO,
            resume: None,
            denies_blocking: false,
            block: None,
            waiter: None,
            claim: None,
            multi: None,
            watched: WatchList::default(),
            moved: None,
        }
    }

    /// A session that runs this client's command in its place, with its transaction.
    #[must_use]
    pub fn stand_in(&mut self) -> Session {
        Session {
            config_version: self.config_version,
            db: self.db,
            protocol: self.protocol,
            is_authenticated: self.is_authenticated,
            reply_mode: self.reply_mode,
            no_touch: self.no_touch,
            denies_blocking: self.denies_blocking,
            multi: self.multi.take(),
            watched: std::mem::take(&mut self.watched),
            ..Session::new(Arc::clone(&self.handle), Arc::clone(&self.config))
        }
    }

    /// Whether the client must authenticate before anything else.
    #[must_use]
    pub fn needs_auth(&self) -> bool {
        !self.is_authenticated && !self.config.requirepass.is_empty()
    }

    /// Tells CLIENT LIST how long the queue is and how many keys are watched.
    pub fn publish_multi(&self) {
        let queued = self.multi.as_ref().map_or(-1, |multi| multi.len() as i64);
        self.handle.queued.store(queued, Relaxed);
        self.handle.watched.store(self.watched.len(), Relaxed);
    }

    /// What RESET does: everything the client set is as on a fresh connection.
    pub fn reset(&mut self) {
        self.db = DbIndex(0);
        self.protocol = Protocol::Resp2;
        self.is_authenticated = self.config.requirepass.is_empty();
        self.reply_mode = ReplyMode::On;
        self.no_touch = false;
        self.multi = None;
        self.watched.clear();
        self.handle.no_evict.store(false, Relaxed);
        self.handle.labels.lock().name.clear();
    }
}

/// What a command that ran elsewhere ([`Session::stand_in`]) leaves to its connection.
pub struct MovedReply {
    /// The encoded reply.
    pub reply: Vec<u8>,
    pub gate: Option<Lsn>,
    claim: Option<Claim>,
    db: DbIndex,
    protocol: Protocol,
    reply_mode: ReplyMode,
    close_after_reply: bool,
}

impl MovedReply {
    /// Takes it from the session that stood in.
    #[must_use]
    pub fn new(reply: Vec<u8>, stand_in: &mut Session) -> Box<Self> {
        Box::new(MovedReply {
            reply,
            gate: stand_in.gate.take(),
            claim: stand_in.claim.take(),
            db: stand_in.db,
            protocol: stand_in.protocol,
            reply_mode: stand_in.reply_mode,
            close_after_reply: stand_in.close_after_reply,
        })
    }

    /// Gives the client's session what the command changed.
    pub fn settle(&mut self, session: &mut Session) {
        (session.db, session.protocol, session.reply_mode) = (self.db, self.protocol, self.reply_mode);
        session.close_after_reply |= self.close_after_reply;
        session.claim = self.claim.take();
    }
}

/// Names a client gave itself.
#[derive(Clone, Default)]
pub struct ClientLabels {
    pub name: Vec<u8>,
    pub lib_name: Vec<u8>,
    pub lib_ver: Vec<u8>,
}

/// The public face of a connection. Atomics are statistics, read without ordering.
pub struct ClientHandle {
    pub id: u64,
    pub peer: String,
    pub local: String,
    pub fd: i32,
    pub is_unix: bool,
    pub is_loopback: bool,
    pub connected_unix_ms: u64,
    pub labels: Mutex<ClientLabels>,
    pub last_active_unix_ms: AtomicU64,
    pub db: AtomicU32,
    pub protocol: AtomicU32,
    /// Number of the last command; `usize::MAX` before the first.
    pub last_command: AtomicUsize,
    pub query_buffer_bytes: AtomicUsize,
    pub query_buffer_free_bytes: AtomicUsize,
    pub output_buffer_bytes: AtomicUsize,
    /// Commands queued by MULTI; -1 outside of it.
    pub queued: AtomicI64,
    /// Keys watched by WATCH.
    pub watched: AtomicUsize,
    pub no_evict: AtomicBool,
    pub no_touch: AtomicBool,
    /// It waits for a key or for the end of CLIENT PAUSE.
    pub is_blocked: AtomicBool,
    /// It waits for something of the server's, with a command half done.
    pub is_waiting: AtomicBool,
    pub bytes_in: AtomicU64,
    pub bytes_out: AtomicU64,
    pub commands: AtomicU64,
    killed: AtomicBool,
    kill_signal: Notify,
}

/// Where a connection came from.
pub struct Origin {
    pub peer: String,
    pub local: String,
    pub fd: i32,
    pub is_unix: bool,
    pub is_loopback: bool,
}

impl ClientHandle {
    #[must_use]
    pub fn new(id: u64, origin: Origin, now_unix_ms: u64) -> Self {
        ClientHandle {
            id,
            peer: origin.peer,
            local: origin.local,
            fd: origin.fd,
            is_unix: origin.is_unix,
            is_loopback: origin.is_loopback,
            connected_unix_ms: now_unix_ms,
            labels: Mutex::default(),
            last_active_unix_ms: AtomicU64::new(now_unix_ms),
            db: AtomicU32::new(0),
            protocol: AtomicU32::new(Protocol::Resp2 as u32),
            last_command: AtomicUsize::new(usize::MAX),
            query_buffer_bytes: AtomicUsize::new(0),
            query_buffer_free_bytes: AtomicUsize::new(0),
            output_buffer_bytes: AtomicUsize::new(0),
            queued: AtomicI64::new(-1),
            watched: AtomicUsize::new(0),
            no_evict: AtomicBool::new(false),
            no_touch: AtomicBool::new(false),
            is_blocked: AtomicBool::new(false),
            is_waiting: AtomicBool::new(false),
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
            commands: AtomicU64::new(0),
            killed: AtomicBool::new(false),
            kill_signal: Notify::new(),
        }
    }

    /// Notes that bytes went from or to the client: what `timeout` and CLIENT LIST's `idle` count from.
    pub fn touch(&self, now_ms: u64) {
        self.last_active_unix_ms.store(now_ms, Relaxed);
    }

    /// Ends the connection as soon as its task looks; it is woken if it waits.
    pub fn kill(&self) {
        self.killed.store(true, Relaxed);
        self.kill_signal.notify_one();
    }

    #[must_use]
    pub fn is_killed(&self) -> bool {
        self.killed.load(Relaxed)
    }

    /// Returns once the connection was killed.
    pub async fn until_killed(&self) {
        while !self.is_killed() {
            self.kill_signal.notified().await;
        }
    }

    /// Whether silence is not the client's fault.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.is_blocked.load(Relaxed) || self.is_waiting.load(Relaxed)
    }

    /// Redis's flag letters of CLIENT LIST.
    #[must_use]
    pub fn flag_letters(&self) -> String {
        let mut flags = String::new();
        for (is_set, letter) in [
            (self.is_unix, 'U'),
            (self.queued.load(Relaxed) >= 0, 'x'),
            (self.is_blocked.load(Relaxed), 'b'),
            (self.no_evict.load(Relaxed), 'e'),
            (self.no_touch.load(Relaxed), 'T'),
        ] {
            if is_set {
                flags.push(letter);
            }
        }
        if flags.is_empty() { "N".into() } else { flags }
    }
}

impl fmt::Debug for ClientHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "client {} from {}", self.id, self.peer)
    }
}
