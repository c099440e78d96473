//! Incomplete networks: only IPv6, interfaces that come and go, container bridges, blocked packets.

use crate::doctor::codes_in;
use crate::harness::{until, write};
use crate::mesh::{Mesh, Moment, enter, ip};
use crate::overload::announcement;
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

/// Returns the remote address of a node's only link.
#[track_caller]
fn only_peer(mesh: &Mesh, place: usize) -> String {
    let peers = mesh.json(place, &["node", "peers", "--json"]);
    assert_eq!(peers["peers"].as_array().unwrap().len(), 1, "{peers}");
    peers["peers"][0]["address"].as_str().unwrap().to_owned()
}

#[test]
fn with_nothing_but_ipv6_nodes_meet_and_work() {
    if !enter("interfaces::with_nothing_but_ipv6_nodes_meet_and_work") {
        return;
    }
    let mut mesh = Mesh::new(&["br1", "br2"]);
    let [one, two] = [mesh.bare_place(&["br1"]), mesh.bare_place(&["br1"])];
    let [three, four] = [mesh.bare_place(&["br2"]), mesh.bare_place(&["br2"])];
    for place in [three, four] {
        // Only configured addresses, none that the machine generated.
        mesh.ip(place, "addr flush dev eth0\n");
        mesh.ip(place, &format!("addr add fd00::{}/64 dev eth0\n", place + 1));
    }
    for (asks, works, prefix) in [(one, two, "[fe80::"), (three, four, "[fd00::")] {
        mesh.start(asks, &["--no-model"]);
        mesh.start(works, &[]);
        for place in [asks, works] {
            mesh.await_active(place);
        }
        let task = ["task", "submit", "--input", "hello", "--type", "embedding", "--wait", "--json"];
        let done = until("there is a model for the task", || {
            let ran = mesh.run(asks, &task);
            (ran.code == 0).then(|| serde_json::from_str::<Value>(&ran.stdout).unwrap())
        });
        assert_eq!(done["worker"], mesh.id(works));
        let address = only_peer(&mesh, asks);
        assert!(address.starts_with(prefix), "{address}");
        assert_eq!(codes_in(&mesh, asks), [""; 0]);
    }
}

#[test]
fn an_interface_that_goes_and_comes_back() {
    if !enter("interfaces::an_interface_that_goes_and_comes_back") {
        return;
    }
    let mut mesh = Mesh::new(&["br1"]);
    let [stays, goes] = [mesh.place(&["br1"]), mesh.place(&["br1"])];
    for place in [stays, goes] {
        mesh.start(place, &["--no-model"]);
    }
    for place in [stays, goes] {
        mesh.await_active(place);
    }
    mesh.await_whole();
    // A short outage has no effect.
    mesh.ip(goes, "link set eth0 down\n");
    until("the node knows", || (!has_address(&mesh, goes)).then_some(()));
    mesh.ip(goes, "link set eth0 up\n");
    until("the node knows", || has_address(&mesh, goes).then_some(()));
    let _ = only_peer(&mesh, stays);
    assert_eq!(mesh.false_departures(&[]), 0);
    // After a longer outage the nodes find each other again.
    mesh.ip(goes, "link set eth0 down\n");
    mesh.await_gone(goes);
    let at = Moment::now();
    mesh.ip(goes, "link set eth0 up\n");
    let took = mesh.await_whole().since(at);
    assert!(took < Duration::from_secs(10), "linked again after {took:?}");
}

/// Returns whether a node announces the address of its first interface.
fn has_address(mesh: &Mesh, place: usize) -> bool {
    let status = mesh.json(place, &["node", "status", "--json"]);
    status["addresses"].as_array().unwrap().iter().any(|at| at.as_str().unwrap().starts_with("10."))
}

#[test]
fn an_interface_that_is_added_later_is_spoken_on() {
    if !enter("interfaces::an_interface_that_is_added_later_is_spoken_on") {
        return;
    }
    let mut mesh = Mesh::new(&["br1", "br2"]);
    let [near, corner, far] = [mesh.place(&["br1"]), mesh.place(&["br1"]), mesh.place(&["br2"])];
    for place in [near, corner, far] {
        mesh.start(place, &["--no-model"]);
    }
    for place in [near, corner, far] {
        mesh.await_active(place);
    }
    until("the two on one bridge meet", || {
        (mesh.json(near, &["node", "status", "--json"])["members"] == 2).then_some(())
    });
    let at = Moment::now();
    mesh.plug(corner, "br2");
    let took = mesh.await_whole().since(at);
    assert!(took < Duration::from_secs(10), "the far node is found after {took:?}");
    assert!(only_peer(&mesh, far).starts_with("10.2."));
}

