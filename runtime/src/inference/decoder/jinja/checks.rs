//! Jinja's tests: what stands after `is`.

use super::budget::Given;
use super::names;
use super::value::Value;
use std::cmp::Ordering;
use std::rc::Rc;

/// Tells whether a value passes a test.
///
/// # Errors
/// Returns an error if the test does not exist, or does not apply to this value.
pub(super) fn check(name: &str, value: &Value, given: Given) -> Result<bool, String> {
    let other = |given: Given| {
        let [other] = given.bind(["other"])?;
        other.ok_or_else(|| format!("test {name:?} wants another value"))
    };
    let whole = || value.integer().ok_or_else(|| format!("{} is no whole number", value.kind()));
    Ok(match name {
        "boolean" => matches!(value, Value::Bool(_)),
        "callable" => matches!(
            value,
            Value::Cycler(_)
                | Value::Function(_)
                | Value::Joiner(_)
                | Value::Loop(_)
                | Value::Macro(_)
                | Value::Method(_)
                | Value::Undefined(_)
        ),
        "defined" => !matches!(value, Value::Undefined(_)),
        "divisibleby" => {
            let by = other(given)?.integer().filter(|by| *by != 0).ok_or("division by zero")?;
            whole()?.wrapping_rem_euclid(by) == 0
        }
        "eq" | "equalto" | "==" => value.equals(&other(given)?),
        "escaped" => false,
        "even" => whole()?.rem_euclid(2) == 0,
        "false" => matches!(value, Value::Bool(false)),
        "filter" => value.as_str().is_some_and(names::is_filter),
        "float" => matches!(value, Value::Float(_)),
        "ge" | ">=" => value.compare(&other(given)?)? != Ordering::Less,
        "greaterthan" | "gt" | ">" => value.compare(&other(given)?)? == Ordering::Greater,
        "in" => other(given)?.contains(value)?,
        "integer" => matches!(value, Value::Integer(_)),
        "iterable" => value.items().is_ok(),
        "le" | "<=" => value.compare(&other(given)?)? != Ordering::Greater,
        "lessthan" | "lt" | "<" => value.compare(&other(given)?)? == Ordering::Less,
        "lower" => has_case(&value.text(), char::is_lowercase, char::is_uppercase),
        "mapping" => matches!(value, Value::Dict(_)),
        "ne" | "!=" => !value.equals(&other(given)?),
        "none" => matches!(value, Value::None),
        "number" => value.number().is_some(),
        "odd" => whole()?.rem_euclid(2) == 1,
        "sameas" => is_same(value, &other(given)?),
        "sequence" => {
            matches!(
                value,
                Value::List(_) | Value::String(_) | Value::Tuple(_) | Value::Dict(_) | Value::Undefined(_)
            )
        }
        "string" => matches!(value, Value::String(_)),
        "test" => value.as_str().is_some_and(|name| {
            let given = Given { places: vec![Value::Integer(1)], names: Vec::new() };
            !check(name, &Value::Integer(1), given).is_err_and(|error| error.starts_with(NO_TEST))
        }),
        "true" => matches!(value, Value::Bool(true)),
        "undefined" => matches!(value, Value::Undefined(_)),
        "upper" => has_case(&value.text(), char::is_uppercase, char::is_lowercase),
        other => return Err(format!("{NO_TEST} named {other:?}")),
    })
}

/// Tells whether all cased letters have this case, and there is at least one.
pub(super) fn has_case(text: &str, yes: fn(char) -> bool, no: fn(char) -> bool) -> bool {
    text.chars().any(yes) && !text.chars().any(no)
}

fn is_same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::List(one), Value::List(other)) => Rc::ptr_eq(one, other),
        (Value::Dict(one), Value::Dict(other)) => Rc::ptr_eq(one, other),
        (Value::Bool(one), Value::Bool(other)) => one == other,
        (Value::Bool(_), _) | (_, Value::Bool(_)) => false,
        _ => one.kind() == other.kind() && one.equals(other),
    }
}

const NO_TEST: &str = "there is no test";
