//! Formats values: Python's `%` operator and `str.format`, padding, and dates.

use super::value::{BYTES_MAX, Dict, Value, float, missing, truncated};

/// Rejects a text that is too long.
pub(super) fn check(out: &str) -> Result<(), String> {
    if out.len() <= BYTES_MAX {
        Ok(())
    } else {
        Err(format!("a text would have more than {BYTES_MAX} bytes"))
    }
}

/// Formats values like Python's `%` operator.
///
/// # Errors
/// Returns an error if the values do not match the format.
pub(super) fn percent(format: &str, values: &Value) -> Result<String, String> {
    let one = [values.clone()];
    let (mut places, has_several) = match values {
        Value::Tuple(values) => (values.iter(), true),
        _ => (one.iter(), false),
    };
    let mut used_names = false;
    let mut out = String::new();
    let mut letters = format.chars().peekable();
    while let Some(letter) = letters.next() {
        check(&out)?;
        if letter != '%' {
            out.push(letter);
            continue;
        }
        let mut named = None;
        if letters.next_if_eq(&'(').is_some() {
            let name: String = letters.by_ref().take_while(|letter| *letter != ')').collect();
            let Value::Dict(dict) = values else { return Err("format requires a mapping".to_owned()) };
            named = Some(dict.text(&name).cloned().ok_or_else(|| format!("no key {name:?}"))?);
            used_names = true;
        }
        let mut spec = Spec { fill: ' ', ..Spec::default() };
        while let Some(flag) = letters.next_if(|letter| "-+ 0#".contains(*letter)) {
            match flag {
                '-' => spec.align = Some('<'),
                '0' => spec.zero = true,
                '#' => spec.alternate = true,
                '+' => spec.sign = Some('+'),
                sign => spec.sign = spec.sign.or(Some(sign)),
            }
        }
        let count = |letters: &mut std::iter::Peekable<std::str::Chars<'_>>,
                     places: &mut std::slice::Iter<'_, Value>| {
            if letters.next_if_eq(&'*').is_some() {
                return places.next().and_then(Value::integer).ok_or("* wants int");
            }
            Ok(digits(letters).and_then(|count| i128::try_from(count).ok()).unwrap_or(0))
        };
        let size = |count: i128| usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
        let width = count(&mut letters, &mut places)?;
        if width < 0 {
            spec.align = Some('<');
        }
        spec.width = size(width);
        if letters.next_if_eq(&'.').is_some() {
            spec.precision = Some(size(count(&mut letters, &mut places)?.max(0)));
        }
        while letters.next_if(|letter| "hlL".contains(*letter)).is_some() {}
        let Some(kind) = letters.next() else { return Err("incomplete format".to_owned()) };
        if kind == '%' {
            out.push('%');
            continue;
        }
        let value = match named {
            Some(value) => value,
            None => places.next().cloned().ok_or("not enough arguments for format string")?,
        };
        out.push_str(&spec.percent(kind, &value)?);
    }
    if places.next().is_some() && (has_several || !(used_names || matches!(values, Value::Dict(_)))) {
        return Err("not all arguments converted during string formatting".to_owned());
    }
    Ok(out)
}

