//! INFO: its sections in Redis's format, and Lux's own.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use lux_engine::DATABASE_COUNT;
use lux_engine::ids::DbIndex;

use super::memory::{self, MemoryNumbers};
use crate::clock;
use crate::dispatch::context::CommandTable;
use crate::machine;
use crate::state::ServerState;
use crate::stats::{CommandTotals, Histogram};
use crate::storage;

/// A section: its name, whether INFO shows it unasked, and its lines.
struct Section {
    name: &'static str,
    is_default: bool,
    write: fn(&ServerState, &CommandTable, &mut String),
}

const SECTIONS: &[Section] = &[
    Section { name: "Server", is_default: true, write: server },
    Section { name: "Clients", is_default: true, write: clients },
    Section { name: "Memory", is_default: true, write: memory_section },
    Section { name: "Persistence", is_default: true, write: persistence },
    Section { name: "Stats", is_default: true, write: stats },
    Section { name: "Replication", is_default: true, write: replication },
    Section { name: "CPU", is_default: true, write: cpu },
    Section { name: "Modules", is_default: true, write: |_, _, _| {} },
    Section { name: "Commandstats", is_default: false, write: commandstats },
    Section { name: "Errorstats", is_default: true, write: errorstats },
    Section { name: "Latencystats", is_default: false, write: latencystats },
    Section { name: "Cluster", is_default: true, write: cluster },
    Section { name: "Tier", is_default: true, write: tier },
    Section { name: "Wal", is_default: true, write: wal },
    Section { name: "Rocksdb", is_default: false, write: cold_store },
    Section { name: "Keyspace", is_default: true, write: keyspace },
];

/// The text of the sections that were asked for; none asked for is the default set.
#[must_use]
pub fn text(state: &ServerState, table: &CommandTable, asked: &[&[u8]]) -> String {
    let is_asked = |word: &str| asked.iter().any(|ask| ask.eq_ignore_ascii_case(word.as_bytes()));
    let wants_all = is_asked("all") || is_asked("everything");
    let wants_default = asked.is_empty() || is_asked("default");
    let mut text = String::new();
    for section in SECTIONS {
        if !(wants_all || (wants_default && section.is_default) || is_asked(section.name)) {
            continue;
        }
        if !text.is_empty() {
            text += "\r\n";
        }
        text += &format!("# {}\r\n", section.name);
        (section.write)(state, table, &mut text);
    }
    text
}

/// Appends a line `name:value`.
fn line(out: &mut String, name: &str, value: impl std::fmt::Display) {
    // Writing into a String cannot fail.
    let _ = write!(out, "{name}:{value}\r\n");
}

