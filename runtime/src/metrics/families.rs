//! The table of all metrics: their names, units, help texts and labels.

use super::HostFigures;
use api::metrics::{Bucket, Exemplar, Family, Group, Histogram, MetricKind, Number, Series, Unit, Value};
use api::{Availability, ModelStatus};
use engine::event::PayloadKind;
use engine::health::{Component, Verdict};
use engine::lifecycle::State;
use engine::observers::metrics::{self as counted, ClosedSet, Direction, MetricsView, Scale};
use engine::task::{TaskKind, TaskStatus};
use serde::Serialize;
use std::collections::BTreeMap;

/// Returns all metrics of a node.
///
/// Every series is present from the start, with 0 before its first event, so that rates and `absent()` work.
pub fn families(view: &MetricsView, host: &HostFigures, models: &[ModelStatus]) -> Vec<Family> {
    let mut table = Table { families: Vec::new(), wall: Wall::new(view) };
    node(&mut table, view);
    tasks(&mut table, view);
    inference(&mut table, view, models);
    messages(&mut table, view);
    network(&mut table, view);
    storage(&mut table, view, host);
    process(&mut table, host);
    table.families
}

fn node(table: &mut Table, view: &MetricsView) {
    let status = &view.status;
    let info = |labels: &[(&str, &str)]| labels.iter().map(|(name, value)| label(name, *value)).collect();
    let build = info(&[("version", &status.version)]);
    table.info("p2p_ai_build_info", "Version of the program.", build);
    let identity = info(&[("node", &status.node_id.to_string()), ("network", &status.network)]);
    table.info("p2p_ai_node_info", "Id of this node, and the name of its network.", identity);
    let states = by("state", |state: State| u64::from(state == status.state));
    table.gauge(Group::Node, "p2p_ai_node_state", "1 for the state that the node is in.", None, states);
    let uptime = status.uptime_millis.unwrap_or_default() as f64 / 1000.0;
    table.gauge(
        Group::Node,
        "p2p_ai_uptime_seconds",
        "Time since the node became ACTIVE; 0 before.",
        Some(Unit::Seconds),
        [(Labels::new(), Number::Real(uptime))],
    );
    let verdicts = COMPONENTS.iter().flat_map(|component| {
        let findings = status.health.iter().flat_map(|health| &health.findings);
        let finding = findings.clone().find(|finding| finding.component == *component);
        let is = move |verdict| u64::from(finding.is_some_and(|finding| finding.verdict == verdict));
        VERDICTS.iter().map(move |verdict| {
            let labels = Labels::from([label("component", word(component)), label("verdict", word(verdict))]);
            (labels, Number::Whole(is(*verdict)))
        })
    });
    table.gauge(
        Group::Node,
        "p2p_ai_health_verdict",
        "1 for the verdict of the last health check on each component.",
        None,
        verdicts,
    );
    let health = status.health.as_ref();
    table.gauge(
        Group::Node,
        "p2p_ai_memory_bytes",
        "Memory that the node and its models hold and the system cannot reclaim, at the last health check.",
        Some(Unit::Bytes),
        one(health.and_then(|health| health.memory_bytes).unwrap_or_default()),
    );
    table.gauge(
        Group::Node,
        "p2p_ai_memory_limit_bytes",
        "Memory that the node and its models may hold; 0 before the first health check.",
        Some(Unit::Bytes),
        one(health.map_or(0, |health| health.memory_bytes_max)),
    );
    let fills = |value: fn(&engine::request::OccupancyView) -> u64| {
        view.collections.iter().map(move |fill| {
            (Labels::from([label("collection", fill.name.clone())]), Number::Whole(value(fill)))
        })
    };
    table.gauge(
        Group::Node,
        "p2p_ai_collection_entries",
        "Entries, or bytes, in each bounded collection of the node.",
        None,
        fills(|fill| fill.current),
    );
    table.gauge(
        Group::Node,
        "p2p_ai_collection_limit",
        "Most entries, or bytes, that each bounded collection of the node may hold.",
        None,
        fills(|fill| fill.limit),
    );
}

