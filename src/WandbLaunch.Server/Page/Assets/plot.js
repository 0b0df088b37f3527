// Lines on a canvas. Each has an x and a y of its own, so that runs of any steps lie over each other as they are.
import { number, span } from './core.js';

const height = 220;
const edge = { left: 64, right: 10, top: 8, bottom: 22 };
const steps = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800, 2592000, 31536000];

// Round values between two others, at most so many: also where a step is lost in rounding.
function ticks(from, to, most, kind) {
  let step = 10 ** Math.floor(Math.log10((to - from) / most));
  step *= [1, 2, 5, 10].find(f => (to - from) / (step * f) <= most) ?? 10;
  if (kind === 'time' && step >= 1) step = steps.find(s => (to - from) / s <= most) ?? step;
  // A day begins where the reader is.
  const shift = kind === 'time' && step >= 3600 && from > 1e8 ? new Date(from * 1000).getTimezoneOffset() * 60 : 0;
  const all = [];
  for (let i = Math.ceil((from - shift) / step); i * step + shift <= to && all.length <= most; i++) all.push(+(i * step + shift).toPrecision(14));
  return all;
}

function powers(from, to, most) {
  const [a, b] = [Math.ceil(Math.log10(from) - 1e-9), Math.floor(Math.log10(to) + 1e-9)];
  const every = Math.ceil((b - a + 1) / most);
  const all = [];
  for (let i = a; i <= b; i += every) all.push(10 ** i);
  return all.length > 1 ? all : ticks(from, to, most);
}

const clock = (t, range) => new Date(t * 1000).toLocaleString(undefined, range < 120 ? { hour: '2-digit', minute: '2-digit', second: '2-digit' } : range < 172800 ? { hour: '2-digit', minute: '2-digit' } : { month: 'short', day: 'numeric' });
export const xText = (x, value, range = 0) => x === '_timestamp' ? clock(value, range) : x === 'relative' || x === '_runtime' ? span(value) : number(value);

function nearest(xs, x) {
  let [low, high] = [0, xs.length - 1];
  while (high - low > 1) { const middle = low + high >> 1; if (xs[middle] <= x) low = middle; else high = middle; }
  return high > low && xs[high] - x < x - xs[low] ? high : low;
}

const plots = new Set();

export class Plot {
  /** Draws into a box; tell(x, [[line, y]…]) says what is below the pointer. */
  constructor(box, tell) {
    Object.assign(this, { box, tell, lines: [], zoom: null });
    this.canvas = box.appendChild(document.createElement('canvas'));
    this.mark = box.appendChild(document.createElement('i'));
    this.mark.hidden = true;
    this.again = () => this.draw();
    this.sized = new ResizeObserver(this.again);
    this.sized.observe(box);
    this.scheme = matchMedia('(prefers-color-scheme: dark)');
    this.scheme.addEventListener('change', this.again);
    addEventListener('themechange', this.again);
    let start = null;
    const at = e => { const left = this.canvas.getBoundingClientRect().left + edge.left; return this.x0 + Math.min(1, Math.max(0, (e.clientX - left) / this.width)) * (this.x1 - this.x0); };
    this.canvas.onpointerdown = e => { start = at(e); this.canvas.setPointerCapture(e.pointerId); };
    this.canvas.onpointermove = e => { const x = at(e); for (const plot of plots) plot.point(x, plot === this ? start : null); };
    this.canvas.onpointerleave = () => { for (const plot of plots) plot.point(null); };
    this.canvas.onpointerup = e => {
      const x = at(e);
      if (start !== null && Math.abs(x - start) > (this.x1 - this.x0) / 50) this.look([Math.min(x, start), Math.max(x, start)]);
      start = null;
    };
    this.canvas.ondblclick = () => this.look(null);
    plots.add(this);
  }

  look(zoom) { this.zoom = zoom; this.draw(); }

  set(lines, options) {
    if (options.x !== this.options?.x) this.zoom = null;
    Object.assign(this, { lines, options });
    this.draw();
  }

  destroy() {
    plots.delete(this);
    this.sized.disconnect();
    this.scheme.removeEventListener('change', this.again);
    removeEventListener('themechange', this.again);
    this.canvas.remove();
    this.mark.remove();
  }

