//! Pools the hidden states of a text's tokens to one vector, as the model's files specify.

use crate::inference::files::json_fields::{self, FieldError, Object};
use serde_json::Value;

/// The pooling of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pooling {
    /// One or more modes; their vectors are concatenated.
    pub(crate) modes: Vec<Mode>,
    /// Whether the tokens of the prompt are pooled.
    pub(crate) prompt: bool,
}

/// A pooling mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// The first token, which is the special one.
    Cls,
    /// The last token.
    LastToken,
    /// The maximum of each component.
    Max,
    /// The mean over all tokens.
    Mean,
    /// The sum over all tokens, divided by the square root of their number.
    MeanSqrtLength,
    /// The mean over all tokens, weighted by position.
    WeightedMean,
}

impl Pooling {
    /// Returns mean pooling, which is the default.
    pub(crate) fn mean() -> Self {
        Self { modes: vec![Mode::Mean], prompt: true }
    }

    /// Parses the configuration of a pooling module.
    ///
    /// # Errors
    /// Returns a description of the unsupported setting.
    pub(crate) fn parse(json: &[u8]) -> Result<Self, String> {
        let config = json_fields::parse(json)?;
        Self::from_fields(&config).map_err(|error| error.to_string())
    }

    fn from_fields(config: &Object) -> Result<Self, FieldError> {
        json_fields::check_known(config, &OTHERS, &FLAGS)?;
        for (flag, _) in FLAGS {
            json_fields::flag(config, flag)?;
        }
        let modes = match config.get(MODE) {
            None => flagged(config)?,
            Some(Value::String(_)) => vec![json_fields::text(config, MODE)?.or("")],
            Some(_) => json_fields::texts(config, MODE)?.or(Vec::new()),
        };
        let modes: Option<Vec<Mode>> = modes.into_iter().map(Mode::parse).collect();
        let prompt = json_fields::flag(config, "include_prompt")?.or_null(true, false);
        match modes {
            Some(modes) if (1..=MODES.len()).contains(&modes.len()) => Ok(Self { modes, prompt }),
            Some(_) | None => {
                let names: Vec<&str> = MODES.iter().map(|(name, _)| *name).collect();
                let expected = format!("expected one or more of {}", names.join(", "));
                Err(FieldError::new(MODE, config.get(MODE).unwrap_or(&Value::Null), &expected))
            }
        }
    }

    /// Returns the length of the vector for this hidden size.
    pub(crate) fn width(&self, hidden: usize) -> usize {
        self.modes.len() * hidden
    }

    /// Pools hidden states of `width` numbers each. The first `skipped` tokens belong to a prompt that is not pooled.
    pub(crate) fn pool(
        &self,
        rows: &mut dyn Iterator<Item = &[f32]>,
        width: usize,
        skipped: usize,
    ) -> Vec<f32> {
        match self.modes.as_slice() {
            [mode] if skipped == 0 => mode.pool(rows, width, 0),
            modes => {
                let mut first = Vec::new();
                let mut rest: Vec<f32> = Vec::new();
                for (at, row) in rows.enumerate() {
                    if at == 0 {
                        first = row.to_vec();
                    }
                    if at >= skipped {
                        rest.extend_from_slice(row);
                    }
                }
                let one = |mode: &Mode| {
                    // A text that is truncated to its prompt keeps its first token, as in the library.
                    if rest.is_empty() && matches!(mode, Mode::Cls) {
                        return first.clone();
                    }
                    mode.pool(&mut rest.chunks_exact(width), width, skipped)
                };
                modes.iter().flat_map(one).collect()
            }
        }
    }
}

impl Mode {
    fn parse(name: &str) -> Option<Self> {
        MODES.iter().find(|(known, _)| *known == name).map(|(_, mode)| *mode)
    }

