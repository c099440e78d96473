//! The cache on disk, by the hub's documented rules, so that all tools share their downloads.
//!
//! `models--OWNER--NAME/` has three directories. `blobs/` holds files named by their hash. `snapshots/COMMIT/` holds
//! the tree of the repository as relative links to blobs. `refs/` maps branches and tags to commits. A blob is complete
//! once it has its name; before that it is `HASH.incomplete`. A process that writes or removes a blob holds
//! `.locks/models--OWNER--NAME/HASH.lock`. The invariant: nothing outside one repository's folder and its locks is ever
//! written or removed.

use super::hash::{BlobHash, hash_file};
use super::id::is_relative_path;
use crate::home;
use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// The directory of all cached repositories.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cache {
    root: PathBuf,
}

/// A file of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cached {
    /// Its path in the repository.
    pub name: String,
    /// Its path on disk.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// The hash in the name of its blob, if it is a link to one.
    pub hash: Option<BlobHash>,
}

/// A file whose hash does not match its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Its path in the repository.
    pub name: String,
    /// The expected hash.
    pub expected: BlobHash,
    /// The actual hash.
    pub found: BlobHash,
}

/// Why the cache cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot use {}", .path.display())]
pub struct CacheError {
    /// The file or directory.
    pub path: PathBuf,
    /// What the system said.
    #[source]
    pub source: io::Error,
}

impl Cache {
    /// Returns the cache at a path. Touches nothing.
    pub const fn at(root: PathBuf) -> Self {
        Self { root }
    }

    /// Returns the directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Returns a repository's folder.
    pub fn folder(&self, repository: &str) -> PathBuf {
        self.root.join(folder_name(repository))
    }

    /// Returns where a blob is, or will be.
    pub fn blob(&self, repository: &str, hash: BlobHash) -> PathBuf {
        self.folder(repository).join("blobs").join(hash.to_string())
    }

    /// Returns the path of a partial download.
    pub fn incomplete(&self, repository: &str, hash: BlobHash) -> PathBuf {
        self.folder(repository).join("blobs").join(format!("{hash}.incomplete"))
    }

    /// Returns a snapshot's folder.
    pub fn snapshot(&self, repository: &str, commit: &str) -> PathBuf {
        self.folder(repository).join("snapshots").join(commit)
    }

    /// Returns the commit of a revision at its last download.
    pub fn commit(&self, repository: &str, revision: &str) -> Option<String> {
        if is_commit(revision) {
            return Some(revision.to_owned());
        }
        if !is_relative_path(revision) {
            return None;
        }
        let mut text = String::new();
        let file = File::open(self.folder(repository).join("refs").join(revision)).ok()?;
        file.take(REF_BYTES_MAX).read_to_string(&mut text).ok()?;
        Some(text.trim().to_owned()).filter(|commit| is_commit(commit))
    }

    /// Lists the repositories of models, sorted by name.
    ///
    /// # Errors
    /// [`CacheError`] if the directory cannot be read. A missing directory is empty.
    pub fn repositories(&self) -> Result<Vec<String>, CacheError> {
        let mut repositories = Vec::new();
        for entry in entries(&self.root)?.take(REPOSITORIES_MAX) {
            let entry = entry.map_err(|source| self.fault(&self.root, source))?;
            let name = entry.file_name();
            if let Some(name) = name.to_str().and_then(|name| name.strip_prefix(FOLDER_PREFIX)) {
                repositories.push(name.replacen("--", "/", 1));
            }
        }
        repositories.sort_unstable();
        Ok(repositories)
    }

    /// Lists the branches and tags with a known commit.
    ///
    /// # Errors
    /// [`CacheError`] if the directory cannot be read.
    pub fn revisions(&self, repository: &str) -> Result<Vec<String>, CacheError> {
        let mut revisions = names(&self.folder(repository).join("refs"))?;
        revisions.retain(|revision| self.commit(repository, revision).is_some());
        Ok(revisions)
    }

