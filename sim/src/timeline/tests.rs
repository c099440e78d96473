//! Tests of what a timeline contains.

use super::Timeline;
use crate::observer::recorder::rows::{Kind, Row};
use crate::{Executor, Options, Report, Scenario, run, run_drawn};
use engine::task::TaskStatus;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

fn scenario(name: &str, executor: Executor) -> Scenario {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios").join(name);
    Scenario::load(&file).unwrap().on(executor).unwrap()
}

/// The first of some runs in which the node that dies was running a task.
fn worker_dies(executor: Executor) -> (Report, Timeline) {
    let scenario = scenario("worker_dies.toml", executor);
    let mut runs = (7..27).map(|seed| run_drawn(&scenario, seed, Options::default()));
    runs.find(|(_, timeline)| timeline.recording.runs.iter().any(|run| run.end == "lost")).unwrap()
}

fn messages<'a>(timeline: &'a Timeline, name: &'a str) -> impl Iterator<Item = &'a Row> {
    timeline
        .recording
        .rows
        .iter()
        .filter(move |row| row.name == name && row.transfer.is_some_and(|transfer| transfer.to != row.node))
}

#[test]
fn a_power_loss_is_a_band_and_the_node_has_two_lives() {
    for executor in [Executor::EventQueue, Executor::Turmoil] {
        let (_, timeline) = worker_dies(executor);
        let bands: Vec<_> =
            timeline.recording.bands.iter().map(|band| (band.words.as_str(), band.from, band.to)).collect();
        assert_eq!(bands, [("n1 loses power", 5_000_000, Some(15_000_000))], "{executor}");
        assert_eq!(
            (timeline.recording.bands[0].groups.as_slice(), timeline.recording.bands[0].stops),
            ([(1, 0)].as_slice(), true)
        );
        let lives: Vec<_> =
            timeline.recording.lives.iter().filter(|life| life.node == 1 && life.state == "ACTIVE").collect();
        let [first, second] = lives.as_slice() else { panic!("{executor}: {lives:?}") };
        assert_eq!((first.to, second.to), (Some(5_000_000), None), "{executor}");
        assert!(second.from >= 15_000_000, "{executor}: {second:?}");
    }
}

#[test]
fn a_task_that_moves_is_seen_at_both_of_its_workers() {
    for executor in [Executor::EventQueue, Executor::Turmoil] {
        let (_, timeline) = worker_dies(executor);
        assert_eq!(timeline.recording.tasks.len(), 20, "{executor}");
        let lost = timeline.recording.runs.iter().find(|run| run.end == "lost").unwrap();
        assert_eq!((lost.node, lost.to), (1, Some(5_000_000)), "{executor}");
        let again = timeline
            .recording
            .runs
            .iter()
            .find(|run| run.task == lost.task && run.attempt > lost.attempt && run.end == "done");
        let again = again.unwrap();
        assert!(again.node != 1 && again.from > 5_000_000, "{executor}: {again:?}");
        let task = &timeline.recording.tasks[lost.task as usize - 1];
        assert_eq!((task.status, task.worker), (Some(TaskStatus::Completed), Some(again.node)), "{executor}");
        let first = task.attempts.iter().find(|attempt| attempt.worker == 1).unwrap();
        assert!(first.from < 5_000_000 && first.to > Some(5_000_000) && !first.end.is_empty(), "{first:?}");
    }
}

#[test]
fn messages_arrive_after_the_latency_or_not_at_all() {
    for executor in [Executor::EventQueue, Executor::Turmoil] {
        let (_, timeline) = worker_dies(executor);
        let outcomes: Vec<_> = messages(&timeline, "outcome").collect();
        assert!(outcomes.len() > 5, "{executor}: {outcomes:?}");
        for row in &outcomes {
            let took = row.transfer.and_then(|transfer| transfer.arrives).unwrap() - row.at;
            assert!((1_000..=8_000).contains(&took), "{executor}: {row:?}");
            assert!(
                row.node != 0 && row.transfer.is_some_and(|transfer| transfer.to == 0) && row.task > 0,
                "{executor}: {row:?}"
            );
        }
        let to_the_dead = timeline.recording.rows.iter().filter(|row| {
            row.at > 5_000_000
                && row.at < 14_900_000
                && row.transfer.is_some_and(|transfer| transfer.to == 1 && row.node != 1)
        });
        let to_the_dead: Vec<_> = to_the_dead.filter(|row| row.kind != Kind::Discovery).collect();
        assert!(!to_the_dead.is_empty(), "{executor}");
        assert!(
            to_the_dead.iter().all(|row| row.transfer.is_some_and(|transfer| transfer.arrives.is_none())),
            "{executor}"
        );
        // An acknowledgement is about the task of the acknowledged message.
        assert!(messages(&timeline, "ack").any(|row| row.task > 0), "{executor}");
        assert!(
            timeline.recording.texts.iter().any(|text| text.contains("Outcome") && text.contains("(task ")),
            "{executor}"
        );
    }
}

