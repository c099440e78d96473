//! One thread for everything on the path of a message: sockets, ciphers, links, the driver and its node.
//!
//! A message passes half a dozen tasks, and each does little. On one thread they follow each other at once. Waking
//! another thread would take longer than the tasks themselves. The API, models and the log run elsewhere.

use std::io;
use std::thread;
use tokio::runtime::{Builder, EnterGuard, Handle};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// The thread. Dropping this ends it, and all tasks on it.
#[derive(Debug)]
pub(crate) struct NodeThread {
    runtime: Handle,
    _alive: oneshot::Sender<()>,
}

impl NodeThread {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system provides no thread or no poll instance.
    pub(crate) fn start() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (alive, ended) = oneshot::channel::<()>();
        thread::Builder::new().name("node".to_owned()).spawn(move || {
            // Always an error: nothing is ever sent.
            let _ = runtime.block_on(ended);
            runtime.shutdown_background();
        })?;
        Ok(Self { runtime: handle, _alive: alive })
    }

    /// Makes the thread's runtime current while the guard lives.
    pub(crate) fn enter(&self) -> EnterGuard<'_> {
        self.runtime.enter()
    }

    /// Spawns a future on the thread.
    pub(crate) fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        self.runtime.spawn(future)
    }
}
