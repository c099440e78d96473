//! The models of a node: the configured ones, the cached ones, and those being downloaded.
//!
//! The node offers every model listed here to the mesh, loaded or not. A model that appears in the cache while the node
//! runs is offered from then on, whichever program downloaded it. A model that cannot be loaded because its files are
//! damaged is removed, and downloaded again if that is allowed.

mod identity;

use self::identity::{files, is_pending, precision_name};
use crate::config::{MODEL_NAME_BYTES_MAX, ModelEntry};
use crate::hub::{Format, Hub, ModelId, Present, Progress, PullError};
use crate::inference::decoder::{self, inspect, is_decoder, is_gguf};
use crate::inference::{
    EMBEDDED_MODEL, EMBEDDED_MODEL_BYTES, EMBEDDING_KINDS, EncoderInfo, FileHashes, ModelSpec, Precision,
    WorkerPoolHandle, WorkerProfile, embedded_fingerprint, encoders, hashes_folder,
};
use api::{ModelStatus, Pull, PullState};
use engine::task::TaskKind;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{oneshot, watch};

/// The models of a node.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    shared: Arc<Shared>,
}

/// The sources of a catalog.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The configured models, the primary one first.
    pub entries: Vec<ModelEntry>,
    /// Whether to offer the other models of the cache.
    pub cached: bool,
    /// Whether a task that names an unknown model makes this node download it.
    pub pull_on_demand: bool,
    /// The hub and its cache, if there is a place for one.
    pub hub: Option<Hub>,
    /// The directory whose folders are models too: those that were fetched from other nodes.
    pub folders: Option<PathBuf>,
    /// The known hashes of model files.
    pub hashes: Arc<FileHashes>,
}

impl Sources {
    /// Returns the hash cache of this program, which persists across restarts.
    pub fn kept_hashes() -> Arc<FileHashes> {
        Arc::new(FileHashes::in_folder(hashes_folder()))
    }
}

#[derive(Debug, Default)]
struct Shared {
    sources: Sources,
    /// `None` if this node runs no models.
    pool: Option<WorkerPoolHandle>,
    found: Mutex<Found>,
    pulls: watch::Sender<BTreeMap<String, Pull>>,
    /// When each failed pull failed.
    failures: Mutex<BTreeMap<String, Instant>>,
}

/// The models at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The models that can run.
    pub models: Vec<ModelSpec>,
    /// The listed models that cannot run, with the reason.
    pub unusable: Vec<ModelStatus>,
}

/// What happens to a model that a task names and no node has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OnDemand {
    /// It is being downloaded.
    Coming,
    /// A download has just failed.
    Failed(Pull),
    /// It is not downloaded.
    No,
}

/// Too many downloads are running.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{PULLS_RUNNING_MAX} downloads of models are running already")]
pub struct PullsFull;

impl Catalog {
    /// Creates the catalog of a node. `pool` runs the models that were `found`.
    pub fn new(sources: Sources, pool: Option<WorkerPoolHandle>, found: Found) -> Self {
        let (pulls, found) = (watch::Sender::default(), Mutex::new(found));
        let failures = Mutex::default();
        Self { shared: Arc::new(Shared { sources, pool, found, pulls, failures }) }
    }

    /// Downloads a model that a task names and no node has, if the settings allow it.
    pub fn pull_for_task(&self, name: &str) -> OnDemand {
        let Ok(id @ ModelId::Hub { .. }) = name.parse::<ModelId>() else { return OnDemand::No };
        let running = |pull: &Pull| pull.state == PullState::Running;
        if self.shared.pulls.borrow().get(&id.to_string()).is_some_and(running) {
            return OnDemand::Coming;
        }
        if !self.shared.sources.pull_on_demand || self.shared.sources.hub.is_none() {
            return OnDemand::No;
        }
        let failed_at = self.shared.failures().get(&id.to_string()).copied();
        if failed_at.is_some_and(|at| at.elapsed() < PULL_RETRY_BACKOFF)
            && let Some(pull) = self.shared.pulls.borrow().get(&id.to_string())
        {
            return OnDemand::Failed(pull.clone());
        }
        // Without a free slot, it is downloaded at the next request.
        let (Ok(()) | Err(PullsFull)) = self.pull(&id);
        OnDemand::Coming
    }

