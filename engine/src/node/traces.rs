//! Traces: hands steps to the store, and gathers the steps of one trace from the nodes that took part.
//!
//! A search begins in the store of this node, and goes on at the nodes that the found steps name, as far as they are
//! members. If this node knows nothing of the trace, it asks all members. A node that does not answer in time is asked
//! once more, and then named in the answer.

use super::Node;
use crate::error::Rejection;
use crate::ids::{NodeId, ReadId, RequestId, TraceId};
use crate::lifecycle::State;
use crate::observers::traces::timeline::{ClockReading, NodeAnswer, NodeTrace, difference};
use crate::observers::traces::{AMBIGUOUS_MAX, Found, IdPrefix, TraceOrder, TracePart};
use crate::output::Output;
use crate::request::{Response, TraceView};
use crate::time::Instant;
use crate::trace::TraceContext;
use crate::wire::Payload;
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

/// The searches for traces in progress.
#[derive(Debug, Default)]
pub(super) struct TraceSearches {
    next: u64,
    /// The searches in the store of this node, by the handle of the read.
    reads: BTreeMap<ReadId, Reader>,
    /// The searches of users, by the number of their queries.
    open: BTreeMap<u64, Search>,
}

/// Who waits for a read of the store.
#[derive(Clone, Copy, Debug)]
enum Reader {
    /// A search of a user.
    Own(u64),
    /// Another node, with the number of its query, and the time at which it arrived.
    Other(NodeId, u64, u64),
}

/// A search of a user.
#[derive(Debug)]
struct Search {
    request: RequestId,
    id: IdPrefix,
    /// The traces that match.
    traces: BTreeSet<TraceId>,
    nodes: BTreeMap<NodeId, NodeTrace>,
    /// The nodes that have not answered, each with the wall-clock time of the first question, in microseconds; 0 before
    /// it. An answer may be to any question, so only the first one bounds the time on the way.
    waiting: BTreeMap<NodeId, u64>,
    /// The nodes that were asked for this trace itself. A node may know a trace and not its tasks.
    asked: BTreeSet<(NodeId, TraceId)>,
    /// Whether the store of this node has answered.
    read: bool,
    begun: Instant,
    retried: bool,
}

impl TraceSearches {
    /// Returns when a node must be asked again, or a search times out.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let due =
            |search: &Search| search.begun.after(if search.retried { SEARCH_TIMEOUT } else { RETRY_AFTER });
        self.open.values().map(due).min()
    }

    pub(super) fn forget(&mut self, request: RequestId) {
        self.open.retain(|_, search| search.request != request);
    }

    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    pub(super) fn reads(&self) -> usize {
        self.reads.len()
    }
}

impl Node {
    /// Returns the wall-clock time in microseconds.
    pub(super) fn wall_micros(&self) -> u64 {
        self.clock.wall_at_origin.0.saturating_mul(1000).saturating_add(self.clock.now.as_micros())
    }

    /// Hands steps to the store. `all` hands over those that could wait as well.
    pub(super) fn keep_traces(&mut self, all: bool) {
        let parts = self.observers.traces.poll_parts(self.clock.now, all);
        if !parts.is_empty() {
            let at = self.wall();
            self.outputs.push_back(Output::Traces(TraceOrder::Keep { at, parts }));
        }
    }

    /// Starts a search for a trace.
    pub(super) fn search_trace(&mut self, request: RequestId, id: IdPrefix) {
        if self.in_flight.traces.open.len() >= SEARCHES_MAX {
            return self.reply(request, Err(Rejection::TooManyWaiting));
        }
        let query = self.in_flight.traces.next;
        self.in_flight.traces.next += 1;
        let search = Search {
            request,
            id,
            traces: BTreeSet::new(),
            nodes: BTreeMap::new(),
            waiting: BTreeMap::new(),
            asked: BTreeSet::new(),
            read: false,
            begun: self.clock.now,
            retried: false,
        };
        self.in_flight.traces.open.insert(query, search);
        self.read_traces(Reader::Own(query), id);
    }

    fn read_traces(&mut self, reader: Reader, id: IdPrefix) {
        self.keep_traces(true);
        let read = ReadId(self.in_flight.traces.next);
        self.in_flight.traces.next += 1;
        self.in_flight.traces.reads.insert(read, reader);
        self.outputs.push_back(Output::Traces(TraceOrder::Find { read, id }));
    }

