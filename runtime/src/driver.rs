//! THE loop: one node, driven over its five ports, in the real world and in the simulated one alike.

use engine::request::{Answer, Request};
use tokio::sync::{mpsc, oneshot};

/// A question on its way to the node.
#[derive(Debug)]
pub struct Ask {
    /// The question.
    pub request: Request,
    /// Where its answer goes; dropping the other end tells the node that nobody waits any more.
    pub reply: oneshot::Sender<Answer>,
}

/// A way to ask a running node.
#[derive(Clone, Debug)]
pub struct Handle {
    asks: mpsc::Sender<Ask>,
}

/// The node has stopped and answers nothing any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the node has stopped")]
pub struct Stopped;

impl Handle {
    /// Makes a handle, and the end of it that [`run`] takes.
    pub fn new() -> (Self, mpsc::Receiver<Ask>) {
        let (asks, receiver) = mpsc::channel(ASKS_MAX);
        (Self { asks }, receiver)
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// [`Stopped`] where the node went away before it answered.
    pub async fn ask(&self, request: Request) -> Result<Answer, Stopped> {
        let (reply, answer) = oneshot::channel();
        self.asks.send(Ask { request, reply }).await.map_err(|_| Stopped)?;
        answer.await.map_err(|_| Stopped)
    }
}

/// Questions that may be on their way at the same time.
const ASKS_MAX: usize = 1024;
