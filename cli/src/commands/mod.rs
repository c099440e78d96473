//! One file for each subcommand; this one leads to them.

mod completions;
mod doctor;
mod inference_worker;
mod model_info;
mod model_list;
mod model_pull;
mod model_quantize;
mod model_rm;
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
use crate::client::Client;
use crate::error::{Failure, Outcome};
use engine::TaskId;
use runtime::home::{Holder, Home};
use runtime::hub::{Hub, ModelId, PresentError};
use runtime::inference::EMBEDDED_MODEL;
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
        Command::Model(ModelCommand::Quantize { source, output }) => model_quantize::run(&source, &output),
        Command::Model(ModelCommand::List(format)) => {
            block_on(model_list::run(&home()?, hub(false)?, format))
        }
        Command::Model(ModelCommand::Pull { model, offline, format }) => {
            model_pull::run(&home()?, &hub(offline)?, &model_id(&model, "pulled")?, format)
        }
        Command::Model(ModelCommand::Rm { model, format }) => {
            model_rm::run(&home()?, &hub(false)?, &model_id(&model, "removed")?, format)
                .map(|()| ExitCode::SUCCESS)
        }
        Command::Model(ModelCommand::Info { model, format }) => {
            model_info::run(&hub(false)?, &model_id(&model, "looked into")?, format)
                .map(|()| ExitCode::SUCCESS)
        }
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

/// Lets a node that runs know that its models are others now; it would find out by itself a little later.
fn tell_node(home: &Home) {
    let told = async {
        let client = Client::connect(home)?;
        client.post("/api/v1/models/refresh", &()).await?.accepted()
    };
    if home.holder() != Holder::Nobody {
        drop(block_on(told));
    }
}

/// The hub and its cache, as the environment says.
fn hub(offline: bool) -> Result<Hub, Failure> {
    let hub = Hub::from_environment(|name| std::env::var_os(name));
    let mut hub = hub.map_err(|error| Failure::from_error(&error).hint("set HF_HOME to a directory"))?;
    hub.offline |= offline;
    Ok(hub)
}

/// Reads the name of a model that something is to be done with.
fn model_id(text: &str, done: &str) -> Result<ModelId, Failure> {
    if text == EMBEDDED_MODEL {
        return Err(Failure::new(format!("{text} is part of this program, and need not be {done}")));
    }
    text.parse().map_err(|error| Failure::from_error(&error))
}

/// Says why a model is not there.
fn absence(id: &ModelId, error: &PresentError) -> Failure {
    let failure = Failure::from_error(error);
    match (id, error) {
        (ModelId::Hub { .. }, PresentError::NotFetched(_)) => failure.hint(format!(
            "p2p-ai-agents model list shows what is; fetch it with: p2p-ai-agents model pull {id}"
        )),
        (ModelId::Hub { .. }, PresentError::Incomplete { .. }) => {
            failure.hint(format!("fetch the rest with: p2p-ai-agents model pull {id}"))
        }
        _ => failure,
    }
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
