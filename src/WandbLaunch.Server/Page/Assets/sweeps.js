// Sweeps of a project; one of them: its runs, the best first, and each parameter against the metric.
import { html, useData, query as url, path, runPath, number, psText } from './core.js';
import { Time, Took, State, Empty, Loaded, ProjectHead } from './ui.js';

export default function Sweeps({ entity, project, sweep }) {
  return sweep ? html`<${Sweep} entity=${entity} project=${project} sweep=${sweep} />` : html`<${ProjectHead} entity=${entity} project=${project} part="sweeps" /><${List} entity=${entity} project=${project} />`;
}

const done = s => s.expected ? `${number(s.runs)} of ${number(s.expected)}` : number(s.runs);

function List({ entity, project }) {
  const sweeps = useData(url('/page/sweeps', { entity, project }), c => c.sweeps || c.runs);
  return html`<${Loaded} of=${sweeps}>${({ sweeps: all, total }) => all.length === 0
    ? html`<${Empty} title="This project has no sweep." command=${`$env:WANDB_BASE_URL = '${location.origin}'\nwandb sweep --entity ${psText(entity)} --project ${psText(project)} sweep.yaml`}><p>A sweep tries a program with many parameters. From a file that says which:</p><//>`
    : html`<div class="scroll" tabindex="0" role="region" aria-label="Sweeps"><table><thead><tr><th scope="col">Sweep</th><th scope="col">State</th><th scope="col">Method</th><th scope="col" class="n">Runs</th><th scope="col" class="n">Running</th><th scope="col">Metric</th><th scope="col" class="n">Best</th><th scope="col">Created</th></tr></thead>
      <tbody>${all.map(s => html`<tr key=${s.name}><td><a href=${path(entity, project, 'sweeps', s.name)}><bdi>${s.displayName}</bdi></a></td><td><${State} state=${s.state} /></td><td>${s.method}</td><td class="n">${done(s)}</td><td class="n">${number(s.open)}</td><td><bdi>${s.metric}</bdi></td><td class="n">${number(s.best)}</td><td><${Time} at=${s.createdAt} /></td></tr>`)}</tbody></table></div>
      ${total > all.length && html`<p class="quiet">The newest ${all.length} of ${number(total)}.</p>`}`}<//>`;
}

