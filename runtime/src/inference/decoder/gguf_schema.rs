//! The keys and tensors that a GGUF file of a decoder may have. Each is read, has no effect, or is rejected by
//! name: nothing in a file is ignored silently.

use super::architectures::{Architecture, Bias};
use super::gguf::{Gguf, Value};
use std::f64::consts::SQRT_2;

/// Checks the names of keys and tensors, the types of values, and values that are not supported.
///
/// # Errors
/// Returns the unsupported feature.
pub(crate) fn check(gguf: &Gguf) -> Result<(), String> {
    if let Some(parts) = gguf.number("split.count").filter(|parts| *parts > 1) {
        let part = gguf.number("split.no").map_or(0, |part| part + 1);
        return Err(format!(
            "it is part {part} of {parts} of a split file, which is not supported; hint: join the parts with llama.cpp's \
             gguf-split --merge"
        ));
    }
    let architecture = architecture(gguf)?;
    if let Some(kind) = gguf.text("general.type").filter(|kind| *kind != "model") {
        return Err(format!("general.type: it is a file of type {:?}, not a model", shown(kind)));
    }
    for (name, value) in &gguf.metadata {
        check_key(name, value, architecture)?;
    }
    check_scale_of_attention(gguf, architecture)?;
    check_tensors(gguf, architecture)
}

/// Returns the architecture of a file.
///
/// # Errors
/// Returns the reason if it is not supported.
pub(super) fn architecture(gguf: &Gguf) -> Result<&'static Architecture, String> {
    let name = gguf.text("general.architecture").unwrap_or("nothing");
    let refusal = || {
        let names = Architecture::gguf_names();
        format!("general.architecture: {:?} is not supported; {names} are", shown(name))
    };
    Architecture::by_gguf(name).ok_or_else(refusal)
}

/// Checks one key and its value.
fn check_key(name: &str, value: &Value, architecture: &Architecture) -> Result<(), String> {
    let (kind, keys) = match name.split_once('.') {
        Some((kind, _)) if kind == architecture.gguf => (kind, KEYS),
        Some(("tokenizer", rest)) if rest.starts_with("chat_template") => {
            return text_of_template(name, value);
        }
        Some(("tokenizer", _)) => ("tokenizer", TOKENIZER),
        // Descriptions of the file, and keys of other programs.
        _ => return Ok(()),
    };
    let rest = &name[kind.len() + 1..];
    let Some((_, expected)) = keys.iter().find(|(key, _)| *key == rest) else {
        return Err(format!("{}: this key is not supported", shown(name)));
    };
    let is_factor = architecture.scaled && kind == architecture.gguf && FACTORS.contains(&rest);
    let expected = if is_factor { Expected::Float } else { *expected };
    match expected.mismatch(value) {
        None => Ok(()),
        Some(expected) => {
            Err(format!("{}: {} is not supported, only {expected} is", shown(name), told(value)))
        }
    }
}

/// Templates with other names are for tool calls, which are not supported.
fn text_of_template(name: &str, value: &Value) -> Result<(), String> {
    if matches!(value, Value::Text(_) | Value::Texts(_)) {
        return Ok(());
    }
    Err(format!("{}: {} is no template", shown(name), told(value)))
}

/// Checks that the attention scale, if it is given, is the default for the head length, unless the architecture has its
/// own.
fn check_scale_of_attention(gguf: &Gguf, architecture: &Architecture) -> Result<(), String> {
    let key = |name: &str| format!("{}.{name}", architecture.gguf);
    let name = key("attention.scale");
    let given = gguf.float(&name).filter(|scale| *scale != 0.0 && !architecture.scaled);
    let Some(scale) = given else { return Ok(()) };
    let heads = gguf.number(&key("attention.head_count")).unwrap_or(1).max(1);
    let len = gguf.number(&key("attention.key_length"));
    let len = len.or_else(|| gguf.number(&key("embedding_length")).map(|hidden| hidden / heads)).unwrap_or(1);
    let usual = (len as f64).sqrt().recip();
    let near = (scale / usual - 1.0).abs() < SQRT_2 * 1e-6;
    if near { Ok(()) } else { Err(format!("{name}: {scale} is not supported, only {usual} is")) }
}

