// Making a benchmark: its problems and their tests, problem packages, publishing and closing it.

import { useEffect, useRef, useState } from 'preact/hooks';
import { all, get, onceKey, patch, post, Problem as Refused, put, query, remove, upload } from '../api.js';
import { go, link } from '../router.js';
import { bytes, Drop, Empty, Fault, Field, Head, Loaded, n, Progress, Status, Sure, Table, Time, Typed, useDeed, useLoad, useTitle, Verdict } from '../ui.jsx';

const COMPARES = {
  exact: 'byte for byte', tokens: 'words, white space aside', nocase: 'words, small and capital letters alike', float: 'words, numbers within a tolerance',
  lines: 'lines, white space at their ends aside', unordered_lines: 'lines in any order', unordered_tokens: 'words in any order',
};
const PACKAGE_MOST = 64 * 2 ** 20;
const SHOWN_MOST = 8 * 2 ** 20; // tests larger together are not put into fields
const size = (t) => (t.input || '').length + (t.expected_output || '').length;

export function NewBenchmark() {
  const [run, { busy, error }] = useDeed();
  const [key] = useState(onceKey);
  useTitle('New benchmark');
  const make = (e) => {
    e.preventDefault();
    const f = new FormData(e.currentTarget);
    run(async () => {
      const made = await post('benchmarks', { name: f.get('name'), visibility: 'private', ...(f.get('id') ? { id: f.get('id') } : {}), ...(f.get('description') ? { description: f.get('description') } : {}) }, { headers: { 'Idempotency-Key': key } });
      go(link('benchmarks', made.id, 'manage').slice(1));
    });
  };
  return (
    <>
      <Head title="New benchmark" kicker={<a href={link('benchmarks')}>Benchmarks</a>} />
      <p class="lead">It begins as a draft that only you see. Give it problems, try it, then publish it.</p>
      <form class="card" onSubmit={make}>
        <h2>What it is</h2>
        <div class="grid">
          <Field id="b-name" label="Name"><input id="b-name" name="name" required maxLength={200} /></Field>
          <Field id="b-id" label="Id (if you like)" hint="Part of addresses; it stays. Small letters, digits, “.”, “_”, “-”."><input id="b-id" name="id" pattern="[a-z0-9][a-z0-9._\-]*" maxLength={64} aria-describedby="b-id-hint" /></Field>
        </div>
        <Field id="b-about" label="What it is about"><textarea id="b-about" name="description" rows={4} /></Field>
        <Fault error={error} />
        <button type="submit" class="primary" disabled={busy}>Make the draft</button>
      </form>
      <Import />
    </>
  );
}

/** Whether anyone can see it and send to it, and the buttons that change that. */
export function Publish({ benchmark: b, set, busy }) {
  const now = Date.now();
  const ended = b.ends_at && Date.parse(b.ends_at) <= now;
  const waits = b.starts_at && Date.parse(b.starts_at) > now;
  const open = b.visibility === 'public';
  return (
    <section class="card" aria-labelledby="publish">
      <h2 id="publish">Publish and close</h2>
      <p>
        {open ? 'Everybody sees it' : b.entrants.length ? 'Its entrants see it' : 'A draft: only you and admins see it'}
        {ended ? <>; it ended <Time of={b.ends_at} />, and nothing more is taken.</> : waits ? <>; it takes submissions from <Time of={b.starts_at} /> on.</> : b.ends_at ? <>; it takes submissions until <Time of={b.ends_at} />.</> : '; it takes submissions.'}
      </p>
      {!b.problems.length ? <p class="banner">It has no problems yet: add one below before you publish it.</p> : null}
      <p class="row">
        {open ? <Sure disabled={busy} ask="Hide it from all but its entrants?" onSure={() => set({ visibility: 'private' }, 'It is hidden.')}>Hide it</Sure>
          : <button type="button" class="primary" disabled={busy || !b.problems.length} onClick={() => set({ visibility: 'public' }, 'It is published.')}>Publish it</button>}
        {ended ? <button type="button" disabled={busy} onClick={() => set({ ends_at: null }, 'It takes submissions again.')}>Open it again</button>
          : <Sure disabled={busy} ask="Take no more submissions?" onSure={() => set({ ends_at: new Date().toISOString() }, 'It is closed.')}>Close it now</Sure>}
      </p>
    </section>
  );
}

