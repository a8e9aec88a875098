//! The directory of a tree's leaves: blocks of up to [`BLOCK_LEAVES_MAX`] leaves with their first prefixes and counts side by side.
//!
//! A search looks at the first prefixes of the blocks, then at those of one block: a few cache lines each. Ranks come from a
//! Fenwick tree over the blocks' counts (Fenwick 1994) and a sum over one block's counts. Adding or removing a leaf moves one
//! block's arrays; blocks split and merge rarely, and then the Fenwick tree is built anew.
//!
//! The directory also keeps the totals (elements, bytes), through [`Directory::edit`]. There are no empty leaves and no empty blocks.

use super::leaf::{Leaf, RowState, Slope};
use std::cmp::Ordering;

/// Most leaves in a block.
const BLOCK_LEAVES_MAX: usize = 512;
/// A block of fewer leaves looks for a neighbour to join.
const BLOCK_LEAVES_MIN: usize = 64;
/// Counts that are added up at a time while a rank is looked for.
const SUM_CHUNK: usize = 32;
/// First prefixes looked at where the one searched for is expected.
const WINDOW: usize = 16;

/// Where a leaf is; in insertions the one before which the new leaf goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) struct Slot {
    pub block: u32,
    pub leaf: u32,
}

impl Slot {
    fn new(block: usize, leaf: usize) -> Slot {
        Slot { block: block as u32, leaf: leaf as u32 }
    }

    pub fn after(self) -> Slot {
        Slot { leaf: self.leaf + 1, ..self }
    }
}

#[derive(Clone, Debug, Default)]
struct Block {
    firsts: Vec<u64>,
    counts: Vec<u16>,
    leaves: Vec<Leaf>,
}

impl Block {
    fn count(&self) -> u64 {
        self.counts.iter().map(|count| u64::from(*count)).sum()
    }

    fn heap_bytes(&self) -> usize {
        self.firsts.capacity() * size_of::<u64>()
            + self.counts.capacity() * size_of::<u16>()
            + self.leaves.capacity() * size_of::<Leaf>()
    }

    fn insert(&mut self, at: usize, leaf: Leaf, first: u64) {
        self.firsts.insert(at, first);
        self.counts.insert(at, leaf.len() as u16);
        self.leaves.insert(at, leaf);
    }

    fn split_off(&mut self, at: usize) -> Block {
        let block = Block {
            firsts: self.firsts.split_off(at),
            counts: self.counts.split_off(at),
            leaves: self.leaves.split_off(at),
        };
        self.shrink();
        block
    }

    fn append(&mut self, mut other: Block) {
        self.firsts.append(&mut other.firsts);
        self.counts.append(&mut other.counts);
        self.leaves.append(&mut other.leaves);
    }

    fn shrink(&mut self) {
        let capacity = self.leaves.len() + self.leaves.len() / 4;
        self.firsts.shrink_to(capacity);
        self.counts.shrink_to(capacity);
        self.leaves.shrink_to(capacity);
    }
}

/// All leaves of a tree, in order.
#[derive(Debug, Default)]
pub(super) struct Directory {
    blocks: Vec<Block>,
    /// First prefix of each block.
    firsts: Vec<u64>,
    /// Fenwick tree of the blocks' counts.
    sums: Vec<u64>,
    len: u64,
    leaf_count: usize,
    data_bytes: usize,
    /// Buffers of leaves and arrays of blocks.
    heap_bytes: usize,
}

/// A copy has none of the spare room of the original's arrays, and does not count it.
impl Clone for Directory {
    fn clone(&self) -> Self {
        let arrays = |blocks: &[Block]| blocks.iter().map(Block::heap_bytes).sum::<usize>();
        let blocks = self.blocks.clone();
        let heap_bytes = self.heap_bytes - arrays(&self.blocks) + arrays(&blocks);
        Directory {
            blocks,
            firsts: self.firsts.clone(),
            sums: self.sums.clone(),
            len: self.len,
            leaf_count: self.leaf_count,
            data_bytes: self.data_bytes,
            heap_bytes,
        }
    }
}

impl Directory {
    pub fn len(&self) -> u64 {
        self.len
    }

    pub fn leaf_count(&self) -> usize {
        self.leaf_count
    }

    pub fn data_bytes(&self) -> usize {
        self.data_bytes
    }

