//! The budget of an evaluation: steps, bytes and mutable values, which bound what an untrusted template can use.
//!
//! Everything that a template calls takes an [`Evaluation`] to account for its work. Interpreting statements and
//! expressions is above, in `evaluation.rs`.

use super::value::{BYTES_MAX, Scope, Value};
use std::rc::Rc;
use std::sync::Arc;

/// The evaluation of a template.
#[derive(Debug)]
pub(super) struct Evaluation {
    /// The remaining steps.
    pub(super) fuel: u64,
    pub(super) out: String,
    pub(super) depth: usize,
    /// The number of mutable values so far.
    pub(super) changing: usize,
    /// The scopes of macros, which refer back to the macros: cleared at the end to break the cycles.
    pub(super) owners: Vec<Rc<Scope>>,
}

/// The evaluated arguments of a call.
#[derive(Clone, Debug, Default)]
pub(super) struct Given {
    pub(super) places: Vec<Value>,
    pub(super) names: Vec<(String, Value)>,
}

pub(super) type Evaluated<T> = Result<T, String>;

impl Given {
    /// Returns the arguments in the order of these parameters.
    ///
    /// # Errors
    /// Returns an error if there are other arguments.
    pub(super) fn bind<const N: usize>(self, parameters: [&str; N]) -> Evaluated<[Option<Value>; N]> {
        let mut bound = [const { None }; N];
        if self.places.len() > N {
            return Err(format!("{} arguments where at most {N} are taken", self.places.len()));
        }
        for (slot, value) in bound.iter_mut().zip(self.places) {
            *slot = Some(value);
        }
        for (name, value) in self.names {
            let Some(at) = parameters.iter().position(|parameter| *parameter == name) else {
                return Err(format!("unexpected argument {name:?}"));
            };
            bound[at] = Some(value);
        }
        Ok(bound)
    }
}

impl Evaluation {
    /// Uses up steps.
    pub(super) fn spend(&mut self, steps: usize) -> Evaluated<()> {
        self.fuel = self
            .fuel
            .checked_sub(steps as u64)
            .ok_or_else(|| format!("the template took more than {FUEL} steps: it ran out of fuel"))?;
        Ok(())
    }

    /// Accounts for a new text.
    pub(super) fn made(&mut self, text: String) -> Evaluated<Value> {
        self.check_bytes(text.len())?;
        self.spend(text.len() / BYTES_PER_STEP)?;
        Ok(text.into())
    }

    /// Returns the text of a value; formats lists.
    pub(super) fn shown(&mut self, value: &Value) -> Evaluated<Arc<str>> {
        let text = value.text();
        self.check_bytes(text.len())?;
        if !matches!(value, Value::String(_)) {
            self.spend(text.len() / BYTES_PER_STEP)?;
        }
        Ok(text)
    }

    /// Accounts for a new list.
    pub(super) fn made_list(&mut self, items: Vec<Value>) -> Evaluated<Value> {
        self.spend(items.len() / 4)?;
        Ok(Value::list(items))
    }

    /// Registers a mutable value, which may come to contain any other.
    pub(super) fn made_changing(&mut self, value: Value) -> Evaluated<Value> {
        self.changing += 1;
        if self.changing > CHANGING_MAX {
            return Err(format!("the template makes more than {CHANGING_MAX} namespaces"));
        }
        Ok(value)
    }

    /// Rejects a text that is too long.
    pub(super) fn check_bytes(&self, bytes: usize) -> Evaluated<()> {
        if bytes <= BYTES_MAX {
            Ok(())
        } else {
            Err(format!("a text would have more than {BYTES_MAX} bytes"))
        }
    }
}

/// The maximum number of steps: a conversation of a thousand messages takes some 50,000.
pub(super) const FUEL: u64 = 2_000_000;
/// The bytes of text that cost one step.
pub(super) const BYTES_PER_STEP: usize = 64;
/// The maximum number of mutable values.
const CHANGING_MAX: usize = 1000;
