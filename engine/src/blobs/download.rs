//! One file on its way here: who has it, which pieces are here, and who was asked for which.

use crate::blobs::{BlobId, Pieces, Pin};
use crate::ids::{NodeId, RequestId};
use crate::request::FetchSpec;
use crate::time::Instant;
use std::collections::{BTreeMap, BTreeSet};

/// How far a download is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// It is not known yet who has the file.
    Looking,
    /// The disk looks what there is already.
    Opening,
    /// Pieces come in.
    Running,
    /// The disk checks the whole.
    Finishing,
}

/// One file on its way here.
#[derive(Debug)]
pub(super) struct Download {
    pub(super) spec: FetchSpec,
    pub(super) waiters: Vec<RequestId>,
    pub(super) begun: Instant,
    pub(super) stage: Stage,
    /// What exactly is fetched, once somebody said so.
    pub(super) blob: Option<BlobId>,
    /// Who has the file, and what each says that it is.
    pub(super) holders: BTreeMap<NodeId, BlobId>,
    /// Who is not asked any more: it sent what is wrong, or nothing.
    pub(super) banned: BTreeSet<NodeId>,
    /// Whether somebody sent what is wrong.
    pub(super) forged: bool,
    /// The number of the last question who has the file, and who has not answered it.
    pub(super) query: u64,
    pub(super) unanswered: BTreeSet<NodeId>,
    /// Until when answers are waited for.
    pub(super) look_until: Option<Instant>,
    pub(super) look_again_at: Instant,
    /// Since when nobody has it, where somebody had.
    pub(super) alone_since: Option<Instant>,
    pub(super) have: Pieces,
    pub(super) missing: u32,
    /// No piece before this one is to be asked for, but for late ones.
    next: u32,
    asked: BTreeMap<(u32, NodeId), Asked>,
    pub(super) writing: BTreeSet<u32>,
    /// Pieces that each peer gave.
    pub(super) gave: BTreeMap<NodeId, u32>,
}

/// A request under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub(super) at: Instant,
    /// It takes so long that others may be asked as well.
    pub(super) late: bool,
}

impl Download {
    pub(super) fn new(now: Instant, spec: FetchSpec, waiter: RequestId) -> Self {
        Self {
            spec,
            waiters: vec![waiter],
            begun: now,
            stage: Stage::Looking,
            blob: None,
            holders: BTreeMap::new(),
            banned: BTreeSet::new(),
            forged: false,
            query: 0,
            unanswered: BTreeSet::new(),
            look_until: None,
            look_again_at: now,
            alone_since: None,
            have: Pieces::none(0),
            missing: 0,
            next: 0,
            asked: BTreeMap::new(),
            writing: BTreeSet::new(),
            gave: BTreeMap::new(),
        }
    }

    /// Tells whether a claim agrees with what is known beforehand.
    pub(super) fn could_be(&self, blob: BlobId) -> bool {
        let named = match self.spec.pin {
            Pin::Blake3(root) => blob.root == root,
            Pin::Sha256(_) => true,
        };
        named && blob.bytes == self.spec.bytes
    }

    /// Begins with the pieces that are here.
    pub(super) fn begin(&mut self, blob: BlobId, have: Pieces) {
        // What the disk says of another number of pieces is of another file.
        self.have = if have.total() == blob.pieces() { have } else { Pieces::none(blob.pieces()) };
        self.missing = blob.pieces() - self.have.count();
        self.next = 0;
        self.stage = Stage::Running;
    }

    /// Returns those who can be asked now: the nearest.
    pub(super) fn sources(&self, hops: impl Fn(NodeId) -> Option<u32>) -> Vec<NodeId> {
        let right = self.holders.iter().filter(|(_, blob)| Some(**blob) == self.blob);
        let near: Vec<(NodeId, u32)> = right.filter_map(|(peer, _)| Some((*peer, hops(*peer)?))).collect();
        // Whatever goes over others costs them as much as it does those at the ends.
        let linked = near.iter().any(|(_, hops)| *hops == 1);
        near.into_iter().filter(|(_, hops)| !linked || *hops == 1).map(|(peer, _)| peer).collect()
    }

    /// Returns the piece to ask a peer for next.
    pub(super) fn next_for(&mut self, peer: NodeId) -> Option<u32> {
        while self.next < self.have.total() && !self.is_wanted(self.next) {
            self.next += 1;
        }
        if self.next < self.have.total() {
            return Some(self.next);
        }
        // Of what is left, what others are late with.
        let late = |(piece, _): &(u32, NodeId)| {
            let askers = self.askers(*piece).count();
            askers < ASKERS_MAX && self.askers(*piece).all(|(other, asked)| asked.late && other != peer)
        };
        self.asked.keys().find(|key| late(key)).map(|(piece, _)| *piece)
    }

    pub(super) fn handle_asked(&mut self, now: Instant, peer: NodeId, piece: u32) {
        self.asked.insert((piece, peer), Asked { at: now, late: false });
    }

    /// Takes a request back; the piece is asked for anew unless others were asked too.
    pub(super) fn take_back(&mut self, peer: NodeId, piece: u32) -> Option<Asked> {
        let asked = self.asked.remove(&(piece, peer))?;
        if self.is_wanted(piece) {
            self.next = self.next.min(piece);
        }
        Some(asked)
    }

    /// Takes all requests to a peer back, or all; returns to whom each was.
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

    /// Returns how many pieces are asked for or being written.
    pub(super) fn in_flight(&self) -> usize {
        self.asked.len() + self.writing.len()
    }

    /// Tells whether a piece is neither here nor on its way.
    fn is_wanted(&self, piece: u32) -> bool {
        !self.have.contains(piece) && !self.writing.contains(&piece) && self.askers(piece).next().is_none()
    }

    fn askers(&self, piece: u32) -> impl Iterator<Item = (NodeId, &Asked)> {
        let all = (piece, NodeId([0; 16]))..=(piece, NodeId([0xff; 16]));
        self.asked.range(all).map(|((_, peer), asked)| (*peer, asked))
    }
}

/// Peers that may be asked for the same piece, where those before are late.
const ASKERS_MAX: usize = 3;
