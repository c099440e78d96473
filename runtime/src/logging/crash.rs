//! Crash reports, in files beside the log.
//!
//! A report holds the version, the platform, the place of the panic and the newest log lines. Keys, tokens and task
//! texts never enter the log.

use super::{Line, Log};
use crate::clock;
use crate::config::LogLevel;
use crate::containment;
use crate::home;
use serde_json::Value;
use std::backtrace::Backtrace;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::panic::{self, PanicHookInfo};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

/// Reports every panic of this process, in `log` and in a file beside `log_file`.
pub fn report_panics(log: &Log, log_file: &Path) {
    let (log, log_file) = (log.clone(), log_file.to_owned());
    let before = panic::take_hook();
    let reports = AtomicU32::new(0);
    panic::set_hook(Box::new(move |info| {
        // A panic of library code over a damaged file is not a fault of this program.
        if containment::is_contained() {
            return;
        }
        before(info);
        let report = if reports.fetch_add(1, Ordering::Relaxed) < REPORTS_PER_PROCESS_MAX {
            report(info, &log, &log_file).ok()
        } else {
            None
        };
        let shown = report.as_ref().map_or(Value::Null, |path| Value::from(path.display().to_string()));
        // A node cannot run without its own thread.
        let ends = thread::current().name() == Some("node");
        log.write(&Line {
            level: if ends { LogLevel::Fatal } else { LogLevel::Error },
            component: "crash",
            message: "the program has crashed",
            fields: [("at".to_owned(), Value::from(place(info))), ("report".to_owned(), shown)]
                .into_iter()
                .collect(),
        });
        log.flush();
        if let Some(path) = report {
            eprintln!("note: a report of this crash is in {}", path.display());
            eprintln!("hint: {WHERE_TO}");
        }
    }));
}

fn report(info: &PanicHookInfo<'_>, log: &Log, log_file: &Path) -> io::Result<PathBuf> {
    log.flush();
    let now = clock::wall().to_string();
    let version = env!("CARGO_PKG_VERSION");
    let (os, architecture) = (std::env::consts::OS, std::env::consts::ARCH);
    let thread = thread::current().name().unwrap_or("without a name").to_owned();
    let mut text = format!("p2p-ai-agents {version} crashed at {now}\n{WHERE_TO}\n\n");
    // Writing to a string does not fail.
    let _ = writeln!(text, "platform:  {os} {architecture} {}", kernel());
    let _ = writeln!(text, "thread:    {thread}\nplace:     {}\nmessage:   {}\n", place(info), message(info));
    let _ = writeln!(text, "newest lines of the log:\n{}", newest(log_file).unwrap_or_default());
    let _ = writeln!(text, "backtrace:\n{}", Backtrace::force_capture());
    let directory = log_file.parent().unwrap_or_else(|| Path::new("."));
    forget_old(directory);
    let stamp: String = now.chars().filter(char::is_ascii_alphanumeric).collect();
    let path = directory.join(format!("{PREFIX}{stamp}-{}.txt", std::process::id()));
    home::create_file(&path, text.as_bytes(), 0o600)?;
    Ok(path)
}

fn place(info: &PanicHookInfo<'_>) -> String {
    info.location().map_or_else(|| "unknown".to_owned(), ToString::to_string)
}

fn message(info: &PanicHookInfo<'_>) -> String {
    let payload = info.payload();
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("unknown");
    text.chars().take(MESSAGE_CHARS_MAX).collect()
}

fn kernel() -> String {
    fs::read_to_string("/proc/sys/kernel/osrelease").map(|text| text.trim().to_owned()).unwrap_or_default()
}

fn newest(log_file: &Path) -> io::Result<String> {
    let mut file = File::open(log_file)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LOG_BYTES_SHOWN)))?;
    let mut bytes = Vec::new();
    file.take(LOG_BYTES_SHOWN).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    Ok(lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join("\n"))
}

/// Removes the oldest reports. Names begin with the time, so the first is the oldest.
fn forget_old(directory: &Path) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    let is_report = |path: &PathBuf| {
        path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(PREFIX))
    };
    let mut reports: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(is_report).collect();
    reports.sort();
    let surplus = (reports.len() + 1).saturating_sub(REPORTS_KEPT_MAX);
    // A report that cannot be removed takes a little space and does no other harm.
    reports.iter().take(surplus).for_each(|path| drop(fs::remove_file(path)));
}

const PREFIX: &str = "crash-";
const WHERE_TO: &str = "it holds no keys and no texts of tasks: please open an issue where you have this program from, and attach it";
const REPORTS_PER_PROCESS_MAX: u32 = 5;
const REPORTS_KEPT_MAX: usize = 20;
const MESSAGE_CHARS_MAX: usize = 1_000;
const LOG_LINES_SHOWN: usize = 40;
const LOG_BYTES_SHOWN: u64 = 64 << 10;
