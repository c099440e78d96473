//! Splits a template into tokens: text, and the contents of tags.
//!
//! White space is as in transformers (`trim_blocks`, `lstrip_blocks`): the first newline after a block, the white space
//! before a block on its line, and a newline at the end are removed.

/// A token.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    /// Literal text.
    Text(String),
    BlockBegin,
    BlockEnd,
    VariableBegin,
    VariableEnd,
    Name(String),
    String(String),
    Integer(i128),
    Float(f64),
    Operator(&'static str),
    End,
}

/// Splits a source into tokens with their lines.
///
/// # Errors
/// Returns the syntax error with its line.
pub(super) fn tokens(source: &str) -> Result<Vec<(Token, usize)>, String> {
    let mut source = source.replace("\r\n", "\n").replace('\r', "\n");
    if source.ends_with('\n') {
        source.pop();
    }
    let mut lexer = Lexer { source: &source, at: 0, tokens: Vec::new(), begins_line: true, counted: (0, 1) };
    lexer.run()?;
    lexer.push(Token::End);
    Ok(lexer.tokens)
}

struct Lexer<'s> {
    source: &'s str,
    at: usize,
    tokens: Vec<(Token, usize)>,
    /// Whether the last text ended with a newline.
    begins_line: bool,
    /// The position up to which lines are counted, and its line.
    counted: (usize, usize),
}

