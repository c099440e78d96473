//! The configuration of a decoder, from its `config.json` or the metadata of its GGUF file.

use super::DecoderError;
use super::architectures::{Architecture, Bias};
use super::gguf::Gguf;
use super::gguf_schema;
use super::json_fields::Fields;
use kernels::decoder::Shape;
use serde::Deserialize;
use serde_json::json;
use std::f32::consts::PI;

/// The configuration of a decoder.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct DecoderConfig {
    pub(crate) architecture: &'static Architecture,
    pub(crate) shape: Shape,
    /// For each layer, whether it rotates queries and keys.
    pub(crate) rotates: Vec<bool>,
    pub(crate) biases: HasBias,
    /// The factor of the token embeddings; usually 1.
    pub(crate) embedding_scale: f32,
    /// Whether the output matrix is the token embedding table.
    pub(crate) tied: bool,
    /// The begin-of-text token, if there is one; it may be outside the vocabulary.
    pub(crate) bos: Option<u32>,
    /// The end-of-text tokens in the files; some may be outside the vocabulary.
    pub(crate) eos: Vec<u32>,
}

/// The projections that have biases, in each layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HasBias {
    /// Queries, keys and values.
    pub(crate) query_key_value: bool,
    /// The output of attention.
    pub(crate) output: bool,
    /// Gate, up and down.
    pub(crate) feed_forward: bool,
}

