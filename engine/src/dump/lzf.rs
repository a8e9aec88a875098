//! LZF, the compression of long strings in RDB.
//!
//! A compressed string is a row of tokens, each told by its first byte `c`:
//!
//! | first byte | token |
//! |---|---|
//! | `000nnnnn` | `n + 1` literal bytes follow (1 to 32) |
//! | `nnnddddd` with n in 1..=6 | copy `n + 2` bytes from `d << 8 \| next byte`, plus 1, bytes back |
//! | `111ddddd` | as above, but the length is the next byte plus 9, and the distance byte follows it |
//!
//! Copies may overlap what they write. The longest copy is 264 bytes from 3 bytes of input, which
//! bounds how much any input can grow.

/// Literals in one token, at most.
const LITERALS_MAX: usize = 32;
/// Bytes one token copies.
const COPY_MIN: usize = 3;
const COPY_MAX: usize = 264;
/// How far back a copy may start.
const DISTANCE_MAX: usize = 1 << 13;
/// log2 of the entries in the compressor's table of places.
const HASH_BITS: u32 = 13;

/// Compresses `input`; `None` when that would not save at least four bytes.
pub(super) fn compress(input: &[u8]) -> Option<Vec<u8>> {
    let budget = input.len().checked_sub(4)?;
    // The latest place of each hash of three bytes, plus 1.
    let mut places = vec![0u32; 1 << HASH_BITS];
    let mut out = Vec::with_capacity(budget.min(input.len() / 2 + 64));
    let (mut position, mut literal_start) = (0, 0);
    while position + COPY_MIN <= input.len() {
        let place = &mut places[hash(&input[position..])];
        let candidate = (*place as usize).checked_sub(1);
        *place = u32::try_from(position + 1).ok()?;
        let copy = candidate.and_then(|start| matching(input, start, position));
        let Some((distance, len)) = copy else {
            position += 1;
            continue;
        };
        push_literals(&mut out, &input[literal_start..position]);
        push_copy(&mut out, distance, len);
        if out.len() > budget {
            return None;
        }
        position += len;
        literal_start = position;
    }
    push_literals(&mut out, &input[literal_start..]);
    (out.len() <= budget).then_some(out)
}

fn hash(bytes: &[u8]) -> usize {
    let three = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], 0]);
    (three.wrapping_mul(0x9e37_79b1) >> (32 - HASH_BITS)) as usize
}

/// Distance and length of the copy that `start` offers for `position`, if it is one.
fn matching(input: &[u8], start: usize, position: usize) -> Option<(usize, usize)> {
    let distance = position - start;
    if distance > DISTANCE_MAX {
        return None;
    }
    let pairs = input[start..].iter().zip(&input[position..]).take(COPY_MAX);
    let len = pairs.take_while(|(a, b)| a == b).count();
    (len >= COPY_MIN).then_some((distance, len))
}

fn push_literals(out: &mut Vec<u8>, literals: &[u8]) {
    for run in literals.chunks(LITERALS_MAX) {
        out.push((run.len() - 1) as u8);
        out.extend_from_slice(run);
    }
}

fn push_copy(out: &mut Vec<u8>, distance: usize, len: usize) {
    let [high, low] = ((distance - 1) as u16).to_be_bytes();
    let len = len - 2;
    if len < 7 {
        out.push((len as u8) << 5 | high);
    } else {
        out.extend_from_slice(&[7 << 5 | high, (len - 7) as u8]);
    }
    out.push(low);
}

/// Decompresses `input` to exactly `len` bytes; `None` when it does not hold that.
pub(super) fn decompress(input: &[u8], len: usize) -> Option<Vec<u8>> {
    // Checked before the allocation: no input grows more than its longest copies.
    if len > input.len().saturating_mul(COPY_MAX / COPY_MIN) {
        return None;
    }
    let mut out = Vec::with_capacity(len);
    let mut rest = input;
    while let Some((&first, after)) = rest.split_first() {
        rest = if usize::from(first) < LITERALS_MAX {
            let (literals, after) = after.split_at_checked(usize::from(first) + 1)?;
            out.extend_from_slice(literals);
            after
        } else {
            copy_back(&mut out, first, after, len)?
        };
        if out.len() > len {
            return None;
        }
    }
    (out.len() == len).then_some(out)
}

/// Carries out a copy token up to a total of `len` bytes; returns what follows it.
fn copy_back<'a>(out: &mut Vec<u8>, first: u8, rest: &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (count, rest) = match (usize::from(first >> 5), rest) {
        (7, [more, rest @ ..]) => (usize::from(*more) + 9, rest),
        (count, rest) => (count + 2, rest),
    };
    let (&low, rest) = rest.split_first()?;
    let distance = (usize::from(first & 0x1f) << 8 | usize::from(low)) + 1;
    let start = out.len().checked_sub(distance)?;
    if count > len - out.len() {
        return None;
    }
    if distance >= count {
        out.extend_from_within(start..start + count);
    } else {
        for index in start..start + count {
            out.push(out[index]);
        }
    }
    Some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn repetitive_input_shrinks() {
        for input in [vec![b'a'; 10_000], b"abcabcabcabcabcabcabcabc".to_vec(), b"0123456789".repeat(3_000)] {
            let packed = compress(&input).unwrap();
            assert!(packed.len() + 4 <= input.len());
            assert_eq!(decompress(&packed, input.len()), Some(input));
        }
    }

    #[test]
    fn incompressible_input_is_left_alone() {
        let input: Vec<u8> = (0..=255).collect();
        assert_eq!(compress(&input), None);
        assert_eq!(compress(b"abc"), None);
        assert_eq!(compress(b""), None);
    }

    #[test]
    fn damaged_input_is_refused() {
        assert_eq!(decompress(b"\x04abc", 5), None, "literals are missing");
        assert_eq!(decompress(b"\x20\x00", 3), None, "copies from before the start");
        assert_eq!(decompress(b"\x00a\x20", 4), None, "the distance is missing");
        assert_eq!(decompress(b"\x00a\xe0", 10), None, "the length is missing");
        assert_eq!(decompress(b"\x00a\xe0\xff\x00", 10), None, "longer than told");
        assert_eq!(decompress(b"\x00a", 2), None, "shorter than told");
        assert_eq!(decompress(b"\x00a", usize::MAX), None, "cannot grow so much");
        assert_eq!(decompress(b"\x00a\x20\x00", 4), Some(b"aaaa".to_vec()));
    }

    proptest! {
        #[test]
        fn round_trips(input in proptest::collection::vec(0u8..4, 0..3000)) {
            if let Some(packed) = compress(&input) {
                prop_assert!(packed.len() + 4 <= input.len());
                prop_assert_eq!(decompress(&packed, input.len()), Some(input));
            }
        }

        #[test]
        fn hostile_input_is_read_or_refused(input: Vec<u8>, len in 0usize..20_000) {
            if let Some(output) = decompress(&input, len) {
                prop_assert_eq!(output.len(), len);
            }
        }
    }
}
