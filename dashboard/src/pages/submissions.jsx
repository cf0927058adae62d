import { useEffect, useState } from 'preact/hooks';
import { all, follow, get, post, query } from '../api.js';
import { Code } from '../code.jsx';
import { link } from '../router.js';
import { Block, textOf } from '../text.jsx';
import { Bar, bytes, Empty, Fault, Field, Head, Loaded, More, ms, n, number, Status, Sure, Table, Time, useDeed, useLoad, usePages, useTitle, Verdict, Waiting } from '../ui.jsx';
import { Feedback } from './projects.jsx';
import { Waterfall } from './trace.jsx';

const VERDICTS = ['OK', 'WA', 'TL', 'ML', 'OL', 'RE', 'BF', 'IE'];
const STATES = ['queued', 'running', 'done', 'error', 'cancelled'];

export function SubmissionList({ fixed = {} }) {
  const [filter, setFilter] = useState({});
  const list = usePages((cursor) => get(`submissions${query({ ...fixed, ...filter, limit: 50, cursor })}`), [JSON.stringify([fixed, filter])]);
  const pick = (name, label, options) => (
    <Field id={`by-${name}`} label={label}>
      <select id={`by-${name}`} value={filter[name] || ''} onChange={(e) => setFilter({ ...filter, [name]: e.currentTarget.value })}>
        <option value="">any</option>
        {options.map((o) => <option>{o}</option>)}
      </select>
    </Field>
  );
  return (
    <>
      <div class="row">
        {pick('status', 'State', STATES)}
        {pick('verdict', 'Verdict', VERDICTS)}
        <button type="button" onClick={list.reload}>Look again</button>
      </div>
      {list.items.length ? (
        <Table caption="Submissions" head={['When', 'State', 'Verdict', n('Score'), 'Agent', ...(fixed.benchmark_id ? [] : ['Benchmark']), 'Language']}>
          {list.items.map((s) => (
            <tr key={s.id}>
              <th scope="row"><a href={link('submissions', s.id)}><Time of={s.created_at} /></a></th>
              <td><Status of={s.status} /></td>
              <td><Verdict of={s.verdict} /></td>
              <td class="n">{number(s.score)}</td>
              <td class="long">{s.agent_id || '—'}</td>
              {fixed.benchmark_id ? null : <td class="long">{s.benchmark_id ? <a href={link('benchmarks', s.benchmark_id)}>{s.benchmark_id}</a> : <span class="note">a {s.kind}</span>}</td>}
              <td>{s.language || '—'}</td>
            </tr>
          ))}
        </Table>
      ) : null}
      <More of={list}>
        <Empty title={filter.status || filter.verdict ? 'None is like that.' : 'Nothing was submitted yet.'}>
          {filter.status || filter.verdict ? <button type="button" onClick={() => setFilter({})}>Show all</button>
            : <a href={fixed.benchmark_id ? link('benchmarks', fixed.benchmark_id, 'submit') : link('benchmarks')}>{fixed.benchmark_id ? 'Submit something' : 'Choose a benchmark'}</a>}
        </Empty>
      </More>
    </>
  );
}

export function Submissions() {
  useTitle('Submissions');
  return <><Head title="Submissions" /><SubmissionList /></>;
}

/** What happens to a submission, as it happens. */
function useLive(id) {
  const [live, set] = useState({ tests: [], state: 'opening' });
  useEffect(() => {
    const end = new AbortController();
    const hear = (name, data) => {
      set((l) => {
        switch (name) {
          case 'state': return { ...l, submission: data.submission, ahead: undefined };
          case 'position': return { ...l, ahead: data };
          case 'queued': return { ...l, submission: l.submission && { ...l.submission, status: 'queued' } };
          case 'running': return { ...l, ahead: undefined, tests: [], submission: l.submission && { ...l.submission, status: 'running' } };
          case 'test': return { ...l, tests: [...l.tests.filter((t) => t.number !== data.detail.number), data.detail] };
          case 'deleted': return { ...l, deleted: true };
          default: return data.submission ? { ...l, ahead: undefined, submission: data.submission } : l;
        }
      });
      const ended = data.submission?.finished_at;
      return name === 'deleted' || Boolean(ended);
    };
    follow(`submissions/${encodeURIComponent(id)}/events`, hear, { signal: end.signal, state: (state) => set((l) => ({ ...l, state })) })
      .catch((error) => set((l) => ({ ...l, error })));
    return () => end.abort();
  }, [id]);
  return [live, set];
}

