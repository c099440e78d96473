// What the user can do from the page: try a model, fetch one, add a machine.

const TRIES = {
  embedding: { title: "Embed a text", says: "A text becomes a vector." },
  classification: { title: "Classify a text", says: "The text is given the label that fits best." },
  reranking: { title: "Rank texts", says: "Texts are ordered by how well they answer a query." },
  generation: { title: "Chat", says: "A model answers." },
};
const trial = { kind: "embedding", running: null, told: null, text: "", error: null, models: "" };

/** Renders the form once, and its answer at each update. */
function drawTry(panel) {
  if (M.kind === "recording") { morph(panel, [none("This is a recording. It takes no tasks.")]); return; }
  if (M.access !== "full") { morph(panel, [none(M.access === "read" ? "This session may only read. Open the page with p2p-ai-agents dashboard open to submit tasks." : "Asking the node for the rights of this session…")]); return; }
  if (!panel.querySelector("form.try")) panel.replaceChildren(tryForm());
  offerModels();
  drawAnswer();
}

function tryForm() {
  const field = (text, input) => make("label", {}, text, input);
  const option = ([value, { title }]) => make("option", { value }, title);
  const inputs = {
    embedding: [field("Text", make("textarea", { name: "input", required: "" }, "The tower is 30 m tall."))],
    classification: [field("Text", make("textarea", { name: "input", required: "" }, "My parcel has not arrived.")), field("Labels, separated by commas", make("input", { name: "labels", value: "delivery, payment, product", required: "" }))],
    reranking: [field("Query", make("input", { name: "query", value: "height of the tower", required: "" })), field("Texts, one a line", make("textarea", { name: "input", required: "", rows: "3" }, "It is 30 m tall.\nIt is blue.\nIt was built in 1901."))],
    generation: [field("Message", make("textarea", { name: "input", required: "" }, "What is a mesh network?")), field("Maximum tokens", make("input", { name: "max_tokens", type: "number", min: "1", max: "32768", value: "128" }))],
  };
  const fields = make("div", {}, ...inputs[trial.kind]);
  const kind = make("select", { name: "kind", onchange: () => { trial.kind = kind.value; Object.assign(trial, { told: null, text: "", error: null, models: "" }); fields.replaceChildren(...inputs[trial.kind]); offerModels(); drawAnswer(); } }, ...Object.entries(TRIES).map(option));
  kind.value = trial.kind;
  const form = make("form", { class: "try", onsubmit: (event) => { event.preventDefault(); submitTrial(form); } },
    make("div", {}, make("div", { class: "pair" }, field("What", kind), field("Model", make("select", { name: "model" }))), fields, make("button", { class: "first", type: "submit" }, "Run")),
    make("div", { class: "answer", id: "answer", role: "status" }));
  return form;
}

/** Fills the list of models with those that some node offers for the chosen task type. */
function offerModels() {
  const names = new Set();
  for (const node of M.nodes.values()) for (const model of node.models) if (model.type === trial.kind) names.add(model.name);
  for (const model of M.models.models) if (model.kinds.includes(trial.kind) && model.state !== "unusable") names.add(model.name);
  const select = document.querySelector("form.try select[name=model]"), key = [trial.kind, ...[...names].sort()].join("\n");
  if (!select || trial.models === key) return;
  trial.models = key;
  const before = select.value;
  select.replaceChildren(make("option", { value: "" }, "the node chooses"), ...[...names].sort().map((name) => make("option", { value: name }, name)));
  select.value = names.has(before) ? before : "";
}

async function submitTrial(form) {
  const data = new FormData(form), kind = trial.kind, text = data.get("input");
  const task = { type: kind, input: kind === "reranking" ? text.split("\n").filter((one) => one.trim()) : text };
  if (data.get("model")) task.model = data.get("model");
  if (kind === "classification") task.labels = data.get("labels").split(",").map((one) => one.trim()).filter(Boolean);
  if (kind === "reranking") task.query = data.get("query");
  if (kind === "generation") { task.messages = [{ role: "user", content: text }]; delete task.input; task.max_tokens = Number(data.get("max_tokens")) || 128; task.timeout_seconds = 300; }
  const button = form.querySelector("button[type=submit]");
  button.disabled = true;
  const mine = { began: performance.now() };
  Object.assign(trial, { running: mine, told: null, text: "", error: null });
  drawAnswer();
  try {
    trial.told = kind === "reranking" ? await rank(task, mine) : await runTask(task, mine);
  } catch (error) {
    trial.error = error;
  }
  trial.running = null;
  button.disabled = false;
  drawAnswer();
  changed("details");
}

/** Submits a task, shows its way, and returns its result. */
async function runTask(task, mine) {
  const { id } = await ask("/tasks", task);
  select({ type: "task", id }, "try");
  if (task.type === "generation") await followTask(id, mine);
  for (let ended = false; !ended;) {
    const now = await ask(`/tasks/${id}?wait_seconds=30`);
    noteTask(now);
    changed("tasks", "details");
    ended = ENDED.has(now.status);
  }
  const told = await ask(`/tasks/${id}/result`);
  remember(outputs, id, told);
  loadTrace(id);
  return told;
}

