//! Changes of a tree: inserting, replacing and removing elements, splitting and joining leaves.
//!
//! A leaf that an element no longer fits into is split in the middle, except at the ends of the tree, where the element opens a new leaf:
//! runs of pushes fill leaves. A leaf that shrinks below a quarter joins a neighbour if the two leave room to grow.

use super::directory::Slot;
use super::leaf::{LEAF_BYTES_MAX, Leaf};
use super::rows::prefix_of;
use super::{Layout, Place, Tree};

/// A leaf of fewer bytes looks for a neighbour to join.
const LEAF_BYTES_MIN: usize = LEAF_BYTES_MAX / 4;
/// Most bytes of two leaves that join.
const JOINED_BYTES_MAX: usize = LEAF_BYTES_MAX / 4 * 3;

impl<L: Layout> Tree<L> {
    /// Puts an element before the place. The caller found the place that keeps the order.
    pub fn insert(&mut self, place: Place, element: &[u8]) {
        let index = place.index as usize;
        match self.directory.leaf(place.slot) {
            None => _ = self.insert_leaf(Slot::default(), Leaf::of(element)),
            Some(leaf) if leaf.fits(element.len()) => self.insert_into(place.slot, index, element),
            Some(_) => self.insert_splitting(place.slot, index, element),
        }
    }

    /// Replaces the element at the place by one that stands at the same place in the order.
    pub fn replace(&mut self, place: Place, element: &[u8]) {
        let Place { slot, index } = self.settled(place);
        let index = index as usize;
        self.touch(slot);
        if !self.directory.edit(slot, |leaf| leaf.replace(index, element)) {
            // The leaf has others: it does not become empty.
            self.directory.edit(slot, |leaf| leaf.remove(index, index + 1));
            self.refresh_first(slot, index);
            self.insert_splitting(slot, index, element);
            return;
        }
        self.refresh_first(slot, index);
        self.join_small(slot);
    }

    /// Removes the element at the place.
    pub fn remove(&mut self, place: Place) {
        let Place { slot, index } = self.settled(place);
        let index = index as usize;
        self.remove_within(slot, index, index + 1);
        self.join_small(slot);
    }

    /// Removes the elements of ranks `from..to`. Costs O(log n) and as much as there are leaves in the range.
    pub fn remove_range(&mut self, from: u64, to: u64) {
        let to = to.min(self.len());
        let Some(first) = self.place_at(from).filter(|_| from < to) else { return };
        let last = self.place_at(to).unwrap_or_else(|| self.end());
        let (begin, end) = (first.index as usize, last.index as usize);
        if first.slot == last.slot {
            self.remove_within(first.slot, begin, end);
            self.join_small(first.slot);
            return;
        }
        // From the back, so that slots stay what they are.
        let mut whole_to = last.slot;
        if self.directory.leaf(last.slot).is_some_and(|leaf| end >= leaf.len()) {
            whole_to = last.slot.after();
        } else if end > 0 {
            self.remove_within(last.slot, 0, end);
        }
        let mut whole_from = first.slot;
        if begin > 0 {
            let count = self.directory.leaf(first.slot).map_or(0, Leaf::len);
            self.remove_within(first.slot, begin, count);
            whole_from = first.slot.after();
        }
        let rows = &mut self.rows;
        self.directory.remove_between(whole_from, whole_to, |leaf| rows.forget(leaf));
        if self.directory.leaf_count() == 0 {
            self.rows.forget_dirty();
        }
        if let Some(place) = self.place_at(from) {
            self.join_small(place.slot);
        }
        if let Some(place) = from.checked_sub(1).and_then(|rank| self.place_at(rank)) {
            self.join_small(place.slot);
        }
    }

    /// Appends an element.
    pub fn push_back(&mut self, element: &[u8]) {
        self.insert(self.end(), element);
    }

    /// Prepends an element.
    pub fn push_front(&mut self, element: &[u8]) {
        self.insert(self.start(), element);
    }

    /// A tree of elements that come in order, in full leaves.
    pub fn from_sorted(elements: impl Iterator<Item = impl AsRef<[u8]>>) -> Self {
        let mut tree = Tree::new();
        for element in elements {
            tree.push_back(element.as_ref());
        }
        if let Some(last) = tree.directory.last() {
            tree.directory.edit(last, Leaf::fit);
        }
        tree
    }

