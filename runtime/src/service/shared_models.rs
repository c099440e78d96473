//! Models that several nodes in one process share.

use super::{model_offers, model_sources};
use crate::catalog::{self, Catalog};
use crate::config::Settings;
use crate::inference::WorkerPool;
use engine::model::ModelOffer;
use std::io;
use tokio::sync::oneshot;

/// The models of this machine, for all nodes of a process.
#[derive(Debug)]
pub struct SharedModels {
    /// Runs the models.
    pub inference: WorkerPool,
    /// Lists the models.
    pub catalog: Catalog,
    /// The models as the nodes offer them at their start.
    pub offers: Vec<ModelOffer>,
    /// Threads for inference and tokenisation of each model.
    pub threads: u16,
    /// Dropping it ends the watch over the model files.
    pub stop: oneshot::Sender<()>,
}

impl SharedModels {
    /// Finds the models that the settings list, and starts the eager ones. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// If the program of the model processes is unknown.
    pub fn start(settings: &Settings) -> io::Result<Self> {
        let (sources, options) = model_sources(None, settings)?;
        let found = catalog::find(&sources);
        let threads = options.cpu.threads;
        let offers = model_offers(&sources, &options, &found);
        let (inference, pool) = WorkerPool::start(options, found.models.clone());
        let catalog = Catalog::new(sources, settings.run_models.then_some(pool), found);
        let stop = catalog.watch();
        Ok(Self { inference, catalog, offers, threads, stop })
    }
}