impl DecoderConfig {
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
        let Some(architecture) = Architecture::by_type(kind) else {
            let kind: String = kind.chars().take(60).collect();
            return Err(format!("model_type {kind:?} is not supported; {} are", Architecture::types()));
        };
        let defaults = architecture.defaults;
        refuse_what_is_not_computed(&fields, &generation, architecture)?;
        let needed =
            |name: &str| fields.number(name)?.ok_or_else(|| format!("config.json does not say {name}"));
        let (hidden, heads) = (needed("hidden_size")?, needed("num_attention_heads")?);
        let kv_heads = match fields.number("num_key_value_heads")? {
            None if !fields.has("num_key_value_heads") => defaults.kv_heads,
            kv_heads => kv_heads,
        };
        let head_len = fields.number("head_dim")?.or(defaults.head_len);
        let head_len = head_len.unwrap_or_else(|| hidden / heads.max(1));
        let scaling = match fields.object("rope_parameters")? {
            None => fields.object("rope_scaling")?,
            parameters => parameters,
        };
        let theta = scaling.as_ref().map(|rope| rope.float("rope_theta")).transpose()?.flatten();
        let theta = theta.or(fields.float("rope_theta")?).unwrap_or(defaults.theta);
        let positions = fields.number("max_position_embeddings")?.unwrap_or(defaults.positions);
        let window = architecture.window.of(&fields)?;
        let frequencies = frequencies(theta, checked_head(head_len)?)?;
        let layers = checked_layers(needed("num_hidden_layers")?)?;
        let factor = |name: &str, usual: f32| match fields.float(name)? {
            Some(factor) if architecture.scaled => checked_factor(name, factor),
            Some(_) | None => Ok::<_, String>(usual),
        };
        let attention_scale = if architecture.scaled { 1.0 } else { usual_scale(head_len) };
        let [query_key_value, output] = architecture.attention_bias.of(&fields)?;
        let [feed_forward, _] = architecture.feed_forward_bias.of(&fields)?;
        let mut ends = fields.ids("eos_token_id")?;
        ends.extend(generation.ids("eos_token_id")?);
        Ok(Self {
            architecture,
            shape: Shape {
                hidden,
                heads,
                kv_heads: kv_heads.unwrap_or(heads),
                head_len,
                intermediate: needed("intermediate_size")?,
                vocabulary: needed("vocab_size")?,
                epsilon: fields.float("rms_norm_eps")?.unwrap_or(1e-6) as f32,
                frequencies: scaled(frequencies, scaling.as_ref())?,
                context: positions.min(window.unwrap_or(usize::MAX)),
                attention_scale: factor("attention_multiplier", attention_scale)?,
                residual_scale: factor("residual_multiplier", 1.0)?,
                logit_scale: factor("logits_scaling", 1.0)?.recip(),
            },
            rotates: architecture.rotation.of(&fields, layers)?,
            biases: HasBias { query_key_value, output, feed_forward },
            embedding_scale: factor("embedding_multiplier", 1.0)?,
            tied: fields.truth("tie_word_embeddings")?.unwrap_or(defaults.tied),
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
        let architecture = gguf_schema::architecture(gguf)?;
        let kind = architecture.gguf;
        let optional = |name: &str| {
            gguf.number(&format!("{kind}.{name}")).and_then(|number| usize::try_from(number).ok())
        };
        let number = |name: &str| {
            optional(name).ok_or_else(|| format!("{kind}.{name} is missing, or no whole number"))
        };
        let (hidden, heads) = (number("embedding_length")?, number("attention.head_count")?);
        let head_len = optional("attention.key_length").unwrap_or_else(|| hidden / heads.max(1));
        let head_len = checked_head(head_len)?;
        for part in ["rope.dimension_count", "attention.value_length"] {
            if let Some(found) = optional(part).filter(|found| *found != head_len) {
                return Err(format!(
                    "{kind}.{part} is {found}, only that of the heads, {head_len}, is supported"
                ));
            }
        }
        let float = |name: &str| gguf.float(&format!("{kind}.{name}"));
        let mut frequencies = frequencies(float("rope.freq_base").unwrap_or(10_000.0), head_len)?;
        // Files of 2023 have the factor under an older name, and no type.
        let factor = match gguf.text(&format!("{kind}.rope.scaling.type")) {
            Some("none") => None,
            _ => float("rope.scaling.factor").or_else(|| float("rope.scale_linear")),
        };
        if let Some(factor) = factor.filter(|factor| *factor != 0.0) {
            let factor = positive(&format!("{kind}.rope.scaling.factor"), Some(factor))?;
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
        // llama.cpp takes 0 for a factor that is not given.
        let factor = |name: &str, usual: f32| match float(name).filter(|factor| *factor != 0.0) {
            Some(factor) if architecture.scaled => checked_factor(&format!("{kind}.{name}"), factor),
            Some(_) | None => Ok::<_, String>(usual),
        };
        let layers = checked_layers(number("block_count")?)?;
        // The schema rejects biases that the architecture never has.
        let has = |parts: &[&str]| {
            parts.iter().any(|part| gguf.tensors.contains_key(&format!("blk.0.{part}.bias")))
        };
        let always = architecture.attention_bias == Bias::QueryKeyValue;
        Ok(Self {
            architecture,
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
                attention_scale: factor("attention.scale", usual_scale(head_len))?,
                residual_scale: factor("residual_scale", 1.0)?,
                logit_scale: factor("logit_scale", 1.0)?.recip(),
            },
            rotates: architecture.rotation.of_gguf(layers),
            biases: HasBias {
                query_key_value: always || has(&["attn_q", "attn_k", "attn_v"]),
                output: has(&["attn_output"]),
                feed_forward: has(&["ffn_gate", "ffn_up", "ffn_down"]),
            },
            embedding_scale: factor("embedding_scale", 1.0)?,
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
            ("the length of the context", shape.context, usize::MAX),
        ];
        for (what, found, most) in numbers {
            within(what, found, most).map_err(DecoderError::Config)?;
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

/// Tells whether a `config.json` is that of a decoder, valid or not.
pub(crate) fn is_decoder(json: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Kind {
        model_type: String,
    }
    serde_json::from_slice::<Kind>(json).is_ok_and(|kind| Architecture::by_type(&kind.model_type).is_some())
}

/// Checks the number of layers, before anything is made for each.
fn checked_layers(layers: usize) -> Result<usize, String> {
    within("the number of layers", layers, LAYERS_MAX).map(|()| layers)
}

fn within(what: &str, found: usize, most: usize) -> Result<(), String> {
    if (1..=most).contains(&found) { Ok(()) } else { Err(format!("{what} is {found}, expected 1 to {most}")) }
}

fn refusal(reason: String) -> DecoderError {
    DecoderError::Config(reason)
}

/// Rejects settings that transformers supports for these models and this program does not.
fn refuse_what_is_not_computed(
    fields: &Fields,
    generation: &Fields,
    architecture: &Architecture,
) -> Result<(), String> {
    let (off, on) = (json!(false), json!(true));
    if let Some(classes) = fields.get("architectures")
        && let Some(classes) = classes.as_array().filter(|classes| !classes.is_empty())
        && !classes.iter().any(|class| class.as_str().is_some_and(|class| class.ends_with("ForCausalLM")))
    {
        return Err(fields.wrong("architectures", &json!(classes), "a class that ends with ForCausalLM"));
    }
    fields.refuse_unless("hidden_act", &[json!("silu"), json!("swish")])?;
    for name in ["add_cross_attention", "is_encoder_decoder", "use_bidirectional_attention"] {
        fields.refuse_unless(name, std::slice::from_ref(&off))?;
    }
    fields.refuse_unless("is_causal", &[on])?;
    fields.refuse_unless("partial_rotary_factor", &[json!(1)])?;
    fields.refuse_unless("pruned_heads", &[json!({}), json!([])])?;
    fields.refuse_unless("quantization_config", &[json!({})])?;
    let factors = ["embedding_multiplier", "attention_multiplier", "residual_multiplier", "logits_scaling"];
    for name in factors.into_iter().filter(|_| !architecture.scaled) {
        fields.refuse_unless(name, &[json!(1)])?;
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

fn checked_factor(name: &str, factor: f64) -> Result<f32, String> {
    let checked = factor as f32;
    if checked.is_normal() { Ok(checked) } else { Err(format!("{name} is {factor}")) }
}

/// Returns the factor of the products of queries and keys (Vaswani et al., 2017).
fn usual_scale(head_len: usize) -> f32 {
    (head_len as f32).sqrt().recip()
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

    fn with(more: &str) -> Result<DecoderConfig, DecoderError> {
        DecoderConfig::parse(format!("{TINY}{more}}}").as_bytes(), None)
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
            DecoderConfig::parse(json.as_bytes(), None).unwrap().shape
        };
        let of = |shape: Shape| (shape.kv_heads, shape.context);
        assert_eq!(of(mistral(r#","num_key_value_heads":2"#)), (2, 4096));
        assert_eq!(of(mistral(r#","num_key_value_heads":null,"sliding_window":null"#)), (4, 9999));
        assert_eq!(of(mistral(r#","num_key_value_heads":1,"sliding_window":16"#)), (1, 16));
        // End tokens of both files count, also in a list. Tokens outside the vocabulary do no harm.
        let both = DecoderConfig::parse(
            format!("{TINY}}}").as_bytes(),
            Some(br#"{"eos_token_id":[7,999],"bos_token_id":3}"#),
        );
        let both = both.unwrap();
        assert_eq!((both.eos, both.bos), (vec![1, 2, 7, 999], Some(3)));
    }

    #[test]
    fn defaults_are_those_of_each_architecture() {
        let of = |kind: &str, more: &str| {
            let json = format!("{TINY}{more}}}").replace("llama", kind).replace(":128,\"rms", ":9999,\"rms");
            DecoderConfig::parse(json.as_bytes(), None)
        };
        let qwen3 = of("qwen3", r#","num_key_value_heads":2"#).unwrap();
        assert_eq!((qwen3.shape.head_len, qwen3.shape.context), (128, 9999));
        assert!(of("qwen3", "").unwrap_err().to_string().contains("heads of keys is 32"));
        // A window counts only if it is used, and only if a layer has it.
        let window = |more: &str| {
            let more = format!(r#","num_key_value_heads":2,"sliding_window":16{more}"#);
            of("qwen2", &more).map(|config| config.shape.context)
        };
        assert_eq!(window("").unwrap(), 9999);
        assert_eq!(window(r#","use_sliding_window":true"#).unwrap(), 16);
        let all = r#","use_sliding_window":true,"layer_types":["full_attention","full_attention"]"#;
        assert_eq!(window(all).unwrap(), 9999);
        assert!(window(r#","layer_types":["sliding_attention"]"#).is_err());
        let smollm3 = of("smollm3", r#","num_key_value_heads":2,"num_hidden_layers":8"#);
        let smollm3 = smollm3.unwrap();
        assert_eq!(smollm3.rotates, [true, true, true, false, true, true, true, false]);
        assert!(smollm3.tied);
        let granite = of("granite", r#","logits_scaling":4,"residual_multiplier":0.5"#).unwrap();
        assert_eq!((granite.shape.attention_scale, granite.shape.logit_scale), (1.0, 0.25));
        assert_eq!((granite.shape.residual_scale, granite.embedding_scale), (0.5, 1.0));
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
            DecoderConfig::from_gguf(&gguf, None).unwrap().shape.frequencies
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
            (r#","architectures":["LlamaModel"]"#, "ForCausalLM"),
            (r#","attention_bias":"no""#, "attention_bias"),
            (r#","hidden_act":"gelu""#, "gelu"),
            (r#","num_key_value_heads":3"#, "share"),
            (r#","num_key_value_heads":0"#, "heads of keys"),
            (r#","head_dim":7"#, "length 7"),
            (r#","bos_token_id":"<s>""#, "bos_token_id"),
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
                DecoderConfig::parse(generation.as_bytes(), Some(json.as_bytes())).unwrap_err().to_string();
            assert!(error.contains(reason), "{error} for {json}");
        }
        let other = format!("{TINY}}}").replace("llama", "gpt_neox");
        assert!(DecoderConfig::parse(other.as_bytes(), None).unwrap_err().to_string().contains("gpt_neox"));
        assert!(DecoderConfig::parse(b"{}", None).is_err());
        let huge = format!("{TINY}}}").replace(":64,", ":640000000000,");
        assert!(DecoderConfig::parse(huge.as_bytes(), None).unwrap_err().to_string().contains("length"));
    }
}
