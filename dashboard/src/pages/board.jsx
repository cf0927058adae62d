// A leaderboard that follows what happens, with intervals, and how the scores came about as a plot.

import { useEffect, useRef, useState } from 'preact/hooks';
import { follow, get, query } from '../api.js';
import { link } from '../router.js';
import { Empty, Fault, Interval, Loaded, n, number, percent, Table, Time, useLoad } from '../ui.jsx';

const PLOTTED = 6;

function useBoardEvents(id, changed) {
  useEffect(() => {
    const end = new AbortController();
    let timer;
    follow(`events${query({ benchmark_id: id })}`, (name) => {
      if (name !== 'board') return;
      clearTimeout(timer);
      timer = setTimeout(changed, 300);
    }, { signal: end.signal }).catch(() => {}); // the board is right without it, only not live
    return () => { end.abort(); clearTimeout(timer); };
  }, [id, changed]);
}

function Plot({ benchmark, agents, names, view, version }) {
  const place = useRef();
  const [error, setError] = useState();
  const keys = [benchmark.id, agents.join(' '), view, version];
  const histories = useLoad(() => Promise.all(agents.map((a) => get(`leaderboard/history${query({ benchmark_id: benchmark.id, agent_id: a, view })}`))), keys);
  useEffect(() => {
    if (!histories.data || !place.current) return undefined;
    let gone = false;
    let plot;
    import('../plot.js').then(({ draw }) => {
      if (!gone) plot = draw(place.current, agents.map((a, i) => ({ name: names[a] || a, items: histories.data[i].items })));
    }).catch(setError);
    return () => { gone = true; plot?.destroy(); };
  }, [histories.data]);
  return (
    <figure>
      <figcaption>Score over time</figcaption>
      <Fault error={error || histories.error} />
      <div class="plot" ref={place} role="img" aria-label={`Score over time of ${agents.map((a) => names[a] || a).join(', ')}; the same as a table below`} />
      {histories.data ? (
        <details>
          <summary>As a table</summary>
          <Table caption="Score over time" head={['Agent', 'At', 'Verdict', 'Score of the submission', 'Score on the board']}>
            {agents.flatMap((a, i) => histories.data[i]?.items.map((m) => (
              <tr><th scope="row">{names[a] || a}</th><td><Time of={m.at} /></td><td>{m.verdict}</td><td>{number(m.submission_score)}</td><td>{number(m.score)}</td></tr>
            )) ?? [])}
          </Table>
        </details>
      ) : null}
    </figure>
  );
}

function Compare({ benchmark, a, b, names }) {
  const result = useLoad(() => get(`leaderboard/compare${query({ benchmark_id: benchmark.id, a, b })}`), [benchmark.id, a, b]);
  return (
    <section class="card" aria-label="Comparison">
      <h2>{names[a]} and {names[b]}</h2>
      <Loaded of={result}>{(c) => (
        <dl class="facts">
          <div><dt>Problems</dt><dd>{c.problems}</dd></div>
          <div><dt>Both solved</dt><dd>{c.solved_by_both}</dd></div>
          <div><dt>{names[a]} alone</dt><dd>{c.solved_by_a_alone}</dd></div>
          <div><dt>{names[b]} alone</dt><dd>{c.solved_by_b_alone}</dd></div>
          <div><dt>Neither</dt><dd>{c.solved_by_neither}</dd></div>
          <div><dt>McNemar's p</dt><dd>{number(c.mcnemar_p, 4)}</dd></div>
          <div><dt>Difference of scores</dt><dd>{c.score_difference ? `${number(c.score_difference.estimate)} (${number(c.score_difference.low)} to ${number(c.score_difference.high)})` : '—'}</dd></div>
        </dl>
      )}</Loaded>
    </section>
  );
}

/** Whether entrants see the board as it stood at its freeze. */
export function isFrozen({ freezes_at: from, thaws_at: until }, now = Date.now()) {
  return Boolean(from) && Date.parse(from) <= now && !(until && Date.parse(until) <= now);
}

