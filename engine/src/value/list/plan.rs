//! What commands do to a list: each function reads the list, writes an edit and changes nothing.
//!
//! An edit left empty means that nothing changes. Whether the edit leaves the list vacant, so that the
//! key is to be deleted instead, follows from what is returned: as many elements go as there are.

use super::edit::ListEdit;
use super::read::{place_of, range_of};
use super::{End, ListLimits, ListValue};

/// What LSET found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetOutcome {
    /// The edit sets the element.
    Set,
    /// There is no element with that index.
    OutOfRange,
}

/// Bytes that one element adds to a packed list beside its own: its length, at both ends.
const OVERHEAD: usize = 2;

impl ListValue {
    /// Plans to push elements one after the other to an end; returns the length then.
    ///
    /// A push to no key starts from an empty list.
    pub fn plan_push<'e>(
        &self,
        end: End,
        elements: impl Iterator<Item = &'e [u8]> + Clone,
        limits: ListLimits,
        edit: &mut Vec<u8>,
    ) -> u64 {
        let (count, bytes) = elements
            .clone()
            .fold((0u64, 0usize), |(count, bytes), e| (count + 1, bytes + e.len() + OVERHEAD));
        self.plan_grow(count, bytes, limits, edit);
        for element in elements {
            match end {
                End::Front => ListEdit::PushFront(element).put(edit),
                End::Back => ListEdit::PushBack(element).put(edit),
            }
        }
        self.len() + count
    }

    /// Plans to pop up to `count` elements from an end; returns how many. They are the first of
    /// [`ListValue::from_end`].
    pub fn plan_pop(&self, end: End, count: u64, limits: ListLimits, edit: &mut Vec<u8>) -> u64 {
        let count = count.min(self.len());
        if count == 0 {
            return 0;
        }
        let gone = match end {
            End::Front => {
                ListEdit::PopFront(count).put(edit);
                0..count
            }
            End::Back => {
                ListEdit::PopBack(count).put(edit);
                self.len() - count..self.len()
            }
        };
        self.plan_shrink(gone, limits, edit);
        count
    }

    /// Plans to move an element from one end to the other or the same (LMOVE within one list); returns
    /// the element. A list that has one keeps it.
    pub fn plan_rotate(&self, from: End, to: End, edit: &mut Vec<u8>) -> Option<&[u8]> {
        let element = self.from_end(from).next()?;
        match from {
            End::Front => ListEdit::PopFront(1).put(edit),
            End::Back => ListEdit::PopBack(1).put(edit),
        }
        match to {
            End::Front => ListEdit::PushFront(element).put(edit),
            End::Back => ListEdit::PushBack(element).put(edit),
        }
        Some(element)
    }

    /// Plans to replace the element with an index (LSET).
    pub fn plan_set(&self, index: i64, element: &[u8], limits: ListLimits, edit: &mut Vec<u8>) -> SetOutcome {
        let Some(place) = place_of(index, self.len()) else { return SetOutcome::OutOfRange };
        self.plan_grow(0, element.len() + OVERHEAD, limits, edit);
        ListEdit::Set { place, element }.put(edit);
        if self.is_large() {
            let old = self.get(index).map_or(0, <[u8]>::len);
            let bytes = (self.packed_bytes() + element.len()).saturating_sub(old);
            self.plan_shrink_to(self.len(), bytes, limits, edit);
        }
        SetOutcome::Set
    }

    /// Plans to insert an element before (`is_after`: behind) the first one that equals the pivot;
    /// returns the length then, `None` without a pivot.
    pub fn plan_insert(
        &self,
        pivot: &[u8],
        is_after: bool,
        element: &[u8],
        limits: ListLimits,
        edit: &mut Vec<u8>,
    ) -> Option<u64> {
        let at = self.iter().position(|e| e == pivot)? as u64;
        self.plan_grow(1, element.len() + OVERHEAD, limits, edit);
        ListEdit::Insert { place: at + u64::from(is_after), element }.put(edit);
        Some(self.len() + 1)
    }

    /// Plans to remove elements that equal `element`: the first `count`, the last `-count`, or all
    /// when it is 0; returns how many.
    pub fn plan_remove(&self, element: &[u8], count: i64, limits: ListLimits, edit: &mut Vec<u8>) -> u64 {
        let from = if count < 0 { End::Back } else { End::Front };
        let most =
            if count == 0 { usize::MAX } else { usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX) };
        let mut places: Vec<u64> = self.positions(element, from, 0, 0).take(most).collect();
        if from == End::Front {
            places.reverse();
        }
        // From the back to the front, so that no removal moves the places that follow.
        let mut runs = places.iter().copied().peekable();
        while let Some(last) = runs.next() {
            let mut first = last;
            while let Some(next) = runs.next_if(|next| next + 1 == first) {
                first = next;
            }
            ListEdit::Remove { place: first, count: last + 1 - first }.put(edit);
        }
        let removed = places.len() as u64;
        if removed > 0 && self.is_large() {
            let bytes = (element.len() + OVERHEAD).saturating_mul(places.len());
            let left = self.packed_bytes().saturating_sub(bytes);
            self.plan_shrink_to(self.len() - removed, left, limits, edit);
        }
        removed
    }

    /// Plans to keep only the elements between inclusive bounds (LTRIM); returns how many go.
    pub fn plan_trim(&self, start: i64, stop: i64, limits: ListLimits, edit: &mut Vec<u8>) -> u64 {
        let (kept, len) = (range_of(start, stop, self.len()), self.len());
        let removed = len - (kept.end - kept.start);
        if removed == 0 {
            return 0;
        }
        if kept.end < len {
            ListEdit::PopBack(len - kept.end).put(edit);
        }
        if kept.start > 0 {
            ListEdit::PopFront(kept.start).put(edit);
        }
        if !kept.is_empty() && self.may_shrink_to(kept.end - kept.start, limits) {
            let bytes = self.between(kept.clone()).map(|e| e.len() + OVERHEAD).sum();
            self.plan_shrink_to(kept.end - kept.start, bytes, limits, edit);
        }
        removed
    }

    /// Plans to become a tree, if elements of so many bytes on top are too many.
    fn plan_grow(&self, count: u64, bytes: usize, limits: ListLimits, edit: &mut Vec<u8>) {
        let (count_max, bytes_max) = limits.largest();
        let is_over = self.len() + count > count_max || self.packed_bytes().saturating_add(bytes) > bytes_max;
        if is_over && !self.is_large() {
            ListEdit::Grow.put(edit);
        }
    }

    /// Plans to become packed if little is left when the elements at `gone` are removed. Costs at most
    /// the smaller of what goes and what may be packed.
    fn plan_shrink(&self, gone: std::ops::Range<u64>, limits: ListLimits, edit: &mut Vec<u8>) {
        let (len, count) = (self.len(), gone.end - gone.start);
        let left = len - count;
        if left == 0 || !self.may_shrink_to(left, limits) {
            return;
        }
        let size = |places| self.between(places).map(|e| e.len() + OVERHEAD).sum::<usize>();
        let bytes = if count <= left {
            self.packed_bytes().saturating_sub(size(gone))
        } else {
            size(0..gone.start) + size(gone.end..len)
        };
        self.plan_shrink_to(left, bytes, limits, edit);
    }

    /// Whether a tree of so many elements could be packed: a bound that costs nothing.
    fn may_shrink_to(&self, len: u64, limits: ListLimits) -> bool {
        let (count_max, bytes_max) = limits.largest();
        let most = (bytes_max / 2 / OVERHEAD) as u64;
        self.is_large() && len <= count_max / 2 && len <= most
    }

    /// Plans to become packed if `len` elements of `bytes` are less than half of what may be packed.
    fn plan_shrink_to(&self, len: u64, bytes: usize, limits: ListLimits, edit: &mut Vec<u8>) {
        if len > 0 && bytes <= limits.largest().1 / 2 && self.may_shrink_to(len, limits) {
            ListEdit::Shrink.put(edit);
        }
    }
}
