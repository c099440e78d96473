//! Files that nodes give each other, named by what is in them, and how a piece of one proves that it belongs to it.
//!
//! A file's name is its BLAKE3 hash, which is the root of a binary tree over its bytes. A piece is a whole subtree of it
//! (256 chunks), so whoever knows the root and the size can check each piece by itself, from whomever it comes: the
//! hashes of the subtrees beside the way from the piece up to the root come with it. The tree is that of
//! <https://github.com/BLAKE3-team/BLAKE3-specs>, section 2.1; the idea of such proofs is Bao's.

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

/// Names a file by what is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct BlobId {
    /// The BLAKE3 hash of the whole.
    pub root: Hash,
    /// The size in bytes.
    pub bytes: u64,
}

/// What is known beforehand of a file that is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Pin {
    /// Its BLAKE3 hash: every piece can be checked as it comes.
    Blake3(Hash),
    /// Its SHA-256 hash: only the whole can be checked.
    Sha256(Hash),
}

/// A file that this node gives to whoever can name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SharedBlob {
    /// Its name.
    pub blob: BlobId,
    /// Its SHA-256 hash, where that is known.
    pub sha256: Option<Hash>,
}

/// Something for the world to do with files. Of each file that is open there is one at a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BlobOrder {
    /// No longer keep a file open; what there is of it stays for another time. Ends with nothing.
    Close(Hash),
    /// Check the whole of an open file and make it available; ends with one [`BlobReport::Finished`].
    Finish(Hash),
    /// Look how much of a file is here already and take in the rest; ends with one [`BlobReport::Opened`].
    Open {
        /// The file.
        blob: BlobId,
        /// What the SHA-256 hash of the whole must be, where that is asked for.
        sha256: Option<Hash>,
    },
    /// Read a piece of a file that this node shares; ends with one [`BlobReport::Read`].
    Read {
        /// Names the order in its answer.
        read: ReadId,
        /// The file.
        root: Hash,
        /// Which piece.
        piece: u32,
    },
    /// Keep a piece of an open file that was found to be right; ends with one [`BlobReport::Written`].
    Write {
        /// The file.
        root: Hash,
        /// Which piece.
        piece: u32,
        /// Its bytes.
        #[serde(with = "crate::wire::octets")]
        bytes: Vec<u8>,
        /// The hash of its subtree.
        leaf: Hash,
    },
}

/// What became of it.
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
        /// The pieces that are here and right.
        result: Result<Pieces, BlobError>,
    },
    /// The end of [`BlobOrder::Read`].
    Read {
        /// The order.
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
        /// Which piece.
        piece: u32,
        /// Whether it is here to stay.
        result: Result<(), BlobError>,
    },
}

/// Why something could not be done with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum BlobError {
    /// No space is left for it.
    Full,
    /// It is not shared, or no longer what it was.
    Gone,
    /// Reading or writing failed.
    Io,
    /// The whole does not have the hash that was asked for.
    WrongHash,
}

/// A piece of a file, and the hashes beside its way up to the root, from the bottom up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Piece {
    /// Its bytes.
    #[serde(with = "crate::wire::octets")]
    pub bytes: Vec<u8>,
    /// The hashes.
    pub proof: Vec<Hash>,
}

impl BlobId {
    /// Names the file that has this content.
    pub fn from_content(content: &[u8]) -> Self {
        let bytes = u64::try_from(content.len()).unwrap_or(u64::MAX);
        Self { root: Hash(*blake3::hash(content).as_bytes()), bytes }
    }

    /// Returns how many pieces the file has; the empty one has one.
    pub fn pieces(&self) -> u32 {
        u32::try_from(self.bytes.div_ceil(PIECE_BYTES).max(1)).unwrap_or(u32::MAX)
    }

    /// Returns where a piece begins and how many bytes it has; `None` where there is no such piece.
    pub fn place(&self, piece: u32) -> Option<(u64, u64)> {
        let begin = u64::from(piece) * PIECE_BYTES;
        (piece < self.pieces()).then(|| (begin, (self.bytes - begin).min(PIECE_BYTES)))
    }

