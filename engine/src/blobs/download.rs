//! One download: the holders of the file, the pieces on disk, and the requests in flight.

use crate::blobs::{BlobId, Pieces, Pin};
use crate::ids::{NodeId, RequestId};
use crate::request::FetchSpec;
use crate::time::Instant;
use std::collections::{BTreeMap, BTreeSet};

/// The stage of a download.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Looks for holders of the file.
    LookingUp,
    /// The disk checks which pieces it has.
    Opening,
    /// Pieces arrive.
    Running,
    /// The disk verifies the whole file.
    Finishing,
}

/// One download.
#[derive(Debug)]
pub(super) struct Download {
    pub(super) spec: FetchSpec,
    pub(super) waiters: Vec<RequestId>,
    pub(super) begun: Instant,
    pub(super) stage: Stage,
    /// The file, once a holder has stated it.
    pub(super) blob: Option<BlobId>,
    /// The holders, with the file that each claims to have.
    pub(super) holders: BTreeMap<NodeId, BlobId>,
    /// Peers that sent invalid pieces or nothing, and are not asked again.
    pub(super) banned: BTreeSet<NodeId>,
    /// Whether a peer sent an invalid piece.
    pub(super) forged: bool,
    /// The number of the last lookup, and the peers that have not answered it.
    pub(super) query: u64,
    pub(super) unanswered: BTreeSet<NodeId>,
    /// The deadline of the lookup.
    pub(super) lookup_deadline: Option<Instant>,
    pub(super) next_lookup: Instant,
    /// Since when the download has no holder, after it had one.
    pub(super) holderless_since: Option<Instant>,
    pub(super) have: Pieces,
    pub(super) missing: u32,
    /// All pieces before this one are here, or requested.
    next: u32,
    asked: BTreeMap<(u32, NodeId), Asked>,
    pub(super) writing: BTreeSet<u32>,
    /// The number of pieces from each peer.
    pub(super) pieces_by_peer: BTreeMap<NodeId, u32>,
}

/// A request in flight.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub(super) at: Instant,
    /// It is so late that other peers may be asked too.
    pub(super) late: bool,
}

impl Download {
    pub(super) fn new(now: Instant, spec: FetchSpec, waiter: RequestId) -> Self {
        Self {
            spec,
            waiters: vec![waiter],
            begun: now,
            stage: Stage::LookingUp,
            blob: None,
            holders: BTreeMap::new(),
            banned: BTreeSet::new(),
            forged: false,
            query: 0,
            unanswered: BTreeSet::new(),
            lookup_deadline: None,
            next_lookup: now,
            holderless_since: None,
            have: Pieces::none(0),
            missing: 0,
            next: 0,
            asked: BTreeMap::new(),
            writing: BTreeSet::new(),
            pieces_by_peer: BTreeMap::new(),
        }
    }

    /// Tells whether a claimed file agrees with the request.
    pub(super) fn could_be(&self, blob: BlobId) -> bool {
        let named = match self.spec.pin {
            Pin::Blake3(root) => blob.root == root,
            Pin::Sha256(_) => true,
        };
        named && blob.bytes == self.spec.bytes
    }

    /// Starts with the pieces on disk.
    pub(super) fn begin(&mut self, blob: BlobId, have: Pieces) {
        // A set of another size is about another file.
        self.have = if have.total() == blob.pieces() { have } else { Pieces::none(blob.pieces()) };
        self.missing = blob.pieces() - self.have.count();
        self.next = 0;
        self.stage = Stage::Running;
    }

    /// Returns the nearest holders: neighbours if there are any, otherwise all.
    pub(super) fn sources(&self, hops: impl Fn(NodeId) -> Option<u32>) -> Vec<NodeId> {
        let right = self.holders.iter().filter(|(_, blob)| Some(**blob) == self.blob);
        let near: Vec<(NodeId, u32)> = right.filter_map(|(peer, _)| Some((*peer, hops(*peer)?))).collect();
        // A transfer over relays costs each of them as much as it costs the ends.
        let linked = near.iter().any(|(_, hops)| *hops == 1);
        near.into_iter().filter(|(_, hops)| !linked || *hops == 1).map(|(peer, _)| peer).collect()
    }

    /// Returns the next piece to request from a peer.
    pub(super) fn next_for(&mut self, peer: NodeId) -> Option<u32> {
        while self.next < self.have.total() && !self.is_wanted(self.next) {
            self.next += 1;
        }
        if self.next < self.have.total() {
            return Some(self.next);
        }
        // Of the rest, a piece that is late elsewhere.
        let late = |(piece, _): &(u32, NodeId)| {
            let askers = self.askers(*piece).count();
            askers < ASKERS_MAX && self.askers(*piece).all(|(other, asked)| asked.late && other != peer)
        };
        self.asked.keys().find(|key| late(key)).map(|(piece, _)| *piece)
    }

    pub(super) fn handle_asked(&mut self, now: Instant, peer: NodeId, piece: u32) {
        self.asked.insert((piece, peer), Asked { at: now, late: false });
    }

    /// Cancels a request. The piece is requested again unless other peers were asked too.
    pub(super) fn take_back(&mut self, peer: NodeId, piece: u32) -> Option<Asked> {
        let asked = self.asked.remove(&(piece, peer))?;
        if self.is_wanted(piece) {
            self.next = self.next.min(piece);
        }
        Some(asked)
    }

    /// Cancels all requests to one peer, or to all. Returns the peer of each.
    pub(super) fn take_all_back(&mut self, of: Option<NodeId>) -> Vec<NodeId> {
        let wanted = |(_, peer): &(u32, NodeId)| of.is_none_or(|of| of == *peer);
        let keys: Vec<(u32, NodeId)> = self.asked.keys().copied().filter(wanted).collect();
        keys.into_iter().filter_map(|(piece, peer)| self.take_back(peer, piece).map(|_| peer)).collect()
    }

    pub(super) fn asked(&self) -> impl Iterator<Item = (u32, NodeId, Asked)> {
        self.asked.iter().map(|((piece, peer), asked)| (*piece, *peer, *asked))
    }

    pub(super) fn handle_late(&mut self, peer: NodeId, piece: u32) {
        if let Some(asked) = self.asked.get_mut(&(piece, peer)) {
            asked.late = true;
        }
    }

    /// Returns the number of pieces requested or being written.
    pub(super) fn in_flight(&self) -> usize {
        self.asked.len() + self.writing.len()
    }

    /// Tells whether a piece is neither on disk nor in progress.
    fn is_wanted(&self, piece: u32) -> bool {
        !self.have.contains(piece) && !self.writing.contains(&piece) && self.askers(piece).next().is_none()
    }

    fn askers(&self, piece: u32) -> impl Iterator<Item = (NodeId, &Asked)> {
        let all = (piece, NodeId([0; 16]))..=(piece, NodeId([0xff; 16]));
        self.asked.range(all).map(|((_, peer), asked)| (*peer, asked))
    }
}

/// Maximum number of concurrent requests for one piece, if the earlier ones are late.
const ASKERS_MAX: usize = 3;
