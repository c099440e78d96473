//! The manual of scenario files: every section, fault, attack, event, property, alert rule and outcome, with an example
//! of each.
//!
//! It is made from the tables of the reader, so that a word that a scenario may hold cannot be missing here. The tests
//! parse every example.

mod sections;
mod synonyms;

pub(super) use sections::{Key, SECTIONS, Section};
pub(super) use synonyms::{Meant, meant};

use super::fault_kind::FaultKind;
use crate::invariants::{self, descriptions};
use crate::observer::coverage_marks;
use crate::scenario::{Executor, Hostility, OutcomeKind, Scenario};
use engine::observers::alerts::AlertRule;
use serde::Serialize;

/// A group of words in the manual.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Topic {
    /// The sections of a scenario file.
    Sections,
    /// The values of `kind` in `[[fault]]`.
    Faults,
    /// The values of `hostile` in `[[host]]`.
    Attacks,
    /// The values of `sometimes` in `[expect]`.
    Events,
    /// The values of `always` in `[expect]`.
    Properties,
    /// The values of `alerts`, `alerts_cleared` and `never_alerts` in `[expect]`.
    Alerts,
    /// The keys of `outcomes` in `[expect]`.
    Outcomes,
}

impl Topic {
    /// Every topic, in the order of the manual.
    pub const ALL: [Self; 7] = [
        Self::Sections,
        Self::Faults,
        Self::Attacks,
        Self::Events,
        Self::Properties,
        Self::Alerts,
        Self::Outcomes,
    ];

    /// Returns the name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sections => "sections",
            Self::Faults => "faults",
            Self::Attacks => "attacks",
            Self::Events => "events",
            Self::Properties => "properties",
            Self::Alerts => "alerts",
            Self::Outcomes => "outcomes",
        }
    }

    /// Returns the name of one of its entries.
    pub const fn singular(self) -> &'static str {
        match self {
            Self::Sections => "section",
            Self::Faults => "fault",
            Self::Attacks => "attack",
            Self::Events => "event",
            Self::Properties => "property",
            Self::Alerts => "alert",
            Self::Outcomes => "outcome",
        }
    }

    /// Returns where a scenario holds these words.
    pub const fn place(self) -> &'static str {
        match self {
            Self::Sections => "the parts of a scenario file",
            Self::Faults => "`kind` in [[fault]]",
            Self::Attacks => "`hostile` in [[host]]",
            Self::Events => "`sometimes` in [expect]",
            Self::Properties => "`always` in [expect]; all by default",
            Self::Alerts => "`alerts`, `alerts_cleared`, `never_alerts` in [expect]",
            Self::Outcomes => "`outcomes` in [expect]",
        }
    }

    /// Returns the names of all entries.
    pub fn names(self) -> Vec<&'static str> {
        match self {
            Self::Sections => SECTIONS.iter().map(|section| section.name).collect(),
            Self::Faults => FaultKind::NAMES.to_vec(),
            Self::Attacks => Hostility::ALL.map(Hostility::name).to_vec(),
            Self::Events => {
                let mut names = coverage_marks::NAMES.to_vec();
                names.sort_unstable();
                names
            }
            Self::Properties => {
                let mut names = invariants::NAMES.to_vec();
                names.sort_unstable();
                names
            }
            Self::Alerts => AlertRule::ALL.map(AlertRule::name).to_vec(),
            Self::Outcomes => OutcomeKind::ALL.map(OutcomeKind::name).to_vec(),
        }
    }

    /// Returns all entries.
    pub fn entries(self) -> Vec<Entry> {
        self.names().into_iter().map(|name| self.entry(name)).collect()
    }

    fn entry(self, name: &'static str) -> Entry {
        let expects = |line: &str| Some(format!("[expect]\n{line}\n"));
        let (meaning, example) = match self {
            Self::Sections => {
                let section = SECTIONS.iter().find(|section| section.name == name);
                (section.map(|section| section.meaning.to_owned()), section.map(Section::example))
            }
            Self::Faults => {
                let kind = FaultKind::ALL.iter().find(|kind| kind.name() == name);
                (kind.map(|kind| kind.meaning().trim().to_owned()), kind.map(|kind| fault_example(*kind)))
            }
            Self::Attacks => {
                let attack = Hostility::ALL.into_iter().find(|attack| attack.name() == name);
                let example = format!("[[host]]\nnode = \"n2\"\nhostile = [\"{name}\"]\n");
                (attack.map(|attack| attack_meaning(attack).to_owned()), Some(example))
            }
            Self::Events => {
                let meaning = coverage_marks::meaning(name).map(str::to_owned);
                (meaning, expects(&format!("sometimes = [\"{name}\"]")))
            }
            Self::Properties => {
                (descriptions::for_invariant(name), expects(&format!("always = [\"{name}\"]")))
            }
            Self::Alerts => {
                let rule = AlertRule::ALL.into_iter().find(|rule| rule.name() == name);
                let meaning =
                    rule.map(|rule| format!("{} for {} s.", alert_meaning(rule), rule.lasts().as_secs()));
                (meaning, expects(&format!("alerts = [\"{name}\"]")))
            }
            Self::Outcomes => {
                let outcome = OutcomeKind::ALL.into_iter().find(|outcome| outcome.name() == name);
                let meaning = outcome.map(|outcome| outcome.meaning().to_owned());
                (meaning, expects(&format!("outcomes = {{ {name} = 20 }}")))
            }
        };
        let keys = match self {
            Self::Sections => {
                let section = SECTIONS.iter().find(|section| section.name == name);
                section.map(|section| section.keys.iter().map(KeyEntry::from).collect()).unwrap_or_default()
            }
            Self::Faults => fault_keys(name),
            Self::Attacks | Self::Events | Self::Properties | Self::Alerts | Self::Outcomes => Vec::new(),
        };
        let executors = if self == Self::Faults { executors(example.as_deref()) } else { Vec::new() };
        Entry {
            topic: self,
            name,
            meaning: meaning.unwrap_or_default(),
            keys,
            executors,
            example: example.unwrap_or_default(),
        }
    }
}

