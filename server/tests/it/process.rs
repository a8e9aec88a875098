//! The server as a process: clean stops, starts that must be refused without touching anything, where settings come
//! from, and who may connect. What Redis can do as well is tried on Redis first.

use std::collections::BTreeMap;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::client::{Client, Reply};
use crate::server::{Port, Program, Server};

/// Runs the program to its end; for starts that must fail. One that stays up is stopped, and counts as a success.
fn run(args: &[&str]) -> Output {
    let path = Program::Lux.path().expect("cargo built it");
    let mut command = Command::new("timeout");
    command.args(["--preserve-status", "-k", "5", "15"]).arg(path).args(args);
    command.stdin(Stdio::null()).output().expect("the program can be started")
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn fill(server: &Server) {
    let mut client = server.connect().expect("a connection");
    for number in 0..500 {
        let reply = client.call(&["SET", &format!("key:{number}"), &format!("value {number}")]);
        assert!(reply.expect("a reply").is_ok());
    }
    assert_eq!(client.call(&["PEXPIREAT", "key:0", "4000000000123"]).expect("a reply"), Reply::Int(1));
}

fn check(server: &Server) {
    let mut client = server.connect().expect("a connection");
    assert_eq!(client.call(&["DBSIZE"]).expect("a reply"), Reply::Int(500));
    for number in 0..500 {
        let reply = client.call(&["GET", &format!("key:{number}")]).expect("a reply");
        assert_eq!(reply, Reply::Bulk(format!("value {number}").into_bytes()));
    }
    assert_eq!(client.call(&["PEXPIRETIME", "key:0"]).expect("a reply"), Reply::Int(4_000_000_000_123));
}

#[test]
#[cfg_attr(not(feature = "rocks"), ignore = "the in-memory cold tier dies with its process")]
fn sigterm_stops_cleanly_and_keeps_everything() {
    let mut server = Server::start(Program::Lux, &[]);
    for _ in 0..2 {
        fill(&server);
        let status = server.terminate().expect("it ran");
        assert!(status.success(), "SIGTERM: {status}\n{}", server.log_tail());
        server.restart();
        check(&server);
    }
}

#[test]
#[cfg_attr(not(feature = "rocks"), ignore = "the in-memory cold tier dies with its process")]
fn shutdown_stops_cleanly_and_keeps_everything() {
    for arguments in [vec!["SHUTDOWN"], vec!["SHUTDOWN", "SAVE"], vec!["SHUTDOWN", "NOSAVE"]] {
        let mut server = Server::start(Program::Lux, &[]);
        fill(&server);
        let answer = server.connect().expect("a connection").call(&arguments);
        assert!(answer.is_err(), "{arguments:?} answers {answer:?}");
        let status = server.await_exit().expect("it ran");
        assert!(status.success(), "{arguments:?}: {status}\n{}", server.log_tail());
        server.restart();
        check(&server);
    }
}

#[test]
fn a_folder_in_use_is_refused() {
    let server = Server::start(Program::Lux, &[]);
    fill(&server);
    let folder = server.data_folder();
    let port = Port::reserve();
    let output = run(&["--port", &port.to_string(), "--dir", folder.to_str().expect("a plain path")]);
    assert!(!output.status.success(), "a second server opened the same folder:\n{}", said(&output));
    assert!(
        said(&output).contains(&*folder.to_string_lossy()),
        "the message names the folder:\n{}",
        said(&output)
    );
    check(&server);
}

#[test]
fn a_taken_port_is_refused() {
    let server = Server::start(Program::Lux, &[]);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let port = server.address().port().to_string();
    let output = run(&["--port", &port.to_string(), "--dir", folder.path().to_str().expect("a plain path")]);
    assert!(!output.status.success(), "two servers on one port:\n{}", said(&output));
    assert!(said(&output).contains(&port), "the message names the port:\n{}", said(&output));
}

#[test]
fn bad_options_are_refused_by_name() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let folder = folder.path().join("data");
    let folder = folder.to_str().expect("a plain path");
    for (args, word) in [
        (vec!["--no-such-option", "1"], "no-such-option"),
        (vec!["--maxmemory", "much"], "maxmemory"),
        (vec!["--appendfsync", "sometimes"], "appendfsync"),
        (vec!["--port", "70000"], "port"),
        (vec!["/no/such/file.conf"], "/no/such/file.conf"),
    ] {
        let mut args = args;
        args.extend(["--dir", folder]);
        let output = run(&args);
        assert!(!output.status.success(), "{args:?} was taken:\n{}", said(&output));
        assert!(said(&output).contains(word), "{args:?}: the message names {word:?}:\n{}", said(&output));
        assert!(!Path::new(folder).exists(), "{args:?} made a folder");
    }
}

