//! The decoder architectures that this program can run, one file each.

pub(super) mod llama;
