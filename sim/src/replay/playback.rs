//! Plays a journal at the pace of its caller, who can ask the node in between.
//!
//! Nothing is compared with the recording; [`replay`](super::replay) does that.

use super::{Records, ReplayError};
use core::mem;
use engine::identity::KeyUses;
use engine::journal::{JournalError, Record};
use engine::request::{Answer, Request};
use engine::{Event, Identity, Input, Instant, Node, NodeId, Output, RequestId, Saved};
use std::path::Path;

/// A recorded node that is played back.
#[derive(Debug)]
pub struct Playback {
    records: Records,
    node: Node,
    uses: KeyUses,
    started: Instant,
    at: Instant,
    next: Option<(Instant, Input)>,
    /// Events of the construction and of questions.
    events: Vec<Event>,
    asked: u64,
}

impl Playback {
    /// Opens a journal and constructs its node.
    ///
    /// # Errors
    /// [`ReplayError`] if the file is no journal of this version.
    pub fn open(path: &Path) -> Result<Self, ReplayError> {
        let mut records = Records::open(path)?;
        let Some(Record::Start(start)) = records.next()? else {
            return Err(ReplayError::Empty { records: 0 });
        };
        let (identity, uses) = Identity::replayed(start.key);
        let mut saved = Saved::default();
        let next = read_step(&mut records, &uses, Some(&mut saved))?;
        let node = Node::new(start.config, identity, start.seed, start.now, start.wall, saved);
        let (started, at, events, asked) = (start.now, start.now, Vec::new(), 0);
        let mut playback = Self { records, node, uses, started, at, next, events, asked };
        playback.events = playback.drain(None).0;
        Ok(playback)
    }

    /// Returns the id of the recorded node.
    pub fn id(&self) -> NodeId {
        self.node.id()
    }

    /// Returns the time at which the recording began.
    pub const fn started(&self) -> Instant {
        self.started
    }

    /// Returns the time of the next input, or of events that no step has returned yet; `None` at the end.
    pub fn next_at(&self) -> Option<Instant> {
        let rest = || (!self.events.is_empty()).then_some(self.at);
        self.next.as_ref().map(|(at, _)| *at).or_else(rest)
    }

    /// Gives the node its next input, if there is one. Returns the events that this and the questions since the last
    /// step caused.
    ///
    /// # Errors
    /// [`ReplayError`] if the journal is damaged there; it has ended then.
    pub fn step(&mut self) -> Result<Vec<Event>, ReplayError> {
        let Some((at, input)) = self.next.take() else { return Ok(mem::take(&mut self.events)) };
        // The results of the key's uses follow the input that needs them.
        self.next = read_step(&mut self.records, &self.uses, None)?;
        self.at = at;
        self.node.handle_input(at, input);
        let mut events = mem::take(&mut self.events);
        events.extend(self.drain(None).0);
        Ok(events)
    }

    /// Asks the node, at the time of its last input. Returns `None` for requests that do more than read.
    pub fn ask(&mut self, request: Request) -> Option<Answer> {
        if !is_read(&request) {
            return None;
        }
        // The recorded requests count from 0.
        self.asked += 1;
        let id = RequestId(u64::MAX - self.asked);
        self.node.handle_input(self.at, Input::Request { id, request });
        let (events, answer) = self.drain(Some(id));
        self.events.extend(events);
        answer
    }

    /// Takes the outputs of the node. Returns its events, and the reply to a request.
    fn drain(&mut self, request: Option<RequestId>) -> (Vec<Event>, Option<Answer>) {
        let (mut events, mut reply) = (Vec::new(), None);
        while let Some(output) = self.node.poll_output() {
            #[allow(clippy::wildcard_enum_match_arm, reason = "nobody carries out the other outputs")]
            match output {
                Output::Event(event) => events.push(event),
                Output::Reply { id, answer } if Some(id) == request => reply = Some(answer),
                _ => {}
            }
        }
        (events, reply)
    }
}

/// Reads to the next input. Takes the uses of the key on the way, and what storage held, if that may come.
fn read_step(
    records: &mut Records,
    uses: &KeyUses,
    mut saved: Option<&mut Saved>,
) -> Result<Option<(Instant, Input)>, ReplayError> {
    loop {
        let record = records.read();
        match (records.next()?, &mut saved) {
            (None | Some(Record::End(_)), _) => return Ok(None),
            (Some(Record::Input(at, input)), _) => return Ok(Some((at, input))),
            (Some(Record::KeyUse(body)), _) => uses.push(body.to_vec()),
            (Some(Record::Output(_)), _) => {}
            (Some(Record::SavedTask(task)), Some(saved)) => saved.tasks.push(*task),
            (Some(Record::SavedResult(result)), Some(saved)) => saved.results.push(*result),
            (Some(Record::SavedResult(_) | Record::SavedTask(_) | Record::Start(_)), _) => {
                return Err(JournalError::Malformed { record }.into());
            }
        }
    }
}

/// Returns whether a request only reads and is answered at once.
const fn is_read(request: &Request) -> bool {
    matches!(
        request,
        Request::AlertHistory { .. }
            | Request::Alerts
            | Request::Attempts
            | Request::Diagnosis
            | Request::Dump
            | Request::Fetches
            | Request::FormerMembers
            | Request::Members
            | Request::Metrics
            | Request::Peers
            | Request::Status
            | Request::Task(_)
            | Request::Tasks { .. }
    )
}