/// Redis, if this machine has it, and Lux.
fn both() -> impl Iterator<Item = Program> {
    [Program::Redis, Program::Lux].into_iter().filter(|program| program.path().is_some())
}

fn setting(client: &mut Client, name: &str) -> String {
    let reply = client.call(&["CONFIG", "GET", name]).expect("CONFIG GET answers");
    let value = reply.elements().and_then(|pair| pair.get(1)?.bytes()).unwrap_or_default();
    String::from_utf8_lossy(value).into_owned()
}

#[test]
fn a_configuration_file_is_read_and_rewritten() {
    for program in both() {
        let text = "# a remark\nmaxmemory 200mb\ntimeout 33\n\nappendfsync \"no\"\nport 1\n";
        let mut server = Server::start_configured(program, text, &[]);
        let mut client = server.connect().expect("a connection");
        assert_eq!(setting(&mut client, "maxmemory"), "209715200");
        assert_eq!(setting(&mut client, "timeout"), "33");
        assert_eq!(setting(&mut client, "appendfsync"), "no");
        let port = server.address().port().to_string();
        assert_eq!(setting(&mut client, "port"), port, "a flag wins over the file");
        let set = client.call(&["CONFIG", "SET", "timeout", "44", "maxmemory", "300mb"]);
        assert!(set.expect("a reply").is_ok());
        assert!(client.call(&["CONFIG", "REWRITE"]).expect("a reply").is_ok());
        let file = fs::read_to_string(server.configuration().expect("it has one")).expect("it can be read");
        assert!(file.contains("# a remark\n") && file.contains("timeout 44\n"), "{file}");
        server.restart();
        let mut client = server.connect().expect("a connection");
        assert_eq!(setting(&mut client, "timeout"), "44");
        assert_eq!(setting(&mut client, "maxmemory"), "314572800");
        assert_eq!(setting(&mut client, "appendfsync"), "no");
    }
}

#[test]
fn the_environment_sets_options_too() {
    let environment = [("LUX_TIMEOUT", "55"), ("LUX_MAXMEMORY", "128mb"), ("LUX_PORT", "1")];
    let server = Server::start_configured(Program::Lux, "", &environment);
    let mut client = server.connect().expect("a connection: a flag wins over the environment");
    assert_eq!(setting(&mut client, "timeout"), "55");
    assert_eq!(setting(&mut client, "maxmemory"), "134217728");
}

#[test]
fn a_unix_socket_serves() {
    for program in both() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("socket");
        let path = path.to_str().expect("a plain path");
        let _server = Server::start(program, &["--unixsocket", path, "--unixsocketperm", "700"]);
        let mut stream = UnixStream::connect(path).expect("the socket is there");
        stream.write_all(b"SET k v\r\nGET k\r\n").expect("it takes requests");
        let mut reply = [0; 12];
        stream.read_exact(&mut reply).expect("it answers");
        assert_eq!(&reply, b"+OK\r\n$1\r\nv\r\n");
    }
}

/// An address of this machine that is not loopback. No packet is sent.
fn outside_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    Some(socket.local_addr().ok()?.ip()).filter(|address| !address.is_loopback() && !address.is_unspecified())
}

#[test]
fn without_a_password_only_loopback_is_served() {
    let Some(outside) = outside_address() else {
        eprintln!("skipped: this machine has no address besides loopback");
        return;
    };
    for program in both() {
        let ask = |flags: &[&str]| {
            let server = Server::start(program, flags);
            let address = SocketAddr::new(outside, server.address().port());
            let mut client = Client::connect(address).expect("the port is open");
            client.call(&["PING"]).expect("an answer")
        };
        match ask(&["--bind", "0.0.0.0"]) {
            Reply::Error(text) => assert!(text.starts_with(b"DENIED"), "{}", String::from_utf8_lossy(&text)),
            other => panic!("{} answers {other:?} to a stranger", program.name()),
        }
        assert_eq!(ask(&["--bind", "0.0.0.0", "--protected-mode", "no"]), Reply::Simple(b"PONG".to_vec()));
        match ask(&["--bind", "0.0.0.0", "--requirepass", "secret"]) {
            Reply::Error(text) => assert!(text.starts_with(b"NOAUTH"), "{}", String::from_utf8_lossy(&text)),
            other => panic!("{} answers {other:?} without a password", program.name()),
        }
    }
}

