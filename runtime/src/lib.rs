//! The runtime of a node: the run loop around the engine, and the ports with their real implementations.
//!
//! The [`engine`] makes all decisions and does no I/O. This crate carries out its decisions through the [`ports`]:
//! network, disk, models and time. The simulator uses the same driver with its own ports, so it needs neither sockets
//! nor models: without the feature `node`, this crate has only the driver, the ports, the settings and the clock.
//!
//! # Ports
//!
//! | port | real implementation | what it carries |
//! |---|---|---|
//! | [`Transport`](ports::Transport) | `transport` | authenticated byte streams: TCP, Noise, yamux |
//! | [`Multicast`](ports::Multicast) | `multicast` | mDNS packets of the discovery service |
//! | [`Store`](ports::Store) | `store` | durable tasks and results, in one redb file |
//! | [`Inference`](ports::Inference) | `inference` | jobs for models, each model in a process of its own |
//! | [`Blobs`](ports::Blobs) | `blobs` | files that nodes share |
//! | [`Host`](ports::Host) | `host` | checks of the node's own process and files |
//! | [`Clock`](ports::Clock) | [`clock`] | monotonic time and the wall clock |
//! | [`Journal`](ports::Journal) | `observers` | sees every input and output: event log, recording |
//!
//! The [`driver`] repeats one step: carry out the outputs of the node, wait for one input, handle it. Clients reach
//! the node through a [`driver::Handle`]; the control API in `http` is one of them.
//!
//! # Start and stop
//!
//! `service::Service::start` finds every fault of the set-up before others can see the node. In order:
//!
//! 1. checks (`service/preflight.rs`): lock of the [`home`], [`config`], log, key;
//! 2. sockets (`service/listeners.rs`): port for peers, then the control API, which reports that the node is starting;
//! 3. storage (`service/storage.rs`): tasks, results and files of the last run;
//! 4. the catalog of models, the recording, and the driver on its thread.
//!
//! The readiness file appears when the node is ACTIVE. A stop runs backwards: the engine drains its tasks and ends
//! with an exit status, then the recording, the API, the run directory, the log and the lock are closed.
//!
//! # Threads
//!
//! | thread | what runs on it |
//! |---|---|
//! | `node` | sockets, ciphers, links, the driver and the engine: the whole path of a message |
//! | tokio's workers | the control API, the worker processes of models, the catalog |
//! | `store` | groups writes, commits them to disk, and reports them |
//! | `blobs-out`, `blobs-in` | read pieces for other nodes; write received pieces |
//! | `log` | writes log lines |
//! | `otlp` | sends spans to a collector, if there is one |
//! | `recording` | writes the recording, if there is one |
//! | `pull` | downloads a model, one thread per download |
//!
//! Bounded queues connect them. No thread waits for the disk of another: a full queue drops, rejects or slows down
//! its sender, and each queue says which.
//!
//! # Where to start reading
//!
//! [`driver`] and [`ports`] are the core, in 500 lines. Then read `service` for the assembly, and the implementation
//! of the port that interests you. `links.rs` cuts byte streams into frames, between `transport` and the driver.

#![forbid(unsafe_code)]
#![warn(missing_docs)]
#![warn(clippy::print_stdout)]

pub mod cgroup;
pub mod clock;
pub mod config;
pub mod driver;
pub mod home;
mod links;
pub mod ports;
pub mod startup;
pub mod text;

#[cfg(feature = "node")]
pub mod blobs;
#[cfg(feature = "node")]
pub mod catalog;
#[cfg(feature = "node")]
pub mod containment;
#[cfg(feature = "node")]
pub mod hardening;
#[cfg(feature = "node")]
pub mod host;
#[cfg(feature = "node")]
pub mod http;
#[cfg(feature = "node")]
pub mod hub;
#[cfg(feature = "node")]
pub mod identity;
#[cfg(feature = "node")]
pub mod inference;
#[cfg(feature = "node")]
pub mod logging;
#[cfg(feature = "node")]
mod memory_map;
#[cfg(feature = "node")]
pub mod metrics;
#[cfg(feature = "node")]
pub mod multicast;
#[cfg(feature = "node")]
mod node_thread;
#[cfg(feature = "node")]
pub mod observers;
#[cfg(feature = "node")]
mod profile;
#[cfg(feature = "node")]
pub mod registry;
#[cfg(feature = "node")]
mod regular_file;
#[cfg(feature = "node")]
pub mod service;
#[cfg(feature = "node")]
pub mod snapshot;
#[cfg(feature = "node")]
pub mod store;
#[cfg(feature = "node")]
pub mod transport;
