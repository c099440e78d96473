//! The state of a replayed node, as the node itself reports it.

use engine::lifecycle::State as Lifecycle;
use engine::request::{
    DumpView, LIST_MAX, MemberView, PeerView, Request, Response, StatusView, TaskFilter, TaskView,
};
use engine::{Input, Instant, Node, Output, RequestId};

/// What a node reports about itself.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// The time of the report.
    pub at: Instant,
    /// The node's status.
    pub status: StatusView,
    /// The nodes that it has links to.
    pub peers: Vec<PeerView>,
    /// The members that it knows, including itself.
    pub members: Vec<MemberView>,
    /// Its newest tasks, at most a thousand.
    pub tasks: Vec<TaskView>,
    /// The total number of its tasks.
    pub tasks_total: u32,
}

impl State {
    pub(super) fn query(node: &mut Node, at: Instant) -> Option<Self> {
        if node.state() == Lifecycle::Stopped {
            return None;
        }
        let Response::Dump(dump) = ask(node, at, Request::Dump)? else { return None };
        let DumpView { status, peers, members, .. } = *dump;
        let tasks = Request::Tasks { filter: TaskFilter::default(), limit: LIST_MAX, offset: 0 };
        let Response::Tasks { total: tasks_total, tasks } = ask(node, at, tasks)? else { return None };
        Some(Self { at, status, peers, members, tasks, tasks_total })
    }
}

fn ask(node: &mut Node, at: Instant, request: Request) -> Option<Response> {
    let asked = RequestId(u64::MAX);
    node.handle_input(at, Input::Request { id: asked, request });
    std::iter::from_fn(|| node.poll_output())
        .filter_map(
            |output| if let Output::Reply { id, answer } = output { Some((id, answer)) } else { None },
        )
        .find_map(|(id, answer)| answer.ok().filter(|_| id == asked))
}
