// A self-test: opened at #selftest, the page simulates user input and prints the results.

function selfTest() {
  const said = [];
  const check = (what, holds) => { said.push(`${holds ? "ok" : "FAILED"}: ${what}`); };
  const click = (x, y) => {
    const box = lanesCanvas.getBoundingClientRect();
    for (const type of ["pointermove", "pointerdown", "pointerup"]) {
      lanesCanvas.dispatchEvent(new PointerEvent(type, { clientX: box.left + x, clientY: box.top + y, bubbles: true }));
    }
  };
  const press = (key) => document.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
  const inside = (hit) => hit.x1 > GUTTER + 6 && hit.y0 > top0 && hit.y1 < size.height;

  draw();
  check("something is drawn", hits.length > NODES);
  check("heartbeats are hidden", !shown[KIND.heartbeat]);

  const life = hits.find((hit) => hit.of.type === "life" && inside(hit) && hit.x1 - hit.x0 > 20);
  click(8, laneTop(0) + lanes[0].h / 2);
  check("a click on a name shows the node", !details.hidden && details.textContent.includes(D.nodes[0]));
  check("there is a life to see", life !== undefined);

  const message = rowAt(0) + [...R.at.keys()].findIndex((i) => isMessage(i) && shown[R.kind[i]] && R.took[i] >= 0);
  goTo(R.at[message], R.at[message] + R.took[message], Math.max(R.took[message] * 4, 100));
  draw();
  const [x0, y0, x1, y1] = ends(message);
  click(x0 + (x1 - x0) * 0.6, y0 + (y1 - y0) * 0.6);
  check("a click on an arrow shows a message", selected?.type === "row" && details.textContent.includes("arrives"));

  const before = selected?.row;
  press("j");
  check("j goes to the next event", selected?.type === "row" && selected.row > before);
  press("0");
  check("0 shows the whole run", view.from <= 0 && view.to >= END);
  press("ArrowUp");
  check("an arrow key zooms in", view.to - view.from < END);
  press("Escape");
  check("Escape selects nothing", selected === null && details.hidden);

  location.hash = "t=0.5s&w=0.25s&node=n0";
  readHash();
  check("a link leads to its time and node", Math.abs(view.from - 375000) < 2 && selected?.type === "node");
  if (tasks.length) {
    search.value = "task 1";
    search.dispatchEvent(new Event("input"));
    search.dispatchEvent(new KeyboardEvent("keydown", { key: "Enter" }));
    check("a search finds a task", selected?.type === "task" && details.textContent.includes(tasks[0].id));
  }
  setTheme("dark");
  draw();
  check("it can be dark", document.documentElement.dataset.theme === "dark");
  const began = performance.now();
  for (let i = 0; i < 10; i++) draw();
  said.push(`a frame takes ${((performance.now() - began) / 10).toFixed(1)} ms`);
  return said.join("\n");
}

if (location.hash === "#selftest") {
  const result = byId("selftest");
  const faults = [];
  window.addEventListener("error", (event) => faults.push(event.message));
  try { result.textContent = selfTest(); } catch (error) { result.textContent = "FAILED: " + error; }
  result.textContent += "\n" + (faults.length ? "FAILED: " + faults.join("; ") : "ok: no errors") + "\ndone";
}
