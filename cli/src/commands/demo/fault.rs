//! `demo fault`: injects a fault of the simulator.

use crate::client::Client;
use crate::error::Failure;
use crate::output::Format;
use api::NewDemoFault;
use clap::Args;
use std::collections::BTreeMap;

#[derive(Args, Clone, Debug)]
pub(crate) struct Arguments {
    /// Kind of fault, as in scenario files, such as inference-slow
    pub(super) kind: String,
    /// Settings of the fault, as in scenario files, such as node=amber add=200ms
    #[arg(value_name = "KEY=VALUE", value_parser = setting)]
    pub(super) settings: Vec<(String, String)>,
    #[command(flatten)]
    pub(super) format: Format,
}

pub(super) async fn run(client: &Client, arguments: &Arguments) -> Result<(), Failure> {
    let settings: BTreeMap<String, String> = arguments.settings.iter().cloned().collect();
    let fault = NewDemoFault { kind: arguments.kind.clone(), settings };
    super::print_change(&client.post("/api/v1/demo/fault", &fault).await?.read()?)
}

fn setting(text: &str) -> Result<(String, String), String> {
    text.split_once('=')
        .filter(|(key, value)| !key.is_empty() && !value.is_empty())
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .ok_or_else(|| "expected KEY=VALUE, such as node=amber".to_owned())
}
