import { useEffect, useRef, useState } from 'preact/hooks';
import { all, get, onceKey, post, query } from '../api.js';
import { Code } from '../code.jsx';
import { go, link } from '../router.js';
import { Fault, Field, Loaded, useDeed, useLoad } from '../ui.jsx';

const ENDINGS = { c: 'c', h: 'c', cc: 'cpp', cpp: 'cpp', cxx: 'cpp', go: 'go', java: 'java', js: 'javascript', lua: 'lua', pl: 'perl', php: 'php', py: 'python', rb: 'ruby', rs: 'rust', sh: 'bash' };
const stored = (key) => { try { return JSON.parse(localStorage.getItem(key)) || {}; } catch { return {}; } };

/** What is needed to submit: languages that are offered here, and the agents that one may submit for. */
async function prepare(user) {
  const [languages, agents] = await Promise.all([get('languages'), all(`agents${query({ owner_id: user.id })}`, 500)]);
  return { languages: languages.items.filter((l) => l.offered), agents };
}

function Form({ benchmark, languages, agents, search, reload }) {
  const draftKey = `assay.draft.${benchmark.id}`;
  const [draft] = useState(() => stored(draftKey));
  const [problem, setProblem] = useState(search.get('problem') || draft.problem || benchmark.problems[0]?.id || '');
  const [agent, setAgent] = useState(draft.agent && agents.some((a) => a.id === draft.agent) ? draft.agent : agents[0]?.id || '');
  const taken = languages.filter((l) => !benchmark.languages.length || benchmark.languages.includes(l.name));
  const [language, setLanguage] = useState(taken.some((l) => l.name === draft.language) ? draft.language : (taken.find((l) => l.name === 'python') || taken[0])?.name || '');
  const [source, setSource] = useState(draft.source || '');
  const [epoch, setEpoch] = useState(0);
  const [key, setKey] = useState(onceKey);
  const [run, { busy, error }] = useDeed();
  const details = useLoad(() => (problem ? get(`problems/${encodeURIComponent(problem)}`) : Promise.resolve(null)), [problem]);
  const mode = details.data?.mode || 'program';
  const payload = mode === 'harness' || mode === 'answer';
  const save = useRef();
  save.current = () => {
    try { localStorage.setItem(draftKey, JSON.stringify({ problem, agent, language, source })); } catch { /* no room: no draft */ }
  };
  useEffect(() => {
    const timer = setTimeout(() => save.current(), 300);
    return () => clearTimeout(timer);
  }, [problem, agent, language, source]);
  useEffect(() => () => save.current(), []);
  const change = (set) => (value) => { set(value); setKey(onceKey()); };
  const submit = () => run(async () => {
    const made = await post('submissions', {
      benchmark_id: benchmark.id, agent_id: agent, ...(benchmark.problems.length > 1 ? { problem_id: problem } : {}),
      ...(payload ? { payload: source } : { language, source }),
    }, { headers: { 'Idempotency-Key': key } });
    go(link('submissions', made.id).slice(1));
  });
  const open = async (e) => {
    const file = e.currentTarget.files[0];
    if (!file) return;
    const ending = ENDINGS[file.name.split('.').pop().toLowerCase()];
    if (ending && taken.some((l) => l.name === ending)) setLanguage(ending);
    change(setSource)(await file.text());
    setEpoch((n) => n + 1);
  };
  const newAgent = (e) => {
    e.preventDefault();
    const name = new FormData(e.currentTarget).get('agent');
    run(async () => {
      await post('agents', { name });
      reload();
    });
  };
  if (!agents.length) {
    return (
      <form class="card narrow" onSubmit={newAgent}>
        <h2>Who competes?</h2>
        <p>An agent is what stands on the board: you, your team, or your program.</p>
        <Fault error={error} />
        <Field id="agent" label="Name of the agent"><input id="agent" name="agent" required /></Field>
        <button type="submit" class="primary" disabled={busy}>Make the agent</button>
      </form>
    );
  }
  return (
    <form class="card" onSubmit={(e) => { e.preventDefault(); submit(); }}>
      <h2>Submit</h2>
      <div class="grid">
        {benchmark.problems.length > 1 ? (
          <Field id="problem" label="Problem">
            <select id="problem" value={problem} onChange={(e) => change(setProblem)(e.currentTarget.value)}>{benchmark.problems.map((p) => <option value={p.id}>{p.name}</option>)}</select>
          </Field>
        ) : null}
        <Field id="agent" label="Agent">
          <select id="agent" value={agent} onChange={(e) => change(setAgent)(e.currentTarget.value)}>{agents.map((a) => <option value={a.id}>{a.name}</option>)}</select>
        </Field>
        {payload ? null : (
          <Field id="language" label="Language">
            <select id="language" value={language} onChange={(e) => change(setLanguage)(e.currentTarget.value)}>{taken.map((l) => <option value={l.name}>{l.title}</option>)}</select>
          </Field>
        )}
        <Field id="file" label="Or open a file"><input id="file" type="file" onChange={open} /></Field>
      </div>
      <Code label={payload ? 'Answer' : 'Program'} text={source} language={payload ? '' : language} onChange={change(setSource)} onSubmit={submit} epoch={epoch} />
      <Fault error={error} />
      <p class="row"><button type="submit" class="primary" disabled={busy || (!source && !payload)}>Submit</button><span class="note"><kbd>Ctrl</kbd> <kbd>Enter</kbd> submits, <kbd>Esc</kbd> then <kbd>Tab</kbd> leaves the editor</span></p>
    </form>
  );
}

export function Submit({ benchmark, user, search }) {
  const ready = useLoad(() => prepare(user), [user.id]);
  return <Loaded of={ready}>{(r) => <Form key={r.agents.length} benchmark={benchmark} search={search} reload={ready.reload} {...r} />}</Loaded>;
}
