//! Keys and values of the positions seen so far: room for a whole context from the beginning.
//!
//! Keys of 16 positions lie side by side, number by number, so that 16 products are one instruction; values lie in the
//! order of positions. Memory that no position has reached costs nothing yet.

use super::model::Shape;
use super::shared::Shared;

/// What a text's tokens left behind, for one [`super::Llama`].
pub struct Cache {
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

impl Cache {
    pub(super) fn new(shape: &Shape, layers: usize) -> Self {
        let positions_max = shape.context.next_multiple_of(16);
        let heads = layers * shape.kv_heads * positions_max;
        Self {
            keys: Shared::new(heads * shape.head_len),
            values: Shared::new(heads * shape.head_len.div_ceil(16)),
            len: 0,
            positions_max,
            layers,
            head_len: shape.head_len,
            kv_heads: shape.kv_heads,
        }
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
            && self.positions_max == shape.context.next_multiple_of(16)
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