/** Ranks texts with a model for it or, as the API does, by the similarity of embeddings. */
async function rank(task, mine) {
  const texts = task.input;
  try {
    return Object.assign(await runTask(task, mine), { texts });
  } catch (error) {
    if (error.code !== "task_type_unsupported" || task.model) throw error;
  }
  const told = await runTask({ type: "embedding", input: [...texts, task.query] }, mine);
  if (!told.output?.vectors) return told;
  const vectors = told.output.vectors.slice(0, -1), query = told.output.vectors.at(-1), dot = (a, b) => a.reduce((sum, value, i) => sum + value * b[i], 0);
  const cosine = (vector) => dot(vector, query) / Math.sqrt(dot(vector, vector) * dot(query, query));
  return { ...told, texts, output: { scores: vectors.map(cosine) }, note: "By similarity of embeddings, because no node has a model for ranking." };
}

/** Shows the text of a generation as it is written. */
async function followTask(id, mine) {
  const response = await fetch(`${API}/tasks/${id}/events`, { headers: { Accept: "text/event-stream" }, cache: "no-store" });
  if (!response.ok) throw await failure(response);
  await readEvents(response, (name, text) => {
    if (name !== "progress" || trial.running !== mine) return;
    const { offset, text: more } = JSON.parse(text);
    trial.text = [...trial.text].slice(0, offset).join("") + more;
    drawAnswer();
  }).catch(() => {});
}

function drawAnswer() {
  const answer = document.getElementById("answer");
  if (!answer) return;
  const { running, told, text, error } = trial;
  const parts = [];
  if (error) parts.push(make("p", { class: "tone-bad" }, error.message), error.hint ? make("p", { class: "soft" }, error.hint) : null);
  else if (told) {
    const failed = told.status !== "COMPLETED";
    parts.push(make("p", {}, state(toneOfTask(told.status), failed ? told.status : "Done"), failed && told.error ? `: ${told.error.message}` : "", " in ", lasting(told.elapsed_ms), ", computed by ", nodeLink(told.worker), ` in ${lasting(told.execution_ms)}, `, make("button", { class: "link", "data-task": told.id }, "its steps")));
    if (!failed) parts.push(...output(told), told.note ? make("p", { class: "soft" }, told.note) : null);
  } else if (running) parts.push(make("p", { class: "soft" }, "Running…"), text ? make("pre", {}, text) : null);
  else parts.push(make("p", { class: "soft" }, `${TRIES[trial.kind].says} The answer names the node that computed it, and the map shows its way.`));
  morph(answer, parts.filter(Boolean));
}

async function submitPull(form) {
  const input = form.querySelector("input");
  try {
    M.models = await ask("/models", { model: input.value.trim() });
    list.error.pull = "";
    input.value = "";
  } catch (error) {
    list.error.pull = [error.message, error.hint].filter(Boolean).join(". ");
  }
  changed("models");
}

// Add a machine.

async function openInvite() {
  const dialog = document.getElementById("invite");
  const close = make("button", { onclick: () => dialog.close() }, "Close");
  const show = (...parts) => { dialog.replaceChildren(make("h2", { id: "invite-title" }, "Add a machine"), ...parts.filter(Boolean), close); close.focus(); };
  show(make("p", { class: "soft" }, "Asking the node for the command…"));
  dialog.showModal();
  try {
    const invite = await ask("/dashboard/invite");
    const copy = make("button", { onclick: async () => { try { await navigator.clipboard.writeText(invite.command); copy.textContent = "Copied"; } catch { copy.textContent = "Select it and copy"; } } }, "Copy");
    show(make("p", {}, "Install the program on the other machine, and run this there:"), make("div", { class: "copy" }, make("code", {}, invite.command), copy),
      make("dl", {}, make("dt", {}, "network"), make("dd", {}, invite.network), ...(invite.address ? [make("dt", {}, "this node"), make("dd", {}, invite.address)] : [])),
      invite.note ? make("p", { class: "soft" }, invite.note) : null, make("p", { class: "soft" }, "The machine appears here within seconds."),
      make("img", { class: "qr", src: invite.qr, alt: "The command as a QR code" }));
  } catch (error) {
    show(make("p", { class: "tone-bad" }, error.message), error.hint ? make("p", { class: "soft" }, error.hint) : null);
  }
}

function openKeys() {
  const dialog = document.getElementById("keys");
  const keys = [["/", "find a node or task"], ["m", "go to the map"], ["← ↑ → ↓", "on the map: the next node in that direction"], ["Enter", "on the map: go to the details"], ["+  −  0", "zoom in, out, whole network"], ["wheel, drag", "zoom, move"],
    ["1 – 6", "nodes, tasks, models, last hour, alerts, try it"], ["t", "light or dark"], ["Esc", "select nothing"]];
  dialog.replaceChildren(make("h2", { id: "keys-title" }, "Keys"), make("dl", {}, ...keys.flatMap(([key, what]) => [make("dt", {}, make("kbd", {}, key)), make("dd", {}, what)])), make("button", { onclick: () => dialog.close() }, "Close"));
  dialog.showModal();
}
