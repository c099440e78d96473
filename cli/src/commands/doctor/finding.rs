//! The findings of the doctor: what is wrong, why it matters and what to do.

use crate::commands::node_names::NodeNames;
use crate::{homes, output};
use api::{Alert, Conflict, IssueFigures, IssueKind, ModelVersion, RecentIssue, Status};
use engine::error::DialError;
use engine::error::{PeerFault, StrangerFault};
use engine::event::RefuseReason;
use engine::lifecycle::State;
use engine::observers::alerts::{AlertRule, Severity};
use engine::observers::diagnostics::Issue;
use runtime::cgroup::MemoryLimit;
use runtime::config::{ConfigError, Settings};
use runtime::home::Home;
use runtime::identity::IdentityError;
use serde::Serialize;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

/// All findings.
#[derive(Debug, Serialize)]
pub(in crate::commands) struct Report {
    /// Whether there is no problem.
    pub(in crate::commands) healthy: bool,
    findings: Vec<Finding>,
    #[serde(skip)]
    summary: Option<String>,
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(in crate::commands) struct Finding {
    /// The stable id.
    code: &'static str,
    /// Whether it is a problem rather than a note.
    pub(in crate::commands) problem: bool,
    what: String,
    /// The figures that show it, where the finding does not name them.
    #[serde(skip_serializing_if = "Option::is_none")]
    figures: Option<String>,
    why: String,
    fix: String,
}

impl Report {
    pub(in crate::commands) fn new(mut findings: Vec<Finding>, summary: Option<String>) -> Self {
        findings.sort_by_key(|finding| !finding.problem);
        let mut seen: Vec<Finding> = Vec::new();
        findings.retain(|finding| {
            let is_new = !seen.contains(finding);
            seen.extend(is_new.then(|| finding.clone()));
            is_new
        });
        Self { healthy: findings.iter().all(|finding| !finding.problem), findings, summary }
    }

    pub(in crate::commands) fn text(&self) -> String {
        let problems = self.findings.iter().filter(|finding| finding.problem).count();
        let mut text = match problems {
            0 => "No problems found.\n".to_owned(),
            1 => "1 problem found.\n".to_owned(),
            count => format!("{count} problems found.\n"),
        };
        text.extend(self.summary.iter().map(|summary| format!("{summary}\n")));
        for Finding { problem, what, figures, why, fix, .. } in &self.findings {
            let mark = if *problem { "problem" } else { "note" };
            text += &format!("\n{mark}: {what}\n");
            text.extend(figures.iter().map(|figures| format!("  what shows it: {figures}\n")));
            text += &format!("  why it matters: {why}\n  what to do: {}\n", homes::in_hint(fix));
        }
        text
    }
}

/// Summarizes the state of the node in a line.
pub(in crate::commands) fn summary(status: &Status) -> String {
    format!(
        "The node is {}, linked to {}, and knows of {} in network {:?}, itself included.",
        status.state,
        nodes(status.peers),
        nodes(status.members),
        status.network
    )
}

fn nodes(count: u32) -> String {
    if count == 1 { "1 node".to_owned() } else { format!("{count} nodes") }
}

impl Finding {
    pub(in crate::commands) fn problem(
        code: &'static str,
        what: String,
        why: &str,
        fix: impl Into<String>,
    ) -> Self {
        Self { code, problem: true, what, figures: None, why: why.to_owned(), fix: fix.into() }
    }

    /// Adds the figures that show it.
    pub(in crate::commands) fn shown_by(self, figures: impl Into<String>) -> Self {
        Self { figures: Some(figures.into()), ..self }
    }

    pub(in crate::commands) fn note(
        code: &'static str,
        what: String,
        why: &str,
        fix: impl Into<String>,
    ) -> Self {
        Self { problem: false, ..Self::problem(code, what, why, fix) }
    }

    pub(in crate::commands) fn not_running() -> Self {
        Self::problem(
            "not_running",
            "No node is running here.".to_owned(),
            "this machine takes no tasks and runs none",
            "start one with: p2p-ai-agents node start",
        )
    }

