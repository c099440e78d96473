use super::*;
use crate::event::Event;
use crate::identity::Identity;
use crate::ids::{LinkId, TaskId, TraceId, WriteId};
use crate::node::Node;
use crate::output::Priority;
use crate::task::{TaskInput, TaskKind, TaskSpec};
use crate::trace::TraceContext;
use core::time::Duration;
use proptest::prelude::*;

fn start(version: &str) -> (Start, Identity, KeyUses) {
    let (identity, uses) = Identity::from_secret(&[7; 32]).noted();
    let config = Config::default();
    let (now, wall) = (Instant::from_micros(5), UnixMillis(1_700_000_000_000));
    let start =
        Start { version: version.to_owned(), key: identity.public_key(), config, seed: [1; 32], now, wall };
    (start, identity, uses)
}

fn saved() -> Saved {
    let spec = TaskSpec {
        input: TaskInput::from_text(TaskKind::Embedding, "hello".to_owned()),
        model: None,
        timeout: Duration::from_secs(9),
    };
    let (id, trace) = (TaskId([2; 16]), TraceId([3; 16]));
    let task =
        StoredTask { id, spec, submitted_at: UnixMillis(4), trace, attempts: 1, choice: None, caller: None };
    Saved { tasks: vec![task], ..Saved::default() }
}

fn decode(mut bytes: &[u8]) -> (Vec<Record<'_>>, Option<JournalError>) {
    let (mut decoder, mut records) = (Decoder::default(), Vec::new());
    loop {
        match decoder.decode(bytes) {
            Ok(Some((record, used))) => {
                records.push(record);
                bytes = &bytes[used..];
            }
            Ok(None) => return (records, None),
            Err(error) => return (records, Some(error)),
        }
    }
}

/// Returns the journal of a node that handles its port and the end of its first write.
fn journal() -> (Vec<u8>, Vec<Output>) {
    let (start, identity, uses) = start(VERSION);
    let (mut out, mut outputs) = (Vec::new(), Vec::new());
    let mut recorder = Recorder::begin(&start, &saved(), uses, &mut out);
    let mut node = Node::new(start.config.clone(), identity, start.seed, start.now, start.wall, saved());
    let inputs = [Input::Listening { port: 9000 }, Input::WriteDone { id: WriteId(0), result: Ok(()) }];
    for input in [None].into_iter().chain(inputs.map(Some)) {
        if let Some(input) = input {
            recorder.input(start.now, &input, &mut out);
            node.handle_input(start.now, input);
        }
        while let Some(output) = node.poll_output() {
            recorder.output(&output, &mut out);
            outputs.push(output);
        }
    }
    recorder.end(End::Stopped, &mut out);
    (out, outputs)
}

#[test]
fn what_is_recorded_comes_back_in_order() {
    let (bytes, outputs) = journal();
    let (records, error) = decode(&bytes);
    assert_eq!(error, None);
    assert_eq!(records[0], Record::Start(Box::new(start(VERSION).0)));
    assert_eq!(records[1], Record::SavedTask(Box::new(saved().tasks[0].clone())));
    assert_eq!(records.last(), Some(&Record::End(End::Stopped)));
    let decoded: Vec<Output> = records
        .iter()
        .filter_map(|record| if let Record::Output(body) = record { decode_output(body) } else { None })
        .collect();
    assert_eq!(decoded, outputs);
    let inputs = records.iter().filter(|record| matches!(record, Record::Input(..))).count();
    let uses = records.iter().filter(|record| matches!(record, Record::KeyUse(_))).count();
    // The public key of sessions, an advert, and the self-check.
    assert_eq!((inputs, uses), (2, 3));
    let Record::Input(_, Input::Listening { port: 9000 }) =
        records.iter().find(|record| matches!(record, Record::Input(..))).unwrap()
    else {
        panic!("{records:?}");
    };
}

#[test]
fn the_private_key_is_not_in_it() {
    let (bytes, _) = journal();
    let secrets =
        [[7; 32], Identity::from_secret(&[7; 32]).with_session_secret(|secret| Some(*secret)).unwrap()];
    for secret in secrets {
        assert!(!bytes.windows(32).any(|window| window == secret));
    }
    assert!(bytes.windows(32).any(|window| window == [1; 32]), "the seed is, so the search works");
}

