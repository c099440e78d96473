//! The scenarios that are part of the program, so that it can run them without their files.

/// A scenario that is part of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Embedded {
    /// The name: that of its file without the extension.
    pub name: &'static str,
    /// The text of its file.
    pub text: &'static str,
}

/// Returns the embedded scenario with a name.
pub fn find(name: &str) -> Option<Embedded> {
    SCENARIOS.iter().find(|scenario| scenario.name == name).copied()
}

macro_rules! embedded {
    ($($name:literal)* ; $($example:literal)*) => {
        &[
            $(Embedded { name: $name, text: include_str!(concat!("../../scenarios/", $name, ".toml")) },)*
            $(Embedded { name: $example, text: include_str!(concat!("../../scenarios/examples/", $example, ".toml")) },)*
        ]
    };
}

/// Every embedded scenario, by name. The last ones are examples that fail.
pub const SCENARIOS: &[Embedded] = embedded! {
    "alerts_clock"
    "alerts_disk"
    "alerts_memory"
    "alerts_messages"
    "alerts_model"
    "alerts_peers"
    "alerts_tasks"
    "announcement_flood"
    "churn"
    "clock_jumps"
    "copied_identity"
    "disk_fills_up"
    "everything_goes_wrong"
    "flapping_link"
    "generation_streams"
    "hostile_peer"
    "jobs_longer_than_a_lease"
    "jobs_of_an_hour"
    "jobs_of_five_minutes"
    "laptop_lid"
    "laptop_sleeps"
    "line_of_five"
    "lossy_network"
    "mass_join"
    "mixed_versions"
    "model_crashes"
    "model_from_neighbours"
    "model_over_relays"
    "model_unready"
    "one_way_loss"
    "origin_restarts"
    "origin_sleeps"
    "origin_sleeps_behind_relays"
    "own_job_longer_than_a_lease"
    "partition_heals"
    "power_lost_while_writing"
    "queue_overflows"
    "rolling_restart"
    "same_name_two_models"
    "split_and_heal"
    "swarm"
    "troubled_network"
    "two_copies_alone"
    "two_nodes_meet"
    "two_workers_finish"
    "unreachable_address"
    "worker_dies"
    ;
    "fails_on_purpose"
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Symptom;
    use crate::scenario::OutcomeKind;
    use crate::shrink::{Limits, shrink};
    use crate::{Options, Scenario};
    use std::path::Path;

    fn names_in(folder: &Path) -> Vec<String> {
        let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let scenarios = files.filter(|path| path.extension().is_some_and(|extension| extension == "toml"));
        let mut names: Vec<_> =
            scenarios.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn every_file_is_embedded() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios");
        let files = [names_in(&folder), names_in(&folder.join("examples"))].concat();
        assert_eq!(SCENARIOS.iter().map(|scenario| scenario.name).collect::<Vec<_>>(), files);
    }

    #[test]
    fn the_example_fails_under_some_seeds_and_shrinks() {
        let example = find("fails_on_purpose").unwrap();
        let scenario = Scenario::parse(example.name, example.text).unwrap();
        let symptoms: Vec<_> = (0..6).map(|seed| crate::run(&scenario, seed).symptom()).collect();
        assert!(symptoms.contains(&None), "{symptoms:?}");
        let seed = scenario.seed.unwrap();
        let symptom = crate::run(&scenario, seed).symptom();
        assert_eq!(symptom, Some(Symptom::Outcomes(OutcomeKind::Completed)));
        let limits = Limits { runs: 500, time: std::time::Duration::from_secs(300) };
        let shrunk = shrink(&scenario, seed, Options::default(), limits, |_| {}).unwrap();
        assert_eq!((shrunk.from.faults, shrunk.to.faults), (3, 1), "{}", shrunk.text);
    }
}
