//! Strings as arrays of bits: BITCOUNT, BITPOS, BITOP, SETBIT and BITFIELD.
//!
//! Bit 0 is the most significant bit of byte 0. A string is followed by endless zero bits: reading
//! behind its end gives zeros, writing there lengthens it. Nothing here changes a string in place;
//! writers get the few bytes to put ([`FieldEdits`]), so a big string is never copied.

use std::collections::BTreeMap;
use std::ops::Range;

use super::number::parse_int;
use super::range::{clamp_inclusive, from_either_end, is_reversed};

/// What the bounds of BITCOUNT and BITPOS count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Bounds are byte indexes.
    Byte,
    /// Bounds are bit indexes.
    Bit,
}

/// Inclusive bounds as BITCOUNT takes them; negative ones count from the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// First unit.
    pub start: i64,
    /// Last unit; without one the search goes on into the zeros behind the string.
    pub end: Option<i64>,
    /// What start and end count.
    pub unit: Unit,
}

impl Bounds {
    /// The bits meant, in a string of `bytes` bytes; `None` when there are none.
    fn bits(&self, bytes: usize) -> Option<Range<u64>> {
        let bytes = bytes as u64;
        let (len, width) = match self.unit {
            Unit::Byte => (bytes, 8),
            Unit::Bit => (bytes * 8, 1),
        };
        let units = match self.end {
            Some(end) => clamp_inclusive(len, self.start, end)?,
            None => from_either_end(len, self.start)..len,
        };
        (!units.is_empty()).then(|| units.start * width..units.end * width)
    }
}

/// Counts the one bits of `bytes`.
#[must_use]
pub fn popcount(bytes: &[u8]) -> u64 {
    // Whole blocks with separate sums, so that the additions do not wait for each other.
    let (blocks, rest) = bytes.as_chunks::<64>();
    let mut sums = [0u64; 8];
    for block in blocks {
        for (sum, word) in sums.iter_mut().zip(block.as_chunks::<8>().0) {
            *sum += u64::from(u64::from_ne_bytes(*word).count_ones());
        }
    }
    sums.iter().sum::<u64>() + rest.iter().map(|b| u64::from(b.count_ones())).sum::<u64>()
}

/// `BITCOUNT`: the one bits of the string, or of a part of it.
#[must_use]
pub fn bitcount(bytes: &[u8], bounds: Option<Bounds>) -> u64 {
    let Some(bounds) = bounds else {
        return popcount(bytes);
    };
    if bounds.end.is_some_and(|end| is_reversed(bounds.start, end)) {
        return 0;
    }
    let Some(bits) = bounds.bits(bytes.len()) else {
        return 0;
    };
    let (first, last) = (byte_of(bits.start), byte_of(bits.end - 1));
    let outside = (bytes[first] & !mask_from(bits.start)).count_ones()
        + (bytes[last] & !mask_to(bits.end - 1)).count_ones();
    popcount(&bytes[first..=last]) - u64::from(outside)
}

/// `BITPOS`: the first bit equal to `bit`, or -1.
///
/// Unlike in BITCOUNT, two negative bounds in the wrong order that both lie before the string mean
/// its first unit. Without an end, a zero is always found: at the latest right behind the string. An empty string
/// (or part of it) holds neither bit. For a key that does not exist the answer is 0 or -1 instead,
/// which is the caller's to give.
#[must_use]
pub fn bitpos(bytes: &[u8], bit: bool, bounds: Option<Bounds>) -> i64 {
    let bounds = bounds.unwrap_or(Bounds { start: 0, end: None, unit: Unit::Byte });
    let Some(bits) = bounds.bits(bytes.len()) else {
        return -1;
    };
    match find_bit(bytes, bit, &bits) {
        Some(position) => position.cast_signed(),
        None if !bit && bounds.end.is_none() => bits.end.cast_signed(),
        None => -1,
    }
}