    fn insert_into(&mut self, slot: Slot, index: usize, element: &[u8]) {
        self.directory.edit(slot, |leaf| leaf.insert(index, element));
        self.refresh_first(slot, index);
        self.touch(slot);
    }

    /// Inserts into a leaf that has no room.
    fn insert_splitting(&mut self, slot: Slot, index: usize, element: &[u8]) {
        let Some(leaf) = self.directory.leaf(slot) else { return };
        if leaf.fits(element.len()) {
            return self.insert_into(slot, index, element);
        }
        if index == 0 || index == leaf.len() {
            return self.insert_beside(slot, index, element);
        }
        let Some(cut) = leaf.cut_with(index, element.len()) else {
            let right = self.directory.edit(slot, |leaf| leaf.split_off(index));
            self.touch(slot);
            let right = self.insert_leaf(slot.after(), right);
            self.insert_leaf(right, Leaf::of(element));
            return;
        };
        // `cut` counts the new element.
        let is_left = index < cut;
        let right = self.directory.edit(slot, |leaf| {
            let mut right = leaf.split_off(if is_left { cut - 1 } else { cut });
            if is_left {
                leaf.insert(index, element);
            } else {
                right.insert(index - cut, element);
            }
            right
        });
        self.touch(slot);
        self.insert_leaf(slot.after(), right);
    }

    /// Inserts at an end of a leaf without room: into the neighbour there, or the leaf is split, or a new leaf begins.
    fn insert_beside(&mut self, slot: Slot, index: usize, element: &[u8]) {
        let is_front = index == 0;
        let neighbour = if is_front { self.directory.previous(slot) } else { self.directory.next(slot) };
        match neighbour.and_then(|slot| Some((slot, self.directory.leaf(slot)?))) {
            Some((neighbour, leaf)) if leaf.fits(element.len()) => {
                let index = if is_front { leaf.len() } else { 0 };
                self.insert_into(neighbour, index, element);
            }
            _ => {
                let at = if is_front { slot } else { slot.after() };
                self.insert_leaf(at, Leaf::of(element));
            }
        }
    }

    /// Removes elements of one leaf, and the leaf with its last.
    fn remove_within(&mut self, slot: Slot, from: usize, to: usize) {
        if self.directory.leaf(slot).is_some_and(|leaf| to - from == leaf.len()) {
            let leaf = self.directory.remove(slot);
            self.rows.forget(&leaf);
            if self.directory.leaf_count() == 0 {
                self.rows.forget_dirty();
            }
            return;
        }
        self.directory.edit(slot, |leaf| leaf.remove(from, to));
        self.refresh_first(slot, from);
        self.touch(slot);
    }

    /// Notes the first prefix of a leaf after a change at `index`.
    #[inline]
    fn refresh_first(&mut self, slot: Slot, index: usize) {
        if index == 0
            && let Some(leaf) = self.directory.leaf(slot)
        {
            let prefix = prefix_of::<L>(leaf);
            self.directory.set_first(slot, prefix);
        }
    }

    /// Joins a leaf that became small to a neighbour, if there is a leaf and a neighbour with room.
    #[inline]
    fn join_small(&mut self, slot: Slot) {
        let Some(leaf) = self.directory.leaf(slot).filter(|leaf| leaf.size() < LEAF_BYTES_MIN) else {
            return;
        };
        let size = leaf.size();
        let has_room = |other: &Slot| {
            self.directory.leaf(*other).is_some_and(|other| other.size() + size <= JOINED_BYTES_MAX)
        };
        let (left, right) = if let Some(next) = self.directory.next(slot).filter(has_room) {
            (slot, next)
        } else if let Some(previous) = self.directory.previous(slot).filter(has_room) {
            (previous, slot)
        } else {
            return;
        };
        // The left one stays where it is also if the blocks change: it is removed from first.
        let taken = self.directory.take_elements(right);
        self.directory.edit(left, |leaf| leaf.extend(&taken, 0, taken.len()));
        self.touch(left);
        self.directory.remove(right);
        self.rows.forget(&taken);
    }
}
