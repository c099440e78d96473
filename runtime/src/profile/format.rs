//! The file format of `pprof`: the messages of `profile.proto`, as far as a CPU profile needs them.
//!
//! Each sample names its process and its thread by labels, so that `go tool pprof -tagfocus` can select them.

use super::{SAMPLES_PER_SECOND, Samples};
use engine::UnixMillis;
use prost::Message;
use std::collections::HashMap;
use std::time::Duration;

/// Encodes the samples of several processes as one profile.
pub(crate) fn encode(processes: &[(String, Samples)], begun: UnixMillis, length: Duration) -> Vec<u8> {
    let mut strings = Strings::default();
    // The first string is empty, by the format.
    strings.place("");
    let nanoseconds = ValueType { kind: strings.place("cpu"), unit: strings.place("nanoseconds") };
    let count = ValueType { kind: strings.place("samples"), unit: strings.place("count") };
    let (process_key, thread_key) = (strings.place("process"), strings.place("thread"));
    let period = 1_000_000_000 / i64::from(SAMPLES_PER_SECOND);
    let nanos = |duration: Duration| i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
    let mut profile = Profile {
        sample_type: vec![count, nanoseconds],
        time_nanos: nanos(Duration::from_millis(begun.0)),
        duration_nanos: nanos(length),
        period_type: Some(nanoseconds),
        period,
        ..Profile::default()
    };
    for (process, samples) in processes {
        let process = strings.place(process);
        let mut locations: HashMap<(u32, u32), u64> = HashMap::new();
        let first = profile.function.len() as u64;
        for (place, function) in (1..).zip(&samples.functions) {
            let name = strings.place(&function.name);
            let filename = strings.place(&function.file);
            profile.function.push(Function { id: first + place, name, filename });
        }
        for stack in &samples.stacks {
            // Another process sent them, so an index may be wrong.
            let is_known = |frame: &&(u32, u32)| (frame.0 as usize) < samples.functions.len();
            let location_id = stack.frames.iter().filter(is_known).map(|frame| {
                *locations.entry(*frame).or_insert_with(|| {
                    let id = profile.location.len() as u64 + 1;
                    let line = Line { function_id: first + u64::from(frame.0) + 1, line: frame.1.into() };
                    profile.location.push(Location { id, line: vec![line] });
                    id
                })
            });
            let location_id = location_id.collect();
            let count = i64::try_from(stack.count).unwrap_or(i64::MAX);
            let thread = strings.place(&stack.thread);
            let label =
                vec![Label { key: process_key, str: process }, Label { key: thread_key, str: thread }];
            let value = vec![count, count.saturating_mul(period)];
            profile.sample.push(Sample { location_id, value, label });
        }
    }
    profile.string_table = strings.all;
    profile.encode_to_vec()
}

/// The strings of a profile, each once.
#[derive(Default)]
struct Strings {
    all: Vec<String>,
    places: HashMap<String, i64>,
}

impl Strings {
    fn place(&mut self, text: &str) -> i64 {
        if let Some(place) = self.places.get(text) {
            return *place;
        }
        let place = i64::try_from(self.all.len()).unwrap_or(i64::MAX);
        self.all.push(text.to_owned());
        self.places.insert(text.to_owned(), place);
        place
    }
}

