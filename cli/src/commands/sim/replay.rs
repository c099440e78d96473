//! `sim replay FILE`: replays a recorded node and verifies that it does the same.

use super::timeline::TimelineFile;
use crate::args;
use crate::commands::{node, task};
use crate::error::{Failure, Outcome};
use crate::output::{self, Format};
use api::{Member, Peer, Status, Task};
use clap::Args;
use engine::journal::{End, JournalError};
use engine::{Instant, NodeId};
use serde::Serialize;
use serde_json::{Value, json};
use sim::pluralize;
use sim::replay::{self, Ended, Mismatch, ReplayError, Replayed};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// Journal written by `node start --record` or `sim run --record`
    pub(crate) file: PathBuf,
    /// Stop at this time after the start of the node or simulation, such as 90s, 1500ms or 2m
    #[arg(long, value_parser = args::parse_time, value_name = "TIME")]
    pub(crate) until: Option<Duration>,
    /// Print the state of the node at the end, or just before it stopped
    #[arg(long)]
    pub(crate) state: bool,
    /// Write a timeline of what the node did and saw: .html for a browser, .json for ui.perfetto.dev
    #[arg(long, value_name = "FILE")]
    pub(crate) timeline: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) format: Format,
}

pub(super) fn run(arguments: &Arguments) -> Outcome {
    let until = arguments.until.map(|until| Instant::ZERO.after(until));
    let timeline_file = arguments.timeline.as_deref().map(TimelineFile::open).transpose()?;
    let result = match timeline_file {
        None => replay::replay(&arguments.file, until).map(|replayed| (replayed, None)),
        Some(file) => replay::replay_drawn(&arguments.file, until)
            .map(|(replayed, timeline)| (replayed, Some((file, timeline)))),
    };
    let (mut replayed, drawn) = match result {
        Ok(replayed) => replayed,
        Err(ReplayError::Mismatch(mismatch)) if arguments.format.json => {
            output::json(&json!({ "same": false, "mismatch": mismatch_json(&mismatch) }))?;
            return Err(Failure::silent());
        }
        Err(error) => {
            let failure = Failure::from_error(&error).id(id(&error)).hint(error.hint());
            return Err(failure.at(&arguments.file.display().to_string()));
        }
    };
    if let Some((file, timeline)) = drawn {
        file.write(&timeline)?;
    }
    // A time before the start shows the initial state.
    let at = until.map_or(replayed.at, |until| until.max(replayed.at));
    let state = arguments.state.then(|| {
        let state = replayed.state(at).or_else(|| last_state(arguments, &replayed));
        state.map(State::from)
    });
    if arguments.format.json {
        let mut body = replayed_json(&replayed);
        if let Some(state) = &state {
            body["state"] = json!(state);
        }
        output::json(&body)?;
    } else {
        print(arguments, &replayed)?;
        match &state {
            None => {}
            Some(None) => output::line("\nthe node has stopped, and has no earlier state")?,
            Some(Some(state)) => state.print()?,
        }
    }
    if replayed.ended == Ended::Cut {
        let failure = Failure::new(format!(
            "{}: the journal is truncated after record {}",
            arguments.file.display(),
            replayed.records.saturating_sub(1)
        ))
        .id("journal_cut");
        return Err(failure.hint(
            "everything before it was replayed and matches; the recording process was killed, or the file was truncated later",
        ));
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns the state of a node just before it stopped: a stopped node answers nothing.
fn last_state(arguments: &Arguments, replayed: &Replayed) -> Option<replay::State> {
    let before = replayed.before_stop?;
    replay::replay(&arguments.file, Some(before)).ok()?.state(before)
}

/// Returns the error id of a failed replay.
pub(in crate::commands) const fn id(error: &ReplayError) -> &'static str {
    match error {
        ReplayError::Empty { .. } => "journal_cut",
        ReplayError::Io(_) | ReplayError::Journal(JournalError::NotAJournal) => "journal_unreadable",
        ReplayError::Journal(JournalError::Damaged { .. } | JournalError::Malformed { .. }) => {
            "journal_damaged"
        }
        ReplayError::Journal(JournalError::Format(_) | JournalError::Version(_)) => {
            "journal_of_another_version"
        }
        ReplayError::Mismatch(_) => "replay_differs",
    }
}

fn print(arguments: &Arguments, replayed: &Replayed) -> Result<(), Failure> {
    let start = &replayed.start;
    let mut rows = vec![
        ("Journal", arguments.file.display().to_string()),
        ("Node", replayed.id().to_string()),
        ("Version", start.version.clone()),
        ("Network", start.config.network.clone()),
        ("Started", start.wall.to_string()),
        (
            "Records",
            format!(
                "{}: {}, {}, {} about its start, its key and its end",
                replayed.records,
                pluralize(replayed.inputs, "input"),
                pluralize(replayed.outputs, "output"),
                replayed.records.saturating_sub(replayed.inputs).saturating_sub(replayed.outputs),
            ),
        ),
        ("Recorded", seconds(replayed.at.since(start.now))),
        ("Replayed", format!("in {}, {} inputs/s", seconds(replayed.wall), rate(replayed))),
        ("Ended", ended(replayed.ended)),
        ("Same", format!("yes, every output up to record {}", replayed.records.saturating_sub(1))),
    ];
    rows.extend(arguments.timeline.as_ref().map(|file| ("Timeline", file.display().to_string())));
    output::properties(&rows)
}

fn ended(ended: Ended) -> String {
    match ended {
        Ended::Cut => "the journal is truncated".to_owned(),
        Ended::Recorded(end) => end.to_string(),
        Ended::Until => "at the time asked for".to_owned(),
    }
}

fn replayed_json(replayed: &Replayed) -> Value {
    let ended = match replayed.ended {
        Ended::Cut => "cut",
        Ended::Recorded(End::Full) => "full",
        Ended::Recorded(End::Late) => "late",
        Ended::Recorded(End::Stopped) => "stopped",
        Ended::Recorded(End::TooLarge) => "too_large",
        Ended::Until => "until",
    };
    json!({
        "same": true,
        "node_id": replayed.id(),
        "version": replayed.start.version,
        "network": replayed.start.config.network,
        "started_at": replayed.start.wall.to_string(),
        "records": replayed.records,
        "inputs": replayed.inputs,
        "outputs": replayed.outputs,
        "from_us": replayed.start.now,
        "to_us": replayed.at,
        "ended": ended,
        "wall_us": engine::time::micros(replayed.wall),
        "inputs_per_second": rate(replayed),
    })
}

fn mismatch_json(mismatch: &Mismatch) -> Value {
    json!({
        "record": mismatch.record,
        "at_us": mismatch.at,
        "after": mismatch.input,
        "expected": mismatch.expected,
        "got": mismatch.got,
    })
}

fn rate(replayed: &Replayed) -> u64 {
    let micros = engine::time::micros(replayed.wall).max(1);
    replayed.inputs.saturating_mul(1_000_000) / micros
}

fn seconds(duration: Duration) -> String {
    format!("{:.3} s", duration.as_secs_f64())
}

/// The state of the node, in the types of the control API.
#[derive(Serialize)]
struct State {
    at_us: Instant,
    status: Status,
    peers: Vec<Peer>,
    members: Vec<Member>,
    tasks: Vec<Task>,
    tasks_total: u32,
}

impl From<replay::State> for State {
    fn from(state: replay::State) -> Self {
        Self {
            at_us: state.at,
            status: state.status.into(),
            peers: state.peers.into_iter().map(Peer::from).collect(),
            members: state.members.into_iter().map(Member::from).collect(),
            tasks: state.tasks.into_iter().map(Task::from).collect(),
            tasks_total: state.tasks_total,
        }
    }
}

impl State {
    fn print(&self) -> Result<(), Failure> {
        let status = &self.status;
        let models: Vec<String> =
            status.models.iter().map(|model| format!("{} ({})", model.name, model.kind)).collect();
        output::line(&format!("\nThe node at {}", self.at_us))?;
        output::properties(&[
            ("State", status.state.to_string()),
            ("Wall clock", status.timestamp.clone()),
            ("Uptime", status.uptime_ms.map_or_else(|| "-".to_owned(), output::duration)),
            ("Tasks", format!("{} queued, {} running", status.tasks_queued, status.tasks_running)),
            ("Results", status.results.to_string()),
            ("Models", if models.is_empty() { "none".to_owned() } else { models.join(", ") }),
        ])?;
        output::line("\nPeers")?;
        node::peers::print(&self.peers)?;
        output::line("\nMembers")?;
        let rows: Vec<[String; 4]> = self.members.iter().map(member_row).collect();
        output::table(["ID", "ADDRESS", "HOPS", "LINKS"], &rows)?;
        output::line("\nTasks")?;
        task::list::print(self.tasks_total, &self.tasks)
    }
}

fn member_row(member: &Member) -> [String; 4] {
    let address = member.addresses.first().map_or_else(|| "-".to_owned(), ToString::to_string);
    let links: Vec<String> = member.links.iter().map(abbreviate).collect();
    [member.id.to_string(), address, member.hops.to_string(), links.join(" ")]
}

fn abbreviate(id: &NodeId) -> String {
    id.to_string().chars().take(SHORT_CHARS).collect()
}

/// Length of an abbreviated id, enough to find it in the list.
const SHORT_CHARS: usize = 8;
