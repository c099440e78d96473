//! Why a node did not start: the part of the set-up that is wrong, and what to do about it.

use crate::config::ConfigError;
use crate::home::LockError;
use crate::identity::IdentityError;
use crate::store::{FREE_BYTES_MIN, OpenError, is_full};
use crate::transport::BindError;
use std::io;
use std::path::PathBuf;

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No port is free for the control API.
    #[error("Port {port} already in use")]
    Api {
        /// The port.
        port: u16,
        /// What the system said.
        source: io::Error,
    },
    /// The settings are invalid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The stored tasks and results are gone.
    #[error("the data of this node are gone: {} is missing or empty", .path.display())]
    DataLost {
        /// The data file.
        path: PathBuf,
    },
    /// A disk is full.
    #[error("no space is left on the disk of {}", .path.display())]
    DiskFull {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// No port is free for the metrics.
    #[error("Port {port} already in use")]
    Metrics {
        /// The port.
        port: u16,
        /// What the system said.
        source: io::Error,
    },
    /// The operating system provides no random numbers.
    #[error("the system provides no random numbers")]
    Entropy(#[source] io::Error),
    /// A file of the home cannot be used.
    #[error("cannot use {}", .path.display())]
    Home {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The key cannot be used.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The home is in use.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The path of the running program is unknown.
    #[error("cannot find the path of the running program")]
    Program(#[source] io::Error),
    /// The recording cannot be written.
    #[error("cannot record into {}", .path.display())]
    Recording {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Stored tasks and results cannot be opened.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// The operating system provides no thread.
    #[error("cannot start a thread")]
    Thread(#[source] io::Error),
    /// The node cannot listen for connections.
    #[error(transparent)]
    Transport(#[from] BindError),
}

impl StartError {
    /// Returns the stable error id.
    pub fn id(&self) -> &'static str {
        match self {
            Self::Api { .. } | Self::Metrics { .. } | Self::Transport(BindError::PortTaken(_)) => {
                "port_in_use"
            }
            Self::Config(error) => error.id(),
            Self::DataLost { .. } => "data_lost",
            Self::DiskFull { .. } => "disk_full",
            Self::Lock(LockError::Io(error)) if is_full(error) => "disk_full",
            Self::Entropy(_) | Self::Program(_) | Self::Thread(_) => "system_failed",
            Self::Home { .. } | Self::Lock(LockError::Io(_)) => "home_unusable",
            Self::Identity(IdentityError::Damaged { .. }) => "identity_damaged",
            Self::Identity(IdentityError::Io { .. }) => "identity_unusable",
            Self::Identity(IdentityError::ModeTooWide { .. }) => "identity_mode_too_wide",
            Self::Lock(LockError::Held { .. }) => "node_already_running",
            Self::Recording { .. } => "recording_unusable",
            Self::Store(_) => "storage_unusable",
            Self::Transport(BindError::Address { .. } | BindError::NoAddress) => "network_unusable",
        }
    }

    /// Returns what to do about the error.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Api { .. } => {
                "choose another with --api-port, or leave it out to use the next free one".to_owned()
            }
            Self::Metrics { .. } => {
                "choose another with --metrics-port, 0 for none, or leave it out to use the next free one".to_owned()
            }
            Self::Config(error) => return error.hint(),
            Self::DataLost { .. } => {
                "mount its disk, or restore it from a backup; to start without the tasks and results that were in it: \
                 p2p-ai-agents node start --accept-data-loss"
                    .to_owned()
            }
            Self::DiskFull { .. } => {
                format!("make room: a node needs {} MiB at least, and more for tasks and results", FREE_BYTES_MIN >> 20)
            }
            Self::Store(OpenError::Damaged { .. }) => {
                "restore it from a backup; p2p-ai-agents store check says more; to keep it beside and start without \
                 data: p2p-ai-agents node start --accept-data-loss"
                    .to_owned()
            }
            Self::Home { path, .. } => {
                format!("check who may use {}, and the space on its disk", path.display())
            }
            Self::Identity(error) => error.hint(),
            Self::Lock(LockError::Held { .. }) => {
                "stop it with: p2p-ai-agents node stop; or start another node in another home with --home DIR"
                    .to_owned()
            }
            Self::Lock(LockError::Io(_)) => "check who may use the run directory of the home".to_owned(),
            Self::Recording { .. } => {
                "name another file with --record, in a directory that can be written".to_owned()
            }
            Self::Transport(BindError::PortTaken(port)) => {
                format!("choose another port: p2p-ai-agents node start --port {}", other_port(*port))
            }
            Self::Entropy(_)
            | Self::Program(_)
            | Self::Store(_)
            | Self::Thread(_)
            | Self::Transport(BindError::Address { .. } | BindError::NoAddress) => return None,
        })
    }
}

fn other_port(port: u16) -> u16 {
    port.checked_add(1).unwrap_or(port - 1)
}
