//! `debug snapshot`: writes all figures of the node into a file that may be attached to an issue.

use crate::client::Client;
use crate::error::Failure;
use crate::output::{self, Format};
use api::Snapshot;
use clap::Args;
use runtime::home::Home;
use serde_json::json;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// File to write, which must not exist [default: snapshot-ID-TIME.json in this directory]
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) format: Format,
}

pub(super) async fn run(home: &Home, arguments: &Arguments) -> Result<(), Failure> {
    arguments.output.as_deref().map_or(Ok(()), refuse_existing)?;
    let client = Client::connect(home)?;
    let snapshot: Snapshot = client.get(PATH).await?;
    let mut text = serde_json::to_vec_pretty(&snapshot)
        .map_err(|error| Failure::from_error(&error).id("internal_error"))?;
    text.push(b'\n');
    let path = arguments.output.clone().unwrap_or_else(|| default_name(&snapshot));
    write_new(&path, &text)?;
    let notice = format!(
        "Snapshot written to {} ({}, taken in {})",
        path.display(),
        output::bytes(text.len() as u64),
        output::micros(snapshot.took_us)
    );
    output::done(&notice, &json!({ "file": path, "bytes": text.len(), "took_us": snapshot.took_us }))
}

/// Writes a file that does not exist yet, for its owner only.
pub(super) fn write_new(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let failed = |error: &io::Error| {
        Failure::new(format!("cannot write {}", path.display())).id("output_failed").because(Some(error))
    };
    let mut file = match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(exists(path)),
        opened => opened.map_err(|error| failed(&error))?,
    };
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(|error| {
        // A file that is cut short only misleads.
        let _ = std::fs::remove_file(path);
        failed(&error)
    })
}

/// Fails if a file exists, before a long measurement.
pub(super) fn refuse_existing(path: &Path) -> Result<(), Failure> {
    if path.symlink_metadata().is_ok() { Err(exists(path)) } else { Ok(()) }
}

fn exists(path: &Path) -> Failure {
    Failure::new(format!("{} exists", path.display()))
        .id("file_exists")
        .hint("name another file with --output")
}

fn default_name(snapshot: &Snapshot) -> PathBuf {
    let stamp: String = snapshot.taken_at.as_str().chars().filter(char::is_ascii_alphanumeric).collect();
    format!("snapshot-{}-{stamp}.json", snapshot.node.id).into()
}

pub(super) const PATH: &str = "/api/v1/debug/snapshot";