function Live({ live }) {
  const s = live.submission;
  const total = s.summary?.tests;
  return (
    <section class="card" aria-labelledby="live">
      <h2 id="live">Live</h2>
      <p role="status" aria-live="polite">
        {s.status === 'queued' ? (live.ahead ? `Queued: ${live.ahead.ahead}${live.ahead.or_more ? ' or more' : ''} ahead.` : 'Queued.') : null}
        {s.status === 'running' ? `Running${live.tests.length ? `: ${live.tests.length}${total ? ` of ${total}` : ''} tests so far` : ''}.` : null}
        {live.state === 'again' ? ' The connection broke; trying again.' : null}
      </p>
      <ol class="chips">{live.tests.map((t) => <li key={t.number}>{t.number} <Verdict of={t.verdict} /></li>)}</ol>
    </section>
  );
}

function Diff({ expected, actual }) {
  const [parts, set] = useState(null);
  const [error, setError] = useState();
  useEffect(() => {
    let gone = false;
    import('../diff.jsx').then(({ compare }) => !gone && set(compare(expected, actual))).catch(setError);
    return () => { gone = true; };
  }, [expected, actual]);
  if (error) return <Fault error={error} />;
  return parts;
}

function Test({ test, limits, known }) {
  const out = textOf(test, 'stdout');
  const err = textOf(test, 'stderr');
  const talk = textOf(test, 'transcript');
  const cut = (name) => [textOf(test, name)?.binary ? 'not UTF-8' : '', test[`${name}_truncated`] ? `the first of ${bytes(test[`${name}_bytes`])}` : ''].filter(Boolean).join(', ');
  const ended = test.exit_code !== undefined || test.signal;
  return (
    <details class="test" id={`test-${test.number}`} open={test.verdict !== 'OK' && test.verdict !== '-' && (out || err || test.message) ? true : undefined}>
      <summary>
        <span class="number">{test.number}</span> <Verdict of={test.verdict} long /> <span class="name">{test.name}</span>
        {test.sample ? <span class="note"> sample</span> : null}
        {test.group ? <span class="note"> in {test.group}</span> : null}
        {test.points_awarded !== undefined ? <span class="note"> {number(test.points_awarded)} of {number(test.points)} points</span> : null}
      </summary>
      <div class="body">
        {ended ? (
          <div class="resources">
            <Bar label="CPU" value={test.cpu_us !== undefined ? test.cpu_us / 1000 : test.cpu_ms} limit={limits?.time_limit_ms} format={ms} />
            <Bar label="Wall" value={test.wall_us !== undefined ? test.wall_us / 1000 : test.wall_ms} limit={limits?.wall_limit_ms} format={ms} />
            <Bar label="Memory" value={test.memory_peak_bytes} limit={limits?.memory_limit_bytes} format={bytes} />
          </div>
        ) : null}
        {ended ? (
          <p class="note">
            {test.signal ? `ended by signal ${test.signal}` : `exit status ${test.exit_code}`}
            {test.over_limit ? `, over its ${test.over_limit} limit` : ''}{test.oom_killed ? ', killed for memory' : ''}{test.reruns ? `, run ${test.reruns + 1} times` : ''}
          </p>
        ) : null}
        {test.message ? <Block label="Message" text={test.message} /> : null}
        {test.team_message ? <Block label="Of the checker" text={test.team_message} /> : null}
        {test.judge_message ? <Block label="Of the checker, to staff" text={test.judge_message} /> : null}
        {known ? <Block label="Input" text={known.input} /> : null}
        {known && out && test.verdict === 'WA' ? <Diff expected={known.expected_output} actual={out.text} /> : null}
        {known && !(out && test.verdict === 'WA') ? <Block label="Expected output" text={known.expected_output} /> : null}
        {out ? <Block label="Output" text={out.text} note={cut('stdout')} /> : null}
        {err?.text ? <Block label="Error output" text={err.text} note={cut('stderr')} /> : null}
        {talk ? <Block label="Talk with the interactor" text={talk.text} /> : null}
      </div>
    </details>
  );
}

