//! Jinja's filters. `tojson` is transformers' own.

use super::access::{self, field};
use super::budget::{Evaluation, Given};
use super::checks;
use super::formatting::{padded, percent};
use super::json::Json;
use super::methods;
use super::numbers;
use super::sorting;
use super::strings::{capitalized, centered, joined, lines, replaced, stripped};
use super::value::{Dict, Value};

/// Applies a filter to a value.
///
/// # Errors
/// Returns an error if the filter does not exist, or does not accept the value or the arguments.
pub(super) fn filter(it: &mut Evaluation, name: &str, value: Value, given: Given) -> Result<Value, String> {
    it.spend(1 + value.len().unwrap_or(0) / 16)?;
    if WITHOUT_ARGUMENTS.contains(&name) {
        given.clone().bind([])?;
    }
    match name {
        "abs" | "float" | "int" | "round" | "sum" => numbers::filter(it, name, value, given),
        "batch" | "slice" => grouped(it, name, &value, given),
        "dictsort" | "groupby" | "max" | "min" | "sort" | "unique" => {
            sorting::filter(it, name, &value, given)
        }
        "map" | "reject" | "rejectattr" | "select" | "selectattr" => picked(it, name, &value, given),
        "tojson" => json(it, &value, given),
        name if TEXT_FILTERS.contains(&name) => {
            let text = it.shown(&value)?;
            of_text(it, name, &text, given)
        }
        _ => of_any(it, name, value, given),
    }
}

/// Filters that accept any value.
fn of_any(it: &mut Evaluation, name: &str, value: Value, given: Given) -> Result<Value, String> {
    match name {
        "attr" => {
            let [name] = given.bind(["name"])?;
            match (&value, name.ok_or("attr wants a name")?) {
                // Attributes only, not the items of a dict.
                (Value::Dict(_), name)
                    if access::attribute(&Value::dict(Dict::default()), &name.text())?.kind()
                        == "Undefined" =>
                {
                    Ok(Value::undefined(format!("attribute {}", name.repr())))
                }
                (value, name) => access::attribute(value, &name.text()),
            }
        }
        "count" | "length" => value.len().map(Value::length),
        "d" | "default" => {
            let [default, boolean] = given.bind(["default_value", "boolean"])?;
            let replace = matches!(value, Value::Undefined(_))
                || boolean.is_some_and(|boolean| boolean.is_true()) && !value.is_true();
            Ok(if replace { default.unwrap_or_else(|| "".into()) } else { value })
        }
        "first" => Ok(first_or(value.items()?.first(), "No first item, sequence was empty, it")),
        "items" => match &value {
            Value::Undefined(_) => Ok(Value::list(Vec::new())),
            Value::Dict(_) => methods::call(it, &value, "items", Given::default()),
            _ => Err("Can only get item pairs from a mapping.".to_owned()),
        },
        "join" => {
            let [between, attribute] = given.bind(["d", "attribute"])?;
            let mut items = value.items()?.to_vec();
            if let Some(attribute) = attribute {
                items = items.iter().map(|item| field(item, &attribute)).collect::<Result<_, _>>()?;
            }
            let between = between.map_or_else(|| "".into(), |between| between.text());
            joined(it, &between, &items, false)
        }
        "last" => Ok(first_or(value.items()?.last(), "No last item, sequence was empty, it")),
        "list" => {
            let items = value.items()?.to_vec();
            it.made_list(items)
        }
        "pprint" => it.made(value.repr()),
        "reverse" => match &value {
            Value::String(text) => it.made(text.chars().rev().collect()),
            other => {
                let items = other.items()?.iter().rev().cloned().collect();
                it.made_list(items)
            }
        },
        "safe" | "string" => it.shown(&value).map(Value::String),
        other => Err(format!("there is no filter named {other:?}")),
    }
}

fn first_or(item: Option<&Value>, absent: &'static str) -> Value {
    item.cloned().unwrap_or_else(|| Value::undefined(absent))
}

