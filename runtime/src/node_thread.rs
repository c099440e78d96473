//! One thread for all that lies on the way of a message: sockets, ciphers, links, the driver and its node.
//!
//! A message passes half a dozen tasks, each of which does little. On one thread they follow each other at once; on
//! several, waking the next thread would take longer than the work. All else (the API, models, the log) stays away.

use std::io;
use std::thread;
use tokio::runtime::{Builder, EnterGuard, Handle};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// The thread. It ends when this is dropped, and with it what still runs on it.
#[derive(Debug)]
pub(crate) struct NodeThread {
    runtime: Handle,
    _alive: oneshot::Sender<()>,
}

impl NodeThread {
    /// Starts the thread.
    ///
    /// # Errors
    /// What the operating system says where it gives no thread or no poll.
    pub(crate) fn start() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (alive, ended) = oneshot::channel::<()>();
        thread::Builder::new().name("node".to_owned()).spawn(move || {
            // An error is how it ends: nothing is ever sent.
            let _ = runtime.block_on(ended);
            runtime.shutdown_background();
        })?;
        Ok(Self { runtime: handle, _alive: alive })
    }

    /// Lets what is made now live on the thread, for as long as the guard does.
    pub(crate) fn enter(&self) -> EnterGuard<'_> {
        self.runtime.enter()
    }

    /// Runs a future on the thread.
    pub(crate) fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        self.runtime.spawn(future)
    }
}