    pub(in crate::commands) fn crashed(pid: u32) -> Self {
        Self::problem(
            "crashed",
            format!("No node is running here. The last one (pid {pid}) ended without a shutdown."),
            "it crashed, was killed, or its machine lost its power; tasks that it had accepted wait in its storage",
            "read its last lines with: p2p-ai-agents node logs; then start it: p2p-ai-agents node start",
        )
    }

    /// Reports that no node in reach runs a model.
    pub(in crate::commands) fn no_worker(members: usize) -> Self {
        let what = match members {
            0 | 1 => "This node runs no models, and no other node is in reach.".to_owned(),
            count => format!("None of the {count} nodes in reach runs a model."),
        };
        Self::problem(
            "no_worker",
            what,
            "the tasks that were submitted wait until they time out",
            "start a node with models on this network, or this one without --no-model",
        )
    }

    pub(in crate::commands) fn not_answering(home: &Home) -> Self {
        Self::problem(
            "not_answering",
            "The node's process is there, but it does not answer.".to_owned(),
            "it may still be starting or stopping; otherwise it hangs",
            format!(
                "wait a moment and look again; then read {} and stop it with: p2p-ai-agents node stop",
                home.log_file().display()
            ),
        )
    }

    pub(in crate::commands) fn not_active(state: State) -> Self {
        Self::problem(
            "not_active",
            format!("The node is {state}, not ACTIVE."),
            "only an ACTIVE node takes tasks and is found by others",
            "wait a moment; if it stays so, its log says which check does not pass",
        )
    }

    pub(in crate::commands) fn model_conflict(conflict: &Conflict) -> Self {
        let version = |ModelVersion { fingerprint, nodes }: &ModelVersion| {
            let nodes: Vec<String> = nodes.iter().map(ToString::to_string).collect();
            format!("{fingerprint} on {}", nodes.join(", "))
        };
        let versions: Vec<String> = conflict.versions.iter().map(version).collect();
        Self::problem(
            "model_conflict",
            format!(
                "Nodes have different models under the name {:?}: {}.",
                conflict.model,
                versions.join("; ")
            ),
            "a request is computed by one of them only, and another node may choose another one: vectors of two models \
             cannot be compared",
            "give all nodes the same files and the same precision, or each model a name of its own",
        )
    }

    pub(in crate::commands) fn port_taken(port: u16) -> Self {
        Self::problem(
            "port_taken",
            format!("Another program uses port {port}."),
            "the node takes its peers' connections there, and will not start",
            "stop that program, or choose another port: p2p-ai-agents node start --port PORT",
        )
    }

    pub(in crate::commands) fn port_closed(port: u16) -> Self {
        Self::problem(
            "port_closed",
            format!("The node's own port {port} cannot be reached even from this machine."),
            "no other node can connect to this one",
            format!("let TCP port {port} in: check this machine's firewall"),
        )
    }

