//! An interpreter for chat templates in Jinja, with the same output as transformers, byte for byte.
//!
//! The environment is Jinja2's immutable sandbox with loop controls, `trim_blocks` and `lstrip_blocks`, and without
//! HTML escaping. It has transformers' own `tojson`, `raise_exception`, `strftime_now`, and the `generation` block,
//! which has no effect. Differences are in what no conversation needs: integers have 127 bits, generators are lists,
//! other templates cannot be included, and filters for HTML and randomness are missing.

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "what is done with a few kinds of values or tokens is an error with all others"
)]

mod access;
mod arithmetic;
mod ast;
mod budget;
mod checks;
mod evaluation;
mod expressions;
mod filters;
mod formatting;
mod json;
mod lexer;
mod methods;
mod names;
mod numbers;
mod parser;
mod sorting;
mod strings;
mod value;

use crate::containment::contain;
use ast::Statement;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::thread;
use value::{Dict, Value};

/// A parsed template.
#[derive(Debug)]
pub(super) struct Template {
    body: Vec<Statement>,
}

/// An argument of a template.
#[derive(Clone, Debug)]
pub(super) enum Argument {
    Bool(bool),
    Dict(Vec<(String, Self)>),
    List(Vec<Self>),
    None,
    String(String),
}

impl Template {
    /// Parses a template.
    ///
    /// # Errors
    /// Returns the syntax error with its line.
    pub(super) fn parse(source: &str) -> Result<Self, String> {
        let body = with_room(|| parser::parse(lexer::tokens(source)?))?;
        Ok(Self { body })
    }

    /// Renders the template with these arguments.
    ///
    /// # Errors
    /// Returns the error, or the message that the template raises.
    pub(super) fn render(&self, names: Vec<(String, Argument)>) -> Result<String, String> {
        with_room(|| {
            let names = names.into_iter().map(|(name, value)| (Arc::from(name), Value::from(value)));
            evaluation::render(&self.body, names.collect())
        })
    }
}

/// Calls a function with a stack that is large enough for the deepest template. A panic is an error.
fn with_room<T: Send>(act: impl FnOnce() -> Result<T, String> + Send) -> Result<T, String> {
    thread::scope(|scope| {
        let begun = thread::Builder::new()
            .name("template".to_owned())
            .stack_size(STACK_BYTES)
            .spawn_scoped(scope, || contain(act));
        let begun = begun.map_err(|error| format!("there is no thread for a template: {error}"))?;
        let done = begun.join().unwrap_or_else(|panic| resume_unwind(panic));
        done.map_err(|panicked| format!("the template makes its interpreter panic: {panicked}"))?
    })
}

impl From<Argument> for Value {
    fn from(argument: Argument) -> Self {
        match argument {
            Argument::Bool(truth) => Self::Bool(truth),
            Argument::Dict(entries) => {
                let entries = entries.into_iter().map(|(key, value)| (key.into(), value.into()));
                Self::dict(Dict(entries.collect()))
            }
            Argument::List(items) => Self::list(items.into_iter().map(Self::from).collect()),
            Argument::None => Self::None,
            Argument::String(text) => text.into(),
        }
    }
}

/// The stack size: several times the need of a template with the maximum depth.
const STACK_BYTES: usize = 16 << 20;

#[cfg(test)]
mod tests;