    /// Handles what the store of this node found.
    pub(super) fn handle_traces_found(&mut self, read: ReadId, found: Found) {
        let me = self.me;
        match self.in_flight.traces.reads.remove(&read) {
            None => {}
            Some(Reader::Other(node, query, received_micros)) => {
                let found = bounded(found);
                let sent_micros = self.wall_micros();
                let answer = Payload::TraceFound { query, received_micros, sent_micros, found };
                // It may be large, and nobody's work waits for it.
                self.send_in_background(node, &answer);
            }
            Some(Reader::Own(query)) => {
                let found_nothing = found == Found::None;
                let clock = Some(ClockReading { ahead_micros: 0, error_micros: 0 });
                self.note_found(query, me, found, clock);
                let members: Vec<NodeId> = self.others().map(|(node, _)| node).collect();
                let Some(search) = self.in_flight.traces.open.get_mut(&query) else { return };
                search.read = true;
                if found_nothing && search.traces.is_empty() {
                    members.into_iter().take(NODES_MAX).for_each(|node| {
                        search.nodes.insert(node, unanswered(node, NodeAnswer::Late));
                        search.waiting.insert(node, 0);
                    });
                }
                self.ask_for_traces(query, false);
            }
        }
    }

    /// Handles another node's question for its steps of a trace.
    pub(super) fn handle_trace_wanted(&mut self, from: NodeId, query: u64, id: IdPrefix) {
        if self.in_flight.traces.reads.len() < READS_MAX && id.is_valid() && self.state == State::Active {
            let received = self.wall_micros();
            self.read_traces(Reader::Other(from, query, received), id);
        }
    }

    /// Handles another node's answer.
    pub(super) fn handle_trace_found(
        &mut self,
        from: NodeId,
        query: u64,
        (received_micros, sent_micros): (u64, u64),
        found: Found,
    ) {
        let now = self.wall_micros();
        let Some(search) = self.in_flight.traces.open.get_mut(&query) else { return };
        let Some(asked) = search.waiting.remove(&from) else { return };
        let there = difference(received_micros, asked);
        let back = difference(now, sent_micros);
        self.note_found(query, from, bounded(found), Some(ClockReading::between(there, back)));
        self.ask_for_traces(query, false);
    }

    fn note_found(&mut self, query: u64, node: NodeId, found: Found, clock: Option<ClockReading>) {
        let (others, me) = (self.reachable_others(), self.me);
        let Some(search) = self.in_flight.traces.open.get_mut(&query) else { return };
        let parts = match found {
            Found::None => Vec::new(),
            Found::Many(traces) => {
                search.traces.extend(traces);
                Vec::new()
            }
            Found::One(trace, parts) => {
                search.traces.insert(trace);
                parts
            }
        };
        let named: BTreeSet<NodeId> =
            parts.iter().flat_map(|part| &part.steps).filter_map(|step| step.step.other_node()).collect();
        search.nodes.insert(node, NodeTrace { node, answer: NodeAnswer::Answered, parts, clock });
        // Those that know nothing of a task may know its trace: a relay does not see the tasks of messages.
        let mut own = None;
        if let (Some(&trace), 1) = (search.traces.first(), search.traces.len())
            && !search.id.matches(&trace.0)
        {
            let knew_nothing =
                |node: &&mut NodeTrace| node.answer == NodeAnswer::Answered && node.parts.is_empty();
            for NodeTrace { node, answer, .. } in search.nodes.values_mut().filter(knew_nothing) {
                if *node == me {
                    own = search.asked.insert((me, trace)).then_some(trace);
                } else if !search.asked.contains(&(*node, trace)) {
                    *answer = NodeAnswer::Late;
                    search.waiting.insert(*node, 0);
                }
            }
        }
        search.read &= own.is_none();
        for other in named.into_iter().filter(|other| *other != me) {
            if search.nodes.contains_key(&other) {
                continue;
            }
            let answer = if search.nodes.len() >= NODES_MAX {
                NodeAnswer::Skipped
            } else if others.contains(&other) {
                search.waiting.insert(other, 0);
                NodeAnswer::Late
            } else {
                NodeAnswer::Away
            };
            if search.nodes.len() < NAMED_MAX {
                search.nodes.insert(other, unanswered(other, answer));
            }
        }
        if let Some(trace) = own {
            self.read_traces(Reader::Own(query), IdPrefix::of(trace));
        }
    }

    fn reachable_others(&self) -> BTreeSet<NodeId> {
        self.others().map(|(node, _)| node).collect()
    }

