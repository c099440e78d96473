//! The registry of this user's running nodes, so that all of them can be stopped.
//!
//! It has one small file per home, in a directory that only this user can access. A file is a hint: the lock of the
//! home decides whether its node runs. Stale files are removed.

use crate::home::{self, Holder, Home};
use nix::unistd::geteuid;
use sha2::{Digest, Sha256};
use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The registry of one user.
#[derive(Clone, Debug)]
pub struct Registry {
    directory: PathBuf,
}

impl Registry {
    /// Opens the registry of this user, below `runtime_directory` (`XDG_RUNTIME_DIR`) if there is one.
    ///
    /// # Errors
    /// The directory cannot be created, or may belong to another user.
    pub fn open(runtime_directory: Option<&OsStr>) -> io::Result<Self> {
        let directory = match runtime_directory.filter(|directory| !directory.is_empty()) {
            Some(directory) => Path::new(directory).join("p2p-ai-agents"),
            None => without_session(),
        };
        match DirBuilder::new().mode(0o700).create(&directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            Ok(()) | Err(_) => {}
        }
        if !is_private(&directory)? {
            let message = format!("{} is not a directory of this user alone", directory.display());
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
        }
        Ok(Self { directory })
    }

    /// Returns the existing registries of nodes that the service manager of the system or a program without a session
    /// of this user started.
    pub fn outside_sessions() -> impl Iterator<Item = Self> {
        let directories = [PathBuf::from(OF_SERVICES), without_session()].into_iter();
        let private = directories.filter(|directory| is_private(directory).unwrap_or_default());
        private.map(|directory| Self { directory })
    }

    /// Registers the node of `home`. Dropping the guard removes the entry.
    ///
    /// # Errors
    /// The error of the file system.
    pub fn add(&self, home: &Home) -> io::Result<Registration> {
        let path = self.directory.join(name_of(home.root()));
        home::replace_file(&path, home.root().as_os_str().as_bytes(), 0o600)?;
        Ok(Registration { path })
    }

    /// Lists the homes whose nodes run, and removes the other entries.
    ///
    /// # Errors
    /// The error of the file system.
    pub fn running(&self) -> io::Result<Vec<Home>> {
        let mut homes = Vec::new();
        for entry in fs::read_dir(&self.directory)?.take(ENTRIES_MAX) {
            let entry = entry?;
            // An entry that is being written.
            if entry.file_name().as_bytes().starts_with(b".") {
                continue;
            }
            let path = entry.path();
            match read(&path) {
                Some(home) if home.holder() != Holder::Nobody => homes.push(home),
                Some(_) | None => remove(&path),
            }
        }
        homes.sort_by(|a, b| a.root().cmp(b.root()));
        Ok(homes)
    }
}

/// The entry of a running node. Dropping it removes the entry.
#[derive(Debug)]
pub struct Registration {
    path: PathBuf,
}

impl Drop for Registration {
    fn drop(&mut self) {
        remove(&self.path);
    }
}

/// Returns the directory of nodes that are started without the directory of a session.
fn without_session() -> PathBuf {
    std::env::temp_dir().join(format!("p2p-ai-agents-{}", geteuid()))
}

/// Returns whether a directory belongs to this user alone. In a world-writable directory another user may have been
/// first, even with a link.
fn is_private(directory: &Path) -> io::Result<bool> {
    let found = fs::symlink_metadata(directory)?;
    Ok(found.is_dir() && found.uid() == geteuid().as_raw() && found.permissions().mode() & 0o077 == 0)
}

fn read(path: &Path) -> Option<Home> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(PATH_BYTES_MAX).read_to_end(&mut bytes).ok()?;
    let root = PathBuf::from(OsString::from_vec(bytes));
    // A file whose name does not match its content is not an entry.
    (path.file_name()? == OsStr::new(&name_of(&root))).then(|| Home::new(&root).ok())?
}

fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::debug!(%error, path = %path.display(), "cannot remove a stale registry entry");
    }
}

fn name_of(root: &Path) -> String {
    Sha256::digest(root.as_os_str().as_bytes()).iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// `RuntimeDirectory=` of the unit that `node install-service --system` writes.
const OF_SERVICES: &str = "/run/p2p-ai-agents";
const ENTRIES_MAX: usize = 4096;
const PATH_BYTES_MAX: u64 = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn running_nodes_are_listed_and_stale_notes_forgotten() {
        let directory = tempfile::tempdir().unwrap();
        let registry = Registry::open(Some(directory.path().as_os_str())).unwrap();
        let homes: Vec<Home> =
            ["a", "b"].iter().map(|name| Home::new(&directory.path().join(name)).unwrap()).collect();
        homes.iter().for_each(|home| home.create().unwrap());
        let lock = homes[0].lock().unwrap();
        let notes: Vec<Registration> = homes.iter().map(|home| registry.add(home).unwrap()).collect();
        fs::write(registry.directory.join("noise"), "x").unwrap();
        assert_eq!(registry.running().unwrap(), [homes[0].clone()]);
        assert_eq!(fs::read_dir(&registry.directory).unwrap().count(), 1);
        drop(notes);
        assert_eq!(fs::read_dir(&registry.directory).unwrap().count(), 0);
        drop(lock);
    }

    #[test]
    fn a_directory_that_others_can_use_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let inner = directory.path().join("p2p-ai-agents");
        fs::create_dir(&inner).unwrap();
        fs::set_permissions(&inner, fs::Permissions::from_mode(0o770)).unwrap();
        assert!(Registry::open(Some(directory.path().as_os_str())).is_err());
        fs::remove_dir(&inner).unwrap();
        std::os::unix::fs::symlink("/root", &inner).unwrap();
        assert!(Registry::open(Some(directory.path().as_os_str())).is_err());
    }
}
