//! The defaults of scenario files. A value that equals its default is not written.

use crate::scenario::Range;
use core::time::Duration;

pub(super) const START: Range = Range { from: Duration::ZERO, to: Duration::from_millis(50) };
pub(super) const LATENCY: Range = Range { from: Duration::from_millis(1), to: Duration::from_millis(5) };
pub(super) const DISK_LATENCY: Range = Range { from: Duration::from_millis(1), to: Duration::from_millis(8) };
pub(super) const TICK: Duration = Duration::from_millis(1);

pub(super) const INPUT: &str = "hello";
pub(super) const TIMEOUT: Duration = Duration::from_secs(30);
pub(super) const WORKLOAD_START: Duration = Duration::from_secs(2);
