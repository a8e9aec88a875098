//! Writes replies, in RESP2 or RESP3.
//!
//! Everything is appended to one buffer. What RESP2 does not know has the form Redis gives it:
//! maps and pushes are arrays, doubles and big numbers bulk strings, booleans integers.

use super::double;

/// A buffer of encoded replies.
#[derive(Debug, Default)]
pub struct Encoder {
    bytes: Vec<u8>,
    is_resp3: bool,
}

impl Encoder {
    /// Which protocol the following replies are written in.
    pub fn set_resp3(&mut self, is_resp3: bool) {
        self.is_resp3 = is_resp3;
    }

    #[must_use]
    pub fn is_resp3(&self) -> bool {
        self.is_resp3
    }

    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    #[must_use]
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    pub fn truncate(&mut self, len: usize) {
        self.bytes.truncate(len);
    }

    /// Drops the first `count` bytes.
    pub fn drop_front(&mut self, count: usize) {
        self.bytes.drain(..count);
    }

    /// Empties the buffer; memory above `keep` bytes is given back.
    pub fn clear(&mut self, keep: usize) {
        self.bytes.clear();
        self.bytes.shrink_to(keep);
    }

    /// Replaces a part of the buffer.
    pub fn replace(&mut self, from: usize, to: usize, with: &[u8]) {
        self.bytes.splice(from..to, with.iter().copied());
    }

