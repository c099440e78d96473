//! The models of a real node: which there are, by its settings and by what is in the cache, and those being fetched.
//!
//! What is listed here is what the node offers to the mesh, loaded or not. A model that appears in the cache while the
//! node runs, because this node or another program fetched it, is offered from then on. One that cannot be loaded
//! because its files are damaged is removed, and fetched anew where that is allowed.

mod identity;

use self::identity::{files, is_pending, precision_name};
use crate::config::{MODEL_NAME_BYTES_MAX, ModelEntry};
use crate::hub::{Format, Hub, ModelId, Present, Progress, PullError};
use crate::inference::decoder::{inspect, is_gguf};
use crate::inference::{
    EMBEDDED_MODEL, EMBEDDED_MODEL_BYTES, EncoderInfo, FileHashes, ModelSpec, Precision, WorkerPoolHandle,
    embedded_fingerprint, hashes_folder,
};
use api::{ModelStatus, Pull, PullState};
use engine::task::TaskKind;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{oneshot, watch};

/// The models of a node.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    shared: Arc<Shared>,
}

/// Where a catalog looks.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The models that the user lists, the primary one first.
    pub entries: Vec<ModelEntry>,
    /// Whether to offer what else is in the cache.
    pub cached: bool,
    /// Whether a task that names a model which nobody has makes this node fetch it.
    pub pull_on_demand: bool,
    /// The hub and its cache, where there is a place for one.
    pub hub: Option<Hub>,
    /// The hashes of models' files that are known.
    pub hashes: Arc<FileHashes>,
}

impl Sources {
    /// Returns the hashes that this program keeps from start to start.
    pub fn kept_hashes() -> Arc<FileHashes> {
        Arc::new(FileHashes::in_folder(hashes_folder()))
    }
}

#[derive(Debug, Default)]
struct Shared {
    sources: Sources,
    /// Without one this node runs no models.
    pool: Option<WorkerPoolHandle>,
    found: Mutex<Found>,
    pulls: watch::Sender<BTreeMap<String, Pull>>,
    /// When each of the pulls that have failed did.
    failures: Mutex<BTreeMap<String, Instant>>,
}

/// What there is at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// What can be run.
    pub models: Vec<ModelSpec>,
    /// What is listed and cannot, with the reason.
    pub unusable: Vec<ModelStatus>,
}

/// What becomes of a model that a task names and nobody has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OnDemand {
    /// It is being fetched.
    Coming,
    /// It was tried a moment ago, in vain.
    Failed(Pull),
    /// Nobody fetches it.
    No,
}

/// Too many models are being fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{PULLS_RUNNING_MAX} models are being fetched already")]
pub struct PullsFull;

impl Catalog {
    /// Makes the catalog of a node; `pool` runs its models, which were `found`.
    pub fn new(sources: Sources, pool: Option<WorkerPoolHandle>, found: Found) -> Self {
        let (pulls, found) = (watch::Sender::default(), Mutex::new(found));
        let failures = Mutex::default();
        Self { shared: Arc::new(Shared { sources, pool, found, pulls, failures }) }
    }

