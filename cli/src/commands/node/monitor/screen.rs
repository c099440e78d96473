//! The monitor as a screen, redrawn at each refresh, key press and resize. `q`, Esc or Ctrl-C quit. The terminal is
//! restored afterwards, also after a panic.
//!
//! A node that does not answer is polled again, so a restart can be watched.

use super::sample::{Observer, Sample};
use crate::commands::node_names;
use crate::error::Failure;
use crate::output;
use engine::heartbeat::Liveness;
use engine::lifecycle::State;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Paragraph, Row, Sparkline, Table};
use ratatui::{DefaultTerminal, Frame};
use std::collections::VecDeque;
use std::pin::pin;
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::sleep_until;

/// Shows the node until the user quits or the duration has passed.
pub(super) async fn run(
    mut observer: Observer,
    interval: Duration,
    until: Option<Instant>,
) -> Result<(), Failure> {
    // Take the first sample before the screen starts, so that its error shows on the normal terminal.
    let first = observer.sample().await?;
    let mut terminal = ratatui::try_init().inspect_err(|_| ratatui::restore())?;
    let shown = show(&mut terminal, observer, first, interval, until).await;
    ratatui::restore();
    shown
}

async fn show(
    terminal: &mut DefaultTerminal,
    observer: Observer,
    first: Sample,
    interval: Duration,
    until: Option<Instant>,
) -> Result<(), Failure> {
    let mut screen = Screen::new(first);
    let (mut keys, mut terminate) = (keys(), signal(SignalKind::terminate())?);
    let end = async {
        match until {
            Some(until) => sleep_until(until.into()).await,
            None => std::future::pending().await,
        }
    };
    let mut end = pin!(end);
    // A slow refresh does not block the keys, and a key does not cancel a refresh.
    let mut next_sample = Box::pin(sample_at(observer, Instant::now() + interval));
    loop {
        terminal.draw(|frame| screen.draw(frame))?;
        tokio::select! {
            biased;
            action = keys.recv() => match action {
                Some(Action::Redraw) => {}
                Some(Action::Quit) | None => return Ok(()),
            },
            _ = terminate.recv() => return Ok(()),
            () = &mut end => return Ok(()),
            (observer, sampled) = &mut next_sample => {
                screen.take(sampled);
                next_sample = Box::pin(sample_at(observer, Instant::now() + interval));
            }
        }
    }
}

async fn sample_at(mut observer: Observer, when: Instant) -> (Observer, Result<Sample, Failure>) {
    sleep_until(when.into()).await;
    let sampled = observer.sample_again().await;
    (observer, sampled)
}

enum Action {
    Quit,
    Redraw,
}

/// Reads keys on a thread of its own, which ends soon after the receiver is dropped.
fn keys() -> mpsc::Receiver<Action> {
    let (sender, receiver) = mpsc::channel(KEYS_MAX);
    std::thread::spawn(move || {
        while !sender.is_closed() {
            let action = match event::poll(KEY_POLL_INTERVAL)
                .and_then(|is_there| is_there.then(event::read).transpose())
            {
                Ok(Some(event)) => action(&event),
                Ok(None) => None,
                // Without a terminal there is nobody to watch.
                Err(_) => Some(Action::Quit),
            };
            if action.is_some_and(|action| sender.blocking_send(action).is_err()) {
                return;
            }
        }
    });
    receiver
}

fn action(event: &Event) -> Option<Action> {
    match event {
        Event::Key(key) if key.kind == KeyEventKind::Press => {
            let interrupt = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
            let leaves = interrupt || matches!(key.code, KeyCode::Char('q' | 'Q') | KeyCode::Esc);
            leaves.then_some(Action::Quit)
        }
        Event::Resize(..) => Some(Action::Redraw),
        Event::FocusGained | Event::FocusLost | Event::Key(_) | Event::Mouse(_) | Event::Paste(_) => None,
    }
}

/// The content of the screen: the last sample and the history of earlier ones.
struct Screen {
    sample: Sample,
    /// The error of the last refresh.
    error: Option<String>,
    /// Tenths of tasks per second, newest last.
    rates: VecDeque<u64>,
    events: VecDeque<String>,
}

impl Screen {
    fn new(first: Sample) -> Self {
        let events = first.events.iter().cloned().collect();
        Self { sample: first, error: None, rates: VecDeque::new(), events }
    }

    fn take(&mut self, sampled: Result<Sample, Failure>) {
        match sampled {
            Ok(sample) => {
                self.rates.push_back((sample.tasks_per_second * 10.0).round().max(0.0) as u64);
                self.events.extend(sample.events.iter().cloned());
                (self.sample, self.error) = (sample, None);
            }
            Err(failure) => self.error = Some(failure.message().to_owned()),
        }
        self.rates.drain(..self.rates.len().saturating_sub(RATES_MAX));
        self.events.drain(..self.events.len().saturating_sub(EVENTS_MAX));
    }