    pub(in crate::commands) fn multicast_blocked(addresses: &[IpAddr]) -> Self {
        let place = match addresses {
            [] => "on this machine".to_owned(),
            addresses => {
                format!("at {}", addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
            }
        };
        Self::problem(
            "multicast_blocked",
            format!("Multicast does not work {place}: a packet that was sent there did not come back."),
            "nodes of one network find each other by multicast, and will not find this one",
            "let UDP port 5353 to and from 224.0.0.251 through this machine's firewall, or name one other node: \
             p2p-ai-agents node start --bootstrap-peer IP:9000",
        )
    }

    pub(in crate::commands) fn multicast_taken() -> Self {
        Self::problem(
            "multicast_taken",
            "Another program holds UDP port 5353 alone.".to_owned(),
            "nodes of one network find each other by multicast on that port, and will not find this one",
            "let that program share the port (avahi: disallow-other-stacks=no in /etc/avahi/avahi-daemon.conf), or \
             name one other node: p2p-ai-agents node start --bootstrap-peer IP:9000",
        )
    }

    pub(in crate::commands) fn disk_full(home: &Path, free: u64) -> Self {
        Self::problem(
            "disk_full",
            format!("Only {} MB are free on the disk of {}.", free >> 20, home.display()),
            "tasks and results that cannot be stored are refused",
            "make room, or move the home with --home DIR",
        )
    }

    pub(in crate::commands) fn memory_short(kib: u64) -> Self {
        Self::problem(
            "memory_short",
            format!("Only {} MB of memory are available.", kib >> 10),
            "the process of the model may be killed while it runs",
            "end other programs, or run no models: p2p-ai-agents node start --no-model",
        )
    }

    /// Reports a memory limit of the container that is below the node's default.
    pub(in crate::commands) fn memory_limited(limit: &MemoryLimit) -> Option<Self> {
        let MemoryLimit { bytes, file } = limit;
        let default_bytes = u64::from(Settings::MAX_MEMORY_MB_DEFAULT) << 20;
        (*bytes < default_bytes).then(|| {
            Self::note(
                "memory_limited",
                format!("This container may have {} MB of memory ({}).", bytes >> 20, file.display()),
                "the node takes no more for its models unless it is told to, and larger models are refused",
                "give the container more memory, if its models need it",
            )
        })
    }

    pub(in crate::commands) fn home_inaccessible(path: &Path) -> Self {
        Self::problem(
            "home_shut",
            format!("This user may not read and write {}.", path.display()),
            "the node keeps its key, its tasks and its log there",
            format!("give it back to the user: sudo chown -R \"$USER\" {}", path.display()),
        )
    }

    pub(in crate::commands) fn identity_unusable(error: &IdentityError) -> Self {
        let why = "without its key a node cannot prove who it is, and does not start";
        Self::problem("identity_unusable", capitalized(&error.to_string()), why, error.hint())
    }

    pub(in crate::commands) fn config_invalid(error: &ConfigError) -> Self {
        Self::problem(
            "config_wrong",
            capitalized(&error.to_string()),
            "the node does not start with it",
            "correct it; p2p-ai-agents node start shows a valid sample",
        )
    }

    pub(in crate::commands) fn model_not_ready(name: &str) -> Self {
        Self::problem(
            "model_not_ready",
            format!("The model {name} is not loaded."),
            "tasks for it wait, or go to other nodes",
            "wait a moment after a start; if it stays so, the log says why its process does not come up",
        )
    }

    pub(in crate::commands) fn model_unusable(name: &str) -> Self {
        Self::problem(
            "model_unusable",
            format!("The model {name} cannot be used."),
            "tasks for it go to other nodes, or are refused",
            "p2p-ai-agents model list says why",
        )
    }

    /// `former` are the names of nodes that answered before.
    pub(in crate::commands) fn no_peers(network: &str, former: &[String], runs_models: bool) -> Self {
        Self::note(
            "alone",
            match former {
                [] => format!("No other node of network {network:?} was found."),
                lost => format!(
                    "No other node of network {network:?} answers any more: lost {}.",
                    lost.join(", ")
                ),
            },
            if runs_models {
                "all tasks run on this machine"
            } else {
                "this node runs no models, so no task can run"
            },
            "start a node on another machine of this local network; if there is one, run doctor there too, or give \
             its address: p2p-ai-agents node restart --bootstrap-peer IP:9000",
        )
    }

    /// Describes an active alert; `None` if another finding says the same with its reason.
    pub(in crate::commands) fn alert(alert: &Alert, status: &Status) -> Option<Self> {
        let (code, why, fix) = match alert.rule {
            AlertRule::ClockDiffers | AlertRule::ModelUnusable => return None,
            // It is cleared once there have been enough peers for a while.
            AlertRule::PeerCount if status.peers == 0 || u64::from(status.peers) >= alert.threshold => {
                return None;
            }
            AlertRule::DiskUsed => (
                "disk_used",
                "on a full disk the node accepts no tasks and keeps no results",
                "free space on this disk, or set storage_path to a directory on a larger one",
            ),
            AlertRule::HealthFailed => (
                "health_failed",
                "the node may refuse tasks or lose what it has not stored",
                "see which check fails with: p2p-ai-agents node health",
            ),
            AlertRule::MemoryCritical | AlertRule::MemoryWarning => (
                "memory_used",
                "models are unloaded, and requests wait or are refused",
                "raise max_memory_mb, or offer fewer or smaller models",
            ),
            AlertRule::MessageP99 => (
                "messages_late",
                "tasks for other nodes start late, and nodes may be taken for dead",
                "see where the time goes with: p2p-ai-agents debug network-test",
            ),
            AlertRule::PeerCount => (
                "peers_few",
                "if that node leaves, all tasks run on this machine",
                "start further nodes, or lower the threshold with: p2p-ai-agents alerts set --peer-warning 1",
            ),
            AlertRule::TaskFailure => (
                "tasks_fail",
                "users get errors instead of results",
                "list them with: p2p-ai-agents task list --status failed",
            ),
        };
        let what = format!("There is an alert since {}: {}.", alert.raised_at, alert.message);
        Some(match alert.severity {
            Severity::Alert => Self::problem(code, what, why, fix),
            Severity::Warn => Self::note(code, what, why, fix),
        })
    }

    /// Describes a recent problem between the node and another one.
    pub(in crate::commands) fn from_recent(recent: &RecentIssue, names: &NodeNames) -> Self {
        let ago = output::duration(recent.age_ms);
        match recent.trouble {
            Issue::ClockDiffers { peer, ahead_millis } => {
                Self::clock_differs(&names.named(peer), ahead_millis)
            }
            Issue::DialFailed { address, error } => {
                Self::dial_failed(&format!("The node at {address}"), Some(address.port()), error, &ago)
            }
            Issue::IdentityCopied { address, fenced } => Self::identity_copied(address, fenced),
            Issue::LinkRefused { peer, reason: RefuseReason::IdentityCopied, by_us: true } => {
                Self::peer_copied(&names.named(peer))
            }
            Issue::LinkRefused { peer, reason, .. } => Self::link_refused(&names.named(peer), reason, &ago),
            Issue::PeerFault { peer, fault } => Self::peer_fault(&names.named(peer), fault, &ago),
            Issue::StrangerFault { address, fault } => {
                Self::stranger_fault(&format!("A program at {address}"), fault, &ago)
            }
        }
    }

    /// Describes a recent problem in a snapshot, which has no addresses.
    pub(in crate::commands) fn from_figures(recent: &IssueFigures) -> Self {
        let ago = output::duration(recent.age_ms);
        match recent.issue {
            IssueKind::ClockDiffers { peer, ahead_ms } => Self::clock_differs(&peer.to_string(), ahead_ms),
            IssueKind::DialFailed { error } => Self::dial_failed("A known node", None, error, &ago),
            IssueKind::IdentityCopied { fenced } => Self::identity_copied(None, fenced),
            IssueKind::LinkRefused { peer, reason: RefuseReason::IdentityCopied, by_us: true } => {
                Self::peer_copied(&peer.to_string())
            }
            IssueKind::LinkRefused { peer, reason, .. } => {
                Self::link_refused(&peer.to_string(), reason, &ago)
            }
            IssueKind::PeerFault { peer, fault } => Self::peer_fault(&peer.to_string(), fault, &ago),
            IssueKind::StrangerFault { fault } => Self::stranger_fault("A program", fault, &ago),
        }
    }

    fn peer_fault(peer: &str, fault: PeerFault, ago: &str) -> Self {
        let (impact, hint) = match fault {
            PeerFault::PieceForged => (
                "the piece was discarded, and the file is fetched from other nodes",
                "if the node is yours, look at the health of its disk",
            ),
            PeerFault::AdvertForged
            | PeerFault::FrameMalformed
            | PeerFault::FrameTooLarge
            | PeerFault::FrameTruncated
            | PeerFault::HelloLate
            | PeerFault::HelloOutOfOrder
            | PeerFault::NotReading
            | PeerFault::RateExceeded => (
                "its link was closed; other nodes are not affected",
                "if the node is yours, install the same version there and read its log",
            ),
        };
        let did = match fault {
            PeerFault::AdvertForged => "sent an advert with an invalid signature",
            PeerFault::FrameMalformed => "sent a malformed frame",
            PeerFault::FrameTooLarge => "sent a frame larger than allowed",
            PeerFault::FrameTruncated => "closed the link inside a frame",
            PeerFault::HelloLate => "did not complete the handshake in time",
            PeerFault::HelloOutOfOrder => "sent handshake messages out of order",
            PeerFault::NotReading => "did not read what it was sent in time",
            PeerFault::PieceForged => "sent an invalid piece of a file",
            PeerFault::RateExceeded => "exceeded the rate limit",
        };
        Self::note("peer_fault", format!("Node {peer} {did} ({ago} ago)."), impact, hint)
    }

    fn stranger_fault(stranger: &str, fault: StrangerFault, ago: &str) -> Self {
        let does = match fault {
            StrangerFault::HandshakeBroken => "does not speak the protocol of nodes",
            StrangerFault::HandshakeLate => "does not authenticate in time",
            StrangerFault::HandshakeLeft => "disconnects before it authenticates",
            StrangerFault::TooMany => "opens too many connections",
        };
        Self::note(
            "stranger_fault",
            format!("{stranger} connects to this node and {does} ({ago} ago)."),
            "its connections were closed; other nodes are not affected",
            "find out what runs there; p2p-ai-agents node status --json counts such connections",
        )
    }

    fn clock_differs(peer: &str, ahead_millis: i64) -> Self {
        let side = if ahead_millis > 0 { "ahead of" } else { "behind" };
        let by = output::duration(ahead_millis.unsigned_abs());
        Self::problem(
            "clock_differs",
            format!("The clock of node {peer} is {by} {side} this machine's."),
            "times in results and logs of the two nodes do not match; nothing else depends on them",
            "set the wrong clock, preferably with network time: timedatectl set-ntp true",
        )
    }

    fn dial_failed(node: &str, port: Option<u16>, error: DialError, ago: &str) -> Self {
        let port = port.map_or_else(|| "its TCP port".to_owned(), |port| format!("TCP port {port}"));
        let (what, fix) = match error {
            DialError::Authentication => (
                format!("{node} is not the one that was expected there ({ago} ago)."),
                "check which node has that address now".to_owned(),
            ),
            DialError::Refused => (
                format!("{node} cannot be reached: the connection was refused ({ago} ago)."),
                format!("check on that machine that the node runs, and let {port} in through its firewall"),
            ),
            DialError::Timeout => (
                format!("{node} cannot be reached: nothing answers ({ago} ago)."),
                format!("let {port} in through the firewall there; on Wi-Fi, switch client isolation off"),
            ),
        };
        let why = "the two nodes cannot share tasks while they have no way to each other";
        Self::problem("dial_failed", what, why, fix)
    }

    fn identity_copied(address: Option<SocketAddr>, fenced: bool) -> Self {
        let place = address.map_or_else(String::new, |address| format!(" at {address}"));
        let (why, fix) = if fenced {
            (
                "two nodes cannot be one: the one that started earlier stays, and this one has left the mesh",
                "stop this node, move config/node_identity.json away, and start it: it gets an identity of its own",
            )
        } else {
            (
                "others keep to the one that started earlier, and turn the other away",
                "on the machine that got the copy, stop the node, move config/node_identity.json away, and start it",
            )
        };
        let what = format!("Another running node{place} has this node's identity: its key was copied.");
        Self::problem("identity_copied", what, why, fix)
    }

    fn peer_copied(peer: &str) -> Self {
        Self::problem(
            "peer_copied",
            format!("Two running nodes have the same identity, {peer}: its key was copied."),
            "this node keeps the one that started first and rejects the other",
            "on the machine that got the copy, stop the node, move config/node_identity.json away, and start it",
        )
    }

    fn link_refused(peer: &str, reason: RefuseReason, ago: &str) -> Self {
        let (code, what, fix) = match reason {
            RefuseReason::OtherVersion => (
                "version_mismatch",
                format!("Node {peer} speaks another version of the protocol ({ago} ago)."),
                "install the same version on both machines",
            ),
            // Several networks in one house are what the name of a network is for.
            RefuseReason::OtherNetwork => {
                return Self::note(
                    "network_mismatch",
                    format!("Node {peer} belongs to another network ({ago} ago)."),
                    "the two nodes share no tasks, which is right if they should not",
                    "nothing; or start both with the same --network NAME",
                );
            }
            RefuseReason::NotLocal => (
                "not_local",
                format!("Node {peer} and this one are not on one local network ({ago} ago)."),
                "connect both to the same local network or VPN",
            ),
            RefuseReason::IdentityCopied | RefuseReason::SameIdentity => {
                return Self::identity_copied(None, false);
            }
            RefuseReason::Duplicate
            | RefuseReason::Full
            | RefuseReason::Quarantined
            | RefuseReason::ShuttingDown
            | RefuseReason::StandsAside => (
                "link_refused",
                format!("Node {peer} refuses links from this node for now ({ago} ago)."),
                "nothing; the nodes try again by themselves",
            ),
        };
        Self::problem(code, what, "the two nodes cannot share tasks", fix)
    }
}

fn capitalized(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}.", letters.as_str().trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::{NodeId, NodeName};
    use std::net::Ipv4Addr;

