//! The server as a process: clean stops, starts that must be refused without touching anything, where settings come
//! from, and who may connect. What Redis can do as well is tried on Redis first.

use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::client::{Client, Reply};
use crate::server::{Program, Server, free_port};

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
    let port = free_port().to_string();
    let output = run(&["--port", &port, "--dir", folder.to_str().expect("a plain path")]);
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
    let output = run(&["--port", &port, "--dir", folder.path().to_str().expect("a plain path")]);
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
