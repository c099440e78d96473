//! The settings of a node, gathered from flags, environment, file and defaults, and validated as a whole.
//!
//! The first source that sets a field wins, in this order: flag, `P2P_AI_*` variable, file, default. Every given value
//! is validated, even an overridden one, and all errors are reported together. [`Settings`] that exist are valid.

mod edit;
mod field;
mod models;
mod share;

pub use api::LogLevel;
pub use edit::{Change, set, unset};
pub use field::{FIELDS, Field, Kind};
pub use models::{FullEntry, ModelEntry, NAME_BYTES_MAX as MODEL_NAME_BYTES_MAX};
pub use share::Share;

use crate::cgroup::{self, MemoryLimit};
use crate::home::{self, Home};
use crate::text::without_mark;
use engine::NodeName;
use field::FORMER_NAMES;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The validated settings of one node, under the names that users know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The name of the node; `None` if neither the user nor the host gives one.
    pub name: Option<NodeName>,
    /// The port for peers.
    pub port: u16,
    /// The port of the control API, on loopback.
    pub api_port: u16,
    /// The port of the metrics, on loopback; 0 for none.
    pub metrics_port: u16,
    /// Maximum number of links.
    pub max_peers: u16,
    /// The directory of tasks and results; absolute.
    pub storage_path: PathBuf,
    /// The interval between health checks.
    pub health_check_interval_secs: u32,
    /// The memory for the node and its models, in MiB.
    pub max_memory_mb: u32,
    /// The age at which results are deleted, in hours.
    pub result_retention_hours: u32,
    /// The least severe level to log.
    pub log_level: LogLevel,
    /// The size at which the log is rotated, in MB.
    pub log_file_max_mb: u32,
    /// The age at which rotated logs are removed, in days.
    pub log_retention_days: u32,
    /// Whether commands print times in the time zone of this machine instead of UTC.
    #[serde(default)]
    pub local_time: bool,
    /// Addresses to dial besides discovered ones.
    pub bootstrap_peers: Vec<SocketAddr>,
    /// The name of the network.
    pub network: String,
    /// Whether to announce this node and to discover others by mDNS.
    pub discovery: bool,
    /// The interfaces for discovery; empty for all.
    pub interfaces: Vec<String>,
    /// Maximum number of inference jobs that run at the same time.
    pub max_concurrent_tasks: u16,
    /// Whether to run models. A node without models relays messages and assigns its tasks to others.
    pub run_models: bool,
    /// The models to offer, the primary one first.
    pub models: Vec<ModelEntry>,
    /// Whether to offer the other cached models as well.
    pub cached_models: bool,
    /// Whether a task that names a hub model unknown to all nodes makes this node fetch it.
    pub pull_on_demand: bool,
    /// Whether to fetch nothing from the hub.
    pub offline: bool,
    /// Threads of each model's process; 0 derives the number from `max_cpu_percent`.
    pub threads: u16,
    /// The share of the processor for models, in percent.
    pub max_cpu_percent: u8,
    /// The share of tasks whose trace is kept.
    pub trace_sample: Share,
    /// The collector that gets the spans of tasks.
    pub otlp_endpoint: Option<String>,
    /// The file for a recording of all inputs and outputs; absolute.
    pub record: Option<PathBuf>,
    /// Maximum size of a recording, in MiB.
    pub record_max_mb: u32,
    /// The URL to which alerts are posted.
    pub alert_webhook: Option<String>,
    /// The program that is started for each alert, with its arguments; empty for none.
    pub alert_command: Vec<String>,
}

impl Settings {
    /// The default of `max_memory_mb`.
    pub const MAX_MEMORY_MB_DEFAULT: u32 = 512;

    /// Returns where alerts are sent.
    #[cfg(feature = "node")]
    pub fn alert_receivers(&self) -> crate::observers::AlertReceivers {
        let (webhook, command) = (self.alert_webhook.clone(), self.alert_command.clone());
        crate::observers::AlertReceivers { webhook, command }
    }

