//! The monitor as a screen: drawn anew at each look and whenever the terminal changes; `q`, Esc or Ctrl-C leave it.

use super::sample::{Observer, Sample};
use crate::error::Failure;
use crate::output;
use engine::heartbeat::Liveness;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyModifiers};
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Paragraph, Row, Sparkline, Table};
use ratatui::{DefaultTerminal, Frame};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Shows the node until somebody leaves, the time is over, or the node does not answer.
pub(super) async fn run(
    observer: &mut Observer,
    interval: Duration,
    until: Option<Instant>,
) -> Result<(), Failure> {
    // The first look comes first: what goes wrong with it is said on the terminal as it was.
    let first = observer.look().await?;
    let mut terminal = ratatui::try_init()?;
    let shown = show(&mut terminal, observer, first, interval, until).await;
    ratatui::restore();
    shown
}

async fn show(
    terminal: &mut DefaultTerminal,
    observer: &mut Observer,
    mut sample: Sample,
    interval: Duration,
    until: Option<Instant>,
) -> Result<(), Failure> {
    let mut history = VecDeque::new();
    loop {
        remember(&mut history, &sample);
        terminal.draw(|frame| draw(frame, &sample, &history))?;
        let next = Instant::now() + interval;
        while Instant::now() < next {
            if until.is_some_and(|until| Instant::now() >= until) {
                return Ok(());
            }
            match wait(next)? {
                Wish::Leave => return Ok(()),
                Wish::Redraw => drop(terminal.draw(|frame| draw(frame, &sample, &history))?),
                Wish::None => {}
            }
        }
        sample = observer.look().await?;
    }
}

enum Wish {
    Leave,
    None,
    Redraw,
}

/// Waits a little for a key.
fn wait(next: Instant) -> Result<Wish, Failure> {
    let left = next.saturating_duration_since(Instant::now()).min(KEY_WAIT);
    if !event::poll(left)? {
        return Ok(Wish::None);
    }
    #[allow(clippy::wildcard_enum_match_arm, reason = "a mouse has nothing to do here")]
    Ok(match event::read()? {
        Event::Key(key) => {
            let interrupt = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
            let leaves = interrupt || matches!(key.code, KeyCode::Char('q') | KeyCode::Esc);
            if leaves { Wish::Leave } else { Wish::None }
        }
        Event::Resize(..) => Wish::Redraw,
        _ => Wish::None,
    })
}

fn remember(history: &mut VecDeque<u64>, sample: &Sample) {
    // A decimal of a task counts as well.
    history.push_back((sample.tasks_per_second * 10.0).round().max(0.0) as u64);
    if history.len() > HISTORY_MAX {
        history.pop_front();
    }
}

fn draw(frame: &mut Frame<'_>, sample: &Sample, history: &VecDeque<u64>) {
    let peers = u16::try_from(sample.peers.len()).unwrap_or(u16::MAX).clamp(1, PEERS_SHOWN_MAX);
    let heights =
        [Constraint::Length(4), Constraint::Length(4), Constraint::Length(peers + 3), Constraint::Min(3)];
    let [head, work, middle, bottom] = Layout::vertical(heights).areas(frame.area());
    frame.render_widget(Paragraph::new(head_lines(sample)).block(block(" p2p-ai-agents ")), head);
    let [numbers, curve] =
        Layout::horizontal([Constraint::Percentage(60), Constraint::Percentage(40)]).areas(work);
    frame.render_widget(Paragraph::new(work_lines(sample)).block(block(" tasks of this node ")), numbers);
    let newest: Vec<u64> = history.iter().copied().collect();
    let newest = &newest[newest.len().saturating_sub(usize::from(curve.width.saturating_sub(2)))..];
    frame.render_widget(Sparkline::default().data(newest.iter().copied()).block(block(" tasks/s ")), curve);
    draw_peers(frame, middle, sample);
    let room = usize::from(bottom.height.saturating_sub(2));
    let events: Vec<Line<'_>> = sample.events[sample.events.len().saturating_sub(room)..]
        .iter()
        .map(|event| Line::styled(event.as_str(), event_style(event)))
        .collect();
    frame.render_widget(
        Paragraph::new(events).block(block(" what happens ").title_bottom(" q leaves ")),
        bottom,
    );
}