#[test]
fn events_and_frames_come_back() {
    let outputs = [
        Output::Event(Event::TaskRecovered {
            task: TaskId([1; 16]),
            kind: TaskKind::Embedding,
            trace: TraceContext::NONE,
        }),
        Output::Event(Event::DiscoveryAvailable),
        Output::Send { link: LinkId(1), frame: vec![1, 2, 3], priority: Priority::Bulk },
    ];
    for output in outputs {
        let mut body = Vec::new();
        encode(&output, &mut body);
        assert_eq!(decode_output(&body), Some(output));
        body.push(0);
        assert_eq!(decode_output(&body), None);
    }
}

#[test]
fn other_files_formats_and_versions_are_told_apart() {
    assert_eq!(decode(b"").1, None);
    assert_eq!(decode(b"p2p").1, None);
    assert_eq!(decode(b"p3p").1, Some(JournalError::NotAJournal));
    assert_eq!(decode(b"#!/bin/sh\nexit 0\n").1, Some(JournalError::NotAJournal));
    let (mut bytes, _) = journal();
    bytes[8] = 9;
    assert_eq!(decode(&bytes).1, Some(JournalError::Format(9)));
    let (other, _, uses) = start("0.0.7");
    let mut bytes = Vec::new();
    Recorder::begin(&other, &saved(), uses, &mut bytes);
    assert_eq!(decode(&bytes).1, Some(JournalError::Version("0.0.7".into())));
}

#[test]
fn whole_records_without_sense_are_told_by_their_number() {
    let mut writer = Writer::default();
    let mut bytes = [MAGIC.as_slice(), &[FORMAT]].concat();
    writer.frame(Kind::Start as u8, &mut bytes, |out| encode(&start(VERSION).0, out));
    let sound = bytes.len();
    for (kind, body) in [
        (Kind::Input as u8, &[0xff_u8; 3][..]),
        (99, &[]),
        (Kind::Start as u8, &[]),
        (Kind::End as u8, &[2, 0]),
    ] {
        let mut writer = Writer::default();
        bytes.truncate(9);
        writer.frame(Kind::Start as u8, &mut bytes, |out| encode(&start(VERSION).0, out));
        assert_eq!(bytes.len(), sound);
        writer.frame(kind, &mut bytes, |out| out.extend_from_slice(body));
        assert_eq!(decode(&bytes).1, Some(JournalError::Malformed { record: 1 }), "{kind}");
    }
    // No record may precede the start or follow the end.
    let mut bytes = [MAGIC.as_slice(), &[FORMAT]].concat();
    Writer::default().frame(Kind::End as u8, &mut bytes, |out| encode(&End::Full, out));
    assert_eq!(decode(&bytes).1, Some(JournalError::Malformed { record: 0 }));
    let (mut bytes, _) = journal();
    let records = decode(&bytes).0.len() as u64;
    bytes.push(0);
    assert_eq!(decode(&bytes).1, Some(JournalError::Damaged { record: records }));
}

#[test]
fn a_journal_ends_once_and_key_uses_that_were_lost_end_it() {
    let (start, _, uses) = start(VERSION);
    let mut out = Vec::new();
    let mut recorder = Recorder::begin(&start, &Saved::default(), uses.clone(), &mut out);
    uses.close();
    let begun = out.len();
    recorder.input(Instant::ZERO, &Input::Tick, &mut out);
    assert!(recorder.has_ended());
    assert_eq!(out.len(), begun, "the rest cannot be replayed, so it is left out");
}

proptest! {
    #[test]
    fn any_bytes_decode_or_fail(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        decode(&bytes);
        decode(&[MAGIC.as_slice(), &[FORMAT], &bytes].concat());
    }

    #[test]
    fn any_change_is_found_or_an_early_end(at in 0..100_000_usize, bit in 0..8_u8) {
        let (mut bytes, _) = journal();
        let whole = decode(&bytes).0.len();
        let at = at % bytes.len();
        bytes[at] ^= 1 << bit;
        let (records, error) = decode(&bytes);
        prop_assert!(error.is_some() && records.len() < whole);
    }

    #[test]
    fn any_body_decodes_or_fails(kind in 0..8_u8, body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut bytes = [MAGIC.as_slice(), &[FORMAT]].concat();
        let mut writer = Writer::default();
        writer.frame(Kind::Start as u8, &mut bytes, |out| encode(&start(VERSION).0, out));
        writer.frame(kind, &mut bytes, |out| out.extend_from_slice(&body));
        decode(&bytes);
        decode_output(&body);
    }
}
