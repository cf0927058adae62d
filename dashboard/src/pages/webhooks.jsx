// Webhooks: programs that are told of what happens, what they were sent, and sending it again.

import { useState } from 'preact/hooks';
import { all, get, onceKey, patch, post, query, remove } from '../api.js';
import { go, link } from '../router.js';
import { Block } from '../text.jsx';
import { Empty, Fault, Field, Head, Loaded, More, n, Once, Sure, Table, Time, useDeed, useLoad, usePages, useTitle } from '../ui.jsx';

const EVENTS = ['submission.queued', 'submission.running', 'submission.done', 'submission.cancelled', 'submission.deleted', 'board.updated'];
const MEANINGS = {
  'submission.queued': 'it waits, for the first time or again', 'submission.running': 'a runner has it', 'submission.done': 'the verdict is there',
  'submission.cancelled': 'somebody ended it', 'submission.deleted': 'it was removed', 'board.updated': 'places or scores changed (of a benchmark)',
};
const KINDS = { delivered: 'done', waiting: 'running', failed: 'failed' };

function Of({ hook }) {
  if (hook.benchmark_id) return <a href={link('benchmarks', hook.benchmark_id)}>{hook.benchmark_id}</a>;
  return <a href={link('submissions', hook.submission_id)}>submission {hook.submission_id.slice(0, 13)}…</a>;
}

const State = ({ hook }) => <span class={`status ${hook.active ? 'done' : ''}`}>{hook.active ? 'active' : 'off'}</span>;

function Events({ chosen = ['submission.done'] }) {
  return (
    <fieldset>
      <legend>It is told when</legend>
      {EVENTS.map((e) => <label class="check line"><input type="checkbox" name="event" value={e} defaultChecked={chosen.includes(e)} /> <code>{e}</code> <span class="note">{MEANINGS[e]}</span></label>)}
    </fieldset>
  );
}

function Make({ search, onMade }) {
  const benchmarks = useLoad(() => all('benchmarks', 500), []);
  const [of, setOf] = useState(search.get('submission') ? 'submission' : 'benchmark');
  const [key, setKey] = useState(onceKey);
  const [run, { busy, error }] = useDeed();
  const make = (e) => {
    e.preventDefault();
    const form = e.currentTarget;
    const f = new FormData(form);
    run(async () => {
      const made = await post('webhooks', { url: f.get('url').trim(), [`${of}_id`]: f.get('of').trim(), events: f.getAll('event') }, { headers: { 'Idempotency-Key': key } });
      setKey(onceKey());
      form.reset();
      onMade(made);
    });
  };
  return (
    <form class="card" onSubmit={make} onChange={() => setKey(onceKey())}>
      <h2>A new webhook</h2>
      <Field id="w-url" label="URL" hint="Called by POST. It must be reachable from the server, and public unless an admin allows its network (webhook_allow).">
        <input id="w-url" name="url" type="url" required maxLength={2048} placeholder="https://example.com/assay" aria-describedby="w-url-hint" />
      </Field>
      <div class="grid">
        <Field id="w-kind" label="Of">
          <select id="w-kind" value={of} onChange={(e) => setOf(e.currentTarget.value)}><option value="benchmark">a benchmark</option><option value="submission">one submission</option></select>
        </Field>
        {of === 'benchmark' ? (
          <Field id="w-of" label="Benchmark">
            <select id="w-of" name="of" required>{(benchmarks.data || []).map((b) => <option value={b.id} selected={b.id === search.get('benchmark')}>{b.name}</option>)}</select>
          </Field>
        ) : (
          <Field id="w-of" label="Submission's id" hint="One that is queued or running."><input id="w-of" name="of" required defaultValue={search.get('submission') || ''} aria-describedby="w-of-hint" /></Field>
        )}
      </div>
      <Events />
      <Fault error={error || benchmarks.error} />
      <button type="submit" class="primary" disabled={busy}>Make the webhook</button>
    </form>
  );
}

export function Webhooks({ search }) {
  const list = usePages((cursor) => get(`webhooks${query({ limit: 50, cursor })}`), []);
  const [made, setMade] = useState(null);
  useTitle('Webhooks');
  return (
    <>
      <Head title="Webhooks" />
      <p class="lead">A program of yours is called when something happens: a signed POST, tried again until it is taken.</p>
      {made ? (
        <Once label="The secret that its requests are signed with. This is the only time that it is shown:" text={made.secret} onDone={() => setMade(null)}>
          <p class="note">For <code>{made.url}</code>. Check signatures with any library of Standard Webhooks.</p>
        </Once>
      ) : null}
      {list.items.length ? (
        <Table caption="Webhooks" head={['URL', 'Of', 'State', n('Events'), 'Since']}>
          {list.items.map((h) => (
            <tr key={h.id}>
              <th scope="row" class="long"><a href={link('webhooks', h.id)}>{h.url}</a></th><td><Of hook={h} /></td>
              <td><State hook={h} /></td><td class="n" title={h.events.join(', ')}>{h.events.length}</td><td><Time of={h.created_at} /></td>
            </tr>
          ))}
        </Table>
      ) : null}
      <More of={list}><Empty title="There are no webhooks yet.">Name a URL below, and what it is to be told of.</Empty></More>
      <Make search={search} onMade={(m) => { setMade(m); list.reload(); }} />
    </>
  );
}

