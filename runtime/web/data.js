// The model of the page: what the API told, by id. This is the only file that reads the API's field names for nodes, links
// and tasks of the stream.

const TASKS_KEPT = 500, SAMPLES_KEPT = 3600, FLIGHTS_OF_UPDATE = 5, GOOD = "good";
const M = {
  self: null, network: "", kind: "node", access: null, cursor: null, timestamp: "",
  nodes: new Map(), links: new Map(), linksByNode: new Map(), groups: [],
  tasks: new Map(), tasksTotal: 0, alerts: { active: [], history: [], thresholds: [] }, models: { models: [], pulls: {} },
  samples: [], sample: null, selected: null,
  // The connection: its state, what to say about it, and when the last data came (as performance.now).
  feed: { phase: "connecting", message: "", hint: "", retryAt: 0 }, heardAt: 0,
};

const TONES = { good: GOOD, warning: "slow", bad: "bad" };
const ENDED = new Set(["COMPLETED", "FAILED", "TIMEOUT", "CANCELLED"]);
const toneOfTask = (status) => ({ COMPLETED: GOOD, FAILED: "bad", TIMEOUT: "bad", CANCELLED: "idle", RUNNING: "run", QUEUED: "idle" }[status] ?? "idle");

/** Cuts a text of another node, and drops what would turn or hide the text around it. */
const plain = (text, most = 80) => String(text ?? "").replace(/\p{C}/gu, "").slice(0, most);

/** A node that says goodbye is no trouble, and neither is one that comes or goes. */
const isCalm = ({ state, level }) => ["starting", "stopping"].includes(state) || (state === "gone" && level !== "bad");

function readNode(json) {
  return {
    id: json.id, name: plain(json.name), version: plain(json.version), state: json.state, reason: plain(json.reason, 300), goneAt: json.gone_at ?? "",
    tone: isCalm(json) ? "idle" : TONES[json.level] ?? "idle",
    hops: json.hops, addresses: json.addresses ?? [], load: json.load ?? null, slots: Math.max(1, json.slots), models: (json.models ?? []).map(({ name, type }) => ({ name: plain(name, 200), type })),
    memory: json.memory_bytes ?? null, memoryMax: json.memory_bytes_max ?? null, x: json.x, y: json.y, group: json.group ?? -1,
  };
}

const keyOf = (a, b) => (a < b ? `${a} ${b}` : `${b} ${a}`);

function readLink(json) {
  return {
    key: keyOf(json.a, json.b), a: json.a, b: json.b, rtt: json.round_trip_ms ?? null, messagesIn: json.messages_in ?? null,
    messagesOut: json.messages_out ?? null, bytesIn: json.bytes_in ?? null, bytesOut: json.bytes_out ?? null,
    rate: json.messages_per_second ?? null, byteRate: json.bytes_per_second ?? null, age: json.connected_ms ?? null,
  };
}

function readTask(json) {
  return {
    id: json.id, kind: json.type, model: json.model ?? "", status: json.status, origin: json.origin ?? M.self, worker: json.worker ?? null,
    attempts: json.attempts, moved: json.moved ?? "", elapsed: json.elapsed_ms ?? null, preview: json.preview ?? "", at: json.submitted_at ?? json.timestamp,
    result: json.result ?? null, submitted: json.submitted_at !== undefined,
  };
}

function addLink(link) {
  M.links.set(link.key, link);
  for (const end of [link.a, link.b]) {
    if (!M.linksByNode.has(end)) M.linksByNode.set(end, new Set());
    M.linksByNode.get(end).add(link.key);
  }
}

function removeLink(key) {
  const link = M.links.get(key);
  if (!link) return;
  M.links.delete(key);
  M.linksByNode.get(link.a)?.delete(key);
  M.linksByNode.get(link.b)?.delete(key);
}

const linksOf = (id) => [...(M.linksByNode.get(id) ?? [])].map((key) => M.links.get(key));

/** Replaces the whole picture. */
function applyTopology(json) {
  M.cursor = json.cursor;
  M.timestamp = json.timestamp;
  if (M.self !== json.self) { M.tasks.clear(); M.selected = M.selected?.type === "task" ? null : M.selected; }
  Object.assign(M, { self: json.self, network: json.network, kind: json.kind, groups: json.groups ?? [] });
  M.nodes = new Map(json.nodes.map((node) => [node.id, readNode(node)]));
  nameCounts.clear();
  for (const node of M.nodes.values()) countName(node, 1);
  M.links = new Map();
  M.linksByNode = new Map();
  for (const link of json.links) addLink(readLink(link));
  if (json.sample) addSample(json.sample);
  return { nodes: true, links: true, tasks: false, alerts: false, models: true, news: [] };
}