    fn draw(&self, frame: &mut Frame<'_>) {
        let peers = u16::try_from(self.sample.peers.len()).unwrap_or(u16::MAX).clamp(1, PEERS_SHOWN_MAX);
        let heights =
            [Constraint::Length(4), Constraint::Length(5), Constraint::Length(peers + 3), Constraint::Min(3)];
        let [head, work, middle, bottom] = Layout::vertical(heights).areas(frame.area());
        frame.render_widget(Paragraph::new(self.head()).block(block(" p2p-ai-agents ")), head);
        let [numbers, curve] =
            Layout::horizontal([Constraint::Percentage(60), Constraint::Percentage(40)]).areas(work);
        frame.render_widget(Paragraph::new(self.work()).block(block(" tasks ")), numbers);
        let room = usize::from(curve.width.saturating_sub(2));
        let newest = self.rates.iter().skip(self.rates.len().saturating_sub(room));
        frame.render_widget(Sparkline::default().data(newest.copied()).block(block(" tasks/s ")), curve);
        self.draw_peers(frame, middle);
        let room = usize::from(bottom.height.saturating_sub(2));
        let events = self.events.iter().skip(self.events.len().saturating_sub(room));
        let events: Vec<Line<'_>> = events.map(|event| event_line(event)).collect();
        let events_block = block(" events ").title_bottom(Line::from(" q quits ").right_aligned());
        frame.render_widget(Paragraph::new(events).block(events_block), bottom);
    }

    fn head(&self) -> Vec<Line<'_>> {
        let sample = &self.sample;
        let mut first = Vec::new();
        if !sample.name.is_empty() {
            first.push(Span::styled(sample.name.as_str(), bold()));
            first.push(Span::raw("  "));
        }
        first.push(Span::raw(sample.node_id.as_str()));
        first.push(Span::raw(format!("  {}  network {:?}", sample.version, sample.network)));
        if let Some(error) = &self.error {
            let text = format!("{error}; retrying");
            return vec![Line::from(first), Line::styled(text, bold().fg(Color::Red))];
        }
        let colour = match sample.state {
            State::Active => Color::Green,
            State::Initializing | State::Registering | State::ShuttingDown | State::Stopped => Color::Yellow,
        };
        let health = sample.health.as_deref().unwrap_or("not checked yet");
        let up = sample.uptime_ms.map_or_else(|| "-".to_owned(), output::duration);
        let rest =
            format!("  memory {} MB  CPU {:.1} % of a core", sample.memory_bytes >> 20, sample.cpu_percent);
        let second = vec![
            Span::styled(sample.state.to_string(), bold().fg(colour)),
            Span::raw(format!(" for {up}  health ")),
            Span::styled(health, Style::new().fg(health_colour(health))),
            Span::raw(rest),
        ];
        vec![Line::from(first), Line::from(second)]
    }

    fn work(&self) -> Vec<Line<'_>> {
        let sample = &self.sample;
        let millis = |time: Option<u64>| time.map_or_else(|| "-".to_owned(), |time| format!("{time} ms"));
        let (median, p99) = (millis(sample.latency_ms_median), millis(sample.latency_ms_p99));
        vec![
            Line::from(format!(
                "{:.1} tasks/s  {} queued  {} running",
                sample.tasks_per_second, sample.tasks_queued, sample.tasks_running
            )),
            Line::from(format!("latency: median {median}, p99 {p99}")),
            Line::from(format!("running here: {}", sample.running_here)),
        ]
    }

    fn draw_peers(&self, frame: &mut Frame<'_>, area: Rect) {
        let sample = &self.sample;
        let peers = sample.peers.len();
        let title = format!(
            " {peers} {}, {} {} ",
            if peers == 1 { "peer" } else { "peers" },
            sample.members,
            if sample.members == 1 { "member" } else { "members" }
        );
        if sample.peers.is_empty() {
            return frame.render_widget(Paragraph::new("No connected peers").block(block(&title)), area);
        }
        let rows = sample.peers.iter().map(|peer| {
            let (state, colour) = match peer.liveness {
                // Nothing is known since the node stopped answering.
                _ if self.error.is_some() => ("-", Color::DarkGray),
                Liveness::Alive => ("ALIVE", Color::Green),
                Liveness::Slow => ("SLOW", Color::Yellow),
                Liveness::Dead => ("DEAD", Color::Red),
            };
            let trip = peer.round_trip_ms.map_or_else(|| "-".to_owned(), |millis| format!("{millis:.2} ms"));
            let cells = [
                state.to_owned(),
                trip,
                format!("{}/{}", peer.messages_in, peer.messages_out),
                output::duration(peer.connected_ms),
                node_names::label(&peer.name, peer.id),
                peer.address.to_string(),
                node_names::short(peer.id),
            ];
            Row::new(cells).style(Style::new().fg(colour))
        });
        let widths = [5, 10, 15, 9, 12, 21, 8].map(Constraint::Length);
        let head = Row::new(["STATE", "ROUND TRIP", "MESSAGES IN/OUT", "CONNECTED", "NAME", "ADDRESS", "ID"]);
        let table = Table::new(rows, widths).column_spacing(2).header(head.style(bold()));
        frame.render_widget(table.block(block(&title)), area);
    }
}

