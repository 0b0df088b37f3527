// Runs beside each other: in what they differ, and their numbers over each other.
import { html, useState, useData, query as url, go, at, path, runPath, number } from './core.js';
import { State, Loaded, Took, Time } from './ui.js';
import { Charts, ChartOptions, optionsOf, colour } from './chart.js';

const atOnce = 6;

export default function Compare({ entity, project, query }) {
  const runs = query.get('compare');
  const data = useData(url('/page/runs/compare', { entity, project, runs }), c => c.runs && (c.runs.length === 0 || runs.split(',').some(r => c.runs.includes(`${entity}/${project}/${r}`))));
  const [more, grow] = useState(atOnce);
  return html`<p class="crumbs"><a href="/">Projects</a> / <a href=${at({ compare: null })}><bdi>${entity}/${project}</bdi></a></p><h1>Compare runs</h1>
    <${Loaded} of=${data}>${({ runs: all, lines, same, keys }) => all.length === 0 ? html`<p>None of these runs is there. <a href=${path(entity, project)}>All runs</a></p>` : html`
      <h2>Differences</h2><p class="quiet">${lines.length === 0 ? 'Config and summary are the same.' : `${lines.length} values differ; ${same} are the same.`}</p>
      <div class="scroll" tabindex="0" role="region" aria-label="Differences"><table><thead><tr><th scope="col">Key</th>${all.map((r, i) => html`<th scope="col"><span class="dot" style=${{ background: colour(i) }}></span> <a href=${runPath(entity, project, r.name)}><bdi>${r.displayName}</bdi></a></th>`)}</tr></thead>
        <tbody><tr><th scope="row">State</th>${all.map(r => html`<td><${State} state=${r.state} /></td>`)}</tr><tr><th scope="row">Created</th>${all.map(r => html`<td><${Time} at=${r.createdAt} /></td>`)}</tr><tr><th scope="row">Took</th>${all.map(r => html`<td><${Took} from=${r.createdAt} to=${r.state === 'running' ? null : r.heartbeatAt} /></td>`)}</tr>
          ${lines.map(l => html`<tr key=${l.key}><th scope="row"><bdi>${l.key}</bdi></th>${l.values.map(v => html`<td class="break"><bdi>${number(v)}</bdi></td>`)}</tr>`)}</tbody></table></div>
      <h2>Charts</h2>${keys.length === 0 ? html`<p class="quiet">These runs logged no numbers.</p>` : html`<${ChartOptions} query=${query} set=${c => go(at(c), true)} />
      <${Charts} entity=${entity} project=${project} runs=${all} keys=${keys.slice(0, more)} options=${optionsOf(query)} />
      ${keys.length > more && html`<button type="button" onClick=${() => grow(Math.min(50, more + atOnce))}>More charts (${keys.length - more})</button>`}`}`}<//>`;
}
