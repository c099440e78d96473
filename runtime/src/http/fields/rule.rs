//! Rules for request fields, and values that change nothing.

use serde_json::Value;

/// Fields of a request, in lists that are each sorted by name.
pub(in crate::http) type Table = &'static [&'static [Field]];

/// Name of a field, and its rule.
pub(in crate::http) type Field = (&'static str, Rule);

/// How a field is handled.
#[derive(Debug)]
pub(in crate::http) enum Rule {
    /// A list of objects, whose fields have their own rules.
    Each(&'static [Field]),
    /// Ignored, because no value changes the response.
    Ignored,
    /// Read by the route.
    Read,
    /// Rejected, because it would change the response, unless it is null or one of these values.
    RejectUnless(&'static [Allowed]),
    /// An object, whose fields have their own rules.
    Within(&'static [Field]),
}

/// A value that does not change the response.
#[derive(Debug)]
pub(in crate::http) enum Allowed {
    /// A number of at least this.
    AtLeast(f64),
    /// An empty string, list or object.
    Empty,
    False,
    /// This value, written as JSON.
    Json(&'static str),
    Number(f64),
    /// This string, in any case.
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
