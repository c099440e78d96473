//! A node writes only valid pieces of a file that it fetches, and reports the file as fetched only if it is the
//! requested one. It asks no peer again that sent an invalid piece.
//!
//! A SHA-256 hash can only be checked against the whole file. Until then the pieces may be those of another file,
//! which nobody gets to see.

use crate::cluster::Cluster;
use crate::invariant::{DirectMessage, Interests, Invariant, Observation};
use crate::node_set::NodeIndex;
use crate::simulated_file::SimulatedFile;
use engine::blobs::{BlobOrder, Hash, Pin};
use engine::request::{FetchSpec, Request, Response};
use engine::wire::Payload;
use engine::{Event, Input, Instant, NodeId, Output, PeerFault, RequestId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Knows the true content of the files.
#[derive(Debug)]
pub(super) struct FetchedFilesAreTrue {
    cluster: Arc<Cluster>,
    nodes: Vec<Fetches>,
    checks: u64,
}

/// What one process has requested.
#[derive(Debug, Default)]
struct Fetches {
    wanted: BTreeMap<RequestId, FetchSpec>,
    /// Peers that sent an invalid piece.
    forgers: BTreeSet<NodeId>,
}

pub(super) const NAME: &str = "fetched_files_are_true";

impl FetchedFilesAreTrue {
    pub(super) fn new(cluster: Arc<Cluster>) -> Self {
        let nodes = (0..cluster.len()).map(|_| Fetches::default()).collect();
        Self { cluster, nodes, checks: 0 }
    }

    fn file(&self, root: Hash) -> Option<&SimulatedFile> {
        self.cluster.files.iter().find(|file| file.blob.root == root)
    }

    /// Returns whether a file is the requested one.
    fn is_meant(&self, spec: FetchSpec, root: Hash) -> bool {
        match spec.pin {
            Pin::Blake3(wanted) => wanted == root,
            // The first file with this name is the true one.
            Pin::Sha256(name) => {
                let true_one = self.cluster.files.iter().find(|file| file.sha256 == name);
                true_one.is_some_and(|file| file.blob.root == root)
            }
        }
    }
}

impl Invariant for FetchedFilesAreTrue {
    fn name(&self) -> &'static str {
        NAME
    }

    fn interests(&self) -> Interests {
        Interests::EVENTS | Interests::INPUTS | Interests::OUTPUTS | Interests::MESSAGES
    }

    fn observe(&mut self, _: Instant, node: NodeIndex, observation: Observation<'_>) -> Result<(), String> {
        #[allow(clippy::wildcard_enum_match_arm, reason = "only these concern files")]
        match observation {
            Observation::Started => self.nodes[node as usize] = Fetches::default(),
            Observation::Input(Input::Request { id, request: Request::Fetch(spec) }) => {
                self.nodes[node as usize].wanted.insert(*id, *spec);
            }
            Observation::Output(Output::Blob(BlobOrder::Write { root, piece, bytes, .. })) => {
                self.checks += 1;
                let right = self.file(*root).and_then(|file| file.part(*piece));
                if right != Some(bytes) {
                    return Err(format!("piece {piece} of {root} is written to the disk but is invalid"));
                }
            }
            Observation::Output(Output::Event(Event::PeerFault { peer, fault: PeerFault::PieceForged })) => {
                self.nodes[node as usize].forgers.insert(*peer);
            }
            Observation::Output(Output::Reply { id, answer: Ok(Response::Fetched(fetched)) }) => {
                self.checks += 1;
                let spec = self.nodes[node as usize].wanted.remove(id);
                if !spec.is_some_and(|spec| self.is_meant(spec, fetched.blob.root)) {
                    return Err(format!("{} was fetched, but another file was requested", fetched.blob.root));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn observe_message(
        &mut self,
        _: Instant,
        node: NodeIndex,
        message: &DirectMessage<'_>,
    ) -> Result<(), String> {
        if message.sent && matches!(message.payload, Payload::PieceWanted { .. }) {
            self.checks += 1;
            if self.nodes[node as usize].forgers.contains(&message.destination) {
                let forger = self.cluster.name(message.destination);
                return Err(format!("{forger} was asked for a piece again after sending an invalid one"));
            }
        }
        Ok(())
    }

    fn checks(&self) -> u64 {
        self.checks
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::testing::at;
    use crate::scenario::Scenario;
    use engine::MessageId;
    use engine::request::Fetched;

    fn invariant() -> FetchedFilesAreTrue {
        let text = "nodes = 2\nduration = \"60s\"\n[[file]]\nbytes = 300_000\nholders = [\"n0\", \"n1\"]\n\
            [[host]]\nnode = \"n1\"\nhostile = [\"wrong_files\"]\n";
        let cluster = Cluster::new(&Scenario::parse("files", text).unwrap(), 1, None);
        FetchedFilesAreTrue::new(Arc::new(cluster))
    }

    #[test]
    fn a_piece_that_is_not_of_the_file_is_wrong() {
        let mut invariant = invariant();
        let root = invariant.cluster.files[0].blob.root;
        let mut bytes = invariant.cluster.files[0].part(1).unwrap().to_vec();
        let write = |bytes: &[u8]| {
            Output::Blob(BlobOrder::Write { root, piece: 1, bytes: bytes.to_vec(), leaf: Hash([0; 32]) })
        };
        assert_eq!(invariant.observe(at(1), 1, Observation::Output(&write(&bytes))), Ok(()));
        bytes[7] ^= 1;
        assert!(invariant.observe(at(1), 1, Observation::Output(&write(&bytes))).is_err());
    }

    #[test]
    fn another_file_than_was_asked_for_is_wrong() {
        let mut invariant = invariant();
        let (right, wrong) = (invariant.cluster.files[0].blob, invariant.cluster.files[1].blob);
        let name = invariant.cluster.files[0].sha256;
        for (pin, given, good) in [
            (Pin::Blake3(right.root), right, true),
            (Pin::Blake3(right.root), wrong, false),
            (Pin::Sha256(name), right, true),
            (Pin::Sha256(name), wrong, false),
        ] {
            let (id, request) = (RequestId(1), Request::Fetch(FetchSpec { pin, bytes: right.bytes }));
            invariant.observe(at(1), 1, Observation::Input(&Input::Request { id, request })).unwrap();
            let answer = Ok(Response::Fetched(Fetched { blob: given, peers: 1, elapsed_micros: 1 }));
            let reply = Output::Reply { id, answer };
            assert_eq!(invariant.observe(at(1), 1, Observation::Output(&reply)).is_ok(), good, "{pin:?}");
        }
    }

    #[test]
    fn to_ask_a_forger_again_is_wrong() {
        let mut invariant = invariant();
        let peer = invariant.cluster.id(0);
        let payload = Payload::PieceWanted { root: Hash([1; 32]), number: 0 };
        let (message, origin) = (MessageId([1; 16]), invariant.cluster.id(1));
        let message = DirectMessage {
            sent: true,
            id: message,
            origin,
            destination: peer,
            payload: &payload,
            trace: engine::TraceContext::NONE,
        };
        assert_eq!(invariant.observe_message(at(1), 1, &message), Ok(()));
        let found_out = Output::Event(Event::PeerFault { peer, fault: PeerFault::PieceForged });
        invariant.observe(at(1), 1, Observation::Output(&found_out)).unwrap();
        assert!(invariant.observe_message(at(1), 1, &message).is_err());
        invariant.observe(at(2), 1, Observation::Started).unwrap();
        assert_eq!(invariant.observe_message(at(2), 1, &message), Ok(()), "it has forgotten");
    }
}
