// Course projects: what is to be handed in, the hand-in itself, and what the instructor keeps behind it.

import { useState } from 'preact/hooks';
import { bare, get, near, patch, post, Problem, query, remove, text, upload } from '../api.js';
import { go, link } from '../router.js';
import { Block } from '../text.jsx';
import { bytes, Drop, Empty, Fault, Field, Head, Loaded, More, ms, n, number, Progress, save, Status, Sure, Table, Time, Typed, useDeed, useLoad, usePages, useTitle } from '../ui.jsx';

const ZIP_MOST = 64 * 2 ** 20;
const TESTS_MOST = 32 * 2 ** 20;

/** Why a file cannot be what is wanted, before it is sent. */
async function checked(file, most) {
  const head = new Uint8Array(await file.slice(0, 4).arrayBuffer());
  if (head[0] !== 0x50 || head[1] !== 0x4b) throw new Problem(0, { detail: `“${file.name}” is no ZIP archive. Pack the project's folder into a .zip and choose that.` });
  if (file.size > most) throw new Problem(0, { detail: `“${file.name}” has ${bytes(file.size)}; at most ${bytes(most)} are taken. Leave out what is built or downloaded (target, node_modules, .git).` });
}

export function ProjectStatus({ of }) {
  const kind = { PENDING: 'queued', RUNNING: 'running', DONE: 'done', ERROR: 'failed' }[of] || of;
  return <span class={`status ${kind}`}>{of.toLowerCase()}</span>;
}

function Mine({ pit, version }) {
  const list = usePages((cursor) => bare(`submissions/mine${query({ pitId: pit, limit: 50, cursor })}`), [pit, version]);
  return (
    <section aria-labelledby="mine">
      <h2 id="mine">{pit ? 'What you handed in' : 'Your hand-ins'}</h2>
      {list.items.length ? (
        <Table caption="Hand-ins" head={['When', ...(pit ? [] : ['Project']), 'State', n('Score')]}>
          {list.items.map((s) => (
            <tr key={s.submissionId}>
              <th scope="row"><a href={link('submissions', s.submissionId)}><Time of={s.createdAt} /></a></th>
              {pit ? null : <td><a href={link('projects', s.pitId)}>{s.pitTitle}</a></td>}
              <td><ProjectStatus of={s.status} /></td>
              <td class="n">{number(s.score)}</td>
            </tr>
          ))}
        </Table>
      ) : null}
      <More of={list}><Empty title="You have handed in nothing yet.">{pit ? 'Choose a ZIP above.' : 'Open a project above and choose a ZIP of your work.'}</Empty></More>
    </section>
  );
}

export function Projects({ staff }) {
  const list = usePages((cursor) => get(`pits${query({ limit: 100, cursor })}`), []);
  useTitle('Projects');
  return (
    <>
      <Head title="Projects">{staff ? <a class="button primary" href={link('projects', 'new')}>New project</a> : null}</Head>
      <p class="lead">Work of many files, handed in as a ZIP and tested by the instructor's tests.</p>
      {list.items.length ? (
        <Table caption="Projects" head={['Project', 'Language', 'Built with', n('Time'), 'Tests', '']}>
          {list.items.map((p) => (
            <tr key={p.id} class={p.active ? '' : 'off'}>
              <th scope="row"><a href={link('projects', p.id)}>{p.title}</a></th>
              <td>{p.language || '—'}</td><td>{p.buildTool || '—'}</td><td class="n">{ms(p.maxTimeoutMs)}</td>
              <td>{p.hasTests ? 'by the instructor' : "the project's own"}</td>
              <td>{p.active ? null : <span class="status">closed</span>}</td>
            </tr>
          ))}
        </Table>
      ) : null}
      <More of={list}><Empty title="There are no projects yet.">{staff ? <a href={link('projects', 'new')}>Make the first one</a> : 'Your instructor makes them.'}</Empty></More>
      <Mine />
    </>
  );
}

