//! The key file of a node. It is created once, readable by its owner only, and never replaced silently.
//!
//! A damaged file, or one that others may read, is rejected. With a new key the node would lose its identity on the
//! network. With a leaked key it would share it.

use crate::home::{self, Home};
use engine::{Identity, NodeId};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// A node's identity with its secret key. `Debug` shows the id only.
#[derive(Clone)]
pub struct NodeKey {
    /// The identity that the engine signs with.
    pub identity: Identity,
    /// The Ed25519 secret (RFC 8032) with which the transport proves the identity.
    pub secret: [u8; 32],
}

impl fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeKey({})", self.identity.node_id())
    }
}

/// Loads the identity of a home, or creates one.
///
/// # Errors
/// [`IdentityError`] if the file cannot be used. Its `hint` says what to do.
pub fn load_or_create(home: &Home) -> Result<NodeKey, IdentityError> {
    let path = home.identity_file();
    match File::open(&path) {
        Ok(file) => load(&path, file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            create(&path)?;
            // Another process may have been first. The file decides.
            let file = File::open(&path).map_err(|source| IdentityError::io(&path, source))?;
            load(&path, file)
        }
        Err(source) => Err(IdentityError::io(&path, source)),
    }
}

fn create(path: &Path) -> Result<(), IdentityError> {
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).map_err(|error| IdentityError::io(path, io::Error::other(error)))?;
    let identity = Identity::from_secret(&secret);
    let file = KeyFile {
        version: VERSION,
        algorithm: ALGORITHM.to_owned(),
        node_id: identity.node_id(),
        public_key: hex(&identity.public_key().0),
        secret_key: hex(&secret),
    };
    let mut text =
        serde_json::to_vec_pretty(&file).map_err(|error| IdentityError::io(path, io::Error::other(error)))?;
    text.push(b'\n');
    home::create_file(path, &text, 0o600).map_err(|source| IdentityError::io(path, source))?;
    Ok(())
}

fn load(path: &Path, file: File) -> Result<NodeKey, IdentityError> {
    let metadata = file.metadata().map_err(|source| IdentityError::io(path, source))?;
    let mode = metadata.permissions().mode() & 0o777;
    if !metadata.is_file() {
        return Err(IdentityError::damaged(path, Damage::NotAFile));
    }
    if mode & 0o077 != 0 {
        return Err(IdentityError::ModeTooWide { path: path.to_owned(), mode });
    }
    let mut text = String::new();
    match file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text) {
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            return Err(IdentityError::damaged(path, Damage::NotAKeyFile));
        }
        Err(source) => return Err(IdentityError::io(path, source)),
        Ok(bytes) if bytes as u64 > FILE_BYTES_MAX => {
            return Err(IdentityError::damaged(path, Damage::NotAKeyFile));
        }
        Ok(_) => {}
    }
    // The parser's own message could quote the secret, so it is left out.
    let file: KeyFile =
        serde_json::from_str(&text).map_err(|_| IdentityError::damaged(path, Damage::NotAKeyFile))?;
    file.node_key().map_err(|damage| IdentityError::damaged(path, damage))
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyFile {
    version: u32,
    algorithm: String,
    node_id: NodeId,
    public_key: String,
    secret_key: String,
}

impl KeyFile {
    fn node_key(&self) -> Result<NodeKey, Damage> {
        if self.version != VERSION || self.algorithm != ALGORITHM {
            return Err(Damage::Version);
        }
        let secret = unhex(&self.secret_key).ok_or(Damage::NotAKeyFile)?;
        let identity = Identity::from_secret(&secret);
        if unhex(&self.public_key) != Some(identity.public_key().0) || self.node_id != identity.node_id() {
            return Err(Damage::Mismatch);
        }
        Ok(NodeKey { identity, secret })
    }
}

/// Why no identity can be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The content is not a key pair.
    #[error("the identity file {} is damaged: {damage}", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The kind of damage.
        damage: Damage,
    },
    /// The file cannot be read or created.
    #[error("cannot use the identity file {}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Other users may read or change the file.
    #[error("other users can access the identity file {} (mode {mode:04o}, must be 0600)", .path.display())]
    ModeTooWide {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
}

impl IdentityError {
    fn io(path: &Path, source: io::Error) -> Self {
        Self::Io { path: path.to_owned(), source }
    }

