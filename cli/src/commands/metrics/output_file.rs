//! Writes a file that another program reads again and again: as a whole, and never over another kind of file.

use crate::error::Failure;
use crate::output;
use runtime::home::replace_file;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

/// Writes a file, or standard output for `-`. An existing file is replaced if its content `is_own`, and else kept.
pub(super) fn write(path: &Path, text: &[u8], is_own: fn(&[u8]) -> bool) -> Result<(), Failure> {
    if path == Path::new("-") {
        return output::write(text);
    }
    let shown = path.display();
    if !may_replace(path, is_own).map_err(|error| failed(path, &error))? {
        return Err(Failure::new(format!("{shown} exists, and this command has not written it"))
            .id("file_exists")
            .hint("name another --output, or move this file away; nothing was changed"));
    }
    replace_file(path, text, 0o644).map_err(|error| failed(path, &error))?;
    output::notice(&format!("Written: {shown}"))
}

fn may_replace(path: &Path, is_own: fn(&[u8]) -> bool) -> io::Result<bool> {
    let metadata = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        metadata => metadata?,
    };
    // Opening a pipe would block.
    if !metadata.is_file() {
        return Ok(false);
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(OWN_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(bytes.is_empty() || is_own(&bytes))
}

fn failed(path: &Path, error: &io::Error) -> Failure {
    Failure::new(format!("cannot write {}", path.display())).id("output_failed").because(Some(error))
}

/// More than any file of these commands has.
const OWN_BYTES_MAX: u64 = 8 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_own_or_empty_file_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let is_own = |bytes: &[u8]| bytes.starts_with(b"own");
        for (before, replaced) in
            [(None, true), (Some("own old"), true), (Some(""), true), (Some("other"), false)]
        {
            let _ = fs::remove_file(&path);
            before.iter().for_each(|text| fs::write(&path, text).unwrap());
            assert_eq!(write(&path, b"own new", is_own).is_ok(), replaced, "{before:?}");
            let after = fs::read_to_string(&path).unwrap();
            assert_eq!(after, if replaced { "own new" } else { "other" });
        }
        assert!(write(directory.path(), b"own new", is_own).is_err(), "a directory");
        assert!(write(&directory.path().join("none/file"), b"own new", is_own).is_err());
    }
}
