//! Filters that make a number.

use super::arithmetic;
use super::evaluation::{Evaluation, Given};
use super::filters::field;
use super::value::{Value, missing};

/// Puts a value through a filter for numbers.
///
/// # Errors
/// Where it does not take the value or the arguments.
pub(super) fn filter(it: &mut Evaluation, name: &str, value: Value, given: Given) -> Result<Value, String> {
    if let (Value::Undefined(what), "abs" | "float" | "int" | "round") = (&value, name) {
        return Err(missing(what));
    }
    match name {
        "abs" => match (value.integer(), value.number()) {
            (Some(number), _) => Ok(Value::Integer(number.saturating_abs())),
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
                Value::Float(number) if number.is_finite() => Some(number.trunc() as i128),
                Value::String(text) => whole(text.trim(), base),
                other => other.integer(),
            };
            Ok(number.map(Value::Integer).or(default).unwrap_or(Value::Integer(0)))
        }
        "round" => {
            let [precision, method] = given.bind(["precision", "method"])?;
            let precision =
                precision.and_then(|precision| i32::try_from(precision.integer()?).ok()).unwrap_or(0);
            let method = method.map(|method| method.text());
            if let (Some(whole), None | Some("common")) = (value.integer(), method.as_deref()) {
                // A whole number stays one.
                let scale = 10_i128.pow(precision.min(0).unsigned_abs().min(30));
                return Ok(Value::Integer(rounded(whole, scale)));
            }
            let number = value.number().ok_or_else(|| format!("{} is no number", value.kind()))?;
            let scale = 10_f64.powi(precision);
            Ok(Value::Float(match method.as_deref() {
                Some("ceil") => (number * scale).ceil() / scale,
                Some("floor") => (number * scale).floor() / scale,
                _ if precision > 0 => format!("{number:.*}", precision as usize).parse().unwrap_or(number),
                _ => (number * scale).round_ties_even() / scale,
            }))
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

/// A whole number as the nearest multiple of another, an even one where two are as near.
const fn rounded(number: i128, scale: i128) -> i128 {
    let (times, rest) = (number.div_euclid(scale), number.rem_euclid(scale));
    let up = rest * 2 > scale || rest * 2 == scale && times % 2 != 0;
    (times + up as i128) * scale
}

/// A whole number in a text, with a fraction cut off.
fn whole(text: &str, base: u32) -> Option<i128> {
    let plain = text.replace('_', "");
    let lower = plain.to_lowercase();
    let digits = match base {
        16 => lower.strip_prefix("0x"),
        8 => lower.strip_prefix("0o"),
        2 => lower.strip_prefix("0b"),
        _ => None,
    };
    let number = i128::from_str_radix(digits.unwrap_or(&lower), base.clamp(2, 36)).ok();
    number.or_else(|| {
        plain.parse::<f64>().ok().filter(|number| number.is_finite()).map(|number| number.trunc() as i128)
    })
}
