//! One node's machine under faults: its own clocks, a suspended process, sleep.
//!
//! A node reads the time from its own clock. While its process is suspended, inputs wait and are handled all at once
//! when it resumes. While the machine sleeps, its monotonic clock also stops and the network is cut. Jobs and writes
//! that were running before a sleep are done when the machine wakes.

use super::EventQueue;
use crate::cluster;
use crate::faults::Stop;
use crate::inference;
use crate::node_set::NodeIndex;
use crate::scenario::MachineFault;
use core::mem;
use engine::input::ModelState;
use engine::model::ModelOffer;
use engine::{Fingerprint, InferenceError, Input, Instant, UnixMillis};
use runtime::driver;

/// The faults of a machine in effect.
#[derive(Debug, Default)]
pub(super) struct Machine {
    pub(super) clock: Clock,
    suspension: Option<Suspension>,
    unready: bool,
    /// Whether its models were replaced since it started.
    replaced: bool,
    /// How many milliseconds the wall clock was ahead of the monotonic one when the node was last told.
    reported_ahead: i64,
    /// Whether it loses power at its next write.
    pub(super) loses_power_on_write: bool,
}

/// The inputs that wait for a suspended process.
#[derive(Debug, Default)]
struct Suspension {
    asleep: bool,
    inputs: Vec<Input>,
    packets: usize,
}

/// A machine's clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Clock {
    /// The time that it showed at a moment of simulated time.
    showed: u64,
    at: u64,
    /// How fast it runs, in parts per million.
    ppm: i32,
    stopped: bool,
    /// How many milliseconds the wall clock is ahead of the true time.
    ahead: i64,
}

impl Clock {
    /// Returns the time that it shows at a moment of simulated time.
    pub(super) fn shows(&self, now: u64) -> u64 {
        let passed = now.saturating_sub(self.at);
        match (self.stopped, self.ppm) {
            (true, _) => self.showed,
            (false, 0) => self.showed + passed,
            (false, _) => self.showed + scaled(passed, self.rate(), MILLION, 0),
        }
    }

    /// Returns the first moment of simulated time at which it shows a time; `None` if it is stopped.
    pub(super) fn will_show(&self, time: u64) -> Option<u64> {
        let missing = time.saturating_sub(self.showed);
        match (self.stopped, self.ppm) {
            (true, _) => None,
            (false, 0) => Some(self.at + missing),
            (false, _) => Some(self.at + scaled(missing, MILLION, self.rate(), self.rate() - 1)),
        }
    }

    /// Returns whether it drifts from the wall clock.
    pub(super) const fn drifts(&self) -> bool {
        self.ppm != 0
    }

    /// Returns the wall-clock time that it shows.
    pub(super) fn wall(&self, now: u64) -> UnixMillis {
        UnixMillis(cluster::wall(now).0.saturating_add_signed(self.ahead))
    }

    /// Returns how many milliseconds the wall clock is ahead of the time that this clock shows.
    fn wall_ahead(&self, now: u64) -> i64 {
        driver::clock_offset(Instant::from_micros(self.shows(now)), self.wall(now))
    }

    /// Sets how many milliseconds the wall clock is ahead of the true time.
    pub(super) const fn set_ahead(&mut self, ahead: i64) {
        self.ahead = ahead;
    }

    fn change(&mut self, now: u64, ppm: i32, stopped: bool) {
        *self = Self { showed: self.shows(now), at: now, ppm, stopped, ..*self };
    }

    fn rate(&self) -> u64 {
        MILLION.saturating_add_signed(i64::from(self.ppm))
    }
}

/// Returns `(value * by + plus) / over`.
fn scaled(value: u64, by: u64, over: u64, plus: u64) -> u64 {
    let product = u128::from(value) * u128::from(by) + u128::from(plus);
    u64::try_from(product / u128::from(over)).unwrap_or(u64::MAX)
}

impl Machine {
    /// Holds back an input for a suspended process, or returns it.
    pub(super) fn hold(&mut self, input: Input) -> Option<Input> {
        let Some(held) = &mut self.suspension else { return Some(input) };
        let packet = matches!(input, Input::Datagram { .. });
        held.packets += usize::from(packet);
        if !packet || held.packets <= PACKETS_MAX {
            held.inputs.push(input);
        }
        None
    }

    /// Discards the inputs that wait for a process that is gone.
    pub(super) fn discard_waiting(&mut self) {
        self.suspension = None;
    }

