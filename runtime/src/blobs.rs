//! Files that nodes share, on this machine's disk.
//!
//! Two threads carry out the orders of the node. One reads pieces for other nodes; the other writes received pieces.
//! Thus no reader waits for the verification of a whole file. [`SharedFiles`] are found by their hash. A file that is
//! being fetched is in `PartialFiles` until it is complete. Orders and reports are bounded by the node's own windows.

mod manifest;
mod partial;
mod piece_hashes;
mod shared_files;
#[cfg(test)]
mod tests;

pub use manifest::{Manifest, ManifestError, ManifestFile};
pub use shared_files::{ShareError, SharedFile, SharedFiles, hash_file};

use crate::ports;
use engine::blobs::{BlobError, BlobOrder, BlobReport, Hash};
use partial::PartialFiles;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// The shared and fetched files of one node.
#[derive(Debug)]
pub struct FileBlobs {
    reads: Sender<BlobOrder>,
    writes: Sender<BlobOrder>,
    reports: UnboundedReceiver<BlobReport>,
    shared_files: Arc<SharedFiles>,
}

impl FileBlobs {
    /// Opens the files of a directory, and shares those that were shared before.
    ///
    /// # Errors
    /// The directory cannot be created, or the system provides no thread.
    pub fn open(directory: &Path) -> io::Result<Self> {
        crate::home::create_directory(directory)?;
        let (reporter, reports) = unbounded_channel();
        let shared_files = Arc::new(SharedFiles::open(directory, reporter.clone()));
        let partial = PartialFiles::new(directory);
        let reads = {
            let (shared_files, reporter) = (Arc::clone(&shared_files), reporter.clone());
            spawn_worker("blobs-out", move |order| read(&shared_files, order, &reporter))?
        };
        let writes = {
            let shared_files = Arc::clone(&shared_files);
            let mut writer = PartialFileWriter { partial, shared_files, reporter };
            spawn_worker("blobs-in", move |order| writer.carry_out(order))?
        };
        Ok(Self { reads, writes, reports, shared_files })
    }

    /// Returns the shared files.
    pub fn shared_files(&self) -> Arc<SharedFiles> {
        Arc::clone(&self.shared_files)
    }
}

impl ports::Blobs for FileBlobs {
    fn order(&mut self, order: BlobOrder) {
        let worker = if matches!(order, BlobOrder::Read { .. }) { &self.reads } else { &self.writes };
        // The threads end only after these senders are dropped.
        let _ = worker.send(order);
    }

    async fn next(&mut self) -> BlobReport {
        match self.reports.recv().await {
            Some(report) => report,
            None => std::future::pending().await,
        }
    }
}

/// Starts a thread that carries out orders one after the other.
fn spawn_worker(
    name: &str,
    mut job: impl FnMut(BlobOrder) + Send + 'static,
) -> io::Result<Sender<BlobOrder>> {
    let (orders, inbox): (_, Receiver<BlobOrder>) = channel();
    thread::Builder::new().name(name.to_owned()).spawn(move || inbox.into_iter().for_each(&mut job))?;
    Ok(orders)
}

fn read(shared_files: &SharedFiles, order: BlobOrder, reporter: &UnboundedSender<BlobReport>) {
    if let BlobOrder::Read { read, root, piece } = order {
        let result = shared_files.read(root, piece);
        let _ = reporter.send(BlobReport::Read { read, result });
    }
}

/// Writes received pieces.
struct PartialFileWriter {
    partial: PartialFiles,
    shared_files: Arc<SharedFiles>,
    reporter: UnboundedSender<BlobReport>,
}

impl PartialFileWriter {
    fn carry_out(&mut self, order: BlobOrder) {
        let report = match order {
            BlobOrder::Close(root) => return self.partial.close(root),
            BlobOrder::Finish(root) => BlobReport::Finished { root, result: self.finish(root) },
            BlobOrder::Open { blob, sha256 } => {
                let result = self.partial.open(blob, sha256).map_err(|error| reason(&error, blob.root));
                BlobReport::Opened { root: blob.root, result }
            }
            BlobOrder::Read { .. } => return,
            BlobOrder::Write { root, piece, bytes, leaf } => {
                let result = self.partial.write(root, piece, &bytes, leaf);
                BlobReport::Written { root, piece, result: result.map_err(|error| reason(&error, root)) }
            }
        };
        let _ = self.reporter.send(report);
    }

    fn finish(&mut self, root: Hash) -> Result<(), BlobError> {
        match self.partial.finish(root) {
            Ok(Some(done)) => {
                self.shared_files.add_fetched(done);
                Ok(())
            }
            Ok(None) => Err(BlobError::WrongHash),
            Err(error) => Err(reason(&error, root)),
        }
    }
}

#[allow(clippy::wildcard_enum_match_arm, reason = "all else that a disk may say means the same here")]
/// Converts an I/O error for the engine, and logs its details.
fn reason(error: &io::Error, root: Hash) -> BlobError {
    tracing::warn!(file = %root, %error, "cannot store a file that is being downloaded");
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => BlobError::Full,
        io::ErrorKind::NotFound => BlobError::Gone,
        _ => BlobError::Io,
    }
}