    pub fn heap_bytes(&self) -> usize {
        let arrays = (self.firsts.capacity() + self.sums.capacity()) * size_of::<u64>();
        self.heap_bytes + arrays + self.blocks.capacity() * size_of::<Block>()
    }

    pub fn leaf(&self, slot: Slot) -> Option<&Leaf> {
        self.blocks.get(slot.block as usize)?.leaves.get(slot.leaf as usize)
    }

    /// What is known about the row of a leaf. Panics if there is no such leaf.
    pub fn row_mut(&mut self, slot: Slot) -> &mut RowState {
        &mut self.blocks[slot.block as usize].leaves[slot.leaf as usize].row
    }

    pub fn last(&self) -> Option<Slot> {
        let block = self.blocks.len().checked_sub(1)?;
        Some(Slot::new(block, self.blocks[block].leaves.len() - 1))
    }

    pub fn next(&self, slot: Slot) -> Option<Slot> {
        let after = slot.after();
        if (after.leaf as usize) < self.blocks.get(slot.block as usize)?.leaves.len() {
            return Some(after);
        }
        let block = slot.block as usize + 1;
        (block < self.blocks.len()).then(|| Slot::new(block, 0))
    }

    pub fn previous(&self, slot: Slot) -> Option<Slot> {
        if slot.leaf > 0 {
            return Some(Slot { leaf: slot.leaf - 1, ..slot });
        }
        let block = (slot.block as usize).checked_sub(1)?;
        Some(Slot::new(block, self.blocks[block].leaves.len() - 1))
    }

    /// The leaf that holds the element searched for if any does: the last whose first element is not greater, or the first leaf.
    /// With it how prefixes grow in it.
    #[inline]
    pub fn locate(&self, prefix: u64, order: &mut impl FnMut(&[u8]) -> Ordering) -> Option<(Slot, Slope)> {
        let high = self.firsts.partition_point(|first| *first <= prefix);
        let block_at =
            last_not_after(&self.firsts, prefix, high, |at| order(self.blocks[at].leaves[0].get(0)));
        let block = self.blocks.get(block_at)?;
        let (first, last) = (*block.firsts.first()?, *block.firsts.last()?);
        let next_block = self.firsts.get(block_at + 1).copied();
        let high = end_of_not_after(&block.firsts, prefix, first, next_block.unwrap_or(last));
        let leaf_at = last_not_after(&block.firsts, prefix, high, |at| order(block.leaves[at].get(0)));
        let from = block.firsts[leaf_at];
        // Of the last leaf only the first prefix is known; appending is what happens there.
        let next = block.firsts.get(leaf_at + 1).copied().or(next_block).unwrap_or(prefix);
        let unit = 1.0 / distance(from, next);
        let slope =
            Slope { density: f64::from(block.counts[leaf_at]) * unit, part: distance(from, prefix) * unit };
        Some((Slot::new(block_at, leaf_at), slope))
    }

    /// Elements before the leaf.
    pub fn rank(&self, slot: Slot) -> u64 {
        let mut sum = 0;
        let mut at = slot.block as usize;
        while at > 0 {
            sum += self.sums[at - 1];
            at &= at - 1;
        }
        let Some(block) = self.blocks.get(slot.block as usize) else { return sum };
        let counts = &block.counts[..slot.leaf as usize];
        sum + u64::from(counts.iter().map(|count| u32::from(*count)).sum::<u32>())
    }

    /// The leaf with the element of that rank and its index in the leaf.
    pub fn at_rank(&self, rank: u64) -> Option<(Slot, usize)> {
        if rank >= self.len {
            return None;
        }
        let (mut rest, mut block_at) = (rank, 0);
        let mut step = self.sums.len().next_power_of_two();
        while step > 0 {
            if let Some(sum) = self.sums.get(block_at + step - 1)
                && *sum <= rest
            {
                rest -= sum;
                block_at += step;
            }
            step /= 2;
        }
        let counts = &self.blocks.get(block_at)?.counts;
        let (mut rest, mut leaf_at) = (u32::try_from(rest).ok()?, 0);
        for chunk in counts.chunks(SUM_CHUNK) {
            let sum: u32 = chunk.iter().map(|count| u32::from(*count)).sum();
            if sum > rest {
                break;
            }
            rest -= sum;
            leaf_at += SUM_CHUNK;
        }
        for count in &counts[leaf_at..] {
            if u32::from(*count) > rest {
                break;
            }
            rest -= u32::from(*count);
            leaf_at += 1;
        }
        Some((Slot::new(block_at, leaf_at), rest as usize))
    }

