//! Attention biases by relative position, in buckets that widen with the distance (Raffel et al., 2020, as in MPNet).

/// The bias of attention scores for each head and distance, for every layer.
pub(super) struct RelativeBias {
    /// For each head, a bias for each distance from the furthest token before to the furthest one after.
    biases: Vec<f32>,
    /// The maximum number of tokens of a sequence.
    length: usize,
}

impl RelativeBias {
    /// Spreads a table with a row for each bucket and a column for each head. The biases contain the factor log2(e), as
    /// the scores do.
    pub(super) fn new(table: &[f32], length: usize) -> Self {
        let heads = table.len() / RELATIVE_BUCKETS;
        let distances = 2 * length - 1;
        let mut biases = vec![0.0; heads * distances];
        for place in 0..distances {
            let bucket = relative_bucket(place as isize - (length as isize - 1));
            for (head, bias) in table[bucket * heads..][..heads].iter().enumerate() {
                biases[head * distances + place] = bias * std::f32::consts::LOG2_E;
            }
        }
        Self { biases, length }
    }

    /// Returns the biases of a head for the token at `position` of a sequence with this many tokens.
    #[inline(always)]
    pub(super) fn row(&self, head: usize, position: usize, tokens: usize) -> &[f32] {
        let start = head * (2 * self.length - 1) + self.length - 1 - position;
        &self.biases[start..start + tokens]
    }
}

/// Returns the bucket of the distance between a token and another one, positive if the other one follows. Half of the
/// buckets are for tokens that follow. In each half, half of the buckets are for single distances.
#[must_use]
pub fn relative_bucket(distance: isize) -> usize {
    let after = if distance > 0 { HALF } else { 0 };
    let apart = distance.unsigned_abs();
    if apart < SINGLE {
        return after + apart;
    }
    // In f32, as in PyTorch: the limits of the buckets depend on the rounding.
    let share = (apart as f32 / SINGLE as f32).ln() / (DISTANCE_MAX / SINGLE as f32).ln();
    after + (SINGLE + (share * (HALF - SINGLE) as f32) as usize).min(HALF - 1)
}

/// The number of buckets of relative positions.
pub const RELATIVE_BUCKETS: usize = 32;
const HALF: usize = RELATIVE_BUCKETS / 2;
const SINGLE: usize = HALF / 2;
/// The distance from which on all tokens are in the last bucket.
const DISTANCE_MAX: f32 = 128.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_those_of_the_paper() {
        let of = |distances: &[isize]| distances.iter().map(|it| relative_bucket(*it)).collect::<Vec<_>>();
        assert_eq!(
            of(&[0, -1, -7, -8, -11, -12, -15, -16, -22, -23, -31]),
            [0, 1, 7, 8, 8, 9, 9, 10, 10, 11, 11]
        );
        assert_eq!(
            of(&[-32, -45, -46, -63, -64, -90, -91, -127, -128, -500]),
            [12, 12, 13, 13, 14, 14, 15, 15, 15, 15]
        );
        assert_eq!(of(&[1, 7, 8, 12, 64, 91, 500]), [17, 23, 24, 25, 30, 31, 31]);
    }
}
