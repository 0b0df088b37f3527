// Ctrl+K: to any view, queue, project or run by a few letters of its name.
import { html, useState, useEffect, useRef, ask, query, go, path, runPath, signOut, mayChange } from './core.js';
import { open, Dialog, dialogs } from './ui.js';

// How well a text has all of the words: the beginning of a word of it, within it, or only its letters in their order. Null where one is not there.
function rank(text, words) {
  let sum = 0;
  for (const word of words) {
    const i = text.indexOf(word);
    if (i >= 0) { sum += i === 0 ? 0 : /[\w]/.test(text[i - 1]) ? 2 : 1; continue; }
    let at = -1;
    for (const letter of word) if ((at = text.indexOf(letter, at + 1)) < 0) return null;
    if (word.length < 3) return null;
    sum += 10;
  }
  return sum;
}

const fixed = [
  ['Projects', 'view', '/'], ['Launch: queues', 'view', '/launch'], ['Agents', 'view', '/agents'], ['Monitor', 'view', '/monitor'],
  ['Create a queue', 'action', '/launch?new=1'],
].map(([text, kind, href]) => ({ text, kind, act: () => go(href) }))
  .concat({ text: 'Add to Launch queue', kind: 'action', act: () => import('./push.js').then(m => m.openPush({})) }, { text: 'Sign out', kind: 'action', act: signOut }, { text: 'Keys', kind: 'action', act: () => openHelp() });

const offered = () => fixed.filter(f => mayChange() || !['Create a queue', 'Add to Launch queue'].includes(f.text));

function Palette({ close }) {
  const [text, type] = useState('');
  const [all, set] = useState(offered());
  const [runs, found] = useState([]);
  const [at, move] = useState(0);
  const list = useRef();
  useEffect(() => {
    ask('/page/home').then(home => set([...offered(),
      ...home.queues.map(q => ({ text: `${q.entity}/${q.name}`, kind: 'queue', act: () => go(`/launch?queue=${q.id}`) })),
      ...home.projects.map(p => ({ text: `${p.entity}/${p.name}`, kind: 'project', act: () => go(path(p.entity, p.name)) })),
    ]), () => {});
  }, []);
  useEffect(() => {
    if (!text.trim()) { found([]); return undefined; }
    const stop = new AbortController();
    const timer = setTimeout(() => ask(query('/page/search', { q: text }), undefined, 'GET', stop.signal).then(r => found(r.runs.map(x => ({ text: `${x.displayName || x.name} (${x.entity}/${x.project}/${x.name})`, kind: 'run', act: () => go(runPath(x.entity, x.project, x.name)) }))), () => {}), 150);
    return () => { clearTimeout(timer); stop.abort(); };
  }, [text]);
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  const matched = words.length === 0 ? all : all.map(a => [rank(a.text.toLowerCase(), words), a]).filter(([n]) => n !== null).sort(([a], [b]) => a - b).map(([, a]) => a);
  const shown = [...matched, ...runs].slice(0, 50);
  const chosen = Math.min(at, shown.length - 1);
  const take = entry => { if (entry) { close(); entry.act(); } };
  const key = e => {
    if (e.key === 'ArrowDown') move(Math.min(chosen + 1, shown.length - 1));
    else if (e.key === 'ArrowUp') move(Math.max(0, chosen - 1));
    else if (e.key === 'Enter') take(shown[chosen]);
    else return;
    e.preventDefault();
  };
  useEffect(() => { list.current?.querySelector('[aria-selected=true]')?.scrollIntoView({ block: 'nearest' }); });
  return html`<${Dialog} title="Search" close=${close}>
    <input type="search" class="search" role="combobox" aria-label="Search views, queues, projects, runs" aria-expanded="true" aria-controls="found" aria-activedescendant=${shown.length ? `found-${chosen}` : undefined} autofocus value=${text} onInput=${e => { type(e.target.value); move(0); }} onKeyDown=${key} />
    <ul role="listbox" id="found" aria-label="Found" tabindex="0" ref=${list}>${shown.map((s, i) => html`<li role="option" id=${`found-${i}`} aria-selected=${i === chosen} onClick=${() => take(s)}>${s.text} <span class="quiet">${s.kind}</span></li>`)}</ul>
    ${!shown.length && html`<p class="quiet">Nothing has such a name.</p>`}<//>`;
}

export function openPalette() {
  if (!dialogs.peek().some(d => d.palette)) {
    open(close => html`<${Palette} close=${close} />`);
    dialogs.peek().at(-1).palette = true;
  }
}

const keys = [['Ctrl K', 'search'], ['g p', 'projects'], ['g l', 'launch'], ['g a', 'agents'], ['g m', 'monitor'], ['/', 'to the search of a table'], ['?', 'these keys'], ['Esc', 'closes a dialog or a menu']];
export const openHelp = () => open(close => html`<${Dialog} title="Keys" close=${close}><dl class="facts">${keys.map(([k, t]) => html`<dt><kbd>${k}</kbd></dt><dd>${t}</dd>`)}</dl><//>`);
