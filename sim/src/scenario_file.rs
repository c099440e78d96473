//! Scenario files: TOML that is read and checked into a [`Scenario`], and written back.

mod check;
mod defaults;
mod error;
mod fault_kind;
mod format;
pub mod manual;
mod units;
mod write;

pub use error::{Place, Problem, ScenarioError};
pub use write::quoted;

use crate::scenario::{Executor, FILE_BYTES_MAX, Scenario};
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

impl Scenario {
    /// Reads a scenario from a file.
    ///
    /// # Errors
    /// [`ScenarioError`] if the file cannot be read or is not a valid scenario; it names the file, the line and the
    /// fix.
    pub fn load(path: &Path) -> Result<Self, ScenarioError> {
        let name = path.display().to_string();
        let unreadable = |error| ScenarioError::for_file(&name, Problem::Unreadable(error));
        let file = File::open(path).map_err(unreadable)?;
        let mut text = Vec::new();
        // One byte more than allowed distinguishes a file of the largest size from a larger one.
        file.take(FILE_BYTES_MAX + 1).read_to_end(&mut text).map_err(unreadable)?;
        if u64::try_from(text.len()).is_ok_and(|len| len > FILE_BYTES_MAX) {
            return Err(ScenarioError::for_file(&name, Problem::FileTooLarge { limit: FILE_BYTES_MAX }));
        }
        let text = String::from_utf8(text).map_err(|_| ScenarioError::for_file(&name, Problem::NotUtf8))?;
        Self::parse(&name, &text)
    }

    /// Reads a scenario from a text; `name` stands for the file in messages.
    ///
    /// # Errors
    /// [`ScenarioError`] if the text is not a valid scenario.
    pub fn parse(name: &str, text: &str) -> Result<Self, ScenarioError> {
        if u64::try_from(text.len()).is_ok_and(|len| len > FILE_BYTES_MAX) {
            return Err(ScenarioError::for_file(name, Problem::FileTooLarge { limit: FILE_BYTES_MAX }));
        }
        check::scenario(name, text)
    }

    /// Returns the same scenario for another executor.
    ///
    /// # Errors
    /// [`ScenarioError`] if that executor cannot model it.
    pub fn on(&self, executor: Executor) -> Result<Self, ScenarioError> {
        executor
            .refuses(self)
            .map_or(Ok(()), |refusal| Err(ScenarioError::for_file(&self.path, Problem::Refused(refusal))))?;
        Ok(Self { executor, ..self.clone() })
    }
}
