//! The hash that names a blob: SHA-256 of a large file, or git's SHA-1 of a small one.
//!
//! Git hashes `blob LENGTH\0` before the bytes, so the length must be known first. The hub states SHA-1 for small
//! files. It protects against damage; the encrypted connection protects against attackers.

use sha1::Sha1;
use sha2::{Digest, Sha256};
use std::fmt::{self, Write as _};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::str::FromStr;

/// The hash of a blob, which is also its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum BlobHash {
    /// SHA-1 as git computes it for a file.
    Git([u8; 20]),
    /// SHA-256 of the bytes.
    Sha256([u8; 32]),
}

impl FromStr for BlobHash {
    type Err = ();

    /// Parses lower-case hexadecimal of either length.
    fn from_str(text: &str) -> Result<Self, ()> {
        match text.len() {
            40 => bytes(text).map(Self::Git),
            64 => bytes(text).map(Self::Sha256),
            _ => None,
        }
        .ok_or(())
    }
}

impl fmt::Display for BlobHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes: &[u8] = match self {
            Self::Git(bytes) => bytes,
            Self::Sha256(bytes) => bytes,
        };
        bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Computes a [`BlobHash`] incrementally.
#[derive(Clone)]
pub enum Hasher {
    /// See [`BlobHash::Git`].
    Git(Sha1),
    /// See [`BlobHash::Sha256`].
    Sha256(Sha256),
}

impl Hasher {
    /// Starts a hash of the same kind as `like`, for a file of this size.
    pub fn new(like: BlobHash, size: u64) -> Self {
        match like {
            BlobHash::Git(_) => {
                let mut header = String::new();
                // Writing to a string does not fail.
                let _ = write!(header, "blob {size}\0");
                Self::Git(Sha1::new_with_prefix(header))
            }
            BlobHash::Sha256(_) => Self::Sha256(Sha256::new()),
        }
    }

    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Git(hasher) => hasher.update(bytes),
            Self::Sha256(hasher) => hasher.update(bytes),
        }
    }

    /// Returns the hash.
    pub fn finish(self) -> BlobHash {
        match self {
            Self::Git(hasher) => BlobHash::Git(hasher.finalize().into()),
            Self::Sha256(hasher) => BlobHash::Sha256(hasher.finalize().into()),
        }
    }
}

/// Hashes a file with the same kind of hash as `like`.
///
/// # Errors
/// The error of the file system.
pub fn hash_file(path: &Path, like: BlobHash) -> io::Result<BlobHash> {
    let mut file = File::open(path)?;
    let mut hasher = Hasher::new(like, file.metadata()?.len());
    feed(&mut file, &mut hasher, u64::MAX)?;
    Ok(hasher.finish())
}

/// Feeds up to this many bytes of a reader to a hasher. Returns how many there were.
pub(super) fn feed(reader: &mut impl Read, hasher: &mut Hasher, bytes_max: u64) -> io::Result<u64> {
    let mut piece = vec![0; PIECE_BYTES];
    let (mut total, mut reader) = (0, reader.take(bytes_max));
    loop {
        let length = match reader.read(&mut piece) {
            Ok(0) => return Ok(total),
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        hasher.update(&piece[..length]);
        total += length as u64;
    }
}

fn bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

const PIECE_BYTES: usize = 128 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    /// Known answers: `git hash-object` and `sha256sum` of a file with `hello\n`.
    #[test]
    fn hashes_are_those_of_git_and_of_sha256sum() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        std::fs::write(&path, "hello\n").unwrap();
        for known in [
            "ce013625030ba8dba906f756967f9e9ca394464a",
            "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03",
        ] {
            let hash: BlobHash = known.parse().unwrap();
            assert_eq!(hash_file(&path, hash).unwrap(), hash);
            assert_eq!(hash.to_string(), known);
        }
    }

    #[test]
    fn only_hexadecimal_of_either_length_is_a_hash() {
        for text in ["", "ce01", &"g".repeat(40), &"A".repeat(64), "../../../../../../../../../../../../etc"]
        {
            assert!(text.parse::<BlobHash>().is_err(), "{text:?}");
        }
    }
}
