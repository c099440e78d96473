//! A mesh node as a pure state machine.

#![forbid(unsafe_code)]
#![warn(missing_docs)]
#![warn(clippy::disallowed_types, clippy::disallowed_methods, clippy::print_stdout)]

pub mod config;
pub mod error;
pub mod event;
pub mod heartbeat;
pub mod identity;
pub mod ids;
pub mod input;
pub mod lifecycle;
pub mod output;
pub mod record;
pub mod request;
mod rng;
pub mod task;
pub mod time;
pub mod wire;

pub use config::Config;
pub use error::{DecodeError, InferenceError, PeerFault, Rejection, WriteError};
pub use event::Event;
pub use identity::{Identity, PublicKey};
pub use ids::{DialId, JobId, LinkId, MessageId, NodeId, RequestId, TaskId, TraceId, WriteId};
pub use input::Input;
pub use output::Output;
pub use record::{Record, Saved};
pub use request::{Answer, Request, Response};
pub use time::{Instant, UnixMillis};
