//! Parses statements by Jinja's grammar.

use super::ast::{Expression, For, Macro, Statement, Target};
use super::lexer::Token;
use std::sync::Arc;

pub(super) type Parsed<T> = Result<T, String>;

/// Parses a template.
///
/// # Errors
/// Returns the syntax error with its line.
pub(super) fn parse(tokens: Vec<(Token, usize)>) -> Parsed<Vec<Statement>> {
    let mut parser = Parser { tokens, at: 0, depth: 0, takes: Vec::new(), loops: 0 };
    let body = parser.statements(&[])?;
    match parser.current() {
        Token::End => Ok(body),
        _ => Err(parser.wrong("unexpected end of a block")),
    }
}

pub(super) struct Parser {
    tokens: Vec<(Token, usize)>,
    pub(super) at: usize,
    /// The current nesting depth.
    pub(super) depth: usize,
    /// The uses of `varargs`, `kwargs` and `caller` in each enclosing macro.
    pub(super) takes: Vec<[bool; 3]>,
    /// The enclosing loops within the innermost macro.
    loops: usize,
}

impl Parser {
    pub(super) fn current(&self) -> &Token {
        &self.tokens[self.at.min(self.tokens.len() - 1)].0
    }

    pub(super) fn following(&self) -> &Token {
        &self.tokens[(self.at + 1).min(self.tokens.len() - 1)].0
    }

    pub(super) fn wrong(&self, what: &str) -> String {
        format!("syntax error in line {}: {what}", self.tokens[self.at.min(self.tokens.len() - 1)].1)
    }

    pub(super) fn next(&mut self) -> Token {
        let token = self.current().clone();
        self.at += 1;
        token
    }

    pub(super) fn is(&self, operator: &str) -> bool {
        matches!(self.current(), Token::Operator(found) if *found == operator)
    }

    pub(super) fn is_name(&self, name: &str) -> bool {
        matches!(self.current(), Token::Name(found) if found == name)
    }

    pub(super) fn skip(&mut self, operator: &str) -> bool {
        let found = self.is(operator);
        self.at += usize::from(found);
        found
    }

    pub(super) fn skip_name(&mut self, name: &str) -> bool {
        let found = self.is_name(name);
        self.at += usize::from(found);
        found
    }

    pub(super) fn expect(&mut self, operator: &str) -> Parsed<()> {
        if self.skip(operator) { Ok(()) } else { Err(self.wrong(&format!("expected {operator:?}"))) }
    }

    fn expect_name(&mut self, name: &str) -> Parsed<()> {
        if self.skip_name(name) { Ok(()) } else { Err(self.wrong(&format!("expected {name:?}"))) }
    }

    pub(super) fn name(&mut self) -> Parsed<String> {
        match self.next() {
            Token::Name(name) => Ok(name),
            _ => {
                self.at -= 1;
                Err(self.wrong("expected a name"))
            }
        }
    }

    fn block_end(&mut self) -> Parsed<()> {
        if *self.current() != Token::BlockEnd {
            return Err(self.wrong("expected the end of the tag"));
        }
        self.at += 1;
        Ok(())
    }

    pub(super) fn deeper<T>(&mut self, parse: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.depth >= DEPTH_MAX {
            return Err(self.wrong("it is nested too deeply"));
        }
        self.depth += 1;
        let parsed = parse(self);
        self.depth -= 1;
        parsed
    }

