//! How much one peer may be asked for at a time.
//!
//! What is on its way fills the queues along it, and whatever else goes there waits behind it. So the window follows the
//! delay (as in LEDBAT, RFC 6817): it grows while a piece takes about as long as the fastest one did, which is as long
//! as nothing queues, and shrinks when pieces take far longer.

use crate::time::Instant;
use core::time::Duration;

/// The state of the requests to one peer.
#[derive(Debug)]
pub(super) struct Window {
    /// Requests that may be under way at the same time.
    size: u32,
    in_flight: u32,
    /// How long the fastest piece took.
    fastest: Duration,
    shrunk_at: Instant,
    /// The peer asked to be left alone until then.
    rests_until: Instant,
    /// Refusals since the last piece.
    refusals: u32,
    /// Times since then that nothing came for too long.
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

    /// Takes note that a request is over, whatever became of it.
    pub(super) fn handle_over(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// Takes note of how long a piece took.
    pub(super) fn handle_piece(&mut self, now: Instant, took: Duration) {
        (self.refusals, self.silences) = (0, 0);
        self.fastest = self.fastest.min(took);
        if took <= self.fastest.saturating_mul(2).saturating_add(DELAY_TOLERANCE) {
            self.size = (self.size + 1).min(SIZE_MAX);
        } else if took > self.fastest.saturating_mul(4).saturating_add(DELAY_EXCESS)
            // Once for all that was on its way together.
            && now.since(self.shrunk_at) > took
        {
            self.shrunk_at = now;
            self.size = (self.size / 2).max(1);
        }
    }

    /// Takes note that a piece is late.
    pub(super) fn handle_late(&mut self) {
        self.size = 1;
    }

    /// Takes note that the peer has too much to do; tells whether it has said so too often.
    pub(super) fn handle_refused(&mut self, now: Instant) -> bool {
        self.rests_until = now.after(REFUSED_BACKOFF);
        self.refusals += 1;
        self.refusals >= REFUSALS_MAX
    }

    /// Takes note that nothing came for too long; tells whether that was so too often.
    pub(super) fn handle_silent(&mut self) -> bool {
        self.silences += 1;
        self.silences >= TIMEOUTS_MAX
    }

    /// Returns when it may be asked again, where it is to be left alone.
    pub(super) fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        (self.rests_until > now).then_some(self.rests_until)
    }
}

/// Pieces of one peer that may be on their way at the same time.
pub(super) const SIZE_MAX: u32 = 16;
/// How much longer than twice the fastest a piece may take where nothing queues.
const DELAY_TOLERANCE: Duration = Duration::from_millis(4);
/// How much longer than four times the fastest a piece takes where too much queues.
const DELAY_EXCESS: Duration = Duration::from_millis(40);
/// How long a peer that has too much to do is left alone.
const REFUSED_BACKOFF: Duration = Duration::from_millis(200);
/// Silences in a row after which a peer is given up.
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
