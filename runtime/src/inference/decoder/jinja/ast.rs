//! The syntax tree of a template.

use std::sync::Arc;

/// An expression.
#[derive(Debug)]
pub(super) enum Expression {
    And(Box<Self>, Box<Self>),
    Attribute(Box<Self>, String),
    Binary(&'static str, Box<Self>, Box<Self>),
    Call(Box<Self>, Arguments),
    Compare(Box<Self>, Vec<(Comparison, Self)>),
    Concatenate(Vec<Self>),
    Condition {
        test: Box<Self>,
        yes: Box<Self>,
        no: Option<Box<Self>>,
    },
    Constant(Constant),
    Dict(Vec<(Self, Self)>),
    /// A filter. Without a value it applies to the text of a block.
    Filter(Option<Box<Self>>, String, Arguments),
    Item(Box<Self>, Box<Self>),
    List(Vec<Self>),
    Name(Arc<str>),
    Negative(Box<Self>),
    Not(Box<Self>),
    Or(Box<Self>, Box<Self>),
    Positive(Box<Self>),
    Slice(Box<Self>, [Option<Box<Self>>; 3]),
    Test(Box<Self>, String, Arguments),
    Tuple(Vec<Self>),
}

#[derive(Clone, Debug)]
pub(super) enum Constant {
    Bool(bool),
    Float(f64),
    Integer(i128),
    None,
    String(Arc<str>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    Greater,
    GreaterOrEqual,
    In,
    Less,
    LessOrEqual,
    NotEqual,
    NotIn,
}

/// The arguments of a call.
#[derive(Debug, Default)]
pub(super) struct Arguments {
    pub(super) by_place: Vec<Expression>,
    pub(super) by_name: Vec<(String, Expression)>,
    /// A list of further arguments (`*`).
    pub(super) list: Option<Box<Expression>>,
    /// A dict of further arguments (`**`).
    pub(super) dict: Option<Box<Expression>>,
}

/// The target of an assignment.
#[derive(Debug)]
pub(super) enum Target {
    /// A field of a namespace.
    Field(Arc<str>, String),
    Name(Arc<str>),
    Several(Vec<Self>),
}

/// A statement.
#[derive(Debug)]
pub(super) enum Statement {
    Break,
    /// A `call` block: a macro call with a block of text.
    Call {
        caller: Arc<Macro>,
        function: Expression,
        arguments: Arguments,
    },
    Continue,
    Filter(Expression, Vec<Self>),
    For(Arc<For>),
    If {
        branches: Vec<(Expression, Vec<Self>)>,
        otherwise: Vec<Self>,
    },
    Macro(Arc<Macro>),
    Output(Expression),
    /// A block with its own scope.
    Scope(Vec<Self>),
    Set(Target, Expression),
    SetBlock {
        target: Target,
        filter: Option<Expression>,
        body: Vec<Self>,
    },
    Text(String),
    /// A statement that needs other templates, which are not supported.
    Unsupported(&'static str),
    With(Vec<(Target, Expression)>, Vec<Self>),
}

#[derive(Debug)]
pub(super) struct For {
    pub(super) target: Target,
    pub(super) over: Expression,
    pub(super) only: Option<Expression>,
    pub(super) is_recursive: bool,
    pub(super) body: Vec<Statement>,
    pub(super) otherwise: Vec<Statement>,
}

#[derive(Debug)]
pub(super) struct Macro {
    pub(super) name: Arc<str>,
    pub(super) parameters: Vec<(Arc<str>, Option<Expression>)>,
    pub(super) body: Vec<Statement>,
    /// Whether its body uses `varargs`, `kwargs` and `caller`.
    pub(super) takes: [bool; 3],
}
