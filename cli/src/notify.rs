//! Status messages to the service manager that started this process (sd_notify(3)): one datagram per message.
//!
//! Without a manager, `NOTIFY_SOCKET` is not set and nothing is sent.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// The connection to the service manager, if there is one.
#[derive(Debug)]
pub(crate) struct ServiceManager {
    socket: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
}

impl ServiceManager {
    /// Connects to the manager that the environment names.
    pub(crate) fn from_environment() -> Self {
        let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
        // The variables of another process, which started this one, are not meant for it (sd_watchdog_enabled(3)).
        let is_meant = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let watchdog = number("WATCHDOG_USEC").filter(|_| is_meant);
        Self { socket: connect(), watchdog: watchdog.map(Duration::from_micros) }
    }

    /// Returns whether a service manager started this process.
    pub(crate) const fn exists(&self) -> bool {
        self.socket.is_some()
    }

    /// Reports that the service is ready.
    pub(crate) fn ready(&self, status: &str) {
        // A line break would start another message.
        let status: String = status.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        self.send(&format!("READY=1\nSTATUS={status}"));
    }

    /// Reports that the service is stopping.
    pub(crate) fn stopping(&self) {
        self.send("STOPPING=1");
    }

    /// Reports that the service is alive.
    pub(crate) fn alive(&self) {
        self.send("WATCHDOG=1");
    }

    /// Returns the interval of watchdog messages: half of the manager's timeout.
    pub(crate) fn watchdog(&self) -> Option<Duration> {
        self.socket.as_ref().and(self.watchdog).map(|wait| wait / 2).filter(|wait| !wait.is_zero())
    }

    fn send(&self, message: &str) {
        if let Some((socket, address)) = &self.socket {
            // There is no remedy for a manager that does not listen.
            let _ = socket.send_to_addr(message.as_bytes(), address);
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
