import { useState } from 'preact/hooks';
import { all, get, patch } from '../api.js';
import { Delete, ProblemEditor, Problems, Publish } from './authoring.jsx';
import { link } from '../router.js';
import { Block } from '../text.jsx';
import { bytes, Empty, Fault, Field, Head, Loaded, More, ms, Table, Time, useDeed, useLoad, usePages, useTitle } from '../ui.jsx';
import { Board, isFrozen } from './board.jsx';
import { Rejudge } from './rejudgings.jsx';
import { Submit } from './submit.jsx';
import { SubmissionList } from './submissions.jsx';

/** Whether it takes submissions, in a word. */
function Open({ of: b }) {
  const now = Date.now();
  if (b.ends_at && Date.parse(b.ends_at) <= now) return <span class="status">ended</span>;
  if (b.starts_at && Date.parse(b.starts_at) > now) return <span class="status running">to come</span>;
  return <span class="status done">open</span>;
}

const SHOWN = { none: 'nothing', verdict: 'the verdict', first_failure: 'first failing test', samples: 'samples', full: 'everything' };

export function Benchmarks({ staff }) {
  const list = usePages((cursor) => get(`benchmarks?limit=100${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ''}`), []);
  const [wanted, setWanted] = useState('');
  useTitle('Benchmarks');
  const rows = list.items.filter((b) => `${b.id} ${b.name}`.toLowerCase().includes(wanted.toLowerCase()));
  return (
    <>
      <Head title="Benchmarks">
        <input type="search" placeholder="filter" aria-label="Filter by name" value={wanted} onInput={(e) => setWanted(e.currentTarget.value)} />
        {staff ? <a class="button primary" href={link('benchmarks', 'new')}>New benchmark</a> : null}
      </Head>
      {rows.length ? (
        <Table caption="Benchmarks" head={['Name', 'State', 'Ends', 'Feedback', 'Seen by', '']}>
          {rows.map((b) => (
            <tr key={b.id}>
              <th scope="row" class="long"><a href={link('benchmarks', b.id)}>{b.name}</a></th>
              <td><Open of={b} /></td>
              <td><Time of={b.ends_at} none="never" /></td>
              <td>{SHOWN[b.feedback]}</td>
              <td>{b.visibility === 'public' ? 'everybody' : b.entrant_count ? 'its entrants' : 'its owner'}</td>
              <td class="links"><a href={link('benchmarks', b.id, 'board')}>board<span class="hidden"> of {b.name}</span></a> <a href={link('benchmarks', b.id, 'submit')}>submit<span class="hidden"> to {b.name}</span></a></td>
            </tr>
          ))}
        </Table>
      ) : null}
      {list.items.length && !rows.length ? <Empty title={`None has “${wanted}” in its name.`}>{list.more ? 'More of them may be looked through: show more below.' : null}</Empty> : null}
      <More of={list}><Empty title="There are no benchmarks yet.">{staff ? <a href={link('benchmarks', 'new')}>Make the first one</a> : 'Instructors make them.'}</Empty></More>
    </>
  );
}

function Samples({ problem }) {
  const tests = useLoad(() => all(`problems/${encodeURIComponent(problem.id)}/tests`, 20), [problem.id]);
  return (
    <Loaded of={tests}>{(items) => items.map((t) => (
      <details class="sample" open={t.sample}>
        <summary>Test {t.number}{t.name ? ` “${t.name}”` : ''}{t.sample ? '' : ', hidden'}</summary>
        <div class="pair"><Block label="Input" text={t.input} /><Block label="Expected output" text={t.expected_output} /></div>
      </details>
    ))}</Loaded>
  );
}

function Problem({ id }) {
  const problem = useLoad(() => get(`problems/${encodeURIComponent(id)}`), [id]);
  return (
    <Loaded of={problem}>{(p) => (
      <section class="card" aria-labelledby={`p-${p.id}`}>
        <h2 id={`p-${p.id}`}>{p.name}</h2>
        {p.statement ? <div class="statement">{p.statement}</div> : null}
        <dl class="facts">
          <div><dt>Time</dt><dd>{ms(p.limits.time_limit_ms)}</dd></div>
          <div><dt>Memory</dt><dd>{bytes(p.limits.memory_limit_bytes)}</dd></div>
          <div><dt>Output</dt><dd>{bytes(p.limits.output_limit_bytes)}</dd></div>
          <div><dt>Compared</dt><dd>{p.checker ? 'by a checker' : p.compare}</dd></div>
          <div><dt>Tests</dt><dd>{p.test_count}, {p.sample_count} shown</dd></div>
        </dl>
        {p.test_count ? <Samples problem={p} /> : null}
      </section>
    )}</Loaded>
  );
}

