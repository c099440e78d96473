//! The dashboard: the page, the login of a browser, the live stream, and the server in front of a node.

use crate::harness::{Node, Sandbox, TIMEOUT, exchange, free_port, signal, started_id, until};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStdout, Stdio};

/// A browser that is logged in to one address.
struct Browser {
    address: SocketAddr,
    cookie: String,
}

/// Returns the status, head and body of a response.
#[track_caller]
fn request(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &str,
    body: &str,
) -> (u16, String, String) {
    let length = body.len();
    let text = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nContent-Length: {length}\r\n{headers}\
         Connection: close\r\n\r\n{body}"
    );
    let answer = exchange(address, text.as_bytes());
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.get(9..12).and_then(|status| status.parse().ok());
    (status.unwrap_or_else(|| panic!("{answer:?}")), head.to_lowercase(), body.to_owned())
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

impl Browser {
    /// Opens the address of a login.
    #[track_caller]
    fn open(url: &str) -> Self {
        let (address, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
        let address = address.parse().unwrap();
        let (status, head, _) = request(address, "GET", &format!("/{path}"), "", "");
        assert_eq!((status, header(&head, "location")), (303, Some("/")), "{head}");
        let cookie = header(&head, "set-cookie").unwrap();
        assert!(cookie.contains("httponly") && cookie.contains("samesite=strict"), "{cookie}");
        let (status, again, _) = request(address, "GET", &format!("/{path}"), "", "");
        assert_eq!((status, header(&again, "location")), (303, Some("/#code-invalid")), "a code works once");
        Self { address, cookie: cookie.split(';').next().unwrap().to_owned() }
    }

    fn cookie(&self) -> String {
        format!("Cookie: other=1; {}\r\nSec-Fetch-Site: same-origin\r\n", self.cookie)
    }

    #[track_caller]
    fn get(&self, path: &str) -> Value {
        let (status, head, body) = request(self.address, "GET", path, &self.cookie(), "");
        assert_eq!(status, 200, "{path}: {head}\n{body}");
        serde_json::from_str(&body).unwrap()
    }

    /// Submits a task and returns the status and the body.
    fn submit(&self, origin: &str) -> (u16, Value) {
        let headers = format!("{}{origin}Content-Type: application/json\r\n", self.cookie());
        let task = r#"{"type": "embedding", "input": "hello"}"#;
        let (status, _, body) = request(self.address, "POST", "/api/v1/tasks", &headers, task);
        (status, serde_json::from_str(&body).unwrap())
    }

    fn own_origin(&self) -> String {
        format!("Origin: http://{}\r\n", self.address)
    }

    /// Opens the stream of a page.
    fn stream(&self, query: &str) -> Events {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        let text = format!(
            "GET /api/v1/dashboard/events{query} HTTP/1.1\r\nHost: {}\r\n{}\r\n",
            self.address,
            self.cookie()
        );
        stream.write_all(text.as_bytes()).unwrap();
        Events { lines: BufReader::new(stream) }
    }
}

/// A stream of events.
struct Events {
    lines: BufReader<TcpStream>,
}

impl Events {
    /// Returns the name and the data of the next event; `None` at the end.
    fn next(&mut self) -> Option<(String, Value)> {
        let (mut name, mut line) = (String::new(), String::new());
        loop {
            line.clear();
            if self.lines.read_line(&mut line).unwrap_or(0) == 0 {
                return None;
            }
            // Lines with the sizes of chunks lie between.
            if let Some(event) = line.trim_end().strip_prefix("event: ") {
                event.clone_into(&mut name);
            } else if let Some(data) = line.trim_end().strip_prefix("data: ") {
                return Some((name, serde_json::from_str(data).unwrap()));
            }
        }
    }

    /// Returns the data of the next event with this name.
    #[track_caller]
    fn find(&mut self, name: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            let (found, data) = self.next().unwrap_or_else(|| panic!("the stream ended before {name}"));
            if found == name && wanted(&data) {
                return data;
            }
        }
    }
}

/// Returns the entry of a list that has this id.
fn with_id<'a>(list: &'a Value, id: &str) -> Option<&'a Value> {
    list.as_array()?.iter().find(|entry| entry["id"] == id)
}

#[track_caller]
fn log_in(node: &Node<'_>, arguments: &[&str]) -> Browser {
    let arguments = [&["dashboard", "open", "--print"], arguments].concat();
    Browser::open(node.run(&arguments).good().trim_end())
}

fn check_page(address: SocketAddr) {
    let (status, head, page) = request(address, "GET", "/", "", "");
    assert!(status == 200 && page.starts_with("<!doctype html>"), "{head}");
    let policy = header(&head, "content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self'"), "{policy}");
    assert_eq!(header(&head, "x-content-type-options"), Some("nosniff"));
    let etag = header(&head, "etag").unwrap();
    let (status, head, body) = request(address, "GET", "/", &format!("If-None-Match: {etag}\r\n"), "");
    assert_eq!((status, body.as_str()), (304, ""), "{head}");
    let (status, head, _) = request(address, "GET", "/app.js", "Accept-Encoding: gzip, br\r\n", "");
    assert_eq!((status, header(&head, "content-encoding")), (200, Some("gzip")), "{head}");
    assert_eq!(header(&head, "content-type"), Some("text/javascript; charset=utf-8"));
}

