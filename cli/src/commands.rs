//! The commands: a folder for each noun, a file for each verb. This file dispatches to them.

pub(crate) mod alerts;
mod all_nodes;
mod background;
pub(crate) mod completions;
pub(crate) mod dashboard;
pub(crate) mod debug;
pub(crate) mod demo;
mod doctor;
mod errors;
mod explain;
pub(crate) mod help;
mod inference_worker;
mod loopback;
pub(crate) mod man;
pub(crate) mod metrics;
pub(crate) mod model;
pub(crate) mod node;
mod node_id;
mod node_names;
mod paths;
pub(crate) mod route;
mod sample_task;
pub(crate) mod short;
pub(crate) mod sim;
mod stop_signals;
pub(crate) mod store;
pub(crate) mod task;
pub(crate) mod trace;

use crate::args::{self, Arguments, Command, Deferred};
use crate::client::block_on;
use crate::error::Outcome;
use crate::homes::{self, SelectedHome};
use crate::output;

pub(crate) fn run(arguments: Arguments) -> Outcome {
    output::set_quiet(arguments.quiet);
    output::set_wide(arguments.wide);
    let home = SelectedHome(arguments.home);
    homes::select(&home);
    match arguments.command {
        Command::Node(Deferred(command)) => node::run(command, &home),
        Command::Config(arguments) => node::config::run(&home.open()?, &arguments),
        Command::Task(Deferred(command)) => task::run(command, &home),
        Command::Embed(arguments) => block_on(short::embed(&home.open()?, arguments)),
        Command::Rerank(arguments) => block_on(short::rerank(&home.open()?, arguments)),
        Command::Classify(arguments) => block_on(short::classify(&home.open()?, arguments)),
        Command::Run(arguments) => block_on(short::run(&home.open()?, *arguments)),
        Command::Alerts(Deferred(command)) => alerts::run(command, &home),
        Command::Store(Deferred(command)) => store::run(command, &home),
        Command::Route(Deferred(command)) => route::run(command, &home),
        Command::Model(Deferred(command)) => model::run(command, &home),
        Command::Metrics(Deferred(command)) => metrics::run(command, &home),
        Command::Trace(arguments) => trace::run(&arguments, &home),
        Command::Explain { id, format } => explain::run(&id, format, &home),
        Command::Demo(Deferred(command)) => demo::run(command, &home),
        Command::Sim(Deferred(command)) => sim::run(command),
        Command::Dashboard(Deferred(command)) => dashboard::run(command, &home),
        Command::Debug(Deferred(command)) => debug::run(command, &home),
        Command::Doctor(format) => doctor::run(&home.open()?, format),
        Command::Paths(format) => paths::run(&home.open()?, format),
        Command::Errors { id, markdown, format } => errors::run(id.as_deref(), markdown, format),
        Command::Completions { shell } => completions::run(shell),
        Command::Man(arguments) => man::run(&arguments, &args::program()),
        Command::Help { words } => help::run(&words, args::program()),
        Command::InferenceWorker { model } => inference_worker::run(&model),
    }
}
