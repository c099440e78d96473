// User input: scroll, point, click, search. Content of a run is inserted as text, never as markup.

const byId = (id) => document.getElementById(id);
const details = byId("details"), tip = byId("tip"), search = byId("search"), found = byId("found");

let drawing = false;
function redraw() {
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(() => { drawing = false; draw(); });
}

// The visible range.

let written = 0;
function look(from, to) {
  const least = 20, width = Math.min(END * 1.02, Math.max(least, to - from));
  from = Math.max(-END * 0.01, Math.min(from, END * 1.01 - width));
  view.from = from;
  view.to = from + width;
  redraw();
  clearTimeout(written);
  written = setTimeout(writeHash, 250);
}

function zoom(factor, time = (view.from + view.to) / 2) {
  look(time - (time - view.from) * factor, time + (view.to - time) * factor);
}

/** Returns the time by which nearly all events have happened: the end of the initial view. */
function eventful() {
  const ends = bands.map((band) => band.to).concat(tasks.map((task) => task.to), suspicions.map((suspicion) => suspicion.to)).filter((end) => end < END);
  if (violation) return END * 1.01;
  const times = [];
  for (let i = 0; i < COUNT; i++) if (R.kind[i] >= KIND.map) times.push(R.at[i]);
  const last = Math.max(times[Math.floor(times.length * 0.985)] ?? END, ends.reduce((a, b) => Math.max(a, b), 0));
  return last * 1.07 > END * 0.75 ? END : last * 1.07;
}

const eventfulEnd = eventful();
const pan = (share) => look(view.from + (view.to - view.from) * share, view.to + (view.to - view.from) * share);

/** Scrolls a time into view, zoomed in enough to distinguish its events. */
function goTo(from, to, span) {
  const width = Math.min(view.to - view.from, span ?? Math.max((to - from) * 3, 40000));
  look((from + to) / 2 - width / 2, (from + to) / 2 + width / 2);
}

function showLane(node) {
  draw();
  const lane = lanes[node];
  if (!lane) return;
  const room = size.height - top0;
  if (lane.y < view.scroll) view.scroll = lane.y;
  if (lane.y + lane.h > view.scroll + room) view.scroll = lane.y + lane.h - room;
  redraw();
}

function readHash() {
  const words = new URLSearchParams(location.hash.slice(1));
  const seconds = (name) => (words.has(name) ? parseFloat(words.get(name)) * 1e6 : NaN);
  if (["dark", "light"].includes(words.get("theme"))) setTheme(words.get("theme"));
  const at = seconds("t"), width = seconds("w");
  if (at >= 0) {
    const half = (width > 0 ? width : Math.min(END, 2e6)) / 2;
    look(at - half, at + half);
  } else {
    look(0, eventfulEnd);
  }
  const node = Number((words.get("node") ?? "").replace(/^n/, "") || NaN), task = Number(words.get("task") ?? NaN);
  if (tasks[task - 1]) select(tasks[task - 1], false);
  else if (node >= 0 && node < NODES) { select({ type: "node", node }, false); showLane(node); }
}

function writeHash() {
  const words = [];
  const whole = view.from <= 0 && view.to >= Math.min(END, eventfulEnd);
  if (!whole) {
    const seconds = (micros) => String(+(micros / 1e6).toFixed(6)) + "s";
    words.push("t=" + seconds((view.from + view.to) / 2), "w=" + seconds(view.to - view.from));
  }
  if (selected?.type === "node") words.push("node=n" + selected.node);
  if (taskInFocus()) words.push("task=" + taskInFocus());
  try { history.replaceState(null, "", "#" + words.join("&")); } catch { /* Some browsers forbid it for files. */ }
}

// The details of the selection.

function select(what, move = true) {
  selected = what;
  if (what && move) {
    const [from, to] = extent(what);
    if (from < view.from || from > view.to) goTo(from, to);
  }
  describe();
  redraw();
  clearTimeout(written);
  written = setTimeout(writeHash, 250);
}

