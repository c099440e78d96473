//! Model fingerprints: a hash over everything that determines what a model computes.
//!
//! A [`Fingerprint`] covers the names and contents of all files of a model, and the precision that it is computed in.
//! Two nodes have the same model if and only if their fingerprints are equal.
//!
//! Hashing reads every byte, so file hashes are cached in memory and in the cache folder of this program. The cache key
//! is the file's metadata: path, device, inode, size and timestamps. While the metadata is unchanged, so is the
//! content. A file that was written a moment ago may be written again within the same tick of the clock, so it is
//! hashed once more a little later.

use crate::home;
use crate::regular_file;
use engine::Fingerprint;
use engine::blobs::{BlobId, Hash, PIECE_BYTES, Tree, leaf};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

/// A file of a model, with its metadata at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelFile {
    /// The name within the model, the same on every node.
    pub name: String,
    /// The path on this node.
    pub path: PathBuf,
    stat: Stat,
}

/// The metadata of a file, which changes when its content changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stat {
    device: u64,
    inode: u64,
    bytes: u64,
    /// Seconds and nanoseconds of the last change of the content (mtime) and of the inode (ctime).
    modified: (i64, i64),
    changed: (i64, i64),
}

/// Why a fingerprint cannot be computed.
#[derive(Debug, thiserror::Error)]
pub enum FingerprintError {
    /// A file was written while it was read. Retry once that is over.
    #[error("{} was written to while it was read", .0.display())]
    Changed(PathBuf),
    /// A file cannot be read.
    #[error("{} cannot be read: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
}

/// A cache of file hashes.
#[derive(Debug, Default)]
pub struct FileHashes {
    known: Mutex<BTreeMap<[u8; 32], Known>>,
    /// The folder of the persistent cache.
    folder: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    hash: Hash,
    /// The file had been written a moment before hashing. The hash is provisional until that time has passed.
    young: bool,
}

impl ModelFile {
    /// Reads the metadata of a file.
    ///
    /// # Errors
    /// Returns the error of the system if the file cannot be found.
    pub fn at(name: String, path: PathBuf) -> io::Result<Self> {
        let stat = Stat::from_metadata(&fs::metadata(&path)?);
        Ok(Self { name, path, stat })
    }

    /// Tells whether the metadata of the file is unchanged.
    pub fn is_unchanged(&self) -> bool {
        Stat::at(&self.path) == Some(self.stat)
    }

    /// Returns the cache key: a hash of path and metadata.
    fn key(&self) -> [u8; 32] {
        let Stat { device, inode, bytes, modified, changed } = self.stat;
        let mut hasher = blake3::Hasher::new();
        for number in [device, inode, bytes] {
            hasher.update(&number.to_le_bytes());
        }
        for (seconds, nanoseconds) in [modified, changed] {
            hasher.update(&seconds.to_le_bytes());
            hasher.update(&nanoseconds.to_le_bytes());
        }
        hasher.update(self.path.as_os_str().as_encoded_bytes());
        *hasher.finalize().as_bytes()
    }

    fn is_settled(&self, now: SystemTime) -> bool {
        let (seconds, nanoseconds) = self.stat.modified.max(self.stat.changed);
        let since = Duration::new(seconds.try_into().unwrap_or(0), nanoseconds.try_into().unwrap_or(0));
        now.duration_since(SystemTime::UNIX_EPOCH + since).is_ok_and(|age| age >= SETTLED_AFTER)
    }

    /// Reads and hashes the whole file.
    fn hash(&self) -> Result<Hash, FingerprintError> {
        let failed = |source| FingerprintError::Read { path: self.path.clone(), source };
        let check = |found: io::Result<Metadata>| {
            let same = Stat::from_metadata(&found.map_err(failed)?) == self.stat;
            if same { Ok(()) } else { Err(FingerprintError::Changed(self.path.clone())) }
        };
        check(fs::metadata(&self.path))?;
        let file = regular_file::open(&self.path).map_err(failed)?;
        check(file.metadata())?;
        let hash = hash(&file, self.stat.bytes).map_err(failed)?;
        check(file.metadata())?;
        Ok(hash)
    }
}

