//! The weights of a decoder: packed matrices in the arena, and the vectors beside them.

use super::arena::Arena;
use super::format::{Format, TILE_ROWS};
use super::shape::ShapeError;
use std::ops::Range;

/// A packed weight matrix: consecutive tiles in the arena.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matrix {
    /// The format of its numbers.
    pub format: Format,
    /// Output channels.
    pub rows: usize,
    /// Input channels.
    pub columns: usize,
    /// The offset of the first tile in the arena, a multiple of 64.
    pub offset: usize,
}

/// The biases of a layer's projections. An empty one is not added.
#[derive(Clone, Debug, Default)]
pub struct Biases {
    /// The bias of the queries, in the order of their rows.
    pub query: Vec<f32>,
    /// The bias of the keys, in the order of their rows.
    pub key: Vec<f32>,
    /// The bias of the values.
    pub value: Vec<f32>,
    /// The bias of the output projection of attention.
    pub output: Vec<f32>,
    /// The bias of the gate projection.
    pub gate: Vec<f32>,
    /// The bias of the up projection.
    pub up: Vec<f32>,
    /// The bias of the down projection.
    pub down: Vec<f32>,
}

/// One layer's weights.
#[derive(Clone, Debug)]
pub struct Layer {
    /// The normalisation before attention.
    pub attention_norm: Vec<f32>,
    /// The query projection. The two numbers of a rotary pair are half a head apart.
    pub query: Matrix,
    /// The key projection, in the same order.
    pub key: Matrix,
    /// The value projection.
    pub value: Matrix,
    /// The output projection of attention.
    pub output: Matrix,
    /// The normalisation before the feed-forward network.
    pub gate_norm: Vec<f32>,
    /// The gate projection.
    pub gate: Matrix,
    /// The up projection.
    pub up: Matrix,
    /// The down projection.
    pub down: Matrix,
    /// The biases of these projections.
    pub biases: Biases,
    /// The normalisation of each head of queries before it is rotated; empty: none.
    pub query_norm: Vec<f32>,
    /// The normalisation of each head of keys before it is rotated; empty: none.
    pub key_norm: Vec<f32>,
    /// Whether queries and keys are rotated to their positions.
    pub rotates: bool,
}

impl Matrix {
    /// Returns the range of a tile in the arena.
    pub(super) fn tile(&self, index: usize) -> Range<usize> {
        let bytes = self.format.tile_bytes(self.columns).unwrap_or(0);
        let start = self.offset + index * bytes;
        start..start + bytes
    }

    /// Returns the number of tiles.
    pub fn tiles(&self) -> usize {
        self.rows.div_ceil(TILE_ROWS)
    }

    /// Returns the size of all tiles in bytes, or `None` if the format has no rows of this length.
    pub fn bytes(&self) -> Option<usize> {
        self.format.tile_bytes(self.columns)?.checked_mul(self.tiles())
    }

    pub(super) fn check(
        &self,
        what: &'static str,
        layer: usize,
        expected: (usize, usize),
        arena: &Arena,
    ) -> Result<(), ShapeError> {
        let found = (self.rows, self.columns);
        if found != expected {
            return Err(ShapeError::Size { what, layer, found, expected });
        }
        let end = self.bytes().and_then(|bytes| self.offset.checked_add(bytes));
        match end {
            Some(end) if end <= arena.bytes().len() && self.offset.is_multiple_of(64) => Ok(()),
            _ => Err(ShapeError::Outside { what, layer }),
        }
    }
}

/// Checks a vector that a layer may not have: then it is empty.
pub(super) fn check_optional(
    what: &'static str,
    layer: usize,
    vector: &[f32],
    len: usize,
) -> Result<(), ShapeError> {
    if vector.is_empty() { Ok(()) } else { check_vector(what, layer, vector, len) }
}

pub(super) fn check_vector(
    what: &'static str,
    layer: usize,
    vector: &[f32],
    len: usize,
) -> Result<(), ShapeError> {
    if vector.len() == len {
        Ok(())
    } else {
        Err(ShapeError::Size { what, layer, found: (1, vector.len()), expected: (1, len) })
    }
}
