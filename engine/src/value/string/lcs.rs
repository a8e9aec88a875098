//! The longest common subsequence of two strings, as LCS computes it.
//!
//! The classic table `T[i][j]` = length for the first `i` bytes of one and `j` bytes of the other is
//! filled row by row, but only two rows of it are kept. The walk back from the end needs nothing
//! but one bit per cell - whether the cell above is larger than the one to the left - so the memory
//! is an eighth of a byte per cell where Redis takes four bytes. The limits stay Redis's: its table of
//! 32-bit cells may take [`STRING_MAX`] bytes, which is at most 16 MiB of bits here. Time is the
//! product of both lengths.
//!
//! Of several equally long answers the walk decides: from the end, equal bytes are taken at once,
//! otherwise it goes up where the cell above is larger, else left. That is Redis's order.

use super::STRING_MAX;

/// A pair of strings that LCS refuses; the text is Redis's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LcsError {
    /// One string alone is too long.
    #[error("String too long for LCS")]
    StringTooLong,
    /// The product of both lengths is too large.
    #[error("Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len")]
    TooMuchMemory,
}

/// A run of bytes that both strings share; positions of its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LcsMatch {
    /// Where it starts in the first string.
    pub a_start: usize,
    /// Where it starts in the second string.
    pub b_start: usize,
    /// Its length, at least 1.
    pub len: usize,
}

/// Checks the limits before any work is done.
pub fn check_size(a: &[u8], b: &[u8]) -> Result<(), LcsError> {
    if a.len().max(b.len()) >= u32::MAX as usize - 1 {
        return Err(LcsError::StringTooLong);
    }
    let cells = (a.len() as u128 + 1) * (b.len() as u128 + 1);
    if cells * 4 > STRING_MAX as u128 {
        return Err(LcsError::TooMuchMemory);
    }
    Ok(())
}

/// Length of the longest common subsequence.
///
/// # Errors
/// [`LcsError`] when the strings are too long.
pub fn lcs_len(a: &[u8], b: &[u8]) -> Result<usize, LcsError> {
    check_size(a, b)?;
    Ok(fill(a, b, |_, _| {}))
}

/// The bytes of the longest common subsequence.
///
/// # Errors
/// [`LcsError`] when the strings are too long.
pub fn lcs(a: &[u8], b: &[u8]) -> Result<Vec<u8>, LcsError> {
    let matches = lcs_matches(a, b)?;
    Ok(matches.iter().rev().flat_map(|m| &a[m.a_start..m.a_start + m.len]).copied().collect())
}

/// The runs that make up the longest common subsequence, last one first.
///
/// # Errors
/// [`LcsError`] when the strings are too long.
pub fn lcs_matches(a: &[u8], b: &[u8]) -> Result<Vec<LcsMatch>, LcsError> {
    check_size(a, b)?;
    let mut up = vec![0u64; (a.len() * b.len()).div_ceil(64)];
    fill(a, b, |cell, goes_up| up[cell / 64] |= u64::from(goes_up) << (cell % 64));
    Ok(walk_back(a, b, &up))
}

/// Fills the table, tells `direction` for each cell with unequal bytes whether the walk goes up,
/// and returns the length.
fn fill(a: &[u8], b: &[u8], mut direction: impl FnMut(usize, bool)) -> usize {
    let mut row = vec![0u32; b.len() + 1];
    for (i, a_byte) in a.iter().enumerate() {
        // `row[j]` is T[i][j] until it is overwritten with T[i + 1][j].
        let (mut diagonal, mut left) = (0, 0);
        for (j, (b_byte, cell)) in b.iter().zip(&mut row[1..]).enumerate() {
            let above = *cell;
            left = if a_byte == b_byte {
                diagonal + 1
            } else {
                direction(i * b.len() + j, above > left);
                above.max(left)
            };
            *cell = left;
            diagonal = above;
        }
    }
    row.last().map_or(0, |len| *len as usize)
}

