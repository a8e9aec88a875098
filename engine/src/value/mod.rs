//! The data types: what a key can hold beyond a short inline string.

pub mod collection;
pub mod geo;
pub mod hash;
pub mod list;
mod overlay;
pub mod packed;
pub mod sample;
pub mod set;
pub mod sort;
pub mod stored;
pub mod stream;
pub mod string;
pub mod tree;
pub mod zset;

use crate::codec::DecodeError;
use crate::ids::Lsn;
use collection::Held;
use stored::{Loaded, StoredCollection};
use string::{BigString, StoredString};

/// What is more than a short string. It lies in its entry, so the rare and the large variants are boxed.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A string too long for the entry.
    String(Box<BigString>),
    /// A string whose bytes are pages in the cold tier and not in memory.
    Stored(Box<StoredString>),
    /// A collection.
    Collection(Held),
    /// A collection whose elements are rows of the cold tier and not in memory.
    StoredCollection(Box<StoredCollection>),
    /// Deltas replayed from the log whose base is a row not read yet.
    Unresolved(Box<Unresolved>),
}

/// Logged deltas that wait for their base row. Such an entry is dirty and present.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Unresolved {
    /// In log order.
    deltas: Vec<Delta>,
    /// Bytes of their effects. Each change asks for the size before and after it, and a tail of the log may
    /// bring a million of them for one key.
    effect_bytes: usize,
    /// There is no such row: a later effect of the log replaces the key, or the row was lost.
    pub is_baseless: bool,
}

/// One logged change that waits for what it applies to.
#[derive(Debug, Clone, PartialEq)]
pub struct Delta {
    /// LSN of the commit.
    pub lsn: Lsn,
    /// LSN of the state that it changed.
    pub base: Lsn,
    /// It stands for a run of changes that began at `base` and applies to any state among them.
    pub is_merged: bool,
    /// The encoded effect.
    pub effect: Box<[u8]>,
}

impl Unresolved {
    /// Deltas up to which a queue has no room to spare.
    const EXACT_MAX: usize = 4;

    /// What waits for a base that will not come: nothing yet.
    #[must_use]
    pub fn baseless() -> Self {
        Unresolved { is_baseless: true, ..Unresolved::default() }
    }

    /// What waits, in log order.
    #[must_use]
    pub fn deltas(&self) -> &[Delta] {
        &self.deltas
    }

    /// Queues a delta.
    pub fn push(&mut self, delta: Delta) {
        if self.deltas.len() < Self::EXACT_MAX {
            self.deltas.reserve_exact(1);
        }
        self.effect_bytes += delta.effect.len();
        self.deltas.push(delta);
    }

    /// Takes the last delta back.
    pub fn pop(&mut self) -> Option<Delta> {
        let last = self.deltas.pop()?;
        self.effect_bytes -= last.effect.len();
        Some(last)
    }

    /// Takes all of them.
    pub fn take(&mut self) -> Vec<Delta> {
        self.effect_bytes = 0;
        std::mem::take(&mut self.deltas)
    }

    fn heap_bytes(&self) -> usize {
        self.deltas.capacity() * size_of::<Delta>() + self.effect_bytes
    }
}

impl Value {
    /// Turns a stored value into one in memory.
    ///
    /// # Errors
    /// Edits that waited for the content do not fit it: corruption.
    pub fn give(&mut self, content: Loaded) -> Result<(), DecodeError> {
        match (&mut *self, content) {
            (Value::Stored(stored), Loaded::String(bytes)) => {
                *self = Value::String(Box::new(stored.load(bytes)))
            }
            (Value::StoredCollection(stored), Loaded::Collection(held)) => {
                *self = Value::Collection(stored.load(held)?);
            }
            _ => {}
        }
        Ok(())
    }

    /// Heap bytes held.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        match self {
            Value::String(string) => size_of::<BigString>() + string.heap_bytes(),
            Value::Stored(stored) => size_of::<StoredString>() + stored.heap_bytes(),
            Value::Collection(held) => held.heap_bytes(),
            Value::StoredCollection(stored) => stored.heap_bytes(),
            Value::Unresolved(waiting) => size_of::<Unresolved>() + waiting.heap_bytes(),
        }
    }
}

/// What kind of data a key holds: the reply of TYPE and the tag of its row.
/// The numbers are on disk: append only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum TypeTag {
    String = 1,
    List = 2,
    Set = 3,
    ZSet = 4,
    Hash = 5,
    Stream = 6,
}

impl TypeTag {
    /// The name that TYPE replies.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            TypeTag::String => "string",
            TypeTag::List => "list",
            TypeTag::Set => "set",
            TypeTag::ZSet => "zset",
            TypeTag::Hash => "hash",
            TypeTag::Stream => "stream",
        }
    }

    /// What OBJECT ENCODING calls a value of this type that is too large for one row.
    #[must_use]
    pub fn large_encoding(self) -> &'static str {
        match self {
            TypeTag::String => "raw",
            TypeTag::List => "quicklist",
            TypeTag::Set | TypeTag::Hash => "hashtable",
            TypeTag::ZSet => "skiplist",
            TypeTag::Stream => "stream",
        }
    }

    /// The type of a stored tag.
    #[must_use]
    pub fn from_byte(byte: u8) -> Option<TypeTag> {
        match byte {
            1 => Some(TypeTag::String),
            2 => Some(TypeTag::List),
            3 => Some(TypeTag::Set),
            4 => Some(TypeTag::ZSet),
            5 => Some(TypeTag::Hash),
            6 => Some(TypeTag::Stream),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_of_what_waits_is_that_of_a_recount() {
        let mut waiting = Unresolved::default();
        let recount = |waiting: &Unresolved| {
            let effects: usize = waiting.deltas().iter().map(|delta| delta.effect.len()).sum();
            waiting.deltas.capacity() * size_of::<Delta>() + effects
        };
        for n in 0..100_u64 {
            let effect = vec![7; n as usize * 3 % 50].into_boxed_slice();
            waiting.push(Delta { lsn: Lsn(n + 1), base: Lsn(n), is_merged: false, effect });
            if n % 7 == 0 {
                waiting.pop();
            }
            assert_eq!(waiting.heap_bytes(), recount(&waiting));
        }
        assert_eq!((waiting.take().len(), waiting.heap_bytes()), (85, 0));
        assert!(waiting.pop().is_none());
    }
}
