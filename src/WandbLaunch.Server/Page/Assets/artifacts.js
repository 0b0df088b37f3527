// Artifacts of a project; one of them: its versions, its files, and its lineage: of what it was made, and what was made of it.
import { html, useData, query as url, path, runPath, number, bytes, psText } from './core.js';
import { Time, State, Empty, Loaded, Artifact, ProjectHead } from './ui.js';

export default function Artifacts({ entity, project, name, version }) {
  return name ? html`<${One} entity=${entity} project=${project} name=${name} version=${version} />` : html`<${ProjectHead} entity=${entity} project=${project} part="artifacts" /><${List} entity=${entity} project=${project} />`;
}

function List({ entity, project }) {
  const found = useData(url('/page/artifacts', { entity, project }), c => c.artifacts);
  return html`<${Loaded} of=${found}>${({ artifacts: all, total }) => all.length === 0
    ? html`<${Empty} title="This project has no artifact." command=${`New-WandbLaunchJob ./train -Project ${psText(project)}`}><p>Data, models and jobs are artifacts. A job of a folder is made so:</p><//>`
    : html`<div class="scroll" tabindex="0" role="region" aria-label="Artifacts"><table><thead><tr><th scope="col">Artifact</th><th scope="col">Type</th><th scope="col" class="n">Versions</th><th scope="col">Newest</th><th scope="col">Changed</th></tr></thead>
      <tbody>${all.map(a => html`<tr key=${a.name}><td><a href=${path(entity, project, 'artifacts', a.type, a.name)}><bdi>${a.name}</bdi></a>${a.linked && html` <span class="quiet">a collection of links</span>`}</td><td><bdi>${a.type}</bdi></td><td class="n">${number(a.versions)}</td><td>${a.newest === null ? '' : `v${a.newest}`}</td><td><${Time} at=${a.updatedAt} /></td></tr>`)}</tbody></table></div>
      ${total > all.length && html`<p class="quiet">${all.length} of ${number(total)}.</p>`}`}<//>`;
}

const Run = ({ of: r }) => html`<a href=${runPath(r.entity, r.project, r.name)}><bdi>${r.displayName}</bdi></a> <${State} state=${r.state} />`;

function One({ entity, project, name, version }) {
  const data = useData(url('/page/artifact', { entity, project, artifact: name, version }), c => c.artifacts || c.runs);
  return html`<p class="crumbs"><a href="/">Projects</a> / <a href=${path(entity, project)}><bdi>${entity}/${project}</bdi></a> / <a href=${path(entity, project, 'artifacts')}>Artifacts</a></p><${Loaded} of=${data}>${a => {
    const v = a.shown;
    const to = n => path(entity, project, 'artifacts', a.type, a.name, 'v' + n);
    return html`<h1><bdi>${a.name}</bdi>${v && `:v${v.version}`} <span class="quiet">${a.type}</span></h1>
      ${a.description && html`<p class="notes-text"><bdi>${a.description}</bdi></p>`}
      ${v === null ? html`<p class="quiet">It has no version yet.</p>` : html`
      <dl class="facts"><dt>Path</dt><dd><code>${`${entity}/${project}/${a.name}:v${v.version}`}</code></dd><dt>Created</dt><dd><${Time} at=${v.createdAt} /></dd><dt>Aliases</dt><dd>${v.aliases.length === 0 ? 'none' : v.aliases.map(x => html`<span class="chip"><bdi>${x}</bdi></span> `)}</dd><dt>Digest</dt><dd><code>${v.digest}</code></dd><dt>Files</dt><dd>${number(v.count)}, ${bytes(v.size)}</dd>${v.description && html`<dt>Notes</dt><dd class="notes-text"><bdi>${v.description}</bdi></dd>`}</dl>
      <h2>Lineage</h2><ol class="lineage">
        ${v.madeBy?.of.length > 0 && html`<li><h3>Made of</h3><ul>${v.madeBy.of.map(x => html`<li><${Artifact} of=${x} /></li>`)}</ul></li>`}
        <li><h3>Made by</h3>${v.madeBy ? html`<${Run} of=${v.madeBy.run} />` : html`<span class="quiet">no run: it was uploaded</span>`}</li>
        <li><h3>This version</h3><strong><bdi>${a.name}</bdi>:v${v.version}</strong></li>
        <li><h3>Used by</h3>${v.usedBy.length === 0 ? html`<span class="quiet">no run yet</span>` : html`<ul>${v.usedBy.map(u => html`<li><${Run} of=${u.run} />${u.made.length > 0 && html`<ul aria-label="What it made">${u.made.map(x => html`<li>→ <${Artifact} of=${x} /></li>`)}</ul>`}</li>`)}</ul>${v.users > v.usedBy.length && html`<p class="quiet">and ${number(v.users - v.usedBy.length)} more</p>`}`}</li></ol>
      <h2>Files</h2>${v.count === 0 ? html`<p class="quiet">None.</p>` : html`<div class="scroll half" tabindex="0" role="region" aria-label="Files"><table><thead><tr><th scope="col">File</th><th scope="col" class="n">Size</th></tr></thead><tbody>${v.files.map(f => html`<tr key=${f.name}><td>${f.url ? html`<a href=${f.url} download=${f.name.split('/').at(-1)}><bdi>${f.name}</bdi></a>` : html`<bdi>${f.name}</bdi> <span class="quiet">elsewhere</span>`}</td><td class="n">${bytes(f.size)}</td></tr>`)}</tbody></table></div>${v.count > v.files.length && html`<p class="quiet">The first ${v.files.length} of ${number(v.count)}.</p>`}`}
      ${v.metadata && Object.keys(v.metadata).length > 0 && html`<h2>Metadata</h2><pre class="block" tabindex="0" aria-label="Metadata">${JSON.stringify(v.metadata, null, 2).slice(0, 100000)}</pre>`}`}
      <h2>Versions</h2>${a.versions.length > 0 && html`<div class="scroll half" tabindex="0" role="region" aria-label="Versions"><table><thead><tr><th scope="col">Version</th><th scope="col">Aliases</th><th scope="col">Run</th><th scope="col">Created</th></tr></thead><tbody>${a.versions.map(x => html`<tr key=${x.version} class=${x.version === v?.version ? 'chosen' : ''}><td><a href=${to(x.version)}>v${x.version}</a></td><td>${x.aliases.map(y => html`<span class="chip"><bdi>${y}</bdi></span> `)}</td><td>${x.run}</td><td><${Time} at=${x.createdAt} /></td></tr>`)}</tbody></table></div>${a.total > a.versions.length && html`<p class="quiet">The newest ${a.versions.length} of ${number(a.total)}.</p>`}`}`;
  }}<//>`;
}
