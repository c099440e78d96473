//! Limits that several modules share: sizes, timeouts and counts.

use std::time::Duration;

/// Maximum open connections.
pub(super) const CONNECTIONS_MAX: usize = 1024;
/// Maximum body size of the control API: the longest input with every byte escaped as `\u00xx`, and its frame.
pub(super) const BODY_BYTES_MAX: usize = 2 << 20;
/// Maximum body size of routes that take many texts.
pub(super) const LARGE_BODY_BYTES_MAX: usize = 8 << 20;
/// Maximum `wait_seconds` of a request that waits for a task.
pub(super) const WAIT_SECS_MAX: u64 = 60;
/// Timeout of a request.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(WAIT_SECS_MAX + 10);
/// Timeout of a generation.
pub(super) const GENERATION_SECS_MAX: u64 = 600;
/// Concurrent generations of one request; the limit leaves capacity for other clients.
pub(super) const GENERATIONS_AT_ONCE: usize = 8;
/// Timeout of a request for whole generations, which may also wait for space in the queue.
pub(super) const SLOW_REQUEST_TIMEOUT: Duration = Duration::from_secs(GENERATION_SECS_MAX + 30);
