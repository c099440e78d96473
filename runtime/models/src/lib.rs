//! The bytes of the model that every node has without a download: all-MiniLM-L6-v2 in 8 bits.
//!
//! They are a crate of their own because the compiler copies a constant of this size into the metadata of its crate,
//! which it then reads again for each crate above. `README.md` beside the model says where it comes from.

/// The model file. It begins on a cache line, as the tensors in it do.
pub static FILE: &[u8] = &ALIGNED.bytes;

/// The BLAKE3 hash of [`FILE`], so that no start has to compute it.
pub const FILE_HASH: [u8; 32] = [
    0xd6, 0x51, 0x10, 0xb2, 0x51, 0xe3, 0x0e, 0xac, 0x32, 0x2f, 0x01, 0x03, 0xcc, 0x4e, 0x67, 0x04, 0x02,
    0x8a, 0xde, 0xd1, 0xa6, 0xe8, 0x0a, 0xbd, 0xe7, 0x0b, 0x06, 0x2a, 0xfe, 0x75, 0xed, 0x01,
];

/// The size of [`FILE`] in bytes.
pub const FILE_BYTES: u64 = 23_347_847;

static ALIGNED: &Aligned<[u8]> = &Aligned { bytes: *include_bytes!("../all-MiniLM-L6-v2/model.safetensors") };

#[repr(C, align(64))]
struct Aligned<Bytes: ?Sized> {
    bytes: Bytes,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_and_the_size_are_those_of_the_file() {
        assert_eq!(FILE_HASH, *blake3::hash(FILE).as_bytes());
        assert_eq!(FILE_BYTES, FILE.len() as u64);
    }
}
