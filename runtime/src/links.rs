//! Frames over byte streams: one task per link, a bounded queue each way.
//!
//! A frame is a 32-bit big-endian length and that many bytes. What waits for one link goes out in one write and one
//! flush, control frames before bulk. Nothing is allocated for a length that was only announced.

use engine::output::Priority;
use engine::wire::{FRAME_BYTES_MAX, HELLO_BYTES_MAX};
use engine::{Input, LinkId};
use futures::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use std::collections::BTreeMap;
use std::io;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// The links of one node.
#[derive(Debug)]
pub(crate) struct Links {
    writers: BTreeMap<LinkId, Writer>,
    tasks: JoinSet<()>,
    inputs: mpsc::Sender<Input>,
    next: u64,
}

#[derive(Debug)]
struct Writer {
    control: mpsc::Sender<Vec<u8>>,
    bulk: mpsc::Sender<Vec<u8>>,
    /// Dropped to end the link at once.
    alive: oneshot::Sender<()>,
}

struct Queues {
    control: mpsc::Receiver<Vec<u8>>,
    bulk: mpsc::Receiver<Vec<u8>>,
    alive: oneshot::Receiver<()>,
}

impl Links {
    /// Makes a node without links, and the end from which it reads what they bring.
    pub(crate) fn new() -> (Self, mpsc::Receiver<Input>) {
        let (inputs, receiver) = mpsc::channel(INPUTS_MAX);
        (Self { writers: BTreeMap::new(), tasks: JoinSet::new(), inputs, next: 0 }, receiver)
    }

    /// Names a new link. Its frames flow once [`Links::start`] is called.
    pub(crate) fn name(&mut self) -> LinkId {
        let link = LinkId(self.next);
        self.next += 1;
        link
    }