    /// Returns the configuration of the engine, without `models`, which the caller adds.
    pub fn engine_config(&self) -> engine::Config {
        engine::Config {
            name: self.name.clone().unwrap_or_default(),
            network: self.network.clone(),
            max_peers: self.max_peers,
            discovery: self.discovery,
            bootstrap_peers: self.bootstrap_peers.clone(),
            max_concurrent_tasks: self.max_concurrent_tasks,
            health_check_interval: Duration::from_secs(self.health_check_interval_secs.into()),
            memory_bytes_max: u64::from(self.max_memory_mb) << 20,
            result_retention: Duration::from_secs(u64::from(self.result_retention_hours) * 3_600),
            trace_sample_millionths: self.trace_sample.millionths(),
            ..engine::Config::default()
        }
    }
}

/// The source of a value, weakest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The default.
    Default,
    /// The name of this host.
    HostName,
    /// The memory limit of a container, which is below the default.
    MemoryLimit(MemoryLimit),
    /// The home's own configuration file.
    HomeFile(PathBuf),
    /// The file that `--config` names.
    NamedFile(PathBuf),
    /// An environment variable.
    Environment(&'static str),
    /// A command-line flag.
    Flag(&'static str),
    /// A place of names that no setting has.
    Unknown(&'static str),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::HostName => f.write_str("host name"),
            Self::MemoryLimit(MemoryLimit { bytes, file }) => {
                write!(f, "memory limit of {} MB, {}", bytes >> 20, file.display())
            }
            Self::HomeFile(path) | Self::NamedFile(path) => write!(f, "{}", path.display()),
            Self::Environment(variable) => write!(f, "environment variable {variable}"),
            Self::Flag(flag) => write!(f, "flag {flag}"),
            Self::Unknown(place) => f.write_str(place),
        }
    }
}

/// Settings together with their sources.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effective {
    /// The settings.
    pub settings: Settings,
    /// The source of each value, by the key of its field.
    pub sources: BTreeMap<&'static str, Source>,
    /// Probable mistakes that do not prevent a start.
    pub warnings: Vec<String>,
}

impl Effective {
    /// Tells whether the user set this value.
    pub fn is_explicit(&self, key: &str) -> bool {
        let source = self.sources.get(key);
        !matches!(source, None | Some(Source::Default | Source::HostName | Source::MemoryLimit(_)))
    }

    /// Names the node after its host, if the user gave it no name.
    fn named(mut self, host: &str) -> Self {
        if self.settings.name.is_none() {
            self.settings.name = Some(NodeName::from_host(host)).filter(|name| !name.is_empty());
            self.sources.insert("name", Source::HostName);
        }
        self
    }

    /// Lowers a default memory setting to a container's limit, with a warning. Warns if an explicit one exceeds it.
    fn within(mut self, limit: Option<&MemoryLimit>) -> Self {
        let Some(limit) = limit else { return self };
        let limit_mb = limit.bytes >> 20;
        // Besides the node and its models, the kernel counts file pages and its own memory.
        let room = u32::try_from(limit_mb * 9 / 10).unwrap_or(u32::MAX).max(MEMORY_MB_MIN);
        let bounded = room < self.settings.max_memory_mb && !self.is_explicit("max_memory_mb");
        if bounded {
            self.settings.max_memory_mb = room;
            self.sources.insert("max_memory_mb", Source::MemoryLimit(limit.clone()));
        }
        let exceeded = u64::from(self.settings.max_memory_mb) > limit_mb;
        if bounded || exceeded {
            let consequence = if exceeded { ": the kernel may kill the node or its models" } else { "" };
            self.warnings.push(format!(
                "max_memory_mb is {}; this container may have {limit_mb} MB of memory ({}){consequence}",
                self.settings.max_memory_mb,
                limit.file.display()
            ));
        }
        self
    }

    /// Returns every value with its source, in display order. The path of a URL may be a secret and is left out.
    pub fn shown(&self) -> Vec<Shown> {
        let mut values = self.values();
        for field in FIELDS.iter().filter(|field| field.kind == Kind::Url) {
            if let Some(Value::String(url)) = values.get_mut(field.key) {
                *url = field::without_path(url);
            }
        }
        let shown = |field: &Field| Shown {
            key: field.key.to_owned(),
            value: values.remove(field.key).unwrap_or(Value::Null),
            source: self.sources.get(field.key).unwrap_or(&Source::Default).to_string(),
        };
        FIELDS.iter().map(shown).collect()
    }

