//! The 80-bit `long double` of x86-64, in software, for INCRBYFLOAT.
//!
//! Redis adds in this format and prints 17 decimals, which hides the rounding error of sums such as
//! 10.6 + 0.1 that a double would show. Clients see those digits, so every machine has to compute the
//! same ones: a number here is a 64-bit mantissa and an exponent, sums are rounded half to even as
//! the x87 does, and text is converted exactly both ways.

use super::decimal::{self, EXTENDED, Number};
use super::number::push_int;

/// Longest text that is read as a long double.
const TEXT_BYTES_MAX: usize = 5 * 1024 - 1;
/// Decimals that are printed before trailing zeros are cut off.
const DECIMALS: usize = 17;
/// 10 to the power of [`DECIMALS`].
const DECIMAL_SCALE: u128 = 10u128.pow(DECIMALS as u32);

/// An extended precision number: finite, or an infinity or NaN that no string may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LongDouble(Kind);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// `mantissa * 2^exponent`; the top bit of the mantissa is set unless it is zero or the
    /// exponent is the lowest one.
    Finite {
        negative: bool,
        mantissa: u64,
        exponent: i32,
    },
    NotFinite,
}

impl LongDouble {
    /// Reads a number as C's `strtold` does, hexadecimal and `inf` included.
    ///
    /// The whole text must be used. Leading space, NaN, numbers that overflow or vanish to zero,
    /// and texts of 5 KiB or more are refused.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        if text.len() > TEXT_BYTES_MAX {
            return None;
        }
        let (negative, rounded) = match decimal::scan(text)? {
            Number::Zero { negative } => return Some(Self::finite(negative, 0, 0)),
            Number::Infinite { .. } => return Some(LongDouble(Kind::NotFinite)),
            Number::Decimal(decimal) => (decimal.negative, decimal.round(&EXTENDED)?),
            Number::Binary { negative, bits, sticky, exponent } => {
                (negative, EXTENDED.round(bits, sticky, exponent)?)
            }
        };
        (rounded.mantissa != 0).then(|| Self::finite(negative, rounded.mantissa, rounded.exponent))
    }

    fn finite(negative: bool, mantissa: u64, exponent: i32) -> Self {
        LongDouble(Kind::Finite { negative, mantissa, exponent })
    }

    /// The number without its sign, as a double: infinite when it is too large for one, and never 0 unless
    /// it is 0.
    #[must_use]
    pub fn magnitude(self) -> f64 {
        match self.0 {
            Kind::Finite { mantissa: 0, .. } => 0.0,
            Kind::Finite { mantissa, exponent, .. } => {
                (mantissa as f64 * 2f64.powi(exponent)).max(f64::MIN_POSITIVE)
            }
            Kind::NotFinite => f64::INFINITY,
        }
    }

    /// Adds, rounding half to even. An infinity or an overflow makes the sum not finite.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        let (Kind::Finite { exponent: a, .. }, Kind::Finite { exponent: b, .. }) = (self.0, other.0) else {
            return LongDouble(Kind::NotFinite);
        };
        if a >= b { self.plus_not_larger(other) } else { other.plus_not_larger(self) }
    }

    /// Adds a number whose exponent is not larger.
    fn plus_not_larger(self, small: Self) -> Self {
        let Kind::Finite { negative, mantissa, exponent } = self.0 else {
            return self;
        };
        let Kind::Finite { negative: small_negative, mantissa: small_mantissa, exponent: small_exponent } =
            small.0
        else {
            return small;
        };
        if mantissa == 0 {
            // A zero has exponent 0, which may well be above that of the other number.
            return small;
        }
        // 62 bits below the mantissa keep all of the smaller number that can matter: if bits of it
        // are lost, then the sum is so much longer that they only break ties.
        let large = u128::from(mantissa) << 62;
        let distance = exponent.abs_diff(small_exponent);
        let aligned = (u128::from(small_mantissa) << 62).checked_shr(distance).unwrap_or(0);
        let lost = distance > 62 && small_mantissa.trailing_zeros() + 62 < distance && small_mantissa != 0;
        let (negative, sum) = if negative == small_negative {
            (negative, large + aligned)
        } else if large >= aligned {
            // Taking away a little more than `aligned` leaves a little more than one unit less.
            (negative, large - aligned - u128::from(lost))
        } else {
            (small_negative, aligned - large)
        };
        if sum == 0 {
            return Self::finite(false, 0, 0);
        }
        match EXTENDED.round(sum, lost, i64::from(exponent) - 62) {
            Some(rounded) => Self::finite(negative, rounded.mantissa, rounded.exponent),
            None => LongDouble(Kind::NotFinite),
        }
    }

    /// Whether the number is neither an infinity nor NaN.
    #[must_use]
    pub fn is_finite(self) -> bool {
        self.0 != Kind::NotFinite
    }

    /// Appends the number without an exponent, with up to 17 decimals and no trailing zeros.
    ///
    /// # Panics
    /// When the number is not finite.
    pub fn push_to(self, out: &mut Vec<u8>) {
        let Kind::Finite { negative, mantissa, exponent } = self.0 else {
            panic!("only finite numbers are written");
        };
        let start = out.len();
        if negative {
            out.push(b'-');
        }
        if exponent >= 0 {
            push_shifted(out, mantissa, exponent.unsigned_abs());
        } else {
            push_fixed_point(out, mantissa, exponent.unsigned_abs());
        }
        if &out[start..] == b"-0" {
            out.remove(start);
        }
    }
}

