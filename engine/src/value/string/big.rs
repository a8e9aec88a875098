//! A string too long to be inline: bytes that grow in place, and which of its pages are newer
//! than their rows.
//!
//! Up to [`PAGED_MIN`] bytes the string is stored as one row. Above that it is stored as pages
//! of [`PAGE_BYTES`] under an incarnation, so that changing one byte rewrites one page.

use crate::ids::Incarnation;

/// Bytes of one stored page.
pub const PAGE_BYTES: usize = 64 << 10;
/// Strings longer than this are stored as pages; no row is longer.
pub const PAGED_MIN: usize = 1 << 20;

/// How a paged string stands in the cold tier.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Paged {
    /// Names the pages' rows.
    pub incarnation: Incarnation,
    /// One bit per page that is newer than its row.
    dirty: Vec<u64>,
}

/// A long string.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct BigString {
    bytes: Vec<u8>,
    /// Set while pages of this string are rows of the cold tier.
    paged: Option<Box<Paged>>,
}

impl BigString {
    /// A string that no row knows yet.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Self {
        BigString { bytes: bytes.to_vec(), paged: None }
    }

    /// A string assembled from its pages; nothing is dirty.
    #[must_use]
    pub fn from_pages(bytes: Vec<u8>, incarnation: Incarnation) -> Self {
        BigString { bytes, paged: Some(Box::new(Paged { incarnation, dirty: Vec::new() })) }
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there are no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Heap bytes held.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        self.bytes.capacity() + self.paged.as_ref().map_or(0, |p| p.dirty.capacity() * 8 + 40)
    }

    /// Appends bytes; amortised constant time per byte.
    pub fn append(&mut self, bytes: &[u8]) {
        let at = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        self.touch(at, bytes.len());
    }

    /// Overwrites bytes from `offset`, filling a gap with zeros.
    pub fn set_range(&mut self, offset: usize, bytes: &[u8]) {
        let end = offset + bytes.len();
        let old = self.bytes.len();
        if end > old {
            self.bytes.resize(end, 0);
            self.touch(old, end - old);
        }
        self.bytes[offset..end].copy_from_slice(bytes);
        self.touch(offset, bytes.len());
    }

    /// How the string stands in the cold tier, if it does as pages.
    #[must_use]
    pub fn paged(&self) -> Option<&Paged> {
        self.paged.as_deref()
    }

    /// Starts (or goes on) being stored as pages: returns the incarnation and the numbers of the
    /// pages to write, and counts them as clean. A new incarnation writes all pages.
    pub fn take_dirty_pages(&mut self, new_incarnation: Incarnation) -> (Incarnation, Vec<u32>) {
        let pages = u32::try_from(self.bytes.len().div_ceil(PAGE_BYTES)).expect("at most 8192 pages");
        match &mut self.paged {
            Some(paged) => {
                let dirty = (0..pages)
                    .filter(|p| {
                        paged.dirty.get(*p as usize / 64).is_some_and(|word| word & (1 << (p % 64)) != 0)
                    })
                    .collect();
                paged.dirty.clear();
                (paged.incarnation, dirty)
            }
            None => {
                self.paged = Some(Box::new(Paged { incarnation: new_incarnation, dirty: Vec::new() }));
                (new_incarnation, (0..pages).collect())
            }
        }
    }

    /// The bytes of one page.
    #[must_use]
    pub fn page(&self, number: u32) -> &[u8] {
        let start = number as usize * PAGE_BYTES;
        &self.bytes[start..self.bytes.len().min(start + PAGE_BYTES)]
    }

    fn touch(&mut self, offset: usize, len: usize) {
        let Some(paged) = &mut self.paged else { return };
        if len == 0 {
            return;
        }
        let (first, last) = (offset / PAGE_BYTES, (offset + len - 1) / PAGE_BYTES);
        if paged.dirty.len() <= last / 64 {
            paged.dirty.resize(last / 64 + 1, 0);
        }
        for page in first..=last {
            paged.dirty[page / 64] |= 1 << (page % 64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_changed_pages_are_dirty() {
        let mut s = BigString::from_bytes(&vec![1; 3 * PAGE_BYTES + 5]);
        let (inc, pages) = s.take_dirty_pages(Incarnation(9));
        assert_eq!((inc, pages.len()), (Incarnation(9), 4));
        assert!(s.take_dirty_pages(Incarnation(10)).1.is_empty());
        s.set_range(PAGE_BYTES * 2 - 1, b"xy");
        assert_eq!(s.take_dirty_pages(Incarnation(11)), (Incarnation(9), vec![1, 2]));
        s.append(b"z");
        assert_eq!(s.take_dirty_pages(Incarnation(12)), (Incarnation(9), vec![3]));
        s.set_range(6 * PAGE_BYTES, b"q");
        assert_eq!(s.take_dirty_pages(Incarnation(13)), (Incarnation(9), vec![3, 4, 5, 6]));
        assert_eq!(s.page(6), b"q");
    }
}