function Deliveries({ id, version }) {
  const [state, setState] = useState('');
  const list = usePages((cursor) => get(`webhooks/${id}/deliveries${query({ state, limit: 50, cursor })}`), [id, state, version]);
  const [run, { busy, error }] = useDeed();
  const [said, say] = useState('');
  const replay = (body) => run(async () => {
    say('');
    const { replayed } = await post(`webhooks/${id}/replay`, body);
    say(replayed === 1 ? 'One event is sent again.' : `${replayed} events are sent again.`);
    list.reload();
  });
  const since = (e) => {
    e.preventDefault();
    replay({ since: new Date(new FormData(e.currentTarget).get('since')).toISOString() });
  };
  return (
    <section aria-labelledby="deliveries">
      <h2 id="deliveries">Deliveries</h2>
      <div class="row">
        <Field id="d-state" label="State"><select id="d-state" value={state} onChange={(e) => setState(e.currentTarget.value)}><option value="">any</option>{Object.keys(KINDS).map((k) => <option>{k}</option>)}</select></Field>
        <button type="button" onClick={list.reload}>Look again</button>
      </div>
      <Fault error={error} />
      <p class="hold" role="status">{said}</p>
      {list.items.length ? (
        <Table caption="Deliveries" head={['When', 'Event', 'State', n('Tries'), n('Answer'), 'Next try', '']}>
          {list.items.map((d) => (
            <tr key={d.event_id + d.updated_at}>
              <th scope="row"><Time of={d.created_at} /></th>
              <td><details class="inline"><summary>{d.type}</summary><Block label="What is sent" text={JSON.stringify(d.body, null, 2)} /><p class="note">event <code>{d.event_id}</code></p></details></td>
              <td><span class={`status ${KINDS[d.state]}`}>{d.state}</span>{d.error ? <div class="note">{d.error}</div> : null}</td>
              <td class="n">{d.attempts}</td><td class="n">{d.status ?? '—'}</td><td><Time of={d.next_at} /></td>
              <td><button type="button" disabled={busy} onClick={() => replay({ event_id: d.event_id })}>Send again<span class="hidden"> {d.type} of {d.created_at}</span></button></td>
            </tr>
          ))}
        </Table>
      ) : null}
      <More of={list}><Empty title={state ? `None is ${state}.` : 'Nothing was sent yet.'}>{state ? null : 'It is when one of its events happens.'}</Empty></More>
      <form class="row" onSubmit={since}>
        <Field id="d-since" label="Send all again since"><input id="d-since" name="since" type="datetime-local" required /></Field>
        <button type="submit" disabled={busy}>Send them again</button>
      </form>
    </section>
  );
}

export function Webhook({ id }) {
  const hook = useLoad(() => get(`webhooks/${id}`), [id]);
  const [run, { busy, error }] = useDeed();
  const [said, say] = useState('');
  useTitle('Webhook');
  const change = (what, words) => run(async () => { await patch(`webhooks/${id}`, what); say(words); hook.reload(); });
  const save = (e) => {
    e.preventDefault();
    const f = new FormData(e.currentTarget);
    change({ url: f.get('url').trim(), events: f.getAll('event') }, 'Saved.');
  };
  return (
    <Loaded of={hook}>{(h) => (
      <>
        <Head title="Webhook" kicker={<a href={link('webhooks')}>Webhooks</a>}>
          {h.active ? <Sure disabled={busy} ask="Send nothing more?" onSure={() => change({ active: false }, 'It is off.')}>Switch off</Sure> : <button type="button" disabled={busy} onClick={() => change({ active: true }, 'It is on again.')}>Switch on</button>}
          <Sure disabled={busy} ask="Delete it, with what waits?" onSure={() => run(async () => { await remove(`webhooks/${id}`); go(link('webhooks').slice(1)); })}>Delete</Sure>
        </Head>
        {!h.active && h.reason ? <p class="banner">It was switched off: {h.reason}. Mend its receiver, then switch it on.</p> : null}
        <dl class="facts">
          <div><dt>URL</dt><dd><code>{h.url}</code></dd></div>
          <div><dt>Of</dt><dd><Of hook={h} /></dd></div>
          <div><dt>State</dt><dd><State hook={h} /></dd></div>
          <div><dt>Since</dt><dd><Time of={h.created_at} /></dd></div>
        </dl>
        <Fault error={error} />
        <p class="hold" role="status">{said}</p>
        <Deliveries id={id} version={h.updated_at} />
        <form class="card" onSubmit={save} key={h.updated_at}>
          <h2>Settings</h2>
          <Field id="w-url" label="URL"><input id="w-url" name="url" type="url" required maxLength={2048} defaultValue={h.url} /></Field>
          <Events chosen={h.events} />
          <p class="row"><button type="submit" class="primary" disabled={busy}>Save</button><span class="note">The secret stays as it is. For a new one make a new webhook.</span></p>
        </form>
      </>
    )}</Loaded>
  );
}
