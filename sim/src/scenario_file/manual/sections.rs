//! The sections of a scenario file and their keys.

/// A section of a scenario file.
#[derive(Debug)]
pub(in crate::scenario_file) struct Section {
    /// The name, without brackets; `scenario` for the values at the top.
    pub(in crate::scenario_file) name: &'static str,
    /// The line that it starts with; empty for the values at the top.
    pub(in crate::scenario_file) header: &'static str,
    /// What it describes, in sentences.
    pub(in crate::scenario_file) meaning: &'static str,
    /// All keys that it takes.
    pub(in crate::scenario_file) keys: &'static [Key],
}

/// A key of a section.
#[derive(Debug)]
pub(in crate::scenario_file) struct Key {
    /// The name.
    pub(in crate::scenario_file) name: &'static str,
    /// Whether it must be present.
    pub(in crate::scenario_file) needed: bool,
    /// The kind of value and its unit.
    pub(in crate::scenario_file) value: &'static str,
    /// What it sets, and its default.
    pub(in crate::scenario_file) meaning: &'static str,
    /// A value as a scenario holds it; empty if the example of its section leaves it out.
    pub(in crate::scenario_file) example: &'static str,
}

impl Section {
    /// Returns the section with an example of each key.
    pub(super) fn example(&self) -> String {
        let header = if self.header.is_empty() { String::new() } else { format!("{}\n", self.header) };
        let keys = self.keys.iter().filter(|key| !key.example.is_empty() && !self.left_out(key));
        header + &keys.map(|key| format!("{} = {}\n", key.name, key.example)).collect::<String>()
    }

    /// Returns whether a key belongs to other kinds of faults than the one of the example.
    fn left_out(&self, key: &Key) -> bool {
        self.name == "fault" && !matches!(key.name, "at" | "kind" | "node" | "probability" | "restart_after")
    }
}

const fn needs(name: &'static str, value: &'static str, meaning: &'static str, example: &'static str) -> Key {
    Key { name, needed: true, value, meaning, example }
}

const fn takes(name: &'static str, value: &'static str, meaning: &'static str, example: &'static str) -> Key {
    Key { name, needed: false, value, meaning, example }
}

const TIME: &str = "time in us, ms, s, m or h";
const RANGE: &str = "time, or range \"1s..5s\"";
const NUMBER: &str = "whole number";
const SHARE: &str = "percentage, such as \"2.5%\"";
const NODE: &str = "\"n0\", \"n1\" and so on";
const NODES: &str = "list of nodes";
const NAMES: &str = "list of names";
const SECTION: &str = "section";

