//! Lists: sequences of byte strings, read and changed by position and at both ends.
//!
//! A list has one of two encodings. *Packed* (Redis's "listpack") is one allocation, for lists of at
//! most about 8 KiB; *tree* ("quicklist") is an ordered sequence of packed leaves. Which one follows
//! from `list-max-listpack-size` at the moment of a change and is part of that change's edit, so replay
//! does not depend on the configuration. As in Redis a list grows into a tree when it passes the
//! limit, and becomes packed again when a removal leaves less than half of it.
//!
//! | operation | packed (n is bounded by the limit) | tree |
//! |---|---|---|
//! | push, pop at an end | O(n) bytes moved | O(log n), O(1) amortised at the ends |
//! | by index, range of m | O(n) | O(log n + m) |
//! | search (LINSERT, LREM, LPOS) | O(n) | O(n) |
//! | trim | O(n) | O(log n) and the leaves that go |
//!
//! Invariants: a list that no key should hold is empty; elements are at most a string's length.
//! Commands plan against `&ListValue` and write an edit ([`edit`]); [`ListValue::apply`] makes it, live
//! and in replay. Rows: [`codec`].

pub mod codec;
pub mod edit;
mod plan;
mod read;
#[cfg(test)]
mod tests;

use std::cmp::Ordering;

use super::packed::Packed;
use super::tree::{Layout, Tree};

pub use plan::SetOutcome;
pub use read::{Elements, Positions};

/// The order of a list is the order of its elements' places: nothing is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByPosition;

impl Layout for ByPosition {
    const IS_POSITIONAL: bool = true;

    fn prefix(_: &[u8]) -> u64 {
        0
    }

    fn compare(_: &[u8], _: &[u8]) -> Ordering {
        Ordering::Equal
    }
}

/// One end of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The head: LPUSH, LPOP.
    Front,
    /// The tail: RPUSH, RPOP.
    Back,
}

/// When a list is too large to be packed: `list-max-listpack-size`.
///
/// A positive number bounds the elements (and 8 KiB still holds), -1 to -5 bound the bytes to 4, 8,
/// 16, 32 or 64 KiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListLimits {
    /// The configured number.
    pub listpack_size: i64,
}

impl Default for ListLimits {
    fn default() -> Self {
        ListLimits { listpack_size: -2 }
    }
}

/// Bytes that a list bounded by its count may have all the same.
const SAFETY_BYTES: usize = 8 << 10;

impl ListLimits {
    /// (elements, bytes) of the largest packed list.
    fn largest(self) -> (u64, usize) {
        match self.listpack_size {
            0 => (1, SAFETY_BYTES),
            count @ 1.. => (count.unsigned_abs(), SAFETY_BYTES),
            size => (u64::MAX, 4096 << (size.unsigned_abs().min(5) - 1)),
        }
    }
}

/// A list.
#[derive(Debug, Clone)]
pub struct ListValue {
    body: Body,
}

#[derive(Debug, Clone)]
enum Body {
    Packed(Packed),
    Tree(Box<Large>),
}

/// A list as a tree.
#[derive(Debug, Clone, Default)]
struct Large {
    tree: Tree<ByPosition>,
    /// Its leaves may be rows, so they are kept apart even if the list is small again.
    has_rows: bool,
    /// The list counts as packed all the same: it shrank while its leaves were rows.
    is_small: bool,
    /// Elements that loading is to find.
    expected: u64,
}

impl Default for ListValue {
    fn default() -> Self {
        ListValue { body: Body::Packed(Packed::new()) }
    }
}

/// Lists are the same when their elements and encodings are.
impl PartialEq for ListValue {
    fn eq(&self, other: &Self) -> bool {
        self.encoding() == other.encoding() && self.len() == other.len() && self.iter().eq(other.iter())
    }
}

impl ListValue {
    /// Redis's name of the encoding.
    #[must_use]
    pub fn encoding(&self) -> &'static str {
        if self.is_large() { "quicklist" } else { "listpack" }
    }

    /// Whether the list counts as a tree.
    fn is_large(&self) -> bool {
        matches!(&self.body, Body::Tree(large) if !large.is_small)
    }

    /// Whether nothing is left, so that the key must go.
    #[must_use]
    pub fn is_vacant(&self) -> bool {
        self.is_empty()
    }

    /// Number of elements.
    #[must_use]
    pub fn len(&self) -> u64 {
        match &self.body {
            Body::Packed(packed) => packed.len() as u64,
            Body::Tree(large) => large.tree.len(),
        }
    }

    /// Whether there are no elements.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        match &self.body {
            Body::Packed(packed) => packed.is_empty(),
            Body::Tree(large) => large.tree.is_empty(),
        }
    }

    /// Heap bytes held; O(1).
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        match &self.body {
            Body::Packed(packed) => packed.heap_bytes(),
            Body::Tree(large) => size_of::<Large>() + large.tree.heap_bytes(),
        }
    }

    /// Bytes of the elements with their lengths, as the limit counts them; O(1).
    fn packed_bytes(&self) -> usize {
        match &self.body {
            Body::Packed(packed) => packed.as_bytes().len(),
            Body::Tree(large) => large.tree.data_bytes() + 2 * large.tree.len() as usize,
        }
    }
}
