//! The homes of this user's nodes: the selected one, and those with running nodes.

use crate::error::Failure;
use nix::unistd::{Uid, User};
use runtime::config::{self, Overrides};
use runtime::home::{Holder, Home};
use runtime::registry::Registry;
use runtime::text::shell_quoted;
use std::borrow::Cow;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
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

/// Remembers the selected home for [`running`], which looks for nodes at all places, and for hints whether `--home` gave
/// it.
pub(crate) fn select(selected: &SelectedHome) {
    let variable = std::env::var_os(HOME_VARIABLE).map(PathBuf::from);
    if let Some(home) = selected.0.as_ref().filter(|home| Some(*home) != variable.as_ref()) {
        // A process has one command line.
        let _ = GIVEN.set(home.clone());
    }
    if let Ok(home) = selected.open() {
        // A process has one command line, so nothing was selected before.
        let _ = SELECTED.set(home);
    }
}

/// Returns whether the settings of the selected home ask for local times.
pub(crate) fn wants_local_time() -> bool {
    static WANTED: OnceLock<bool> = OnceLock::new();
    *WANTED.get_or_init(|| {
        // Invalid settings are reported where they are used.
        let settings = |home| config::preview(home, &Overrides::from_environment()).ok();
        SELECTED.get().and_then(settings).is_some_and(|effective| effective.settings.local_time)
    })
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

/// Returns the failure of a command that needs a running node, with the reason why there is none.
pub(crate) fn not_running(home: &Home) -> Failure {
    let place = home.root().display();
    if home.is_unreadable() {
        let failure = Failure::new(format!("this user may not read the home {place}")).id("home_unreadable");
        return failure.hint(match owner(home.root()) {
            Some(owner) => format!("run the command as its owner: sudo -u {owner} p2p-ai-agents …"),
            None => "run the command as the user of the node".to_owned(),
        });
    }
    let failure = Failure::new(format!("No node is running (home: {place})")).id("node_not_running");
    match home.crashed() {
        Some(info) => failure.hint(format!(
            "the last one (pid {}) ended without a shutdown: it crashed or was killed; p2p-ai-agents node logs shows \
             its last lines, and p2p-ai-agents node start resumes its tasks",
            info.pid
        )),
        None => failure.hint("start one with: p2p-ai-agents node start"),
    }
}

/// Adds the `--home` of this command to the commands in a hint, so that they are about the same node.
pub(crate) fn in_hint(hint: &str) -> Cow<'_, str> {
    match GIVEN.get() {
        Some(home) => Cow::Owned(with_home(hint, home)),
        None => Cow::Borrowed(hint),
    }
}

fn with_home(hint: &str, home: &Path) -> String {
    let mut parts = hint.split(PROGRAM);
    let mut text = parts.next().unwrap_or_default().to_owned();
    for rest in parts {
        text.push_str(PROGRAM);
        if !ELSEWHERE.iter().any(|word| rest.starts_with(word)) {
            text = format!("{text}--home {} ", shell_quoted(&home.display().to_string()));
        }
        text.push_str(rest);
    }
    text
}

/// Returns the name of the owner of a directory, if it is another user.
fn owner(path: &Path) -> Option<String> {
    let uid = Uid::from_raw(std::fs::metadata(path).ok()?.uid());
    let other = (uid != nix::unistd::geteuid()).then_some(uid)?;
    Some(User::from_uid(other).ok()??.name)
}

static SELECTED: OnceLock<Home> = OnceLock::new();
/// The value of `--home`, if it was given.
static GIVEN: OnceLock<PathBuf> = OnceLock::new();
pub(crate) const HOME_VARIABLE: &str = "P2P_AI_HOME";
const PROGRAM: &str = "p2p-ai-agents ";
/// Commands that are about no home, and text that is no command.
const ELSEWHERE: [&str; 6] = ["--home", "errors", "help", "node list", "sim", "…"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_keeps_the_home_that_was_given() {
        let home = Path::new("/home/me/second node");
        let hint = "start one with: p2p-ai-agents node start; p2p-ai-agents errors explains it";
        assert_eq!(
            with_home(hint, home),
            "start one with: p2p-ai-agents --home '/home/me/second node' node start; p2p-ai-agents errors explains it"
        );
        assert_eq!(
            with_home("systemctl restart p2p-ai-agents; or stop it", home),
            "systemctl restart p2p-ai-agents; or stop it"
        );
    }
}
