// Charts of runs' numbers over each other, drawn by uPlot.
import { html, useState, useEffect, useRef, ask, query, number, span, useChanges } from './core.js';
import { Fault } from './ui.js';
import { script } from './palette.js';

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

/** Lines of one key as uPlot takes them: one x for all. */
export function joined(runs, key, options) {
  const per = runs.map(r => {
    const found = r.lines[key] ?? { x: [], y: [] };
    const start = options.x === 'relative' ? found.x[0] ?? 0 : 0;
    return { x: found.x.map(v => v - start), y: smooth(found.y, options.smooth) };
  });
  if (per.length === 1) return [per[0].x, per[0].y];
  const xs = [...new Set(per.flatMap(p => p.x))].sort((a, b) => a - b);
  return [xs, ...per.map(p => {
    const by = new Map(p.x.map((x, i) => [x, p.y[i]]));
    return xs.map(x => by.get(x));
  })];
}

const shownX = { _step: 'step', _runtime: 'seconds of the run', relative: 'time since its start', _timestamp: 'time' };

function Plot({ title, data, names, options }) {
  const box = useRef();
  const plot = useRef();
  const [ready, set] = useState(false);
  const [themed, theme] = useState(0);
  useEffect(() => {
    const changed = () => theme(n => n + 1);
    addEventListener('themechange', changed);
    return () => removeEventListener('themechange', changed);
  }, []);
  useEffect(() => { script('./uplot.js', 'uPlot').then(() => set(true)); }, []);
  useEffect(() => {
    if (!ready) return undefined;
    const css = getComputedStyle(document.documentElement);
    const axis = { stroke: css.getPropertyValue('--quiet'), grid: { stroke: css.getPropertyValue('--line'), width: 1 }, ticks: { stroke: css.getPropertyValue('--line'), width: 1 } };
    const made = plot.current = new window.uPlot({
      width: box.current.clientWidth, height: 220,
      cursor: { sync: { key: 'charts' }, drag: { x: true, y: false } },
      scales: { x: { time: options.x === '_timestamp' }, y: { distr: options.log ? 3 : 1 } },
      axes: [{ ...axis, values: options.x === 'relative' ? (u, at) => at.map(span) : undefined }, { ...axis, size: 64, values: (u, at) => at.map(v => v === null ? '' : number(v)) }],
      legend: { show: names.length <= 6 },
      series: [{ label: shownX[options.x] }, ...names.map((label, i) => ({ label, stroke: colour(i), width: 1.5, spanGaps: true, points: { show: data[0].length < 60 }, value: (u, v) => v === null || v === undefined ? '' : number(v) }))],
    }, options.log ? data.map((d, i) => i === 0 ? d : d.map(v => v > 0 ? v : v === undefined ? undefined : null)) : data, box.current);
    const sized = new ResizeObserver(() => { if (box.current) made.setSize({ width: box.current.clientWidth, height: 220 }); });
    sized.observe(box.current);
    return () => { sized.disconnect(); made.destroy(); plot.current = null; };
  }, [ready, themed, options.x, options.log, names.join('\n')]);
  useEffect(() => { plot.current?.setData(options.log ? data.map((d, i) => i === 0 ? d : d.map(v => v > 0 ? v : v === undefined ? undefined : null)) : data); }, [data]);
  const ends = names.map((n, i) => { const v = data[i + 1].filter(y => y !== null && y !== undefined); return v.length ? `${n}: last ${number(v.at(-1))}, from ${number(v.reduce((a, b) => a < b ? a : b))} to ${number(v.reduce((a, b) => a > b ? a : b))}` : `${n}: none`; });
  return html`<figure><figcaption><bdi>${title}</bdi></figcaption><div ref=${box} role="img" aria-label=${`Chart of ${title}. ${ends.slice(0, 5).join('; ')}`}></div></figure>`;
}

/** Charts of keys for runs of a project; drawn are those that are asked for. */
export function Charts({ entity, project, runs, keys, options }) {
  const [state, set] = useState({ data: null, error: null });
  const key = keys.join('\n');
  const x = options.x === 'relative' ? '_timestamp' : options.x;
  const load = async () => {
    if (!keys.length || !runs.length) { set({ data: [], error: null }); return; }
    try {
      const answer = await ask(query('/page/run/history', { entity, project, runs: runs.map(r => r.name).join(','), keys: key, x, points: Math.max(400, Math.min(2000, innerWidth)) }));
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
    <div class="charts">${state.data === null ? html`<p class="quiet">Loading …</p>` : keys.map(k => html`<${Plot} key=${k} title=${k} names=${names} options=${options} data=${joined(state.data, k, options)} />`)}</div>`;
}

/** How charts are drawn: kept in the address. */
export function ChartOptions({ query: q, set }) {
  const smoothing = Number(q.get('smooth') ?? 0);
  return html`<div class="tools"><label>Over <select value=${q.get('x') ?? '_step'} onChange=${e => set({ x: e.target.value === '_step' ? null : e.target.value })}>${Object.entries(shownX).map(([k, t]) => html`<option value=${k} selected=${k === (q.get('x') ?? '_step')}>${t}</option>`)}</select></label>
    <label>Smoothing <input type="range" min="0" max="0.99" step="0.01" value=${smoothing} onInput=${e => set({ smooth: Number(e.target.value) || null })} /> ${smoothing || 'none'}</label>
    <label><input type="checkbox" checked=${!!q.get('log')} onChange=${e => set({ log: e.target.checked ? 1 : null })} /> logarithmic</label></div>`;
}
export const optionsOf = q => ({ x: q.get('x') in shownX ? q.get('x') : '_step', smooth: Math.min(0.99, Math.max(0, Number(q.get('smooth')) || 0)), log: !!q.get('log') });
