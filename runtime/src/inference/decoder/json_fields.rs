//! Typed access to the fields of a model's JSON files.
//!
//! `null` is the same as an absent field: the libraries write it for settings that are not set.

use crate::inference::files::json_fields::{self, FieldError, Given, Object};
use serde_json::Value;

/// The fields of a JSON object in a file.
#[derive(Debug)]
pub(super) struct Fields {
    file: &'static str,
    fields: Object,
}

impl Fields {
    /// Parses a file.
    pub(super) fn parse(file: &'static str, json: &[u8]) -> Result<Self, String> {
        let fields = json_fields::parse(json).map_err(|error| format!("{file} is damaged: {error}"))?;
        Ok(Self { file, fields })
    }

    /// Returns the fields of a missing file.
    pub(super) fn none(file: &'static str) -> Self {
        Self { file, fields: Object::new() }
    }

    /// Returns the value of a field, unless it is `null`.
    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.fields.get(name).filter(|value| !value.is_null())
    }

    /// Tells whether a field exists, even if it is `null`.
    pub(super) fn has(&self, name: &str) -> bool {
        self.fields.contains_key(name)
    }

    /// Returns the fields of a nested object.
    pub(super) fn object(&self, name: &str) -> Result<Option<Self>, String> {
        let within = self.told(json_fields::object(&self.fields, name))?;
        Ok(within.map(|fields| Self { file: self.file, fields: fields.clone() }))
    }

    /// Returns a non-negative integer.
    pub(super) fn number(&self, name: &str) -> Result<Option<usize>, String> {
        self.told(json_fields::count(&self.fields, name))
    }

    /// Returns a number.
    pub(super) fn float(&self, name: &str) -> Result<Option<f64>, String> {
        self.told(json_fields::number(&self.fields, name))
    }

    pub(super) fn truth(&self, name: &str) -> Result<Option<bool>, String> {
        self.told(json_fields::flag(&self.fields, name))
    }

    pub(super) fn text(&self, name: &str) -> Result<Option<&str>, String> {
        self.told(json_fields::text(&self.fields, name))
    }

    /// Returns one token number, or several.
    pub(super) fn ids(&self, name: &str) -> Result<Vec<u32>, String> {
        let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
        let ids = json_fields::read(&self.fields, name, "a token's number or a list of them", |value| {
            let several = value.as_array().map(|values| values.iter().map(id).collect());
            several.unwrap_or_else(|| id(value).map(|id| vec![id]))
        });
        Ok(self.told(ids)?.unwrap_or_default())
    }

    /// Returns the text of a token, which is a text or an object with its content.
    pub(super) fn token(&self, name: &str) -> Result<Option<String>, String> {
        let text =
            |value: &Value| value.as_str().or_else(|| value.get("content")?.as_str()).map(str::to_owned);
        self.told(json_fields::read(&self.fields, name, "the text of a token", text))
    }

    /// Rejects a field with any other value than these neutral ones.
    pub(super) fn refuse_unless(&self, name: &str, neutral: &[Value]) -> Result<(), String> {
        match self.get(name) {
            Some(value) if !neutral.iter().any(|neutral| same(value, neutral)) => {
                let neutral: Vec<String> = neutral.iter().map(Value::to_string).collect();
                let supported = if neutral.is_empty() { "null".to_owned() } else { neutral.join(" or ") };
                Err(self.error(&FieldError::new(name, value, &format!("only {supported} is supported"))))
            }
            _ => Ok(()),
        }
    }

    /// Returns the error for a value of the wrong type.
    pub(super) fn wrong(&self, name: &str, value: &Value, expected: &str) -> String {
        self.error(&FieldError::new(name, value, &format!("expected {expected}")))
    }

    fn told<T>(&self, given: Result<Given<T>, FieldError>) -> Result<Option<T>, String> {
        given.map(Given::value).map_err(|error| self.error(&error))
    }

    fn error(&self, error: &FieldError) -> String {
        format!("{}: {error}", self.file)
    }
}

/// Tells whether two values are equal; numbers are compared by value.
fn same(one: &Value, other: &Value) -> bool {
    match (one.as_f64(), other.as_f64()) {
        (Some(one), Some(other)) => one == other,
        _ => one == other,
    }
}
