//! Limits that several modules share: how large requests may be, how long they may take, how many there may be.

use std::time::Duration;

/// The most connections at a time.
pub(super) const CONNECTIONS_MAX: usize = 1024;
/// A body may have this many bytes: the longest input, with every byte escaped as `\u00xx`, and its frame.
pub(super) const BODY_BYTES_MAX: usize = 2 << 20;
/// The largest body where many texts come together.
pub(super) const LARGE_BODY_BYTES_MAX: usize = 8 << 20;
/// The longest that a client may wait for a task in one request.
pub(super) const WAIT_SECS_MAX: u64 = 60;
/// Whatever is asked, an answer is there by then.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(WAIT_SECS_MAX + 10);
/// The longest that a generation may take, in seconds.
pub(super) const GENERATION_SECS_MAX: u64 = 600;
/// Generations of one request that wait or run at the same time: one client leaves room for others.
pub(super) const GENERATIONS_AT_ONCE: usize = 8;
/// The same for what waits for whole generations, which may wait for room as well.
pub(super) const SLOW_REQUEST_TIMEOUT: Duration = Duration::from_secs(GENERATION_SECS_MAX + 30);
