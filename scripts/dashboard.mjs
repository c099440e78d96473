// Drives the dashboard in a browser. First with canned answers, for sizes and rates that one machine cannot have; then, if
// PROGRAM names a binary, with real nodes: what the page shows is compared with what the API says.
//
// AXE is the path of axe-core's script. SHOTS is a folder for screenshots, SIZES may limit the canned runs ("5,50,1000").

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";
import { Canned } from "./dashboard_canned.mjs";

const { PROGRAM, AXE, SHOTS, SIZES = "5,50,1000" } = process.env;
const sizes = new Set(SIZES.split(",").map(Number));
const FPS_MIN = Number(process.env.FPS_MIN ?? 30);
const browser = await chromium.launch({
  executablePath: process.env.BROWSER ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
});

const said = (text) => console.log(`ok: ${text}`);

/** Opens a page that fails the run if it logs an error or asks another host. */
async function open(url, options = {}, context = null) {
  context ??= await browser.newContext({ viewport: { width: 1400, height: 900 }, colorScheme: "light", reducedMotion: "no-preference", ...options });
  const page = await context.newPage();
  const origin = new URL(url).origin;
  page.faults = [];
  page.streams = 0;
  page.on("pageerror", (error) => page.faults.push(String(error.stack)));
  page.on("dialog", (dialog) => { page.faults.push(`a dialog: ${dialog.message()}`); dialog.dismiss(); });
  page.on("console", (message) => { if (message.type() === "error" && !/Failed to load resource|ERR_/.test(message.text())) page.faults.push(message.text()); });
  page.on("request", (request) => {
    if (new URL(request.url()).origin !== origin) page.faults.push(`a request to ${request.url()}`);
    if (request.url().includes("/dashboard/events")) page.streams++;
  });
  await page.goto(url);
  await page.waitForFunction(() => M.feed.phase === "live" && M.nodes.size > 0 && items.length > 0);
  return page;
}

async function close(page) {
  assert.deepEqual(page.faults, []);
  await page.context().close();
}

/** Waits until a part of the page has a text: the page draws a change up to some 100 ms after it is told. */
async function shows(page, selector, expected) {
  const part = page.locator(selector).first();
  for (let tries = 0; ; tries++) {
    const text = await part.innerText();
    if (typeof expected === "string" ? text.includes(expected) : expected.test(text)) return;
    assert(tries < 100, `${selector} does not show ${expected}: ${text}`);
    await page.waitForTimeout(20);
  }
}

/** Waits until the table has exactly the rows of some nodes or tasks, in any order. */
async function rows(page, kind, ids) {
  const expected = [...ids].sort().join(" ");
  const shown = () => page.locator("#panel tbody tr").evaluateAll((rows, kind) => rows.map((row) => row.dataset[kind]).sort().join(" "), kind);
  for (let tries = 0; await shown() !== expected; tries++) {
    assert(tries < 100, `the table has ${await shown()}, not ${expected}`);
    await page.waitForTimeout(20);
  }
}

const shot = (page, name) => (SHOTS ? page.screenshot({ path: join(SHOTS, `${name}.png`) }) : null);

/** Returns frames a second over some seconds, while something is done. */
async function frames(page, seconds, during = null) {
  await page.evaluate(() => {
    const run = { frames: 0, since: performance.now() };
    window.run = run;
    const count = () => { run.frames++; if (window.run === run) requestAnimationFrame(count); };
    requestAnimationFrame(count);
  });
  const end = Date.now() + seconds * 1000;
  while (Date.now() < end) { if (during) await during(); else await page.waitForTimeout(50); }
  return page.evaluate(() => (window.run.frames * 1000) / (performance.now() - window.run.since));
}

/** Returns the time from the request for the page to its first picture of the network. */
const loadedIn = (page) => page.evaluate(() => Math.round(performance.getEntriesByName("first picture")[0].startTime));