    /// Lists the files of a snapshot whose content is present, sorted by name.
    ///
    /// # Errors
    /// [`CacheError`] if a directory cannot be read. A missing snapshot is empty.
    pub fn files(&self, repository: &str, commit: &str) -> Result<Vec<Cached>, CacheError> {
        let root = self.snapshot(repository, commit);
        let mut found = Vec::new();
        let mut directories = vec![(root, String::new())];
        while let Some((directory, prefix)) = directories.pop() {
            for entry in entries(&directory)?.take(FILES_MAX) {
                let entry = entry.map_err(|source| self.fault(&directory, source))?;
                let Ok(name) = entry.file_name().into_string() else { continue };
                let (path, name) = (entry.path(), format!("{prefix}{name}"));
                // A link to a missing blob counts as a missing file.
                let Ok(metadata) = fs::metadata(&path) else { continue };
                if metadata.is_file() && found.len() < FILES_MAX {
                    found.push(Cached { hash: named_hash(&path), bytes: metadata.len(), path, name });
                } else if metadata.is_dir() && is_relative_path(&name) {
                    directories.push((path, format!("{name}/")));
                }
            }
        }
        found.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        Ok(found)
    }

    /// Locks a blob for writing or removal. Waits if another process holds the lock, and calls `waits` once.
    ///
    /// # Errors
    /// [`CacheError`] if the lock file cannot be created.
    pub(super) fn lock(
        &self,
        repository: &str,
        hash: BlobHash,
        mut waits: impl FnMut(),
    ) -> Result<File, CacheError> {
        let path = self.lock_file(repository, hash);
        let fault = |source| self.fault(&path, source);
        let directory = path.parent().unwrap_or(&self.root);
        fs::create_dir_all(directory).map_err(fault)?;
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path).map_err(fault)?;
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => waits(),
            Err(TryLockError::Error(source)) => return Err(fault(source)),
        }
        file.lock().map_err(fault)?;
        Ok(file)
    }

    /// Links a file of a snapshot to a blob.
    ///
    /// # Errors
    /// [`CacheError`]. An existing file is then unchanged.
    pub(super) fn link(
        &self,
        repository: &str,
        commit: &str,
        file: &str,
        hash: BlobHash,
    ) -> Result<(), CacheError> {
        let path = self.snapshot(repository, commit).join(file);
        let up = "../".repeat(2 + file.matches('/').count());
        let target = PathBuf::from(format!("{up}blobs/{hash}"));
        if fs::read_link(&path).is_ok_and(|found| found == target) {
            return Ok(());
        }
        let fault = |source| self.fault(&path, source);
        fs::create_dir_all(path.parent().unwrap_or(&path)).map_err(fault)?;
        let draft = home::draft_path(&path).map_err(fault)?;
        symlink(target, &draft).and_then(|()| fs::rename(&draft, &path)).map_err(fault)
    }

    /// Stores the commit of a revision.
    ///
    /// # Errors
    /// [`CacheError`].
    pub(super) fn set_ref(&self, repository: &str, revision: &str, commit: &str) -> Result<(), CacheError> {
        if is_commit(revision) || self.commit(repository, revision).as_deref() == Some(commit) {
            return Ok(());
        }
        let path = self.folder(repository).join("refs").join(revision);
        let directory = path.parent().unwrap_or(&path);
        fs::create_dir_all(directory)
            .and_then(|()| home::replace_file(&path, commit.as_bytes(), 0o644))
            .map_err(|source| self.fault(&path, source))
    }

    /// Hashes files, and removes those whose hash does not match their name.
    ///
    /// # Errors
    /// [`CacheError`] if a file can be neither read nor removed.
    pub fn remove_damaged(&self, repository: &str, files: &[Cached]) -> Result<Vec<Damage>, CacheError> {
        let mut damaged = Vec::new();
        for file in files {
            let Some(expected) = file.hash else { continue };
            let fault = |source| self.fault(&file.path, source);
            let found = match hash_file(&file.path, expected) {
                Ok(found) if found == expected => continue,
                Ok(found) => found,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(fault(error)),
            };
            let _lock = self.lock(repository, expected, || {})?;
            home::remove_file(&self.blob(repository, expected)).map_err(fault)?;
            home::remove_file(&file.path).map_err(fault)?;
            damaged.push(Damage { name: file.name.clone(), expected, found });
        }
        Ok(damaged)
    }

    /// Removes the files of a repository that `unwanted` selects by commit and name, and the blobs that nothing else
    /// uses. Blobs that are being written stay. Returns the number of bytes freed.
    ///
    /// # Errors
    /// [`CacheError`] if something cannot be removed.
    pub fn remove(&self, repository: &str, unwanted: impl Fn(&str, &str) -> bool) -> Result<u64, CacheError> {
        let folder = self.folder(repository);
        let (mut needed, mut files_left) = (BTreeSet::new(), 0_usize);
        for commit in names(&folder.join("snapshots"))? {
            let mut left = 0_usize;
            for file in self.files(repository, &commit)? {
                if unwanted(&commit, &file.name) {
                    home::remove_file(&file.path).map_err(|source| self.fault(&file.path, source))?;
                } else {
                    left += 1;
                    needed.extend(file.hash);
                }
            }
            files_left += left;
            if left == 0 {
                let snapshot = self.snapshot(repository, &commit);
                fs::remove_dir_all(&snapshot).map_err(|source| self.fault(&snapshot, source))?;
            }
        }
        let freed = self.sweep(repository, &needed)?;
        let blobs_left = !names(&folder.join("blobs"))?.is_empty();
        if files_left == 0 && !blobs_left {
            fs::remove_dir_all(&folder).map_err(|source| self.fault(&folder, source))?;
        }
        Ok(freed)
    }

    /// Removes unused blobs and partial downloads. Returns their size.
    fn sweep(&self, repository: &str, needed: &BTreeSet<BlobHash>) -> Result<u64, CacheError> {
        let blobs = self.folder(repository).join("blobs");
        let mut freed = 0;
        for name in names(&blobs)? {
            let Ok(hash) = name.trim_end_matches(".incomplete").parse::<BlobHash>() else { continue };
            if needed.contains(&hash) {
                continue;
            }
            let lock_file = self.lock_file(repository, hash);
            let held = File::open(&lock_file).is_ok_and(|file| file.try_lock().is_err());
            if held {
                continue;
            }
            let path = blobs.join(&name);
            freed += fs::metadata(&path).map_or(0, |metadata| metadata.len());
            home::remove_file(&path).map_err(|source| self.fault(&path, source))?;
        }
        Ok(freed)
    }

    fn lock_file(&self, repository: &str, hash: BlobHash) -> PathBuf {
        self.root.join(".locks").join(folder_name(repository)).join(format!("{hash}.lock"))
    }

    fn fault(&self, path: &Path, source: io::Error) -> CacheError {
        CacheError { path: path.to_owned(), source }
    }
}