    /// Begins to carry frames over a stream.
    pub(crate) fn start<S>(&mut self, link: LinkId, stream: S)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (control, control_queue) = mpsc::channel(CONTROL_MAX);
        let (bulk, bulk_queue) = mpsc::channel(BULK_MAX);
        let (alive, alive_queue) = oneshot::channel();
        self.writers.insert(link, Writer { control, bulk, alive });
        let queues = Queues { control: control_queue, bulk: bulk_queue, alive: alive_queue };
        let inputs = self.inputs.clone();
        self.tasks.spawn(async move {
            if let Some(why) = carry(link, stream, queues, &inputs).await {
                let _ = inputs.send(why).await;
            }
            // The driver may be gone already.
            let _ = inputs.send(Input::LinkDown { link }).await;
        });
        while self.tasks.try_join_next().is_some() {}
    }

    /// Queues a frame. A link that does not keep up is closed: what it would miss cannot be made up for.
    pub(crate) fn send(&mut self, link: LinkId, frame: Vec<u8>, priority: Priority) {
        let Some(writer) = self.writers.get(&link) else { return };
        let queue = match priority {
            Priority::Control => &writer.control,
            Priority::Bulk => &writer.bulk,
        };
        if queue.try_send(frame).is_err() {
            tracing::warn!(link = link.0, "closing a link that does not keep up");
            self.writers.remove(&link);
        }
    }

    /// Closes a link once what waits is flushed.
    pub(crate) fn close(&mut self, link: LinkId) {
        if let Some(Writer { control, bulk, mut alive }) = self.writers.remove(&link) {
            drop((control, bulk));
            // The task ends by itself when its queues do; until then it must not be ended.
            self.tasks.spawn(async move {
                let _ = timeout(FLUSH_TIMEOUT, alive.closed()).await;
            });
        }
    }

    /// Closes all links and waits until they are flushed, for a limited time.
    pub(crate) async fn close_all(mut self, mut inputs: mpsc::Receiver<Input>) {
        for link in self.writers.keys().copied().collect::<Vec<_>>() {
            self.close(link);
        }
        let drain = async { while inputs.recv().await.is_some() {} };
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

/// Carries frames both ways until either end closes; returns what the other end did wrong, if anything.
async fn carry<S: AsyncRead + AsyncWrite>(
    link: LinkId,
    stream: S,
    queues: Queues,
    inputs: &mpsc::Sender<Input>,
) -> Option<Input> {
    let (reader, writer) = stream.split();
    let Queues { control, bulk, alive } = queues;
    let read = read_frames(link, reader, inputs);
    let write = write_frames(writer, control, bulk);
    tokio::pin!(read);
    tokio::select! {
        biased;
        // The engine has done with a link that was closed by name and then not flushed in time.
        _ = alive => Some(Input::LinkStalled { link }),
        result = write => match result {
            // Closing a socket with unread data would take back what was just sent.
            Ok(()) => timeout(LINGER, &mut read).await.unwrap_or_default(),
            Err(error) => (error.kind() == io::ErrorKind::TimedOut).then_some(Input::LinkStalled { link }),
        },
        fault = &mut read => fault,
    }
}

/// Reads until the other end closes, or cannot be read on; returns what it did wrong, if anything.
async fn read_frames<R: AsyncRead + Unpin>(
    link: LinkId,
    mut reader: R,
    inputs: &mpsc::Sender<Input>,
) -> Option<Input> {
    // Whoever is at the other end has not introduced itself before the first frame.
    let mut limit = HELLO_BYTES_MAX;
    loop {
        let bytes = match read_frame(&mut reader, limit).await {
            Ok(Read::Frame(bytes)) => bytes,
            Ok(Read::TooLarge) => return Some(Input::FrameTooLarge { link }),
            Ok(Read::Truncated) => return Some(Input::FrameTruncated { link }),
            Ok(Read::End) | Err(_) => return None,
        };
        limit = FRAME_BYTES_MAX;
        if inputs.send(Input::Frame { link, bytes }).await.is_err() {
            return None;
        }
    }
}

/// What a stream holds next.
enum Read {
    /// Nothing more.
    End,
    /// A frame.
    Frame(Vec<u8>),
    /// A frame that is announced to be too large.
    TooLarge,
    /// The first part of a frame, and then the end.
    Truncated,
}

async fn read_frame<R: AsyncRead + Unpin>(reader: &mut R, limit: usize) -> io::Result<Read> {
    let mut header = Vec::with_capacity(HEADER_BYTES);
    (&mut *reader).take(HEADER_BYTES as u64).read_to_end(&mut header).await?;
    let Some(&header) = header.first_chunk::<HEADER_BYTES>() else {
        return Ok(if header.is_empty() { Read::End } else { Read::Truncated });
    };
    let len = u64::from(u32::from_be_bytes(header));
    if usize::try_from(len).map_or(true, |len| len > limit) {
        return Ok(Read::TooLarge);
    }
    let mut bytes = Vec::new();
    reader.take(len).read_to_end(&mut bytes).await?;
    let whole = u64::try_from(bytes.len()).is_ok_and(|read| read == len);
    Ok(if whole { Read::Frame(bytes) } else { Read::Truncated })
}

async fn write_frames<W: AsyncWrite + Unpin>(
    mut writer: W,
    mut control: mpsc::Receiver<Vec<u8>>,
    mut bulk: mpsc::Receiver<Vec<u8>>,
) -> io::Result<()> {
    let mut buffer = Vec::new();
    loop {
        let first = tokio::select! {
            biased;
            Some(frame) = control.recv() => frame,
            Some(frame) = bulk.recv() => frame,
            else => break,
        };
        append(&mut buffer, &first);
        while buffer.len() < BATCH_BYTES {
            match control.try_recv().or_else(|_| bulk.try_recv()) {
                Ok(frame) => append(&mut buffer, &frame),
                Err(_) => break,
            }
        }
        let write = async {
            writer.write_all(&buffer).await?;
            writer.flush().await
        };
        timeout(WRITE_TIMEOUT, write).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        buffer.clear();
        buffer.shrink_to(BATCH_BYTES);
    }
    timeout(WRITE_TIMEOUT, writer.close()).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

fn append(buffer: &mut Vec<u8>, frame: &[u8]) {
    // The engine makes no frame that is anywhere near 4 GiB.
    let len = u32::try_from(frame.len()).unwrap_or(u32::MAX);
    buffer.extend_from_slice(&len.to_be_bytes());
    buffer.extend_from_slice(frame);
}

/// Bytes of a frame's length.
const HEADER_BYTES: usize = 4;
/// Frames of all links that may wait for the node; beyond, nothing more is read.
const INPUTS_MAX: usize = 64;
/// Control frames that may wait for one link.
const CONTROL_MAX: usize = 4096;
/// Bulk frames that may wait for one link.
const BULK_MAX: usize = 1024;
/// Bytes of one write, about.
const BATCH_BYTES: usize = 64 << 10;
/// How long the other end may take nothing.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a closed link may go on reading.
const LINGER: Duration = Duration::from_millis(500);
/// How long closing may take.
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
        let frames = [vec![1; 1000], vec![], vec![2; 3]];
        for frame in &frames {
            near.send(link, frame.clone(), Priority::Bulk);
        }
        near.close(link);
        for bytes in frames {
            assert_eq!(inputs.recv().await, Some(Input::Frame { link: LinkId(7), bytes }));
        }
        assert_eq!(inputs.recv().await, Some(Input::LinkDown { link: LinkId(7) }));
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
                assert_eq!(inputs.recv().await, Some(first));
            }
            assert_eq!(inputs.recv().await, Some(Input::LinkDown { link: LinkId(1) }));
        }
    }

    #[tokio::test]
    async fn a_link_that_takes_nothing_is_closed_when_its_queue_is_full() {
        let (a, _b) = duplex(1);
        let (mut links, mut inputs) = Links::new();
        links.start(LinkId(1), a.compat());
        for _ in 0..=BULK_MAX + BATCH_BYTES / 10 {
            links.send(LinkId(1), vec![0; 10], Priority::Bulk);
            tokio::task::yield_now().await;
        }
        assert_eq!(inputs.recv().await, Some(Input::LinkStalled { link: LinkId(1) }));
        assert_eq!(inputs.recv().await, Some(Input::LinkDown { link: LinkId(1) }));
    }
}
