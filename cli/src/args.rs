//! What can be written on the command line. Secrets never can: other users of a machine see it.

use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, Parser, Subcommand, ValueEnum};
use engine::request::{PING_AT_ONCE_MAX, PING_BYTES_MAX, PING_COUNT_MAX};
use engine::task::{TaskKind, TaskStatus};
use std::net::SocketAddr;
use std::num::NonZero;
use std::path::PathBuf;

/// A local mesh of machines that share small AI work.
#[derive(Debug, Parser)]
#[command(name = "p2p-ai-agents", version, about, arg_required_else_help = true)]
pub(crate) struct Arguments {
    /// The node's directory [default: ~/.p2p-ai-agents]
    #[arg(long, global = true, env = "P2P_AI_HOME", hide_env_values = true, value_name = "DIR")]
    pub(crate) home: Option<PathBuf>,
    /// Print what was asked for and errors, nothing else
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start, stop and look at this machine's node
    #[command(subcommand)]
    Node(NodeCommand),
    /// Submit tasks and get their results
    #[command(subcommand)]
    Task(TaskCommand),
    /// Check what this machine's node has stored, and save what can be saved of it
    #[command(subcommand)]
    Store(StoreCommand),
    /// See how messages travel through the mesh
    #[command(subcommand)]
    Route(RouteCommand),
    /// Fetch, list and prepare models
    #[command(subcommand)]
    Model(ModelCommand),
    /// Run scenarios in simulated time
    #[command(subcommand)]
    Sim(SimCommand),
    /// Say what is wrong with this machine's node or its network, and what to do about it
    Doctor(Format),
    /// Print where the files of this machine's node are
    Paths(Format),
    /// Explain an error by its id, or all of them
    Errors {
        /// The id that the error ends with
        id: Option<String>,
        /// Print the page of all errors
        #[arg(long, hide = true, conflicts_with = "id")]
        markdown: bool,
        #[command(flatten)]
        format: Format,
    },
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page, or write one for every command
    #[command(hide = true)]
    Man {
        /// Write p2p-ai-agents.1 and a page for each command into this directory
        directory: Option<PathBuf>,
    },
    /// Run a model for a node, over standard input and output
    #[command(hide = true)]
    InferenceWorker {
        /// The model's name or file
        model: std::ffi::OsString,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum NodeCommand {
    /// Start the node, in the background unless told otherwise
    Start(NodeStart),
    /// Stop the node, and let it finish what it can
    Stop {
        /// Stop every running node of this user
        #[arg(long)]
        all: bool,
    },
    /// Stop the node, and start it as it was started before
    Restart {
        /// Restart every running node of this user
        #[arg(long)]
        all: bool,
    },
    /// List the running nodes of this user
    List(Format),
    /// Show how the node is
    Status {
        /// Show every running node of this user
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        format: Format,
    },
    /// Check how well the node is: its configuration, key, memory and storage
    Health {
        /// Check every running node of this user
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        format: Format,
    },
    /// List the nodes that this node has links to
    Peers {
        /// List those of every running node of this user
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        format: Format,
    },
    /// Show every setting and where its value came from
    Config(NodeConfig),
    /// Show the node's log
    Logs(NodeLogs),
    /// Watch the node: its state, peers, tasks, memory and what happens
    Monitor(NodeMonitor),
    /// End with 0 if the node is ready, else with 1
    Ready,
    /// Write the systemd unit that starts the node, watches it and stops it
    InstallService(InstallService),
}

#[derive(Args, Debug)]
pub(crate) struct NodeMonitor {
    /// Seconds between two looks
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=3600), value_name = "SECONDS")]
    pub(crate) interval: u32,
    /// End after this many seconds; without it, with Ctrl-C
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..), value_name = "SECONDS")]
    pub(crate) duration: Option<u32>,
    #[command(flatten)]
    pub(crate) format: Format,
}

#[derive(Args, Debug)]
pub(crate) struct InstallService {
    /// A unit of the system, for which the node runs as the user that you are now, instead of one of yours
    #[arg(long)]
    pub(crate) system: bool,
    /// A unit of yours, which is the default
    #[arg(long, conflicts_with = "system")]
    pub(crate) user: bool,
    /// Print the unit and write nothing
    #[arg(long)]
    pub(crate) print: bool,
}

#[derive(Args, Debug)]
pub(crate) struct NodeConfig {
    /// Read this configuration instead of the home's own, as `node start` would
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) format: Format,
}