/** Applies the changes since the event before, and returns which parts of the page they concern. */
function applyUpdate(json) {
  M.cursor = json.cursor;
  M.timestamp = json.timestamp;
  const changed = { nodes: false, links: false, values: false, tasks: false, alerts: false, models: json.models_changed === true, news: [] };
  for (const one of json.nodes ?? []) {
    const node = readNode(one), before = M.nodes.get(node.id);
    countName(before, -1);
    countName(node, 1);
    if (!before) changed.news.push(`${nameOf(node.id, node)} joined`);
    else if (before.state !== node.state) changed.news.push(`${nameOf(node.id, node)} is ${node.state}${node.reason ? ": " + node.reason : ""}`);
    if (!before || before.x !== node.x || before.y !== node.y || before.tone !== node.tone || before.group !== node.group || before.slots !== node.slots) changed.nodes = true;
    else changed.values = true;
    M.nodes.set(node.id, node);
  }
  for (const id of json.nodes_removed ?? []) {
    changed.news.push(`${nameOf(id)} is no longer shown`);
    countName(M.nodes.get(id), -1);
    M.nodes.delete(id);
    changed.nodes = true;
  }
  for (const one of json.links ?? []) {
    const link = readLink(one), before = M.links.get(link.key);
    if (!before || before.rate === null !== (link.rate === null)) changed.nodes = true;
    changed.links = true;
    addLink(link);
  }
  for (const [a, b] of json.links_removed ?? []) { removeLink(keyOf(a, b)); changed.nodes = true; }
  flightsLeft = FLIGHTS_OF_UPDATE;
  for (const one of json.tasks ?? []) { noteTask(one); changed.tasks = true; }
  if (json.tasks_left_out) changed.tasks = true;
  for (const alert of json.alerts ?? []) changed.news.push(`${alert.active ? "Alert" : "Cleared"}: ${alert.message}`);
  changed.alerts = (json.alerts ?? []).length > 0;
  if (json.sample) addSample(json.sample);
  return changed;
}

function noteTask(json) {
  const task = readTask(json), before = M.tasks.get(task.id);
  if (before) {
    if (ENDED.has(before.status) && !ENDED.has(task.status)) return;
    task.model ||= before.model;
    task.preview ||= before.preview;
    task.worker ??= before.worker;
    task.moved ||= before.moved;
    task.result ??= before.result;
    if (!json.submitted_at) { task.at = before.at; task.submitted = before.submitted; }
  } else if (json.timestamp && task.origin === M.self) M.tasksTotal++;
  M.tasks.delete(task.id);
  M.tasks.set(task.id, task);
  for (const id of M.tasks.keys()) {
    if (M.tasks.size <= TASKS_KEPT) break;
    if (id !== M.selected?.id) M.tasks.delete(id);
  }
  if (json.timestamp) showFlight(task, before);
}

// The map shows some tasks on their way, not all of a busy network.
let flightsLeft = 0;

function showFlight(task, before) {
  if (flightsLeft-- <= 0) return;
  const to = task.worker;
  if (task.status === "RUNNING" && to && (before?.status !== "RUNNING" || before.worker !== to)) fly(task.origin, to, "task");
  else if (ENDED.has(task.status) && to) {
    const late = before?.status === "RUNNING" && before.worker === to ? 0 : FLIGHT_MS;
    if (late) fly(task.origin, to, "task");
    fly(to, task.origin, task.status === "COMPLETED" ? "result" : "failed", late);
  } else if (task.status === "QUEUED" && !task.moved && !before) fly(task.origin, task.origin, "task");
  else if (task.moved && task.moved !== before?.moved && before?.worker) fly(before.worker, task.origin, "failed");
}

function addSample(sample) {
  M.sample = sample;
  const last = M.samples[M.samples.length - 1];
  if (last && sample.at_ms <= last.at_ms) return;
  M.samples.push(sample);
  if (M.samples.length > SAMPLES_KEPT) M.samples.splice(0, M.samples.length - SAMPLES_KEPT);
}

function applyHistory(json) {
  const rows = [];
  for (let i = 0; i < json.length; i++) {
    const row = { at_ms: json.from_ms + i * json.interval_ms };
    for (const [name, column] of Object.entries(json.columns)) row[name] = column[i];
    rows.push(row);
  }
  const last = rows[rows.length - 1]?.at_ms ?? 0;
  M.samples = rows.concat(M.samples.filter((sample) => sample.at_ms > last)).slice(-SAMPLES_KEPT);
}

// What is said about it.

/** How many nodes have each name. */
const nameCounts = new Map();

function countName(node, by) {
  if (node?.name) nameCounts.set(node.name, (nameCounts.get(node.name) ?? 0) + by);
}

/** The name of a node, with the start of its id if another node has the same name; without a name that start. */
function nameOf(id, node = M.nodes.get(id)) {
  if (!id) return "";
  const short = id.slice(0, 8);
  return node?.name ? node.name + (nameCounts.get(node.name) > 1 ? ` (${short})` : "") : short;
}
/** Returns the models of a node by name, each with the types of tasks that it serves. */
function modelsOf(node) {
  const types = new Map();
  for (const { name, type } of node.models) types.set(name, [...(types.get(name) ?? []), type]);
  return [...types];
}
const modelNames = (node) => modelsOf(node).map(([name]) => name).join(", ");

