//! Rows of the cold tier, byte by byte. Integers in keys are big-endian, so that byte order is
//! the order of the fields; numbers in values are varints.
//!
//! ```text
//! keys      db id (4) | bucket (4) | user key
//!           -> kind (1) | flags (1) | LSN | deadline? | body
//! elements  db id (4) | incarnation (8) | page (4)          -> bytes of a paged value
//! elements  db id (4) | incarnation (8) | node key          -> a node of a collection, as its type encodes it
//! expires   db id (4) | deadline ms (8) | bucket (4) | user key -> empty: the key expires then
//! expires   db id (4) | deadline ms (8) | bucket (4) | user key | 0 (1) -> `e`: elements of the key expire then
//! meta      name
//! ```
//!
//! Kinds of a `keys` row: 1 string bytes, 2 string integer (zigzag), 3 paged string (incarnation,
//! length, page size), 4 collection (type, bytes as the type encodes them), 5 collection
//! in nodes (type, incarnation, header as the type encodes it), 6 paged collection (type, incarnation, length,
//! page size). Flags: 1 a deadline follows the LSN, 2 the string was made by editing.
//! A row that does not decode is an error that names family and key.

use crate::codec::{DecodeError, Reader, put_varint, put_zigzag};
use crate::error::Error;
use crate::ids::{DbId, ExpireAt, Incarnation, Lsn};
use crate::tier::Family;
use crate::value::TypeTag;
use crate::value::string::{PAGE_BYTES, STRING_MAX};

/// The value of an `expires` row that is there because of elements of the key.
pub const ELEMENT_HINT: &[u8] = b"e";

const KIND_BYTES: u8 = 1;
const KIND_INT: u8 = 2;
const KIND_PAGED: u8 = 3;
const KIND_COLLECTION: u8 = 4;
const KIND_NODES: u8 = 5;
const KIND_PAGED_COLLECTION: u8 = 6;
const FLAG_DEADLINE: u8 = 1;
const FLAG_RAW: u8 = 2;

/// Writes the key of a `keys` row.
pub fn put_row_key(out: &mut Vec<u8>, db: DbId, bucket: u32, key: &[u8]) {
    out.extend_from_slice(&db.0.to_be_bytes());
    out.extend_from_slice(&bucket.to_be_bytes());
    out.extend_from_slice(key);
}

/// Splits the key of a `keys` row into database, bucket and user key.
pub fn split_row_key(row_key: &[u8]) -> Result<(DbId, u32, &[u8]), DecodeError> {
    let mut reader = Reader::new(row_key);
    let db = DbId(reader.u32_be()?);
    let bucket = reader.u32_be()?;
    Ok((db, bucket, reader.rest()))
}

/// Writes the key of an `expires` row.
pub fn put_expires_key(out: &mut Vec<u8>, db: DbId, at: ExpireAt, bucket: u32, key: &[u8]) {
    out.extend_from_slice(&db.0.to_be_bytes());
    out.extend_from_slice(&at.0.to_be_bytes());
    out.extend_from_slice(&bucket.to_be_bytes());
    out.extend_from_slice(key);
}

/// Writes the key of an `expires` row that is there because of elements of the key.
pub fn put_element_hint_key(out: &mut Vec<u8>, db: DbId, at: ExpireAt, bucket: u32, key: &[u8]) {
    put_expires_key(out, db, at, bucket, key);
    // The key may expire at the same time, by a row of its own. That of a key with this very name has another
    // bucket.
    out.push(0);
}

/// A row of `expires`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hint<'a> {
    pub db: DbId,
    pub at: ExpireAt,
    pub key: &'a [u8],
    /// Elements of the key expire then, else the key.
    pub is_of_elements: bool,
}

/// Reads a row of `expires`.
pub fn read_hint<'a>(row_key: &'a [u8], value: &[u8]) -> Result<Hint<'a>, DecodeError> {
    let mut reader = Reader::new(row_key);
    let db = DbId(reader.u32_be()?);
    let at = ExpireAt(reader.u64_be()?);
    reader.u32_be()?;
    let (key, is_of_elements) = match value {
        b"" => (reader.rest(), false),
        ELEMENT_HINT => {
            let key = reader.rest().strip_suffix(b"\0");
            (key.ok_or(reader.error("a hint for elements without its end"))?, true)
        }
        _ => return Err(reader.error("unknown kind of hint")),
    };
    Ok(Hint { db, at, key, is_of_elements })
}

