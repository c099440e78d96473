//! The home of a node: the directory of its files, and the lock that one process at a time holds.
//!
//! The lock is an advisory lock on `run/lock` for the life of the process. The kernel releases it however the process
//! ends, so a file left by a crash never makes a node look alive.

use crate::startup::Timeline;
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The home directory of a node. Creating this value touches no file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    root: PathBuf,
}

impl Home {
    /// Returns the home at a path. A relative path starts at the current directory.
    ///
    /// # Errors
    /// The path is empty, or there is no current directory.
    pub fn new(root: &Path) -> io::Result<Self> {
        Ok(Self { root: std::path::absolute(root)? })
    }

    /// Returns the directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Returns the path of the default configuration file.
    pub fn config_file(&self) -> PathBuf {
        self.root.join("config/node_config.json")
    }

    /// Returns the directory of the models that were fetched from other nodes, one folder for each.
    pub fn models_directory(&self) -> PathBuf {
        self.root.join("models")
    }

    /// Returns the path of the key pair.
    pub fn identity_file(&self) -> PathBuf {
        self.root.join("config/node_identity.json")
    }

    /// Returns the path of the note that records where the node's data is.
    pub fn data_note_file(&self) -> PathBuf {
        self.root.join("config/data_location.json")
    }

    /// Returns the path of the newest log.
    pub fn log_file(&self) -> PathBuf {
        self.root.join("logs/node.log")
    }

    /// Returns the path of a background node's standard output and error.
    pub fn stderr_file(&self) -> PathBuf {
        self.root.join("logs/node.stderr")
    }

    /// Returns the path of the API token.
    pub fn token_file(&self) -> PathBuf {
        self.root.join("run/token")
    }

    /// Returns the path of the sessions of browsers, which survive a restart of the node.
    pub fn sessions_file(&self) -> PathBuf {
        self.root.join("data/dashboard_sessions.json")
    }

    /// Returns the path of the [`RunInfo`] of a node whose control API answers.
    pub fn info_file(&self) -> PathBuf {
        self.root.join("run/node.json")
    }

    /// Returns the path of the [`RunInfo`] of an ACTIVE node.
    pub fn ready_file(&self) -> PathBuf {
        self.root.join("run/ready.json")
    }

    /// Returns the path of the effective configuration of the running node.
    pub fn effective_file(&self) -> PathBuf {
        self.root.join("run/config.json")
    }

    /// Returns the path of the command line of the running node.
    pub fn command_file(&self) -> PathBuf {
        self.root.join("run/command.json")
    }

    /// Returns the path of the exit status of the last node, if it completed its shutdown.
    pub fn exit_file(&self) -> PathBuf {
        self.root.join("run/exit")
    }

    /// Returns the directory of the files that a running node publishes.
    pub fn run_directory(&self) -> PathBuf {
        self.root.join("run")
    }

    /// Returns the path of the lock.
    pub fn lock_file(&self) -> PathBuf {
        self.root.join("run/lock")
    }

    /// Creates the missing directories, for their owner only.
    ///
    /// # Errors
    /// The error of the file system.
    pub fn create(&self) -> io::Result<()> {
        ["config", "data", "logs", "models", "run"]
            .iter()
            .try_for_each(|part| create_directory(&self.root.join(part)))
    }

