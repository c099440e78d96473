//! `debug profile`: samples the node and the processes of its models, and writes the profile into a file.

use super::snapshot::{refuse_existing, write_new};
use crate::client::Client;
use crate::error::Failure;
use crate::output::{self, Format};
use crate::progress;
use clap::Args;
use runtime::home::Home;
use runtime::hub::escape;
use serde_json::json;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// Seconds to sample for
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=300), value_name = "SECONDS")]
    pub(crate) duration: u32,
    /// File to write, which must not exist
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// Sample only the process of this model [default: the node and all its models]
    #[arg(long, value_name = "NAME")]
    pub(crate) model: Option<String>,
    #[command(flatten)]
    pub(crate) format: Format,
}

pub(super) async fn run(home: &Home, arguments: &Arguments) -> Result<(), Failure> {
    refuse_existing(&arguments.output)?;
    let client = Client::connect(home)?;
    let mut path = format!("/api/v1/debug/profile?seconds={}", arguments.duration);
    if let Some(model) = &arguments.model {
        path = format!("{path}&model={}", escape(model));
    }
    let bar = progress::spinner();
    bar.set_message(format!("sampling for {} s", arguments.duration));
    let profile = client.post_slow(&path, Duration::from_secs(arguments.duration.into())).await;
    bar.finish_and_clear();
    let profile = profile?;
    write_new(&arguments.output, &profile)?;
    let file = arguments.output.display();
    let notice = format!(
        "Profile written to {file} ({})\nRead it with: go tool pprof -top {file}",
        output::bytes(profile.len() as u64)
    );
    output::done(&notice, &json!({ "file": arguments.output, "bytes": profile.len() }))
}