function extent(what) {
  if (what.type === "row") return [R.at[what.row], R.at[what.row] + Math.max(0, R.took[what.row])];
  return what.from === undefined ? [view.from, view.to] : [what.from, what.to];
}

const nodeLink = (node) => make("button", { class: "link", onclick: () => { select({ type: "node", node }); showLane(node); } }, nodeName(node));
const taskLink = (number) => make("button", { class: "link", onclick: () => select(tasks[number - 1]) }, "task " + number);
const timeLink = (time) => make("button", { class: "link", onclick: () => goTo(time, time, Math.min(view.to - view.from, 1e6)) }, clock(time, 1));

function head(title, colour) {
  return make("div", { class: "head" }, colour ? make("i", { colour }) : null, make("h2", {}, title),
    make("button", { onclick: () => select(null), title: "Close  (Esc)" }, "close"));
}

function table(pairs) {
  const list = make("dl");
  for (const [name, value] of pairs) {
    if (value === null || value === undefined || value === "") continue;
    list.append(make("dt", {}, name), make("dd", {}, ...(Array.isArray(value) ? value : [String(value)])));
  }
  return list;
}

function describe() {
  details.replaceChildren();
  details.hidden = selected === null;
  if (selected === null) return;
  const said = {
    row: describeRow, task: describeTask, run: describeRun, band: describeBand, suspicion: describeSuspicion, life: describeLife, node: describeNode,
    violation: () => [head(violation.invariant.replaceAll("_", " "), P.bad), make("p", {}, violation.words),
      table([["at", [timeLink(violation.at)]], ["node", violation.node === null ? "all" : [nodeLink(violation.node)]]])],
  }[selected.type];
  details.append(...said(selected).filter(Boolean));
  details.parentElement.scrollTop = 0;
}

function describeRow({ row }) {
  const message = isMessage(row), took = R.took[row];
  const about = [["time", [timeLink(R.at[row])]]];
  if (message) {
    about.push(["from", [nodeLink(R.node[row])]], ["to", [nodeLink(R.to[row])]]);
    about.push(["arrives", took < 0 ? "never" : `${clock(R.at[row] + took, 1)}, after ${lasting(took)}`], ["size", R.bytes[row] + " bytes"]);
  } else {
    about.push(["node", [nodeLink(R.node[row])]]);
    if (isWrite(row)) about.push(["takes", took < 0 ? "never ends" : lasting(took)]);
  }
  about.push(["kind", D.kinds[R.kind[row]]]);
  if (R.task[row]) about.push(["task", [taskLink(R.task[row])]]);
  return [head(nameOf(row), P.kinds[R.kind[row]]), table(about), ...says(D.texts[R.text[row]]), turn()];
}

/** Shows a text of the recorder: lines of `name: value` as a table, and a formatted debug value. */
function says(text) {
  if (!text) return [];
  const parts = [], pairs = [];
  for (const line of text.split("\n")) {
    const match = /^([a-z ]+): (.*)$/.exec(line);
    if (match) pairs.push([match[1], match[2]]);
    else if (line) parts.push(make("pre", {}, laidOut(line)));
  }
  return [pairs.length ? table(pairs) : null, ...parts];
}

/** Breaks a debug value into lines by its brackets; short ones stay on one line. */
function laidOut(text) {
  let lines = "", depth = 0, quoted = false;
  for (let i = 0; i < text.length; i++) {
    const letter = text[i];
    if (letter === '"' && text[i - 1] !== "\\") quoted = !quoted;
    if (quoted || !"{}[](),".includes(letter)) { lines += letter; continue; }
    if ("{[(".includes(letter)) {
      const end = matching(text, i);
      if (end > 0 && end - i < 44) { lines += text.slice(i, end + 1); i = end; continue; }
      depth++;
      lines += letter + "\n" + "  ".repeat(depth);
      while (text[i + 1] === " ") i++;
    } else if (letter === ",") {
      lines += ",\n" + "  ".repeat(depth);
      while (text[i + 1] === " ") i++;
    } else {
      depth = Math.max(0, depth - 1);
      lines = lines.trimEnd() + "\n" + "  ".repeat(depth) + letter;
    }
  }
  return lines;
}