    /// Locks the home for this process until the returned lock is dropped.
    ///
    /// # Errors
    /// [`LockError::Held`] if another process holds it.
    pub fn lock(&self) -> Result<Lock, LockError> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(self.lock_file())
            .map_err(LockError::Io)?;
        // A process that only checks holds the lock for a moment, so one failure proves nothing.
        let mut tries_left = LOCK_ATTEMPTS_MAX;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if tries_left > 0 => {
                    tries_left -= 1;
                    std::thread::sleep(LOCK_RETRY_INTERVAL);
                }
                Err(TryLockError::WouldBlock) => return Err(LockError::Held { pid: read_pid(&mut file) }),
                Err(TryLockError::Error(error)) => return Err(LockError::Io(error)),
            }
        }
        let write = |file: &mut File| {
            file.set_len(0)?;
            file.rewind()?;
            write!(file, "{}", std::process::id())
        };
        write(&mut file).map_err(LockError::Io)?;
        Ok(Lock { _file: file })
    }

    /// Returns which process holds this home, if any.
    pub fn holder(&self) -> Holder {
        let Ok(mut file) = File::open(self.lock_file()) else { return Holder::Nobody };
        match file.try_lock_shared() {
            Err(TryLockError::WouldBlock) => Holder::Process { pid: read_pid(&mut file) },
            Ok(()) | Err(TryLockError::Error(_)) => Holder::Nobody,
        }
    }

    /// Tells whether this user lacks the right to see whether a node holds this home.
    pub fn is_unreadable(&self) -> bool {
        let denied = |path: &Path| match File::open(path) {
            Err(error) => error.kind() == io::ErrorKind::PermissionDenied,
            Ok(_) => false,
        };
        denied(&self.lock_file()) || denied(&self.root)
    }

    /// Returns what the last node published, if it ended without a shutdown: it crashed, was killed, or lost its
    /// power.
    pub fn crashed(&self) -> Option<RunInfo> {
        if self.holder() != Holder::Nobody || self.exit_file().exists() {
            return None;
        }
        self.info()
    }

    /// Reads what the running node has published. Returns `None` if there is nothing yet.
    pub fn info(&self) -> Option<RunInfo> {
        read_info(&self.info_file())
    }

    /// Reads what an ACTIVE node has published. Returns `None` if there is nothing yet.
    pub fn ready(&self) -> Option<RunInfo> {
        read_info(&self.ready_file())
    }

    /// Removes what an earlier process may have left in `run/`. Call it with the lock held.
    ///
    /// # Errors
    /// The error of the file system, unless a file does not exist.
    pub fn clear_run(&self) -> io::Result<()> {
        let files = [
            self.info_file(),
            self.ready_file(),
            self.token_file(),
            self.effective_file(),
            self.command_file(),
            self.exit_file(),
        ];
        files.iter().try_for_each(|path| remove_file(path))
    }
}

/// The lock of a home. Dropping it releases the home.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// A file that must not be removed or replaced while its node runs.
#[derive(Clone, Debug)]
pub struct WatchedFile {
    path: PathBuf,
    device_and_inode: (u64, u64),
}

impl WatchedFile {
    /// Records the identity of the file at `path`.
    ///
    /// # Errors
    /// The error of the file system.
    pub fn new(path: &Path) -> io::Result<Self> {
        let metadata = fs::metadata(path)?;
        Ok(Self { path: path.to_owned(), device_and_inode: (metadata.dev(), metadata.ino()) })
    }

    /// Returns the path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Tells whether the file was removed or replaced. On other errors it counts as present.
    pub fn is_removed(&self) -> bool {
        match fs::metadata(&self.path) {
            Ok(metadata) => (metadata.dev(), metadata.ino()) != self.device_and_inode,
            Err(error) => matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory),
        }
    }
}

/// The holder of a home.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// No running process.
    Nobody,
    /// A running process.
    Process {
        /// Its process id, or `None` in the instant before it is written.
        pid: Option<u32>,
    },
}

/// Why a home cannot be locked.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process holds it.
    #[error("the node of this home is already running{}", .pid.map_or_else(String::new, |pid| format!(" (pid {pid})")))]
    Held {
        /// The process id.
        pid: Option<u32>,
    },
    /// The file system reported an error.
    #[error("cannot lock the home directory")]
    Io(#[source] io::Error),
}

/// What a running node publishes for other programs of its user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunInfo {
    /// Its process id.
    pub pid: u32,
    /// Its id.
    pub node_id: engine::NodeId,
    /// Its name.
    #[serde(default)]
    pub name: engine::NodeName,
    /// The address of its control API.
    pub api_address: SocketAddr,
    /// The address of its metrics, if they have a port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics_address: Option<SocketAddr>,
    /// Its port for peers.
    pub network_port: u16,
    /// The name of its network.
    pub network: String,
    /// The product's version.
    pub version: String,
    /// When this was written, in ISO 8601.
    pub timestamp: String,
    /// The duration of its start, once it is ACTIVE.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub startup: Option<Timeline>,
}

impl RunInfo {
    /// Writes it to a file of the run directory.
    ///
    /// # Errors
    /// The error of the file system.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let text = serde_json::to_vec(self).map_err(io::Error::other)?;
        replace_file(path, &text, 0o600)
    }
}

