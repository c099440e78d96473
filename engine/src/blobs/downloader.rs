//! The downloader: fetches files from several peers at once, in verified pieces.
//!
//! A download asks members whether they have the file. From the holders it requests pieces, as many at a time as each
//! window allows. A piece is written to disk only after its proof shows that it belongs to the requested file. A peer
//! that sends an invalid piece is not asked again. If only the SHA-256 hash is known, pieces are verified against the
//! root that the holders claim, and the whole file at the end. A late piece is requested from other peers too; a lost
//! one again. A download lives while a request waits for it. Pieces on disk are kept, so that the next download
//! resumes. Verified pieces from any holder are BitTorrent's idea (BEP 3, BEP 52).

#[cfg(test)]
mod tests;

use super::congestion::Window;
use super::download::{Download, Stage};
use crate::blobs::{
    BLOB_BYTES_MAX, BlobError, BlobId, BlobOrder, BlobReport, Hash, Piece, Pieces, Pin, leaf,
};
use crate::error::FetchError;
use crate::ids::{NodeId, RequestId};
use crate::mutants::{Mutant, shows};
use crate::occupancy::Occupancy;
use crate::request::{FetchSpec, FetchView, Fetched};
use crate::time::{Instant, micros};
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

/// A command to the parent or a report to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Request a piece from a peer.
    Ask(NodeId, Hash, u32),
    /// Pieces start to arrive. So many bytes were already on disk.
    Begun(BlobId, u64),
    /// A download has ended. These requests waited for it.
    Ended(Vec<RequestId>, Result<Fetched, FetchError>),
    /// A peer sent a piece that is not part of the requested file.
    Forged(NodeId),
    /// Ask a member whether it has a file.
    LookUp(NodeId, u64, Pin),
    /// A file operation for the driver.
    Order(BlobOrder),
}

/// The downloads in progress.
#[derive(Debug, Default)]
pub(crate) struct Downloader {
    open: BTreeMap<Pin, Download>,
    /// The window of each peer that pieces were requested from.
    windows: BTreeMap<NodeId, Window>,
    queries: u64,
    actions: Vec<Action>,
}

impl Downloader {
    /// Starts a download, or joins one in progress.
    ///
    /// # Errors
    /// [`FetchError::TooLarge`], [`FetchError::TooMany`].
    pub(crate) fn fetch(
        &mut self,
        now: Instant,
        spec: FetchSpec,
        waiter: RequestId,
    ) -> Result<(), FetchError> {
        if spec.bytes > BLOB_BYTES_MAX {
            return Err(FetchError::TooLarge);
        }
        if let Some(download) = self.open.get_mut(&spec.pin) {
            if download.spec != spec || download.waiters.len() >= WAITERS_MAX {
                return Err(FetchError::TooMany);
            }
            download.waiters.push(waiter);
            return Ok(());
        }
        if self.open.len() >= DOWNLOADS_MAX {
            return Err(FetchError::TooMany);
        }
        self.open.insert(spec.pin, Download::new(now, spec, waiter));
        Ok(())
    }

    /// Removes a waiter. A download without waiters ends.
    pub(crate) fn forget(&mut self, waiter: RequestId) {
        for download in self.open.values_mut() {
            download.waiters.retain(|other| *other != waiter);
        }
        let unwanted = |download: &&Download| download.waiters.is_empty();
        let pins: Vec<Pin> = self.open.values().filter(unwanted).map(|download| download.spec.pin).collect();
        for pin in pins {
            self.remove(pin);
        }
    }

    /// Ends all downloads.
    pub(crate) fn handle_leave(&mut self) {
        for pin in self.open.keys().copied().collect::<Vec<_>>() {
            self.end(pin, Err(FetchError::Left));
        }
    }

    /// Handles a member's answer to a lookup.
    pub(crate) fn handle_held(&mut self, peer: NodeId, query: u64, blob: Option<BlobId>) {
        let Some(download) = self.open.values_mut().find(|download| download.query == query) else { return };
        if download.unanswered.remove(&peer)
            && let Some(blob) = blob.filter(|blob| download.could_be(*blob))
            && download.holders.len() < HOLDERS_MAX
        {
            download.holders.insert(peer, blob);
            download.holderless_since = None;
        }
    }