    /// Returns every value, by the key of its field.
    pub fn values(&self) -> Map<String, Value> {
        match serde_json::to_value(&self.settings) {
            Ok(Value::Object(values)) => values,
            Ok(_) | Err(_) => Map::new(),
        }
    }
}

/// One value with its source, for display.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// The key of the field.
    pub key: String,
    /// Its value.
    pub value: Value,
    /// The source.
    pub source: String,
}

/// What a command line and its environment set.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// Key and value, with the flag that set it.
    pub flags: Vec<(&'static str, Value, &'static str)>,
    /// The file to read instead of the home's own.
    pub config_file: Option<PathBuf>,
    /// The environment. Only names that begin with `P2P_AI_` matter.
    pub environment: Vec<(OsString, OsString)>,
    /// The name of this host.
    pub host_name: String,
    /// The memory limit of the container in which the node runs.
    pub memory_limit: Option<MemoryLimit>,
    /// Whether the node may start although its data is gone.
    pub accept_data_loss: bool,
}

impl Overrides {
    /// Reads the environment and the memory limit of this process.
    pub fn from_environment() -> Self {
        Self {
            environment: std::env::vars_os().collect(),
            host_name: host_name(),
            memory_limit: cgroup::memory_limit(),
            ..Self::default()
        }
    }
}

/// Loads and validates the settings of a home. Writes an empty configuration file if there is none.
///
/// # Errors
/// [`ConfigError`], with all problems at once.
pub fn load(home: &Home, overrides: &Overrides) -> Result<Effective, ConfigError> {
    gather(home, overrides, |path, values| write(path, &values))?.finish(home, overrides, probe_storage)
}

/// Loads and validates the settings like [`load`], without a change of the configuration file.
///
/// # Errors
/// [`ConfigError`], with all problems at once.
pub fn examine(home: &Home, overrides: &Overrides) -> Result<Effective, ConfigError> {
    gather(home, overrides, |_, _| Ok(()))?.finish(home, overrides, probe_storage)
}

/// Loads and validates the settings like [`load`], without a change to the disk.
///
/// # Errors
/// [`ConfigError`], with all problems at once.
pub fn preview(home: &Home, overrides: &Overrides) -> Result<Effective, ConfigError> {
    gather(home, overrides, |_, _| Ok(()))?.finish(home, overrides, |_| Ok(()))
}

fn gather(
    home: &Home,
    overrides: &Overrides,
    write: impl FnOnce(&Path, Map<String, Value>) -> Result<(), ConfigError>,
) -> Result<Gathered, ConfigError> {
    let mut gathered = Gathered::default();
    match &overrides.config_file {
        Some(path) => {
            let values = read_file(path)?.ok_or_else(|| missing(path))?;
            gathered.file(values, &Source::NamedFile(path.clone()));
        }
        None => {
            let path = home.config_file();
            let found = read_file(&path)?;
            let values = found.clone().map(without_generated).unwrap_or_default();
            if found.as_ref() != Some(&values) {
                write(&path, values.clone())?;
            }
            gathered.file(values, &Source::HomeFile(path));
        }
    }
    gathered.environment(&overrides.environment);
    for (key, value, flag) in &overrides.flags {
        gathered.value(key, value.clone(), Source::Flag(flag));
    }
    Ok(gathered)
}

/// Reads and validates a configuration file again.
///
/// # Errors
/// [`ConfigError`], with all problems at once.
pub fn read_again(path: &Path) -> Result<(), ConfigError> {
    let mut gathered = Gathered::default();
    gathered.file(read_file(path)?.ok_or_else(|| missing(path))?, &Source::NamedFile(path.to_owned()));
    if gathered.problems.is_empty() { Ok(()) } else { Err(ConfigError::Invalid(gathered.problems)) }
}

