//! A mesh on one machine: each node in its own network namespace, joined by bridges that no other test sees.
//!
//! The whole test runs again in a process with its own process, mount and network namespaces, which ends with its
//! parent. The kernel then removes the nodes and bridges, so nothing is left to clean up. Times of events are read
//! from the logs, so that measuring does not slow the nodes down.

use crate::harness::{Ran, run, signal, until};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Starts a test that needs namespaces. If it returns `false`, the test is done.
pub(crate) fn enter(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        std::thread::spawn(|| {
            let _ = std::io::stdin().read(&mut [0]);
            std::process::exit(1);
        });
        return true;
    }
    let unshare = || {
        let mut command = Command::new("unshare");
        command.args(["-rnm", "--pid", "--fork", "--kill-child", "--mount-proc"]);
        command
    };
    let trial = "mount -t tmpfs tmpfs /run && ip link add br0 type bridge && nsenter --version";
    let probe = unshare().args(["sh", "-ec", trial]).output();
    if !probe.is_ok_and(|probe| probe.status.success()) {
        eprintln!("skipped: this host does not let the test make network namespaces");
        return false;
    }
    let script = "mount -t tmpfs tmpfs /run && mkdir /run/netns && ip link set lo up
        exec \"$0\" --exact \"$1\" --nocapture --include-ignored";
    let mut child = unshare()
        .args(["sh", "-ec", script])
        .arg(std::env::current_exe().unwrap())
        .arg(test)
        .env(INSIDE, "1")
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let lifeline = child.stdin.take();
    let status = child.wait().unwrap();
    drop(lifeline);
    assert!(status.success(), "failed inside of its namespaces");
    false
}

/// Nodes and the bridges between them.
pub(crate) struct Mesh {
    directory: tempfile::TempDir,
    places: Vec<Place>,
}

/// A namespace and the node in it.
pub(crate) struct Place {
    name: String,
    home: PathBuf,
    legs: usize,
    process: Option<Child>,
    /// The node's id, once it was ACTIVE.
    id: Option<String>,
}

impl Mesh {
    pub(crate) fn new(bridges: &[&str]) -> Self {
        let script: String =
            bridges.iter().map(|name| format!("link add {name} type bridge\nlink set {name} up\n")).collect();
        ip(&script);
        Self { directory: tempfile::tempdir().unwrap(), places: Vec::new() }
    }

    /// Creates a namespace with an interface on each of these bridges, and returns its number.
    pub(crate) fn place(&mut self, bridges: &[&str]) -> usize {
        let number = self.bare_place(&[]);
        for bridge in bridges {
            self.plug(number, bridge);
        }
        number
    }

    /// Creates a namespace without IPv4 addresses.
    pub(crate) fn bare_place(&mut self, bridges: &[&str]) -> usize {
        let number = self.places.len();
        let name = format!("n{number}");
        ip(&format!("netns add {name}\n"));
        let home = self.directory.path().join(&name);
        self.places.push(Place { name, home, legs: 0, process: None, id: None });
        self.ip(number, "link set lo up\n");
        for bridge in bridges {
            let leg = self.add_leg(number, bridge);
            self.ip(number, &format!("link set eth{leg} up\n"));
        }
        number
    }

    /// Adds an interface with an address to a namespace.
    pub(crate) fn plug(&mut self, number: usize, bridge: &str) {
        let leg = self.add_leg(number, bridge);
        // Each bridge has a subnet of its own, given by its number.
        let network = bridge.trim_start_matches("br");
        let (high, low) = (number / 250, number % 250 + 1);
        let address = format!("10.{network}.{high}.{low}/16");
        self.ip(number, &format!("addr add {address} dev eth{leg}\nlink set eth{leg} up\n"));
    }

    fn add_leg(&mut self, number: usize, bridge: &str) -> usize {
        let Place { name, legs: leg, .. } = &self.places[number];
        let veth = format!("v{number}x{leg}");
        ip(&format!(
            "link add {veth} type veth peer name eth{leg} netns {name}\nlink set {veth} master {bridge} up\n"
        ));
        self.places[number].legs += 1;
        self.places[number].legs - 1
    }

