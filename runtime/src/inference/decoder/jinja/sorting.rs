//! Filters that sort items, or find equal ones.

use super::access::field;
use super::budget::{Evaluation, Given};
use super::value::Value;
use std::cmp::Ordering;

/// The sort key: a field of the items, lowercased unless case matters.
fn key(item: &Value, attribute: Option<&Value>, with_case: bool) -> Result<Value, String> {
    let key = match attribute.filter(|attribute| !matches!(attribute, Value::None)) {
        Some(attribute) => field(item, attribute)?,
        None => item.clone(),
    };
    Ok(match &key {
        Value::String(text) if !with_case => text.to_lowercase().into(),
        _ => key,
    })
}

/// Sorts values by key, stably.
///
/// Accepts any comparison: Python's has no order for NaN, for which the standard library's sort may panic.
///
/// # Errors
/// Returns an error if two keys cannot be compared.
pub(super) fn sorted(mut items: Vec<(Value, Value)>, reverse: bool) -> Result<Vec<(Value, Value)>, String> {
    let comes_first = if reverse { Ordering::Greater } else { Ordering::Less };
    let mut len = 1;
    while len < items.len() {
        let mut merged = Vec::with_capacity(items.len());
        for pair in items.chunks(2 * len) {
            let (mut left, mut right) = pair.split_at(len.min(pair.len()));
            while let ([one, more @ ..], [other, others @ ..]) = (left, right) {
                if other.0.compare(&one.0)? == comes_first {
                    merged.push(other.clone());
                    right = others;
                } else {
                    merged.push(one.clone());
                    left = more;
                }
            }
            merged.extend_from_slice(left);
            merged.extend_from_slice(right);
        }
        items = merged;
        len *= 2;
    }
    Ok(items)
}

/// Applies a sorting filter.
///
/// # Errors
/// Returns an error if the filter does not accept the value or the arguments.
pub(super) fn filter(it: &mut Evaluation, name: &str, value: &Value, given: Given) -> Result<Value, String> {
    let is_true = |value: Option<Value>| value.is_some_and(|value| value.is_true());
    let items = value.items()?;
    it.spend(items.len() * 4)?;
    let keyed = |attribute: Option<&Value>, with_case: bool| -> Result<Vec<(Value, Value)>, String> {
        items.iter().map(|item| Ok((key(item, attribute, with_case)?, item.clone()))).collect()
    };
    match name {
        "dictsort" => {
            let [with_case, by, reverse] = given.bind(["case_sensitive", "by", "reverse"])?;
            let Value::Dict(dict) = value else { return Err("dictsort wants a dict".to_owned()) };
            let place = usize::from(by.is_some_and(|by| by.as_str() == Some("value")));
            let with_case = is_true(with_case);
            let pairs = dict.0.iter().map(|(key, value)| Value::pair(key.clone(), value.clone()));
            let pairs: Result<Vec<_>, String> =
                pairs.map(|pair| Ok((key(&pair, Some(&Value::length(place)), with_case)?, pair))).collect();
            Ok(Value::list(sorted(pairs?, is_true(reverse))?.into_iter().map(|(_, pair)| pair).collect()))
        }
        "groupby" => {
            let [attribute, default, with_case] = given.bind(["attribute", "default", "case_sensitive"])?;
            let with_case = is_true(with_case);
            let mut groups: Vec<(Value, Value, Vec<Value>)> = Vec::new();
            let mut all = keyed(attribute.as_ref(), with_case)?;
            for (key, _) in &mut all {
                if let (Value::Undefined(_), Some(default)) = (&*key, &default) {
                    *key = default.clone();
                }
            }
            for (key, item) in sorted(all, false)? {
                let shown = match &attribute {
                    Some(attribute) => field(&item, attribute)?,
                    None => item.clone(),
                };
                let shown = if matches!(shown, Value::Undefined(_)) { key.clone() } else { shown };
                match groups.last_mut().filter(|(known, ..)| known.equals(&key)) {
                    Some((.., items)) => items.push(item),
                    None => groups.push((key, shown, vec![item])),
                }
            }
            Ok(Value::list(
                groups.into_iter().map(|(_, key, items)| Value::pair(key, Value::list(items))).collect(),
            ))
        }
        "sort" => {
            let [reverse, with_case, attribute] = given.bind(["reverse", "case_sensitive", "attribute"])?;
            let several: Vec<Value> = match &attribute {
                Some(Value::String(names)) => names.split(',').map(Value::from).collect(),
                Some(other) => vec![other.clone()],
                None => Vec::new(),
            };
            let with_case = is_true(with_case);
            let mut keyed = keyed(None, with_case)?;
            if !several.is_empty() {
                for (of, item) in &mut keyed {
                    let keys: Result<Vec<_>, String> =
                        several.iter().map(|attribute| key(item, Some(attribute), with_case)).collect();
                    *of = Value::list(keys?);
                }
            }
            it.made_list(sorted(keyed, is_true(reverse))?.into_iter().map(|(_, item)| item).collect())
        }
        "unique" => {
            let [with_case, attribute] = given.bind(["case_sensitive", "attribute"])?;
            let mut seen: Vec<(Value, Value)> = Vec::new();
            for (key, item) in keyed(attribute.as_ref(), is_true(with_case))? {
                it.spend(1 + seen.len() / 16)?;
                if !seen.iter().any(|(known, _)| known.equals(&key)) {
                    seen.push((key, item));
                }
            }
            Ok(Value::list(seen.into_iter().map(|(_, item)| item).collect()))
        }
        _ => {
            let [with_case, attribute] = given.bind(["case_sensitive", "attribute"])?;
            let mut best: Option<(Value, Value)> = None;
            let wanted = if name == "max" { Ordering::Greater } else { Ordering::Less };
            for (key, item) in keyed(attribute.as_ref(), is_true(with_case))? {
                let is_better = match &best {
                    Some((known, _)) => key.compare(known)? == wanted,
                    None => true,
                };
                if is_better {
                    best = Some((key, item));
                }
            }
            let absent = || Value::undefined("No aggregated item, sequence was empty, it");
            Ok(best.map_or_else(absent, |(_, item)| item))
        }
    }
}