/// Writes the key of a page in `elements`.
pub fn put_page_key(out: &mut Vec<u8>, db: DbId, incarnation: Incarnation, page: u32) {
    out.extend_from_slice(&db.0.to_be_bytes());
    out.extend_from_slice(&incarnation.0.to_be_bytes());
    out.extend_from_slice(&page.to_be_bytes());
}

/// Writes the key of a node in `elements`.
pub fn put_node_key(out: &mut Vec<u8>, db: DbId, incarnation: Incarnation, key: &[u8]) {
    out.extend_from_slice(&db.0.to_be_bytes());
    out.extend_from_slice(&incarnation.0.to_be_bytes());
    out.extend_from_slice(key);
}

/// The key range of one database in a family whose keys start with the database id.
#[must_use]
pub fn db_range(db: DbId) -> ([u8; 4], [u8; 4]) {
    (db.0.to_be_bytes(), (db.0 + 1).to_be_bytes())
}

/// A decoded row of `keys`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row<'a> {
    pub lsn: Lsn,
    pub deadline: Option<ExpireAt>,
    pub is_raw: bool,
    pub body: RowBody<'a>,
}

/// The body of a `keys` row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowBody<'a> {
    Int(i64),
    Bytes(&'a [u8]),
    /// The bytes are pages of `elements`.
    Paged {
        incarnation: Incarnation,
        len: u64,
    },
    /// A whole collection, as its type encodes it.
    Collection {
        tag: TypeTag,
        bytes: &'a [u8],
    },
    /// The elements are nodes of `elements`.
    Nodes {
        tag: TypeTag,
        incarnation: Incarnation,
        header: &'a [u8],
    },
    /// The collection's bytes are pages of `elements`.
    PagedCollection {
        tag: TypeTag,
        incarnation: Incarnation,
        len: u64,
    },
}

impl RowBody<'_> {
    /// The incarnation whose rows belong to this one.
    #[must_use]
    pub fn incarnation(&self) -> Option<Incarnation> {
        match self {
            RowBody::Int(_) | RowBody::Bytes(_) | RowBody::Collection { .. } => None,
            RowBody::Paged { incarnation, .. }
            | RowBody::Nodes { incarnation, .. }
            | RowBody::PagedCollection { incarnation, .. } => Some(*incarnation),
        }
    }

    /// What the key holds.
    #[must_use]
    pub fn type_tag(&self) -> TypeTag {
        match self {
            RowBody::Int(_) | RowBody::Bytes(_) | RowBody::Paged { .. } => TypeTag::String,
            RowBody::Collection { tag, .. }
            | RowBody::Nodes { tag, .. }
            | RowBody::PagedCollection { tag, .. } => *tag,
        }
    }
}

/// Writes the value of a `keys` row.
pub fn put_row(out: &mut Vec<u8>, row: &Row<'_>) {
    out.push(match row.body {
        RowBody::Bytes(_) => KIND_BYTES,
        RowBody::Int(_) => KIND_INT,
        RowBody::Paged { .. } => KIND_PAGED,
        RowBody::Collection { .. } => KIND_COLLECTION,
        RowBody::Nodes { .. } => KIND_NODES,
        RowBody::PagedCollection { .. } => KIND_PAGED_COLLECTION,
    });
    out.push(FLAG_DEADLINE * u8::from(row.deadline.is_some()) + FLAG_RAW * u8::from(row.is_raw));
    put_varint(out, row.lsn.0);
    if let Some(at) = row.deadline {
        put_varint(out, at.0);
    }
    match row.body {
        RowBody::Bytes(bytes) => out.extend_from_slice(bytes),
        RowBody::Int(value) => put_zigzag(out, value),
        RowBody::Paged { incarnation, len } => {
            put_varint(out, incarnation.0);
            put_varint(out, len);
            put_varint(out, PAGE_BYTES as u64);
        }
        RowBody::Collection { tag, bytes } => {
            out.push(tag as u8);
            out.extend_from_slice(bytes);
        }
        RowBody::Nodes { tag, incarnation, header } => {
            out.push(tag as u8);
            put_varint(out, incarnation.0);
            out.extend_from_slice(header);
        }
        RowBody::PagedCollection { tag, incarnation, len } => {
            out.push(tag as u8);
            put_varint(out, incarnation.0);
            put_varint(out, len);
            put_varint(out, PAGE_BYTES as u64);
        }
    }
}

