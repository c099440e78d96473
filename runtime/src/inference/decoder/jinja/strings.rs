//! Python's string methods.

use super::access;
use super::budget::{Evaluation, Given};
use super::checks::has_case;
use super::formatting::{format, padded};
use super::lexer::is_space;
use super::value::{Dict, Value};

/// Calls a method of a text.
///
/// # Errors
/// Returns an error if the method does not exist, or if the arguments do not match.
pub(super) fn call(it: &mut Evaluation, text: &str, name: &str, given: Given) -> Result<Value, String> {
    if name.starts_with("is")
        || ["capitalize", "casefold", "lower", "swapcase", "title", "upper"].contains(&name)
    {
        given.clone().bind([])?;
    }
    let letters = |yes: fn(char) -> bool| Ok(Value::Bool(!text.is_empty() && text.chars().all(yes)));
    match name {
        "upper" => it.made(text.to_uppercase()),
        "lower" | "casefold" => it.made(text.to_lowercase()),
        "capitalize" => it.made(capitalized(text)),
        "title" => it.made(titled(text)),
        "swapcase" => {
            let swapped = text.chars().map(|letter| {
                if letter.is_uppercase() {
                    letter.to_lowercase().to_string()
                } else {
                    letter.to_uppercase().to_string()
                }
            });
            it.made(swapped.collect())
        }
        "isalpha" => letters(char::is_alphabetic),
        "isalnum" => letters(char::is_alphanumeric),
        "isdigit" | "isdecimal" => letters(|letter| letter.is_ascii_digit() || is_other_digit(letter)),
        "isnumeric" => letters(char::is_numeric),
        "isspace" => letters(is_space),
        "isascii" => Ok(Value::Bool(text.is_ascii())),
        "isidentifier" => {
            let plain = text.chars().all(|letter| letter == '_' || letter.is_alphanumeric());
            Ok(Value::Bool(plain && text.chars().next().is_some_and(|first| !first.is_numeric())))
        }
        "isprintable" => Ok(Value::Bool(!text.chars().any(char::is_control))),
        "islower" => Ok(Value::Bool(has_case(text, char::is_lowercase, char::is_uppercase))),
        "isupper" => Ok(Value::Bool(has_case(text, char::is_uppercase, char::is_lowercase))),
        "istitle" => Ok(Value::Bool(!text.is_empty() && titled(text) == text)),
        "strip" | "lstrip" | "rstrip" => {
            let [chars] = given.bind(["chars"])?;
            let set = chars
                .filter(|chars| !matches!(chars, Value::None))
                .map(|chars| wanted(&chars))
                .transpose()?;
            Ok(stripped(text, set.as_deref(), name != "rstrip", name != "lstrip").into())
        }
        "removeprefix" | "removesuffix" => {
            let [affix] = given.bind(["affix"])?;
            let affix = wanted(&affix.unwrap_or(Value::None))?;
            let rest =
                if name == "removeprefix" { text.strip_prefix(&affix) } else { text.strip_suffix(&affix) };
            Ok(rest.unwrap_or(text).into())
        }
        "startswith" | "endswith" => with_affix(text, name == "startswith", given),
        "find" | "index" | "rfind" | "rindex" | "count" => found(text, name, given),
        "replace" => {
            let [old, new, count] = given.bind(["old", "new", "count"])?;
            let (old, new) = (wanted(&old.unwrap_or(Value::None))?, wanted(&new.unwrap_or(Value::None))?);
            replaced(it, text, &old, &new, count.as_ref())
        }
        "split" | "rsplit" => {
            let [separator, most] = given.bind(["sep", "maxsplit"])?;
            let parts = split(text, separator.as_ref(), most.as_ref(), name == "rsplit")?;
            it.made_list(parts.into_iter().map(Value::from).collect())
        }
        "splitlines" => {
            let [keep] = given.bind(["keepends"])?;
            let lines = lines(text, keep.is_some_and(|keep| keep.is_true()));
            it.made_list(lines.into_iter().map(Value::from).collect())
        }
        "partition" | "rpartition" => {
            let [separator] = given.bind(["sep"])?;
            let separator = wanted(&separator.unwrap_or(Value::None))?;
            if separator.is_empty() {
                return Err("empty separator".to_owned());
            }
            let at = if name == "partition" { text.find(&separator) } else { text.rfind(&separator) };
            let parts = match at {
                Some(at) => [&text[..at], &separator, &text[at + separator.len()..]],
                None if name == "partition" => [text, "", ""],
                None => ["", "", text],
            };
            Ok(Value::tuple(parts.into_iter().map(Value::from).collect()))
        }
        "join" => {
            let [items] = given.bind(["iterable"])?;
            let items = items.ok_or("join() takes exactly one argument")?.items()?;
            joined(it, text, &items, true)
        }
        "center" | "ljust" | "rjust" => {
            let [width, fill] = given.bind(["width", "fillchar"])?;
            let width = width.ok_or("a width is wanted")?.size()?;
            let fill = fill.and_then(|fill| fill.text().chars().next()).unwrap_or(' ');
            it.made(match name {
                "ljust" => padded(text, fill, '<', width)?,
                "rjust" => padded(text, fill, '>', width)?,
                _ => centered(text, fill, width)?,
            })
        }
        "zfill" => {
            let [width] = given.bind(["width"])?;
            let width = width.ok_or("a width is wanted")?.size()?;
            let (sign, digits) = match text.strip_prefix(['+', '-']) {
                Some(digits) => (&text[..1], digits),
                None => ("", text),
            };
            let digits = padded(digits, '0', '>', width.saturating_sub(sign.len()))?;
            it.made(format!("{sign}{digits}"))
        }
        "expandtabs" => {
            let [size] = given.bind(["tabsize"])?;
            let size = size.map_or(Ok(8), |size| size.size())?;
            it.check_bytes(text.matches('\t').count().saturating_mul(size).saturating_add(text.len()))?;
            it.made(expanded(text, size))
        }
        "format" | "format_map" => {
            let mut names = Dict(given.names.into_iter().map(|(name, value)| (name.into(), value)).collect());
            if let (true, Some(Value::Dict(dict))) = (name == "format_map", given.places.first()) {
                names = Dict::clone(dict);
            }
            let get = |of: &Value, name: &str, is_item: bool| match (is_item, name.parse::<i128>()) {
                (true, Ok(at)) => access::item(of, &Value::Integer(at)),
                (true, Err(_)) => access::item(of, &name.into()),
                (false, _) => access::attribute(of, name),
            };
            let text = format(text, &given.places, &names, &get)?;
            it.made(text)
        }
        _ => Err(format!("a text has no method {name:?} here")),
    }
}

