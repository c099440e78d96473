//! Hostile connections to the API: requests with the token and probes are served beside 300 of any kind.
//!
//! Each kind once blocked all other clients, or could: silent connections, slow ones, repeated rejected ones, and
//! ones that never read their response. `scripts/api-overload` measures the same.

use crate::harness::{Node, Sandbox, SetOnDrop, until};
use runtime::host::raise_open_files_limit;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::scope;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// A kind of hostile connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hostility {
    /// Sends a body at one byte per second.
    Body { token: bool },
    /// Sends the head of a request at one byte per second.
    Head,
    /// Sends nothing.
    Idle,
    /// Pipelines many requests and does not read the responses.
    Pipeline { token: bool },
    /// Sends a request without the token from time to time.
    Refused,
    /// Requests a stream of events and does not read it.
    Stream,
}

/// Attacks with this many connections; the node closes at least `closed_min` of them.
#[track_caller]
fn served_beside(hostility: Hostility, connections: usize, closed_min: usize) {
    let sandbox = Sandbox::new();
    let node = sandbox.node("a");
    node.start_bare();
    let pid = node.pid();
    let token = std::fs::read_to_string(node.home.token_file()).unwrap();
    raise_open_files_limit().unwrap();
    let (over, closed, opened) = (AtomicBool::new(false), AtomicUsize::new(0), Arc::<AtomicUsize>::default());
    let mut seen = Vec::new();
    scope(|scope| {
        let _over = SetOnDrop(&over);
        let alone = honest(&node, &token);
        scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let mut attackers = JoinSet::new();
                for _ in 0..connections {
                    attackers.spawn(attack(hostility, node.api(), token.clone(), Arc::clone(&opened)));
                }
                while !over.load(Ordering::Relaxed) {
                    sleep(Duration::from_millis(50)).await;
                    while let Some(ended) = attackers.try_join_next() {
                        closed.fetch_add(1, Ordering::Relaxed);
                        ended.unwrap();
                        // A connection that was closed for slowness is opened again.
                        if hostility == Hostility::Head {
                            attackers.spawn(attack(
                                hostility,
                                node.api(),
                                token.clone(),
                                Arc::clone(&opened),
                            ));
                        }
                    }
                }
            });
        });
        until("all are there", || (opened.load(Ordering::Relaxed) >= connections).then_some(()));
        for _ in 0..ROUNDS {
            let beside = honest(&node, &token);
            seen.push(beside);
            if beside <= alone * 2 + NOISE {
                break;
            }
        }
        until("those are closed", || (closed.load(Ordering::Relaxed) >= closed_min).then_some(()));
        // The command line is a client like any other.
        node.run(&["node", "ready"]).good();
        node.run(&["node", "status"]).good();
        eprintln!("{hostility:?} × {connections}: p99 alone {alone:?}, beside {seen:?}");
        assert!(
            *seen.last().unwrap() <= alone * 2 + NOISE,
            "{hostility:?}: alone {alone:?}, beside {seen:?}"
        );
    });
    assert_eq!(node.pid(), pid, "the same process");
}

/// Sends requests, each on its own connection, and returns the 99th percentile of the latency.
#[track_caller]
fn honest(node: &Node<'_>, token: &str) -> Duration {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut took: Vec<Duration> = (0..REQUESTS)
        .map(|number| {
            std::thread::sleep(Duration::from_millis(20));
            let authorization =
                if number % 4 == 0 { String::new() } else { format!("Authorization: Bearer {token}\r\n") };
            let path = if number % 4 == 0 { "/healthz" } else { "/api/v1/status" };
            let request =
                format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{authorization}Connection: close\r\n\r\n");
            let begun = Instant::now();
            let asked = runtime.block_on(async { timeout(TIMEOUT, ask(node.api(), &request)).await });
            let answer = asked.expect("an honest request is served");
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
            begun.elapsed()
        })
        .collect();
    took.sort_unstable();
    took[took.len() * 99 / 100]
}

async fn ask(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8(answer).unwrap()
}

