//! How much a thing cost, beside what it may cost.

use core::fmt;
use core::time::Duration;
use std::fs;
use std::time::Instant;

/// What something cost this thread.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// Time on a core: what other programs take away from this one is not in it. Where the system does not tell, the
    /// time that passed.
    pub on_core: Duration,
    /// Time that passed.
    pub elapsed: Duration,
}

impl Cost {
    /// Does something and measures it.
    pub fn of<T>(work: impl FnOnce() -> T) -> (T, Self) {
        let (began, before) = (Instant::now(), time_on_core());
        let made = work();
        let elapsed = began.elapsed();
        let on_core = before.zip(time_on_core()).map_or(elapsed, |(before, after)| after - before);
        (made, Self { on_core, elapsed })
    }

    /// Returns the seconds on a core.
    pub fn seconds(&self) -> f64 {
        self.on_core.as_secs_f64()
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3} s of one core, {:.3} s passed", self.seconds(), self.elapsed.as_secs_f64())
    }
}

/// A figure beside what it must be and what it should be.
#[derive(Clone, Copy, Debug)]
pub struct Figure {
    /// What was measured.
    pub what: &'static str,
    /// How much it is.
    pub value: f64,
    /// The unit of all three.
    pub unit: &'static str,
    /// What it must be.
    pub floor: f64,
    /// What it should be.
    pub goal: f64,
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, value, unit, floor, goal } = *self;
        // Where the goal is above the floor, more is better.
        let reaches = |bound: f64| if goal >= floor { value >= bound } else { value <= bound };
        let verdict = match (reaches(goal), reaches(floor)) {
            (true, _) => "goal reached",
            (false, true) => "floor reached",
            (false, false) => "MISSED",
        };
        write!(f, "{what}: {value:.3} {unit} (floor {floor}, goal {goal}): {verdict}")
    }
}

/// Returns the most memory that this process ever had at once, in MiB, where the system tells.
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