/// Tells whether a text is the hash of a commit.
pub(super) fn is_commit(text: &str) -> bool {
    matches!(text.parse(), Ok(BlobHash::Git(_)))
}

fn folder_name(repository: &str) -> String {
    format!("{FOLDER_PREFIX}{}", repository.replace('/', "--"))
}

/// Returns the hash in the name of a link's target.
fn named_hash(path: &Path) -> Option<BlobHash> {
    fs::read_link(path).ok()?.file_name()?.to_str()?.parse().ok()
}

/// Lists the entries of a directory. A missing directory is empty.
fn entries(path: &Path) -> Result<Box<dyn Iterator<Item = io::Result<fs::DirEntry>>>, CacheError> {
    match fs::read_dir(path) {
        Ok(entries) => Ok(Box::new(entries)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Box::new(std::iter::empty())),
        Err(source) => Err(CacheError { path: path.to_owned(), source }),
    }
}

fn names(path: &Path) -> Result<Vec<String>, CacheError> {
    let mut names = Vec::new();
    for entry in entries(path)?.take(FILES_MAX) {
        let entry = entry.map_err(|source| CacheError { path: path.to_owned(), source })?;
        names.extend(entry.file_name().into_string().ok());
    }
    names.sort_unstable();
    Ok(names)
}