export function Board({ benchmark, staff }) {
  const [view, setView] = useState('');
  const [chosen, choose] = useState(null); // null: the first ones
  const [version, setVersion] = useState(0);
  const many = benchmark.problems.length > 1;
  const wanted = ['metrics', ...(many ? ['problems'] : [])].join(',');
  const board = useLoad(() => get(`leaderboard${query({ benchmark_id: benchmark.id, view, with: wanted, limit: 100 })}`), [benchmark.id, view]);
  const figures = useLoad(() => get(`leaderboard/statistics${query({ benchmark_id: benchmark.id, view })}`), [benchmark.id, view]);
  const changed = useRef();
  changed.current = () => { board.reload(); figures.reload(); setVersion((v) => v + 1); };
  const [tell] = useState(() => () => changed.current());
  useBoardEvents(benchmark.id, tell);
  return (
    <Loaded of={board}>{(data) => {
      if (data.hidden) return <Empty title="The board of this benchmark is not shown.">Its feedback keeps verdicts to itself.</Empty>;
      const estimates = Object.fromEntries((figures.data?.items || []).map((i) => [i.agent_id, i]));
      const names = Object.fromEntries(data.items.map((r) => [r.agent_id, r.agent_name]));
      const metrics = [...new Set(data.items.flatMap((r) => (r.metrics || []).map((m) => m.name)))];
      const icpc = data.items.some((r) => r.penalty_minutes !== undefined);
      const best = Math.max(100, ...data.items.map((r) => r.score));
      const plotted = (chosen || data.items.slice(0, PLOTTED).map((r) => r.agent_id)).filter((a) => names[a]);
      const toggle = (a) => choose(plotted.includes(a) ? plotted.filter((x) => x !== a) : [...plotted, a].slice(-PLOTTED));
      const confidence = figures.data ? percent(figures.data.confidence) : '';
      return (
        <>
          {data.frozen || isFrozen(benchmark) ? (
            <p class="banner" role="status">
              Frozen since <Time of={benchmark.freezes_at} />{benchmark.thaws_at ? <> until <Time of={benchmark.thaws_at} /></> : null}.
              {!data.frozen || view === 'public' ? <> <label><input type="checkbox" checked={view === 'public'} onChange={(e) => setView(e.currentTarget.checked ? 'public' : '')} /> as entrants see it</label></> : null}
            </p>
          ) : null}
          <p class="note">{data.scoring === 'mean' ? 'The mean of all submissions counts' : `The ${data.scoring} submission counts`}, ranked by {data.ranking}{data.pass_k ? `, k = ${data.pass_k}` : ''}. It follows what is judged by itself.</p>
          {data.items.length ? (
            <>
              <Table caption={`Leaderboard of ${benchmark.name}`} head={['Plot', n('#'), 'Agent', n('Score'), ...(many ? [n('Solved')] : []), ...(icpc ? [n('Penalty')] : []),
                ...(many ? benchmark.problems.map((p) => n(p.name)) : []), `Pass rate${confidence ? `, ${confidence} interval` : ''}`, ...(many ? ['Mean score'] : []), ...metrics.map(n), 'At']}>
                {data.items.map((r) => (
                  <tr key={r.agent_id} class={r.mine ? 'mine' : ''}>
                    <td><input type="checkbox" aria-label={`Plot ${r.agent_name}`} checked={plotted.includes(r.agent_id)} onChange={() => toggle(r.agent_id)} /></td>
                    <td class="n">{r.rank}</td>
                    <th scope="row" class="long">{staff || r.mine ? <a href={link('submissions', r.submission_id)}>{r.agent_name}</a> : r.agent_name}{r.mine ? <span class="note"> yours</span> : null}</th>
                    <td class="n">{number(r.score)}</td>
                    {many ? <td class="n">{r.solved ?? '—'}</td> : null}
                    {icpc ? <td class="n">{r.penalty_minutes}</td> : null}
                    {many ? benchmark.problems.map((p) => {
                      const c = (r.problems || []).find((x) => x.problem_id === p.id);
                      return <td class={`n ${c?.correct ? 'solved' : ''}`} title={c ? `${c.correct} of ${c.submissions} correct` : 'none sent'}>{c ? number(c.score) : '·'}</td>;
                    }) : null}
                    <td><Interval of={estimates[r.agent_id]?.pass_rate} most={1} format={percent} what="Pass rate" /></td>
                    {many ? <td><Interval of={estimates[r.agent_id]?.mean_score} most={best} format={number} what="Mean score" /></td> : null}
                    {metrics.map((m) => { const x = (r.metrics || []).find((y) => y.name === m); return <td class="n" title={x ? `of ${x.submissions} submissions, ${number(x.sum, 4)} in all` : ''}>{x ? number(x.mean, 4) : '—'}</td>; })}
                    <td><Time of={r.submitted_at} /></td>
                  </tr>
                ))}
              </Table>
              {data.next_cursor ? <p class="note">The first {data.items.length} are shown.</p> : null}
              {plotted.length ? <Plot benchmark={benchmark} agents={plotted} names={names} view={view} version={version} /> : null}
              {plotted.length === 2 ? <Compare key={plotted.join(' ')} benchmark={benchmark} a={plotted[0]} b={plotted[1]} names={names} /> : null}
            </>
          ) : <Empty title="Nobody is on it yet."><a href={link('benchmarks', benchmark.id, 'submit')}>Be the first</a></Empty>}
        </>
      );
    }}</Loaded>
  );
}
