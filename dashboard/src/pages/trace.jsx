// A submission's trace as a waterfall: when each part began and how long it took.

import { get, query } from '../api.js';
import { visible } from '../text.jsx';
import { Loaded, ms, n, Table, Time, useLoad, Verdict } from '../ui.jsx';

function flat(spans, depth = 0, out = []) {
  for (const s of spans) {
    out.push({ ...s, depth });
    flat(s.children || [], depth + 1, out);
  }
  return out;
}

const attributes = (a) => Object.entries(a || {}).filter(([k]) => k !== 'verdict').map(([k, v]) => `${k} ${v}`).join(', ');

export function Waterfall({ id }) {
  const traces = useLoad(() => get(`traces${query({ submission_id: id })}`), [id]);
  return (
    <Loaded of={traces}>{({ items: [trace] }) => {
      const spans = flat(trace?.spans || []);
      if (!spans.length) return null;
      const start = Math.min(...spans.map((s) => Date.parse(s.started_at)));
      const end = Math.max(...spans.map((s) => Date.parse(s.ended_at)));
      const whole = Math.max(1, end - start);
      return (
        <section aria-labelledby="trace">
          <h2 id="trace">Trace</h2>
          <Table caption="Trace" head={['Span', 'When', n('Took'), '']}>
            {spans.map((s) => {
              const from = Date.parse(s.started_at) - start;
              return (
                <tr>
                  <th scope="row"><span style={{ paddingLeft: `${s.depth * 1.2}em` }}>{visible(s.name)}</span></th>
                  <td class="wide"><span class="track" role="img" aria-label={`from ${ms(from)}`}><span class="span" style={{ left: `${(from / whole) * 100}%`, width: `${Math.max(0.4, (s.duration_ms / whole) * 100)}%` }} /></span></td>
                  <td class="n">{ms(s.duration_ms)}</td>
                  <td><Verdict of={s.attributes?.verdict} /> <span class="note">{visible(attributes(s.attributes))}</span></td>
                </tr>
              );
            })}
          </Table>
          {trace.events?.length ? (
            <details>
              <summary>Events</summary>
              <ol class="log">{trace.events.map((e) => <li><Time of={e.at} /> {e.name}</li>)}</ol>
            </details>
          ) : null}
          {trace.messages?.length ? (
            <details open>
              <summary>Messages of the agent</summary>
              <ol class="log">{trace.messages.map((m) => <li class={m.level}><Time of={m.at} /> <b>{m.level}</b> {visible(m.message)}</li>)}</ol>
            </details>
          ) : null}
        </section>
      );
    }}</Loaded>
  );
}
