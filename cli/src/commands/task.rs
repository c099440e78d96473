//! `task`: tasks and their results.

pub(super) mod answer;
mod cancel;
pub(super) mod id;
pub(super) mod list;
pub(super) mod result;
mod status;
pub(super) mod submit;
pub(super) mod text_stream;
mod wait_notice;
mod watch;
pub(super) mod work;

use crate::client::block_on;
use crate::error::Outcome;
use crate::homes::SelectedHome;
use crate::output::Format;
use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(crate) enum TaskCommand {
    /// Submit a task, or one task per line of a file
    Submit(Box<submit::Arguments>),
    /// Show the status of a task
    Status {
        /// Id of the task, the start of it, or @last
        id: String,
        #[command(flatten)]
        format: Format,
    },
    /// Show the result of a finished task
    Result {
        /// Id of the task, the start of it, or @last
        id: String,
        /// Output format
        #[arg(long, value_enum, default_value_t = result::ResultFormat::Text)]
        format: result::ResultFormat,
        /// Same as --format json
        #[arg(long, conflicts_with = "format")]
        json: bool,
    },
    /// Follow a task until it ends
    Watch {
        /// Id of the task, the start of it, or @last
        id: String,
        #[command(flatten)]
        format: Format,
    },
    /// List tasks, newest first
    List(list::Arguments),
    /// Cancel a task that has not ended
    Cancel {
        /// Id of the task, the start of it, or @last
        id: String,
        #[command(flatten)]
        format: Format,
    },
}

pub(super) fn run(command: TaskCommand, home: &SelectedHome) -> Outcome {
    match command {
        TaskCommand::Submit(arguments) => block_on(submit::run(&home.open()?, *arguments)),
        TaskCommand::Status { id, format } => block_on(status::run(&home.open()?, &id, format)),
        TaskCommand::Result { id, format, json } => block_on(result::run(&home.open()?, &id, format, json)),
        TaskCommand::Watch { id, format } => block_on(watch::run(&home.open()?, &id, format)),
        TaskCommand::List(arguments) => block_on(list::run(&home.open()?, arguments)),
        TaskCommand::Cancel { id, .. } => block_on(cancel::run(&home.open()?, &id)),
    }
}
