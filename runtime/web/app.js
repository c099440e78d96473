// Connects the parts of the page: redraws what changed, and dispatches clicks and keys to their handlers.

const byId = (id) => document.getElementById(id);
const REFRESH_MS = 60, CALM_MS = 160, CALM_SHARE = 6, LINKS_MS = 1000, LISTS_MS = 2000, PULLS_MS = 1000, FOUND_MAX = 12;
const stale = new Set();
let refreshTimer = 0, refreshAt = Infinity, refreshedAt = 0, refreshTook = 0, linksDrawnAt = 0, listsAskedAt = -LISTS_MS, tasksAskedAt = -LISTS_MS;

/** Notes parts of the page that are out of date, to be drawn soon. */
function changed(...parts) {
  refreshWithin(REFRESH_MS, parts);
}

/** Notes parts that change all the time: drawing them takes a bounded share of the time. */
function drifted(...parts) {
  refreshWithin(Math.max(CALM_MS, CALM_SHARE * refreshTook), parts);
}

function refreshWithin(ms, parts) {
  for (const part of parts) stale.add(part);
  const now = performance.now(), at = Math.max(now, refreshedAt + ms);
  if (at >= refreshAt) return;
  refreshAt = at;
  clearTimeout(refreshTimer);
  refreshTimer = setTimeout(() => requestAnimationFrame(refresh), at - now);
}

function refresh() {
  const began = performance.now();
  refreshAt = Infinity;
  drawStale();
  refreshedAt = performance.now();
  refreshTook = refreshedAt - began;
}

function drawStale() {
  const parts = new Set(stale), has = (...names) => names.some((name) => parts.has(name));
  stale.clear();
  if (has("nodes")) redraw();
  if (has("nodes", "alerts", "figures", "feed")) drawHeader();
  if (has("nodes", "tasks", "alerts")) { drawTabs(); drawNow(); }
  if (has("details", "nodes", "links", "tasks")) drawDetails();
  const reads = { nodes: ["nodes", "links", "tasks", "details"], tasks: ["tasks", "details"], models: ["models", "nodes"], metrics: ["figures"], alerts: ["alerts"], try: ["nodes", "models"] };
  if (has("panel", ...reads[list.tab])) drawPanel();
  // The stream does not tell the input of a task.
  if (list.tab === "tasks" && has("tasks", "panel") && [...M.tasks.values()].slice(-100).some((task) => task.origin === M.self && !task.submitted)) loadTasks();
}

onEvent = (what, name) => {
  const now = performance.now();
  if (name === "topology") { redraw("nodes"); changed("nodes", "links", "panel", "figures"); loadLists(); readHash(); return; }
  if (what.nodes) { redraw("nodes"); changed("nodes"); }
  else if (what.links && now - linksDrawnAt > LINKS_MS) { linksDrawnAt = now; redraw("nodes"); drifted("links"); }
  if (what.values) drifted("nodes");
  if (what.tasks) {
    drifted("tasks"); 
    if (M.selected?.type === "task") { redraw(); loadTrace(M.selected.id); }
  }
  if (what.alerts) loadAlerts();
  if (what.models) loadModels();
  drifted("figures");
  if (what.news.length) byId("said").textContent = what.news.slice(0, 3).join(". ");
};

onFeed = () => {
  changed("feed");
  // The next login may have other rights.
  if (M.feed.phase === "login") M.access = null;
  if (M.feed.phase === "live" && M.access === null) loadSession();
  drawFeed();
};

// What the stream does not carry: the rights of the session, and lists.

async function loadSession() {
  try { M.access = (await ask("/dashboard/session")).access; changed("nodes", "panel"); } catch { /* The next connection asks again. */ }
}

async function load(name, path, use) {
  try { use(await ask(path)); list.error[name] = undefined; } catch (error) { list.error[name] = [error.message, error.hint].filter(Boolean).join(". "); }
  changed(name === "metrics" ? "figures" : name);
}

function loadLists() {
  if (performance.now() - listsAskedAt < LISTS_MS) return;
  listsAskedAt = performance.now();
  loadTasks(true);
  load("metrics", "/dashboard/metrics", applyHistory);
  loadModels();
  loadAlerts();
}