fn tasks(table: &mut Table, view: &MetricsView) {
    let (counted, status, group) = (&view.counted, &view.status, Group::Tasks);
    table.counter(
        group,
        "p2p_ai_tasks_accepted_total",
        "Tasks that this node accepted.",
        counts("type", &counted.tasks_accepted),
    );
    let outcomes = TaskKind::ALL.iter().flat_map(|kind| {
        TaskStatus::ALL.iter().filter(|status| status.is_terminal()).map(move |status| {
            let count = counted.tasks.get(&(*kind, *status)).copied().unwrap_or_default();
            (Labels::from([label("type", word(kind)), label("outcome", word(status))]), Number::Whole(count))
        })
    });
    table.counter(group, "p2p_ai_tasks_total", "Tasks accepted by this node that have ended.", outcomes);
    table.histograms(
        group,
        "p2p_ai_task_duration_seconds",
        "Time from the acceptance of a task by this node to its outcome.",
        Scale::Long,
        &counted.tasks_duration,
    );
    table.gauge(
        group,
        "p2p_ai_task_queue_depth",
        "Tasks accepted by this node that wait for an attempt.",
        None,
        one(status.tasks_queued.into()),
    );
    table.gauge(
        group,
        "p2p_ai_tasks_running",
        "Tasks accepted by this node that have a running attempt, here or elsewhere.",
        None,
        one(status.tasks_running.into()),
    );
    table.counter(
        group,
        "p2p_ai_tasks_rejected_total",
        "Tasks that were submitted to this node and not accepted.",
        counts("reason", &counted.tasks_rejected),
    );
    table.counter(
        group,
        "p2p_ai_task_reassignments_total",
        "Tasks accepted by this node that were taken from a worker.",
        counts("reason", &counted.tasks_reassigned),
    );
    table.counter(
        group,
        "p2p_ai_results_duplicate_total",
        "Outcomes of tasks that arrived again and were ignored.",
        one(counted.results_duplicate),
    );
    table.gauge(group, "p2p_ai_results", "Results that are stored.", None, one(status.results.into()));
}

fn inference(table: &mut Table, view: &MetricsView, models: &[ModelStatus]) {
    let (counted, group) = (&view.counted, Group::Inference);
    let attempts = TaskKind::ALL.iter().flat_map(|kind| {
        by2("outcome", "origin", |ending, origin| {
            counted.attempts.get(&(*kind, ending, origin)).copied().unwrap_or_default()
        })
        .map(move |(mut labels, count)| {
            labels.extend([label("type", word(kind))]);
            (labels, count)
        })
    });
    table.counter(
        group,
        "p2p_ai_attempts_total",
        "Attempts at tasks that ended on this node, for tasks that it accepted itself and for those of peers.",
        attempts,
    );
    let waiting = by2("origin", "state", |origin, state| {
        view.attempts.get(&(origin, state)).copied().unwrap_or_default()
    });
    table.gauge(
        group,
        "p2p_ai_attempts_in_progress",
        "Attempts at tasks that wait or run on this node.",
        None,
        waiting,
    );
    table.histograms(
        group,
        "p2p_ai_attempt_queue_seconds",
        "Time that an attempt waited on this node before it started.",
        Scale::Long,
        &counted.attempts_queued,
    );
    table.histograms(
        group,
        "p2p_ai_attempt_run_seconds",
        "Time that an attempt ran on this node.",
        Scale::Long,
        &counted.attempts_run,
    );
    table.histograms(
        group,
        "p2p_ai_batch_size",
        "Attempts that ran together in one job.",
        Scale::Count,
        &counted.batches,
    );
    table.counter(
        group,
        "p2p_ai_tokens_total",
        "Tokens that models on this node read (input) and generated (output).",
        counts("direction", &counted.tokens),
    );
    table.histogram(
        group,
        "p2p_ai_time_to_first_token_seconds",
        "Time from the start of a generation on this node to its first token.",
        &counted.first_token,
    );
    table.histogram(
        group,
        "p2p_ai_time_per_output_token_seconds",
        "Mean time for each token of a generation on this node after the first.",
        &counted.per_token,
    );
    table.counter(
        group,
        "p2p_ai_inputs_truncated_total",
        "Inputs of tasks accepted by this node that the model read only in part.",
        one(counted.inputs_truncated),
    );
    table.counter(
        group,
        "p2p_ai_tokens_dropped_total",
        "Tokens of those inputs that the model did not read.",
        one(counted.tokens_dropped),
    );
    let availability = |model: &ModelStatus| {
        let offered = view.status.models.iter().any(|offered| offered.name == model.name && offered.ready);
        Availability::new(offered, Some(model))
    };
    let models_in = AVAILABILITIES.iter().map(|wanted| {
        let count = models.iter().filter(|model| availability(model) == *wanted).count();
        (Labels::from([label("state", word(wanted))]), Number::Whole(count as u64))
    });
    table.gauge(
        group,
        "p2p_ai_models",
        "Models of this node, by whether tasks can use them.",
        None,
        models_in,
    );
    let memory = models.iter().filter_map(|model| model.memory_bytes).fold(0, u64::saturating_add);
    table.gauge(
        group,
        "p2p_ai_model_memory_bytes",
        "Physical memory of the processes that run the models of this node.",
        Some(Unit::Bytes),
        one(memory),
    );
}

