//! What may become of a field, and the values that change nothing.

use serde_json::Value;

/// The fields of a request, in lists that are each in alphabetical order.
pub(in crate::http) type Table = &'static [&'static [Field]];

/// A field's name, and what becomes of it.
pub(in crate::http) type Field = (&'static str, Rule);

/// What becomes of a field.
#[derive(Debug)]
pub(in crate::http) enum Rule {
    /// It is a list of objects, whose fields have rules of their own.
    Each(&'static [Field]),
    /// It changes no answer, whatever its value.
    Ignored,
    /// The route reads it.
    Read,
    /// It would change the answer; refused unless it is null or one of these.
    RejectUnless(&'static [Allowed]),
    /// It is an object, whose fields have rules of their own.
    Within(&'static [Field]),
}

/// A value that leaves an answer as it is.
#[derive(Debug)]
pub(in crate::http) enum Allowed {
    /// A number from this on.
    AtLeast(f64),
    /// An empty text, list or object.
    Empty,
    False,
    /// This value, written as JSON.
    Json(&'static str),
    Number(f64),
    /// This text, in any case.
    Text(&'static str),
    True,
}

impl Allowed {
    pub(super) fn holds(&self, value: &Value) -> bool {
        let number = |matches: &dyn Fn(f64) -> bool| value.as_f64().is_some_and(matches);
        match self {
            Self::AtLeast(least) => number(&|found| found >= *least),
            Self::Empty => match value {
                Value::Array(list) => list.is_empty(),
                Value::Object(fields) => fields.is_empty(),
                Value::String(text) => text.is_empty(),
                Value::Bool(_) | Value::Null | Value::Number(_) => false,
            },
            Self::False => *value == Value::Bool(false),
            Self::Json(json) => serde_json::from_str::<Value>(json).is_ok_and(|same| same == *value),
            #[allow(clippy::float_cmp, reason = "a client that means the usual value writes just that")]
            Self::Number(same) => number(&|found| found == *same),
            Self::Text(same) => value.as_str().is_some_and(|text| text.eq_ignore_ascii_case(same)),
            Self::True => *value == Value::Bool(true),
        }
    }
}