    /// Returns the listed name of a model for other ways to name it: the path that is configured, a GGUF file by its
    /// quantisation, or an explicit default revision.
    pub async fn listed(&self, asked: &str) -> Option<String> {
        let configured = self.shared.sources.entries.iter().find(|entry| entry.model() == asked);
        if let Some(entry) = configured.filter(|entry| entry.name() != asked) {
            return Some(entry.name().to_owned());
        }
        let id = asked.parse::<ModelId>().ok().filter(|id| matches!(id, ModelId::Hub { .. }))?;
        let hub = self.shared.sources.hub.clone()?;
        let name = tokio::task::spawn_blocking(move || hub.find(&id)).await.ok()?.ok()?.id.to_string();
        (name != asked && self.models().iter().any(|model| model.name == name)).then_some(name)
    }

    /// Returns the status of all models, sorted by name.
    pub fn models(&self) -> Vec<ModelStatus> {
        let mut models = self.shared.pool.as_ref().map(WorkerPoolHandle::status).unwrap_or_default();
        let found = self.shared.found.lock().unwrap_or_else(PoisonError::into_inner);
        models.extend(found.unusable.iter().cloned());
        models.sort_by(|one, other| one.name.cmp(&other.name));
        models
    }

    /// Returns the status of the model with this name.
    pub fn find(&self, name: &str) -> Option<ModelStatus> {
        self.models().into_iter().find(|model| model.name == name)
    }

    /// Returns the first usable model for a kind of task, and its metadata.
    pub async fn first(&self, kind: TaskKind) -> Option<(String, Option<EncoderInfo>)> {
        let unusable = self.models().into_iter().filter(|model| !model.is_usable());
        let unusable: Vec<String> = unusable.map(|model| model.name).collect();
        let spec = {
            let found = self.shared.found.lock().unwrap_or_else(PoisonError::into_inner);
            let usable = |model: &&ModelSpec| model.kinds.contains(&kind) && !unusable.contains(&model.name);
            found.models.iter().find(usable).cloned()?
        };
        let name = spec.name.clone();
        let outline = tokio::task::spawn_blocking(move || EncoderInfo::for_model(&spec)).await;
        Some((name, outline.ok().flatten()))
    }

    /// Returns the metadata of the encoder with this name, if this node has it.
    pub async fn encoder(&self, name: &str) -> Option<EncoderInfo> {
        let name = self.listed(name).await.unwrap_or_else(|| name.to_owned());
        let spec = {
            let found = self.shared.found.lock().unwrap_or_else(PoisonError::into_inner);
            found.models.iter().find(|model| model.name == name).cloned()?
        };
        tokio::task::spawn_blocking(move || EncoderInfo::for_model(&spec)).await.ok().flatten()
    }

    /// Returns the names of configured models that cannot be used. Their status has the reason.
    pub fn unusable(&self) -> Vec<String> {
        let listed = |name: &str| self.shared.sources.entries.iter().any(|entry| entry.name() == name);
        let models = self.models().into_iter();
        let unusable = models.filter(|model| !model.is_usable() && listed(&model.name));
        unusable.map(|model| model.name).collect()
    }

    /// Starts to profile the processes of all loaded models.
    pub(crate) async fn profile(&self) -> Vec<WorkerProfile> {
        match &self.shared.pool {
            Some(pool) => pool.profile().await,
            None => Vec::new(),
        }
    }

    /// Returns the running and the recent downloads.
    pub fn pulls(&self) -> watch::Receiver<BTreeMap<String, Pull>> {
        self.shared.pulls.subscribe()
    }

    /// Finds the models again, and offers them.
    pub async fn refresh(&self) {
        let shared = Arc::clone(&self.shared);
        let Some(pool) = &self.shared.pool else { return };
        let looked = tokio::task::spawn_blocking(move || shared.look());
        let Ok(found) = looked.await else { return };
        let news = {
            let mut known = self.shared.found.lock().unwrap_or_else(PoisonError::into_inner);
            let news = *known != found;
            known.clone_from(&found);
            news
        };
        // A model whose files were replaced is listed again, even if they are the same as before by now.
        if news || is_pending(&pool.status()) {
            pool.list(found.models).await;
        }
    }

