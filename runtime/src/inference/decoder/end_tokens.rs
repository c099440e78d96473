//! Recognises the tokens that end a turn by their texts, in addition to those that a model's files name.
//!
//! Files often name only one of several end tokens: a fine-tune with ChatML turns keeps `</s>`, a third-generation
//! Llama names `<|eot_id|>` or `<|end_of_text|>`. llama.cpp therefore recognises end tokens by their texts; this is its
//! list (as of November 2026).

/// Tells whether a token with this text ends a turn in a vocabulary where `has` finds other tokens.
pub(super) fn is_end(text: &str, has: &dyn Fn(&str) -> bool) -> bool {
    match text {
        // If a tool call also ends a turn, this only ends one message within the turn.
        "<|end|>" => {
            let calls = has("<|call|>") || has("<|calls|>");
            !(calls && (has("<|return|>") || has("<|flush|>")))
        }
        // In a vocabulary of Gemma 4 this is mark-up.
        "</s>" => !has("<|tool_response>"),
        text => ENDS.contains(&text),
    }
}

/// Tells whether a token is a fill-in-the-middle or file marker, which a code model writes at the end of its text.
pub(super) fn is_file_mark(text: &str) -> bool {
    FILE_MARKS.contains(&text)
}

/// The texts of tokens that end a turn.
const ENDS: [&str; 20] = [
    "<|eot_id|>",
    "<|im_end|>",
    "<|return|>",
    "<|call|>",
    "<|flush|>",
    "<|calls|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "<|eom_id|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "<|end_of_text|>",
    "<end_of_utterance>",
    "<eos>",
    "<turn|>",
    "<|tool_response>",
    "<｜end▁of▁sentence｜>",
    "[e~[",
];
/// The texts of fill-in-the-middle and file markers.
const FILE_MARKS: [&str; 11] = [
    "<|fim_pad|>",
    "<fim-pad>",
    "<fim_pad>",
    "<PAD>",
    "[PAD]",
    "<|fim_repo|>",
    "<|repo_name|>",
    "<fim-repo>",
    "<REPO>",
    "<reponame>",
    "<|file_sep|>",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_known_by_their_texts_and_by_what_else_there_is() {
        let none = |_: &str| false;
        for text in
            ["<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<end_of_turn>", "<|end|>", "<|return|>", "</s>"]
        {
            assert!(is_end(text, &none), "{text}");
        }
        for text in ["<|im_start|>", "<s>", "im_end", "<|end", "", "<|file_sep|>"] {
            assert!(!is_end(text, &none), "{text}");
        }
        assert!(!is_end("<|end|>", &|text| ["<|return|>", "<|call|>"].contains(&text)));
        assert!(!is_end("<|end|>", &|text| ["<|flush|>", "<|calls|>"].contains(&text)));
        assert!(is_end("<|end|>", &|text| text == "<|call|>"));
        assert!(!is_end("</s>", &|text| text == "<|tool_response>"));
        assert!(is_file_mark("<|file_sep|>") && !is_file_mark("<file>"));
    }
}