function loadTasks(atOnce = false) {
  if (!atOnce && performance.now() - tasksAskedAt < LISTS_MS) return;
  tasksAskedAt = performance.now();
  load("tasks", "/tasks?limit=100", (page) => { M.tasksTotal = page.total; for (const task of page.tasks.reverse()) noteTask(task); });
}

const loadModels = () => load("models", "/models", (models) => { M.models = models; });

function loadAlerts() {
  load("alerts", "/alerts", (page) => { M.alerts.active = page.active; M.alerts.thresholds = page.thresholds; });
  load("alerts", "/alerts/history?limit=50", (page) => { M.alerts.history = page.alerts; });
}

async function loadOlder() {
  // The list of the node has its own tasks only.
  const known = allTasks().filter((task) => task.origin === M.self && isChosen(task));
  const query = new URLSearchParams({ limit: "200", offset: String(known.length) });
  if (list.status) query.set("status", list.status);
  if (list.worker) query.set("worker", list.worker);
  await load("tasks", `/tasks?${query}`, (page) => { list.older.push(...page.tasks.map(readTask)); list.more = true; });
}

// The head of the page.

function drawHeader() {
  const [tone, word, told] = verdict();
  const kind = { demo: "demo", recording: "recording" }[M.kind];
  morph(byId("network"), [make("span", {}, M.network || "p2p-ai-agents"), ...[kind, M.access === "read" ? "read only" : ""].filter(Boolean).map((word) => make("small", {}, ` ${word}`))]);
  document.title = `${tone === GOOD ? "" : word + " · "}${M.network || "p2p-ai-agents"}`;
  byId("verdict").title = told;
  morph(byId("verdict"), [make("span", { class: `state tone-${tone}` }, shape(tone), make("b", {}, word)), document.createTextNode(word && told ? ` · ${told}` : told)]);
  const s = M.sample ?? {}, nodes = [...M.nodes.values()], fact = (name, value, extra) => make("div", { class: extra ? "extra" : "" }, make("dt", {}, name), make("dd", {}, value));
  const open = (kept, status) => kept ?? [...M.tasks.values()].filter((task) => task.status === status).length;
  byId("invite-open").hidden = M.kind === "recording";
  morph(byId("facts"), [...(M.kind === "recording" ? [fact("recorded", timeOf(M.timestamp))] : []), fact("nodes", String(nodes.filter((node) => node.state !== "gone").length)), fact("running", String(open(s.tasks_running, "RUNNING"))), fact("queued", String(open(s.tasks_queued, "QUEUED"))),
    fact("tasks/s", s.tasks_completed === undefined ? "–" : rate(s.tasks_completed)), fact("mean time", s.task_ms ? lasting(s.task_ms) : "–", true), fact("messages/s", s.messages_out === undefined ? "–" : rate(s.messages_out + s.messages_in), true)]);
  byId("map-says").textContent = `${word}${told ? ": " + told : ""}. Arrow keys choose a node; the table of nodes lists them all.`;
  byId("all-shown").hidden = M.groups.length === 0;
}

