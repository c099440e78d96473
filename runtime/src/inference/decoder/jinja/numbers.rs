//! Filters that return a number.

use super::access::field;
use super::arithmetic;
use super::budget::{Evaluation, Given};
use super::value::{Value, missing, too_large, truncated};

/// Applies a numeric filter.
///
/// # Errors
/// Returns an error if the filter does not accept the value or the arguments.
pub(super) fn filter(it: &mut Evaluation, name: &str, value: Value, given: Given) -> Result<Value, String> {
    if let (Value::Undefined(what), "abs" | "float" | "int" | "round") = (&value, name) {
        return Err(missing(what));
    }
    match name {
        "abs" => match (value.integer(), value.number()) {
            (Some(number), _) => number.checked_abs().map(Value::Integer).ok_or_else(|| too_large(number)),
            (_, Some(number)) => Ok(Value::Float(number.abs())),
            _ => Err(format!("bad operand type for abs(): {:?}", value.kind())),
        },
        "float" => {
            let [default] = given.bind(["default"])?;
            let text = value.as_str().map(|text| text.trim().replace('_', ""));
            let number = value.number().or_else(|| text?.parse().ok());
            Ok(number.map(Value::Float).or(default).unwrap_or(Value::Float(0.0)))
        }
        "int" => {
            let [default, base] = given.bind(["default", "base"])?;
            let base = base.and_then(|base| u32::try_from(base.integer()?).ok()).unwrap_or(10);
            let number = match &value {
                Value::Float(number) if number.is_finite() => Some(truncated(*number)?),
                Value::String(text) => whole(text.trim(), base)?,
                other => other.integer(),
            };
            Ok(number.map(Value::Integer).or(default).unwrap_or(Value::Integer(0)))
        }
        "round" => {
            let [precision, method] = given.bind(["precision", "method"])?;
            let precision = precision.map_or(Some(0), |precision| precision.integer());
            let precision = precision.ok_or("round wants a whole number of digits")?;
            round(&value, precision, method.map(|method| method.text()).as_deref().unwrap_or("common"))
        }
        _ => {
            let [attribute, start] = given.bind(["attribute", "start"])?;
            let mut sum = start.unwrap_or(Value::Integer(0));
            for item in value.items()?.iter() {
                let item = match &attribute {
                    Some(attribute) if !matches!(attribute, Value::None) => field(item, attribute)?,
                    _ => item.clone(),
                };
                it.spend(1)?;
                sum = arithmetic::binary(it, "+", &sum, &item)?;
            }
            Ok(sum)
        }
    }
}

/// Rounds a number to this many digits; negative digits are before the point.
fn round(value: &Value, precision: i128, method: &str) -> Result<Value, String> {
    if let (Some(whole), "common") = (value.integer(), method) {
        // An integer stays an integer.
        let zeros = u32::try_from(precision.min(0).unsigned_abs()).unwrap_or(u32::MAX);
        // Half of a larger power of ten exceeds any number.
        let Some(scale) = 10_i128.checked_pow(zeros) else { return Ok(Value::Integer(0)) };
        return rounded(whole, scale).map(Value::Integer).ok_or_else(|| too_large(whole));
    }
    let number = value.number().ok_or_else(|| format!("{} is no number", value.kind()))?;
    let scale = 10_f64.powi(precision.clamp(-DIGITS_MAX, DIGITS_MAX) as i32);
    let scaled = number * scale;
    let wrong = || format!("{number} cannot be rounded to {precision} digits by {method}");
    let parts = |scaled: f64| {
        let whole = scaled / scale;
        if scale > 0.0 && scaled.is_finite() && whole.is_finite() { Ok(whole) } else { Err(wrong()) }
    };
    Ok(Value::Float(match method {
        "ceil" => parts(scaled.ceil())?,
        "floor" => parts(scaled.floor())?,
        "common" if precision > FRACTION_DIGITS_MAX || !number.is_finite() => number,
        "common" if precision > 0 => format!("{number:.*}", precision as usize).parse().unwrap_or(number),
        "common" if precision < -WHOLE_DIGITS_MAX => 0.0 * number,
        "common" => parts(scaled.round_ties_even())?,
        other => return Err(format!("round wants common, ceil or floor, not {other:?}")),
    }))
}

/// Rounds an integer to a multiple of another, half to even.
const fn rounded(number: i128, scale: i128) -> Option<i128> {
    let (times, rest) = (number.div_euclid(scale), number.rem_euclid(scale));
    let left = scale - rest;
    let up = rest > left || rest == left && times % 2 != 0;
    (times + up as i128).checked_mul(scale)
}

/// Parses an integer from a text, and truncates a fraction.
fn whole(text: &str, base: u32) -> Result<Option<i128>, String> {
    let plain = text.replace('_', "");
    let lower = plain.to_lowercase();
    let digits = match base {
        16 => lower.strip_prefix("0x"),
        8 => lower.strip_prefix("0o"),
        2 => lower.strip_prefix("0b"),
        _ => None,
    };
    let number = i128::from_str_radix(digits.unwrap_or(&lower), base.clamp(2, 36));
    if let Ok(number) = number {
        return Ok(Some(number));
    }
    plain.parse::<f64>().ok().filter(|number| number.is_finite()).map(truncated).transpose()
}

/// The maximum distance of a digit from the point.
const DIGITS_MAX: i128 = 1000;
/// Beyond this many digits after the point, Python does not round.
const FRACTION_DIGITS_MAX: i128 = 323;
/// Beyond this many digits before the point, Python rounds to zero.
const WHOLE_DIGITS_MAX: i128 = 308;
