//! Detects chunked requests that also have a `Content-Length`, which a server may reject (RFC 9112, section 6.1).
//!
//! A proxy in front of this server may see another end of such a request, and take the rest for the next one: request
//! smuggling. hyper drops the length and uses the chunks, so this module scans the raw bytes. It tells heads from
//! bodies by their lengths, up to the first chunked request, which is the last of its connection.

/// Scans the bytes that the parser reads.
#[derive(Debug)]
pub(super) struct FramingScanner {
    state: State,
    /// Beginning of the current line.
    line: Vec<u8>,
    chunked: bool,
    length: Option<u64>,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    /// In the body of a request, with this many bytes left.
    Body(u64),
    /// After the head of a chunked request.
    Done { ambiguous: bool },
    /// In or before a head.
    Head,
}

impl FramingScanner {
    pub(super) const fn new() -> Self {
        Self { state: State::Head, line: Vec::new(), chunked: false, length: None }
    }

    /// Returns whether the last chunked request also had a length.
    pub(super) const fn is_ambiguous(&self) -> bool {
        matches!(self.state, State::Done { ambiguous: true })
    }

    /// Scans the next bytes of the connection.
    pub(super) fn scan(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            match self.state {
                State::Body(left) => {
                    let taken = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                    bytes = &bytes[taken..];
                    let left = left - taken as u64;
                    self.state = if left == 0 { State::Head } else { State::Body(left) };
                }
                State::Done { .. } => return,
                State::Head => match bytes.iter().position(|byte| *byte == b'\n') {
                    Some(end) => {
                        self.extend_line(&bytes[..end]);
                        bytes = &bytes[end + 1..];
                        self.end_line();
                    }
                    None => return self.extend_line(bytes),
                },
            }
        }
    }

    fn extend_line(&mut self, bytes: &[u8]) {
        let room = LINE_BYTES_KEPT - self.line.len();
        self.line.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        let line = line.strip_suffix(b"\r").unwrap_or(&line);
        if line.is_empty() {
            let length = self.length.take();
            self.state = match (std::mem::take(&mut self.chunked), length) {
                (true, length) => State::Done { ambiguous: length.is_some() },
                (false, Some(length @ 1..)) => State::Body(length),
                (false, Some(0) | None) => State::Head,
            };
            return;
        }
        let mut parts = line.splitn(2, |byte| *byte == b':');
        let (Some(name), Some(value)) = (parts.next(), parts.next()) else { return };
        if name.eq_ignore_ascii_case(b"transfer-encoding") {
            self.chunked = true;
        } else if name.eq_ignore_ascii_case(b"content-length") {
            // The parser rejects a length that is not a number.
            self.length =
                Some(str::from_utf8(value).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0));
        }
    }
}

/// Longer than a length, and than the name of every relevant header.
const LINE_BYTES_KEPT: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &str = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    const TEXT: &str = "POST / HTTP/1.1\r\nContent-Length: 59\r\n\r\n\
                        Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0123456789";
    const CHUNKED: &str = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    const LENGTH_FIRST: &str =
        "POST / HTTP/1.1\r\nContent-length:5\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    const LENGTH_LAST: &str =
        "POST / HTTP/1.1\r\nTRANSFER-ENCODING: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n";

    fn is_ambiguous(text: &str, piece: usize) -> bool {
        let mut scanner = FramingScanner::new();
        for bytes in text.as_bytes().chunks(piece) {
            scanner.scan(bytes);
        }
        scanner.is_ambiguous()
    }

    #[test]
    fn a_length_beside_chunks_is_found_wherever_it_stands() {
        let long = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(1000));
        for before in ["", PLAIN, TEXT, &long, "\r\n", &format!("{PLAIN}{TEXT}{long}")] {
            for piece in [1, 7, 10_000] {
                for (request, expected) in [
                    (PLAIN, false),
                    (TEXT, false),
                    (CHUNKED, false),
                    (LENGTH_FIRST, true),
                    (LENGTH_LAST, true),
                ] {
                    let text = format!("{before}{request}");
                    assert_eq!(is_ambiguous(&text, piece), expected, "{text:?} by {piece}");
                    let bare = text.replace("\r\n", "\n");
                    // Bodies are counted in bytes, so their line ends stay.
                    if !text.contains(TEXT) {
                        assert_eq!(is_ambiguous(&bare, piece), expected, "{bare:?} by {piece}");
                    }
                }
            }
        }
    }
}
