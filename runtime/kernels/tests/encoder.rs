//! Hidden states match textbook formulas in f64, for every instruction set, team size and batch.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

use kernels::{
    Activation, Dense, Encoder, EncoderError, EncoderTables, EncoderWeights, ForwardError, Isa, LayerWeights,
    Matrix, Norm, Outlier, Precision, ReadRows, Sequence, TakeLayer, ThreadTeam, TokenEmbeddings, Workspace,
};
use proptest::prelude::*;
use std::io;
use std::sync::atomic::AtomicBool;

/// A small encoder's dimensions and the seed of its weights.
#[derive(Clone, Debug)]
struct Shape {
    heads: usize,
    head_width: usize,
    intermediate: usize,
    layers: usize,
    types: usize,
    padding: Option<u32>,
    has_bias: bool,
    activation: Activation,
    seed: u64,
}

const VOCABULARY: usize = 50;
const POSITIONS: usize = 80;
const EPSILON: f32 = 1e-6;

impl Shape {
    const fn hidden(&self) -> usize {
        self.heads * self.head_width
    }
}

fn shapes() -> impl Strategy<Value = Shape> {
    let activation = prop_oneof![Just(Activation::Gelu), Just(Activation::GeluTanh), Just(Activation::Relu)];
    let padding = prop::option::of(0..3_u32);
    let sizes = (1..5_usize, 1..41_usize, 1..150_usize, 0..3_usize, 0..3_usize);
    (sizes, padding, any::<bool>(), activation, any::<u64>()).prop_map(
        |((heads, head_width, intermediate, layers, types), padding, has_bias, activation, seed)| Shape {
            heads,
            head_width,
            intermediate,
            layers,
            types,
            padding,
            has_bias,
            activation,
            seed,
        },
    )
}

fn batches() -> impl Strategy<Value = Vec<Vec<u32>>> {
    prop::collection::vec(prop::collection::vec(0..VOCABULARY as u32, 1..POSITIONS - 3), 1..5)
}

/// The numbers of a model, as f32 in the bytes of a file.
struct Numbers {
    shape: Shape,
    token_embeddings: Vec<u8>,
    positions: Vec<u8>,
    types: Vec<u8>,
    relative_bias: Vec<u8>,
    /// Six matrices for each layer, in the order of `maps`.
    matrices: Vec<Vec<u8>>,
    vectors: Vec<Vec<f32>>,
}

impl Numbers {
    fn new(shape: &Shape) -> Self {
        let mut state = shape.seed;
        let mut next = move || {
            // xorshift64*; the sum of four numbers is roughly normal.
            let mut sum = 0.0_f32;
            for _ in 0..4 {
                state ^= state >> 12;
                state ^= state << 25;
                state ^= state >> 27;
                state = state.max(1);
                sum += (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 40) as f32 / (1 << 24) as f32 - 0.5;
            }
            sum
        };
        let hidden = shape.hidden();
        let mut matrix = |rows: usize, columns: usize, spread: f32| -> Vec<u8> {
            (0..rows * columns).flat_map(|_| (next() * spread).to_le_bytes()).collect()
        };
        let token_embeddings = matrix(VOCABULARY, hidden, 1.0);
        let positions = matrix(POSITIONS, hidden, 0.5);
        let types = matrix(shape.types, hidden, 0.5);
        let relative_bias = matrix(32, shape.heads, 2.0);
        let mut matrices = Vec::new();
        let mut vectors = vec![floats(&matrix(2, hidden, 0.5))];
        for _ in 0..shape.layers {
            for [rows, columns] in maps(shape) {
                matrices.push(matrix(rows, columns, 1.5 / (columns as f32).sqrt()));
                vectors.push(floats(&matrix(1, rows, 0.3)));
            }
            vectors.push(floats(&matrix(4, hidden, 0.5)));
        }
        Self { shape: shape.clone(), token_embeddings, positions, types, relative_bias, matrices, vectors }
    }

