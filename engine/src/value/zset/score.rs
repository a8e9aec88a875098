//! Scores: how they are ordered, and how they are written.
//!
//! A score is a double that is not NaN; a negative zero counts as zero everywhere and is stored as
//! such. In trees a score is eight bytes that order as it does ([`order_key`]). In packed values, rows
//! and edits it is written short ([`put`]), one byte for small whole numbers:
//!
//! | first byte | then | score |
//! |---|---|---|
//! | 1 to 6 | that many bytes, little endian | a whole number below 2^48 |
//! | 7 to 12 | 6 less bytes, little endian | the negative of a whole number below 2^48 |
//! | 13 to 20 | 12 less bytes | the first bytes of the double, big endian; the rest are zeros |
//! | 21 to 255 | nothing | the first byte less 21 |
//!
//! DO NOT REORDER: the bytes are in rows and in the log.

use crate::codec::{DecodeError, Reader};

/// First byte of small whole numbers, which stand in that byte.
const SMALL: u8 = 21;
/// Largest whole number in the first byte.
const SMALL_MAX: u64 = (u8::MAX - SMALL) as u64;
/// Whole numbers below this are written as such.
const WHOLE_END: f64 = (1u64 << 48) as f64;
const NEGATIVE: u8 = 6;
const DOUBLE: u8 = 12;

/// A number that orders as the score does.
#[inline]
pub(super) fn order_key(score: f64) -> u64 {
    debug_assert!(!score.is_nan(), "scores are numbers");
    // Adding zero makes a zero positive.
    let bits = (score + 0.0).to_bits();
    if bits >> 63 == 0 { bits | 1 << 63 } else { !bits }
}

/// The score of an order key.
#[inline]
pub(super) fn from_order_key(key: u64) -> f64 {
    f64::from_bits(if key >> 63 == 1 { key ^ 1 << 63 } else { !key })
}

/// Whether [`order_key`] makes this key of some score.
pub(super) fn is_order_key(key: u64) -> bool {
    let score = from_order_key(key);
    !score.is_nan() && order_key(score) == key
}

/// The first byte of a score, and what follows it: so many of these bytes.
fn parts(score: f64) -> (u8, [u8; 8], usize) {
    debug_assert!(!score.is_nan(), "scores are numbers");
    let score = score + 0.0;
    let magnitude = score.abs();
    if magnitude < WHOLE_END && magnitude.trunc() == magnitude {
        let whole = magnitude as u64;
        if score >= 0.0 && whole <= SMALL_MAX {
            return (SMALL + whole as u8, [0; 8], 0);
        }
        let len = 8 - whole.leading_zeros() as u8 / 8;
        let first = if score < 0.0 { NEGATIVE + len } else { len };
        return (first, whole.to_le_bytes(), usize::from(len));
    }
    let bits = score.to_bits();
    let len = 8 - bits.trailing_zeros() as u8 / 8;
    (DOUBLE + len, bits.to_be_bytes(), usize::from(len))
}

/// Appends a score.
pub(super) fn put(out: &mut Vec<u8>, score: f64) {
    let (first, body, len) = parts(score);
    out.push(first);
    out.extend_from_slice(&body[..len]);
}

/// How many bytes follow the first one, if it is one.
#[inline]
fn body_len(first: u8) -> Option<usize> {
    match first {
        0 => None,
        1..=NEGATIVE => Some(usize::from(first)),
        first if first <= DOUBLE => Some(usize::from(first - NEGATIVE)),
        first if first < SMALL => Some(usize::from(first - DOUBLE)),
        _ => Some(0),
    }
}

/// The score of a first byte and the bytes after it.
#[inline]
fn from_parts(first: u8, body: &[u8]) -> f64 {
    if first >= SMALL {
        return f64::from(first - SMALL);
    }
    if first > DOUBLE {
        let bits = body.iter().rev().fold(0u64, |bits, byte| bits >> 8 | u64::from(*byte) << 56);
        return f64::from_bits(bits);
    }
    let whole = body.iter().rev().fold(0u64, |whole, byte| whole << 8 | u64::from(*byte)) as f64;
    if first > NEGATIVE { -whole } else { whole }
}

