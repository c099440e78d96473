//! Files that nodes transfer to each other, named by their hash, and the proof that a piece belongs to a file.
//!
//! The id of a file is its BLAKE3 hash, which is the root of a binary tree over its bytes. A piece is a whole subtree
//! of 256 chunks. It comes with the hashes of the subtrees beside its path to the root. So a node that knows the root
//! and the size can verify each piece by itself, from any sender. For the tree see
//! <https://github.com/BLAKE3-team/BLAKE3-specs>, section 2.1; the proofs are those of Bao.

mod congestion;
mod download;
pub(crate) mod downloader;
pub(crate) mod provider;

use blake3::hazmat::{HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root};
use core::fmt;
use core::str::FromStr;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::ids::{IdError, ReadId};

/// A hash of 32 bytes, printed and parsed as 64 lower-case hexadecimal characters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hash(pub [u8; 32]);

/// Identifies a file by its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct BlobId {
    /// The BLAKE3 hash of the whole file.
    pub root: Hash,
    /// The size in bytes.
    pub bytes: u64,
}

/// The hash by which a file is requested.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Pin {
    /// Its BLAKE3 hash: each piece can be verified as it arrives.
    Blake3(Hash),
    /// Its SHA-256 hash: only the whole file can be verified.
    Sha256(Hash),
}

/// A file that this node provides to any node that knows its hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SharedBlob {
    /// The file.
    pub blob: BlobId,
    /// Its SHA-256 hash, if known.
    pub sha256: Option<Hash>,
}

/// A file operation for the driver. Each open file has at most one in progress.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BlobOrder {
    /// Close a file. Pieces that have arrived are kept. There is no report.
    Close(Hash),
    /// Verify an open file and make it available; ends with one [`BlobReport::Finished`].
    Finish(Hash),
    /// Check which pieces of a file are on disk, and accept the rest; ends with one [`BlobReport::Opened`].
    Open {
        /// The file.
        blob: BlobId,
        /// The SHA-256 hash that the whole must have, if requested.
        sha256: Option<Hash>,
    },
    /// Read a piece of a shared file; ends with one [`BlobReport::Read`].
    Read {
        /// The id of the operation, repeated in its report.
        read: ReadId,
        /// The file.
        root: Hash,
        /// The number of the piece.
        piece: u32,
    },
    /// Store a verified piece of an open file; ends with one [`BlobReport::Written`].
    Write {
        /// The file.
        root: Hash,
        /// The number of the piece.
        piece: u32,
        /// Its bytes.
        #[serde(with = "crate::wire::octets")]
        bytes: Vec<u8>,
        /// The hash of its subtree.
        leaf: Hash,
    },
}

/// The end of a [`BlobOrder`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BlobReport {
    /// The end of [`BlobOrder::Finish`].
    Finished {
        /// The file.
        root: Hash,
        /// Whether it is available now.
        result: Result<(), BlobError>,
    },
    /// The end of [`BlobOrder::Open`].
    Opened {
        /// The file.
        root: Hash,
        /// The verified pieces on disk.
        result: Result<Pieces, BlobError>,
    },
    /// The end of [`BlobOrder::Read`].
    Read {
        /// The id of the operation.
        read: ReadId,
        /// The piece, with its proof.
        result: Result<Piece, BlobError>,
    },
    /// All files that this node shares, whenever they change.
    Shared(Vec<SharedBlob>),
    /// The end of [`BlobOrder::Write`].
    Written {
        /// The file.
        root: Hash,
        /// The number of the piece.
        piece: u32,
        /// Whether it is stored.
        result: Result<(), BlobError>,
    },
}

/// Why a file operation failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum BlobError {
    /// No space is left.
    Full,
    /// The file is not shared, or has changed.
    Gone,
    /// Reading or writing failed.
    Io,
    /// The whole file does not have the requested hash.
    WrongHash,
}

/// A piece of a file, and its proof: the hashes beside its path to the root, from the bottom up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Piece {
    /// Its bytes.
    #[serde(with = "crate::wire::octets")]
    pub bytes: Vec<u8>,
    /// The proof.
    pub proof: Vec<Hash>,
}

impl BlobId {
    /// Returns the id of a file with this content.
    pub fn from_content(content: &[u8]) -> Self {
        let bytes = u64::try_from(content.len()).unwrap_or(u64::MAX);
        Self { root: Hash(*blake3::hash(content).as_bytes()), bytes }
    }

    /// Returns the number of pieces; an empty file has one.
    pub fn pieces(&self) -> u32 {
        u32::try_from(self.bytes.div_ceil(PIECE_BYTES).max(1)).unwrap_or(u32::MAX)
    }

    /// Returns the offset and the length of a piece; `None` if there is no such piece.
    pub fn place(&self, piece: u32) -> Option<(u64, u64)> {
        let begin = u64::from(piece) * PIECE_BYTES;
        (piece < self.pieces()).then(|| (begin, (self.bytes - begin).min(PIECE_BYTES)))
    }