    /// Handles a piece. One that was not requested is ignored.
    pub(crate) fn handle_piece(&mut self, now: Instant, peer: NodeId, root: Hash, number: u32, piece: Piece) {
        let Some((download, blob)) = running(&mut self.open, root) else { return };
        let Some(asked) = download.take_back(peer, number) else { return };
        let window = self.windows.entry(peer).or_default();
        window.handle_over();
        let checked = blob.check(number, &piece);
        let unchecked = || shows(Mutant::PieceUnchecked).then(|| leaf(blob, number, &piece.bytes));
        let Some(leaf) = checked.or_else(unchecked) else {
            return self.ban(peer, root);
        };
        window.handle_piece(now, now.since(asked.at));
        *download.pieces_by_peer.entry(peer).or_default() += 1;
        if !download.have.contains(number) && download.writing.insert(number) {
            let bytes = piece.bytes;
            self.actions.push(Action::Order(BlobOrder::Write { root, piece: number, bytes, leaf }));
        }
    }

    /// Handles a refusal: the peer does not have the file, or is busy.
    pub(crate) fn handle_refused(&mut self, now: Instant, peer: NodeId, root: Hash, number: u32, gone: bool) {
        let Some((download, _)) = running(&mut self.open, root) else { return };
        if download.take_back(peer, number).is_none() {
            return;
        }
        let window = self.windows.entry(peer).or_default();
        window.handle_over();
        if window.handle_refused(now) || gone {
            self.stop_asking(peer, root);
        }
    }

    /// Handles the end of a file operation.
    pub(crate) fn handle_report(&mut self, now: Instant, report: BlobReport) {
        match report {
            BlobReport::Finished { root, result } => self.handle_finished(now, root, result),
            BlobReport::Opened { root, result } => self.handle_opened(root, result),
            BlobReport::Written { root, piece, result } => self.handle_written(root, piece, result),
            BlobReport::Read { .. } | BlobReport::Shared(_) => {}
        }
    }

    /// Handles the loss of a peer: it is unreachable, or has restarted and forgotten its requests.
    pub(crate) fn handle_gone(&mut self, peer: NodeId) {
        for download in self.open.values_mut() {
            download.unanswered.remove(&peer);
        }
        self.drop_holder(peer, None);
        self.windows.remove(&peer);
    }

    /// Handles due timeouts, and requests as many pieces as allowed. `members` returns the reachable members, nearest
    /// first.
    pub(crate) fn handle_timeout(
        &mut self,
        now: Instant,
        hops: impl Fn(NodeId) -> Option<u32>,
        members: impl Fn() -> Vec<NodeId>,
    ) {
        if self.open.is_empty() {
            self.windows.clear();
            return;
        }
        if self.windows.len() > WINDOWS_IDLE_MAX {
            let open = &self.open;
            self.windows.retain(|peer, _| open.values().any(|download| download.holders.contains_key(peer)));
        }
        for pin in self.open.keys().copied().collect::<Vec<_>>() {
            self.look_up(now, pin, &members);
            self.choose(pin);
            self.give_up_late(now, pin);
        }
        self.fill(now, hops);
    }

