//! A whole decoder matches textbook formulas for any division of its tokens into passes and any number of threads.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

use kernels::decoder::{
    Arena, Biases, Decoder, Format, Kernel, Layer, Matrix, PASS_TOKENS_MAX, Shape, ShapeError, TILE_ROWS,
    encode_q8_0, kernel_names,
};

/// Returns a small shape whose dimensions are no multiples of tiles or lanes.
fn shape() -> Shape {
    let frequencies = vec![1.0, 0.3, 0.1, 0.03, 0.01];
    Shape {
        hidden: 64,
        heads: 6,
        kv_heads: 2,
        head_len: 10,
        intermediate: 72,
        vocabulary: 35,
        epsilon: 1e-5,
        frequencies,
        context: 150,
        attention_scale: 0.4,
        residual_scale: 0.7,
        logit_scale: 0.5,
    }
}

const LAYERS: usize = 2;

/// A matrix of f32 numbers.
struct Plain {
    rows: usize,
    columns: usize,
    numbers: Vec<f32>,
}

struct Random(u64);

impl Random {
    fn float(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / 8_388_608.0 - 1.0
    }

    fn matrix(&mut self, rows: usize, columns: usize) -> Plain {
        let scale = 1.7 / (columns as f32).sqrt();
        Plain { rows, columns, numbers: (0..rows * columns).map(|_| self.float() * scale).collect() }
    }

    fn bias(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| 0.2 * self.float()).collect()
    }

    fn norm(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| 1.0 + 0.1 * self.float()).collect()
    }
}

/// Seven matrices, two norms, and what not all layers have.
type PlainLayer = ([Plain; 7], [Vec<f32>; 2], Extras);

/// What not all layers have.
#[derive(Clone)]
struct Extras {
    biases: Biases,
    query_norm: Vec<f32>,
    key_norm: Vec<f32>,
    rotates: bool,
}

impl Random {
    /// The first layer has everything, the second one nothing of it.
    fn extras(&mut self, shape: &Shape, layer: usize) -> Extras {
        if layer > 0 {
            let (query_norm, key_norm) = (Vec::new(), Vec::new());
            return Extras { biases: Biases::default(), query_norm, key_norm, rotates: false };
        }
        Extras {
            biases: Biases {
                query: self.bias(shape.query_len()),
                key: self.bias(shape.kv_len()),
                value: self.bias(shape.kv_len()),
                output: self.bias(shape.hidden),
                gate: self.bias(shape.intermediate),
                up: self.bias(shape.intermediate),
                down: self.bias(shape.hidden),
            },
            query_norm: self.norm(shape.head_len),
            key_norm: self.norm(shape.head_len),
            rotates: true,
        }
    }
}

/// The layers, then the last norm and matrix.
struct Weights {
    layers: Vec<PlainLayer>,
    norm: Vec<f32>,
    head: Plain,
}

fn weights(shape: &Shape) -> Weights {
    let mut random = Random(7);
    let (hidden, query, kv, intermediate) =
        (shape.hidden, shape.query_len(), shape.kv_len(), shape.intermediate);
    let sizes = [
        (query, hidden),
        (kv, hidden),
        (kv, hidden),
        (hidden, query),
        (intermediate, hidden),
        (intermediate, hidden),
        (hidden, intermediate),
    ];
    let layers = (0..LAYERS)
        .map(|layer| {
            (
                sizes.map(|(rows, columns)| random.matrix(rows, columns)),
                [random.norm(hidden), random.norm(hidden)],
                random.extras(shape, layer),
            )
        })
        .collect();
    Weights { layers, norm: random.norm(hidden), head: random.matrix(shape.vocabulary, hidden) }
}

