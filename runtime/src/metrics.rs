//! Metrics of a node in the form that monitoring systems read.
//!
//! The engine counts (`engine::observers::metrics`). Here each metric gets its name and unit, the process and the store
//! add their figures, and the text is written.
//!
//! Names, units and labels follow Prometheus' conventions. The values of all labels are known before the node starts:
//! no id of another node, no path and no text of a user is one.

mod families;
mod host;
mod text;

pub use families::families;
pub use host::{Host, HostFigures, cpu_micros};
pub use text::{Format, render};

#[cfg(test)]
mod tests;
