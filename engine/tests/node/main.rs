//! The engine from outside. All of it is one program: linking takes longer than most of these tests.

mod clock;
mod health;
mod mesh;
mod messages;
mod models;
mod purity;
mod reconciliation;
mod sessions;
mod shape;
mod sub_machines;
mod traces;
