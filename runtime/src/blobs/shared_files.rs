//! The files that a node shares, found by their hash, wherever they are on this machine.
//!
//! A file is hashed once. Its hash is valid while its size and modification time are unchanged. Each piece is verified
//! again when it is read, so a file that was changed in place is unshared rather than served wrong. `shared.json` keeps
//! the list across restarts.

use super::manifest::{Manifest, ManifestFile};
use super::partial::{CompleteFile, read_piece, sha256_of};
use super::piece_hashes;
use engine::blobs::{
    BLOB_BYTES_MAX, BlobError, BlobId, BlobReport, Hash, Piece, SHARED_MAX, SharedBlob, Tree, leaf,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::mpsc::UnboundedSender;

/// The files that a node shares.
#[derive(Debug)]
pub struct SharedFiles {
    directory: PathBuf,
    reporter: UnboundedSender<BlobReport>,
    inner: Mutex<Inner>,
}

/// A shared file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SharedFile {
    /// Its path.
    pub path: PathBuf,
    /// Its BLAKE3 hash.
    pub blake3: Hash,
    /// Its SHA-256 hash.
    pub sha256: Hash,
    /// Its size.
    pub bytes: u64,
    /// Its modification time, in nanoseconds since the Unix epoch.
    changed: i64,
}

/// Why files cannot be shared.
#[derive(Debug, thiserror::Error)]
pub enum ShareError {
    /// A file cannot be read, or its hashes cannot be stored.
    #[error("cannot share {}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There is no file in the folder.
    #[error("there is no file in {}", .0.display())]
    Nothing(PathBuf),
    /// The file is larger than nodes transfer.
    #[error("{} is larger than nodes transfer", .0.display())]
    TooLarge(PathBuf),
    /// Too many files are shared.
    #[error("no more than {SHARED_MAX} files can be shared")]
    TooMany,
}

#[derive(Debug, Default)]
struct Inner {
    files: BTreeMap<Hash, SharedFile>,
    /// Files that were read recently, the latest last.
    open: VecDeque<Arc<Open>>,
}

/// An open file.
#[derive(Debug)]
struct Open {
    blob: BlobId,
    file: File,
    leaves: Vec<Hash>,
    tree: Tree,
}

impl SharedFiles {
    /// Returns the shared files in a directory, for an API whose node shares none: it learns of no changes.
    pub fn detached(directory: &Path) -> Self {
        Self::open(directory, tokio::sync::mpsc::unbounded_channel().0)
    }

    /// Loads the list of shared files, without those that have changed since.
    pub(crate) fn open(directory: &Path, reporter: UnboundedSender<BlobReport>) -> Self {
        let text = fs::read(directory.join(LIST)).unwrap_or_default();
        let list: Vec<SharedFile> = serde_json::from_slice(&text).unwrap_or_default();
        let shared_files = Self { directory: directory.to_owned(), reporter, inner: Mutex::default() };
        let same = |shared: &SharedFile| fs::metadata(&shared.path).is_ok_and(|found| shared.is(&found));
        shared_files.lock().files =
            list.into_iter().filter(same).take(SHARED_MAX).map(|shared| (shared.blake3, shared)).collect();
        shared_files.report();
        shared_files
    }

    /// Lists the shared files.
    pub fn list(&self) -> Vec<SharedFile> {
        self.lock().files.values().cloned().collect()
    }

    /// Returns the path of a shared file.
    pub fn path(&self, root: Hash) -> Option<PathBuf> {
        self.lock().files.get(&root).map(|shared| shared.path.clone())
    }

    /// Tells whether a path is in the directory of fetched files.
    pub(crate) fn is_own(&self, path: &Path) -> bool {
        path.parent() == Some(&self.directory)
    }

    /// Shares a file, or all files of a folder and its subfolders, and returns their manifest. Hashes new files, which
    /// may take a while.
    ///
    /// # Errors
    /// [`ShareError`]. Files that were hashed before the error remain shared.
    pub fn share(&self, path: &Path) -> Result<Manifest, ShareError> {
        let failed = |source| ShareError::Io { path: path.to_owned(), source };
        let mut found = Vec::new();
        collect(path, 0, &mut found).map_err(failed)?;
        if found.is_empty() {
            return Err(ShareError::Nothing(path.to_owned()));
        }
        // Names are those in the folder, wherever links lead.
        let folder = if path.is_dir() { Some(path) } else { path.parent() };
        let file = |found: &PathBuf| {
            let name = folder.and_then(|folder| found.strip_prefix(folder).ok()?.to_str());
            let path = name.ok_or_else(|| failed(io::ErrorKind::InvalidFilename.into()))?.to_owned();
            let SharedFile { blake3, sha256, bytes, .. } = self.share_file(found)?;
            Ok(ManifestFile { path, bytes, blake3, sha256 })
        };
        let files: Result<_, ShareError> = found.iter().map(file).collect();
        self.keep();
        let name = if path.is_dir() { path.file_name() } else { path.file_stem() };
        Ok(Manifest { name: name.unwrap_or_default().to_string_lossy().into_owned(), files: files? })
    }

