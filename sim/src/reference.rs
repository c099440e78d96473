//! Reference models of node behaviour, simple enough to verify by reading, compared with the nodes step by step.

pub(crate) mod origin;
pub(crate) mod store;
