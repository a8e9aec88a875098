//! Walks over a tree's elements, from both ends.
//!
//! An iterator holds the leaf at each end and how many elements lie between; a step reads two offsets and, once per leaf, the
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
    index: usize,
}

impl<'a> Cursor<'a> {
    fn new(directory: &'a Directory, place: Place) -> Self {
        Cursor { leaf: directory.leaf(place.slot), slot: place.slot, index: place.index as usize }
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
        let mut leaf = self.front.leaf?;
        if self.front.index >= leaf.len() {
            self.front.slot = self.directory.next(self.front.slot)?;
            leaf = self.directory.leaf(self.front.slot)?;
            (self.front.leaf, self.front.index) = (Some(leaf), 0);
        }
        self.front.index += 1;
        Some(leaf.get(self.front.index - 1))
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
            self.back.slot = self.directory.previous(self.back.slot)?;
            self.back.leaf = self.directory.leaf(self.back.slot);
            self.back.index = self.back.leaf?.len();
        }
        self.back.index -= 1;
        Some(self.back.leaf?.get(self.back.index))
    }
}

impl ExactSizeIterator for Iter<'_> {}
impl FusedIterator for Iter<'_> {}
