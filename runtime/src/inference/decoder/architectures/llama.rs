//! The configuration of a Llama, from its `config.json` or the metadata of its GGUF file.

pub(in crate::inference::decoder) mod gguf_schema;

use crate::inference::decoder::DecoderError;
use crate::inference::decoder::gguf::Gguf;
use crate::inference::decoder::json_fields::Fields;
use kernels::decoder::Shape;
use serde::Deserialize;
use serde_json::json;
use std::f32::consts::PI;

/// The configuration of a Llama.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LlamaConfig {
    pub(crate) shape: Shape,
    pub(crate) layers: usize,
    /// Whether the output matrix is the token embedding table.
    pub(crate) tied: bool,
    /// The begin-of-text token, if there is one; it may be outside the vocabulary.
    pub(crate) bos: Option<u32>,
    /// The end-of-text tokens in the files; some may be outside the vocabulary.
    pub(crate) eos: Vec<u32>,
}

impl LlamaConfig {
    /// Reads `config.json`, and `generation_config.json` if there is one. Fields that transformers ignores for these
    /// models are ignored. Fields that it reads and that are not supported here are rejected by name.
    pub(crate) fn parse(json: &[u8], generation: Option<&[u8]>) -> Result<Self, DecoderError> {
        Self::parsed(json, generation).map_err(DecoderError::Config)?.checked()
    }

    fn parsed(json: &[u8], generation: Option<&[u8]>) -> Result<Self, String> {
        let fields = Fields::parse("config.json", json)?;
        let generation = match generation {
            Some(json) => Fields::parse("generation_config.json", json)?,
            None => Fields::none("generation_config.json"),
        };
        let kind = fields.text("model_type")?.ok_or("config.json does not say model_type")?;
        if !TYPES.contains(&kind) {
            let kind: String = kind.chars().take(60).collect();
            return Err(format!("model_type {kind:?} is not supported; {} are", TYPES.join(", ")));
        }
        let is_mistral = kind == "mistral";
        refuse_what_is_not_computed(&fields, &generation)?;
        let needed =
            |name: &str| fields.number(name)?.ok_or_else(|| format!("config.json does not say {name}"));
        let (hidden, heads) = (needed("hidden_size")?, needed("num_attention_heads")?);
        let kv_heads = match fields.number("num_key_value_heads")? {
            None if is_mistral && !fields.has("num_key_value_heads") => MISTRAL_KV_HEADS,
            kv_heads => kv_heads.unwrap_or(heads),
        };
        let head_len = fields.number("head_dim")?.unwrap_or_else(|| hidden / heads.max(1));
        let scaling = match fields.object("rope_parameters")? {
            None => fields.object("rope_scaling")?,
            parameters => parameters,
        };
        let theta = scaling.as_ref().map(|rope| rope.float("rope_theta")).transpose()?.flatten();
        let theta = theta.or(fields.float("rope_theta")?).unwrap_or(10_000.0);
        let positions = fields.number("max_position_embeddings")?.unwrap_or(POSITIONS);
        // The sliding window is not implemented, so the context ends with the window.
        let window = match fields.number("sliding_window")? {
            None if is_mistral && !fields.has("sliding_window") => Some(MISTRAL_WINDOW),
            window => window.filter(|_| is_mistral),
        };
        let frequencies = frequencies(theta, checked_head(head_len)?)?;
        let mut ends = fields.ids("eos_token_id")?;
        ends.extend(generation.ids("eos_token_id")?);
        Ok(Self {
            shape: Shape {
                hidden,
                heads,
                kv_heads,
                head_len,
                intermediate: needed("intermediate_size")?,
                vocabulary: needed("vocab_size")?,
                epsilon: fields.float("rms_norm_eps")?.unwrap_or(1e-6) as f32,
                frequencies: scaled(frequencies, scaling.as_ref())?,
                context: positions.min(window.unwrap_or(usize::MAX)),
            },
            layers: needed("num_hidden_layers")?,
            tied: fields.truth("tie_word_embeddings")?.unwrap_or(false),
            bos: generation.ids("bos_token_id")?.first().or(fields.ids("bos_token_id")?.first()).copied(),
            eos: ends.into_iter().collect(),
        })
    }

