//! HyperLogLog: how many distinct elements there were, within about 0.81%, in at most 12 KiB.
//!
//! A sketch is a string, byte for byte as Redis has it, so that GET, SET and DUMP carry it anywhere:
//!
//! ```text
//! "HYLL" | encoding, u8: 0 dense, 1 sparse | 3 unused | cached count, u64 LE (top bit: outdated) | registers
//! ```
//!
//! There are 16384 registers; each holds the longest run of zeros, plus 1, that the hash of one of its
//! elements had. Dense: 6 bits each, low bits first, 12288 bytes. Sparse: runs of equal registers,
//!
//! | bytes | run |
//! |---|---|
//! | `00nnnnnn` | `n + 1` registers of 0 |
//! | `01nnnnnn nnnnnnnn` | `n + 1` registers of 0 |
//! | `1vvvvvnn` | `n + 1` registers of `v + 1` |
//!
//! until a register passes 32 or the string would pass the limit `sparse_max` (Redis's
//! `hll-sparse-max-bytes`); then it becomes dense for good. Sparse strings are changed run by run as
//! Redis does it, since the same elements must leave the same bytes.
//!
//! Adding to a dense sketch costs the same whatever it holds and yields a few patched bytes; to a sparse
//! one, its length. Counting is linear in the string, or free while the cached count is right. The hash
//! is MurmurHash64A, the estimate Ertl's ("New cardinality estimation algorithms for HyperLogLog
//! sketches", arXiv:1702.01284).
//!
//! Nothing here changes a string: functions return what is to be written. Bytes that are not a sketch,
//! or one with runs that do not add up, give an error, and then nothing is to be written.

mod estimate;
mod sparse;

use std::collections::BTreeMap;

use estimate::{Histogram, REGISTER_MAX};
use sparse::Runs;

/// Registers of a sketch.
pub const REGISTERS: usize = 1 << INDEX_BITS;
/// Bits of a hash that choose the register.
const INDEX_BITS: u32 = 14;
/// The other bits, of which zeros are counted.
const RUN_BITS: u32 = 64 - INDEX_BITS;
/// Bits of a dense register.
const REGISTER_BITS: usize = 6;
const HEADER_BYTES: usize = 16;
const DENSE_BYTES: usize = HEADER_BYTES + REGISTERS * REGISTER_BITS / 8;
const MAGIC: &[u8; 4] = b"HYLL";
const ENCODING_AT: usize = 4;
const DENSE: u8 = 0;
const SPARSE: u8 = 1;
/// Where the cached count stands.
const COUNT_AT: usize = 8;
/// Its last byte, which says in its top bit that it is outdated.
const OUTDATED_AT: usize = 15;
const OUTDATED: u8 = 0x80;
const HASH_SEED: u64 = 0xadc8_3b19;
/// Equal bytes between two changed ones that are patched along.
const PATCH_GAP: usize = 8;

/// Why a string is not taken; the texts are Redis's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HllError {
    /// It does not have the header of a sketch, or not the length.
    #[error("WRONGTYPE Key is not a valid HyperLogLog string value.")]
    NotASketch,
    /// Its registers do not add up.
    #[error("INVALIDOBJ Corrupted HLL object detected")]
    Corrupted,
}

/// What is to be written so that a string becomes another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing.
    None,
    /// These bytes at these places, which rise and lie within the string.
    Patch(Vec<Patch>),
    /// The whole string.
    Set(Vec<u8>),
}

/// Bytes that replace as many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patch {
    /// Where they go.
    pub offset: usize,
    /// What they are.
    pub bytes: Vec<u8>,
}

/// How a sketch holds its registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// All of them, 6 bits each.
    Dense,
    /// Runs of equal ones.
    Sparse,
}

impl Encoding {
    /// The reply of PFDEBUG ENCODING.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Encoding::Dense => "dense",
            Encoding::Sparse => "sparse",
        }
    }
}

