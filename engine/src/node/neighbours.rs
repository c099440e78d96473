//! What the discovery service finds out, carried to those whom it concerns.

use super::Node;
use crate::discovery;
use crate::event::Event;
use crate::place::Place;

impl Node {
    pub(super) fn handle_discovery(&mut self, fact: discovery::Fact) {
        match fact {
            discovery::Fact::Available => self.event(Event::DiscoveryAvailable),
            discovery::Fact::Confirmed(node, mut places) => {
                places.retain(|place| self.local_networks.contains(place.address.ip()));
                self.peers.handle_found(self.now, node, &places, &mut self.rng);
            }
            discovery::Fact::Found(node, mut places) => {
                places.retain(|place| self.local_networks.contains(place.address.ip()));
                if self.membership.reachable_member(node).is_some() {
                    self.discovery.handle_known(node);
                }
                self.peers.handle_found(self.now, node, &places, &mut self.rng);
                if let Some(&Place { address, .. }) = places.first() {
                    self.event(Event::NodeFound { node, address });
                }
            }
            discovery::Fact::Copied(address) => {
                self.event(Event::IdentityCopied { address: Some(address), aside: false });
            }
            discovery::Fact::Left(node) => {
                self.peers.handle_left(node);
                self.event(Event::NodeLost { node });
            }
            discovery::Fact::Unavailable => self.event(Event::DiscoveryUnavailable),
            discovery::Fact::Expired(node) => {
                self.peers.handle_unannounced(node);
                self.event(Event::NodeLost { node });
            }
        }
    }
}
