//! Evaluates a template: statements write text, expressions have values.
//!
//! The invariant: an untrusted template can only produce text. Steps, bytes and depth are bounded, and it has no access
//! to files, other programs or the clock.

use super::ast::{Arguments, Comparison, Expression, For, Macro, Statement, Target};
use super::budget::{BYTES_PER_STEP, Evaluated, Evaluation, FUEL, Given};
use super::value::{Closure, Dict, Loop, Scope, Value, missing};
use super::{access, arithmetic, checks, filters, methods};
use std::cell::{Cell, RefCell};
use std::cmp::Ordering;
use std::rc::Rc;
use std::sync::Arc;

/// The control flow after statements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    Break,
    Continue,
    Next,
}

/// Renders a template.
///
/// # Errors
/// Returns the error of the evaluation.
pub(super) fn render(body: &[Statement], names: Vec<(Arc<str>, Value)>) -> Evaluated<String> {
    let mut it = Evaluation { fuel: FUEL, out: String::new(), depth: 0, changing: 0, owners: Vec::new() };
    let given = Rc::new(Scope { names: RefCell::new(names), parent: None });
    let own = Scope::within(&given);
    let ended = it.run(body, &own);
    for scope in &it.owners {
        scope.names.borrow_mut().clear();
    }
    own.names.borrow_mut().clear();
    ended.map(|_| it.out)
}

impl Evaluation {
    fn write(&mut self, text: &str) -> Evaluated<()> {
        self.check_bytes(self.out.len() + text.len())?;
        self.spend(1 + text.len() / BYTES_PER_STEP)?;
        self.out.push_str(text);
        Ok(())
    }

    fn deeper<T>(&mut self, act: impl FnOnce(&mut Self) -> Evaluated<T>) -> Evaluated<T> {
        if self.depth >= DEPTH_MAX {
            return Err("recursion: the template is nested too deeply".to_owned());
        }
        self.depth += 1;
        let done = act(self);
        self.depth -= 1;
        done
    }

    /// Returns the text that statements write.
    fn captured(&mut self, act: impl FnOnce(&mut Self) -> Evaluated<()>) -> Evaluated<Value> {
        let before = std::mem::take(&mut self.out);
        let done = act(self);
        let text = std::mem::replace(&mut self.out, before);
        done?;
        Ok(text.into())
    }

    fn run(&mut self, body: &[Statement], scope: &Rc<Scope>) -> Evaluated<Flow> {
        for statement in body {
            self.spend(1)?;
            let flow = self.deeper(|it| it.statement(statement, scope))?;
            if flow != Flow::Next {
                return Ok(flow);
            }
        }
        Ok(Flow::Next)
    }

    fn statement(&mut self, statement: &Statement, scope: &Rc<Scope>) -> Evaluated<Flow> {
        match statement {
            Statement::Break => return Ok(Flow::Break),
            Statement::Continue => return Ok(Flow::Continue),
            Statement::Text(text) => self.write(text)?,
            Statement::Output(shown) => {
                let shown = self.value(shown, scope)?;
                self.write(&shown.text())?;
            }
            Statement::If { branches, otherwise } => {
                for (test, body) in branches {
                    if self.value(test, scope)?.is_true() {
                        return self.run(body, scope);
                    }
                }
                return self.run(otherwise, scope);
            }
            Statement::For(it) => {
                let over = self.value(&it.over, scope)?;
                return self.repeat(it, over, scope, 0);
            }
            Statement::Set(target, value) => {
                let value = self.value(value, scope)?;
                assign(target, value, scope)?;
            }
            Statement::SetBlock { target, filter, body } => {
                let inner = Scope::within(scope);
                let mut text = self.captured(|it| it.run(body, &inner).map(drop))?;
                if let Some(filter) = filter {
                    text = self.filtered(filter, Some(text), scope)?;
                }
                assign(target, text, scope)?;
            }
            Statement::Filter(filter, body) => {
                let inner = Scope::within(scope);
                let text = self.captured(|it| it.run(body, &inner).map(drop))?;
                let text = self.filtered(filter, Some(text), scope)?;
                self.write(&text.text())?;
            }
            Statement::Macro(of) => {
                let closure = Closure { of: Arc::clone(of), scope: Rc::clone(scope) };
                scope.set(&of.name, Value::Macro(Rc::new(closure)));
                self.owners.push(Rc::clone(scope));
            }
            Statement::Call { caller, function, arguments } => {
                let function = self.value(function, scope)?;
                let mut given = self.given(arguments, scope)?;
                let closure = Closure { of: Arc::clone(caller), scope: Rc::clone(scope) };
                given.names.push(("caller".to_owned(), Value::Macro(Rc::new(closure))));
                let shown = self.call(&function, given)?;
                self.write(&shown.text())?;
            }
            Statement::Scope(body) => return self.run(body, &Scope::within(scope)),
            Statement::With(given, body) => {
                let inner = Scope::within(scope);
                for (target, value) in given {
                    let value = self.value(value, scope)?;
                    assign(target, value, &inner)?;
                }
                return self.run(body, &inner);
            }
            Statement::Unsupported(reason) => return Err((*reason).to_owned()),
        }
        Ok(Flow::Next)
    }

