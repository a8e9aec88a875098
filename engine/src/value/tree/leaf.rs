//! A leaf: elements side by side in one allocation, in order, with a table of where each begins.
//!
//! ```text
//! | free | element 0 | element 1 | ... | element n-1 | free | start n-1 | ... | start 1 | start 0 |
//!        ^ head                                      ^ end                                 buf.len() ^
//! ```
//! A start is an offset into the buffer, two bytes, little endian; an element ends where the next begins, so the table is all that an
//! element costs beside its bytes. Space is free at both ends: an edit moves the bytes of the nearer side if they can go there, and
//! pops and pushes at an end move none.
//!
//! A leaf of several elements has a size (elements and table) of at most [`LEAF_BYTES_MAX`], so starts fit two bytes; an element
//! that is larger stands alone, at offset 0. Buffers have the sizes that the allocator hands out anyway and grow by its steps: a
//! leaf that is half full takes half the memory.
//!
//! As a row a leaf is its elements one after the other, each as a varint length and its bytes. At least one element; together no
//! larger than a leaf may be. Reading checks all of that.

use super::Layout;
use crate::codec::{DecodeError, Reader, put_bytes};
use std::cmp::Ordering;

/// Most bytes of elements and table in a leaf of several elements. Part of the row format.
pub(super) const LEAF_BYTES_MAX: usize = 4096;
/// Bytes of table per element.
const START_BYTES: usize = 2;
/// First distance of the search from the place where the element was expected.
const FIRST_STEP: usize = 2;
/// Bytes of a cache line.
const LINE_BYTES: usize = 64;

/// What is known about a leaf's row: its label, a multiple of four, and two flags in the bits below.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RowState(u64);

impl RowState {
    /// Bits that labels do not use.
    pub const FLAGS: u64 = 3;
    const DIRTY: u64 = 1;
    const WRITTEN: u64 = 2;

    /// The leaf is not what its row says, or there is no row.
    pub fn unwritten(label: u64) -> Self {
        RowState(label | Self::DIRTY)
    }

    /// The row is there and says what the leaf is.
    pub fn clean(label: u64) -> Self {
        RowState(label | Self::WRITTEN)
    }

    /// Key of the row; orders the leaves.
    pub fn label(self) -> u64 {
        self.0 & !Self::FLAGS
    }

    pub fn is_dirty(self) -> bool {
        self.0 & Self::DIRTY != 0
    }

    /// There is a row of this label.
    pub fn is_written(self) -> bool {
        self.0 & Self::WRITTEN != 0
    }

    pub fn set_dirty(&mut self) {
        self.0 |= Self::DIRTY;
    }
}

/// Elements in one allocation. Aligned so that one cache line has all that a search reads of it.
#[derive(Clone, Debug)]
#[repr(align(32))]
pub(super) struct Leaf {
    buf: Box<[u8]>,
    pub row: RowState,
    /// End of the last element.
    end: u32,
    /// Start of the first element.
    head: u16,
    count: u16,
}

const _: () = assert!(size_of::<Leaf>() == 32);

/// How a search expects prefixes to grow in a leaf.
#[derive(Clone, Copy)]
pub(super) struct Slope {
    /// Elements per unit of prefix; not finite where all prefixes are the same.
    pub density: f64,
    /// What part of the elements is expected before the one searched for.
    pub part: f64,
}

/// Rounds up to what an allocator hands out: four sizes between two powers of two.
fn rounded(size: usize) -> usize {
    let granule = (size.next_power_of_two() / 8).max(16);
    size.div_ceil(granule) * granule
}

/// `a - b`, for numbers that are not too far apart.
fn signed_difference(a: u64, b: u64) -> f64 {
    a.wrapping_sub(b) as i64 as f64
}

impl Leaf {
    /// A leaf without elements and memory.
    pub fn new() -> Self {
        Leaf { buf: Box::default(), row: RowState::default(), end: 0, head: 0, count: 0 }
    }

    /// Takes all elements; this leaf and the new one have the same row state.
    pub fn take(&mut self) -> Leaf {
        let empty = Leaf { row: self.row, ..Leaf::new() };
        std::mem::replace(self, empty)
    }

    /// A leaf of one element.
    pub fn of(element: &[u8]) -> Self {
        let mut leaf = Leaf::new();
        leaf.set_only(element);
        leaf
    }

    pub fn len(&self) -> usize {
        usize::from(self.count)
    }