async function accessible(page, where) {
  if (!AXE) return;
  await page.evaluate(readFileSync(AXE, "utf8"));
  const found = await page.evaluate(() => axe.run(document, { resultTypes: ["violations"] }));
  const told = found.violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.target.join(" ") + " " + node.failureSummary).slice(0, 3).join(" | ")}`);
  assert.deepEqual(told, [], where);
}

/** What a small page shows, by pointer and by keyboard, and what it does when its node goes away. */
async function smallPage() {
  const hostile = "<img src=x onerror=alert(1)><b>bold</b>";
  const canned = await new Canned({ nodes: 5, eventsPerSecond: 8, hostileName: hostile }).start();
  const page = await open(canned.url);
  await shows(page, "#network", /^workshop demo$/);
  await shows(page, "#verdict", /All is well/);
  await rows(page, "node", canned.nodes.map(({ id }) => id));
  assert.equal(await page.locator("#panel tbody").getByText(hostile, { exact: true }).count(), 1, "a name is text");
  assert.equal(await page.locator("main img, main b b").count(), 0);

  // A node that answers late, and one that is gone.
  const began = Date.now();
  canned.change(2, { state: "slow", level: "warning", reason: "it left a heartbeat unanswered" });
  canned.change(3, { state: "gone", level: "bad", reason: "it stopped answering" });
  await page.waitForFunction(() => /1 node gone/.test(document.getElementById("verdict").textContent));
  const shown = Date.now() - began;
  assert(shown < 1000, `shown after ${shown} ms`);
  const row = page.locator(`tr[data-node="${canned.nodes[3].id}"]`);
  await row.getByText("it stopped answering").waitFor();
  await page.locator("#now").getByText("Nodes in trouble").waitFor();
  said(`a node's state is shown ${shown} ms after the server knows it`);

  // A click on the map selects the row, and the other way round.
  const spot = await page.evaluate((id) => [itemOf.get(id).px, itemOf.get(id).py], canned.nodes[4].id);
  await page.mouse.move(10, 10);
  const box = await page.locator("#map").boundingBox();
  await page.mouse.click(box.x + spot[0], box.y + spot[1]);
  await page.waitForSelector(`tr[data-node="${canned.nodes[4].id}"][aria-selected=true]`);
  await page.locator("#details").getByText(canned.nodes[4].id).waitFor();
  await page.mouse.move(box.x + spot[0] + 1, box.y + spot[1]);
  await shows(page, "#tip", /ember/);
  await row.getByRole("button").click();
  assert.equal(await page.evaluate(() => M.selected.id), canned.nodes[3].id);
  await page.locator("#details").getByRole("button", { name: "amber" }).click();
  await page.locator("#details").getByText("latency").waitFor();
  await page.keyboard.press("Escape");
  await page.locator("#details").waitFor({ state: "hidden" });
  said("map, table and details have one selection");

  // The keyboard alone.
  await page.keyboard.press("m");
  await page.keyboard.press("ArrowRight");
  assert.equal(await page.evaluate(() => M.selected.id), canned.me);
  await page.keyboard.press("ArrowLeft");
  assert.notEqual(await page.evaluate(() => M.selected.id), canned.me);
  await page.keyboard.press("Enter");
  assert.equal(await page.evaluate(() => document.activeElement.textContent), "Close");
  await page.keyboard.press("Enter");
  await page.locator("#details").waitFor({ state: "hidden" });
  await page.keyboard.press("2");
  await page.waitForSelector("#tab-tasks[aria-selected=true]");
  await page.keyboard.press("ArrowRight");
  await page.waitForSelector("#tab-models[aria-selected=true]");
  await page.keyboard.press("/");
  await page.keyboard.type("delta");
  await page.keyboard.press("Enter");
  assert.equal(await page.evaluate(() => M.selected.id), canned.nodes[3].id);
  await page.keyboard.press("Escape");
  await page.keyboard.press("?");
  await page.locator("#keys").waitFor();
  await page.keyboard.press("Escape");
  await page.keyboard.press("Tab");
  assert(await page.evaluate(() => document.activeElement !== document.body), "focus is somewhere");
  said("the keyboard reaches everything");

  for (const tab of ["nodes", "tasks", "models", "metrics", "alerts", "try"]) {
    await page.click(`#tab-${tab}`);
    await page.waitForTimeout(150);
    await accessible(page, tab);
    await shot(page, `5-${tab}`);
  }
  await page.click("#invite-open");
  await page.getByText("--bootstrap-peer 192.168.1.10:9000").waitFor();
  await accessible(page, "add a machine");
  await page.keyboard.press("Escape");
  await page.click("#theme");
  await page.click("#tab-nodes");
  await accessible(page, "dark");
  await shot(page, "5-dark");
  said(AXE ? "axe-core finds nothing, in light and dark, in every list" : "skipped: axe-core is not installed");

  // A second tab shares the stream, and takes it over.
  const second = await open(canned.url, {}, page.context());
  assert.deepEqual([page.streams, second.streams], [1, 0]);
  canned.join();
  await second.waitForFunction(() => M.nodes.size === 6);
  assert.deepEqual(page.faults, []);
  await page.close();
  canned.join();
  await second.waitForFunction(() => M.nodes.size === 7);
  assert.equal(second.streams, 1);
  said("tabs share one stream, and one takes it over from another");

  // The node goes away and comes back.
  canned.down = true;
  for (const stream of canned.streams) stream.destroy();
  await second.getByText("Disconnected.").waitFor({ timeout: 1000 });
  await shows(second, "#age", /not live/);
  await shot(second, "5-disconnected");
  canned.change(0, { state: "degraded", level: "warning", reason: "memory is at 87 % of its limit" });
  canned.number++;
  canned.down = false;
  await second.waitForFunction(() => M.feed.phase === "live", null, { timeout: 8000 });
  await shows(second, "#verdict", /gone/);
  await second.locator("#notice").waitFor({ state: "hidden" });

  // The computer sleeps: its connection is dead, but nothing has told the browser. On waking it reconnects at once.
  const before = second.streams;
  canned.stuck = new Set(canned.streams);
  await second.waitForFunction(() => performance.now() - M.heardAt > 3500, null, { timeout: 8000 });
  assert.equal(second.streams, before, "it waits for as long as a stream may be silent");
  await second.evaluate(() => window.dispatchEvent(new Event("online")));
  await second.waitForFunction(() => M.feed.phase === "live" && performance.now() - M.heardAt < 1000, null, { timeout: 1500 });
  assert.equal(second.streams, before + 1);
  said("a computer that wakes reconnects at once");

  canned.loggedOut = true;
  for (const stream of canned.streams) stream.destroy();
  await second.getByText("p2p-ai-agents dashboard open").first().waitFor();
  said("a lost connection and a lost login are told, and the page recovers");
  await close(second);

  const stranger = await (await browser.newContext()).newPage();
  await stranger.goto(canned.url);
  await stranger.getByText("This browser is not logged in.").waitFor();
  canned.loggedOut = false;
  await stranger.waitForFunction(() => M.feed.phase === "live", null, { timeout: 8000 });
  await stranger.context().close();
  said("a page without a login shows no picture, and gets it once there is one");

  const small = await open(canned.url, { viewport: { width: 390, height: 844 }, reducedMotion: "reduce" });
  assert(await small.evaluate(() => document.documentElement.scrollWidth <= innerWidth), "nothing is wider than a phone");
  assert(!(await small.evaluate(() => animate)), "nothing moves if the user wants that");
  await small.locator("#panel tbody tr button").first().click();
  await accessible(small, "phone");
  await shot(small, "5-phone");
  said("a phone shows it all");
  await close(small);
  canned.stop();

  const reading = await new Canned({ nodes: 5, access: "read" }).start();
  const reader = await open(reading.url + "#tab=try");
  await reader.getByText("This session may only read").waitFor();
  await close(reader);
  reading.stop();
  said("a session that may only read offers no actions");
}