impl Lexer<'_> {
    fn run(&mut self) -> Result<(), String> {
        while let Some((at, mark)) = self.next_mark() {
            let text = &self.source[self.at..at];
            let raw = if mark == "{%" { raw_begin(&self.source[at..]) } else { None };
            let sign = self.source[at + 2..].chars().next().filter(|sign| matches!(sign, '-' | '+'));
            let text = self.stripped(text, sign, mark == "{{").to_owned();
            if !text.is_empty() {
                self.push(Token::Text(text));
            }
            self.at = at + 2 + sign.map_or(0, char::len_utf8);
            self.begins_line = false;
            match mark {
                "{#" => self.skip_comment()?,
                "{%" => match raw {
                    Some(len) => self.raw(at + len)?,
                    None => {
                        self.push(Token::BlockBegin);
                        self.tag(true)?;
                    }
                },
                _ => {
                    self.push(Token::VariableBegin);
                    self.tag(false)?;
                }
            }
        }
        let rest = &self.source[self.at..];
        if !rest.is_empty() {
            let rest = rest.to_owned();
            self.push(Token::Text(rest));
        }
        Ok(())
    }

    fn push(&mut self, token: Token) {
        let line = self.line();
        self.tokens.push((token, line));
    }

    /// Returns the current line.
    fn line(&mut self) -> usize {
        let (from, line) = self.counted;
        let at = self.at.max(from);
        let lines = self.source.as_bytes()[from..at].iter().filter(|byte| **byte == b'\n').count();
        self.counted = (at, line + lines);
        line + lines
    }

    fn next_mark(&self) -> Option<(usize, &'static str)> {
        let mut from = self.at;
        loop {
            let at = from + self.source[from..].find('{')?;
            match self.source.as_bytes().get(at + 1) {
                Some(b'%') => return Some((at, "{%")),
                Some(b'{') => return Some((at, "{{")),
                Some(b'#') => return Some((at, "{#")),
                _ => from = at + 1,
            }
        }
    }

    /// Returns the text before a tag, without white space that is removed.
    fn stripped<'t>(&self, text: &'t str, sign: Option<char>, is_variable: bool) -> &'t str {
        match sign {
            Some('-') => text.trim_end_matches(is_space),
            Some(_) => text,
            None if is_variable => text,
            None => {
                let line = text.rfind('\n').map_or(0, |at| at + 1);
                let is_blank = !text[line..].is_empty() && text[line..].chars().all(is_space);
                if is_blank && (line > 0 || self.begins_line) { &text[..line] } else { text }
            }
        }
    }

    fn skip_comment(&mut self) -> Result<(), String> {
        let Some(len) = self.source[self.at..].find("#}") else {
            return Err(format!("syntax error in line {}: a comment does not end", self.line()));
        };
        let sign = self.source[self.at..self.at + len].chars().last();
        self.at += len + 2;
        self.skip_after(sign.filter(|sign| matches!(sign, '-' | '+')), true);
        Ok(())
    }

    /// Skips the white space that is removed after a tag.
    fn skip_after(&mut self, sign: Option<char>, is_block: bool) {
        let rest = &self.source[self.at..];
        let skipped = match sign {
            Some('-') => rest.len() - rest.trim_start_matches(is_space).len(),
            None if is_block && rest.starts_with('\n') => 1,
            _ => 0,
        };
        self.begins_line = rest[..skipped].ends_with('\n');
        self.at += skipped;
    }

    /// Reads the text of a `raw` block.
    fn raw(&mut self, start: usize) -> Result<(), String> {
        self.at = start;
        let mut from = start;
        loop {
            let Some(len) = self.source[from..].find("{%") else {
                return Err(format!("syntax error in line {}: raw text does not end", self.line()));
            };
            let at = from + len;
            let inner = &self.source[at + 2..];
            let sign = inner.chars().next().filter(|sign| matches!(sign, '-' | '+'));
            let inner = inner[sign.map_or(0, char::len_utf8)..].trim_start_matches(is_space);
            let rest = inner.strip_prefix("endraw").map(|rest| rest.trim_start_matches(is_space));
            let end = rest.and_then(|rest| {
                let (sign, rest) = match rest.chars().next()? {
                    sign @ ('-' | '+') => (Some(sign), &rest[1..]),
                    _ => (None, rest),
                };
                Some((sign, rest.strip_prefix("%}")?.len()))
            });
            let Some((end_sign, left)) = end else {
                from = at + 2;
                continue;
            };
            let text = self.stripped(&self.source[start..at], sign, false).to_owned();
            if !text.is_empty() {
                self.push(Token::Text(text));
            }
            self.at = self.source.len() - left;
            self.skip_after(end_sign, true);
            return Ok(());
        }
    }

    /// Reads the contents of a tag.
    fn tag(&mut self, is_block: bool) -> Result<(), String> {
        let end = if is_block { "%}" } else { "}}" };
        let mut open: Vec<char> = Vec::new();
        loop {
            let rest = &self.source[self.at..];
            let trimmed = rest.trim_start_matches(is_space);
            self.at += rest.len() - trimmed.len();
            let rest = trimmed;
            let Some(first) = rest.chars().next() else {
                return Err(format!("syntax error in line {}: a tag does not end", self.line()));
            };
            if open.is_empty() {
                let sign = Some(first).filter(|sign| *sign == '-' || (*sign == '+' && is_block));
                let sign = sign.filter(|_| rest[1..].starts_with(end));
                if sign.is_some() || rest.starts_with(end) {
                    self.push(if is_block { Token::BlockEnd } else { Token::VariableEnd });
                    self.at += 2 + sign.map_or(0, char::len_utf8);
                    self.skip_after(sign, is_block);
                    return Ok(());
                }
            }
            let (token, len) = match first {
                '0'..='9' => self.number(rest)?,
                '\'' | '"' => self.string(rest, first)?,
                first if first == '_' || first.is_alphabetic() => {
                    let len = rest.find(|letter: char| letter != '_' && !letter.is_alphanumeric());
                    let name = &rest[..len.unwrap_or(rest.len())];
                    (Token::Name(name.to_owned()), name.len())
                }
                _ => self.operator(rest, &mut open)?,
            };
            self.push(token);
            self.at += len;
        }
    }

    fn operator(&mut self, rest: &str, open: &mut Vec<char>) -> Result<(Token, usize), String> {
        let Some(operator) = OPERATORS.iter().find(|operator| rest.starts_with(**operator)) else {
            let odd = rest.chars().next().unwrap_or_default();
            return Err(format!("syntax error in line {}: unexpected character {odd:?}", self.line()));
        };
        match *operator {
            "(" => open.push(')'),
            "[" => open.push(']'),
            "{" => open.push('}'),
            ")" | "]" | "}" if open.pop().map(String::from).as_deref() != Some(*operator) => {
                return Err(format!("syntax error in line {}: unexpected {operator:?}", self.line()));
            }
            _ => {}
        }
        Ok((Token::Operator(operator), operator.len()))
    }

    fn number(&mut self, rest: &str) -> Result<(Token, usize), String> {
        let wrong = |it: &mut Self| {
            format!("syntax error in line {}: a number that is too large, or none", it.line())
        };
        for (prefix, base) in [("0x", 16), ("0X", 16), ("0o", 8), ("0O", 8), ("0b", 2), ("0B", 2)] {
            if let Some(digits) = rest.strip_prefix(prefix) {
                let len = digits.find(|digit: char| digit != '_' && !digit.is_digit(base));
                let digits = &digits[..len.unwrap_or(digits.len())];
                let number = i128::from_str_radix(&digits.replace('_', ""), base).map_err(|_| wrong(self))?;
                return Ok((Token::Integer(number), 2 + digits.len()));
            }
        }
        let digits = |text: &str| {
            text.find(|digit: char| digit != '_' && !digit.is_ascii_digit()).unwrap_or(text.len())
        };
        let whole = digits(rest);
        let mut len = whole;
        let after_dot = self.source[..self.at].ends_with('.');
        let fraction = rest[len..].strip_prefix('.').filter(|_| !after_dot).map_or(0, digits);
        if fraction > 0 {
            len += 1 + fraction;
        }
        if let Some(exponent) = rest[len..].strip_prefix(['e', 'E']).filter(|_| !after_dot) {
            let sign = usize::from(exponent.starts_with(['+', '-']));
            let count = digits(&exponent[sign..]);
            if count > 0 {
                len += 1 + sign + count;
            }
        }
        let text = rest[..len].replace('_', "");
        let token = if len == whole {
            Token::Integer(text.parse().map_err(|_| wrong(self))?)
        } else {
            Token::Float(text.parse().map_err(|_| wrong(self))?)
        };
        Ok((token, len))
    }

    fn string(&mut self, rest: &str, quote: char) -> Result<(Token, usize), String> {
        let mut escaped = false;
        for (at, letter) in rest.char_indices().skip(1) {
            if escaped {
                escaped = false;
            } else if letter == '\\' {
                escaped = true;
            } else if letter == quote {
                return Ok((Token::String(unescaped(&rest[1..at])?), at + 1));
            }
        }
        Err(format!("syntax error in line {}: a text does not end", self.line()))
    }
}

