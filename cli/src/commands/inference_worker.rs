//! `inference-worker`: not for people. A node starts this to run a model in a process of its own.

use crate::error::Outcome;
use std::ffi::OsStr;

pub(super) fn run(model: &OsStr) -> Outcome {
    Ok(runtime::inference::worker_main(model))
}
