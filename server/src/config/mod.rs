//! The server's parameters: one table, from which everything about them is derived.
//!
//! A parameter is one line of [`PARAMETERS`]: name, kind, default, when it may change, help. The
//! configuration file, `--name` flags, `LUX_NAME` variables, CONFIG GET, SET and REWRITE and the
//! reference page all go through it. [`ConfigStore`] holds the current values; readers keep an
//! `Arc` and look at a version counter to see whether it is stale.

pub mod file;
pub mod foreign;
pub mod rewrite;
pub mod sources;
pub mod value;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use value::{BufferLimits, Kind, Setting, Value};

/// When a parameter may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Before the start only; CONFIG SET refuses it.
    AtStart,
    /// Any time.
    Live,
}

/// One parameter.
pub struct Parameter {
    pub name: &'static str,
    /// Redis's older name for it, or empty.
    pub alias: &'static str,
    pub kind: Kind,
    /// The default, in the words of a configuration file.
    pub default: &'static str,
    pub change: Change,
    /// One sentence for the reference page.
    pub help: &'static str,
    get: fn(&Config) -> Value,
    set: fn(&mut Config, Value),
}

impl Parameter {
    /// The value in `config`, as CONFIG GET shows it.
    #[must_use]
    pub fn print(&self, config: &Config) -> Vec<u8> {
        self.kind.print(&(self.get)(config))
    }

    /// Reads `text` and puts it into `config`; on an error (Redis's words) nothing changes.
    pub fn assign(&self, config: &mut Config, text: &[u8]) -> Result<(), String> {
        let value = self.kind.parse(text, &(self.get)(config))?;
        (self.set)(config, value);
        Ok(())
    }
}

