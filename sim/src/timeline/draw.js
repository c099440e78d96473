// Draws the canvas. Everything is redrawn for the visible time range; items that fall on the same pixels are drawn once.

const GUTTER = 78, AXIS = 28, BAND = 17;
const PALETTES = {
  light: {
    ...COLOURS.light, kinds: ["#a3abb5", "#c2a100", "#8d80bd", "#8b9199", "#12966f", "#a897bd", "#4ba3d9", "#c7629a", "#0b6bb5", "#e08e00"],
    life: "#47525f", starting: "#a9b6c4", stopping: "#c99a3a", task: "#bcd7ee", window: "rgba(11,107,181,.09)", onRun: "#ffffff", fault: "208,69,27",
  },
  dark: {
    ...COLOURS.dark, kinds: ["#69737f", "#d9c445", "#a196d8", "#8791a0", "#2fc394", "#8f82aa", "#79c4f2", "#e58bbd", "#4ea8f5", "#ffb638"],
    life: "#b4bfcc", starting: "#5d6a7a", stopping: "#d9a94a", task: "#27435e", window: "rgba(108,182,255,.12)", onRun: "#ffffff", fault: "255,104,64",
  },
};
let P = PALETTES.light;

const view = { from: 0, to: END, scroll: 0, tall: 1 };
const shown = D.kinds.map((_, kind) => ![KIND.heartbeat, KIND.mdns, KIND.routing, KIND.world].includes(kind));
const lanesCanvas = document.getElementById("lanes"), mapCanvas = document.getElementById("map");
let lanes = [], top0 = 0, size = { width: 0, height: 0 }, hits = [], drawnMessages = [], selected = null, hovered = null;

const xOf = (time) => GUTTER + ((time - view.from) / (view.to - view.from)) * (size.width - GUTTER);
const timeOf = (x) => view.from + ((x - GUTTER) / (size.width - GUTTER)) * (view.to - view.from);

/** Sets the height of each node's lane: its content, scaled to the available height. */
function layOut(height) {
  top0 = AXIS + (bandRows > 0 ? bandRows * BAND + 7 : 0);
  const room = Math.max(60, height - top0 - 8);
  const wanted = Array.from({ length: NODES }, (_, node) => 44 + runRows[node] * 15 + Math.min(taskRows[node], 12) * 7);
  const total = wanted.reduce((a, b) => a + b, 0);
  const least = Math.min(40, Math.max(5, room / NODES));
  const stretch = Math.min(room / total, 1.9);
  let y = 0;
  lanes = wanted.map((want) => {
    const h = Math.max(least, want * stretch) * view.tall;
    const lane = { y, h, life: 0, runs: 0, runH: 0, tasks: 0, taskH: 0 };
    lane.life = Math.min(h * 0.5, Math.max(h * 0.2, 17));
    y += h;
    return lane;
  });
  lanes.forEach((lane, node) => {
    const space = lane.h - lane.life - 9;
    const units = runRows[node] * 2 + taskRows[node];
    const unit = units ? Math.min(12, space / units) : 0;
    lane.runs = lane.life + 7;
    lane.runH = Math.min(21, unit * 2);
    lane.tasks = lane.runs + lane.runH * runRows[node] + 2;
    lane.taskH = Math.min(10, unit);
  });
  const overflow = Math.max(0, y - room);
  view.scroll = Math.min(Math.max(0, view.scroll), overflow);
}

const laneTop = (node) => top0 + lanes[node].y - view.scroll;
const wireY = (node) => laneTop(node) + lanes[node].life;

function draw() {
  const [c, width, height] = fit(lanesCanvas);
  size = { width, height };
  layOut(height);
  hits = [];
  c.save();
  c.beginPath();
  c.rect(GUTTER, top0, width - GUTTER, height - top0);
  c.clip();
  drawLanes(c);
  drawFaultsBehind(c);
  drawGrid(c);
  drawLives(c);
  drawMessages(c);
  drawSpans(c);
  drawSuspicions(c);
  drawSelection(c);
  c.restore();
  drawViolation(c);
  drawHead(c);
  drawGutter(c);
  drawMap();
}