    /// Runs these lines with `ip` in a namespace.
    pub(crate) fn ip(&self, place: usize, script: &str) {
        batch(inside(&self.places[place].name, "ip"), script);
    }

    pub(crate) fn home(&self, place: usize) -> &Path {
        &self.places[place].home
    }

    /// Starts the node of a namespace without waiting for it.
    pub(crate) fn start(&mut self, place: usize, flags: &[&str]) {
        let mut command = self.command(place, &["node", "start", "--foreground"]);
        command.args(flags).stdout(Stdio::null()).stderr(Stdio::null());
        self.places[place].process = Some(command.spawn().unwrap());
    }

    /// Waits until a node is ACTIVE and returns when it became so.
    #[track_caller]
    pub(crate) fn await_active(&mut self, place: usize) -> Moment {
        let (at, id) = until("the node is ACTIVE", || {
            let log = self.log(place);
            let active = |line: &&Value| line["message"] == "state changed" && line["to"] == "ACTIVE";
            let line = log.iter().rev().find(active)?;
            let info = fs::read(self.places[place].home.join("run/node.json")).ok()?;
            let info: Value = serde_json::from_slice(&info).ok()?;
            Some((Moment::of(line), info["node_id"].as_str()?.to_owned()))
        });
        self.places[place].id = Some(id);
        at
    }

    /// Waits until every running node sees all the others, and returns when that was.
    #[track_caller]
    pub(crate) fn await_whole(&self) -> Moment {
        let places: Vec<usize> = self.running().collect();
        let whole = until("every node sees every other", || {
            places.iter().map(|&place| self.saw_all(place, &places)).collect::<Option<Vec<Moment>>>()
        });
        for &place in &places {
            let status = self.json(place, &["node", "status", "--json"]);
            assert_eq!(status["members"], places.len(), "{place} says so too: {status}");
        }
        whole.into_iter().max().unwrap()
    }

    /// Waits until no running node sees this one any more, and returns when that was.
    #[track_caller]
    pub(crate) fn await_gone(&self, gone: usize) -> Moment {
        let id = self.id(gone);
        let left = until("nobody sees the node that is gone", || {
            let others = self.running().filter(|&place| place != gone);
            others
                .map(|place| {
                    let log = self.log(place);
                    let last = log.iter().rev().find(|line| line["member"] == id)?;
                    (last["message"] == "member left").then(|| Moment::of(last))
                })
                .collect::<Option<Vec<Moment>>>()
        });
        left.into_iter().max().unwrap()
    }

    /// Counts how often a node lost a member other than these.
    pub(crate) fn false_departures(&self, gone: &[usize]) -> usize {
        let ids: Vec<&str> = gone.iter().map(|&place| self.id(place)).collect();
        let wrong = |line: &&Value| {
            line["message"] == "member left" && line["member"].as_str().is_some_and(|id| !ids.contains(&id))
        };
        let others = self.running().filter(|place| !gone.contains(place));
        others.map(|place| self.log(place).iter().filter(wrong).count()).sum()
    }

    /// Asks a node to stop.
    pub(crate) fn stop(&mut self, place: usize) -> Moment {
        self.end(place, Signal::SIGTERM)
    }

    /// Kills the process of a node.
    pub(crate) fn kill(&mut self, place: usize) -> Moment {
        self.end(place, Signal::SIGKILL)
    }

    fn end(&mut self, place: usize, how: Signal) -> Moment {
        let mut process = self.places[place].process.take().unwrap();
        let now = Moment::now();
        signal(process.id(), how);
        process.wait().unwrap();
        now
    }

    /// Disconnects the only interface of a node, which continues to run.
    pub(crate) fn unplug(&mut self, place: usize) -> Moment {
        let now = Moment::now();
        ip(&format!("link set v{place}x0 down\n"));
        now
    }

    pub(crate) fn pid(&self, place: usize) -> u32 {
        self.places[place].process.as_ref().unwrap().id()
    }

    pub(crate) fn id(&self, place: usize) -> &str {
        self.places[place].id.as_deref().unwrap()
    }