#[test]
fn a_page_follows_the_mesh_and_may_do_what_its_login_may() {
    let sandbox = Sandbox::new();
    let (a, b) = (sandbox.node("a"), sandbox.node("b"));
    let id_a = a.start_bare();
    let id_b = b.start();
    a.await_peers(&[&id_b]);
    check_page(a.api());
    let (status, _, body) = request(a.api(), "GET", "/api/v1/dashboard/topology", "", "");
    assert!(status == 401 && body.contains("token_missing"), "{body}");

    let browser = log_in(&a, &[]);
    assert_eq!(browser.get("/api/v1/dashboard/session")["access"], "full");
    let topology = browser.get("/api/v1/dashboard/topology");
    assert_eq!((&topology["self"], &topology["kind"]), (&Value::from(id_a.as_str()), &Value::from("node")));
    let state = |id: &str| with_id(&topology["nodes"], id).map(|node| node["state"].clone());
    assert_eq!((state(&id_a), state(&id_b)), (Some("active".into()), Some("active".into())), "{topology}");
    let link = &topology["links"][0];
    assert!(link["messages_in"].as_u64() > Some(0) && link["bytes_out"].as_u64() > Some(0), "{topology}");

    // Changes must come from the page itself: browsers send the cookie from pages of all ports.
    let (status, refused) = browser.submit("");
    assert_eq!((status, &refused["error"]["code"]), (403, &Value::from("origin_not_allowed")));
    assert_eq!(browser.submit("Origin: http://127.0.0.1:1\r\n").0, 403);
    let (status, _, _) = {
        let foreign = browser.cookie().replace("same-origin", "same-site");
        request(a.api(), "GET", "/api/v1/status", &foreign, "")
    };
    assert_eq!(status, 403);
    let reader = log_in(&a, &["--read-only"]);
    let (status, refused) = reader.submit(&reader.own_origin());
    assert_eq!((status, &refused["error"]["code"]), (403, &Value::from("session_read_only")));
    assert!(reader.get("/api/v1/tasks")["tasks"].is_array());
    let own = |path: &str| format!("{}{}X: {path}\r\n", browser.cookie(), browser.own_origin());
    assert_eq!(request(a.api(), "POST", "/api/v1/dashboard/codes", &own("codes"), "{}").0, 401, "no token");

    let mut events = browser.stream("");
    let first = events.next().unwrap();
    assert!(first.0 == "topology" && with_id(&first.1["nodes"], &id_b).is_some(), "{first:?}");
    let (status, submitted) = browser.submit(&browser.own_origin());
    assert_eq!(status, 202, "{submitted}");
    let task = submitted["id"].as_str().unwrap();
    let done = |data: &Value| with_id(&data["tasks"], task).is_some_and(|task| task["status"] == "COMPLETED");
    let update = events.find("update", done);
    let told = with_id(&update["tasks"], task).unwrap();
    assert_eq!((&told["origin"], &told["worker"]), (&id_a.as_str().into(), &id_b.as_str().into()), "{told}");
    events.find("update", |data| data["sample"]["members"] == 2 && data["sample"]["cpu_percent"].is_number());
    let history = browser.get("/api/v1/dashboard/metrics?seconds=60");
    let submitted = history["columns"]["tasks_submitted"].as_array().unwrap();
    assert_eq!(submitted.iter().filter_map(Value::as_u64).sum::<u64>(), 1, "{history}");

    b.kill();
    let gone = |data: &Value| with_id(&data["nodes"], &id_b).is_some_and(|node| node["state"] == "gone");
    let update = events.find("update", gone);
    let left = with_id(&update["nodes"], &id_b).unwrap();
    assert_eq!(
        (&left["level"], &left["reason"]),
        (&"bad".into(), &"its connection closed without a goodbye".into())
    );
    drop(events);
    // A page that lost its connection continues after the last event that it has.
    let mut again = browser.stream(&format!("?after={}", told_cursor(&first.1)));
    assert_eq!(again.next().unwrap().0, "update");
    again.find("update", gone);

    let invite = browser.get("/api/v1/dashboard/invite");
    let command = format!("p2p-ai-agents node start --network {}", a.network());
    assert!(invite["command"].as_str().unwrap().starts_with(&command), "{invite}");
    let qr = request(a.api(), "GET", invite["qr"].as_str().unwrap(), &browser.cookie(), "");
    assert!(qr.0 == 200 && qr.1.contains("content-type: image/svg+xml") && qr.2.contains("<svg"), "{qr:?}");

    // The login outlives the node.
    a.run(&["node", "restart"]).good();
    assert_eq!(browser.get("/api/v1/dashboard/session")["access"], "full");
    let mut after = browser.stream(&format!("?after={}", told_cursor(&first.1)));
    let restarted = after.next().unwrap();
    assert_eq!((restarted.0.as_str(), with_id(&restarted.1["nodes"], &id_a).is_some()), ("topology", true));
}

