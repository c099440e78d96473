//! The send queue of one link, between the node and the link's task.

use engine::output::Priority;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// The send queue of one link.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    filled: Notify,
}

/// A frame that did not fit into the queue.
#[derive(Debug)]
pub(super) struct Full(pub(super) Vec<u8>);

#[derive(Debug, Default)]
struct Waiting {
    control: VecDeque<Vec<u8>>,
    bulk: VecDeque<Vec<u8>>,
    bulk_bytes: usize,
    background: VecDeque<Vec<u8>>,
    background_bytes: usize,
    closed: bool,
    /// Whether the link's task is waiting.
    idle: bool,
}

impl Queue {
    /// Adds a frame.
    pub(super) fn push(&self, frame: Vec<u8>, priority: Priority) -> Result<(), Full> {
        let mut waiting = self.lock();
        match priority {
            Priority::Background => {
                let bytes = waiting.background_bytes.saturating_add(frame.len());
                if bytes > BACKGROUND_BYTES_MAX {
                    return Err(Full(frame));
                }
                waiting.background_bytes = bytes;
                waiting.background.push_back(frame);
            }
            Priority::Bulk => {
                // One frame always fits, whatever its size.
                let bytes = waiting.bulk_bytes.saturating_add(frame.len());
                let full = waiting.bulk.len() >= BULK_MAX || bytes > BULK_BYTES_MAX;
                if full && !waiting.bulk.is_empty() {
                    return Err(Full(frame));
                }
                waiting.bulk_bytes = bytes;
                waiting.bulk.push_back(frame);
            }
            Priority::Control if waiting.control.len() >= CONTROL_MAX => return Err(Full(frame)),
            Priority::Control => waiting.control.push_back(frame),
        }
        self.wake(waiting);
        Ok(())
    }

    /// Ends the queue once it is empty.
    pub(super) fn close(&self) {
        let mut waiting = self.lock();
        waiting.closed = true;
        self.wake(waiting);
    }

    /// Waits for frames and encodes the queued ones, up to `bytes` plus one frame. Returns `false` at the end of the
    /// queue.
    pub(super) async fn fill(&self, buffer: &mut Vec<u8>, bytes: usize) -> bool {
        loop {
            {
                let mut waiting = self.lock();
                waiting.idle = false;
                while buffer.len() < bytes {
                    let Some(frame) = waiting.pop() else { break };
                    append(buffer, &frame);
                }
                if !buffer.is_empty() || waiting.closed {
                    return !buffer.is_empty();
                }
                waiting.idle = true;
            }
            self.filled.notified().await;
        }
    }

    fn wake(&self, mut waiting: MutexGuard<'_, Waiting>) {
        let wake = std::mem::take(&mut waiting.idle);
        drop(waiting);
        if wake {
            self.filled.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn pop(&mut self) -> Option<Vec<u8>> {
        self.control.pop_front().or_else(|| self.pop_bulk()).or_else(|| {
            let frame = self.background.pop_front()?;
            self.background_bytes = self.background_bytes.saturating_sub(frame.len());
            Some(frame)
        })
    }

    fn pop_bulk(&mut self) -> Option<Vec<u8>> {
        let frame = self.bulk.pop_front()?;
        self.bulk_bytes = self.bulk_bytes.saturating_sub(frame.len());
        Some(frame)
    }
}

fn append(buffer: &mut Vec<u8>, frame: &[u8]) {
    // The engine makes no frame near 4 GiB.
    let len = u32::try_from(frame.len()).unwrap_or(u32::MAX);
    buffer.extend_from_slice(&len.to_be_bytes());
    buffer.extend_from_slice(frame);
}

/// Maximum number of control frames that wait for one link.
const CONTROL_MAX: usize = 4_096;
/// Maximum number of bulk frames that wait for one link.
pub(super) const BULK_MAX: usize = 16_384;
/// Maximum number of bytes in the bulk frames that wait for one link.
const BULK_BYTES_MAX: usize = 8 << 20;
/// Maximum number of bytes in the background frames that wait for one link: twice what a peer requests at a time.
const BACKGROUND_BYTES_MAX: usize = 10 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_of_the_lowest_priority_goes_when_nothing_else_waits() {
        let queue = Queue::default();
        let mut pushed = 0;
        while queue.push(vec![7; 256 << 10], Priority::Background).is_ok() {
            pushed += 1;
        }
        assert_eq!(pushed, 40);
        let mut buffer = Vec::new();
        assert!(queue.fill(&mut buffer, 1).await);
        assert_eq!(buffer.len(), (256 << 10) + 4);
        queue.push(vec![1], Priority::Bulk).expect("each has its own room");
        queue.push(vec![2], Priority::Control).expect("each has its own room");
        queue.push(vec![7; 256 << 10], Priority::Background).expect("there is room again");
        buffer.clear();
        assert!(queue.fill(&mut buffer, 10).await);
        assert_eq!(buffer, [0, 0, 0, 1, 2, 0, 0, 0, 1, 1]);
    }

    #[tokio::test]
    async fn control_goes_first_and_each_has_its_bounds() {
        let queue = Queue::default();
        let mut pushed = 0;
        while queue.push(vec![0; 1 << 20], Priority::Bulk).is_ok() {
            pushed += 1;
        }
        assert_eq!(pushed, 8);
        for _ in 0..CONTROL_MAX {
            queue.push(vec![1], Priority::Control).expect("there is room");
        }
        assert!(queue.push(vec![1], Priority::Control).is_err());
        let mut buffer = Vec::new();
        assert!(queue.fill(&mut buffer, CONTROL_MAX * 5).await);
        assert_eq!(buffer, [0, 0, 0, 1, 1].repeat(CONTROL_MAX));
        buffer.clear();
        assert!(queue.fill(&mut buffer, 1).await);
        assert_eq!(buffer.len(), (1 << 20) + 4);
        queue.push(Vec::new(), Priority::Bulk).expect("there is room again");
        queue.close();
        while queue.fill(&mut buffer, usize::MAX).await {
            buffer.clear();
        }
    }
}