/// Position of the first bit equal to `bit` within the non-empty `bits`.
fn find_bit(bytes: &[u8], bit: bool, bits: &Range<u64>) -> Option<u64> {
    let flip = if bit { 0 } else { 0xff };
    let (first, last) = (byte_of(bits.start), byte_of(bits.end - 1));
    let head = (bytes[first] ^ flip) & mask_from(bits.start);
    let (index, wanted) = if head != 0 {
        (first, head)
    } else {
        let rest = &bytes[first + 1..=last.max(first)];
        let index = first + 1 + first_other_than(rest, flip)?;
        (index, bytes[index] ^ flip)
    };
    let position = index as u64 * 8 + u64::from(wanted.leading_zeros());
    (position < bits.end).then_some(position)
}

/// Index of the first byte that is not `skip`.
fn first_other_than(bytes: &[u8], skip: u8) -> Option<usize> {
    let (words, rest) = bytes.as_chunks::<8>();
    let skip_word = [skip; 8];
    let (index, tail) = match words.iter().position(|word| *word != skip_word) {
        Some(word) => (word * 8, &words[word][..]),
        None => (words.len() * 8, rest),
    };
    tail.iter().position(|byte| *byte != skip).map(|offset| index + offset)
}

fn byte_of(bit: u64) -> usize {
    usize::try_from(bit / 8).expect("the bit lies in a string that is in memory")
}

/// The bits of a byte from bit index `bit` on.
fn mask_from(bit: u64) -> u8 {
    0xff >> (bit % 8)
}

/// The bits of a byte up to and with bit index `bit`.
fn mask_to(bit: u64) -> u8 {
    0xff << (7 - bit % 8)
}

/// Value of one bit; false behind the end of the string.
#[must_use]
pub fn getbit(bytes: &[u8], offset: u64) -> bool {
    byte_at(bytes, offset / 8) & (0x80 >> (offset % 8)) != 0
}

/// The byte that holds bit `offset` once that bit is `on`, for writing back at `offset / 8`.
#[must_use]
pub fn byte_with_bit(bytes: &[u8], offset: u64, on: bool) -> u8 {
    let bit = 0x80 >> (offset % 8);
    let byte = byte_at(bytes, offset / 8);
    if on { byte | bit } else { byte & !bit }
}

fn byte_at(bytes: &[u8], index: u64) -> u8 {
    usize::try_from(index).ok().and_then(|index| bytes.get(index)).copied().unwrap_or(0)
}

/// What BITOP does to its sources, bit by bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BitOp {
    /// One where every source has a one.
    And,
    /// One where any source has a one.
    Or,
    /// One where an odd number of sources has a one.
    Xor,
    /// The inverse of the only source.
    Not,
}

/// `BITOP` in the making: takes the sources one after the other.
///
/// Shorter sources (missing keys are empty) count as zero-padded; the result is as long as the
/// longest one.
pub struct BitOpResult {
    op: BitOp,
    bytes: Vec<u8>,
    is_empty: bool,
}

impl BitOpResult {
    /// Starts without a source.
    #[must_use]
    pub fn new(op: BitOp) -> Self {
        BitOpResult { op, bytes: Vec::new(), is_empty: true }
    }

    /// Combines one more source. For `Not` there is only one.
    pub fn add(&mut self, source: &[u8]) {
        if std::mem::take(&mut self.is_empty) {
            match self.op {
                BitOp::Not => self.bytes.extend(source.iter().map(|byte| !byte)),
                _ => self.bytes.extend_from_slice(source),
            }
            return;
        }
        if source.len() > self.bytes.len() {
            self.bytes.resize(source.len(), 0);
        }
        let (shared, beyond) = self.bytes.split_at_mut(source.len());
        let pairs = shared.iter_mut().zip(source);
        match self.op {
            BitOp::And => {
                pairs.for_each(|(byte, other)| *byte &= other);
                beyond.fill(0);
            }
            BitOp::Or => pairs.for_each(|(byte, other)| *byte |= other),
            BitOp::Xor => pairs.for_each(|(byte, other)| *byte ^= other),
            BitOp::Not => unreachable!("NOT takes one source"),
        }
    }