    /// Bytes of all elements.
    pub fn data_bytes(&self) -> usize {
        self.end as usize - usize::from(self.head)
    }

    /// Bytes of elements and table.
    pub fn size(&self) -> usize {
        self.data_bytes() + START_BYTES * self.len()
    }

    pub fn heap_bytes(&self) -> usize {
        self.buf.len()
    }

    /// Whether an element of `len` bytes may join.
    pub fn fits(&self, len: usize) -> bool {
        self.size() + len + START_BYTES <= LEAF_BYTES_MAX
    }

    /// Offset of element `index`; the end of all for the index after the last.
    #[inline(always)]
    pub fn start(&self, index: usize) -> usize {
        if index >= self.len() {
            return self.end as usize;
        }
        let top = self.buf.len() - START_BYTES * index;
        usize::from(u16::from_le_bytes([self.buf[top - 2], self.buf[top - 1]]))
    }

    /// Element `index`, which must be there.
    #[inline(always)]
    pub fn get(&self, index: usize) -> &[u8] {
        self.between(self.start(index), self.start(index + 1))
    }

    /// The element between two starts.
    #[inline(always)]
    pub fn between(&self, start: usize, end: usize) -> &[u8] {
        &self.buf[start..end]
    }

    /// Searches as `slice::binary_search_by`, but first where the element would be if prefixes grew evenly, then as far from there as
    /// the prefix found says, then in growing steps: in evenly spread prefixes that ends after a few neighbours.
    #[inline]
    pub fn find<L: Layout>(&self, prefix: u64, slope: Slope, mut order: impl FnMut(&[u8]) -> Ordering) -> Result<usize, usize> {
        let (mut low, mut high) = (0, self.len());
        let last = high.saturating_sub(1);
        let mut probe = high / 2;
        if slope.density.is_finite() {
            self.touch_around((slope.part * self.data_bytes() as f64) as usize);
            probe = ((slope.part * f64::from(self.count)) as usize).min(last);
            let found = L::prefix(self.get(probe));
            if found < prefix {
                low = probe + 1;
            } else if found > prefix {
                high = probe;
            }
            let guess = probe as f64 + signed_difference(prefix, found) * slope.density;
            probe = (guess as usize).clamp(low.min(last), high.saturating_sub(1));
        }
        let mut step = FIRST_STEP;
        while low < high {
            let goes_up = match order(self.get(probe)) {
                Ordering::Equal => return Ok(probe),
                Ordering::Less => {
                    low = probe + 1;
                    true
                }
                Ordering::Greater => {
                    high = probe;
                    false
                }
            };
            probe = if step * 2 >= high - low {
                low + (high - low) / 2
            } else if goes_up {
                low + step - 1
            } else {
                high - step
            };
            step *= 2;
        }
        Err(low)
    }

    /// Loads the cache lines around an offset in the elements, all at once and beside the table: in a large tree each is a miss.
    #[inline]
    fn touch_around(&self, offset: usize) {
        let at = (usize::from(self.head) + offset).saturating_sub(2 * LINE_BYTES);
        for line in 0..5 {
            if let Some(byte) = self.buf.get(at + line * LINE_BYTES) {
                std::hint::black_box(*byte);
            }
        }
    }

    /// Adds `delta` to the starts of elements `from..to`.
    fn shift_starts(&mut self, from: usize, to: usize, delta: u16) {
        let top = self.buf.len();
        let entries = &mut self.buf[top - START_BYTES * to..top - START_BYTES * from];
        for entry in entries.chunks_exact_mut(START_BYTES) {
            let start = u16::from_le_bytes([entry[0], entry[1]]).wrapping_add(delta);
            entry.copy_from_slice(&start.to_le_bytes());
        }
    }

    /// Puts an element before element `index`. It must fit ([`Leaf::fits`]).
    pub fn insert(&mut self, index: usize, element: &[u8]) {
        let (count, len) = (self.len(), element.len());
        let is_front = index * 2 < count;
        if !self.has_front_room(len) && self.back_room() < len + START_BYTES {
            self.make_room(index, len);
        }
        let at = self.start(index);
        let from_front = self.has_front_room(len) && (is_front || self.back_room() < len + START_BYTES);
        let top = self.buf.len();
        let table = top - START_BYTES * count;
        let begin = if from_front {
            let head = usize::from(self.head);
            self.buf.copy_within(head..at, head - len);
            self.head -= len as u16;
            at - len
        } else {
            self.buf.copy_within(at..self.end as usize, at + len);
            self.end += len as u32;
            at
        };
        self.buf[begin..begin + len].copy_from_slice(element);
        self.buf.copy_within(table..top - START_BYTES * index, table - START_BYTES);
        self.count += 1;
        self.buf[top - START_BYTES * (index + 1)..top - START_BYTES * index]
            .copy_from_slice(&(begin as u16).to_le_bytes());
        if from_front {
            self.shift_starts(0, index, (len as u16).wrapping_neg());
        } else {
            self.shift_starts(index + 1, count + 1, len as u16);
        }
    }

