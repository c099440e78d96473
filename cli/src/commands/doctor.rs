//! `doctor`: diagnoses the node, its machine and its network.
//!
//! It checks the home, the machine and the network, and asks the node for recent problems with other nodes. It
//! changes nothing and reports only problems.

pub(super) mod finding;
mod network;
pub(super) mod storage;

use crate::client::Client;
use crate::commands::node_names;
use crate::error::{Failure, Outcome};
use crate::output::{self, Format};
use api::{Alerts, Availability, Diagnosis, Members, Status, StatusResponse};
use engine::lifecycle::State;
use finding::{Finding, Report};
use nix::sys::statvfs::statvfs;
use nix::unistd::{AccessFlags, access};
use runtime::cgroup;
use runtime::config::{self, Overrides, Settings};
use runtime::home::{Holder, Home};
use runtime::host;
use runtime::identity;
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, TcpListener};
use std::process::ExitCode;

pub(super) fn run(home: &Home, format: Format) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let report = runtime.block_on(examine(home));
    if format.json {
        output::json(&report)?;
    } else {
        output::prose(&report.text())?;
    }
    Ok(if report.healthy { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn examine(home: &Home) -> Report {
    let mut findings = examine_machine(home);
    let settings = examine_files(home, &mut findings);
    if home.root().exists() {
        findings.extend(storage::directories(home, settings.as_ref()));
    }
    findings.extend(storage::caches());
    let mut summary = None;
    match running_node(home).await {
        Ok((status, diagnosis, alerts, members)) => {
            findings.extend(storage::running_node(&status, &diagnosis));
            findings.extend(alerts.active.iter().filter_map(|alert| Finding::alert(alert, &status)));
            examine_node(&status, &diagnosis, &members, &mut findings);
            findings.extend(network::check_port(status.network_port).await);
            summary = Some(finding::summary(&status));
        }
        Err(found) => {
            findings.push(found);
            if home.holder() == Holder::Nobody {
                findings.extend(settings.iter().flat_map(|settings| storage::stopped_node(home, settings)));
            }
            let taken = settings.as_ref().filter(|settings| is_taken(settings.port));
            findings.extend(taken.map(|settings| Finding::port_taken(settings.port)));
        }
    }
    if settings.as_ref().is_none_or(|settings| settings.discovery) {
        let names = settings.map(|settings| settings.interfaces).filter(|names| !names.is_empty());
        findings.extend(network::check_multicast(names).await);
    }
    Report::new(findings, summary)
}

/// Checks the free disk space and memory of the machine.
fn examine_machine(home: &Home) -> Vec<Finding> {
    let mut findings = Vec::new();
    // A home that does not exist yet will be on the disk of its nearest existing ancestor.
    let place = home.root().ancestors().find(|path| path.exists());
    if let Some(space) = place.and_then(|path| statvfs(path).ok()) {
        let free = space.blocks_available().saturating_mul(space.fragment_size());
        if free < DISK_BYTES_MIN {
            findings.push(Finding::disk_full(home.root(), free));
        }
    }
    let available = host::memory_available().map(|bytes| bytes >> 10);
    if let Some(kib) = available.filter(|kib| *kib < MEMORY_KIB_MIN) {
        findings.push(Finding::memory_short(kib));
    }
    findings.extend(cgroup::memory_limit().as_ref().and_then(Finding::memory_limited));
    findings
}

/// Checks the existing files of the home. Returns the settings if they are valid.
fn examine_files(home: &Home, findings: &mut Vec<Finding>) -> Option<Settings> {
    if !home.root().exists() {
        return None;
    }
    let flags = AccessFlags::R_OK | AccessFlags::W_OK | AccessFlags::X_OK;
    let parts = ["", "config", "data", "logs", "run"].map(|part| home.root().join(part));
    let shut = parts.iter().filter(|path| path.exists()).find(|path| access(path.as_path(), flags).is_err());
    if let Some(path) = shut {
        findings.push(Finding::home_inaccessible(path));
        return None;
    }
    if home.identity_file().exists()
        && let Err(error) = identity::load_or_create(home)
    {
        findings.push(Finding::identity_unusable(&error));
    }
    if !home.config_file().exists() {
        return None;
    }
    let overrides = Overrides::from_environment();
    match config::examine(home, &overrides) {
        Ok(effective) => Some(effective.settings),
        Err(error) => {
            findings.push(Finding::config_invalid(&error));
            None
        }
    }
}

async fn running_node(home: &Home) -> Result<(Status, Diagnosis, Alerts, Members), Finding> {
    if home.is_unreadable() {
        return Err(Finding::home_inaccessible(home.root()));
    }
    if home.holder() == Holder::Nobody {
        return Err(home.crashed().map_or_else(Finding::not_running, |info| Finding::crashed(info.pid)));
    }
    let ask = async {
        let client = Client::connect(home)?;
        let status = client.get("/api/v1/status").await?;
        let status = match status {
            StatusResponse::Full(status) => *status,
            StatusResponse::Starting(metadata) => return Ok(Err(Finding::not_active(metadata.state))),
        };
        let diagnosis = client.get("/api/v1/diagnosis").await?;
        let alerts = client.get("/api/v1/alerts").await?;
        let members = client.get("/api/v1/members").await?;
        Ok::<_, Failure>(Ok((status, diagnosis, alerts, members)))
    };
    ask.await.unwrap_or_else(|_| Err(Finding::not_answering(home)))
}

fn examine_node(status: &Status, diagnosis: &Diagnosis, members: &Members, findings: &mut Vec<Finding>) {
    if status.state != State::Active {
        findings.push(Finding::not_active(status.state));
    }
    findings.extend(status.models_unusable.iter().map(|name| Finding::model_unusable(name)));
    // A model loads within moments of a start. One model may serve several types of tasks.
    let settled = status.uptime_ms.is_none_or(|millis| millis >= LOADING_MILLIS);
    let loading = status.models.iter().filter(|model| settled && model.state == Availability::Loading);
    let loading: BTreeSet<&str> = loading.map(|model| model.name.as_str()).collect();
    findings.extend(loading.into_iter().map(Finding::model_not_ready));
    let known = members.former.iter().chain(&members.members);
    let names = known.map(|member| (member.id, member.name.clone())).collect();
    findings.extend(diagnosis.troubles.iter().map(|recent| Finding::from_recent(recent, &names)));
    findings.extend(diagnosis.model_conflicts.iter().map(Finding::model_conflict));
    if status.peers == 0 && findings.iter().all(|finding| !finding.problem) {
        let former: Vec<String> =
            members.former.iter().map(|member| node_names::named(&member.name, member.id)).collect();
        findings.push(Finding::no_peers(&status.network, &former, !status.models.is_empty()));
    }
    let no_models = status.models.is_empty() && members.members.iter().all(|member| member.models.is_empty());
    // A network that only relays is no problem until somebody has a task for it.
    if no_models && status.tasks_queued > 0 {
        findings.push(Finding::no_worker(members.members.len()));
    }
}

fn is_taken(port: u16) -> bool {
    let bound = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port));
    bound.is_err_and(|error| error.kind() == std::io::ErrorKind::AddrInUse)
}

/// Disk space for results, logs and the database's own maintenance.
const DISK_BYTES_MIN: u64 = 256 << 20;
/// How long after a start a model may load without a finding.
const LOADING_MILLIS: u64 = 60_000;
/// Memory for a node and the process of its model.
const MEMORY_KIB_MIN: u64 = 128 << 10;
