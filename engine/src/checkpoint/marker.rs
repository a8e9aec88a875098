//! The marker: the row of `meta` that names the redo LSN, written last in a round.
//!
//! ```text
//! version (1 byte, 2) | store id (8, big endian) | timeline | redo LSN | time, Unix ms
//! next database id | database ids of 0..15 | count of totals, then each:
//! database id | shard (1 byte) | keys | keys with a deadline
//! generation of the file `filters`, 0: none
//! CRC32 of all before (4, big endian)
//! ```
//!
//! Numbers are varints. The map is that of the redo LSN. Totals may be newer: the log's tail
//! carries absolute totals, so replay ends at the same values either way.

use crate::codec::{DecodeError, Reader, put_varint};
use crate::ids::{DbId, Lsn, ShardId};
use crate::keyspace::store::DATABASES;
use crate::wal::effect::Total;

/// Name of the marker's row in `meta`.
pub const MARKER: &[u8] = b"marker";
/// The version that is written and read.
pub const VERSION: u8 = 2;

/// What a finished round leaves for recovery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marker {
    pub store_id: u64,
    pub timeline: u32,
    /// Everything up to this LSN is in the cold tier; replay starts behind it.
    pub redo_lsn: Lsn,
    pub time_ms: u64,
    pub next_db: DbId,
    pub map: [DbId; DATABASES],
    pub totals: Vec<Total>,
    /// The file `filters` of this generation or a later one knows every row; 0: none does.
    pub filters: u64,
}

impl Marker {
    /// The row's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        out.extend_from_slice(&self.store_id.to_be_bytes());
        put_varint(&mut out, u64::from(self.timeline));
        put_varint(&mut out, self.redo_lsn.0);
        put_varint(&mut out, self.time_ms);
        put_varint(&mut out, u64::from(self.next_db.0));
        for id in self.map {
            put_varint(&mut out, u64::from(id.0));
        }
        put_varint(&mut out, self.totals.len() as u64);
        for total in &self.totals {
            put_varint(&mut out, u64::from(total.db.0));
            out.push(total.shard.0);
            put_varint(&mut out, total.keys);
            put_varint(&mut out, total.expires);
        }
        put_varint(&mut out, self.filters);
        let crc = crc32fast::hash(&out);
        out.extend_from_slice(&crc.to_be_bytes());
        out
    }

    /// The version of a whole row, if it is not the one that this version of Lux reads.
    #[must_use]
    pub fn other_version(bytes: &[u8]) -> Option<u8> {
        let (body, crc) = bytes.split_last_chunk::<4>()?;
        let is_whole = crc32fast::hash(body) == u32::from_be_bytes(*crc);
        body.first().copied().filter(|version| is_whole && *version != VERSION)
    }

    /// Reads the row's bytes.
    pub fn decode(bytes: &[u8]) -> Result<Marker, DecodeError> {
        let Some((body, crc)) = bytes.split_last_chunk::<4>() else {
            return Err(Reader::new(bytes).error("marker too short"));
        };
        if crc32fast::hash(body) != u32::from_be_bytes(*crc) {
            return Err(DecodeError { what: "marker checksum mismatch", at: body.len() });
        }
        let mut reader = Reader::new(body);
        if reader.u8()? != VERSION {
            return Err(reader.error("unknown marker version"));
        }
        let store_id = reader.u64_be()?;
        let timeline = reader.varint_u32()?;
        let redo_lsn = Lsn(reader.varint()?);
        let time_ms = reader.varint()?;
        let next_db = DbId(reader.varint_u32()?);
        let mut map = [DbId(0); DATABASES];
        for id in &mut map {
            *id = DbId(reader.varint_u32()?);
        }
        let mut totals = Vec::new();
        for _ in 0..reader.varint()? {
            let db = DbId(reader.varint_u32()?);
            let shard = ShardId(reader.u8()?);
            totals.push(Total { db, shard, keys: reader.varint()?, expires: reader.varint()? });
        }
        let filters = reader.varint()?;
        Ok(Marker { store_id, timeline, redo_lsn, time_ms, next_db, map, totals, filters })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Marker {
        Marker {
            store_id: 99,
            timeline: 3,
            redo_lsn: Lsn(1 << 40),
            time_ms: 1_700_000_000_000,
            next_db: DbId(40),
            map: std::array::from_fn(|i| DbId(i as u32 * 2)),
            totals: vec![Total { db: DbId(4), shard: ShardId(63), keys: 5, expires: 1 }],
            filters: 77,
        }
    }

    #[test]
    fn round_trips() {
        assert_eq!(Marker::decode(&sample().encode()), Ok(sample()));
    }

    #[test]
    fn another_version_is_told_from_damage() {
        let mut bytes = sample().encode();
        assert_eq!(Marker::other_version(&bytes), None);
        bytes[0] = 9;
        assert_eq!(Marker::other_version(&bytes), None, "the checksum does not match");
        let body = bytes.len() - 4;
        let crc = crc32fast::hash(&bytes[..body]).to_be_bytes();
        bytes[body..].copy_from_slice(&crc);
        assert_eq!(Marker::other_version(&bytes), Some(9));
    }

    #[test]
    fn any_flipped_bit_is_noticed() {
        let bytes = sample().encode();
        for i in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[i / 8] ^= 1 << (i % 8);
            assert!(Marker::decode(&damaged).is_err(), "bit {i}");
        }
        for len in 0..bytes.len() {
            assert!(Marker::decode(&bytes[..len]).is_err());
        }
    }
}
