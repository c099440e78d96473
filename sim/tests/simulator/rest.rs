//! An idle mesh comes to rest: once all nodes know each other, no link comes up or goes down.

#![allow(clippy::unwrap_used, reason = "a test whose setup fails has failed")]

use sim::{Executor, Scenario};

#[test]
fn no_link_is_made_once_the_mesh_is_whole() {
    for (multicast, max_peers) in [(true, 32), (false, 32), (false, 8)] {
        let links = |seconds: u64| {
            let report = sim::run(&idle(seconds, multicast, max_peers), 1);
            assert!(report.passed(), "{report}");
            let count = |event| report.events.get(event).copied().unwrap_or_default();
            (count("link_up"), count("link_down"))
        };
        assert_eq!(links(60), links(600), "multicast = {multicast}, max_peers = {max_peers}");
    }
}

fn idle(seconds: u64, multicast: bool, max_peers: u16) -> Scenario {
    let text = format!(
        "nodes = 40\nduration = \"{seconds}s\"\n[network]\nmulticast = {multicast}\n\
         [node]\nmax_peers = {max_peers}\n[liveness]\nafter = \"20s\"\nwithin = \"10s\"\n"
    );
    Scenario::parse("idle", &text).unwrap().on(Executor::EventQueue).unwrap()
}
