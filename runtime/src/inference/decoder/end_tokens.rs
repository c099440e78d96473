//! The tokens that end a turn: those that a model's files name, and those that their own texts give away.
//!
//! Files often name one end of several: a fine-tune with ChatML turns keeps `</s>`, a third-generation Llama names
//! `<|eot_id|>` or `<|end_of_text|>`. llama.cpp therefore knows ends by their texts, and this is its list (as of
//! November 2026). A model that writes one of these has finished.

/// Tells whether a token with this text ends a turn in a vocabulary where `has` finds other tokens.
pub(super) fn is_end(text: &str, has: &dyn Fn(&str) -> bool) -> bool {
    match text {
        // Where a call ends a turn too, this ends one message of several within it.
        "<|end|>" => {
            let calls = has("<|call|>") || has("<|calls|>");
            !(calls && (has("<|return|>") || has("<|flush|>")))
        }
        // A vocabulary of Gemma 4 has it for mark-up.
        "</s>" => !has("<|tool_response>"),
        text => ENDS.contains(&text),
    }
}

/// Tells whether a token fills, separates or names files: what a model for code writes where its text is over.
pub(super) fn is_file_mark(text: &str) -> bool {
    FILE_MARKS.contains(&text)
}

/// Texts of tokens that end a turn.
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
/// Texts of tokens that fill, name and separate files.
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
