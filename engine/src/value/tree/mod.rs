//! The ordered sequence that all large collections are made of.
//!
//! A [`Tree`] is a sequence of elements, which are opaque byte strings; a [`Layout`] says how they are ordered. Hashes and sets order
//! by the hash of a field, zsets by score and by member, streams by id, and lists not at all (by position).
//!
//! ```text
//! directory:  block | block | block           first prefixes of blocks, Fenwick tree of their counts
//!               |
//!               leaf | leaf | ... (<= 512)    first prefixes and counts, contiguous
//!                 |
//!                 element element element ... packed, at most 4 KiB, a table of two bytes per element
//! ```
//!
//! - `find`: two binary searches over contiguous prefixes, then a search in one leaf that begins where the element would be if
//!   prefixes were spread evenly. O(log n); about four cache misses in a tree far larger than the caches.
//! - `rank`, `place_at`: a Fenwick tree over blocks and a sum over one block's counts. O(log n).
//! - `insert`, `remove`, `replace` at a place: moving at most half a leaf. Amortised O(1) beside that. `remove_range` drops
//!   whole leaves.
//! - Memory: two bytes per element, about 60 per leaf, and a leaf's buffer is at most a quarter (on average an eighth) larger than
//!   what is in it.
//!
//! Leaves are also the unit of write-back: each is one row, under a label that orders the leaves, and knows if it is dirty (`rows.rs`).
//! Everything is a function of the operations alone. A position ([`Place`]) is valid until the tree changes; with a stale one
//! the edits may panic or touch another element, never memory that is not the tree's.

mod directory;
mod edit;
mod iter;
mod leaf;
mod rows;
#[cfg(test)]
mod tests;

use directory::{Directory, Slot};
pub use iter::Iter;
use leaf::Leaf;
use rows::Rows;
use std::cmp::Ordering;
use std::marker::PhantomData;

/// How the elements of a tree are ordered.
pub trait Layout {
    /// There is no order but the position (lists): neither of the functions is asked.
    const IS_POSITIONAL: bool = false;

    /// The first 8 bytes of the order: if `prefix(a) < prefix(b)`, then a is before b. 0 is always right. Searches ask for it,
    /// so it should stand at the front of the element rather than be computed.
    fn prefix(element: &[u8]) -> u64;

    /// The order. No two elements of a tree are equal.
    fn compare(a: &[u8], b: &[u8]) -> Ordering;
}

/// A position in a tree: at an element, or at the end.
#[derive(Clone, Copy, Debug, Default)]
pub struct Place {
    slot: Slot,
    index: u32,
}

impl Place {
    fn new(slot: Slot, index: usize) -> Place {
        Place { slot, index: index as u32 }
    }
}

/// An ordered sequence of byte strings.
pub struct Tree<L> {
    directory: Directory,
    rows: Rows,
    layout: PhantomData<fn() -> L>,
}

impl<L> Default for Tree<L> {
    fn default() -> Self {
        Tree { directory: Directory::default(), rows: Rows::default(), layout: PhantomData }
    }
}

impl<L> Clone for Tree<L> {
    fn clone(&self) -> Self {
        Tree { directory: self.directory.clone(), rows: self.rows.clone(), layout: PhantomData }
    }
}

impl<L> std::fmt::Debug for Tree<L> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tree")
            .field("len", &self.directory.len())
            .field("leaves", &self.directory.leaf_count())
            .finish()
    }
}

/// The same elements in the same order; how they are spread over leaves does not matter.
impl<L: Layout> PartialEq for Tree<L> {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().eq(other.iter())
    }
}

impl<L: Layout> Tree<L> {
    /// An empty tree.
    #[must_use]
    pub fn new() -> Self {
        Tree::default()
    }

