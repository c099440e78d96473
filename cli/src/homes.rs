//! The homes of this user's nodes: the selected one, and those with running nodes.

use crate::error::Failure;
use runtime::home::{Holder, Home};
use runtime::registry::Registry;
use std::path::PathBuf;
use std::sync::OnceLock;

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

/// Remembers the selected home for [`running`], which looks for nodes at all places.
pub(crate) fn select(selected: &SelectedHome) {
    if let Ok(home) = selected.open() {
        // A process has one command line, so nothing was selected before.
        let _ = SELECTED.set(home);
    }
}

/// Returns the homes of this user with running nodes. The node of the selected home may have been started where no
/// list is known, such as in a private directory of a service.
pub(crate) fn running() -> Result<Vec<Home>, Failure> {
    let registry = Registry::open(std::env::var_os("XDG_RUNTIME_DIR").as_deref());
    let mut homes = registry.and_then(|registry| registry.running()).map_err(|error| {
        Failure::new("cannot list the running nodes").id("registry_unusable").because(Some(&error))
    })?;
    let others = Registry::outside_sessions().filter_map(|registry| registry.running().ok()).flatten();
    let selected = SELECTED.get().filter(|home| home.holder() != Holder::Nobody).cloned();
    homes.extend(others.chain(selected));
    homes.sort_by(|a, b| a.root().cmp(b.root()));
    homes.dedup_by(|a, b| a.root() == b.root());
    Ok(homes)
}

static SELECTED: OnceLock<Home> = OnceLock::new();
