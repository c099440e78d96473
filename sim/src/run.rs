//! Runs a scenario under a seed, optionally recording journals or a timeline.

use crate::cluster::Cluster;
use crate::executor;
use crate::observer::Observer;
use crate::observer::journals::Journals;
use crate::observer::recorder::Recorder;
use crate::report::Report;
use crate::scenario::Scenario;
use crate::timeline::Timeline;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Options of a run besides its scenario and seed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Changes the configuration of every node after the scenario has set it, so that a test can put a known bug back.
    pub adjust: Option<fn(&mut engine::Config)>,
}

/// Runs a scenario under a seed.
pub fn run(scenario: &Scenario, seed: u64) -> Report {
    run_with(scenario, seed, Options::default())
}

/// Runs a scenario under a seed with options.
pub fn run_with(scenario: &Scenario, seed: u64, options: Options) -> Report {
    let (wall, observer) = simulate(scenario, seed, options, |_, _| {});
    Report::new(scenario, seed, wall, observer)
}

/// Runs a scenario under a seed, and writes one journal for each start of each node into a directory, which is
/// created.
///
/// # Errors
/// If a journal cannot be written, or the directory is not empty.
pub fn run_recorded(
    scenario: &Scenario,
    seed: u64,
    options: Options,
    directory: &Path,
) -> io::Result<Report> {
    let journals = Journals::into(directory)?;
    let (wall, mut observer) =
        simulate(scenario, seed, options, |observer, _| observer.journals = Some(journals));
    observer.journals.take().map_or(Ok(()), Journals::finish)?;
    Ok(Report::new(scenario, seed, wall, observer))
}

/// Runs a scenario under a seed with options, and records its timeline.
pub fn run_drawn(scenario: &Scenario, seed: u64, options: Options) -> (Report, Timeline) {
    let (wall, mut observer) = simulate(scenario, seed, options, |observer, cluster| {
        observer.recorder = Some(Recorder::new(cluster));
    });
    // An executor returns the observer that it was given.
    let recorder = observer.recorder.take().expect("it was put there above");
    let report = Report::new(scenario, seed, wall, observer);
    (report.clone(), Timeline::new(recorder, report))
}

/// Runs a scenario with an observer, which `prepare` completes first.
fn simulate(
    scenario: &Scenario,
    seed: u64,
    options: Options,
    prepare: impl FnOnce(&mut Observer, &Arc<Cluster>),
) -> (Duration, Observer) {
    let began = Instant::now();
    let cluster = Arc::new(Cluster::new(scenario, seed, options.adjust));
    let mut observer = Observer::new(scenario, Arc::clone(&cluster));
    prepare(&mut observer, &cluster);
    let observer = executor::run(scenario, &cluster, observer);
    (began.elapsed(), observer)
}
