// The map: nodes as circles by capacity, links as lines by traffic, and tasks as dots that travel between them.
//
// Links are drawn into a canvas of their own and copied from it until the view or their traffic changes; dots are drawn on
// a canvas above the map. So a frame of a large network costs little.

const FLIGHTS_MAX = 80, FLIGHT_MS = 650;
const MARGIN = { x: 64, top: 46, bottom: 76 };
const mapCanvas = document.getElementById("map"), flowCanvas = document.getElementById("flow");
const linkCanvas = document.createElement("canvas");
const view = { zoom: 1, x: 0.5, y: 0.5 };
let P = COLOURS.light, size = { width: 0, height: 0 };
let items = [], itemOf = new Map(), edges = [], hovered = null;
let ungroup = false, animate = true;
let mapStale = true, linksStale = true, itemsStale = true, framed = false, wasDrawn = false;
const motionOff = matchMedia("(prefers-reduced-motion: reduce)");

/** Asks for a frame; what is stale is drawn in it. */
function redraw(what = "map") {
  mapStale = true;
  if (what === "links" || what === "view") linksStale = true;
  if (what === "view" || what === "nodes") itemsStale = linksStale = true;
  frame();
}

function frame() {
  if (framed) return;
  framed = true;
  requestAnimationFrame((now) => {
    framed = false;
    if (mapStale) drawMap();
    if (drawFlights(now)) frame();
  });
}

// Where things are.

const spread = () => [Math.max(80, size.width - 2 * MARGIN.x) * view.zoom, Math.max(80, size.height - MARGIN.top - MARGIN.bottom) * view.zoom];

function position(x, y) {
  const [w, h] = spread();
  return [size.width / 2 + (x - view.x) * w, (MARGIN.top + size.height - MARGIN.bottom) / 2 + (y - view.y) * h];
}

/** Returns whether a group is drawn as one: while its nodes would cover each other. */
function isOneCircle(group) {
  const [w, h] = spread();
  return Math.PI * group.radius * group.radius * w * h < group.nodes * 700;
}

/** Decides what is drawn: each node, or a group of nodes that lie close together. */
function arrange() {
  itemsStale = false;
  items = [];
  itemOf = new Map();
  const together = M.groups.map((group) => (!ungroup && group.nodes > 1 && isOneCircle(group) ? { group, members: [], x: group.x, y: group.y } : null));
  for (const node of M.nodes.values()) {
    const item = together[node.group] ?? { node, members: [], x: node.x, y: node.y };
    if (item.members.push(node) === 1) items.push(item);
    itemOf.set(node.id, item);
  }
  const room = Math.sqrt((size.width * size.height * view.zoom * view.zoom) / Math.max(1, M.nodes.size));
  const largest = Math.min(24, Math.max(3, room * 0.2));
  for (const item of items) {
    if (item.node) item.r = Math.min(largest, Math.max(largest * 0.45, largest * 0.36 * Math.sqrt(item.node.slots)));
    else item.r = Math.min(32, 11 + 2.6 * Math.sqrt(item.members.length));
    [item.px, item.py] = position(item.x, item.y);
  }
  items.forEach((item, index) => { item.index = index; });
  const sums = new Map();
  for (const link of M.links.values()) {
    const a = itemOf.get(link.a), b = itemOf.get(link.b);
    if (!a || !b || a === b) continue;
    const key = a.index < b.index ? a.index * 65536 + b.index : b.index * 65536 + a.index;
    const edge = sums.get(key) ?? { a, b, link, rate: null, tone: "good", count: 0 };
    sums.set(key, edge);
    edge.count++;
    if (link.rate !== null) edge.rate = (edge.rate ?? 0) + link.rate;
    const tone = toneOfLink(link);
    if (tone !== "good" && edge.tone !== "bad") edge.tone = tone;
  }
  edges = [...sums.values()];
}

const isSeen = (item, slack = 60) => item.px > -slack && item.px < size.width + slack && item.py > -slack && item.py < size.height + slack;

// Drawing.

