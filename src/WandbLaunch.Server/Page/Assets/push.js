// Add to Launch queue: the launch config as a form and as JSON, in step.
import { html, useState, useEffect, useRef, ask, query, go } from './core.js';
import { Dialog, Text, Choice, Json, Fault, Command, open, say, priorities } from './ui.js';
import { again } from './command.js';

/** Opens it: for a run ({entity, project, run}), with what an earlier one asked for ({spec}), or empty. */
export const openPush = of => open(close => html`<${Push} of=${of} close=${close} />`);

const without = (map, keys) => Object.fromEntries(Object.entries(map).filter(([k, v]) => !keys.includes(k) && v !== undefined));

/** A config with a part of it changed; what becomes empty is left out. */
function put(spec, where, value) {
  const [head, ...rest] = where;
  const next = rest.length ? put(spec?.[head] ?? {}, rest, value) : value;
  const empty = next === undefined || next === null || next === '' || typeof next === 'object' && !Array.isArray(next) && Object.keys(next).length === 0;
  return empty ? without(spec ?? {}, [head]) : { ...spec, [head]: next };
}

/** Words of a command line, with quotes around what has blanks; and back. */
export function words(text) {
  const found = [];
  for (const m of text.matchAll(/"((?:[^"\\]|\\.)*)"|'([^']*)'|(\S+)/g)) found.push(m[1] !== undefined ? m[1].replace(/\\(["\\])/g, '$1') : m[2] ?? m[3]);
  return found;
}
export const line = list => (Array.isArray(list) ? list : [String(list ?? '')]).map(w => /^[^\s"']+$/.test(w) ? w : `"${w.replace(/(["\\])/g, '\\$1')}"`).join(' ');

/** Arguments with one that is called so set to a value; null where there is none. */
function withArgument(list, name, value) {
  const i = list.findIndex(a => a === `--${name}` || a.startsWith(`--${name}=`));
  if (i < 0) return null;
  const next = [...list];
  if (list[i].includes('=')) next[i] = `--${name}=${value}`; else if (i + 1 < list.length) next[i + 1] = String(value);
  return next;
}

const parse = text => { try { return JSON.parse(text); } catch { return text; } };

function Push({ of, close }) {
  const [source, know] = useState(null);
  const [spec, set] = useState(() => of.spec ?? (of.run ? { uri: `${location.origin}/${[of.entity, of.project].map(encodeURIComponent).join('/')}/runs/${of.run}`, project: of.project, entity: of.entity } : { uri: '' }));
  const [queues, list] = useState(null);
  const [queue, choose] = useState(of.queue ? String(of.queue) : '');
  const [variables, give] = useState({});
  const [template, learn] = useState({});
  const [priority, rank] = useState('2');
  const [tab, show] = useState('form');
  const [fault, refuse] = useState(null);
  const [busy, work] = useState(false);
  const [wrong, invalid] = useState({});
  useEffect(() => {
    ask('/page/queues').then(a => { list(a.queues); choose(c => c || String(a.queues.find(q => q.entity === of.entity && q.name === 'default')?.id ?? a.queues[0]?.id ?? '')); }, refuse);
    if (of.run) ask(query('/page/source', { entity: of.entity, project: of.project, run: of.run })).then(know, refuse);
  }, []);
  const chosen = queues?.find(q => String(q.id) === queue);
  useEffect(() => { learn({}); if (queue) ask(`/page/queues/${queue}`).then(q => learn(q.variables ?? {}), () => {}); }, [queue]);
  const field = name => fault?.field === name ? fault.message : null;
  const change = (where, value) => { refuse(null); set(s => put(s, where, value)); };
  const bad = Object.values(wrong).some(Boolean);
  const send = async e => {
    e.preventDefault();
    work(true);
    refuse(null);
    const filled = Object.fromEntries(Object.entries(variables).filter(([n, v]) => v !== '' && template[n]).map(([n, v]) => [n, ['integer', 'number'].includes(template[n].schema?.type) ? parse(v) : v]));
    try {
      const { id } = await ask('/page/items', { queue, spec, variables: filled, priority: chosen?.mode === 'V0' ? Number(priority) : undefined });
      close();
      say(`It is in the queue ${chosen.name}, as item ${id}.`);
      go(`/launch?queue=${queue}&item=${id}`);
    } catch (x) {
      refuse(x);
      work(false);
      if (x.field && x.field !== 'queue' && tab === 'json' && x.field !== 'spec') show('form');
    }
  };
  const shownFields = ['queue', 'source', 'entity', 'project', 'name', 'args', 'entry_point', 'run_config', 'resource', 'resource_args', 'priority', ...Object.keys(template).map(n => 'variables.' + n)];
  return html`<${Dialog} title="Add to Launch queue" close=${close} wide>
    <form onSubmit=${send} class="push">
      ${source?.why && html`<p class="fault">${source.why}</p>`}
      <div class="row"><${Choice} label="Queue" value=${queue} set=${choose} error=${field('queue')} options=${queues === null ? [] : queues.length ? queues.map(q => ({ value: q.id, label: `${q.entity}/${q.name}${q.agents ? '' : ' (no agent listens)'}${q.paused ? ' (paused)' : ''}` })) : [{ value: '', label: 'There is no queue yet' }]} />
      ${chosen?.mode === 'V0' && html`<${Choice} label="Priority" value=${priority} set=${rank} error=${field('priority')} options=${priorities.map((label, i) => ({ value: i, label }))} />`}</div>
      ${Object.entries(template).map(([name, v]) => html`<${Variable} key=${name} name=${name} of=${v} value=${variables[name] ?? ''} set=${x => { refuse(null); give(g => ({ ...g, [name]: x })); }} error=${field('variables.' + name)} />`)}
      <div class="tabs" role="tablist" aria-label="The launch config as">${[['form', 'Form'], ['json', 'JSON']].map(([key, text]) => html`<button type="button" role="tab" id=${'tab-' + key} aria-selected=${tab === key} aria-controls="push-panel" disabled=${bad && tab !== key} onClick=${() => show(key)}>${text}</button>`)}</div>
      <div role="tabpanel" id="push-panel" aria-labelledby=${'tab-' + tab}>${tab === 'json'
        ? html`<${Json} label="Launch config" value=${spec} set=${v => { refuse(null); set(v ?? {}); }} rows="16" error=${field('spec') ?? (fault && !shownFields.includes(fault.field) ? fault.message : null)} invalid=${b => invalid(w => ({ ...w, spec: b }))} />`
        : html`<${Form} spec=${spec} change=${change} source=${source} field=${field} invalid=${invalid} set=${set} of=${of} />`}</div>
      ${tab === 'form' && fault && !shownFields.includes(fault.field) && html`<${Fault} error=${fault} />`}
      <details><summary>As a command</summary><${Command} text=${again(spec, chosen)} /></details>
      <footer><button type="button" onClick=${close}>Cancel</button><button type="submit" class="main" disabled=${busy || bad}>Push run</button></footer>
    </form><//>`;
}

function Variable({ name, of: v, value, set, error }) {
  const s = v.schema ?? {};
  const limits = [s.minimum !== undefined && `from ${s.minimum}`, s.maximum !== undefined && `to ${s.maximum}`].filter(Boolean).join(' ');
  const hint = [v.description, limits, s.default !== undefined && `default ${s.default}`].filter(Boolean).join(', ');
  const label = `${name}${s.type && s.type !== 'string' ? ` (${s.type})` : ''}`;
  if (s.enum) return html`<${Choice} label=${label} value=${value} set=${set} hint=${hint} error=${error} options=${[{ value: '', label: s.default === undefined ? 'choose' : `default: ${s.default}` }, ...s.enum.map(x => ({ value: x }))]} />`;
  return html`<${Text} label=${label} value=${value} set=${set} hint=${hint} error=${error} required=${s.default === undefined} inputmode=${s.type && s.type !== 'string' ? 'decimal' : undefined} placeholder=${s.default ?? ''} />`;
}

function Form({ spec, change, source, field, invalid, set, of }) {
  const overrides = spec.overrides ?? {};
  const args = overrides.args ?? source?.arguments ?? [];
  const [argText, typeArgs] = useState(line(args));
  const mine = useRef(line(args));
  useEffect(() => { const now = line(args); if (now !== mine.current) { mine.current = now; typeArgs(now); } }, [JSON.stringify(args)]);
  const setArgs = text => {
    typeArgs(text);
    const list = words(text);
    mine.current = line(list);
    change(['overrides', 'args'], line(list) === line(source?.arguments ?? []) ? undefined : list);
  };
  const setConfig = (key, value) => set(s => {
    const was = source?.config?.[key];
    let next = put(s, ['overrides', 'run_config', key], JSON.stringify(value) === JSON.stringify(was) ? undefined : value);
    // What the program reads from its arguments would not see the config's value.
    const list = withArgument(next.overrides?.args ?? source?.arguments ?? [], key, typeof value === 'object' ? JSON.stringify(value) : value ?? '');
    if (list) next = put(next, ['overrides', 'args'], line(list) === line(source?.arguments ?? []) ? undefined : list);
    return next;
  });
  return html`
    ${of.run ? html`<p>Runs <bdi><strong>${source?.displayName || of.run}</strong></bdi> again${source?.commit ? html`, at the commit <code>${source.commit.slice(0, 10)}</code>` : ''}.</p>${field('source') && html`<p class="fault" role="alert">${field('source')}</p>`}`
    : html`<${Text} label="What to run" value=${spec.job ?? spec.uri} set=${v => set(s => /^[^/\s]+\/[^/\s]+\/[^/\s:]+:[^/\s]+$/.test(v) ? { ...without(s, ['uri']), job: v } : { ...without(s, ['job']), uri: v })} error=${field('source')} required placeholder="https://github.com/me/train" hint="The address of a run or of a git repository, or a job as entity/project/name:alias." />`}
    <div class="row"><${Text} label="Entity" value=${spec.entity} set=${v => change(['entity'], v)} error=${field('entity')} /><${Text} label="Project" value=${spec.project} set=${v => change(['project'], v)} error=${field('project')} hint="Where the run will be." /><${Text} label="Name" value=${spec.name} set=${v => change(['name'], v)} error=${field('name')} /></div>
    <div class="row"><${Text} label="Git version" value=${spec.git?.version} set=${v => change(['git', 'version'], v)} placeholder=${source?.commit ?? 'HEAD'} hint="Another commit than the run's: its uncommitted changes are then left out." /><${Text} label="Entry point" value=${overrides.entry_point ? line(overrides.entry_point) : ''} set=${v => change(['overrides', 'entry_point'], words(v).length ? words(v) : undefined)} error=${field('entry_point')} placeholder=${source?.program ? `python ${source.program}` : 'python train.py'} /></div>
    <${Text} label="Arguments" value=${argText} set=${setArgs} error=${field('args')} placeholder="--lr 0.1 --epochs 3" />
    <${Config} config=${source?.config ?? {}} changed=${overrides.run_config ?? {}} set=${setConfig} error=${field('run_config')} paste=${async text => {
      const m = /(?:^|\/)([^/]+)\/([^/]+)\/runs\/([^/?#]+)/.exec(text.trim());
      if (!m) throw new Error('Give the address of a run: entity/project/runs/id.');
      const [entity, project, run] = m.slice(1).map(decodeURIComponent);
      const other = await ask(query('/page/source', { entity, project, run }));
      for (const [key, value] of Object.entries(other.config)) setConfig(key, value);
    }} />
    <details open=${!!(field('resource') || field('resource_args'))}><summary>Resource</summary><${Text} label="Resource" value=${spec.resource} set=${v => change(['resource'], v)} error=${field('resource')} placeholder="as the queue says" />
    <${Json} label="Resource arguments" value=${spec.resource_args} set=${v => change(['resource_args'], v)} error=${field('resource_args')} rows="4" invalid=${b => invalid(w => ({ ...w, resource_args: b }))} /></details>`;
}

const shown = v => typeof v === 'string' ? v : JSON.stringify(v) ?? '';

/** One value of the config. What is typed stays as it was typed, whatever is read of it. */
function Entry({ id, name, was, value, changed, set }) {
  const [text, type] = useState(shown(value));
  const mine = useRef(value);
  useEffect(() => { if (JSON.stringify(value) !== JSON.stringify(mine.current)) { mine.current = value; type(shown(value)); } }, [JSON.stringify(value)]);
  const input = e => {
    type(e.target.value);
    mine.current = typeof was === 'string' ? e.target.value : parse(e.target.value);
    set(name, mine.current);
  };
  return html`<div class=${changed ? 'entry changed' : 'entry'}><label for=${id}><bdi>${name}</bdi></label><input id=${id} spellcheck=${false} autocomplete="off" value=${text} onInput=${input} />
    ${changed && html`<button type="button" class="small" aria-label=${`Undo the change of ${name}`} onClick=${() => set(name, was)}>↺</button>`}</div>`;
}

/** The run's config: what is changed stands out, and goes back with one press. */
function Config({ config, changed, set, error, paste }) {
  const [name, type] = useState('');
  const [from, link] = useState('');
  const [fault, refuse] = useState(null);
  const [more, grow] = useState(50);
  const [find, look] = useState('');
  const keys = [...new Set([...Object.keys(changed), ...Object.keys(config)])].filter(k => k.toLowerCase().includes(find.toLowerCase()));
  return html`<fieldset><legend>Run config</legend>
    ${Object.keys(config).length > 20 && html`<input type="search" class="search" aria-label="Search the config" placeholder="Search the config" value=${find} onInput=${e => look(e.target.value)} />`}
    ${keys.slice(0, more).map((key, i) => html`<${Entry} key=${key} id=${'c-' + i} name=${key} was=${config[key]} value=${key in changed ? changed[key] : config[key]} changed=${key in changed} set=${set} />`)}
    ${keys.length > more && html`<button type="button" onClick=${() => grow(more + 200)}>${keys.length - more} more</button>`}
    <div class="entry"><input aria-label="Name of another key" placeholder="another key" value=${name} onInput=${e => type(e.target.value)} /><button type="button" disabled=${!name || name in config} onClick=${() => { set(name, ''); type(''); }}>Add key</button></div>
    <div class="entry"><input aria-label="Run to paste the config from" placeholder="entity/project/runs/id" value=${from} onInput=${e => link(e.target.value)} /><button type="button" disabled=${!from} onClick=${() => { refuse(null); paste(from).then(() => { link(''); say('Its config is pasted.'); }, x => refuse(x.message)); }}>Paste from</button></div>
    ${(error || fault) && html`<p class="fault" role="alert">${error || fault}</p>`}</fieldset>`;
}