/// Digits of other scripts.
fn is_other_digit(letter: char) -> bool {
    matches!(letter, '²' | '³' | '¹' | '⁰' | '⁴'..='⁹' | '₀'..='₉' | '٠'..='٩' | '۰'..='۹' | '०'..='९' | '০'..='৯' | '０'..='９')
}

fn wanted(value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text.to_string()),
        other => Err(format!("a text is wanted, not {}", other.kind())),
    }
}

/// Capitalises a text.
pub(super) fn capitalized(text: &str) -> String {
    let mut letters = text.chars();
    letters
        .next()
        .map_or_else(String::new, |first| first.to_uppercase().to_string() + &letters.as_str().to_lowercase())
}

fn titled(text: &str) -> String {
    let mut after_letter = false;
    let mut out = String::new();
    for letter in text.chars() {
        if after_letter {
            out.extend(letter.to_lowercase());
        } else {
            out.extend(letter.to_uppercase());
        }
        after_letter = letter.is_alphabetic();
    }
    out
}

/// Strips these characters from the ends of a text, or white space if there are none.
pub(super) fn stripped<'t>(text: &'t str, set: Option<&str>, start: bool, end: bool) -> &'t str {
    let goes = |letter: char| set.map_or_else(|| is_space(letter), |set| set.contains(letter));
    let text = if start { text.trim_start_matches(goes) } else { text };
    if end { text.trim_end_matches(goes) } else { text }
}

/// Centers a text in a width like Python.
///
/// # Errors
/// Returns an error if the result is too long.
pub(super) fn centered(text: &str, fill: char, width: usize) -> Result<String, String> {
    let missing = width.saturating_sub(text.chars().count());
    // If the padding is odd, the parity of the width decides the side.
    let before = missing / 2 + (missing & width & 1);
    let left = padded(text, fill, '>', width.saturating_sub(missing - before))?;
    padded(&left, fill, '<', width)
}

/// Returns the byte position of a character by index; a negative index counts from the end.
fn place(text: &str, at: Option<&Value>, default: usize) -> usize {
    let Some(at) = at.and_then(Value::integer) else { return default };
    let count = text.chars().count() as i128;
    let at = usize::try_from(if at < 0 { (at + count).max(0) } else { at }).unwrap_or(usize::MAX);
    text.char_indices().nth(at).map_or(text.len(), |(at, _)| at)
}

fn with_affix(text: &str, at_start: bool, given: Given) -> Result<Value, String> {
    let [affix, start, end] = given.bind(["affix", "start", "end"])?;
    let affixes = match affix {
        Some(Value::Tuple(several)) => several.iter().map(wanted).collect::<Result<Vec<_>, _>>()?,
        other => vec![wanted(&other.unwrap_or(Value::None))?],
    };
    let (start, end) = (place(text, start.as_ref(), 0), place(text, end.as_ref(), text.len()));
    let text = text.get(start..end).unwrap_or_default();
    let has = |affix: &String| if at_start { text.starts_with(affix) } else { text.ends_with(affix) };
    Ok(Value::Bool(affixes.iter().any(has)))
}