function matching(text, at) {
  let depth = 0;
  for (let i = at; i < text.length && i < at + 60; i++) {
    if ("{[(".includes(text[i])) depth++;
    if ("}])".includes(text[i]) && --depth === 0) return i;
  }
  return -1;
}

function turn() {
  return make("div", { class: "turn" },
    make("button", { onclick: () => step(-1), title: "k" }, "‹ before"), make("button", { onclick: () => step(1), title: "j" }, "next ›"));
}

function describeTask(task) {
  const history = make("dl");
  for (const attempt of task.attempts) {
    history.append(make("dt", {}, "try " + attempt.number),
      make("dd", {}, nodeLink(attempt.worker), ` for ${lasting(attempt.to - attempt.from)}${attempt.end ? ", " + attempt.end : ""}`));
  }
  return [head("task " + task.number, P.run),
    table([["id", task.id], ["accepted", [nodeLink(task.origin), " at ", timeLink(task.from)]],
      ["ended", task.open ? "still open" : [(task.status ?? "") + " at ", timeLink(task.to)]],
      ["lasted", lasting(task.to - task.from)], ["outcome by", task.worker === null ? null : [nodeLink(task.worker)]]]),
    task.attempts.length ? make("h2", {}, "Attempts") : null, history,
    make("button", { onclick: () => goTo(task.from, task.to, Math.max((task.to - task.from) * 1.6, 1000)) }, "zoom to it")];
}

function describeRun(run) {
  return [head(`task ${run.task} at ${nodeName(run.node)}`, P.run),
    table([["task", tasks[run.task - 1] ? [taskLink(run.task)] : null], ["attempt", run.attempt], ["worker", [nodeLink(run.node)]],
      ["began", [timeLink(run.from)]], ["for", lasting(run.to - run.from)], ["end", run.end]])];
}

function describeBand(band) {
  const groups = new Map();
  for (const [node, group] of band.groups) groups.set(group, [...(groups.get(group) ?? []), nodeName(node)]);
  return [head(band.words, P.bad), table([["begins", [timeLink(band.from)]], ["ends", band.open ? "never" : [timeLink(band.to)]],
    ["lasts", lasting(band.to - band.from)], ["nodes", [...groups.values()].map((group) => group.join(" ")).join("  |  ")]]),
  make("button", { onclick: () => goTo(band.from, band.to, Math.max((band.to - band.from) * 1.4, 1e5)) }, "zoom to it")];
}

const describeSuspicion = (suspicion) => [head(`${nodeName(suspicion.node)} considers ${nodeName(suspicion.peer)} SLOW`, P.slow),
  table([["from", [timeLink(suspicion.from)]], ["for", lasting(suspicion.to - suspicion.from)], ["then", suspicion.dead ? "declared DEAD" : "recovered, or link closed"]])];

const describeLife = (life) => [head(`${nodeName(life.node)}: ${life.state}`, P.life),
  table([["node", [nodeLink(life.node)]], ["from", [timeLink(life.from)]], ["for", lasting(life.to - life.from)]])];

function describeNode({ node }) {
  let sent = 0, received = 0, lost = 0;
  for (let i = 0; i < COUNT; i++) {
    if (!isMessage(i)) continue;
    if (R.node[i] === node) { sent++; if (R.took[i] < 0) lost++; }
    if (R.to[i] === node && R.took[i] >= 0) received++;
  }
  return [head(nodeName(node), P.life), table([["id", D.nodes[node]], ["messages", `${sent} sent (${lost} did not arrive), ${received} received`],
    ["tasks", `${tasksOf[node].length} accepted, ${runsOf[node].length} attempts run`]])];
}

// Stepping through events.

const steppable = (i) => shown[R.kind[i]] && (selected?.type !== "node" || R.node[i] === selected.node || R.to[i] === selected.node);

