//! Table of open connections, and its eviction policy.
//!
//! A new connection always finds a slot. If none is free, the connection that has waited longest for its client is
//! evicted. Connections without the token go first, and among them those of the user with the most connections. So
//! requests with the token and probes are served beside any number of idle or slow connections, and one user cannot
//! evict the connections of another.
//!
//! Invariant: fewer requests are in progress than there are slots, so one slot can always be freed.

use super::limits::CONNECTIONS_MAX;
use super::peer_owner::Owner;
use nix::sys::resource::{Resource, getrlimit};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, SemaphorePermit};

/// Limits by kind of connection and request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    /// Maximum connections.
    pub(super) connections: usize,
    /// Maximum connections that have not presented the token.
    pub(super) unauthenticated: usize,
    /// Maximum connections of one owner that have not presented the token.
    pub(super) unauthenticated_per_owner: usize,
    /// Maximum requests with the token in progress.
    pub(super) requests: usize,
    /// Maximum responses of unknown length among them: streams.
    pub(super) streams: usize,
}

impl Limits {
    /// Returns the limits of the API.
    pub(super) fn for_api() -> Self {
        Self::for_open_files(getrlimit(Resource::RLIMIT_NOFILE).map_or(OPEN_FILES_ASSUMED, |(soft, _)| soft))
    }

    /// Returns the limits of the metrics. Few programs read them, and none needs the token.
    pub(super) const fn for_metrics() -> Self {
        Self { connections: 64, unauthenticated: 40, unauthenticated_per_owner: 16, requests: 16, streams: 1 }
    }

    /// Returns the limits for a process that may open this many files.
    fn for_open_files(open_files_max: u64) -> Self {
        let half = usize::try_from(open_files_max / 2).unwrap_or(usize::MAX);
        let connections = half.clamp(CONNECTIONS_MIN, CONNECTIONS_MAX);
        Self {
            connections,
            unauthenticated: connections / 2,
            unauthenticated_per_owner: connections * 3 / 8,
            requests: connections * 3 / 4,
            streams: connections / 4,
        }
    }
}

/// All connections of one server.
#[derive(Debug)]
pub(super) struct ConnectionTable {
    limits: Limits,
    epoch: Instant,
    entries: Mutex<Entries>,
    requests: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    pipelined: Semaphore,
}

#[derive(Debug, Default)]
struct Entries {
    next_id: u64,
    connections: BTreeMap<u64, Arc<Connection>>,
}

/// One connection as the table sees it.
#[derive(Debug)]
pub(super) struct Connection {
    id: u64,
    owner: Owner,
    epoch: Instant,
    authenticated: AtomicBool,
    /// When the server began to wait for the client to send, in microseconds; [`NEVER`] while it does not wait.
    waiting_since: AtomicU64,
    /// When the client stopped reading its response, in microseconds; [`NEVER`] while it reads.
    stalled_since: AtomicU64,
    /// Whether to read and drop what the client still sends before the close.
    discards: AtomicBool,
    /// Whether a chunked request also had a `Content-Length`.
    ambiguous: AtomicBool,
    /// Whether bytes arrived since the last request was read.
    received: AtomicBool,
    evicted: Notify,
}

/// A slot in the table, freed when it is dropped.
#[derive(Debug)]
pub(super) struct ConnectionSlot {
    table: Arc<ConnectionTable>,
    pub(super) connection: Arc<Connection>,
}

