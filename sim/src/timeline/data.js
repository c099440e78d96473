"use strict";
// The parsed run: columns of rows by time, spans, and lookups in them.

const D = JSON.parse(document.getElementById("data").textContent);
const END = Math.max(D.end, 1);
const NODES = D.nodes.length;
const KIND = { heartbeat: 0, mdns: 1, routing: 2, world: 3, map: 4, receipt: 5, link: 6, peer: 7, task: 8, result: 9 };
const COUNT = D.rows.at.length;
const R = {
  at: new Float64Array(COUNT), took: Float64Array.from(D.rows.took), node: Uint32Array.from(D.rows.node),
  to: Int32Array.from(D.rows.to), kind: Uint8Array.from(D.rows.kind), name: Uint16Array.from(D.rows.name),
  text: Uint32Array.from(D.rows.text), task: Uint32Array.from(D.rows.task), bytes: Uint32Array.from(D.rows.bytes),
};
for (let i = 0, at = 0; i < COUNT; i++) R.at[i] = at += D.rows.at[i];
const KINDS_SEEN = new Array(D.kinds.length).fill(0);
for (let i = 0; i < COUNT; i++) KINDS_SEEN[R.kind[i]]++;

const lives = D.lives.map(([node, from, to, state]) => ({ type: "life", node, from, to: to ?? END, state }));
const suspicions = D.suspicions.map(([node, peer, from, to, dead]) => ({ type: "suspicion", node, peer, from, to: to ?? END, dead: dead === 1 }));
const tasks = D.tasks.map(([id, origin, from, to, status, worker, attempts], i) => ({
  type: "task", number: i + 1, id, origin, from, to: to ?? END, open: to === null, status, worker, runs: [],
  attempts: attempts.map(([worker, number, from, to, end]) => ({ worker, number, from, to: to ?? END, end })),
}));
const runs = D.runs.map(([node, task, attempt, from, to, end]) => ({ type: "run", node, task, attempt, from, to: to ?? END, end: end || "still runs" }));
for (const run of runs) if (tasks[run.task - 1]) tasks[run.task - 1].runs.push(run);
const bands = D.bands.map(([from, to, words, groups, stops], i) => ({
  type: "band", index: i, from, to: to ?? END, open: to === null, words, groups: new Map(groups), stops: stops === 1,
}));
const violation = D.violation && { type: "violation", ...D.violation, from: D.violation.at, to: D.violation.at };
const downs = downtimes();

/** Returns the times without a process of each node, from its first start on. */
function downtimes() {
  const found = [];
  const last = new Array(NODES).fill(null);
  for (const life of lives) {
    const before = last[life.node];
    const gap = before === null ? life.from > 0 : before < life.from;
    if (gap) found.push({ type: "life", node: life.node, from: before ?? 0, to: life.from, state: before === null ? "not started" : "down" });
    last[life.node] = life.to;
  }
  for (let node = 0; node < NODES; node++) {
    if (last[node] === null || last[node] < END) {
      found.push({ type: "life", node, from: last[node] ?? 0, to: END, state: last[node] === null ? "not started" : "down" });
    }
  }
  return found;
}

/** Packs spans into as few rows as possible; rows beyond the limit share the last one. */
function pack(spans, rowsMax) {
  const ends = [];
  for (const span of spans) {
    let row = ends.findIndex((end) => end <= span.from);
    span.crowded = row < 0 && ends.length >= rowsMax;
    if (row < 0) row = span.crowded ? rowsMax - 1 : ends.push(0) - 1;
    ends[row] = Math.max(ends[row], span.to);
    span.row = row;
  }
  return ends.length;
}

const byNode = (spans, of) => {
  const lists = Array.from({ length: NODES }, () => []);
  for (const span of spans) if (lists[of(span)]) lists[of(span)].push(span);
  return lists;
};
const runsOf = byNode(runs, (run) => run.node);
const tasksOf = byNode(tasks, (task) => task.origin);
const runRows = runsOf.map((list) => pack(list, 6));
const taskRows = tasksOf.map((list) => pack(list, 16));
const bandRows = pack(bands, 6);

// A row may end long after it started. The latest end of each block of rows is stored, so that a search in time skips
// blocks that have ended.
const BLOCK = 512;
const blockEnd = new Float64Array(Math.ceil(COUNT / BLOCK) || 1);
for (let i = 0; i < COUNT; i++) {
  const end = R.at[i] + Math.max(0, R.took[i]);
  const block = (i / BLOCK) | 0;
  if (end > blockEnd[block]) blockEnd[block] = end;
}

/** Returns the first row at or after a time. */
function rowAt(time) {
  let low = 0, high = COUNT;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (R.at[middle] < time) low = middle + 1; else high = middle;
  }
  return low;
}

/** Calls back for each row that overlaps a time range. */
function rowsIn(from, to, call) {
  const last = rowAt(to + 1);
  for (let block = 0; block * BLOCK < last; block++) {
    if (blockEnd[block] < from) continue;
    const stop = Math.min(last, (block + 1) * BLOCK);
    for (let i = block * BLOCK; i < stop; i++) {
      if (R.at[i] + Math.max(0, R.took[i]) >= from) call(i);
    }
  }
}

const isMessage = (i) => R.to[i] >= 0 && R.to[i] !== R.node[i];
const isWrite = (i) => R.to[i] === R.node[i];
const nameOf = (i) => D.rows.names[R.name[i]].replaceAll("_", " ");
const nodeName = (node) => "n" + node;

/** Formats a time, as precisely as a step on the axis needs it. */
function clock(micros, step = 1000) {
  const digits = step >= 1e6 ? 0 : step >= 1e5 ? 1 : step >= 1e4 ? 2 : step >= 1e3 ? 3 : step >= 1e2 ? 4 : step >= 10 ? 5 : 6;
  const seconds = micros / 1e6;
  if (seconds >= 600 && digits === 0) return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
  return seconds.toFixed(digits) + " s";
}

function lasting(micros) {
  if (micros >= 1e6) return (micros / 1e6).toFixed(micros >= 1e7 ? 1 : 2) + " s";
  if (micros >= 1e3) return (micros / 1e3).toFixed(micros >= 1e5 ? 0 : 1) + " ms";
  return micros + " µs";
}
