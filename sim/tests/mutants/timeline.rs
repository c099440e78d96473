//! The timeline shows where an invariant was violated.

#![allow(clippy::unwrap_used, reason = "a test whose setup fails has failed")]

use engine::Config;
use engine::mutants::Mutant;
use serde_json::Value;
use sim::{Executor, Failure, Options, Scenario, run_drawn};
use std::path::Path;

#[test]
fn a_violation_is_on_the_page() {
    let adjust = |config: &mut Config| config.mutant = Some(Mutant::AcceptSecondResult);
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios/two_workers_finish.toml");
    let scenario = Scenario::load(&file).unwrap().on(Executor::EventQueue).unwrap();
    let (report, timeline) = run_drawn(&scenario, 1, Options { adjust: Some(adjust) });
    let [Failure::Violated(violation)] = report.failures.as_slice() else { panic!("{report}") };
    let html = timeline.to_html();
    let (_, data) = html.split_once(r#"id="data">"#).unwrap();
    let data: Value = serde_json::from_str(data.split_once("</script>").unwrap().0).unwrap();
    assert_eq!(data["violation"]["invariant"], "one_terminal_outcome");
    assert_eq!(data["violation"]["at"], violation.at.as_micros());
    assert_eq!(data["end"], violation.at.as_micros());
    assert_eq!(data["passed"], false);
    let trace: Value = serde_json::from_str(&timeline.to_trace_events()).unwrap();
    assert!(trace["traceEvents"].as_array().unwrap().iter().any(|event| event["cat"] == "violation"));
}
