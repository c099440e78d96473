//! The root of the command line. No argument takes a secret: other users of a machine see the arguments of a process.

pub(crate) mod mistake;

use crate::commands::{
    alerts, dashboard, debug, demo, help, man, metrics, model, node, route, short, sim, store, task, trace,
};
use crate::output::{self, Format};
use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// Share small AI tasks between your own machines.
#[derive(Debug, Parser)]
#[command(
    name = "p2p-ai-agents",
    version,
    about,
    arg_required_else_help = true,
    disable_help_subcommand = true,
    after_help = help::topics()
)]
pub(crate) struct Arguments {
    /// Directory of the node's files [default: ~/.p2p-ai-agents]
    #[arg(
        long,
        global = true,
        env = "P2P_AI_HOME",
        hide_env_values = true,
        value_name = "DIR",
        help_heading = GLOBAL
    )]
    pub(crate) home: Option<PathBuf>,
    /// Print only requested output and errors
    #[arg(long, short, global = true, help_heading = GLOBAL)]
    pub(crate) quiet: bool,
    /// Do not shorten tables to the width of the terminal
    #[arg(long, global = true, help_heading = GLOBAL)]
    pub(crate) wide: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start, stop and inspect the node of this machine
    #[command(subcommand)]
    Node(Deferred<node::NodeCommand>),
    /// Show and change the settings of the node
    Config(node::config::Arguments),
    /// Submit tasks and read their results
    #[command(subcommand)]
    Task(Deferred<task::TaskCommand>),
    /// Turn texts into vectors and print them
    Embed(short::Embed),
    /// Sort texts by their relevance to a query
    Rerank(short::Rerank),
    /// Choose a label for a text
    Classify(short::Classify),
    /// Generate a text from a prompt and print it while it is written
    Run(Box<short::Run>),
    /// Show alerts and set their thresholds
    #[command(subcommand)]
    Alerts(Deferred<alerts::AlertsCommand>),
    /// Check and repair the stored data of a stopped node
    #[command(subcommand)]
    Store(Deferred<store::StoreCommand>),
    /// Show routes through the mesh and measure them
    #[command(subcommand)]
    Route(Deferred<route::RouteCommand>),
    /// Fetch, list, share and quantize models
    #[command(subcommand)]
    Model(Deferred<model::ModelCommand>),
    /// Show and export what the node counts and measures
    #[command(subcommand)]
    Metrics(Deferred<metrics::MetricsCommand>),
    /// Show what happened to a task, step by step, on all nodes
    Trace(trace::Arguments),
    /// Explain why a task ran where it did
    Explain {
        /// Id of the task, the start of it, or @last
        id: String,
        #[command(flatten)]
        format: Format,
    },
    /// Start nodes on this machine to look at, with tasks and faults
    #[command(subcommand)]
    Demo(Deferred<demo::DemoCommand>),
    /// Run scenarios in simulated time
    #[command(subcommand)]
    Sim(Deferred<sim::SimCommand>),
    /// Show the mesh in a browser
    #[command(subcommand)]
    Dashboard(Deferred<dashboard::DashboardCommand>),
    /// Find faults of the running node
    #[command(subcommand)]
    Debug(Deferred<debug::DebugCommand>),
    /// Diagnose the node and its network, and suggest fixes
    Doctor(Format),
    /// Print where the node keeps its files
    Paths(Format),
    /// Explain an error by its id, or list all errors
    Errors {
        /// Id printed with the error
        id: Option<String>,
        /// Print all errors as a Markdown page
        #[arg(long, hide = true, conflicts_with = "id")]
        markdown: bool,
        #[command(flatten)]
        format: Format,
    },
    /// Print a completion script for a shell
    Completions {
        /// Shell that the script is for
        shell: clap_complete::Shell,
    },
    /// Print the help of a command, or a page on a topic
    Help {
        /// Command, such as node start, or topic
        #[arg(value_name = "COMMAND|TOPIC")]
        words: Vec<String>,
    },
    /// Show the manual page of a command, or install all pages
    Man(man::Arguments),
    /// Run a model for a node, over standard input and output
    #[command(hide = true)]
    InferenceWorker {
        /// Name or file of the model
        model: OsString,
    },
}