    /// Reads the metadata of a GGUF file that [`gguf_schema::check`] accepted. Rotary frequencies are divided by
    /// `factors`.
    pub(crate) fn from_gguf(gguf: &Gguf, factors: Option<&[f32]>) -> Result<Self, DecoderError> {
        Self::described(gguf, factors).map_err(DecoderError::Config)?.checked()
    }

    fn described(gguf: &Gguf, factors: Option<&[f32]>) -> Result<Self, String> {
        let optional = |name: &str| {
            gguf.number(&format!("llama.{name}")).and_then(|number| usize::try_from(number).ok())
        };
        let number =
            |name: &str| optional(name).ok_or_else(|| format!("llama.{name} is missing, or no whole number"));
        let (hidden, heads) = (number("embedding_length")?, number("attention.head_count")?);
        let head_len = optional("attention.key_length").unwrap_or_else(|| hidden / heads.max(1));
        let head_len = checked_head(head_len)?;
        for part in ["rope.dimension_count", "attention.value_length"] {
            if let Some(found) = optional(part).filter(|found| *found != head_len) {
                return Err(format!(
                    "llama.{part} is {found}, only that of the heads, {head_len}, is supported"
                ));
            }
        }
        let float = |name: &str| gguf.float(&format!("llama.{name}"));
        let mut frequencies = frequencies(float("rope.freq_base").unwrap_or(10_000.0), head_len)?;
        // Files of 2023 have the factor under an older name, and no type.
        let factor = match gguf.text("llama.rope.scaling.type") {
            Some("none") => None,
            _ => float("rope.scaling.factor").or_else(|| float("rope.scale_linear")),
        };
        if let Some(factor) = factor.filter(|factor| *factor != 0.0) {
            let factor = positive("llama.rope.scaling.factor", Some(factor))?;
            frequencies.iter_mut().for_each(|frequency| *frequency /= factor);
        }
        if let Some(factors) = factors {
            frequencies.iter_mut().zip(factors).for_each(|(frequency, factor)| *frequency /= factor);
        }
        let vocabulary = match gguf.texts("tokenizer.ggml.tokens") {
            Some(tokens) => tokens.len(),
            None => number("vocab_size")?,
        };
        let id = |name: &str| {
            let id = gguf.number(&format!("tokenizer.ggml.{name}_token_id"));
            id.and_then(|id| u32::try_from(id).ok()).filter(|id| (*id as usize) < vocabulary)
        };
        // SentencePiece vocabularies have these numbers by default.
        let by_pieces = gguf.text("tokenizer.ggml.model") == Some("llama");
        let usual = |id: u32| Some(id).filter(|_| by_pieces && gguf.is_control(id));
        let eos = id("eos").or_else(|| usual(2));
        let several = gguf.integers("tokenizer.ggml.eos_token_ids").unwrap_or_default();
        let several = several.iter().filter_map(|id| u32::try_from(*id).ok());
        let others = ["eot", "eom", "fim_pad", "fim_rep", "fim_sep"].into_iter().filter_map(id);
        let window = optional("attention.sliding_window").filter(|window| *window > 0);
        Ok(Self {
            shape: Shape {
                hidden,
                heads,
                kv_heads: optional("attention.head_count_kv").unwrap_or(heads),
                head_len,
                intermediate: number("feed_forward_length")?,
                vocabulary,
                epsilon: float("attention.layer_norm_rms_epsilon").unwrap_or(1e-5) as f32,
                frequencies,
                context: number("context_length")?.min(window.unwrap_or(usize::MAX)),
            },
            layers: number("block_count")?,
            tied: !gguf.tensors.contains_key("output.weight"),
            bos: id("bos").or_else(|| usual(1)),
            eos: eos.into_iter().chain(several).chain(others).collect(),
        })
    }

