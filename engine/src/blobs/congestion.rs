//! The congestion window of the requests to one peer.
//!
//! Pieces in flight fill the queues on their path and delay other traffic there. So the window follows the delay, as in
//! LEDBAT (RFC 6817). It grows while pieces arrive about as fast as the fastest one, which means that queues are empty.
//! It shrinks when pieces take far longer.

use crate::time::Instant;
use core::time::Duration;

/// The window of the requests to one peer.
#[derive(Debug)]
pub(super) struct Window {
    /// Maximum number of concurrent requests.
    size: u32,
    in_flight: u32,
    /// The delay of the fastest piece.
    fastest: Duration,
    shrunk_at: Instant,
    /// The peer asked for a backoff until then.
    rests_until: Instant,
    /// Refusals since the last piece.
    refusals: u32,
    /// Timeouts since the last piece.
    silences: u32,
}

impl Default for Window {
    fn default() -> Self {
        Self {
            size: 2,
            in_flight: 0,
            fastest: Duration::MAX,
            shrunk_at: Instant::ZERO,
            rests_until: Instant::ZERO,
            refusals: 0,
            silences: 0,
        }
    }
}

impl Window {
    pub(super) fn has_room(&self, now: Instant) -> bool {
        self.in_flight < self.size && self.rests_until <= now
    }

    pub(super) fn handle_asked(&mut self) {
        self.in_flight += 1;
    }

    /// Handles the end of a request, with any result.
    pub(super) fn handle_over(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// Adjusts the window to the delay of a piece.
    pub(super) fn handle_piece(&mut self, now: Instant, took: Duration) {
        (self.refusals, self.silences) = (0, 0);
        self.fastest = self.fastest.min(took);
        if took <= self.fastest.saturating_mul(2).saturating_add(DELAY_TOLERANCE) {
            self.size = (self.size + 1).min(SIZE_MAX);
        } else if took > self.fastest.saturating_mul(4).saturating_add(DELAY_EXCESS)
            // Once for all pieces that were in flight together.
            && now.since(self.shrunk_at) > took
        {
            self.shrunk_at = now;
            self.size = (self.size / 2).max(1);
        }
    }

    /// Shrinks the window because a piece is late.
    pub(super) fn handle_late(&mut self) {
        self.size = 1;
    }

    /// Handles a refusal by a busy peer. Tells whether there were too many in a row.
    pub(super) fn handle_refused(&mut self, now: Instant) -> bool {
        self.rests_until = now.after(REFUSED_BACKOFF);
        self.refusals += 1;
        self.refusals >= REFUSALS_MAX
    }

    /// Handles a timeout. Tells whether there were too many in a row.
    pub(super) fn handle_silent(&mut self) -> bool {
        self.silences += 1;
        self.silences >= TIMEOUTS_MAX
    }

    /// Returns the end of the backoff, if there is one.
    pub(super) fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        (self.rests_until > now).then_some(self.rests_until)
    }
}

/// The maximum window, in pieces.
pub(super) const SIZE_MAX: u32 = 16;
/// A piece that exceeds twice the fastest by at most this means empty queues.
const DELAY_TOLERANCE: Duration = Duration::from_millis(4);
/// A piece that exceeds four times the fastest by more than this means congestion.
const DELAY_EXCESS: Duration = Duration::from_millis(40);
/// The backoff after a refusal by a busy peer.
const REFUSED_BACKOFF: Duration = Duration::from_millis(200);
/// Timeouts in a row after which a peer is given up.
const TIMEOUTS_MAX: u32 = 3;
/// Refusals in a row after which a peer is given up.
const REFUSALS_MAX: u32 = 50;

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn the_window_grows_until_pieces_queue_and_shrinks_once_when_they_queue_long() {
        let mut window = Window::default();
        let at = |millis: u64| Instant::from_micros(1_000 * millis);
        (0..100).for_each(|_| window.handle_piece(at(1_000), millis(10)));
        assert_eq!(window.size, SIZE_MAX);
        window.handle_piece(at(1_000), millis(25));
        assert_eq!(window.size, SIZE_MAX, "between the two it stays");
        (0..5).for_each(|_| window.handle_piece(at(1_000), millis(81)));
        assert_eq!(window.size, SIZE_MAX / 2);
        window.handle_piece(at(1_082), millis(81));
        assert_eq!(window.size, SIZE_MAX / 4);
    }

    #[test]
    fn a_peer_that_has_too_much_to_do_is_left_alone_for_a_while_and_given_up_in_the_end() {
        let mut window = Window::default();
        let start = Instant::from_micros(1);
        assert!(!window.handle_refused(start));
        assert!(!window.has_room(start));
        assert!(window.has_room(window.poll_timeout(start).unwrap()));
        assert_eq!((1..REFUSALS_MAX).filter(|_| window.handle_refused(start)).count(), 1);
        window.handle_piece(start, millis(1));
        assert!(!window.handle_refused(start));
    }
}
