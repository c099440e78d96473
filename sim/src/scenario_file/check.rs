//! Turns a scenario file into a valid scenario, or into an error that names the place and the problem.

mod fault;
mod files;
mod host;
mod machine_fault;
mod syntax;
mod workload;

use super::defaults::{DISK_LATENCY, LATENCY, START, TICK};
use super::error::{Place, Problem, ScenarioError};
use super::format::{self as file, File};
use super::manual::{self, Topic};
use super::units::Periods;
use crate::invariants;
use crate::observer::coverage_marks;
use crate::scenario::Executor;
use crate::scenario::{
    DURATION_MAX, Expect, LOSS_PER_MILLION_MAX, Liveness, Loss, NODES_MAX, Network, NodeSettings, Range,
    Scenario, TASKS_MAX, Target, Topology,
};
use core::fmt::Display;
use core::ops::RangeInclusive;
use core::time::Duration;
use engine::observers::alerts::AlertRule;
use toml::Spanned;

/// Reads and checks a scenario.
pub(super) fn scenario(path: &str, text: &str) -> Result<Scenario, ScenarioError> {
    let source = Source { path, text };
    let file: File = toml::from_str(text).map_err(|error| source.syntax(&error))?;
    let nodes = source.within("nodes", &file.nodes, 1..=NODES_MAX)?;
    let duration = file.duration.as_ref().0;
    if duration.is_zero() {
        let allowed = format!("longer than 0 and at most {} h", DURATION_MAX.as_secs() / 3600);
        return Err(source.out_of_range("duration", &file.duration, "0", allowed));
    }
    let liveness = file.liveness.as_ref().map(|section| source.liveness(section, duration)).transpose()?;
    // Effects of anything later would come after the end.
    let quiet = liveness.map_or(duration, |liveness| liveness.after);
    let workload =
        file.workload.as_ref().map(|section| source.workload(section, nodes, quiet)).transpose()?;
    let start = range(file.start.as_ref(), START);
    let hosts = source.hosts(&file.host, nodes, start, quiet)?;
    let tasks = workload.as_ref().map(|workload| workload.submissions.tasks());
    let faults = source.faults(&file.fault, nodes, tasks, quiet)?;
    let files = source.files(&file.file, nodes)?;
    let fetches = source.fetches(&file.fetch, files.len(), nodes, quiet)?;
    let swarm = file.swarm.as_ref().map(|section| source.swarm(section, &file.fault)).transpose()?;
    let expect = source.expect(&file.expect)?;
    let mut scenario = Scenario {
        path: path.to_owned(),
        why: why(text),
        nodes,
        executor: Executor::EventQueue,
        chosen: Executor::EventQueue,
        seed: file.seed,
        duration,
        start,
        network: source.network(&file.network)?,
        disk_latency: range(file.disk.latency.as_ref(), DISK_LATENCY),
        node: source.node(&file.node)?,
        hosts,
        workload,
        files,
        fetches,
        faults,
        swarm,
        liveness,
        expect,
    };
    let wanted = file.executor.as_ref().map(|choice| (*choice.as_ref(), choice.span()));
    source.stops(&file.fault, &scenario)?;
    scenario.executor = match wanted {
        None | Some((file::Choice::Auto, _)) => Executor::suited_to(&scenario),
        Some((file::Choice::EventQueue, _)) => Executor::EventQueue,
        Some((file::Choice::Turmoil, _)) => Executor::Turmoil,
    };
    scenario.chosen = scenario.executor;
    match scenario.executor.refuses(&scenario) {
        None => Ok(scenario),
        Some(refusal) => Err(source.at(wanted.map_or(0..0, |(_, span)| span), Problem::Refused(refusal))),
    }
}

/// The file that is being read, for messages.
struct Source<'a> {
    path: &'a str,
    text: &'a str,
}

