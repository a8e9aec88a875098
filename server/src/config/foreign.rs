//! What redis.conf and valkey.conf have and Lux does not: accepted without effect, or refused.
//!
//! A setting that cannot change what a client sees here, or that asks for less than Lux does anyway, is
//! accepted, and the start names all of them in one warning. A setting whose absence would change what
//! clients see, or who may see it, is refused. A name in neither table is an error like any typing mistake.

/// Settings without effect: why, and which.
const WITHOUT_EFFECT: &[(&str, &[&str])] = &[
    (
        "there is one log and one store, checkpointed by the engine",
        &[
            "dbfilename",
            "rdbcompression",
            "rdbchecksum",
            "rdb-del-sync-files",
            "rdb-save-incremental-fsync",
            "rdb-version-check",
            "sanitize-dump-payload",
            "stop-writes-on-bgsave-error",
            "appendfilename",
            "appenddirname",
            "no-appendfsync-on-rewrite",
            "auto-aof-rewrite-percentage",
            "auto-aof-rewrite-min-size",
            "aof-disable-auto-gc",
            "aof-load-truncated",
            "aof-use-rdb-preamble",
            "aof-timestamp-enabled",
            "aof-rewrite-incremental-fsync",
        ],
    ),
    (
        "there are no replicas",
        &[
            "bind-source-addr",
            "masterauth",
            "masteruser",
            "primaryauth",
            "primaryuser",
            "replica-serve-stale-data",
            "slave-serve-stale-data",
            "replica-read-only",
            "slave-read-only",
            "repl-diskless-sync",
            "repl-diskless-sync-delay",
            "repl-diskless-sync-max-replicas",
            "repl-diskless-sync-period",
            "repl-diskless-load",
            "repl-disable-tcp-nodelay",
            "repl-backlog-size",
            "repl-backlog-ttl",
            "repl-timeout",
            "repl-ping-replica-period",
            "repl-ping-slave-period",
            "repl-mptcp",
            "dual-channel-replication-enabled",
            "replica-priority",
            "slave-priority",
            "replica-announced",
            "replica-announce-ip",
            "slave-announce-ip",
            "replica-announce-port",
            "slave-announce-port",
            "replica-lazy-flush",
            "slave-lazy-flush",
            "replica-ignore-maxmemory",
            "slave-ignore-maxmemory",
            "replica-ignore-disk-write-errors",
            "min-replicas-max-lag",
            "min-slaves-max-lag",
            "propagation-error-behavior",
        ],
    ),
    (
        "there is no cluster",
        &[
            "cluster-config-file",
            "cluster-config-save-behavior",
            "cluster-node-timeout",
            "cluster-port",
            "cluster-databases",
            "cluster-replica-validity-factor",
            "cluster-slave-validity-factor",
            "cluster-migration-barrier",
            "cluster-allow-replica-migration",
            "cluster-require-full-coverage",
            "cluster-replica-no-failover",
            "cluster-slave-no-failover",
            "cluster-allow-reads-when-down",
            "cluster-allow-pubsubshard-when-down",
            "cluster-link-sendbuf-limit",
            "cluster-announce-hostname",
            "cluster-announce-human-nodename",
            "cluster-announce-ip",
            "cluster-announce-client-ipv4",
            "cluster-announce-client-ipv6",
            "cluster-announce-client-port",
            "cluster-announce-client-tls-port",
            "cluster-announce-port",
            "cluster-announce-tls-port",
            "cluster-announce-bus-port",
            "cluster-preferred-endpoint-type",
            "cluster-blacklist-ttl",
            "cluster-slot-stats-enabled",
            "cluster-manual-failover-timeout",
            "cluster-slot-migration-log-max-len",
            "slot-migration-max-failover-repl-bytes",
            "availability-zone",
        ],
    ),
    (
        "without TLS there is nothing to set up; tls-port is refused",
        &[
            "tls-cert-file",
            "tls-key-file",
            "tls-key-file-pass",
            "tls-client-cert-file",
            "tls-client-key-file",
            "tls-client-key-file-pass",
            "tls-dh-params-file",
            "tls-ca-cert-file",
            "tls-ca-cert-dir",
            "tls-auth-clients",
            "tls-auth-clients-user",
            "tls-replication",
            "tls-cluster",
            "tls-protocols",
            "tls-ciphers",
            "tls-ciphersuites",
            "tls-prefer-server-ciphers",
            "tls-session-caching",
            "tls-session-cache-size",
            "tls-session-cache-timeout",
            "tls-auto-reload-interval",
            "max-new-tls-connections-per-cycle",
        ],
    ),
    (
        "background work and memory follow the load by themselves",
        &[
            "dynamic-hz",
            "activerehashing",
            "activedefrag",
            "active-defrag-ignore-bytes",
            "active-defrag-threshold-lower",
            "active-defrag-threshold-upper",
            "active-defrag-cycle-min",
            "active-defrag-cycle-max",
            "active-defrag-cycle-us",
            "active-defrag-max-scan-fields",
            "active-expire-effort",
            "jemalloc-bg-thread",
            "maxmemory-eviction-tenacity",
            "maxmemory-clients",
            "io-threads-do-reads",
            "events-per-io-thread",
            "prefetch-batch-max-size",
            "max-new-connections-per-cycle",
            "hash-seed",
        ],
    ),
    (
        "the process, its threads and its name are left to the system",
        &[
            "set-proc-title",
            "proc-title-template",
            "disable-thp",
            "oom-score-adj",
            "oom-score-adj-values",
            "server-cpulist",
            "server_cpulist",
            "bio-cpulist",
            "bio_cpulist",
            "aof-rewrite-cpulist",
            "aof_rewrite_cpulist",
            "bgsave-cpulist",
            "bgsave_cpulist",
            "socket-mark-id",
            "mptcp",
            "ignore-warnings",
            "locale-collate",
            "shutdown-on-sigint",
            "shutdown-on-sigterm",
        ],
    ),
    (
        "the log of the server has one format and one place",
        &[
            "always-show-logo",
            "syslog-enabled",
            "syslog-ident",
            "syslog-facility",
            "crash-log-enabled",
            "crash-memcheck-enabled",
            "log-format",
            "log-timestamp-format",
            "hide-user-data-from-log",
            "latency-tracking-info-percentiles",
            "commandlog-request-larger-than",
            "commandlog-large-request-max-len",
            "commandlog-reply-larger-than",
            "commandlog-large-reply-max-len",
        ],
    ),
    (
        "what it concerns does not exist here",
        &[
            "acllog-max-len",
            "acl-pubsub-default",
            "tracking-table-max-keys",
            "lua-enable-insecure-api",
            "enable-protected-configs",
            "enable-module-command",
            "extended-redis-compatibility",
            "rdma-bind",
            "rdma-rx-size",
            "rdma-completion-vector",
        ],
    ),
];

