// Requests to the API, and the stream of events.
//
// A browser allows six connections to a host, so the tabs of a browser share one stream: the tab that holds a lock reads it
// and passes each event on. The stream is read with fetch, because an EventSource gives up for good after one answer with
// status 503.

const API = "/api/v1", RETRY_MS_MAX = 5000, SILENT_MS_MAX = 6000, LATE_MS = 3000, GAP_RELOAD_MS = 2000, HELLO_MS = 5000, STATE_RETRY_MS = 1000;

class ApiError extends Error {
  constructor(status, code, message, hint) {
    super(message);
    Object.assign(this, { status, code, hint });
  }
}

async function failure(response) {
  let error = {};
  try { error = (await response.json()).error ?? {}; } catch { /* Not every server on the way answers with JSON. */ }
  return new ApiError(response.status, error.code ?? "", error.message ?? `The answer has status ${response.status}`, error.hint ?? "");
}

/** Asks the API and returns its JSON. */
async function ask(path, body, method = body === undefined ? "GET" : "POST") {
  const headers = body === undefined ? {} : { "Content-Type": "application/json" };
  let response;
  try {
    response = await fetch(API + path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body), cache: "no-store" });
  } catch {
    throw new ApiError(0, "unreachable", "The node does not answer", "See whether it runs: p2p-ai-agents node status");
  }
  if (!response.ok) throw await failure(response);
  return response.status === 204 ? null : response.json();
}

/** Reads server-sent events from a response until it ends, and calls back for each. */
async function readEvents(response, call) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "", name = "", data = [];
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    rest += value;
    const lines = rest.split("\n");
    rest = lines.pop();
    for (const raw of lines) {
      const line = raw.endsWith("\r") ? raw.slice(0, -1) : raw;
      if (line === "") {
        if (data.length) call(name || "message", data.join("\n"));
        name = "";
        data = [];
      } else if (line.startsWith("event:")) name = line.slice(6).trim();
      else if (line.startsWith("data:")) data.push(line.slice(5).replace(/^ /, ""));
    }
    call("", "");
  }
}

let onEvent = () => {}, onFeed = () => {};
const channel = "BroadcastChannel" in window ? new BroadcastChannel("p2p-ai-agents dashboard " + location.host) : null;
let leads = false, followedUntil = 0, wakeStream = () => {}, abortStream = () => {}, lastReload = -GAP_RELOAD_MS;

function setFeed(phase, message = "", hint = "", retryAt = 0) {
  M.feed = { phase, message, hint, retryAt };
  if (leads) channel?.postMessage({ feed: { phase, message, hint, wait: retryAt ? retryAt - performance.now() : 0 } });
  onFeed();
}

function heard() {
  M.heardAt = performance.now();
}

/** Handles an event of the stream, wherever it was read. */
function receive(name, text) {
  if (name === "") return;
  let json;
  try { json = JSON.parse(text); } catch { return; }
  if (name === "state") { setFeed(json.state, json.message, json.hint ?? ""); return; }
  if (name !== "topology" && name !== "update") return;
  // A comment, or the state of the node, is no newer data.
  heard();
  if (M.feed.phase !== "live") setFeed("live");
  onEvent(name === "topology" ? applyTopology(json) : applyUpdate(json), name);
}

const numberOf = (cursor) => Number((cursor ?? "").split("-").pop());
const epochOf = (cursor) => (cursor ?? "").split("-").slice(0, -1).join("-");

async function lead() {
  leads = true;
  let wait = 250;
  for (;;) {
    let ended = null;
    const abort = new AbortController();
    let silence = setTimeout(() => abort.abort(), SILENT_MS_MAX * 2);
    abortStream = () => abort.abort();
    try {
      const after = M.cursor ? "?after=" + encodeURIComponent(M.cursor) : "";
      const response = await fetch(`${API}/dashboard/events${after}`, { headers: { Accept: "text/event-stream" }, signal: abort.signal, cache: "no-store" });
      if (!response.ok) throw await failure(response);
      await readEvents(response, (name, text) => {
        clearTimeout(silence);
        silence = setTimeout(() => abort.abort(), SILENT_MS_MAX);
        const before = M.cursor;
        receive(name, text);
        if (name === "topology" || name === "update") wait = 250;
        if (name && performance.now() < followedUntil) channel.postMessage({ name, text, before });
      });
      // A stream may end with the state of the node, which says more than its end.
      const { phase, message, hint } = M.feed;
      ended = phase === "live" ? new ApiError(0, "", "The node closed the stream", "") : Object.assign(new ApiError(0, "", message, hint), { phase });
    } catch (error) {
      ended = error instanceof ApiError ? error : abort.signal.aborted
        ? new ApiError(0, "", "The node has sent nothing for a while", "") : new ApiError(0, "", "The node does not answer", "See whether it runs: p2p-ai-agents node status");
    }
    clearTimeout(silence);
    abort.abort();
    const phase = ended.status === 401 ? "login" : ended.phase ?? "off";
    if (phase === "login") wait = RETRY_MS_MAX;
    else if (phase !== "off") wait = Math.min(wait, STATE_RETRY_MS);
    setFeed(phase, ended.message, ended.hint, performance.now() + wait);
    await new Promise((resolve) => { wakeStream = resolve; setTimeout(resolve, wait); });
    wait = Math.min(RETRY_MS_MAX, wait * 1.7);
  }
}

/** Applies what the leading tab passes on, or loads the whole picture if something is missing between. */
async function follow(message) {
  if (leads) {
    if (message.hello) followedUntil = performance.now() + 3 * HELLO_MS;
    if (message.hello === "new") setFeed(M.feed.phase, M.feed.message, M.feed.hint, M.feed.retryAt);
    if (message.wake) reconnect();
    return;
  }
  if (message.feed) {
    const { phase, message: text, hint, wait } = message.feed;
    setFeed(phase, text, hint, wait ? performance.now() + wait : 0);
    if (phase === "live" && !M.cursor) await reload();
    return;
  }
  if (message.name === undefined) return;
  if (message.name !== "update") { receive(message.name, message.text); return; }
  const mine = numberOf(M.cursor);
  const next = JSON.parse(message.text).cursor;
  heard();
  if (epochOf(next) === epochOf(M.cursor) && numberOf(next) <= mine) return;
  if (message.before && epochOf(message.before) === epochOf(M.cursor) && numberOf(message.before) <= mine) receive("update", message.text);
  else await reload();
}

async function reload() {
  if (performance.now() - lastReload < GAP_RELOAD_MS) return;
  lastReload = performance.now();
  try { receive("topology", JSON.stringify(await ask("/dashboard/topology"))); } catch { /* The stream tells what is wrong. */ }
}

/** Retries now, or reconnects if the stream has been silent, as after the computer slept. */
function reconnect() {
  if (!leads) { channel?.postMessage({ wake: true }); return; }
  if (M.feed.phase !== "live") wakeStream();
  else if (performance.now() - M.heardAt > LATE_MS) abortStream();
}

function connect() {
  heard();
  if (!channel || !navigator.locks) { lead(); return; }
  channel.addEventListener("message", ({ data }) => follow(data));
  navigator.locks.request("p2p-ai-agents dashboard stream", lead);
  const greet = (hello) => { if (!leads) channel.postMessage({ hello }); };
  greet("new");
  setInterval(greet, HELLO_MS, "still");
  setTimeout(() => { if (!leads && !M.cursor) reload(); }, 100);
}

document.addEventListener("visibilitychange", () => { if (!document.hidden) reconnect(); });
window.addEventListener("online", reconnect);
window.addEventListener("pageshow", reconnect);
