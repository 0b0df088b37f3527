// Pieces that views are made of.
import { html, use, useState, useEffect, useRef, signal, now, date, span, go, path, me, mayChange } from './core.js';

/** A time, as long ago as it is; whole, in the reader's zone, for whoever points at it. */
export function Time({ at }) {
  const t = use(now);
  const when = date(at);
  if (!when) return null;
  const ago = (t - when) / 1000;
  const shown = ago < 5 ? 'now' : ago < 604800 ? span(ago < 3600 ? (ago < 60 ? ago : ago - ago % 60) : ago - ago % 3600) + ' ago' : when.toLocaleDateString();
  return html`<time dateTime=${when.toISOString()} title=${when.toLocaleString(undefined, { dateStyle: 'full', timeStyle: 'long' })}>${shown}</time>`;
}

/** How long something took, or takes until now. */
export function Took({ from, to }) {
  const t = use(now);
  if (!from) return null;
  return span(((to ? date(to) : Math.max(t, date(from))) - date(from)) / 1000);
}

const words = { PENDING: 'waiting', LEASED: 'starting', CLAIMED: 'running', FINISHED: 'finished', FAILED: 'failed', STOPPED: 'stopped' };
export const stateName = state => words[state] ?? String(state ?? '').toLowerCase();
export const State = ({ state }) => html`<span class=${'state ' + stateName(state).replace(/[^a-z]/g, '')}>${stateName(state)}</span>`;

export const priorities = ['critical', 'high', 'medium', 'low'];

export function Copy({ text, label = 'Copy' }) {
  const [done, set] = useState(false);
  return html`<button type="button" class="small" onClick=${async () => {
    await navigator.clipboard.writeText(text);
    set(true);
    setTimeout(() => set(false), 1500);
  }}>${done ? 'Copied' : label}</button>`;
}

/** A command that can be copied. */
export const Command = ({ text }) => html`<div class="command"><pre tabindex="0" aria-label="Command"><code>${text}</code></pre><${Copy} text=${text} /></div>`;

/** What is shown where there is nothing yet: what to do, and what to type. */
export const Empty = ({ title, command, children }) => html`<div class="empty"><p><strong>${title}</strong></p>${children}${command && html`<${Command} text=${command} />`}</div>`;

export const Fault = ({ error }) => error && html`<p class="fault" role="alert">${error.message}</p>`;

/** What a table or a view shows while nothing is known, or could not be asked. */
export function Loaded({ of, children }) {
  if (of.data) return html`<${Fault} error=${of.error} />${children(of.data)}`;
  return of.error ? html`<${Fault} error=${of.error} />` : html`<p class="quiet">Loading …</p>`;
}

// ---- dialogs ----------------------------------------------------------------------------------------------------------

export function Dialog({ title, close, wide, children }) {
  const ref = useRef();
  useEffect(() => {
    const dialog = ref.current;
    const before = document.activeElement;
    dialog.showModal();
    return () => { dialog.close(); before?.focus?.(); };
  }, []);
  useEffect(() => { if (ref.current.open && !ref.current.matches(':modal')) { ref.current.close(); ref.current.showModal(); } });
  return html`<dialog ref=${ref} class=${wide ? 'wide' : ''} aria-label=${title} onCancel=${e => { if (e.target === ref.current) { e.preventDefault(); close(); } }}>
    <header><h2>${title}</h2><button type="button" class="small" aria-label="Close" onClick=${close}>✕</button></header>
    ${children}
  </dialog>`;
}

/** Opened over everything: a function that draws with the function that closes it. */
export const dialogs = signal([]);
export function open(draw) {
  const entry = { close: () => { dialogs.value = dialogs.peek().filter(d => d !== entry); } };
  entry.draw = draw;
  dialogs.value = [...dialogs.peek(), entry];
  return entry.close;
}
export const Dialogs = () => use(dialogs).map((d, i) => html`<div key=${i}>${d.draw(d.close)}</div>`);

