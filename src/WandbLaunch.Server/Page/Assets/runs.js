// The runs of a project: 100,000 of them as well as three. The server filters, sorts and groups; here is what is in sight.
import { html, useState, useEffect, useRef, useData, useChanges, ask, query as url, go, at, runPath, number, psText } from './core.js';
import { Time, Took, State, Menu, Empty, Loaded, Search, Fault, Dialog, ProjectHead, open } from './ui.js';
import { openPush } from './push.js';
import { Filters, mongo, readFilters } from './filters.js';
import Compare from './compare.js';

const height = 36;
const page = 100;
const own = { state: 'State', created: 'Created', duration: 'Took', user: 'User', group: 'Group', jobType: 'Job type', tags: 'Tags', host: 'Host', commit: 'Commit', sweep: 'Sweep', notes: 'Notes', updated: 'Updated' };
export const columnName = c => own[c] ?? (c === 'name' ? 'Name' : c);
const json = (text, usual) => { try { const v = JSON.parse(text); return Array.isArray(v) ? v : usual; } catch { return usual; } };

export default function Runs({ entity, project, query }) {
  if (query.get('compare')) return html`<${Compare} entity=${entity} project=${project} query=${query} />`;
  return html`<${List} entity=${entity} project=${project} query=${query} />`;
}

function List({ entity, project, query }) {
  const keys = useData(url('/page/runs/keys', { entity, project }));
  const found = keys.data;
  const usual = ['state', 'created', 'duration', ...(found?.summary ?? []).filter(k => !k.key.startsWith('_')).slice(0, 4).map(k => 'summary.' + k.key), ...(found?.config ?? []).slice(0, 4).map(k => 'config.' + k.key)];
  const columns = query.get('columns') ? json(query.get('columns'), usual) : usual;
  const filters = readFilters(query);
  const all = ['name', ...Object.keys(own), ...(found?.config ?? []).map(k => 'config.' + k.key), ...(found?.summary ?? []).map(k => 'summary.' + k.key)];
  const set = (changes, replace) => go(at(changes), replace);
  const asked = { entity, project, q: query.get('q'), filter: filters.length ? mongo(filters) : null };
  return html`<${ProjectHead} entity=${entity} project=${project} part="runs" />
    <div class="tools"><${Search} label="Search runs" value=${query.get('q')} set=${q => set({ q }, true)} />
      <label>Group by <select value=${query.get('group') ?? ''} onChange=${e => set({ group: e.target.value })}><option value="" selected=${!query.get('group')}>nothing</option>${all.filter(c => !['name', 'created', 'duration', 'updated', 'notes'].includes(c)).map(c => html`<option value=${c} selected=${c === query.get('group')}>${columnName(c)}</option>`)}</select></label>
      <button type="button" onClick=${() => open(close => html`<${Columns} keys=${found} columns=${columns} close=${close} set=${c => set({ columns: JSON.stringify(c) })} />`)}>Columns</button></div>
    <${Filters} filters=${filters} columns=${all} set=${f => set({ filter: f.length ? JSON.stringify(f) : null })} />
    <${Fault} error=${keys.error} />
    ${query.get('group') && html`<${Groups} asked=${asked} by=${query.get('group')} filters=${filters} />`}
    ${found && html`<${Table} asked=${asked} columns=${columns} sort=${query.get('sort') ?? '-created'} entity=${entity} project=${project} set=${set} empty=${!query.get('q') && !filters.length} />`}`;
}

function Groups({ asked, by, filters }) {
  const groups = useData(url('/page/runs/groups', { ...asked, by }), c => c.runs);
  return html`<${Loaded} of=${groups}>${({ groups: all }) => html`<div class="scroll half" tabindex="0" role="region" aria-label="Groups"><table><thead><tr><th scope="col">${columnName(by)}</th><th scope="col" class="n">Runs</th><th scope="col">Newest</th></tr></thead>
    <tbody>${all.map(g => html`<tr><td><a href=${at({ group: null, filter: JSON.stringify([...filters, g.value === null ? [by, 'missing', ''] : [by, '=', g.value]]) })}><bdi>${g.value === null ? '(none)' : number(g.value)}</bdi></a></td><td class="n">${number(g.count)}</td><td><${Time} at=${g.newest} /></td></tr>`)}</tbody></table></div>`}<//>`;
}

