//! From a hidden state for each token to one vector for the text, in the way that the model's own files say.

use serde::Deserialize;

/// How the hidden states of a text become one vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pooling {
    /// That of the first token, which is the special one.
    Cls,
    /// The largest of each component.
    Max,
    /// The mean over all tokens.
    Mean,
}

impl Pooling {
    /// Reads the configuration of a pooling module.
    ///
    /// # Errors
    /// Says what is not supported.
    pub(super) fn parse(json: &[u8]) -> Result<Self, String> {
        let modes: Modes = serde_json::from_slice(json).map_err(|error| error.to_string())?;
        let mut chosen = Vec::new();
        match modes.pooling_mode.as_deref() {
            Some("cls") => chosen.push(Self::Cls),
            Some("max") => chosen.push(Self::Max),
            Some("mean") => chosen.push(Self::Mean),
            Some(other) => return Err(format!("pooling by {other:?}; cls, max and mean are supported")),
            None => {}
        }
        chosen.extend(modes.pooling_mode_cls_token.then_some(Self::Cls));
        chosen.extend(modes.pooling_mode_max_tokens.then_some(Self::Max));
        chosen.extend(modes.pooling_mode_mean_tokens.then_some(Self::Mean));
        let other = modes.pooling_mode_mean_sqrt_len_tokens
            || modes.pooling_mode_weightedmean_tokens
            || modes.pooling_mode_lasttoken;
        match chosen.as_slice() {
            [one] if !other => Ok(*one),
            _ => Err("exactly one of cls, max and mean pooling is supported".to_owned()),
        }
    }

    /// Returns the vector of a text from the hidden states of its tokens, `width` numbers each.
    pub(super) fn pool(self, rows: &mut dyn Iterator<Item = &[f32]>, width: usize) -> Vec<f32> {
        let mut vector = rows.next().map_or_else(|| vec![0.0; width], <[f32]>::to_vec);
        match self {
            Self::Cls => {}
            Self::Max => drop(fold(&mut vector, rows, f32::max)),
            Self::Mean => {
                let others = fold(&mut vector, rows, |sum, number| sum + number);
                let share = ((others + 1) as f32).recip();
                vector.iter_mut().for_each(|number| *number *= share);
            }
        }
        vector
    }
}

/// Puts rows into a vector, and returns how many there were.
fn fold(vector: &mut [f32], rows: &mut dyn Iterator<Item = &[f32]>, step: impl Fn(f32, f32) -> f32) -> usize {
    let mut count = 0;
    for row in rows {
        count += 1;
        for (number, other) in vector.iter_mut().zip(row) {
            *number = step(*number, *other);
        }
    }
    count
}

/// Scales a vector to unit length; zeros stay zeros.
pub(super) fn normalize(vector: &mut [f32]) {
    let length = vector.iter().map(|number| number * number).sum::<f32>().sqrt();
    let factor = if length > 0.0 { length.recip() } else { 0.0 };
    vector.iter_mut().for_each(|number| *number *= factor);
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
#[allow(clippy::struct_excessive_bools, reason = "as the file spells it")]
struct Modes {
    pooling_mode: Option<String>,
    pooling_mode_cls_token: bool,
    pooling_mode_lasttoken: bool,
    pooling_mode_max_tokens: bool,
    pooling_mode_mean_sqrt_len_tokens: bool,
    pooling_mode_mean_tokens: bool,
    pooling_mode_weightedmean_tokens: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_mode_makes_its_own_vector() {
        let rows = [1.0, -4.0, 3.0, 2.0, 5.0, -1.0];
        let pooled = |pooling: Pooling, rows: &[f32]| pooling.pool(&mut rows.chunks_exact(2), 2);
        assert_eq!(pooled(Pooling::Cls, &rows), [1.0, -4.0]);
        assert_eq!(pooled(Pooling::Max, &rows), [5.0, 2.0]);
        assert_eq!(pooled(Pooling::Mean, &rows), [3.0, -1.0]);
        assert_eq!(pooled(Pooling::Mean, &rows[..2]), [1.0, -4.0]);
        let mut vector = [3.0, -4.0];
        normalize(&mut vector);
        assert_eq!(vector, [0.6, -0.8]);
        let mut zeros = [0.0, 0.0];
        normalize(&mut zeros);
        assert_eq!(zeros, [0.0, 0.0]);
    }

    #[test]
    fn a_configuration_names_one_mode() {
        let said = |json: &str| Pooling::parse(json.as_bytes());
        assert_eq!(
            said(r#"{"word_embedding_dimension":384,"pooling_mode_cls_token":true}"#),
            Ok(Pooling::Cls)
        );
        assert_eq!(
            said(r#"{"pooling_mode_mean_tokens":true,"pooling_mode_max_tokens":false}"#),
            Ok(Pooling::Mean)
        );
        assert_eq!(said(r#"{"pooling_mode":"max"}"#), Ok(Pooling::Max));
        for refused in [
            "{}",
            r#"{"pooling_mode":"lasttoken"}"#,
            r#"{"pooling_mode_lasttoken":true}"#,
            r#"{"pooling_mode_mean_tokens":true,"pooling_mode_cls_token":true}"#,
            r#"{"pooling_mode_mean_tokens":true,"pooling_mode_weightedmean_tokens":true}"#,
            r#"{"pooling_mode_mean_tokens":7}"#,
        ] {
            assert!(said(refused).is_err(), "{refused}");
        }
    }
}
