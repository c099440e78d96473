//! `dashboard open`: logs a browser in to the page of the running node.

use super::browser;
use crate::client::Client;
use crate::error::Failure;
use crate::output::{self, Format};
use api::dashboard::{Code, NewCode};
use clap::Args;
use runtime::home::Home;
use serde_json::json;

#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Arguments {
    /// Let the page read only: it submits no tasks and changes nothing
    #[arg(long)]
    read_only: bool,
    /// Print the address only
    #[arg(long)]
    print: bool,
    #[command(flatten)]
    format: Format,
}

pub(super) async fn run(home: &Home, arguments: Arguments) -> Result<(), Failure> {
    let new = NewCode { read_only: arguments.read_only };
    let Code { url, .. } = Client::connect(home)?.post(CODES, &new).await?.read()?;
    if arguments.format.json {
        return output::json(&json!({ "url": url }));
    }
    output::line(&url)?;
    if arguments.print {
        return Ok(());
    }
    let opened = browser::open(&home.run_directory(), &url);
    output::notice(match opened {
        Ok(()) => "Opened in the browser. The address works once, within a minute.",
        Err(_) => "Open this address in a browser of this machine. It works once, within a minute.",
    })
}

const CODES: &str = "/api/v1/dashboard/codes";
