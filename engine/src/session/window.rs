//! A sliding window over the newest message numbers, which detects replays, as in RFC 6479.
//!
//! Messages overtake each other, so a number may arrive late, but only once. Numbers older than the window count as
//! seen.

/// The message numbers seen recently.
#[derive(Debug)]
pub(super) struct Window {
    /// The greatest number seen, plus one.
    next: u64,
    /// One bit for each of the last numbers, at its position modulo the window's size.
    bits: [u64; WORDS],
}

impl Window {
    pub(super) const fn new() -> Self {
        Self { next: 0, bits: [0; WORDS] }
    }

    /// Tells whether a number has not been seen and is within the window.
    pub(super) fn is_new(&self, number: u64) -> bool {
        let (word, bit) = place(number);
        number >= self.next || (self.next - number <= WINDOW && self.bits[word] & bit == 0)
    }

    /// Records a number. Only for a message that was authenticated.
    pub(super) fn handle_seen(&mut self, number: u64) {
        if number >= self.next {
            let skipped = number - self.next;
            if skipped >= WINDOW {
                self.bits = [0; WORDS];
            } else {
                for between in self.next..=number {
                    let (word, bit) = place(between);
                    self.bits[word] &= !bit;
                }
            }
            self.next = number.saturating_add(1);
        }
        let (word, bit) = place(number);
        self.bits[word] |= bit;
    }
}

fn place(number: u64) -> (usize, u64) {
    let at = number % WINDOW;
    (usize::try_from(at / 64).unwrap_or_default(), 1 << (at % 64))
}

const WORDS: usize = 32;
/// The size of the window, in numbers.
const WINDOW: u64 = 64 * 32;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn a_number_passes_once_in_any_order(numbers in prop::collection::vec(0_u64..6_000, 1..800)) {
            let mut window = Window::new();
            let mut seen = BTreeSet::new();
            for number in numbers {
                let greatest = seen.last().copied().unwrap_or_default();
                let too_old = greatest + 1 > number + WINDOW;
                prop_assert_eq!(window.is_new(number), !too_old && !seen.contains(&number));
                if window.is_new(number) {
                    window.handle_seen(number);
                    seen.insert(number);
                }
            }
        }
    }

    #[test]
    fn the_greatest_number_is_no_trap() {
        let mut window = Window::new();
        assert!(window.is_new(u64::MAX - 1));
        window.handle_seen(u64::MAX - 1);
        assert!(!window.is_new(u64::MAX - 1));
        assert!(!window.is_new(0));
        assert!(window.is_new(u64::MAX - WINDOW));
    }
}
