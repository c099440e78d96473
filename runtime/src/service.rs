//! A whole node: assembles the ports, the driver and the control API, and takes them down in order.
//!
//! Every fault of a user's set-up is found before the node is visible to others: the lock of the home, configuration,
//! key, ports, storage. The readiness file exists exactly while the node is ACTIVE. It is removed first in a shutdown.

mod error;
mod listeners;
mod preflight;
mod shared_models;
mod storage;

pub use error::StartError;
pub use shared_models::SharedModels;
pub use storage::STORE_FILE;

use crate::catalog::{self, Catalog, Found, Sources};
use crate::clock::{self, SystemClock};
use crate::config::{LogLevel, Overrides, Settings};
use crate::driver::{self, Handle, World};
use crate::home::{self, Home, Lock, RunInfo, WatchedFile};
use crate::host::ThisProcess;
use crate::http::{Api, Dashboard, MetricsSource, ResultReadError, ResultSource};
use crate::hub::Hub;
use crate::inference::{
    CpuShare, ModelSpec, WORKER_COMMAND, WorkerPool, WorkerPoolOptions, memory_of_workers,
};
use crate::logging::{Line, Log};
use crate::metrics::Host;
use crate::multicast::{MulticastOptions, MulticastSocket};
use crate::node_thread::NodeThread;
use crate::observers::otlp::{Exporter, OtlpCounters, OtlpOptions, SpanObserver};
use crate::observers::recording::{self, Recording, Written};
use crate::observers::{AlertSinks, EventLog, EventObserver, Observers, PageFeed};
use crate::ports::Clock;
use crate::registry::Registration;
use crate::snapshot::Inspected;
use crate::startup::Startup;
use crate::store::{Damage, ReadError, ResultReader};
use api::dashboard::FeedKind;
use engine::journal::{self, Start};
use engine::lifecycle::{CUT_OFF, State};
use engine::model::ModelOffer;
use engine::task::TaskResult;
use engine::{Event, Identity, Instant, Node, Saved, TaskId};
use listeners::{Listeners, write_info};
use preflight::Preflight;
use serde_json::Value;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use storage::{Storage, unusable};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

/// A node that runs in this process.
#[derive(Debug)]
pub struct Service {
    home: Home,
    info: RunInfo,
    startup: Startup,
    log: Log,
    handle: Handle,
    states: watch::Receiver<State>,
    ready: watch::Sender<bool>,
    driver: JoinHandle<u8>,
    api: JoinHandle<()>,
    stop_api: oneshot::Sender<()>,
    stop_catalog: oneshot::Sender<()>,
    exporter: Option<Exporter>,
    /// The node stops if one of these is removed: clients could not find it, or its data would not be durable.
    watched_files: [WatchedFile; 2],
    warnings: Vec<String>,
    written: Option<Written>,
    // Held for the effect of dropping them.
    thread: NodeThread,
    registration: Option<Registration>,
    lock: Lock,
}