    /// The result.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        self.bytes
    }
}

/// The integer type of a BITFIELD operation: `i1` to `i64`, `u1` to `u63`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldType {
    signed: bool,
    bits: u32,
}

/// What BITFIELD does with a result that does not fit its type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overflow {
    /// Keep the low bits.
    #[default]
    Wrap,
    /// Use the nearest value that fits.
    Saturate,
    /// Write nothing and answer null.
    Fail,
}

impl FieldType {
    /// Reads `i8`, `u63` and the like.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let (sign, width) = text.split_first()?;
        let (signed, most) = match sign {
            b'i' => (true, 64),
            b'u' => (false, 63),
            _ => return None,
        };
        let bits = u32::try_from(parse_int(width)?).ok()?;
        (1..=most).contains(&bits).then_some(FieldType { signed, bits })
    }

    /// Width in bits.
    #[must_use]
    pub fn bits(self) -> u32 {
        self.bits
    }

    fn min(self) -> i128 {
        if self.signed { -(1 << (self.bits - 1)) } else { 0 }
    }

    fn max(self) -> i128 {
        if self.signed { (1 << (self.bits - 1)) - 1 } else { (1 << self.bits) - 1 }
    }

    /// What SET stores for `value`; `None` when it does not fit and must not be stored.
    ///
    /// Redis's distance from the largest value of the type wraps for values close to `i64::MIN`, so
    /// they saturate upwards; clients see the same here.
    #[must_use]
    pub fn fit(self, value: i64, overflow: Overflow) -> Option<i64> {
        // As in Redis a negative value for an unsigned field is a huge one, not a small one.
        let exact = if self.signed { i128::from(value) } else { i128::from(value.cast_unsigned()) };
        let is_far_below = self.bits < 64 && self.max() - exact > i128::from(i64::MAX);
        let exact = if is_far_below && overflow == Overflow::Saturate { self.max() } else { exact };
        self.fit_exact(exact, overflow)
    }

    /// The sum that INCRBY stores and answers; `None` when it does not fit and must not be stored.
    #[must_use]
    pub fn add(self, value: i64, increment: i64, overflow: Overflow) -> Option<i64> {
        self.fit_exact(i128::from(value) + i128::from(increment), overflow)
    }

    fn fit_exact(self, exact: i128, overflow: Overflow) -> Option<i64> {
        let fitted = if (self.min()..=self.max()).contains(&exact) {
            exact
        } else {
            match overflow {
                Overflow::Wrap => i128::from(self.sign_extended(exact as u64)),
                Overflow::Saturate => exact.clamp(self.min(), self.max()),
                Overflow::Fail => return None,
            }
        };
        Some(i64::try_from(fitted).expect("every field type lies within i64"))
    }

    /// The low bits of `word` as this type.
    fn sign_extended(self, word: u64) -> i64 {
        let unused = 64 - self.bits;
        let top = word << unused;
        if self.signed { top.cast_signed() >> unused } else { (top >> unused).cast_signed() }
    }
}

/// The integer stored at a bit offset; bits behind the end of the string are zeros.
#[must_use]
pub fn get_field(bytes: &[u8], field: FieldType, offset: u64) -> i64 {
    read_field(field, offset, |index| byte_at(bytes, index))
}

/// Reads up to 64 bits at any bit offset: they touch at most nine bytes.
fn read_field(field: FieldType, offset: u64, byte_at: impl Fn(u64) -> u8) -> i64 {
    let window = (0..9).fold(0u128, |window, i| window << 8 | u128::from(byte_at(offset / 8 + i)));
    let below = 72 - offset as u32 % 8 - field.bits;
    field.sign_extended((window >> below) as u64)
}