function drawLanes(c) {
  for (let node = 0; node < NODES; node++) {
    const y = laneTop(node);
    if (y > size.height || y + lanes[node].h < top0) continue;
    if (node % 2 === 0 && lanes[node].h > 12) {
      c.fillStyle = P.lane;
      c.fillRect(GUTTER, y, size.width, lanes[node].h);
    }
    if (selected?.type === "node" && selected.node === node) {
      c.fillStyle = P.window;
      c.fillRect(GUTTER, y, size.width, lanes[node].h);
    }
  }
}

function drawFaultsBehind(c) {
  for (const band of bands) {
    const x0 = xOf(band.from), x1 = Math.max(xOf(band.to), x0 + 1);
    if (x1 < GUTTER || x0 > size.width) continue;
    const nodes = band.groups.size ? [...band.groups.keys()] : lanes.map((_, node) => node);
    for (const node of nodes) {
      const y = laneTop(node), h = lanes[node].h;
      const strength = band.stops ? 0.1 : 0.055;
      c.fillStyle = `rgba(${P.fault},${strength})`;
      c.fillRect(x0, y, x1 - x0, h);
      c.fillStyle = hatch(c, P.fault, band.stops ? 0.2 : 0.13, band.groups.get(node) % 2 === 1);
      if (h > 12) c.fillRect(x0, y, x1 - x0, h);
    }
    c.strokeStyle = `rgba(${P.fault},.55)`;
    c.setLineDash([4, 3]);
    c.lineWidth = 1;
    for (const [x, open] of [[x0, false], [x1, band.open]]) {
      if (open || bands.length > 12 || x < GUTTER - 2 || x > size.width + 2) continue;
      c.beginPath();
      c.moveTo(Math.round(x) + 0.5, top0);
      c.lineTo(Math.round(x) + 0.5, size.height);
      c.stroke();
    }
    c.setLineDash([]);
  }
}

/** Returns the distance of the grid lines: 1, 2 or 5 times a power of ten. */
function gridStep() {
  const least = ((view.to - view.from) / (size.width - GUTTER)) * 96;
  const power = 10 ** Math.floor(Math.log10(Math.max(1, least)));
  return Math.max(1, [1, 2, 5, 10].map((n) => n * power).find((step) => step >= least) ?? power * 10);
}

function drawGrid(c) {
  const step = gridStep();
  c.fillStyle = P.line;
  for (let time = Math.ceil(view.from / step) * step; time <= view.to; time += step) {
    c.fillRect(Math.round(xOf(time)), top0, 1, size.height);
  }
}

function drawLives(c) {
  const usual = lanes.reduce((sum, lane) => sum + lane.h, 0) / NODES;
  for (const life of lives.concat(downs)) {
    const x0 = Math.max(GUTTER, xOf(life.from)), x1 = xOf(life.to);
    if (x1 < GUTTER || x0 > size.width || lanes[life.node] === undefined) continue;
    const y = wireY(life.node), thick = usual > 30 ? 4 : usual > 12 ? 2 : 1;
    if (y < top0 - 9 || y > size.height + 9) continue;
    hits.push({ x0, x1, y0: y - thick, y1: y + thick, of: life });
    if (life.state === "down" || life.state === "not started") {
      c.strokeStyle = life.state === "down" ? P.bad : P.faint;
      c.lineWidth = 1.2;
      c.setLineDash([2, 4]);
      c.beginPath();
      c.moveTo(x0, y);
      c.lineTo(x1, y);
      c.stroke();
      c.setLineDash([]);
      continue;
    }
    c.globalAlpha = thick < 2 ? 0.45 : 1;
    c.fillStyle = life.state === "ACTIVE" ? P.life : life.state === "SHUTTING_DOWN" ? P.stopping : P.starting;
    c.fillRect(x0, y - thick / 2, Math.max(1.5, x1 - x0), thick);
    c.globalAlpha = 1;
    if (x1 - x0 > 92 && life.state !== "ACTIVE" && lanes[life.node].h > 30) label(c, life.state, x0 + 4, y - 7, P.soft, 10);
  }
}

