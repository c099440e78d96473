//! The global functions, and the methods of lists, dicts and texts.
//!
//! Methods that would change a list or a dict are rejected, as in transformers' sandbox.

use super::budget::{Evaluation, Given};
use super::formatting::date;
use super::strings;
use super::value::{Cycler, Dict, Value};
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

/// Returns the next value of a cycler.
pub(super) fn next_of(it: &Cycler) -> Value {
    let at = it.at.get();
    it.at.set((at + 1) % it.values.len().max(1));
    it.values.get(at).cloned().unwrap_or(Value::None)
}

const FUNCTIONS: [&str; 8] =
    ["range", "dict", "namespace", "cycler", "joiner", "lipsum", "raise_exception", "strftime_now"];
/// The maximum length of a range, as in Jinja's sandbox.
const RANGE_MAX: usize = 100_000;
