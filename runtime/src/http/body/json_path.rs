//! Path of a position in a JSON text, for error messages.

use std::fmt::Write as _;
use std::ops::Range;

/// Returns the path of the value at the end of the first `end` bytes, such as `messages[2].content`; empty for the
/// whole text. The text may be malformed after these bytes.
pub(super) fn path_at(json: &[u8], end: usize) -> String {
    let end = end.min(json.len());
    let mut levels: Vec<Level> = Vec::new();
    let mut at = 0;
    while at < end {
        match json[at] {
            b'{' => levels.push(Level::Object { name: None, is_name: true }),
            b'[' => levels.push(Level::List(0)),
            b'}' | b']' => drop(levels.pop()),
            b',' => match levels.last_mut() {
                Some(Level::List(index)) => *index += 1,
                Some(Level::Object { name, is_name }) => (*name, *is_name) = (None, true),
                None => {}
            },
            b':' => {
                if let Some(Level::Object { is_name, .. }) = levels.last_mut() {
                    *is_name = false;
                }
            }
            b'"' => {
                let text = at + 1..end_of_text(json, at + 1, end);
                at = text.end;
                if let Some(Level::Object { name, is_name: true }) = levels.last_mut() {
                    *name = Some(text);
                }
            }
            _ => {}
        }
        if levels.len() > LEVELS_MAX {
            return String::new();
        }
        at += 1;
    }
    let mut path = String::new();
    for level in levels {
        match level {
            Level::List(index) => {
                let _ = write!(path, "[{index}]");
            }
            Level::Object { name: Some(name), .. } => {
                let dot = if path.is_empty() { "" } else { "." };
                let name = String::from_utf8_lossy(&json[name]);
                path.push_str(dot);
                path.extend(name.chars().filter(|c| !c.is_control()).take(NAME_CHARS_SHOWN));
            }
            Level::Object { name: None, .. } => {}
        }
    }
    path.truncate(path.floor_char_boundary(PATH_BYTES_MAX));
    path
}

/// Returns the byte offset of a line and column, both counted from 1.
pub(super) fn offset(json: &[u8], line: usize, column: usize) -> usize {
    let lines = json.split_inclusive(|byte| *byte == b'\n');
    lines.take(line.saturating_sub(1)).map(<[u8]>::len).sum::<usize>().saturating_add(column)
}

/// An open object or list.
enum Level {
    List(usize),
    Object {
        /// Position of the last name, within its quotes.
        name: Option<Range<usize>>,
        /// Whether a name comes next, not a value.
        is_name: bool,
    },
}

/// Returns the position of the closing quote of a string, or `end`.
fn end_of_text(json: &[u8], begin: usize, end: usize) -> usize {
    let mut at = begin;
    while at < end && json[at] != b'"' {
        at += if json[at] == b'\\' { 2 } else { 1 };
    }
    at.min(end)
}

/// serde_json has the same limit.
const LEVELS_MAX: usize = 128;
/// Maximum bytes of a path in an error.
const PATH_BYTES_MAX: usize = 200;
/// Maximum characters of a name in an error.
const NAME_CHARS_SHOWN: usize = 60;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_named_by_what_leads_to_it() {
        for (json, path) in [
            (r#"{"input": ["a", "b,]", "c"#, "input[2]"),
            (
                r#"{"messages": [{"role": "user"}, {"role": "user", "content": [{"text": "\"}"#,
                "messages[1].content[0].text",
            ),
            (r#"{"a": [1, 2], "b": -1"#, "b"),
            (r#"{"a": {"b": 1}, "#, ""),
            (r#"{"a": [[], ["#, "a[1][0]"),
            ("[", "[0]"),
            ("", ""),
            ("}}]]", ""),
        ] {
            assert_eq!(path_at(json.as_bytes(), json.len()), path, "{json}");
        }
        assert_eq!(path_at("[".repeat(10_000).as_bytes(), 10_000), "");
        assert_eq!(path_at(b"{\"a\\", 99), "a\\");
    }

    #[test]
    fn lines_and_columns_are_counted_in_bytes() {
        let json = "{\n\"é\": \n7}";
        assert_eq!(offset(json.as_bytes(), 1, 1), 1);
        assert_eq!(offset(json.as_bytes(), 3, 1), json.len() - 1);
        assert_eq!(offset(json.as_bytes(), 99, 1), json.len() + 1);
    }
}