    fn weights(&self) -> EncoderWeights<'_, '_> {
        let hidden = self.shape.hidden();
        let norm = |numbers: &[f32]| Norm {
            weight: numbers[..hidden].iter().map(|number| number + 1.0).collect(),
            bias: numbers[hidden..].to_vec(),
        };
        let mut matrices = self.matrices.iter();
        let mut vectors = self.vectors.iter();
        let first = norm(vectors.next().unwrap());
        let layers = (0..self.shape.layers)
            .map(|_| {
                let mut dense = maps(&self.shape).into_iter().map(|[rows, columns]| Dense {
                    weight: Matrix::f32(matrices.next().unwrap(), rows, columns).unwrap(),
                    bias: vectors.next().unwrap().clone(),
                });
                let [query, key, value, attention_output, intermediate, output] =
                    [(); 6].map(|()| dense.next().unwrap());
                let norms = vectors.next().unwrap();
                let attention_output_norm = norm(&norms[..2 * hidden]);
                let output_norm = norm(&norms[2 * hidden..]);
                LayerWeights {
                    query,
                    key,
                    value,
                    attention_output,
                    attention_output_norm,
                    intermediate,
                    output,
                    output_norm,
                }
            })
            .collect();
        let tables = EncoderTables {
            heads: self.shape.heads,
            activation: self.shape.activation,
            norm_epsilon: EPSILON,
            token_embeddings: Matrix::f32(&self.token_embeddings, VOCABULARY, hidden).unwrap().into(),
            positions: Matrix::f32(&self.positions, POSITIONS, hidden).unwrap(),
            padding: self.shape.padding,
            types: (self.shape.types > 0)
                .then(|| Matrix::f32(&self.types, self.shape.types, hidden).unwrap()),
            relative_bias: (self.shape.has_bias).then(|| floats(&self.relative_bias)),
            norm: first,
            intermediate: self.shape.intermediate,
        };
        EncoderWeights { tables, layers }
    }
}

/// Returns rows and columns of the query, key, value and output maps, and of the two feed-forward maps.
fn maps(shape: &Shape) -> [[usize; 2]; 6] {
    let (hidden, wide) = (shape.hidden(), shape.intermediate);
    [[hidden; 2], [hidden; 2], [hidden; 2], [hidden; 2], [wide, hidden], [hidden, wide]]
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|&number| f32::from_le_bytes(number)).collect()
}

/// The formulas of the papers, in f64.
mod textbook {
    use super::{
        Activation, Dense, EPSILON, EncoderTables, EncoderWeights, Matrix, Norm, Sequence, TokenEmbeddings,
    };

    type Rows = Vec<Vec<f64>>;

    pub(super) fn forward(weights: &EncoderWeights<'_, '_>, sequence: &Sequence<'_>) -> Rows {
        let EncoderWeights { tables, layers } = weights;
        let mut rows: Rows = (0..sequence.tokens.len())
            .map(|position| {
                let TokenEmbeddings::InMemory(token_embeddings) = &tables.token_embeddings else {
                    panic!("the tests' embeddings are in memory")
                };
                let mut row = row_of(token_embeddings, sequence.tokens[position] as usize);
                let counted = |padding| sequence.tokens[..position].iter().filter(|t| **t != padding).count();
                let place = match tables.padding {
                    None => position,
                    Some(padding) if sequence.tokens[position] == padding => padding as usize,
                    Some(padding) => padding as usize + 1 + counted(padding),
                };
                add(&mut row, &row_of(&tables.positions, place));
                if let Some(types) = &tables.types {
                    add(&mut row, &row_of(types, sequence.types.get(position).map_or(0, |t| *t as usize)));
                }
                normalize(&row, &tables.norm)
            })
            .collect();
        for layer in layers {
            let through = |dense: &Dense<'_>| -> Rows { rows.iter().map(|row| linear(dense, row)).collect() };
            let (queries, keys, values) = (through(&layer.query), through(&layer.key), through(&layer.value));
            let contexts = attention(&queries, &keys, &values, tables);
            rows = rows
                .iter()
                .zip(contexts)
                .map(|(row, context)| {
                    let mut attention_output = linear(&layer.attention_output, &context);
                    add(&mut attention_output, row);
                    let attention_output = normalize(&attention_output, &layer.attention_output_norm);
                    let mut wide = linear(&layer.intermediate, &attention_output);
                    for number in &mut wide {
                        *number = activate(tables.activation, *number);
                    }
                    let mut output = linear(&layer.output, &wide);
                    add(&mut output, &attention_output);
                    normalize(&output, &layer.output_norm)
                })
                .collect();
        }
        rows
    }