    /// Starts to download a model, unless that is under way.
    ///
    /// # Errors
    /// [`PullsFull`].
    pub fn pull(&self, id: &ModelId) -> Result<(), PullsFull> {
        let Some(hub) = self.shared.sources.hub.clone() else { return Ok(()) };
        let name = id.to_string();
        let mut outcome = Ok(true);
        self.shared.pulls.send_modify(|pulls| {
            outcome = take_on(pulls, &name);
            let mut failures = self.shared.failures();
            failures.retain(|failed, _| pulls.contains_key(failed));
            if outcome == Ok(true) {
                failures.remove(&name);
            }
        });
        if outcome? {
            let (shared, id) = (Arc::clone(&self.shared), id.clone());
            let (end, ended) = oneshot::channel::<()>();
            // A separate thread, so that a shutdown does not wait for it.
            let begun = std::thread::Builder::new().name("pull".to_owned()).spawn(move || {
                shared.pull(&hub, &id);
                drop(end);
            });
            if let Err(error) = begun {
                let (state, reason) = (PullState::Failed, Some(error.to_string()));
                self.shared.note(&name, |pull| (pull.state, pull.reason) = (state, reason));
            }
            let catalog = self.clone();
            tokio::spawn(async move {
                // Always an error: the sender was dropped when the thread ended.
                let _ = ended.await;
                catalog.refresh().await;
            });
        }
        Ok(())
    }

    /// Keeps the catalog up to date until the returned sender is dropped.
    pub fn watch(&self) -> oneshot::Sender<()> {
        let (stop, mut stopped) = oneshot::channel();
        let catalog = self.clone();
        tokio::spawn(async move {
            let Some(mut pool) = catalog.shared.pool.clone() else { return };
            let mut checked: BTreeMap<String, String> = BTreeMap::new();
            let mut refresh = tokio::time::interval(REFRESH_INTERVAL);
            let mut pause = Duration::ZERO;
            loop {
                let pending = is_pending(&pool.status());
                if !pending {
                    pause = Duration::ZERO;
                }
                tokio::select! {
                    _ = &mut stopped => return,
                    changed = pool.changed() => {
                        if !changed {
                            return;
                        }
                        catalog.check_unusable(&pool.status(), &mut checked).await;
                    }
                    _ = refresh.tick() => catalog.refresh().await,
                    () = tokio::time::sleep(pause), if pending => {
                        let before = catalog.pending();
                        catalog.refresh().await;
                        // Files that are still being written are checked again a little later.
                        let on = 1..before;
                        pause = if on.contains(&catalog.pending()) { Duration::ZERO } else { PENDING_POLL_INTERVAL };
                    }
                }
            }
        });
        stop
    }

    /// Returns how many models have no fingerprint yet.
    fn pending(&self) -> usize {
        let found = self.shared.found.lock().unwrap_or_else(PoisonError::into_inner);
        found.models.iter().filter(|model| model.fingerprint.is_none()).count()
    }

    /// Checks whether damaged files are why a model cannot be loaded.
    async fn check_unusable(&self, models: &[ModelStatus], checked: &mut BTreeMap<String, String>) {
        checked.retain(|name, _| models.iter().any(|model| model.name == *name && !model.is_usable()));
        for model in models {
            let Some(reason) = &model.reason else { continue };
            if checked.insert(model.name.clone(), reason.clone()).as_ref() == Some(reason) {
                continue;
            }
            let Some(hub) = self.shared.sources.hub.clone() else { return };
            let entry = self.shared.sources.entries.iter().find(|entry| entry.name() == model.name);
            let text = entry.map_or(model.name.as_str(), ModelEntry::model).to_owned();
            let Ok(id @ ModelId::Hub { .. }) = text.parse::<ModelId>() else { continue };
            let (looked_at, of) = (hub.clone(), id.clone());
            let damaged = tokio::task::spawn_blocking(move || remove_damaged(&looked_at, &of)).await;
            if damaged.is_ok_and(|damaged| damaged) && !hub.offline {
                tracing::warn!(
                    component = "models",
                    model = text,
                    "the files of a model are damaged; downloading it again"
                );
                if let Err(error) = self.pull(&id) {
                    tracing::warn!(component = "models", model = text, %error, "cannot download a damaged model again");
                }
            }
        }
    }
}

impl Shared {
    /// Finds the models, and hashes the first one without a fingerprint. Blocks.
    fn look(&self) -> Found {
        let before = self.found.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut found = find(&self.sources);
        found.identify(&before, &self.sources.hashes);
        found
    }

