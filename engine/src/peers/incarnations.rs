//! Which life of a node a link is to, and which of two that go on side by side is kept.
//!
//! A node that starts anew takes the place of its earlier life at once. One that comes back after another took its
//! place was no earlier life: two nodes hold one key, and the one that started earlier is kept. The other is known for
//! a copy from then on, so that it is not taken for a restart again where the first has no link at the time.

use crate::ids::NodeId;
use crate::time::Instant;
use core::time::Duration;
use std::collections::BTreeMap;

/// What a node knows of the lives of others.
#[derive(Debug, Default)]
pub(super) struct Incarnations {
    /// The incarnation of each node that another took the place of.
    replaced: BTreeMap<NodeId, u64>,
    /// Incarnations that live beside one that started earlier, with when that was last seen.
    copies: BTreeMap<(NodeId, u64), Instant>,
}

impl Incarnations {
    /// Takes in the incarnation that a node says it is, while a link to incarnation `held` of it is there; tells
    /// whether it is a copy, to be turned down.
    pub(super) fn handle_hello(&mut self, now: Instant, node: NodeId, held: Option<u64>, new: u64) -> bool {
        let held = held.filter(|held| *held != new);
        if let Some(seen_at) = self.copies.get_mut(&(node, new)) {
            if held.is_some() {
                *seen_at = now;
            }
            if now.since(*seen_at) < DUPLICATE_RETENTION {
                return true;
            }
            self.copies.remove(&(node, new));
        }
        let Some(held) = held else { return false };
        if self.replaced.get(&node) == Some(&new) {
            self.handle_copy(now, node, held.max(new));
            if held < new {
                return true;
            }
        }
        self.replaced.insert(node, held);
        if self.replaced.len() > INCARNATIONS_MAX {
            self.replaced.pop_first();
        }
        false
    }

    /// Tells whether an incarnation is known for a copy.
    pub(super) fn is_copy(&self, now: Instant, node: NodeId, incarnation: u64) -> bool {
        self.copies.get(&(node, incarnation)).is_some_and(|seen_at| now.since(*seen_at) < DUPLICATE_RETENTION)
    }

    /// Takes note that an incarnation of a node lives beside one that started earlier.
    pub(super) fn handle_copy(&mut self, now: Instant, node: NodeId, copy: u64) {
        self.copies.insert((node, copy), now);
        if self.copies.len() > INCARNATIONS_MAX {
            let oldest = self.copies.iter().min_by_key(|(_, seen_at)| **seen_at).map(|(&copy, _)| copy);
            oldest.map(|oldest| self.copies.remove(&oldest));
        }
    }

    /// Returns of how many nodes an earlier life is remembered, and how many copies.
    pub(super) fn len(&self) -> (usize, usize) {
        (self.replaced.len(), self.copies.len())
    }
}

/// Earlier lives, and copies, remembered; beyond, any of those goes, and the oldest of these: it costs one more change
/// of links.
pub(super) const INCARNATIONS_MAX: usize = 256;
/// How long a copy is remembered that was not seen beside the first: should that be gone, the other may take its place.
const DUPLICATE_RETENTION: Duration = Duration::from_secs(600);

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: NodeId = NodeId([1; 16]);

    fn at(seconds: u64) -> Instant {
        Instant::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn a_restart_takes_the_place_of_the_life_before() {
        let mut incarnations = Incarnations::default();
        assert!(!incarnations.handle_hello(at(0), NODE, None, 10));
        assert!(!incarnations.handle_hello(at(1), NODE, Some(10), 20));
        assert!(!incarnations.handle_hello(at(2), NODE, Some(20), 30));
        // Its clock was set back meanwhile.
        assert!(!incarnations.handle_hello(at(3), NODE, Some(30), 5));
        assert_eq!(incarnations.len(), (1, 0));
    }

    #[test]
    fn of_two_that_take_turns_the_later_is_turned_down_from_then_on() {
        for [first, second] in [[10, 20], [20, 10]] {
            let mut incarnations = Incarnations::default();
            assert!(!incarnations.handle_hello(at(1), NODE, Some(first), second));
            assert_eq!(incarnations.handle_hello(at(2), NODE, Some(second), first), first == 20);
            assert!(incarnations.handle_hello(at(3), NODE, Some(10), 20));
            assert!(incarnations.handle_hello(at(4), NODE, None, 20), "the first has no link for the moment");
            assert!(!incarnations.handle_hello(at(5), NODE, None, 10));
        }
    }

    #[test]
    fn a_copy_that_others_found_out_is_turned_down_until_the_first_is_long_gone() {
        let mut incarnations = Incarnations::default();
        incarnations.handle_copy(at(0), NODE, 20);
        assert!(incarnations.handle_hello(at(500), NODE, Some(10), 20));
        assert!(incarnations.handle_hello(at(1_000), NODE, None, 20));
        assert!(!incarnations.handle_hello(at(1_100), NODE, None, 20));
        assert!(!incarnations.handle_hello(at(1_101), NODE, None, 20));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut incarnations = Incarnations::default();
        for copy in 0..1_000 {
            incarnations.handle_copy(at(copy), NODE, copy);
            let mut other = [0; 16];
            other[..8].copy_from_slice(&copy.to_be_bytes());
            incarnations.handle_hello(at(copy), NodeId(other), Some(1), 2);
        }
        assert_eq!(incarnations.len(), (INCARNATIONS_MAX, INCARNATIONS_MAX));
        assert!(!incarnations.handle_hello(at(1_000), NODE, Some(1), 743));
        assert!(incarnations.handle_hello(at(1_000), NODE, Some(1), 744));
    }
}