async function largePage(nodes, eventsPerSecond, linksOfEach) {
  const canned = await new Canned({ nodes, eventsPerSecond, linksOfEach }).start();
  const page = await open(canned.url);
  const loaded = await loadedIn(page);
  const links = await page.evaluate(() => M.links.size);
  await page.waitForTimeout(500);
  const still = await frames(page, 3);
  const box = await page.locator("#map").boundingBox();
  await page.mouse.move(box.x + box.width / 2, box.y + box.height / 2);
  let turn = 0;
  const zooming = await frames(page, 3, async () => { await page.mouse.wheel(0, turn++ % 40 < 20 ? -60 : 60); });
  let separate = null;
  if (nodes > 300) {
    await page.keyboard.press("0");
    await page.check("#ungroup");
    separate = await frames(page, 3);
    assert.equal(await page.evaluate(() => items.length), nodes);
    await shot(page, `${nodes}-each`);
    await page.uncheck("#ungroup");
  }
  await page.keyboard.press("0");
  const changedAt = Date.now();
  canned.change(5, { state: "slow", level: "warning", reason: "it left a heartbeat unanswered" });
  await page.waitForFunction(() => /Needs a look/.test(document.getElementById("verdict").textContent));
  const lag = Date.now() - changedAt;
  await shot(page, String(nodes));
  const rounded = (value) => (value === null ? "" : `, ${value.toFixed(0)} with each node drawn`);
  said(`${nodes} nodes, ${links} links, ${eventsPerSecond} events/s: loaded in ${loaded} ms; frames/s: ${still.toFixed(0)}, ${zooming.toFixed(0)} while zooming${rounded(separate)}; a change is shown after ${lag} ms`);
  for (const rate of [still, zooming, separate ?? FPS_MIN]) assert(rate >= FPS_MIN, `${rate} frames/s`);
  // Any node can be found and chosen, also one in a group.
  const last = canned.nodes.at(-1);
  await page.keyboard.press("/");
  await page.keyboard.type(last.id.slice(0, 8));
  await page.keyboard.press("Enter");
  await page.waitForFunction((id) => M.selected?.id === id && itemOf.get(id).node, last.id);
  await page.waitForSelector(`tr[data-node="${last.id}"][aria-selected=true]`);
  await close(page);
  canned.stop();
}

