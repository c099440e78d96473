//! Starts a process of this program in the background and waits until it is ready.
//!
//! The process writes the readiness file of its home. What it writes to standard error until then is for the user;
//! later it writes there only if it panics.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use runtime::home::{Home, RunInfo};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{self, Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How a start in the background went.
pub(super) enum Started {
    /// The process is ready.
    Ready { info: Box<RunInfo>, said: Vec<u8> },
    /// The process ended before it was ready.
    Ended { status: ExitStatus, said: Vec<u8> },
    /// The process was not ready in time, and was asked to stop.
    TimedOut { said: Vec<u8> },
}

/// Why a process cannot be started in the background.
pub(super) enum BackgroundError {
    /// The file for its standard error cannot be written.
    Home(io::Error),
    /// The system does not start it.
    Process(io::Error),
}

/// Starts a process with its home at `home` and waits until it is ready.
pub(super) fn start(
    home: &Home,
    mut command: Command,
    timeout: Duration,
) -> Result<Started, BackgroundError> {
    let said = StderrFile::new(home).map_err(BackgroundError::Home)?;
    let errors = said.file.try_clone().map_err(BackgroundError::Home)?;
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors);
    let mut child = command.spawn().map_err(BackgroundError::Process)?;
    match await_ready(home, &mut child, timeout).map_err(BackgroundError::Process)? {
        Awaited::Ready(info) => Ok(Started::Ready { info, said: said.keep(&home.stderr_file()) }),
        Awaited::Ended(status) => Ok(Started::Ended { status, said: said.read() }),
        Awaited::TimedOut => {
            if let Ok(pid) = i32::try_from(child.id()) {
                // It may have ended by itself in the meantime.
                let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
            }
            Ok(Started::TimedOut { said: said.read() })
        }
    }
}

enum Awaited {
    Ready(Box<RunInfo>),
    Ended(ExitStatus),
    TimedOut,
}

fn await_ready(home: &Home, child: &mut Child, timeout: Duration) -> io::Result<Awaited> {
    let begun = Instant::now();
    loop {
        if let Some(info) = home.ready().filter(|info| info.pid == child.id()) {
            return Ok(Awaited::Ready(Box::new(info)));
        }
        if let Some(status) = child.try_wait()? {
            return Ok(Awaited::Ended(status));
        }
        if begun.elapsed() > timeout {
            return Ok(Awaited::TimedOut);
        }
        std::thread::sleep(POLL_INTERVAL);
    }
}

/// Standard error of a process in the background.
struct StderrFile {
    path: PathBuf,
    file: File,
}

impl StderrFile {
    fn new(home: &Home) -> io::Result<Self> {
        let path = home.root().join(format!("run/start-{}.stderr", process::id()));
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(&path)?;
        file.set_len(0)?;
        Ok(Self { path, file })
    }

    /// Keeps the file, to which a running process writes only if it panics. Returns its content so far.
    fn keep(self, place: &Path) -> Vec<u8> {
        let text = fs::read(&self.path).unwrap_or_default();
        if fs::rename(&self.path, place).is_err() {
            self.discard();
        }
        text
    }

    fn read(self) -> Vec<u8> {
        let text = fs::read(&self.path).unwrap_or_default();
        self.discard();
        text
    }

    fn discard(&self) {
        // A file that stays behind only takes a little disk space.
        let _ = fs::remove_file(&self.path);
    }
}

const POLL_INTERVAL: Duration = Duration::from_millis(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_slow_process_said_is_returned_and_its_file_removed() {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::new(directory.path()).unwrap();
        fs::create_dir(directory.path().join("run")).unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo 'not so fast' >&2; exec sleep 60"]);
        let Ok(Started::TimedOut { said }) = start(&home, command, Duration::from_secs(2)) else {
            panic!("it became ready");
        };
        assert_eq!(said, b"not so fast\n");
        assert_eq!(fs::read_dir(directory.path().join("run")).unwrap().count(), 0);
    }
}
