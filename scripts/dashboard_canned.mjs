// A server for tests of the page at sizes and rates that no real mesh of one machine has: it serves `runtime/web` and canned
// answers in the form of `runtime/api/src/dashboard.rs`. Usage: node dashboard_canned.mjs [NODES] [EVENTS A SECOND] [PORT]

import { createServer } from "node:http";
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";

const WEB = process.env.WEB ?? fileURLToPath(new URL("../runtime/web/", import.meta.url));
const TYPES = { html: "text/html; charset=utf-8", js: "text/javascript", css: "text/css", svg: "image/svg+xml" };
const WORDS = ["amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "heath", "iris", "jade"];
const POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/** Returns numbers that look random, the same in each run. */
function random(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

export class Canned {
  constructor({ nodes, linksOfEach = 4, eventsPerSecond = 0, hostileName = null, access = "full" }) {
    this.next = random(nodes);
    this.access = access;
    this.eventsPerSecond = eventsPerSecond;
    this.number = 1;
    this.streams = new Set();
    // Streams that get nothing more, like connections that a sleeping computer has lost.
    this.stuck = new Set();
    this.tasks = [];
    this.pending = { nodes: new Map(), tasks: new Map() };
    this.nodes = Array.from({ length: nodes }, (_, i) => this.node(i, nodes));
    if (hostileName) this.nodes[Math.min(1, nodes - 1)].name = hostileName;
    this.me = this.nodes[0].id;
    Object.assign(this.nodes[0], { hops: 0, memory_bytes: 240e6, memory_bytes_max: 2147483648 });
    this.links = new Map();
    const pairs = [];
    if (nodes <= 12) for (let i = 0; i < nodes; i++) for (let j = i + 1; j < nodes; j++) pairs.push([i, j]);
    else {
      for (let i = 0; i < nodes; i++) {
        const near = this.nodes.map((node, j) => [(node.x - this.nodes[i].x) ** 2 + (node.y - this.nodes[i].y) ** 2, j]).sort((a, b) => a[0] - b[0]);
        for (const [, j] of near.slice(1, 1 + linksOfEach - 1)) pairs.push([i, j]);
        pairs.push([i, Math.floor(this.next() * nodes)]);
      }
    }
    for (const [i, j] of pairs) if (i !== j) this.link(i, j);
    this.groups = [];
    if (nodes > 300) this.group();
  }

  node(i, nodes) {
    const hex = (i * 2654435761 >>> 0).toString(16).padStart(8, "0");
    const model = [["all-MiniLM-L6-v2", "embedding"], ["bge-small-en", "embedding"], ["qwen2.5-0.5b", "generation"], ["ms-marco-MiniLM", "reranking"]];
    // A spiral of sunflower seeds fills the picture evenly.
    const angle = i * 2.399963, radius = 0.48 * Math.sqrt((i + 0.5) / nodes) + 0.02 * this.next();
    return {
      id: hex + "0123456789abcdef01234567", name: WORDS[i % 10] + (i >= 10 ? Math.floor(i / 10) : ""), version: "0.1.0", state: "active", level: "good", hops: 1,
      addresses: [`192.168.1.${i % 250}:9000`], load: i % 7 === 0 ? 1 : 0, slots: [1, 2, 4, 8][i % 4],
      models: model.slice(0, 1 + (i % 4)).map(([name, type]) => ({ name, type })), memory_bytes: null, memory_bytes_max: null,
      x: 0.5 + radius * Math.cos(angle), y: 0.5 + radius * Math.sin(angle),
    };
  }

  group() {
    const cells = new Map();
    for (const node of this.nodes) {
      const key = `${Math.floor(node.x * 8)} ${Math.floor(node.y * 6)}`;
      if (!cells.has(key)) cells.set(key, []);
      cells.get(key).push(node);
    }
    for (const members of cells.values()) {
      const mean = (axis) => members.reduce((sum, node) => sum + node[axis], 0) / members.length;
      const [x, y] = [mean("x"), mean("y")];
      for (const node of members) node.group = this.groups.length;
      this.groups.push({ id: members[0].id, nodes: members.length, x, y, radius: Math.max(0.01, ...members.map((node) => Math.hypot(node.x - x, node.y - y))) });
    }
  }

  link(i, j) {
    const [a, b] = [this.nodes[i].id, this.nodes[j].id].sort();
    const own = a === this.me || b === this.me;
    const figure = (value) => (own ? value : null);
    this.links.set(`${a} ${b}`, { a, b, round_trip_ms: figure(0.2 + this.next() * 4), messages_in: figure(1204), messages_out: figure(1310), bytes_in: figure(88120), bytes_out: figure(240311), messages_per_second: figure(Math.round(this.next() * 60)), bytes_per_second: figure(4096), connected_ms: figure(86400000) });
  }

  topology() {
    return { cursor: `canned-${this.number}`, timestamp: new Date().toISOString(), self: this.me, network: "workshop", kind: "demo", nodes: this.nodes, links: [...this.links.values()], groups: this.groups, sample: this.sample() };
  }

  sample(at = Date.now()) {
    const wave = Math.sin(at / 90000) + 1;
    return { at_ms: Math.floor(at / 1000) * 1000, tasks_submitted: this.eventsPerSecond, tasks_completed: Math.round(20 + wave * 40), tasks_failed: at % 60000 < 4000 ? 3 : 0, attempts: 9, task_ms: 12.5 + wave * 9, task_max_ms: 40, messages_out: Math.round(80 + wave * 100), messages_in: Math.round(70 + wave * 110), message_ms: 0.8 + wave, bytes_out: 40960, bytes_in: 20480, tasks_queued: Math.round(wave * 3), tasks_running: Math.round(wave * 5), peers: Math.min(30, this.nodes.length - 1), members: this.nodes.length, memory_bytes: 230686720 + wave * 1e7, memory_bytes_max: 2147483648, cpu_percent: 12.5 + wave * 20 };
  }

  /** Changes a node, as after a fault. */
  change(index, fields) {
    const node = Object.assign(this.nodes[index], fields);
    this.pending.nodes.set(node.id, node);
  }

  join() {
    const node = this.node(this.nodes.length, this.nodes.length + 1);
    this.nodes.push(node);
    this.link(0, this.nodes.length - 1);
    this.pending.nodes.set(node.id, node);
  }

  /** Changes a task: submits one, starts one, or ends one. */
  event() {
    const open = this.tasks.filter((task) => ["QUEUED", "RUNNING"].includes(task.status));
    if (open.length < 5 || (open.length < 40 && this.next() < 0.4)) {
      const hex = Math.floor(this.next() * 4294967296).toString(16).padStart(8, "0");
      const task = { id: `${hex}-89ab-4def-8123-456789abcdef`, type: ["embedding", "embedding", "reranking", "generation"][Math.floor(this.next() * 4)], model: "all-MiniLM-L6-v2", status: "QUEUED", origin: this.me, attempts: 0, submitted_at: new Date().toISOString(), preview: "a text of a client" };
      this.tasks.push(task);
      if (this.tasks.length > 200) this.tasks.shift();
      this.note(task);
      return;
    }
    const task = open[Math.floor(this.next() * open.length)];
    if (task.status === "QUEUED") Object.assign(task, { status: "RUNNING", attempts: 1, worker: this.nodes[Math.floor(this.next() * this.nodes.length)].id });
    else Object.assign(task, { status: this.next() < 0.03 ? "FAILED" : "COMPLETED", elapsed_ms: Math.round(5 + this.next() * 60) });
    this.note(task);
  }

  note(task) {
    const { submitted_at: _, preview: __, ...change } = task;
    this.pending.tasks.set(task.id, { ...change, timestamp: new Date().toISOString() });
  }

  update(withSample) {
    this.number++;
    const tasks = [...this.pending.tasks.values()];
    const update = { cursor: `canned-${this.number}`, timestamp: new Date().toISOString(), nodes: [...this.pending.nodes.values()], tasks: tasks.slice(0, 100) };
    if (tasks.length > 100) update.tasks_left_out = tasks.length - 100;
    if (withSample) {
      update.sample = this.sample();
      update.links = [...this.links.values()].filter((link) => link.messages_per_second !== null).map((link) => ({ ...link, messages_per_second: Math.round(this.next() * 60) }));
    }
    this.pending.nodes.clear();
    this.pending.tasks.clear();
    for (const stream of this.streams) if (!this.stuck.has(stream)) stream.write(`event: update\nid: ${update.cursor}\ndata: ${JSON.stringify(update)}\n\n`);
  }

  async answer(request, response) {
    const url = new URL(request.url, "http://localhost"), path = url.pathname.replace(/^\/api\/v1/, "");
    const json = (body, status = 200) => { response.writeHead(status, { "Content-Type": "application/json" }); response.end(JSON.stringify(body)); };
    const missing = () => json({ error: { code: "route_unknown", message: `There is no ${url.pathname}` } }, 404);
    if (this.down) { request.destroy(); return; }
    if (!url.pathname.startsWith("/api/")) {
      const name = url.pathname === "/" ? "index.html" : url.pathname.slice(1);
      if (!/^[a-z]+\.(html|js|css|svg)$/.test(name)) { missing(); return; }
      const body = await readFile(WEB + name).catch(() => null);
      if (!body) { missing(); return; }
      response.writeHead(200, { "Content-Type": TYPES[name.split(".")[1]], "Content-Security-Policy": POLICY });
      response.end(body);
    } else if (this.loggedOut) json({ error: { code: "login_needed", message: "This browser is not logged in", hint: "p2p-ai-agents dashboard open" } }, 401);
    else if (path === "/dashboard/session") json({ access: this.access, expires_at: new Date(Date.now() + 3.6e6).toISOString() });
    else if (path === "/dashboard/topology") json(this.topology());
    else if (path === "/dashboard/events") {
      response.writeHead(200, { "Content-Type": "text/event-stream" });
      if (url.searchParams.get("after") !== `canned-${this.number}`) response.write(`event: topology\nid: canned-${this.number}\ndata: ${JSON.stringify(this.topology())}\n\n`);
      this.streams.add(response);
      response.on("close", () => this.streams.delete(response));
    } else if (path === "/dashboard/metrics") {
      const rows = Array.from({ length: 1800 }, (_, i) => this.sample(Date.now() - (1800 - i) * 1000));
      const columns = Object.fromEntries(Object.keys(rows[0]).filter((name) => name !== "at_ms").map((name) => [name, rows.map((row) => row[name])]));
      json({ interval_ms: 1000, from_ms: rows[0].at_ms, length: rows.length, columns });
    } else if (path === "/dashboard/invite") json({ network: "workshop", address: "192.168.1.10:9000", command: "p2p-ai-agents node start --network workshop --bootstrap-peer 192.168.1.10:9000", qr: "/icon.svg", note: "the machine must be on this local network" });
    else if (path === "/tasks" && request.method === "GET") json({ total: this.tasks.length, tasks: [...this.tasks].reverse().slice(0, 100) });
    else if (path === "/models") json({ models: [{ name: "all-MiniLM-L6-v2", kinds: ["embedding", "classification"], bytes: 23347847, where: "built in", ready: true, loaded_at: new Date().toISOString(), memory_bytes: 130e6, reason: null, state: "loaded" }], pulls: { "BAAI/bge-base-en": { state: "running", bytes_done: 120e6, bytes_total: 420e6, reason: null, code: null, hint: null } } });
    else if (path === "/alerts") json({ active: this.alert ? [this.alert] : [], thresholds: [{ name: "memory_warning", value: 85, set: false, least: 1, most: 100 }], sinks: [] });
    else if (path === "/alerts/history") json({ total: 1, alerts: [{ rule: "peer_count", severity: "WARN", message: "1 peer, below 2", value: 1, threshold: 2, raised_at: new Date(Date.now() - 9e5).toISOString(), cleared_at: new Date(Date.now() - 8e5).toISOString(), cleared_value: 3 }] });
    else missing();
  }

  async start(port = 0) {
    this.server = createServer((request, response) => this.answer(request, response));
    await new Promise((resolve) => this.server.listen(port, "127.0.0.1", resolve));
    let tick = 0, owed = 0;
    this.timer = setInterval(() => {
      for (owed += this.eventsPerSecond / 10; owed >= 1; owed--) this.event();
      tick++;
      if (this.pending.tasks.size || this.pending.nodes.size || tick % 10 === 0) this.update(tick % 10 === 0);
    }, 100);
    this.url = `http://127.0.0.1:${this.server.address().port}/`;
    return this;
  }

  stop() {
    clearInterval(this.timer);
    this.server.closeAllConnections();
    this.server.close();
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [nodes = 5, eventsPerSecond = 4, port = 0] = process.argv.slice(2).map(Number);
  console.log((await new Canned({ nodes, eventsPerSecond }).start(port)).url);
}