    fn attention(queries: &Rows, keys: &Rows, values: &Rows, tables: &EncoderTables<'_>) -> Rows {
        let heads = tables.heads;
        let bias = |head: usize, own: usize, other: usize| {
            let table = tables.relative_bias.as_ref()?;
            // Half of the 32 buckets are for tokens after the own one.
            let apart = own.abs_diff(other);
            let bucket = match apart {
                0..8 => apart,
                _ => (8 + ((apart as f64 / 8.0).ln() / 16_f64.ln() * 8.0 + 1e-9) as usize).min(15),
            };
            Some(f64::from(table[(bucket + if other > own { 16 } else { 0 }) * heads + head]))
        };
        let width = queries[0].len() / heads;
        let attend = |(own, query): (usize, &Vec<f64>)| -> Vec<f64> {
            (0..heads)
                .flat_map(|head| {
                    let channels = head * width..(head + 1) * width;
                    let scores: Vec<f64> = keys
                        .iter()
                        .enumerate()
                        .map(|(other, key)| {
                            let product = dot(&query[channels.clone()], &key[channels.clone()]);
                            product / (width as f64).sqrt() + bias(head, own, other).unwrap_or(0.0)
                        })
                        .collect();
                    let largest = scores.iter().copied().fold(f64::MIN, f64::max);
                    let weights: Vec<f64> = scores.iter().map(|score| (score - largest).exp()).collect();
                    let sum: f64 = weights.iter().sum();
                    channels
                        .map(|channel| {
                            weights.iter().zip(values).map(|(w, value)| w / sum * value[channel]).sum()
                        })
                        .collect::<Vec<f64>>()
                })
                .collect()
        };
        queries.iter().enumerate().map(attend).collect()
    }

    fn row_of(matrix: &Matrix<'_>, row: usize) -> Vec<f64> {
        let mut numbers = vec![0.0; matrix.columns()];
        matrix.read_row(row, &mut numbers);
        numbers.into_iter().map(f64::from).collect()
    }

    fn linear(dense: &Dense<'_>, input: &[f64]) -> Vec<f64> {
        let channel = |(row, bias): (usize, &f32)| dot(&row_of(&dense.weight, row), input) + f64::from(*bias);
        dense.bias.iter().enumerate().map(channel).collect()
    }

    fn normalize(row: &[f64], norm: &Norm) -> Vec<f64> {
        let count = row.len() as f64;
        let mean = row.iter().sum::<f64>() / count;
        let variance = row.iter().map(|number| (number - mean).powi(2)).sum::<f64>() / count;
        let deviation = (variance + f64::from(EPSILON)).sqrt();
        let scaled = row.iter().map(|number| (number - mean) / deviation);
        let parameters = norm.weight.iter().zip(&norm.bias);
        scaled.zip(parameters).map(|(n, (weight, bias))| n * f64::from(*weight) + f64::from(*bias)).collect()
    }

    fn activate(activation: Activation, x: f64) -> f64 {
        match activation {
            Activation::Gelu => 0.5 * x * (1.0 + erf(x * std::f64::consts::FRAC_1_SQRT_2)),
            Activation::GeluTanh => {
                0.5 * x * (1.0 + (std::f64::consts::FRAC_2_PI.sqrt() * (x + 0.044_715 * x.powi(3))).tanh())
            }
            Activation::Relu => x.max(0.0),
        }
    }

    fn erf(x: f64) -> f64 {
        if x.abs() > 2.0 {
            let fraction = (1..60).rev().fold(x.abs(), |rest, n| x.abs() + f64::from(n) / 2.0 / rest);
            return x.signum() * (1.0 - (-x * x).exp() / fraction / std::f64::consts::PI.sqrt());
        }
        let (mut term, mut sum) = (x, x);
        for n in 1..60 {
            term *= -x * x / f64::from(n);
            sum += term / (2.0 * f64::from(n) + 1.0);
        }
        sum * std::f64::consts::FRAC_2_SQRT_PI
    }

    fn dot(one: &[f64], other: &[f64]) -> f64 {
        one.iter().zip(other).map(|(a, b)| a * b).sum()
    }

    fn add(sum: &mut [f64], more: &[f64]) {
        for (sum, more) in sum.iter_mut().zip(more) {
            *sum += more;
        }
    }
}

/// Returns all hidden states of a batch, concatenated.
fn forward(encoder: &Encoder<'_>, team: usize, batch: &[Vec<u32>]) -> Vec<f32> {
    let sequences: Vec<Sequence<'_>> = batch.iter().map(|tokens| Sequence::from(tokens.as_slice())).collect();
    let mut workspace = Workspace::default();
    let hidden = encoder
        .forward(&mut ThreadTeam::new(team), &mut workspace, &sequences, &AtomicBool::new(false))
        .unwrap();
    (0..sequences.len()).flat_map(|index| hidden.rows(index)).flatten().copied().collect()
}