/// Validates the bytes of a configuration file like [`load`], without access to the disk.
///
/// # Errors
/// [`ConfigError`], with all problems at once.
pub fn check(path: &Path, bytes: &[u8]) -> Result<(), ConfigError> {
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(ConfigError::TooLarge(path.to_owned()));
    }
    let mut gathered = Gathered::default();
    gathered.file(parse(path, bytes)?, &Source::NamedFile(path.to_owned()));
    gathered.settings()?;
    if gathered.problems.is_empty() { Ok(()) } else { Err(ConfigError::Invalid(gathered.problems)) }
}

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Values are invalid.
    #[error("{}", list(.0))]
    Invalid(Vec<Problem>),
    /// The file is not JSON or TOML.
    #[error("the configuration file {} is not well-formed: {detail}", .path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What the parser says.
        detail: String,
    },
    /// The file is too large for a configuration.
    #[error("config_too_large: the configuration file {} has more than {FILE_BYTES_MAX} bytes", .0.display())]
    TooLarge(PathBuf),
    /// The file cannot be written.
    #[error("cannot write the configuration file {}", .path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file cannot be read.
    #[error("cannot use the configuration file {}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl ConfigError {
    /// Returns the stable error id.
    pub const fn id(&self) -> &'static str {
        match self {
            Self::Invalid(_) => "config_invalid",
            Self::Malformed { .. } => "config_malformed",
            Self::TooLarge(_) => "config_too_large",
            Self::Unreadable { .. } | Self::Unwritable { .. } => "config_unreadable",
        }
    }

    /// Returns what to do about the error.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Unreadable { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                "check the path; without --config the node reads the configuration of its home".to_owned()
            }
            Self::Unwritable { .. } => "check the permissions and the disk of its directory".to_owned(),
            Self::TooLarge(_) | Self::Unreadable { .. } => {
                "check the file, or move it away to start with the defaults".to_owned()
            }
            Self::Malformed { .. } => {
                format!("{EXAMPLE}; p2p-ai-agents help configuration lists all settings")
            }
            Self::Invalid(_) => "p2p-ai-agents help configuration lists all settings".to_owned(),
        })
    }
}

/// An invalid value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The stable id of the problem.
    pub code: String,
    /// The key of the field, or the unknown key.
    pub field: String,
    /// The given value.
    pub value: String,
    /// The allowed values, or the nearest known key.
    pub allowed: String,
    /// A valid value, as it would be written in the file.
    pub suggested: Option<String>,
    /// The source of the value.
    pub source: Source,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} = {} ({})", self.code, self.field, self.value, self.source)?;
        write!(f, "; {}", self.allowed)?;
        self.suggested.as_ref().map_or(Ok(()), |value| write!(f, "; suggested: {value}"))
    }
}

fn list(problems: &[Problem]) -> String {
    let count = match problems.len() {
        1 => "the configuration has 1 error".to_owned(),
        count => format!("the configuration has {count} errors"),
    };
    problems.iter().fold(count, |text, problem| format!("{text}\n  {problem}"))
}

/// Values by field, each from its strongest source so far.
#[derive(Default)]
struct Gathered {
    values: BTreeMap<&'static str, (Value, Source)>,
    problems: Vec<Problem>,
    warnings: Vec<String>,
}

impl Gathered {
    fn file(&mut self, values: Map<String, Value>, source: &Source) {
        for (key, value) in &values {
            // The name of today wins over an earlier one beside it.
            if current(key) == key || !values.contains_key(current(key)) {
                self.value(current(key), value.clone(), source.clone());
            }
        }
    }

    fn environment(&mut self, variables: &[(OsString, OsString)]) {
        for (name, value) in variables {
            let Some(name) = name.to_str().filter(|name| name.starts_with(PREFIX)) else { continue };
            let of_today = current(name);
            if of_today != name && variables.iter().any(|(name, _)| name == of_today) {
                continue;
            }
            let Some(field) = FIELDS.iter().find(|field| field.variable == of_today) else {
                if !OTHER_VARIABLES.contains(&name) {
                    self.unknown_variable(name, &value.to_string_lossy());
                }
                continue;
            };
            let former = FORMER_NAMES.iter().find(|(former, _)| *former == name).map(|(former, _)| *former);
            let source = Source::Environment(former.unwrap_or(field.variable));
            let parsed = value.to_str().and_then(|text| field.kind.parse(text));
            match parsed {
                Some(value) => self.value(field.key, value, source),
                None => {
                    let given = format!("{:?}", value.to_string_lossy());
                    self.problems.push(field.problem("malformed_value".to_owned(), given, source));
                }
            }
        }
    }