#[derive(Args, Debug)]
pub(crate) struct NodeLogs {
    /// Go on with what is written from now on, until Ctrl-C
    #[arg(long, short)]
    pub(crate) follow: bool,
    /// How many of the newest lines to show
    #[arg(long, short = 'n', default_value_t = 50, value_parser = clap::value_parser!(u32).range(0..=1_000_000), value_name = "N")]
    pub(crate) lines: u32,
    /// The least severe lines to show
    #[arg(long, value_enum, ignore_case = true, value_name = "LEVEL")]
    pub(crate) level: Option<Level>,
    #[command(flatten)]
    pub(crate) format: Format,
}

/// How severe a log line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Level {
    /// Every message
    Trace,
    /// What helps to find a fault
    Debug,
    /// Events in the life of the node
    Info,
    /// What somebody should look at
    Warn,
    /// What kept the node from doing its work
    Error,
    /// What ended the node
    Fatal,
}

#[derive(Args, Debug)]
pub(crate) struct NodeStart {
    /// Where peers connect [default: 9000]
    #[arg(long, value_parser = port, value_name = "PORT", allow_negative_numbers = true)]
    pub(crate) port: Option<u16>,
    /// Where the control API answers, on loopback [default: 8080, or the next free one]
    #[arg(long, value_parser = port, value_name = "PORT", allow_negative_numbers = true)]
    pub(crate) api_port: Option<u16>,
    /// Read this configuration (JSON, or TOML by extension) instead of the home's own
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Print how long each component and state of the start took
    #[arg(long)]
    pub(crate) startup_diagnostics: bool,
    /// Stay in the foreground and log to the terminal
    #[arg(long)]
    pub(crate) foreground: bool,
    /// The network to join; nodes of other networks are refused [default: local]
    #[arg(long, value_name = "NAME")]
    pub(crate) network: Option<String>,
    /// The most peers to keep links to [default: 32]
    #[arg(long, value_name = "N")]
    pub(crate) max_peers: Option<u64>,
    /// Dial this address besides discovered ones; may be given more than once
    #[arg(long = "bootstrap-peer", value_name = "IP:PORT")]
    pub(crate) bootstrap_peers: Vec<SocketAddr>,
    /// Discover nodes on this network interface only; may be given more than once
    #[arg(long = "interface", value_name = "NAME")]
    pub(crate) interfaces: Vec<String>,
    /// Run no model: relay for others, and give the tasks taken here to them; saves its memory
    #[arg(long)]
    pub(crate) no_model: bool,
    /// Fetch nothing from the Hugging Face hub, whatever is asked for
    #[arg(long)]
    pub(crate) offline: bool,
    /// Record all that goes into the node and comes out of it, for `sim replay`; holds the texts of tasks
    #[arg(long, value_name = "FILE")]
    pub(crate) record: Option<PathBuf>,
    /// End the recording at this many MiB [default: 64]
    #[arg(long, value_name = "MIB")]
    pub(crate) record_max_mb: Option<u64>,
    /// Start without the tasks and results of before where the data file is gone or cannot be read
    #[arg(long)]
    pub(crate) accept_data_loss: bool,
    /// The least severe log lines to write [default: INFO]
    #[arg(long, value_name = "LEVEL")]
    pub(crate) log_level: Option<String>,
    /// Leave the session of the terminal that started this process
    #[arg(long, hide = true, requires = "foreground")]
    pub(crate) detached: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum StoreCommand {
    /// Read every stored task and result of a stopped node; end with 0 if all are sound, else with 1
    Check(Format),
    /// Save what can be read of a damaged data file into a new one; the damaged file is kept beside it
    Salvage(Format),
}

#[derive(Debug, Subcommand)]
pub(crate) enum TaskCommand {
    /// Submit a task, or one for each line of a file
    Submit(Box<TaskSubmit>),
    /// Show how a task stands
    Status {
        /// The task's id
        id: String,
        #[command(flatten)]
        format: Format,
    },
    /// Show a finished task's result
    Result {
        /// The task's id
        id: String,
        /// For people or for programs
        #[arg(long, value_enum, default_value_t = ResultFormat::Text)]
        format: ResultFormat,
        /// The same as --format json
        #[arg(long, conflicts_with = "format")]
        json: bool,
    },
    /// Follow a task until it ends
    Watch {
        /// The task's id
        id: String,
        #[command(flatten)]
        format: Format,
    },
    /// List tasks, newest first
    List {
        /// The most tasks to list
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000), allow_negative_numbers = true)]
        limit: u32,
        /// How many of the newest to leave out
        #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..), allow_negative_numbers = true)]
        offset: u32,
        /// Only those that this node runs or has run, by the beginning of its id
        #[arg(long, value_name = "ID")]
        worker: Option<String>,
        /// Only those that stand like this
        #[arg(long, value_enum, ignore_case = true, value_name = "STATUS")]
        status: Option<Standing>,
        #[command(flatten)]
        format: Format,
    },
    /// Cancel a task that has not ended
    Cancel {
        /// The task's id
        id: String,
    },
}