    /// Runs a loop over items.
    fn repeat(&mut self, of: &Arc<For>, over: Value, scope: &Rc<Scope>, depth: usize) -> Evaluated<Flow> {
        self.spend(over.len().unwrap_or(0) / 16)?;
        let mut items = over.items()?;
        if let Some(only) = &of.only {
            let mut kept = Vec::new();
            for item in items.iter() {
                self.spend(1)?;
                let inner = Scope::within(scope);
                assign(&of.target, item.clone(), &inner)?;
                if self.value(only, &inner)?.is_true() {
                    kept.push(item.clone());
                }
            }
            items = Rc::new(kept.into());
        }
        if items.is_empty() {
            return self.run(&of.otherwise, scope);
        }
        let again = of.is_recursive.then(|| (Arc::clone(of), Rc::clone(scope)));
        let state = Rc::new(Loop {
            items: Rc::clone(&items),
            at: Cell::new(0),
            depth,
            changed: RefCell::default(),
            again,
        });
        let name: Arc<str> = "loop".into();
        for (at, item) in items.iter().enumerate() {
            self.spend(1)?;
            state.at.set(at);
            let inner = Scope::within(scope);
            inner.set(&name, Value::Loop(Rc::clone(&state)));
            assign(&of.target, item.clone(), &inner)?;
            if self.run(&of.body, &inner)? == Flow::Break {
                break;
            }
        }
        Ok(Flow::Next)
    }

    /// Evaluates an expression.
    pub(super) fn value(&mut self, of: &Expression, scope: &Rc<Scope>) -> Evaluated<Value> {
        self.spend(1)?;
        let value = self.deeper(|it| it.evaluated(of, scope))?;
        if value.depth() > NESTING_MAX {
            return Err(format!("values are nested more than {NESTING_MAX} deep"));
        }
        Ok(value)
    }

