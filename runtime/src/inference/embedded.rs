//! The model that every node has without a download: all-MiniLM-L6-v2, as `runtime/models` says where from.

/// The model file, on a cache line's boundary as its tensors are within it.
pub(super) static FILE: &[u8] = &ALIGNED.bytes;

/// Its size.
pub(super) const FILE_BYTES: u64 =
    include_bytes!("../../models/all-MiniLM-L6-v2/model.safetensors").len() as u64;

static ALIGNED: &Aligned<[u8]> =
    &Aligned { bytes: *include_bytes!("../../models/all-MiniLM-L6-v2/model.safetensors") };

#[repr(C, align(64))]
struct Aligned<Bytes: ?Sized> {
    bytes: Bytes,
}
