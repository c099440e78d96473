//! One file for each subcommand; this one leads to them.

mod completions;
mod doctor;
mod errors;
mod everywhere;
mod inference_worker;
mod man;
mod model_info;
mod model_list;
mod model_neighbours;
mod model_pull;
mod model_pull_manifest;
mod model_quantize;
mod model_rm;
mod model_share;
mod node_config;
mod node_health;
mod node_install_service;
mod node_list;
mod node_logs;
mod node_monitor;
mod node_peers;
mod node_ready;
mod node_restart;
mod node_start;
mod node_status;
mod node_stop;
mod paths;
mod route_explain;
mod route_ping;
mod sim_check;
mod sim_list;
mod sim_new;
mod sim_replay;
mod sim_run;
mod sim_shrink;
mod sim_timeline;
mod store_check;
mod store_salvage;
mod task_cancel;
mod task_list;
mod task_result;
mod task_status;
mod task_submit;
mod task_watch;

use crate::args::{
    Arguments, Command, ModelCommand, NodeCommand, RouteCommand, SimCommand, StoreCommand, TaskCommand,
};
use crate::client::Client;
use crate::error::{Failure, Outcome};
use crate::output;
use engine::TaskId;
use runtime::catalog;
use runtime::home::{Holder, Home};
use runtime::hub::{Hub, ModelId, PresentError};
use runtime::inference::EMBEDDED_MODEL;
use runtime::registry::Registry;
use std::future::Future;
use std::path::PathBuf;
use std::process::ExitCode;

pub(crate) fn run(arguments: Arguments) -> Outcome {
    output::set_quiet(arguments.quiet);
    let home = || home(arguments.home.clone());
    match arguments.command {
        Command::Node(NodeCommand::Start(start)) => node_start::run(&home()?, &start),
        Command::Node(NodeCommand::Stop { all: true }) => node_stop::run_all(),
        Command::Node(NodeCommand::Stop { all: false }) => node_stop::run(&home()?),
        Command::Node(NodeCommand::Restart { all: true }) => node_restart::run_all(),
        Command::Node(NodeCommand::Restart { all: false }) => node_restart::run(&home()?),
        Command::Node(NodeCommand::List(format)) => block_on(node_list::run(format)),
        Command::Node(NodeCommand::Config(config)) => node_config::run(&home()?, &config),
        Command::Node(NodeCommand::Monitor(monitor)) => block_on(node_monitor::run(&home()?, &monitor)),
        Command::Node(NodeCommand::Ready) => block_on(node_ready::run(&home()?)),
        Command::Node(NodeCommand::InstallService(install)) => node_install_service::run(&home()?, &install),
        Command::Node(NodeCommand::Logs(logs)) => node_logs::run(&home()?, &logs),
        Command::Node(NodeCommand::Status { all: true, format }) => node_status::run_all(format),
        Command::Node(NodeCommand::Status { all: false, format }) => {
            block_on(node_status::run(&home()?, format))
        }
        Command::Node(NodeCommand::Health { all: true, format }) => node_health::run_all(format),
        Command::Node(NodeCommand::Health { all: false, format }) => node_health::run(&home()?, format),
        Command::Node(NodeCommand::Peers { all: true, format }) => node_peers::run_all(format),
        Command::Node(NodeCommand::Peers { all: false, format }) => {
            block_on(node_peers::run(&home()?, format))
        }
        Command::Task(TaskCommand::Submit(submit)) => block_on(task_submit::run(&home()?, *submit)),
        Command::Task(TaskCommand::Status { id, format }) => {
            block_on(task_status::run(&home()?, &id, format))
        }
        Command::Task(TaskCommand::Result { id, format, json }) => {
            block_on(task_result::run(&home()?, &id, format, json))
        }
        Command::Task(TaskCommand::List { limit, offset, worker, status, format }) => {
            let wanted = task_list::Wanted { limit, offset, worker, status: status.map(Into::into) };
            block_on(task_list::run(&home()?, wanted, format))
        }
        Command::Task(TaskCommand::Watch { id, format }) => block_on(task_watch::run(&home()?, &id, format)),
        Command::Task(TaskCommand::Cancel { id }) => block_on(task_cancel::run(&home()?, &id)),
        Command::Model(ModelCommand::Share { path }) => block_on(model_share::run(&home()?, &path)),
        Command::Model(ModelCommand::Quantize { source, output }) => model_quantize::run(&source, &output),
        Command::Model(ModelCommand::List(format)) => {
            block_on(model_list::run(&home()?, hub(false)?, format))
        }
        Command::Model(ModelCommand::Pull { manifest: Some(manifest), to, .. }) => {
            block_on(model_pull_manifest::run(&home()?, &manifest, to.as_deref()))
        }
        Command::Model(ModelCommand::Pull { model, offline, format, .. }) => {
            let id = model_id(&model.unwrap_or_default(), "pulled")?;
            let mut hub = hub(offline)?;
            hub.neighbours = model_neighbours::of(&home()?);
            model_pull::run(&home()?, &hub, &id, format)
        }
        Command::Model(ModelCommand::Rm { model, format }) => {
            model_rm::run(&home()?, &hub(false)?, &model_id(&model, "removed")?, format)
                .map(|()| ExitCode::SUCCESS)
        }
        Command::Model(ModelCommand::Info { model, format }) => {
            block_on(model_info::run(&home()?, hub(false)?, &model, format))
        }
        Command::Store(StoreCommand::Check(format)) => store_check::run(&home()?, format),
        Command::Store(StoreCommand::Salvage(format)) => store_salvage::run(&home()?, format),
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
        Command::Paths(format) => paths::run(&home()?, format),
        Command::Man { directory } => man::run(directory.as_deref()),
        Command::Errors { id, markdown, format } => errors::run(id.as_deref(), markdown, format),
        Command::Completions { shell } => completions::run(shell),
        Command::InferenceWorker { model } => inference_worker::run(&model),
    }
}

