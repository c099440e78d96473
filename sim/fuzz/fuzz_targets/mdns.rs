//! Whatever mDNS packet arrives, a node keeps running and sends few bytes in answer.
#![no_main]

use engine::input::Interface;
use engine::{Config, Identity, Input, Instant, Node, Saved, UnixMillis};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|packet: &[u8]| {
    let identity = Identity::from_secret(&[7; 32]);
    let mut node =
        Node::new(Config::default(), identity, [1; 32], Instant::ZERO, UnixMillis(0), Saved::default());
    let inputs = [
        Input::Interfaces(vec![Interface::new(2, [10, 0, 0, 1].into())]),
        Input::Listening { port: 9000 },
        Input::Datagram { interface: 2, from: ([10, 0, 0, 2], 5353).into(), bytes: packet.to_vec() },
    ];
    for input in inputs {
        node.handle_input(Instant::ZERO, input);
        let outputs = core::iter::from_fn(|| node.poll_output()).count();
        assert!(outputs < 5_000, "{outputs} outputs");
    }
});
