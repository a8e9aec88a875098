//! The bytes a client sent that are not executed yet.

/// Size of an ordinary buffer, and of one read.
const ORDINARY_BYTES: usize = 64 * 1024;
/// An argument up to this size gets its room at once; a larger one as its bytes arrive.
const AT_ONCE_BYTES: usize = 64 << 20;

/// A buffer that is filled at its end and emptied at its start.
///
/// The memory is initialised once, so that reads go into it without unsafe code. Room for a large
/// argument comes zeroed from the operating system and is not touched before its bytes arrive.
pub struct Input {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl Default for Input {
    fn default() -> Self {
        Input { bytes: vec![0; ORDINARY_BYTES], start: 0, end: 0 }
    }
}

impl Input {
    /// What was read and not dropped.
    #[must_use]
    pub fn filled(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Bytes that can be read without growing.
    #[must_use]
    pub fn free_bytes(&self) -> usize {
        self.bytes.len() - (self.end - self.start)
    }

    /// Drops bytes at the start.
    pub fn consume(&mut self, count: usize) {
        self.start += count;
        debug_assert!(self.start <= self.end, "only what was read is dropped");
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
        }
    }

    /// Room to read into. `wanted` is how many bytes, from the start, the argument on its way
    /// needs in the end; 0 if unknown. Growing copies each byte a bounded number of times.
    pub fn room(&mut self, wanted: usize) -> &mut [u8] {
        let used = self.end - self.start;
        let fits = wanted <= self.bytes.len() && used < self.bytes.len();
        if !fits {
            self.grow(wanted.max(used + 1));
        } else if self.end == self.bytes.len() || self.start + wanted > self.bytes.len() {
            self.bytes.copy_within(self.start..self.end, 0);
            self.start = 0;
            self.end = used;
        }
        &mut self.bytes[self.end..]
    }

    fn grow(&mut self, wanted: usize) {
        let doubled = self.bytes.len() * 2;
        let len = if wanted <= AT_ONCE_BYTES {
            wanted.max(doubled)
        } else {
            wanted.min(doubled.max(AT_ONCE_BYTES))
        };
        let mut bytes = vec![0; len];
        let used = self.end - self.start;
        bytes[..used].copy_from_slice(self.filled());
        *self = Input { bytes, start: 0, end: used };
    }

    /// Notes that `count` bytes were read into [`Input::room`].
    pub fn advance(&mut self, count: usize) {
        self.end += count;
    }

    /// Gives back the memory of a large argument. Only when empty.
    pub fn shrink(&mut self) {
        if self.bytes.len() > ORDINARY_BYTES && self.is_empty() {
            *self = Input::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_keep_their_order_while_the_buffer_moves_and_grows() {
        let mut input = Input::default();
        let (mut sent, mut received) = (0u32, 0u32);
        for round in 0..2000u32 {
            let wanted = if round == 1000 { 300_000 } else { 0 };
            let room = input.room(wanted);
            let count = room.len().min((round as usize * 37) % 5000 + 4) & !3;
            for word in room[..count].chunks_exact_mut(4) {
                word.copy_from_slice(&sent.to_le_bytes());
                sent += 1;
            }
            input.advance(count);
            let take = (input.filled().len() / 2) & !3;
            for word in input.filled()[..take].chunks_exact(4) {
                assert_eq!(word, received.to_le_bytes());
                received += 1;
            }
            input.consume(take);
        }
        assert!(received > 100_000);
    }

    #[test]
    fn a_large_argument_gets_its_room_and_gives_it_back() {
        let mut input = Input::default();
        assert!(input.room(10 << 20).len() >= 10 << 20);
        assert!(input.room(500 << 20).len() <= AT_ONCE_BYTES, "announced bytes alone allocate little");
        input.shrink();
        assert_eq!(input.room(0).len(), ORDINARY_BYTES);
    }
}
