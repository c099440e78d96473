//! The thread of a live simulation: moves the simulated time forward with the real clock, and sleeps in between.
//!
//! While nobody waits for anything, it wakes up for a few milliseconds of events at a time. Each event still has its
//! own simulated time, so nothing that a node measures changes.

use super::{Healed, InjectError, LiveReport, LiveStatus};
use crate::executor::event_queue::EventQueue;
use crate::executor::event_queue::live::{ModelOrder, Watcher};
use crate::node_set::NodeIndex;
use crate::scenario::{FaultKind, Scenario};
use core::fmt;
use core::pin::{Pin, pin};
use core::task::{Context, Poll, Waker};
use core::time::Duration;
use engine::Instant;
use futures::Stream;
use futures::StreamExt as _;
use futures::stream::SelectAll;
use runtime::clock;
use runtime::driver::Ask;
use runtime::ports::Inference;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Wake;
use std::thread::{self, Thread};
use tokio::sync::{mpsc, oneshot};

/// An order to the simulation.
pub(super) enum Order {
    Heal(oneshot::Sender<Healed>),
    Inject(FaultKind, oneshot::Sender<Result<(), InjectError>>),
    Record(oneshot::Sender<(Scenario, Vec<String>)>),
    Status(oneshot::Sender<LiveStatus>),
    Watch(NodeIndex, Watcher, oneshot::Sender<()>),
}

impl fmt::Debug for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Heal(_) => "Heal",
            Self::Inject(..) => "Inject",
            Self::Record(_) => "Record",
            Self::Status(_) => "Status",
            Self::Watch(..) => "Watch",
        })
    }
}

/// Stops the thread when it is dropped or asked to.
#[derive(Debug)]
pub(super) struct Stops(Option<oneshot::Sender<()>>);

impl Stops {
    pub(super) fn stop(&mut self) {
        self.0 = None;
    }
}

/// Returns what stops the thread, and what the thread awaits.
pub(super) fn stop() -> (Stops, oneshot::Receiver<()>) {
    let (stop, stopped) = oneshot::channel();
    (Stops(Some(stop)), stopped)
}

/// Drives a live simulation.
pub(super) struct Pacer<I> {
    world: EventQueue,
    /// What was asked for, with all its expectations, and the seed.
    original: (Scenario, u64),
    inference: I,
    outside: Outside,
    /// The real time at which the simulated one was zero.
    origin: std::time::Instant,
}

/// What reaches the simulation from other threads.
pub(super) struct Outside {
    asks: SelectAll<Asks>,
    orders: mpsc::Receiver<Order>,
    stop: oneshot::Receiver<()>,
}

impl Outside {
    pub(super) fn new(
        asks: impl Iterator<Item = (Option<NodeIndex>, mpsc::Receiver<Ask>)>,
        orders: mpsc::Receiver<Order>,
        stop: oneshot::Receiver<()>,
    ) -> Self {
        Self { asks: asks.map(|(node, asks)| Asks { node, asks }).collect(), orders, stop }
    }
}

/// The requests to one node, or to the first one that runs.
struct Asks {
    node: Option<NodeIndex>,
    asks: mpsc::Receiver<Ask>,
}

impl Stream for Asks {
    type Item = (Option<NodeIndex>, Ask);

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let node = self.node;
        self.asks.poll_recv(cx).map(|ask| ask.map(|ask| (node, ask)))
    }
}

/// Wakes the thread.
#[derive(Debug)]
struct Alarm {
    thread: Thread,
    rung: AtomicBool,
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Only the first call since the last turn has to wake it.
        if !self.rung.swap(true, Ordering::AcqRel) {
            self.thread.unpark();
        }
    }
}

impl<I: Inference> Pacer<I> {
    pub(super) fn new(world: EventQueue, original: (Scenario, u64), inference: I, outside: Outside) -> Self {
        Self { world, original, inference, outside, origin: std::time::Instant::now() }
    }

