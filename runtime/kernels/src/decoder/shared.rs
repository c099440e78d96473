//! Buffers that the threads of a team write concurrently, each thread its own part.

use std::cell::UnsafeCell;
use std::ops::Range;

/// A slice whose parts different threads may write at the same time.
pub(super) struct Shared<T> {
    cells: Box<[UnsafeCell<T>]>,
}

// SAFETY: all access goes through `part` and `part_mut`. Their callers ensure that no thread writes a part while
// another thread uses it.
unsafe impl<T: Send + Sync> Sync for Shared<T> {}

impl<T: Copy + Default> Shared<T> {
    /// Makes a slice of `len` default values.
    pub(super) fn new(len: usize) -> Self {
        // A vector of zeros takes no memory until it is written.
        let numbers = Box::into_raw(vec![T::default(); len].into_boxed_slice());
        // SAFETY: `UnsafeCell<T>` is laid out as `T`, and the box that gave the pointer away is not used again.
        Self { cells: unsafe { Box::from_raw(numbers as *mut [UnsafeCell<T>]) } }
    }

    /// Returns a part to read.
    ///
    /// # Safety
    /// No thread writes any of it while the reference lives.
    pub(super) unsafe fn part(&self, range: Range<usize>) -> &[T] {
        let cells = &self.cells[range];
        // SAFETY: `UnsafeCell<T>` is laid out as `T`, the range was checked, and the caller keeps writers away.
        unsafe { std::slice::from_raw_parts(cells.as_ptr().cast(), cells.len()) }
    }

    /// Returns a part to write.
    ///
    /// # Safety
    /// No other thread reads or writes any of it while the reference lives.
    #[allow(clippy::mut_from_ref, reason = "callers keep the parts apart, as its terms say")]
    pub(super) unsafe fn part_mut(&self, range: Range<usize>) -> &mut [T] {
        let cells = &self.cells[range];
        // SAFETY: `UnsafeCell<T>` is laid out as `T` and allows writing through a shared reference; the range was
        // checked, and the caller keeps everybody else away.
        unsafe { std::slice::from_raw_parts_mut(UnsafeCell::raw_get(cells.as_ptr()), cells.len()) }
    }

    /// Returns the whole slice to write.
    pub(super) fn all_mut(&mut self) -> &mut [T] {
        let len = self.cells.len();
        // SAFETY: the exclusive reference keeps everybody else away.
        unsafe { self.part_mut(0..len) }
    }
}