/// Runs of changed bytes with at most so many unchanged ones between them are written as one.
const RUN_GAP_MAX: u64 = 64;

/// The bytes that the operations of one BITFIELD have changed so far, over an unchanged string.
///
/// Later operations see the earlier ones; the caller writes [`FieldEdits::runs`] when all are done.
pub struct FieldEdits<'a> {
    base: &'a [u8],
    changed: BTreeMap<u64, u8>,
}

impl<'a> FieldEdits<'a> {
    /// Starts with no change to `base`.
    #[must_use]
    pub fn new(base: &'a [u8]) -> Self {
        FieldEdits { base, changed: BTreeMap::new() }
    }

    /// The integer at a bit offset, as changed so far.
    #[must_use]
    pub fn get(&self, field: FieldType, offset: u64) -> i64 {
        read_field(field, offset, |index| self.byte(index))
    }

    /// Stores an integer that fits the type.
    pub fn set(&mut self, field: FieldType, offset: u64, value: i64) {
        let below = 72 - offset as u32 % 8 - field.bits;
        let mask = u128::from(u64::MAX >> (64 - field.bits)) << below;
        let placed = u128::from(value.cast_unsigned()) << below & mask;
        let used = (offset % 8 + u64::from(field.bits)).div_ceil(8);
        for i in 0..used {
            let shift = 64 - 8 * i;
            let keep = !(mask >> shift) as u8;
            let byte = self.byte(offset / 8 + i) & keep | (placed >> shift) as u8;
            self.changed.insert(offset / 8 + i, byte);
        }
    }

    fn byte(&self, index: u64) -> u8 {
        self.changed.get(&index).copied().unwrap_or_else(|| byte_at(self.base, index))
    }

    /// Lengthens the string to `len` bytes even if no field was stored at its end.
    pub fn extend_to(&mut self, len: u64) {
        if let Some(last) = len.checked_sub(1).filter(|last| *last >= self.base.len() as u64) {
            self.changed.entry(last).or_insert(0);
        }
    }

