//! Leaves as rows: labels that order them, which are dirty, and loading.
//!
//! A leaf's row is keyed by a 64-bit label, a multiple of four; labels ascend with the leaves. A new leaf at an end of the tree takes a label far from its
//! neighbour's, one between two leaves the middle of theirs. Where no label is left in between, the leaves around get new ones, spread
//! evenly over a range that is wide enough: a few leaves for each split even if all happen at one spot (list labelling, Itai, Konheim
//! and Rodeh 1981; Bender et al. 2002), and their old rows go.
//!
//! A leaf is dirty if its row is missing or not what the leaf is. The labels of dirty leaves are collected in a list, so that taking
//! them costs nothing for the others. Labels in the list may be stale: only those that name a dirty leaf count. The list is cleaned when it
//! outgrows the leaves, so a queue that is never written back does not grow it.

use super::directory::{Directory, Slot};
use super::leaf::{Leaf, RowState};
use super::{Layout, Tree};
use crate::codec::DecodeError;
use std::cmp::Ordering;

/// Label of the first leaf of an empty tree.
const FIRST_LABEL: u64 = 1 << 63;
/// Distance of labels at the ends.
const LABEL_STRIDE: u64 = 1 << 32;
/// Labels per leaf that are left between leaves labelled anew, times the number of these leaves.
const LABEL_GAP_MIN: u128 = 1 << 8;

/// What is to be written back.
#[derive(Clone, Debug, Default)]
pub(super) struct Rows {
    /// Labels of dirty leaves, and stale ones.
    dirty: Vec<u64>,
    /// Labels of rows whose leaf is gone or has another label.
    deleted: Vec<u64>,
    /// All leaves are dirty, and `dirty` is empty.
    is_all_dirty: bool,
}

impl Rows {
    pub fn heap_bytes(&self) -> usize {
        (self.dirty.capacity() + self.deleted.capacity()) * size_of::<u64>()
    }

    /// Notes that a leaf is gone.
    pub fn forget(&mut self, leaf: &Leaf) {
        if leaf.row.is_written() {
            self.deleted.push(leaf.row.label());
        }
    }

    /// Notes that there is no leaf left.
    pub fn forget_dirty(&mut self) {
        self.dirty = Vec::new();
    }

    fn note_dirty(&mut self, directory: &mut Directory, label: u64) {
        if self.is_all_dirty {
            return;
        }
        self.dirty.push(label);
        if self.dirty.len() > 64 + 2 * directory.leaf_count() {
            self.dirty.sort_unstable();
            self.dirty.dedup();
            self.dirty.retain(|label| {
                let leaf = directory.labelled(*label).and_then(|slot| directory.leaf(slot));
                leaf.is_some_and(|leaf| leaf.row.is_dirty())
            });
            self.dirty.shrink_to(64 + 2 * directory.leaf_count());
        }
    }
}

impl<L: Layout> Tree<L> {
    /// Notes that a leaf changed.
    #[inline]
    pub(super) fn touch(&mut self, slot: Slot) {
        let row = self.directory.row_mut(slot);
        if !row.is_dirty() {
            row.set_dirty();
            let label = row.label();
            self.rows.note_dirty(&mut self.directory, label);
        }
    }

    /// Puts a new leaf before the one at `slot` (which may be one past the last of a block). Returns where it is now.
    pub(super) fn insert_leaf(&mut self, slot: Slot, mut leaf: Leaf) -> Slot {
        let label = self.new_label(slot);
        leaf.row = RowState::unwritten(label);
        let first = prefix_of::<L>(&leaf);
        let slot = self.directory.insert(slot, leaf, first);
        self.rows.note_dirty(&mut self.directory, label);
        slot
    }

    /// A label for a leaf that goes before the one at `slot`.
    fn new_label(&mut self, slot: Slot) -> u64 {
        let (before, after) = self.labels_around(slot);
        if let Some(label) = label_between(before, after) {
            return label;
        }
        self.spread_labels(slot);
        let (before, after) = self.labels_around(slot);
        label_between(before, after).expect("spread labels have gaps")
    }

