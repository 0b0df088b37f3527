// Charts of runs' numbers over each other, over step or time, smoothed and logarithmic where asked.
import { html, useState, useEffect, useRef, useMemo, ask, query, number, useChanges } from './core.js';
import { Fault } from './ui.js';
import { Plot, xText } from './plot.js';

// Told apart on light and on dark, and by those who see fewer colours.
const colours = ['#4c78d8', '#e07b39', '#3a9e5c', '#c94f7c', '#8a63d2', '#a98600', '#1f9aa8', '#d0504a', '#6b7f2a', '#a05fa6'];
export const colour = i => colours[i % colours.length];

/** An exponential average that leaves gaps as they are. */
export function smooth(values, weight) {
  if (!weight) return values;
  let last = null;
  let seen = 0;
  return values.map(v => {
    if (v === null) return null;
    last = (last ?? 0) * weight + v * (1 - weight);
    seen++;
    return last / (1 - weight ** seen);
  });
}

/** Lines of one key, each with its own x. */
export const linesOf = (runs, key, options) => runs.map((r, i) => {
  const found = r.lines[key] ?? { x: [], y: [] };
  const start = options.x === 'relative' ? found.x[0] ?? 0 : 0;
  return { x: start ? found.x.map(v => v - start) : found.x, y: smooth(found.y, options.smooth), colour: colour(i) };
});

const shownX = { _step: 'step', _runtime: 'seconds of the run', relative: 'time since its start', _timestamp: 'time' };

function Chart({ title, runs, names, options }) {
  const box = useRef();
  const plot = useRef();
  const [below, tell] = useState('');
  const lines = useMemo(() => linesOf(runs, title, options), [runs, title, options.x, options.smooth]);
  useEffect(() => {
    plot.current = new Plot(box.current, (x, found) => tell(x === null ? '' : `${xText(plot.current.options.x, x)}: ${found.map(([l, y]) => (plot.current.lines.length > 1 ? plot.current.names[plot.current.lines.indexOf(l)] + ' ' : '') + number(y)).join(', ')}`));
    return () => plot.current.destroy();
  }, []);
  useEffect(() => { plot.current.names = names; plot.current.set(lines, options); }, [lines, options.log]);
  const ends = lines.slice(0, 5).map((l, i) => { const v = l.y.filter(y => y !== null); return v.length ? `${names[i]}: last ${number(v.at(-1))}, from ${number(v.reduce((a, b) => a < b ? a : b))} to ${number(v.reduce((a, b) => a > b ? a : b))}` : `${names[i]}: none`; });
  return html`<figure><figcaption><bdi>${title}</bdi></figcaption><div class="plot" ref=${box} role="img" title="Drag to look closer; double-click for all of it" aria-label=${`Chart of ${title}. ${ends.join('; ')}`}></div><p class="hint" aria-hidden="true"><bdi>${below}</bdi> </p></figure>`;
}

/** Charts of keys for runs of a project; drawn are those that are asked for. */
export function Charts({ entity, project, runs, keys, options }) {
  const [state, set] = useState({ data: null, error: null });
  const key = keys.join('\n');
  const x = options.x === 'relative' ? '_timestamp' : options.x;
  const load = async () => {
    if (!keys.length || !runs.length) { set({ data: [], error: null }); return; }
    try {
      const answer = await ask(query('/page/run/history', { entity, project, runs: runs.map(r => r.name).join(','), keys: key, x, points: runs.length > 4 ? 800 : 2000 }));
      set({ data: answer.runs, error: null });
    } catch (e) {
      if (e.status !== 401) set(old => ({ data: old.data, error: e }));
    }
  };
  useEffect(() => { load(); }, [entity, project, runs.map(r => r.name).join(','), key, x]);
  useChanges(load, c => c.runs && (c.runs.length === 0 || runs.some(r => c.runs.includes(`${entity}/${project}/${r.name}`))), [key, x, runs.map(r => r.name).join(',')]);
  const names = state.data?.map(d => runs.find(r => r.name === d.name)?.displayName || d.name) ?? [];
  return html`<${Fault} error=${state.error} />
    ${names.length > 1 && html`<ul class="legend">${names.map((n, i) => html`<li><span class="dot" style=${{ background: colour(i) }}></span><bdi>${n}</bdi></li>`)}</ul>`}
    <div class="charts">${state.data === null ? html`<p class="quiet">Loading …</p>` : keys.map(k => html`<${Chart} key=${k} title=${k} runs=${state.data} names=${names} options=${options} />`)}</div>`;
}

/** How charts are drawn: kept in the address. */
export function ChartOptions({ query: q, set }) {
  const smoothing = Number(q.get('smooth') ?? 0);
  return html`<div class="tools"><label>Over <select value=${q.get('x') ?? '_step'} onChange=${e => set({ x: e.target.value === '_step' ? null : e.target.value })}>${Object.entries(shownX).map(([k, t]) => html`<option value=${k} selected=${k === (q.get('x') ?? '_step')}>${t}</option>`)}</select></label>
    <label>Smoothing <input type="range" min="0" max="0.99" step="0.01" value=${smoothing} onInput=${e => set({ smooth: Number(e.target.value) || null })} /> ${smoothing || 'none'}</label>
    <label><input type="checkbox" checked=${!!q.get('log')} onChange=${e => set({ log: e.target.checked ? 1 : null })} /> logarithmic</label></div>`;
}
export const optionsOf = q => ({ x: q.get('x') in shownX ? q.get('x') : '_step', smooth: Math.min(0.99, Math.max(0, Number(q.get('smooth')) || 0)), log: !!q.get('log') });
