//! Writes a scenario as a file for people. Defaults are left out.
//!
//! The written file reads as the same scenario. Every field of every section is named here, so that a new one cannot
//! be forgotten.

use super::defaults::{DISK_LATENCY, INPUT, LATENCY, START, TICK, TIMEOUT, WORKLOAD_START};
use crate::invariants;
use crate::scenario::{
    Expect, Fault, FaultKind, Fetch, FetchedBy, Host, Liveness, Loss, MachineFault, Network, NodeSettings,
    Range, Scenario, SharedFile, Submission, Submissions, Target, Topology, Workload,
};
use core::fmt::{self, Display, Write};
use core::time::Duration;
use engine::observers::alerts::AlertRule;
use engine::task::TaskKind;

impl Scenario {
    /// Returns the scenario as a file, with the `notes` below its first line, which says why it exists.
    pub fn to_toml(&self, notes: &[String]) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = self.write(&mut text, notes);
        text
    }

    fn write(&self, out: &mut String, notes: &[String]) -> fmt::Result {
        // In the written file the executor is explicit, so the chosen one is the same.
        let Self { path: _, why, nodes, executor, chosen: _, seed, duration, start, network, .. } = self;
        let Self { disk_latency, node, workload, hosts, files, fetches, .. } = self;
        let Self { faults, swarm, liveness, expect, .. } = self;
        writeln!(out, "# Why: {}", comment(why))?;
        notes.iter().try_for_each(|note| writeln!(out, "# {}", comment(note)))?;
        pair(out, "nodes", nodes)?;
        pair(out, "executor", quoted(&executor.to_string()))?;
        if let Some(seed) = seed {
            pair(out, "seed", seed)?;
        }
        pair(out, "duration", period(*duration))?;
        unless(out, "start", *start, START)?;
        write_network(out, network)?;
        if *disk_latency != DISK_LATENCY {
            writeln!(out, "\n[disk]")?;
            pair(out, "latency", periods(*disk_latency))?;
        }
        write_node(out, node)?;
        workload.iter().try_for_each(|workload| write_workload(out, workload))?;
        hosts.iter().try_for_each(|host| write_host(out, host))?;
        files.iter().try_for_each(|file| write_file(out, file))?;
        fetches.iter().try_for_each(|fetch| write_fetch(out, fetch))?;
        faults.iter().try_for_each(|fault| write_fault(out, fault))?;
        if let Some((from, to)) = swarm {
            writeln!(out, "\n[swarm]")?;
            pair(out, "faults", quoted(&format!("{from}..{to}")))?;
        }
        if let Some(Liveness { after, within }) = liveness {
            writeln!(out, "\n[liveness]")?;
            pair(out, "after", period(*after))?;
            pair(out, "within", period(*within))?;
        }
        write_expect(out, expect)
    }
}

fn write_network(out: &mut String, network: &Network) -> fmt::Result {
    let Network { latency, topology, multicast, loss, tick } = network;
    let mut section = String::new();
    unless(&mut section, "latency", *latency, LATENCY)?;
    match topology {
        Topology::Full => {}
        Topology::Line => pair(&mut section, "topology", quoted("line"))?,
        Topology::Ring => pair(&mut section, "topology", quoted("ring"))?,
    }
    if !multicast {
        pair(&mut section, "multicast", multicast)?;
    }
    if let Some(Loss { per_million, retransmission }) = loss {
        pair(&mut section, "loss", share(*per_million))?;
        if !retransmission {
            pair(&mut section, "retransmission", retransmission)?;
        }
    }
    if *tick != TICK {
        pair(&mut section, "tick", period(*tick))?;
    }
    titled(out, "network", &section)
}

