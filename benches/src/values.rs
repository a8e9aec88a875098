//! Keys, values and chance: all of it derived from fixed seeds, so that every reply can be checked.
//!
//! A key is 16 bytes: a 4-byte prefix and 12 decimal digits. A value is a function of its key and a
//! version, so the harness keeps one byte per key to know every value of a store of any size.

/// Bytes of every key.
pub const KEY_BYTES: usize = 16;

/// A small, fast generator (splitmix64). Not for secrets.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// Starts a sequence; equal seeds give equal sequences.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Next number of the sequence.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// Uniform number below `bound` (`bound` > 0), by the multiply-shift method.
    pub fn below(&mut self, bound: u64) -> u64 {
        let wide = u128::from(self.next_u64()) * u128::from(bound);
        u64::try_from(wide >> 64).expect("the upper half of a 128-bit product has 64 bits")
    }
}

const fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// `0000` to `9999`, four digits each.
static DIGITS: [u8; 40_000] = four_digits();

const fn four_digits() -> [u8; 40_000] {
    let mut table = [0_u8; 40_000];
    let mut number = 0;
    while number < 10_000 {
        let (mut place, mut rest) = (4, number);
        while place > 0 {
            place -= 1;
            table[number * 4 + place] = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        number += 1;
    }
    table
}

/// Writes the 16 bytes of key `id`; `prefix` names the family of keys.
pub fn write_key(out: &mut [u8], prefix: [u8; 4], id: u64) {
    let out: &mut [u8; KEY_BYTES] = out.try_into().expect("callers pass exactly one key's room");
    out[..4].copy_from_slice(&prefix);
    let parts = [id / 100_000_000, id / 10_000 % 10_000, id % 10_000];
    for (place, part) in parts.into_iter().enumerate() {
        let at = usize::try_from(part).expect("a part is below 10,000") * 4;
        out[4 + place * 4..8 + place * 4].copy_from_slice(&DIGITS[at..at + 4]);
    }
}

/// The 16 bytes of key `id` as an array.
#[must_use]
pub fn key(prefix: [u8; 4], id: u64) -> [u8; KEY_BYTES] {
    let mut out = [0; KEY_BYTES];
    write_key(&mut out, prefix, id);
    out
}

/// Fills `out` with version `version` of key `id`'s value: the first half random text that a
/// compressor cannot shrink by matching, the second half repetitive.
pub fn fill_half_compressible(out: &mut [u8], id: u64, version: u8) {
    let mut rng = Rng::new(mix(id ^ (u64::from(version) << 56) ^ 0x4c75_7821));
    let half = out.len() / 2;
    let (text, repetitive) = out.split_at_mut(half);
    for chunk in text.chunks_mut(8) {
        // Six random bits per byte, moved into the printable range '0'..='o'.
        let word = (rng.next_u64() & 0x3f3f_3f3f_3f3f_3f3f) + 0x3030_3030_3030_3030;
        chunk.copy_from_slice(&word.to_le_bytes()[..chunk.len()]);
    }
    let letter = b'a' + (id % 23) as u8 + version % 3;
    repetitive.fill(letter);
}

/// Which keys a reader asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Popularity {
    /// Every key alike.
    Uniform,
    /// 80 % of the requests go to 5 % of the keys, which lie scattered over the key range.
    Skewed,
}

impl Popularity {
    /// Draws a key id below `keys`.
    pub fn draw(self, rng: &mut Rng, keys: u64) -> u64 {
        match self {
            Self::Skewed if rng.below(10) < 8 => rng.below(keys.div_ceil(20)) * 20,
            Self::Uniform | Self::Skewed => rng.below(keys),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_sixteen_bytes_and_distinct() {
        assert_eq!(&key(*b"key:", 123_456_789), b"key:000123456789");
        assert_eq!(&key(*b"key:", 999_999_999_999), b"key:999999999999");
        assert_ne!(key(*b"key:", 1), key(*b"key:", 10));
    }

    #[test]
    fn a_value_depends_on_key_and_version_and_on_nothing_else() {
        let value = |id, version| {
            let mut out = [0_u8; 400];
            fill_half_compressible(&mut out, id, version);
            out
        };
        assert_eq!(value(7, 1), value(7, 1));
        assert_ne!(value(7, 1), value(7, 2));
        assert_ne!(value(7, 1), value(8, 1));
        assert!(value(7, 1)[200..].iter().all(|byte| *byte == value(7, 1)[200]));
        assert!(value(7, 1).iter().all(|byte| byte.is_ascii_graphic()));
    }

    #[test]
    fn skew_sends_four_fifths_to_a_twentieth() {
        let mut rng = Rng::new(1);
        let hot =
            (0..100_000).filter(|_| Popularity::Skewed.draw(&mut rng, 1_000).is_multiple_of(20)).count();
        // 80 % aimed at the hot keys, and 5 % of the rest hits them by chance.
        assert!((80_000..82_000).contains(&hot), "{hot}");
    }

    #[test]
    fn draws_stay_below_the_bound() {
        let mut rng = Rng::new(2);
        for keys in [1, 7, 20, 21, 1_000] {
            for _ in 0..1_000 {
                assert!(Popularity::Skewed.draw(&mut rng, keys) < keys);
            }
        }
    }
}
