//! A Llama's shape and weights, checked against each other before anything is computed with them.

use super::arena::Arena;
use super::format::{Format, TILE_ROWS};
use super::forward::{Pass, Scratch};
use super::kernel::Kernel;
use super::kv_cache::Cache;
use crate::thread_team::Team;
use std::ops::Range;

/// What numbers a Llama is made of.
#[derive(Clone, Debug, PartialEq)]
pub struct Shape {
    /// The length of a token's vector.
    pub hidden: usize,
    /// Heads of queries; a multiple of `kv_heads`.
    pub heads: usize,
    /// Heads of keys and values.
    pub kv_heads: usize,
    /// The length of a head; even.
    pub head_len: usize,
    /// The width of the gated layer.
    pub inner: usize,
    /// Tokens that there are.
    pub vocabulary: usize,
    /// Added to a mean square before its root is taken.
    pub epsilon: f32,
    /// How far a pair of a head turns from one position to the next, for half a head.
    pub frequencies: Vec<f32>,
    /// Positions that a text may have.
    pub context: usize,
}

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

/// Why weights are no Llama.
#[derive(Debug, thiserror::Error)]
pub enum ShapeError {
    /// A number that makes no sense.
    #[error("{what} is {found}, which no Llama has")]
    Number {
        /// Which one.
        what: &'static str,
        /// What it is.
        found: usize,
    },
    /// Something has another size than the rest asks for.
    #[error("{what} of layer {layer} has {found:?} numbers, {expected:?} belong there")]
    Size {
        /// What.
        what: &'static str,
        /// In which layer; the number of layers for what comes after them.
        layer: usize,
        /// Rows and columns that are there.
        found: (usize, usize),
        /// Rows and columns that should be.
        expected: (usize, usize),
    },
    /// A matrix reaches beyond the arena, or does not begin where a tile can.
    #[error("{what} of layer {layer} does not lie in the weights")]
    Outside {
        /// What.
        what: &'static str,
        /// In which layer; the number of layers for what comes after them.
        layer: usize,
    },
}

/// A Llama that is ready to run.
pub struct Llama {
    pub(super) kernel: Kernel,
    pub(super) shape: Shape,
    pub(super) layers: Vec<Layer>,
    pub(super) norm: Vec<f32>,
    pub(super) head: Matrix,
    pub(super) arena: Arena,
    team: Team,
    scratch: Scratch,
}

impl Llama {
    /// Puts the parts together.
    ///
    /// # Errors
    /// [`ShapeError`] where they do not belong together.
    pub fn new(
        shape: Shape,
        layers: Vec<Layer>,
        norm: Vec<f32>,
        head: Matrix,
        arena: Arena,
        kernel: Kernel,
        threads: usize,
    ) -> Result<Self, ShapeError> {
        shape.check()?;
        let (hidden, inner) = (shape.hidden, shape.inner);
        let (query, kv) = (shape.query_len(), shape.kv_len());
        for (index, layer) in layers.iter().enumerate() {
            let vectors = [
                ("the norm of attention", &layer.attention_norm),
                ("the norm of the gate", &layer.gate_norm),
            ];
            for (what, vector) in vectors {
                check_vector(what, index, vector, hidden)?;
            }
            let matrices = [
                ("the query matrix", &layer.query, (query, hidden)),
                ("the key matrix", &layer.key, (kv, hidden)),
                ("the value matrix", &layer.value, (kv, hidden)),
                ("the output matrix", &layer.output, (hidden, query)),
                ("the gate matrix", &layer.gate, (inner, hidden)),
                ("the up matrix", &layer.up, (inner, hidden)),
                ("the down matrix", &layer.down, (hidden, inner)),
            ];
            for (what, matrix, expected) in matrices {
                matrix.check(what, index, expected, &arena)?;
            }
        }
        check_vector("the last norm", layers.len(), &norm, hidden)?;
        head.check("the last matrix", layers.len(), (shape.vocabulary, hidden), &arena)?;
        let team = Team::new(threads);
        let scratch = Scratch::new(&shape, team.members());
        Ok(Self { kernel, shape, layers, norm, head, arena, team, scratch })
    }

    /// Its shape.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// An empty cache for one text of at most so many positions; `None` where there is no memory for it.
    pub fn cache(&self, positions: usize) -> Option<Cache> {
        Cache::new(&self.shape, self.layers.len(), positions.min(self.shape.context))
    }

    /// Computes what follows: takes the vectors of the next tokens, `hidden` numbers each and at most
    /// [`PASS_TOKENS_MAX`] of them, adds their positions to the cache, and returns a number for each token of the
    /// vocabulary that could come after the last of them.
    ///
    /// # Panics
    /// Where that is no such cache, no whole number of vectors, none, or more than fit into a pass, the context or the
    /// cache.
    pub fn forward(&mut self, cache: &mut Cache, vectors: &[f32]) -> &[f32] {
        let count = vectors.len() / self.shape.hidden;
        assert!(vectors.len().is_multiple_of(self.shape.hidden), "{} numbers", vectors.len());
        assert!((1..=PASS_TOKENS_MAX).contains(&count), "{count} tokens in a pass");
        assert!(cache.fits(&self.shape, self.layers.len()), "a cache of another model");
        let positions_max = self.shape.context.min(cache.positions_max);
        assert!(count <= positions_max - cache.len, "{count} tokens after {}", cache.len);
        self.scratch.begin(vectors, cache.len, &self.shape);
        let (kernel, layers, norm) = (self.kernel, &self.layers, &self.norm);
        let pass = Pass {
            kernel,
            shape: &self.shape,
            layers,
            norm,
            head: &self.head,
            weights: self.arena.bytes(),
            scratch: &self.scratch,
            cache,
            count,
        };
        self.team.run(&|member| pass.run(member));
        cache.len += count;
        self.scratch.logits(self.shape.vocabulary)
    }
}

impl Shape {
    /// The length of all queries of a position.
    pub const fn query_len(&self) -> usize {
        self.heads * self.head_len
    }

    /// The length of all keys, or all values, of a position.
    pub const fn kv_len(&self) -> usize {
        self.kv_heads * self.head_len
    }

    fn check(&self) -> Result<(), ShapeError> {
        let numbers = [
            ("the length of a vector", self.hidden, self.hidden),
            ("the number of heads", self.heads, self.heads / self.kv_heads.max(1) * self.kv_heads),
            ("the number of heads of keys", self.kv_heads, self.kv_heads),
            ("the length of a head", self.head_len, self.head_len / 2 * 2),
            ("the number of frequencies", self.frequencies.len(), self.head_len / 2),
            ("the width of the gated layer", self.inner, self.inner),
            ("the size of the vocabulary", self.vocabulary, self.vocabulary),
            ("the length of the context", self.context, self.context),
        ];
        for (what, found, wanted) in numbers {
            if found == 0 || found != wanted || found > NUMBER_MAX {
                return Err(ShapeError::Number { what, found });
            }
        }
        Ok(())
    }
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

    fn check(
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

fn check_vector(what: &'static str, layer: usize, vector: &[f32], len: usize) -> Result<(), ShapeError> {
    if vector.len() == len {
        Ok(())
    } else {
        Err(ShapeError::Size { what, layer, found: (1, vector.len()), expected: (1, len) })
    }
}

/// Tokens of one pass: enough to read each weight for many of them, few enough to stop soon.
pub const PASS_TOKENS_MAX: usize = 128;
/// No number of a shape is larger.
const NUMBER_MAX: usize = 1 << 24;