/// Reads the value of a `keys` row.
pub fn read_row(bytes: &[u8]) -> Result<Row<'_>, DecodeError> {
    let mut reader = Reader::new(bytes);
    let kind = reader.u8()?;
    let flags = reader.u8()?;
    if flags & !(FLAG_DEADLINE | FLAG_RAW) != 0 {
        return Err(reader.error("unknown row flags"));
    }
    let lsn = Lsn(reader.varint()?);
    let deadline = if flags & FLAG_DEADLINE != 0 { Some(ExpireAt(reader.varint()?)) } else { None };
    let body = match kind {
        KIND_BYTES => RowBody::Bytes(reader.rest()),
        KIND_INT => RowBody::Int(reader.zigzag()?),
        KIND_PAGED => {
            let incarnation = Incarnation(reader.varint()?);
            let len = reader.varint()?;
            if len > STRING_MAX as u64 || reader.varint()? != PAGE_BYTES as u64 {
                return Err(reader.error("impossible paged string"));
            }
            RowBody::Paged { incarnation, len }
        }
        KIND_COLLECTION => RowBody::Collection { tag: collection_tag(&mut reader)?, bytes: reader.rest() },
        KIND_NODES => RowBody::Nodes {
            tag: collection_tag(&mut reader)?,
            incarnation: Incarnation(reader.varint()?),
            header: reader.rest(),
        },
        KIND_PAGED_COLLECTION => {
            let (tag, incarnation) = (collection_tag(&mut reader)?, Incarnation(reader.varint()?));
            let len = reader.varint()?;
            // Pages are counted in 32 bits.
            if len > (PAGE_BYTES as u64) << 32 || reader.varint()? != PAGE_BYTES as u64 {
                return Err(reader.error("impossible paged collection"));
            }
            RowBody::PagedCollection { tag, incarnation, len }
        }
        _ => return Err(reader.error("unknown row kind")),
    };
    Ok(Row { lsn, deadline, is_raw: flags & FLAG_RAW != 0, body })
}

fn collection_tag(reader: &mut Reader<'_>) -> Result<TypeTag, DecodeError> {
    let tag = TypeTag::from_byte(reader.u8()?).filter(|tag| *tag != TypeTag::String);
    tag.ok_or(reader.error("unknown type of collection"))
}

/// The error for a row that does not decode: names family and key.
#[must_use]
pub fn row_error(family: Family, key: &[u8], error: DecodeError) -> Error {
    Error::corruption(
        format!("family {} row {}", family.name(), key.escape_ascii()),
        error.at as u64,
        error.what,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rows_round_trip() {
        let bodies = [
            RowBody::Int(-1),
            RowBody::Bytes(b""),
            RowBody::Bytes(b"bytes"),
            RowBody::Paged { incarnation: Incarnation(5), len: 2 << 20 },
            RowBody::Collection { tag: TypeTag::Hash, bytes: b"row" },
            RowBody::Nodes { tag: TypeTag::List, incarnation: Incarnation(6), header: b"header" },
            RowBody::PagedCollection { tag: TypeTag::Set, incarnation: Incarnation(7), len: 3 << 30 },
        ];
        for body in bodies {
            for deadline in [None, Some(ExpireAt(1))] {
                let row = Row { lsn: Lsn(300), deadline, is_raw: deadline.is_some(), body };
                let mut out = Vec::new();
                put_row(&mut out, &row);
                assert_eq!(read_row(&out), Ok(row));
            }
        }
    }

    proptest! {
        #[test]
        fn keys_sort_as_their_fields(a: (u32, u32, Vec<u8>), b: (u32, u32, Vec<u8>)) {
            let encode = |x: &(u32, u32, Vec<u8>)| {
                let mut out = Vec::new();
                put_row_key(&mut out, DbId(x.0), x.1, &x.2);
                out
            };
            prop_assert_eq!(encode(&a).cmp(&encode(&b)), a.cmp(&b));
            let key = encode(&a);
            prop_assert_eq!(split_row_key(&key), Ok((DbId(a.0), a.1, &a.2[..])));
        }

        #[test]
        fn hostile_rows_never_panic(bytes: Vec<u8>) {
            let _ = read_row(&bytes);
            let _ = split_row_key(&bytes);
            let _ = read_hint(&bytes, b"");
            let _ = read_hint(&bytes, ELEMENT_HINT);
        }
    }
}
