//! Readers for optional fields of a model's JSON files.
//!
//! The invariant: an absent field, a null and a value of the wrong type are three different cases. None of them becomes
//! a default unless the caller says so.

use serde_json::{Map, Value};
use std::path::Path;

/// The fields of one JSON object.
pub(crate) type Object = Map<String, Value>;

/// The value of an optional field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Given<T> {
    /// The field is absent.
    Absent,
    /// The field is null.
    Null,
    /// The field has this value.
    Value(T),
}

/// A field with an invalid or unsupported value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name} is {value}, {expected}")]
pub struct FieldError {
    name: String,
    value: String,
    expected: String,
}

/// The values of an unsupported field that do not change what the model computes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Neutral {
    /// Absent, null, false, or an empty list, object or text.
    Nothing,
    /// As [`Self::Nothing`], or one of these texts.
    OneOf(&'static [&'static str]),
}

impl<T> Given<T> {
    /// Returns the value, or the default if the field is absent or null.
    pub(crate) fn or(self, default: T) -> T {
        self.value().unwrap_or(default)
    }

    /// Returns the value, or one default if the field is absent and another if it is null.
    pub(crate) fn or_null(self, absent: T, null: T) -> T {
        match self {
            Self::Absent => absent,
            Self::Null => null,
            Self::Value(value) => value,
        }
    }

    /// Returns the value, if the field has one.
    pub(crate) fn value(self) -> Option<T> {
        match self {
            Self::Absent | Self::Null => None,
            Self::Value(value) => Some(value),
        }
    }

    /// Rejects null.
    pub(crate) fn not_null(self, name: &str, expected: &str) -> Result<Option<T>, FieldError> {
        match self {
            Self::Absent => Ok(None),
            Self::Null => Err(FieldError::new(name, &Value::Null, &format!("expected {expected}"))),
            Self::Value(value) => Ok(Some(value)),
        }
    }
}

impl FieldError {
    /// Makes an error of a field's value and a clause such as "expected a number" or "only x is supported".
    pub(crate) fn new(name: &str, value: &Value, expected: &str) -> Self {
        let shown = value.to_string().chars().take(SHOWN_CHARS).collect();
        Self { name: name.to_owned(), value: shown, expected: expected.to_owned() }
    }
}

/// Reads a boolean.
pub(crate) fn flag(object: &Object, name: &str) -> Result<Given<bool>, FieldError> {
    read(object, name, TRUE_OR_FALSE, Value::as_bool)
}

/// Reads a non-negative integer.
pub(crate) fn count(object: &Object, name: &str) -> Result<Given<usize>, FieldError> {
    read(object, name, "a number", |value| value.as_u64().and_then(|count| usize::try_from(count).ok()))
}

/// Reads a number.
pub(crate) fn number(object: &Object, name: &str) -> Result<Given<f64>, FieldError> {
    read(object, name, "a number", Value::as_f64)
}

/// Reads a text.
pub(crate) fn text<'o>(object: &'o Object, name: &str) -> Result<Given<&'o str>, FieldError> {
    read(object, name, "a text", Value::as_str)
}

/// Reads a list of texts.
pub(crate) fn texts<'o>(object: &'o Object, name: &str) -> Result<Given<Vec<&'o str>>, FieldError> {
    read(object, name, "a list of texts", |value| value.as_array()?.iter().map(Value::as_str).collect())
}

/// Reads an object.
pub(crate) fn object<'o>(object: &'o Object, name: &str) -> Result<Given<&'o Object>, FieldError> {
    read(object, name, "an object", Value::as_object)
}

/// Reads a field of any type.
pub(crate) fn read<'o, T>(
    object: &'o Object,
    name: &str,
    expected: &str,
    of: impl FnOnce(&'o Value) -> Option<T>,
) -> Result<Given<T>, FieldError> {
    match object.get(name) {
        None => Ok(Given::Absent),
        Some(Value::Null) => Ok(Given::Null),
        Some(value) => match of(value) {
            Some(found) => Ok(Given::Value(found)),
            None => Err(FieldError::new(name, value, &format!("expected {expected}"))),
        },
    }
}

