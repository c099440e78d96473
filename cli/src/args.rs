//! What can be written on the command line. Secrets never can: other users of a machine see it.

use crate::commands::{model, node, route, sim, store, task};
use crate::output::Format;
use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Parser, Subcommand};
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
    Node(node::NodeCommand),
    /// Submit tasks and get their results
    #[command(subcommand)]
    Task(task::TaskCommand),
    /// Check what this machine's node has stored, and save what can be saved of it
    #[command(subcommand)]
    Store(store::StoreCommand),
    /// See how messages travel through the mesh
    #[command(subcommand)]
    Route(route::RouteCommand),
    /// Fetch, list and prepare models
    #[command(subcommand)]
    Model(model::ModelCommand),
    /// Run scenarios in simulated time
    #[command(subcommand)]
    Sim(sim::SimCommand),
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

/// Reads what this process was told to do; ends it where that makes no sense.
pub(crate) fn parse() -> Arguments {
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

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }
}
