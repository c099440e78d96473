//! The checks before a start: the home, its lock, the configuration and the key.
//!
//! Nothing of a node is visible to others before all of them have passed.

use super::error::StartError;
use super::storage::{require_free_space, unusable};
use crate::config::{self, Effective, LogLevel, Overrides, Shown};
use crate::home::{self, Home, Lock};
use crate::identity::{self, NodeKey};
use crate::logging::{self, Line, Log, LogOptions};
use crate::startup::Startup;
use serde_json::Value;
use std::io;
use std::time::Duration;

/// The result of the checks: settings, key, log, and the lock of the home.
pub(super) struct Preflight {
    pub(super) key: NodeKey,
    pub(super) effective: Effective,
    pub(super) log: Log,
    // Held until everything else of the node is gone.
    pub(super) lock: Lock,
}

impl Preflight {
    pub(super) fn run(
        home: &Home,
        overrides: &Overrides,
        terminal: bool,
        startup: &Startup,
    ) -> Result<Self, StartError> {
        home.create().map_err(unusable(home.root()))?;
        let run = home.run_directory();
        require_free_space(&run)?;
        let lock = home.lock()?;
        home.clear_run().map_err(unusable(home.root()))?;
        startup.done("home");
        let effective = config::load(home, overrides)?;
        require_free_space(&effective.settings.storage_path)?;
        let options = LogOptions {
            level: effective.settings.log_level,
            terminal,
            file_bytes_max: u64::from(effective.settings.log_file_max_mb) * 1_000_000,
            retention: Duration::from_secs(u64::from(effective.settings.log_retention_days) * 24 * 3600),
        };
        let log = Log::open(&home.log_file(), options).map_err(unusable(&home.log_file()))?;
        log.take_tracing();
        logging::report_panics(&log, &home.log_file());
        log_configuration(&log, &effective);
        let shown = serde_json::to_vec(&effective.shown()).map_err(io::Error::other);
        shown
            .and_then(|shown| home::replace_file(&home.effective_file(), &shown, 0o600))
            .map_err(unusable(&home.effective_file()))?;
        startup.done("configuration");
        let key = identity::load_or_create(home)?;
        startup.done("identity");
        Ok(Self { key, effective, log, lock })
    }
}

fn log_configuration(log: &Log, effective: &Effective) {
    for warning in &effective.warnings {
        tracing::warn!("{warning}");
    }
    let fields = effective.shown().into_iter().map(|shown| {
        let Shown { key, value, source } = shown;
        (key, Value::from(format!("{value} ({source})")))
    });
    log.write(&Line {
        level: LogLevel::Info,
        component: "config",
        message: "effective configuration",
        fields: fields.collect(),
    });
}
