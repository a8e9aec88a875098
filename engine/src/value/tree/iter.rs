//! Walks over a tree's elements, from both ends.
//!
//! An iterator holds the leaf at each end and how many elements lie between; a step reads one offset and, once per leaf, the
//! directory.

use super::Place;
use super::directory::{Directory, Slot};
use super::leaf::Leaf;
use std::iter::FusedIterator;

/// Elements of a tree, in order.
#[derive(Clone)]
pub struct Iter<'a> {
    directory: &'a Directory,
    front: Cursor<'a>,
    back: Cursor<'a>,
    left: u64,
}

#[derive(Clone, Copy)]
struct Cursor<'a> {
    leaf: Option<&'a Leaf>,
    slot: Slot,
    /// Of the element after the cursor.
    index: usize,
    /// Where that begins.
    start: usize,
}

impl<'a> Cursor<'a> {
    fn new(directory: &'a Directory, place: Place) -> Self {
        let (leaf, index) = (directory.leaf(place.slot), place.index as usize);
        Cursor { leaf, slot: place.slot, index, start: leaf.map_or(0, |leaf| leaf.start(index)) }
    }
}

impl<'a> Iter<'a> {
    /// The `left` elements between two places.
    pub(super) fn new(directory: &'a Directory, front: Place, back: Place, left: u64) -> Self {
        Iter { directory, front: Cursor::new(directory, front), back: Cursor::new(directory, back), left }
    }
}

impl<'a> Iterator for Iter<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        self.left = self.left.checked_sub(1)?;
        if self.front.leaf.is_none_or(|leaf| self.front.index >= leaf.len()) {
            let slot = self.directory.next(self.front.slot)?;
            self.front = Cursor::new(self.directory, Place::new(slot, 0));
        }
        let (leaf, start) = (self.front.leaf?, self.front.start);
        self.front.index += 1;
        self.front.start = leaf.start(self.front.index);
        Some(leaf.between(start, self.front.start))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = usize::try_from(self.left).unwrap_or(usize::MAX);
        (left, Some(left))
    }
}

impl<'a> DoubleEndedIterator for Iter<'a> {
    #[inline]
    fn next_back(&mut self) -> Option<&'a [u8]> {
        self.left = self.left.checked_sub(1)?;
        if self.back.index == 0 {
            let slot = self.directory.previous(self.back.slot)?;
            let count = self.directory.leaf(slot)?.len();
            self.back = Cursor::new(self.directory, Place::new(slot, count));
        }
        let (leaf, end) = (self.back.leaf?, self.back.start);
        self.back.index -= 1;
        self.back.start = leaf.start(self.back.index);
        Some(leaf.between(self.back.start, end))
    }
}

impl ExactSizeIterator for Iter<'_> {}
impl FusedIterator for Iter<'_> {}