/// One word that a scenario may hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// The topic.
    pub topic: Topic,
    /// The word.
    pub name: &'static str,
    /// What it means, in sentences.
    pub meaning: String,
    /// The keys that it takes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<KeyEntry>,
    /// The executors that can model it, if it is a fault.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub executors: Vec<Executor>,
    /// A part of a scenario that holds it.
    pub example: String,
}

/// A key of a section or of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct KeyEntry {
    /// The key.
    pub name: &'static str,
    /// Whether it must be present.
    pub needed: bool,
    /// The kind of value and its unit.
    pub value: &'static str,
    /// What it sets, and its default.
    pub meaning: &'static str,
}

impl From<&Key> for KeyEntry {
    fn from(key: &Key) -> Self {
        Self { name: key.name, needed: key.needed, value: key.value, meaning: key.meaning }
    }
}

/// Returns all entries with a name.
pub fn entries(name: &str) -> Vec<Entry> {
    Topic::ALL
        .into_iter()
        .filter_map(|topic| Some(topic.entry(topic.names().into_iter().find(|known| *known == name)?)))
        .collect()
}

/// Returns what somebody who writes `word` may mean: names of entries, and a note about anything else.
pub fn suggestions(word: &str) -> (Vec<&'static str>, Option<&'static str>) {
    let known: Vec<&'static str> = Topic::ALL.into_iter().flat_map(Topic::names).collect();
    let meant = meant(word, &known);
    (meant.names, meant.note)
}

/// Returns a key of `[[fault]]`.
pub(super) fn fault_key(name: &str) -> Option<&'static Key> {
    let section = SECTIONS.iter().find(|section| section.name == "fault")?;
    section.keys.iter().find(|key| key.name == name)
}

fn fault_keys(name: &str) -> Vec<KeyEntry> {
    let Some(kind) = FaultKind::ALL.iter().find(|kind| kind.name() == name) else { return Vec::new() };
    let keys = kind.keys();
    let common = [("at", true), ("probability", false)];
    let own = keys.all().map(|key| (key, keys.needed.contains(&key)));
    let all = common[..1].iter().copied().chain(own).chain(common[1..].iter().copied());
    all.filter_map(|(key, needed)| Some(KeyEntry { needed, ..KeyEntry::from(fault_key(key)?) })).collect()
}

fn fault_example(kind: FaultKind) -> String {
    let line = |name: &str| {
        let example = fault_key(name).map(|key| key.example).unwrap_or_default();
        format!("{name} = {example}\n")
    };
    let keys: String = kind.keys().all().map(line).collect();
    format!("[[fault]]\nat = \"5s\"\nkind = \"{}\"\n{keys}", kind.name())
}

/// Returns the executors that can model the fault of an example.
fn executors(example: Option<&str>) -> Vec<Executor> {
    let text = format!("{BASE}executor = \"event-queue\"\n{WORKLOAD}{}", example.unwrap_or_default());
    let Ok(scenario) = Scenario::parse("example", &text) else { return Vec::new() };
    [Executor::EventQueue, Executor::Turmoil]
        .into_iter()
        .filter(|executor| executor.refuses(&scenario).is_none())
        .collect()
}

const fn attack_meaning(attack: Hostility) -> &'static str {
    match attack {
        Hostility::Announce => {
            "Announces invented nodes at unreachable addresses, and other nodes there or as leaving, 200 times a second."
        }
        Hostility::BlackHole => "Forwards nothing, and accepts tasks that it never answers.",
        Hostility::Flood => "Sends far more adverts than a link allows, of its own and of invented nodes.",
        Hostility::Forge => "Sends adverts, messages and outcomes in the name of others.",
        Hostility::Garbage => "Sends random bytes, and frames that are not allowed where they arrive.",
        Hostility::Replay => "Sends received frames again, to any peer.",
        Hostility::WrongFiles => "Serves another file under the name of each of its files.",
        Hostility::WrongPieces => "Serves invalid pieces of files.",
    }
}

/// Returns the condition of an alert, which must hold for [`AlertRule::lasts`].
const fn alert_meaning(rule: AlertRule) -> &'static str {
    match rule {
        AlertRule::ClockDiffers => "The clocks of a node and a peer differ by more than 30 s",
        AlertRule::DiskUsed => "The disk of the stored records is nearly full",
        AlertRule::HealthFailed => "A component other than memory fails its health check",
        AlertRule::MemoryCritical => "A node is about to reach its memory limit",
        AlertRule::MemoryWarning => "A node uses much of its memory limit",
        AlertRule::MessageP99 => "The slowest 1 % of messages are acknowledged late",
        AlertRule::ModelUnusable => "A model of a node cannot be used",
        AlertRule::PeerCount => "A node has few peers",
        AlertRule::TaskFailure => "Many tasks of a node fail or time out",
    }
}

/// The start of a scenario in which every example is valid.
pub(super) const BASE: &str = "nodes = 3\nduration = \"120s\"\n";

/// The workload of a scenario in which every example is valid.
pub(super) const WORKLOAD: &str = "[workload]\ntasks = 20\nevery = \"200ms\"\ncompute = \"1s\"\n";

#[cfg(test)]
mod tests;
