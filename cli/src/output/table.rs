//! Tables, and lists of properties, as a terminal shows them.
//!
//! A terminal gets what fits its width: ids and long texts are shortened, columns that do not fit are left out and
//! named. Pipes, and every output with `--wide`, get everything.

use super::write;
use crate::error::Failure;
use crate::terminal;
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// What the reader can see.
#[derive(Clone, Copy, Debug)]
struct Surface {
    /// The columns of the terminal; `None` without a limit.
    width: Option<usize>,
    colour: bool,
}

impl Surface {
    fn stdout() -> Self {
        let width = super::is_shortened().then(terminal::columns);
        Self { width, colour: terminal::stdout_takes_colour() }
    }
}

/// Prints rows in columns under their headings.
pub(crate) fn table<const N: usize>(headings: [&str; N], rows: &[[String; N]]) -> Result<(), Failure> {
    write(table_text(headings, rows, Surface::stdout()).as_bytes())
}

/// Prints names and values, with the values aligned.
pub(crate) fn properties(rows: &[(&str, String)]) -> Result<(), Failure> {
    write(properties_text(rows, Surface::stdout()).as_bytes())
}

fn table_text<const N: usize>(headings: [&str; N], rows: &[[String; N]], surface: Surface) -> String {
    let cells: Vec<[String; N]> =
        rows.iter().map(|row| std::array::from_fn(|column| terminal::sanitize_line(&row[column]))).collect();
    let columns: [Column<'_>; N] =
        std::array::from_fn(|at| Column::new(headings[at], cells.iter().map(|row| row[at].as_str())));
    let widths = surface.width.map_or_else(
        || columns.iter().map(|column| Some(column.natural)).collect(),
        |room| fitted(&columns, room),
    );
    let mut text = line(widths.iter().zip(headings).filter_map(|(width, heading)| {
        let heading = width.map(|width| padded(heading, width))?;
        Some(if surface.colour { format!("{BOLD}{heading}{PLAIN}") } else { heading })
    }));
    for row in &cells {
        text += &line(row.iter().zip(&columns).zip(&widths).filter_map(|((cell, column), width)| {
            let cell = padded(&column.shortened(cell, (*width)?), (*width)?);
            let painted = surface.colour && STATE_NAMES.contains(&column.heading);
            Some(if painted { paint(&cell) } else { cell })
        }));
    }
    let hidden: Vec<&str> = widths
        .iter()
        .zip(headings)
        .filter(|(width, _)| width.is_none())
        .map(|(_, heading)| heading)
        .collect();
    if !hidden.is_empty() {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "(not shown: {}; --wide shows all)", hidden.join(", "));
    }
    text
}

/// A column of a table.
struct Column<'h> {
    heading: &'h str,
    /// The width of its widest cell.
    natural: usize,
    /// The length that keeps ids apart, if all cells are ids.
    ids: Option<usize>,
}

impl<'h> Column<'h> {
    fn new<'c>(heading: &'h str, cells: impl Iterator<Item = &'c str> + Clone) -> Self {
        let widest = cells.clone().map(terminal::width).max().unwrap_or_default();
        let ids = cells.clone().next().is_some() && cells.clone().all(|cell| is_id(cell) || cell == "-");
        Self {
            heading,
            natural: widest.max(terminal::width(heading)),
            ids: ids.then(|| distinct_length(&cells.collect())),
        }
    }

    /// Shortens a cell. An id loses its end, which commands do not need. A path keeps its end.
    fn shortened(&self, cell: &str, width: usize) -> String {
        if terminal::width(cell) <= width {
            return cell.to_owned();
        }
        let short: String = match self.ids {
            Some(_) => return cell.chars().take(width).collect(),
            None if cell.starts_with('/') => {
                let reversed: String = cell.chars().rev().collect();
                return format!("…{}", start(&reversed, width - 1).chars().rev().collect::<String>());
            }
            None => start(cell, width - 1),
        };
        format!("{}…", short.trim_end())
    }
}

/// Returns the start of a text that takes at most `width` columns.
fn start(text: &str, width: usize) -> String {
    let mut short = String::new();
    for character in text.chars() {
        short.push(character);
        if terminal::width(&short) > width {
            short.pop();
            break;
        }
    }
    short
}

/// Returns the width of each column in a terminal of `room` columns; `None` where a column has no place.
fn fitted(columns: &[Column<'_>], room: usize) -> Vec<Option<usize>> {
    let mut widths: Vec<Option<usize>> = columns.iter().map(|column| Some(column.natural)).collect();
    let total = |widths: &[Option<usize>]| {
        let shown = widths.iter().flatten();
        shown.clone().sum::<usize>() + GAP.len() * shown.count().saturating_sub(1)
    };
    if total(&widths) > room {
        for (width, column) in widths.iter_mut().zip(columns) {
            *width = column.ids.map_or(*width, |length| Some(length.max(column.heading.len())));
        }
    }
    while total(&widths) > room {
        let cuttable = widths.iter_mut().zip(columns).filter(|(_, column)| column.ids.is_none());
        let widest = cuttable
            .filter_map(|(width, column)| width.as_mut().filter(|width| **width > column.least()))
            .max_by_key(|width| **width);
        match widest {
            Some(width) => *width -= 1,
            None => break,
        }
    }
    // The columns on the right are the least important. The first one names the row.
    for at in (1..widths.len()).rev() {
        if total(&widths) <= room {
            break;
        }
        widths[at] = None;
    }
    widths
}

impl Column<'_> {
    /// Returns the width below which a column is not shortened.
    fn least(&self) -> usize {
        WIDTH_MIN.max(self.heading.len())
    }
}