function HandIn({ pit }) {
  const [run, { busy, error }] = useDeed();
  const [sent, setSent] = useState(null);
  const hand = ([file]) => run(async () => {
    await checked(file, ZIP_MOST);
    setSent({ name: file.name, part: 0 });
    try {
      const up = await post('submissions/request-upload', { pitId: pit.id });
      const where = near(up.uploadUrl);
      if (!where) throw new Problem(0, { detail: `Projects are kept at ${new URL(up.uploadUrl).host} here, and pages may send to their own server only. Use the command line: assay pit submit ${pit.id} ${file.name}` });
      await upload(where, { method: 'PUT', body: file, type: 'application/zip', signed: true, progress: (part) => setSent({ name: file.name, part }) });
      const made = await post('submissions/confirm', { pitId: pit.id, fileKey: up.fileKey });
      go(link('submissions', made.submissionId).slice(1));
    } finally {
      setSent(null);
    }
  });
  return (
    <section class="card" aria-labelledby="hand-in">
      <h2 id="hand-in">Hand in</h2>
      <Fault error={error} />
      <Drop id="zip" label="ZIP of the project" accept=".zip,application/zip" disabled={busy} onFiles={hand} hint={`Choose it or drop it here; it is sent and tested at once. At most ${bytes(ZIP_MOST)}.`} />
      <div class="hold">{sent ? <Progress label={`Sending ${sent.name}`} part={sent.part} /> : null}</div>
      {pit.requiredFiles.length ? <><h3>It must hold</h3><ul class="files">{pit.requiredFiles.map((f) => <li><code>{f}</code></li>)}</ul></> : null}
    </section>
  );
}

function TestsUpload({ pit, reload }) {
  const [run, { busy, error }] = useDeed();
  const [part, setPart] = useState(null);
  const [said, say] = useState('');
  const send = ([file]) => run(async () => {
    say('');
    await checked(file, TESTS_MOST);
    const body = new FormData();
    body.append('file', file);
    setPart(0);
    try {
      await upload(`pits/${encodeURIComponent(pit.id)}/upload-tests`, { body, progress: setPart });
    } finally {
      setPart(null);
    }
    say(`The tests of “${file.name}” are in force.`);
    reload();
  });
  return (
    <section class="card" aria-labelledby="tests">
      <h2 id="tests">Your tests</h2>
      <p>{pit.hasTests ? 'They are laid over each project before it is tested, and win over files of the same name. Another ZIP replaces them.' : 'There are none: what the project brings along is all that is tested. A ZIP with paths as they shall be in the project is laid over each hand-in.'}</p>
      <Fault error={error} />
      <Drop id="tests-zip" label="ZIP of tests" accept=".zip,application/zip" disabled={busy} onFiles={send} hint={`At most ${bytes(TESTS_MOST)}.`} />
      <div class="hold" role="status">{part !== null ? <Progress label="Sending the tests" part={part} /> : said}</div>
    </section>
  );
}

const lines = (t) => String(t || '').split('\n').map((l) => l.trim()).filter(Boolean);

function environment(t) {
  const out = {};
  for (const l of lines(t)) {
    const at = l.indexOf('=');
    if (at < 1) throw new Problem(0, { detail: `“${l}” is no variable: write NAME=value, one a line.` });
    out[l.slice(0, at)] = l.slice(at + 1);
  }
  return out;
}

