//! Every kernel of this processor gives the results of the portable one, which matches textbook formulas.

use super::*;
use crate::decoder::format::TILE_ROWS;
use proptest::prelude::*;

const PORTABLE: Kernel = portable::KERNEL;

/// Pseudo-random numbers from a seed, so that proptest varies and shrinks only shapes.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Returns a number between -1 and 1.
    fn float(&mut self) -> f32 {
        (self.next() >> 40) as f32 / 8_388_608.0 - 1.0
    }

    fn floats(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| self.float()).collect()
    }

    /// Returns a row of random bytes with scales of a moderate size.
    fn row(&mut self, format: Format, columns: usize) -> Vec<u8> {
        if !format.is_quantised() {
            let numbers = self.floats(columns);
            return match format {
                Format::F32 => numbers.iter().flat_map(|number| number.to_le_bytes()).collect(),
                Format::Bf16 => {
                    numbers.iter().flat_map(|number| number.to_bits().to_le_bytes()[2..].to_vec()).collect()
                }
                Format::F16 | Format::Q4K | Format::Q4_0 | Format::Q8_0 => {
                    (0..columns).flat_map(|_| self.half()).collect()
                }
            };
        }
        let mut row: Vec<u8> = (0..format.row_bytes(columns).unwrap()).map(|_| self.next() as u8).collect();
        let (block, halves) = match format {
            Format::Q4K => (144, 2),
            Format::Q4_0 => (18, 1),
            Format::Bf16 | Format::F16 | Format::F32 | Format::Q8_0 => (34, 1),
        };
        for block in row.chunks_exact_mut(block) {
            for at in 0..halves {
                let half = self.half();
                block[2 * at..][..2].copy_from_slice(&half);
            }
        }
        row
    }

    /// Returns a half-precision number between -2 and 2, which may be subnormal.
    fn half(&mut self) -> [u8; 2] {
        let bits = self.next() as u16;
        ((bits & 0x8000) | ((bits & 0x7fff) % 0x4000)).to_le_bytes()
    }
}

fn columns_of(format: Format, blocks: usize) -> usize {
    if format.is_quantised() { format.block_len() * blocks } else { 3 * blocks + 1 }
}

fn assert_close(found: f32, expected: f64, magnitude: f64, what: &str) {
    let tolerance = 3e-6 * magnitude + 1e-6;
    assert!((f64::from(found) - expected).abs() <= tolerance, "{what}: {found} for {expected} ± {tolerance}");
}

fn others() -> impl Iterator<Item = Kernel> {
    names().into_iter().filter_map(Kernel::named)
}

