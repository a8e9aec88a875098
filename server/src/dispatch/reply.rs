//! What a handler writes its reply into, and how it fails.

use std::borrow::Cow;

use super::reply_errors;

/// Result of a handler. On an error whatever it wrote is taken back and the error is the reply.
pub type CommandResult = Result<(), CommandError>;

/// Why a handler did not produce a reply.
#[derive(Debug)]
pub enum CommandError {
    /// A record it touched is not in memory, or a job it started is not done yet. Nothing it
    /// planned happened; `execute` waits (the context knows for what) and runs it again.
    Interrupted,
    /// The error reply, its code first ("ERR syntax error").
    Reply(Cow<'static, str>),
    /// No reply at all and the connection is closed (SHUTDOWN, a protocol violation).
    Hangup,
}

impl CommandError {
    /// An error with a fixed text.
    #[must_use]
    pub const fn fixed(text: &'static str) -> Self {
        CommandError::Reply(Cow::Borrowed(text))
    }

    /// An error with a composed text.
    #[must_use]
    pub fn composed(text: String) -> Self {
        CommandError::Reply(Cow::Owned(text))
    }
}

/// The text of the reply, for logs and for replies made without a sink.
impl std::fmt::Display for CommandError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            CommandError::Interrupted => f.write_str("interrupted"),
            CommandError::Reply(text) => f.write_str(text),
            CommandError::Hangup => f.write_str("connection closed"),
        }
    }
}

/// A position in a reply sink, for taking back what was written since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark(pub usize);

/// Takes a reply piece by piece. A container's header (`array`, `map`, ...) announces how many
/// elements follow; nothing checks that they do.
///
/// The sink knows its client's protocol: under RESP2 a map is an array of twice the length, a
/// double a bulk string, a boolean an integer, a push an array.
pub trait ReplySink {
    fn integer(&mut self, value: i64);
    fn bulk(&mut self, bytes: &[u8]);
    /// A short status without CR or LF ("OK", "PONG").
    fn simple(&mut self, text: &str);
    /// An error line, code first, without the leading `-`. CR and LF become spaces.
    fn error(&mut self, text: &str);
    fn null(&mut self);
    /// RESP2's null array (`*-1`); the same as [`ReplySink::null`] under RESP3.
    fn null_array(&mut self);
    fn array(&mut self, len: usize);
    /// `len` pairs follow.
    fn map(&mut self, len: usize);
    fn set(&mut self, len: usize);
    /// An out-of-band message of `len` elements.
    fn push(&mut self, len: usize);
    /// `len` pairs of metadata for the next value; under RESP2 the caller must not send any.
    fn attribute(&mut self, len: usize);
    fn double(&mut self, value: f64);
    /// A double whose text was made already.
    fn number(&mut self, text: &str);
    fn boolean(&mut self, value: bool);
    /// Decimal digits of any length, with an optional `-`.
    fn big_number(&mut self, digits: &str);
    /// Text with a three-letter format ("txt", "mkd").
    fn verbatim(&mut self, format: &str, text: &[u8]);
    /// Whether replies may have RESP3 shapes (nested pairs instead of a flat list).
    fn is_resp3(&self) -> bool;
    /// Chooses the protocol of what follows (HELLO, RESET).
    fn set_resp3(&mut self, is_resp3: bool);
    /// Where the reply is now.
    fn mark(&self) -> Mark;
    /// Takes back everything written since `mark`.
    fn rewind(&mut self, mark: Mark);

    fn ok(&mut self) {
        self.simple("OK");
    }

    /// A value or null.
    fn bulk_or_null(&mut self, bytes: Option<&[u8]>) {
        match bytes {
            Some(bytes) => self.bulk(bytes),
            None => self.null(),
        }
    }
}

/// `ERR value is out of range` where as many repetitions of elements would make a reply of more than
/// `reply_max` bytes. `bytes` is what `len` elements take. Whoever answers with elements again and again can
/// be asked for a reply of any length, however small the collection is.
pub fn repetitions_fit(reply_max: u64, wanted: u64, bytes: usize, len: u64) -> Result<(), CommandError> {
    // What the protocol adds to an element.
    const FRAME_BYTES: u64 = 8;
    let each = FRAME_BYTES + bytes as u64 / len.max(1);
    if wanted.saturating_mul(each) > reply_max { Err(reply_errors::OUT_OF_RANGE) } else { Ok(()) }
}
