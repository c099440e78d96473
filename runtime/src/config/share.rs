//! A part of the whole, as a number from 0 to 1.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// A part of the whole, exact to a millionth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share(u32);

impl Share {
    /// Returns the share; `None` unless it is 0 to 1.
    pub fn new(share: f64) -> Option<Self> {
        if !(0.0..=1.0).contains(&share) {
            return None;
        }
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to a million")]
        let millionths = (share * MILLION).round() as u32;
        Some(Self(millionths))
    }

    /// Returns the share in millionths.
    pub const fn millionths(self) -> u32 {
        self.0
    }
}

impl Serialize for Share {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(f64::from(self.0) / MILLION)
    }
}

impl<'de> Deserialize<'de> for Share {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let share = f64::deserialize(deserializer)?;
        Self::new(share).ok_or_else(|| D::Error::custom("a share must be 0.0 to 1.0"))
    }
}

const MILLION: f64 = 1e6;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_from_nothing_to_all_and_comes_back_as_it_was_written() {
        for (number, millionths) in [(0.0, 0), (0.25, 250_000), (0.000_001, 1), (1.0, 1_000_000)] {
            let share = Share::new(number).unwrap();
            assert_eq!(share.millionths(), millionths);
            let text = serde_json::to_string(&share).unwrap();
            assert_eq!((text.parse(), serde_json::from_str(&text).unwrap()), (Ok(number), share));
        }
        for number in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
            assert_eq!(Share::new(number), None, "{number}");
        }
    }
}