function step(direction) {
  let i = selected?.type === "row" ? selected.row + direction
    : direction > 0 ? rowAt(selected?.from ?? view.from) : rowAt(selected?.from ?? view.to) - 1;
  while (i >= 0 && i < COUNT && !steppable(i)) i += direction;
  if (i >= 0 && i < COUNT) select({ type: "row", row: i });
}

// Pointer input.

function hitAt(x, y) {
  let best = null;
  const inside = (hit) => x >= hit.x0 && x <= hit.x1 && y >= hit.y0 && y <= hit.y1;
  for (let i = hits.length - 1; i >= 0; i--) {
    if (!inside(hits[i])) continue;
    if (hits[i].of.type !== "life") return hits[i].of;
    best = best ?? hits[i].of;
  }
  if (y < top0 || x < GUTTER) return best;
  let nearest = 5;
  for (const i of drawnMessages) {
    const [x0, y0, x1, y1] = ends(i);
    if (x < Math.min(x0, x1) - 5 || x > Math.max(x0, x1) + 5) continue;
    const away = distance(x, y, x0, y0, x1, y1);
    if (away < nearest) { nearest = away; best = { type: "row", row: i }; }
  }
  return best;
}

function tipFor(what) {
  if (what.type === "row") {
    const i = what.row;
    const way = isMessage(i) ? `${nodeName(R.node[i])} → ${nodeName(R.to[i])}${R.took[i] < 0 ? ", lost" : ", " + lasting(R.took[i])}` : nodeName(R.node[i]);
    return [nameOf(i) + (R.task[i] ? `, task ${R.task[i]}` : ""), `${way} · ${clock(R.at[i], 100)}`];
  }
  if (what.type === "task") return [`task ${what.number}: ${what.open ? "open" : what.status}`, `accepted by ${nodeName(what.origin)} · ${lasting(what.to - what.from)}`];
  if (what.type === "run") return [`task ${what.task}, attempt ${what.attempt}: ${what.end}`, `at ${nodeName(what.node)} · ${lasting(what.to - what.from)}`];
  if (what.type === "band") return [what.words, `${clock(what.from)} for ${lasting(what.to - what.from)}`];
  if (what.type === "suspicion") return [`${nodeName(what.node)} considers ${nodeName(what.peer)} SLOW${what.dead ? ", then DEAD" : ""}`, `for ${lasting(what.to - what.from)}`];
  if (what.type === "life") return [`${nodeName(what.node)}: ${what.state}`, `for ${lasting(what.to - what.from)}`];
  if (what.type === "violation") return ["violated: " + violation.invariant.replaceAll("_", " "), violation.words];
  return [nodeName(what.node), D.nodes[what.node]];
}

let drag = null;