function Table({ asked, columns, sort, entity, project, set, empty }) {
  const shownColumns = columns.filter(c => c.includes('.')).join('\n');
  const key = JSON.stringify([asked, sort, shownColumns]);
  const [state, show] = useState({ key: null, total: null, pages: new Map() });
  const [error, fail] = useState(null);
  const [view, scroll] = useState({ top: 0, rows: 30 });
  const [picked, pick] = useState(new Set());
  const box = useRef();
  const current = useRef({ key: null, snapshot: null, pages: new Map(), asked: new Set() });
  const first = Math.max(0, Math.floor(view.top / height) - 10);
  const last = Math.min(state.total ?? 0, first + view.rows + 20);
  const fetchPage = async index => {
    const c = current.current;
    if (c.asked.has(index)) return;
    c.asked.add(index);
    try {
      const answer = await ask(url('/page/runs', { ...asked, sort, columns: shownColumns, offset: index * page, first: page, snapshot: c.snapshot }));
      if (current.current !== c) return;
      c.snapshot = answer.snapshot;
      c.pages.set(index, answer.runs);
      fail(null);
      show({ key, total: answer.total, pages: new Map(c.pages) });
    } catch (e) {
      c.asked.delete(index);
      if (current.current === c && e.status !== 401) fail(e);
    }
  };
  // Another order, or what is there now: the rows in sight are asked for anew, and the old ones stay until then.
  const reload = async () => {
    current.current = { key, snapshot: null, pages: new Map(), asked: new Set() };
    await fetchPage(Math.floor(first / page));
    await fetchPage(Math.floor(Math.max(first, last - 1) / page));
  };
  useEffect(() => { if (box.current) box.current.scrollTop = 0; scroll(v => ({ ...v, top: 0 })); pick(new Set()); reload(); }, [key]);
  useChanges(reload, c => c.runs, [key, first]);
  useEffect(() => { if (state.key === key) for (let i = Math.floor(first / page); i * page < last; i++) fetchPage(i); }, [first, last, state.key]);
  useEffect(() => {
    const sized = new ResizeObserver(() => { if (box.current) scroll(v => ({ ...v, rows: Math.ceil(box.current.clientHeight / height) })); });
    if (box.current) sized.observe(box.current);
    return () => sized.disconnect();
  }, [state.total === null]);
  if (state.total === null) return error ? html`<${Fault} error=${error} />` : html`<p class="quiet">Loading …</p>`;
  if (state.total === 0) return empty ? html`<${Empty} title="This project has no run yet." command=${`Start-WandbLaunch ./train -EntryPoint 'python train.py' -Entity ${psText(entity)} -Project ${psText(project)}`}><p>Start one:</p><//>` : html`<${Empty} title="No run is like that."><p><a href=${at({ q: null, filter: null })}>Show all runs</a></p><//>`;
  const chosen = [...picked];
  const rows = [];
  for (let i = first; i < last; i++) rows.push(state.pages.get(Math.floor(i / page))?.[i % page]);
  const toggle = name => pick(old => { const next = new Set(old); if (!next.delete(name)) next.add(name); return next; });
  const head = c => {
    const direction = sort === c ? 'ascending' : sort === '-' + c ? 'descending' : undefined;
    return html`<th scope="col" key=${c} aria-sort=${direction}><button type="button" onClick=${() => set({ sort: sort === '-' + c ? c : '-' + c })} title=${columnName(c)}><bdi>${columnName(c)}</bdi>${direction ? (direction === 'ascending' ? ' ▲' : ' ▼') : ''}</button></th>`;
  };
  return html`<${Fault} error=${error} />
    <div class="tools" role="status"><span>${number(state.total)} runs</span>${chosen.length > 0 && html`<span><strong>${chosen.length} chosen</strong> <button type="button" disabled=${chosen.length < 2 || chosen.length > 20} title=${chosen.length > 20 ? 'At most 20 runs can be compared.' : chosen.length < 2 ? 'Choose two or more.' : undefined} onClick=${() => set({ compare: chosen.join(',') })}>Compare</button> <button type="button" onClick=${() => pick(new Set())}>Choose none</button></span>`}</div>
    <div class="scroll virtual" ref=${box} tabindex="0" role="region" aria-label="Runs" onScroll=${e => scroll(v => ({ ...v, top: e.target.scrollTop }))}>
      <table aria-rowcount=${state.total + 1}><thead><tr aria-rowindex="1"><th scope="col"><span class="unseen">Chosen</span></th>${head('name')}${columns.map(head)}<th scope="col"><span class="unseen">Actions</span></th></tr></thead>
      <tbody>${first > 0 && html`<tr aria-hidden="true" style=${{ height: `${first * height}px` }}></tr>`}
        ${rows.map((r, i) => r ? html`<tr key=${r.name} aria-rowindex=${first + i + 2} class=${picked.has(r.name) ? 'chosen' : ''}><td><input type="checkbox" aria-label=${`Choose ${r.displayName}`} checked=${picked.has(r.name)} onChange=${() => toggle(r.name)} /></td><td class="long"><a href=${runPath(entity, project, r.name)}><bdi>${r.displayName}</bdi></a></td>${columns.map(c => html`<td key=${c} class=${typeof r.values[c] === 'number' ? 'n' : 'long'}><${Cell} run=${r} column=${c} /></td>`)}
          <td><${Menu} label=${`Actions of ${r.displayName}`} actions=${[{ label: 'Add to Launch queue', act: () => openPush({ entity, project, run: r.name }) }, { label: 'Open', reads: true, act: () => go(runPath(entity, project, r.name)) }, { label: 'Copy path', reads: true, act: () => navigator.clipboard.writeText(`${entity}/${project}/${r.name}`) }]} /></td></tr>`
        : html`<tr key=${'n' + (first + i)} aria-rowindex=${first + i + 2}><td colspan=${columns.length + 3}><span class="quiet">…</span></td></tr>`)}
        ${last < state.total && html`<tr aria-hidden="true" style=${{ height: `${(state.total - last) * height}px` }}></tr>`}</tbody></table></div>`;
}

