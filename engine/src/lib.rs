//! A mesh node as a pure state machine.
//!
//! The engine takes [`Input`]s with a timestamp and returns [`Output`]s. It reads no clock, opens no socket, touches no
//! disk, spawns no thread and draws no entropy. The same code therefore runs against the real world and in a simulator
//! that replays it byte for byte. A driver runs this loop:
//!
//! ```
//! use engine::{Config, Identity, Input, Instant, Node, Output, Saved, UnixMillis};
//!
//! let identity = Identity::from_secret(&[7; 32]);
//! let (now, wall) = (Instant::ZERO, UnixMillis(1_700_000_000_000));
//! let mut node = Node::new(Config::default(), identity, [1; 32], now, wall, Saved::default());
//!
//! // A world in which writes succeed at once and time passes only when nothing else happens.
//! let mut now = now;
//! let mut inputs = vec![Input::Listening { port: 9000 }];
//! while now < Instant::from_micros(1_000_000) {
//!     while let Some(output) = node.poll_output() {
//!         if let Output::Write { id, .. } = output {
//!             inputs.push(Input::WriteDone { id, result: Ok(()) });
//!         }
//!     }
//!     let input = inputs.pop().unwrap_or_else(|| {
//!         now = node.poll_timeout().map_or(now, |deadline| deadline.at);
//!         Input::Tick
//!     });
//!     node.handle_input(now, input);
//! }
//! assert_eq!(node.state(), engine::lifecycle::State::Active);
//! ```

#![forbid(unsafe_code)]
#![warn(missing_docs)]
#![warn(clippy::disallowed_types, clippy::disallowed_methods, clippy::print_stdout)]

pub mod blobs;
pub mod bounded_text;
pub mod config;
mod deliveries;
mod discovery;
pub mod error;
pub mod event;
pub mod health;
pub mod heartbeat;
pub mod identity;
pub mod ids;
pub mod input;
pub mod journal;
pub mod lifecycle;
mod local_networks;
mod membership;
pub mod model;
pub mod mutants;
pub mod node;
mod node_name;
pub mod observers;
pub mod occupancy;
pub mod output;
mod peers;
mod place;
mod rate;
pub mod record;
pub mod request;
mod results;
mod rng;
mod router;
mod scheduler;
mod session;
pub mod task;
mod tasks;
pub mod testing;
pub mod time;
pub mod trace;
pub mod wire;
mod worker;
mod writes;

pub use blobs::{BlobId, BlobOrder, BlobReport};
pub use config::Config;
pub use error::{DecodeError, FetchError, InferenceError, PeerFault, Rejection, StrangerFault, WriteError};
pub use event::Event;
pub use identity::{Identity, PublicKey};
pub use ids::{
    DialId, Fingerprint, JobId, LinkId, MessageId, NodeId, ReadId, RequestId, TaskId, TraceId, WriteId,
};
pub use input::Input;
pub use membership::AdvertCache;
pub use node::{Deadline, Node, Reason};
pub use node_name::NodeName;
pub use output::Output;
pub use record::{Record, Saved};
pub use request::{Answer, Request, Response};
pub use time::{Instant, UnixMillis};
pub use trace::{SpanId, TraceContext};