    /// Number of elements.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.directory.len()
    }

    /// Whether there is no element.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Heap bytes held. O(1).
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        self.directory.heap_bytes() + self.rows.heap_bytes()
    }

    /// Bytes of all elements. O(1).
    #[must_use]
    pub fn data_bytes(&self) -> usize {
        self.directory.data_bytes()
    }

    /// Searches as `slice::binary_search_by`: `order` says how an element stands to what is searched for, and `prefix` is that of what
    /// is searched for: elements of smaller prefix are `Less`, those of larger prefix `Greater`.
    ///
    /// The place of the element, or as an error where it would be: [`Tree::insert`] puts it there, and [`Tree::get`] gives the first
    /// element after it. An `order` that never says `Equal` finds a boundary.
    #[inline]
    pub fn find(&self, prefix: u64, mut order: impl FnMut(&[u8]) -> Ordering) -> Result<Place, Place> {
        let Some((slot, slope)) = self.directory.locate(prefix, &mut order) else {
            return Err(Place::default());
        };
        let Some(leaf) = self.directory.leaf(slot) else { return Err(Place::default()) };
        match leaf.find::<L>(prefix, slope, order) {
            Ok(index) => Ok(Place::new(slot, index)),
            Err(index) => Err(Place::new(slot, index)),
        }
    }

    /// The place of the element of that rank (from 0); None if there are not so many.
    #[must_use]
    pub fn place_at(&self, rank: u64) -> Option<Place> {
        let (slot, index) = self.directory.at_rank(rank)?;
        Some(Place::new(slot, index))
    }

    /// The place of the first element, or the end.
    #[must_use]
    pub fn start(&self) -> Place {
        Place::default()
    }

    /// The place after the last element.
    #[must_use]
    pub fn end(&self) -> Place {
        let Some(slot) = self.directory.last() else { return Place::default() };
        Place::new(slot, self.directory.leaf(slot).map_or(0, Leaf::len))
    }

    /// Number of elements before the place.
    #[must_use]
    pub fn rank(&self, place: Place) -> u64 {
        self.directory.rank(place.slot) + u64::from(place.index)
    }

    /// The element at the place; None at the end.
    #[inline]
    #[must_use]
    pub fn get(&self, place: Place) -> Option<&[u8]> {
        let place = self.settled(place);
        let leaf = self.directory.leaf(place.slot)?;
        ((place.index as usize) < leaf.len()).then(|| leaf.get(place.index as usize))
    }

    /// The first element.
    #[must_use]
    pub fn first(&self) -> Option<&[u8]> {
        self.get(self.start())
    }

    /// The last element.
    #[must_use]
    pub fn last(&self) -> Option<&[u8]> {
        let leaf = self.directory.leaf(self.directory.last()?)?;
        Some(leaf.get(leaf.len() - 1))
    }

    /// The place after this one.
    #[must_use]
    pub fn next(&self, place: Place) -> Place {
        let place = self.settled(place);
        Place { index: place.index + 1, ..place }
    }

    /// The place before this one; None at the start.
    #[must_use]
    pub fn previous(&self, place: Place) -> Option<Place> {
        if let Some(index) = place.index.checked_sub(1) {
            return Some(Place { index, ..place });
        }
        let slot = self.directory.previous(place.slot)?;
        Some(Place::new(slot, self.directory.leaf(slot)?.len() - 1))
    }

    /// The same place, at an element: after the last of a leaf is at the first of the next.
    #[inline]
    fn settled(&self, place: Place) -> Place {
        match self.directory.leaf(place.slot) {
            Some(leaf) if place.index as usize >= leaf.len() => match self.directory.next(place.slot) {
                Some(slot) => Place::new(slot, 0),
                None => place,
            },
            _ => place,
        }
    }

    /// All elements, in order, from both ends.
    #[must_use]
    pub fn iter(&self) -> Iter<'_> {
        self.iter_from(self.start())
    }

    /// The elements from the place on.
    #[must_use]
    pub fn iter_from(&self, place: Place) -> Iter<'_> {
        let left = self.len().saturating_sub(self.rank(place));
        Iter::new(&self.directory, self.settled(place), self.end(), left)
    }

    /// The elements before the place, the last first.
    pub fn iter_back_from(&self, place: Place) -> std::iter::Rev<Iter<'_>> {
        Iter::new(&self.directory, self.start(), place, self.rank(place)).rev()
    }

    /// The elements of ranks `from..to`.
    #[must_use]
    pub fn range(&self, from: u64, to: u64) -> Iter<'_> {
        let to = to.min(self.len());
        let Some(front) = self.place_at(from).filter(|_| from < to) else {
            return Iter::new(&self.directory, self.end(), self.end(), 0);
        };
        let back = self.place_at(to).unwrap_or_else(|| self.end());
        Iter::new(&self.directory, front, back, to - from)
    }
}
