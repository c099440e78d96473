//! The frames of a journal. Each has a length and a checksum that is chained to the previous frame.
//!
//! ```text
//! frame = length (3 bytes, little-endian), guard (1), checksum (4, little-endian), kind (1), body (length - 1)
//! ```
//!
//! The guard distinguishes a damaged length from a truncated file. The checksum is CRC-32 (ISO 3309) over kind and
//! body, with the previous frame's checksum as its initial value. A frame that was changed, removed, duplicated or
//! moved is therefore detected at its position.

use super::JournalError;

/// Maximum length of a frame in bytes, including its header. Longer records cannot be written.
pub const FRAME_BYTES_MAX: usize = (1 << 24) - 1 + HEADER_BYTES;

/// One frame of a journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    pub(super) kind: u8,
    pub(super) body: &'a [u8],
    /// The length of the frame, including its header.
    pub(super) bytes: usize,
}

/// Writes frames.
#[derive(Debug, Default)]
pub(super) struct Writer {
    checksum: u32,
}

impl Writer {
    /// Appends a frame with the body that `fill` appends. Returns `false` and appends nothing if the frame is too long.
    pub(super) fn frame(&mut self, kind: u8, out: &mut Vec<u8>, fill: impl FnOnce(&mut Vec<u8>)) -> bool {
        let start = out.len();
        out.extend_from_slice(&[0; HEADER_BYTES]);
        out.push(kind);
        fill(out);
        let content = start + HEADER_BYTES;
        let Ok(length) = u32::try_from(out.len() - content) else {
            out.truncate(start);
            return false;
        };
        let [low, middle, high, 0] = length.to_le_bytes() else {
            out.truncate(start);
            return false;
        };
        self.checksum = crc32(self.checksum, &out[content..]);
        out[start..start + 4].copy_from_slice(&[low, middle, high, guard(low, middle, high)]);
        out[start + 4..content].copy_from_slice(&self.checksum.to_le_bytes());
        true
    }
}

/// Reads consecutive frames.
#[derive(Debug, Default)]
pub(super) struct Reader {
    checksum: u32,
    /// Number of frames read.
    pub(super) read: u64,
}

impl Reader {
    /// Tells whether `bytes` end before their first frame does. Returns `false` for a damaged length.
    pub(super) fn wants_more(bytes: &[u8]) -> bool {
        let Some((&[low, middle, high, told, ..], rest)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
            return true;
        };
        told == guard(low, middle, high) && rest.len() < length(low, middle, high)
    }

    /// Reads the frame at the beginning of `bytes`; `None` if more bytes are needed.
    pub(super) fn frame<'a>(&mut self, bytes: &'a [u8]) -> Result<Option<Frame<'a>>, JournalError> {
        let Some((header, rest)) = bytes.split_first_chunk::<HEADER_BYTES>() else { return Ok(None) };
        let [low, middle, high, told, a, b, c, d] = *header;
        let damaged = JournalError::Damaged { record: self.read };
        if told != guard(low, middle, high) {
            return Err(damaged);
        }
        let length = length(low, middle, high);
        if length == 0 {
            return Err(damaged);
        }
        let Some(content) = rest.get(..length) else { return Ok(None) };
        let checksum = crc32(self.checksum, content);
        if checksum != u32::from_le_bytes([a, b, c, d]) {
            return Err(damaged);
        }
        let Some((&kind, body)) = content.split_first() else { return Err(damaged) };
        self.checksum = checksum;
        self.read += 1;
        Ok(Some(Frame { kind, body, bytes: HEADER_BYTES + length }))
    }
}

const fn length(low: u8, middle: u8, high: u8) -> usize {
    low as usize | (middle as usize) << 8 | (high as usize) << 16
}

/// Returns a byte that changes with every single bit of the length.
const fn guard(low: u8, middle: u8, high: u8) -> u8 {
    !(low ^ middle.rotate_left(3) ^ high.rotate_left(5))
}

/// Continues a CRC-32, eight bytes at a time ("slicing by 8", Kounavis and Berry 2005).
fn crc32(begun: u32, bytes: &[u8]) -> u32 {
    let mut crc = !begun;
    let (chunks, rest) = bytes.as_chunks::<8>();
    for chunk in chunks {
        let [a, b, c, d, e, f, g, h] = *chunk;
        let [w, x, y, z] = (crc ^ u32::from_le_bytes([a, b, c, d])).to_le_bytes();
        crc = [w, x, y, z, e, f, g, h]
            .iter()
            .zip(TABLES.iter().rev())
            .fold(0, |crc, (&byte, table)| crc ^ table[usize::from(byte)]);
    }
    for &byte in rest {
        let [low, ..] = crc.to_le_bytes();
        crc = TABLES[0][usize::from(low ^ byte)] ^ crc >> 8;
    }
    !crc
}