fn messages(table: &mut Table, view: &MetricsView) {
    let (counted, group) = (&view.counted, Group::Messages);
    // Acknowledgements and notices are no messages of their own.
    let kinds =
        PayloadKind::ALL.iter().filter(|kind| !matches!(kind, PayloadKind::Ack | PayloadKind::Undeliverable));
    let messages = kinds.flat_map(|kind| {
        by("direction", |direction: Direction| {
            counted.messages.get(&(*kind, direction)).copied().unwrap_or_default()
        })
        .map(move |(mut labels, count)| {
            labels.extend([label("type", word(kind))]);
            (labels, count)
        })
    });
    table.counter(
        group,
        "p2p_ai_messages_total",
        "Messages that this node sent, received or forwarded. Retries and acknowledgements do not count.",
        messages,
    );
    table.histogram(
        group,
        "p2p_ai_message_round_trip_seconds",
        "Time from the first transmission of a message by this node to its acknowledgement.",
        &counted.round_trips,
    );
    table.counter(
        group,
        "p2p_ai_message_retries_total",
        "Messages of this node that were sent again without an acknowledgement.",
        one(counted.messages_retried),
    );
    table.counter(
        group,
        "p2p_ai_messages_unacknowledged_total",
        "Messages of this node that were given up without an acknowledgement.",
        one(counted.messages_unacknowledged),
    );
    table.counter(
        group,
        "p2p_ai_messages_duplicate_total",
        "Messages that arrived again and were ignored.",
        one(counted.messages_duplicate),
    );
    table.counter(
        group,
        "p2p_ai_messages_dropped_total",
        "Messages that this node dropped.",
        counts("reason", &view.status.faults.dropped),
    );
}

