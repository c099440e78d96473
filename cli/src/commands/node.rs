//! `node`: this machine's node.

pub(super) mod config;
pub(super) mod health;
pub(super) mod install_service;
pub(super) mod list;
pub(super) mod logs;
pub(super) mod monitor;
pub(super) mod peers;
pub(super) mod ready;
pub(super) mod restart;
pub(super) mod start;
pub(super) mod status;
pub(super) mod stop;
