// Drawing that the dashboard and the simulator's timeline share: colours, a canvas of the right size, shapes, distances.
// Text from outside is inserted as text, never as markup.

const COLOURS = {
  light: {
    paper: "#fbfbf9", panel: "#ffffff", lane: "#f4f5f2", ink: "#1d2127", soft: "#5d6673", faint: "#a2aab4", line: "#e4e5e1",
    run: "#0b6bb5", good: "#00865f", bad: "#d0451b", slow: "#e08e00",
  },
  dark: {
    paper: "#12151a", panel: "#191d24", lane: "#161a20", ink: "#e8eaed", soft: "#a3acb9", faint: "#67717e", line: "#272d36",
    run: "#3a8fdc", good: "#3ecf9f", bad: "#ff7048", slow: "#ffb638",
  },
};
const FONT = getComputedStyle(document.body).fontFamily;

/** Makes an element; strings among its children become text. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "colour") element.style.setProperty("--c", value);
    else element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** Returns where a pointer is on a canvas. */
const place = (event, canvas) => { const box = canvas.getBoundingClientRect(); return [event.clientX - box.left, event.clientY - box.top]; };

/** Clears a canvas and matches its pixels to its size on the screen. */
function fit(canvas) {
  const ratio = window.devicePixelRatio || 1;
  const width = canvas.clientWidth, height = canvas.clientHeight;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  const c = canvas.getContext("2d");
  c.setTransform(ratio, 0, 0, ratio, 0, 0);
  c.clearRect(0, 0, width, height);
  return [c, width, height];
}

const hatches = new Map();
/** Slanted stripes: distinguish faults without colour, and groups by the slant. */
function hatch(c, colour, alpha, slant) {
  const key = `${colour} ${alpha} ${slant}`;
  if (!hatches.has(key)) {
    const tile = document.createElement("canvas");
    tile.width = tile.height = 8;
    const t = tile.getContext("2d");
    t.strokeStyle = `rgba(${colour},${alpha})`;
    t.lineWidth = 1.6;
    t.beginPath();
    for (const shift of [-8, 0, 8]) {
      if (slant) { t.moveTo(shift, 0); t.lineTo(shift + 8, 8); } else { t.moveTo(shift, 8); t.lineTo(shift + 8, 0); }
    }
    t.stroke();
    hatches.set(key, c.createPattern(tile, "repeat"));
  }
  return hatches.get(key);
}

function label(c, text, x, y, colour, pixels, weight = 400) {
  c.font = `${weight} ${pixels}px ${FONT}`;
  c.fillStyle = colour;
  c.textBaseline = "middle";
  c.fillText(text, x, y);
}

function bar(c, x0, x1, y, h, colour) {
  c.fillStyle = colour;
  c.beginPath();
  c.roundRect(x0, y, Math.max(1, x1 - x0), h, Math.min(3, h / 2, Math.max(0, (x1 - x0) / 2)));
  c.fill();
}

/** Cuts a text to a width. */
function shorten(c, text, room) {
  if (c.measureText(text).width <= room) return text;
  let length = text.length;
  while (length > 1 && c.measureText(text.slice(0, length) + "…").width > room) length--;
  return text.slice(0, length) + "…";
}

/** Returns the distance of a point from a line. */
function distance(px, py, x0, y0, x1, y1) {
  const length = (x1 - x0) ** 2 + (y1 - y0) ** 2;
  const t = length ? Math.max(0, Math.min(1, ((px - x0) * (x1 - x0) + (py - y0) * (y1 - y0)) / length)) : 0;
  return Math.hypot(px - x0 - t * (x1 - x0), py - y0 - t * (y1 - y0));
}