/// Returns whether a cell is the id of a node, a task or a trace.
fn is_id(cell: &str) -> bool {
    cell.len() >= ID_LENGTH_MIN && cell.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
}

/// Returns the length of the shortest starts that keep ids apart.
fn distinct_length(ids: &BTreeSet<&str>) -> usize {
    let apart = |length: &usize| {
        let starts: BTreeSet<&str> = ids.iter().map(|id| id.get(..*length).unwrap_or(id)).collect();
        starts.len() == ids.len()
    };
    (ID_SHORT..ID_LENGTH_MAX).find(apart).unwrap_or(ID_LENGTH_MAX)
}

fn padded(cell: &str, width: usize) -> String {
    format!("{cell}{}", " ".repeat(width.saturating_sub(terminal::width(cell))))
}

fn line(cells: impl Iterator<Item = String>) -> String {
    format!("{}\n", cells.collect::<Vec<_>>().join(GAP).trim_end())
}

fn properties_text(rows: &[(&str, String)], surface: Surface) -> String {
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or_default() + 1;
    let mut text = String::new();
    for (name, value) in rows {
        let value = terminal::sanitize_line(value);
        let room = surface.width.map(|room| room.saturating_sub(width + GAP.len()).max(WRAP_MIN));
        let mut lines = room.map_or_else(|| vec![value.clone()], |room| wrapped(&value, room));
        if let Some(first) = lines.first_mut().filter(|_| surface.colour && !is_free_text(name)) {
            *first = paint(first);
        }
        let apart = format!("\n{}", " ".repeat(width + GAP.len()));
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{:width$}{GAP}{}", format!("{name}:"), lines.join(&apart));
    }
    text
}

