//! What can be written on the command line. Secrets never can: other users of a machine see it.

use clap::{Args, Parser, Subcommand, ValueEnum};
use engine::task::TaskKind;
use std::net::SocketAddr;
use std::path::PathBuf;

/// A local mesh of machines that share small AI work.
#[derive(Debug, Parser)]
#[command(name = "p2p-ai-agents", version, about, arg_required_else_help = true)]
pub(crate) struct Arguments {
    /// The node's directory [default: ~/.p2p-ai-agents]
    #[arg(long, global = true, env = "P2P_AI_HOME", hide_env_values = true, value_name = "DIR")]
    pub(crate) home: Option<PathBuf>,
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
    /// See how messages travel through the mesh
    #[command(subcommand)]
    Route(RouteCommand),
    /// Prepare models
    #[command(subcommand)]
    Model(ModelCommand),
    /// Run scenarios in simulated time
    #[command(subcommand)]
    Sim(SimCommand),
    /// Say what is wrong with this machine's node or its network, and what to do about it
    Doctor(Format),
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
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
    /// Show how the node is
    Status(Format),
    /// List the nodes that this node has links to
    Peers(Format),
}

#[derive(Args, Debug)]
pub(crate) struct NodeStart {
    /// Where peers connect [default: 9000]
    #[arg(long, value_parser = port, value_name = "PORT")]
    pub(crate) port: Option<u16>,
    /// Where the control API answers, on loopback [default: 8080, or the next free one]
    #[arg(long, value_parser = port, value_name = "PORT")]
    pub(crate) api_port: Option<u16>,
    /// Read this configuration (JSON, or TOML by extension) instead of the home's own
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
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
    /// The least severe log lines to write [default: INFO]
    #[arg(long, value_name = "LEVEL")]
    pub(crate) log_level: Option<String>,
    /// Leave the session of the terminal that started this process
    #[arg(long, hide = true, requires = "foreground")]
    pub(crate) detached: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TaskCommand {
    /// Submit a task, or one for each line of a file
    Submit(TaskSubmit),
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
    /// List tasks, newest first
    List {
        /// The most tasks to list
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
        /// How many of the newest to leave out
        #[arg(long, default_value_t = 0)]
        offset: u32,
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
    /// A file of tasks, one JSON object a line with the fields input, type, model, timeout_seconds, max_tokens
    #[arg(long, value_name = "JSONL")]
    pub(crate) file: Option<PathBuf>,
    /// The model to use; the node chooses where none is given
    #[arg(long, value_name = "NAME")]
    pub(crate) model: Option<String>,
    /// Give the task up after this many seconds [default: 30]
    #[arg(long, value_name = "SECONDS")]
    pub(crate) timeout: Option<u64>,
    /// Generation only: the most tokens to produce
    #[arg(long, value_name = "N")]
    pub(crate) max_tokens: Option<u32>,
    /// Wait for the result and show it
    #[arg(long)]
    pub(crate) wait: bool,
    #[command(flatten)]
    pub(crate) format: Format,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ModelCommand {
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
}

#[derive(Debug, Subcommand)]
pub(crate) enum SimCommand {
    /// Run one scenario; the same seed gives the same trace, byte for byte
    Run(SimRun),
}

#[derive(Args, Debug)]
pub(crate) struct SimRun {
    /// The scenario
    pub(crate) file: PathBuf,
    /// The seed of the run
    #[arg(long, default_value_t = 0, conflicts_with = "seeds")]
    pub(crate) seed: u64,
    /// Run every seed from A up to, but not including, B
    #[arg(long, value_parser = seed_range, value_name = "A..B")]
    pub(crate) seeds: Option<std::ops::Range<u64>>,
    /// What runs it, instead of what the scenario says
    #[arg(long, value_name = "EXECUTOR")]
    pub(crate) executor: Option<sim::Executor>,
    /// Draw the run: a page for a browser (.html), or a trace for ui.perfetto.dev (.json); overwrites the file
    #[arg(long, conflicts_with = "seeds", value_name = "FILE")]
    pub(crate) timeline: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) format: Format,
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
}

impl From<Kind> for TaskKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Classification => Self::Classification,
            Kind::Embedding => Self::Embedding,
            Kind::Generation => Self::Generation,
        }
    }
}

fn port(text: &str) -> Result<u16, String> {
    text.parse()
        .ok()
        .filter(|port| *port >= 1024)
        .ok_or_else(|| "Invalid port number (must be 1024-65535)".to_owned())
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
        assert_eq!(seed_range("3..5"), Ok(3..5));
        for bad in ["5..3", "3", "3..", "a..b", "3..3"] {
            assert!(seed_range(bad).is_err(), "{bad:?}");
        }
    }
}