const taskInFocus = () => (selected?.type === "task" ? selected.number : selected?.task) || 0;

function drawSpans(c) {
  const focus = taskInFocus();
  for (let node = 0; node < NODES; node++) {
    const lane = lanes[node], y = laneTop(node);
    if (y > size.height || y + lane.h < top0) continue;
    for (const task of tasksOf[node]) drawTask(c, task, y + lane.tasks + task.row * lane.taskH, lane.taskH, focus);
    for (const run of runsOf[node]) drawRun(c, run, y + lane.runs + run.row * lane.runH, lane.runH, focus);
  }
  c.globalAlpha = 1;
}

function drawTask(c, task, y, h, focus) {
  const x0 = Math.max(GUTTER - 4, xOf(task.from)), x1 = Math.min(size.width + 4, xOf(task.to));
  if (x1 < GUTTER || x0 > size.width || h < 0.8) return;
  c.globalAlpha = focus && focus !== task.number ? 0.25 : 1;
  const thick = Math.max(1, h - (h > 3 ? 1.6 : 0.3));
  bar(c, x0, x1, y, thick, P.task);
  const end = task.status === "COMPLETED" ? P.good : task.status ? P.bad : P.faint;
  if (x1 <= size.width) bar(c, Math.max(x0, x1 - 3), x1, y, thick, end);
  hits.push({ x0: x0 - 1, x1: x1 + 1, y0: y - 1, y1: y + thick + 1, of: task });
}

function drawRun(c, run, y, h, focus) {
  const x0 = Math.max(GUTTER - 4, xOf(run.from)), x1 = Math.min(size.width + 4, xOf(run.to));
  if (x1 < GUTTER || x0 > size.width || h < 0.8) return;
  c.globalAlpha = focus && focus !== run.task ? 0.25 : run.end === "done" || run.end === "still runs" ? 1 : 0.78;
  const thick = Math.max(1.5, h - (h > 4 ? 2.4 : 0.4));
  bar(c, x0, x1, y, thick, P.run);
  if (run.end === "lost") {
    c.strokeStyle = P.bad;
    c.lineWidth = 2;
    c.beginPath();
    const m = y + thick / 2, r = Math.min(4, thick / 2);
    c.moveTo(x1 - r, m - r); c.lineTo(x1 + r, m + r);
    c.moveTo(x1 + r, m - r); c.lineTo(x1 - r, m + r);
    c.stroke();
  }
  if (thick >= 10 && x1 - x0 > 24) {
    const text = x1 - x0 > 62 ? `task ${run.task}${run.attempt > 1 ? ` · try ${run.attempt}` : ""}` : String(run.task);
    if (x1 - x0 > text.length * 6) label(c, text, x0 + 5, y + thick / 2 + 0.5, P.onRun, 10.5, 500);
  }
  hits.push({ x0: x0 - 1, x1: x1 + 1, y0: y - 1, y1: y + thick + 1, of: run });
}