  // What is seen of x and y.
  ranges() {
    let [x0, x1, y0, y1] = [Infinity, -Infinity, Infinity, -Infinity];
    for (const { x } of this.lines) for (const v of x) { if (v < x0) x0 = v; if (v > x1) x1 = v; }
    if (this.zoom) [x0, x1] = this.zoom;
    for (const { x, y } of this.lines) {
      for (let i = 0; i < x.length; i++) {
        const v = y[i];
        if (v === null || x[i] < x0 || x[i] > x1 || this.options.log && v <= 0) continue;
        if (v < y0) y0 = v;
        if (v > y1) y1 = v;
      }
    }
    if (!(x0 <= x1)) [x0, x1] = [0, 1];
    if (!(y0 <= y1)) [y0, y1] = this.options.log ? [0.1, 1] : [0, 1];
    if (x0 === x1) [x0, x1] = [x0 - 0.5, x1 + 0.5];
    // What differs by rounding alone, as a smoothed constant does, is a flat line.
    const flat = y1 - y0 <= Math.abs(y1) * 1e-12;
    const around = flat ? Math.abs(y0) / 10 || 1 : (y1 - y0) / 25;
    if (this.options.log) [y0, y1] = flat ? [y0 / 2, y1 * 2] : [y0 / 1.1, y1 * 1.1];
    else [y0, y1] = [y0 - around, y1 + around];
    return [x0, x1, y0, y1];
  }

  draw() {
    const whole = this.box.clientWidth;
    if (!whole || !this.options) return;
    const { x: kind, log } = this.options;
    const [x0, x1, y0, y1] = this.ranges();
    const width = Math.max(10, whole - edge.left - edge.right);
    const tall = height - edge.top - edge.bottom;
    Object.assign(this, { x0, x1, width });
    const scale = devicePixelRatio || 1;
    const { canvas } = this;
    canvas.width = whole * scale;
    canvas.height = height * scale;
    canvas.style.width = `${whole}px`;
    canvas.style.height = `${height}px`;
    const c = canvas.getContext('2d');
    c.scale(scale, scale);
    const css = getComputedStyle(this.box);
    const colour = name => css.getPropertyValue(name);
    const toX = v => edge.left + (v - x0) / (x1 - x0) * width;
    const [b0, b1] = log ? [Math.log(y0), Math.log(y1)] : [y0, y1];
    const toY = v => edge.top + (1 - ((log ? Math.log(v) : v) - b0) / (b1 - b0)) * tall;
    c.font = `12px ${css.fontFamily}`;
    c.strokeStyle = colour('--line');
    c.fillStyle = colour('--quiet');
    c.beginPath();
    c.textAlign = 'end';
    c.textBaseline = 'middle';
    for (const v of log ? powers(y0, y1, 6) : ticks(y0, y1, 5)) { const y = Math.round(toY(v)) + 0.5; c.moveTo(edge.left, y); c.lineTo(edge.left + width, y); c.fillText(number(v), edge.left - 6, y); }
    c.textAlign = 'center';
    c.textBaseline = 'top';
    for (const v of ticks(x0, x1, Math.max(2, Math.floor(width / 90)), kind === '_step' ? '' : 'time')) { const x = Math.round(toX(v)) + 0.5; c.moveTo(x, edge.top); c.lineTo(x, edge.top + tall); c.fillText(xText(kind, v, x1 - x0), x, edge.top + tall + 5); }
    c.stroke();
    c.beginPath();
    c.rect(edge.left, edge.top, width, tall);
    c.clip();
    c.lineWidth = 1.5;
    c.lineJoin = 'round';
    for (const { x, y, colour: own } of this.lines) {
      c.strokeStyle = c.fillStyle = own;
      c.beginPath();
      let on = false;
      for (let i = 0; i < x.length; i++) {
        const v = y[i];
        if (v === null || log && v <= 0) { on = false; continue; }
        if (on) c.lineTo(toX(x[i]), toY(v)); else c.moveTo(toX(x[i]), toY(v));
        on = true;
      }
      c.stroke();
      if (x.length < 60) for (let i = 0; i < x.length; i++) if (y[i] !== null && !(log && y[i] <= 0)) { c.beginPath(); c.arc(toX(x[i]), toY(y[i]), 2.5, 0, 7); c.fill(); }
    }
  }

  point(x, start = null) {
    const inside = x !== null && x >= this.x0 && x <= this.x1;
    this.mark.hidden = !inside;
    if (!inside) { this.tell(null); return; }
    const at = v => edge.left + (v - this.x0) / (this.x1 - this.x0) * this.width;
    const from = start ?? x;
    this.mark.style.left = `${Math.min(at(x), at(from))}px`;
    this.mark.style.width = `${Math.abs(at(x) - at(from))}px`;
    this.tell(x, this.lines.slice(0, 6).filter(l => l.x.length).map(l => [l, l.y[nearest(l.x, x)]]));
  }
}
