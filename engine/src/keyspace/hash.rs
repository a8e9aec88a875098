//! Where a key lives: cluster slot, bucket, shard and table hash, all from its bytes.
//!
//! The bucket (14-bit cluster slot, then 18 bits of a seeded hash) is the order both tiers
//! share: it leads the row key of the cold tier and is what a SCAN cursor counts. The shard
//! comes from other bits of the same hash, so that keys of one hash tag do not share a lock.
//!
//! The hash (XXH3, seeded per store) is part of the on-disk format: never change it without a
//! new format version.

use crate::ids::ShardId;

/// Number of shards; fixed per store.
pub const SHARDS: usize = 64;
/// Bits of a bucket that come from the seeded hash.
pub const BUCKET_HASH_BITS: u32 = 18;
/// Number of Redis Cluster hash slots.
pub const SLOTS: u16 = 16384;

/// Everything derived from a key's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyHash {
    /// Position in the order both tiers share: slot (14 bits), hash (18 bits).
    pub bucket: u32,
    /// The shard that guards the key.
    pub shard: ShardId,
    /// Hash for the in-memory table.
    pub table: u64,
}

/// Hashes keys with the store's seed.
#[derive(Clone, Copy, Debug)]
pub struct KeyHasher {
    seed: u64,
}

impl KeyHasher {
    /// A hasher with the seed that the store was created with.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        KeyHasher { seed }
    }

    /// Hashes one key.
    #[inline]
    #[must_use]
    pub fn hash(&self, key: &[u8]) -> KeyHash {
        let hash = xxhash_rust::xxh3::xxh3_64_with_seed(key, self.seed);
        let low = (hash as u32) & ((1 << BUCKET_HASH_BITS) - 1);
        KeyHash {
            bucket: (u32::from(slot(key)) << BUCKET_HASH_BITS) | low,
            shard: ShardId((hash >> BUCKET_HASH_BITS) as u8 & (SHARDS as u8 - 1)),
            // Neither the shard bits (constant inside a shard) nor the bucket bits (close together
            // inside a page) may lead: hashbrown takes the lowest bits and the highest seven.
            table: hash.rotate_left(8),
        }
    }
}

/// The Redis Cluster slot of a key: CRC16 of the hash tag `{...}` if there is one, else of the
/// whole key (Redis Cluster specification, "Key distribution model").
#[must_use]
pub fn slot(key: &[u8]) -> u16 {
    crc16(hash_tag(key)) & (SLOTS - 1)
}

fn hash_tag(key: &[u8]) -> &[u8] {
    let Some(open) = memchr::memchr(b'{', key) else { return key };
    let inside = &key[open + 1..];
    match memchr::memchr(b'}', inside) {
        Some(0) | None => key,
        Some(close) => &inside[..close],
    }
}

/// CRC16-CCITT (XMODEM), two bytes a step.
fn crc16(bytes: &[u8]) -> u16 {
    let mut crc = 0u16;
    let mut pairs = bytes.chunks_exact(2);
    for pair in &mut pairs {
        let x = crc ^ u16::from_be_bytes([pair[0], pair[1]]);
        crc = CRC16[1][(x >> 8) as usize] ^ CRC16[0][(x & 0xff) as usize];
    }
    for &byte in pairs.remainder() {
        crc = (crc << 8) ^ CRC16[0][((crc >> 8) as u8 ^ byte) as usize];
    }
    crc
}

/// `CRC16[0]` is the classic byte table, `CRC16[1]` the same advanced by one more byte.
static CRC16: [[u16; 256]; 2] = crc16_tables();

const fn crc16_tables() -> [[u16; 256]; 2] {
    let mut tables = [[0u16; 256]; 2];
    let mut i = 0;
    while i < 256 {
        let mut crc = (i as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 != 0 { (crc << 1) ^ 0x1021 } else { crc << 1 };
            bit += 1;
        }
        tables[0][i] = crc;
        i += 1;
    }
    let mut i = 0;
    while i < 256 {
        let crc = tables[0][i];
        tables[1][i] = (crc << 8) ^ tables[0][(crc >> 8) as usize];
        i += 1;
    }
    tables
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_redis_cluster() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        assert_eq!(slot(b"foo"), 12182);
        assert_eq!(slot(b"{foo}.bar"), 12182);
        assert_eq!(slot(b"x{}foo"), crc16(b"x{}foo") & 16383);
        assert_eq!(slot(b"a{b}{c}"), slot(b"b"));
        assert_eq!(slot(b""), 0);
    }

    #[test]
    fn one_hash_tag_uses_every_shard() {
        let hasher = KeyHasher::new(7);
        let mut seen = [false; SHARDS];
        for i in 0..2000 {
            seen[hasher.hash(format!("{{tag}}{i}").as_bytes()).shard.0 as usize] = true;
        }
        assert!(seen.iter().all(|s| *s));
    }
}
