//! `model`: the models of this machine.

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
    /// Fetch a model from the Hugging Face hub, or the rest of one
    Pull {
        /// owner/name, owner/name@revision, owner/name:Q4_0 or owner/name/file.gguf
        #[arg(required_unless_present = "manifest")]
        model: Option<String>,
        /// Fetch nothing; only say whether it is here already
        #[arg(long)]
        offline: bool,
        /// Fetch the files of a list by `model share` from other nodes, without the internet
        #[arg(long, value_name = "FILE", conflicts_with_all = ["model", "offline", "json"])]
        manifest: Option<PathBuf>,
        /// The folder for these files [default: models/NAME in the node's home]
        #[arg(long, value_name = "DIR", requires = "manifest")]
        to: Option<PathBuf>,
        #[command(flatten)]
        format: Format,
    },
    /// Remove a model from the cache, which other tools share
    Rm {
        /// As it was pulled
        model: String,
        #[command(flatten)]
        format: Format,
    },
    /// Show what is known of a model on this machine
    Info {
        /// As it was pulled, its name in the node's list, or its folder or file
        model: String,
        #[command(flatten)]
        format: Format,
    },
    /// Give a model's files to other nodes, and list them with their hashes
    Share {
        /// The model's folder, or a file
        path: PathBuf,
    },
    /// Make a small 8-bit model file of published weights
    Quantize {
        /// The directory with the published model
        #[arg(long, value_name = "DIR")]
        source: PathBuf,
        /// The file to write
        #[arg(long, value_name = "FILE")]
        output: PathBuf,
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
            let (home, hub, id) = (home.open()?, cache::open(false)?, cache::parse_id(&model, "removed")?);
            rm::run(&home, &hub, &id, format).map(|()| ExitCode::SUCCESS)
        }
        ModelCommand::Info { model, format } => {
            block_on(info::run(&home.open()?, cache::open(false)?, &model, format))
        }
        ModelCommand::Share { path } => block_on(share::run(&home.open()?, &path)),
        ModelCommand::Quantize { source, output } => quantize::run(&source, &output),
    }
}