/// Filters that convert the value to a text first.
fn of_text(it: &mut Evaluation, name: &str, text: &str, given: Given) -> Result<Value, String> {
    match name {
        "capitalize" => it.made(capitalized(text)),
        "center" => {
            let [width] = given.bind(["width"])?;
            let width = width.map_or(Ok(80), |width| width.size())?;
            it.made(centered(text, ' ', width)?)
        }
        "e" | "escape" | "forceescape" => {
            let escaped = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
            it.made(escaped.replace('"', "&#34;").replace('\'', "&#39;"))
        }
        "format" => {
            let values = if given.names.is_empty() {
                Value::tuple(given.places)
            } else {
                Value::dict(Dict(given.names.into_iter().map(|(name, value)| (name.into(), value)).collect()))
            };
            let text = percent(text, &values)?;
            it.made(text)
        }
        "indent" => indented(it, text, given),
        "lower" => it.made(text.to_lowercase()),
        "replace" => {
            let [old, new, count] = given.bind(["old", "new", "count"])?;
            let text_of =
                |value: Option<Value>| value.ok_or("replace wants two texts").map(|value| value.text());
            let (old, new) = (text_of(old)?, text_of(new)?);
            replaced(it, text, &old, &new, count.as_ref())
        }
        "striptags" => it.made(without_tags(text)),
        "title" => it.made(titled(text)),
        "trim" => {
            let [chars] = given.bind(["chars"])?;
            let set = chars.filter(|chars| !matches!(chars, Value::None)).map(|chars| chars.text());
            Ok(stripped(text, set.as_deref(), true, true).into())
        }
        "truncate" => truncated(it, text, given),
        "upper" => it.made(text.to_uppercase()),
        "urlencode" => {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-~/".contains(&byte);
            let encode =
                |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
            it.made(text.bytes().map(encode).collect())
        }
        // The number of words.
        _ => {
            let words = text.split(|letter: char| letter != '_' && !letter.is_alphanumeric());
            Ok(Value::length(words.filter(|word| !word.is_empty()).count()))
        }
    }
}

fn indented(it: &mut Evaluation, text: &str, given: Given) -> Result<Value, String> {
    let [width, first, blank] = given.bind(["width", "first", "blank"])?;
    let indent = match width {
        Some(Value::String(indent)) => indent.to_string(),
        width => padded("", ' ', '>', width.map_or(Ok(4), |width| width.size())?)?,
    };
    let blank = blank.is_some_and(|blank| blank.is_true());
    let mut out = String::new();
    for (at, line) in lines(&format!("{text}\n"), false).iter().enumerate() {
        if at > 0 {
            out.push('\n');
            if blank || !line.is_empty() {
                out.push_str(&indent);
            }
        } else if first.as_ref().is_some_and(Value::is_true) {
            out.push_str(&indent);
        }
        out.push_str(line);
        it.check_bytes(out.len())?;
    }
    it.made(out)
}

