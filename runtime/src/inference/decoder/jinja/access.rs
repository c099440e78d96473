//! Fields, items and slices of values.

use super::names::{DICT_CHANGES, DICT_METHODS, LIST_CHANGES, LIST_METHODS, STRING_METHODS};
use super::value::{Value, missing};
use std::rc::Rc;

/// Returns a field of a value, or a method.
///
/// # Errors
/// Returns an error if the value is undefined.
pub(super) fn attribute(of: &Value, name: &str) -> Result<Value, String> {
    let method = || Value::Method(Rc::new((of.clone(), name.to_owned())));
    let absent = || Value::undefined(format!("{:?} object has no attribute {name:?}, which", of.kind()));
    let (methods, unsafe_ones): (&[&str], &[&str]) = match of {
        Value::Undefined(what) => return Err(missing(what)),
        Value::Dict(_) => (&DICT_METHODS, &DICT_CHANGES),
        Value::List(_) => (&LIST_METHODS, &LIST_CHANGES),
        Value::Tuple(_) => (&LIST_METHODS[1..], &[]),
        Value::String(_) => (&STRING_METHODS, &[]),
        _ => (&[], &[]),
    };
    if name.starts_with("__") || unsafe_ones.contains(&name) {
        let what = format!("access to attribute {name:?} of {:?} object is unsafe: it", of.kind());
        return Ok(Value::undefined(what));
    }
    if methods.contains(&name) {
        return Ok(method());
    }
    Ok(match of {
        Value::Dict(dict) => dict.text(name).cloned().unwrap_or_else(absent),
        Value::Namespace(dict) => dict.borrow().text(name).cloned().unwrap_or_else(absent),
        Value::Macro(it) => match name {
            "name" => Value::String(it.of.name.clone()),
            "arguments" => {
                let names = it.of.parameters.iter().map(|(name, _)| Value::String(name.clone()));
                Value::tuple(names.collect())
            }
            "catch_varargs" => Value::Bool(it.of.takes[0]),
            "catch_kwargs" => Value::Bool(it.of.takes[1]),
            "caller" => Value::Bool(it.of.takes[2]),
            _ => absent(),
        },
        Value::Cycler(it) => match name {
            "current" => it.values.get(it.at.get()).cloned().unwrap_or(Value::None),
            "next" | "reset" => method(),
            _ => absent(),
        },
        Value::Loop(it) => {
            let (at, count) = (it.at.get(), it.items.len());
            match name {
                "index" => Value::length(at + 1),
                "index0" => Value::length(at),
                "revindex" => Value::length(count - at),
                "revindex0" => Value::length(count - at - 1),
                "first" => Value::Bool(at == 0),
                "last" => Value::Bool(at + 1 == count),
                "length" => Value::length(count),
                "depth" => Value::length(it.depth + 1),
                "depth0" => Value::length(it.depth),
                "previtem" => match at.checked_sub(1) {
                    Some(before) => it.items[before].clone(),
                    None => Value::undefined("there is no previous item"),
                },
                "nextitem" => {
                    it.items.get(at + 1).cloned().unwrap_or_else(|| Value::undefined("there is no next item"))
                }
                "cycle" | "changed" => method(),
                _ => absent(),
            }
        }
        _ => absent(),
    })
}

/// Returns an item of a value.
///
/// # Errors
/// Returns an error if the value is undefined.
pub(super) fn item(of: &Value, key: &Value) -> Result<Value, String> {
    let found = match of {
        Value::Undefined(what) => return Err(missing(what)),
        Value::Dict(dict) => dict.get(key).cloned(),
        Value::List(items) | Value::Tuple(items) => {
            let at = key.integer().map(|at| if at < 0 { at + items.len() as i128 } else { at });
            at.and_then(|at| items.get(usize::try_from(at).ok()?)).cloned()
        }
        Value::String(text) => key.integer().and_then(|at| {
            let letter = match usize::try_from(at) {
                Ok(at) => text.chars().nth(at),
                Err(_) => text.chars().rev().nth(usize::try_from(-(at + 1)).ok()?),
            };
            letter.map(|letter| letter.to_string().into())
        }),
        _ => None,
    };
    match (found, key) {
        (Some(found), _) => Ok(found),
        (None, Value::String(name)) => attribute(of, name),
        (None, _) => {
            Ok(Value::undefined(format!("{:?} object has no element {}, which", of.kind(), key.repr())))
        }
    }
}

/// Returns a slice of a list or a text.
///
/// # Errors
/// Returns an error if the value cannot be sliced.
pub(super) fn slice(of: &Value, [start, stop, step]: [Option<i128>; 3]) -> Result<Value, String> {
    let items = match of {
        Value::Undefined(what) => return Err(missing(what)),
        Value::List(_) | Value::Tuple(_) | Value::String(_) => of.items()?,
        other => return Err(format!("{:?} object has no slices", other.kind())),
    };
    let (len, step) = (items.len() as i128, step.unwrap_or(1));
    if step == 0 {
        return Err("slice step cannot be zero".to_owned());
    }
    let (low, high) = if step > 0 { (0, len) } else { (-1, len - 1) };
    let bound = |at: i128| (if at < 0 { at + len } else { at }).clamp(low, high);
    let (default_start, default_stop) = if step > 0 { (low, high) } else { (high, low) };
    let (mut at, stop) = (start.map_or(default_start, bound), stop.map_or(default_stop, bound));
    let mut picked = Vec::new();
    while if step > 0 { at < stop } else { at > stop } {
        picked.extend(usize::try_from(at).ok().and_then(|at| items.get(at)).cloned());
        at = at.saturating_add(step);
    }
    Ok(match of {
        Value::String(_) => picked.iter().map(|letter| letter.text().to_string()).collect::<String>().into(),
        Value::Tuple(_) => Value::tuple(picked),
        _ => Value::list(picked),
    })
}

/// Returns a field of an item, by a dotted path.
pub(super) fn field(of: &Value, path: &Value) -> Result<Value, String> {
    let Value::String(path) = path else { return item(of, path) };
    let mut found = of.clone();
    for part in path.split('.') {
        let part = part.parse::<i128>().map_or_else(|_| part.into(), Value::Integer);
        found = item(&found, &part)?;
    }
    Ok(found)
}