    fn damaged(path: &Path, damage: Damage) -> Self {
        Self::Damaged { path: path.to_owned(), damage }
    }

    /// Returns what to do about the error.
    pub fn hint(&self) -> String {
        match self {
            Self::Damaged { path, .. } => format!(
                "restore it from a backup; or, to go on as a new node, move it away: mv {0} {0}.damaged",
                path.display()
            ),
            Self::Io { path, .. } => format!("check who may read and write {}", path.display()),
            Self::ModeTooWide { path, .. } => format!(
                "if nobody else has read it: chmod 600 {0}; if somebody may have, move it away to start as a new node",
                path.display()
            ),
        }
    }
}

/// Damage in the content of an identity file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// The parts do not match.
    #[error("its id or public key does not belong to its secret key")]
    Mismatch,
    /// It is not a regular file.
    #[error("it is not a file")]
    NotAFile,
    /// It does not have the format of a key file.
    #[error("it is not a key file")]
    NotAKeyFile,
    /// Another version wrote it.
    #[error("it has an unknown version or algorithm")]
    Version,
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let digits: Vec<u8> = text
        .chars()
        .map(|digit| digit.to_digit(16).and_then(|value| u8::try_from(value).ok()))
        .collect::<Option<_>>()?;
    let bytes: Vec<u8> = digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect();
    if digits.len() == 64 { bytes.try_into().ok() } else { None }
}

const VERSION: u32 = 1;
const ALGORITHM: &str = "ed25519";
const FILE_BYTES_MAX: u64 = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn home() -> (tempfile::TempDir, Home) {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::new(directory.path()).unwrap();
        home.create().unwrap();
        (directory, home)
    }

    #[test]
    fn a_thousand_starts_find_the_same_identity() {
        let (_directory, home) = home();
        let first = load_or_create(&home).unwrap().identity.node_id();
        let text = fs::read(home.identity_file()).unwrap();
        assert!((0..1000).all(|_| load_or_create(&home).unwrap().identity.node_id() == first));
        assert_eq!(fs::read(home.identity_file()).unwrap(), text);
        assert_eq!(fs::metadata(home.identity_file()).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn starters_at_the_same_time_agree() {
        let (_directory, home) = home();
        let ids: Vec<NodeId> = std::thread::scope(|scope| {
            let starters: Vec<_> =
                (0..8).map(|_| scope.spawn(|| load_or_create(&home).unwrap().identity.node_id())).collect();
            starters.into_iter().map(|starter| starter.join().unwrap()).collect()
        });
        assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    }

    #[test]
    fn a_wider_mode_is_refused_and_left_alone() {
        let (_directory, home) = home();
        load_or_create(&home).unwrap();
        for mode in [0o640, 0o604, 0o660] {
            fs::set_permissions(home.identity_file(), fs::Permissions::from_mode(mode)).unwrap();
            let error = load_or_create(&home).unwrap_err();
            assert!(matches!(error, IdentityError::ModeTooWide { mode: found, .. } if found == mode));
            assert!(error.hint().contains("chmod 600"));
        }
    }

    #[test]
    fn damage_is_told_and_the_file_left_alone() {
        let (_directory, home) = home();
        load_or_create(&home).unwrap();
        let good = fs::read_to_string(home.identity_file()).unwrap();
        let other = Identity::from_secret(&[9; 32]).node_id().to_string();
        let own = serde_json::from_str::<KeyFile>(&good).unwrap().node_id.to_string();
        let cases = [
            (String::new(), Damage::NotAKeyFile),
            (good[..good.len() / 2].to_owned(), Damage::NotAKeyFile),
            (good.replace("\"version\": 1", "\"version\": 2"), Damage::Version),
            (good.replace(&own, &other), Damage::Mismatch),
            (" ".repeat(5000) + &good, Damage::NotAKeyFile),
        ];
        for (text, expected) in cases {
            fs::write(home.identity_file(), &text).unwrap();
            let error = load_or_create(&home).unwrap_err();
            assert!(
                matches!(error, IdentityError::Damaged { damage, .. } if damage == expected),
                "{error:?}"
            );
            assert_eq!(fs::read_to_string(home.identity_file()).unwrap(), text);
        }
    }
}
