//! Numbers that the threads of a team write together, each its own part.

use std::cell::UnsafeCell;
use std::ops::Range;

/// A slice whose parts different threads may write at the same time.
pub(super) struct Shared<T> {
    cells: Box<[UnsafeCell<T>]>,
}

// SAFETY: all access goes through `part` and `part_mut`, whose callers see to it that no part is written by one thread
// while another one has it.
unsafe impl<T: Send + Sync> Sync for Shared<T> {}

impl<T: Copy + Default> Shared<T> {
    /// So many default values.
    pub(super) fn new(len: usize) -> Self {
        // A vector of zeros takes no memory before it is written to.
        let numbers = Box::into_raw(vec![T::default(); len].into_boxed_slice());
        // SAFETY: `UnsafeCell<T>` is laid out as `T`, and the box that gave the pointer away is not used again.
        Self { cells: unsafe { Box::from_raw(numbers as *mut [UnsafeCell<T>]) } }
    }

    /// Returns a part to read.
    ///
    /// # Safety
    /// Nobody writes any of it while the reference lives.
    pub(super) unsafe fn part(&self, range: Range<usize>) -> &[T] {
        let cells = &self.cells[range];
        // SAFETY: `UnsafeCell<T>` is laid out as `T`, the range was checked, and the caller keeps writers away.
        unsafe { std::slice::from_raw_parts(cells.as_ptr().cast(), cells.len()) }
    }

    /// Returns a part to write.
    ///
    /// # Safety
    /// Nobody else reads or writes any of it while the reference lives.
    #[allow(clippy::mut_from_ref, reason = "callers keep the parts apart, as its terms say")]
    pub(super) unsafe fn part_mut(&self, range: Range<usize>) -> &mut [T] {
        let cells = &self.cells[range];
        // SAFETY: `UnsafeCell<T>` is laid out as `T` and allows writing through a shared reference; the range was
        // checked, and the caller keeps everybody else away.
        unsafe { std::slice::from_raw_parts_mut(UnsafeCell::raw_get(cells.as_ptr()), cells.len()) }
    }

    /// Returns all of it; nobody else has it.
    pub(super) fn all_mut(&mut self) -> &mut [T] {
        let len = self.cells.len();
        // SAFETY: the exclusive reference keeps everybody else away.
        unsafe { self.part_mut(0..len) }
    }
}
