//! jemalloc, the allocator of this process and of all C and C++ code in it: its numbers, giving pages
//! back, and moving entries off nearly empty pages.

use std::alloc::Layout;
use std::ffi::CStr;
use std::ptr::{NonNull, null_mut};

use lux_engine::env::Defragmenter;
use tikv_jemalloc_ctl::{epoch, stats};
use tikv_jemalloc_sys::{MALLOCX_TCACHE_NONE, mallctl, mallctlbymib, mallctlnametomib, mallocx, sdallocx};

/// Bytes allocated, in active pages, and resident. Zeros if the statistics cannot be read.
#[must_use]
pub fn numbers() -> [u64; 3] {
    // The statistics are as of the last epoch; without one they would be stale, not wrong.
    let _ = epoch::advance();
    [stats::allocated::read(), stats::active::read(), stats::resident::read()]
        .map(|read| read.map_or(0, |bytes| bytes as u64))
}

/// The allocator's own report.
#[must_use]
pub fn report() -> String {
    let mut report = Vec::new();
    match tikv_jemalloc_ctl::stats_print::stats_print(
        &mut report,
        tikv_jemalloc_ctl::stats_print::Options::default(),
    ) {
        Ok(()) => String::from_utf8_lossy(&report).into_owned(),
        Err(error) => format!("the allocator gave no report: {error}"),
    }
}

/// Gives unused pages back to the system now.
pub fn purge() {
    // 4096 stands for all arenas.
    let name = c"arena.4096.purge";
    // SAFETY: this control takes no value in or out; the name is a C string.
    let status = unsafe { mallctl(name.as_ptr(), null_mut(), null_mut(), null_mut(), 0) };
    if status != 0 {
        tracing::warn!(status, "the allocator did not purge");
    }
}

/// Asks jemalloc how full the pages of an allocation are.
pub struct JemallocPages {
    /// The control `experimental.utilization.query`, resolved.
    query: [usize; 3],
}

/// What the query answers (jemalloc's `inspect.h`).
#[repr(C)]
#[derive(Default)]
struct Utilization {
    current_slab: usize,
    /// Free places and places of the allocation's run of pages.
    free: usize,
    places: usize,
    bytes: usize,
    /// The same of all runs of this size.
    bin_free: usize,
    bin_places: usize,
}

impl JemallocPages {
    /// `None` if this jemalloc cannot answer.
    #[must_use]
    pub fn new() -> Option<JemallocPages> {
        const NAME: &CStr = c"experimental.utilization.query";
        let (mut query, mut len) = ([0; 3], 3);
        // SAFETY: the array has room for `len` parts of the name, and the name has three.
        let status = unsafe { mallctlnametomib(NAME.as_ptr(), query.as_mut_ptr(), &raw mut len) };
        (status == 0 && len == query.len()).then_some(JemallocPages { query })
    }

    fn utilization(&self, allocation: NonNull<u8>) -> Option<Utilization> {
        let mut answer = Utilization::default();
        let mut answer_len = size_of::<Utilization>();
        let mut pointer = allocation.as_ptr();
        // SAFETY: the control reads one pointer and writes one `Utilization`; both sizes are given, and
        // the pointer is of a live allocation of this allocator.
        let status = unsafe {
            mallctlbymib(
                self.query.as_ptr(),
                self.query.len(),
                (&raw mut answer).cast(),
                &raw mut answer_len,
                (&raw mut pointer).cast(),
                size_of::<*mut u8>(),
            )
        };
        (status == 0 && answer_len == size_of::<Utilization>()).then_some(answer)
    }
}

impl Defragmenter for JemallocPages {
    fn is_sparse(&self, allocation: NonNull<u8>) -> bool {
        self.utilization(allocation).is_some_and(|it| {
            // Emptier than the average of its size, and not the run that is being filled.
            let address = allocation.as_ptr() as usize;
            let is_current = (it.current_slab..it.current_slab + it.bytes).contains(&address);
            !is_current && it.places > 1 && it.free * it.bin_places > it.bin_free * it.places
        })
    }

    fn allocate(&self, layout: Layout) -> *mut u8 {
        debug_assert!(layout.size() > 0 && layout.align() <= 8);
        // SAFETY: entries are never empty, and their alignment of 8 is what jemalloc gives to any size.
        unsafe { mallocx(layout.size(), MALLOCX_TCACHE_NONE).cast() }
    }

    // SAFETY: the caller promises an allocation of this size; all memory here is jemalloc's.
    unsafe fn free(&self, allocation: NonNull<u8>, layout: Layout) {
        // SAFETY: as above.
        unsafe { sdallocx(allocation.as_ptr().cast(), layout.size(), MALLOCX_TCACHE_NONE) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_that_lost_most_of_their_allocations_are_sparse() {
        let pages = JemallocPages::new().expect("this jemalloc can answer");
        let layout = Layout::from_size_align(448, 8).expect("a layout");
        let place = || NonNull::new(pages.allocate(layout)).expect("there is memory");
        let all: Vec<_> = (0..4096).map(|_| place()).collect();
        // All of the first half stay, one in sixteen of the second.
        let is_kept = |i: usize| i < 2048 || i.is_multiple_of(16);
        for (i, allocation) in all.iter().enumerate() {
            if !is_kept(i) {
                // SAFETY: it was allocated with this layout and is not used again.
                unsafe { pages.free(*allocation, layout) };
            }
        }
        let sparse =
            |range: std::ops::Range<usize>| range.filter(|i| is_kept(*i) && pages.is_sparse(all[*i])).count();
        assert!(sparse(0..2048) < 100, "{}", sparse(0..2048));
        assert!(sparse(2048..4096) > 100, "{}", sparse(2048..4096));
        for (i, allocation) in all.iter().enumerate() {
            if is_kept(i) {
                // SAFETY: as above.
                unsafe { pages.free(*allocation, layout) };
            }
        }
    }
}