/// Bytes as Redis shows them: `1.50M`.
#[must_use]
pub fn human(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["K", "M", "G", "T", "P"];
    if bytes < 1024 {
        return format!("{bytes}B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.2}{}", UNITS[unit])
}

fn server(state: &ServerState, _: &CommandTable, out: &mut String) {
    let config = state.config.load();
    let uptime = state.started.elapsed().as_secs();
    let now_us = clock::unix_us();
    line(out, "redis_version", crate::REDIS_VERSION);
    line(out, "redis_git_sha1", "00000000");
    line(out, "redis_git_dirty", 0);
    line(out, "redis_build_id", "0");
    line(out, "redis_mode", "standalone");
    line(out, "lux_version", crate::VERSION);
    line(out, "os", machine::os());
    line(out, "arch_bits", usize::BITS);
    line(out, "monotonic_clock", "POSIX clock_gettime");
    line(out, "multiplexing_api", "epoll");
    line(out, "process_id", std::process::id());
    line(out, "process_supervised", &config.supervised);
    line(out, "run_id", &state.run_id);
    line(out, "tcp_port", state.tcp_port.load(Relaxed));
    line(out, "server_time_usec", now_us);
    line(out, "uptime_in_seconds", uptime);
    line(out, "uptime_in_days", uptime / 86_400);
    line(out, "hz", config.hz);
    line(out, "configured_hz", config.hz);
    line(out, "lru_clock", (now_us / 1_000_000) & 0xff_ffff);
    let executable = std::env::current_exe().map(|path| path.display().to_string()).unwrap_or_default();
    line(out, "executable", executable);
    let file = state.config.file().map(|path| path.display().to_string()).unwrap_or_default();
    line(out, "config_file", file);
    line(out, "io_threads_active", u8::from(config.io_threads > 1));
    line(out, "io_threads", config.io_threads);
    line(out, "data_folder", &config.dir);
}

fn clients(state: &ServerState, _: &CommandTable, out: &mut String) {
    let all = state.clients.all();
    let most =
        |pick: fn(&crate::session::ClientHandle) -> usize| all.iter().map(|c| pick(c)).max().unwrap_or(0);
    line(out, "connected_clients", all.len());
    line(out, "cluster_connections", 0);
    line(out, "maxclients", state.config.load().maxclients);
    line(out, "client_recent_max_input_buffer", most(|c| c.query_buffer_bytes.load(Relaxed)));
    line(out, "client_recent_max_output_buffer", most(|c| c.output_buffer_bytes.load(Relaxed)));
    line(out, "blocked_clients", all.iter().filter(|c| c.is_blocked.load(Relaxed)).count());
    line(out, "tracking_clients", 0);
    let (watching, watched) = state.watches.totals();
    line(out, "watching_clients", watching);
    line(out, "total_watched_keys", watched);
    let blocking = state.blocking.totals();
    line(out, "clients_in_timeout_table", blocking.with_timeout);
    line(out, "total_blocking_keys", blocking.keys);
    line(out, "total_blocking_keys_on_nokey", blocking.keys_on_nokey);
}

fn memory_section(state: &ServerState, _: &CommandTable, out: &mut String) {
    let numbers = MemoryNumbers::measure(state);
    let config = state.config.load();
    let maxmemory = config.maxmemory.unsigned_abs();
    let sized = |out: &mut String, name: &str, bytes: u64| {
        line(out, name, bytes);
        line(out, &format!("{name}_human"), human(bytes));
    };
    sized(out, "used_memory", numbers.used);
    sized(out, "used_memory_rss", numbers.rss);
    sized(out, "used_memory_peak", numbers.peak);
    line(out, "used_memory_peak_perc", format!("{:.2}%", memory::percent(numbers.used, numbers.peak)));
    line(out, "used_memory_overhead", numbers.overhead());
    line(out, "used_memory_startup", numbers.startup);
    line(out, "used_memory_dataset", numbers.hot);
    line(out, "used_memory_dataset_perc", format!("{:.2}%", memory::percent(numbers.hot, numbers.used)));
    line(out, "used_memory_anonymous", numbers.anonymous);
    line(out, "allocator_allocated", numbers.allocated);
    line(out, "allocator_active", numbers.active);
    line(out, "allocator_resident", numbers.resident);
    sized(out, "total_system_memory", machine::host_memory_bytes());
    let scripts = &state.scripts;
    line(out, "used_memory_lua", scripts.runs.memory_used());
    line(out, "used_memory_scripts", scripts.cache.lock().bytes());
    line(out, "number_of_cached_scripts", scripts.cache.lock().len());
    line(out, "number_of_functions", scripts.libraries().functions_len());
    line(out, "number_of_libraries", scripts.libraries().len());
    sized(out, "maxmemory", maxmemory);
    line(out, "maxmemory_policy", &config.maxmemory_policy);
    line(out, "allocator_frag_ratio", format!("{:.2}", memory::ratio(numbers.active, numbers.allocated)));
    line(out, "allocator_frag_bytes", numbers.active.saturating_sub(numbers.allocated));
    line(out, "allocator_rss_ratio", format!("{:.2}", memory::ratio(numbers.resident, numbers.active)));
    line(out, "allocator_rss_bytes", numbers.resident.saturating_sub(numbers.active));
    line(out, "mem_fragmentation_ratio", format!("{:.2}", memory::ratio(numbers.rss, numbers.used)));
    line(out, "mem_fragmentation_bytes", numbers.rss.saturating_sub(numbers.used));
    line(out, "mem_not_counted_for_evict", 0);
    line(out, "mem_clients_normal", numbers.clients);
    line(out, "mem_clients_slaves", 0);
    line(out, "mem_allocator", "jemalloc");
    line(out, "active_defrag_running", 0);
    line(out, "lazyfree_pending_objects", 0);
}

fn persistence(state: &ServerState, _: &CommandTable, out: &mut String) {
    let engine = &state.engine;
    let (keeper, wal) = (engine.keeper(), engine.wal());
    let status = wal.status();
    let (redo_lsn, tail_bytes) = keeper.redo();
    let latched = wal.latched();
    let write_status = if latched.is_some() { "err" } else { "ok" };
    line(out, "loading", 0);
    line(out, "async_loading", 0);
    line(out, "rdb_changes_since_last_save", wal.last_lsn().0.saturating_sub(redo_lsn.0));
    // One that was asked for counts from then on: BGSAVE, and INFO until it is done, is how clients wait.
    let is_saving = keeper.is_round_running.load(Relaxed) || keeper.rounds_asked.load(Relaxed) > 0;
    line(out, "rdb_bgsave_in_progress", u8::from(is_saving));
    line(out, "rdb_last_save_time", keeper.last_round_ms.load(Relaxed) / 1000);
    line(out, "rdb_last_bgsave_status", write_status);
    line(out, "rdb_last_bgsave_time_sec", -1);
    line(out, "rdb_current_bgsave_time_sec", -1);
    line(out, "rdb_saves", engine.store().stats.rounds.load(Relaxed));
    line(out, "aof_enabled", 1);
    line(out, "aof_rewrite_in_progress", 0);
    line(out, "aof_rewrite_scheduled", 0);
    line(out, "aof_last_rewrite_time_sec", -1);
    line(out, "aof_current_rewrite_time_sec", -1);
    line(out, "aof_last_bgrewrite_status", "ok");
    line(out, "aof_last_write_status", write_status);
    line(out, "aof_current_size", status.bytes_on_disk);
    line(out, "aof_pending_bio_fsync", u8::from(status.durable_lsn < status.last_lsn));
    line(out, "latched", u8::from(latched.is_some()));
    line(out, "latch_reason", latched.map(|error| error.to_string()).unwrap_or_default());
    line(out, "disk_full", u8::from(status.disk_full || engine.disk().is_full()));
    line(out, "redo_lsn", redo_lsn);
    line(out, "redo_tail_bytes", tail_bytes);
    let report = engine.open_report();
    line(out, "last_open_ms", report.millis);
    line(out, "last_open_replayed_records", report.wal.records);
    line(out, "last_open_cut_bytes", report.wal.cut.as_ref().map_or(0, |cut| cut.bytes));
}

fn stats(state: &ServerState, _: &CommandTable, out: &mut String) {
    let [ops, bytes_in, bytes_out] = state.rates.per_second();
    let store = state.engine.store();
    let (hits, misses) = store.hits_and_misses();
    let base = state.baseline.lock().clone();
    line(out, "total_connections_received", state.total(|w| &w.connections));
    line(out, "total_commands_processed", state.total(|w| &w.commands_total));
    line(out, "instantaneous_ops_per_sec", ops.round());
    line(out, "total_net_input_bytes", state.total(|w| &w.bytes_in));
    line(out, "total_net_output_bytes", state.total(|w| &w.bytes_out));
    line(out, "total_net_repl_input_bytes", 0);
    line(out, "total_net_repl_output_bytes", 0);
    line(out, "instantaneous_input_kbps", format!("{:.2}", bytes_in / 1024.0));
    line(out, "instantaneous_output_kbps", format!("{:.2}", bytes_out / 1024.0));
    line(out, "instantaneous_input_repl_kbps", "0.00");
    line(out, "instantaneous_output_repl_kbps", "0.00");
    line(out, "rejected_connections", state.rejected_connections.load(Relaxed));
    line(out, "sync_full", 0);
    line(out, "sync_partial_ok", 0);
    line(out, "sync_partial_err", 0);
    line(out, "expired_keys", store.stats.expired.load(Relaxed) - base.expired);
    line(out, "evicted_keys", store.stats.dropped.load(Relaxed) - base.dropped);
    line(out, "evicted_clients", 0);
    line(out, "evicted_scripts", state.scripts.cache.lock().evicted());
    line(out, "scripts_undeclared_keys", state.scripts.undeclared.load(Relaxed));
    line(out, "scripts_moved_aside", state.scripts.moved.load(Relaxed));
    line(out, "keyspace_hits", hits.saturating_sub(base.hits));
    line(out, "keyspace_misses", misses.saturating_sub(base.misses));
    line(out, "pubsub_channels", 0);
    line(out, "pubsub_patterns", 0);
    line(out, "pubsubshard_channels", 0);
    line(out, "latest_fork_usec", 0);
    line(out, "total_forks", 0);
    line(out, "migrate_cached_sockets", 0);
    line(out, "slave_expires_tracked_keys", 0);
    line(out, "tracking_total_keys", 0);
    line(out, "tracking_total_items", 0);
    line(out, "tracking_total_prefixes", 0);
    line(out, "unexpected_error_replies", 0);
    line(out, "total_error_replies", state.total(|w| &w.errors_total));
    line(out, "total_reads_processed", state.total(|w| &w.reads));
    line(out, "total_writes_processed", state.total(|w| &w.writes));
}

fn replication(state: &ServerState, _: &CommandTable, out: &mut String) {
    line(out, "role", "master");
    line(out, "connected_slaves", 0);
    line(out, "master_failover_state", "no-failover");
    line(out, "master_replid", &state.run_id);
    line(out, "master_replid2", "0".repeat(40));
    line(out, "master_repl_offset", 0);
    line(out, "second_repl_offset", -1);
    line(out, "repl_backlog_active", 0);
    line(out, "repl_backlog_size", 0);
    line(out, "repl_backlog_first_byte_offset", 0);
    line(out, "repl_backlog_histlen", 0);
}

fn cpu(_: &ServerState, _: &CommandTable, out: &mut String) {
    let (user, system) = machine::cpu_seconds();
    line(out, "used_cpu_sys", format!("{system:.6}"));
    line(out, "used_cpu_user", format!("{user:.6}"));
    line(out, "used_cpu_sys_children", "0.000000");
    line(out, "used_cpu_user_children", "0.000000");
}

/// Every command that was called, with its counters.
fn called<'t>(
    state: &ServerState,
    table: &'t CommandTable,
) -> impl Iterator<Item = (&'t str, CommandTotals)> {
    table.all().iter().filter_map(|command| {
        let mut totals = CommandTotals::default();
        state.workers.iter().for_each(|worker| worker.commands.collect(command.id, &mut totals));
        let was_called = totals.calls + totals.rejected + totals.failed > 0;
        was_called.then_some((command.full_name.as_str(), totals))
    })
}

