//! The fields of the configuration: one table for files, environment, flags, checks, the sample and the documentation.

use super::{MEMORY_MB_MIN, Problem, Settings, Share, Source, models};
use crate::text::origin;
use engine::NodeName;
use serde_json::{Value, json};
use std::net::SocketAddr;

/// One field of the configuration.
#[derive(Debug)]
pub struct Field {
    /// Its key in a file.
    pub key: &'static str,
    /// Its environment variable.
    pub variable: &'static str,
    /// The flag of `node start` that sets it, if there is one.
    pub flag: Option<&'static str>,
    /// What it holds.
    pub kind: Kind,
    /// Its default.
    pub default: fn() -> Value,
    /// The effect of the value and its unit, in one or two sentences for people.
    pub meaning: &'static str,
}

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Socket addresses, `IP:PORT`.
    Addresses,
    /// A program with its arguments; empty for none.
    Command,
    /// A file to write, or `null`.
    File,
    /// Names of network interfaces.
    Interfaces,
    /// An integer in a range, with both bounds included.
    Integer(u64, u64),
    /// The name of a log level.
    Level,
    /// Models, by name or with options.
    Models,
    /// The name of a network.
    Name,
    /// A port, or 0 for none.
    OptionalPort,
    /// A directory.
    Path,
    /// The name of a node, or `null`.
    NodeName,
    /// A part of the whole, 0.0 to 1.0.
    Share,
    /// `true` or `false`.
    Switch,
    /// A URL, or `null`.
    Url,
}

impl Kind {
    /// Parses the text of an environment variable. Returns `None` if it is not of this kind at all.
    pub fn parse(self, text: &str) -> Option<Value> {
        match self {
            Self::Integer(..) | Self::OptionalPort => text.trim().parse::<u64>().ok().map(Value::from),
            Self::Share => text.trim().parse::<f64>().ok().filter(|share| share.is_finite()).map(Value::from),
            Self::Switch => match text.trim() {
                "1" | "true" => Some(Value::Bool(true)),
                "0" | "false" => Some(Value::Bool(false)),
                _ => None,
            },
            // Words are not split: an argument may contain any character.
            Self::Command => list(text),
            // An address may also begin with a bracket.
            Self::Interfaces | Self::Models if text.trim().starts_with(['[', '{']) => list(text),
            Self::Addresses | Self::Interfaces | Self::Models => list(text).or_else(|| {
                let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
                Some(parts.map(Value::from).collect())
            }),
            Self::File | Self::NodeName | Self::Url => {
                Some(if text.is_empty() { Value::Null } else { Value::from(text) })
            }
            Self::Level => Some(Value::from(text.trim().to_uppercase())),
            Self::Name | Self::Path => Some(Value::from(text)),
        }
    }

    fn admits(self, value: &Value) -> bool {
        match self {
            Self::Addresses => texts(value, ADDRESSES_MAX)
                .is_some_and(|texts| texts.iter().all(|text| text.parse::<SocketAddr>().is_ok())),
            Self::Command => texts(value, ARGUMENTS_MAX).is_some_and(|texts| {
                let fits = |text: &&str| text.len() <= ARGUMENT_BYTES_MAX && !text.contains('\0');
                texts.first().is_none_or(|program| program.starts_with('/')) && texts.iter().all(fits)
            }),
            Self::Interfaces => texts(value, INTERFACES_MAX)
                .is_some_and(|texts| texts.iter().all(|text| (1..=15).contains(&text.len()))),
            Self::Integer(least, most) => {
                value.as_u64().is_some_and(|number| (least..=most).contains(&number))
            }
            Self::OptionalPort => {
                value.as_u64().is_some_and(|port| port == 0 || (1024..=PORT_MAX).contains(&port))
            }
            Self::Level => value.as_str().is_some_and(|text| LEVELS.contains(&text)),
            Self::Models => models::admits(value),
            Self::Name => value.as_str().is_some_and(|text| {
                (1..=64).contains(&text.len())
                    && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
            }),
            Self::File => value.is_null() || Self::Path.admits(value),
            Self::NodeName => {
                let is_name = |text: &str| NodeName::new(text).is_some_and(|name| !name.is_empty());
                value.is_null() || value.as_str().is_some_and(is_name)
            }
            Self::Path => {
                value.as_str().is_some_and(|text| (1..=4096).contains(&text.len()) && !text.contains('\0'))
            }
            Self::Share => value.as_f64().is_some_and(|share| Share::new(share).is_some()),
            Self::Switch => value.is_boolean(),
            Self::Url => value.is_null() || value.as_str().is_some_and(is_url),
        }
    }

