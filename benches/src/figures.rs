//! Measurements, printed next to their floor and goal.

use core::fmt;
use core::time::Duration;
use std::fs;
use std::time::Instant;

/// The cost of a computation on this thread.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// Processor time, which excludes other programs; wall-clock time where the system does not report it.
    pub on_core: Duration,
    /// Wall-clock time.
    pub elapsed: Duration,
}

impl Cost {
    /// Runs a function and measures it.
    pub fn of<T>(work: impl FnOnce() -> T) -> (T, Self) {
        let (began, before) = (Instant::now(), time_on_core());
        let made = work();
        let elapsed = began.elapsed();
        let on_core = before.zip(time_on_core()).map_or(elapsed, |(before, after)| after - before);
        (made, Self { on_core, elapsed })
    }

    /// Returns the processor time in seconds.
    pub fn seconds(&self) -> f64 {
        self.on_core.as_secs_f64()
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3} s of one core, {:.3} s passed", self.seconds(), self.elapsed.as_secs_f64())
    }
}

/// A figure with its floor and its goal.
#[derive(Clone, Copy, Debug)]
pub struct Figure {
    /// The question that it answers.
    pub what: &'static str,
    /// The measured value.
    pub value: f64,
    /// The unit of the value, the floor and the goal.
    pub unit: &'static str,
    /// The value that it must reach.
    pub floor: f64,
    /// The value that it should reach.
    pub goal: f64,
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, value, unit, floor, goal } = *self;
        // If the goal is above the floor, more is better.
        let reaches = |bound: f64| if goal >= floor { value >= bound } else { value <= bound };
        let verdict = match (reaches(goal), reaches(floor)) {
            (true, _) => "goal reached",
            (false, true) => "floor reached",
            (false, false) => "MISSED",
        };
        write!(f, "{what}: {value:.3} {unit} (floor {floor}, goal {goal}): {verdict}")
    }
}

/// Returns the peak memory of this process in MiB, if the system reports it.
pub fn peak_memory_mib() -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u32 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(f64::from(kib) / 1024.0)
}

fn time_on_core() -> Option<Duration> {
    let statistics = fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    statistics.split_whitespace().next()?.parse().ok().map(Duration::from_nanos)
}
