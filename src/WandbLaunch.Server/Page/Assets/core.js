// What every view stands on: what is shown where (the address), what the server says, and when it changes.
import { html, render, useState, useEffect, useRef, useMemo } from './htm-preact.js';
import { signal, effect, batch } from './signals-core.js';

export { html, render, useState, useEffect, useRef, useMemo, signal, effect, batch };

// The other half of the session is a cookie that no script sees. This one stays in this origin, its port included.
const tokenName = 'wandblaunch-session';

export const signedIn = signal(true);
export const live = signal('connecting');

/** Who is signed in: {name, role, teams}; null until the server has said it. */
export const me = signal(null);

/** False for whoever may only look: the server refuses the rest, and the page does not offer it (class "changes"). */
export const mayChange = () => me.peek()?.role !== 'ReadOnly';

async function learnWho() {
  me.value = await ask('/page/me').catch(() => me.peek());
  document.documentElement.dataset.role = me.peek()?.role ?? '';
}

export const now = signal(Date.now());
setInterval(() => { if (!document.hidden) now.value = Date.now(); }, 5000);

/** The value of a signal; what uses it is drawn again with it. */
export function use(source) {
  const [, again] = useState(0);
  const seen = useRef();
  seen.current = source.peek();
  useEffect(() => effect(() => { if (source.value !== seen.current) again(n => n + 1); }), [source]);
  return seen.current;
}

// ---- the address ------------------------------------------------------------------------------------------------------

const read = () => ({ path: location.pathname, query: new URLSearchParams(location.search) });
export const route = signal(read());
addEventListener('popstate', () => { route.value = read(); });

/** Shows another address. */
export function go(href, replace = false) {
  if (href !== location.pathname + location.search) history[replace ? 'replaceState' : 'pushState'](null, '', href);
  route.value = read();
}

/** The address with some of its parameters set, or without those that are null. */
export function at(changes, base = route.peek()) {
  const query = new URLSearchParams(base.query);
  for (const [name, value] of Object.entries(changes)) {
    if (value === null || value === undefined || value === '' || value === false) query.delete(name);
    else query.set(name, value);
  }
  const text = query.toString();
  return base.path + (text ? '?' + text : '');
}

export const path = (...parts) => '/' + parts.map(encodeURIComponent).join('/');
export const runPath = (entity, project, run) => path(entity, project, 'runs', run);

// Links of the page itself are shown without loading it again.
addEventListener('click', event => {
  const link = event.target.closest?.('a[href^="/"]');
  if (!link || link.target || link.hasAttribute('download') || event.defaultPrevented || event.button
    || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey || link.pathname.startsWith('/files/')) return;
  event.preventDefault();
  go(link.getAttribute('href'));
  if (link.closest('nav')) document.querySelector('main')?.focus();
});

// ---- the server -------------------------------------------------------------------------------------------------------

/** What the server refuses: in its words, and of which field. */
export class Refused extends Error {
  constructor(message, field, status) {
    super(message);
    this.field = field;
    this.status = status;
  }
}

const headers = () => ({ 'Content-Type': 'application/json', 'X-WandbLaunch-Session': localStorage.getItem(tokenName) ?? '' });

export async function ask(address, body, method = body === undefined ? 'GET' : 'POST', signal = undefined) {
  let answer;
  try {
    answer = await fetch(address, { method, headers: headers(), body: body === undefined ? undefined : JSON.stringify(body), signal });
  } catch (e) {
    if (e.name === 'AbortError') throw e;
    throw new Refused('The server does not answer. What you typed stays here; it is tried again when the server is back.', null, 0);
  }
  if (answer.status === 401 && address !== '/session') {
    signedIn.value = false;
    throw new Refused('Sign in first.', null, 401);
  }
  const text = await answer.text();
  let data = null;
  try { data = text ? JSON.parse(text) : null; } catch { /* said below */ }
  if (!answer.ok) throw new Refused(data?.error ?? `The server answered ${answer.status}.`, data?.field, answer.status);
  return data;
}

export async function signIn(body) {
  const data = await ask('/session', body);
  localStorage.setItem(tokenName, data.token);
  signedIn.value = true;
  connect();
  tell({ all: true });
}

export async function signOut() {
  await ask('/session', undefined, 'DELETE').catch(() => {});
  localStorage.removeItem(tokenName);
  signedIn.value = false;
  me.value = null;
}

/** An address with what it asks for. */
export function query(address, parameters) {
  const text = new URLSearchParams(Object.entries(parameters).filter(([, v]) => v !== null && v !== undefined && v !== '')).toString();
  return text ? address + '?' + text : address;
}

// ---- what changes -----------------------------------------------------------------------------------------------------

const listeners = new Set();
let stream = null;
let server = null;

function tell(changes) {
  for (const listener of [...listeners]) listener(changes);
}