    /// Returns the name of the mode in the library.
    pub(crate) fn name(self) -> &'static str {
        MODES.iter().find(|(_, mode)| *mode == self).map_or("", |(name, _)| *name)
    }

    fn pool(self, rows: &mut dyn Iterator<Item = &[f32]>, width: usize, skipped: usize) -> Vec<f32> {
        let Some(first) = rows.next() else { return vec![0.0; width] };
        let mut vector = first.to_vec();
        match self {
            Self::Cls => {}
            Self::LastToken => {
                if let Some(last) = rows.last() {
                    vector = last.to_vec();
                }
            }
            Self::Max => drop(fold(&mut vector, rows, |_, largest, number| f32::max(largest, number))),
            Self::Mean | Self::MeanSqrtLength => {
                let others = fold(&mut vector, rows, |_, sum, number| sum + number);
                let count = (others + 1) as f32;
                let divisor = if self == Self::Mean { count } else { count.sqrt() };
                scale(&mut vector, divisor.recip());
            }
            Self::WeightedMean => {
                let place = |at: usize| (skipped + at + 1) as f32;
                scale(&mut vector, place(0));
                let others = fold(&mut vector, rows, |at, sum, number| number.mul_add(place(at), sum));
                let sum: f32 = (0..=others).map(place).sum();
                scale(&mut vector, sum.recip());
            }
        }
        vector
    }
}

/// Returns the modes whose flags are set, or the mean if none is.
fn flagged(config: &Object) -> Result<Vec<&'static str>, FieldError> {
    let mut modes = Vec::new();
    for (flag, mode) in FLAGS {
        if json_fields::flag(config, flag)?.or(false) {
            modes.push(mode);
        }
    }
    Ok(if modes.is_empty() { vec!["mean"] } else { modes })
}

/// Accumulates rows into a vector, each with its position. Returns the number of rows.
fn fold(
    vector: &mut [f32],
    rows: &mut dyn Iterator<Item = &[f32]>,
    step: impl Fn(usize, f32, f32) -> f32,
) -> usize {
    let mut count = 0;
    for row in rows {
        count += 1;
        for (number, other) in vector.iter_mut().zip(row) {
            *number = step(count, *number, *other);
        }
    }
    count
}

fn scale(vector: &mut [f32], factor: f32) {
    vector.iter_mut().for_each(|number| *number *= factor);
}

/// Scales a vector to unit length. A zero vector stays zero.
pub(crate) fn normalize(vector: &mut [f32]) {
    let length = vector.iter().map(|number| number * number).sum::<f32>().sqrt();
    scale(vector, if length > 0.0 { length.recip() } else { 0.0 });
}

/// The modes by their names in newer files.
const MODE: &str = "pooling_mode";
const MODES: [(&str, Mode); 6] = [
    ("cls", Mode::Cls),
    ("lasttoken", Mode::LastToken),
    ("max", Mode::Max),
    ("mean", Mode::Mean),
    ("mean_sqrt_len_tokens", Mode::MeanSqrtLength),
    ("weightedmean", Mode::WeightedMean),
];
/// The flags of older files, in the order of concatenation.
const FLAGS: [(&str, &str); 6] = [
    ("pooling_mode_cls_token", "cls"),
    ("pooling_mode_max_tokens", "max"),
    ("pooling_mode_mean_tokens", "mean"),
    ("pooling_mode_mean_sqrt_len_tokens", "mean_sqrt_len_tokens"),
    ("pooling_mode_weightedmean_tokens", "weightedmean"),
    ("pooling_mode_lasttoken", "lasttoken"),
];
/// The other fields. The dimension follows from the model.
const OTHERS: [&str; 4] = ["embedding_dimension", "include_prompt", MODE, "word_embedding_dimension"];

#[cfg(test)]
mod tests {
    use super::*;

    const ROWS: [f32; 6] = [1.0, -4.0, 3.0, 2.0, 5.0, -1.0];

    fn pooled(modes: &[Mode], rows: &[f32], skipped: usize) -> Vec<f32> {
        let pooling = Pooling { modes: modes.to_vec(), prompt: false };
        pooling.pool(&mut rows.chunks_exact(2), 2, skipped)
    }