/// Returns the length of the start of a `raw` block, if it is one.
fn raw_begin(tag: &str) -> Option<usize> {
    let inner = &tag[2..];
    let inner = inner.strip_prefix(['-', '+']).unwrap_or(inner);
    let rest = inner.trim_start_matches(is_space).strip_prefix("raw")?.trim_start_matches(is_space);
    if let Some(after) = rest.strip_prefix("-%}") {
        return Some(tag.len() - after.trim_start_matches(is_space).len());
    }
    rest.strip_prefix("%}").map(|after| tag.len() - after.len())
}

/// Unescapes a string literal like Python.
fn unescaped(text: &str) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let Some(letter) = rest.chars().next() else { break };
        let after = &rest[letter.len_utf8()..];
        let (shown, len) = match letter {
            'n' => (Some('\n'), 0),
            't' => (Some('\t'), 0),
            'r' => (Some('\r'), 0),
            'a' => (Some('\u{7}'), 0),
            'b' => (Some('\u{8}'), 0),
            'f' => (Some('\u{c}'), 0),
            'v' => (Some('\u{b}'), 0),
            '\\' | '\'' | '"' => (Some(letter), 0),
            '\n' => (None, 0),
            'x' => (Some(by_code(after, 2, 16)?), 2),
            'u' => (Some(by_code(after, 4, 16)?), 4),
            'U' => (Some(by_code(after, 8, 16)?), 8),
            '0'..='7' => {
                let len = rest.bytes().take(3).take_while(|digit| (b'0'..=b'7').contains(digit)).count();
                (Some(by_code(rest, len, 8)?), len - 1)
            }
            other => {
                out.push('\\');
                (Some(other), 0)
            }
        };
        out.extend(shown);
        rest = &after[len..];
    }
    out.push_str(rest);
    Ok(out)
}

fn by_code(digits: &str, len: usize, base: u32) -> Result<char, String> {
    let code = digits.get(..len).and_then(|digits| u32::from_str_radix(digits, base).ok());
    code.and_then(char::from_u32).ok_or_else(|| "an escape that is no character".to_owned())
}

/// Tells whether a character is white space in Python.
pub(super) fn is_space(letter: char) -> bool {
    letter.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&letter)
}

/// The operators, longer ones first.
const OPERATORS: [&str; 25] = [
    "//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[", "]", "(", ")", "{", "}", ">", "<",
    "=", ".", ":", "|", ",",
];