impl Stat {
    /// Reads the metadata of a file, if it exists.
    pub(crate) fn at(path: &Path) -> Option<Self> {
        fs::metadata(path).ok().map(|metadata| Self::from_metadata(&metadata))
    }

    fn from_metadata(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

impl FileHashes {
    /// Makes a cache in this folder, which need not exist.
    pub fn in_folder(folder: Option<PathBuf>) -> Self {
        Self { known: Mutex::default(), folder }
    }

    /// Returns the fingerprint of a model if the hashes of all its files are cached. Does not read model files.
    pub fn known(&self, files: &[ModelFile], precision: &str) -> Option<Fingerprint> {
        let hashes: Option<Vec<Hash>> = files.iter().map(|file| self.find(file)).collect();
        Some(fingerprint(names(files).zip(hashes?), precision))
    }

    /// Returns the fingerprint of a model. Reads all files whose hashes are not cached. Blocks.
    ///
    /// # Errors
    /// Returns [`FingerprintError`] if a file cannot be read, or has changed since its metadata was read.
    pub fn compute(&self, files: &[ModelFile], precision: &str) -> Result<Fingerprint, FingerprintError> {
        let mut hashes = Vec::with_capacity(files.len());
        for file in files {
            let hash = match self.find(file) {
                Some(hash) => hash,
                None => {
                    let hash = file.hash()?;
                    self.keep(file, hash);
                    hash
                }
            };
            hashes.push(hash);
        }
        Ok(fingerprint(names(files).zip(hashes), precision))
    }

    fn find(&self, file: &ModelFile) -> Option<Hash> {
        let key = file.key();
        if let Some(known) = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return (!known.young || !file.is_settled(SystemTime::now())).then_some(known.hash);
        }
        let content = fs::read(self.folder.as_ref()?.join(file_name(&key))).ok()?;
        let (kept, hash) = content.split_first_chunk::<32>()?;
        let hash = Hash(hash.try_into().ok().filter(|_| *kept == key)?);
        self.remember(key, hash, false);
        Some(hash)
    }

    fn keep(&self, file: &ModelFile, hash: Hash) {
        let (key, young) = (file.key(), !file.is_settled(SystemTime::now()));
        self.remember(key, hash, young);
        if let Some(folder) = self.folder.as_ref().filter(|_| !young)
            && let Err(error) = write(folder, &key, hash)
        {
            tracing::debug!(component = "models", %error, "the hash of a file is not kept");
        }
    }

    fn remember(&self, key: [u8; 32], hash: Hash, young: bool) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= HASHES_MAX {
            known.clear();
        }
        known.insert(key, Known { hash, young });
    }
}

/// Returns the fingerprint of a model with these files, in a precision.
pub(crate) fn fingerprint<'n>(files: impl Iterator<Item = (&'n str, Hash)>, precision: &str) -> Fingerprint {
    let mut files: Vec<(&str, Hash)> = files.collect();
    files.sort_unstable();
    let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
    // Each text ends with a byte that no text contains, so that different lists never have the same encoding.
    for text in [precision].into_iter().chain(files.iter().map(|(name, _)| *name)) {
        hasher.update(text.as_bytes());
        hasher.update(&[0xff]);
    }
    for (_, hash) in &files {
        hasher.update(&hash.0);
    }
    let mut short = [0; 16];
    hasher.finalize_xof().fill(&mut short);
    Fingerprint(short)
}

fn names(files: &[ModelFile]) -> impl Iterator<Item = &str> {
    files.iter().map(|file| file.name.as_str())
}