/** One stream for the page. It comes back by itself, and then everything is asked for again. */
export async function connect() {
  stream?.abort();
  const mine = stream = new AbortController();
  learnWho();
  let wait = 500;
  while (stream === mine && signedIn.peek()) {
    let watch;
    const alive = controller => { clearTimeout(watch); watch = setTimeout(() => controller.abort(), 40000); };
    try {
      const controller = new AbortController();
      mine.signal.addEventListener('abort', () => controller.abort());
      alive(controller);
      const answer = await fetch('/page/events', { headers: headers(), signal: controller.signal });
      if (answer.status === 401) { signedIn.value = false; break; }
      if (!answer.ok) throw new Error(answer.status);
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      let text = '';
      for (;;) {
        const { done, value } = await reader.read();
        if (done) break;
        alive(controller);
        text += value;
        let end;
        while ((end = text.indexOf('\n\n')) >= 0) {
          heard(text.slice(0, end));
          text = text.slice(end + 2);
          wait = 500;
        }
      }
    } catch { /* tried again */ }
    clearTimeout(watch);
    if (stream !== mine) return;
    if (signedIn.peek()) live.value = 'lost';
    await new Promise(r => setTimeout(r, wait));
    wait = Math.min(wait * 2, 5000);
  }
}

function heard(text) {
  const kind = /^event: (.*)$/m.exec(text)?.[1];
  const data = /^data: (.*)$/m.exec(text)?.[1];
  if (kind === 'hello') {
    const again = server !== null || live.peek() === 'lost';
    server = JSON.parse(data).server;
    live.value = 'live';
    if (again) { learnWho(); tell({ all: true }); }
  } else if (kind === 'changes') {
    tell(JSON.parse(data));
  }
}

/** Calls when something changes, at most so often; later where the page is not seen. */
export function useChanges(act, when, deps) {
  const latest = useRef();
  latest.current = act;
  useEffect(() => {
    let timer = null;
    let last = 0;
    let missed = false;
    const run = async () => {
      timer = null;
      if (document.hidden) { missed = true; return; }
      const start = last = Date.now();
      await latest.current();
      // What is slow is asked for less often.
      last = Date.now() + 2 * (Date.now() - start);
    };
    const listener = changes => {
      if ((changes.all || when(changes)) && timer === null) timer = setTimeout(run, Math.max(0, last + 400 - Date.now()));
    };
    const seen = () => { if (!document.hidden && missed) { missed = false; run(); } };
    listeners.add(listener);
    document.addEventListener('visibilitychange', seen);
    return () => { listeners.delete(listener); document.removeEventListener('visibilitychange', seen); clearTimeout(timer); };
  }, deps);
}

/** What an address answers, kept up to date: {data, error, reload}. Old data stays until new is there. */
export function useData(address, when = () => false) {
  const [state, set] = useState({ data: null, error: null, address: null });
  const current = useRef();
  const load = async () => {
    if (address === null) return;
    const mine = current.current = {};
    try {
      const data = await ask(address);
      if (current.current === mine) set({ data, error: null, address });
    } catch (e) {
      if (current.current === mine && e.status !== 401) set(old => ({ data: old.address === address ? old.data : null, error: e, address }));
    }
  };
  useEffect(() => { load(); return () => { current.current = null; }; }, [address]);
  useChanges(load, when, [address]);
  return { ...state, reload: load };
}

// ---- words ------------------------------------------------------------------------------------------------------------

/** The server's times are UTC; the reader's are not. */
export const date = text => text ? new Date(/[Zz]|[+-]\d\d:\d\d$/.test(text) ? text : text + 'Z') : null;

export function span(seconds) {
  if (!Number.isFinite(seconds)) return '';
  const s = Math.max(0, Math.round(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60 ? s % 60 + ' s' : ''}`.trim();
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor(s % 3600 / 60) ? Math.floor(s % 3600 / 60) + ' min' : ''}`.trim();
  return `${Math.floor(s / 86400)} d ${Math.floor(s % 86400 / 3600) ? Math.floor(s % 86400 / 3600) + ' h' : ''}`.trim();
}

export function number(value) {
  if (typeof value !== 'number') return value === null || value === undefined ? '' : String(value);
  if (Number.isInteger(value) && Math.abs(value) < 1e15) return value.toLocaleString();
  return Math.abs(value) >= 1e5 || Math.abs(value) < 1e-3 && value !== 0 ? value.toExponential(3) : String(+value.toPrecision(5));
}

export const bytes = n => n < 1024 ? `${n} B` : n < 1048576 ? `${(n / 1024).toFixed(1)} kB` : n < 1073741824 ? `${(n / 1048576).toFixed(1)} MB` : `${(n / 1073741824).toFixed(1)} GB`;

/** A text of PowerShell: every quote that it takes for one is doubled. */
export const psText = text => "'" + String(text).replace(/['\u2018\u2019\u201a\u201b]/g, '$&$&') + "'";

export const stored = (name, usual) => { try { return JSON.parse(localStorage.getItem('wandblaunch-' + name)) ?? usual; } catch { return usual; } };
export const store = (name, value) => localStorage.setItem('wandblaunch-' + name, JSON.stringify(value));
