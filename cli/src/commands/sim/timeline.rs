//! The file of a timeline. It is opened before the run, so that an unwritable path fails early. It is written after
//! the run, so that an aborted run leaves an older timeline unchanged.

use crate::error::Failure;
use sim::Timeline;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

/// An open file for a timeline.
#[derive(Debug)]
pub(super) struct TimelineFile {
    file: File,
    path: PathBuf,
    form: Format,
}

#[derive(Clone, Copy, Debug)]
enum Format {
    Page,
    TraceEvents,
}

impl TimelineFile {
    /// Opens a file; the extension selects the format.
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        let extension = path.extension().map(|extension| extension.to_ascii_lowercase());
        // Another kind of file, such as the scenario itself, is not overwritten by mistake.
        let form = match extension.as_deref().and_then(std::ffi::OsStr::to_str) {
            Some("html") => Format::Page,
            Some("json") => Format::TraceEvents,
            Some(_) | None => {
                let failure = Failure::new(format!(
                    "{}: the extension of a timeline must be .html or .json",
                    path.display()
                ))
                .id("timeline_form_unknown");
                return Err(failure
                    .hint("--timeline run.html for a browser, --timeline run.json for ui.perfetto.dev"));
            }
        };
        if !form.may_replace(path).map_err(|error| unwritable(path, &error))? {
            return Err(Failure::new(format!("{} exists and is not a timeline", path.display()))
                .id("file_exists")
                .hint("name another file; nothing was changed"));
        }
        let file = File::options().write(true).create(true).truncate(false).open(path);
        let file = file.map_err(|error| unwritable(path, &error))?;
        Ok(Self { file, path: path.to_owned(), form })
    }

    /// Writes the timeline over an older one.
    pub(super) fn write(mut self, timeline: &Timeline) -> Result<(), Failure> {
        let text = match self.form {
            Format::Page => timeline.to_html(),
            Format::TraceEvents => timeline.to_trace_events(),
        };
        // An older, longer timeline is truncated.
        let length = u64::try_from(text.len()).unwrap_or(u64::MAX);
        let drawn = self.file.write_all(text.as_bytes()).and_then(|()| self.file.set_len(length));
        drawn.map_err(|error| unwritable(&self.path, &error))
    }
}

impl Format {
    /// Returns whether a path is free or holds an older timeline of this format. Only a regular file is opened: a
    /// pipe would block.
    fn may_replace(self, path: &Path) -> io::Result<bool> {
        let metadata = match fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
            metadata => metadata?,
        };
        if metadata.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        if !metadata.is_file() {
            return Ok(false);
        }
        let mut start = Vec::new();
        File::open(path)?.take(HEADER_BYTES_MAX).read_to_end(&mut start)?;
        let start = String::from_utf8_lossy(&start);
        Ok(start.is_empty()
            || match self {
                Self::Page => {
                    start.starts_with("<!doctype html>") && start.contains("<title>Timeline</title>")
                }
                Self::TraceEvents => start.starts_with(r#"{"displayTimeUnit":"ms","otherData":{"#),
            })
    }
}

fn unwritable(path: &Path, error: &io::Error) -> Failure {
    Failure::new(format!("{}: cannot write the timeline", path.display()))
        .id("output_failed")
        .because(Some(error))
}

/// Every timeline identifies itself within these first bytes.
const HEADER_BYTES_MAX: u64 = 1024;