/// Returns the BLAKE3 hash of a file of this size, computed with a few threads.
fn hash(file: &File, bytes: u64) -> io::Result<Hash> {
    // The hash tree is that of the whole file, however pieces are divided among threads.
    let blob = BlobId { root: Hash([0; 32]), bytes };
    let pieces = blob.pieces();
    let threads = std::thread::available_parallelism().map_or(1, |cores| cores.get().min(THREADS_MAX));
    let (next, leaves) = (AtomicU32::new(0), Mutex::new(vec![Hash([0; 32]); pieces as usize]));
    let work = || {
        let mut buffer = vec![0; PIECE_BYTES as usize];
        loop {
            let first = next.fetch_add(PIECES_AT_ONCE, Ordering::Relaxed);
            if first >= pieces {
                return Ok(());
            }
            for piece in first..pieces.min(first + PIECES_AT_ONCE) {
                let start = u64::from(piece) * PIECE_BYTES;
                let content = &mut buffer[..(bytes - start).min(PIECE_BYTES) as usize];
                file.read_exact_at(content, start)?;
                let hash = leaf(blob, piece, content);
                leaves.lock().unwrap_or_else(PoisonError::into_inner)[piece as usize] = hash;
            }
        }
    };
    let helpers = threads.min((pieces / PIECES_AT_ONCE) as usize);
    std::thread::scope(|scope| -> io::Result<()> {
        let helpers: Vec<_> = (1..helpers).map(|_| scope.spawn(work)).collect();
        let own = work();
        for helper in helpers {
            helper.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        }
        own
    })?;
    let leaves = leaves.into_inner().unwrap_or_else(PoisonError::into_inner);
    Tree::over(leaves).root().ok_or_else(|| io::Error::other("the file has no pieces"))
}

fn write(folder: &Path, key: &[u8; 32], hash: Hash) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    make_room(folder)?;
    // No fsync: a torn file does not begin with its key, and is ignored.
    let path = folder.join(file_name(key));
    let draft = home::draft_path(&path)?;
    fs::write(&draft, [*key, hash.0].concat())?;
    fs::rename(&draft, path).inspect_err(|_| drop(fs::remove_file(&draft)))
}

/// Evicts the oldest files beyond the limit.
fn make_room(folder: &Path) -> io::Result<()> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        files.push((entry.metadata()?.modified()?, entry.path()));
    }
    files.sort_unstable();
    let excess = (files.len() + 1).saturating_sub(HASHES_MAX);
    files.iter().take(excess).try_for_each(|(_, path)| fs::remove_file(path))
}

