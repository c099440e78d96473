//! `model rm`: removes a model from the cache, or one that was fetched from other nodes.

use super::cache;
use crate::error::Failure;
use crate::output::{self, Format};
use crate::terminal;
use runtime::home::Home;
use runtime::hub::{Hub, ModelId, PresentError};
use serde_json::json;
use std::fs;
use std::path::{Component, Path, PathBuf};

pub(super) fn run(home: &Home, hub: &Hub, name: &str, format: Format) -> Result<(), Failure> {
    if let Some(folder) = fetched_folder(home, name) {
        let bytes = size(&folder);
        fs::remove_dir_all(&folder).map_err(|error| {
            Failure::new(format!("cannot remove {}", folder.display()))
                .id("path_unusable")
                .because(Some(&error))
        })?;
        return removed(home, name, bytes, format);
    }
    let id = &cache::parse_id(name, "removed")?;
    if let ModelId::Local(path) = id {
        return Err(Failure::new(format!("{} is not in the cache", path.display()))
            .id("model_is_local")
            .hint("remove local files yourself"));
    }
    let freed = hub.remove(id).map_err(|error| {
        let failure = cache::missing_model(id, &error);
        match error {
            PresentError::NotFetched(_) => {
                failure.hint("p2p-ai-agents model list shows the models on this machine")
            }
            PresentError::Cache(_)
            | PresentError::Incomplete { .. }
            | PresentError::NotAFile { .. }
            | PresentError::Selection(_)
            | PresentError::Unusable { .. } => failure,
        }
    })?;
    removed(home, &id.to_string(), freed, format)
}

fn removed(home: &Home, name: &str, freed: u64, format: Format) -> Result<(), Failure> {
    cache::refresh_node(home);
    if format.json {
        return output::json(&json!({ "name": name, "bytes_freed": freed }));
    }
    output::line(&terminal::sanitize_line(&format!("Removed {name} ({} freed)", output::bytes(freed))))
}

/// Returns the folder of a model that was fetched from other nodes; `None` if the name is no such folder's.
fn fetched_folder(home: &Home, name: &str) -> Option<PathBuf> {
    let mut parts = Path::new(name).components();
    let (Some(Component::Normal(_)), None) = (parts.next(), parts.next()) else { return None };
    let folder = home.models_directory().join(name);
    // What a link leads to belongs to the user.
    fs::symlink_metadata(&folder).is_ok_and(|found| found.is_dir()).then_some(folder)
}

/// Returns the size of all files in a folder.
fn size(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    entries
        .filter_map(|entry| Some((entry.path(), entry.metadata().ok()?)))
        .map(|(path, found)| if found.is_dir() { size(&path) } else { found.len() })
        .sum()
}
