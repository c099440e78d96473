//! Finds requests that give their length in two ways, which RFC 9112 (6.1) lets a server refuse.
//!
//! Where a length stands beside chunks, somebody in front of this server may see another end of the request, and take
//! what follows for the next one. hyper drops the length and goes by the chunks, so it is looked for in the bytes
//! themselves: heads are told from bodies by their lengths, up to the first chunked request, the last of a connection.

/// Reads along with the parser.
#[derive(Debug)]
pub(super) struct FramingScanner {
    state: State,
    /// The beginning of the current line.
    line: Vec<u8>,
    chunked: bool,
    length: Option<u64>,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    /// In the body of a request, with this much to come.
    Body(u64),
    /// After the head of a chunked request.
    Done { ambiguous: bool },
    /// In a head, or before one.
    Head,
}

impl FramingScanner {
    pub(super) const fn new() -> Self {
        Self { state: State::Head, line: Vec::new(), chunked: false, length: None }
    }

    /// Tells whether the chunked request that was read last has a length as well.
    pub(super) const fn is_ambiguous(&self) -> bool {
        matches!(self.state, State::Done { ambiguous: true })
    }

    /// Takes in the next bytes of the connection.
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
            // The parser refuses one that is no number.
            self.length =
                Some(str::from_utf8(value).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0));
        }
    }
}

/// More than a length, or the name of a header that matters.
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
                    // The body of a text is counted in bytes, so it keeps its line ends.
                    if !text.contains(TEXT) {
                        assert_eq!(is_ambiguous(&bare, piece), expected, "{bare:?} by {piece}");
                    }
                }
            }
        }
    }
}