    /// Verifies a piece. Returns the hash of its subtree if it belongs to the file.
    pub fn check(&self, number: u32, piece: &Piece) -> Option<Hash> {
        let (_, bytes) = self.place(number)?;
        if u64::try_from(piece.bytes.len()).ok()? != bytes || piece.proof.len() > PROOF_MAX {
            return None;
        }
        let leaf = leaf(*self, number, &piece.bytes);
        // From the root down: on which side of its parent each subtree on the path lies.
        let (mut first, mut count, mut sides) = (0, self.pieces(), Vec::new());
        while count > 1 {
            let left = left_pieces(count);
            let is_left = number - first < left;
            sides.push(is_left);
            (first, count) = if is_left { (first, left) } else { (first + left, count - left) };
        }
        if sides.len() != piece.proof.len() {
            return None;
        }
        let mut hash = leaf;
        for (depth, (is_left, beside)) in sides.iter().rev().zip(&piece.proof).enumerate() {
            let (left, right) = if *is_left { (hash, *beside) } else { (*beside, hash) };
            hash = join(left, right, depth + 1 == sides.len());
        }
        (hash == self.root).then_some(leaf)
    }
}

/// Returns the hash of a piece's subtree. That of a single piece is the root.
pub fn leaf(blob: BlobId, piece: u32, bytes: &[u8]) -> Hash {
    if blob.pieces() == 1 {
        return Hash(*blake3::hash(bytes).as_bytes());
    }
    let mut hasher = blake3::Hasher::new();
    hasher.set_input_offset(u64::from(piece) * PIECE_BYTES).update(bytes);
    // A piece of several is never empty, and empty subtrees have no hash.
    if bytes.is_empty() { Hash([0; 32]) } else { Hash(hasher.finalize_non_root()) }
}

/// The hash tree of a file, above its pieces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree {
    /// The hashes of the pieces' subtrees, then those of each level above. An odd hash at the end of a level moves up
    /// unchanged.
    levels: Vec<Vec<Hash>>,
}

impl Tree {
    /// Builds the tree over the hashes of all pieces' subtrees. There must be at least one.
    pub fn over(leaves: Vec<Hash>) -> Self {
        let mut levels = vec![leaves];
        while let Some(below) = levels.last().filter(|level| level.len() > 1) {
            let top = below.len() == 2;
            let above = below.chunks(2).map(|pair| match pair {
                [left, right] => join(*left, *right, top),
                [one, ..] => *one,
                [] => Hash([0; 32]),
            });
            levels.push(above.collect());
        }
        Self { levels }
    }

    /// Returns the root hash.
    pub fn root(&self) -> Option<Hash> {
        self.levels.last()?.first().copied()
    }

    /// Returns the proof of a piece; `None` if there is no such piece.
    pub fn proof(&self, piece: u32) -> Option<Vec<Hash>> {
        let mut at = usize::try_from(piece).ok()?;
        self.levels.first()?.get(at)?;
        let mut proof = Vec::new();
        for level in &self.levels {
            // An odd hash at the end of its level has no sibling.
            proof.extend(level.get(at ^ 1));
            at /= 2;
        }
        Some(proof)
    }
}

fn join(left: Hash, right: Hash, is_root: bool) -> Hash {
    if is_root {
        Hash(*merge_subtrees_root(&left.0, &right.0, Mode::Hash).as_bytes())
    } else {
        Hash(merge_subtrees_non_root(&left.0, &right.0, Mode::Hash))
    }
}

/// Returns how many of several pieces are in the left subtree: the largest power of two below their number.
const fn left_pieces(pieces: u32) -> u32 {
    1 << (pieces - 1).ilog2()
}

/// A set of pieces of one file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pieces {
    total: u32,
    words: Vec<u64>,
}

impl Pieces {
    /// Creates an empty set for a file of `total` pieces.
    pub fn none(total: u32) -> Self {
        let words = usize::try_from(total.div_ceil(64)).unwrap_or_default();
        Self { total, words: vec![0; words] }
    }

    /// Tells whether a piece is in the set.
    pub fn contains(&self, piece: u32) -> bool {
        let (word, bit) = Self::at(piece);
        self.words.get(word).is_some_and(|word| word & bit != 0)
    }

    /// Adds a piece.
    pub fn insert(&mut self, piece: u32) {
        let (word, bit) = Self::at(piece);
        if let Some(word) = self.words.get_mut(word).filter(|_| piece < self.total) {
            *word |= bit;
        }
    }

    /// Returns the number of pieces in the set.
    pub fn count(&self) -> u32 {
        self.words.iter().map(|word| word.count_ones()).sum()
    }

    /// Returns the number of pieces of the file.
    pub const fn total(&self) -> u32 {
        self.total
    }

