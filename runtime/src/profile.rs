//! CPU profiles of this process: where its threads spend their time, by samples of their stacks.
//!
//! The kernel sends a signal for each slice of processor time, and the crate `pprof` notes the stack of the thread that
//! was interrupted. The profile of a node and its models' processes is one file in the format of `go tool pprof`.

mod format;

pub(crate) use format::encode;

use pprof::{ProfilerGuard, ProfilerGuardBuilder};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fmt;

/// The samples of one process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Samples {
    /// The functions that occur in the stacks.
    functions: Vec<Function>,
    stacks: Vec<Stack>,
}

/// A function of the program.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Function {
    name: String,
    /// Its source file; empty if the program has no such information.
    file: String,
}

/// A stack, and how often it was seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Stack {
    thread: String,
    /// The index of each function and its line, the innermost first.
    frames: Vec<(u32, u32)>,
    count: u64,
}

/// A profile that is being taken of this process.
pub(crate) struct Running {
    guard: ProfilerGuard<'static>,
}

/// Why no profile can be taken.
#[derive(Debug, thiserror::Error)]
#[error("a profile of this process cannot be taken: {0}")]
pub(crate) struct ProfileError(pprof::Error);

impl Running {
    /// Starts to sample this process. There is one profile at a time.
    ///
    /// # Errors
    /// [`ProfileError`] if a profile is running, or the system refuses the signal handler or a temporary file.
    pub(crate) fn start() -> Result<Self, ProfileError> {
        let builder = ProfilerGuardBuilder::default().frequency(SAMPLES_PER_SECOND);
        // A stack that is interrupted within the unwinder cannot be unwound.
        let guard = builder.blocklist(&["libgcc"]).build().map_err(ProfileError)?;
        Ok(Self { guard })
    }

    /// Stops sampling, and returns the samples with the names of their functions. This may take a second.
    ///
    /// # Errors
    /// [`ProfileError`] if the samples cannot be read back.
    pub(crate) fn stop(self) -> Result<Samples, ProfileError> {
        let report = self.guard.report().build().map_err(ProfileError)?;
        drop(self.guard);
        let mut samples = Samples::default();
        let mut places: HashMap<Function, u32> = HashMap::new();
        let mut data: Vec<_> = report.data.into_iter().collect();
        data.sort_unstable_by_key(|(_, count)| std::cmp::Reverse(*count));
        for (frames, count) in data.into_iter().take(STACKS_MAX) {
            let symbols = frames.frames.iter().flatten();
            let frames_of_stack = symbols.map(|symbol| {
                let file = symbol.filename.as_ref().map(|file| file.to_string_lossy().into_owned());
                let function = Function { name: symbol.name(), file: file.unwrap_or_default() };
                let place = *places.entry(function).or_insert_with_key(|function| {
                    samples.functions.push(function.clone());
                    u32::try_from(samples.functions.len() - 1).unwrap_or(u32::MAX)
                });
                (place, symbol.lineno())
            });
            let frames_of_stack = frames_of_stack.collect();
            let count = u64::try_from(count).unwrap_or_default();
            samples.stacks.push(Stack { thread: frames.thread_name_or_id(), frames: frames_of_stack, count });
        }
        Ok(samples)
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Running(…)")
    }
}

/// A number without a common factor with usual timers, so that samples do not fall into step with them.
const SAMPLES_PER_SECOND: i32 = 99;
/// Maximum number of different stacks of a profile: those seen most often.
const STACKS_MAX: usize = 20_000;
