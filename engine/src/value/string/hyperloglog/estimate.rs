//! Ertl's estimate of a HyperLogLog's cardinality from the histogram of its registers.

use super::{REGISTERS, RUN_BITS};

/// The highest value of a register.
pub(super) const REGISTER_MAX: u8 = 63;
/// 0.5 / ln 2.
const ALPHA: f64 = 0.721_347_520_444_481_7;
/// What Redis caches for a sketch whose registers are all full: the estimate is infinite.
const INFINITE: u64 = 1 << 63;

/// How many registers have each value.
pub(super) struct Histogram([u32; REGISTER_MAX as usize + 1]);

impl Default for Histogram {
    fn default() -> Self {
        Histogram([0; REGISTER_MAX as usize + 1])
    }
}

impl Histogram {
    /// Counts `len` registers of a value.
    #[inline]
    pub(super) fn add(&mut self, value: u8, len: usize) {
        self.0[usize::from(value & REGISTER_MAX)] += len as u32;
    }

    /// About how many elements there were.
    pub(super) fn estimate(&self) -> u64 {
        let m = REGISTERS as f64;
        let of = |value: u32| f64::from(self.0[value as usize]);
        let mut z = m * tau((m - of(RUN_BITS + 1)) / m);
        for value in (1..=RUN_BITS).rev() {
            z = (z + of(value)) * 0.5;
        }
        z += m * sigma(of(0) / m);
        let elements = (ALPHA * m * m / z).round();
        if elements.is_finite() { elements as u64 } else { INFINITE }
    }
}

fn sigma(mut x: f64) -> f64 {
    if x == 1.0 {
        return f64::INFINITY;
    }
    let (mut y, mut z) = (1.0, x);
    loop {
        x *= x;
        let before = z;
        z += x * y;
        y += y;
        if z == before {
            return z;
        }
    }
}

fn tau(mut x: f64) -> f64 {
    if x == 0.0 || x == 1.0 {
        return 0.0;
    }
    let (mut y, mut z) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = z;
        y *= 0.5;
        z -= (1.0 - x) * (1.0 - x) * y;
        if z == before {
            return z / 3.0;
        }
    }
}

/// How far an estimate may be off: six times the standard error.
pub(super) fn error_bound(elements: u64) -> u64 {
    (1.04 / (REGISTERS as f64).sqrt() * 6.0 * elements as f64).ceil() as u64
}