/// How a string holds a sketch, by its header.
///
/// # Errors
/// [`HllError::NotASketch`].
pub fn encoding(bytes: &[u8]) -> Result<Encoding, HllError> {
    let has_header = bytes.len() >= HEADER_BYTES && bytes.starts_with(MAGIC);
    match bytes.get(ENCODING_AT) {
        Some(&DENSE) if has_header && bytes.len() == DENSE_BYTES => Ok(Encoding::Dense),
        Some(&SPARSE) if has_header => Ok(Encoding::Sparse),
        _ => Err(HllError::NotASketch),
    }
}

/// Adds elements (PFADD). [`Change::None`] tells that none of them changed the sketch; a missing one
/// is created even without elements.
///
/// # Errors
/// [`HllError`].
pub fn add<'a>(
    current: Option<&[u8]>,
    elements: impl Iterator<Item = &'a [u8]>,
    sparse_max: usize,
) -> Result<Change, HllError> {
    let places = elements.map(place);
    match current {
        None => {
            let mut sketch = Sketch::empty();
            sketch.set_outdated();
            sketch.raise_all(places, sparse_max)?;
            Ok(Change::Set(sketch.bytes))
        }
        Some(bytes) if encoding(bytes)? == Encoding::Dense => Ok(add_dense(bytes, places)),
        Some(bytes) => {
            let mut sketch = Sketch { bytes: bytes.to_vec() };
            sketch.raise_all(places, sparse_max)?;
            Ok(difference(bytes, sketch.bytes))
        }
    }
}

/// Adds to a dense sketch without a copy of it.
fn add_dense(bytes: &[u8], places: impl Iterator<Item = (usize, u8)>) -> Change {
    let mut changed: BTreeMap<usize, u8> = BTreeMap::new();
    for (index, value) in places {
        let (at, shift) = dense_place(index);
        let byte = |at: usize| changed.get(&at).or(bytes.get(at)).copied().unwrap_or(0);
        let both = u16::from_le_bytes([byte(at), byte(at + 1)]);
        if (both >> shift) as u8 & REGISTER_MAX < value {
            let [low, high] = with_register(both, shift, value).to_le_bytes();
            changed.insert(at, low);
            if at + 1 < bytes.len() {
                changed.insert(at + 1, high);
            }
        }
    }
    if changed.is_empty() {
        return Change::None;
    }
    changed.insert(OUTDATED_AT, bytes[OUTDATED_AT] | OUTDATED);
    let is_new = |(at, byte): &(usize, u8)| bytes[*at] != *byte;
    let mut patches: Vec<Patch> = Vec::new();
    for (offset, byte) in changed.into_iter().filter(is_new) {
        match patches.last_mut() {
            Some(patch) if patch.offset + patch.bytes.len() == offset => patch.bytes.push(byte),
            _ => patches.push(Patch { offset, bytes: vec![byte] }),
        }
    }
    Change::Patch(patches)
}

/// The shortest way from `old` to `new`.
fn difference(old: &[u8], new: Vec<u8>) -> Change {
    if old.len() != new.len() {
        return Change::Set(new);
    }
    let mut patches: Vec<Patch> = Vec::new();
    for (at, byte) in new.iter().enumerate().filter(|(at, byte)| old[*at] != **byte) {
        match patches.last_mut() {
            Some(patch) if at - (patch.offset + patch.bytes.len()) <= PATCH_GAP => {
                patch.bytes.extend_from_slice(&new[patch.offset + patch.bytes.len()..=at]);
            }
            _ => patches.push(Patch { offset: at, bytes: vec![*byte] }),
        }
    }
    if patches.is_empty() { Change::None } else { Change::Patch(patches) }
}

/// The count of one sketch (PFCOUNT with one key).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Count {
    /// About how many distinct elements were added.
    pub elements: u64,
    /// What remembers it, if the sketch does not yet.
    pub cache: Option<Patch>,
}