    /// Checks a piece, and returns the hash of its subtree where it belongs to the file.
    pub fn check(&self, number: u32, piece: &Piece) -> Option<Hash> {
        let (_, bytes) = self.place(number)?;
        if u64::try_from(piece.bytes.len()).ok()? != bytes || piece.proof.len() > PROOF_MAX {
            return None;
        }
        let leaf = leaf(*self, number, &piece.bytes);
        // From the root down: on which side of its parent each subtree on the way lies.
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

/// Returns the hash of a piece's subtree; that of the only piece is the root.
pub fn leaf(blob: BlobId, piece: u32, bytes: &[u8]) -> Hash {
    if blob.pieces() == 1 {
        return Hash(*blake3::hash(bytes).as_bytes());
    }
    let mut hasher = blake3::Hasher::new();
    hasher.set_input_offset(u64::from(piece) * PIECE_BYTES).update(bytes);
    // A piece of several is never empty, and empty subtrees have no hash.
    if bytes.is_empty() { Hash([0; 32]) } else { Hash(hasher.finalize_non_root()) }
}

/// The tree of a file, above its pieces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree {
    /// The hashes of the pieces' subtrees, then those of each level above, as far as it is of full pairs; what is left
    /// over at the end of a level goes up as it is.
    levels: Vec<Vec<Hash>>,
}

impl Tree {
    /// Makes the tree over the hashes of all pieces' subtrees. There is at least one.
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

    /// Returns the hash of the whole.
    pub fn root(&self) -> Option<Hash> {
        self.levels.last()?.first().copied()
    }

    /// Returns the proof of a piece; `None` where there is no such piece.
    pub fn proof(&self, piece: u32) -> Option<Vec<Hash>> {
        let mut at = usize::try_from(piece).ok()?;
        self.levels.first()?.get(at)?;
        let mut proof = Vec::new();
        for level in &self.levels {
            // What is left over at the end of its level has nothing beside it there.
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

/// Returns how many of several pieces are left of the middle: the largest power of two that leaves some on the right.
const fn left_pieces(pieces: u32) -> u32 {
    1 << (pieces - 1).ilog2()
}

/// Which pieces of a file there are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pieces {
    total: u32,
    words: Vec<u64>,
}

impl Pieces {
    /// Makes the set of none of so many pieces.
    pub fn none(total: u32) -> Self {
        let words = usize::try_from(total.div_ceil(64)).unwrap_or_default();
        Self { total, words: vec![0; words] }
    }

    /// Tells whether a piece is in the set.
    pub fn contains(&self, piece: u32) -> bool {
        let (word, bit) = Self::at(piece);
        self.words.get(word).is_some_and(|word| word & bit != 0)
    }

    /// Puts a piece into the set.
    pub fn insert(&mut self, piece: u32) {
        let (word, bit) = Self::at(piece);
        if let Some(word) = self.words.get_mut(word).filter(|_| piece < self.total) {
            *word |= bit;
        }
    }

    /// Returns how many pieces are in the set.
    pub fn count(&self) -> u32 {
        self.words.iter().map(|word| word.count_ones()).sum()
    }

    /// Returns how many there could be.
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
        let (high, low) = text.split_at_checked(32).ok_or(IdError)?;
        let half = |text: &str| text.parse::<crate::ids::NodeId>().map(|id| id.0);
        let mut bytes = [0; 32];
        bytes[..16].copy_from_slice(&half(high)?);
        bytes[16..].copy_from_slice(&half(low)?);
        Ok(Self(bytes))
    }
}

// People's formats get the text, the wire and the disk get the 32 bytes.
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

/// Bytes of a piece; the last one of a file may have fewer.
pub const PIECE_BYTES: u64 = 256 << 10;
/// The largest file that is given or taken, in bytes.
pub const BLOB_BYTES_MAX: u64 = 256 << 30;
/// Files that a node shares; of more, the first count.
pub const SHARED_MAX: usize = 4_096;
/// Hashes in a proof: no file has more levels.
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
        assert_eq!("ab".repeat(31).parse::<Hash>(), Err(IdError));
        assert_eq!("é".repeat(32).parse::<Hash>(), Err(IdError));
        assert_eq!(serde_round(hash), hash);
    }

    fn serde_round(hash: Hash) -> Hash {
        let bytes = postcard::to_extend(&hash, Vec::new()).unwrap();
        assert_eq!(bytes.len(), 32);
        postcard::from_bytes(&bytes).unwrap()
    }
}