    fn at(piece: u32) -> (usize, u64) {
        (usize::try_from(piece / 64).unwrap_or(usize::MAX), 1 << (piece % 64))
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Hash {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let (high, low) = text.split_at_checked(32).ok_or(IdError::Hash)?;
        let half = |text: &str| text.parse::<crate::ids::NodeId>().map(|id| id.0).map_err(|_| IdError::Hash);
        let mut bytes = [0; 32];
        bytes[..16].copy_from_slice(&half(high)?);
        bytes[16..].copy_from_slice(&half(low)?);
        Ok(Self(bytes))
    }
}

// Text formats get the hexadecimal form; the wire and the disk get the 32 bytes.
impl Serialize for Hash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            self.0.serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let wrong = || D::Error::custom("expected 64 hexadecimal characters");
            String::deserialize(deserializer)?.parse().map_err(|_| wrong())
        } else {
            <[u8; 32]>::deserialize(deserializer).map(Self)
        }
    }
}

/// The size of a piece in bytes; the last one of a file may be smaller.
pub const PIECE_BYTES: u64 = 256 << 10;
/// The maximum size of a file in bytes.
pub const BLOB_BYTES_MAX: u64 = 256 << 30;
/// Maximum number of files that a node shares. Further ones are ignored.
pub const SHARED_MAX: usize = 4_096;
/// Maximum number of hashes in a proof. No file has more levels.
const PROOF_MAX: usize = 24;

#[cfg(test)]
mod tests {
    use super::*;

    fn content(bytes: usize) -> Vec<u8> {
        (0..bytes).map(|at| u8::try_from(at * 31 % 251).unwrap()).collect()
    }

    fn pieces(content: &[u8]) -> (BlobId, Tree, Vec<Piece>) {
        let blob = BlobId::from_content(content);
        let part = |piece| {
            let (begin, bytes) = blob.place(piece).unwrap();
            content[begin as usize..(begin + bytes) as usize].to_vec()
        };
        let leaves = (0..blob.pieces()).map(|piece| leaf(blob, piece, &part(piece))).collect();
        let tree = Tree::over(leaves);
        let of = |piece| Piece { bytes: part(piece), proof: tree.proof(piece).unwrap() };
        let pieces = (0..blob.pieces()).map(of).collect();
        (blob, tree, pieces)
    }

    #[test]
    fn each_piece_of_a_file_proves_itself_whatever_their_number() {
        let piece = PIECE_BYTES as usize;
        for bytes in [0, 1, piece - 1, piece, piece + 1, 2 * piece, 3 * piece, 5 * piece + 7, 11 * piece] {
            let (blob, tree, pieces) = pieces(&content(bytes));
            assert_eq!(tree.root(), Some(blob.root), "{bytes}");
            for (number, piece) in (0..).zip(&pieces) {
                assert_eq!(blob.check(number, piece), Some(leaf(blob, number, &piece.bytes)), "{bytes}");
            }
            assert_eq!((blob.place(blob.pieces()), tree.proof(blob.pieces())), (None, None));
        }
    }

    #[test]
    fn whatever_is_not_that_piece_is_refused() {
        let (blob, _, pieces) = pieces(&content(3 * PIECE_BYTES as usize + 9));
        let good = &pieces[1];
        let mut wrong = vec![good.clone(); 5];
        wrong[0].bytes[77] ^= 1;
        wrong[1].bytes.pop();
        wrong[2].proof[0].0[0] ^= 1;
        wrong[3].proof.pop();
        wrong[4].proof.push(Hash([0; 32]));
        for (case, piece) in wrong.iter().enumerate() {
            assert_eq!(blob.check(1, piece), None, "{case}");
        }
        assert_eq!(blob.check(0, good), None, "another's place");
        assert_eq!(blob.check(4, good), None, "no place");
        assert_eq!(BlobId { bytes: blob.bytes + PIECE_BYTES, ..blob }.check(1, good), None, "another size");
    }

    #[test]
    fn a_set_of_pieces_counts_what_was_put_in_and_no_more() {
        let mut set = Pieces::none(130);
        [0, 63, 64, 129, 130, u32::MAX, 64].iter().for_each(|piece| set.insert(*piece));
        assert_eq!((set.count(), set.total()), (4, 130));
        assert!(set.contains(129) && !set.contains(128) && !set.contains(130));
    }

    #[test]
    fn a_hash_is_read_as_it_is_written() {
        let hash = BlobId::from_content(b"x").root;
        assert_eq!(hash.to_string().parse(), Ok(hash));
        assert_eq!("ab".repeat(31).parse::<Hash>(), Err(IdError::Hash));
        assert_eq!("é".repeat(32).parse::<Hash>(), Err(IdError::Hash));
        assert_eq!(serde_round(hash), hash);
    }

    fn serde_round(hash: Hash) -> Hash {
        let bytes = postcard::to_extend(&hash, Vec::new()).unwrap();
        assert_eq!(bytes.len(), 32);
        postcard::from_bytes(&bytes).unwrap()
    }
}