    /// Rejects impossible dimensions before memory is allocated.
    fn checked(self) -> Result<Self, DecoderError> {
        let shape = &self.shape;
        let numbers = [
            ("the length of a vector", shape.hidden, WIDTH_MAX),
            ("the number of heads", shape.heads, WIDTH_MAX),
            ("the number of heads of keys", shape.kv_heads, shape.heads),
            ("the length of a head", shape.head_len, HEAD_MAX),
            ("the width of the gated layer", shape.intermediate, WIDTH_MAX),
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
        Ok(self)
    }
}

/// Tells whether a `config.json` is that of a Llama, valid or not.
pub(crate) fn is_llama(json: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Kind {
        model_type: String,
    }
    serde_json::from_slice::<Kind>(json).is_ok_and(|kind| TYPES.contains(&kind.model_type.as_str()))
}

fn refusal(reason: String) -> DecoderError {
    DecoderError::Config(reason)
}

/// Rejects settings that transformers supports for these models and this program does not.
fn refuse_what_is_not_computed(fields: &Fields, generation: &Fields) -> Result<(), String> {
    let (off, on) = (json!(false), json!(true));
    fields.refuse_unless("hidden_act", &[json!("silu"), json!("swish")])?;
    for name in [
        "add_cross_attention",
        "attention_bias",
        "is_encoder_decoder",
        "mlp_bias",
        "use_bidirectional_attention",
    ] {
        fields.refuse_unless(name, std::slice::from_ref(&off))?;
    }
    fields.refuse_unless("is_causal", &[on])?;
    fields.refuse_unless("partial_rotary_factor", &[json!(1)])?;
    fields.refuse_unless("pruned_heads", &[json!({}), json!([])])?;
    fields.refuse_unless("quantization_config", &[json!({})])?;
    for name in ["embedding_multiplier", "attention_multiplier", "residual_multiplier", "logits_scaling"] {
        fields.refuse_unless(name, &[json!(1)])?;
    }
    if let Some(kinds) = fields.get("layer_types")
        && !kinds.as_array().is_some_and(|kinds| kinds.iter().all(|kind| kind == "full_attention"))
    {
        return Err(fields.wrong("layer_types", kinds, "full_attention for all layers"));
    }
    for name in ["bad_words_ids", "begin_suppress_tokens", "sequence_bias", "suppress_tokens"] {
        generation.refuse_unless(name, &[json!([]), json!({})])?;
    }
    for name in ["forced_bos_token_id", "forced_eos_token_id", "stop_strings", "watermarking_config"] {
        generation.refuse_unless(name, &[json!([])])?;
    }
    Ok(())
}

fn positive(name: &str, number: Option<f64>) -> Result<f32, String> {
    match number {
        Some(number) if (number as f32).is_finite() && number as f32 > 0.0 => Ok(number as f32),
        _ => Err(format!("{name} of the rope scaling is {number:?}")),
    }
}

fn checked_head(len: usize) -> Result<usize, String> {
    if len.is_multiple_of(2) && (1..=HEAD_MAX).contains(&len) {
        Ok(len)
    } else {
        Err(format!("heads of length {len}; even ones up to {HEAD_MAX} are supported"))
    }
}

/// Returns the rotary frequencies (Su et al., 2021).
fn frequencies(theta: f64, head_len: usize) -> Result<Vec<f32>, String> {
    if !(theta.is_finite() && theta > 1.0) {
        return Err(format!("rope_theta is {theta}"));
    }
    let theta = theta as f32;
    Ok((0..head_len / 2).map(|pair| theta.powf((2 * pair) as f32 / head_len as f32).recip()).collect())
}

/// Scales the rotary frequencies for a longer context than in pre-training.
fn scaled(frequencies: Vec<f32>, rope: Option<&Fields>) -> Result<Vec<f32>, String> {
    let Some(rope) = rope else { return Ok(frequencies) };
    let positive = |name: &str| positive(name, rope.float(name)?);
    let kind = match rope.text("rope_type")? {
        None => rope.text("type")?,
        kind => kind,
    };
    match kind.unwrap_or("default") {
        // Dynamic scaling only has an effect beyond the model's positions, which are never used.
        "default" | "dynamic" => Ok(frequencies),
        "linear" => {
            let factor = positive("factor")?;
            Ok(frequencies.into_iter().map(|frequency| frequency / factor).collect())
        }
        "llama3" => {
            let factor = positive("factor")?;
            let (low, high) = (positive("low_freq_factor")?, positive("high_freq_factor")?);
            let first = positive("original_max_position_embeddings")?;
            let scale = |frequency: f32| {
                let turns = first * frequency / (2.0 * PI);
                let share = ((turns - low) / (high - low)).clamp(0.0, 1.0);
                (1.0 - share) * frequency / factor + share * frequency
            };
            Ok(frequencies.into_iter().map(scale).collect())
        }
        other => {
            let other: String = other.chars().take(60).collect();
            Err(format!("rope scaling {other:?} is not supported; linear, dynamic and llama3 are"))
        }
    }
}

/// The supported `model_type` values.
const TYPES: [&str; 2] = ["llama", "mistral"];
/// The default number of positions.
const POSITIONS: usize = 2048;
/// The default number of key heads of a Mistral; `null` means as many as query heads.
const MISTRAL_KV_HEADS: usize = 8;
/// The default sliding window of a Mistral; `null` means none.
const MISTRAL_WINDOW: usize = 4096;
/// The maximum width of a layer.
const WIDTH_MAX: usize = 1 << 17;
/// The maximum length of a head.
const HEAD_MAX: usize = 512;
/// The maximum number of layers.
const LAYERS_MAX: usize = 512;
/// The maximum size of the vocabulary.
const VOCABULARY_MAX: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    const TINY: &str = r#"{"model_type":"llama","hidden_size":64,"intermediate_size":128,"num_attention_heads":4,
        "num_hidden_layers":3,"vocab_size":400,"max_position_embeddings":128,"rms_norm_eps":1e-5,"eos_token_id":[1,2]"#;

