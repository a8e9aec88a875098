//! A row of the cold tier on its way into memory.

use super::entry::{Body, Entry, flag};
use crate::codec::DecodeError;
use crate::tier::schema::{Row, RowBody};
use crate::value::Value;
use crate::value::collection::{Collection, Held};
use crate::value::stored::{StoredAt, StoredCollection};
use crate::value::string::{BigString, INLINE_MAX, StoredString};

/// A row read from the cold tier.
#[derive(Debug)]
pub struct Fetched<'a> {
    pub row: Row<'a>,
    /// The row's collection, decoded where no lock is held.
    collection: Option<Value>,
}

impl<'a> Fetched<'a> {
    /// What a row says.
    ///
    /// # Errors
    /// The body does not decode: corruption.
    pub fn new(row: Row<'a>) -> Result<Self, DecodeError> {
        let collection = match row.body {
            RowBody::Collection { tag, bytes } => {
                Some(Value::Collection(Held::new(Collection::decode(tag, bytes)?)))
            }
            _ => None,
        };
        Ok(Fetched { row, collection })
    }
    /// The clean entry that the row describes.
    #[must_use]
    pub fn into_entry(self, key: &[u8]) -> Entry {
        let body = match self.row.body {
            RowBody::Int(value) => Body::Int(value),
            RowBody::Bytes(bytes) if bytes.len() <= INLINE_MAX => Body::Bytes(bytes),
            RowBody::Bytes(bytes) => Body::Boxed(Value::String(Box::new(BigString::from_bytes(bytes)))),
            RowBody::Paged { incarnation, len } => {
                Body::Boxed(Value::Stored(Box::new(StoredString::new(incarnation, len))))
            }
            RowBody::PagedCollection { tag, incarnation, len } => {
                stored(StoredAt::Pages { tag, incarnation, len })
            }
            RowBody::Nodes { tag, incarnation, header } => {
                stored(StoredAt::Nodes { tag, incarnation, header: header.into() })
            }
            RowBody::Collection { .. } => Body::Boxed(self.collection.expect("decoded by `new`")),
        };
        let mut entry = Entry::new(key, self.row.deadline, None, body);
        entry.set_lsn(self.row.lsn);
        if self.row.is_raw {
            entry.set(flag::RAW);
        }
        entry
    }
}

fn stored<'b>(at: StoredAt) -> Body<'b> {
    Body::Boxed(Value::StoredCollection(Box::new(StoredCollection::new(at))))
}
