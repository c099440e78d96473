//! The rate limit for reads of a multicast socket.
//!
//! Beyond the limit nothing is read, and the operating system drops packets that do not fit into its buffer, at no cost
//! to the node. Thus a flood cannot take more of a core than this allows.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep_until};

/// A rate limiter: the number of packets that may be read now, and when the next may be read.
#[derive(Debug)]
pub(super) struct Pace {
    /// When all packets read so far would have been due at the steady rate.
    paid_until: Instant,
    wait: Option<Pin<Box<Sleep>>>,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self { paid_until: Instant::now(), wait: None }
    }

    /// Waits until another packet may be read.
    pub(super) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(wait) = &mut self.wait {
            std::task::ready!(wait.as_mut().poll(cx));
            self.wait = None;
        }
        let ahead = self.paid_until.saturating_duration_since(Instant::now());
        if ahead < PACKET_PERIOD * BURST {
            return Poll::Ready(());
        }
        // Waking for each packet would cost more than the packet itself.
        let mut wait = Box::pin(sleep_until(self.paid_until - PACKET_PERIOD * (BURST - REFILL)));
        let poll = wait.as_mut().poll(cx);
        self.wait = Some(wait);
        poll
    }

    /// Records that a packet was read.
    pub(super) fn spend(&mut self) {
        self.paid_until = self.paid_until.max(Instant::now()) + PACKET_PERIOD;
    }
}

/// The steady rate is one packet per millisecond: several times the traffic of a large office.
const PACKET_PERIOD: Duration = Duration::from_millis(1);
/// Packets that may be read at once after a quiet period.
const BURST: u32 = 4000;
/// Packets that may be read after a wait.
const REFILL: u32 = 50;

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    #[tokio::test(start_paused = true)]
    async fn a_burst_passes_and_then_the_rate() {
        let mut pace = Pace::new();
        let begun = Instant::now();
        for _ in 0..BURST {
            poll_fn(|cx| pace.poll_ready(cx)).await;
            pace.spend();
        }
        assert_eq!(begun.elapsed(), Duration::ZERO);
        for _ in 0..1000 {
            poll_fn(|cx| pace.poll_ready(cx)).await;
            pace.spend();
        }
        let taken = begun.elapsed();
        assert!(taken > Duration::from_millis(900) && taken < Duration::from_millis(1100), "{taken:?}");
    }
}
