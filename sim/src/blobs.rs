//! The files of a simulated world, and what each machine's disk holds of them.
//!
//! Their content is pseudo-random, by the seed. A disk outlives the processes that write to it: a piece is there from the
//! moment in which its write ended, and a file counts as here once all of it is, and is what its name says.

use crate::cluster::{Cluster, NodeIndex};
use crate::random::{Purpose, Random};
use crate::scenario::{Fetch, FetchedBy, Hostility, Scenario, SharedFile};
use engine::blob::{
    BlobError, BlobId, BlobOrder, BlobReport, Hash, Piece, Pieces, Pin, SharedBlob, Tree, leaf,
};
use engine::request::FetchSpec;
use engine::{Request, WriteError};
use std::collections::{BTreeMap, BTreeSet};

/// A file that some nodes have from the start.
#[derive(Debug)]
pub(crate) struct StandIn {
    pub(crate) blob: BlobId,
    /// A name like a SHA-256 hash.
    pub(crate) sha256: Hash,
    content: Vec<u8>,
    tree: Tree,
    holders: Vec<NodeIndex>,
}

/// Returns the files of a scenario, and after them those that liars give in their place.
pub(crate) fn of(scenario: &Scenario, random: Random) -> Vec<StandIn> {
    let lies = |node: &NodeIndex| {
        scenario.host(*node).is_some_and(|host| host.hostile.contains(&Hostility::WrongFiles))
    };
    let file = |(number, file): (u64, &SharedFile), of_liars: bool| {
        let who = number | u64::from(of_liars) << 32;
        let holders: Vec<NodeIndex> =
            file.holders.iter().copied().filter(|node| lies(node) == of_liars).collect();
        if of_liars && holders.is_empty() {
            return None;
        }
        // A liar gives another file under the same name.
        let sha256 = Hash(random.bytes(Purpose::Content, number | NAME, 0));
        Some(StandIn::new(content(random, who, file.bytes), sha256, holders))
    };
    let numbered = || (0_u64..).zip(&scenario.files);
    let all = numbered().map(|one| file(one, false)).chain(numbered().map(|one| file(one, true)));
    all.flatten().collect()
}

fn content(random: Random, who: u64, bytes: u32) -> Vec<u8> {
    let mut content: Vec<u8> =
        (0..bytes.div_ceil(32)).flat_map(|n| random.bytes(Purpose::Content, who, n)).collect();
    content.truncate(bytes as usize);
    content
}

impl StandIn {
    fn new(content: Vec<u8>, sha256: Hash, holders: Vec<NodeIndex>) -> Self {
        let blob = BlobId::of(&content);
        let of = |piece| leaf(blob, piece, part(&content, blob, piece).unwrap_or_default());
        let tree = Tree::over((0..blob.pieces()).map(of).collect());
        Self { blob, sha256, content, tree, holders }
    }

    /// Returns the bytes of a piece.
    pub(crate) fn part(&self, piece: u32) -> Option<&[u8]> {
        part(&self.content, self.blob, piece)
    }

    fn shared(&self) -> SharedBlob {
        SharedBlob { blob: self.blob, sha256: Some(self.sha256) }
    }
}

fn part(content: &[u8], blob: BlobId, piece: u32) -> Option<&[u8]> {
    let (begin, bytes) = blob.place(piece)?;
    let begin = usize::try_from(begin).ok()?;
    content.get(begin..begin + usize::try_from(bytes).ok()?)
}

/// What a disk holds of files that came from others.
#[derive(Debug, Default)]
pub(crate) struct BlobDisk {
    parts: BTreeMap<Hash, BTreeMap<u32, Vec<u8>>>,
    whole: BTreeSet<Hash>,
    /// What is open: what it is, and the name that it must have in the end.
    open: BTreeMap<Hash, (BlobId, Option<Hash>)>,
    /// Orders begun over the disk's whole life.
    pub(crate) begun: u32,
}

impl BlobDisk {
    /// Forgets what the process had open.
    pub(crate) fn reopen(&mut self) {
        self.open.clear();
    }

    /// Returns all that a node shares.
    pub(crate) fn shared(&self, cluster: &Cluster, node: NodeIndex) -> Vec<SharedBlob> {
        let has = |file: &&StandIn| file.holders.contains(&node) || self.whole.contains(&file.blob.root);
        cluster.files.iter().filter(has).map(StandIn::shared).collect()
    }

