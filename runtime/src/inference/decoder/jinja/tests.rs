//! Compares with transformers' output, for templates that use every construct of real templates.

use super::*;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// The templates with Jinja2's output; `scripts/templates.py` made them.
const ROWS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/templates.json");

#[derive(Deserialize)]
struct Rows {
    chat: Argument,
    tools: Argument,
    rows: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    template: String,
    /// Whether its arguments include tools.
    tools: bool,
    /// `None` if Jinja2 fails.
    text: Option<String>,
}

impl<'de> Deserialize<'de> for Argument {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Argument;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any value")
            }

            fn visit_bool<E>(self, truth: bool) -> Result<Argument, E> {
                Ok(Argument::Bool(truth))
            }

            fn visit_str<E>(self, text: &str) -> Result<Argument, E> {
                Ok(Argument::String(text.to_owned()))
            }

            fn visit_unit<E>(self) -> Result<Argument, E> {
                Ok(Argument::None)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Argument, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Argument::Dict(entries))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Argument, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = list.next_element()? {
                    items.push(item);
                }
                Ok(Argument::List(items))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

fn names(of: &Argument) -> Vec<(String, Argument)> {
    let Argument::Dict(entries) = of else { panic!("{of:?}") };
    entries.clone()
}

#[test]
fn every_template_writes_what_jinja2_does_or_is_refused_where_it_refuses() {
    let Rows { chat, tools, rows } = serde_json::from_slice(&std::fs::read(ROWS).unwrap()).unwrap();
    assert!(rows.len() > 500);
    let mut wrong = Vec::new();
    for Row { template, tools: with_tools, text } in rows {
        let found = Template::parse(&template);
        let found = found.and_then(|it| it.render(names(if with_tools { &tools } else { &chat })));
        if found.as_ref().ok() != text.as_ref() {
            wrong.push(format!("{template:?}\n  writes {found:?}\n  not    {text:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} templates differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn a_panic_of_the_interpreter_is_an_error() {
    let error = with_room(|| -> Result<(), String> { panic!("index {} of 0", 7) }).unwrap_err();
    assert_eq!(error, "the template makes its interpreter panic: index 7 of 0");
}

#[test]
fn what_does_not_end_or_grows_without_end_is_stopped() {
    let deep = |open: &str, close: &str| format!("{{{{ {}1{} }}}}", open.repeat(5000), close.repeat(5000));
    let cases = [
        ("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}".to_owned(), "fuel"),
        ("{% for a in range(9999) %}{{ 'x' * 9999 }}{% endfor %}".to_owned(), "bytes"),
        ("{{ 'x' * 99999999 }}".to_owned(), "bytes"),
        ("{{ [0] * 99999999 }}".to_owned(), "fuel"),
        ("{{ '%999999999d' % 1 }}".to_owned(), "padded by"),
        ("{{ '%*d' % (99999999999999999999, 1) }}".to_owned(), "padded by"),
        ("{{ '%0*d' % (99999999999999999999, 1) }}".to_owned(), "padded by"),
        ("{{ '%0*x' % (-99999999999999999999, 1) }}".to_owned(), "padded by"),
        ("{{ '{:999999999}'.format(1) }}".to_owned(), "padded by"),
        ("{{ '{:0=99999999999999999999}'.format(1) }}".to_owned(), "padded by"),
        ("{{ 'a' | center(99999999999999999999) }}".to_owned(), "padded by"),
        ("{{ 'a'.center(99999999999999999999) }}".to_owned(), "padded by"),
        ("{{ 'a'.rjust(9999999) }}".to_owned(), "padded by"),
        ("{{ 'a'.zfill(99999999999999999999) }}".to_owned(), "padded by"),
        ("{{ 'a' | indent(99999999999999999999) }}".to_owned(), "padded by"),
        ("{{ [1] | tojson(indent=99999999999999999999) }}".to_owned(), "padded by"),
        ("{{ 'a\\tb'.expandtabs(99999999999999999999) }}".to_owned(), "bytes"),
        ("{{ '%.65536f' % 1 }}".to_owned(), "precision"),
        ("{{ '%.99999999999999999999g' % 1 }}".to_owned(), "precision"),
        ("{{ '%.*e' % (65536, 1) }}".to_owned(), "precision"),
        ("{{ '{:.65536%}'.format(1) }}".to_owned(), "precision"),
        ("{{ '{:.65535}'.format(0.00012) }}".to_owned(), "precision"),
        ("{{ [1] | slice(99999999999999999999) }}".to_owned(), "slice of"),
        ("{{ [1] | batch(99999999999999999999, 0) }}".to_owned(), "batch of"),
        (format!("{{{{ {} | round(-1) }}}}", i128::MAX), "too large"),
        (format!("{{{{ {} | round(-38) }}}}", i128::MAX), "too large"),
        (format!("{{{{ (-{} - 1) | abs }}}}", i128::MAX), "too large"),
        (format!("{{{{ (-{} - 1) // -1 }}}}", i128::MAX), "too large"),
        (format!("{{{{ range(-{0}, {0}, 2) }}}}", i128::MAX), "range too big"),
        (format!("{{{{ range(0, -{} - 1, -1) }}}}", i128::MAX), "range too big"),
        ("{{ 1e300 | int }}".to_owned(), "too large"),
        ("{{ '1e300' | int }}".to_owned(), "too large"),
        ("{{ '%d' % 1e300 }}".to_owned(), "too large"),
        (format!("{{{{ '{}{}'.format(1) }}}}", "{0:{0}".repeat(30_000), "}".repeat(30_000)), "recursion"),
        ("{{ ('x' * 9999).replace('x', 'y' * 9999) }}".to_owned(), "bytes"),
        ("{% set ns = namespace(t=['x' * 4000000]) %}{% for a in range(9999) %}{% set ns.t = ns.t + ['x' * 4000000] %}{% endfor %}".to_owned(), "fuel"),
        ("{% set t = ['x' * 4000000] %}{% for a in range(9999) %}{% if t | string %}{% endif %}{% endfor %}".to_owned(), "fuel"),
        ("{% set t = ['x' * 4000000] %}{% for a in range(9999) %}{% if t | trim %}{% endif %}{% endfor %}".to_owned(), "fuel"),
        ("{% set t = 'x' * 4000000 %}{% for a in range(9999) %}{% for c in t %}{% break %}{% endfor %}{% endfor %}".to_owned(), "fuel"),
        ("{% set t = 'x' * 4000000 %}{% set a, b = t %}".to_owned(), "unpack"),
        ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}".to_owned(), "recursion"),
        ("{% for a in [1] recursive %}{{ loop([1]) }}{% endfor %}".to_owned(), "recursion"),
        (deep("(", ")"), "deeply"),
        (deep("[", "]"), "deeply"),
        (deep("-", ""), "deeply"),
        (deep("not ", ""), "deeply"),
        (deep("1 + ", ""), "deeply"),
        (deep("1 or ", ""), "deeply"),
        (deep("", " | abs"), "deeply"),
        (deep("", ".a"), "deeply"),
        (deep("", " if 1"), "deeply"),
        ("{% if 1 %}".repeat(5000), "deeply"),
        ("{{ 99999999999999999999999999999999999999 * 99 }}".to_owned(), "large"),
        ("{{ 2 ** 999999 }}".to_owned(), "large"),
    ];
    for (template, reason) in cases {
        let found = Template::parse(&template).and_then(|it| it.render(Vec::new()));
        match found {
            Err(error) => {
                assert!(
                    error.contains(reason),
                    "{error} for {}",
                    template.chars().take(80).collect::<String>()
                );
            }
            Ok(text) => panic!("{} bytes of {template:?}", text.len()),
        }
    }
}
