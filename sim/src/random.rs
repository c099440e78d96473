//! Counter-based randomness: every number is a function of (seed, purpose, who, n) and of nothing else.
//!
//! No draw has a history. Removing one fault or one node leaves all other draws unchanged, which makes shrinking work.
//! The function is Philox4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011),
//! which is exact on every machine.

use core::time::Duration;

/// What a number is used for. The discriminants are part of the meaning of a seed and never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Purpose {
    /// A node's key pair; who is the node.
    Identity = 1,
    /// A node's own seed; who is the node, n its incarnation.
    NodeSeed = 2,
    /// When a node starts; who is the node.
    Start = 3,
    /// The links of a random topology; who is the round.
    Topology = 4,
    /// The latency of a packet or frame; who is the pair, n the time.
    Latency = 5,
    /// The duration of a write; who is the node, n counts its writes.
    DiskLatency = 6,
    /// How many unfinished writes of a killed process complete; who is the node, n its incarnation.
    WritesSurvive = 7,
    /// The compute time of a text; who is the text.
    Compute = 8,
    /// The node that a task is submitted to; who is the task.
    Origin = 9,
    /// When a fault is injected; who is the fault.
    FaultTime = 10,
    /// The node that a fault affects; who is the fault.
    FaultNode = 11,
    /// The seed of turmoil's own generator.
    Turmoil = 12,
    /// Whether something is lost; who is the connection or pair, n counts what it carries.
    Loss = 13,
    /// How a node stops during churn; who is the fault, n counts the departures.
    ChurnKind = 14,
    /// When it stops.
    ChurnTime = 15,
    /// How long it stays away.
    ChurnAway = 16,
    /// The actions of a hostile node; who is the node, n counts its draws.
    Hostile = 17,
    /// The key of a node that a hostile node invents; who is the hostile node, n counts the invented ones.
    Invented = 18,
    /// The nodes that a swizzle stalls, and their order; who is the fault.
    Swizzle = 19,
    /// The order in which it releases them.
    Unswizzle = 20,
    /// An additional delay; who is the pair and the fault, n the time.
    Slowness = 21,
    /// Whether something is disturbed, and how; who is the pair and the fault, n the time.
    Disturbance = 22,
    /// Whether a fault is injected at all; who is the fault.
    FaultDrawn = 23,
    /// How many faults a swarm draws.
    SwarmSize = 24,
    /// The order in which a swarm draws them; who is the fault.
    SwarmLot = 25,
    /// Whether a write fails, or its additional time; who is the node and the fault, n counts its writes.
    DiskFault = 26,
    /// Whether a job fails, or its additional time; who is the node and the fault, n is the job.
    InferenceFault = 27,
    /// When power fails during a write; who is the node, n counts its writes.
    PowerGoes = 28,
    /// The content of a file; who is the file, n the 32 bytes.
    Content = 29,
    /// The duration of an operation on a file; who is the node, n counts the operations.
    BlobLatency = 30,
}

/// One run's source of random numbers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Random {
    key: [u32; 2],
}

impl Random {
    pub(crate) const fn new(seed: u64) -> Self {
        Self { key: split(seed) }
    }

    /// Returns 64 random bits.
    pub(crate) fn draw(self, purpose: Purpose, who: u64, n: u32) -> u64 {
        let [low, high, ..] = self.block(purpose, who, n);
        u64::from(high) << 32 | u64::from(low)
    }

    /// Returns a number below `bound`, or 0 if `bound` is 0.
    pub(crate) fn below(self, bound: u64, purpose: Purpose, who: u64, n: u32) -> u64 {
        // The high half of a 128-bit product (Lemire 2019).
        let product = u128::from(self.draw(purpose, who, n)) * u128::from(bound);
        u64::try_from(product >> 64).unwrap_or_default()
    }