function Results({ id, problem }) {
  const result = useLoad(() => get(`results/${encodeURIComponent(id)}`), [id]);
  // what a test gave in and wanted, as far as one may see it
  const known = useLoad(() => (problem ? all(`problems/${encodeURIComponent(problem)}/tests`, 200).catch(() => []) : Promise.resolve([])), [problem]);
  return (
    <Loaded of={result}>{(r) => {
      const build = textOf(r, 'build_output');
      const inputs = new Map((known.data || []).filter((t) => t.sample || t.input || t.expected_output).map((t) => [t.number, t]));
      return (
        <section aria-labelledby="results">
          <h2 id="results">Results</h2>
          <dl class="facts">
            {r.tests_total !== undefined ? <div><dt>Tests passed</dt><dd>{r.tests_passed} of {r.tests_total}</dd></div> : null}
            {r.points !== undefined ? <div><dt>Points</dt><dd>{number(r.points_awarded)} of {number(r.points)}</dd></div> : null}
            {r.cpu_ms !== undefined ? <div><dt>CPU</dt><dd>{ms(r.cpu_us !== undefined ? r.cpu_us / 1000 : r.cpu_ms)}</dd></div> : null}
            {r.memory_peak_bytes !== undefined ? <div><dt>Memory</dt><dd>{bytes(r.memory_peak_bytes)}</dd></div> : null}
            {r.build_ms !== undefined ? <div><dt>Build</dt><dd>{ms(r.build_ms)}{r.build_cached ? ', from the cache' : ''}</dd></div> : null}
            {r.sandbox ? <div><dt>Sandbox</dt><dd>{r.sandbox.mode}{r.sandbox.cpu_exact && r.sandbox.memory_exact ? '' : ', figures not exact'}</dd></div> : null}
            <div><dt>Feedback</dt><dd>{r.feedback}</dd></div>
          </dl>
          {r.fault ? <div class="fault"><p>{r.fault}</p></div> : null}
          {r.first_failure && !r.tests ? <p>The first test that failed is {r.first_failure.number}: <Verdict of={r.first_failure.verdict} long /></p> : null}
          {build?.text ? <Block label="The compiler said" text={build.text} /> : null}
          {r.groups?.length ? (
            <Table caption="Groups" head={['Group', 'Verdict', n('Points'), n('Tests passed')]}>
              {r.groups.map((g) => <tr><th scope="row">{g.name}</th><td><Verdict of={g.verdict} /></td><td class="n">{number(g.points_awarded)} of {number(g.points)}</td><td class="n">{g.tests_passed} of {g.tests_total}</td></tr>)}
            </Table>
          ) : null}
          {(r.tests || []).map((t) => <Test key={t.number} test={t} limits={r.limits} known={inputs.get(t.number)} />)}
          {r.tests ? null : <p class="note">The benchmark shows no more to you.</p>}
        </section>
      );
    }}</Loaded>
  );
}

