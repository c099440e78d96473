use super::*;
use crate::{Options, Scenario};
use engine::journal::Decoder;
use engine::request::Request;
use std::fs;
use std::path::PathBuf;

/// A directory that is removed when it is dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("sim-replay-{name}-{}", std::process::id()));
        // A killed test may have left one behind.
        let _ = fs::remove_dir_all(&path);
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Records a run and returns the directory of its journals.
fn record(name: &str, executor: &str, seed: u64) -> Scratch {
    let scratch = Scratch::new(name);
    let text = format!("executor = \"{executor}\"\n{SCENARIO}");
    let scenario = Scenario::parse("story.toml", &text).unwrap();
    let report = crate::run_recorded(&scenario, seed, Options::default(), &scratch.0).unwrap();
    assert!(report.passed(), "{report}");
    assert_eq!(report.trace, crate::run(&scenario, seed).trace, "recording changes nothing");
    scratch
}

const SCENARIO: &str = r#"
nodes = 3
duration = "20s"
[workload]
tasks = 20
every = "200ms"
origin = "n0"
compute = "300ms..1s"
timeout = "60s"
[[fault]]
at = "5s"
kind = "kill"
node = "n1"
restart_after = "3s"
"#;

/// Returns where each record of a journal starts, and where the last ends.
fn boundaries(bytes: &[u8]) -> Vec<usize> {
    let (mut decoder, mut at) = (Decoder::default(), vec![0]);
    while let Some((_, used)) = decoder.decode(&bytes[at[at.len() - 1]..]).unwrap() {
        at.push(at[at.len() - 1] + used);
    }
    at
}

#[test]
fn every_life_of_every_node_is_replayed() {
    for executor in ["event-queue", "turmoil"] {
        let scratch = record(&format!("lives-{executor}"), executor, 3);
        let mut names: Vec<_> =
            fs::read_dir(&scratch.0).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["n0.1.journal", "n1.1.journal", "n1.2.journal", "n2.1.journal"], "{executor}");
        for name in names {
            let path = scratch.0.join(&name);
            let mut replayed = replay(&path, None).unwrap_or_else(|error| panic!("{name:?}: {error}"));
            assert_eq!(replayed.ended, Ended::Recorded(End::Stopped), "{name:?}");
            assert!(replayed.inputs > 30 && replayed.outputs > 30, "{name:?}: {}", replayed.inputs);
            let bytes = fs::read(&path).unwrap();
            assert_eq!(replayed.records, boundaries(&bytes).len() as u64 - 2, "{name:?}: all but the end");
            let state = replayed.state(Instant::ZERO).unwrap();
            assert_eq!((state.peers.len(), state.members.len()), (2, 3), "{name:?}");
        }
    }
}

#[test]
fn a_replay_stops_at_the_requested_time_and_shows_the_state() {
    let scratch = record("until", "event-queue", 3);
    let path = scratch.0.join("n0.1.journal");
    let at = |seconds: u64| Instant::from_micros(seconds * 1_000_000);
    let mut early = replay(&path, Some(at(6))).unwrap();
    assert_eq!(early.ended, Ended::Until);
    assert!(early.at <= at(6) && early.at > at(4), "{:?}", early.at);
    let state = early.state(at(6)).unwrap();
    assert_eq!(state.at, at(6));
    assert_eq!(state.peers.len(), 1, "n1 is dead then");
    assert!(state.tasks_total > 0 && state.status.tasks_running > 0, "{state:?}");
    let mut late = replay(&path, None).unwrap();
    assert_eq!(late.state(at(19)).unwrap().status.tasks_running, 0);
}