fn network(table: &mut Table, view: &MetricsView) {
    let (counted, status, group) = (&view.counted, &view.status, Group::Network);
    let slow = view.peers_slow;
    let peers = [("alive", status.peers.saturating_sub(slow)), ("slow", slow)]
        .map(|(state, count)| (Labels::from([label("state", state)]), Number::Whole(count.into())));
    table.gauge(group, "p2p_ai_peers", "Nodes that this node has a link with.", None, peers);
    table.gauge(
        group,
        "p2p_ai_members",
        "Nodes of the network that are reachable from this node, itself included.",
        None,
        one(status.members.into()),
    );
    let traffic = |value: fn(&counted::Traffic) -> u64| {
        [Direction::Received, Direction::Sent].map(move |direction| {
            let count = counted.link.get(&direction).map_or(0, value);
            (Labels::from([label("direction", word(direction))]), Number::Whole(count))
        })
    };
    table.counter_of(
        group,
        "p2p_ai_link_bytes_total",
        "Bytes of frames to and from peers, without encryption and transport.",
        Unit::Bytes,
        traffic(|traffic| traffic.bytes),
    );
    table.counter(
        group,
        "p2p_ai_link_frames_total",
        "Frames to and from peers, heartbeats included.",
        traffic(|traffic| traffic.frames),
    );
    table.counter(group, "p2p_ai_links_up_total", "Links with peers that came up.", one(counted.links_up));
    table.counter(
        group,
        "p2p_ai_links_down_total",
        "Links with peers that went down.",
        counts("reason", &counted.links_down),
    );
    table.counter(
        group,
        "p2p_ai_links_refused_total",
        "Links that this node refused.",
        counts("reason", &status.faults.refused),
    );
    table.counter(
        group,
        "p2p_ai_dials_failed_total",
        "Connections to other nodes that could not be made.",
        counts("error", &counted.dials_failed),
    );
    table.counter(
        group,
        "p2p_ai_peers_slow_total",
        "Times that the failure detector judged a peer SLOW.",
        one(counted.peers_slow),
    );
    table.counter(
        group,
        "p2p_ai_peers_dead_total",
        "Times that the failure detector judged a peer DEAD.",
        one(counted.peers_dead),
    );
    table.counter(
        group,
        "p2p_ai_peer_faults_total",
        "Violations of the protocol by peers.",
        counts("fault", &status.faults.peers),
    );
    table.counter(
        group,
        "p2p_ai_stranger_faults_total",
        "Connections that ended before the other end authenticated itself.",
        counts("fault", &status.faults.strangers),
    );
    let discovery = &status.discovery;
    let packets = [
        ("dropped", discovery.packets_dropped),
        ("heard", discovery.packets_heard),
        ("own", discovery.packets_own),
        ("unusable", discovery.packets_unusable),
    ]
    .map(|(kind, count)| (Labels::from([label("kind", kind)]), Number::Whole(count)));
    table.counter(
        group,
        "p2p_ai_discovery_packets_total",
        "Multicast packets of discovery: of other nodes, own ones that came back, dropped and unusable ones.",
        packets,
    );
    table.counter(
        group,
        "p2p_ai_files_fetched_total",
        "Files that were fetched from other nodes.",
        one(counted.files_fetched),
    );
    table.counter_of(
        group,
        "p2p_ai_fetched_bytes_total",
        "Bytes of those files.",
        Unit::Bytes,
        one(counted.bytes_fetched),
    );
    table.counter(
        group,
        "p2p_ai_fetches_failed_total",
        "Files that could not be fetched from other nodes.",
        one(counted.fetches_failed),
    );
}

fn storage(table: &mut Table, view: &MetricsView, host: &HostFigures) {
    let (counted, group) = (&view.counted, Group::Storage);
    table.histogram(
        group,
        "p2p_ai_store_commit_seconds",
        "Time until a write to the store was durable, with the wait for the write before it.",
        &counted.writes,
    );
    table.counter(
        group,
        "p2p_ai_store_failures_total",
        "Writes to the store that failed.",
        one(counted.writes_failed),
    );
    let bytes = [
        ("p2p_ai_store_size_bytes", "Size of the store's file.", host.store_bytes),
        ("p2p_ai_disk_free_bytes", "Free space on the disk of the store.", host.disk_free_bytes),
        ("p2p_ai_disk_size_bytes", "Size of the disk of the store.", host.disk_bytes),
    ];
    for (name, help, value) in bytes {
        table.gauge(group, name, help, Some(Unit::Bytes), one(value));
    }
}