fn found(text: &str, name: &str, given: Given) -> Result<Value, String> {
    let [sub, start, end] = given.bind(["sub", "start", "end"])?;
    let sub = wanted(&sub.unwrap_or(Value::None))?;
    let (start, end) = (place(text, start.as_ref(), 0), place(text, end.as_ref(), text.len()));
    let part = text.get(start..end).unwrap_or_default();
    if name == "count" {
        let count = if sub.is_empty() { part.chars().count() + 1 } else { part.matches(&sub).count() };
        return Ok(Value::length(count));
    }
    let at = if name.starts_with('r') { part.rfind(&sub) } else { part.find(&sub) };
    match at {
        Some(at) => Ok(Value::length(text[..start + at].chars().count())),
        None if name.ends_with("find") => Ok(Value::Integer(-1)),
        None => Err("substring not found".to_owned()),
    }
}

/// Replaces a text in another, at most this many times.
pub(super) fn replaced(
    it: &mut Evaluation,
    text: &str,
    old: &str,
    new: &str,
    count: Option<&Value>,
) -> Result<Value, String> {
    let count = count.and_then(Value::integer).filter(|count| *count >= 0);
    let count = count.map_or(usize::MAX, |count| usize::try_from(count).unwrap_or(usize::MAX));
    let times = if old.is_empty() { text.chars().count() + 1 } else { text.matches(old).count() };
    let times = times.min(count);
    it.check_bytes(text.len().saturating_add(times.saturating_mul(new.len())))?;
    it.made(text.replacen(old, new, times))
}

/// Splits a text at separators, or at white space.
fn split(
    text: &str,
    separator: Option<&Value>,
    most: Option<&Value>,
    from_end: bool,
) -> Result<Vec<String>, String> {
    let most =
        most.and_then(Value::integer).and_then(|most| usize::try_from(most).ok()).unwrap_or(usize::MAX);
    let separator =
        separator.filter(|separator| !matches!(separator, Value::None)).map(wanted).transpose()?;
    let limit = most.saturating_add(1);
    if let Some(separator) = separator {
        if separator.is_empty() {
            return Err("empty separator".to_owned());
        }
        return Ok(if from_end {
            let mut parts: Vec<String> = text.rsplitn(limit, &*separator).map(str::to_owned).collect();
            parts.reverse();
            parts
        } else {
            text.splitn(limit, &*separator).map(str::to_owned).collect()
        });
    }
    let mut parts = Vec::new();
    let mut rest = stripped(text, None, true, true);
    if from_end {
        while parts.len() < most
            && let Some(at) = rest.rfind(is_space)
        {
            let width = rest[at..].chars().next().map_or(1, char::len_utf8);
            parts.push(rest[at + width..].to_owned());
            rest = rest[..at].trim_end_matches(is_space);
        }
    } else {
        while parts.len() < most
            && let Some(at) = rest.find(is_space)
        {
            parts.push(rest[..at].to_owned());
            rest = rest[at..].trim_start_matches(is_space);
        }
    }
    // The rest keeps its white space at the other side.
    let kept = if parts.len() < most {
        rest
    } else if from_end {
        let start = text.trim_end_matches(is_space);
        start.get(..rest.len() + (start.len() - start.trim_start_matches(is_space).len())).unwrap_or(rest)
    } else {
        let end = text.trim_start_matches(is_space);
        &end[end.len() - (rest.len() + (end.len() - end.trim_end_matches(is_space).len()))..]
    };
    if !rest.is_empty() {
        parts.push(kept.to_owned());
    }
    if from_end {
        parts.reverse();
    }
    Ok(parts)
}

/// Splits a text into lines.
pub(super) fn lines(text: &str, keep_ends: bool) -> Vec<String> {
    let mut lines = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let is_end = |letter: char| {
            matches!(
                letter,
                '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{1c}'..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}'
            )
        };
        let Some(at) = rest.find(is_end) else {
            lines.push(rest.to_owned());
            break;
        };
        let width = if rest[at..].starts_with("\r\n") {
            2
        } else {
            rest[at..].chars().next().map_or(1, char::len_utf8)
        };
        lines.push(rest[..if keep_ends { at + width } else { at }].to_owned());
        rest = &rest[at + width..];
    }
    lines
}

/// Joins values with a separator. With `strict`, each must be a text.
pub(super) fn joined(
    it: &mut Evaluation,
    between: &str,
    items: &[Value],
    strict: bool,
) -> Result<Value, String> {
    let mut text = String::new();
    for (at, item) in items.iter().enumerate() {
        if strict && item.as_str().is_none() {
            return Err(format!("sequence item {at}: expected str instance, {} found", item.kind()));
        }
        if at > 0 {
            text.push_str(between);
        }
        text.push_str(&item.text());
        it.check_bytes(text.len())?;
    }
    it.spend(items.len())?;
    it.made(text)
}

fn expanded(text: &str, size: usize) -> String {
    let mut column = 0;
    let mut out = String::new();
    for letter in text.chars() {
        match letter {
            '\t' if size > 0 => {
                let count = size - column % size;
                out.push_str(&" ".repeat(count));
                column += count;
            }
            '\t' => {}
            letter => {
                out.push(letter);
                column = if matches!(letter, '\n' | '\r') { 0 } else { column + 1 };
            }
        }
    }
    out
}
