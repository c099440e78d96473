//! How fast one socket is read.
//!
//! Beyond the pace nobody reads, and the operating system drops what does not fit into its buffer, which costs the
//! node nothing at all: a flood cannot take more of a core than this allows.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep_until};

/// The packets that may be read now, and when there will be more.
#[derive(Debug)]
pub(super) struct Pace {
    /// When all packets that were read would have been due at the steady rate.
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
        // Waking for each single packet would cost more than the packet does.
        let mut wait = Box::pin(sleep_until(self.paid_until - PACKET_PERIOD * (BURST - REFILL)));
        let poll = wait.as_mut().poll(cx);
        self.wait = Some(wait);
        poll
    }

    /// Takes note that a packet was read.
    pub(super) fn spend(&mut self) {
        self.paid_until = self.paid_until.max(Instant::now()) + PACKET_PERIOD;
    }
}

/// A packet each millisecond: several times what a large office says, of all services together.
const PACKET_PERIOD: Duration = Duration::from_millis(1);
/// Packets that may be read at once after a quiet time.
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