/// The names are those of Prometheus' client libraries.
fn process(table: &mut Table, host: &HostFigures) {
    let group = Group::Process;
    table.counter_of(
        group,
        "process_cpu_seconds_total",
        "Processor time of the node's process, without those of its models.",
        Unit::Seconds,
        [(Labels::new(), Number::Real(host.cpu_micros as f64 / 1e6))],
    );
    table.gauge(
        group,
        "process_resident_memory_bytes",
        "Physical memory of the node's process, without those of its models.",
        Some(Unit::Bytes),
        one(host.resident_bytes),
    );
    table.gauge(
        group,
        "process_virtual_memory_bytes",
        "Virtual memory of the node's process.",
        Some(Unit::Bytes),
        one(host.virtual_bytes),
    );
    table.gauge(
        group,
        "process_start_time_seconds",
        "When the node started, in seconds since 1970.",
        Some(Unit::Seconds),
        [(Labels::new(), Number::Real(host.started_millis as f64 / 1000.0))],
    );
    table.gauge(group, "process_open_fds", "Open files of the node's process.", None, one(host.open_files));
    table.gauge(
        group,
        "process_max_fds",
        "Most files that the node's process may open.",
        None,
        one(host.open_files_max),
    );
    let spans = [
        ("dropped", host.spans_dropped),
        ("exported", host.spans_exported),
        ("rejected", host.spans_rejected),
    ]
    .map(|(outcome, count)| (Labels::from([label("outcome", outcome)]), Number::Whole(count)));
    table.counter(
        group,
        "p2p_ai_otlp_spans_total",
        "Spans for an OpenTelemetry collector: accepted by it, rejected by it, or dropped because it was away or slow.",
        spans,
    );
    table.gauge(group, "process_threads", "Threads of the node's process.", None, one(host.threads));
}

type Labels = BTreeMap<String, String>;

struct Table {
    families: Vec<Family>,
    wall: Wall,
}

/// Converts the time of an exemplar to wall-clock time. Two scrapes give one exemplar the same time: Prometheus rejects an
/// older one.
struct Wall {
    millis_at_origin: u64,
}

impl Wall {
    const fn new(view: &MetricsView) -> Self {
        // Exact, as the engine adds the same whole milliseconds.
        Self { millis_at_origin: view.status.timestamp.0.saturating_sub(view.now.as_micros() / 1000) }
    }

    fn exemplar(&self, exemplar: counted::Exemplar, scale: Scale) -> Exemplar {
        let millis = self.millis_at_origin.saturating_add(exemplar.at.as_micros() / 1000);
        Exemplar {
            value: in_unit(exemplar.value, scale),
            trace_id: exemplar.trace.to_string(),
            timestamp: millis as f64 / 1000.0,
        }
    }

    fn histogram(&self, from: &counted::Histogram) -> Histogram {
        let (scale, mut sum) = (from.scale(), 0_u64);
        let buckets = from.buckets().map(|(bound, count, exemplar)| {
            sum = sum.saturating_add(count);
            Bucket {
                le: bound.map(|bound| in_unit(bound, scale)),
                count: sum,
                exemplar: exemplar.map(|exemplar| self.exemplar(exemplar, scale)),
            }
        });
        Histogram { buckets: buckets.collect(), count: from.count(), sum: in_unit(from.sum(), scale) }
    }
}

impl Table {
    fn add(
        &mut self,
        kind: MetricKind,
        group: Group,
        name: &str,
        help: &str,
        unit: Option<Unit>,
        values: impl IntoIterator<Item = (Labels, Value)>,
    ) {
        let series = values.into_iter().map(|(labels, value)| Series { labels, value }).collect();
        self.families.push(Family {
            name: name.to_owned(),
            help: help.to_owned(),
            kind,
            unit,
            group,
            series,
        });
    }

    fn info(&mut self, name: &str, help: &str, labels: Labels) {
        let value = Value::Number { value: Number::Whole(1) };
        self.add(MetricKind::Info, Group::Node, name, help, None, [(labels, value)]);
    }

    fn counter(
        &mut self,
        group: Group,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (Labels, Number)>,
    ) {
        self.add(MetricKind::Counter, group, name, help, None, numbers(values));
    }

    fn counter_of(
        &mut self,
        group: Group,
        name: &str,
        help: &str,
        unit: Unit,
        values: impl IntoIterator<Item = (Labels, Number)>,
    ) {
        self.add(MetricKind::Counter, group, name, help, Some(unit), numbers(values));
    }

