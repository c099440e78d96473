//! What a Llama is made of, as its `config.json` or the metadata of its GGUF file says.

use super::LlamaError;
use super::gguf::Gguf;
use kernels::llama::Shape;
use serde::Deserialize;
use std::f32::consts::PI;

/// A Llama as its files describe it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Config {
    pub(super) shape: Shape,
    pub(super) layers: usize,
    /// Whether the last matrix is the table of the tokens' vectors.
    pub(super) tied: bool,
    pub(super) bos: Option<u32>,
    pub(super) eos: Vec<u32>,
}

impl Config {
    /// Reads `config.json`, and `generation_config.json` where there is one.
    pub(super) fn parse(json: &[u8], generation: Option<&[u8]>) -> Result<Self, LlamaError> {
        let damaged =
            |what: &str, error: serde_json::Error| LlamaError::Config(format!("{what} is damaged: {error}"));
        let written: Written = serde_json::from_slice(json).map_err(|error| damaged("config.json", error))?;
        let generation: Ends = match generation {
            Some(json) => {
                serde_json::from_slice(json).map_err(|error| damaged("generation_config.json", error))?
            }
            None => Ends::default(),
        };
        if !TYPES.contains(&written.model_type.as_str()) {
            return Err(refusal(format!(
                "model_type {:?} is not supported; {} are",
                written.model_type,
                TYPES.join(", ")
            )));
        }
        if written.attention_bias || written.mlp_bias {
            return Err(refusal("attention_bias and mlp_bias are not supported".to_owned()));
        }
        if let Some(act) = &written.hidden_act
            && act != "silu"
        {
            return Err(refusal(format!("hidden_act {act:?} is not supported; silu is")));
        }
        let head_len =
            written.head_dim.unwrap_or_else(|| written.hidden_size / written.num_attention_heads.max(1));
        let rope = written.rope_parameters.as_ref();
        let theta = rope.and_then(|rope| rope.rope_theta).or(written.rope_theta).unwrap_or(10_000.0);
        let scaling = rope.or(written.rope_scaling.as_ref());
        // Beyond its window an older position would have to be forgotten: the context ends there instead.
        let positions = written.max_position_embeddings.min(written.sliding_window.unwrap_or(usize::MAX));
        Self {
            shape: Shape {
                hidden: written.hidden_size,
                heads: written.num_attention_heads,
                kv_heads: written.num_key_value_heads.unwrap_or(written.num_attention_heads),
                head_len,
                inner: written.intermediate_size,
                vocabulary: written.vocab_size,
                epsilon: written.rms_norm_eps,
                frequencies: scaled(frequencies(theta, checked_head(head_len)?)?, scaling)?,
                context: positions,
            },
            layers: written.num_hidden_layers,
            tied: written.tie_word_embeddings,
            bos: generation.bos_token_id.or(written.ends.bos_token_id),
            eos: generation.eos_token_id.or(written.ends.eos_token_id).map(Ids::list).unwrap_or_default(),
        }
        .checked()
    }

    /// Reads the metadata of a GGUF file; `factors` are those that its frequencies are divided by.
    pub(super) fn of_gguf(gguf: &Gguf, factors: Option<&[f32]>) -> Result<Self, LlamaError> {
        let architecture = gguf.text("general.architecture").unwrap_or("nothing");
        if architecture != "llama" {
            return Err(refusal(format!("the architecture {architecture:?} is not supported; llama is")));
        }
        if gguf.number("llama.expert_count").is_some_and(|count| count > 0) {
            return Err(refusal("a mixture of experts is not supported".to_owned()));
        }
        let number = |name: &str| {
            let name = format!("llama.{name}");
            let number = gguf.number(&name).and_then(|number| usize::try_from(number).ok());
            number.ok_or_else(|| refusal(format!("{name} is missing, or no whole number")))
        };
        let (hidden, heads) = (number("embedding_length")?, number("attention.head_count")?);
        let head_len = match gguf.number("llama.attention.key_length") {
            Some(_) => number("attention.key_length")?,
            None => hidden / heads.max(1),
        };
        let head_len = checked_head(head_len)?;
        for part in ["rope.dimension_count", "attention.value_length"] {
            if let Ok(found) = number(part)
                && found != head_len
            {
                return Err(refusal(format!(
                    "llama.{part} is {found}, only that of the heads, {head_len}, is supported"
                )));
            }
        }
        let float = |name: &str| gguf.float(&format!("llama.{name}"));
        let mut frequencies = frequencies(float("rope.freq_base").unwrap_or(10_000.0), head_len)?;
        match gguf.text("llama.rope.scaling.type") {
            None | Some("none") => {}
            Some("linear") => {
                let factor = float("rope.scaling.factor").unwrap_or(1.0) as f32;
                frequencies.iter_mut().for_each(|frequency| *frequency /= factor);
            }
            Some(other) => return Err(refusal(format!("rope scaling {other:?} is not supported"))),
        }
        if let Some(factors) = factors {
            frequencies.iter_mut().zip(factors).for_each(|(frequency, factor)| *frequency /= factor);
        }
        let vocabulary = match gguf.texts("tokenizer.ggml.tokens") {
            Some(tokens) => tokens.len(),
            None => number("vocab_size")?,
        };
        let id =
            |name: &str| gguf.number(&format!("tokenizer.ggml.{name}")).and_then(|id| u32::try_from(id).ok());
        Self {
            shape: Shape {
                hidden,
                heads,
                kv_heads: number("attention.head_count_kv").unwrap_or(heads),
                head_len,
                inner: number("feed_forward_length")?,
                vocabulary,
                epsilon: float("attention.layer_norm_rms_epsilon").unwrap_or(1e-5) as f32,
                frequencies,
                context: number("context_length")?,
            },
            layers: number("block_count")?,
            tied: !gguf.tensors.contains_key("output.weight"),
            bos: id("bos_token_id"),
            eos: ["eos_token_id", "eot_token_id", "eom_token_id"].into_iter().filter_map(id).collect(),
        }
        .checked()
    }

