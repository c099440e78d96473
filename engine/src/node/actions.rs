//! Routes the actions of sub-machines to other sub-machines and to the outside.

use super::Node;
use crate::deliveries::Outcome;
use crate::event::{Event, LinkDownReason, PayloadKind, ReassignReason};
use crate::heartbeat;
use crate::ids::{LinkId, NodeId, TaskId};
use crate::mutants::{Mutant, shows};
use crate::output::{Output, Priority};
use crate::record::Record;
use crate::request::Response;
use crate::router;
use crate::task::TaskResult;
use crate::tasks::Computed;
use crate::time::micros;
use crate::wire::{Attempt, Message, Payload};
use crate::writes::{Promise, ending};
use crate::{health, membership, peers, tasks, worker};

impl Node {
    pub(super) fn handle_peers(&mut self, action: peers::Action) {
        match action {
            peers::Action::Copied(link, at) => self.send(link, &Message::Copied(at), Priority::Control),
            peers::Action::Dial(dial, address, expect) => {
                self.outputs.push_back(Output::Dial { dial, address, expect });
            }
            peers::Action::DialFailed(address, error, node) => {
                if let Some(node) = node {
                    self.discovery.handle_unreached(self.clock.now, node, address);
                }
                self.event(Event::DialFailed { address, error });
            }
            peers::Action::Disconnect(link) => self.outputs.push_back(Output::Disconnect { link }),
            peers::Action::Probe(link) => self.heartbeat.handle_probe(self.clock.now, link),
            peers::Action::Down(link, peer, reason) => self.handle_peer_down(link, peer, reason),
            peers::Action::Fault(peer, fault) => self.event(Event::PeerFault { peer, fault }),
            peers::Action::Refuse(link, peer, reason) => {
                self.send(link, &Message::Refuse(reason), Priority::Control);
                self.outputs.push_back(Output::Disconnect { link });
                self.event(Event::LinkRefused { peer, reason, by_us: true });
            }
            peers::Action::Refused(peer, reason) => {
                self.event(Event::LinkRefused { peer, reason, by_us: false });
            }
            peers::Action::SayHello(link) => self.say_hello(link),
            peers::Action::SayWelcome(link) => self.send(link, &Message::Welcome, Priority::Control),
            peers::Action::Up(link, peer, address, dialled) => {
                self.handle_link_up(link, peer, address, dialled);
            }
        }
    }

    fn handle_peer_down(&mut self, link: LinkId, peer: NodeId, reason: LinkDownReason) {
        self.heartbeat.handle_down(link);
        self.loads.remove(&peer);
        self.event(Event::LinkDown { link, peer, reason });
        let wall = self.wall();
        match reason {
            // Another link to the peer takes over at once. Messages in flight on this one may be lost.
            LinkDownReason::Duplicate => return self.router.handle_neighbour_lost(self.clock.now, peer),
            // The same here, but the peer's attempts as a worker are lost.
            LinkDownReason::Restarted => {
                self.tasks.handle_worker_lost(self.clock.now, wall, peer, true);
                self.downloader.handle_gone(peer);
                return self.router.handle_neighbour_lost(self.clock.now, peer);
            }
            LinkDownReason::Closed => {
                self.crashed.insert(peer);
            }
            LinkDownReason::Goodbye => self.forget_origin(peer),
            LinkDownReason::Fault | LinkDownReason::Spared | LinkDownReason::Unanswered => {}
        }
        self.membership.handle_peer_down(self.clock.now, peer);
        self.membership.handle_timeout(self.clock.now);
        self.router.handle_neighbour_lost(self.clock.now, peer);
    }

    pub(super) fn handle_health(&mut self, action: health::Action) {
        match action {
            health::Action::Begun { write } => {
                self.outputs.push_back(Output::Examine);
                if write {
                    self.write(vec![Record::Probe], Promise::HealthCheck);
                }
            }
            health::Action::Over { report, waiters, changed } => {
                self.observers.alerts.handle_health(&report);
                if let Some(reasons) = changed {
                    self.event(Event::HealthChanged { verdict: report.verdict, reasons });
                }
                for waiter in waiters {
                    self.reply(waiter, Ok(Response::Health(Box::new(report.clone()))));
                }
            }
        }
    }

