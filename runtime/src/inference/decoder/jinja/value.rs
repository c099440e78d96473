//! The values of a template, with Python's semantics of truth, equality, order and formatting.

use super::ast::{Constant, For, Macro};
use super::lexer::is_space;
use std::cell::{Cell, RefCell};
use std::cmp::Ordering;
use std::fmt::Write;
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;

/// A value.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Bool(bool),
    /// A cycler: returns its values in turn.
    Cycler(Rc<Cycler>),
    Dict(Rc<Nested<Dict>>),
    Float(f64),
    /// A global function, by name.
    Function(&'static str),
    Integer(i128),
    /// A joiner: returns its text from the second call on.
    Joiner(Rc<(Arc<str>, Cell<bool>)>),
    List(Rc<Items>),
    Loop(Rc<Loop>),
    Macro(Rc<Closure>),
    /// A method of a value.
    Method(Rc<(Self, String)>),
    Namespace(Rc<RefCell<Dict>>),
    None,
    String(Arc<str>),
    Tuple(Rc<Items>),
    /// An undefined value, and what was looked up.
    Undefined(Arc<str>),
}

/// A scope: names with their values, and the enclosing scope.
#[derive(Debug, Default)]
pub(super) struct Scope {
    pub(super) names: RefCell<Vec<(Arc<str>, Value)>>,
    pub(super) parent: Option<Rc<Self>>,
}

/// A macro with its scope.
#[derive(Debug)]
pub(super) struct Closure {
    pub(super) of: Arc<Macro>,
    pub(super) scope: Rc<Scope>,
}

#[derive(Debug)]
pub(super) struct Cycler {
    pub(super) values: Rc<Items>,
    pub(super) at: Cell<usize>,
}

/// The state of a loop.
#[derive(Debug)]
pub(super) struct Loop {
    pub(super) items: Rc<Items>,
    pub(super) at: Cell<usize>,
    pub(super) depth: usize,
    pub(super) changed: RefCell<Option<Vec<Value>>>,
    /// The statement and scope of a recursive loop.
    pub(super) again: Option<(Arc<For>, Rc<Scope>)>,
}

/// A dict in insertion order.
#[derive(Clone, Debug, Default)]
pub(super) struct Dict(pub(super) Vec<(Value, Value)>);

/// A container of values, and its nesting depth.
#[derive(Debug, Default)]
pub(super) struct Nested<T> {
    depth: u16,
    of: T,
}

/// A list of values.
pub(super) type Items = Nested<Vec<Value>>;

impl<T> Deref for Nested<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.of
    }
}

impl From<Vec<Value>> for Items {
    fn from(of: Vec<Value>) -> Self {
        let depth = of.iter().map(Value::depth).max().unwrap_or(0).saturating_add(1);
        Self { depth, of }
    }
}

impl Dict {
    pub(super) fn get(&self, key: &Value) -> Option<&Value> {
        self.0.iter().find(|(known, _)| known.equals(key)).map(|(_, value)| value)
    }

    pub(super) fn text(&self, key: &str) -> Option<&Value> {
        let is = |known: &Value| matches!(known, Value::String(known) if **known == *key);
        self.0.iter().find(|(known, _)| is(known)).map(|(_, value)| value)
    }