function Cell({ run, column }) {
  switch (column) {
    case 'state': return html`<${State} state=${run.state} />`;
    case 'created': return html`<${Time} at=${run.createdAt} />`;
    case 'updated': return html`<${Time} at=${run.updatedAt} />`;
    case 'duration': return html`<${Took} from=${run.createdAt} to=${run.state === 'running' ? null : run.heartbeatAt ?? run.updatedAt} />`;
    case 'tags': return html`<bdi>${(run.tags ?? []).join(', ')}</bdi>`;
    default: {
      const value = column.includes('.') ? run.values[column] : run[column];
      return html`<bdi title=${typeof value === 'string' ? value : undefined}>${number(value)}</bdi>`;
    }
  }
}

/** Which columns are shown, and in which order. */
function Columns({ keys, columns, close, set }) {
  const [chosen, choose] = useState(columns);
  const [text, type] = useState('');
  const all = [...new Set([...chosen, ...Object.keys(own), ...(keys?.summary ?? []).map(k => 'summary.' + k.key), ...(keys?.config ?? []).map(k => 'config.' + k.key)])].filter(c => columnName(c).toLowerCase().includes(text.toLowerCase()));
  const move = (c, by) => choose(old => { const next = old.filter(x => x !== c); next.splice(Math.max(0, old.indexOf(c) + by), 0, c); return next; });
  return html`<${Dialog} title="Columns" close=${close}><input type="search" class="search" aria-label="Search columns" placeholder="Search columns" value=${text} onInput=${e => type(e.target.value)} />
    <ul class="columns">${all.slice(0, 300).map(c => html`<li key=${c}><label><input type="checkbox" checked=${chosen.includes(c)} onChange=${e => choose(e.target.checked ? [...chosen, c] : chosen.filter(x => x !== c))} /> <bdi>${columnName(c)}</bdi></label>${chosen.includes(c) && html`<span><button type="button" class="small" aria-label=${`${columnName(c)} further left`} onClick=${() => move(c, -1)}>↑</button><button type="button" class="small" aria-label=${`${columnName(c)} further right`} onClick=${() => move(c, 1)}>↓</button></span>`}</li>`)}</ul>
    ${all.length > 300 && html`<p class="quiet">${all.length - 300} more: search for them.</p>`}${keys && html`<p class="hint">Keys of the newest ${number(keys.looked)} runs.</p>`}
    <footer><button type="button" onClick=${close}>Cancel</button><button type="button" class="main" onClick=${() => { close(); set(chosen); }}>Show</button></footer><//>`;
}