function drawMap() {
  mapStale = false;
  const [c, width, height] = fit(mapCanvas);
  if (width !== size.width || height !== size.height) { size = { width, height }; itemsStale = linksStale = true; }
  if (itemsStale) arrange();
  if (linksStale) drawLinks();
  c.save();
  c.setTransform(1, 0, 0, 1, 0, 0);
  if (linkCanvas.width) c.drawImage(linkCanvas, 0, 0);
  c.restore();
  drawChosenLinks(c);
  for (const item of items) if (isSeen(item)) drawItem(c, item);
  drawLabels(c);
  document.getElementById("empty").hidden = M.nodes.size > 0;
  if (M.nodes.size && !wasDrawn) { wasDrawn = true; performance.mark("first picture"); }
}

const widthOf = (rate) => (rate ? Math.min(9, 1.2 + Math.log2(1 + rate) * 0.9) : 1);

function drawLinks() {
  linksStale = false;
  const ratio = window.devicePixelRatio || 1;
  linkCanvas.width = Math.round(size.width * ratio);
  linkCanvas.height = Math.round(size.height * ratio);
  const c = linkCanvas.getContext("2d");
  c.setTransform(ratio, 0, 0, ratio, 0, 0);
  const styles = new Map();
  for (const edge of edges) {
    if (!isSeen(edge.a, 2000) || !isSeen(edge.b, 2000)) continue;
    const thick = Math.round(widthOf(edge.rate) * 2) / 2;
    const key = `${edge.tone} ${edge.rate === null ? "" : "m"} ${thick}`;
    const style = styles.get(key) ?? { tone: edge.tone, measured: edge.rate !== null, thick, edges: [] };
    styles.set(key, style);
    style.edges.push(edge);
  }
  // A long path of thin lines is slow to fill, so each piece has a limit.
  for (const style of styles.values()) {
    c.strokeStyle = style.tone === "good" ? (style.measured ? P.run : P.faint) : style.tone === "slow" ? P.slow : P.bad;
    c.globalAlpha = style.measured || style.tone !== "good" ? 0.75 : Math.max(0.16, Math.min(0.6, 240 / edges.length));
    c.lineWidth = style.thick;
    c.setLineDash(style.tone === "good" ? [] : style.tone === "slow" ? [7, 4] : [2, 4]);
    for (let from = 0; from < style.edges.length; from += 64) {
      c.beginPath();
      for (const { a, b } of style.edges.slice(from, from + 64)) {
        c.moveTo(a.px, a.py);
        c.lineTo(b.px, b.py);
      }
      c.stroke();
    }
  }
}

/** Draws the links of the chosen node, and the chosen or hovered link, above the others. */
function drawChosenLinks(c) {
  const chosen = new Set();
  for (const one of [hovered, M.selected]) {
    if (one?.type === "link") chosen.add(one.key);
    else if (one?.type === "node") for (const link of linksOf(one.id)) chosen.add(link.key);
  }
  const focus = M.selected?.type === "task" ? M.tasks.get(M.selected.id) : null;
  c.strokeStyle = P.ink;
  for (const key of chosen) {
    const link = M.links.get(key), a = itemOf.get(link?.a), b = itemOf.get(link?.b);
    if (!a || !b || a === b) continue;
    c.globalAlpha = M.selected?.key === key || hovered?.key === key ? 1 : 0.55;
    c.lineWidth = Math.max(1.6, widthOf(link.rate));
    line(c, a, b);
  }
  c.globalAlpha = 1;
  if (focus?.worker) {
    const a = itemOf.get(focus.origin), b = itemOf.get(focus.worker);
    if (a && b && a !== b) {
      c.strokeStyle = P.run;
      c.lineWidth = 2.4;
      c.setLineDash([6, 4]);
      line(c, a, b);
      c.setLineDash([]);
    }
  }
}

function line(c, a, b) {
  c.beginPath();
  c.moveTo(a.px, a.py);
  c.lineTo(b.px, b.py);
  c.stroke();
}

function disc(c, x, y, r) {
  c.beginPath();
  c.arc(x, y, r, 0, 7);
}

