// Monitor: the last days of all queues: how items ended, how long they waited, when they ran, and why they failed.
import { html, useState, useRef, useData, query as url, go, at, span, date, number } from './core.js';
import { Time, Took, State, Empty, Loaded, Tabs } from './ui.js';

const days = [['1', '1 day'], ['7', '7 days'], ['30', '30 days']];
const kinds = [['FINISHED', 'finished'], ['FAILED', 'failed'], ['STOPPED', 'stopped']];

export default function Monitor({ query }) {
  const since = query.get('days') ?? '7';
  const data = useData(url('/page/monitor', { days: /^\d+$/.test(since) ? since : 7 }), c => c.items);
  return html`<h1>Monitor</h1><${Tabs} label="Time" tabs=${days} now=${since} to=${d => at({ days: d === '7' ? null : d, from: null, to: null })} />
    <${Loaded} of=${data}>${d => d.by.length === 0 ? html`<${Empty} title="Nothing was queued in these days." command="Add-WandbLaunchQueueItem https://github.com/me/train -Queue default"><p>What queues and agents do is seen here. Queue something:</p><//>` : html`
      ${!d.complete && html`<p class="quiet">Only the newest 50,000 items are counted.</p>`}
      <div class="charts"><figure><figcaption>Ended ${d.seconds < 86400 ? `in ${span(d.seconds)} each` : 'each day'}</figcaption><${Bars} data=${d} /></figure>
        <figure><figcaption>Time in the queue (median)</figcaption><${Waits} data=${d} /></figure></div>
      <h2>Runs</h2><${Gantt} data=${d} query=${query} />
      <h2>By</h2><div class="columns3">${['queue', 'user', 'project'].map(k => html`<${By} kind=${k} rows=${d.by.filter(b => b.kind === k)} />`)}</div>
      <h2>Failures by reason</h2>${d.reasons.length === 0 ? html`<p class="quiet">None.</p>` : html`<div class="scroll" tabindex="0" role="region" aria-label="Reasons"><table><thead><tr><th scope="col">Reason</th><th scope="col" class="n">Items</th></tr></thead><tbody>${d.reasons.map(r => html`<tr><td class="break"><bdi>${r.reason}</bdi></td><td class="n">${r.count}</td></tr>`)}</tbody></table></div>`}`}<//>`;
}

const label = b => date(b.at).toLocaleString(undefined, { month: 'short', day: 'numeric', hour: '2-digit' });

function Bars({ data }) {
  const sums = data.buckets.map(b => kinds.reduce((n, [k]) => n + (b.states[k] ?? 0), 0));
  const top = Math.max(1, ...sums);
  const width = 100 / data.buckets.length;
  const total = kinds.map(([k, w]) => `${data.buckets.reduce((n, b) => n + (b.states[k] ?? 0), 0)} ${w}`).join(', ');
  return html`<svg viewBox="0 0 100 40" preserveAspectRatio="none" role="img" aria-label=${`How items ended: ${total}`}>${data.buckets.map((b, i) => {
    let y = 40;
    return kinds.map(([k, name]) => {
      const h = (b.states[k] ?? 0) / top * 38;
      y -= h;
      return h > 0 && html`<rect class=${'fill-' + name} x=${i * width + width * 0.1} y=${y} width=${width * 0.8} height=${h}><title>${`${label(b)}: ${b.states[k]} ${name}`}</title></rect>`;
    });
  })}</svg><p class="hint">${total}. The highest bar is ${top}.</p>`;
}

function Waits({ data }) {
  const top = Math.max(1, ...data.buckets.map(b => b.wait ?? 0));
  const longest = Math.max(0, ...data.buckets.map(b => b.longest ?? 0));
  const width = 100 / data.buckets.length;
  return html`<svg viewBox="0 0 100 40" preserveAspectRatio="none" role="img" aria-label=${`Time in the queue: at most ${span(longest)}`}>${data.buckets.map((b, i) => b.wait !== null && html`<rect class="fill-running" x=${i * width + width * 0.1} y=${40 - Math.max(0.5, b.wait / top * 38)} width=${width * 0.8} height=${Math.max(0.5, b.wait / top * 38)}><title>${`${label(b)}: ${span(b.wait)}`}</title></rect>`)}</svg><p class="hint">The highest bar is ${span(top)}; the longest wait ${span(longest)}.</p>`;
}

