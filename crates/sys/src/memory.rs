//! Memory: wishes to the kernel about it.

use std::mem::MaybeUninit;

use nix::sys::mman::{MmapAdvise, madvise};

/// Size and alignment of a huge page on x86-64 and aarch64 (with 4 KiB base pages).
const HUGE_PAGE: usize = 2 << 20;

/// Asks for huge pages behind memory that is about to be filled: one page fault in place of 512. The kernel may
/// decline (madvise(2), `MADV_HUGEPAGE`); nothing but speed depends on it.
pub fn prefer_huge_pages(memory: &mut [MaybeUninit<u8>]) {
    let start = memory.as_mut_ptr();
    let skip = start.align_offset(HUGE_PAGE);
    let length = memory.len().saturating_sub(skip) / HUGE_PAGE * HUGE_PAGE;
    if length == 0 {
        return;
    }
    let Some(first) = std::ptr::NonNull::new(start.wrapping_add(skip)) else { return };
    // SAFETY: the range lies within `memory`, which is borrowed mutably, and MADV_HUGEPAGE changes neither
    // contents nor validity of any byte in it.
    #[allow(unsafe_code)]
    let result = unsafe { madvise(first.cast(), length, MmapAdvise::MADV_HUGEPAGE) };
    // A kernel without huge pages says so with an error; ordinary pages serve as well.
    let _ = result;
}

#[cfg(test)]
mod tests {
    #[test]
    fn any_piece_of_memory_may_be_given() {
        for size in [0, 1, super::HUGE_PAGE, 5 * super::HUGE_PAGE + 3] {
            let mut memory: Vec<u8> = Vec::with_capacity(size);
            super::prefer_huge_pages(memory.spare_capacity_mut());
            memory.resize(size, 7);
            assert!(memory.iter().all(|byte| *byte == 7));
        }
    }
}
