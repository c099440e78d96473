//! Support of request fields: each is read, ignored or rejected by name.
//!
//! Invariant: a field that a known client sends either takes effect or is rejected, if ignoring it would change the
//! response. Fields in no table are ignored, so that newer clients still work.

mod integer;
mod known;
mod rule;
mod truncate;

pub(super) use integer::Integer;
pub(super) use known::{CHAT, COMPLETION, EMBEDDINGS, RERANK, TEI_EMBED, TEI_PREDICT, TEI_RERANK};
pub(super) use rule::Table;
pub(super) use truncate::Truncate;

use self::rule::{Field, Rule};
use super::body;
use super::error::ApiError;
use crate::text::without_mark;
use axum::http::HeaderMap;
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use std::fmt;

/// Parses the body of a request with these fields; errors name the expected content as `what`.
///
/// # Errors
/// If the body is malformed or has an unsupported field, which the error names.
pub(super) fn read<T: DeserializeOwned>(
    headers: &HeaderMap,
    bytes: &[u8],
    what: &str,
    table: Table,
) -> Result<T, ApiError> {
    let asked = body::json(headers, bytes, what)?;
    match unsupported(without_mark(bytes), table) {
        None => Ok(asked),
        Some(Unsupported { field, value }) => {
            Err(ApiError::invalid_value(&field, format!("{field} = {value} is not supported here")))
        }
    }
}

/// An unsupported field that would change the response, and the beginning of its value.
#[derive(Debug, PartialEq, Eq)]
struct Unsupported {
    field: String,
    value: String,
}

/// Returns the first unsupported field of a JSON object.
fn unsupported(json: &[u8], table: Table) -> Option<Unsupported> {
    let mut found = None;
    let mut reader = serde_json::Deserializer::from_slice(json);
    // Malformed JSON was rejected before.
    let _ = Check { table, path: String::new(), found: &mut found }.deserialize(&mut reader);
    found
}

/// Finds an unsupported field in an object or in the objects of a list.
struct Check<'f> {
    table: &'f [&'static [Field]],
    /// Path of the value, as a prefix of field names.
    path: String,
    found: &'f mut Option<Unsupported>,
}

impl Check<'_> {
    fn rule(&self, name: &str) -> Option<&'static Rule> {
        self.table.iter().find_map(|fields: &&'static [Field]| {
            let fields: &'static [Field] = fields;
            let at = fields.binary_search_by(|(known, _)| (*known).cmp(name)).ok()?;
            fields.get(at).map(|(_, rule)| rule)
        })
    }
}

impl<'de> DeserializeSeed<'de> for Check<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Check<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key::<String>()? {
            let rule = if self.found.is_some() { None } else { self.rule(&name) };
            let field = || format!("{}{name}", self.path);
            match rule {
                None | Some(Rule::Ignored | Rule::Read) => {
                    let IgnoredAny = map.next_value()?;
                }
                Some(Rule::Each(fields)) => {
                    let path = field();
                    map.next_value_seed(Check { table: &[*fields], path, found: &mut *self.found })?;
                }
                Some(Rule::Within(fields)) => {
                    let path = format!("{}.", field());
                    map.next_value_seed(Check { table: &[*fields], path, found: &mut *self.found })?;
                }
                Some(Rule::RejectUnless(same)) => {
                    let value: Value = map.next_value()?;
                    if !value.is_null() && !same.iter().any(|same| same.holds(&value)) {
                        let shown = value.to_string().chars().take(VALUE_CHARS_SHOWN).collect();
                        *self.found = Some(Unsupported { field: field(), value: shown });
                    }
                }
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        for index in 0_usize.. {
            let path = format!("{}[{index}].", self.path);
            let next = Check { table: self.table, path, found: &mut *self.found };
            if list.next_element_seed(next)?.is_none() {
                break;
            }
        }
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

/// Maximum characters of a value in an error.
const VALUE_CHARS_SHOWN: usize = 60;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn field(table: Table, body: &Value) -> Option<String> {
        unsupported(body.to_string().as_bytes(), table).map(|found| found.field)
    }

    #[test]
    fn every_field_of_the_tables_has_one_rule() {
        for table in [CHAT, COMPLETION, EMBEDDINGS, RERANK, TEI_EMBED, TEI_PREDICT, TEI_RERANK] {
            let mut all: Vec<&str> = Vec::new();
            for fields in table {
                assert!(
                    fields.windows(2).all(|pair| pair[0].0 < pair[1].0),
                    "in alphabetical order: {fields:?}"
                );
                all.extend(fields.iter().map(|(name, _)| *name));
            }
            all.sort_unstable();
            assert!(all.windows(2).all(|pair| pair[0] != pair[1]), "in one list only: {all:?}");
            let nested = table.iter().copied().flatten().filter_map(|(_, rule)| match rule {
                Rule::Each(fields) | Rule::Within(fields) => Some(fields),
                Rule::Ignored | Rule::Read | Rule::RejectUnless(_) => None,
            });
            for fields in nested {
                assert!(
                    fields.windows(2).all(|pair| pair[0].0 < pair[1].0),
                    "in alphabetical order: {fields:?}"
                );
            }
        }
    }

    #[test]
    fn a_usual_value_passes_and_any_other_is_refused_by_name() {
        for (name, usual, other) in [
            ("repetition_penalty", json!(1), json!(1.1)),
            ("min_p", json!(0.0), json!(0.1)),
            ("logprobs", json!(false), json!(true)),
            ("tools", json!([]), json!([{"type": "function"}])),
            ("response_format", json!({"type": "text"}), json!({"type": "json_object"})),
            ("reasoning_format", json!("none"), json!("deepseek")),
            ("grammar", json!(""), json!("root ::= \"x\"")),
            ("skip_special_tokens", json!(true), json!(false)),
            ("json_schema", Value::Null, json!({})),
            ("cache_prompt", json!(true), Value::Null),
            ("never_heard_of", json!("anything"), Value::Null),
        ] {
            assert_eq!(field(CHAT, &json!({ name: usual })), None, "{name}");
            if !other.is_null() {
                assert_eq!(field(CHAT, &json!({ name: other })).as_deref(), Some(name));
            }
        }
    }

    #[test]
    fn fields_within_lists_and_objects_are_found_by_their_place() {
        let message = |more: Value| json!({"messages": [{"role": "user"}, more], "stream": true});
        assert_eq!(field(CHAT, &message(json!({"tool_calls": [], "name": "x"}))), None);
        let found = field(CHAT, &message(json!({"tool_calls": [{"id": "1"}]})));
        assert_eq!(found.as_deref(), Some("messages[1].tool_calls"));
        let options = json!({"stream_options": {"include_usage": true, "continuous_usage_stats": true}});
        assert_eq!(field(CHAT, &options).as_deref(), Some("stream_options.continuous_usage_stats"));
        for odd in [json!({"messages": "none"}), json!({"messages": [[1]]}), json!({"stream_options": [{}]})]
        {
            assert_eq!(field(CHAT, &odd), None, "{odd} is for the reader to judge");
        }
    }

    #[test]
    fn what_is_shown_of_a_value_is_bounded() {
        let found = unsupported(json!({"grammar": "é".repeat(10_000)}).to_string().as_bytes(), CHAT).unwrap();
        assert_eq!(found.value.chars().count(), VALUE_CHARS_SHOWN);
    }
}
