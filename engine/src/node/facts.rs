//! What the sub-machines find out or want, carried to each other and to the outside.

use super::Node;
use crate::deliveries::Outcome;
use crate::event::{Event, LinkDownReason, ReassignReason};
use crate::heartbeat;
use crate::ids::{Fingerprint, LinkId, MessageId, NodeId, TaskId, TraceId};
use crate::lifecycle::State;
use crate::mutants::{Mutant, shows};
use crate::output::{Output, Priority};
use crate::record::Record;
use crate::request::Response;
use crate::router::{self, TTL};
use crate::session::Contact;
use crate::task::{TaskKind, TaskResult};
use crate::tasks::Computed;
use crate::wire::{Advert, Assignment, Attempt, Beat, Bytes, Envelope, Message, Payload, Seal};
use crate::writes::{Promise, ending};
use crate::{health, membership, peers, tasks, worker};

impl Node {
    /// Does all that is due, and carries facts about until nobody has any more.
    pub(super) fn settle(&mut self) {
        // Facts beget facts, but each round has fewer; the bound is for the case that this is wrong.
        for _ in 0..ROUNDS_MAX {
            if self.state == State::Stopped {
                break;
            }
            // Tasks are decided on once the network has nothing more to say: nobody is given work who is just lost.
            if self.settle_network() {
                continue;
            }
            let before = self.outputs.len();
            let busy = self.settle_tasks();
            self.send_acks();
            self.settle_shutdown();
            if !busy && self.outputs.len() == before {
                break;
            }
        }
    }

    fn settle_network(&mut self) -> bool {
        let now = self.now;
        let mut busy = false;
        self.health.handle_timeout(now);
        for action in self.health.poll_actions() {
            self.handle_health(action);
        }
        self.discovery.handle_timeout(now, &mut self.rng);
        for (interface, to, bytes) in self.discovery.poll_packets() {
            self.send_packet(interface, to, bytes);
        }
        for action in self.discovery.poll_actions() {
            self.handle_discovery(action);
        }
        let membership = &self.membership;
        let members = || {
            membership.reachable().map(|(node, advert)| peers::Member {
                node,
                addresses: &advert.addresses,
                has_room: advert.has_room(),
            })
        };
        let has_room = |node| membership.reachable_member(node).map(Advert::has_room);
        self.peers.handle_timeout(now, &mut self.rng, has_room, members);
        for action in self.peers.poll_actions() {
            busy = true;
            self.handle_peers(action);
        }
        self.heartbeat.handle_timeout(now);
        for action in self.heartbeat.poll_actions() {
            busy = true;
            self.handle_heartbeat(action);
        }
        self.membership.handle_timeout(now);
        for transmit in self.membership.poll_transmits(now) {
            let (peer, message) = match transmit {
                membership::Transmit::Adverts(peer, adverts) => (peer, Message::Adverts(adverts)),
                membership::Transmit::Versions(peer, versions) => (peer, Message::Versions(versions)),
            };
            if let Some(link) = self.peers.link_to(peer) {
                self.send(link, &message, Priority::Control);
            }
        }
        for action in self.membership.poll_actions() {
            busy = true;
            self.handle_membership(action);
        }
        self.sessions.handle_timeout(now);
        self.router.handle_timeout(now);
        for action in self.router.poll_actions() {
            busy = true;
            self.handle_router(action);
        }
        busy
    }

    fn settle_tasks(&mut self) -> bool {
        let (now, wall) = (self.now, self.wall());
        let mut busy = false;
        self.tasks.handle_timeout(now, wall);
        // One may lead to another: all are told before a task is given away again.
        loop {
            let actions = self.tasks.poll_actions();
            if actions.is_empty() {
                break;
            }
            busy = true;
            actions.into_iter().for_each(|action| self.handle_tasks(action));
        }
        self.settle_explanations();
        busy |= self.settle_blobs();
        busy |= self.settle_deliveries();
        busy |= self.dispatch();
        self.worker.handle_timeout(now);
        for action in self.worker.poll_actions() {
            busy = true;
            self.handle_worker(action);
        }
        if self.purge_at.is_some_and(|due| due <= now) {
            self.purge();
        }
        if self.rewrite_at.is_some_and(|due| due <= now) {
            self.rewrite();
        }
        busy
    }

