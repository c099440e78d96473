//! Ctrl-C as a request to stop and show the results so far. A second one ends the command at once.

use crate::error::{Failure, INTERRUPTED_EXIT_STATUS};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Returns a flag that the first Ctrl-C sets.
pub(crate) fn watch() -> Result<Arc<AtomicBool>, Failure> {
    let interrupted = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&interrupted);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let (ready, armed) = std::sync::mpsc::channel();
    std::thread::Builder::new().name("interruption".to_owned()).spawn(move || {
        runtime.block_on(async {
            let Ok(mut signal) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt())
            else {
                return;
            };
            // The receiver may be gone.
            let _ = ready.send(());
            signal.recv().await;
            flag.store(true, Ordering::Relaxed);
            signal.recv().await;
            std::process::exit(i32::from(INTERRUPTED_EXIT_STATUS));
        });
    })?;
    // From here on Ctrl-C no longer ends the process, unless the signal cannot be watched.
    let _ = armed.recv();
    Ok(interrupted)
}

/// Returns the exit status of a command that Ctrl-C ended.
pub(crate) fn exit_code() -> ExitCode {
    ExitCode::from(INTERRUPTED_EXIT_STATUS)
}
