//! The runs of a sparse sketch: reading them, and raising one register as Redis does it.

use super::HllError;

/// The runs of a sketch without elements: 16384 zeros.
pub(super) const NO_ELEMENTS: [u8; 2] = [0x7f, 0xff];
/// The highest value that a run can have.
const VALUE_MAX: u8 = 32;
/// The longest runs of one byte, of a value and of zeros.
const VALUE_LEN_MAX: usize = 4;
const ZERO_LEN_MAX: usize = 64;
/// Runs that are looked at for merging, from the one before the change on.
const MERGE_RUNS: usize = 5;

/// Equal registers behind one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) value: u8,
    pub(super) len: usize,
    /// Bytes that it takes.
    bytes: usize,
}

impl Run {
    /// The run at the start of `bytes`; a long run of zeros may lack its second byte.
    fn first_of(bytes: &[u8]) -> Option<Self> {
        let first = *bytes.first()?;
        let low = usize::from(first & 0x3f);
        Some(match first >> 6 {
            0 => Run { value: 0, len: low + 1, bytes: 1 },
            1 => Run { value: 0, len: (low << 8 | usize::from(*bytes.get(1)?)) + 1, bytes: 2 },
            _ => Run { value: (first >> 2 & 0x1f) + 1, len: usize::from(first & 3) + 1, bytes: 1 },
        })
    }

    /// How PFDEBUG DECODE shows it.
    pub(super) fn text(self) -> String {
        match (self.value, self.bytes) {
            (0, 1) => format!("z:{}", self.len),
            (0, _) => format!("Z:{}", self.len),
            (value, _) => format!("v:{value},{}", self.len),
        }
    }
}

/// Goes through the runs.
pub(super) struct Runs<'a> {
    rest: &'a [u8],
}

impl<'a> Runs<'a> {
    /// Runs without a header.
    pub(super) fn of(rest: &'a [u8]) -> Self {
        Runs { rest }
    }
}

impl Iterator for Runs<'_> {
    type Item = Result<Run, HllError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let run = Run::first_of(self.rest);
        self.rest = run.and_then(|run| self.rest.get(run.bytes..)).unwrap_or_default();
        Some(run.ok_or(HllError::Corrupted))
    }
}

/// Whether a register was raised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Raised {
    No,
    Yes,
    /// It cannot be in this encoding; nothing changed.
    Unfit,
}

/// Raises a register to a value, in a string whose runs start at `start`, up to a length of `bytes_max`.
pub(super) fn raise(
    bytes: &mut Vec<u8>,
    start: usize,
    (index, value): (usize, u8),
    bytes_max: usize,
) -> Result<Raised, HllError> {
    if value > VALUE_MAX {
        return Ok(Raised::Unfit);
    }
    // The run that covers the register, and the one before it.
    let (mut at, mut before, mut first) = (start, start, 0);
    let run = loop {
        let run = Run::first_of(bytes.get(at..).unwrap_or_default()).ok_or(HllError::Corrupted)?;
        if index < first + run.len {
            break run;
        }
        before = at;
        at += run.bytes;
        first += run.len;
    };
    if run.value >= value {
        return Ok(Raised::No);
    }
    // What replaces it: the registers before, this one, those behind.
    let mut parts = Parts::default();
    parts.push(run.value, index - first);
    parts.push(value, 1);
    parts.push(run.value, first + run.len - 1 - index);
    let parts = parts.as_slice();
    if parts.len() > run.bytes && bytes.len() - run.bytes + parts.len() > bytes_max {
        return Ok(Raised::Unfit);
    }
    bytes.splice(at..at + run.bytes, parts.iter().copied());
    merge(bytes, before);
    Ok(Raised::Yes)
}

/// Bytes of up to three runs.
#[derive(Default)]
struct Parts {
    bytes: [u8; 5],
    len: usize,
}

impl Parts {
    fn push(&mut self, value: u8, len: usize) {
        let Some(more) = len.checked_sub(1) else { return };
        let long = (more as u16).to_be_bytes();
        let bytes: &[u8] = match value {
            0 if len > ZERO_LEN_MAX => &[long[0] | 0x40, long[1]],
            0 => &long[1..],
            _ => &[0x80 | (value - 1) << 2 | more as u8],
        };
        self.bytes[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// Merges runs of one value that are neighbours, near a change.
fn merge(bytes: &mut Vec<u8>, mut at: usize) {
    for _ in 0..MERGE_RUNS {
        let Some(run) = bytes.get(at..).and_then(Run::first_of) else { return };
        let next = bytes.get(at + run.bytes..).and_then(Run::first_of);
        let fits =
            |next: &Run| run.value > 0 && next.value == run.value && run.len + next.len <= VALUE_LEN_MAX;
        match next.filter(fits) {
            Some(next) => {
                bytes.remove(at);
                // Both are of one byte; the longer one stays in place and may grow on.
                bytes[at] = 0x80 | (run.value - 1) << 2 | (run.len + next.len - 1) as u8;
            }
            None => at += run.bytes,
        }
    }
}
