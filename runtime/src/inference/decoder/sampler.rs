//! Samples the next token: the most probable one, or a random one by probability.
//!
//! The invariant: the same logits, settings and seed give the same token on any machine. Sampling allocates nothing.
//! Top-p is nucleus sampling (Holtzman et al., 2020).

use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng};

/// Samples the tokens of one text.
#[derive(Clone, Debug)]
pub(super) struct Sampler {
    temperature: f32,
    /// Top-p: only the most probable tokens with this total probability.
    top_p: f32,
    /// Top-k: only this many of the most probable tokens.
    top_k: usize,
    random: ChaCha12Rng,
    /// The candidates with their weights; a reused buffer.
    candidates: Vec<(f32, u32)>,
}

impl Sampler {
    /// Makes a sampler. Temperature and top-p are in thousandths; a `top_k` of 0 is no limit.
    pub(super) fn new(temperature: u32, top_p: u32, top_k: u32, seed: u64) -> Self {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        Self {
            temperature: temperature as f32 / 1000.0,
            top_p: top_p as f32 / 1000.0,
            top_k: top_k as usize,
            random: ChaCha12Rng::from_seed(key),
            candidates: Vec::new(),
        }
    }

    /// Samples a token by logits. Returns `None` if a logit is NaN or there are no logits.
    pub(super) fn draw(&mut self, logits: &[f32]) -> Option<u32> {
        let mut best = (f32::NEG_INFINITY, 0);
        for (token, &logit) in (0..).zip(logits) {
            if !logit.is_finite() {
                return None;
            }
            if logit > best.0 {
                best = (logit, token);
            }
        }
        if logits.is_empty() {
            return None;
        }
        if self.temperature == 0.0 || self.top_k == 1 {
            return Some(best.1);
        }
        self.candidates.clear();
        let inverse = self.temperature.recip();
        let weight = |logit: f32| ((logit - best.0) * inverse).exp();
        self.candidates.extend(logits.iter().zip(0..).map(|(&logit, token)| (weight(logit), token)));
        self.narrow();
        let total: f64 = self.candidates.iter().map(|(weight, _)| f64::from(*weight)).sum();
        // 53 random bits: a number in [0, 1).
        let share = (self.random.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
        let mut left = share * total;
        for (weight, token) in &self.candidates {
            left -= f64::from(*weight);
            if left < 0.0 {
                return Some(*token);
            }
        }
        Some(best.1)
    }

    /// Reduces the candidates by top-k and top-p.
    fn narrow(&mut self) {
        // Most probable first, ties by number.
        let order = |a: &(f32, u32), b: &(f32, u32)| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1));
        if self.top_k > 0 && self.top_k < self.candidates.len() {
            self.candidates.select_nth_unstable_by(self.top_k - 1, order);
            self.candidates.truncate(self.top_k);
        }
        if self.top_p < 1.0 {
            let total: f64 = self.candidates.iter().map(|(weight, _)| f64::from(*weight)).sum();
            let wanted = total * f64::from(self.top_p);
            // The nucleus is mostly small, so only it is sorted.
            let mut len = NUCLEUS_FIRST.min(self.candidates.len());
            loop {
                if len < self.candidates.len() {
                    self.candidates.select_nth_unstable_by(len - 1, order);
                }
                self.candidates[..len].sort_unstable_by(order);
                let mut sum = 0.0;
                let enough = self.candidates[..len].iter().position(|(weight, _)| {
                    sum += f64::from(*weight);
                    sum >= wanted
                });
                match enough {
                    Some(last) => return self.candidates.truncate(last + 1),
                    None if len == self.candidates.len() => return,
                    None => len = (len * 8).min(self.candidates.len()),
                }
            }
        }
        if self.top_k > 0 {
            // The order of ties must not depend on the selection algorithm.
            self.candidates.sort_unstable_by(order);
        }
    }
}

