//! Partial downloads, kept across restarts and crashes.
//!
//! `ROOT.part` holds the bytes, and `ROOT.leaves` the hash of each piece, written after its bytes. After a restart
//! every noted piece is read and hashed again, so pieces that a power loss damaged do not count. The file gets its
//! final name once it is complete and the tree over its hashes has the requested root.

use super::piece_hashes;
use engine::blobs::{BlobId, Hash, PIECE_BYTES, Pieces, Tree, leaf};
use nix::sys::statvfs::statvfs;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The partial downloads.
#[derive(Debug)]
pub(super) struct PartialFiles {
    directory: PathBuf,
    open: BTreeMap<Hash, PartialFile>,
}

/// A complete file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CompleteFile {
    pub(super) blob: BlobId,
    pub(super) sha256: Option<Hash>,
    pub(super) path: PathBuf,
}

#[derive(Debug)]
struct PartialFile {
    blob: BlobId,
    sha256: Option<Hash>,
    bytes: File,
    hashes: File,
    leaves: Vec<Hash>,
}

impl PartialFiles {
    pub(super) fn new(directory: &Path) -> Self {
        if let Err(error) = remove_old(directory) {
            tracing::warn!(%error, "cannot remove old partial downloads");
        }
        Self { directory: directory.to_owned(), open: BTreeMap::new() }
    }

    /// Opens a file, and returns its valid pieces.
    pub(super) fn open(&mut self, blob: BlobId, sha256: Option<Hash>) -> io::Result<Pieces> {
        let (part, whole) = (self.path(blob.root, "part"), self.path(blob.root, ""));
        // A file that was fetched before and is not shared any more may have changed.
        if whole.exists() {
            fs::rename(&whole, &part)?;
        }
        let open = |path: &Path| {
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
        };
        let (bytes, hashes) = (open(&part)?, open(&self.path(blob.root, "leaves"))?);
        if bytes.metadata()?.len() > blob.bytes {
            bytes.set_len(0)?;
        }
        let mut noted = piece_hashes::read(&self.path(blob.root, "leaves"), blob)?;
        let mut pieces = Pieces::none(blob.pieces());
        for (piece, noted) in (0..).zip(&mut noted).filter(|(_, noted)| **noted != piece_hashes::MISSING) {
            let right =
                read_piece(&bytes, blob, piece).is_ok_and(|bytes| leaf(blob, piece, &bytes) == *noted);
            if right {
                pieces.insert(piece);
            } else {
                *noted = piece_hashes::MISSING;
            }
        }
        let missing = blob.bytes.saturating_sub(u64::from(pieces.count()).saturating_mul(PIECE_BYTES));
        if free_bytes(&self.directory)? < missing.saturating_add(FREE_BYTES_MIN) && missing > 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.open.insert(blob.root, PartialFile { blob, sha256, bytes, hashes, leaves: noted });
        Ok(pieces)
    }

    pub(super) fn close(&mut self, root: Hash) {
        self.open.remove(&root);
    }

    /// Writes a piece, then its hash.
    pub(super) fn write(&mut self, root: Hash, piece: u32, bytes: &[u8], leaf: Hash) -> io::Result<()> {
        let part = self.part(root)?;
        let (begin, _) = part.blob.place(piece).ok_or(io::ErrorKind::InvalidInput)?;
        part.bytes.write_all_at(bytes, begin)?;
        piece_hashes::set(&part.hashes, piece, leaf)?;
        let slot = part.leaves.get_mut(piece as usize).ok_or(io::ErrorKind::InvalidInput)?;
        *slot = leaf;
        Ok(())
    }

    /// Verifies a complete file and renames it. If it does not match, removes it and returns `None`.
    pub(super) fn finish(&mut self, root: Hash) -> io::Result<Option<CompleteFile>> {
        let (part_path, path) = (self.path(root, "part"), self.path(root, ""));
        let part = self.part(root)?;
        let (blob, sha256) = (part.blob, part.sha256);
        let complete = !part.leaves.contains(&piece_hashes::MISSING);
        let tree = Tree::over(part.leaves.clone());
        let named = match sha256 {
            Some(wanted) => sha256_of(&part_path)? == wanted,
            None => true,
        };
        if !complete || tree.root() != Some(root) || !named {
            self.open.remove(&root);
            fs::remove_file(&part_path)?;
            fs::remove_file(self.path(root, "leaves"))?;
            return Ok(None);
        }
        part.bytes.sync_all()?;
        part.hashes.sync_all()?;
        fs::rename(&part_path, &path)?;
        File::open(&self.directory)?.sync_all()?;
        Ok(Some(CompleteFile { blob, sha256, path }))
    }

    fn part(&mut self, root: Hash) -> io::Result<&mut PartialFile> {
        self.open.get_mut(&root).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn path(&self, root: Hash, extension: &str) -> PathBuf {
        self.directory.join(root.to_string()).with_extension(extension)
    }
}

/// Removes partial downloads that are older than the retention time.
fn remove_old(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let part = path.extension().is_some_and(|extension| extension == "part");
        let age = fs::metadata(&path)?.modified()?.elapsed().unwrap_or_default();
        if part && age > PARTIAL_FILE_RETENTION {
            fs::remove_file(&path)?;
            crate::home::remove_file(&path.with_extension("leaves"))?;
        }
    }
    Ok(())
}

fn free_bytes(directory: &Path) -> io::Result<u64> {
    let space = statvfs(directory)?;
    Ok(space.blocks_available().saturating_mul(space.fragment_size()))
}

/// Reads one piece of a file.
pub(super) fn read_piece(file: &File, blob: BlobId, piece: u32) -> io::Result<Vec<u8>> {
    let (begin, count) = blob.place(piece).ok_or(io::ErrorKind::InvalidInput)?;
    let mut bytes = vec![0; usize::try_from(count).map_err(io::Error::other)?];
    file.read_exact_at(&mut bytes, begin)?;
    Ok(bytes)
}

/// Returns the SHA-256 hash of a file.
pub(super) fn sha256_of(path: &Path) -> io::Result<Hash> {
    let (mut file, mut hasher, mut buffer) = (File::open(path)?, Sha256::new(), vec![0; 1 << 18]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(Hash(hasher.finalize().into())),
            read => hasher.update(&buffer[..read]),
        }
    }
}

/// How long a partial download is kept.
const PARTIAL_FILE_RETENTION: Duration = Duration::from_secs(7 * 24 * 3600);
/// Free space that a download leaves on the disk.
const FREE_BYTES_MIN: u64 = 64 << 20;