/** Returns an address that logs a browser in, as `dashboard open` gets it. */
async function login(folder, name) {
  const file = (path) => readFileSync(join(folder, name, "run", path), "utf8").trim();
  const answer = await fetch(`http://${JSON.parse(file("node.json")).api_address}/api/v1/dashboard/codes`, {
    method: "POST", body: "{}", headers: { Authorization: `Bearer ${file("token")}`, "Content-Type": "application/json" },
  });
  assert.equal(answer.status, 200, await answer.clone().text());
  return (await answer.json()).url;
}

/** Two of the nodes have one name, so the page adds the start of their ids. */
const NAMES = { a: "attic", b: "attic", c: "cellar" };

/** Real nodes on loopback. */
async function realNodes() {
  const folder = mkdtempSync(join(tmpdir(), "dashboard-"));
  const network = `dashboard-${process.pid}`;
  const env = (name) => ({ ...process.env, P2P_AI_HOME: join(folder, name), P2P_AI_INTERFACES: "lo", XDG_RUNTIME_DIR: folder, P2P_AI_NETWORK: network });
  const run = (name, ...words) => {
    const ran = spawnSync(PROGRAM, words, { env: env(name), encoding: "utf8" });
    assert.equal(ran.status, 0, `${words.join(" ")}: ${ran.stdout}${ran.stderr}`);
    return ran.stdout;
  };
  const pids = new Map();
  let port = 29600 + (process.pid % 300);
  const ports = new Map();
  const start = (name) => {
    if (!ports.has(name)) ports.set(name, String(port++));
    const words = ["node", "start", "--name", NAMES[name], "--port", ports.get(name)];
    pids.set(name, Number(/pid (\d+)/.exec(run(name, ...words))[1]));
  };
  const status = (name) => JSON.parse(run(name, "node", "status", "--json"));
  const idOf = (name) => status(name).node_id;
  const ended = [];
  try {
    for (const name of ["a", "b", "c"]) start(name);
    const ids = Object.fromEntries(["a", "b", "c"].map((name) => [name, idOf(name)]));
    const url = await login(folder, "a");
    const page = await open(url);
    const loaded = await loadedIn(page);
    const api = (path) => page.evaluate(async (path) => (await fetch(path)).json(), path);
    const rowOf = (name) => page.locator(`#panel tr[data-node="${ids[name]}"]`);
    // Two nodes have the name "attic", so the page adds the beginnings of their ids.
    const shownName = (id) => (id === ids.c ? NAMES.c : `${NAMES.a} (${id.slice(0, 8)})`);
    await page.waitForFunction(() => [...M.nodes.values()].filter((node) => node.tone === "good" || node.tone === "slow").length === 3);
    await rows(page, "node", Object.values(ids));
    const members = (await api("/api/v1/members")).members.map((member) => member.id).sort();
    assert.deepEqual(members, Object.values(ids).sort());
    await shows(page, "#network", new RegExp(network));
    assert(!page.url().includes("code="), "the code does not stay in the address");
    said(`three real nodes: the page loads in ${loaded} ms and shows the members of the API`);

    // Tasks, as the command line submits them.
    for (let i = 0; i < 6; i++) run("a", "task", "submit", "--type", "embedding", "--input", `text ${i}`, "--wait");
    await page.click("#tab-tasks");
    const truth = (await api("/api/v1/tasks")).tasks;
    assert.equal(truth.length, 6);
    for (const task of truth) {
      const row = page.locator(`#panel tr[data-task="${task.id}"]`);
      await row.getByText("COMPLETED").waitFor();
      await shows(page, `#panel tr[data-task="${task.id}"]`, `\t${shownName(task.worker)}\t`);
    }
    await page.locator(`#panel tr[data-task="${truth[0].id}"] button.mono`).click();
    await page.getByText(/Steps \(/).waitFor();
    await shows(page, "#details", /scheduled on/);
    await page.getByRole("button", { name: "Show the result" }).click();
    await page.getByText(/1 vector of 384 numbers/).waitFor();
    await shot(page, "real-task");
    said("tasks, their workers, steps and results are those of the API");

    // From the page itself.
    await page.click("#tab-try");
    await page.getByRole("button", { name: "Run" }).click();
    await page.getByText("computed by").waitFor({ timeout: 20000 });
    const mine = (await api("/api/v1/tasks?limit=1")).tasks[0];
    await shows(page, "#answer", `computed by ${shownName(mine.worker)} in `);
    await page.locator("form.try select[name=kind]").selectOption("reranking");
    await page.getByRole("button", { name: "Run" }).click();
    await page.locator("#answer .scores li").nth(2).waitFor({ timeout: 20000 });
    assert.match(await page.locator("#answer .scores li").first().innerText(), /30 m tall/);
    await page.locator("form.try select[name=kind]").selectOption("classification");
    await page.getByRole("button", { name: "Run" }).click();
    await page.locator("#answer .scores li").nth(2).waitFor({ timeout: 20000 });
    assert.match(await page.locator("#answer .scores li").first().innerText(), /delivery/);
    await shot(page, "real-try");
    said("embedding, ranking and classifying from the page name their node");

    await page.click("#invite-open");
    await page.getByText(/p2p-ai-agents node start/).waitFor();
    await page.waitForFunction(() => document.querySelector("img.qr")?.naturalWidth > 0);
    await shot(page, "real-invite");
    await page.keyboard.press("Escape");
    said("the command for another machine is there, with its QR code");

    // A node that is killed, and comes back.
    await page.click("#tab-nodes");
    process.kill(pids.get("c"), "SIGKILL");
    const killed = Date.now();
    await rowOf("c").getByText("gone", { exact: true }).waitFor({ timeout: 20000 });
    const noticed = Date.now() - killed;
    assert.equal((await api("/api/v1/dashboard/topology")).nodes.find((node) => node.id === ids.c).state, "gone");
    await shows(page, "#verdict", /1 node gone/);
    await shot(page, "real-killed");
    start("c");
    await rowOf("c").getByText(/active|degraded/).waitFor({ timeout: 20000 });
    said(`a killed node is shown after ${noticed} ms, and shown again once it is back`);

    // The node of the page stops.
    run("a", "node", "stop");
    await page.locator("#notice").waitFor({ timeout: 3000 });
    await shows(page, "#age", /not live/);
    await shot(page, "real-stopped");
    said("a page whose node stopped says so");
    await close(page);
  } finally {
    for (const name of ["a", "b", "c"]) spawnSync(PROGRAM, ["node", "stop"], { env: env(name) });
    rmSync(folder, { recursive: true, force: true });
    ended.push(folder);
  }
}

try {
  if (sizes.has(5)) await smallPage();
  if (sizes.has(50)) await largePage(50, 500, 4);
  if (sizes.has(1000)) await largePage(1000, 500, 7);
  if (PROGRAM) await realNodes();
  else console.log("skipped: PROGRAM names no binary, so real nodes were not tried");
  console.log("dashboard: all good");
} finally {
  await browser.close();
}
