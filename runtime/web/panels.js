// The side: what is selected (a node, a link, a task) and, below it, what happens now.

const traces = new Map(), outputs = new Map(), ASKED_MAX = 50, STEPS_SHOWN = 60, STEPS_TRIES = 4, STEPS_RETRY_MS = 500;

/** Makes a list of names and values, without the empty ones. */
function pairs(rows) {
  const dl = make("dl");
  for (const [name, value] of rows) {
    if (value === null || value === undefined || value === "") continue;
    dl.append(make("dt", {}, name), make("dd", {}, ...(Array.isArray(value) ? value : [String(value)])));
  }
  return dl;
}

const head = (title) => make("div", { class: "head" }, make("h2", {}, title), make("button", { class: "small", "data-do": "unselect", title: "Close  (Esc)" }, "Close"));

function drawDetails() {
  const details = document.getElementById("details"), chosen = M.selected;
  const told = chosen && { node: nodeDetails, link: linkDetails, task: taskDetails }[chosen.type](chosen.id ?? chosen.key);
  details.hidden = !told;
  document.getElementById("side").classList.toggle("chosen", Boolean(told));
  morph(details, (told ?? []).filter(Boolean));
}

function nodeDetails(id) {
  const node = M.nodes.get(id);
  if (!node) return [head(nameOf(id)), make("p", { class: "reason" }, "This node is no longer part of the picture.")];
  const links = linksOf(id), ran = [...M.tasks.values()].filter((task) => task.worker === id).reverse();
  const rows = links.slice(0, 40).map((link) => ({ key: link.key, cells: {
    to: make("button", { class: "link", "data-link": link.key }, nameOf(link.a === id ? link.b : link.a)), rtt: link.rtt === null ? "" : lasting(link.rtt),
    messages: link.rate === null ? "" : rate(link.rate), bytes: link.byteRate === null ? "" : `${bytes(link.byteRate)}/s` } }));
  return [
    head(nameOf(id)), make("p", { class: "reason" }, state(node.tone, node.state), node.reason ? `: ${node.reason}` : "", node.id === M.self ? " · this page is served by it" : ""),
    pairs([
      ["id", [make("span", { class: "mono" }, id)]], ["version", node.version], ["gone since", timeOf(node.goneAt)],
      ["load", node.load === null ? "not known here, because it is no peer of this node" : `${count(node.load, "task")}, ${count(node.slots, "slot")}`],
      ["models", modelsOf(node).map(([name, types]) => `${name} (${types.join(", ")})`).join(", ") || "none"],
      ["memory", node.memory === null ? "" : `${bytes(node.memory)} of ${bytes(node.memoryMax)}`],
      ["addresses", node.addresses.slice(0, 4).join(", ")], ["distance", node.hops === 0 ? "" : count(node.hops, "hop")],
    ]),
    rows.length ? make("h3", {}, `Links (${links.length})`) : null,
    rows.length ? table("Links", [["to", "To"], ["rtt", "Latency", "n"], ["messages", "Messages/s", "n"], ["bytes", "Bytes", "n"]], rows) : null,
    links.length > rows.length ? make("p", { class: "soft" }, `and ${links.length - rows.length} more`) : null,
    rows.length && links.every((link) => link.rate === null) ? make("p", { class: "soft" }, "A node measures its own links only. These do not touch the node that serves this page.") : null,
    ran.length ? make("h3", {}, "Tasks that it ran") : null, ran.length ? taskList(ran.slice(0, 6)) : null,
    ran.length ? make("button", { class: "small", "data-do": "worker", "data-id": id }, "All tasks of this node") : null,
  ];
}