macro_rules! parameters {
    ($($field:ident: $type:ty = $name:literal $(/ $alias:literal)?, $kind:expr, $default:literal, $change:ident, $help:literal;)*) => {
        /// The value of every parameter.
        #[derive(Clone, Debug)]
        pub struct Config {
            $(#[doc = $help] pub $field: $type,)*
        }

        impl Config {
            fn blank() -> Self {
                Config { $($field: <$type>::default(),)* }
            }
        }

        /// All parameters, in the order of the reference page.
        pub static PARAMETERS: &[Parameter] = &[
            $(Parameter {
                name: $name,
                alias: concat!($($alias)?),
                kind: $kind,
                default: $default,
                change: Change::$change,
                help: $help,
                get: |config| config.$field.to_value(),
                set: |config, value| config.$field.assign(value),
            },)*
        ];
    };
}

/// The largest value of counts that Redis keeps in a C `int`.
const INT_MAX: i64 = i32::MAX as i64;
const LONG_MAX: i64 = i64::MAX;
/// A request's arguments are addressed with 32 bits, whatever the limits say.
const REQUEST_BYTES_MAX: i64 = u32::MAX as i64;

const fn int(min: i64, max: i64) -> Kind {
    Kind::Int { min, max }
}

const fn memory(min: i64, max: i64) -> Kind {
    Kind::Memory { min, max }
}

/// The eviction policies Redis knows. `noeviction` is the tiered mode.
const POLICIES: Kind = Kind::Choice(&[
    "volatile-lru",
    "volatile-lfu",
    "volatile-random",
    "volatile-ttl",
    "allkeys-lru",
    "allkeys-lfu",
    "allkeys-random",
    "noeviction",
]);

parameters! {
    bind: Vec<String> = "bind", Kind::Words, "* -::*", AtStart, "Addresses to listen on; a leading - tolerates an address that is not there.";
    port: i64 = "port", int(0, 65535), "6379", AtStart, "TCP port; 0 turns TCP off.";
    unixsocket: String = "unixsocket", Kind::Text, "", AtStart, "Path of a Unix socket to listen on.";
    unixsocketperm: i64 = "unixsocketperm", Kind::Octal { max: 0o777 }, "0", AtStart, "Permissions of the Unix socket; 0 keeps the umask's.";
    tcp_backlog: i64 = "tcp-backlog", int(0, INT_MAX), "511", AtStart, "Connections the kernel queues before they are accepted.";
    tcp_keepalive: i64 = "tcp-keepalive", int(0, INT_MAX), "300", Live, "Seconds between probes of an idle connection; 0 sends none.";
    timeout: i64 = "timeout", int(0, INT_MAX), "0", Live, "Seconds after which an idle client is disconnected; 0 is never.";
    maxclients: i64 = "maxclients", int(1, u32::MAX as i64), "10000", Live, "Connections served at the same time.";
    protected_mode: bool = "protected-mode", Kind::Flag, "yes", Live, "Without a password, serve only clients on this host.";
    requirepass: Vec<u8> = "requirepass", Kind::Secret, "", Live, "The password of the default user.";
    io_threads: i64 = "io-threads", int(0, 128), "0", AtStart, "Worker threads; 0 is one per core, at most 4.";
    databases: i64 = "databases", int(1, 16), "16", AtStart, "Number of databases for SELECT.";

    dir: String = "dir", Kind::Text, "./data", AtStart, "The data folder.";
    maxmemory: i64 = "maxmemory", memory(0, LONG_MAX), "0", Live, "Memory of the whole process; 0 is half of the host's or the container's.";
    maxmemory_policy: String = "maxmemory-policy", POLICIES, "noeviction", Live, "noeviction moves cold data to disk; the others drop keys for good at maxdisk.";
    maxmemory_samples: i64 = "maxmemory-samples", int(1, 64), "5", Live, "Keys that compete each time one is dropped at maxdisk.";
    maxdisk: i64 = "maxdisk", memory(0, LONG_MAX), "0", Live, "Disk space of the data folder; 0 is what the file system has.";
    lfu_log_factor: i64 = "lfu-log-factor", int(0, INT_MAX), "10", Live, "How slowly the access counter of the LFU policies grows.";
    lfu_decay_time: i64 = "lfu-decay-time", int(0, INT_MAX), "1", Live, "Minutes without a use after which the access counter of the LFU policies loses one; 0 is never.";

    appendonly: bool = "appendonly", Kind::Flag, "yes", AtStart, "The log is always on: no has no effect.";
    appendfsync: String = "appendfsync", Kind::Choice(&["everysec", "always", "no"]), "everysec", Live, "When the log is synced: before each reply, each second, or by the kernel.";
    save: String = "save", Kind::SavePoints, "", Live, "Redis's save points; Lux checkpoints by itself and keeps the value for clients that ask.";
    checkpoint_interval: i64 = "checkpoint-interval", int(1, 90), "60", Live, "Seconds after which a changed data set is checkpointed at the latest.";
    cold_direct_io: String = "cold-direct-io", Kind::Choice(&["auto", "no", "writes", "yes"]), "auto", AtStart, "What bypasses the page cache below the cold tier: flushes and compactions (writes), reads as well (yes), nothing (no); auto is writes where the page cache has less than 1 GiB, else no.";
    notify_keyspace_events: String = "notify-keyspace-events", Kind::Only(""), "", Live, "Only empty: there are no keyspace events yet.";
    lazyfree_lazy_eviction: bool = "lazyfree-lazy-eviction", Kind::Flag, "no", Live, "Accepted for Redis's sake: memory is always freed in the background.";
    lazyfree_lazy_expire: bool = "lazyfree-lazy-expire", Kind::Flag, "no", Live, "Accepted for Redis's sake: memory is always freed in the background.";
    lazyfree_lazy_server_del: bool = "lazyfree-lazy-server-del", Kind::Flag, "no", Live, "Accepted for Redis's sake: memory is always freed in the background.";
    lazyfree_lazy_user_del: bool = "lazyfree-lazy-user-del", Kind::Flag, "no", Live, "Accepted for Redis's sake: memory is always freed in the background.";
    lazyfree_lazy_user_flush: bool = "lazyfree-lazy-user-flush", Kind::Flag, "no", Live, "Accepted for Redis's sake: a flush never waits for the data to go.";

    hash_max_listpack_entries: i64 = "hash-max-listpack-entries" / "hash-max-ziplist-entries", int(0, LONG_MAX), "512", Live, "Most fields of a hash in the compact form; CONFIG SET concerns later changes.";
    hash_max_listpack_value: i64 = "hash-max-listpack-value" / "hash-max-ziplist-value", memory(0, LONG_MAX), "64", Live, "Longest field or value of a hash in the compact form.";
    list_max_listpack_size: i64 = "list-max-listpack-size" / "list-max-ziplist-size", int(-5, INT_MAX), "-2", Live, "Longest list in the compact form: elements, or with -1 to -5 bytes (4, 8, 16, 32, 64 KiB).";
    list_compress_depth: i64 = "list-compress-depth", int(0, INT_MAX), "0", Live, "Accepted for Redis's sake: lists in memory are not compressed, their rows on disk are.";
    set_max_intset_entries: i64 = "set-max-intset-entries", int(0, LONG_MAX), "512", Live, "Most members of a set of integers in the compact form for integers.";
    set_max_listpack_entries: i64 = "set-max-listpack-entries", int(0, LONG_MAX), "128", Live, "Most members of a set in the compact form.";
    set_max_listpack_value: i64 = "set-max-listpack-value", memory(0, LONG_MAX), "64", Live, "Longest member of a set in the compact form.";
    zset_max_listpack_entries: i64 = "zset-max-listpack-entries" / "zset-max-ziplist-entries", int(0, LONG_MAX), "128", Live, "Most members of a sorted set in the compact form.";
    zset_max_listpack_value: i64 = "zset-max-listpack-value" / "zset-max-ziplist-value", memory(0, LONG_MAX), "64", Live, "Longest member of a sorted set in the compact form.";
    hll_sparse_max_bytes: i64 = "hll-sparse-max-bytes", memory(0, LONG_MAX), "3000", Live, "Longest HyperLogLog in the sparse form; a longer one becomes dense.";
    stream_node_max_bytes: i64 = "stream-node-max-bytes", memory(0, LONG_MAX), "4096", Live, "Bytes of a node of a stream: what XADD's approximate trimming removes at once.";
    stream_node_max_entries: i64 = "stream-node-max-entries", int(0, LONG_MAX), "100", Live, "Entries of a node of a stream: what XADD's approximate trimming removes at once.";

    proto_max_bulk_len: i64 = "proto-max-bulk-len", memory(1 << 20, LONG_MAX), "512mb", Live, "Largest argument of a request, and largest string value.";
    client_query_buffer_limit: i64 = "client-query-buffer-limit", memory(1 << 20, LONG_MAX), "1gb", Live, "Largest request.";
    client_output_buffer_limit: BufferLimits = "client-output-buffer-limit", Kind::BufferLimits, "normal 0 0 0 slave 256mb 64mb 60 pubsub 32mb 8mb 60", Live, "When a client that does not read is disconnected.";

    busy_reply_threshold: i64 = "busy-reply-threshold" / "lua-time-limit", int(0, LONG_MAX), "5000", Live, "Milliseconds a script may run before other clients are answered BUSY; 0 is never.";
    lua_memory_max: i64 = "lua-memory-max", memory(1 << 20, LONG_MAX), "64mb", Live, "Memory of one Lua interpreter; a script that needs more fails.";

    hz: i64 = "hz", int(1, 500), "10", Live, "Accepted for Redis's sake: background work has its own times.";
    loglevel: String = "loglevel", Kind::Choice(&["debug", "verbose", "notice", "warning", "nothing"]), "notice", Live, "What is logged.";
    logfile: String = "logfile", Kind::Text, "", AtStart, "Where it is logged; empty is standard output.";
    daemonize: bool = "daemonize", Kind::Flag, "no", AtStart, "Backgrounding is left to systemd or the container: yes has no effect.";
    supervised: String = "supervised", Kind::Choice(&["no", "upstart", "systemd", "auto"]), "no", AtStart, "Accepted for Redis's sake.";
    pidfile: String = "pidfile", Kind::Text, "", AtStart, "File that holds the process id while the server runs.";
    shutdown_timeout: i64 = "shutdown-timeout", int(0, INT_MAX), "2", Live, "Seconds that running commands and replies that are not read get at shutdown; SHUTDOWN NOW gives them none.";
    enable_debug_command: String = "enable-debug-command", Kind::Choice(&["no", "yes", "local"]), "no", AtStart, "Who may use DEBUG.";
    slowlog_log_slower_than: i64 = "slowlog-log-slower-than" / "commandlog-execution-slower-than", int(-1, LONG_MAX), "10000", Live, "Microseconds from which SLOWLOG keeps a command; negative keeps none.";
    slowlog_max_len: i64 = "slowlog-max-len" / "commandlog-slow-execution-max-len", int(0, LONG_MAX), "128", Live, "Entries SLOWLOG keeps.";
    latency_tracking: bool = "latency-tracking", Kind::Flag, "yes", Live, "Keeps latency histograms per command.";
    latency_monitor_threshold: i64 = "latency-monitor-threshold", int(0, LONG_MAX), "0", Live, "Milliseconds from which LATENCY keeps an event; 0 keeps none.";
    cluster_enabled: bool = "cluster-enabled", Kind::Flag, "no", AtStart, "Only no.";
}

impl Default for Config {
    /// The defaults of the table, the same on every machine.
    fn default() -> Self {
        let mut config = Config::blank();
        for parameter in PARAMETERS {
            parameter
                .assign(&mut config, parameter.default.as_bytes())
                .expect("defaults are valid, a test reads them all");
        }
        config
    }
}

impl Config {
    /// Bytes of the largest argument of a request, and of the largest string.
    #[must_use]
    pub fn bulk_max(&self) -> usize {
        usize::try_from(self.proto_max_bulk_len.min(REQUEST_BYTES_MAX / 2)).unwrap_or(usize::MAX)
    }

    /// Refuses what the table's kinds cannot see.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        if self.cluster_enabled {
            return Err(("cluster-enabled", "argument must be 'no': there is no cluster mode".into()));
        }
        Ok(())
    }
}

