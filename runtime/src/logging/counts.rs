//! Counts of log lines by level, component and name, since the start of the process.
//!
//! A name comes from the source code and never contains a value, so counts may leave the machine where lines may not.

use crate::config::LogLevel;
use engine::UnixMillis;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// The level, component and name of a line.
type Key = (LogLevel, String, String);

/// The counts of one log.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// Number of lines, and when the last one was logged.
    lines: Mutex<BTreeMap<Key, (u64, UnixMillis)>>,
}

/// How often one line was logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineCount {
    /// The level.
    pub level: LogLevel,
    /// The component.
    pub component: String,
    /// The name of the line: its message without values, or its place in the source.
    pub name: String,
    /// Number of lines.
    pub count: u64,
    /// When the last one was logged.
    pub last_at: UnixMillis,
}

impl Counts {
    pub(super) fn add(&self, level: LogLevel, component: &str, name: &str, now: UnixMillis) {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let mut key = (level, component.to_owned(), name.to_owned());
        if lines.len() >= NAMES_MAX && !lines.contains_key(&key) {
            key = (level, OTHER.to_owned(), OTHER.to_owned());
        }
        let entry = lines.entry(key).or_insert((0, now));
        *entry = (entry.0.saturating_add(1), now);
    }

    pub(super) fn all(&self) -> Vec<LineCount> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let count =
            |((level, component, name), (count, last_at)): (&(_, String, String), &(u64, UnixMillis))| {
                let (component, name) = (component.clone(), name.clone());
                LineCount { level: *level, component, name, count: *count, last_at: *last_at }
            };
        lines.iter().map(count).collect()
    }
}

/// Maximum number of names. Further ones count as [`OTHER`] of their level.
const NAMES_MAX: usize = 512;
const OTHER: &str = "other";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_by_name_and_names_are_bounded() {
        let counts = Counts::default();
        counts.add(LogLevel::Warn, "peers", "link refused", UnixMillis(1));
        counts.add(LogLevel::Warn, "peers", "link refused", UnixMillis(2));
        let found = counts.all();
        assert_eq!((found.len(), found[0].count, found[0].last_at), (1, 2, UnixMillis(2)));
        (0..2 * NAMES_MAX).for_each(|number| {
            counts.add(LogLevel::Info, "x", &number.to_string(), UnixMillis(3));
        });
        let found = counts.all();
        assert_eq!(found.len(), NAMES_MAX + 1);
        let other = found.iter().find(|line| line.name == OTHER).unwrap();
        assert_eq!(other.count, NAMES_MAX as u64 + 1);
    }
}