impl Service {
    /// Starts a node in `home`. Returns once the node runs, which is before it is ACTIVE.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left running then.
    pub fn start(
        home: &Home,
        overrides: &Overrides,
        terminal: bool,
        startup: &Startup,
    ) -> Result<Self, StartError> {
        let start_of_process = clock::wall();
        let preflight = Preflight::run(home, overrides, terminal, startup)?;
        let settings = &preflight.effective.settings;
        let listeners = Listeners::open(home, &preflight, startup)?;
        let storage = Storage::open(home, settings, overrides.accept_data_loss)?;
        let Storage { store, traces, saved, results, blobs, watched_files, warnings } = storage;
        startup.done("storage");
        let (sources, options) = model_sources(Some(home), settings).map_err(StartError::Program)?;
        let found = catalog::find(&sources);
        let threads = options.cpu.threads;
        let clock = SystemClock::start();
        let start = engine_start(&preflight, &clock, model_offers(&sources, &options, &found))?;
        let config_file = overrides.config_file.clone().unwrap_or_else(|| home.config_file());
        let storage = settings.storage_path.clone();
        let key = preflight.key.identity.clone();
        let host = ThisProcess::new(config_file, key, results.damage().clone(), storage);
        let node_id = preflight.key.identity.node_id();
        let alert_sinks = AlertSinks::start(&settings.alert_receivers(), node_id, settings.network.clone())
            .map_err(StartError::Program)?;
        let alert_states = alert_sinks.states();
        let (identity, recording, written) =
            start_recording(settings, &start, &saved, preflight.key.identity)?;
        let otlp = Arc::default();
        let exporter = start_exporter(settings, &listeners.info, &otlp)?;

        // Nothing fails from here on.
        let (handle, asks) = Handle::new();
        let (state, states) = watch::channel(State::Initializing);
        let node = Node::new(start.config, identity, start.seed, start.now, start.wall, saved);
        let (inference, pool) = WorkerPool::start(options, found.models.clone());
        let Listeners {
            info,
            door,
            metrics_door,
            token,
            sessions,
            api,
            stop_api,
            registration,
            transport,
            thread,
        } = listeners;
        let page_feed = PageFeed::default();
        let multicast = multicast(&thread, settings);
        let journal = Observers::new(recording)
            .with(EventLog::new(preflight.log.clone()))
            .with(alert_sinks)
            .with(page_feed.observer(node_id))
            .with(StateObserver { state, startup: startup.clone() });
        let journal = match &exporter {
            Some(exporter) => journal.with(SpanObserver::new(info.node_id, exporter)),
            None => journal,
        };
        let shared_files = blobs.shared_files();
        let world = World { transport, multicast, store, traces, inference, blobs, host, clock, journal };
        startup.done("discovery");
        let driver = thread.spawn(driver::run(node, world, asks));
        let models = Catalog::new(sources, settings.run_models.then_some(pool), found);
        let stop_catalog = models.watch();
        let address = info.api_address;
        let store = settings.storage_path.join(STORE_FILE);
        let metrics = Arc::new(MetricsSource::new(Host::new(&store, start_of_process.0, otlp)));
        let inspected = Arc::new(Inspected::new(&preflight.effective, store));
        let api_state = Api {
            handle: handle.clone(),
            models,
            results,
            shared_files,
            metrics,
            log: preflight.log.clone(),
            profiling: Arc::default(),
            inspected,
            alert_sinks: alert_states,
            dashboard: Dashboard::new(FeedKind::Node, page_feed, Arc::default(), sessions),
            threads,
            trace_sample: settings.trace_sample.millionths(),
            token,
            address,
        };
        metrics_door.iter().for_each(|door| door.attach_metrics(api_state.clone()));
        door.attach(api_state);
        Ok(Self {
            home: home.clone(),
            info,
            startup: startup.clone(),
            log: preflight.log,
            handle,
            states,
            ready: watch::Sender::new(false),
            driver,
            api,
            stop_api,
            stop_catalog,
            exporter,
            watched_files,
            warnings: [preflight.effective.warnings, warnings].concat(),
            written,
            thread,
            registration,
            lock: preflight.lock,
        })
    }

    /// Returns a handle for requests to the node.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Returns what the node publishes for other programs of its user.
    pub fn info(&self) -> &RunInfo {
        &self.info
    }

    /// Returns the warnings about the configuration and the storage.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Returns whether the readiness file exists, now and after each change.
    pub fn ready(&self) -> watch::Receiver<bool> {
        self.ready.subscribe()
    }

