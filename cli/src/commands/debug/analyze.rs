//! `debug analyze`: says what is wrong with a node, by rules over a snapshot.

mod rules;

use super::snapshot::PATH;
use crate::client::Client;
use crate::commands::doctor::finding::Report;
use crate::error::{Failure, Outcome};
use crate::homes::SelectedHome;
use crate::output::{self, Format};
use api::{SNAPSHOT_FORMAT, Snapshot};
use clap::Args;
use serde::Deserialize;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// Snapshot to analyze, as debug snapshot wrote it [default: the running node]
    #[arg(long, value_name = "FILE")]
    pub(crate) snapshot: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) format: Format,
}

pub(super) fn run(home: &SelectedHome, arguments: &Arguments) -> Outcome {
    let snapshot = match &arguments.snapshot {
        Some(path) => read(path)?,
        None => {
            let client = Client::connect(&home.open()?)?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let bytes = runtime.block_on(client.get_raw(PATH))?;
            parse(&bytes)?
        }
    };
    let report = Report::new(rules::findings(&snapshot), Some(summary(&snapshot)));
    if arguments.format.json {
        output::json(&report)?;
    } else {
        output::prose(&report.text())?;
    }
    Ok(if report.healthy { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn summary(snapshot: &Snapshot) -> String {
    let Snapshot { node, program, machine, .. } = snapshot;
    let uptime = node.uptime_ms.map_or_else(
        || "not ACTIVE yet".to_owned(),
        |millis| format!("ACTIVE for {}", output::duration(millis)),
    );
    format!(
        "Node {} at {}: version {} on {} {}, {uptime}, {} peers, {} members.",
        node.id,
        snapshot.taken_at,
        program.version,
        machine.system,
        machine.architecture,
        snapshot.peers.len(),
        snapshot.members.len(),
    )
}

fn read(path: &Path) -> Result<Snapshot, Failure> {
    let unreadable = |error: &io::Error| {
        Failure::new(format!("cannot read {}", path.display())).id("snapshot_unreadable").because(Some(error))
    };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| unreadable(&error))?;
    file.take(SNAPSHOT_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|error| unreadable(&error))?;
    if bytes.len() as u64 > SNAPSHOT_BYTES_MAX {
        let error = io::Error::other(format!("it has more than {SNAPSHOT_BYTES_MAX} bytes"));
        return Err(unreadable(&error));
    }
    parse(&bytes).map_err(|failure| failure.at(&path.display().to_string()))
}

/// The part of a snapshot that every format has.
#[derive(Deserialize)]
struct Header {
    format: u32,
}

fn parse(bytes: &[u8]) -> Result<Snapshot, Failure> {
    let malformed = |error: serde_json::Error| {
        if error.is_eof() {
            Failure::new("the snapshot is cut short").id("snapshot_cut")
        } else {
            Failure::new("not a snapshot").id("snapshot_unreadable").because(Some(&error))
        }
        .hint("take one with: p2p-ai-agents debug snapshot")
    };
    let Header { format } = serde_json::from_slice(bytes).map_err(malformed)?;
    if format != SNAPSHOT_FORMAT {
        return Err(Failure::new(format!(
            "the snapshot has format {format}, and this program reads format {SNAPSHOT_FORMAT}"
        ))
        .id("snapshot_of_another_version")
        .hint("analyze it with the version that wrote it"));
    }
    serde_json::from_slice(bytes).map_err(malformed)
}

/// Far above the snapshot of a node with all its collections full.
const SNAPSHOT_BYTES_MAX: u64 = 16 << 20;