fn head_lines(sample: &Sample) -> Vec<Line<'_>> {
    let up = sample.uptime_ms.map_or_else(|| "-".to_owned(), output::duration);
    vec![
        Line::from(vec![
            Span::raw("node "),
            Span::styled(&sample.node_id, bold()),
            Span::raw(format!("  {}  network {:?}", sample.version, sample.network)),
        ]),
        Line::from(vec![
            Span::styled(sample.state.to_string(), bold()),
            Span::raw(format!(" for {up}")),
            Span::raw(format!(
                "   memory {} MB   CPU {:.1} % of a core",
                sample.memory_bytes >> 20,
                sample.cpu_percent
            )),
        ]),
    ]
}

fn work_lines(sample: &Sample) -> Vec<Line<'_>> {
    let millis = |time: Option<u64>| time.map_or_else(|| "-".to_owned(), |time| format!("{time} ms"));
    vec![
        Line::from(format!(
            "{:.1} done a second   {} queued   {} running",
            sample.tasks_per_second, sample.tasks_queued, sample.tasks_running
        )),
        Line::from(format!(
            "from acceptance to result: median {}, p99 {}",
            millis(sample.latency_ms_median),
            millis(sample.latency_ms_p99)
        )),
    ]
}

fn draw_peers(frame: &mut Frame<'_>, area: ratatui::layout::Rect, sample: &Sample) {
    let title = format!(" {} peers, {} members ", sample.peers.len(), sample.members);
    let rows = sample.peers.iter().map(|peer| {
        let (state, colour) = match peer.liveness {
            Liveness::Alive => ("ALIVE", Color::Green),
            Liveness::Slow => ("SLOW", Color::Yellow),
            Liveness::Dead => ("DEAD", Color::Red),
        };
        let trip = peer.round_trip_ms.map_or_else(|| "-".to_owned(), |millis| format!("{millis:.2} ms"));
        Row::new([
            peer.id.to_string(),
            peer.address.to_string(),
            output::duration(peer.connected_ms),
            format!("{}/{}", peer.messages_in, peer.messages_out),
            trip,
            state.to_owned(),
        ])
        .style(Style::new().fg(colour))
    });
    let widths = [34, 22, 10, 16, 12, 6].map(Constraint::Length);
    let head = Row::new(["ID", "ADDRESS", "CONNECTED", "MESSAGES IN/OUT", "ROUND TRIP", "STATE"]);
    frame.render_widget(Table::new(rows, widths).header(head.style(bold())).block(block(&title)), area);
}

fn block(title: &str) -> Block<'_> {
    Block::bordered().title(title)
}

fn bold() -> Style {
    Style::new().add_modifier(Modifier::BOLD)
}

fn event_style(event: &str) -> Style {
    let level = event.split_whitespace().nth(1).unwrap_or_default();
    Style::new().fg(match level {
        "WARN" => Color::Yellow,
        "ERROR" | "FATAL" => Color::Red,
        _ => Color::Reset,
    })
}

const KEY_WAIT: Duration = Duration::from_millis(100);
const HISTORY_MAX: usize = 512;
const PEERS_SHOWN_MAX: u16 = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use engine::lifecycle::State;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    fn sample() -> Sample {
        Sample {
            timestamp: "2026-01-31T12:00:00.000Z".to_owned(),
            node_id: "35cd10d577f8303202919d71c4459b7e".to_owned(),
            version: "0.1.0".to_owned(),
            network: "local".to_owned(),
            state: State::Active,
            uptime_ms: Some(61_000),
            peers: Vec::new(),
            members: 1,
            tasks_queued: 2,
            tasks_running: 4,
            tasks_per_second: 12.5,
            latency_ms_median: Some(8),
            latency_ms_p99: Some(31),
            memory_bytes: 60 << 20,
            cpu_percent: 3.25,
            events: vec!["2026-01-31T12:00:00.000Z INFO  lifecycle: state changed".to_owned()],
        }
    }

    fn screen(width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, &sample(), &VecDeque::from([1, 5, 125]))).unwrap();
        terminal.backend().to_string()
    }

    #[test]
    fn what_somebody_sees() {
        insta::assert_snapshot!(screen(100, 20));
    }

    #[test]
    fn a_small_terminal_is_no_reason_to_fail() {
        for (width, height) in [(1, 1), (3, 2), (20, 5), (400, 3)] {
            screen(width, height);
        }
    }
}