fn home(named: Option<PathBuf>) -> Result<Home, Failure> {
    let root = named.or_else(|| Some(std::env::home_dir()?.join(".p2p-ai-agents"))).ok_or_else(|| {
        Failure::new("there is no home directory")
            .id("home_unusable")
            .hint("name the node's directory with --home DIR")
    })?;
    Home::new(&root)
        .map_err(|error| Failure::new("the home cannot be used").id("home_unusable").because(Some(&error)))
}

/// Returns the homes of this user whose nodes run.
fn running_homes() -> Result<Vec<Home>, Failure> {
    Registry::open(std::env::var_os("XDG_RUNTIME_DIR").as_deref())
        .and_then(|registry| registry.running())
        .map_err(|error| {
            Failure::new("cannot tell which nodes run").id("registry_unusable").because(Some(&error))
        })
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
    let mut hub = hub.map_err(|error| {
        Failure::from_error(&error).id("cache_unusable").hint("set HF_HOME to a directory")
    })?;
    hub.offline |= offline;
    hub.architectures = catalog::architectures();
    Ok(hub)
}

/// Reads the name of a model that something is to be done with.
fn model_id(text: &str, done: &str) -> Result<ModelId, Failure> {
    if text == EMBEDDED_MODEL {
        return Err(Failure::new(format!("{text} is part of this program, and need not be {done}"))
            .id("model_embedded"));
    }
    text.parse().map_err(|error| Failure::from_error(&error).id("model_malformed"))
}

/// Says why a model is not there.
fn absence(id: &ModelId, error: &PresentError) -> Failure {
    let failure = Failure::from_error(error).id(error.code());
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
        Failure::new(format!("Task not found (id: {text})"))
            .id("task_not_found")
            .hint("p2p-ai-agents task list shows the tasks")
    })
}