    fn pull(&self, hub: &Hub, id: &ModelId) {
        let name = id.to_string();
        let mut told = Instant::now();
        let ended = hub.pull(id, |progress| {
            match progress {
                Progress::Begin { bytes, .. } => self.note(&name, |pull| pull.bytes_total = bytes),
                Progress::Bytes { done } if told.elapsed() >= PROGRESS_INTERVAL => {
                    told = Instant::now();
                    self.note(&name, |pull| (pull.bytes_done, pull.reason) = (done, None));
                }
                Progress::Retry { reason, .. } => {
                    self.note(&name, |pull| pull.reason = Some(reason.to_owned()))
                }
                Progress::Wait { .. } | Progress::File { .. } | Progress::Bytes { .. } => {}
            }
            ControlFlow::Continue(())
        });
        match &ended {
            Ok(pulled) => {
                tracing::info!(component = "models", model = name, bytes = pulled.present.bytes, "pulled")
            }
            Err(error) => tracing::warn!(component = "models", model = name, %error, "not pulled"),
        }
        if ended.is_err() {
            self.failures().insert(name.clone(), Instant::now());
        }
        self.note(&name, |pull| end(pull, ended.map(|pulled| pulled.present.bytes)));
    }

    fn failures(&self) -> MutexGuard<'_, BTreeMap<String, Instant>> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, name: &str, change: impl FnOnce(&mut Pull)) {
        self.pulls.send_modify(|pulls| {
            if let Some(pull) = pulls.get_mut(name) {
                change(pull);
            }
        });
    }
}

const fn begun() -> Pull {
    Pull { state: PullState::Running, bytes_done: 0, bytes_total: 0, reason: None, code: None, hint: None }
}

fn end(pull: &mut Pull, ended: Result<u64, PullError>) {
    (pull.state, pull.reason) = (PullState::Done, None);
    match ended {
        Ok(bytes) => (pull.bytes_done, pull.bytes_total) = (bytes, bytes),
        Err(error) => {
            pull.state = PullState::Failed;
            pull.code = Some(error.code().to_owned());
            pull.hint = error.hint().map(str::to_owned);
            pull.reason = Some(chain(&error));
        }
    }
}

/// Finds the configured models and those in the cache. Blocks.
///
/// A model has a fingerprint if the hashes of its files are known.
pub fn find(sources: &Sources) -> Found {
    let Sources { entries, cached, hub, folders, hashes, .. } = sources;
    let hub = hub.as_ref();
    let mut found = Found::default();
    for (at, entry) in entries.iter().enumerate() {
        let eager = entry.eager().unwrap_or(at == 0);
        if entry.model() == EMBEDDED_MODEL {
            let (name, precision) = (entry.name().to_owned(), precision(entry));
            found.models.push(ModelSpec { eager, name, ..built_in(precision) });
            continue;
        }
        let spec = entry.model().parse::<ModelId>().map_err(|error| error.to_string()).and_then(|id| {
            let hub = hub.ok_or("there is no place for models")?;
            let present = hub.find(&id).map_err(|error| chain(&error))?;
            spec(&present, entry.name().to_owned())
        });
        match spec {
            Ok(spec) => {
                let memory_bytes = entry.memory_bytes().unwrap_or(spec.memory_bytes);
                found.models.push(ModelSpec { eager, memory_bytes, precision: precision(entry), ..spec });
            }
            Err(reason) => found.refuse(entry.name(), reason),
        }
    }
    let in_cache = hub.filter(|_| *cached).map(Hub::list).transpose();
    let in_cache = in_cache.inspect_err(|error| tracing::warn!(component = "models", %error, "no cache"));
    for present in in_cache.ok().flatten().unwrap_or_default() {
        let name = present.id.to_string();
        if found.models.iter().any(|model| model.name == name) {
            continue;
        }
        match spec(&present, name.clone()) {
            Ok(spec) => found.models.push(spec),
            Err(reason) => found.refuse(&name, reason),
        }
    }
    if let (Some(hub), Some(folders), true) = (hub, folders, *cached) {
        found.add_folders(hub, folders);
    }
    for model in found.models.iter_mut().filter(|model| model.fingerprint.is_none()) {
        model.fingerprint = hashes.known(&model.files, precision_name(model));
    }
    found
}