/// Every file below a folder with its bytes.
fn image(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut image = BTreeMap::new();
    for entry in fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
        if entry.is_dir() {
            image.extend(self::image(&entry));
        } else {
            image.insert(entry.clone(), fs::read(&entry).expect("a file"));
        }
    }
    image
}

/// A folder that a server filled and left.
#[cfg(feature = "rocks")]
fn left_folder() -> (Server, PathBuf) {
    let mut server = Server::start(Program::Lux, &[]);
    fill(&server);
    assert!(server.terminate().expect("it ran").success());
    let folder = server.data_folder();
    (server, folder)
}

#[test]
#[cfg(feature = "rocks")]
fn a_folder_of_a_newer_format_is_refused_and_left_alone() {
    let (mut server, folder) = left_folder();
    let store = folder.join("STORE");
    let text = fs::read_to_string(&store).expect("text");
    fs::write(&store, text.replace("format 3\n", "format 4\n")).expect("it can be written");
    let before = image(&folder);
    let output =
        run(&["--port", &Port::reserve().to_string(), "--dir", folder.to_str().expect("a plain path")]);
    assert!(!output.status.success(), "{}", said(&output));
    let said = said(&output);
    assert!(said.contains(&*store.to_string_lossy()) && said.contains("format 4"), "{said}");
    assert!(image(&folder) == before, "the refused start changed the folder");
    fs::write(&store, text).expect("it can be written");
    server.restart();
    check(&server);
}

/// Without its identity a store cannot be read again; a start must not make a new one beside the data.
#[test]
#[cfg(feature = "rocks")]
fn a_folder_without_its_identity_is_refused_and_left_alone() {
    let (mut server, folder) = left_folder();
    let store = folder.join("STORE");
    let aside = folder.join("aside");
    fs::rename(&store, &aside).expect("renamed");
    let before = image(&folder);
    let output =
        run(&["--port", &Port::reserve().to_string(), "--dir", folder.to_str().expect("a plain path")]);
    assert!(!output.status.success() && said(&output).contains("STORE"), "{}", said(&output));
    assert!(image(&folder) == before, "the refused start changed the folder");
    fs::rename(&aside, &store).expect("renamed");
    server.restart();
    check(&server);
}

/// Runs the program as somebody who may not write the folder: as nobody if this is root.
fn run_without_rights(args: &[&str]) -> Option<Output> {
    let path = Program::Lux.path().expect("cargo built it");
    let mut command = Command::new("timeout");
    command.args(["--preserve-status", "-k", "5", "15"]);
    if fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0) {
        command.args(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]);
    }
    let output = command.arg(path).args(args).stdin(Stdio::null()).output().ok()?;
    // Exit code 126 or 127: setpriv is missing, or nobody may not run the program where it is.
    Some(output).filter(|output| !matches!(output.status.code(), Some(126 | 127)))
}

#[test]
#[cfg(feature = "rocks")]
fn a_read_only_folder_is_refused_by_name() {
    let (mut server, folder) = left_folder();
    let writable = fs::metadata(&folder).expect("a folder").permissions();
    let parent = folder.parent().expect("it has one");
    fs::set_permissions(parent, fs::Permissions::from_mode(0o755)).expect("it is ours");
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o555)).expect("it is ours");
    let before = image(&folder);
    let port = Port::reserve();
    let output =
        run_without_rights(&["--port", &port.to_string(), "--dir", folder.to_str().expect("a plain path")]);
    fs::set_permissions(&folder, writable).expect("it is ours");
    let Some(output) = output else {
        eprintln!("skipped: the program cannot be run as nobody");
        return;
    };
    assert!(!output.status.success(), "{}", said(&output));
    let expected = format!("data folder {} is not writable: Permission denied", folder.display());
    assert!(said(&output).contains(&expected), "{}", said(&output));
    assert!(image(&folder) == before, "the refused start changed the folder");
    server.restart();
    check(&server);
}

