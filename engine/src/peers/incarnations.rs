//! Tells restarts of a node from duplicates of its key.
//!
//! A restarted node replaces its earlier incarnation at once. An incarnation that returns after it was replaced was not
//! an earlier one: two nodes use one key, and the one that started earlier is kept. The other is remembered as a
//! duplicate. So it is not mistaken for a restart while the first has no link.

use crate::ids::NodeId;
use crate::time::Instant;
use core::time::Duration;
use std::collections::BTreeMap;

/// The known incarnations of other nodes.
#[derive(Debug, Default)]
pub(super) struct Incarnations {
    /// The incarnation of each node that was last replaced.
    replaced: BTreeMap<NodeId, u64>,
    /// The known duplicates, with the time when each was last seen beside the original.
    duplicates: BTreeMap<(NodeId, u64), Instant>,
}

impl Incarnations {
    /// Handles the incarnation in a node's hello, while a link to incarnation `held` is up. Tells whether it is a
    /// duplicate to refuse.
    pub(super) fn handle_hello(&mut self, now: Instant, node: NodeId, held: Option<u64>, new: u64) -> bool {
        let held = held.filter(|held| *held != new);
        if let Some(seen_at) = self.duplicates.get_mut(&(node, new)) {
            if held.is_some() {
                *seen_at = now;
            }
            if now.since(*seen_at) < DUPLICATE_RETENTION {
                return true;
            }
            self.duplicates.remove(&(node, new));
        }
        let Some(held) = held else { return false };
        if self.replaced.get(&node) == Some(&new) {
            self.handle_duplicate(now, node, held.max(new));
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

    /// Tells whether an incarnation is a known duplicate.
    pub(super) fn is_duplicate(&self, now: Instant, node: NodeId, incarnation: u64) -> bool {
        self.duplicates
            .get(&(node, incarnation))
            .is_some_and(|seen_at| now.since(*seen_at) < DUPLICATE_RETENTION)
    }

    /// Records a duplicate of a node that started earlier.
    pub(super) fn handle_duplicate(&mut self, now: Instant, node: NodeId, duplicate: u64) {
        self.duplicates.insert((node, duplicate), now);
        if self.duplicates.len() > INCARNATIONS_MAX {
            let oldest =
                self.duplicates.iter().min_by_key(|(_, seen_at)| **seen_at).map(|(&duplicate, _)| duplicate);
            oldest.map(|oldest| self.duplicates.remove(&oldest));
        }
    }

    /// Returns the number of replaced incarnations and of duplicates.
    pub(super) fn len(&self) -> (usize, usize) {
        (self.replaced.len(), self.duplicates.len())
    }
}

/// Maximum replaced incarnations and known duplicates to remember. On overflow an arbitrary incarnation or the oldest
/// duplicate is evicted, at the cost of one extra link replacement.
pub(super) const INCARNATIONS_MAX: usize = 256;
/// How long a duplicate is remembered after it was last seen beside the original. After that it may take the original's
/// place.
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
        // Its clock was set back before the restart.
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
        incarnations.handle_duplicate(at(0), NODE, 20);
        assert!(incarnations.handle_hello(at(500), NODE, Some(10), 20));
        assert!(incarnations.handle_hello(at(1_000), NODE, None, 20));
        assert!(!incarnations.handle_hello(at(1_100), NODE, None, 20));
        assert!(!incarnations.handle_hello(at(1_101), NODE, None, 20));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut incarnations = Incarnations::default();
        for duplicate in 0..1_000 {
            incarnations.handle_duplicate(at(duplicate), NODE, duplicate);
            let mut other = [0; 16];
            other[..8].copy_from_slice(&duplicate.to_be_bytes());
            incarnations.handle_hello(at(duplicate), NodeId(other), Some(1), 2);
        }
        assert_eq!(incarnations.len(), (INCARNATIONS_MAX, INCARNATIONS_MAX));
        assert!(!incarnations.handle_hello(at(1_000), NODE, Some(1), 743));
        assert!(incarnations.handle_hello(at(1_000), NODE, Some(1), 744));
    }
}