/// Settings that are refused: the name, the values that ask for nothing, and why.
const REFUSED: &[(&str, &[&str], &str)] = &[
    ("replicaof", &["", "no one"], "there is no replication"),
    ("slaveof", &["", "no one"], "there is no replication"),
    ("min-replicas-to-write", &["0"], "there is no replication, so every write would be refused"),
    ("min-slaves-to-write", &["0"], "there is no replication, so every write would be refused"),
    ("tls-port", &["0"], "there is no TLS"),
    ("rdma-port", &["0"], "there is no RDMA"),
    ("loadmodule", &[], "there are no modules"),
    ("user", &[], "there is no user besides default; its password is requirepass"),
    ("aclfile", &[""], "there is no user besides default; its password is requirepass"),
    ("rename-command", &[], "commands cannot be renamed"),
    ("unixsocketgroup", &[""], "the group of the socket cannot be set; use unixsocketperm"),
    ("import-mode", &["no"], "there is no import mode"),
];

/// What becomes of a setting that is Redis's or Valkey's alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Foreign {
    WithoutEffect,
    /// Why.
    Refused(&'static str),
}

/// Looks a setting up; `None` if nobody knows it. `value` is all of its words.
#[must_use]
pub fn find(name: &str, value: &[u8]) -> Option<Foreign> {
    if let Some((_, harmless, why)) = REFUSED.iter().find(|(refused, ..)| *refused == name) {
        let asks_for_nothing = harmless.iter().any(|word| word.as_bytes().eq_ignore_ascii_case(value));
        return Some(if asks_for_nothing { Foreign::WithoutEffect } else { Foreign::Refused(why) });
    }
    let is_known = WITHOUT_EFFECT.iter().any(|(_, names)| names.contains(&name));
    is_known.then_some(Foreign::WithoutEffect)
}

/// Both tables as sections of the reference page.
#[must_use]
pub fn reference() -> String {
    let mut page = String::from(
        "\n## Settings of Redis and Valkey without effect\n\nA configuration file or a flag may have them; the \
         start names those it found in one warning. CONFIG does not know them.\n\n| why | settings |\n|---|---|\n",
    );
    for (why, names) in WITHOUT_EFFECT {
        let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
        page += &format!("| {why} | {} |\n", names.join(", "));
    }
    page +=
        "\n## Settings of Redis and Valkey that are refused\n\n| setting | accepted | why |\n|---|---|---|\n";
    for (name, harmless, why) in REFUSED {
        let values: Vec<String> = harmless
            .iter()
            .map(|word| if word.is_empty() { "empty".to_owned() } else { format!("`{word}`") })
            .collect();
        let values = if values.is_empty() { "never".to_owned() } else { values.join(", ") };
        page += &format!("| `{name}` | {values} | {why} |\n");
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_is_there_twice_or_is_a_parameter() {
        let without_effect = WITHOUT_EFFECT.iter().flat_map(|(_, names)| *names);
        let mut names: Vec<&str> =
            without_effect.chain(REFUSED.iter().map(|(name, ..)| name)).copied().collect();
        names.sort_unstable();
        for pair in names.windows(2) {
            assert_ne!(pair[0], pair[1]);
        }
        for name in names {
            assert!(crate::config::find(name).is_none(), "{name} is a parameter");
        }
    }

    #[test]
    fn what_asks_for_nothing_is_accepted() {
        assert_eq!(find("dbfilename", b"dump.rdb"), Some(Foreign::WithoutEffect));
        assert_eq!(find("replicaof", b"no one"), Some(Foreign::WithoutEffect));
        assert!(matches!(find("replicaof", b"10.0.0.1 6379"), Some(Foreign::Refused(_))));
        assert!(matches!(find("loadmodule", b""), Some(Foreign::Refused(_))));
        assert_eq!(find("tls-port", b"0"), Some(Foreign::WithoutEffect));
        assert_eq!(find("maxmemroy", b"1gb"), None);
    }
}