fn commandstats(state: &ServerState, table: &CommandTable, out: &mut String) {
    for (name, totals) in called(state, table) {
        let micros = totals.nanos / 1000;
        let per_call =
            if totals.calls == 0 { 0.0 } else { totals.nanos as f64 / 1000.0 / totals.calls as f64 };
        let CommandTotals { calls, rejected, failed, .. } = totals;
        line(
            out,
            &format!("cmdstat_{name}"),
            format!(
                "calls={calls},usec={micros},usec_per_call={per_call:.2},rejected_calls={rejected},failed_calls={failed}"
            ),
        );
    }
}

fn errorstats(state: &ServerState, _: &CommandTable, out: &mut String) {
    let mut errors = BTreeMap::new();
    state.workers.iter().for_each(|worker| worker.collect_errors(&mut errors));
    for (code, count) in errors {
        line(out, &format!("errorstat_{code}"), format!("count={count}"));
    }
}

fn latencystats(state: &ServerState, table: &CommandTable, out: &mut String) {
    for (name, totals) in called(state, table) {
        if totals.latency.iter().sum::<u64>() == 0 {
            continue;
        }
        let micros = |share| Histogram::quantile_ns(&totals.latency, share) as f64 / 1000.0;
        line(
            out,
            &format!("latency_percentiles_usec_{name}"),
            format!("p50={:.3},p99={:.3},p99.9={:.3}", micros(0.5), micros(0.99), micros(0.999)),
        );
    }
}

