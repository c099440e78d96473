//! Fields and items of values, the global functions, and the methods of lists and dicts.
//!
//! Methods that would change a list or a dict are rejected, as in transformers' sandbox.

use super::evaluation::{Evaluation, Given, next_of};
use super::formatting::date;
use super::strings;
use super::value::{Cycler, Dict, Value, missing};
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// Returns a global function by name.
pub(super) fn function(name: &str) -> Option<Value> {
    FUNCTIONS.iter().find(|known| **known == name).map(|name| Value::Function(name))
}

/// Calls a global function.
///
/// # Errors
/// Returns an error if the arguments do not match, or the message of `raise_exception`.
pub(super) fn call_function(it: &mut Evaluation, name: &str, given: Given) -> Result<Value, String> {
    match name {
        "range" => {
            let [start, stop, step] = given.bind(["start", "stop", "step"])?;
            let number = |value: Option<Value>| match value {
                None => Ok(None),
                Some(value) => value.integer().map(Some).ok_or("range wants whole numbers"),
            };
            let (first, second, step) = (number(start)?, number(stop)?, number(step)?.unwrap_or(1));
            let first = first.ok_or("range expected at least 1 argument")?;
            let (start, stop) = second.map_or((0, first), |stop| (first, stop));
            if step == 0 {
                return Err("range() arg 3 must not be zero".to_owned());
            }
            let count = if start == stop || (start < stop) != (step > 0) {
                0
            } else {
                (start.abs_diff(stop) - 1) / step.unsigned_abs() + 1
            };
            let count = usize::try_from(count).ok().filter(|count| *count <= RANGE_MAX);
            let count = count.ok_or_else(|| format!("range too big, at most {RANGE_MAX} are allowed"))?;
            it.spend(count / 4)?;
            Ok(Value::list(
                (0..count as i128)
                    .map(|at| Value::Integer(start.wrapping_add(at.wrapping_mul(step))))
                    .collect(),
            ))
        }
        "dict" | "namespace" => {
            let mut dict = Dict::default();
            for place in given.places {
                match place {
                    Value::Dict(other) => {
                        other.0.iter().for_each(|(key, value)| dict.insert(key.clone(), value.clone()))
                    }
                    pairs => {
                        for pair in pairs.items()?.iter() {
                            match pair.items()?.as_slice() {
                                [key, value] => dict.insert(key.clone(), value.clone()),
                                _ => return Err("dictionary update sequence element is no pair".to_owned()),
                            }
                        }
                    }
                }
            }
            given.names.into_iter().for_each(|(name, value)| dict.insert(name.into(), value));
            it.spend(dict.0.len())?;
            Ok(if name == "dict" {
                Value::dict(dict)
            } else {
                it.made_changing(Value::Namespace(Rc::new(RefCell::new(dict))))?
            })
        }
        "lipsum" => Err("there is no chance here".to_owned()),
        "cycler" if given.places.is_empty() => Err("at least one item has to be provided".to_owned()),
        "cycler" => {
            let values = Value::list(given.places).items()?;
            it.made_changing(Value::Cycler(Rc::new(Cycler { values, at: Cell::new(0) })))
        }
        "joiner" => {
            let [separator] = given.bind(["sep"])?;
            let separator = separator.map_or_else(|| ", ".into(), |separator| separator.text());
            Ok(Value::Joiner(Rc::new((separator, Cell::new(false)))))
        }
        "raise_exception" => {
            let [message] = given.bind(["message"])?;
            Err(message.map(|message| message.text().to_string()).unwrap_or_default())
        }
        _ => {
            let [format] = given.bind(["format"])?;
            let format = format.ok_or("strftime_now wants a format")?;
            it.made(date(&format.text()))
        }
    }
}

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
        Value::String(_) => (&strings::METHODS, &[]),
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

/// Calls a method.
///
/// # Errors
/// Returns an error if the arguments do not match.
pub(super) fn call(it: &mut Evaluation, of: &Value, name: &str, given: Given) -> Result<Value, String> {
    it.spend(of.len().unwrap_or(0) / 16)?;
    match (of, name) {
        (Value::String(text), _) => strings::call(it, text, name, given),
        (Value::Dict(dict), "get") => {
            let [key, default] = given.bind(["key", "default"])?;
            let key = key.ok_or("get expected at least 1 argument")?;
            Ok(dict.get(&key).cloned().or(default).unwrap_or(Value::None))
        }
        (Value::Dict(dict), "items") => {
            let pairs = dict.0.iter().map(|(key, value)| Value::pair(key.clone(), value.clone()));
            it.made_list(pairs.collect())
        }
        (Value::Dict(_), "keys") => Ok(Value::List(of.items()?)),
        (Value::Dict(dict), "values") => {
            it.made_list(dict.0.iter().map(|(_, value)| value.clone()).collect())
        }
        (Value::Dict(_) | Value::List(_), "copy") => Ok(of.clone()),
        (Value::List(items) | Value::Tuple(items), "count") => {
            let [item] = given.bind(["value"])?;
            let item = item.ok_or("count() takes exactly one argument")?;
            Ok(Value::length(items.iter().filter(|known| known.equals(&item)).count()))
        }
        (Value::List(items) | Value::Tuple(items), "index") => {
            let [item, ..] = given.bind(["value", "start", "stop"])?;
            let item = item.ok_or("index expected at least 1 argument")?;
            let at = items.iter().position(|known| known.equals(&item));
            at.map(Value::length).ok_or_else(|| format!("{} is not in list", item.repr()))
        }
        (Value::Cycler(it), "next") => Ok(next_of(it)),
        (Value::Cycler(it), _) => {
            it.at.set(0);
            Ok(Value::None)
        }
        (Value::Loop(it), "cycle") => match given.places.len() {
            0 => Err("no items for cycling given".to_owned()),
            count => Ok(given.places[it.at.get() % count].clone()),
        },
        (Value::Loop(it), "changed") => {
            let mut last = it.changed.borrow_mut();
            let same = last.as_ref().is_some_and(|last| {
                last.len() == given.places.len()
                    && last.iter().zip(&given.places).all(|(one, other)| one.equals(other))
            });
            *last = Some(given.places);
            Ok(Value::Bool(!same))
        }
        _ => Err(format!("{:?} object has no method {name:?}", of.kind())),
    }
}

const FUNCTIONS: [&str; 8] =
    ["range", "dict", "namespace", "cycler", "joiner", "lipsum", "raise_exception", "strftime_now"];
const DICT_METHODS: [&str; 5] = ["copy", "get", "items", "keys", "values"];
/// The methods that change a dict.
const DICT_CHANGES: [&str; 5] = ["clear", "pop", "popitem", "setdefault", "update"];
const LIST_METHODS: [&str; 3] = ["copy", "count", "index"];
/// The methods that change a list.
const LIST_CHANGES: [&str; 8] = ["append", "clear", "extend", "insert", "pop", "remove", "reverse", "sort"];
/// The maximum length of a range, as in Jinja's sandbox.
const RANGE_MAX: usize = 100_000;
