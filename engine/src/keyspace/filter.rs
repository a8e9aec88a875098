//! Which keys may have a row in the cold tier, in memory, so that most absent keys need no read.
//!
//! One filter per database and shard, under the shard's lock. It is a Bloom filter in layers: a
//! layer that has its number of keys is full, and the next one is as large as all before, so that a
//! filter of any size holds 12 to 24 bits per key and its rate of wrong answers stays at a few percent. Each layer is a split block filter (Putze, Sanders, Singler: Cache-, Hash- and
//! Space-Efficient Bloom Filters, 2007; the constants are those of Apache Parquet's specification):
//! one block of 256 bits per key, one bit in each of its eight words, so one cache line a layer.
//!
//! A key is put in when its image is copied for write-back, before a row can exist, and never taken
//! out. So a filter that was complete once stays complete: what it excludes has no row. A filter is
//! complete from the start if no row can exist, else after all rows were walked (see
//! [`crate::tier::filters`]). Deleted keys stay in until the filter is built anew.
//!
//! At its bound in bytes the last layer takes all further keys: answers get worse, never wrong.

use super::hash::KeyHash;
use crate::codec::{DecodeError, Reader, put_varint};

/// Bits of a layer per key.
const BITS_PER_KEY: usize = 12;
/// Keys of the first layer.
const FIRST_LAYER: usize = 4096;
/// Words of a block.
const WORDS: usize = 8;
/// More layers are never made: the last one takes the rest.
const LAYERS_MAX: usize = 40;

const SALTS: [u32; WORDS] =
    [0x47b6_137b, 0x4497_4d91, 0x8824_ad5b, 0xa2b7_289d, 0x7054_95c7, 0x2df1_424b, 0x9efc_4947, 0x5c6b_fb31];

/// A set of keys without false negatives.
#[derive(Debug, Default)]
pub struct ColdFilter {
    layers: Vec<Layer>,
    /// Every key that may have a row is in.
    is_complete: bool,
    /// Something was put in since the last call of [`ColdFilter::take_changed`].
    is_changed: bool,
}

#[derive(Debug)]
struct Layer {
    blocks: Box<[[u32; WORDS]]>,
    /// Keys put in.
    len: u32,
}

impl Layer {
    fn new(keys: usize) -> Layer {
        let blocks = (keys * BITS_PER_KEY).div_ceil(WORDS * 32);
        Layer { blocks: vec![[0; WORDS]; blocks.max(1)].into_boxed_slice(), len: 0 }
    }

    fn capacity(&self) -> usize {
        self.blocks.len() * WORDS * 32 / BITS_PER_KEY
    }

    #[inline]
    fn block_of(&self, hash: u64) -> usize {
        (((hash >> 32) * self.blocks.len() as u64) >> 32) as usize
    }

    #[inline]
    fn contains(&self, hash: u64) -> bool {
        let block = &self.blocks[self.block_of(hash)];
        block.iter().zip(SALTS).all(|(word, salt)| word & bit(hash, salt) != 0)
    }

    fn insert(&mut self, hash: u64) {
        let at = self.block_of(hash);
        for (word, salt) in self.blocks[at].iter_mut().zip(SALTS) {
            *word |= bit(hash, salt);
        }
        self.len = self.len.saturating_add(1);
    }
}

#[inline]
fn bit(hash: u64, salt: u32) -> u32 {
    1 << ((hash as u32).wrapping_mul(salt) >> 27)
}