/// Finds a parameter by its name or its older name, in any case.
#[must_use]
pub fn find(name: &str) -> Option<&'static Parameter> {
    let is_alias = |p: &&Parameter| !p.alias.is_empty() && p.alias.eq_ignore_ascii_case(name);
    PARAMETERS.iter().find(|p| p.name.eq_ignore_ascii_case(name) || is_alias(p))
}

/// The current configuration and where it came from.
pub struct ConfigStore {
    current: Mutex<Arc<Config>>,
    version: AtomicU64,
    /// What the values would be without file, flags and environment on this machine.
    defaults: Config,
    /// The absolute path of the configuration file, if there is one.
    file: Option<PathBuf>,
}

impl ConfigStore {
    #[must_use]
    pub fn new(config: Config, defaults: Config, file: Option<PathBuf>) -> Self {
        ConfigStore { current: Mutex::new(Arc::new(config)), version: AtomicU64::new(1), defaults, file }
    }

    #[must_use]
    pub fn load(&self) -> Arc<Config> {
        self.current.lock().clone()
    }

    /// Grows with every change. Cheap enough to ask before each command.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    #[must_use]
    pub fn file(&self) -> Option<&PathBuf> {
        self.file.as_ref()
    }

    #[must_use]
    pub fn defaults(&self) -> &Config {
        &self.defaults
    }