/// Formats an event with its time of day.
fn event_line(event: &str) -> Line<'_> {
    let (at, rest) = event.split_once(' ').unwrap_or(("", event));
    let time = at.split_once('T').map_or(at, |(_, time)| time.split('.').next().unwrap_or(time));
    let colour = match rest.split_whitespace().next().unwrap_or_default() {
        "WARN" => Color::Yellow,
        "ERROR" | "FATAL" => Color::Red,
        _ => Color::Reset,
    };
    Line::from(vec![Span::raw(time), Span::raw(" "), Span::styled(rest, Style::new().fg(colour))])
}

fn block(title: &str) -> Block<'_> {
    Block::bordered().title(title)
}

fn bold() -> Style {
    Style::new().add_modifier(Modifier::BOLD)
}

fn health_colour(health: &str) -> Color {
    match health {
        "PASS" => Color::Green,
        "WARN" => Color::Yellow,
        "FAIL" => Color::Red,
        _ => Color::Reset,
    }
}

/// Poll interval of the thread that reads keys.
const KEY_POLL_INTERVAL: Duration = Duration::from_millis(100);
/// Maximum number of queued keys; further ones wait in the terminal.
const KEYS_MAX: usize = 16;
/// Maximum width of the graph, in columns.
const RATES_MAX: usize = 512;
const EVENTS_MAX: usize = 200;
const PEERS_SHOWN_MAX: u16 = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use api::Peer;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    fn sample() -> Sample {
        Sample {
            timestamp: "2026-01-31T12:00:00.000Z".to_owned(),
            node_id: "35cd10d577f8303202919d71c4459b7e".to_owned(),
            name: engine::NodeName::new("cedar").unwrap(),
            version: "0.1.0".to_owned(),
            network: "local".to_owned(),
            state: State::Active,
            health: Some("PASS".to_owned()),
            uptime_ms: Some(61_000),
            peers: Vec::new(),
            members: 1,
            tasks_queued: 2,
            tasks_running: 4,
            work: api::Work::default(),
            running_here: "2 of 4 slots busy: 1 own, 1 task for birch".to_owned(),
            tasks_per_second: 12.5,
            latency_ms_median: Some(8),
            latency_ms_p99: Some(31),
            memory_bytes: 60 << 20,
            cpu_percent: 3.25,
            events: vec!["2026-01-31T12:00:00.000Z INFO  lifecycle: state changed to=ACTIVE".to_owned()],
        }
    }

    fn draw(screen: &Screen, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| screen.draw(frame)).unwrap();
        terminal.backend().to_string()
    }

    #[test]
    fn what_somebody_sees() {
        let mut screen = Screen::new(sample());
        insta::assert_snapshot!("alone", draw(&screen, 80, 20));
        let peer = Peer {
            id: engine::NodeId([7; 16]),
            name: engine::NodeName::new("birch").unwrap(),
            address: ([10, 0, 0, 7], 9000).into(),
            network_port: 9000,
            version: "0.1.0".to_owned(),
            liveness: Liveness::Slow,
            connected_ms: 3_600_000,
            messages_in: 12_345,
            messages_out: 6_789,
            last_heartbeat_ms: 4_000,
            round_trip_ms: Some(0.42),
        };
        for rate in [0.1, 0.5, 12.5] {
            screen.take(Ok(Sample {
                peers: vec![peer.clone()],
                members: 2,
                tasks_per_second: rate,
                events: vec![format!("2026-01-31T12:00:02.000Z WARN  heartbeat: peer slow after={rate}")],
                ..sample()
            }));
        }
        insta::assert_snapshot!("with_a_peer", draw(&screen, 110, 20));
        screen.take(Err(Failure::new("The node does not answer (pid 7)").id("node_not_answering")));
        let shown = draw(&screen, 110, 20);
        assert!(shown.contains("The node does not answer (pid 7); retrying"), "{shown}");
        assert!(!shown.contains("SLOW "), "what was known of the peers is old: {shown}");
    }

    #[test]
    fn a_small_terminal_is_no_reason_to_fail() {
        let screen = Screen::new(sample());
        for (width, height) in [(1, 1), (3, 2), (20, 5), (400, 3)] {
            draw(&screen, width, height);
        }
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut screen = Screen::new(sample());
        (0..=RATES_MAX).for_each(|_| screen.take(Ok(sample())));
        assert_eq!((screen.rates.len(), screen.events.len()), (RATES_MAX, EVENTS_MAX));
    }
}
