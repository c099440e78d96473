//! Downloads and provides files.

use super::Node;
use crate::blobs::{BlobOrder, BlobReport};
use crate::blobs::{downloader, provider};
use crate::error::{FetchError, PeerFault, Rejection};
use crate::event::Event;
use crate::ids::{NodeId, RequestId};
use crate::lifecycle::State;
use crate::output::Output;
use crate::request::{FetchSpec, Fetched, Response};
use crate::trace::TraceContext;
use crate::wire::Payload;

impl Node {
    pub(super) fn fetch(&mut self, request: RequestId, spec: FetchSpec) {
        let here = self.provider.find(spec.pin).filter(|blob| blob.bytes == spec.bytes);
        let begun = match (self.state, here) {
            (State::Active, Some(blob)) => {
                let fetched = Fetched { blob, peers: 0, elapsed_micros: 0 };
                return self.reply(request, Ok(Response::Fetched(fetched)));
            }
            (State::Active, None) => {
                self.downloader.fetch(self.clock.now, spec, request).map_err(Rejection::Fetch)
            }
            (State::Initializing | State::Registering, _) => Err(Rejection::NodeNotReady),
            (State::ShuttingDown | State::Stopped, _) => Err(Rejection::NodeShuttingDown),
        };
        if let Err(rejection) = begun {
            self.reply(request, Err(rejection));
        }
    }

    pub(super) fn handle_blob(&mut self, report: BlobReport) {
        match report {
            BlobReport::Read { read, result } => self.provider.handle_read(read, result),
            BlobReport::Shared(shared) => self.provider.handle_shared(shared),
            report @ (BlobReport::Finished { .. }
            | BlobReport::Opened { .. }
            | BlobReport::Written { .. }) => {
                self.downloader.handle_report(self.clock.now, report);
            }
        }
    }

    /// Handles a message about files from another node.
    pub(super) fn handle_blob_payload(&mut self, origin: NodeId, payload: Payload) {
        let now = self.clock.now;
        #[allow(clippy::wildcard_enum_match_arm, reason = "the caller brings what is about files")]
        match payload {
            Payload::Held { query, blob } => self.downloader.handle_held(origin, query, blob),
            Payload::Look { query, pin } => {
                let blob = self.provider.find(pin);
                self.send_once(origin, &Payload::Held { query, blob }, TraceContext::NONE);
            }
            Payload::Piece { root, number, piece } => {
                self.downloader.handle_piece(now, origin, root, number, piece);
            }
            Payload::PieceRefused { root, number, gone } => {
                self.downloader.handle_refused(now, origin, root, number, gone);
            }
            Payload::PieceWanted { root, number } => self.provider.handle_wanted(origin, root, number),
            _ => {}
        }
    }

    pub(super) fn settle_blobs(&mut self) -> bool {
        let membership = &self.membership;
        let members = || {
            let others = membership.reachable().map(|(node, _)| node).filter(|node| *node != self.me);
            let mut near: Vec<(u32, NodeId)> =
                others.filter_map(|node| Some((membership.hops(node)?, node))).collect();
            near.sort_unstable();
            near.into_iter().map(|(_, node)| node).collect()
        };
        self.downloader.handle_timeout(self.clock.now, |node| membership.hops(node), members);
        let mut busy = false;
        for action in self.downloader.poll_actions() {
            busy = true;
            self.handle_downloader(action);
        }
        for action in self.provider.poll_actions() {
            busy = true;
            self.handle_provider(action);
        }
        busy
    }

    fn handle_downloader(&mut self, action: downloader::Action) {
        let nothing = TraceContext::NONE;
        match action {
            downloader::Action::Ask(peer, root, number) => {
                self.send_once(peer, &Payload::PieceWanted { root, number }, nothing);
            }
            downloader::Action::Begun(blob, present) => {
                self.event(Event::FetchBegun { blob: blob.root, bytes: blob.bytes, present });
            }
            downloader::Action::Ended(waiters, result) => self.end_fetch(waiters, result),
            downloader::Action::Forged(peer) => {
                self.event(Event::PeerFault { peer, fault: PeerFault::PieceForged });
            }
            downloader::Action::LookUp(peer, query, pin) => {
                self.send_once(peer, &Payload::Look { query, pin }, nothing);
            }
            downloader::Action::Order(order) => self.outputs.push_back(Output::Blob(order)),
        }
    }

    fn end_fetch(&mut self, waiters: Vec<RequestId>, result: Result<Fetched, FetchError>) {
        self.event(match result {
            Ok(Fetched { blob, peers, elapsed_micros }) => {
                Event::BlobFetched { blob: blob.root, bytes: blob.bytes, peers, elapsed_micros }
            }
            Err(error) => Event::FetchFailed { error },
        });
        let answer = result.map(Response::Fetched).map_err(Rejection::Fetch);
        for waiter in waiters {
            self.reply(waiter, answer.clone());
        }
    }

    fn handle_provider(&mut self, action: provider::Action) {
        match action {
            provider::Action::Give(peer, root, number, piece) => {
                self.send_in_background(peer, &Payload::Piece { root, number, piece });
            }
            provider::Action::Read(read, root, piece) => {
                self.outputs.push_back(Output::Blob(BlobOrder::Read { read, root, piece }));
            }
            provider::Action::Refuse(peer, root, number, gone) => {
                self.send_once(peer, &Payload::PieceRefused { root, number, gone }, TraceContext::NONE);
            }
        }
    }
}