impl From<i64> for LongDouble {
    fn from(value: i64) -> Self {
        let magnitude = u128::from(value.unsigned_abs());
        if magnitude == 0 {
            return Self::finite(false, 0, 0);
        }
        let rounded = EXTENDED.round(magnitude, false, 0).expect("every i64 is in range");
        Self::finite(value < 0, rounded.mantissa, rounded.exponent)
    }
}

/// Appends `mantissa * 2^shift` in decimal.
fn push_shifted(out: &mut Vec<u8>, mantissa: u64, mut shift: u32) {
    const BASE: u128 = 10u128.pow(19);
    // Groups of 19 decimal digits, lowest first.
    let mut groups = vec![mantissa];
    if u128::from(mantissa) >= BASE {
        groups = vec![(u128::from(mantissa) % BASE) as u64, 1];
    }
    while shift > 0 {
        let step = shift.min(60);
        let mut carry = 0;
        for group in &mut groups {
            let product = (u128::from(*group) << step) + carry;
            *group = (product % BASE) as u64;
            carry = product / BASE;
        }
        if carry > 0 {
            groups.push(carry as u64);
        }
        shift -= step;
    }
    let (top, rest) = groups.split_last().expect("there is at least one group");
    out.extend_from_slice(itoa::Buffer::new().format(*top).as_bytes());
    for group in rest.iter().rev() {
        push_padded(out, *group, 19);
    }
}

/// Appends `mantissa / 2^point` with 17 decimals, half to even, trailing zeros cut off.
fn push_fixed_point(out: &mut Vec<u8>, mantissa: u64, point: u32) {
    if point > 127 {
        // Below 2^-64: not even half of the last decimal.
        out.push(b'0');
        return;
    }
    let mantissa = u128::from(mantissa);
    let mask = (1u128 << point) - 1;
    let scaled = (mantissa & mask) * DECIMAL_SCALE;
    let (decimals, rest, half) = (scaled >> point, scaled & mask, 1u128 << (point - 1));
    let decimals = decimals + u128::from(rest > half || rest == half && decimals & 1 == 1);
    let whole = (mantissa >> point) + decimals / DECIMAL_SCALE;
    push_int(out, i64::try_from(whole).expect("at least one of 64 bits is behind the point"));
    let decimals = (decimals % DECIMAL_SCALE) as u64;
    if decimals != 0 {
        out.push(b'.');
        push_padded(out, decimals, DECIMALS);
        while out.last() == Some(&b'0') {
            out.pop();
        }
    }
}