    /// Does what is asked, or fails to write; returns what is to be told of it, in order.
    pub(crate) fn carry_out(
        &mut self,
        cluster: &Cluster,
        node: NodeIndex,
        order: BlobOrder,
        error: Option<WriteError>,
    ) -> Vec<BlobReport> {
        let failed = error.map(|error| match error {
            WriteError::Full => BlobError::Full,
            WriteError::Io => BlobError::Io,
        });
        match order {
            BlobOrder::Close(root) => {
                self.open.remove(&root);
                Vec::new()
            }
            BlobOrder::Finish(root) => {
                let result = failed.map_or_else(|| self.finish(cluster, root), Err);
                let finished = BlobReport::Finished { root, result };
                vec![BlobReport::Shared(self.shared(cluster, node)), finished]
            }
            BlobOrder::Open { blob, sha256 } => {
                self.open.insert(blob.root, (blob, sha256));
                let mut pieces = Pieces::none(blob.pieces());
                let here = self.parts.entry(blob.root).or_default();
                here.keys().for_each(|piece| pieces.insert(*piece));
                vec![BlobReport::Opened { root: blob.root, result: Ok(pieces) }]
            }
            BlobOrder::Read { read, root, piece } => {
                let result = self.read(cluster, node, root, piece).ok_or(BlobError::Gone);
                vec![BlobReport::Read { read, result }]
            }
            BlobOrder::Write { root, piece, bytes, .. } => {
                if failed.is_none()
                    && let Some(parts) = self.parts.get_mut(&root)
                {
                    parts.insert(piece, bytes);
                }
                vec![BlobReport::Written { root, piece, result: failed.map_or(Ok(()), Err) }]
            }
        }
    }

    fn finish(&mut self, cluster: &Cluster, root: Hash) -> Result<(), BlobError> {
        let (blob, wanted) = self.open.get(&root).copied().ok_or(BlobError::Gone)?;
        let content: Vec<u8> = self.parts.remove(&root).unwrap_or_default().into_values().flatten().collect();
        // Only of the files of the world is it known how they are called.
        let known = cluster.files.iter().any(|file| file.blob == blob && file.is_called(cluster, wanted));
        if BlobId::of(&content) != blob || !known {
            return Err(BlobError::WrongHash);
        }
        self.whole.insert(root);
        Ok(())
    }

    fn read(&self, cluster: &Cluster, node: NodeIndex, root: Hash, piece: u32) -> Option<Piece> {
        let file = cluster.files.iter().find(|file| file.blob.root == root)?;
        let has = file.holders.contains(&node) || self.whole.contains(&root);
        let bytes = file.part(piece).filter(|_| has)?.to_vec();
        Some(Piece { bytes, proof: file.tree.proof(piece)? })
    }
}

impl StandIn {
    /// Tells whether the file truly has a name like a SHA-256 hash: the liars' have none.
    fn is_called(&self, cluster: &Cluster, name: Option<Hash>) -> bool {
        let first = cluster.files.iter().find(|file| file.sha256 == self.sha256);
        name.is_none_or(|name| name == self.sha256 && first.is_some_and(|first| first.blob == self.blob))
    }
}

/// Somebody who wants a file, and asks for it until it is there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fetcher {
    pub(crate) node: NodeIndex,
    pub(crate) spec: FetchSpec,
    pub(crate) done: bool,
}

/// Returns who wants what under a scenario.
pub(crate) fn fetchers(scenario: &Scenario, cluster: &Cluster) -> Vec<Fetcher> {
    let fetcher = |fetch: &Fetch| {
        let file = cluster.files.get(fetch.file as usize)?;
        let pin = match fetch.by {
            FetchedBy::Blake3 => Pin::Blake3(file.blob.root),
            FetchedBy::Sha256 => Pin::Sha256(file.sha256),
        };
        Some(Fetcher { node: fetch.node, spec: FetchSpec { pin, bytes: file.blob.bytes }, done: false })
    };
    scenario.fetches.iter().filter_map(fetcher).collect()
}

impl Fetcher {
    pub(crate) const fn request(&self) -> Request {
        Request::Fetch(self.spec)
    }
}

/// Tells names from contents.
const NAME: u64 = 1 << 33;