    /// Describes the values that a field of this kind admits.
    pub(super) fn allowed(self) -> String {
        match self {
            Self::Addresses => format!("allowed: up to {ADDRESSES_MAX} addresses of the form IP:PORT"),
            Self::Command => format!(
                "allowed: a list of the absolute path of a program and its arguments, up to {ARGUMENTS_MAX} texts, \
                 or an empty list"
            ),
            Self::Interfaces => {
                format!("allowed: up to {INTERFACES_MAX} names of network interfaces (none means all)")
            }
            Self::Integer(least, most) => format!("allowed: {least} to {most}"),
            Self::Level => format!("allowed: {}", LEVELS.join(", ")),
            Self::OptionalPort => format!("allowed: 0 (none), or 1024 to {PORT_MAX}"),
            Self::Models => format!(
                "allowed: up to {} models, each a name, a path, or {{\"model\": …, \"name\": …, \"eager\": …, \"precision\": …, \"memory_mb\": …}}",
                models::ENTRIES_MAX
            ),
            Self::Name => "allowed: 1 to 64 letters, digits, '-', '_' or '.'".to_owned(),
            Self::File => "allowed: a file to write, or null".to_owned(),
            Self::NodeName => format!(
                "allowed: 1 to {} bytes in one line, without invisible characters, or null",
                NodeName::BYTES_MAX
            ),
            Self::Path => "allowed: a directory that can be read and written".to_owned(),
            Self::Share => "allowed: 0.0 to 1.0".to_owned(),
            Self::Switch => "allowed: true, false".to_owned(),
            Self::Url => {
                "allowed: a URL that begins with http:// or https://, without user and password, or null"
                    .to_owned()
            }
        }
    }
}

impl Field {
    /// Returns the stable id of the problem with `value`, or `None` if it is valid.
    pub(super) fn fault(&self, value: &Value) -> Option<String> {
        if self.kind.admits(value) {
            return None;
        }
        let most = match self.kind {
            Kind::Integer(_, most) => most,
            Kind::OptionalPort => PORT_MAX,
            Kind::Share => 1,
            Kind::Addresses
            | Kind::Command
            | Kind::File
            | Kind::Interfaces
            | Kind::Level
            | Kind::Models
            | Kind::Name
            | Kind::NodeName
            | Kind::Path
            | Kind::Switch
            | Kind::Url => return Some(format!("{}_invalid", self.key)),
        };
        Some(match value.as_f64() {
            // A number that exceeds 64 bits is still a number above the limit.
            Some(number) if number > most as f64 => format!("{}_exceeds_limit", self.key),
            Some(_) if value.is_i64() || value.is_u64() || self.kind == Kind::Share => {
                format!("{}_below_minimum", self.key)
            }
            Some(_) | None => format!("{}_invalid", self.key),
        })
    }

    /// Describes an invalid value. A URL is not shown: it may hold a password, and its path may be a secret.
    pub(super) fn problem(&self, code: String, value: String, source: Source) -> Problem {
        Problem {
            code,
            field: self.key.to_owned(),
            value: if self.kind == Kind::Url { "(not shown)".to_owned() } else { value },
            allowed: self.kind.allowed(),
            suggested: Some((self.default)().to_string()),
            source,
        }
    }
}

/// Parses a list in the syntax of the file.
fn list(text: &str) -> Option<Value> {
    serde_json::from_str(text).ok().filter(Value::is_array)
}

fn texts(value: &Value, most: usize) -> Option<Vec<&str>> {
    let items = value.as_array().filter(|items| items.len() <= most)?;
    items.iter().map(Value::as_str).collect()
}

/// Tells whether a text is a URL of a web server, of a form that no parser takes for another host.
fn is_url(text: &str) -> bool {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let host = rest.and_then(|rest| rest.split(['/', '?', '#']).next()).unwrap_or_default();
    text.len() <= URL_BYTES_MAX
        && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\')
        && host.bytes().any(|byte| byte.is_ascii_alphanumeric())
        && !host.contains('@')
}

/// Returns the scheme and host of a URL, and marks that there is more.
pub(super) fn without_path(url: &str) -> String {
    let shown = origin(url);
    let more = if shown.len() < url.len() { "/…" } else { "" };
    format!("{shown}{more}")
}