    pub(super) fn insert(&mut self, key: Value, value: Value) {
        match self.0.iter_mut().find(|(known, _)| known.equals(&key)) {
            Some((_, known)) => *known = value,
            None => self.0.push((key, value)),
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::String(text.into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::String(text.into())
    }
}

impl From<&Constant> for Value {
    fn from(constant: &Constant) -> Self {
        match constant {
            Constant::Bool(truth) => Self::Bool(*truth),
            Constant::Float(number) => Self::Float(*number),
            Constant::Integer(number) => Self::Integer(*number),
            Constant::None => Self::None,
            Constant::String(text) => Self::String(Arc::clone(text)),
        }
    }
}

impl Value {
    pub(super) fn list(items: Vec<Self>) -> Self {
        Self::List(Rc::new(items.into()))
    }

    pub(super) fn pair(one: Self, other: Self) -> Self {
        Self::tuple(vec![one, other])
    }

    pub(super) fn tuple(items: Vec<Self>) -> Self {
        Self::Tuple(Rc::new(items.into()))
    }

    pub(super) fn dict(of: Dict) -> Self {
        let depth = of.0.iter().map(|(_, value)| value.depth()).max().unwrap_or(0).saturating_add(1);
        Self::Dict(Rc::new(Nested { depth, of }))
    }

    /// Returns the nesting depth.
    pub(super) fn depth(&self) -> u16 {
        match self {
            Self::Dict(dict) => dict.depth,
            Self::List(items) | Self::Tuple(items) => items.depth,
            Self::Loop(it) => it.items.depth.saturating_add(1),
            Self::Cycler(it) => it.values.depth.saturating_add(1),
            Self::Method(method) => method.0.depth(),
            _ => 0,
        }
    }

    pub(super) fn undefined(what: impl Into<Arc<str>>) -> Self {
        Self::Undefined(what.into())
    }

    pub(super) fn length(count: usize) -> Self {
        Self::Integer(count as i128)
    }

    /// Returns Python's name of the type.
    pub(super) const fn kind(&self) -> &'static str {
        match self {
            Self::Bool(_) => "bool",
            Self::Cycler(_) => "Cycler",
            Self::Dict(_) => "dict",
            Self::Float(_) => "float",
            Self::Function(_) | Self::Method(_) => "builtin_function_or_method",
            Self::Integer(_) => "int",
            Self::Joiner(_) => "Joiner",
            Self::List(_) => "list",
            Self::Loop(_) => "LoopContext",
            Self::Macro(_) => "Macro",
            Self::Namespace(_) => "Namespace",
            Self::None => "NoneType",
            Self::String(_) => "str",
            Self::Tuple(_) => "tuple",
            Self::Undefined(_) => "Undefined",
        }
    }

    pub(super) fn is_true(&self) -> bool {
        match self {
            Self::Bool(truth) => *truth,
            Self::Dict(dict) => !dict.0.is_empty(),
            Self::Float(number) => *number != 0.0,
            Self::Integer(number) => *number != 0,
            Self::List(items) | Self::Tuple(items) => !items.is_empty(),
            Self::None | Self::Undefined(_) => false,
            Self::String(text) => !text.is_empty(),
            Self::Cycler(_)
            | Self::Function(_)
            | Self::Joiner(_)
            | Self::Loop(_)
            | Self::Macro(_)
            | Self::Method(_)
            | Self::Namespace(_) => true,
        }
    }

    /// Returns a number as a float.
    pub(super) fn number(&self) -> Option<f64> {
        match self {
            Self::Bool(truth) => Some(f64::from(u8::from(*truth))),
            Self::Float(number) => Some(*number),
            Self::Integer(number) => Some(*number as f64),
            _ => None,
        }
    }

    /// Returns an integer.
    pub(super) fn integer(&self) -> Option<i128> {
        match self {
            Self::Bool(truth) => Some(i128::from(*truth)),
            Self::Integer(number) => Some(*number),
            _ => None,
        }
    }

    /// Returns an integer as a count; a negative one is zero.
    ///
    /// # Errors
    /// Returns an error if the value is not an integer.
    pub(super) fn size(&self) -> Result<usize, String> {
        let number = self.integer().ok_or_else(|| format!("expected a whole number, not {}", self.kind()))?;
        Ok(usize::try_from(number.max(0)).unwrap_or(usize::MAX))
    }

    pub(super) fn as_str(&self) -> Option<&str> {
        if let Self::String(text) = self { Some(text) } else { None }
    }

    /// Tells whether two values are equal. Values that take too many comparisons are not.
    pub(super) fn equals(&self, other: &Self) -> bool {
        self.equals_within(other, &mut { LOOKS_MAX })
    }

    fn equals_within(&self, other: &Self, looks: &mut u32) -> bool {
        let Some(left) = looks.checked_sub(1) else { return false };
        *looks = left;
        match (self, other) {
            (Self::String(one), Self::String(other)) => one == other,
            (Self::None, Self::None) | (Self::Undefined(_), Self::Undefined(_)) => true,
            (Self::List(one), Self::List(other)) | (Self::Tuple(one), Self::Tuple(other)) => {
                let mut pairs = one.iter().zip(other.iter());
                one.len() == other.len() && pairs.all(|(one, other)| one.equals_within(other, looks))
            }
            (Self::Dict(one), Self::Dict(other)) => {
                let mut has = |(key, value): &(Self, Self)| {
                    other.get(key).is_some_and(|other| other.equals_within(value, looks))
                };
                one.0.len() == other.0.len() && one.0.iter().all(&mut has)
            }
            (Self::Function(one), Self::Function(other)) => one == other,
            (Self::Macro(one), Self::Macro(other)) => Rc::ptr_eq(one, other),
            (Self::Namespace(one), Self::Namespace(other)) => Rc::ptr_eq(one, other),
            _ => match (self.integer(), other.integer()) {
                (Some(one), Some(other)) => one == other,
                _ => matches!((self.number(), other.number()), (Some(one), Some(other)) if one == other),
            },
        }
    }

    /// Compares two values.
    ///
    /// # Errors
    /// Returns an error if Python does not compare them.
    pub(super) fn compare(&self, other: &Self) -> Result<Ordering, String> {
        match (self, other) {
            (Self::Undefined(what), _) | (_, Self::Undefined(what)) => Err(missing(what)),
            (Self::String(one), Self::String(other)) => Ok(one.cmp(other)),
            (Self::List(one), Self::List(other)) | (Self::Tuple(one), Self::Tuple(other)) => {
                for (one, other) in one.iter().zip(other.iter()) {
                    if !one.equals(other) {
                        return one.compare(other);
                    }
                }
                Ok(one.len().cmp(&other.len()))
            }
            _ => match (self.integer(), other.integer()) {
                (Some(one), Some(other)) => Ok(one.cmp(&other)),
                _ => match (self.number(), other.number()) {
                    (Some(one), Some(other)) => Ok(one.partial_cmp(&other).unwrap_or(Ordering::Equal)),
                    _ => Err(format!("{} and {} cannot be compared", self.kind(), other.kind())),
                },
            },
        }
    }

    /// Returns the items of iterating over the value.
    ///
    /// # Errors
    /// Returns an error if the value is not iterable.
    pub(super) fn items(&self) -> Result<Rc<Items>, String> {
        match self {
            Self::List(items) | Self::Tuple(items) => Ok(Rc::clone(items)),
            Self::Dict(dict) => {
                Ok(Rc::new(dict.0.iter().map(|(key, _)| key.clone()).collect::<Vec<_>>().into()))
            }
            Self::String(text) => {
                Ok(Rc::new(text.chars().map(|letter| letter.to_string().into()).collect::<Vec<_>>().into()))
            }
            Self::Undefined(_) => Ok(Rc::default()),
            Self::Loop(it) => Ok(Rc::clone(&it.items)),
            other => Err(format!("{:?} object is not iterable", other.kind())),
        }
    }

    /// Returns the length.
    ///
    /// # Errors
    /// Returns an error if the value has no length.
    pub(super) fn len(&self) -> Result<usize, String> {
        match self {
            Self::List(items) | Self::Tuple(items) => Ok(items.len()),
            Self::Dict(dict) => Ok(dict.0.len()),
            Self::String(text) => Ok(text.chars().count()),
            Self::Undefined(_) => Ok(0),
            Self::Loop(it) => Ok(it.items.len()),
            other => Err(format!("object of type {:?} has no len()", other.kind())),
        }
    }

    /// Tells whether the value contains another.
    ///
    /// # Errors
    /// Returns an error if the value is not a container.
    pub(super) fn contains(&self, item: &Self) -> Result<bool, String> {
        match self {
            Self::String(text) => match item {
                Self::String(item) => Ok(text.contains(&**item)),
                other => Err(format!("'in <string>' requires string as left operand, not {}", other.kind())),
            },
            Self::Dict(dict) => Ok(dict.get(item).is_some()),
            other => match other.items() {
                Ok(items) => Ok(items.iter().any(|known| known.equals(item))),
                Err(_) => Err(format!("argument of type {:?} is not iterable", other.kind())),
            },
        }
    }

    /// Returns the text of the value, like Python's `str`.
    pub(super) fn text(&self) -> Arc<str> {
        match self {
            Self::String(text) => Arc::clone(text),
            Self::Undefined(_) => "".into(),
            other => other.repr().into(),
        }
    }

    /// Returns the text of the value inside others, like Python's `repr`.
    pub(super) fn repr(&self) -> String {
        let mut out = String::new();
        self.write_repr(&mut out, 0);
        out
    }

    /// Writes up to the maximum length of a text, and does not follow cycles.
    fn write_repr(&self, out: &mut String, depth: usize) {
        if out.len() > BYTES_MAX || depth > DEPTH_MAX {
            return;
        }
        let row = |items: &[Self], out: &mut String| {
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push_str(", ");
                }
                item.write_repr(out, depth + 1);
            }
        };
        match self {
            Self::Bool(truth) => out.push_str(if *truth { "True" } else { "False" }),
            Self::Dict(dict) => write_dict(dict, out, depth),
            Self::Float(number) => out.push_str(&float(*number)),
            Self::Integer(number) => {
                let _ = write!(out, "{number}");
            }
            Self::List(items) => {
                out.push('[');
                row(items, out);
                out.push(']');
            }
            Self::Tuple(items) => {
                out.push('(');
                row(items, out);
                out.push_str(if items.len() == 1 { ",)" } else { ")" });
            }
            Self::Namespace(dict) => {
                out.push_str("<Namespace ");
                write_dict(&dict.borrow(), out, depth);
                out.push('>');
            }
            Self::None => out.push_str("None"),
            Self::String(text) => quoted(text, out),
            Self::Undefined(_) => out.push_str("Undefined"),
            Self::Macro(it) => {
                let _ = write!(out, "<Macro '{}'>", it.of.name);
            }
            Self::Cycler(_) | Self::Function(_) | Self::Joiner(_) | Self::Loop(_) | Self::Method(_) => {
                let _ = write!(out, "<{}>", self.kind());
            }
        }
    }
}

