//! `metrics export`: the metrics as text, once.

use super::output_file;
use crate::client::Client;
use crate::error::Failure;
use clap::ValueEnum;
use runtime::home::Home;
use runtime::metrics::Format;
use std::path::Path;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TextFormat {
    /// Prometheus' text format, version 0.0.4
    Prometheus,
    /// OpenMetrics 1.0, with exemplars
    Openmetrics,
}

pub(super) async fn run(home: &Home, format: TextFormat, output: &Path) -> Result<(), Failure> {
    let format = match format {
        TextFormat::Prometheus => Format::Prometheus,
        TextFormat::Openmetrics => Format::OpenMetrics,
    };
    let client = Client::connect(home)?.accepting(format.content_type());
    let text = client.get_raw("/metrics").await?;
    output_file::write(output, &text, |bytes| bytes.starts_with(b"# HELP p2p_ai_"))
}