#[derive(Args, Debug)]
pub(crate) struct TaskSubmit {
    /// The text to work on; - reads it from standard input
    #[arg(long, required_unless_present = "file", conflicts_with = "file", value_name = "TEXT")]
    pub(crate) input: Option<String>,
    /// The kind of work
    #[arg(long = "type", value_enum, required_unless_present = "file", value_name = "TYPE")]
    pub(crate) kind: Option<Kind>,
    /// A file of tasks, one JSON object a line: input, type, and what else the options below say (model,
    /// timeout_seconds, labels, max_tokens, …), or messages in place of a generation's input;
    /// - reads them from standard input
    #[arg(long, value_name = "JSONL")]
    pub(crate) file: Option<PathBuf>,
    /// Wait for every task of the file and write its result here, a line each; what is there already is not done again
    #[arg(long, requires = "file", conflicts_with_all = ["input", "wait"], value_name = "JSONL")]
    pub(crate) output: Option<PathBuf>,
    /// The model to use; the node chooses where none is given
    #[arg(long, value_name = "NAME")]
    pub(crate) model: Option<String>,
    /// Give the task up after this many seconds [default: 30]
    #[arg(long, value_name = "SECONDS")]
    pub(crate) timeout: Option<u64>,
    /// Fail where a text has more tokens than the model takes, instead of cutting it
    #[arg(long)]
    pub(crate) no_truncate: bool,
    /// Generation only: the most tokens to produce
    #[arg(long, value_name = "N")]
    pub(crate) max_tokens: Option<u32>,
    /// Generation only: 0 always takes the likeliest token, higher is more varied [default: 1]
    #[arg(long, value_name = "0..2")]
    pub(crate) temperature: Option<f64>,
    /// Generation only: draw from the likeliest tokens that have this probability together [default: 1]
    #[arg(long, value_name = "0..1")]
    pub(crate) top_p: Option<f64>,
    /// Generation only: draw from this many of the likeliest tokens [default: any number]
    #[arg(long, value_name = "N")]
    pub(crate) top_k: Option<u32>,
    /// Generation only: the same seed, model and input give the same text
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// Generation only: a text that ends it; may be given several times
    #[arg(long, value_name = "TEXT")]
    pub(crate) stop: Vec<String>,
    /// Classification only: a label to choose from; may be given several times [default: the model's own]
    #[arg(long = "label", value_name = "TEXT")]
    pub(crate) labels: Vec<String>,
    /// Reranking only: what the texts, one a line, are to answer
    #[arg(long, value_name = "TEXT")]
    pub(crate) query: Option<String>,
    /// Wait for the result and show it
    #[arg(long)]
    pub(crate) wait: bool,
    #[command(flatten)]
    pub(crate) format: Format,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ModelCommand {
    /// List the models on this machine
    List(Format),
    /// Fetch a model from the Hugging Face hub, or the rest of one
    Pull {
        /// owner/name, owner/name@revision, owner/name:Q4_0 or owner/name/file.gguf
        #[arg(required_unless_present = "manifest")]
        model: Option<String>,
        /// Fetch nothing; only say whether it is here already
        #[arg(long)]
        offline: bool,
        /// Fetch the files of a list by `model share` from other nodes, without the internet
        #[arg(long, value_name = "FILE", conflicts_with_all = ["model", "offline", "json"])]
        manifest: Option<PathBuf>,
        /// The folder for these files [default: models/NAME in the node's home]
        #[arg(long, value_name = "DIR", requires = "manifest")]
        to: Option<PathBuf>,
        #[command(flatten)]
        format: Format,
    },
    /// Remove a model from the cache, which other tools share
    Rm {
        /// As it was pulled
        model: String,
        #[command(flatten)]
        format: Format,
    },
    /// Show what is known of a model on this machine
    Info {
        /// As it was pulled, its name in the node's list, or its folder or file
        model: String,
        #[command(flatten)]
        format: Format,
    },
    /// Give a model's files to other nodes, and list them with their hashes
    Share {
        /// The model's folder, or a file
        path: PathBuf,
    },
    /// Make a small 8-bit model file of published weights
    Quantize {
        /// The directory with the published model
        #[arg(long, value_name = "DIR")]
        source: PathBuf,
        /// The file to write
        #[arg(long, value_name = "FILE")]
        output: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum RouteCommand {
    /// Show the path to a node, how long each hop takes, and other paths
    Explain {
        /// The node's id, or the beginning of it
        id: String,
        #[command(flatten)]
        format: Format,
    },
    /// Send messages to a node and show how long they take there and back
    Ping(RoutePing),
}

#[derive(Debug, Args)]
pub(crate) struct RoutePing {
    /// The node's id, or the beginning of it
    pub(crate) id: String,
    /// How many messages to send
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=PING_COUNT_MAX as i64))]
    pub(crate) count: u32,
    /// Bytes that each message carries
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(..=PING_BYTES_MAX as i64))]
    pub(crate) bytes: u32,
    /// How many may be on their way at the same time
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=PING_AT_ONCE_MAX as i64))]
    pub(crate) at_once: u32,
    #[command(flatten)]
    pub(crate) format: Format,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SimCommand {
    /// Run a scenario under one seed or many; the same seed gives the same trace, byte for byte
    Run(SimRun),
    /// Say whether scenario files are valid, and what is wrong where in those that are not
    Check {
        /// The scenarios
        #[arg(required = true)]
        files: Vec<PathBuf>,
        #[command(flatten)]
        format: Format,
    },
    /// List scenarios and why they exist
    List {
        /// Where they are
        #[arg(long, value_name = "DIR", default_value = "scenarios")]
        dir: PathBuf,
        #[command(flatten)]
        format: Format,
    },
    /// Write a scenario to begin with, in which everything is explained
    New {
        /// Its name: what happens in it, such as worker_dies
        name: String,
        /// Where to write it
        #[arg(long, value_name = "DIR", default_value = "scenarios")]
        dir: PathBuf,
    },
    /// Make the smallest scenario that fails in the same way as a seed of a large one
    Shrink(SimShrink),
    /// Do again what a recorded node did, and check that it does the same
    Replay(SimReplay),
}

