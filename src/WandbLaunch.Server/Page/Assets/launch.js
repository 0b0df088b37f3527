// Launch: queues, what waits and runs in them and why, and what can be done with it.
import { html, useState, useEffect, useData, ask, query as url, go, at, number, psText, mayChange } from './core.js';
import { Time, Took, State, Menu, Empty, Loaded, Search, Dialog, Choice, attempt, confirm, open, say, priorities } from './ui.js';
import { openQueue } from './queue.js';
import { openPush } from './push.js';
import Item from './item.js';

const about = queue => `${queue.entity}/${queue.name}`;
const pause = queue => attempt(() => ask(`/page/queues/${queue.id}`, { paused: !queue.paused }), queue.paused ? `Agents get items of ${queue.name} again.` : `${queue.name} is paused: agents get nothing of it, and what runs goes on.`);
const remove = (queue, after) => confirm(`Delete ${about(queue)}?`, `${number(queue.waiting)} waiting items are deleted with it. What was started stays and goes on.`, 'Delete queue',
  async () => { if (await attempt(() => ask(`/page/queues/${queue.id}`, undefined, 'DELETE'), `${queue.name} is deleted.`)) after?.(); });

const actions = (queue, after) => [
  { label: 'Add to this queue', act: () => openPush({ queue: queue.id }) },
  { label: 'Configure', act: () => openQueue(queue.id) },
  { label: queue.paused ? 'Resume' : 'Pause', act: () => pause(queue) },
  { label: 'Delete', danger: true, act: () => remove(queue, after), off: queue.name === 'default' && 'The default queue cannot be deleted.' },
];

export default function Launch({ query }) {
  const queues = useData('/page/queues', c => c.queues || c.items || c.agents);
  useEffect(() => { if (query.get('new')) { go(at({ new: null }), true); if (mayChange()) openQueue(null); } }, [query.get('new')]);
  const item = query.get('item');
  // First, so that nothing that comes or goes before it moves it: a dialog that is moved is none any more.
  return html`<div>${item && html`<${Item} key=${item} id=${item} close=${() => go(at({ item: null }))} />`}</div>
    <div class="title"><h1>Launch</h1><span class="changes"><button type="button" onClick=${() => openQueue(null)}>Create queue</button> <button type="button" class="main" onClick=${() => openPush({ queue: query.get('queue') })}>Add to Launch queue</button></span></div>
    <${Loaded} of=${queues}>${({ queues: all }) => {
      const chosen = all.find(q => String(q.id) === query.get('queue'));
      return all.length === 0
        ? html`<${Empty} title="There is no queue yet." command=${"New-WandbRunQueue gpu -Resource local-process"}><p>A queue holds runs until an agent takes them. Create one here, or type:</p><//>`
        : html`<${Queues} queues=${all} chosen=${chosen} />
          ${query.get('queue') && !chosen && html`<p class="fault" role="alert">There is no such queue: it was deleted.</p>`}
          ${chosen && html`<${Items} key=${chosen.id} queue=${chosen} queues=${all} query=${query} />`}`;
    }}<//>`;
}

function Queues({ queues, chosen }) {
  return html`<div class="scroll" tabindex="0" role="region" aria-label="Queues"><table><thead><tr><th scope="col">Queue</th><th scope="col">Resource</th><th scope="col" class="n">Waiting</th><th scope="col">Oldest</th><th scope="col" class="n">Running</th><th scope="col" class="n">Failed in 24 h</th><th scope="col">Agents</th><th scope="col"><span class="unseen">Actions</span></th></tr></thead>
    <tbody>${queues.map(q => html`<tr key=${q.id} class=${q === chosen ? 'chosen' : ''}>
      <td><a href=${at({ queue: q.id, state: null, q: null, item: null })} aria-current=${q === chosen ? 'true' : undefined}><bdi>${about(q)}</bdi></a>${q.project !== 'model-registry' && html` <span class="quiet">in ${q.project}</span>`}${q.paused && html` <span class="state stopped">paused</span>`}</td>
      <td>${q.resource ?? html`<span class="quiet">as each item says</span>`}</td><td class="n">${number(q.waiting)}</td><td><${Time} at=${q.oldest} /></td><td class="n">${number(q.running)}</td><td class="n">${q.failed ? html`<strong>${number(q.failed)}</strong>` : 0}</td>
      <td>${q.agents || html`<span class="quiet" title="No agent listens to this queue">Idle</span>`}</td>
      <td><${Menu} label=${`Actions of the queue ${q.name}`} actions=${actions(q, () => go(at({ queue: null, item: null })))} /></td></tr>`)}</tbody></table></div>`;
}

