//! `route`: how messages travel through the mesh.

pub(super) mod explain;
pub(super) mod ping;
