//! The real world around the engine: one driver loop over six ports, and what stands behind each port here.

#![forbid(unsafe_code)]
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
pub mod multicast;
#[cfg(feature = "node")]
mod node_thread;
#[cfg(feature = "node")]
pub mod observers;
#[cfg(feature = "node")]
pub mod registry;
#[cfg(feature = "node")]
mod regular_file;
#[cfg(feature = "node")]
pub mod service;
#[cfg(feature = "node")]
pub mod store;
#[cfg(feature = "node")]
pub mod transport;
