//! The supported decoder architectures, one file each: how their configurations differ from Llama's, as transformers and
//! llama.cpp read them.

mod granite;
mod llama;
mod mistral;
mod qwen2;
mod qwen3;
mod smollm3;

use super::json_fields::Fields;

/// What an architecture adds to a Llama, and the defaults of its configuration.
#[derive(Debug, PartialEq)]
pub(crate) struct Architecture {
    /// `model_type` in `config.json`.
    pub(crate) model_type: &'static str,
    /// The class in `architectures` of `config.json`.
    class: &'static str,
    /// `general.architecture` in a GGUF file, with which its keys begin.
    pub(super) gguf: &'static str,
    /// Whether a GGUF file has the numbers of a rotary pair adjacent, not half a head apart.
    pub(super) gguf_interleaved: bool,
    /// When queries, keys, values and the output of attention have biases.
    pub(super) attention_bias: Bias,
    /// When the feed-forward network has biases.
    pub(super) feed_forward_bias: Bias,
    /// Whether each head of queries and keys is normalised.
    pub(super) head_norms: bool,
    /// Which layers rotate queries and keys.
    pub(super) rotation: Rotation,
    /// When keys and values beyond a window are not seen.
    pub(super) window: Window,
    /// Whether it has factors for embeddings, attention, the residual stream and logits.
    pub(super) scaled: bool,
    /// The values of absent fields.
    pub(super) defaults: Defaults,
}

/// When projections have biases.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Bias {
    /// Never. The field of this name has no effect.
    Never,
    /// Queries, keys and values always have one, the output of attention never.
    QueryKeyValue,
    /// If the field of this name says so.
    Field(&'static str),
}

/// Which layers rotate queries and keys.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Rotation {
    All,
    /// All but each fourth one, unless `no_rope_layers` or `no_rope_layer_interval` says otherwise.
    ExceptEachFourth,
}

/// When keys and values beyond a window are not seen. The window is not implemented, so the context ends with it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Window {
    Never,
    /// `sliding_window` holds for all layers; the number is its default.
    Always(usize),
    /// `sliding_window` holds if `use_sliding_window` says so.
    IfUsed,
}

/// The values of absent fields.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Defaults {
    /// `num_key_value_heads`; as many as heads of queries if `None`, or if the field is `null`.
    pub(super) kv_heads: Option<usize>,
    /// `head_dim`; the hidden size divided by the heads if `None`.
    pub(super) head_len: Option<usize>,
    /// `max_position_embeddings`.
    pub(super) positions: usize,
    /// `rope_theta`.
    pub(super) theta: f64,
    /// `tie_word_embeddings`.
    pub(super) tied: bool,
}

impl Architecture {
    /// Finds an architecture by the `model_type` of a `config.json`.
    pub(crate) fn by_type(model_type: &str) -> Option<&'static Self> {
        ALL.into_iter().find(|architecture| architecture.model_type == model_type)
    }

    /// Finds an architecture by the `general.architecture` of a GGUF file.
    pub(super) fn by_gguf(name: &str) -> Option<&'static Self> {
        ALL.into_iter().find(|architecture| architecture.gguf == name)
    }

    /// Returns the class and the `model_type` of each architecture.
    pub(super) fn all_names() -> impl Iterator<Item = &'static str> {
        ALL.into_iter().flat_map(|architecture| [architecture.class, architecture.model_type])
    }

    /// Returns the names that `config.json` may have as its `model_type`.
    pub(super) fn types() -> String {
        names(|architecture| architecture.model_type)
    }

    /// Returns the names that a GGUF file may have as its `general.architecture`.
    pub(super) fn gguf_names() -> String {
        names(|architecture| architecture.gguf)
    }
}

fn names(name: fn(&Architecture) -> &'static str) -> String {
    let mut names: Vec<&str> = ALL.into_iter().map(name).collect();
    names.dedup();
    names.join(", ")
}

impl Bias {
    /// Tells whether `config.json` asks for biases of the first projections, and of the last one.
    pub(super) fn of(self, fields: &Fields) -> Result<[bool; 2], String> {
        Ok(match self {
            Self::Never => [false; 2],
            Self::QueryKeyValue => [true, false],
            Self::Field(name) => [fields.truth(name)?.unwrap_or(false); 2],
        })
    }
}

impl Rotation {
    /// Tells for each layer whether `config.json` asks for rotation.
    pub(super) fn of(self, fields: &Fields, layers: usize) -> Result<Vec<bool>, String> {
        if self == Self::All {
            return Ok(vec![true; layers]);
        }
        let Some(listed) = fields.get("no_rope_layers") else {
            let interval = fields.number("no_rope_layer_interval")?.unwrap_or(ROTATION_INTERVAL);
            return Ok(Self::except_each(interval, layers));
        };
        let rotates: Option<Vec<bool>> = listed.as_array().and_then(|all| {
            all.iter().map(|one| one.as_u64().filter(|one| *one < 2).map(|one| one == 1)).collect()
        });
        rotates
            .filter(|rotates| rotates.len() == layers)
            .ok_or_else(|| fields.wrong("no_rope_layers", listed, &format!("{layers} numbers of 0 or 1")))
    }

    /// Tells for each layer of a GGUF file whether it rotates. No key says it.
    pub(super) fn of_gguf(self, layers: usize) -> Vec<bool> {
        match self {
            Self::All => vec![true; layers],
            Self::ExceptEachFourth => Self::except_each(ROTATION_INTERVAL, layers),
        }
    }

    fn except_each(interval: usize, layers: usize) -> Vec<bool> {
        (1..=layers).map(|layer| interval == 0 || !layer.is_multiple_of(interval)).collect()
    }
}

impl Window {
    /// Returns the window that `config.json` asks for.
    pub(super) fn of(self, fields: &Fields) -> Result<Option<usize>, String> {
        let given = |default| match fields.number("sliding_window")? {
            None if !fields.has("sliding_window") => Ok(Some(default)),
            window => Ok::<_, String>(window),
        };
        let window = match self {
            Self::Never => None,
            Self::Always(default) => given(default)?,
            Self::IfUsed if fields.truth("use_sliding_window")?.unwrap_or(false) => given(WINDOW)?,
            Self::IfUsed => None,
        };
        let Some(kinds) = fields.get("layer_types") else { return Ok(window) };
        let all_are = |known: &[&str]| {
            kinds.as_array().is_some_and(|kinds| kinds.iter().all(|kind| known.iter().any(|one| kind == one)))
        };
        match (self, window) {
            (Self::IfUsed, _) if all_are(&[FULL]) => Ok(None),
            (Self::IfUsed, Some(_)) if all_are(&[FULL, "sliding_attention"]) => Ok(window),
            _ if all_are(&[FULL]) => Ok(window),
            _ => Err(fields.wrong("layer_types", kinds, "full_attention for all layers")),
        }
    }
}

/// All architectures.
const ALL: [&Architecture; 6] = [
    &granite::ARCHITECTURE,
    &llama::ARCHITECTURE,
    &mistral::ARCHITECTURE,
    &qwen2::ARCHITECTURE,
    &qwen3::ARCHITECTURE,
    &smollm3::ARCHITECTURE,
];
/// The type of a layer that sees all tokens before.
const FULL: &str = "full_attention";
/// Every layer whose number is a multiple of this one does not rotate.
const ROTATION_INTERVAL: usize = 4;
/// The default of `sliding_window` where `use_sliding_window` says whether it is used.
const WINDOW: usize = 4096;