impl ConnectionTable {
    pub(super) fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self {
            limits,
            epoch: Instant::now(),
            entries: Mutex::default(),
            requests: Arc::new(Semaphore::new(limits.requests)),
            streams: Arc::new(Semaphore::new(limits.streams)),
            pipelined: Semaphore::new(PIPELINED_AT_ONCE),
        })
    }

    /// Adds a new connection, and evicts another one if there is no free slot. Returns `None` if none can be evicted.
    pub(super) fn admit(self: &Arc<Self>, owner: Owner) -> Option<ConnectionSlot> {
        let mut entries = self.entries();
        if let Some(shortage) = self.shortage(&entries, owner) {
            let victim = entries.victim(shortage, owner)?;
            if let Some(victim) = entries.connections.remove(&victim) {
                victim.evicted.notify_one();
            }
        }
        let id = entries.next_id;
        entries.next_id += 1;
        let connection = Arc::new(Connection::new(id, owner, self.epoch));
        entries.connections.insert(id, Arc::clone(&connection));
        drop(entries);
        Some(ConnectionSlot { table: Arc::clone(self), connection })
    }

    /// Starts one more request with the token; `None` at the limit.
    pub(super) fn begin_request(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.requests).try_acquire_owned().ok()
    }

    /// Starts one more streamed response; `None` at the limit.
    pub(super) fn begin_stream(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.streams).try_acquire_owned().ok()
    }

    /// Waits for the turn of a pipelined request. Pipelining costs a client almost nothing, so few pipelined requests
    /// of all clients run at a time.
    pub(super) async fn await_turn(&self) -> Option<SemaphorePermit<'_>> {
        self.pipelined.acquire().await.ok()
    }

    /// Returns the limit that one more connection would exceed.
    fn shortage(&self, entries: &Entries, owner: Owner) -> Option<Shortage> {
        let unauthenticated = || entries.connections.values().filter(|entry| !entry.is_authenticated());
        // Fast path: below the smallest limit there is nothing to count.
        if entries.connections.len() < self.limits.unauthenticated_per_owner {
            None
        } else if unauthenticated().filter(|entry| entry.owner == owner).count()
            >= self.limits.unauthenticated_per_owner
        {
            Some(Shortage::Owner)
        } else if unauthenticated().count() >= self.limits.unauthenticated {
            Some(Shortage::Unauthenticated)
        } else {
            (entries.connections.len() >= self.limits.connections).then_some(Shortage::All)
        }
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shortage {
    All,
    Owner,
    Unauthenticated,
}

impl Entries {
    /// Returns the connection to evict.
    fn victim(&self, shortage: Shortage, owner: Owner) -> Option<u64> {
        let owner = match shortage {
            Shortage::Owner => Some(owner),
            Shortage::All | Shortage::Unauthenticated => self.largest_owner(),
        };
        let unauthenticated = self
            .connections
            .values()
            .filter(|entry| !entry.is_authenticated() && Some(entry.owner) == owner)
            .min_by_key(|entry| (entry.idle_since(), entry.id));
        let idle = || {
            let idle = self.connections.values().filter(|entry| entry.idle_since() != NEVER);
            idle.min_by_key(|entry| (entry.idle_since(), entry.id))
        };
        unauthenticated.or_else(idle).map(|entry| entry.id)
    }

    /// Returns the owner with the most connections that have not presented the token.
    fn largest_owner(&self) -> Option<Owner> {
        let mut counts = BTreeMap::new();
        for entry in self.connections.values().filter(|entry| !entry.is_authenticated()) {
            *counts.entry(entry.owner).or_insert(0_usize) += 1;
        }
        counts.into_iter().max_by_key(|(_, count)| *count).map(|(owner, _)| owner)
    }
}

impl ConnectionSlot {
    /// Returns the table that the slot is in.
    pub(super) fn table(&self) -> &ConnectionTable {
        &self.table
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        self.table.entries().connections.remove(&self.connection.id);
    }
}

impl Connection {
    fn new(id: u64, owner: Owner, epoch: Instant) -> Self {
        let connection = Self {
            id,
            owner,
            epoch,
            authenticated: AtomicBool::new(false),
            waiting_since: AtomicU64::new(NEVER),
            stalled_since: AtomicU64::new(NEVER),
            discards: AtomicBool::new(false),
            ambiguous: AtomicBool::new(false),
            received: AtomicBool::new(false),
            evicted: Notify::new(),
        };
        connection.mark_waiting();
        connection
    }

    /// Records that the client has presented the token.
    pub(super) fn authenticate(&self) {
        self.authenticated.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_authenticated(&self) -> bool {
        self.authenticated.load(Ordering::Relaxed)
    }

    /// Records that the server waits for the client to send a request or the rest of one.
    pub(super) fn mark_waiting(&self) {
        self.waiting_since.store(self.now(), Ordering::Relaxed);
    }

    /// Records that a request has arrived and is being processed.
    pub(super) fn mark_working(&self) {
        self.waiting_since.store(NEVER, Ordering::Relaxed);
    }

    /// Records that the client does not read its response.
    pub(super) fn mark_stalled(&self) {
        self.stalled_since.store(self.now(), Ordering::Relaxed);
    }

    /// Records that the client reads its response again.
    pub(super) fn mark_progress(&self) {
        self.stalled_since.store(NEVER, Ordering::Relaxed);
    }

    /// Records that the connection closes after this response, although the client may still be sending.
    pub(super) fn discard_rest(&self) {
        self.discards.store(true, Ordering::Relaxed);
    }

    /// Records that bytes arrived.
    pub(super) fn mark_received(&self) {
        self.received.store(true, Ordering::Relaxed);
    }

    /// Returns whether the request just read arrived together with the previous one.
    pub(super) fn is_pipelined(&self) -> bool {
        !self.received.swap(false, Ordering::Relaxed)
    }

    /// Records that a chunked request also had a `Content-Length`.
    pub(super) fn mark_ambiguous(&self) {
        self.ambiguous.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_ambiguous(&self) -> bool {
        self.ambiguous.load(Ordering::Relaxed)
    }

    pub(super) fn discards_rest(&self) -> bool {
        self.discards.load(Ordering::Relaxed)
    }

    /// Returns the timeout of a write without progress.
    pub(super) fn write_timeout(&self) -> Duration {
        if self.is_authenticated() { WRITE_TIMEOUT } else { UNAUTHENTICATED_WRITE_TIMEOUT }
    }

    /// Waits until the connection is evicted.
    pub(super) async fn evicted(&self) {
        self.evicted.notified().await;
    }

    /// Returns when the client became idle; [`NEVER`] while it is not.
    fn idle_since(&self) -> u64 {
        self.waiting_since.load(Ordering::Relaxed).min(self.stalled_since.load(Ordering::Relaxed))
    }

    fn now(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_micros()).unwrap_or(NEVER - 1)
    }
}

const NEVER: u64 = u64::MAX;
const OPEN_FILES_ASSUMED: u64 = 1024;
/// Pipelined requests of all connections that run at a time.
const PIPELINED_AT_ONCE: usize = 2;
/// Minimum connections, on a system that allows few open files.
const CONNECTIONS_MIN: usize = 64;
/// Timeout of a write without progress.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// The same for a client that has not presented the token.
const UNAUTHENTICATED_WRITE_TIMEOUT: Duration = Duration::from_secs(5);

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests {
    use super::*;

    const LIMITS: Limits =
        Limits { connections: 8, unauthenticated: 4, unauthenticated_per_owner: 3, requests: 6, streams: 2 };

    fn ids(table: &ConnectionTable) -> Vec<u64> {
        table.entries().connections.keys().copied().collect()
    }

    fn admit(table: &Arc<ConnectionTable>, uid: u32) -> ConnectionSlot {
        // Idle times are in microseconds and must differ.
        std::thread::sleep(Duration::from_micros(20));
        table.admit(Owner::User(uid)).unwrap()
    }

    #[test]
    fn limits_leave_room_for_everything_else_that_is_open() {
        for open_files in [256, 1024, 1 << 20] {
            let limits = Limits::for_open_files(open_files);
            assert!(limits.connections as u64 <= open_files / 2);
            assert!(limits.streams < limits.requests && limits.requests < limits.connections);
            assert!(limits.unauthenticated_per_owner < limits.unauthenticated);
            assert!(limits.unauthenticated + limits.unauthenticated_per_owner < limits.connections);
        }
        assert!(Limits::for_open_files(u64::MAX).unauthenticated_per_owner > 300);
    }

    #[test]
    fn an_owner_beyond_its_share_loses_its_own_oldest_idle_connection() {
        let table = ConnectionTable::new(LIMITS);
        let other = admit(&table, 1);
        let mine = [(); 3].map(|()| admit(&table, 2));
        // The first connection was active since.
        std::thread::sleep(Duration::from_micros(20));
        mine[0].connection.mark_waiting();
        let newest = admit(&table, 2);
        assert_eq!(ids(&table), [0, 1, 3, 4], "the second of its owner went");
        drop((other, mine, newest));
        assert!(ids(&table).is_empty());
    }

    #[test]
    fn where_all_owners_have_too_many_the_largest_gives_way() {
        let table = ConnectionTable::new(LIMITS);
        let slots = [1, 2, 2, 3].map(|uid| admit(&table, uid));
        let newest = admit(&table, 4);
        assert_eq!(ids(&table), [0, 2, 3, 4]);
        drop((slots, newest));
    }

    #[test]
    fn whoever_has_shown_the_token_goes_last_and_only_while_idle() {
        let table = ConnectionTable::new(LIMITS);
        let slots: Vec<ConnectionSlot> = (0..7)
            .map(|_| {
                let slot = admit(&table, 1);
                slot.connection.authenticate();
                slot
            })
            .collect();
        let stranger = admit(&table, 1);
        let first = admit(&table, 2);
        assert_eq!(ids(&table), [0, 1, 2, 3, 4, 5, 6, 8], "the only one without the token went");
        first.connection.authenticate();
        for slot in &slots {
            slot.connection.mark_working();
        }
        slots[5].connection.mark_stalled();
        std::thread::sleep(Duration::from_micros(20));
        first.connection.mark_waiting();
        let second = admit(&table, 2);
        second.connection.authenticate();
        assert_eq!(ids(&table), [0, 1, 2, 3, 4, 6, 8, 9], "one whose client reads nothing went");
        let third = admit(&table, 2);
        third.connection.authenticate();
        third.connection.mark_working();
        second.connection.mark_working();
        assert_eq!(ids(&table), [0, 1, 2, 3, 4, 6, 9, 10]);
        assert!(table.admit(Owner::User(2)).is_none(), "all are at work");
        drop(stranger);
    }

    #[tokio::test]
    async fn an_evicted_connection_is_told() {
        let table = ConnectionTable::new(LIMITS);
        let slots: Vec<ConnectionSlot> = (0..3).map(|_| admit(&table, 1)).collect();
        let newest = admit(&table, 1);
        tokio::time::timeout(Duration::from_secs(5), slots[0].connection.evicted()).await.unwrap();
        drop(newest);
    }

    #[test]
    fn requests_and_streams_are_counted() {
        let table = ConnectionTable::new(LIMITS);
        let streams: Vec<_> = (0..3).map(|_| table.begin_stream()).collect();
        assert_eq!(streams.iter().flatten().count(), 2);
        drop(streams);
        assert!(table.begin_stream().is_some());
        let requests: Vec<_> = (0..7).map(|_| table.begin_request()).collect();
        assert_eq!(requests.iter().flatten().count(), 6);
    }
}