export function Problems({ benchmark, reload }) {
  return (
    <section class="card" aria-labelledby="problems">
      <div class="head"><h2 id="problems">Problems</h2><div class="actions"><a class="button" href={link('benchmarks', benchmark.id, 'problem', 'new')}>Add a problem</a></div></div>
      {benchmark.problems.length ? (
        <ol class="list">{benchmark.problems.map((p) => <li key={p.id}><a href={link('benchmarks', benchmark.id, 'problem', p.id)}>{p.name}</a></li>)}</ol>
      ) : <Empty title="It has no problems yet.">Add one, or import a problem package.</Empty>}
      <Import benchmark={benchmark} onDone={reload} />
    </section>
  );
}

export function Delete({ benchmark }) {
  const [run, { busy, error }] = useDeed();
  return (
    <section class="card" aria-labelledby="delete">
      <h2 id="delete">Delete</h2>
      <Fault error={error} />
      <Typed id="b-delete" word={benchmark.id} label="Delete it with its problems and tests; this cannot be undone" button="Delete the benchmark" busy={busy}
        onSure={() => run(async () => { await remove(`benchmarks/${encodeURIComponent(benchmark.id)}`); go(link('benchmarks').slice(1)); })} />
    </section>
  );
}

// ---- one problem -------------------------------------------------------------------------------------

/** What the fields say, as the API takes it. */
function described(f, { harness }) {
  const compare = f.get('compare');
  return {
    name: f.get('name'), statement: f.get('statement') || null,
    ...(compare ? { compare } : {}),
    ...(compare === 'float' ? { float_abs: Number(f.get('float_abs')) || 0, float_rel: Number(f.get('float_rel')) || 0 } : {}),
    ...(harness ? {} : { stop_on_failure: f.get('stop_on_failure') === 'on' }),
    limits: { time_limit_ms: Number(f.get('time')), memory_limit_bytes: Math.round(Number(f.get('memory')) * 2 ** 20), output_limit_bytes: Math.round(Number(f.get('output')) * 1024) },
  };
}

export function ProblemEditor({ benchmark, id, reload }) {
  const fresh = id === 'new';
  const problem = useLoad(() => (fresh ? Promise.resolve({ limits: { time_limit_ms: 2000, memory_limit_bytes: 2 ** 28, output_limit_bytes: 2 ** 20 }, compare: 'tokens', mode: 'program' }) : get(`problems/${encodeURIComponent(id)}`)), [id]);
  useTitle(fresh ? `New problem: ${benchmark.name}` : problem.data ? `${problem.data.name}: ${benchmark.name}` : 'Problem');
  const [said, say] = useState({}); // what was saved, said where; the parts themselves begin anew with each version
  return <Loaded of={problem}>{(p) => <Editor key={`${p.id} ${p.version}`} benchmark={benchmark} problem={p} fresh={fresh} said={said} say={say} reload={() => { problem.reload(); reload(); }} />}</Loaded>;
}