/** Shows how old the data is, and what is wrong with the connection. */
function drawFeed() {
  const { phase, message, hint, retryAt } = M.feed, age = byId("age"), notice = byId("notice");
  const old = performance.now() - M.heardAt, late = phase === "live" && old > LATE_MS;
  const words = old < 1000 ? "under 1 s old" : `${lasting(Math.floor(old / 1000) * 1000)} old`;
  const text = phase === "live" ? (late ? words : `live, ${words}`) : M.cursor ? `not live, ${words}` : "not connected";
  if (age.textContent !== text) age.textContent = text;
  age.className = `age${phase === "live" ? (late ? " late" : "") : " off"}`;
  document.body.classList.toggle("stale", phase !== "live" && M.nodes.size > 0);
  const calm = phase === "starting" || phase === "connecting";
  notice.hidden = phase === "live" || (phase === "connecting" && !message);
  notice.classList.toggle("calm", calm);
  byId("empty").textContent = { login: "This browser is not logged in.", off: "The node does not answer.", starting: "The node is starting." }[phase] ?? "Connecting to the node…";
  if (notice.hidden) return;
  const seconds = Math.max(0, Math.ceil((retryAt - performance.now()) / 1000));
  const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1) + (text && !/[.!?]$/.test(text) ? "." : "");
  const parts = {
    login: [make("b", {}, "Not logged in. "), make("span", {}, location.hash === "#code-invalid" ? "The code in the address was used before, or its time is over. Run " : "Run "), make("code", {}, "p2p-ai-agents dashboard open"), make("span", {}, " on the node’s machine. It opens this page with a login of its own.")],
    starting: [make("b", {}, "Starting. "), make("span", {}, sentence(message))],
    stopping: [make("b", {}, "Stopping. "), make("span", {}, sentence(message))],
    unreachable: [make("b", {}, sentence(message)), make("span", {}, ` ${hint.startsWith("p2p-ai-agents ") ? hint : sentence(hint)}`)],
  }[phase] ?? [make("b", {}, "Disconnected. "), make("span", {}, [sentence(message), hint.startsWith("p2p-ai-agents ") ? hint + "." : sentence(hint), M.cursor ? "The picture shows the last known state." : ""].filter(Boolean).join(" "))];
  const tries = retryAt > 0 ? make("button", { class: "small", "data-do": "reconnect" }, seconds > 0 ? `Try now (${seconds} s)` : "Trying…") : null;
  morph(notice, [make("p", {}, ...parts), tries].filter(Boolean));
}

function drawLegend() {
  const item = (picture, text) => make("li", {}, picture, text);
  const dot = (tone) => make("span", { class: `state tone-${tone}` }, shape(tone));
  const line = (attributes) => svg("svg", { viewBox: "0 0 20 14", "aria-hidden": "true" }, svg("path", { d: "M0 7H20", fill: "none", ...attributes }));
  const mark = (d, fill) => svg("svg", { viewBox: "0 0 20 14", "aria-hidden": "true" }, svg("path", { d, fill }));
  morph(byId("legend"), [
    item(dot(GOOD), "active"), item(dot("slow"), "slow or degraded"), item(dot("bad"), "gone or failing"), item(dot("idle"), "comes or leaves"),
    item(svg("svg", { viewBox: "0 0 20 14", "aria-hidden": "true" }, svg("circle", { cx: 10, cy: 7, r: 6, fill: P.good }), svg("circle", { cx: 10, cy: 7, r: 2, fill: P.paper })), "this node"),
    item(svg("svg", { viewBox: "0 0 20 14", "aria-hidden": "true" }, svg("circle", { cx: 10, cy: 7, r: 3.5, fill: P.good }), svg("path", { d: "M10 1A6 6 0 0 1 16 7", fill: "none", stroke: P.run, "stroke-width": 2 })), "load (size: slots)"),
    item(line({ stroke: P.run, "stroke-width": 3 }), "messages (wider: more)"), item(line({ stroke: P.faint, "stroke-width": 1 }), "not measured here"), item(line({ stroke: P.slow, "stroke-width": 2, "stroke-dasharray": "5 3" }), "to a node in trouble"),
    item(mark("M6 7a4 4 0 1 0 8 0a4 4 0 1 0-8 0", P.run), "task"), item(mark("M10 2 15 7 10 12 5 7Z", P.good), "result"), item(mark("M6 3H14V11H6Z", P.bad), "failed"),
  ]);
}

// Selection, and the address that leads to it.

let hashRead = "";

function select(what, by) {
  M.selected = what;
  if (what?.type === "task") loadTrace(what.id);
  if (what?.type === "node" && by !== "map") showNode(what.id);
  if (what && by === "hash" && what.type === "task") openTab("tasks");
  redraw();
  changed("details", "panel");
  if (what) byId("said").textContent = what.type === "node" ? tipFor({ type: "node", id: what.id }).join(", ") : what.type === "link" ? tipFor(what).join(", ") : `Task ${what.id.slice(0, 8)} selected`;
  if (by !== "hash") writeHash();
  if (what && by !== "table") requestAnimationFrame(() => byId("panel").querySelector("tr[aria-selected=true]")?.scrollIntoView({ block: "nearest" }));
}