    /// The leaf with that label.
    pub fn labelled(&self, label: u64) -> Option<Slot> {
        let block_at =
            self.blocks.partition_point(|block| block.leaves[0].row.label() <= label).checked_sub(1)?;
        let leaves = &self.blocks[block_at].leaves;
        let leaf_at = leaves.binary_search_by_key(&label, |leaf| leaf.row.label()).ok()?;
        Some(Slot::new(block_at, leaf_at))
    }

    /// Changes a leaf's elements and keeps the totals. Panics if there is no such leaf.
    #[inline]
    pub fn edit<R>(&mut self, slot: Slot, change: impl FnOnce(&mut Leaf) -> R) -> R {
        let block = &mut self.blocks[slot.block as usize];
        let leaf = &mut block.leaves[slot.leaf as usize];
        let (heap, data, count) = (leaf.heap_bytes(), leaf.data_bytes(), leaf.len());
        let result = change(leaf);
        self.heap_bytes = self.heap_bytes + leaf.heap_bytes() - heap;
        self.data_bytes = self.data_bytes + leaf.data_bytes() - data;
        let delta = (leaf.len() as u64).wrapping_sub(count as u64);
        if delta != 0 {
            block.counts[slot.leaf as usize] = leaf.len() as u16;
            self.add_to_sums(slot.block as usize, delta);
        }
        result
    }

    /// Takes all elements out of a leaf, which the caller removes then. The result has the leaf's row state.
    pub fn take_elements(&mut self, slot: Slot) -> Leaf {
        self.edit(slot, Leaf::take)
    }

    /// Notes the prefix of a leaf's first element.
    pub fn set_first(&mut self, slot: Slot, prefix: u64) {
        self.blocks[slot.block as usize].firsts[slot.leaf as usize] = prefix;
        if slot.leaf == 0 {
            self.firsts[slot.block as usize] = prefix;
        }
    }

    /// Puts a leaf before the one at `slot`, which may be one past the last of a block. Returns where it is now.
    pub fn insert(&mut self, slot: Slot, leaf: Leaf, first: u64) -> Slot {
        let (mut block_at, mut leaf_at) = (slot.block as usize, slot.leaf as usize);
        self.heap_bytes += leaf.heap_bytes();
        self.data_bytes += leaf.data_bytes();
        self.leaf_count += 1;
        let count = leaf.len() as u64;
        let is_full = self.blocks.get(block_at).is_none_or(|block| block.leaves.len() >= BLOCK_LEAVES_MAX);
        if is_full {
            (block_at, leaf_at) = self.make_room(block_at, leaf_at);
        }
        self.edit_block(block_at, |block| block.insert(leaf_at, leaf, first));
        if leaf_at == 0 {
            self.firsts[block_at] = first;
        }
        self.add_to_sums(block_at, count);
        Slot::new(block_at, leaf_at)
    }

    /// Splits a full block, or opens a new one at an end of the tree; says where the leaf goes.
    fn make_room(&mut self, block_at: usize, leaf_at: usize) -> (usize, usize) {
        let is_end = block_at + 1 >= self.blocks.len() && leaf_at > 0;
        let (new_at, place) = if self.blocks.is_empty() {
            (0, (0, 0))
        } else if is_end && leaf_at >= BLOCK_LEAVES_MAX {
            (block_at + 1, (block_at + 1, 0))
        } else if block_at == 0 && leaf_at == 0 {
            (0, (0, 0))
        } else {
            let half = BLOCK_LEAVES_MAX / 2;
            let place = if leaf_at > half { (block_at + 1, leaf_at - half) } else { (block_at, leaf_at) };
            let right = self.edit_block(block_at, |block| block.split_off(half));
            self.insert_block(block_at + 1, right);
            return place;
        };
        self.insert_block(new_at, Block::default());
        place
    }

    fn insert_block(&mut self, at: usize, block: Block) {
        self.heap_bytes += block.heap_bytes();
        self.firsts.insert(at, block.firsts.first().copied().unwrap_or_default());
        self.blocks.insert(at, block);
        // Also for a block at the end: another one lost what is in it.
        self.rebuild_sums();
    }

