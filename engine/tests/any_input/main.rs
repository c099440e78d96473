//! For any inputs in any order, a node neither panics nor loops, and keeps its limits.
//!
//! A random list of steps drives a few nodes. Messages arrive, twice, damaged, out of order or never; writes and jobs
//! fail; time jumps; strangers connect and send anything; and nonsensical inputs arrive. The orders of a node are
//! executed as far as the steps allow.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod world;

use core::time::Duration;
use engine::blobs::{BlobError, BlobReport, Hash, Piece, Pieces, Pin};
use engine::error::{DialError, InferenceError, WriteError};
use engine::input::{Interface, ModelState};

use engine::observers::alerts::Threshold;
use engine::observers::traces::IdPrefix;
use engine::request::{Cursor, FetchSpec, TaskFilter};
use engine::task::{
    ChatMessage, ChatRole, Classification, EmbeddingInput, Generation, Prompt, Reranking, TaskInput,
    TaskKind, TaskOutput, TaskSpec, TaskStatus, Truncation,
};
use engine::{DialId, Input, JobId, LinkId, NodeId, ReadId, Request, RequestId, TaskId, UnixMillis, WriteId};
use proptest::prelude::*;
use world::{Step, World};

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        20 => any::<u16>().prop_map(Step::Arrive),
        8 => Just(Step::ArriveAll),
        2 => any::<u16>().prop_map(Step::ArriveTwice),
        3 => (any::<u16>(), any::<u16>(), 1u8..=255).prop_map(|(which, at, flip)| Step::ArriveDamaged { which, at, flip }),
        2 => any::<u16>().prop_map(Step::Lose),
        2 => any::<u16>().prop_map(Step::Fail),
        6 => (0u64..20_000_000).prop_map(Step::Wait),
        1 => (0u64..1 << 56).prop_map(Step::Wait),
        3 => (any::<u8>(), any::<u8>()).prop_map(|(from, to)| Step::Connect { from, to }),
        2 => any::<u16>().prop_map(Step::Cut),
        1 => any::<u8>().prop_map(Step::Restart),
        6 => (any::<u8>(), request()).prop_map(|(node, request)| Step::Ask { node, request }),
        6 => (any::<u8>(), nonsense()).prop_map(|(node, input)| Step::Nonsense { node, input }),
    ]
}

fn request() -> impl Strategy<Value = Request> {
    let task = || (0u8..4).prop_map(|n| TaskId([n; 16]));
    let node = any::<u8>().prop_map(|n| NodeId([n; 16]));
    prop_oneof![
        6 => spec().prop_map(Request::Submit),
        1 => task().prop_map(Request::AwaitTask),
        1 => task().prop_map(Request::Cancel),
        1 => task().prop_map(Request::Task),
        1 => (task(), 0u32..4, any::<u32>()).prop_map(|(task, attempt, bytes)| Request::Watch {
            task,
            seen: Cursor { status: TaskStatus::Queued, attempt, bytes }
        }),
        1 => node.clone().prop_map(Request::Route),
        1 => (any::<u32>(), any::<u32>(), proptest::option::of(node)).prop_map(|(limit, offset, worker)| {
            let id = (limit % 2 == 0).then(|| IdPrefix::parse(&format!("{limit:08x}"))).flatten();
            Request::Tasks { filter: TaskFilter { id, status: None, worker }, limit, offset }
        }),
        1 => Just(Request::Attempts),
        1 => Just(Request::Alerts),
        1 => (any::<u32>(), any::<u32>())
            .prop_map(|(limit, offset)| Request::AlertHistory { limit, offset }),
        1 => (0..150_u64, any::<bool>()).prop_map(|(value, reset)| {
            let changes = Threshold::ALL.map(|threshold| (threshold, value)).into_iter().skip(1).step_by(3);
            Request::SetThresholds { changes: changes.collect(), reset }
        }),
        1 => Just(Request::Diagnosis),
        4 => fetch().prop_map(Request::Fetch),
        1 => Just(Request::Fetches),
        1 => Just(Request::Health),
        1 => Just(Request::FormerMembers),
        1 => Just(Request::Members),
        1 => Just(Request::Metrics),
        1 => Just(Request::Peers),
        1 => Just(Request::Status),
        1 => Just(Request::Shutdown),
    ]
}

/// Generates the hashes of files that exist in the world, and of others that do not.
fn fetch() -> impl Strategy<Value = FetchSpec> {
    let pin = (0u8..6)
        .prop_map(|n| if n < 3 { Pin::Blake3(world::file(n).root) } else { Pin::Sha256(Hash([n; 32])) });
    let bytes = prop_oneof![4 => Just(world::FILE_BYTES), 1 => any::<u64>()];
    (pin, bytes).prop_map(|(pin, bytes)| FetchSpec { pin, bytes })
}

/// Unsolicited reports about files.
fn report() -> impl Strategy<Value = BlobReport> {
    let root = || (0u8..4).prop_map(|n| world::file(n).root);
    let result = || prop_oneof![2 => Just(Ok(())), 1 => Just(Err(BlobError::WrongHash)), 1 => Just(Err(BlobError::Full))];
    let pieces = (0u32..70).prop_map(|of| {
        let mut pieces = Pieces::none(of);
        pieces.insert(0);
        pieces
    });
    let piece = Piece { bytes: vec![1; 9], proof: vec![Hash([1; 32])] };
    prop_oneof![
        (root(), result()).prop_map(|(root, result)| BlobReport::Finished { root, result }),
        (root(), pieces).prop_map(|(root, pieces)| BlobReport::Opened { root, result: Ok(pieces) }),
        (0u64..24).prop_map(move |read| BlobReport::Read { read: ReadId(read), result: Ok(piece.clone()) }),
        (0u8..4).prop_map(|n| BlobReport::Shared((0..n).map(world::shared).collect())),
        (root(), 0u32..4, result()).prop_map(|(root, piece, result)| BlobReport::Written {
            root,
            piece,
            result
        }),
    ]
}