    /// The labels of the leaf before `slot` and of the leaf there.
    fn labels_around(&self, slot: Slot) -> (Option<u64>, Option<u64>) {
        let label = |slot: Option<Slot>| Some(self.directory.leaf(slot?)?.row.label());
        let before = self.directory.previous(slot);
        let after = if self.directory.leaf(slot).is_some() {
            Some(slot)
        } else {
            before.and_then(|slot| self.directory.next(slot))
        };
        (label(before), label(after))
    }

    /// Gives new labels to as many leaves around `slot` as it takes to have wide gaps.
    fn spread_labels(&mut self, slot: Slot) {
        let label =
            |slot: Option<Slot>| slot.and_then(|slot| self.directory.leaf(slot)).map(|leaf| leaf.row.label());
        let mut first = self.directory.previous(slot).unwrap_or(slot);
        let mut last = first;
        let mut count: u64 = 1;
        let (before, gap) = loop {
            let (left, right) = (self.directory.previous(first), self.directory.next(last));
            let (before, after) = (label(left).unwrap_or(0), label(right).unwrap_or(u64::MAX));
            let gap = (after - before) / (count + 1) & !RowState::FLAGS;
            if (left.is_none() && right.is_none()) || u128::from(gap) >= LABEL_GAP_MIN * u128::from(count) {
                break (before, gap);
            }
            for _ in 0..count.div_ceil(2) {
                if let Some(left) = self.directory.previous(first) {
                    (first, count) = (left, count + 1);
                }
                if let Some(right) = self.directory.next(last) {
                    (last, count) = (right, count + 1);
                }
            }
        };
        let (mut at, mut label) = (Some(first), before);
        for _ in 0..count {
            let Some(slot) = at else { break };
            label += gap;
            self.relabel(slot, label);
            at = self.directory.next(slot);
        }
    }

    fn relabel(&mut self, slot: Slot, label: u64) {
        let row = self.directory.row_mut(slot);
        let old = std::mem::replace(row, RowState::unwritten(label));
        if old.is_written() {
            self.rows.deleted.push(old.label());
        }
        if !self.rows.is_all_dirty {
            // Not `note_dirty`: labels are out of order until all are given.
            self.rows.dirty.push(label);
        }
    }

    /// Hands over what changed since the last time: first the labels of rows to delete, then each dirty leaf with its row. All are clean
    /// then: the caller makes these rows durable, or gives up the tree. Costs as much as there is to hand over.
    pub fn take_dirty(&mut self, put: &mut dyn FnMut(u64, Option<&[u8]>)) {
        let mut deleted = std::mem::take(&mut self.rows.deleted);
        deleted.sort_unstable();
        deleted.dedup();
        for label in deleted {
            // A label in use again has a dirty leaf: its row is replaced below.
            if self.directory.labelled(label).is_none() {
                put(label, None);
            }
        }
        let mut body = Vec::new();
        if std::mem::take(&mut self.rows.is_all_dirty) {
            let mut at = Some(Slot::default()).filter(|slot| self.directory.leaf(*slot).is_some());
            while let Some(slot) = at {
                self.take_leaf(slot, &mut body, put);
                at = self.directory.next(slot);
            }
        }
        let mut dirty = std::mem::take(&mut self.rows.dirty);
        dirty.sort_unstable();
        for label in dirty {
            if let Some(slot) = self.directory.labelled(label) {
                self.take_leaf(slot, &mut body, put);
            }
        }
    }

    /// Hands over one leaf if it is dirty.
    fn take_leaf(&mut self, slot: Slot, body: &mut Vec<u8>, put: &mut dyn FnMut(u64, Option<&[u8]>)) {
        let Some(leaf) = self.directory.leaf(slot).filter(|leaf| leaf.row.is_dirty()) else { return };
        body.clear();
        leaf.encode(body);
        let label = leaf.row.label();
        *self.directory.row_mut(slot) = RowState::clean(label);
        put(label, Some(body));
    }

    /// Whether [`Tree::take_dirty`] would hand over anything. Says yes also where changes took themselves back.
    #[must_use]
    pub fn is_dirty(&self) -> bool {
        let rows = &self.rows;
        !rows.dirty.is_empty() || !rows.deleted.is_empty() || (rows.is_all_dirty && !self.is_empty())
    }

