//! Checks the parameters of machine faults, bursts, poisoned inputs and swarms in a scenario file.

use super::Source;
use crate::scenario::{BURST_MAX, DRIFT_PPM_MAX};
use crate::scenario_file::error::ScenarioError;
use crate::scenario_file::format as file;
use crate::scenario_file::units::Counts;
use toml::Spanned;

impl Source<'_> {
    /// Reads the affected share, in millionths; the default is all.
    pub(super) fn share(&self, section: &Spanned<file::Fault>) -> Result<u32, ScenarioError> {
        match &section.as_ref().share {
            None => Ok(1_000_000),
            Some(share) if share.as_ref().0 == 0 => {
                Err(self.inconsistent(share, "a `share` of 0% has no effect".to_owned()))
            }
            Some(share) => Ok(share.as_ref().0),
        }
    }

    pub(super) fn ppm(&self, section: &Spanned<file::Fault>) -> Result<i32, ScenarioError> {
        match &section.as_ref().ppm {
            None => Err(self.inconsistent(section, "this kind of fault needs `ppm`, such as -50".to_owned())),
            Some(ppm) => self.within("ppm", ppm, -DRIFT_PPM_MAX..=DRIFT_PPM_MAX),
        }
    }

    pub(super) fn offset(&self, section: &Spanned<file::Fault>) -> Result<i64, ScenarioError> {
        let words = || "this kind of fault needs `offset`, such as \"+3h\" or \"-10m\"".to_owned();
        let written = section.as_ref().offset.as_ref();
        written.map(|offset| offset.as_ref().0).ok_or_else(|| self.inconsistent(section, words()))
    }

    /// Reads the number of tasks of a burst.
    pub(super) fn burst(
        &self,
        section: &Spanned<file::Fault>,
        tasks: Option<u32>,
    ) -> Result<u32, ScenarioError> {
        let Some(count) = section.as_ref().count.as_ref().filter(|_| tasks.is_some()) else {
            let words = "this kind of fault needs `count`, and a [workload] to imitate".to_owned();
            return Err(self.inconsistent(section, words));
        };
        self.within("count", count, 1..=BURST_MAX)
    }

    /// Reads the numbers of some tasks of the workload.
    pub(super) fn poison(
        &self,
        section: &Spanned<file::Fault>,
        tasks: Option<u32>,
    ) -> Result<Vec<u32>, ScenarioError> {
        let Some(written) = section.as_ref().tasks.as_ref().filter(|tasks| !tasks.as_ref().is_empty()) else {
            let words = "this kind of fault needs `tasks`, such as [0, 7]".to_owned();
            return Err(self.inconsistent(section, words));
        };
        let known = tasks.unwrap_or_default();
        let one = |number: &Spanned<u32>| {
            if *number.as_ref() < known {
                return Ok(*number.as_ref());
            }
            let words = format!("there is no task {}: the workload has {known}", number.as_ref());
            Err(self.inconsistent(number, words))
        };
        written.as_ref().iter().map(one).collect()
    }

    /// Reads how many of the faults each seed draws.
    pub(super) fn swarm(
        &self,
        section: &file::Swarm,
        faults: &[Spanned<file::Fault>],
    ) -> Result<(u32, u32), ScenarioError> {
        let Counts { from, to } = *section.faults.as_ref();
        let known = u32::try_from(faults.len()).unwrap_or(u32::MAX);
        if to > known {
            let words = format!("a seed cannot draw {to} of {known} faults");
            return Err(self.inconsistent(&section.faults, words));
        }
        Ok((from, to))
    }
}
