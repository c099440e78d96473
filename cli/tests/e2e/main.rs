//! End-to-end tests: the real binary, processes, sockets and files, on loopback only.
//!
//! Tests run side by side on one machine, so each has a network, a registry and homes of its own.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

mod alerts;
mod announcements;
mod api_overload;
mod bad_input;
mod container;
mod crashes;
mod dashboard;
mod debug;
mod demo;
mod doc_tours;
mod doctor;
mod generations;
mod hardening;
mod harness;
mod held_disk;
mod hostile_peer;
mod identity;
mod interfaces;
mod leases;
mod lifecycle;
mod mesh;
mod metrics;
mod models;
mod names;
mod namespaces;
mod neighbours;
mod openai;
mod operate;
mod overload;
mod raw_peer;
mod reads;
mod recording;
mod shells;
mod shutdown;
mod sim;
mod storage;
#[path = "../../../runtime/tests/support/test_hub.rs"]
mod test_hub;
mod texts;
mod timeline;
mod tour;
mod traces;