impl Found {
    /// Adds the models in the folders of a directory, under the names of the folders. Models that are configured by
    /// their path, or have a name that is taken, are left out.
    fn add_folders(&mut self, hub: &Hub, directory: &Path) {
        for (name, path) in model_folders(directory) {
            let place = path.display().to_string();
            let known = |model: &ModelSpec| model.name == name || model.place == place;
            if self.models.iter().any(known) || self.unusable.iter().any(|model| model.name == name) {
                continue;
            }
            let present = hub.find(&ModelId::Local(path)).map_err(|error| chain(&error));
            match present.and_then(|present| spec(&present, name.clone())) {
                Ok(spec) => self.models.push(spec),
                Err(reason) => {
                    self.refuse(&name, reason);
                    if let Some(refused) = self.unusable.last_mut() {
                        refused.place = place;
                    }
                }
            }
        }
    }

    fn refuse(&mut self, name: &str, reason: String) {
        self.unusable.push(ModelStatus { reason: Some(reason), ..ModelStatus::from_name(name) });
    }
}

/// Returns the names and paths of the models in a directory: its folders, or the only file of a folder if that is a
/// GGUF file.
fn model_folders(directory: &Path) -> Vec<(String, PathBuf)> {
    let entries = fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok);
    let mut folders: Vec<(String, PathBuf)> = entries
        .filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry.path())))
        .filter(|(name, path)| !name.starts_with('.') && path.is_dir())
        .take(FOLDERS_MAX)
        .collect();
    folders.sort();
    folders.into_iter().map(|(name, path)| (name, only_gguf(&path).unwrap_or(path))).collect()
}

fn only_gguf(folder: &Path) -> Option<PathBuf> {
    let mut files = fs::read_dir(folder).ok()?.filter_map(Result::ok).map(|entry| entry.path());
    let first = files.next().filter(|file| file.extension().is_some_and(|extension| extension == "gguf"))?;
    files.next().is_none().then_some(first)
}

/// Returns the status of the built-in model where no node runs it.
pub fn built_in_status() -> ModelStatus {
    built_in(Precision::Auto).status()
}

fn built_in(precision: Precision) -> ModelSpec {
    ModelSpec {
        name: EMBEDDED_MODEL.to_owned(),
        source: vec![EMBEDDED_MODEL.into()],
        kinds: EMBEDDING_KINDS.to_vec(),
        bytes: EMBEDDED_MODEL_BYTES,
        memory_bytes: memory_for(EMBEDDED_MODEL_BYTES),
        fingerprint: Some(embedded_fingerprint(precision.name())),
        files: Vec::new(),
        precision,
        eager: true,
        place: "built in".to_owned(),
    }
}

fn precision(entry: &ModelEntry) -> Precision {
    match entry.precision() {
        "bf16" => Precision::Bf16,
        "f32" => Precision::F32,
        "int8" => Precision::Int8,
        _ => Precision::Auto,
    }
}

/// Describes a model for the worker pool.
fn spec(present: &Present, name: String) -> Result<ModelSpec, String> {
    if name.len() > MODEL_NAME_BYTES_MAX {
        return Err(format!(
            "its name has more than {MODEL_NAME_BYTES_MAX} bytes; list it under another one"
        ));
    }
    Ok(ModelSpec {
        name,
        source: vec![present.path.clone().into()],
        kinds: kinds(present)?,
        bytes: present.bytes,
        memory_bytes: memory_for(present.bytes),
        fingerprint: None,
        files: files(present).map_err(|error| error.to_string())?,
        precision: Precision::Auto,
        eager: false,
        place: present.path.display().to_string(),
    })
}

/// Returns the task kinds of a model, by the architecture in its configuration.
fn kinds(present: &Present) -> Result<Vec<TaskKind>, String> {
    let architecture = match (present.format, &present.architecture) {
        (Format::Gguf, _) if is_gguf(&present.path) => {
            inspect(&present.path)?;
            return Ok(vec![TaskKind::Generation]);
        }
        (Format::Gguf, _) => return Err("it is no GGUF file, or has no weights".to_owned()),
        (Format::Safetensors, Some(architecture)) => architecture.as_str(),
        (Format::Safetensors, None) if present.path.join(CONFIG).is_file() => {
            return Err(format!("its {CONFIG} is damaged, or does not say what it is"));
        }
        // A single file that contains its own configuration.
        (Format::Safetensors, None) => return encoder(present),
    };
    if encoders().any(|encoder| encoder == architecture) {
        return encoder(present);
    }
    let generates = decoder::architectures().any(|decoder| decoder == architecture);
    if generates && is_decoder(&present.path) {
        inspect(&present.path)?;
        return Ok(vec![TaskKind::Generation]);
    }
    let (what, names) = if generates {
        ("as an embedding model or a reranker", model_types(encoders()))
    } else {
        ("here", model_types(architectures()))
    };
    Err(format!("its architecture {architecture} is not supported {what}; these are: {names}"))
}

