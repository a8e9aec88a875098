//! Numbers as Redis reads and writes them.
//!
//! Integers have one spelling each: a string is stored as an integer only if formatting that integer
//! gives the same bytes back. Doubles are read as Valkey 9 reads them and written as the shortest
//! text that reads back the same. Long doubles, for INCRBYFLOAT alone, are in [`LongDouble`].

use super::decimal::{self, Number};
pub use super::long_double::LongDouble;

/// Reads a 64-bit integer in its only accepted spelling.
///
/// No sign but `-`, no leading zeros, no spaces, no `-0`: exactly what [`push_int`] writes.
#[must_use]
#[inline]
pub fn parse_int(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    match digits {
        [b'0'] => return (!negative).then_some(0),
        [b'1'..=b'9', ..] if digits.len() <= 19 => {}
        _ => return None,
    }
    let mut magnitude: u64 = 0;
    for byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        // Nineteen digits stay below 2^64.
        magnitude = magnitude * 10 + u64::from(digit);
    }
    if negative { 0i64.checked_sub_unsigned(magnitude) } else { i64::try_from(magnitude).ok() }
}

/// Appends the decimal digits of `value`.
pub fn push_int(out: &mut Vec<u8>, value: i64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Room for the digits of one integer.
#[derive(Clone, Copy, Default)]
pub struct IntText(itoa::Buffer);

impl IntText {
    /// The decimal digits of `value`, as [`push_int`] writes them.
    #[inline]
    pub fn of(&mut self, value: i64) -> &[u8] {
        self.0.format(value).as_bytes()
    }
}

/// How many bytes [`push_int`] appends.
#[must_use]
pub fn int_len(value: i64) -> usize {
    let digits = value.unsigned_abs().checked_ilog10().unwrap_or(0) as usize + 1;
    digits + usize::from(value < 0)
}

/// Reads a double as Valkey 9 does: decimal, or `inf`. Redis takes hexadecimal numbers as well.
///
/// The whole text must be used. Leading space, NaN, and numbers that overflow or vanish to zero
/// are refused.
#[must_use]
pub fn parse_double(text: &[u8]) -> Option<f64> {
    match decimal::scan(text)? {
        Number::Zero { negative } => Some(if negative { -0.0 } else { 0.0 }),
        Number::Infinite { negative } => Some(if negative { f64::NEG_INFINITY } else { f64::INFINITY }),
        Number::Decimal(_) => {
            let value: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
            (value.is_finite() && value != 0.0).then_some(value)
        }
        Number::Binary { .. } => None,
    }
}

/// Appends a double: whole numbers as integers while they are exact, otherwise the shortest digits
/// that read back the same, with an exponent where the plain form would be long.
pub fn push_double(out: &mut Vec<u8>, value: f64) {
    if value.is_nan() {
        out.extend_from_slice(b"nan");
    } else if value.is_infinite() {
        out.extend_from_slice(if value < 0.0 { b"-inf" } else { b"inf" });
    } else if value == 0.0 {
        out.extend_from_slice(if value.is_sign_negative() { b"-0" } else { b"0" });
    } else if value.abs() <= (i64::MAX / 2) as f64 && value.trunc() == value {
        push_int(out, value as i64);
    } else {
        push_shortest(out, value);
    }
}

/// Lays out the shortest digits of a finite, nonzero double.
fn push_shortest(out: &mut Vec<u8>, value: f64) {
    if value < 0.0 {
        out.push(b'-');
    }
    // "d.ddde-7" gives the digits and, from the exponent, where their point belongs.
    let scientific = format!("{:e}", value.abs());
    let (mantissa, exponent) = scientific.split_once('e').expect("{:e} writes an exponent");
    let exponent: i32 = exponent.parse().expect("{:e} writes a decimal exponent");
    let digits: Vec<u8> = mantissa.bytes().filter(|b| *b != b'.').collect();
    let count = digits.len() as i32;
    let trailing_zeros = exponent + 1 - count;
    if trailing_zeros >= 0 && exponent < count + 7 {
        out.extend_from_slice(&digits);
        out.extend(std::iter::repeat_n(b'0', trailing_zeros.unsigned_abs() as usize));
    } else if trailing_zeros < 0 && (trailing_zeros > -7 || exponent.abs() < 4) {
        if exponent < 0 {
            out.extend_from_slice(b"0.");
            out.extend(std::iter::repeat_n(b'0', (-exponent - 1).unsigned_abs() as usize));
            out.extend_from_slice(&digits);
        } else {
            let (whole, fraction) = digits.split_at((exponent + 1).unsigned_abs() as usize);
            out.extend_from_slice(whole);
            out.push(b'.');
            out.extend_from_slice(fraction);
        }
    } else {
        out.push(digits[0]);
        if count > 1 {
            out.push(b'.');
            out.extend_from_slice(&digits[1..]);
        }
        out.extend_from_slice(if exponent < 0 { b"e-" } else { b"e+" });
        push_int(out, i64::from(exponent.abs()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn double_text(value: f64) -> String {
        let mut out = Vec::new();
        push_double(&mut out, value);
        String::from_utf8(out).unwrap()
    }

    fn int_text(value: i64) -> Vec<u8> {
        let mut out = Vec::new();
        push_int(&mut out, value);
        out
    }

    #[test]
    fn integers_have_one_spelling() {
        for (text, expected) in [
            ("0", Some(0)),
            ("-1", Some(-1)),
            ("9223372036854775807", Some(i64::MAX)),
            ("-9223372036854775808", Some(i64::MIN)),
            ("9223372036854775808", None),
            ("-9223372036854775809", None),
            ("9999999999999999999", None),
            ("18446744073709551616", None),
            ("", None),
            ("-", None),
            ("-0", None),
            ("+1", None),
            ("01", None),
            ("-01", None),
            (" 1", None),
            ("1 ", None),
            ("1.0", None),
            ("1a", None),
            ("1\0", None),
        ] {
            assert_eq!(parse_int(text.as_bytes()), expected, "{text:?}");
        }
    }

    #[test]
    fn doubles_are_read_like_strtod() {
        for (text, expected) in [
            ("1.5", Some(1.5)),
            ("+.5", Some(0.5)),
            ("5.", Some(5.0)),
            ("1e3", Some(1000.0)),
            ("-1E-3", Some(-0.001)),
            ("0x10", None),
            ("0x1p-1074", None),
            ("inf", Some(f64::INFINITY)),
            ("-Infinity", Some(f64::NEG_INFINITY)),
            ("nan", None),
            ("", None),
            (" 1", None),
            ("1 ", None),
            ("1e", None),
            ("1e+", None),
            ("0x", None),
            (".", None),
            ("e5", None),
            ("1e400", None),
            ("1e-400", None),
            ("0e999", Some(0.0)),
            ("1_0", None),
        ] {
            assert_eq!(parse_double(text.as_bytes()), expected, "{text:?}");
        }
    }

    #[test]
    fn doubles_are_written_short() {
        for (value, expected) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (3.0, "3"),
            (3.1, "3.1"),
            (-3.1, "-3.1"),
            (0.1 + 0.2, "0.30000000000000004"),
            (1e17, "100000000000000000"),
            (1e22, "1e+22"),
            (1.5e300, "1.5e+300"),
            (1e-5, "0.00001"),
            (1e-7, "1e-7"),
            (1.5e-7, "1.5e-7"),
            (123_456.789e-7, "0.0123456789"),
            (f64::MAX, "1.7976931348623157e+308"),
            (5e-324, "5e-324"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
            (f64::NAN, "nan"),
        ] {
            assert_eq!(double_text(value), expected);
        }
    }

    proptest! {
        #[test]
        fn integers_round_trip(value: i64) {
            let text = int_text(value);
            prop_assert_eq!(text.len(), int_len(value));
            prop_assert_eq!(parse_int(&text), Some(value));
        }

        #[test]
        fn only_the_canonical_spelling_is_an_integer(text in "[-+0-9 ]{0,21}") {
            let expected = text.parse::<i64>().ok().filter(|value| int_text(*value) == text.as_bytes());
            prop_assert_eq!(parse_int(text.as_bytes()), expected);
        }

        #[test]
        fn doubles_round_trip(bits: u64) {
            let value = f64::from_bits(bits);
            prop_assume!(!value.is_nan());
            prop_assert_eq!(parse_double(double_text(value).as_bytes()), Some(value));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[-+.0-9a-fA-FxXpPinty ]{0,12}") {
            let _ = parse_double(text.as_bytes());
            let _ = parse_int(text.as_bytes());
        }
    }
}