    /// Appends bytes that are encoded already.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    pub fn integer(&mut self, value: i64) {
        match value {
            0 => self.bytes.extend_from_slice(b":0\r\n"),
            1 => self.bytes.extend_from_slice(b":1\r\n"),
            value => self.number_line(b':', value),
        }
    }

    pub fn bulk(&mut self, bytes: &[u8]) {
        self.bytes.reserve(bytes.len() + 24);
        self.length(b'$', bytes.len());
        self.bytes.extend_from_slice(bytes);
        self.bytes.extend_from_slice(b"\r\n");
    }

    pub fn simple(&mut self, text: &str) {
        if text == "OK" {
            self.bytes.extend_from_slice(b"+OK\r\n");
            return;
        }
        self.text_line(b'+', text);
    }

    pub fn error(&mut self, text: &str) {
        // Newlines at the end go, others become blanks.
        self.text_line(b'-', text.trim_end_matches(['\r', '\n']));
    }

    pub fn null(&mut self) {
        self.bytes.extend_from_slice(if self.is_resp3 { b"_\r\n" } else { b"$-1\r\n" });
    }

    pub fn null_array(&mut self) {
        self.bytes.extend_from_slice(if self.is_resp3 { b"_\r\n" } else { b"*-1\r\n" });
    }

    pub fn array(&mut self, len: usize) {
        self.length(b'*', len);
    }

    pub fn map(&mut self, len: usize) {
        if self.is_resp3 { self.length(b'%', len) } else { self.length(b'*', len * 2) }
    }

    pub fn set(&mut self, len: usize) {
        self.length(if self.is_resp3 { b'~' } else { b'*' }, len);
    }

    pub fn push(&mut self, len: usize) {
        self.length(if self.is_resp3 { b'>' } else { b'*' }, len);
    }

    /// Only for RESP3 clients: RESP2 has nothing like it.
    pub fn attribute(&mut self, len: usize) {
        self.length(b'|', len);
    }

    pub fn double(&mut self, value: f64) {
        let text = double::format(value);
        if self.is_resp3 { self.text_line(b',', text.as_str()) } else { self.bulk(text.as_str().as_bytes()) }
    }

    pub fn number(&mut self, text: &str) {
        if self.is_resp3 { self.text_line(b',', text) } else { self.bulk(text.as_bytes()) }
    }

    pub fn boolean(&mut self, value: bool) {
        match (self.is_resp3, value) {
            (true, true) => self.bytes.extend_from_slice(b"#t\r\n"),
            (true, false) => self.bytes.extend_from_slice(b"#f\r\n"),
            (false, value) => self.integer(i64::from(value)),
        }
    }

    pub fn big_number(&mut self, digits: &str) {
        if self.is_resp3 { self.text_line(b'(', digits) } else { self.bulk(digits.as_bytes()) }
    }

    /// `format` is three letters long.
    pub fn verbatim(&mut self, format: &str, text: &[u8]) {
        if !self.is_resp3 {
            return self.bulk(text);
        }
        self.length(b'=', text.len() + 4);
        self.bytes.extend_from_slice(format.as_bytes());
        self.bytes.push(b':');
        self.bytes.extend_from_slice(text);
        self.bytes.extend_from_slice(b"\r\n");
    }

    fn length(&mut self, kind: u8, len: usize) {
        if len < 10 {
            self.bytes.extend_from_slice(&[kind, b'0' + len as u8, b'\r', b'\n']);
            return;
        }
        self.number_line(kind, len as i64);
    }

    fn number_line(&mut self, kind: u8, value: i64) {
        let mut digits = itoa::Buffer::new();
        let digits = digits.format(value).as_bytes();
        self.bytes.push(kind);
        self.bytes.extend_from_slice(digits);
        self.bytes.extend_from_slice(b"\r\n");
    }

    /// A line of text; line ends in it become spaces, so that it stays one line.
    fn text_line(&mut self, kind: u8, text: &str) {
        self.bytes.push(kind);
        let from = self.bytes.len();
        self.bytes.extend_from_slice(text.as_bytes());
        for byte in &mut self.bytes[from..] {
            if matches!(byte, b'\r' | b'\n') {
                *byte = b' ';
            }
        }
        self.bytes.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(is_resp3: bool, write: impl FnOnce(&mut Encoder)) -> String {
        let mut encoder = Encoder::default();
        encoder.set_resp3(is_resp3);
        write(&mut encoder);
        encoder.bytes().escape_ascii().to_string()
    }

    #[test]
    fn each_value_in_both_protocols() {
        type Write = fn(&mut Encoder);
        let cases: [(Write, &str, &str); 16] = [
            (|e| e.integer(-42), r":-42\r\n", r":-42\r\n"),
            (|e| e.integer(1), r":1\r\n", r":1\r\n"),
            (|e| e.bulk(b"a\0b"), r"$3\r\na\x00b\r\n", r"$3\r\na\x00b\r\n"),
            (|e| e.bulk(&[b'x'; 12]), r"$12\r\nxxxxxxxxxxxx\r\n", r"$12\r\nxxxxxxxxxxxx\r\n"),
            (|e| e.simple("OK"), r"+OK\r\n", r"+OK\r\n"),
            (|e| e.error("ERR a\r\nb"), r"-ERR a  b\r\n", r"-ERR a  b\r\n"),
            (|e| e.null(), r"$-1\r\n", r"_\r\n"),
            (|e| e.null_array(), r"*-1\r\n", r"_\r\n"),
            (|e| e.array(10), r"*10\r\n", r"*10\r\n"),
            (|e| e.map(2), r"*4\r\n", r"%2\r\n"),
            (|e| e.set(2), r"*2\r\n", r"~2\r\n"),
            (|e| e.push(3), r"*3\r\n", r">3\r\n"),
            (|e| e.double(1.5), r"$3\r\n1.5\r\n", r",1.5\r\n"),
            (|e| e.boolean(true), r":1\r\n", r"#t\r\n"),
            (|e| e.big_number("-123"), r"$4\r\n-123\r\n", r"(-123\r\n"),
            (|e| e.verbatim("txt", b"hi"), r"$2\r\nhi\r\n", r"=6\r\ntxt:hi\r\n"),
        ];
        for (write, resp2, resp3) in cases {
            assert_eq!(encoded(false, write), resp2);
            assert_eq!(encoded(true, write), resp3);
        }
    }
}