    /// Shares a file that was just fetched.
    pub(super) fn add_fetched(&self, done: CompleteFile) {
        let CompleteFile { blob, sha256, path } = done;
        let note = || {
            let sha256 = sha256.map_or_else(|| sha256_of(&path), Ok)?;
            let found = fs::metadata(&path)?;
            Ok::<_, io::Error>(SharedFile {
                changed: changed(&found),
                blake3: blob.root,
                sha256,
                bytes: blob.bytes,
                path: path.clone(),
            })
        };
        match note() {
            Ok(shared) => {
                let mut inner = self.lock();
                if inner.files.len() < SHARED_MAX {
                    inner.files.insert(shared.blake3, shared);
                }
                drop(inner);
                self.keep();
            }
            Err(error) => tracing::warn!(%error, file = %path.display(), "cannot share a downloaded file"),
        }
    }

    /// Changes the path of a fetched file.
    ///
    /// # Errors
    /// The file is not at the new path.
    pub fn moved(&self, root: Hash, path: &Path) -> io::Result<()> {
        let found = fs::metadata(path)?;
        let mut inner = self.lock();
        let shared = inner.files.get_mut(&root).ok_or(io::ErrorKind::NotFound)?;
        if found.len() != shared.bytes {
            return Err(io::ErrorKind::InvalidData.into());
        }
        (shared.path, shared.changed) = (path.to_owned(), changed(&found));
        inner.open.retain(|open| open.blob.root != root);
        drop(inner);
        self.keep();
        Ok(())
    }

    /// Reads a piece, with its proof.
    pub(super) fn read(&self, root: Hash, piece: u32) -> Result<Piece, BlobError> {
        let read = || {
            let open = self.opened(root)?;
            let bytes = read_piece(&open.file, open.blob, piece).ok()?;
            let right = open.leaves.get(piece as usize) == Some(&leaf(open.blob, piece, &bytes));
            Some(Piece { bytes, proof: open.tree.proof(piece).filter(|_| right)? })
        };
        read().ok_or_else(|| {
            self.forget(root);
            BlobError::Gone
        })
    }

    fn opened(&self, root: Hash) -> Option<Arc<Open>> {
        let mut inner = self.lock();
        if let Some(at) = inner.open.iter().position(|open| open.blob.root == root) {
            let open = inner.open.remove(at)?;
            inner.open.push_back(Arc::clone(&open));
            return Some(open);
        }
        let shared = inner.files.get(&root)?.clone();
        drop(inner);
        let file = File::open(&shared.path).ok()?;
        let blob = shared.blob();
        let same = file.metadata().is_ok_and(|found| shared.is(&found));
        let (leaves, tree) = piece_hashes::tree(&self.piece_hashes_path(root), blob).filter(|_| same)?;
        let open = Arc::new(Open { blob, file, leaves, tree });
        let mut inner = self.lock();
        if inner.open.len() >= OPEN_FILES_MAX {
            inner.open.pop_front();
        }
        inner.open.push_back(Arc::clone(&open));
        Some(open)
    }

    /// Unshares the files that were changed or removed. Returns whether there was one.
    pub(crate) fn forget_missing(&self) -> bool {
        let same = |shared: &SharedFile| fs::metadata(&shared.path).is_ok_and(|found| shared.is(&found));
        let missing: Vec<Hash> =
            self.list().into_iter().filter(|shared| !same(shared)).map(|shared| shared.blake3).collect();
        missing.iter().for_each(|root| self.forget(*root));
        !missing.is_empty()
    }

    /// Unshares a file that has changed.
    fn forget(&self, root: Hash) {
        let mut inner = self.lock();
        inner.open.retain(|open| open.blob.root != root);
        let known = inner.files.remove(&root);
        drop(inner);
        if let Some(shared) = known {
            tracing::warn!(file = %shared.path.display(), "a file was changed or removed and is no longer shared");
            self.keep();
        }
    }

