// Projects: what is here, and how to begin where nothing is.
import { html, useData, path, number, go, at } from './core.js';
import { Time, Empty, Command, Loaded, Search } from './ui.js';

export default function Home({ query, entity }) {
  const home = useData('/page/home', c => c.projects || c.runs || c.queues);
  const text = (query.get('q') ?? '').toLowerCase();
  return html`<h1>${entity ? `Projects of ${entity}` : 'Projects'}</h1>
    <${Loaded} of=${home}>${data => {
      const mine = data.projects.filter(p => !entity || p.entity === entity);
      const shown = mine.filter(p => `${p.entity}/${p.name}`.toLowerCase().includes(text));
      const runs = mine.reduce((n, p) => n + p.runs, 0);
      return html`
        ${runs === 0 && html`<${Begin} />`}
        ${mine.length > 5 && html`<${Search} label="Search projects" value=${query.get('q')} set=${q => go(at({ q }), true)} />`}
        ${mine.length > 0 && html`<div class="scroll" tabindex="0" role="region" aria-label="Projects"><table><thead><tr><th scope="col">Project</th><th scope="col" class="n">Runs</th><th scope="col">Newest run</th></tr></thead>
          <tbody>${shown.map(p => html`<tr key=${p.entity + '/' + p.name}><td><a href=${path(p.entity, p.name)}><bdi>${p.entity}/${p.name}</bdi></a></td><td class="n">${number(p.runs)}</td><td>${p.newest ? html`<${Time} at=${p.newest} />` : html`<span class="quiet">none yet</span>`}</td></tr>`)}</tbody></table></div>`}`;
    }}<//>`;
}

const Begin = () => html`<${Empty} title="There is no run yet. Three ways to get one:">
  <p>Import a run that the W&B SDK wrote offline, from its folder:</p>
  <${Command} text=${'Connect-Wandb -Local\nImport-WandbRun ./wandb/offline-run-*'} />
  <p>Start a program, and log to this server:</p>
  <${Command} text=${"Connect-Wandb -Local\nStart-WandbLaunch ./train -EntryPoint 'python train.py' -Project demo"} />
  <p>Or have the W&B SDK send what you run anyway to this server:</p>
  <${Command} text=${`$env:WANDB_BASE_URL = '${location.origin}'\n$env:WANDB_API_KEY = Get-Content (Get-WandbLaunchServer).KeyPath\npython train.py`} />
  <p>Then open the run here, choose <em>Add to Launch queue</em>, and have an agent run it.</p><//>`;
