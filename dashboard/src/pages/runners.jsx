// The machine room at a glance: runners, pools of boxes, the queue, and what is not as it should be.

import { useEffect } from 'preact/hooks';
import { get, text } from '../api.js';
import { Fault, Head, Loaded, ms, n, number, Status, Table, useLoad, useTitle } from '../ui.jsx';

/** Prometheus' text as [{name, labels, value}]. */
export function samples(prometheus) {
  const out = [];
  for (const line of prometheus.split('\n')) {
    const m = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)$/.exec(line);
    if (!m) continue;
    const labels = {};
    for (const l of (m[2] || '').matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)) labels[l[1]] = l[2].replace(/\\(.)/g, (_, c) => (c === 'n' ? '\n' : c));
    out.push({ name: m[1], labels, value: Number(m[3]) });
  }
  return out;
}

async function look() {
  const [runners, ready, metrics, languages] = await Promise.all([
    get('runners'),
    get('readyz').catch((e) => ({ ready: false, checks: [], error: e })), // 503 is an answer too
    text('metrics').then(samples, () => null),
    get('languages'),
  ]);
  return { runners: runners.items, ready, metrics, languages: languages.items };
}

function Tile({ name, value, note, kind = '' }) {
  return <div class={`tile ${kind}`}><dt>{name}</dt><dd>{value}{note ? <span class="note"> {note}</span> : null}</dd></div>;
}

function Queue({ metrics }) {
  if (!metrics) return <p class="note">The server keeps its metrics to its own machine. To see the queue and the pools here from elsewhere, set <code>metrics_public</code>.</p>;
  const one = (name, labels = {}) => metrics.find((s) => s.name === name && Object.entries(labels).every(([k, v]) => s.labels[k] === v))?.value;
  const queued = one('assay_submissions_open', { state: 'queued' });
  const running = one('assay_submissions_open', { state: 'running' });
  const verdicts = {};
  for (const s of metrics) if (s.name === 'assay_runner_verdicts_total') verdicts[s.labels.verdict] = (verdicts[s.labels.verdict] || 0) + s.value;
  const pools = {};
  for (const s of metrics) {
    const m = /^assay_(\w+)_wardens$/.exec(s.name);
    if (m) (pools[m[1]] ||= {})[s.labels.state] = s.value;
  }
  const rings = metrics.filter((s) => s.name === 'assay_queue_depth_items').map((s) => ({
    group: s.labels.group, depth: s.value, size: one('assay_queue_size_items', s.labels),
  })).filter((r) => r.depth > 0);
  const states = [...new Set(Object.values(pools).flatMap(Object.keys))];
  return (
    <>
      <dl class="tiles">
        <Tile name="Queued" value={number(queued)} />
        <Tile name="Running" value={number(running)} />
        <Tile name="Oldest waits" value={ms((one('assay_submissions_oldest_queued_seconds') ?? 0) * 1000)} />
        <Tile name="Judged per second" value={number(one('assay_submissions_drain_per_second'))} />
        <Tile name="Event streams" value={number(one('assay_event_streams'))} />
        <Tile name="Connections" value={number(one('assay_http_connections'))} />
      </dl>
      <div class="columns">
        <section aria-labelledby="pools">
          <h2 id="pools">Pools of wardens</h2>
          <Table caption="Pools" head={['Driver', ...states.map((s) => n(s.replace('_', ' ')))]}>
            {Object.entries(pools).map(([driver, p]) => <tr><th scope="row">{driver}</th>{states.map((s) => <td class="n">{number(p[s])}</td>)}</tr>)}
          </Table>
        </section>
        <section aria-labelledby="verdicts">
          <h2 id="verdicts">Verdicts since the start</h2>
          <Table caption="Verdicts" head={Object.keys(verdicts).length ? Object.keys(verdicts).map(n) : ['none yet']}>
            <tr>{Object.values(verdicts).map((v) => <td class="n">{v}</td>)}</tr>
          </Table>
        </section>
      </div>
      {rings.length ? (
        <section aria-labelledby="rings">
          <h2 id="rings">Rings that hold something</h2>
          <Table caption="Rings" head={['Group', n('Holds'), n('Room')]}>{rings.map((r) => <tr><th scope="row">{r.group}</th><td class="n">{r.depth}</td><td class="n">{r.size}</td></tr>)}</Table>
        </section>
      ) : null}
    </>
  );
}

function Slots({ of }) {
  const rest = Math.max(0, of.slots - of.slots_ready);
  const words = `${of.slots_busy} busy, ${of.slots_ready - of.slots_busy} free, ${rest} not ready`;
  return (
    <span class="slots" role="img" aria-label={words} title={words}>
      {Array.from({ length: Math.min(of.slots, 64) }, (_, i) => <span class={i < of.slots_busy ? 'busy' : i < of.slots_ready ? 'free' : 'out'} />)}
    </span>
  );
}

export function Runners() {
  const state = useLoad(look, []);
  useTitle('Runners');
  useEffect(() => {
    const timer = setInterval(() => document.visibilityState === 'visible' && state.reload(), 3000);
    return () => clearInterval(timer);
  }, []);
  return (
    <>
      <Head title="Runners, pools, queue" />
      <Loaded of={state}>{({ runners, ready, metrics, languages }) => (
        <>
          {ready.error ? <Fault error={ready.error} /> : null}
          {(ready.checks || []).filter((c) => !c.ok || c.note || c.detail).map((c) => <p class={c.ok ? 'banner' : 'fault'}><b>{c.name}</b> {c.reason || c.note || c.detail || (c.ok ? '' : 'is not ready')}</p>)}
          <Queue metrics={metrics} />
          <section aria-labelledby="runners">
            <h2 id="runners">Runners</h2>
            <Table caption="Runners" head={['Runner', 'Slots', n('Jobs'), 'Sandbox', n('Cores'), n('A call costs'), 'Trouble']}>
              {runners.map((r) => (
                <tr key={r.id}>
                  <th scope="row"><code>{r.id.slice(0, 13)}…</code></th><td><Slots of={r} /> {r.slots_busy}/{r.slots}</td><td class="n">{r.jobs}</td>
                  <td title={r.sandbox?.chosen_because}>{r.mode || '—'}{r.sandbox?.chosen?.lacks?.length ? <span class="note"> lacks {r.sandbox.chosen.lacks.map((l) => l.name || l.layer || String(l)).join(', ')}</span> : null}</td>
                  <td class="n">{r.cores}</td><td class="n">{r.calibration?.wall_us ? ms(r.calibration.wall_us / 1000) : '—'}</td><td>{r.trouble || r.calibration?.trouble || 'none'}</td>
                </tr>
              ))}
            </Table>
          </section>
          <section aria-labelledby="languages">
            <h2 id="languages">Languages</h2>
            <Table caption="Languages" head={['Language', 'State', 'Version']}>
              {languages.map((l) => <tr key={l.name}><th scope="row">{l.title}</th><td><Status of={l.state} /></td><td>{l.version || l.reason || '—'}</td></tr>)}
            </Table>
          </section>
        </>
      )}</Loaded>
    </>
  );
}