/// Holds one connection until the node closes it.
async fn attack(hostility: Hostility, address: SocketAddr, token: String, opened: Arc<AtomicUsize>) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(2048).unwrap();
    let connected = socket.connect(address).await;
    opened.fetch_add(1, Ordering::Relaxed);
    let Ok(mut stream) = connected else { return };
    let authorization = |with: bool| {
        if with { format!("Authorization: Bearer {token}\r\n") } else { String::new() }
    };
    let head = |with, method: &str, path: &str, rest: &str| {
        let authorization = authorization(with);
        format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n{authorization}{rest}")
    };
    match hostility {
        Hostility::Idle => drop(stream.read_to_end(&mut Vec::new()).await),
        Hostility::Head => {
            let endless = head(false, "GET", "/api/v1/status", "X: ");
            drip(&mut stream, endless.bytes().chain(std::iter::repeat(b'x'))).await;
        }
        Hostility::Body { token } => {
            let length = "Content-Type: application/json\r\nContent-Length: 100000\r\n\r\n";
            let request = head(token, "POST", "/api/v1/tasks", length);
            if stream.write_all(request.as_bytes()).await.is_ok() {
                drip(&mut stream, std::iter::repeat(b' ')).await;
            }
        }
        Hostility::Refused => {
            let request = head(false, "GET", "/api/v1/status", "\r\n");
            while stream.write_all(request.as_bytes()).await.is_ok()
                && !matches!(stream.read(&mut [0; 4096]).await, Ok(0) | Err(_))
            {
                sleep(Duration::from_secs(8)).await;
            }
        }
        Hostility::Pipeline { token } => {
            let requests = head(token, "GET", "/api/v1/status", "\r\n").repeat(20_000);
            drop(stream.write_all(requests.as_bytes()).await);
        }
        Hostility::Stream => {
            let request = head(true, "GET", "/api/v1/models/events", "\r\n");
            if stream.write_all(request.as_bytes()).await.is_ok() {
                // A failed write shows that it is closed.
                std::future::pending::<()>().await;
            }
        }
    }
}

/// Sends one byte per second.
async fn drip(stream: &mut TcpStream, bytes: impl Iterator<Item = u8>) {
    for byte in bytes {
        if stream.write_all(&[byte]).await.is_err() {
            return;
        }
        let mut answer = [0; 4096];
        if let Ok(Ok(0) | Err(_)) = timeout(Duration::from_secs(1), stream.read(&mut answer)).await {
            return;
        }
    }
}

#[test]
fn beside_idle_connections() {
    served_beside(Hostility::Idle, 300, 0);
}

#[test]
fn beside_more_connections_than_there_are_places() {
    // The oldest connections are closed.
    served_beside(Hostility::Idle, 2_000, 900);
}

#[test]
fn beside_heads_a_byte_a_second() {
    served_beside(Hostility::Head, 300, 0);
}

#[test]
fn beside_bodies_a_byte_a_second() {
    served_beside(Hostility::Body { token: true }, 300, 0);
    // The request is rejected before its body.
    served_beside(Hostility::Body { token: false }, 300, 300);
}

#[test]
fn beside_refused_requests() {
    // No connection is kept.
    served_beside(Hostility::Refused, 300, 300);
}

#[test]
fn beside_refusals_that_nobody_reads() {
    served_beside(Hostility::Pipeline { token: false }, 300, 300);
}

#[test]
fn beside_answers_that_nobody_reads() {
    // Each connection has 30 s to read.
    served_beside(Hostility::Pipeline { token: true }, 300, 300);
}

#[test]
fn beside_streams_that_nobody_reads() {
    served_beside(Hostility::Stream, 300, 0);
}

/// The kernel accepts connections for a stopped process, which answers none.
#[test]
fn a_node_that_does_not_answer_is_given_up_with_a_reason() {
    use nix::sys::signal::Signal;
    let sandbox = Sandbox::new();
    let node = sandbox.node("a");
    node.start_bare();
    let pid = node.pid().unwrap();
    crate::harness::signal(pid, Signal::SIGSTOP);
    let begun = Instant::now();
    let ready = node.run(&["node", "ready"]);
    let took = begun.elapsed();
    crate::harness::signal(pid, Signal::SIGCONT);
    let error = ready.bad(1);
    assert!(error.contains("The node does not answer (pid "), "{error}");
    assert!(error.contains("caused by: no answer within 5 s"), "{error}");
    assert!(error.contains("id: node_not_answering"), "{error}");
    assert!(took < Duration::from_secs(15), "{took:?}");
    node.run(&["node", "ready"]).good();
}

const REQUESTS: usize = 60;
const ROUNDS: usize = 3;
/// Tolerance of the latency on a busy machine.
const NOISE: Duration = Duration::from_millis(50);
/// Timeout of an honest client.
const TIMEOUT: Duration = Duration::from_secs(8);