/// Counts the elements of one sketch.
///
/// # Errors
/// [`HllError`].
pub fn count(bytes: &[u8]) -> Result<Count, HllError> {
    encoding(bytes)?;
    let cached = bytes[COUNT_AT..].first_chunk().map_or(0, |count| u64::from_le_bytes(*count));
    if bytes[OUTDATED_AT] & OUTDATED == 0 {
        return Ok(Count { elements: cached, cache: None });
    }
    let elements = histogram(bytes)?.estimate();
    let cache = Patch { offset: COUNT_AT, bytes: elements.to_le_bytes().to_vec() };
    Ok(Count { elements, cache: Some(cache) })
}

fn histogram(bytes: &[u8]) -> Result<Histogram, HllError> {
    let mut histogram = Histogram::default();
    each_run(bytes, |_, len, value| histogram.add(value, len))?;
    Ok(histogram)
}

/// Gives start, length and value of each run of registers.
fn each_run(bytes: &[u8], mut push: impl FnMut(usize, usize, u8)) -> Result<(), HllError> {
    if encoding(bytes)? == Encoding::Dense {
        for (group, three) in bytes[HEADER_BYTES..].as_chunks::<3>().0.iter().enumerate() {
            let bits = u32::from_le_bytes([three[0], three[1], three[2], 0]);
            for register in 0..4 {
                push(4 * group + register, 1, (bits >> (6 * register)) as u8 & REGISTER_MAX);
            }
        }
        return Ok(());
    }
    let mut start = 0;
    for run in Runs::of(&bytes[HEADER_BYTES..]) {
        let run = run?;
        if start + run.len > REGISTERS {
            return Err(HllError::Corrupted);
        }
        push(start, run.len, run.value);
        start += run.len;
    }
    if start == REGISTERS { Ok(()) } else { Err(HllError::Corrupted) }
}

/// The registers of several sketches together.
pub struct Union {
    registers: Box<[u8]>,
    has_dense: bool,
}

impl Default for Union {
    fn default() -> Self {
        Union { registers: vec![0; REGISTERS].into_boxed_slice(), has_dense: false }
    }
}

impl Union {
    /// Takes a sketch in.
    ///
    /// # Errors
    /// [`HllError`]; the union is then of no use.
    pub fn merge(&mut self, bytes: &[u8]) -> Result<(), HllError> {
        self.has_dense |= encoding(bytes)? == Encoding::Dense;
        each_run(bytes, |start, len, value| {
            if value > 0 {
                self.registers[start..start + len].iter_mut().for_each(|own| *own = value.max(*own));
            }
        })
    }

    /// Counts the elements of all sketches (PFCOUNT with several keys).
    #[must_use]
    pub fn count(&self) -> u64 {
        let mut histogram = Histogram::default();
        self.registers.iter().for_each(|value| histogram.add(*value, 1));
        histogram.estimate()
    }

    /// The registers (PFDEBUG GETREG).
    #[must_use]
    pub fn registers(&self) -> &[u8] {
        &self.registers
    }

    /// Writes the union over `target`, which must be part of it if it exists (PFMERGE).
    ///
    /// # Errors
    /// [`HllError`] for a target that is not a sketch.
    pub fn store(&self, target: Option<&[u8]>, sparse_max: usize) -> Result<Change, HllError> {
        let mut sketch = match target {
            Some(bytes) => Sketch { bytes: bytes.to_vec() },
            None => Sketch::empty(),
        };
        encoding(&sketch.bytes)?;
        if self.has_dense {
            sketch.make_dense()?;
        }
        let values = self.registers.iter().enumerate().filter(|(_, value)| **value > 0);
        for (index, value) in values {
            sketch.raise(index, *value, sparse_max)?;
        }
        sketch.set_outdated();
        Ok(match target {
            Some(bytes) => difference(bytes, sketch.bytes),
            None => Change::Set(sketch.bytes),
        })
    }
}

/// The dense form of a sparse sketch; `None` if it is dense already (PFDEBUG TODENSE, GETREG).
///
/// # Errors
/// [`HllError`].
pub fn to_dense(bytes: &[u8]) -> Result<Option<Vec<u8>>, HllError> {
    if encoding(bytes)? == Encoding::Dense {
        return Ok(None);
    }
    let mut sketch = Sketch { bytes: bytes.to_vec() };
    sketch.make_dense()?;
    Ok(Some(sketch.bytes))
}