#[test]
fn a_differing_node_is_reported_at_its_first_record() {
    let scratch = record("else", "event-queue", 3);
    let path = scratch.0.join("n0.1.journal");
    let Err(ReplayError::Mismatch(mismatch)) =
        replay_with(&path, None, |config| config.max_concurrent_tasks = 1)
    else {
        panic!("a node with one slot says so in its advert");
    };
    let text = mismatch.to_string();
    let bytes = fs::read(&path).unwrap();
    let mut records = Records::open(&path).unwrap();
    for _ in 0..mismatch.record {
        records.next().unwrap();
    }
    let expected = describe(&records.next().unwrap().unwrap());
    assert_eq!(mismatch.expected, Some(expected), "{text}");
    assert_ne!(mismatch.expected, mismatch.got, "{text}");
    assert!(
        text.starts_with(&format!("the replay differs from the journal at record {}, at ", mismatch.record))
    );
    assert!(mismatch.record > 1 && mismatch.record < boundaries(&bytes).len() as u64, "{text}");
}

#[test]
fn a_missing_or_additional_output_is_reported() {
    let scratch = record("missing", "event-queue", 3);
    let path = scratch.0.join("n0.1.journal");
    // The numbers of outputs that precede an input: each is the last of its step.
    let (mut records, mut last, mut output) = (Records::open(&path).unwrap(), Vec::new(), None);
    while let Some(record) = records.next().unwrap() {
        let (follows, is_output) = (matches!(record, Record::Input(..)), matches!(record, Record::Output(_)));
        last.extend(output.filter(|_| follows));
        output = is_output.then(|| records.read() - 1);
    }
    // Writes the journal again, with one output left out or duplicated.
    let rewrite = |leave_out: Option<u64>, double: Option<u64>| {
        let (identity, uses) = Identity::replayed(engine::PublicKey([0; 32]));
        drop(identity);
        let mut records = Records::open(&path).unwrap();
        let Some(Record::Start(start)) = records.next().unwrap() else { panic!("no start") };
        let mut out = Vec::new();
        let saved = engine::Saved::default();
        let mut recorder = journal::Recorder::begin(&start, &saved, uses.clone(), &mut out);
        loop {
            let number = records.read();
            let Some(record) = records.next().unwrap() else { break };
            match record {
                Record::Input(now, input) => recorder.input(now, &input, &mut out),
                Record::KeyUse(result) => uses.push(result.to_vec()),
                Record::Output(body) => {
                    let output = journal::decode_output(body).unwrap();
                    let times =
                        if leave_out == Some(number) { 0 } else { 1 + u64::from(double == Some(number)) };
                    (0..times).for_each(|_| recorder.output(&output, &mut out));
                }
                Record::End(end) => recorder.end(end, &mut out),
                Record::SavedResult(_) | Record::SavedTask(_) | Record::Start(_) => {}
            }
        }
        let changed = scratch.0.join("changed");
        fs::write(&changed, out).unwrap();
        replay(&changed, None)
    };
    assert!(rewrite(None, None).is_ok());
    let last = last[last.len() / 2];
    let Err(ReplayError::Mismatch(missing)) = rewrite(Some(last), None) else { panic!("not found") };
    assert_eq!((missing.record, missing.expected.is_none(), missing.got.is_some()), (last, true, true));
    let Err(ReplayError::Mismatch(doubled)) = rewrite(None, Some(last)) else { panic!("not found") };
    assert_eq!((doubled.record, doubled.expected.is_some(), doubled.got), (last + 1, true, None));
}

#[test]
fn a_flipped_bit_is_an_error_that_names_the_record() {
    let scratch = record("flipped", "event-queue", 3);
    let path = scratch.0.join("n2.1.journal");
    let whole = fs::read(&path).unwrap();
    let boundaries = boundaries(&whole);
    for record in [0, 1, 40, 200] {
        let mut bytes = whole.clone();
        // A byte in the record's body, which starts after eight bytes and, in the first record, nine more; some bodies
        // have one byte.
        let body = if record == 0 { 8 + 9 } else { 8 };
        bytes[boundaries[record] + body] ^= 4;
        let changed = scratch.0.join("changed");
        fs::write(&changed, bytes).unwrap();
        let error = replay(&changed, None).unwrap_err();
        let ReplayError::Journal(error) = error else { panic!("{error}") };
        assert_eq!(error, JournalError::Damaged { record: record as u64 });
    }
}