/** Draws messages as arrows and the rest as dots on the wire. */
function drawMessages(c) {
  const inView = [], dots = new Map();
  rowsIn(view.from, view.to, (i) => {
    if (!shown[R.kind[i]]) return;
    if (isMessage(i)) { inView.push(i); return; }
    const x = Math.round(xOf(R.at[i]));
    const key = Math.round(x / 3) * NODES + R.node[i];
    const before = dots.get(key);
    if (before === undefined || R.kind[before] < R.kind[i]) dots.set(key, i);
  });
  const focus = taskInFocus();
  const crowded = inView.length > 1800;
  drawnMessages = crowded ? thinned(inView) : inView;
  const alpha = crowded ? Math.min(0.4, Math.max(0.1, 420 / drawnMessages.length)) : Math.max(0.4, Math.min(0.85, 140 / inView.length));
  const heads = inView.length < 500;
  const byKind = D.kinds.map(() => []);
  for (const i of drawnMessages) byKind[R.kind[i]].push(i);
  byKind.forEach((list, kind) => {
    const colour = P.kinds[kind];
    const calm = kind === KIND.heartbeat || kind === KIND.receipt ? 0.65 : 1;
    stroke(c, list.filter((i) => !focus || R.task[i] !== focus), colour, (focus ? 0.3 : 1) * alpha * calm, crowded ? 1 : 1.2, heads);
  });
  if (focus) {
    const ofTask = inView.filter((i) => R.task[i] === focus);
    byKind.forEach((_, kind) => stroke(c, ofTask.filter((i) => R.kind[i] === kind), P.kinds[kind], 1, 2, true));
  }
  for (const i of dots.values()) drawDot(c, i);
  c.globalAlpha = 1;
}

const seen = new Uint32Array(1 << 17);
/** Returns about one message per pair of nodes, kind and pixel, up to a limit. */
function thinned(rows) {
  seen.fill(0);
  const one = [];
  for (const i of rows) {
    let hash = Math.imul(Math.round(xOf(R.at[i])), 0x9e3779b1) ^ Math.imul(R.node[i] * NODES + R.to[i], 0x85ebca6b) ^ Math.imul(R.kind[i] + 1, 0xc2b2ae35);
    hash = Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d) >>> 0;
    // If two share a slot, one may be missing or doubled, which is invisible.
    if (seen[hash >>> 15] === hash) continue;
    seen[hash >>> 15] = hash;
    one.push(i);
  }
  const step = Math.ceil(one.length / 6000);
  return step > 1 ? one.filter((i) => i % step === 0) : one;
}

function ends(i) {
  const x0 = xOf(R.at[i]), y0 = wireY(R.node[i]), y1 = wireY(R.to[i]);
  if (R.took[i] < 0) {
    // A lost message ends before its receiver.
    return [x0, y0, x0 + Math.min(14, Math.abs(y1 - y0) / 3), y0 + (y1 - y0) * 0.45];
  }
  return [x0, y0, xOf(R.at[i] + R.took[i]), y1];
}

function stroke(c, list, colour, alpha, width, heads) {
  if (list.length === 0) return;
  c.strokeStyle = c.fillStyle = colour;
  c.globalAlpha = alpha;
  c.lineWidth = width;
  c.beginPath();
  for (const i of list) {
    const [x0, y0, x1, y1] = ends(i);
    c.moveTo(x0, y0);
    c.lineTo(x1, y1);
  }
  c.stroke();
  if (!heads) return;
  c.beginPath();
  for (const i of list) {
    const [x0, y0, x1, y1] = ends(i);
    const length = Math.hypot(x1 - x0, y1 - y0);
    if (length < 10) continue;
    const ux = (x1 - x0) / length, uy = (y1 - y0) / length;
    if (R.took[i] < 0) {
      c.rect(x1 - 2.5, y1 - 2.5, 5, 5);
      continue;
    }
    const tx = x1 - ux * 2, ty = y1 - uy * 2, w = 3 + width;
    c.moveTo(tx, ty);
    c.lineTo(tx - ux * 7 - uy * w * 0.7, ty - uy * 7 + ux * w * 0.7);
    c.lineTo(tx - ux * 7 + uy * w * 0.7, ty - uy * 7 - ux * w * 0.7);
  }
  c.fill();
}

