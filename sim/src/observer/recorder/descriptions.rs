//! Describes messages, inputs and outputs for people: one line per field, `name: value`, with the short names of nodes
//! and tasks.

use super::lanes::Lanes;
use super::rows::Kind;
use super::spans::Spans;
use core::fmt::Debug;
use engine::wire::{Advert, Envelope, Message, Payload, SignedAdvert};
use engine::{NodeId, TaskId};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// A described frame: its kind, its name, the task that it is about, and its content.
#[derive(Debug)]
pub(super) struct FrameDescription {
    pub(super) kind: Kind,
    pub(super) name: &'static str,
    pub(super) task: Option<TaskId>,
    pub(super) text: String,
}

/// Interned texts.
#[derive(Debug)]
pub(super) struct Texts {
    indices: BTreeMap<String, u32>,
    bytes: usize,
    pub(super) left_out: u64,
}

impl Texts {
    pub(super) fn new() -> Self {
        Self { indices: BTreeMap::from([(String::new(), 0)]), bytes: 0, left_out: 0 }
    }

    /// Returns the index of a text, or that of the empty text if there is no room for more.
    pub(super) fn index(&mut self, text: String) -> u32 {
        if let Some(index) = self.indices.get(&text) {
            return *index;
        }
        if self.bytes + text.len() > TEXTS_BYTES_MAX {
            self.left_out += 1;
            return 0;
        }
        self.bytes += text.len();
        let index = u32::try_from(self.indices.len()).unwrap_or_default();
        self.indices.insert(text, index);
        index
    }

    pub(super) fn finish(self) -> Vec<String> {
        let mut texts = vec![String::new(); self.indices.len()];
        for (text, index) in self.indices {
            texts[index as usize] = text;
        }
        texts
    }
}

/// Describes a frame.
pub(super) fn message(lanes: &Lanes, spans: &Spans, bytes: &[u8]) -> FrameDescription {
    let said = |kind, name, text| FrameDescription { kind, name, task: None, text };
    match Message::decode(bytes) {
        Err(error) => said(Kind::Link, "not a message", format!("error: {error:?}\n")),
        Ok(Message::Adverts(adverts)) => {
            let shown = adverts.iter().take(ADVERTS_SHOWN);
            let mut text: String = shown.map(|signed| advert(lanes, signed)).collect::<Vec<_>>().join("\n");
            if adverts.len() > ADVERTS_SHOWN {
                let _ = writeln!(text, "\nmore: {} adverts", adverts.len() - ADVERTS_SHOWN);
            }
            said(Kind::Map, "adverts", text)
        }
        Ok(Message::Copied(address)) => said(Kind::Link, "copied", format!("address: {address}\n")),
        Ok(Message::Goodbye) => said(Kind::Link, "goodbye", String::new()),
        Ok(Message::Hello(hello)) => {
            let text = format!(
                "network: {}\nincarnation: {}\n{}",
                hello.network,
                hello.incarnation,
                advert(lanes, &hello.advert)
            );
            said(Kind::Link, "hello", text)
        }
        Ok(Message::Ping(beat)) => {
            said(Kind::Heartbeat, "ping", format!("number: {}\nload: {}\n", beat.number, beat.load))
        }
        Ok(Message::Pong(beat)) => {
            said(Kind::Heartbeat, "pong", format!("number: {}\nload: {}\n", beat.number, beat.load))
        }
        Ok(Message::Refuse(reason)) => said(Kind::Link, "refuse", format!("reason: {reason:?}\n")),
        Ok(Message::Routed(envelope)) => routed(lanes, spans, &envelope),
        Ok(Message::Versions(versions)) => {
            let mut list: Vec<String> = versions
                .iter()
                .take(VERSIONS_SHOWN)
                .map(|(node, sequence)| format!("{} {sequence}", lanes.name(*node)))
                .collect();
            if versions.len() > VERSIONS_SHOWN {
                list.push(format!("and {} more", versions.len() - VERSIONS_SHOWN));
            }
            said(Kind::Map, "versions", format!("newest adverts: {}\n", list.join(", ")))
        }
        Ok(Message::Welcome) => said(Kind::Link, "welcome", String::new()),
    }
}

