//! Parses expressions by Jinja's grammar.

use super::ast::{Arguments, Comparison, Constant, Expression};
use super::lexer::Token;
use super::parser::{DEPTH_MAX, Parsed, Parser};

impl Parser {
    /// Parses an expression, or a tuple without parentheses.
    pub(super) fn tuple(&mut self, with_condition: bool, ends: &[&str]) -> Parsed<Expression> {
        let mut items = Vec::new();
        let mut is_tuple = false;
        loop {
            let at_end = matches!(self.current(), Token::VariableEnd | Token::BlockEnd)
                || self.is(")")
                || ends.iter().any(|end| self.is_name(end));
            if at_end && (is_tuple || !items.is_empty()) {
                break;
            }
            items.push(if with_condition { self.expression()? } else { self.deeper(Self::or)? });
            if !self.skip(",") {
                break;
            }
            is_tuple = true;
        }
        match (is_tuple, items.pop()) {
            (false, Some(item)) => Ok(item),
            (_, last) => {
                items.extend(last);
                Ok(Expression::Tuple(items))
            }
        }
    }

    pub(super) fn expression(&mut self) -> Parsed<Expression> {
        self.deeper(|it| {
            let mut yes = it.or()?;
            let mut count = 0;
            while it.skip_name("if") {
                count += 1;
                it.check_depth(count)?;
                let test = Box::new(it.or()?);
                let no = if it.skip_name("else") { Some(Box::new(it.expression()?)) } else { None };
                yes = Expression::Condition { test, yes: Box::new(yes), no };
            }
            Ok(yes)
        })
    }

    pub(super) fn or(&mut self) -> Parsed<Expression> {
        self.chain("or", Self::and, Expression::Or)
    }

    fn and(&mut self) -> Parsed<Expression> {
        self.chain("and", Self::not, Expression::And)
    }

    fn chain(
        &mut self,
        word: &str,
        operand: fn(&mut Self) -> Parsed<Expression>,
        join: fn(Box<Expression>, Box<Expression>) -> Expression,
    ) -> Parsed<Expression> {
        let mut left = operand(self)?;
        let mut count = 0;
        while self.skip_name(word) {
            count += 1;
            self.check_depth(count)?;
            left = join(Box::new(left), Box::new(operand(self)?));
        }
        Ok(left)
    }

    /// Counts each operand of a chain as one level of depth.
    pub(super) fn check_depth(&self, count: usize) -> Parsed<()> {
        if self.depth + count > DEPTH_MAX {
            return Err(self.wrong("it is nested too deeply"));
        }
        Ok(())
    }

    fn not(&mut self) -> Parsed<Expression> {
        if self.skip_name("not") {
            return self.deeper(Self::not).map(|of| Expression::Not(Box::new(of)));
        }
        self.compare()
    }

    fn compare(&mut self) -> Parsed<Expression> {
        let first = self.sum()?;
        let mut others = Vec::new();
        loop {
            let comparison = match self.current() {
                Token::Operator("==") => Comparison::Equal,
                Token::Operator("!=") => Comparison::NotEqual,
                Token::Operator("<") => Comparison::Less,
                Token::Operator("<=") => Comparison::LessOrEqual,
                Token::Operator(">") => Comparison::Greater,
                Token::Operator(">=") => Comparison::GreaterOrEqual,
                Token::Name(name) if name == "in" => Comparison::In,
                Token::Name(name) if name == "not" && *self.following() == Token::Name("in".to_owned()) => {
                    self.at += 1;
                    Comparison::NotIn
                }
                _ if others.is_empty() => return Ok(first),
                _ => return Ok(Expression::Compare(Box::new(first), others)),
            };
            self.at += 1;
            others.push((comparison, self.sum()?));
        }
    }

