//! The model cache and the names of models, for the model commands.

use crate::client::{Client, block_on};
use crate::error::Failure;
use runtime::catalog;
use runtime::home::{Holder, Home};
use runtime::hub::{Hub, ModelId, PresentError};
use runtime::inference::EMBEDDED_MODEL;

/// Opens the hub and its cache as the environment configures them.
pub(super) fn open(offline: bool) -> Result<Hub, Failure> {
    let hub = Hub::from_environment(|name| std::env::var_os(name));
    let mut hub = hub.map_err(|error| {
        Failure::from_error(&error).id("cache_unusable").hint("set HF_HOME to a directory")
    })?;
    hub.offline |= offline;
    hub.architectures = catalog::architectures();
    Ok(hub)
}

/// Parses a model name. `done` says what the command would do with the model.
pub(super) fn parse_id(text: &str, done: &str) -> Result<ModelId, Failure> {
    if text == EMBEDDED_MODEL {
        return Err(Failure::new(format!("{text} is built into this program and cannot be {done}"))
            .id("model_embedded"));
    }
    text.parse().map_err(|error| Failure::from_error(&error).id("model_malformed"))
}

/// Returns the failure of a missing model.
pub(super) fn missing_model(id: &ModelId, error: &PresentError) -> Failure {
    let failure = Failure::from_error(error).id(error.code());
    match (id, error) {
        (ModelId::Hub { .. }, PresentError::NotFetched(_)) => failure.hint(format!(
            "p2p-ai-agents model list shows the available models; fetch this one with: p2p-ai-agents model pull {id}"
        )),
        (ModelId::Hub { .. }, PresentError::Incomplete { .. }) => {
            failure.hint(format!("fetch the rest with: p2p-ai-agents model pull {id}"))
        }
        _ => failure,
    }
}

/// Tells a running node that the models have changed. It would notice by itself a little later.
pub(super) fn refresh_node(home: &Home) {
    let told = async {
        let client = Client::connect(home)?;
        client.post("/api/v1/models/refresh", &()).await?.accepted()
    };
    if home.holder() != Holder::Nobody {
        drop(block_on(told));
    }
}
