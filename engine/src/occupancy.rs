//! How full each of the node's collections is.
//!
//! Each queue, map and window has a limit, and tests check it at any time. Collections that only tasks fill are empty
//! when the node is idle.

/// The fill level of one queue, map or window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Occupancy {
    /// Its name, prefixed with its owner: `router.sent`.
    pub name: &'static str,
    /// Number of entries, or bytes.
    pub current: u64,
    /// The limit.
    pub limit: u64,
    /// Whether it is empty when the node is idle.
    pub empty_at_rest: bool,
}

impl Occupancy {
    /// Describes a collection that may keep entries for the lifetime of the node.
    pub(crate) fn new(name: &'static str, current: usize, limit: usize) -> Self {
        let wide = |count| u64::try_from(count).unwrap_or(u64::MAX);
        Self { name, current: wide(current), limit: wide(limit), empty_at_rest: false }
    }

    /// Describes a collection that only tasks fill.
    pub(crate) fn transient(name: &'static str, current: usize, limit: usize) -> Self {
        Self { empty_at_rest: true, ..Self::new(name, current, limit) }
    }
}