function drawItem(c, item) {
  const { px, py, r } = item;
  const tone = worst(item.members);
  const isChosen = item.members.some((node) => isSelected("node", node.id));
  const isHovered = hovered?.item === item || (hovered?.type === "node" && itemOf.get(hovered.id) === item);
  c.lineWidth = Math.max(1.4, r * 0.12);
  if (!item.node) return drawGroup(c, item, tone, isChosen || isHovered);
  disc(c, px, py, r);
  c.fillStyle = tone === "good" ? P.good : P.paper;
  c.fill();
  if (tone === "slow" || tone === "bad") {
    c.fillStyle = hatch(c, tone === "slow" ? P.slowRgb : P.badRgb, tone === "slow" ? 0.85 : 0.4, tone === "bad");
    c.fill();
  }
  c.strokeStyle = tone === "good" ? P.good : tone === "slow" ? P.slow : tone === "bad" ? P.bad : P.soft;
  if (tone !== "good") { c.setLineDash(tone === "idle" ? [3, 3] : []); c.stroke(); c.setLineDash([]); }
  const load = loadOf(item.node);
  if (load > 0 && r > 5) {
    c.strokeStyle = P.run;
    c.lineWidth = Math.max(2, r * 0.2);
    c.beginPath();
    c.arc(px, py, r + c.lineWidth * 0.9, -Math.PI / 2, -Math.PI / 2 + Math.PI * 2 * load);
    c.stroke();
  }
  if (item.node.id === M.self && r > 4) {
    c.fillStyle = tone === "good" ? P.paper : P.ink;
    disc(c, px, py, Math.max(2, r * 0.26));
    c.fill();
  }
  if (tone === "slow" || tone === "bad") badge(c, px + r * 0.75, py - r * 0.75, Math.max(4, Math.min(8, r * 0.5)), tone);
  if (isChosen || isHovered) {
    c.strokeStyle = P.ink;
    c.lineWidth = isChosen ? 2.4 : 1.4;
    disc(c, px, py, r + Math.max(5, r * 0.42));
    c.stroke();
  }
}

function drawGroup(c, item, tone, isMarked) {
  const { px, py, r, members } = item;
  disc(c, px, py, r);
  c.fillStyle = P.panel;
  c.fill();
  const counts = ["good", "slow", "bad", "idle"].map((kind) => members.filter((node) => node.tone === kind).length);
  let from = -Math.PI / 2;
  c.lineWidth = 4;
  counts.forEach((count, kind) => {
    if (count === 0) return;
    const to = from + (count / members.length) * Math.PI * 2;
    c.strokeStyle = [P.good, P.slow, P.bad, P.soft][kind];
    c.beginPath();
    c.arc(px, py, r, from, to);
    c.stroke();
    from = to;
  });
  c.textAlign = "center";
  label(c, String(members.length), px, py + 0.5, P.ink, r > 20 ? 13 : 11, 600);
  c.textAlign = "left";
  if (tone !== "good" && tone !== "idle") badge(c, px + r * 0.75, py - r * 0.75, 7, tone);
  if (isMarked) { c.strokeStyle = P.ink; c.lineWidth = 2; disc(c, px, py, r + 5); c.stroke(); }
}

/** A triangle for slow, a square with a cross for unreachable: states differ in shape, not in colour alone. */
function badge(c, x, y, r, tone) {
  c.beginPath();
  if (tone === "slow") { c.moveTo(x, y - r); c.lineTo(x + r, y + r * 0.8); c.lineTo(x - r, y + r * 0.8); c.closePath(); }
  else c.rect(x - r * 0.85, y - r * 0.85, r * 1.7, r * 1.7);
  c.fillStyle = tone === "slow" ? P.slow : P.bad;
  c.fill();
  c.strokeStyle = P.paper;
  c.lineWidth = 1.5;
  c.stroke();
  if (tone !== "bad") return;
  const m = r * 0.4;
  c.beginPath();
  c.moveTo(x - m, y - m); c.lineTo(x + m, y + m);
  c.moveTo(x + m, y - m); c.lineTo(x - m, y + m);
  c.stroke();
}

