//! Frames over byte streams: one task per link, with a bounded queue in each direction.
//!
//! A frame is a 32-bit big-endian length and as many bytes. The queued frames of a link leave in one write and one
//! flush: control frames first, then bulk, then pieces of files. Received frames are passed on as one input per read.
//! Links take turns: each may have a few inputs waiting for the node, and reads no more until these are handled. Thus a
//! busy link slows down its own peer and not the others.

mod buffer;
mod queue;

use buffer::{Buffer, TooLarge};
use engine::output::Priority;
use engine::wire::{FRAME_BYTES_MAX, HELLO_BYTES_MAX};
use engine::{Input, LinkId};
use futures::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use queue::{Full, Queue};
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// The links of one node.
#[derive(Debug)]
pub(crate) struct Links {
    outlets: BTreeMap<LinkId, Outlet>,
    tasks: JoinSet<()>,
    arrivals: mpsc::Sender<Arrival>,
    next: u64,
}

/// An input from a link. Dropping this gives the turn back to the link.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub(crate) input: Input,
    pub(crate) turn: Option<OwnedSemaphorePermit>,
}

#[derive(Debug)]
struct Outlet {
    queue: Arc<Queue>,
    /// Dropping this ends the link at once.
    alive: oneshot::Sender<()>,
}

impl Links {
    /// Creates an empty set of links, and the receiver of their inputs.
    pub(crate) fn new() -> (Self, mpsc::Receiver<Arrival>) {
        let (arrivals, receiver) = mpsc::channel(ARRIVALS_MAX);
        (Self { outlets: BTreeMap::new(), tasks: JoinSet::new(), arrivals, next: 0 }, receiver)
    }

    /// Allocates the id of a new link. Its frames flow once [`Links::start`] is called.
    pub(crate) fn name(&mut self) -> LinkId {
        let link = LinkId(self.next);
        self.next += 1;
        link
    }

    /// Starts to carry frames over a stream.
    pub(crate) fn start<S>(&mut self, link: LinkId, stream: S)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let queue = Arc::new(Queue::default());
        let (alive, ended) = oneshot::channel();
        self.outlets.insert(link, Outlet { queue: queue.clone(), alive });
        let arrivals = self.arrivals.clone();
        self.tasks.spawn(async move {
            if let Some(input) = carry(link, stream, &queue, ended, &arrivals).await {
                let _ = arrivals.send(Arrival { input, turn: None }).await;
            }
            // The driver may be gone already.
            let _ = arrivals.send(Arrival { input: Input::LinkDown { link }, turn: None }).await;
        });
        while self.tasks.try_join_next().is_some() {}
    }

    /// Queues a frame, or returns it if the queue is full. If it is a control frame, the link is closed, because a lost
    /// control frame cannot be recovered.
    pub(crate) fn send(&mut self, link: LinkId, frame: Vec<u8>, priority: Priority) -> Result<(), Vec<u8>> {
        let Some(outlet) = self.outlets.get(&link) else { return Ok(()) };
        match (outlet.queue.push(frame, priority), priority) {
            (Ok(()), _) => Ok(()),
            (Err(Full(frame)), Priority::Background | Priority::Bulk) => Err(frame),
            (Err(Full(_)), Priority::Control) => {
                tracing::warn!(link = link.0, "closing a link whose peer does not keep up");
                self.outlets.remove(&link);
                Ok(())
            }
        }
    }

    /// Closes a link after its queue is flushed.
    pub(crate) fn close(&mut self, link: LinkId) {
        if let Some(Outlet { queue, mut alive }) = self.outlets.remove(&link) {
            queue.close();
            // The task ends by itself once its queue is empty, and must not be aborted before.
            self.tasks.spawn(async move {
                let _ = timeout(FLUSH_TIMEOUT, alive.closed()).await;
            });
        }
    }

    /// Closes all links and waits until they are flushed, up to a timeout.
    pub(crate) async fn close_all(mut self, mut arrivals: mpsc::Receiver<Arrival>) {
        for link in self.outlets.keys().copied().collect::<Vec<_>>() {
            self.close(link);
        }
        let drain = async { while arrivals.recv().await.is_some() {} };
        let finish = async { while self.tasks.join_next().await.is_some() {} };
        let all = async {
            tokio::select! {
                biased;
                () = finish => {}
                () = drain => {}
            }
        };
        let _ = timeout(FLUSH_TIMEOUT, all).await;
    }
}