    /// Returns the next deadline.
    pub(crate) fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        let of_download = |download: &Download| {
            let stage = download.stage;
            let looks = stage == Stage::LookingUp || stage == Stage::Running;
            let late = |asked: super::download::Asked| {
                asked.at.after(if asked.late { PIECE_TIMEOUT } else { PIECE_LATE_AFTER })
            };
            let asked = download.asked().map(|(_, _, asked)| late(asked)).min();
            let alone = download.holderless_since.map(|since| since.after(HOLDERLESS_TIMEOUT));
            let look = [Some(download.next_lookup), download.lookup_deadline, alone].into_iter().flatten();
            look.filter(|_| looks).chain(asked).min()
        };
        let windows = self.windows.values().filter_map(|window| window.poll_timeout(now));
        self.open.values().filter_map(of_download).chain(windows).min()
    }

    /// Returns the queued actions, in order.
    pub(crate) fn poll_actions(&mut self) -> Vec<Action> {
        core::mem::take(&mut self.actions)
    }

    /// Returns the progress of each download.
    pub(crate) fn views(&self) -> Vec<FetchView> {
        let view = |download: &Download| {
            let present = download.blob.map_or(0, |blob| present_bytes(blob, download));
            let holders = u32::try_from(download.holders.len()).unwrap_or(u32::MAX);
            FetchView { spec: download.spec, present, holders }
        };
        self.open.values().map(view).collect()
    }

    /// Returns how full each collection is.
    pub(crate) fn occupancy(&self) -> [Occupancy; 4] {
        let most = |count: fn(&Download) -> usize| self.open.values().map(count).max().unwrap_or_default();
        [
            Occupancy::transient("downloader.downloads", self.open.len(), DOWNLOADS_MAX),
            Occupancy::transient("downloader.in_flight", self.in_flight(), IN_FLIGHT_MAX),
            Occupancy::transient("downloader.holders", most(|download| download.holders.len()), HOLDERS_MAX),
            Occupancy::transient("downloader.windows", self.windows.len(), WINDOWS_MAX),
        ]
    }

    /// Looks for holders of a file, if due.
    fn look_up(&mut self, now: Instant, pin: Pin, members: &impl Fn() -> Vec<NodeId>) {
        let Some(download) = self.open.get_mut(&pin) else { return };
        if download.lookup_deadline.is_some_and(|until| until <= now) {
            download.unanswered.clear();
        }
        if download.unanswered.is_empty() {
            let looked = download.lookup_deadline.take().is_some();
            // All have answered, and none has the file.
            if looked && download.stage == Stage::LookingUp && download.holders.is_empty() {
                return self.end_unfound(pin);
            }
        }
        if download.holders.is_empty() && download.stage == Stage::Running {
            let since = *download.holderless_since.get_or_insert(now);
            if since.after(HOLDERLESS_TIMEOUT) <= now {
                return self.end(pin, Err(FetchError::SourcesLost));
            }
            download.next_lookup = download.next_lookup.min(now.after(LOOKUP_INTERVAL_WITHOUT_HOLDERS));
        }
        let looks = matches!(download.stage, Stage::LookingUp | Stage::Running);
        if !looks || download.next_lookup > now {
            return;
        }
        self.queries += 1;
        let alone = download.holders.is_empty();
        download.query = self.queries;
        download.lookup_deadline = Some(now.after(LOOKUP_TIMEOUT));
        download.next_lookup =
            now.after(if alone { LOOKUP_INTERVAL_WITHOUT_HOLDERS } else { LOOKUP_INTERVAL });
        let new = |peer: &NodeId| !download.banned.contains(peer) && !download.holders.contains_key(peer);
        download.unanswered = members().into_iter().filter(new).take(LOOKUP_MEMBERS_MAX).collect();
        let looks = download.unanswered.iter().map(|peer| Action::LookUp(*peer, download.query, pin));
        self.actions.extend(looks);
        if download.unanswered.is_empty() {
            // There is no member to ask: the result is known at once, not only after the timeout.
            download.lookup_deadline = None;
            if download.stage == Stage::LookingUp && alone {
                self.end_unfound(pin);
            }
        }
    }

    /// Chooses the file among those that the holders claim, if it is not known yet.
    fn choose(&mut self, pin: Pin) {
        let in_use = |blob: &BlobId| {
            self.open
                .values()
                .any(|other| other.spec.pin != pin && other.blob.is_some_and(|b| b.root == blob.root))
        };
        let Some(download) = self.open.get(&pin).filter(|download| download.stage == Stage::LookingUp) else {
            return;
        };
        let Some(blob) = download.holders.values().find(|blob| !in_use(blob)).copied() else { return };
        let sha256 = match pin {
            Pin::Blake3(_) => None,
            Pin::Sha256(sha256) => Some(sha256),
        };
        let Some(download) = self.open.get_mut(&pin) else { return };
        download.blob = Some(blob);
        download.stage = Stage::Opening;
        self.actions.push(Action::Order(BlobOrder::Open { blob, sha256 }));
    }

    fn give_up_late(&mut self, now: Instant, pin: Pin) {
        let Some(download) = self.open.get_mut(&pin) else { return };
        let asked: Vec<_> = download.asked().collect();
        let mut hopeless = BTreeSet::new();
        for (piece, peer, asked) in asked {
            if asked.at.after(PIECE_TIMEOUT) <= now {
                hopeless.insert(peer);
            } else if !asked.late && asked.at.after(PIECE_LATE_AFTER) <= now {
                download.handle_late(peer, piece);
                self.windows.entry(peer).or_default().handle_late();
            }
        }
        for peer in hopeless {
            self.give_up(peer, pin);
        }
    }

    /// Handles a timeout of a peer: cancels its requests. It is asked again, but only a few times.
    fn give_up(&mut self, peer: NodeId, pin: Pin) {
        let Some(download) = self.open.get_mut(&pin) else { return };
        let window = self.windows.entry(peer).or_default();
        download.take_all_back(Some(peer)).iter().for_each(|_| window.handle_over());
        if window.handle_silent()
            && let Some(blob) = download.blob
        {
            self.stop_asking(peer, blob.root);
        }
    }

    /// Requests pieces from the peers in turn, while the limits allow.
    fn fill(&mut self, now: Instant, hops: impl Fn(NodeId) -> Option<u32>) {
        let mut in_flight = self.in_flight();
        let mut open: Vec<(&mut Download, BlobId, Vec<NodeId>)> = Vec::new();
        for download in self.open.values_mut().filter(|download| download.stage == Stage::Running) {
            if let Some(blob) = download.blob {
                let sources = download.sources(&hops);
                open.push((download, blob, sources));
            }
        }
        let mut asked = true;
        while asked {
            asked = false;
            for (download, blob, sources) in &mut open {
                for &peer in sources.iter() {
                    let window = self.windows.entry(peer).or_default();
                    let room = in_flight < IN_FLIGHT_MAX && window.has_room(now);
                    if !room && !shows(Mutant::RequestsUnbounded) {
                        continue;
                    }
                    let Some(piece) = download.next_for(peer) else { continue };
                    download.handle_asked(now, peer, piece);
                    window.handle_asked();
                    self.actions.push(Action::Ask(peer, blob.root, piece));
                    in_flight += 1;
                    asked = true;
                }
            }
        }
    }

    fn handle_opened(&mut self, root: Hash, result: Result<Pieces, BlobError>) {
        let opening = |download: &&mut Download| {
            download.stage == Stage::Opening && download.blob.is_some_and(|blob| blob.root == root)
        };
        let Some(download) = self.open.values_mut().find(opening) else { return };
        let (pin, Some(blob)) = (download.spec.pin, download.blob) else { return };
        match result {
            Ok(have) => {
                download.begin(blob, have);
                self.actions.push(Action::Begun(blob, present_bytes(blob, download)));
                self.finish_if_whole(root);
            }
            Err(error) => self.end(pin, Err(FetchError::Storage(error))),
        }
    }

    fn handle_written(&mut self, root: Hash, piece: u32, result: Result<(), BlobError>) {
        let Some((download, _)) = running(&mut self.open, root) else { return };
        if !download.writing.remove(&piece) {
            return;
        }
        match result {
            Ok(()) => {
                download.have.insert(piece);
                download.missing = download.missing.saturating_sub(1);
                self.finish_if_whole(root);
            }
            Err(error) => {
                let pin = download.spec.pin;
                self.end(pin, Err(FetchError::Storage(error)));
            }
        }
    }

    fn finish_if_whole(&mut self, root: Hash) {
        let Some((download, _)) = running(&mut self.open, root) else { return };
        if download.missing > 0 {
            return;
        }
        download.stage = Stage::Finishing;
        for peer in download.take_all_back(None) {
            self.windows.entry(peer).or_default().handle_over();
        }
        self.actions.push(Action::Order(BlobOrder::Finish(root)));
    }

    fn handle_finished(&mut self, now: Instant, root: Hash, result: Result<(), BlobError>) {
        let finishing = |download: &&mut Download| {
            download.stage == Stage::Finishing && download.blob.is_some_and(|blob| blob.root == root)
        };
        let Some(download) = self.open.values_mut().find(finishing) else { return };
        let (pin, Some(blob)) = (download.spec.pin, download.blob) else { return };
        match (result, pin) {
            (Ok(()), _) => {
                let peers = u32::try_from(download.pieces_by_peer.len()).unwrap_or(u32::MAX);
                let elapsed_micros = micros(now.since(download.begun));
                self.end(pin, Ok(Fetched { blob, peers, elapsed_micros }));
            }
            // Each piece matched what its holders claimed, but the whole is another file: they all lied.
            (Err(BlobError::WrongHash), Pin::Sha256(_)) => {
                download.stage = Stage::LookingUp;
                download.blob = None;
                download.next_lookup = now;
                download.pieces_by_peer.clear();
                let liars = download.holders.iter().filter(|(_, said)| **said == blob);
                let liars: Vec<NodeId> = liars.map(|(peer, _)| *peer).collect();
                download.forged = true;
                for peer in liars {
                    download.holders.remove(&peer);
                    download.banned.insert(peer);
                    self.actions.push(Action::Forged(peer));
                }
            }
            (Err(error), _) => self.end(pin, Err(FetchError::Storage(error))),
        }
    }

    /// Bans a peer that sent an invalid piece of a file.
    fn ban(&mut self, peer: NodeId, root: Hash) {
        self.actions.push(Action::Forged(peer));
        if shows(Mutant::ForgerAskedAgain) {
            return;
        }
        if let Some((download, _)) = running(&mut self.open, root) {
            download.forged = true;
        }
        self.stop_asking(peer, root);
    }

    /// Stops asking a peer for a file.
    fn stop_asking(&mut self, peer: NodeId, root: Hash) {
        if let Some((download, _)) = running(&mut self.open, root) {
            download.banned.insert(peer);
        }
        self.drop_holder(peer, Some(root));
    }

    /// Removes a peer from the holders of a file, or of all files.
    fn drop_holder(&mut self, peer: NodeId, root: Option<Hash>) {
        let meant = |download: &&mut Download| {
            root.is_none_or(|root| download.blob.is_some_and(|blob| blob.root == root))
        };
        for download in self.open.values_mut().filter(meant) {
            download.holders.remove(&peer);
            for peer in download.take_all_back(Some(peer)) {
                self.windows.entry(peer).or_default().handle_over();
            }
        }
    }

    /// Ends a download without holders, or whose holders all sent invalid pieces.
    fn end_unfound(&mut self, pin: Pin) {
        let forged = self.open.get(&pin).is_some_and(|download| download.forged);
        self.end(pin, Err(if forged { FetchError::Forged } else { FetchError::NotFound }));
    }

    fn end(&mut self, pin: Pin, result: Result<Fetched, FetchError>) {
        if let Some(download) = self.remove(pin) {
            self.actions.push(Action::Ended(download.waiters, result));
        }
    }

    fn remove(&mut self, pin: Pin) -> Option<Download> {
        let mut download = self.open.remove(&pin)?;
        for peer in download.take_all_back(None) {
            self.windows.entry(peer).or_default().handle_over();
        }
        if let Some(blob) = download.blob {
            self.actions.push(Action::Order(BlobOrder::Close(blob.root)));
        }
        Some(download)
    }

    fn in_flight(&self) -> usize {
        self.open.values().map(Download::in_flight).sum()
    }
}

