//! Python's arithmetic on numbers, texts and lists.

use super::budget::Evaluation;
use super::formatting::percent;
use super::value::{Value, missing};

/// Applies a binary operator.
///
/// # Errors
/// Returns an error if Python does not support the operands, or if the result is too large.
pub(super) fn binary(
    it: &mut Evaluation,
    operator: &str,
    one: &Value,
    other: &Value,
) -> Result<Value, String> {
    match (operator, one, other) {
        (_, Value::Undefined(what), _) => return Err(missing(what)),
        ("%", Value::String(text), values) => {
            let text = percent(text, values)?;
            return it.made(text);
        }
        (_, _, Value::Undefined(what)) => return Err(missing(what)),
        ("+", Value::String(one), Value::String(other)) => {
            it.check_bytes(one.len() + other.len())?;
            return it.made(format!("{one}{other}"));
        }
        ("+", Value::List(one), Value::List(other)) => {
            let items = one.iter().chain(other.iter()).cloned().collect();
            return it.made_list(items);
        }
        ("+", Value::Tuple(one), Value::Tuple(other)) => {
            it.spend((one.len() + other.len()) / 4)?;
            return Ok(Value::tuple(one.iter().chain(other.iter()).cloned().collect()));
        }
        ("*", Value::String(_) | Value::List(_) | Value::Tuple(_), count) if count.integer().is_some() => {
            return repeated(it, one, count);
        }
        ("*", count, Value::String(_) | Value::List(_) | Value::Tuple(_)) if count.integer().is_some() => {
            return repeated(it, other, count);
        }
        _ => {}
    }
    let wrong =
        || format!("unsupported operand type(s) for {operator}: {:?} and {:?}", one.kind(), other.kind());
    if let (Some(a), Some(b)) = (one.integer(), other.integer()) {
        let large = || format!("{a} {operator} {b} is too large");
        let zero = || "division by zero".to_owned();
        let whole = match operator {
            "+" => a.checked_add(b).ok_or_else(large)?,
            "-" => a.checked_sub(b).ok_or_else(large)?,
            "*" => a.checked_mul(b).ok_or_else(large)?,
            "/" if b == 0 => return Err(zero()),
            "/" => return Ok(Value::Float(a as f64 / b as f64)),
            "//" | "%" if b == 0 => return Err(zero()),
            // Python rounds down, and a remainder has the sign of the divisor.
            "//" => a.checked_div_euclid(b).ok_or_else(large)? - i128::from(b < 0 && a.rem_euclid(b) != 0),
            "%" => {
                let rest = a.wrapping_rem_euclid(b);
                if b < 0 && rest != 0 { rest + b } else { rest }
            }
            "**" if b < 0 => return Ok(Value::Float((a as f64).powf(b as f64))),
            "**" => u32::try_from(b).ok().and_then(|b| a.checked_pow(b)).ok_or_else(large)?,
            _ => return Err(wrong()),
        };
        return Ok(Value::Integer(whole));
    }
    let (Some(a), Some(b)) = (one.number(), other.number()) else { return Err(wrong()) };
    Ok(Value::Float(match operator {
        "+" => a + b,
        "-" => a - b,
        "*" => a * b,
        "/" | "//" | "%" if b == 0.0 => return Err("float division by zero".to_owned()),
        "/" => a / b,
        "//" => (a / b).floor(),
        "%" => a - b * (a / b).floor(),
        "**" => a.powf(b),
        _ => return Err(wrong()),
    }))
}

/// Negates a number.
///
/// # Errors
/// Returns an error if the value is not a number.
pub(super) fn negative(of: &Value) -> Result<Value, String> {
    match (of, of.integer(), of.number()) {
        (Value::Undefined(what), ..) => Err(missing(what)),
        (_, Some(number), _) => Ok(Value::Integer(number.checked_neg().ok_or("a number that is too large")?)),
        (_, _, Some(number)) => Ok(Value::Float(-number)),
        _ => Err(format!("bad operand type for unary -: {:?}", of.kind())),
    }
}

fn repeated(it: &mut Evaluation, of: &Value, count: &Value) -> Result<Value, String> {
    let count = usize::try_from(count.integer().unwrap_or(0).max(0)).unwrap_or(usize::MAX);
    match of {
        Value::String(text) => {
            it.check_bytes(text.len().saturating_mul(count))?;
            it.made(text.repeat(count))
        }
        other => {
            let items = other.items()?;
            let total = items.len().saturating_mul(count);
            it.spend(total)?;
            let repeated: Vec<Value> = items.iter().cycle().take(total).cloned().collect();
            Ok(if matches!(other, Value::Tuple(_)) { Value::tuple(repeated) } else { Value::list(repeated) })
        }
    }
}
