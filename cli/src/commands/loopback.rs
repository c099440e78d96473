//! The port on loopback at which this process serves a page.

use crate::error::Failure;
use runtime::http;
use tokio::net::TcpListener;

/// Binds the port that the user asked for, or else the default or the next free one.
pub(super) fn listen(port: Option<u16>) -> Result<TcpListener, Failure> {
    let first = port.unwrap_or(PORT_DEFAULT);
    http::listen_on_loopback(first, port.is_some()).map_err(|error| {
        Failure::new(format!("cannot listen on port {first}"))
            .id("port_in_use")
            .because(Some(&error))
            .hint("choose another port with --port")
    })
}

const PORT_DEFAULT: u16 = 8080;
