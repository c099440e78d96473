//! Text from files and requests.

/// Returns a text without a leading byte-order mark. Some Windows programs write one.
pub fn without_mark(text: &[u8]) -> &[u8] {
    text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text)
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

/// Returns scheme, host and port of a URL.
pub fn origin(url: &str) -> &str {
    let host = url.find("://").map_or(0, |at| at + 3);
    let end = url[host..].find(['/', '?', '#']).map_or(url.len(), |at| host + at);
    &url[..end]
}

/// The longest name that is compared with others.
const NAME_BYTES_MAX: usize = 64;
/// The similarity above which a name is suggested; clap uses the same.
const SIMILARITY_MIN: f64 = 0.7;
/// U+FEFF in UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_similar_or_none() {
        let names = ["node", "model", "models"];
        assert_eq!(nearest("modle", names), Some("model"));
        assert_eq!(nearest("xyzzy", names), None);
        assert_eq!(nearest(&"model".repeat(13), names), None);
    }

    #[test]
    fn only_a_mark_in_front_is_left_out() {
        assert_eq!(without_mark("\u{feff}a\u{feff}".as_bytes()), "a\u{feff}".as_bytes());
        assert_eq!(without_mark(b"a"), b"a");
        assert_eq!(without_mark(b"\xef\xbb"), b"\xef\xbb");
    }
}