fn cluster(_: &ServerState, _: &CommandTable, out: &mut String) {
    line(out, "cluster_enabled", 0);
}

/// Keys in both tiers, all databases.
#[must_use]
pub fn all_keys(state: &ServerState) -> u64 {
    (0..DATABASE_COUNT as u8).map(|index| state.engine.key_counts(DbIndex(index)).0).sum()
}

/// The numbers of the tiers, in TIER STATS and INFO.
#[must_use]
pub fn tier_numbers(state: &ServerState) -> Vec<(&'static str, u64)> {
    let store = state.engine.store();
    let (hot_bytes, dirty_bytes) = store.hot_bytes();
    let (hot_keys, keys) = (store.hot_keys(), all_keys(state));
    let (hits, misses) = store.hits_and_misses();
    let cold = store.cold.stats();
    let counters = &store.stats;
    let lag = state.engine.wal().last_lsn().0.saturating_sub(state.engine.keeper().redo().0.0);
    vec![
        ("hot_keys", hot_keys),
        ("cold_keys", keys.saturating_sub(hot_keys)),
        ("hot_bytes", hot_bytes as u64),
        ("hot_limit_bytes", store.hot_limit.load(Relaxed) as u64),
        ("dirty_bytes", dirty_bytes as u64),
        ("cold_disk_bytes", cold.disk_bytes),
        ("cold_memtable_bytes", cold.memtable_bytes),
        ("cold_cache_bytes", cold.block_cache_bytes),
        ("hits", hits),
        ("misses", misses),
        ("promoted", counters.promoted.load(Relaxed)),
        ("evicted", counters.evicted.load(Relaxed)),
        ("dropped", counters.dropped.load(Relaxed)),
        ("written_back", counters.written_back.load(Relaxed)),
        ("fetches", counters.fetches.load(Relaxed)),
        ("fetches_answered_from_cache", counters.cached_answers.load(Relaxed)),
        ("restarts", counters.restarts.load(Relaxed)),
        ("rounds", counters.rounds.load(Relaxed)),
        ("write_back_lag_commits", lag),
        ("budget_bytes", state.engine.keeper().maxmemory.load(Relaxed)),
        ("budget_used_bytes", storage::anonymous_bytes()),
        ("budget_cold_cache_bytes", cold.block_cache_capacity_bytes),
        ("snapshots_open", store.snapshots.count() as u64),
        ("snapshots_bytes", store.snapshots.bytes() as u64),
        ("snapshots_given_up", store.snapshots.failed.load(Relaxed)),
    ]
}

