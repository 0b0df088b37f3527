// The page: who is signed in, what is where, and the view that the address names.
import { html, render, use, useState, useEffect, effect, route, go, path, me, signedIn, live, signIn, signOut, connect, stored, store } from './core.js';
import { Dialogs, Notes } from './ui.js';
import { openPalette, openHelp } from './palette.js';

const byId = id => document.getElementById(id);

// Views are loaded when they are shown first.
const views = {
  home: () => import('./home.js'),
  launch: () => import('./launch.js'),
  agents: () => import('./agents.js'),
  monitor: () => import('./monitor.js'),
  runs: () => import('./runs.js'),
  run: () => import('./run.js'),
  sweeps: () => import('./sweeps.js'),
  artifacts: () => import('./artifacts.js'),
};

function find({ path: where }) {
  let parts;
  try { parts = where.split('/').filter(Boolean).map(decodeURIComponent); } catch { return ['none', {}]; }
  const [entity, project, kind, run] = parts;
  if (parts.length === 0) return ['home', {}];
  if (parts.length === 1) return [['launch', 'agents', 'monitor'].includes(entity) ? entity : 'home', { entity }];
  if (parts.length === 2) return ['runs', { entity, project }];
  if (parts.length === 4 && kind === 'runs') return ['run', { entity, project, run }];
  // As W&B's addresses have them: /entity/project/sweeps/ID, /entity/project/artifacts/TYPE/NAME/VERSION.
  if (kind === 'sweeps' && parts.length < 5) return ['sweeps', { entity, project, sweep: run }];
  return kind === 'artifacts' && parts.length !== 4 && parts.length < 7 ? ['artifacts', { entity, project, name: parts[4], version: parts[5] }] : ['none', {}];
}

// ---- light and dark ---------------------------------------------------------------------------------------------------

const themes = ['auto', 'light', 'dark'];
const setTheme = theme => { if (theme === 'auto') delete document.documentElement.dataset.theme; else document.documentElement.dataset.theme = theme; };
setTheme(stored('theme', 'auto'));

function Theme() {
  const [theme, set] = useState(stored('theme', 'auto'));
  const next = themes[(themes.indexOf(theme) + 1) % 3];
  return html`<button type="button" class="small" title=${`Colours: ${theme}. Press for ${next}.`} aria-label=${`Colours: ${theme}`} onClick=${() => {
    store('theme', next);
    setTheme(next);
    set(next);
    dispatchEvent(new Event('themechange'));
  }}>${{ auto: '◐', light: '☀', dark: '☾' }[theme]}</button>`;
}

// ---- the shell --------------------------------------------------------------------------------------------------------

const places = [['home', '/', 'Projects'], ['launch', '/launch', 'Launch'], ['agents', '/agents', 'Agents'], ['monitor', '/monitor', 'Monitor']];

function App() {
  const here = use(route);
  const state = use(live);
  const known = use(signedIn);
  const who = use(me);
  const [name, args] = find(here);
  const [view, set] = useState({ name: null });
  useEffect(() => {
    if (!views[name]) { set({ name }); return; }
    views[name]().then(m => set({ name, draw: m.default }), () => set({ name, error: 'This view could not be loaded. Reload the page: the server may be another version by now.' }));
  }, [name]);
  const inProject = ['runs', 'run', 'sweeps', 'artifacts'].includes(name);
  const title = inProject ? args.run ?? args.sweep ?? args.name ?? `${args.entity}/${args.project}` : places.find(p => p[0] === name)?.[2] ?? 'Not found';
  useEffect(() => { document.title = `${title} – WandbLaunch`; }, [title]);
  return html`
    <a class="skip" href="#content" onClick=${e => { e.preventDefault(); byId('content').focus(); }}>To the content</a>
    <header class="bar">
      <nav aria-label="Views">${places.map(([key, href, text]) => html`<a href=${href} aria-current=${name === key || key === 'home' && inProject ? 'page' : undefined}>${text}</a>`)}</nav>
      <span class=${'live ' + state} title=${state === 'live' ? 'The page is told what changes.' : 'The server does not answer; the page tries again.'}>${{ live: 'live', lost: 'no server', connecting: '…' }[state]}</span>
      <button type="button" class="small" aria-label="Search (Ctrl+K)" title="Search (Ctrl+K)" onClick=${openPalette}>⌕</button>
      <${Theme} />
      ${known && html`<button type="button" id="sign-out" class="small" title=${who ? `Signed in as ${who.name}${who.role === 'ReadOnly' ? ', who may only look' : ''}` : undefined} onClick=${signOut}>Sign out</button>`}
    </header>
    <main id="content" tabindex="-1">
      ${name === 'none' ? html`<h1>Nothing is here</h1><p>There is no such page. <a href="/">Projects</a> and <a href="/launch">queues</a> are.</p>`
      : view.error && view.name === name ? html`<p class="fault" role="alert">${view.error}</p>`
      : view.name === name && view.draw ? html`<${view.draw} key=${name + JSON.stringify(args)} ...${args} query=${here.query} />`
      : html`<p class="quiet">Loading …</p>`}
    </main>
    <${Dialogs} /><${Notes} />`;
}

// ---- signing in -------------------------------------------------------------------------------------------------------

const signInDialog = byId('sign-in');
signInDialog.addEventListener('cancel', e => e.preventDefault());
signInDialog.querySelector('form').addEventListener('submit', async e => {
  e.preventDefault();
  try {
    await signIn({ key: byId('key').value });
    byId('key').value = '';
    byId('sign-in-fault').textContent = '';
  } catch (x) {
    byId('sign-in-fault').textContent = x.message;
  }
});

// Over whatever is there: what was typed below it is still there afterwards.
effect(() => {
  if (signedIn.value) { if (signInDialog.open) signInDialog.close(); }
  else if (!signInDialog.open) signInDialog.showModal();
});

async function start() {
  // A link that signs in once. Its code is after the #, which no server is told, and is gone from the address at once.
  const link = /^#link=([0-9A-Fa-f]+)$/.exec(location.hash)?.[1];
  if (link) {
    history.replaceState(null, '', location.pathname + location.search);
    try {
      await signIn({ link });
    } catch (e) {
      byId('sign-in-fault').textContent = e.message;
      signedIn.value = false;
    }
  }
  render(html`<${App} />`, byId('app'));
  connect();
}

signedIn.subscribe(is => { if (is) byId('sign-in-fault').textContent = ''; });

// ---- keys -------------------------------------------------------------------------------------------------------------

let leader = 0;
addEventListener('keydown', e => {
  if ((e.ctrlKey || e.metaKey) && e.key.toLowerCase() === 'k') { e.preventDefault(); if (signedIn.peek()) openPalette(); return; }
  if (e.ctrlKey || e.metaKey || e.altKey || e.target.closest?.('input, textarea, select, dialog, [role=menu]')) return;
  const place = { p: '/', l: '/launch', a: '/agents', m: '/monitor' }[e.key];
  if (Date.now() - leader < 1500 && place) { leader = 0; go(place); }
  else if (e.key === 'g') leader = Date.now();
  else if (e.key === '/') { const search = document.querySelector('main input[type=search]'); if (search) { e.preventDefault(); search.focus(); } }
  else if (e.key === '?') openHelp();
});

start();
