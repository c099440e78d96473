//! `dashboard start`: serves the page in front of a running node.
//!
//! The page and its logins belong to this process, so both survive a restart of the node. Every other request goes to
//! the node, with its token. Instead of a running node, the page can show a recorded one.

use super::browser;
use super::recording::Recording;
use crate::client::Client;
use crate::commands::loopback;
use crate::commands::stop_signals::StopSignals;
use crate::error::{Failure, Outcome};
use crate::homes::{self, SelectedHome};
use crate::output;
use crate::terminal;
use api::ErrorDetail;
use api::dashboard::Access;
use clap::Args;
use runtime::home::{Holder, Home};
use runtime::http::{self, Forwarder, Sessions, StartupRouter, Token};
use std::io::{self, BufRead, IsTerminal};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// Port of the page on loopback [default: 8080, or the next free port]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1024..), value_name = "PORT")]
    port: Option<u16>,
    /// Show the node of this network, whatever its home
    #[arg(long, value_name = "NAME", conflicts_with = "recording")]
    network: Option<String>,
    /// Play this recording of `node start --record` or `sim run --record` in real time, instead of a running node
    #[arg(long, value_name = "FILE")]
    recording: Option<PathBuf>,
    /// Open the page in the browser
    #[arg(long)]
    open: bool,
}

/// What the page shows.
enum Shown {
    Node(Home),
    Recording(Box<Recording>),
}

pub(super) fn run(home: &SelectedHome, arguments: &Arguments) -> Outcome {
    let shown = match &arguments.recording {
        Some(file) => Shown::Recording(Box::new(Recording::open(file)?)),
        None => Shown::Node(running(home, arguments)?),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(THREADS).enable_all().build()?;
    runtime.block_on(serve(shown, arguments))?;
    runtime.shutdown_background();
    Ok(ExitCode::SUCCESS)
}

/// Returns the home of the running node that the page shows.
fn running(home: &SelectedHome, arguments: &Arguments) -> Result<Home, Failure> {
    let home = match &arguments.network {
        Some(network) => of_network(network)?,
        None => home.open()?,
    };
    if home.holder() == Holder::Nobody {
        return Err(homes::not_running(&home));
    }
    Ok(home)
}

async fn serve(shown: Shown, arguments: &Arguments) -> Result<(), Failure> {
    let mut signals = StopSignals::new()?;
    let listener = loopback::listen(arguments.port)?;
    let address = listener.local_addr()?;
    let sessions = Arc::new(Sessions::open(address.port(), None));
    let token = Arc::new(Token::random()?);
    let router = StartupRouter::new(address, Arc::clone(&token), Arc::clone(&sessions));
    // A recording cannot be changed.
    let access = if matches!(shown, Shown::Node(_)) { Access::Full } else { Access::Read };
    let url = new_address(&sessions, access, address)?;
    let (what, run_directory) = match shown {
        Shown::Node(home) => {
            router.attach_front(forwarder(home.clone()));
            (format!("the node in {}", home.root().display()), Some(home.run_directory()))
        }
        Shown::Recording(recording) => {
            let what = format!("the recording {}", recording.file().display());
            recording.serve(&router, address, token, Arc::clone(&sessions))?;
            (what, std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from))
        }
    };
    output::line(&url)?;
    let what = terminal::sanitize_line(&what);
    // The server runs on if the reader of its output only wanted the address.
    output::try_notice(&format!("Dashboard of {what}. The address works once, within a minute."));
    let opened = || browser::open(run_directory.as_deref()?, &url).ok();
    if arguments.open && opened().is_none() {
        output::try_notice("This machine has no browser that can be opened from here.");
    }
    if io::stdin().is_terminal() {
        output::try_notice("Press Enter for another address, Ctrl-C to end.");
        std::thread::spawn(move || give_addresses(&sessions, access, address));
    }
    let stop = async move {
        signals.next().await;
    };
    http::serve(listener, router, stop).await;
    Ok(())
}

/// Prints a new address for each line that the user enters.
fn give_addresses(sessions: &Sessions, access: Access, address: SocketAddr) {
    for _ in io::stdin().lock().lines().map_while(Result::ok) {
        match new_address(sessions, access, address) {
            Ok(url) => output::try_notice(&url),
            Err(failure) => _ = failure.report(),
        }
    }
}

fn new_address(sessions: &Sessions, access: Access, address: SocketAddr) -> Result<String, Failure> {
    let (code, _) = sessions.create_code(access)?;
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
    Forwarder::new(stopped, move || Client::connect(&home).ok().map(|client| client.forward_target()))
}

const THREADS: usize = 2;