fn check_tensors(gguf: &Gguf, architecture: &Architecture) -> Result<(), String> {
    // A layer without the tensors of the first one misses them when it is loaded; one with more would lose them.
    let in_first = |part: &str| gguf.tensors.contains_key(&format!("blk.0.{part}"));
    let may_have = |part: &str| match part.strip_suffix(".bias") {
        Some("attn_q" | "attn_k" | "attn_v") => architecture.attention_bias != Bias::Never,
        Some("attn_output") => matches!(architecture.attention_bias, Bias::Field(_)),
        Some("ffn_gate" | "ffn_up" | "ffn_down") => architecture.feed_forward_bias != Bias::Never,
        Some(_) => false,
        None => HEAD_NORMS.contains(&part) && architecture.head_norms,
    };

    for name in gguf.tensors.keys() {
        let part = match name.strip_prefix("blk.").and_then(|rest| rest.split_once('.')) {
            Some((layer, part)) if layer.bytes().all(|digit| digit.is_ascii_digit()) => Some(part),
            _ => None,
        };
        let known = part.map_or_else(
            || TENSORS.contains(&name.as_str()),
            |part| PARTS.contains(&part) || may_have(part) && in_first(part),
        );
        if !known {
            return Err(format!(
                "tensor {} is not supported: the model needs it, and nothing here reads it",
                shown(name)
            ));
        }
    }
    Ok(())
}

/// The accepted values of a key.
#[derive(Clone, Copy, Debug)]
enum Expected {
    /// Any value: it has no effect.
    Any,
    Float,
    /// Not supported: only one of these neutral values.
    FloatOf(&'static [f64]),
    Floats,
    Integers,
    Number,
    /// Not supported: only 0.
    Zero,
    Text,
    /// One of these texts.
    TextOf(&'static [&'static str]),
    Texts,
    Truth,
    /// Only this one is supported.
    TruthOf(bool),
}

impl Expected {
    /// Returns a description of the expected value if `value` does not match.
    fn mismatch(self, value: &Value) -> Option<String> {
        let is_one = |numbers: &[i32]| {
            numbers.first().is_some_and(|first| *first >= 0 && numbers.iter().all(|number| number == first))
        };
        let is_number = matches!(value, Value::Integer(0..))
            || matches!(value, Value::Integers(numbers) if is_one(numbers));
        let (fits, expected) = match self {
            Self::Any => (true, String::new()),
            Self::Float => (matches!(value, Value::Float(_)), "a floating-point number".to_owned()),
            Self::FloatOf(numbers) => {
                let fits = matches!(value, Value::Float(number) if numbers.contains(number));
                (fits, numbers.iter().map(f64::to_string).collect::<Vec<_>>().join(" or "))
            }
            Self::Floats => {
                (matches!(value, Value::Floats(_)), "a list of floating-point numbers".to_owned())
            }
            Self::Integers => (matches!(value, Value::Integers(_)), "a list of whole numbers".to_owned()),
            Self::Number => (is_number, "one whole number for all layers".to_owned()),
            Self::Zero => (is_number && matches!(value, Value::Integer(0)), "0".to_owned()),
            Self::Text => (matches!(value, Value::Text(_)), "a text".to_owned()),
            Self::TextOf(texts) => {
                let fits = matches!(value, Value::Text(text) if texts.contains(&text.as_str()));
                (fits, texts.join(" or "))
            }
            Self::Texts => (matches!(value, Value::Texts(_)), "a list of texts".to_owned()),
            Self::Truth => (matches!(value, Value::Bool(_)), "true or false".to_owned()),
            Self::TruthOf(truth) => (*value == Value::Bool(truth), truth.to_string()),
        };
        (!fits).then_some(expected)
    }
}

/// Formats a value for an error.
fn told(value: &Value) -> String {
    match value {
        Value::Bool(truth) => truth.to_string(),
        Value::Float(number) => format!("{number:?}"),
        Value::Floats(_) => "a list of floating-point numbers".to_owned(),
        Value::Integer(number) => number.to_string(),
        Value::Integers(_) => "a list of different numbers".to_owned(),
        Value::Other => "a list of another type".to_owned(),
        Value::Text(text) => format!("{:?}", shown(text)),
        Value::Texts(_) => "a list of texts".to_owned(),
    }
}

fn shown(text: &str) -> String {
    text.chars().take(SHOWN_CHARS).collect()
}