/** Writes names below nodes where there is room; the chosen node and nodes in trouble come first. */
function drawLabels(c) {
  const rank = (item) => (item.members.some((node) => isSelected("node", node.id)) || hovered?.item === item ? 0 : item.node?.tone === "good" ? (item.node.id === M.self ? 2 : 3) : 1);
  const order = items.filter((item) => item.node && isSeen(item, 0)).map((item) => [rank(item), item]).sort((a, b) => a[0] - b[0]);
  if (order.length > 400) order.length = order.findIndex(([rank]) => rank === 3) < 0 ? 400 : Math.min(40, order.findIndex(([rank]) => rank === 3));
  const taken = new Set();
  const cellsOf = (x0, x1, y0, y1) => {
    const cells = [];
    for (let x = Math.floor(x0 / 24); x <= Math.floor(x1 / 24); x++) for (let y = Math.floor(y0 / 13); y <= Math.floor(y1 / 13); y++) cells.push(x * 4096 + y);
    return cells;
  };
  for (const { node, px, py, r } of items) if (!node) for (const cell of cellsOf(px - r, px + r, py - r, py + r)) taken.add(cell);
  for (const [rank, item] of order) {
    const name = nameOf(item.node.id), word = item.node.tone === "good" ? "" : item.node.state;
    c.font = `${rank === 0 ? 650 : 500} 11.5px ${FONT}`;
    const text = shorten(c, name, 120), wide = Math.max(c.measureText(text).width, c.measureText(word).width);
    const x0 = item.px - wide / 2, y0 = item.py + item.r + 7;
    const cells = cellsOf(x0, x0 + wide, y0, y0 + (word ? 26 : 12));
    if (rank > 0 && cells.some((cell) => taken.has(cell))) continue;
    for (const cell of cells) taken.add(cell);
    c.textAlign = "center";
    c.lineWidth = 3;
    c.strokeStyle = P.paper;
    c.lineJoin = "round";
    const y = y0 + 6;
    c.textBaseline = "middle";
    c.strokeText(text, item.px, y);
    label(c, text, item.px, y, P.ink, 11.5, rank === 0 ? 650 : 500);
    if (word) {
      c.strokeText(word, item.px, y + 13);
      label(c, word, item.px, y + 13, item.node.tone === "slow" ? P.slowText : item.node.tone === "bad" ? P.badText : P.soft, 11, 650);
    }
    c.textAlign = "left";
  }
}

// Tasks under way.

const flights = [];

/** Lets a dot travel from a node to another: a task to its worker, or its result back. */
function fly(from, to, kind, delay = 0) {
  if (!animate || motionOff.matches || document.hidden || flights.length >= FLIGHTS_MAX) return;
  const a = itemOf.get(from), b = itemOf.get(to);
  // One ring at a node says as much as many.
  if (!a || !b || (a === b && flights.some((flight) => flight.from === from && flight.to === to))) return;
  flights.push({ from, to, kind, began: performance.now() + delay });
  frame();
}

let flowIsClear = true;
function drawFlights(now) {
  if (flights.length === 0 && flowIsClear) return false;
  const [c] = fit(flowCanvas);
  flowIsClear = flights.length === 0;
  let kept = 0;
  for (const flight of flights) {
    const share = (now - flight.began) / FLIGHT_MS;
    const a = itemOf.get(flight.from), b = itemOf.get(flight.to);
    if (share >= 1 || !a || !b) continue;
    flights[kept++] = flight;
    if (share < 0) continue;
    if (a === b) pulse(c, a, share, flight.kind); else dot(c, a, b, share, flight.kind);
  }
  flights.length = kept;
  return true;
}

const flightColour = (kind) => (kind === "task" ? P.run : kind === "result" ? P.good : P.bad);

function pulse(c, item, share, kind) {
  c.globalAlpha = 1 - share;
  c.strokeStyle = flightColour(kind);
  c.lineWidth = 2;
  disc(c, item.px, item.py, item.r + 3 + share * 14);
  c.stroke();
  c.globalAlpha = 1;
}