/// Reads a score that [`put`] wrote. Packed values are searched by these bytes: each score has one form only.
pub(super) fn read(reader: &mut Reader<'_>) -> Result<f64, DecodeError> {
    let first = reader.u8()?;
    let len = body_len(first).ok_or(reader.error("a score's first byte"))?;
    let body = reader.take(len)?;
    let score = from_parts(first, body);
    if score.is_nan() {
        return Err(reader.error("not a score"));
    }
    let (right_first, right, right_len) = parts(score);
    if (right_first, &right[..right_len]) != (first, body) {
        return Err(reader.error("a score not in its shortest form"));
    }
    Ok(score)
}

/// The score in front of `element`, and what follows it. Elements were checked when they came in.
#[inline]
pub(super) fn split(element: &[u8]) -> (f64, &[u8]) {
    let Some((&first, rest)) = element.split_first() else { return (0.0, &[]) };
    let (body, member) = rest.split_at_checked(body_len(first).unwrap_or(0)).unwrap_or((&[], rest));
    (from_parts(first, body), member)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SAMPLES: &[f64] = &[
        f64::NEG_INFINITY,
        f64::MIN,
        -1e300,
        -WHOLE_END,
        -WHOLE_END + 1.0,
        -256.0,
        -255.0,
        -1.5,
        -1.0,
        -5e-324,
        0.0,
        5e-324,
        0.1,
        1.0,
        234.0,
        235.0,
        255.0,
        256.0,
        65_536.5,
        1_700_000_000_123.0,
        WHOLE_END - 1.0,
        WHOLE_END,
        f64::MAX,
        f64::INFINITY,
    ];

    fn written(score: f64) -> Vec<u8> {
        let mut out = Vec::new();
        put(&mut out, score);
        out
    }

    fn check(score: f64) {
        let bytes = written(score);
        assert!(bytes.len() <= 9);
        let mut reader = Reader::new(&bytes);
        assert_eq!(read(&mut reader), Ok(score));
        assert!(reader.is_empty());
        let element = [&bytes[..], b"member"].concat();
        assert_eq!(split(&element), (score, &b"member"[..]));
        assert_eq!(from_order_key(order_key(score)), score);
        assert!(is_order_key(order_key(score)));
    }

    #[test]
    fn scores_are_short_and_ordered() {
        for pair in SAMPLES.windows(2) {
            assert!(order_key(pair[0]) < order_key(pair[1]), "{pair:?}");
        }
        SAMPLES.iter().copied().for_each(check);
        assert_eq!(written(7.0), [28]);
        assert_eq!(written(1000.0).len(), 3);
        assert_eq!(written(f64::INFINITY).len(), 3);
        assert_eq!(written(-0.0), written(0.0));
        assert_eq!(order_key(-0.0), order_key(0.0));
        assert!(!is_order_key(order_key(0.0) - 1), "a negative zero");
        assert!(!is_order_key(u64::MAX), "not a number");
        for long in [&[1, 7][..], &[2, 1, 0], &[7, 0], &[14, 0x40, 0], &[13, 0x80]] {
            assert!(read(&mut Reader::new(long)).is_err(), "{long:?} can be written shorter");
        }
    }

    proptest! {
        #[test]
        fn any_score_round_trips(bits: u64, whole in -(1i64 << 50)..1 << 50) {
            let score = f64::from_bits(bits);
            prop_assume!(!score.is_nan());
            check(score);
            check(whole as f64);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            let _ = split(&bytes);
            let mut reader = Reader::new(&bytes);
            if let Ok(score) = read(&mut reader) {
                prop_assert!(!score.is_nan());
                prop_assert!(is_order_key(order_key(score)));
                prop_assert_eq!(written(score), &bytes[..reader.position()]);
            }
        }
    }
}