    fn evaluated(&mut self, of: &Expression, scope: &Rc<Scope>) -> Evaluated<Value> {
        Ok(match of {
            Expression::Constant(constant) => constant.into(),
            Expression::Name(name) => match scope.get(name) {
                Some(value) => value,
                None => methods::function(name).unwrap_or_else(|| Value::undefined(format!("'{name}'"))),
            },
            Expression::And(one, other) => {
                let one = self.value(one, scope)?;
                if one.is_true() { self.value(other, scope)? } else { one }
            }
            Expression::Or(one, other) => {
                let one = self.value(one, scope)?;
                if one.is_true() { one } else { self.value(other, scope)? }
            }
            Expression::Not(of) => Value::Bool(!self.value(of, scope)?.is_true()),
            Expression::Condition { test, yes, no } => match (self.value(test, scope)?.is_true(), no) {
                (true, _) => self.value(yes, scope)?,
                (false, Some(no)) => self.value(no, scope)?,
                (false, None) => Value::undefined("the value of an if without else"),
            },
            Expression::Attribute(of, name) => {
                let of = self.value(of, scope)?;
                access::attribute(&of, name)?
            }
            Expression::Item(of, key) => {
                let (of, key) = (self.value(of, scope)?, self.value(key, scope)?);
                access::item(&of, &key)?
            }
            Expression::Slice(of, parts) => {
                let of = self.value(of, scope)?;
                let mut bounds = [None; 3];
                for (bound, part) in bounds.iter_mut().zip(parts) {
                    let Some(part) = part else { continue };
                    *bound = match self.value(part, scope)? {
                        Value::None => None,
                        part => Some(part.integer().ok_or("slice indices must be integers or None")?),
                    };
                }
                self.spend(of.len().unwrap_or(0) / 4)?;
                access::slice(&of, bounds)?
            }
            Expression::Call(function, arguments) => {
                let function = self.value(function, scope)?;
                let given = self.given(arguments, scope)?;
                self.call(&function, given)?
            }
            Expression::Filter(..) => self.filtered(of, None, scope)?,
            Expression::Test(of, name, arguments) => {
                let value = self.value(of, scope)?;
                let given = self.given(arguments, scope)?;
                Value::Bool(checks::check(name, &value, given)?)
            }
            Expression::Negative(of) => arithmetic::negative(&self.value(of, scope)?)?,
            Expression::Positive(of) => {
                let value = self.value(of, scope)?;
                arithmetic::binary(self, "+", &Value::Integer(0), &value)?
            }
            Expression::Binary(operator, one, other) => {
                let (one, other) = (self.value(one, scope)?, self.value(other, scope)?);
                arithmetic::binary(self, operator, &one, &other)?
            }
            Expression::Concatenate(parts) => {
                let mut text = String::new();
                for part in parts {
                    text.push_str(&self.value(part, scope)?.text());
                    self.check_bytes(text.len())?;
                }
                self.made(text)?
            }
            Expression::Compare(first, others) => {
                let mut one = self.value(first, scope)?;
                for (comparison, other) in others {
                    let other = self.value(other, scope)?;
                    if !self.compared(*comparison, &one, &other)? {
                        return Ok(Value::Bool(false));
                    }
                    one = other;
                }
                Value::Bool(true)
            }
            Expression::List(items) => Value::list(self.values(items, scope)?),
            Expression::Tuple(items) => Value::tuple(self.values(items, scope)?),
            Expression::Dict(items) => {
                let mut dict = Dict::default();
                for (key, value) in items {
                    let key = self.value(key, scope)?;
                    dict.insert(key, self.value(value, scope)?);
                }
                Value::dict(dict)
            }
        })
    }

    fn values(&mut self, items: &[Expression], scope: &Rc<Scope>) -> Evaluated<Vec<Value>> {
        items.iter().map(|item| self.value(item, scope)).collect()
    }

    fn compared(&mut self, comparison: Comparison, one: &Value, other: &Value) -> Evaluated<bool> {
        self.spend(one.len().unwrap_or(0).min(other.len().unwrap_or(0)) / BYTES_PER_STEP)?;
        Ok(match comparison {
            Comparison::Equal => one.equals(other),
            Comparison::NotEqual => !one.equals(other),
            Comparison::In => other.contains(one)?,
            Comparison::NotIn => !other.contains(one)?,
            Comparison::Less => one.compare(other)? == Ordering::Less,
            Comparison::LessOrEqual => one.compare(other)? != Ordering::Greater,
            Comparison::Greater => one.compare(other)? == Ordering::Greater,
            Comparison::GreaterOrEqual => one.compare(other)? != Ordering::Less,
        })
    }

    /// Applies a chain of filters to a text.
    fn filtered(&mut self, filter: &Expression, text: Option<Value>, scope: &Rc<Scope>) -> Evaluated<Value> {
        let Expression::Filter(of, name, arguments) = filter else { return self.value(filter, scope) };
        let value = match of {
            Some(of) if text.is_some() => self.filtered(of, text, scope)?,
            Some(of) => self.value(of, scope)?,
            None => text.ok_or("a filter without a value")?,
        };
        let given = self.given(arguments, scope)?;
        self.deeper(|it| filters::filter(it, name, value, given))
    }

    fn given(&mut self, arguments: &Arguments, scope: &Rc<Scope>) -> Evaluated<Given> {
        let mut given = Given { places: self.values(&arguments.by_place, scope)?, names: Vec::new() };
        if let Some(list) = &arguments.list {
            let items = self.value(list, scope)?.items()?;
            self.spend(items.len())?;
            given.places.extend(items.iter().cloned());
        }
        for (name, value) in &arguments.by_name {
            given.names.push((name.clone(), self.value(value, scope)?));
        }
        if let Some(dict) = &arguments.dict {
            let Value::Dict(dict) = self.value(dict, scope)? else {
                return Err("argument after ** must be a mapping".to_owned());
            };
            for (key, value) in &dict.0 {
                given.names.push((key.text().to_string(), value.clone()));
            }
        }
        Ok(given)
    }

