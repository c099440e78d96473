//! One pass of some tokens through all layers, on all threads of a team.
//!
//! In a phase, a thread writes only the data of its own shares and reads only data of earlier phases. It does both only
//! while it has a share, because the others may be phases ahead of a delayed thread. A pass of one token has fewer
//! phases: every thread repeats the cheap computations for itself.

use super::kernel::Kernel;
use super::kv_cache::KvCache;
use super::layer_ops::{Attention, rotate};
use super::shape::{PASS_TOKENS_MAX, Shape};
use super::shared::Shared;
use super::tile::{Block, Rows};
use super::weights::{Layer, Matrix};
use crate::thread_team::TeamThread;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

/// The buffers of a pass, shared by the threads of a team.
pub(super) struct Workspace {
    /// `[tokens][hidden]`: the residual stream.
    stream: Shared<f32>,
    /// `[tokens][query_len + 2 kv_len]`
    heads: Shared<f32>,
    /// `[tokens][query_len]`
    attention_output: Shared<f32>,
    /// `[tokens][intermediate_padded]`
    gated: Shared<f32>,
    /// The input of the next products, if all threads prepare it together.
    floats: Shared<f32>,
    blocks: Shared<Block>,
    logits: Shared<f32>,
    /// `[tokens][head_len / 2]`
    cosines: Vec<f32>,
    sines: Vec<f32>,
    threads: Vec<Mutex<ThreadBuffers>>,
}

/// The buffers of one thread.
struct ThreadBuffers {
    /// The input of the next products, if each thread prepares it for itself.
    floats: Vec<f32>,
    blocks: Vec<Block>,
    products: Vec<[f32; 16]>,
    ups: Vec<[f32; 16]>,
    scores: Vec<f32>,
    /// A head before its normalisation.
    head: Vec<f32>,
}

impl Workspace {
    pub(super) fn new(shape: &Shape, threads: usize) -> Self {
        let widest = shape.hidden.max(shape.query_len()).max(intermediate_padded(shape));
        let rows = PASS_TOKENS_MAX;
        let buffers = || ThreadBuffers {
            floats: vec![0.0; shape.hidden],
            blocks: vec![Block::default(); widest.div_ceil(32)],
            products: vec![[0.0; 16]; rows],
            ups: vec![[0.0; 16]; rows],
            scores: vec![0.0; Attention::workspace_len(shape.context)],
            head: vec![0.0; shape.head_len],
        };
        Self {
            stream: Shared::new(rows * shape.hidden),
            heads: Shared::new(rows * (shape.query_len() + 2 * shape.kv_len())),
            attention_output: Shared::new(rows * shape.query_len()),
            gated: Shared::new(rows * intermediate_padded(shape)),
            floats: Shared::new(rows * shape.hidden),
            blocks: Shared::new(rows * widest.div_ceil(32)),
            logits: Shared::new(shape.vocabulary),
            cosines: vec![0.0; rows * shape.head_len / 2],
            sines: vec![0.0; rows * shape.head_len / 2],
            threads: std::iter::repeat_with(|| Mutex::new(buffers())).take(threads).collect(),
        }
    }

    /// Loads the tokens of the next pass; the first one is at `position`.
    pub(super) fn begin(&mut self, vectors: &[f32], position: usize, shape: &Shape) {
        self.stream.all_mut()[..vectors.len()].copy_from_slice(vectors);
        let half = shape.head_len / 2;
        for row in 0..vectors.len() / shape.hidden {
            for (pair, frequency) in shape.frequencies.iter().enumerate() {
                let angle = (position + row) as f32 * frequency;
                (self.sines[row * half + pair], self.cosines[row * half + pair]) = angle.sin_cos();
            }
        }
    }

    /// Returns the logits of the last pass.
    pub(super) fn logits(&mut self, vocabulary: usize) -> &[f32] {
        &self.logits.all_mut()[..vocabulary]
    }
}

