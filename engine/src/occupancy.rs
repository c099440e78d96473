//! How full everything is that grows with what a node takes in.
//!
//! Each queue, map and window has a limit, and a test can see at any time that it keeps to it; and what only work fills
//! is empty once there is none.

/// How full one queue, map or window is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Occupancy {
    /// What it is, with its owner before it: `router.sent`.
    pub name: &'static str,
    /// What is in it.
    pub current: u64,
    /// The most that may be in it.
    pub limit: u64,
    /// Whether it is empty when nothing is going on.
    pub empty_at_rest: bool,
}

impl Occupancy {
    /// Describes what may keep things for as long as the node lives.
    pub(crate) fn new(name: &'static str, current: usize, limit: usize) -> Self {
        let wide = |count| u64::try_from(count).unwrap_or(u64::MAX);
        Self { name, current: wide(current), limit: wide(limit), empty_at_rest: false }
    }

    /// Describes what only work fills.
    pub(crate) fn of_work(name: &'static str, current: usize, limit: usize) -> Self {
        Self { empty_at_rest: true, ..Self::new(name, current, limit) }
    }
}