    /// A variable that is nearly that of a setting is a mistake. Others may belong to other programs.
    fn unknown_variable(&mut self, name: &str, value: &str) {
        let nearest = nearest(name, FIELDS.iter().map(|field| field.variable));
        if strsim::damerau_levenshtein(name, nearest) > TYPOS_MAX {
            let name = shorten(name);
            self.warnings.push(format!("the environment variable {name} is no setting and has no effect"));
            return;
        }
        self.problems.push(Problem {
            code: "unknown_variable".to_owned(),
            field: shorten(name),
            value: format!("{:?}", shorten(value)),
            allowed: format!("did you mean {nearest}?"),
            suggested: None,
            source: Source::Unknown("environment"),
        });
    }

    fn value(&mut self, key: &str, value: Value, source: Source) {
        let Some(field) = FIELDS.iter().find(|field| field.key == key) else {
            let nearest = nearest(key, FIELDS.iter().map(|field| field.key));
            self.problems.push(Problem {
                code: "unknown_key".to_owned(),
                field: shorten(key),
                value: shorten(&value.to_string()),
                allowed: format!("did you mean {nearest}?"),
                suggested: None,
                source,
            });
            return;
        };
        if let Some(code) = field.fault(&value) {
            self.problems.push(field.problem(code, shorten(&value.to_string()), source));
            return;
        }
        self.values.insert(field.key, (value, source));
    }

    /// Applies the gathered values over the defaults.
    fn settings(&mut self) -> Result<(Settings, BTreeMap<&'static str, Source>), ConfigError> {
        let (mut values, mut sources) = (Map::new(), BTreeMap::new());
        for field in FIELDS {
            let (value, source) =
                self.values.remove(field.key).unwrap_or_else(|| ((field.default)(), Source::Default));
            values.insert(field.key.to_owned(), value);
            sources.insert(field.key, source);
        }
        match serde_json::from_value(Value::Object(values)) {
            Ok(settings) => Ok((settings, sources)),
            Err(error) => Err(self.unaccounted(error.to_string())),
        }
    }

    fn finish(
        mut self,
        home: &Home,
        overrides: &Overrides,
        probe_storage: impl FnOnce(&Path) -> io::Result<()>,
    ) -> Result<Effective, ConfigError> {
        let (mut settings, sources) = self.settings()?;
        settings.storage_path = home.root().join(&settings.storage_path);
        settings.record = settings.record.map(|file| home.root().join(file));
        if let Err(error) = probe_storage(&settings.storage_path) {
            let source = sources.get("storage_path").cloned().unwrap_or(Source::Default);
            self.problems.push(Problem {
                code: "storage_path_unusable".to_owned(),
                field: "storage_path".to_owned(),
                value: shorten(&settings.storage_path.display().to_string()),
                allowed: format!("must be a directory that can be read and written ({error})"),
                suggested: Some("\"data\"".to_owned()),
                source,
            });
        }
        if !self.problems.is_empty() {
            return Err(ConfigError::Invalid(self.problems));
        }
        #[cfg(feature = "node")]
        for name in settings.interfaces.iter().filter(|name| !crate::multicast::has_interface(name)) {
            self.warnings.push(format!(
                "this machine has no network interface named {name}; the node uses it once there is one"
            ));
        }
        let effective = Effective { settings, sources, warnings: self.warnings };
        Ok(effective.named(&overrides.host_name).within(overrides.memory_limit.as_ref()))
    }

    /// Reports a value that passed the check of its field and still cannot be read.
    fn unaccounted(&mut self, detail: String) -> ConfigError {
        self.problems.push(Problem {
            code: "malformed_value".to_owned(),
            field: "configuration".to_owned(),
            value: detail,
            allowed: "see p2p-ai-agents help configuration".to_owned(),
            suggested: None,
            source: Source::Default,
        });
        ConfigError::Invalid(core::mem::take(&mut self.problems))
    }
}

/// Reads the values of a file, or returns `None` if it does not exist.
fn read_file(path: &Path) -> Result<Option<Map<String, Value>>, ConfigError> {
    let unreadable = |source| ConfigError::Unreadable { path: path.to_owned(), source };
    let metadata = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        metadata => metadata.map_err(unreadable)?,
    };
    if !metadata.is_file() {
        return Err(unreadable(io::Error::new(io::ErrorKind::InvalidInput, "it is not a file")));
    }
    if metadata.len() > FILE_BYTES_MAX {
        return Err(ConfigError::TooLarge(path.to_owned()));
    }
    let mut bytes = Vec::new();
    // The size may have changed since, so the limit applies to the read as well.
    let file = File::open(path).map_err(unreadable)?;
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(ConfigError::TooLarge(path.to_owned()));
    }
    parse(path, &bytes).map(Some)
}