fn write_node(out: &mut String, node: &NodeSettings) -> fmt::Result {
    let NodeSettings { max_peers, max_concurrent_tasks, queue_tasks_max } = node;
    let usual = engine::Config::default();
    let mut section = String::new();
    if *max_peers != usual.max_peers {
        pair(&mut section, "max_peers", max_peers)?;
    }
    if *max_concurrent_tasks != usual.max_concurrent_tasks {
        pair(&mut section, "max_concurrent_tasks", max_concurrent_tasks)?;
    }
    if *queue_tasks_max != usual.queue_tasks_max {
        pair(&mut section, "queue_tasks_max", queue_tasks_max)?;
    }
    titled(out, "node", &section)
}

fn write_workload(out: &mut String, workload: &Workload) -> fmt::Result {
    let Workload { submissions, compute, kind, timeout } = workload;
    writeln!(out, "\n[workload]")?;
    if let Submissions::Series { tasks, at, every, origin, input } = submissions {
        pair(out, "tasks", tasks)?;
        if *at != WORKLOAD_START {
            pair(out, "at", period(*at))?;
        }
        pair(out, "every", period(*every))?;
        write_target(out, "origin", *origin)?;
        if input != INPUT {
            pair(out, "input", quoted(input))?;
        }
    }
    pair(out, "compute", periods(*compute))?;
    if *kind != TaskKind::Embedding {
        pair(out, "type", quoted(&kind.to_string()))?;
    }
    if *timeout != TIMEOUT {
        pair(out, "timeout", period(*timeout))?;
    }
    let Submissions::Listed(listed) = submissions else { return Ok(()) };
    for Submission { at, origin, input } in listed {
        writeln!(out, "\n[[workload.task]]")?;
        pair(out, "at", period(*at))?;
        write_target(out, "origin", *origin)?;
        pair(out, "input", quoted(input))?;
    }
    Ok(())
}

fn write_file(out: &mut String, file: &SharedFile) -> fmt::Result {
    let SharedFile { bytes, holders } = file;
    writeln!(out, "\n[[file]]")?;
    pair(out, "bytes", bytes)?;
    pair(out, "holders", group(holders))
}

fn write_fetch(out: &mut String, fetch: &Fetch) -> fmt::Result {
    let Fetch { at, node, file, by } = fetch;
    writeln!(out, "\n[[fetch]]")?;
    pair(out, "at", period(*at))?;
    pair(out, "node", quoted(&format!("n{node}")))?;
    if *file != 0 {
        pair(out, "file", file)?;
    }
    match by {
        FetchedBy::Blake3 => Ok(()),
        FetchedBy::Sha256 => pair(out, "by", quoted("sha256")),
    }
}

fn write_host(out: &mut String, host: &Host) -> fmt::Result {
    let Host { node, start, protocol, model, identity, unreachable_address, hostile, hostile_at } = host;
    writeln!(out, "\n[[host]]")?;
    pair(out, "node", quoted(&format!("n{node}")))?;
    start.map_or(Ok(()), |start| pair(out, "start", periods(start)))?;
    protocol.map_or(Ok(()), |protocol| pair(out, "protocol", protocol))?;
    model.map_or(Ok(()), |model| pair(out, "model", model))?;
    identity.map_or(Ok(()), |original| pair(out, "identity", quoted(&format!("n{original}"))))?;
    if *unreachable_address {
        pair(out, "unreachable_address", true)?;
    }
    if !hostile.is_empty() {
        let names: Vec<String> = hostile.iter().map(|one| quoted(one.name())).collect();
        pair(out, "hostile", format_args!("[{}]", names.join(", ")))?;
        pair(out, "hostile_at", period(*hostile_at))?;
    }
    Ok(())
}

