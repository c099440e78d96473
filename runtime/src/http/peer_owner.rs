//! Owner of a loopback connection: the user whose process opened it.
//!
//! Linux reports it by `sock_diag(7)`: one request names both addresses and ports, and the kernel looks up that one
//! socket in constant time. Without it, connections are counted by address.

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
};
use std::net::{IpAddr, SocketAddr, SocketAddrV4};
use std::os::fd::{AsRawFd, OwnedFd};

/// Whose connections are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Owner {
    /// Connections from an address.
    Address(IpAddr),
    /// Connections of a user of this machine.
    User(u32),
}

/// Looks up owners.
#[derive(Debug)]
pub(super) struct OwnerLookup {
    netlink: Option<OwnedFd>,
}

impl OwnerLookup {
    pub(super) fn open() -> Self {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let netlink = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkSockDiag);
        let netlink = netlink.inspect_err(|error| {
            tracing::debug!(%error, "connections to the API are counted by address, not by user");
        });
        Self { netlink: netlink.ok() }
    }

    /// Returns the owner of a connection from `remote` to this server's address `local`.
    pub(super) fn owner(&self, remote: SocketAddr, local: SocketAddr) -> Owner {
        let uid = match (&self.netlink, remote, local) {
            (Some(netlink), SocketAddr::V4(remote), SocketAddr::V4(local)) => uid(netlink, remote, local),
            _ => None,
        };
        uid.map_or_else(|| Owner::Address(remote.ip()), Owner::User)
    }
}

/// Returns the user of the socket that is bound to `remote` and connected to `local`.
fn uid(netlink: &OwnedFd, remote: SocketAddrV4, local: SocketAddrV4) -> Option<u32> {
    let request = request(remote, local);
    sendto(netlink.as_raw_fd(), &request, &NetlinkAddr::new(0, 0), MsgFlags::empty()).ok()?;
    let mut answer = [0; ANSWER_BYTES_MAX];
    // The kernel responds before the send returns.
    let length = recv(netlink.as_raw_fd(), &mut answer, MsgFlags::MSG_DONTWAIT).ok()?;
    let answer = answer.get(..length)?;
    let kind = u16::from_ne_bytes(answer.get(4..6)?.try_into().ok()?);
    let established = answer.get(HEADER_BYTES + 1) == Some(&ESTABLISHED);
    let uid = u32::from_ne_bytes(answer.get(UID_AT..UID_AT + 4)?.try_into().ok()?);
    (kind == SOCK_DIAG_BY_FAMILY && established).then_some(uid)
}

/// Returns a `struct nlmsghdr` with a `struct inet_diag_req_v2`, from Linux's `netlink.h` and `inet_diag.h`.
fn request(remote: SocketAddrV4, local: SocketAddrV4) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(REQUEST_BYTES);
    bytes.extend((REQUEST_BYTES as u32).to_ne_bytes());
    bytes.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    bytes.extend(NLM_F_REQUEST.to_ne_bytes());
    bytes.extend([0; 8]);
    bytes.extend([AF_INET, IPPROTO_TCP, 0, 0]);
    bytes.extend(u32::MAX.to_ne_bytes());
    bytes.extend(remote.port().to_be_bytes());
    bytes.extend(local.port().to_be_bytes());
    for address in [remote.ip(), local.ip()] {
        bytes.extend(address.octets());
        bytes.extend([0; 12]);
    }
    // Any interface, and no cookie of an earlier response.
    bytes.extend([0; 4]);
    bytes.extend([0xff; 8]);
    bytes
}

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLM_F_REQUEST: u16 = 1;
const AF_INET: u8 = 2;
const IPPROTO_TCP: u8 = 6;
const ESTABLISHED: u8 = 1;
const HEADER_BYTES: usize = 16;
const REQUEST_BYTES: usize = HEADER_BYTES + 56;
/// Offset of the user id in the response: after the header, four bytes, the addresses and three numbers.
const UID_AT: usize = HEADER_BYTES + 4 + 48 + 12;
const ANSWER_BYTES_MAX: usize = 1024;

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn the_user_at_the_other_end_is_known() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let local = listener.local_addr().unwrap();
        let client = TcpStream::connect(local).unwrap();
        let remote = client.local_addr().unwrap();
        let lookup = OwnerLookup::open();
        let owner = lookup.owner(remote, local);
        // Some sandboxes have no such socket; then the address is the owner.
        let expected = match lookup.netlink {
            Some(_) => [Owner::User(nix::unistd::getuid().as_raw()), Owner::Address(remote.ip())],
            None => [Owner::Address(remote.ip()); 2],
        };
        assert!(expected.contains(&owner), "{owner:?}");
        let gone = SocketAddr::from(([127, 0, 0, 1], 1));
        assert_eq!(lookup.owner(gone, local), Owner::Address(gone.ip()));
        let lookup = OwnerLookup { netlink: None };
        assert_eq!(lookup.owner(remote, local), Owner::Address(remote.ip()));
    }
}
