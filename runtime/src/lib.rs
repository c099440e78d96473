//! The real world around the engine: one driver loop over six ports, and what stands behind each port here.

#![forbid(unsafe_code)]
#![warn(clippy::print_stdout)]

#[cfg(feature = "http")]
pub mod blobs;
#[cfg(all(feature = "hub", feature = "embedded-model"))]
pub mod catalog;
pub mod cgroup;
pub mod clock;
pub mod config;
pub mod containment;
pub mod driver;
#[cfg(feature = "candle")]
pub mod hardening;
pub mod home;
pub mod host;
#[cfg(feature = "http")]
pub mod http;
#[cfg(feature = "hub")]
pub mod hub;
pub mod identity;
#[cfg(feature = "candle")]
pub mod inference;
mod links;
pub mod logging;
#[cfg(feature = "libp2p")]
pub mod multicast;
#[cfg(all(feature = "http", feature = "libp2p", feature = "redb", feature = "embedded-model"))]
mod node_thread;
pub mod observers;
pub mod ports;
#[cfg(feature = "http")]
pub mod registry;
#[cfg(any(feature = "candle", feature = "hub"))]
mod regular_file;
#[cfg(all(feature = "http", feature = "libp2p", feature = "redb", feature = "embedded-model"))]
pub mod service;
pub mod startup;
pub mod store;
pub mod text;
#[cfg(feature = "libp2p")]
pub mod transport;
