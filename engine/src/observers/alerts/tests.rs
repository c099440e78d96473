#![allow(clippy::wildcard_enum_match_arm, reason = "only some events and steps are looked for")]

use super::*;
use crate::health::{DiskSpace, Finding};
use crate::ids::LinkId;
use crate::task::TaskKind;

const PEER: NodeId = NodeId([1; 16]);
const REQUEST: RequestId = RequestId(7);

/// The alerts of an ACTIVE node with four peers, and its time.
struct Node {
    alerts: Alerts,
    now: Instant,
    figures: Figures,
    /// Number of evaluations.
    evaluations: u32,
}

impl Node {
    fn new(saved: SavedAlerts) -> Self {
        let mut alerts = Alerts::new(saved);
        alerts.handle_active();
        let figures = Figures { peers: 4, models_unusable: 0 };
        let mut node = Self { alerts, now: Instant::ZERO, figures, evaluations: 0 };
        node.peers(4);
        node.pass(1);
        node
    }

    fn set(&mut self, changes: &[(Threshold, u64)]) {
        let changes = changes.iter().copied().collect();
        assert_eq!(self.alerts.handle_set(REQUEST, &changes, false), Ok(true));
        self.save(Ok(()));
    }

    fn save(&mut self, result: Result<(), WriteError>) -> Option<SavedAlerts> {
        let saved = self.alerts.poll_save(self.now)?;
        self.alerts.handle_saved(self.now, result);
        Some(saved)
    }

    fn event(&mut self, event: &Event) {
        self.alerts.handle_event(self.now, event);
    }

    fn peers(&mut self, peers: u64) {
        self.figures.peers = peers;
        self.event(&Event::LinkDown { link: LinkId(1), peer: PEER, reason: LinkDownReason::Closed });
    }

    fn finish(&mut self, status: TaskStatus) {
        self.alerts.handle_end(self.now, status);
    }

    /// Ends a health check at which memory and disk have these shares in percent.
    fn check(&mut self, memory: u64, disk: u64, failed: &[Component]) {
        let finding =
            |component: &Component| Finding { component: *component, verdict: Verdict::Fail, reason: None };
        self.alerts.handle_health(&HealthReport {
            verdict: Verdict::Pass,
            findings: failed.iter().map(finding).collect(),
            memory_bytes: Some(memory * 10),
            memory_bytes_max: 1_000,
            disk: Some(DiskSpace { bytes_free: 100 - disk, bytes_total: 100 }),
            took_micros: 0,
        });
    }

    /// Lets time pass as the loop of a node does, and returns what was raised and cleared, with the second.
    fn pass(&mut self, seconds: u64) -> Vec<(u64, &'static str, AlertRule, u64)> {
        let end = self.now.after(Duration::from_secs(seconds));
        let mut seen = Vec::new();
        while let Some(at) = self.alerts.poll_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at).after(Duration::from_micros(1));
            if self.alerts.is_due(self.now) {
                self.evaluations += 1;
                let wall = UnixMillis(self.now.as_micros() / 1_000);
                for event in self.alerts.evaluate(self.now, wall, self.figures) {
                    let second = self.now.as_micros() / 1_000_000;
                    match event {
                        Event::AlertRaised { rule, value, severity, threshold } => {
                            assert_eq!(severity, rule.severity());
                            assert!(threshold != value, "{rule}");
                            seen.push((second, "raised", rule, value));
                        }
                        Event::AlertCleared { rule, value, .. } => {
                            seen.push((second, "cleared", rule, value));
                        }
                        other => panic!("{other:?}"),
                    }
                }
            }
            self.save(Ok(()));
            assert!(self.alerts.poll_timeout().is_none_or(|next| next > self.now), "it spins");
        }
        self.now = end;
        seen
    }
}

fn node() -> Node {
    Node::new(SavedAlerts::default())
}

#[test]
fn too_few_peers_for_long_raise_one_alert_and_enough_clear_it() {
    let mut node = node();
    node.peers(1);
    assert_eq!(node.pass(20), []);
    node.peers(2);
    assert_eq!(node.pass(100), [], "it was a spike");
    node.peers(1);
    let begun = node.now.as_micros() / 1_000_000;
    let raised = node.pass(500);
    assert_eq!(raised, [(begun + 30, "raised", AlertRule::PeerCount, 1)]);
    node.peers(0);
    assert_eq!(node.pass(100), [], "it is raised already");
    assert_eq!(node.alerts.view().active[0].1, 0, "the present value");
    node.peers(2);
    assert_eq!(node.pass(20), []);
    node.peers(1);
    assert_eq!(node.pass(50), [], "it was not well for long");
    node.peers(3);
    let begun = node.now.as_micros() / 1_000_000;
    assert_eq!(node.pass(100), [(begun + 30, "cleared", AlertRule::PeerCount, 3)]);
    let history = node.alerts.history(10, 0);
    assert_eq!((history.total, history.alerts[0].cleared.map(|cleared| cleared.value)), (1, Some(3)));
    assert!(node.alerts.view().active.is_empty());
}