/// Every section.
pub(in crate::scenario_file) const SECTIONS: &[Section] = &[
    Section {
        name: "scenario",
        header: "",
        meaning: "The values at the top of the file. The first line should be a comment that says why it exists.",
        keys: &[
            needs("nodes", NUMBER, "how many nodes there are, called n0, n1 and so on; at most 100000", "3"),
            takes(
                "executor",
                "\"auto\", \"event-queue\" or \"turmoil\"",
                "the executor: event-queue is fast and models everything, turmoil runs the real driver \
                 [default: auto, by size]",
                "\"event-queue\"",
            ),
            takes("seed", NUMBER, "the seed of `sim run` without --seed [default: 0]", "7"),
            needs("duration", TIME, "the simulated time", "\"60s\""),
            takes("start", RANGE, "when nodes start [default: \"0s..50ms\"]", "\"0s..50ms\""),
            takes("network", SECTION, "the network: sim explain network", ""),
            takes("disk", SECTION, "the disks: sim explain disk", ""),
            takes("node", SECTION, "the configuration of nodes: sim explain node", ""),
            takes("workload", SECTION, "the tasks: sim explain workload", ""),
            takes("host", SECTION, "nodes that differ: sim explain host", ""),
            takes("file", SECTION, "shared files: sim explain file", ""),
            takes("fetch", SECTION, "fetches of files: sim explain fetch", ""),
            takes("fault", SECTION, "the faults: sim explain faults", ""),
            takes("swarm", SECTION, "a draw of faults: sim explain swarm", ""),
            takes("liveness", SECTION, "the end of all faults: sim explain liveness", ""),
            takes("expect", SECTION, "what the run must show: sim explain expect", ""),
        ],
    },
    Section {
        name: "network",
        header: "[network]",
        meaning: "The network between the nodes.",
        keys: &[
            takes(
                "latency",
                RANGE,
                "the latency of a frame or packet [default: \"1ms..5ms\"]",
                "\"1ms..5ms\"",
            ),
            takes(
                "topology",
                "\"full\", \"line\" or \"ring\"",
                "which nodes reach each other [default: full, each reaches all]",
                "\"line\"",
            ),
            takes(
                "multicast",
                "true or false",
                "whether nodes find each other by multicast; otherwise each is given addresses [default: true]",
                "false",
            ),
            takes(
                "loss",
                SHARE,
                "the share of lost frames and packets; event-queue only [default: none]",
                "\"1%\"",
            ),
            takes(
                "tick",
                TIME,
                "the step of time of the turmoil executor, 1ms to 100ms [default: 1ms]",
                "\"1ms\"",
            ),
            takes(
                "retransmission",
                "true or false",
                "whether a lost heartbeat is sent again, as by TCP [default: true]",
                "false",
            ),
        ],
    },
    Section {
        name: "disk",
        header: "[disk]",
        meaning: "The disks of the nodes.",
        keys: &[takes(
            "latency",
            RANGE,
            "how long a write takes to become durable [default: \"1ms..8ms\"]",
            "\"1ms..8ms\"",
        )],
    },
    Section {
        name: "node",
        header: "[node]",
        meaning: "The configuration of every node.",
        keys: &[
            takes("max_peers", NUMBER, "the most links of a node, 1 to 256", "8"),
            takes("max_concurrent_tasks", NUMBER, "the most jobs that run at a time, 1 to 1024", "2"),
            takes("queue_tasks_max", NUMBER, "the most tasks that wait or run, 1 to 100000", "64"),
        ],
    },
    Section {
        name: "workload",
        header: "[workload]",
        meaning: "The tasks that users submit: a series, or a list of [[workload.task]].",
        keys: &[
            needs("compute", RANGE, "how long a task takes to compute", "\"300ms..2s\""),
            takes("task", SECTION, "a list of tasks instead of a series: sim explain workload.task", ""),
            takes("tasks", NUMBER, "how many tasks the series has; a series needs it", "20"),
            takes("every", TIME, "the time between two tasks; a series needs it", "\"200ms\""),
            takes("at", TIME, "when the first task is submitted [default: 2s]", "\"2s\""),
            takes("origin", NODE, "the node that gets them [default: drawn by the seed for each]", "\"n0\""),
            takes(
                "type",
                "type of a task",
                "classification, embedding, generation or reranking [default: embedding]",
                "\"embedding\"",
            ),
            takes("input", "text", "the input, to which the number of the task is appended", "\"hello\""),
            takes("timeout", TIME, "the timeout of each task, 1s to 1h [default: 30s]", "\"30s\""),
        ],
    },
    Section {
        name: "workload.task",
        header: "[[workload.task]]",
        meaning: "One task of a list, after [workload] with `compute`.",
        keys: &[
            needs("at", TIME, "when it is submitted", "\"2s\""),
            takes("origin", NODE, "the node that gets it [default: drawn by the seed]", "\"n0\""),
            needs("input", "text", "the input", "\"hello\""),
        ],
    },
    Section {
        name: "host",
        header: "[[host]]",
        meaning: "A node that differs from the others.",
        keys: &[
            needs("node", NODE, "the node", "\"n2\""),
            takes("start", RANGE, "when it starts", "\"1s\""),
            takes("protocol", NUMBER, "the version of the protocol that it speaks", "9"),
            takes("model", NUMBER, "the number of its models, other ones under the same names", "2"),
            takes("identity", NODE, "the node of whose key it has a copy; it must start later", ""),
            takes(
                "unreachable_address",
                "true or false",
                "whether it announces a wrong address first",
                "true",
            ),
            takes("hostile", NAMES, "how it attacks others: sim explain attacks", "[\"flood\"]"),
            takes("hostile_at", TIME, "when the attack starts [default: 2s]", "\"4s\""),
        ],
    },
    Section {
        name: "file",
        header: "[[file]]",
        meaning: "A file that some nodes have from the start. The first one is number 0.",
        keys: &[
            needs("bytes", NUMBER, "the size, at most 33554432", "3_000_000"),
            needs("holders", NODES, "the nodes that have it", "[\"n0\", \"n1\"]"),
        ],
    },
    Section {
        name: "fetch",
        header: "[[fetch]]",
        meaning: "A fetch of a file by a node.",
        keys: &[
            needs("at", TIME, "when it starts", "\"3s\""),
            needs("node", NODE, "the node that fetches", "\"n2\""),
            takes("file", NUMBER, "the number of the file [default: 0]", "0"),
            takes(
                "by",
                "\"blake3\" or \"sha256\"",
                "the hash that names it; only blake3 verifies each piece [default: blake3]",
                "\"sha256\"",
            ),
        ],
    },
    Section {
        name: "fault",
        header: "[[fault]]",
        meaning: "A fault. `kind` decides which other keys it takes: sim explain faults.",
        keys: &[
            needs("at", RANGE, "when it is injected; the seed draws from a range", "\"5s\""),
            takes("probability", SHARE, "the share of seeds that inject it [default: 100%]", "\"50%\""),
            takes("count", NUMBER, "how many tasks, 1 to 10000", "50"),
            takes("offset", "signed time, such as \"-10m\"", "the change of the clock", "\"+3h\""),
            takes("ppm", NUMBER, "how fast the clock runs in parts per million, -1000 to 1000", "200"),
            takes("tasks", "list of numbers", "the tasks of the workload, from 0", "[0, 7]"),
            needs("kind", "kind of fault", "what happens: sim explain faults", "\"kill\""),
            takes("node", NODE, "the node [default: a running one, drawn by the seed]", "\"n1\""),
            takes(
                "groups",
                "list of lists of nodes",
                "the groups; other nodes reach all",
                "[[\"n0\"], [\"n1\", \"n2\"]]",
            ),
            takes("from", NODES, "the senders", "[\"n0\"]"),
            takes("to", NODES, "the receivers", "[\"n1\", \"n2\"]"),
            takes("every", TIME, "the time between two steps", "\"2s\""),
            takes("away", RANGE, "how long each node stays away", "\"1s..5s\""),
            takes("lasts", TIME, "how long all steps together take", "\"20s\""),
            takes("add", RANGE, "the additional time", "\"50ms..200ms\""),
            takes("share", SHARE, "the affected share [default: 100%, where it may be left out]", "\"5%\""),
            takes("restart_after", TIME, "when it starts again [default: never]", "\"10s\""),
            takes("heal_after", TIME, "how long it lasts [default: until `after` in [liveness]]", "\"10s\""),
        ],
    },
    Section {
        name: "swarm",
        header: "[swarm]",
        meaning: "Lets each seed draw some of the faults instead of all.",
        keys: &[needs("faults", "number, or range \"1..4\"", "how many faults a seed draws", "\"0..1\"")],
    },
    Section {
        name: "liveness",
        header: "[liveness]",
        meaning: "When all faults end. Soon after, every task must have its outcome and the mesh must be whole.",
        keys: &[
            needs("after", TIME, "when the network is healed until the end of the run", "\"30s\""),
            needs("within", TIME, "the time that the nodes have to recover", "\"20s\""),
        ],
    },
    Section {
        name: "expect",
        header: "[expect]",
        meaning: "What must hold, and what the run must show.",
        keys: &[
            takes(
                "always",
                NAMES,
                "the checked properties [default: all]: sim explain properties",
                "[\"no_duplicate_delivery\"]",
            ),
            takes(
                "sometimes",
                NAMES,
                "events that some seed must reach: sim explain events",
                "[\"link_up\"]",
            ),
            takes(
                "alerts",
                NAMES,
                "alerts that some node must raise: sim explain alerts",
                "[\"peer_count\"]",
            ),
            takes(
                "alerts_cleared",
                NAMES,
                "alerts that must be raised, and be over at the end",
                "[\"task_failure\"]",
            ),
            takes("never_alerts", NAMES, "alerts that no node may raise; \"any\" for all", "[\"disk_used\"]"),
            takes(
                "outcomes",
                "table of numbers",
                "how tasks must end: sim explain outcomes",
                "{ completed = 20 }",
            ),
        ],
    },
];