/// Packs a matrix: as Q8_0 if `quantised` is set and the columns are whole blocks, else as f32.
fn pack(plain: &Plain, quantised: bool, bytes: &mut Vec<u8>) -> Matrix {
    let format = if quantised && plain.columns.is_multiple_of(32) { Format::Q8_0 } else { Format::F32 };
    let rows: Vec<Vec<u8>> = plain
        .numbers
        .chunks_exact(plain.columns)
        .map(|row| {
            if format == Format::F32 {
                return row.iter().flat_map(|number| number.to_le_bytes()).collect();
            }
            let mut bytes = vec![0; format.row_bytes(plain.columns).unwrap()];
            encode_q8_0(row, &mut bytes);
            bytes
        })
        .collect();
    let offset = bytes.len();
    for rows in rows.chunks(TILE_ROWS) {
        let slices: Vec<&[u8]> = rows.iter().map(Vec::as_slice).collect();
        let mut tile = vec![0; format.tile_bytes(plain.columns).unwrap()];
        format.pack(&slices, plain.columns, &mut tile);
        bytes.extend(tile);
    }
    Matrix { format, rows: plain.rows, columns: plain.columns, offset }
}

/// Packs the matrices of a layer one after the other.
fn pack_layer(
    ([query, key, value, output, gate, up, down], [attention_norm, gate_norm], extras): &PlainLayer,
    quantised: bool,
    bytes: &mut Vec<u8>,
) -> Layer {
    let mut packed = |plain| pack(plain, quantised, bytes);
    let Extras { biases, query_norm, key_norm, rotates } = extras.clone();
    Layer {
        attention_norm: attention_norm.clone(),
        query: packed(query),
        key: packed(key),
        value: packed(value),
        output: packed(output),
        gate_norm: gate_norm.clone(),
        gate: packed(gate),
        up: packed(up),
        down: packed(down),
        biases,
        query_norm,
        key_norm,
        rotates,
    }
}

fn model(kernel: Kernel, threads: usize, quantised: bool) -> Decoder {
    let shape = shape();
    let weights = weights(&shape);
    let mut bytes = Vec::new();
    let layers = weights.layers.iter().map(|layer| pack_layer(layer, quantised, &mut bytes)).collect();
    let head = pack(&weights.head, quantised, &mut bytes);
    let mut arena = Arena::anonymous(bytes.len()).unwrap();
    arena.bytes_mut().unwrap()[..bytes.len()].copy_from_slice(&bytes);
    Decoder::new(shape, layers, weights.norm.clone(), head, arena, kernel, threads).unwrap()
}

fn times(matrix: &Plain, x: &[f64]) -> Vec<f64> {
    let row = |row: &[f32]| row.iter().zip(x).map(|(&w, x)| f64::from(w) * x).sum();
    matrix.numbers.chunks_exact(matrix.columns).map(row).collect()
}

fn add(mut x: Vec<f64>, bias: &[f32]) -> Vec<f64> {
    x.iter_mut().zip(bias).for_each(|(x, &bias)| *x += f64::from(bias));
    x
}

fn normal(x: &[f64], weight: &[f32]) -> Vec<f64> {
    let factor = (x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64 + 1e-5).sqrt().recip();
    x.iter().zip(weight).map(|(x, &weight)| x * factor * f64::from(weight)).collect()
}

