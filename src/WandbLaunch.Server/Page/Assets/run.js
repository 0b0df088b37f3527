// A run: charts, config, summary, files, log, where it came from and what was launched of it.
import { html, useState, useData, ask, query as url, go, at, path, runPath, number, bytes, psText } from './core.js';
import { Time, Took, State, Loaded, Tabs, Empty, Command, Copy, Artifact, attempt, confirm } from './ui.js';
import { Charts, ChartOptions, optionsOf } from './chart.js';
import { openPush } from './push.js';
import Log from './log.js';

const tabs = [['charts', 'Charts'], ['config', 'Config and summary'], ['log', 'Log'], ['files', 'Files and artifacts'], ['launches', 'Launches']];

export default function Run({ entity, project, run: name, query }) {
  const mine = c => c.files || c.items || c.runs && (c.runs.length === 0 || c.runs.includes(`${entity}/${project}/${name}`));
  const run = useData(url('/page/run', { entity, project, run: name }), mine);
  const tab = tabs.some(t => t[0] === query.get('tab')) ? query.get('tab') : 'charts';
  return html`<p class="crumbs"><a href="/">Projects</a> / <a href=${path(entity, project)}><bdi>${entity}/${project}</bdi></a></p>
    <${Loaded} of=${run}>${data => html`
      <div class="title"><h1><bdi>${data.run.displayName}</bdi> <${State} state=${data.run.state} /></h1><span>
        ${data.run.state === 'running' && html`<button type="button" class="changes" disabled=${data.run.stopped} onClick=${() => confirm('Stop this run?', 'It is told to stop, and ends at its next heartbeat.', 'Stop run', () => attempt(() => ask('/page/run/stop', { entity, project, run: name }), 'The run is told to stop.'))}>${data.run.stopped ? 'Stopping …' : 'Stop'}</button>`}
        <button type="button" class="main changes" onClick=${() => openPush({ entity, project, run: name })}>Add to Launch queue</button></span></div>
      <dl class="facts">
        <dt>Id</dt><dd><code>${name}</code> <${Copy} text=${`${entity}/${project}/${name}`} label="Copy path" /></dd>
        <dt>Created</dt><dd><${Time} at=${data.run.createdAt} /> ${data.run.user && html`by <bdi>${data.run.user}</bdi>`}</dd>
        <dt>Took</dt><dd><${Took} from=${data.run.createdAt} to=${data.run.state === 'running' ? null : data.run.heartbeatAt} /></dd>
        ${data.run.sweep && html`<dt>Sweep</dt><dd><a href=${path(entity, project, 'sweeps', data.run.sweep)}>${data.run.sweep}</a></dd>`}
        ${data.run.group && html`<dt>Group</dt><dd><bdi>${data.run.group}</bdi></dd>`}
        ${data.run.tags?.length > 0 && html`<dt>Tags</dt><dd>${data.run.tags.map(t => html`<span class="chip"><bdi>${t}</bdi></span> `)}</dd>`}
        ${data.source.remote && html`<dt>Code</dt><dd class="break"><bdi>${data.source.remote}</bdi> ${data.source.commit && html`at <code>${data.source.commit.slice(0, 10)}</code>`} ${data.source.program}</dd>`}
        ${data.source.arguments.length > 0 && html`<dt>Arguments</dt><dd class="break"><code>${data.source.arguments.join(' ')}</code></dd>`}
        ${data.launchedBy.length > 0 && html`<dt>Launched by</dt><dd>${data.launchedBy.map(i => html`<a href=${`/launch?queue=${i.queue}&item=${i.id}`}>item ${i.id}</a> `)}</dd>`}
        ${data.notes && html`<dt>Notes</dt><dd class="notes-text"><bdi>${data.notes}</bdi></dd>`}
      </dl>
      <${Tabs} label="Parts of the run" tabs=${tabs} now=${tab} to=${k => at({ tab: k === 'charts' ? null : k })} />
      ${tab === 'charts' ? html`<${RunCharts} data=${data} query=${query} />`
      : tab === 'config' ? html`<${Values} title="Config" values=${data.config} /><${Values} title="Summary" values=${data.summary} />`
      : tab === 'log' ? html`<${Log} key=${name} entity=${entity} project=${project} run=${name} running=${data.run.state === 'running'} />`
      : tab === 'files' ? html`<${Files} entity=${entity} project=${project} run=${name} data=${data} />`
      : html`<${Launches} entity=${entity} project=${project} data=${data} />`}`}<//>`;
}

const atOnce = 8;

