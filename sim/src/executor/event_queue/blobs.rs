//! File operations of nodes: each order takes the disk's time, independent of others.

use super::{EventQueue, PendingRequest, Scheduled};
use crate::faults::machine::{Draw, write_delay, write_error};
use crate::node_set::NodeIndex;
use crate::observer::coverage_marks;
use crate::random::Purpose;
use crate::scenario::{Host, Hostility};
use core::time::Duration;
use engine::blobs::{BlobOrder, BlobReport};
use engine::request::Answer;
use engine::{Input, WriteError};

impl EventQueue {
    /// Announces the shared files to a starting node, and retries the fetches that users there still await.
    pub(super) fn announce_files(&mut self, node: NodeIndex) {
        let host = &mut self.hosts[node as usize];
        host.blobs.reopen();
        let shared = host.blobs.shared(&self.cluster, node);
        if !self.cluster.files.is_empty() {
            self.handle(node, Input::Blob(BlobReport::Shared(shared)));
        }
        let waiting = self.observer.clients.fetchers.iter().zip(&self.scenario.fetches);
        let now = self.now;
        let begun = |at: Duration| engine::time::micros(at) <= now;
        let again: Vec<usize> = (0..)
            .zip(waiting)
            .filter(|(_, (fetcher, fetch))| fetcher.node == node && !fetcher.done && begun(fetch.at))
            .map(|(number, _)| number)
            .collect();
        for number in again {
            self.after(FETCH_RETRY_INTERVAL, Scheduled::Fetch(number));
        }
    }

    /// Starts a fetch.
    pub(super) fn fetch(&mut self, number: usize) {
        let Some(fetcher) = self.observer.clients.fetchers.get(number).filter(|fetcher| !fetcher.done) else {
            return;
        };
        let (node, request) = (fetcher.node, fetcher.request());
        let asked =
            |pending: &PendingRequest| matches!(pending, PendingRequest::Fetch(other) if *other == number);
        if !self.hosts[node as usize].pending.values().any(asked) {
            self.ask(node, PendingRequest::Fetch(number), request);
        }
    }

    pub(super) fn fetched(&mut self, number: usize, answer: &Answer) {
        if answer.is_err() {
            return self.after(FETCH_RETRY_INTERVAL, Scheduled::Fetch(number));
        }
        if let Some(fetcher) = self.observer.clients.fetchers.get_mut(number) {
            fetcher.done = true;
        }
    }

    pub(super) fn order(&mut self, node: NodeIndex, order: BlobOrder) {
        let (random, range) = (self.cluster.random, self.scenario.disk_latency);
        let host = &mut self.hosts[node as usize];
        let (incarnation, n) = (host.incarnation, host.blobs.begun);
        host.blobs.begun = n.wrapping_add(1);
        let latency = random.between(range.ends(), Purpose::BlobLatency, u64::from(node), n);
        let delay = write_delay(self.faults.machine_faults(node), Draw { random, node, n });
        let done = Scheduled::BlobDone { node, incarnation, n, order: Box::new(order) };
        self.after(latency + delay, done);
    }

    pub(super) fn blob_done(&mut self, node: NodeIndex, incarnation: u32, n: u32, order: BlobOrder) {
        if !self.is_running(node, incarnation) {
            return;
        }
        let draw = Draw { random: self.cluster.random, node, n };
        let error = write_error(self.faults.machine_faults(node), draw);
        if error == Some(WriteError::Full) {
            self.observer.mark("disk_full");
        }
        let lies = |host: &Host| host.hostile.contains(&Hostility::WrongFiles);
        if matches!(order, BlobOrder::Read { .. }) && self.scenario.host(node).is_some_and(lies) {
            self.observer.mark(coverage_marks::for_hostility(Hostility::WrongFiles));
        }
        for report in self.hosts[node as usize].blobs.carry_out(&self.cluster, node, order, error) {
            self.handle(node, Input::Blob(report));
        }
    }
}

/// How long a user whose fetch failed waits before retrying.
const FETCH_RETRY_INTERVAL: Duration = Duration::from_secs(1);