function Editor({ benchmark, problem: p, fresh, said, say, reload }) {
  const [run, { busy, error }] = useDeed();
  const [compare, setCompare] = useState(p.compare);
  const [key] = useState(onceKey);
  const back = link('benchmarks', benchmark.id, 'manage');
  const save = (e) => {
    e.preventDefault();
    const what = described(new FormData(e.currentTarget), { harness: Boolean(p.harness) });
    run(async () => {
      if (fresh) {
        const made = await post(`benchmarks/${encodeURIComponent(benchmark.id)}/problems`, what, { headers: { 'Idempotency-Key': key } });
        reload();
        go(link('benchmarks', benchmark.id, 'problem', made.id).slice(1));
      } else {
        // the longer limits go along with a time limit that is raised, and are as they were otherwise
        if (what.limits.time_limit_ms !== p.limits.time_limit_ms) Object.assign(what.limits, { hard_time_limit_ms: null, wall_limit_ms: null });
        await patch(`problems/${encodeURIComponent(p.id)}`, what);
        say({ problem: 'Saved. Submissions from now on are judged by it.' });
        reload();
      }
    });
  };
  return (
    <>
      <Head title={fresh ? 'New problem' : p.name} kicker={<a href={back}>All problems</a>} level={2} />
      <form class="card" onSubmit={save}>
        <h3>The problem</h3>
        <Field id="q-name" label="Name"><input id="q-name" name="name" required maxLength={200} defaultValue={p.name} /></Field>
        <Field id="q-statement" label="Statement" hint="Shown as it stands."><textarea id="q-statement" name="statement" rows={8} defaultValue={p.statement} aria-describedby="q-statement-hint" /></Field>
        <div class="grid">
          <Field id="q-time" label="CPU time, ms"><input id="q-time" name="time" type="number" min={100} max={600000} required defaultValue={p.limits.time_limit_ms} /></Field>
          <Field id="q-memory" label="Memory, MiB"><input id="q-memory" name="memory" type="number" min={4} max={16384} step="any" required defaultValue={p.limits.memory_limit_bytes / 2 ** 20} /></Field>
          <Field id="q-output" label="Output, KiB"><input id="q-output" name="output" type="number" min={0.001} max={65536} step="any" required defaultValue={p.limits.output_limit_bytes / 1024} /></Field>
          {p.checker ? <p class="note">It is judged by a checker, {p.checker.kind} in {p.checker.language}.</p> : (
            <Field id="q-compare" label="Outputs are compared">
              <select id="q-compare" name="compare" value={compare} onChange={(e) => setCompare(e.currentTarget.value)}>{Object.entries(COMPARES).map(([k, what]) => <option value={k}>{what}</option>)}</select>
            </Field>
          )}
          {compare === 'float' && !p.checker ? (
            <>
              <Field id="q-abs" label="Absolute tolerance"><input id="q-abs" name="float_abs" type="number" min={0} step="any" defaultValue={p.float_abs ?? 1e-6} /></Field>
              <Field id="q-rel" label="Relative tolerance"><input id="q-rel" name="float_rel" type="number" min={0} max={1} step="any" defaultValue={p.float_rel ?? 1e-6} /></Field>
            </>
          ) : null}
        </div>
        {p.harness ? null : <p><label class="check"><input type="checkbox" name="stop_on_failure" defaultChecked={p.stop_on_failure} /> stop at the first test that fails</label></p>}
        <Fault error={error} />
        <p class="row"><button type="submit" class="primary" disabled={busy}>{fresh ? 'Make the problem' : 'Save'}</button><span role="status">{fresh ? 'Tests come next.' : said.problem}</span></p>
      </form>
      {fresh ? null : <Tests problem={p} told={said.tests} tell={(tests) => say({ tests })} reload={reload} />}
      {fresh ? null : <Remove benchmark={benchmark} problem={p} reload={reload} />}
    </>
  );
}

function Remove({ benchmark, problem, reload }) {
  const [run, { busy, error }] = useDeed();
  return (
    <section class="card" aria-labelledby="remove">
      <h3 id="remove">Delete the problem</h3>
      <Fault error={error} />
      <Sure disabled={busy} ask={`Delete “${problem.name}” with its tests?`} onSure={() => run(async () => {
        await remove(`problems/${encodeURIComponent(problem.id)}`);
        go(link('benchmarks', benchmark.id, 'manage').slice(1));
        reload();
      })}>Delete it</Sure>
    </section>
  );
}

// ---- tests -----------------------------------------------------------------------------------------------

const ENDING = /\.(in|ans|out|a)$/i;

