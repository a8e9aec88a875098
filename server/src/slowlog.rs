//! SLOWLOG's memory: the last commands that took long.

use std::collections::VecDeque;

/// Arguments kept per entry; the last one then says how many are missing.
const ARGUMENTS_MAX: usize = 32;
/// Bytes kept per argument.
const ARGUMENT_BYTES_MAX: usize = 128;

/// One slow command.
#[derive(Clone, Debug)]
pub struct Entry {
    pub id: u64,
    pub unix_seconds: u64,
    pub micros: u64,
    pub args: Vec<Vec<u8>>,
    pub peer: String,
    pub client_name: Vec<u8>,
}

/// The log, newest first, bounded by `slowlog-max-len`.
#[derive(Default)]
pub struct SlowLog {
    entries: VecDeque<Entry>,
    next_id: u64,
}

impl SlowLog {
    /// Adds an entry, forgetting the oldest beyond `len_max`. The id is set here.
    pub fn push(&mut self, mut entry: Entry, len_max: usize) {
        entry.id = self.next_id;
        self.next_id += 1;
        self.entries.push_front(entry);
        self.entries.truncate(len_max);
    }

    /// Newest first.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = &Entry> {
        self.entries.iter()
    }

    pub fn clear(&mut self) {
        self.entries.clear();
    }
}

/// Copies arguments, cut as Redis cuts them.
pub fn trim<'a>(args: impl ExactSizeIterator<Item = &'a [u8]>) -> Vec<Vec<u8>> {
    let count = args.len();
    let kept = if count > ARGUMENTS_MAX { ARGUMENTS_MAX - 1 } else { count };
    let mut trimmed: Vec<Vec<u8>> = args.take(kept).map(trim_one).collect();
    if kept < count {
        trimmed.push(format!("... ({} more arguments)", count - kept).into_bytes());
    }
    trimmed
}

fn trim_one(arg: &[u8]) -> Vec<u8> {
    if arg.len() <= ARGUMENT_BYTES_MAX {
        return arg.to_vec();
    }
    let mut cut = arg[..ARGUMENT_BYTES_MAX].to_vec();
    cut.extend_from_slice(format!("... ({} more bytes)", arg.len() - ARGUMENT_BYTES_MAX).as_bytes());
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_commands_are_cut() {
        let args = vec![vec![b'x'; 200]; 40];
        let trimmed = trim(args.iter().map(Vec::as_slice));
        assert_eq!(trimmed.len(), 32);
        assert!(trimmed[0].ends_with(b"... (72 more bytes)"));
        assert_eq!(trimmed[31], b"... (9 more arguments)");
    }

    #[test]
    fn the_newest_stay() {
        let mut log = SlowLog::default();
        for micros in 0..5 {
            let entry = Entry {
                id: 0,
                unix_seconds: 0,
                micros,
                args: vec![],
                peer: String::new(),
                client_name: vec![],
            };
            log.push(entry, 2);
        }
        assert_eq!(log.entries().map(|e| (e.id, e.micros)).collect::<Vec<_>>(), [(4, 4), (3, 3)]);
    }
}
