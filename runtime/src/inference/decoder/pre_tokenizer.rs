//! The pre-tokenizers of BPE vocabularies, which split a text into words, by their names in GGUF files.
//!
//! The rules are llama.cpp's (November 2026). Each is a list of patterns. A later pattern splits both the matches and
//! the rest of the earlier ones; unmatched text is a word. Rules that need more than patterns are not supported.

use serde_json::{Value, json};

/// A pre-tokenizer rule.
#[derive(Clone, Copy, Debug)]
pub(super) struct PreTokenizerRule {
    patterns: &'static [&'static str],
    /// Whether a word that is a token bypasses the merges.
    pub(super) ignores_merges: bool,
    /// Whether a text begins with the begin-of-text token by default.
    pub(super) adds_bos: bool,
}

impl PreTokenizerRule {
    /// Finds a rule by its name in a file.
    pub(super) fn by_name(name: &str) -> Option<Self> {
        let plain = |patterns| Self { patterns, ignores_merges: false, adds_bos: false };
        Some(match name {
            // Files without a name are older than the names; their vocabularies are like GPT-2's.
            "default" | "gpt-2" | "phi-2" | "jina-es" | "jina-de" | "jina-v2-es" | "jina-v2-de"
            | "gigachat" | "a.x-4.0" | "mellum" | "modern-bert" | "mpt" | "olmo" | "jais" | "trillion"
            | "granite-docling" | "exaone4" => plain(&[GPT2]),
            "llama-bpe" | "llama3" | "llama-v3" | "falcon3" | "falcon-h1" | "pixtral" | "midm-2.0"
            | "lfm2" | "jina-v5-nano" => Self { patterns: &[LLAMA3], ignores_merges: true, adds_bos: true },
            "smaug-bpe" | "dbrx" | "glm4" | "chatglm-bpe" => plain(&[LLAMA3]),
            "minicpm5" => Self { ignores_merges: true, ..plain(&["\\p{N}{1,3}", MINICPM5]) },
            "smollm" | "starcoder" | "refact" | "command-r" | "codeshell" | "exaone" | "minerva-7b"
            | "mellum2" => plain(&["\\p{N}", GPT2]),
            "qwen2" | "stablelm2" | "hunyuan" | "solar-open" | "deepseek-r1-qwen" | "kormo" | "f2llmv2"
            | "megrez" | "grok-2" => plain(&[QWEN2]),
            "qwen35" => plain(&[QWEN35]),
            "tekken" => Self { patterns: &[TEKKEN], ignores_merges: true, adds_bos: true },
            "gpt-4o" | "llama4" | "kanana2" | "talkie" | "minimax-m2" => plain(&[GPT4O]),
            "deepseek-llm" => {
                plain(&["[\\r\\n]", DEEPSEEK_LETTERS, DEEPSEEK_MARKS, "\\s+$", DEEPSEEK_HAN, "\\p{N}+"])
            }
            "deepseek-coder" => plain(&["[\\r\\n]", "\\s?\\p{L}+", "\\s?\\p{P}+", DEEPSEEK_HAN, "\\p{N}"]),
            "deepseek-v3" | "hunyuan-dense" | "joyai-llm" | "hy_v4" => {
                plain(&["\\p{N}{1,3}", HAN_KANA, DEEPSEEK3])
            }
            "falcon" => plain(&["[\\p{P}\\$\\+<=>\\^~\\|`]+", GPT2, "[0-9][0-9][0-9]"]),
            "seed-coder" => plain(&[SEED_CODER]),
            "bailingmoe" | "bailingmoe2" | "llada-moe" => plain(&[BAILING]),
            "ufakzeka" => plain(&[UFAKZEKA]),
            "laguna" => plain(&["[^\\n]+|[\\n]+", QWEN2]),
            "bloom" | "gpt3-finnish" | "poro-chat" => plain(&[BLOOM]),
            "viking" => plain(&[BLOOM, "\\p{N}"]),
            _ => return None,
        })
    }

    /// Returns the rule in the form of a `tokenizer.json`, followed by the byte-level step.
    pub(super) fn described(self) -> Value {
        let split = |pattern: &&str| json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false});
        let mut steps: Vec<Value> = self.patterns.iter().map(split).collect();
        steps.push(bytes());
        json!({"type": "Sequence", "pretokenizers": steps})
    }
}

/// Returns the byte-level step, which maps bytes to visible characters.
pub(super) fn bytes() -> Value {
    json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false})
}

