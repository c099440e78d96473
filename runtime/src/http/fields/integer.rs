//! Integers in all forms that clients write.

use serde::de::{Deserialize, Deserializer, Error, Visitor};
use std::fmt;

/// An integer, also written as `3.0` or beyond every limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::http) struct Integer(pub(in crate::http) i64);

impl<'de> Deserialize<'de> for Integer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl Visitor<'_> for Reader {
            type Value = Integer;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a whole number")
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Integer, E> {
                Ok(Integer(i64::try_from(number).unwrap_or(i64::MAX)))
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Integer, E> {
                Ok(Integer(number))
            }

            #[allow(clippy::cast_possible_truncation, reason = "what is beyond the range becomes its end")]
            fn visit_f64<E: Error>(self, number: f64) -> Result<Integer, E> {
                if number.trunc().to_bits() == number.to_bits() {
                    return Ok(Integer(number as i64));
                }
                Err(E::invalid_value(serde::de::Unexpected::Float(number), &self))
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

impl Integer {
    /// Converts to an unsigned number: `None` if negative, the maximum if too large.
    pub(in crate::http) fn count<N: TryFrom<i64> + Saturating>(self) -> Option<N> {
        (self.0 >= 0).then(|| N::try_from(self.0).unwrap_or(N::MAX))
    }
}

/// A type with a maximum.
pub(in crate::http) trait Saturating {
    /// The maximum.
    const MAX: Self;
}

impl Saturating for u32 {
    const MAX: Self = Self::MAX;
}

impl Saturating for usize {
    const MAX: Self = Self::MAX;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_are_read_in_every_form() {
        for (json, number) in [
            ("3", 3),
            ("3.0", 3),
            ("-1", -1),
            ("-1.0", -1),
            ("1e3", 1000),
            ("18446744073709551615", i64::MAX),
            ("1e300", i64::MAX),
        ] {
            assert_eq!(serde_json::from_str::<Integer>(json).unwrap(), Integer(number), "{json}");
        }
        for json in ["3.5", "\"3\"", "true", "[]"] {
            assert!(serde_json::from_str::<Integer>(json).is_err(), "{json}");
        }
        assert_eq!(Integer(-1).count::<u32>(), None);
        assert_eq!(Integer(1 << 40).count::<u32>(), Some(u32::MAX));
        assert_eq!(Integer(7).count::<usize>(), Some(7));
    }
}