fn routed(lanes: &Lanes, spans: &Spans, envelope: &Envelope) -> FrameDescription {
    let payload = Payload::decode(&envelope.payload).ok();
    let (kind, name, task) = match &payload {
        None => (Kind::Task, "sealed", None),
        Some(Payload::Ack(_)) => (Kind::Receipt, "ack", None),
        Some(Payload::Assign(assignment)) => (Kind::Task, "assign", Some(assignment.attempt.task)),
        Some(Payload::Cancel(attempt)) => (Kind::Task, "cancel", Some(attempt.task)),
        Some(Payload::Check(_)) => (Kind::Receipt, "check", None),
        Some(Payload::Decline(attempt)) => (Kind::Task, "decline", Some(attempt.task)),
        Some(Payload::Held { .. }) => (Kind::Receipt, "file held", None),
        Some(Payload::Look { .. }) => (Kind::Receipt, "look for file", None),
        Some(Payload::Piece { .. }) => (Kind::Result, "piece", None),
        Some(Payload::PieceRefused { .. }) => (Kind::Receipt, "piece refused", None),
        Some(Payload::PieceWanted { .. }) => (Kind::Task, "piece wanted", None),
        Some(Payload::HandBack(attempt)) => (Kind::Task, "hand back", Some(attempt.task)),
        Some(Payload::Here(_)) => (Kind::Receipt, "here", None),
        Some(Payload::Missing(_)) => (Kind::Receipt, "missing", None),
        Some(Payload::Outcome { attempt, .. }) => (Kind::Result, "outcome", Some(attempt.task)),
        Some(Payload::Progress(piece)) => (Kind::Task, "progress", Some(piece.attempt.task)),
        Some(Payload::Probe(_)) => (Kind::Receipt, "probe", None),
        Some(Payload::Renew(_)) => (Kind::Receipt, "renew lease", None),
        Some(Payload::Started(attempt)) => (Kind::Task, "started", Some(attempt.task)),
        Some(Payload::TraceFound { .. }) => (Kind::Receipt, "trace found", None),
        Some(Payload::TraceWanted { .. }) => (Kind::Receipt, "trace wanted", None),
        Some(Payload::Undeliverable { .. }) => (Kind::Receipt, "undeliverable", None),
    };
    let mut text = format!(
        "origin: {}\ndestination: {}\nmessage: {}\nttl: {}, after {} hops\n",
        lanes.name(envelope.origin),
        lanes.name(envelope.destination),
        envelope.message,
        envelope.ttl,
        envelope.hops,
    );
    match payload {
        Some(payload) => text.push_str(&parts(lanes, spans, &payload)),
        // A relay cannot read it either.
        None => {
            let _ = writeln!(text, "payload: {} bytes, sealed end to end", envelope.payload.0.len());
        }
    }
    FrameDescription { kind, name, task, text }
}

fn advert(lanes: &Lanes, signed: &SignedAdvert) -> String {
    let Ok(advert) = Advert::decode(&signed.body.0) else { return "advert: malformed\n".to_owned() };
    let links: Vec<String> = advert.links.iter().map(|link| lanes.name(*link)).collect();
    let addresses: Vec<String> = advert.addresses.iter().map(ToString::to_string).collect();
    format!(
        "member: {}, advert {}\nlinks: {}\naddresses: {}\nslots: {}\nversion: {}\n",
        lanes.name(advert.key.node_id()),
        advert.sequence,
        if links.is_empty() { "none".to_owned() } else { links.join(" ") },
        addresses.join(" "),
        advert.slots,
        advert.version,
    )
}

/// Describes all fields of a value, with the short names of nodes and tasks.
pub(super) fn parts(lanes: &Lanes, spans: &Spans, value: &impl Debug) -> String {
    let mut text = String::new();
    // Only the shown part is formatted, because a value may hold megabytes.
    let _ = write!(Cut { text: &mut text }, "{value:?}");
    readable(lanes, spans, &text)
}

/// A writer that keeps only the beginning.
struct Cut<'a> {
    text: &'a mut String,
}

impl std::fmt::Write for Cut<'_> {
    fn write_str(&mut self, more: &str) -> std::fmt::Result {
        let room = TEXT_BYTES_MAX.saturating_sub(self.text.len());
        if more.len() <= room {
            self.text.push_str(more);
            return Ok(());
        }
        self.text.push_str(&more[..more.floor_char_boundary(room)]);
        self.text.push('…');
        Err(std::fmt::Error)
    }
}

/// Replaces the ids of nodes by their names and adds the numbers of tasks.
fn readable(lanes: &Lanes, spans: &Spans, text: &str) -> String {
    let is_id = |byte: u8| byte.is_ascii_hexdigit() || byte == b'-';
    let mut readable = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(begin) = rest.bytes().position(is_id) {
        let (before, from) = rest.split_at(begin);
        let (word, after) = from.split_at(from.bytes().position(|byte| !is_id(byte)).unwrap_or(from.len()));
        readable.push_str(before);
        if let Some(node) = word.parse::<NodeId>().ok().and_then(|id| lanes.find(id)) {
            let _ = write!(readable, "n{node}");
        } else {
            readable.push_str(word);
            if let Ok(task) = word.parse::<TaskId>()
                && spans.number(task) > 0
            {
                let _ = write!(readable, " (task {})", spans.number(task));
            }
        }
        rest = after;
    }
    readable.push_str(rest);
    readable.push('\n');
    readable
}

/// The longest description of one value, in bytes.
const TEXT_BYTES_MAX: usize = 1_200;

/// The most bytes of all texts of a run.
const TEXTS_BYTES_MAX: usize = 12 << 20;

/// The most adverts and versions of one message that are shown.
const ADVERTS_SHOWN: usize = 4;
const VERSIONS_SHOWN: usize = 16;