#[test]
fn a_file_in_place_of_the_folder_is_refused_by_name() {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    let path = file.path().to_str().expect("a plain path");
    let output = run(&["--port", &Port::reserve().to_string(), "--dir", path]);
    assert!(!output.status.success(), "{}", said(&output));
    assert!(said(&output).contains(&format!("create the data folder {path}")), "{}", said(&output));
}

#[test]
fn a_bad_line_of_the_configuration_is_named() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("lux.conf");
    for (text, line, reason) in [
        (&b"port 1\n\nmaxmemory \"64mb\n"[..], "at line 3", "Unbalanced quotes"),
        (b"port 1\nno-such-name 1\n", "at line 2", "Bad directive"),
        (b"port 1\nmaxmemory many\n", "at line 2", "argument must be a memory value"),
        (b"port 1\ntimeout 1\ndir \xff\xfe\n", "at line 3", "not valid UTF-8"),
        (b"notify-keyspace-events Ex\n", "at line 1", "only an empty value is accepted"),
    ] {
        fs::write(&path, text).expect("it can be written");
        let output = run(&[path.to_str().expect("a plain path")]);
        assert!(!output.status.success(), "{}", said(&output));
        let said = said(&output);
        assert!(said.contains(&*path.to_string_lossy()) && said.contains(line), "{said}");
        assert!(said.contains(reason), "{said}");
    }
}

/// `DEBUG CRASH-AT` ends the process at its points, and nothing acknowledged is lost at any of them.
#[test]
#[cfg(feature = "rocks")]
fn a_crash_at_any_point_loses_nothing() {
    let large = "x".repeat(5 << 20);
    for point in [
        "append",
        "before-write-back",
        "after-write-back",
        "before-marker",
        "before-flush",
        "before-cut",
        "after-cut",
        "part",
        "before-publish",
    ] {
        let mut server = Server::start(Program::Lux, &["--maxmemory", "64mb"]);
        fill(&server);
        let mut client = server.connect().expect("a connection");
        assert!(client.call(&["CHECKPOINT"]).expect("a reply").elements().is_some());
        assert!(client.call(&["SET", "key:1", "value 1"]).expect("a reply").is_ok());
        assert!(client.call(&["DEBUG", "CRASH-AT", point]).expect("a reply").is_ok());
        let last: &[&str] = match point {
            "append" => &["SET", "key:2", "value 2"],
            // More than one record takes: it is built from parts, and the key keeps its value until then.
            "part" | "before-publish" => &["SET", "key:2", &large],
            _ => &["CHECKPOINT"],
        };
        assert!(client.call(last).is_err(), "{point}: {last:?} was answered");
        let status = server.await_exit().expect("it ran");
        assert!(!status.success(), "{point}");
        server.restart();
        check(&server);
        let recount = server.connect().expect("a connection").call(&["DEBUG", "RECOUNT"]).expect("a reply");
        let numbers = [0, 500, 500, 1, 1].map(Reply::Int).to_vec();
        assert_eq!(recount, Reply::Array(vec![Reply::Array(numbers)]), "{point}");
    }
}

/// A COMPACT that a pause holds ends with the server, and keeps nobody from stopping it.
#[test]
#[cfg(feature = "rocks")]
fn a_paused_compaction_does_not_hold_the_shutdown() {
    let mut server = Server::start(Program::Lux, &[]);
    fill(&server);
    let mut client = server.connect().expect("a connection");
    assert!(client.call(&["CHECKPOINT"]).expect("a reply").elements().is_some());
    assert!(client.call(&["COMPACT", "PAUSE"]).expect("a reply").is_ok());
    let mut held = TcpStream::connect(server.address()).expect("a connection");
    held.write_all(b"COMPACT\r\n").expect("it takes requests");
    held.set_read_timeout(Some(Duration::from_millis(500))).expect("a timeout");
    assert!(held.read(&mut [0; 1]).is_err(), "COMPACT was answered while compactions are paused");
    let status = server.terminate().expect("it ran");
    assert!(status.success(), "{status}\n{}", server.log_tail());
    server.restart();
    check(&server);
}

/// Whether a client of this name is connected.
fn is_connected(observer: &mut Client, name: &str) -> bool {
    let list = observer.call(&["CLIENT", "LIST"]).expect("a reply");
    String::from_utf8_lossy(list.bytes().unwrap_or_default()).contains(&format!("name={name} "))
}