function linkDetails(key) {
  const link = M.links.get(key), [a, b] = key.split(" ");
  const title = head(`${nameOf(a)} – ${nameOf(b)}`);
  if (!link) return [title, make("p", { class: "reason" }, "This link is down.")];
  const tone = toneOfLink(link), word = { good: "up", slow: "an end is slow", bad: "an end is gone" }[tone];
  const here = link.rate !== null || link.rtt !== null;
  return [title, make("p", { class: "reason" }, state(tone, word)),
    pairs([
      ["ends", [nodeLink(a), " and ", nodeLink(b)]], ["latency", lasting(link.rtt)], ["now", link.rate === null ? "" : `${rate(link.rate)} messages/s, ${bytes(link.byteRate)}/s`],
      ["sent", link.messagesOut === null ? "" : `${count(link.messagesOut, "message")}, ${bytes(link.bytesOut)}`],
      ["received", link.messagesIn === null ? "" : `${count(link.messagesIn, "message")}, ${bytes(link.bytesIn)}`], ["up for", lasting(link.age)],
    ]),
    here ? null : make("p", { class: "soft" }, "A node measures its own links only. This one does not touch the node that serves this page.")];
}

const taskList = (tasks) => make("ul", {}, ...tasks.map((task) => make("li", { "data-key": task.id },
  make("span", { class: `state tone-${toneOfTask(task.status)}`, title: task.status }, shape(toneOfTask(task.status))), taskLink(task.id),
  make("span", {}, task.kind, task.worker ? " on " : "", nodeLink(task.worker)), make("small", {}, ENDED.has(task.status) ? (task.status === "COMPLETED" ? tookOf(task) : task.status.toLowerCase()) : task.status.toLowerCase()))));

// A task: what is known, its steps on all nodes, its result.

function taskDetails(id) {
  const task = M.tasks.get(id) ?? list.older.find((one) => one.id === id), asked = traces.get(id);
  if (!task) return [head(`Task ${id.slice(0, 8)}`), make("p", { class: "reason" }, asked?.error ?? "This task is not in the list. Its steps may still be known.")].concat(asked ? steps(asked, id) : []);
  const error = task.result?.error;
  return [
    head(`Task ${id.slice(0, 8)}`), make("p", { class: "reason" }, state(toneOfTask(task.status), task.status), error ? `: ${error.message}` : task.moved ? ` after it was taken back: ${task.moved.replaceAll("_", " ")}` : ""),
    pairs([
      ["id", [make("span", { class: "mono" }, id)]], ["type", task.kind], ["model", task.model], ["submitted", timeOf(task.at)], ["accepted by", [nodeLink(task.origin)]],
      [ENDED.has(task.status) ? "ran on" : "runs on", task.worker ? [nodeLink(task.worker)] : "no node yet"], ["took", tookOf(task)],
      ["computed for", task.result ? lasting(task.result.execution_ms) : ""], ["attempts", task.attempts], ["input", task.preview],
    ]),
    !ENDED.has(task.status) && M.access === "full" && task.origin === M.self ? make("button", { class: "small", "data-do": "cancel", "data-id": id }, "Cancel this task") : null,
    ...result(task), ...(asked ? steps(asked, id) : []),
  ];
}

function result(task) {
  if (task.status !== "COMPLETED") return [];
  const known = outputs.get(task.id);
  if (!known) return [make("h3", {}, "Result"), task.result?.output_preview ? make("pre", {}, task.result.output_preview) : null, task.origin === M.self ? make("button", { class: "small", "data-do": "result", "data-id": task.id }, "Show the result") : make("p", { class: "soft" }, "The node that accepted the task has its result.")];
  return [make("h3", {}, "Result"), ...(known.error ? [make("p", { class: "tone-bad" }, known.error)] : output(known))];
}

