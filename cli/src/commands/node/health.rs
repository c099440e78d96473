//! `node health`: checks the node, or all nodes of this user. Exits with 0 unless a check fails.

use crate::client::Client;
use crate::commands::all_nodes;
use crate::error::{Failure, Outcome};
use crate::output::{self, Format};
use api::Health;
use engine::health::{Component, HealthReason, Verdict};
use runtime::home::Home;
use std::process::ExitCode;

pub(super) fn run(home: &Home, format: Format) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let health = runtime.block_on(async { Client::connect(home)?.get::<Health>(PATH).await })?;
    if format.json {
        output::json(&health)?;
    } else {
        print(&health, None)?;
    }
    Ok(if is_well(&health) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Checks all nodes of this user.
pub(super) fn run_all(format: Format) -> Outcome {
    all_nodes::show::<Health>(PATH, format, is_well, |home, _, health| print(&health, Some(home)))
}

fn is_well(health: &Health) -> bool {
    health.status != Verdict::Fail
}

fn print(health: &Health, home: Option<&Home>) -> Result<(), Failure> {
    let row = |found: &engine::health::Finding| {
        let name = match found.component {
            Component::Configuration => "Configuration",
            Component::Crypto => "Crypto",
            Component::Memory => "Memory",
            Component::Storage => "Storage",
        };
        let mut text = shown(found.verdict).to_owned();
        if let (Component::Memory, Some(used)) = (found.component, health.memory_bytes) {
            text = format!("{text}  {} of {} MiB", used >> 20, health.memory_bytes_max >> 20);
        }
        if let Some(reason) = found.reason {
            text = format!("{text}  {}: {}", word(reason), remedy(reason));
        }
        (name, text)
    };
    let mut rows: Vec<_> = home.map(|home| ("Home", home.root().display().to_string())).into_iter().collect();
    rows.push(("Health", format!("{}  checked in {:.1} ms", shown(health.status), health.took_ms)));
    rows.extend(health.components.iter().map(row));
    output::properties(&rows)
}

pub(in crate::commands) const fn shown(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "PASS",
        Verdict::Warn => "WARN",
        Verdict::Fail => "FAIL",
    }
}

/// Returns the stable name of a reason.
pub(super) const fn word(reason: HealthReason) -> &'static str {
    match reason {
        HealthReason::ConfigUnreadable => "config_unreadable",
        HealthReason::CryptoTimeout => "crypto_timeout",
        HealthReason::MemoryThresholdExceeded => "memory_threshold_exceeded",
        HealthReason::StorageFailed => "storage_failed",
        HealthReason::StorageTimeout => "storage_timeout",
        HealthReason::RecordsDamaged => "records_damaged",
    }
}

const fn remedy(reason: HealthReason) -> &'static str {
    match reason {
        HealthReason::ConfigUnreadable => "p2p-ai-agents node config says what is wrong with it",
        HealthReason::CryptoTimeout => "the machine is too busy",
        HealthReason::MemoryThresholdExceeded => "raise max_memory_mb, or run fewer models",
        HealthReason::StorageFailed => "check the space on the disk; nothing new is accepted meanwhile",
        HealthReason::StorageTimeout => "the disk is slow or hangs",
        HealthReason::RecordsDamaged => {
            "stored records are damaged and not given out; p2p-ai-agents doctor names them"
        }
    }
}

const PATH: &str = "/api/v1/health";
