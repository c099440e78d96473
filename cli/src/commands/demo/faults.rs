//! The faults of simulated nodes, as users write and read them.

use super::backend::{FaultSpec, Refused};
use super::names;
use sim::Scenario;
use sim::scenario::{FaultKind, Target};
use sim::scenario_file::quoted;
use std::fmt::Write;

/// Reads a fault that a user wrote, as a scenario file would have it.
pub(super) fn parse(fault: &FaultSpec, nodes: u32) -> Result<FaultKind, Refused> {
    let invalid = |message: String| Refused::FaultInvalid { message };
    let kind = fault.kind.replace('-', "_");
    if kind == "poison_input" {
        return Err(Refused::FaultUnsupported {
            message: "poison-input is about the tasks of a scenario file".to_owned(),
            hint: "play a scenario file that has it: p2p-ai-agents demo start --scenario FILE".to_owned(),
        });
    }
    let text = section(&kind, fault, nodes).map_err(invalid)?;
    let scenario = Scenario::parse("fault", &text).map_err(|error| invalid(error.problem.to_string()))?;
    let read = scenario.faults.into_iter().next().map(|fault| fault.kind);
    read.ok_or_else(|| invalid("the fault is empty".to_owned()))
}

/// Returns a scenario file with the fault.
fn section(kind: &str, fault: &FaultSpec, nodes: u32) -> Result<String, String> {
    // A burst needs tasks to imitate.
    let mut text = format!(
        "nodes = {nodes}\nduration = \"168h\"\nexecutor = \"event-queue\"\n[workload]\ncompute = \"1ms\"\ntasks = 1\nevery = \"1s\"\n\
         [[fault]]\nat = \"0s\"\nkind = {}\n",
        quoted(kind)
    );
    let group = |group: &[u32]| {
        let names: Vec<String> = group.iter().map(|node| format!("\"n{node}\"")).collect();
        format!("[{}]", names.join(", "))
    };
    let mut pair = |key: &str, value: String| {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{key} = {value}");
    };
    if let Some(node) = fault.node {
        pair("node", format!("\"n{node}\""));
    }
    if !fault.from.is_empty() {
        pair("from", group(&fault.from));
    }
    if !fault.to.is_empty() {
        pair("to", group(&fault.to));
    }
    if !fault.groups.is_empty() {
        let groups: Vec<String> = fault.groups.iter().map(|one| group(one)).collect();
        pair("groups", format!("[{}]", groups.join(", ")));
    }
    for (key, value) in &fault.settings {
        let key = key.replace('-', "_");
        if key.is_empty() || !key.chars().all(|c| c.is_ascii_lowercase() || c == '_') {
            return Err(format!("{key:?} is no setting of a fault"));
        }
        let number = value.parse::<i64>().is_ok();
        pair(&key, if number { value.clone() } else { quoted(value) });
    }
    Ok(text)
}

/// Describes a fault with the names of its nodes.
pub(super) fn words(kind: &FaultKind) -> String {
    let name = kind.name().replace('_', " ");
    let target = |target: &Target| match target {
        Target::Any => "any node".to_owned(),
        Target::Node(node) => names::name(*node),
    };
    let of = |node: &Target| format!("{name} of {}", target(node));
    let between = |groups: &[Vec<u32>]| {
        let groups: Vec<String> = groups.iter().map(|group| names::list(group)).collect();
        format!("{name}: {}", groups.join(" | "))
    };
    match kind {
        FaultKind::Burst { node, count } => format!("{count} tasks at once to {}", target(node)),
        FaultKind::Machine { node, .. }
        | FaultKind::ConnectionReset { node }
        | FaultKind::Kill { node, .. }
        | FaultKind::Leave { node, .. }
        | FaultKind::PowerLoss { node, .. }
        | FaultKind::TornWrite { node, .. } => of(node),
        FaultKind::IsolateOne { node, .. } => format!("{} is cut off from all others", target(node)),
        FaultKind::Flap { groups, .. }
        | FaultKind::Partition { groups, .. }
        | FaultKind::Stall { groups, .. } => between(groups),
        FaultKind::Asymmetry { from, to, .. } | FaultKind::OneWayLoss { from, to, .. } => {
            format!("{name} from {} to {}", names::list(from), names::list(to))
        }
        FaultKind::Churn { .. }
        | FaultKind::Disturbance { .. }
        | FaultKind::LatencyStep { .. }
        | FaultKind::PoisonInput { .. }
        | FaultKind::RollingRestart { .. }
        | FaultKind::SwizzleClog { .. } => name,
    }
}

/// Returns the node that a fault has stopped.
pub(super) const fn stopped_node(kind: &FaultKind) -> Option<u32> {
    match kind.target() {
        Some(Target::Node(node)) if kind.stops_node() => Some(node),
        Some(Target::Any | Target::Node(_)) | None => None,
    }
}

/// Returns why a node that a fault has stopped does not run.
pub(super) const fn stop_reason(kind: &FaultKind) -> &'static str {
    #[allow(clippy::wildcard_enum_match_arm, reason = "the other faults stop no node")]
    match kind {
        FaultKind::Leave { .. } => "it was asked to leave",
        FaultKind::PowerLoss { .. } | FaultKind::TornWrite { .. } => "its machine lost power",
        _ => "killed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::time::Duration;

    fn spec(kind: &str, settings: &[(&str, &str)]) -> FaultSpec {
        let settings = settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        FaultSpec {
            kind: kind.to_owned(),
            settings: settings.collect::<BTreeMap<_, _>>(),
            ..FaultSpec::default()
        }
    }

    #[test]
    fn a_fault_reads_as_in_a_scenario_file_and_is_told_with_names() {
        let slow =
            FaultSpec { node: Some(0), ..spec("inference-slow", &[("add", "200ms"), ("heal_after", "30s")]) };
        let kind = parse(&slow, 3).unwrap();
        assert_eq!(kind.lasts(), Some(Duration::from_secs(30)));
        assert_eq!(words(&kind), "inference slow of amber");
        let burst = FaultSpec { node: Some(1), ..spec("burst", &[("count", "5")]) };
        assert_eq!(words(&parse(&burst, 3).unwrap()), format!("5 tasks at once to {}", names::name(1)));
        let stall = FaultSpec { groups: vec![vec![0], vec![1, 2]], ..spec("stall", &[]) };
        let told = format!("stall: amber | {}", names::list(&[1, 2]));
        assert_eq!(words(&parse(&stall, 3).unwrap()), told);
        let kill = parse(&FaultSpec { node: Some(2), ..spec("kill", &[]) }, 3).unwrap();
        assert_eq!((stopped_node(&kill), stop_reason(&kill)), (Some(2), "killed"));
    }

    #[test]
    fn a_wrong_fault_is_refused_with_the_reason() {
        let refused = |spec: &FaultSpec| match parse(spec, 3) {
            Err(Refused::FaultInvalid { message }) => message,
            other => panic!("{other:?}"),
        };
        let unknown = refused(&spec("kil", &[]));
        assert!(unknown.contains("kil"), "{unknown}");
        let key = refused(&spec("kill", &[("share", "5%")]));
        assert!(key.contains("takes no `share`"), "{key}");
        let hostile = refused(&spec("kill", &[("x\ny", "1")]));
        assert!(hostile.contains("is no setting"), "{hostile}");
        let value = refused(&spec("kill", &[("restart_after", "\"\n[[fault]]")]));
        assert!(!value.is_empty());
        assert!(matches!(parse(&spec("poison-input", &[]), 3), Err(Refused::FaultUnsupported { .. })));
    }
}