    /// Parses statements up to a block with one of these names, which is not consumed.
    fn statements(&mut self, ends: &[&str]) -> Parsed<Vec<Statement>> {
        let mut statements = Vec::new();
        loop {
            match self.current() {
                Token::End if ends.is_empty() => return Ok(statements),
                Token::End => {
                    return Err(
                        self.wrong(&format!("the template ends where {} is needed", ends.join(" or ")))
                    );
                }
                Token::Text(text) => {
                    statements.push(Statement::Text(text.clone()));
                    self.at += 1;
                }
                Token::VariableBegin => {
                    self.at += 1;
                    let shown = self.tuple(true, &[])?;
                    if *self.current() != Token::VariableEnd {
                        return Err(self.wrong("expected }}"));
                    }
                    self.at += 1;
                    statements.push(Statement::Output(shown));
                }
                Token::BlockBegin => {
                    if let Token::Name(name) = self.following()
                        && ends.contains(&name.as_str())
                    {
                        return Ok(statements);
                    }
                    self.at += 1;
                    let statement = self.deeper(Self::statement)?;
                    statements.push(statement);
                }
                _ => return Err(self.wrong("unexpected token")),
            }
        }
    }

    /// Parses the body of a block, and consumes its end.
    fn body(&mut self, end: &str) -> Parsed<Vec<Statement>> {
        self.block_end()?;
        let body = self.statements(&[end])?;
        self.at += 2;
        if end == "endblock" && matches!(self.current(), Token::Name(_)) {
            self.at += 1;
        }
        self.block_end()?;
        Ok(body)
    }

    fn statement(&mut self) -> Parsed<Statement> {
        let name = self.name()?;
        match name.as_str() {
            "autoescape" => {
                self.expression()?;
                self.body("endautoescape").map(Statement::Scope)
            }
            "block" => {
                self.name()?;
                while self.skip_name("scoped") || self.skip_name("required") {}
                self.body("endblock").map(Statement::Scope)
            }
            "break" | "continue" if self.loops == 0 => Err(self.wrong(&format!("{name} outside a loop"))),
            "break" => self.block_end().map(|()| Statement::Break),
            "call" => self.call(),
            "continue" => self.block_end().map(|()| Statement::Continue),
            "filter" => {
                let filter = self.filters_of_block()?;
                self.body("endfilter").map(|body| Statement::Filter(filter, body))
            }
            "for" => self.for_loop(),
            // Marks the model's output for training; no effect here.
            "generation" => self.body("endgeneration").map(Statement::Scope),
            "if" => self.condition(),
            "extends" | "from" | "import" | "include" => {
                while !matches!(self.current(), Token::BlockEnd | Token::End) {
                    self.at += 1;
                }
                self.block_end()?;
                Ok(Statement::Unsupported("it needs another template, and there is none"))
            }
            "macro" => {
                let name: Arc<str> = self.name()?.into();
                let parameters = self.signature()?;
                self.macro_of(name, parameters, "endmacro").map(|it| Statement::Macro(Arc::new(it)))
            }
            "set" => self.set(),
            "with" => {
                let mut given = Vec::new();
                while *self.current() != Token::BlockEnd {
                    if !given.is_empty() {
                        self.expect(",")?;
                    }
                    let target = self.target(false)?;
                    self.expect("=")?;
                    given.push((target, self.expression()?));
                }
                self.body("endwith").map(|body| Statement::With(given, body))
            }
            other => {
                self.at -= 1;
                Err(self.wrong(&format!("unknown tag {other:?}")))
            }
        }
    }

    fn call(&mut self) -> Parsed<Statement> {
        let parameters = if self.is("(") { self.signature()? } else { Vec::new() };
        let Expression::Call(function, arguments) = self.expression()? else {
            return Err(self.wrong("expected a call"));
        };
        let caller = Arc::new(self.macro_of("caller".into(), parameters, "endcall")?);
        Ok(Statement::Call { caller, function: *function, arguments })
    }

    fn macro_of(
        &mut self,
        name: Arc<str>,
        parameters: Vec<(Arc<str>, Option<Expression>)>,
        end: &str,
    ) -> Parsed<Macro> {
        self.takes.push([false; 3]);
        let loops = std::mem::take(&mut self.loops);
        let body = self.body(end);
        self.loops = loops;
        let takes = self.takes.pop().unwrap_or_default();
        Ok(Macro { name, parameters, body: body?, takes })
    }

