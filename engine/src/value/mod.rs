//! The data types: what a key can hold beyond a short inline string.

pub mod sort;
pub mod string;

use crate::ids::Lsn;
use string::{BigString, StoredString};

/// A value that does not fit inline in its entry.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A string too long for the entry.
    String(BigString),
    /// A string whose bytes are pages in the cold tier and not in memory.
    Stored(StoredString),
    /// Deltas replayed from the log whose base is a row not read yet.
    Unresolved(Unresolved),
}

/// Logged deltas that wait for their base row. Such an entry is dirty and present.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Unresolved {
    /// In log order: LSN of the commit, LSN of the state that it changed, the encoded effect.
    pub deltas: Vec<(Lsn, Lsn, Box<[u8]>)>,
}

impl Value {
    /// Heap bytes held, including the box.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        std::mem::size_of::<Value>()
            + match self {
                Value::String(string) => string.heap_bytes(),
                Value::Stored(stored) => stored.heap_bytes(),
                Value::Unresolved(waiting) => {
                    waiting.deltas.capacity() * 40 + waiting.deltas.iter().map(|d| d.2.len()).sum::<usize>()
                }
            }
    }
}

/// What kind of data a key holds: the reply of TYPE and the tag of its row.
/// The numbers are on disk: append only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum TypeTag {
    String = 1,
}

impl TypeTag {
    /// The name that TYPE replies.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            TypeTag::String => "string",
        }
    }

    /// The type of a stored tag.
    #[must_use]
    pub fn from_byte(byte: u8) -> Option<TypeTag> {
        match byte {
            1 => Some(TypeTag::String),
            _ => None,
        }
    }
}