    pub(super) const fn is_suspended(&self) -> bool {
        self.suspension.is_some()
    }

    pub(super) const fn is_unready(&self) -> bool {
        self.unready
    }

    pub(super) const fn is_replaced(&self) -> bool {
        self.replaced
    }
}

impl EventQueue {
    /// Applies the faults of a node's machine.
    pub(super) fn apply_machine_faults(&mut self, node: NodeIndex) {
        let (mut ppm, mut asleep, mut stopped) = (0, false, false);
        let mut ahead = self.live.as_ref().map_or(0, |live| live.wall_ahead());
        let (mut unready, mut replaced) = (false, false);
        for (_, what) in self.faults.machine_faults(node) {
            match what {
                MachineFault::ClockDrift { ppm: more } => ppm += more,
                MachineFault::ClockJump { millis } => ahead += millis,
                MachineFault::MachineAsleep => asleep = true,
                MachineFault::ModelReplaced => replaced = true,
                MachineFault::ModelUnready => unready = true,
                MachineFault::ProcessStopped => stopped = true,
                MachineFault::DiskError { .. }
                | MachineFault::DiskFull
                | MachineFault::DiskSlow { .. }
                | MachineFault::InferenceCrash { .. }
                | MachineFault::InferenceError { .. }
                | MachineFault::InferenceSlow { .. }
                | MachineFault::MemoryUsed { .. } => {}
            }
        }
        self.set_clock(node, ppm.clamp(-RATE_MAX, RATE_MAX), ahead, asleep);
        self.set_suspended(node, asleep, stopped);
        self.notify_clock(node);
        let machine = &mut self.hosts[node as usize].machine;
        let before =
            (mem::replace(&mut machine.unready, unready), mem::replace(&mut machine.replaced, replaced));
        if before != (unready, replaced) {
            self.notify_models(node, &ModelState::from_ready(!unready));
        }
        if before.1 != replaced {
            self.observer.mark("model_replaced");
            // Running jobs may have read both old and new files.
            let mut jobs: Vec<_> = mem::take(&mut self.hosts[node as usize].jobs).into_keys().collect();
            if let Some(live) = &mut self.live {
                jobs.extend(live.forget_jobs(node));
            }
            for job in jobs {
                let result = Err(InferenceError::ModelChanged);
                self.handle(node, Input::InferenceDone { job, micros: 0, result });
            }
        }
    }

    /// Returns which models a node has at the moment.
    pub(super) fn model_of(&self, node: NodeIndex) -> Fingerprint {
        inference::fingerprint(self.cluster.model(node), self.hosts[node as usize].machine.replaced)
    }

    /// Tells a node which models it has and whether they are ready.
    pub(super) fn notify_models(&mut self, node: NodeIndex, state: &ModelState) {
        if self.live.is_some() {
            return self.notify_live_models(node, state);
        }
        let replaced = self.hosts[node as usize].machine.replaced;
        for ModelOffer { name, kind, fingerprint } in inference::all(self.cluster.model(node), replaced) {
            self.handle(node, Input::Model { name, kind, fingerprint, state: state.clone() });
        }
    }

    fn set_clock(&mut self, node: NodeIndex, ppm: i32, ahead: i64, stopped: bool) {
        let now = self.now;
        let host = &mut self.hosts[node as usize];
        let clock = &mut host.machine.clock;
        if mem::replace(&mut clock.ahead, ahead) != ahead {
            self.observer.mark("clock_jumped");
        }
        if (clock.ppm, clock.stopped) != (ppm, stopped) {
            if clock.ppm != ppm {
                self.observer.mark("clock_drifts");
            }
            if clock.stopped != stopped {
                self.observer.clock_stopped(Instant::from_micros(now), node, stopped);
            }
            clock.change(now, ppm, stopped);
            host.armed = None;
            self.arm(node);
        }
    }

    /// Records that a starting node reads its wall clock.
    pub(super) fn note_clock_read(&mut self, node: NodeIndex) {
        let now = self.now;
        let machine = &mut self.hosts[node as usize].machine;
        machine.reported_ahead = machine.clock.wall_ahead(now);
    }