    fn signature(&mut self) -> Parsed<Vec<(Arc<str>, Option<Expression>)>> {
        let mut parameters = Vec::new();
        self.expect("(")?;
        while !self.skip(")") {
            if !parameters.is_empty() {
                self.expect(",")?;
            }
            let name = self.name()?.into();
            let default = if self.skip("=") { Some(self.expression()?) } else { None };
            parameters.push((name, default));
        }
        Ok(parameters)
    }

    fn for_loop(&mut self) -> Parsed<Statement> {
        let target = self.target(false)?;
        self.expect_name("in")?;
        let over = self.tuple(false, &["recursive"])?;
        let only = if self.skip_name("if") { Some(self.expression()?) } else { None };
        let is_recursive = self.skip_name("recursive");
        self.block_end()?;
        self.loops += 1;
        let body = self.statements(&["endfor", "else"]);
        self.loops -= 1;
        let body = body?;
        self.at += 1;
        let otherwise = if self.skip_name("else") { self.body("endfor")? } else { Vec::new() };
        if self.skip_name("endfor") {
            self.block_end()?;
        }
        Ok(Statement::For(Arc::new(For { target, over, only, is_recursive, body, otherwise })))
    }

    fn condition(&mut self) -> Parsed<Statement> {
        let mut branches = Vec::new();
        loop {
            let test = self.tuple(false, &[])?;
            self.block_end()?;
            let body = self.statements(&["elif", "else", "endif"])?;
            branches.push((test, body));
            self.at += 1;
            if self.skip_name("elif") {
                continue;
            }
            let otherwise = if self.skip_name("else") { self.body("endif")? } else { Vec::new() };
            if self.skip_name("endif") {
                self.block_end()?;
            }
            return Ok(Statement::If { branches, otherwise });
        }
    }

    fn set(&mut self) -> Parsed<Statement> {
        let target = self.target(true)?;
        if self.skip("=") {
            let value = self.tuple(true, &[])?;
            self.block_end()?;
            return Ok(Statement::Set(target, value));
        }
        let filter = if self.skip("|") { Some(self.filters_of_block()?) } else { None };
        let body = self.body("endset")?;
        Ok(Statement::SetBlock { target, filter, body })
    }

    /// Parses the filters of a block.
    fn filters_of_block(&mut self) -> Parsed<Expression> {
        let mut filter = None;
        let mut count = 0;
        loop {
            count += 1;
            self.check_depth(count)?;
            let (name, arguments) = self.filter()?;
            let whole = Expression::Filter(filter.map(Box::new), name, arguments);
            if !self.skip("|") {
                return Ok(whole);
            }
            filter = Some(whole);
        }
    }

    fn target(&mut self, with_fields: bool) -> Parsed<Target> {
        let mut targets = Vec::new();
        let mut is_several = false;
        loop {
            if self.skip("(") {
                targets.push(self.deeper(|it| it.target(false))?);
                self.expect(")")?;
            } else {
                let name: Arc<str> = self.name()?.into();
                if CONSTANTS.contains(&&*name) {
                    return Err(self.wrong(&format!("{name} cannot be set")));
                }
                if with_fields && self.skip(".") {
                    return Ok(Target::Field(name, self.name()?));
                }
                targets.push(Target::Name(name));
            }
            if !self.skip(",") {
                break;
            }
            is_several = true;
            if self.is_name("in") || self.is("=") || self.is(")") {
                break;
            }
        }
        if let (false, Some(_)) = (is_several, targets.first()) {
            return targets.pop().ok_or_else(|| self.wrong("expected a name"));
        }
        Ok(Target::Several(targets))
    }
}

/// The names of literals.
const CONSTANTS: [&str; 6] = ["true", "false", "none", "True", "False", "None"];
/// The maximum nesting depth of a template.
pub(super) const DEPTH_MAX: usize = 120;