/// Carries frames both ways until either end closes. Returns the protocol violation of the other end, if any.
async fn carry<S: AsyncRead + AsyncWrite>(
    link: LinkId,
    stream: S,
    queue: &Queue,
    ended: oneshot::Receiver<()>,
    arrivals: &mpsc::Sender<Arrival>,
) -> Option<Input> {
    let (reader, writer) = stream.split();
    let read = read_frames(link, reader, arrivals);
    let write = write_frames(writer, queue);
    tokio::pin!(read);
    tokio::select! {
        biased;
        // The engine has already dropped a link that it closed and that was not flushed in time.
        _ = ended => Some(Input::LinkStalled { link }),
        result = write => match result {
            // Closing a socket with unread data would reset the connection and lose what was just sent.
            Ok(()) => timeout(LINGER_TIMEOUT, &mut read).await.unwrap_or_default(),
            Err(error) => (error.kind() == io::ErrorKind::TimedOut).then_some(Input::LinkStalled { link }),
        },
        fault = &mut read => fault,
    }
}

/// Reads until the other end closes or the read fails. Returns the protocol violation of the other end, if any.
async fn read_frames<R: AsyncRead + Unpin>(
    link: LinkId,
    mut reader: R,
    arrivals: &mpsc::Sender<Arrival>,
) -> Option<Input> {
    let turns = Arc::new(Semaphore::new(TURNS_MAX));
    let mut buffer = Buffer::default();
    // Before its first frame, the other end has not introduced itself.
    let mut limit = HELLO_BYTES_MAX;
    loop {
        let (frames, too_large) = whole_frames(&mut buffer, &mut limit);
        let input = match (<[_; 1]>::try_from(frames), too_large) {
            (Ok([bytes]), _) => Input::Frame { link, bytes },
            (Err(frames), _) if !frames.is_empty() => Input::Frames { link, frames },
            (Err(_), true) => return Some(Input::FrameTooLarge { link }),
            (Err(_), false) => match reader.read(buffer.room()).await {
                Ok(0) => return (!buffer.is_empty()).then_some(Input::FrameTruncated { link }),
                Ok(read) => {
                    buffer.filled(read);
                    continue;
                }
                Err(_) => return None,
            },
        };
        let turn = turns.clone().acquire_owned().await.ok();
        if arrivals.send(Arrival { input, turn }).await.is_err() {
            return None;
        }
    }
}

/// Takes all complete frames out of a buffer, up to one whose announced length exceeds the limit.
fn whole_frames(buffer: &mut Buffer, limit: &mut usize) -> (Vec<Vec<u8>>, bool) {
    let mut frames = Vec::new();
    while frames.len() < BATCH_FRAMES {
        match buffer.next_frame(*limit) {
            Ok(Some(frame)) => {
                frames.push(frame);
                *limit = FRAME_BYTES_MAX;
            }
            Ok(None) => break,
            Err(TooLarge) => return (frames, true),
        }
    }
    (frames, false)
}

async fn write_frames<W: AsyncWrite + Unpin>(mut writer: W, queue: &Queue) -> io::Result<()> {
    let late = || io::Error::from(io::ErrorKind::TimedOut);
    let mut buffer = Vec::new();
    while queue.fill(&mut buffer, BATCH_BYTES).await {
        let write = async {
            writer.write_all(&buffer).await?;
            writer.flush().await
        };
        timeout(WRITE_TIMEOUT, write).await.map_err(|_| late())??;
        buffer.clear();
        buffer.shrink_to(BATCH_BYTES * 2);
    }
    timeout(WRITE_TIMEOUT, writer.close()).await.map_err(|_| late())?
}

