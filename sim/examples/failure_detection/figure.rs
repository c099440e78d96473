//! Draws the measurements: two panels over the loss rate, one line per loss model.
//!
//! Plain SVG with its own background, so that it is readable on light and dark pages.

use super::Row;
use std::fmt::Write as _;

/// Returns the figure as an SVG document.
pub(crate) fn svg(rows: &[Row], seeds: u64) -> String {
    let mut svg = String::new();
    let panels = [
        Panel {
            left: 60.0,
            title: "silent death: gone everywhere after (s), median and latest",
            top: 20.0,
            step: 5.0,
            goal: 15.0,
            curves: |row| vec![row.median_s, row.latest_s],
        },
        Panel {
            left: 440.0,
            title: "live peers taken for dead in 1000 heartbeats",
            top: 2.5,
            step: 0.5,
            goal: 1.0,
            curves: |row| vec![row.false_deaths_per_mille],
        },
    ];
    // Writing to a string does not fail.
    let _ = write!(
        svg,
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 780 330" font-family="sans-serif" font-size="11">
<rect width="780" height="330" fill="#ffffff"/>
<text x="60" y="20" font-size="13">Failure detection by rate of loss ({seeds} seeds of {} nodes a point)</text>
"##,
        super::NODES
    );
    for panel in &panels {
        panel.draw(&mut svg, rows);
    }
    for (n, (colour, name)) in
        COLOURS.iter().zip(["heartbeats stay lost", "heartbeats are sent again, as by TCP"]).enumerate()
    {
        let x = 60 + 170 * n;
        let _ = writeln!(
            svg,
            r#"<path d="M{x} 318h18" stroke="{colour}" stroke-width="2"/><text x="{}" y="322">{name}</text>"#,
            x + 24
        );
    }
    let _ = writeln!(svg, r##"<path d="M480 318h18" {GOAL}/><text x="504" y="322">goal at 5 % loss</text>"##);
    svg.push_str("</svg>\n");
    svg
}

struct Panel {
    left: f64,
    title: &'static str,
    /// The value at the upper edge, and the distance between grid lines.
    top: f64,
    step: f64,
    goal: f64,
    curves: fn(&Row) -> Vec<f64>,
}

impl Panel {
    fn draw(&self, svg: &mut String, rows: &[Row]) {
        let _ = writeln!(svg, r#"<text x="{}" y="44">{}</text>"#, self.left, self.title);
        let lines = (self.top / self.step).round() as u32;
        for line in 0..=lines {
            let value = f64::from(line) * self.step;
            let y = self.y(value);
            let _ = writeln!(
                svg,
                r##"<path d="M{} {y:.1}h{WIDTH}" stroke="#dddddd"/><text x="{}" y="{:.1}" text-anchor="end">{value}</text>"##,
                self.left,
                self.left - 6.0,
                y + 4.0
            );
        }
        for percent in [0, 5, 10, 15, 20] {
            let x = self.x(percent);
            let _ = writeln!(svg, r#"<text x="{x:.1}" y="296" text-anchor="middle">{percent} %</text>"#);
        }
        let _ = writeln!(svg, r#"<path d="M{} {:.1}h{WIDTH}" {GOAL}/>"#, self.left, self.y(self.goal));
        for (retransmission, colour) in [false, true].into_iter().zip(COLOURS) {
            let rows: Vec<_> = rows.iter().filter(|row| row.retransmission == retransmission).collect();
            for curve in 0..(self.curves)(rows[0]).len() {
                let points: Vec<_> = rows
                    .iter()
                    .map(|row| format!("{:.1},{:.1}", self.x(row.percent), self.y((self.curves)(row)[curve])))
                    .collect();
                let _ = writeln!(
                    svg,
                    r#"<polyline points="{}" fill="none" stroke="{colour}" stroke-width="2"/>"#,
                    points.join(" ")
                );
            }
        }
    }

    fn x(&self, percent: u32) -> f64 {
        self.left + f64::from(percent) / 20.0 * WIDTH
    }

    fn y(&self, value: f64) -> f64 {
        280.0 - value.min(self.top) / self.top * 220.0
    }
}

const WIDTH: f64 = 300.0;
const COLOURS: [&str; 2] = ["#c0392b", "#2471a3"];
const GOAL: &str = r##"stroke="#27ae60" stroke-dasharray="5 4""##;