/// A client that does not read goes when its replies stay above the soft limit for too long, at once above
/// the hard one, and otherwise not.
#[test]
fn a_client_that_does_not_read_is_disconnected() {
    /// Far more than the buffers of a socket hold.
    const REPLY_BYTES: usize = 96 << 20;
    for program in both() {
        let server = Server::start(program, &["--maxmemory", "1gb"]);
        let mut observer = server.connect().expect("a connection");
        let last = (REPLY_BYTES - 1).to_string();
        assert_eq!(
            observer.call(&["SETRANGE", "big", &last, "x"]).expect("a reply"),
            Reply::Int(REPLY_BYTES as i64)
        );
        for (limit, is_closed, what) in [
            ("normal 0 16mb 1", true, "the soft limit"),
            ("normal 32mb 0 0", true, "the hard limit"),
            ("normal 0 16mb 0", true, "a soft limit of no seconds"),
            ("normal 0 256mb 1", false, "a soft limit that is not reached"),
        ] {
            let set = observer.call(&["CONFIG", "SET", "client-output-buffer-limit", limit]);
            assert!(set.expect("a reply").is_ok());
            let mut silent = TcpStream::connect(server.address()).expect("a connection");
            silent.write_all(b"CLIENT SETNAME silent\r\n").expect("it takes requests");
            let mut ok = [0; 5];
            silent.read_exact(&mut ok).expect("it answers");
            silent.write_all(b"GET big\r\n").expect("it takes requests");
            let deadline = Instant::now() + Duration::from_secs(if is_closed { 30 } else { 4 });
            while is_connected(&mut observer, "silent") && Instant::now() < deadline {
                thread::sleep(Duration::from_millis(50));
            }
            let was_closed = !is_connected(&mut observer, "silent");
            assert_eq!(was_closed, is_closed, "{}: {what}", program.name());
        }
    }
}

/// Idle clients, who need no password for it, took the descriptors that the log needed: it latched for good. The
/// soft limit is raised, and where the hard limit is low, clients are turned away before the log runs out.
#[test]
#[cfg(feature = "rocks")]
fn clients_cannot_take_the_descriptors_of_the_log() {
    for (soft, hard, served) in [(200, 4096, 400..=400), (300, 300, 20..=250)] {
        let flags = ["--maxmemory", "64mb", "--io-threads", "1"];
        let server = Server::start_limited(Program::Lux, &flags, soft, hard);
        let mut client = server.connect().expect("a connection");
        let maxclients: usize = setting(&mut client, "maxclients").parse().expect("a number");
        let mut idle = Vec::new();
        for _ in 0..400 {
            let mut one = server.connect().expect("the port is open");
            match one.call(&["PING"]) {
                Ok(Reply::Simple(_)) => idle.push(one),
                Ok(Reply::Error(text)) => assert_eq!(text, b"ERR max number of clients reached"),
                // Turned away before the request was there.
                Err(_) => {}
                Ok(other) => panic!("PING answers {other:?}"),
            }
        }
        assert!(served.contains(&idle.len()), "{soft} and {hard}: {} are served", idle.len());
        assert!(idle.len() == 400 || idle.len() + 1 == maxclients, "{} of {maxclients}", idle.len());
        // Enough for new segments, a checkpoint and new files of the cold tier.
        let value = "x".repeat(1 << 20);
        for number in 0..100 {
            let set = client.call(&["SET", &format!("key:{number}"), &value]).expect("a reply");
            assert!(set.is_ok(), "{soft} and {hard}: {set:?}");
        }
        assert!(client.call(&["CHECKPOINT"]).expect("a reply").elements().is_some());
    }
}

#[test]
fn maxclients_is_what_the_system_allows() {
    let server = Server::start_limited(Program::Lux, &["--maxmemory", "64mb"], 200, 1000);
    let mut client = server.connect().expect("a connection");
    let maxclients: u64 = setting(&mut client, "maxclients").parse().expect("a number");
    assert!((300..900).contains(&maxclients), "{maxclients}");
    assert!(server.log_tail().contains("maxclients has been reduced to"), "{}", server.log_tail());
    let refused = client.call(&["CONFIG", "SET", "timeout", "7", "maxclients", "5000"]).expect("a reply");
    let text = format!(
        "ERR CONFIG SET failed (possibly related to argument 'maxclients') - The operating system is not able \
         to handle the specified number of clients, try with {maxclients}"
    );
    assert_eq!(refused, Reply::Error(text.into_bytes()));
    assert_eq!(setting(&mut client, "timeout"), "0", "all or nothing");
    assert!(client.call(&["CONFIG", "SET", "maxclients", "100"]).expect("a reply").is_ok());
    assert!(client.call(&["CONFIG", "SET", "maxclients", &maxclients.to_string()]).expect("a reply").is_ok());
}

