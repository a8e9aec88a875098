//! Strings larger than one record may be, in little memory: every command that stores one works, and a
//! crash changes nothing.

use std::time::Duration;

use crate::client::{Client, Reply};
use crate::server::{Program, Server};

const FLAGS: &[&str] = &["--maxmemory", "64mb", "--appendfsync", "everysec"];
const LEN: usize = 20 << 20;

/// Bytes that differ from place to place.
fn large(salt: u64) -> Vec<u8> {
    let mut state = salt | 1;
    let mut bytes = Vec::with_capacity(LEN);
    while bytes.len() < LEN {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        bytes.extend_from_slice(&(state ^ state >> 29).to_le_bytes());
    }
    bytes
}

fn call(client: &mut Client, args: &[&[u8]]) -> Reply {
    let reply = client.call(args).expect("a reply");
    let command = String::from_utf8_lossy(args[0]).into_owned();
    let text = format!("{reply:?}");
    assert!(!reply.is_error(), "{command}: {}", &text[..text.len().min(200)]);
    reply
}

fn holds(client: &mut Client, key: &[u8], expected: &[u8]) {
    let reply = call(client, &[b"GET", key]);
    assert!(reply.bytes() == Some(expected), "the value of {}", key.escape_ascii());
}

/// `RssAnon` of a process in KiB.
fn anonymous_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}

#[test]
#[cfg_attr(not(feature = "rocks"), ignore = "the in-memory cold tier dies with its process")]
fn large_strings_work_in_little_memory_and_survive_kill_9() {
    let mut server = Server::start(Program::Lux, FLAGS);
    let mut client = server.connect().expect("a connection");
    let pid = call(&mut client, &[b"INFO", b"server"]);
    let text = String::from_utf8_lossy(pid.bytes().unwrap_or_default()).into_owned();
    let pid = text
        .lines()
        .find_map(|line| line.strip_prefix("process_id:"))
        .and_then(|pid| pid.trim().parse().ok());
    let pid: u32 = pid.expect("INFO names the process");
    let (peak, done) = (std::sync::atomic::AtomicU64::new(0), std::sync::atomic::AtomicBool::new(false));
    std::thread::scope(|scope| {
        use std::sync::atomic::Ordering::SeqCst;
        scope.spawn(|| {
            while !done.load(SeqCst) {
                peak.fetch_max(anonymous_kib(pid), SeqCst);
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        struct Ends<'a>(&'a std::sync::atomic::AtomicBool);
        impl Drop for Ends<'_> {
            fn drop(&mut self) {
                self.0.store(true, std::sync::atomic::Ordering::SeqCst);
            }
        }
        let _ends = Ends(&done);
        store(&mut client);
    });
    eprintln!("peak RssAnon {} MiB", peak.into_inner() >> 10);
    check(&mut client);
    server.kill9();
    server.restart();
    let mut client = server.connect().expect("a connection");
    check(&mut client);
    // What is left in memory gives way again.
    assert!(call(&mut client, &[b"SET", b"small", b"1"]).is_ok());
}

fn store(client: &mut Client) {
    let value = large(1);
    assert!(call(client, &[b"SET", b"a", &value, b"EX", b"1000"]).is_ok());
    assert!(call(client, &[b"RENAME", b"a", b"renamed"]).is_ok());
    assert_eq!(call(client, &[b"COPY", b"renamed", b"copied"]).integer(), Some(1));
    assert_eq!(call(client, &[b"APPEND", b"renamed", b"tail"]).integer(), Some(LEN as i64 + 4));
    assert_eq!(call(client, &[b"MOVE", b"renamed", b"1"]).integer(), Some(1));
    let payload = call(client, &[b"DUMP", b"copied"]).bytes().expect("a payload").to_vec();
    assert!(call(client, &[b"RESTORE", b"restored", b"0", &payload]).is_ok());
    assert_eq!(call(client, &[b"BITOP", b"NOT", b"not", b"restored"]).integer(), Some(LEN as i64));
    // More in one APPEND and SETRANGE than a record holds.
    assert!(call(client, &[b"SET", b"grown", b"head"]).is_ok());
    assert_eq!(call(client, &[b"APPEND", b"grown", &value]).integer(), Some(LEN as i64 + 4));
    assert_eq!(call(client, &[b"SETRANGE", b"patched", b"3", &value]).integer(), Some(LEN as i64 + 3));
    let old = call(client, &[b"GETSET", b"not", &large(2)]);
    assert!(old.bytes().is_some_and(|old| old.iter().zip(&value).all(|(a, b)| *a == !*b)));
    assert!(
        call(client, &[b"MSET", b"m1", &value[..3 << 20], b"m2", &value, b"m3", &value[1..4 << 20]]).is_ok()
    );
}

fn check(client: &mut Client) {
    let value = large(1);
    holds(client, b"copied", &value);
    holds(client, b"restored", &value);
    holds(client, b"not", &large(2));
    holds(client, b"grown", &[b"head", &value[..]].concat());
    holds(client, b"patched", &[b"\0\0\0", &value[..]].concat());
    holds(client, b"m1", &value[..3 << 20]);
    holds(client, b"m2", &value);
    holds(client, b"m3", &value[1..4 << 20]);
    let part = call(client, &[b"GETRANGE", b"copied", b"5000000", b"5000099"]);
    assert_eq!(part.bytes(), Some(&value[5_000_000..5_000_100]));
    assert!(call(client, &[b"TTL", b"copied"]).integer().is_some_and(|seconds| seconds > 900));
    assert_eq!(call(client, &[b"EXISTS", b"a", b"renamed"]).integer(), Some(0));
    call(client, &[b"SELECT", b"1"]);
    holds(client, b"renamed", &[&value[..], b"tail"].concat());
    call(client, &[b"SELECT", b"0"]);
    assert_eq!(call(client, &[b"DBSIZE"]).integer(), Some(8));
}
