//! A blocking client for the commands around a measurement: PING, INFO, CHECKPOINT, sums.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::wire::{self, Reply};
use crate::{Failure, Result};

/// A reply that owns its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Status(String),
    Error(String),
    Integer(i64),
    Bulk(Vec<u8>),
    Nil,
    Array(Vec<Value>),
}

/// One connection, one command at a time.
pub struct Client {
    stream: TcpStream,
    input: Vec<u8>,
}

impl Client {
    /// Connects to a server on loopback; a reply may take `patience`.
    pub fn connect(port: u16, patience: Duration) -> Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(patience))?;
        Ok(Self { stream, input: Vec::new() })
    }

    /// Sends one command and waits for its reply; an error reply is a value here.
    pub fn call(&mut self, args: &[&[u8]]) -> Result<Value> {
        let mut out = Vec::new();
        wire::append_command(&mut out, args);
        self.stream.write_all(&out)?;
        self.read_value()
    }

    /// Sends one command given as words; an error reply is a failure.
    pub fn run(&mut self, command: &str) -> Result<Value> {
        let args: Vec<&[u8]> = command.split(' ').map(str::as_bytes).collect();
        match self.call(&args)? {
            Value::Error(text) => Err(Failure::new(format!("{command}: {text}"))),
            value => Ok(value),
        }
    }

    /// All fields of INFO; empty when the server does not know the command.
    pub fn info(&mut self) -> Result<HashMap<String, String>> {
        let Value::Bulk(text) = self.run("INFO everything")? else { return Ok(HashMap::new()) };
        let text = String::from_utf8_lossy(&text).into_owned();
        Ok(text
            .lines()
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
            .collect())
    }

    fn read_value(&mut self) -> Result<Value> {
        loop {
            let parsed = match wire::parse(&self.input)? {
                None => None,
                Some((reply, taken)) => {
                    let (value, elements) = match reply {
                        Reply::Status(text) => (Value::Status(to_text(text)), 0),
                        Reply::Error(text) => (Value::Error(to_text(text)), 0),
                        Reply::Integer(number) => (Value::Integer(number), 0),
                        Reply::Bulk(bytes) => (Value::Bulk(bytes.to_vec()), 0),
                        Reply::Nil => (Value::Nil, 0),
                        Reply::Array(count) | Reply::Whole { count, .. } => (Value::Array(Vec::new()), count),
                    };
                    Some((value, elements, taken))
                }
            };
            let Some((value, elements, taken)) = parsed else {
                self.read_more()?;
                continue;
            };
            self.input.drain(..taken);
            return match value {
                Value::Array(_) => {
                    (0..elements).map(|_| self.read_value()).collect::<Result<_>>().map(Value::Array)
                }
                value => Ok(value),
            };
        }
    }

    fn read_more(&mut self) -> Result<()> {
        let mut chunk = [0_u8; 16_384];
        let count = self.stream.read(&mut chunk)?;
        if count == 0 {
            return Err(Failure::new("the server closed the connection"));
        }
        self.input.extend_from_slice(&chunk[..count]);
        Ok(())
    }
}

fn to_text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