fn tier(state: &ServerState, _: &CommandTable, out: &mut String) {
    for (name, value) in tier_numbers(state) {
        line(out, &format!("tier_{name}"), value);
    }
}

/// The numbers of the log, in WAL STATUS and INFO.
#[must_use]
pub fn wal_numbers(state: &ServerState) -> Vec<(&'static str, u64)> {
    let status = state.engine.wal().status();
    let (redo_lsn, tail_bytes) = state.engine.keeper().redo();
    vec![
        ("timeline", u64::from(status.timeline)),
        ("first_lsn", status.first_lsn.0),
        ("durable_lsn", status.durable_lsn.0),
        ("last_lsn", status.last_lsn.0),
        ("redo_lsn", redo_lsn.0),
        ("oldest_pin_lsn", redo_lsn.0),
        ("redo_tail_bytes", tail_bytes),
        ("segments", status.segments),
        ("bytes", status.bytes_on_disk),
        ("appended_bytes", status.appended_bytes_total),
        ("fsyncs", status.fsyncs),
        ("fsync_us_last", status.fsync_us_last),
        ("fsync_us_max", status.fsync_us_max),
        ("group_last", status.group_last),
        ("group_max", status.group_max),
        ("disk_full", u64::from(status.disk_full || state.engine.disk().is_full())),
    ]
}

fn wal(state: &ServerState, _: &CommandTable, out: &mut String) {
    line(out, "wal_history_id", history_id(state));
    for (name, value) in wal_numbers(state) {
        line(out, &format!("wal_{name}"), value);
    }
}

/// Names the store and the timeline: positions of other histories mean nothing here.
#[must_use]
pub fn history_id(state: &ServerState) -> String {
    let identity = &state.engine.open_report().identity;
    format!("{:016x}-{}", identity.store_id, state.engine.wal().timeline())
}

fn cold_store(state: &ServerState, _: &CommandTable, out: &mut String) {
    let started = Instant::now();
    let stats = state.engine.store().cold.stats();
    line(out, "memtable_bytes", stats.memtable_bytes);
    line(out, "block_cache_bytes", stats.block_cache_bytes);
    line(out, "block_cache_capacity_bytes", stats.block_cache_capacity_bytes);
    line(out, "table_reader_bytes", stats.table_reader_bytes);
    line(out, "disk_bytes", stats.disk_bytes);
    line(out, "live_data_bytes", stats.live_data_bytes);
    line(out, "pending_compaction_bytes", stats.pending_compaction_bytes);
    line(out, "running_compactions", stats.running_compactions);
    line(out, "running_flushes", stats.running_flushes);
    line(out, "level0_files", stats.level0_files);
    line(out, "write_stopped", u8::from(stats.is_write_stopped));
    for family in &stats.families {
        let levels: Vec<String> = family.files_per_level.iter().map(u64::to_string).collect();
        line(
            out,
            &format!("family_{}", family.name),
            format!(
                "rows={},sst_bytes={},files={}",
                family.rows_estimate,
                family.sst_bytes,
                levels.join("/")
            ),
        );
    }
    line(out, "stats_us", started.elapsed().as_micros());
}

fn keyspace(state: &ServerState, _: &CommandTable, out: &mut String) {
    for index in 0..DATABASE_COUNT as u8 {
        let (keys, expires) = state.engine.key_counts(DbIndex(index));
        if keys > 0 {
            line(out, &format!("db{index}"), format!("keys={keys},expires={expires},avg_ttl=0"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_readable() {
        assert_eq!(human(0), "0B");
        assert_eq!(human(1023), "1023B");
        assert_eq!(human(1_682_880), "1.60M");
        assert_eq!(human(25_276_510_208), "23.54G");
    }
}