#[derive(Args, Debug)]
pub(crate) struct SimReplay {
    /// What `node start --record` or `sim run --record` wrote
    pub(crate) file: PathBuf,
    /// Stop at this time since the start of the node, or of the simulation that it was in: 90s, 1500ms, 2m
    #[arg(long, value_parser = moment, value_name = "TIME")]
    pub(crate) until: Option<std::time::Duration>,
    /// Show how the node is then
    #[arg(long)]
    pub(crate) state: bool,
    #[command(flatten)]
    pub(crate) format: Format,
}

#[derive(Args, Debug)]
pub(crate) struct SimRun {
    /// The scenario
    pub(crate) file: PathBuf,
    /// The seed of the run [default: the scenario's own, or 0]
    #[arg(long, value_name = "N", conflicts_with = "seeds")]
    pub(crate) seed: Option<u64>,
    /// Run every seed from A up to, but not including, B
    #[arg(long, value_parser = seed_range, value_name = "A..B")]
    pub(crate) seeds: Option<std::ops::Range<u64>>,
    /// What runs it, instead of what the scenario says
    #[arg(long, value_enum, value_name = "EXECUTOR")]
    pub(crate) executor: Option<ExecutorChoice>,
    /// How many seeds run at a time; changes nothing but the time it takes [default: one for each core]
    #[arg(long, value_name = "N", requires = "seeds")]
    pub(crate) jobs: Option<NonZero<usize>>,
    /// Go on after the first seed that fails
    #[arg(long, requires = "seeds")]
    pub(crate) keep_going: bool,
    /// Write the journal of each node into this new directory, for `sim replay`
    #[arg(long, value_name = "DIR", conflicts_with = "seeds")]
    pub(crate) record: Option<PathBuf>,
    /// Draw the run: a page for a browser (.html), or a trace for ui.perfetto.dev (.json); overwrites the file
    #[arg(long, conflicts_with_all = ["seeds", "record"], value_name = "FILE")]
    pub(crate) timeline: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) format: Format,
}

