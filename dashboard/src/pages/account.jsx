// One's own account: password, sessions, tokens, a copy of what is kept, and its end.

import { useState } from 'preact/hooks';
import { all, bare, forget, get, post, query, remove, sessionId, signOut } from '../api.js';
import { link } from '../router.js';
import { Empty, Fault, Field, Head, Loaded, Progress, save, Sure, Table, Time, Typed, useDeed, useLoad, useTitle } from '../ui.jsx';

function Password({ user }) {
  const [run, { busy, error }] = useDeed();
  const change = (e) => {
    e.preventDefault();
    const f = new FormData(e.currentTarget);
    run(async () => {
      await post(`users/${user.id}/password`, { current_password: f.get('current'), password: f.get('next') });
      await signOut(); // a new password ends every session
    });
  };
  return (
    <form class="card" onSubmit={change}>
      <h2>Password</h2>
      <p class="note">A new one ends all sessions; sign in with it then.</p>
      <Fault error={error} />
      <div class="grid">
        <Field id="current" label="Password until now"><input id="current" name="current" type="password" autocomplete="current-password" required /></Field>
        <Field id="next" label="New password" hint="At least 8 characters."><input id="next" name="next" type="password" autocomplete="new-password" required minLength={8} aria-describedby="next-hint" /></Field>
      </div>
      <button type="submit" disabled={busy}>Change it</button>
    </form>
  );
}

function Sessions() {
  const list = useLoad(() => get('me/sessions'), []);
  const [run, { busy, error }] = useDeed();
  const mine = sessionId();
  return (
    <section class="card" aria-labelledby="sessions">
      <h2 id="sessions">Sessions</h2>
      <p class="note">Where this account is signed in. One that is ended is refused within a second.</p>
      <Fault error={error} />
      <Loaded of={list}>{({ items }) => (
        <Table caption="Sessions" head={['Signed in', 'Last renewed', 'Ends unless used', '']}>
          {items.map((s) => (
            <tr key={s.id}>
              <th scope="row"><Time of={s.created_at} />{s.id === mine ? <span class="note"> this one</span> : null}</th>
              <td><Time of={s.used_at} /></td><td><Time of={s.expires_at} /></td>
              <td>{s.id === mine ? <button type="button" onClick={signOut}>Sign out</button>
                : <Sure disabled={busy} ask="End it?" onSure={() => run(async () => { await remove(`me/sessions/${s.id}`); list.reload(); })}>End<span class="hidden"> the session of {s.created_at}</span></Sure>}</td>
            </tr>
          ))}
        </Table>
      )}</Loaded>
      <p><Sure disabled={busy} ask="Sign out everywhere, here too?" onSure={() => run(async () => { await post('logout', {}); forget(); })}>Sign out everywhere</Sure></p>
    </section>
  );
}

async function ownTokens(user) {
  const agents = await all(`agents${query({ owner_id: user.id })}`, 500);
  const lists = await Promise.all(agents.map((a) => all(`agents/${encodeURIComponent(a.id)}/tokens`, 500)));
  return agents.flatMap((a, i) => lists[i].map((t) => ({ ...t, agent: a })));
}

function Tokens({ user }) {
  const list = useLoad(() => ownTokens(user), [user.id]);
  const [run, { busy, error }] = useDeed();
  return (
    <section class="card" aria-labelledby="own-tokens">
      <h2 id="own-tokens">Tokens of your agents</h2>
      <p class="note">What programs act with in your name. A new one is made on the page of an <a href={link('agents')}>agent</a>.</p>
      <Fault error={error} />
      <Loaded of={list}>{(tokens) => (tokens.length ? (
        <Table caption="Tokens of your agents" head={['Name', 'Agent', 'Allows', 'Expires', '']}>
          {tokens.map((t) => (
            <tr key={t.id}>
              <th scope="row">{t.name || <span class="note">without a name</span>}</th><td class="long"><a href={link('agents', t.agent.id)}>{t.agent.name}</a></td>
              <td>{t.scopes.join(', ')}</td><td><Time of={t.expires_at} none="never" /></td>
              <td><Sure disabled={busy} ask="Revoke it?" onSure={() => run(async () => { await remove(`agents/${encodeURIComponent(t.agent.id)}/tokens/${t.id}`); list.reload(); })}>Revoke</Sure></td>
            </tr>
          ))}
        </Table>
      ) : <Empty title="There are none." />)}</Loaded>
    </section>
  );
}