/// Computes the textbook formulas in f64, token by token, without any optimisation.
fn reference(vectors: &[f32]) -> Vec<f64> {
    let shape = shape();
    let weights = weights(&shape);
    let (len, half, group) = (shape.head_len, shape.head_len / 2, shape.heads / shape.kv_heads);
    let mut caches = vec![(Vec::new(), Vec::new()); LAYERS];
    let mut last = Vec::new();
    for (position, vector) in vectors.chunks_exact(shape.hidden).enumerate() {
        let mut x: Vec<f64> = vector.iter().map(|&number| f64::from(number)).collect();
        let rotate = |heads: &mut [f64]| {
            for head in heads.chunks_exact_mut(len) {
                for pair in 0..half {
                    let (sine, cosine) = (position as f64 * f64::from(shape.frequencies[pair])).sin_cos();
                    let (a, b) = (head[pair], head[pair + half]);
                    (head[pair], head[pair + half]) = (a * cosine - b * sine, b * cosine + a * sine);
                }
            }
        };
        for (([query, key, value, output, gate, up, down], norms, extras), (keys, values)) in
            weights.layers.iter().zip(&mut caches)
        {
            let biases = &extras.biases;
            let seen = normal(&x, &norms[0]);
            let mut query = add(times(query, &seen), &biases.query);
            let mut key = add(times(key, &seen), &biases.key);
            for (heads, norm) in [(&mut query, &extras.query_norm), (&mut key, &extras.key_norm)] {
                for head in heads.chunks_exact_mut(len).filter(|_| !norm.is_empty()) {
                    head.copy_from_slice(&normal(head, norm));
                }
                if extras.rotates {
                    rotate(heads);
                }
            }
            keys.push(key);
            values.push(add(times(value, &seen), &biases.value));
            let mut attended = vec![0.0; shape.query_len()];
            for head in 0..shape.heads {
                let of = |all: &[f64], head: usize| all[head * len..][..len].to_vec();
                let own = of(&query, head);
                let scores: Vec<f64> = keys
                    .iter()
                    .map(|key| {
                        let dot: f64 = of(key, head / group).iter().zip(&own).map(|(a, b)| a * b).sum();
                        (dot * f64::from(shape.attention_scale)).exp()
                    })
                    .collect();
                let total: f64 = scores.iter().sum();
                for (score, value) in scores.iter().zip(&*values) {
                    for (out, value) in attended[head * len..].iter_mut().zip(of(value, head / group)) {
                        *out += score / total * value;
                    }
                }
            }
            let residual = f64::from(shape.residual_scale);
            let more = add(times(output, &attended), &biases.output);
            x.iter_mut().zip(more).for_each(|(x, more)| *x += residual * more);
            let seen = normal(&x, &norms[1]);
            let gated: Vec<f64> = add(times(gate, &seen), &biases.gate)
                .iter()
                .zip(add(times(up, &seen), &biases.up))
                .map(|(gate, up)| gate / (1.0 + (-gate).exp()) * up)
                .collect();
            let more = add(times(down, &gated), &biases.down);
            x.iter_mut().zip(more).for_each(|(x, more)| *x += residual * more);
        }
        last = times(&weights.head, &normal(&x, &weights.norm));
        last.iter_mut().for_each(|logit| *logit *= f64::from(shape.logit_scale));
    }
    last
}

fn vectors(count: usize) -> Vec<f32> {
    let mut random = Random(99);
    (0..count * shape().hidden).map(|_| random.float()).collect()
}

/// Runs tokens in passes of these sizes.
fn run(model: &mut Decoder, vectors: &[f32], passes: &[usize]) -> Vec<f32> {
    let mut cache = model.cache(vectors.len() / 64).unwrap();
    let (mut rest, mut logits) = (vectors, Vec::new());
    for &count in passes {
        let (pass, later) = rest.split_at(count * 64);
        logits = model.forward(&mut cache, pass).to_vec();
        rest = later;
    }
    assert!(rest.is_empty());
    assert_eq!(cache.len(), vectors.len() / 64);
    logits
}

#[track_caller]
fn assert_near(found: &[f32], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len());
    for (&found, expected) in found.iter().zip(expected) {
        assert!((f64::from(found) - expected).abs() < tolerance, "{found} for {expected}");
    }
}

#[test]
fn every_kernel_computes_the_formulas_with_any_number_of_threads_and_passes() {
    let vectors = vectors(37);
    let expected = reference(&vectors);
    for name in kernel_names() {
        for (threads, passes) in [(1, vec![37]), (2, vec![1; 37]), (3, vec![20, 1, 16]), (2, vec![36, 1])] {
            let mut model = model(Kernel::named(name).unwrap(), threads, false);
            assert_near(&run(&mut model, &vectors, &passes), &expected, 1e-4);
        }
    }
}

#[test]
fn quantised_weights_and_activations_stay_near_the_formulas_and_are_the_same_in_any_passes() {
    let vectors = vectors(21);
    let expected = reference(&vectors);
    for name in kernel_names() {
        let mut model = model(Kernel::named(name).unwrap(), 2, true);
        let whole = run(&mut model, &vectors, &[21]);
        assert_near(&whole, &expected, 0.1);
        let whole: Vec<f64> = whole.into_iter().map(f64::from).collect();
        assert_near(&run(&mut model, &vectors, &[1; 21]), &whole, 0.02);
    }
}

