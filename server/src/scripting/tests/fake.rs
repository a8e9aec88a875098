//! A caller whose commands return fixed replies, and ways to run a script against it.

use std::sync::Arc;

use super::super::*;
use crate::connection::output::Output;
use crate::dispatch::reply::ReplySink;

/// Runs the commands of tests.
#[derive(Default)]
pub struct FakeCaller {
    pub calls: Vec<Vec<Vec<u8>>>,
    pub slow: usize,
    /// Runs when the script is first slow.
    pub on_slow: Option<Box<dyn FnMut()>>,
}

impl Caller for FakeCaller {
    fn call(&mut self, args: &[&[u8]], gate: &WriteGate<'_>, reply: &mut dyn ReplySink) -> Called {
        self.calls.push(args.iter().map(|arg| arg.to_vec()).collect());
        match args[0].to_ascii_lowercase().as_slice() {
            b"echo" => reply.bulk(args.get(1).copied().unwrap_or_default()),
            b"ping" => reply.simple("PONG"),
            b"int" => reply.integer(42),
            b"null" => reply.null(),
            b"nullarray" => reply.null_array(),
            b"array" => {
                reply.array(3);
                reply.integer(1);
                reply.bulk(b"two");
                reply.null();
            }
            b"map" => {
                reply.map(1);
                reply.bulk(b"key");
                reply.bulk(b"value");
            }
            b"set" => {
                reply.set(2);
                reply.bulk(b"a");
                reply.bulk(b"b");
            }
            b"double" => reply.double(3.25),
            b"true" => reply.boolean(true),
            b"false" => reply.boolean(false),
            b"big" => reply.big_number("1234567999999999999999999999999999999"),
            b"verbatim" => reply.verbatim("txt", b"hello"),
            b"attribute" => {
                reply.attribute(1);
                reply.bulk(b"ttl");
                reply.integer(1);
                reply.integer(7);
            }
            b"wrong" => reply.error("WRONGTYPE Operation against a key holding the wrong kind of value"),
            b"write" if gate.open() => reply.ok(),
            b"half" => {
                let mark = reply.mark();
                reply.array(2);
                reply.bulk(b"taken back");
                reply.rewind(mark);
                reply.bulk(b"whole");
            }
            b"cold" => return Called::Interrupted,
            _ => reply.error("ERR Unknown command called from script"),
        }
        Called::Replied
    }

    fn may_run(&mut self, args: &[&[u8]]) -> Option<bool> {
        match args[0] {
            b"get" => Some(true),
            b"set" => Some(false),
            _ => None,
        }
    }

    fn command(&self) -> Vec<Vec<u8>> {
        vec![b"EVAL".to_vec(), b"...".to_vec()]
    }

    fn slow(&mut self, is_new: bool) {
        self.slow += 1;
        if is_new && let Some(body) = &mut self.on_slow {
            body();
        }
    }
}

pub const LIMITS: Limits =
    Limits { memory_max: 64 << 20, busy_after: Some(Duration::from_millis(5)), here_max: None };

/// An interpreter and what it reports to.
pub struct Fixture {
    pub runs: Arc<Runs>,
    pub interpreter: Interpreter,
    pub caller: FakeCaller,
    pub is_resp3: bool,
}

impl Fixture {
    pub fn new() -> Self {
        let runs = Arc::new(Runs::default());
        let interpreter = Interpreter::new(&runs, LIMITS).unwrap();
        Fixture { runs, interpreter, caller: FakeCaller::default(), is_resp3: false }
    }

    pub fn run(&mut self, code: &str, keys: &[&[u8]], args: &[&[u8]]) -> Result<String, ScriptError> {
        let script = Script::parse(code.as_bytes())?;
        let mut output = Output::default();
        output.set_resp3(self.is_resp3);
        self.interpreter.eval(&script, Invocation { keys, args }, &mut self.caller, &mut output)?;
        Ok(String::from_utf8_lossy(output.bytes()).into_owned())
    }

    /// The reply of a script, in the client's protocol; an error with its `-`.
    pub fn eval(&mut self, code: &str) -> String {
        match self.run(code, &[], &[]) {
            Ok(reply) => reply.trim_end().replace("\r\n", " "),
            Err(error) => format!("-{}", error.text()),
        }
    }
}

/// The reply of one script in an interpreter of its own.
pub fn eval(code: &str) -> String {
    Fixture::new().eval(code)
}