    #[test]
    fn what_may_be_wrong_between_nodes() {
        let (peer, address) = (NodeId([7; 16]), SocketAddr::from(([192, 168, 1, 7], 9000)));
        let refused = |reason| Issue::LinkRefused { peer, reason, by_us: true };
        let troubles = [
            Issue::ClockDiffers { peer, ahead_millis: -90_000 },
            Issue::DialFailed { address, error: DialError::Authentication },
            Issue::DialFailed { address, error: DialError::Refused },
            Issue::DialFailed { address, error: DialError::Timeout },
            Issue::IdentityCopied { address: Some(address), fenced: false },
            Issue::IdentityCopied { address: None, fenced: true },
            refused(RefuseReason::OtherVersion),
            refused(RefuseReason::OtherNetwork),
            refused(RefuseReason::NotLocal),
            refused(RefuseReason::IdentityCopied),
            Issue::PeerFault { peer, fault: PeerFault::NotReading },
            Issue::StrangerFault { address: address.ip(), fault: StrangerFault::HandshakeBroken },
        ];
        let names = [(peer, NodeName::new("cedar").unwrap())].into_iter().collect();
        let findings =
            troubles.map(|trouble| Finding::from_recent(&RecentIssue { age_ms: 12_000, trouble }, &names));
        insta::assert_snapshot!(Report::new(findings.to_vec(), None).text());
    }

