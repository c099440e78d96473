//! The weights of a Llama: packed matrices in the arena, and the vectors beside them.

use super::arena::Arena;
use super::format::{Format, TILE_ROWS};
use super::shape::ShapeError;
use std::ops::Range;

/// A packed weight matrix: tiles one after the other in the arena.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matrix {
    /// How its numbers are written.
    pub format: Format,
    /// Numbers that a product gives.
    pub rows: usize,
    /// Numbers that a product takes.
    pub columns: usize,
    /// The offset of its first tile in the arena, a multiple of 64.
    pub offset: usize,
}

/// One layer's weights.
#[derive(Clone, Debug)]
pub struct Layer {
    /// Normalises what attention sees.
    pub attention_norm: Vec<f32>,
    /// To queries; pairs that turn together are half a head apart.
    pub query: Matrix,
    /// To keys, in the same order.
    pub key: Matrix,
    /// To values.
    pub value: Matrix,
    /// From the heads back.
    pub output: Matrix,
    /// Normalises what the gated layer sees.
    pub gate_norm: Vec<f32>,
    /// To the gate.
    pub gate: Matrix,
    /// To what is gated.
    pub up: Matrix,
    /// From the gated numbers back.
    pub down: Matrix,
}

impl Matrix {
    /// Returns a tile's place in the arena.
    pub(super) fn tile(&self, index: usize) -> Range<usize> {
        let bytes = self.format.tile_bytes(self.columns).unwrap_or(0);
        let start = self.offset + index * bytes;
        start..start + bytes
    }

    /// How many tiles it has.
    pub fn tiles(&self) -> usize {
        self.rows.div_ceil(TILE_ROWS)
    }

    /// The bytes of all its tiles; `None` where its format has no such rows.
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