/// Returns the distance between two vectors, relative to the norm of the second.
fn distance(ours: &[f32], exact: &[f64]) -> f64 {
    assert_eq!(ours.len(), exact.len());
    let off: f64 = ours.iter().zip(exact).map(|(one, other)| (f64::from(*one) - other).powi(2)).sum();
    let all: f64 = exact.iter().map(|number| number * number).sum();
    if all == 0.0 { off.sqrt() } else { (off / all).sqrt() }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn every_instruction_set_and_precision_computes_the_textbooks_numbers(
        shape in shapes(),
        batch in batches(),
        team in 1..4_usize,
    ) {
        let numbers = Numbers::new(&shape);
        let exact: Vec<f64> = {
            let weights = numbers.weights();
            batch.iter().flat_map(|tokens| textbook::forward(&weights, &Sequence::from(tokens.as_slice()))).flatten().collect()
        };
        for isa in Isa::available() {
            // Random weights amplify rounding errors of the first layer more than real weights do.
            for (precision, tolerance) in [(Precision::F32, 2e-4), (Precision::Bf16, 0.1), (Precision::Int8, 0.2)] {
                let encoder = Encoder::new(numbers.weights(), precision, isa).unwrap();
                let ours = forward(&encoder, team, &batch);
                let off = distance(&ours, &exact);
                prop_assert!(off < tolerance, "{isa}, {precision:?}: off by {off}");
            }
        }
    }

    #[test]
    fn bytes_are_the_same_on_every_instruction_set(shape in shapes(), batch in batches()) {
        let numbers = Numbers::new(&shape);
        let all: Vec<Vec<f32>> = Isa::available()
            .into_iter()
            .map(|isa| forward(&Encoder::new(numbers.weights(), Precision::Int8, isa).unwrap(), 1, &batch))
            .collect();
        let plain: Vec<f64> = all.last().unwrap().iter().copied().map(f64::from).collect();
        for (ours, isa) in all.iter().zip(Isa::available()) {
            let off = distance(ours, &plain);
            // Rounding between two quantisation steps may differ, and attention may be in bf16.
            prop_assert!(off < 0.05, "{isa}: off by {off}");
        }
    }

    #[test]
    fn a_sequence_is_computed_alone_and_in_a_batch_the_same(shape in shapes(), batch in batches()) {
        let numbers = Numbers::new(&shape);
        for precision in [Precision::F32, Precision::Int8] {
            let encoder = Encoder::new(numbers.weights(), precision, Isa::best()).unwrap();
            let together = forward(&encoder, 2, &batch);
            let alone: Vec<f64> = batch
                .iter()
                .flat_map(|tokens| forward(&encoder, 1, std::slice::from_ref(tokens)))
                .map(f64::from)
                .collect();
            prop_assert_eq!(distance(&together, &alone), 0.0);
        }
    }
}

fn small() -> Shape {
    Shape {
        heads: 2,
        head_width: 16,
        intermediate: 64,
        layers: 2,
        types: 2,
        padding: None,
        has_bias: false,
        activation: Activation::Gelu,
        seed: 7,
    }
}

#[test]
fn token_types_count() {
    let numbers = Numbers::new(&small());
    let weights = numbers.weights();
    let sequence = Sequence { tokens: &[1, 2, 3, 4, 5], types: &[0, 0, 1, 1, 1] };
    let exact: Vec<f64> = textbook::forward(&weights, &sequence).into_iter().flatten().collect();
    let encoder = Encoder::new(weights, Precision::F32, Isa::best()).unwrap();
    let mut workspace = Workspace::default();
    let hidden = encoder
        .forward(&mut ThreadTeam::alone(), &mut workspace, &[sequence], &AtomicBool::new(false))
        .unwrap();
    let ours: Vec<f32> = hidden.rows(0).flatten().copied().collect();
    assert!(distance(&ours, &exact) < 1e-4);
}

/// Token embeddings on disk. Reading fails from row `rows` on.
struct Readable<'a> {
    token_embeddings: &'a [u8],
    columns: usize,
    rows: usize,
}