/// The commands of a noun. They are built only if the command line names the noun, for building all of them takes longer
/// than a short command.
#[derive(Debug)]
pub(crate) struct Deferred<T>(pub(crate) T);

impl<T: Subcommand> Subcommand for Deferred<T> {
    fn augment_subcommands(command: clap::Command) -> clap::Command {
        command.defer(T::augment_subcommands)
    }

    fn augment_subcommands_for_update(command: clap::Command) -> clap::Command {
        command.defer(T::augment_subcommands_for_update)
    }

    fn has_subcommand(name: &str) -> bool {
        T::has_subcommand(name)
    }
}

impl<T: FromArgMatches> FromArgMatches for Deferred<T> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        T::from_arg_matches(matches).map(Self)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.0.update_from_arg_matches(matches)
    }
}

/// Returns the program with all its commands, also those of the nouns.
pub(crate) fn program() -> clap::Command {
    let mut program = Arguments::command();
    program.build();
    program
}

/// Parses a time such as 90s.
pub(crate) fn parse_time(text: &str) -> Result<Duration, String> {
    let units = [("us", 1), ("ms", 1_000), ("s", 1_000_000), ("m", 60_000_000), ("h", 3_600_000_000)];
    let micros = units.into_iter().find_map(|(unit, micros)| {
        let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
        number.checked_mul(micros)
    });
    micros
        .map(Duration::from_micros)
        .ok_or_else(|| "expected a whole number and a unit: 250us, 1500ms, 90s, 2m, 1h".to_owned())
}

/// Parses the arguments of this process. Exits with an explanation if they are invalid.
pub(crate) fn parse() -> Arguments {
    let words = help_first(std::env::args_os().collect());
    output::set_json(mistake::wants_json(&words));
    Arguments::try_parse_from(&words).unwrap_or_else(|error| {
        let error = add_tip(error);
        if !error.use_stderr() || error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
            error.exit();
        }
        let _ = mistake::explain(&error, &words).report();
        std::process::exit(error.exit_code())
    })
}

/// Reads `NOUN help VERB` as `help NOUN VERB`.
fn help_first(mut words: Vec<OsString>) -> Vec<OsString> {
    if !words.iter().any(|word| word == "help") {
        return words;
    }
    let program = program();
    let is_noun = |word: &OsString| {
        program.find_subcommand(word).is_some_and(|command| command.get_subcommands().next().is_some())
    };
    if let Some(noun) = words.iter().position(is_noun)
        && words.get(noun + 1).is_some_and(|word| word == "help")
    {
        words.swap(noun, noun + 1);
    }
    words
}

/// Adds a tip to the error if the text of a task is in the wrong position or not quoted.
fn add_tip(mut error: clap::Error) -> clap::Error {
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

const GLOBAL: &str = "Global options";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        program().debug_assert();
    }

    #[test]
    fn times_are_checked() {
        assert_eq!(parse_time("1500ms"), Ok(Duration::from_millis(1_500)));
        assert_eq!(parse_time("2m"), Ok(Duration::from_secs(120)));
        for bad in ["", "5", "s", "-1s", "1.5s", "5 s", "99999999999999999999s", "9999999999999999h"] {
            assert!(parse_time(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn help_may_follow_a_noun() {
        let read = |words: &str| {
            let words = format!("p2p-ai-agents {words}");
            let read = help_first(words.split(' ').map(OsString::from).collect());
            read.join(std::ffi::OsStr::new(" ")).into_string().unwrap()
        };
        assert_eq!(read("node help start"), "p2p-ai-agents help node start");
        assert_eq!(read("--quiet node help"), "p2p-ai-agents --quiet help node");
        for same in ["node start", "help node start", "task submit --input node help", "errors help"] {
            assert_eq!(read(same), format!("p2p-ai-agents {same}"));
        }
    }
}