    fn binary(
        &mut self,
        operators: &[&'static str],
        operand: fn(&mut Self) -> Parsed<Expression>,
    ) -> Parsed<Expression> {
        let mut left = operand(self)?;
        let mut count = 0;
        while let Some(operator) = operators.iter().find(|operator| self.is(operator)) {
            self.at += 1;
            count += 1;
            self.check_depth(count)?;
            left = Expression::Binary(operator, Box::new(left), Box::new(operand(self)?));
        }
        Ok(left)
    }

    fn sum(&mut self) -> Parsed<Expression> {
        self.binary(&["+", "-"], Self::concatenation)
    }

    fn concatenation(&mut self) -> Parsed<Expression> {
        let first = self.product()?;
        if !self.is("~") {
            return Ok(first);
        }
        let mut parts = vec![first];
        while self.skip("~") {
            parts.push(self.product()?);
        }
        Ok(Expression::Concatenate(parts))
    }

    fn product(&mut self) -> Parsed<Expression> {
        self.binary(&["*", "/", "//", "%"], Self::power)
    }

    fn power(&mut self) -> Parsed<Expression> {
        self.binary(&["**"], |it| it.unary(true))
    }

    fn unary(&mut self, with_filter: bool) -> Parsed<Expression> {
        let mut of = if self.skip("-") {
            Expression::Negative(Box::new(self.deeper(|it| it.unary(false))?))
        } else if self.skip("+") {
            Expression::Positive(Box::new(self.deeper(|it| it.unary(false))?))
        } else {
            self.primary()?
        };
        let mut count = 0;
        loop {
            count += 1;
            self.check_depth(count)?;
            of = if self.skip(".") {
                match self.next() {
                    Token::Name(name) => Expression::Attribute(Box::new(of), name),
                    Token::Integer(number) => {
                        let number = Expression::Constant(Constant::Integer(number));
                        Expression::Item(Box::new(of), Box::new(number))
                    }
                    _ => return Err(self.wrong("expected a name")),
                }
            } else if self.skip("[") {
                self.subscript(of)?
            } else if self.is("(") {
                let arguments = self.arguments()?;
                Expression::Call(Box::new(of), arguments)
            } else {
                break;
            };
        }
        loop {
            if !with_filter {
                break;
            }
            count += 1;
            self.check_depth(count)?;
            of = if self.skip("|") {
                let (name, arguments) = self.filter()?;
                Expression::Filter(Some(Box::new(of)), name, arguments)
            } else if self.skip_name("is") {
                self.test(of)?
            } else if self.is("(") {
                let arguments = self.arguments()?;
                Expression::Call(Box::new(of), arguments)
            } else {
                break;
            };
        }
        Ok(of)
    }

    fn dotted(&mut self) -> Parsed<String> {
        let mut name = self.name()?;
        while self.skip(".") {
            name.push('.');
            name.push_str(&self.name()?);
        }
        Ok(name)
    }

    pub(super) fn filter(&mut self) -> Parsed<(String, Arguments)> {
        let name = self.dotted()?;
        let arguments = if self.is("(") { self.arguments()? } else { Arguments::default() };
        Ok((name, arguments))
    }

    fn test(&mut self, of: Expression) -> Parsed<Expression> {
        let negated = self.skip_name("not");
        let name = self.dotted()?;
        let mut arguments = Arguments::default();
        let has_one = match self.current() {
            Token::Name(name) => {
                !["else", "or", "and", "if", "is"].contains(&name.as_str()) && name != "not" && name != "in"
            }
            Token::String(_) | Token::Integer(_) | Token::Float(_) => true,
            Token::Operator(operator) => ["[", "{"].contains(operator),
            _ => false,
        };
        if self.is("(") {
            arguments = self.arguments()?;
        } else if has_one {
            arguments.by_place.push(self.deeper(|it| it.unary(false))?);
        }
        let test = Expression::Test(Box::new(of), name, arguments);
        Ok(if negated { Expression::Not(Box::new(test)) } else { test })
    }

    fn subscript(&mut self, of: Expression) -> Parsed<Expression> {
        let mut parts: [Option<Box<Expression>>; 3] = [None, None, None];
        let mut at = 0;
        let mut is_slice = false;
        while !self.skip("]") {
            if self.skip(":") {
                is_slice = true;
                at += 1;
                if at > 2 {
                    return Err(self.wrong("a slice has three parts at most"));
                }
            } else if parts[at].is_none() {
                parts[at] = Some(Box::new(self.expression()?));
                if self.skip(",") {
                    let mut items: Vec<Expression> = parts[at].take().map(|item| *item).into_iter().collect();
                    while !self.is("]") {
                        items.push(self.expression()?);
                        if !self.skip(",") {
                            break;
                        }
                    }
                    parts[at] = Some(Box::new(Expression::Tuple(items)));
                }
            } else {
                return Err(self.wrong("expected ]"));
            }
        }
        match (is_slice, parts) {
            (true, parts) => Ok(Expression::Slice(Box::new(of), parts)),
            (false, [Some(item), ..]) => Ok(Expression::Item(Box::new(of), item)),
            (false, _) => Err(self.wrong("expected a subscript")),
        }
    }

    fn arguments(&mut self) -> Parsed<Arguments> {
        let mut arguments = Arguments::default();
        self.expect("(")?;
        let mut is_first = true;
        while !self.skip(")") {
            if !is_first {
                self.expect(",")?;
                if self.skip(")") {
                    break;
                }
            }
            is_first = false;
            if self.skip("**") {
                arguments.dict = Some(Box::new(self.expression()?));
            } else if self.skip("*") {
                arguments.list = Some(Box::new(self.expression()?));
            } else if let (Token::Name(name), Token::Operator("=")) = (self.current(), self.following()) {
                let name = name.clone();
                self.at += 2;
                arguments.by_name.push((name, self.expression()?));
            } else if arguments.by_name.is_empty() && arguments.dict.is_none() {
                arguments.by_place.push(self.expression()?);
            } else {
                return Err(self.wrong("an argument by place after one by name"));
            }
        }
        Ok(arguments)
    }

    fn primary(&mut self) -> Parsed<Expression> {
        Ok(match self.next() {
            Token::Name(name) => match name.as_str() {
                "true" | "True" => Expression::Constant(Constant::Bool(true)),
                "false" | "False" => Expression::Constant(Constant::Bool(false)),
                "none" | "None" => Expression::Constant(Constant::None),
                _ => {
                    let wanted = ["varargs", "kwargs", "caller"].iter().position(|wanted| *wanted == name);
                    if let (Some(wanted), Some(takes)) = (wanted, self.takes.last_mut()) {
                        takes[wanted] = true;
                    }
                    Expression::Name(name.into())
                }
            },
            Token::String(mut text) => {
                while let Token::String(more) = self.current() {
                    text.push_str(more);
                    self.at += 1;
                }
                Expression::Constant(Constant::String(text.into()))
            }
            Token::Integer(number) => Expression::Constant(Constant::Integer(number)),
            Token::Float(number) => Expression::Constant(Constant::Float(number)),
            Token::Operator("(") => {
                if self.skip(")") {
                    return Ok(Expression::Tuple(Vec::new()));
                }
                let inner = self.tuple(true, &[])?;
                self.expect(")")?;
                inner
            }
            Token::Operator("[") => {
                let mut items = Vec::new();
                while !self.skip("]") {
                    if !items.is_empty() {
                        self.expect(",")?;
                        if self.skip("]") {
                            break;
                        }
                    }
                    items.push(self.expression()?);
                }
                Expression::List(items)
            }
            Token::Operator("{") => {
                let mut items = Vec::new();
                while !self.skip("}") {
                    if !items.is_empty() {
                        self.expect(",")?;
                        if self.skip("}") {
                            break;
                        }
                    }
                    let key = self.expression()?;
                    self.expect(":")?;
                    items.push((key, self.expression()?));
                }
                Expression::Dict(items)
            }
            _ => {
                self.at -= 1;
                return Err(self.wrong("expected an expression"));
            }
        })
    }
}