/// Returns those of the names that are a `model_type`, not a class, for people.
pub(crate) fn model_types(names: impl IntoIterator<Item = &'static str>) -> String {
    let types = names.into_iter().filter(|name| name.starts_with(|first: char| first.is_ascii_lowercase()));
    types.collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(", ")
}

fn encoder(present: &Present) -> Result<Vec<TaskKind>, String> {
    crate::inference::inspect(&present.path).map(<[TaskKind]>::to_vec).map_err(|error| chain(&error))
}

/// Returns the architectures that models with a configuration may have.
pub fn architectures() -> Vec<&'static str> {
    let mut names: Vec<&str> = encoders().chain(decoder::architectures()).collect();
    names.sort_unstable();
    names
}

fn remove_damaged(hub: &Hub, id: &ModelId) -> bool {
    let ModelId::Hub { repository, .. } = id else { return false };
    let Ok(present) = hub.find(id) else { return false };
    match hub.cache.remove_damaged(repository, &present.files) {
        Ok(damaged) => {
            for file in &damaged {
                tracing::warn!(component = "models", file = file.name, found = %file.found, "damaged, and removed");
            }
            !damaged.is_empty()
        }
        Err(error) => {
            tracing::warn!(component = "models", %error, "damage cannot be looked for");
            false
        }
    }
}

/// Adds a pull to the list, unless it is running. Evicts a finished one if the list is full.
fn take_on(pulls: &mut BTreeMap<String, Pull>, name: &str) -> Result<bool, PullsFull> {
    let running = |pull: &Pull| pull.state == PullState::Running;
    if pulls.get(name).is_some_and(running) {
        return Ok(false);
    }
    if pulls.values().filter(|pull| running(pull)).count() >= PULLS_RUNNING_MAX {
        return Err(PullsFull);
    }
    if pulls.len() >= PULLS_KEPT_MAX {
        let ended = pulls.iter().find(|(_, pull)| !running(pull)).map(|(name, _)| name.clone());
        ended.and_then(|name| pulls.remove(&name));
    }
    pulls.insert(name.to_owned(), begun());
    Ok(true)
}

/// Estimates the memory of a model by its size: weights, activations and program.
pub const fn memory_for(bytes: u64) -> u64 {
    bytes / 10 * 13 + PROGRAM_BYTES
}

/// Formats an error with its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