    fn with(more: &str) -> Result<LlamaConfig, DecoderError> {
        LlamaConfig::parse(format!("{TINY}{more}}}").as_bytes(), None)
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
    fn what_is_not_set_is_as_transformers_has_it() {
        let plain = with("").unwrap();
        let nulls = r#","attention_bias":null,"mlp_bias":null,"rope_scaling":null,"head_dim":null,"rope_theta":null,
            "num_key_value_heads":null,"sliding_window":null,"tie_word_embeddings":null,"hidden_act":null,
            "rope_parameters":null,"bos_token_id":null,"quantization_config":null,"pretraining_tp":2,"unheard_of":[]"#;
        assert_eq!(with(nulls).unwrap(), plain);
        assert_eq!(with(r#","rope_scaling":{"type":"dynamic","factor":2.0}"#).unwrap(), plain);
        // Only a Mistral has a sliding window. An absent field means the default, and null means no window.
        assert_eq!(with(r#","sliding_window":16"#).unwrap(), plain);
        let mistral = |more: &str| {
            let json =
                format!("{TINY}{more}}}").replace("llama", "mistral").replace(":128,\"rms", ":9999,\"rms");
            LlamaConfig::parse(json.as_bytes(), None).unwrap().shape
        };
        let of = |shape: Shape| (shape.kv_heads, shape.context);
        assert_eq!(of(mistral(r#","num_key_value_heads":2"#)), (2, 4096));
        assert_eq!(of(mistral(r#","num_key_value_heads":null,"sliding_window":null"#)), (4, 9999));
        assert_eq!(of(mistral(r#","num_key_value_heads":1,"sliding_window":16"#)), (1, 16));
        // End tokens of both files count, also in a list. Tokens outside the vocabulary do no harm.
        let both = LlamaConfig::parse(
            format!("{TINY}}}").as_bytes(),
            Some(br#"{"eos_token_id":[7,999],"bos_token_id":3}"#),
        );
        let both = both.unwrap();
        assert_eq!((both.eos, both.bos), (vec![1, 2, 7, 999], Some(3)));
    }

    #[test]
    fn frequencies_of_a_gguf_file_are_scaled_by_either_key() {
        use crate::inference::decoder::gguf::Value;
        let frequencies = |more: &[(&str, Value)]| {
            let number = |name: &str, number| (format!("llama.{name}"), Value::Integer(number));
            let mut metadata: std::collections::BTreeMap<String, Value> = [
                ("general.architecture".to_owned(), Value::Text("llama".to_owned())),
                number("embedding_length", 64),
                number("feed_forward_length", 128),
                number("attention.head_count", 4),
                number("block_count", 1),
                number("context_length", 128),
                number("vocab_size", 400),
            ]
            .into();
            metadata.extend(more.iter().map(|(name, value)| (format!("llama.{name}"), value.clone())));
            let gguf = Gguf { metadata, tensors: std::collections::BTreeMap::new() };
            LlamaConfig::from_gguf(&gguf, None).unwrap().shape.frequencies
        };
        let plain = frequencies(&[]);
        let old = frequencies(&[("rope.scale_linear", Value::Float(4.0))]);
        assert_eq!(old, plain.iter().map(|frequency| frequency / 4.0).collect::<Vec<_>>());
        let kind = ("rope.scaling.type", Value::Text("linear".to_owned()));
        assert_eq!(frequencies(&[kind, ("rope.scaling.factor", Value::Float(4.0))]), old);
        let none = ("rope.scaling.type", Value::Text("none".to_owned()));
        assert_eq!(frequencies(&[none, ("rope.scaling.factor", Value::Float(4.0))]), plain);
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
            (r#","bos_token_id":"<s>""#, "bos_token_id"),
            (r#","mlp_bias":true"#, "mlp_bias"),
            (r#","mlp_bias":"no""#, "mlp_bias"),
            (r#","rope_scaling":"linear""#, "rope_scaling"),
            (r#","head_dim":"16""#, "head_dim"),
            (r#","tie_word_embeddings":1"#, "tie_word_embeddings"),
            (r#","quantization_config":{"bits":4}"#, "quantization_config"),
            (r#","partial_rotary_factor":0.5"#, "partial_rotary_factor"),
            (r#","layer_types":["sliding_attention"]"#, "layer_types"),
            (r#","logits_scaling":8"#, "logits_scaling"),
            (r#","rope_theta":0"#, "rope_theta"),
        ];
        for (more, reason) in cases {
            let error = with(more).unwrap_err().to_string();
            assert!(error.contains(reason), "{error} for {more}");
        }
        let generation = format!("{TINY}}}");
        for (json, reason) in [
            (r#"{"eos_token_id":"2"}"#, "generation_config.json: eos_token_id is"),
            (r#"{"suppress_tokens":[1]}"#, "suppress_tokens"),
            ("[", "generation_config.json is damaged"),
        ] {
            let error =
                LlamaConfig::parse(generation.as_bytes(), Some(json.as_bytes())).unwrap_err().to_string();
            assert!(error.contains(reason), "{error} for {json}");
        }
        let other = format!("{TINY}}}").replace("llama", "gpt_neox");
        assert!(LlamaConfig::parse(other.as_bytes(), None).unwrap_err().to_string().contains("gpt_neox"));
        assert!(LlamaConfig::parse(b"{}", None).is_err());
        let huge = format!("{TINY}}}").replace(":64,", ":640000000000,");
        assert!(LlamaConfig::parse(huge.as_bytes(), None).unwrap_err().to_string().contains("length"));
    }
}
