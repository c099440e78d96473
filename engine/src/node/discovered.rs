//! Routes the actions of the discovery service.

use super::Node;
use crate::discovery::{self, Destination};
use crate::event::Event;
use crate::output::Output;
use crate::place::Place;

impl Node {
    /// Sends a packet of the discovery service. Unicast packets go to local networks only.
    pub(super) fn send_packet(&mut self, interface: u32, to: Destination, bytes: Vec<u8>) {
        match to {
            Destination::Group(family) => {
                self.outputs.push_back(Output::Multicast { interface, family, bytes });
            }
            Destination::Node(to) if self.local_networks.contains(to.ip()) => {
                self.outputs.push_back(Output::Unicast { interface, to, bytes });
            }
            Destination::Node(_) => {}
        }
    }

    pub(super) fn handle_discovery(&mut self, action: discovery::Action) {
        match action {
            discovery::Action::Available => self.event(Event::DiscoveryAvailable),
            discovery::Action::Confirmed(node, mut places) => {
                places.retain(|place| self.local_networks.contains(place.address.ip()));
                self.peers.handle_found(self.clock.now, node, &places, &mut self.rng);
            }
            discovery::Action::Found(node, mut places) => {
                places.retain(|place| self.local_networks.contains(place.address.ip()));
                if self.membership.reachable_member(node).is_some() {
                    self.discovery.handle_known(node);
                }
                self.peers.handle_found(self.clock.now, node, &places, &mut self.rng);
                if let Some(&Place { address, .. }) = places.first() {
                    self.event(Event::NodeFound { node, address });
                }
            }
            discovery::Action::Copied(address) => {
                self.event(Event::IdentityCopied { address: Some(address), fenced: false });
            }
            discovery::Action::Left(node) => {
                self.peers.handle_left(node);
                self.event(Event::NodeLost { node });
            }
            discovery::Action::Unavailable => self.event(Event::DiscoveryUnavailable),
            discovery::Action::Expired(node) => {
                self.peers.handle_unannounced(node);
                self.event(Event::NodeLost { node });
            }
        }
    }
}
