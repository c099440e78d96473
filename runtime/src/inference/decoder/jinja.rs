//! Templates for conversations, in Jinja as transformers sets it up: the same text, byte for byte.
//!
//! The environment is Jinja2's sandbox for values that do not change, with loop controls, with white space trimmed
//! around blocks, without HTML in mind, with transformers' own `tojson`, `raise_exception` and `strftime_now`, and with
//! its mark of what a model wrote, which changes nothing. Differences are in what no conversation needs: whole numbers
//! have 127 bits, what Jinja2 makes of lists is a list at once, there are no other templates, and filters for HTML and
//! for chance are missing.

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "what is done with a few kinds of values or tokens is an error with all others"
)]

mod arithmetic;
mod ast;
mod checks;
mod evaluation;
mod expressions;
mod filters;
mod formatting;
mod json;
mod lexer;
mod methods;
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

/// A template that was understood.
#[derive(Debug)]
pub(super) struct Template {
    body: Vec<Statement>,
}

/// A value that a template is given.
#[derive(Clone, Debug)]
pub(super) enum Argument {
    Bool(bool),
    Dict(Vec<(String, Self)>),
    List(Vec<Self>),
    None,
    String(String),
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// Says what is wrong with it, and in which line.
    pub(super) fn parse(source: &str) -> Result<Self, String> {
        let body = with_room(|| parser::parse(lexer::tokens(source)?))?;
        Ok(Self { body })
    }

    /// Writes the template out with these names.
    ///
    /// # Errors
    /// Says why it cannot be, or what it refuses itself.
    pub(super) fn render(&self, names: Vec<(String, Argument)>) -> Result<String, String> {
        with_room(|| {
            let names = names.into_iter().map(|(name, value)| (Arc::from(name), Value::from(value)));
            evaluation::render(&self.body, names.collect())
        })
    }
}

/// Does something with a stack that the deepest template fits into; a panic is an error.
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

/// What a template takes that is nested as deeply as may be, several times over.
const STACK_BYTES: usize = 16 << 20;

#[cfg(test)]
mod tests;
