//! The files on each machine's disk that were fetched from others.
//!
//! A disk outlives the processes that write to it. A piece is present once its write has ended; a file is complete
//! once all pieces are present and its hash is right.

use crate::cluster::Cluster;
use crate::node_set::NodeIndex;
use crate::simulated_file::SimulatedFile;
use engine::WriteError;
use engine::blobs::{BlobError, BlobId, BlobOrder, BlobReport, Hash, Piece, Pieces, SharedBlob};
use std::collections::{BTreeMap, BTreeSet};

/// The fetched files on one disk.
#[derive(Debug, Default)]
pub(crate) struct BlobDisk {
    parts: BTreeMap<Hash, BTreeMap<u32, Vec<u8>>>,
    whole: BTreeSet<Hash>,
    /// The open files, with the SHA-256 hash that each must have in the end.
    open: BTreeMap<Hash, (BlobId, Option<Hash>)>,
    /// The number of orders so far, over the disk's lifetime.
    pub(crate) begun: u32,
}

impl BlobDisk {
    /// Forgets which files the process had open.
    pub(crate) fn reopen(&mut self) {
        self.open.clear();
    }

    /// Returns all files that a node shares.
    pub(crate) fn shared(&self, cluster: &Cluster, node: NodeIndex) -> Vec<SharedBlob> {
        let has =
            |file: &&SimulatedFile| file.holders.contains(&node) || self.whole.contains(&file.blob.root);
        cluster.files.iter().filter(has).map(SimulatedFile::shared).collect()
    }

    /// Carries an order out, or fails its write; returns the reports in order.
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
        // A SHA-256 name is known only for the files of the simulation.
        let known =
            cluster.files.iter().any(|file| file.blob == blob && file.is_called(&cluster.files, wanted));
        if BlobId::from_content(&content) != blob || !known {
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
