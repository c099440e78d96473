//! Writes values as JSON like Python's `json.dumps`.

use super::formatting::check;
use super::sorting::sorted;
use super::value::{Value, float};
use std::fmt::Write;

/// The layout of JSON.
#[derive(Clone, Debug)]
pub(super) struct Json {
    pub(super) ascii: bool,
    pub(super) indent: Option<String>,
    pub(super) separators: (String, String),
    pub(super) sorted: bool,
}

impl Json {
    /// Writes a value as JSON.
    ///
    /// # Errors
    /// Returns an error if the value cannot be JSON.
    pub(super) fn write(&self, value: &Value, depth: usize, out: &mut String) -> Result<(), String> {
        check(out)?;
        match value {
            Value::None => out.push_str("null"),
            Value::Bool(truth) => out.push_str(if *truth { "true" } else { "false" }),
            Value::Integer(number) => {
                let _ = write!(out, "{number}");
            }
            Value::Float(number) => out.push_str(&json_float(*number)),
            Value::String(text) => self.string(text, out),
            Value::List(items) | Value::Tuple(items) => {
                out.push('[');
                for (at, item) in items.iter().enumerate() {
                    self.before(at, depth + 1, out);
                    self.write(item, depth + 1, out)?;
                }
                self.after(items.len(), depth, out);
                out.push(']');
            }
            Value::Dict(dict) => {
                out.push('{');
                let entries = if self.sorted { &sorted(dict.0.clone(), false)? } else { dict.0.as_slice() };
                for (at, (key, value)) in entries.iter().enumerate() {
                    self.before(at, depth + 1, out);
                    match key {
                        Value::String(key) => self.string(key, out),
                        Value::None => out.push_str("\"null\""),
                        Value::Bool(truth) => out.push_str(if *truth { "\"true\"" } else { "\"false\"" }),
                        Value::Integer(_) => self.string(&key.repr(), out),
                        Value::Float(number) => self.string(&json_float(*number), out),
                        other => return Err(format!("keys of JSON are texts, not {}", other.kind())),
                    }
                    out.push_str(&self.separators.1);
                    self.write(value, depth + 1, out)?;
                }
                self.after(dict.0.len(), depth, out);
                out.push('}');
            }
            other => return Err(format!("object of type {} is not JSON serializable", other.kind())),
        }
        Ok(())
    }

    fn before(&self, at: usize, depth: usize, out: &mut String) {
        if at > 0 {
            out.push_str(&self.separators.0);
        }
        if let Some(indent) = &self.indent {
            out.push('\n');
            out.push_str(&indent.repeat(depth));
        }
    }

    fn after(&self, count: usize, depth: usize, out: &mut String) {
        if let (Some(indent), 1..) = (&self.indent, count) {
            out.push('\n');
            out.push_str(&indent.repeat(depth));
        }
    }

    fn string(&self, text: &str, out: &mut String) {
        out.push('"');
        for letter in text.chars() {
            match letter {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                '\u{8}' => out.push_str("\\b"),
                '\u{c}' => out.push_str("\\f"),
                letter
                    if letter < ' '
                        || (self.ascii && !letter.is_ascii())
                        || (self.ascii && letter == '\u{7f}') =>
                {
                    // Python does not escape this one.
                    if letter == '\u{7f}' {
                        out.push(letter);
                        continue;
                    }
                    for unit in letter.encode_utf16(&mut [0; 2]) {
                        let _ = write!(out, "\\u{unit:04x}");
                    }
                }
                letter => out.push(letter),
            }
        }
        out.push('"');
    }
}

fn json_float(number: f64) -> String {
    match number {
        number if number.is_nan() => "NaN".to_owned(),
        f64::INFINITY => "Infinity".to_owned(),
        f64::NEG_INFINITY => "-Infinity".to_owned(),
        number => float(number),
    }
}
