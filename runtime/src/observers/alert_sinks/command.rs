//! A command: each notice starts the program once, without a shell, with the notice on its standard input.
//!
//! One runs at a time. It gets few variables of the node's environment, which may hold secrets, and is killed with all
//! its children when its time is over or the node stops.

use super::{Receive, Stop};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::io::{self, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Starts a program for each notice.
pub(super) struct Program {
    program: String,
    arguments: Vec<String>,
    timeout: Duration,
}

impl Program {
    pub(super) fn new(program: String, arguments: Vec<String>) -> Self {
        Self::with_timeout(program, arguments, TIMEOUT)
    }

    pub(super) fn with_timeout(program: String, arguments: Vec<String>, timeout: Duration) -> Self {
        Self { program, arguments, timeout }
    }

    fn run(&self, notice: &[u8], stop: &Stop) -> Result<(), String> {
        stop.lock().running += 1;
        let result = self.run_once(notice, stop);
        stop.lock().running -= 1;
        stop.changed.notify_all();
        match result? {
            status if status.success() => Ok(()),
            status => Err(format!("the program ended with {status}")),
        }
    }

    fn run_once(&self, notice: &[u8], stop: &Stop) -> Result<ExitStatus, String> {
        let mut child = self.spawn().map_err(|error| format!("the program does not start: {error}"))?;
        // A notice fits into the pipe, so this does not wait for the program. One that reads nothing is no error.
        let written = child.stdin.take().map(|mut input| input.write_all(notice));
        let status = match written {
            Some(Err(error)) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.to_string()),
            Some(_) | None => self.wait(&mut child, stop),
        };
        if status.is_err() {
            kill(&mut child);
        }
        status
    }

    fn spawn(&self) -> io::Result<Child> {
        Command::new(&self.program)
            .args(&self.arguments)
            .env_clear()
            .envs(KEPT_VARIABLES.iter().filter_map(|name| Some((name, std::env::var_os(name)?))))
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
    }

    fn wait(&self, child: &mut Child, stop: &Stop) -> Result<ExitStatus, String> {
        let end = Instant::now() + self.timeout;
        let mut pause = POLL_MIN;
        loop {
            if let Some(status) = child.try_wait().map_err(|error| error.to_string())? {
                return Ok(status);
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(format!("the program did not end within {} s", self.timeout.as_secs()));
            }
            if stop.wait(pause.min(left)) {
                return Err("the node stops".to_owned());
            }
            pause = (pause * 2).min(POLL_MAX);
        }
    }
}

impl Receive for Program {
    fn deliver(&mut self, notice: &[u8], stop: &Stop, tried: &mut dyn FnMut(String)) -> bool {
        self.run(notice, stop).map_err(tried).is_ok()
    }
}

/// Kills a program and what it started.
fn kill(child: &mut Child) {
    if let Ok(group) = i32::try_from(child.id()) {
        // It fails only if the whole group has ended.
        let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
    }
    // A killed process ends at once.
    let _ = child.wait();
}

/// How long a program may run.
const TIMEOUT: Duration = Duration::from_secs(10);
const POLL_MIN: Duration = Duration::from_millis(2);
const POLL_MAX: Duration = Duration::from_millis(100);
/// The variables that the program gets.
const KEPT_VARIABLES: &[&str] = &["PATH", "HOME", "LANG", "LC_ALL", "TZ"];