    /// Refuses numbers that no Llama has before memory is taken for them.
    fn checked(self) -> Result<Self, LlamaError> {
        let shape = &self.shape;
        let numbers = [
            ("the length of a vector", shape.hidden, WIDTH_MAX),
            ("the number of heads", shape.heads, WIDTH_MAX),
            ("the number of heads of keys", shape.kv_heads, shape.heads),
            ("the length of a head", shape.head_len, HEAD_MAX),
            ("the width of the gated layer", shape.inner, WIDTH_MAX),
            ("the size of the vocabulary", shape.vocabulary, VOCABULARY_MAX),
            ("the number of layers", self.layers, LAYERS_MAX),
            ("the length of the context", shape.context, usize::MAX),
        ];
        for (what, found, most) in numbers {
            if found == 0 || found > most {
                return Err(refusal(format!("{what} is {found}, expected 1 to {most}")));
            }
        }
        if !shape.heads.is_multiple_of(shape.kv_heads) {
            return Err(refusal(format!("{} heads do not share {} of keys", shape.heads, shape.kv_heads)));
        }
        if !(shape.epsilon.is_finite() && shape.epsilon >= 0.0) {
            return Err(refusal(format!("an epsilon of {}", shape.epsilon)));
        }
        if let Some(id) = self.eos.iter().chain(&self.bos).find(|id| **id as usize >= shape.vocabulary) {
            return Err(refusal(format!(
                "token {id} is not among the {} of the vocabulary",
                shape.vocabulary
            )));
        }
        Ok(self)
    }
}

/// Tells whether a `config.json` is that of a Llama, sound or not.
pub(super) fn is_llama(json: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Kind {
        model_type: String,
    }
    serde_json::from_slice::<Kind>(json).is_ok_and(|kind| TYPES.contains(&kind.model_type.as_str()))
}

fn refusal(reason: String) -> LlamaError {
    LlamaError::Config(reason)
}

fn checked_head(len: usize) -> Result<usize, LlamaError> {
    if len.is_multiple_of(2) && (1..=HEAD_MAX).contains(&len) {
        Ok(len)
    } else {
        Err(refusal(format!("heads of length {len}; even ones up to {HEAD_MAX} are supported")))
    }
}

/// How far each pair of a head turns from one position to the next (Su et al., 2021).
fn frequencies(theta: f64, head_len: usize) -> Result<Vec<f32>, LlamaError> {
    if !(theta.is_finite() && theta > 1.0) {
        return Err(refusal(format!("rope_theta is {theta}")));
    }
    let theta = theta as f32;
    Ok((0..head_len / 2).map(|pair| theta.powf((2 * pair) as f32 / head_len as f32).recip()).collect())
}

/// Frequencies for longer texts than those that the model was first trained on.
fn scaled(frequencies: Vec<f32>, rope: Option<&Rope>) -> Result<Vec<f32>, LlamaError> {
    let Some(rope) = rope else { return Ok(frequencies) };
    let positive = |name: &str, number: Option<f32>| match number {
        Some(number) if number.is_finite() && number > 0.0 => Ok(number),
        _ => Err(refusal(format!("{name} of the rope scaling is {number:?}"))),
    };
    match rope.rope_type.as_deref().or(rope.older_type.as_deref()).unwrap_or("default") {
        "default" => Ok(frequencies),
        "linear" => {
            let factor = positive("factor", rope.factor)?;
            Ok(frequencies.into_iter().map(|frequency| frequency / factor).collect())
        }
        "llama3" => {
            let factor = positive("factor", rope.factor)?;
            let low = positive("low_freq_factor", rope.low_freq_factor)?;
            let high = positive("high_freq_factor", rope.high_freq_factor)?;
            let first = positive("original_max_position_embeddings", rope.original_max_position_embeddings)?;
            let scale = |frequency: f32| {
                let turns = first * frequency / (2.0 * PI);
                let share = ((turns - low) / (high - low)).clamp(0.0, 1.0);
                (1.0 - share) * frequency / factor + share * frequency
            };
            Ok(frequencies.into_iter().map(scale).collect())
        }
        other => Err(refusal(format!("rope scaling {other:?} is not supported; linear and llama3 are"))),
    }
}