/** Asks before something is gone. */
export const confirm = (title, text, verb, act) => open(close => {
  const run = async () => { close(); await act(); };
  return html`<${Dialog} title=${title} close=${close}><p>${text}</p>
    <footer><button type="button" onClick=${close}>Cancel</button><button type="button" class="danger" onClick=${run}>${verb}</button></footer><//>`;
});

// ---- notes ------------------------------------------------------------------------------------------------------------

const notes = signal([]);
export function say(text, kind = '') {
  const note = { text, kind };
  notes.value = [...notes.peek().slice(-3), note];
  setTimeout(() => { notes.value = notes.peek().filter(n => n !== note); }, kind === 'bad' ? 12000 : 5000);
}
export const Notes = () => html`<div class="notes" role="status" aria-live="polite">${use(notes).map(n => html`<p class=${n.kind}>${n.text}</p>`)}</div>`;

/** Does something, and says what was refused. */
export async function attempt(act, done) {
  try {
    const result = await act();
    if (done) say(typeof done === 'function' ? done(result) : done);
    return result;
  } catch (e) {
    if (e.status !== 401) say(e.message, 'bad');
    return null;
  }
}

// ---- menus ------------------------------------------------------------------------------------------------------------

/** The actions of one thing: [{label, act, danger, off, reads}]. Who may only look has those that read. */
export function Menu({ label, actions }) {
  use(me);
  const [place, set] = useState(null);
  const button = useRef();
  const list = useRef();
  const shown = actions.filter(a => a && (a.reads || mayChange()));
  const shut = focus => { set(null); if (focus) button.current?.focus(); };
  const toggle = () => {
    if (place) { shut(); return; }
    const box = button.current.getBoundingClientRect();
    const height = shown.length * 36 + 12;
    set({ top: `${box.bottom + height > innerHeight ? Math.max(4, box.top - height) : box.bottom + 4}px`, right: `${Math.max(4, innerWidth - box.right)}px` });
  };
  useEffect(() => {
    if (!place) return undefined;
    list.current.querySelector('button')?.focus();
    const away = e => { if (!list.current?.contains(e.target) && !button.current?.contains(e.target)) shut(); };
    const scrolled = () => shut();
    addEventListener('pointerdown', away);
    addEventListener('scroll', scrolled, true);
    return () => { removeEventListener('pointerdown', away); removeEventListener('scroll', scrolled, true); };
  }, [place]);
  const key = e => {
    const all = [...list.current.querySelectorAll('button')];
    const i = all.indexOf(document.activeElement);
    if (e.key === 'Escape') { e.stopPropagation(); shut(true); }
    else if (e.key === 'ArrowDown') all[(i + 1) % all.length].focus();
    else if (e.key === 'ArrowUp') all[(i + all.length - 1) % all.length].focus();
    else if (e.key === 'Tab') shut();
    else return;
    if (e.key !== 'Tab') e.preventDefault();
  };
  if (shown.length === 0) return null;
  return html`<span class="menu"><button type="button" ref=${button} class="small" aria-haspopup="menu" aria-expanded=${!!place} aria-label=${label} onClick=${toggle}>⋯</button>
    ${place && html`<div role="menu" ref=${list} style=${place} aria-label=${label} onKeyDown=${key}>
      ${shown.map(a => html`<button type="button" role="menuitem" class=${a.danger ? 'danger' : ''} aria-disabled=${!!a.off} title=${a.off || undefined} onClick=${() => { if (!a.off) { shut(true); a.act(); } }}>${a.label}</button>`)}
    </div>`}</span>`;
}

// ---- forms ------------------------------------------------------------------------------------------------------------

let fields = 0;

/** A labelled field with what is wrong with it below: children(id, attributes). */
export function Field({ label, error, hint, children }) {
  const [id] = useState(() => `f${++fields}`);
  const described = [error && id + '-e', hint && id + '-h'].filter(Boolean).join(' ') || undefined;
  return html`<div class="field"><label for=${id}>${label}</label>
    ${children({ id, 'aria-invalid': error ? 'true' : undefined, 'aria-describedby': described })}
    ${hint && html`<p class="hint" id=${id + '-h'}>${hint}</p>`}
    ${error && html`<p class="fault" role="alert" id=${id + '-e'}>${error}</p>`}</div>`;
}