fn write_dict(dict: &Dict, out: &mut String, depth: usize) {
    out.push('{');
    for (at, (key, value)) in dict.0.iter().enumerate() {
        if at > 0 {
            out.push_str(", ");
        }
        key.write_repr(out, depth + 1);
        out.push_str(": ");
        value.write_repr(out, depth + 1);
    }
    out.push('}');
}

impl Scope {
    pub(super) fn within(parent: &Rc<Self>) -> Rc<Self> {
        Rc::new(Self { names: RefCell::default(), parent: Some(Rc::clone(parent)) })
    }

    pub(super) fn get(&self, name: &str) -> Option<Value> {
        let mut scope = Some(self);
        while let Some(at) = scope {
            if let Some((_, value)) = at.names.borrow().iter().find(|(known, _)| **known == *name) {
                return Some(value.clone());
            }
            scope = at.parent.as_deref();
        }
        None
    }

    pub(super) fn set(&self, name: &Arc<str>, value: Value) {
        let mut names = self.names.borrow_mut();
        match names.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => *known = value,
            None => names.push((Arc::clone(name), value)),
        }
    }
}

/// Returns the error for an undefined value.
pub(super) fn missing(what: &str) -> String {
    format!("{what} is undefined")
}

/// Formats a float like Python.
pub(super) fn float(number: f64) -> String {
    if number.is_nan() {
        return "nan".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let scientific = format!("{number:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if !(-4..16).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{digits}e{sign}{:02}", exponent.abs());
    }
    let plain = format!("{number}");
    if plain.contains('.') { plain } else { format!("{plain}.0") }
}