function Overview({ benchmark }) {
  const [at, setAt] = useState(0);
  const chosen = benchmark.problems[at];
  return (
    <>
      {benchmark.description ? <div class="statement">{benchmark.description}</div> : null}
      <dl class="facts">
        <div><dt>Starts</dt><dd><Time of={benchmark.starts_at} none="at once" /></dd></div>
        <div><dt>Ends</dt><dd><Time of={benchmark.ends_at} none="never" /></dd></div>
        <div><dt>Board frozen</dt><dd>{benchmark.freezes_at ? <><Time of={benchmark.freezes_at} /> until <Time of={benchmark.thaws_at} none="somebody thaws it" /></> : 'never'}</dd></div>
        <div><dt>Scoring</dt><dd>{benchmark.scoring}, ranked by {benchmark.ranking}</dd></div>
        <div><dt>Feedback</dt><dd>{SHOWN[benchmark.feedback]}</dd></div>
        <div><dt>Languages</dt><dd>{benchmark.languages.length ? benchmark.languages.join(', ') : 'all'}</dd></div>
      </dl>
      {benchmark.problems.length > 1 ? (
        <Field id="problem" label="Problem">
          <select id="problem" value={at} onChange={(e) => setAt(Number(e.currentTarget.value))}>
            {benchmark.problems.map((p, i) => <option value={i}>{p.name}</option>)}
          </select>
        </Field>
      ) : null}
      {chosen ? <Problem key={chosen.id} id={chosen.id} /> : <Empty title="There is nothing to solve yet.">{benchmark.starts_at && Date.parse(benchmark.starts_at) > Date.now() ? <>It begins <Time of={benchmark.starts_at} />.</> : 'It has no problems yet.'}</Empty>}
    </>
  );
}

// datetime-local speaks the time of the place, without its zone
const local = (iso) => {
  if (!iso) return '';
  const at = new Date(iso);
  return new Date(at.getTime() - at.getTimezoneOffset() * 60000).toISOString().slice(0, 16);
};
const moment = (text) => (text ? new Date(text).toISOString() : null);

const words = (text) => String(text || '').split(/[\s,]+/).filter(Boolean);

