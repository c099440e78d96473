//! The homes of this user's nodes: the selected one, and those with running nodes.

use crate::error::Failure;
use runtime::home::Home;
use runtime::registry::Registry;
use std::path::PathBuf;

/// The home that the command line selects. Only the verbs that need it open it.
#[derive(Debug)]
pub(crate) struct SelectedHome(pub(crate) Option<PathBuf>);

impl SelectedHome {
    /// Opens the directory of `--home` or `P2P_AI_HOME`, or else `~/.p2p-ai-agents`.
    pub(crate) fn open(&self) -> Result<Home, Failure> {
        let default = || Some(std::env::home_dir()?.join(".p2p-ai-agents"));
        let root = self.0.clone().or_else(default).ok_or_else(|| {
            Failure::new("there is no home directory")
                .id("home_unusable")
                .hint("name the node's directory with --home DIR")
        })?;
        Home::new(&root).map_err(|error| {
            Failure::new("the home cannot be used").id("home_unusable").because(Some(&error))
        })
    }
}

/// Returns the homes of this user with running nodes.
pub(crate) fn running() -> Result<Vec<Home>, Failure> {
    Registry::open(std::env::var_os("XDG_RUNTIME_DIR").as_deref())
        .and_then(|registry| registry.running())
        .map_err(|error| {
            Failure::new("cannot list the running nodes").id("registry_unusable").because(Some(&error))
        })
}