const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)";
const LLAMA3: &str = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const MINICPM5: &str = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}+| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN35: &str = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?((?=[\p{L}])([^a-z]))*((?=[\p{L}])([^A-Z]))+|[^\r\n\p{L}\p{N}]?((?=[\p{L}])([^a-z]))+((?=[\p{L}])([^A-Z]))*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const GPT4O: &str = r"[^\r\n\p{L}\p{N}]?((?=[\p{L}])([^a-z]))*((?=[\p{L}])([^A-Z]))+(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])?|[^\r\n\p{L}\p{N}]?((?=[\p{L}])([^a-z]))+((?=[\p{L}])([^A-Z]))*(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const SEED_CODER: &str = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+";
const BAILING: &str = r"'(?:[sSdDmMtT]|[lL][lL]|[vV][eE]|[rR][eE])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+";
const UFAKZEKA: &str = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const BLOOM: &str = r" ?[^(\s|.,!?\x{2026}\x{3002}\x{FF0C}\x{3001}\x{0964}\x{06D4}\x{060C})]+";
const HAN_KANA: &str = r"[\x{4E00}-\x{9FA5}\x{3040}-\x{309F}\x{30A0}-\x{30FF}]+";
const DEEPSEEK3: &str = r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"##;
const DEEPSEEK_HAN: &str = r"[\x{4E00}-\x{9FA5}\x{0800}-\x{4E00}\x{AC00}-\x{D7FF}]+";
const DEEPSEEK_MARKS: &str =
    r"\s?[!-/:-~\x{FF01}-\x{FF0F}\x{FF1A}-\x{FF5E}\x{2018}-\x{201F}\x{3000}-\x{3002}]+";
/// Letters with cases, as they were when that vocabulary was made.
const DEEPSEEK_LETTERS: &str = concat!(
    r"\s?[A-Za-z\x{B5}\x{C0}-\x{D6}\x{D8}-\x{F6}\x{F8}-\x{1BA}\x{1BC}-\x{1BF}\x{1C4}-\x{293}\x{295}-\x{2AF}",
    r"\x{370}-\x{373}\x{376}\x{377}\x{37B}-\x{37D}\x{37F}\x{386}\x{388}-\x{38A}\x{38C}\x{38E}-\x{3A1}\x{3A3}-\x{3F5}",
    r"\x{3F7}-\x{481}\x{48A}-\x{52F}\x{531}-\x{556}\x{10A0}-\x{10C5}\x{13A0}-\x{13F5}\x{13F8}-\x{13FD}",
    r"\x{1C90}-\x{1CBA}\x{1CBD}-\x{1CBF}\x{1D00}-\x{1D2B}\x{1D6B}-\x{1D77}\x{1D79}-\x{1D9A}\x{1E00}-\x{1F15}",
    r"\x{1F18}-\x{1F1D}\x{1F20}-\x{1F45}\x{1F48}-\x{1F4D}\x{1F50}-\x{1F57}\x{1F59}\x{1F5B}\x{1F5D}\x{1F5F}-\x{1F7D}",
    r"\x{1F80}-\x{1FB4}\x{1FB6}-\x{1FBC}\x{1FBE}\x{1FC2}-\x{1FC4}\x{1FC6}-\x{1FCC}\x{1FD0}-\x{1FD3}\x{1FD6}-\x{1FDB}",
    r"\x{1FE0}-\x{1FEC}\x{1FF2}-\x{1FF4}\x{1FF6}-\x{1FFC}\x{2102}\x{2107}\x{210A}-\x{2113}\x{2115}\x{2119}-\x{211D}",
    r"\x{2124}\x{2126}\x{2128}\x{212A}-\x{212D}\x{212F}-\x{2134}\x{2139}\x{213C}-\x{213F}\x{2145}-\x{2149}\x{214E}",
    r"\x{2183}\x{2184}\x{2C00}-\x{2C7B}\x{2C7E}-\x{2CE4}\x{2CEB}-\x{2CEE}\x{2CF2}\x{2CF3}\x{A640}-\x{A66D}",
    r"\x{A680}-\x{A69B}\x{A722}-\x{A76F}\x{A771}-\x{A787}\x{A78B}-\x{A78E}\x{AB70}-\x{ABBF}\x{FB00}-\x{FB06}",
    r"\x{FB13}-\x{FB17}\x{FF21}-\x{FF3A}\x{FF41}-\x{FF5A}\x{10400}-\x{1044F}\x{104B0}-\x{104D3}\x{104D8}-\x{104FB}",
    r"\x{10C80}-\x{10CB2}\x{10CC0}-\x{10CF2}\x{118A0}-\x{118DF}\x{1E900}-\x{1E943}]+",
);