/// What changes a key without needing memory went on when the disk was full, until nothing could be opened.
#[test]
#[cfg(feature = "rocks")]
fn a_full_disk_refuses_all_but_deletions() {
    let server = Server::start(Program::Lux, &[]);
    fill(&server);
    let mut client = server.connect().expect("a connection");
    let report = |client: &mut Client, section: &str| {
        let text = client.call(&["INFO", section]).expect("a reply");
        String::from_utf8_lossy(text.bytes().unwrap_or_default()).into_owned()
    };
    let wait_until = |client: &mut Client, line: &str| {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !report(client, "persistence").contains(line) {
            assert!(Instant::now() < deadline, "no {line} in {}", report(client, "persistence"));
            thread::sleep(Duration::from_millis(20));
        }
    };
    assert!(client.call(&["CONFIG", "SET", "maxdisk", "1"]).expect("a reply").is_ok());
    wait_until(&mut client, "disk_full:1\r\n");
    for refused in [
        &["SET", "key:1", "x"][..],
        &["RENAME", "key:1", "new"],
        &["RENAMENX", "key:1", "new"],
        &["MOVE", "key:1", "1"],
        &["EXPIRE", "key:1", "1000"],
        &["GETEX", "key:1", "EX", "1000"],
        &["PERSIST", "key:0"],
    ] {
        match client.call(refused).expect("a reply") {
            Reply::Error(text) => assert!(text.starts_with(b"OOM "), "{}", String::from_utf8_lossy(&text)),
            other => panic!("{refused:?} answers {other:?}"),
        }
    }
    assert_eq!(client.call(&["GET", "key:1"]).expect("a reply"), Reply::Bulk(b"value 1".to_vec()));
    assert_eq!(client.call(&["DEL", "key:2"]).expect("a reply"), Reply::Int(1));
    assert!(client.call(&["CONFIG", "SET", "maxdisk", "0"]).expect("a reply").is_ok());
    wait_until(&mut client, "disk_full:0\r\n");
    assert!(client.call(&["RENAME", "key:1", "new"]).expect("a reply").is_ok());
}

/// Any bytes are a password. They were read as text: some became others that anybody could have typed.
#[test]
fn a_password_may_be_any_bytes() {
    for program in both() {
        let mut server = Server::start_configured(program, "# none yet\n", &[]);
        let mut client = server.connect().expect("a connection");
        let password = b"\xff\xfe \"\x00";
        assert!(client.call(&[&b"CONFIG"[..], b"SET", b"requirepass", password]).expect("a reply").is_ok());
        assert!(client.call(&["CONFIG", "REWRITE"]).expect("a reply").is_ok());
        for _ in 0..2 {
            let mut client = server.connect_without_password().expect("a connection");
            assert!(client.call(&["AUTH", "\u{fffd}\u{fffd} \"\0"]).expect("a reply").is_error());
            assert!(client.call(&[&b"AUTH"[..], password]).expect("a reply").is_ok());
            let get = client.call(&["CONFIG", "GET", "requirepass"]).expect("a reply");
            assert_eq!(get.elements().expect("a pair")[1], Reply::Bulk(password.to_vec()));
            server.restart();
        }
    }
}

