//! When to read the interfaces again.
//!
//! On Linux a netlink socket signals that a link or an address has changed. The content of its messages is ignored: the
//! interfaces are read as a whole, so no change can be missed. A slow periodic read covers lost messages, and hosts
//! without netlink.

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket,
};
use std::future::Future;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, Sleep, sleep};

/// Signals that the interfaces may have changed.
#[derive(Debug)]
pub(super) struct InterfaceWatcher {
    /// `None` if the host has no netlink.
    netlink: Option<AsyncFd<OwnedFd>>,
    /// The next read.
    next_read: Pin<Box<Sleep>>,
    last_read: Option<Instant>,
}

impl InterfaceWatcher {
    /// Starts to watch. Must be called inside a tokio runtime.
    pub(super) fn new() -> Self {
        let netlink = netlink().inspect_err(|error| tracing::debug!(%error, "no netlink")).ok();
        Self { netlink, next_read: Box::pin(sleep(Duration::ZERO)), last_read: None }
    }

    /// Waits until the interfaces should be read: at the start, soon after a change, and periodically.
    pub(super) fn poll_change(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.poll_netlink(cx) {
            // Changes come in groups. The first of a group is handled at once.
            let soon = self.last_read.map_or_else(Instant::now, |read| read + READ_INTERVAL_MIN);
            if soon < self.next_read.deadline() {
                self.next_read.as_mut().reset(soon);
            }
        }
        std::task::ready!(self.next_read.as_mut().poll(cx));
        let now = Instant::now();
        self.last_read = Some(now);
        self.next_read.as_mut().reset(now + READ_INTERVAL);
        Poll::Ready(())
    }

    /// Tells whether netlink has signalled a change, and registers for the next signal.
    fn poll_netlink(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(netlink) = &self.netlink else { return false };
        let mut said = false;
        while let Poll::Ready(guard) = netlink.poll_read_ready(cx) {
            let Ok(mut guard) = guard else { break };
            let mut buffer = [0; 4096];
            let read = |fd: &AsyncFd<OwnedFd>| {
                recv(fd.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT).map_err(io::Error::from)
            };
            match guard.try_io(read) {
                // An error means that messages were lost, which also counts as a change.
                Ok(_) => said = true,
                Err(_would_block) => {}
            }
        }
        said
    }
}

#[expect(deprecated, reason = "sound with a descriptor that is owned here, and the new way is not safe code")]
fn netlink() -> io::Result<AsyncFd<OwnedFd>> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute)?;
    let groups = nix::libc::RTMGRP_LINK | nix::libc::RTMGRP_IPV4_IFADDR | nix::libc::RTMGRP_IPV6_IFADDR;
    bind(socket.as_raw_fd(), &NetlinkAddr::new(0, u32::try_from(groups).unwrap_or_default()))?;
    AsyncFd::with_interest(socket, Interest::READABLE)
}

/// Minimum time between two reads.
const READ_INTERVAL_MIN: Duration = Duration::from_millis(50);
/// Maximum time between two reads.
const READ_INTERVAL: Duration = Duration::from_secs(10);
