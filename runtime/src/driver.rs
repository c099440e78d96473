//! The run loop: drives one node over its ports, in the real world and in the simulator alike.
//!
//! Each turn carries out the outputs of the node, then waits for one input and handles it. The selection is biased, so
//! the order of simultaneous inputs is fixed. The timer comes last, because the node checks its deadlines on every
//! input.

use crate::links::{Arrival, Links};
use crate::ports::{
    Blobs, Clock, Host, Inference, InferenceEvent, Journal, Multicast, MulticastEvent, Store, Traces,
    Transport, TransportEvent,
};
use engine::request::{Answer, Request};
use engine::{Input, Instant, Node, Output, RequestId, UnixMillis};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;

/// The world of a node: one implementation of each port, and a journal.
#[derive(Debug)]
pub struct World<T, M, S, R, I, B, H, C, J> {
    /// Connections to other nodes.
    pub transport: T,
    /// Multicast packets for discovery.
    pub multicast: M,
    /// Durable records.
    pub store: S,
    /// Steps of traces.
    pub traces: R,
    /// Models.
    pub inference: I,
    /// Files that nodes share.
    pub blobs: B,
    /// The node's own process.
    pub host: H,
    /// The time.
    pub clock: C,
    /// Records all inputs and outputs.
    pub journal: J,
}

/// Runs a node until it has stopped, and returns its exit status.
pub async fn run<T, M, S, R, I, B, H, C, J>(
    node: Node,
    world: World<T, M, S, R, I, B, H, C, J>,
    asks: mpsc::Receiver<Ask>,
) -> u8
where
    T: Transport,
    M: Multicast,
    S: Store,
    R: Traces,
    I: Inference,
    B: Blobs,
    H: Host,
    C: Clock,
    J: Journal,
{
    let (links, arrivals) = Links::new();
    let (dropped, drops) = mpsc::unbounded_channel();
    let requests = Requests { next: 0, replies: BTreeMap::new(), dropped };
    let now = world.clock.now();
    let wall = WallClock { offset: clock_offset(now, world.clock.wall()), check_at: now };
    let mut driver = Driver { node, world, links, requests, shed: VecDeque::new(), wall };
    driver.drive(Inbox { arrivals, asks, drops }).await
}

/// A request for the node.
#[derive(Debug)]
pub struct Ask {
    /// The request.
    pub request: Request,
    /// Receives the answer. Dropping the other end cancels the request.
    pub reply: oneshot::Sender<Answer>,
}

/// Sends requests to a running node.
#[derive(Clone, Debug)]
pub struct Handle {
    asks: mpsc::Sender<Ask>,
}

/// The node has stopped and answers no requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the node has stopped")]
pub struct Stopped;

impl Handle {
    /// Returns a handle, and the receiver that [`run`] takes.
    pub fn new() -> (Self, mpsc::Receiver<Ask>) {
        let (asks, receiver) = mpsc::channel(REQUESTS_MAX);
        (Self { asks }, receiver)
    }

    /// Sends a request and waits for the answer. Dropping the future cancels the request.
    ///
    /// # Errors
    /// [`Stopped`] if the node stops before it answers.
    pub async fn ask(&self, request: Request) -> Result<Answer, Stopped> {
        let (reply, answer) = oneshot::channel();
        self.asks.send(Ask { request, reply }).await.map_err(|_| Stopped)?;
        answer.await.map_err(|_| Stopped)
    }
}

struct Driver<T, M, S, R, I, B, H, C, J> {
    node: Node,
    world: World<T, M, S, R, I, B, H, C, J>,
    links: Links,
    requests: Requests,
    /// Frames that did not fit into the queue of their link, at most those of one input.
    shed: VecDeque<Input>,
    wall: WallClock,
}

/// The last known state of the wall clock.
#[derive(Clone, Copy, Debug)]
struct WallClock {
    /// Milliseconds by which it is ahead of the driver's clock.
    offset: i64,
    /// When to check it again.
    check_at: Instant,
}

