//! A simulated day of a node that checks its own health.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say where")]
#![allow(clippy::wildcard_enum_match_arm, reason = "all but a few outputs have nothing to do with it")]

use engine::error::WriteError;
use engine::health::{HealthReason, HostFacts, Verdict};
use engine::{Config, Event, Identity, Input, Instant, Node, Output, Saved, UnixMillis};

const HOUR: u64 = 3_600_000_000;

/// A change of a node's health: the hour, and the new verdict and reasons.
type Change = (u64, Verdict, Vec<HealthReason>);

/// Runs a lone node for some hours. All writes that it begins in the hour `bad` fail. Returns the number of checks, the
/// changes of its health, and the highest fill level of any collection.
fn run(hours: u64, bad: Option<u64>) -> (u64, Vec<Change>, u64) {
    let config = Config { discovery: false, ..Config::default() };
    let (now, wall) = (Instant::ZERO, UnixMillis(1_700_000_000_000));
    let mut node = Node::new(config, Identity::from_secret(&[7; 32]), [1; 32], now, wall, Saved::default());
    let mut now = now;
    let mut inputs = vec![Input::Listening { port: 9000 }];
    let (mut checks, mut changes, mut most) = (0, Vec::new(), 0);
    while now.as_micros() < hours * HOUR {
        let hour = now.as_micros() / HOUR;
        while let Some(output) = node.poll_output() {
            match output {
                Output::Write { id, .. } => {
                    let result = if bad == Some(hour) { Err(WriteError::Full) } else { Ok(()) };
                    inputs.push(Input::WriteDone { id, result });
                }
                Output::Examine => {
                    checks += 1;
                    let facts = HostFacts {
                        config_readable: true,
                        crypto_micros: 90,
                        memory_bytes: 1 << 20,
                        records_damaged: 0,
                        disk: None,
                    };
                    inputs.push(Input::Examined(facts));
                }
                Output::Event(Event::HealthChanged { verdict, reasons }) => {
                    changes.push((hour, verdict, reasons))
                }
                _ => {}
            }
        }
        let kept: u64 = node.occupancy().map(|place| place.current).sum();
        most = most.max(kept);
        let input = inputs.pop().unwrap_or_else(|| {
            now = node.poll_timeout().unwrap().at;
            Input::Tick
        });
        node.handle_input(now, input);
    }
    (checks, changes, most)
}

#[test]
fn a_day_of_checks_leaves_nothing_behind() {
    let (checks, changes, most_of_a_day) = run(24, None);
    assert_eq!(checks, 24 * 120, "one each 30 s");
    assert_eq!(changes, []);
    assert_eq!(most_of_a_day, run(1, None).2, "no more than in the first hour");
}

#[test]
fn a_full_disk_is_told_once_and_once_more_when_there_is_room() {
    let (_, changes, _) = run(5, Some(3));
    assert_eq!(changes, [(3, Verdict::Fail, vec![HealthReason::StorageFailed]), (4, Verdict::Pass, vec![])]);
}