fn missing(path: &Path) -> ConfigError {
    let source = io::Error::new(io::ErrorKind::NotFound, "there is no such file");
    ConfigError::Unreadable { path: path.to_owned(), source }
}

/// Parses a file. Its extension determines the format.
fn parse(path: &Path, bytes: &[u8]) -> Result<Map<String, Value>, ConfigError> {
    let malformed = |detail: String| ConfigError::Malformed { path: path.to_owned(), detail };
    let text =
        str::from_utf8(without_mark(bytes)).map_err(|_| malformed("it is not UTF-8 text".to_owned()))?;
    let parsed: Result<Value, String> = if path.extension().is_some_and(|extension| extension == "toml") {
        toml::from_str(text).map_err(|error| error.to_string())
    } else {
        serde_json::from_str(text).map_err(|error| error.to_string())
    };
    match parsed.map_err(malformed)? {
        Value::Object(values) => Ok(values),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Err(malformed("it must be an object with settings".to_owned()))
        }
    }
}

/// Replaces the file of a home by one with these values.
fn write(path: &Path, values: &Map<String, Value>) -> Result<(), ConfigError> {
    let unwritable = |source| ConfigError::Unwritable { path: path.to_owned(), source };
    let mut text = serde_json::to_vec_pretty(values).map_err(|error| unwritable(error.into()))?;
    text.push(b'\n');
    home::replace_file(path, &text, 0o600).map_err(unwritable)
}

/// Returns what the user has set in the file of a home. Earlier versions wrote every default into it, which must not
/// hide the defaults of today.
fn without_generated(mut values: Map<String, Value>) -> Map<String, Value> {
    let of_default = |key: &str, value: &Value| {
        FIELDS.iter().any(|field| field.key == current(key) && (field.default)() == *value)
    };
    let is_generated = values.contains_key("network_port")
        && values.iter().filter(|(key, value)| of_default(key, value)).count() >= GENERATED_MIN;
    if is_generated {
        values.retain(|key, value| !of_default(key, value));
    }
    values
}

/// Returns today's name of a key or variable.
fn current(name: &str) -> &str {
    FORMER_NAMES.iter().find(|(former, _)| *former == name).map_or(name, |(_, current)| current)
}

fn probe_storage(path: &Path) -> io::Result<()> {
    home::create_directory(path)?;
    fs::read_dir(path)?;
    let probe = path.join(format!(".probe-{}", std::process::id()));
    File::create(&probe)?;
    fs::remove_file(&probe)
}

/// Returns the name of this host; empty if the system does not tell.
fn host_name() -> String {
    let mut text = String::new();
    let read = File::open("/proc/sys/kernel/hostname")
        .and_then(|file| file.take(HOST_NAME_BYTES_MAX).read_to_string(&mut text));
    read.map_or_else(|_| String::new(), |_| text)
}

fn nearest<'a>(given: &str, known: impl Iterator<Item = &'a str>) -> &'a str {
    let given: String = given.chars().take(SHOWN_CHARS_MAX).collect();
    known.min_by_key(|known| strsim::damerau_levenshtein(&given, known)).unwrap_or_default()
}

/// Shortens a value and removes control characters, so that a message stays readable.
fn shorten(text: &str) -> String {
    let text: String = text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// Maximum size of a configuration file, in bytes.
pub const FILE_BYTES_MAX: u64 = 1_000_000;

/// The smallest `max_memory_mb`.
const MEMORY_MB_MIN: u32 = 128;
/// More than a host name has.
const HOST_NAME_BYTES_MAX: u64 = 256;
const PREFIX: &str = "P2P_AI_";
const OTHER_VARIABLES: &[&str] = &["P2P_AI_HOME"];
/// A variable with at most this many changes to that of a setting is a typing error.
const TYPOS_MAX: usize = 3;
/// A file with this many defaults was written by a program.
const GENERATED_MIN: usize = 20;
const EXAMPLE: &str = r#"an example is {"port": 9000, "max_peers": 32}"#;
const SHOWN_CHARS_MAX: usize = 64;

#[cfg(test)]
#[path = "config/tests.rs"]
mod tests;