    pub(super) fn handle_heartbeat(&mut self, action: heartbeat::Action) {
        match action {
            heartbeat::Action::Ping(link, number) => {
                let beat = self.beat(number);
                self.send(link, &Message::Ping(beat), Priority::Control);
            }
            heartbeat::Action::Dead(link) => {
                if let Some(peer) = self.peers.peer_of(link) {
                    self.event(Event::PeerDead { peer });
                }
                self.peers.close(link, LinkDownReason::Unanswered);
            }
            heartbeat::Action::Recovered(link) => {
                if let Some(peer) = self.peers.peer_of(link) {
                    self.event(Event::PeerRecovered { peer });
                }
            }
            heartbeat::Action::Slow(link) => {
                if let Some(peer) = self.peers.peer_of(link) {
                    self.event(Event::PeerSlow { peer });
                    let wall = self.wall();
                    if !shows(Mutant::SlowKeepsTasks) {
                        self.tasks.handle_worker_lost(self.clock.now, wall, peer, false);
                    }
                }
            }
        }
    }

    pub(super) fn handle_membership(&mut self, action: membership::Action) {
        match action {
            membership::Action::Ambiguous { model, fingerprints } => {
                self.event(Event::ModelConflict { model, fingerprints });
            }
            membership::Action::Copied { fenced } => {
                self.event(Event::IdentityCopied { address: None, fenced });
                if fenced {
                    self.discovery.handle_fenced();
                    self.peers.handle_fenced();
                }
            }
            membership::Action::Doubled { member, copy } => {
                self.peers.handle_duplicate(self.clock.now, member, copy)
            }
            membership::Action::Joined(member) => {
                self.event(Event::MemberJoined { member });
                self.discovery.handle_known(member);
                self.router.handle_destination_found(self.clock.now, member);
                self.reconcile(member);
            }
            membership::Action::Left(member) => {
                self.event(Event::MemberLeft { member });
                let (wall, died) = (self.wall(), self.crashed.remove(&member));
                if !shows(Mutant::WorkerLossIgnored) {
                    self.tasks.handle_worker_lost(self.clock.now, wall, member, died);
                }
                self.scheduler.handle_gone(member);
                self.worker.handle_origin_unreachable(self.clock.now, member);
                self.downloader.handle_gone(member);
                self.router.handle_destination_lost(member);
                self.discovery.handle_gone(self.clock.now, member, &mut self.rng);
            }
        }
    }

    pub(super) fn handle_router(&mut self, action: router::Action) {
        match action {
            router::Action::Transmit { envelope, avoid, retry } => {
                let (message, destination, ttl) = (envelope.message, envelope.destination, envelope.ttl);
                let (payload, trace) = (PayloadKind::of(&envelope.payload.0), envelope.trace);
                let next = self.membership.next_hop(destination, avoid);
                self.event(Event::MessageSent { message, destination, ttl, retry, next, payload, trace });
                let Some(next) = next else { return };
                if self.peers.link_to(next).is_some() {
                    self.router.handle_transmitted(message, next);
                    self.hand_over(next, envelope, Priority::Bulk);
                }
            }
            router::Action::Failed(envelope, waiter) => {
                let (message, destination) = (envelope.message, envelope.destination);
                let (payload, trace) = (PayloadKind::of(&envelope.payload.0), envelope.trace);
                self.event(Event::MessageUnacknowledged { message, destination, payload, trace });
                if let Some(waiter) = waiter {
                    self.handle_pinged(waiter, None);
                }
                if let Ok(Payload::Assign(assignment)) = Payload::decode(&envelope.payload) {
                    self.handle_unassigned(destination, assignment.attempt);
                }
                self.deliveries.handle_failed(self.clock.now, message, envelope.payload);
            }
        }
    }

    pub(super) fn handle_tasks(&mut self, action: tasks::Action) {
        match action {
            tasks::Action::Check(worker, attempts) => self.check(worker, attempts),
            tasks::Action::Ending(result) => self.end(*result),
            tasks::Action::Progressed(task) => self.answer_watchers(task),
            tasks::Action::Reassigned(attempt, worker, reason) => {
                let took = (reason == ReassignReason::LeaseExpired).then_some(tasks::LEASE);
                self.scheduler.handle_returned(attempt.task, worker, took);
                self.withdraw_assignment(attempt.task);
                if reason == ReassignReason::Refused {
                    self.scheduler.handle_full(self.clock.now, worker);
                }
                if reason == ReassignReason::LeaseExpired || reason == ReassignReason::Unreachable {
                    // If the worker is alive after all, it need not continue.
                    self.release(attempt, worker);
                }
                let Attempt { task, number: attempt } = attempt;
                let trace = self.trace_of(task);
                if let Some(kind) = self.tasks.get(task).map(|open| open.stored.spec.kind()) {
                    self.event(Event::TaskReassigned { task, worker, reason, attempt, kind, trace });
                }
            }
            tasks::Action::Release(attempt, worker) => {
                self.scheduler.handle_returned(attempt.task, worker, None);
                self.release(attempt, worker);
            }
        }
    }