/// Returns the running download of a file.
fn running(open: &mut BTreeMap<Pin, Download>, root: Hash) -> Option<(&mut Download, BlobId)> {
    open.values_mut().filter(|download| download.stage == Stage::Running).find_map(|download| {
        let blob = download.blob.filter(|blob| blob.root == root)?;
        Some((download, blob))
    })
}

/// Returns approximately how many bytes of a file are on disk.
fn present_bytes(blob: BlobId, download: &Download) -> u64 {
    let missing = u64::from(download.missing) * crate::blobs::PIECE_BYTES;
    let begun = matches!(download.stage, Stage::Running | Stage::Finishing);
    if begun { blob.bytes.saturating_sub(missing) } else { 0 }
}

/// Maximum number of concurrent downloads. Further ones are rejected.
const DOWNLOADS_MAX: usize = 16;
/// Maximum number of requests that wait for one file.
const WAITERS_MAX: usize = 64;
/// Maximum number of pieces requested or being written, over all downloads: 16 MiB.
const IN_FLIGHT_MAX: usize = 64;
/// Maximum number of holders per download. Further ones are ignored.
const HOLDERS_MAX: usize = 32;
/// Maximum number of windows: those of all holders, and some idle ones.
const WINDOWS_MAX: usize = HOLDERS_MAX * DOWNLOADS_MAX + WINDOWS_IDLE_MAX;
const WINDOWS_IDLE_MAX: usize = 64;
/// Maximum number of members asked in one lookup, the nearest first.
const LOOKUP_MEMBERS_MAX: usize = 64;
/// How long a lookup waits for answers.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(2);
/// The interval between lookups while there are holders.
const LOOKUP_INTERVAL: Duration = Duration::from_secs(10);
/// The interval between lookups while there are none.
const LOOKUP_INTERVAL_WITHOUT_HOLDERS: Duration = Duration::from_secs(3);
/// How long a running download lasts without holders.
const HOLDERLESS_TIMEOUT: Duration = Duration::from_secs(20);
/// When a piece is late, and may be requested from other peers too.
const PIECE_LATE_AFTER: Duration = Duration::from_secs(2);
/// When a request for a piece times out.
const PIECE_TIMEOUT: Duration = Duration::from_secs(15);