    /// Asks the nodes that have not been asked yet, or all that have not answered.
    fn ask_for_traces(&mut self, query: u64, all: bool) {
        let now = self.wall_micros();
        let Some(search) = self.in_flight.traces.open.get_mut(&query) else { return };
        // A later question need not repeat the search for a prefix.
        let id = match search.traces.iter().next() {
            Some(trace) if search.traces.len() == 1 => IdPrefix::of(*trace),
            Some(_) | None => search.id,
        };
        let exact = search.traces.first().filter(|trace| IdPrefix::of(**trace) == id);
        let mut asked = Vec::new();
        for (node, at) in search.waiting.iter_mut().filter(|(_, at)| all || **at == 0) {
            if *at == 0 {
                *at = now.max(1);
            }
            search.asked.extend(exact.map(|trace| (*node, *trace)));
            asked.push(*node);
        }
        for node in asked {
            self.send_once(node, &Payload::TraceWanted { query, id }, TraceContext::NONE);
        }
    }

    /// Ends the searches that are complete or have timed out, and repeats questions.
    pub(super) fn settle_traces(&mut self) {
        self.keep_traces(self.state == State::ShuttingDown);
        if self.in_flight.traces.open.is_empty() {
            return;
        }
        let now = self.clock.now;
        let mut again = Vec::new();
        let mut done = Vec::new();
        for (&query, search) in &mut self.in_flight.traces.open {
            let complete = search.read && search.waiting.is_empty();
            if complete || now >= search.begun.after(SEARCH_TIMEOUT) {
                done.push(query);
            } else if !search.retried && now >= search.begun.after(RETRY_AFTER) {
                search.retried = true;
                again.push(query);
            }
        }
        for query in again {
            self.ask_for_traces(query, true);
        }
        for query in done {
            if let Some(search) = self.in_flight.traces.open.remove(&query) {
                let answer = answer(&search);
                self.reply(search.request, answer);
            }
        }
    }
}

fn unanswered(node: NodeId, answer: NodeAnswer) -> NodeTrace {
    NodeTrace { node, answer, parts: Vec::new(), clock: None }
}

/// Returns the answer to the user of a search.
fn answer(search: &Search) -> crate::request::Answer {
    let mut traces = search.traces.iter();
    let (Some(&trace), None) = (traces.next(), traces.next()) else {
        let several = search.traces.iter().take(AMBIGUOUS_MAX).copied().collect::<Vec<TraceId>>();
        return Err(if several.is_empty() {
            Rejection::TraceNotFound
        } else {
            Rejection::TraceAmbiguous(several)
        });
    };
    // If all members were asked, those that have no steps did not take part.
    let took_part = |node: &&NodeTrace| !node.parts.is_empty() || node.answer != NodeAnswer::Answered;
    let nodes = search.nodes.values().filter(took_part).cloned().collect();
    Ok(Response::Trace(Box::new(TraceView { trace, nodes })))
}

/// Bounds what goes into one message, and what comes from another node.
fn bounded(found: Found) -> Found {
    match found {
        Found::One(trace, mut parts) => {
            let mut room = ANSWER_STEPS_MAX;
            for part in &mut parts {
                let kept = part.steps.len().min(room);
                let lost = u32::try_from(part.steps.len() - kept).unwrap_or(u32::MAX);
                part.steps.truncate(kept);
                part.lost = part.lost.saturating_add(lost);
                room -= kept;
            }
            let empty = |part: &TracePart| part.steps.is_empty() && part.lost == 0;
            parts.retain(|part| !empty(part));
            parts.truncate(ANSWER_PARTS_MAX);
            Found::One(trace, parts)
        }
        Found::Many(mut traces) => {
            traces.truncate(AMBIGUOUS_MAX);
            Found::Many(traces)
        }
        Found::None => Found::None,
    }
}

/// Maximum number of concurrent searches of users.
pub(super) const SEARCHES_MAX: usize = 8;
/// Maximum number of concurrent reads of the store, those for other nodes included.
pub(super) const READS_MAX: usize = 32;
/// Maximum number of nodes to ask in one search.
const NODES_MAX: usize = 64;
/// Maximum number of nodes that an answer names.
const NAMED_MAX: usize = 256;
/// Maximum number of steps of one node in an answer. A frame holds them, whatever they are.
const ANSWER_STEPS_MAX: usize = 1_024;
/// Maximum number of parts of one node in an answer.
const ANSWER_PARTS_MAX: usize = 256;
/// When the nodes that have not answered are asked once more.
const RETRY_AFTER: Duration = Duration::from_millis(500);
/// How long a search takes at most.
const SEARCH_TIMEOUT: Duration = Duration::from_millis(1_500);
