//! Durations, shares, offsets and counts as people write them: `200ms`, `1ms..5ms` for a range, `2.5%`, `-3h`, `1..4`.

use crate::scenario::{DURATION_MAX, Range};
use core::fmt;
use core::time::Duration;
use serde::de::{Deserialize, Deserializer, Error, Unexpected, Visitor};

/// A duration in a scenario file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Period(pub(super) Duration);

/// A range of durations in a scenario file; a single duration is a range of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Periods(pub(super) Range);

/// A signed duration in a scenario file, in whole milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Offset(pub(super) i64);

/// A range of counts in a scenario file; a single count is a range of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) from: u32,
    pub(super) to: u32,
}

/// A share in a scenario file, in millionths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Share(pub(super) u32);

impl<'de> Deserialize<'de> for Share {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Share;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a share such as \"5%\" or \"0.25%\"")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Share, E> {
                share(text).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self)).map(Share)
            }
        }
        deserializer.deserialize_str(Text)
    }
}

impl<'de> Deserialize<'de> for Offset {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Offset;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an offset such as \"+3h\" or \"-200ms\", with a sign and whole milliseconds")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Offset, E> {
                offset(text).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self)).map(Offset)
            }
        }
        deserializer.deserialize_str(Text)
    }
}

impl<'de> Deserialize<'de> for Counts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Counts;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a count such as \"3\" or a range such as \"1..4\"")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Counts, E> {
                counts(text).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Period;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration such as \"200ms\", with one of the units us, ms, s, m, h")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Period, E> {
                let invalid = || E::invalid_value(Unexpected::Str(text), &self);
                duration(text).ok_or_else(invalid).map(Period)
            }
        }
        deserializer.deserialize_str(Text)
    }
}

impl<'de> Deserialize<'de> for Periods {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Periods;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration such as \"200ms\" or a range such as \"1ms..5ms\"")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Periods, E> {
                let invalid = || E::invalid_value(Unexpected::Str(text), &self);
                let (from, to) = text.split_once("..").unwrap_or((text, text));
                let from = duration(from).ok_or_else(invalid)?;
                let to = duration(to).filter(|&to| from <= to).ok_or_else(invalid)?;
                Ok(Periods(Range { from, to }))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

/// Parses a percentage with at most four decimals as millionths; `None` if it is malformed or over 100 %.
fn share(text: &str) -> Option<u32> {
    let (whole, decimals) = {
        let number = text.trim().strip_suffix('%')?.trim_end();
        number.split_once('.').unwrap_or((number, "0"))
    };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(decimals) || decimals.len() > 4 {
        return None;
    }
    let parts: u32 = format!("{decimals:0<4}").parse().ok()?;
    let millionths = whole.parse::<u32>().ok()?.checked_mul(10_000)?.checked_add(parts)?;
    (millionths <= 1_000_000).then_some(millionths)
}

/// Parses a signed duration of whole milliseconds; `None` if it is malformed or zero.
fn offset(text: &str) -> Option<i64> {
    let text = text.trim();
    let (sign, rest) =
        text.strip_prefix('-').map_or_else(|| (1, text.strip_prefix('+')), |rest| (-1, Some(rest)));
    let span = duration(rest?)?;
    let whole = span.as_micros().is_multiple_of(1_000) && !span.is_zero();
    whole.then(|| i64::try_from(span.as_millis()).ok()).flatten().map(|millis| sign * millis)
}

/// Parses a count or a range of counts; `None` if it is malformed.
fn counts(text: &str) -> Option<Counts> {
    let (from, to) = text.split_once("..").unwrap_or((text, text));
    let (from, to) = (from.trim().parse().ok()?, to.trim().parse().ok()?);
    (from <= to).then_some(Counts { from, to })
}

/// Parses a whole number with a unit; `None` if it is malformed or longer than allowed.
fn duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let micros: u64 = match unit {
        "us" => 1,
        "ms" => 1_000,
        "s" => 1_000_000,
        "m" => 60_000_000,
        "h" => 3_600_000_000,
        _ => return None,
    };
    let duration = Duration::from_micros(number.parse::<u64>().ok()?.checked_mul(micros)?);
    (duration <= DURATION_MAX).then_some(duration)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_with_a_unit_are_read() {
        assert_eq!(duration("200ms"), Some(Duration::from_millis(200)));
        assert_eq!(duration(" 7h "), Some(Duration::from_secs(7 * 3600)));
        assert_eq!(duration("0us"), Some(Duration::ZERO));
    }

    #[test]
    fn shares_are_read_in_millionths() {
        assert_eq!(share("5%"), Some(50_000));
        assert_eq!(share(" 0.25 %"), Some(2_500));
        assert_eq!(share("100%"), Some(1_000_000));
        for text in ["5", "%", ".5%", "5.%", "-1%", "100.0001%", "0.00001%", "99999999999%", "1e1%", "5 5%"] {
            assert_eq!(share(text), None, "{text:?}");
        }
    }

    #[test]
    fn offsets_have_a_sign_and_whole_milliseconds() {
        assert_eq!(offset("+3h"), Some(10_800_000));
        assert_eq!(offset(" -200ms "), Some(-200));
        for text in ["3h", "+", "-", "+-1s", "--1s", "+1us", "+0s", "-9999999h", "+1.5s"] {
            assert_eq!(offset(text), None, "{text:?}");
        }
    }

    #[test]
    fn counts_are_one_or_a_range() {
        assert_eq!(counts("3"), Some(Counts { from: 3, to: 3 }));
        assert_eq!(counts("0 .. 4"), Some(Counts { from: 0, to: 4 }));
        for text in ["", "..", "4..3", "-1..2", "1..", "1...3", "99999999999", "a..b"] {
            assert_eq!(counts(text), None, "{text:?}");
        }
    }

    #[test]
    fn anything_else_is_not() {
        for text in ["", "ms", "1", "1.5s", "-1s", "1 s", "99999999999999999999s", "8000000h", "1sé", "é"] {
            assert_eq!(duration(text), None, "{text:?}");
        }
    }
}
