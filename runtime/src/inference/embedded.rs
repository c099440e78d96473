//! The model that every node has without a download: all-MiniLM-L6-v2, as `runtime/models` says where from.

/// The model file, on a cache line's boundary as its tensors are within it.
pub(super) static FILE: &[u8] = &ALIGNED.bytes;

/// Its BLAKE3 hash, which need not be computed at each start.
pub(super) const FILE_HASH: [u8; 32] = [
    0xd6, 0x51, 0x10, 0xb2, 0x51, 0xe3, 0x0e, 0xac, 0x32, 0x2f, 0x01, 0x03, 0xcc, 0x4e, 0x67, 0x04, 0x02,
    0x8a, 0xde, 0xd1, 0xa6, 0xe8, 0x0a, 0xbd, 0xe7, 0x0b, 0x06, 0x2a, 0xfe, 0x75, 0xed, 0x01,
];

/// Its size.
pub(super) const FILE_BYTES: u64 =
    include_bytes!("../../models/all-MiniLM-L6-v2/model.safetensors").len() as u64;

static ALIGNED: &Aligned<[u8]> =
    &Aligned { bytes: *include_bytes!("../../models/all-MiniLM-L6-v2/model.safetensors") };

#[repr(C, align(64))]
struct Aligned<Bytes: ?Sized> {
    bytes: Bytes,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_that_of_the_file() {
        assert_eq!(FILE_HASH, *blake3::hash(FILE).as_bytes());
    }
}
