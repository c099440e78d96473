//! Runs commands from standard input, one a line, with the library mdns-sd, and answers each with `True` or `False`.
//!
//! The commands are `find ID` and `lost ID` (a node's service), `host NAME` (a host's address), `register ID` and
//! `unregister ID`.

use mdns_sd::{HostnameResolutionEvent, Receiver, ServiceDaemon, ServiceEvent, ServiceInfo};
use std::error::Error;
use std::io::stdin;
use std::time::{Duration, Instant};

const SERVICE: &str = "_p2p-ai-agents._tcp.local.";
const TIMEOUT: Duration = Duration::from_secs(5);

fn main() -> Result<(), Box<dyn Error>> {
    let daemon = ServiceDaemon::new()?;
    let services = daemon.browse(SERVICE)?;
    for line in stdin().lines() {
        let line = line?;
        let (command, name) = line.split_once(' ').ok_or("expected a command and a name")?;
        let full_name = format!("{name}.{SERVICE}");
        let good = match command {
            "find" => awaits(&services, |event| match event {
                ServiceEvent::ServiceResolved(found) => {
                    found.fullname == full_name && found.port > 0 && !found.addresses.is_empty()
                }
                _ => false,
            }),
            "lost" => awaits(&services, |event| {
                matches!(event, ServiceEvent::ServiceRemoved(_, lost) if *lost == full_name)
            }),
            "host" => awaits(&daemon.resolve_hostname(name, None)?, |event| {
                matches!(event, HostnameResolutionEvent::AddressesFound(..))
            }),
            "register" => {
                let properties = [("net", "local")].as_slice();
                let host = "made-up-too.local.";
                daemon.register(ServiceInfo::new(SERVICE, name, host, "10.1.0.9", 9000, properties)?)?;
                true
            }
            "unregister" => daemon.unregister(&full_name)?.recv_timeout(TIMEOUT).is_ok(),
            _ => return Err(format!("no such command: {command}").into()),
        };
        println!("{}", if good { "True" } else { "False" });
    }
    Ok(())
}

/// Waits until an event is the one that is looked for.
fn awaits<T>(events: &Receiver<T>, is_it: impl Fn(&T) -> bool) -> bool {
    let until = Instant::now() + TIMEOUT;
    while let Ok(event) = events.recv_timeout(until.saturating_duration_since(Instant::now())) {
        if is_it(&event) {
            return true;
        }
    }
    false
}