fn file_name(key: &[u8; 32]) -> String {
    key[..16].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Returns the folder of the persistent hash cache, in the user's cache folder.
pub(crate) fn hashes_folder() -> Option<PathBuf> {
    crate::inference::decoder::cache_folder().map(|cache| cache.join("hashes"))
}

/// The hash context. Its number is increased when the same files compute something else.
const CONTEXT: &str = "p2p-ai-agents 2026 model fingerprint 1";
/// The minimum age of a file for its hash to be final: longer than a tick of the clock of any file system.
const SETTLED_AFTER: Duration = Duration::from_secs(2);
/// The maximum number of cached hashes. Beyond it, the memory cache is cleared and the oldest files are evicted.
const HASHES_MAX: usize = 1_024;
/// The maximum number of threads that hash a file; more do not make the disk faster.
const THREADS_MAX: usize = 4;
/// The number of pieces that a thread takes at a time: 4 MiB.
const PIECES_AT_ONCE: u32 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn file(folder: &Path, name: &str, content: &[u8]) -> ModelFile {
        let path = folder.join(name);
        fs::write(&path, content).unwrap();
        ModelFile::at(name.to_owned(), path).unwrap()
    }

    fn aged(folder: &Path, name: &str, content: &[u8]) -> ModelFile {
        let mut file = file(folder, name, content);
        // An inode's change time cannot be set, so the recorded times are changed instead.
        file.stat.changed.0 -= 10;
        file.stat.modified.0 -= 10;
        file
    }

    #[test]
    fn names_contents_and_precision_decide_and_order_does_not() {
        let of = |files: &[(&str, u8)], precision: &str| {
            fingerprint(files.iter().map(|(name, content)| (*name, Hash([*content; 32]))), precision)
        };
        let one = of(&[("a", 1), ("b", 2)], "f32");
        assert_eq!(of(&[("b", 2), ("a", 1)], "f32"), one);
        for other in [
            of(&[("a", 1), ("b", 2)], "int8"),
            of(&[("a", 2), ("b", 1)], "f32"),
            of(&[("a", 1), ("c", 2)], "f32"),
            of(&[("a", 1)], "f32"),
            of(&[("ab", 1), ("", 2)], "f32"),
        ] {
            assert_ne!(other, one);
        }
    }

    #[test]
    fn a_file_of_any_size_has_its_blake3_hash() {
        let folder = tempfile::tempdir().unwrap();
        let piece = PIECE_BYTES as usize;
        for bytes in [0, 1, piece, piece + 1, 33 * piece + 5] {
            let content: Vec<u8> = (0..bytes).map(|at| (at % 251) as u8).collect();
            let found = file(folder.path(), "model", &content).hash().unwrap();
            assert_eq!(found.0, *blake3::hash(&content).as_bytes(), "{bytes}");
        }
    }

    #[test]
    fn a_hash_is_kept_over_restarts_and_not_believed_of_another_file() {
        let folder = tempfile::tempdir().unwrap();
        let kept = folder.path().join("kept");
        let hashes = FileHashes::in_folder(Some(kept.clone()));
        let young = file(folder.path(), "model", b"one");
        let one = hashes.compute(std::slice::from_ref(&young), "f32").unwrap();
        assert_eq!(hashes.known(std::slice::from_ref(&young), "f32"), Some(one));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "it may be written again at once");
        let mut later = young;
        later.stat.modified.0 -= 10;
        later.stat.changed.0 -= 10;
        hashes.remember(later.key(), Hash([0; 32]), true);
        assert_eq!(hashes.known(&[later], "f32"), None, "now it cannot, and is hashed once more");
        let old = aged(folder.path(), "model", b"one");
        hashes.keep(&old, Hash(*blake3::hash(b"one").as_bytes()));
        let later = FileHashes::in_folder(Some(kept.clone()));
        assert_eq!(later.known(std::slice::from_ref(&old), "f32"), Some(one));
        let other = aged(folder.path(), "model", b"another");
        assert_eq!(later.known(std::slice::from_ref(&other), "f32"), None);
        // A damaged cache file is ignored.
        fs::write(kept.join(file_name(&old.key())), b"short").unwrap();
        assert_eq!(FileHashes::in_folder(later.folder).known(&[old], "f32"), None);
    }

    #[test]
    fn a_file_that_is_not_as_it_was_has_no_hash() {
        let folder = tempfile::tempdir().unwrap();
        let before = file(folder.path(), "model", b"one");
        assert!(before.is_unchanged());
        fs::write(&before.path, b"longer").unwrap();
        assert!(!before.is_unchanged());
        let error = FileHashes::default().compute(std::slice::from_ref(&before), "f32").unwrap_err();
        assert!(matches!(error, FingerprintError::Changed(_)), "{error}");
        // The metadata alone shows the change: neither a directory nor this pipe could be read.
        fs::remove_file(&before.path).unwrap();
        fs::create_dir(&before.path).unwrap();
        let error = before.hash().unwrap_err();
        assert!(matches!(error, FingerprintError::Changed(_)), "{error}");
        fs::remove_dir(&before.path).unwrap();
        nix::unistd::mkfifo(&before.path, nix::sys::stat::Mode::S_IRUSR).unwrap();
        let error = before.hash().unwrap_err();
        assert!(matches!(error, FingerprintError::Changed(_)), "{error}");
    }

    #[test]
    fn the_hashes_kept_on_disk_are_bounded() {
        let folder = tempfile::tempdir().unwrap();
        for number in 0..=HASHES_MAX {
            fs::write(folder.path().join(number.to_string()), b"").unwrap();
        }
        write(folder.path(), &[7; 32], Hash([8; 32])).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), HASHES_MAX);
    }
}