    fn share_file(&self, path: &Path) -> Result<SharedFile, ShareError> {
        let failed = |source| ShareError::Io { path: path.to_owned(), source };
        // Links are resolved, so the target is shared.
        let path = path.canonicalize().map_err(failed)?;
        let found = fs::metadata(&path).map_err(failed)?;
        let known = self.lock().files.values().find(|shared| shared.path == path).cloned();
        if let Some(shared) = known.filter(|shared| shared.is(&found)) {
            return Ok(shared);
        }
        if found.len() > BLOB_BYTES_MAX {
            return Err(ShareError::TooLarge(path));
        }
        if self.lock().files.len() >= SHARED_MAX {
            return Err(ShareError::TooMany);
        }
        let (blob, leaves) = hash_pieces(&path, found.len()).map_err(failed)?;
        piece_hashes::write(&self.piece_hashes_path(blob.root), &leaves).map_err(failed)?;
        let sha256 = sha256_of(&path).map_err(failed)?;
        let shared =
            SharedFile { changed: changed(&found), blake3: blob.root, sha256, bytes: blob.bytes, path };
        self.lock().files.insert(shared.blake3, shared.clone());
        Ok(shared)
    }

    /// Saves the list and reports it to the node.
    fn keep(&self) {
        let list = self.list();
        let text = serde_json::to_vec_pretty(&list).map_err(io::Error::other);
        let kept = text.and_then(|text| crate::home::replace_file(&self.directory.join(LIST), &text, 0o600));
        if let Err(error) = kept {
            tracing::warn!(%error, "cannot save the list of shared files; share them again after a restart");
        }
        self.report();
    }

    fn report(&self) {
        let one = |shared: &SharedFile| SharedBlob { blob: shared.blob(), sha256: Some(shared.sha256) };
        let shared = self.lock().files.values().map(one).collect();
        let _ = self.reporter.send(BlobReport::Shared(shared));
    }

    fn piece_hashes_path(&self, root: Hash) -> PathBuf {
        self.directory.join(root.to_string()).with_extension("leaves")
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SharedFile {
    /// Returns the id of its content.
    pub const fn blob(&self) -> BlobId {
        BlobId { root: self.blake3, bytes: self.bytes }
    }

    fn is(&self, found: &Metadata) -> bool {
        found.is_file() && found.len() == self.bytes && changed(found) == self.changed
    }
}

/// Hashes a file of a known size.
///
/// # Errors
/// The file cannot be read, or is shorter.
pub fn hash_file(path: &Path, bytes: u64) -> io::Result<BlobId> {
    hash_pieces(path, bytes).map(|(blob, _)| blob)
}

/// Hashes a file, piece by piece.
fn hash_pieces(path: &Path, bytes: u64) -> io::Result<(BlobId, Vec<Hash>)> {
    let file = File::open(path)?;
    let unnamed = BlobId { root: piece_hashes::MISSING, bytes };
    let hash = |piece| Ok::<_, io::Error>(leaf(unnamed, piece, &read_piece(&file, unnamed, piece)?));
    let leaves = (0..unnamed.pieces()).map(hash).collect::<io::Result<Vec<Hash>>>()?;
    let root = Tree::over(leaves.clone()).root().ok_or(io::ErrorKind::InvalidData)?;
    Ok((BlobId { root, bytes }, leaves))
}

fn changed(found: &Metadata) -> i64 {
    found.mtime().saturating_mul(1_000_000_000).saturating_add(found.mtime_nsec())
}

/// Collects the files of a folder, sorted by name. Names that begin with a dot are left out.
fn collect(path: &Path, depth: usize, found: &mut Vec<PathBuf>) -> io::Result<()> {
    if found.len() > SHARED_MAX || depth > FOLDER_DEPTH_MAX {
        return Ok(());
    }
    let metadata = fs::metadata(path)?;
    if metadata.is_file() {
        found.push(path.to_owned());
    } else if metadata.is_dir() {
        let mut entries =
            fs::read_dir(path)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
        entries
            .retain(|entry| !entry.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".")));
        entries.sort();
        entries.iter().try_for_each(|entry| collect(entry, depth + 1, found))?;
    }
    Ok(())
}

const LIST: &str = "shared.json";
/// Maximum number of open files.
const OPEN_FILES_MAX: usize = 16;
/// Maximum depth of subfolders.
const FOLDER_DEPTH_MAX: usize = 8;