function Settings({ of = {}, fresh, onDone, button, said }) {
  const [run, { busy, error }] = useDeed();
  const send = (e) => {
    e.preventDefault();
    const f = new FormData(e.currentTarget);
    run(async () => {
      const what = {
        title: f.get('title') || null, description: f.get('description') || null, language: f.get('language') || null, buildTool: f.get('buildTool') || null,
        testCommand: f.get('testCommand'), maxTimeoutMs: Math.round(Number(f.get('seconds')) * 1000), setupCommands: lines(f.get('setup')),
        requiredFiles: lines(f.get('required')), environment: environment(f.get('environment')),
      };
      const done = fresh ? await post('pits', { ...(f.get('id') ? { id: f.get('id') } : {}), ...what }) : await patch(`pits/${encodeURIComponent(of.id)}`, what);
      onDone(done);
    });
  };
  return (
    <form class="card" onSubmit={send}>
      <h2>{fresh ? 'How it is tested' : 'Settings'}</h2>
      <div class="grid">
        <Field id="p-title" label="Title"><input id="p-title" name="title" defaultValue={of.title} maxLength={200} required /></Field>
        {fresh ? <Field id="p-id" label="Id (if you like)" hint="Such as java-maven-bank-account-v1."><input id="p-id" name="id" pattern="[a-z0-9][a-z0-9._\-]*" maxLength={64} aria-describedby="p-id-hint" /></Field> : null}
        <Field id="p-language" label="Language"><input id="p-language" name="language" defaultValue={of.language || ''} placeholder="java" /></Field>
        <Field id="p-tool" label="Built with"><input id="p-tool" name="buildTool" defaultValue={of.buildTool || ''} placeholder="maven" /></Field>
        <Field id="p-time" label="Time limit, seconds"><input id="p-time" name="seconds" type="number" min={1} max={3600} step="any" required defaultValue={(of.maxTimeoutMs || 60000) / 1000} /></Field>
      </div>
      <Field id="p-about" label="What is to be done"><textarea id="p-about" name="description" rows={4} defaultValue={of.description || ''} /></Field>
      <Field id="p-command" label="Test command" hint="Run by /bin/sh in the project's top folder."><input id="p-command" name="testCommand" class="mono" required defaultValue={of.testCommand || ''} placeholder="mvn -q test" aria-describedby="p-command-hint" /></Field>
      <div class="grid wide">
        <Field id="p-setup" label="Before it" hint="Commands, one a line; the first that fails ends the run."><textarea id="p-setup" name="setup" class="mono" rows={3} defaultValue={(of.setupCommands || []).join('\n')} aria-describedby="p-setup-hint" /></Field>
        <Field id="p-required" label="Required files" hint="Paths, one a line."><textarea id="p-required" name="required" class="mono" rows={3} defaultValue={(of.requiredFiles || []).join('\n')} aria-describedby="p-required-hint" /></Field>
        <Field id="p-environment" label="Variables" hint="NAME=value, one a line."><textarea id="p-environment" name="environment" class="mono" rows={3} defaultValue={Object.entries(of.environment || {}).map(([k, v]) => `${k}=${v}`).join('\n')} aria-describedby="p-environment-hint" /></Field>
      </div>
      <Fault error={error} />
      <p class="row"><button type="submit" class="primary" disabled={busy}>{button}</button><span role="status">{said}</span></p>
    </form>
  );
}

export function NewPit() {
  useTitle('New project');
  return (
    <>
      <Head title="New project" kicker={<a href={link('projects')}>Projects</a>} />
      <p class="lead">First say how projects are tested; then upload your tests, and try it with a project of your own.</p>
      <Settings fresh button="Make the project" onDone={(made) => go(link('projects', made.id).slice(1))} />
    </>
  );
}