#[test]
fn a_bridge_of_containers_is_named_last() {
    if !enter("interfaces::a_bridge_of_containers_is_named_last") {
        return;
    }
    let mut mesh = Mesh::new(&["br7"]);
    ip("addr add 10.7.255.1/16 dev br7\n");
    let [one, two] = [mesh.bare_place(&[]), mesh.bare_place(&[])];
    for place in [one, two] {
        // The bridge comes first and has the same address on both machines, as is usual.
        mesh.ip(
            place,
            "link add docker0 type bridge\naddr add 172.17.0.1/16 dev docker0\nlink set docker0 up\n",
        );
        mesh.plug(place, "br7");
        mesh.start(place, &["--no-model"]);
    }
    for place in [one, two] {
        mesh.await_active(place);
    }
    mesh.await_whole();
    assert!(only_peer(&mesh, one).starts_with("10.7."));
    let said = announcement(mesh.id(two));
    let find = |address: [u8; 4]| said.windows(4).position(|bytes| bytes == address);
    let (real, container) = (find([10, 7, 0, 2]), find([172, 17, 0, 1]));
    assert!(real.is_some() && container.is_some() && real < container, "{real:?} {container:?} in {said:?}");
    assert_eq!(codes_in(&mesh, one), [""; 0]);
}

#[test]
fn where_multicast_is_blocked_the_user_is_told_and_an_address_helps() {
    if !enter("interfaces::where_multicast_is_blocked_the_user_is_told_and_an_address_helps") {
        return;
    }
    let mut mesh = Mesh::new(&["br1"]);
    let [open, shut] = [mesh.place(&["br1"]), mesh.place(&["br1"])];
    mesh.ip(shut, "link set eth0 multicast off\n");
    mesh.start(open, &["--no-model"]);
    mesh.start(shut, &["--no-model"]);
    for place in [open, shut] {
        mesh.await_active(place);
    }
    let state = |mesh: &Mesh| mesh.json(shut, &["node", "status", "--json"])["discovery"]["state"].clone();
    until("the node knows", || (state(&mesh) == "unavailable").then_some(()));
    let warned = |line: &Value| line["level"] == "WARN" && line["message"] == "discovery unavailable";
    until("its log says so", || mesh.log(shut).iter().any(warned).then_some(()));
    assert_eq!(codes_in(&mesh, shut), ["multicast_blocked", "alone"]);
    let said = mesh.run(shut, &["doctor"]).stdout;
    assert!(
        said.contains("Multicast does not work at 10.1.0.2") && said.contains("--bootstrap-peer"),
        "{said}"
    );
    mesh.run(shut, &["node", "stop"]).good();
    mesh.start(shut, &["--no-model", "--bootstrap-peer", "10.1.0.1:9000"]);
    mesh.await_active(shut);
    mesh.await_whole();
    assert_eq!(codes_in(&mesh, shut), ["multicast_blocked"]);
    mesh.ip(shut, "link set eth0 multicast on\n");
    until("the node knows", || (state(&mesh) == "available").then_some(()));
    for place in [open, shut] {
        assert_eq!(codes_in(&mesh, place), [""; 0]);
    }
}

#[test]
fn where_the_port_is_blocked_the_doctor_says_which() {
    if !enter("interfaces::where_the_port_is_blocked_the_doctor_says_which") {
        return;
    }
    let mut mesh = Mesh::new(&["br1"]);
    let [one, two] = [mesh.place(&["br1"]), mesh.place(&["br1"])];
    for place in [one, two] {
        mesh.ip(place, "rule add ipproto tcp dport 9000 unreachable\n");
        mesh.start(place, &["--no-model"]);
    }
    for place in [one, two] {
        mesh.await_active(place);
    }
    until("each says that it does not reach the other", || {
        (codes_in(&mesh, one) == ["dial_failed"] && codes_in(&mesh, two) == ["dial_failed"]).then_some(())
    });
    let said = mesh.run(one, &["doctor"]).stdout;
    assert!(said.contains("The node at 10.1.0.2:9000 cannot be reached"), "{said}");
    // Local addresses are looked up before any rule, unless that rule is moved behind another.
    mesh.ip(
        two,
        "rule add pref 9 lookup local\nrule del pref 0\nrule add pref 1 ipproto tcp dport 9000 unreachable\n",
    );
    let found = codes_in(&mesh, two);
    assert!(found.contains(&"port_closed".to_owned()), "{found:?}");
}

