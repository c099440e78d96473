//! Authenticated byte streams between nodes: TCP, Noise with the node's Ed25519 key, yamux, all of it libp2p's.
//!
//! Each connection carries exactly one long-lived stream, which its dialler opens. A connection is reported once
//! that stream is open and the other end has proved its key, and it lives exactly as long as the stream: dropping
//! the stream closes the connection, losing the connection ends the stream.

mod behaviour;
mod libp2p;
mod multiplexer;
mod stream;
mod tcp;
#[cfg(test)]
mod tests;

pub use self::libp2p::{Libp2pTransport, Limits, all_addresses};
pub use self::stream::LinkStream;
pub use self::tcp::BindError;