fn write_fault(out: &mut String, fault: &Fault) -> fmt::Result {
    let Fault { at, per_million, kind } = fault;
    writeln!(out, "\n[[fault]]")?;
    pair(out, "at", periods(*at))?;
    pair(out, "kind", quoted(kind.name()))?;
    if *per_million != 1_000_000 {
        pair(out, "probability", share(*per_million))?;
    }
    match kind {
        FaultKind::Machine { node, what, heal_after } => {
            write_target(out, "node", *node)?;
            write_machine_fault(out, what)?;
            write_end(out, "heal_after", *heal_after)
        }
        FaultKind::Burst { node, count } => {
            write_target(out, "node", *node)?;
            pair(out, "count", count)
        }
        FaultKind::PoisonInput { tasks } => {
            let tasks: Vec<String> = tasks.iter().map(u32::to_string).collect();
            pair(out, "tasks", format_args!("[{}]", tasks.join(", ")))
        }
        FaultKind::Churn { every, away, lasts } => {
            pair(out, "every", period(*every))?;
            pair(out, "away", periods(*away))?;
            pair(out, "lasts", period(*lasts))
        }
        FaultKind::Flap { groups, every, lasts } => {
            pair(out, "groups", group_list(groups))?;
            pair(out, "every", period(*every))?;
            pair(out, "lasts", period(*lasts))
        }
        FaultKind::Asymmetry { from, to, add, heal_after } => {
            pair(out, "from", group(from))?;
            pair(out, "to", group(to))?;
            pair(out, "add", periods(*add))?;
            write_end(out, "heal_after", *heal_after)
        }
        FaultKind::ConnectionReset { node } => write_target(out, "node", *node),
        FaultKind::Disturbance { how: _, per_million, heal_after } => {
            pair(out, "share", share(*per_million))?;
            write_end(out, "heal_after", *heal_after)
        }
        FaultKind::IsolateOne { node, heal_after } => {
            write_target(out, "node", *node)?;
            write_end(out, "heal_after", *heal_after)
        }
        FaultKind::LatencyStep { add, heal_after } => {
            pair(out, "add", periods(*add))?;
            write_end(out, "heal_after", *heal_after)
        }
        // The duration follows from the number of nodes.
        FaultKind::SwizzleClog { every, lasts: _ } => pair(out, "every", period(*every)),
        FaultKind::Kill { node, restart_after }
        | FaultKind::Leave { node, restart_after }
        | FaultKind::PowerLoss { node, restart_after }
        | FaultKind::TornWrite { node, restart_after } => {
            write_target(out, "node", *node)?;
            write_end(out, "restart_after", *restart_after)
        }
        FaultKind::OneWayLoss { from, to, heal_after } => {
            pair(out, "from", group(from))?;
            pair(out, "to", group(to))?;
            write_end(out, "heal_after", *heal_after)
        }
        FaultKind::Partition { groups, heal_after } | FaultKind::Stall { groups, heal_after } => {
            pair(out, "groups", group_list(groups))?;
            write_end(out, "heal_after", *heal_after)
        }
        // The duration follows from the number of nodes.
        FaultKind::RollingRestart { every, away, lasts: _ } => {
            pair(out, "every", period(*every))?;
            pair(out, "away", periods(*away))
        }
    }
}

fn write_machine_fault(out: &mut String, fault: &MachineFault) -> fmt::Result {
    match fault {
        MachineFault::ClockDrift { ppm } => pair(out, "ppm", ppm),
        MachineFault::ClockJump { millis } => {
            let sign = if *millis < 0 { '-' } else { '+' };
            pair(out, "offset", quoted(&format!("{sign}{}ms", millis.unsigned_abs())))
        }
        MachineFault::DiskError { per_million }
        | MachineFault::InferenceCrash { per_million }
        | MachineFault::InferenceError { per_million }
        | MachineFault::MemoryUsed { per_million } => pair(out, "share", share(*per_million)),
        MachineFault::DiskSlow { add } | MachineFault::InferenceSlow { add } => {
            pair(out, "add", periods(*add))
        }
        MachineFault::DiskFull
        | MachineFault::MachineAsleep
        | MachineFault::ModelReplaced
        | MachineFault::ModelUnready
        | MachineFault::ProcessStopped => Ok(()),
    }
}

