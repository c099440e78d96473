//! Text from files and requests.

/// Returns a text without a leading byte-order mark. Some Windows programs write one.
pub fn without_mark(text: &[u8]) -> &[u8] {
    text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text)
}

/// U+FEFF in UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_mark_in_front_is_left_out() {
        assert_eq!(without_mark("\u{feff}a\u{feff}".as_bytes()), "a\u{feff}".as_bytes());
        assert_eq!(without_mark(b"a"), b"a");
        assert_eq!(without_mark(b"\xef\xbb"), b"\xef\xbb");
    }
}
