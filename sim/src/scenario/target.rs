//! The node that something happens to.

/// A node of a scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// A running node, drawn by the seed.
    Any,
    /// The node with this number.
    Node(u32),
}