fn write_expect(out: &mut String, expect: &Expect) -> fmt::Result {
    let Expect { always, sometimes, alerts, alerts_cleared, never_alerts, outcomes } = expect;
    let list = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(|name| quoted(name)).collect();
        format!("[{}]", names.join(", "))
    };
    let mut section = String::new();
    if always != invariants::NAMES {
        pair(&mut section, "always", list(always))?;
    }
    if !sometimes.is_empty() {
        pair(&mut section, "sometimes", list(sometimes))?;
    }
    let rules = |rules: &[AlertRule]| list(&rules.iter().map(|rule| rule.name()).collect::<Vec<_>>());
    if !alerts.is_empty() {
        pair(&mut section, "alerts", rules(alerts))?;
    }
    if !alerts_cleared.is_empty() {
        pair(&mut section, "alerts_cleared", rules(alerts_cleared))?;
    }
    if *never_alerts == AlertRule::ALL {
        pair(&mut section, "never_alerts", list(&["any"]))?;
    } else if !never_alerts.is_empty() {
        pair(&mut section, "never_alerts", rules(never_alerts))?;
    }
    if !outcomes.is_empty() {
        let outcomes: Vec<String> = outcomes.iter().map(|(one, count)| format!("{one} = {count}")).collect();
        pair(&mut section, "outcomes", format!("{{ {} }}", outcomes.join(", ")))?;
    }
    titled(out, "expect", &section)
}

fn titled(out: &mut String, title: &str, section: &str) -> fmt::Result {
    if section.is_empty() { Ok(()) } else { write!(out, "\n[{title}]\n{section}") }
}

fn pair(out: &mut String, key: &str, value: impl Display) -> fmt::Result {
    writeln!(out, "{key} = {value}")
}

fn unless(out: &mut String, key: &str, range: Range, usual: Range) -> fmt::Result {
    if range == usual { Ok(()) } else { pair(out, key, periods(range)) }
}

fn write_target(out: &mut String, key: &str, target: Target) -> fmt::Result {
    match target {
        Target::Any => Ok(()),
        Target::Node(node) => pair(out, key, format_args!("\"n{node}\"")),
    }
}

fn write_end(out: &mut String, key: &str, after: Option<Duration>) -> fmt::Result {
    after.map_or(Ok(()), |after| pair(out, key, period(after)))
}

fn group_list(groups: &[Vec<u32>]) -> String {
    let groups: Vec<String> = groups.iter().map(|nodes| group(nodes)).collect();
    format!("[{}]", groups.join(", "))
}

fn group(nodes: &[u32]) -> String {
    let nodes: Vec<String> = nodes.iter().map(|node| format!("\"n{node}\"")).collect();
    format!("[{}]", nodes.join(", "))
}

fn period(duration: Duration) -> String {
    quoted(&span(duration))
}

fn periods(Range { from, to }: Range) -> String {
    if from == to { period(from) } else { quoted(&format!("{}..{}", span(from), span(to))) }
}

/// Formats a duration in the largest unit that is exact.
fn span(duration: Duration) -> String {
    let micros = engine::time::micros(duration);
    if micros.is_multiple_of(1_000_000) {
        format!("{}s", micros / 1_000_000)
    } else if micros.is_multiple_of(1_000) {
        format!("{}ms", micros / 1_000)
    } else {
        format!("{micros}us")
    }
}

fn share(millionths: u32) -> String {
    let decimals = format!("{:04}", millionths % 10_000);
    let text = format!("{}.{}", millionths / 10_000, decimals);
    quoted(&format!("{}%", text.trim_end_matches('0').trim_end_matches('.')))
}

/// Formats a string for TOML.
pub fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted + "\""
}