/** When what ran. Dragging over it, or the two times below, chooses what the table shows. */
function Gantt({ data, query }) {
  const start = +date(data.since);
  const end = +date(data.now);
  const box = useRef();
  const [drag, pull] = useState(null);
  const from = Math.max(start, Number(query.get('from')) || start);
  const to = Math.min(end, Number(query.get('to')) || end);
  const bars = data.bars.map(b => ({ ...b, from: +date(b.claimedAt), to: b.finishedAt ? +date(b.finishedAt) : end })).sort((a, b) => a.from - b.from);
  const lanes = [];
  for (const b of bars) {
    let lane = lanes.findIndex(l => l <= b.from);
    if (lane < 0) { lane = lanes.length; lanes.push(0); }
    lanes[lane] = b.to;
    b.lane = lane;
  }
  const height = Math.max(4, Math.min(60, lanes.length * 4));
  const x = t => (t - start) / (end - start) * 100;
  const time = e => { const r = box.current.getBoundingClientRect(); return Math.round(start + Math.min(1, Math.max(0, (e.clientX - r.left) / r.width)) * (end - start)); };
  const up = e => { if (drag) { const b = time(e); const [f, t] = [Math.min(drag.at, b), Math.max(drag.at, b)]; pull(null); if (t - f > (end - start) / 200) go(at({ from: f, to: t }), true); } };
  const shown = bars.filter(b => b.to >= from && b.from <= to).sort((a, b) => b.from - a.from);
  const input = (name, value) => html`<input type="datetime-local" aria-label=${name === 'from' ? 'From' : 'To'} value=${local(value)} onChange=${e => go(at({ [name]: e.target.value ? +new Date(e.target.value) : null }), true)} />`;
  return html`<svg ref=${box} class="gantt" viewBox=${`0 0 100 ${height}`} preserveAspectRatio="none" role="img" aria-label=${`When runs ran: ${bars.length} bars`} onPointerDown=${e => { e.currentTarget.setPointerCapture(e.pointerId); const t = time(e); pull({ at: t, to: t }); }} onPointerMove=${e => { if (drag) pull({ at: drag.at, to: time(e) }); }} onPointerUp=${up}>
      ${bars.map(b => html`<rect class=${'fill-' + ({ CLAIMED: 'running', LEASED: 'running', FINISHED: 'finished', FAILED: 'failed' }[b.state] ?? 'stopped')} x=${x(b.from)} y=${b.lane % 15 * 4 + 0.5} width=${Math.max(0.2, x(b.to) - x(b.from))} height="3"><title>${`#${b.id} in ${b.queue ?? '?'}: ${span((b.to - b.from) / 1000)}`}</title></rect>`)}
      ${(drag || query.get('from')) && html`<rect class="brush" x=${x(drag ? Math.min(drag.at, drag.to) : from)} y="0" width=${x(drag ? Math.max(drag.at, drag.to) : to) - x(drag ? Math.min(drag.at, drag.to) : from)} height=${height} />`}</svg>
    <div class="tools"><span>From</span> ${input('from', from)} <span>to</span> ${input('to', to)} ${(query.get('from') || query.get('to')) && html`<button type="button" onClick=${() => go(at({ from: null, to: null }), true)}>All</button>`}<span class="quiet">${number(shown.length)} runs</span></div>
    <div class="scroll half" tabindex="0" role="region" aria-label="Runs of that time"><table><thead><tr><th scope="col">Item</th><th scope="col">Queue</th><th scope="col">State</th><th scope="col">Author</th><th scope="col">Waited</th><th scope="col">Started</th><th scope="col">Took</th></tr></thead>
      <tbody>${shown.slice(0, 200).map(b => html`<tr key=${b.id}><td><a href=${`/launch?item=${b.id}`}>#${b.id}</a></td><td><bdi>${b.queue}</bdi></td><td><${State} state=${b.state} /></td><td><bdi>${b.author}</bdi></td><td><${Took} from=${b.createdAt} to=${b.claimedAt} /></td><td><${Time} at=${b.claimedAt} /></td><td><${Took} from=${b.claimedAt} to=${b.finishedAt} /></td></tr>`)}</tbody></table></div>`;
}
const local = t => new Date(t - new Date(t).getTimezoneOffset() * 60000).toISOString().slice(0, 16);

const By = ({ kind, rows }) => html`<div class="scroll" tabindex="0" role="region" aria-label=${`By ${kind}`}><table><thead><tr><th scope="col">${kind}</th><th scope="col" class="n">Waiting</th><th scope="col" class="n">Running</th><th scope="col" class="n">Finished</th><th scope="col" class="n">Failed</th></tr></thead>
  <tbody>${rows.map(r => html`<tr><td><bdi>${r.name}</bdi></td><td class="n">${r.waiting}</td><td class="n">${r.running}</td><td class="n">${r.finished}</td><td class="n">${r.failed}</td></tr>`)}</tbody></table></div>`;
