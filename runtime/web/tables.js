// The lists below the map: nodes (the map's twin), tasks, models, alerts, figures.
//
// Each update rebuilds a list and patches the page where it differs, so that focus, selected text and scroll position stay.
// Buttons name their action in data attributes; app.js listens for all of them.

const ROWS_SHOWN = 100, TASK_ROWS = 100;
const list = { tab: "nodes", sort: "", descending: false, filter: "", status: "", worker: "", more: false, older: [], error: {} };

/** Changes the children of an element into the given ones, keeping those that are equal. */
function morph(parent, next) {
  const wanted = new Set(next.map((child) => child.dataset?.key).filter(Boolean));
  const kept = new Map();
  for (const child of [...parent.childNodes]) {
    const key = child.dataset?.key;
    if (key && !wanted.has(key)) child.remove(); else if (key) kept.set(key, child);
  }
  let at = parent.firstChild;
  for (const fresh of next) {
    const key = fresh.dataset?.key;
    const old = key ? kept.get(key) : at && !at.dataset?.key && at.nodeName === fresh.nodeName ? at : null;
    if (!old || old.nodeName !== fresh.nodeName) { parent.insertBefore(fresh, at); continue; }
    if (old === at) at = at.nextSibling; else parent.insertBefore(old, at);
    patch(old, fresh);
  }
  while (at) { const gone = at; at = at.nextSibling; gone.remove(); }
}

function patch(old, fresh) {
  if (old.nodeType === Node.TEXT_NODE) { if (old.nodeValue !== fresh.nodeValue) old.nodeValue = fresh.nodeValue; return; }
  if (old.isEqualNode(fresh)) return;
  for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name)) old.removeAttribute(name);
  for (const { name, value } of fresh.attributes) {
    // The policy of the page forbids style attributes, but not changes of the style.
    if (name === "style") old.style.cssText = fresh.style.cssText;
    else if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  morph(old, [...fresh.childNodes]);
}

