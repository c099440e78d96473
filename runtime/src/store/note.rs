//! The note in a home that records where the node's data is, so that lost data is noticed.

use crate::home::{self, Home};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The location of the data in the last run.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    data_file: PathBuf,
}

/// Why the data of a home is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Missing {
    /// It is at its previous location, because the setting has changed.
    Elsewhere {
        /// The data file.
        file: PathBuf,
    },
    /// It is gone.
    Gone,
}

/// Returns why a node would start without its data. Returns `None` if it has data or never had any.
pub fn missing_data(home: &Home, data_file: &Path) -> Option<Missing> {
    if has_data(data_file) {
        return None;
    }
    let note = fs::read(home.data_note_file()).ok()?;
    // Even an unreadable note proves that there was data.
    let before = serde_json::from_slice::<Note>(&note).ok().map(|note| note.data_file);
    match before.filter(|before| before != data_file && has_data(before)) {
        Some(file) => Some(Missing::Elsewhere { file }),
        None => Some(Missing::Gone),
    }
}

/// Records where the data of a node is.
///
/// # Errors
/// The error of the file system.
pub fn note_data(home: &Home, data_file: &Path) -> io::Result<()> {
    let note = serde_json::to_vec(&Note { data_file: data_file.to_owned() }).map_err(io::Error::other)?;
    let path = home.data_note_file();
    if fs::read(&path).is_ok_and(|before| before == note) {
        return Ok(());
    }
    home::replace_file(&path, &note, 0o600)
}

/// A file that cannot be inspected counts as present. Opening it will report the error.
fn has_data(file: &Path) -> bool {
    match fs::metadata(file) {
        Ok(metadata) => metadata.len() > 0,
        Err(error) => !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests {
    use super::*;

    #[test]
    fn data_that_are_gone_are_missed_and_data_that_moved_are_found() {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::new(&directory.path().join("home")).unwrap();
        home.create().unwrap();
        let (file, other) = (home.root().join("data/node.redb"), home.root().join("models/node.redb"));
        assert_eq!(missing_data(&home, &file), None, "a new home has lost nothing");
        fs::write(&file, "data").unwrap();
        note_data(&home, &file).unwrap();
        assert_eq!(missing_data(&home, &file), None);
        assert_eq!(missing_data(&home, &other), Some(Missing::Elsewhere { file: file.clone() }));
        fs::write(&other, "data").unwrap();
        assert_eq!(missing_data(&home, &other), None);
        fs::write(&file, "").unwrap();
        assert_eq!(missing_data(&home, &file), Some(Missing::Gone));
        fs::remove_file(&file).unwrap();
        assert_eq!(missing_data(&home, &file), Some(Missing::Gone));
        fs::write(home.data_note_file(), "{").unwrap();
        assert_eq!(missing_data(&home, &file), Some(Missing::Gone));
    }
}
