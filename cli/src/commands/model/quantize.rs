//! `model quantize`: converts published weights into a smaller 8-bit model file.

use crate::error::{Failure, Outcome};
use crate::output;
use runtime::inference::quantize::{QuantizeError, QuantizeReport, quantize};
use serde_json::json;
use std::path::Path;
use std::process::ExitCode;

pub(super) fn run(source: &Path, target: &Path) -> Outcome {
    let report: QuantizeReport = quantize(source, target).map_err(|error| {
        let hint = match &error {
            QuantizeError::Foreign(_) | QuantizeError::NotAFile { .. } | QuantizeError::Write { .. } => {
                "name a new file for the output, in a directory that can be written to"
            }
            QuantizeError::Metadata(_)
            | QuantizeError::Read { .. }
            | QuantizeError::Tokenizer { .. }
            | QuantizeError::TooLarge { .. }
            | QuantizeError::Weights { .. } => {
                "the source is a directory with model.safetensors, config.json and tokenizer.json or vocab.txt"
            }
        };
        Failure::new("cannot quantize the model").id(error.code()).because(Some(&error)).hint(hint)
    })?;
    if output::is_json() {
        output::json(&json!({
            "path": target,
            "source_bytes": report.source_bytes,
            "source_sha256": report.source_sha256.to_string(),
            "bytes": report.output_bytes,
            "sha256": report.output_sha256.to_string(),
            "left_out": report.left_out,
        }))?;
        return Ok(ExitCode::SUCCESS);
    }
    output::properties(&[
        ("Source", format!("{} bytes, SHA-256 {}", report.source_bytes, report.source_sha256)),
        ("Output", format!("{} bytes, SHA-256 {}", report.output_bytes, report.output_sha256)),
        (
            "Left out",
            if report.left_out.is_empty() { "nothing".to_owned() } else { report.left_out.join(", ") },
        ),
    ])
    .map(|()| ExitCode::SUCCESS)
}