    /// Free bytes between the elements and the table.
    fn back_room(&self) -> usize {
        self.buf.len() - START_BYTES * self.len() - self.end as usize
    }

    /// Whether `len` bytes can go before the first element (the table grows at the back).
    fn has_front_room(&self, len: usize) -> bool {
        usize::from(self.head) >= len && self.back_room() >= START_BYTES
    }

    /// Makes room for an element of `len` bytes at `index`: slides the elements to one side or grows.
    fn make_room(&mut self, index: usize, len: usize) {
        let size = self.size() + len + START_BYTES;
        let is_edge = index == 0 || index == self.len();
        let capacity = if size <= self.buf.len() {
            self.buf.len()
        } else if is_edge {
            // Likely a run of pushes: fewer steps.
            rounded(size * 2).min(LEAF_BYTES_MAX).max(rounded(size))
        } else {
            rounded(size)
        };
        let is_push_front = index == 0 && self.count > 0;
        let head = if is_push_front { capacity - self.size() - START_BYTES } else { 0 };
        if capacity == self.buf.len() {
            self.slide(head);
        } else {
            self.resize(capacity, head);
        }
    }

    /// Moves all elements so that the first begins at `head`.
    fn slide(&mut self, head: usize) {
        let old = usize::from(self.head);
        let len = self.data_bytes();
        self.buf.copy_within(old..old + len, head);
        self.place_at_head(old, head, len);
    }

    /// Moves all into a buffer of `capacity` bytes.
    fn resize(&mut self, capacity: usize, head: usize) {
        let mut buf = vec![0; capacity].into_boxed_slice();
        let (old, len) = (usize::from(self.head), self.data_bytes());
        let table = START_BYTES * self.len();
        buf[head..head + len].copy_from_slice(&self.buf[old..old + len]);
        buf[capacity - table..].copy_from_slice(&self.buf[self.buf.len() - table..]);
        self.buf = buf;
        self.place_at_head(old, head, len);
    }

    fn place_at_head(&mut self, old: usize, head: usize, len: usize) {
        self.shift_starts(0, self.len(), (head as u16).wrapping_sub(old as u16));
        self.head = head as u16;
        self.end = (head + len) as u32;
    }

    /// Removes elements `from..to`.
    pub fn remove(&mut self, from: usize, to: usize) {
        let count = self.len();
        let (begin, end) = (self.start(from), self.start(to));
        let len = end - begin;
        let from_front = from + to < count;
        if from_front {
            let head = usize::from(self.head);
            self.buf.copy_within(head..begin, head + len);
            self.head += len as u16;
        } else {
            self.buf.copy_within(end..self.end as usize, begin);
            self.end -= len as u32;
        }
        let top = self.buf.len();
        self.buf.copy_within(
            top - START_BYTES * count..top - START_BYTES * to,
            top - START_BYTES * (count - (to - from)),
        );
        self.count -= (to - from) as u16;
        if from_front {
            self.shift_starts(0, from, len as u16);
        } else {
            self.shift_starts(from, self.len(), (len as u16).wrapping_neg());
        }
        self.shrink();
    }

    /// Gives back free memory.
    pub fn fit(&mut self) {
        if rounded(self.size()) < self.buf.len() {
            self.resize(rounded(self.size()), 0);
        }
    }

    /// Gives back memory when more than half of it is free.
    fn shrink(&mut self) {
        if self.count == 0 {
            self.take();
        } else if self.size() * 2 < self.buf.len() && self.buf.len() > 64 {
            self.resize(rounded(self.size() + self.size() / 8), 0);
        }
    }