/** Tests of files: NAME.in with NAME.ans or NAME.out; or one JSON file of tests. */
async function read(files) {
  if (files.length === 1 && /\.json$/i.test(files[0].name)) {
    let json;
    try {
      json = JSON.parse(await files[0].text());
    } catch (e) {
      throw new Refused(0, { detail: `“${files[0].name}” is no JSON: ${e.message}` });
    }
    const tests = Array.isArray(json) ? json : json.tests;
    if (!Array.isArray(tests) || !tests.length) throw new Refused(0, { detail: `“${files[0].name}” has no tests: it should be [{"input": …, "expected_output": …}, …].` });
    return tests.map((t) => ({ name: t.name || '', input: t.input || '', expected_output: t.expected_output ?? t.expectedOutput ?? '', sample: Boolean(t.sample), points: t.points ?? 1, ...(t.group ? { group: t.group } : {}) }));
  }
  const pairs = new Map();
  for (const f of files) {
    const m = ENDING.exec(f.name);
    if (!m) throw new Refused(0, { detail: `“${f.name}” is neither input nor answer: choose NAME.in with NAME.ans or NAME.out, or one file of JSON.` });
    const name = f.name.slice(0, m.index);
    const pair = pairs.get(name) || {};
    pair[m[1].toLowerCase() === 'in' ? 'input' : 'expected_output'] = await f.text();
    pairs.set(name, pair);
  }
  const alone = [...pairs].filter(([, p]) => p.input === undefined || p.expected_output === undefined).map(([name]) => name);
  if (alone.length) throw new Refused(0, { detail: `Without their other half: ${alone.slice(0, 10).join(', ')}. Choose inputs and answers together.` });
  return [...pairs].sort(([a], [b]) => a.localeCompare(b, 'en', { numeric: true })).map(([name, p]) => ({ name, ...p, sample: /sample/i.test(name), points: 1 }));
}

function TestRow({ test, at, change, drop, groups }) {
  const [open, setOpen] = useState(!test.input && !test.expected_output);
  const label = `Test ${at + 1}`;
  const set = (what) => change(at, what);
  return (
    <details class="test" open={open} onToggle={(e) => setOpen(e.currentTarget.open)}>
      <summary><span class="number">{at + 1}</span> <span class="name">{test.name || 'without a name'}</span> <span class="note">{test.sample ? 'sample, shown to all' : 'hidden'}, {bytes(size(test))}{test.group ? `, in ${test.group}` : ''}</span></summary>
      {open ? (
        <div class="body">
          <div class="grid">
            <Field id={`t-name-${at}`} label={`${label}: name`}><input id={`t-name-${at}`} value={test.name} maxLength={200} onInput={(e) => set({ name: e.currentTarget.value })} /></Field>
            <Field id={`t-points-${at}`} label={`${label}: points`}><input id={`t-points-${at}`} type="number" min={0.001} step="any" value={test.points} onInput={(e) => set({ points: Number(e.currentTarget.value) })} /></Field>
            {groups.length ? <Field id={`t-group-${at}`} label={`${label}: group`}><select id={`t-group-${at}`} value={test.group || ''} onChange={(e) => set({ group: e.currentTarget.value })}><option value="">none</option>{groups.map((g) => <option>{g.name}</option>)}</select></Field> : null}
          </div>
          <div class="pair">
            <Field id={`t-in-${at}`} label={`${label}: input`}><textarea id={`t-in-${at}`} class="mono" rows={4} spellcheck={false} value={test.input} onInput={(e) => set({ input: e.currentTarget.value })} /></Field>
            <Field id={`t-out-${at}`} label={`${label}: expected output`}><textarea id={`t-out-${at}`} class="mono" rows={4} spellcheck={false} value={test.expected_output} onInput={(e) => set({ expected_output: e.currentTarget.value })} /></Field>
          </div>
          <p class="row">
            <label class="check"><input type="checkbox" checked={test.sample} onChange={(e) => set({ sample: e.currentTarget.checked })} /> sample</label>
            <button type="button" onClick={() => drop(at)}>Take {label.toLowerCase()} out</button>
          </p>
        </div>
      ) : null}
    </details>
  );
}

function Tests({ problem, told, tell, reload }) {
  const path = `problems/${encodeURIComponent(problem.id)}/tests`;
  const kept = useLoad(() => (problem.test_count ? all(path, 2000) : Promise.resolve([])), [problem.id, problem.version]);
  return (
    <section class="card" aria-labelledby="tests">
      <h3 id="tests">Tests</h3>
      <Loaded of={kept}>{(tests) => <TestList problem={problem} path={path} kept={tests} told={told} tell={tell} reload={reload} />}</Loaded>
    </section>
  );
}

let named = 0; // rows keep their fields when one before them goes

