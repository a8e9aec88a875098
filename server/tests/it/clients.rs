//! Stock client libraries against the server: they send what no hand-written test thinks of (`CLIENT SETINFO`,
//! `HELLO` with options, pipelines of thousands) and parse INFO, CLIENT LIST and COMMAND in their own ways.

use std::env;
use std::path::PathBuf;
use std::process::Command;

use crate::server::{Program, Server};

/// Runs the redis-py script against `program`; skips when Python or the package is missing.
fn redis_py(program: Program) {
    let has_library = Command::new("python3").args(["-c", "import redis"]).output();
    let missing = !has_library.is_ok_and(|output| output.status.success());
    if missing || program.path().is_none() {
        assert!(env::var_os("LUX_REQUIRE_CLIENTS").is_none(), "redis-py or {} is missing", program.name());
        eprintln!("skipped: redis-py (python3 -m pip install redis) or {} is missing", program.name());
        return;
    }
    let server = Server::start(program, &[]);
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/clients/redis_py.py");
    let mut command = Command::new("python3");
    command.arg(script).arg(server.address().port().to_string());
    if program == Program::Lux {
        command.arg("lux");
    }
    let output = command.output().expect("python3 runs");
    assert!(
        output.status.success(),
        "redis-py on {}:\n{}{}",
        program.name(),
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn redis_py_on_lux() {
    redis_py(Program::Lux);
}

#[test]
fn redis_py_on_redis() {
    redis_py(Program::Redis);
}
