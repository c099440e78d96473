//! The simulator from outside. All of it is one program: linking takes longer than most of these tests.

mod bad_scenarios;
mod golden;
mod machine_faults;
mod rest;
mod same_seed;
mod scenarios;