#[cfg(test)]
mod tests {
    use super::*;
    use tokenizers::{OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer, PreTokenizerWrapper};

    /// Splits a text into words by a rule.
    fn words(rule: &str, text: &str) -> Vec<String> {
        let rule = PreTokenizerRule::by_name(rule).unwrap_or_else(|| panic!("no rule {rule}"));
        let it: PreTokenizerWrapper = serde_json::from_value(rule.described()).unwrap();
        let mut split = PreTokenizedString::from(text);
        it.pre_tokenize(&mut split).unwrap();
        let splits = split.get_splits(OffsetReferential::Original, OffsetType::Byte);
        splits.into_iter().map(|(_, (start, end), _)| text[start..end].to_owned()).collect()
    }

    #[test]
    fn texts_are_split_as_each_rule_says() {
        let text = "Don't  split 12345 words,\n\nplease! x=3.1415";
        let told = |rule: &str| words(rule, text).join("¦");
        assert_eq!(told("gpt-2"), "Don¦'t¦ ¦ split¦ 12345¦ words¦,¦\n¦\n¦please¦!¦ x¦=¦3¦.¦1415");
        assert_eq!(told("llama-bpe"), "Don¦'t¦ ¦ split¦ ¦123¦45¦ words¦,\n\n¦please¦!¦ x¦=¦3¦.¦141¦5");
        assert_eq!(told("smollm"), "Don¦'t¦ ¦ split¦ ¦1¦2¦3¦4¦5¦ words¦,¦\n¦\n¦please¦!¦ x¦=¦3¦.¦1¦4¦1¦5");
        assert_eq!(told("qwen2"), "Don¦'t¦ ¦ split¦ ¦1¦2¦3¦4¦5¦ words¦,\n\n¦please¦!¦ x¦=¦3¦.¦1¦4¦1¦5");
        assert_eq!(told("tekken"), "Don¦'t¦ ¦ split¦ ¦1¦2¦3¦4¦5¦ words¦,\n\n¦please¦!¦ x¦=¦3¦.¦1¦4¦1¦5");
        assert_eq!(told("gpt-4o"), "Don't¦ ¦ split¦ ¦123¦45¦ words¦,\n\n¦please¦!¦ x¦=¦3¦.¦141¦5");
        assert_eq!(told("deepseek-v3"), "Don¦'t¦ ¦ split¦ ¦123¦45¦ words¦,\n\n¦please¦!¦ x¦=¦3¦.¦141¦5");
        assert_eq!(words("tekken", "HTTPServer camelCase"), ["HTTPServer", " camel", "Case"]);
        // Each pattern also splits the matches of earlier ones, and the range of punctuation includes letters.
        assert_eq!(words("deepseek-llm", "naïve 日本 42\n").join("¦"), "na¦ï¦ve¦ ¦日本¦ ¦42¦\n");
    }

    #[test]
    fn names_of_one_rule_are_one_rule_and_every_pattern_compiles() {
        let same = [
            ("llama-bpe", ["falcon3", "pixtral", "lfm2", "midm-2.0"]),
            ("gpt-2", ["phi-2", "exaone4", "gigachat", "olmo"]),
            ("qwen2", ["megrez", "stablelm2", "hunyuan", "deepseek-r1-qwen"]),
        ];
        let text = "It's 2024: \tfür  alle,\r\n 日本語テスト 한국어 🚀🚀 x²\u{301} ";
        for (rule, others) in same {
            for other in others {
                assert_eq!(words(rule, text), words(other, text), "{other}");
            }
        }
        let names = [
            "minicpm5",
            "qwen35",
            "gpt-4o",
            "deepseek-llm",
            "deepseek-coder",
            "deepseek-v3",
            "falcon",
            "seed-coder",
            "bailingmoe",
            "ufakzeka",
            "laguna",
            "bloom",
            "viking",
            "tekken",
            "smollm",
            "smaug-bpe",
        ];
        for name in names {
            assert_eq!(words(name, text).concat(), text, "{name}");
        }
        assert!(PreTokenizerRule::by_name("kimi-k2").is_none() && PreTokenizerRule::by_name("").is_none());
    }
}