/// Breaks a text between its words, so that no line takes more than `room` columns where words allow it.
pub(crate) fn wrapped(text: &str, room: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let last = lines.len() - 1;
        let line = &mut lines[last];
        if line.is_empty() {
            line.push_str(word);
        } else if terminal::width(line) + 1 + terminal::width(word) <= room {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

/// Wraps the lines of a text to `room`, each below its own beginning. A word that is longer stays whole.
pub(crate) fn wrapped_lines(text: &str, room: usize) -> String {
    let mut fitted = String::new();
    for line in text.lines() {
        let (indent, words) = line.split_at(line.len() - line.trim_start().len());
        for part in wrapped(words, room.saturating_sub(indent.len())) {
            fitted.push_str(indent);
            fitted.push_str(&part);
            fitted.push('\n');
        }
    }
    fitted
}

/// Returns whether users or models wrote the value of a property.
fn is_free_text(name: &str) -> bool {
    ["Input", "Output", "Name", "Label"].contains(&name)
}

/// Paints the state that a text begins with.
fn paint(text: &str) -> String {
    let end = text.find(|c: char| !c.is_ascii_uppercase() && c != '_').unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    match colour_of(word) {
        Some(colour) => format!("{colour}{word}{PLAIN}{rest}"),
        None => text.to_owned(),
    }
}

/// Returns the colour of a state: green if all is well, yellow if it may change, red if somebody should look.
fn colour_of(word: &str) -> Option<&'static str> {
    match word {
        "ACTIVE" | "ALIVE" | "COMPLETED" | "PASS" => Some(GREEN),
        "CANCELLED" | "INITIALIZING" | "QUEUED" | "REGISTERING" | "RUNNING" | "SHUTTING_DOWN" | "SLOW"
        | "WARN" | "WARNING" => Some(YELLOW),
        "CRITICAL" | "DEAD" | "ERROR" | "FAIL" | "FAILED" | "FATAL" | "TIMEOUT" => Some(RED),
        _ => None,
    }
}

const GAP: &str = "  ";
/// Headings of columns that hold states.
const STATE_NAMES: [&str; 5] = ["HEALTH", "LEVEL", "SEVERITY", "STATE", "STATUS"];
/// Numbers and states are shorter, so they are never shortened.
const WIDTH_MIN: usize = 12;
/// Narrower values are not wrapped further.
const WRAP_MIN: usize = 20;
const ID_SHORT: usize = 8;
const ID_LENGTH_MIN: usize = 32;
/// The length of a task id with its hyphens.
const ID_LENGTH_MAX: usize = 36;
const BOLD: &str = "\x1b[1m";
const GREEN: &str = "\x1b[32m";
const YELLOW: &str = "\x1b[33m";
const RED: &str = "\x1b[31m";
const PLAIN: &str = "\x1b[0m";

#[cfg(test)]
mod tests {
    use super::*;

    const HEADINGS: [&str; 5] = ["ID", "STATUS", "SUBMITTED", "HOME", "INPUT"];

    fn rows() -> Vec<[String; 5]> {
        [
            [
                "5d61d9da-1111-4111-8111-010101010101",
                "COMPLETED",
                "3 min ago",
                "/home/anna/.p2p-ai-agents",
                "a cat",
            ],
            [
                "5d61d9db-2222-4222-8222-020202020202",
                "FAILED",
                "12 min ago",
                "/srv/nodes/second",
                "the quick brown fox jumps over the dog",
            ],
        ]
        .map(|row| row.map(str::to_owned))
        .to_vec()
    }

    fn drawn(width: Option<usize>) -> String {
        table_text(HEADINGS, &rows(), Surface { width, colour: false })
    }

    #[test]
    fn a_pipe_gets_everything() {
        let text = drawn(None);
        assert!(text.contains("5d61d9db-2222-4222-8222-020202020202  FAILED "), "{text}");
        assert!(text.ends_with("the quick brown fox jumps over the dog\n"), "{text}");
    }

    #[test]
    fn tables_fit_eighty_and_sixty_columns() {
        let (eighty, sixty) = (drawn(Some(80)), drawn(Some(60)));
        assert_eq!(
            eighty,
            "\
ID        STATUS     SUBMITTED   HOME                     INPUT
5d61d9da  COMPLETED  3 min ago   …me/anna/.p2p-ai-agents  a cat
5d61d9db  FAILED     12 min ago  /srv/nodes/second        the quick brown fox j…
"
        );
        assert_eq!(
            sixty,
            "\
ID        STATUS     SUBMITTED   HOME           INPUT
5d61d9da  COMPLETED  3 min ago   …2p-ai-agents  a cat
5d61d9db  FAILED     12 min ago  …nodes/second  the quick b…
"
        );
        for (text, room) in [(eighty, 80), (sixty, 60), (drawn(Some(50)), 50)] {
            assert!(text.lines().all(|line| terminal::width(line) <= room), "{text}");
        }
    }

    #[test]
    fn a_narrow_terminal_names_the_columns_that_it_does_not_show() {
        let text = drawn(Some(40));
        assert_eq!(text.lines().next(), Some("ID        STATUS     SUBMITTED"));
        assert!(text.ends_with("(not shown: HOME, INPUT; --wide shows all)\n"), "{text}");
    }

    #[test]
    fn short_ids_stay_distinct() {
        let rows = ["aaaaaaaabbbbbbbbccccccccdddddd01", "aaaaaaaabbbbbbbbccccccccdddddd02", "-"];
        let rows = rows.map(|id| [id.to_owned(), "a text that is far too long".to_owned()]);
        let text = table_text(["ID", "INPUT"], &rows, Surface { width: Some(50), colour: false });
        assert!(text.contains("dddddd01") && text.contains("dddddd02"), "{text}");
    }

    #[test]
    fn states_have_colours_and_texts_of_users_have_none() {
        let rows = [["FAILED".to_owned(), "FAILED is what I typed".to_owned()]];
        let text = table_text(["STATUS", "INPUT"], &rows, Surface { width: None, colour: true });
        assert!(text.contains("\x1b[31mFAILED\x1b[0m  FAILED is"), "{text}");
        let rows = [("Memory", "PASS 66 of 512 MB".to_owned()), ("Input", "PASS it".to_owned())];
        let text = properties_text(&rows, Surface { width: None, colour: true });
        assert_eq!(text, "Memory:  \x1b[32mPASS\x1b[0m 66 of 512 MB\nInput:   PASS it\n");
    }

    #[test]
    fn wide_characters_count_twice_and_escapes_are_replaced() {
        let rows = [["日本語の長い名前です、とても長い".to_owned(), "\x1b[2J".to_owned()]];
        let text = table_text(["NAME", "NOTE"], &rows, Surface { width: Some(24), colour: false });
        assert!(text.lines().all(|line| terminal::width(line) <= 24), "{text}");
        assert!(text.contains("…") && !text.contains('\x1b'), "{text}");
    }

    #[test]
    fn sentences_are_wrapped_below_their_own_beginning() {
        let text = "id\n  one two three\n\n  a/word/that/is/long end\n";
        let expected = "id\n  one two\n  three\n\n  a/word/that/is/long\n  end\n";
        assert_eq!(wrapped_lines(text, 10), expected);
        assert_eq!(wrapped_lines(text, 80), text);
    }

    #[test]
    fn long_values_continue_under_their_start() {
        let rows = [("Models", "one (embedding, loaded), two (generation, loaded)".to_owned())];
        let text = properties_text(&rows, Surface { width: Some(40), colour: false });
        assert_eq!(text, "Models:  one (embedding, loaded), two\n         (generation, loaded)\n");
    }
}