#[test]
fn the_portable_kernel_is_always_there_and_the_best_one_is_first() {
    assert_eq!(names().last(), Some(&"portable"));
    assert_eq!(names().first(), Some(&Kernel::best().name()));
    assert!(Kernel::named("none").is_none());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Products of random weights in each format with random rows.
    #[test]
    fn products(seed: u64, format in prop::sample::select(Format::ALL.to_vec()), blocks in 1..7_usize, count in 1..20_usize, weight_rows in 1..=16_usize, extra in 0..3_usize) {
        let mut numbers = Numbers(seed);
        let columns = columns_of(format, blocks);
        let stride = columns + extra;
        let weights: Vec<Vec<u8>> = (0..weight_rows).map(|_| numbers.row(format, columns)).collect();
        let mut tile = vec![0xff; format.tile_bytes(columns).unwrap()];
        let slices: Vec<&[u8]> = weights.iter().map(Vec::as_slice).collect();
        format.pack(&slices, columns, &mut tile);
        let floats = numbers.floats(stride * count);
        let mut activations = vec![Block::default(); columns / 32 * count];
        for (row, blocks) in floats.chunks_exact(stride).zip(activations.chunks_exact_mut((columns / 32).max(1))) {
            (PORTABLE.quantise)(&row[..columns], blocks);
        }
        let rows = Rows { floats: &floats, stride, blocks: &activations, columns };
        for kernel in others() {
            let mut out = vec![[f32::NAN; 16]; count];
            (kernel.product)(format, &tile, rows, &mut out);
            for (row, out) in out.iter().enumerate() {
                for (weight, &found) in out.iter().enumerate() {
                    let (mut expected, mut magnitude) = (0.0, 0.0);
                    if weight < weight_rows {
                        let mut decoded = vec![0.0; columns];
                        format.decode(&weights[weight], &mut decoded);
                        for (column, w) in decoded.iter().enumerate() {
                            let x = if format.is_quantised() {
                                let block = &activations[row * columns / 32 + column / 32];
                                let quant = block.quants[column % 32 / 4].to_le_bytes()[column % 4] as i8;
                                f64::from(quant) * f64::from(block.scale)
                            } else {
                                f64::from(floats[row * stride + column])
                            };
                            expected += f64::from(*w) * x;
                            // A Q4_K number is the difference of two larger ones.
                            let size = if format == Format::Q4K { 1e3 } else { f64::from(w.abs()) };
                            magnitude += size * x.abs();
                        }
                    }
                    assert_close(found, expected, magnitude, &format!("{} {format:?} {row}/{weight}", kernel.name));
                }
            }
        }
    }

    /// All kernels round to the same 8-bit numbers, with an error of at most half a step.
    #[test]
    fn roundings(seed: u64, scale in prop::sample::select(vec![0.0_f32, 1e-38, 1e-20, 0.3, 1.0, 77.0, 1e30]), blocks in 1..4_usize) {
        let mut numbers = Numbers(seed);
        let row: Vec<f32> = numbers.floats(32 * blocks).iter().map(|number| number * scale).collect();
        let mut expected = vec![Block::default(); blocks];
        (PORTABLE.quantise)(&row, &mut expected);
        for (numbers, block) in row.chunks_exact(32).zip(&expected) {
            let quants: Vec<i8> = block.quants.iter().flat_map(|four| four.to_le_bytes()).map(|byte| byte as i8).collect();
            prop_assert_eq!(block.sum, quants.iter().map(|&quant| i32::from(quant)).sum::<i32>());
            for (number, quant) in numbers.iter().zip(quants) {
                let back = f32::from(quant) * block.scale;
                prop_assert!((number - back).abs() <= block.scale * 0.501 + 1e-30, "{} became {}", number, back);
            }
        }
        for kernel in others() {
            let mut blocks = vec![Block::default(); blocks];
            (kernel.quantise)(&row, &mut blocks);
            prop_assert_eq!(&blocks, &expected, "{}", kernel.name);
        }
    }

    #[test]
    fn normalisations(seed: u64, len in 1..70_usize) {
        let mut numbers = Numbers(seed);
        let (row, weight) = (numbers.floats(len), numbers.floats(len));
        let squares: f64 = row.iter().map(|&number| f64::from(number) * f64::from(number)).sum();
        let factor = (squares / len as f64 + 1e-5).sqrt().recip();
        for kernel in others() {
            let mut out = vec![f32::NAN; len];
            (kernel.normalise)(&row, &weight, 1e-5, &mut out);
            for ((&found, number), weight) in out.iter().zip(&row).zip(&weight) {
                assert_close(found, f64::from(*number) * factor * f64::from(*weight), 1.0, kernel.name);
            }
        }
    }

    #[test]
    fn gates(seed: u64, scale in prop::sample::select(vec![1.0_f32, 20.0, 300.0])) {
        let mut numbers = Numbers(seed);
        let gate: [f32; 16] = std::array::from_fn(|_| numbers.float() * scale);
        let up: [f32; 16] = std::array::from_fn(|_| numbers.float());
        for kernel in others() {
            let mut out = [gate];
            (kernel.gate)(&mut out, &[up]);
            for ((&found, &gate), &up) in out[0].iter().zip(&gate).zip(&up) {
                let expected = f64::from(gate) / (1.0 + f64::from(-gate).exp()) * f64::from(up);
                assert_close(found, expected, expected.abs(), kernel.name);
            }
        }
    }

    /// Attention over any number of positions, with heads in any groups. Later positions are never read.
    #[test]
    fn attentions(seed: u64, heads in 1..7_usize, half in 1..25_usize, positions in 1..40_usize) {
        let mut numbers = Numbers(seed);
        let (len, lanes, room) = (2 * half, (2 * half).div_ceil(16), positions.next_multiple_of(16) + 16);
        let queries: Vec<f32> = numbers.floats(heads * len).iter().map(|number| number * 4.0).collect();
        let mut keys = numbers.floats(room * len);
        let mut values = vec![[f32::NAN; 16]; room * lanes];
        for position in 0..room {
            for at in 0..len {
                if position >= positions {
                    keys[(position / 16 * len + at) * 16 + position % 16] = 1e30;
                } else {
                    values[position * lanes + at / 16][at % 16] = numbers.float();
                }
            }
        }
        let key = |position: usize, at: usize| f64::from(keys[(position / 16 * len + at) * 16 + position % 16]);
        let scale = (len as f32).sqrt().recip();
        let it = Attention { queries: &queries, keys: &keys, values: &values, head_len: len, scale, positions };
        for kernel in others() {
            let mut out = vec![f32::NAN; heads * len];
            let mut scores = vec![f32::NAN; Attention::workspace_len(room)];
            (kernel.attend)(&it, &mut scores, &mut out);
            for head in 0..heads {
                let query = &queries[head * len..][..len];
                let score = |position| (0..len).map(|at| f64::from(query[at]) * key(position, at)).sum::<f64>();
                let weights: Vec<f64> = (0..positions).map(|position| (score(position) / (len as f64).sqrt()).exp()).collect();
                let total: f64 = weights.iter().sum();
                for at in 0..len {
                    let value = |position: usize| f64::from(values[position * lanes + at / 16][at % 16]);
                    let expected: f64 = weights.iter().enumerate().map(|(position, weight)| weight * value(position)).sum();
                    assert_close(out[head * len + at], expected / total, 3.0, kernel.name);
                }
            }
        }
    }
}

#[test]
fn a_tile_has_sixteen_rows_in_every_format() {
    for format in Format::ALL {
        let columns = columns_of(format, 4);
        let row = format.row_bytes(columns).unwrap();
        let tile = format.tile_bytes(columns).unwrap();
        assert!(tile >= TILE_ROWS * row && tile <= (TILE_ROWS * row) * 103 / 100 + 64, "{format:?}");
        if format.is_quantised() {
            assert_eq!((format.row_bytes(columns + 1), format.tile_bytes(columns + 1)), (None, None));
        }
    }
    assert_eq!(Format::F32.row_bytes(usize::MAX), None);
    assert_eq!(Format::Q8_0.tile_bytes(usize::MAX / 32 * 32), None);
}