fn walk_back(a: &[u8], b: &[u8], up: &[u64]) -> Vec<LcsMatch> {
    let mut matches: Vec<LcsMatch> = Vec::new();
    let (mut i, mut j) = (a.len(), b.len());
    while i > 0 && j > 0 {
        if a[i - 1] == b[j - 1] {
            match matches.last_mut() {
                Some(run) if run.a_start == i && run.b_start == j => {
                    *run = LcsMatch { a_start: i - 1, b_start: j - 1, len: run.len + 1 };
                }
                _ => matches.push(LcsMatch { a_start: i - 1, b_start: j - 1, len: 1 }),
            }
            (i, j) = (i - 1, j - 1);
            continue;
        }
        let cell = (i - 1) * b.len() + j - 1;
        if up[cell / 64] >> (cell % 64) & 1 == 1 {
            i -= 1;
        } else {
            j -= 1;
        }
    }
    matches
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn redis_documentation_example() {
        let (a, b) = (b"ohmytext", b"mynewtext");
        assert_eq!(lcs(a, b).unwrap(), b"mytext");
        assert_eq!(lcs_len(a, b), Ok(6));
        assert_eq!(
            lcs_matches(a, b).unwrap(),
            [LcsMatch { a_start: 4, b_start: 5, len: 4 }, LcsMatch { a_start: 2, b_start: 0, len: 2 }]
        );
    }

    #[test]
    fn empty_strings_share_nothing() {
        assert_eq!(lcs(b"", b"abc").unwrap(), b"");
        assert_eq!(lcs_len(b"abc", b""), Ok(0));
        assert!(lcs_matches(b"", b"").unwrap().is_empty());
    }

    #[test]
    fn sizes_are_bounded_as_in_redis() {
        let long = vec![b'x'; 20_000];
        assert_eq!(lcs_len(&long, &long), Err(LcsError::TooMuchMemory));
        assert_eq!(check_size(&long[..11_585], &long[..11_585]), Err(LcsError::TooMuchMemory));
        assert_eq!(check_size(&long[..11_584], &long[..11_584]), Ok(()));
    }

    /// The walk over the full table, as Redis describes it.
    fn oracle(a: &[u8], b: &[u8]) -> Vec<u8> {
        let mut table = vec![vec![0u32; b.len() + 1]; a.len() + 1];
        for i in 1..=a.len() {
            for j in 1..=b.len() {
                table[i][j] = if a[i - 1] == b[j - 1] {
                    table[i - 1][j - 1] + 1
                } else {
                    table[i - 1][j].max(table[i][j - 1])
                };
            }
        }
        let (mut i, mut j, mut reversed) = (a.len(), b.len(), Vec::new());
        while i > 0 && j > 0 {
            if a[i - 1] == b[j - 1] {
                reversed.push(a[i - 1]);
                (i, j) = (i - 1, j - 1);
            } else if table[i - 1][j] > table[i][j - 1] {
                i -= 1;
            } else {
                j -= 1;
            }
        }
        reversed.reverse();
        reversed
    }

    fn short_text() -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(b'a'..=b'd', 0..40)
    }

    proptest! {
        #[test]
        fn takes_the_same_answer_as_the_full_table(a in short_text(), b in short_text()) {
            let expected = oracle(&a, &b);
            prop_assert_eq!(lcs_len(&a, &b), Ok(expected.len()));
            prop_assert_eq!(lcs(&a, &b).unwrap(), expected);
        }

        #[test]
        fn matches_are_shared_runs_in_descending_order(a in short_text(), b in short_text()) {
            let matches = lcs_matches(&a, &b).unwrap();
            for run in &matches {
                prop_assert_eq!(&a[run.a_start..run.a_start + run.len], &b[run.b_start..run.b_start + run.len]);
            }
            for pair in matches.windows(2) {
                prop_assert!(pair[1].a_start + pair[1].len <= pair[0].a_start);
                prop_assert!(pair[1].b_start + pair[1].len <= pair[0].b_start);
            }
        }
    }
}
