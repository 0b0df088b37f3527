'use strict';

// The other half of the session is a cookie that no script sees. This one stays in this origin, its port included.
const tokenName = 'wandblaunch-session';
const byId = id => document.getElementById(id);
const json = (method, body) => ({
  method,
  headers: { 'Content-Type': 'application/json', 'X-WandbLaunch-Session': localStorage.getItem(tokenName) ?? '' },
  body: body && JSON.stringify(body),
});

class SignedOut extends Error {}

async function query(text, variables) {
  const answer = await fetch('/graphql', json('POST', { query: text, variables }));
  if (answer.status === 401) {
    throw new SignedOut();
  }
  const { data, errors } = await answer.json();
  if (errors) {
    throw new Error(errors.map(e => e.message).join('; '));
  }
  return data;
}

function element(name, text, href) {
  const made = document.createElement(name);
  if (href) made.href = href;
  if (text !== undefined && text !== null) made.textContent = text;
  return made;
}

function table(head, rows) {
  const made = element('table');
  const first = made.insertRow();
  head.forEach(h => first.append(element('th', h)));
  for (const row of rows) {
    const line = made.insertRow();
    row.forEach(c => line.insertCell().append(c instanceof Node ? c : document.createTextNode(c ?? '')));
  }
  return made;
}

const path = (...parts) => '/' + parts.map(encodeURIComponent).join('/');
const pretty = text => JSON.stringify(JSON.parse(text || '{}'), null, 2);

async function view() {
  const [entity, project, , run] = location.pathname.split('/').filter(x => x).map(decodeURIComponent);
  if (run) {
    byId('title').textContent = `${entity} / ${project} / ${run}`;
    const found = (await query('query($e:String,$p:String,$r:String!){project(name:$p,entityName:$e){run(name:$r){displayName state createdAt config summaryMetrics files(first:200){edges{node{name url sizeBytes}}}}}}', { e: entity, p: project, r: run })).project?.run;
    if (!found) {
      return [element('p', 'There is no such run.')];
    }
    return [
      table(['name', 'state', 'created'], [[found.displayName, found.state, found.createdAt]]),
      element('h2', 'Config'), element('pre', pretty(found.config)),
      element('h2', 'Summary'), element('pre', pretty(found.summaryMetrics)),
      element('h2', 'Files'), table(['file', 'bytes'], found.files.edges.map(f => [element('a', f.node.name, f.node.url), f.node.sizeBytes])),
    ];
  }
  if (project) {
    byId('title').textContent = `${entity} / ${project}`;
    const found = (await query('query($e:String,$p:String){project(name:$p,entityName:$e){runs(first:200){edges{node{name displayName state createdAt}}}}}', { e: entity, p: project })).project;
    return found
      ? [table(['run', 'id', 'state', 'created'], found.runs.edges.map(({ node: n }) => [element('a', n.displayName || n.name, path(entity, project, 'runs', n.name)), n.name, n.state, n.createdAt]))]
      : [element('p', 'There is no such project.')];
  }
  const all = await query('query($e:String){models(entityName:$e,first:200){edges{node{name entityName runCount}}}}', { e: entity || null });
  return [table(['project', 'runs'], all.models.edges.map(({ node: n }) => [element('a', `${n.entityName}/${n.name}`, path(n.entityName, n.name)), n.runCount]))];
}

async function show() {
  let signedIn = true;
  try {
    byId('content').replaceChildren(...await view());
  } catch (e) {
    signedIn = !(e instanceof SignedOut);
    byId('content').replaceChildren(...(signedIn ? [element('p', e.message)] : []));
  }
  byId('sign-in').hidden = signedIn;
  byId('sign-out').hidden = !signedIn;
}

byId('sign-in').addEventListener('submit', async event => {
  event.preventDefault();
  const answer = await fetch('/session', json('POST', { key: byId('key').value }));
  const body = await answer.json();
  byId('sign-in-fault').textContent = answer.ok ? '' : body.error;
  if (answer.ok) {
    byId('key').value = '';
    localStorage.setItem(tokenName, body.token);
    await show();
  }
});

byId('sign-out').addEventListener('click', async () => {
  await fetch('/session', json('DELETE'));
  localStorage.removeItem(tokenName);
  await show();
});

show();