/// Rejects the first of these fields with a value that would change what the model computes.
pub(crate) fn check_neutral(object: &Object, fields: &[(&str, Neutral)]) -> Result<(), FieldError> {
    for (name, neutral) in fields {
        let Some(value) = object.get(*name) else { continue };
        if says_nothing(value) {
            continue;
        }
        let supported = match neutral {
            Neutral::Nothing => "which is not supported".to_owned(),
            Neutral::OneOf(texts) if value.as_str().is_some_and(|text| texts.contains(&text)) => continue,
            Neutral::OneOf(texts) => format!("only {} is supported", texts.join(" or ")),
        };
        return Err(FieldError::new(name, value, &supported));
    }
    Ok(())
}

/// Rejects the first field that is in neither list: fields that are read, and fields that may be neutral.
pub(crate) fn check_known<T>(object: &Object, read: &[&str], others: &[(&str, T)]) -> Result<(), FieldError> {
    let is_known = |name: &str| read.contains(&name) || others.iter().any(|(other, _)| *other == name);
    match object.iter().find(|(name, _)| !is_known(name)) {
        Some((name, value)) => Err(FieldError::new(name, value, "and no field of this name is supported")),
        None => Ok(()),
    }
}

fn says_nothing(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::String(text) => text.is_empty(),
        Value::Bool(true) | Value::Number(_) => false,
    }
}

/// Parses a file that contains a JSON object.
///
/// # Errors
/// Returns a description of the fault.
pub(crate) fn parse(json: &[u8]) -> Result<Object, String> {
    serde_json::from_slice(json).map_err(|error| error.to_string())
}

/// Returns the path of a file in a subfolder of the model, which may be empty.
pub(crate) fn within(folder: &str, file: &str) -> String {
    Path::new(folder).join(file).to_string_lossy().into_owned()
}

/// The expected values of a flag.
pub(crate) const TRUE_OR_FALSE: &str = "true or false";
/// The length at which a wrong value is cut in errors.
const SHOWN_CHARS: usize = 60;

#[cfg(test)]
mod tests {
    use super::*;

    fn object_of(json: &str) -> Object {
        parse(json.as_bytes()).unwrap()
    }

    #[test]
    fn absent_null_and_wrong_are_three_things() {
        let it =
            object_of(r#"{"null":null,"yes":true,"text":"true","list":["a",7],"number":1.5,"minus":-1}"#);
        assert_eq!(flag(&it, "none"), Ok(Given::Absent));
        assert_eq!(flag(&it, "null"), Ok(Given::Null));
        assert_eq!(flag(&it, "yes"), Ok(Given::Value(true)));
        let told = |error: FieldError| error.to_string();
        assert_eq!(
            flag(&it, "text").map_err(told),
            Err(r#"text is "true", expected true or false"#.to_owned())
        );
        assert_eq!(count(&it, "number").map_err(told), Err("number is 1.5, expected a number".to_owned()));
        assert_eq!(count(&it, "minus").map_err(told), Err("minus is -1, expected a number".to_owned()));
        assert_eq!(number(&it, "number"), Ok(Given::Value(1.5)));
        assert_eq!(
            texts(&it, "list").map_err(told),
            Err(r#"list is ["a",7], expected a list of texts"#.to_owned())
        );
        assert_eq!(Given::Absent.or_null(1, 2), 1);
        assert_eq!(Given::Null.or_null(1, 2), 2);
        assert_eq!(Given::Null.or(3), 3);
        let null = flag(&it, "null").unwrap().not_null("null", TRUE_OR_FALSE);
        assert_eq!(null.map_err(told), Err("null is null, expected true or false".to_owned()));
    }

    #[test]
    fn what_nothing_reads_must_say_nothing() {
        let fields = [("a", Neutral::Nothing), ("b", Neutral::OneOf(&["x", "y"]))];
        for neutral in ["{}", r#"{"a":null,"b":"y"}"#, r#"{"a":false,"b":[]}"#, r#"{"a":{},"b":""}"#] {
            assert_eq!(check_neutral(&object_of(neutral), &fields), Ok(()), "{neutral}");
        }
        for refused in [r#"{"a":true}"#, r#"{"a":0}"#, r#"{"a":["z"]}"#, r#"{"b":"z"}"#, r#"{"b":true}"#] {
            assert!(check_neutral(&object_of(refused), &fields).is_err(), "{refused}");
        }
        assert_eq!(check_known(&object_of(r#"{"a":1,"b":2,"x":3}"#), &["x"], &fields), Ok(()));
        assert!(check_known(&object_of(r#"{"c":1}"#), &["x"], &fields).is_err());
    }
}