    /// Waits until the node has stopped, and returns its exit status.
    pub async fn wait(mut self) -> u8 {
        let (mut files_removed, mut readiness_failed) = (false, false);
        let mut look = tokio::time::interval(FILE_CHECK_INTERVAL);
        let ended = loop {
            tokio::select! {
                biased;
                ended = &mut self.driver => break ended,
                // The sender lives as long as the driver, which has not ended.
                Ok(()) = self.states.changed() => {}
                _ = look.tick(), if !files_removed => {
                    files_removed = self.stop_if_files_removed();
                    continue;
                }
            }
            let state = *self.states.borrow_and_update();
            if !self.update_ready_file(state) && state == State::Active && !readiness_failed {
                // The program that started the node waits for the file in vain.
                readiness_failed = true;
                self.request_shutdown();
            }
        };
        let code = ended.unwrap_or_else(|error| {
            let fields = [("error".to_owned(), Value::from(error.to_string()))].into_iter().collect();
            let message = "the node failed";
            self.log.write(&Line { level: LogLevel::Fatal, component: "service", message, fields });
            EXIT_FAILED
        });
        let code = if files_removed || readiness_failed { code.max(1) } else { code };
        if let Some(written) = self.written.take() {
            written.wait().await;
        }
        drop(self.stop_catalog);
        drop(self.stop_api);
        let exporter = self.exporter.take();
        let exported = tokio::task::spawn_blocking(|| exporter.map(Exporter::stop));
        if let Err(error) = self.api.await {
            tracing::error!(%error, "the control API failed");
        }
        drop(exported.await);
        if let Err(error) = self.home.clear_run() {
            tracing::warn!(%error, "cannot clear the run directory");
        }
        if code == CUT_OFF {
            tracing::warn!(
                "running tasks were interrupted: they resume after the next start, or on another node"
            );
        }
        if let Err(error) = home::replace_file(&self.home.exit_file(), code.to_string().as_bytes(), 0o600) {
            tracing::warn!(%error, "node stop will not know how this node ended");
        }
        tracing::info!(code, "stopped");
        self.log.flush();
        drop(self.thread);
        drop(self.registration);
        drop(self.lock);
        code
    }

    /// Requests a shutdown if a watched file was removed. Returns whether one was.
    fn stop_if_files_removed(&self) -> bool {
        let Some(removed) = self.watched_files.iter().find(|watched_file| watched_file.is_removed()) else {
            return false;
        };
        tracing::error!(file = %removed.path().display(), "a file of this node was removed; stopping");
        self.request_shutdown();
        true
    }

    /// Requests an orderly shutdown.
    fn request_shutdown(&self) {
        let handle = self.handle.clone();
        tokio::spawn(async move { drop(handle.ask(engine::Request::Shutdown).await) });
    }

    /// Writes the readiness file when the node becomes ACTIVE and removes it when it shuts down. Returns false on
    /// failure.
    fn update_ready_file(&self, state: State) -> bool {
        let path = self.home.ready_file();
        let shown = match state {
            State::Active => {
                let startup = Some(self.startup.timeline());
                let info = RunInfo { timestamp: clock::wall().to_string(), startup, ..self.info.clone() };
                write_info(&path, &info).map(|()| {
                    self.ready.send_replace(true);
                })
            }
            State::ShuttingDown | State::Stopped => {
                self.ready.send_replace(false);
                home::remove_file(&path).map_err(unusable(&path))
            }
            State::Initializing | State::Registering => Ok(()),
        };
        if let Err(error) = shown {
            tracing::error!(error = &error as &dyn std::error::Error, "cannot update the readiness file");
            return false;
        }
        true
    }
}

impl ResultSource for ResultReader {
    fn result(&self, id: TaskId) -> Result<Option<TaskResult>, ResultReadError> {
        Self::result(self, id).map_err(|error| match error {
            ReadError::Damaged { .. } => ResultReadError::Damaged(Box::new(error)),
            ReadError::Closed | ReadError::Storage(_) => ResultReadError::Unavailable(Box::new(error)),
        })
    }

    fn damage(&self) -> Damage {
        Self::damage(self).clone()
    }
}

/// Publishes the node's state to this process, and the time at which it was entered.
struct StateObserver {
    state: watch::Sender<State>,
    startup: Startup,
}

impl EventObserver for StateObserver {
    fn event(&mut self, _now: Instant, event: &Event) {
        if let Event::StateChanged { to, .. } = event {
            self.startup.entered(*to);
            self.state.send_replace(*to);
        }
    }
}

