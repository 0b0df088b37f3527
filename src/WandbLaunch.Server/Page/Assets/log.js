// A run's log, as it comes: its colours, a search, and the end in sight for as long as one is at the end.
import { html, useState, useEffect, useRef, ask, query, useChanges } from './core.js';
import { Fault } from './ui.js';
import { Colours } from './ansi.js';

// What overwrote its own line (progress bars) shows what stood there last.
const last = line => { const parts = line.replace(/\r+$/, '').split('\r'); return parts[parts.length - 1]; };

const page = 2000;

export default function Log({ entity, project, run, running, short }) {
  const [lines, set] = useState([]);
  const [total, count] = useState(0);
  const [error, fail] = useState(null);
  const [text, type] = useState('');
  const known = useRef({ from: null, next: -page, lines: [], busy: false });
  const box = useRef();
  const atEnd = useRef(true);
  const load = async () => {
    const k = known.current;
    if (k.busy) return;
    k.busy = true;
    try {
      for (;;) {
        const part = await ask(query('/page/run/log', { entity, project, run, from: k.next, first: page }));
        k.from ??= part.from;
        // The last line may have been sent again, longer.
        const keep = k.lines.slice(0, part.from - k.from);
        k.lines = [...keep, ...part.lines].slice(-20000);
        k.from = part.from + part.lines.length - k.lines.length;
        k.next = Math.max(0, part.from + part.lines.length - (part.lines.length ? 1 : 0));
        count(part.total);
        set(k.lines);
        fail(null);
        if (part.from + part.lines.length >= part.total || part.lines.length <= 1) break;
      }
    } catch (e) {
      if (e.status !== 401) fail(e);
    } finally {
      k.busy = false;
    }
  };
  useEffect(() => { load(); }, []);
  useChanges(load, c => c.runs && (c.runs.length === 0 || c.runs.includes(`${entity}/${project}/${run}`)), []);
  useEffect(() => { if (atEnd.current && box.current) box.current.scrollTop = box.current.scrollHeight; });
  const earlier = async () => {
    const k = known.current;
    const from = Math.max(0, k.from - page);
    const part = await ask(query('/page/run/log', { entity, project, run, from, first: k.from - from }));
    atEnd.current = false;
    k.lines = [...part.lines, ...k.lines];
    k.from = from;
    set(k.lines);
  };
  const found = text ? lines.filter(l => l.toLowerCase().includes(text.toLowerCase())) : lines;
  const shown = found.slice(short ? -200 : -5000);
  const ansi = new Colours();
  return html`<div class="log"><div class="tools"><input type="search" class="search" aria-label="Search the log" placeholder="Search the log" value=${text} onInput=${e => type(e.target.value)} />
    <span class="quiet">${text ? `${found.length} of ${lines.length} lines` : `${total.toLocaleString()} lines`}</span>
    ${known.current.from > 0 && !short && html`<button type="button" onClick=${earlier}>Earlier lines</button>`}</div>
    <${Fault} error=${error} />
    ${lines.length === 0 ? html`<p class="quiet">${running ? 'Nothing was written yet.' : 'There is no log.'}</p>`
    : html`<pre class="block" tabindex="0" role="log" aria-live="off" aria-label="Log" ref=${box} onScroll=${e => { atEnd.current = e.target.scrollHeight - e.target.scrollTop - e.target.clientHeight < 30; }}>${shown.map(l => html`<div>${ansi.read(last(l)).map(p => html`<span class=${p.classes} style=${p.style}>${p.text}</span>`)}${'\n'}</div>`)}</pre>`}</div>`;
}