function RunCharts({ data, query }) {
  const text = (query.get('chart') ?? '').toLowerCase();
  const [more, grow] = useState(atOnce);
  const keys = data.keys.filter(k => k.toLowerCase().includes(text));
  if (data.keys.length === 0) return html`<${Empty} title="This run logged no numbers." command="wandb.log({'loss': loss})"><p>Its program logs some by a line of Python like this:</p><//>`;
  return html`${data.keys.length > atOnce && html`<div class="tools"><input type="search" class="search" aria-label="Search charts" placeholder="Search charts" value=${query.get('chart') ?? ''} onInput=${e => go(at({ chart: e.target.value }), true)} /> <span class="quiet">${keys.length} of ${data.keys.length}</span></div>`}
    <${ChartOptions} query=${query} set=${c => go(at(c), true)} />
    <${Charts} entity=${data.entity} project=${data.project} runs=${[data.run]} keys=${keys.slice(0, more)} options=${optionsOf(query)} />
    ${keys.length > more && html`<button type="button" onClick=${() => grow(Math.min(50, more + atOnce))}>More charts (${keys.length - more})</button>`}`;
}

/** A document as a table: long ones are searched, not drawn whole. */
function Values({ title, values }) {
  const [text, type] = useState('');
  const [more, grow] = useState(200);
  const all = Object.entries(values ?? {}).filter(([k]) => k !== '_wandb').sort(([a], [b]) => a < b ? -1 : 1);
  const found = all.filter(([k]) => k.toLowerCase().includes(text.toLowerCase()));
  return html`<section aria-label=${title}><h2>${title}</h2>${all.length === 0 ? html`<p class="quiet">It is empty.</p>` : html`
    ${all.length > 15 && html`<div class="tools"><input type="search" class="search" aria-label=${`Search ${title}`} placeholder="Search keys" value=${text} onInput=${e => type(e.target.value)} /><span class="quiet">${found.length} of ${all.length}</span></div>`}
    <div class="scroll" tabindex="0" role="region" aria-label=${`${title}: values`}><table class="values"><thead class="unseen"><tr><th scope="col">Key</th><th scope="col">Value</th></tr></thead><tbody>${found.slice(0, more).map(([k, v]) => html`<tr key=${k}><th scope="row"><bdi>${k}</bdi></th><td class="break"><bdi>${shown(v)}</bdi></td></tr>`)}</tbody></table></div>
    ${found.length > more && html`<button type="button" onClick=${() => grow(more + 1000)}>${number(found.length - more)} more</button>`}`}</section>`;
}
const shown = v => { const text = typeof v === 'number' ? number(v) : typeof v === 'string' ? v : JSON.stringify(v); return text.length > 2000 ? text.slice(0, 2000) + '…' : text; };

function Files({ entity, project, run, data }) {
  const [after, next] = useState([]);
  const files = useData(url('/page/run/files', { entity, project, run, after: after.at(-1) }), c => c.files);
  return html`<${Loaded} of=${files}>${page => page.files.length === 0 && after.length === 0
    ? html`<${Empty} title="This run has no files." command="wandb.save('model.pt')"><p>Its program keeps some by a line of Python like this:</p><//>`
    : html`<div class="scroll" tabindex="0" role="region" aria-label="Files"><table><thead><tr><th scope="col">File</th><th scope="col" class="n">Size</th><th scope="col">Changed</th></tr></thead><tbody>${page.files.map(f => html`<tr key=${f.name}><td><a href=${f.url} download=${f.name.split('/').at(-1)}><bdi>${f.name}</bdi></a></td><td class="n">${bytes(f.size)}</td><td><${Time} at=${f.updatedAt} /></td></tr>`)}</tbody></table></div>
      <p>${after.length > 0 && html`<button type="button" onClick=${() => next(after.slice(0, -1))}>Before</button>`} ${page.more && html`<button type="button" onClick=${() => next([...after, page.files.at(-1).name])}>Next 200</button>`}</p>`}<//>
    ${[['took', 'Artifacts that it used'], ['made', 'Artifacts that it made']].map(([k, title]) => data[k].length > 0 && html`<h2>${title}</h2><ul>${data[k].map(a => html`<li><${Artifact} of=${a} /></li>`)}</ul>`)}`;
}

function Launches({ entity, project, data }) {
  const home = path(entity, project);
  const address = `${entity}/${project}/runs/${data.run.name}`;
  return html`<h2>Launched of this run</h2>${data.launches.length === 0 ? html`<p class="quiet">Nothing yet.</p>` : html`<div class="scroll" tabindex="0" role="region" aria-label="Launches"><table><thead><tr><th scope="col">Item</th><th scope="col">State</th><th scope="col">Run</th><th scope="col">Created</th></tr></thead>
      <tbody>${data.launches.map(i => html`<tr><td><a href=${`/launch?queue=${i.queue}&item=${i.id}`}>#${i.id}</a></td><td><${State} state=${i.state} /></td><td>${i.run && html`<a href=${runPath(entity, project, i.run)}>${i.run}</a> · <a href=${`${home}?compare=${encodeURIComponent(data.run.name + ',' + i.run)}`}>compare</a>`}</td><td><${Time} at=${i.createdAt} /></td></tr>`)}</tbody></table></div>`}
    <h2>Launch it again</h2><p>On this machine:</p><${Command} text=${`Start-WandbLaunch ${psText(address)}`} /><p>In a queue:</p><${Command} text=${`Add-WandbLaunchQueueItem ${psText(address)}`} />`;
}
