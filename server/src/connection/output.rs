//! The reply sink of a connection: replies wait here, encoded, until they may leave.
//!
//! With `appendfsync always` a reply leaves only when what it depends on is durable. Execution
//! does not wait for that: each reply notes the LSN it depends on (its *gate*), the pipeline goes
//! on, and one wait for the highest gate lets the whole batch go.

use std::ops::Range;

use lux_engine::ids::Lsn;

use crate::dispatch::reply::{Mark, ReplySink};
use crate::resp::encoder::Encoder;

/// Memory a buffer keeps when it is empty.
const KEEP_BYTES: usize = 64 * 1024;

/// Encoded replies and the LSNs they depend on.
#[derive(Default)]
pub struct Output {
    encoder: Encoder,
    gates: Vec<Gate>,
}

/// A reply that depends on an LSN.
struct Gate {
    reply: Range<usize>,
    lsn: Lsn,
}

impl Output {
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.encoder.bytes()
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.encoder.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.encoder.is_empty()
    }

    #[must_use]
    pub fn capacity(&self) -> usize {
        self.encoder.capacity()
    }

    /// Appends a reply that was encoded elsewhere.
    pub fn append(&mut self, encoded: &[u8]) {
        self.encoder.raw(encoded);
    }

    /// Makes the reply written since `mark` wait for `lsn`.
    pub fn gate(&mut self, mark: Mark, lsn: Lsn) {
        self.gates.push(Gate { reply: mark.0..self.encoder.len(), lsn });
    }

    /// The LSN that must be durable before the replies may leave.
    #[must_use]
    pub fn highest_gate(&self) -> Option<Lsn> {
        self.gates.iter().map(|gate| gate.lsn).max()
    }

    /// Replaces every reply whose LSN is above `durable` by an error: it will never be durable.
    pub fn revoke_above(&mut self, durable: Lsn, error: &str) {
        // From the back, so that the ranges in front stay valid.
        for gate in self.gates.drain(..).rev() {
            if gate.lsn > durable && !gate.reply.is_empty() {
                let mut line = Encoder::default();
                line.error(error);
                self.encoder.replace(gate.reply.start, gate.reply.end, line.bytes());
            }
        }
    }

    /// Empties the buffer for the next batch.
    pub fn clear(&mut self) {
        self.encoder.clear(KEEP_BYTES);
        self.gates.clear();
    }
}

impl ReplySink for Output {
    fn integer(&mut self, value: i64) {
        self.encoder.integer(value);
    }

    fn bulk(&mut self, bytes: &[u8]) {
        self.encoder.bulk(bytes);
    }

    fn simple(&mut self, text: &str) {
        self.encoder.simple(text);
    }

    fn error(&mut self, text: &str) {
        self.encoder.error(text);
    }

    fn null(&mut self) {
        self.encoder.null();
    }

    fn null_array(&mut self) {
        self.encoder.null_array();
    }

    fn array(&mut self, len: usize) {
        self.encoder.array(len);
    }

    fn map(&mut self, len: usize) {
        self.encoder.map(len);
    }

    fn set(&mut self, len: usize) {
        self.encoder.set(len);
    }

    fn push(&mut self, len: usize) {
        self.encoder.push(len);
    }

    fn attribute(&mut self, len: usize) {
        self.encoder.attribute(len);
    }

    fn double(&mut self, value: f64) {
        self.encoder.double(value);
    }

    fn boolean(&mut self, value: bool) {
        self.encoder.boolean(value);
    }

    fn number(&mut self, text: &str) {
        self.encoder.number(text);
    }

    fn big_number(&mut self, digits: &str) {
        self.encoder.big_number(digits);
    }

    fn verbatim(&mut self, format: &str, text: &[u8]) {
        self.encoder.verbatim(format, text);
    }

    fn is_resp3(&self) -> bool {
        self.encoder.is_resp3()
    }

    fn set_resp3(&mut self, is_resp3: bool) {
        self.encoder.set_resp3(is_resp3);
    }

    fn mark(&self) -> Mark {
        Mark(self.encoder.len())
    }

    fn rewind(&mut self, mark: Mark) {
        self.encoder.truncate(mark.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_will_not_be_durable_is_revoked_and_the_rest_stays() {
        let mut output = Output::default();
        for (value, lsn) in [(1, 5), (2, 7), (3, 6), (4, 9)] {
            let mark = output.mark();
            output.integer(value);
            output.gate(mark, Lsn(lsn));
        }
        assert_eq!(output.highest_gate(), Some(Lsn(9)));
        output.revoke_above(Lsn(6), "MISCONF gone");
        assert_eq!(output.bytes(), b":1\r\n-MISCONF gone\r\n:3\r\n-MISCONF gone\r\n");
        assert_eq!(output.highest_gate(), None);
    }
}
