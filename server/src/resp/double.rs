//! Floating-point numbers as Redis 7.2 prints them: the shortest digits that read back the same.

use std::fmt::{self, Write};

/// Longest text: sign, 17 digits, point, exponent, and room for leading zeros.
const TEXT_MAX: usize = 40;

/// A number's text, on the stack.
pub struct DoubleText {
    bytes: [u8; TEXT_MAX],
    len: usize,
}

impl DoubleText {
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.len]).expect("only ASCII was written")
    }
}

impl Write for DoubleText {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = self.bytes.get_mut(self.len..self.len + text.len()).ok_or(fmt::Error)?;
        room.copy_from_slice(text.as_bytes());
        self.len += text.len();
        Ok(())
    }
}

/// Prints a number. Integers up to 2^62 have no point, very large and very small numbers an
/// exponent (`1e+20`), infinities are `inf` and `-inf`.
#[must_use]
pub fn format(value: f64) -> DoubleText {
    let mut text = DoubleText { bytes: [0; TEXT_MAX], len: 0 };
    write(&mut text, value).expect("40 bytes are enough for any number");
    text
}

fn write(out: &mut DoubleText, value: f64) -> fmt::Result {
    // Half of the largest 64-bit integer: up to there Redis prints an integer.
    const EXACT: f64 = (1u64 << 62) as f64;
    match value {
        _ if value.is_nan() => out.write_str("nan"),
        _ if value.is_infinite() => out.write_str(if value > 0.0 { "inf" } else { "-inf" }),
        _ if value == 0.0 => out.write_str(if value.is_sign_negative() { "-0" } else { "0" }),
        _ if value.abs() <= EXACT && value.fract() == 0.0 => write!(out, "{}", value as i64),
        _ => write_digits(out, value),
    }
}

/// The layout rules of Redis's fpconv: plain unless that would need many zeros.
fn write_digits(out: &mut DoubleText, value: f64) -> fmt::Result {
    let mut scientific = DoubleText { bytes: [0; TEXT_MAX], len: 0 };
    write!(scientific, "{:e}", value.abs())?;
    let (mantissa, exponent) = scientific.as_str().split_once('e').expect("this format has an exponent");
    let exponent: i32 = exponent.parse().expect("written as a number");
    let mut digits = DoubleText { bytes: [0; TEXT_MAX], len: 0 };
    mantissa.split('.').try_for_each(|part| digits.write_str(part))?;
    let digits = digits.as_str();
    let count = digits.len() as i32;
    // The value is 0.d1d2d3... times ten to the power of `exponent + 1`, or digits times 10^k.
    let k = exponent - (count - 1);
    if value < 0.0 {
        out.write_char('-')?;
    }
    if k >= 0 && exponent < count + 7 {
        out.write_str(digits)?;
        return (0..k).try_for_each(|_| out.write_char('0'));
    }
    if k < 0 && (k > -7 || exponent.abs() < 4) {
        let point = count + k;
        if point > 0 {
            let (whole, fraction) = digits.split_at(point as usize);
            return write!(out, "{whole}.{fraction}");
        }
        out.write_str("0.")?;
        (0..-point).try_for_each(|_| out.write_char('0'))?;
        return out.write_str(digits);
    }
    let (first, rest) = digits.split_at(1);
    out.write_str(first)?;
    if !rest.is_empty() {
        write!(out, ".{rest}")?;
    }
    write!(out, "e{exponent:+}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_look_as_in_redis() {
        for (value, text) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (3.0, "3"),
            (-17.0, "-17"),
            (0.1, "0.1"),
            (2.75, "2.75"),
            (1.0 / 3.0, "0.3333333333333333"),
            (1e15, "1000000000000000"),
            (1e17, "100000000000000000"),
            (123456789012345678.0, "123456789012345680"),
            (4611686018427388928.0, "4611686018427389000"),
            (9e18, "9e+18"),
            (12345678901234567890123.0, "12345678901234568000000"),
            (1e20, "1e+20"),
            (1.5e300, "1.5e+300"),
            (0.0001, "0.0001"),
            (1e-7, "1e-7"),
            (1.5e-7, "1.5e-7"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
            (1125899906842623.5, "1125899906842623.5"),
        ] {
            assert_eq!(format(value).as_str(), text);
        }
    }

    #[test]
    fn every_number_reads_back_the_same() {
        let mut bits = 0x9e37_79b9_7f4a_7c15u64;
        for _ in 0..20_000 {
            bits = bits.wrapping_mul(0xd129_0d3d_8f75_3bb5).wrapping_add(1);
            let value = f64::from_bits(bits);
            if value.is_finite() {
                assert_eq!(format(value).as_str().parse(), Ok(value));
            }
        }
    }
}
