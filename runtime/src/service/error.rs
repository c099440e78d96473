//! Why a node did not start: which part of the user's set-up is wrong, and what to do about it.

use crate::config::ConfigError;
use crate::home::LockError;
use crate::identity::IdentityError;
use crate::store::OpenError;
use crate::transport::BindError;
use std::io;
use std::path::PathBuf;

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The control API has no port.
    #[error("Port {port} already in use")]
    Api {
        /// The port.
        port: u16,
        /// What the system said.
        source: io::Error,
    },
    /// The settings are wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The operating system gives no random numbers.
    #[error("there is no randomness")]
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
    /// The operating system does not say which program this is.
    #[error("cannot tell which program to run models with")]
    Program(#[source] io::Error),
    /// The node cannot be recorded.
    #[error("cannot record into {}", .path.display())]
    Recording {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Stored tasks and results cannot be used.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// The operating system gives no thread.
    #[error("cannot start a thread")]
    Thread(#[source] io::Error),
    /// The node cannot take connections.
    #[error(transparent)]
    Transport(#[from] BindError),
}

impl StartError {
    /// Returns its stable name.
    pub const fn id(&self) -> &'static str {
        match self {
            Self::Api { .. } | Self::Transport(BindError::PortTaken(_)) => "port_in_use",
            Self::Config(error) => error.id(),
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

    /// Says what to do about it.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Api { .. } => {
                "choose another with --api-port, or leave it out to use the next free one".to_owned()
            }
            Self::Config(error) => return error.hint(),
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
