//! The nodes of one test, with a network and homes of their own. Nodes that still run at the end are killed.

use engine::UnixMillis;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use runtime::home::{Holder, Home};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The nodes of one test.
pub(crate) struct Sandbox {
    directory: tempfile::TempDir,
    network: String,
}

/// The outcome of a command.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    /// Asserts that the command succeeded and returns its standard output.
    #[track_caller]
    pub(crate) fn good(self) -> String {
        assert_eq!(self.code, 0, "{self:?}");
        self.stdout
    }

    /// Asserts that the command failed with this status and returns its standard error.
    #[track_caller]
    pub(crate) fn bad(self, code: i32) -> String {
        assert_eq!(self.code, code, "{self:?}");
        assert!(!self.stderr.contains("panicked"), "{self:?}");
        self.stderr
    }
}

/// One node, running or not.
pub(crate) struct Node<'a> {
    sandbox: &'a Sandbox,
    pub(crate) home: Home,
    pub(crate) port: u16,
    api_port: u16,
}

impl Sandbox {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let network = format!("test-{}-{}", std::process::id(), free_port());
        Self { directory, network }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn network(&self) -> &str {
        &self.network
    }

    pub(crate) fn node(&self, name: &str) -> Node<'_> {
        let home = Home::new(&self.path(name)).unwrap();
        Node { sandbox: self, home, port: free_port(), api_port: free_port() }
    }

    /// Returns a command that touches nothing outside of this sandbox.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_p2p-ai-agents"));
        command
            .args(arguments)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.directory.path())
            .env("XDG_RUNTIME_DIR", self.directory.path())
            .env("P2P_AI_INTERFACES", "lo")
            .env("P2P_AI_NETWORK", &self.network)
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        run(self.command(arguments), b"")
    }
}

impl Node<'_> {
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.sandbox.command(arguments);
        command
            .env("P2P_AI_HOME", self.home.root())
            .env("P2P_AI_NODE_NAME", self.home.root().file_name().unwrap_or_default())
            .env("P2P_AI_PORT", self.port.to_string())
            .env("P2P_AI_API_PORT", self.api_port.to_string());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        run(self.command(arguments), b"")
    }

    pub(crate) fn run_with_input(&self, arguments: &[&str], input: &[u8]) -> Ran {
        run(self.command(arguments), input)
    }

    /// Starts the node and returns its id.
    #[track_caller]
    pub(crate) fn start(&self) -> String {
        let text = self.run(&["node", "start"]).good();
        let id = started_id(&text);
        assert!(text.starts_with(&format!("Node started (id: {id}, port: {})\n", self.port)), "{text}");
        id
    }

    /// Starts the node without a model, which is faster, and returns its id.
    #[track_caller]
    pub(crate) fn start_bare(&self) -> String {
        started_id(&self.run(&["node", "start", "--no-model"]).good())
    }

    pub(crate) fn network(&self) -> &str {
        self.sandbox.network()
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        match self.home.holder() {
            Holder::Process { pid } => pid,
            Holder::Nobody => None,
        }
    }

    /// Kills the node, as a power failure would.
    #[track_caller]
    pub(crate) fn kill(&self) {
        signal(self.pid().unwrap(), Signal::SIGKILL);
        until("the killed node is gone", || (self.home.holder() == Holder::Nobody).then_some(()));
    }

    #[track_caller]
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.run(arguments).good()).unwrap()
    }

    /// Waits until the peers of this node are exactly these.
    #[track_caller]
    pub(crate) fn await_peers(&self, ids: &[&str]) {
        let mut wanted: Vec<&str> = ids.to_vec();
        wanted.sort_unstable();
        until("the peers are linked", || {
            let peers = self.json(&["node", "peers", "--json"]);
            let mut found: Vec<&str> =
                peers["peers"].as_array()?.iter().filter_map(|peer| peer["id"].as_str()).collect();
            found.sort_unstable();
            (found == wanted).then_some(())
        });
    }

    /// Submits a text and returns the id of its task.
    #[track_caller]
    pub(crate) fn submit(&self, text: &str) -> String {
        let said = self.run(&["task", "submit", "--input", text, "--type", "embedding"]).good();
        task_id(said.trim_end()).to_owned()
    }

    /// Waits for a task to end.
    #[track_caller]
    pub(crate) fn await_task(&self, id: &str) -> Value {
        until("the task ended", || {
            let task = self.json(&["task", "status", id, "--json"]);
            task.get("result").is_some().then_some(task)
        })
    }

    /// Returns the log so far. Lines are written asynchronously.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.home.log_file()).unwrap_or_default()
    }

    /// Waits until the log contains a text.
    #[track_caller]
    pub(crate) fn await_log(&self, text: &str) {
        until("the log tells of it", || self.log().contains(text).then_some(()));
    }

    pub(crate) fn api(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.api_port))
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        for entry in std::fs::read_dir(self.directory.path()).into_iter().flatten().flatten() {
            // The nodes of a demo end with it.
            for path in [entry.path(), entry.path().join("demo")] {
                let Ok(home) = Home::new(&path) else { continue };
                if let Holder::Process { pid: Some(pid) } = home.holder() {
                    signal(pid, Signal::SIGKILL);
                }
            }
        }
    }
}

