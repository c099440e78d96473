//! `paths`: prints the paths of the node's files, even before the first start.

use crate::error::Outcome;
use crate::output::{self, Format};
use runtime::config::{self, Overrides};
use runtime::home::Home;
use serde_json::{Map, Value};
use std::path::PathBuf;
use std::process::ExitCode;

pub(super) fn run(home: &Home, format: Format) -> Outcome {
    let overrides = Overrides::from_environment();
    let settings = config::preview(home, &overrides).map(|effective| effective.settings);
    // An invalid configuration affects only the storage path.
    let storage = settings.map_or_else(|_| home.root().join("data"), |settings| settings.storage_path);
    let places: [(&str, &str, PathBuf); 8] = [
        ("Home", "home", home.root().to_owned()),
        ("Configuration", "config", home.config_file()),
        ("Identity", "identity", home.identity_file()),
        ("Tasks and results", "storage", storage),
        ("Log", "log", home.log_file()),
        ("API token", "token", home.token_file()),
        ("API address", "info", home.info_file()),
        ("Readiness", "ready", home.ready_file()),
    ];
    if format.json {
        let fields = places.map(|(_, key, path)| (key.to_owned(), Value::from(path.display().to_string())));
        output::json(&fields.into_iter().collect::<Map<_, _>>())?;
    } else {
        let rows = places.map(|(name, _, path)| (name, path.display().to_string()));
        output::properties(&rows)?;
    }
    Ok(ExitCode::SUCCESS)
}
