//! Keys and values of the positions seen so far: room for a whole text from the beginning.
//!
//! Keys of 16 positions lie side by side, number by number, so that 16 products are one instruction; values lie in the
//! order of positions. Memory that no position has reached costs nothing yet.

use super::shape::Shape;
use super::shared::Shared;

/// What a text's tokens left behind, for one [`super::Llama`].
pub struct KvCache {
    /// `[layers][kv_heads][positions / 16][head_len][16]`
    pub(super) keys: Shared<f32>,
    /// `[layers][kv_heads][positions][value_lanes]`
    pub(super) values: Shared<[f32; 16]>,
    /// Positions that are there.
    pub(super) len: usize,
    pub(super) positions_max: usize,
    pub(super) layers: usize,
    head_len: usize,
    kv_heads: usize,
}

impl KvCache {
    /// Room for so many positions; `None` where the memory is not to be had.
    pub(super) fn new(shape: &Shape, layers: usize, positions: usize) -> Option<Self> {
        let positions_max = positions.checked_next_multiple_of(16)?;
        let heads = layers.checked_mul(shape.kv_heads)?.checked_mul(positions_max)?;
        let (keys, values) =
            (heads.checked_mul(shape.head_len)?, heads.checked_mul(shape.head_len.div_ceil(16))?);
        let bytes = keys.checked_mul(4)?.checked_add(values.checked_mul(64)?)?.checked_add(HEADROOM_BYTES)?;
        // Tried first, because memory of zeros, which costs nothing until it is used, cannot be asked for politely.
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

    /// How many positions there is room for.
    pub fn positions_max(&self) -> usize {
        self.positions_max
    }

    /// How many positions there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Tells whether there are no positions yet.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Forgets all positions after the first so many.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Tells whether it was made for such a model.
    pub(super) fn fits(&self, shape: &Shape, layers: usize) -> bool {
        (self.layers, self.head_len, self.kv_heads) == (layers, shape.head_len, shape.kv_heads)
    }

    /// Where a head's keys are.
    pub(super) fn keys_at(&self, layer: usize, head: usize) -> std::ops::Range<usize> {
        let len = self.positions_max * self.head_len;
        let start = (layer * self.kv_heads + head) * len;
        start..start + len
    }

    /// Where a head's values are.
    pub(super) fn values_at(&self, layer: usize, head: usize) -> std::ops::Range<usize> {
        let len = self.positions_max * self.head_len.div_ceil(16);
        let start = (layer * self.kv_heads + head) * len;
        start..start + len
    }
}

/// What is left of a process's memory for everything else.
const HEADROOM_BYTES: usize = 16 << 20;
