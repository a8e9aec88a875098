//! The wire format, RESP2 and RESP3. Knows nothing of the server.
//!
//! [`decoder`] takes requests apart in place, [`encoder`] writes replies, [`frame`] is the
//! client's side (tests and tools), [`words`] the quoting rules of inline commands.

pub mod decoder;
pub mod double;
pub mod encoder;
pub mod frame;
pub mod words;