function drawDot(c, i) {
  const x = xOf(R.at[i]), y = wireY(R.node[i]), small = lanes[R.node[i]].h < 16;
  c.globalAlpha = 1;
  if (isWrite(i)) {
    bar(c, x, xOf(R.at[i] + Math.max(0, R.took[i])), y + 4, 2, P.kinds[R.kind[i]]);
  } else {
    c.fillStyle = P.kinds[R.kind[i]];
    c.beginPath();
    c.arc(x, y, small ? 1.4 : 3, 0, 7);
    c.fill();
    if (!small) { c.strokeStyle = P.paper; c.lineWidth = 1; c.stroke(); }
  }
  hits.push({ x0: x - 4, x1: x + 4, y0: y - 4, y1: y + 4, of: { type: "row", row: i }, dot: true });
}

function drawSuspicions(c) {
  for (const suspicion of suspicions) {
    const lane = lanes[suspicion.node];
    const x0 = Math.max(GUTTER, xOf(suspicion.from)), x1 = xOf(suspicion.to);
    if (x1 < GUTTER || x0 > size.width || lane.h < 14) continue;
    const y = wireY(suspicion.node) - (lane.h > 40 ? 8 : 5);
    bar(c, x0, Math.max(x1, x0 + 2), y, 3, P.slow);
    if (suspicion.dead && x1 <= size.width) {
      c.fillStyle = P.bad;
      c.fillRect(x1 - 1, y - 3, 3, 9);
    }
    const text = `${nodeName(suspicion.peer)} SLOW${suspicion.dead ? " → DEAD" : ""}`;
    if (x1 - x0 > text.length * 6.2 && lane.life > 14) label(c, text, x0 + 2, y - 6, P.soft, 10);
    hits.push({ x0: x0 - 2, x1: Math.max(x1, x0 + 2) + 2, y0: y - 4, y1: y + 5, of: suspicion });
  }
}

/** Connects the parts of the focused task, and frames the selected and the hovered item. */
function drawSelection(c) {
  const task = tasks[taskInFocus() - 1];
  if (task) {
    c.strokeStyle = P.run;
    c.lineWidth = 1.6;
    c.globalAlpha = 0.9;
    const ty = laneTop(task.origin) + lanes[task.origin].tasks + (task.row + 0.4) * lanes[task.origin].taskH;
    const curve = (x0, y0, x1, y1) => {
      const bend = Math.max(14, Math.abs(x1 - x0) / 2);
      c.beginPath();
      c.moveTo(x0, y0);
      c.bezierCurveTo(x0 + bend, y0, x1 - bend, y1, x1, y1);
      c.stroke();
    };
    for (const run of task.runs) {
      const lane = lanes[run.node];
      const ry = laneTop(run.node) + lane.runs + (run.row + 0.45) * lane.runH;
      const attempt = task.attempts.find((one) => one.number === run.attempt && one.worker === run.node);
      curve(xOf(attempt ? attempt.from : task.from), ty, xOf(run.from), ry);
      if (run.end === "done" && task.worker === run.node && !task.open) curve(xOf(run.to), ry, xOf(task.to), ty);
    }
    c.globalAlpha = 1;
  }
  for (const [of, width] of [[hovered, 1.6], [selected, 2.4]]) {
    if (!of) continue;
    if (of.type === "row" && isMessage(of.row)) {
      stroke(c, [of.row], of === selected ? P.ink : P.kinds[R.kind[of.row]], 1, width + 0.6, true);
    } else {
      const hit = hits.find((one) => same(one.of, of));
      if (!hit) continue;
      c.strokeStyle = P.ink;
      c.lineWidth = width - 0.6;
      c.beginPath();
      c.roundRect(hit.x0 - 1, hit.y0 - 1, hit.x1 - hit.x0 + 2, hit.y1 - hit.y0 + 2, 4);
      c.stroke();
    }
  }
  c.globalAlpha = 1;
}

const same = (a, b) => a === b || (a?.type === "row" && b?.type === "row" && a.row === b.row);