#[test]
fn a_journal_that_is_cut_anywhere_is_replayed_up_to_there() {
    let scratch = record("cut", "event-queue", 3);
    let path = scratch.0.join("n2.1.journal");
    let whole = fs::read(&path).unwrap();
    let boundaries = boundaries(&whole);
    let cut = scratch.0.join("cut");
    let mut ends = 0;
    for end in (0..whole.len()).step_by(997) {
        fs::write(&cut, &whole[..end]).unwrap();
        let records = boundaries.iter().filter(|boundary| **boundary <= end).count() - 1;
        match replay(&cut, None) {
            Ok(replayed) => {
                assert_eq!((replayed.ended, replayed.records), (Ended::Cut, records as u64), "at {end}");
                ends += 1;
            }
            Err(ReplayError::Empty { records: told }) => {
                assert!(told == records as u64 && records < 5, "at {end}: {told}");
            }
            Err(error) => panic!("at {end}: {error}"),
        }
    }
    assert!(ends > 10, "{ends}");
    // Between an input and its first output a use of the key may be missing: that step is not replayed.
    let (mut records, mut kinds) = (Records::open(&path).unwrap(), Vec::new());
    while let Some(record) = records.next().unwrap() {
        kinds.push((matches!(record, Record::Input(..)), matches!(record, Record::Output(_))));
    }
    let mut left_out = 0;
    for count in 10..150 {
        fs::write(&cut, &whole[..boundaries[count]]).unwrap();
        let told = kinds[..count].iter().rposition(|(input, _)| *input).unwrap_or(0);
        let undone = u64::from(!kinds[told..count].iter().any(|(_, output)| *output));
        let inputs = kinds[..count].iter().filter(|(input, _)| *input).count() as u64 - undone;
        let replayed = replay(&cut, None).unwrap();
        assert_eq!((replayed.inputs, replayed.records), (inputs, count as u64), "after {count} records");
        left_out += undone;
    }
    assert!(left_out > 20, "{left_out}");
}

#[test]
fn a_file_that_is_no_journal_is_rejected() {
    let scratch = Scratch::new("garbage");
    fs::create_dir_all(&scratch.0).unwrap();
    let path = scratch.0.join("garbage");
    for garbage in [&b"x"[..], b"#!/bin/sh\n", &[0; 5000]] {
        fs::write(&path, garbage).unwrap();
        let error = replay(&path, None).unwrap_err();
        assert!(matches!(error, ReplayError::Journal(JournalError::NotAJournal)), "{error}");
        assert!(error.hint().contains("--record"), "{}", error.hint());
    }
    fs::write(&path, b"").unwrap();
    assert!(matches!(replay(&path, None), Err(ReplayError::Empty { records: 0 })));
    assert!(matches!(replay(&scratch.0, None), Err(ReplayError::Io(_))));
    assert!(matches!(replay(&scratch.0.join("nothing"), None), Err(ReplayError::Io(_))));
}

#[test]
fn a_playback_loses_no_event_and_keeps_none_at_its_end() {
    let scratch = record("playback", "event-queue", 3);
    let path = scratch.0.join("n0.1.journal");
    let whole = fs::read(&path).unwrap();
    let mut records = Records::open(&path).unwrap();
    while !matches!(records.next().unwrap(), None | Some(Record::Input(..))) {}
    let before_inputs = boundaries(&whole)[records.read() as usize - 1];
    let cut = scratch.0.join("cut");
    fs::write(&cut, &whole[..before_inputs]).unwrap();
    let mut playback = Playback::open(&cut).unwrap();
    assert_eq!(playback.next_at(), Some(playback.started()));
    assert!(!playback.step().unwrap().is_empty(), "the construction has events");
    assert_eq!((playback.next_at(), playback.step().unwrap().len()), (None, 0));
    assert!(matches!(playback.ask(Request::Status), Some(Ok(_))));
}

#[test]
fn a_directory_with_something_in_it_is_not_recorded_into() {
    let scratch = record("twice", "event-queue", 3);
    let scenario = Scenario::parse("story.toml", SCENARIO).unwrap();
    let error = crate::run_recorded(&scenario, 3, Options::default(), &scratch.0).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
}
