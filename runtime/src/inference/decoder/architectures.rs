//! The supported decoder architectures, one file each.

pub(super) mod llama;