#[test]
fn a_node_that_never_had_peers_misses_none_unless_its_user_says_so() {
    let mut alone = node();
    alone.alerts.peers_most = 0;
    alone.peers(0);
    assert_eq!(alone.pass(500), []);
    let mut one_of_two = node();
    one_of_two.alerts.peers_most = 1;
    one_of_two.peers(1);
    assert_eq!(one_of_two.pass(500), []);
    one_of_two.peers(0);
    assert_eq!(one_of_two.pass(100).len(), 1);
    alone.set(&[(Threshold::PeerWarning, 1), (Threshold::ForMs, 2_000)]);
    let begun = alone.now.as_micros() / 1_000_000;
    assert_eq!(alone.pass(100), [(begun + 2, "raised", AlertRule::PeerCount, 0)]);
    alone.set(&[(Threshold::PeerWarning, 0)]);
    assert_eq!(alone.pass(100).len(), 1, "it is cleared");
}

#[test]
fn memory_has_two_thresholds_each_with_a_margin() {
    let mut node = node();
    let mut seen = Vec::new();
    for memory in [86, 80, 86, 86, 96, 96, 91, 91, 90, 90, 81, 81, 80, 86, 80, 80] {
        node.check(memory, 0, &[]);
        seen.extend(node.pass(30).into_iter().map(|(_, what, rule, value)| (what, rule, value)));
    }
    let (warning, critical) = (AlertRule::MemoryWarning, AlertRule::MemoryCritical);
    let expected = [
        ("raised", warning, 86),
        ("raised", critical, 96),
        ("cleared", critical, 90),
        ("cleared", warning, 80),
    ];
    assert_eq!(seen, expected);
}

#[test]
fn a_condition_of_health_checks_needs_two_of_them() {
    let mut node = node();
    node.check(10, 96, &[Component::Storage, Component::Memory]);
    assert_eq!(node.pass(300), [], "one check");
    node.check(10, 96, &[Component::Storage]);
    let seen: Vec<_> = node.pass(300).into_iter().map(|(_, _, rule, value)| (rule, value)).collect();
    assert_eq!(seen, [(AlertRule::DiskUsed, 96), (AlertRule::HealthFailed, 1)]);
    for _ in 0..2 {
        node.check(10, 94, &[]);
        assert!(
            node.pass(30)
                .iter()
                .all(|(_, what, rule, _)| (*what, *rule) == ("cleared", AlertRule::HealthFailed))
        );
    }
    node.check(10, 93, &[]);
    node.pass(30);
    node.check(10, 93, &[]);
    assert_eq!(node.pass(30).len(), 1);
    node.set(&[(Threshold::ForMs, 0)]);
    node.check(99, 0, &[]);
    assert_eq!(node.pass(1).len(), 2, "without a duration, one check is enough");
}

#[test]
fn a_share_of_failed_tasks_counts_once_there_are_enough() {
    let mut node = node();
    (0..10).for_each(|_| node.finish(TaskStatus::Failed));
    (0..9).for_each(|_| node.finish(TaskStatus::Completed));
    (0..50).for_each(|_| node.finish(TaskStatus::Cancelled));
    assert_eq!(node.pass(100), [], "too few");
    node.finish(TaskStatus::Timeout);
    assert_eq!(
        node.pass(100).iter().map(|seen| (seen.2, seen.3)).collect::<Vec<_>>(),
        [(AlertRule::TaskFailure, 55)]
    );
    // When the failures are five minutes old, they no longer count.
    assert_eq!(node.pass(400).iter().map(|seen| (seen.1, seen.3)).collect::<Vec<_>>(), [("cleared", 0)]);
    let evaluations = node.evaluations;
    (0..100).for_each(|_| {
        node.finish(TaskStatus::Completed);
        node.pass(1);
    });
    assert_eq!(node.evaluations, evaluations, "tasks that complete change nothing");
    (0..11).for_each(|_| node.finish(TaskStatus::Failed));
    assert_eq!(node.pass(200), [], "11 of 111");
}

#[test]
fn late_messages_raise_an_alert_only_if_they_go_on() {
    let mut node = node();
    let mut send = |seconds: u64, millis: u64| {
        let mut seen = Vec::new();
        for _ in 0..seconds {
            (0..3).for_each(|_| node.alerts.handle_round_trip(node.now, millis * 1_000));
            seen.extend(node.pass(1).into_iter().map(|(_, what, rule, _)| (what, rule)));
        }
        (seen, node.evaluations)
    };
    let (seen, before) = send(100, 50);
    assert_eq!(seen, []);
    assert_eq!(before, 1, "fast messages change nothing");
    assert_eq!(send(5, 2_000).0, []);
    assert_eq!(send(100, 50).0, [], "a burst is no trend");
    assert_eq!(send(60, 700).0, [("raised", AlertRule::MessageP99)]);
    assert_eq!(send(100, 450).0, [], "within the margin");
    assert_eq!(send(100, 50).0, [("cleared", AlertRule::MessageP99)]);
}

