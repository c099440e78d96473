//! A decoder that is ready to run: its parts are checked against each other before anything is computed with them.

use super::arena::Arena;
use super::forward::{Pass, Workspace};
use super::kernel::Kernel;
use super::kv_cache::KvCache;
use super::shape::{PASS_TOKENS_MAX, Shape, ShapeError};
use super::weights::{Layer, Matrix, check_optional, check_vector};
use crate::thread_team::ThreadTeam;

/// A decoder that is ready to run.
pub struct Decoder {
    pub(super) kernel: Kernel,
    pub(super) shape: Shape,
    pub(super) layers: Vec<Layer>,
    pub(super) norm: Vec<f32>,
    pub(super) head: Matrix,
    pub(super) arena: Arena,
    team: ThreadTeam,
    workspace: Workspace,
}

impl Decoder {
    /// Makes a decoder of its parts.
    ///
    /// # Errors
    /// Returns [`ShapeError`] if the parts do not fit each other.
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
        let (hidden, intermediate) = (shape.hidden, shape.intermediate);
        let (query, kv) = (shape.query_len(), shape.kv_len());
        for (index, layer) in layers.iter().enumerate() {
            let vectors = [
                ("the norm of attention", &layer.attention_norm),
                ("the norm of the gate", &layer.gate_norm),
            ];
            for (what, vector) in vectors {
                check_vector(what, index, vector, hidden)?;
            }
            let biases = &layer.biases;
            let optional = [
                ("the bias of queries", &biases.query, query),
                ("the bias of keys", &biases.key, kv),
                ("the bias of values", &biases.value, kv),
                ("the bias of the output", &biases.output, hidden),
                ("the bias of the gate", &biases.gate, intermediate),
                ("the bias of the up matrix", &biases.up, intermediate),
                ("the bias of the down matrix", &biases.down, hidden),
                ("the norm of queries", &layer.query_norm, shape.head_len),
                ("the norm of keys", &layer.key_norm, shape.head_len),
            ];
            for (what, vector, len) in optional {
                check_optional(what, index, vector, len)?;
            }
            let matrices = [
                ("the query matrix", &layer.query, (query, hidden)),
                ("the key matrix", &layer.key, (kv, hidden)),
                ("the value matrix", &layer.value, (kv, hidden)),
                ("the output matrix", &layer.output, (hidden, query)),
                ("the gate matrix", &layer.gate, (intermediate, hidden)),
                ("the up matrix", &layer.up, (intermediate, hidden)),
                ("the down matrix", &layer.down, (hidden, intermediate)),
            ];
            for (what, matrix, expected) in matrices {
                matrix.check(what, index, expected, &arena)?;
            }
        }
        check_vector("the last norm", layers.len(), &norm, hidden)?;
        head.check("the last matrix", layers.len(), (shape.vocabulary, hidden), &arena)?;
        let team = ThreadTeam::new(threads);
        let workspace = Workspace::new(&shape, team.threads());
        Ok(Self { kernel, shape, layers, norm, head, arena, team, workspace })
    }

    /// Returns the dimensions.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Makes an empty cache for one text of up to `positions` positions. Returns `None` if there is not enough memory.
    pub fn cache(&self, positions: usize) -> Option<KvCache> {
        KvCache::new(&self.shape, self.layers.len(), positions.min(self.shape.context))
    }

    /// Computes the logits of the token after these: one number for each token of the vocabulary. `vectors` are the
    /// embeddings of 1 to [`PASS_TOKENS_MAX`] tokens, `hidden` numbers each. Their positions are added to the cache.
    ///
    /// # Panics
    /// Panics if the cache is of another model, if `vectors` is not a whole number of embeddings, or if they are too
    /// many for a pass, the context or the cache.
    pub fn forward(&mut self, cache: &mut KvCache, vectors: &[f32]) -> &[f32] {
        let count = vectors.len() / self.shape.hidden;
        assert!(vectors.len().is_multiple_of(self.shape.hidden), "{} numbers", vectors.len());
        assert!((1..=PASS_TOKENS_MAX).contains(&count), "{count} tokens in a pass");
        assert!(cache.fits(&self.shape, self.layers.len()), "a cache of another model");
        let positions_max = self.shape.context.min(cache.positions_max);
        assert!(count <= positions_max - cache.len, "{count} tokens after {}", cache.len);
        self.workspace.begin(vectors, cache.len, &self.shape);
        let (kernel, layers, norm) = (self.kernel, &self.layers, &self.norm);
        let pass = Pass {
            kernel,
            shape: &self.shape,
            layers,
            norm,
            head: &self.head,
            weights: self.arena.bytes(),
            workspace: &self.workspace,
            cache,
            count,
        };
        self.team.run(&|thread| pass.run(thread));
        cache.len += count;
        self.workspace.logits(self.shape.vocabulary)
    }
}
