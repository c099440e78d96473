//! What a template is made of.

use std::sync::Arc;

/// Something that has a value.
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
    /// A filter; of the text of a block where it has no value of its own.
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

/// What something is called with.
#[derive(Debug, Default)]
pub(super) struct Arguments {
    pub(super) by_place: Vec<Expression>,
    pub(super) by_name: Vec<(String, Expression)>,
    /// A list of further ones.
    pub(super) list: Option<Box<Expression>>,
    /// A dict of further ones.
    pub(super) dict: Option<Box<Expression>>,
}

/// What a value is given to.
#[derive(Debug)]
pub(super) enum Target {
    /// A field of a namespace.
    Field(Arc<str>, String),
    Name(Arc<str>),
    Several(Vec<Self>),
}

/// A part of a template.
#[derive(Debug)]
pub(super) enum Statement {
    Break,
    /// A macro that is called with a block of text.
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
    /// A part with names of its own.
    Scope(Vec<Self>),
    Set(Target, Expression),
    SetBlock {
        target: Target,
        filter: Option<Expression>,
        body: Vec<Self>,
    },
    Text(String),
    /// What needs other templates, of which there are none.
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
    /// Whether its text asks for further arguments, by place and by name, and for the text of a caller.
    pub(super) takes: [bool; 3],
}
