//! A log line: how it is written, and how it is read back for people.

use crate::config::LogLevel;
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::fmt::Write as _;

/// One line of a log.
#[derive(Clone, Debug)]
pub struct Line<'a> {
    /// The level.
    pub level: LogLevel,
    /// The component that logs it.
    pub component: &'a str,
    /// The message. [`Log::write`](super::Log::write) takes a constant, whose values are in the fields.
    pub message: &'a str,
    /// Named values.
    pub fields: Map<String, Value>,
}

impl Line<'_> {
    pub(super) fn json(&self, timestamp: &str) -> String {
        let level = self.level.as_str();
        let (component, message) = (Value::from(self.component), Value::from(shorten(self.message)));
        let mut text = format!(
            r#"{{"timestamp":"{timestamp}","level":"{level}","component":{component},"message":{message}"#
        );
        for (name, value) in &self.fields {
            // A second key of the same name would hide one of the two.
            let own = if RESERVED.contains(&name.as_str()) { "_" } else { "" };
            let name = Value::from(format!("{name}{own}"));
            // Writing to a string does not fail.
            let _ = write!(text, ",{name}:{}", bounded(value));
        }
        text.push_str("}\n");
        text
    }

    pub(super) fn plain(&self, timestamp: &str) -> String {
        let mut text = plain(timestamp, self.level, self.component, self.message, &self.fields);
        text.push('\n');
        text
    }
}

/// A log line that was read back.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// The level.
    pub level: LogLevel,
    timestamp: String,
    component: String,
    message: String,
    fields: Map<String, Value>,
}

impl Told {
    /// Parses a line. Returns `None` if it is not a log line.
    pub fn parse(line: &str) -> Option<Self> {
        let mut fields: Map<String, Value> = serde_json::from_str(line).ok()?;
        let level = serde_json::from_value(fields.remove("level")?).ok()?;
        let mut text = |name| match fields.remove(name) {
            Some(Value::String(text)) => Some(text),
            Some(_) | None => None,
        };
        let (timestamp, component, message) = (text("timestamp")?, text("component")?, text("message")?);
        Some(Self { level, timestamp, component, message, fields })
    }

    /// Formats the line for people, as one row without control characters.
    pub fn plain(&self) -> String {
        plain(&self.timestamp, self.level, &self.component, &self.message, &self.fields)
    }
}

fn plain(
    timestamp: &str,
    level: LogLevel,
    component: &str,
    message: &str,
    fields: &Map<String, Value>,
) -> String {
    let mut text = format!("{timestamp} {:5} {component}: {}", level.as_str(), shorten(message));
    for (name, value) in fields {
        // Writing to a string does not fail.
        let _ = write!(text, " {name}={}", bounded(value));
    }
    // Text from outside must not control the terminal.
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// Truncates long texts of other origin.
fn bounded(value: &Value) -> Cow<'_, Value> {
    match value {
        Value::String(text) if text.len() > TEXT_BYTES_MAX => Cow::Owned(Value::from(shorten(text))),
        Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::String(_)
        | Value::Array(_)
        | Value::Object(_) => Cow::Borrowed(value),
    }
}

fn shorten(text: &str) -> Cow<'_, str> {
    if text.len() <= TEXT_BYTES_MAX {
        return Cow::Borrowed(text);
    }
    let kept = &text[..text.floor_char_boundary(TEXT_BYTES_MAX)];
    Cow::Owned(format!("{kept}… ({} bytes)", text.len()))
}

/// Maximum length of a text in a line, in bytes.
const TEXT_BYTES_MAX: usize = 8192;
const RESERVED: [&str; 4] = ["timestamp", "level", "component", "message"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_gets_no_control_characters() {
        let line =
            Line { level: LogLevel::Info, component: "x", message: "\u{1b}[2Jgone\n", fields: Map::new() };
        assert_eq!(line.plain("T"), "T INFO  x: \u{fffd}[2Jgone\u{fffd}\n");
    }

    #[test]
    fn text_of_others_makes_no_line_long() {
        let long = "é".repeat(1 << 20);
        let fields: Map<String, Value> =
            [("model".to_owned(), Value::from(long.as_str()))].into_iter().collect();
        let line = Line { level: LogLevel::Info, component: "x", message: &long, fields };
        for text in [line.json("T"), line.plain("T")] {
            assert!(text.len() < 3 * TEXT_BYTES_MAX, "{}", text.len());
            assert_eq!(text.matches("… (2097152 bytes)").count(), 2);
        }
        assert!(Told::parse(line.json("T").trim_end()).is_some());
    }

    #[test]
    fn what_was_written_is_read_back_the_same() {
        let fields: Map<String, Value> = [("peer".to_owned(), Value::from(7))].into_iter().collect();
        let line = Line { level: LogLevel::Fatal, component: "x", message: "gone", fields };
        let told = Told::parse(line.json("T").trim_end()).unwrap();
        assert_eq!(told.plain(), "T FATAL x: gone peer=7");
        assert_eq!(format!("{}\n", told.plain()), line.plain("T"));
        for other in ["", "{}", "[1]", "{\"level\":\"INFO\"}", "not json"] {
            assert_eq!(Told::parse(other), None, "{other:?}");
        }
    }
}
