//! `model pull`: fetches a model into the cache that the tools of the hub share.

use super::cache;
use crate::error::{Failure, Outcome};
use crate::output::{self, Format};
use crate::{interruption, progress, terminal};
use runtime::home::Home;
use runtime::hub::{Hub, ModelId, Progress, PullError, Pulled};
use serde_json::json;
use std::ops::ControlFlow;
use std::process::ExitCode;
use std::sync::atomic::Ordering;

pub(super) fn run(home: &Home, hub: &Hub, id: &ModelId, format: Format) -> Outcome {
    let interrupted = interruption::watch()?;
    let bar = progress::bytes();
    let pulled = hub.pull(id, |progress| {
        match progress {
            Progress::Begin { bytes, .. } => bar.set_length(bytes),
            Progress::Bytes { done } => bar.set_position(done),
            Progress::File { file } => bar.set_message(terminal::sanitize_line(file)),
            Progress::Retry { file, reason } => {
                bar.set_message(terminal::sanitize_line(&format!("{file}: once more, {reason}")));
            }
            Progress::Wait { file } => {
                bar.set_message(terminal::sanitize_line(&format!("{file}: another process is fetching it")));
            }
        }
        if interrupted.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    bar.finish_and_clear();
    match pulled {
        Ok(pulled) => {
            cache::refresh_node(home);
            show(&pulled, format).map(|()| ExitCode::SUCCESS)
        }
        Err(PullError::Cancelled) => {
            output::write_error(b"interrupted; the received part is kept, and the next pull resumes\n")?;
            Ok(interruption::exit_code())
        }
        Err(error) => {
            let failure = Failure::new(format!("cannot pull {id}: {error}"))
                .id(error.code())
                .because(std::error::Error::source(&error));
            Err(match error.hint() {
                Some(hint) => failure.hint(hint),
                None => failure,
            })
        }
    }
}

fn show(Pulled { present, bytes_fetched }: &Pulled, format: Format) -> Result<(), Failure> {
    if format.json {
        return output::json(&json!({
            "name": present.id.to_string(),
            "path": present.path,
            "commit": present.commit,
            "bytes": present.bytes,
            "bytes_fetched": bytes_fetched,
        }));
    }
    let (size, path) = (output::bytes(present.bytes), present.path.display());
    output::line(&match bytes_fetched {
        0 => format!("{} is already on this machine ({size}, {path})", present.id),
        _ => format!("Pulled {} ({size}, {path})", present.id),
    })
}
