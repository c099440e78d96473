//! Small models of what a node does, so simple that they are right by sight, compared with the nodes step by step.

pub(crate) mod origin;
pub(crate) mod store;
