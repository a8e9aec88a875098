//! Keys of the cold tier's rows, byte by byte. Big-endian throughout, so that byte order is the
//! order of the fields.
//!
//! ```text
//! keys      db id (4) | bucket (4) | user key
//! elements  db id (4) | incarnation: LSN (8), ordinal (4) | element
//! expires   db id 0 (4) | deadline ms (8) | db id (4) | bucket (4) | user key
//! meta      name
//! ```