/// Sends a signal to a process, which may have ended. After `SIGSTOP`, waits until all its threads have stopped: until the
/// kernel has scheduled one of them, they continue.
pub(crate) fn signal(pid: u32, signal: Signal) {
    if kill(Pid::from_raw(i32::try_from(pid).unwrap()), signal).is_ok() && signal == Signal::SIGSTOP {
        until("the process has stopped", || threads_stopped(pid).then_some(()));
    }
}

/// Tells whether all threads of a process are stopped or gone.
fn threads_stopped(pid: u32) -> bool {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return true };
    threads.flatten().all(|thread| {
        let Ok(stat) = std::fs::read_to_string(thread.path().join("stat")) else { return true };
        // The state follows the name of the thread, which may have spaces and parentheses.
        stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with(['T', 't', 'Z', 'X']))
    })
}

/// Returns the id in `Node started (id: …, port: …)`.
#[track_caller]
pub(crate) fn started_id(text: &str) -> String {
    text.split("id: ").nth(1).and_then(|rest| rest.split(',').next()).unwrap().to_owned()
}

/// Returns the id in `Task submitted (id: …)`.
#[track_caller]
pub(crate) fn task_id(line: &str) -> &str {
    line.strip_prefix("Task submitted (id: ").and_then(|rest| rest.strip_suffix(')')).unwrap_or_else(|| {
        panic!("{line:?} names no task");
    })
}

/// Tells whether a word is a UUID, as the id of a task.
pub(crate) fn is_uuid(word: &str) -> bool {
    let is_hex = |part: &str| part.bytes().all(|byte| byte.is_ascii_hexdigit());
    word.split('-').map(str::len).eq([8, 4, 4, 4, 12]) && word.split('-').all(is_hex)
}

/// Tells whether a word is a time as the program writes it, to the millisecond.
pub(crate) fn is_time(word: &str) -> bool {
    word.len() == 24 && word.ends_with('Z') && word.as_bytes()[10] == b'T'
}

pub(crate) fn run(mut command: Command, input: &[u8]) -> Ran {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    if !input.is_empty() {
        command.stdin(Stdio::piped());
    }
    let mut child = command.spawn().unwrap();
    if let Some(mut stdin) = child.stdin.take() {
        // A command may close its end early.
        let _ = stdin.write_all(input);
    }
    let output = child.wait_with_output().unwrap();
    Ran {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Polls until there is a value.
#[track_caller]
pub(crate) fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(begun.elapsed() < TIMEOUT, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Sets a flag when it is dropped, so that threads that wait for it also end when the test fails.
pub(crate) struct SetOnDrop<'a>(pub(crate) &'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Sends bytes to an address and returns the response until the other end closes.
pub(crate) fn exchange(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    // The other end may respond and close before it has read everything.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

/// Returns an unused port that no other caller in this process gets.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Below the range of ephemeral ports.
    let base = 10_000 + u16::try_from(std::process::id() % 40).unwrap() * 500;
    loop {
        let port = base + NEXT.fetch_add(1, Ordering::Relaxed) % 500;
        if TcpListener::bind(("0.0.0.0", port)).is_ok() {
            return port;
        }
    }
}

pub(crate) fn wall() -> UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    UnixMillis(u64::try_from(since.as_millis()).unwrap())
}

pub(crate) fn write(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

/// Long enough for a busy machine, without hanging for ever.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(60);