/// The number of most probable tokens that are sorted first.
const NUCLEUS_FIRST: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// How often each token is drawn.
    fn counts(mut sampler: Sampler, logits: &[f32], draws: usize) -> Vec<usize> {
        let mut counts = vec![0; logits.len()];
        for _ in 0..draws {
            counts[sampler.draw(logits).unwrap() as usize] += 1;
        }
        counts
    }

    #[test]
    fn the_likeliest_token_wins_without_temperature_and_the_first_of_equal_ones() {
        assert_eq!(Sampler::new(0, 1000, 0, 1).draw(&[1.0, 3.0, 3.0, -9.0]), Some(1));
        assert_eq!(Sampler::new(1000, 1000, 1, 1).draw(&[1.0, 3.0, 3.0, -9.0]), Some(1));
        assert_eq!(Sampler::new(0, 1000, 0, 1).draw(&[1.0, f32::NAN]), None);
        assert_eq!(Sampler::new(0, 1000, 0, 1).draw(&[]), None);
    }

    #[test]
    fn tokens_are_drawn_as_often_as_their_probability_says() {
        let logits = [0.5_f32.ln(), 0.3_f32.ln(), 0.2_f32.ln()];
        for (found, expected) in
            counts(Sampler::new(1000, 1000, 0, 7), &logits, 20_000).iter().zip([10_000, 6000, 4000])
        {
            assert!(found.abs_diff(expected) < 300, "{found} for {expected}");
        }
        // At half the temperature probabilities are squared: 25 to 9 to 4.
        for (found, expected) in
            counts(Sampler::new(500, 1000, 0, 7), &logits, 19_000).iter().zip([12_500, 4500, 2000])
        {
            assert!(found.abs_diff(expected) < 300, "{found} for {expected}");
        }
        let two = counts(Sampler::new(1000, 1000, 2, 7), &logits, 8000);
        assert!(two[0].abs_diff(5000) < 200 && two[2] == 0, "{two:?}");
        let nucleus = counts(Sampler::new(1000, 600, 0, 7), &logits, 8000);
        assert!(nucleus[0].abs_diff(5000) < 200 && nucleus[2] == 0, "{nucleus:?}");
        assert_eq!(counts(Sampler::new(1000, 400, 0, 7), &logits, 100), [100, 0, 0]);
    }

    #[test]
    fn the_same_seed_draws_the_same_on_any_machine() {
        let logits: Vec<f32> = (0..8).map(|token| token as f32 * 0.1).collect();
        let mut sampler = Sampler::new(1000, 1000, 0, 42);
        let drawn: Vec<u32> = (0..12).filter_map(|_| sampler.draw(&logits)).collect();
        let mut again = Sampler::new(1000, 1000, 0, 42);
        assert_eq!(drawn, (0..12).filter_map(|_| again.draw(&logits)).collect::<Vec<u32>>());
        let mut other = Sampler::new(1000, 1000, 0, 43);
        assert_ne!(drawn, (0..12).filter_map(|_| other.draw(&logits)).collect::<Vec<u32>>());
    }

    proptest! {
        /// The nucleus is the same as after sorting all tokens.
        #[test]
        fn a_nucleus_is_the_same_however_it_is_found(seed: u64, top_p in 1..1000_u32, top_k in 0..400_u32, len in 1..400_usize) {
            let mut state = seed;
            let logits: Vec<f32> = (0..len).map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (state >> 60) as f32 * 0.2
            }).collect();
            let best = logits.iter().copied().fold(f32::MIN, f32::max);
            let mut all: Vec<(f32, u32)> = logits.iter().zip(0..).map(|(logit, token)| ((logit - best).exp(), token)).collect();
            all.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
            if top_k > 0 {
                all.truncate(top_k as usize);
            }
            let total: f64 = all.iter().map(|(weight, _)| f64::from(*weight)).sum();
            let mut sum = 0.0;
            let last = all.iter().position(|(weight, _)| {
                sum += f64::from(*weight);
                sum >= total * f64::from(top_p as f32 / 1000.0)
            });
            let mut expected: Vec<u32> = all[..=last.unwrap_or(all.len() - 1)].iter().map(|(_, token)| *token).collect();
            let mut sampler = Sampler::new(1000, top_p, top_k, seed);
            prop_assert!(expected.contains(&sampler.draw(&logits).unwrap()));
            if top_k != 1 {
                let mut found: Vec<u32> = sampler.candidates.iter().map(|(_, token)| *token).collect();
                found.sort_unstable();
                expected.sort_unstable();
                prop_assert_eq!(found, expected);
            }
        }
    }
}
