//! Checks the workload of a scenario file: a series of tasks, or a list of them.

use super::Source;
use crate::scenario::{INPUT_BYTES_MAX, Submission, Submissions, TASKS_MAX, Workload};
use crate::scenario_file::defaults::{INPUT, TIMEOUT, WORKLOAD_START};
use crate::scenario_file::error::ScenarioError;
use crate::scenario_file::format as file;
use core::time::Duration;
use engine::request::TIMEOUT_RANGE;
use engine::task::TaskKind;
use toml::Spanned;

impl Source<'_> {
    pub(super) fn workload(
        &self,
        section: &Spanned<file::Workload>,
        nodes: u32,
        quiet: Duration,
    ) -> Result<Workload, ScenarioError> {
        let written = section.as_ref();
        let timeout = written.timeout.as_ref().map_or(TIMEOUT, |timeout| timeout.as_ref().0);
        if let Some(place) = written.timeout.as_ref().filter(|_| !TIMEOUT_RANGE.contains(&timeout)) {
            let range = format!("{:?} to {:?}", TIMEOUT_RANGE.start(), TIMEOUT_RANGE.end());
            return Err(self.out_of_range("timeout", place, format!("{timeout:?}"), range));
        }
        let submissions = match written.task.as_slice() {
            [] => self.series(section, nodes, quiet)?,
            listed => self.listed(written, listed, nodes, quiet)?,
        };
        let kind = written.kind.unwrap_or(TaskKind::Embedding);
        Ok(Workload { submissions, compute: written.compute.as_ref().0, kind, timeout })
    }

    fn series(
        &self,
        section: &Spanned<file::Workload>,
        nodes: u32,
        quiet: Duration,
    ) -> Result<Submissions, ScenarioError> {
        let written = section.as_ref();
        let Some((tasks, every)) = written.tasks.as_ref().zip(written.every.as_ref()) else {
            let words = "a workload needs `tasks` and `every`, or a list of [[workload.task]]".to_owned();
            return Err(self.inconsistent(section, words));
        };
        let series = Submissions::Series {
            tasks: self.within("tasks", tasks, 1..=TASKS_MAX)?,
            at: written.at.as_ref().map_or(WORKLOAD_START, |at| at.as_ref().0),
            every: every.as_ref().0,
            origin: self.target(written.origin.as_ref(), nodes)?,
            input: written.input.as_ref().map_or_else(|| Ok(INPUT.to_owned()), |input| self.input(input))?,
        };
        if series.last_at().is_none_or(|last| last > quiet) {
            let words = format!(
                "the last task would be submitted after {quiet:?}, when all activity must have ended"
            );
            return Err(self.inconsistent(tasks, words));
        }
        Ok(series)
    }

    fn listed(
        &self,
        written: &file::Workload,
        listed: &[Spanned<file::Task>],
        nodes: u32,
        quiet: Duration,
    ) -> Result<Submissions, ScenarioError> {
        let of_series = written.tasks.is_some() || written.every.is_some() || written.at.is_some();
        if of_series || written.origin.is_some() || written.input.is_some() {
            let words = "a list of [[workload.task]] cannot be combined with `tasks`, `every`, `at`, `origin` or `input`: \
                         each task has its own"
                .to_owned();
            return Err(self.inconsistent(&listed[0], words));
        }
        if let Some(beyond) = listed.get(TASKS_MAX as usize) {
            return Err(self.inconsistent(beyond, format!("more than {TASKS_MAX} tasks")));
        }
        let mut submissions = Vec::new();
        for task in listed {
            let task = task.as_ref();
            let at = task.at.as_ref().0;
            if at > quiet {
                let words =
                    format!("the task would be submitted after {quiet:?}, when all activity must have ended");
                return Err(self.inconsistent(&task.at, words));
            }
            let (origin, input) = (self.target(task.origin.as_ref(), nodes)?, self.input(&task.input)?);
            submissions.push(Submission { at, origin, input });
        }
        submissions.sort_by_key(|submission| submission.at);
        Ok(Submissions::Listed(submissions))
    }

    fn input(&self, input: &Spanned<String>) -> Result<String, ScenarioError> {
        let bytes = input.as_ref().len();
        if bytes > INPUT_BYTES_MAX {
            let allowed = format!("at most {INPUT_BYTES_MAX} bytes long");
            return Err(self.out_of_range("input", input, format!("{bytes} bytes"), allowed));
        }
        Ok(input.as_ref().clone())
    }
}