/// `timeout` closed those who sent or took one large value slowly.
#[test]
fn who_sends_or_reads_slowly_is_not_idle() {
    for program in both() {
        let server = Server::start(program, &["--timeout", "3"]);
        let mut slow = TcpStream::connect(server.address()).expect("a connection");
        slow.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
        slow.write_all(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$8\r\n").expect("it takes bytes");
        for _ in 0..8 {
            thread::sleep(Duration::from_millis(700));
            slow.write_all(b"x").expect("it takes bytes");
        }
        slow.write_all(b"\r\n").expect("it takes bytes");
        let mut ok = [0; 5];
        slow.read_exact(&mut ok).expect("it was not closed");
        assert_eq!(&ok, b"+OK\r\n", "{}", program.name());

        // More than the sockets hold, so that the server has to wait for its reader.
        let bytes = 32 << 20;
        slow.write_all(format!("SETRANGE big {} x\r\nGET big\r\n", bytes - 1).as_bytes())
            .expect("it takes bytes");
        let mut left = format!(":{bytes}\r\n${bytes}\r\n").len() + bytes + 2;
        let mut chunk = vec![0; 4 << 20];
        while left > 0 {
            thread::sleep(Duration::from_millis(700));
            let wanted = left.min(chunk.len());
            slow.read_exact(&mut chunk[..wanted]).expect("it was not closed");
            left -= wanted;
        }
        // The end of the stream, or a reset; not the minute that a read waits.
        match slow.read(&mut chunk) {
            Ok(0) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            other => panic!("{}: who does nothing goes: {other:?}", program.name()),
        }
    }
}

/// Clients that are paused or do not read held the shutdown for ten seconds, which is when Docker kills.
#[test]
fn a_shutdown_waits_for_nobody_for_long() {
    // Far apart, so that a slow machine is not taken for a server that waits.
    for (now, patience, bound) in [(false, "1", 40), (true, "600", 60)] {
        let options = ["--maxmemory", "1gb", "--shutdown-timeout", patience];
        let mut server = Server::start(Program::Lux, &options);
        let mut client = server.connect().expect("a connection");
        let last = ((64 << 20) - 1).to_string();
        client.call(&["SETRANGE", "big", &last, "x"]).expect("a reply");
        let mut silent = server.connect().expect("a connection");
        silent.send(&["GET", "big"]).expect("it takes requests");
        thread::sleep(Duration::from_millis(200));
        assert!(client.call(&["CLIENT", "PAUSE", "100000"]).expect("a reply").is_ok());
        let mut paused = server.connect().expect("a connection");
        paused.send(&["GET", "big"]).expect("it takes requests");
        thread::sleep(Duration::from_millis(200));
        let began = Instant::now();
        if now {
            client.send(&["SHUTDOWN", "NOW"]).expect("it takes requests");
        } else {
            server.signal("-TERM");
        }
        let status = server.await_exit().expect("it ran");
        assert!(status.success(), "{status}\n{}", server.log_tail());
        assert!(began.elapsed() < Duration::from_secs(bound), "{:?}, NOW: {now}", began.elapsed());
    }
}

/// The end of a terminal killed the server without a checkpoint.
#[test]
fn a_hangup_is_ignored() {
    for program in both() {
        let mut server = Server::start(program, &[]);
        server.signal("-HUP");
        thread::sleep(Duration::from_millis(300));
        let pong = server.connect().expect("it is still there").call(&["PING"]).expect("a reply");
        assert_eq!(pong, Reply::Simple(b"PONG".to_vec()), "{}", program.name());
    }
}

/// What Debian installs as redis.conf, without its comments and its paths.
const STOCK_CONFIGURATION: &str = "bind 127.0.0.1 -::1\nprotected-mode yes\ntcp-backlog 511\ntimeout 0\n\
    tcp-keepalive 300\ndaemonize no\npidfile /no/such/folder/redis-server.pid\nloglevel notice\ndatabases 16\n\
    always-show-logo no\nset-proc-title yes\nproc-title-template \"{title} {listen-addr} {server-mode}\"\n\
    stop-writes-on-bgsave-error yes\nrdbcompression yes\nrdbchecksum yes\ndbfilename dump.rdb\n\
    rdb-del-sync-files no\nreplica-serve-stale-data yes\nreplica-read-only yes\nrepl-diskless-sync yes\n\
    repl-diskless-sync-delay 5\nrepl-diskless-sync-max-replicas 0\nrepl-diskless-load disabled\n\
    repl-disable-tcp-nodelay no\nreplica-priority 100\nacllog-max-len 128\nlazyfree-lazy-eviction no\n\
    lazyfree-lazy-expire no\nlazyfree-lazy-server-del no\nreplica-lazy-flush no\nlazyfree-lazy-user-del no\n\
    lazyfree-lazy-user-flush no\noom-score-adj no\noom-score-adj-values 0 200 800\ndisable-thp yes\n\
    appendonly no\nappendfilename \"appendonly.aof\"\nappenddirname \"appendonlydir\"\nappendfsync everysec\n\
    no-appendfsync-on-rewrite no\nauto-aof-rewrite-percentage 100\nauto-aof-rewrite-min-size 64mb\n\
    aof-load-truncated yes\naof-use-rdb-preamble yes\naof-timestamp-enabled no\nslowlog-log-slower-than 10000\n\
    slowlog-max-len 128\nlatency-monitor-threshold 0\nnotify-keyspace-events \"\"\n\
    hash-max-listpack-entries 512\nhash-max-listpack-value 64\nlist-max-listpack-size -2\nlist-compress-depth 0\n\
    set-max-intset-entries 512\nzset-max-listpack-entries 128\nzset-max-listpack-value 64\n\
    hll-sparse-max-bytes 3000\nstream-node-max-bytes 4096\nstream-node-max-entries 100\nactiverehashing yes\n\
    client-output-buffer-limit normal 0 0 0\nclient-output-buffer-limit replica 256mb 64mb 60\n\
    client-output-buffer-limit pubsub 32mb 8mb 60\nhz 10\ndynamic-hz yes\naof-rewrite-incremental-fsync yes\n\
    rdb-save-incremental-fsync yes\njemalloc-bg-thread yes\nsave 3600 1\nsave 300 100\nsave 60 10000\n";

#[test]
fn the_stock_configuration_starts() {
    for program in both() {
        let server = Server::start_configured(program, STOCK_CONFIGURATION, &[]);
        if program == Program::Lux {
            let log = server.log_tail();
            assert!(log.contains("have no effect here: always-show-logo, set-proc-title, "), "{log}");
            assert!(log.contains(", appendonly no, appendfilename, "), "{log}");
            let mut client = server.connect().expect("a connection");
            assert_eq!(setting(&mut client, "save"), "3600 1 300 100 60 10000");
            assert!(client.call(&["CONFIG", "REWRITE"]).expect("a reply").is_ok());
            let file =
                fs::read_to_string(server.configuration().expect("it has one")).expect("it can be read");
            assert!(file.contains("\ndbfilename dump.rdb\n"), "{file}");
            assert!(file.contains("\nsave 3600 1 300 100 60 10000\n"), "{file}");
        }
    }
}

#[test]
fn what_cannot_be_had_is_refused_at_the_start() {
    for (flags, reason) in [
        (vec!["--replicaof", "10.0.0.1", "6379"], "there is no replication"),
        (vec!["--cluster-enabled", "yes"], "there is no cluster mode"),
        (vec!["--loadmodule", "/x.so"], "there are no modules"),
        (vec!["--tls-port", "6380"], "there is no TLS"),
        (vec!["--maxmemroy", "1gb"], "Bad directive"),
    ] {
        let output = run(&flags);
        assert!(!output.status.success() && said(&output).contains(reason), "{flags:?}:\n{}", said(&output));
    }
}

/// A process that was killed holds its folder until the kernel is done with it; a start right behind failed.
#[test]
#[cfg(feature = "rocks")]
fn a_start_waits_for_a_folder_that_is_about_to_be_free() {
    let (mut server, folder) = left_folder();
    let lock = fs::File::open(folder.join("LOCK")).expect("it is there");
    lock.lock().expect("nobody has it");
    let holder = thread::spawn(move || {
        thread::sleep(Duration::from_millis(600));
        drop(lock);
    });
    server.restart();
    holder.join().expect("it only slept");
    check(&server);
}

/// A client that did not read its reply was shown as one with no output.
#[test]
fn replies_that_are_not_read_show() {
    const REPLY_BYTES: u64 = 64 << 20;
    for program in both() {
        let server = Server::start(program, &["--maxmemory", "1gb"]);
        let mut observer = server.connect().expect("a connection");
        observer.call(&["SETRANGE", "big", &(REPLY_BYTES - 1).to_string(), "x"]).expect("a reply");
        let mut silent = server.connect().expect("a connection");
        assert!(silent.call(&["CLIENT", "SETNAME", "silent"]).expect("a reply").is_ok());
        silent.send(&["GET", "big"]).expect("it takes requests");
        thread::sleep(Duration::from_millis(500));
        let list = observer.call(&["CLIENT", "LIST"]).expect("a reply");
        let list = String::from_utf8_lossy(list.bytes().unwrap_or_default()).into_owned();
        let line = list.lines().find(|line| line.contains("name=silent ")).expect("it is connected");
        let omem = line.split(" omem=").nth(1).and_then(|rest| rest.split(' ').next()?.parse::<u64>().ok());
        assert!(omem.is_some_and(|bytes| bytes > REPLY_BYTES / 2), "{}: {line}", program.name());
    }
}