#[test]
fn a_key_on_two_machines_is_told_to_both_and_neither_flaps() {
    if !enter("interfaces::a_key_on_two_machines_is_told_to_both_and_neither_flaps") {
        return;
    }
    let mut mesh = Mesh::new(&["br1"]);
    let [original, copy, other] = [(); 3].map(|()| mesh.place(&["br1"]));
    for place in [original, other] {
        mesh.start(place, &["--no-model"]);
        mesh.await_active(place);
    }
    mesh.await_whole();
    let key = mesh.home(copy).join("config/node_identity.json");
    write(&key, &std::fs::read_to_string(mesh.home(original).join("config/node_identity.json")).unwrap());
    std::fs::set_permissions(&key, PermissionsExt::from_mode(0o600)).unwrap();
    mesh.start(copy, &["--no-model"]);
    mesh.await_active(copy);
    for place in [original, copy] {
        until("the doctor says so", || {
            codes_in(&mesh, place).contains(&"identity_copied".to_owned()).then_some(())
        });
        let told = |line: &Value| line["level"] == "WARN" && line["message"] == "identity copied";
        // The log is written a moment later.
        until("its log says so", || mesh.log(place).iter().any(told).then_some(()));
    }
    // Before it has seen both, it takes the copy for a restart of the original.
    until("the third node turns the copy away", || {
        let status = mesh.json(other, &["node", "status", "--json"]);
        status["faults"]["refused"]["identity_copied"].as_u64()
    });
    for place in [original, other] {
        until("the original is linked", || {
            (mesh.json(place, &["node", "status", "--json"])["peers"] == 1).then_some(())
        });
    }
    assert_eq!(mesh.json(copy, &["node", "status", "--json"])["peers"], 0);
    let settled = Moment::now();
    std::thread::sleep(WATCH);
    // By the timestamps of the lines, which may be written later.
    let log = mesh.log(other);
    let links: Vec<Moment> = log.iter().filter(|line| line["message"] == "link up").map(Moment::of).collect();
    assert!(links.len() <= 3, "{links:?}: to the original, at most one to the copy, and back");
    assert!(links.iter().all(|link| *link <= settled), "{links:?}: none after {settled:?}");
    let left = log.iter().filter(|line| line["message"] == "member left").count();
    assert_eq!(left, 0, "the third node sees one steady node");
    assert!(!only_peer(&mesh, other).is_empty());
}

/// Duration without changes. Nodes that alternate with their copy would do so at each announcement and dial, one
/// second apart at first.
const WATCH: Duration = Duration::from_secs(5);

/// A campus network: public addresses in one subnet. Addresses outside of it are still foreign.
#[test]
fn public_addresses_in_one_subnet_are_local() {
    if !enter("interfaces::public_addresses_in_one_subnet_are_local") {
        return;
    }
    let mut mesh = Mesh::new(&["br1"]);
    let [one, two, outside] =
        [mesh.bare_place(&["br1"]), mesh.bare_place(&["br1"]), mesh.bare_place(&["br1"])];
    for (place, address) in [(one, "198.51.100.1/24"), (two, "198.51.100.2/24"), (outside, "203.0.113.3/24")]
    {
        mesh.ip(place, "addr flush dev eth0\n");
        mesh.ip(place, &format!("addr add {address} dev eth0\n"));
    }
    // There is a route to each, as over a router.
    for place in [one, two] {
        mesh.ip(place, "route add 203.0.113.0/24 dev eth0\n");
    }
    mesh.ip(outside, "route add 198.51.100.0/24 dev eth0\n");
    mesh.start(one, &["--no-model"]);
    mesh.start(two, &["--no-model"]);
    mesh.start(outside, &["--no-model", "--bootstrap-peer", "198.51.100.1:9000"]);
    for place in [one, two, outside] {
        mesh.await_active(place);
    }
    let peers = |place| {
        let peers = mesh.json(place, &["node", "peers", "--json"]);
        let peers = peers["peers"].as_array().unwrap().clone();
        peers.iter().map(|peer| peer["address"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let is_linked = |place, prefix: &str| match peers(place).as_slice() {
        [address] => address.starts_with(prefix),
        _ => false,
    };
    until("the neighbours are linked", || is_linked(one, "198.51.100.2:").then_some(()));
    until("the one outside is told why not", || {
        let codes = codes_in(&mesh, outside);
        codes.iter().any(|code| code == "not_local").then_some(())
    });
    assert!(is_linked(two, "198.51.100.1:"), "{:?}", peers(two));
    assert_eq!(peers(outside), [""; 0]);
}