const SVG = "http://www.w3.org/2000/svg";
function svg(tag, attributes, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** Draws the shape of a state: circle, triangle, square with a cross, empty circle. */
function shape(tone) {
  const colour = "currentColor", box = { viewBox: "0 0 12 12", "aria-hidden": "true" };
  if (tone === GOOD) return svg("svg", box, svg("circle", { cx: 6, cy: 6, r: 5, fill: colour }));
  if (tone === "run") return svg("svg", box, svg("path", { d: "M3 1.5 10.5 6 3 10.5Z", fill: colour }));
  if (tone === "slow") return svg("svg", box, svg("path", { d: "M6 .8 11.6 11H.4Z", fill: colour }));
  if (tone === "bad") return svg("svg", box, svg("rect", { x: 1, y: 1, width: 10, height: 10, rx: 1, fill: colour }), svg("path", { d: "M3.7 3.7 8.3 8.3M8.3 3.7 3.7 8.3", stroke: "var(--panel)", "stroke-width": 1.6 }));
  return svg("svg", box, svg("circle", { cx: 6, cy: 6, r: 4.5, fill: "none", stroke: colour, "stroke-width": 1.5, "stroke-dasharray": "2 2" }));
}

const state = (tone, word) => make("span", { class: `state tone-${tone}` }, shape(tone), word);
const nodeLink = (id) => (id ? make("button", { class: "link", "data-node": id }, nameOf(id)) : "");
const taskLink = (id) => make("button", { class: "link mono", "data-task": id }, id.slice(0, 8));

function loadBar(share) {
  const bar = make("i");
  bar.style.setProperty("--w", `${Math.round(share * 100)}%`);
  return make("span", { class: "load", "aria-hidden": "true" }, bar);
}

/** Makes a table. A column is [name, heading, class]; a row has a key, its cells by column, and attributes. */
function table(caption, columns, rows, sortable = false) {
  const heading = ([name, text, kind]) => {
    if (!sortable) return make("th", { scope: "col", class: kind ?? "" }, text);
    const sorted = list.sort === name ? (list.descending ? "descending" : "ascending") : "none";
    return make("th", { scope: "col", class: kind ?? "", "aria-sort": sorted }, make("button", { "data-sort": name }, text));
  };
  const body = rows.map(({ key, cells, attributes }) => make("tr", { "data-key": key, ...attributes },
    ...columns.map(([name, , kind]) => {
      const cell = cells[name] ?? "";
      return make("td", { class: kind ?? "" }, ...(Array.isArray(cell) ? cell : [cell]));
    })));
  return make("table", { "aria-label": caption }, make("thead", {}, make("tr", {}, ...columns.map(heading))), make("tbody", {}, ...body));
}

const none = (text) => make("p", { class: "none" }, text);

// Nodes: what the map shows, as a table.

const NAMES = new Intl.Collator("en", { numeric: true });

function nodeRows() {
  const running = new Map();
  for (const task of M.tasks.values()) if (task.status === "RUNNING" && task.worker) running.set(task.worker, [...(running.get(task.worker) ?? []), task.kind]);
  const words = list.filter.trim().toLowerCase();
  const matches = (node) => words === "" || [node.name, node.id, node.state, node.reason, node.version, ...node.models.map((model) => model.name)].some((text) => text.toLowerCase().includes(words));
  const rows = [...M.nodes.values()].filter(matches).map((node) => {
    const links = linksOf(node.id), own = M.links.get(keyOf(node.id, M.self));
    const rates = links.map((link) => link.rate).filter((one) => one !== null);
    return { node, links: links.length, rtt: own?.rtt ?? null, rate: rates.length ? rates.reduce((a, b) => a + b, 0) : null, runs: running.get(node.id) ?? [] };
  });
  const by = {
    name: (row) => nameOf(row.node.id).toLowerCase(), state: (row) => ({ bad: 0, slow: 1, idle: 2 }[row.node.tone] ?? 3), load: (row) => row.node.load ?? -1,
    runs: (row) => row.runs.length, models: (row) => row.node.models.map((model) => model.name).join(), links: (row) => row.links, rtt: (row) => row.rtt ?? Infinity,
    rate: (row) => row.rate ?? -1, version: (row) => row.node.version,
  }[list.sort];
  const order = (a, b) => (a < b ? -1 : a > b ? 1 : 0);
  // Without a chosen order: nodes in trouble, the node of the page, all others by name.
  const rank = ({ node }) => ({ bad: 0, slow: 1 }[node.tone] ?? (node.id === M.self ? 2 : 3));
  return rows.sort((a, b) => (by ? order(by(a), by(b)) * (list.descending ? -1 : 1) : rank(a) - rank(b)) || NAMES.compare(nameOf(a.node.id, a.node), nameOf(b.node.id, b.node)) || order(a.node.id, b.node.id));
}

function kinds(words) {
  const counts = new Map();
  for (const word of words) counts.set(word, (counts.get(word) ?? 0) + 1);
  return [...counts].map(([word, n]) => `${n} ${word}`).join(", ");
}

function drawNodes() {
  const columns = [["name", "Node", "name"], ["state", "State"], ["load", "Load", "tight"], ["runs", "Runs now", "mid"], ["models", "Models", "models wide"], ["links", "Links", "n wide"],
    ["rtt", "Latency", "n mid"], ["rate", "Messages/s", "n wide spare"], ["version", "Version", "wide spare"]];
  const all = nodeRows(), shown = list.more ? all : all.slice(0, ROWS_SHOWN);
  // The selected node is always among the rows.
  const chosen = M.selected?.type === "node" && !shown.some((row) => row.node.id === M.selected.id) ? all.find((row) => row.node.id === M.selected.id) : null;
  const rows = (chosen ? [chosen, ...shown] : shown).map(({ node, links, rtt, rate: messages, runs }) => ({
    key: node.id,
    attributes: { "data-node": node.id, "aria-selected": String(isSelected("node", node.id)) },
    cells: {
      name: [nodeLink(node.id), node.id === M.self ? make("div", { class: "soft" }, "this node") : ""],
      state: [state(node.tone, node.state), node.reason ? make("div", { class: "soft" }, node.reason) : ""],
      load: node.load === null ? make("span", { class: "soft" }, "not known") : [loadBar(loadOf(node)), `${node.load} of ${node.slots}`],
      runs: kinds(runs), models: modelNames(node) || make("span", { class: "soft" }, "none"),
      links: String(links), rtt: node.id === M.self ? "" : rtt === null ? make("span", { class: "soft" }, count(node.hops, "hop")) : lasting(rtt),
      rate: messages === null ? "" : rate(messages), version: node.version,
    },
  }));
  return [
    make("div", { class: "bar" }, make("input", { type: "search", "data-list": "filter", placeholder: "Filter nodes", "aria-label": "Filter nodes" }),
      make("p", {}, all.length === M.nodes.size ? count(all.length, "node") : `${all.length} of ${count(M.nodes.size, "node")}`),
      all.length > shown.length ? make("button", { class: "small", "data-do": "more" }, `Show all ${all.length}`) : null),
    rows.length ? table("Nodes", columns, rows, true) : none(M.nodes.size ? "No node matches the filter." : "No node is known yet."),
  ];
}

// Tasks.

function allTasks() {
  const all = new Map(list.older.map((task) => [task.id, task]));
  for (const [id, task] of M.tasks) all.set(id, task);
  return [...all.values()];
}

/** Returns whether the choices of status and node let a task through. */
const isChosen = (task) => (!list.status || task.status === list.status) && (!list.worker || task.worker === list.worker);

function taskRows() {
  const words = list.filter.trim().toLowerCase();
  const matches = (task) => isChosen(task) && (words === "" || [task.id, task.kind, task.model, task.status, task.preview, nameOf(task.worker)].some((text) => text.toLowerCase().includes(words)));
  return allTasks().filter(matches).sort((a, b) => (a.at < b.at ? 1 : a.at > b.at ? -1 : 0));
}

const tookOf = (task) => (task.elapsed !== null ? lasting(task.elapsed) : task.result ? lasting(Date.parse(task.result.completed_at) - Date.parse(task.at)) : "");

function drawTasks() {
  const columns = [["id", "Task"], ["kind", "Type"], ["status", "Status"], ["worker", "Ran on"], ["took", "Took", "n mid"], ["attempts", "Attempts", "n wide"], ["model", "Model", "clip wide"], ["at", "Submitted", "tight wide"], ["preview", "Input", "clip wide"]];
  const all = taskRows(), shown = list.more ? all : all.slice(0, TASK_ROWS);
  const rows = shown.map((task) => ({
    key: task.id, attributes: { "data-task": task.id, "aria-selected": String(isSelected("task", task.id)) },
    cells: {
      id: taskLink(task.id), kind: task.kind, status: state(toneOfTask(task.status), task.status), worker: task.worker ? nodeLink(task.worker) : make("span", { class: "soft" }, ENDED.has(task.status) ? "no node" : "waits"),
      took: tookOf(task), attempts: String(task.attempts), model: task.model, at: timeOf(task.at), preview: task.preview,
    },
  }));
  const option = (value, text) => make("option", { value }, text);
  const workers = [...M.nodes.keys()].slice(0, 300);
  return [
    make("div", { class: "bar" },
      make("input", { type: "search", "data-list": "filter", placeholder: "Filter tasks", "aria-label": "Filter tasks" }),
      make("select", { "data-list": "status", "aria-label": "Status" }, option("", "every status"), ...["QUEUED", "RUNNING", "COMPLETED", "FAILED", "TIMEOUT", "CANCELLED"].map((word) => option(word, word))),
      make("select", { "data-list": "worker", "aria-label": "Ran on" }, option("", "every node"), ...workers.map((id) => option(id, nameOf(id)))),
      make("p", {}, `${count(all.length, "task")} shown of ${GROUPED.format(M.tasksTotal)}`),
      all.length > shown.length ? make("button", { class: "small", "data-do": "more" }, `Show all ${all.length}`) : all.length < M.tasksTotal ? make("button", { class: "small", "data-do": "older" }, "Load older") : null),
    rows.length ? table("Tasks", columns, rows) : none(list.error.tasks ?? (M.tasks.size ? "No task matches the filter." : "No tasks yet. “Try it” submits one, and so does: p2p-ai-agents task submit --type embedding --input hello")),
  ];
}

// Models.

function drawModels() {
  const offered = new Map();
  for (const node of M.nodes.values()) for (const model of node.models) {
    if (!offered.has(model.name)) offered.set(model.name, { kinds: new Set(), nodes: [] });
    offered.get(model.name).kinds.add(model.type);
    if (offered.get(model.name).nodes.at(-1) !== node.id) offered.get(model.name).nodes.push(node.id);
  }
  const own = new Map(M.models.models.map((model) => [model.name, model]));
  const words = { loaded: [GOOD, "loaded"], loading: ["idle", "loading"], on_demand: ["idle", "loads on demand"], unusable: ["bad", "not usable"] };
  const rows = [...new Set([...own.keys(), ...offered.keys()])].sort().map((name) => {
    const mine = own.get(name), there = offered.get(name)?.nodes ?? [];
    const shown = there.slice(0, 8).flatMap((id, i) => (i ? [", ", nodeLink(id)] : [nodeLink(id)]));
    if (there.length > 8) shown.push(` and ${there.length - 8} more`);
    return { key: name, cells: {
      name, kinds: [...(mine?.kinds ?? offered.get(name)?.kinds ?? [])].join(", "),
      state: mine ? [state(...(words[mine.state] ?? ["idle", mine.state])), mine.reason ? make("div", { class: "soft" }, [mine.reason, mine.hint].filter(Boolean).join(". ")) : ""] : make("span", { class: "soft" }, "not on this node"),
      nodes: shown.length ? shown : make("span", { class: "soft" }, "no node offers it"), size: bytes(mine?.bytes), memory: bytes(mine?.memory_bytes),
    } };
  });
  const pulls = Object.entries(M.models.pulls ?? {}).map(([name, pull]) => make("li", { "data-key": `pull ${name}` }, make("b", {}, name),
    pull.state === "running" ? make("progress", { max: Math.max(1, pull.bytes_total), value: pull.bytes_done, "aria-label": `Download of ${name}` }) : "",
    make("span", { class: pull.state === "failed" ? "tone-bad" : "soft" }, pull.state === "running" ? `${bytes(pull.bytes_done)} of ${pull.bytes_total ? bytes(pull.bytes_total) : "an unknown size"}` : pull.state === "done" ? `on this machine, ${bytes(pull.bytes_done)}` : [pull.reason, pull.hint].filter(Boolean).join(". "))));
  return [
    M.access === "full" ? make("form", { class: "bar", "data-form": "pull" }, make("input", { name: "model", required: "", placeholder: "owner/name", "aria-label": "Model to fetch", autocomplete: "off", spellcheck: "false" }),
      make("button", {}, "Fetch a model"), make("p", { id: "pull-says", role: "status" }, list.error.pull ?? "")) : null,
    pulls.length ? make("ul", { class: "pulls" }, ...pulls) : null,
    rows.length ? table("Models", [["name", "Model"], ["kinds", "Tasks"], ["state", "On this node"], ["nodes", "Offered by"], ["size", "Size", "n wide"], ["memory", "Memory", "n wide"]], rows) : none(list.error.models ?? "No node offers a model."),
  ];
}

// Alerts.

function drawAlerts() {
  const { active, history, thresholds } = M.alerts;
  const row = (alert) => ({ key: `${alert.rule} ${alert.raised_at}`, cells: {
    rule: state(alert.cleared_at ? "idle" : alert.severity === "ALERT" ? "bad" : "slow", alert.rule.replaceAll("_", " ")), message: alert.message,
    raised: timeOf(alert.raised_at), cleared: alert.cleared_at ? timeOf(alert.cleared_at) : "active" } });
  const columns = [["rule", "Rule", "tight"], ["message", "What happened"], ["raised", "Raised", "tight"], ["cleared", "Cleared", "tight"]];
  const names = new Set(active.map((alert) => `${alert.rule} ${alert.raised_at}`));
  const past = history.filter((alert) => !names.has(`${alert.rule} ${alert.raised_at}`));
  const limits = thresholds.filter((one) => one.value !== undefined).map((one) => ({ key: one.name, cells: { name: one.name.replaceAll("_", " "), value: String(one.value), set: one.set ? "by a user" : "default", range: `${one.least} to ${one.most}` } }));
  return [
    active.length ? table("Active alerts", columns, active.map(row)) : none(list.error.alerts ?? "No alert is active."),
    past.length ? make("h2", {}, "Before") : null, past.length ? table("Past alerts", columns, past.map(row)) : null,
    limits.length ? make("h2", {}, "Thresholds (p2p-ai-agents alerts set changes them)") : null,
    limits.length ? table("Thresholds", [["name", "Name"], ["value", "Value", "n"], ["set", "Set"], ["range", "Range"]], limits) : null,
  ];
}

// Figures of the last hour.

const CHARTS = [
  ["tasks_completed", "Completed tasks/s", rate, "tasks_failed"], ["task_ms", "Mean time of a task", lasting], ["tasks_running", "Tasks running", rate, "tasks_queued"],
  ["messages_out", "Messages/s sent", rate, "messages_in"], ["message_ms", "Mean time of a message", lasting], ["bytes_out", "Sent/s", bytes, "bytes_in"],
  ["cpu_percent", "Processor, % of a core", (value) => `${Math.round(value)} %`], ["memory_bytes", "Memory", bytes], ["members", "Members", rate, "peers"],
];
const SECOND = { tasks_failed: "failed", tasks_queued: "queued", messages_in: "received", bytes_in: "received", peers: "peers" };

function drawMetrics() {
  if (M.samples.length === 0) return [none(list.error.metrics ?? "Figures arrive once a second while a page is open.")];
  const last = (name) => { for (let i = M.samples.length - 1; i >= 0 && i > M.samples.length - 30; i--) { const value = M.samples[i][name]; if (value !== null && value !== undefined) return value; } return null; };
  const span = (M.samples[M.samples.length - 1].at_ms - M.samples[0].at_ms) / 1000;
  return [make("div", { class: "charts" }, ...CHARTS.map(([name, title, format, second]) => {
    const values = M.samples.map((sample) => sample[name]).filter((value) => value !== null && value !== undefined);
    const most = values.reduce((a, b) => Math.max(a, b), 0);
    const now = last(name), also = second ? last(second) : null;
    return make("figure", { "data-key": name }, make("figcaption", {}, make("span", {}, title), make("b", {}, now === null ? "–" : format(now)),
      also === null ? null : make("span", {}, `${SECOND[second]} ${format(also)}`), make("small", {}, values.length ? `most ${format(most)}` : "not measured")),
    make("canvas", { "data-chart": name, "data-second": second ?? "", role: "img", "aria-label": `${title}, the last ${lasting(span * 1000)}: now ${now === null ? "not known" : format(now)}, at most ${format(most)}` }));
  }))];
}

function drawCharts() {
  for (const canvas of document.querySelectorAll("canvas[data-chart]")) {
    const [c, width, height] = fit(canvas);
    const end = M.samples[M.samples.length - 1].at_ms, begin = Math.min(M.samples[0].at_ms, end - 60000);
    const x = (at) => ((at - begin) / (end - begin)) * (width - 2) + 1;
    // About two values a pixel are drawn: the largest of each.
    const columns = (name) => {
      const step = Math.max(1, Math.floor(M.samples.length / (width * 2))), points = [];
      for (let i = 0; i < M.samples.length; i += step) {
        let most = null;
        for (let j = i; j < Math.min(i + step, M.samples.length); j++) { const value = M.samples[j][name]; if (value !== null && value !== undefined && (most === null || value > most)) most = value; }
        points.push([x(M.samples[i].at_ms), most]);
      }
      return points;
    };
    const lines = [canvas.dataset.chart, canvas.dataset.second].filter(Boolean).map(columns);
    const top = Math.max(1e-9, ...lines.flat().map(([, value]) => value ?? 0));
    const y = (value) => height - 14 - (value / top) * (height - 22);
    c.fillStyle = P.line;
    c.fillRect(0, height - 13.5, width, 1);
    lines.forEach((points, second) => {
      c.strokeStyle = second ? P.slow : P.run;
      c.setLineDash(second ? [4, 3] : []);
      c.lineWidth = 1.5;
      c.beginPath();
      let before = null;
      points.forEach(([px, value], i) => {
        if (value !== null && before !== null) c.lineTo(px, y(value));
        else if (value !== null) {
          c.moveTo(px, y(value));
          if ((points[i + 1]?.[1] ?? null) === null) c.lineTo(px + 1.5, y(value));
        }
        before = value;
      });
      c.stroke();
    });
    c.setLineDash([]);
    label(c, timeOf(begin), 0, height - 5, P.soft, 9.5);
    const now = timeOf(end);
    c.font = `400 9.5px ${FONT}`;
    label(c, now, width - c.measureText(now).width, height - 5, P.soft, 9.5);
  }
}

// The tabs.

const TABS = [["nodes", "Nodes", drawNodes], ["tasks", "Tasks", drawTasks], ["models", "Models", drawModels], ["metrics", "Last hour", drawMetrics], ["alerts", "Alerts", drawAlerts], ["try", "Try it", null]];

function drawTabs() {
  const notes = { nodes: M.nodes.size || "", tasks: M.tasksTotal ? GROUPED.format(M.tasksTotal) : "", alerts: M.alerts.active.length || "" };
  morph(document.getElementById("tablist"), TABS.map(([name, text]) => make("button", {
    role: "tab", id: `tab-${name}`, "data-tab": name, "aria-selected": String(list.tab === name), "aria-controls": "panel", tabindex: list.tab === name ? "0" : "-1",
  }, text, notes[name] ? make("small", { class: name === "alerts" ? "tone-bad" : "" }, String(notes[name])) : "")));
}

function drawPanel() {
  const panel = document.getElementById("panel");
  panel.setAttribute("aria-labelledby", `tab-${list.tab}`);
  const draw = TABS.find(([name]) => name === list.tab)[2];
  if (!draw) { drawTry(panel); return; }
  morph(panel, draw().filter(Boolean));
  if (list.tab === "metrics" && M.samples.length) drawCharts();
}

function openTab(name) {
  if (list.tab === name) return;
  Object.assign(list, { tab: name, filter: "", status: "", worker: "", more: false, older: [], sort: "", descending: false });
  document.getElementById("panel").replaceChildren();
  document.getElementById("panel").scrollTop = 0;
  drawTabs();
  drawPanel();
  document.getElementById(`tab-${name}`).scrollIntoView({ block: "nearest", inline: "nearest" });
}
