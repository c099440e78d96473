//! `dashboard start`: serves the page in front of a running node.
//!
//! The page and its logins belong to this process, so both survive a restart of the node. Every other request goes to
//! the node, with its token.

use super::browser;
use crate::error::{Failure, Outcome};
use crate::homes::{self, SelectedHome};
use crate::output;
use crate::terminal;
use api::ErrorDetail;
use api::dashboard::Access;
use clap::Args;
use runtime::home::{Holder, Home};
use runtime::http::{self, ForwardTarget, Forwarder, Sessions, StartupRouter, Token};
use std::fs::File;
use std::io::{self, BufRead, IsTerminal, Read};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// Port of the page on loopback [default: 8080, or the next free port]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1024..), value_name = "PORT")]
    port: Option<u16>,
    /// Show the node of this network, whatever its home
    #[arg(long, value_name = "NAME")]
    network: Option<String>,
    /// Open the page in the browser
    #[arg(long)]
    open: bool,
}

pub(super) fn run(home: &SelectedHome, arguments: &Arguments) -> Outcome {
    let home = match &arguments.network {
        Some(network) => of_network(network)?,
        None => home.open()?,
    };
    if home.holder() == Holder::Nobody {
        return Err(Failure::new(format!("No node is running (home: {})", home.root().display()))
            .id("node_not_running")
            .hint("start one with: p2p-ai-agents node start"));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(THREADS).enable_all().build()?;
    runtime.block_on(serve(home, arguments))?;
    runtime.shutdown_background();
    Ok(ExitCode::SUCCESS)
}

async fn serve(home: Home, arguments: &Arguments) -> Result<(), Failure> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let mut hang_up = signal(SignalKind::hangup())?;
    let listener = bind(arguments.port)?;
    let address = listener.local_addr()?;
    let sessions = Arc::new(Sessions::open(address.port(), None));
    let router = StartupRouter::new(address, Arc::new(Token::random()?), Arc::clone(&sessions));
    router.attach_front(forwarder(home.clone()));
    let url = new_address(&sessions, address)?;
    output::line(&url)?;
    output::notice(&format!(
        "Dashboard of the node in {}. The address works once, within a minute.",
        terminal::sanitize_line(&home.root().display().to_string())
    ))?;
    if arguments.open && browser::open(&home.run_directory(), &url).is_err() {
        output::notice("This machine has no browser that can be opened from here.")?;
    }
    if io::stdin().is_terminal() {
        output::notice("Press Enter for another address, Ctrl-C to end.")?;
        std::thread::spawn(move || give_addresses(&sessions, address));
    }
    let stop = async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hang_up.recv() => {}
        }
    };
    http::serve(listener, router, stop).await;
    Ok(())
}

/// Prints a new address for each line that the user enters.
fn give_addresses(sessions: &Sessions, address: SocketAddr) {
    for _ in io::stdin().lock().lines().map_while(Result::ok) {
        match new_address(sessions, address) {
            Ok(url) => output::try_notice(&url),
            Err(failure) => _ = failure.report(),
        }
    }
}

fn new_address(sessions: &Sessions, address: SocketAddr) -> Result<String, Failure> {
    let (code, _) = sessions.create_code(Access::Full)?;
    Ok(Sessions::url(address, &code))
}

/// Returns the home of the running node of a network.
fn of_network(network: &str) -> Result<Home, Failure> {
    let mut others = Vec::new();
    for home in homes::running()? {
        match home.info() {
            Some(info) if info.network == network => return Ok(home),
            Some(info) => others.push(info.network),
            None => {}
        }
    }
    let hint = if others.is_empty() {
        "start one with: p2p-ai-agents node start --network NAME".to_owned()
    } else {
        format!("running nodes are in: {}", others.join(", "))
    };
    Err(Failure::new(format!("No node of this user is running in the network {network:?}"))
        .id("node_not_running")
        .hint(hint))
}

/// Passes requests to the node of a home, if it runs.
fn forwarder(home: Home) -> Forwarder {
    let stopped = ErrorDetail {
        code: "node_not_running".to_owned(),
        message: "the node behind this page does not run".to_owned(),
        hint: Some("start it with: p2p-ai-agents node start".to_owned()),
    };
    Forwarder::new(stopped, move || {
        let address = home.info()?.api_address;
        let mut token = String::new();
        File::open(home.token_file()).ok()?.take(TOKEN_BYTES_MAX).read_to_string(&mut token).ok()?;
        Some(ForwardTarget { address, token })
    })
}

/// Binds the wanted port, or else the next free one.
fn bind(port: Option<u16>) -> Result<TcpListener, Failure> {
    let (first, tries) = port.map_or((PORT_DEFAULT, PORT_TRIES), |port| (port, 1));
    let mut refusal = io::Error::from(io::ErrorKind::AddrInUse);
    for port in (first..=u16::MAX).take(tries) {
        match http::listen(SocketAddr::from((Ipv4Addr::LOCALHOST, port))) {
            Ok(listener) => return Ok(listener),
            Err(error) => refusal = error,
        }
    }
    Err(Failure::new(format!("cannot listen on port {first}"))
        .id("port_in_use")
        .because(Some(&refusal))
        .hint("choose another port with --port"))
}

const PORT_DEFAULT: u16 = 8080;
const PORT_TRIES: usize = 100;
const THREADS: usize = 2;
const TOKEN_BYTES_MAX: u64 = 1024;