    #[test]
    fn what_may_be_wrong_with_a_machine() {
        let findings = vec![
            Finding::no_peers("local", &[], true),
            Finding::no_peers("local", &["attic".to_owned(), "cellar".to_owned()], true),
            Finding::not_running(),
            Finding::crashed(7),
            Finding::no_worker(1),
            Finding::no_worker(3),
            Finding::not_active(State::Registering),
            Finding::port_taken(9000),
            Finding::port_closed(9000),
            Finding::multicast_blocked(&[IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1))]),
            Finding::multicast_taken(),
            Finding::disk_full(Path::new("/home/you/.p2p-ai-agents"), 5 << 20),
            Finding::memory_short(50 << 10),
            Finding::home_inaccessible(Path::new("/home/you/.p2p-ai-agents/data")),
            Finding::model_not_ready("all-MiniLM-L6-v2"),
            Finding::model_unusable("owner/none"),
            super::super::storage::cache_read_only(
                Path::new("/home/you/.cache/huggingface/hub"),
                "the node cannot fetch models",
            ),
        ];
        insta::assert_snapshot!(Report::new(findings, None).text());
        assert!(Report::new(vec![Finding::no_peers("local", &[], true)], None).healthy);
    }

    #[test]
    fn findings_as_json() {
        let report = Report::new(vec![Finding::no_peers("local", &[], true), Finding::not_running()], None);
        insta::assert_snapshot!(serde_json::to_string_pretty(&report).unwrap());
    }
}