const chips = [['', 'all'], ['PENDING', 'waiting'], ['LEASED,CLAIMED', 'running'], ['FINISHED', 'finished'], ['FAILED,STOPPED', 'failed']];

function Items({ queue, queues, query }) {
  const [picked, pick] = useState(new Set());
  const [first, grow] = useState(100);
  const items = useData(url('/page/items', { queue: queue.id, state: query.get('state'), q: query.get('q'), first }), c => c.items || c.agents || c.queues);
  const shown = items.data?.items ?? [];
  const chosen = shown.filter(i => picked.has(i.id));
  const toggle = id => pick(old => { const set = new Set(old); if (!set.delete(id)) set.add(id); return set; });
  return html`<section aria-label=${`Items of ${queue.name}`}>
    <div class="title"><h2><bdi>${about(queue)}</bdi></h2><span class="changes">
      <button type="button" onClick=${() => pause(queue)}>${queue.paused ? 'Resume' : 'Pause'}</button> <button type="button" onClick=${() => openQueue(queue.id)}>Configure</button></span></div>
    ${queue.agents === 0 && queue.waiting > 0 && html`<${Empty} title="No agent listens to this queue, so what waits in it goes on waiting." command=${`Start-WandbLaunchAgent -Queue ${psText(queue.name)}${queue.entity === 'local' ? '' : ' -Entity ' + psText(queue.entity)}`}><p>On the machine that has what the runs need:</p><//>`}
    <div class="tools"><${Search} label="Search items" value=${query.get('q')} set=${q => go(at({ q }), true)} />
      <span role="group" aria-label="State">${chips.map(([state, text]) => html`<a class="chip" href=${at({ state })} aria-current=${(query.get('state') ?? '') === state ? 'true' : undefined}>${text}</a>`)}</span></div>
    ${chosen.length > 0 && html`<${Bulk} chosen=${chosen} queue=${queue} queues=${queues} done=${() => pick(new Set())} />`}
    <${Loaded} of=${items}>${({ more }) => shown.length === 0
      ? html`<${Empty} title=${query.get('q') || query.get('state') ? 'No item is like that.' : 'This queue is empty.'} command=${query.get('q') || query.get('state') ? null : `Get-WandbRun -Project demo | Select-Object -First 1 | Add-WandbLaunchQueueItem -Queue ${psText(queue.name)}`}><p>${query.get('q') || query.get('state') ? html`<a href=${at({ q: null, state: null })}>Show all</a>` : 'Open a run and choose Add to Launch queue, or type:'}</p><//>`
      : html`<div class="scroll" tabindex="0" role="region" aria-label="Items"><table class="items"><thead><tr><th scope="col"><input type="checkbox" aria-label="All items that are shown" checked=${chosen.length === shown.length} onChange=${e => pick(e.target.checked ? new Set(shown.map(i => i.id)) : new Set())} /></th><th scope="col">Item</th><th scope="col">Runs</th><th scope="col">State</th><th scope="col">Why</th><th scope="col">Priority</th><th scope="col">Author</th><th scope="col">Created</th><th scope="col">Started</th><th scope="col">Took</th><th scope="col"><span class="unseen">Actions</span></th></tr></thead>
        <tbody>${shown.map(i => html`<${Row} key=${i.id} item=${i} queue=${queue} picked=${picked.has(i.id)} toggle=${toggle} queues=${queues} />`)}</tbody></table></div>
        ${more && html`<p><button type="button" onClick=${() => grow(n => Math.min(500, n + 200))} disabled=${first >= 500}>${first >= 500 ? 'The newest 500 are shown: search for others' : 'Show more'}</button></p>`}`}<//>
  </section>`;
}

export const waits = item => item.state === 'PENDING' || item.state === 'LEASED';
const source = item => (item.source ?? '').replace(/^https?:\/\/[^/]+\//, '');

function Row({ item: i, queue, picked, toggle, queues }) {
  return html`<tr class=${picked ? 'chosen' : ''}><td><input type="checkbox" aria-label=${`Item ${i.id}`} checked=${picked} onChange=${() => toggle(i.id)} /></td>
    <td><a href=${at({ item: i.id })}><bdi>${i.name || `#${i.id}`}</bdi></a></td><td class="long" title=${i.source ?? ''}><bdi>${source(i)}</bdi></td>
    <td><${State} state=${i.state} /></td><td class="why" title=${i.why}><bdi>${i.why}</bdi>${i.warnings > 0 && html` <span class="quiet">(${i.warnings} warnings)</span>`}</td>
    <td>${priorities[i.priority] ?? i.priority}</td><td><bdi>${i.author}</bdi></td><td><${Time} at=${i.createdAt} /></td><td><${Time} at=${i.claimedAt} /></td><td><${Took} from=${i.claimedAt} to=${i.finishedAt} /></td>
    <td><${Menu} label=${`Actions of item ${i.id}`} actions=${itemActions([i], queue, queues)} /></td></tr>`;
}

/** Does the same with items, and says of how many it was not done and why. */
export async function act(items, body, word) {
  const answer = await attempt(() => ask('/page/items/act', { ...body, ids: items.map(i => i.id) }));
  if (!answer) return null;
  const bad = answer.results.filter(r => r.error);
  const good = answer.results.length - bad.length;
  if (good) say(`${good === 1 ? `Item ${answer.results.find(r => !r.error).id}` : `${good} items`} ${word}.`);
  if (bad.length) say(bad.length === 1 ? bad[0].error : `${bad.length} were refused. The first: ${bad[0].error}`, 'bad');
  return answer.results;
}

/** What can be done with items: those of one state, or of several. */
export function itemActions(items, queue, queues, after) {
  const waiting = items.some(waits);
  const ended = items.some(i => !waits(i) && i.state !== 'CLAIMED');
  const run = async (body, word) => { if (await act(items, body, word)) after?.(); };
  const what = items.length === 1 ? `item ${items[0].id}` : `${items.length} items`;
  return [
    waiting && { label: 'Change priority', act: () => open(close => html`<${Priority} what=${what} close=${close} done=${p => run({ action: 'priority', priority: p }, `has now the priority ${priorities[p]}`)} />`), off: queue?.mode !== 'V0' && 'This queue has no priorities: configure it to have them.' },
    waiting && { label: 'Move to another queue', act: () => open(close => html`<${Move} what=${what} close=${close} queues=${queues.filter(q => q.id !== queue?.id)} done=${q => run({ action: 'move', queue: String(q) }, 'moved')} />`), off: queues.length < 2 && 'There is no other queue.' },
    ended && { label: 'Queue again', act: () => run({ action: 'requeue' }, 'queued again') },
    { label: 'Delete', danger: true, off: !waiting && 'It was started. What was started stays.', act: () => confirm(`Delete ${what}?`, 'What waits is deleted from the queue. What was started stays and goes on.', 'Delete', () => run({ action: 'delete' }, 'deleted')) },
  ];
}

function Bulk({ chosen, queue, queues, done }) {
  return html`<div class="bulk changes" role="group" aria-label="With the chosen items"><strong>${chosen.length} chosen</strong>
    ${itemActions(chosen, queue, queues, done).filter(Boolean).map(a => html`<button type="button" class=${a.danger ? 'danger' : ''} disabled=${!!a.off} title=${a.off || undefined} onClick=${a.act}>${a.label}</button>`)}
    <button type="button" onClick=${done}>Choose none</button></div>`;
}

function Priority({ what, close, done }) {
  const [value, set] = useState('1');
  return html`<${Dialog} title=${`Priority of ${what}`} close=${close}><${Choice} label="Priority" value=${value} set=${set} options=${priorities.map((label, i) => ({ value: i, label }))} />
    <footer><button type="button" onClick=${close}>Cancel</button><button type="button" class="main" onClick=${() => { close(); done(Number(value)); }}>Change</button></footer><//>`;
}

function Move({ what, close, queues, done }) {
  const [value, set] = useState(String(queues[0]?.id ?? ''));
  return html`<${Dialog} title=${`Move ${what}`} close=${close}><${Choice} label="To the queue" value=${value} set=${set} options=${queues.map(q => ({ value: q.id, label: about(q) }))} />
    <footer><button type="button" onClick=${close}>Cancel</button><button type="button" class="main" onClick=${() => { close(); done(value); }}>Move</button></footer><//>`;
}
