//! What a command has planned so far for the names it was given.
//!
//! A plan reads the value as it was before the command. Where a command may name the same field or
//! member twice, the second one has to see what was planned for the first: that is kept here. A
//! command with one name pays nothing, one with few compares them all, one with many hashes them.

use std::collections::HashMap;

/// More names than this are found through a hash table.
const LINEAR_MAX: usize = 16;

/// The latest plan for each name of one command.
pub(super) struct Overlay<'a, T> {
    /// Whether the command has but one name: then nothing is ever asked.
    is_alone: bool,
    items: Vec<(&'a [u8], T)>,
    /// Where each name is in `items`, once these are many.
    index: HashMap<&'a [u8], usize>,
}

impl<'a, T: Copy> Overlay<'a, T> {
    /// An overlay for a command of `names` names (or `usize::MAX` if that is not known).
    pub(super) fn new(names: usize) -> Self {
        Overlay { is_alone: names <= 1, items: Vec::new(), index: HashMap::new() }
    }

    /// An overlay for the names of an iterator.
    pub(super) fn for_names<I: Iterator>(names: &I) -> Self {
        Self::new(names.size_hint().1.unwrap_or(usize::MAX))
    }

    fn place(&self, name: &[u8]) -> Option<usize> {
        if self.items.len() <= LINEAR_MAX {
            self.items.iter().position(|(known, _)| *known == name)
        } else {
            self.index.get(name).copied()
        }
    }

    /// What was planned for a name.
    pub(super) fn get(&self, name: &[u8]) -> Option<T> {
        Some(self.items.get(self.place(name)?)?.1)
    }

    /// Whether anything was planned for a name.
    pub(super) fn contains(&self, name: &[u8]) -> bool {
        self.place(name).is_some()
    }

    /// Notes what is planned for a name.
    pub(super) fn put(&mut self, name: &'a [u8], plan: T) {
        if self.is_alone {
            return;
        }
        if let Some((_, old)) = self.place(name).and_then(|at| self.items.get_mut(at)) {
            *old = plan;
            return;
        }
        self.items.push((name, plan));
        match self.items.len() {
            0..=LINEAR_MAX => {}
            len if len == LINEAR_MAX + 1 => {
                self.index.extend(self.items.iter().enumerate().map(|(at, (name, _))| (*name, at)));
            }
            len => {
                self.index.insert(name, len - 1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_plan_of_each_name_is_found_however_many_there_are() {
        let names: Vec<Vec<u8>> = (0..40u32).map(|n| n.to_string().into_bytes()).collect();
        let mut overlay = Overlay::for_names(&names.iter());
        for (n, name) in names.iter().enumerate() {
            assert_eq!(overlay.get(name), None);
            overlay.put(name, n);
            overlay.put(names[0].as_slice(), n + 100);
            assert_eq!(overlay.get(&names[0]), Some(n + 100));
            assert!(overlay.contains(name));
        }
        for (n, name) in names.iter().enumerate().skip(1) {
            assert_eq!(overlay.get(name), Some(n));
        }
    }

    #[test]
    fn a_command_of_one_name_keeps_nothing() {
        let mut overlay = Overlay::new(1);
        overlay.put(b"a", 1);
        assert!(!overlay.contains(b"a"));
    }
}