#[derive(Deserialize)]
struct Written {
    model_type: String,
    hidden_size: usize,
    intermediate_size: usize,
    num_attention_heads: usize,
    num_hidden_layers: usize,
    vocab_size: usize,
    max_position_embeddings: usize,
    rms_norm_eps: f32,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    hidden_act: Option<String>,
    sliding_window: Option<usize>,
    rope_theta: Option<f64>,
    rope_scaling: Option<Rope>,
    rope_parameters: Option<Rope>,
    #[serde(default)]
    attention_bias: bool,
    #[serde(default)]
    mlp_bias: bool,
    #[serde(default)]
    tie_word_embeddings: bool,
    #[serde(flatten)]
    ends: Ends,
}

#[derive(Deserialize)]
struct Rope {
    rope_type: Option<String>,
    #[serde(rename = "type")]
    older_type: Option<String>,
    rope_theta: Option<f64>,
    factor: Option<f32>,
    low_freq_factor: Option<f32>,
    high_freq_factor: Option<f32>,
    original_max_position_embeddings: Option<f32>,
}

/// The tokens that begin and end a text.
#[derive(Default, Deserialize)]
struct Ends {
    bos_token_id: Option<u32>,
    eos_token_id: Option<Ids>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Ids {
    One(u32),
    Several(Vec<u32>),
}

impl Ids {
    fn list(self) -> Vec<u32> {
        match self {
            Self::One(id) => vec![id],
            Self::Several(ids) => ids,
        }
    }
}

/// What a `config.json` may call a Llama.
const TYPES: [&str; 2] = ["llama", "mistral"];
/// The widest layer.
const WIDTH_MAX: usize = 1 << 17;
/// The longest head.
const HEAD_MAX: usize = 512;
/// The most layers.
const LAYERS_MAX: usize = 512;
/// The most tokens.
const VOCABULARY_MAX: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    const TINY: &str = r#"{"model_type":"llama","hidden_size":64,"intermediate_size":128,"num_attention_heads":4,
        "num_hidden_layers":3,"vocab_size":400,"max_position_embeddings":128,"rms_norm_eps":1e-5,"eos_token_id":[1,2]"#;

    fn with(more: &str) -> Result<Config, LlamaError> {
        Config::parse(format!("{TINY}{more}}}").as_bytes(), None)
    }

    #[test]
    fn rope_theta_is_found_in_either_place_and_scaling_is_applied() {
        let top = with(r#","rope_theta":500000.0"#).unwrap();
        let inside = with(r#","rope_parameters":{"rope_theta":500000.0,"rope_type":"default"}"#).unwrap();
        assert_eq!(top, inside);
        assert_eq!((top.eos, top.bos, top.shape.kv_heads), (vec![1, 2], None, 4));
        assert!((top.shape.frequencies[1] - 500_000_f32.powf(-0.125)).abs() < 1e-7);
        let linear = with(r#","rope_theta":500000.0,"rope_scaling":{"type":"linear","factor":4.0}"#).unwrap();
        assert_eq!(linear.shape.frequencies[0], 0.25);
        let llama3 = with(
            r#","rope_theta":500000.0,"rope_scaling":{"rope_type":"llama3","factor":8.0,"low_freq_factor":1.0,
            "high_freq_factor":4.0,"original_max_position_embeddings":8192}"#,
        )
        .unwrap();
        let (before, after) = (&top.shape.frequencies, &llama3.shape.frequencies);
        assert_eq!(before[0], after[0]);
        assert_eq!(before[7] / 8.0, after[7]);
    }

    #[test]
    fn what_is_not_supported_is_said() {
        let cases = [
            (r#","rope_scaling":{"rope_type":"yarn","factor":4.0}"#, "yarn"),
            (r#","rope_scaling":{"rope_type":"linear","factor":0}"#, "factor"),
            (r#","attention_bias":true"#, "attention_bias"),
            (r#","hidden_act":"gelu""#, "gelu"),
            (r#","num_key_value_heads":3"#, "share"),
            (r#","num_key_value_heads":0"#, "heads of keys"),
            (r#","head_dim":7"#, "length 7"),
            (r#","bos_token_id":400"#, "token 400"),
            (r#","rope_theta":0"#, "rope_theta"),
        ];
        for (more, reason) in cases {
            let error = with(more).unwrap_err().to_string();
            assert!(error.contains(reason), "{error} for {more}");
        }
        let other = format!("{TINY}}}").replace("llama", "gpt_neox");
        assert!(Config::parse(other.as_bytes(), None).unwrap_err().to_string().contains("gpt_neox"));
        assert!(Config::parse(b"{}", None).is_err());
        let huge = format!("{TINY}}}").replace(":64,", ":640000000000,");
        assert!(Config::parse(huge.as_bytes(), None).unwrap_err().to_string().contains("length"));
    }
}