function Sweep({ entity, project, sweep }) {
  const mine = c => c.sweeps || c.runs && (c.runs.length === 0 || c.runs.some(r => r.startsWith(`${entity}/${project}/`)));
  const data = useData(url('/page/sweep', { entity, project, sweep }), mine);
  return html`<p class="crumbs"><a href="/">Projects</a> / <a href=${path(entity, project)}><bdi>${entity}/${project}</bdi></a> / <a href=${path(entity, project, 'sweeps')}>Sweeps</a></p><${Loaded} of=${data}>${d => {
    const s = d.sweep;
    const best = d.runs[0]?.value ?? null;
    return html`<h1><bdi>${s.displayName}</bdi> <${State} state=${s.state} /></h1>
      <dl class="facts"><dt>Id</dt><dd><code>${s.name}</code></dd><dt>Method</dt><dd>${s.method}</dd><dt>Created</dt><dd><${Time} at=${s.createdAt} /> by <bdi>${s.user}</bdi></dd><dt>Runs</dt><dd>${done(s)}, ${number(s.open)} not done</dd>
        ${s.metric && html`<dt>Metric</dt><dd><bdi>${s.metric}</bdi>, to ${d.goal}${best !== null && html`; best so far <strong>${number(best)}</strong>`}</dd>`}${d.description && html`<dt>Description</dt><dd class="notes-text"><bdi>${d.description}</bdi></dd>`}
        <dt>Agents</dt><dd>${d.agents.length === 0 ? html`<span class="quiet">none; start one with <code>wandb agent ${psText(`${entity}/${project}/${s.name}`)}</code></span>` : d.agents.map(a => html`<span class="chip"><bdi>${a.host}</bdi>: ${a.made} runs, <${Time} at=${a.heartbeatAt} /></span>`)}</dd></dl>
      ${s.metric && d.parameters.length > 0 && best !== null && html`<h2>Parameters against <bdi>${s.metric}</bdi></h2><div class="charts">${d.parameters.slice(0, 12).map((p, i) => html`<${Scatter} key=${p} name=${p} metric=${s.metric} points=${d.runs.filter(r => r.value !== null && r.values[i] !== null).map(r => ({ x: r.values[i], y: r.value, title: r.displayName, best: r === d.runs[0] }))} />`)}</div>`}
      <h2>Runs, the best first</h2>${d.runs.length === 0 ? html`<p class="quiet">None yet: an agent makes them.</p>` : html`<div class="scroll" tabindex="0" role="region" aria-label="Runs of the sweep"><table><thead><tr><th scope="col">Run</th><th scope="col">State</th>${s.metric && html`<th scope="col" class="n"><bdi>${s.metric}</bdi></th>`}${d.parameters.map(p => html`<th scope="col"><bdi>${p}</bdi></th>`)}<th scope="col">Took</th></tr></thead>
        <tbody>${d.runs.map(r => html`<tr key=${r.name}><td class="long"><a href=${runPath(entity, project, r.name)}><bdi>${r.displayName}</bdi></a></td><td><${State} state=${r.state} /></td>${s.metric && html`<td class="n">${number(r.value)}</td>`}${r.values.map(v => html`<td class=${typeof v === 'number' ? 'n' : 'long'}><bdi>${number(v)}</bdi></td>`)}<td><${Took} from=${r.createdAt} to=${r.state === 'running' ? null : r.heartbeatAt} /></td></tr>`)}</tbody></table></div>
        ${d.total > d.runs.length && html`<p class="quiet">The best ${number(d.runs.length)} of ${number(d.total)}; <a href=${path(entity, project) + '?filter=' + encodeURIComponent(JSON.stringify([['sweep', '=', s.name]]))}>all of them</a>.</p>`}`}
      <h2>Configuration</h2><pre class="block" tabindex="0" aria-label="Configuration">${d.config}</pre>`;
  }}<//>`;
}

/** A point for each run: its parameter to the right, its metric upwards. Words stand beside each other; numbers of many sizes are logarithmic. */
function Scatter({ name, metric, points }) {
  if (points.length === 0) return null;
  const numbers = points.every(p => typeof p.x === 'number');
  const words = numbers ? [] : [...new Set(points.map(p => String(p.x)))].sort();
  const xs = points.map(p => numbers ? p.x : words.indexOf(String(p.x)));
  const ys = points.map(p => p.y);
  const ends = all => [all.reduce((a, b) => Math.min(a, b)), all.reduce((a, b) => Math.max(a, b))];
  const [x0, x1] = ends(xs);
  const [y0, y1] = ends(ys);
  const log = numbers && x0 > 0 && x1 / x0 > 30;
  const part = (v, a, b) => b > a ? (v - a) / (b - a) : 0.5;
  const x = v => 10 + 280 * (log ? part(Math.log(v), Math.log(x0), Math.log(x1)) : part(v, x0, x1));
  const text = numbers ? `${number(x0)} to ${number(x1)}${log ? ', logarithmic' : ''}` : words.slice(0, 8).join(', ');
  return html`<figure><figcaption><bdi>${name}</bdi></figcaption><svg viewBox="0 0 300 120" role="img" aria-label=${`${name} (${text}) against ${metric} (${number(y0)} to ${number(y1)}), ${points.length} runs`}>${points.map((p, i) => html`<circle class=${p.best ? 'fill-finished' : 'fill-running'} cx=${x(xs[i])} cy=${110 - 100 * part(p.y, y0, y1)} r=${p.best ? 5 : 3}><title>${`${p.title}: ${name} ${number(p.x)}, ${metric} ${number(p.y)}`}</title></circle>`)}</svg><p class="hint">→ ${text}; ↑ ${number(y0)} to ${number(y1)}</p></figure>`;
}