/// Replaces control characters so that a text fits on one comment line.
fn comment(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::path::Path;

    /// Writes a scenario and reads it again.
    fn again(scenario: &Scenario) -> Scenario {
        let text = scenario.to_toml(&["a note".to_owned()]);
        let mut again =
            Scenario::parse(&scenario.path, &text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        again.chosen = scenario.chosen;
        again
    }

    #[test]
    fn every_scenario_reads_as_it_was_written() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios");
        let files = [&folder, &folder.join("bugs")].map(|folder| std::fs::read_dir(folder).unwrap());
        let mut count = 0;
        for file in files.into_iter().flatten().map(|entry| entry.unwrap().path()) {
            if file.extension().is_some_and(|extension| extension == "toml") {
                let scenario = Scenario::load(&file).unwrap();
                assert_eq!(again(&scenario), scenario);
                count += 1;
            }
        }
        assert!(count > 10, "{count}");
    }

    #[test]
    fn what_is_unusual_is_written() {
        let text = "# Why: all of it.\nnodes = 3\nexecutor = \"event-queue\"\nseed = 7\nduration = \"90s\"\n\
            start = \"1us..2ms\"\n[network]\nlatency = \"2ms\"\ntopology = \"ring\"\nmulticast = false\n\
            loss = \"0.25%\"\nretransmission = false\n[disk]\nlatency = \"1s\"\n[node]\nmax_peers = 4\n\
            max_concurrent_tasks = 1\nqueue_tasks_max = 9\n[workload]\ncompute = \"1ms..2ms\"\n\
            type = \"generation\"\ntimeout = \"31s\"\n[[workload.task]]\nat = \"2s\"\norigin = \"n1\"\n\
            input = \"say \\\"\\u0007\\\\\\\"\"\n[[workload.task]]\nat = \"1500us\"\ninput = \"x\"\n\
            [[fault]]\nat = \"1s\"\nkind = \"churn\"\nevery = \"1s\"\naway = \"1s..2s\"\nlasts = \"3s\"\n\
            [[fault]]\nat = \"1s\"\nkind = \"rolling_restart\"\nevery = \"1s\"\naway = \"1s\"\n\
            [[fault]]\nat = \"1s\"\nkind = \"one_way_loss\"\nfrom = [\"n0\"]\nto = [\"n2\"]\n\
            [liveness]\nafter = \"20s\"\nwithin = \"60s\"\n\
            [expect]\nalways = [\"one_terminal_outcome\"]\nsometimes = [\"link_up\"]\n\
            alerts = [\"peer_count\"]\nalerts_cleared = [\"task_failure\"]\nnever_alerts = [\"disk_used\"]\noutcomes = { open = 2 }\n";
        let scenario = Scenario::parse("all.toml", text).unwrap();
        assert_eq!(again(&scenario), scenario);
        insta::assert_snapshot!(scenario.to_toml(&["a note".to_owned()]));
    }

    proptest! {
        #[test]
        fn every_text_and_time_reads_as_it_was_written(
            why in "\\PC{0,20}", input in ".{0,20}", at in 0_u64..60_000_000, loss in 1_u32..500_000, seed: u32
        ) {
            let text = "nodes = 2\nduration = \"60s\"\n[network]\nloss = \"1%\"\n[workload]\ncompute = \"1s\"\n\
                [[workload.task]]\nat = \"1s\"\ninput = \"x\"\n";
            let mut scenario = Scenario::parse("two.toml", text).unwrap();
            scenario.why = why.trim().to_owned();
            prop_assume!(!scenario.why.starts_with("Why:"));
            scenario.seed = Some(u64::from(seed));
            scenario.network.loss = Some(Loss { per_million: loss, retransmission: true });
            let at = Duration::from_micros(at);
            if let Some(workload) = &mut scenario.workload {
                let submission = Submission { at, origin: Target::Any, input };
                workload.submissions = Submissions::Listed(vec![submission]);
            }
            prop_assert_eq!(again(&scenario), scenario);
        }
    }
}