#[test]
fn partitions_name_their_groups_and_end_when_they_are_healed() {
    let (_, timeline) =
        run_drawn(&scenario("partition_heals.toml", Executor::EventQueue), 1, Options::default());
    let band = timeline.recording.bands.first().unwrap();
    assert!(
        band.words.starts_with("partition between") && !band.stops && band.to > Some(band.from),
        "{band:?}"
    );
    let groups: std::collections::BTreeSet<usize> = band.groups.iter().map(|(_, group)| *group).collect();
    assert_eq!(groups, [0, 1].into());
}

#[test]
fn drawing_a_run_changes_nothing_of_it_and_gives_the_same_file_each_time() {
    for executor in [Executor::EventQueue, Executor::Turmoil] {
        let scenario = scenario("worker_dies.toml", executor);
        let (report, first) = run_drawn(&scenario, 7, Options::default());
        assert_eq!(report.trace, run(&scenario, 7).trace, "{executor}");
        let (_, second) = run_drawn(&scenario, 7, Options::default());
        assert!(first.to_html() == second.to_html() && first.to_trace_events() == second.to_trace_events());
        let (_, other) = run_drawn(&scenario, 8, Options::default());
        assert!(first.to_html() != other.to_html() && first.to_trace_events() != other.to_trace_events());
    }
}

#[test]
fn hostile_texts_stay_texts() {
    let text = "# Why: </script><img onerror=alert(1)> \u{2028}\nnodes = 1\nduration = \"1s\"\nexecutor = \"event-queue\"\n";
    let scenario = Scenario::parse("<b>.toml", text).unwrap();
    let html = run_drawn(&scenario, 1, Options::default()).1.to_html();
    assert_eq!(html.matches("</script>").count(), 2);
    assert!(!html.contains("<img") && !html.contains("<b>"));
    assert!(data_of(&html)["why"].as_str().unwrap().contains("</script><img onerror=alert(1)>"));
}

#[test]
fn the_columns_of_the_page_are_of_one_length_and_in_order() {
    let (report, timeline) = worker_dies(Executor::EventQueue);
    let data = data_of(&timeline.to_html());
    let rows = data["rows"].as_object().unwrap();
    let lengths: BTreeMap<_, _> =
        rows.iter().map(|(name, column)| (name, column.as_array().unwrap().len())).collect();
    for (name, length) in lengths {
        assert!(name == "names" || length == timeline.recording.rows.len(), "{name}: {length}");
    }
    assert!(timeline.recording.rows.is_sorted_by_key(|row| row.at));
    assert_eq!(data["hash"], report.trace.hash.as_str());
    assert_eq!(data["repeat"], report.repeat.as_str());
    assert_eq!(data["leftOut"].as_array().unwrap().len(), 0);
}

#[test]
fn a_trace_for_perfetto_has_a_process_for_each_node_and_whole_flows() {
    let (_, timeline) = worker_dies(Executor::EventQueue);
    let trace: Value = serde_json::from_str(&timeline.to_trace_events()).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    let of = |phase: &str| events.iter().filter(|event| event["ph"] == phase).collect::<Vec<_>>();
    let names: Vec<_> = of("M").into_iter().filter(|event| event["name"] == "process_name").collect();
    assert_eq!(names.len(), 3);
    let ids = |phase: &str| of(phase).into_iter().map(|event| event["id"].to_string()).collect::<Vec<_>>();
    assert!(!ids("s").is_empty());
    assert_eq!(ids("s"), ids("f"));
    assert_eq!(ids("b"), ids("e"));
    assert!(of("b").iter().any(|event| event["cat"] == "job" && event["args"]["end"] == "lost"));
    assert!(of("i").iter().any(|event| event["cat"] == "fault" && event["name"] == "n1 loses power"));
    assert!(of("X").iter().any(|event| event["name"] == "ACTIVE" && event["pid"] == 2));
}

fn data_of(html: &str) -> Value {
    let (_, rest) = html.split_once(r#"id="data">"#).unwrap();
    serde_json::from_str(rest.split_once("</script>").unwrap().0).unwrap()
}
