//! Telling the service manager that started this process how it is (sd_notify(3)): one datagram for each word.
//!
//! Without a manager, `NOTIFY_SOCKET` is not set and nothing is said.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// The way to the service manager, where there is one.
#[derive(Debug)]
pub(crate) struct Manager {
    socket: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
}

impl Manager {
    /// Finds the manager that the environment names.
    pub(crate) fn of_environment() -> Self {
        let watchdog = std::env::var("WATCHDOG_USEC").ok().and_then(|text| text.parse().ok());
        Self { socket: connect(), watchdog: watchdog.map(Duration::from_micros) }
    }

    /// Says that the service is ready.
    pub(crate) fn ready(&self, status: &str) {
        // A line of its own would be another word.
        let status: String = status.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        self.say(&format!("READY=1\nSTATUS={status}"));
    }

    /// Says that the service is on its way out.
    pub(crate) fn stopping(&self) {
        self.say("STOPPING=1");
    }

    /// Says that the service is alive.
    pub(crate) fn alive(&self) {
        self.say("WATCHDOG=1");
    }

    /// Returns how often the manager wants to hear that the service is alive: twice in the time that it waits.
    pub(crate) fn watchdog(&self) -> Option<Duration> {
        self.socket.as_ref().and(self.watchdog).map(|wait| wait / 2).filter(|wait| !wait.is_zero())
    }

    fn say(&self, word: &str) {
        if let Some((socket, address)) = &self.socket {
            // A manager that does not listen cannot be helped.
            let _ = socket.send_to_addr(word.as_bytes(), address);
        }
    }
}

fn connect() -> Option<(UnixDatagram, SocketAddr)> {
    let name = std::env::var_os("NOTIFY_SOCKET")?;
    let address = match name.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(&name),
    };
    let socket = UnixDatagram::unbound().ok()?;
    socket.set_nonblocking(true).ok()?;
    Some((socket, address.ok()?))
}