    fn handle_peers(&mut self, action: peers::Action) {
        match action {
            peers::Action::Copied(link, at) => self.send(link, &Message::Copied(at), Priority::Control),
            peers::Action::Dial(dial, address, expect) => {
                self.outputs.push_back(Output::Dial { dial, address, expect });
            }
            peers::Action::DialFailed(address, error, node) => {
                if let Some(node) = node {
                    self.discovery.handle_unreached(self.now, node, address);
                }
                self.event(Event::DialFailed { address, error });
            }
            peers::Action::Disconnect(link) => self.outputs.push_back(Output::Disconnect { link }),
            peers::Action::Probe(link) => self.heartbeat.handle_probe(self.now, link),
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
            // Another link to the same peer takes over at once. What was on its way over this one may be lost.
            LinkDownReason::Duplicate => return self.router.handle_neighbour_lost(self.now, peer),
            // So it does here, but what the peer had to do as a worker is lost.
            LinkDownReason::Restarted => {
                self.tasks.handle_worker_lost(self.now, wall, peer, true);
                self.downloader.handle_gone(peer);
                return self.router.handle_neighbour_lost(self.now, peer);
            }
            LinkDownReason::Closed => {
                self.crashed.insert(peer);
            }
            LinkDownReason::Goodbye => self.forget_origin(peer),
            LinkDownReason::Fault | LinkDownReason::Spared | LinkDownReason::Unanswered => {}
        }
        self.membership.handle_peer_down(self.now, peer);
        self.membership.handle_timeout(self.now);
        self.router.handle_neighbour_lost(self.now, peer);
    }

    fn handle_health(&mut self, action: health::Action) {
        match action {
            health::Action::Begun { write } => {
                self.outputs.push_back(Output::Examine);
                if write {
                    self.write(vec![Record::Probe], Promise::HealthCheck);
                }
            }
            health::Action::Over { report, waiters, changed } => {
                if let Some(reasons) = changed {
                    self.event(Event::HealthChanged { verdict: report.verdict, reasons });
                }
                for waiter in waiters {
                    self.reply(waiter, Ok(Response::Health(Box::new(report.clone()))));
                }
            }
        }
    }