fn without_tags(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('<') {
        let Some(len) = rest[at..].find('>') else { break };
        out.push_str(&rest[..at]);
        rest = &rest[at + len + 1..];
    }
    out.push_str(rest);
    out.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Returns a text in title case. Words begin after white space and some punctuation.
fn titled(text: &str) -> String {
    let is_mark = |letter: char| matches!(letter, '-' | '(' | '{' | '[' | '<') || letter.is_whitespace();
    let mut out = String::new();
    let mut begins = true;
    for letter in text.chars() {
        if is_mark(letter) {
            out.push(letter);
            begins = true;
        } else if begins {
            out.extend(letter.to_uppercase());
            begins = false;
        } else {
            out.extend(letter.to_lowercase());
        }
    }
    out
}

fn truncated(it: &mut Evaluation, text: &str, given: Given) -> Result<Value, String> {
    let [length, kill_words, end, leeway] = given.bind(["length", "killwords", "end", "leeway"])?;
    let end = end.map_or_else(|| "...".into(), |end| end.text());
    let length = length.map_or(Ok(255), |length| length.size())?;
    // `none` is the same as no argument.
    let leeway = leeway.filter(|leeway| !matches!(leeway, Value::None));
    if leeway.as_ref().and_then(Value::integer).is_some_and(|leeway| leeway < 0) {
        return Err("truncate wants a leeway that is not negative".to_owned());
    }
    let leeway = leeway.map_or(Ok(5), |leeway| leeway.size())?;
    let kept = length.checked_sub(end.chars().count());
    let kept = kept.ok_or_else(|| format!("truncate to {length} leaves no room for the end {end:?}"))?;
    let letters: Vec<char> = text.chars().collect();
    if letters.len() <= length.saturating_add(leeway) {
        return Ok(text.into());
    }
    let cut: String = letters[..kept].iter().collect();
    let whole_words = !kill_words.is_some_and(|kill| kill.is_true());
    let cut = if whole_words { cut.rsplit_once(' ').map_or(cut.as_str(), |(cut, _)| cut) } else { &cut };
    it.made(format!("{cut}{end}"))
}

fn json(it: &mut Evaluation, value: &Value, given: Given) -> Result<Value, String> {
    let [ascii, indent, separators, sorted] =
        given.bind(["ensure_ascii", "indent", "separators", "sort_keys"])?;
    let is_true = |value: Option<Value>| value.is_some_and(|value| value.is_true());
    let indent = match indent {
        None | Some(Value::None) => None,
        Some(Value::String(indent)) => Some(indent.to_string()),
        Some(other) => Some(padded("", ' ', '>', other.size()?)?),
    };
    let separators = match separators {
        None | Some(Value::None) => (if indent.is_some() { "," } else { ", " }.to_owned(), ": ".to_owned()),
        Some(pair) => match pair.items()?.as_slice() {
            [one, other] => (one.text().to_string(), other.text().to_string()),
            _ => return Err("separators are two texts".to_owned()),
        },
    };
    let json = Json { ascii: is_true(ascii), indent, separators, sorted: is_true(sorted) };
    let mut text = String::new();
    json.write(value, 0, &mut text)?;
    it.made(text)
}

fn grouped(it: &mut Evaluation, name: &str, value: &Value, given: Given) -> Result<Value, String> {
    let [count, fill] = given.bind(["count", "fill_with"])?;
    let count = count.ok_or_else(|| format!("{name} wants a number"))?.size()?;
    if count == 0 {
        return Err(format!("{name} wants a number above 0"));
    }
    let items = value.items()?;
    let fill = fill.filter(|fill| !matches!(fill, Value::None));
    if count > GROUPS_MAX && (name == "slice" || fill.is_some()) {
        return Err(format!("{name} of {count} is too large, at most {GROUPS_MAX} are accepted"));
    }
    it.spend(items.len().saturating_add(count.min(GROUPS_MAX)))?;
    let mut groups: Vec<Vec<Value>> = Vec::new();
    if name == "batch" {
        groups = items.chunks(count).map(<[Value]>::to_vec).collect();
        if let (Some(fill), Some(last)) = (fill, groups.last_mut()) {
            last.resize(count, fill);
        }
    } else {
        let (each, longer) = (items.len() / count, items.len() % count);
        let mut at = 0;
        for group in 0..count {
            let end = at + each + usize::from(group < longer);
            let mut items = items[at..end].to_vec();
            if group >= longer {
                items.extend(fill.clone());
            }
            groups.push(items);
            at = end;
        }
    }
    Ok(Value::list(groups.into_iter().map(Value::list).collect()))
}

fn picked(it: &mut Evaluation, name: &str, value: &Value, mut given: Given) -> Result<Value, String> {
    let items = value.items()?;
    let mut kept = Vec::new();
    if name == "map" {
        if given.places.is_empty() {
            let [attribute, default] = given.bind(["attribute", "default"])?;
            let attribute = attribute.ok_or("map requires a filter argument")?;
            for item in items.iter() {
                it.spend(1)?;
                let found = field(item, &attribute)?;
                let absent = matches!(found, Value::Undefined(_));
                kept.push(default.clone().filter(|_| absent).unwrap_or(found));
            }
            return it.made_list(kept);
        }
        let of = given.places.remove(0).text();
        for item in items.iter() {
            kept.push(filter(it, &of, item.clone(), given.clone())?);
        }
        return it.made_list(kept);
    }
    let attribute = match name {
        "selectattr" | "rejectattr" if given.places.is_empty() => {
            return Err(format!("{name} wants an attribute"));
        }
        "selectattr" | "rejectattr" => Some(given.places.remove(0)),
        _ => None,
    };
    let test = (!given.places.is_empty()).then(|| given.places.remove(0).text());
    for item in items.iter() {
        it.spend(1)?;
        let looked_at = match &attribute {
            Some(attribute) => field(item, attribute)?,
            None => item.clone(),
        };
        let passes = match &test {
            Some(test) => checks::check(test, &looked_at, given.clone())?,
            None => looked_at.is_true(),
        };
        if passes == name.starts_with("select") {
            kept.push(item.clone());
        }
    }
    it.made_list(kept)
}

/// Filters without arguments.
const WITHOUT_ARGUMENTS: [&str; 20] = [
    "abs",
    "capitalize",
    "count",
    "e",
    "escape",
    "first",
    "forceescape",
    "items",
    "last",
    "length",
    "list",
    "lower",
    "reverse",
    "safe",
    "string",
    "striptags",
    "title",
    "upper",
    "urlencode",
    "wordcount",
];
/// Filters of texts.
const TEXT_FILTERS: [&str; 16] = [
    "capitalize",
    "center",
    "e",
    "escape",
    "forceescape",
    "format",
    "indent",
    "lower",
    "replace",
    "striptags",
    "title",
    "trim",
    "truncate",
    "upper",
    "urlencode",
    "wordcount",
];
/// The maximum number of groups, and of items in a padded group.
const GROUPS_MAX: usize = 100_000;
