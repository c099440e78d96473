//! Splits a line at the prompt into words, as a shell does.

/// Splits a line at blanks. Quotes keep blanks, and a backslash keeps the character after it.
pub(super) fn split(line: &str) -> Result<Vec<String>, &'static str> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote: Option<char> = None;
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match (letter, quote) {
            ('\\', None | Some('"')) => {
                let next = letters.next().ok_or("the line ends with a backslash")?;
                word.get_or_insert_default().push(next);
            }
            (letter, Some(open)) if letter == open => quote = None,
            ('"' | '\'', None) => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (letter, None) if letter.is_whitespace() => words.extend(word.take()),
            (letter, _) => word.get_or_insert_default().push(letter),
        }
    }
    if quote.is_some() {
        return Err("a quote is not closed");
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_keep_blanks() {
        let read = |line| split(line).unwrap();
        assert_eq!(read(" kill  amber\n"), ["kill", "amber"]);
        assert_eq!(read(r#"submit "two words" 'it is'"#), ["submit", "two words", "it is"]);
        assert_eq!(read(r#"a\ b "c\"d" 'e\f' """#), ["a b", "c\"d", r"e\f", ""]);
        assert!(read("").is_empty());
        assert!(split("\"open").is_err() && split("end\\").is_err());
    }
}