function Source({ id }) {
  const source = useLoad(() => get(`submissions/${encodeURIComponent(id)}/source`), [id]);
  if (source.error?.status === 403 || source.error?.status === 404) return null;
  return (
    <section aria-labelledby="source">
      <h2 id="source">Source</h2>
      <Loaded of={source}>{(s) => {
        if (s.source !== null) return <Code label="Source" text={s.source} language={s.language} readOnly />;
        if (s.payload !== null) return <Block label="Payload" text={s.payload} />;
        return Object.entries(s.files || {}).map(([name, text]) => <Block key={name} label={name} text={text} />);
      }}</Loaded>
    </section>
  );
}

export function Submission({ id, staff, user }) {
  const [live, setLive] = useLive(id);
  const [run, { error, busy }] = useDeed();
  const [said, say] = useState('');
  const s = live.submission;
  useTitle(s ? `${s.verdict || s.status}: submission` : 'Submission');
  const home = <a href={link('submissions')}>Submissions</a>;
  if (live.error) return <><Head title="Submission" kicker={home} /><Fault error={live.error} /></>;
  if (!s) return <><Head title="Submission" kicker={home} /><Waiting lines={6} /></>;
  const project = s.kind === 'project';
  const over = Boolean(s.finished_at);
  const cancel = () => run(async () => { await post(`submissions/${id}/cancel`); say('It will be stopped.'); });
  const again = () => run(async () => {
    await post(`submissions/${id}/rejudge`);
    say('It is judged again. Load the page again to follow it.');
    setLive((l) => ({ ...l, submission: { ...l.submission, status: 'queued', verdict: null, finished_at: null } }));
  });
  return (
    <>
      <Head kicker={home} title={<>{project ? 'Project' : 'Submission'} {s.verdict && !project ? <Verdict of={s.verdict} long /> : project && over ? null : <Status of={s.status} />}</>} />
      <dl class="facts">
        {project && over ? null : <div><dt>State</dt><dd><Status of={s.status} /></dd></div>}
        {s.score !== null && !project ? <div><dt>Score</dt><dd>{number(s.score)}</dd></div> : null}
        {project ? null : <div><dt>Benchmark</dt><dd>{s.benchmark_id ? <a href={link('benchmarks', s.benchmark_id)}>{s.benchmark_id}</a> : '—'}</dd></div>}
        {project ? null : <div><dt>Agent</dt><dd>{s.agent_id || '—'}</dd></div>}
        {project ? null : <div><dt>Language</dt><dd>{s.language || '—'}</dd></div>}
        <div><dt>Sent</dt><dd><Time of={s.created_at} /></dd></div>
        {s.attempts > 1 ? <div><dt>Attempts</dt><dd>{s.attempts}</dd></div> : null}
        <div><dt>Id</dt><dd><code>{s.id}</code></dd></div>
      </dl>
      <Fault error={error} />
      <p class="row">
        {over ? null : <Sure disabled={busy} ask="Stop it?" onSure={cancel}>Cancel</Sure>}
        {over && staff && s.kind === 'benchmark' ? <Sure disabled={busy} ask="Judge it again?" onSure={again}>Judge again</Sure> : null}
        {s.benchmark_id ? <a href={link('benchmarks', s.benchmark_id, 'board')}>Leaderboard</a> : null}
        {s.benchmark_id ? <a href={link('benchmarks', s.benchmark_id, 'submit')}>Submit another</a> : null}
        {over ? null : <a href={`${link('webhooks')}?submission=${s.id}`}>Have a program told</a>}
        <span role="status">{said}</span>
      </p>
      {live.deleted ? <p role="status">It was deleted.</p> : null}
      {over ? null : <Live live={live} />}
      {over && project ? <Feedback id={id} version={s.finished_at} /> : null}
      {over && !project && s.status !== 'cancelled' ? <Results key={s.finished_at} id={id} problem={s.problem_id} /> : null}
      {over ? <Waterfall id={id} /> : null}
      {!project && (staff || s.owner_id === user.id) ? <Source id={id} /> : null}
    </>
  );
}