const none = (e) => { if (e.status === 404 || e.status === 403) return null; throw e; };

/** Everything of an account that the API gives to it, as one document. */
async function gather(user, tell) {
  const own = (list, of = 'owner_id') => list.filter((x) => x[of] === user.id);
  const out = { format: 'assay-account/1', made_at: new Date().toISOString(), account: await get('me'), sessions: (await get('me/sessions')).items };
  out.agents = await all(`agents${query({ owner_id: user.id })}`, 10000);
  for (const a of out.agents) a.tokens = await all(`agents/${encodeURIComponent(a.id)}/tokens`, 1000);
  if (user.role !== 'viewer') out.webhooks = own(await all('webhooks', 10000));
  out.benchmarks = own(await all('benchmarks', 10000));
  out.projects = [];
  let cursor = '';
  do {
    const page = await bare(`submissions/mine${query({ limit: 100, cursor })}`);
    out.projects.push(...page.items);
    cursor = page.next_cursor;
  } while (cursor);
  for (const p of out.projects) Object.assign(p, await get(`submissions/feedback/${p.submissionId}`).catch(none));
  // staff see what others sent too: theirs are found by their agents
  const staff = ['instructor', 'admin'].includes(user.role);
  const lists = staff ? await Promise.all(out.agents.map((a) => all(`submissions${query({ agent_id: a.id })}`, 100000))) : [await all('submissions', 100000)];
  out.submissions = own(lists.flat()).filter((s) => s.kind !== 'project');
  for (const [i, s] of out.submissions.entries()) {
    s.sent = await get(`submissions/${s.id}/source`).catch(none);
    s.result = s.finished_at ? await get(`results/${s.id}`).catch(none) : null;
    tell((i + 1) / out.submissions.length);
  }
  return out;
}

function Export({ user }) {
  const [run, { busy, error }] = useDeed();
  const [part, setPart] = useState(null);
  const [said, say] = useState('');
  const start = () => run(async () => {
    say('');
    setPart(0);
    try {
      const all = await gather(user, setPart);
      save(`assay-${user.login.replace(/[^\w.-]/g, '_')}.json`, JSON.stringify(all, null, 1));
      say(`${all.submissions.length + all.projects.length} submissions are in the file.`);
    } finally {
      setPart(null);
    }
  });
  return (
    <section class="card" aria-labelledby="export">
      <h2 id="export">A copy of your data</h2>
      <p>One JSON file: the account, sessions, agents and the names of their tokens, webhooks, benchmarks, and everything that was submitted with its source and what came of it.</p>
      <Fault error={error} />
      <p><button type="button" disabled={busy} onClick={start}>Export it</button></p>
      <div class="hold" role="status">{part !== null ? <Progress label="Gathering" part={part} /> : said}</div>
    </section>
  );
}

function Erase({ user }) {
  const [run, { busy, error }] = useDeed();
  return (
    <section class="card danger" aria-labelledby="erase">
      <h2 id="erase">Erase the account</h2>
      <p>Your name, login and address, your sessions, and the names and tokens of your agents are gone at once and for good. What was submitted stays with its results, under an id that stands for nobody. Export it before, if you want a copy.</p>
      <Fault error={error} />
      <Typed id="erase-login" word={user.login} label="Your login" button="Erase my account" busy={busy}
        onSure={(f) => run(async () => { await post('me/erase', { password: f.get('password') }); forget(); })}>
        <Field id="erase-password" label="Your password"><input id="erase-password" name="password" type="password" autocomplete="current-password" required /></Field>
      </Typed>
    </section>
  );
}

export function Account({ user }) {
  const me = useLoad(() => get('me'), []);
  useTitle('Account');
  return (
    <>
      <Head title={user.login} kicker="Account" />
      <Loaded of={me}>{(u) => (
        <dl class="facts">
          <div><dt>Role</dt><dd>{u.role}</dd></div>
          <div><dt>Name</dt><dd>{u.name || '—'}</dd></div>
          <div><dt>Address</dt><dd>{u.email || '—'}</dd></div>
          <div><dt>Since</dt><dd><Time of={u.created_at} /></dd></div>
        </dl>
      )}</Loaded>
      <Sessions />
      <Tokens user={user} />
      <Password user={user} />
      <Export user={user} />
      <Erase user={user} />
    </>
  );
}