    fn gauge(
        &mut self,
        group: Group,
        name: &str,
        help: &str,
        unit: Option<Unit>,
        values: impl IntoIterator<Item = (Labels, Number)>,
    ) {
        self.add(MetricKind::Gauge, group, name, help, unit, numbers(values));
    }

    fn histogram(&mut self, group: Group, name: &str, help: &str, histogram: &counted::Histogram) {
        let unit = histogram.scale().is_duration().then_some(Unit::Seconds);
        let value = Value::Histogram(self.wall.histogram(histogram));
        self.add(MetricKind::Histogram, group, name, help, unit, [(Labels::new(), value)]);
    }

    /// Adds one histogram for each kind of task.
    fn histograms(
        &mut self,
        group: Group,
        name: &str,
        help: &str,
        scale: Scale,
        histograms: &BTreeMap<TaskKind, counted::Histogram>,
    ) {
        let empty = counted::Histogram::new(scale);
        let unit = scale.is_duration().then_some(Unit::Seconds);
        let values: Vec<(Labels, Value)> = TaskKind::ALL
            .iter()
            .map(|kind| {
                let histogram = self.wall.histogram(histograms.get(kind).unwrap_or(&empty));
                (Labels::from([label("type", word(kind))]), Value::Histogram(histogram))
            })
            .collect();
        self.add(MetricKind::Histogram, group, name, help, unit, values);
    }
}

fn numbers(values: impl IntoIterator<Item = (Labels, Number)>) -> impl Iterator<Item = (Labels, Value)> {
    values.into_iter().map(|(labels, value)| (labels, Value::Number { value }))
}

/// Returns the only series of a metric without labels.
fn one(value: u64) -> [(Labels, Number); 1] {
    [(Labels::new(), Number::Whole(value))]
}

/// Returns a series for each value of a label.
fn by<K: ClosedSet + Serialize>(
    name: &'static str,
    count: impl Fn(K) -> u64,
) -> impl Iterator<Item = (Labels, Number)> {
    K::ALL.iter().map(move |key| (Labels::from([label(name, word(key))]), Number::Whole(count(*key))))
}

/// Returns a series for each pair of values of two labels.
fn by2<A: ClosedSet + Serialize, B: ClosedSet + Serialize>(
    first: &'static str,
    second: &'static str,
    count: impl Fn(A, B) -> u64,
) -> impl Iterator<Item = (Labels, Number)> {
    let pairs = A::ALL.iter().flat_map(|one| B::ALL.iter().map(move |other| (*one, *other)));
    pairs.map(move |(one, other)| {
        let labels = Labels::from([label(first, word(one)), label(second, word(other))]);
        (labels, Number::Whole(count(one, other)))
    })
}

/// Returns a series for each value of a label, with what was counted.
fn counts<K: ClosedSet + Serialize>(
    name: &'static str,
    counts: &BTreeMap<K, u64>,
) -> impl Iterator<Item = (Labels, Number)> {
    by(name, |key: K| counts.get(&key).copied().unwrap_or_default())
}

fn label(name: &str, value: impl Into<String>) -> (String, String) {
    (name.to_owned(), value.into())
}

/// Returns the name of a value as a label: in lower case, with underscores.
fn word(value: impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(name)) => name.to_lowercase(),
        Ok(_) | Err(_) => String::new(),
    }
}

/// Converts a value of a histogram to the unit of its metric.
fn in_unit(value: u64, scale: Scale) -> f64 {
    if scale.is_duration() { value as f64 / 1e6 } else { value as f64 }
}

const COMPONENTS: [Component; 4] =
    [Component::Configuration, Component::Crypto, Component::Memory, Component::Storage];
const VERDICTS: [Verdict; 3] = [Verdict::Pass, Verdict::Warn, Verdict::Fail];
const AVAILABILITIES: [Availability; 4] =
    [Availability::Loaded, Availability::Loading, Availability::OnDemand, Availability::Unusable];