/// One pass.
pub(super) struct Pass<'a> {
    pub(super) kernel: Kernel,
    pub(super) shape: &'a Shape,
    pub(super) layers: &'a [Layer],
    pub(super) norm: &'a [f32],
    pub(super) head: &'a Matrix,
    pub(super) weights: &'a [u8],
    pub(super) workspace: &'a Workspace,
    pub(super) cache: &'a KvCache,
    /// Tokens.
    pub(super) count: usize,
}

/// The input of products, before it is prepared.
enum Input<'a> {
    /// Rows of this length, as they are.
    Plain(&'a Shared<f32>, usize),
    /// Rows of the residual stream from this one on, normalised with these weights.
    Normal(usize, &'a [f32]),
}

/// The products of one phase.
struct Products<'a> {
    input: Input<'a>,
    /// Rows of the input.
    count: usize,
    /// The matrices that the input is prepared for.
    matrices: &'a [&'a Matrix],
    tiles: usize,
}

/// A thread's buffers for the products of a tile.
struct TileBuffers<'a> {
    products: &'a mut [[f32; 16]],
    ups: &'a mut [[f32; 16]],
}

/// The destination of products.
#[derive(Clone, Copy)]
struct Target<'a> {
    numbers: &'a Shared<f32>,
    /// The distance between rows.
    stride: usize,
    /// The offset in a row.
    offset: usize,
    /// Whether to add to the present values.
    add: bool,
    /// The factor of the sum of product and bias.
    scale: f32,
    /// One number for each row of the matrix, or none.
    bias: &'a [f32],
}