    /// Fetches a model that a task names and nobody has, where the user wants that.
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
        // One for which there is no room yet is fetched when it is asked for again.
        let (Ok(()) | Err(PullsFull)) = self.pull(&id);
        OnDemand::Coming
    }

    /// Returns the name under which a model is listed that is in the cache, however it is asked for: a GGUF file by its
    /// quantisation, or a revision that goes without saying.
    pub async fn listed(&self, asked: &str) -> Option<String> {
        let id = asked.parse::<ModelId>().ok().filter(|id| matches!(id, ModelId::Hub { .. }))?;
        let hub = self.shared.sources.hub.clone()?;
        let name = tokio::task::spawn_blocking(move || hub.find(&id)).await.ok()?.ok()?.id.to_string();
        (name != asked && self.models().iter().any(|model| model.name == name)).then_some(name)
    }

    /// Returns how all models stand, by their names.
    pub fn models(&self) -> Vec<ModelStatus> {
        let mut models = self.shared.pool.as_ref().map(WorkerPoolHandle::status).unwrap_or_default();
        let found = self.shared.found.lock().unwrap_or_else(PoisonError::into_inner);
        models.extend(found.unusable.iter().cloned());
        models.sort_by(|one, other| one.name.cmp(&other.name));
        models
    }

    /// Returns the name of the model that tasks of a kind get here, the first of the list that can be used, and what is
    /// known of it without loading it.
    pub async fn first(&self, kind: TaskKind) -> Option<(String, Option<EncoderInfo>)> {
        let unusable: Vec<String> = self
            .models()
            .into_iter()
            .filter(|model| model.reason.is_some())
            .map(|model| model.name)
            .collect();
        let spec = {
            let found = self.shared.found.lock().unwrap_or_else(PoisonError::into_inner);
            let usable = |model: &&ModelSpec| model.kinds.contains(&kind) && !unusable.contains(&model.name);
            found.models.iter().find(usable).cloned()?
        };
        let name = spec.name.clone();
        let outline = tokio::task::spawn_blocking(move || EncoderInfo::for_model(&spec)).await;
        Some((name, outline.ok().flatten()))
    }

    /// Returns the names of those that the user lists and that cannot be used; how they stand says why.
    pub fn unusable(&self) -> Vec<String> {
        let listed = |name: &str| self.shared.sources.entries.iter().any(|entry| entry.name() == name);
        let models = self.models().into_iter();
        let unusable = models.filter(|model| model.reason.is_some() && listed(&model.name));
        unusable.map(|model| model.name).collect()
    }

    /// Returns the models that are being fetched, and those that were lately.
    pub fn pulls(&self) -> watch::Receiver<BTreeMap<String, Pull>> {
        self.shared.pulls.subscribe()
    }

    /// Looks anew which models there are, and offers them.
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
        // A model whose files were replaced is listed again even where they are as they were by now.
        if news || is_pending(&pool.status()) {
            pool.list(found.models).await;
        }
    }

    /// Begins to fetch a model, unless that is going on.
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
            // A thread of its own: whoever stops the node does not wait for it.
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
                // Nothing is ever sent: the thread is over.
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
                        // Files that are still being written are looked at again a little later.
                        let on = 1..before;
                        pause = if on.contains(&catalog.pending()) { Duration::ZERO } else { PENDING_POLL_INTERVAL };
                    }
                }
            }
        });
        stop
    }

    /// Returns how many models there are of which it is not known which they are.
    fn pending(&self) -> usize {
        let found = self.shared.found.lock().unwrap_or_else(PoisonError::into_inner);
        found.models.iter().filter(|model| model.fingerprint.is_none()).count()
    }

    /// Looks whether the files of models that cannot be loaded are damaged.
    async fn check_unusable(&self, models: &[ModelStatus], checked: &mut BTreeMap<String, String>) {
        checked.retain(|name, _| models.iter().any(|model| model.name == *name && model.reason.is_some()));
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
                    "its files are damaged; it is fetched anew"
                );
                if let Err(error) = self.pull(&id) {
                    tracing::warn!(component = "models", model = text, %error, "it is not fetched anew");
                }
            }
        }
    }
}

