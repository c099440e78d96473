//! Authenticated byte streams between nodes: libp2p's TCP, Noise with the node's Ed25519 key, and yamux.
//!
//! Each connection carries exactly one long-lived stream, opened by its dialler. A connection is reported once that
//! stream is open and the other end has proved its key. Connection and stream end together: dropping the stream closes
//! the connection, and a lost connection ends the stream.

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