    /// Tells a node its wall-clock time if it diverges from the monotonic clock, as the driver does.
    pub(super) fn notify_clock(&mut self, node: NodeIndex) {
        let now = self.now;
        let host = &mut self.hosts[node as usize];
        let (ahead, machine) = (host.machine.clock.wall_ahead(now), &mut host.machine);
        if host.node.is_none()
            || machine.is_suspended()
            || !driver::clocks_diverge(machine.reported_ahead, ahead)
        {
            return;
        }
        machine.reported_ahead = ahead;
        let wall = machine.clock.wall(now);
        self.handle(node, Input::ClockSet(wall));
    }

    fn set_suspended(&mut self, node: NodeIndex, asleep: bool, stopped: bool) {
        let host = &mut self.hosts[node as usize];
        let runs = host.node.is_some();
        match &mut host.machine.suspension {
            None if runs && (asleep || stopped) => {
                host.machine.suspension = Some(Suspension { asleep, ..Suspension::default() });
                self.observer.process_suspended(Instant::from_micros(self.now), node, true);
            }
            Some(held) if asleep || stopped => held.asleep |= asleep,
            Some(_) => self.resume(node),
            None => {}
        }
    }

    /// Cuts a machine's power during a write: now if it is writing, otherwise at its next write.
    pub(super) fn tear_write(&mut self, node: NodeIndex) {
        let host = &mut self.hosts[node as usize];
        if host.node.is_none() || host.disk.in_flight() > 0 {
            return self.stop(node, Stop::TornWrite);
        }
        host.machine.loses_power_on_write = true;
        self.faults.postpone(node);
    }

    /// Cuts the power of a machine that was to lose it during a write.
    pub(super) fn power_fails(&mut self, node: NodeIndex, incarnation: u32) {
        if self.is_running(node, incarnation) && self.hosts[node as usize].machine.loses_power_on_write {
            self.faults.tear(node);
            self.stop(node, Stop::TornWrite);
            self.apply_machine_faults(node);
        }
    }

    /// Resumes a process: it handles all inputs that waited for it.
    fn resume(&mut self, node: NodeIndex) {
        let Some(held) = self.hosts[node as usize].machine.suspension.take() else { return };
        self.observer.mark(if held.asleep { "machine_woke" } else { "process_continued" });
        self.observer.process_suspended(self.now(), node, false);
        for input in held.inputs {
            self.handle(node, input);
        }
        self.handle(node, Input::Tick);
    }
}

const MILLION: u64 = 1_000_000;

/// The largest sum of the drifts of one clock, in parts per million.
const RATE_MAX: i32 = 100_000;

/// The most packets that wait for a suspended process; further ones are lost, as in a socket's buffer.
const PACKETS_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_drifts_shows_each_time_once_it_is_due() {
        for ppm in [-RATE_MAX, -50, 0, 1, 333, RATE_MAX] {
            let mut clock = Clock::default();
            clock.change(1_000_000, ppm, false);
            assert_eq!(clock.shows(1_000_000), 1_000_000, "{ppm}");
            for time in [1_000_000, 1_000_001, 5_432_101, 90_000_000_007] {
                let due = clock.will_show(time).unwrap();
                assert!(clock.shows(due) >= time, "{ppm} {time}");
                assert!(due == 1_000_000 || clock.shows(due - 1) < time, "{ppm} {time}");
            }
        }
        let mut fast = Clock::default();
        fast.change(0, 100, false);
        assert_eq!(fast.shows(60_000_000), 60_006_000);
    }

    #[test]
    fn a_stopped_clock_resumes_where_it_stopped() {
        let mut clock = Clock::default();
        clock.change(5, 0, true);
        assert_eq!((clock.shows(9), clock.will_show(6)), (5, None));
        clock.change(9, 0, false);
        assert_eq!((clock.shows(12), clock.will_show(8)), (8, Some(12)));
        assert_eq!(clock.wall(7_000_000), cluster::wall(7_000_000));
    }

    #[test]
    fn waiting_packets_of_a_suspended_process_are_bounded() {
        let mut machine = Machine::default();
        assert_eq!(machine.hold(Input::Tick), Some(Input::Tick));
        machine.suspension = Some(Suspension::default());
        let from = "10.0.0.1:5353".parse().unwrap();
        for _ in 0..PACKETS_MAX + 5 {
            assert_eq!(machine.hold(Input::Datagram { interface: 1, from, bytes: Vec::new() }), None);
            assert_eq!(machine.hold(Input::Tick), None);
        }
        assert_eq!(machine.suspension.unwrap().inputs.len(), 2 * PACKETS_MAX + 5);
    }
}