const loadOf = (node) => (node.load === null ? 0 : Math.min(1, node.load / node.slots));
const isSelected = (type, id) => M.selected?.type === type && (M.selected.id ?? M.selected.key) === id;
const worst = (nodes) => ["bad", "slow", GOOD, "idle"].find((tone) => nodes.some((node) => node.tone === tone)) ?? "idle";

function toneOfLink(link) {
  const ends = [M.nodes.get(link.a), M.nodes.get(link.b)];
  if (ends.some((node) => node?.tone === "bad")) return "bad";
  return ends.some((node) => node?.state === "slow") ? "slow" : GOOD;
}

/** Returns the network's state in a word, a sentence, and a tone. */
function verdict() {
  if (M.nodes.size === 0) return ["idle", "", "waiting for the node"];
  const nodes = [...M.nodes.values()], by = (tone) => nodes.filter((node) => node.tone === tone);
  const trouble = [...by("bad").sort((a, b) => (b.state === "gone") - (a.state === "gone")), ...by("slow")], first = trouble[0];
  const alerts = M.alerts.active, left = nodes.filter((node) => node.state === "gone"), here = nodes.length - left.length;
  if (first) {
    const gone = trouble.filter((node) => node.state === "gone").length;
    const told = first.reason ? `${nameOf(first.id)}: ${first.reason}` : `${nameOf(first.id)} is ${first.state}`;
    const more = trouble.length > 1 ? ` (and ${trouble.length - 1} more)` : "";
    return [first.tone, gone ? count(gone, "node") + " gone" : first.tone === "bad" ? count(by("bad").length, "node") + " in trouble" : "Needs a look", told + more];
  }
  if (alerts.length) return ["slow", count(alerts.length, "alert"), alerts[0].message];
  const moving = nodes.find((node) => node.tone === "idle" && node.state !== "gone");
  if (moving) return ["idle", "Settling", `${nameOf(moving.id)} is ${moving.state}`];
  const others = here === 1 ? "one node, no others" : `${here} nodes answer`;
  return [GOOD, "All is well", left.length ? `${others}, ${left.length === 1 ? nameOf(left[0].id) + " has" : left.length + " have"} left` : others];
}

const GROUPED = new Intl.NumberFormat("en");
const count = (number, thing) => `${GROUPED.format(number)} ${thing}${number === 1 ? "" : "s"}`;
const LOCAL = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const timeOf = (iso) => { const at = new Date(iso); return Number.isNaN(at.getTime()) ? "" : LOCAL.format(at); };

function bytes(number) {
  if (number === null || number === undefined) return "";
  const unit = number >= 1 << 30 ? 30 : number >= 1 << 20 ? 20 : number >= 1024 ? 10 : 0;
  const value = number / 2 ** unit;
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${{ 30: "GiB", 20: "MiB", 10: "KiB", 0: "B" }[unit]}`;
}

/** Formats milliseconds. */
function lasting(ms) {
  if (ms === null || ms === undefined) return "";
  if (ms >= 7.2e6) return `${(ms / 3.6e6).toFixed(1)} h`;
  if (ms >= 1.2e5) return `${Math.round(ms / 6e4)} min`;
  if (ms >= 1e3) return `${(ms / 1e3).toFixed(ms >= 1e4 ? 0 : 1)} s`;
  if (ms >= 10 || ms === 0) return `${Math.round(ms)} ms`;
  return ms >= 1 ? `${ms.toFixed(1)} ms` : `${Math.max(1, Math.round(ms * 1000))} µs`;
}

const rate = (perSecond) => (perSecond >= 10 || perSecond === 0 ? GROUPED.format(Math.round(perSecond)) : perSecond.toFixed(1).replace(".0", ""));

function tipFor(hit) {
  if (hit.type === "group") {
    const inside = hit.item.members, tones = [["bad", "gone or failing"], ["slow", "slow or degraded"]];
    return [count(inside.length, "node"), ...tones.map(([tone, word]) => [inside.filter((node) => node.tone === tone).length, word]).filter(([n]) => n).map(([n, word]) => `${n} ${word}`), "click to zoom in"];
  }
  if (hit.type === "link") {
    const link = M.links.get(hit.key);
    if (!link) return [""];
    const figures = link.rate === null ? "not measured by this node" : `${rate(link.rate)} messages/s, ${bytes(link.byteRate)}/s${link.rtt === null ? "" : ", " + lasting(link.rtt)}`;
    return [`${nameOf(link.a)} – ${nameOf(link.b)}`, figures];
  }
  const node = M.nodes.get(hit.id);
  if (!node) return [""];
  const load = node.load === null ? "load not known" : `${count(node.load, "task")} of ${count(node.slots, "slot")}`;
  return [nameOf(node.id) + (node.id === M.self ? " (this node)" : ""), node.reason ? `${node.state}: ${node.reason}` : node.state, load,
    modelNames(node) || "no models"];
}
