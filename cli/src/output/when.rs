//! Points in time, as a terminal shows them.

use crate::homes;
use engine::UnixMillis;
use std::time::{SystemTime, UNIX_EPOCH};
use time::{OffsetDateTime, UtcOffset};

/// Formats a time of an answer: "3 min ago" on a terminal, the time in pipes and with `--wide`.
pub(crate) fn when(time: &str) -> String {
    relative(time).unwrap_or_else(|| zoned(time))
}

/// Formats a time of an answer, on a terminal with how long ago it was.
pub(crate) fn when_exactly(time: &str) -> String {
    let zoned = zoned(time);
    relative(time).map_or_else(|| zoned.clone(), |relative| format!("{relative} ({zoned})"))
}

/// Formats a time of an answer in the time zone that the settings ask for.
pub(crate) fn zoned(time: &str) -> String {
    let local = homes::wants_local_time().then(|| {
        let moment = OffsetDateTime::from_unix_timestamp(unix_seconds(time)?).ok()?;
        in_zone(time, UtcOffset::local_offset_at(moment).ok()?)
    });
    local.flatten().unwrap_or_else(|| time.to_owned())
}

/// Returns a time with an offset from UTC: `2026-01-31T13:00:00.000+01:00`.
fn in_zone(time: &str, offset: UtcOffset) -> Option<String> {
    let seconds = unix_seconds(time)?.checked_add(offset.whole_seconds().into())?;
    let shifted = UnixMillis(u64::try_from(seconds).ok()?.checked_mul(1000)?).to_string();
    // The part of a second is in the time as it was.
    let (moment, part) = (shifted.get(..19)?, time.get(19..)?.strip_suffix('Z')?);
    let (hours, minutes, _) = offset.as_hms();
    let sign = if offset.is_negative() { '-' } else { '+' };
    Some(format!("{moment}{part}{sign}{:02}:{:02}", hours.unsigned_abs(), minutes.unsigned_abs()))
}

fn relative(time: &str) -> Option<String> {
    if !super::is_shortened() {
        return None;
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs();
    Some(distance(unix_seconds(time)?, i64::try_from(now).ok()?))
}

/// Says how far `time` is from `now`, with one unit.
fn distance(time: i64, now: i64) -> String {
    let seconds = now.saturating_sub(time).unsigned_abs();
    let units = [(86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")];
    let Some((size, unit)) = units.into_iter().find(|(size, _)| seconds >= *size) else {
        return "now".to_owned();
    };
    let count = seconds / size;
    if time > now { format!("in {count} {unit}") } else { format!("{count} {unit} ago") }
}

/// Parses a time as nodes write it: `2026-01-31T12:00:00.000Z`.
fn unix_seconds(time: &str) -> Option<i64> {
    let part = |from: usize, to: usize| -> Option<i64> {
        let digits = time.get(from..to).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
        digits.parse().ok()
    };
    let separators = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    if !time.ends_with('Z') || separators.into_iter().any(|(at, byte)| time.as_bytes().get(at) != Some(&byte))
    {
        return None;
    }
    let (year, month, day) = (part(0, 4)?, part(5, 7)?, part(8, 10)?);
    let (hour, minute, second) = (part(11, 13)?, part(14, 16)?, part(17, 19)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Civil date to days, after Howard Hinnant's "chrono-Compatible Low-Level Date Algorithms".
    let shifted_year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (shifted_year.div_euclid(400), shifted_year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days =
        era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468;
    Some(((days * 24 + hour) * 60 + minute) * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_times_of_nodes_are_read() {
        for seconds in [0, 951_826_245, 1_767_225_599, 1_795_564_800, 4_102_444_800] {
            let text = UnixMillis(seconds * 1000 + 7).to_string();
            assert_eq!(unix_seconds(&text), i64::try_from(seconds).ok(), "{text}");
        }
        for bad in [
            "",
            "active",
            "-",
            "2026-01-31",
            "2026-13-31T12:00:00.000Z",
            "2026-01-31 12:00:00.000Z",
            "日本-01",
        ] {
            assert_eq!(unix_seconds(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_time_in_a_zone_is_the_same_moment() {
        let shown = |hours, minutes| {
            in_zone("2025-12-31T23:30:00.123Z", UtcOffset::from_hms(hours, minutes, 0).unwrap()).unwrap()
        };
        assert_eq!(shown(0, 0), "2025-12-31T23:30:00.123+00:00");
        assert_eq!(shown(5, 45), "2026-01-01T05:15:00.123+05:45");
        assert_eq!(shown(-3, -30), "2025-12-31T20:00:00.123-03:30");
        assert_eq!(in_zone("active", UtcOffset::UTC), None);
    }

    #[test]
    fn distances_have_one_unit() {
        let shown =
            [0, 1, 59, 60, 3_599, 3_600, 86_399, 200_000].map(|ago| distance(1_000_000 - ago, 1_000_000));
        assert_eq!(
            shown,
            ["now", "1 s ago", "59 s ago", "1 min ago", "59 min ago", "1 h ago", "23 h ago", "2 d ago"]
        );
        assert_eq!(distance(1_000_090, 1_000_000), "in 1 min");
    }
}