function dot(c, a, b, share, kind) {
  const eased = share < 0.5 ? 2 * share * share : 1 - (2 - 2 * share) ** 2 / 2;
  // From the edge of one circle to the edge of the other, so that it covers neither.
  const length = Math.max(1, Math.hypot(b.px - a.px, b.py - a.py)), from = Math.min(0.5, a.r / length), to = Math.max(0.5, 1 - b.r / length);
  const at = from + (to - from) * eased, x = a.px + (b.px - a.px) * at, y = a.py + (b.py - a.py) * at;
  c.fillStyle = flightColour(kind);
  c.strokeStyle = P.paper;
  c.lineWidth = 1.2;
  c.beginPath();
  if (kind === "task") c.arc(x, y, 4, 0, 7);
  else if (kind === "result") { c.moveTo(x, y - 5); c.lineTo(x + 5, y); c.lineTo(x, y + 5); c.lineTo(x - 5, y); c.closePath(); }
  else c.rect(x - 3.5, y - 3.5, 7, 7);
  c.fill();
  c.stroke();
}

// The view.

function lookAt(zoom, x = view.x, y = view.y) {
  view.zoom = Math.min(40, Math.max(1, zoom));
  const slack = 0.5 / view.zoom + (view.zoom > 1 ? 0.04 : 0);
  view.x = Math.min(1.04 - Math.min(0.54, slack), Math.max(Math.min(0.54, slack) - 0.04, x));
  view.y = Math.min(1.04 - Math.min(0.54, slack), Math.max(Math.min(0.54, slack) - 0.04, y));
  if (view.zoom === 1) view.x = view.y = 0.5;
  redraw("view");
}

/** Zooms so that the point below the pointer stays where it is. */
function zoomAt(factor, px = size.width / 2, py = (MARGIN.top + size.height - MARGIN.bottom) / 2) {
  const [w, h] = spread();
  const zoom = Math.min(40, Math.max(1, view.zoom * factor));
  const dx = px - size.width / 2, dy = py - (MARGIN.top + size.height - MARGIN.bottom) / 2;
  const share = 1 - view.zoom / zoom;
  lookAt(zoom, view.x + (dx / w) * share, view.y + (dy / h) * share);
}

function panBy(px, py) {
  const [w, h] = spread();
  lookAt(view.zoom, view.x - px / w, view.y - py / h);
}

/** Moves a node into view, and out of its group. */
function showNode(id) {
  const node = M.nodes.get(id);
  if (!node) return;
  if (itemsStale) arrange();
  let item = itemOf.get(id);
  for (let tries = 0; tries < 6; tries++) {
    arrange();
    item = itemOf.get(id);
    if (!item || item.node) break;
    lookAt(view.zoom * 2, node.x, node.y);
  }
  if (item && !isSeen(item, -20)) lookAt(view.zoom, node.x, node.y);
  redraw("view");
}

// Pointers.

function hitAt(x, y) {
  let best = null, nearest = Infinity;
  for (const item of items) {
    const away = Math.hypot(x - item.px, y - item.py) - item.r;
    if (away < 6 && away < nearest) { nearest = away; best = item; }
  }
  if (best) return best.node ? { type: "node", id: best.node.id, item: best } : { type: "group", item: best };
  nearest = 5;
  let edge = null;
  for (const one of edges) {
    const { a, b } = one;
    if (x < Math.min(a.px, b.px) - 5 || x > Math.max(a.px, b.px) + 5 || y < Math.min(a.py, b.py) - 5 || y > Math.max(a.py, b.py) + 5) continue;
    const away = distance(x, y, a.px, a.py, b.px, b.py) - widthOf(one.rate) / 2;
    if (away < nearest) { nearest = away; edge = one; }
  }
  return edge && edge.count === 1 ? { type: "link", key: edge.link.key } : null;
}

const pointers = new Map();
let dragged = null;

