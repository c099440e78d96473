//! `model`: the models on this machine.

mod cache;
mod info;
mod list;
mod neighbours;
mod pull;
mod pull_manifest;
mod quantize;
mod rm;
mod share;

use crate::client::block_on;
use crate::error::Outcome;
use crate::homes::SelectedHome;
use crate::output::Format;
use clap::Subcommand;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, Subcommand)]
pub(crate) enum ModelCommand {
    /// List the models on this machine
    List(Format),
    /// Fetch a model from the Hugging Face hub, or resume an interrupted fetch
    Pull {
        /// Model as owner/name, owner/name@revision, owner/name:Q4_0 or owner/name/file.gguf
        #[arg(required_unless_present = "manifest")]
        model: Option<String>,
        /// Fetch nothing; only report whether the model is on this machine
        #[arg(long)]
        offline: bool,
        /// Fetch the files of a `model share` manifest from other nodes, without the internet
        #[arg(long, value_name = "FILE", conflicts_with_all = ["model", "offline"])]
        manifest: Option<PathBuf>,
        /// Directory for these files [default: models/NAME in the node's home]
        #[arg(long, value_name = "DIR", requires = "manifest")]
        to: Option<PathBuf>,
        #[command(flatten)]
        format: Format,
    },
    /// Remove a model from this machine; other tools share its cache
    Rm {
        /// Model, named as it was pulled or listed
        model: String,
        #[command(flatten)]
        format: Format,
    },
    /// Show details of a model on this machine
    Info {
        /// Model, named as it was pulled or listed, or its directory or file
        model: String,
        #[command(flatten)]
        format: Format,
    },
    /// Offer the files of a model to other nodes, and print a manifest with their hashes
    Share {
        /// Directory or file of the model
        path: PathBuf,
        #[command(flatten)]
        format: Format,
    },
    /// Convert published weights into a smaller 8-bit model file
    Quantize {
        /// Directory of the published model
        #[arg(long, value_name = "DIR")]
        source: PathBuf,
        /// File to write
        #[arg(long, value_name = "FILE")]
        output: PathBuf,
        #[command(flatten)]
        format: Format,
    },
}

pub(super) fn run(command: ModelCommand, home: &SelectedHome) -> Outcome {
    match command {
        ModelCommand::List(format) => block_on(list::run(&home.open()?, cache::open(false)?, format)),
        ModelCommand::Pull { manifest: Some(manifest), to, .. } => {
            block_on(pull_manifest::run(&home.open()?, &manifest, to.as_deref()))
        }
        ModelCommand::Pull { model, offline, format, .. } => {
            let id = cache::parse_id(&model.unwrap_or_default(), "pulled")?;
            let mut hub = cache::open(offline)?;
            let home = home.open()?;
            hub.neighbours = neighbours::from_home(&home);
            pull::run(&home, &hub, &id, format)
        }
        ModelCommand::Rm { model, format } => {
            rm::run(&home.open()?, &cache::open(false)?, &model, format).map(|()| ExitCode::SUCCESS)
        }
        ModelCommand::Info { model, format } => {
            block_on(info::run(&home.open()?, cache::open(false)?, &model, format))
        }
        ModelCommand::Share { path, format } => block_on(share::run(&home.open()?, &path, format)),
        ModelCommand::Quantize { source, output, .. } => quantize::run(&source, &output),
    }
}