/// Creates a directory and its parents, for their owner only. An existing one is not changed.
///
/// # Errors
/// The error of the file system.
pub fn create_directory(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Replaces a file atomically: a reader sees the old or the new content, never a part.
///
/// # Errors
/// The error of the file system.
pub fn replace_file(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let draft = draft(path, content, mode)?;
    fs::rename(&draft, path).inspect_err(|_| discard(&draft))?;
    sync_directory(path)
}

/// Creates a file atomically and durably. Returns `false` if one exists; it is not changed.
///
/// # Errors
/// The error of the file system.
pub fn create_file(path: &Path, content: &[u8], mode: u32) -> io::Result<bool> {
    let draft = draft(path, content, mode)?;
    // Unlike a rename, a link never replaces a file, so exactly one of two processes wins.
    let linked = fs::hard_link(&draft, path);
    discard(&draft);
    match linked {
        Ok(()) => sync_directory(path).map(|()| true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

/// Removes a file. A missing file is not an error.
///
/// # Errors
/// Any other error of the file system.
pub fn remove_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Creates an empty draft of a file, to be renamed when it is complete.
///
/// # Errors
/// The error of the file system.
pub fn create_draft(path: &Path, mode: u32) -> io::Result<(PathBuf, File)> {
    let draft = draft_path(path)?;
    let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&draft)?;
    Ok((draft, file))
}

/// Returns a random name for a draft of a file, in the same directory. A process id would not be unique: other
/// containers and earlier processes use the same numbers.
pub(crate) fn draft_path(path: &Path) -> io::Result<PathBuf> {
    let mut suffix = [0; 8];
    getrandom::fill(&mut suffix).map_err(io::Error::other)?;
    let name = path.file_name().ok_or_else(|| io::Error::other("the path names no file"))?.to_string_lossy();
    Ok(path.with_file_name(format!(".{name}.{:016x}", u64::from_le_bytes(suffix))))
}

fn draft(path: &Path, content: &[u8], mode: u32) -> io::Result<PathBuf> {
    let (draft, mut file) = create_draft(path, mode)?;
    let written = file.write_all(content).and_then(|()| file.sync_all());
    written.inspect_err(|_| discard(&draft))?;
    Ok(draft)
}

/// Removes a draft. One that stays behind only takes a little space.
fn discard(draft: &Path) {
    let _ = fs::remove_file(draft);
}

fn sync_directory(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
}

fn read_info(path: &Path) -> Option<RunInfo> {
    let mut text = String::new();
    File::open(path).ok()?.take(INFO_BYTES_MAX).read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

fn read_pid(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.take(16).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

const LOCK_ATTEMPTS_MAX: u32 = 10;
const LOCK_RETRY_INTERVAL: Duration = Duration::from_millis(5);
const INFO_BYTES_MAX: u64 = 16 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn home() -> (tempfile::TempDir, Home) {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::new(&directory.path().join("home")).unwrap();
        home.create().unwrap();
        (directory, home)
    }

    #[test]
    fn a_home_is_private_and_held_by_one() {
        let (_directory, home) = home();
        assert_eq!(fs::metadata(home.root()).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(home.holder(), Holder::Nobody);
        let lock = home.lock().unwrap();
        let pid = Some(std::process::id());
        assert_eq!(home.holder(), Holder::Process { pid });
        assert!(matches!(home.lock(), Err(LockError::Held { pid: held }) if held == pid));
        drop(lock);
        assert_eq!(home.holder(), Holder::Nobody);
        home.lock().unwrap();
    }

    #[test]
    fn a_file_is_created_once_and_replaced_whole() {
        let (_directory, home) = home();
        let path = home.token_file();
        assert!(create_file(&path, b"first", 0o600).unwrap());
        assert!(!create_file(&path, b"second", 0o600).unwrap());
        assert_eq!(fs::read(&path).unwrap(), b"first");
        replace_file(&path, b"third", 0o600).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"third");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let names = fs::read_dir(path.parent().unwrap()).unwrap().count();
        assert_eq!(names, 1, "no draft stays behind");
        // A crash leaves its draft behind, and the next process may have the same id.
        let drafts = [(); 2].map(|()| create_draft(&path, 0o600).unwrap().0);
        assert_ne!(drafts[0], drafts[1]);
        assert!(create_draft(Path::new("/"), 0o600).is_err());
    }
}