lanesCanvas.addEventListener("pointerdown", (event) => {
  const [x, y] = place(event, lanesCanvas);
  drag = { x, y, from: view.from, to: view.to, scroll: view.scroll, moved: false };
  try { lanesCanvas.setPointerCapture(event.pointerId); } catch { /* A pointer of a script is none that can be held. */ }
});
lanesCanvas.addEventListener("pointermove", (event) => {
  const [x, y] = place(event, lanesCanvas);
  if (drag) {
    if (Math.hypot(x - drag.x, y - drag.y) > 4) drag.moved = true;
    if (!drag.moved) return;
    lanesCanvas.classList.add("drag");
    const shift = ((drag.x - x) / (size.width - GUTTER)) * (drag.to - drag.from);
    view.scroll = drag.scroll + drag.y - y;
    look(drag.from + shift, drag.to + shift);
    return;
  }
  const hit = hitAt(x, y);
  lanesCanvas.classList.toggle("hit", hit !== null);
  if (!same(hit, hovered)) { hovered = hit; redraw(); }
  tip.hidden = hit === null;
  if (hit) {
    const [title, more] = tipFor(hit);
    tip.replaceChildren(make("b", {}, title), make("span", {}, more));
    const box = tip.getBoundingClientRect();
    tip.style.left = Math.max(4, Math.min(x + 14, size.width - box.width - 8)) + "px";
    tip.style.top = Math.min(y + 74, size.height + 50 - box.height) + "px";
  }
});
lanesCanvas.addEventListener("pointerup", (event) => {
  const [x, y] = place(event, lanesCanvas);
  if (drag && !drag.moved) select(hitAt(x, y), false);
  drag = null;
  lanesCanvas.classList.remove("drag");
});
lanesCanvas.addEventListener("pointerleave", () => { tip.hidden = true; hovered = null; redraw(); });
lanesCanvas.addEventListener("dblclick", (event) => zoom(0.35, timeOf(place(event, lanesCanvas)[0])));
lanesCanvas.addEventListener("wheel", (event) => {
  event.preventDefault();
  const [x] = place(event, lanesCanvas);
  const unit = event.deltaMode === 1 ? 30 : 1;
  if (event.ctrlKey) { view.tall = Math.min(12, Math.max(1, view.tall * Math.exp(-event.deltaY * unit * 0.003))); redraw(); }
  else if (x < GUTTER) { view.scroll += event.deltaY * unit; redraw(); }
  else if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) pan(((event.deltaX || event.deltaY) * unit) / size.width);
  else zoom(Math.exp(event.deltaY * unit * 0.0022), timeOf(x));
}, { passive: false });

let mapDrag = null;
const mapTime = (event) => ((place(event, mapCanvas)[0] - GUTTER) / (mapCanvas.clientWidth - GUTTER)) * END;
mapCanvas.addEventListener("pointerdown", (event) => {
  const time = mapTime(event), width = view.to - view.from;
  mapDrag = time >= view.from && time <= view.to && width < END * 0.98 ? { shift: time - view.from } : { begin: time };
  try { mapCanvas.setPointerCapture(event.pointerId); } catch { /* As above. */ }
});
mapCanvas.addEventListener("pointermove", (event) => {
  if (!mapDrag) return;
  const time = mapTime(event), width = view.to - view.from;
  if (mapDrag.shift !== undefined) look(time - mapDrag.shift, time - mapDrag.shift + width);
  else if (Math.abs(time - mapDrag.begin) > END * 0.003) { mapDrag.ranged = true; look(Math.min(time, mapDrag.begin), Math.max(time, mapDrag.begin)); }
});
mapCanvas.addEventListener("pointerup", (event) => {
  if (mapDrag?.begin !== undefined && !mapDrag.ranged) { const half = (view.to - view.from) / 2; look(mapTime(event) - half, mapTime(event) + half); }
  mapDrag = null;
});

// Search.

let results = [], resultAt = -1;
function find(query) {
  const words = query.trim().toLowerCase();
  results = [];
  resultAt = -1;
  if (words === "") return;
  const add = (what, text) => { if (results.length < FOUND_MAX) results.push({ what, text, at: extent(what)[0] }); };
  for (const task of tasks) {
    if (`task ${task.number}` === words || String(task.number) === words || (words.length > 3 && task.id.startsWith(words))) add(task, `task ${task.number}: ${task.open ? "open" : task.status}`);
  }
  const node = /^n(\d+)$/.exec(words);
  if (node && Number(node[1]) < NODES) add({ type: "node", node: Number(node[1]) }, "node " + words);
  D.nodes.forEach((id, n) => { if (words.length > 3 && id.startsWith(words)) add({ type: "node", node: n }, `node ${nodeName(n)}`); });
  if (violation && (violation.invariant + " " + violation.words).replaceAll("_", " ").includes(words.replaceAll("_", " "))) add(violation, violation.invariant);
  for (const band of bands) if (band.words.toLowerCase().includes(words)) add(band, band.words);
  const named = D.rows.names.map((name) => name.replaceAll("_", " ").toLowerCase().includes(words.replaceAll("_", " ")));
  const told = words.length > 2 ? D.texts.map((text) => text.toLowerCase().includes(words)) : [];
  for (let i = 0; i < COUNT && results.length < FOUND_MAX; i++) {
    if (named[R.name[i]] || told[R.text[i]]) add({ type: "row", row: i }, `${nameOf(i)}  ${nodeName(R.node[i])}${isMessage(i) ? " → " + nodeName(R.to[i]) : ""}`);
  }
}