/// Quotes a text like Python's `repr`.
fn quoted(text: &str, out: &mut String) {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    out.push(quote);
    for letter in text.chars() {
        let code = u32::from(letter);
        match letter {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            letter if letter == quote => {
                out.push('\\');
                out.push(letter);
            }
            letter if is_printable(letter) => out.push(letter),
            _ if code < 0x100 => {
                let _ = write!(out, "\\x{code:02x}");
            }
            _ if code < 0x1_0000 => {
                let _ = write!(out, "\\u{code:04x}");
            }
            _ => {
                let _ = write!(out, "\\U{code:08x}");
            }
        }
    }
    out.push(quote);
}

/// Tells whether Python's `repr` prints a character as it is; control and direction characters and most spaces are
/// escaped.
fn is_printable(letter: char) -> bool {
    let invisible = matches!(
        letter,
        '\u{ad}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}'
        | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff0}'..='\u{fffb}'
        | '\u{fffe}' | '\u{ffff}' | '\u{e000}'..='\u{f8ff}' | '\u{e0000}'..='\u{10ffff}'
    );
    letter == ' ' || !(letter.is_control() || is_space(letter) || invisible)
}

/// Truncates a number to an integer.
///
/// # Errors
/// Returns an error if it is too large, or NaN.
pub(super) fn truncated(number: f64) -> Result<i128, String> {
    // All of these are smaller than the smallest power of two that does not fit.
    if number.abs() < -(i128::MIN as f64) { Ok(number.trunc() as i128) } else { Err(too_large(number)) }
}

/// Returns the error for a number that is too large for an integer.
pub(super) fn too_large(number: impl std::fmt::Display) -> String {
    format!("{number} is too large for a whole number")
}

/// The maximum length of a text, including the prompt.
pub(super) const BYTES_MAX: usize = 4 << 20;
/// The maximum number of steps of a comparison.
const LOOKS_MAX: u32 = 1 << 20;
/// The maximum depth at which values are formatted; only namespaces can be deeper than the limit of values.
const DEPTH_MAX: usize = 128;
