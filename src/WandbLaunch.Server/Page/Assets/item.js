// One item: why it is as it is, what happened to it, what it changes of its source, its log, and the line that does it again.
import { html, useData, runPath, number } from './core.js';
import { Dialog, Time, Took, State, Loaded, Command, Copy, stateName, priorities } from './ui.js';
import { itemActions } from './launch.js';
import { again } from './command.js';
import Log from './log.js';

export default function Item({ id, close }) {
  const item = useData(`/page/items/${encodeURIComponent(id)}`, c => c.items || c.agents || c.queues || c.runs);
  const queues = useData('/page/queues', c => c.queues);
  return html`<${Dialog} title=${`Item ${id}`} close=${close} wide><${Loaded} of=${item}>${data => html`<${Details} data=${data} queues=${queues.data?.queues ?? []} close=${close} />`}<//><//>`;
}

function Details({ data, queues, close }) {
  const { item: i, queue, run, source, changes, spec } = data;
  const begun = data.history.map((h, n) => ({ ...h, until: data.history.slice(n + 1).find(x => x.state !== h.state)?.at }));
  return html`
    <p><${State} state=${i.state} /> <bdi>${i.why}</bdi>${data.before !== null && html` ${data.before === 0 ? 'It is the next.' : `${number(data.before)} are before it.`}`}</p>
    <p class="acts">${itemActions([i], queue, queues, close).filter(Boolean).map(a => html`<button type="button" class=${a.danger ? 'danger changes' : 'changes'} disabled=${!!a.off} title=${a.off || undefined} onClick=${a.act}>${a.label}</button>`)}
      ${run && html`<a class="button" href=${runPath(run.entity, run.project, run.name)}>Open the run</a>`}</p>
    <dl class="facts">
      <dt>Queue</dt><dd><bdi>${queue ? `${queue.entity}/${queue.name}` : 'deleted'}</bdi></dd>
      <dt>Runs</dt><dd class="break"><bdi>${i.source}</bdi> ${source && html`(<a href=${runPath(source.entity, source.project, source.run)}><bdi>${source.displayName || source.run}</bdi></a>)`}</dd>
      <dt>Run</dt><dd>${run ? html`<a href=${runPath(run.entity, run.project, run.name)}><bdi>${run.displayName || run.name}</bdi></a> <${State} state=${run.state} />` : i.run ?? 'none yet'} ${i.run && html`<${Copy} text=${i.run} label="Copy id" />`}</dd>
      <dt>Author</dt><dd><bdi>${i.author ?? '?'}</bdi></dd><dt>Priority</dt><dd>${priorities[i.priority] ?? i.priority}</dd>
      <dt>Agent</dt><dd>${i.agent ?? 'none yet'}</dd>${i.engineId && html`<dt>On its engine</dt><dd class="break"><code>${i.engineId}</code></dd>`}<dt>Exit code</dt><dd>${i.exitCode ?? ''}</dd>
    </dl>
    ${data.error && html`<h3>What failed</h3><pre class="block" tabindex="0">${data.error.message ?? JSON.stringify(data.error, null, 2)}${data.error.stage ? `\n(at: ${data.error.stage})` : ''}</pre>`}
    ${data.warnings?.length > 0 && html`<h3>Warnings</h3><ul>${data.warnings.map(w => html`<li><bdi>${w?.message ?? JSON.stringify(w)}</bdi></li>`)}</ul>`}
    <h3>History</h3>
    <div class="scroll" tabindex="0" role="region" aria-label="History"><table><thead><tr><th scope="col">State</th><th scope="col">Since</th><th scope="col">For</th><th scope="col">Agent</th><th scope="col">Note</th></tr></thead>
      <tbody>${begun.map((h, n) => html`<tr><td>${stateName(h.state)}</td><td><${Time} at=${h.at} /></td><td>${n === begun.length - 1 && ['FINISHED', 'FAILED', 'STOPPED'].includes(h.state) ? '' : html`<${Took} from=${h.at} to=${h.until} />`}</td><td>${h.agent}</td><td><bdi>${h.note}</bdi></td></tr>`)}</tbody></table></div>
    ${changes && html`<h3>What it changes</h3>${changes.length === 0 ? html`<p class="quiet">Nothing: it repeats its source as it was.</p>` : html`<${Changes} changes=${changes} />`}`}
    ${run && html`<h3>Log</h3><${Log} entity=${run.entity} project=${run.project} run=${run.name} running=${run.state === 'running'} short />`}
    <details><summary>Launch config</summary><pre class="block" tabindex="0">${JSON.stringify(spec, null, 2)}</pre></details>
    <h3>Do it again</h3><${Command} text=${again(spec, queue)} />`;
}

export const Changes = ({ changes }) => html`<div class="scroll" tabindex="0" role="region" aria-label="Changes"><table><thead><tr><th scope="col">What</th><th scope="col">Was</th><th scope="col">Becomes</th></tr></thead>
  <tbody>${changes.map(c => html`<tr><th scope="row"><bdi>${c.key}</bdi></th><td class="break"><del><bdi>${c.was}</bdi></del></td><td class="break"><ins><bdi>${c.becomes}</bdi></ins></td></tr>`)}</tbody></table></div>`;