/// Returns by how many milliseconds a wall clock is ahead of the time since the driver's origin.
pub fn clock_offset(now: Instant, wall: UnixMillis) -> i64 {
    let millis = |millis: u64| i64::try_from(millis).unwrap_or(i64::MAX);
    millis(wall.0).saturating_sub(millis(now.as_micros() / 1000))
}

/// Tells whether the clock offset has changed: a clock was set, or the machine was suspended.
pub fn clocks_diverge(before: i64, offset: i64) -> bool {
    before.abs_diff(offset) > CLOCK_OFFSET_CHANGE_MAX_MILLIS
}

/// The channels that the driver reads besides its ports.
struct Inbox {
    arrivals: mpsc::Receiver<Arrival>,
    asks: mpsc::Receiver<Ask>,
    drops: mpsc::UnboundedReceiver<RequestId>,
}

/// Requests without an answer.
#[derive(Debug)]
struct Requests {
    next: u64,
    replies: BTreeMap<RequestId, oneshot::Sender<Answer>>,
    /// At most one entry per request, and requests are bounded.
    dropped: mpsc::UnboundedSender<RequestId>,
}

impl<T, M, S, R, I, B, H, C, J> Driver<T, M, S, R, I, B, H, C, J>
where
    T: Transport,
    M: Multicast,
    S: Store,
    R: Traces,
    I: Inference,
    B: Blobs,
    H: Host,
    C: Clock,
    J: Journal,
{
    async fn drive(&mut self, mut inbox: Inbox) -> u8 {
        let mut armed: Option<Instant> = None;
        let timer = sleep(Duration::ZERO);
        tokio::pin!(timer);
        loop {
            if let Some(code) = self.carry_out() {
                let links = std::mem::replace(&mut self.links, Links::new().0);
                links.close_all(inbox.arrivals).await;
                // Delivers the last answers before a stalled disk can delay the end.
                tokio::task::yield_now().await;
                return code;
            }
            if let Some(input) = self.shed.pop_front() {
                self.handle(input);
                continue;
            }
            let due = self.node.poll_timeout().map(|deadline| deadline.at);
            if due != armed {
                let wait = due.map_or(IDLE_TIMEOUT, |due| due.since(self.world.clock.now()));
                timer.as_mut().reset(tokio::time::Instant::now() + wait);
                armed = due;
            }
            // Held until the input is handled. Then the link may deliver more.
            let mut turn = None;
            let input = tokio::select! {
                biased;
                (id, result) = self.world.store.next() => Input::WriteDone { id, result },
                event = self.world.inference.next() => inference_input(event),
                facts = self.world.host.next() => Input::Examined(facts),
                event = self.world.transport.next() => self.transport_input(event),
                Some(ask) = inbox.asks.recv() => self.requests.input(ask),
                Some(id) = inbox.drops.recv() => Input::RequestDropped { id },
                report = self.world.blobs.next() => Input::Blob(report),
                (read, found) = self.world.traces.next() => Input::TracesFound { read, found },
                Some(arrival) = inbox.arrivals.recv() => {
                    turn = arrival.turn;
                    arrival.input
                }
                // After the frames of peers, so that a flood of packets, which anybody can send, delays no peer.
                event = self.world.multicast.next() => multicast_input(event),
                () = &mut timer => {
                    armed = None;
                    Input::Tick
                }
            };
            self.handle(input);
            drop(turn);
        }
    }

    fn handle(&mut self, input: Input) {
        let now = self.world.clock.now();
        if now >= self.wall.check_at {
            self.check_clock(now);
        }
        self.world.journal.input(now, &input);
        self.node.handle_input(now, input);
    }

    /// Reports a change of the wall clock to the node before any other input.
    fn check_clock(&mut self, now: Instant) {
        let wall = self.world.clock.wall();
        let offset = clock_offset(now, wall);
        self.wall.check_at = now.after(CLOCK_CHECK_INTERVAL);
        if clocks_diverge(self.wall.offset, offset) {
            self.wall.offset = offset;
            let input = Input::ClockSet(wall);
            self.world.journal.input(now, &input);
            self.node.handle_input(now, input);
        }
    }

    /// Carries out the outputs of the node. Returns the exit status once the node has stopped.
    fn carry_out(&mut self) -> Option<u8> {
        let now = self.world.clock.now();
        while let Some(output) = self.node.poll_output() {
            self.world.journal.output(now, &output, &self.node);
            match output {
                Output::Blob(order) => self.world.blobs.order(order),
                Output::Cancel { job } => self.world.inference.cancel(job),
                Output::Dial { dial, address, expect } => self.world.transport.dial(dial, address, expect),
                Output::Disconnect { link } => self.links.close(link),
                Output::Event(_) => {}
                Output::Examine => self.world.host.examine(),
                Output::Exit { code } => return Some(code),
                Output::Infer { job, model, fingerprint, work } => {
                    self.world.inference.start(job, model, fingerprint, work);
                }
                Output::Multicast { interface, family, bytes } => {
                    self.world.multicast.send(interface, family, bytes);
                }
                Output::Reply { id, answer } => self.requests.reply(id, answer),
                Output::Send { link, frame, priority } => {
                    if let Err(frame) = self.links.send(link, frame, priority) {
                        self.shed.push_back(Input::Shed { link, frame });
                    }
                }
                Output::Traces(order) => self.world.traces.order(order),
                Output::Unicast { interface, to, bytes } => {
                    self.world.multicast.send_to(interface, to, bytes);
                }
                Output::Write { id, records } => self.world.store.write(id, records),
            }
        }
        None
    }

    fn transport_input(&mut self, event: TransportEvent<T::Stream>) -> Input {
        match event {
            TransportEvent::DialFailed { dial, error } => Input::DialFailed { dial, error },
            TransportEvent::Listening { port } => Input::Listening { port },
            TransportEvent::StrangerFault { remote, fault } => Input::StrangerFault { remote, fault },
            TransportEvent::Up { peer, remote, dial, stream } => {
                let link = self.links.name();
                // No frame arrives before this input: both reach the node through this loop.
                self.links.start(link, stream);
                Input::LinkUp { link, peer, remote, dial }
            }
        }
    }
}