export const Text = ({ label, value, set, error, hint, ...more }) => html`<${Field} label=${label} error=${error} hint=${hint}>${a => html`<input type="text" spellcheck=${false} autocomplete="off" ...${a} ...${more} value=${value ?? ''} onInput=${e => set(e.target.value)} />`}<//>`;

export const Choice = ({ label, value, set, options, error, hint, ...more }) => html`<${Field} label=${label} error=${error} hint=${hint}>${a => html`<select ...${a} ...${more} value=${value ?? ''} onChange=${e => set(e.target.value)}>${options.map(o => html`<option value=${o.value} selected=${String(o.value) === String(value ?? '')}>${o.label ?? o.value}</option>`)}</select>`}<//>`;

/** A JSON text. What is no JSON stays as it was typed, and says so. */
export function Json({ label, value, set, error, hint, rows = 6, invalid }) {
  const [text, type] = useState(() => value === undefined || value === null ? '' : JSON.stringify(value, null, 2));
  const [wrong, mark] = useState(null);
  const mine = useRef(JSON.stringify(value ?? null));
  const given = JSON.stringify(value ?? null);
  useEffect(() => {
    if (given !== mine.current) { mine.current = given; type(value === undefined || value === null ? '' : JSON.stringify(value, null, 2)); mark(null); invalid?.(false); }
  }, [given]);
  const input = e => {
    type(e.target.value);
    try {
      const read = e.target.value.trim() ? JSON.parse(e.target.value) : null;
      if (read !== null && (typeof read !== 'object' || Array.isArray(read))) throw new Error('it must be an object: { … }');
      mine.current = JSON.stringify(read);
      mark(null);
      invalid?.(false);
      set(read);
    } catch (x) {
      mark(`This is not JSON yet: ${x.message}`);
      invalid?.(true);
    }
  };
  return html`<${Field} label=${label} error=${wrong ?? error} hint=${hint}>${a => html`<textarea ...${a} rows=${rows} spellcheck=${false} value=${text} onInput=${input}></textarea>`}<//>`;
}

/** Tabs that are links: the address says which one is shown. */
export const Tabs = ({ label, tabs, now: shown, to }) => html`<nav class="tabs" aria-label=${label}>${tabs.map(([key, text]) => html`<a href=${to(key)} aria-current=${key === shown ? 'page' : undefined}>${text}</a>`)}</nav>`;

/** What is above each part of a project. */
export const ProjectHead = ({ entity, project, part }) => html`<p class="crumbs"><a href="/">Projects</a></p><h1><bdi>${entity}/${project}</bdi></h1>
  <${Tabs} label="Parts of the project" tabs=${[['runs', 'Runs'], ['sweeps', 'Sweeps'], ['artifacts', 'Artifacts']]} now=${part} to=${k => path(entity, project, ...(k === 'runs' ? [] : [k]))} />`;

/** A version of an artifact. */
export const Artifact = ({ of: a }) => html`<a href=${path(a.entity, a.project, 'artifacts', a.type, a.name, 'v' + a.version)}><bdi>${a.name}</bdi>:v${a.version}</a> <span class="quiet">${a.type}${a.usedAs && html`, as <bdi>${a.usedAs}</bdi>`}</span>`;

/** A search that goes into the address once one stops typing. */
export function Search({ label, value, set }) {
  const [text, type] = useState(value ?? '');
  const timer = useRef();
  const sent = useRef(value ?? '');
  useEffect(() => { if ((value ?? '') !== sent.current) { sent.current = value ?? ''; type(value ?? ''); } }, [value]);
  const input = e => {
    type(e.target.value);
    clearTimeout(timer.current);
    const wanted = e.target.value;
    timer.current = setTimeout(() => { sent.current = wanted; set(wanted); }, 250);
  };
  return html`<input type="search" class="search" aria-label=${label} placeholder=${label} value=${text} onInput=${input} />`;
}

export { go };