    /// Replaces the configuration by what `edit` makes of it, all or nothing. One edit at a time.
    pub fn update<E>(&self, edit: impl FnOnce(&mut Config) -> Result<(), E>) -> Result<(), E> {
        let mut current = self.current.lock();
        let mut next = Config::clone(&current);
        edit(&mut next)?;
        *current = Arc::new(next);
        // ORDERING: whoever sees the new number locks `current` next, which shows the new values.
        self.version.fetch_add(1, Ordering::Release);
        Ok(())
    }
}

/// The reference page of all parameters, as Markdown.
#[must_use]
pub fn reference_page() -> String {
    let mut page = String::from(
        "# Configuration\n\nGenerated from the parameter table; do not edit. Every parameter works in the \
         configuration file (`name value`), as a flag (`--name value`) and as an environment variable \
         (`LUX_NAME`, dashes become underscores). Flags win over variables, variables over the file.\n\n\
         | parameter | default | accepts | CONFIG SET | meaning |\n|---|---|---|---|---|\n",
    );
    for p in PARAMETERS {
        let live = if p.change == Change::Live { "yes" } else { "no" };
        let default = if p.default.is_empty() { "(empty)" } else { p.default };
        page += &format!("| `{}` | `{default}` | {} | {live} | {} |\n", p.name, p.kind.describe(), p.help);
    }
    page + &foreign::reference()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_valid_and_names_are_unique() {
        let config = Config::default();
        assert!(config.check().is_ok());
        assert_eq!(config.port, 6379);
        assert_eq!(config.client_output_buffer_limit.pubsub.hard_bytes, 32 << 20);
        for (i, p) in PARAMETERS.iter().enumerate() {
            let first = PARAMETERS.iter().position(|q| q.name == p.name || q.alias == p.name);
            assert_eq!(first, Some(i), "{} is there twice", p.name);
            assert!(p.help.ends_with('.'), "{}: the help is a sentence", p.name);
            let mut copy = config.clone();
            assert_eq!(p.assign(&mut copy, &p.print(&config)), Ok(()), "{} reads what it prints", p.name);
        }
    }

    #[test]
    fn an_update_is_all_or_nothing() {
        let store = ConfigStore::new(Config::default(), Config::default(), None);
        let before = store.version();
        let failed = store.update(|config| {
            config.timeout = 7;
            Err("no")
        });
        assert_eq!(failed, Err("no"));
        assert_eq!((store.load().timeout, store.version()), (0, before));
        let done = store.update(|config| -> Result<(), ()> {
            config.timeout = 7;
            Ok(())
        });
        assert_eq!(done, Ok(()));
        assert_eq!((store.load().timeout, store.version()), (7, before + 1));
    }
}