const FOLDER_PREFIX: &str = "models--";
/// Maximum number of repositories to list.
const REPOSITORIES_MAX: usize = 4096;
/// Maximum number of files of a directory or snapshot to list.
const FILES_MAX: usize = 4096;
const REF_BYTES_MAX: u64 = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::hash::Hasher;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
    const OTHER: &str = "89abcdef0123456789abcdef0123456701234567";

    fn cache() -> (tempfile::TempDir, Cache) {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::at(directory.path().join("hub"));
        (directory, cache)
    }

    fn put(cache: &Cache, commit: &str, file: &str, content: &[u8]) -> BlobHash {
        let mut hasher = Hasher::new(BlobHash::Sha256([0; 32]), content.len() as u64);
        hasher.update(content);
        let hash = hasher.finish();
        let blob = cache.blob("o/n", hash);
        fs::create_dir_all(blob.parent().unwrap()).unwrap();
        fs::write(blob, content).unwrap();
        cache.link("o/n", commit, file, hash).unwrap();
        hash
    }

    #[test]
    fn the_tree_is_as_the_hub_documents_it() {
        let (_directory, cache) = cache();
        assert_eq!(cache.repositories().unwrap(), [""; 0]);
        let hash = put(&cache, COMMIT, "1_Pooling/config.json", b"{}");
        cache.set_ref("o/n", "refs/pr/1", COMMIT).unwrap();
        let folder = cache.root().join("models--o--n");
        let link = fs::read_link(folder.join(format!("snapshots/{COMMIT}/1_Pooling/config.json"))).unwrap();
        assert_eq!(link, Path::new(&format!("../../../blobs/{hash}")));
        assert_eq!(fs::read_to_string(folder.join("refs/refs/pr/1")).unwrap(), COMMIT);
        assert_eq!(cache.commit("o/n", "refs/pr/1").as_deref(), Some(COMMIT));
        assert_eq!(cache.commit("o/n", OTHER).as_deref(), Some(OTHER));
        assert_eq!(cache.commit("o/n", "main"), None);
        assert_eq!(cache.commit("o/n", "../../secret"), None);
        assert_eq!(cache.repositories().unwrap(), ["o/n"]);
        let files = cache.files("o/n", COMMIT).unwrap();
        let path = cache.snapshot("o/n", COMMIT).join("1_Pooling/config.json");
        let name = "1_Pooling/config.json".to_owned();
        assert_eq!(files, [Cached { name, path, bytes: 2, hash: Some(hash) }]);
    }

    #[test]
    fn a_ref_that_is_no_commit_leads_nowhere() {
        let (_directory, cache) = cache();
        let refs = cache.folder("o/n").join("refs");
        fs::create_dir_all(&refs).unwrap();
        fs::write(refs.join("main"), "../../../etc").unwrap();
        assert_eq!(cache.commit("o/n", "main"), None);
    }

    #[test]
    fn a_damaged_file_is_removed_and_a_sound_one_stays() {
        let (_directory, cache) = cache();
        let sound = put(&cache, COMMIT, "a", b"sound");
        let hash = put(&cache, COMMIT, "b", b"damaged");
        let files = cache.files("o/n", COMMIT).unwrap();
        assert_eq!(cache.remove_damaged("o/n", &files).unwrap(), []);
        fs::write(cache.blob("o/n", hash), b"dbmaged").unwrap();
        let damaged = cache.remove_damaged("o/n", &files).unwrap();
        let names: Vec<_> = damaged.iter().map(|damage| (damage.name.as_str(), damage.expected)).collect();
        assert_eq!(names, [("b", hash)]);
        assert!(!cache.blob("o/n", hash).exists());
        assert!(cache.blob("o/n", sound).exists());
        assert_eq!(cache.files("o/n", COMMIT).unwrap().len(), 1);
    }

    #[test]
    fn removal_spares_what_another_file_needs_and_what_is_being_written() {
        let (_directory, cache) = cache();
        let shared = put(&cache, COMMIT, "shared", b"shared");
        put(&cache, OTHER, "shared", b"shared");
        // Where there are no links, tools put the files themselves.
        fs::write(cache.snapshot("o/n", OTHER).join("copy"), "copied").unwrap();
        let own = put(&cache, COMMIT, "own", b"own file");
        assert_eq!(cache.remove("o/n", |commit, _| commit == COMMIT).unwrap(), 8);
        assert!(cache.blob("o/n", shared).exists() && !cache.blob("o/n", own).exists());
        assert!(!cache.snapshot("o/n", COMMIT).exists());

        let lock = cache.lock("o/n", own, || {}).unwrap();
        fs::write(cache.incomplete("o/n", own), b"half").unwrap();
        assert_eq!(cache.remove("o/n", |_, file| file == "shared").unwrap(), 6);
        assert!(cache.snapshot("o/n", OTHER).join("copy").exists());
        assert_eq!(cache.remove("o/n", |_, _| true).unwrap(), 0);
        assert!(cache.incomplete("o/n", own).exists());
        drop(lock);
        assert_eq!(cache.remove("o/n", |_, _| true).unwrap(), 4);
        assert!(!cache.folder("o/n").exists());
    }
}