/// Returns where to look for models, and the limits for their workers.
fn model_sources(home: Option<&Home>, settings: &Settings) -> io::Result<(Sources, WorkerPoolOptions)> {
    let mut hub = Hub::from_environment(|name| std::env::var_os(name)).ok();
    if let Some(hub) = &mut hub {
        hub.offline |= settings.offline;
        hub.architectures = catalog::architectures();
    }
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let sources = Sources {
        entries: if settings.run_models { settings.models.clone() } else { Vec::new() },
        cached: settings.run_models && settings.cached_models,
        pull_on_demand: settings.run_models && settings.pull_on_demand,
        hub,
        folders: home.map(Home::models_directory),
        hashes: Sources::kept_hashes(),
    };
    let options = WorkerPoolOptions {
        program: std::env::current_exe()?,
        arguments: vec![WORKER_COMMAND.into()],
        memory_bytes_max: memory_of_workers(u64::from(settings.max_memory_mb) << 20),
        cpu: CpuShare::new(
            u16::try_from(cores).unwrap_or(u16::MAX),
            settings.threads,
            settings.max_cpu_percent,
        ),
    };
    Ok((sources, options))
}

/// Returns the models that the node advertises at the start. Cached models are advertised later, while they are
/// present.
fn model_offers(sources: &Sources, options: &WorkerPoolOptions, found: &Found) -> Vec<ModelOffer> {
    let listed = |name: &str| sources.entries.iter().any(|entry| entry.name() == name);
    let offered = found.models.iter().filter(|model| options.fits(model) && listed(&model.name));
    let mut offers = Vec::new();
    for ModelSpec { name, kinds, fingerprint, .. } in offered {
        let offer = |kind: &_| ModelOffer { name: name.clone(), kind: *kind, fingerprint: *fingerprint };
        offers.extend(kinds.iter().map(offer));
    }
    offers
}

/// Returns the engine's initial state, without the stored records.
fn engine_start(
    preflight: &Preflight,
    clock: &SystemClock,
    models: Vec<ModelOffer>,
) -> Result<Start, StartError> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| StartError::Entropy(io::Error::other(error)))?;
    Ok(Start {
        version: journal::VERSION.to_owned(),
        key: preflight.key.identity.public_key(),
        config: engine::Config { models, ..preflight.effective.settings.engine_config() },
        seed,
        now: clock.now(),
        wall: clock.wall(),
    })
}

/// Starts the exporter of spans, if a collector is set.
fn start_exporter(
    settings: &Settings,
    info: &RunInfo,
    counters: &Arc<OtlpCounters>,
) -> Result<Option<Exporter>, StartError> {
    let (options, warnings) =
        OtlpOptions::gather(settings.otlp_endpoint.as_deref(), |name| std::env::var_os(name));
    warnings.iter().for_each(|warning| tracing::warn!(component = "otlp", "{warning}"));
    let start = |options| Exporter::start(options, info.node_id, &info.version, Arc::clone(counters));
    options.map(start).transpose().map_err(StartError::Thread)
}

fn multicast(thread: &NodeThread, settings: &Settings) -> MulticastSocket {
    let _here = thread.enter();
    let interfaces = Some(settings.interfaces.clone()).filter(|names| !names.is_empty());
    MulticastSocket::open(MulticastOptions { interfaces, ..MulticastOptions::default() })
}

/// Starts a recording if the settings ask for one. Returns the identity that the node must use.
fn start_recording(
    settings: &Settings,
    start: &Start,
    saved: &Saved,
    identity: Identity,
) -> Result<(Identity, Option<Recording>, Option<Written>), StartError> {
    let Some(path) = &settings.record else { return Ok((identity, None, None)) };
    let failed = |source| StartError::Recording { path: path.clone(), source };
    let file = recording::create_file(path).map_err(failed)?;
    let (identity, uses) = identity.noted();
    let bytes_max = u64::from(settings.record_max_mb) << 20;
    let (recording, written) = Recording::begin(file, bytes_max, start, saved, uses).map_err(failed)?;
    Ok((identity, Some(recording), Some(written)))
}

/// How often the watched files are checked.
const FILE_CHECK_INTERVAL: Duration = Duration::from_secs(5);
/// The exit status after an unexpected end.
const EXIT_FAILED: u8 = 1;
