// Conditions on runs: a line each, kept in the address, and sent as the run filter that W&B's clients send.
import { html, useState } from './core.js';
import { Dialog, Choice, Text, Field, open } from './ui.js';

const fields = { name: 'display_name', created: 'created_at', jobType: 'job_type' };
const operators = { '=': '$eq', '≠': '$ne', '>': '$gt', '≥': '$gte', '<': '$lt', '≤': '$lte', contains: '$regex', 'is there': '$exists', missing: '$exists' };

export function readFilters(query) {
  try {
    const all = JSON.parse(query.get('filter') ?? '[]');
    return Array.isArray(all) ? all.filter(f => Array.isArray(f) && f.length === 3 && operators[f[1]]) : [];
  } catch {
    return [];
  }
}

const field = column => column.startsWith('summary.') ? 'summary_metrics.' + column.slice(8) : fields[column] ?? column;
const value = text => { if (typeof text !== 'string') return text; if (text.trim() !== '' && Number.isFinite(Number(text))) return Number(text); return text === 'true' ? true : text === 'false' ? false : text; };
const escape = text => String(text).replace(/[.*+?^${}()|[\]\\]/g, '\\$&');

export const mongo = filters => JSON.stringify({ $and: filters.map(([column, op, given]) => {
  const name = field(column);
  if (column === 'tags') return { tags: { [op === '≠' || op === 'missing' ? '$nin' : '$in']: [String(given)] } };
  if (op === 'contains') return { [name]: { $regex: '(?i)' + escape(given) } };
  if (op === 'is there' || op === 'missing') return { [name]: { $exists: op === 'is there' } };
  const own = !column.includes('.');
  return { [name]: { [operators[op]]: own ? String(given) : value(given) } };
}) });

const name = c => c.startsWith('summary.') || c.startsWith('config.') ? c : c[0].toUpperCase() + c.slice(1);

export function Filters({ filters, columns, set }) {
  const remove = i => set(filters.filter((_, j) => j !== i));
  return html`<div class="tools" role="group" aria-label="Filters">${filters.map(([c, op, v], i) => html`<span class="chip"><bdi>${name(c)} ${op} ${op === 'is there' || op === 'missing' ? '' : String(v)}</bdi> <button type="button" class="small" aria-label=${`Remove the filter ${name(c)} ${op} ${v}`} onClick=${() => remove(i)}>✕</button></span>`)}
    <button type="button" onClick=${() => open(close => html`<${Add} columns=${columns} close=${close} add=${f => set([...filters, f])} />`)}>Add filter</button></div>`;
}

function Add({ columns, close, add }) {
  const [column, choose] = useState('state');
  const [op, compare] = useState('=');
  const [text, type] = useState('');
  const bare = op === 'is there' || op === 'missing';
  const [wrong, refuse] = useState(null);
  const done = e => {
    e.preventDefault();
    if (!column.includes('.') && !columns.includes(column)) { refuse('There is no such column. Columns are state, name, config.KEY, summary.KEY, …'); return; }
    close();
    add([column, op, bare ? '' : text]);
  };
  return html`<${Dialog} title="Add filter" close=${close}><form onSubmit=${done}>
    <${Field} label="Column" error=${wrong}>${a => html`<input ...${a} list="filter-columns" required autocomplete="off" value=${column} onInput=${e => { refuse(null); choose(e.target.value); }} /><datalist id="filter-columns">${columns.slice(0, 1000).map(c => html`<option value=${c}></option>`)}</datalist>`}<//>
    <${Choice} label="Is" value=${op} set=${compare} options=${Object.keys(operators).map(o => ({ value: o }))} />
    ${!bare && html`<${Text} label="Value" value=${text} set=${type} required />`}
    <footer><button type="button" onClick=${close}>Cancel</button><button type="submit" class="main">Add</button></footer></form><//>`;
}