impl Pass<'_> {
    /// Runs one thread's part of the pass.
    pub(super) fn run(&self, thread: &TeamThread<'_>) {
        // No two threads have the same index, so this never waits.
        let mut buffers = self.workspace.threads[thread.index].lock().unwrap_or_else(PoisonError::into_inner);
        let buffers = &mut *buffers;
        for (index, layer) in self.layers.iter().enumerate() {
            self.project(thread, buffers, layer);
            self.attend(thread, buffers, index);
            self.project_attention(thread, buffers, layer);
            self.feed_forward(thread, buffers, layer);
        }
        self.compute_logits(thread, buffers);
    }

    /// Queries, keys and values.
    fn project(&self, thread: &TeamThread<'_>, buffers: &mut ThreadBuffers, layer: &Layer) {
        let matrices = [&layer.query, &layer.key, &layer.value];
        let biases = [&layer.biases.query, &layer.biases.key, &layer.biases.value];
        let input = Input::Normal(0, &layer.attention_norm);
        let stride = self.heads_stride();
        let [first, second] = [layer.query.tiles(), layer.query.tiles() + layer.key.tiles()];
        let tiles = second + layer.value.tiles();
        let products = Products { input, count: self.count, matrices: &matrices, tiles };
        self.multiply_all(thread, buffers, &products, |tile, rows, tile_buffers| {
            let (part, tile, offset) = if tile < first {
                (0, tile, 0)
            } else if tile < second {
                (1, tile - first, self.shape.query_len())
            } else {
                (2, tile - second, self.shape.query_len() + self.shape.kv_len())
            };
            let (numbers, bias) = (&self.workspace.heads, biases[part]);
            let target = Target { numbers, stride, offset, add: false, scale: 1.0, bias };
            self.multiply(matrices[part], tile, rows, tile_buffers.products, target);
        });
    }

    /// Rotation, the cache, and attention itself.
    fn attend(&self, thread: &TeamThread<'_>, buffers: &mut ThreadBuffers, layer: usize) {
        let heads = self.shape.kv_heads;
        if self.count == 1 {
            return thread.share(heads, 1, |share| {
                for head in share {
                    self.store_keys_and_values(buffers, layer, head, 0..1);
                    self.attend_row(buffers, layer, head, 0);
                }
            });
        }
        thread.share(heads, 1, |share| {
            for head in share {
                self.store_keys_and_values(buffers, layer, head, 0..self.count);
            }
        });
        // Later rows see more: they come first, so that the last shares are small ones.
        thread.share(heads * self.count, 4, |share| {
            for item in share {
                self.attend_row(buffers, layer, item % heads, self.count - 1 - item / heads);
            }
        });
    }

    /// Turns a head's queries and keys to their positions, and puts keys and values into the cache.
    fn store_keys_and_values(
        &self,
        buffers: &mut ThreadBuffers,
        layer: usize,
        head: usize,
        rows: Range<usize>,
    ) {
        let (shape, cache, weights) = (self.shape, self.cache, &self.layers[layer]);
        let (len, half) = (shape.head_len, shape.head_len / 2);
        let lanes = len.div_ceil(16);
        let group = shape.heads / shape.kv_heads;
        // SAFETY: a head's keys and values, and its part of each row, belong to the thread that took its share.
        let (keys, values) = unsafe {
            let keys = cache.keys.part_mut(cache.keys_at(layer, head));
            (keys, cache.values.part_mut(cache.values_at(layer, head)))
        };
        for row in rows {
            let start = row * self.heads_stride();
            let [cosines, sines] =
                [&self.workspace.cosines, &self.workspace.sines].map(|all| &all[row * half..][..half]);
            let queries = start + head * group * len;
            let key = start + shape.query_len() + head * len;
            let value = key + shape.kv_len();
            // SAFETY: as above; the three parts do not touch.
            let (queries, key, value) = unsafe {
                let heads = &self.workspace.heads;
                let queries = heads.part_mut(queries..queries + group * len);
                (queries, heads.part_mut(key..key + len), heads.part(value..value + len))
            };
            for query in queries.chunks_exact_mut(len) {
                self.place_head(query, &weights.query_norm, weights.rotates, (cosines, sines), buffers);
            }
            self.place_head(key, &weights.key_norm, weights.rotates, (cosines, sines), buffers);
            let position = cache.len + row;
            let block = &mut keys[position / 16 * 16 * len..][..16 * len];
            for (sixteen, number) in block.as_chunks_mut::<16>().0.iter_mut().zip(&*key) {
                sixteen[position % 16] = *number;
            }
            for (lane, numbers) in values[position * lanes..][..lanes].iter_mut().zip(value.chunks(16)) {
                lane[..numbers.len()].copy_from_slice(numbers);
            }
        }
    }

    /// Normalises a head, if there are weights for that, and turns it to its position.
    fn place_head(
        &self,
        head: &mut [f32],
        norm: &[f32],
        rotates: bool,
        (cosines, sines): (&[f32], &[f32]),
        buffers: &mut ThreadBuffers,
    ) {
        if !norm.is_empty() {
            buffers.head.copy_from_slice(head);
            (self.kernel.normalise)(&buffers.head, norm, self.shape.epsilon, head);
        }
        if rotates {
            rotate(head, cosines, sines);
        }
    }

    /// Computes the attention of one token's queries that share one key head.
    fn attend_row(&self, buffers: &mut ThreadBuffers, layer: usize, head: usize, row: usize) {
        let (shape, cache) = (self.shape, self.cache);
        let len = shape.heads / shape.kv_heads * shape.head_len;
        let queries = row * self.heads_stride() + head * len;
        let out = row * shape.query_len() + head * len;
        // SAFETY: queries, keys and values were written in phases before, or by this very thread; the part of the
        // output belongs to the thread that took its share.
        let (queries, keys, values, out) = unsafe {
            (
                self.workspace.heads.part(queries..queries + len),
                cache.keys.part(cache.keys_at(layer, head)),
                cache.values.part(cache.values_at(layer, head)),
                self.workspace.attention_output.part_mut(out..out + len),
            )
        };
        let positions = cache.len + row + 1;
        let (head_len, scale) = (shape.head_len, shape.attention_scale);
        let attention = Attention { queries, keys, values, head_len, scale, positions };
        (self.kernel.attend)(&attention, &mut buffers.scores, out);
    }

    /// Projects the output of attention and adds it to the residual stream.
    fn project_attention(&self, thread: &TeamThread<'_>, buffers: &mut ThreadBuffers, layer: &Layer) {
        let input = Input::Plain(&self.workspace.attention_output, self.shape.query_len());
        self.add_to_stream(thread, buffers, &layer.output, &layer.biases.output, input);
    }

    /// Computes the gated feed-forward network.
    fn feed_forward(&self, thread: &TeamThread<'_>, buffers: &mut ThreadBuffers, layer: &Layer) {
        let input = Input::Normal(0, &layer.gate_norm);
        let stride = intermediate_padded(self.shape);
        let matrices = [&layer.gate, &layer.up];
        let products = Products { input, count: self.count, matrices: &matrices, tiles: layer.gate.tiles() };
        self.multiply_all(thread, buffers, &products, |tile, rows, tile_buffers| {
            let (gates, ups) =
                (&mut tile_buffers.products[..self.count], &mut tile_buffers.ups[..self.count]);
            let branches =
                [(&layer.gate, &layer.biases.gate, &mut *gates), (&layer.up, &layer.biases.up, &mut *ups)];
            for (matrix, bias, out) in branches {
                (self.kernel.product)(matrix.format, &self.weights[matrix.tile(tile)], rows, out);
                let bias = bias.get(tile * 16..).unwrap_or_default();
                for numbers in out.iter_mut().filter(|_| !bias.is_empty()) {
                    numbers.iter_mut().zip(bias).for_each(|(number, bias)| *number += bias);
                }
            }
            (self.kernel.gate)(gates, ups);
            for (row, gate) in gates.iter().enumerate() {
                let start = row * stride + tile * 16;
                // SAFETY: these 16 numbers belong to the thread that took the tile's share.
                unsafe { self.workspace.gated.part_mut(start..start + 16) }.copy_from_slice(gate);
            }
        });
        let input = Input::Plain(&self.workspace.gated, stride);
        self.add_to_stream(thread, buffers, &layer.down, &layer.biases.down, input);
    }

    /// Computes the logits of the next token.
    fn compute_logits(&self, thread: &TeamThread<'_>, buffers: &mut ThreadBuffers) {
        let input = Input::Normal(self.count - 1, self.norm);
        let (numbers, scale) = (&self.workspace.logits, self.shape.logit_scale);
        let target = Target { numbers, stride: 0, offset: 0, add: false, scale, bias: &[] };
        let products = Products { input, count: 1, matrices: &[self.head], tiles: self.head.tiles() };
        self.multiply_all(thread, buffers, &products, |tile, rows, tile_buffers| {
            self.multiply(self.head, tile, rows, &mut tile_buffers.products[..1], target);
        });
    }

    /// Adds a product to the residual stream.
    fn add_to_stream(
        &self,
        thread: &TeamThread<'_>,
        buffers: &mut ThreadBuffers,
        matrix: &Matrix,
        bias: &[f32],
        input: Input<'_>,
    ) {
        let products = Products { input, count: self.count, matrices: &[matrix], tiles: matrix.tiles() };
        let (numbers, stride, scale) = (&self.workspace.stream, self.shape.hidden, self.shape.residual_scale);
        let target = Target { numbers, stride, offset: 0, add: true, scale, bias };
        self.multiply_all(thread, buffers, &products, |tile, rows, tile_buffers| {
            self.multiply(matrix, tile, rows, tile_buffers.products, target);
        });
    }

    /// Prepares the input in the formats that the matrices need, and calls `each` for all tiles.
    fn multiply_all(
        &self,
        thread: &TeamThread<'_>,
        buffers: &mut ThreadBuffers,
        products: &Products<'_>,
        each: impl Fn(usize, Rows<'_>, TileBuffers<'_>),
    ) {
        let Products { input, count, matrices, tiles } = products;
        let (count, tiles) = (*count, *tiles);
        let columns = matrices[0].columns;
        let width = columns / 32;
        let quantised = matrices.iter().any(|matrix| matrix.format.is_quantised());
        let mut ready = count > 1;
        if ready {
            thread.share(count, SHARE_ROWS, |share| {
                for row in share {
                    let floats = row * self.shape.hidden..(row + 1) * self.shape.hidden;
                    // SAFETY: a row's parts belong to the thread that took its share.
                    let (floats, blocks) = unsafe {
                        let blocks = self.workspace.blocks.part_mut(row * width..(row + 1) * width);
                        (self.workspace.floats.part_mut(floats), blocks)
                    };
                    self.prepare(input, row, columns, quantised, floats, blocks);
                }
            });
        }
        thread.share(tiles, SHARE_TILES, |share| {
            let ThreadBuffers { floats, blocks, products, ups, .. } = &mut *buffers;
            // Only with a share: otherwise the others may have changed the input since the phase began.
            if !ready {
                self.prepare(input, 0, columns, quantised, floats, &mut blocks[..width]);
                ready = true;
            }
            let rows = self.rows(floats, blocks, input, count, columns);
            for tile in share {
                each(tile, rows, TileBuffers { products, ups });
            }
        });
    }

    /// Prepares a row for matrices with this many columns.
    fn prepare(
        &self,
        input: &Input<'_>,
        row: usize,
        columns: usize,
        quantised: bool,
        floats: &mut [f32],
        blocks: &mut [Block],
    ) {
        let numbers = match input {
            // SAFETY: written in earlier phases, and by no thread in this one.
            Input::Plain(numbers, stride) => unsafe { numbers.part(row * stride..row * stride + columns) },
            Input::Normal(first, weight) => {
                let start = (first + row) * columns;
                // SAFETY: as above.
                let stream = unsafe { self.workspace.stream.part(start..start + columns) };
                (self.kernel.normalise)(stream, weight, self.shape.epsilon, floats);
                &*floats
            }
        };
        if quantised {
            (self.kernel.quantise)(numbers, blocks);
        }
    }

    /// Returns the rows that [`Self::prepare`] prepared.
    fn rows<'b>(
        &'b self,
        floats: &'b [f32],
        blocks: &'b [Block],
        input: &Input<'b>,
        count: usize,
        columns: usize,
    ) -> Rows<'b> {
        let width = columns / 32;
        // SAFETY: written in earlier phases, and by no thread in this one.
        unsafe {
            let (floats, stride) = match input {
                Input::Plain(numbers, stride) => (numbers.part(0..count * stride), *stride),
                Input::Normal(..) if count == 1 => (floats, columns),
                Input::Normal(..) => (self.workspace.floats.part(0..count * columns), columns),
            };
            let blocks = if count == 1 { blocks } else { self.workspace.blocks.part(0..count * width) };
            Rows { floats, stride, blocks, columns }
        }
    }

    /// Computes the products of a tile and stores them in the target. The thread must have the tile's share.
    fn multiply(
        &self,
        matrix: &Matrix,
        tile: usize,
        rows: Rows<'_>,
        products: &mut [[f32; 16]],
        target: Target<'_>,
    ) {
        let products = if target.stride == 0 { &mut products[..1] } else { &mut products[..self.count] };
        (self.kernel.product)(matrix.format, &self.weights[matrix.tile(tile)], rows, products);
        let count = (matrix.rows - tile * 16).min(16);
        for (row, product) in products.iter().enumerate() {
            let start = row * target.stride + target.offset + tile * 16;
            // SAFETY: these numbers belong to the thread that took the tile's share, and no other thread reads them in
            // this phase.
            let numbers = unsafe { target.numbers.part_mut(start..start + count) };
            let bias = target.bias.get(tile * 16..).unwrap_or_default();
            for (at, (number, product)) in numbers.iter_mut().zip(product).enumerate() {
                let product = (product + bias.get(at).copied().unwrap_or(0.0)) * target.scale;
                *number = if target.add { *number + product } else { product };
            }
        }
    }

    fn heads_stride(&self) -> usize {
        self.shape.query_len() + 2 * self.shape.kv_len()
    }
}

/// Returns the width of the feed-forward network, padded to whole lanes.
fn intermediate_padded(shape: &Shape) -> usize {
    shape.intermediate.next_multiple_of(16)
}

/// Rows in a share of preparing the input.
const SHARE_ROWS: usize = 4;
/// Tiles in a share: large enough for sequential reads, small enough that the last one is not waited for long.
const SHARE_TILES: usize = 4;