impl Shared {
    /// Finds the models, and which of them the first is of which that is not known. Blocks.
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

/// Finds the models that a node's settings list and those that are in the cache. Blocks.
///
/// A model has a fingerprint where the hashes of its files are known already.
pub fn find(sources: &Sources) -> Found {
    let Sources { entries, cached, hub, hashes, .. } = sources;
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
    for model in found.models.iter_mut().filter(|model| model.fingerprint.is_none()) {
        model.fingerprint = hashes.known(&model.files, precision_name(model));
    }
    found
}

impl Found {
    fn refuse(&mut self, name: &str, reason: String) {
        self.unusable.push(ModelStatus { reason: Some(reason), ..ModelStatus::of_name(name) });
    }
}

fn built_in(precision: Precision) -> ModelSpec {
    ModelSpec {
        name: EMBEDDED_MODEL.to_owned(),
        source: vec![EMBEDDED_MODEL.into()],
        kinds: EMBEDDINGS.to_vec(),
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

/// Describes a model that is there to whoever runs it.
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

/// What a model can do, by what its configuration says that it is.
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
        // One file that holds its own configuration.
        (Format::Safetensors, None) => return encoder(present),
    };
    if GENERATORS.contains(&architecture) {
        inspect(&present.path)?;
        return Ok(vec![TaskKind::Generation]);
    }
    if ENCODERS.contains(&architecture) {
        return encoder(present);
    }
    let names = architectures().join(", ");
    Err(format!("its architecture {architecture} is not supported; these are: {names}"))
}

fn encoder(present: &Present) -> Result<Vec<TaskKind>, String> {
    crate::inference::inspect(&present.path).map(<[TaskKind]>::to_vec).map_err(|error| chain(&error))
}

/// Names what models with a configuration may be.
pub fn architectures() -> Vec<&'static str> {
    let mut names = [ENCODERS.as_slice(), GENERATORS.as_slice()].concat();
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

/// Takes a pull on the list, unless it is running; forgets one that has ended where there are too many.
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

/// What a model of this size needs: its weights, what is computed, and the program.
const fn memory_for(bytes: u64) -> u64 {
    bytes / 10 * 13 + PROGRAM_BYTES
}

/// An error and what caused it, in one line.
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

/// What the `config.json` of an encoder names under `architectures`, or without that under `model_type`. What is no
/// classifier is an encoder with a head that is left aside.
const ENCODERS: [&str; 16] = [
    "BertForMaskedLM",
    "BertForMultipleChoice",
    "BertForNextSentencePrediction",
    "BertForPreTraining",
    "BertForQuestionAnswering",
    "BertForSequenceClassification",
    "BertForTokenClassification",
    "BertModel",
    "DistilBertForMaskedLM",
    "DistilBertForMultipleChoice",
    "DistilBertForQuestionAnswering",
    "DistilBertForSequenceClassification",
    "DistilBertForTokenClassification",
    "DistilBertModel",
    "bert",
    "distilbert",
];
/// The same of models that continue texts.
const GENERATORS: [&str; 4] = ["LlamaForCausalLM", "MistralForCausalLM", "llama", "mistral"];
/// How soon to look again at files that are being written.
const PENDING_POLL_INTERVAL: Duration = Duration::from_millis(200);
/// What says what a model is.
const CONFIG: &str = "config.json";
/// What a model that makes embeddings can do: it also classifies, by their similarity.
const EMBEDDINGS: [TaskKind; 2] = [TaskKind::Embedding, TaskKind::Classification];
const PROGRAM_BYTES: u64 = 48 << 20;
/// Models that are fetched at the same time.
const PULLS_RUNNING_MAX: usize = 4;
/// How soon after a pull that failed a task begins another one.
const PULL_RETRY_BACKOFF: Duration = Duration::from_secs(60);
/// Pulls that are remembered.
const PULLS_KEPT_MAX: usize = 64;
/// How often a pull says how far it is.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);
/// How often to look whether other programs have changed what there is.
const REFRESH_INTERVAL: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{FIELDS, Kind};
    use crate::inference::memory_of_workers;
    use std::path::Path;

    fn entries(values: serde_json::Value) -> Vec<ModelEntry> {
        serde_json::from_value(values).unwrap()
    }

    fn folder(root: &Path, architecture: &str) -> String {
        let folder = root.join(architecture);
        std::fs::create_dir(&folder).unwrap();
        let words = r#"{"model": {"type": "WordPiece", "vocab": {"[UNK]": 0}}}"#;
        std::fs::write(folder.join("tokenizer.json"), words).unwrap();
        std::fs::write(folder.join("model.safetensors"), vec![0; 1000]).unwrap();
        let config = serde_json::json!({
            "architectures": [architecture], "model_type": "bert", "vocab_size": 1, "hidden_size": 8,
            "intermediate_size": 8, "num_attention_heads": 1, "num_hidden_layers": 1, "max_position_embeddings": 8,
        });
        std::fs::write(folder.join("config.json"), config.to_string()).unwrap();
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
        assert_eq!(shown, [("all-MiniLM-L6-v2", true, EMBEDDINGS.as_slice()), ("mine", false, classifies)]);
        assert_eq!((models[1].memory_bytes, models[1].precision), (7 << 20, Precision::F32));
        let reasons: Vec<&str> = unusable.iter().filter_map(|model| model.reason.as_deref()).collect();
        assert!(
            reasons[0].starts_with("its architecture T5Model is not supported; these are: Bert"),
            "{reasons:?}"
        );
        assert_eq!(reasons[1..], ["owner/none is not on this machine"]);
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
