//! `inference-worker`: runs a model in a process of its own. Only a node starts it.

use crate::error::Outcome;
use std::ffi::OsStr;

pub(super) fn run(model: &OsStr) -> Outcome {
    Ok(runtime::inference::worker_main(model))
}