/// Maximum number of inputs of all links that wait for the node. Beyond, no link is read.
const ARRIVALS_MAX: usize = 64;
/// Maximum number of inputs of one link that wait for the node. Beyond, that link is not read.
const TURNS_MAX: usize = 2;
/// Maximum number of frames in one input.
const BATCH_FRAMES: usize = 256;
/// Approximate number of bytes in one write.
const BATCH_BYTES: usize = 64 << 10;
/// How long a write may make no progress.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a closed link may continue to read.
const LINGER_TIMEOUT: Duration = Duration::from_millis(500);
/// How long the close of a link may take.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::duplex;
    use tokio_util::compat::TokioAsyncReadCompatExt;

    #[tokio::test]
    async fn frames_arrive_whole_and_in_order_and_a_close_flushes() {
        let (a, b) = duplex(100);
        let (mut near, _near_inputs) = Links::new();
        let (mut far, mut inputs) = Links::new();
        let link = near.name();
        near.start(link, a.compat());
        far.start(LinkId(7), b.compat());
        let frames = [vec![1; 1000], vec![], vec![2; 3], vec![3; FRAME_BYTES_MAX], vec![4; 70_000]];
        for frame in &frames {
            near.send(link, frame.clone(), Priority::Bulk).expect("there is room");
        }
        near.close(link);
        let mut arrived = Vec::new();
        let last = loop {
            let input = next(&mut inputs).await;
            if let Some(Input::Frame { bytes, .. }) = input {
                arrived.push(bytes);
            } else if let Some(Input::Frames { frames, .. }) = input {
                arrived.extend(frames);
            } else {
                break input;
            }
        };
        assert_eq!(last, Some(Input::LinkDown { link: LinkId(7) }));
        assert!(arrived == frames, "{:?}", arrived.iter().map(Vec::len).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_frame_that_is_announced_too_large_or_cut_short_is_told() {
        for (bytes, first) in [
            (
                u32::try_from(10_000_000).unwrap_or(0).to_be_bytes().to_vec(),
                Some(Input::FrameTooLarge { link: LinkId(1) }),
            ),
            (9_000_u32.to_be_bytes().to_vec(), Some(Input::FrameTooLarge { link: LinkId(1) })),
            (vec![0, 0, 0, 9, 1, 2], Some(Input::FrameTruncated { link: LinkId(1) })),
            (vec![0, 0], Some(Input::FrameTruncated { link: LinkId(1) })),
            (vec![], None),
        ] {
            let (mut a, b) = duplex(100);
            let (mut links, mut inputs) = Links::new();
            links.start(LinkId(1), b.compat());
            tokio::io::AsyncWriteExt::write_all(&mut a, &bytes).await.expect("the pipe has room");
            drop(a);
            if let Some(first) = first {
                assert_eq!(next(&mut inputs).await, Some(first));
            }
            assert_eq!(next(&mut inputs).await, Some(Input::LinkDown { link: LinkId(1) }));
        }
    }

    #[tokio::test]
    async fn a_link_that_takes_nothing_gives_bulk_back_and_is_closed_for_control() {
        let (a, _b) = duplex(1);
        let (mut links, mut inputs) = Links::new();
        links.start(LinkId(1), a.compat());
        let mut sent = 0;
        while links.send(LinkId(1), vec![0; 10], Priority::Bulk).is_ok() {
            sent += 1;
            assert!(sent <= queue::BULK_MAX + BATCH_BYTES / 10, "there is a bound");
            tokio::task::yield_now().await;
        }
        assert_eq!(links.send(LinkId(1), vec![5], Priority::Bulk), Err(vec![5]));
        while !links.outlets.is_empty() {
            links.send(LinkId(1), vec![0; 10], Priority::Control).expect("control never comes back");
        }
        assert_eq!(next(&mut inputs).await, Some(Input::LinkStalled { link: LinkId(1) }));
        assert_eq!(next(&mut inputs).await, Some(Input::LinkDown { link: LinkId(1) }));
    }

    #[tokio::test]
    async fn a_link_that_brings_much_leaves_the_others_their_turns() {
        let (mut flood, a) = duplex(1 << 20);
        let (mut quiet, b) = duplex(100);
        let (mut links, mut inputs) = Links::new();
        links.start(LinkId(1), a.compat());
        links.start(LinkId(2), b.compat());
        tokio::io::AsyncWriteExt::write_all(&mut flood, &[0; 400_000]).await.expect("the pipe has room");
        for _ in 0..1000 {
            tokio::task::yield_now().await;
        }
        tokio::io::AsyncWriteExt::write_all(&mut quiet, &[0, 0, 0, 1, 9]).await.expect("the pipe has room");
        for _ in 0..1000 {
            tokio::task::yield_now().await;
        }
        let mut before = 0;
        while next(&mut inputs).await != Some(Input::Frame { link: LinkId(2), bytes: vec![9] }) {
            before += 1;
        }
        assert!(before <= TURNS_MAX, "{before}");
    }

    async fn next(inputs: &mut mpsc::Receiver<Arrival>) -> Option<Input> {
        inputs.recv().await.map(|arrival| arrival.input)
    }
}
