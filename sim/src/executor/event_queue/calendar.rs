//! A calendar queue: yields what happens next, in the total order of (time, order of insertion).
//!
//! Most entries lie within a few seconds, so the near future is a wheel of short buckets, into which insertion is a
//! push. Only the current bucket is sorted, as a heap. Entries further away wait in a heap of their own. (Brown:
//! "Calendar Queues", CACM 1988.)

use core::cmp::Ordering;
use core::mem;
use std::collections::BinaryHeap;

/// Entries by the time, in microseconds, at which they happen.
#[derive(Debug)]
pub(super) struct Calendar<T> {
    /// The current bucket, and whatever was inserted before its end since.
    current: BinaryHeap<Entry<T>>,
    /// The number of the current bucket.
    cursor: u64,
    /// The later buckets, each at its number modulo their count.
    wheel: Vec<Vec<Entry<T>>>,
    /// One bit for each bucket that is not empty.
    occupied: Vec<u64>,
    /// Entries beyond the wheel.
    far: BinaryHeap<Entry<T>>,
    inserted: u64,
}

#[derive(Debug)]
struct Entry<T> {
    at: u64,
    order: u64,
    item: T,
}

impl<T> Calendar<T> {
    pub(super) fn new() -> Self {
        Self {
            current: BinaryHeap::new(),
            cursor: 0,
            wheel: (0..BUCKETS).map(|_| Vec::new()).collect(),
            occupied: vec![0; BUCKETS / 64],
            far: BinaryHeap::new(),
            inserted: 0,
        }
    }

    /// Adds an entry at `at`, after all entries that were added for that time before.
    pub(super) fn push(&mut self, at: u64, item: T) {
        let entry = Entry { at, order: self.inserted, item };
        self.inserted += 1;
        self.put(entry);
    }

    /// Returns the time of the next entry.
    pub(super) fn next_at(&mut self) -> Option<u64> {
        while self.current.is_empty() {
            self.advance()?;
        }
        self.current.peek().map(|entry| entry.at)
    }

    /// Takes the next entry, unless it is later than `limit`.
    pub(super) fn pop_until(&mut self, limit: u64) -> Option<(u64, T)> {
        if self.next_at()? > limit {
            return None;
        }
        self.current.pop().map(|entry| (entry.at, entry.item))
    }

    fn put(&mut self, entry: Entry<T>) {
        let bucket = entry.at >> BUCKET_BITS;
        if bucket <= self.cursor {
            self.current.push(entry);
        } else if bucket - self.cursor < BUCKETS as u64 {
            let slot = slot(bucket);
            self.occupied[slot / 64] |= 1 << (slot % 64);
            self.wheel[slot].push(entry);
        } else {
            self.far.push(entry);
        }
    }

    /// Advances to the next bucket that is not empty; `None` if there is none.
    fn advance(&mut self) -> Option<()> {
        let near = self.next_occupied();
        let far = self.far.peek().map(|entry| entry.at >> BUCKET_BITS);
        let next = match (near, far) {
            (Some(near), Some(far)) => near.min(far),
            (near, far) => near.or(far)?,
        };
        self.cursor = next;
        let slot = slot(next);
        self.occupied[slot / 64] &= !(1 << (slot % 64));
        // The emptied heap's memory stays with the slot.
        let emptied = mem::take(&mut self.current).into_vec();
        self.current = BinaryHeap::from(mem::replace(&mut self.wheel[slot], emptied));
        while self.far.peek().is_some_and(|entry| (entry.at >> BUCKET_BITS) - next < BUCKETS as u64) {
            let entry = self.far.pop()?;
            self.put(entry);
        }
        Some(())
    }

    /// Returns the number of the first bucket after the cursor that is not empty.
    fn next_occupied(&self) -> Option<u64> {
        let first = slot(self.cursor + 1);
        let words = self.occupied.len();
        // The word in which the wheel starts is read twice: its upper part first, its lower part last.
        (0..=words).find_map(|step| {
            let index = (first / 64 + step) % words;
            let mask = match step {
                0 => u64::MAX << (first % 64),
                _ if step == words => !(u64::MAX << (first % 64)),
                _ => u64::MAX,
            };
            let bits = self.occupied[index] & mask;
            let slot = index * 64 + bits.trailing_zeros() as usize;
            (bits != 0).then(|| self.cursor + 1 + ((slot + BUCKETS - first) % BUCKETS) as u64)
        })
    }
}

#[allow(clippy::cast_possible_truncation, reason = "the remainder is below the number of buckets")]
const fn slot(bucket: u64) -> usize {
    (bucket % BUCKETS as u64) as usize
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<T> Eq for Entry<T> {}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The earliest is the greatest, because the standard heap yields the greatest first.
impl<T> Ord for Entry<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.order).cmp(&(self.at, self.order))
    }
}

/// A bucket covers 1.024 ms.
const BUCKET_BITS: u32 = 10;

/// The wheel covers 16.8 s, more than the longest recurring timer. A multiple of 64.
const BUCKETS: usize = 1 << 14;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_order_is_that_of_a_sorted_list(
            steps in prop::collection::vec((0_u64..40_000_000, 0_usize..4, any::<bool>()), 1..300),
        ) {
            let mut calendar = Calendar::new();
            let mut list: Vec<(u64, u64)> = Vec::new();
            let mut now = 0;
            for (number, (delay, pops, near)) in (0_u64..).zip(steps) {
                let at = now + if near { delay % 3000 } else { delay };
                calendar.push(at, number);
                list.push((at, number));
                for _ in 0..pops {
                    list.sort_unstable();
                    let expected = if list.is_empty() { None } else { Some(list.remove(0)) };
                    prop_assert_eq!(calendar.pop_until(u64::MAX), expected);
                    now = expected.map_or(now, |(at, _)| at);
                }
            }
            list.sort_unstable();
            for expected in list {
                prop_assert_eq!(calendar.pop_until(u64::MAX), Some(expected));
            }
            prop_assert_eq!(calendar.pop_until(u64::MAX), None);
        }
    }

    #[test]
    fn nothing_is_taken_before_its_time() {
        let mut calendar = Calendar::new();
        calendar.push(50_000_000, 'b');
        calendar.push(5, 'a');
        assert_eq!((calendar.pop_until(4), calendar.next_at()), (None, Some(5)));
        assert_eq!(calendar.pop_until(5), Some((5, 'a')));
        assert_eq!(calendar.pop_until(49_999_999), None);
        calendar.push(7, 'c');
        assert_eq!(calendar.pop_until(u64::MAX), Some((7, 'c')));
        assert_eq!(calendar.pop_until(u64::MAX), Some((50_000_000, 'b')));
    }
}