function drawViolation(c) {
  if (!violation) return;
  const x = xOf(violation.at);
  if (x < GUTTER || x > size.width + 1) return;
  const at = Math.min(x, size.width - 2);
  c.fillStyle = P.bad;
  c.fillRect(at - 1, AXIS, 2.5, size.height);
  const y = violation.node === null || violation.node === undefined ? top0 + 14 : wireY(violation.node);
  c.beginPath();
  c.arc(at, y, 9, 0, 7);
  c.fill();
  c.strokeStyle = "#fff";
  c.lineWidth = 2.2;
  c.beginPath();
  c.moveTo(at - 3.5, y - 3.5); c.lineTo(at + 3.5, y + 3.5);
  c.moveTo(at + 3.5, y - 3.5); c.lineTo(at - 3.5, y + 3.5);
  c.stroke();
  c.font = `600 12px ${FONT}`;
  const words = violation.invariant.replaceAll("_", " "), wide = c.measureText(words).width + 14;
  const left = at + 14 + wide > size.width ? at - 14 - wide : at + 14;
  bar(c, left, left + wide, y - 10, 20, P.bad);
  label(c, words, left + 7, y + 0.5, "#fff", 12, 600);
  hits.push({ x0: Math.min(left, at - 9), x1: Math.max(left + wide, at + 9), y0: y - 10, y1: y + 10, of: violation });
}

/** The axis, and below it each fault by name. */
function drawHead(c) {
  c.fillStyle = P.paper;
  c.fillRect(0, 0, size.width, top0);
  const step = gridStep();
  for (let time = Math.ceil(view.from / step) * step; time <= view.to; time += step) {
    const x = xOf(time);
    c.fillStyle = P.faint;
    c.fillRect(Math.round(x), AXIS - 6, 1, 6);
    if (x < size.width - 24) label(c, clock(time, step), x + 4, AXIS - 12, P.soft, 11);
  }
  c.fillStyle = P.line;
  c.fillRect(0, AXIS, size.width, 1);
  c.save();
  c.beginPath();
  c.rect(GUTTER, AXIS, size.width - GUTTER, top0 - AXIS);
  c.clip();
  const free = new Array(bandRows).fill(-Infinity);
  for (const band of bands) {
    const x0 = Math.max(GUTTER, xOf(band.from)), x1 = Math.max(xOf(band.to), xOf(band.from) + 3);
    if (x1 < GUTTER || x0 > size.width) continue;
    const y = AXIS + 4 + band.row * BAND;
    if (band.crowded) {
      bar(c, x0, x0 + 3, y + 9, BAND - 12, P.bad);
      continue;
    }
    bar(c, x0, x1, y, BAND - 3, `rgba(${P.fault},.26)`);
    bar(c, x0, x0 + 3, y, BAND - 3, P.bad);
    c.font = `500 11px ${FONT}`;
    const next = bands.find((other) => other.row === band.row && !other.crowded && other.from >= band.to && other !== band);
    const room = (next ? xOf(next.from) : size.width) - x0 - 12;
    if (x0 > free[band.row] && room > 26) {
      const words = shorten(c, band.words, room);
      label(c, words, x0 + 7, y + 7.5, P.ink, 11, 500);
      free[band.row] = x0 + 7 + c.measureText(words).width;
    }
    hits.push({ x0, x1: Math.max(x1, Math.min(free[band.row], x0 + room)), y0: y, y1: y + BAND - 3, of: band });
  }
  c.restore();
}

