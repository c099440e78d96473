//! The key file of a node.