#[derive(Args, Debug)]
pub(crate) struct SimShrink {
    /// The scenario
    pub(crate) file: PathBuf,
    /// A seed that fails [default: the scenario's own, or 0]
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// What runs it, instead of what the scenario says
    #[arg(long, value_enum, value_name = "EXECUTOR")]
    pub(crate) executor: Option<ExecutorChoice>,
    /// The file to write [default: scenarios/bugs/SCENARIO_SEED.toml]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Make no more runs than this
    #[arg(long, value_name = "N", default_value_t = 5_000)]
    pub(crate) max_runs: u32,
    /// Begin no run after this many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    pub(crate) max_time: u64,
    #[command(flatten)]
    pub(crate) format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExecutorChoice {
    /// Whichever suits the scenario
    Auto,
    /// Straight over the engine: thousands of nodes, many seeds
    EventQueue,
    /// The real driver, framing and handshake: a few dozen nodes
    Turmoil,
}

/// How a command that reads shows what it read.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Format {
    /// Print JSON, for programs
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ResultFormat {
    /// For people
    Text,
    /// For programs
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// Text to a vector
    Embedding,
    /// Text to a label with scores
    Classification,
    /// Prompt to text
    Generation,
    /// Texts, one a line, to how well each answers a query
    Reranking,
}

/// How a task stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Standing {
    Cancelled,
    Completed,
    Failed,
    Queued,
    Running,
    Timeout,
}

impl From<Standing> for TaskStatus {
    fn from(standing: Standing) -> Self {
        match standing {
            Standing::Cancelled => Self::Cancelled,
            Standing::Completed => Self::Completed,
            Standing::Failed => Self::Failed,
            Standing::Queued => Self::Queued,
            Standing::Running => Self::Running,
            Standing::Timeout => Self::Timeout,
        }
    }
}

impl From<Kind> for TaskKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Classification => Self::Classification,
            Kind::Embedding => Self::Embedding,
            Kind::Generation => Self::Generation,
            Kind::Reranking => Self::Reranking,
        }
    }
}

/// Reads what this process was told to do; ends it where that makes no sense.
pub(crate) fn of_this_process() -> Arguments {
    Arguments::try_parse().unwrap_or_else(|error| advise(error).exit())
}

/// Says where the text of a task goes to somebody who has put it elsewhere, or forgot to quote it.
fn advise(mut error: clap::Error) -> clap::Error {
    let context = |kind| error.get(kind).map(ToString::to_string).unwrap_or_default();
    let is_text =
        error.kind() == ErrorKind::UnknownArgument && !context(ContextKind::InvalidArg).starts_with('-');
    if is_text && context(ContextKind::Usage).contains("task submit") {
        let tip =
            "the text goes after --input, in quotes: task submit --type embedding --input \"hello world\"";
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![StyledStr::from(tip)]));
    }
    error
}

fn port(text: &str) -> Result<u16, String> {
    text.parse()
        .ok()
        .filter(|port| *port >= 1024)
        .ok_or_else(|| "Invalid port number (must be 1024-65535)".to_owned())
}

fn moment(text: &str) -> Result<std::time::Duration, String> {
    let units = [("us", 1), ("ms", 1_000), ("s", 1_000_000), ("m", 60_000_000), ("h", 3_600_000_000)];
    let micros = units.into_iter().find_map(|(unit, micros)| {
        let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
        number.checked_mul(micros)
    });
    micros
        .map(std::time::Duration::from_micros)
        .ok_or_else(|| "expected a whole number and a unit: 250us, 1500ms, 90s, 2m, 1h".to_owned())
}

fn seed_range(text: &str) -> Result<std::ops::Range<u64>, String> {
    let bounds = text.split_once("..").and_then(|(from, to)| Some((from.parse().ok()?, to.parse().ok()?)));
    match bounds {
        Some((from, to)) if from < to => Ok(from..to),
        Some(_) | None => Err("expected two seeds, the smaller first: 0..100".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn ports_and_seeds_are_checked() {
        assert_eq!(port("1024"), Ok(1024));
        for bad in ["1023", "65536", "-1", "http", ""] {
            assert_eq!(port(bad), Err("Invalid port number (must be 1024-65535)".to_owned()), "{bad:?}");
        }
        assert_eq!(moment("1500ms"), Ok(std::time::Duration::from_millis(1_500)));
        assert_eq!(moment("2m"), Ok(std::time::Duration::from_secs(120)));
        for bad in ["", "5", "s", "-1s", "1.5s", "5 s", "99999999999999999999s", "9999999999999999h"] {
            assert!(moment(bad).is_err(), "{bad:?}");
        }
        assert_eq!(seed_range("3..5"), Ok(3..5));
        for bad in ["5..3", "3", "3..", "a..b", "3..3"] {
            assert!(seed_range(bad).is_err(), "{bad:?}");
        }
    }
}