/// How soon to check again files that are being written.
const PENDING_POLL_INTERVAL: Duration = Duration::from_millis(200);
/// The configuration of a model.
const CONFIG: &str = "config.json";
const PROGRAM_BYTES: u64 = 48 << 20;
/// Maximum number of folders in the directory of models.
const FOLDERS_MAX: usize = 256;
/// Maximum number of downloads at the same time.
const PULLS_RUNNING_MAX: usize = 4;
/// Minimum time between a failed download and the next one for a task.
const PULL_RETRY_BACKOFF: Duration = Duration::from_secs(60);
/// Maximum number of downloads in the list.
const PULLS_KEPT_MAX: usize = 64;
/// How often a download reports its progress.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);
/// How often to check for changes by other programs.
const REFRESH_INTERVAL: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{FIELDS, Kind};
    use crate::inference::memory_of_workers;

    fn entries(values: serde_json::Value) -> Vec<ModelEntry> {
        serde_json::from_value(values).unwrap()
    }

    fn folder(root: &Path, architecture: &str) -> String {
        let folder = root.join(architecture);
        fs::create_dir(&folder).unwrap();
        let words = r#"{"model": {"type": "WordPiece", "vocab": {"[UNK]": 0}}}"#;
        fs::write(folder.join("tokenizer.json"), words).unwrap();
        fs::write(folder.join("model.safetensors"), vec![0; 1000]).unwrap();
        let config = serde_json::json!({
            "architectures": [architecture], "model_type": "bert", "vocab_size": 1, "hidden_size": 8,
            "intermediate_size": 8, "num_attention_heads": 1, "num_hidden_layers": 1, "max_position_embeddings": 8,
        });
        fs::write(folder.join("config.json"), config.to_string()).unwrap();
        folder.display().to_string()
    }

    #[test]
    fn what_is_listed_is_offered_or_said_to_be_unusable() {
        let directory = tempfile::tempdir().unwrap();
        let [bert, odd] =
            ["BertForSequenceClassification", "T5Model"].map(|name| folder(directory.path(), name));
        let hub = Hub::from_environment(|name| (name == "HF_HOME").then(|| directory.path().into())).unwrap();
        let listed = serde_json::json!([
            "all-MiniLM-L6-v2",
            { "model": bert, "name": "mine", "memory_mb": 7, "precision": "f32" },
            odd,
            "owner/none",
        ]);
        let sources =
            Sources { entries: entries(listed), cached: true, hub: Some(hub), ..Sources::default() };
        let Found { models, unusable } = find(&sources);
        let shown: Vec<(&str, bool, &[TaskKind])> =
            models.iter().map(|model| (model.name.as_str(), model.eager, model.kinds.as_slice())).collect();
        let classifies: &[TaskKind] = &[TaskKind::Classification];
        assert_eq!(
            shown,
            [("all-MiniLM-L6-v2", true, EMBEDDING_KINDS.as_slice()), ("mine", false, classifies)]
        );
        assert_eq!((models[1].memory_bytes, models[1].precision), (7 << 20, Precision::F32));
        let reasons: Vec<&str> = unusable.iter().filter_map(|model| model.reason.as_deref()).collect();
        assert!(
            reasons[0].starts_with("its architecture T5Model is not supported here; these are: bert"),
            "{reasons:?}"
        );
        assert_eq!(reasons[1..], ["owner/none is not on this machine"]);
    }

    #[test]
    fn folders_of_fetched_models_are_offered_under_their_names() {
        let directory = tempfile::tempdir().unwrap();
        let hub = Hub::from_environment(|name| (name == "HF_HOME").then(|| directory.path().into())).unwrap();
        let models = directory.path().join("models");
        fs::create_dir(&models).unwrap();
        let mine = folder(&models, "BertForSequenceClassification");
        folder(&models, "T5Model");
        fs::create_dir(models.join("tiny")).unwrap();
        fs::write(models.join("tiny/tiny.gguf"), "no weights").unwrap();
        fs::write(models.join("notes.txt"), "no model").unwrap();
        let find = |entries, cached| {
            let (hub, folders) = (Some(hub.clone()), Some(models.clone()));
            find(&Sources { entries, cached, hub, folders, ..Sources::default() })
        };
        let found = find(Vec::new(), true);
        let names = |found: &Found| found.models.iter().map(|model| model.name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&found), ["BertForSequenceClassification"]);
        let unusable: Vec<&str> = found.unusable.iter().map(|model| model.name.as_str()).collect();
        assert_eq!(unusable, ["T5Model", "tiny"]);
        assert!(found.unusable[1].place.ends_with("tiny/tiny.gguf"), "{:?}", found.unusable[1]);
        assert_eq!(names(&find(Vec::new(), false)), [""; 0]);
        // One that is configured by its path is there once.
        let configured = find(entries(serde_json::json!([mine])), true);
        assert_eq!(names(&configured), ["BertForSequenceClassification"]);
    }

    #[test]
    fn the_built_in_model_fits_into_the_smallest_node() {
        let least = FIELDS.iter().find(|field| field.key == "max_memory_mb").unwrap();
        let Kind::Integer(mib, _) = least.kind else { panic!("{least:?}") };
        assert!(built_in(Precision::Auto).memory_bytes <= memory_of_workers(mib << 20));
    }

    #[test]
    fn pulls_are_bounded_and_none_runs_twice() {
        let mut pulls = BTreeMap::new();
        for name in ["a", "b", "c", "d"] {
            assert_eq!(take_on(&mut pulls, name), Ok(true));
        }
        assert_eq!(take_on(&mut pulls, "a"), Ok(false));
        assert_eq!(take_on(&mut pulls, "e"), Err(PullsFull));
        for number in 0..100 {
            pulls.values_mut().for_each(|pull| pull.state = PullState::Failed);
            assert_eq!(take_on(&mut pulls, &format!("n{number}")), Ok(true));
        }
        assert_eq!(pulls.len(), PULLS_KEPT_MAX);
    }
}
