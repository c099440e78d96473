//! Real networks: nodes in namespaces find each other, notice lost nodes, and relay messages.

use crate::harness::until;
use crate::mesh::{Mesh, Moment, enter, resident};
use std::time::Duration;

/// The measurements of a run.
struct Figures {
    /// From the first start until the last node is ACTIVE.
    active: Duration,
    /// From then until all nodes see each other.
    whole: Duration,
    clean_exit: Option<Duration>,
    kill: Option<Duration>,
    silence: Duration,
    false_departures: usize,
    resident_kib: u64,
}

/// Starts this many nodes on one bridge and removes three: one is stopped, one killed, one disconnected.
fn measure(count: usize) -> Figures {
    let mut mesh = Mesh::new(&["br7"]);
    let places: Vec<usize> = (0..count).map(|_| mesh.place(&["br7"])).collect();
    let begun = Moment::now();
    for &place in &places {
        mesh.start(place, &["--no-model"]);
    }
    let active = places.iter().map(|&place| mesh.await_active(place)).max().unwrap();
    let whole = mesh.await_whole();
    let resident_kib = places.iter().map(|&place| resident(mesh.pid(place), "VmRSS")).sum::<u64>()
        / u64::try_from(count).unwrap();
    let mut gone = Vec::new();
    let mut clean_exit = None;
    let mut kill = None;
    if count > 3 {
        std::thread::sleep(REST);
        let at = mesh.stop(places[0]);
        clean_exit = Some(mesh.await_gone(places[0]).since(at));
        std::thread::sleep(REST);
        let at = mesh.kill(places[1]);
        kill = Some(mesh.await_gone(places[1]).since(at));
        gone.extend([places[0], places[1]]);
    }
    let last = *places.last().unwrap();
    let at = mesh.unplug(last);
    let silence = mesh.await_gone(last).since(at);
    gone.push(last);
    let false_departures = mesh.false_departures(&gone);
    Figures {
        active: active.since(begun),
        whole: whole.since(active),
        clean_exit,
        kill,
        silence,
        false_departures,
        resident_kib,
    }
}

/// The limits that also hold on a busy machine.
fn check(figures: &Figures) {
    for (what, took) in [("stopped", figures.clean_exit), ("killed", figures.kill)] {
        assert!(took.is_none_or(|took| took <= Duration::from_secs(5)), "{what}: seen after {took:?}");
    }
    assert!(figures.silence <= Duration::from_secs(24), "silent: seen after {:?}", figures.silence);
    assert_eq!(figures.false_departures, 0, "nobody else was taken for gone");
}

#[test]
fn two_nodes_on_a_bridge() {
    if enter("namespaces::two_nodes_on_a_bridge") {
        check(&measure(2));
    }
}

#[test]
fn eight_nodes_on_a_bridge() {
    if enter("namespaces::eight_nodes_on_a_bridge") {
        check(&measure(8));
    }
}

#[test]
fn a_task_goes_around_the_corner_and_finds_another_way_when_the_corner_is_gone() {
    if !enter("namespaces::a_task_goes_around_the_corner_and_finds_another_way_when_the_corner_is_gone") {
        return;
    }
    let mut mesh = Mesh::new(&["br1", "br2"]);
    let [near, far] = [mesh.place(&["br1"]), mesh.place(&["br2"])];
    let [corner, other] = [mesh.place(&["br1", "br2"]), mesh.place(&["br1", "br2"])];
    mesh.start(near, &["--no-model"]);
    mesh.start(far, &[]);
    mesh.start(corner, &["--no-model"]);
    for place in [near, far, corner] {
        mesh.await_active(place);
    }
    mesh.await_whole();
    let peers = mesh.json(near, &["node", "peers", "--json"]);
    assert_eq!(peers["peers"].as_array().unwrap().len(), 1, "only the corner is in reach: {peers}");
    let embed = |mesh: &Mesh| {
        let task = ["task", "submit", "--input", "hello", "--type", "embedding", "--wait", "--json"];
        mesh.json(near, &task)["worker"].clone()
    };
    until("the far node's model is ready", || {
        mesh.json(far, &["node", "status", "--json"])["models"][0]["ready"].as_bool()?.then_some(())
    });
    until("the near node knows of the model", || {
        let task = ["task", "submit", "--input", "hello", "--type", "embedding", "--wait"];
        (mesh.run(near, &task).code == 0).then_some(())
    });
    assert_eq!(embed(&mesh), mesh.id(far), "the near node has no model");

    mesh.start(other, &["--no-model"]);
    mesh.await_active(other);
    mesh.await_whole();
    for place in [near, far] {
        until("both corners are linked", || {
            let peers = mesh.json(place, &["node", "peers", "--json"]);
            (peers["peers"].as_array()?.len() == 2).then_some(())
        });
    }
    until("the near node has heard of the other way", || {
        let route = mesh.json(near, &["route", "explain", mesh.id(far), "--json"]);
        (!route["alternatives"].as_array()?.is_empty()).then_some(())
    });
    let at = mesh.kill(corner);
    assert_eq!(embed(&mesh), mesh.id(far), "there is another way");
    eprintln!("a task around the corner, just after the corner was killed: {:?}", Moment::now().since(at));
}

/// Prints a table; `scripts/mesh` calls this.
#[test]
#[ignore = "a measurement of as many nodes as MESH_NODES says, for scripts/mesh"]
fn figures() {
    if !enter("namespaces::figures") {
        return;
    }
    let count = std::env::var("MESH_NODES").unwrap().parse().unwrap();
    let figures = measure(count);
    let seconds = |duration: Option<Duration>| {
        duration.map_or_else(|| "-".to_owned(), |duration| format!("{:.2} s", duration.as_secs_f64()))
    };
    println!("{count} nodes in network namespaces on one bridge");
    for (what, took) in [
        ("first start until all are ACTIVE", Some(figures.active)),
        ("from then on until all see all", Some(figures.whole)),
        ("removed everywhere after a clean exit", figures.clean_exit),
        ("removed everywhere after kill -9", figures.kill),
        ("removed everywhere after its link went down", Some(figures.silence)),
    ] {
        println!("  {what:44}{:>8}", seconds(took));
    }
    println!("  {:44}{:>8}", "others wrongly taken for gone", figures.false_departures);
    println!("  {:44}{:>5} MB", "memory of a node, on average", figures.resident_kib / 1024);
}

/// Gossip about frequent changes is rate-limited, so each change here is the only one for a while.
const REST: Duration = Duration::from_secs(2);