    /// Hands over all leaves as rows, dirty or not, in the order of labels. Changes nothing.
    pub fn all_leaves(&self, put: &mut dyn FnMut(u64, &[u8])) {
        let mut body = Vec::new();
        let mut at = Some(Slot::default());
        while let Some((slot, leaf)) = at.and_then(|slot| Some((slot, self.directory.leaf(slot)?))) {
            body.clear();
            leaf.encode(&mut body);
            put(leaf.row.label(), &body);
            at = self.directory.next(slot);
        }
    }

    /// There are no rows of this tree (any more): it was copied, or its rows were deleted by other means. All leaves are dirty then.
    pub fn forget_rows(&mut self) {
        let mut at = Some(Slot::default()).filter(|slot| self.directory.leaf(*slot).is_some());
        while let Some(slot) = at {
            let row = self.directory.row_mut(slot);
            *row = RowState::unwritten(row.label());
            at = self.directory.next(slot);
        }
        self.rows = Rows { is_all_dirty: true, ..Rows::default() };
    }

    /// Loads a row; rows come in the order of labels, into a tree that is not changed in between. The leaf is clean.
    ///
    /// # Errors
    /// The bytes are no leaf, or elements or labels are out of order. The tree stays as it was.
    pub fn push_leaf(&mut self, label: u64, bytes: &[u8]) -> Result<(), DecodeError> {
        let error = |what| DecodeError { what, at: 0 };
        let last = self.directory.last();
        if last.and_then(|slot| self.directory.leaf(slot)).is_some_and(|last| last.row.label() >= label) {
            return Err(error("leaves out of order"));
        }
        if label & RowState::FLAGS != 0 {
            return Err(error("not a label of a leaf"));
        }
        let mut leaf = Leaf::decode(bytes)?;
        if !L::IS_POSITIONAL {
            let before = self.last();
            let mut elements = before.into_iter().chain((0..leaf.len()).map(|index| leaf.get(index)));
            if let Some(mut previous) = elements.next() {
                for element in elements {
                    if L::prefix(previous) > L::prefix(element)
                        || L::compare(previous, element) != Ordering::Less
                    {
                        return Err(error("elements out of order"));
                    }
                    previous = element;
                }
            }
        }
        leaf.row = RowState::clean(label);
        let first = prefix_of::<L>(&leaf);
        self.directory.insert(last.map_or(Slot::default(), Slot::after), leaf, first);
        Ok(())
    }
}

/// Prefix of a leaf's first element.
pub(super) fn prefix_of<L: Layout>(leaf: &Leaf) -> u64 {
    if L::IS_POSITIONAL { 0 } else { L::prefix(leaf.get(0)) }
}

/// A label between two, or beyond one.
fn label_between(before: Option<u64>, after: Option<u64>) -> Option<u64> {
    let (low, high) = match (before, after) {
        (None, None) => return Some(FIRST_LABEL),
        (Some(before), None) if before < u64::MAX - LABEL_STRIDE => return Some(before + LABEL_STRIDE),
        (None, Some(after)) if after > LABEL_STRIDE => return Some(after - LABEL_STRIDE),
        (before, after) => (before.unwrap_or(0), after.unwrap_or(u64::MAX)),
    };
    let label = (low + (high - low) / 2) & !RowState::FLAGS;
    (label > low && label < high).then_some(label)
}

#[cfg(test)]
impl<L: Layout> Tree<L> {
    /// The directory is consistent, and every dirty leaf is in the list.
    pub(super) fn check(&self) {
        self.directory.check(prefix_of::<L>);
        let mut at = Some(Slot::default());
        while let Some((slot, leaf)) = at.and_then(|slot| Some((slot, self.directory.leaf(slot)?))) {
            let is_listed = self.rows.is_all_dirty || self.rows.dirty.contains(&leaf.row.label());
            assert!(!leaf.row.is_dirty() || is_listed);
            at = self.directory.next(slot);
        }
    }
}