    /// Changes a block's arrays and keeps the total of bytes.
    fn edit_block<R>(&mut self, at: usize, change: impl FnOnce(&mut Block) -> R) -> R {
        let block = &mut self.blocks[at];
        let before = block.heap_bytes();
        let result = change(block);
        self.heap_bytes = self.heap_bytes + block.heap_bytes() - before;
        result
    }

    /// Removes a leaf and returns it. Panics if there is no such leaf.
    pub fn remove(&mut self, slot: Slot) -> Leaf {
        let (block_at, leaf_at) = (slot.block as usize, slot.leaf as usize);
        let leaf = self.edit_block(block_at, |block| {
            block.firsts.remove(leaf_at);
            block.counts.remove(leaf_at);
            block.leaves.remove(leaf_at)
        });
        self.note_removed(&leaf);
        self.add_to_sums(block_at, (leaf.len() as u64).wrapping_neg());
        self.settle_block(block_at);
        leaf
    }

    /// Takes a leaf off the totals, except for the elements.
    fn note_removed(&mut self, leaf: &Leaf) {
        self.heap_bytes -= leaf.heap_bytes();
        self.data_bytes -= leaf.data_bytes();
        self.leaf_count -= 1;
    }

    /// Removes the leaves from `from` up to but not with `to` and shows each to `seen`.
    pub fn remove_between(&mut self, from: Slot, to: Slot, mut seen: impl FnMut(&Leaf)) {
        if from == to {
            return;
        }
        let len = self.len;
        let (first, last) =
            (from.block as usize, (to.block as usize).min(self.blocks.len().saturating_sub(1)));
        for block_at in first..=last {
            let Some(block) = self.blocks.get_mut(block_at) else { break };
            let begin = if block_at == first { from.leaf as usize } else { 0 };
            let end = if block_at == to.block as usize { to.leaf as usize } else { block.leaves.len() };
            let before = block.heap_bytes();
            block.firsts.drain(begin..end);
            block.counts.drain(begin..end);
            let removed: Vec<Leaf> = block.leaves.drain(begin..end).collect();
            block.shrink();
            self.heap_bytes = self.heap_bytes + block.heap_bytes() - before;
            for leaf in removed {
                seen(&leaf);
                self.note_removed(&leaf);
                self.len -= leaf.len() as u64;
            }
        }
        if first == last {
            let removed = len - self.len;
            self.len = len;
            self.add_to_sums(first, removed.wrapping_neg());
            return self.settle_block(first);
        }
        let heap: usize =
            self.blocks.iter().filter(|block| block.leaves.is_empty()).map(Block::heap_bytes).sum();
        self.heap_bytes -= heap;
        self.blocks.retain(|block| !block.leaves.is_empty());
        self.refresh_blocks();
    }

    /// After a leaf left a block: drops it when empty, joins it to a neighbour when small.
    fn settle_block(&mut self, at: usize) {
        let len = self.blocks[at].leaves.len();
        if len == 0 {
            let block = self.blocks.remove(at);
            self.heap_bytes -= block.heap_bytes();
            self.refresh_blocks();
            return;
        }
        self.firsts[at] = self.blocks[at].firsts[0];
        if len >= BLOCK_LEAVES_MIN {
            return;
        }
        if self.blocks[at].leaves.capacity() > 4 * len {
            self.edit_block(at, Block::shrink);
        }
        let can_join = |other: usize| {
            self.blocks.get(other).is_some_and(|block| block.leaves.len() + len <= BLOCK_LEAVES_MAX * 3 / 4)
        };
        let left = if can_join(at + 1) {
            at
        } else if at > 0 && can_join(at - 1) {
            at - 1
        } else {
            return;
        };
        let right = self.blocks.remove(left + 1);
        self.heap_bytes -= right.heap_bytes();
        self.edit_block(left, |block| block.append(right));
        self.refresh_blocks();
    }

    /// Builds the arrays over the blocks anew.
    fn refresh_blocks(&mut self) {
        if self.blocks.capacity() > 4 * self.blocks.len() {
            self.blocks.shrink_to_fit();
            self.firsts.shrink_to(self.blocks.len());
            self.sums.shrink_to(self.blocks.len());
        }
        self.firsts.clear();
        self.firsts.extend(self.blocks.iter().map(|block| block.firsts[0]));
        self.rebuild_sums();
    }