function showFound() {
  found.hidden = search.value.trim() === "";
  const first = Math.max(0, resultAt - 8);
  found.replaceChildren(...results.slice(first, first + 12).map((result, i) => make("li",
    { class: first + i === resultAt ? "on" : "", onclick: () => { resultAt = first + i; choose(); } },
    make("time", {}, result.what.type === "node" ? "" : clock(result.at)), result.text)));
  const count = results.length === 0 ? "nothing found" : `${results.length}${results.length === FOUND_MAX ? " or more" : ""} found, Enter for the next`;
  found.append(make("li", { class: "count" }, count));
}

function choose() {
  const result = results[resultAt];
  if (!result) return;
  select(result.what);
  if (result.what.type === "node") showLane(result.what.node);
  showFound();
}

search.addEventListener("input", () => { find(search.value); showFound(); });
search.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && results.length) { resultAt = (resultAt + (event.shiftKey ? results.length - 1 : 1)) % results.length; choose(); }
  if (event.key === "Escape") { search.value = ""; showFound(); lanesCanvas.focus(); }
  event.stopPropagation();
});
document.addEventListener("pointerdown", (event) => { if (!event.target.closest(".finder")) found.hidden = true; });

// Keys and buttons.

const KEYS = {
  ArrowLeft: () => pan(-0.2), ArrowRight: () => pan(0.2), ArrowUp: () => zoom(0.7), ArrowDown: () => zoom(1 / 0.7),
  "+": () => zoom(0.6), "=": () => zoom(0.6), "-": () => zoom(1 / 0.6), a: () => pan(-0.2), d: () => pan(0.2), w: () => zoom(0.7), s: () => zoom(1 / 0.7),
  0: () => reset(), Home: () => reset(), j: () => step(1), k: () => step(-1), "/": () => search.focus(), "?": () => toggleKeys(),
  f: () => { if (selected) { const [from, to] = extent(selected); goTo(from, to, Math.max((to - from) * 2, 20000)); } },
  Escape: () => { byId("keys").hidden = true; select(null); },
};
const reset = () => { view.tall = 1; view.scroll = 0; look(0, END); };
const toggleKeys = () => { byId("keys").hidden = !byId("keys").hidden; };

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const act = KEYS[event.key];
  if (act) { event.preventDefault(); act(); }
});
byId("zoom").addEventListener("click", (event) => ({ in: () => zoom(0.5), out: () => zoom(2), reset })[event.target.dataset.do]?.());
byId("help").addEventListener("click", toggleKeys);
for (const [keys, what] of [["wheel, ↑ ↓, + −", "zoom"], ["drag, ← →, shift wheel", "move"], ["ctrl wheel", "taller lanes"], ["j  k", "next and previous event"],
  ["f", "zoom to what is selected"], ["/", "find"], ["0", "the whole run"], ["Esc", "select nothing"]]) {
  byId("keys").append(make("kbd", {}, keys), make("span", {}, what));
}

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  P = PALETTES[theme];
  legend();
  describe();
  redraw();
}
byId("theme").addEventListener("click", () => setTheme(P === PALETTES.light ? "dark" : "light"));

function legend() {
  const buttons = D.kinds.map((name, kind) => KINDS_SEEN[kind] === 0 ? null : make("button", {
    "aria-pressed": String(shown[kind]), colour: P.kinds[kind], title: shown[kind] ? "Hide" : "Show",
    onclick: () => { shown[kind] = !shown[kind]; legend(); redraw(); },
  }, make("i"), name, make("small", {}, KINDS_SEEN[kind].toLocaleString("en"))));
  const sample = (colour, text) => make("span", { class: "sample", colour }, make("i"), text);
  const samples = [tasks.length ? sample(P.task, "task open") : null, runs.length ? sample(P.run, "attempt") : null,
    suspicions.length ? sample(P.slow, "SLOW peer") : null, bands.length ? sample(`rgba(${P.fault},.35)`, "fault") : null];
  byId("legend").replaceChildren(...[...buttons, ...samples].filter(Boolean));
}

