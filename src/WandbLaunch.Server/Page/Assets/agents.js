// Agents: who works, on what, and who has not been heard of.
import { html, useData, ask } from './core.js';
import { Time, Empty, Loaded, Menu, attempt, confirm } from './ui.js';

export default function Agents({ query }) {
  const agents = useData('/page/agents', c => c.agents || c.items || c.queues);
  const all = query.get('all');
  return html`<h1>Agents</h1><${Loaded} of=${agents}>${({ agents: known, queues }) => {
    const names = new Map(queues.map(q => [q.id, q.name]));
    const day = Date.now() - 86400000;
    const shown = all ? known : known.filter(a => a.state !== 'Stopped' && (a.state !== 'Lost' || a.items.length || new Date(a.heartbeatAt + 'Z') > day));
    return html`${shown.length === 0 ? html`<${Empty} title="No agent works for this server." command=${'Connect-Wandb -Local\nStart-WandbLaunchAgent -Queue default'}><p>An agent takes items from queues and runs them. On the machine that should do the work:</p><//>`
    : html`<div class="scroll" tabindex="0" role="region" aria-label="Agents"><table><thead><tr><th scope="col">Agent</th><th scope="col">State</th><th scope="col">Machine</th><th scope="col">Queues</th><th scope="col">Runs now</th><th scope="col">Last seen</th><th scope="col">Since</th><th scope="col">Version</th><th scope="col"><span class="unseen">Actions</span></th></tr></thead>
      <tbody>${shown.map(a => html`<tr key=${a.id}><td><bdi>${a.name}</bdi></td><td><span class=${'state ' + a.state.toLowerCase()}>${{ Polling: 'idle', Lost: 'lost' }[a.state] ?? a.state.toLowerCase()}</span></td><td><bdi>${a.hostname}</bdi></td>
        <td>${a.queues.map(q => html`<a class="chip" href=${`/launch?queue=${q}`}><bdi>${names.get(q) ?? `#${q}`}</bdi></a> `)}</td><td>${a.items.length === 0 ? html`<span class="quiet">nothing</span>` : a.items.map(i => html`<a href=${`/launch?item=${i}`}>#${i}</a> `)}</td>
        <td><${Time} at=${a.heartbeatAt} /></td><td><${Time} at=${a.createdAt} /></td><td>${a.version}</td>
        <td><${Menu} label=${`Actions of ${a.name}`} actions=${[{ label: 'Drain', act: () => confirm(`Drain ${a.name}?`, 'It takes nothing new, finishes what it runs, and then ends.', 'Drain', () => attempt(() => ask(`/page/agents/${a.id}/drain`, {}), `${a.name} takes nothing new.`)), off: !['Polling', 'Running'].includes(a.state) && 'It takes nothing new already.' },
          { label: 'Stop', danger: true, act: () => confirm(`Stop ${a.name}?`, `It takes nothing new, stops what it runs (${a.items.length || 'nothing'} now), and then ends. An agent of another kind than this module's finishes its runs.`, 'Stop agent', () => attempt(() => ask(`/page/agents/${a.id}/stop`, {}), `${a.name} is told to stop its runs.`)), off: ['Stopping', 'Stopped', 'Lost'].includes(a.state) && 'It does not work any more.' }]} /></td></tr>`)}</tbody></table></div>`}
      <p>${all ? html`<a href="/agents">Only those that work</a>` : known.length > shown.length && html`<a href="/agents?all=1">Show ${known.length - shown.length} of before, too</a>`}</p>`;
  }}<//>`;
}
