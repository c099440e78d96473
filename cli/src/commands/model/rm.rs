//! `model rm`: removes a model from the cache.

use super::cache;
use crate::error::Failure;
use crate::output::{self, Format};
use runtime::home::Home;
use runtime::hub::{Hub, ModelId};
use serde_json::json;

pub(super) fn run(home: &Home, hub: &Hub, id: &ModelId, format: Format) -> Result<(), Failure> {
    if let ModelId::Local(path) = id {
        return Err(Failure::new(format!("{} is not in the cache", path.display()))
            .id("model_is_local")
            .hint("remove local files yourself"));
    }
    let freed = hub.remove(id).map_err(|error| cache::missing_model(id, &error))?;
    cache::refresh_node(home);
    if format.json {
        return output::json(&json!({ "name": id.to_string(), "bytes_freed": freed }));
    }
    output::line(&format!("Removed {id} ({} freed)", output::bytes(freed)))
}