    /// Takes back an attempt whose assignment its worker has not acknowledged.
    fn handle_unassigned(&mut self, worker: NodeId, attempt: Attempt) {
        let open = self.tasks.get(attempt.task).filter(|open| open.stored.attempts == attempt.number);
        if let Some(open) = open {
            // As with a lease, it took at least that long. Otherwise the worker would seem as fast as before.
            let took = self.clock.now.since(open.assigned_at);
            self.scheduler.handle_returned(attempt.task, worker, Some(took));
        }
        self.tasks.handle_returned(worker, attempt, ReassignReason::Unreachable);
    }

    fn release(&mut self, attempt: Attempt, worker: NodeId) {
        if worker == self.me {
            self.worker.handle_release(self.me, attempt);
        } else if self.membership.hops(worker).is_some() && !shows(Mutant::CancelNotSent) {
            self.send_payload(worker, &Payload::Cancel(attempt), self.trace_of(attempt.task));
        }
    }

    /// Stops retransmitting an unacknowledged assignment that was taken from its worker.
    fn withdraw_assignment(&mut self, task: TaskId) {
        if let Some(message) = self.in_flight.assigning.remove(&task) {
            self.router.withdraw(message);
        }
    }

    pub(super) fn end(&mut self, result: TaskResult) {
        self.scheduler.handle_ended(result.summary.id);
        self.withdraw_assignment(result.summary.id);
        if shows(Mutant::ResultToldBeforeDurable) {
            self.write(ending(result.clone()), Promise::Nothing);
            return self.handle_end_written(result);
        }
        self.write(ending(result.clone()), Promise::End(Box::new(result)));
    }

    pub(super) fn handle_worker(&mut self, action: worker::Action) {
        match action {
            worker::Action::Begun(origin, attempt, begun) => {
                let worker::Begun { kind, model, queued_since, batch, trace } = begun;
                let (task, number) = (attempt.task, attempt.number);
                let queued_micros = micros(self.clock.now.since(queued_since));
                self.event(Event::TaskStarted {
                    task,
                    origin,
                    attempt: number,
                    kind,
                    model,
                    queued_micros,
                    batch,
                    trace,
                });
                if origin == self.me {
                    self.tasks.handle_renewed(self.clock.now, self.me, attempt, true);
                } else {
                    self.send_payload(origin, &Payload::Started(attempt), trace);
                }
            }
            worker::Action::Cancel(job) => self.outputs.push_back(Output::Cancel { job }),
            worker::Action::Declined(origin, attempt, trace) => {
                if origin == self.me {
                    self.tasks.handle_returned(self.me, attempt, ReassignReason::Refused);
                } else {
                    self.send_payload(origin, &Payload::Decline(attempt), trace);
                }
            }
            worker::Action::Ended(ended) => {
                let now = self.clock.now;
                self.event(Event::AttemptEnded(Box::new(ended.at(now))));
            }
            worker::Action::HandedBack(origin, attempt, trace) => {
                if origin == self.me {
                    self.tasks.handle_returned(self.me, attempt, ReassignReason::HandedBack);
                } else if self.membership.hops(origin).is_some() {
                    self.send_payload(origin, &Payload::HandBack(attempt), trace);
                }
            }
            worker::Action::Infer(job, model, fingerprint, work) => {
                self.observers.metrics.handle_job(&work);
                self.outputs.push_back(Output::Infer { job, model, fingerprint, work });
            }
            worker::Action::Outcome { origin, attempt, fingerprint, micros, result, trace } => {
                if origin == self.me {
                    let computed = Computed { fingerprint, micros, result };
                    self.handle_outcome(self.me, attempt, computed, None, trace);
                } else {
                    let (task, output) = (attempt.task, result.is_ok().then_some(fingerprint));
                    let payload = Payload::Outcome { attempt, fingerprint, micros, result }.encode();
                    self.send_outcome(Outcome { origin, task, output, payload, trace });
                }
            }
            worker::Action::Progress(origin, piece, trace) => {
                if origin == self.me {
                    self.tasks.handle_progress(self.clock.now, self.me, piece);
                } else {
                    self.send_payload(origin, &Payload::Progress(piece), trace);
                }
            }
            worker::Action::Renew(origin, attempts, _) if origin == self.me => {
                self.handle_all_here(origin, attempts);
            }
            worker::Action::Renew(origin, attempts, trace) => {
                self.send_payload(origin, &Payload::Renew(attempts), trace);
            }
        }
    }
}
