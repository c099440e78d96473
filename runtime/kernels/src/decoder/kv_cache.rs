//! The key-value cache of one text, allocated for the whole text at the start.
//!
//! Keys of 16 positions are interleaved, so that one instruction computes 16 products. Values lie in the order of
//! positions. Memory pages beyond the last position are not touched, and cost nothing yet.

use super::shape::Shape;
use super::shared::Shared;

/// The keys and values of a text's tokens, for one [`super::Decoder`].
pub struct KvCache {
    /// `[layers][kv_heads][positions / 16][head_len][16]`
    pub(super) keys: Shared<f32>,
    /// `[layers][kv_heads][positions][value_lanes]`
    pub(super) values: Shared<[f32; 16]>,
    /// The number of cached positions.
    pub(super) len: usize,
    pub(super) positions_max: usize,
    pub(super) layers: usize,
    head_len: usize,
    kv_heads: usize,
}

impl KvCache {
    /// Allocates a cache for this many positions. Returns `None` if there is not enough memory.
    pub(super) fn new(shape: &Shape, layers: usize, positions: usize) -> Option<Self> {
        let positions_max = positions.checked_next_multiple_of(16)?;
        let heads = layers.checked_mul(shape.kv_heads)?.checked_mul(positions_max)?;
        let (keys, values) =
            (heads.checked_mul(shape.head_len)?, heads.checked_mul(shape.head_len.div_ceil(16))?);
        let bytes = keys.checked_mul(4)?.checked_add(values.checked_mul(64)?)?.checked_add(HEADROOM_BYTES)?;
        // Tried first, because an allocation of zeroed memory, which costs nothing until it is used, aborts if it
        // fails.
        Vec::<u8>::new().try_reserve_exact(bytes).ok()?;
        Some(Self {
            keys: Shared::new(keys),
            values: Shared::new(values),
            len: 0,
            positions_max,
            layers,
            head_len: shape.head_len,
            kv_heads: shape.kv_heads,
        })
    }

    /// Returns the number of positions that fit.
    pub fn positions_max(&self) -> usize {
        self.positions_max
    }

    /// Returns the number of cached positions.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Tells whether no position is cached yet.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Drops all positions after the first `len`.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Tells whether the cache was made for a model of this shape.
    pub(super) fn fits(&self, shape: &Shape, layers: usize) -> bool {
        (self.layers, self.head_len, self.kv_heads) == (layers, shape.head_len, shape.kv_heads)
    }

    /// Returns the range of a head's keys.
    pub(super) fn keys_at(&self, layer: usize, head: usize) -> std::ops::Range<usize> {
        let len = self.positions_max * self.head_len;
        let start = (layer * self.kv_heads + head) * len;
        start..start + len
    }

    /// Returns the range of a head's values.
    pub(super) fn values_at(&self, layer: usize, head: usize) -> std::ops::Range<usize> {
        let len = self.positions_max * self.head_len.div_ceil(16);
        let start = (layer * self.kv_heads + head) * len;
        start..start + len
    }
}

/// Memory that must remain for everything else in the process.
const HEADROOM_BYTES: usize = 16 << 20;
