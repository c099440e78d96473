//! One file for each subcommand; this one leads to them.

mod completions;
mod doctor;
mod inference_worker;
mod model_pull_manifest;
mod model_quantize;
mod model_share;
mod node_peers;
mod node_start;
mod node_status;
mod node_stop;
mod route_explain;
mod route_ping;
mod sim_check;
mod sim_list;
mod sim_new;
mod sim_replay;
mod sim_run;
mod sim_shrink;
mod sim_timeline;
mod task_cancel;
mod task_list;
mod task_result;
mod task_status;
mod task_submit;

use crate::args::{Arguments, Command, ModelCommand, NodeCommand, RouteCommand, SimCommand, TaskCommand};
use crate::error::{Failure, Outcome};
use engine::TaskId;
use runtime::home::Home;
use std::future::Future;
use std::path::PathBuf;
use std::process::ExitCode;

pub(crate) fn run(arguments: Arguments) -> Outcome {
    let home = || home(arguments.home.clone());
    match arguments.command {
        Command::Node(NodeCommand::Start(start)) => node_start::run(&home()?, &start),
        Command::Node(NodeCommand::Stop { all: true }) => node_stop::run_all(),
        Command::Node(NodeCommand::Stop { all: false }) => node_stop::run(&home()?),
        Command::Node(NodeCommand::Status(format)) => block_on(node_status::run(&home()?, format)),
        Command::Node(NodeCommand::Peers(format)) => block_on(node_peers::run(&home()?, format)),
        Command::Task(TaskCommand::Submit(submit)) => block_on(task_submit::run(&home()?, submit)),
        Command::Task(TaskCommand::Status { id, format }) => {
            block_on(task_status::run(&home()?, &id, format))
        }
        Command::Task(TaskCommand::Result { id, format, json }) => {
            block_on(task_result::run(&home()?, &id, format, json))
        }
        Command::Task(TaskCommand::List { limit, offset, format }) => {
            block_on(task_list::run(&home()?, limit, offset, format))
        }
        Command::Task(TaskCommand::Cancel { id }) => block_on(task_cancel::run(&home()?, &id)),
        Command::Model(ModelCommand::Pull { manifest, to }) => {
            block_on(model_pull_manifest::run(&home()?, &manifest, to.as_deref()))
        }
        Command::Model(ModelCommand::Share { path }) => block_on(model_share::run(&home()?, &path)),
        Command::Model(ModelCommand::Quantize { source, output }) => model_quantize::run(&source, &output),
        Command::Route(RouteCommand::Explain { id, format }) => {
            block_on(route_explain::run(&home()?, &id, format))
        }
        Command::Route(RouteCommand::Ping(ping)) => block_on(route_ping::run(&home()?, &ping)),
        Command::Sim(SimCommand::Run(run)) => sim_run::run(&run),
        Command::Sim(SimCommand::Check { files, format }) => sim_check::run(&files, format),
        Command::Sim(SimCommand::List { dir, format }) => sim_list::run(&dir, format),
        Command::Sim(SimCommand::New { name, dir }) => sim_new::run(&name, &dir),
        Command::Sim(SimCommand::Shrink(shrink)) => sim_shrink::run(&shrink),
        Command::Sim(SimCommand::Replay(replay)) => sim_replay::run(&replay),
        Command::Doctor(format) => doctor::run(&home()?, format),
        Command::Completions { shell } => completions::run(shell),
        Command::InferenceWorker { model } => inference_worker::run(&model),
    }
}

fn home(named: Option<PathBuf>) -> Result<Home, Failure> {
    let root = named.or_else(|| Some(std::env::home_dir()?.join(".p2p-ai-agents"))).ok_or_else(|| {
        Failure::new("there is no home directory").hint("name the node's directory with --home DIR")
    })?;
    Home::new(&root).map_err(|error| Failure::new("the home cannot be used").because(Some(&error)))
}

/// Runs a command that asks a node and waits for the answer.
fn block_on(command: impl Future<Output = Result<(), Failure>>) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(command).map(|()| ExitCode::SUCCESS)
}

/// A name that cannot be a task's is the name of no task.
fn task_id(text: &str) -> Result<TaskId, Failure> {
    text.to_ascii_lowercase().parse().map_err(|_| {
        Failure::new(format!("Task not found (id: {text})")).hint("p2p-ai-agents task list shows the tasks")
    })
}
