//! Which node something happens to.

/// One node of a scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// One that runs at the time, chosen by the seed.
    Any,
    /// This one.
    Node(u32),
}