    fn rebuild_sums(&mut self) {
        self.sums.clear();
        for at in 0..self.blocks.len() {
            self.push_sum(self.blocks[at].count());
        }
    }

    /// Appends a block's count to the Fenwick tree.
    fn push_sum(&mut self, count: u64) {
        let position = self.sums.len() + 1;
        let mut sum = count;
        let (mut child, end) = (position - 1, position & (position - 1));
        while child > end {
            sum += self.sums[child - 1];
            child &= child - 1;
        }
        self.sums.push(sum);
    }

    /// Adds to a block's count and to the total.
    #[inline]
    fn add_to_sums(&mut self, block_at: usize, delta: u64) {
        self.len = self.len.wrapping_add(delta);
        let mut at = block_at;
        while let Some(sum) = self.sums.get_mut(at) {
            *sum = sum.wrapping_add(delta);
            at |= at + 1;
        }
    }
}

/// How many of the ascending `firsts`, from `first` to about `end`, are not greater than the prefix. Looks around the place where the
/// prefix would be if they grew evenly before it searches all: a block's firsts are many cache lines.
#[inline]
fn end_of_not_after(firsts: &[u64], prefix: u64, first: u64, end: u64) -> usize {
    if firsts.len() > 4 * WINDOW {
        let guess = distance(first, prefix) / distance(first, end) * firsts.len() as f64;
        let from = (guess as usize).saturating_sub(WINDOW / 2).min(firsts.len() - WINDOW);
        let window = &firsts[from..from + WINDOW];
        if window[0] <= prefix && window[WINDOW - 1] > prefix {
            return from + window.partition_point(|first| *first <= prefix);
        }
    }
    firsts.partition_point(|first| *first <= prefix)
}

/// `b - a` where b is not smaller; only expectations are made of it.
fn distance(a: u64, b: u64) -> f64 {
    // The conversion of signed numbers is the cheap one.
    b.saturating_sub(a).min(i64::MAX as u64) as i64 as f64
}

/// The last index whose first element is not after the one searched for; 0 if there is none. `high` is how many prefixes are not
/// greater; elements are asked only where the prefix is the same.
#[inline]
fn last_not_after(
    firsts: &[u64],
    prefix: u64,
    mut high: usize,
    mut order: impl FnMut(usize) -> Ordering,
) -> usize {
    if high > 0 && firsts[high - 1] == prefix {
        let mut low = firsts[..high].partition_point(|first| *first < prefix);
        while low < high {
            let middle = low + (high - low) / 2;
            if order(middle) == Ordering::Greater {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
    }
    high.saturating_sub(1)
}

#[cfg(test)]
impl Directory {
    /// Everything kept on the side is what the leaves say.
    pub fn check(&self, prefix: impl Fn(&Leaf) -> u64) {
        let (mut len, mut heap, mut data, mut count) = (0, 0, 0, 0);
        let mut label = None;
        assert_eq!((self.firsts.len(), self.sums.len()), (self.blocks.len(), self.blocks.len()));
        for (at, block) in self.blocks.iter().enumerate() {
            assert_eq!(self.rank(Slot::new(at, 0)), len);
            assert_eq!(self.firsts[at], block.firsts[0]);
            assert!(block.leaves.len() <= BLOCK_LEAVES_MAX);
            heap += block.heap_bytes();
            for (at, leaf) in block.leaves.iter().enumerate() {
                assert!(leaf.len() > 0);
                assert!(leaf.size() <= super::leaf::LEAF_BYTES_MAX || leaf.len() == 1);
                assert_eq!((block.firsts[at], usize::from(block.counts[at])), (prefix(leaf), leaf.len()));
                assert!(label < Some(leaf.row.label()), "labels ascend");
                assert!(leaf.row.is_dirty() || leaf.row.is_written());
                label = Some(leaf.row.label());
                (len, heap, data, count) =
                    (len + leaf.len() as u64, heap + leaf.heap_bytes(), data + leaf.data_bytes(), count + 1);
            }
        }
        assert_eq!((len, heap, data, count), (self.len, self.heap_bytes, self.data_bytes, self.leaf_count));
    }
}