    pub(crate) fn run(&self, place: usize, arguments: &[&str]) -> Ran {
        run(self.command(place, arguments), b"")
    }

    #[track_caller]
    pub(crate) fn json(&self, place: usize, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.run(place, arguments).good()).unwrap()
    }

    pub(crate) fn command(&self, place: usize, arguments: &[&str]) -> Command {
        let Place { name, home, .. } = &self.places[place];
        let mut command = inside(name, env!("CARGO_BIN_EXE_p2p-ai-agents"));
        command
            .args(arguments)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("XDG_RUNTIME_DIR", self.directory.path())
            .env("P2P_AI_HOME", home)
            .stdin(Stdio::null());
        command
    }

    fn running(&self) -> impl Iterator<Item = usize> {
        (0..self.places.len()).filter(|&place| self.places[place].process.is_some())
    }

    /// Returns when a node saw all of these, if it does now.
    fn saw_all(&self, place: usize, places: &[usize]) -> Option<Moment> {
        let wanted: BTreeSet<&str> =
            places.iter().filter(|&&other| other != place).map(|&other| self.id(other)).collect();
        let (mut seen, mut since) = (BTreeSet::new(), None);
        for line in self.log(place) {
            let Some(member) = line["member"].as_str().filter(|id| wanted.contains(id)) else { continue };
            if line["message"] == "member joined" {
                seen.insert(member.to_owned());
                if seen.len() == wanted.len() {
                    since = since.or_else(|| Some(Moment::of(&line)));
                }
            } else if line["message"] == "member left" {
                seen.remove(member);
                since = None;
            }
        }
        since
    }

    /// Returns when a node first logged a message, if ever.
    pub(crate) fn first(&self, place: usize, message: &str) -> Option<Moment> {
        self.log(place).iter().find(|line| line["message"] == message).map(Moment::of)
    }

    /// Returns the lines of a node's log.
    pub(crate) fn log(&self, place: usize) -> Vec<Value> {
        let text = fs::read_to_string(self.places[place].home.join("logs/node.log")).unwrap_or_default();
        // The last line may be half written.
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }
}

/// A time of the wall clock, which all nodes of one machine share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment {
    /// Since midnight.
    millis: i64,
}

impl Moment {
    pub(crate) fn now() -> Self {
        let millis = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() % DAY_MILLIS;
        Self { millis: i64::try_from(millis).unwrap() }
    }

    /// Returns when a line was logged: `….973Z` after hours, minutes and seconds.
    pub(crate) fn of(line: &Value) -> Self {
        let time = line["timestamp"].as_str().unwrap().split_once('T').unwrap().1.trim_end_matches('Z');
        let units: Vec<i64> = time.split([':', '.']).map(|unit| unit.parse().unwrap()).collect();
        Self { millis: ((units[0] * 60 + units[1]) * 60 + units[2]) * 1000 + units[3] }
    }

    /// Returns the time since an earlier moment of the last 24 hours, or zero if it is not earlier.
    pub(crate) fn since(self, earlier: Self) -> Duration {
        let day = i64::try_from(DAY_MILLIS).unwrap();
        let millis = (self.millis - earlier.millis).rem_euclid(day);
        Duration::from_millis(if millis > day / 2 { 0 } else { u64::try_from(millis).unwrap() })
    }
}

fn inside(namespace: &str, program: &str) -> Command {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net=/run/netns/{namespace}")).arg(program);
    command
}

/// Returns a figure of a process's memory in KiB: `VmRSS` for now, `VmHWM` for the peak.
pub(crate) fn resident(pid: u32, figure: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(figure)?.strip_prefix(':')).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Runs these lines with `ip` in the namespace of the test itself.
pub(crate) fn ip(script: &str) {
    batch(Command::new("ip"), script);
}

fn batch(mut ip: Command, script: &str) {
    let mut child = ip.args(["-batch", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "ip refused:\n{script}");
}

const INSIDE: &str = "E2E_INSIDE_NAMESPACES";
const DAY_MILLIS: u128 = 24 * 3600 * 1000;