/** Shows the output of a task in its form. */
function output(told) {
  const out = told.output ?? {}, number = (value) => (Math.abs(value) < 0.001 && value !== 0 ? value.toExponential(2) : value.toFixed(4));
  const cut = out.dropped_tokens ? make("p", { class: "tone-slow" }, `${count(out.dropped_tokens, "token")} of the input did not fit and were cut.`) : null;
  if (out.vector || out.vectors) {
    const vectors = out.vectors ?? [out.vector];
    return [make("p", { class: "soft" }, `${count(vectors.length, "vector")} of ${vectors[0].length} numbers from ${count(out.tokens, "token")}`),
      make("pre", { tabindex: "0" }, vectors.slice(0, 4).map((vector) => `[${vector.slice(0, 12).map(number).join(", ")}${vector.length > 12 ? ", …" : ""}]`).join("\n")), cut];
  }
  if (out.label !== undefined) return [scores(out.scores.map(({ label: name, score }) => [name, score, score])), cut];
  if (out.scores) {
    const most = Math.max(...out.scores), least = Math.min(...out.scores);
    return [scores(out.scores.map((score, i) => [told.texts?.[i] ?? `text ${i + 1}`, score, most > least ? (score - least) / (most - least) : 1]).sort((a, b) => b[1] - a[1])), cut];
  }
  if (out.text !== undefined) return [make("pre", { tabindex: "0" }, out.text || "(no text)"), make("p", { class: "soft" }, `${count(out.tokens, "token")}, ${out.finish_reason === "length" ? "cut at its maximum length" : "complete"}`)];
  return [make("p", { class: "soft" }, "The task has no output.")];
}

const scores = (rows) => make("ul", { class: "scores" }, ...rows.map(([name, score, share]) => make("li", {}, make("span", {}, name), loadBar(share), make("b", {}, score.toFixed(3)))));

/** Shows the steps of a trace as bars on one scale of time. */
function steps(asked, id) {
  if (asked.error) return [make("h3", {}, "Steps"), make("p", { class: "soft" }, asked.error)];
  if (!asked.trace) return [make("h3", {}, "Steps"), make("p", { class: "soft" }, "Asking the nodes that took part…")];
  const spans = asked.trace.spans.filter((span) => !span.task || span.task === id);
  const notes = asked.trace.nodes.filter((node) => node.answer !== "answered").map((node) => make("p", { class: "soft" }, `${nameOf(node.id)} ${node.answer === "away" ? "is not reachable" : "did not answer"}: its steps are missing.`));
  if (spans.length === 0) return [make("h3", {}, "Steps"), make("p", { class: "soft" }, "No step is known."), ...notes];
  const begin = Math.min(...spans.map((span) => span.start_us)), end = Math.max(begin + 1, ...spans.map((span) => span.start_us + (span.duration_us ?? 0)));
  const items = spans.slice(0, STEPS_SHOWN).map((span, i) => {
    const kind = typeof span.what === "string" ? span.what : Object.keys(span.what)[0];
    const bar = make("i", { class: ["queue", "wait", "load"].includes(kind) ? "wait" : kind === "drop" ? "lost" : "" });
    bar.style.setProperty("--x", `${(((span.start_us - begin) / (end - begin)) * 98).toFixed(2)}%`);
    bar.style.setProperty("--w", `${(((span.duration_us ?? 0) / (end - begin)) * 98).toFixed(2)}%`);
    return make("li", { "data-key": `${span.id} ${i}` }, make("span", { class: "t" }, span.duration_us ? lasting(span.duration_us / 1000) : `at ${lasting((span.start_us - begin) / 1000)}`), nodeLink(span.node), ` ${stepWords(span, kind)}`, make("span", { class: "track" }, bar));
  });
  return [make("h3", {}, `Steps (${lasting((end - begin) / 1000)} in all)`), make("ol", { class: "steps" }, ...items), spans.length > STEPS_SHOWN ? make("p", { class: "soft" }, `and ${spans.length - STEPS_SHOWN} more`) : null, ...notes];
}

