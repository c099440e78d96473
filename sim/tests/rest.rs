//! A mesh with nothing to do comes to rest: once everybody knows everybody, no link is made and none given up.

use sim::{Executor, Scenario};

#[test]
fn no_link_is_made_once_the_mesh_is_whole() {
    for multicast in [true, false] {
        let links = |seconds: u64| {
            let report = sim::run(&idle(seconds, multicast), 1);
            assert!(report.passed(), "{report}");
            let count = |event| report.events.get(event).copied().unwrap_or_default();
            (count("link_up"), count("link_down"), count("link_refused"))
        };
        assert_eq!(links(60), links(600), "multicast = {multicast}");
    }
}

fn idle(seconds: u64, multicast: bool) -> Scenario {
    let text = format!(
        "nodes = 24\nduration = \"{seconds}s\"\n[network]\nmulticast = {multicast}\n\
         [liveness]\nafter = \"20s\"\nwithin = \"10s\"\n"
    );
    Scenario::parse("idle", &text).unwrap().on(Executor::EventQueue).unwrap()
}
