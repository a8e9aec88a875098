//! A small RESP2/RESP3 client: blocking, one socket, no retries.
//!
//! It shares no code with the server on purpose: a decoder that agrees with its own encoder proves nothing.
//! Replies keep every distinction the protocol makes (null bulk, null array and RESP3 null are three
//! different things), because clients in the field tell them apart too.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Longer than any command of a test may take; a server that hangs fails the test instead of blocking it.
const REPLY_TIMEOUT: Duration = Duration::from_secs(20);

/// One reply, as it came over the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    Simple(Vec<u8>),
    Error(Vec<u8>),
    Int(i64),
    Bulk(Vec<u8>),
    NilBulk,
    NilArray,
    Null,
    Array(Vec<Reply>),
    Map(Vec<(Reply, Reply)>),
    Set(Vec<Reply>),
    Push(Vec<Reply>),
    /// The text of the number: its exact spelling is part of the protocol.
    Double(Vec<u8>),
    Bool(bool),
    BigNumber(Vec<u8>),
    Verbatim(Vec<u8>, Vec<u8>),
}

impl Reply {
    /// The bytes of a bulk, verbatim or simple string.
    pub fn bytes(&self) -> Option<&[u8]> {
        match self {
            Reply::Bulk(bytes) | Reply::Simple(bytes) | Reply::Verbatim(_, bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The number of an integer reply.
    pub fn integer(&self) -> Option<i64> {
        match self {
            Reply::Int(number) => Some(*number),
            _ => None,
        }
    }

    /// The elements of an array, set or push.
    pub fn elements(&self) -> Option<&[Reply]> {
        match self {
            Reply::Array(items) | Reply::Set(items) | Reply::Push(items) => Some(items),
            _ => None,
        }
    }

    pub fn is_ok(&self) -> bool {
        *self == Reply::Simple(b"OK".to_vec())
    }

    pub fn is_error(&self) -> bool {
        matches!(self, Reply::Error(_))
    }
}

/// A connection to a RESP server.
pub struct Client {
    stream: TcpStream,
    input: Vec<u8>,
    /// Everything before this index of `input` has been consumed.
    position: usize,
}

impl Client {
    pub fn connect(address: SocketAddr) -> io::Result<Client> {
        let stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(REPLY_TIMEOUT))?;
        stream.set_write_timeout(Some(REPLY_TIMEOUT))?;
        Ok(Client { stream, input: Vec::new(), position: 0 })
    }

    /// A second handle of the same connection, to send while the first one reads.
    pub fn try_clone(&self) -> io::Result<Client> {
        Ok(Client { stream: self.stream.try_clone()?, input: Vec::new(), position: 0 })
    }

    /// Sends one command and waits for one reply.
    pub fn call<A: AsRef<[u8]>>(&mut self, args: &[A]) -> io::Result<Reply> {
        self.send(args)?;
        self.read_reply()
    }

    /// Sends one command without reading.
    pub fn send<A: AsRef<[u8]>>(&mut self, args: &[A]) -> io::Result<()> {
        let mut frame = Vec::new();
        encode_command(&mut frame, args);
        self.send_raw(&frame)
    }

    /// Sends bytes as they are.
    pub fn send_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Reads the next reply, decoding it strictly.
    pub fn read_reply(&mut self) -> io::Result<Reply> {
        self.compact();
        self.decode()
    }

    fn decode(&mut self) -> io::Result<Reply> {
        let line = self.read_line()?;
        let (&kind, rest) = line.split_first().ok_or_else(|| malformed("empty header line"))?;
        match kind {
            b'+' => Ok(Reply::Simple(rest.to_vec())),
            b'-' => Ok(Reply::Error(rest.to_vec())),
            b':' => Ok(Reply::Int(parse_int(rest)?)),
            b'$' => match parse_int(rest)? {
                -1 => Ok(Reply::NilBulk),
                length => Ok(Reply::Bulk(self.read_payload(length)?)),
            },
            b'*' => match parse_int(rest)? {
                -1 => Ok(Reply::NilArray),
                count => Ok(Reply::Array(self.read_many(count)?)),
            },
            b'_' if rest.is_empty() => Ok(Reply::Null),
            b'#' if rest == b"t" => Ok(Reply::Bool(true)),
            b'#' if rest == b"f" => Ok(Reply::Bool(false)),
            b',' => Ok(Reply::Double(rest.to_vec())),
            b'(' => Ok(Reply::BigNumber(rest.to_vec())),
            b'~' => Ok(Reply::Set({
                let count = parse_int(rest)?;
                self.read_many(count)?
            })),
            b'>' => Ok(Reply::Push({
                let count = parse_int(rest)?;
                self.read_many(count)?
            })),
            b'%' => {
                let flat = self.read_many(parse_int(rest)? * 2)?;
                let mut pairs = Vec::with_capacity(flat.len() / 2);
                let mut flat = flat.into_iter();
                while let (Some(key), Some(value)) = (flat.next(), flat.next()) {
                    pairs.push((key, value));
                }
                Ok(Reply::Map(pairs))
            }
            b'=' => {
                let length = parse_int(rest)?;
                let payload = self.read_payload(length)?;
                if payload.len() < 4 || payload[3] != b':' {
                    return Err(malformed("verbatim string without a format"));
                }
                Ok(Reply::Verbatim(payload[..3].to_vec(), payload[4..].to_vec()))
            }
            other => Err(malformed(&format!("unknown reply type {:?}", char::from(other)))),
        }
    }

    /// Reads raw bytes until `wanted` of them arrived, the peer closed, or nothing came for `patience`.
    ///
    /// Returns the bytes and whether the peer closed. More than `wanted` may be returned: a caller that
    /// expects silence afterwards sees the surplus.
    pub fn read_raw(&mut self, wanted: usize, patience: Duration) -> io::Result<(Vec<u8>, bool)> {
        let mut bytes = self.input.split_off(self.position);
        self.input.clear();
        self.position = 0;
        let mut closed = false;
        let mut deadline = Instant::now() + patience;
        loop {
            // Once everything expected is here, only surplus or a close is waited for, and briefly.
            let limit = if bytes.len() >= wanted { Duration::from_millis(30) } else { patience };
            let left = deadline.saturating_duration_since(Instant::now()).min(limit);
            if left.is_zero() {
                break;
            }
            self.stream.set_read_timeout(Some(left))?;
            let mut chunk = [0; 16 * 1024];
            match self.stream.read(&mut chunk) {
                Ok(0) => {
                    closed = true;
                    break;
                }
                Ok(count) => {
                    bytes.extend_from_slice(&chunk[..count]);
                    deadline = Instant::now() + limit;
                }
                Err(error) if is_timeout(&error) => break,
                Err(error) if is_disconnect(&error) => {
                    closed = true;
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        self.stream.set_read_timeout(Some(REPLY_TIMEOUT))?;
        Ok((bytes, closed))
    }

    /// True when the peer closes within the reply timeout without sending anything else.
    pub fn is_closed_by_peer(&mut self) -> io::Result<bool> {
        let (bytes, closed) = self.read_raw(usize::MAX, Duration::from_secs(3))?;
        Ok(closed && bytes.is_empty())
    }

    fn read_many(&mut self, count: i64) -> io::Result<Vec<Reply>> {
        let count = usize::try_from(count).map_err(|_| malformed("negative element count"))?;
        (0..count).map(|_| self.decode()).collect()
    }

    fn read_payload(&mut self, length: i64) -> io::Result<Vec<u8>> {
        let length = usize::try_from(length).map_err(|_| malformed("negative bulk length"))?;
        self.fill(length + 2)?;
        let payload = self.input[self.position..self.position + length].to_vec();
        if &self.input[self.position + length..self.position + length + 2] != b"\r\n" {
            return Err(malformed("bulk string without its final line end"));
        }
        self.position += length + 2;
        Ok(payload)
    }

    fn read_line(&mut self) -> io::Result<Vec<u8>> {
        let mut searched = self.position;
        loop {
            if let Some(offset) = self.input[searched..].windows(2).position(|pair| pair == b"\r\n") {
                let end = searched + offset;
                let line = self.input[self.position..end].to_vec();
                self.position = end + 2;
                return Ok(line);
            }
            searched = self.input.len().saturating_sub(1).max(self.position);
            let have = self.input.len() - self.position;
            self.fill(have + 1)?;
        }
    }

    /// Reads from the socket until `count` unconsumed bytes are buffered.
    fn fill(&mut self, count: usize) -> io::Result<()> {
        while self.input.len() - self.position < count {
            let start = self.input.len();
            self.input.resize(start + 64 * 1024, 0);
            let read = self.stream.read(&mut self.input[start..]);
            self.input.truncate(start + *read.as_ref().unwrap_or(&0));
            if read? == 0 {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed the connection"));
            }
        }
        Ok(())
    }

    fn compact(&mut self) {
        if self.position == self.input.len() {
            self.input.clear();
            self.position = 0;
        } else if self.position > 1 << 20 {
            self.input.drain(..self.position);
            self.position = 0;
        }
    }
}

/// Appends one command in the array-of-bulk-strings form.
pub fn encode_command<A: AsRef<[u8]>>(out: &mut Vec<u8>, args: &[A]) {
    out.extend_from_slice(format!("*{}\r\n", args.len()).as_bytes());
    for arg in args {
        let arg = arg.as_ref();
        out.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
        out.extend_from_slice(arg);
        out.extend_from_slice(b"\r\n");
    }
}

/// True when an error says that the other side is gone, whichever way the kernel reports it.
pub fn is_disconnect(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
    )
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("malformed reply: {what}"))
}

fn parse_int(digits: &[u8]) -> io::Result<i64> {
    std::str::from_utf8(digits)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| malformed(&format!("bad number {:?}", String::from_utf8_lossy(digits))))
}