#[test]
fn a_truncated_cache_continues_from_its_end() {
    let vectors = vectors(30);
    let mut model = model(Kernel::best(), 2, false);
    let mut cache = model.cache(30).unwrap();
    model.forward(&mut cache, &vectors[..20 * 64]);
    cache.truncate(7);
    assert_eq!(cache.len(), 7);
    let logits = model.forward(&mut cache, &vectors[7 * 64..]).to_vec();
    assert_near(&logits, &reference(&vectors), 1e-4);
}

#[test]
fn a_cache_is_as_long_as_it_was_asked_for_within_the_context() {
    let mut model = model(Kernel::best(), 1, false);
    let context = model.shape().context;
    assert_eq!(model.cache(33).unwrap().positions_max(), 48);
    assert_eq!(model.cache(usize::MAX).unwrap().positions_max(), context.next_multiple_of(16));
    let mut cache = model.cache(16).unwrap();
    model.forward(&mut cache, &vectors(16));
    let beyond = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        model.forward(&mut cache, &vectors(1)).len()
    }));
    assert!(beyond.is_err(), "a position that there is no room for");
}

#[test]
fn the_context_can_be_filled_to_its_end() {
    let vectors = vectors(150);
    let mut model = model(Kernel::best(), 2, false);
    let logits = run(&mut model, &vectors, &[PASS_TOKENS_MAX, 150 - PASS_TOKENS_MAX]);
    assert_near(&logits, &reference(&vectors), 1e-4);
}

#[test]
fn weights_that_do_not_belong_together_are_refused() {
    let build = |shape: Shape, change: &dyn Fn(&mut Layer)| {
        let weights = weights(&self::shape());
        let mut bytes = Vec::new();
        let mut layers = Vec::new();
        for layer in &weights.layers {
            let mut layer = pack_layer(layer, false, &mut bytes);
            change(&mut layer);
            layers.push(layer);
        }
        let head = pack(&weights.head, false, &mut bytes);
        let arena = Arena::anonymous(bytes.len()).unwrap();
        Decoder::new(shape, layers, weights.norm.clone(), head, arena, Kernel::best(), 1).map(|_| ())
    };
    assert!(build(shape(), &|_| ()).is_ok());
    let refused = build(Shape { kv_heads: 4, ..shape() }, &|_| ());
    assert!(matches!(refused, Err(ShapeError::Number { found: 6, .. })), "{refused:?}");
    let refused = build(Shape { context: 0, ..shape() }, &|_| ());
    assert!(matches!(refused, Err(ShapeError::Number { found: 0, .. })), "{refused:?}");
    let refused = build(shape(), &|layer| layer.up.rows = 71);
    assert!(
        matches!(refused, Err(ShapeError::Size { found: (71, 64), expected: (72, 64), .. })),
        "{refused:?}"
    );
    let refused = build(shape(), &|layer| layer.gate_norm.truncate(63));
    assert!(matches!(refused, Err(ShapeError::Size { found: (1, 63), .. })), "{refused:?}");
    let refused = build(shape(), &|layer| layer.biases.key.resize(21, 0.0));
    assert!(
        matches!(refused, Err(ShapeError::Size { found: (1, 21), expected: (1, 20), .. })),
        "{refused:?}"
    );
    let refused = build(shape(), &|layer| layer.query_norm.resize(60, 0.0));
    assert!(
        matches!(refused, Err(ShapeError::Size { found: (1, 60), expected: (1, 10), .. })),
        "{refused:?}"
    );
    for offset in [32, usize::MAX / 64 * 64, 1 << 30] {
        let refused = build(shape(), &|layer| layer.down.offset = offset);
        assert!(matches!(refused, Err(ShapeError::Outside { layer: 0, .. })), "{refused:?}");
    }
}
