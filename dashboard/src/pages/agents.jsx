import { useState } from 'preact/hooks';
import { get, post, query, remove } from '../api.js';
import { link } from '../router.js';
import { Empty, Fault, Field, Head, Loaded, More, Once, Sure, Table, Time, useDeed, useLoad, usePages, useTitle } from '../ui.jsx';

const SCOPES = ['submissions:write', 'submissions:read', 'results:read', 'scores:read', 'leaderboard:read', 'agents:read', 'benchmarks:read', 'traces:write', 'traces:read'];
const WORKER = ['jobs:lease', 'results:write'];
const USUAL = SCOPES.slice(0, 7);

function Tokens({ agent, staff }) {
  const path = `agents/${encodeURIComponent(agent.id)}/tokens`;
  const list = usePages((cursor) => get(`${path}${query({ limit: 50, cursor })}`), [agent.id]);
  const [run, { busy, error }] = useDeed();
  const [made, setMade] = useState(null);
  const make = (e) => {
    e.preventDefault();
    const form = e.currentTarget;
    const f = new FormData(form);
    const days = Number(f.get('days'));
    run(async () => {
      setMade(await post(path, { name: f.get('name'), scopes: f.getAll('scope'), ...(days ? { expires_in: days * 86400 } : {}) }));
      form.reset();
      list.reload();
    });
  };
  return (
    <section aria-labelledby="tokens">
      <h2 id="tokens">Tokens</h2>
      {list.items.length ? (
        <Table caption="Tokens" head={['Name', 'Allows', 'Made', 'Expires', '']}>
          {list.items.map((t) => (
            <tr key={t.id}>
              <th scope="row">{t.name || <span class="note">without a name</span>}</th><td>{t.scopes.join(', ')}</td><td><Time of={t.created_at} /></td><td><Time of={t.expires_at} none="never" /></td>
              <td><Sure ask="Revoke it?" onSure={() => run(async () => { await remove(`${path}/${t.id}`); list.reload(); })}>Revoke</Sure></td>
            </tr>
          ))}
        </Table>
      ) : null}
      <More of={list}><Empty title="It has no tokens yet.">A program needs one to submit in its name.</Empty></More>
      <Fault error={error} />
      {made ? <Once label="This is the only time that the token is shown:" text={made.token} onDone={() => setMade(null)} /> : null}
      <form class="card" onSubmit={make}>
        <h3>A new token</h3>
        <div class="grid">
          <Field id="token-name" label="Name"><input id="token-name" name="name" maxLength={100} /></Field>
          <Field id="token-days" label="Good for days"><input id="token-days" name="days" type="number" min={1} max={3650} placeholder="for ever" /></Field>
        </div>
        <fieldset>
          <legend>It allows</legend>
          {[...SCOPES, ...(staff ? WORKER : [])].map((s) => <label class="check"><input type="checkbox" name="scope" value={s} defaultChecked={USUAL.includes(s)} /> {s}</label>)}
        </fieldset>
        <button type="submit" disabled={busy}>Make the token</button>
      </form>
    </section>
  );
}

function Agent({ id, user, staff }) {
  const agent = useLoad(() => get(`agents/${encodeURIComponent(id)}`), [id]);
  useTitle(agent.data?.name || 'Agent');
  return (
    <Loaded of={agent}>{(a) => (
      <>
        <Head title={a.name} kicker={<a href={link('agents')}>Agents</a>} />
        <dl class="facts">
          <div><dt>Id</dt><dd><code>{a.id}</code></dd></div>
          <div><dt>About</dt><dd>{a.description || '—'}</dd></div>
          <div><dt>Since</dt><dd><Time of={a.created_at} /></dd></div>
        </dl>
        {a.owner_id === user.id || user.role === 'admin' ? <Tokens agent={a} staff={staff} /> : null}
      </>
    )}</Loaded>
  );
}

export function Agents({ rest, user, staff }) {
  const [everybody, setEverybody] = useState(false);
  const list = usePages((cursor) => get(`agents${query({ owner_id: everybody ? '' : user.id, limit: 100, cursor })}`), [everybody]);
  const [run, { busy, error }] = useDeed();
  useTitle(rest[0] ? undefined : 'Agents');
  if (rest[0]) return <Agent id={rest[0]} user={user} staff={staff} />;
  const make = (e) => {
    e.preventDefault();
    const form = e.currentTarget;
    const f = new FormData(form);
    run(async () => {
      await post('agents', { name: f.get('name'), ...(f.get('id') ? { id: f.get('id') } : {}), ...(f.get('description') ? { description: f.get('description') } : {}) });
      form.reset();
      list.reload();
    });
  };
  return (
    <>
      <Head title="Agents" />
      <p class="lead">An agent is what competes or works: a person's, a team's, or a program.</p>
      {staff ? <p><label class="check"><input type="checkbox" checked={everybody} onChange={(e) => setEverybody(e.currentTarget.checked)} /> everybody's</label></p> : null}
      {list.items.length ? (
        <Table caption="Agents" head={['Name', 'Id', 'About', 'Since']}>
          {list.items.map((a) => <tr key={a.id}><th scope="row" class="long"><a href={link('agents', a.id)}>{a.name}</a></th><td class="long"><code>{a.id}</code></td><td class="long">{a.description || '—'}</td><td><Time of={a.created_at} /></td></tr>)}
        </Table>
      ) : null}
      <More of={list}><Empty title="There are no agents yet.">Make one below; then submit for it.</Empty></More>
      <form class="card" onSubmit={make}>
        <h2>A new agent</h2>
        <Fault error={error} />
        <div class="grid">
          <Field id="agent-name" label="Name"><input id="agent-name" name="name" required maxLength={200} /></Field>
          <Field id="agent-id" label="Id (if you like)" hint="Small letters, digits, “.”, “_”, “-”."><input id="agent-id" name="id" pattern="[a-z0-9][a-z0-9._\-]*" maxLength={64} aria-describedby="agent-id-hint" /></Field>
          <Field id="agent-about" label="About"><input id="agent-about" name="description" /></Field>
        </div>
        <button type="submit" disabled={busy}>Make the agent</button>
      </form>
    </>
  );
}