function header() {
  const name = D.scenario.split("/").pop().replace(/\.(toml|journal)$/, "").replaceAll("_", " ");
  document.title = D.replay ? `${name}, replayed` : `${name}, seed ${D.seed}`;
  byId("name").textContent = name.charAt(0).toUpperCase() + name.slice(1);
  const why = D.why.trim();
  byId("why").textContent = why.charAt(0).toUpperCase() + why.slice(1);
  byId("why").title = why;
  const fact = (value, name, extra = "") => make("div", { class: "fact " + extra }, make("b", extra === "mono" ? { class: "mono" } : {}, value), make("span", {}, name));
  const ended = Object.entries(D.outcomes).map(([outcome, count]) => `${count} ${outcome}`).join(", ");
  byId("facts").append(...(D.replay ? [fact(String(NODES), "nodes"), make("div", { class: "verdict good" }, "REPLAYED")]
    : [fact(D.seed, "seed"), fact(String(NODES), "nodes"), ended ? fact(ended, "tasks") : null, fact(D.executor, "executor", "extra"),
      fact(D.hash, "trace", "mono"), make("div", { class: "verdict " + (D.passed ? "good" : "bad") }, D.passed ? "PASSED" : "FAILED")]).filter(Boolean));
  const gone = D.leftOut.map(([kind, count]) => `${count.toLocaleString("en")} of “${D.kinds[kind]}”`);
  if (D.textsLeftOut) gone.push(`the texts of ${D.textsLeftOut.toLocaleString("en")} events`);
  if (gone.length) { byId("notice").hidden = false; byId("notice").textContent = "This run is larger than a page holds. Left out: " + gone.join(", ") + "."; }
}

function story() {
  const lines = D.story.map(([at, words]) => {
    const band = bands.find((one) => one.words === words && one.from === at);
    const task = tasks[(/\btask (\d+)\b/.exec(words)?.[1] ?? 0) - 1];
    return make("li", { class: band ? "fault" : "", onclick: () => { select(band ?? task ?? null, false); goTo(at, at, Math.min(END, 4e6)); } }, make("time", {}, clock(at)), make("span", {}, words));
  });
  if (D.storyLeftOut) lines.push(make("li", {}, make("time"), `and ${D.storyLeftOut} more lines`));
  const copy = make("button", { onclick: () => { navigator.clipboard?.writeText(D.repeat).then(() => { copy.textContent = "copied"; }, () => {}); } }, "copy");
  byId("story").append(...[
    D.failures.length ? make("h2", {}, "What is wrong") : null,
    D.failures.length ? make("ul", { class: "failures" }, ...D.failures.map((words) => make("li", {}, words))) : null,
    lines.length ? make("h2", {}, "Story") : null, make("ol", {}, ...lines),
    make("h2", {}, "Repeat"), make("div", { class: "repeat" }, make("code", { class: "mono" }, D.repeat), copy),
    table([[D.replay ? "journal" : "scenario", D.scenario], [D.replay ? "recorded" : "simulated", clock(END, 1e5)], ["inputs", D.inputs.toLocaleString("en")], ["outputs", D.outputs.toLocaleString("en")],
      ["liveness met", D.well === null || D.well === undefined ? null : "since " + clock(D.well)]])].filter(Boolean));
}

const FOUND_MAX = 500;

setTheme(window.matchMedia?.("(prefers-color-scheme: dark)").matches ? "dark" : "light");
header();
story();
readHash();
new ResizeObserver(redraw).observe(byId("stage"));
window.addEventListener("hashchange", readHash);
draw();