    /// The bytes that differ from the string or lie behind its end, as (byte offset, bytes) in
    /// ascending order. Runs that are close to each other come as one.
    #[must_use]
    pub fn runs(&self) -> Vec<(u64, Vec<u8>)> {
        let mut runs: Vec<(u64, Vec<u8>)> = Vec::new();
        let base_byte = |index| usize::try_from(index).ok().and_then(|index: usize| self.base.get(index));
        for (&index, &byte) in self.changed.iter().filter(|(index, byte)| base_byte(**index) != Some(*byte)) {
            match runs.last_mut() {
                Some((start, bytes)) if index - *start <= bytes.len() as u64 + RUN_GAP_MAX => {
                    let gap = *start + bytes.len() as u64..index;
                    bytes.extend(gap.map(|index| byte_at(self.base, index)));
                    bytes.push(byte);
                }
                _ => runs.push((index, vec![byte])),
            }
        }
        runs
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bounds(start: i64, end: impl Into<Option<i64>>, unit: Unit) -> Option<Bounds> {
        Some(Bounds { start, end: end.into(), unit })
    }

    fn field(text: &str) -> FieldType {
        FieldType::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn bitcount_of_parts() {
        let text = b"foobar";
        assert_eq!(bitcount(text, None), 26);
        assert_eq!(bitcount(text, bounds(0, 0, Unit::Byte)), 4);
        assert_eq!(bitcount(text, bounds(1, 1, Unit::Byte)), 6);
        assert_eq!(bitcount(text, bounds(5, 30, Unit::Bit)), 17);
        assert_eq!(bitcount(text, bounds(-2, -1, Unit::Byte)), 7);
        assert_eq!(bitcount(text, bounds(-1, -2, Unit::Byte)), 0);
        assert_eq!(bitcount(b"", bounds(0, -1, Unit::Byte)), 0);
    }

    #[test]
    fn bitpos_of_whole_strings() {
        assert_eq!(bitpos(b"\xff\xf0\x00", false, None), 12);
        assert_eq!(bitpos(b"\x00\xff\xf0", true, bounds(0, None, Unit::Byte)), 8);
        assert_eq!(bitpos(b"\x00\xff\xf0", true, bounds(2, None, Unit::Byte)), 16);
        assert_eq!(bitpos(b"\x00\x00\x00", true, None), -1);
        assert_eq!(bitpos(b"\xff\xff\xff", false, None), 24);
        assert_eq!(bitpos(b"\xff\xff\xff", false, bounds(0, -1, Unit::Byte)), -1);
        assert_eq!(bitpos(b"\xff\xff\xff", false, bounds(3, None, Unit::Byte)), -1);
        assert_eq!(bitpos(b"", false, None), -1);
        assert_eq!(bitpos(b"", true, None), -1);
    }

    #[test]
    fn bitpos_in_bit_ranges() {
        assert_eq!(bitpos(b"\x00\xff\xf0", true, bounds(7, 15, Unit::Bit)), 8);
        assert_eq!(bitpos(b"\x00\xff\xf0", true, bounds(7, -3, Unit::Bit)), 8);
        assert_eq!(bitpos(b"\x00\xff\xf0", false, bounds(8, 15, Unit::Bit)), -1);
        assert_eq!(bitpos(b"\x00\xff\xf0", false, bounds(9, 20, Unit::Bit)), 20);
        assert_eq!(bitpos(b"\x00\xff\xf0", true, bounds(20, 23, Unit::Bit)), -1);
        assert_eq!(bitpos(b"\x0f", true, bounds(0, 3, Unit::Bit)), -1);
        assert_eq!(bitpos(b"\x0f\xff", true, bounds(-19, -100, Unit::Byte)), 4);
    }

    #[test]
    fn bitop_pads_with_zeros() {
        assert_eq!(bitop(BitOp::And, &[b"\xff\xff", b"\x0f"]), b"\x0f\x00");
        assert_eq!(bitop(BitOp::And, &[b"\x0f", b"\xff\xff"]), b"\x0f\x00");
        assert_eq!(bitop(BitOp::Or, &[b"\x0f", b"\xf0\x01", b""]), b"\xff\x01");
        assert_eq!(bitop(BitOp::Xor, &[b"\xff", b"\x0f\x01"]), b"\xf0\x01");
        assert_eq!(bitop(BitOp::Not, &[b"\x00\xaa"]), b"\xff\x55");
        assert!(bitop(BitOp::Or, &[b"", b""]).is_empty());
    }

    #[test]
    fn field_types() {
        for bad in ["", "i", "u", "i0", "u0", "i65", "u64", "i-1", "x8", "i08", "I8", "u8 "] {
            assert_eq!(FieldType::parse(bad.as_bytes()), None, "{bad:?}");
        }
        assert_eq!(field("u63").bits(), 63);
        assert_eq!(field("i64").bits(), 64);
    }

    #[test]
    fn overflow_policies() {
        use Overflow::{Fail, Saturate, Wrap};
        for (ty, value, increment, policy, expected) in [
            ("u8", 255, 1, Wrap, Some(0)),
            ("u8", 255, 1, Saturate, Some(255)),
            ("u8", 255, 1, Fail, None),
            ("u8", 0, -1, Wrap, Some(255)),
            ("u8", 0, -1, Saturate, Some(0)),
            ("i8", 127, 1, Wrap, Some(-128)),
            ("i8", -128, -1, Wrap, Some(127)),
            ("i8", -128, -1, Saturate, Some(-128)),
            ("i64", i64::MAX, 1, Wrap, Some(i64::MIN)),
            ("i64", i64::MAX, 1, Saturate, Some(i64::MAX)),
            ("i64", i64::MIN, -1, Fail, None),
            ("u63", i64::MAX, 1, Wrap, Some(0)),
            ("u63", i64::MAX, i64::MAX, Saturate, Some(i64::MAX)),
            ("i1", 0, 1, Wrap, Some(-1)),
            ("u1", 1, 1, Wrap, Some(0)),
        ] {
            assert_eq!(field(ty).add(value, increment, policy), expected, "{ty} {value} {increment}");
        }
        assert_eq!(field("u8").fit(-1, Wrap), Some(255));
        assert_eq!(field("u8").fit(-1, Saturate), Some(255));
        assert_eq!(field("u8").fit(-1, Fail), None);
        assert_eq!(field("i4").fit(100, Wrap), Some(4));
        assert_eq!(field("i4").fit(-100, Saturate), Some(-8));
        assert_eq!(field("i4").fit(i64::MIN + 7, Saturate), Some(7));
        assert_eq!(field("i4").fit(i64::MIN + 8, Saturate), Some(-8));
        assert_eq!(field("i4").fit(i64::MIN, Fail), None);
        assert_eq!(field("i64").fit(i64::MIN, Saturate), Some(i64::MIN));
    }

    #[test]
    fn edits_join_into_runs() {
        let mut edits = FieldEdits::new(b"abc");
        edits.set(field("u8"), 0, i64::from(b'X'));
        edits.set(field("u8"), 8, i64::from(b'Y'));
        edits.set(field("u8"), 80, 7);
        assert_eq!(edits.get(field("u8"), 8), i64::from(b'Y'));
        assert_eq!(edits.get(field("u8"), 16), i64::from(b'c'));
        edits.set(field("u8"), 16, i64::from(b'c'));
        assert_eq!(edits.runs(), [(0, b"XYc\0\0\0\0\0\0\0\x07".to_vec())]);
        edits.set(field("u8"), 8000, 9);
        assert_eq!(edits.runs()[1..], [(1000, vec![9])]);
    }

    #[test]
    fn unchanged_bytes_are_not_written_but_the_end_is() {
        let mut edits = FieldEdits::new(b"abc");
        edits.set(field("u8"), 0, i64::from(b'a'));
        assert!(edits.runs().is_empty());
        edits.extend_to(3);
        assert!(edits.runs().is_empty());
        edits.extend_to(5);
        assert_eq!(edits.runs(), [(4, vec![0])]);
    }

    fn bitop(op: BitOp, sources: &[&[u8]]) -> Vec<u8> {
        let mut result = BitOpResult::new(op);
        sources.iter().for_each(|source| result.add(source));
        result.finish()
    }

    fn bit_by_bit(bytes: &[u8], range: &Range<u64>, bit: bool) -> Vec<u64> {
        range.clone().filter(|&i| getbit(bytes, i) == bit).collect()
    }

    fn any_field() -> impl Strategy<Value = FieldType> {
        (any::<bool>(), 1u32..=64)
            .prop_map(|(signed, bits)| FieldType { signed, bits: if signed { bits } else { bits.min(63) } })
    }

    fn any_bounds() -> impl Strategy<Value = Bounds> {
        let end = prop::option::of(-700i64..700);
        (-700i64..700, end, any::<bool>()).prop_map(|(start, end, bits)| Bounds {
            start,
            end,
            unit: if bits { Unit::Bit } else { Unit::Byte },
        })
    }

    fn sparse_bytes() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop::sample::select(vec![0u8, 0, 0, 0xff, 0xff, 0x10, 0xfe]);
        proptest::collection::vec(byte, 0..80)
    }

    proptest! {
        #[test]
        fn popcount_is_the_sum_over_bytes(bytes: Vec<u8>) {
            prop_assert_eq!(popcount(&bytes), bytes.iter().map(|b| u64::from(b.count_ones())).sum::<u64>());
        }

        #[test]
        fn counts_and_positions_agree_with_single_bits(
            bytes in sparse_bytes(), bounds in any_bounds(), bit: bool,
        ) {
            let range = bounds.bits(bytes.len()).unwrap_or(0..0);
            let is_reversed = bounds.end.is_some_and(|end| is_reversed(bounds.start, end));
            let ones = if is_reversed { Vec::new() } else { bit_by_bit(&bytes, &range, true) };
            prop_assert_eq!(bitcount(&bytes, Some(bounds)), ones.len() as u64);
            let expected = match bit_by_bit(&bytes, &range, bit).first() {
                Some(&position) => position.cast_signed(),
                None if !bit && bounds.end.is_none() && !range.is_empty() => range.end.cast_signed(),
                None => -1,
            };
            prop_assert_eq!(bitpos(&bytes, bit, Some(bounds)), expected);
        }

        #[test]
        fn bitop_works_bit_by_bit(sources in proptest::collection::vec(any::<Vec<u8>>(), 1..5), which in 0..3) {
            let op = [BitOp::And, BitOp::Or, BitOp::Xor][which as usize];
            let slices: Vec<&[u8]> = sources.iter().map(Vec::as_slice).collect();
            let result = bitop(op, &slices);
            prop_assert_eq!(result.len(), sources.iter().map(Vec::len).max().unwrap());
            for i in 0..result.len() as u64 * 8 {
                let ones = slices.iter().filter(|source| getbit(source, i)).count();
                let expected = match op {
                    BitOp::And => ones == slices.len(),
                    BitOp::Or => ones > 0,
                    _ => ones % 2 == 1,
                };
                prop_assert_eq!(getbit(&result, i), expected);
            }
        }

        #[test]
        fn setting_a_bit_changes_that_bit_alone(bytes: Vec<u8>, offset in 0u64..2000, on: bool) {
            let byte = byte_with_bit(&bytes, offset, on);
            let index = (offset / 8) as usize;
            let mut after = bytes.clone();
            after.resize(after.len().max(index + 1), 0);
            after[index] = byte;
            for i in 0..after.len() as u64 * 8 {
                prop_assert_eq!(getbit(&after, i), if i == offset { on } else { getbit(&bytes, i) });
            }
        }

        #[test]
        fn fields_read_back_and_leave_their_neighbours(
            bytes in proptest::collection::vec(any::<u8>(), 0..24), ty in any_field(), offset in 0u64..250, value: i64,
        ) {
            let value = ty.fit(value, Overflow::Wrap).unwrap();
            let mut edits = FieldEdits::new(&bytes);
            edits.set(ty, offset, value);
            prop_assert_eq!(edits.get(ty, offset), value);
            let mut after = bytes.clone();
            for (start, run) in edits.runs() {
                let start = start as usize;
                after.resize(after.len().max(start + run.len()), 0);
                after[start..start + run.len()].copy_from_slice(&run);
            }
            prop_assert_eq!(get_field(&after, ty, offset), value);
            prop_assert_eq!(after.len(), bytes.len().max((offset + u64::from(ty.bits)).div_ceil(8) as usize));
            for i in (0..after.len() as u64 * 8).filter(|i| !(offset..offset + u64::from(ty.bits)).contains(i)) {
                prop_assert_eq!(getbit(&after, i), getbit(&bytes, i));
            }
        }

        #[test]
        fn wrapped_sums_are_equal_modulo_the_width(ty in any_field(), value: i64, increment: i64) {
            let value = ty.fit(value, Overflow::Wrap).unwrap();
            let sum = ty.add(value, increment, Overflow::Wrap).unwrap();
            let modulus = 1i128 << ty.bits;
            prop_assert_eq!((i128::from(value) + i128::from(increment) - i128::from(sum)).rem_euclid(modulus), 0);
            prop_assert!((ty.min()..=ty.max()).contains(&i128::from(sum)));
        }
    }
}