/// The table hash has the shard's bits, which are the same for all keys here: spread the others.
#[inline]
fn spread(hash: KeyHash) -> u64 {
    // The finaliser of MurmurHash3 (Appleby).
    let mut h = hash.table;
    h = (h ^ (h >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    h = (h ^ (h >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    h ^ (h >> 33)
}

impl ColdFilter {
    /// An empty filter of a database that has no rows.
    #[must_use]
    pub fn complete() -> ColdFilter {
        ColdFilter { is_complete: true, ..ColdFilter::default() }
    }

    /// Whether the key certainly has no row.
    #[inline]
    #[must_use]
    pub fn excludes(&self, hash: KeyHash) -> bool {
        self.is_complete && !self.contains(hash)
    }

    fn contains(&self, hash: KeyHash) -> bool {
        let hash = spread(hash);
        // The newest layers are the largest.
        self.layers.iter().rev().any(|layer| layer.contains(hash))
    }

    /// Puts a key in; `bytes_max` bounds what the layers may take.
    pub fn insert(&mut self, hash: KeyHash, bytes_max: usize) {
        if self.contains(hash) {
            return;
        }
        if self.layers.last().is_none_or(|last| last.len as usize >= last.capacity()) {
            let keys = self.capacity().max(FIRST_LAYER);
            let fits = self.bytes() + keys * BITS_PER_KEY / 8 <= bytes_max && self.layers.len() < LAYERS_MAX;
            if fits || self.layers.is_empty() {
                self.layers.push(Layer::new(keys));
            }
        }
        let last = self.layers.last_mut().expect("a layer was just made if there was none");
        last.insert(spread(hash));
        self.is_changed = true;
    }

    /// Says whether every key that may have a row is in.
    pub fn set_complete(&mut self, is_complete: bool) {
        self.is_complete = is_complete;
    }

    /// Whether every key that may have a row is in.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// Keys put in, deleted ones included.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.layers.iter().map(|layer| u64::from(layer.len)).sum()
    }

    /// Whether no key was put in.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.layers.is_empty()
    }

    /// Number of layers: each costs a lookup a cache line.
    #[must_use]
    pub fn layers(&self) -> usize {
        self.layers.len()
    }

    /// Heap bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.layers.iter().map(|layer| layer.blocks.len() * WORDS * 4).sum()
    }

    /// Keys that fit before a layer is added.
    fn capacity(&self) -> usize {
        self.layers.iter().map(Layer::capacity).sum()
    }

    /// Makes room for so many keys in the first layer of an empty filter.
    pub fn reserve(&mut self, keys: u64, bytes_max: usize) {
        let fitting = bytes_max.saturating_mul(8) / BITS_PER_KEY;
        let keys = usize::try_from(keys).unwrap_or(usize::MAX).min(fitting);
        if self.layers.is_empty() && keys > FIRST_LAYER {
            self.layers.push(Layer::new(keys));
        }
    }

    /// Whether something was put in since the last call.
    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.is_changed)
    }

    /// Appends the filter's bytes: count of layers, then for each its keys, blocks and words.
    pub fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, self.layers.len() as u64);
        for layer in &self.layers {
            put_varint(out, u64::from(layer.len));
            put_varint(out, layer.blocks.len() as u64);
            for word in layer.blocks.iter().flatten() {
                out.extend_from_slice(&word.to_le_bytes());
            }
        }
    }

    /// Reads a filter that was complete when it was encoded.
    pub fn decode(reader: &mut Reader<'_>) -> Result<ColdFilter, DecodeError> {
        let mut filter = ColdFilter::complete();
        for _ in 0..reader.varint()? {
            let len = reader.varint_u32()?;
            let blocks = usize::try_from(reader.varint()?).unwrap_or(usize::MAX);
            let bytes = reader.take(blocks.saturating_mul(WORDS * 4))?;
            let mut layer = Layer { blocks: vec![[0; WORDS]; blocks].into_boxed_slice(), len };
            if blocks == 0 {
                return Err(reader.error("a filter layer without blocks"));
            }
            for (word, bytes) in layer.blocks.iter_mut().flatten().zip(bytes.as_chunks::<4>().0) {
                *word = u32::from_le_bytes(*bytes);
            }
            filter.layers.push(layer);
        }
        Ok(filter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyspace::hash::KeyHasher;

    /// Hashes of keys of one shard only: their shard bits are all the same.
    fn hashes(from: u32, count: usize) -> Vec<KeyHash> {
        let hasher = KeyHasher::new(7);
        let keys = (from..).map(|i| hasher.hash(format!("key:{i}").as_bytes()));
        keys.filter(|hash| hash.shard.0 == 5).take(count).collect()
    }

    #[test]
    fn what_was_put_in_is_never_excluded_and_little_else_is_included() {
        let inside = hashes(0, 40_000);
        let outside = hashes(10_000_000, 20_000);
        let mut filter = ColdFilter::complete();
        for (i, hash) in inside.iter().enumerate() {
            filter.insert(*hash, usize::MAX);
            assert!(!filter.excludes(inside[i / 2]));
        }
        assert!(inside.iter().all(|hash| !filter.excludes(*hash)));
        let wrong = outside.iter().filter(|hash| !filter.excludes(**hash)).count();
        assert!(wrong < outside.len() / 25, "{wrong} of {} are wrong", outside.len());
        assert!(filter.bytes() * 8 < inside.len() * 25, "{} bytes", filter.bytes());
    }

    #[test]
    fn an_incomplete_filter_excludes_nothing() {
        let mut filter = ColdFilter::default();
        let keys = hashes(0, 10);
        assert!(keys.iter().all(|hash| !filter.excludes(*hash)));
        filter.set_complete(true);
        assert!(keys.iter().all(|hash| filter.excludes(*hash)));
    }

    #[test]
    fn at_its_bound_it_gets_worse_but_not_wrong() {
        let keys = hashes(0, 20_000);
        let mut filter = ColdFilter::complete();
        for hash in &keys {
            filter.insert(*hash, 10_000);
        }
        assert!(filter.bytes() <= 10_000);
        assert!(keys.iter().all(|hash| !filter.excludes(*hash)));
    }

    #[test]
    fn it_reads_back_what_it_wrote() {
        let keys = hashes(0, 5000);
        let mut filter = ColdFilter::complete();
        keys.iter().for_each(|hash| filter.insert(*hash, usize::MAX));
        let mut bytes = Vec::new();
        filter.encode(&mut bytes);
        let back = ColdFilter::decode(&mut Reader::new(&bytes)).expect("it was just encoded");
        assert_eq!(
            (back.len(), back.layers(), back.bytes()),
            (filter.len(), filter.layers(), filter.bytes())
        );
        assert!(keys.iter().all(|hash| !back.excludes(*hash)));
        for cut in [0, 1, 2, bytes.len() - 1] {
            assert!(ColdFilter::decode(&mut Reader::new(&bytes[..cut])).is_err());
        }
    }
}