const PORT_MAX: u64 = 65_535;
const LEVELS: [&str; 6] = ["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"];
const ADDRESSES_MAX: usize = 64;
const INTERFACES_MAX: usize = 32;
const ARGUMENTS_MAX: usize = 32;
const ARGUMENT_BYTES_MAX: usize = 4096;
const URL_BYTES_MAX: usize = 2048;

/// Earlier keys, and variables, with those of today. They are still read.
pub(super) const FORMER_NAMES: &[(&str, &str)] =
    &[("network_port", "port"), ("P2P_AI_NODE_PORT", "P2P_AI_PORT"), ("P2P_AI_NETWORK_PORT", "P2P_AI_PORT")];

/// All fields, in display order.
pub const FIELDS: &[Field] = &[
    Field {
        key: "name",
        variable: "P2P_AI_NODE_NAME",
        flag: Some("--name"),
        kind: Kind::NodeName,
        default: || Value::Null,
        meaning: "The name of the node, shown on all nodes; `null` means the host name without its domain.",
    },
    Field {
        key: "port",
        variable: "P2P_AI_PORT",
        flag: Some("--port"),
        kind: Kind::Integer(1024, 65_535),
        default: || json!(9000),
        meaning: "The port for peers.",
    },
    Field {
        key: "api_port",
        variable: "P2P_AI_API_PORT",
        flag: Some("--api-port"),
        kind: Kind::Integer(1024, 65_535),
        default: || json!(8080),
        meaning: "The port of the API, on loopback.",
    },
    Field {
        key: "metrics_port",
        variable: "P2P_AI_METRICS_PORT",
        flag: Some("--metrics-port"),
        kind: Kind::OptionalPort,
        default: || json!(9100),
        meaning: "The port of the metrics, on loopback; 0 for none.",
    },
    Field {
        key: "network",
        variable: "P2P_AI_NETWORK",
        flag: Some("--network"),
        kind: Kind::Name,
        default: || json!("local"),
        meaning: "The name of the network. Nodes of other networks are refused.",
    },
    Field {
        key: "max_peers",
        variable: "P2P_AI_MAX_PEERS",
        flag: Some("--max-peers"),
        kind: Kind::Integer(1, 256),
        default: || json!(32),
        meaning: "The maximum number of links.",
    },
    Field {
        key: "storage_path",
        variable: "P2P_AI_STORAGE_PATH",
        flag: None,
        kind: Kind::Path,
        default: || json!("data"),
        meaning: "The directory for tasks and results; a relative path starts at the home.",
    },
    Field {
        key: "health_check_interval_secs",
        variable: "P2P_AI_HEALTH_CHECK_INTERVAL_SECS",
        flag: None,
        kind: Kind::Integer(1, 3600),
        default: || json!(30),
        meaning: "The interval between health checks, in seconds.",
    },
    Field {
        key: "max_memory_mb",
        variable: "P2P_AI_MAX_MEMORY_MB",
        flag: None,
        kind: Kind::Integer(MEMORY_MB_MIN as u64, 16_384),
        default: || json!(Settings::MAX_MEMORY_MB_DEFAULT),
        meaning: "The memory for the node and its models, in MiB.",
    },
    Field {
        key: "max_concurrent_tasks",
        variable: "P2P_AI_MAX_CONCURRENT_TASKS",
        flag: None,
        kind: Kind::Integer(1, 256),
        default: || json!(4),
        meaning: "The number of inference jobs that run at the same time.",
    },
    Field {
        key: "run_models",
        variable: "P2P_AI_RUN_MODELS",
        flag: Some("--no-model"),
        kind: Kind::Switch,
        default: || json!(true),
        meaning: "Whether to run models. A node without models relays messages and assigns its tasks to others.",
    },
    Field {
        key: "models",
        variable: "P2P_AI_MODELS",
        flag: None,
        kind: Kind::Models,
        default: || json!(["all-MiniLM-L6-v2"]),
        meaning: "The models to offer, the primary one first.",
    },
    Field {
        key: "cached_models",
        variable: "P2P_AI_CACHED_MODELS",
        flag: None,
        kind: Kind::Switch,
        default: || json!(true),
        meaning: "Whether to offer the other models of the cache too.",
    },
    Field {
        key: "pull_on_demand",
        variable: "P2P_AI_PULL_ON_DEMAND",
        flag: None,
        kind: Kind::Switch,
        default: || json!(false),
        meaning: "Whether a task that names an unknown model of the hub makes the node fetch it.",
    },
    Field {
        key: "offline",
        variable: "P2P_AI_OFFLINE",
        flag: Some("--offline"),
        kind: Kind::Switch,
        default: || json!(false),
        meaning: "Whether to fetch nothing from the hub.",
    },
    Field {
        key: "threads",
        variable: "P2P_AI_THREADS",
        flag: None,
        kind: Kind::Integer(0, 1024),
        default: || json!(0),
        meaning: "Threads of each model's process; 0 means as many as `max_cpu_percent` needs.",
    },
    Field {
        key: "max_cpu_percent",
        variable: "P2P_AI_MAX_CPU_PERCENT",
        flag: None,
        kind: Kind::Integer(1, 100),
        default: || json!(100),
        meaning: "The share of the processor that models may use, in percent.",
    },
    Field {
        key: "result_retention_hours",
        variable: "P2P_AI_RESULT_RETENTION_HOURS",
        flag: None,
        kind: Kind::Integer(1, 8_760),
        default: || json!(24),
        meaning: "The age at which results are deleted, in hours.",
    },
    Field {
        key: "log_level",
        variable: "P2P_AI_LOG_LEVEL",
        flag: Some("--log-level"),
        kind: Kind::Level,
        default: || json!("INFO"),
        meaning: "The least severe log lines to write.",
    },
    Field {
        key: "log_file_max_mb",
        variable: "P2P_AI_LOG_FILE_MAX_MB",
        flag: None,
        kind: Kind::Integer(1, 10_000),
        default: || json!(100),
        meaning: "The size at which the log is rotated, in MB.",
    },
    Field {
        key: "log_retention_days",
        variable: "P2P_AI_LOG_RETENTION_DAYS",
        flag: None,
        kind: Kind::Integer(1, 365),
        default: || json!(7),
        meaning: "The age at which rotated logs are deleted, in days.",
    },
    Field {
        key: "local_time",
        variable: "P2P_AI_LOCAL_TIME",
        flag: None,
        kind: Kind::Switch,
        default: || json!(false),
        meaning: "Whether commands print times in the time zone of this machine instead of UTC. JSON stays in UTC.",
    },
    Field {
        key: "discovery",
        variable: "P2P_AI_DISCOVERY",
        flag: None,
        kind: Kind::Switch,
        default: || json!(true),
        meaning: "Whether to announce this node and to discover others by mDNS.",
    },
    Field {
        key: "interfaces",
        variable: "P2P_AI_INTERFACES",
        flag: Some("--interface"),
        kind: Kind::Interfaces,
        default: || json!([]),
        meaning: "The network interfaces for discovery; an empty list means all.",
    },
    Field {
        key: "bootstrap_peers",
        variable: "P2P_AI_BOOTSTRAP_PEERS",
        flag: Some("--bootstrap-peer"),
        kind: Kind::Addresses,
        default: || json!([]),
        meaning: "Addresses to dial besides discovered ones.",
    },
    Field {
        key: "trace_sample",
        variable: "P2P_AI_TRACE_SAMPLE",
        flag: None,
        kind: Kind::Share,
        default: || json!(1.0),
        meaning: "The share of tasks whose trace is kept, 0.0 to 1.0. A client's `traceparent` decides for its own tasks.",
    },
    Field {
        key: "otlp_endpoint",
        variable: "P2P_AI_OTLP_ENDPOINT",
        flag: None,
        kind: Kind::Url,
        default: || Value::Null,
        meaning: "The OpenTelemetry collector that gets the spans of tasks, over OTLP/HTTP; `/v1/traces` is added.",
    },
    Field {
        key: "record",
        variable: "P2P_AI_RECORD",
        flag: Some("--record"),
        kind: Kind::File,
        default: || Value::Null,
        meaning: "The file for a recording of all inputs and outputs.",
    },
    Field {
        key: "record_max_mb",
        variable: "P2P_AI_RECORD_MAX_MB",
        flag: Some("--record-max-mb"),
        kind: Kind::Integer(1, 4096),
        default: || json!(64),
        meaning: "The size at which a recording ends, in MiB.",
    },
    Field {
        key: "alert_webhook",
        variable: "P2P_AI_ALERT_WEBHOOK",
        flag: None,
        kind: Kind::Url,
        default: || Value::Null,
        meaning: "The URL to which each alert is posted as JSON.",
    },
    Field {
        key: "alert_command",
        variable: "P2P_AI_ALERT_COMMAND",
        flag: None,
        kind: Kind::Command,
        default: || json!([]),
        meaning: "The program that is started for each alert, without a shell, with the alert as JSON on its standard input.",
    },
];
