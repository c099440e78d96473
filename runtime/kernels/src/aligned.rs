//! Numbers in memory that is aligned to a cache line.
//!
//! The invariant: memory that is not written yet is zero, so that padding never holds data of another allocation.

use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

/// A number type for which all bytes are valid.
///
/// # Safety
/// The type has no padding, every bit pattern is valid, and its alignment is at most that of a cache line.
pub(crate) unsafe trait Plain: Copy + Default + Send + Sync + 'static {}

// SAFETY: numbers of one primitive type have no padding and no invalid pattern.
unsafe impl Plain for f32 {}
// SAFETY: as above.
unsafe impl Plain for i16 {}
// SAFETY: as above.
unsafe impl Plain for i8 {}
// SAFETY: as above.
unsafe impl Plain for u16 {}
// SAFETY: as above.
unsafe impl Plain for u8 {}

/// A slice of numbers that owns its memory.
pub(crate) struct Aligned<T> {
    lines: Vec<Line>,
    length: usize,
    kind: PhantomData<T>,
}

/// A cache line.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; LINE_BYTES]);

impl<T: Plain> Aligned<T> {
    pub(crate) fn zeroed(length: usize) -> Self {
        let bytes = length.saturating_mul(size_of::<T>());
        Self { lines: vec![Line([0; LINE_BYTES]); bytes.div_ceil(LINE_BYTES)], length, kind: PhantomData }
    }

    /// A copy of `numbers` with zeros after them.
    pub(crate) fn padded(numbers: &[T], length: usize) -> Self {
        let mut padded = Self::zeroed(length);
        padded[..numbers.len()].copy_from_slice(numbers);
        padded
    }

    /// Makes room for at least `length` numbers. The old content may be lost. Allocates only if there is too little
    /// room.
    pub(crate) fn ensure(&mut self, length: usize) {
        if self.length < length {
            *self = Self::zeroed(length);
        }
    }
}

impl<T> Default for Aligned<T> {
    fn default() -> Self {
        Self { lines: Vec::new(), length: 0, kind: PhantomData }
    }
}

impl<T: Plain> Deref for Aligned<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: `lines` holds at least `length` numbers, aligned to more than T needs, and any bytes are a T.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.length) }
    }
}

impl<T: Plain> DerefMut for Aligned<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as for `deref`, and the borrow of `self` is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.length) }
    }
}

/// Returns aligned bytes as numbers of another type, without a remainder that does not fill a number.
pub(crate) fn numbers<T: Plain>(bytes: &[u8]) -> &[T] {
    assert!(bytes.as_ptr().cast::<T>().is_aligned(), "the bytes do not begin where a number may");
    // SAFETY: the alignment was checked, the length is rounded down, and any bytes are a T.
    unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast(), bytes.len() / size_of::<T>()) }
}

/// Returns mutable numbers, like [`numbers`].
pub(crate) fn numbers_mut<T: Plain>(bytes: &mut [u8]) -> &mut [T] {
    assert!(bytes.as_ptr().cast::<T>().is_aligned(), "the bytes do not begin where a number may");
    // SAFETY: as for `numbers`; every T is valid bytes as well.
    unsafe { std::slice::from_raw_parts_mut(bytes.as_mut_ptr().cast(), bytes.len() / size_of::<T>()) }
}

const LINE_BYTES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_begins_at_a_line_and_with_zeros() {
        for length in [0, 1, 15, 16, 17, 1000] {
            let mut numbers = Aligned::<f32>::zeroed(length);
            assert_eq!(numbers.as_ptr().addr() % LINE_BYTES, 0);
            assert_eq!(numbers.len(), length);
            assert!(numbers.iter().all(|number| *number == 0.0));
            numbers.fill(1.0);
            numbers.ensure(length);
            assert!(numbers.iter().all(|number| *number == 1.0));
        }
        let padded = Aligned::padded(&[1_i8, 2], 4);
        assert_eq!(*padded, [1, 2, 0, 0]);
    }

    #[test]
    fn bytes_are_numbers_of_any_type() {
        let mut bytes = Aligned::<u8>::zeroed(9);
        numbers_mut::<f32>(&mut bytes).copy_from_slice(&[1.0, -2.0]);
        assert_eq!(numbers::<f32>(&bytes), [1.0, -2.0]);
        assert_eq!(bytes[..4], 1.0_f32.to_ne_bytes());
    }
}