#[derive(Clone, PartialEq, Message)]
struct Profile {
    #[prost(message, repeated, tag = "1")]
    sample_type: Vec<ValueType>,
    #[prost(message, repeated, tag = "2")]
    sample: Vec<Sample>,
    #[prost(message, repeated, tag = "4")]
    location: Vec<Location>,
    #[prost(message, repeated, tag = "5")]
    function: Vec<Function>,
    #[prost(string, repeated, tag = "6")]
    string_table: Vec<String>,
    #[prost(int64, tag = "9")]
    time_nanos: i64,
    #[prost(int64, tag = "10")]
    duration_nanos: i64,
    #[prost(message, optional, tag = "11")]
    period_type: Option<ValueType>,
    #[prost(int64, tag = "12")]
    period: i64,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct ValueType {
    #[prost(int64, tag = "1")]
    kind: i64,
    #[prost(int64, tag = "2")]
    unit: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Sample {
    #[prost(uint64, repeated, tag = "1")]
    location_id: Vec<u64>,
    #[prost(int64, repeated, tag = "2")]
    value: Vec<i64>,
    #[prost(message, repeated, tag = "3")]
    label: Vec<Label>,
}

#[derive(Clone, PartialEq, Message)]
struct Label {
    #[prost(int64, tag = "1")]
    key: i64,
    #[prost(int64, tag = "2")]
    str: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Location {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(message, repeated, tag = "4")]
    line: Vec<Line>,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Line {
    #[prost(uint64, tag = "1")]
    function_id: u64,
    #[prost(int64, tag = "2")]
    line: i64,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Function {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(int64, tag = "2")]
    name: i64,
    // Without a system name, the name counts as demangled, and pprof shows it unchanged.
    #[prost(int64, tag = "4")]
    filename: i64,
}

#[cfg(test)]
mod tests {
    use super::super::{Function as SampledFunction, Running, Stack};
    use super::*;
    use std::time::Instant;

    #[test]
    fn processes_are_told_apart_and_wrong_indices_are_ignored() {
        let function = |name: &str| SampledFunction { name: name.to_owned(), file: String::new() };
        let samples = |name: &str, frames: &[(u32, u32)]| Samples {
            functions: vec![function(name), function("main")],
            stacks: vec![Stack { thread: "t".to_owned(), frames: frames.to_vec(), count: 3 }],
        };
        let processes = [
            ("node".to_owned(), samples("serve", &[(0, 7), (1, 9)])),
            ("model m".to_owned(), samples("compute", &[(0, 1), (99, 1), (1, 2)])),
        ];
        let bytes = encode(&processes, UnixMillis(5), Duration::from_secs(1));
        let profile = Profile::decode(bytes.as_slice()).unwrap();
        let text = |place: i64| profile.string_table[usize::try_from(place).unwrap()].as_str();
        assert_eq!(profile.string_table[0], "");
        let shown: Vec<(String, String, Vec<&str>)> = profile
            .sample
            .iter()
            .map(|sample| {
                let names = sample.location_id.iter().map(|id| {
                    let location = profile.location.iter().find(|location| location.id == *id).unwrap();
                    let function = location.line[0].function_id;
                    text(profile.function.iter().find(|known| known.id == function).unwrap().name)
                });
                let label = |place: usize| {
                    let label = &sample.label[place];
                    format!("{}={}", text(label.key), text(label.str))
                };
                (label(0), label(1), names.collect())
            })
            .collect();
        let (node, model) = (&shown[0], &shown[1]);
        assert_eq!(*node, ("process=node".to_owned(), "thread=t".to_owned(), vec!["serve", "main"]));
        assert_eq!(*model, ("process=model m".to_owned(), "thread=t".to_owned(), vec!["compute", "main"]));
        assert_eq!(profile.sample[0].value, [3, 3 * profile.period]);
        assert_eq!((profile.time_nanos, profile.duration_nanos), (5_000_000, 1_000_000_000));
    }

    /// A function with a name to look for.
    #[inline(never)]
    fn burn_processor_time(until: Instant) -> u64 {
        let mut sum = 0_u64;
        while Instant::now() < until {
            (0..10_000)
                .for_each(|number| sum = sum.wrapping_mul(31).wrapping_add(std::hint::black_box(number)));
        }
        sum
    }

    #[test]
    fn a_busy_function_is_in_the_profile_and_there_is_one_at_a_time() {
        let running = Running::start().unwrap();
        assert!(Running::start().is_err(), "one profile at a time");
        std::hint::black_box(burn_processor_time(Instant::now() + Duration::from_millis(300)));
        let samples = running.stop().unwrap();
        let place =
            samples.functions.iter().position(|function| function.name.contains("burn_processor_time"));
        let place = u32::try_from(place.expect("the busy function was sampled")).unwrap();
        let of_it: u64 = samples
            .stacks
            .iter()
            .filter(|stack| stack.frames.iter().any(|(function, _)| *function == place))
            .map(|stack| stack.count)
            .sum();
        assert!(of_it >= 5, "{of_it} samples of 300 ms");
        // A second profile starts anew.
        assert!(Running::start().unwrap().stop().unwrap().stacks.len() < 100);
    }
}