function Manage({ benchmark, reload }) {
  const [run, { busy, error }] = useDeed();
  const [said, say] = useState('');
  const set = (change, words) => run(async () => {
    say('');
    await patch(`benchmarks/${encodeURIComponent(benchmark.id)}`, change);
    say(words);
    reload();
  });
  const save = (e) => {
    e.preventDefault();
    const f = new FormData(e.currentTarget);
    set({
      name: f.get('name'), description: f.get('description') || null, visibility: f.get('visibility'), feedback: f.get('feedback'), scoring: f.get('scoring'), ranking: f.get('ranking'),
      languages: words(f.get('languages')), entrants: words(f.get('entrants')), starts_at: moment(f.get('starts_at')),
      ends_at: moment(f.get('ends_at')), freezes_at: moment(f.get('freezes_at')), thaws_at: moment(f.get('thaws_at')),
    }, 'Saved.');
  };
  const frozen = isFrozen(benchmark);
  const when = (name, label, hint) => (
    <Field id={name} label={label} hint={hint}><input id={name} name={name} type="datetime-local" defaultValue={local(benchmark[name])} key={benchmark[name]} aria-describedby={hint ? `${name}-hint` : undefined} /></Field>
  );
  const choice = (name, label, options) => (
    <Field id={name} label={label}>
      <select id={name} name={name}>{options.map((o) => <option selected={benchmark[name] === o}>{o}</option>)}</select>
    </Field>
  );
  return (
    <>
      <Fault error={error} />
      <p class="hold" role="status">{said}</p>
      <Publish benchmark={benchmark} set={set} busy={busy} />
      <Problems benchmark={benchmark} reload={reload} />
      <section class="card" aria-labelledby="freeze">
        <h2 id="freeze">Freeze</h2>
        <p>{frozen ? 'The board is frozen: entrants see it as it stood then, staff and the owner as it is.' : 'The board is open.'}</p>
        {frozen
          ? <button type="button" disabled={busy} onClick={() => set({ thaws_at: new Date().toISOString() }, 'The board is open again.')}>Thaw it now</button>
          : <button type="button" disabled={busy} onClick={() => set({ freezes_at: new Date().toISOString(), thaws_at: null }, 'The board is frozen.')}>Freeze it now</button>}
      </section>
      <form class="card" onSubmit={save} key={benchmark.updated_at}>
        <h2>Settings</h2>
        <div class="grid">
          <Field id="name" label="Name"><input id="name" name="name" defaultValue={benchmark.name} required /></Field>
          {choice('visibility', 'Seen by', ['public', 'private'])}
          {choice('feedback', 'Feedback', ['none', 'verdict', 'first_failure', 'samples', 'full'])}
          {choice('scoring', 'Which submission counts', ['best', 'last', 'first', 'mean'])}
          {choice('ranking', 'Ranked by', ['score', 'sum', 'icpc', 'pass_at_k', 'mean_time', 'ioi'])}
          {when('starts_at', 'Starts')}
          {when('ends_at', 'Ends')}
          {when('freezes_at', 'Board freezes', 'Between start and end.')}
          {when('thaws_at', 'Board thaws')}
        </div>
        <div class="grid wide">
          <Field id="description" label="What it is about"><textarea id="description" name="description" rows={3} defaultValue={benchmark.description} /></Field>
          <Field id="languages" label="Languages" hint="Names, with spaces between; none: all."><textarea id="languages" name="languages" rows={3} defaultValue={benchmark.languages.join(' ')} aria-describedby="languages-hint" /></Field>
          <Field id="entrants" label="Entrants" hint="Ids of agents; none: all may submit."><textarea id="entrants" name="entrants" rows={3} defaultValue={benchmark.entrants.join(' ')} aria-describedby="entrants-hint" /></Field>
        </div>
        <p class="note">Times are those of this browser's zone, {Intl.DateTimeFormat().resolvedOptions().timeZone}.</p>
        <button type="submit" class="primary" disabled={busy}>Save</button>
      </form>
      <Rejudge benchmark={benchmark} />
      <Delete benchmark={benchmark} />
    </>
  );
}

const TABS = [['', 'Problems'], ['board', 'Leaderboard'], ['submit', 'Submit'], ['submissions', 'Submissions']];

export function Benchmark({ id, rest, user, staff, search }) {
  const benchmark = useLoad(() => get(`benchmarks/${encodeURIComponent(id)}`), [id]);
  const tab = rest[1] || '';
  const what = { board: 'Leaderboard: ', submit: 'Submit: ', submissions: 'Submissions: ', manage: 'Manage: ' }[tab] || '';
  useTitle(tab === 'problem' ? undefined : benchmark.data ? `${what}${benchmark.data.name}` : 'Benchmark');
  return (
    <Loaded of={benchmark}>{(b) => {
      const mine = staff && (user.role === 'admin' || b.owner_id === user.id);
      return (
        <>
          <Head title={b.name} kicker={<a href={link('benchmarks')}>Benchmarks</a>} />
          <nav class="tabs" aria-label="Of this benchmark">
            {[...TABS, ...(mine ? [['manage', 'Manage']] : [])].map(([at, name]) => (
              <a href={at ? link('benchmarks', id, at) : link('benchmarks', id)} data-name={name} aria-current={tab === at || (tab === 'problem' && at === 'manage') ? 'page' : undefined}>{name}</a>
            ))}
          </nav>
          {tab === '' ? <Overview benchmark={b} /> : null}
          {tab === 'board' ? <Board benchmark={b} staff={staff} user={user} /> : null}
          {tab === 'submit' ? <Submit benchmark={b} user={user} search={search} /> : null}
          {tab === 'submissions' ? <SubmissionList fixed={{ benchmark_id: b.id }} /> : null}
          {tab === 'manage' && mine ? <Manage benchmark={b} reload={benchmark.reload} /> : null}
          {tab === 'problem' && mine ? <ProblemEditor key={rest[2]} benchmark={b} id={rest[2] || 'new'} reload={benchmark.reload} /> : null}
        </>
      );
    }}</Loaded>
  );
}