    fn handle_heartbeat(&mut self, action: heartbeat::Action) {
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
                        self.tasks.handle_worker_lost(self.now, wall, peer, false);
                    }
                }
            }
        }
    }

    fn handle_membership(&mut self, action: membership::Action) {
        match action {
            membership::Action::Ambiguous { model, fingerprints } => {
                self.event(Event::ModelConflict { model, fingerprints });
            }
            membership::Action::Copied { fenced } => {
                self.event(Event::IdentityCopied { address: None, fenced });
                if fenced {
                    self.discovery.handle_copied();
                    self.peers.handle_copied();
                }
            }
            membership::Action::Doubled { member, copy } => self.peers.handle_copy(self.now, member, copy),
            membership::Action::Joined(member) => {
                self.event(Event::MemberJoined { member });
                self.discovery.handle_known(member);
                self.router.handle_destination_found(self.now, member);
                self.meet(member);
            }
            membership::Action::Left(member) => {
                self.event(Event::MemberLeft { member });
                let (wall, died) = (self.wall(), self.crashed.remove(&member));
                if !shows(Mutant::WorkerLossIgnored) {
                    self.tasks.handle_worker_lost(self.now, wall, member, died);
                }
                self.scheduler.handle_gone(member);
                self.worker.handle_origin_lost(self.now, member);
                self.downloader.handle_gone(member);
                self.router.handle_destination_lost(member);
                self.discovery.handle_gone(self.now, member, &mut self.rng);
            }
        }
    }

    fn handle_router(&mut self, action: router::Action) {
        match action {
            router::Action::Transmit { envelope, avoid, retry } => {
                let (message, destination, ttl) = (envelope.message, envelope.destination, envelope.ttl);
                self.event(Event::MessageSent { message, destination, ttl, retry });
                let Some(next) = self.membership.next_hop(destination, avoid) else { return };
                if self.peers.link_to(next).is_some() {
                    self.router.handle_transmitted(message, next);
                    self.hand_over(next, envelope, Priority::Bulk);
                }
            }
            router::Action::Failed(envelope, waiter) => {
                let (message, destination) = (envelope.message, envelope.destination);
                self.event(Event::MessageUnacknowledged { message, destination });
                if let Some(waiter) = waiter {
                    self.handle_pinged(waiter, None);
                }
                if let Ok(Payload::Assign(assignment)) = Payload::decode(&envelope.payload) {
                    let reason = ReassignReason::Unreachable;
                    self.tasks.handle_returned(destination, assignment.attempt, reason);
                }
                self.deliveries.handle_failed(self.now, message, envelope.payload);
            }
        }
    }

    fn handle_tasks(&mut self, action: tasks::Action) {
        match action {
            tasks::Action::Check(worker, attempts) => self.check(worker, attempts),
            tasks::Action::Ending(result) => self.end(*result),
            tasks::Action::Progressed(task) => self.answer_watchers(task),
            tasks::Action::Reassigned(attempt, worker, reason) => {
                let took = (reason == ReassignReason::LeaseExpired).then_some(tasks::LEASE);
                self.scheduler.handle_returned(attempt.task, worker, took);
                self.withdraw_assignment(attempt.task);
                if reason == ReassignReason::Refused {
                    self.scheduler.handle_full(self.now, worker);
                }
                if reason == ReassignReason::LeaseExpired || reason == ReassignReason::Unreachable {
                    // Should it live after all, it need not go on.
                    self.release(attempt, worker);
                }
                let task = attempt.task;
                self.event(Event::TaskReassigned { task, worker, reason });
            }
            tasks::Action::Release(attempt, worker) => {
                self.scheduler.handle_returned(attempt.task, worker, None);
                self.release(attempt, worker);
            }
        }
    }

    fn release(&mut self, attempt: Attempt, worker: NodeId) {
        if worker == self.me {
            self.worker.handle_release(self.me, attempt);
        } else if self.membership.hops(worker).is_some() && !shows(Mutant::CancelNotSent) {
            self.send_payload(worker, &Payload::Cancel(attempt), TraceId([0; 16]));
        }
    }

    /// Has an assignment not be sent again that its worker may not have heard of yet, for it is no longer the worker's.
    fn withdraw_assignment(&mut self, task: TaskId) {
        if let Some(message) = self.assigning.remove(&task) {
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

    fn handle_worker(&mut self, action: worker::Action) {
        match action {
            worker::Action::Begun(origin, attempt) => {
                let (task, number) = (attempt.task, attempt.number);
                self.event(Event::TaskStarted { task, origin, attempt: number });
                if origin == self.me {
                    self.tasks.handle_renewed(self.now, self.me, attempt, true);
                } else {
                    self.send_payload(origin, &Payload::Started(attempt), TraceId([0; 16]));
                }
            }
            worker::Action::Cancel(job) => self.outputs.push_back(Output::Cancel { job }),
            worker::Action::Declined(origin, attempt) => {
                if origin == self.me {
                    self.tasks.handle_returned(self.me, attempt, ReassignReason::Refused);
                } else {
                    self.send_payload(origin, &Payload::Decline(attempt), TraceId([0; 16]));
                }
            }
            worker::Action::HandedBack(origin, attempt) => {
                if origin == self.me {
                    self.tasks.handle_returned(self.me, attempt, ReassignReason::HandedBack);
                } else if self.membership.hops(origin).is_some() {
                    self.send_payload(origin, &Payload::HandBack(attempt), TraceId([0; 16]));
                }
            }
            worker::Action::Infer(job, model, fingerprint, work) => {
                self.outputs.push_back(Output::Infer { job, model, fingerprint, work });
            }
            worker::Action::Outcome(origin, attempt, fingerprint, micros, result) => {
                if origin == self.me {
                    let computed = Computed { fingerprint, micros, result };
                    self.handle_outcome(self.me, attempt, computed, None);
                } else {
                    let (task, output) = (attempt.task, result.is_ok().then_some(fingerprint));
                    let payload = Payload::Outcome { attempt, fingerprint, micros, result }.encode();
                    self.send_outcome(Outcome { origin, task, output, payload });
                }
            }
            worker::Action::Progress(origin, piece) => {
                if origin == self.me {
                    self.tasks.handle_progress(self.now, self.me, piece);
                } else {
                    self.send_payload(origin, &Payload::Progress(piece), TraceId([0; 16]));
                }
            }
            worker::Action::Renew(origin, attempts) if origin == self.me => {
                self.handle_all_here(origin, attempts);
            }
            worker::Action::Renew(origin, attempts) => {
                self.send_payload(origin, &Payload::Renew(attempts), TraceId([0; 16]));
            }
        }
    }

    /// Gives waiting tasks to workers for as long as some worker has room.
    fn dispatch(&mut self) -> bool {
        if self.state != State::Active {
            return false;
        }
        let mut busy = false;
        let mut none_for: Vec<(TaskKind, String, Option<Fingerprint>)> = Vec::new();
        let waiting: Vec<TaskId> = self.tasks.waiting().map(|task| task.id).collect();
        for task in waiting {
            let Some(stored) = self.tasks.get(task).map(|open| &open.stored) else { continue };
            let (kind, trace) = (stored.spec.kind(), stored.trace);
            let model = stored.spec.model.as_deref().unwrap_or_default();
            let fingerprint = stored.choice.map(|choice| choice.fingerprint);
            if none_for.iter().any(|(none, of, which)| *none == kind && of == model && *which == fingerprint)
            {
                continue;
            }
            let model = model.to_owned();
            let candidates =
                fingerprint.map(|which| self.candidates(kind, &model, which)).unwrap_or_default();
            if candidates.is_empty() && self.settle_hopeless(task) {
                busy = true;
                continue;
            }
            let Some(worker) = self.scheduler.choose(self.now, candidates.into_iter(), &mut self.rng) else {
                none_for.push((kind, model, fingerprint));
                continue;
            };
            let Some(assignment) = self.tasks.assign(self.now, task, worker) else { continue };
            busy = true;
            self.scheduler.handle_assigned(task, worker);
            self.event(Event::TaskAssigned { task, worker, attempt: assignment.attempt.number });
            self.assign(worker, assignment, trace);
        }
        busy
    }

    fn assign(&mut self, worker: NodeId, assignment: Assignment, trace: TraceId) {
        if worker == self.me {
            self.worker.handle_assignment(self.now, self.me, assignment);
        } else {
            let task = assignment.attempt.task;
            let message = self.send_payload(worker, &Payload::Assign(assignment), trace);
            self.assigning.insert(task, message);
        }
    }

    /// Sends a payload that is acknowledged, end to end, and returns its message's name.
    pub(super) fn send_payload(
        &mut self,
        destination: NodeId,
        payload: &Payload,
        trace: TraceId,
    ) -> MessageId {
        let envelope = self.envelope(destination, payload.encode(), trace);
        let message = envelope.message;
        self.router.send(self.now, envelope, None);
        message
    }

    /// Sends a payload that is not sent again, and returns its message's name.
    pub(super) fn send_once(&mut self, destination: NodeId, payload: &Payload, trace: TraceId) -> MessageId {
        let envelope = self.envelope(destination, payload.encode(), trace);
        let message = envelope.message;
        if let Some(next) = self.membership.next_hop(destination, None) {
            self.hand_over(next, envelope, Priority::Control);
        }
        message
    }

    /// Sends a payload that is not sent again and goes when nothing else waits.
    pub(super) fn send_in_background(&mut self, destination: NodeId, payload: &Payload) {
        let envelope = self.envelope(destination, payload.encode(), TraceId([0; 16]));
        if let Some(next) = self.membership.next_hop(destination, None) {
            self.hand_over(next, envelope, Priority::Background);
        }
    }

    /// Sends a payload that nobody waits for and nobody need believe.
    pub(super) fn send_hint(&mut self, destination: NodeId, payload: &Payload, trace: TraceId) {
        let envelope = self.envelope(destination, payload.encode(), trace);
        let next = self.membership.next_hop(destination, None);
        if let Some(link) = next.and_then(|next| self.peers.link_to(next)) {
            self.send_frame(link, envelope.encode_frame(), Priority::Control);
        }
    }

    /// Hands an envelope of this node's own to a neighbour, sealed where that is not its destination.
    fn hand_over(&mut self, next: NodeId, mut envelope: Envelope, priority: Priority) {
        let Some(link) = self.peers.link_to(next) else { return };
        if next != envelope.destination {
            let Some(contact) = self.contact(envelope.destination) else { return };
            if self.sessions.seal(self.now, &contact, &mut envelope, &mut self.rng).is_err() {
                return;
            }
        }
        self.send_frame(link, envelope.encode_frame(), priority);
    }

    /// Returns how to reach a member end to end.
    pub(super) fn contact(&self, node: NodeId) -> Option<Contact> {
        let advert = self.membership.advert(node)?;
        Some(Contact { node, incarnation: advert.incarnation, key: advert.session_key })
    }

    pub(super) fn envelope(&mut self, destination: NodeId, payload: Bytes, trace: TraceId) -> Envelope {
        Envelope {
            ttl: TTL,
            hops: 0,
            message: self.new_message_id(),
            origin: self.me,
            destination,
            trace,
            sent_at: self.wall(),
            seal: Seal::None,
            payload,
        }
    }

    /// Names a message by a UUID that begins with the time (RFC 9562, version 7): names given one after the other lie
    /// close together in every map of them.
    fn new_message_id(&mut self) -> MessageId {
        let mut id = self.rng.id();
        id[..6].copy_from_slice(&self.wall().0.to_be_bytes()[2..]);
        id[6] = id[6] & 0x0f | 0x70;
        id[8] = id[8] & 0x3f | 0x80;
        MessageId(id)
    }

    pub(super) fn beat(&self, number: u32) -> Beat {
        let load = u16::try_from(self.worker.len()).unwrap_or(u16::MAX);
        Beat { number, digest: self.membership.digest(), load }
    }
}

const ROUNDS_MAX: usize = 64;
