//! A long string whose bytes are not in memory: only its incarnation and its length are.
//!
//! That is how a value that was built from parts is published, however long it is. Its pages are
//! rows before the key names them, and do not change while it stands: an edit needs the bytes first.
//! Only replay, which reads no rows, leaves edits waiting here. They are made when the pages are read;
//! pages that hold some of them already, from a write-back before the crash, come out the same, since
//! every edit from the publication on is made again, in order.

use super::BigString;
use crate::ids::Incarnation;

/// Names the pages of a string.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct StoredString {
    /// Names the pages' rows.
    pub incarnation: Incarnation,
    /// Length in bytes, without the edits.
    pub len: u64,
    edits: Vec<Edit>,
    /// Their bytes: each edit asks for the size before and after it.
    edit_bytes: usize,
}

#[derive(Debug, Clone, PartialEq)]
struct Edit {
    /// `usize::MAX`: the end.
    offset: usize,
    bytes: Box<[u8]>,
}

impl StoredString {
    /// A string of `len` bytes whose pages are rows.
    #[must_use]
    pub fn new(incarnation: Incarnation, len: u64) -> Self {
        StoredString { incarnation, len, edits: Vec::new(), edit_bytes: 0 }
    }

    /// Whether edits wait for the bytes.
    #[must_use]
    pub fn has_edits(&self) -> bool {
        !self.edits.is_empty()
    }

    /// Queues an edit: bytes from `offset` on are overwritten (`usize::MAX`: the end).
    pub fn edit(&mut self, offset: usize, bytes: &[u8]) {
        self.edit_bytes += bytes.len();
        self.edits.push(Edit { offset, bytes: Box::from(bytes) });
    }

    /// The string with its bytes in memory, edited as it waits to be.
    #[must_use]
    pub fn load(&self, bytes: Vec<u8>) -> BigString {
        let mut string = BigString::from_pages(bytes, self.incarnation);
        for edit in &self.edits {
            match edit.offset {
                usize::MAX => string.append(&edit.bytes),
                offset => string.set_range(offset, &edit.bytes),
            }
        }
        string
    }

    /// Heap bytes held.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        self.edits.capacity() * size_of::<Edit>() + self.edit_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_are_made_when_the_bytes_come_even_twice() {
        let mut stored = StoredString::new(Incarnation(3), 4);
        stored.edit(1, b"xy");
        stored.edit(usize::MAX, b"end");
        stored.edit(9, b"!");
        let once = stored.load(b"abcd".to_vec());
        assert_eq!(once.as_bytes(), b"axydend\0\0!");
        assert_eq!(stored.load(once.as_bytes()[..4].to_vec()), once);
    }
}