/// Appends `value` with leading zeros up to `width` digits.
fn push_padded(out: &mut Vec<u8>, value: u64, width: usize) {
    let mut buffer = itoa::Buffer::new();
    let digits = buffer.format(value);
    out.extend(std::iter::repeat_n(b'0', width - digits.len()));
    out.extend_from_slice(digits.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(value: LongDouble) -> String {
        let mut out = Vec::new();
        value.push_to(&mut out);
        String::from_utf8(out).unwrap()
    }

    fn sum(a: &str, b: &str) -> String {
        text(LongDouble::parse(a.as_bytes()).unwrap().plus(LongDouble::parse(b.as_bytes()).unwrap()))
    }

    // The right-hand sides were taken from redis-server 7.0.15 on x86-64.
    #[test]
    fn sums_are_those_of_redis() {
        for (a, b, expected) in [
            ("10.6", "0.1", "10.7"),
            ("3.0e3", "1.1", "3001.10000000000000009"),
            ("5.0e3", "2.0e2", "5200"),
            ("1", "-1", "0"),
            ("1.5", "-3", "-1.5"),
            ("0", "1e-17", "0.00000000000000001"),
            ("0", "-1e-18", "0"),
            ("0x10", "1", "17"),
            ("17179869184", "1.5", "17179869185.5"),
            ("9223372036854775807", "1", "9223372036854775808"),
            ("18446744073709551615", "1", "18446744073709551616"),
            ("1e20", "1", "100000000000000000000"),
            ("1e30", "1", "1000000000000000000024696061952"),
            ("0.1", "0.2", "0.3"),
        ] {
            assert_eq!(sum(a, b), expected, "{a} + {b}");
        }
    }

    #[test]
    fn texts_are_refused_as_by_redis() {
        let long = "1".repeat(5120);
        for bad in
            ["", " 1", "1 ", "abc", "1e", "nan", "1e5000", "-1e5000", "1e-5000", "1\0", "0x", long.as_str()]
        {
            assert_eq!(LongDouble::parse(bad.as_bytes()), None, "{bad:?}");
        }
        assert!(LongDouble::parse(&long.as_bytes()[1..]).is_none(), "overflows");
        assert!(LongDouble::parse(b"1e-4950").is_some());
        assert!(!LongDouble::parse(b"inf").unwrap().is_finite());
    }

    #[test]
    fn overflow_and_infinity_are_not_finite() {
        let largest = LongDouble::parse(b"1.18e4932").unwrap();
        assert!(largest.is_finite());
        assert!(!largest.plus(largest).is_finite());
        assert!(!LongDouble::parse(b"-inf").unwrap().plus(largest).is_finite());
        assert_eq!(text(largest).len(), 4933);
    }

    proptest! {
        #[test]
        fn integers_are_exact(value: i64) {
            prop_assert_eq!(text(LongDouble::from(value)), value.to_string());
            prop_assert_eq!(LongDouble::parse(value.to_string().as_bytes()), Some(LongDouble::from(value)));
        }

        #[test]
        fn sums_of_integers_are_exact(a in i64::MIN / 2..i64::MAX / 2, b in i64::MIN / 2..i64::MAX / 2) {
            prop_assert_eq!(text(LongDouble::from(a).plus(LongDouble::from(b))), (a + b).to_string());
        }

        #[test]
        fn adding_commutes(a in "-?[0-9]{1,25}(\\.[0-9]{1,25})?", b in "-?0\\.[0-9]{1,30}") {
            let (x, y) = (LongDouble::parse(a.as_bytes()), LongDouble::parse(b.as_bytes()));
            let (Some(x), Some(y)) = (x, y) else { return Ok(()) };
            prop_assert_eq!(text(x.plus(y)), text(y.plus(x)));
        }

        #[test]
        fn small_decimals_print_as_typed(whole in 0u32..16, decimals in "[0-9]{0,13}[1-9]") {
            let typed = format!("{whole}.{decimals}");
            prop_assert_eq!(text(LongDouble::parse(typed.as_bytes()).unwrap()), typed);
        }
    }
}
