//! The server as a process: clean stops, and starts that must be refused without touching anything.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::client::Reply;
use crate::server::{Program, Server};

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
    let output = run(&["--port", "0", "--dir", folder.to_str().expect("a plain path")]);
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
