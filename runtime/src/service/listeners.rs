//! The sockets of a node: links with peers, the control API, and the metrics.
//!
//! The API answers before the storage is open. Until then it reports that the node is starting.

use super::error::StartError;
use super::preflight::Preflight;
use super::storage::unusable;
use crate::clock;
use crate::config::Effective;
use crate::home::{Home, RunInfo};
use crate::http::{self, Sessions, StartupRouter, Token};
use crate::node_thread::NodeThread;
use crate::registry::{Registration, Registry};
use crate::startup::Startup;
use crate::transport::{Libp2pTransport, Limits, all_addresses};
use futures::FutureExt as _;
use futures::future::OptionFuture;
use std::path::Path;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// The open sockets, and what serves them.
pub(super) struct Listeners {
    pub(super) info: RunInfo,
    pub(super) door: StartupRouter,
    pub(super) metrics_door: Option<StartupRouter>,
    pub(super) token: Arc<Token>,
    pub(super) sessions: Arc<Sessions>,
    pub(super) api: JoinHandle<()>,
    pub(super) stop_api: oneshot::Sender<()>,
    pub(super) registration: Option<Registration>,
    pub(super) transport: Libp2pTransport,
    // Held for the tasks that run on it.
    pub(super) thread: NodeThread,
}

impl Listeners {
    pub(super) fn open(home: &Home, preflight: &Preflight, startup: &Startup) -> Result<Self, StartError> {
        let Preflight { key, effective, .. } = preflight;
        let settings = &effective.settings;
        let thread = NodeThread::start().map_err(StartError::Thread)?;
        let transport = {
            let _here = thread.enter();
            let addresses = all_addresses(settings.port);
            Libp2pTransport::bind(&key.secret, &addresses, Limits::for_peers(settings.max_peers))?
        };
        startup.done("transport");
        let listener = bind_api(effective)?;
        let api_address =
            listener.local_addr().map_err(|source| StartError::Api { port: settings.api_port, source })?;
        let metrics = bind_metrics(effective)?;
        let info = RunInfo {
            pid: std::process::id(),
            node_id: key.identity.node_id(),
            name: settings.name.clone().unwrap_or_default(),
            api_address,
            metrics_address: metrics.as_ref().and_then(|listener| listener.local_addr().ok()),
            network_port: transport.port(),
            network: settings.network.clone(),
            version: engine::Config::default().version,
            timestamp: clock::wall().to_string(),
            startup: None,
        };
        let token = Token::create(&home.token_file()).map_err(unusable(&home.token_file()))?;
        let token = Arc::new(token);
        let sessions = Sessions::open(api_address.port(), Some(home.sessions_file()));
        let sessions = Arc::new(sessions);
        let door = StartupRouter::new(api_address, Arc::clone(&token), Arc::clone(&sessions));
        let (stop_api, stopped) = oneshot::channel();
        let stopped = stopped.map(drop).shared();
        let metrics_door =
            info.metrics_address.map(|address| StartupRouter::for_metrics(address, Arc::clone(&token)));
        let serve_metrics = metrics
            .zip(metrics_door.clone())
            .map(|(listener, door)| http::serve(listener, door, stopped.clone()));
        let serve_api = http::serve(listener, door.clone(), stopped);
        let api = tokio::spawn(async {
            futures::join!(serve_api, OptionFuture::from(serve_metrics));
        });
        write_info(&home.info_file(), &info)?;
        let registration = register(home);
        startup.done("api");
        Ok(Self { info, door, metrics_door, token, sessions, api, stop_api, registration, transport, thread })
    }
}

/// Binds the port of the control API. Tries the next ports unless the user set this one.
fn bind_api(effective: &Effective) -> Result<TcpListener, StartError> {
    let port = effective.settings.api_port;
    http::listen_on_loopback(port, effective.is_explicit("api_port"))
        .map_err(|source| StartError::Api { port, source })
}

/// Binds the port of the metrics, if they have one. Unless the user set the port, the next free one is taken.
fn bind_metrics(effective: &Effective) -> Result<Option<TcpListener>, StartError> {
    let port = effective.settings.metrics_port;
    if port == 0 {
        return Ok(None);
    }
    let listener = http::listen_on_loopback(port, effective.is_explicit("metrics_port"));
    listener.map(Some).map_err(|source| StartError::Metrics { port, source })
}

/// Writes what the node publishes for other programs of its user.
pub(super) fn write_info(path: &Path, info: &RunInfo) -> Result<(), StartError> {
    info.write(path).map_err(unusable(path))
}

/// Registers the node for `node stop --all`. The node works without that.
fn register(home: &Home) -> Option<Registration> {
    Registry::open(std::env::var_os("XDG_RUNTIME_DIR").as_deref())
        .and_then(|registry| registry.add(home))
        .inspect_err(|error| tracing::warn!(%error, "node stop --all will not find this node"))
        .ok()
}
