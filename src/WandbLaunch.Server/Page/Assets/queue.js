// Creating a queue, and configuring one: its resource, and the template variables with their limits.
import { html, useState, useEffect, ask, go, at, route } from './core.js';
import { Dialog, Field, Text, Choice, Json, Fault, open, say } from './ui.js';

export const openQueue = id => open(close => html`<${Queue} id=${id} close=${close} />`);

const resources = ['local-process', 'local-container', 'slurm', 'kubernetes'];

function Queue({ id, close }) {
  const [queue, change] = useState(id === null ? { entity: 'local', project: 'model-registry', name: '', resource: '', config: null, variables: {}, mode: 'DISABLED', access: 'PROJECT' } : null);
  const [fault, refuse] = useState(null);
  const [busy, work] = useState(false);
  const [wrong, invalid] = useState({});
  useEffect(() => { if (id !== null) ask(`/page/queues/${id}`).then(q => change({ ...q, variables: q.variables ?? {} }), refuse); }, []);
  if (!queue) return html`<${Dialog} title="Configure queue" close=${close}><${Fault} error=${fault} /><//>`;
  const set = (name, value) => change(q => ({ ...q, [name]: value }));
  const of = name => fault?.field === name ? fault.message : null;
  const bad = Object.values(wrong).some(Boolean);
  const save = async e => {
    e.preventDefault();
    work(true);
    refuse(null);
    const body = { resource: queue.resource || undefined, mode: queue.mode, config: queue.resource ? queue.config ?? {} : undefined, variables: queue.resource ? queue.variables : undefined };
    try {
      const made = await ask(id === null ? '/page/queues' : `/page/queues/${id}`, id === null ? { ...body, entity: queue.entity, project: queue.project, name: queue.name, access: queue.access } : body);
      say(id === null ? `The queue ${queue.name} is there.` : `${queue.name} is configured. Items that are queued from now on follow it.`);
      close();
      if (id === null && route.peek().path === '/launch') go(at({ queue: made.id }));
    } catch (x) {
      refuse(x);
      work(false);
    }
  };
  const known = ['name', 'entity', 'project', 'resource', 'config', 'variables', 'mode'];
  return html`<${Dialog} title=${id === null ? 'Create queue' : `Configure ${queue.name}`} close=${close} wide>
    <form onSubmit=${save}>
      ${id === null && html`<${Text} label="Name" value=${queue.name} set=${v => set('name', v)} error=${of('name')} required maxlength="64" autofocus hint="Agents listen to queues by this name." />
        <div class="row"><${Text} label="Entity" value=${queue.entity} set=${v => set('entity', v)} error=${of('entity')} required />
        <${Text} label="Project" value=${queue.project} set=${v => set('project', v)} error=${of('project')} hint="model-registry is the home of queues that belong to no project." />
        <${Choice} label="For" value=${queue.access} set=${v => set('access', v)} options=${[{ value: 'PROJECT', label: 'everybody of the entity' }, { value: 'USER', label: 'only you' }]} /></div>`}
      <div class="row"><${Field} label="Resource" error=${of('resource')} hint="Where its items run. Empty: as each item says.">${a => html`<input ...${a} list="resources" autocomplete="off" value=${queue.resource ?? ''} onInput=${e => set('resource', e.target.value)} /><datalist id="resources">${resources.map(r => html`<option value=${r}></option>`)}</datalist>`}<//>
      <${Choice} label="Priorities" value=${queue.mode} set=${v => set('mode', v)} error=${of('mode')} options=${[{ value: 'DISABLED', label: 'off: first come, first served' }, { value: 'V0', label: 'on: critical, high, medium, low' }]} /></div>
      ${queue.resource && html`<${Json} label="Configuration" value=${queue.config} set=${v => set('config', v)} error=${of('config')} invalid=${b => invalid(w => ({ ...w, config: b }))} hint=${`As {"resource_args": {"${queue.resource}": {…}}}. A text {{name}} becomes what the template variable of that name is given.`} />
        <${Variables} value=${queue.variables} set=${v => set('variables', v)} error=${of('variables')} />`}
      ${fault && !known.includes(fault.field) && html`<${Fault} error=${fault} />`}
      <footer><button type="button" onClick=${close}>Cancel</button><button type="submit" class="main" disabled=${busy || bad}>${id === null ? 'Create queue' : 'Save'}</button></footer>
    </form><//>`;
}

const types = ['string', 'integer', 'number'];
const read = (text, type) => text === '' ? undefined : type === 'string' ? text : Number(text);

/** Template variables as a form: name, type, default, and limits or the values that are allowed. */
function Variables({ value, set, error }) {
  const [rows, edit] = useState(() => Object.entries(value ?? {}).map(([name, v]) => ({ name, description: v.description ?? '', ...v.schema, allowed: (v.schema?.enum ?? []).join(', ') })));
  const change = next => {
    edit(next);
    set(Object.fromEntries(next.filter(r => r.name).map(r => {
      const schema = { type: r.type ?? 'string' };
      for (const limit of ['default', 'minimum', 'maximum']) {
        const number = limit !== 'default';
        if (r[limit] !== undefined && r[limit] !== '' && !(number && schema.type === 'string')) schema[limit] = read(String(r[limit]), number ? 'number' : schema.type);
      }
      const allowed = (r.allowed ?? '').split(',').map(a => a.trim()).filter(Boolean);
      if (allowed.length) schema.enum = allowed.map(a => read(a, schema.type));
      return [r.name, { schema, ...(r.description ? { description: r.description } : {}) }];
    })));
  };
  const put = (i, name, v) => change(rows.map((r, j) => j === i ? { ...r, [name]: v } : r));
  const cell = (i, name, label, more) => html`<td><input aria-label=${`${label} of variable ${i + 1}`} value=${rows[i][name] ?? ''} onInput=${e => put(i, name, e.target.value)} ...${more} /></td>`;
  return html`<fieldset><legend>Template variables</legend>
    ${rows.length > 0 && html`<div class="scroll" tabindex="0" role="region" aria-label="Template variables"><table class="form"><thead><tr><th scope="col">Name</th><th scope="col">Type</th><th scope="col">Default</th><th scope="col">Minimum</th><th scope="col">Maximum</th><th scope="col">Allowed (a, b)</th><th scope="col">Description</th><th></th></tr></thead>
      <tbody>${rows.map((r, i) => html`<tr>${cell(i, 'name', 'Name')}<td><select aria-label=${`Type of variable ${i + 1}`} value=${r.type ?? 'string'} onChange=${e => put(i, 'type', e.target.value)}>${types.map(t => html`<option value=${t} selected=${t === (r.type ?? 'string')}>${t}</option>`)}</select></td>
        ${cell(i, 'default', 'Default')}${cell(i, 'minimum', 'Minimum', { inputmode: 'decimal', disabled: (r.type ?? 'string') === 'string' })}${cell(i, 'maximum', 'Maximum', { inputmode: 'decimal', disabled: (r.type ?? 'string') === 'string' })}${cell(i, 'allowed', 'Allowed values')}${cell(i, 'description', 'Description')}
        <td><button type="button" class="small" aria-label=${`Remove variable ${r.name || i + 1}`} onClick=${() => change(rows.filter((_, j) => j !== i))}>✕</button></td></tr>`)}</tbody></table></div>`}
    <button type="button" onClick=${() => edit([...rows, { name: '', type: 'string' }])}>Add a variable</button>
    ${error && html`<p class="fault" role="alert">${error}</p>`}</fieldset>`;
}