    /// Returns an index into `len` entries, or 0 if there are none.
    pub(crate) fn index(self, len: usize, purpose: Purpose, who: u64, n: u32) -> usize {
        let bound = u64::try_from(len).unwrap_or_default();
        usize::try_from(self.below(bound, purpose, who, n)).unwrap_or_default()
    }

    /// Returns a duration in `from..=to`, in whole microseconds.
    pub(crate) fn between(self, range: (Duration, Duration), purpose: Purpose, who: u64, n: u32) -> Duration {
        let span = engine::time::micros(range.1.saturating_sub(range.0));
        range.0 + Duration::from_micros(self.below(span.saturating_add(1), purpose, who, n))
    }

    /// Shuffles entries.
    pub(crate) fn shuffle<T>(self, entries: &mut [T], purpose: Purpose, who: u64) {
        for last in (1..entries.len()).rev() {
            let n = u32::try_from(last).unwrap_or(u32::MAX);
            entries.swap(last, self.index(last + 1, purpose, who, n));
        }
    }

    /// Returns 32 random bytes. Uses the draws `2n` and `2n + 1` of its purpose.
    pub(crate) fn bytes(self, purpose: Purpose, who: u64, n: u32) -> [u8; 32] {
        let mut bytes = [0; 32];
        let halves = [n.wrapping_mul(2), n.wrapping_mul(2).wrapping_add(1)];
        let words = halves.iter().flat_map(|&half| self.block(purpose, who, half));
        for (to, word) in bytes.chunks_exact_mut(4).zip(words) {
            to.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    fn block(self, purpose: Purpose, who: u64, n: u32) -> [u32; 4] {
        let [low, high] = split(who);
        philox([n, low, high, purpose as u32], self.key)
    }
}

/// Philox4x32 with 10 rounds.
fn philox(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for _ in 0..10 {
        let [low_0, high_0] = split(u64::from(counter[0]) * 0xD251_1F53);
        let [low_1, high_1] = split(u64::from(counter[2]) * 0xCD9E_8D57);
        counter = [high_1 ^ counter[1] ^ key[0], low_1, high_0 ^ counter[3] ^ key[1], low_0];
        key = [key[0].wrapping_add(0x9E37_79B9), key[1].wrapping_add(0xBB67_AE85)];
    }
    counter
}

/// Splits a number into its low and high half.
#[allow(clippy::cast_possible_truncation, reason = "each half is meant to be truncated")]
const fn split(value: u64) -> [u32; 2] {
    [value as u32, (value >> 32) as u32]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn philox_gives_the_published_answers() {
        assert_eq!(philox([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(
            philox([u32::MAX; 4], [u32::MAX; 2]),
            [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]
        );
        assert_eq!(
            philox([0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344], [0xa409_3822, 0x299f_31d0]),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }

    #[test]
    fn bounds_are_kept_and_reached() {
        let random = Random::new(7);
        let draws: Vec<u64> = (0..200).map(|n| random.below(3, Purpose::Latency, 1, n)).collect();
        assert!((0..3).all(|value| draws.contains(&value)) && draws.iter().all(|&value| value < 3));
        let range = (Duration::from_micros(5), Duration::from_micros(6));
        let spans: Vec<u128> =
            (0..50).map(|n| random.between(range, Purpose::Latency, 1, n).as_micros()).collect();
        assert!(spans.contains(&5) && spans.contains(&6) && spans.iter().all(|&span| span == 5 || span == 6));
    }

    #[test]
    fn purposes_owners_and_counters_are_independent() {
        let random = Random::new(7);
        let first = random.draw(Purpose::Latency, 1, 0);
        assert_ne!(first, random.draw(Purpose::Compute, 1, 0));
        assert_ne!(first, random.draw(Purpose::Latency, 2, 0));
        assert_ne!(first, random.draw(Purpose::Latency, 1, 1));
        assert_ne!(first, Random::new(8).draw(Purpose::Latency, 1, 0));
        assert_eq!(first, Random::new(7).draw(Purpose::Latency, 1, 0));
    }
}