/// The runs of a sparse sketch as PFDEBUG DECODE shows them; `None` if it is dense.
///
/// # Errors
/// [`HllError`].
pub fn describe(bytes: &[u8]) -> Result<Option<String>, HllError> {
    if encoding(bytes)? == Encoding::Dense {
        return Ok(None);
    }
    let texts: Result<Vec<String>, HllError> =
        Runs::of(&bytes[HEADER_BYTES..]).map(|run| Ok(run?.text())).collect();
    Ok(Some(texts?.join(" ")))
}

/// Tests registers and estimates as PFSELFTEST does, with numbers from `random`.
///
/// `rounds` times all registers are set and read; then up to `elements` elements are added to a dense
/// and a sparse sketch. Redis takes 1000 and 10 million, for which it needs about a second.
///
/// # Errors
/// The reply, which starts with `TESTFAILED`.
pub fn self_test(
    random: &mut dyn FnMut() -> u64,
    rounds: u32,
    elements: u64,
    sparse_max: usize,
) -> Result<(), String> {
    let mut dense = Sketch::empty();
    dense.make_dense().map_err(|error| format!("TESTFAILED {error}"))?;
    for _ in 0..rounds {
        let values: Vec<u8> = (0..REGISTERS).map(|_| random() as u8 & REGISTER_MAX).collect();
        values.iter().enumerate().for_each(|(index, value)| set_register(&mut dense.bytes, index, *value));
        for (index, value) in values.iter().enumerate() {
            let found = register(&dense.bytes, index);
            if found != *value {
                return Err(format!("TESTFAILED Register {index} should be {value} but is {found}"));
            }
        }
    }
    dense.bytes[HEADER_BYTES..].fill(0);
    test_estimates(dense, random(), elements, sparse_max)
}

fn test_estimates(mut dense: Sketch, seed: u64, elements: u64, sparse_max: usize) -> Result<(), String> {
    let failed = |error: HllError| format!("TESTFAILED {error}");
    let mut sparse = Sketch::empty();
    let mut checkpoint = 1;
    for number in 1..=elements {
        let (index, value) = place(&(number ^ seed).to_le_bytes());
        dense.raise(index, value, sparse_max).map_err(failed)?;
        sparse.raise(index, value, sparse_max).map_err(failed)?;
        if number != checkpoint {
            continue;
        }
        if number < sparse_max as u64 / 2 && sparse.bytes[ENCODING_AT] != SPARSE {
            return Err("TESTFAILED sparse encoding not used".to_owned());
        }
        let found = histogram(&dense.bytes).map_err(failed)?.estimate();
        if found != histogram(&sparse.bytes).map_err(failed)?.estimate() {
            return Err("TESTFAILED dense/sparse disagree".to_owned());
        }
        // Six times the standard error; ten elements collide too often to be judged by it.
        let error_max = if number == 10 { 1 } else { estimate::error_bound(number) };
        let error = found.abs_diff(number);
        if error > error_max {
            return Err(format!("TESTFAILED Too big error. card:{number} abserr:{error}"));
        }
        checkpoint *= 10;
    }
    Ok(())
}

/// The register of an element and the value that it gives it.
fn place(element: &[u8]) -> (usize, u8) {
    let hash = murmur_hash_64a(element, HASH_SEED);
    // A bit behind the last ends the run.
    let run = hash >> INDEX_BITS | 1 << RUN_BITS;
    ((hash & (REGISTERS as u64 - 1)) as usize, run.trailing_zeros() as u8 + 1)
}