    #[test]
    fn each_mode_makes_its_own_vector() {
        assert_eq!(pooled(&[Mode::Cls], &ROWS, 0), [1.0, -4.0]);
        assert_eq!(pooled(&[Mode::LastToken], &ROWS, 0), [5.0, -1.0]);
        assert_eq!(pooled(&[Mode::LastToken], &ROWS[..2], 0), [1.0, -4.0]);
        assert_eq!(pooled(&[Mode::Max], &ROWS, 0), [5.0, 2.0]);
        assert_eq!(pooled(&[Mode::Mean], &ROWS, 0), [3.0, -1.0]);
        assert_eq!(pooled(&[Mode::Mean], &ROWS[..2], 0), [1.0, -4.0]);
        let root = 3.0_f32.sqrt();
        assert_eq!(pooled(&[Mode::MeanSqrtLength], &ROWS, 0), [9.0 * root.recip(), -3.0 * root.recip()]);
        // (1 × 1 + 2 × 3 + 3 × 5) / 6, (−4 + 2 × 2 − 3) / 6
        let sixth = 6.0_f32.recip();
        assert_eq!(pooled(&[Mode::WeightedMean], &ROWS, 0), [22.0 * sixth, -3.0 * sixth]);
        let mut vector = [3.0, -4.0];
        normalize(&mut vector);
        assert_eq!(vector, [0.6, -0.8]);
        let mut zeros = [0.0, 0.0];
        normalize(&mut zeros);
        assert_eq!(zeros, [0.0, 0.0]);
    }

    #[test]
    fn several_modes_stand_one_after_the_other() {
        assert_eq!(pooled(&[Mode::Cls, Mode::Mean], &ROWS, 0), [1.0, -4.0, 3.0, -1.0]);
        assert_eq!(Pooling { modes: vec![Mode::Cls, Mode::Mean], prompt: true }.width(2), 4);
    }

    #[test]
    fn a_prompt_may_be_left_out() {
        assert_eq!(pooled(&[Mode::Mean], &ROWS, 1), [4.0, 0.5]);
        assert_eq!(pooled(&[Mode::Cls, Mode::Max], &ROWS, 1), [3.0, 2.0, 5.0, 2.0]);
        // Positions count from the start of the whole text: (2 × 3 + 3 × 5) / 5, (2 × 2 − 3) / 5
        assert_eq!(pooled(&[Mode::WeightedMean], &ROWS, 1), [21.0 * 0.2, 0.2]);
        // The text was truncated to the prompt.
        assert_eq!(pooled(&[Mode::Cls, Mode::Mean], &ROWS, 3), [1.0, -4.0, 0.0, 0.0]);
    }

    #[test]
    fn both_spellings_of_the_modes_are_read() {
        let said = |json: &str| Pooling::parse(json.as_bytes()).map(|pooling| pooling.modes);
        for (json, modes) in [
            (r#"{"word_embedding_dimension":384,"pooling_mode_cls_token":true}"#, vec![Mode::Cls]),
            (r#"{"pooling_mode_mean_tokens":true,"pooling_mode_max_tokens":false}"#, vec![Mode::Mean]),
            (r#"{"pooling_mode_mean_tokens":null,"pooling_mode_max_tokens":true}"#, vec![Mode::Max]),
            (r#"{"pooling_mode":"max"}"#, vec![Mode::Max]),
            (r#"{"pooling_mode":["cls","mean"]}"#, vec![Mode::Cls, Mode::Mean]),
            (r#"{"pooling_mode":["lasttoken"],"pooling_mode_cls_token":true}"#, vec![Mode::LastToken]),
            (
                r#"{"pooling_mode_mean_tokens":true,"pooling_mode_cls_token":true}"#,
                vec![Mode::Cls, Mode::Mean],
            ),
            (r#"{"embedding_dimension":2}"#, vec![Mode::Mean]),
        ] {
            assert_eq!(said(json), Ok(modes), "{json}");
        }
        for refused in [
            r#"{"pooling_mode":"median"}"#,
            r#"{"pooling_mode":[]}"#,
            r#"{"pooling_mode":null}"#,
            r#"{"pooling_mode":7}"#,
            r#"{"pooling_mode_mean_tokens":7}"#,
            r#"{"pooling_mode":"mean","pooling_mode_mean_tokens":7}"#,
            r#"{"include_prompt":"no"}"#,
            r#"{"pooling_mode_median":true}"#,
            "[]",
        ] {
            assert!(said(refused).is_err(), "{refused}");
        }
        let prompt = |json: &str| Pooling::parse(json.as_bytes()).unwrap().prompt;
        assert!(prompt("{}"));
        assert!(!prompt(r#"{"include_prompt":false}"#));
        assert!(!prompt(r#"{"include_prompt":null}"#));
    }
}
