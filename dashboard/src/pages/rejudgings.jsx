// Judging a set of submissions again: nothing counts until what would change has been looked at and applied.

import { useEffect } from 'preact/hooks';
import { get, post, query } from '../api.js';
import { go, link } from '../router.js';
import { Empty, Fault, Field, Head, Loaded, More, number, Status, Sure, Table, Time, useDeed, useLoad, usePages, useTitle, Verdict } from '../ui.jsx';

const VERDICTS = ['OK', 'WA', 'TL', 'ML', 'OL', 'RE', 'BF'];

export function Rejudge({ benchmark }) {
  const [run, { busy, error }] = useDeed();
  const start = (e) => {
    e.preventDefault();
    const f = new FormData(e.currentTarget);
    const filled = Object.fromEntries([...f.entries()].filter(([, v]) => v !== ''));
    run(async () => {
      const made = await post('rejudgings', { benchmark_id: benchmark.id, ...filled });
      go(link('rejudgings', made.id).slice(1));
    });
  };
  return (
    <form class="card" onSubmit={start}>
      <h2>Judge again</h2>
      <p>The submissions are judged beside what counts. You then see what would change, and apply or drop it.</p>
      <Fault error={error} />
      <div class="grid">
        {benchmark.problems.length > 1 ? (
          <Field id="r-problem" label="Problem"><select id="r-problem" name="problem_id"><option value="">all</option>{benchmark.problems.map((p) => <option value={p.id}>{p.name}</option>)}</select></Field>
        ) : null}
        <Field id="r-verdict" label="Verdict until now"><select id="r-verdict" name="verdict"><option value="">any</option>{VERDICTS.map((v) => <option>{v}</option>)}</select></Field>
        <Field id="r-agent" label="Agent"><input id="r-agent" name="agent_id" placeholder="all" /></Field>
        <Field id="r-language" label="Language"><input id="r-language" name="language" placeholder="all" /></Field>
        <Field id="r-reason" label="Why"><input id="r-reason" name="reason" maxLength={500} /></Field>
      </div>
      <button type="submit" disabled={busy}>Judge and show what would change</button>
    </form>
  );
}

export function Rejudgings() {
  const list = usePages((cursor) => get(`rejudgings${query({ limit: 50, cursor })}`), []);
  useTitle('Rejudgings');
  return (
    <>
      <Head title="Rejudgings" />
      <p class="lead">Submissions judged again. Nothing counts until you have seen what would change. A new one begins on a benchmark's page “Manage”.</p>
      {list.items.length ? (
        <Table caption="Rejudgings" head={['When', 'Benchmark', 'State', 'Why']}>
          {list.items.map((r) => (
            <tr key={r.id}><th scope="row"><a href={link('rejudgings', r.id)}><Time of={r.created_at} /></a></th><td>{r.benchmark_id}</td><td><Status of={r.state} /></td><td>{r.reason || '—'}</td></tr>
          ))}
        </Table>
      ) : null}
      <More of={list}><Empty title="Nothing was judged again yet." /></More>
    </>
  );
}

function Changes({ id, version }) {
  const list = usePages((cursor) => get(`rejudgings/${id}/changes${query({ limit: 100, cursor })}`), [id, version]);
  return (
    <section aria-labelledby="changes">
      <h2 id="changes">What would change</h2>
      {list.items.length ? (
        <Table caption="What would change" head={['Submission', 'Agent', 'Until now', 'Then', '']}>
          {list.items.map((c) => (
            <tr key={c.submission_id}>
              <th scope="row"><a href={link('submissions', c.submission_id)}><code>{c.submission_id.slice(0, 13)}…</code></a></th><td>{c.agent_id}</td>
              <td><Verdict of={c.old_verdict} /> {number(c.old_score)}</td><td><Verdict of={c.new_verdict} /> {number(c.new_score)}</td><td>{c.outcome || ''}</td>
            </tr>
          ))}
        </Table>
      ) : null}
      <More of={list}><Empty title="Nothing would change.">What is judged so far gets what it had.</Empty></More>
    </section>
  );
}

export function Rejudging({ id }) {
  const set = useLoad(() => get(`rejudgings/${id}`), [id]);
  const [run, { busy, error }] = useDeed();
  useTitle('Rejudging');
  const whole = (r) => r.state === 'judging' && r.judged + r.failed >= r.submissions;
  const moving = set.data && !set.data.ended_at && !whole(set.data);
  useEffect(() => {
    if (!moving) return undefined;
    const timer = setInterval(() => document.visibilityState === 'visible' && set.reload(), 1000);
    return () => clearInterval(timer);
  }, [moving]);
  const end = (how) => run(async () => { await post(`rejudgings/${id}/${how}`); set.reload(); });
  return (
    <>
      <Head title="Rejudging" kicker={<a href={link('rejudgings')}>Rejudgings</a>} />
      <Loaded of={set}>{(r) => (
        <>
          <dl class="facts">
            <div><dt>Benchmark</dt><dd><a href={link('benchmarks', r.benchmark_id)}>{r.benchmark_id}</a></dd></div>
            <div><dt>State</dt><dd><Status of={r.state} /></dd></div>
            <div><dt>Why</dt><dd>{r.reason || '—'}</dd></div>
            <div><dt>Judged</dt><dd>{r.judged} of {r.submissions}</dd></div>
            <div><dt>Would change</dt><dd>{r.changed}</dd></div>
            {r.failed ? <div><dt>Not judged</dt><dd>{r.failed}</dd></div> : null}
          </dl>
          <Fault error={error} />
          {r.ended_at ? <p>It ended <Time of={r.ended_at} />.</p> : (
            <p class="row">
              <Sure class="primary" disabled={busy || !whole(r)} ask={`Let ${r.changed} changes count?`} onSure={() => end('apply')}>Apply</Sure>
              <Sure disabled={busy || !['making', 'judging'].includes(r.state)} ask="Drop it?" onSure={() => end('cancel')}>Drop</Sure>
            </p>
          )}
          <Changes id={id} version={`${r.state} ${r.judged}`} />
        </>
      )}</Loaded>
    </>
  );
}
