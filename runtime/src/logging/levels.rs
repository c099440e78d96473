//! The levels of a log, which may change while the node runs: one for all components, and exceptions for some.
//!
//! A change ends after its time, or with the process. The configured level then applies again.

use crate::config::LogLevel;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};
use tracing_subscriber::Registry;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::reload;

/// The levels of one log.
#[derive(Debug)]
pub(super) struct Levels {
    configured: LogLevel,
    /// The lowest level of any component. Most lines are below it, and cost one load.
    lowest: AtomicU8,
    changes: RwLock<Changes>,
    /// The filter of this process's `tracing` events, once they go to this log.
    filter: OnceLock<reload::Handle<Targets, Registry>>,
}

#[derive(Debug, Default)]
struct Changes {
    all: Option<Change>,
    components: BTreeMap<String, Change>,
}

/// A level that replaces the configured one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Change {
    level: LogLevel,
    /// When it ends; `None` for the end of the process.
    until: Option<Instant>,
}

/// The level of one component, or of all others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LevelInForce {
    /// The component; `None` for all without a level of their own.
    pub component: Option<String>,
    /// The level.
    pub level: LogLevel,
    /// The remaining time, if the level changes back by itself.
    pub remaining: Option<Duration>,
}

/// Too many components have levels of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{COMPONENTS_MAX} components have log levels of their own already")]
pub struct TooManyLevels;

impl Levels {
    pub(super) fn new(configured: LogLevel) -> Self {
        Self {
            configured,
            lowest: AtomicU8::new(configured as u8),
            changes: RwLock::default(),
            filter: OnceLock::new(),
        }
    }

    /// Tells whether lines of this level and component are written.
    pub(super) fn take(&self, level: LogLevel, component: &str) -> bool {
        if (level as u8) < self.lowest.load(Ordering::Relaxed) {
            return false;
        }
        let changes = self.changes.read().unwrap_or_else(PoisonError::into_inner);
        level
            >= changes
                .components
                .get(component)
                .map_or_else(|| changes.base(self.configured), |change| change.level)
    }

    /// Returns the level of all components, then those of single ones.
    pub(super) fn in_force(&self) -> Vec<LevelInForce> {
        let changes = self.changes.read().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let remaining = |change: &Change| change.until.map(|until| until.saturating_duration_since(now));
        let all = LevelInForce {
            component: None,
            level: changes.base(self.configured),
            remaining: changes.all.as_ref().and_then(remaining),
        };
        let single = changes.components.iter().map(|(name, change)| LevelInForce {
            component: Some(name.clone()),
            level: change.level,
            remaining: remaining(change),
        });
        std::iter::once(all).chain(single).collect()
    }

    pub(super) fn configured(&self) -> LogLevel {
        self.configured
    }

    /// Changes the level of a component or of all, for a time or until the end of the process.
    pub(super) fn set(
        &self,
        component: Option<&str>,
        level: LogLevel,
        duration: Option<Duration>,
    ) -> Result<(), TooManyLevels> {
        let change =
            Change { level, until: duration.and_then(|duration| Instant::now().checked_add(duration)) };
        self.update(|changes| {
            match component {
                None => changes.all = Some(change),
                Some(name)
                    if changes.components.len() < COMPONENTS_MAX || changes.components.contains_key(name) =>
                {
                    changes.components.insert(name.to_owned(), change);
                }
                Some(_) => return Err(TooManyLevels),
            }
            Ok(())
        })
    }

    /// Undoes the change for a component. With `None`, undoes all changes.
    pub(super) fn reset(&self, component: Option<&str>) {
        self.update(|changes| match component {
            None => *changes = Changes::default(),
            Some(name) => drop(changes.components.remove(name)),
        });
    }

    /// Undoes the changes whose time is over.
    pub(super) fn expire(&self) {
        let now = Instant::now();
        let lasts = |change: &Change| change.until.is_none_or(|until| until > now);
        self.update(|changes| {
            changes.all = changes.all.filter(lasts);
            changes.components.retain(|_, change| lasts(change));
        });
    }

    /// Returns the filter for `tracing` events, which follows later changes.
    pub(super) fn tracing_filter(&self) -> reload::Layer<Targets, Registry> {
        let changes = self.changes.read().unwrap_or_else(PoisonError::into_inner);
        let (filter, handle) = reload::Layer::new(changes.targets(self.configured));
        // Only the first caller can become the subscriber of this process.
        let _ = self.filter.set(handle);
        filter
    }