impl ReadRows for Readable<'_> {
    fn rows(&self) -> usize {
        VOCABULARY
    }

    fn columns(&self) -> usize {
        self.columns
    }

    fn read(&self, row: usize, room: &mut Vec<u8>, out: &mut [f32]) -> io::Result<()> {
        if row >= self.rows {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        room.resize(4 * self.columns, 0);
        room.copy_from_slice(&self.token_embeddings[row * 4 * self.columns..][..4 * self.columns]);
        out.copy_from_slice(&floats(room));
        Ok(())
    }
}

#[test]
fn token_embeddings_from_a_file_equal_those_in_memory() {
    let numbers = Numbers::new(&small());
    let mut weights = numbers.weights();
    weights.tables.token_embeddings = TokenEmbeddings::Read(Box::new(Readable {
        token_embeddings: &numbers.token_embeddings,
        columns: numbers.shape.hidden(),
        rows: 20,
    }));
    let reading = Encoder::new(weights, Precision::F32, Isa::best()).unwrap();
    let in_memory = Encoder::new(numbers.weights(), Precision::F32, Isa::best()).unwrap();
    let batch = vec![(0..20).collect(), vec![7; 30]];
    assert_eq!(forward(&reading, 2, &batch), forward(&in_memory, 2, &batch));

    let mut workspace = Workspace::default();
    let stop = AtomicBool::new(false);
    let tokens: Vec<u32> = (0..40).map(|at| u32::from(at == 39) * 20).collect();
    let answer = reading.forward(&mut ThreadTeam::new(2), &mut workspace, &[tokens.as_slice().into()], &stop);
    assert_eq!(answer.err(), Some(ForwardError::Unreadable));
    // The same workspace serves the next batch.
    let answer = reading.forward(&mut ThreadTeam::new(2), &mut workspace, &[tokens[..39].into()], &stop);
    assert!(answer.is_ok());
}

#[test]
fn quantised_weights_are_used_unchanged() {
    let numbers = Numbers::new(&small());
    let outliers = [(3, 7, 40.0), (31, 63, -30.0), (0, 0, 20.0)];
    let outliers = outliers.map(|(row, column, weight)| Outlier { row, column, weight }).to_vec();
    let [rows, columns] = maps(&small())[5];
    let mut values: Vec<u8> = (0..rows * columns).map(|index| (index * 37 % 255) as u8).collect();
    for outlier in &outliers {
        values[outlier.row * columns + outlier.column] = 0;
    }
    let scales: Vec<f32> = (0..rows).map(|row| 0.001 + row as f32 * 0.0001).collect();
    let weights = || {
        let mut weights = numbers.weights();
        let matrix = Matrix::int8(&values, scales.clone(), outliers.clone(), rows, columns);
        weights.layers[1].output.weight = matrix.unwrap();
        weights
    };
    let batch = vec![(1..16).collect(), vec![4, 4]];
    let exact: Vec<f64> = batch
        .iter()
        .flat_map(|tokens: &Vec<u32>| textbook::forward(&weights(), &Sequence::from(tokens.as_slice())))
        .flatten()
        .collect();
    for isa in Isa::available() {
        for (precision, tolerance) in
            [(Precision::F32, 1e-4), (Precision::Bf16, 0.03), (Precision::Int8, 0.05)]
        {
            let encoder = Encoder::new(weights(), precision, isa).unwrap();
            let off = distance(&forward(&encoder, 2, &batch), &exact);
            assert!(off < tolerance, "{isa}, {precision:?}: off by {off}");
        }
    }
}

#[test]
fn pooling_takes_the_mean_or_the_first() {
    let numbers = Numbers::new(&small());
    let encoder = Encoder::new(numbers.weights(), Precision::F32, Isa::best()).unwrap();
    let tokens: Vec<u32> = (0..40).collect();
    let sequences = [Sequence::from(&tokens[..3]), Sequence::from(&tokens[..])];
    let mut workspace = Workspace::default();
    let hidden = encoder
        .forward(&mut ThreadTeam::new(2), &mut workspace, &sequences, &AtomicBool::new(false))
        .unwrap();
    assert_eq!(hidden.sequences(), 2);
    let rows: Vec<&[f32]> = hidden.rows(1).collect();
    assert_eq!(rows.len(), 40);
    let mut first = vec![0.0; encoder.hidden()];
    hidden.first(1, &mut first);
    assert_eq!(first, rows[0]);
    let mut mean = vec![0.0; encoder.hidden()];
    hidden.mean(1, &mut mean);
    let expected: Vec<f64> = (0..encoder.hidden())
        .map(|channel| rows.iter().map(|row| f64::from(row[channel])).sum::<f64>() / 40.0)
        .collect();
    assert!(distance(&mean, &expected) < 1e-6);
}