/// Austin Appleby's 64-bit MurmurHash2.
fn murmur_hash_64a(bytes: &[u8], seed: u64) -> u64 {
    const M: u64 = 0xc6a4_a793_5bd1_e995;
    const R: u32 = 47;
    let mut hash = seed ^ (bytes.len() as u64).wrapping_mul(M);
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        let mut word = u64::from_le_bytes(*word).wrapping_mul(M);
        word ^= word >> R;
        hash = (hash ^ word.wrapping_mul(M)).wrapping_mul(M);
    }
    if !rest.is_empty() {
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        hash = (hash ^ u64::from_le_bytes(last)).wrapping_mul(M);
    }
    hash = (hash ^ hash >> R).wrapping_mul(M);
    hash ^ hash >> R
}

/// Where a dense register starts: byte of the string, bit of that byte. It may end in the next.
fn dense_place(index: usize) -> (usize, u32) {
    let bit = index * REGISTER_BITS;
    (HEADER_BYTES + bit / 8, (bit % 8) as u32)
}

/// Two bytes with another value in the register at bit `shift`.
fn with_register(both: u16, shift: u32, value: u8) -> u16 {
    both & !(u16::from(REGISTER_MAX) << shift) | u16::from(value) << shift
}

/// A register of a dense sketch.
fn register(bytes: &[u8], index: usize) -> u8 {
    let (at, shift) = dense_place(index);
    let byte = |at: usize| bytes.get(at).copied().unwrap_or(0);
    (u16::from_le_bytes([byte(at), byte(at + 1)]) >> shift) as u8 & REGISTER_MAX
}

fn set_register(bytes: &mut [u8], index: usize, value: u8) {
    let (at, shift) = dense_place(index);
    let next = bytes.get(at + 1).copied().unwrap_or(0);
    let [low, high] = with_register(u16::from_le_bytes([bytes[at], next]), shift, value).to_le_bytes();
    bytes[at] = low;
    if let Some(next) = bytes.get_mut(at + 1) {
        *next = high;
    }
}

/// A sketch that is being changed. Its header is right.
struct Sketch {
    bytes: Vec<u8>,
}

impl Sketch {
    /// The sketch of nothing.
    fn empty() -> Self {
        let mut bytes = vec![0; HEADER_BYTES];
        bytes[..MAGIC.len()].copy_from_slice(MAGIC);
        bytes[ENCODING_AT] = SPARSE;
        bytes.extend_from_slice(&sparse::NO_ELEMENTS);
        Sketch { bytes }
    }

    fn set_outdated(&mut self) {
        self.bytes[OUTDATED_AT] |= OUTDATED;
    }

    fn raise_all(
        &mut self,
        mut places: impl Iterator<Item = (usize, u8)>,
        sparse_max: usize,
    ) -> Result<(), HllError> {
        places.try_for_each(|(index, value)| {
            if self.raise(index, value, sparse_max)? {
                self.set_outdated();
            }
            Ok(())
        })
    }

    /// Raises a register to `value`, if it is lower; tells whether it was.
    fn raise(&mut self, index: usize, value: u8, sparse_max: usize) -> Result<bool, HllError> {
        if self.bytes[ENCODING_AT] == SPARSE {
            match sparse::raise(&mut self.bytes, HEADER_BYTES, (index, value), sparse_max)? {
                sparse::Raised::No => return Ok(false),
                sparse::Raised::Yes => return Ok(true),
                sparse::Raised::Unfit => self.make_dense()?,
            }
        }
        if register(&self.bytes, index) >= value {
            return Ok(false);
        }
        set_register(&mut self.bytes, index, value);
        Ok(true)
    }

    /// Makes a sparse sketch dense; the cached count stays.
    fn make_dense(&mut self) -> Result<(), HllError> {
        if self.bytes[ENCODING_AT] == DENSE {
            return Ok(());
        }
        let mut dense = vec![0; DENSE_BYTES];
        dense[..HEADER_BYTES].copy_from_slice(&self.bytes[..HEADER_BYTES]);
        dense[ENCODING_AT] = DENSE;
        each_run(&self.bytes, |start, len, value| {
            if value > 0 {
                (start..start + len).for_each(|index| set_register(&mut dense, index, value));
            }
        })?;
        self.bytes = dense;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
