//! One folder for each noun, one file for each verb; this one leads to them.

mod all_nodes;
mod completions;
mod doctor;
mod errors;
mod inference_worker;
mod man;
mod model;
mod node;
mod node_id;
mod paths;
mod route;
mod sim;
mod store;
mod task;

use crate::args::{
    Arguments, Command, ModelCommand, NodeCommand, RouteCommand, SimCommand, StoreCommand, TaskCommand,
};
use crate::client::block_on;
use crate::error::Outcome;
use crate::{homes, output};
use std::process::ExitCode;

pub(crate) fn run(arguments: Arguments) -> Outcome {
    output::set_quiet(arguments.quiet);
    let home = || homes::open(arguments.home.clone());
    match arguments.command {
        Command::Node(NodeCommand::Start(start)) => node::start::run(&home()?, &start),
        Command::Node(NodeCommand::Stop { all: true }) => node::stop::run_all(),
        Command::Node(NodeCommand::Stop { all: false }) => node::stop::run(&home()?),
        Command::Node(NodeCommand::Restart { all: true }) => node::restart::run_all(),
        Command::Node(NodeCommand::Restart { all: false }) => node::restart::run(&home()?),
        Command::Node(NodeCommand::List(format)) => block_on(node::list::run(format)),
        Command::Node(NodeCommand::Config(config)) => node::config::run(&home()?, &config),
        Command::Node(NodeCommand::Monitor(monitor)) => block_on(node::monitor::run(&home()?, &monitor)),
        Command::Node(NodeCommand::Ready) => block_on(node::ready::run(&home()?)),
        Command::Node(NodeCommand::InstallService(install)) => node::install_service::run(&home()?, &install),
        Command::Node(NodeCommand::Logs(logs)) => node::logs::run(&home()?, &logs),
        Command::Node(NodeCommand::Status { all: true, format }) => node::status::run_all(format),
        Command::Node(NodeCommand::Status { all: false, format }) => {
            block_on(node::status::run(&home()?, format))
        }
        Command::Node(NodeCommand::Health { all: true, format }) => node::health::run_all(format),
        Command::Node(NodeCommand::Health { all: false, format }) => node::health::run(&home()?, format),
        Command::Node(NodeCommand::Peers { all: true, format }) => node::peers::run_all(format),
        Command::Node(NodeCommand::Peers { all: false, format }) => {
            block_on(node::peers::run(&home()?, format))
        }
        Command::Task(TaskCommand::Submit(submit)) => block_on(task::submit::run(&home()?, *submit)),
        Command::Task(TaskCommand::Status { id, format }) => {
            block_on(task::status::run(&home()?, &id, format))
        }
        Command::Task(TaskCommand::Result { id, format, json }) => {
            block_on(task::result::run(&home()?, &id, format, json))
        }
        Command::Task(TaskCommand::List { limit, offset, worker, status, format }) => {
            let wanted = task::list::Wanted { limit, offset, worker, status: status.map(Into::into) };
            block_on(task::list::run(&home()?, wanted, format))
        }
        Command::Task(TaskCommand::Watch { id, format }) => block_on(task::watch::run(&home()?, &id, format)),
        Command::Task(TaskCommand::Cancel { id }) => block_on(task::cancel::run(&home()?, &id)),
        Command::Model(ModelCommand::Share { path }) => block_on(model::share::run(&home()?, &path)),
        Command::Model(ModelCommand::Quantize { source, output }) => model::quantize::run(&source, &output),
        Command::Model(ModelCommand::List(format)) => {
            block_on(model::list::run(&home()?, model::cache::open(false)?, format))
        }
        Command::Model(ModelCommand::Pull { manifest: Some(manifest), to, .. }) => {
            block_on(model::pull_manifest::run(&home()?, &manifest, to.as_deref()))
        }
        Command::Model(ModelCommand::Pull { model, offline, format, .. }) => {
            let id = model::cache::parse_id(&model.unwrap_or_default(), "pulled")?;
            let mut hub = model::cache::open(offline)?;
            hub.neighbours = model::neighbours::from_home(&home()?);
            model::pull::run(&home()?, &hub, &id, format)
        }
        Command::Model(ModelCommand::Rm { model, format }) => model::rm::run(
            &home()?,
            &model::cache::open(false)?,
            &model::cache::parse_id(&model, "removed")?,
            format,
        )
        .map(|()| ExitCode::SUCCESS),
        Command::Model(ModelCommand::Info { model, format }) => {
            block_on(model::info::run(&home()?, model::cache::open(false)?, &model, format))
        }
        Command::Store(StoreCommand::Check(format)) => store::check::run(&home()?, format),
        Command::Store(StoreCommand::Salvage(format)) => store::salvage::run(&home()?, format),
        Command::Route(RouteCommand::Explain { id, format }) => {
            block_on(route::explain::run(&home()?, &id, format))
        }
        Command::Route(RouteCommand::Ping(ping)) => block_on(route::ping::run(&home()?, &ping)),
        Command::Sim(SimCommand::Run(run)) => sim::run::run(&run),
        Command::Sim(SimCommand::Check { files, format }) => sim::check::run(&files, format),
        Command::Sim(SimCommand::List { dir, format }) => sim::list::run(&dir, format),
        Command::Sim(SimCommand::New { name, dir }) => sim::new::run(&name, &dir),
        Command::Sim(SimCommand::Shrink(shrink)) => sim::shrink::run(&shrink),
        Command::Sim(SimCommand::Replay(replay)) => sim::replay::run(&replay),
        Command::Doctor(format) => doctor::run(&home()?, format),
        Command::Paths(format) => paths::run(&home()?, format),
        Command::Man { directory } => man::run(directory.as_deref()),
        Command::Errors { id, markdown, format } => errors::run(id.as_deref(), markdown, format),
        Command::Completions { shell } => completions::run(shell),
        Command::InferenceWorker { model } => inference_worker::run(&model),
    }
}