    /// Runs until it is stopped.
    pub(super) fn run(mut self) -> LiveReport {
        let alarm = Arc::new(Alarm { thread: thread::current(), rung: AtomicBool::new(true) });
        let waker = Waker::from(Arc::clone(&alarm));
        let mut cx = Context::from_waker(&waker);
        let mut swept_at = Instant::ZERO;
        loop {
            self.catch_up();
            let now = self.now();
            self.world.advance(now);
            if alarm.rung.swap(false, Ordering::AcqRel) && !self.poll(&mut cx) {
                return self.world.into_report();
            }
            if now.since(swept_at) >= SWEEP_INTERVAL && self.world.is_asked() {
                swept_at = now;
                self.world.act(EventQueue::drop_abandoned_requests);
            }
            if self.carry_out_orders() {
                // The models may report at once.
                alarm.wake_by_ref();
            }
            let pause = self.pause(now);
            if !pause.is_zero() && !alarm.rung.load(Ordering::Acquire) {
                thread::park_timeout(pause);
            }
        }
    }

    fn now(&self) -> Instant {
        Instant::ZERO.after(self.origin.elapsed())
    }

    /// Leaves out the time in which this process was suspended: for the nodes, none has passed.
    fn catch_up(&mut self) {
        let behind = self.now().since(self.world.now());
        if behind > SUSPENDED_MIN {
            self.origin += behind;
            self.world.act(|world| world.set_wall(clock::wall()));
        }
    }

    /// Handles what came from outside. Returns false once the simulation has to stop.
    fn poll(&mut self, cx: &mut Context<'_>) -> bool {
        if Pin::new(&mut self.outside.stop).poll(cx).is_ready() {
            return false;
        }
        while let Poll::Ready(Some(order)) = self.outside.orders.poll_recv(cx) {
            self.handle_order(order);
        }
        for taken in 0.. {
            let Poll::Ready(Some((node, ask))) = self.outside.asks.poll_next_unpin(cx) else { break };
            self.world.act(|world| world.handle_ask(node, ask));
            if taken >= ASKS_PER_TURN {
                // The rest waits for the next turn.
                cx.waker().wake_by_ref();
                break;
            }
        }
        loop {
            let report = {
                let next = pin!(self.inference.next());
                next.poll(cx)
            };
            let Poll::Ready(report) = report else { return true };
            self.world.act(|world| world.handle_report(report));
        }
    }

    fn handle_order(&mut self, order: Order) {
        // The caller may have cancelled the order.
        match order {
            Order::Heal(reply) => self.world.act(|world| {
                let (faults, started) = world.heal();
                let _ = reply.send(Healed { faults, started });
            }),
            Order::Inject(kind, reply) => self.world.act(|world| {
                let _ = reply.send(world.inject(&kind));
            }),
            Order::Record(reply) => {
                let _ = reply.send(self.world.recorded(&self.original.0, self.original.1));
            }
            Order::Status(reply) => {
                let _ = reply.send(self.world.status());
            }
            Order::Watch(node, watcher, reply) => {
                self.world.add_watcher(node, watcher);
                let _ = reply.send(());
            }
        }
    }

    /// Passes orders on to the models. Returns whether there were any.
    fn carry_out_orders(&mut self) -> bool {
        let mut any = false;
        while let Some(order) = self.world.poll_order() {
            any = true;
            match order {
                ModelOrder::Cancel(job) => self.inference.cancel(job),
                ModelOrder::Start { job, model, fingerprint, work } => {
                    self.inference.start(job, model, fingerprint, work);
                }
            }
        }
        any
    }

    /// Returns how long nothing has to be done, if nothing comes from outside.
    fn pause(&mut self, last: Instant) -> Duration {
        let busy = self.world.is_busy();
        let Some(next) = self.world.next_at() else { return SWEEP_INTERVAL };
        let grain = if busy { GRAIN_BUSY } else { GRAIN_IDLE };
        let until = next.max(last.after(grain));
        let pause = until.since(self.now());
        if self.world.is_asked() { pause.min(SWEEP_INTERVAL) } else { pause }
    }
}

/// The shortest time between two wake-ups while somebody waits.
const GRAIN_BUSY: Duration = Duration::from_micros(200);
/// The shortest time between two wake-ups while nobody waits.
const GRAIN_IDLE: Duration = Duration::from_millis(5);
/// How often requests of clients that are gone are dropped.
const SWEEP_INTERVAL: Duration = Duration::from_millis(100);
/// The most requests that are handled at once.
const ASKS_PER_TURN: usize = 256;
/// A gap in the real time above which this process was suspended.
const SUSPENDED_MIN: Duration = Duration::from_secs(5);