fn digits(letters: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<usize> {
    let mut number = None;
    while let Some(digit) = letters.peek().and_then(|digit| digit.to_digit(10)) {
        letters.next();
        number = Some(number.unwrap_or(0_usize).saturating_mul(10).saturating_add(digit as usize));
    }
    number
}

/// The format of one value.
#[derive(Clone, Debug, Default)]
struct Spec {
    fill: char,
    align: Option<char>,
    sign: Option<char>,
    alternate: bool,
    zero: bool,
    width: usize,
    comma: Option<char>,
    precision: Option<usize>,
    kind: Option<char>,
}

impl Spec {
    fn percent(mut self, kind: char, value: &Value) -> Result<String, String> {
        if let Value::Undefined(what) = value
            && kind != 's'
            && kind != 'r'
        {
            return Err(missing(what));
        }
        let text = match kind {
            's' => value.text().to_string(),
            'r' | 'a' => value.repr(),
            'c' => match value {
                Value::String(text) if text.chars().count() == 1 => text.to_string(),
                other => {
                    let code = other.integer().and_then(|code| u32::try_from(code).ok());
                    code.and_then(char::from_u32).ok_or("%c requires int or char")?.to_string()
                }
            },
            'd' | 'i' | 'u' | 'x' | 'X' | 'o' => {
                let number = match value {
                    Value::Float(number) if "diu".contains(kind) => Value::Integer(truncated(*number)?),
                    other => other.clone(),
                };
                if number.integer().is_none() {
                    return Err(format!("%{kind} format: a number is required, not {}", value.kind()));
                }
                self.kind = Some(if "iu".contains(kind) { 'd' } else { kind });
                let width = self.width;
                self.align = self.align.or(Some('>'));
                return self.number(&number, width);
            }
            'e' | 'E' | 'f' | 'F' | 'g' | 'G' => {
                let number =
                    value.number().ok_or_else(|| format!("must be real number, not {}", value.kind()))?;
                self.kind = Some(kind);
                let width = self.width;
                self.align = self.align.or(Some('>'));
                return self.number(&Value::Float(number), width);
            }
            other => return Err(format!("unsupported format character {other:?}")),
        };
        let text: String = match self.precision {
            Some(precision) => text.chars().take(precision).collect(),
            None => text,
        };
        padded(&text, self.fill, self.align.unwrap_or('>'), self.width)
    }

    /// Formats a number with sign, digits and padding.
    fn number(&self, value: &Value, width: usize) -> Result<String, String> {
        let kind = self.kind;
        let (negative, mut digits) = match (value.integer(), kind) {
            (Some(number), None | Some('d' | 'x' | 'X' | 'o' | 'b' | 'n' | 'c')) => {
                let size = number.unsigned_abs();
                let digits = match kind {
                    Some('x') => format!("{}{size:x}", if self.alternate { "0x" } else { "" }),
                    Some('X') => format!("{}{size:X}", if self.alternate { "0X" } else { "" }),
                    Some('o') => format!("{}{size:o}", if self.alternate { "0o" } else { "" }),
                    Some('b') => format!("{}{size:b}", if self.alternate { "0b" } else { "" }),
                    _ => size.to_string(),
                };
                (number < 0, digits)
            }
            _ => {
                let number = value.number().ok_or_else(|| format!("no number: {}", value.kind()))?;
                let digits = decimal(number.abs(), kind, self.precision, self.alternate)?;
                (number.is_sign_negative() && !number.is_nan(), digits)
            }
        };
        if let Some(comma) = self.comma {
            digits = grouped(&digits, comma);
        }
        let sign = if negative {
            "-"
        } else {
            self.sign.map_or("", |sign| {
                if sign == '+' {
                    "+"
                } else if sign == ' ' {
                    " "
                } else {
                    ""
                }
            })
        };
        let left_aligned = self.align == Some('<');
        if self.zero && !left_aligned || self.align == Some('=') {
            let fill = if self.zero { '0' } else { self.fill };
            let missing = width.saturating_sub(sign.len() + digits.chars().count());
            return Ok(format!("{sign}{}{digits}", filling(fill, missing)?));
        }
        padded(&format!("{sign}{digits}"), self.fill, self.align.unwrap_or('>'), width)
    }
}

fn grouped(digits: &str, comma: char) -> String {
    let whole = digits.find(|digit: char| !digit.is_ascii_digit()).unwrap_or(digits.len());
    let mut out = String::new();
    for (at, digit) in digits[..whole].chars().enumerate() {
        if at > 0 && (whole - at).is_multiple_of(3) {
            out.push(comma);
        }
        out.push(digit);
    }
    out + &digits[whole..]
}

fn decimal(
    number: f64,
    kind: Option<char>,
    precision: Option<usize>,
    alternate: bool,
) -> Result<String, String> {
    if !number.is_finite() {
        return Ok(if number.is_nan() { "nan" } else { "inf" }.to_owned());
    }
    let precision_or = precision.unwrap_or(6);
    if precision_or > PRECISION_MAX {
        return Err(format!("precision {precision_or} is too large, at most {PRECISION_MAX} is accepted"));
    }
    let text = match kind {
        Some('f' | 'F') => format!("{number:.precision_or$}"),
        Some('%') => format!("{:.precision_or$}%", number * 100.0),
        Some('e' | 'E') => exponent(&format!("{number:.precision_or$e}")),
        Some('g' | 'G') | None => {
            if kind.is_none() && precision.is_none() {
                return Ok(float(number));
            }
            general(number, precision_or.max(1), kind.is_none(), alternate)
        }
        Some(other) => return Err(format!("unknown format code {other:?} for a number")),
    };
    Ok(if matches!(kind, Some('E' | 'G' | 'F')) { text.to_uppercase() } else { text })
}

fn general(number: f64, precision: usize, with_fraction: bool, alternate: bool) -> String {
    let scientific = format!("{number:.*e}", precision - 1);
    let power: i32 = scientific.split_once('e').and_then(|(_, power)| power.parse().ok()).unwrap_or(0);
    let limit = precision as i32 - i32::from(with_fraction);
    let trim = |text: &str| {
        if alternate || !text.contains('.') {
            return text.to_owned();
        }
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    if power < -4 || power >= limit {
        let (digits, power) = scientific.split_once('e').unwrap_or((&scientific, "0"));
        return exponent(&format!("{}e{power}", trim(digits)));
    }
    let text = trim(&format!("{number:.*}", usize::try_from(precision as i32 - 1 - power).unwrap_or(0)));
    if with_fraction && !text.contains('.') { text + ".0" } else { text }
}

/// Formats an exponent with its sign and at least two digits.
fn exponent(text: &str) -> String {
    let (digits, power) = text.split_once('e').unwrap_or((text, "0"));
    let power: i32 = power.parse().unwrap_or(0);
    format!("{digits}e{}{:02}", if power < 0 { '-' } else { '+' }, power.abs())
}

/// Pads a text to a width.
///
/// # Errors
/// Returns an error if the result is too long.
pub(super) fn padded(text: &str, fill: char, align: char, width: usize) -> Result<String, String> {
    let missing = width.saturating_sub(text.chars().count());
    let (before, after) = match align {
        '<' => (0, missing),
        '^' => (missing / 2, missing - missing / 2),
        _ => (missing, 0),
    };
    Ok(format!("{}{text}{}", filling(fill, before)?, filling(fill, after)?))
}

/// Repeats a character.
fn filling(fill: char, count: usize) -> Result<String, String> {
    if count > FILLING_MAX {
        return Err(format!(
            "a text would be padded by {count} characters, at most {FILLING_MAX} are accepted"
        ));
    }
    Ok(fill.to_string().repeat(count))
}

/// Formats values like Python's `str.format`. `get` returns a field or an item of a value.
///
/// # Errors
/// Returns an error if the values do not match the format.
pub(super) fn format(format: &str, places: &[Value], names: &Dict, get: Get<'_>) -> Result<String, String> {
    format_within(format, places, names, get, &mut 0, 1)
}

/// Formats a text whose specifications may contain fields, up to this depth.
fn format_within(
    format: &str,
    places: &[Value],
    names: &Dict,
    get: Get<'_>,
    next: &mut usize,
    levels: usize,
) -> Result<String, String> {
    let mut out = String::new();
    let mut letters = format.chars().peekable();
    while let Some(letter) = letters.next() {
        check(&out)?;
        match letter {
            '{' if letters.next_if_eq(&'{').is_some() => out.push('{'),
            '}' if letters.next_if_eq(&'}').is_some() => out.push('}'),
            '}' => return Err("single '}' encountered in format string".to_owned()),
            '{' => {
                let mut depth = 1;
                let mut field = String::new();
                loop {
                    let Some(letter) = letters.next() else {
                        return Err("expected '}' before end of string".to_owned());
                    };
                    depth += match letter {
                        '{' => 1,
                        '}' => -1,
                        _ => 0,
                    };
                    if depth == 0 {
                        break;
                    }
                    field.push(letter);
                }
                let (value, spec) = field_of(&field, places, names, get, next)?;
                let spec = match (spec.contains('{'), levels.checked_sub(1)) {
                    (false, _) => spec.to_owned(),
                    (true, Some(levels)) => format_within(spec, places, names, get, next, levels)?,
                    (true, None) => return Err("max string recursion exceeded".to_owned()),
                };
                out.push_str(&formatted(&value, &spec)?);
            }
            letter => out.push(letter),
        }
    }
    Ok(out)
}

/// Returns a field of a value by name, or an item.
type Get<'g> = &'g dyn Fn(&Value, &str, bool) -> Result<Value, String>;

/// Formats the value of a field.
fn field_of<'f>(
    field: &'f str,
    places: &[Value],
    names: &Dict,
    get: Get<'_>,
    next: &mut usize,
) -> Result<(Value, &'f str), String> {
    let (path, spec) = field.split_once(':').unwrap_or((field, ""));
    let (path, conversion) = path.split_once('!').unwrap_or((path, ""));
    let first_end = path.find(['.', '[']).unwrap_or(path.len());
    let (first, mut rest) = path.split_at(first_end);
    let place = if first.is_empty() {
        *next += 1;
        Some(*next - 1)
    } else {
        first.parse().ok()
    };
    let value = match place {
        Some(place) => places.get(place),
        None => names.text(first),
    };
    let mut value = value.cloned().ok_or_else(|| format!("nothing to put for {first:?}"))?;
    while !rest.is_empty() {
        if let Some(inner) = rest.strip_prefix('[') {
            let (item, after) = inner.split_once(']').ok_or("missing ']' in format string")?;
            (value, rest) = (get(&value, item, true)?, after);
        } else {
            let name = rest.strip_prefix('.').unwrap_or(rest);
            let end = name.find(['.', '[']).unwrap_or(name.len());
            (value, rest) = (get(&value, &name[..end], false)?, &name[end..]);
        }
    }
    let value = match conversion {
        "r" | "a" => Value::from(value.repr()),
        "s" => Value::String(value.text()),
        _ => value,
    };
    Ok((value, spec))
}

/// Formats a value by a format specification.
fn formatted(value: &Value, spec: &str) -> Result<String, String> {
    if spec.is_empty() {
        return Ok(value.text().to_string());
    }
    let letters: Vec<char> = spec.chars().collect();
    let is_align = |at: usize| letters.get(at).is_some_and(|letter| "<>=^".contains(*letter));
    let mut it = Spec { fill: ' ', ..Spec::default() };
    let mut at = 0;
    if is_align(1) {
        (it.fill, it.align, at) = (letters[0], Some(letters[1]), 2);
    } else if is_align(0) {
        (it.align, at) = (Some(letters[0]), 1);
    }
    let rest: String = letters[at..].iter().collect();
    let mut rest = rest.chars().peekable();
    it.sign = rest.next_if(|letter| "+- ".contains(*letter));
    it.alternate = rest.next_if_eq(&'#').is_some();
    if rest.next_if_eq(&'0').is_some() {
        it.zero = it.align.is_none();
    }
    it.width = digits(&mut rest).unwrap_or(0);
    it.comma = rest.next_if(|letter| ",_".contains(*letter));
    if rest.next_if_eq(&'.').is_some() {
        it.precision = digits(&mut rest);
    }
    it.kind = rest.next();
    let width = it.width;
    match value {
        Value::Bool(_) | Value::Integer(_) | Value::Float(_) if it.kind != Some('s') => {
            it.number(value, width)
        }
        other => {
            let text = other.text();
            let text: String = match it.precision {
                Some(precision) => text.chars().take(precision).collect(),
                None => text.to_string(),
            };
            padded(&text, it.fill, it.align.unwrap_or('<'), width)
        }
    }
}

/// Formats the fixed date of all conversations, so that a conversation gives the same prompt at any time.
pub(super) fn date(format: &str) -> String {
    let mut out = String::new();
    let mut letters = format.chars().peekable();
    while let Some(letter) = letters.next() {
        if letter != '%' {
            out.push(letter);
            continue;
        }
        let bare = letters.next_if(|letter| "-_".contains(*letter));
        let Some(code) = letters.next() else {
            out.push('%');
            break;
        };
        match (DATE.iter().find(|(known, _)| *known == code), bare) {
            (Some((_, text)), None) => out.push_str(text),
            (Some((_, text)), Some(_)) => {
                let short = text.trim_start_matches(['0', ' ']);
                out.push_str(if short.is_empty() { "0" } else { short });
            }
            (None, _) => {
                out.push('%');
                out.extend(bare);
                out.push(code);
            }
        }
    }
    out
}

/// The `strftime` codes of midnight on 1 January 2025, a Wednesday.
const DATE: [(char, &str); 33] = [
    ('%', "%"),
    ('A', "Wednesday"),
    ('B', "January"),
    ('C', "20"),
    ('D', "01/01/25"),
    ('F', "2025-01-01"),
    ('G', "2025"),
    ('H', "00"),
    ('I', "12"),
    ('M', "00"),
    ('R', "00:00"),
    ('S', "00"),
    ('T', "00:00:00"),
    ('U', "00"),
    ('V', "01"),
    ('W', "00"),
    ('X', "00:00:00"),
    ('Y', "2025"),
    ('Z', ""),
    ('a', "Wed"),
    ('b', "Jan"),
    ('c', "Wed Jan  1 00:00:00 2025"),
    ('d', "01"),
    ('e', " 1"),
    ('f', "000000"),
    ('h', "Jan"),
    ('j', "001"),
    ('m', "01"),
    ('p', "AM"),
    ('u', "3"),
    ('w', "3"),
    ('x', "01/01/25"),
    ('y', "25"),
];
/// The maximum padding at a side.
const FILLING_MAX: usize = 1 << 16;
/// The maximum number of digits after the point: beyond it all are zeros.
const PRECISION_MAX: usize = 1 << 12;
