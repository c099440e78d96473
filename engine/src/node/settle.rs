//! The settle loop: after each input, handles due timeouts and routes the actions of sub-machines until none are left.

use super::Node;
use crate::lifecycle::State;
use crate::membership;
use crate::output::Priority;
use crate::peers;
use crate::wire::{Advert, Message};

impl Node {
    /// Handles all due timeouts and routes actions until none are left.
    pub(super) fn settle(&mut self) {
        // Actions cause further actions, but fewer in each round. The bound is a safeguard.
        for _ in 0..ROUNDS_MAX {
            if self.state == State::Stopped {
                break;
            }
            // Tasks are handled only once the network is settled, so that none is assigned to a worker that was just
            // lost.
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
        let now = self.clock.now;
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
        let (now, wall) = (self.clock.now, self.wall());
        let mut busy = false;
        self.tasks.handle_timeout(now, wall);
        // One action may cause another. All are handled before a task is assigned again.
        loop {
            let actions = self.tasks.poll_actions();
            if actions.is_empty() {
                break;
            }
            busy = true;
            actions.into_iter().for_each(|action| self.handle_tasks(action));
        }
        busy |= self.settle_alerts();
        self.settle_explanations();
        self.settle_traces();
        busy |= self.settle_blobs();
        busy |= self.settle_deliveries();
        busy |= self.dispatch();
        self.worker.handle_timeout(now);
        for action in self.worker.poll_actions() {
            busy = true;
            self.handle_worker(action);
        }
        if self.in_flight.purge_at.is_some_and(|due| due <= now) {
            self.purge();
        }
        if self.in_flight.rewrite_at.is_some_and(|due| due <= now) {
            self.rewrite();
        }
        busy
    }
}

const ROUNDS_MAX: usize = 64;
