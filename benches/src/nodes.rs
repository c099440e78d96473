//! Nodes in processes of their own, exactly as `p2p-ai-agents node start --no-model` makes them, on loopback.
//!
//! They read requests as lines of JSON from their standard input, and end when it ends.

use engine::NodeId;
use engine::request::{Answer, PingSpec, PingView, Request, Response};
use runtime::config::Overrides;
use runtime::home::Home;
use runtime::service::Service;
use runtime::startup::Startup;
use serde_json::{Value, json};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

pub(crate) const PART: &str = "--node";

/// The directory of the nodes of one benchmark.
#[derive(Debug)]
pub struct World {
    directory: tempfile::TempDir,
    network: String,
    nodes: u32,
}

/// A node.
#[derive(Debug)]
pub struct Node {
    child: Child,
    questions: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    /// The port at which it accepts connections.
    pub port: u16,
    /// Its id.
    pub id: NodeId,
    home: PathBuf,
}

impl Default for World {
    fn default() -> Self {
        let network = format!("bench-{}", std::process::id());
        Self { directory: tempfile::tempdir().unwrap(), network, nodes: 0 }
    }
}

impl World {
    /// Returns a path in the temporary directory of the benchmark.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Starts a node that keeps at most `max_peers` links and dials another one first.
    pub async fn start(&mut self, max_peers: u16, bootstrap: Option<&Node>) -> Node {
        self.nodes += 1;
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let bootstrap: Vec<String> =
            bootstrap.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect();
        let home = self.path(&self.nodes.to_string());
        let settings = json!({
            "home": home,
            "port": port,
            "network": self.network,
            "max_peers": max_peers,
            "bootstrap_peers": bootstrap,
            "interfaces": ["lo"],
            "discovery": false,
            "run_models": false,
        });
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([PART, &settings.to_string()])
            .env("XDG_RUNTIME_DIR", self.directory.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let questions = child.stdin.take().unwrap();
        let mut answers = BufReader::new(child.stdout.take().unwrap()).lines();
        let id = answers.next_line().await.unwrap().unwrap().parse().unwrap();
        Node { child, questions, answers, port, id, home }
    }
}

impl Node {
    /// Sends a request to the node.
    pub async fn ask(&mut self, request: &Request) -> Answer {
        let question = serde_json::to_string(request).unwrap() + "\n";
        self.questions.write_all(question.as_bytes()).await.unwrap();
        serde_json::from_str(&self.answers.next_line().await.unwrap().unwrap()).unwrap()
    }

    /// Sends messages to another node; all must arrive.
    pub async fn ping(&mut self, destination: NodeId, count: u32, bytes: u32, at_once: u32) -> PingView {
        let spec = PingSpec { destination, count, bytes, at_once };
        match self.ask(&Request::Ping(spec)).await {
            Ok(Response::Ping(view)) if view.lost == 0 => *view,
            other => panic!("{other:?}"),
        }
    }

    /// Has the node share a file.
    pub async fn share(&self, path: &Path) {
        let home = Home::new(&self.home).unwrap();
        let token = std::fs::read_to_string(home.token_file()).unwrap();
        let api = home.info().unwrap().api_address;
        let body = json!({ "path": path }).to_string();
        let head = format!(
            "POST /api/v1/files HTTP/1.1\r\nHost: {api}\r\nAuthorization: Bearer {}\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            token.trim(),
            body.len()
        );
        let mut stream = TcpStream::connect(api).await.unwrap();
        stream.write_all((head + &body).as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }

    /// Waits until the node knows this many members, itself included.
    pub async fn await_members(&mut self, count: usize) {
        let begun = Instant::now();
        loop {
            match self.ask(&Request::Members).await {
                Ok(Response::Members(members)) if members.len() == count => return,
                other => assert!(begun.elapsed() < PATIENCE, "{other:?}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Returns the processor time that the node has used.
    pub fn processor_time(&self) -> Duration {
        let stat = self.read_proc("stat");
        // The second field is the program's name, in brackets; the 14th and 15th are times in hundredths of a second.
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split_whitespace().collect();
        let ticks: u64 = fields[11..13].iter().map(|field| field.parse::<u64>().unwrap()).sum();
        Duration::from_millis(ticks * 10)
    }

    /// Returns the resident memory of the node in bytes.
    pub fn resident_bytes(&self) -> u64 {
        let status = self.read_proc("status");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    }

    fn read_proc(&self, file: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{file}", self.child.id().unwrap())).unwrap()
    }
}

pub(crate) async fn be_node(settings: &str) {
    let Value::Object(mut settings) = serde_json::from_str(settings).unwrap() else { panic!("no settings") };
    let home = settings.remove("home").unwrap();
    let home = Home::new(home.as_str().unwrap().as_ref()).unwrap();
    let mut overrides = Overrides::default();
    for field in runtime::config::FIELDS.iter() {
        overrides.flags.extend(settings.remove(field.key).map(|value| (field.key, value, "a benchmark")));
    }
    assert!(settings.is_empty(), "{settings:?}");
    let service = Service::start(&home, &overrides, false, &Startup::default()).unwrap();
    let (id, handle, mut ready) = (service.info().node_id, service.handle(), service.ready());
    let living = tokio::spawn(service.wait());
    ready.wait_for(|ready| *ready).await.unwrap();
    println!("{id}");
    let mut questions = BufReader::new(tokio::io::stdin()).lines();
    while let Some(question) = questions.next_line().await.unwrap() {
        let answer = handle.ask(serde_json::from_str(&question).unwrap()).await.unwrap();
        println!("{}", serde_json::to_string(&answer).unwrap());
    }
    handle.ask(Request::Shutdown).await.unwrap().unwrap();
    living.await.unwrap();
}

/// The time within which a mesh must form.
const PATIENCE: Duration = Duration::from_secs(60);