#[test]
fn invalid_sequences_are_rejected_before_any_computation() {
    let numbers = Numbers::new(&small());
    let encoder = Encoder::new(numbers.weights(), Precision::F32, Isa::best()).unwrap();
    let long = vec![0; POSITIONS + 1];
    let mut workspace = Workspace::default();
    let mut refusal = |sequence: Sequence<'_>| {
        let sequences = [Sequence::from([1].as_slice()), sequence];
        let stop = AtomicBool::new(false);
        encoder.forward(&mut ThreadTeam::alone(), &mut workspace, &sequences, &stop).err()
    };
    let sequence = 1;
    assert_eq!(refusal(Sequence::default()), Some(ForwardError::Empty { sequence }));
    let too_long = ForwardError::TooLong { sequence, tokens: POSITIONS + 1, max: POSITIONS };
    assert_eq!(refusal(Sequence::from(long.as_slice())), Some(too_long));
    let unknown = ForwardError::UnknownToken { token: 50, vocabulary: 50 };
    assert_eq!(refusal(Sequence::from([50].as_slice())), Some(unknown));
    let unequal = ForwardError::Types { sequence, tokens: 1, types: 2 };
    assert_eq!(refusal(Sequence { tokens: &[1], types: &[0, 0] }), Some(unequal));
    let unknown = ForwardError::UnknownType { found: 2, types: 2 };
    assert_eq!(refusal(Sequence { tokens: &[1], types: &[2] }), Some(unknown));

    let stop = AtomicBool::new(true);
    let stopped =
        encoder.forward(&mut ThreadTeam::new(2), &mut workspace, &[Sequence::from([1].as_slice())], &stop);
    assert_eq!(stopped.err(), Some(ForwardError::Stopped));
    let mut weights = numbers.weights();
    weights.tables.padding = Some(1);
    let counting = Encoder::new(weights, Precision::F32, Isa::best()).unwrap();
    let stop = AtomicBool::new(false);
    let answer = counting.forward(&mut ThreadTeam::alone(), &mut workspace, &[long[..79].into()], &stop);
    assert_eq!(answer.err(), Some(ForwardError::TooLong { sequence: 0, tokens: 79, max: 78 }));
    let none =
        encoder.forward(&mut ThreadTeam::alone(), &mut workspace, &[], &AtomicBool::new(false)).unwrap();
    assert_eq!(none.sequences(), 0);
}

#[test]
fn parts_that_do_not_fit_each_other_are_refused() {
    let numbers = Numbers::new(&small());
    let refusal = |change: &dyn Fn(&mut EncoderWeights<'_, '_>)| {
        let mut weights = numbers.weights();
        change(&mut weights);
        Encoder::new(weights, Precision::F32, Isa::best()).err().map(|error| error.to_string())
    };
    assert_eq!(refusal(&|_| ()), None);
    let heads = EncoderError::Heads { hidden: 32, heads: 3 }.to_string();
    assert_eq!(refusal(&|weights| weights.tables.heads = 3), Some(heads));
    assert!(refusal(&|weights| weights.tables.heads = 0).is_some());
    assert_eq!(
        refusal(&|weights| weights.layers[1].key.bias.truncate(31)),
        Some("a key has the dimensions [31, 1], expected [32, 1]".to_owned())
    );
    assert!(refusal(&|weights| weights.tables.norm.bias.push(1.0)).is_some());
    let padding = EncoderError::Padding { padding: 79, positions: 80 }.to_string();
    assert_eq!(refusal(&|weights| weights.tables.padding = Some(79)), Some(padding));
    let swap = |layer: &mut LayerWeights<'_>| std::mem::swap(&mut layer.intermediate, &mut layer.output);
    assert!(refusal(&|weights| swap(&mut weights.layers[1])).is_some());
    let EncoderWeights { tables, .. } = numbers.weights();
    let nothing = |_: usize, _: TakeLayer<'_>| Ok::<(), EncoderError>(());
    let missing = Encoder::load(tables, Precision::F32, Isa::best(), 2, nothing).err();
    assert!(matches!(missing, Some(EncoderError::Missing { .. })), "{missing:?}");
}