impl Requests {
    fn input(&mut self, ask: Ask) -> Input {
        let id = RequestId(self.next);
        self.next += 1;
        let (reply, answer) = oneshot::channel();
        self.replies.insert(id, reply);
        let dropped = self.dropped.clone();
        let mut asker = ask.reply;
        tokio::spawn(async move {
            tokio::select! {
                biased;
                answer = answer => {
                    if let Ok(answer) = answer {
                        // The client may be gone.
                        let _ = asker.send(answer);
                    }
                }
                () = asker.closed() => {
                    let _ = dropped.send(id);
                }
            }
        });
        Input::Request { id, request: ask.request }
    }

    fn reply(&mut self, id: RequestId, answer: Answer) {
        if let Some(reply) = self.replies.remove(&id) {
            let _ = reply.send(answer);
        }
    }
}

fn inference_input(event: InferenceEvent) -> Input {
    match event {
        InferenceEvent::Done { job, micros, result } => Input::InferenceDone { job, micros, result },
        InferenceEvent::Model { name, kind, fingerprint, state } => {
            Input::Model { name, kind, fingerprint, state }
        }
        InferenceEvent::Progress { job, text, tokens } => Input::InferenceProgress { job, text, tokens },
    }
}

fn multicast_input(event: MulticastEvent) -> Input {
    match event {
        MulticastEvent::Interfaces(interfaces) => Input::Interfaces(interfaces),
        MulticastEvent::Packet { interface, from, bytes } => Input::Datagram { interface, from, bytes },
    }
}

/// Maximum number of requests in flight.
const REQUESTS_MAX: usize = 1024;
/// Minimum time between two checks of the wall clock.
const CLOCK_CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// Largest change of the clock offset that is ignored. Larger than the adjustments of time synchronisation.
const CLOCK_OFFSET_CHANGE_MAX_MILLIS: u64 = 1_000;
/// How long a node without a deadline sleeps.
const IDLE_TIMEOUT: Duration = Duration::from_secs(3600);
