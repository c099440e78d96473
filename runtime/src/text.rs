//! Text from files and requests.

use std::borrow::Cow;

/// Returns a text without a leading byte-order mark. Some Windows programs write one.
pub fn without_mark(text: &[u8]) -> &[u8] {
    text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text)
}

/// Quotes a word for a POSIX shell, if it needs that.
pub fn shell_quoted(word: &str) -> Cow<'_, str> {
    let is_plain = |character: char| character.is_ascii_alphanumeric() || "/._-+:@".contains(character);
    if !word.is_empty() && word.chars().all(is_plain) {
        return Cow::Borrowed(word);
    }
    Cow::Owned(format!("'{}'", word.replace('\'', r"'\''")))
}

/// Returns the candidate most similar to `name`, unless none is similar or `name` is longer than any name.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // A name is user input of up to a mebibyte, and the comparison is quadratic.
    if name.len() > NAME_BYTES_MAX {
        return None;
    }
    candidates
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(name, candidate), candidate))
        .filter(|(similarity, _)| *similarity > SIMILARITY_MIN)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| candidate)
}

/// Says in plain words what a parser of the standard library or of JSON says about a value.
pub fn plain_words(text: &str) -> String {
    let text = without_os_error(text);
    match text.split_once(" is not in ") {
        Some((before, range)) if range.contains("..") => {
            // The parser repeats the value, which stands in front already.
            let before = before.rfind([':', ' ']).map_or("", |at| &before[..=at]);
            format!("{before}{}", range_in_words(range))
        }
        Some(_) | None => PLAIN_WORDS.iter().fold(text, |text, (said, meant)| text.replace(said, meant)),
    }
}

/// Says in words which values a range such as `1..=1000` has.
fn range_in_words(range: &str) -> String {
    match range.split_once("..") {
        Some(("", most)) => format!("it must be at most {}", most.trim_start_matches('=')),
        Some((least, "" | "=4294967295" | "=18446744073709551615" | "=9223372036854775807")) => {
            format!("it must be at least {least}")
        }
        Some((least, most)) => format!("it must be {least} to {}", most.trim_start_matches('=')),
        None => range.to_owned(),
    }
}

/// Removes the numbers that the standard library adds to errors of the system.
fn without_os_error(text: &str) -> String {
    let mut rest = text;
    let mut kept = String::new();
    while let Some((before, after)) = rest.split_once(" (os error ") {
        let end = after.find(')').filter(|end| after[..*end].bytes().all(|byte| byte.is_ascii_digit()));
        let Some(end) = end else { break };
        kept.push_str(before);
        rest = &after[end + 1..];
    }
    kept + rest
}

/// Returns the candidate that differs from `name` by a few letters only, as after a typing mistake; `None` if there is
/// none. [`nearest`] also returns names that only look alike.
pub fn misspelled<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if name.len() > NAME_BYTES_MAX {
        return None;
    }
    let mistakes_max = (name.chars().count() / LETTERS_PER_MISTAKE).max(1);
    candidates
        .into_iter()
        .map(|candidate| (strsim::osa_distance(name, candidate), candidate))
        .filter(|(mistakes, _)| *mistakes <= mistakes_max)
        .min_by_key(|(mistakes, _)| *mistakes)
        .map(|(_, candidate)| candidate)
}

/// Returns scheme, host and port of a URL.
pub fn origin(url: &str) -> &str {
    let host = url.find("://").map_or(0, |at| at + 3);
    let end = url[host..].find(['/', '?', '#']).map_or(url.len(), |at| host + at);
    &url[..end]
}

/// What parsers say, and what it means.
const PLAIN_WORDS: [(&str, &str); 21] = [
    ("Failed to deserialize query string: ", "the query is not valid: "),
    ("Failed to parse the request body as JSON: ", "the body is not JSON: "),
    ("Failed to deserialize the JSON body into the target type: ", "the body is not valid: "),
    ("invalid digit found in string", "it is not a whole number"),
    ("cannot parse integer from empty string", "it is empty, not a whole number"),
    ("number too large to fit in target type", "it is too large"),
    ("number too small to fit in target type", "it is too small"),
    ("invalid float literal", "it is not a number"),
    ("cannot parse float from empty string", "it is empty, not a number"),
    ("invalid socket address syntax", "it is not an address with a port, such as 192.168.1.20:9000"),
    ("invalid boolean, expected `true`", "it is not a value; texts have quotes"),
    ("invalid boolean, expected `false`", "it is not a value; texts have quotes"),
    ("expected ident at", "it is not JSON at"),
    ("expected value at", "it is not JSON at"),
    ("EOF while parsing", "the text ends within"),
    ("expected u64", "expected a whole number"),
    ("expected u32", "expected a whole number"),
    ("expected u16", "expected a whole number"),
    ("expected usize", "expected a whole number"),
    ("expected f64", "expected a number"),
    ("expected f32", "expected a number"),
];
/// The longest name that is compared with others.
const NAME_BYTES_MAX: usize = 64;
/// A name with one mistake per so many letters is still recognised.
const LETTERS_PER_MISTAKE: usize = 4;
/// The similarity above which a name is suggested; clap uses the same.
const SIMILARITY_MIN: f64 = 0.7;
/// U+FEFF in UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_quoted_if_a_shell_would_read_it_otherwise() {
        assert_eq!(shell_quoted("/tmp/a-b_1"), "/tmp/a-b_1");
        assert_eq!(shell_quoted("it's"), r"'it'\''s'");
        assert_eq!((shell_quoted(""), shell_quoted("a b")), ("''".into(), "'a b'".into()));
    }

    #[test]
    fn the_nearest_name_is_similar_or_none() {
        let names = ["node", "model", "models"];
        assert_eq!(nearest("modle", names), Some("model"));
        assert_eq!(nearest("xyzzy", names), None);
        assert_eq!(nearest(&"model".repeat(13), names), None);
    }

    #[test]
    fn parsers_speak_plain_words() {
        let said = [
            "invalid value '0' for '--limit <N>': 0 is not in 1..=1000",
            "0 is not in 1..=4294967295",
            "70000 is not in ..=65536",
            "limit: invalid digit found in string",
            "No such file or directory (os error 2)",
            "the disk is full (os error 28), twice (os error x)",
            "expected ident at line 1 column 2",
            "the model is not in the cache",
        ];
        let meant = [
            "invalid value '0' for '--limit <N>': it must be 1 to 1000",
            "it must be at least 1",
            "it must be at most 65536",
            "limit: it is not a whole number",
            "No such file or directory",
            "the disk is full, twice (os error x)",
            "it is not JSON at line 1 column 2",
            "the model is not in the cache",
        ];
        assert_eq!(said.map(plain_words), meant);
    }

    #[test]
    fn a_misspelled_name_differs_by_a_few_letters() {
        let names = ["leave", "replay", "disk_full", "kill"];
        assert_eq!(misspelled("disk_ful", names), Some("disk_full"));
        assert_eq!(misspelled("repaly", names), Some("replay"));
        for other in ["delay", "sleep", "explode", "disk", ""] {
            assert_eq!(misspelled(other, names), None, "{other}");
        }
        assert_eq!(misspelled(&"kill".repeat(17), names), None);
    }

    #[test]
    fn only_a_mark_in_front_is_left_out() {
        assert_eq!(without_mark("\u{feff}a\u{feff}".as_bytes()), "a\u{feff}".as_bytes());
        assert_eq!(without_mark(b"a"), b"a");
        assert_eq!(without_mark(b"\xef\xbb"), b"\xef\xbb");
    }
}