#[test]
fn a_clock_that_differs_is_forgotten_with_its_peer_or_once_it_is_right() {
    let differs = Event::ClockDiffers { peer: PEER, ahead_millis: -40_000 };
    let down = |reason| Event::LinkDown { link: LinkId(1), peer: PEER, reason };
    let ends: [&dyn Fn(&mut Node); 3] = [
        &|node| node.event(&down(LinkDownReason::Closed)),
        &|node| node.event(&Event::ClockSet { by_millis: -99_000 }),
        &|node| node.alerts.handle_time(PEER, -500),
    ];
    for end in ends {
        let mut node = node();
        node.event(&differs);
        assert_eq!(node.pass(5), []);
        node.event(&down(LinkDownReason::Duplicate));
        node.alerts.handle_time(PEER, -40_000);
        node.event(&Event::ClockSet { by_millis: 60_000 });
        let seen = node.pass(50);
        assert_eq!((seen.len(), seen[0].2, seen[0].3), (1, AlertRule::ClockDiffers, 100));
        end(&mut node);
        let seen = node.pass(50);
        assert_eq!((seen.len(), seen[0].1), (1, "cleared"));
    }
}

#[test]
fn a_model_that_stays_away_raises_an_alert() {
    let mut node = node();
    let changed = Event::ModelChanged { model: "m".to_owned(), kind: TaskKind::Embedding, ready: false };
    node.figures.models_unusable = 1;
    node.event(&changed);
    assert_eq!(node.pass(50), []);
    assert_eq!(node.pass(50).len(), 1);
    node.figures.models_unusable = 0;
    node.event(&changed);
    assert_eq!(node.pass(100).len(), 1);
}

#[test]
fn thresholds_apply_once_they_are_stored() {
    let mut node = node();
    let changes = BTreeMap::from([(Threshold::PeerWarning, 9)]);
    assert_eq!(node.alerts.handle_set(REQUEST, &changes, false), Ok(true));
    assert_eq!(node.alerts.handle_set(RequestId(8), &changes, false), Ok(false), "one at a time");
    let saved = node.alerts.poll_save(node.now).unwrap();
    assert_eq!(saved.thresholds.set(Threshold::PeerWarning), Some(9));
    assert_eq!(node.alerts.poll_save(node.now), None, "one write at a time");
    let failed = node.alerts.handle_saved(node.now, Err(WriteError::Full));
    assert_eq!(failed, Some((REQUEST, Err(WriteError::Full))));
    assert_eq!(node.alerts.view().thresholds, Thresholds::default());
    node.set(&[(Threshold::PeerWarning, 9)]);
    assert_eq!(node.alerts.view().thresholds.set(Threshold::PeerWarning), Some(9));
    assert_eq!(node.alerts.handle_set(REQUEST, &BTreeMap::new(), true), Ok(true));
    assert_eq!(node.alerts.handle_leave(), Some(REQUEST));
}

#[test]
fn alerts_are_stored_until_a_write_succeeds_and_go_on_after_a_restart() {
    let mut first = node();
    first.peers(0);
    first.now = first.now.after(Duration::from_secs(40));
    let figures = first.figures;
    first.alerts.evaluate(first.now, UnixMillis(1), figures);
    first.now = first.now.after(Duration::from_secs(40));
    assert_eq!(first.alerts.evaluate(first.now, UnixMillis(2), figures).len(), 1);
    assert!(first.save(Err(WriteError::Io)).is_some());
    assert_eq!(first.save(Ok(())), None, "not at once");
    first.now = first.now.after(SAVE_BACKOFF);
    let saved = first.save(Ok(())).unwrap();
    assert_eq!(first.save(Ok(())), None);
    let mut second = Node::new(saved.clone());
    assert_eq!(second.alerts.active().count(), 1);
    assert_eq!(second.pass(10), []);
    assert_eq!(second.pass(50).iter().map(|seen| seen.1).collect::<Vec<_>>(), ["cleared"]);
    let twice = SavedAlerts { alerts: [saved.alerts[0]; 2].into(), ..saved };
    assert_eq!(Alerts::new(twice).active().count(), 1, "of each rule one is active");
}

#[test]
fn the_history_is_bounded_and_keeps_what_is_active() {
    let mut node = node();
    node.set(&[(Threshold::ForMs, 0)]);
    node.figures.models_unusable = 1;
    let down = Event::LinkDown { link: LinkId(1), peer: PEER, reason: LinkDownReason::Closed };
    for round in 0..600 {
        node.figures.peers = 4 * (round % 2);
        node.event(&down);
        node.pass(2);
    }
    assert_eq!(node.alerts.alerts.len(), ALERTS_MAX);
    let active: Vec<AlertRule> = node.alerts.active().map(|alert| alert.rule).collect();
    assert_eq!(active, [AlertRule::ModelUnusable]);
    let page = node.alerts.history(3, 250);
    assert_eq!((page.total, page.alerts.len()), (256, 3));
    assert_eq!(node.alerts.history(9, 300).alerts, []);
    for place in node.alerts.occupancy() {
        assert!(place.current <= place.limit, "{place:?}");
    }
}