    fn update<T>(&self, change: impl FnOnce(&mut Changes) -> T) -> T {
        let mut changes = self.changes.write().unwrap_or_else(PoisonError::into_inner);
        let result = change(&mut changes);
        self.lowest.store(changes.lowest(self.configured) as u8, Ordering::Relaxed);
        let targets = changes.targets(self.configured);
        drop(changes);
        if let Some(filter) = self.filter.get() {
            // It fails only if another subscriber has replaced this one.
            let _ = filter.reload(targets);
        }
        result
    }
}

impl Changes {
    fn base(&self, configured: LogLevel) -> LogLevel {
        self.all.map_or(configured, |change| change.level)
    }

    fn lowest(&self, configured: LogLevel) -> LogLevel {
        let base = self.base(configured);
        self.components.values().map(|change| change.level).min().map_or(base, |least| least.min(base))
    }

    /// Returns the filter of `tracing` events. Own code passes if any component wants the level, because an event may
    /// name its component itself. Libraries log warnings and errors only, unless they are named.
    fn targets(&self, configured: LogLevel) -> Targets {
        let own = tracing_level(self.lowest(configured));
        let base = tracing_level(self.base(configured));
        let libraries = Targets::new().with_default(base.min(LevelFilter::WARN));
        let named = self.components.iter().fold(libraries, |targets, (name, change)| {
            targets.with_target(name.as_str(), tracing_level(change.level))
        });
        OWN_TARGETS.iter().fold(named, |targets, name| targets.with_target(*name, own))
    }
}

const fn tracing_level(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Trace => LevelFilter::TRACE,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Warn => LevelFilter::WARN,
        // `tracing` has no level above.
        LogLevel::Error | LogLevel::Fatal => LevelFilter::ERROR,
    }
}

const OWN_TARGETS: [&str; 3] = ["engine", "runtime", "p2p_ai_agents"];
/// Maximum number of components with a level of their own.
const COMPONENTS_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_component_may_differ_from_the_rest() {
        let levels = Levels::new(LogLevel::Info);
        assert!(levels.take(LogLevel::Info, "router") && !levels.take(LogLevel::Debug, "router"));
        levels.set(Some("router"), LogLevel::Trace, None).unwrap();
        assert!(levels.take(LogLevel::Trace, "router") && !levels.take(LogLevel::Debug, "tasks"));
        levels.set(None, LogLevel::Error, None).unwrap();
        assert!(levels.take(LogLevel::Trace, "router") && !levels.take(LogLevel::Warn, "tasks"));
        levels.set(Some("router"), LogLevel::Fatal, None).unwrap();
        assert!(!levels.take(LogLevel::Error, "router") && levels.take(LogLevel::Error, "tasks"));
        levels.reset(Some("router"));
        assert!(levels.take(LogLevel::Error, "router"));
        levels.reset(None);
        assert!(levels.take(LogLevel::Info, "tasks"));
    }

    #[test]
    fn a_change_ends_after_its_time() {
        let levels = Levels::new(LogLevel::Info);
        levels.set(None, LogLevel::Trace, Some(Duration::ZERO)).unwrap();
        levels.set(Some("router"), LogLevel::Debug, Some(Duration::from_secs(600))).unwrap();
        levels.expire();
        let found = levels.in_force();
        assert_eq!((found[0].level, found[0].remaining), (LogLevel::Info, None));
        assert_eq!((found[1].component.as_deref(), found[1].level), (Some("router"), LogLevel::Debug));
        assert!(found[1].remaining.unwrap() > Duration::from_secs(590));
        assert!(!levels.take(LogLevel::Debug, "tasks"));
    }

    #[test]
    fn the_number_of_components_is_limited() {
        let levels = Levels::new(LogLevel::Info);
        for number in 0..COMPONENTS_MAX {
            levels.set(Some(&number.to_string()), LogLevel::Debug, None).unwrap();
        }
        assert_eq!(levels.set(Some("one more"), LogLevel::Debug, None), Err(TooManyLevels));
        levels.set(Some("0"), LogLevel::Trace, None).unwrap();
    }

    #[test]
    fn events_of_a_named_library_pass() {
        let mut changes = Changes::default();
        let passes = |changes: &Changes, target: &str, level: tracing::Level| {
            changes.targets(LogLevel::Info).would_enable(target, &level)
        };
        assert!(passes(&changes, "runtime::http", tracing::Level::INFO));
        assert!(!passes(&changes, "yamux::connection", tracing::Level::INFO));
        changes.components.insert("yamux".to_owned(), Change { level: LogLevel::Debug, until: None });
        assert!(passes(&changes, "yamux::connection", tracing::Level::DEBUG));
        assert!(passes(&changes, "runtime::http", tracing::Level::DEBUG), "it may name its component itself");
        assert!(!passes(&changes, "libp2p", tracing::Level::INFO));
    }
}