function TestList({ problem, path, kept, told, tell, reload }) {
  const [tests, set] = useState(() => kept.map(({ number, ...t }) => ({ ...t, key: ++named })));
  const [touched, touch] = useState(false);
  const [run, { busy, error }] = useDeed();
  const [said, say] = useState('');
  const whole = tests.reduce((sum, t) => sum + size(t), 0);
  const edit = (next) => { set(next); touch(true); say(''); };
  const change = (at, what) => edit(tests.map((t, i) => (i === at ? { ...t, ...what } : t)));
  const drop = (at) => edit(tests.filter((_, i) => i !== at));
  useEffect(() => {
    if (!touched) return undefined;
    const ask = (e) => e.preventDefault(); // the browser asks before what was typed is lost
    addEventListener('beforeunload', ask);
    return () => removeEventListener('beforeunload', ask);
  }, [touched]);
  const take = (files) => run(async () => {
    const more = (await read(files)).map((t) => ({ ...t, key: ++named }));
    edit([...tests, ...more]);
    say(`${more.length} ${more.length === 1 ? 'test is' : 'tests are'} added; save to keep ${more.length === 1 ? 'it' : 'them'}.`);
  });
  const save = () => run(async () => {
    if (!tests.length) throw new Refused(0, { detail: 'A problem needs at least one test.' });
    const groups = problem.groups || [];
    const names = new Set(groups.map((g) => g.name));
    await put(path, {
      tests: tests.map(({ key, group, ...t }) => ({ ...t, ...(group && names.has(group) ? { group } : {}) })),
      ...(groups.length ? { groups } : {}),
    });
    touch(false);
    tell('Saved. Submissions from now on are judged by these.');
    reload();
  });
  return (
    <>
      <p class="note">{tests.length} of them, {bytes(whole)} together. What was judged already stays as it is, until it is judged again.</p>
      {whole > SHOWN_MOST ? <p class="banner">They are too large to be edited here. Export the benchmark with <code>assay export</code>, or replace them by files.</p>
        : tests.map((t, i) => <TestRow key={t.key} test={t} at={i} change={change} drop={drop} groups={problem.groups || []} />)}
      <div class="row"><button type="button" onClick={() => edit([...tests, { key: ++named, name: '', input: '', expected_output: '', sample: false, points: 1 }])}>Add a test</button>
        {tests.length ? <Sure ask="Take all of them out?" onSure={() => edit([])}>Take all out</Sure> : null}</div>
      <Drop id="t-files" label="Add tests from files" multiple accept=".in,.ans,.out,.a,.json" disabled={busy} onFiles={take} hint="NAME.in with NAME.ans or NAME.out, any number of them; or one JSON file of tests. Names with “sample” become samples." />
      <Fault error={error} />
      <p class="row"><button type="button" class="primary" disabled={busy || !touched} onClick={save}>Save the tests</button><span role="status">{said || (touched ? 'Not saved yet.' : told)}</span></p>
    </>
  );
}

// ---- problem packages ------------------------------------------------------------------------------------

/** A problem package becomes a benchmark, or one more problem of `benchmark`; then its report. */
export function Import({ benchmark, onDone }) {
  const [run, { busy, error }] = useDeed();
  const [part, setPart] = useState(null);
  const [report, setReport] = useState(null);
  const take = ([file]) => run(async () => {
    if (file.size > PACKAGE_MOST) throw new Refused(0, { detail: `“${file.name}” has ${bytes(file.size)}; at most ${bytes(PACKAGE_MOST)} are taken.` });
    setReport(null);
    setPart(0);
    try {
      setReport(await upload(`benchmarks/import${query({ benchmark_id: benchmark?.id })}`, { body: file, type: 'application/zip', progress: setPart, headers: { 'Idempotency-Key': onceKey() } }));
    } finally {
      setPart(null);
    }
  });
  return (
    <section class={benchmark ? '' : 'card'} aria-labelledby="import">
      {benchmark ? <h3 id="import">Import a problem package</h3> : <h2 id="import">Or import a problem package</h2>}
      <Drop id="package" label="ZIP of the package" accept=".zip,application/zip" disabled={busy} onFiles={take} hint={`In the ICPC/Kattis format: statement, limits, tests, groups, validators and the jury's submissions. At most ${bytes(PACKAGE_MOST)}.`} />
      <Fault error={error} />
      <div class="hold" role="status">{part !== null ? <Progress label={part < 1 ? 'Sending the package' : 'Reading the package'} part={part} /> : null}</div>
      {report ? <Report of={report} benchmark={report.benchmark || benchmark} onDone={onDone} /> : null}
    </section>
  );
}