    /// Replaces element `index` if the leaf stays small enough; says whether it did.
    pub fn replace(&mut self, index: usize, element: &[u8]) -> bool {
        let (begin, end) = (self.start(index), self.start(index + 1));
        if end - begin == element.len() {
            self.buf[begin..end].copy_from_slice(element);
            return true;
        }
        if self.count == 1 {
            self.set_only(element);
            return true;
        }
        if self.size() - (end - begin) + element.len() > LEAF_BYTES_MAX {
            return false;
        }
        self.remove(index, index + 1);
        self.insert(index, element);
        true
    }

    /// Makes `element` the only one.
    fn set_only(&mut self, element: &[u8]) {
        let size = element.len() + START_BYTES;
        if rounded(size) != self.buf.len() {
            self.buf = vec![0; rounded(size)].into_boxed_slice();
        }
        self.buf[..element.len()].copy_from_slice(element);
        let top = self.buf.len();
        self.buf[top - START_BYTES..].fill(0);
        (self.head, self.end, self.count) = (0, element.len() as u32, 1);
    }

    /// Takes elements `at..` into a new leaf.
    pub fn split_off(&mut self, at: usize) -> Leaf {
        let mut right = Leaf::new();
        right.extend(self, at, self.len());
        self.remove(at, self.len());
        self.fit();
        right
    }

    /// Appends elements `from..to` of another leaf.
    pub fn extend(&mut self, other: &Leaf, from: usize, to: usize) {
        let (begin, end) = (other.start(from), other.start(to));
        let (len, added) = (end - begin, to - from);
        if self.back_room() < len + START_BYTES * added {
            self.resize(rounded(self.size() + len + START_BYTES * added), 0);
        }
        let (at, count) = (self.end as usize, self.len());
        self.buf[at..at + len].copy_from_slice(&other.buf[begin..end]);
        let (top, other_top) = (self.buf.len(), other.buf.len());
        self.buf[top - START_BYTES * (count + added)..top - START_BYTES * count]
            .copy_from_slice(&other.buf[other_top - START_BYTES * to..other_top - START_BYTES * from]);
        self.count += added as u16;
        self.end += len as u32;
        self.shift_starts(count, count + added, (at as u16).wrapping_sub(begin as u16));
    }

    /// Where to cut the leaf so that with an element of `len` bytes at `index` both parts are small enough: how many elements,
    /// the new one counted, go left. None: the new element is so large that it must stand alone.
    pub fn cut_with(&self, index: usize, len: usize) -> Option<usize> {
        let total = self.size() + len + START_BYTES;
        let mut left = 0;
        for position in 0..=self.len() {
            let of_this = match position.cmp(&index) {
                Ordering::Less => self.get(position).len(),
                Ordering::Equal => len,
                Ordering::Greater => self.get(position - 1).len(),
            } + START_BYTES;
            if (left + of_this) * 2 < total {
                left += of_this;
                continue;
            }
            // The cut is before or after this element: the more even one that is allowed.
            let (before, after) = (left.max(total - left), (left + of_this).max(total - left - of_this));
            let cut = if before < after { position } else { position + 1 };
            return (before.min(after) <= LEAF_BYTES_MAX && cut > 0 && cut <= self.len()).then_some(cut);
        }
        None
    }

    /// Appends the row's bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        for index in 0..self.len() {
            put_bytes(out, self.get(index));
        }
    }

    /// The leaf of a row. The order of the elements is the caller's to check.
    pub fn decode(bytes: &[u8]) -> Result<Leaf, DecodeError> {
        let mut reader = Reader::new(bytes);
        let (mut count, mut data) = (0usize, 0usize);
        while !reader.is_empty() {
            data += reader.bytes()?.len();
            count += 1;
        }
        if count == 0 {
            return Err(reader.error("leaf without elements"));
        }
        if u32::try_from(data).is_err() || (count > 1 && data + START_BYTES * count > LEAF_BYTES_MAX) {
            return Err(reader.error("leaf too large"));
        }
        let mut leaf = Leaf::new();
        leaf.resize(rounded(data + START_BYTES * count), 0);
        let (top, mut reader) = (leaf.buf.len(), Reader::new(bytes));
        for index in 0..count {
            let (element, at) = (reader.bytes()?, leaf.end as usize);
            leaf.buf[at..at + element.len()].copy_from_slice(element);
            let entry = top - START_BYTES * (index + 1);
            leaf.buf[entry..entry + START_BYTES].copy_from_slice(&(at as u16).to_le_bytes());
            leaf.end += element.len() as u32;
        }
        leaf.count = count as u16;
        Ok(leaf)
    }
}