const TABLES: [[u32; 256]; 8] = tables();

const fn tables() -> [[u32; 256]; 8] {
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ POLYNOMIAL } else { crc >> 1 };
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut table = 1;
    while table < 8 {
        let mut byte = 0;
        while byte < 256 {
            let crc: u32 = tables[table - 1][byte];
            tables[table][byte] = crc >> 8 ^ tables[0][(crc & 0xff) as usize];
            byte += 1;
        }
        table += 1;
    }
    tables
}

/// The reversed polynomial of CRC-32.
const POLYNOMIAL: u32 = 0xEDB8_8320;
const HEADER_BYTES: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn journal(bodies: &[&[u8]]) -> Vec<u8> {
        let (mut writer, mut out) = (Writer::default(), Vec::new());
        for body in bodies {
            assert!(writer.frame(7, &mut out, |out| out.extend_from_slice(body)));
        }
        out
    }

    /// Returns the bodies of the frames before the end or the first error.
    fn read(mut bytes: &[u8]) -> (Vec<Vec<u8>>, Option<JournalError>) {
        let (mut reader, mut bodies) = (Reader::default(), Vec::new());
        loop {
            match reader.frame(bytes) {
                Ok(Some(frame)) => {
                    bodies.push(frame.body.to_vec());
                    bytes = &bytes[frame.bytes..];
                }
                Ok(None) => return (bodies, None),
                Err(error) => return (bodies, Some(error)),
            }
        }
    }

    #[test]
    fn the_checksum_is_the_known_one() {
        assert_eq!(crc32(0, b"123456789"), 0xCBF4_3926);
        let text = b"The quick brown fox jumps over the lazy dog";
        assert_eq!(crc32(0, text), 0x414F_A339);
        assert_eq!(crc32(crc32(0, &text[..11]), &text[11..]), 0x414F_A339);
    }

    #[test]
    fn frames_come_back_and_an_early_end_is_no_damage() {
        let bodies: [&[u8]; 3] = [b"one", b"", &[9; 70_000]];
        let whole = journal(&bodies);
        for end in (0..200).chain(whole.len() - 100..=whole.len()) {
            let (read, error) = read(&whole[..end]);
            assert_eq!(error, None, "{end}");
            assert!(read.len() <= 3 && read.iter().zip(bodies).all(|(read, body)| read == body), "{end}");
            assert_eq!(read.len() == 3, end == whole.len(), "{end}");
        }
    }

    #[test]
    fn every_flipped_bit_is_found_where_it_is() {
        let whole = journal(&[b"one", b"twotwotwotwo", b"three"]);
        let second = journal(&[b"one"]).len();
        for bit in second * 8..(second + 21) * 8 {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let (bodies, error) = read(&bytes);
            assert_eq!((bodies.len(), error), (1, Some(JournalError::Damaged { record: 1 })), "bit {bit}");
        }
    }

    #[test]
    fn a_frame_that_is_missing_doubled_or_moved_is_found() {
        let whole = journal(&[b"one", b"two", b"two", b"six"]);
        let (a, b, c, d) = (&whole[..12], &whole[12..24], &whole[24..36], &whole[36..]);
        for (order, record) in
            [([a, c, d].concat(), 1), ([a, b, b, c].concat(), 2), ([a, b, d, c].concat(), 2), (b.to_vec(), 0)]
        {
            assert_eq!(read(&order).1, Some(JournalError::Damaged { record }));
        }
    }

    #[test]
    fn what_is_too_long_is_left_out() {
        let (mut writer, mut out) = (Writer::default(), b"before".to_vec());
        assert!(!writer.frame(1, &mut out, |out| out.resize(FRAME_BYTES_MAX + 7, 0)));
        assert_eq!(out, b"before");
        assert!(writer.frame(1, &mut out, |out| out.resize(FRAME_BYTES_MAX + 6, 0)));
        assert_eq!(out.len(), FRAME_BYTES_MAX + 6);
    }
}
