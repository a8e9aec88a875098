//! A row of the cold tier on its way into memory.

use super::entry::{Body, Entry, flag};
use crate::tier::schema::{Row, RowBody};
use crate::value::Value;
use crate::value::string::{BigString, INLINE_MAX, StoredString};

/// A row read from the cold tier, with the pages of a paged string.
#[derive(Debug, Clone, Copy)]
pub struct Fetched<'a> {
    pub row: Row<'a>,
    /// All bytes of a paged string, if they were read.
    pub pages: Option<&'a [u8]>,
}

impl Fetched<'_> {
    /// The clean entry that the row describes.
    #[must_use]
    pub fn into_entry(self, key: &[u8]) -> Entry {
        let body = match self.row.body {
            RowBody::Int(value) => Body::Int(value),
            RowBody::Bytes(bytes) if bytes.len() <= INLINE_MAX => Body::Bytes(bytes),
            RowBody::Bytes(bytes) => Body::Boxed(Box::new(Value::String(BigString::from_bytes(bytes)))),
            RowBody::Paged { incarnation, len } => {
                let value = match self.pages {
                    Some(bytes) => Value::String(BigString::from_pages(bytes.to_vec(), incarnation)),
                    None => Value::Stored(StoredString::new(incarnation, len)),
                };
                Body::Boxed(Box::new(value))
            }
        };
        let mut entry = Entry::new(key, self.row.deadline, None, body);
        entry.set_lsn(self.row.lsn);
        if self.row.is_raw {
            entry.set(flag::RAW);
        }
        entry
    }
}