fn told_cursor(data: &Value) -> &str {
    data["cursor"].as_str().unwrap()
}

/// The server in front of a node; killed at the end.
struct Front {
    child: Child,
    _output: BufReader<ChildStdout>,
}

impl Front {
    /// Starts the server and returns it with the address that it printed.
    fn start(node: &Node<'_>, port: u16, arguments: &[&str]) -> (Self, String) {
        let port = port.to_string();
        let mut command = node.command(&[&["dashboard", "start", "--port", &port], arguments].concat());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let (mut url, mut output) = (String::new(), BufReader::new(child.stdout.take().unwrap()));
        output.read_line(&mut url).unwrap();
        (Self { child, _output: output }, url.trim_end().to_owned())
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_server_in_front_of_a_node_survives_its_restart() {
    let sandbox = Sandbox::new();
    let node = sandbox.node("a");
    let refused = node.run(&["dashboard", "start"]).bad(1);
    assert!(refused.contains("id: node_not_running"), "{refused}");
    let id = node.start_bare();
    let port = free_port();
    let (mut front, url) = Front::start(&node, port, &[]);
    assert!(url.starts_with(&format!("http://127.0.0.1:{port}/open?code=")), "{url}");
    let browser = Browser::open(&url);
    check_page(browser.address);
    assert_eq!(browser.get("/api/v1/dashboard/session")["access"], "full");
    assert_eq!(browser.get("/api/v1/dashboard/topology")["self"], id.as_str());
    let (status, _, _) = request(browser.address, "GET", "/api/v1/status", "", "");
    assert_eq!(status, 401, "the token of the node stays behind");
    let taken = node.run(&["dashboard", "start", "--port", &port.to_string()]).bad(1);
    assert!(taken.contains("id: port_in_use") && taken.contains("--port"), "{taken}");
    let unknown = node.run(&["dashboard", "start", "--network", "nowhere"]).bad(1);
    assert!(unknown.contains(&format!("running nodes are in: {}", node.network())), "{unknown}");

    let mut events = browser.stream("");
    assert_eq!(events.next().unwrap().0, "topology");
    node.run(&["node", "stop"]).good();
    while events.next().is_some() {}
    let (name, state) = browser.stream("").next().unwrap();
    assert_eq!((name.as_str(), &state["state"]), ("state", &"unreachable".into()), "{state}");
    node.start_bare();
    until("the page sees the node again", || (browser.stream("").next()?.0 == "topology").then_some(()));
    signal(front.child.id(), Signal::SIGINT);
    assert_eq!(front.child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_recording_is_played_back_with_the_same_page() {
    let sandbox = Sandbox::new();
    let (node, peer) = (sandbox.node("a"), sandbox.node("b"));
    let file = sandbox.path("a.journal");
    let file = file.to_str().unwrap();
    let id = started_id(&node.run(&["node", "start", "--no-model", "--record", file]).good());
    let id_peer = peer.start_bare();
    // A page may miss what lasts less than a tenth of a second.
    let record_a_second = || {
        let uptime = || node.json(&["node", "status", "--json"])["uptime_ms"].as_u64().unwrap();
        let before = uptime();
        until("a second more was recorded", || (uptime() >= before + 1_000).then_some(()));
    };
    node.await_peers(&[&id_peer]);
    record_a_second();
    peer.run(&["node", "stop"]).good();
    node.await_peers(&[]);
    record_a_second();
    node.run(&["node", "stop"]).good();

    let (_front, url) = Front::start(&node, free_port(), &["--recording", file]);
    let browser = Browser::open(&url);
    let session = browser.get("/api/v1/dashboard/session");
    assert_eq!(session["access"], "read");
    let mut events = browser.stream("");
    let (name, topology) = events.next().unwrap();
    assert_eq!((name.as_str(), &topology["self"]), ("topology", &id.as_str().into()));
    let peer_is = |data: &Value, state: &str| {
        with_id(&data["nodes"], &id_peer).is_some_and(|node| node["state"] == state)
    };
    if !peer_is(&topology, "active") {
        events.find("update", |data| peer_is(data, "active"));
    }
    let left = events.find("update", |data| peer_is(data, "gone"));
    assert_eq!(with_id(&left["nodes"], &id_peer).unwrap()["reason"], "it said goodbye");
    let (status, refused) = browser.submit(&browser.own_origin());
    assert_eq!((status, &refused["error"]["code"]), (403, &"session_read_only".into()));
    let refused = node.run(&["dashboard", "start", "--recording", "Cargo.toml"]).bad(1);
    assert!(refused.contains("id: journal_unreadable"), "{refused}");
}