function stepWords(span, kind) {
  const what = typeof span.what === "string" ? {} : span.what[kind], words = (word) => String(word ?? "").replaceAll("_", " ").toLowerCase();
  const attempt = span.attempt ? `attempt ${span.attempt}` : "";
  return {
    attempt: () => `${attempt} at ${nameOf(what.worker)}${what.taken ? ", taken back: " + words(what.taken) : ""}`,
    compute: () => `${attempt} computed: ${what.ending ? words(what.ending) : "running"}${what.batch > 1 ? `, in a batch of ${what.batch}` : ""}${what.output_tokens ? `, ${count(what.output_tokens, "token")} written` : ""}`,
    drop: () => `message dropped: ${words(what.reason)}`, hop: () => `hop ${what.number} of ${words(what.message)} to ${nameOf(what.to)}`,
    load: () => `${attempt} waited for the model to load`, message: () => `${words(what.kind)} to ${nameOf(what.to)}${what.hops > 1 ? `, ${what.hops} hops` : ""}${what.retries ? `, ${what.retries} retries` : ""}`,
    queue: () => "queued", recover: () => "recovered after a restart", return: () => `returned to ${count(what.waiters, "request")}`,
    schedule: () => `${attempt} scheduled on ${nameOf(what.worker)}, of ${count(what.considered, "candidate")}`, store: () => "outcome stored",
    task: () => `task: ${what.status ? words(what.status) : "not ended"}`, wait: () => (what.ending ? `${attempt} never started: ${words(what.ending)}` : `${attempt} waited at its worker`),
  }[kind]?.() ?? words(kind);
}

function remember(map, id, value) {
  map.delete(id);
  map.set(id, value);
  while (map.size > ASKED_MAX) map.delete(map.keys().next().value);
}

/** Loads the steps of a task, and again until they tell its end. */
async function loadTrace(id, tries = STEPS_TRIES) {
  const status = M.tasks.get(id)?.status ?? "unknown";
  if (traces.get(id)?.status === status && tries === STEPS_TRIES) return;
  remember(traces, id, { ...traces.get(id), status });
  try {
    const [trace, task] = await Promise.all([ask(`/traces/${encodeURIComponent(id)}`), ask(`/tasks/${encodeURIComponent(id)}`).catch(() => null)]);
    if (task) noteTask(task);
    remember(traces, id, { status, trace });
    const isOver = trace.spans.some((span) => span.task === id && span.what.task && span.duration_us !== undefined);
    const now = M.tasks.get(id)?.status ?? "unknown";
    if (now !== status) loadTrace(id);
    else if (ENDED.has(status) && !isOver && tries > 1) setTimeout(loadTrace, STEPS_RETRY_MS, id, tries - 1);
  } catch (error) {
    remember(traces, id, { status, error: error.message });
  }
  changed("details");
}

async function loadResult(id) {
  try { remember(outputs, id, await ask(`/tasks/${encodeURIComponent(id)}/result`)); } catch (error) { remember(outputs, id, { error: error.message }); }
  changed("details");
}

// What happens now.

function drawNow() {
  const tasks = [...M.tasks.values()].reverse();
  const open = tasks.filter((task) => !ENDED.has(task.status)), ended = tasks.filter((task) => ENDED.has(task.status));
  const trouble = [...M.nodes.values()].filter((node) => node.tone === "bad" || node.tone === "slow");
  const alerts = M.alerts.active;
  morph(document.getElementById("now"), [
    alerts.length ? make("h2", {}, "Alerts") : null,
    alerts.length ? make("ul", {}, ...alerts.slice(0, 5).map((alert) => make("li", { "data-key": `${alert.rule} ${alert.raised_at}` }, state(alert.severity === "ALERT" ? "bad" : "slow", ""), make("span", {}, alert.message), make("small", {}, timeOf(alert.raised_at))))) : null,
    trouble.length ? make("h2", {}, "Nodes in trouble") : null,
    trouble.length ? make("ul", {}, ...trouble.slice(0, 6).map((node) => make("li", { "data-key": node.id }, state(node.tone, ""), nodeLink(node.id), make("span", { class: "soft" }, `${node.state}${node.reason ? ": " + node.reason : ""}`)))) : null,
    make("h2", {}, "Running now"), open.length ? taskList(open.slice(0, 8)) : make("p", { class: "soft" }, "No task waits or runs."),
    open.length > 8 ? make("p", { class: "soft" }, `and ${open.length - 8} more`) : null,
    make("h2", {}, "Ended last"), ended.length ? taskList(ended.slice(0, 10)) : make("p", { class: "soft" }, "No task has ended yet."),
  ].filter(Boolean));
}