function Report({ of: r, benchmark, onDone }) {
  const top = useRef();
  useEffect(() => top.current?.focus(), []);
  const problem = r.problem || r.benchmark?.problems[0];
  return (
    <div class="report" tabIndex={-1} ref={top}>
      <p role="status">“{r.problem?.name || r.benchmark?.name}” is imported. {r.benchmark ? <a href={link('benchmarks', r.benchmark.id, 'manage')}>To the new benchmark</a> : <a href={link('benchmarks', benchmark.id, 'problem', problem.id)}>To the problem</a>}</p>
      <h4>Notes</h4>
      {r.notes.length ? <ul>{r.notes.map((t) => <li>{t}</li>)}</ul> : <p class="note">Everything in it was taken as it stands.</p>}
      {r.submissions.length ? <Jury benchmark={benchmark} problem={problem} submissions={r.submissions} /> : null}
      {onDone ? <p><button type="button" onClick={onDone}>Show it in the list</button></p> : null}
    </div>
  );
}

const met = (s, got) => got && got.finished_at && (!s.expected.length || s.expected.includes(got.verdict)) && (!s.partial || (got.score > 0 && got.score < 100));

/** The jury's submissions judged here, so that one sees whether the problem works here. */
function Jury({ benchmark, problem, submissions }) {
  const [got, set] = useState({});
  const [run, { busy, error }] = useDeed();
  const gone = useRef(false);
  useEffect(() => () => { gone.current = true; }, []);
  const ask = () => run(async () => {
    set({});
    const open = {};
    for (const s of submissions) {
      const made = await post('submissions', { benchmark_id: benchmark.id, problem_id: problem.id, jury: true, language: s.language, ...(s.files ? { files: s.files } : { source: s.source }) });
      open[s.path] = made.id;
      set((g) => ({ ...g, [s.path]: made }));
    }
    while (Object.keys(open).length && !gone.current) {
      await new Promise((done) => setTimeout(done, 500));
      for (const [path, id] of Object.entries(open)) {
        const now = await get(`submissions/${id}`);
        set((g) => ({ ...g, [path]: now }));
        if (now.finished_at) delete open[path];
      }
    }
  });
  const ended = submissions.filter((s) => got[s.path]?.finished_at);
  const wrong = ended.filter((s) => !met(s, got[s.path]));
  return (
    <>
      <h4>The jury's submissions</h4>
      <Table caption="The jury's submissions" head={['File', 'Language', 'Must get', 'Gets', n('Score')]}>
        {submissions.map((s) => {
          const g = got[s.path];
          return (
            <tr key={s.path}>
              <th scope="row" class="long">{g ? <a href={link('submissions', g.id)}>{s.path}</a> : s.path}</th><td>{s.language}</td>
              <td>{s.expected.length ? s.expected.map((v) => <><Verdict of={v} /> </>) : 'not said'}{s.partial ? ', in part' : ''}</td>
              <td>{!g ? '—' : g.verdict ? <><Verdict of={g.verdict} /> {met(s, g) ? <span class="note">as it must</span> : <b class="badtext">not as it must</b>}</> : <Status of={g.status} />}</td>
              <td class="n">{g?.score ?? '—'}</td>
            </tr>
          );
        })}
      </Table>
      <Fault error={error} />
      <p class="row">
        <button type="button" disabled={busy} onClick={ask}>{ended.length ? 'Judge them again' : 'Judge them here'}</button>
        <span role="status">{ended.length === submissions.length ? (wrong.length ? `${wrong.length} of ${submissions.length} got something else: look whether limits or the checker fit this machine.` : `All ${submissions.length} got what they must.`) : busy ? `${ended.length} of ${submissions.length} are judged.` : ''}</span>
      </p>
    </>
  );
}
