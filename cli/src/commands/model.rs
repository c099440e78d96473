//! `model`: the models of this machine.

pub(super) mod cache;
pub(super) mod info;
pub(super) mod list;
pub(super) mod neighbours;
pub(super) mod pull;
pub(super) mod pull_manifest;
pub(super) mod quantize;
pub(super) mod rm;
pub(super) mod share;
