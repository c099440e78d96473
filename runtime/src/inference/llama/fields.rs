//! The fields of a small JSON file of a model, each taken by its name and of the type that it should have.
//!
//! A field that is `null` is as one that is not there: that is how the libraries write what is not set.

use serde_json::{Map, Value};

/// The fields of a JSON object in a file.
#[derive(Debug)]
pub(super) struct Fields {
    file: &'static str,
    fields: Map<String, Value>,
}

impl Fields {
    /// Parses a file.
    pub(super) fn parse(file: &'static str, json: &[u8]) -> Result<Self, String> {
        let fields = serde_json::from_slice(json).map_err(|error| format!("{file} is damaged: {error}"))?;
        Ok(Self { file, fields })
    }

    /// A file that is not there.
    pub(super) fn none(file: &'static str) -> Self {
        Self { file, fields: Map::new() }
    }

    /// The value of a field, unless it is `null`.
    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.fields.get(name).filter(|value| !value.is_null())
    }

    /// Tells whether a field is there, be it `null`.
    pub(super) fn has(&self, name: &str) -> bool {
        self.fields.contains_key(name)
    }

    /// The fields of an object within.
    pub(super) fn object(&self, name: &str) -> Result<Option<Self>, String> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Object(fields)) => Ok(Some(Self { file: self.file, fields: fields.clone() })),
            Some(other) => Err(self.wrong(name, other, "an object")),
        }
    }

    /// A whole number that is not negative.
    pub(super) fn number(&self, name: &str) -> Result<Option<usize>, String> {
        self.typed(name, "a whole number", |value| {
            value.as_u64().and_then(|number| usize::try_from(number).ok())
        })
    }

    /// Any number.
    pub(super) fn float(&self, name: &str) -> Result<Option<f64>, String> {
        self.typed(name, "a number", Value::as_f64)
    }

    pub(super) fn truth(&self, name: &str) -> Result<Option<bool>, String> {
        self.typed(name, "true or false", Value::as_bool)
    }

    pub(super) fn text(&self, name: &str) -> Result<Option<&str>, String> {
        self.typed(name, "a text", Value::as_str)
    }

    /// One token's number, or several.
    pub(super) fn ids(&self, name: &str) -> Result<Vec<u32>, String> {
        let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
        let ids = self.typed(name, "a token's number or a list of them", |value| {
            let several = value.as_array().map(|values| values.iter().map(id).collect());
            several.unwrap_or_else(|| id(value).map(|id| vec![id]))
        })?;
        Ok(ids.unwrap_or_default())
    }

    /// A token by its text, which is written bare or described.
    pub(super) fn token(&self, name: &str) -> Result<Option<String>, String> {
        let text =
            |value: &Value| value.as_str().or_else(|| value.get("content")?.as_str()).map(str::to_owned);
        self.typed(name, "the text of a token", text)
    }

    /// Refuses a field that is there with another value than those that change nothing.
    pub(super) fn refuse_unless(&self, name: &str, neutral: &[Value]) -> Result<(), String> {
        match self.get(name) {
            Some(value) if !neutral.iter().any(|neutral| same(value, neutral)) => {
                let neutral: Vec<String> = neutral.iter().map(Value::to_string).collect();
                let expected = if neutral.is_empty() { "null".to_owned() } else { neutral.join(" or ") };
                Err(format!("{} says {name}: {}, only {expected} is supported", self.file, shown(value)))
            }
            _ => Ok(()),
        }
    }

    /// Says that a field has a value of the wrong type.
    pub(super) fn wrong(&self, name: &str, value: &Value, expected: &str) -> String {
        format!("{} says {name}: {}, expected {expected}", self.file, shown(value))
    }

    fn typed<'a, T>(
        &'a self,
        name: &str,
        expected: &str,
        take: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, String> {
        let Some(value) = self.get(name) else { return Ok(None) };
        take(value).map(Some).ok_or_else(|| self.wrong(name, value, expected))
    }
}

/// Tells whether two values are the same; numbers are by what they count.
fn same(one: &Value, other: &Value) -> bool {
    match (one.as_f64(), other.as_f64()) {
        (Some(one), Some(other)) => one == other,
        _ => one == other,
    }
}

fn shown(value: &Value) -> String {
    value.to_string().chars().take(SHOWN_CHARS).collect()
}

/// As much of a value as is repeated.
const SHOWN_CHARS: usize = 60;