mapCanvas.addEventListener("pointerdown", (event) => {
  pointers.set(event.pointerId, place(event, mapCanvas));
  dragged = { moved: pointers.size > 1 };
  try { mapCanvas.setPointerCapture(event.pointerId); } catch { /* A pointer that a script made cannot be captured. */ }
});
mapCanvas.addEventListener("pointermove", (event) => {
  const [x, y] = place(event, mapCanvas);
  const before = pointers.get(event.pointerId);
  if (before && dragged) {
    if (!dragged.moved && Math.hypot(x - before[0], y - before[1]) < 5) return;
    dragged.moved = true;
    mapCanvas.classList.add("drag");
    const other = [...pointers].find(([id]) => id !== event.pointerId)?.[1];
    if (other) zoomAt(Math.hypot(x - other[0], y - other[1]) / Math.max(1, Math.hypot(before[0] - other[0], before[1] - other[1])), (x + other[0]) / 2, (y + other[1]) / 2);
    else panBy(x - before[0], y - before[1]);
    pointers.set(event.pointerId, [x, y]);
    return;
  }
  hover(hitAt(x, y), x, y);
});
function dropPointer(event) {
  pointers.delete(event.pointerId);
  if (event.type === "pointerup" && dragged && !dragged.moved) {
    const [x, y] = place(event, mapCanvas);
    const hit = hitAt(x, y);
    if (hit?.type === "group") lookAt(view.zoom * 2.2, hit.item.x, hit.item.y);
    else select(hit && (hit.type === "node" ? { type: "node", id: hit.id } : hit), "map");
  }
  if (pointers.size === 0) dragged = null;
  mapCanvas.classList.remove("drag");
}
mapCanvas.addEventListener("pointerup", dropPointer);
mapCanvas.addEventListener("pointercancel", dropPointer);
mapCanvas.addEventListener("pointerleave", () => hover(null));
mapCanvas.addEventListener("dblclick", (event) => zoomAt(2, ...place(event, mapCanvas)));
mapCanvas.addEventListener("wheel", (event) => {
  event.preventDefault();
  zoomAt(Math.exp(-event.deltaY * (event.deltaMode === 1 ? 30 : 1) * 0.002), ...place(event, mapCanvas));
}, { passive: false });

function hover(hit, x, y) {
  const tip = document.getElementById("tip");
  mapCanvas.classList.toggle("hit", hit !== null);
  const same = hit?.type === hovered?.type && hit?.id === hovered?.id && hit?.key === hovered?.key && hit?.item === hovered?.item;
  if (!same) { hovered = hit; redraw(); }
  tip.hidden = !hit;
  if (!hit) return;
  const [title, ...more] = tipFor(hit);
  tip.replaceChildren(make("b", {}, title), ...more.map((text) => make("span", {}, text)));
  const box = tip.getBoundingClientRect();
  tip.style.left = Math.max(4, Math.min(x + 14, size.width - box.width - 8)) + "px";
  tip.style.top = Math.max(4, Math.min(y + 16, size.height - box.height - 6)) + "px";
}

/** Selects the nearest node in a direction, seen from the selected one. */
function step(dx, dy) {
  const from = itemOf.get(M.selected?.id) ?? itemOf.get(M.self) ?? items[0];
  if (!from) return;
  if (M.selected?.type !== "node") { choose(from); return; }
  let best = null, least = Infinity;
  for (const item of items) {
    const x = item.px - from.px, y = item.py - from.py;
    const along = x * dx + y * dy, across = Math.abs(x * dy - y * dx);
    if (item === from || along <= 0 || across > along * 1.8) continue;
    const cost = along + across * 1.6;
    if (cost < least) { least = cost; best = item; }
  }
  if (best) choose(best);
}

function choose(item) {
  select({ type: "node", id: item.members[0].id }, "keys");
}

mapCanvas.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const act = {
    ArrowLeft: () => step(-1, 0), ArrowRight: () => step(1, 0), ArrowUp: () => step(0, -1), ArrowDown: () => step(0, 1),
    // The details of a node that was chosen a moment ago may not be drawn yet.
    Enter: () => { drawStale(); document.querySelector("#details button")?.focus(); },
  }[event.key];
  if (act) { event.preventDefault(); event.stopPropagation(); act(); }
});
new ResizeObserver(() => redraw("view")).observe(document.getElementById("stage"));
motionOff.addEventListener("change", () => { flights.length = 0; frame(); });