function writeHash() {
  const words = new URLSearchParams();
  if (M.selected) words.set(M.selected.type, M.selected.id ?? M.selected.key);
  if (list.tab !== "nodes") words.set("tab", list.tab);
  history.replaceState(null, "", words.size ? "#" + words : location.pathname);
  hashRead = location.hash;
}

function readHash() {
  if (hashRead === location.hash || location.hash === "#code-invalid") return;
  hashRead = location.hash;
  const words = new URLSearchParams(location.hash.slice(1));
  if (TABS.some(([name]) => name === words.get("tab"))) openTab(words.get("tab"));
  for (const type of ["node", "task", "link"]) if (words.has(type)) select(type === "link" ? { type, key: words.get(type) } : { type, id: words.get(type) }, "hash");
}

// Search.

function drawFound() {
  const words = byId("search").value.trim().toLowerCase(), box = byId("found");
  box.hidden = words === "";
  if (words === "") return;
  const rows = [];
  const has = (...texts) => texts.some((text) => text.toLowerCase().includes(words));
  for (const node of M.nodes.values()) {
    if (rows.length >= FOUND_MAX) break;
    if (has(node.name, node.id, node.state, node.models.map((model) => model.name).join(" "))) rows.push(make("li", {}, make("button", { "data-node": node.id, "data-by": "search" }, state(node.tone, ""), nameOf(node.id), make("small", {}, node.state))));
  }
  for (const task of [...M.tasks.values()].reverse()) {
    if (rows.length >= FOUND_MAX) break;
    if (has(task.id, task.preview, task.status)) rows.push(make("li", {}, make("button", { "data-task": task.id, "data-by": "search" }, state(toneOfTask(task.status), ""), `task ${task.id.slice(0, 8)}`, make("small", {}, task.kind))));
  }
  if (rows.length === 0 && /^[0-9a-f-]{8,}$/.test(words)) rows.push(make("li", {}, make("button", { "data-task": words, "data-by": "search" }, `Ask the nodes for task ${words}`)));
  box.replaceChildren(...(rows.length ? rows : [make("li", {}, make("p", {}, "Nothing found."))]));
}

byId("search").addEventListener("input", drawFound);
byId("search").addEventListener("keydown", (event) => {
  event.stopPropagation();
  if (event.key === "Escape") { byId("search").value = ""; drawFound(); mapCanvas.focus(); }
  if (event.key === "Enter") byId("found").querySelector("button")?.click();
  if (event.key === "ArrowDown") { event.preventDefault(); byId("found").querySelector("button")?.focus(); }
});
byId("found").addEventListener("keydown", (event) => {
  const row = document.activeElement.closest("li"), to = { ArrowDown: row?.nextElementSibling, ArrowUp: row?.previousElementSibling }[event.key];
  if (event.key === "ArrowUp" && !to) byId("search").focus(); else to?.querySelector("button")?.focus();
  if (event.key.startsWith("Arrow")) event.preventDefault();
  if (event.key === "Escape") { byId("search").focus(); event.stopPropagation(); }
});

// Clicks and keys.

const DO = {
  more: () => { list.more = true; changed("panel"); },
  older: loadOlder,
  unselect: () => { select(null); mapCanvas.focus(); },
  worker: (id) => { openTab("tasks"); list.worker = id; drawPanel(); const choice = document.querySelector("select[data-list=worker]"); if (choice) choice.value = id; },
  result: (id) => loadResult(id),
  cancel: async (id) => { try { noteTask(await ask(`/tasks/${id}`, undefined, "DELETE")); } catch (error) { byId("said").textContent = error.message; remember(traces, id, { ...traces.get(id), error: error.message }); } changed("tasks", "details"); },
  reconnect: () => reconnect(),
};

