//! The provider: reads pieces of shared files for peers that request them.
//!
//! A node provides shared files to any peer that knows their hash, within limits: the reads in progress are bounded per
//! peer and in total. A request above the limit is refused as busy. No path ever comes from a peer: a file is found by
//! its hash among the shared ones.

use crate::blobs::{BlobError, BlobId, Hash, Piece, Pin, SHARED_MAX, SharedBlob};
use crate::ids::{NodeId, ReadId};
use crate::occupancy::Occupancy;
use std::collections::BTreeMap;

/// A command to the parent or a report to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Send a piece to a peer.
    Give(NodeId, Hash, u32, Piece),
    /// Read a piece.
    Read(ReadId, Hash, u32),
    /// Refuse a request for a piece: the file is gone if `true`, otherwise this node is busy.
    Refuse(NodeId, Hash, u32, bool),
}

/// The shared files, and the reads in progress.
#[derive(Debug, Default)]
pub(crate) struct Provider {
    files: BTreeMap<Hash, BlobId>,
    by_sha256: BTreeMap<Hash, BlobId>,
    reads: BTreeMap<ReadId, (NodeId, Hash, u32)>,
    next_read: u64,
    actions: Vec<Action>,
}

impl Provider {
    /// Replaces the set of shared files. If there are too many, the first ones count.
    pub(crate) fn handle_shared(&mut self, shared: Vec<SharedBlob>) {
        self.files.clear();
        self.by_sha256.clear();
        for SharedBlob { blob, sha256 } in shared.into_iter().take(SHARED_MAX) {
            self.files.insert(blob.root, blob);
            if let Some(sha256) = sha256 {
                self.by_sha256.insert(sha256, blob);
            }
        }
    }

    /// Returns a shared file.
    pub(crate) fn find(&self, pin: Pin) -> Option<BlobId> {
        match pin {
            Pin::Blake3(root) => self.files.get(&root),
            Pin::Sha256(sha256) => self.by_sha256.get(&sha256),
        }
        .copied()
    }

    /// Starts to read a piece for a peer, or refuses.
    pub(crate) fn handle_wanted(&mut self, peer: NodeId, root: Hash, piece: u32) {
        let known = self.files.get(&root).is_some_and(|blob| piece < blob.pieces());
        let of_peer = self.reads.values().filter(|(other, ..)| *other == peer).count();
        if !known || of_peer >= READS_PER_PEER_MAX || self.reads.len() >= READS_MAX {
            return self.actions.push(Action::Refuse(peer, root, piece, !known));
        }
        let read = ReadId(self.next_read);
        self.next_read += 1;
        self.reads.insert(read, (peer, root, piece));
        self.actions.push(Action::Read(read, root, piece));
    }

    /// Handles the end of a read.
    pub(crate) fn handle_read(&mut self, read: ReadId, result: Result<Piece, BlobError>) {
        let Some((peer, root, number)) = self.reads.remove(&read) else { return };
        self.actions.push(match result {
            Ok(piece) => Action::Give(peer, root, number, piece),
            Err(error) => Action::Refuse(peer, root, number, error == BlobError::Gone),
        });
    }

    /// Returns the queued actions, in order.
    pub(crate) fn poll_actions(&mut self) -> Vec<Action> {
        core::mem::take(&mut self.actions)
    }

    /// Returns how full each collection is.
    pub(crate) fn occupancy(&self) -> [Occupancy; 2] {
        [
            Occupancy::new("provider.files", self.files.len(), SHARED_MAX),
            Occupancy::transient("provider.reads", self.reads.len(), READS_MAX),
        ]
    }
}

/// Maximum number of concurrent reads.
const READS_MAX: usize = 64;
/// Maximum number of concurrent reads for one peer: as many as an honest peer requests.
const READS_PER_PEER_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: NodeId = NodeId([1; 16]);

    fn provider(content: &[u8]) -> (Provider, BlobId) {
        let (mut provider, blob) = (Provider::default(), BlobId::from_content(content));
        provider.handle_shared(vec![SharedBlob { blob, sha256: Some(Hash([9; 32])) }]);
        (provider, blob)
    }

    #[test]
    fn a_file_is_found_by_either_hash_and_no_longer_once_it_is_not_shared() {
        let (mut provider, blob) = provider(b"x");
        assert_eq!(provider.find(Pin::Blake3(blob.root)), Some(blob));
        assert_eq!(provider.find(Pin::Sha256(Hash([9; 32]))), Some(blob));
        assert_eq!(provider.find(Pin::Sha256(blob.root)), None);
        provider.handle_shared(Vec::new());
        assert_eq!(provider.find(Pin::Blake3(blob.root)), None);
    }

    #[test]
    fn what_is_asked_for_is_read_and_given_once() {
        let (mut provider, blob) = provider(b"x");
        provider.handle_wanted(PEER, blob.root, 0);
        provider.handle_wanted(PEER, blob.root, 1);
        provider.handle_wanted(PEER, Hash([7; 32]), 0);
        let piece = Piece { bytes: b"x".to_vec(), proof: Vec::new() };
        provider.handle_read(ReadId(0), Ok(piece.clone()));
        provider.handle_read(ReadId(0), Ok(piece.clone()));
        let expected = vec![
            Action::Read(ReadId(0), blob.root, 0),
            Action::Refuse(PEER, blob.root, 1, true),
            Action::Refuse(PEER, Hash([7; 32]), 0, true),
            Action::Give(PEER, blob.root, 0, piece),
        ];
        assert_eq!(provider.poll_actions(), expected);
    }

    #[test]
    fn one_peer_gets_its_share_of_the_reads_and_all_together_theirs() {
        let (mut provider, blob) = provider(b"x");
        for peer in 0..6 {
            (0..20).for_each(|_| provider.handle_wanted(NodeId([peer; 16]), blob.root, 0));
        }
        let actions = provider.poll_actions();
        let reads = actions.iter().filter(|action| matches!(action, Action::Read(..))).count();
        let later = actions.iter().filter(|action| matches!(action, Action::Refuse(.., false))).count();
        assert_eq!((reads, later), (64, 56));
        assert!(provider.occupancy().iter().all(|place| place.current <= place.limit));
        provider.handle_read(ReadId(3), Err(BlobError::Io));
        assert_eq!(provider.poll_actions(), vec![Action::Refuse(NodeId([0; 16]), blob.root, 0, false)]);
    }
}
