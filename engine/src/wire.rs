//! Messages between nodes and their codec.

/// The largest frame, in bytes.
pub const FRAME_BYTES_MAX: usize = 1 << 20;
