//! Checks the shared files and fetches of a scenario file.

use super::Source;
use crate::scenario::{FILE_CONTENT_BYTES_MAX, FILES_MAX, Fetch, SharedFile};
use crate::scenario_file::error::ScenarioError;
use crate::scenario_file::format as file;
use core::time::Duration;
use toml::Spanned;

impl Source<'_> {
    pub(super) fn files(
        &self,
        sections: &[Spanned<file::SharedFile>],
        nodes: u32,
    ) -> Result<Vec<SharedFile>, ScenarioError> {
        if let Some(beyond) = sections.get(FILES_MAX) {
            return Err(self.inconsistent(beyond, format!("more than {FILES_MAX} files")));
        }
        let one = |section: &Spanned<file::SharedFile>| {
            let bytes = self.within("bytes", &section.as_ref().bytes, 0..=FILE_CONTENT_BYTES_MAX)?;
            let holders = section.as_ref().holders.iter().map(|name| self.member(name, nodes));
            Ok(SharedFile { bytes, holders: holders.collect::<Result<_, _>>()? })
        };
        sections.iter().map(one).collect()
    }

    pub(super) fn fetches(
        &self,
        sections: &[Spanned<file::Fetch>],
        files: usize,
        nodes: u32,
        quiet: Duration,
    ) -> Result<Vec<Fetch>, ScenarioError> {
        if let Some(beyond) = sections.get(FETCHES_MAX) {
            return Err(self.inconsistent(beyond, format!("more than {FETCHES_MAX} fetches")));
        }
        let one = |section: &Spanned<file::Fetch>| {
            let fetch = section.as_ref();
            let at = fetch.at.as_ref().0;
            if at > quiet {
                let words =
                    format!("the fetch would start after {quiet:?}, when all activity must have ended");
                return Err(self.inconsistent(&fetch.at, words));
            }
            let number = fetch.file.as_ref().map_or(0, |file| *file.as_ref());
            if number as usize >= files {
                let words = format!("there is no file {number}; each `[[file]]` is one, counted from 0");
                return Err(self.inconsistent(section, words));
            }
            let by = fetch.by.unwrap_or_default();
            Ok(Fetch { at, node: self.member(&fetch.node, nodes)?, file: number, by })
        };
        sections.iter().map(one).collect()
    }
}

/// The most fetches of a scenario.
const FETCHES_MAX: usize = 256;