document.addEventListener("click", (event) => {
  if (!event.target.closest(".finder")) byId("found").hidden = true;
  const at = event.target.closest("[data-node],[data-task],[data-link],[data-tab],[data-sort],[data-do],[data-zoom]");
  if (!at || (at.nodeName === "TR" && getSelection().toString())) return;
  const { node, task, link, tab, sort, zoom, id } = at.dataset;
  const by = at.closest("#panel") ? "table" : "side";
  if (at.dataset.by === "search") byId("found").hidden = true;
  if (node) select({ type: "node", id: node }, by);
  else if (task) select({ type: "task", id: task }, by);
  else if (link) select({ type: "link", key: link }, by);
  else if (tab) { openTab(tab); writeHash(); }
  else if (sort) { list.descending = list.sort === sort ? !list.descending : ["load", "runs", "links", "rate"].includes(sort); list.sort = sort; changed("panel"); }
  else if (zoom) ({ in: () => zoomAt(1.6), out: () => zoomAt(1 / 1.6), reset: () => lookAt(1) })[zoom]();
  else DO[at.dataset.do]?.(id);
});

byId("panel").addEventListener("input", (event) => {
  const name = event.target.dataset.list;
  if (name) { list[name] = event.target.value; if (name !== "filter") list.older = []; changed("panel"); }
});
document.addEventListener("submit", (event) => {
  if (event.target.dataset.form === "pull") { event.preventDefault(); submitPull(event.target); }
});
byId("tablist").addEventListener("keydown", (event) => {
  const names = TABS.map(([name]) => name), at = names.indexOf(list.tab);
  const to = { ArrowRight: names[(at + 1) % names.length], ArrowLeft: names[(at + names.length - 1) % names.length], Home: names[0], End: names[names.length - 1] }[event.key];
  if (!to) return;
  event.preventDefault();
  event.stopPropagation();
  openTab(to);
  writeHash();
  byId(`tab-${to}`).focus();
});

const KEYS = {
  "/": () => byId("search").focus(), m: () => mapCanvas.focus(), t: () => setTheme(theme === "dark" ? "light" : "dark"), "?": openKeys, Escape: () => select(null),
  "+": () => zoomAt(1.6), "=": () => zoomAt(1.6), "-": () => zoomAt(1 / 1.6), 0: () => lookAt(1),
};
TABS.forEach(([name], i) => { KEYS[i + 1] = () => { openTab(name); writeHash(); byId(`tab-${name}`).focus(); }; });
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input:not([type=checkbox]),select,textarea") || document.querySelector("dialog[open]")) return;
  const act = KEYS[event.key];
  if (act) { event.preventDefault(); act(); }
});

byId("invite-open").addEventListener("click", openInvite);
byId("help").addEventListener("click", openKeys);
byId("theme").addEventListener("click", () => setTheme(theme === "dark" ? "light" : "dark"));
byId("ungroup").addEventListener("change", (event) => { ungroup = event.target.checked; redraw("view"); });
byId("animate").addEventListener("change", (event) => { animate = event.target.checked; });
window.addEventListener("hashchange", readHash);

// Light and dark.

let theme = "light";
function setTheme(next) {
  theme = next;
  document.documentElement.dataset.theme = next;
  try { localStorage.setItem("theme", next); } catch { /* Storage may be off. */ }
  const rgb = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16)).join(",");
  const style = getComputedStyle(document.documentElement), base = COLOURS[next];
  P = { ...base, slowRgb: rgb(base.slow), badRgb: rgb(base.bad), slowText: style.getPropertyValue("--slow"), badText: style.getPropertyValue("--bad") };
  drawLegend();
  redraw("view");
  changed("figures");
}

let kept = null;
try { kept = localStorage.getItem("theme"); } catch { /* Storage may be off. */ }
setTheme(["dark", "light"].includes(kept) ? kept : matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
if (motionOff.matches) { animate = false; byId("animate").checked = false; byId("animate").disabled = true; }
drawTabs();
drawPanel();
changed("nodes");
connect();
setInterval(drawFeed, 500);
setInterval(() => { if (list.tab === "models" && Object.values(M.models.pulls ?? {}).some((pull) => pull.state === "running")) loadModels(); }, PULLS_MS);