/// Keys after the name of the architecture. A factor may only have a neutral value, unless the architecture has factors.
const KEYS: &[(&str, Expected)] = &[
    ("attention.causal", Expected::TruthOf(true)),
    ("attention.head_count", Expected::Number),
    ("attention.head_count_kv", Expected::Number),
    ("attention.key_length", Expected::Number),
    ("attention.layer_norm_epsilon", Expected::Any),
    ("attention.layer_norm_rms_epsilon", Expected::Float),
    ("attention.scale", Expected::Float),
    ("attention.sliding_window", Expected::Number),
    ("attention.value_length", Expected::Number),
    ("attn_logit_softcapping", Expected::FloatOf(&[0.0])),
    ("block_count", Expected::Number),
    ("context_length", Expected::Number),
    ("embedding_length", Expected::Number),
    ("embedding_scale", Expected::FloatOf(&[0.0, 1.0])),
    ("expert_count", Expected::Zero),
    ("expert_used_count", Expected::Any),
    ("feed_forward_length", Expected::Number),
    ("final_logit_softcapping", Expected::FloatOf(&[0.0])),
    ("logit_scale", Expected::FloatOf(&[0.0, 1.0])),
    ("pooling_type", Expected::Any),
    ("residual_scale", Expected::FloatOf(&[0.0, 1.0])),
    ("rope.dimension_count", Expected::Number),
    ("rope.freq_base", Expected::Float),
    ("rope.scale_linear", Expected::Float),
    ("rope.scaling.attn_factor", Expected::FloatOf(&[1.0])),
    ("rope.scaling.factor", Expected::Float),
    ("rope.scaling.finetuned", Expected::Any),
    ("rope.scaling.original_context_length", Expected::Any),
    ("rope.scaling.type", Expected::TextOf(&["none", "linear"])),
    ("tensor_data_layout", Expected::Any),
    ("use_parallel_residual", Expected::TruthOf(false)),
    ("vocab_size", Expected::Number),
];
/// Keys after `tokenizer.`. Numbers of tokens that no text begins or ends with have no effect.
const TOKENIZER: &[(&str, Expected)] = &[
    ("ggml.add_bos_token", Expected::Truth),
    ("ggml.add_eos_token", Expected::Truth),
    ("ggml.add_sep_token", Expected::Any),
    ("ggml.add_space_prefix", Expected::Truth),
    ("ggml.added_tokens", Expected::Any),
    ("ggml.bos_token_id", Expected::Number),
    ("ggml.cls_token_id", Expected::Any),
    ("ggml.eom_token_id", Expected::Number),
    ("ggml.eos_token_id", Expected::Number),
    ("ggml.eos_token_ids", Expected::Integers),
    ("ggml.eot_token_id", Expected::Number),
    ("ggml.fim_mid_token_id", Expected::Any),
    ("ggml.fim_pad_token_id", Expected::Number),
    ("ggml.fim_pre_token_id", Expected::Any),
    ("ggml.fim_rep_token_id", Expected::Number),
    ("ggml.fim_sep_token_id", Expected::Number),
    ("ggml.fim_suf_token_id", Expected::Any),
    ("ggml.mask_token_id", Expected::Any),
    ("ggml.merges", Expected::Texts),
    ("ggml.middle_token_id", Expected::Any),
    ("ggml.model", Expected::Text),
    ("ggml.padding_token_id", Expected::Any),
    ("ggml.pre", Expected::Text),
    ("ggml.precompiled_charsmap", Expected::Any),
    ("ggml.prefix_token_id", Expected::Any),
    ("ggml.remove_extra_whitespaces", Expected::Any),
    ("ggml.scores", Expected::Floats),
    ("ggml.separator_token_id", Expected::Any),
    ("ggml.seperator_token_id", Expected::Any),
    ("ggml.suffix_token_id", Expected::Any),
    ("ggml.token_type", Expected::Integers),
    ("ggml.token_type_count", Expected::Any),
    ("ggml.tokens", Expected::Texts),
    ("ggml.unknown_token_id", Expected::Number),
    ("huggingface.json", Expected::Any),
];
/// The tensors outside the layers.
const TENSORS: [&str; 4] = ["output.weight", "output_norm.weight", "rope_freqs.weight", "token_embd.weight"];
/// The tensors of a layer. The last two are rotary tables, which are computed here.
const PARTS: [&str; 11] = [
    "attn_k.weight",
    "attn_norm.weight",
    "attn_output.weight",
    "attn_q.weight",
    "attn_v.weight",
    "ffn_down.weight",
    "ffn_gate.weight",
    "ffn_norm.weight",
    "ffn_up.weight",
    "attn_rot_embd.weight",
    "rope_freqs.weight",
];
/// The tensors of a layer that normalises the heads of queries and keys.
const HEAD_NORMS: [&str; 2] = ["attn_k_norm.weight", "attn_q_norm.weight"];
/// The keys of factors that an architecture may have.
const FACTORS: [&str; 3] = ["embedding_scale", "logit_scale", "residual_scale"];
/// The length at which a name is cut in errors.
const SHOWN_CHARS: usize = 80;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inference::decoder::gguf::{Kind, Tensor};
    use std::collections::BTreeMap;

    fn sound() -> Gguf {
        let text = |text: &str| Value::Text(text.to_owned());
        let metadata = [
            ("general.architecture", text("llama")),
            ("general.name", text("a name")),
            ("quantize.imatrix.file", text("mine")),
            ("llama.attention.head_count", Value::Integer(2)),
            ("llama.attention.head_count_kv", Value::Integers(vec![2, 2])),
            ("llama.embedding_length", Value::Integer(8)),
            ("llama.attention.scale", Value::Float(0.5)),
            ("llama.expert_count", Value::Integer(0)),
            ("tokenizer.ggml.model", text("gpt2")),
            ("tokenizer.chat_template.tool_use", text("x")),
        ];
        let tensor = || {
            Kind::from_number(0)
                .map(|kind| Tensor { kind, rows: 1, columns: 4, start: 0, bytes: 16 })
                .unwrap()
        };
        let tensors = ["token_embd.weight", "blk.0.attn_q.weight", "blk.11.ffn_up.weight"];
        Gguf {
            metadata: metadata.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
            tensors: tensors.into_iter().map(|name| (name.to_owned(), tensor())).collect::<BTreeMap<_, _>>(),
        }
    }

    #[test]
    fn what_nothing_reads_is_refused_by_its_name() {
        assert_eq!(check(&sound()), Ok(()));
        let text = |text: &str| Value::Text(text.to_owned());
        let keys = [
            ("general.architecture", text("bert"), "\"bert\" is not supported; granite, llama, qwen2"),
            ("general.type", text("adapter"), "general.type"),
            ("split.count", Value::Integer(3), "of 3 of a split file"),
            ("llama.attention.clamp_kqv", Value::Float(8.0), "llama.attention.clamp_kqv"),
            ("llama.attention.scale", Value::Float(0.25), "llama.attention.scale: 0.25"),
            ("llama.attention.head_count_kv", Value::Integers(vec![2, 1]), "llama.attention.head_count_kv"),
            ("llama.logit_scale", Value::Float(0.5), "llama.logit_scale: 0.5"),
            ("llama.expert_count", Value::Integer(8), "llama.expert_count: 8"),
            ("llama.rope.freq_base", Value::Integer(10_000), "llama.rope.freq_base: 10000"),
            ("llama.rope.scaling.type", text("yarn"), "llama.rope.scaling.type: \"yarn\""),
            ("llama.context_length", text("128"), "llama.context_length: \"128\""),
            ("tokenizer.ggml.add_bos_token", Value::Integer(1), "tokenizer.ggml.add_bos_token: 1"),
            ("tokenizer.ggml.suppress_tokens", Value::Integers(vec![1]), "tokenizer.ggml.suppress_tokens"),
            ("tokenizer.chat_template", Value::Integer(1), "tokenizer.chat_template: 1"),
        ];
        for (name, value, reason) in keys {
            let mut gguf = sound();
            gguf.metadata.insert(name.to_owned(), value);
            let error = check(&gguf).unwrap_err();
            assert!(error.contains(reason), "{error} for {name}");
        }
        let names =
            ["blk.1.attn_q.bias", "blk.0.attn_q_norm.weight", "blk.0.ffn_up_exps.weight", "output.bias"];
        for name in names.into_iter().chain(["rope_factors_long.weight", "blk.x.attn_q.weight", "blk.0"]) {
            let mut gguf = sound();
            let tensor = gguf.tensors["token_embd.weight"].clone();
            gguf.tensors.insert(name.to_owned(), tensor);
            let error = check(&gguf).unwrap_err();
            assert!(error.contains(&format!("tensor {name} is not supported")), "{error}");
        }
    }
}