export function Pit({ id, user, staff }) {
  const pit = useLoad(() => get(`pits/${encodeURIComponent(id)}`), [id]);
  const [run, { busy, error }] = useDeed();
  const [said, say] = useState('');
  useTitle(pit.data?.title || 'Project');
  const path = `pits/${encodeURIComponent(id)}`;
  return (
    <Loaded of={pit}>{(p) => {
      const mine = staff && (user.role === 'admin' || p.ownerId === user.id);
      const set = (change) => run(async () => { await patch(path, change); pit.reload(); });
      return (
        <>
          <Head title={p.title} kicker={<a href={link('projects')}>Projects</a>} />
          {p.active ? null : <p class="banner">It is closed: nothing more is taken.</p>}
          {p.description ? <div class="statement">{p.description}</div> : null}
          <dl class="facts">
            <div><dt>Language</dt><dd>{p.language || '—'}</dd></div>
            <div><dt>Built with</dt><dd>{p.buildTool || '—'}</dd></div>
            <div><dt>Time limit</dt><dd>{ms(p.maxTimeoutMs)}</dd></div>
            <div><dt>Tests</dt><dd>{p.hasTests ? 'by the instructor' : "the project's own"}</dd></div>
            <div><dt>Id</dt><dd><code>{p.id}</code></dd></div>
          </dl>
          {p.active && user.role !== 'viewer' ? <HandIn pit={p} /> : null}
          <Mine pit={p.id} />
          {mine && p.source === 'file' ? <p class="note">It is a file of the server's. A new project with the id <code>{p.id}</code> goes before it and can be changed here.</p> : null}
          {mine && p.source === 'api' ? (
            <>
              <TestsUpload pit={p} reload={pit.reload} />
              <Settings key={p.updatedAt} of={p} button="Save" said={said} onDone={() => { say('Saved. It holds for what is handed in from now on.'); pit.reload(); }} />
              <section class="card" aria-labelledby="end">
                <h2 id="end">Close or delete</h2>
                <Fault error={error} />
                <p class="row">
                  {p.active ? <Sure disabled={busy} ask="Take no more hand-ins?" onSure={() => set({ active: false })}>Close it</Sure> : <button type="button" disabled={busy} onClick={() => set({ active: true })}>Open it again</button>}
                </p>
                <Typed id="p-delete" word={p.id} label="Delete it with its tests; what was handed in stays" button="Delete the project" busy={busy}
                  onSure={() => run(async () => { await remove(path); go(link('projects').slice(1)); })} />
              </section>
            </>
          ) : null}
        </>
      );
    }}</Loaded>
  );
}

// where a run ended before its tests did, and what one can do then
const STEPS = {
  queue: ['It never ran', 'Hand it in again.'],
  fetch: ['The archive could not be fetched', 'Hand it in again.'],
  unpack: ['The archive could not be unpacked', 'Pack the files anew as a plain ZIP: no links, no passwords, no paths that lead out.'],
  tests: ["The instructor's tests could not be laid over it", 'Tell the instructor.'],
  required: ['Required files are missing', 'Add them at exactly these paths, and hand it in again.'],
  setup: ['A command before the tests failed', 'The log says which and why.'],
  test: ['The test command failed', 'The log says why; details are below.'],
  box: ['The sandbox ended it', 'It took too much memory or too many processes, or tried what is not allowed.'],
  pit: ["The project's settings cannot be used", 'Tell the instructor.'],
  runner: ['A fault of the server', 'It was tried more than once. Hand it in again later, or tell an admin.'],
};

function Log({ id }) {
  const [shown, show] = useState(false);
  const log = useLoad(() => (shown ? text(`submissions/feedback/${id}/log`) : Promise.resolve(null)), [id, shown]);
  if (!shown) return <p><button type="button" onClick={() => show(true)}>Show the log</button></p>;
  return (
    <>
      {log.error ? <Fault error={log.error} /> : null}
      {log.data !== null && log.data !== undefined ? (
        <>
          <Block label="Log" text={log.data} />
          <p><button type="button" onClick={() => save(`${id}.log`, log.data, 'text/plain')}>Save it as a file</button></p>
        </>
      ) : null}
    </>
  );
}

/** What became of a project. */
export function Feedback({ id, version }) {
  const project = useLoad(() => get(`submissions/feedback/${id}`), [id, version]);
  return (
    <Loaded of={project}>{(p) => {
      const f = p.feedback;
      const counted = f && f.totalTests > 0;
      const [what, advice] = (f?.step && STEPS[f.step]) || [];
      return (
        <section aria-labelledby="feedback">
          <h2 id="feedback">Feedback on <a href={link('projects', p.pitId)}>{p.pitTitle}</a></h2>
          {f ? (
            <>
              <div class="card feedback">
                <p class="score"><span class="figure">{number(p.score ?? 0, 0)}</span><span class="note"> of 100</span></p>
                <div class="rest">
                  {counted ? (
                    <>
                      <p>{f.passedTests} of {f.totalTests} tests passed{f.skippedTests ? `, ${f.skippedTests} skipped` : ''}.</p>
                      <span class="parts" role="img" aria-label={`${f.passedTests} passed, ${f.failedTests} failed, ${f.skippedTests || 0} skipped`}>
                        <span class="passed" style={{ flexGrow: f.passedTests }} /><span class="broken" style={{ flexGrow: f.failedTests }} /><span style={{ flexGrow: f.skippedTests || 0 }} />
                      </span>
                    </>
                  ) : null}
                  <dl class="facts">
                    <div><dt>State</dt><dd><ProjectStatus of={p.status} /></dd></div>
                    <div><dt>Took</dt><dd>{ms(f.durationMs)}</dd></div>
                    <div><dt>Exit status</dt><dd>{f.exitCode ?? '—'}</dd></div>
                  </dl>
                </div>
              </div>
              {f.timedOut ? <div class="fault"><p><b>It took too long.</b> The score is 0 then. Look for a loop that does not end, or a program that waits for input.</p></div> : null}
              {p.status === 'ERROR' && !f.timedOut ? <div class="fault"><p><b>{what || 'It failed'}.</b> {advice}</p>{f.error ? <p>{f.error}</p> : null}</div> : null}
              {f.details ? <Block label="Details" text={f.details} /> : null}
            </>
          ) : <p class="note">There is no feedback yet: it is <Status of={p.status.toLowerCase()} />.</p>}
          {p.logsS3Key ? <Log id={id} /> : null}
        </section>
      );
    }}</Loaded>
  );
}
