//! The piece hashes of a file, in a file beside it: 32 bytes per piece, zero for a missing piece.

use engine::blobs::{BlobId, Hash, Tree};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Records the hash of a piece.
pub(super) fn set(file: &File, piece: u32, leaf: Hash) -> io::Result<()> {
    file.write_all_at(&leaf.0, u64::from(piece) * LEAF_BYTES)
}

/// Reads the hashes of all pieces. Those beyond the end of the file are missing.
pub(super) fn read(path: &Path, blob: BlobId) -> io::Result<Vec<Hash>> {
    let pieces = blob.pieces() as usize;
    let bytes = match fs::metadata(path) {
        // A longer file belongs to another blob.
        Ok(found) if found.len() <= u64::from(blob.pieces()) * LEAF_BYTES => fs::read(path)?,
        Ok(_) => Vec::new(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error),
    };
    let mut leaves: Vec<Hash> =
        bytes.chunks_exact(32).map(|chunk| Hash(chunk.try_into().unwrap_or_default())).collect();
    leaves.resize(pieces, MISSING);
    Ok(leaves)
}

/// Returns the tree over all hashes, or `None` if one is missing or the root does not match.
pub(super) fn tree(path: &Path, blob: BlobId) -> Option<(Vec<Hash>, Tree)> {
    let leaves = read(path, blob).ok()?;
    let whole = !leaves.contains(&MISSING);
    let tree = whole.then(|| Tree::over(leaves.clone()))?;
    (tree.root() == Some(blob.root)).then_some((leaves, tree))
}

/// Writes all hashes.
pub(super) fn write(path: &Path, leaves: &[Hash]) -> io::Result<()> {
    let bytes: Vec<u8> = leaves.iter().flat_map(|leaf| leaf.0).collect();
    crate::home::replace_file(path, &bytes, 0o600)
}

/// Stands for a missing piece. No piece has this hash.
pub(super) const MISSING: Hash = Hash([0; 32]);
const LEAF_BYTES: u64 = 32;