fn spec() -> impl Strategy<Value = TaskSpec> {
    let seconds = prop_oneof![4 => 1u64..100, 1 => any::<u64>()];
    let model =
        prop_oneof![4 => Just(None), 1 => Just(Some(world::MODEL.to_owned())), 1 => ".{0,8}".prop_map(Some)];
    (input(), model, seconds).prop_map(|(input, model, seconds)| TaskSpec {
        input,
        model,
        timeout: Duration::from_secs(seconds),
    })
}

fn input() -> impl Strategy<Value = TaskInput> {
    let tokens = proptest::collection::vec(any::<u32>(), 0..9);
    let part = prop_oneof![
        6 => ".{0,40}".prop_map(EmbeddingInput::Text),
        1 => tokens.prop_map(EmbeddingInput::Tokens),
        1 => ".{0,40}".prop_map(EmbeddingInput::WholeText)
    ];
    let classification = (".{0,40}", proptest::collection::vec(".{0,3}", 0..4), any::<bool>());
    let chat = proptest::collection::vec(".{0,9}", 0..4).prop_map(|contents| {
        let message = |content| ChatMessage { role: ChatRole::User, content };
        Prompt::Chat(contents.into_iter().map(message).collect())
    });
    let prompt = prop_oneof![".{0,40}".prop_map(Prompt::Text), chat];
    prop_oneof![
        8 => proptest::collection::vec(part, 0..5).prop_map(|inputs| TaskInput::Embedding { inputs }),
        1 => classification
            .prop_map(|(text, labels, truncate)| TaskInput::Classification(Classification { text, labels, truncate })),
        1 => (prompt, any::<u32>(), any::<Option<u64>>()).prop_map(|(prompt, number, seed)| {
            let generation =
                Generation { max_tokens: number, top_k: number, seed, ..Generation::from_prompt(prompt) };
            TaskInput::Generation(Box::new(generation))
        }),
        1 => (".{0,9}", proptest::collection::vec(".{0,9}", 0..4), any::<bool>())
            .prop_map(|(query, texts, truncate)| TaskInput::Reranking(Reranking { query, texts, truncate })),
    ]
}

/// Inputs without a cause. Their ids are small numbers, so that many of them match an existing object.
fn nonsense() -> impl Strategy<Value = Input> {
    let bytes = || proptest::collection::vec(any::<u8>(), 0..80);
    let link = || (0u64..24).prop_map(LinkId);
    let write = prop_oneof![Just(Ok(())), Just(Err(WriteError::Full)), Just(Err(WriteError::Io))];
    let item = prop_oneof![
        Just(Ok(TaskOutput::Embedding {
            vectors: vec![vec![0.5; 3]],
            tokens: 1,
            truncated: vec![Truncation { input: 0, dropped: 9 }]
        })),
        Just(Err(InferenceError::Cancelled)),
    ];
    let items = proptest::collection::vec(item, 0..4).prop_map(Ok);
    let from = any::<[u8; 4]>();
    let state = prop_oneof![
        Just(ModelState::Away),
        Just(ModelState::Ready),
        ".{0,8}".prop_map(|why| ModelState::Unusable(why.into()))
    ];
    prop_oneof![
        report().prop_map(Input::Blob),
        (any::<u32>(), from, bytes()).prop_map(|(interface, from, bytes)| Input::Datagram {
            interface,
            from: (from, 5353).into(),
            bytes
        }),
        (0u64..24).prop_map(|dial| Input::DialFailed { dial: DialId(dial), error: DialError::Timeout }),
        (link(), bytes()).prop_map(|(link, bytes)| Input::Frame { link, bytes }),
        link().prop_map(|link| Input::FrameTooLarge { link }),
        link().prop_map(|link| Input::LinkDown { link }),
        (0u64..24, any::<u64>(), items).prop_map(|(job, micros, result)| Input::InferenceDone {
            job: JobId(job),
            micros,
            result
        }),
        (0u64..24, ".{0,9}", any::<u32>()).prop_map(|(job, text, tokens)| Input::InferenceProgress {
            job: JobId(job),
            text,
            tokens
        }),
        proptest::collection::vec((any::<u32>(), any::<[u8; 4]>()), 0..4).prop_map(|all| {
            Input::Interfaces(all.into_iter().map(|(index, ip)| Interface::new(index, ip.into())).collect())
        }),
        any::<u16>().prop_map(|port| Input::Listening { port }),
        (".{0,8}", state).prop_map(|(name, state)| Input::Model {
            name,
            kind: TaskKind::Embedding,
            fingerprint: None,
            state
        }),
        (0u64..24).prop_map(|id| Input::RequestDropped { id: RequestId(id) }),
        (0u64..24, write).prop_map(|(id, result)| Input::WriteDone { id: WriteId(id), result }),
        any::<u64>().prop_map(|millis| Input::ClockSet(UnixMillis(millis))),
        Just(Input::Tick),
    ]
}

proptest! {
    // Set `PROPTEST_CASES` to run more.
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases / 2, max_shrink_iters: 4_000, ..Default::default() })]

    #[test]
    fn no_order_of_inputs_makes_a_node_panic_spin_or_leave_its_bounds(
        nodes in 1u8..6,
        steps in proptest::collection::vec(step(), 0..250),
    ) {
        let mut world = World::new(nodes);
        for step in steps {
            world.take(step);
        }
        world.come_to_rest();
    }
}
