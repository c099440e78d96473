//! Rewords errors of the TOML reader, so that an author who has never read its documentation can fix them.

use super::{Source, unknown};
use crate::scenario_file::error::{Problem, ScenarioError};
use crate::scenario_file::format::File;
use crate::scenario_file::manual::{SECTIONS, Section, Topic};
use core::ops::Range;

impl Source<'_> {
    /// Turns an error of the TOML reader into one that names the key, the valid values and the fix.
    pub(super) fn syntax(&self, error: &toml::de::Error) -> ScenarioError {
        let place = error.span().unwrap_or_default();
        let message = error.message().trim();
        if let Some(problem) = unknown_word(message) {
            return self.at(place, problem);
        }
        if let Some(words) = self.wrong_value(message, &place) {
            return self.at(place, Problem::Syntax(words));
        }
        if let Some(error) = self.bare_word(place.start) {
            return error;
        }
        if let Some(key) = message.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`')) {
            return self.missing(key, place);
        }
        self.at(place, Problem::Syntax(message.replace('\n', "; ")))
    }

    /// Returns the error of a text without quotes, such as `nodes = three`.
    fn bare_word(&self, at: usize) -> Option<ScenarioError> {
        let rest = self.text.get(at..)?;
        let end = rest.find(|c: char| !(c.is_alphanumeric() || "_.%+-".contains(c))).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        let before = self.text.get(..at)?;
        // Only a value that nothing else follows can be meant as a text.
        let is_value = before.trim_end().ends_with(['=', '[', ',']);
        if word.is_empty() || after.starts_with(['"', '\'', '=']) || !is_value {
            return None;
        }
        let quoted = format!("{before}\"{word}\"{after}");
        // Any later error is not about this word.
        if let Err(other) = toml::from_str::<File>(&quoted)
            && let Some(place) = other.span().filter(|place| place.start <= at)
        {
            let message = other.message();
            let source = Source { path: self.path, text: &quoted };
            let problem = unknown_word(message)
                .or_else(|| source.wrong_value(message, &place).map(Problem::Syntax))
                .unwrap_or_else(|| Problem::Syntax(format!("`{word}` is not a valid value")));
            return Some(self.at(at..at + word.len(), problem));
        }
        let words = format!("a text needs quotes: \"{word}\"");
        Some(self.at(at..at + word.len(), Problem::Syntax(words)))
    }

    /// Returns the error of a key that is missing from the section at a place.
    fn missing(&self, key: &str, place: Range<usize>) -> ScenarioError {
        let header = self.text.get(place.start..).unwrap_or_default();
        let section = SECTIONS
            .iter()
            .filter(|section| section.keys.iter().any(|one| one.name == key))
            .find(|section| !section.header.is_empty() && header.starts_with(section.header))
            .or_else(|| SECTIONS.iter().find(|section| section.keys.iter().any(|one| one.name == key)));
        let Some(section) = section else {
            return self.at(place, Problem::Syntax(format!("`{key}` is missing")));
        };
        let known = section.keys.iter().find(|one| one.name == key);
        let example = known.map(|known| known.example).unwrap_or_default();
        let words = format!("{} needs `{key}`, such as {key} = {example}", titled(section));
        self.at(place, Problem::Syntax(words))
    }

    /// Rewords "invalid type: …" and "invalid value: …", whose parts serde names after Rust's types.
    fn wrong_value(&self, message: &str, place: &Range<usize>) -> Option<String> {
        let rest =
            message.strip_prefix("invalid type: ").or_else(|| message.strip_prefix("invalid value: "))?;
        let (got, expected) = rest
            .rsplit_once(", expected ")
            .filter(|(_, expected)| !expected.contains('`'))
            .or_else(|| rest.split_once(", expected "))?;
        if let ("map", "a sequence", Some(header)) = (got, expected, self.header_at(place.start)) {
            return Some(format!("`[[{header}]]` has two brackets, for there may be several"));
        }
        let expected = match expected {
            "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number, such as 3",
            "i8" | "i16" | "i32" | "i64" => "a whole number, such as 3",
            "a boolean" => "true or false",
            "a string" => "a text in quotes",
            "a sequence" => "a list, such as [\"n0\", \"n1\"]",
            other if other.starts_with("struct ") || other == "a map" => "a section of its own",
            other => other,
        };
        let got = match got.split_once(' ') {
            Some(("string", text)) => text.to_owned(),
            Some((_, text)) if text.starts_with('`') => text.trim_matches('`').to_owned(),
            Some(_) | None => match got {
                "sequence" => "a list".to_owned(),
                "map" => "a section".to_owned(),
                other => other.to_owned(),
            },
        };
        let key = self.key_before(place.start);
        Some(match key {
            Some(key) => format!("`{key}` must be {expected}, not {got}"),
            None => format!("expected {expected}, not {got}"),
        })
    }

    /// Returns the name in the header of a section, such as `[fault]`, at a place.
    fn header_at(&self, at: usize) -> Option<&str> {
        let line = self.text.get(at..)?.lines().next()?;
        line.trim_end().strip_prefix('[')?.strip_suffix(']')
    }

    /// Returns the key of the value at a place, if both are on one line.
    fn key_before(&self, at: usize) -> Option<&str> {
        let before = self.text.get(..at)?;
        let line = before.rsplit('\n').next()?;
        let (keys, _) = line.rsplit_once('=')?;
        let key = keys.trim_end().rsplit([' ', '\t', '{', ',']).next()?;
        (!key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte)))
            .then_some(key)
    }

    /// Returns the place of a key, whose value is at `value`.
    pub(super) fn key(&self, key: &str, value: Range<usize>) -> Range<usize> {
        let before = self.text.get(..value.start).unwrap_or_default();
        before.rfind(key).map_or(value, |at| at..at + key.len())
    }
}

/// Returns the problem of an unknown key or value; `None` if the error is about something else.
fn unknown_word(message: &str) -> Option<Problem> {
    // serde's wording: unknown field `x`, expected one of `y`, `z`
    let mut quoted = message.split('`').skip(1).step_by(2);
    let name = quoted.next()?;
    let known: Vec<&str> = quoted.collect();
    if message.starts_with("unknown field") {
        let section = SECTIONS
            .iter()
            .find(|section| section.keys.iter().map(|key| key.name).eq(known.iter().copied()))?;
        let names: Vec<_> = section.keys.iter().map(|key| key.name).collect();
        return Some(unknown("key", section.header, name, &names, section.name));
    }
    if !message.starts_with("unknown variant") {
        return None;
    }
    for topic in [Topic::Faults, Topic::Attacks, Topic::Outcomes] {
        let names = topic.names();
        if names == known {
            let what = if topic == Topic::Faults { "kind of fault" } else { topic.singular() };
            return Some(unknown(what, "", name, &names, topic.name()));
        }
    }
    let (what, names, topic) = CHOICES.iter().find(|(_, names, _)| *names == known)?;
    Some(unknown(what, "", name, names, topic))
}

/// Returns how a message calls a section.
fn titled(section: &Section) -> &'static str {
    if section.header.is_empty() { "the scenario" } else { section.header }
}

/// The values of each key with few of them, and the section that describes the key.
const CHOICES: [(&str, &[&str], &str); 4] = [
    ("executor", &["auto", "event-queue", "turmoil"], "scenario"),
    ("topology", &["full", "line", "ring"], "network"),
    ("type of a task", &["classification", "embedding", "generation", "reranking"], "workload"),
    ("hash", &["blake3", "sha256"], "fetch"),
];