function drawGutter(c) {
  c.fillStyle = P.paper;
  c.fillRect(0, top0, GUTTER, size.height);
  c.fillStyle = P.line;
  c.fillRect(GUTTER - 1, AXIS, 1, size.height);
  const usual = lanes.reduce((sum, lane) => sum + lane.h, 0) / NODES;
  const every = Math.ceil(11 / Math.max(1, lanes[0]?.h ?? 11));
  for (let node = 0; node < NODES; node++) {
    const y = laneTop(node);
    if (y > size.height || y + lanes[node].h < top0 - 4) continue;
    if (node % every === 0 && wireY(node) > top0 + 3) {
      const big = usual > 34;
      label(c, nodeName(node), 16, wireY(node), selected?.type === "node" && selected.node === node ? P.run : P.ink, big ? 14 : every > 1 ? 9.5 : 11, 600);
      if (big && lanes[node].h > 48) label(c, D.nodes[node].slice(0, 8), 16, wireY(node) + 15, P.faint, 10);
    }
    hits.push({ x0: 0, x1: GUTTER, y0: Math.max(top0, y), y1: y + lanes[node].h, of: { type: "node", node } });
    if (lanes[node].h > 20) { c.fillStyle = P.line; c.fillRect(0, Math.round(y + lanes[node].h), GUTTER, 1); }
  }
  c.fillStyle = P.paper;
  c.fillRect(0, 0, GUTTER, top0);
  label(c, "simulated", 16, AXIS - 12, P.faint, 11);
  if (bandRows) label(c, "faults", 16, AXIS + 12, P.bad, 11, 600);
  c.fillStyle = P.line;
  c.fillRect(0, AXIS, GUTTER, 1);
  c.fillRect(0, top0 - 1, size.width, 1);
}

let density = null;
/** Counts the events in each column of the map, once per width. */
function densityOf(width) {
  if (density?.width === width) return density;
  const messages = new Float64Array(width), work = new Float64Array(width);
  const column = (time) => Math.min(width - 1, Math.max(0, Math.floor((time / END) * width)));
  for (let i = 0; i < COUNT; i++) if (isMessage(i) && R.kind[i] > KIND.mdns) messages[column(R.at[i])]++;
  for (const run of runs) for (let x = column(run.from); x <= column(run.to); x++) work[x]++;
  const peak = (list) => list.reduce((a, b) => Math.max(a, b), 1);
  return (density = { width, messages, work, messagesMax: peak(messages), workMax: peak(work) });
}

function drawMap() {
  const [c, width, height] = fit(mapCanvas);
  const inner = Math.max(1, width - GUTTER), x = (time) => GUTTER + (time / END) * inner;
  const { messages, work, messagesMax, workMax } = densityOf(Math.floor(inner));
  for (const band of bands) {
    c.fillStyle = `rgba(${P.fault},${bands.length > 6 ? 0.07 : 0.16})`;
    c.fillRect(x(band.from), 0, Math.max(1.5, x(band.to) - x(band.from)), height);
  }
  const floor = height - 5;
  c.fillStyle = P.faint;
  c.globalAlpha = 0.5;
  messages.forEach((value, i) => {
    const h = value ? Math.max(1.5, (Math.log1p(value) / Math.log1p(messagesMax)) * (height - 20)) : 0;
    c.fillRect(GUTTER + i, floor - h, 1, h);
  });
  c.fillStyle = P.run;
  c.globalAlpha = 0.75;
  work.forEach((value, i) => {
    const h = (value / workMax) * (height - 20);
    c.fillRect(GUTTER + i, floor - h, 1.1, h);
  });
  c.globalAlpha = 1;
  if (violation) { c.fillStyle = P.bad; c.fillRect(Math.min(x(violation.at), width - 3) - 1, 0, 3, height); }
  const x0 = x(view.from), x1 = Math.max(x(view.to), x0 + 4);
  c.fillStyle = P.window;
  c.fillRect(x0, 0, x1 - x0, height);
  c.fillStyle = P.run;
  c.fillRect(x0 - 1, 0, 2, height);
  c.fillRect(x1 - 2, 0, 2, height);
  c.fillStyle = P.paper;
  c.fillRect(0, 0, GUTTER - 1, height);
  label(c, "whole run", 16, 20, P.faint, 11);
  label(c, clock(END, END > 1e7 ? 1e6 : 1e3), 16, 36, P.faint, 11);
}
