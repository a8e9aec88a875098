//! A string as handlers read it, whether it is stored as an integer or as bytes.

use lux_engine::ids::ExpireAt;
use lux_engine::txn::{Found, ValueRef};
use lux_engine::value::string::number::{IntText, LongDouble, int_len, parse_int};

use super::reply::ReplySink;

/// The string of a key that was looked up.
#[derive(Clone, Copy, Debug)]
pub struct StringRef<'a> {
    body: Body<'a>,
    /// When the key goes, if ever.
    pub deadline: Option<ExpireAt>,
}

#[derive(Clone, Copy, Debug)]
enum Body<'a> {
    Int(i64),
    Bytes(&'a [u8]),
}

impl<'a> StringRef<'a> {
    /// The string that was found; `None` for a value of another type.
    #[inline]
    #[must_use]
    pub fn of(found: &Found<'a>) -> Option<Self> {
        let body = match found.value {
            ValueRef::Int(value) => Body::Int(value),
            ValueRef::Bytes(bytes) => Body::Bytes(bytes),
            ValueRef::Collection(_) => return None,
        };
        Some(StringRef { body, deadline: found.deadline })
    }

    /// The bytes; `digits` gives them room if the string is stored as an integer.
    pub fn text<'b>(&self, digits: &'b mut IntText) -> &'b [u8]
    where
        'a: 'b,
    {
        match self.body {
            Body::Int(value) => digits.of(value),
            Body::Bytes(bytes) => bytes,
        }
    }

    /// Writes the string as a bulk reply.
    #[inline]
    pub fn write(&self, reply: &mut dyn ReplySink) {
        match self.body {
            Body::Int(value) => reply.bulk(IntText::default().of(value)),
            Body::Bytes(bytes) => reply.bulk(bytes),
        }
    }

    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        match self.body {
            Body::Int(value) => int_len(value),
            Body::Bytes(bytes) => bytes.len(),
        }
    }

    /// Whether it has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The string as an integer, if it is the canonical form of one.
    #[must_use]
    pub fn int(&self) -> Option<i64> {
        match self.body {
            Body::Int(value) => Some(value),
            Body::Bytes(bytes) => parse_int(bytes),
        }
    }

    /// The string as an extended precision number, if it is one.
    #[must_use]
    pub fn long_double(&self) -> Option<LongDouble> {
        match self.body {
            Body::Int(value) => Some(LongDouble::from(value)),
            Body::Bytes(bytes) => LongDouble::parse(bytes),
        }
    }

    /// Whether the string is these bytes.
    #[must_use]
    pub fn equals(&self, bytes: &[u8]) -> bool {
        self.text(&mut IntText::default()) == bytes
    }
}