    /// Calls a value.
    pub(super) fn call(&mut self, function: &Value, given: Given) -> Evaluated<Value> {
        self.spend(1)?;
        match function {
            Value::Function(name) => methods::call_function(self, name, given),
            Value::Method(method) => methods::call(self, &method.0, &method.1, given),
            Value::Macro(closure) => self.deeper(|it| it.call_macro(closure, given)),
            Value::Loop(state) => {
                let Some((of, scope)) = &state.again else {
                    return Err("the loop is not marked as recursive".to_owned());
                };
                let [items] = given.bind(["iterable"])?;
                let items = items.ok_or("a loop of nothing")?;
                self.captured(|it| it.deeper(|it| it.repeat(of, items, scope, state.depth + 1)).map(drop))
            }
            Value::Cycler(it) => Ok(methods::next_of(it)),
            Value::Joiner(it) => {
                Ok(if it.1.replace(true) { Value::String(Arc::clone(&it.0)) } else { "".into() })
            }
            Value::Undefined(what) => Err(missing(what)),
            other => Err(format!("{:?} object is not callable", other.kind())),
        }
    }

    fn call_macro(&mut self, closure: &Closure, given: Given) -> Evaluated<Value> {
        let Closure { of, scope } = closure;
        let Macro { name, parameters, body, takes } = &**of;
        let inner = Scope::within(scope);
        let [takes_list, takes_dict, takes_caller] = *takes;
        let mut names = given.names;
        let mut places = given.places.into_iter();
        for (parameter, default) in parameters {
            let value = match places.next() {
                Some(value) => value,
                None => match (names.iter().position(|(known, _)| **known == **parameter), default) {
                    (Some(at), _) => names.remove(at).1,
                    (None, Some(default)) => self.value(default, &inner)?,
                    (None, None) => Value::undefined(format!("parameter {parameter:?}")),
                },
            };
            inner.set(parameter, value);
        }
        let caller = names.iter().position(|(name, _)| name == "caller").map(|at| names.remove(at).1);
        match caller {
            Some(caller) if takes_caller => inner.set(&"caller".into(), caller),
            Some(_) => {
                return Err(format!(
                    "macro {name:?} was invoked with two values for the special caller argument"
                ));
            }
            None if takes_caller => {
                inner.set(&"caller".into(), Value::undefined("No caller defined, caller"))
            }
            None => {}
        }
        let rest: Vec<Value> = places.collect();
        if takes_list {
            inner.set(&"varargs".into(), Value::tuple(rest));
        } else if !rest.is_empty() {
            return Err(format!("macro {name:?} takes not more than {} argument(s)", parameters.len()));
        }
        if takes_dict {
            let dict = Dict(names.into_iter().map(|(name, value)| (name.into(), value)).collect());
            inner.set(&"kwargs".into(), Value::dict(dict));
        } else if let Some((odd, _)) = names.first() {
            return Err(format!("macro {name:?} takes no keyword argument {odd:?}"));
        }
        self.captured(|it| it.run(body, &inner).map(drop))
    }
}

/// Assigns a value to a name, to several names, or to a field of a namespace.
fn assign(target: &Target, value: Value, scope: &Rc<Scope>) -> Evaluated<()> {
    match target {
        Target::Name(name) => scope.set(name, value),
        Target::Field(name, field) => match scope.get(name) {
            Some(Value::Namespace(dict)) => dict.borrow_mut().insert(field.as_str().into(), value),
            _ => return Err("cannot assign attribute on non-namespace object".to_owned()),
        },
        Target::Several(targets) => {
            if let Ok(len) = value.len()
                && len != targets.len()
            {
                return Err(format!("{len} values to unpack, expected {}", targets.len()));
            }
            let items = value.items()?;
            for (target, item) in targets.iter().zip(items.iter()) {
                assign(target, item.clone(), scope)?;
            }
        }
    }
    Ok(())
}

/// The maximum nesting depth of values.
const NESTING_MAX: u16 = 100;
/// The maximum nesting depth of statements, expressions and macros.
const DEPTH_MAX: usize = 240;