impl Source<'_> {
    fn at(&self, range: core::ops::Range<usize>, problem: Problem) -> ScenarioError {
        ScenarioError {
            path: self.path.to_owned(),
            place: Some(Box::new(Place::find(self.text, range))),
            problem: Box::new(problem),
        }
    }

    fn out_of_range<T>(
        &self,
        key: &'static str,
        spanned: &Spanned<T>,
        value: impl Display,
        allowed: String,
    ) -> ScenarioError {
        self.at(spanned.span(), Problem::OutOfRange { key, value: value.to_string(), allowed })
    }

    fn within<T: Copy + PartialOrd + Display>(
        &self,
        key: &'static str,
        value: &Spanned<T>,
        allowed: RangeInclusive<T>,
    ) -> Result<T, ScenarioError> {
        if allowed.contains(value.as_ref()) {
            return Ok(*value.as_ref());
        }
        let text = format!("{} to {}", allowed.start(), allowed.end());
        Err(self.out_of_range(key, value, value.as_ref(), text))
    }

    fn inconsistent<T>(&self, place: &Spanned<T>, words: String) -> ScenarioError {
        self.at(place.span(), Problem::Inconsistent(words))
    }

    fn unknown(&self, topic: Topic, name: &Spanned<String>) -> ScenarioError {
        let known = topic.names();
        self.at(name.span(), unknown(topic.singular(), "", name.as_ref(), &known, topic.name()))
    }

    /// Reads a node's name: `n` and its number.
    fn member(&self, name: &Spanned<String>, nodes: u32) -> Result<u32, ScenarioError> {
        let number = name.as_ref().strip_prefix('n').and_then(|digits| digits.parse().ok());
        match number {
            Some(number) if number < nodes && *name.as_ref() == format!("n{number}") => Ok(number),
            _ => Err(self.inconsistent(
                name,
                format!("no node is called `{}`; there are n0 to n{}", shortened(name.as_ref()), nodes - 1),
            )),
        }
    }

    fn target(&self, name: Option<&Spanned<String>>, nodes: u32) -> Result<Target, ScenarioError> {
        match name {
            None => Ok(Target::Any),
            Some(name) if name.as_ref() == ANY => Ok(Target::Any),
            Some(name) => self.member(name, nodes).map(Target::Node),
        }
    }

    fn network(&self, section: &file::Network) -> Result<Network, ScenarioError> {
        if let Some(loss) = section.loss.as_ref().filter(|loss| loss.as_ref().0 > LOSS_PER_MILLION_MAX) {
            let percent = |millionths: u32| format!("{}%", f64::from(millionths) / 10_000.0);
            let allowed = format!("at most {}", percent(LOSS_PER_MILLION_MAX));
            return Err(self.out_of_range("loss", loss, percent(loss.as_ref().0), allowed));
        }
        let loss = section.loss.as_ref().map(|loss| loss.as_ref().0).filter(|&loss| loss > 0);
        let tick = match &section.tick {
            Some(tick) if !TICKS.contains(&tick.as_ref().0) => {
                let millis = tick.as_ref().0.as_micros() / 1000;
                return Err(self.out_of_range(
                    "tick",
                    tick,
                    format!("{millis} ms"),
                    "1 ms to 100 ms".to_owned(),
                ));
            }
            Some(tick) => tick.as_ref().0,
            None => TICK,
        };
        Ok(Network {
            latency: range(section.latency.as_ref(), LATENCY),
            topology: section.topology.unwrap_or(Topology::Full),
            multicast: section.multicast.unwrap_or(true),
            tick,
            loss: loss.map(|per_million| Loss {
                per_million,
                retransmission: section.retransmission.unwrap_or(true),
            }),
        })
    }

    fn node(&self, section: &file::Node) -> Result<NodeSettings, ScenarioError> {
        let defaults = engine::Config::default();
        let or = |key, value: &Option<Spanned<u16>>, allowed, default| {
            value.as_ref().map_or(Ok(default), |value| self.within(key, value, allowed))
        };
        Ok(NodeSettings {
            max_peers: or("max_peers", &section.max_peers, 1..=256, defaults.max_peers)?,
            max_concurrent_tasks: or(
                "max_concurrent_tasks",
                &section.max_concurrent_tasks,
                1..=1024,
                defaults.max_concurrent_tasks,
            )?,
            queue_tasks_max: match &section.queue_tasks_max {
                None => defaults.queue_tasks_max,
                Some(value) => self.within("queue_tasks_max", value, 1..=TASKS_MAX)?,
            },
        })
    }

    fn liveness(&self, section: &file::Liveness, duration: Duration) -> Result<Liveness, ScenarioError> {
        let (after, within) = (section.after.as_ref().0, section.within.as_ref().0);
        if after.saturating_add(within) > duration {
            let words = format!("`after` and `within` together are longer than the run of {duration:?}");
            return Err(self.inconsistent(&section.within, words));
        }
        Ok(Liveness { after, within })
    }

    fn alert_rule(&self, name: &Spanned<String>) -> Result<AlertRule, ScenarioError> {
        let known = AlertRule::ALL.into_iter().find(|rule| rule.name() == name.as_ref());
        known.ok_or_else(|| self.unknown(Topic::Alerts, name))
    }

    fn expect(&self, section: &file::Expect) -> Result<Expect, ScenarioError> {
        let known = |topic, names: &[Spanned<String>], candidates: &[&'static str]| {
            let mut found = Vec::new();
            for name in names {
                match candidates.iter().find(|candidate| *candidate == name.as_ref()) {
                    Some(candidate) => found.push(*candidate),
                    None => return Err(self.unknown(topic, name)),
                }
            }
            Ok(found)
        };
        let rules = |names: &[Spanned<String>]| -> Result<Vec<AlertRule>, ScenarioError> {
            names.iter().map(|name| self.alert_rule(name)).collect()
        };
        let raised = rules(&section.alerts)?;
        let never_alerts = match &section.never_alerts[..] {
            [any] if any.as_ref() == ANY => AlertRule::ALL.to_vec(),
            names => rules(names)?,
        };
        let alerts_cleared = rules(&section.alerts_cleared)?;
        let both = section.alerts.iter().chain(&section.alerts_cleared);
        let wanted = raised.iter().chain(&alerts_cleared);
        if let Some((name, _)) = both.zip(wanted).find(|(_, rule)| never_alerts.contains(rule)) {
            let words = format!("`{}` cannot be both expected and in `never_alerts`", name.as_ref());
            return Err(self.inconsistent(name, words));
        }
        Ok(Expect {
            alerts: raised,
            alerts_cleared,
            never_alerts,
            always: match &section.always {
                None => invariants::NAMES.to_vec(),
                Some(names) => known(Topic::Properties, names, invariants::NAMES)?,
            },
            sometimes: known(Topic::Events, &section.sometimes, coverage_marks::NAMES)?,
            outcomes: section.outcomes.clone(),
        })
    }
}

fn range(written: Option<&Spanned<Periods>>, default: Range) -> Range {
    written.map_or(default, |written| written.as_ref().0)
}

/// Returns the comment that a file starts with.
fn why(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    let words = line.strip_prefix('#').unwrap_or_default().trim();
    words.strip_prefix("Why:").unwrap_or(words).trim().to_owned()
}

/// Returns the problem of a name that is not known.
fn unknown(
    what: &'static str,
    place: &'static str,
    name: &str,
    known: &[&'static str],
    topic: &'static str,
) -> Problem {
    let manual::Meant { names: meant, note } = manual::meant(name, known);
    let known = known.iter().map(|name| (*name).to_owned()).collect();
    Problem::Unknown { what, name: shortened(name), place, meant, note, known, topic }
}

/// Shortens a name so that it fits into a message.
fn shortened(name: &str) -> String {
    let mut text: String = name.chars().take(64).collect();
    if text.len() < name.len() {
        text.push('…');
    }
    text
}

const ANY: &str = "any";
const TICKS: RangeInclusive<Duration> = TICK..=Duration::from_millis(100);
